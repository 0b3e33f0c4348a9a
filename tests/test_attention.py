"""Attention made explicit: what is seen, that it changes nothing, and the methods that read it."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import timm
import torch
import torchvision
from models import Breaks, Tally, assert_untouched, cnn, fingerprint, photo, problem
from timm.models.deit import VisionTransformerDistilled
from torch import nn
from torch.nn import functional as F  # noqa: N812
from torch.overrides import _get_current_function_mode_stack

import xai_widgets as xw
from xai_widgets import attention
from xai_widgets.errors import ArgumentError, MethodError
from xai_widgets.methods import _attention
from xai_widgets.registry import get_method
from xai_widgets.rules import transformers as _relevance

METHODS = ("raw_attention", "attention_rollout", "grad_rollout", "attention_gradient", "transformer_attribution")
OPTIONS = {"mean": [0.5] * 3, "std": [0.25] * 3, "size": 32}
LAYERS, HEADS = 3, 4
SMALL = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": LAYERS, "num_heads": HEADS, "num_classes": 5}
PICTURE = photo(32, 32)


def lively(make, *args, seed=0, **kwargs):
    """A network with weights large enough that attention differs from place to place, and answers too."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = make(*args, **kwargs).eval()
        for parameter in model.parameters():
            parameter.data += 0.15 * torch.randn_like(parameter)
    return model


def of_timm(fused=True, **kwargs):
    model = lively(timm.models.VisionTransformer, **{**SMALL, **kwargs})
    for block in model.blocks:
        block.attn.fused_attn = fused
    return model


def of_torchvision(**kwargs):
    sizes = {"image_size": 32, "patch_size": 8, "num_layers": LAYERS, "num_heads": HEADS, "hidden_dim": 32}
    return lively(torchvision.models.VisionTransformer, **sizes, mlp_dim=48, num_classes=5, **kwargs)


def of_transformers(kind):
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(
        hidden_size=32, num_hidden_layers=LAYERS, num_attention_heads=HEADS, intermediate_size=48, image_size=32,
        patch_size=8, num_labels=5,
    )  # fmt: skip
    return lively(ViTForImageClassification._from_config, config, attn_implementation=kind)


class Plain(nn.Module):
    """Attention as people write it by hand: one head, three axes."""

    def __init__(self, causal=False, depth=2):
        super().__init__()
        self.cut, self.cls = nn.Conv2d(3, 16, 8, 8), nn.Parameter(torch.randn(1, 1, 16))
        self.qkv = nn.ModuleList(nn.Linear(16, 48) for _ in range(depth))
        self.out = nn.Identity()
        self.head, self.causal = nn.Linear(16, 5), causal

    def forward(self, x):
        x = self.cut(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(len(x), -1, -1), x], 1)
        for qkv in self.qkv:
            q, k, v = qkv(x).chunk(3, -1)
            if self.causal:
                x = x + F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None], is_causal=True)[:, 0]
            else:
                x = x + torch.bmm(torch.softmax(q.bmm(k.transpose(1, 2)) / 4, -1), v)
        return self.head(self.out(x)[:, 0])


# name → (model, tokens before the patches, grid, tokens answered from)
MODELS = {
    "torchvision": (of_torchvision, 1, (4, 4), [0]),
    "timm": (of_timm, 1, (4, 4), [0]),
    "timm, explicit": (lambda: of_timm(fused=False), 1, (4, 4), [0]),
    "timm, registers": (lambda: of_timm(reg_tokens=4), 5, (4, 4), [0]),
    "timm, no class token": (lambda: of_timm(global_pool="avg", class_token=False), 0, (4, 4), list(range(16))),
    "timm, mean over patches": (lambda: of_timm(global_pool="avg", reg_tokens=2), 3, (4, 4), list(range(3, 19))),
    "timm, distilled": (lambda: lively(VisionTransformerDistilled, **SMALL), 2, (4, 4), [0, 1]),
    "timm, not square": (lambda: of_timm(img_size=(32, 48)), 1, (4, 6), [0]),
    "transformers, sdpa": (lambda: of_transformers("sdpa"), 1, (4, 4), [0]),
    "transformers, eager": (lambda: of_transformers("eager"), 1, (4, 4), [0]),
    "by hand": (lambda: lively(Plain), 1, (4, 4), [0]),
}


