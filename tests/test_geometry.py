"""Maps land where the model looked: on the very pixels of the picture, through every resize, crop, pad and turn."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from models import cnn, photo
from PIL import Image, ImageOps
from torch import nn

import xai_widgets as xw
from xai_widgets.images import read
from xai_widgets.views import Preprocess, view

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SHAPES = {"square": (180, 180), "portrait": (210, 150), "landscape": (150, 210), "panorama": (301, 977)}


def preset(resize, crop):
    presets = pytest.importorskip("torchvision.transforms._presets")
    return presets.ImageClassification(crop_size=crop, resize_size=resize)


def preset_to_source(shape, resize, crop):
    """The closed form of torchvision's preset, from its own rounding."""
    height, width = shape
    short, long = min(shape), max(shape)
    scaled = {short: resize, long: int(resize * long / short)}
    rows, cols = scaled[height], scaled[width]
    left, top = (round((side - crop) / 2) for side in (cols, rows))
    a, e = width / cols, height / rows
    return (a, 0, (left + 0.5) * a - 0.5, 0, e, (top + 0.5) * e - 0.5)


def distance(found, expected, side):
    """The largest distance of two maps to the source over a view, in its pixels."""
    corners = np.array([[x, y, 1] for x in (0, side - 1) for y in (0, side - 1)])
    found, expected = np.reshape(found, (2, 3)), np.reshape(expected, (2, 3))
    steps = np.abs(expected[:, :2]).max(axis=1)
    return (np.abs(corners @ (found - expected).T) / np.maximum(steps, 1)).max()


@pytest.mark.parametrize("shape", [*SHAPES.values(), (480, 640), (1000, 1500), (40, 50), (256, 256), (1000, 256)])
@pytest.mark.parametrize(("resize", "crop"), [(256, 224), (232, 224), (72, 64)])
def test_probing_finds_torchvisions_geometry_to_a_tenth_of_a_pixel(shape, resize, crop):
    seen = view(read(photo(*shape)), preset(resize, crop))
    assert distance(seen.to_source, preset_to_source(shape, resize, crop), crop) < 0.1


@pytest.mark.parametrize("shape", [*SHAPES.values(), (40, 50), (33, 1000)])
@pytest.mark.parametrize("size", [64, 224, (72, 90), (150, 40), None])
def test_probing_finds_what_our_own_preprocessing_knows(shape, size):
    picture, ours = read(photo(*shape)), Preprocess(size, MEAN, STD)
    known, probed = view(picture, ours), view(picture, lambda image: ours(image))
    assert np.array_equal(known.inputs, probed.inputs)
    assert np.array_equal(known.image, probed.image)
    assert np.allclose(known.offset, probed.offset, atol=1e-5)
    assert np.allclose(known.scale, probed.scale, atol=1e-5)
    assert distance(probed.to_source, known.to_source, min(known.shape)) < 0.1


@pytest.mark.parametrize("channels", [1, 3])
def test_our_own_preprocessing_is_not_probed(channels):
    calls = []

    class Counted(Preprocess):
        def levels(self, picture):
            calls.append(picture.size)
            return super().levels(picture)

    seen = view(read(photo()), Counted(32, channels=channels))
    assert len(calls) == 1
    assert seen.inputs.shape == (channels, 32, 32)


@pytest.mark.parametrize(
    ("shape", "size", "expected"),
    [
        # A pixel of the view covers s pixels of the picture, and the centre of pixel x lies at x + ½.
        ((100, 100), 50, (2, 0, Fraction(1, 2), 0, 2, Fraction(1, 2))),
        ((100, 300), 50, (2, 0, 100 + Fraction(1, 2), 0, 2, Fraction(1, 2))),
        ((100, 101), 50, (2, 0, 1, 0, 2, Fraction(1, 2))),
        ((30, 40), (60, 20), (2, 0, Fraction(1, 2), 0, Fraction(1, 2), -Fraction(1, 4))),
        ((30, 40), None, (1, 0, 0, 0, 1, 0)),
    ],
)
def test_the_closed_form_is_that_of_pixel_centres(shape, size, expected):
    assert Preprocess(size).to_source(shape[::-1]) == pytest.approx([float(v) for v in expected])


