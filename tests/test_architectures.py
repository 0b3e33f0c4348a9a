"""Each kind of method on every kind of network: a map, or a reason. No layer and no token grid is ever named.

``docs/models.md`` holds what this finds. After a change write it anew::

    .venv/bin/python tests/test_architectures.py --write
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
import torch
from models import assert_untouched, fingerprint, photo
from torch import Tensor, nn

import xai_widgets as xw
from xai_widgets import layers, registry
from xai_widgets.session import Session

PAGE = Path(__file__).parent.parent / "docs" / "models.md"
BEGIN, END = "<!-- matrix: made by tests/test_architectures.py -->", "<!-- end of matrix -->"
CLASSES = 5
COLUMNS = ("lime", "saliency", "gradcam", "guided_backprop", "deeplift", "lrp", "attention_gradient")
"""One method for each thing that methods need of a network, and each that has rules of its own for what is inside."""

V = "torchvision"
T = "timm"
H = "transformers"
OWN = "hand-written"


# ---------------------------------------------------------------------------------------------------------------------
# The networks: small, untrained, but awake
# ---------------------------------------------------------------------------------------------------------------------


def of_torchvision(name: str, **options) -> nn.Module:
    import torchvision

    return getattr(torchvision.models, name)(weights=None, num_classes=CLASSES, **options)


def resnext() -> nn.Module:
    from torchvision.models.resnet import Bottleneck, ResNet

    return ResNet(Bottleneck, [1, 1, 1, 1], num_classes=CLASSES, groups=8, width_per_group=4)


def convnext() -> nn.Module:
    from torchvision.models.convnext import CNBlockConfig, ConvNeXt

    stages = [CNBlockConfig(16, 32, 1), CNBlockConfig(32, 64, 1), CNBlockConfig(64, 96, 2), CNBlockConfig(96, None, 2)]
    return ConvNeXt(stages, layer_scale=1.0, num_classes=CLASSES)


def swin(version: int) -> nn.Module:
    from torchvision.models import swin_transformer as of

    parts = {} if version == 1 else {"block": of.SwinTransformerBlockV2, "downsample_layer": of.PatchMergingV2}
    return of.SwinTransformer([4, 4], 16, [1, 1, 2, 2], [1, 2, 4, 8], [4, 4], num_classes=CLASSES, **parts)


def vit() -> nn.Module:
    from torchvision.models import VisionTransformer

    return VisionTransformer(64, 8, 3, 2, 32, 64, num_classes=CLASSES)


def maxvit() -> nn.Module:
    from torchvision.models import MaxVit

    return MaxVit((64, 64), 8, 2, [8, 16], [1, 2], 8, 0.0, num_classes=CLASSES)


def of_timm(name: str, **options) -> nn.Module:
    import timm

    return timm.create_model(name, pretrained=False, num_classes=CLASSES, **options)


TINY = {"img_size": 64, "patch_size": 8, "embed_dim": 48, "num_heads": 3, "depth": 3}
SWIN = {"img_size": 128, "window_size": 4, "embed_dim": 16, "depths": (1, 1, 2, 2), "num_heads": (1, 2, 4, 8)}


def mixer() -> nn.Module:
    from timm.models.mlp_mixer import MlpMixer

    return MlpMixer(num_classes=CLASSES, img_size=64, patch_size=8, num_blocks=2, embed_dim=48)


def of_transformers(family: str, **options) -> nn.Module:
    import transformers

    config = getattr(transformers, f"{family}Config")(num_labels=CLASSES, **options)
    return getattr(transformers, f"{family}ForImageClassification")(config)


STATES = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64,
          "image_size": 64, "patch_size": 8}  # fmt: skip


def mlp() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 16), nn.ReLU(), nn.Linear(16, CLASSES))


def all_conv() -> nn.Module:
    """It ends in 1 × 1 by strides alone; the last convolution is its head."""
    widths = [3, 8, 16, 24, 32, 32]
    steps = [nn.Sequential(nn.Conv2d(a, b, 3, 2, 1), nn.ReLU()) for a, b in itertools.pairwise(widths)]
    return nn.Sequential(*steps, nn.Conv2d(32, CLASSES, 1), nn.Flatten())


class EncoderOnly(nn.Module):
    """A ViT written by hand from torch's own encoder, as in tutorials: under no_grad it takes a fused path."""

    def __init__(self, *, norm_first: bool, batch_first: bool = True) -> None:
        super().__init__()
        self.batch_first = batch_first
        self.cut = nn.Conv2d(3, 32, 8, 8)
        self.token = nn.Parameter(torch.randn(1, 1, 32))
        self.position = nn.Parameter(torch.randn(1, 65, 32) * 0.2)
        layer = nn.TransformerEncoderLayer(32, 2, 64, batch_first=batch_first, norm_first=norm_first)
        self.encoder = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
        self.head = nn.Linear(32, CLASSES)

    def forward(self, x):
        patches = self.cut(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), patches], 1) + self.position
        x = self.encoder(x if self.batch_first else x.transpose(0, 1))
        return self.head(x[:, 0] if self.batch_first else x[0])