@pytest.fixture(scope="module", params=MODELS)
def known(request):
    """(model, prefix, grid, tokens answered from, its picture, options)."""
    make, prefix, grid, read = MODELS[request.param]
    size = (8 * grid[0], 8 * grid[1])
    return make(), prefix, grid, read, photo(*size), {**OPTIONS, "size": size}


def logits(model, batch):
    answer = model(batch)
    return answer if isinstance(answer, torch.Tensor) else answer.logits


def watch(model, batch):
    """Every attention of one forward pass, and the answer."""
    seen = []

    def take(weights):
        seen.append(weights)
        return weights

    with attention.Explicit(take):
        return seen, logits(model, batch)


def operations(run):
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        run()
    return {event.key for event in profile.key_averages()}


FUSED = ("_native_multi_head_attention", "_scaled_dot_product_flash_attention", "_scaled_dot_product_efficient")


def fused_in(names):
    return [name for name in names if any(kernel in name for kernel in FUSED)]


# ---------------------------------------------------------------------------------------------------------------------
# Making it explicit
# ---------------------------------------------------------------------------------------------------------------------


def test_rows_sum_to_one_and_answers_stay(known, request):
    model, prefix, (rows, cols), *_ = known
    batch = torch.randn(1, 3, 8 * rows, 8 * cols, generator=torch.Generator().manual_seed(1))
    own = {}
    with torch.no_grad():
        ran = operations(lambda: own.update(answer=logits(model, batch)))
    # The reference has to be fused, or the comparison says nothing; these compute attention step by step anyway.
    assert bool(fused_in(ran)) != any(word in request.node.name for word in ("explicit", "eager", "by hand")), ran
    with torch.no_grad():
        assert not fused_in(operations(lambda: own.update(unfused=watch(model, batch))))
    for seen, answer in (own["unfused"], watch(model, batch)):
        torch.testing.assert_close(answer.detach(), own["answer"], atol=1e-5, rtol=0)
        assert float(own["answer"].abs().max()) > 0.3
        assert len(seen) == (2 if isinstance(model, Plain) else LAYERS)
        for weights in seen:
            assert weights.shape[-2:] == (prefix + rows * cols,) * 2
            assert float(weights.detach().min()) >= 0
            assert float((weights.detach().sum(-1) - 1).abs().max()) < 1e-5
            assert float(weights.detach().max()) > 2 / weights.shape[-1]  # not uniform: it says something


@pytest.mark.parametrize(
    "options",
    [
        {}, {"scale": 0.3}, {"is_causal": True}, {"attn_mask": torch.rand(6, 6) > 0.3 + torch.eye(6)},
        {"attn_mask": torch.randn(2, 1, 6, 6)}, {"enable_gqa": True},
    ],
    ids=["plain", "scale", "causal", "yes or no", "numbers", "shared keys"],
)  # fmt: skip
def test_every_argument_of_the_fused_function(options):
    generator = torch.Generator().manual_seed(0)
    if "attn_mask" in options and options["attn_mask"].dtype == torch.bool:
        options = {"attn_mask": options["attn_mask"] | torch.eye(6, dtype=torch.bool)}
    query = torch.randn(2, 4, 6, 8, generator=generator)
    key, value = (torch.randn(2, 2 if "enable_gqa" in options else 4, 6, 8, generator=generator) for _ in range(2))
    expected = F.scaled_dot_product_attention(query, key, value, **options)
    seen = []
    with attention.Explicit(lambda weights: seen.append(weights) or weights):
        found = F.scaled_dot_product_attention(query, key, value, **options)
    assert [tuple(weights.shape) for weights in seen] == [(2, 4, 6, 6)]
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("average", [True, False])
def test_a_caller_of_multi_head_attention_that_wants_weights_gets_them(average):
    layer = lively(nn.MultiheadAttention, 16, 4, batch_first=True)
    x = torch.randn(2, 5, 16)
    expected = layer(x, x, x, average_attn_weights=average)
    seen = []
    with attention.Explicit(lambda weights: seen.append(weights) or weights):
        found = layer(x, x, x, average_attn_weights=average)
    assert len(seen) == 1
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=0)


