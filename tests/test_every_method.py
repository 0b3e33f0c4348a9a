"""What holds of every method, whoever wrote it: a new one is found here without a line being changed.

A method from outside the package takes part too, once it is registered::

    pytest -p my_method tests/test_every_method.py
"""

from __future__ import annotations

import itertools
import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from models import Tally, assert_untouched, cnn, fingerprint, photo, unusual
from torch import nn

import xai_widgets as xw
from xai_widgets import known
from xai_widgets.registry import FAMILIES
from xai_widgets.session import Session

METHODS = list(xw.methods())
PIXELS = photo()
every_method = pytest.mark.parametrize("info", METHODS, ids=lambda info: info.name)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """For networks this small a second thread mostly waits, and on a busy machine for long."""
    pytest.importorskip("sklearn.linear_model")  # LIME's surrogate; at its import it draws from Python's random state
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def plain(channels: int = 3) -> nn.Module:
    """A network of convolutions that is sure of itself, and answers class 3 to a black picture only."""
    model = cnn(channels=channels)
    with torch.no_grad():
        model[-1].weight *= 30
        model[-1].bias -= model(torch.zeros(1, channels, 48, 64))[0]
        model[-1].bias[3] += 0.3
    return model


def transformer(channels: int = 3) -> nn.Module:
    """A vision transformer whose answer is its class token's."""
    from torchvision.models import VisionTransformer

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = VisionTransformer(48, 8, 2, 2, 16, 32, num_classes=4)
        if channels != 3:
            model.conv_proj = nn.Conv2d(channels, 16, 8, 8)
        nn.init.normal_(model.heads.head.weight)  # torchvision's is zero, and would answer the same to everything
        nn.init.normal_(model.class_token)
    return model.eval()


MAKERS = {"plain": plain, "transformer": transformer}


@cache
def fitting(info: xw.MethodInfo) -> str:
    """The model to try a method on: the first that it can work on."""
    for name, make in MAKERS.items():
        if not info.unfit(session(make()).classifier):
            return name
    raise AssertionError(f"{info.name} works neither on a plain network of convolutions nor on a plain transformer")


def session(model: nn.Module, pixels: np.ndarray = PIXELS, **options) -> Session:
    size = {"size": 48} if any(isinstance(module, nn.MultiheadAttention) for module in model.modules()) else {}
    return Session(model, pixels, **{"segments": "grid", "n_segments": 9, "baseline": "black", **size, **options})


def explained(model: nn.Module, info: xw.MethodInfo, target=None, **options) -> xw.Explanation:
    made = session(model, **options)
    *_, last = made.explain(info, made.target(target), info.bind(info.quick))
    return last.explanation()


def with_a_map(model: nn.Module, info: xw.MethodInfo, **options) -> xw.Explanation:
    """Of the first class for which there is one: maps that show support only are empty for some."""
    for target in range(4):
        found = explained(model, info, target, **options)
        if np.ptp(found.values) > 0 or found.pictures is not None:
            return found
    raise AssertionError(f"{info.name} shows nothing for any class")


# ---------------------------------------------------------------------------------------------------------------------
# As data
# ---------------------------------------------------------------------------------------------------------------------


@every_method
def test_it_is_complete_as_data(info):
    assert info.family in FAMILIES
    assert info.needs in ("answers", "gradients", "layer", "canonical", "attention")
    assert info.summary.endswith(".")
    assert len(info.summary) <= 130  # two lines in the menu
    assert info.source or info.family == "control"
    assert info.bind({}) == {param.name: param.default for param in info.params}
    for param in info.params:
        assert param.help.endswith(".")
        assert param.check(param.default) == param.default
    info.bind(info.quick)


@every_method
def test_it_says_how_it_is_proven_and_where(info):
    if not info.run.__module__.startswith("xai_widgets."):
        pytest.skip("a method from outside the package")
    files = re.findall(r"tests/test_\w+\.py", info.proof)
    assert files, f"{info.name} has no paragraph that begins with Proof: and names a file of tests"
    for file in files:
        text = (Path(__file__).parents[1] / file).read_text(encoding="utf-8")
        assert info.name in text or info.run.__name__ in text


# ---------------------------------------------------------------------------------------------------------------------
# What it gives
# ---------------------------------------------------------------------------------------------------------------------


