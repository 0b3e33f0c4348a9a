"""The canonical copy: the same answers, each activation a module of its own, the original as it was found."""

from __future__ import annotations

import copy
import threading
from collections import Counter
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from models import Answer, Output, assert_untouched, cnn, fingerprint, unusual
from torch import Tensor, fx, nn

from xai_widgets.canonical import Canonical, canonical_copy, why_not
from xai_widgets.canonical import _activations as activations
from xai_widgets.errors import MethodError

ACTIVATIONS = ("torch.nn.modules.activation", "torch.nn.modules.pooling")


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


def picture(size: int = 32) -> Tensor:
    return torch.randn(3, size, size, generator=torch.Generator().manual_seed(1))


class WritesNothing(fx.Interpreter):
    """Runs a copy and fails at a node that writes into what another gave, unless it gave just a copy to write into."""

    def run_node(self, n: fx.Node):
        given = {node: self.env[node] for node in n.all_input_nodes if node.target is not torch.clone}
        before = {node: value._version for node, value in given.items() if isinstance(value, Tensor)}
        answer = super().run_node(n)
        for node, version in before.items():
            assert given[node]._version == version, f"{n} writes into {node}"
        return answer


def assert_canonical(made: Canonical, x: Tensor) -> Counter:
    """Each activation is called once, none writes in place; returns how many there are of each kind."""
    calls: Counter[str] = Counter()
    handles = []
    for name, module in made.module.named_modules():
        assert not getattr(module, "inplace", False), f"{name} writes in place"
        assert not module.training
        if type(module).__module__ in ACTIVATIONS:
            handles.append(module.register_forward_hook(lambda *_, name=name: calls.update([name])))
    WritesNothing(made.module).run(x)
    for handle in handles:
        handle.remove()
    assert set(calls.values()) <= {1}, f"called more than once: {calls}"
    return Counter(type(made.module.get_submodule(name)).__name__ for name in calls)