class Pixels(nn.Module):
    """A ViT that cuts its patches by reshaping: there is no convolution that tells its grid."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(3 * 64, 32)
        self.block = nn.TransformerEncoderLayer(32, 2, 64, batch_first=True, norm_first=True)
        self.head = nn.Linear(32, CLASSES)

    def forward(self, x):
        b, _, h, w = x.shape
        x = x.reshape(b, 3, h // 8, 8, w // 8, 8).permute(0, 2, 4, 1, 3, 5).reshape(b, -1, 3 * 64)
        return self.head(self.block(self.embed(x)).mean(1))


class Functional(nn.Module):
    """Pools, activations and the end are functions, not modules."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 16, 3), nn.Linear(16, CLASSES)

    def forward(self, x):
        x = torch.max_pool2d(self.a(x).relu(), 2)
        return self.head(torch.max_pool2d(self.b(x).relu(), 2).amax((2, 3)))


class UNet(nn.Module):
    """Its encoder answers; its decoder runs too, and what it makes has no part in the answer."""

    def __init__(self) -> None:
        super().__init__()
        self.down1, self.down2 = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 16, 3, 2, 1)
        self.up, self.mask = nn.ConvTranspose2d(16, 8, 2, 2), nn.Conv2d(16, 1, 1)
        self.head = nn.Linear(16, CLASSES)

    def forward(self, x):
        first = self.down1(x).relu()
        deep = self.down2(first).relu()
        mask = self.mask(torch.cat([self.up(deep), first], 1))
        return {"logits": self.head(deep.mean((2, 3))), "mask": mask}


class Siamese(nn.Module):
    """One trunk looks at the picture and at the picture turned round."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU())
        self.head = nn.Linear(32, CLASSES)

    def forward(self, x):
        return self.head(torch.cat([self.trunk(x).mean((2, 3)), self.trunk(x.flip((2, 3))).amax((2, 3))], 1))


class Attended(nn.Module):
    """nn.MultiheadAttention, with its weights, over what convolutions found; a learned query reads it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 4, 1), nn.ReLU())
        self.mix = nn.MultiheadAttention(32, 2, batch_first=True)
        self.norm = nn.LayerNorm(32)
        self.query = nn.Parameter(torch.randn(1, 1, 32))
        self.pool = nn.MultiheadAttention(32, 2, batch_first=True)
        self.head = nn.Linear(32, CLASSES)

    def forward(self, x):
        x = self.stem(x).flatten(2).transpose(1, 2)
        x = self.norm(x + self.mix(x, x, x)[0])
        return self.head(self.pool(self.query.expand(len(x), -1, -1), x, x)[0][:, 0])


@dataclass(frozen=True)
class Case:
    library: str
    name: str
    make: Callable[[], nn.Module]
    layer: str | None
    grid: tuple[int, int] | None
    prefix: int = 0
    size: tuple[int, int] = (64, 64)
    in_place: bool = True


def V_(name, layer, grid, size=(112, 112), make=None, **options):  # noqa: N802
    return Case(V, name, make or partial(of_torchvision, name, **options), layer, grid, 0, size)


