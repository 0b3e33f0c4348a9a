"""The class activation maps against other libraries, by hand, and on networks where the answer is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from models import assert_untouched, cnn, fingerprint, photo, problem, unusual
from references import raw_cam, raw_fullgrad, torchcam_map
from torch import nn

import xai_widgets as xw
from xai_widgets.answers import Answers
from xai_widgets.problem import Tally
from xai_widgets.registry import get_method

CAMS = [
    "gradcam", "gradcam++", "hirescam", "xgradcam", "layercam", "eigencam", "eigengradcam", "scorecam", "ablationcam",
    "finercam",
]  # fmt: skip
EVERY = [*CAMS, "fullgrad"]
PIXELS = photo()


def ask(model, image, method, **options):
    """An explanation on a plain grid, which is quicker to cut than superpixels."""
    return xw.attribute(model, image, method=method, segments="grid", n_segments=4, **options)


def as_batch(image, dtype=torch.float32):
    return torch.from_numpy(image).permute(2, 0, 1)[None].to(dtype) / 255


def seeded(make, seed=0):
    """A network of given weights, in evaluation mode."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make().eval()


def close(ours, theirs, tolerance=1e-5):
    """Whether two maps agree, relative to the largest number of the second, which may not be empty."""
    top = np.abs(theirs).max()
    return top > 0 and np.abs(ours - theirs).max() <= tolerance * top


def agreeing(pairs, tolerance=1e-5):
    """How many of the pairs of maps are not empty; all must agree."""
    assert all(close(ours, theirs, tolerance) or not (ours.any() or theirs.any()) for ours, theirs in pairs)
    return sum(bool(theirs.any()) for _, theirs in pairs)


class Fine(nn.Sequential):
    """A layer "1" as fine as the picture, after a ReLU, and a head that tells places apart."""

    def __init__(self, channels=3, features=6, size=(12, 16), classes=4):
        super().__init__(
            nn.Conv2d(channels, features, 3, padding=1), nn.ReLU(), nn.AvgPool2d(4), nn.Flatten(),
            nn.Linear(features * size[0] * size[1] // 16, classes),
        )  # fmt: skip


class Pooled(nn.Module):
    """Average pooling and a linear head, the network that CAM was made for."""

    def __init__(self, features=8, classes=4):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, features, 3, stride=4), nn.ReLU())
        self.head = nn.Linear(features, classes)

    def forward(self, x):
        return self.head(self.body(x).mean((2, 3)))


# ---------------------------------------------------------------------------------------------------------------------
# Other libraries
# ---------------------------------------------------------------------------------------------------------------------

THEIRS = {
    "gradcam++": "GradCAMPlusPlus", "hirescam": "HiResCAM", "xgradcam": "XGradCAM", "layercam": "LayerCAM",
    "eigengradcam": "EigenGradCAM", "ablationcam": "AblationCAM",
}  # fmt: skip