def assert_same(model: nn.Module, made: Canonical, size: int = 32) -> None:
    """Same answers for a batch of three other pictures, a size it was not recorded with."""
    x = torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(7))
    modes = {m: m.training for m in model.modules()}
    model = model.eval()
    with torch.no_grad():
        expected, found = model(x.clone()), made.module(x.clone())
    for module, mode in modes.items():
        module.training = mode
    assert torch.allclose(found, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


# ---- hand-written models ---------------------------------------------------------------------------------------------


class Net(nn.Module):
    """Two convolutions; what is between them is given as a function of the module and the features."""

    def __init__(self, between=None, after=None) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.fc = nn.Linear(8, 4)
        self.relu = nn.ReLU(inplace=True)
        self.drop = nn.Dropout(0.5)
        self.between, self.after = between or (lambda _, x: F.relu(x)), after or (lambda _, x: F.relu(x))

    def forward(self, x: Tensor) -> Tensor:
        x = self.between(self, self.a(x))
        x = self.after(self, self.b(x))
        return self.fc(x.mean((2, 3)))


def written(x: Tensor, change) -> Tensor:
    change(x)
    return x  # what was written into, not what the call returned


def residual(net: Net, x: Tensor) -> Tensor:
    y = net.relu(x)
    y += x * 0.5
    y = y.mul_(2)
    return net.relu(y)


WAYS = {
    "functional": (lambda _, x: F.relu(x), "ReLU"),
    "torch": (lambda _, x: torch.relu(x), "ReLU"),
    "method": (lambda _, x: x.relu(), "ReLU"),
    "method in place": (lambda _, x: x.relu_(), "ReLU"),
    "method in place, result unused": (lambda _, x: written(x, lambda y: y.relu_()), "ReLU"),
    "functional in place": (lambda _, x: F.relu(x, inplace=True), "ReLU"),
    "functional in place, result unused": (lambda _, x: written(x, F.relu_), "ReLU"),
    "keyword": (lambda _, x: F.relu(input=x), "ReLU"),
    "reused": (lambda net, x: net.relu(net.relu(x) - 0.1), "ReLU"),
    "residual": (residual, "ReLU"),
    "clamp": (lambda _, x: x.clamp(min=0), "ReLU"),
    "clamp both": (lambda _, x: torch.clamp(x, -0.5, 0.5), "Hardtanh"),
    "gelu": (lambda _, x: F.gelu(x, approximate="tanh"), "GELU"),
    "silu": (lambda _, x: F.silu(x, inplace=True), "SiLU"),
    "elu": (lambda _, x: F.elu(x, 0.7), "ELU"),
    "leaky": (lambda _, x: F.leaky_relu(x, 0.3), "LeakyReLU"),
    "hardswish": (lambda _, x: F.hardswish(x), "Hardswish"),
    "hardsigmoid": (lambda _, x: F.hardsigmoid(x), "Hardsigmoid"),
    "relu6": (lambda _, x: F.relu6(x * 20), "ReLU6"),
    "hardtanh": (lambda _, x: F.hardtanh(x, -0.1, 0.3), "Hardtanh"),
    "sigmoid": (lambda _, x: torch.sigmoid(x) * x, "Sigmoid"),
    "tanh": (lambda _, x: x.tanh(), "Tanh"),
    "softplus": (lambda _, x: F.softplus(x, beta=2), "Softplus"),
    "mish": (lambda _, x: F.mish(x), "Mish"),
    "powers": (lambda _, x: ((x**2 - 1) ** 2 + 2**x + (-x).relu()).relu(), "ReLU"),
    "softmax": (lambda _, x: x.softmax(1), "Softmax"),
    "softmax with dtype": (lambda _, x: F.softmax(x, dim=-1, dtype=torch.float32), "Softmax"),
    "max pooling": (lambda _, x: F.max_pool2d(x, 2), "MaxPool2d"),
    "adaptive pooling": (lambda _, x: F.adaptive_avg_pool2d(x, (4, 4)), "AdaptiveAvgPool2d"),
}


@pytest.mark.parametrize("way", WAYS)
def test_each_way_to_activate_becomes_a_module(way):
    between, kind = WAYS[way]
    model = Net(between, between)
    made = canonical_copy(model, picture())
    kinds = assert_canonical(made, picture()[None])
    assert kinds[kind] >= 2, f"{kinds}"
    assert made.hidden == made.shared == ()
    assert_same(model, made)


def test_the_arguments_of_a_function_reach_its_module():
    made = canonical_copy(Net(lambda _, x: F.leaky_relu(x, 0.3), lambda _, x: F.gelu(x, approximate="tanh")), picture())
    found = {type(m): m for m in made.module.modules()}
    assert found[nn.LeakyReLU].negative_slope == 0.3
    assert found[nn.GELU].approximate == "tanh"


def test_writes_into_a_part_are_kept():
    def part(_, x: Tensor) -> Tensor:
        x[:, :2] += 1
        x[:, 3:5].zero_()
        y = torch.zeros_like(x)
        y[:, 1:] = x[:, :-1]
        return F.relu(y)

    model = Net(part)
    made = canonical_copy(model, picture())
    assert_canonical(made, picture()[None])
    assert_same(model, made)


def test_a_view_read_after_its_base_was_written_is_refused():
    def stale(_, x: Tensor) -> Tensor:
        view = x.flatten(2)
        x.relu_()
        return view.view_as(x)

    assert "`return view.view_as(x)`, uses a tensor after a view of it was written to in place" in why_not(
        Net(stale), picture()
    )


def test_reused_modules_with_weights_stay_one_and_are_named():
    model = Net(lambda net, x: net.b(F.relu(x)))
    made = canonical_copy(model, picture())
    assert made.shared == ("b",)
    assert_canonical(made, picture()[None])
    assert_same(model, made)


def test_layers_keep_their_names():
    model = cnn()
    made = canonical_copy(model, picture())
    names = dict(made.module.named_modules())
    for name in ("0", "1", "2", "3", "9"):
        assert type(names[name]) is type(model[int(name)])
        assert names[name] is not model[int(name)]


def test_the_numbers_are_shared_and_nothing_else_is():
    model = Net()
    made = canonical_copy(model, picture())
    assert made.follows(model)
    ours, theirs = made.module.a.weight, model.a.weight
    assert ours is not theirs
    assert ours.data_ptr() == theirs.data_ptr()
    assert not ours.requires_grad
    assert theirs.requires_grad
    with torch.no_grad():
        model.a.weight.mul_(2)  # a step of training
    assert_same(model, made)
    version = theirs._version
    made.module.load_state_dict(made.module.state_dict())
    assert theirs._version == version


@pytest.mark.parametrize(
    "change",
    [
        lambda model: setattr(model, "relu", nn.GELU()),
        lambda model: setattr(model.a.weight, "data", model.a.weight.data * 2),
        lambda model: setattr(model, "fc", nn.Linear(8, 4)),
    ],
)
def test_it_knows_when_it_no_longer_follows(change):
    model = Net()
    made = canonical_copy(model, picture())
    change(model)
    assert not made.follows(model)


def test_it_knows_when_its_own_weights_were_replaced():
    model = Net()
    made = canonical_copy(model, picture())
    made.module.a.weight.data = made.module.a.weight.data + 1  # as captum's LRP does with some rules
    assert not made.follows(model)


# ---- the guest -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [cnn, Net, lambda: Net(residual)])
def test_the_original_is_left_as_it_was(make):
    model = unusual(make())
    before = fingerprint(model)
    made = canonical_copy(model, picture())
    assert_untouched(model, before)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in made.module.modules())
    assert not any(p.requires_grad for p in made.module.parameters())
    assert_same(model, made)