def test_the_encoder_of_torch_is_seen_past_its_fast_path():
    encoder = lively(nn.TransformerEncoder, nn.TransformerEncoderLayer(16, 4, 32, batch_first=True), 2)
    x = torch.randn(1, 5, 16)
    own = {}
    with torch.no_grad():
        ran = operations(lambda: own.update(answer=encoder(x)))
        assert any("_transformer_encoder_layer_fwd" in name for name in ran)
        seen, answer = watch(encoder, x)
    assert len(seen) == 2
    torch.testing.assert_close(answer, own["answer"], atol=1e-5, rtol=0)


def test_gradients_match_finite_differences():
    model = of_torchvision().double()
    asked = problem(model, PICTURE, target=2, space="logit", **OPTIONS)
    tokens, gradients = attention.each_layer_with_gradient(asked, lambda _, gradient: gradient)
    batch = asked.inputs[None]

    def score(layer, at, step):
        number = 0

        def take(weights):
            nonlocal number
            if number == layer:
                weights = weights.clone()
                weights[(0, *at)] += step
            number += 1
            return weights

        with torch.no_grad(), attention.Explicit(take):
            return float(model(batch)[0, 2])

    for layer in range(LAYERS):
        for at in ((0, 0, 0), (1, 0, 7), (2, 5, 3), (3, 16, 16)):
            slope = (score(layer, at, 1e-5) - score(layer, at, -1e-5)) / 2e-5
            assert float(gradients[layer][at]) == pytest.approx(slope, rel=1e-6, abs=1e-9)
    assert tokens.heads == (HEADS,) * LAYERS
    assert float(gradients[-1][:, 1:].abs().max()) == 0  # the answer is the class token's
    assert float(gradients[-1][:, 0].abs().min()) > 0


def test_other_threads_and_torch_itself_are_left_alone():
    functions = (F.scaled_dot_product_attention, F.multi_head_attention_forward, F.softmax, torch.Tensor.softmax)
    code, defaults = F.multi_head_attention_forward.__code__, F.multi_head_attention_forward.__defaults__
    model, batch = of_torchvision(), torch.randn(1, 3, 32, 32)
    began, ended, elsewhere = threading.Event(), threading.Event(), []

    def other():
        began.wait(20)
        elsewhere.append(operations(lambda: F.scaled_dot_product_attention(*torch.randn(3, 1, 2, 4, 8))))
        ended.set()

    thread = threading.Thread(target=other)
    thread.start()
    seen = []

    def take(weights):
        began.set()
        assert ended.wait(20)
        seen.append(weights)
        return weights

    with attention.Explicit(take):
        model(batch)
    thread.join()
    assert len(seen) == LAYERS
    assert fused_in(elsewhere[0])

    def breaks(_weights):
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"), attention.Explicit(breaks):
        model(batch)
    assert _get_current_function_mode_stack() == []
    assert functions == (
        F.scaled_dot_product_attention, F.multi_head_attention_forward, F.softmax, torch.Tensor.softmax,
    )  # fmt: skip
    assert (code, defaults) == (F.multi_head_attention_forward.__code__, F.multi_head_attention_forward.__defaults__)
    with torch.no_grad():
        assert fused_in(operations(lambda: model(batch)))


# ---------------------------------------------------------------------------------------------------------------------
# Where tokens are
# ---------------------------------------------------------------------------------------------------------------------


def test_tokens_are_found(known):
    model, prefix, grid, read, picture, options = known
    tokens = attention.find(problem(model, picture, **options).classifier)
    assert (tokens.prefix, tokens.grid, list(tokens.read)) == (prefix, grid, read)
    assert tokens.heads == ((1, 1) if isinstance(model, Plain) else (HEADS,) * LAYERS)
    if len(read) == 1:
        assert tokens.note == ""
    elif len(read) == 2:
        assert "tokens 0 and 1" in tokens.note
    else:
        assert "mean over its patches" in tokens.note


@pytest.mark.parametrize("method", METHODS)
def test_every_method_on_every_model(known, method):
    model, _, grid, read, picture, options = known
    before = fingerprint(model)
    one, again = (xw.attribute(model, picture, method=method, **options) for _ in range(2))
    assert one.values.shape == picture.shape[:2]
    assert one.coarse.shape == grid
    assert np.isfinite(one.values).all()
    assert one.coarse.min() >= 0
    assert np.ptp(one.coarse) > 0
    assert one.values.tobytes() == again.values.tobytes()
    assert any("map is the mean" in words for words in one.warnings) == (len(read) > 1)
    assert_untouched(model, before)


