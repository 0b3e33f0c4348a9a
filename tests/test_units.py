"""Views of units: what channels answer to a picture, and the picture they answer to most."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
import torch
from models import NAMES, assert_untouched, cnn, fingerprint, photo, problem
from PIL import Image
from torch import nn

import xai_widgets as xw
from xai_widgets.guard import LOCK
from xai_widgets.layers import find
from xai_widgets.methods import activation_maximization as am
from xai_widgets.methods._units import read
from xai_widgets.plotting import AGAINST, FOR, shade, tiled
from xai_widgets.session import Session

PIXELS = photo()


class Patches(nn.Module):
    """A class token and the patches of a picture, as a transformer keeps them; answers with w · mean of the patches."""

    def __init__(self, n_classes: int = 4) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.cut = nn.Conv2d(3, 10, 8, stride=8)
        self.block = nn.Sequential(nn.LayerNorm(10), nn.Linear(10, 10), nn.GELU(), nn.LayerNorm(10))
        self.head = nn.Linear(10, n_classes)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.5

    def forward(self, x):
        tokens = self.cut(x).flatten(2).transpose(1, 2)
        tokens = self.block(torch.cat([tokens.mean(1, keepdim=True), tokens], 1))
        return self.head(tokens[:, 1:].mean(1))


class Last(nn.Module):
    """Maps with their channels last; answers with w · mean."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.norm, self.head = cnn()[:6], nn.LayerNorm(12), nn.Linear(12, 4)
        self.head.weight.data = torch.randn(4, 12, generator=torch.Generator().manual_seed(1))

    def forward(self, x):
        return self.head(self.norm(self.body(x).permute(0, 2, 3, 1)).mean((1, 2)))


def channels(explanation):
    return [int(re.match(r"channel (\d+) ", caption)[1]) for caption in explanation.captions]


def permuted(model, order):
    """The same network `cnn` with the channels of its last block in another order."""
    other = cnn()
    other.load_state_dict(model.state_dict())
    for name in ("weight", "bias"):
        getattr(other[3], name).data = getattr(model[3], name).data[order]
        getattr(other[4], name).data = getattr(model[4], name).data[order]
    for name in ("running_mean", "running_var"):
        setattr(other[4], name, getattr(model[4], name)[order])
    other[9].weight.data = model[9].weight.data[:, order]
    return other.eval()


# ---- feature maps --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(6))
def test_what_is_shown_equals_a_truncated_forward_pass_bit_for_bit(number):
    model = cnn()  # in-place activations behind layers 1 and 4 would overwrite what was seen
    asked = problem(model, PIXELS)
    seen = read(asked, find(asked.classifier, str(number))).activations
    with torch.no_grad():
        assert np.array_equal(seen, cnn()[: number + 1](asked.inputs[None])[0].numpy())


def test_of_a_network_of_pooling_and_a_linear_layer_shares_are_weight_times_mean():
    model, asked = cnn(), problem(cnn(), PIXELS, target=(2, 0), space="logit")
    reading = read(asked, find(asked.classifier, None))
    with torch.no_grad():
        means = model[:6](asked.inputs[None])[0].mean((1, 2)).numpy()
    weight = model[9].weight.detach().numpy()
    exact = (weight[2] - weight[0]) * means
    assert np.abs(reading.totals - exact).max() < 1e-6 * np.abs(exact).max()
    logits = model(asked.inputs[None])[0].detach().numpy()
    bias = model[9].bias.detach().numpy()
    assert reading.totals.sum() == pytest.approx(logits[2] - logits[0] - bias[2] + bias[0], rel=1e-5)

    shown = xw.attribute(model, PIXELS, method="feature_maps", target=(2, 0), n_channels=5)
    assert channels(shown) == list(np.argsort(-exact)[:5])
    assert shown.captions[0].startswith(
        f"channel {exact.argmax()} · +{exact.max():.3g} for class 2 rather than class 0"
    )
    assert shown.coarse.sum() == pytest.approx(np.sort(exact)[-5:].sum(), rel=1e-5)
    assert channels(
        xw.attribute(model, PIXELS, method="feature_maps", by="activation", n_channels=5, target=1)
    ) == list(np.argsort(-means)[:5])


