"""Methods that switch parts off and ask: against shap, captum, scipy and scikit-image, and games that can be solved."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest
import torch
from models import Game, Linear, Tally, assert_untouched, cnn, fingerprint, photo, problem, unusual

import xai_widgets as xw
from xai_widgets.methods import permutation_shap as permutation
from xai_widgets.methods._trees import Pixels, Regions
from xai_widgets.methods.rise import draws as rise_draws
from xai_widgets.methods.rise import masks as rise_masks
from xai_widgets.methods.sobol import designs
from xai_widgets.registry import get_method

PIXELS = photo()
QUICK = {
    "feature_ablation": {}, "permutation_shap": {"n_permutations": 2}, "partition_shap": {"max_evals": 25},
    "rise": {"n_samples": 21}, "sobol": {"grid_size": 3, "n_designs": 2},
}  # fmt: skip
LINEAR = {
    "feature_ablation": {}, "permutation_shap": {"n_permutations": 2}, "rise": {"n_samples": 21},
    "occlusion": {"window": 20}, "lime": {"n_samples": 60},
}  # fmt: skip


def run(method, question, **params):
    """The last estimate of a method on a `Problem`."""
    info = get_method(method)
    return list(info.run(question, **info.bind(params)))[-1]


def play(game, **options):
    """A game as a `Problem`."""
    given = {**game.options, **options}
    return problem(game, game.picture, **given)


def ripple(n, seed=0):
    """A game of `n` players with pairs, triples and a maximum: nothing additive about it, and no ties."""
    rng = np.random.default_rng(seed)
    single, double = rng.normal(size=n), rng.normal(size=(n, n)) * 0.5

    def value(z):
        pairs = np.einsum("bi,ij,bj->b", z, double, z)
        return z @ single + pairs + 1.5 * z[:, 0] * z[:, 1] * z[:, 2] - 2 * z[:, 3:6].max(1)

    return value


def mean_over(orders, value, n):
    """What each player adds when it comes, averaged over `orders`."""
    found = np.zeros(n)
    for order in orders:
        on = np.zeros((n + 1, n))
        for step, player in enumerate(order):
            on[step + 1 :, player] = 1
        found[list(order)] += np.diff(value(on))
    return found / len(orders)


# ---------------------------------------------------------------------------------------------------------------------
# What holds for all
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "params"),
    [
        *QUICK.items(), ("permutation_shap", {}), ("rise", {"n_samples": 130, "grid_size": 5}),
        ("sobol", {"grid_size": 32, "n_designs": 4}), ("partition_shap", {"hierarchy": "image", "max_evals": 38}),
        ("partition_shap", {"max_evals": 4}), ("partition_shap", {"max_evals": 5}), ("partition_shap", {}),
    ],
)  # fmt: skip
def test_the_calls_announced_are_those_made(method, params):
    made, model = Tally(), cnn()
    picture = photo(8, 10) if params.get("grid_size") == 32 else PIXELS  # 8 × 10 cells of a pixel
    question = problem(model, picture, segments="grid", n_segments=9)
    model.register_forward_pre_hook(lambda _, args: made.__setitem__(0, made[0] + len(args[0])))
    info = get_method(method)
    params = info.bind(params)
    steps = list(info.run(question, **params))
    assert made[0] + question.tally.reused == steps[-1].n_forward == info.cost(question, **params)
    assert all(step.done <= step.total == steps[-1].done for step in steps)
    done = [step.done for step in steps]
    assert done == sorted(set(done))
    assert len(steps) > 1 or made[0] == 4


@pytest.mark.parametrize("method", QUICK)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_any_number_format_any_channels_and_a_tidy_model(method, dtype):
    for channels, picture in ((1, PIXELS[..., 0]), (3, PIXELS)):
        model = unusual(cnn(channels=channels)).to(dtype)
        before = fingerprint(model)
        one, other = (
            xw.attribute(model, picture, method=method, n_segments=9, segments="grid", target=1, seed=3,
                         batch_size=size, **QUICK[method])
            for size in (4, 4)
        )  # fmt: skip
        assert one.values.dtype == np.float32
        assert one.values.shape == (48, 64)
        assert np.isfinite(one.values).all()
        assert one.values.tobytes() == other.values.tobytes()
        assert_untouched(model, before)


@pytest.mark.parametrize("method", QUICK)
def test_the_batch_size_does_not_change_the_map(method):
    for params in (QUICK[method], {**QUICK[method], **({"hierarchy": "image"} if method == "partition_shap" else {})}):
        one, other = (
            xw.attribute(cnn(), PIXELS, method=method, batch_size=size, segments="grid", n_segments=9, **params)
            for size in (3, 64)
        )
        assert np.abs(one.values - other.values).max() < 1e-6 * max(1, np.abs(one.values).max())


@pytest.mark.parametrize("method", QUICK)
def test_one_can_stop_between_two_batches(method):
    model = unusual(cnn())
    question = problem(model, PIXELS, segments="grid", n_segments=9, batch_size=4)
    before = fingerprint(model)
    steps = get_method(method).run(question, **QUICK[method])
    for _, step in zip(range(3), steps, strict=False):
        assert step.done <= step.total
    steps.close()
    assert_untouched(model, before)


@pytest.mark.parametrize("space", ["logit", "probability"])
@pytest.mark.parametrize("method", LINEAR)
def test_one_class_rather_than_another_is_the_difference_of_their_maps(method, space):
    maps = [
        xw.attribute(cnn(), PIXELS, method=method, target=target, space=space, segments="grid", n_segments=9,
                     **LINEAR[method]).values.astype(float)
        for target in ((0, 2), 0, 2)
    ]  # fmt: skip
    assert get_method(method).linear
    assert np.abs(maps[0] - (maps[1] - maps[2])).max() < 2e-6 * max(1, np.abs(maps[0]).max())


def test_a_budget_that_follows_the_answer_and_a_variance_are_not_linear():
    for method in ("partition_shap", "sobol"):
        a_b, a, b = (
            run(method, problem(cnn(), PIXELS, segments="grid", n_segments=16, target=target), **QUICK[method])
            for target in ((0, 2), 0, 2)
        )
        pick = (lambda step: step.regions) if method == "partition_shap" else (lambda step: step.values)
        assert not get_method(method).linear
        assert np.abs(pick(a_b) - (pick(a) - pick(b))).max() > 1e-3 * np.abs(pick(a_b)).max()


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("method", ["feature_ablation", "permutation_shap", "partition_shap"])
def test_a_few_regions_are_enough(method, n):
    labels = np.arange(64)[None].repeat(48, 0) * n // 64
    found = xw.attribute(cnn(), PIXELS, method=method, segments=labels, target=1)
    assert found.segment_values.shape == found.std_error.shape == (n,)
    if method != "feature_ablation" or n == 1:
        question = problem(cnn(), PIXELS, segments=labels, target=1)
        change = question.scores(np.ones((1, n), bool)) - question.scores(np.zeros((1, n), bool))
        assert found.segment_values.sum() == pytest.approx(float(change[0]), abs=1e-7)


# ---------------------------------------------------------------------------------------------------------------------
# Kernel SHAP's name
# ---------------------------------------------------------------------------------------------------------------------


def test_shap_is_another_name_for_kernel_shap():
    assert get_method("shap") is get_method("kernel_shap")
    found = xw.attribute(cnn(), PIXELS, method="shap", segments="grid", n_segments=4)
    assert found.method == "kernel_shap"


# ---------------------------------------------------------------------------------------------------------------------
# Feature ablation
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("space", ["logit", "probability"])
@pytest.mark.parametrize("n_segments", [6, 100])
def test_feature_ablation_equals_captums(space, n_segments):
    from captum.attr import FeatureAblation

    model = cnn().double()
    question = problem(model, PIXELS, segments="grid", n_segments=n_segments, target=1, space=space)
    theirs = FeatureAblation(model if space == "logit" else lambda x: model(x).softmax(1)).attribute(
        question.inputs[None], baselines=question.off_inputs[None], target=1,
        feature_mask=torch.from_numpy(question.labels).long()[None, None],
    )  # fmt: skip
    ours = run("feature_ablation", question)
    assert np.abs(ours.regions[question.labels] - theirs[0, 0].detach().numpy()).max() < 1e-9
    assert np.abs(ours.regions).max() > 5e-5
    assert not ours.std_error.any()


def test_feature_ablation_of_a_linear_model_is_each_regions_share():
    model = Linear(2, 3, 48, 64)
    found = xw.attribute(model, PIXELS, method="feature_ablation", target=1, space="logit", baseline="black")
    share = (model.weight[1].detach().numpy() * np.moveaxis(PIXELS, -1, 0) / 255).sum(0)
    sums = np.bincount(found.segments.ravel(), share.ravel().astype(float))
    assert np.abs(found.segment_values - sums).max() < 2e-5
    assert found.additive


# ---------------------------------------------------------------------------------------------------------------------
# Permutation SHAP
# ---------------------------------------------------------------------------------------------------------------------


def shaps_orders(seed, n_permutations, n):
    """The orders in which shap's PermutationExplainer goes."""
    state, order = np.random.RandomState(seed), np.arange(n)
    for _ in range(n_permutations):
        state.shuffle(order)
        yield order.copy()


