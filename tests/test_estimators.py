"""LIME and Shapley values from samples: honest errors, an order that is settled when it is said to be, interactions.

The games are tables of all answers, so that what an estimate should be is known exactly. ``benchmarks/coverage.py`` is
the long version.
"""

from __future__ import annotations

import itertools
import tracemalloc
from functools import cache
from math import comb
from types import SimpleNamespace

import numpy as np
import pytest
from models import Game, problem
from test_methods import ripple, shapley

import xai_widgets as xw
from xai_widgets.methods._coalitions import Coalitions
from xai_widgets.methods._settling import MARGIN, Rule, looks, until
from xai_widgets.methods._surrogate import covariance, effects, process
from xai_widgets.methods.lime import cosine_distances, paired_masks
from xai_widgets.registry import get_method

N = 12


def coalitions(n: int) -> np.ndarray:
    return (np.arange(2**n)[:, None] >> np.arange(n) & 1).astype(float)


@cache
def table(name: str) -> np.ndarray:
    """The answer to each of the coalitions of twelve regions."""
    if name == "noise":  # nothing can be guessed from the rest
        return np.random.default_rng(0).normal(size=2**N)
    if name == "ripple":
        return ripple(N)(coalitions(N))
    demo = pytest.importorskip("xai_widgets.demo")
    pytest.importorskip("torchvision")
    net = demo.fashion_transformer()
    options = {"preprocess": net.preprocess, "segments": "grid", "n_segments": N, "baseline": "black"}
    asked = problem(net, demo.fashion_sample(0), batch_size=256, **options)
    assert asked.n_segments == N
    return asked.scores(coalitions(N).astype(bool)) * 10  # 0 to 10: no probabilities, whatever the game's reader thinks


def game(name: str) -> Game:
    answers = table(name)
    return Game(lambda z: answers[z.astype(int) @ (1 << np.arange(N))], 3, 4)


@cache
def truth(name: str, method: str) -> np.ndarray:
    """The Shapley values, or the weights of LIME with samples without end, which its ridge does not touch."""
    answers = table(name)
    if method == "kernel_shap":
        return shapley(lambda z: answers[z.astype(int) @ (1 << np.arange(N))], N)
    every = coalitions(N)
    weights = np.sqrt(np.exp(-(cosine_distances(every) ** 2) / 0.25**2))
    rows = np.column_stack([np.ones(len(every)), every])
    return np.linalg.solve((rows * weights[:, None]).T @ rows, rows.T @ (weights * answers))[1:]


def run(name: str, method: str, seed: int, *, batch_size: int = 4096, **params):
    """The last estimate."""
    played = game(name)
    asked = problem(played, played.picture, **{**played.options, "seed": seed, "batch_size": batch_size})
    info = get_method(method)
    *_, last = info.run(asked, **info.bind(params))
    return last


# ---------------------------------------------------------------------------------------------------------------------
# Errors
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["lime", "kernel_shap"])
@pytest.mark.parametrize("name", ["real", "noise", "ripple"])
def test_the_intervals_cover_what_is_true_as_often_as_they_say(method, name):
    runs = [run(name, method, seed, n_samples=300, confidence=None) for seed in range(40)]
    covered = [np.abs(each.regions - truth(name, method)) < 1.96 * each.std_error for each in runs]
    assert 0.9 < np.mean(covered) < 0.99
    off = np.sqrt(np.mean([(each.regions - truth(name, method)) ** 2 for each in runs]))
    claimed = np.sqrt(np.mean([each.std_error**2 for each in runs]))
    assert 1 / 1.3 < claimed / off < 1.3


