"""The methods against known answers: reference implementations, games that can be solved, and linear models."""

from __future__ import annotations

import itertools
from math import factorial

import numpy as np
import pytest
import torch
from models import Game, Linear, assert_untouched, cnn, fingerprint, photo, problem
from references import raw_gradcam

import xai_widgets as xw
from xai_widgets.methods.lime import cosine_distances, paired_masks
from xai_widgets.methods.occlusion import passes
from xai_widgets.registry import get_method

PIXELS = photo()
QUICK = {
    "gradcam": {}, "saliency": {}, "occlusion": {"window": 40, "stride": 40}, "lime": {"n_samples": 14},
    "kernel_shap": {},
}  # fmt: skip


# ---------------------------------------------------------------------------------------------------------------------
# Every method on ordinary networks
# ---------------------------------------------------------------------------------------------------------------------


def untrained(name):
    """A network of torchvision with random weights whose answers differ from picture to picture."""
    import torchvision

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = getattr(torchvision.models, name)(weights=None, num_classes=5)
        # Untrained batch norms let the signal fade below float32; statistics of one batch bring it back.
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = 1.0
        with torch.no_grad():
            model.train()(torch.randn(4, 3, 80, 80))
    return model


@pytest.fixture(scope="module", params=["demo", "resnet18", "mobilenet_v3_small", "vgg11", "densenet121"])
def guest(request):
    """(model, options of `attribute`, what must stay as it is); modes are mixed, and weights frozen in part."""
    if request.param == "demo":
        demo = pytest.importorskip("xai_widgets.demo")
        model = demo.imagenet_classifier()
        options = {"preprocess": model.preprocess}
        image = demo.sample("coffee").resize((300, 200))
    else:
        model = untrained(request.param)
        options, image = {"size": 80, "mean": [0.5] * 3, "std": [0.25] * 3}, photo(100, 120)
    for number, module in enumerate(model.modules()):
        module.training = number % 3 != 1
    for number, parameter in enumerate(model.parameters()):
        parameter.requires_grad_(number % 2 == 0)
    next(model.parameters()).grad = torch.ones_like(next(model.parameters()))
    options = {"image": image, "segments": "grid", "n_segments": 4, "baseline": "black", **options}
    return model, options, fingerprint(model)


@pytest.mark.parametrize("method", QUICK)
def test_every_method_works_on_ordinary_networks_repeats_itself_and_leaves_them_alone(guest, method):
    model, options, before = guest
    for target in range(5):  # Grad-CAM of untrained networks is empty for some classes
        one = xw.attribute(model, target=target, method=method, seed=0, **options, **QUICK[method])
        if np.ptp(one.values) > 0:
            break
    assert np.isfinite(one.values).all()
    assert np.ptp(one.values) > 0
    assert one.values.shape == one.image.shape[:2]
    again = xw.attribute(model, target=target, method=method, seed=0, **options, **QUICK[method])
    assert one.values.tobytes() == again.values.tobytes()
    if one.std_error is not None:
        assert one.std_error.tobytes() == again.std_error.tobytes()
    assert_untouched(model, before)


def test_gradients_are_the_same_to_the_last_bit_every_time():
    threads, model, image = torch.get_num_threads(), untrained("mobilenet_v3_small"), photo(100, 120)
    torch.set_num_threads(2)  # where torch alone gives several answers
    try:
        maps = {xw.attribute(model, image, method="saliency", target=1, size=80).values.tobytes() for _ in range(40)}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert len(maps) == 1


@pytest.mark.parametrize("method", ["lime", "kernel_shap"])
def test_another_seed_gives_another_sample(method):
    one, other = (
        xw.attribute(cnn(), PIXELS, method=method, seed=seed, n_samples=150, n_segments=30).segment_values
        for seed in (0, 1)
    )
    assert not np.array_equal(one, other)
    assert np.corrcoef(one, other)[0, 1] > 0.5


