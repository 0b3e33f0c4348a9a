"""How each function and module of torch is made up of a few kinds of operation, for which `walk.Walk` has rules.

What is missing here is refused by name.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial, reduce
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.modules.instancenorm import _InstanceNorm

from xai_widgets.canonical._nested import Answer
from xai_widgets.rules.lanes import Both, Follow, Layer, bind, double, get, lane, lanes, name_of, places, put, writes

if TYPE_CHECKING:
    from xai_widgets.rules.walk import Walk

Args, Kwargs = tuple[Any, ...], dict[str, Any]

CONSTANT = frozenset({
    "size", "dim", "numel", "zeros_like", "ones_like", "full_like", "empty_like", "new_zeros", "new_ones", "new_full",
    "new_empty", "new_tensor",
})  # fmt: skip
"""What they give does not depend on what the picture shows."""

# ---- functions that are one operation --------------------------------------------------------------------------------

_LINEAR = """
    add sub rsub neg positive sum mean cumsum clone contiguous to type type_as float double half bfloat16 alias getattr
    getitem set_item copy view view_as reshape reshape_as permute transpose swapaxes swapdims movedim moveaxis t adjoint
    flatten unflatten ravel squeeze unsqueeze expand expand_as broadcast_to repeat repeat_interleave tile
    chunk split tensor_split split_with_sizes unbind select narrow diagonal tril triu cat concat concatenate stack
    hstack vstack dstack roll flip fliplr flipud rot90 unfold fold pad pixel_shuffle pixel_unshuffle channel_shuffle
    index_select gather take_along_dim masked_fill where interpolate upsample
    avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d
    dropout dropout1d dropout2d dropout3d alpha_dropout feature_dropout
"""
"""Linear, but for a constant, in all tensors that depend on the picture, taken together."""

_BILINEAR = """
    mul matmul bmm mm mv dot inner outer einsum linear conv1d conv2d conv3d conv_transpose1d conv_transpose2d
    conv_transpose3d
"""

_ELEMENTWISE = """
    abs absolute exp exp2 expm1 log log2 log10 log1p sqrt rsqrt square reciprocal pow rpow rtruediv erf sin cos tan atan
    sinh cosh asinh relu relu6 leaky_relu elu celu selu gelu silu mish hardswish hardsigmoid hardtanh sigmoid logsigmoid
    logit tanh softplus softsign tanhshrink softshrink hardshrink threshold clamp clip clamp_min clamp_max