@pytest.fixture(scope="module", params=["resnet", "squeezenet", "plain"])
def network(request):
    """(model, layers after a ReLU, picture); gradients are large, as pytorch-grad-cam adds a small number to them."""
    from torchvision.models import ResNet, squeezenet1_1
    from torchvision.models.resnet import BasicBlock

    make, layers = {
        "resnet": (lambda: ResNet(BasicBlock, [1, 1, 1, 1], num_classes=5), ["layer4", "layer3.0"]),
        "squeezenet": (lambda: squeezenet1_1(num_classes=5), ["features.12", "features.5"]),
        "plain": (lambda: cnn(5), ["2", "5"]),
    }[request.param]
    model = seeded(make, seed=1)
    with torch.no_grad():
        for module in model.modules():  # untrained batch norms of one running mean let the signal fade
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 1.0
        model.train()(torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
        model.eval()
        last = [module for module in model.modules() if isinstance(module, (nn.Linear, nn.Conv2d))][-1]
        last.weight.mul_(1e4)
    return model, layers, photo(64, 64)


@pytest.mark.parametrize("method", [name for name in THEIRS if name != "ablationcam"])
def test_the_raw_map_equals_that_of_pytorch_grad_cam(network, method):
    model, layers, image = network
    pairs = []
    for layer in layers:
        for target in (0, 3):
            theirs = raw_cam(THEIRS[method], model, model.get_submodule(layer), as_batch(image), target)
            ours = ask(model, image, method, target=target, target_layer=layer)
            assert ours.target_layer == layer
            if method == "eigengradcam":  # a principal component has no sign: theirs is left to chance
                share = ask(model, image, "hirescam", target=target, target_layer=layer).coarse
                theirs = theirs * np.sign((theirs * share).sum())
            pairs.append((ours.coarse, theirs if get_method(method).signed else np.maximum(theirs, 0)))
    assert agreeing(pairs) >= 2


@pytest.mark.parametrize("layer", ["2", "5"])
def test_ablation_cam_equals_pytorch_grad_cam(layer):
    model, pairs = cnn(), []
    for target in range(4):
        theirs = raw_cam("AblationCAM", model, model.get_submodule(layer), as_batch(PIXELS), target)
        with torch.no_grad():
            sign = float(model(as_batch(PIXELS))[0, target].sign())  # ours divides by the score's size
        ours = ask(model, PIXELS, "ablationcam", target=target, target_layer=layer).coarse
        pairs.append((ours, np.maximum(sign * theirs, 0)))
    assert agreeing(pairs) >= 2


@pytest.mark.parametrize(("method", "theirs"), [("layercam", "LayerCAM"), ("xgradcam", "XGradCAM")])
def test_the_raw_map_equals_that_of_torchcam(method, theirs):
    model, pairs = cnn(), []
    for layer in ("2", "5"):
        for target in range(4):
            expected = torchcam_map(theirs, model, layer, as_batch(PIXELS), target)
            ours = ask(model, PIXELS, method, target=target, target_layer=layer).coarse
            pairs.append((np.maximum(ours, 0), expected))
    assert agreeing(pairs) >= 4


def test_score_cam_equals_both_where_the_layer_is_as_fine_as_the_picture():
    """They enlarge in ways of their own, so the layer needs no enlarging; their picture is multiplied: black is off."""
    model, image = seeded(Fine), photo(12, 16)
    with torch.no_grad():
        model[4].weight.mul_(20)  # so that the softmax tells channels apart
    for target in (0, 2):
        ours = ask(model, image, "scorecam", target=target, target_layer="1", baseline="black").coarse
        assert close(ours, raw_cam("ScoreCAM", model, model[1], as_batch(image), target))
        assert close(ours, torchcam_map("ScoreCAM", model, "1", as_batch(image), target))


def test_finer_cam_equals_torchcam_and_for_one_class_pytorch_grad_cam():
    from pytorch_grad_cam.utils.model_targets import FinerWeightedTarget

    model, torchcams, gradcams = cnn(6), [], []
    with torch.no_grad():
        logits = model(as_batch(PIXELS))[0]
    for target in range(6):
        for alpha, n_similar in ((0.6, 3), (1, 9)):
            options = {"gamma": alpha, "num_references": n_similar}
            theirs = torchcam_map("FinerCAM", model, "5", as_batch(PIXELS), target, **options)
            ours = ask(model, PIXELS, "finercam", target=target, target_layer="5", alpha=alpha, n_similar=n_similar)
            torchcams.append((ours.coarse, theirs))
        like = (logits - logits[target]).abs().argsort().tolist()[1]
        theirs = raw_cam("GradCAM", model, model[5], as_batch(PIXELS), FinerWeightedTarget(target, [like], 0.6))
        ours = ask(model, PIXELS, "finercam", target=target, target_layer="5", n_similar=1)
        assert f"It is compared with class {like}." in ours.warnings
        gradcams.append((ours.coarse, np.maximum(theirs, 0)))
    assert agreeing(torchcams) >= 4
    assert agreeing(gradcams) >= 2


def test_eigen_cam_equals_pytorch_grad_cam_where_channels_have_mean_zero():
    """Theirs subtracts the means, the paper does not."""
    model = seeded(lambda: nn.Sequential(nn.Conv2d(3, 6, 3, 2), nn.InstanceNorm2d(6), *cnn(channels=6)))
    ours = ask(model, PIXELS, "eigencam", target_layer="1").coarse
    theirs = raw_cam("EigenCAM", model, model[1], as_batch(PIXELS), 0)
    theirs = theirs * np.sign(theirs.flat[np.abs(theirs).argmax()])
    assert close(ours, np.maximum(theirs, 0))


def test_fullgrad_equals_pytorch_grad_cam_where_each_layer_has_one_channel():
    """With more, theirs brings each channel to 0 … 1 by itself, and the authors' code a whole layer."""
    model = seeded(lambda: nn.Sequential(
        nn.Conv2d(1, 1, 3, 2), nn.BatchNorm2d(1), nn.ReLU(), nn.Conv2d(1, 1, 3), nn.ReLU(True), nn.Flatten(),
        nn.Linear(40, 3),
    ), seed=3)  # fmt: skip
    with torch.no_grad():
        model[1].running_mean.fill_(0.2)
        model[3].bias.mul_(1e-6)  # what counts is its gradient's pattern, brought to 0 … 1
        model[6].weight.mul_(3e8)  # theirs adds a small number
    image = photo(16, 22)[..., :1]
    ours = ask(model, image, "fullgrad", target=1)
    assert close(ours.values, raw_fullgrad(model, as_batch(image), 1))


# ---------------------------------------------------------------------------------------------------------------------
# Networks where the answer is known
# ---------------------------------------------------------------------------------------------------------------------


def test_on_average_pooling_and_a_linear_head_the_maps_are_what_theory_says():
    model = seeded(Pooled)
    with torch.no_grad():
        features = model.body(as_batch(PIXELS))[0]
        shares = model.head.weight[1][:, None, None] * features / features[0].numel()  # (channels, rows, cols)
        logit = float(model(as_batch(PIXELS))[0, 1] - model.head.bias[1])
    cam = shares.sum(0).numpy()
    maps = {method: ask(model, PIXELS, method, target=1, target_layer="body").coarse for method in CAMS[:5]}
    assert close(maps["gradcam"], np.maximum(cam, 0))
    assert close(maps["layercam"], np.maximum(shares.clamp_min(0).sum(0).numpy(), 0))
    for method in ("hirescam", "xgradcam"):
        assert close(maps[method], cam)
        assert maps[method].sum() == pytest.approx(logit, rel=1e-5)  # conservation
    # Ablation's weight is the share of the score that the channel holds.
    with torch.no_grad():
        model.head.bias.zero_()
    ours = ask(model, PIXELS, "ablationcam", target=1, target_layer="body").coarse
    weights = shares.sum((1, 2)) / abs(logit)
    assert close(ours, (weights[:, None, None] * features).sum(0).clamp_min(0).numpy())


def test_xgrad_cam_conserves_what_hires_cam_sums_to_on_any_network():
    model = seeded(Fine)
    maps = [ask(model, photo(12, 16), m, target=1, target_layer="1").coarse for m in ("xgradcam", "hirescam")]
    assert maps[0].sum() == pytest.approx(maps[1].sum(), rel=1e-5)
    with torch.no_grad():
        logit = float(model(as_batch(photo(12, 16)))[0, 1] - model[4].bias[1])
    assert maps[1].sum() == pytest.approx(logit, rel=1e-5)  # what follows the layer is linear
    assert not close(*maps, tolerance=0.05)


def test_maps_without_relu_are_linear_in_the_target():
    model = cnn()
    for method in ("hirescam", "xgradcam"):
        assert get_method(method).linear
        both, one, other = (ask(model, PIXELS, method, target=t, target_layer="2").coarse for t in ((1, 3), 1, 3))
        assert close(both, one - other)


def test_gradcam_plus_plus_is_made_of_the_derivatives_of_exp_of_the_score():
    """First, second and third derivative of exp S in each activation, by autograd, in float64."""
    model = seeded(lambda: nn.Sequential(
        nn.Conv2d(3, 4, 4, 4), nn.ReLU(), nn.Flatten(), nn.Linear(36, 10), nn.ReLU(), nn.Linear(10, 3)
    )).double()  # fmt: skip
    image = photo(12, 12)
    activations = model[:2](as_batch(image, torch.float64))[0].detach().requires_grad_()
    score = model[2:](activations[None])[0, 2]
    value = score.exp()
    (first,) = torch.autograd.grad(value, activations, create_graph=True)
    second, third = torch.zeros_like(first), torch.zeros_like(first)
    for index in np.ndindex(*first.shape):
        (again,) = torch.autograd.grad(first[index], activations, create_graph=True)
        second[index] = again[index].detach()
        third[index] = torch.autograd.grad(again[index], activations, retain_graph=True)[0][index]
    alpha = second / (2 * second + activations.sum((1, 2), keepdim=True) * third)
    weights = (alpha.nan_to_num() * first.relu()).sum((1, 2), keepdim=True)
    expected = (weights * activations).sum(0).relu().detach() / score.exp().detach()  # the factor that is left out
    assert close(ask(model, image, "gradcam++", target=2, target_layer="1").coarse, expected.numpy())


def test_gradcam_plus_plus_warns_where_its_weights_run_away():
    model = nn.Sequential(nn.Conv2d(3, 2, 4, 4), nn.Flatten(), nn.Linear(2 * 3 * 4, 2))
    with torch.no_grad():
        model[0].weight.fill_(-1)
        model[2].weight.fill_(1)
    found = ask(model, photo(12, 16), "gradcam++", target=0, target_layer="0")
    assert any("negative values, for which Grad-CAM++ was not made" in text for text in found.warnings)
    assert not any("not made" in text for text in ask(cnn(), PIXELS, "gradcam++").warnings)


def test_eigen_cam_recovers_activations_of_rank_one_whatever_their_sign_and_the_class():
    image = photo(12, 16)[..., :1]
    for sign in (1, -1):
        model = seeded(
            lambda: nn.Sequential(nn.Conv2d(1, 6, 1, bias=False), nn.AvgPool2d(4), nn.Flatten(), nn.Linear(72, 3))
        )
        with torch.no_grad():
            model[0].weight.mul_(sign)
        expected = float(model[0].weight.detach().norm()) * image[..., 0] / 255
        for target in (0, 1, (0, 2)):
            assert close(ask(model, image, "eigencam", target=target, target_layer="0").coarse, expected)


def test_eigen_grad_cam_recovers_shares_of_rank_one_and_points_towards_support():
    image = photo(12, 16)[..., :1]
    model = seeded(lambda: nn.Sequential(nn.Conv2d(1, 5, 1, bias=False), nn.Flatten(), nn.Linear(5 * 192, 2)))
    generator = torch.Generator().manual_seed(1)
    where, channel = torch.rand(12, 16, generator=generator), torch.randn(5, generator=generator)
    with torch.no_grad():
        model[2].weight[0] = (channel[:, None, None] * where).flatten()
        model[2].weight[1] = -model[2].weight[0]
    pattern = where.numpy() * image[..., 0] / 255
    pattern -= pattern.mean()
    strength = channel * model[0].weight.flatten().detach()
    support = float(strength.sum().sign())
    for target, sign in ((0, support), (1, -support)):
        expected = np.maximum(sign * float(strength.norm()) * pattern, 0)
        assert close(ask(model, image, "eigengradcam", target=target, target_layer="0").coarse, expected)


@pytest.mark.parametrize("n_channels", [None, 5])
def test_score_cam_is_its_formula_with_the_chosen_baseline(n_channels):
    model, image = cnn(), photo(24, 32)
    found = ask(model, image, "scorecam", target=1, target_layer="5", baseline="blur", n_channels=n_channels)
    off = as_batch(found.off_image.copy())
    with torch.no_grad():
        features = model[:6](as_batch(image))[0]
        order = features.flatten(1).var(1).argsort(descending=True)[: n_channels or 12]
        logits = []
        for channel in features[order]:
            mask = nn.functional.interpolate(channel[None, None], (24, 32), mode="bilinear", align_corners=False)
            mask = (mask - mask.min()) / (mask.max() - mask.min()) if mask.max() > mask.min() else mask * 0
            logits.append(model(mask * as_batch(image) + (1 - mask) * off)[0, 1])
        rise = torch.stack(logits) - model(off)[0, 1]
        expected = (rise.softmax(0)[:, None, None] * features[order]).sum(0).relu().numpy()
    assert found.n_forward == 1 + len(order)
    assert close(found.coarse, expected)


@pytest.mark.parametrize(
    "build",
    [
        lambda: nn.Sequential(nn.Conv2d(3, 6, 3, 2), nn.BatchNorm2d(6), nn.ReLU(True), nn.Conv2d(6, 8, 3), nn.ReLU()),
        lambda: nn.Sequential(nn.Conv2d(3, 6, 3, 2), nn.ReLU6(True), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3), nn.GELU()),
        lambda: nn.Sequential(nn.Conv2d(3, 6, 3, 2, bias=False), nn.ReLU(), nn.Conv2d(6, 8, 3, bias=False), nn.ReLU()),
    ],
    ids=["relu", "relu6 and gelu", "no bias"],
)
def test_the_terms_of_fullgrad_add_up_to_the_score(build):
    body = seeded(build)
    model = nn.Sequential(*body, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 3)).eval()
    with torch.no_grad():
        model[-1].weight.mul_(20)
        for module in model:
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.uniform_(-1, 1)
                module.weight.uniform_(0.5, 2)
                module.bias.uniform_(-1, 1)
            if isinstance(module, nn.Conv2d) and module is not model[0]:
                module.weight.mul_(10)  # beyond where ReLU6 bends
    for target in (0, (1, 2), lambda row: row[0] - 2 * row[1]):
        found = ask(model, PIXELS, "fullgrad", target=target, mean=0, std=1)
        gap, verdict = found.checks["completeness_gap"]
        with torch.no_grad():
            row = model(as_batch(PIXELS))[0]
        score = row[0] if target == 0 else row[1] - row[2] if target == (1, 2) else row[0] - 2 * row[1]
        assert gap <= 1e-4 * abs(float(score))
        assert verdict == "good"
        assert found.warnings == ()