# ---- an impulse, from the picture through the model and back -------------------------------------------------------


class Bright(nn.Module):
    """Two classes: how bright the picture is, by its brightest pixel or by all together, or not."""

    def __init__(self, fold):
        super().__init__()
        self.conv = nn.Conv2d(3, 1, 1, bias=False)
        nn.init.ones_(self.conv.weight)
        self.fold = fold

    def forward(self, x):
        brightness = self.fold(self.conv(x).flatten(1), dim=1)
        return torch.stack([brightness, -brightness], 1)


def impulse(shape):
    """A black picture with one white pixel, off the middle, and where that is: (row, column)."""
    place = (shape[0] // 2 + 17, shape[1] // 2 - 23)
    image = np.zeros((*shape, 3), np.uint8)
    image[place] = 255
    return image, place


def miss(explanation, place):
    """How far the peak of the map is from the place, in pixels of the model, or of the picture if those are larger."""
    laid = explanation.on_source()
    assert laid.dtype == np.float32
    a, b, _, d, e, _ = explanation.params["input"]["to_source"]
    peak = np.argwhere(laid == np.nanmax(laid)).mean(axis=0)
    return np.abs(peak - place).max() / max(1.0, abs(a) + abs(b), abs(d) + abs(e))


def crop(image):
    return Preprocess()(image.resize((90, 84)).crop((10, 12, 74, 76)))


def letterbox(image):
    return Preprocess(mean=MEAN, std=STD)(ImageOps.pad(image, (72, 72), color=(0, 0, 0)))


def mirrored(image):
    return Preprocess(64)(ImageOps.mirror(image))


def turned(image):
    return Preprocess((72, 60))(image.transpose(Image.Transpose.ROTATE_90))


PREPARED = {
    "as it is": Preprocess(),
    "square": Preprocess(64),
    "stretched": Preprocess((50, 90)),
    "enlarged": Preprocess(400),
    "cropped": crop,
    "letterboxed": letterbox,
    "mirrored": mirrored,
    "turned": turned,
    "torchvision": "preset",
}


STORED = {1: lambda p: p, 5: lambda p: p.swapaxes(0, 1), 6: np.rot90, 8: lambda p: np.rot90(p, 3)}


@pytest.mark.parametrize("prepared", PREPARED)
@pytest.mark.parametrize("tag", STORED)
@pytest.mark.parametrize("shape", list(SHAPES.values())[:3], ids=list(SHAPES)[:3])
def test_an_impulse_comes_back_to_the_pixel_where_it_was_planted(prepared, tag, shape, tmp_path):
    image, place = impulse(shape)
    exif = Image.Exif()
    exif[0x0112] = tag
    Image.fromarray(np.ascontiguousarray(STORED[tag](image))).save(tmp_path / "a.png", exif=exif)
    preprocess = preset(72, 64) if prepared == "torchvision" else PREPARED[prepared]
    explanation = xw.attribute(
        Bright(torch.amax), tmp_path / "a.png", method="saliency", target=0, preprocess=preprocess, segments="grid"
    )
    assert explanation.on_source().shape == shape
    assert miss(explanation, place) <= 1


@pytest.mark.parametrize("prepared", ["square", "letterboxed", "torchvision"])
@pytest.mark.parametrize("shape", list(SHAPES.values())[:3], ids=list(SHAPES)[:3])
def test_occlusion_finds_the_impulse_too(prepared, shape):
    image, place = impulse(shape)
    preprocess = {
        "square": Preprocess(32),
        "letterboxed": lambda image: Preprocess()(ImageOps.pad(image, (32, 32), color=(0, 0, 0))),
        "torchvision": preset(36, 32),
    }[prepared]
    explanation = xw.attribute(
        Bright(torch.sum), image, method="occlusion", target=0, preprocess=preprocess, space="logit", segments="grid",
        baseline="black", window=1, stride=1, batch_size=256,
    )  # fmt: skip
    assert miss(explanation, place) <= 1


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("prepared", PREPARED)
def test_the_map_covers_what_the_model_looked_at_and_is_nan_elsewhere(prepared, shape):
    preprocess = preset(72, 64) if prepared == "torchvision" else PREPARED[prepared]
    explanation = xw.attribute(cnn(), photo(*shape), method="saliency", preprocess=preprocess, segments="grid")
    laid = explanation.on_source()
    height, width = explanation.values.shape
    a, b, c, d, e, f = explanation.params["input"]["to_source"]
    rows, cols = np.indices(shape)
    row, col = np.linalg.solve([[e, d], [b, a]], np.stack([rows.ravel() - f, cols.ravel() - c])).reshape(2, *shape)
    margin = 0.01
    looked = (row > margin - 0.5) & (row < height - 0.5 - margin) & (col > margin - 0.5) & (col < width - 0.5 - margin)
    beyond = (
        (row < -0.5 - margin) | (row > height - 0.5 + margin) | (col < -0.5 - margin) | (col > width - 0.5 + margin)
    )
    assert np.isfinite(laid[looked]).all()
    assert np.isnan(laid[beyond]).all()
    if prepared in ("as it is", "stretched", "enlarged", "letterboxed", "turned"):
        assert looked.mean() > (0.95 if prepared != "enlarged" else 0.25)


def test_between_the_centres_the_map_is_bilinear():
    explanation = xw.attribute(cnn(), photo(60, 90), method="saliency", size=(20, 30))
    values, laid = explanation.values, explanation.on_source()
    assert np.allclose(laid[1::3, 1::3], values, atol=1e-7)  # every third pixel is a centre
    assert np.allclose(laid[1, 2], values[0, 0] * 2 / 3 + values[0, 1] / 3, atol=1e-6)
    assert laid[0, 0] == values[0, 0]
    same = xw.attribute(cnn(), photo(60, 90), method="saliency")
    assert np.array_equal(same.on_source(), same.values)


def test_a_saved_explanation_can_be_laid_on_the_source_too(tmp_path):
    explanation = xw.attribute(cnn(), photo(60, 90), method="saliency", size=32)
    loaded = xw.Explanation.load(explanation.save(tmp_path / "a.xai"))
    assert np.array_equal(loaded.on_source(), explanation.on_source(), equal_nan=True)


def test_where_the_way_back_is_unknown_it_is_said():
    rows = np.round(47 * (np.arange(48) / 47) ** 2).astype(int)
    warped = xw.attribute(
        cnn(), photo(), method="saliency", preprocess=lambda image: Preprocess((48, 64))(image)[:, rows]
    )
    for explanation in (warped, replace(warped, params={})):
        with pytest.raises(xw.XaiError, match=r"cannot be laid on the original.*\.values"):
            explanation.on_source()


def test_a_way_is_measured_once_for_a_size_and_again_when_the_preprocessing_has_changed():
    class Scaled:
        size, calls = 24, 0

        def __call__(self, image):
            self.calls += 1
            return np.moveaxis(np.asarray(image.resize((24, 24)), np.float32), -1, 0) / self.size

    way = Scaled()
    first = view(read(photo(48, 48)), way)
    asked, way.calls = way.calls, 0
    again = view(read(photo(48, 48, seed=3)), way)
    assert way.calls == 3 < asked  # the picture twice, and a test picture to see whether it still does the same
    assert again.to_source == first.to_source
    assert np.array_equal(again.scale, first.scale)
    way.size = 12
    assert view(read(photo(48, 48)), way).scale == pytest.approx(2 * first.scale)
    way.calls = 0
    view(read(photo(40, 48)), way)
    assert way.calls > 2
