"""The methods that need only the gradient of the input, against captum, shap, PAIR's saliency and known answers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from models import Linear, assert_untouched, cnn, fingerprint, photo, problem, unusual
from torch import nn

import xai_widgets as xw
from xai_widgets import gradients as engine
from xai_widgets.errors import ArgumentError, InputError, MethodError
from xai_widgets.methods import blur_ig, xrai
from xai_widgets.methods._expected import draws
from xai_widgets.methods._noise import noise_scale, noisy
from xai_widgets.methods._paths import gauss_legendre
from xai_widgets.session import Session

PIXELS = photo()
FAMILY = (
    "saliency", "input_x_gradient", "integrated_gradients", "smoothgrad", "smoothgrad_sq", "vargrad", "gradient_shap",
    "expected_gradients", "blur_ig", "guided_ig", "xrai",
)  # fmt: skip
LINEAR = (
    "input_x_gradient", "integrated_gradients", "smoothgrad", "gradient_shap", "expected_gradients", "blur_ig",
)  # fmt: skip
RANDOM = ("smoothgrad", "smoothgrad_sq", "vargrad", "gradient_shap", "expected_gradients")


def ask(model, method, target=1, *, image=PIXELS, space="logit", **options):
    """A map with the family's quick parameters unless others are given."""
    params = dict(xw.registry.get_method(method).quick)
    options = {"mean": 0, "std": 1, "segments": "grid", **params, **options}
    return xw.attribute(model, image, method=method, target=target, space=space, **options)


def posed(model, target=1, image=PIXELS, **options):
    return problem(model, image, target=target, space="logit", segments="grid", **options)


def last(method, question, **params):
    """The result of a method asked without a session, for many seeds."""
    *_, estimate = xw.registry.get_method(method).run(question, **params)
    return estimate


def close(found, expected, tolerance):
    """Whether two maps agree up to a share of the larger's greatest value."""
    return np.abs(found - expected).max() <= tolerance * np.abs(expected).max() > 0


def summed(attribution):
    """The map of a library's attribution (1, C, h, w)."""
    return torch.as_tensor(attribution)[0].detach().double().sum(0).numpy()


def smooth(channels=3):
    """A network without corners, so that integrals converge fast; double precision."""
    with torch.random.fork_rng():
        torch.manual_seed(4)
        model = nn.Sequential(
            nn.Conv2d(channels, 6, 5, stride=2, padding=2), nn.Tanh(), nn.Conv2d(6, 8, 3, padding=1), nn.Softplus(),
            nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 4),
        )  # fmt: skip
        model[-1].weight.data.mul_(4)
    return model.double().eval()


class Power(nn.Module):
    """Logits ``Σ w x^n``, with w of `Linear`: what every pixel adds is known."""

    def __init__(self, power):
        super().__init__()
        self.power, self.inner = power, Linear(3, 3, 48, 64).double()

    def forward(self, x):
        return self.inner(x**self.power)


@pytest.fixture(autouse=True)
def _one_scale(monkeypatch):
    """XRAI cuts the picture once instead of six times, where it is not about that."""
    monkeypatch.setattr(xrai, "_SCALES", (500,))


# ---------------------------------------------------------------------------------------------------------------------
# What holds for all of them
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", FAMILY)
@pytest.mark.parametrize("batch_size", [1, 3, "auto"])
def test_calls_are_counted_announced_and_shown_as_progress_and_the_model_is_left_alone(method, batch_size):
    asked, model = [], unusual(cnn())
    session = Session(model, PIXELS, batch_size=batch_size, n_segments=4)
    info = session.method(method)
    params = info.bind(info.quick)
    handle = model.register_forward_pre_hook(lambda _, args: asked.append(len(args[0])))
    list(session.explain(info, session.target(1), params))  # the first question with gradients probes once more
    before = fingerprint(model)
    asked.clear()
    steps = [step.estimate for step in session.explain(info, session.target(1), params)]
    assert sum(asked) == steps[-1].n_forward == session.cost(info, params) == steps[-1].total
    assert max(asked) <= (4 if batch_size == "auto" else batch_size)
    done = [step.done for step in steps]
    assert done == sorted(set(done))
    assert done[-1] == steps[-1].total
    assert steps[-1].values.dtype == np.float32
    assert_untouched(model, before)
    running = session.explain(info, session.target(1), params)
    next(running)
    running.close()
    assert_untouched(model, before)
    handle.remove()


