"""Every kind of model: one row a case, each the right result or the right words. The rows of user-pains.md, part C."""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from models import Answer, Output, assert_untouched, cnn, fingerprint, photo
from torch import nn
from torch.nn import functional

import xai_widgets as xw
from xai_widgets.session import Session

PIXELS = photo()
BATCH = torch.from_numpy(PIXELS).permute(2, 0, 1)[None] / 255
OCCLUSION = {"method": "occlusion", "window": 24, "stride": 24}


def softmax(logits: torch.Tensor) -> np.ndarray:
    return logits.softmax(1)[0].numpy()


def asked(model: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model(BATCH)


@dataclass
class Case:
    """A model, how it is asked, and what must come: probabilities, or words of the error."""

    model: Callable[[], Any]
    expected: Callable[[], np.ndarray] | None = None
    options: dict[str, Any] | None = None
    says: tuple[str, ...] = ()
    image: Any = None
    kind: str | None = None
    error: type[Exception] = xw.ModelError
    notes: tuple[str, ...] = ()
    warns: tuple[str, ...] = ()
    methods: tuple[str, ...] = ("occlusion",)
    """Methods that must give a map."""
    refused: tuple[str, ...] = ()
    """Methods that must say why not."""


ALL = ("gradcam", "saliency", "occlusion", "lime", "kernel_shap")
ASKING = ("occlusion", "lime", "kernel_shap")
INSIDE = ("gradcam", "saliency")
QUICK = {"occlusion": {"window": 24, "stride": 24}, "lime": {"n_samples": 16}, "kernel_shap": {"n_samples": 30}}

LOGITS = asked(cnn())
PLAIN = lambda: softmax(LOGITS)  # noqa: E731 - a row of a table


class Outputs(NamedTuple):
    """An answer as GoogLeNet gives it in training."""

    loss: Any
    logits: torch.Tensor
    hidden: torch.Tensor


class Inside(nn.Module):
    """`inner` behind something done to the batch or the answer, by `around(inner, x)`."""

    def __init__(self, inner: nn.Module, around: Callable[[nn.Module, torch.Tensor], Any]) -> None:
        super().__init__()
        self.inner, self.around = inner, around

    def forward(self, x: torch.Tensor) -> Any:
        return self.around(self.inner, x)


def answers(wrap: Callable[[torch.Tensor], Any], n_classes: int = 4) -> Callable[[], nn.Module]:
    return lambda: Answer(cnn(n_classes), wrap)


def hugging_face():
    from transformers import ResNetConfig, ResNetForImageClassification

    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 12], depths=[1, 1], num_labels=3)
        return ResNetForImageClassification(config).eval()


def inception():
    from torchvision.models import inception_v3

    return inception_v3(weights=None, init_weights=False, num_classes=5).train()


def googlenet():
    from torchvision.models import googlenet

    return googlenet(weights=None, init_weights=False, num_classes=5).train()


def compiled(*, warm: bool = True):
    model = torch.compile(cnn(), backend="eager")
    if warm:
        model(BATCH)
    return model


def compiled_in_place():
    model = cnn()
    model.compile(backend="eager")
    model(BATCH)
    return model


class FullyShardedDataParallel(nn.Module):
    """Stands for torch's own, which needs a process group."""


def exported(*, dynamic: bool, program: bool = False, batch: int = 2):
    size = {0: torch.export.Dim("batch")} if dynamic else None
    made = torch.export.export(cnn(), (torch.zeros(batch, 3, 48, 64),), dynamic_shapes=(size,) if size else None)
    return made if program else made.module()


def quantised():
    from torch.ao.quantization import quantize_dynamic

    return quantize_dynamic(cnn(), {nn.Linear}, dtype=torch.qint8)


def under_inference_mode():
    with torch.inference_mode():
        return cnn()


def on_meta():
    with torch.device("meta"):
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def perceptron():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(784, 16), nn.ReLU(), nn.Linear(16, 5))


