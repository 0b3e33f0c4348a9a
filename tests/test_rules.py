"""Methods that hang a rule on each operation of the canonical copy: DeepLIFT, guided backpropagation, LRP."""

from __future__ import annotations

import copy
from functools import cache, partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from models import Answer, assert_untouched, cnn, fingerprint, photo, problem, unusual
from test_architectures import CASES, Case, awake, of_torchvision
from torch import Tensor, nn

import xai_widgets as xw
from xai_widgets.canonical import canonical_copy
from xai_widgets.rules.lanes import Both
from xai_widgets.rules.relevance import RULES, Relevance
from xai_widgets.rules.rescale import Rescale, lift

captum = pytest.importorskip("captum.attr")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
SCALE = {"mean": [0.5] * 3, "std": [0.25] * 3}
NAMES = ("deeplift", "deeplift_shap", "guided_backprop", "deconvolution", "guided_gradcam", "lrp")


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Net(nn.Module):
    """Two convolutions; what is between them, and what follows, is given as a function of the module and x."""

    def __init__(self, between=None, after=None, *, bias: bool = True, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.a, self.b = (nn.Conv2d(i, 8, 3, padding=1, bias=bias) for i in (3, 8))
            self.c = nn.Conv2d(8, 8, 3, padding=1, bias=bias)
            self.fc, self.head = nn.Linear(32, 16, bias=bias), nn.Linear(16, 4, bias=bias)
        self.relu = nn.ReLU(inplace=True)
        self.r0, self.r1, self.r2, self.r3 = (nn.ReLU() for _ in range(4))
        self.pool, self.mean = nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(2)
        self.between, self.after = between, after

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x) if self.between is None else self.between(self, self.a(x))
        # A max pool right after a ReLU is where captum's own DeepLift no longer adds up.
        x = self.r1(self.b(self.pool(x)))
        x = self.r2(self.c(x)) if self.after is None else self.after(self, self.c(x))
        return self.head(self.r3(self.fc(self.mean(x).flatten(1))))


def twice(net: Net, x: Tensor) -> Tensor:
    """One module, called twice."""
    return net.relu(net.relu(x) - 0.1)


def in_place(net: Net, x: Tensor) -> Tensor:
    y = net.relu(x)
    y += 0.5 * x
    return y.clamp_(min=0)


def close(a: Tensor, b: Tensor) -> float:
    """The largest difference, as a part of the largest number."""
    return float((a - b).abs().max() / b.abs().max())


def asked(model: nn.Module, image: np.ndarray | None = None, target=1, **options):
    options = {"space": "logit", "baseline": "black", "segments": "grid", "n_segments": 4, **SCALE, **options}
    return problem(model, photo() if image is None else image, target=target, **options)


def last(name: str, given, **params):
    info = xw.methods()[[each.name for each in xw.methods()].index(name)]
    *_, found = info.run(given, **info.bind(params))
    return found


# ---- DeepLIFT --------------------------------------------------------------------------------------------------------


WAYS = {
    "plain": lambda: Net(),
    "functional": lambda: Net(after=lambda _, x: F.relu(x)),
    "reused": lambda: Net(after=twice),
    "in place": lambda: Net(after=in_place),
    "batch norm": lambda: cnn(),
}


@pytest.mark.parametrize("way", WAYS)
def test_deeplift_is_captums_on_relus(way):
    given = asked(WAYS[way]())
    made = given.classifier.canonical().module
    expected = captum.DeepLift(made).attribute(given.inputs[None], given.off_inputs[None], target=1)[0]
    found = lift(given, given.off_inputs[None])
    assert close(found.contributions[0], expected) < 1e-5
    assert close(torch.from_numpy(last("deeplift", given).values), expected.sum(0)) < 1e-5