CASES = (
    V_("resnet18", "layer4.1", (4, 4)),
    V_("resnet18", "layer2.1", (4, 4), (32, 32)),
    Case(V, "resnext", resnext, "layer4.0", (4, 5), size=(112, 144)),
    V_("vgg11", "features.19", (4, 4), (64, 64), init_weights=False),
    V_("densenet121", "features.transition3.conv", (4, 4), (64, 64)),
    V_("mobilenet_v2", "features.18", (4, 4)),
    V_("mobilenet_v3_small", "features.12", (4, 4)),
    V_("efficientnet_b0", "features.8", (4, 4)),
    Case(V, "convnext", convnext, "features.7.1", (4, 4), size=(128, 128)),
    V_("regnet_y_400mf", "trunk_output.block4", (4, 4)),
    V_("mnasnet0_5", "layers.16", (4, 4)),
    V_("shufflenet_v2_x0_5", "conv5.2", (4, 4)),
    V_("googlenet", "inception5b", (4, 4), init_weights=False, aux_logits=False),
    V_("inception_v3", "Mixed_6e", (6, 6), (128, 128), init_weights=False, aux_logits=False),
    V_("alexnet", "features.11", (6, 6)),
    V_("squeezenet1_1", "classifier.2", (6, 6)),
    Case(V, "vit", vit, "encoder.layers.encoder_layer_2.ln_1", (8, 8), 1),
    Case(V, "swin", partial(swin, 1), "norm", (4, 5), size=(128, 160)),
    Case(V, "swin_v2", partial(swin, 2), "norm", (4, 4), size=(128, 128)),
    Case(V, "maxvit", maxvit, "blocks.1", (8, 8)),
    Case(T, "resnet18", partial(of_timm, "resnet18"), "layer4.1", (4, 4), size=(112, 112)),
    Case(T, "efficientnet_lite0", partial(of_timm, "efficientnet_lite0"), "bn2", (4, 4), size=(112, 112)),
    Case(T, "mobilenetv3_small_050", partial(of_timm, "mobilenetv3_small_050"), "blocks.5.0", (4, 4), size=(112, 112)),
    Case(T, "regnety_002", partial(of_timm, "regnety_002"), "s4", (4, 4), size=(112, 112)),
    Case(T, "densenet121", partial(of_timm, "densenet121"), "features.transition3.conv", (4, 4)),
    Case(T, "convnext_atto", partial(of_timm, "convnext_atto", ls_init_value=1.0), "stages.3", (4, 4), size=(128, 128)),
    Case(T, "vit_tiny", partial(of_timm, "vit_tiny_patch16_224", **TINY), "blocks.2.norm1", (8, 8), 1),
    Case(T, "vit_tiny, 64 × 48", partial(of_timm, "vit_tiny_patch16_224", **{**TINY, "img_size": (64, 48)}),
         "blocks.2.norm1", (8, 6), 1, (64, 48)),
    Case(T, "vit with 4 registers", partial(of_timm, "vit_small_patch14_reg4_dinov2", **TINY), "blocks.2.norm1",
         (8, 8), 5),
    Case(T, "vit with 4 registers, mean", partial(of_timm, "vit_medium_patch16_reg4_gap_256", **TINY), "blocks.2",
         (8, 8), 4),
    Case(T, "deit_tiny_distilled", partial(of_timm, "deit_tiny_distilled_patch16_224", **TINY), "blocks.2.norm1",
         (8, 8), 2),
    Case(T, "beit, class token",
         partial(of_timm, "beit_base_patch16_224", global_pool="token", init_values=1.0, **TINY),
         "blocks.2.norm1", (8, 8), 1),
    Case(T, "swin_tiny", partial(of_timm, "swin_tiny_patch4_window7_224", **SWIN), "norm", (4, 4), size=(128, 128)),
    Case(T, "mixer", mixer, "norm", (8, 8)),
    Case(T, "cait", partial(of_timm, "cait_xxs24_224", init_values=1.0, **{**TINY, "depth": 2}),
         "blocks_token_only.1.norm1", (8, 8), 1),
    Case(T, "pvt_v2_b0", partial(of_timm, "pvt_v2_b0"), "stages.3", (4, 4), size=(128, 128)),
    Case(H, "ViT", partial(of_transformers, "ViT", **STATES), "vit.layers.2.layernorm_before", (8, 8), 1),
    Case(H, "DeiT", partial(of_transformers, "DeiT", **STATES), "deit.layers.2.layernorm_before", (8, 8), 2),
    Case(H, "Swin", partial(of_transformers, "Swin", embed_dim=16, depths=[1, 2, 2], num_heads=[1, 2, 4],
                            image_size=64, patch_size=4, window_size=4), "swin.layernorm", (4, 4)),
    Case(H, "Dinov2", partial(of_transformers, "Dinov2", layerscale_value=1.0, mlp_ratio=2,
                              **{k: v for k, v in STATES.items() if k != "intermediate_size"}),
         "dinov2.layernorm", (8, 8), 1),
    Case(H, "ResNet", partial(of_transformers, "ResNet", embedding_size=16, hidden_sizes=[16, 32, 48, 64],
                              depths=[1, 1, 1, 1], layer_type="basic"), "resnet.encoder.stages.3", (4, 4),
         size=(112, 112)),
    Case(H, "ConvNext", partial(of_transformers, "ConvNext", hidden_sizes=[16, 32, 48, 64], depths=[1, 1, 2, 1],
                                layer_scale_init_value=1.0), "convnext.encoder.stages.3", (4, 4), size=(128, 128)),
    Case(OWN, "MLP", mlp, None, None, size=(32, 32)),
    Case(OWN, "convolutions down to 1 × 1", all_conv, "2.1", (4, 4), size=(32, 32)),
    Case(OWN, "encoder, norm first", partial(EncoderOnly, norm_first=True), "encoder.layers.2.norm1", (8, 8), 1),
    Case(OWN, "encoder, norm last", partial(EncoderOnly, norm_first=False), "encoder.layers.1", (8, 8), 1),
    Case(OWN, "encoder, tokens first", partial(EncoderOnly, norm_first=True, batch_first=False),
         "encoder.layers.2.norm1", (8, 8), 1),
    Case(OWN, "patches by reshaping", Pixels, "block", (8, 6), size=(64, 48)),
    Case(OWN, "pools and activations as functions", Functional, "b", (29, 29)),
    Case(OWN, "U-Net's encoder", UNet, "down2", (16, 16)),
    Case(OWN, "a trunk that is called twice", Siamese, "trunk", (16, 16), in_place=False),
    Case(OWN, "attention over convolutions", Attended, "norm", (8, 8)),
)  # fmt: skip