def onnx_session(*, batch: Any = "batch", last: bool = False, dtype: str = "FLOAT", outputs: int = 1, inputs: int = 1):
    """``softmax(W · mean colour)`` as an ONNX graph, written by hand."""
    import onnx
    from onnx import TensorProto, helper
    from onnxruntime import InferenceSession

    shape = [batch, 48, 64, 3] if last else [batch, 3, 48, 64]
    nodes = [
        helper.make_node("Cast", ["x"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float", "axes"], ["mean"], keepdims=0),
        helper.make_node("MatMul", ["mean", "weight"], ["logits"]),
    ]
    weight = COLOURS.numpy() / (255 if dtype == "UINT8" else 1)
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info(name, getattr(TensorProto, dtype), shape) for name in ("x", "x1")[:inputs]],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", size])
            for name, size in (("logits", 4), ("mean", 3))[:outputs]
        ],
        [
            helper.make_tensor("axes", TensorProto.INT64, [2], [1, 2] if last else [2, 3]),
            helper.make_tensor("weight", TensorProto.FLOAT, [3, 4], weight.ravel().tolist()),
        ],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    return InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


COLOURS = torch.tensor([[6.0, -3, 0, 1], [0, 5, -4, 1], [-2, 0, 7, 1]])
ONNX = lambda: softmax(BATCH.mean((2, 3)) @ COLOURS)  # noqa: E731


def forest(n_labels: int = 1):
    """A forest on 8×8 grey pictures whose class is which half is brighter; with two labels also top or bottom."""
    from sklearn.ensemble import RandomForestClassifier

    rng = np.random.default_rng(0)
    pictures = rng.random((300, 8, 8))
    left = pictures[:, :, :4].mean((1, 2)) > pictures[:, :, 4:].mean((1, 2))
    top = pictures[:, :4].mean((1, 2)) > pictures[:, 4:].mean((1, 2))
    labels = np.where(left, "left", "right") if n_labels == 1 else np.stack([left, top], axis=1)
    return RandomForestClassifier(20, random_state=0).fit(pictures.reshape(300, -1), labels)


HALVES = np.repeat(np.repeat(np.array([[250, 5]], np.uint8), 8, 0), 4, 1)


