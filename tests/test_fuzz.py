"""Two thousand pictures, answers and options no one chose: a result, or an error of ours, and nothing else ever."""

from __future__ import annotations

import warnings
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from models import cnn
from PIL import Image

import xai_widgets as xw

pytestmark = pytest.mark.slow
# The same examples in every run: a failure in CI is a failure here.
FUZZ = settings(
    max_examples=1000, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None
)
MODEL = cnn()
QUICK = {"method": "occlusion", "window": 6, "stride": 6, "n_segments": 4}

DTYPES = st.one_of(
    hnp.integer_dtypes(endianness="?"), hnp.unsigned_integer_dtypes(endianness="?"),
    hnp.floating_dtypes(endianness="?"),
    hnp.boolean_dtypes(), hnp.complex_number_dtypes(), hnp.datetime64_dtypes(), hnp.unicode_string_dtypes(max_len=3),
    st.just(np.dtype("uint8")), st.just(np.dtype("float32")),
)  # fmt: skip
ANY_SHAPE = hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=9)
LIKELY_SHAPE = st.one_of(
    st.tuples(st.integers(1, 14), st.integers(1, 14), st.sampled_from([1, 2, 3, 4, 5])),
    st.tuples(st.sampled_from([1, 2, 3, 4, 5]), st.integers(1, 14), st.integers(1, 14)),
    st.tuples(st.integers(1, 14), st.integers(1, 14)),
    st.tuples(st.integers(1, 3), st.sampled_from([1, 3, 4]), st.integers(2, 14), st.integers(2, 14)),
)


@st.composite
def values(draw, shape):
    """An array of any type; most are noise in a range that pictures have, some hold anything."""
    dtype = draw(DTYPES)
    if draw(st.integers(0, 3)) == 0:
        return draw(hnp.arrays(dtype, shape))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    low, high = draw(st.sampled_from([(0, 1), (0, 255), (-2, 2), (0, 65535), (7, 7), (-1e30, 1e30)]))
    noise = rng.random(shape) * (high - low) + low
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.asarray(noise).astype(dtype)


ODD = [None, "", "no.png", b"x", {}, [], (), 3, object(), [None], ["a", 1], np.uint8, {"a": np.zeros((4, 4))}]


@st.composite
def images(draw):
    """A picture, or something like one, in any wrapping."""
    array = draw(values(draw(st.one_of(LIKELY_SHAPE, ANY_SHAPE))))
    kind = draw(st.sampled_from(["array", "array", "tensor", "list", "PIL", "view", "masked", "batch", "odd"]))
    try:
        if kind == "tensor":
            return torch.from_numpy(array.astype(array.dtype.newbyteorder("=")))
        if kind == "PIL":
            return Image.fromarray(array)
    except (TypeError, ValueError, IndexError, SystemError):
        return array
    return {
        "list": lambda: array.tolist(), "view": lambda: array[::-1, ...] if array.ndim else array,
        "masked": lambda: np.ma.masked_invalid(array) if array.dtype.kind == "f" else array,
        "batch": lambda: [array, array],
        "odd": lambda: draw(st.sampled_from(ODD)),
    }.get(kind, lambda: array)()  # fmt: skip


NUMBERS = st.one_of(
    st.none(), st.integers(-2, 12), st.floats(-2, 3), st.lists(st.floats(-1, 2), max_size=4), st.just("x")
)
PICTURE_OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "layout": st.sampled_from([None, "HWC", "CHW", "HW", "NCHW", "NHWC", "WHC", 3]),
        "value_range": st.sampled_from([None, (0, 1), (0, 255), (-1, 1), (1, 0), (0, float("nan")), 5, "01"]),
        "mean": NUMBERS,
        "std": NUMBERS,
        "size": st.sampled_from([None, 4, 12, (6, 9), 0, -3, "8", 2.5, True]),
        "bands": st.sampled_from([None, (0, 1, 2), (2,), (9, 9, 9), "rgb"]),
        "n_segments": st.sampled_from([2, 4, 60, 1, "many"]),
        "segments": st.sampled_from(
            ["slic", "grid", "felzenszwalb", "none", np.zeros((4, 4), int), lambda image: image]
        ),
        "baseline": st.sampled_from(["mean", "blur", "noise", "white", np.zeros((4, 4, 3), np.uint8), lambda image: 0]),
    },
)


OUTCOMES: Counter[str] = Counter()