FUNCTIONS = {
    **{name: getattr(nn, name)() for name in (
        "ReLU6", "LeakyReLU", "PReLU", "ELU", "CELU", "SELU", "GELU", "SiLU", "Mish", "Hardswish", "Hardsigmoid",
        "Hardtanh", "Sigmoid", "Tanh", "Softplus", "Softsign", "Softshrink",
    )},
    "softmax": lambda x: 9 * x.softmax(1), "log_softmax": lambda x: F.log_softmax(x, 1),
    "logsumexp": lambda x: x * x.logsumexp(1, keepdim=True), "layer norm": lambda x: F.layer_norm(x, x.shape[1:]),
    "group norm": nn.GroupNorm(4, 8), "instance norm": nn.InstanceNorm2d(8, affine=True),
    "normalize": lambda x: F.normalize(x, dim=1),
    "rms norm": lambda x: x * (x.square().mean(1, keepdim=True) + 1).rsqrt(),
    "var": lambda x: (x - x.mean(1, keepdim=True)) / (x.var(1, keepdim=True) + 0.1).sqrt(),
    "std_mean": lambda x: torch.std_mean(x, 1, keepdim=True)[0] * x, "norm": lambda x: x * x.norm(dim=1, keepdim=True),
    "gate": lambda x: x * torch.sigmoid(x.mean((2, 3), keepdim=True)), "square": lambda x: x**2 - x * x * 0.5,
    "quotient": lambda x: 2 / (1 + x.exp()) + x / (1 + x.abs()), "glu": lambda x: F.glu(torch.cat([x, 2 * x], 1), 1),
    "maximum": lambda x: torch.maximum(x, x.roll(1, 1)) - torch.min(x, x.flip(2)),
    "max": lambda x: x - x.max(1, keepdim=True)[0] + x.amin((2, 3), keepdim=True),
    "max pool": nn.MaxPool2d(3, 2, 1), "global max": lambda x: x * F.adaptive_max_pool2d(x, 1),
    "matmul": lambda x: x @ x.transpose(-1, -2) @ x,
    "einsum": lambda x: torch.einsum("bchw,bdhw->bcd", x, x)[..., None],
    "attention": lambda x: F.scaled_dot_product_attention(x, x.roll(1, 1), x.flip(1)),
    "written into": lambda x: _fill(x),
    "upsample": lambda x: F.interpolate(F.pad(x, (1, 2, 0, 1)), scale_factor=2.0, mode="bilinear"),
}  # fmt: skip


def _fill(x: Tensor) -> Tensor:
    y = torch.zeros(len(x), 8, *x.shape[2:])
    y[:, 1:] = x[:, :-1]
    y += x
    return y.mul_(x.sigmoid())


@pytest.mark.parametrize("name", FUNCTIONS)
def test_deeplift_adds_up_behind_every_operation_with_a_rule(name):
    model, function = (
        Net(after=lambda net, x: net.extra(3 * x) if net.extra else function(3 * x)),
        FUNCTIONS[name],
    )
    model.extra = function if isinstance(function, nn.Module) else None
    found = lift(asked(model), (given := asked(model)).off_inputs[None])
    change = found.whole - found.empty
    assert abs(change[0]) > 1e-3
    assert abs(float(found.contributions.sum()) - change[0]) < 1e-5 * max(1, abs(change[0]))
    assert found.whole[0] == pytest.approx(given.classifier.answers(given.inputs[None], "logit")[0, 1], abs=1e-5)


NETWORKS = ("resnet18", "mobilenet_v3_small", "efficientnet_b0", "densenet121", "convnext_tiny", "swin_t")


@cache
def network(name: str) -> nn.Module:
    """One of torchvision whose answers differ by about one."""
    return awake(Case("torchvision", name, partial(of_torchvision, name), None, None, size=(64, 64)))