@pytest.mark.parametrize("name", ["resnet", "squeezenet1_1", "mobilenet_v2", "timm"])
def test_the_terms_of_fullgrad_add_up_on_ordinary_networks(name):
    if name == "timm":  # its batch norms hold their activation
        timm = pytest.importorskip("timm")
        model = seeded(lambda: timm.create_model("mobilenetv2_035", num_classes=5))
    elif name == "resnet":
        from torchvision.models import ResNet
        from torchvision.models.resnet import BasicBlock

        model = seeded(lambda: ResNet(BasicBlock, [1, 1, 1, 1], num_classes=5))
    else:
        import torchvision

        model = seeded(lambda: getattr(torchvision.models, name)(weights=None, num_classes=5))
    with torch.no_grad():
        for number, module in enumerate(model.modules()):
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.fill_(0.1 * (number % 3))
                module.bias.fill_(0.2)
    found = ask(model, photo(64, 64), "fullgrad", target=1)
    gap, verdict = found.checks["completeness_gap"]
    ready = problem(model, photo(64, 64), segments="grid", n_segments=4)
    with torch.no_grad():
        assert gap <= 1e-4 * abs(float(model(ready.inputs[None])[0, 1]))
    assert verdict == "good"


def test_fullgrad_of_a_network_without_biases_is_the_input_times_its_gradient():
    """And not the rounding of its layers, brought to 0 … 1."""
    model = seeded(lambda: nn.Sequential(
        nn.Conv2d(3, 6, 3, 2, 1, bias=False), nn.Hardtanh(-99, 99), nn.LPPool2d(2, 2), nn.LeakyReLU(),
        nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(96, 3, bias=False)
    ))  # fmt: skip
    batch = as_batch(PIXELS).requires_grad_()
    (gradient,) = torch.autograd.grad(model(batch)[0, 1], batch)
    share = (gradient * batch)[0].detach().abs()
    expected = (share - share.min()) / (share.max() - share.min())
    assert close(ask(model, PIXELS, "fullgrad", target=1).values, expected.sum(0).numpy())