def test_also_where_it_is_refused():
    model = unusual(Net(lambda _, x: x if x.mean() > 0 else -x))
    before = fingerprint(model)
    assert why_not(model, picture())
    assert_untouched(model, before)


def test_a_hook_that_changes_the_answer_is_part_of_the_model():
    model = Net()
    model.a.register_forward_hook(lambda _m, _x, y: y.clamp(min=0) * 3)
    made = canonical_copy(model, picture())
    assert_same(model, made)


def test_other_threads_are_not_recorded():
    model, started, stop = Net(), threading.Event(), threading.Event()
    answers: list[Tensor] = []

    def work() -> None:
        while not stop.is_set():
            answers.append(model(torch.zeros(1, 3, 16, 16)))
            started.set()

    model.eval()
    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert started.wait(10)
        made = canonical_copy(model, picture())
    finally:
        stop.set()
        thread.join()
    assert_same(model, made)
    assert all(torch.equal(answer, answers[0]) for answer in answers)


# ---- models in all forms ---------------------------------------------------------------------------------------------


@dataclass
class Nested:
    inner: Output
    label: str


@pytest.mark.parametrize(
    ("wrap", "pick"),
    [
        (lambda y: {"logits": y, "twice": [2 * y]}, lambda a: a["logits"]),
        (lambda y: (y, None, {"hidden": 3 * y}), lambda a: a[0]),
        (lambda y: Output(y, y.flatten()), lambda a: a.logits),
        (lambda y: Nested(Output(y, -y), "cat"), lambda a: a.inner.logits),
    ],
)
def test_the_form_of_the_answer_is_kept(wrap, pick):
    model = Answer(cnn(), wrap)
    made = canonical_copy(model, picture(), pick)
    x = torch.randn(3, 3, 32, 32)
    found, expected = made.module(x), model(x)
    assert type(found) is type(expected)
    assert torch.allclose(pick(found), pick(expected), atol=1e-5)
    assert torch.allclose(pick(made.module(2 * x)), pick(model(2 * x)), atol=1e-5)
    assert getattr(found, "label", "cat") == "cat"


def test_without_pick_everything_is_compared():
    canonical_copy(Answer(cnn(), lambda y: {"a": y, "b": 2 * y}), picture())


def test_half_precision():
    model = cnn().bfloat16()
    made = canonical_copy(model, picture())
    assert made.module(picture()[None].bfloat16()).dtype is torch.bfloat16


def test_a_batch_dimension_of_the_picture_is_taken_too():
    assert_same(model := cnn(), canonical_copy(model, picture()[None]))


def test_made_in_inference_mode_it_still_gets_gradients():
    with torch.inference_mode():
        model = Net()
        made = canonical_copy(model, picture())
    x = picture()[None].requires_grad_()
    assert torch.autograd.grad(made.module(x).sum(), x)[0].abs().max() > 0


