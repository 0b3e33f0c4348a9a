"""Methods that search: extremal perturbations, anchors, counterfactuals, against what trying everything finds."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations, product

import numpy as np
import pytest
import torch
from models import Game, Linear, assert_untouched, cnn, fingerprint, photo, problem, unusual
from scipy.ndimage import gaussian_filter
from scipy.stats import beta

import xai_widgets as xw
from xai_widgets.engine import engine_of
from xai_widgets.methods.anchors import anchors, bounds
from xai_widgets.methods.counterfactual import counterfactual
from xai_widgets.methods.extremal_perturbation import Mask, extremal_perturbation
from xai_widgets.session import Session
from xai_widgets.targets import Target

METHODS = {
    "anchors": (anchors, {"n_samples": 200, "max_regions": 4}),
    "counterfactual": (counterfactual, {"n_samples": 80}),
    "extremal_perturbation": (extremal_perturbation, {"n_steps": 6}),
}
SMALL = photo(24, 32)


def play(game, method, target=0, space="logit", **params):
    """The last estimate of a method on a game, and the `Problem`."""
    options = {name: value for name, value in game.options.items() if name not in ("target", "space")}
    asked = problem(game, game.picture, target=target, space=space, **options)
    game.asked = 0
    last = list(method(asked, **params))[-1]
    assert last.n_forward == game.asked
    return last


def last(method, asked, **params):
    return list(method(asked, **params))[-1]


# ---------------------------------------------------------------------------------------------------------------------
# All three: guests, and careful with the budget
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("target", [None, 3, (1, 2), lambda row: row[0] - 2 * row[1]])
def test_counts_repeats_and_leaves_no_trace_for_every_kind_of_target(name, target):
    asked, model = [], unusual(cnn())
    model.register_forward_pre_hook(lambda _, args: asked.append(len(args[0])))
    session = Session(model, SMALL, segments="grid", n_segments=8)
    info = session.method(name)
    params = info.bind(METHODS[name][1])
    assert not info.unfit(session.classifier)  # may ask, once a model, as may the engine
    list(engine_of(session.classifier).plan(session.classifier, 1000, "torch"))
    before, runs = fingerprint(model), []
    for _ in range(2):
        asked.clear()
        steps = list(session.explain(info, session.target(target), params))
        runs.append([step.estimate for step in steps])
        assert sum(asked) == steps[-1].explanation().n_forward
        done = [estimate.done for estimate in runs[-1]]
        assert done == sorted(set(done))
        assert done[-1] == runs[-1][-1].total
        price = session.cost(info, params)
        assert done[-1] <= price if name == "counterfactual" else done[-1] == price
    one, two = (run[-1].values if run[-1].regions is None else run[-1].regions for run in runs)
    assert np.isfinite(one).all()
    assert one.tobytes() == two.tobytes()
    assert_untouched(model, before)
    steps = session.explain(info, session.target(target), params)
    for _ in range(3):
        next(steps)
    steps.close()
    assert_untouched(model, before)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("kind", ["half", "double", "grey", "inference"])
def test_other_precisions_channels_and_modes(name, kind):
    model = cnn(channels=1 if kind == "grey" else 3)
    model = {"half": model.bfloat16(), "double": model.double()}.get(kind, model)
    with torch.inference_mode(kind == "inference"):
        found = xw.attribute(model, SMALL, method=name, segments="grid", n_segments=8, **METHODS[name][1])
    assert np.isfinite(found.values).all()
    assert found.values.dtype == np.float32
    assert found.values.shape == (24, 32)


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("anchors", {"precision": 1.5}), ("anchors", {"delta": 0.0}), ("anchors", {"off_share": 1.0}),
        ("anchors", {"beam_width": 0}), ("anchors", {"n_samples": 5}), ("counterfactual", {"n_samples": 0}),
        ("extremal_perturbation", {"area": 0.0}), ("extremal_perturbation", {"n_steps": 2.5}),
    ],
)  # fmt: skip
def test_senseless_parameters_are_refused(name, params):
    with pytest.raises(xw.ArgumentError, match=next(iter(params))):
        xw.attribute(cnn(), SMALL, method=name, **params)


# ---------------------------------------------------------------------------------------------------------------------
# Counterfactual
# ---------------------------------------------------------------------------------------------------------------------


def random_value(n, seed):
    """A game with effects of single cells and of pairs, that is above 0 when all are on."""
    rng = np.random.default_rng(seed)
    single, pairs = rng.normal(0.4, 1, n), np.triu(rng.normal(0, 0.8, (n, n)), 1)
    size = rng.uniform(0.2, 2)
    shift = size - single.sum() - pairs.sum()
    return lambda z: z @ single + ((z @ pairs) * z).sum(1) + shift


def fewest(value, n, flips=lambda v: v <= 0):
    """The size of the smallest set that flips when it is off, by trying all; None where none does."""
    for size in range(1, n + 1):
        sets = list(combinations(range(n), size))
        z = np.ones((len(sets), n))
        for row, off in zip(z, sets, strict=True):
            row[list(off)] = 0
        if flips(value(z)).any():
            return size
    return None


def without(value, n, off):
    z = np.ones((1, n))
    z[0, list(off)] = 0
    return float(value(z)[0])


SHAPES = {4: (2, 2), 6: (2, 3), 8: (2, 4), 9: (3, 3)}


def test_counterfactuals_are_the_smallest_there_are():
    sizes = []
    for seed in range(300):
        n = list(SHAPES)[seed % 4]
        value = random_value(n, seed)
        found = play(Game(value, *SHAPES[n]), counterfactual)
        off, smallest = np.flatnonzero(found.regions), fewest(value, n)
        sizes.append(smallest)
        if smallest is None:
            assert not found.regions.any()
            assert "No set of regions was found" in found.warnings[0]
            continue
        assert found.checks["regions_needed"] == (smallest, "the fewest there are")
        assert len(off) == smallest
        now = without(value, n, off)
        assert now <= 0
        for region in off:
            back = without(value, n, set(off) - {region})
            assert back > 0
            assert found.regions[region] == pytest.approx(back - now, abs=1e-5)
    assert {None, 1, 2, 3} <= set(sizes), "the games are too much alike"


def test_counterfactuals_of_few_pictures_are_irreducible_and_claim_no_more():
    claims = []
    for seed in range(200):
        value = random_value(9, seed)
        found = play(Game(value, 3, 3), counterfactual, n_samples=20 + seed % 60)
        off = np.flatnonzero(found.regions)
        if not found.checks:
            continue
        size, words = found.checks["regions_needed"]
        assert without(value, 9, off) <= 0
        if "ran out" not in "".join(found.warnings):
            assert len(off) == size
            assert all(without(value, 9, set(off) - {region}) > 0 for region in off)
        claims.append(words)
        if words == "the fewest there are":
            assert size == fewest(value, 9)
    assert {"the fewest there are", "the fewest found"} == set(claims)


def test_a_counterfactual_for_a_class_that_is_not_on_top_puts_it_there():
    value = lambda z: 1 - z[:, 2] - z[:, 5]  # noqa: E731 - "1 - both" is below 0 until one of them is off
    found = play(Game(lambda z: value(z) * 2 + 0.5, 2, 3), counterfactual, target=0)
    assert np.count_nonzero(found.regions) == 1
    assert found.regions.sum() == pytest.approx(-2, abs=1e-5)
    pair = play(Game(lambda z: value(z) * 2 + 0.5, 2, 3), counterfactual, target=(1, 0))
    assert pair.regions.sum() == pytest.approx(2, abs=1e-5)


def test_a_counterfactual_of_a_function_halves_it():
    weights = np.array([0.1, 0.2, 1.0, 0.3, 3.0, 0.4])
    found = play(Game(lambda z: z @ weights, 2, 3), counterfactual, target=lambda row: row[0])
    assert np.flatnonzero(found.regions).tolist() == [4]
    assert found.regions[4] == pytest.approx(3, abs=1e-5)


def test_in_multi_label_models_a_counterfactual_takes_the_label_below_one_half():
    def model(x):
        on = x[:, 0, ::2, ::2].reshape(len(x), 6)
        return torch.stack([2 * on[:, 1] - 1, 0 * on[:, 1] + 3], 1)

    game = Game(lambda z: z[:, 0], 2, 3)
    options = {k: v for k, v in game.options.items() if k not in ("target", "space")}
    found = last(counterfactual, problem(model, game.picture, target=0, activation="sigmoid", space="logit", **options))
    assert np.flatnonzero(found.regions).tolist() == [1]
    assert "26.9%" in found.warnings[0]


def test_a_counterfactual_says_what_the_answer_becomes():
    found = play(Game(lambda z: 4 * z[:, 3] - 2, 2, 3), counterfactual)
    assert found.warnings == ("Without 1 region the answer is class 1 (88.1%).",)
    stubborn = play(Game(lambda z: 2 + 0 * z[:, 0], 2, 3), counterfactual)
    assert "With all of them off the answer is class 0 (88.1%)." in stubborn.warnings[0]


# ---------------------------------------------------------------------------------------------------------------------
# Anchors
# ---------------------------------------------------------------------------------------------------------------------


def truth(value, n, anchor, off_share=0.5):
    """A set's precision, by trying all."""
    z = np.array(list(product((0, 1), repeat=n)), float)
    z = z[z[:, list(anchor)].all(1)]
    others = [i for i in range(n) if i not in anchor]
    weight = np.where(z[:, others] == 1, 1 - off_share, off_share).prod(1)
    return float(weight @ (value(z) > 0))