class Windows(nn.Module):
    """Attention among the four patches of each window."""

    def __init__(self):
        super().__init__()
        self.cut, self.mix = nn.Conv2d(3, 16, 8, 8), nn.MultiheadAttention(16, 2, batch_first=True)
        self.head = nn.Linear(16, 5)

    def forward(self, x):
        x = self.cut(x).flatten(2).transpose(1, 2).reshape(-1, 4, 16)
        return self.head((x + self.mix(x, x, x)[0]).reshape(-1, 16, 16).mean(1))


class Drifts(Plain):
    """Its answers change a little from call to call."""

    def __init__(self):
        super().__init__()
        self.calls = Tally()

    def forward(self, x):
        self.calls[0] += 1
        return super().forward(x) * (1 + 1e-3 * self.calls[0])


class Last(Plain):
    """Answers from its last token."""

    def forward(self, x):
        x = self.cut(x).flatten(2).transpose(1, 2)
        q, k, v = self.qkv[0](self.out(x)).chunk(3, -1)
        return self.head((x + torch.bmm(torch.softmax(q.bmm(k.transpose(1, 2)) / 4, -1), v))[:, -1])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (cnn, "has no attention, or computes it where it cannot be followed"),
        (Windows, "attention in windows of 2 × 2 tokens"),
        (lambda: of_timm(global_pool="map"), "attention of 1 to 16 tokens"),
        (lambda: Plain(causal=True), "attends only to those before it"),
        (Drifts, "answers differently when its attention is computed step by step"),
        (Last, "answers from token 15"),
        (lambda: lambda x: torch.stack([x.mean((1, 2, 3)), x.amax((1, 2, 3))], 1), "occlusion"),
    ],
    ids=["no attention", "windows", "pool", "causal", "drifts", "last token", "function"],
)
def test_what_cannot_be_read_is_refused_with_the_reason(make, words):
    model = make()
    with pytest.raises(MethodError, match=words):
        xw.attribute(model, PICTURE, method="attention_rollout", **OPTIONS)


def test_a_swin_and_a_pooling_transformer_are_refused():
    swin = torchvision.models.SwinTransformer([4, 4], 8, [1, 1], [1, 2], [4, 4], num_classes=5)
    with pytest.raises(MethodError, match="windows of 4 × 4 tokens"):
        xw.attribute(swin, photo(64, 64), method="raw_attention", **{**OPTIONS, "size": 64})
    pit = timm.create_model("pit_ti_224", img_size=64, base_dims=[8, 8, 8], heads=[1, 2, 4], depth=[1, 1, 1])
    with pytest.raises(MethodError, match=r"number of tokens in Pool.* changes from layer to layer: 50, 17, 5"):
        xw.attribute(pit, photo(64, 64), method="raw_attention", **{**OPTIONS, "size": 64})


def test_looking_is_done_once():
    class Counted(Plain):
        def __init__(self):
            super().__init__()
            self.calls = Tally()

        def forward(self, x):
            self.calls[0] += len(x)
            return super().forward(x)

    model = lively(Counted)
    asked = problem(model, PICTURE, **OPTIONS)
    assert attention.unfit(asked.classifier) == ""
    before = model.calls[0]
    for method in METHODS:
        assert get_method(method).unfit(asked.classifier) == ""
    assert model.calls[0] == before
    for method in METHODS:
        info = get_method(method)
        steps = list(info.run(asked, **info.bind({})))
        assert steps[-1].n_forward == info.cost(asked) == model.calls[0] - before, method
        before = model.calls[0]


@pytest.mark.parametrize("method", METHODS)
def test_an_error_in_the_middle_leaves_the_model_alone(method):
    model = Breaks(lively(Plain), 10**6)
    asked = problem(model, PICTURE, **OPTIONS)
    assert attention.unfit(asked.classifier) == ""
    model.calls[0] = 10**6
    before = fingerprint(model)
    info = get_method(method)
    with pytest.raises(xw.XaiError, match="too much"):
        list(info.run(asked, **info.bind({})))
    assert _get_current_function_mode_stack() == []
    assert_untouched(model, before)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [torch.half, torch.bfloat16, torch.float64])