def test_parametrised_weights():
    model = cnn()
    nn.utils.parametrizations.weight_norm(model[0])
    nn.utils.parametrizations.spectral_norm(model[3])
    assert_same(model, canonical_copy(model, picture()))


class Cached(Net):
    """Keeps what it has once computed, and counts."""

    def __init__(self) -> None:
        super().__init__()
        self.cache: dict[str, Tensor] = {}
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        if "scale" not in self.cache:
            self.cache["scale"] = self.b.weight.mean((1, 2, 3)).exp()
        return super().forward(x) * self.cache["scale"][:4]


def test_a_model_that_keeps_things_between_calls():
    model = Cached()
    made = canonical_copy(model, picture())
    assert model.cache == {}
    assert model.calls == 0
    assert_same(model, made)


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 16, 8, stride=8)
        self.token = nn.Parameter(torch.randn(1, 1, 16))
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x)
        x = x.reshape(x.shape[0], 16, -1).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1)
        return self.head(self.encoder(x)[:, 0])


def test_a_transformer_of_torch_is_opened_and_its_attention_is_named():
    made = canonical_copy(model := Transformer(), picture())
    assert assert_canonical(made, picture()[None])["ReLU"] == 2
    assert made.hidden == tuple(f"MultiheadAttention in encoder.layers.{i}.self_attn" for i in range(2))
    assert_same(model.eval(), made)


class Self(Net):
    """Answers with an object that holds itself."""

    def forward(self, x: Tensor) -> Output:
        answer = Output(super().forward(x), x)
        answer.hidden = answer
        return answer


class Row(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.fc = nn.GRU(96, 8, batch_first=True), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.rnn(x.permute(0, 2, 1, 3).flatten(2))[0][:, -1])


def test_a_recurrent_layer_is_named_as_hidden():
    made = canonical_copy(model := Row(), picture())
    assert made.hidden == ("GRU in rnn",)
    assert_same(model, made)