@pytest.mark.parametrize("decisive", [(5,), (2, 7), (1, 6, 10)])
@pytest.mark.parametrize("off_share", [0.5, 0.3])
def test_an_anchor_is_what_decides(decisive, off_share):
    def value(z):
        return z[:, list(decisive)].min(1) - 0.5

    found = play(Game(value, 3, 4), anchors, off_share=off_share)
    assert tuple(np.flatnonzero(found.regions)) == decisive
    assert found.checks["precision"] == (1.0, "good")
    assert found.checks["coverage"][0] == pytest.approx((1 - off_share) ** len(decisive))
    for region in decisive:
        assert abs(found.regions[region] - off_share) < 4 * found.std_error[region]
        assert 0 < found.std_error[region] < 0.08
    assert found.n_forward == 2000


def test_one_of_two_that_do_alike_is_enough():
    found = play(Game(lambda z: z[:, [2, 7]].max(1) - 0.5, 3, 4), anchors)
    assert np.count_nonzero(found.regions) == 1
    assert set(np.flatnonzero(found.regions)) < {2, 7}


def test_where_nothing_is_needed_the_anchor_is_empty():
    found = play(Game(lambda z: 1 + 0 * z[:, 0], 3, 4), anchors)
    assert not found.regions.any()
    assert found.checks["coverage"] == (1.0, "exact")
    assert "Whatever is switched off" in found.warnings[0]