@pytest.mark.parametrize("method", FAMILY)
@pytest.mark.parametrize(
    ("channels", "dtype"), [(1, torch.float32), (5, torch.float32), (3, torch.float64), (3, torch.bfloat16)]
)
def test_any_channels_and_precisions(method, channels, dtype):
    image = photo() if channels == 3 else np.random.default_rng(0).random((48, 64, channels)).astype("float32")
    options = {} if channels == 3 else {"layout": "HWC"} if channels == 5 else {}
    image = image[..., 0] if channels == 1 else image
    found = ask(cnn(channels=channels).to(dtype), method, image=image, **options)
    assert found.values.shape == (48, 64)
    assert np.isfinite(found.values).all()
    assert np.ptp(found.values) > 0


@pytest.mark.parametrize("method", FAMILY)
def test_the_seed_is_all_that_is_random(method):
    one, again = (ask(cnn(), method, seed=3).values for _ in range(2))
    other = ask(cnn(), method, seed=4).values
    assert one.tobytes() == again.tobytes()
    assert (method in RANDOM) == (one.tobytes() != other.tobytes())


@pytest.mark.parametrize("method", FAMILY)
def test_the_batch_size_does_not_change_the_map(method):
    one, other = (ask(cnn().double(), method, batch_size=size).values for size in (1, 64))
    assert close(one, other, 1e-6)


@pytest.mark.parametrize("method", FAMILY)
def test_contrast_is_the_difference_of_two_maps_where_it_says_so(method):
    maps = [ask(cnn().double(), method, target).values.astype(float) for target in ((2, 0), 2, 0)]
    assert xw.registry.get_method(method).linear == (method in LINEAR)
    assert close(maps[0], maps[1] - maps[2], 1e-5) == (method in LINEAR)


def test_a_target_of_the_users_own_may_be_written_for_tensors():
    own = ask(cnn().double(), "integrated_gradients", lambda row: torch.stack([row[2], -row[0]]).sum())
    assert close(own.values, ask(cnn().double(), "integrated_gradients", (2, 0)).values, 1e-6)


def test_gradients_that_overflow_are_an_error_with_the_way_out():
    class Steep(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.tensor([300.0, -300.0], dtype=torch.float16))

        def forward(self, x):
            changes = x - x.detach()  # nothing but a gradient
            return (x + changes * 300).mean((1, 2, 3))[:, None] + (changes * 300).sum((1, 2, 3))[:, None] * self.weight

    for method in ("input_x_gradient", "integrated_gradients", "smoothgrad", "guided_ig", "xrai"):
        with pytest.raises((MethodError, xw.errors.ModelError), match=r"model\.float\(\)"):
            ask(Steep(), method, target=0)


def test_the_engine_fills_batches_whatever_the_chunks_and_halves_them_when_memory_runs_out(monkeypatch):
    question = posed(cnn(), batch_size=4)
    pictures = torch.rand(9, 3, 48, 64)
    read, sizes, whole = [], [], engine._ask

    def chunks():
        for start, stop in [(0, 1), (1, 2), (2, 7), (7, 7), (7, 9)]:
            read.append(stop)
            yield pictures[start:stop]

    def scarce(problem, batch):
        sizes.append(len(batch))
        if len(batch) > 2:
            raise torch.OutOfMemoryError
        return whole(problem, batch)

    stream = engine.gradients(question, chunks())
    assert torch.equal(next(stream).inputs, pictures[:4])
    assert read == [1, 2, 7]  # no faster than it is used
    assert torch.equal(torch.cat([batch.inputs for batch in stream]), pictures[4:])
    monkeypatch.setattr(engine, "_ask", scarce)
    found = list(engine.gradients(question, chunks()))
    assert sizes == [4, 2, 2, 2, 2, 1]
    assert torch.equal(torch.cat([batch.inputs for batch in found]), pictures)
    scores = np.concatenate(list(engine.scores(question, [pictures])))
    assert np.allclose(scores, torch.cat([batch.scores for batch in found]).numpy(), atol=1e-5)