@pytest.mark.parametrize("n_permutations", [1, 10])
def test_permutation_shap_equals_shaps_on_the_same_orders(monkeypatch, n_permutations):
    import shap

    value = ripple(9)
    explainer = shap.PermutationExplainer(value, np.zeros((1, 9)), seed=5)
    theirs = explainer(np.ones((1, 9)), max_evals=n_permutations * 19, silent=True).values[0]
    monkeypatch.setattr(permutation, "orders", lambda _rng, count, n: shaps_orders(5, count, n))
    ours = run("permutation_shap", play(Game(value, 3, 3)), n_permutations=n_permutations)
    assert np.abs(ours.regions - theirs).max() < 1e-6 * np.abs(theirs).max()


def test_one_pair_of_orders_is_exact_for_games_of_pairs_and_gives_twins_the_same_and_a_dummy_nothing():
    def value(z):  # player 0 does nothing; 1 and 2 are interchangeable
        return 2 * z[:, 1] * z[:, 2] + z[:, 3] * z[:, 4] - z[:, 5] + 0.5 * (z[:, 1] + z[:, 2]) * z[:, 6] + z[:, 7]

    found = run("permutation_shap", play(Game(value, 2, 4)), n_permutations=1)
    assert np.abs(found.regions - [0, 1.25, 1.25, 0.5, 0.5, -1, 0.5, 1]).max() < 1e-6
    assert found.std_error is None
    assert found.warnings == ("One permutation does not say how sure these shares are; take 2 or more.",)