def awake(case: Case) -> nn.Module:
    """The network with random weights under which its answers differ from picture to picture.

    Untrained batch norms let the signal fade below float32, so they get the statistics of one batch; heads that start
    at zero, or would saturate the softmax, get weights under which the logits are as large as 1.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = case.make()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 1.0
        if any(isinstance(module, nn.BatchNorm2d) for module in model.modules()):
            with torch.no_grad():
                model.train()(torch.randn(4, 3, *case.size))
        model.eval()
        heads = [m for m in model.modules() if getattr(m, "out_features", getattr(m, "out_channels", 0)) == CLASSES]
        for head in heads:
            head.register_forward_hook(lambda module, _, answer: kept.append((module, answer)))
        kept: list[tuple[nn.Module, Tensor]] = []
        for head in heads:
            nn.init.normal_(head.weight, std=0.1)
            if head.bias is not None:
                nn.init.zeros_(head.bias)
        with torch.no_grad():
            model(torch.from_numpy(photo(*case.size)).permute(2, 0, 1)[None] / 127.5 - 1)
            for head, answer in kept:
                head.weight /= answer.std()
        for head in heads:
            head._forward_hooks.clear()
    return model


# ---------------------------------------------------------------------------------------------------------------------
# What is found
# ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """One network: the layer that is chosen, and by method a map's warnings or the reason why there is none."""

    layer: layers.Layer | None
    cells: dict[str, str] = field(default_factory=dict)  # method → "" or the reason
    lies: bool = True


@cache
def row(case: Case) -> Row:
    """Ask everything about one network, once; fail if a map is no map or the network is not as it was."""
    model = awake(case)
    before = fingerprint(model)
    image = photo(*case.size)
    session = Session(model, image, mean=[0.5] * 3, std=[0.25] * 3, segments="grid", n_segments=4, baseline="black")
    cells = {name: cell(session, registry.get_method(name)) for name in COLUMNS}
    layer = None if layers.unfit(session.classifier) else layers.choose(session.classifier)
    found = Row(layer, cells, layer is None or lies_in_place(session.classifier, layer))
    assert_untouched(model, before)
    return found


def cell(session: Session, info: xw.MethodInfo) -> str:
    """Run one method; return an empty string, or the reason why it refused."""
    params = info.bind(info.quick)
    try:
        for target in range(CLASSES):  # maps that show support only are empty for some classes
            *_, last = session.explain(info, session.target(target), params)
            found = last.explanation()
            assert np.isfinite(found.values).all()
            if np.ptp(found.values) > 0:
                return ""
            assert "no positive evidence" in found.warnings[0] or "same everywhere" in found.warnings[-1]
    except xw.XaiError as error:
        return str(error).replace(session.classifier.name, "the network").replace(". the", ". The")
    raise AssertionError(f"{info.name} shows nothing for any class")


