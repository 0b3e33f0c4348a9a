"""The model is a guest: everything about it is the same before and after, however a call ends."""

from __future__ import annotations

import functools
import itertools
import random
from collections import OrderedDict, defaultdict, deque

import numpy as np
import pytest
import torch
from models import Tally, assert_untouched, cnn, fingerprint, photo, unusual
from torch import nn
from torch.nn import functional

import xai_widgets as xw
from xai_widgets import known
from xai_widgets.guard import captured, guard
from xai_widgets.jobs import RUNNER
from xai_widgets.session import Session

PIXELS = photo()
QUICK = {"occlusion": {"window": 24, "stride": 24}, "lime": {"n_samples": 16}, "kernel_shap": {"n_samples": 30}}
METHODS = ("gradcam", "saliency", "occlusion", "lime", "kernel_shap", "deeplift")
"""One for each way of asking a model; tests/test_every_method.py has all of them, on fewer models."""


class Untidy(nn.Module):
    """Draws, counts, keeps its features, fills a list and a cache, writes buffers and replaces one."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 8, 3, stride=4), nn.Linear(8, 4)
        self.norm = nn.BatchNorm2d(8, track_running_stats=False)
        self.count, self.seen, self.cache, self.features = 0, [], {}, None
        self.register_buffer("total", torch.zeros(1))
        self.register_buffer("last", torch.zeros(1))

    def forward(self, x):
        self.count += 1
        self.seen.append(x)
        self.cache[tuple(x.shape)] = x
        self.total += len(x)
        self.last = x.mean()[None]
        random.random()
        np.random.rand()  # noqa: NPY002
        torch.rand(1)
        self.features = functional.relu(self.conv(x), inplace=True)
        self.fresh = self.features.mean((2, 3))
        if self.fresh.requires_grad:
            self.only_with_gradients = self.fresh
        return self.head(self.fresh)


class Hoards(nn.Module):
    """Keeps what it sees in every kind of container, and draws from generators of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = cnn()
        self.queue, self.table, self.nested = deque(maxlen=4), defaultdict(list), {"a": {"b": []}}
        self.ordered, self.sizes = OrderedDict(), set()
        self.tensor, self.array = torch.zeros(1), np.zeros(2)
        self.generator, self.numbers = torch.Generator(), np.random.default_rng(0)

    def forward(self, x):
        y = self.inner(x)
        self.queue.append(y)
        self.table["y"].append(y)
        self.nested["a"]["b"].append(y)
        self.ordered[len(self.ordered)] = y
        self.sizes.add(len(self.sizes))
        self.tensor += 1
        self.array += 1
        if not hasattr(self, "table_of_positions"):
            self.register_buffer("table_of_positions", torch.arange(4))
        return y + 0 * torch.randn(1, generator=self.generator) + 0 * float(self.numbers.random())

    def contents(self):
        sizes = [len(self.queue), len(self.table), len(self.nested["a"]["b"]), len(self.ordered), len(self.sizes)]
        return [
            *sizes,
            float(self.tensor),
            *self.array,
            self.generator.get_state().tolist(),
            str(self.numbers.bit_generator.state),
        ]


def transformer():
    from torchvision.models import VisionTransformer

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = VisionTransformer(48, 8, 2, 2, 16, 32, num_classes=4, dropout=0.1, attention_dropout=0.1)
        nn.init.normal_(model.heads.head.weight)  # torchvision's is zero, and would answer the same to everything
    return model


def residual():
    from torchvision.models import resnet18

    with torch.random.fork_rng():
        torch.manual_seed(0)
        return resnet18(weights=None, num_classes=4)


def noisy_inside():
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=4), nn.BatchNorm2d(6, momentum=None), nn.RReLU(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Dropout(0.3), nn.Linear(6, 4),
    )  # fmt: skip


MODELS = {
    "cnn": cnn, "untidy": Untidy, "transformer": transformer, "resnet18": residual, "noise and averages": noisy_inside,
}  # fmt: skip


class TroubleError(Exception):
    """Stands for whatever stops a call."""


