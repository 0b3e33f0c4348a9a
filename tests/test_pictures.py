"""One row for every kind of picture that people hand in: what becomes of it, or what they are told."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from models import cnn, photo
from PIL import Image, ImageCms, ImageOps

import xai_widgets as xw
from xai_widgets.images import read, split
from xai_widgets.session import Session
from xai_widgets.views import Preprocess, view

PIXELS = photo()
GREY = np.repeat(PIXELS[..., :1], 3, axis=-1)
PLANE = PIXELS[..., 0]
CHW = np.moveaxis(PIXELS, -1, 0)
TENSOR = torch.from_numpy(PIXELS.copy()).permute(2, 0, 1)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
RGBA = np.dstack([PIXELS, np.full(PLANE.shape, 255, np.uint8)])
RGBA[:, :20, 3] = 0
RGBA[:, 20:40, 3] = 128
ON_WHITE = np.rint(PIXELS * (RGBA[..., 3:] / 255) + 255 * (1 - RGBA[..., 3:] / 255)).astype(np.uint8)
RNG = np.random.default_rng(0)
BANDS = RNG.integers(0, 256, (6, 48, 64), dtype=np.uint8)
FINE = (PIXELS / 255 + 0.001) * 0.99  # between the levels


def pil(pixels=PIXELS, mode=None):
    image = Image.fromarray(pixels)
    return image if mode is None else image.convert(mode)


def file(folder, name="a.png", image=None, **options):
    (image or pil()).save(folder / name, **options)
    return folder / name


def palette(transparent):
    image = Image.fromarray((np.indices(PLANE.shape).sum(0) % 2).astype(np.uint8), "P")
    image.putpalette([200, 10, 20, 30, 40, 250])
    if transparent:
        image.info["transparency"] = 0
    return image


CHECKS = np.where(np.indices(PLANE.shape).sum(0)[..., None] % 2, [30, 40, 250], [200, 10, 20]).astype(np.uint8)
CHECKS_ON_WHITE = np.where(CHECKS == [200, 10, 20], 255, CHECKS).astype(np.uint8)


def lab():
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    return ImageCms.applyTransform(pil(), ImageCms.buildTransform(*profiles, "RGB", "LAB"))


def frames(folder, name):
    path = folder / name
    pil(mode="P").save(path, save_all=True, append_images=[pil(PIXELS[::-1].copy(), "P"), pil(mode="P")])
    return path


def premultiplied(mode):
    return pil(RGBA).convert("RGBa") if mode == "RGBa" else pil(RGBA).convert("LA").convert("La")


def sixteen(order="="):
    return (PLANE.astype(np.uint16) * 257).astype(np.dtype(np.uint16).newbyteorder(order))


def inference():
    with torch.inference_mode():
        return TENSOR / 255


def quantised():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.quantize_per_tensor(TENSOR.float(), 1.0, 0, torch.quint8)


def masked(some):
    mask = np.zeros(PIXELS.shape, bool)
    mask[4, 5] = some
    return np.ma.array(PIXELS, mask=mask)


# name: (picture, options, expected pixels, how many levels off, a word of the notes)
GOOD = {
    # paths
    "path": (lambda f: str(file(f)), {}, PIXELS, 0, ""),
    "Path": (lambda f: file(f), {}, PIXELS, 0, ""),
    "numpy string": (lambda f: np.str_(file(f)), {}, PIXELS, 0, ""),
    "path in bytes-free unicode": (lambda f: file(f, "ä ø.png"), {}, PIXELS, 0, ""),
    "jpeg": (lambda f: file(f, "a.jpg", quality=95), {}, PIXELS, 40, ""),
    # modes of Pillow
    "PIL 1": (lambda f: pil(PLANE, "1"), {}, None, 0, "1 converted"),
    "PIL L": (lambda f: pil(PLANE), {}, GREY, 0, ""),
    "PIL LA": (lambda f: pil(RGBA, "LA"), {}, None, 0, "transparency"),
    "PIL La": (lambda f: premultiplied("La"), {}, None, 0, "transparency"),
    "PIL P": (lambda f: palette(False), {}, CHECKS, 0, "P converted"),
    "PIL P, transparent": (lambda f: palette(True), {}, CHECKS_ON_WHITE, 0, "transparency"),
    "PIL PA": (lambda f: palette(False).convert("PA"), {}, CHECKS, 0, "transparency"),
    "PIL RGB": (lambda f: pil(), {}, PIXELS, 0, ""),
    "PIL RGBA": (lambda f: pil(RGBA), {}, ON_WHITE, 1, "transparency laid on white"),
    "PIL RGBa": (lambda f: premultiplied("RGBa"), {}, ON_WHITE, 2, "transparency"),
    "PIL RGBX": (lambda f: pil(mode="RGBX"), {}, PIXELS, 0, "RGBX converted"),
    "PIL CMYK": (lambda f: pil(mode="CMYK"), {}, PIXELS, 1, "CMYK converted"),
    "PIL YCbCr": (lambda f: pil(mode="YCbCr"), {}, PIXELS, 3, "YCbCr converted"),
    "PIL LAB": (lambda f: lab(), {}, PIXELS, 15, "LAB converted"),
    "PIL HSV": (lambda f: pil(mode="HSV"), {}, PIXELS, 6, "HSV converted"),
    "PIL I": (lambda f: pil(PLANE.astype(np.int32)), {}, GREY, 0, "0–255"),
    "PIL I;16": (lambda f: pil(sixteen()), {}, GREY, 0, "16 bits"),
    "PIL I;16B": (lambda f: Image.frombytes("I;16B", (64, 48), sixteen(">").tobytes()), {}, GREY, 0, "16 bits"),
    "PIL F": (lambda f: pil(PLANE.astype(np.float32) / 255), {}, GREY, 0, "0–1"),
    "transparent PNG without alpha": (
        lambda f: file(f, image=pil(CHECKS), transparency=(200, 10, 20)), {}, CHECKS_ON_WHITE, 0, "transparency"),
    # frames
    "GIF of three frames": (lambda f: frames(f, "a.gif"), {}, PIXELS, 80, "frame 1 of 3"),
    "TIFF of three frames": (lambda f: frames(f, "a.tif"), {}, PIXELS, 80, "frame 1 of 3"),
    # 16 bits
    "16-bit PNG": (lambda f: file(f, image=pil(sixteen())), {}, GREY, 0, "16 bits"),
    "16-bit TIFF, big-endian": (
        lambda f: file(f, "a.tif", Image.frombytes("I;16B", (64, 48), sixteen(">").tobytes())), {}, GREY, 0, "16 bits"),
    "uint16": (lambda f: PIXELS.astype(np.uint16) * 257, {}, PIXELS, 0, "16 bits"),
    "uint16, big-endian": (lambda f: (PIXELS.astype(np.uint16) * 257).astype(">u2"), {}, PIXELS, 0, "16 bits"),
    "uint16, 12 bits told": (
        lambda f: (PIXELS * 4095.0 / 255).round().astype(np.uint16), {"value_range": (0, 4095)}, PIXELS, 0, ""),
    # value ranges
    "float32 0–1": (lambda f: (PIXELS / 255).astype(np.float32), {}, PIXELS, 0, "float32 values taken as 0–1"),
    "float64 0–1": (lambda f: PIXELS / 255, {}, PIXELS, 0, "0–1"),
    "float16 0–1": (lambda f: (PIXELS / 255).astype(np.float16), {}, PIXELS, 0, "0–1"),
    "float32 0–255": (lambda f: PIXELS.astype(np.float32), {}, PIXELS, 0, "float32 values taken as 0–255"),
    "float −1 to 1 told": (lambda f: PIXELS / 127.5 - 1, {"value_range": (-1, 1)}, PIXELS, 0, ""),
    "int8": (lambda f: (PIXELS // 2).astype(np.int8), {}, PIXELS // 2, 0, "int8"),
    "int8 told": (lambda f: (PIXELS.astype(int) - 128).astype(np.int8), {"value_range": (-128, 127)}, PIXELS, 0, ""),
    "int16": (lambda f: PIXELS.astype(np.int16), {}, PIXELS, 0, "int16"),
    "int32": (lambda f: PIXELS.astype(np.int32), {}, PIXELS, 0, "int32"),
    "int64": (lambda f: PIXELS.astype(np.int64), {}, PIXELS, 0, "int64"),
    "int64, huge, told": (
        lambda f: PIXELS.astype(np.int64) * 2**54, {"value_range": (0, 255 * 2**54)}, PIXELS, 0, ""),
    "uint32": (lambda f: PIXELS.astype(np.uint32), {}, PIXELS, 0, "uint32"),
    "uint32, full range told": (
        lambda f: PIXELS.astype(np.uint32) * 2**24, {"value_range": (0, 255 * 2**24)}, PIXELS, 0, ""),
    "bool": (lambda f: PLANE > 100, {}, np.where(GREY > 100, 255, 0).astype(np.uint8), 0, "true and false"),
    "uint8 mask told": (
        lambda f: (PLANE > 100).astype(np.uint8), {"value_range": (0, 1)}, np.where(GREY > 100, 255, 0), 0, ""),
    "already normalised": (
        lambda f: (PIXELS / 255 - MEAN) / STD, {"mean": MEAN, "std": STD}, PIXELS, 0, "normalisation undone"),
    "already normalised tensor": (
        lambda f: ((TENSOR / 255 - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None])[None],
        {"mean": MEAN, "std": STD}, PIXELS, 0, "normalisation undone"),
    # layouts
    "HW": (lambda f: PLANE, {}, GREY, 0, ""),
    "HW1": (lambda f: PLANE[..., None], {}, GREY, 0, ""),
    "1HW": (lambda f: PLANE[None], {}, GREY, 0, ""),
    "11HW": (lambda f: PLANE[None, None], {}, GREY, 0, ""),
    "HWC": (lambda f: PIXELS, {}, PIXELS, 0, ""),
    "CHW": (lambda f: CHW, {}, PIXELS, 0, ""),
    "NCHW": (lambda f: CHW[None], {}, PIXELS, 0, ""),
    "NHWC": (lambda f: PIXELS[None], {}, PIXELS, 0, ""),
    "NHWC told": (lambda f: PIXELS[None], {"layout": "NHWC"}, PIXELS, 0, ""),
    "NCHW of a list, told CHW": (lambda f: CHW[None], {"layout": "CHW"}, PIXELS, 0, ""),
    "3×H×3 told": (lambda f: CHW[:, :, :3], {"layout": "CHW"}, PIXELS[:, :3], 0, ""),
    "3×H×4 for a model of three": (lambda f: CHW[:, :, :4], {"channels": 3}, PIXELS[:, :4], 0, ""),
    "RGBA": (lambda f: RGBA, {}, ON_WHITE, 0, "transparency laid on white"),
    "RGBA, CHW": (lambda f: np.moveaxis(RGBA, -1, 0), {"channels": 3}, ON_WHITE, 0, "transparency"),
    "RGBA of floats": (lambda f: RGBA / 255, {}, ON_WHITE, 0, "transparency"),
    "upside down": (lambda f: PIXELS[::-1], {}, PIXELS[::-1], 0, ""),
    "read-only": (lambda f: np.frombuffer(PIXELS.tobytes(), np.uint8).reshape(PIXELS.shape), {}, PIXELS, 0, ""),
    "nested lists": (lambda f: PIXELS.tolist(), {}, PIXELS, 0, "int64"),
    "masked array without a mask": (lambda f: masked(False), {}, PIXELS, 0, ""),
    # tensors
    "uint8 tensor": (lambda f: TENSOR, {}, PIXELS, 0, ""),
    "float tensor NCHW": (lambda f: TENSOR[None] / 255, {}, PIXELS, 0, "0–1"),
    "float64 tensor": (lambda f: TENSOR.double() / 255, {}, PIXELS, 0, "float64"),
    "float16 tensor": (lambda f: (TENSOR / 255).half(), {}, PIXELS, 0, "float16"),
    "bfloat16 tensor": (lambda f: (TENSOR / 255).bfloat16(), {}, PIXELS, 1, "0–1"),
    "bool tensor": (lambda f: TENSOR[0] > 100, {}, np.where(GREY > 100, 255, 0), 0, "true and false"),
    "tensor with gradient": (lambda f: (TENSOR / 255).requires_grad_(), {}, PIXELS, 0, "0–1"),
    "tensor made in inference mode": (lambda f: inference(), {}, PIXELS, 0, "0–1"),
    "channels-last tensor": (
        lambda f: TENSOR[None].contiguous(memory_format=torch.channels_last), {}, PIXELS, 0, ""),
    "sparse tensor": (lambda f: TENSOR.to_sparse(), {}, PIXELS, 0, ""),
    "quantised tensor": (lambda f: quantised(), {}, PIXELS, 0, "0–255"),
    # sizes
    "2×2": (lambda f: PIXELS[:2, :2], {}, PIXELS[:2, :2], 0, ""),
    "5×3": (lambda f: PIXELS[:5, :3], {"layout": "HWC"}, PIXELS[:5, :3], 0, ""),
    "one colour": (lambda f: np.full((20, 30, 3), 90, np.uint8), {}, np.full((20, 30, 3), 90), 0, ""),
}  # fmt: skip


@pytest.mark.parametrize("row", GOOD)
def test_a_picture_is_read_as_what_it_shows_and_the_notes_say_what_was_done(row, tmp_path):
    make, options, expected, off, word = GOOD[row]
    given = make(tmp_path)
    picture = read(given, **options)
    assert picture.pixels.dtype == np.uint8
    assert not picture.pixels.flags.writeable
    assert word in "; ".join(picture.notes)
    assert bool(word) == bool(picture.notes), picture.notes
    if expected is not None:
        assert picture.pixels.shape == expected.shape
        assert np.abs(picture.pixels.astype(int) - expected).max() <= off
    assert np.array_equal(read(given, **options).pixels, picture.pixels)  # reading changes nothing
    if isinstance(given, np.ndarray) and given.flags.owndata:
        assert given.flags.writeable


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_a_tensor_on_another_device_is_read(device):
    if not getattr(torch, "cuda" if device == "cuda" else "mps").is_available():
        pytest.skip(f"no {device} here")
    assert np.array_equal(read(TENSOR.to(device)).pixels, PIXELS)


TURNS = {
    2: lambda p: p[:, ::-1], 3: lambda p: p[::-1, ::-1], 4: lambda p: p[::-1], 5: lambda p: p.swapaxes(0, 1),
    6: lambda p: np.rot90(p, 3), 7: lambda p: np.rot90(p, 2).swapaxes(0, 1), 8: lambda p: np.rot90(p, 1),
}  # fmt: skip


@pytest.mark.parametrize("tag", [0, 1, 9, *TURNS])
@pytest.mark.parametrize("form", ["path", "PIL"])
def test_exif_turns_a_picture_upright(tag, form, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = tag
    path = file(tmp_path, exif=exif)
    given = path if form == "path" else Image.open(path)
    picture = read(given)
    assert np.array_equal(picture.pixels, TURNS.get(tag, lambda p: p)(PIXELS))
    assert ("upright" in " ".join(picture.notes)) == (tag in TURNS)
    if form == "PIL":
        assert given.size == (64, 48)  # the user's own stays as it is


# ---- what cannot be read -------------------------------------------------------------------------------------------


def damaged(folder, suffix="jpg"):
    path = file(folder, f"cut.{suffix}")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    return path


def text(folder):
    (folder / "a.txt").write_text("no picture")
    return folder / "a.txt"


def spoilt(value, count=1):
    wrong = PIXELS / 255
    wrong.reshape(-1, 3)[64 * 3 + 5 :][:count, 0] = value
    return wrong


class Stream:
    def read(self):
        return b""


# name: (picture, options, words of the message)
BAD = {
    "missing": (lambda f: f / "cat.jpg", {}, ["no file", "cat.jpg"]),
    "empty path": (lambda f: "", {}, ["no file ''"]),
    "folder": (lambda f: f, {}, ["is a folder", "glob"]),
    "text file": (text, {}, ["a.txt", "not a picture that Pillow can read"]),
    "truncated JPEG": (lambda f: damaged(f), {}, ["cut.jpg", "cannot be read"]),
    "truncated PNG": (lambda f: damaged(f, "png"), {}, ["cut.png", "cannot be read"]),
    "truncated JPEG opened": (lambda f: Image.open(damaged(f)), {}, ["RGB image cannot be read", "whole"]),
    "path with a null byte": (lambda f: "a\0.png", {}, ["cannot be read"]),
    "URL": (lambda f: "https://example.org/a.jpg", {}, ["https://example.org/a.jpg", "nothing is fetched", "image="]),
    "data URL": (lambda f: "data:image/png;base64,AAAA", {}, ["nothing is fetched"]),
    "bytes": (lambda f: file(f).read_bytes(), {}, ["bytes", "PIL.Image.open(io.BytesIO(data))"]),
    "open file": (lambda f: Stream(), {}, ["Stream", "PIL.Image.open(file)"]),
    "NaN": (lambda f: spoilt(np.nan), {}, ["1 values", "row 3, column 5", "nan_to_num"]),
    "infinite": (lambda f: spoilt(-np.inf, 7), {}, ["7 values", "row 3, column 5"]),
    "NaN, mean and std given": (lambda f: spoilt(np.nan) - 0.5, {"mean": MEAN, "std": STD}, ["1 values"]),
    "NaN in a tensor": (lambda f: torch.full((3, 8, 9), torch.nan), {}, ["216 values", "row 0, column 0"]),
    "empty": (lambda f: np.zeros((0, 0, 3)), {}, ["(0, 0, 3)", "empty"]),
    "no rows": (lambda f: torch.zeros(3, 0, 9), {}, ["(3, 0, 9)", "empty"]),
    "no picture in the batch": (lambda f: np.zeros((0, 3, 8, 8)), {}, ["(0, 3, 8, 8)", "empty"]),
    "1×1": (lambda f: np.zeros((1, 1, 3)), {"layout": "HWC"}, ["1×1", "nothing in it to explain"]),
    "1×N": (lambda f: np.zeros((1, 40)), {}, ["40×1"]),
    "PIL image without rows": (lambda f: Image.new("I", (4, 0)), {}, ["4×0"]),
    "a class": (lambda f: np.uint8, {}, ["type is no picture"]),
    "one axis": (lambda f: np.zeros(12), {}, ["(12,)", "two, three or four axes"]),
    "five axes": (lambda f: np.zeros((1, 1, 3, 8, 8)), {}, ["two, three or four axes"]),
    "complex": (lambda f: PIXELS.astype(complex), {}, ["complex128", "no picture"]),
    "complex tensor": (lambda f: TENSOR.to(torch.complex64), {}, ["complex64", "no picture"]),
    "strings": (lambda f: np.full((8, 8), "a"), {}, ["<U1", "no picture"]),
    "dates": (lambda f: np.zeros((8, 8), "datetime64[s]"), {}, ["datetime64", "no picture"]),
    "objects": (lambda f: np.full((8, 8), None), {}, ["object", "no picture"]),
    "ragged lists": (lambda f: [[1, 2], [3]], {}, ["list is no picture"]),
    "object": (lambda f: object(), {}, ["object is no picture"]),
    "number": (lambda f: 7, {}, ["int is no picture"]),
    "meta tensor": (lambda f: torch.empty(3, 8, 8, device="meta"), {}, ["Tensor is no picture", "meta"]),
    "masked": (lambda f: masked(True), {}, ["3 values", "masked", "image.filled(0)"]),
    "too bright": (lambda f: PIXELS * 10.0, {}, ["float64", "what is white", "value_range=(0, "]),
    "int32, wide": (lambda f: PIXELS.astype(np.int32) * 1000, {}, ["int32", "value_range=(0, "]),
    "PIL I, wide": (lambda f: pil(PLANE.astype(np.int32) * 1000), {}, ["int32", "value_range=(0, "]),
    "negative": (lambda f: PIXELS - 100.0, {}, ["normalised already", "mean=", "std=", "value_range"]),
    "negative, std missing": (lambda f: PIXELS / 255 - MEAN, {"mean": MEAN}, ["mean= and std="]),
    "normalised otherwise": (lambda f: PIXELS - 100.0, {"mean": MEAN, "std": STD}, ["outside 0 to 1", "Check mean"]),
    "mean of another length": (lambda f: PIXELS - 100.0, {"mean": (1, 2), "std": (1, 2)}, ["each of 3 channels"]),
    "range too small": (lambda f: PIXELS, {"value_range": (0, 100)}, ["value_range=(0, 100)", "Pass the true range"]),
    "range upside down": (lambda f: PIXELS, {"value_range": (1, 0)}, ["value_range=(1, 0)", "black < white"]),
    "range without end": (lambda f: PIXELS, {"value_range": (0, np.inf)}, ["value_range=(0, inf)"]),
    "range overflows": (lambda f: PIXELS / 255, {"value_range": (-1.7e308, 1.7e308)}, ["value_range="]),
    "overflowing floats": (lambda f: np.array([[0, 1e308], [1e300, 5]]), {}, ["1e+308", "value_range"]),
    "3×H×3": (lambda f: CHW[:, :, :3], {}, ['layout="CHW"', 'layout="HWC"']),
    "3×H×3 for a model of three": (lambda f: CHW[:, :, :3], {"channels": 3}, ['layout="CHW"', 'layout="HWC"']),
    "N×3×H×3": (lambda f: CHW[None, :, :, :3], {}, ['layout="NCHW"', 'layout="NHWC"']),
    "unknown layout": (lambda f: PIXELS, {"layout": "WHC"}, ["layout='WHC'", "NHWC"]),
    "layout of other length": (lambda f: PIXELS, {"layout": "NCHW"}, ["layout='NCHW'", "(48, 64, 3)"]),
    "six channels, model unknown": (lambda f: BANDS, {}, ["(6, 48, 64)", 'layout="CHW"']),
    "six channels for a model of three": (lambda f: BANDS, {"channels": 3}, ["(6, 48, 64)", "takes 3"]),
    "six channels for a model of five": (
        lambda f: BANDS, {"channels": 5, "layout": "CHW"}, ["6 channels", "takes 5"]),
    "batch of three": (lambda f: np.zeros((3, 3, 8, 9)), {}, ["batch of 3", "image=batch[0]"]),
    "batch of three, channels last": (lambda f: np.zeros((3, 8, 9, 3)), {}, ["batch of 3", "image=batch[0]"]),
    "16-bit bands": (
        lambda f: BANDS.astype(np.uint16) * 40, {"channels": 6}, ["what is white", "value_range=(0, 10000)"]),
    "bands of a photo": (lambda f: PIXELS, {"bands": (2, 1, 0)}, ["bands=(2, 1, 0)", "3 channels"]),
    "a band too far": (lambda f: BANDS, {"channels": 6, "bands": (6, 1, 0)}, ["0 to 5", "bands=(2, 1, 0)"]),
    "two bands": (lambda f: BANDS, {"channels": 6, "bands": (0, 1)}, ["one or three"]),
    "bands by name": (lambda f: BANDS, {"channels": 6, "bands": "RGB"}, ["bands='RGB'"]),
    "bands no sequence": (lambda f: BANDS, {"channels": 6, "bands": 3}, ["bands=3"]),
}  # fmt: skip


@pytest.mark.parametrize("row", BAD)
def test_what_cannot_be_read_is_refused_with_what_was_seen_and_what_to_type(row, tmp_path):
    make, options, words = BAD[row]
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        with pytest.raises(xw.InputError) as caught:
            read(make(tmp_path), **options)
    assert all(word in str(caught.value) for word in words), str(caught.value)


# ---- which values are black and white ------------------------------------------------------------------------------

BRIGHT = 160 + PIXELS // 3  # brighter than the mean everywhere
NORMALISED = (BRIGHT / 255 - MEAN) / STD
DARK = np.full_like(PIXELS, 1)
DARK[::2] = 0
OVERSHOT = (PIXELS / 255.0 - PIXELS.min() / 255) * 1.06 / (np.ptp(PIXELS) / 255) - 0.03  # −0.03 to 1.03
GIVEN = {"mean": MEAN, "std": STD}


def test_a_bright_picture_that_is_normalised_is_restored_though_nothing_in_it_is_negative():
    assert NORMALISED.min() > 0
    assert NORMALISED.max() > 1
    picture = read(NORMALISED.astype(np.float32), **GIVEN)
    assert np.array_equal(picture.pixels, BRIGHT)
    assert picture.notes == ("normalisation undone with the given mean and std",)


@pytest.mark.parametrize(
    ("given", "expected"), [(PIXELS / 255, PIXELS), (PIXELS.astype(np.float32), PIXELS), (DARK * 9.0, DARK * 9)]
)
def test_mean_and_std_are_for_the_model_where_the_picture_is_not_normalised(given, expected):
    assert np.array_equal(read(given, **GIVEN).pixels, expected)


@pytest.mark.parametrize(
    "options", [{}, {"value_range": (0, 1)}, {"value_range": (0, 1), **GIVEN}, {"mean": 0, "std": 1}]
)
def test_what_overshoots_white_a_little_is_clipped_and_said(options):
    picture = read(OVERSHOT, **options)
    assert "values from -0.03 to 1.03 clipped to 0–1" in picture.notes
    assert np.allclose(picture.data, np.moveaxis(OVERSHOT.clip(0, 1), -1, 0), atol=1e-6)
    assert picture.pixels.max() == 255
    # A slip of rounding is not worth a word.
    assert len(read(PIXELS / 255 * (1 + 1e-7) - 1e-8).notes) == 1


def test_bands_overshoot_unclipped():
    given = BANDS / 255 * 1.05
    assert np.allclose(read(given, channels=6).data, given, atol=1e-6)


@pytest.mark.parametrize(
    ("given", "options", "words"),
    [
        (OVERSHOT, GIVEN, ["-0.03 to 1.03", "normalised with mean=", "value_range=(0, 1)"]),
        (OVERSHOT * 0.4, {"mean": 0.5, "std": 1}, ["-0.012 to 0.412", "value_range=(0, 1)"]),
        (OVERSHOT.clip(0), GIVEN, ["0 to 1.03", "value_range=(0, 1)"]),
        (NORMALISED, {}, ["float64", "value_range=(0, 255)", "image.clip(0, 1)", "mean= and std="]),
        (DARK * 4.0, {}, ["from 0 to 4", "value_range=(0, 255)", "value_range=(0, 4)"]),
        (DARK * 7.5, GIVEN, ["from 0 to 7.5", "value_range=(0, 255)"]),
        (PIXELS / 255, {"value_range": (0, 0.5)}, ["do not fit", "Pass the true range"]),
        (BANDS / 255 * 4, {"channels": 6}, ["from 0 to 4", "value_range="]),
    ],
)
def test_floats_that_can_be_taken_in_two_ways_are_asked_about(given, options, words):
    with pytest.raises(xw.InputError) as caught:
        read(given, **options)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def first(pixels):
    return np.moveaxis(pixels, -1, 1)


# name: (batch, options, the pictures)
ALIKE = {
    "NHWC": (lambda: np.stack([DARK, PIXELS]).astype(np.float32), {}, [DARK, PIXELS]),
    "NCHW": (lambda: first(np.stack([DARK, PIXELS]).astype(np.float64)), {}, [DARK, PIXELS]),
    "tensor": (lambda: torch.from_numpy(first(np.stack([PIXELS, DARK]))).float(), {}, [PIXELS, DARK]),
    "fractions in one array": (lambda: np.stack([DARK / 2.0, PIXELS]), {}, [DARK / 2, PIXELS]),
    "list": (lambda: [PIXELS.astype(np.float32), DARK.astype(np.float64)], {}, [PIXELS, DARK]),
    "list of tensors": (lambda: [torch.zeros(3, 9, 8), TENSOR.float()], {}, [np.zeros((9, 8, 3)), PIXELS]),
    "list with another kind": (lambda: [PIXELS / 255, PIXELS, pil()], {}, [PIXELS] * 3),
    "0–1, one overshoots": (lambda: np.stack([OVERSHOT, PIXELS / 255]), {}, [OVERSHOT.clip(0, 1) * 255, PIXELS]),
    "normalised, one within 0–1": (
        lambda: np.stack([(PIXELS / 255 - MEAN) / STD, np.full(PIXELS.shape, 0.5)]), GIVEN,
        [PIXELS, np.full(PIXELS.shape, (0.5 * np.array(STD) + MEAN) * 255)]),
    "normalised, all bright": (lambda: [NORMALISED, NORMALISED[::-1] * 0.99], GIVEN, [BRIGHT, None]),
    "told": (lambda: np.stack([DARK, PIXELS]).astype(float), {"value_range": (0, 255)}, [DARK, PIXELS]),
    "NaN in another": (lambda: [PIXELS / 255, spoilt(np.nan)], {}, [PIXELS, None]),
}  # fmt: skip


@pytest.mark.parametrize("row", ALIKE)
def test_the_pictures_of_a_batch_are_read_with_one_range(row):
    make, options, expected = ALIKE[row]
    for part, pixels in zip(split(make()), expected, strict=True):
        if pixels is not None:
            assert np.array_equal(read(part, **options).pixels, np.rint(pixels))


def test_a_picture_of_another_range_in_a_list_is_refused_not_blackened():
    bright, other = split([PIXELS.astype(np.float64), PIXELS / 255])
    assert np.array_equal(read(bright).pixels, PIXELS)
    with pytest.raises(xw.InputError, match=r"one range.*value_range=\(0, 255\)"):
        read(other)


def test_a_batch_that_is_unclear_says_so_of_the_batch():
    parts = split(np.stack([PIXELS / 255, PIXELS / 100]))
    with pytest.raises(xw.InputError, match="batch of 2 pictures holds float64 values"):
        read(parts[0])


def test_a_dark_picture_of_a_batch_stays_dark_for_the_model():
    found = xw.attribute(cnn(), np.stack([PIXELS, DARK]).astype(np.float32), method="gradcam")
    assert np.array_equal(found[1].image, DARK)


# ---- more than eight bits ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "options", "expected"),
    [
        (FINE.astype(np.float32), {}, FINE),
        (FINE * 200, {}, FINE * 200 / 255),
        ((FINE - MEAN) / STD, {"mean": MEAN, "std": STD}, FINE),
        (torch.from_numpy(FINE).permute(2, 0, 1)[None], {}, FINE),
        ((FINE * 65535).astype(np.uint16), {}, np.floor(FINE * 65535) / 65535),
        (FINE[..., 0], {}, FINE[..., :1]),
        (FINE * 2 - 1, {"value_range": (-1, 1)}, FINE),
    ],
)
def test_what_eight_bits_cannot_hold_reaches_the_model_unrounded(given, options, expected):
    picture = read(given, **options)
    assert picture.data.dtype == np.float32
    assert np.allclose(picture.data, np.moveaxis(expected, -1, 0), atol=1e-6, rtol=0)
    seen = view(picture, Preprocess(mean=MEAN, std=STD))
    wanted = np.moveaxis((expected - MEAN) / np.array(STD), -1, 0)
    assert np.allclose(seen.inputs, wanted, atol=1e-5, rtol=0)
    assert np.abs(seen.encode(seen.image) - wanted).max() < 0.51 / 255 / min(STD)
    # Resizing keeps the precision too.
    small = view(picture, Preprocess(24)).inputs
    assert np.abs(small * 255 - np.rint(small * 255)).max() > 0.4


def test_eight_bits_in_disguise_are_eight_bits():
    for given in (PIXELS / 255, PIXELS.astype(np.float32), PIXELS.astype(np.uint16) * 257, TENSOR / 255):
        assert read(given).data is None


def test_a_model_of_one_channel_gets_grey():
    grey = Preprocess(channels=1)
    assert np.allclose(view(read(FINE), grey).inputs[0], FINE @ (0.299, 0.587, 0.114), atol=1e-6)
    assert np.array_equal(view(read(PIXELS), grey).inputs, np.asarray(pil(mode="L"))[None] / np.float32(255))
    assert np.array_equal(view(read(PLANE), grey).inputs, PLANE[None] / np.float32(255))


# ---- more than four channels ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "options", "expected"),
    [
        (BANDS, {}, BANDS / 255),
        (np.moveaxis(BANDS, 0, -1), {}, BANDS / 255),
        (BANDS[None], {}, BANDS / 255),
        (np.moveaxis(BANDS, 0, -1)[None], {}, BANDS / 255),
        (torch.from_numpy(BANDS) / 255, {}, BANDS / 255),
        (BANDS.astype(np.uint16) * 40, {"value_range": (0, 10000)}, BANDS / 250),
        ((BANDS / 255 - 0.4) / 0.2, {"mean": [0.4] * 6, "std": [0.2] * 6}, BANDS / 255),
    ],
)
def test_every_band_of_a_multi_band_picture_is_kept(given, options, expected):
    picture = read(given, channels=6, bands=(4, 2, 0), **options)
    assert picture.bands == (4, 2, 0)
    assert np.allclose(picture.data, expected, atol=1e-6)
    assert np.array_equal(picture.pixels, np.rint(np.clip(np.moveaxis(expected[[4, 2, 0]], 0, -1), 0, 1) * 255))
    assert "6 bands, of which 4, 2, 0 are shown" in picture.notes
    seen = view(picture, Preprocess(channels=6, mean=(0.5,) * 6, std=(0.25,) * 6))
    assert np.allclose(seen.inputs, (expected - 0.5) / 0.25, atol=1e-5)
    assert np.array_equal(seen.image, picture.pixels)
    assert seen.planes.shape == (48, 64, 6)
    assert np.abs(seen.encode(seen.planes) - np.clip(seen.inputs, -2, 2)).max() < 0.51 / 255 / 0.25
    assert seen.to_source == (1, 0, 0, 0, 1, 0)


@pytest.mark.parametrize(("count", "shown"), [(2, (0,)), (4, (0, 1, 2)), (13, (0, 1, 2))])
def test_a_model_of_two_or_four_channels_takes_bands_too(count, shown):
    given = RNG.integers(0, 256, (count, 20, 30), dtype=np.uint8)
    picture = read(given, channels=count)
    assert picture.bands == shown
    assert np.array_equal(picture.data, given / np.float32(255))
    assert np.array_equal(picture.pixels[..., -1], given[shown[-1]])


def test_the_alpha_of_a_photo_is_a_band_for_a_model_of_four_channels():
    picture = read(pil(RGBA), channels=4)
    assert np.array_equal(np.rint(picture.data[3] * 255), RGBA[..., 3])


def test_bands_that_differ_make_another_picture():
    other = BANDS.copy()
    other[5] = 0
    one, two = read(BANDS, channels=6), read(other, channels=6)
    assert np.array_equal(one.pixels, two.pixels)
    assert one.digest != two.digest


def test_a_function_gets_all_bands_and_the_colours_are_called_stretched():
    picture = read(BANDS, channels=6)
    seen = view(picture, lambda hwc: np.moveaxis(hwc, -1, 0)[:, ::2, ::2] * 3 - 1)
    assert seen.planes.shape == (24, 32, 6)
    assert seen.image.shape == (24, 32, 3)
    assert seen.to_source is None
    assert "stretched" in seen.warnings[0]
    assert np.allclose(seen.encode(seen.planes), seen.inputs, atol=3 / 255)
    three = view(picture, lambda hwc: np.moveaxis(hwc, -1, 0)[:3])
    assert three.planes is three.image


def test_a_photo_for_a_model_of_six_channels_is_refused():
    with pytest.raises(xw.InputError, match="has 3 channels, the model takes 6"):
        view(read(PIXELS), Preprocess(channels=6))


@pytest.mark.parametrize("baseline", ["mean", "blur", "grey", "black", "noise", "callable", "array"])
def test_baselines_have_all_bands(baseline):
    from xai_widgets.baselines import baseline_picture
    from xai_widgets.segments import segment

    seen = view(read(BANDS, channels=6), Preprocess(channels=6))
    labels, _ = segment(seen)
    given = {"callable": lambda planes: planes // 2, "array": BANDS[:, ::-1]}.get(baseline, baseline)
    off = baseline_picture(seen, labels, given)
    assert off.shape == (48, 64, 6)
    assert off.dtype == np.uint8
    assert seen.show(off).shape == (48, 64, 3)
    if baseline == "array":
        assert np.array_equal(off, np.moveaxis(BANDS[:, ::-1], 0, -1))
    with pytest.raises(xw.InputError, match=r"\(48, 64, 3\).*\(48, 64, 6\).*all 6 bands"):
        baseline_picture(seen, labels, PIXELS)


@pytest.mark.parametrize("method", ["gradcam", "occlusion", "saliency", "lime"])
def test_a_multi_band_picture_is_explained(method):
    options = {"n_samples": 60} if method == "lime" else {}
    explanation = xw.attribute(cnn(channels=6), BANDS, method=method, bands=(3, 2, 1), **options)
    assert explanation.values.shape == (48, 64)
    assert np.array_equal(explanation.image, np.moveaxis(BANDS[[3, 2, 1]], 0, -1))
    assert explanation.off_image.shape == (48, 64, 3)
    assert np.isfinite(explanation.values).all()


# ---- batches -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "options", "count"),
    [
        (lambda f: np.stack([CHW, CHW[:, ::-1]]), {}, 2),
        (lambda f: np.stack([PIXELS, PIXELS[::-1]]), {}, 2),
        (lambda f: torch.stack([TENSOR, TENSOR.flip(1)]), {}, 2),
        (lambda f: np.stack([PIXELS, PIXELS[::-1]]), {"layout": "NHWC"}, 2),
        (lambda f: [PIXELS, PIXELS[::-1]], {}, 2),
        (lambda f: (TENSOR, TENSOR.flip(1)), {}, 2),
        (lambda f: [file(f), pil(PIXELS[::-1].copy())], {}, 2),
        (lambda f: [str(file(f))], {}, 1),
        (lambda f: [TENSOR[None] / 255, TENSOR.flip(1)[None] / 255], {}, 2),
    ],
)
def test_a_batch_is_taken_apart(given, options, count, tmp_path):
    parts = split(given(tmp_path), **options)
    layout = options.get("layout", "").removeprefix("N") or None
    assert len(parts) == count
    assert np.array_equal(read(parts[0], layout=layout).pixels, PIXELS)
    assert np.array_equal(read(parts[-1], layout=layout).pixels, PIXELS if count == 1 else PIXELS[::-1])


@pytest.mark.parametrize(
    "given", [PIXELS, CHW[None], PIXELS[None], TENSOR, TENSOR[None], pil(), "a.png", Path("a.png"), PIXELS.tolist(), 7,
              PLANE, np.uint8, None]
)  # fmt: skip
def test_one_picture_is_no_batch(given):
    assert split(given) is None


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], "empty"),
        ((), "empty"),
        (np.zeros((0, 3, 8, 9)), "empty"),
        ([PIXELS, None], "Number 1 of the 2 images is a NoneType"),
        ([torch.zeros(2, 3, 8, 8), torch.zeros(2)], r"labels.*image=batch\[0\]"),
        (np.zeros((5, 3, 8, 3)), "layout="),
        (np.zeros((5, 7, 8, 9)), "no axis of 1, 3 or 4 channels"),
    ],
)
def test_what_is_neither_one_picture_nor_a_batch_is_refused(given, words):
    with pytest.raises(xw.InputError, match=words):
        split(given)


def test_a_batch_is_settled_by_the_models_channels():
    assert len(split(np.zeros((5, 6, 8, 9)), channels=6)) == 5
    assert len(split(np.zeros((5, 3, 8, 4)), channels=3)) == 5


def test_a_batch_gets_an_explanation_each_never_the_first_in_silence():
    found = xw.attribute(cnn(), torch.stack([TENSOR, TENSOR.flip(2)]) / 255, method="gradcam")
    assert len(found) == 2
    alone = xw.attribute(cnn(), PIXELS, method="gradcam")
    assert np.allclose(found[0].values, alone.values, atol=1e-5)
    assert np.array_equal(found[1].image, PIXELS[:, ::-1])


# ---- through the whole pipeline ------------------------------------------------------------------------------------

DISGUISES = {
    "path": lambda f: file(f),
    "PIL": lambda f: pil(),
    "uint8 HWC": lambda f: PIXELS,
    "float HWC": lambda f: PIXELS / 255,
    "float 0–255": lambda f: PIXELS.astype(np.float32),
    "uint8 CHW": lambda f: CHW,
    "float NCHW": lambda f: CHW[None] / 255,
    "NHWC": lambda f: PIXELS[None],
    "uint8 tensor": lambda f: TENSOR,
    "float tensor": lambda f: TENSOR / 255,
    "RGBA, opaque": lambda f: pil(mode="RGBA"),
    "uint16": lambda f: PIXELS.astype(np.uint16) * 257,
}


@pytest.mark.parametrize("disguise", DISGUISES)
@pytest.mark.parametrize(
    "options", [{}, {"size": 40, "mean": MEAN, "std": STD}, {"preprocess": Preprocess((30, 50), MEAN, STD)}]
)
def test_a_picture_in_disguise_gets_the_same_answer_and_the_same_regions(disguise, options, tmp_path):
    model = cnn()
    expected, session = Session(model, PIXELS, **options), Session(model, DISGUISES[disguise](tmp_path), **options)
    assert np.allclose(session.probabilities, expected.probabilities, atol=1e-5)
    assert np.array_equal(session.regions.labels, expected.regions.labels)
    assert session.picture.digest == expected.picture.digest


def test_a_normalised_tensor_is_fed_to_the_model_as_it_was():
    rng = np.random.default_rng(1)
    given = ((rng.random((3, 48, 64)) - np.reshape(MEAN, (3, 1, 1))) / np.reshape(STD, (3, 1, 1))).astype(np.float32)
    model = cnn()
    with torch.no_grad():
        expected = model(torch.from_numpy(given)[None])[0].softmax(0).numpy()
    assert np.allclose(Session(model, given, mean=MEAN, std=STD).probabilities, expected, atol=1e-5)


@pytest.mark.parametrize("method", ["saliency", "gradcam"])
def test_a_tensor_made_in_inference_mode_has_gradients(method):
    assert np.ptp(xw.attribute(cnn(), inference(), method=method).values) > 0


@pytest.mark.parametrize("shape", [(2, 2), (5, 3), (20, 20), (28, 28), (2, 30)])
@pytest.mark.parametrize("segments", ["slic", "grid", "felzenszwalb", "quickshift"])
def test_a_tiny_picture_is_cut_into_enough_regions_and_no_more_than_pixels(shape, segments):
    session = Session(cnn(), photo(*shape), segments=segments, layout="HWC")
    pixels = shape[0] * shape[1]
    assert min(16, pixels) <= session.n_segments <= pixels


@pytest.mark.parametrize("segments", ["slic", "felzenszwalb", "quickshift"])
def test_a_picture_of_one_colour_gets_a_grid_and_a_warning(segments):
    flat = np.full((48, 64, 3), 90, np.uint8)
    explanation = xw.attribute(cnn(), flat, method="occlusion", segments=segments)
    assert explanation.n_segments >= 16
    assert any("no structure to segment" in warning for warning in explanation.warnings)


class Rigid(torch.nn.Module):
    """Takes 32×32 only, as a model with a fixed linear layer does."""

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(3 * 32 * 32, 4)

    def forward(self, x):
        return self.linear(x.flatten(1))


def test_a_size_that_the_model_rejects_is_named_with_the_one_that_it_takes():
    with pytest.raises(xw.XaiError) as caught:
        xw.attribute(Rigid(), PIXELS, method="occlusion")
    message = str(caught.value)
    assert all(word in message for word in ("48", "64", "32")), message
    assert "size=" in message or "preprocess=" in message
    assert xw.attribute(Rigid(), PIXELS, method="occlusion", size=32).values.shape == (32, 32)


def test_what_was_done_is_told_in_the_input_chip(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = file(tmp_path, image=pil(RGBA), exif=exif)
    steps = " ".join(xw.attribute(cnn(), path, method="gradcam").params["input"]["steps"])
    assert "upright" in steps
    assert "transparency laid on white" in steps


def test_padding_and_chance_in_the_preprocessing_are_told():
    padded = view(read(PIXELS), lambda image: Preprocess()(ImageOps.pad(image, (64, 64), color=(114, 114, 114))))
    assert "padded" in padded.notes
    turns = iter(range(100))
    random = view(read(PIXELS), lambda image: Preprocess()(ImageOps.mirror(image) if next(turns) % 2 else image))
    assert random.to_source is None
    assert "random" in random.warnings[0]