def lies_in_place(classifier, layer: layers.Layer) -> bool:
    """Whether the place at the upper right sees more of the picture's upper right than the one at the lower left.

    Mistaken axes, a mistaken prefix or tokens in another order would turn it round.
    """
    from xai_widgets.guard import captured

    height, width = classifier.example.shape[1:]
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    rows, cols = layer.grid
    toward = torch.randn(4, layer.channels, generator=torch.Generator().manual_seed(0)).to(classifier.dtype)
    seen_by = {(0, cols - 1): 0.0, (rows - 1, 0): 0.0}  # place → how far to the upper right its pixels lie
    with classifier.differentiable(classifier.example) as (leaf, forward), captured(layer.module) as seen:
        forward(leaf[None], "logit")
        places = layer.places(seen[-1])[0]
        assert places.shape == (layer.channels, rows, cols)
        for place in seen_by:
            for direction in toward:  # one alone is noisy, for deep convolutions see everything
                (gradient,) = torch.autograd.grad(places[:, *place] @ direction, leaf, retain_graph=True)
                weight = gradient.square().sum(0)
                seen_by[place] += float(((x - y) * weight).sum() / weight.sum())
    right, left = seen_by.values()
    return right > left


def matrix() -> str:
    """What was found, as a table for people, with the reasons below it."""
    lines = [
        f"| library | network | picture | layer read | its places | {' | '.join(COLUMNS)} |",
        f"|---|---|---|---|---|{'---|' * len(COLUMNS)}",
    ]
    reasons: list[str] = []
    for case in CASES:
        found = row(case)
        marks = []
        for name in COLUMNS:
            reason = found.cells[name]
            if reason and reason not in reasons:
                reasons.append(reason)
            marks.append(f"no ({reasons.index(reason) + 1})" if reason else "✓")
        read, places = "–", "–"
        if found.layer:
            layer = found.layer
            remark = f" (last of {layer.calls} calls)" if layer.calls > 1 else " (walked back)" if layer.note else ""
            read = f"`{layer.name}`{remark}"
            places = " × ".join(map(str, layer.grid)) + (f" after {layer.prefix}" if layer.prefix else "")
        size = " × ".join(map(str, case.size))
        lines.append(f"| {case.library} | {case.name} | {size} | {read} | {places} | {' | '.join(marks)} |")
    return "\n".join([*lines, "", *(f"{number}. {reason}" for number, reason in enumerate(reasons, 1))]).rstrip()


# ---------------------------------------------------------------------------------------------------------------------
# Tests
# ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """For networks this small a second thread mostly waits, and on a busy machine for long."""
    pytest.importorskip("sklearn.linear_model")  # LIME's surrogate; at its import it draws from Python's random state
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.library}: {case.name}, {case.size[0]}")
def test_every_method_gives_a_map_or_a_reason_and_the_layer_is_found(case):
    if case.library in (T, H):
        pytest.importorskip(case.library)
    found = row(case)
    if case.layer is None:
        assert found.layer is None
        assert found.cells["gradcam"]
    else:
        assert (found.layer.name, found.layer.grid, found.layer.prefix) == (case.layer, case.grid, case.prefix)
        assert found.layer.n_places >= layers.ENOUGH or found.layer.note
        assert found.cells["gradcam"] == ""
        assert found.lies == case.in_place
    assert all(len(reason.splitlines()) <= 1 for reason in found.cells.values())
    for method in ("saliency", "lime"):
        assert found.cells[method] == ""


def test_each_need_has_a_column():
    needs = {info.needs for info in xw.methods()}
    assert {registry.get_method(name).needs for name in COLUMNS} == needs


def test_the_page_about_models_says_what_is_found(capsys):
    pytest.importorskip(T)
    pytest.importorskip(H)
    now = matrix()
    with capsys.disabled():
        sys.stdout.write(f"\n{now}\n")
    written = PAGE.read_text(encoding="utf-8").split(BEGIN)[1].split(END)[0].strip()
    assert written == now, "type: .venv/bin/python tests/test_architectures.py --write"


if __name__ == "__main__":
    torch.set_num_threads(1)
    import sklearn.linear_model  # noqa: F401 - see `one_thread`

    table = matrix()
    sys.stdout.write(f"{table}\n")
    if "--write" in sys.argv:
        head, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
        PAGE.write_text(f"{head}{BEGIN}\n{table}\n{END}{rest.split(END)[1]}", encoding="utf-8")
