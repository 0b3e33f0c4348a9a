"""Any model behind one interface, asked without a trace."""

from __future__ import annotations

import copy
import itertools
import random

import numpy as np
import pytest
import torch
from models import Answer, Breaks, Output, assert_untouched, cnn, fingerprint, photo, unusual
from torch import nn

import xai_widgets as xw
from xai_widgets.classifiers import Classifier
from xai_widgets.guard import guard
from xai_widgets.identity import fingerprint as identity
from xai_widgets.session import Session

PIXELS = photo()
METHODS = {
    "gradcam": {}, "saliency": {}, "occlusion": {"window": 24, "stride": 24},
    "lime": {"n_samples": 16}, "kernel_shap": {"n_samples": 30},
}  # fmt: skip


@pytest.fixture(scope="module")
def expected():
    with torch.no_grad():
        return cnn()(torch.from_numpy(PIXELS).permute(2, 0, 1)[None] / 255).softmax(1)[0].numpy()


ANSWERS = {
    "tensor": lambda y: y,
    "array": lambda y: y.detach().numpy(),
    "dict": lambda y: {"logits": y, "hidden": y * 2},
    "dict of one": lambda y: {"scores": y},
    "tuple of one": lambda y: (y,),
    "tuple with text": lambda y: ("ok", y),
    "dataclass": lambda y: Output(y, y * 2),
    "spatial 1×1": lambda y: y[:, :, None, None],
}


@pytest.mark.parametrize("form", ANSWERS)
def test_the_classes_are_found_in_any_form_of_answer(form, expected):
    explanation = xw.attribute(Answer(cnn(), ANSWERS[form]), PIXELS, method="lime", n_samples=8)
    assert np.allclose(explanation.probabilities, expected, atol=1e-5)


@pytest.mark.parametrize(("output", "index"), [("b", None), (lambda raw: raw["b"], None), (1, "tuple")])
def test_output_says_where_the_classes_are(output, index, expected):
    wrap = (lambda y: (y * 3, y)) if index else (lambda y: {"a": y * 3, "b": y})
    found = Session(Answer(cnn(), wrap), PIXELS, output=output).probabilities
    assert np.allclose(found, expected, atol=1e-5)


def test_googlenet_in_training_mode_answers_with_its_main_output():
    from torchvision.models import googlenet

    model = googlenet(weights=None, init_weights=False, num_classes=5).train()
    explanation = xw.attribute(model, photo(64, 64), method="saliency")
    assert explanation.probabilities.shape == (5,)
    assert model.training


BAD = {
    "two tensors": (lambda y: {"a": y, "b": y}, ["'a' (1, 4)", "'b' (1, 4)", "output='a'"]),
    "segmentation": (lambda y: y[:, :, None, None].expand(-1, -1, 8, 8), ["(1, 4, 8, 8)", "y.mean((2, 3))"]),
    "nan": (lambda y: y * float("nan"), ["4 scores that are NaN"]),
    "infinite": (lambda y: y / 0, ["NaN or infinite"]),
    "no classes": (lambda y: y[:, :0], ["(1, 0)"]),
    "wrong batch": (lambda y: y.repeat(3, 1), ["(3, 4)"]),
    "none": (lambda y: None, ["NoneType", "output="]),
    "text": (lambda y: "cat", ["str", "output="]),
}


@pytest.mark.parametrize("case", BAD)
def test_an_answer_that_is_no_classification_is_refused(case):
    wrap, words = BAD[case]
    with pytest.raises(xw.ModelError) as caught:
        xw.attribute(Answer(cnn(), wrap), PIXELS)
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("output", ["nope", 7])
def test_an_output_that_is_not_there_is_refused(output):
    with pytest.raises(xw.ModelError, match=f"output={output!r} is not in the answer"):
        xw.attribute(Answer(cnn(), lambda y: {"a": y, "b": y}), PIXELS, output=output)


def test_a_model_that_raises_is_quoted_with_what_it_was_given():
    model = nn.Sequential(nn.Flatten(), nn.Linear(10, 4))
    with pytest.raises(xw.ModelError, match=r"Sequential raised RuntimeError.*3×48×64.*preprocess=") as caught:
        xw.attribute(model, PIXELS)
    assert isinstance(caught.value.__cause__, RuntimeError)


@pytest.mark.parametrize("model", [None, "resnet18", 7, {"state": 1}])
def test_what_is_no_model_is_refused(model):
    with pytest.raises((xw.ModelError, xw.ArgumentError), match=r"torch module|not a model"):
        xw.attribute(model, PIXELS)