@pytest.mark.parametrize("name", NETWORKS)
def test_deeplift_is_complete_on_networks_of_torchvision(name):
    given = asked(network(name), photo(64, 64))
    found = last("deeplift", given)
    gap, verdict = found.checks["completeness_gap"]
    whole, empty = given.classifier.answers(torch.stack([given.inputs, given.off_inputs]), "logit")[:, 1]
    assert abs(whole - empty) > 0.1
    assert gap < 1e-4 * max(1, abs(whole - empty))
    assert abs(found.values.sum(dtype=np.float64) - (whole - empty)) < 1e-4 * max(1, abs(whole - empty))
    assert verdict == "good"
    assert found.warnings == ()


OTHERS = ("swin_v2", "vit", "mobilenetv3_small_050", "beit, class token", "cait", "ViT", "encoder, tokens first",
          "attention over convolutions")  # fmt: skip


@pytest.mark.parametrize("case", [case for case in CASES if case.name in OTHERS], ids=lambda case: case.name)
def test_deeplift_is_complete_on_networks_of_other_libraries(case):
    given = asked(awake(case), photo(*case.size))
    found = lift(given, given.off_inputs[None])
    change = float(found.whole[0] - found.empty[0])
    assert abs(change) > 0.05
    assert abs(float(found.contributions.sum()) - change) < 1e-4 * max(1, abs(change))


@pytest.mark.parametrize("space", ["logit", "probability"])
@pytest.mark.parametrize("target", [2, (0, 1), lambda row: row[0] * row[1].exp()], ids=["class", "pair", "own"])
def test_deeplift_adds_up_for_any_target_in_any_space(space, target):
    given = asked(cnn(), target=target, space=space)
    found = last("deeplift", given)
    rows = torch.stack([given.inputs, given.off_inputs])
    whole, empty = given.target.of(torch.from_numpy(given.classifier.answers(rows, space)))
    assert abs(float(found.values.sum()) - float(whole - empty)) < 1e-5 * max(1, abs(float(whole - empty)))


def test_deeplift_of_a_difference_is_the_difference_of_the_maps():
    maps = [last("deeplift", asked(cnn(), target=target)).values for target in ((0, 1), 0, 1)]
    assert np.abs(maps[0] - (maps[1] - maps[2])).max() < 1e-5 * np.abs(maps[1]).max()


@pytest.mark.parametrize(
    ("between", "named"),
    [
        (lambda _, x: x.sort(1)[0] + torch.cummax(x, 2)[0], "sort, cummax"),
        (lambda _, x: x * (x > 0), "gt"),
        (lambda _, x: F.local_response_norm(x, 3), "^DeepLIFT has no rule for"),
        (lambda _, x: x.max(1, keepdim=True)[1] * x, "what max gives beside its values"),
    ],
)
def test_an_operation_without_a_rule_is_refused_by_name(between, named):
    with pytest.raises(xw.MethodError, match=named) as raised:
        last("deeplift", asked(Net(between)))
    assert 'method="occlusion"' in str(raised.value)
    with pytest.raises(xw.MethodError, match=r"LRP has no rule"):
        last("lrp", asked(Net(between)))