def test_the_guess_takes_away_most_of_the_error_and_harms_nothing_where_there_is_nothing_to_guess(monkeypatch):
    def error(name):
        runs = [run(name, "kernel_shap", seed, n_samples=300, confidence=None).regions for seed in range(12)]
        return np.sqrt(np.mean((np.array(runs) - truth(name, "kernel_shap")) ** 2))

    with_guess = {name: error(name) for name in ("real", "ripple", "noise")}

    def regression(self):
        signs, m = self.coalitions.signs(0, len(self._halves)), len(self._halves)
        weights, rows, ones = self.coalitions.weights(signs, m)[0], signs / 2, np.ones(N)
        inverse = np.linalg.pinv((rows * weights[:, None]).T @ rows)
        free = inverse @ rows.T @ (weights * self._halves)
        change = self.whole - self.empty
        values = free - inverse @ ones * (free.sum() - change) / (ones @ inverse @ ones)
        return values, np.eye(N), np.ones(N)

    monkeypatch.setattr("xai_widgets.methods.kernel_shap._Game._adjusted", regression)
    assert with_guess["real"] < 0.8 * error("real")
    assert with_guess["ripple"] < 0.75 * error("ripple")
    assert with_guess["noise"] < 1.25 * error("noise")


def test_a_guess_has_the_shapley_values_it_is_said_to_have():
    rng = np.random.default_rng(1)
    rho, signs = rng.uniform(0.05, 0.6, 6), 2 * coalitions(6)[[13, 40]] - 1
    for one, found in zip(signs, effects(signs, rho).T, strict=True):
        exact = shapley(lambda z, one=one: covariance(2 * z - 1, one[None], rho)[:, 0], 6)
        assert np.abs(found - exact).max() < 1e-9


def test_what_a_guess_misses_is_what_one_misses_that_never_saw_the_fold():
    rng = np.random.default_rng(2)
    signs = 2 * coalitions(7)[rng.choice(np.arange(1, 64), 23, replace=False)] - 1
    halves, rho = rng.normal(size=23), rng.uniform(0.05, 0.3, 7)
    whole = process(signs, halves, 0.4, rho, n_folds=4)
    blind = np.zeros(7)
    for fold in range(4):
        out = np.arange(23) % 4 == fold
        rest = process(signs[~out], halves[~out], 0.4, rho, n_folds=4)
        assert np.allclose(whole.missed[out], halves[out] - rest.guess(signs[out]), atol=1e-7)
        blind += out.sum() * (whole.values - rest.values)
    assert np.allclose(whole.blind, blind, atol=1e-7)
    # Everything on is seen too, and never left out.
    assert whole.guess(np.ones((1, 7)))[0] == pytest.approx(0.4, abs=1e-4)
    assert whole.values.sum() == pytest.approx(2 * whole.guess(np.ones((1, 7)))[0])


# ---------------------------------------------------------------------------------------------------------------------
# Streams
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_segments", [4, 9, 40, 300])
@pytest.mark.parametrize("n_samples", [10, 63, 64, 65, 300, 301])
def test_the_first_samples_of_a_longer_run_are_those_of_a_shorter_one(n_segments, n_samples):
    def shaps(n):
        return np.concatenate(list(until(looks(10, n - n % 2), Coalitions(np.random.default_rng(5), n_segments))))

    def limes(n):
        return np.concatenate(list(paired_masks(np.random.default_rng(5), n, n_segments)))

    assert np.array_equal(limes(2 * n_samples)[:n_samples], limes(n_samples))
    if 2 * n_samples < 2**n_segments:
        even = n_samples - n_samples % 2
        assert len(shaps(n_samples)) == even
        assert np.array_equal(shaps(2 * n_samples)[:even], shaps(n_samples))


@pytest.mark.parametrize("n", [2, 5, 8])
def test_when_everything_is_asked_each_coalition_is_asked_once(n):
    pairs = Coalitions(np.random.default_rng(0), n, everything=True)
    ends = np.stack([np.zeros(n, bool), np.ones(n, bool)])
    masks = np.concatenate(list(until(looks(10, 2**n), itertools.chain([ends], pairs))))
    assert sorted(map(tuple, masks.tolist())) == sorted(itertools.product([False, True], repeat=n))