@pytest.mark.parametrize("method", ["occlusion", "lime", "kernel_shap"])
def test_the_batch_size_does_not_change_the_map(method):
    params = {"window": 16} if method == "occlusion" else {"n_samples": 80}
    one, other = (
        xw.attribute(cnn(), PIXELS, method=method, batch_size=size, n_segments=12, **params) for size in (3, 64)
    )
    assert np.abs(one.values - other.values).max() < 1e-6
    assert one.n_forward == other.n_forward


@pytest.mark.parametrize("method", ["occlusion", "lime", "kernel_shap"])
def test_the_forward_passes_counted_and_announced_are_those_made(method):
    asked = []
    model = cnn()
    model.register_forward_pre_hook(lambda _, args: asked.append(len(args[0])))
    from xai_widgets.session import Session

    session = Session(model, PIXELS, segments="grid", n_segments=12)
    info = session.method(method)
    params = info.bind({"window": 16} if method == "occlusion" else {"n_samples": 90, "confidence": None})
    asked.clear()
    steps = [step.estimate for step in session.explain(info, session.target(None), params)]
    seen = [(estimate.done, estimate.total, estimate.n_forward) for estimate in steps]
    assert sum(asked) == seen[-1][2] == session.cost(info, params)
    assert [done for done, *_ in seen] == sorted({done for done, *_ in seen})
    assert seen[-1][0] == seen[-1][1]


# ---------------------------------------------------------------------------------------------------------------------
# Grad-CAM
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("resnet18", None), ("mobilenet_v3_small", None), ("squeezenet1_1", None), ("resnet18", "layer3"),
        ("densenet121", "features.denseblock4.denselayer16.conv2"),
    ],
)  # fmt: skip
def test_gradcam_equals_pytorch_grad_cam_before_its_rescaling(name, layer):
    import torchvision

    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = getattr(torchvision.models, name)(weights=None, num_classes=5).eval()
    image, compared = photo(96, 96), 0
    batch = torch.from_numpy(image).permute(2, 0, 1)[None] / 255
    for target in range(5):
        ours = xw.attribute(model, image, method="gradcam", target=target, target_layer=layer)
        module = model.get_submodule(ours.target_layer)
        theirs = raw_gradcam(model, module, batch, target)
        assert np.abs(ours.coarse - theirs).max() <= 1e-5 * max(theirs.max(), 1e-3)
        compared += theirs.max() > 0
    assert compared >= 1


def test_gradcam_is_enlarged_not_rescaled_and_says_when_there_is_no_evidence():
    model = cnn()
    found = [xw.attribute(model, PIXELS, method="gradcam", target=target) for target in range(4)]
    assert all(e.coarse.shape == (12, 16) and e.values.shape == (48, 64) for e in found)
    assert all(e.values.max() <= e.coarse.max() for e in found)
    with torch.no_grad():
        model[-1].weight[2] = -1.0
    empty = xw.attribute(model, PIXELS, method="gradcam", target=2)
    assert (empty.values == 0).all()
    assert empty.warnings[0] == "There is no positive evidence for class 2 at the layer 5."


# ---------------------------------------------------------------------------------------------------------------------
# Saliency
# ---------------------------------------------------------------------------------------------------------------------


def test_saliency_of_a_linear_model_is_its_largest_weight():
    model = Linear(3, 3, 48, 64)
    found = xw.attribute(model, PIXELS, method="saliency", target=1, mean=[0.4] * 3, std=[0.2] * 3)
    assert np.allclose(found.values, model.weight[1].detach().abs().amax(0).numpy(), rtol=1e-6)


