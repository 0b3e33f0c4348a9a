"""Every method on networks that people use: ResNet-18, an ImageNet classifier and a trained vision transformer.

ResNet-18 has no trained weights that can be had here, so its are random, with the statistics of one batch in its norms.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch

import xai_widgets as xw
from xai_widgets import demo
from xai_widgets.session import Session

METHODS = list(xw.methods())
ATTENTION = {info.name for info in METHODS if info.family == "attention"}
REFUSED = {
    "resnet18": ATTENTION,
    "EfficientNet-Lite0": ATTENTION,
    # It has GELU and LayerNorm, no ReLU: rules about ReLU have nothing to change.
    "transformer": {"guided_backprop", "deconvolution", "guided_gradcam"},
}
SETS = {"anchors", "counterfactual"}


def resnet18() -> tuple[torch.nn.Module, dict]:
    from torchvision.models import resnet18 as make

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = make(weights=None, num_classes=10)
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = 1.0
        with torch.no_grad():
            model.train()(torch.randn(4, 3, 112, 112))
            model.fc.weight.mul_(8)
    return model.eval(), {"image": demo.sample("coffee"), "size": 112, "mean": [0.5] * 3, "std": [0.25] * 3}


def lite0() -> tuple[torch.nn.Module, dict]:
    # At half its size, for fifty methods: it still says espresso.
    return demo.imagenet_classifier(), {
        "image": demo.sample("coffee"),
        "size": 112,
        "mean": [0.5] * 3,
        "std": [0.5] * 3,
    }


def transformer() -> tuple[torch.nn.Module, dict]:
    return demo.fashion_transformer(), {"image": demo.fashion_sample(0)}


MODELS = {"resnet18": resnet18, "EfficientNet-Lite0": lite0, "transformer": transformer}


@cache
def session(name: str) -> Session:
    model, options = MODELS[name]()
    return Session(model, options.pop("image"), n_segments=12, **options)


@pytest.mark.parametrize("info", METHODS, ids=lambda info: info.name)
@pytest.mark.parametrize("name", MODELS)
def test_every_method_that_applies_gives_a_map_and_no_other_does(name, info):
    made = session(name)
    reason = info.unfit(made.classifier)
    params = info.bind({"window": 8, "stride": 8} if info.name == "occlusion" else info.quick)
    try:
        *_, last = made.explain(info, made.target(None), params)
    except xw.MethodError as error:
        reason = str(error)
    assert bool(reason) == (info.name in REFUSED[name]), reason
    if reason:
        assert "\n" not in reason
        return
    found = last.explanation()
    assert np.isfinite(found.values).all()
    assert last.estimate.n_forward <= made.cost(info, params)
    if info.name in SETS:  # there may be none
        assert np.ptp(found.values) > 0 or found.warnings[0]
    else:
        assert np.ptp(found.values) > 0 or found.pictures is not None