def test_a_recurrent_layer_is_refused():
    class Row(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.fc = nn.GRU(3 * 48, 8, batch_first=True), nn.Linear(8, 4)

        def forward(self, x):
            return self.fc(self.rnn(x.permute(0, 3, 1, 2).flatten(2))[0][:, -1])

    with pytest.raises(xw.MethodError, match="no rule for GRU"):
        last("deeplift", asked(Row()))


# ---- DeepLIFT SHAP ---------------------------------------------------------------------------------------------------


def test_deeplift_shap_is_captums_and_the_mean_of_deeplift():
    given = asked(Net())
    background = torch.randn(5, *given.inputs.shape, generator=torch.Generator().manual_seed(1))
    found = last("deeplift_shap", given, background=background)
    made = given.classifier.canonical().module
    expected = captum.DeepLiftShap(made).attribute(given.inputs[None], background, target=1)[0].sum(0)
    assert close(torch.from_numpy(found.values), expected) < 1e-5
    mean = np.mean([lift(given, row[None]).contributions[0].sum(0).numpy() for row in background], axis=0)
    assert np.abs(found.values - mean).max() < 1e-5 * np.abs(mean).max()
    whole = given.classifier.answers(given.inputs[None], "logit")[0, 1]
    empty = given.classifier.answers(background, "logit")[:, 1].mean()
    assert found.values.sum(dtype=np.float64) == pytest.approx(whole - empty, abs=1e-5)
    assert found.n_forward == 10


def test_deeplift_shap_compares_with_each_baseline_unless_told():
    given = asked(cnn(), baseline="grey", batch_size=2)
    info = next(each for each in xw.methods() if each.name == "deeplift_shap")
    steps = list(info.run(given))
    assert [step.n_forward for step in steps] == [4, 8, 10]  # mean, blur, black, noise, and grey but once
    assert steps[-1].n_forward == info.cost(given) == steps[-1].total
    named = last("deeplift_shap", given, background=["grey", "mean", "blur", "black", "noise"])
    assert np.abs(named.values - steps[-1].values).max() < 1e-5 * np.abs(named.values).max()
    assert (
        last("deeplift_shap", given, background=["grey"]).values.tobytes() == last("deeplift", given).values.tobytes()
    )
    with pytest.raises(xw.ArgumentError, match="background= is empty"):
        last("deeplift_shap", given, background=[])


# ---- guided backpropagation and its relatives ------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("name", "theirs"), [("guided_backprop", "GuidedBackprop"), ("deconvolution", "Deconvolution")]
)
def test_rectified_gradients_are_captums(way, name, theirs):
    given = asked(WAYS[way]())
    made = copy.deepcopy(given.classifier.canonical().module)
    expected = getattr(captum, theirs)(made).attribute(given.inputs[None].clone(), target=1)[0].sum(0)
    plain = captum.Saliency(made).attribute(given.inputs[None].clone(), target=1, abs=False)[0].sum(0)
    found = torch.from_numpy(last(name, given).values)
    assert close(found, expected) < 1e-6
    assert close(found, plain) > 0.05


@pytest.mark.parametrize(("name", "slopes"), [("guided_backprop", [0, 0, 2, 0, 0]), ("deconvolution", [0, 2, 2, 0, 2])])
def test_relu6_is_a_rectifier_that_is_on_between_0_and_6(name, slopes):
    class Six(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.tensor([-1.0, 2.0, 2.0, -1.0, 2.0]))

        def forward(self, x):
            shift = torch.tensor([0.5, -9.0, 0.5, 9.0, 9.0])  # on, off, on, above, above
            row = (F.relu6(x[:, 0, 0] + shift) * self.weight).sum(1)
            return torch.stack([row, -row], 1)

    given = asked(Six(), np.full((2, 5, 3), 128, np.uint8), target=0)
    assert last(name, given).values[0].tolist() == slopes


def test_a_model_in_which_no_activation_would_change_is_refused():
    given = asked(Net(lambda _, x: F.gelu(x)))
    found = last("guided_backprop", given)
    assert (
        "Only ReLUs get the rule of Guided backprop, 3 here; the plain gradient passes GELU (1)." in found.warnings[0]
    )
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.GELU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
    for name in ("guided_backprop", "deconvolution", "guided_gradcam"):
        with pytest.raises(xw.MethodError, match=r"changes no activation of Sequential, which has GELU.*saliency"):
            last(name, asked(model))


@pytest.mark.parametrize("layer", [None, "b"])
def test_guided_gradcam_is_captums(layer):
    given = asked(model := Net())
    found = last("guided_gradcam", given, target_layer=layer)
    made = copy.deepcopy(given.classifier.canonical().module)
    expected = captum.GuidedGradCam(made, made.get_submodule(found.layer)).attribute(
        given.inputs[None].clone(), target=1, interpolate_mode="bilinear"
    )
    assert close(torch.from_numpy(found.values), expected[0].sum(0)) < 1e-5
    assert found.layer == (layer or found.layer)
    assert found.n_forward == 2
    with pytest.raises(xw.MethodError, match="no layer"):
        last("guided_gradcam", asked(model), target_layer="nowhere")