@pytest.mark.parametrize("space", ["logit", "probability"])
def test_saliency_equals_central_differences(space):
    model = cnn().double()
    found = xw.attribute(model, PIXELS, method="saliency", target=1, space=space)
    inputs = (torch.from_numpy(PIXELS).permute(2, 0, 1) / 255.0).float().double()

    def score(batch):
        with torch.no_grad():
            answer = model(batch)
        return (answer.softmax(1) if space == "probability" else answer)[:, 1].numpy()

    step = 1e-6
    for y, x in [(3, 5), (24, 32), (47, 63), (10, 50), (40, 8)]:
        moved = inputs.repeat(6, 1, 1, 1)
        for channel in range(3):
            moved[2 * channel, channel, y, x] += step
            moved[2 * channel + 1, channel, y, x] -= step
        differences = np.abs(np.subtract(*score(moved).reshape(3, 2).T)) / (2 * step)
        assert found.values[y, x] == pytest.approx(differences.max(), rel=1e-3, abs=1e-7)


# ---------------------------------------------------------------------------------------------------------------------
# Occlusion
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("window", "stride"), [(8, 8), (10, 7), (13, 5), (48, 10), (1000, None), (5, 100), (None, None)]
)
def test_occlusion_of_a_linear_model_is_the_mean_of_the_block_sums_over_a_pixel(window, stride):
    model = Linear(2, 3, 48, 64)
    found = xw.attribute(model, PIXELS, method="occlusion", target=1, space="logit", baseline="black",
                         window=window, stride=stride).values  # fmt: skip
    share = (model.weight[1].detach().numpy() * np.moveaxis(PIXELS, -1, 0) / 255).sum(0)
    window = min(window or 7, 48)
    stride = min(stride or window // 2, window)
    total, cover = np.zeros((48, 64)), np.zeros((48, 64))
    for top in sorted({*range(0, 48 - window + 1, stride), 48 - window}):
        for left in sorted({*range(0, 64 - window + 1, stride), 64 - window}):
            block = np.s_[top : top + window, left : left + window]
            total[block] += share[block].sum()
            cover[block] += 1
    assert cover.min() >= 1
    assert np.abs(found - total / cover).max() < 2e-5


def row_by_row(question, window, stride, count=None):
    """Occlusion with its windows in reading order, of the first `count` only: places not reached yet are 0."""
    (height, width), whole = question.view.shape, question.scores(np.ones((1, *question.view.shape), bool))[0]
    total, cover = np.zeros((height, width)), np.zeros((height, width))
    tops, lefts = (sorted({*range(0, n - window + 1, stride), n - window}) for n in (height, width))
    for top, left in list(itertools.product(tops, lefts))[:count]:
        mask = np.ones((1, height, width), bool)
        mask[0, top : top + window, left : left + window] = False
        total[top : top + window, left : left + window] += whole - question.scores(mask)[0]
        cover[top : top + window, left : left + window] += 1
    return total / np.maximum(cover, 1)


@pytest.mark.parametrize(("window", "stride"), [(8, 4), (9, 7), (48, 48), (16, 5), (1, 1)])
def test_occlusion_from_coarse_to_fine_ends_in_the_map_of_windows_asked_row_by_row(window, stride):
    question = problem(cnn(), photo(14, 11) if window == 1 else PIXELS, target=1, batch_size=8)
    *before, last = get_method("occlusion").run(question, window=window, stride=stride)
    expected = row_by_row(question, window, stride)
    assert np.abs(last.values - expected).max() < 1e-6
    assert last.warnings == ()
    assert last.n_forward == last.total + 1
    for step in before:  # each map on the way is of the whole picture and says that it is not all asked
        assert step.warnings == ("Between the windows asked about so far the map is interpolated.",)
        assert np.isfinite(step.values).all()


@pytest.mark.parametrize(("rows", "cols"), [(1, 1), (2, 1), (1, 9), (13, 13), (16, 5), (17, 32)])
def test_occlusions_passes_each_hold_the_one_before_and_end_in_every_window(rows, cols):
    known = set()
    for number, (down, across) in enumerate(passes(rows, cols)):
        places = set(itertools.product(down.tolist(), across.tolist()))
        assert known <= places <= set(itertools.product(range(rows), range(cols)))
        assert len(places) <= 2**number
        known = places
    assert len(known) == rows * cols


def test_a_quarter_of_occlusions_windows_ranks_places_nearly_as_all_do(monkeypatch):
    from scipy.stats import spearmanr

    from xai_widgets import problem as problems

    monkeypatch.setattr(problems.Pace, "due", lambda self: True)
    y, x = np.mgrid[0:48, 0:64]
    model = Linear(1, 3, 48, 64)
    with torch.no_grad():  # what matters lies low on the right, where rows come late
        model.weight[:] = torch.from_numpy(np.exp(-((y - 34) ** 2 + (x - 40) ** 2) / 250)) * 0.1
    white = np.full((48, 64, 3), 255, np.uint8)
    question = problem(model, white, target=0, space="logit", baseline="black", batch_size=7)
    steps = list(get_method("occlusion").run(question, window=8, stride=4))
    quarter = next(step for step in steps if step.done >= steps[-1].total / 4)
    assert quarter.done < 0.3 * steps[-1].total
    final = steps[-1].values.ravel()
    ours = spearmanr(quarter.values.ravel(), final).statistic
    theirs = spearmanr(row_by_row(question, 8, 4, quarter.done).ravel(), final).statistic
    assert ours > 0.98
    assert theirs < 0.5
    first = steps[0].values.ravel()  # 7 of 165 windows
    assert spearmanr(first, final).statistic > 0.5


# ---------------------------------------------------------------------------------------------------------------------
# LIME
# ---------------------------------------------------------------------------------------------------------------------


def ripple(n, seed=0):
    """A game of `n` players with pairs, a triple and a maximum: nothing additive about it."""
    rng = np.random.default_rng(seed)
    single, double = rng.normal(size=n), rng.normal(size=(n, n)) * 0.5

    def value(z):
        pairs = np.einsum("bi,ij,bj->b", z, double, z)
        return z @ single + pairs + 1.5 * z[:, 0] * z[:, 1] * z[:, 2] - 2 * z[:, 4:7].max(1)

    return value


def test_masks_are_all_on_then_coins_and_their_complements():
    masks = np.concatenate(list(paired_masks(np.random.default_rng(0), 1000, 30)))
    assert masks.shape == (1000, 30)
    assert masks[0].all()
    assert np.array_equal(masks[1:-1:2], ~masks[2::2])
    assert np.abs(masks[1:999].mean(0) - 0.5).max() < 1e-9  # pairs balance every region
    assert abs(masks[1::2].mean() - 0.5) < 0.02
    for n in (4, 5, 64, 65, 66, 129):
        assert sum(map(len, paired_masks(np.random.default_rng(0), n, 3))) == n


@pytest.mark.parametrize("n_segments", [5, 24])
def test_lime_equals_lime(n_segments):
    from lime.lime_image import LimeImageExplainer

    options = {"segments": "grid", "n_segments": n_segments, "baseline": "black", "seed": 3}
    question = problem(cnn(), PIXELS, **options)
    masks = np.concatenate(list(paired_masks(question.rng(), 200, question.n_segments)))
    answers = np.concatenate([answer for _, answer in question.perturb([masks])])

    class Theirs(LimeImageExplainer):
        def data_labels(self, *_args, **_options):
            return masks.astype(int), answers  # distances, kernel, ridge and choice of regions stay theirs

    theirs = Theirs(random_state=0, feature_selection="none").explain_instance(
        PIXELS, None, labels=range(4), top_labels=None, segmentation_fn=lambda _: question.labels
    )
    for target in range(4):
        ours = xw.attribute(cnn(), PIXELS, method="lime", target=target, n_samples=200, confidence=None, **options)
        weights = dict(theirs.local_exp[target])
        assert np.abs(ours.segment_values - [weights[i] for i in range(question.n_segments)]).max() < 1e-6
        assert np.abs(ours.segment_values).max() > 1e-4
    assert ours.checks["fidelity_r2"][0] == pytest.approx(theirs.score, abs=1e-6)


def test_distances_are_sklearns_also_of_the_empty_mask():
    from sklearn.metrics import pairwise_distances

    masks = np.random.default_rng(0).random((50, 12)) < 0.5
    masks[0], masks[1] = True, False
    theirs = pairwise_distances(masks.astype(float), np.ones((1, 12)), metric="cosine").ravel()
    assert np.allclose(cosine_distances(masks), theirs, atol=1e-12)


def test_lime_recovers_an_additive_model_up_to_the_shrinkage_of_its_ridge():
    effects = np.random.default_rng(1).normal(size=16)
    game = Game(lambda z: z @ effects + 3, 4, 4)
    found = xw.attribute(game, game.picture, method="lime", n_samples=1000, confidence=None, seed=2, **game.options)
    masks = np.concatenate(list(paired_masks(np.random.default_rng(2), 1000, 16))).astype(float)
    weights = np.exp(-((1 - np.sqrt(masks.mean(1))) ** 2) / (2 * 0.25**2))
    centred = masks - np.average(masks, axis=0, weights=weights)
    gram = (centred * weights[:, None]).T @ centred
    expected = np.linalg.solve(gram + np.eye(16), gram @ effects)
    assert np.abs(found.segment_values - expected).max() < 1e-5
    assert np.abs(found.segment_values - effects).max() < 0.05 * np.abs(effects).max()
    assert found.checks["fidelity_r2"][0] > 0.99


@pytest.mark.parametrize("n_samples", [120, 250])
def test_limes_errors_match_how_far_it_is_from_what_it_converges_to(n_samples):
    game = Game(ripple(16), 4, 4)
    runs = [
        xw.attribute(game, game.picture, method="lime", n_samples=n_samples, confidence=None, seed=seed, **game.options)
        for seed in range(60)
    ]
    every = (np.arange(2**16)[:, None] >> np.arange(16) & 1).astype(float)
    weights = np.exp(-((1 - np.sqrt(every.mean(1))) ** 2) / (2 * 0.25**2))
    rows = np.column_stack([np.ones(len(every)), every])
    limit = np.linalg.solve((rows * weights[:, None]).T @ rows, rows.T @ (weights * game.value(every)))[1:]
    off = np.sqrt(np.mean([(run.segment_values - limit) ** 2 for run in runs], axis=0))
    claimed = np.sqrt(np.mean([run.std_error**2 for run in runs], axis=0))
    ratio = claimed / off  # single regions scatter: a spread over 60 seeds is itself known to a tenth
    assert 1 / 1.3 < np.median(ratio) < 1.3
    assert ratio.min() > 1 / 1.6
    assert ratio.max() < 1.6


# ---------------------------------------------------------------------------------------------------------------------
# SHAP
# ---------------------------------------------------------------------------------------------------------------------


def shapley(value, n):
    """Shapley values by their definition, over all coalitions."""
    worth = {
        coalition: float(value(np.isin(np.arange(n), coalition)[None].astype(float))[0])
        for size in range(n + 1)
        for coalition in itertools.combinations(range(n), size)
    }
    found = np.zeros(n)
    for coalition, before in worth.items():
        size = len(coalition)
        share = factorial(size) * factorial(n - size - 1) / factorial(n) if size < n else 0
        for player in set(range(n)) - set(coalition):
            found[player] += share * (worth[tuple(sorted((*coalition, player)))] - before)
    return found


@pytest.mark.parametrize("n_samples", [None, 256, 5000])
def test_shap_equals_exact_enumeration_when_all_coalitions_are_asked(n_samples):
    value = ripple(8)
    game = Game(value, 2, 4)
    found = xw.attribute(game, game.picture, method="kernel_shap", n_samples=n_samples, **game.options)
    assert np.abs(found.segment_values - shapley(value, 8)).max() < 1e-6 * max(1, np.abs(found.segment_values).max())
    assert not found.std_error.any()
    assert found.checks["completeness_gap"][1] == "exact"
    assert found.n_forward == 256


def test_shap_of_a_real_network_equals_enumeration_of_its_answers():
    question = problem(cnn(), PIXELS, segments="grid", n_segments=6, target=1)
    found = xw.attribute(cnn(), PIXELS, method="kernel_shap", segments="grid", n_segments=6, target=1)
    exact = shapley(lambda z: question.scores(z.astype(bool)), question.n_segments)
    assert np.abs(found.segment_values - exact).max() < 1e-6


@pytest.mark.parametrize("n_samples", [256, 120])
def test_shap_gives_a_dummy_nothing_twins_the_same_and_shares_out_everything(n_samples):
    def value(z):  # player 0 does nothing; 1 and 2 are interchangeable
        return 2 * z[:, 1] * z[:, 2] + z[:, 3] * z[:, 4] - z[:, 5] + 0.5 * z[:, 6] * z[:, 7] * (z[:, 1] + z[:, 2])

    game = Game(value, 2, 4)
    found = xw.attribute(game, game.picture, method="kernel_shap", n_samples=n_samples, **game.options)
    phi = found.segment_values
    all_on, all_off = value(np.ones((1, 8)))[0], value(np.zeros((1, 8)))[0]
    assert phi.sum() == pytest.approx(all_on - all_off, abs=1e-6)
    if n_samples == 256:
        assert phi[0] == pytest.approx(0, abs=1e-6)
        assert phi[1] == pytest.approx(phi[2], abs=1e-6)
        assert phi[5] == pytest.approx(-1, abs=1e-6)
    else:
        assert np.abs(phi - shapley(value, 8)).max() < 5 * found.std_error.max()
        assert found.std_error.max() < 0.3


@pytest.mark.parametrize(("rows", "cols"), [(4, 4), (3, 5)])
def test_shaps_errors_match_the_spread_over_seeds(rows, cols):
    game = Game(ripple(rows * cols), rows, cols)
    runs = [
        xw.attribute(
            game, game.picture, method="kernel_shap", n_samples=300, confidence=None, seed=seed, **game.options
        )
        for seed in range(40)
    ]
    spread = np.std([run.segment_values for run in runs], axis=0, ddof=1)
    claimed = np.sqrt(np.mean([run.std_error**2 for run in runs], axis=0))
    assert 1 / 1.4 < np.median(claimed / spread) < 1.4
    exact = shapley(game.value, rows * cols) if rows * cols < 16 else None
    if exact is not None:
        bias = np.mean([run.segment_values for run in runs], axis=0) - exact
        assert np.abs(bias).max() < 4 * (spread / np.sqrt(40)).max()


def test_shap_says_when_the_samples_are_too_few_and_claims_no_errors(recwarn):
    game = Game(ripple(16), 4, 4)
    found = xw.attribute(game, game.picture, method="kernel_shap", n_samples=20, **game.options)
    assert found.std_error is None
    assert found.warnings[0] == "20 samples are too few for 16 regions; take 50 or more."
    assert xw.attribute(game, game.picture, method="kernel_shap", n_samples=50, **game.options).std_error is not None
    assert [str(w.message) for w in recwarn] == []


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_few_regions_are_enough_for_lime_and_shap(n):
    labels = np.arange(64)[None].repeat(48, 0) * n // 64
    for method in ("lime", "kernel_shap"):
        found = xw.attribute(cnn(), PIXELS, method=method, segments=labels, n_samples=60)
        assert found.segment_values.shape == (n,)
        assert np.isfinite(found.segment_values).all()
        assert np.isfinite(found.std_error).all()