def test_a_compiled_part_is_opened_and_stays_compiled():
    model = nn.Sequential(torch.compile(cnn()[:6], backend="eager"), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    forward = vars(model[0])["forward"]
    made = canonical_copy(model, picture())
    assert vars(model[0])["forward"] is forward
    assert assert_canonical(made, picture()[None])["ReLU"] == 2


# ---- refusals --------------------------------------------------------------------------------------------------------


class Straight(torch.autograd.Function):
    @staticmethod
    def forward(_ctx, x):
        return x.round()

    @staticmethod
    def backward(_ctx, grad):
        return grad


REFUSED = {
    "an if": (lambda _, x: x if x.mean() > 0 else -x, r"`.*if x.mean\(\) > 0.*`, reads numbers that depend on the pic"),
    "item": (lambda _, x: x * x.max().item(), "reads numbers that depend on the picture"),
    "numpy": (lambda _, x: x * torch.as_tensor(x.numpy().max()), "reads numbers that depend on the picture"),
    "a batch of one is special": (lambda _, x: x.tanh() if len(x) == 1 else x.relu(), "one way for a batch of one"),
    "its own backward": (lambda _, x: Straight.apply(x * 9), "gradient is off|has a backward pass of its own"),
    "random": (lambda _, x: F.dropout(x, 0.5, training=True), "draws random numbers"),
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_cannot_be_copied_is_refused_with_the_reason(why):
    between, reason = REFUSED[why]
    with pytest.raises(MethodError, match=reason) as raised:
        canonical_copy(Net(between), picture())
    assert 'method="occlusion"' in str(raised.value)
    assert "\n" not in str(raised.value)
    assert why_not(Net(between), picture())


def test_an_answer_without_end_is_refused():
    assert "RecursionError" in why_not(Self(), picture())


def test_script_is_refused():
    traced = torch.jit.trace(cnn(), torch.zeros(1, 3, 32, 32))
    assert "it is TorchScript" in why_not(traced, picture())
    assert "its module '0' is TorchScript" in why_not(nn.Sequential(traced), picture())


def test_a_script_function_inside_is_refused_and_not_taken_for_a_constant():
    def twice(x: Tensor) -> Tensor:
        return torch.relu(x) * 2

    scripted = torch.jit.script(twice)
    assert "TorchScript function" in why_not(Net(lambda _, x: scripted(x)), picture())


def test_a_wrong_copy_is_noticed(monkeypatch):
    # The check itself: a table that turns ReLU into something else must not get through.
    monkeypatch.setitem(activations.MODULES, "relu", lambda inplace=False: nn.Tanh())
    assert "copy's answer to the picture is off by" in why_not(Net(), picture())


def test_why_not_is_empty_where_it_works():
    assert why_not(cnn(), picture()) == ""


# ---- what it is for --------------------------------------------------------------------------------------------------


def attributions(model: nn.Module, x: Tensor, baseline: Tensor, target: int = 1) -> tuple[Tensor, Tensor]:
    """DeepLIFT's sum, and the difference that it should be."""
    from captum.attr import DeepLift

    found = DeepLift(model).attribute(x, baseline, target=target).flatten(1).sum(1)
    return found.detach(), (model(x) - model(baseline))[:, target].detach()


@pytest.mark.filterwarnings("ignore")
def test_deeplift_is_complete_on_the_copy_of_a_resnet_and_fails_on_the_original():
    models = pytest.importorskip("torchvision.models")
    pytest.importorskip("captum")
    model = models.resnet18(num_classes=5).eval()
    x = torch.randn(2, 3, 64, 64)
    with pytest.raises(RuntimeError, match="being used more than once"):
        attributions(copy.deepcopy(model), x, torch.zeros_like(x))
    before = fingerprint(model)
    found, expected = attributions(canonical_copy(model, x[0]).module, x, torch.zeros_like(x))
    assert torch.allclose(found, expected, rtol=1e-3, atol=1e-5)
    assert_untouched(model, before)


@pytest.mark.filterwarnings("ignore")
def test_deeplift_is_silently_wrong_on_functional_activations_and_right_on_the_copy():
    pytest.importorskip("captum")
    model, x = Net().eval(), torch.randn(2, 3, 32, 32)
    found, expected = attributions(copy.deepcopy(model), x, torch.zeros_like(x))
    assert ((found - expected).abs() > 0.02 * expected.abs()).any()
    found, expected = attributions(canonical_copy(model, x[0]).module, x, torch.zeros_like(x))
    assert torch.allclose(found, expected, rtol=1e-3, atol=1e-6)


@pytest.mark.filterwarnings("ignore")
def test_guided_backpropagation_is_the_plain_gradient_until_there_is_a_copy():
    captum = pytest.importorskip("captum.attr")
    model, x = Net().eval(), torch.randn(1, 3, 32, 32)
    leaf = x.clone().requires_grad_()
    plain = torch.autograd.grad(model(leaf)[:, 1].sum(), leaf)[0]
    assert torch.equal(captum.GuidedBackprop(copy.deepcopy(model)).attribute(x, target=1), plain)
    guided = captum.GuidedBackprop(canonical_copy(model, x).module).attribute(x, target=1)
    assert (guided - plain).abs().max() > 0.1 * plain.abs().max()


@pytest.mark.filterwarnings("ignore")
def test_shap_runs_on_the_copy_and_leaves_nothing_on_the_original():
    # shap's rule for overlapping max pooling loses part of the sum, also on a resnet written by hand with one module
    # for each activation; with average pooling its values add up, which shap then checks itself.
    shap = pytest.importorskip("shap")
    models = pytest.importorskip("torchvision.models")
    model = models.resnet18(num_classes=2).eval()
    model.maxpool = nn.AvgPool2d(3, 2, 1)
    x = torch.randn(2, 3, 64, 64)
    before = fingerprint(model)
    made = canonical_copy(model, x[0]).module
    values = shap.DeepExplainer(made, torch.zeros_like(x[:1])).shap_values(x[:1], check_additivity=True)
    assert values.shape == (1, 3, 64, 64, 2)
    assert_untouched(model, before)
    assert_same(model, canonical_copy(model, x[0]), 64)
    with pytest.raises(RuntimeError):
        shap.DeepExplainer(copy.deepcopy(model), torch.zeros_like(x[:1])).shap_values(x[:1])


# ---- models of others ------------------------------------------------------------------------------------------------


TORCHVISION = (
    "resnet18", "vgg11", "densenet121", "mobilenet_v2", "mobilenet_v3_small", "efficientnet_b0", "googlenet",
    "shufflenet_v2_x0_5", "convnext_tiny", "swin_t", "swin_v2_t", "vit",
)  # fmt: skip


@pytest.mark.parametrize("name", TORCHVISION)
def test_models_of_torchvision(name):
    models = pytest.importorskip("torchvision.models")
    if name == "vit":
        size, model = 32, models.VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=5)
        nn.init.normal_(model.heads.head.weight)  # zero otherwise, and all answers the same
    else:
        extra = {"init_weights": False} if name in ("googlenet", "vgg11") else {}
        size, model = 64, getattr(models, name)(num_classes=5, **extra)
    before = fingerprint(model)
    made = canonical_copy(model, picture(size))
    assert_untouched(model, before)
    assert made.shared == ()
    assert len(made.hidden) == (2 if name == "vit" else 0)
    assert sum(assert_canonical(made, picture(size)[None]).values()) >= 2
    assert_same(model, made, size)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "tf_efficientnet_b0", "convnext_atto", "levit_128s"])