"""


def _linear(walk: Walk, function: Any, args: Args, kwargs: Kwargs) -> Both:
    if not writes(function):
        return walk.linear(function, *args, **kwargs)
    # A constant must not be written into by both lanes.
    return walk.linear(lambda into, *rest, **more: function(into.clone(), *rest, **more), *args, **kwargs)


def _elementwise(walk: Walk, function: Any, args: Args, kwargs: Kwargs) -> Both:
    place, given = _only(walk, args, kwargs)

    def apply(x: Tensor) -> Tensor:
        a, k = put(args, kwargs, {place: x.clone() if writes(function) else x})
        return function(*a, **k)

    return walk.elementwise(apply, given)


def _bilinear(walk: Walk, function: Any, args: Args, kwargs: Kwargs) -> Both:
    name = name_of(function)
    call = torch.mul if name == "mul" else function
    if name == "einsum" and len(args) == 2 and isinstance(args[1], (tuple, list)):
        args = args[0], *args[1]
    where = places(args, kwargs)
    if where in ([0], ["input"]) and (name == "linear" or name.startswith("conv")):
        return walk.layer(_layer(function, args, kwargs), get(args, kwargs, where[0]))
    if len(where) == 1:
        return walk.linear(call, *args, **kwargs)
    if len(where) > 2 or (name.startswith(("conv", "linear")) and set(where) & {2, "bias"}):
        walk.refuse(f"{name} of {len(where)} things that all depend on the picture")

    def apply(one: Tensor, other: Tensor) -> Tensor:
        a, k = put(args, kwargs, dict(zip(where, (one, other), strict=True)))
        return call(*a, **k)

    return walk.product(apply, *(get(args, kwargs, place) for place in where))


def _layer(function: Any, args: Args, kwargs: Kwargs) -> Layer:
    bound = bind(args, kwargs, "input weight bias")
    more = {name: value for name, value in kwargs.items() if name not in ("input", "weight", "bias")}
    kind = "dense" if name_of(function) == "linear" else "convolution"
    return Layer(
        lambda x, weight, bias: function(x, weight, bias, *args[3:], **more), bound["weight"], bound.get("bias"), kind
    )


def _division(walk: Walk, function: Any, args: Args, kwargs: Kwargs) -> Both:
    top, bottom = bind(args, kwargs, "input other").values() if "rounding_mode" not in kwargs else (None, None)
    if top is None:
        walk.refuse("division that rounds")
    if not isinstance(bottom, Both):
        return walk.linear(torch.div, top, bottom)
    if not isinstance(top, Both):
        return walk.elementwise(lambda x: torch.div(top, x), bottom)
    return walk.product(torch.mul, top, walk.elementwise(torch.reciprocal, bottom))


def _only(walk: Walk, args: Args, kwargs: Kwargs) -> tuple[int | str, Both]:
    """The one argument that depends on the picture, and its place."""
    where = places(args, kwargs)
    if len(where) != 1 or not isinstance(get(args, kwargs, where[0]), Both):
        walk.refuse("an activation of several things that all depend on the picture")
    return where[0], get(args, kwargs, where[0])


# ---- functions that are made up of several ---------------------------------------------------------------------------


def opened(walk: Walk, function: Callable[..., Tensor], given: Both, way: Callable[[Both], Both]) -> Both:
    """The values of `function` itself, and on the way back the rules of what it is made up of, in double precision."""
    with torch.no_grad():
        values = [function(each) for each in lanes(given)]
    path = way(walk.linear(double, given))
    return Both(Follow.apply(values[0], path.x.to(values[0].dtype)), *values[1:])


def _extreme(walk: Walk, function: Any, args: Args, kwargs: Kwargs) -> Both:
    """``max``, ``amax``, ``maximum`` and their opposites."""
    name = name_of(function)
    sign = -1 if "min" in name else 1
    bound = bind(args, kwargs, "input dim keepdim")
    other = bound.pop("other", bound.get("dim"))
    if isinstance(other, (Both, Tensor)):
        if len(places(args, kwargs)) == 1:
            return _elementwise(walk, function, args, kwargs)
        above = walk.elementwise(torch.relu, walk.linear(lambda a, b: sign * (a - b), bound["input"], other))
        return walk.linear(lambda b, more: b + sign * more, other, above)
    given, dim = bound["input"], bound.get("dim")
    shape = given.x.shape
    dims = range(len(shape)) if dim is None or dim == () else [dim] if isinstance(dim, int) else dim
    dims = [each % len(shape) for each in dims]
    rest = [each for each in range(len(shape)) if each not in dims]
    final = [1 if each in dims else size for each, size in enumerate(shape) if each in rest or bound.get("keepdim")]
    flat = walk.linear(lambda x: sign * x.permute(*rest, *dims).flatten(len(rest)), given)
    top = walk.largest(lambda x: x.max(-1, keepdim=True), flat, 1)
    answer = walk.linear(lambda x: sign * x.reshape(final), top)
    return _first(walk, answer, name) if name in ("max", "min") and dim is not None else answer


def _first(walk: Walk, answer: Both, name: str) -> Both:
    """An answer of two parts of which only the first can be followed."""
    if any(name_of(user.target) != "getitem" or user.args[1] not in (0, "values") for user in walk.node.users):
        walk.refuse(f"what {name} gives beside its values")
    return walk.linear(lambda x: {0: x, "values": x}, answer)


def _softmax(walk: Walk, given: Both, dim: int) -> Both:
    """``exp(z) / Σ exp(z)``; what is subtracted, so that nothing overflows, is the same in both lanes."""
    powers = walk.elementwise(torch.exp, walk.linear(torch.sub, given, _top(given, dim)))
    total = walk.linear(lambda e: e.sum(dim, keepdim=True), powers)
    return walk.product(torch.mul, powers, walk.elementwise(torch.reciprocal, total))


def _log_sum(walk: Walk, given: Both, dim: Any, *, keep: bool) -> Both:
    top = _top(given, dim)
    powers = walk.elementwise(torch.exp, walk.linear(torch.sub, given, top))
    total = walk.elementwise(torch.log, walk.linear(lambda e: e.sum(dim, keepdim=True), powers))
    return walk.linear(lambda s: s + top if keep else (s + top).squeeze(dim), total)


def _top(given: Both, dim: Any) -> Tensor:
    return reduce(torch.maximum, (each.detach().amax(dim, keepdim=True) for each in lanes(given)))


def _soft(walk: Walk, function: Any, given: Both, dim: int | None, *, log: bool = False) -> Both:
    if dim is None:
        walk.refuse("a softmax that does not say its dimension")

    def way(values: Both) -> Both:
        if log:
            return walk.linear(torch.sub, values, _log_sum(walk, values, dim, keep=True))
        return _softmax(walk, values, dim)

    return walk.softmax(function, given, way)


def _softmax_function(walk: Walk, function: Any, args: Args, kwargs: Kwargs) -> Both:
    dim = bind(args, kwargs, "input dim").get("dim")
    return _soft(walk, lambda x: function(x, *args[1:], **kwargs), args[0], dim, log="log" in name_of(function))


def _logsumexp(walk: Walk, function: Any, args: Args, kwargs: Kwargs) -> Both:
    bound = bind(args, kwargs, "input dim keepdim")
    dim, keep = bound["dim"], bound.get("keepdim", False)
    alone = partial(function, dim=dim, keepdim=keep)
    return walk.softmax(alone, args[0], lambda values: _log_sum(walk, values, dim, keep=keep))


def _layer_norm(walk: Walk, function: Any, args: Args, kwargs: Kwargs) -> Both:
    bound = bind(args, kwargs, "input normalized_shape weight bias eps")
    return _over_last(walk, lambda x: function(x, *args[1:], **kwargs), bound["input"], bound, 1e-5, centre=True)


def _rms_norm(walk: Walk, function: Any, args: Args, kwargs: Kwargs) -> Both:
    bound = bind(args, kwargs, "input normalized_shape weight eps")
    return _over_last(walk, lambda x: function(x, *args[1:], **kwargs), bound["input"], bound, None, centre=False)


def _over_last(walk: Walk, function: Any, given: Both, bound: Kwargs, eps: float | None, *, centre: bool) -> Both:
    eps = bound.get("eps", eps)
    eps = torch.finfo(given.x.dtype).eps if eps is None else eps
    weight, dims = bound.get("weight"), tuple(range(-len(bound["normalized_shape"]), 0))

    def way(values: Both) -> Both:
        made = _normalised(walk, values, dims, eps, centre=centre)
        return made if weight is None else walk.linear(lambda x: x * weight, made)

    return opened(walk, function, given, way)


def _group_norm(walk: Walk, function: Any, args: Args, kwargs: Kwargs) -> Both:
    bound = bind(args, kwargs, "input num_groups weight bias eps")
    return _over_groups(walk, lambda x: function(x, *args[1:], **kwargs), bound["input"], bound)


def _over_groups(walk: Walk, function: Any, given: Both, bound: Kwargs) -> Both:
    shape, weight = given.x.shape, bound.get("weight")

    def way(values: Both) -> Both:
        parts = walk.linear(lambda x: x.reshape(shape[0], bound["num_groups"], -1), values)
        made = _normalised(walk, parts, (-1,), bound.get("eps", 1e-5), centre=True)
        weights = 1 if weight is None else _by_channel(weight, len(shape))
        return walk.linear(lambda x: x.reshape(shape) * weights, made)

    return opened(walk, function, given, way)


def _normalised(walk: Walk, given: Both, dims: tuple[int, ...], eps: float, *, centre: bool) -> Both:
    """What layer, group and root-mean-square norms do before their weights."""
    if centre:
        given = walk.linear(lambda x: x - x.mean(dims, keepdim=True), given)

    def inverse(values: Both) -> Both:
        variance = walk.linear(lambda d: d.mean(dims, keepdim=True), walk.elementwise(torch.square, values))
        return walk.elementwise(lambda v: torch.rsqrt(v + eps), variance)

    return walk.product(torch.mul, given, walk.size(inverse, given))


def _by_channel(weight: Tensor, ndim: int) -> Tensor:
    return weight.reshape(1, -1, *[1] * (ndim - 2))


def _batch_norm(walk: Walk, function: Any, args: Args, kwargs: Kwargs) -> Both:
    bound = bind(args, kwargs, "input running_mean running_var weight bias training momentum eps")
    if bound.get("running_mean") is None or bound.get("training"):
        walk.refuse("a batch norm that has no statistics of its own")
    return walk.layer(norm_layer(bound), bound["input"])


def norm_layer(bound: Kwargs) -> Layer:
    """A batch norm with statistics of its own as ``x · weight + bias``."""
    weight = (bound["running_var"] + bound.get("eps", 1e-5)).rsqrt()
    weight = weight if bound.get("weight") is None else weight * bound["weight"]
    bias = -bound["running_mean"] * weight
    bias = bias if bound.get("bias") is None else bias + bound["bias"]

    def call(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        made = x * _by_channel(weight, x.ndim).to(x.dtype)
        return made if bias is None else made + _by_channel(bias, x.ndim).to(x.dtype)

    return Layer(call, weight, bias, "norm")


def _attention(walk: Walk, function: Any, args: Args, kwargs: Kwargs) -> Both:
    bound = bind(args, kwargs, "query key value attn_mask dropout_p is_causal")
    if bound.get("is_causal") or bound.get("enable_gqa") or isinstance(bound.get("attn_mask"), Both):
        walk.refuse("attention that is causal, grouped, or masked by what the picture shows")
    path = _attended(
        walk, *(bound[name] for name in ("query", "key", "value")), bound.get("attn_mask"), bound.get("scale")
    )
    return _with_values(walk, function, args, kwargs, path)


def _attended(walk: Walk, q: Any, k: Any, v: Any, mask: Tensor | None = None, scale: float | None = None) -> Any:
    """``softmax(q kᵀ · scale + mask) v``."""
    scale = 1 / math.sqrt(lane(q, "x").shape[-1]) if scale is None else scale
    weights = _times(walk, lambda a, b: a @ b.transpose(-1, -2) * scale, q, k)
    if not isinstance(weights, Both):
        return _times(walk, torch.matmul, (weights if mask is None else weights + mask).softmax(-1), v)
    if mask is not None and mask.dtype is torch.bool:
        mask = torch.zeros_like(mask, dtype=weights.x.dtype).masked_fill(~mask, -math.inf)
    if mask is not None:
        weights = walk.linear(torch.add, weights, mask)
    return _times(walk, torch.matmul, _soft(walk, lambda z: z.softmax(-1), weights, -1), v)


def _times(walk: Walk, function: Callable[[Tensor, Tensor], Tensor], one: Any, other: Any) -> Any:
    """A product of two, each of which may be constant."""
    if isinstance(one, Both) and isinstance(other, Both):
        return walk.product(function, one, other)
    depends = isinstance(one, Both) or isinstance(other, Both)
    return walk.linear(function, one, other) if depends else function(one, other)


def _with_values(walk: Walk, function: Any, args: Args, kwargs: Kwargs, path: Both) -> Both:
    """The values of the function itself, whatever rounding the way through its parts has brought."""
    with torch.no_grad():
        values = walk.linear(function, *args, **kwargs)
    return Both(Follow.apply(values.x, path.x), values.off)


def _normalize(walk: Walk, function: Any, args: Args, kwargs: Kwargs) -> Both:
    bound = bind(args, kwargs, "input p dim eps")
    dim, eps = bound.get("dim", 1), bound.get("eps", 1e-12)
    if bound.get("p", 2) != 2:
        walk.refuse("a norm other than the root of the squares")

    def inverse(values: Both) -> Both:
        squares = walk.linear(lambda x: x.sum(dim, keepdim=True), walk.elementwise(torch.square, values))
        return walk.elementwise(lambda s: 1 / s.sqrt().clamp_min(eps), squares)

    def way(values: Both) -> Both:
        return walk.product(torch.mul, values, walk.size(inverse, values))

    return opened(walk, lambda x: function(x, *args[1:], **kwargs), bound["input"], way)


def _norm(walk: Walk, function: Any, args: Args, kwargs: Kwargs) -> Both:
    bound = bind(args, kwargs, "input p dim keepdim")
    if bound.get("ord", bound.get("p", 2)) not in (2, "fro", None):
        walk.refuse("a norm other than the root of the squares")

    def way(values: Both) -> Both:
        squares = walk.elementwise(torch.square, values)
        keep = bound.get("keepdim", False)
        return walk.elementwise(torch.sqrt, walk.linear(lambda x: x.sum(bound.get("dim"), keepdim=keep), squares))

    return walk.size(lambda given: opened(walk, lambda x: function(x, *args[1:], **kwargs), given, way), args[0])


def _variance(walk: Walk, function: Any, args: Args, kwargs: Kwargs) -> Both:
    """``var``, ``std``, and each with the mean."""
    name, bound = name_of(function), bind(args, kwargs, "input dim unbiased keepdim")
    given, dim, keep = bound["input"], bound.get("dim"), bound.get("keepdim", False)
    if dim is None or isinstance(dim, bool):
        walk.refuse(f"{name} of everything at once")
    count = math.prod(given.x.shape[each] for each in ([dim] if isinstance(dim, int) else dim))
    lost = bound.get("correction", 1 if bound.get("unbiased", True) else 0)
    root = torch.sqrt if name.startswith("std") else None

    def way(values: Both) -> Both:
        middle = walk.linear(lambda x: x - x.mean(dim, keepdim=True), values)
        squares = walk.elementwise(torch.square, middle)
        made = walk.linear(lambda s: s.sum(dim, keepdim=keep) / (count - lost), squares)
        return walk.elementwise(root, made) if root else made

    single = torch.std if root else torch.var
    alone = partial(single, dim=dim, correction=lost, keepdim=keep)
    spread = walk.size(lambda values: opened(walk, alone, values, way), given)
    if not name.endswith("_mean"):
        return spread
    return walk.linear(lambda s, x: (s, x.mean(dim, keepdim=keep)), spread, given)


def _glu(walk: Walk, function: Any, args: Args, kwargs: Kwargs) -> Both:
    dim = bind(args, kwargs, "input dim").get("dim", -1)
    signal = walk.linear(lambda x: x.chunk(2, dim)[0], args[0])
    gate = walk.elementwise(torch.sigmoid, walk.linear(lambda x: x.chunk(2, dim)[1], args[0]))
    return walk.product(torch.mul, signal, gate)


FUNCTIONS: dict[str, Callable[..., Both]] = {
    **dict.fromkeys(_LINEAR.split(), _linear),
    **dict.fromkeys(_BILINEAR.split(), _bilinear),
    **dict.fromkeys(_ELEMENTWISE.split(), _elementwise),
    **dict.fromkeys(("max", "amax", "maximum", "min", "amin", "minimum"), _extreme),
    **dict.fromkeys(("softmax", "log_softmax"), _softmax_function),
    **dict.fromkeys(("var", "std", "var_mean", "std_mean"), _variance),
    **dict.fromkeys(("norm", "vector_norm", "linalg_vector_norm"), _norm),
    "div": _division, "logsumexp": _logsumexp, "layer_norm": _layer_norm, "rms_norm": _rms_norm,
    "group_norm": _group_norm, "batch_norm": _batch_norm, "scaled_dot_product_attention": _attention,
    "normalize": _normalize, "glu": _glu,
}  # fmt: skip
"""Plain name → ``f(walk, function, args, kwargs)``."""

# ---- modules of torch ------------------------------------------------------------------------------------------------


def _linear_module(walk: Walk, module: nn.Module, args: Args, kwargs: Kwargs) -> Both:
    return walk.linear(module, *args, **kwargs)


def _elementwise_module(walk: Walk, module: nn.Module, args: Args, kwargs: Kwargs) -> Both:
    given = _only(walk, args, kwargs)[1]
    if isinstance(module, nn.PReLU):  # its weights would not take double precision
        return walk.elementwise(lambda x: F.prelu(x, module.weight.to(x.dtype)), given)
    return walk.elementwise(module, given)


def _weighted_module(walk: Walk, module: Any, args: Args, kwargs: Kwargs) -> Both:
    own = module.weight

    def call(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if weight is own and bias is module.bias:
            return module(x)
        if isinstance(module, nn.Linear):
            return F.linear(x, weight, bias)
        if not module.transposed:
            return module._conv_forward(x, weight, bias)  # noqa: SLF001 - it knows the padding modes
        made = torch.func.functional_call(module, {"weight": weight}, (x,))
        return made if module.bias is None else made + _by_channel((0 if bias is None else bias) - module.bias, x.ndim)

    kind = "dense" if isinstance(module, nn.Linear) else "convolution"
    return walk.layer(Layer(call, own, module.bias, kind), _only(walk, args, kwargs)[1])


def _batch_norm_module(walk: Walk, module: Any, args: Args, kwargs: Kwargs) -> Both:
    if module.running_mean is None:
        walk.refuse("a batch norm that has no statistics of its own")
    return walk.layer(norm_layer(of_module(module)), _only(walk, args, kwargs)[1])


def of_module(module: nn.Module) -> Kwargs:
    """A norm's weights and settings, by the names that they have as arguments."""
    named = vars(module) | module._parameters | module._buffers  # noqa: SLF001
    return {key: named[key] for key in ("running_mean", "running_var", "weight", "bias", "eps") if key in named} | {
        "normalized_shape": named.get("normalized_shape"), "num_groups": named.get("num_groups"),
    }  # fmt: skip