def test_an_anchor_that_is_too_small_says_so():
    found = play(Game(lambda z: z[:, [2, 7]].min(1) - 0.5, 3, 4), anchors, max_regions=1)
    assert "No set of 1 region was shown to hold the answer in 95%" in found.warnings[0]
    precision, verdict = found.checks["precision"]
    assert verdict == "rough"
    assert abs(precision - 0.5) < 4 * np.sqrt(0.25 / 500)


def dice(share, cells, seed):
    """A function of some cells that looks like chance: 1 for a `share` of what can be on, else 0."""
    table = (np.random.default_rng(seed).random(2 ** len(cells)) < share).astype(float)
    return lambda z: table[(z[:, cells] @ 2 ** np.arange(len(cells))).astype(int)]


def test_an_anchor_lets_go_of_what_it_took_too_early():
    luck = dice(0.85, range(3, 12), 0)  # with it, region 0 is best alone; but 1 and 2 are enough

    def value(z):
        return np.maximum(z[:, [1, 2]].min(1), z[:, 0] * luck(z)) - 0.5

    singles = [truth(value, 12, (region,)) for region in range(12)]
    assert np.argmax(singles) == 0
    found = play(Game(value, 3, 4), anchors, beam_width=1)
    assert tuple(np.flatnonzero(found.std_error)) == (1, 2)
    assert found.checks["coverage"][0] == 0.25