def test_other_precisions(method, dtype):
    model = of_torchvision()
    expected = xw.attribute(model, PICTURE, method=method, target=1, **OPTIONS).coarse
    asked = {"model": model.to(dtype), "image": PICTURE, "method": method, "target": 1, **OPTIONS}
    if dtype == torch.half and method == "transformer_attribution":
        with pytest.raises(MethodError, match="float16"):
            xw.attribute(**asked)
        return
    found = xw.attribute(**asked)
    assert found.values.dtype == np.float32
    if method == "transformer_attribution" and dtype == torch.bfloat16:
        return  # relevances divide by sums that cancel
    near = {torch.half: 0.02, torch.bfloat16: 0.2, torch.float64: 1e-4}[dtype]
    assert np.abs(found.coarse - expected).max() < near * expected.max()


def test_grey_pictures():
    model = of_timm(in_chans=1)
    found = xw.attribute(model, PICTURE[..., 0], method="attention_gradient", size=32, mean=[0.5], std=[0.25])
    assert found.coarse.shape == (4, 4)


# ---------------------------------------------------------------------------------------------------------------------
# The methods
# ---------------------------------------------------------------------------------------------------------------------


def coarse(model, method, target=2, **params):
    found = xw.attribute(model, PICTURE, method=method, target=target, **OPTIONS, **params)
    return found.coarse.astype(np.float64)


def by_hand(model, target):
    """Attention (layers, heads, T, T) and its gradients of a ViT of timm, as numpy; written out from its weights."""
    x = problem(model, PICTURE, **OPTIONS).inputs[None].double()
    state = {name: value.detach().double() for name, value in model.state_dict().items()}
    x = F.conv2d(x, state["patch_embed.proj.weight"], state["patch_embed.proj.bias"], stride=8)
    x = torch.cat([state["cls_token"], x.flatten(2).transpose(1, 2)], 1) + state["pos_embed"]
    matrices = []

    def norm(x, name):
        return F.layer_norm(x, (32,), state[f"{name}.weight"], state[f"{name}.bias"], 1e-6)

    def linear(x, name):
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    for number in range(LAYERS):
        name = f"blocks.{number}"
        q, k, v = linear(norm(x, f"{name}.norm1"), f"{name}.attn.qkv").reshape(17, 3, HEADS, 8).permute(1, 2, 0, 3)
        weights = torch.exp(q @ k.transpose(1, 2) / 8**0.5)
        weights = (weights / weights.sum(-1, keepdim=True)).requires_grad_()
        matrices.append(weights)
        x = x + linear((weights @ v).transpose(0, 1).reshape(1, 17, 32), f"{name}.attn.proj")
        hidden = linear(norm(x, f"{name}.norm2"), f"{name}.mlp.fc1")
        x = x + linear(F.gelu(hidden), f"{name}.mlp.fc2")
    score = linear(norm(x, "norm"), "head")[0, 0, target]
    found = torch.autograd.grad(score, matrices)
    return (np.stack([one.detach().numpy() for one in each]) for each in (matrices, found))


def test_raw_attention_is_what_transformers_returns():
    model = of_transformers("eager")
    with torch.no_grad():
        inputs = problem(model, PICTURE, **OPTIONS).inputs[None]
        expected = [layer[0].numpy() for layer in model(inputs, output_attentions=True).attentions]
    for layer in range(LAYERS):
        for head in range(HEADS):
            found = coarse(model, "raw_attention", layer=layer, head=head)
            assert np.abs(found.ravel() - expected[layer][head, 0, 1:]).max() < 1e-6
        found = coarse(model, "raw_attention", layer=layer - LAYERS)
        assert np.abs(found.ravel() - expected[layer][:, 0, 1:].mean(0)).max() < 1e-6
    assert np.array_equal(coarse(model, "raw_attention"), coarse(model, "raw_attention", layer=2))


@pytest.mark.parametrize("name", ["timm, registers", "timm, mean over patches", "timm, distilled"])
def test_what_is_read_is_the_mean_over_what_is_answered_from(name):
    make, prefix, _, read = MODELS[name]
    model = make()
    with torch.no_grad():
        seen, _ = watch(model, problem(model, PICTURE, **OPTIONS).inputs[None])
    expected = seen[-1][0].mean(0)[read][:, prefix:].mean(0).numpy()
    assert np.abs(coarse(model, "raw_attention").ravel() - expected).max() < 1e-6


def rollout(layers):
    result = np.eye(17)
    for layer in layers:
        mixed = 0.5 * layer + 0.5 * np.eye(17)
        result = mixed / mixed.sum(1, keepdims=True) @ result
    return result[0, 1:].reshape(4, 4)