def _pool_module(walk: Walk, module: Any, args: Args, kwargs: Kwargs) -> Both:
    if module.return_indices:
        walk.refuse("a max pooling that also tells where")
    dims, function = next(found for kind, found in _POOLS.items() if isinstance(module, kind))
    if hasattr(module, "output_size"):
        return walk.largest(lambda x: function(x, module.output_size, return_indices=True), args[0], dims)
    more = {"ceil_mode": module.ceil_mode, "return_indices": True}
    settings = module.kernel_size, module.stride, module.padding, module.dilation
    return walk.largest(lambda x: function(x, *settings, **more), args[0], dims)


def _softmax_module(walk: Walk, module: Any, args: Args, kwargs: Kwargs) -> Both:
    return _soft(walk, module, args[0], module.dim)


def _log_softmax_module(walk: Walk, module: Any, args: Args, kwargs: Kwargs) -> Both:
    return _soft(walk, module, args[0], module.dim, log=True)


def _layer_norm_module(walk: Walk, module: Any, args: Args, kwargs: Kwargs) -> Both:
    return _over_last(walk, module, args[0], of_module(module), None, centre=isinstance(module, nn.LayerNorm))


def _group_norm_module(walk: Walk, module: Any, args: Args, kwargs: Kwargs) -> Both:
    return _over_groups(walk, module, args[0], of_module(module))