def test_coalitions_are_not_asked_twice_and_their_weights_expect_the_sum_over_all():
    n, m, found = 9, 60, []
    every = coalitions(n)[1 : 2 ** (n - 1)]
    value = np.random.default_rng(3).normal(size=2**n)
    sizes = every.sum(1)
    kernel = np.array([1 / (size * (n - size) * comb(n, int(size))) for size in sizes])
    exact = (kernel * value[(every @ (1 << np.arange(n))).astype(int)]).sum()
    for seed in range(300):
        drawn, stream = Coalitions(np.random.default_rng(seed), n), []
        for chunk in drawn:
            stream.append(chunk)
            if sum(map(len, stream)) >= 2 * m:
                break
        masks = np.concatenate(stream)[: 2 * m]
        assert len({tuple(mask) for mask in masks.tolist()}) == 2 * m
        assert (masks[::2] != masks[1::2]).all()
        signs = drawn.signs(0, m)
        assert np.array_equal(signs > 0, masks[::2])
        one = np.where(masks[::2, -1], 2**n - 1 - masks[::2] @ (1 << np.arange(n)), masks[::2] @ (1 << np.arange(n)))
        found.append((drawn.weights(signs, m)[0] * value[one]).sum())
    assert abs(np.mean(found) - exact) < 4 * np.std(found) / np.sqrt(300)


def test_many_coalitions_of_many_regions_take_little_memory():
    tracemalloc.start()
    drawn = Coalitions(np.random.default_rng(0), 256)
    for asked, _ in enumerate(drawn):
        if asked == 400:
            break
    drawn.signs(0, 10)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8e6  # 25,000 pairs; as floats they would be 50 MB


# ---------------------------------------------------------------------------------------------------------------------
# Stopping by itself
# ---------------------------------------------------------------------------------------------------------------------


def right(values: np.ndarray, exact: np.ndarray, top: int) -> bool:
    """Whether no region ranked below one of the first `top` in truth exceeds it by more than the margin."""
    order, size = np.argsort(-np.abs(values)), np.abs(exact)
    slack = 1.5 * MARGIN * size.max()  # of the largest found, which is known less well than the order
    return all(size[b] <= size[a] + slack for k, a in enumerate(order[:top]) for b in order[k + 1 :])


@pytest.mark.parametrize("method", ["lime", "kernel_shap"])
def test_the_order_at_which_it_stops_is_right_as_often_as_stated_and_it_does_stop_early(method):
    runs = [run("real", method, seed, n_samples=1500, top=3) for seed in range(20)]
    stopped = [each for each in runs if each.done < 1500]
    assert len(stopped) >= 10
    assert all(each.done == each.total == each.n_forward for each in runs)
    assert all(each.checks["ranking"][1] == "settled" for each in stopped)
    assert np.mean([right(each.regions, truth("real", method), 3) for each in runs]) >= 0.95


def test_it_does_not_stop_while_the_order_is_open_and_never_when_told_so():
    for method in ("lime", "kernel_shap"):
        noise = run("noise", method, 0, n_samples=200, top=12)
        assert noise.done == 200
        assert noise.checks["ranking"][1] == "open"
        assert run("real", method, 0, n_samples=1500, confidence=None).done == 1500


def test_ties_are_settled_and_an_order_within_the_error_is_not():
    rule = Rule(0.95, 2, 1)
    errors = np.eye(4)
    values = np.array([1.0, 1.0, 0.2, -0.1])
    assert rule.settled(rule.probability(values, 1e-6 * errors, 1e9))
    assert not rule.settled(rule.probability(values, 0.04 * errors, 1e9))
    # What two regions share does not blur their order; of opposite signs it does so doubly.
    close, shared = np.array([1.0, 0.9, 0.0, 0.0]), 0.01 * errors
    shared[0, 1] = shared[1, 0] = 0.01
    assert rule.probability(close, shared, 1e9) > 0.99 > rule.probability(close, 0.01 * errors, 1e9)
    assert rule.probability(close * [1, -1, 1, 1], shared, 1e9) < rule.probability(close, 0.01 * errors, 1e9)
    assert rule.probability(close, 1e-4 * errors, 3) < rule.probability(close, 1e-4 * errors, 1e9)
    assert Rule(0.95, 2, 8).settled(0.994)
    assert not Rule(0.95, 2, 8).settled(0.993)
    assert not Rule(None, 2, 8).settled(1.0)
    assert rule.probability(np.zeros(4), np.zeros((4, 4)), 1e9) == 1