def test_fullgrad_says_where_it_does_not_describe_the_network():
    class Gated(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.gate, self.head = nn.Conv2d(3, 6, 3, 2), nn.Conv2d(3, 6, 3, 2), nn.Linear(6, 3)

        def forward(self, x):
            return self.head((self.conv(x) * self.gate(x)).mean((2, 3)))

    found = ask(seeded(Gated), PIXELS, "fullgrad")
    assert found.checks["completeness_gap"][1] == "rough"
    assert found.warnings[0].startswith("The terms of FullGrad add up to ")


# ---------------------------------------------------------------------------------------------------------------------
# Layers
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["gradcam", "hirescam", "ablationcam", "scorecam", "eigencam"])
def test_maps_of_several_layers_are_divided_by_their_largest_values_and_averaged(method):
    model = cnn()
    options = {"target": 0, "n_channels": 4} if method in ("ablationcam", "scorecam") else {"target": 0}
    one, other = (ask(model, PIXELS, method, target_layer=layer, **options) for layer in ("2", "5"))
    both = ask(model, PIXELS, method, target_layer=["2", model[5]], **options)
    expected = (one.values / np.abs(one.coarse).max() + other.values / np.abs(other.coarse).max()) / 2
    assert close(both.values, expected)
    assert both.target_layer == "2, 5"
    assert both.coarse is None
    assert any("2 layers were divided by their largest values" in text for text in both.warnings)
    assert not any("divided" in text for text in one.warnings)
    session_cost = get_method(method).cost(problem(model, PIXELS), target_layer=("2", "5"), **{
        name: value for name, value in options.items() if name == "n_channels"})  # fmt: skip
    assert both.n_forward == session_cost