def test_the_bound_on_the_precision_holds_however_the_set_was_found():
    """Here every set holds the answer about as well, so that the best found owes it to luck."""
    delta, wrong, runs = 0.2, 0, 200
    luck = dice(0.8, range(12), 1)
    for seed in range(runs):
        game = Game(lambda z: luck(z) - 0.5, 3, 4)
        found = play_seeded(game, seed, n_samples=200, delta=delta, precision=0.9, max_regions=4)
        wrong += found.checks["precision_low"][0] > truth(game.value, 12, np.flatnonzero(found.std_error))
    assert wrong <= runs * delta + 3 * np.sqrt(runs * delta * (1 - delta))
    assert wrong > 0, "a bound that is never wrong at delta = 0.2 is not this bound"


def play_seeded(game, seed, **params):
    options = {name: value for name, value in game.options.items() if name not in ("target", "space")}
    return last(anchors, replace(problem(game, game.picture, target=0, space="logit", **options), seed=seed), **params)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("target", ["top", "last", "function"])
def test_the_precision_stated_is_that_of_other_pictures(seed, target):
    asked = problem(cnn(seed=seed), SMALL, space="probability", segments="grid", n_segments=12, baseline="black")
    whole = next(asked.perturb([np.ones((1, asked.n_segments), bool)]))[1][0]
    order = whole.argsort()
    if target == "top":
        asked, holds = (
            replace(asked, target=Target(int(order[-1]))),
            lambda rows: rows.argmax(1) == order[-1],
        )
    elif target == "last":
        asked = replace(asked, target=Target(int(order[0])))
        holds = lambda rows: rows[:, order[0]] >= whole[order[0]] / 2  # noqa: E731
    else:
        asked = replace(asked, target=Target(None, function=lambda row: row[0] - row[1]))
        first = whole[0] - whole[1]
        holds = lambda rows: rows[:, 0] - rows[:, 1] >= first - abs(first) / 2  # noqa: E731
    found = last(anchors, asked, n_samples=800, off_share=0.7)
    masks = np.random.default_rng(99).random((2000, asked.n_segments)) < 0.3
    masks[:, found.std_error > 0] = True
    held = np.concatenate([holds(answers) for _, answers in asked.perturb([masks])]).mean()
    stated, _ = found.checks["precision"]
    spread = np.sqrt(max(held * (1 - held), 0.01) * (1 / 2000 + 1 / 200))
    assert abs(held - stated) < 4 * spread
    low, verdict = found.checks["precision_low"]
    assert (verdict == "good") == (low >= 0.95)


def test_bounds_are_clopper_and_pearsons():
    low, high = bounds(50, 47, 0.05)
    assert low == pytest.approx(beta.ppf(0.05, 47, 4))
    assert high == pytest.approx(beta.ppf(0.95, 48, 3))
    assert bounds(59, 59, 0.05)[0] == pytest.approx(0.05 ** (1 / 59))
    assert bounds(10, 0, 0.05)[0] == 0
    assert bounds(10, 10, 0.05)[1] == 1


# ---------------------------------------------------------------------------------------------------------------------
# Extremal perturbation
# ---------------------------------------------------------------------------------------------------------------------


class Patch(torch.nn.Module):
    """The mean of one patch of the picture decides."""

    def forward(self, x):
        inside = x[:, :, 12:24, 30:44].mean((1, 2, 3))
        return torch.stack([8 * inside, 0 * inside], 1)


WHITE = np.full((48, 64, 3), 255, np.uint8)


@pytest.mark.parametrize("area", [0.05, 0.1, 0.2, 0.4])
def test_a_mask_has_the_area_asked_for_and_lies_on_what_decides(area):
    found = xw.attribute(Patch(), WHITE, method="extremal_perturbation", target=0, baseline="black", area=area)
    assert abs(found.values.mean() - area) < 0.03
    inside = found.values[12:24, 30:44].mean()
    assert inside > (0.6 if area < 0.1 else 0.7)  # the patch itself is 5.5 % of the picture
    assert found.checks["score_kept"][0] == pytest.approx(inside, abs=0.02)
    assert found.values.min() >= 0
    assert found.values.max() <= 1