@pytest.mark.parametrize("method", ["lime", "kernel_shap"])
def test_where_it_stops_does_not_hang_on_the_batch_size(method):
    found = [run("real", method, 0, batch_size=size, top=2, n_samples=3000) for size in (7, 4096)]
    assert found[0].done == found[1].done < 3000
    assert np.abs(found[0].regions - found[1].regions).max() < 1e-9
    assert list(looks(10, 100)) == [10, 14, 20, 28, 40, 56, 80, 100]


def test_errors_are_there_while_it_runs():
    played = game("real")
    for method in ("lime", "kernel_shap"):
        asked = problem(played, played.picture, **{**played.options, "batch_size": 8})
        steps = list(get_method(method).run(asked, n_samples=400, confidence=None))
        partial = [step for step in steps if 60 <= step.done < 400]
        assert partial
        assert all(step.std_error is not None and np.isfinite(step.std_error).all() for step in partial)
        assert len({step.regions.tobytes() for step in partial}) >= 4


# ---------------------------------------------------------------------------------------------------------------------
# Interactions
# ---------------------------------------------------------------------------------------------------------------------


def faith_shap(answers: np.ndarray, n: int) -> np.ndarray:
    """Tsai, Yeh and Ravikumar 2023, equation 15, order 2: least squares over all coalitions, exact at both ends."""
    every = coalitions(n)
    one, other = np.triu_indices(n, 1)
    rows = np.column_stack([every, every[:, one] * every[:, other]])
    size = every.sum(1)
    inner = (size > 0) & (size < n)
    weights = np.array([1 / (comb(n, int(s)) * s * (n - s)) for s in size[inner]])
    gram = (rows[inner] * weights[:, None]).T @ rows[inner]
    right_side = rows[inner].T @ (weights * (answers[inner] - answers[0]))
    ones = rows[-1]
    system = np.block([[gram, ones[:, None]], [ones[None], np.zeros((1, 1))]])
    fitted = np.linalg.lstsq(system, np.append(right_side, answers[-1] - answers[0]))[0]
    found = np.zeros((n, n))
    found[one, other] = fitted[n : n + len(one)]
    return found + found.T


@pytest.mark.parametrize(("rows", "cols"), [(2, 4), (1, 5), (1, 3), (1, 2)])
def test_interactions_equal_enumeration_when_all_coalitions_are_asked(rows, cols):
    n = rows * cols
    answers = np.random.default_rng(n).normal(size=2**n)
    played = Game(lambda z: answers[z.astype(int) @ (1 << np.arange(n))], rows, cols)
    found = xw.attribute(played, played.picture, method="kernel_shap", interactions="pairs", **played.options)
    assert np.abs(found.interactions - faith_shap(answers, n)).max() < 1e-6
    assert np.array_equal(found.interactions, found.interactions.T)
    assert not np.diag(found.interactions).any()


def test_interactions_of_a_game_of_pairs_are_found_from_a_sample(tmp_path):
    rng = np.random.default_rng(0)
    single, double = rng.normal(size=15), np.triu(rng.normal(size=(15, 15)), 1)
    played = Game(lambda z: z @ single + np.einsum("bi,ij,bj->b", z, double, z), 3, 5)
    options = {"method": "kernel_shap", "n_samples": 400, **played.options}
    found = xw.attribute(played, played.picture, interactions="pairs", **options)
    assert np.abs(found.interactions - double - double.T).max() < 1e-5
    again = xw.Explanation.load(found.save(tmp_path / "pairs.xai"))
    assert again.interactions.dtype == np.float64
    assert np.array_equal(again.interactions, found.interactions)
    assert xw.attribute(played, played.picture, **options).interactions is None


def test_too_few_samples_for_interactions_are_said_to_be_too_few():
    played = Game(ripple(15), 3, 5)
    options = {"method": "kernel_shap", "interactions": "pairs", **played.options}
    found = xw.attribute(played, played.picture, n_samples=316, confidence=None, **options)
    assert found.interactions is None
    assert found.warnings[0] == (
        "316 samples are too few for the 105 pairs of 15 regions, so there are no interactions; take 318 or more."
    )
    by_default = get_method("kernel_shap").cost(SimpleNamespace(n_segments=50), interactions="pairs")
    assert by_default == 2 + 3 * 1225 + 1
    assert xw.attribute(played, played.picture, n_samples=318, confidence=None, **options).interactions is not None