@pytest.mark.parametrize(
    ("method", "params", "words"),
    [
        ("integrated_gradients", {"n_steps": 1}, "2 to 2000"),
        ("smoothgrad", {"noise_level": -0.1}, "0 to 2"),
        ("vargrad", {"n_samples": 1}, "2 to"),
        ("guided_ig", {"fraction": 1.5}, "0.01 to 1"),
        ("guided_ig", {"max_dist": -1}, "0 to 1"),
        ("blur_ig", {"max_sigma": 0}, "0.1 to 1000"),
        ("xrai", {"n_steps": 2.5}, "whole number"),
        ("gradient_shap", {"background": []}, "empty"),
        ("expected_gradients", {"background": torch.zeros(2, 3, 10, 10)}, r"\(3, 48, 64\)"),
        ("expected_gradients", {"background": np.full((3, 48, 64), np.nan)}, "NaN"),
        ("expected_gradients", {"background": "blak"}, "black"),
        ("expected_gradients", {"background": [np.zeros((5, 5, 3), np.uint8)]}, r"\(48, 64, 3\)"),
    ],
)
def test_parameters_out_of_range_are_errors(method, params, words):
    with pytest.raises((ArgumentError, InputError), match=words):
        ask(cnn(), method, **params)


# ---------------------------------------------------------------------------------------------------------------------
# Input × gradient
# ---------------------------------------------------------------------------------------------------------------------


def test_input_x_gradient_equals_captum():
    from captum.attr import InputXGradient

    model = cnn().double()
    question = posed(model, mean=[0.4] * 3, std=[0.2] * 3)
    theirs = InputXGradient(model).attribute(question.inputs[None], target=1)
    assert close(ask(model, "input_x_gradient", mean=[0.4] * 3, std=[0.2] * 3).values, summed(theirs), 1e-6)


def test_input_x_gradient_adds_up_to_the_logit_of_a_network_of_relus_without_biases():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(3, 8, 3, bias=False), nn.ReLU(), nn.Conv2d(8, 8, 3, bias=False), nn.ReLU(), nn.MaxPool2d(4),
            nn.Flatten(), nn.Linear(8 * 11 * 15, 3, bias=False),
        ).double()  # fmt: skip
    question = posed(model)
    logit = model(question.inputs[None])[0, 1].item()
    assert ask(model, "input_x_gradient").values.sum() == pytest.approx(logit, rel=1e-5)


# ---------------------------------------------------------------------------------------------------------------------
# Integrated gradients
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_steps", [7, 50])
@pytest.mark.parametrize("space", ["logit", "probability"])
def test_integrated_gradients_equal_captum(n_steps, space):
    from captum.attr import IntegratedGradients

    model = cnn().double()
    question = posed(model, baseline="blur")
    model_in_space = nn.Sequential(model, nn.Softmax(1)) if space == "probability" else model
    theirs = IntegratedGradients(model_in_space).attribute(
        question.inputs[None], question.off_inputs[None], target=1, n_steps=n_steps
    )
    ours = ask(model, "integrated_gradients", baseline="blur", n_steps=n_steps, space=space)
    assert close(ours.values, summed(theirs), 1e-5)


@pytest.mark.parametrize("power", [1, 2, 3, 4])
def test_integrated_gradients_are_exact_on_polynomials(power):
    model = Power(power)
    question = posed(model, baseline="grey")
    ours = ask(model, "integrated_gradients", baseline="grey", n_steps=2)
    x, off = question.inputs, question.off_inputs
    expected = (model.inner.weight[1] * (x**power - off**power)).sum(0).detach().numpy()
    assert close(ours.values, expected, 1e-6)
    assert ours.checks["completeness_gap"] == (pytest.approx(0, abs=1e-5), "good")


