"""Which layer a class activation map reads when none is named."""

from __future__ import annotations

import pytest
import torch
from models import Answer, cnn, fingerprint, photo
from torch import nn

import xai_widgets as xw
from xai_widgets.classifiers import Classifier
from xai_widgets.layers import get_layer, last_spatial_layer


def chosen(model, height=64, width=64):
    return last_spatial_layer(Classifier(model), torch.zeros(3, height, width))


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("resnet18", "layer4.1"),
        ("vgg11", "features.20"),
        ("densenet121", "features.norm5"),
        ("mobilenet_v3_small", "features.12"),
        ("squeezenet1_1", "classifier.2"),
    ],
)
def test_ordinary_networks_are_read_at_their_last_layer_with_places(name, layer):
    import torchvision

    model = getattr(torchvision.models, name)(weights=None, num_classes=5)
    found = chosen(model, 96, 96)
    assert found == layer
    explanation = xw.attribute(model, photo(96, 96), method="gradcam")
    assert explanation.target_layer == layer
    assert min(explanation.coarse.shape) > 1


def test_pools_and_layers_that_are_used_twice_are_passed_over():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.again = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)
            self.pool = nn.AdaptiveAvgPool2d(4)

        def forward(self, x):
            return self.pool(self.again(self.again(self.first(x)))).mean((2, 3))

    assert chosen(Twice()) == "first"


def test_a_layer_that_has_shrunk_to_one_place_is_passed_over():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 62), nn.Flatten())
    assert chosen(model) == "1"


def test_a_container_is_named_by_the_part_that_makes_its_answer():
    features = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sequential(nn.ReLU()))
    model = nn.Sequential(features, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert chosen(model) == "0.1.0"


def test_looking_for_the_layer_leaves_no_hooks():
    model = cnn()
    before = fingerprint(model)
    chosen(model)
    assert fingerprint(model).hooks == before.hooks
    broken = Answer(cnn(), lambda y: None)
    with pytest.raises(xw.ModelError):
        chosen(broken)
    assert fingerprint(broken.inner).hooks == before.hooks


def test_a_layer_may_be_given_by_name_or_itself():
    model = cnn()
    by_name = xw.attribute(model, photo(), method="gradcam", target_layer="2")
    by_itself = xw.attribute(model, photo(), method="gradcam", target_layer=model[2])
    assert by_name.target_layer == by_itself.target_layer == "2"
    assert (by_name.values == by_itself.values).all()
    assert (by_name.values != xw.attribute(model, photo(), method="gradcam").values).any()


def test_an_in_place_activation_behind_the_layer_does_not_change_what_is_read():
    model, plain = cnn(), cnn(inplace=False)
    for layer in ("0", "1", "3", "4"):
        one, other = (xw.attribute(m, photo(), method="gradcam", target_layer=layer).values for m in (model, plain))
        assert (one == other).all()


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        ("layer5", "has no layer 'layer5'"),
        ("", "has no layer ''"),
        (3, "its dotted name, or the module itself"),
        ([0], "its dotted name, or the module itself"),
        (nn.ReLU(), "ReLU given as target_layer is no part of this Sequential"),
        ("9", r"'9' returns shape \(1, 4\)"),
    ],
)
def test_a_layer_that_cannot_be_read_is_refused(layer, words):
    with pytest.raises(xw.MethodError, match=words):
        xw.attribute(cnn(), photo(), method="gradcam", target_layer=layer)


def test_the_nearest_layer_is_offered():
    from torchvision.models import resnet18

    with pytest.raises(xw.MethodError, match="Did you mean 'layer4'"):
        get_layer(Classifier(resnet18()), "layer_4")


def test_a_network_without_places_is_refused_and_another_method_named():
    flat = nn.Sequential(nn.Flatten(), nn.Linear(3 * 48 * 64, 4))
    with pytest.raises(xw.MethodError, match=r"Grad-CAM cannot run here\. Needs a convolution"):
        xw.attribute(flat, photo(), method="gradcam")
    assert xw.attribute(flat, photo()).method == "saliency"
    single = nn.Sequential(nn.Conv2d(3, 4, (48, 64)), nn.Flatten())
    with pytest.raises(xw.MethodError, match='method="saliency"'):
        xw.attribute(single, photo(), method="gradcam")


def test_a_layer_the_answer_does_not_depend_on_is_refused():
    class Side(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.side = cnn(), nn.Conv2d(3, 3, 3)

        def forward(self, x):
            self.side(x)
            return self.inner(x)

    with pytest.raises(xw.MethodError, match="No gradient of Side reaches the layer 'side'"):
        xw.attribute(Side(), photo(), method="gradcam", target_layer="side")