def _instance_norm_module(walk: Walk, module: Any, args: Args, kwargs: Kwargs) -> Both:
    if module.track_running_stats:
        walk.refuse("an instance norm with statistics of its own")
    return _over_groups(walk, module, args[0], of_module(module) | {"num_groups": args[0].x.shape[1]})


def _glu_module(walk: Walk, module: Any, args: Args, kwargs: Kwargs) -> Both:
    return _glu(walk, module, (args[0], module.dim), {})


def _attention_module(walk: Walk, module: Any, args: Args, kwargs: Kwargs) -> Both:
    bound = bind(args, kwargs, "query key value key_padding_mask need_weights attn_mask")
    given = [bound[name] for name in ("query", "key", "value")]
    masks = module.bias_k, bound.get("key_padding_mask"), bound.get("attn_mask")
    flat = any(lane(each, "x").ndim != 3 for each in given)
    if any(each is not None for each in masks) or module.add_zero_attn or module.in_proj_weight is None or flat:
        walk.refuse("a MultiheadAttention with masks, further keys, or keys of another size")
    weights = module.in_proj_weight.chunk(3)
    biases = (None,) * 3 if module.in_proj_bias is None else module.in_proj_bias.chunk(3)

    def heads(x: Tensor) -> Tensor:
        x = x if module.batch_first else x.transpose(0, 1)
        return x.unflatten(-1, (module.num_heads, -1)).transpose(1, 2)

    def projected(x: Any, weight: Tensor, bias: Tensor | None) -> Any:
        if not isinstance(x, Both):
            return heads(F.linear(x, weight, bias))
        return walk.linear(heads, walk.layer(Layer(F.linear, weight, bias, "dense"), x))

    mixed = _attended(walk, *(projected(*each) for each in zip(given, weights, biases, strict=True)))
    joined = walk.linear(lambda x: x.transpose(1, 2).flatten(2), mixed)
    out = walk.layer(Layer(F.linear, module.out_proj.weight, module.out_proj.bias, "dense"), joined)
    out = out if module.batch_first else walk.linear(lambda x: x.transpose(0, 1), out)
    made = _with_values(walk, lambda *a, **k: module(*a, **k)[0], args, kwargs, out)
    return _first(walk, made, "MultiheadAttention")


