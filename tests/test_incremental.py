"""Answers from what a window leaves unchanged, held against the model's own, on every kind of layer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from models import assert_untouched, cnn, fingerprint, photo, problem, unusual
from torch import Tensor, nn
from torch.nn import functional

from xai_widgets import incremental
from xai_widgets.incremental import Incremental
from xai_widgets.registry import get_method

PIXELS = photo(64, 72)


def seeded(make):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = make()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d) and module.track_running_stats:
                nn.init.normal_(module.running_mean, std=0.1)
                nn.init.uniform_(module.running_var, 0.5, 2)
    return model.eval()


class Ends(nn.Module):
    """`body`, then a mean over places and a linear layer."""

    def __init__(self, channels, *body):
        super().__init__()
        self.body, self.head = nn.Sequential(*body), nn.Linear(channels, 4)

    def forward(self, x):
        return self.head(self.body(x).mean((2, 3)))


class Residual(nn.Module):
    """Two branches of unlike reach, added in place, as in ResNet; and joined, as in DenseNet."""

    def __init__(self, *, join=False):
        super().__init__()
        self.one = nn.Sequential(nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(inplace=True),
                                 nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6))  # fmt: skip
        self.join = join

    def forward(self, x):
        out = self.one(x)
        if self.join:
            return torch.cat([x, out], 1)
        out += x
        return functional.relu(out)


class Excite(nn.Module):
    """A factor for each channel from all places: from here on nothing is local."""

    def __init__(self):
        super().__init__()
        self.gate = nn.Conv2d(6, 6, 1)

    def forward(self, x):
        return x * torch.sigmoid(self.gate(functional.adaptive_avg_pool2d(x, 1)))


class Padded(nn.Module):
    """A convolution that is a function, with its padding on two sides only, as in EfficientNet-Lite."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, stride=2)

    def forward(self, x):
        return functional.conv2d(functional.pad(x, (0, 1, 0, 1)), self.conv.weight, self.conv.bias, 2)


class Reversed(nn.Module):
    """Turns the picture over, which no box survives."""

    def forward(self, x):
        return x.flip(-1)


def stem(stride=1):
    return nn.Conv2d(3, 6, 3, stride, 1)


MODELS = {
    "plain": lambda: cnn(),
    "dilated and grouped": lambda: Ends(6, stem(), nn.Conv2d(6, 6, 3, 2, 2, 2, groups=3), nn.Hardswish()),
    "even kernel, no padding": lambda: Ends(6, nn.Conv2d(3, 6, 4, 3), nn.GELU(), nn.Conv2d(6, 6, (3, 1), (1, 2))),
    "a stride that skips": lambda: Ends(6, stem(), nn.Conv2d(6, 6, 1, 3), nn.PReLU(6)),
    "pools": lambda: Ends(6, stem(), nn.MaxPool2d(3, 2, 1), nn.SiLU(), nn.AvgPool2d(3, 2, 1), nn.Conv2d(6, 6, 3)),
    "a pool that rounds up": lambda: Ends(6, stem(), nn.MaxPool2d(3, 2, ceil_mode=True), nn.Conv2d(6, 6, 3)),
    "a mean that rounds up": lambda: Ends(6, stem(), nn.AvgPool2d(3, 2, ceil_mode=True), nn.Conv2d(6, 6, 3)),
    "same": lambda: Ends(6, nn.Conv2d(3, 6, 5, padding="same"), nn.ReLU(), nn.Conv2d(6, 6, 3)),
    "reflected": lambda: Ends(6, nn.Conv2d(3, 6, 5, padding=2, padding_mode="reflect"), nn.Conv2d(6, 6, 3)),
    "residual": lambda: Ends(6, stem(2), Residual(), nn.Conv2d(6, 6, 3, 2, 1), Residual()),
    "dense": lambda: Ends(12, stem(2), Residual(join=True), nn.BatchNorm2d(12), nn.ReLU()),
    "squeeze and excite": lambda: Ends(6, stem(2), nn.ReLU(), Excite(), nn.Conv2d(6, 6, 3)),
    "padded by a function": lambda: Ends(6, Padded(), nn.ReLU6(), nn.Conv2d(6, 6, 3, groups=6)),
    "group norm": lambda: Ends(6, stem(2), nn.GroupNorm(2, 6), nn.ReLU()),
    "turned over": lambda: Ends(6, Reversed(), stem(2), nn.ReLU()),
    "flattened": lambda: nn.Sequential(nn.Conv2d(3, 4, 3, 4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 16 * 18, 4)),
    "batch norm of each batch": lambda: Ends(6, stem(), nn.BatchNorm2d(6, track_running_stats=False), nn.ReLU()),
}


def masks_of(places, size, shape):
    made = np.ones((len(places), *shape), bool)
    for mask, (y, x) in zip(made, places, strict=True):
        mask[y : y + size, x : x + size] = False
    return made


