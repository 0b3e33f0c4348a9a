"""Which layer a class activation map reads when none is named."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
import torch
from models import Answer, Breaks, assert_untouched, cnn, fingerprint, photo
from references import raw_gradcam
from torch import nn

import xai_widgets as xw
from xai_widgets import layers
from xai_widgets.classifiers import Classifier
from xai_widgets.grids import Grids
from xai_widgets.layers import get_layer
from xai_widgets.session import Session


def probed(model, height=64, width=64):
    """The classifier as a session makes it."""
    classifier = Classifier(model)
    classifier.probe(classifier.tensor(torch.from_numpy(photo(height, width)).permute(2, 0, 1) / 255))
    return classifier


def chosen(model, height=64, width=64):
    return layers.choose(probed(model, height, width)).name


# ---------------------------------------------------------------------------------------------------------------------
# Shapes alone
# ---------------------------------------------------------------------------------------------------------------------


def read(*shapes, picture=(64, 64)):
    """What the last shape is taken for, when those before it came from convolutions."""
    grids = Grids(picture)
    for shape in shapes[:-1]:
        grids.read(shape, certain=True)
    return grids.read(shapes[-1])


STEM = (1, 32, 8, 8)


@pytest.mark.parametrize(
    ("shapes", "found"),
    [
        ([STEM, (1, 64, 32)], ("tokens", (8, 8), 0, 32)),
        ([STEM, (1, 65, 32)], ("tokens", (8, 8), 1, 32)),
        ([STEM, (1, 69, 32)], ("tokens", (8, 8), 5, 32)),
        ([STEM, (66, 1, 32)], ("tokens first", (8, 8), 2, 32)),
        ([STEM, (1, 16, 64)], ("tokens", (4, 4), 0, 64)),
        ([(1, 8, 7, 5), (1, 12, 64)], ("tokens", (4, 3), 0, 64)),
        ([(1, 8, 14, 10), (1, 141, 64)], ("tokens", (14, 10), 1, 64)),
        ([(1, 8, 16, 16), STEM, (1, 65, 32)], ("tokens", (8, 8), 1, 32)),
        ([STEM, (1, 8, 8, 24)], ("NHWC", (8, 8), 0, 24)),
        ([STEM, (1, 4, 4, 48)], ("NHWC", (4, 4), 0, 48)),
        ([STEM, (1, 24, 4, 4)], ("NCHW", (4, 4), 0, 24)),
        ([STEM, (1, 2, 64, 64)], None),  # attention between 64 patches
        ([STEM, (1, 2, 65, 65)], None),
        ([STEM, (1, 2, 64, 16)], None),  # a head's queries
        ([STEM, (4, 16, 32)], None),  # windows
        ([STEM, (1, 100, 32)], None),
        ([STEM, (1, 64, 1)], None),  # pooled channels
        ([STEM, (1, 32)], None),
        ([(1, 16, 64)], ("tokens", (4, 4), 0, 64)),  # patches of 16 pixels, cut without a convolution
        ([(1, 8, 32, 32)], ("NCHW", (32, 32), 0, 8)),
        ([(1, 8, 32, 30)], None),
    ],
)
def test_shapes_are_read_as_places_where_a_grid_explains_them(shapes, found):
    assert read(*shapes) == found


# ---------------------------------------------------------------------------------------------------------------------
# The layer that is chosen; tests/test_architectures.py has the networks of the libraries
# ---------------------------------------------------------------------------------------------------------------------


def test_a_layer_that_is_used_twice_is_passed_over_as_are_pools():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.again = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)
            self.pool = nn.AdaptiveAvgPool2d(4)

        def forward(self, x):
            return self.pool(self.again(self.again(self.first(x)))).mean((2, 3))

    assert chosen(Twice()) == "first"
    found = xw.attribute(Twice(), photo(), method="gradcam", target_layer="again")
    assert "again is called 2 times in one answer; the last call is read." in found.warnings


def test_a_layer_that_has_shrunk_to_one_place_is_passed_over():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 62), nn.Flatten())
    layer = layers.choose(probed(model))
    assert (layer.name, layer.note) == ("1", "")  # the convolution over everything is the head


@pytest.mark.parametrize(
    ("size", "name", "words"),
    [
        (224, "layer4.1", None),
        (64, "layer3.1", "layer4.1 sees only 2 × 2 places here, so layer3.1 is read: 4 × 4 places."),
        (32, "layer2.1", "sees only one place here, so layer2.1 is read: 4 × 4 places."),
    ],
)
def test_where_too_few_places_are_left_an_earlier_layer_is_read_and_the_map_says_so(size, name, words):
    from torchvision.models import resnet18

    model = resnet18(num_classes=4)
    found = xw.attribute(model, photo(size, size), method="gradcam", segments="grid")
    assert found.target_layer == name
    assert [words in warning for warning in found.warnings if "sees" in warning] == ([True] if words else [])


def test_where_no_layer_sees_enough_the_one_that_sees_most_is_read():
    model = nn.Sequential(nn.Conv2d(3, 4, 16, 16), nn.ReLU(), nn.Conv2d(4, 4, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    layer = layers.choose(probed(model, 48, 48))
    assert (layer.name, layer.grid) == ("1", (3, 3))
    assert layer.note == "1 sees 3 × 3 places here, no layer more, so the map is coarse."


def test_a_container_is_named_by_the_part_that_makes_its_answer():
    features = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sequential(nn.ReLU()))
    model = nn.Sequential(features, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert chosen(model) == "0.1.0"


def test_a_head_of_zeros_leaves_the_last_layer_and_an_empty_map_that_says_why():
    model = cnn()
    nn.init.zeros_(model[-1].weight)
    found = xw.attribute(model, photo(), method="gradcam")
    assert found.target_layer == "5"
    assert found.warnings[0].startswith("There is no positive evidence for")


def test_an_adapter_around_a_projection_is_not_taken_for_a_block():
    class LoraLinear(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner, self.down, self.up = inner, nn.Linear(32, 2), nn.Linear(2, inner.out_features)

        def forward(self, x):
            return self.inner(x) + self.up(self.down(x))

    timm = pytest.importorskip("timm")
    model = timm.create_model(
        "vit_tiny_patch16_224", num_classes=4, img_size=64, patch_size=8, embed_dim=32, num_heads=2, depth=2
    )
    for block in model.blocks:
        block.attn.qkv = LoraLinear(block.attn.qkv)
    assert chosen(model) == "blocks.1.norm1"


def test_the_survey_is_made_once_for_all_methods_and_classes_and_keeps_no_values():
    model, asked, values = cnn(), [], []
    classifier = probed(model)
    model.register_forward_pre_hook(lambda *_: asked.append(1))
    handle = model[3].register_forward_hook(lambda _module, _args, output: values.append(weakref.ref(output)))
    found = layers.survey(classifier)
    handle.remove()
    assert layers.survey(classifier) is not found
    assert layers.survey(classifier) == found
    assert layers.unfit(classifier) == ""
    assert layers.choose(classifier).name == "5"
    assert len(asked) == 1
    gc.collect()
    assert values[0]() is None
    alive = weakref.ref(classifier)
    del classifier
    gc.collect()
    assert alive() is None


def test_looking_for_the_layer_leaves_the_model_alone_also_if_it_fails():
    model = cnn()
    before = fingerprint(model)
    layers.survey(probed(model))
    assert_untouched(model, before)

    class Once(nn.Module):
        """It answers, but not to somebody who wants a gradient."""

        def __init__(self):
            super().__init__()
            self.inner = cnn()

        def forward(self, x):
            if x.requires_grad or torch.is_grad_enabled():
                raise ValueError("not with gradients")
            return self.inner(x)

    model = Once()
    before = fingerprint(model)
    classifier = probed(model)
    assert "not with gradients" in layers.unfit(classifier)
    with pytest.raises(xw.MethodError, match="not with gradients"):
        layers.choose(classifier)
    assert_untouched(model, before)


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_frozen_models_are_surveyed_inside_no_grad_and_inference_mode(context):
    model = cnn().requires_grad_(requires_grad=False)
    with context():
        found = xw.attribute(model, photo(), method="gradcam", target=0)
    assert found.target_layer == "5"
    assert found.values.any()
    assert np.array_equal(found.values, xw.attribute(cnn(), photo(), method="gradcam", target=0).values)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_give_the_same_map_but_for_rounding(dtype):
    exact = xw.attribute(cnn(), photo(), method="gradcam", target=0)
    found = xw.attribute(cnn().to(dtype), photo(), method="gradcam", target=0)
    assert found.values.dtype == np.float32
    assert exact.values.max() > 0
    assert np.abs(found.values - exact.values).max() < 0.05 * exact.values.max()


def test_a_map_that_is_not_finite_is_refused():
    class Overflows(nn.Module):
        """Its answer is finite, its gradient is not: the square root at zero."""

        def __init__(self):
            super().__init__()
            self.inner = cnn()

        def forward(self, x):
            y = self.inner[:6](x)
            return self.inner[6:](y) + 0 * (y - y).abs().sum().sqrt()

    with pytest.raises(xw.MethodError, match=r"Grad-CAM at the layer .* is not finite"):
        xw.attribute(Overflows(), photo(), method="gradcam")


# ---------------------------------------------------------------------------------------------------------------------
# pytorch-grad-cam, told the layer and the token grid
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["vit", "vit, another layer", "swin"])
def test_transformers_give_the_map_of_pytorch_grad_cam_that_is_told_the_layer_and_the_grid(name):
    from torchvision.models import VisionTransformer
    from torchvision.models.swin_transformer import SwinTransformer

    with torch.random.fork_rng():
        torch.manual_seed(0)
        if name == "swin":
            model = SwinTransformer([4, 4], 16, [1, 1, 2], [1, 2, 4], [4, 4], num_classes=5).eval()
            image, layer, module = photo(64, 96), None, model.norm
        else:
            model = VisionTransformer(64, 8, 3, 2, 32, 64, num_classes=5).eval()
            nn.init.normal_(model.heads.head.weight)
            blocks = model.encoder.layers
            image, layer, module = photo(64, 64), None, blocks.encoder_layer_2.ln_1
            if name != "vit":
                layer, module = "encoder.layers.encoder_layer_1", blocks.encoder_layer_1

    def to_maps(values):
        if name == "swin":
            return values.permute(0, 3, 1, 2)
        return values[:, 1:].reshape(len(values), 8, 8, -1).permute(0, 3, 1, 2)

    batch, compared = torch.from_numpy(image).permute(2, 0, 1)[None] / 255, 0
    for target in range(5):
        ours = xw.attribute(model, image, method="gradcam", target=target, target_layer=layer)
        assert model.get_submodule(ours.target_layer) is module
        theirs = raw_gradcam(model, module, batch, target, to_maps)
        assert np.abs(ours.coarse - theirs).max() <= 1e-5 * max(theirs.max(), 1e-3)
        compared += theirs.max() > 0
    assert compared >= 2


# ---------------------------------------------------------------------------------------------------------------------
# A layer that is given
# ---------------------------------------------------------------------------------------------------------------------


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
        ("6", r"'6' returns shape \(1, 12, 1, 1\)"),
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
    with pytest.raises(xw.MethodError, match=r"Grad-CAM cannot run here\. No layer of Sequential knows places"):
        xw.attribute(flat, photo(), method="gradcam")
    assert xw.attribute(flat, photo()).method == "saliency"
    single = nn.Sequential(nn.Conv2d(3, 4, (48, 64)), nn.Flatten())
    with pytest.raises(xw.MethodError, match='method="saliency"'):
        xw.attribute(single, photo(), method="gradcam")


class WithoutGradient(Answer):
    def forward(self, x):
        with torch.no_grad():
            return super().forward(x)


@pytest.mark.parametrize(
    "make",
    [
        lambda: WithoutGradient(cnn(), lambda y: y),
        lambda: Answer(cnn(), torch.detach),
        lambda: torch.jit.trace(cnn(), torch.zeros(1, 3, 48, 64)),
        lambda: torch.export.export(cnn(), (torch.zeros(1, 3, 48, 64),)).module(),
    ],
    ids=["no_grad", "detached", "traced", "exported"],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_network_that_torch_cannot_look_into_is_refused_with_one_line(make):
    with pytest.raises(xw.MethodError, match="Grad-CAM cannot run here") as caught:
        xw.attribute(make(), photo(), method="gradcam")
    assert "\n" not in str(caught.value)


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


def test_behind_the_last_attention_the_map_is_empty_and_says_so():
    """A class token's transformer looks at no patch any more there; pytorch-grad-cam returns zeros without a word."""
    from torchvision.models import VisionTransformer

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = VisionTransformer(48, 8, 2, 2, 16, 32, num_classes=4)
        nn.init.normal_(model.heads.head.weight)
    picture = photo(48, 48)
    found = xw.attribute(model, picture, method="gradcam", target_layer="encoder.layers.encoder_layer_1")
    assert not found.values.any()
    assert "no positive evidence" in found.warnings[0]
    assert xw.attribute(model, picture, method="gradcam").target_layer == "encoder.layers.encoder_layer_1.ln_1"


def test_a_failure_that_passes_is_not_held_against_the_model():
    model = Breaks(cnn(), at=10**9)
    session = Session(model, photo())
    model.calls[0], model.at = 0, 1
    assert "too much" in layers.unfit(session.classifier)
    model.at = 10**9
    assert layers.unfit(session.classifier) == ""
    assert layers.choose(session.classifier).name == "inner.5"