_LINEAR_MODULES = (
    nn.Identity, nn.Flatten, nn.Unflatten, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d, nn.AdaptiveAvgPool1d,
    nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d, nn.Upsample, nn.PixelShuffle, nn.PixelUnshuffle, nn.ChannelShuffle,
    nn.Unfold, nn.Fold, nn.ZeroPad2d, nn.ConstantPad2d, nn.ReflectionPad2d, nn.ReplicationPad2d, nn.CircularPad2d,
    _DropoutNd, Answer,
)  # fmt: skip

_ELEMENTWISE_MODULES = (
    nn.ReLU, nn.ReLU6, nn.Hardtanh, nn.LeakyReLU, nn.RReLU, nn.PReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU,
    nn.Mish, nn.Hardswish, nn.Hardsigmoid, nn.Sigmoid, nn.LogSigmoid, nn.Tanh, nn.Softplus, nn.Softsign, nn.Tanhshrink,
    nn.Softshrink, nn.Hardshrink, nn.Threshold,
)  # fmt: skip

_POOLS = {
    nn.MaxPool1d: (1, F.max_pool1d), nn.MaxPool2d: (2, F.max_pool2d), nn.MaxPool3d: (3, F.max_pool3d),
    nn.AdaptiveMaxPool1d: (1, F.adaptive_max_pool1d), nn.AdaptiveMaxPool2d: (2, F.adaptive_max_pool2d),
    nn.AdaptiveMaxPool3d: (3, F.adaptive_max_pool3d),
}  # fmt: skip

_MODULES: tuple[tuple[Any, Callable[..., Both]], ...] = (
    (_ELEMENTWISE_MODULES, _elementwise_module), (_LINEAR_MODULES, _linear_module),
    ((nn.Linear, _ConvNd), _weighted_module), (tuple(_POOLS), _pool_module), (_BatchNorm, _batch_norm_module),
    (nn.Softmax, _softmax_module), (nn.LogSoftmax, _log_softmax_module),
    ((nn.LayerNorm, nn.RMSNorm), _layer_norm_module), (nn.GroupNorm, _group_norm_module),
    (_InstanceNorm, _instance_norm_module), (nn.GLU, _glu_module), (nn.MultiheadAttention, _attention_module),
)  # fmt: skip


def of_kind(module: nn.Module) -> Callable[..., Both] | None:
    """``f(walk, module, args, kwargs)`` for a module; None for one that is not known."""
    return next((opening for kinds, opening in _MODULES if isinstance(module, kinds)), None)


def activations_of(module: nn.Module) -> list[nn.Module]:
    """The modules in a copy that are functions of each number for itself."""
    return [each for each in module.modules() if isinstance(each, _ELEMENTWISE_MODULES)]