def without_weakest(fused, share):
    kept = fused.ravel().copy()
    kept[np.argsort(kept)[: int(kept.size * share)]] = 0
    return kept.reshape(fused.shape)


@pytest.mark.parametrize("fusion", ["mean", "max", "min"])
def test_rollout_is_the_formula(fusion):
    model = of_timm()
    matrices, _ = by_hand(model, 2)
    fused = getattr(matrices, fusion)(1)
    found = coarse(model, "attention_rollout", head_fusion=fusion)
    assert np.abs(found - rollout(fused)).max() < 1e-6
    found = coarse(model, "attention_rollout", head_fusion=fusion, start_layer=1)
    assert np.abs(found - rollout(fused[1:])).max() < 1e-6
    found = coarse(model, "attention_rollout", head_fusion=fusion, discard_ratio=0.7)
    assert np.abs(found - rollout([without_weakest(each, 0.7) for each in fused])).max() < 1e-6


def test_rollout_of_uniform_attention():
    for number in range(2, 5):
        model = of_timm(depth=number)
        for block in model.blocks:
            block.attn.qkv.weight.data[:64] = 0  # no queries and keys
            block.attn.qkv.bias.data[:64] = 0
        found = coarse(model, "attention_rollout")
        assert np.abs(found - (1 - 2.0**-number) / 17).max() < 1e-7


@pytest.mark.parametrize("target", [2, (0, 3)])
def test_methods_with_gradients_are_their_formulas(target):
    model = of_timm()
    first, second = target if isinstance(target, tuple) else (target, None)
    matrices, gradients = by_hand(model, first)
    if second is not None:
        gradients = gradients - list(by_hand(model, second))[1]
    relevance = np.eye(17)
    for layer in np.maximum(gradients * matrices, 0).mean(1):
        relevance = relevance + layer @ relevance
    found = coarse(model, "attention_gradient", target)
    assert np.abs(found.ravel() - relevance[0, 1:]).max() < 1e-6 * max(1, relevance.max())
    fused = np.maximum((gradients * matrices).mean(1), 0)
    assert np.abs(coarse(model, "grad_rollout", target) - rollout(fused)).max() < 1e-6
    found = coarse(model, "grad_rollout", target, discard_ratio=0.9, start_layer=1)
    assert np.abs(found - rollout([without_weakest(each, 0.9) for each in fused[1:]])).max() < 1e-6


@pytest.mark.parametrize("method", METHODS[2:])
@pytest.mark.parametrize("pool", ["token", "avg"])
def test_no_gradient_is_the_identity(method, pool):
    model = of_timm(global_pool=pool, class_token=pool == "token")
    model.head.weight.data.zero_()
    found = xw.attribute(model, PICTURE, method=method, target=1, **OPTIONS)
    assert any("No attention speaks for class 1" in words for words in found.warnings)
    uniform = 1 / 16 if (method, pool) == ("grad_rollout", "avg") else 0  # a patch stays where it is
    assert np.abs(found.coarse - uniform).max() < 1e-7


@pytest.mark.parametrize("method", METHODS)
def test_the_same_weights_give_the_same_map_however_attention_is_computed(method):
    fused, explicit = of_timm(), of_timm(fused=False)
    one, other = coarse(fused, method), coarse(explicit, method)
    assert np.abs(one - other).max() < 1e-5 * max(1e-3, one.max())


@pytest.mark.parametrize("method", METHODS[:2])
def test_class_agnostic_methods_are(method):
    model = of_timm()
    assert np.array_equal(coarse(model, method, 0), coarse(model, method, 1))
    assert "same for every class" in get_method(method).summary


@pytest.mark.parametrize("method", METHODS[2:])
def test_the_others_are_not(method):
    model = of_timm()
    assert not np.allclose(coarse(model, method, 0), coarse(model, method, 1), rtol=1e-3, atol=0)