class Noisy(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = cnn()

    def forward(self, x):
        return functional.dropout(self.inner(x), 0.5)  # training=True is the default


class Mixes(nn.Module):
    """Normalises by the batch's own mean, as batch norm without running statistics does."""

    def __init__(self):
        super().__init__()
        self.inner = cnn()

    def forward(self, x):
        y = self.inner(x)
        return y - 0.5 * y.mean(0, keepdim=True)


class FixedSize(nn.Module):
    """Takes 96×96 only, like a network with a flattened head."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 2, 3, stride=4), nn.Linear(2 * 24 * 24, 3)

    def forward(self, x):
        return self.head(self.conv(x).flatten(1))


class NoEval(nn.Module):
    """Its ``eval`` raises, as that of exported modules does."""

    def __init__(self):
        super().__init__()
        self.inner = cnn().train()

    def eval(self):
        raise NotImplementedError("Calling eval() is not supported yet.")

    def forward(self, x):
        return self.inner(x)


class Predicts(nn.Module):
    """Answers by a method of its own, in training mode with dropout unless somebody sees to that."""

    def __init__(self):
        super().__init__()
        self.inner = cnn()

    def predict(self, x):
        return self.inner(x).detach()


class Folds(nn.Module):
    """Folds 2×2 pixels into channels first, so that its first convolution takes twelve."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.conv, self.head = nn.Conv2d(12, 8, 3), nn.Linear(8, 4)

    def forward(self, x):
        return self.head(self.conv(functional.pixel_unshuffle(x, 2)).mean((2, 3)))


class Unattached(Folds):
    """A property that raises and attributes that cannot be set, as some frameworks have."""

    @property
    def class_names(self):
        raise RuntimeError("not attached to a trainer")

    def __setattr__(self, name, value):
        if name == "training" and "head" in vars(self).get("_modules", {}):
            raise RuntimeError("set the mode through the trainer")
        super().__setattr__(name, value)


class Strict(Folds):
    """One small logit, and only of pictures within 0–1."""

    def forward(self, x):
        if x.min() < 0 or x.max() > 1:
            raise ValueError("not a picture")
        return super().forward(x)[:, :1] * 0.1 + 0.4


class OwnNoise(Folds):
    """Noise from a generator of its own."""

    def __init__(self):
        super().__init__()
        self.generator = torch.Generator()

    def forward(self, x):
        return super().forward(x) + torch.randn(len(x), 4, generator=self.generator)


def configured(names):
    model = Folds()
    model.config = SimpleNamespace(id2label=names)
    return model


def keeps_state():
    """Stores its features, counts its calls in an attribute, a list and a buffer."""

    class Keeps(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.count, self.seen, self.features = cnn(), 0, [], None
            self.register_buffer("total", torch.zeros(1))

        def forward(self, x):
            self.count += 1
            self.seen.append(len(x))
            self.total += len(x)
            self.features = y = self.inner(x)
            self.new = y
            return y

    return Keeps()


CASES: dict[str, Case] = {
    # ---- answers
    "tensor": Case(cnn, PLAIN, methods=ALL),
    "dict": Case(answers(lambda y: {"loss": 0.0, "logits": y, "hidden": y * 2}), PLAIN, methods=ALL),
    "dict of one": Case(answers(lambda y: {"scores": y}), PLAIN),
    "ordered dict, as segmentation models give it": Case(answers(lambda y: OrderedDict(out=y)), PLAIN),
    "tuple of one": Case(answers(lambda y: (y,)), PLAIN),
    "tuple of two": Case(answers(lambda y: (y, y * 2)), says=("several tensors", "0 (1, 4), 1 (1, 4)", "output=0")),
    "tuple of two, one named": Case(answers(lambda y: (y * 2, y)), PLAIN, {"output": 1}),
    "list": Case(answers(lambda y: [y]), PLAIN),
    "named tuple": Case(answers(lambda y: Outputs(None, y, y * 2)), PLAIN, methods=ALL),
    "dataclass": Case(answers(lambda y: Output(y, y * 2)), PLAIN, methods=ALL),
    "numpy array": Case(answers(lambda y: y.detach().numpy()), PLAIN, methods=ASKING, refused=INSIDE),
    "list of numbers": Case(answers(lambda y: y.tolist()), PLAIN, methods=ASKING, refused=INSIDE),
    "ModelOutput of transformers": Case(hugging_face, methods=ALL, kind="logits"),
    "GoogLeNet in training mode": Case(googlenet, image=photo(64, 64), kind="logits", warns=("checkpoint",)),
    "Inception in training mode": Case(inception, image=photo(80, 80), kind="logits", warns=("checkpoint",)),
    "two tensors in a dict": Case(
        answers(lambda y: {"a": y, "b": y}), says=("several tensors", "'a' (1, 4)", "'b' (1, 4)", "output='a'")
    ),
    "output that is not there": Case(
        answers(lambda y: {"a": y, "b": y}),
        options={"output": "c"},
        says=("output='c' is not in the answer, a dict", "it has 'a', 'b'"),
    ),
    "output= that raises": Case(cnn, options={"output": lambda y: y["x"]}, says=("output= raised", "on a Tensor")),
    "(B,)": Case(answers(lambda y: y[:, 0], 1), kind="single logit", methods=ALL),
    "(B, 1)": Case(answers(lambda y: y, 1), kind="single logit", methods=ALL),
    "() for one picture": Case(answers(lambda y: y.squeeze(), 1), kind="single logit"),
    "(C,) for one picture": Case(
        answers(lambda y: y.squeeze()), says=("shape (4,) for a batch of one", "output=lambda y: y.reshape(-1, 4)")
    ),
    "(C,) for one picture, put right": Case(
        answers(lambda y: y.squeeze()), PLAIN, {"output": lambda y: y.reshape(-1, 4)}
    ),
    "(B, C, 1, 1)": Case(answers(lambda y: y[:, :, None, None]), PLAIN, methods=ALL),
    "segmentation": Case(
        answers(lambda y: y[:, :, None, None].expand(-1, -1, 8, 8)),
        says=("(1, 4, 8, 8)", "segmentation", "output=lambda y: y.mean((2, 3))"),
    ),
    "segmentation, put right": Case(
        answers(lambda y: y[:, :, None, None].expand(-1, -1, 8, 8)),
        PLAIN,
        {"output": lambda y: y.mean((2, 3))},
        methods=ALL,
    ),
    "a row a token": Case(
        answers(lambda y: y[:, None].expand(-1, 7, -1)), says=("(1, 7, 4)", "output=lambda y: y.mean(1)")
    ),
    "NaN": Case(answers(lambda y: y * float("nan")), says=("4 scores that are NaN",)),
    "no classes": Case(answers(lambda y: y[:, :0]), says=("(1, 0)",)),
    "complex": Case(answers(lambda y: y + 0j), says=("complex numbers", "y.abs()")),
    "text": Case(answers(lambda y: "cat"), says=("answered with a str", "output=")),
    "nothing": Case(answers(lambda y: None), says=("NoneType", "output=")),
    # ---- kinds of scores
    "logits": Case(cnn, PLAIN, kind="logits"),
    "probabilities": Case(answers(lambda y: y.softmax(1)), PLAIN, kind="probabilities", methods=ALL),
    "log-probabilities": Case(answers(lambda y: y.log_softmax(1)), PLAIN, kind="logits", methods=ALL),
    "multi-label probabilities": Case(
        answers(lambda y: y.sigmoid()),
        lambda: LOGITS.sigmoid()[0].numpy(),
        kind="multi-label probabilities",
        methods=ALL,
    ),
    "multi-label logits, said so": Case(
        cnn, lambda: LOGITS.sigmoid()[0].numpy(), {"activation": "sigmoid"}, kind="multi-label logits", methods=ALL
    ),
    "one probability": Case(
        answers(lambda y: y.sigmoid(), 1),
        lambda: np.array([1 - (p := float(asked(cnn(1)).sigmoid())), p]),
        kind="single probability",
        methods=ALL,
    ),
    "one probability (B,)": Case(answers(lambda y: y[:, 0].sigmoid(), 1), kind="single probability"),
    "a logit within 0–1 for this picture": Case(answers(lambda y: y - asked(cnn(1)) + 0.5, 1), kind="single logit"),
    "small logits": Case(answers(lambda y: y * 0.01 + 0.3), kind="logits"),
    "probabilities, said to be": Case(
        answers(lambda y: y.softmax(1)), PLAIN, {"activation": "none"}, kind="probabilities"
    ),
    "logits, said to be probabilities": Case(
        cnn, options={"activation": "none"}, says=('activation="none" says', "they go from"), error=xw.ArgumentError
    ),
    "activation unknown": Case(
        cnn, options={"activation": "relu"}, says=("'softmax', 'sigmoid', 'none'",), error=xw.ArgumentError
    ),
    "softmax of one score": Case(
        lambda: cnn(1), options={"activation": "softmax"}, says=("always 1",), error=xw.ArgumentError
    ),
    # ---- classes
    "no target": Case(cnn, PLAIN),
    "target out of range": Case(
        cnn, options={"target": 99}, says=("Class 99 does not exist; the model has 4 (0 to 3)",), error=xw.TargetError
    ),
    "target by name": Case(cnn, PLAIN, {"target": "bus", "class_names": ["cat", "dog", "bus", "car"]}),
    "target by a wrong name": Case(
        cnn,
        options={"target": "buss", "class_names": ["cat", "dog", "bus", "car"]},
        says=("No class", "'bus'"),
        error=xw.TargetError,
    ),
    "labels ≠ classes": Case(
        cnn, options={"class_names": ["a"] * 1000}, says=("1000 class_names, 4 outputs",), error=xw.TargetError
    ),
    # ---- states of a module
    "training mode": Case(lambda: cnn().train(), PLAIN, methods=ALL),
    "eval() raises": Case(NoEval, PLAIN, methods=ALL),
    "frozen": Case(lambda: cnn().requires_grad_(False), PLAIN, methods=ALL),
    "in-place activations": Case(lambda: cnn(inplace=True), PLAIN, methods=ALL),
    "float64": Case(lambda: cnn().double(), PLAIN, methods=ALL),
    "bfloat16": Case(lambda: cnn().bfloat16(), methods=ALL),
    "float16": Case(lambda: cnn().half(), methods=ALL),
    "in-place on its input": Case(lambda: Inside(cnn(), lambda inner, x: inner(x.mul_(1.0))), PLAIN, methods=ALL),
    "keeps features, counts": Case(keeps_state, PLAIN, methods=ALL),
    "no_grad inside": Case(
        lambda: Inside(cnn(), lambda inner, x: torch.no_grad()(inner)(x)), PLAIN, methods=ASKING, refused=INSIDE
    ),
    "detached inside": Case(
        lambda: Inside(cnn(), lambda inner, x: inner(x.detach())), PLAIN, methods=ASKING, refused=("saliency",)
    ),
    "dropout that stays on": Case(Noisy, methods=("occlusion",), warns=("asked again", "dropout")),
    "mixes the pictures of a batch": Case(Mixes, lambda: softmax(LOGITS * 0.5), methods=ALL, warns=("asked alone",)),
    "takes one picture at a time": Case(
        lambda: Inside(cnn(), lambda inner, x: inner(x.view(1, 3, 48, 64))), PLAIN, methods=ALL
    ),
    "random weights": Case(
        lambda: Answer(cnn(10), lambda y: y * 0.01), warns=("undecided about everything", "checkpoint")
    ),
    "meta weights": Case(on_meta, says=("has no weights yet", "'0.weight' is on the meta device", "load_state_dict")),
    "lazy weights": Case(
        lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(3)), says=("has no weights yet", "not initialised")
    ),
    # ---- wrapped and translated
    "torch.compile": Case(compiled, PLAIN, methods=ALL, notes=("torch.compile set aside",)),
    "torch.compile, not called yet": Case(lambda: compiled(warm=False), PLAIN, methods=ALL),
    "module.compile()": Case(compiled_in_place, PLAIN, methods=ALL),
    "DataParallel": Case(lambda: nn.DataParallel(cnn()), PLAIN, methods=ALL, notes=("taken out of DataParallel",)),
    "compiled DataParallel": Case(lambda: torch.compile(nn.DataParallel(cnn()), backend="eager"), PLAIN, methods=ALL),
    "FSDP": Case(FullyShardedDataParallel, says=("sharded over several processes", "state_dict")),
    "scripted": Case(lambda: torch.jit.script(cnn()), PLAIN, methods=ASKING, refused=INSIDE),
    "scripted in training mode": Case(lambda: torch.jit.script(cnn().train()), PLAIN, methods=ASKING, refused=INSIDE),
    "traced": Case(lambda: torch.jit.trace(cnn(), BATCH), PLAIN, methods=ASKING, refused=INSIDE),
    "exported": Case(lambda: exported(dynamic=True), PLAIN, methods=ASKING, refused=INSIDE),
    "exported for one picture": Case(lambda: exported(dynamic=False, batch=1), PLAIN, methods=ASKING, refused=INSIDE),
    "exported for four pictures": Case(lambda: exported(dynamic=False, batch=4), PLAIN, methods=ASKING, refused=INSIDE),
    "exported program": Case(lambda: exported(dynamic=True, program=True), PLAIN, methods=ASKING, refused=INSIDE),
    "quantised": Case(quantised, methods=ASKING, refused=INSIDE),
    "built under inference mode": Case(under_inference_mode, PLAIN, methods=ASKING, refused=INSIDE),
    # ---- shapes of networks
    "perceptron on grey pictures": Case(
        perceptron, image=photo(28, 28)[..., 0], methods=("saliency", *ASKING), refused=("gradcam",)
    ),
    "no place left at the end": Case(cnn, image=photo(8, 8), methods=ALL),
    "another size": Case(FixedSize, says=("takes pictures of 96×96 and was given 48×64", "size=96")),
    "another size, put right": Case(FixedSize, options={"size": 96}, kind="logits"),
    "folds pixels into channels": Case(Folds, methods=ALL, kind="logits"),
    # ---- declared, and not so
    "names declared for other classes": Case(lambda: configured({0: "a"}), warns=("left out", "1 names, the model 4")),
    "names declared in another form": Case(lambda: configured({"cat": "a", "dog": "b"}), warns=("left out",)),
    "properties that raise": Case(Unattached, methods=ALL),
    "no device": Case(cnn, options={"device": "meta"}, says=("device='meta'",), error=xw.ArgumentError),
    "refuses strange pictures": Case(Strict, kind="single probability", warns=("read as", 'activation="sigmoid"')),
    "noise of its own": Case(OwnNoise, warns=("asked again", "random numbers")),
    "saturated probabilities": Case(
        answers(lambda y: (y * 3000).softmax(1)),
        kind="probabilities",
        methods=INSIDE,
        warns=("gradients vanish", "logits"),
    ),
    # ---- no torch modules
    "function of tensors": Case(lambda: lambda x: cnn()(x).detach(), PLAIN, methods=ASKING, refused=INSIDE),
    "function of arrays": Case(
        lambda: lambda x: x.mean((2, 3)).astype(np.float32) @ COLOURS.numpy(), ONNX, methods=ASKING, refused=INSIDE
    ),
    "a module's own forward": Case(lambda: cnn().train().forward, PLAIN, methods=ALL),
    "a module with arguments": Case(
        lambda: functools.partial(cnn().train().__call__), PLAIN, methods=ASKING, refused=INSIDE
    ),
    "a method of a module": Case(lambda: Predicts().train().predict, PLAIN, methods=ASKING, refused=INSIDE),
    "function giving lists": Case(lambda: lambda x: cnn()(x).tolist(), PLAIN, methods=ASKING, refused=INSIDE),
    "function that raises": Case(lambda: lambda x: x.nonsense, says=("raised AttributeError", "preprocess=")),
    "ONNX Runtime": Case(onnx_session, ONNX, methods=ASKING, refused=INSIDE, notes=("runs in ONNX Runtime",)),
    "ONNX, one picture at a time": Case(lambda: onnx_session(batch=1), ONNX, methods=ASKING, refused=INSIDE),
    "ONNX, four pictures at a time": Case(lambda: onnx_session(batch=4), ONNX, methods=ASKING, refused=INSIDE),
    "ONNX, channels last": Case(
        lambda: onnx_session(last=True), ONNX, methods=ASKING, refused=INSIDE, notes=("channels last",)
    ),
    "ONNX, bytes": Case(lambda: onnx_session(dtype="UINT8"), ONNX, methods=ASKING, refused=INSIDE),
    "ONNX, half precision": Case(lambda: onnx_session(dtype="FLOAT16"), methods=ASKING, refused=INSIDE),
    "ONNX, several outputs": Case(lambda: onnx_session(outputs=2), ONNX, methods=ASKING, refused=INSIDE),
    "ONNX, several inputs": Case(lambda: onnx_session(inputs=2), says=("has 2 inputs", "'x1'", "lambda batch")),
    "ONNX, whole numbers": Case(lambda: onnx_session(dtype="INT64"), says=("tensor(int64)", "floats are needed")),
    "predict_proba": Case(
        forest,
        lambda: forest().predict_proba(HALVES.reshape(1, -1) / 255)[0],
        image=HALVES,
        kind="probabilities",
        methods=ASKING,
        refused=INSIDE,
        notes=("predict_proba",),
    ),
    "the method predict_proba": Case(
        lambda: forest().predict_proba, image=HALVES, kind="probabilities", methods=ASKING
    ),
    "predict_proba of several labels": Case(
        lambda: forest(2), image=HALVES, kind="multi-label probabilities", methods=ASKING
    ),
    # ---- no models
    "None": Case(lambda: None, says=("There is no model",), error=xw.ArgumentError),
    "a class": Case(lambda: nn.ReLU, says=("ReLU is a class, not a model", "ReLU(…)")),
    "a state_dict": Case(lambda: cnn().state_dict(), says=("state_dict of 16 weights", "load_state_dict")),
    "a path": Case(lambda: "model.pth", says=("torch.load('model.pth'",)),
    "a path to ONNX": Case(lambda: "model.onnx", says=("InferenceSession('model.onnx')",)),
    "a number": Case(lambda: 7, says=("A int cannot be called", "torch module")),
}


@pytest.mark.filterwarnings("ignore")  # torch says of its older tools that there are newer ones
@pytest.mark.parametrize("name", CASES)
def test_every_kind_of_model_gives_the_right_result_or_the_right_words(name):
    case = CASES[name]
    image = PIXELS if case.image is None else case.image
    model, options = case.model(), dict(case.options or {})
    if case.says:
        with pytest.raises(case.error) as caught:
            xw.attribute(model, image, **{**OCCLUSION, **options})
        assert isinstance(caught.value, (ValueError, TypeError))
        assert all(words in str(caught.value) for words in case.says), str(caught.value)
        return
    plain = isinstance(model, nn.Module) and not isinstance(model, torch.jit.ScriptModule)
    before = fingerprint(model) if plain else None
    for method in case.methods:
        found = xw.attribute(model, image, n_segments=9, method=method, **{**QUICK.get(method, {}), **options})
        done = found.params["input"]
        assert np.isfinite(found.values).all()
        assert found.values.min() < found.values.max() or found.warnings, f"{method}: one value and no word about it"
        assert case.kind in (None, done["answers"])
        if case.expected:
            assert np.allclose(found.probabilities, case.expected(), atol=1e-5), found.probabilities
        said = " ".join(done["model"])
        assert all(words in said for words in case.notes), said
        warned = " ".join(found.warnings).lower()
        assert all(words in warned for words in case.warns), warned
        assert case.warns or "checkpoint" not in warned
    for method in case.refused:
        with pytest.raises(xw.MethodError, match="cannot run here"):
            xw.attribute(model, image, method=method, **options)
    if plain:
        assert_untouched(model, before)


def test_every_row_of_the_reference_is_a_row_here():
    """The second table of user-pains.md, part C, row by row, and the cases that stand for it."""
    rows = {
        "dict / tuple / object": ["dict", "tuple of two", "dataclass", "ModelOutput of transformers"],
        "(B,) output": ["(B,)"],
        "Spatial output": ["segmentation"],
        "Probabilities vs logits": ["probabilities", "multi-label probabilities", "one probability"],
        "Target out of range": ["target out of range", "target by a wrong name"],
        "Labels ≠ C": ["labels ≠ classes"],
        "No target": ["no target"],
        "Train mode": ["training mode"],
        "Frozen": ["frozen"],
        "In-place activations": ["in-place activations"],
        "torch.compile": ["torch.compile", "module.compile()"],
        "DataParallel, DDP / FSDP": ["DataParallel", "FSDP"],
        "Traced/scripted": ["traced", "scripted"],
        "torch.export module": ["exported", "exported for one picture"],
        "bf16 / fp16": ["bfloat16", "float16"],
        "Quantised": ["quantised"],
        "Built under inference_mode": ["built under inference mode"],
        "meta / uninitialised": ["meta weights", "lazy weights"],
        "Random weights": ["random weights"],
        "No conv layer (ViT, MLP)": ["perceptron on grey pictures"],  # and tests/test_architectures.py
        "Final map 1×1": ["no place left at the end"],  # and tests/test_layers.py
        "Plain callable / numpy function": ["function of tensors", "function of arrays"],
        "Dropout/RNG at eval": ["dropout that stays on"],
    }
    assert not [case for cases in rows.values() for case in cases if case not in CASES]


def test_the_price_of_a_slow_model_is_shown_before_it_is_paid():
    import time

    class Slow(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = cnn()

        def forward(self, x):
            time.sleep(0.05 * len(x))
            return self.inner(x)

    rows = {row["name"]: row["cost"] for row in Session(Slow(), PIXELS).menu({})}
    assert rows["lime"].startswith("1,000 calls, ")
    number, unit = rows["lime"].split()[-2:]
    assert 45 <= int(number) * {"s": 1, "min": 60}[unit] <= 200


@pytest.mark.filterwarnings("ignore")
def test_models_are_told_apart_whatever_they_are():
    """A judgement belongs to one model: another must not be shown it, and the same must find it again."""
    made = {
        "forest": forest,
        "two labels": lambda: forest(2),
        "ONNX": onnx_session,
        "ONNX, bytes": lambda: onnx_session(dtype="UINT8"),
        "quantised": quantised,
        "scripted": lambda: torch.jit.script(cnn()),
        "another scripted": lambda: torch.jit.script(cnn(seed=1)),
        "exported": lambda: exported(dynamic=True),
        "function": lambda: lambda x: x.mean((2, 3)),
        "another": lambda: lambda x: x.sum((2, 3)),
        "half": lambda: cnn().bfloat16(),
        "method": lambda: Predicts().predict,
    }
    known = {}
    for name, make in made.items():
        image = HALVES if "forest" in name or "labels" in name else PIXELS
        first, second = (Session(make(), image).model_id for _ in range(2))
        assert first == second, name
        known[name] = first
    assert len(set(known.values())) == len(known)


def test_names_and_scale_that_a_model_declares_are_used():
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(
        image_size=32, patch_size=8, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        id2label={0: "cat", 1: "dog"}, problem_type="multi_label_classification",
    )  # fmt: skip
    found = xw.attribute(ViTForImageClassification(config), PIXELS, **OCCLUSION)
    assert found.class_names == ("cat", "dog")
    assert found.values.shape == (32, 32)
    assert found.params["input"]["answers"] == "multi-label logits"
    steps = found.params["input"]["steps"]
    assert any("brought to 32 × 32, the size that the model declares" in step for step in steps)
    import timm

    found = xw.attribute(timm.create_model("resnet10t", pretrained=False, num_classes=3), PIXELS, **OCCLUSION)
    assert any("mean/std as the model declares" in step for step in found.params["input"]["steps"])
    assert found.values.shape == PIXELS.shape[:2]