def test_the_gap_vanishes_with_steps_on_a_real_network():
    demo = pytest.importorskip("xai_widgets.demo")
    net = demo.imagenet_classifier()
    options = {"image": demo.sample("chelsea").resize((64, 64)), "mean": [0.498] * 3, "std": [0.502] * 3}
    few, many = (ask(net, "integrated_gradients", None, n_steps=n, **options) for n in (4, 64))
    change = abs(many.values.sum())
    gaps = [found.checks["completeness_gap"][0] / change for found in (few, many)]
    assert gaps[1] < 0.05 < 0.1 < gaps[0]  # measured: 0.017 and 0.23


def test_a_map_that_does_not_add_up_says_what_to_type():
    few, more = (ask(Power(9), "integrated_gradients", n_steps=n, baseline="black") for n in (2, 8))
    gap, verdict = few.checks["completeness_gap"]
    whole = more.values.sum(dtype=float)
    assert gap == pytest.approx(abs(whole - few.values.sum(dtype=float)), abs=1e-4)
    assert verdict == "rough"
    assert few.warnings[0] == (
        f"The map adds up to {few.values.sum(dtype=float):.3g}, but the score changes by {whole:.3g} from the baseline "
        "to the picture. Take more steps: n_steps=8"
    )
    assert more.checks["completeness_gap"][1] == "good"
    assert more.warnings == ()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 0.02), (torch.bfloat16, 0.1)])
def test_half_precision_gives_nearly_the_same_map_and_is_blamed_where_it_does_not_add_up(dtype, tolerance):
    options = {"baseline": "black", "n_steps": 30}
    exact, half = (ask(model, "integrated_gradients", **options) for model in (smooth().float(), smooth().to(dtype)))
    assert close(half.values, exact.values, tolerance)
    rough = ask(Power(9).to(dtype), "integrated_gradients", n_steps=2, baseline="black")
    assert rough.warnings[0].endswith(f"The model computes in {str(dtype)[6:]}; pass model.float()")


def test_gauss_legendre_integrates_polynomials():
    nodes, weights = gauss_legendre(5)
    for degree in range(10):
        assert weights @ nodes**degree == pytest.approx(1 / (degree + 1), abs=1e-14)


# ---------------------------------------------------------------------------------------------------------------------
# SmoothGrad and its relatives
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["smoothgrad", "smoothgrad_sq", "vargrad"])
@pytest.mark.parametrize("n_samples", [2, 11])
def test_smoothgrad_and_relatives_equal_captum_on_the_same_noise(kind, n_samples, monkeypatch):
    from captum.attr import NoiseTunnel, Saliency

    model = cnn().double()
    question = posed(model, seed=5)
    clouds = torch.cat(list(noisy(question, 0.2, n_samples)))
    monkeypatch.setattr(NoiseTunnel, "_add_noise_to_inputs", lambda *_: (clouds.clone().requires_grad_(),))
    theirs = NoiseTunnel(Saliency(model)).attribute(
        question.inputs[None], nt_type=kind, nt_samples=n_samples, target=1, abs=False
    )
    ours = ask(model, kind, n_samples=n_samples, noise_level=0.2, seed=5)
    assert close(ours.values, summed(theirs), 1e-5)


def test_on_a_linear_model_noise_changes_nothing():
    model = Linear(3, 3, 48, 64)
    weight = model.weight[1].detach().double()
    assert close(ask(model, "smoothgrad").values, weight.sum(0).numpy(), 1e-6)
    assert close(ask(model, "smoothgrad_sq").values, weight.square().sum(0).numpy(), 1e-6)
    steady = ask(model, "vargrad")
    assert not steady.values.any()
    assert steady.warnings[0].startswith("The map is the same everywhere")