def test_bad_parameters():
    model = of_timm()
    for params, words in (
        ({"method": "raw_attention", "layer": 3}, "layer=3 does not exist.*has 3"),
        ({"method": "raw_attention", "layer": -4}, "layer=-4 does not exist"),
        ({"method": "raw_attention", "head": 4}, "head=4 does not exist: layer 2 has 4"),
        ({"method": "attention_rollout", "start_layer": 3}, "start_layer=3 does not exist"),
        ({"method": "attention_gradient", "start_layer": 3}, "start_layer=3 does not exist"),
        ({"method": "transformer_attribution", "start_layer": 3}, "start_layer=3 does not exist"),
        ({"method": "grad_rollout", "start_layer": 3}, "start_layer=3 does not exist"),
    ):
        with pytest.raises(MethodError, match=words):
            xw.attribute(model, PICTURE, **params, **OPTIONS)
    for params in ({"head_fusion": "sum"}, {"discard_ratio": 1.0}, {"start_layer": -1}):
        with pytest.raises(ArgumentError):
            xw.attribute(model, PICTURE, method="attention_rollout", **params, **OPTIONS)


# ---------------------------------------------------------------------------------------------------------------------
# Relevance
# ---------------------------------------------------------------------------------------------------------------------


def over(a, b):
    return np.where(b == 0, 0, a / np.where(b == 0, 1, b + 1e-9 * np.sign(b)))


class Reference:
    """The rules of Chefer et al.'s code for a ViT of timm in numpy, each block walked back as they do."""

    def __init__(self, model, x):
        self.state = {name: value.detach().double().numpy() for name, value in model.state_dict().items()}
        self.model, self.kept = model, {}
        with torch.no_grad():
            x = model._pos_embed(model.patch_embed(x.double()))
        x = x[0].numpy()
        for number in range(LAYERS):
            name = f"blocks.{number}"
            before = x
            qkv = self.linear(self.norm(x, f"{name}.norm1"), f"{name}.attn.qkv")
            q, k, v = qkv.reshape(17, 3, HEADS, 8).transpose(1, 2, 0, 3)
            products = q @ k.transpose(0, 2, 1)
            weights = np.exp(products / 8**0.5)
            weights /= weights.sum(-1, keepdims=True)
            mixed = weights @ v
            inner = self.linear(mixed.transpose(1, 0, 2).reshape(17, 32), f"{name}.attn.proj")
            x = middle = before + inner
            hidden = self.linear(self.norm(x, f"{name}.norm2"), f"{name}.mlp.fc1")
            outer = self.linear(torch.nn.functional.gelu(torch.from_numpy(hidden)).numpy(), f"{name}.mlp.fc2")
            x = middle + outer
            self.kept[number] = (before, q, k, v, products, weights, mixed, inner, middle, outer)
        self.answer = self.linear(self.norm(x, "norm")[:1], "head")[0]

    def norm(self, x, name):
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
        return x * self.state[f"{name}.weight"] + self.state[f"{name}.bias"]

    def linear(self, x, name):
        self.kept[name] = x
        return x @ self.state[f"{name}.weight"].T + self.state[f"{name}.bias"]

    def back(self, relevance, name):
        x, w = self.kept[name], self.state[f"{name}.weight"]
        contributions = np.maximum(x[:, None, :] * w[None], 0)  # (tokens, outputs, inputs)
        return (over(relevance, contributions.sum(-1))[..., None] * contributions).sum(1)

    def back_sum(self, relevance, a, b):
        share = over(relevance, a + b)
        parts = [a * share, b * share]
        sums = [abs(part.sum()) for part in parts]
        return [part * size / sum(sums) * relevance.sum() / part.sum() for part, size in zip(parts, sums, strict=True)]

    def back_product(self, relevance, a, b, whole):
        share = over(relevance, whole)
        return a * (share @ b.transpose(0, 2, 1)) / 2, b * (a.transpose(0, 2, 1) @ share) / 2

    def relevances(self, target):
        """Of each layer's attention; what comes out of each block sums to what goes in."""
        found = {}
        start = np.zeros((1, 5))
        start[0, target] = 1
        relevance = np.zeros((17, 32))
        relevance[:1] = self.back(start, "head")
        for number in range(LAYERS - 1, -1, -1):
            name = f"blocks.{number}"
            before, q, k, v, products, weights, mixed, inner, middle, outer = self.kept[number]
            stays, goes = self.back_sum(relevance, middle, outer)
            relevance = stays + self.back(self.back(goes, f"{name}.mlp.fc2"), f"{name}.mlp.fc1")
            stays, goes = self.back_sum(relevance, before, inner)
            goes = self.back(goes, f"{name}.attn.proj").reshape(17, HEADS, 8).transpose(1, 0, 2)
            found[number], of_v = self.back_product(goes, weights, v, mixed)
            of_q, of_k = self.back_product(found[number], q, k.transpose(0, 2, 1), products)
            goes = np.stack([of_q, of_k.transpose(0, 2, 1), of_v]).transpose(2, 0, 1, 3).reshape(17, 96)
            relevance = stays + self.back(goes, f"{name}.attn.qkv")
            assert relevance.sum() == pytest.approx(1, abs=1e-6)
        return [found[number] for number in range(LAYERS)]