@pytest.mark.parametrize(("model", "layer"), [(Patches(), "block.3"), (Last(), "norm")])
def test_tokens_and_channels_last_are_understood(model, layer):
    found = xw.attribute(model.eval(), PIXELS, method="feature_maps", target_layer=layer, target=1, n_channels=64)
    count = model.head.in_features
    assert sorted(channels(found)) == list(range(count))  # no more than there are
    with torch.no_grad():
        score = float(model(torch.from_numpy(PIXELS).permute(2, 0, 1)[None] / 255)[0, 1] - model.head.bias[1])
    assert found.coarse.sum() == pytest.approx(score, rel=1e-4)
    assert found.coarse.shape == ((6, 8) if layer != "norm" else (12, 16))


def test_permuted_channels_permute_the_result():
    order = np.random.default_rng(0).permutation(12)
    one = xw.attribute(cnn(), PIXELS, method="feature_maps", target=1)
    other = xw.attribute(permuted(cnn(), order), PIXELS, method="feature_maps", target=1)
    names = [int(order[k]) for k in channels(other)]
    assert sorted(names) == list(range(12))
    assert names[:2] == channels(one)[:2]  # further down are channels that are silent, and in any order
    for place, k in enumerate(channels(one)):
        twin = names.index(k)
        assert one.captions[place].partition(" · ")[2] == other.captions[twin].partition(" · ")[2]
        assert np.abs(one.pictures[place].astype(int) - other.pictures[twin]).max() <= 1
    assert np.abs(one.values - other.values).max() < 1e-6


def test_a_picture_shows_where_the_channel_answers_on_a_scale_that_the_caption_gives():
    square = np.full((40, 60, 3), 40, np.uint8)
    square[8:24, 10:30] = (240, 40, 40)
    red = nn.Sequential(nn.Conv2d(3, 1, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 2)).eval()
    red[0].weight.data = torch.tensor([3.0, 0, 0]).reshape(1, 3, 1, 1)
    red[0].bias.data[:] = -3 * 40 / 255
    red[4].weight.data[:] = torch.tensor([[1.0], [-1.0]])
    found = xw.attribute(red, square, method="feature_maps", target=0, class_names=("red", "other"))
    assert found.captions == (f"channel 0 · +{600 / 255 * 320 / 2400:.3g} for red · activity 0 to {600 / 255:.2g}",)
    yellow = np.abs(found.pictures[0].astype(int) - [253, 231, 37]).sum(-1) < 150
    assert np.array_equal(yellow, square[..., 0] == 240)

    model = cnn()
    before = xw.attribute(model, PIXELS, method="feature_maps", target_layer="4", n_channels=1)
    assert re.search(r"activity −[\d.]+ \(blue\) to [\d.]+ \(orange\)$", before.captions[0])
    large = xw.attribute(model, photo(300, 600), method="feature_maps", n_channels=1)
    assert large.pictures.shape == (1, 112, 224, 3)
    share = xw.attribute(model, PIXELS, method="feature_maps", n_channels=1, space="probability", class_names=NAMES)
    assert "points for" in share.captions[0]


def test_a_layer_that_changes_nothing_says_so():
    model = cnn()
    model[9].weight.data[2] = 0
    found = xw.attribute(model, PIXELS, method="feature_maps", target=2)
    assert found.warnings[0] == "Nothing that 5 returns at its places changes class 2."
    assert not found.values.any()