def test_on_a_quadratic_model_mean_and_variance_are_those_of_the_noise():
    model = Power(2)
    clouds = torch.cat(list(noisy(posed(model), 0.15, 20)))
    slopes = 2 * model.inner.weight[1].detach()
    found = {name: ask(model, name, n_samples=20).values for name in ("smoothgrad", "smoothgrad_sq", "vargrad")}
    assert close(found["smoothgrad"], (slopes * clouds.mean(0)).sum(0).numpy(), 1e-6)
    assert close(found["smoothgrad_sq"], (slopes * clouds).square().mean(0).sum(0).numpy(), 1e-6)
    assert close(found["vargrad"], (slopes.square() * clouds.var(0, correction=0)).sum(0).numpy(), 1e-5)


def test_noise_is_a_share_of_the_inputs_range():
    question = posed(cnn(), mean=[0.5] * 3, std=[0.1] * 3)
    away = torch.cat(list(noisy(question, 0.1, 40))) - question.inputs
    wanted = 0.1 * float(question.inputs.max() - question.inputs.min())
    assert noise_scale(question, 0.1) == pytest.approx(wanted)
    assert float(away.std()) == pytest.approx(wanted, rel=0.01)
    assert abs(float(away.mean())) < 0.01 * wanted


def test_without_noise_they_say_so():
    for options in ({"noise_level": 0}, {"image": np.full((48, 64, 3), 90, np.uint8), "n_segments": 4}):
        found = ask(cnn(), "smoothgrad", **options)
        assert found.warnings[0].startswith("There is no noise")


def test_early_maps_are_those_of_fewer_samples():
    question = posed(cnn(), batch_size=2)
    steps = list(xw.registry.get_method("smoothgrad").run(question, n_samples=6))
    assert [step.done for step in steps] == [2, 4, 6]
    assert close(steps[0].values, ask(cnn(), "smoothgrad", n_samples=2).values, 1e-5)
    single = posed(cnn(), batch_size=1)
    first = next(xw.registry.get_method("vargrad").run(single, n_samples=6))
    assert not first.has_map  # one sample has no variance


# ---------------------------------------------------------------------------------------------------------------------
# Expected gradients and GradientSHAP
# ---------------------------------------------------------------------------------------------------------------------

BACKGROUND = ["black", "blur", photo(seed=1)]


def as_inputs(question):
    """`BACKGROUND` as model input."""
    from xai_widgets.methods._expected import read_background

    return read_background(question, BACKGROUND)


def replayed(values):
    """A function that gives out `values` one after the other."""
    stream = iter(values)
    return lambda *_: next(stream)


def test_expected_gradients_equal_shap_on_the_same_draws(monkeypatch):
    import shap

    model = cnn()
    question = posed(model, seed=2)
    pictures = as_inputs(question)
    shares, which = draws(question.rng(), 10, 3)
    explainer = shap.GradientExplainer(model, pictures)
    monkeypatch.setattr(np.random, "choice", replayed(which))
    monkeypatch.setattr(np.random, "uniform", replayed(shares))
    inner = explainer.explainer
    inner.gradients, real = [None], inner.gradient  # one class is enough
    inner.gradient = lambda _, inputs: real(1, inputs)
    theirs = explainer.shap_values(question.inputs[None], nsamples=10, rseed=0)
    monkeypatch.undo()
    ours = ask(model, "expected_gradients", background=BACKGROUND, n_samples=10, seed=2)
    assert close(ours.values, summed(theirs[..., 0]), 1e-5)