# ---- LRP -------------------------------------------------------------------------------------------------------------


def relevance(model: nn.Module, x: Tensor, rule: str, epsilon: float, target: int = 1) -> Tensor:
    gain = torch.ones_like(x).requires_grad_()
    walk = Relevance(canonical_copy(model, x).module, rule, epsilon, gain)
    return torch.autograd.grad(walk.answer(Both(x * gain)).x[0, target], gain)[0]


@pytest.mark.parametrize(("rule", "epsilon"), [("epsilon", 1e-9), ("epsilon", 0.05), ("epsilon_plus", 1e-9)])
def test_lrp_is_captums_on_plain_networks(rule, epsilon):
    from captum.attr._utils.lrp_rules import Alpha1_Beta0_Rule, EpsilonRule

    model = Net(lambda net, x: net.r0(x)).eval()  # its z⁺ rule is right behind a ReLU only
    x = torch.rand(1, 3, 32, 40, generator=torch.Generator().manual_seed(0))
    theirs = copy.deepcopy(model)
    for module in theirs.modules():
        plus = rule == "epsilon_plus" and isinstance(module, nn.Conv2d)
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.rule = Alpha1_Beta0_Rule(set_bias_to_zero=True) if plus else EpsilonRule(epsilon)
    del theirs.relu  # captum wants a rule for what is never called
    signs = model(x)[0].sign()
    for target in (int(signs.argmin()), int(signs.argmax())):  # ε is added away from zero
        expected = captum.LRP(copy.deepcopy(theirs)).attribute(x, target=target)
        assert close(relevance(model, x, rule, epsilon, target), expected) < 1e-5
    assert signs.min() < 0 < signs.max()


def test_lrp_without_epsilon_is_input_times_gradient_on_relus():
    model, x = WAYS["reused"]().eval(), torch.randn(1, 3, 32, 40, generator=torch.Generator().manual_seed(0))
    leaf = x.clone().requires_grad_()
    gradient = torch.autograd.grad(model(leaf)[0, 1], leaf)[0]
    assert close(relevance(model, x, "epsilon", 0.0), gradient * x) < 1e-5


@pytest.mark.parametrize("rule", RULES)
def test_lrp_conserves_relevance_where_there_are_no_biases(rule):
    model = copy.deepcopy(network("resnet18"))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):  # merged into the convolutions
            module.running_mean.zero_()
            module.bias.data.zero_()
    model.fc.bias.data.zero_()
    given = asked(model, photo(64, 64))
    found = last("lrp", given, rule=rule, epsilon=1e-9)
    score = given.classifier.answers(given.inputs[None], "logit")[0, 1]
    assert abs(score) > 0.1
    assert abs(found.values.sum(dtype=np.float64) - score) < 1e-4 * max(1, abs(score))
    assert found.checks["relevance_gap"][1] == "conserved"
    assert found.warnings == ()


def test_lrp_merges_batch_norms():
    model = cnn()
    nn.init.normal_(model[1].bias), nn.init.normal_(model[4].running_mean)
    plain = nn.Sequential(*(copy.deepcopy(model[i]) for i in (0, 2, 3, 5, 6, 7, 9))).eval()
    for conv, norm in ((0, 1), (2, 4)):
        merged = nn.utils.fuse_conv_bn_eval(copy.deepcopy(model[norm - 1]).eval(), model[norm].eval())
        plain[conv].weight, plain[conv].bias = merged.weight, merged.bias
    x = torch.randn(1, 3, 32, 40, generator=torch.Generator().manual_seed(0))
    assert close(plain(x), model(x)) < 1e-5
    for rule in RULES:
        assert close(relevance(model, x, rule, 1e-6), relevance(plain, x, rule, 1e-6)) < 1e-4