@pytest.mark.parametrize("n_permutations", [1, 3, 20])
def test_shares_of_any_number_of_orders_add_up_and_a_dummy_gets_nothing(n_permutations):
    inner = ripple(7)
    game = Game(lambda z: inner(z[:, 1:]), 2, 4)
    found = run("permutation_shap", play(game), n_permutations=n_permutations)
    change = game.value(np.ones((1, 8))) - game.value(np.zeros((1, 8)))
    assert found.regions.sum() == pytest.approx(change[0], abs=1e-6)
    assert abs(found.regions[0]) < 1e-9
    assert found.checks["completeness_gap"][0] < 1e-6


def test_every_step_towards_permutation_shap_is_a_map_of_what_is_known_by_then():
    question = play(Game(ripple(9), 3, 3), batch_size=5)
    steps = list(get_method("permutation_shap").run(question, n_permutations=6))
    change = float(np.diff(question.scores(np.stack([np.zeros(9, bool), np.ones(9, bool)])))[0])
    maps = [step for step in steps if step.has_map]
    assert steps[3].has_map is False
    assert len({step.regions.tobytes() for step in maps}) == 6
    assert all(step.regions.sum() == pytest.approx(change, abs=1e-6) for step in maps)
    # The map after two orders is that of two orders.
    two = run("permutation_shap", question, n_permutations=2)
    assert any(np.allclose(step.regions, two.regions, atol=1e-12) for step in maps[:-1])