def test_models_of_timm(name):
    timm = pytest.importorskip("timm")
    size = 64 if "efficientnet" in name or "convnext" in name else 224
    model = timm.create_model(name, pretrained=False, num_classes=5)
    made = canonical_copy(model, picture(size))
    assert_canonical(made, picture(size)[None])
    assert_same(model, made, size)


@pytest.mark.parametrize(("attention", "hidden"), [("sdpa", 2), ("eager", 0)])
def test_models_of_transformers(attention, hidden):
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, image_size=32, patch_size=8,
        attn_implementation=attention,
    )  # fmt: skip
    model = transformers.ViTForImageClassification(config)
    made = canonical_copy(model, picture(), lambda answer: answer.logits)
    assert len(made.hidden) == hidden
    assert assert_canonical(made, picture()[None])["GELU"] == 2
    x = torch.randn(3, 3, 32, 32)
    found = made.module(x)
    assert type(found).__name__ == "ImageClassifierOutput"
    assert torch.allclose(found.logits, model.eval()(x).logits, atol=1e-6)


# ---------------------------------------------------------------------------------------------------------------------
# For methods
# ---------------------------------------------------------------------------------------------------------------------


def test_a_method_that_needs_the_copy_is_offered_where_there_can_be_one_and_greyed_out_elsewhere(monkeypatch):
    import numpy as np

    import xai_widgets as xw
    from xai_widgets import registry

    def relus(problem):
        """Counts the activations that it can put its rule on."""
        copy = problem.classifier.canonical().module
        count = sum(isinstance(module, nn.ReLU) for module in copy.modules())
        yield xw.Estimate(values=np.full(problem.view.shape, float(count)))

    registry.methods()
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))
    xw.register_method(xw.MethodInfo("relus", "ReLUs", "gradient", "Counts.", relus, needs="canonical"))

    class Reused(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.relu, self.head = nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Linear(4, 3)

        def forward(self, x):
            y = self.relu(self.conv(x))
            y = torch.relu(y - 0.1)
            return self.head(self.relu(y).mean((2, 3)))

    class Branches(Reused):
        def forward(self, x):
            y = super().forward(x)
            return y * 2 if y.sum() > 0 else y

    picture = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    assert xw.attribute(Reused(), picture, method="relus").values[0, 0] == 3
    with pytest.raises(xw.MethodError, match=r"ReLUs cannot run here.*if y.sum\(\) > 0"):
        xw.attribute(Branches(), picture, method="relus")
    rows = {row["name"]: row["unfit"] for row in xw.inspect(Branches(), picture).methods}
    assert "if y.sum() > 0" in rows["relus"]
    assert rows["lime"] == ""
    with pytest.raises(xw.MethodError, match="plain callable"):
        xw.attribute(lambda x: x.mean((2, 3)), picture, method="relus")