def test_lrp_of_each_kind_of_layer_by_hand():
    torch.manual_seed(0)
    weight, x = torch.randn(4, 6), torch.tensor([1.0, -2.0, 0.5, -0.3, 2.0, -1.0])
    layer = nn.Conv2d(6, 4, 1, bias=False)
    layer.weight.data = weight[..., None, None]
    model = nn.Sequential(layer, nn.Flatten())
    z = weight * x
    up, down = z.clamp(min=0), z.clamp(max=0)
    shares = {
        "epsilon": z / z.sum(1, keepdim=True),
        "epsilon_plus": up / up.sum(1, keepdim=True),
        "alpha2_beta1": 2 * up / up.sum(1, keepdim=True) - down / down.sum(1, keepdim=True),
        "epsilon_plus_flat": torch.full_like(z, 1 / 6),
    }
    for rule, expected in shares.items():
        found = relevance(model, x[None, :, None, None], rule, 0.0, target=2).flatten()
        assert torch.allclose(found, expected[2] * z[2].sum(), atol=1e-5), rule


def test_lrp_gives_gates_nothing_and_the_factors_of_a_product_half():
    x = torch.rand(1, 3, 2, 2) + 0.5
    layer = nn.Conv2d(3, 3, 1, bias=False)

    class Gated(nn.Module):
        def __init__(self, gate):
            super().__init__()
            self.layer, self.gate = layer, gate

        def forward(self, x):
            return (x * self.gate(self.layer(x).mean((2, 3), keepdim=True))).sum((2, 3))

    assert torch.allclose(relevance(Gated(torch.sigmoid), x, "epsilon", 0.0).sum((2, 3))[0, [0, 2]], torch.zeros(2))
    model = Gated(lambda y: y.tanh())
    found = relevance(model, x, "epsilon", 0.0)
    half = 0.5 * x[:, 1] * layer(x).mean((2, 3))[:, 1].tanh()[:, None, None]
    back = layer.weight[1].flatten()[None, :, None, None] * x
    expected = half.sum() * back / back.sum()
    expected[:, 1] += half
    assert torch.allclose(found, expected, atol=1e-6)


def test_lrp_of_softmax_and_norms_is_attnlrps():
    x = torch.randn(1, 4, 1, 1, generator=torch.Generator().manual_seed(0))
    soft = x.flatten().softmax(0)
    given = torch.tensor([0.0, 1.0, 0.0, 0.0]) * soft
    found = relevance(Answer(nn.Softmax(1), lambda y: y.flatten(1)), x, "epsilon", 0.0).flatten()
    assert torch.allclose(found, x.flatten() * (given - soft * given.sum()), atol=1e-6)
    norm = nn.LayerNorm(4, elementwise_affine=False)
    found = relevance(nn.Sequential(nn.Flatten(), norm), x, "epsilon", 0.0).flatten()
    deviation = (x.var(correction=0) + norm.eps).sqrt()
    assert torch.allclose(found, x.flatten() * (torch.eye(4)[1] - 0.25) / deviation, atol=1e-6)


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "efficientnet_b0", "swin_t"])
def test_lrp_works_on_networks_of_torchvision_and_says_what_is_lost(name):
    given = asked(network(name), photo(64, 64))
    found = last("lrp", given)
    score = given.classifier.answers(given.inputs[None], "logit")[0, 1]
    assert np.isfinite(found.values).all()
    assert np.ptp(found.values) > 0
    gap = abs(found.values.sum(dtype=np.float64) - score)
    assert found.checks["relevance_gap"][0] == pytest.approx(gap, abs=1e-4)
    assert any("Biases and norms keep" in words for words in found.warnings) == (gap > 0.5 * abs(score))