def random_blobs(mask, rng, shape, area):
    """Blobs of the kind that is searched among: bumps at random places, as many as give the area."""
    field, low, high = gaussian_filter(rng.standard_normal(mask.grid), rng.uniform(2, 5)), 0.0, area
    for _ in range(6):
        share = (low + high) / 2
        mask.points = torch.from_numpy(field > np.quantile(field, 1 - share)).float()
        mask.step(torch.zeros(shape), 0.0)
        low, high = (share, high) if mask.values().mean() < area else (low, share)
    return mask.values()


@pytest.mark.parametrize("seed", [1, 5])
def test_no_random_blobs_of_the_same_area_keep_more(seed):
    picture = photo(32, 32)
    ends = np.stack([np.ones((32, 32), bool), np.zeros((32, 32), bool)])
    options = {"space": "logit", "baseline": "black", "segments": "grid"}
    whole, empty = next(problem(cnn(seed=seed), picture, **options).perturb([ends]))[1]
    asked = problem(cnn(seed=seed), picture, target=int((whole - empty).argmax()), **options)
    found, rng = last(extremal_perturbation, asked), np.random.default_rng(seed)
    mask = Mask((32, 32), 0.1)
    area = found.values.mean()
    masks = np.array([random_blobs(mask, rng, (32, 32), area) for _ in range(200)])
    masks = masks[masks.mean((1, 2)) < area + 0.005]
    scores = asked.scores(np.array([found.values, *masks]))
    assert len(masks) > 150
    assert abs(masks.mean() - area) < 0.01
    assert abs(area - 0.1) < 0.03
    assert scores[0] >= scores[1:].max()


def test_the_smooth_maximum_is_the_formula_and_its_gradient_autograds():
    generator = torch.Generator().manual_seed(0)
    mask = Mask((40, 52), 0.2)
    mask.points = torch.rand(mask.grid, generator=generator)
    mask.step(torch.zeros(40, 52), 0.0)
    rows, columns = mask.grid
    y, x = np.mgrid[0:rows, 0:columns]
    points, cells = mask.points.double().numpy(), mask.cells().numpy()
    for u in ((0, 0), (5, 7), (rows - 1, columns - 2)):
        near = (abs(y - u[0]) <= 9) & (abs(x - u[1]) <= 9)
        z = np.exp(-((y - u[0]) ** 2 + (x - u[1]) ** 2)[near] / 18) * points[near]
        beyond = 19 * 19 - near.sum()  # beyond the border nothing is on, which counts too
        expected = (z * np.exp(20 * z)).sum() / (np.exp(20 * z).sum() + beyond)
        assert cells[u] == pytest.approx(expected, abs=1e-5)

    pull = torch.randn(40, 52, generator=generator)
    found = mask.gradient(pull, 300.0)
    mask.points.requires_grad_()
    rows_up, columns_up = mask._enlarge
    smooth = mask._smooth()[2]
    wanted = torch.zeros(smooth.numel())
    wanted[-round(0.2 * smooth.numel()) :] = 1
    penalty = ((smooth.flatten().sort().values - wanted) ** 2).mean()
    objective = (pull * (rows_up @ smooth @ columns_up.T)).sum() - 300 * penalty
    (expected,) = torch.autograd.grad(objective, mask.points)
    assert (found - expected).abs().max() < 1e-5 * expected.abs().max()


def test_masks_say_when_there_is_nothing_to_keep():
    flat = Linear(2, 3, 24, 32)
    with torch.no_grad():
        flat.weight[0] = 0
    found = xw.attribute(flat, SMALL, method="extremal_perturbation", target=0, baseline="black", n_steps=10)
    assert not found.values.any()
    assert "No mask changes the score" in found.warnings[0]
    with torch.no_grad():
        flat.weight[0] = -0.1
    found = xw.attribute(flat, SMALL, method="extremal_perturbation", target=0, baseline="black", n_steps=10)
    assert "there is nothing to keep" in found.warnings[0]