class Stops(nn.Module):
    """`inner` until call number `at`, which raises `what`."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.image_size = inner, 48
        self.calls, self.at, self.what = Tally(), Tally(), Tally()
        self.at[0] = 10**9

    def forward(self, x):
        self.calls[0] += 1
        if self.calls[0] >= self.at[0]:
            # After the model was changed, as if it broke in the middle.
            self.inner(x)
            raise self.what[0]("in the middle")
        return self.inner(x)


def attribute(model, method):
    return xw.attribute(model, PIXELS, method=method, n_segments=9, **QUICK.get(method, {}))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", MODELS)
def test_nothing_changes_when_it_succeeds(name, method):
    model = Stops(unusual(MODELS[name]()))
    before = fingerprint(model)
    attribute(model, method)
    assert_untouched(model, before)


@pytest.mark.parametrize(
    ("name", "what"),
    [*((name, KeyboardInterrupt) for name in MODELS), ("untidy", TroubleError), ("untidy", torch.OutOfMemoryError)],
)
@pytest.mark.parametrize("method", METHODS)
def test_nothing_changes_when_it_is_stopped_midway(name, what, method):
    model = Stops(unusual(MODELS[name]()))
    before = fingerprint(model)
    attribute(model, method)
    n_calls = model.calls[0]
    assert n_calls > 3
    model.what[0] = what
    # At the first call, while it is being made ready, and at the last, in the middle of the method.
    for at in (1, max(1, n_calls // 2), n_calls):
        model.calls[0], model.at[0] = 0, at
        known.forget(model)
        with pytest.raises((xw.XaiError, KeyboardInterrupt, torch.OutOfMemoryError)):
            attribute(model, method)
        assert_untouched(model, before)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", MODELS)
def test_nothing_changes_when_it_is_cancelled_between_two_batches(name, method):
    model = Stops(unusual(MODELS[name]()))
    before = fingerprint(model)
    session = Session(model, PIXELS, n_segments=9, batch_size=2)
    info = session.method(method)
    steps = session.explain(info, session.target(None), info.bind(QUICK.get(method, {})))
    next(steps)
    assert_untouched(model, before)  # a cell may look at it between two batches
    steps.close()
    assert_untouched(model, before)


def test_what_a_cell_does_meanwhile_is_kept():
    """The worker asks in the background: a cell that works on the model at that time must find its own changes."""
    model = cnn()
    session = Session(model, PIXELS, n_segments=9, batch_size=2)
    info = session.method("lime")
    steps = session.explain(info, session.target(None), info.bind({"n_samples": 16}))
    next(steps)
    model.note = "mine"
    handle = model[0].register_forward_hook(lambda *_: None)
    random.seed(7)
    drawn = [random.random(), torch.manual_seed(7) and torch.rand(1)]
    random.seed(7)
    torch.manual_seed(7)
    list(itertools.islice(steps, 3))
    assert [random.random(), torch.rand(1)] == drawn
    assert model.note == "mine"
    assert len(model[0]._forward_hooks) == 1
    handle.remove()


def test_what_is_watched_is_told():
    model = Untidy()
    with guard(model) as found, torch.no_grad():
        model(torch.zeros(2, 3, 16, 16))
    (habits,) = found
    assert habits.draws
    assert {name for _, name in habits.attributes} == {"count", "seen", "cache", "features", "fresh", "_buffers"}
    assert (model.count, model.seen, model.cache, float(model.total)) == (0, [], {}, 0)
    assert not hasattr(model, "fresh")
    with guard(model, habits), torch.no_grad():
        model(torch.zeros(2, 3, 16, 16))
    assert (model.count, model.seen, model.cache, float(model.total)) == (0, [], {}, 0)
    assert not hasattr(model, "fresh")


@pytest.mark.parametrize("method", METHODS)
def test_containers_arrays_and_generators_hold_what_they_held(method):
    model = Hoards()
    before, fixed = model.contents(), fingerprint(model)
    if method == "deeplift":
        with pytest.raises(xw.MethodError, match="a random generator for instance"):
            attribute(model, method)
    else:
        attribute(model, method)
    assert model.contents() == before
    assert_untouched(model, fixed)


def held_in_every_way(model):
    """Functions and objects behind which a module stands."""

    def wrapped(x):
        return model(x)

    class Holder:
        def __init__(self):
            self.parts = {"model": [model]}

        def __call__(self, x):
            return self.parts["model"][0](x)

        def predict_proba(self, x):
            return self(torch.as_tensor(x)).softmax(1).detach().numpy()

    return {
        "closure": wrapped,
        "lambda": lambda x: wrapped(x),
        "argument": functools.partial(lambda m, x: m(x), model),
        "default": lambda x, m=model: m(x),
        "object": Holder(),
        "method": Holder().__call__,
        "predict_proba": Holder().predict_proba,
        "global": global_model,
    }


def global_model(x):
    return HELD["model"](x)


HELD = {}


@pytest.mark.parametrize(
    "way", ["closure", "lambda", "argument", "default", "object", "method", "predict_proba", "global"]
)
def test_the_module_behind_a_function_is_guarded_too(way):
    model = HELD["model"] = unusual(cnn()).train()
    function, before = held_in_every_way(model)[way], fingerprint(model)
    found = attribute(function, "occlusion")
    assert_untouched(model, before)
    assert np.allclose(found.probabilities, attribute(cnn(), "occlusion").probabilities, atol=1e-5)  # asked in eval


def test_the_worker_rewinds_nothing_that_a_cell_does(tmp_path):
    """A batch is looked at in the background, at several sizes; a cell seeds, draws and trains meanwhile."""
    model = cnn()
    shots = [photo(40 + 2 * (index % 3), 48, seed=index) for index in range(12)]
    widget = xw.explain(model, shots, method="saliency", store=tmp_path / "f.db", mean=0, std=1)
    wrong = 0
    while not RUNNER.wait({(id(widget), "thumbs")}, 0):
        torch.manual_seed(5)
        drawn = torch.rand(64)
        torch.manual_seed(5)
        wrong += not torch.equal(torch.rand(64), drawn)
    widget.wait(60)
    widget.close()
    assert wrong == 0


def test_hooks_are_owned_and_removed():
    model = cnn()

    def fail():
        with captured(model[0]):
            assert len(model[0]._forward_hooks) == 1
            raise TroubleError

    with pytest.raises(TroubleError):
        fail()
    assert not model[0]._forward_hooks