@pytest.mark.parametrize("fused", [True, False])
def test_relevance_is_that_of_the_rules(fused):
    model = of_timm(fused).double()
    asked = problem(model, PICTURE, target=2, space="logit", **OPTIONS)
    reference = Reference(model, asked.inputs[None])
    assert reference.answer == pytest.approx(model(asked.inputs[None])[0].tolist(), abs=1e-9)
    expected = reference.relevances(2)
    found = [layer.numpy() for layer in _relevance.attention_relevance(asked)]
    for one, other in zip(found, expected, strict=True):
        assert np.abs(one - other).max() < 1e-6 * np.abs(other).max()
    _, gradients = by_hand(model, 2)
    rolled = np.eye(17)
    for layer in range(LAYERS):
        rolled = (np.eye(17) + np.maximum(gradients[layer] * expected[layer], 0).mean(0)) @ rolled
    found = coarse(model, "transformer_attribution")
    assert np.abs(found.ravel() - rolled[0, 1:]).max() < 1e-6 * rolled[0, 1:].max()


@pytest.mark.parametrize(
    ("rule", "inputs", "more"),
    [
        (_relevance._Linear, [(3, 6), (4, 6)], [None]),
        (_relevance._Product, [(2, 3, 6), (2, 6, 4)], []),
        (_relevance._Sum, [(3, 4), (3, 4)], []),
        (_relevance._Mean, [(1, 5, 4)], [(1,), False]),
    ],
)
def test_each_rule_conserves_relevance(rule, inputs, more):
    generator = torch.Generator().manual_seed(0)
    given = [torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True) for shape in inputs]
    result = rule.apply(*given, *more)
    relevance = torch.rand(result.shape, generator=generator, dtype=torch.float64)
    found = torch.autograd.grad(result, given, relevance, allow_unused=True)
    assert float(sum(each.sum() for each in found if each is not None)) == pytest.approx(float(relevance.sum()))


def test_relevance_leaves_answers_as_they_are(known):
    model, _, _, _, picture, options = known
    batch = problem(model, picture, **options).inputs[None]
    with _relevance.Relevance(lambda weights: weights):
        found = logits(model, batch)
    torch.testing.assert_close(found, logits(model, batch), atol=1e-5, rtol=0)


def test_relevance_of_a_scaled_layer_is_that_of_scaled_weights():
    model = of_timm(init_values=0.3)
    folded = of_timm()
    weights = model.state_dict()
    for name in [name for name in weights if name.endswith("gamma")]:
        gamma = weights.pop(name).abs_()  # a sign would make positive parts of negative ones
        inner = name.replace("ls1.gamma", "attn.proj").replace("ls2.gamma", "mlp.fc2")
        weights[f"{inner}.weight"] = weights[f"{inner}.weight"] * gamma[:, None]
        weights[f"{inner}.bias"] = weights[f"{inner}.bias"] * gamma
    folded.load_state_dict(weights)
    one, other = coarse(model.double(), "transformer_attribution"), coarse(folded.double(), "transformer_attribution")
    assert np.abs(one - other).max() < 1e-5 * one.max()


@pytest.mark.parametrize(
    ("out", "word"),
    [(nn.Sigmoid(), "Sigmoid"), (nn.Softplus(), "Softplus"), (nn.Conv1d(17, 17, 1), "Convolution")],
)
def test_what_has_no_rule_is_refused(out, word):
    model = lively(Plain)
    model.out = out
    with pytest.raises(MethodError, match=f"Plain has {word} between its attention and its answer.*attention_gradient"):
        xw.attribute(model, PICTURE, method="transformer_attribution", **OPTIONS)
    assert xw.attribute(model, PICTURE, method="attention_gradient", **OPTIONS).coarse.any()


def test_rows_with_identity_sum_to_one():
    fused = torch.rand(7, 7, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(_attention.with_identity(fused, 0.5).sum(1), torch.ones(7))