@pytest.mark.parametrize(
    "call", [{"method": "feature_maps"}, {"method": "activation_maximization", "target_layer": "5"}]
)
def test_hooks_are_gone_when_the_model_fails(call):
    class Fails(nn.Module):
        def forward(self, x):
            if fails:
                raise RuntimeError("no more")
            return x

    fails, model = [], nn.Sequential(*cnn(), Fails())
    session = Session(model, PIXELS)
    info, before = session.method(call["method"]), fingerprint(model)
    assert not info.unfit(session.classifier)
    find(session.classifier, "5")
    steps = session.explain(info, session.target(None), info.bind({**info.quick, "target_layer": "5"}))
    fails.append(True)
    with pytest.raises(xw.ModelError, match="no more"):
        list(steps)
    assert_untouched(model, before)


# ---- activation maximisation ---------------------------------------------------------------------------------------


def test_adam_equals_torchs():
    from torch.optim.adam import adam  # the class would import a compiler

    start, slopes = torch.randn(7), torch.randn(20, 7)
    ours, theirs = start.clone(), start.clone()
    state, count, step = [torch.zeros(7), torch.zeros(7)], iter(slopes), torch.tensor(0.0)
    for slope, _ in zip(
        slopes, am.maximise(ours, lambda p: p * 1, lambda p: (0.0, next(count)), 20, 0.05), strict=True
    ):
        adam([theirs], [slope], [state[0]], [state[1]], [], [step], foreach=False, amsgrad=False, beta1=0.9,
             beta2=0.999, lr=0.05, weight_decay=0.0, eps=1e-8, maximize=True)  # fmt: skip
        assert torch.allclose(ours, theirs, rtol=1e-6, atol=1e-6)


def test_a_linear_unit_in_a_ball_ends_at_its_weights():
    weight = torch.randn(3, 8, 10, generator=torch.Generator().manual_seed(0))
    spectrum = torch.randn(3, 8, 10, generator=torch.Generator().manual_seed(1))
    *_, last = am.maximise(
        spectrum, lambda p: 5 * p / p.norm(), lambda x: (float((x * weight).sum()), weight), 600, 0.05
    )
    assert float(torch.cosine_similarity(spectrum.flatten(), weight.flatten(), 0)) > 0.999
    assert last == pytest.approx(5 * float(weight.norm()), rel=1e-3)  # r ‖w‖


@pytest.mark.parametrize("unit", [{}, {"target_layer": "5", "channel": 6}])
def test_the_last_score_exceeds_that_of_a_thousand_pictures(unit):
    model = cnn()
    found = xw.attribute(model, PIXELS, method="activation_maximization", target=1, **unit)
    noise = np.random.default_rng(0).integers(0, 256, (500, 48, 64, 3), np.uint8)
    batch = np.concatenate([noise, [photo(seed=seed) for seed in range(500)]])
    with torch.no_grad():
        batch = torch.from_numpy(batch).permute(0, 3, 1, 2) / 255
        scores = model[:6](batch)[:, 6].mean((1, 2)) if unit else model(batch)[:, 1]
    assert number(found.captions[0]) > float(scores.max())


def number(caption):
    return float(caption.rpartition("→ ")[2].replace("−", "-"))


@pytest.mark.parametrize("options", [{}, {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.25]}])
def test_the_picture_shown_has_the_score_in_the_caption(options):
    model = cnn().double()
    found = xw.attribute(
        model, PIXELS, method="activation_maximization", target="dog", class_names=NAMES, n_steps=20, **options
    )
    first, last = re.fullmatch(r"what raises dog most · logit (\S+) → (\S+)", found.captions[0]).groups()
    batch = torch.tensor(found.pictures[0]).permute(2, 0, 1)[None].double() / 255
    if options:
        batch = (batch - torch.tensor(options["mean"])[:, None, None]) / torch.tensor(options["std"])[:, None, None]
    assert f"{model(batch)[0, 2].item():.3g}" == last.replace("−", "-")
    assert float(first.replace("−", "-")) < float(last.replace("−", "-"))
    assert found.pictures.shape == (1, 48, 64, 3)
    assert not found.values.any()