def explained(model, image, options):
    """Sound explanations, or an error of ours with something to say."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = xw.attribute(model, image, **options)
    except xw.XaiError as error:
        refusal = error
    else:
        refusal = None
    if refusal is not None:
        assert len(str(refusal)) > 20
        assert isinstance(refusal, (ValueError, TypeError))
        OUTCOMES[type(refusal).__name__] += 1
        return
    for each in found if isinstance(found, list) else [found]:
        assert np.isfinite(each.values).all()
        assert each.values.shape == each.image.shape[:2] == each.segments.shape
        assert each.image.dtype == np.uint8
        assert np.isfinite(each.probabilities).all()
    OUTCOMES["explained"] += 1


@FUZZ
@given(images(), PICTURE_OPTIONS)
def test_any_picture_is_explained_or_refused_in_words(image, options):
    explained(MODEL, image, {**QUICK, **options})


class Says(torch.nn.Module):
    """Answers with what it was given, one a picture, whatever the picture."""

    def __init__(self, answer, wrap):
        super().__init__()
        self.answer, self.wrap = answer, wrap

    def forward(self, x):
        return self.wrap(self.answer, x)


def per_picture(answer, x):
    """The same answer for each picture of the batch, moved a little by the picture."""
    tensor = torch.from_numpy(answer.astype(answer.dtype.newbyteorder("=")))
    rows = tensor[None].expand(len(x), *tensor.shape)
    return rows + x.mean() if tensor.is_floating_point() else rows


WRAPS = {
    "rows": per_picture,
    "fixed": lambda answer, x: torch.from_numpy(answer.astype(answer.dtype.newbyteorder("="))),
    "array": lambda answer, x: np.broadcast_to(answer, (len(x), *answer.shape)),
    "list": lambda answer, x: [answer.tolist()] * len(x),
    "raw": lambda answer, x: answer.tolist(),
    "dict": lambda answer, x: {"logits": per_picture(answer, x), "other": x},
    "two": lambda answer, x: (per_picture(answer, x), x),
    "softmax": lambda answer, x: per_picture(answer, x).flatten(1).float().softmax(1),
    "sigmoid": lambda answer, x: per_picture(answer, x).flatten(1).float().sigmoid(),
    "text": lambda answer, x: str(answer),
    "raises": lambda answer, x: answer["nothing"],
}
MODEL_OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "output": st.sampled_from([None, 0, 1, 7, "logits", "nothing", lambda y: y, lambda y: y["x"], 2.5]),
        "activation": st.sampled_from([None, "softmax", "sigmoid", "none", "tanh", 3]),
        "target": st.sampled_from(
            [None, 0, 1, 99, -1, "cat", (0, 1), (1, 1), (1, 2, 3), lambda row: row[0], lambda row: row, 1.5]
        ),
        "class_names": st.sampled_from([None, ["cat", "dog"], ["cat"], "cat", {0: "cat", 1: "dog"}, 7]),
        "space": st.sampled_from([None, "logit", "probability", "odds"]),
        "seed": st.sampled_from([0, 5, -1, "a"]),
        "batch_size": st.sampled_from(["auto", 1, 3, 0, "big"]),
        "device": st.sampled_from([None, "cpu", "tpu"]),
        "method": st.sampled_from(["auto", "occlusion", "saliency", "gradcam", "lime", "kernel_shap", "magic", 3]),
    },
)
PICTURE = np.random.default_rng(0).integers(0, 256, (12, 10, 3), dtype=np.uint8)


@FUZZ
@given(
    hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4).flatmap(values),
    st.sampled_from(sorted(WRAPS)),
    MODEL_OPTIONS,
)
def test_any_answer_is_explained_or_refused_in_words(answer, wrap, options):
    method = options.get("method", "occlusion")
    own = {"occlusion": {"window": 6, "stride": 6}, "lime": {"n_samples": 12}, "kernel_shap": {"n_samples": 12}}
    explained(Says(answer, WRAPS[wrap]), PICTURE, {"method": method, "n_segments": 4, **own.get(method, {}), **options})


def test_the_fuzz_reaches_beyond_the_door():
    """Run after the two above: enough of their examples must be explained, else they only test refusals."""
    if sum(OUTCOMES.values()) < 2000:
        pytest.skip("only a part of the fuzz has run")
    assert OUTCOMES["explained"] > 300, OUTCOMES
    assert {"InputError", "ModelError", "ArgumentError", "TargetError", "MethodError"} <= set(OUTCOMES)