def test_permutation_shap_comes_to_exact_enumeration_and_its_errors_match_the_spread_over_seeds():
    game = Game(ripple(7), 1, 7)
    exact = mean_over(list(itertools.permutations(range(7))), game.value, 7)
    runs = [run("permutation_shap", play(game, seed=seed), n_permutations=12) for seed in range(60)]
    spread = np.std([step.regions for step in runs], axis=0, ddof=1)
    claimed = np.sqrt(np.mean([step.std_error**2 for step in runs], axis=0))
    moving = spread > 1e-6
    assert moving.sum() >= 5
    ratio = claimed[moving] / spread[moving]
    assert 1 / 1.3 < np.median(ratio) < 1.3
    assert ratio.min() > 1 / 1.6
    assert ratio.max() < 1.6
    bias = np.mean([step.regions for step in runs], axis=0) - exact
    assert np.abs(bias).max() < 4 * spread.max() / np.sqrt(60)
    assert spread.max() < 0.1 * np.abs(exact).max()
    many = run("permutation_shap", play(game), n_permutations=400)
    assert np.abs(many.regions - exact).max() < 5 * many.std_error.max() < 0.15


# ---------------------------------------------------------------------------------------------------------------------
# Partition SHAP
# ---------------------------------------------------------------------------------------------------------------------


def linkage(tree):
    """Our tree of regions in the form of scipy's, which shap takes."""
    sizes = [1] * tree.n
    rows = []
    for step, (left, right) in enumerate(tree.children):
        sizes.append(sizes[left] + sizes[right])
        rows.append((left, right, step + 1.0, sizes[-1]))
    return np.array(rows)


@pytest.mark.parametrize(
    ("rows", "cols", "max_evals"), [(3, 4, 4), (3, 4, 5), (3, 4, 12), (5, 6, 37), (5, 6, 300), (3, 4, 5000)]
)
def test_partition_shap_equals_shaps_on_the_same_hierarchy(rows, cols, max_evals):
    import shap

    value, n = ripple(rows * cols), rows * cols
    question = play(Game(value, rows, cols))
    tree = Regions(question.view.image, question.labels)
    masker = shap.maskers.Partition(np.zeros((1, n)), clustering=linkage(tree))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        explainer = shap.PartitionExplainer(value, masker)
        theirs = explainer(np.ones((1, n)), max_evals=max_evals, silent=True)
    ours = run("partition_shap", question, max_evals=max_evals)
    assert np.abs(ours.regions - theirs.values[0]).max() < 1e-6 * np.abs(theirs.values).max()
    assert ours.n_forward == explainer.last_eval_count + 2
    assert ours.checks["completeness_gap"][1] == ("exact" if max_evals == 5000 else "holds by construction")
    assert (ours.std_error is None) == (max_evals < 5000)


@pytest.mark.parametrize(("channels", "shape", "max_evals"), [(1, (12, 17), 400), (3, (16, 12), 90), (1, (5, 4), 9999)])
def test_partition_shap_equals_shaps_image_masker(channels, shape, max_evals):
    import shap

    model = cnn(channels=channels).double()
    picture = photo(*shape) if channels == 3 else photo(*shape)[..., 0]
    question = problem(model, picture, target=1, segments="grid", n_segments=4, baseline="black")

    def answer(pictures):
        with torch.no_grad():
            return model(torch.from_numpy(pictures).permute(0, 3, 1, 2)).softmax(1)[:, 1].numpy()

    on, off = (np.moveaxis(x.double().numpy(), 0, -1) for x in (question.inputs, question.off_inputs))
    explainer = shap.PartitionExplainer(answer, shap.maskers.Image(off, on.shape))
    theirs = explainer(on[None], max_evals=max_evals, silent=True).values[0].sum(-1)
    ours = run("partition_shap", question, hierarchy="image", max_evals=max_evals)
    assert np.abs(ours.values - theirs).max() < 1e-6 * np.abs(theirs).max()
    assert ours.n_forward == explainer.last_eval_count + 2
    assert ours.checks["completeness_gap"][1] == ("exact" if max_evals == 9999 else "holds by construction")