@pytest.mark.parametrize("device", ["tpu9", "cuda:99", 3.5])
def test_a_device_that_is_not_there_is_refused(device):
    with pytest.raises(xw.ArgumentError, match="device="):
        xw.attribute(cnn(), PIXELS, device=device)


def test_one_logit_is_two_classes_whose_maps_are_opposite():
    model = cnn(n_classes=1)
    for wrap in (lambda y: y, lambda y: y[:, 0]):
        zero, one = (
            xw.attribute(Answer(model, wrap), PIXELS, target=i, method="occlusion", space="logit", window=16)
            for i in (0, 1)
        )
        assert zero.probabilities.shape == (2,)
        with torch.no_grad():
            logit = model(torch.from_numpy(PIXELS).permute(2, 0, 1)[None] / 255)[0, 0]
        assert zero.probabilities[1] == pytest.approx(float(logit.sigmoid()), abs=1e-5)
        assert np.ptp(one.values) > 0
        assert np.allclose(one.values, -zero.values, atol=1e-6)
        assert zero.params["input"]["answers"] == "single logit"


def test_probabilities_are_not_softmaxed_twice(expected):
    model = Answer(cnn(), lambda y: y.softmax(1))
    session = Session(model, PIXELS)
    assert session.classifier.kind == "probabilities"
    assert np.allclose(session.probabilities, expected, atol=1e-5)
    plain, soft = (xw.attribute(m, PIXELS, method="occlusion", target=1, window=16).values for m in (cnn(), model))
    assert np.allclose(plain, soft, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_models_of_any_precision_can_be_asked(dtype):
    for method, params in METHODS.items():
        explanation = xw.attribute(cnn().to(dtype), PIXELS, method=method, **params)
        assert explanation.values.dtype == np.float32
        assert np.isfinite(explanation.values).all()


def test_a_plain_function_on_arrays_can_be_explained_by_asking_only():
    def brightness(batch):
        mean = np.asarray(batch).mean((1, 2, 3))
        return np.stack([mean, 1 - mean], axis=1)

    explanation = xw.attribute(brightness, PIXELS, baseline="black", target=0, n_samples=200)
    assert explanation.method == "lime"
    assert explanation.model_name == "brightness"
    assert (explanation.segment_values > 0).all()
    with pytest.raises(xw.MethodError, match=r"Saliency cannot run here.*brightness is a plain callable"):
        xw.attribute(brightness, PIXELS, method="saliency")


# ---------------------------------------------------------------------------------------------------------------------
# The model is a guest
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_the_model_and_the_random_state_are_left_as_found(method):
    model = unusual(cnn())
    before = fingerprint(model)
    explanation = xw.attribute(model, PIXELS, method=method, **METHODS[method])
    assert_untouched(model, before)
    assert np.array_equal(explanation.values, xw.attribute(cnn(), PIXELS, method=method, **METHODS[method]).values)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("after_session", [1, 2, 3])
def test_the_model_is_left_as_found_when_it_raises_midway(method, after_session):
    inner = unusual(cnn())
    model = Breaks(inner, at=10**9)
    model.train()
    session = Session(model, PIXELS, batch_size=4)
    info, before = session.method(method), fingerprint(model)
    model.calls[0], model.at = 0, after_session
    runs = (session.explain(info, session.target(None), info.bind(METHODS[method])) for _ in range(9))
    with pytest.raises((xw.ModelError, xw.MethodError), match="third call is too much"):
        list(itertools.chain.from_iterable(runs))  # methods of one call need several runs to reach the third
    model.at = 10**9
    assert_untouched(model, before)


def test_the_model_is_left_as_found_when_it_raises_while_being_made_ready():
    model = Breaks(unusual(cnn()), at=3).train()
    before = fingerprint(model)
    with pytest.raises(xw.ModelError):
        xw.attribute(model, PIXELS, method="lime")
    assert_untouched(model, before)


@pytest.mark.parametrize("method", METHODS)
def test_the_model_is_left_as_found_when_cancelled_midway(method):
    model = unusual(cnn())
    before = fingerprint(model)
    session = Session(model, PIXELS, batch_size=2)
    info = session.method(method)
    longer = {"n_samples": 300} if "n_samples" in METHODS[method] else {}
    steps = session.explain(info, session.target(None), info.bind({**METHODS[method], **longer}))
    next(steps)
    assert_untouched(model, before)  # also between two steps: the user's cells may run in the meantime
    steps.close()
    assert_untouched(model, before)


def test_dropout_and_batch_statistics_play_no_part_in_training_mode():
    one, other = cnn(), cnn().train()
    assert np.array_equal(Session(one, PIXELS).probabilities, Session(other, PIXELS).probabilities)


def test_a_model_that_draws_random_numbers_does_not_move_the_users():
    class Noisy(nn.Module):
        def forward(self, x):
            random.random()
            np.random.rand()  # noqa: NPY002
            return x.mean((2, 3)) + torch.rand(1) * 0

    model = Noisy()
    before = fingerprint(model)
    xw.attribute(model, PIXELS, method="lime", n_samples=8)
    assert_untouched(model, before)


def test_a_model_that_scales_its_input_in_place_is_asked_the_same_question_every_time(expected):
    class InPlace(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = cnn()

        def forward(self, x):
            x -= 0.25
            x *= 2
            return self.inner(x)

    model = InPlace()
    with torch.no_grad():
        wanted = model(torch.from_numpy(PIXELS).permute(2, 0, 1)[None] / 255).softmax(1)[0].numpy()
    for method, params in METHODS.items():
        explanation = xw.attribute(model, PIXELS, method=method, **params)
        assert np.allclose(explanation.probabilities, wanted, atol=1e-5)
        assert np.ptp(explanation.values) > 0
    session = Session(model, PIXELS)
    assert np.allclose(session.predict(np.ones(session.n_segments, bool)), wanted, atol=1e-5)
    ((_, answers),) = session._toggles.perturb([np.ones((1, session.n_segments), bool)])
    assert np.allclose(answers[0], wanted, atol=1e-5)


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("method", METHODS)
def test_it_works_inside_no_grad_and_inference_mode_with_frozen_weights(context, method):
    model = cnn().requires_grad_(False)
    expected = xw.attribute(cnn(), PIXELS, method=method, **METHODS[method]).values
    with context():
        inside = xw.attribute(model, PIXELS, method=method, **METHODS[method]).values
        session = Session(model, PIXELS)
    assert np.array_equal(inside, expected)
    info = session.method(method)  # a session made inside may be used outside
    *_, last = session.explain(info, session.target(None), info.bind(METHODS[method]))
    assert np.array_equal(last.explanation().values, expected)
    assert not any(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("method", ["gradcam", "saliency"])
def test_a_model_that_lets_no_gradient_through_is_told_so_in_one_line(method):
    class Frozen(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = cnn()

        @torch.no_grad()
        def forward(self, x):
            return self.inner(x)

    with pytest.raises(xw.MethodError, match=r'No gradient of Frozen.*method="occlusion"'):
        xw.attribute(Frozen(), PIXELS, method=method)


def test_compiled_models_give_the_same_maps_as_eager_ones():
    wrapped, in_place = torch.compile(cnn(), backend="eager"), cnn()
    in_place.compile(backend="eager")
    batch = torch.zeros(1, 3, 48, 64)
    for model in (wrapped, in_place):
        model(batch)  # hooks registered after the first compiled call would never fire
        for method in ("gradcam", "saliency"):
            found = xw.attribute(model, PIXELS, method=method).values
            assert np.allclose(found, xw.attribute(cnn(), PIXELS, method=method).values, atol=1e-5)
    assert in_place._compiled_call_impl is not None


def test_the_guard_gives_the_lock_back_after_an_error():
    model = cnn().train()
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), guard(model):
            _ = 1 / int(model.training)  # 0 inside: everything is in evaluation mode
    assert all(module.training for module in model.modules())


def test_a_model_is_known_by_its_structure_and_weights():
    model = cnn()
    known = identity(model)
    assert len(known) == 64
    assert identity(copy.deepcopy(model)) == known
    assert identity(cnn(seed=1)) != known
    with torch.no_grad():
        model[0].weight[0, 0, 0, 0] += 1
    assert identity(model) != known
    assert identity(nn.Sequential(nn.ReLU())) != identity(nn.Sequential(nn.SiLU()))


def test_the_faster_memory_layout_is_used_only_where_the_model_takes_it():
    class Reshapes(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 2, 3)

        def forward(self, x):
            y = self.conv(x)
            return y.view(len(x) * 2, -1).mean(1).view(len(x), 2)  # of a channels-last batch: for one picture only

    assert Session(cnn(), PIXELS).classifier.memory_format is torch.channels_last
    session = Session(Reshapes(), PIXELS)
    assert session.classifier.memory_format is torch.contiguous_format
    assert len(session.explain(session.method("occlusion"), session.target(None), {}).__next__().explanation().values)
    assert Classifier(Reshapes()).channels == 3