def test_the_same_seed_gives_the_same_picture_and_more_pictures_change_none():
    def made(**options):
        return xw.attribute(cnn(), PIXELS, method="activation_maximization", target=0, n_steps=6, **options)

    one, two = made(), made(n_pictures=2)
    assert np.array_equal(one.pictures, made().pictures)
    assert np.array_equal(one.pictures[0], two.pictures[0])
    assert not np.array_equal(two.pictures[0], two.pictures[1])
    assert not np.array_equal(one.pictures, made(seed=1).pictures)


def test_permuted_channels_permute_the_pictures():
    order = np.random.default_rng(0).permutation(12)
    other = permuted(cnn(), order)
    for k in (0, 7):
        one, two = (
            xw.attribute(model, PIXELS, method="activation_maximization", n_steps=15, target_layer="5", channel=channel)
            for model, channel in ((cnn(), int(order[k])), (other, k))
        )
        assert np.abs(one.pictures.astype(int) - two.pictures).max() <= 2
        assert number(one.captions[0]) == pytest.approx(number(two.captions[0]), rel=1e-2)


def test_the_strongest_channel_is_the_one_that_feature_maps_show_first():
    one = xw.attribute(cnn(), PIXELS, method="feature_maps", target=3, target_layer="2", n_channels=1)
    two = xw.attribute(cnn(), PIXELS, method="activation_maximization", target=3, target_layer="2", n_steps=1)
    assert two.captions[0].startswith(f"what excites channel {channels(one)[0]} of 2 most · activity ")
    assert two.target_layer == "2"
    three = xw.attribute(cnn(), PIXELS, method="activation_maximization", channel=4, n_steps=1)
    assert three.captions[0].startswith("what excites channel 4 of 5 most")


class Still:
    """A generator of numbers that moves a picture by `shift` pixels to the left and does nothing else."""

    def __init__(self, shift=0.0):
        self.shift = shift

    def normal(self, mean, sd, shape):
        return np.random.default_rng(0).normal(mean, 1.0, shape)

    def uniform(self, low, high, size=None):
        return np.array([self.shift * (high == 4), 0.0]) if size else (low + high) / 2


def test_the_model_sees_the_picture_moved_and_grey_beyond_it():
    asked = problem(cnn(), photo(130, 200), mean=[0.4] * 3, std=[0.2] * 3)
    still, moved = am._Canvas(asked, Still()), am._Canvas(asked, Still(5.0))
    plain = asked.view.encode(still.pixels())
    assert np.abs(still.moved(still.spectrum).numpy() - plain).max() < 0.6 / 255 / 0.2  # a level's rounding
    shifted = moved.moved(moved.spectrum).numpy()
    assert np.abs(shifted[:, :, :-5] - plain[:, :, 5:]).max() < 0.6 / 255 / 0.2
    assert np.allclose(shifted[:, :, -4:], (0.5 - 0.4) / 0.2, atol=1e-5)
    rng = np.random.default_rng(0)
    turned = am._Canvas(asked, rng).moved(still.spectrum).numpy()
    assert turned.shape == plain.shape
    assert np.abs(turned - plain).mean() > 0.02
    assert plain.min() >= -2
    assert plain.max() <= 3


def test_details_are_as_dear_as_shapes():
    canvas = am._Canvas(problem(cnn(channels=1), photo(64, 64)[..., 0]), np.random.default_rng(0))
    power = np.abs(np.fft.fft2(np.log(1 / canvas.levels(canvas.spectrum).numpy()[0] - 1))) ** 2
    frequency = np.hypot(np.fft.fftfreq(64)[:, None], np.fft.fftfreq(64)[None])
    low, high = (power[(frequency > f / 1.3) & (frequency < f * 1.3)].mean() for f in (0.05, 0.4))
    assert low / high == pytest.approx(64, rel=0.5)  # 1/f², over a factor of 8


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("method", ["feature_maps", "activation_maximization"])
def test_other_precisions(method, dtype):
    quick = Session(cnn(), PIXELS).method(method).quick
    found = xw.attribute(cnn().to(dtype), PIXELS, method=method, target=(0, 1), **quick)
    assert len(found.pictures) == len(found.captions) > 0
    plain = xw.attribute(cnn(), PIXELS, method=method, target=(0, 1), **quick)
    assert np.abs(found.pictures.astype(int) - plain.pictures).mean() < 4