def vit():
    from torchvision.models import VisionTransformer

    return VisionTransformer(48, 8, 2, 2, 16, 32, num_classes=4)


def timm_vit():
    timm = pytest.importorskip("timm")
    return timm.create_model("vit_tiny_patch16_224", num_classes=4, img_size=(48, 64), patch_size=8, embed_dim=32,
                             num_heads=2, depth=2)  # fmt: skip


def swin():
    from torchvision.models.swin_transformer import SwinTransformer

    return SwinTransformer([4, 4], 16, [1, 1, 2], [1, 2, 4], [4, 4], num_classes=4)


@pytest.fixture(scope="module", params=[vit, timm_vit, swin])
def transformer(request):
    image = {vit: photo(48, 48), timm_vit: photo(48, 64), swin: photo(64, 96)}[request.param]
    model = seeded(request.param)
    with torch.no_grad():
        head = [module for module in model.modules() if isinstance(module, nn.Linear)][-1].weight
        head.copy_(3 * torch.randn(head.shape, generator=torch.Generator().manual_seed(0)))  # torchvision's is zero
    return model, image, {vit: (6, 6), timm_vit: (6, 8), swin: (4, 6)}[request.param]


@pytest.mark.parametrize("method", EVERY)
def test_every_map_is_made_of_transformers_too(transformer, method):
    model, image, grid = transformer
    found = [ask(model, image, method, target=target, **get_method(method).quick) for target in range(4)]
    assert all(np.isfinite(e.values).all() for e in found)
    assert all(e.values.any() or "no positive evidence" in e.warnings[0] for e in found)
    assert any(e.values.any() for e in found) or method == "ablationcam"  # few channels may all speak against
    if method != "fullgrad":
        assert {e.coarse.shape for e in found} == {grid}