@every_method
def test_the_map_is_finite_and_the_same_to_the_last_bit_every_time(info):
    make = MAKERS[fitting(info)]
    one = with_a_map(make(), info)
    assert one.values.dtype == np.float32
    assert one.values.shape == one.image.shape[:2]
    assert np.isfinite(one.values).all()
    torch.manual_seed(99)  # what the user draws is no part of it
    np.random.seed(99)  # noqa: NPY002
    again = explained(make(), info, one.target)
    assert one.values.tobytes() == again.values.tobytes()
    for name in ("std_error", "pictures", "coarse"):
        mine, theirs = getattr(one, name), getattr(again, name)
        assert (mine is None) == (theirs is None)
        assert mine is None or mine.tobytes() == theirs.tobytes()
    assert one.checks == again.checks


@every_method
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=["float64", "bfloat16"])
def test_it_works_in_the_models_own_precision(info, dtype):
    model = MAKERS[fitting(info)]().to(dtype)
    assert np.isfinite(explained(model, info).values).all()


@every_method
def test_it_works_on_pictures_with_one_band(info):
    name = fitting(info)
    model = MAKERS[name](channels=1)
    assert np.isfinite(explained(model, info, pixels=PIXELS[..., 0]).values).all()


@every_method
def test_a_rather_than_b_is_the_difference_where_it_promises_that_and_an_answer_or_a_reason_elsewhere(info):
    model = MAKERS[fitting(info)]()
    if not info.linear:
        found = explained(model, info, (0, 1))
        assert found.target == [0, 1]
        assert np.isfinite(found.values).all()
        return
    both, one, other = (explained(model, info, target).values for target in ((0, 1), 0, 1))
    scale = max(np.abs(one).max(), np.abs(other).max())
    assert scale > 0
    assert np.abs(both - (one - other)).max() <= 1e-4 * scale


@every_method
def test_its_regions_can_be_any_number(info):
    model = MAKERS[fitting(info)]()
    one = np.zeros((48, 48 if fitting(info) == "transformer" else 64), int)
    assert np.isfinite(explained(model, info, segments=one).values).all()


# ---------------------------------------------------------------------------------------------------------------------
# What it costs
# ---------------------------------------------------------------------------------------------------------------------


@every_method
def test_the_progress_ends_where_it_was_said_to_and_the_passes_counted_are_those_made(info):
    model, asked = MAKERS[fitting(info)](), []
    made = session(model)
    params, target = info.bind(info.quick), made.target(0)
    info.unfit(made.classifier)  # getting to know the model is no part of the price
    list(made.explain(info, target, params))  # nor is what is found out once
    handle = model.register_forward_pre_hook(lambda _, args: asked.append(len(args[0])))
    found = list(made.explain(info, target, params))
    steps = [step.estimate for step in found]
    handle.remove()
    assert all(a.done <= b.done for a, b in itertools.pairwise(steps))
    assert steps[-1].done == steps[-1].total
    assert steps[-1].n_forward <= made.cost(info, params)
    if info.needs != "canonical":  # the copy is asked, not the model
        assert sum(asked) == found[-1].explanation().n_forward  # less what it asked twice


# ---------------------------------------------------------------------------------------------------------------------
# The model is a guest
# ---------------------------------------------------------------------------------------------------------------------


class Stops(nn.Module):
    """`inner` until call number `at`, which raises after the model was used."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.calls, self.at = Tally(), Tally()
        self.at[0] = 10**9

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls[0] += 1
        y = self.inner(x)
        if self.calls[0] >= self.at[0]:
            raise KeyboardInterrupt
        return y


@every_method
def test_the_model_is_left_as_it_was_found_also_when_it_is_stopped_midway(info):
    model = Stops(unusual(MAKERS[fitting(info)]()))
    before = fingerprint(model)
    explained(model, info)
    assert_untouched(model, before)
    n_calls = model.calls[0]
    for at in (1, n_calls // 2 + 1, n_calls):
        model.calls[0], model.at[0] = 0, at
        known.forget(model)  # so that it is asked as often as at first
        with pytest.raises(KeyboardInterrupt):
            explained(model, info)
        assert_untouched(model, before)


@every_method
def test_it_can_be_cancelled_between_two_steps(info):
    model = unusual(MAKERS[fitting(info)]())
    before = fingerprint(model)
    made = session(model, batch_size=2)
    steps = made.explain(info, made.target(None), info.bind(info.quick))
    next(steps)
    assert_untouched(model, before)  # a cell may look at it between two batches
    steps.close()
    assert_untouched(model, before)
    assert np.isfinite(explained(model, info).values).all()  # and it is as good as new