@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("method", ["feature_maps", "activation_maximization"])
def test_other_numbers_of_channels(method, count):
    image = photo()[..., 0] if count == 1 else np.random.default_rng(0).random((48, 64, 5), np.float32)
    model = cnn(channels=count)
    found = xw.attribute(model, image, method=method, **Session(model, image).method(method).quick)
    assert found.pictures.shape[1:] == (48, 64, 3)
    assert count == 5 or method == "feature_maps" or np.ptp(found.pictures, axis=-1).max() == 0


@pytest.mark.filterwarnings("ignore:invalid value")
def test_of_a_preprocessing_that_cannot_be_undone_the_range_of_the_photo_is_kept():
    def odd(image):
        values = np.asarray(image, np.float32).transpose(2, 0, 1)
        return np.tanh((values - values.mean()) / values.std())

    session = Session(cnn(), PIXELS, preprocess=odd)
    info = session.method("activation_maximization")
    *_, last = session.explain(info, session.target(None), info.bind({"n_steps": 3}))
    assert "keeps to the range of values that this photo has" in last.explanation().warnings[0]
    canvas = am._Canvas(session._problem(session.target(None), "logit"), Still())
    inputs = canvas.moved(1000 * canvas.spectrum).detach().numpy()
    assert inputs.min() == pytest.approx(session.view.inputs.min(), abs=1e-3)
    assert inputs.max() == pytest.approx(session.view.inputs.max(), abs=1e-3)


def test_it_counts_shows_what_it_has_and_lets_go_of_the_model_between_steps():
    asked, model = [], cnn().train()
    model.register_forward_pre_hook(lambda _, args: asked.append(len(args[0])))
    session = Session(model, PIXELS)
    info, before = session.method("activation_maximization"), fingerprint(model)
    params = info.bind({"n_steps": 5, "n_pictures": 2, "target_layer": "5"})
    list(session.explain(info, session.target(None), params))  # the first time it looks at the layers
    asked.clear()
    steps = []
    for step in session.explain(info, session.target(None), params):
        steps.append(step)
        assert model.training
        assert LOCK.acquire(blocking=False)
        LOCK.release()
        assert_untouched(model, before)
        assert not torch.is_inference_mode_enabled()
    seen = [step.estimate for step in steps]
    assert sum(asked) == seen[-1].n_forward == seen[-1].done == seen[-1].total == session.cost(info, params) == 15
    assert "about" in seen[0].pictures[0][1]
    assert len(seen[-1].pictures) == 2
    running = session.explain(info, session.target(None), params)
    next(running)
    running.close()
    assert_untouched(model, before)
    with torch.inference_mode():
        last = list(session.explain(info, session.target(None), params))[-1]
    assert np.array_equal(last.estimate.pictures[0][0], seen[-1].pictures[0][0])