def test_gradient_shap_equals_captum_on_the_same_draws(monkeypatch):
    from captum.attr import GradientShap, NoiseTunnel

    model = cnn().double()
    question = posed(model, seed=2)
    pictures = as_inputs(question)
    rng = question.rng()
    shares, which = draws(rng, 10, 3)
    noise = [torch.from_numpy(rng.standard_normal(question.inputs.shape, "float32")) for _ in range(10)]
    clouds = question.inputs + noise_scale(question, 0.1) * torch.stack(noise)
    monkeypatch.setattr(NoiseTunnel, "_add_noise_to_inputs", lambda *_: (clouds.requires_grad_(),))
    monkeypatch.setattr(np.random, "choice", lambda *_: which)
    monkeypatch.setattr(np.random, "randint", lambda *_: which)
    monkeypatch.setattr(np.random, "uniform", lambda *_: shares)
    theirs = GradientShap(model).attribute(question.inputs[None], pictures, n_samples=10, target=1)
    monkeypatch.undo()
    ours = ask(model, "gradient_shap", background=BACKGROUND, n_samples=10, noise_level=0.1, seed=2)
    assert close(ours.values, summed(theirs), 1e-5)
    quiet = ask(model, "gradient_shap", background=BACKGROUND, n_samples=10, noise_level=0, seed=2)
    plain = ask(model, "expected_gradients", background=BACKGROUND, n_samples=10, seed=2)
    assert np.array_equal(quiet.values, plain.values)


def test_expected_gradients_are_integrated_gradients_averaged_over_the_background():
    model = cnn().double()
    exact = np.mean(
        [ask(model, "integrated_gradients", n_steps=300, baseline=picture).values for picture in BACKGROUND], axis=0
    )
    runs = [
        ask(model, "expected_gradients", background=BACKGROUND, n_samples=9, seed=seed).values for seed in range(30)
    ]
    bias, error = np.mean(runs, axis=0) - exact, np.std(runs, axis=0, ddof=1) / np.sqrt(30)
    assert np.linalg.norm(bias) < 2 * np.linalg.norm(error) < 0.2 * np.linalg.norm(exact)
    even = ask(smooth(), "expected_gradients", n_samples=200, baseline="black")
    assert close(even.values, ask(smooth(), "integrated_gradients", n_steps=40, baseline="black").values, 1e-3)
    assert even.checks["sampling_error"][1] == "good"


@pytest.mark.parametrize("background", [None, BACKGROUND])
def test_the_sampling_error_matches_the_spread_over_seeds(background):
    question = posed(cnn(), baseline="black")
    runs = [
        last("expected_gradients", replace(question, seed=seed), background=background, n_samples=24)
        for seed in range(40)
    ]
    spread = np.std([run.values.sum(dtype=float) for run in runs], ddof=1)
    claimed = np.sqrt(np.mean([run.checks["sampling_error"][0] ** 2 for run in runs]))
    assert 1 / 1.5 < claimed / spread < 2.5  # on the safe side where pictures are balanced


def test_even_draws_scatter_less_than_free_ones_and_use_each_picture_alike():
    shares, which = draws(np.random.default_rng(0), 90, 4)
    assert sorted(np.floor(np.sort(shares) * 90)) == list(range(90))
    assert set(np.bincount(which)) == {22, 23}
    means = [draws(np.random.default_rng(seed), 10, 3)[0][0] for seed in range(2000)]
    assert np.mean(means) == pytest.approx(0.5, abs=0.03)  # each for itself is uniform
    assert np.std(means) == pytest.approx(12**-0.5, rel=0.05)
    few = draws(np.random.default_rng(0), 5, 40)[1]
    assert len(set(few)) == 5


def test_a_background_may_be_names_pictures_or_the_models_own_numbers():
    model = cnn().double()
    question = posed(model)
    given = as_inputs(question)
    same = [BACKGROUND, given, given.numpy(), list(given), tuple(BACKGROUND)]
    maps = [ask(model, "expected_gradients", background=background).values for background in same]
    for other in maps[1:]:
        assert np.array_equal(maps[0], other)
    alone = ask(model, "expected_gradients", background="black").values
    assert np.array_equal(alone, ask(model, "expected_gradients", baseline="black").values)
    assert np.array_equal(alone, ask(model, "expected_gradients", background=torch.zeros(3, 48, 64)).values)


# ---------------------------------------------------------------------------------------------------------------------
# Blur IG
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sigma", [0, 0.05, 0.3, 1.0, 4.2, 30, 200])
def test_the_blur_is_scipys_with_zeros_beyond_the_border(sigma):
    from scipy.ndimage import gaussian_filter

    inputs = torch.rand(3, 17, 30, dtype=torch.float64)
    expected = gaussian_filter(inputs.numpy(), (0, sigma, sigma), mode="constant") if sigma else inputs.numpy()
    assert np.abs(blur_ig.blurred(inputs, sigma).numpy() - expected).max() < 1e-12