def test_lrp_of_a_difference_is_the_difference_of_the_maps_and_its_parameters_are_checked():
    maps = [last("lrp", asked(cnn(), target=target)).values for target in ((0, 1), 0, 1)]
    assert np.abs(maps[0] - (maps[1] - maps[2])).max() < 1e-5 * np.abs(maps[1]).max()
    with pytest.raises(xw.ArgumentError, match="must be one of 'epsilon_plus_flat'"):
        xw.attribute(cnn(), photo(), method="lrp", rule="gamma")
    with pytest.raises(xw.ArgumentError, match="a number from 0 to 10"):
        xw.attribute(cnn(), photo(), method="lrp", epsilon=-1)


def test_lrp_says_where_the_first_layer_could_not_share_out_evenly():
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 48 * 64, 4))
    assert any("nothing was shared out evenly" in words for words in last("lrp", asked(model)).warnings)
    padded = nn.Sequential(nn.ZeroPad2d(1), nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    same = Answer(padded[1:], lambda y: y)
    same.forward = lambda x: same.inner(F.pad((x - 0.1) / 2, (1, 1, 1, 1)))
    assert last("lrp", asked(same)).warnings == ()


# ---- the model is a guest --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_the_model_and_its_copy_are_left_as_they_were(name, dtype):
    model = unusual(cnn()).to(dtype)
    before, given = fingerprint(model), asked(model)
    made = given.classifier.canonical().module
    copied = fingerprint(made)
    one, again = (last(name, given).values for _ in range(2))
    assert one.tobytes() == again.tobytes()
    assert one.dtype == np.float32
    assert one.shape == (48, 64)
    assert_untouched(model, before)
    assert_untouched(made, copied)
    assert given.classifier.canonical().module is made


@pytest.mark.parametrize("name", NAMES)
def test_also_when_it_fails_in_the_middle(name, monkeypatch):
    model = unusual(cnn())
    before, given = fingerprint(model), asked(model)
    copied = fingerprint(made := given.classifier.canonical().module)
    with monkeypatch.context() as patched:
        patched.setattr(nn.AdaptiveAvgPool2d, "forward", lambda *_: 1 / 0)
        with pytest.raises((ZeroDivisionError, xw.XaiError)):
            last(name, given)
    assert_untouched(model, before)
    assert_untouched(made, copied)
    assert np.isfinite(last(name, given).values).all()


def test_on_the_demo_classifier():
    demo = pytest.importorskip("xai_widgets.demo")
    net = demo.imagenet_classifier()
    made = {}
    for name in ("deeplift", "guided_backprop"):
        made[name] = xw.attribute(net, demo.sample("coffee"), method=name, preprocess=net.preprocess)
        assert np.ptp(made[name].values) > 0
    assert made["deeplift"].checks["completeness_gap"][1] == "good"
    assert made["guided_backprop"].warnings == ()  # all of it is ReLU6


def test_both_lanes_run_whatever_the_arrangement_of_the_batch():
    class TokensFirst(nn.Module):
        def __init__(self):
            super().__init__()
            self.mix, self.head = nn.MultiheadAttention(12, 3), nn.Linear(12, 4)

        def forward(self, x):
            x = F.avg_pool2d(x, 8).repeat(1, 4, 1, 1).flatten(2).permute(2, 0, 1)
            return self.head(self.mix(x, x, x)[0].tanh().amax(0))

    given = asked(TokensFirst())
    module = given.classifier.canonical().module
    x, off = given.inputs[None].repeat(3, 1, 1, 1), torch.rand(3, *given.inputs.shape)
    answer = Rescale(module, "").answer(Both(leaf := x.clone().requires_grad_(), off))
    assert close(answer.x.detach(), module(x)) < 1e-6
    assert close(answer.off, module(off)) < 1e-6
    gradient = torch.autograd.grad(answer.x[:, 2].sum(), leaf)[0]
    assert torch.allclose((gradient * (x - off)).sum((1, 2, 3)), (answer.x - answer.off)[:, 2], atol=1e-5)