class Steep(nn.Module):
    """Whose answers half precision holds, and whose gradients it does not."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([300.0, 1.0], dtype=torch.float16))

    def forward(self, x):
        return x[:, 0, 20, 20, None] * self.weight * self.weight


def test_what_cannot_be_raised_says_so():
    class Flat(nn.Module):
        def forward(self, x):
            return torch.stack([x.mean((1, 2, 3)) * 0, x.mean((1, 2, 3)) * 0 + 5], 1)

    found = xw.attribute(Flat(), PIXELS, method="activation_maximization", n_steps=2)
    assert found.warnings[0] == "Nothing was found that raises class 1: the picture is as good as noise."
    model = cnn()
    with pytest.raises(xw.MethodError, match=r"layer '5' has no channel 12; it has 12, 0 to 11"):
        xw.attribute(model, PIXELS, method="activation_maximization", channel=12)
    model[9].weight.data[:] = 0
    with pytest.raises(xw.MethodError, match=r"none of its channels is the strongest. Name one: channel=0"):
        xw.attribute(model, PIXELS, method="activation_maximization", target_layer="5")
    for wrong in ({"channel": -1}, {"n_steps": 0}, {"learning_rate": "fast"}):
        with pytest.raises(xw.ArgumentError, match=next(iter(wrong))):
            xw.attribute(model, PIXELS, method="activation_maximization", **wrong)
    with pytest.raises(xw.ArgumentError, match="by='luck' must be one of 'class', 'activation'"):
        xw.attribute(model, PIXELS, method="feature_maps", by="luck")
    with pytest.raises(xw.MethodError, match="cannot run here"):
        xw.attribute(lambda x: x.mean((1, 2, 3))[:, None].numpy(), PIXELS, method="activation_maximization")
    with pytest.raises(xw.MethodError, match="overflow"):
        xw.attribute(Steep(), np.full((48, 64, 3), 90, np.uint8), method="activation_maximization", target=0)


# ---- drawing them --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shown():
    return {
        "feature_maps": xw.attribute(cnn(), PIXELS, method="feature_maps", n_channels=5, target=1),
        "activation_maximization": xw.attribute(
            cnn(), PIXELS, method="activation_maximization", n_steps=2, n_pictures=2
        ),
    }


def test_plot_puts_the_pictures_with_their_captions_beside_the_map(shown):
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    for name, explanation in shown.items():
        ax = explanation.plot()
        axes = [each for each in ax.figure.axes if each.images and each.get_title()]
        titles = [each.get_title().replace("\n", " · ") for each in axes]
        assert list(explanation.captions) == titles[-len(explanation.captions) :]
        drawn = [np.asarray(each.images[0].get_array()) for each in axes][-len(explanation.captions) :]
        assert np.array_equal(drawn, explanation.pictures)
        bars = [each for each in ax.figure.axes if each.get_ylabel()]
        assert len(bars) == (name == "feature_maps")
        ax.figure.canvas.draw()
        plt.close(ax.figure)
        _, own = plt.subplots()
        assert explanation.plot(own) is own
        assert len(own.images) == 1
        plt.close("all")
    assert np.array_equal(shown["feature_maps"].plot().images[0].get_array().shape, (48, 64, 3))
    plt.close("all")


def test_the_thumbnail_shows_map_and_pictures(shown):
    sizes = {name: Image.open(io.BytesIO(each._repr_png_())).size for name, each in shown.items()}
    assert sizes == {"feature_maps": (896, 336), "activation_maximization": (448, 164)}
    sheet = tiled(np.arange(5, dtype=np.uint8)[:, None, None, None] + np.zeros((5, 10, 20, 3), np.uint8))
    assert sheet.shape == (21, 62, 3)
    assert (sheet[:10, :20] == 0).all()
    assert (sheet[11:, 21:41] == 4).all()
    assert (sheet[:, 20] == 255).all()


def test_the_summary_reads_the_captions(shown):
    for explanation in shown.values():
        text = explanation.summary()
        assert all(caption in text for caption in explanation.captions)
    assert "no map" in shown["activation_maximization"].summary()
    assert "strongest of" in shown["feature_maps"].summary()


def test_shade_is_warm_above_zero_and_blue_below():
    drawn = shade(np.zeros((1, 3, 3), np.uint8), np.array([[1.0, -1.0, 0.0]]), signed=True, opacity=1.0)
    assert np.array_equal(drawn[0, :2], [FOR, AGAINST])
    assert drawn[0, 2].max() <= 8


@pytest.mark.parametrize("method", ["feature_maps", "activation_maximization"])
def test_they_are_kept_exactly(shown, method, tmp_path):
    explanation = shown[method]
    again = xw.Explanation.load(explanation.save(tmp_path / "e.xai"))
    assert np.array_equal(again.pictures, explanation.pictures)
    assert again.captions == explanation.captions
    assert explanation.to_html(tmp_path / "e.html").stat().st_size > 1000