def test_blur_ig_of_a_linear_model_is_what_the_blur_takes_away():
    model = Linear(3, 3, 48, 64).double()
    question = posed(model)
    lost = question.inputs - blur_ig.blurred(question.inputs, 6)
    found = ask(model, "blur_ig", n_steps=5, max_sigma=6.0)
    assert close(found.values, (model.weight[1].detach() * lost).sum(0).numpy(), 1e-5)
    assert found.checks["completeness_gap"][1] == "good"
    widest = ask(model, "blur_ig", n_steps=2).values
    assert np.array_equal(widest, ask(model, "blur_ig", n_steps=2, max_sigma=50 * 48 / 224).values)


def test_blur_ig_of_a_quadratic_model_is_exact_for_its_gradients_are_taken_half_way():
    model = Power(2)
    question = posed(model)
    change = question.inputs**2 - blur_ig.blurred(question.inputs, 6) ** 2
    found = ask(model, "blur_ig", n_steps=4, max_sigma=6.0)
    assert found.values.sum(dtype=float) == pytest.approx(float((model.inner.weight[1] * change).sum()), rel=1e-5)
    assert close(found.values, (model.inner.weight[1] * change).sum(0).detach().numpy(), 1e-5)


def pair(model):
    """A model as PAIR's library asks it: pictures (n, h, w, C) to gradients of class 1."""

    def call(batch, call_model_args=None, expected_keys=None):
        leaf = torch.from_numpy(np.moveaxis(np.asarray(batch), -1, 1)).double().requires_grad_()
        (gradient,) = torch.autograd.grad(model(leaf)[:, 1].sum(), leaf)
        return {"INPUT_OUTPUT_GRADIENTS": np.moveaxis(gradient.numpy(), 1, -1)}

    return call


def test_blur_ig_approaches_the_authors_as_steps_get_finer():
    saliency = pytest.importorskip("saliency.core")
    model = smooth()
    picture = np.moveaxis(posed(model).inputs.numpy(), 0, -1)
    # Their derivative at sigma 0 is zero and their kernels grow in jumps, so they need many steps and a small picture.
    theirs = saliency.BlurIG().GetMask(picture, pair(model), max_sigma=4, steps=400, grad_step=1e-3, batch_size=50)
    ours = ask(model, "blur_ig", n_steps=400, max_sigma=4.0)
    assert close(ours.values, theirs.sum(-1), 0.01)


# ---------------------------------------------------------------------------------------------------------------------
# Guided IG
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n_steps", "fraction", "max_dist"), [(40, 0.25, 0.02), (25, 0.1, 0.3), (20, 0.5, 1.0), (10, 1.0, 0.1)]
)
@pytest.mark.parametrize("make", [smooth, lambda: cnn().double()])
def test_guided_ig_takes_the_authors_path(make, n_steps, fraction, max_dist, monkeypatch):
    saliency = pytest.importorskip("saliency.core")
    model = make()
    question = posed(model, baseline="grey")
    theirs, ours, slopes, whole, quantile = [], [], [], engine.gradient, np.quantile

    def call(batch, **options):
        theirs.append(np.moveaxis(batch[0], -1, 0).copy())
        return pair(model)(batch)

    def recorded(problem, picture):
        found = whole(problem, picture)
        ours.append(picture.numpy())
        slopes.append(found.gradients[0].numpy())
        return found

    with monkeypatch.context() as patch:
        patch.setattr(np, "quantile", lambda a, q, interpolation: quantile(a, q, method=interpolation))  # as numpy was
        mask = saliency.GuidedIG().GetMask(
            np.moveaxis(question.inputs.numpy(), 0, -1), call, fraction=fraction, max_dist=max_dist,
            x_baseline=np.moveaxis(question.off_inputs.numpy(), 0, -1), x_steps=n_steps,
        )  # fmt: skip
    monkeypatch.setattr(engine, "gradient", recorded)
    found = ask(model, "guided_ig", baseline="grey", n_steps=n_steps, fraction=fraction, max_dist=max_dist)
    assert np.abs(np.array(ours[:-1]) - theirs).max() < 1e-9
    assert np.abs(ours[-1] - question.inputs.numpy()).max() < 1e-9
    moves, slopes = np.diff(ours, axis=0), np.array(slopes)
    assert close((slopes[:-1] * moves).sum((0, 1)), mask.sum(-1), 1e-6)
    assert close(found.values, ((slopes[:-1] + slopes[1:]) / 2 * moves).sum((0, 1)), 1e-6)