def orders_of(tree, node):
    """All orders in which the leaves may come when those below a node stay together."""
    halves = tree.split(node)
    if halves is None:
        return [(node,)]
    left, right = (orders_of(tree, half) for half in halves)
    both = list(itertools.product(left, right))
    return [a + b for a, b in both] + [b + a for a, b in both]


@pytest.mark.parametrize(("rows", "cols"), [(2, 3), (2, 4)])
def test_complete_owen_values_equal_enumeration_of_all_orders_that_respect_the_hierarchy(rows, cols):
    n = rows * cols
    game = Game(ripple(n), rows, cols)
    question = play(game)
    tree = Regions(question.view.image, question.labels)
    orders = orders_of(tree, tree.root)
    assert len(orders) == 2 ** (n - 1)
    found = run("partition_shap", question)
    exact = mean_over(orders, game.value, n)
    assert np.abs(found.regions - exact).max() < 1e-6 * np.abs(exact).max()
    assert found.checks["completeness_gap"][1] == "exact"
    assert not found.std_error.any()
    shapley = mean_over(list(itertools.permutations(range(n))), game.value, n) if n == 6 else exact + 1
    assert np.abs(found.regions - shapley).max() > 0.01  # the hierarchy matters


def test_every_map_on_the_way_to_partition_shap_shares_out_the_whole_change(monkeypatch):
    from xai_widgets import problem as problems

    monkeypatch.setattr(problems.Pace, "due", lambda self: True)
    for hierarchy in ("regions", "image"):
        question = problem(cnn(), PIXELS, segments="grid", n_segments=16, target=1)
        ends = question.scores(np.stack([np.zeros(question.n_segments, bool), np.ones(question.n_segments, bool)]))
        params = {"hierarchy": hierarchy, "max_evals": 60}
        maps = [step for step in get_method("partition_shap").run(question, **params) if step.has_map]
        sums = [float(np.sum(step.values if hierarchy == "image" else step.regions)) for step in maps]
        assert len(maps) > 5
        assert np.abs(np.array(sums) - (ends[1] - ends[0])).max() < 1e-5