def test_ablation_zeroes_channels_where_the_layer_has_places_and_nowhere_else(transformer):
    """By hand: a hook that sets one channel of the patches to zero, one picture at a time."""
    model, image, grid = transformer
    from xai_widgets.layers import find

    ready = problem(model, image, segments="grid", n_segments=4)
    layer = find(ready.classifier, None)
    seen, pairs = [], []
    tokens = layer.arrangement == "tokens"
    assert tokens or layer.arrangement == "NHWC"

    def scores(channel=None):
        def hook(_module, _args, output):
            output = output.clone()
            if channel is None:
                seen.append(output[0])
            elif tokens:
                output[:, layer.prefix :, channel] = 0
            else:
                output[..., channel] = 0
            return output

        handle = layer.module.register_forward_hook(hook)
        with torch.no_grad():
            answer = model(ready.inputs[None])[0]
        handle.remove()
        return answer

    whole = scores()
    features = seen[0][layer.prefix :].T.unflatten(1, grid) if tokens else seen[0].permute(2, 0, 1)
    order = features.flatten(1).var(1).argsort(descending=True)[:6].tolist()
    falls = torch.stack([(whole - scores(channel)) / whole.abs() for channel in order])
    for target in range(4):
        ours = ask(model, image, "ablationcam", target=target, n_channels=6).coarse
        pairs.append((ours, (falls[:, target, None, None] * features[order]).sum(0).relu().numpy()))
    assert agreeing(pairs, 1e-4) >= 1