def test_guided_ig_on_the_straight_line_is_integrated_gradients():
    model = smooth()
    exact = ask(model, "integrated_gradients", n_steps=60, baseline="black").values
    assert close(ask(model, "guided_ig", n_steps=50, max_dist=0.0, baseline="black").values, exact, 1e-3)


def test_guided_ig_adds_up():
    found = ask(smooth(), "guided_ig", n_steps=50, baseline="black")
    assert found.checks["completeness_gap"][1] == "good"
    assert found.checks["completeness_gap"][0] > 0


def test_guided_ig_of_a_picture_that_is_its_own_baseline_is_empty():
    found = ask(cnn(), "guided_ig", baseline=PIXELS)
    assert not found.values.any()


# ---------------------------------------------------------------------------------------------------------------------
# XRAI
# ---------------------------------------------------------------------------------------------------------------------


def test_xrai_equals_the_authors_on_the_same_attribution(monkeypatch):
    core = pytest.importorskip("saliency.core")
    theirs = core.xrai
    for module, name in ((theirs, "_FELZENSZWALB_SCALE_VALUES"), (xrai, "_SCALES")):
        monkeypatch.setattr(module, name, (250, 1200))  # a third of the work
    image = photo(224, 224)
    masks = theirs._get_segments_felzenszwalb(image / 255)
    ours = xrai.regions(image)
    assert len(masks) > 20
    assert np.array_equal(ours.toarray().astype(bool), np.reshape(masks, (len(masks), -1)))
    y, x = np.mgrid[0:224, 0:224]
    attribution = np.sin(x / 17) * np.cos(y / 23) + np.random.default_rng(0).normal(size=(224, 224))
    expected, _ = theirs.XRAI._xrai(attribution, masks)
    found = xrai.gains(attribution, ours)
    assert np.abs(found - expected).max() < 1e-9
    assert np.ptp(expected) > 0.1
    # What is covered by none gets its own mean.
    part, _ = theirs.XRAI._xrai(attribution, masks[:6])
    assert np.abs(xrai.gains(attribution, ours[:6]) - part).max() < 1e-9


def test_xrai_starts_from_black_and_white_and_takes_the_largest_channel(monkeypatch):
    model = smooth()
    black, white = (
        posed(model, baseline=picture, mean=[0.4] * 3, std=[0.2] * 3)
        for picture in ("black", np.full_like(PIXELS, 255))
    )
    from captum.attr import IntegratedGradients

    both = [
        IntegratedGradients(model).attribute(q.inputs[None], q.off_inputs[None], target=1, n_steps=20)[0].detach()
        for q in (black, white)
    ]
    expected = ((both[0] + both[1]) / 2).amax(0).numpy()
    monkeypatch.setattr(xrai, "gains", lambda pixels, _: pixels)
    found = ask(model, "xrai", n_steps=20, mean=[0.4] * 3, std=[0.2] * 3)
    assert close(found.values, expected, 1e-6)


def test_xrai_of_a_picture_of_one_colour_says_that_there_are_no_regions():
    found = ask(cnn(), "xrai", image=np.full((48, 64, 3), 90, np.uint8), n_segments=4)
    assert found.warnings[0] == "The picture has one colour, so it has no regions."