@pytest.mark.parametrize("space", ["logit", "probability"])
@pytest.mark.parametrize("name", MODELS)
def test_the_answers_are_the_models(name, space):
    question = problem(seeded(MODELS[name]), PIXELS, space=space, segments="grid", baseline="black")
    if question.classifier.batch is not None:
        question.classifier.batch = None  # it mixes the pictures of a batch: all in one, both ways
        question.classifier.memory_format = torch.channels_last  # in which it adds up in another order
    made = Incremental(question)
    rng = np.random.default_rng(0)
    for size in (1, 7, 16, 50):
        # Corners, one flush with the end, any others; of each size both a batch and one alone.
        places = [(0, 0), (64 - size, 72 - size), (0, 72 - size), *rng.integers(0, 65 - size, (9, 2)).tolist()]
        for batch in (places, places[:1], places[1:2], places[4:5]):
            masks = masks_of(batch, size, (64, 72))
            own = question.classifier.answers(incremental.compose(question, masks), space)
            assert np.abs(made.answers(masks) - own).max() < 1e-5 * max(1, np.abs(own).max())


def test_regions_of_any_form_and_nothing_at_all_are_answered_too():
    question = problem(seeded(MODELS["residual"]), PIXELS, space="logit", n_segments=12)
    masks = np.concatenate([question.labels != np.arange(question.n_segments)[:, None, None],
                            np.ones((1, 64, 72), bool), np.zeros((1, 64, 72), bool)])  # fmt: skip
    own = question.classifier.answers(incremental.compose(question, masks), "logit")
    assert np.abs(Incremental(question).answers(masks) - own).max() < 1e-5 * np.abs(own).max()


def test_only_what_the_box_reaches_is_computed():
    question = problem(seeded(MODELS["residual"]), PIXELS, space="logit")
    made = Incremental(question)
    seen = []
    for layer in made._modules.values():
        if isinstance(layer, nn.ReLU):
            layer.register_forward_hook(lambda _m, args, _o: seen.append(tuple(args[0].shape[2:])))
    made.answers(masks_of([(20, 24), (8, 48)], 8, (64, 72)))
    # 8 pixels are 5 behind a stem of stride 2, 7 and 9 in the block; 5, 7 and 9 of 16 behind the next of stride 2.
    assert seen[:2] == [(7, 7), (9, 9)]
    assert all(h < 16 and w < 18 for h, w in seen[2:3])
    by_hand = made.share((8, 8))
    assert 0.05 < by_hand < 0.5
    assert made.share((40, 40)) > by_hand
    assert made.share((64, 72)) == 1


@pytest.fixture
def eager(monkeypatch):
    """As if small models were worth it."""
    monkeypatch.setattr(incremental, "LARGE", 0)
    monkeypatch.setattr(incremental, "COPY", 1)
    monkeypatch.setattr(incremental, "WORTH", 1)


def occlusion(question):
    *_, last = get_method("occlusion").run(question, window=8, stride=4)
    return last


def test_occlusion_is_the_same_with_it_and_asks_the_model_about_the_first_windows_only(eager, monkeypatch):
    asked = []
    model = seeded(MODELS["residual"])
    model.register_forward_pre_hook(lambda _, args: asked.append(len(args[0])))
    question = problem(model, PIXELS, target=1, space="logit", segments="grid")
    asked.clear()
    found = occlusion(question)
    n_windows = found.total
    first = 16 + 1  # a batch of windows, and the whole picture
    # What the canonical copy needs to see of the model does not grow with the windows.
    assert sum(asked) < first + 12 < n_windows
    monkeypatch.setattr(incremental, "LARGE", 1e12)
    other = occlusion(problem(seeded(MODELS["residual"]), PIXELS, target=1, space="logit", segments="grid"))
    assert np.abs(found.values - other.values).max() < 1e-5 * np.abs(other.values).max()
    assert found.n_forward == other.n_forward == n_windows + 1


def test_the_model_is_left_as_it_was_and_gives_way_to_its_own_answers_where_they_differ(eager, monkeypatch):
    model = unusual(seeded(MODELS["residual"]))
    before = fingerprint(model)
    question = problem(model, PIXELS, target=1, space="logit", segments="grid")
    expected = occlusion(question)
    assert_untouched(model, before)
    answers = Incremental.answers
    monkeypatch.setattr(Incremental, "answers", lambda self, masks: answers(self, masks) + 0.01)
    question = problem(seeded(MODELS["residual"]), PIXELS, target=1, space="logit", segments="grid")
    assert np.abs(occlusion(question).values - expected.values).max() < 1e-5 * np.abs(expected.values).max()


@pytest.mark.parametrize(
    ("why", "model", "options", "n_masks", "window"),
    [
        ("few", "residual", {}, 20, 8), ("small", "plain", {}, 500, 8), ("global", "turned over", {}, 500, 8),
        ("large window", "residual", {}, 500, 60), ("opaque", "function", {}, 500, 8),
    ],
)  # fmt: skip
def test_it_is_left_alone_where_it_would_not_pay(monkeypatch, why, model, options, n_masks, window):
    if why != "small":
        monkeypatch.setattr(incremental, "LARGE", 0)
    inner = seeded(MODELS.get(model, MODELS["residual"]))

    def function(x: Tensor) -> Tensor:
        return inner(x)

    question = problem(function if model == "function" else inner, PIXELS, space="logit", **options)
    masks = masks_of([(0, 0), (9, 9)], window, (64, 72))
    sample = masks, question.classifier.answers(incremental.compose(question, masks), "logit")
    assert Incremental.of(question, n_masks, (window, window), sample) is None
    if why in ("few", "large window"):
        assert Incremental.of(question, 500, (8, 8), sample) is not None