def test_ablation_finds_its_row_however_the_model_takes_a_batch():
    """In one go, or picture by picture; and at the last of a layer's calls."""

    class Loops(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            return torch.cat([self.inner(row[None]) for row in x])

    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second, self.act = nn.Conv2d(3, 6, 3, 2), nn.Conv2d(6, 6, 3), nn.ReLU()
            self.head = nn.Linear(6, 4)

        def forward(self, x):
            return self.head(self.act(self.second(self.act(self.first(x)))).mean((2, 3)))

    class Apart(Shared):
        def __init__(self):
            super().__init__()
            self.last = nn.ReLU()

        def forward(self, x):
            return self.head(self.last(self.second(self.act(self.first(x)))).mean((2, 3)))

    shared, apart = seeded(Shared), seeded(Apart)
    expected = ask(apart, PIXELS, "ablationcam", target=1, target_layer="last").coarse
    found = ask(shared, PIXELS, "ablationcam", target=1, target_layer="act")
    assert "act is called 2 times in one answer; the last call is read." in found.warnings
    assert close(found.coarse, expected)
    assert close(ask(Loops(shared), PIXELS, "ablationcam", target=1, target_layer="inner.act").coarse, expected)


# ---------------------------------------------------------------------------------------------------------------------
# Targets, parameters, manners
# ---------------------------------------------------------------------------------------------------------------------


def test_finer_cam_takes_the_class_it_is_given_and_no_function():
    model = cnn()
    found = ask(model, PIXELS, "finercam", target=(0, 3), alpha=0.5)
    assert close(found.coarse, ask(model, PIXELS, "gradcam", target=lambda row: row[0] - 0.5 * row[3]).coarse)
    nothing = ask(model, PIXELS, "finercam", target=0, alpha=0)
    assert np.array_equal(nothing.values, ask(model, PIXELS, "gradcam", target=0).values)
    with pytest.raises(xw.MethodError, match=r"Finer-CAM compares classes, and .* is a function"):
        ask(model, PIXELS, "finercam", target=lambda row: row[0])


@pytest.mark.parametrize("method", EVERY)
def test_every_target_dtype_and_number_of_channels(method):
    quick = get_method(method).quick
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        found = ask(cnn().to(dtype), PIXELS, method, target=0, **quick)
        plain = ask(cnn(), PIXELS, method, target=0, **quick)
        assert found.values.dtype == np.float32
        same = np.corrcoef(found.values.flat, plain.values.flat)[0, 1]
        assert same > (0.9999 if dtype == torch.float64 else 0.99), dtype
    for channels, image in ((1, photo(40, 24)[..., :1]), (5, np.dstack([photo(40, 24)] * 2)[..., :5])):
        found = ask(cnn(channels=channels), image, method, target=(0, 1), **quick)
        assert np.isfinite(found.values).all()
        assert found.values.shape == (40, 24)
    if method != "finercam":
        both, own = (ask(cnn(), PIXELS, method, target=t, **quick) for t in ((0, 1), lambda row: row[0] - row[1]))
        assert np.array_equal(both.values, own.values)


@pytest.mark.parametrize("method", EVERY)
def test_the_model_is_left_alone_and_what_is_asked_is_what_was_announced(method):
    info = get_method(method)
    model = unusual(cnn())
    ready = problem(model, PIXELS, target=0, space="logit", segments="grid", n_segments=4)
    asked = []
    handle = model.register_forward_pre_hook(lambda _, args: asked.append(len(args[0])))
    assert info.unfit(ready.classifier) == ""  # its layers are looked at once
    before = fingerprint(model)
    asked.clear()
    maps = []
    for _ in range(2):
        anew = replace(ready, answers=Answers())
        seen = [(e.done, e.total, e.n_forward, e) for e in info.run(anew, **info.quick)]
        assert seen[-1][0] == seen[-1][1] if len(seen) > 1 else True
        assert [done for done, *_ in seen] == sorted({done for done, *_ in seen})
        maps.append(seen[-1][3].values.tobytes())
    assert maps[0] == maps[1]
    assert sum(asked) == 2 * seen[-1][2] == 2 * info.cost(ready, **info.quick)
    assert_untouched(model, before)
    steps = info.run(ready, **info.quick)
    next(steps)
    steps.close()
    assert_untouched(model, before)
    handle.remove()


@pytest.mark.parametrize("method", ["scorecam", "ablationcam"])
def test_a_model_that_fails_half_way_is_left_alone_and_the_batch_size_changes_nothing(method):
    class Fails(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.left = cnn(), [99]

        def forward(self, x):
            if self.left[0] <= 0:
                raise RuntimeError("no more")
            return self.inner(x)

    model = Fails()
    ready = problem(model, PIXELS, target=0, space="logit", segments="grid", n_segments=4)
    before = fingerprint(model)
    steps = get_method(method).run(ready)
    next(steps), next(steps)
    model.left[0] = 0
    with pytest.raises(xw.ModelError, match="no more"):
        list(steps)
    assert_untouched(model, before)
    one, other = (ask(cnn(), PIXELS, method, target=0, batch_size=size) for size in (1, 64))
    assert close(one.values, other.values)


@pytest.mark.parametrize("method", ["scorecam", "ablationcam"])
def test_out_of_memory_halves_the_batch(method, monkeypatch):
    model = cnn()
    ready = problem(model, PIXELS, target=0, space="logit", segments="grid", n_segments=4, batch_size=8)
    scores, sizes = ready.classifier.scores, []

    def scarce(inputs):
        if len(inputs) > 3:
            raise torch.OutOfMemoryError("no room")
        sizes.append(len(inputs))
        return scores(inputs)

    *_, plain = get_method(method).run(ready)
    monkeypatch.setattr(ready.classifier, "scores", scarce)
    anew = replace(ready, answers=Answers(), tally=Tally())
    *_, found = get_method(method).run(anew)
    assert max(sizes) == 2
    assert close(found.values, plain.values)
    assert found.n_forward == plain.n_forward == sum(sizes) + anew.tally.reused


def test_an_early_look_shows_the_strongest_channels(monkeypatch):
    from xai_widgets.problem import Pace

    monkeypatch.setattr(Pace, "due", lambda self: True)
    for method in ("scorecam", "ablationcam"):
        ready = problem(cnn(), PIXELS, target=0, space="logit", segments="grid", n_segments=4, batch_size=4)
        steps = list(get_method(method).run(ready))
        assert not steps[0].has_map
        *_, short = get_method(method).run(ready, n_channels=4)
        assert close(steps[1].values, short.values)
        assert [step.done for step in steps] == [1, 5, 9, 13]


def test_a_map_without_evidence_says_so_and_one_that_is_not_finite_is_refused():
    model = cnn()
    with torch.no_grad():
        model[-1].weight[2] = -1.0
    for method in ("gradcam", "gradcam++", "layercam", "ablationcam"):
        empty = ask(model, PIXELS, method, target=2)
        assert not empty.values.any()
        assert empty.warnings[0] == "There is no positive evidence for class 2 at the layer 5."
    with torch.no_grad():
        model[-1].weight[2] = 0.0
    empty = ask(model, PIXELS, "hirescam", target=2)
    assert empty.warnings[0] == "Nothing speaks for or against class 2 at the layer 5."

    class Overflows(nn.Module):
        """Its answer is finite, its gradient is not: the square root at zero."""

        def __init__(self):
            super().__init__()
            self.inner = cnn()

        def forward(self, x):
            y = self.inner[:6](x)
            return self.inner[6:](y) + 0 * (y - y).abs().sum().sqrt()

    for method in ("hirescam", "xgradcam", "gradcam++", "layercam", "eigengradcam", "finercam", "fullgrad"):
        with pytest.raises(xw.MethodError, match=r"is not finite: .*model\.float\(\)"):
            ask(Overflows(), PIXELS, method)


def test_what_cannot_be_read_is_an_error_that_says_why():
    model = cnn()
    for method in CAMS:
        with pytest.raises(xw.MethodError, match="has no layer '55'"):
            ask(model, PIXELS, method, target_layer=["5", "55"])
        with pytest.raises(xw.errors.ArgumentError, match="names no layer"):
            ask(model, PIXELS, method, target_layer=[])
    for method in ("scorecam", "ablationcam"):
        with pytest.raises(xw.errors.ArgumentError, match="n_channels=0 must be a whole number"):
            ask(model, PIXELS, method, n_channels=0)
    for wrong in ({"alpha": 1.5}, {"alpha": -0.1}, {"n_similar": 0}):
        with pytest.raises(xw.errors.ArgumentError, match="must be a"):
            ask(model, PIXELS, "finercam", **wrong)