def test_regions_that_touch_and_look_alike_are_joined_first():
    picture = np.zeros((40, 40, 3), np.uint8)
    picture[:20, :20], picture[:20, 20:], picture[20:, :20], picture[20:, 20:] = 250, (200, 0, 0), (0, 0, 200), 10
    labels = np.arange(8).repeat(5)[:, None] * 8 + np.arange(8).repeat(5)
    tree = Regions(picture, labels)
    parts = {frozenset(tree.leaves(node)) for node in range(64, tree.root + 1)}
    for top, left in itertools.product((0, 4), (0, 4)):
        quarter = {8 * row + col for row in range(top, top + 4) for col in range(left, left + 4)}
        assert quarter in parts
    for node in range(64, tree.root + 1):  # each part is in one piece
        left, right = ({(leaf // 8, leaf % 8) for leaf in tree.leaves(half)} for half in tree.split(node))
        assert any(abs(a - c) + abs(b - d) == 1 for a, b in left for c, d in right)
    # Stripes of black and white: every other one looks alike, but only neighbours are joined.
    stripes = np.arange(8).repeat(5)[None].repeat(10, 0)
    tree = Regions((stripes % 2 * np.uint8(255)).astype(np.uint8)[..., None].repeat(3, -1), stripes)
    below = [sorted(tree.leaves(node)) for node in range(8, 15)]
    assert all(leaves == list(range(leaves[0], leaves[-1] + 1)) for leaves in below)
    # Without colour places decide, and the tree is balanced: exact values stay cheap.
    assert Regions(np.full((40, 40, 3), 128, np.uint8), labels).n_splits < 64**2


def test_regions_in_several_pieces_and_a_picture_of_one_row_have_a_hierarchy_too():
    labels = np.array([[0, 1, 0, 2, 3, 2]])
    tree = Regions(photo(1, 6), labels)
    assert sorted(tree.leaves(tree.root)) == [0, 1, 2, 3]
    assert Pixels((1, 1)).n_splits == 0
    assert Pixels((4, 4)).n_splits == sum(4**depth for depth in range(4))
    apart = np.zeros((6, 6), int)
    apart[0, 0], apart[5, 5] = 1, 2
    assert sorted(Regions(photo(6, 6), apart).leaves(4)) == [0, 1, 2]


# ---------------------------------------------------------------------------------------------------------------------
# RISE
# ---------------------------------------------------------------------------------------------------------------------


def authors_masks(coins, down, across, shape):
    """RISE's masks as its authors make them, with scikit-image, from given coins and shifts."""
    from skimage.transform import resize

    size = coins.shape[-1]
    cell = [-(-length // size) for length in shape]
    enlarged = [
        resize(grid, ((size + 1) * cell[0], (size + 1) * cell[1]), order=1, mode="reflect", anti_aliasing=False)
        for grid in coins
    ]
    return np.stack(
        [e[y : y + shape[0], x : x + shape[1]] for e, y, x in zip(enlarged, down, across, strict=True)]
    )  # fmt: skip


@pytest.mark.parametrize(("shape", "size", "keep"), [((48, 64), 7, 0.5), ((30, 21), 4, 0.3), ((5, 9), 8, 0.5)])
def test_rise_equals_its_authors_formula_on_their_masks(shape, size, keep):
    question = problem(cnn(), photo(*shape), target=1, seed=4)
    n, cells = 50, tuple(-(-length // size) for length in shape)
    coins, down, across = (part[:n] for part in next(rise_draws(question.rng(), size, keep, cells)))
    theirs = authors_masks(coins.astype(float), down, across, shape)
    ours = np.concatenate(list(rise_masks(question.rng(), n, size, keep, shape)))
    assert np.abs(ours - theirs).max() < 1e-6
    assert np.ptp(down) > 0 or shape[0] <= size
    scores = question.scores(theirs.astype(np.float32))
    formula = np.tensordot(scores, theirs, 1) / n / keep
    found = run("rise", question, n_samples=n, grid_size=size, keep=keep, form="paper")
    assert np.abs(found.values - formula).max() < 1e-6
    shown = theirs.sum(0)
    given = np.divide(formula * n * keep, shown, where=shown > 0, out=np.full(shape, scores.mean()))
    found = run("rise", question, n_samples=n, grid_size=size, keep=keep)
    assert np.abs(found.values - (given - scores.mean())).max() < 1e-6
    assert found.checks["mean_answer"] == (pytest.approx(scores.mean(), abs=1e-6), "subtracted")


@pytest.mark.parametrize(("keep", "form"), [(0.5, "difference"), (0.5, "paper"), (0.3, "difference")])
def test_rise_of_a_linear_model_comes_to_its_known_expectation(keep, form):
    shape, size, n = (8, 10), 3, 3000
    model = Linear(2, 3, *shape)
    picture = np.full((*shape, 3), 255, np.uint8)
    question = problem(model, picture, target=1, space="logit", baseline="black", size=None, seed=1)
    weight = model.weight[1].detach().double().numpy().sum(0).ravel()
    # Masks are linear in independent coins, so E[M_i M_j] = p² + p (1 - p) E[U_i · U_j], U over all shifts.
    basis = np.eye(size * size).reshape(-1, size, size)
    both = np.zeros((weight.size, weight.size))
    shifts = list(itertools.product(range(3), range(4)))
    for y, x in shifts:
        upsampled = authors_masks(basis, [y] * 9, [x] * 9, shape).reshape(9, -1)
        both += (keep**2 + keep * (1 - keep) * upsampled.T @ upsampled) / len(shifts)
    expected = both @ weight / keep
    found = run("rise", question, n_samples=n, grid_size=size, keep=keep, form=form).values.ravel()
    masks = np.concatenate(list(rise_masks(question.rng(), n, size, keep, shape))).reshape(n, -1)
    answers, mean = (masks @ weight)[:, None], keep * weight.sum()
    moves = masks * answers / keep  # what each mask contributes, so that its spread tells the sampling error
    if form == "difference":
        moves = masks * (answers - expected) / keep - answers
        expected = expected - mean
    error = moves.std(0) / np.sqrt(n)
    assert np.abs((found - expected) / error).max() < 4.5
    assert error.max() < 0.1 * np.ptp(expected)


@pytest.mark.parametrize(("keep", "size"), [(0.5, 7), (0.5, 3), (0.3, 7)])
def test_the_first_of_rises_masks_are_those_of_a_run_of_fewer(keep, size):
    few, more = (
        np.concatenate(list(rise_masks(np.random.default_rng(3), n, size, keep, (20, 30)))) for n in (165, 330)
    )
    assert (len(few), len(more)) == (165, 330)
    assert np.array_equal(few, more[:165])
    assert len(np.unique(more.reshape(330, -1), axis=0)) > (300 if size == 7 else 200)


@pytest.mark.parametrize(("size", "block"), [(7, 64), (3, 16), (2, 8), (8, 128)])
def test_rises_coins_are_balanced_in_pairs_within_the_blocks_of_each_half(size, block):
    drawn = rise_draws(np.random.default_rng(0), size, 0.5, (4, 5))
    coins = np.concatenate([coins.reshape(len(coins), -1) for coins, *_ in itertools.islice(drawn, 6)])
    for half in (coins[::2], coins[1::2]):
        for start in range(0, len(half) - block + 1, block):
            signs = 2 * half[start : start + block] - 1
            assert not signs.sum(0).any()
            assert np.array_equal(signs.T @ signs, block * np.eye(size * size))
    # Whatever is drawn, any pattern is as likely as any other: over many blocks triples are balanced, too.
    blocks = [next(rise_draws(np.random.default_rng(seed), 2, 0.5, (4, 5)))[0].reshape(-1, 4) for seed in range(300)]
    counts = np.bincount((np.concatenate(blocks) @ [8, 4, 2, 1]).astype(int), minlength=16)
    assert np.abs(counts / counts.sum() - 1 / 16).max() < 0.012


@pytest.mark.parametrize("keep", [0.5, 0.3])
@pytest.mark.parametrize("n", [40, 130, 512])
def test_rises_halves_err_independently(keep, n):
    weight = np.random.default_rng(9).normal(size=(8, 10))
    maps = []
    for seed in range(150):
        made = np.concatenate(list(rise_masks(np.random.default_rng(seed), n, 3, keep, (8, 10))))
        answers = np.tensordot(made, weight, 2) - keep * weight.sum()
        maps.append([np.tensordot(answers[k::2], made[k::2], 1) / len(made[k::2]) for k in (0, 1)])
    errors = np.array(maps) - np.mean(maps, axis=0)  # what seeds change: the sampling error
    correlation = np.corrcoef(errors[:, 0].ravel(), errors[:, 1].ravel())[0, 1]
    assert abs(correlation) < 0.2


def test_balanced_coins_err_less_than_independent_ones():
    weight = np.random.default_rng(9).normal(size=(14, 14))
    spread = {}
    for keep in (0.5, 0.5 + 1e-9):  # beside one half coins are independent
        maps = []
        for seed in range(40):
            made = np.concatenate(list(rise_masks(np.random.default_rng(seed), 256, 7, keep, (14, 14))))
            answers = np.tensordot(made, weight, 2)
            maps.append(np.tensordot(answers, made, 1) / made.sum(0) - answers.mean())
        spread[keep] = np.var(maps, axis=0).mean()
    assert spread[0.5] < 0.6 * spread[0.5 + 1e-9]


def test_rise_says_how_stable_it_is():
    few, many = (
        run("rise", problem(cnn(), PIXELS, target=1, space="logit"), n_samples=n, grid_size=4) for n in (6, 1200)
    )
    assert few.checks["half_correlation"][1] == "rough"
    assert "take more samples" in few.warnings[0]
    assert many.checks["half_correlation"][0] > 0.8
    assert many.warnings == ()
    paper = run("rise", problem(cnn(), PIXELS, target=1, space="logit"), n_samples=1200, grid_size=4, form="paper")
    assert paper.checks["half_correlation"][0] < 0.5  # why it is not the default


# ---------------------------------------------------------------------------------------------------------------------
# Sobol
# ---------------------------------------------------------------------------------------------------------------------


def test_sobol_equals_scipys_indices_of_the_same_answers():
    from scipy.stats import sobol_indices

    value = ripple(12)
    question = play(Game(value, 4, 3), seed=2)
    found = run("sobol", question, grid_size=4, n_designs=16)  # 4 × 4 cells on 8 × 6 pixels
    one, other = designs(question.rng(), 16, 16)
    cell = (np.arange(8) * 4 // 8)[:, None] * 4 + np.arange(6) * 4 // 6
    changed = np.repeat(one[None], 16, 0)
    for i in range(16):
        changed[i, :, i] = other[:, i]
    answers = [question.scores(rows[:, cell]) for rows in (one, other, *changed)]
    theirs = sobol_indices(func={"f_A": answers[0][None], "f_B": answers[1][None],
                                 "f_AB": np.stack(answers[2:])[:, None]}, n=16)  # fmt: skip
    assert np.abs(found.coarse.ravel() - theirs.total_order).max() < 1e-6
    assert found.checks["index_sum"][0] == pytest.approx(theirs.total_order.sum(), abs=1e-5)


def test_sobol_indices_of_an_additive_game_are_its_shares_of_the_variance():
    effects = np.random.default_rng(1).normal(size=9)
    found = run("sobol", play(Game(lambda z: z @ effects + 3, 3, 3)), grid_size=3, n_designs=512)
    assert np.abs(found.coarse.ravel() - effects**2 / (effects**2).sum()).max() < 0.03
    assert found.checks["index_sum"][0] == pytest.approx(1, abs=0.05)
    assert found.checks["half_correlation"][1] == "stable"
    assert found.warnings == ()


def test_sobol_indices_of_ishigamis_function_are_those_of_the_textbook():
    def value(z):
        x = (2 * z - 1) * np.pi
        return np.sin(x[:, 0]) + 7 * np.sin(x[:, 1]) ** 2 + 0.1 * x[:, 2] ** 4 * np.sin(x[:, 0])

    found = run("sobol", play(Game(value, 2, 2)), grid_size=2, n_designs=1024)
    assert np.abs(found.coarse.ravel() - [0.5576, 0.4424, 0.2437, 0]).max() < 0.03
    assert found.coarse[1, 1] < 1e-6
    assert found.checks["index_sum"][0] > 1.15  # they act together


def test_sobol_enlarges_without_rescaling_and_gives_an_unmoved_answer_nothing():
    question = problem(cnn(), PIXELS, target=1)
    found = run("sobol", question, grid_size=3, n_designs=4)
    assert found.coarse.shape == (3, 3)
    assert found.values.shape == (48, 64)
    assert found.values.min() >= 0
    assert found.values.max() <= found.coarse.max()
    assert found.values.argmax() // 64 // 16 == found.coarse.argmax() // 3
    still = run("sobol", play(Game(lambda z: np.zeros(len(z)), 3, 3)), grid_size=3, n_designs=2)
    assert not still.values.any()
    assert np.isfinite(still.values).all()
    assert still.warnings == ()


@pytest.mark.parametrize(("n_designs", "instead"), [(3, "take 2 or 4"), (33, "take 32 or 64")])
def test_designs_come_in_powers_of_two(n_designs, instead):
    with pytest.raises(xw.ArgumentError, match=instead):
        xw.attribute(cnn(), PIXELS, method="sobol", n_designs=n_designs)


@pytest.mark.parametrize(
    ("method", "params", "word"),
    [
        ("rise", {"keep": 0}, "from 0.01 to 0.99"), ("rise", {"n_samples": 2.5}, "whole number"),
        ("rise", {"n_masks": 10}, "n_samples"), ("partition_shap", {"hierarchy": "tree"}, "'regions', 'image'"),
        ("partition_shap", {"max_evals": 3}, "from 4"), ("permutation_shap", {"n_permutations": 0}, "from 1"),
        ("sobol", {"grid_size": 1}, "from 2"), ("feature_ablation", {"n_samples": 5}, "n_samples"),
    ],
)  # fmt: skip
def test_parameters_that_cannot_be_are_refused_by_name(method, params, word):
    with pytest.raises(xw.ArgumentError, match=word):
        xw.attribute(cnn(), PIXELS, method=method, **params)
