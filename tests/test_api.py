"""`attribute` as people call it: right with few words, and helpful when wrong."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from models import cnn, photo
from torch import nn

import xai_widgets as xw

PIXELS = photo()


def ask(**options):
    return xw.attribute(cnn(), PIXELS, **options)


def test_two_arguments_are_enough():
    explanation = xw.attribute(cnn(), PIXELS)
    assert explanation.method == "gradcam"
    assert explanation.target == int(np.argmax(explanation.probabilities))
    assert any("not normalised" in step for step in explanation.params["input"]["steps"])


def test_auto_takes_what_the_model_allows():
    assert xw.attribute(nn.Sequential(nn.Flatten(), nn.Linear(3 * 48 * 64, 3)), PIXELS).method == "saliency"
    assert xw.attribute(lambda x: x.mean((2, 3)), PIXELS, n_samples=20).method == "lime"


def test_the_models_own_preprocessing_and_names_are_used():
    model = cnn()
    model.preprocess = lambda image: np.moveaxis(np.asarray(image.resize((40, 30)), np.float32), -1, 0) / 255
    model.class_names = ["a", "b", "c", "d"]
    explanation = xw.attribute(model, PIXELS)
    assert explanation.image.shape == (30, 40, 3)
    assert explanation.target_name in "abcd"
    assert xw.attribute(model, PIXELS, size=32).image.shape == (32, 32, 3)


def test_progress_is_told_and_ends_at_the_total():
    told = []
    ask(method="lime", n_samples=40, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (40, 40)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert len(told) > 5


def test_progress_can_be_a_bar(capsys):
    ask(method="lime", n_samples=20, progress=True)
    assert "LIME" in capsys.readouterr().err


def test_an_error_in_the_progress_function_reaches_the_caller_and_leaves_the_model_usable():
    def stop(done, total):
        raise KeyboardInterrupt

    model = cnn().train()
    with pytest.raises(KeyboardInterrupt):
        xw.attribute(model, PIXELS, method="lime", n_samples=40, progress=stop)
    assert all(module.training for module in model.modules())


WRONG = {
    "no model": (lambda: xw.attribute(), ["no model", "explain(model, image)"]),
    "no image": (lambda: xw.attribute(cnn()), ["no image", "path"]),
    "method": (lambda: ask(method="gradcamm"), ["'gradcamm'", "Did you mean 'gradcam'", "occlusion"]),
    "method as people write it": (lambda: ask(method="Grad-CAM"), ["Did you mean 'gradcam'"]),
    "method of a wrong type": (lambda: ask(method=3), ["method=3", '"lime"']),
    "no method": (lambda: ask(method=None), ["method=None"]),
    "class": (lambda: ask(target="tigre", class_names=["tiger", "b", "c", "d"]), ["'tigre'", "'tiger'"]),
    "keyword": (lambda: ask(n_segment=9), ["'n_segment'", "Did you mean 'n_segments'"]),
    "keyword of a method": (lambda: ask(method="occlusion", windw=9), ["'windw'", "'window'"]),
    "keyword of another method": (lambda: ask(method="saliency", window=9), ["'window'"]),
    "captum's target": (lambda: ask(target_class=3), ["'target_class'", "target=…"]),
    "lime's samples": (lambda: ask(method="lime", num_samples=3), ["'num_samples'", "n_samples=…"]),
    "shap's samples": (lambda: ask(method="kernel_shap", nsamples=3), ["'nsamples'", "n_samples=…"]),
    "lime's colour": (lambda: ask(method="lime", hide_color=0), ["'hide_color'", "baseline=…"]),
    "grad-cam's layers": (lambda: ask(method="gradcam", target_layers=[0]), ["'target_layers'", "target_layer=…"]),
    "transform": (lambda: ask(transform=None), ["'transform'", "preprocess=…"]),
    "samples": (lambda: ask(method="lime", n_samples=0), ["n_samples=0", "from 4"]),
    "fraction of samples": (lambda: ask(method="lime", n_samples=2.5), ["n_samples=2.5", "whole number"]),
    "samples as text": (lambda: ask(method="kernel_shap", n_samples="many"), ["n_samples='many'"]),
    "samples of a gradient": (lambda: ask(method="saliency", n_samples=9), ["'n_samples'"]),
    "kernel": (lambda: ask(method="lime", kernel_width=-1), ["kernel_width=-1", "0.25"]),
    "window": (lambda: ask(method="occlusion", window=0), ["window=0"]),
    "no regions": (lambda: ask(n_segments=0), ["n_segments=0"]),
    "seed": (lambda: ask(seed=-1), ["seed=-1", "from 0"]),
    "seed as text": (lambda: ask(seed="a"), ["seed='a'"]),
    "no seed": (lambda: ask(seed=None), ["seed=None"]),
    "space": (lambda: ask(space="logits"), ["space='logits'", "'logit'"]),
    "batch": (lambda: ask(batch_size=0), ["batch_size=0", '"auto"']),
    "batch as text": (lambda: ask(batch_size="big"), ["batch_size='big'"]),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_call_is_refused_with_what_was_seen_and_what_to_type(case):
    call, words = WRONG[case]
    with pytest.raises(xw.XaiError) as caught:
        call()
    assert isinstance(caught.value, (ValueError, TypeError))
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_wrong_keyword_is_found_before_the_model_is_asked():
    def never(_batch):
        raise AssertionError("asked")

    with pytest.raises(xw.ArgumentError):
        xw.attribute(never, PIXELS, method="lime", sample=3)


def test_the_documented_arguments_are_those_of_the_session():
    from xai_widgets.session import Session

    documented = inspect.getdoc(xw.explain)
    for name in inspect.signature(Session).parameters:
        assert name in documented


def test_everything_public_can_be_reached():
    for name in xw.__all__:
        assert getattr(xw, name) is not None
    assert set(xw.__all__) <= set(dir(xw))
    with pytest.raises(AttributeError, match="no attribute 'explian'"):
        _ = xw.explian


def test_a_picture_that_was_not_normalised_is_said_until_that_is_said_to_be_right():
    def ask(**options):
        return xw.attribute(cnn(), photo(), method="saliency", **options).warnings

    assert any("preprocess=weights.transforms()" in note for note in ask())
    assert ask(mean=0, std=1) == ()
