"""Any picture in, one canonical form out; what the model sees of it, and the way back to the picture's pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from models import cnn, photo
from PIL import Image, ImageOps

import xai_widgets as xw
from xai_widgets.images import read
from xai_widgets.session import Session
from xai_widgets.views import Preprocess, view

PIXELS = photo()


def save(path, image, **options):
    image.save(path, **options)
    return path


@pytest.fixture(scope="module")
def expected():
    return Session(cnn(), PIXELS)


FORMS = {
    "path": lambda folder: str(save(folder / "a.png", Image.fromarray(PIXELS))),
    "Path": lambda folder: save(folder / "a.bmp", Image.fromarray(PIXELS)),
    "PIL": lambda _: Image.fromarray(PIXELS),
    "uint8 HWC": lambda _: PIXELS,
    "uint8 HWC, read-only and strided": lambda _: np.asfortranarray(PIXELS),
    "float HWC 0–1": lambda _: PIXELS / 255,
    "float32 HWC 0–255": lambda _: PIXELS.astype(np.float32),
    "int64 HWC": lambda _: PIXELS.astype(np.int64),
    "uint16 HWC": lambda _: PIXELS.astype(np.uint16) * 257,
    "uint8 CHW": lambda _: np.moveaxis(PIXELS, -1, 0),
    "float NCHW": lambda _: np.moveaxis(PIXELS, -1, 0)[None] / 255,
    "tensor CHW": lambda _: torch.from_numpy(PIXELS).permute(2, 0, 1) / 255,
    "tensor with gradient": lambda _: (torch.from_numpy(PIXELS).permute(2, 0, 1) / 255).requires_grad_(),
    "uint8 tensor NCHW": lambda _: torch.from_numpy(PIXELS).permute(2, 0, 1)[None],
    "nested lists": lambda _: PIXELS.tolist(),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_same_picture_gets_the_same_answer_and_the_same_regions_in_any_form(form, tmp_path, expected):
    session = Session(cnn(), FORMS[form](tmp_path))
    assert np.array_equal(session.picture.pixels, PIXELS)
    assert np.allclose(session.probabilities, expected.probabilities, atol=1e-5)
    assert np.array_equal(session.regions.labels, expected.regions.labels)
    assert session.picture.digest == expected.picture.digest


def test_a_normalised_tensor_is_restored_with_the_given_mean_and_std(expected):
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    normalised = (PIXELS / 255 - mean) / std
    session = Session(cnn(), normalised, mean=mean, std=std)
    assert np.array_equal(session.picture.pixels, PIXELS)
    with pytest.raises(xw.InputError, match=r"normalised already.*mean= and std="):
        read(normalised)
    with pytest.raises(xw.InputError, match="outside 0 to 1"):
        read(normalised, mean=[2.0, 2.0, 2.0], std=std)
    with pytest.raises(xw.InputError, match="each of 3 channels"):
        read(normalised, mean=[0.5, 0.5], std=[0.2, 0.2])


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_a_photo_is_turned_upright_as_its_exif_tag_says(tmp_path, suffix, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    flat = np.zeros((40, 60, 3), np.uint8)
    flat[:20, :30] = 255  # a white quarter tells where top left went
    path = save(tmp_path / f"a.{suffix}", Image.fromarray(flat), exif=exif)
    picture = read(path)
    assert "upright" in " ".join(picture.notes)
    turns = {3: 2, 6: 3, 8: 1}[orientation]
    assert np.abs(picture.pixels.astype(int) - np.rot90(flat, turns)).mean() < 3
    assert np.array_equal(read(Image.open(path)).pixels, picture.pixels)


def test_sixteen_bits_are_scaled_not_clipped(tmp_path):
    grey = np.linspace(0, 65535, 48 * 64).reshape(48, 64).astype(np.uint16)
    expected = np.rint(grey / 257.0)
    path = save(tmp_path / "a.png", Image.fromarray(grey))
    for image in (path, Image.fromarray(grey), grey):
        picture = read(image)
        assert np.array_equal(picture.pixels[..., 0], expected)
        assert "16 bits, 65,535 taken as white" in picture.notes


def test_whole_numbers_and_floats_in_a_pil_image_are_never_wrapped_or_guessed():
    wide = PIXELS[..., 0].astype(np.int32) * 1000
    with pytest.raises(xw.InputError, match="value_range"):
        read(Image.fromarray(wide))
    assert np.array_equal(read(Image.fromarray(wide), value_range=(0, 255_000)).pixels[..., 0], PIXELS[..., 0])
    assert np.array_equal(read(Image.fromarray(PIXELS[..., 0].astype(np.int32))).pixels[..., 0], PIXELS[..., 0])
    floats = Image.fromarray(PIXELS[..., 0].astype(np.float32) / 255)
    assert np.array_equal(read(floats).pixels[..., 1], PIXELS[..., 0])


def test_transparency_is_laid_on_white_the_same_way_for_files_and_arrays():
    rgba = np.dstack([PIXELS, np.full(PIXELS.shape[:2], 255, np.uint8)])
    rgba[:, :20, 3] = 0
    rgba[:, 20:40, 3] = 128
    from_array, from_pil = read(rgba), read(Image.fromarray(rgba))
    assert (from_array.pixels[:, :20] == 255).all()
    assert np.array_equal(from_array.pixels[:, 40:], PIXELS[:, 40:])
    assert np.abs(from_array.pixels.astype(int) - from_pil.pixels).max() <= 1
    assert "transparency laid on white" in from_pil.notes


@pytest.mark.parametrize("mode", ["L", "LA", "P", "1", "CMYK", "YCbCr", "RGBA", "HSV"])
def test_every_mode_of_pillow_becomes_rgb(mode):
    picture = read(Image.fromarray(PIXELS).convert(mode))
    assert picture.pixels.shape == PIXELS.shape
    assert picture.pixels.dtype == np.uint8
    assert np.ptp(picture.pixels) > 100


def test_grey_arrays_are_repeated():
    grey = PIXELS[..., 0]
    for image in (grey, grey[..., None], grey[None], grey[None, None]):
        assert np.array_equal(read(image).pixels, np.repeat(grey[..., None], 3, -1))
    assert set(np.unique(read(grey > 100).pixels)) == {0, 255}


def test_a_picture_cannot_be_changed_and_is_not_the_users_array():
    own = PIXELS.copy()
    picture = read(own)
    own[:] = 0
    assert np.array_equal(picture.pixels, PIXELS)
    with pytest.raises(ValueError, match="read-only"):
        picture.pixels[0] = 0


def damaged(folder):
    path = save(folder / "a.png", Image.fromarray(PIXELS))
    path.write_bytes(path.read_bytes()[:400])
    return path


def text(folder):
    (folder / "a.txt").write_text("no picture")
    return folder / "a.txt"


NAN = PIXELS / 255
NAN[3, 5, 0] = np.nan

BAD = {
    "none": (lambda _: None, ["no image", "path"]),
    "missing file": (lambda folder: folder / "cat.jpg", ["no file", "cat.jpg"]),
    "folder": (lambda folder: folder, ["is a folder"]),
    "text file": (text, ["a.txt", "not a picture"]),
    "truncated file": (damaged, ["a.png", "cannot be read"]),
    "nan": (lambda _: NAN, ["1 values", "row 3, column 5", "nan_to_num"]),
    "empty": (lambda _: np.zeros((0, 0, 3)), ["empty"]),
    "nothing": (lambda _: np.array([]), ["(0,)"]),
    "one pixel": (lambda _: PIXELS[:1, :1, :1], ["1×1"]),
    "two layouts": (lambda _: np.zeros((3, 8, 3)), ['layout="CHW"', 'layout="HWC"']),
    "six channels": (lambda _: np.zeros((8, 8, 6)), ["(8, 8, 6)", "channels"]),
    "five axes": (lambda _: np.zeros((1, 1, 3, 8, 8)), ["three or four axes"]),
    "strings": (lambda _: np.array([["a", "b"]]), ["no picture"]),
    "complex": (lambda _: PIXELS.astype(complex), ["no picture"]),
    "object": (lambda _: object(), ["object", "no picture"]),
    "number": (lambda _: 7, ["int", "no picture"]),
    "too bright": (lambda _: PIXELS * 10.0, ["float64", "value_range=(0, 24"]),
    "negative": (lambda _: PIXELS - 100.0, ["mean=", "value_range"]),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_picture_is_refused_with_what_was_seen(case, tmp_path):
    make, words = BAD[case]
    with pytest.raises((xw.InputError, xw.ArgumentError)) as caught:
        xw.attribute(cnn(), make(tmp_path), **({"layout": None} if case != "one pixel" else {"layout": "HWC"}))
    assert all(word in str(caught.value) for word in words), str(caught.value)


@pytest.mark.parametrize("options", [{"layout": "WHC"}, {"layout": "NCHW"}, {"value_range": 5}, {"value_range": (1, 0)},
                                     {"value_range": ("a", "b")}, {"value_range": (0, 0.5)}])  # fmt: skip
def test_a_wrong_layout_or_range_is_refused(options):
    with pytest.raises(xw.InputError, match=next(iter(options))):
        read(PIXELS, **options)


def test_an_ambiguous_shape_is_read_as_told():
    array = photo(3, 40)[:, :3]
    array = np.arange(27, dtype=np.uint8).reshape(3, 3, 3)
    assert np.array_equal(read(array, layout="HWC").pixels, array)
    assert np.array_equal(read(array, layout="CHW").pixels, np.moveaxis(array, 0, -1))


# ---------------------------------------------------------------------------------------------------------------------
# What the model sees
# ---------------------------------------------------------------------------------------------------------------------

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def transform(*steps):
    """A torchvision preprocessing, as weights bring it along."""
    from torchvision import transforms as t

    return t.Compose([*steps, t.ToTensor(), t.Normalize(MEAN, STD)])


def resize_crop(image):
    from torchvision import transforms as t

    return transform(t.Resize(72), t.CenterCrop(64))(image)


def letterbox(image):
    return Preprocess(mean=MEAN, std=STD)(ImageOps.pad(image, (72, 72), color=(114, 114, 114)))


def padded_then_resized(image):
    from torchvision import transforms as t

    side = max(image.size)
    border = ((side - image.width) // 2, (side - image.height) // 2)
    return transform(t.Pad(border, fill=114), t.Resize((72, 72)))(image)


def flipped(image):
    return resize_crop(ImageOps.mirror(image))


def turned(image):
    return Preprocess((72, 60))(image.transpose(Image.Transpose.ROTATE_90))


@pytest.mark.parametrize("shape", [(150, 210), (210, 150), (180, 180), (40, 50), (301, 977)])
@pytest.mark.parametrize("preprocess", [resize_crop, letterbox, padded_then_resized, flipped, turned, Preprocess(64)])
def test_a_dot_lands_where_the_view_says_within_one_of_its_pixels(shape, preprocess):
    picture = read(photo(*shape))
    seen = view(picture, preprocess)
    assert seen.to_source is not None
    a, b, c, d, e, f = seen.to_source
    matrix = np.array([[a, b], [d, e]])
    reach = int(np.ceil(np.abs(matrix).sum(1).max()))  # one view pixel wide, so that the resize cannot lose it
    black = np.zeros((*shape, 3), np.uint8)
    ground = np.asarray(preprocess(Image.fromarray(black)))
    checked = 0
    for y, x in [(shape[0] * i // 8, shape[1] * j // 8) for i in range(2, 7) for j in range(2, 7)]:
        dot = black.copy()
        dot[y - reach : y + reach + 1, x - reach : x + reach + 1] = 255
        change = np.abs(np.asarray(preprocess(Image.fromarray(dot))) - ground).sum(0)
        rows, cols = np.nonzero(change > 0.05 * change.max()) if change.max() > 1 else ([0], [0])
        if min(*rows, *cols) == 0 or max(rows) == change.shape[0] - 1 or max(cols) == change.shape[1] - 1:
            continue  # cropped away, or cut by the border
        row, col = (change * np.indices(change.shape)).sum((1, 2)) / change.sum()
        error = np.linalg.solve(matrix, [a * col + b * row + c - x, d * col + e * row + f - y])
        assert np.abs(error).max() < 1
        checked += 1
    assert checked >= 4


def test_a_turned_photo_and_its_upright_twin_give_the_same_view(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = photo(150, 210)
    path = save(tmp_path / "a.png", Image.fromarray(np.rot90(pixels)), exif=exif)
    one, other = view(read(path), resize_crop), view(read(pixels), resize_crop)
    assert np.array_equal(one.inputs, other.inputs)
    assert one.to_source == other.to_source


def test_the_view_shows_the_models_colours_and_encodes_back_to_its_input():
    seen = view(read(photo(150, 210)), resize_crop)
    expected = resize_crop(Image.fromarray(photo(150, 210))).numpy()
    assert np.array_equal(seen.inputs, expected)
    assert np.allclose(seen.offset, -np.array(MEAN) / STD, atol=1e-5)
    assert np.allclose(seen.scale, 1 / np.array(STD), atol=1e-5)
    assert np.abs(seen.encode(seen.image) - expected).max() < 1e-5
    assert seen.warnings == ()


def test_a_view_of_the_untouched_picture_is_the_picture():
    for shape in ((48, 64), (5, 7)):
        seen = view(read(photo(*shape)), Preprocess())
        assert np.array_equal(seen.image, photo(*shape))
        a, b, c, d, e, f = seen.to_source
        assert (a, b, d, e) == (1, 0, 0, 1)
        assert abs(c) < 0.2
        assert abs(f) < 0.2


def test_grey_and_inverted_preprocessing_is_undone():
    picture = read(PIXELS)
    grey = view(picture, Preprocess(channels=1))
    assert grey.inputs.shape == (1, 48, 64)
    assert np.array_equal(grey.image[..., 0], np.asarray(Image.fromarray(PIXELS).convert("L")))
    inverted = view(picture, lambda image: 1 - Preprocess()(image))
    assert np.array_equal(inverted.image, PIXELS)


def standardised(image):
    values = Preprocess()(image)
    return (values - values.mean()) / values.std()


def test_standardising_each_picture_gives_a_view_with_a_warning_and_an_explanation():
    with np.errstate(all="ignore"):
        explanation = xw.attribute(cnn(), PIXELS, preprocess=standardised, method="lime", n_samples=50)
    assert any("stretched" in warning for warning in explanation.warnings)
    assert explanation.params["input"]["to_source"] is None
    assert np.ptp(explanation.values) > 0


def to_the_foreground(image):
    rows, cols = np.nonzero(np.asarray(image.convert("L")))
    return Preprocess((48, 64))(image.crop((cols.min(), rows.min(), cols.max() + 1, rows.max() + 1)))


def growing(image):
    """As large as the picture is colourful, so that ramps come out larger than one colour."""
    return np.repeat(Preprocess()(image), 1 + (len(np.unique(np.asarray(image))) in range(3, 80)), axis=1)


@pytest.mark.parametrize(("preprocess", "words"), [(to_the_foreground, "plain test pictures"), (growing, "as a whole")])
def test_a_preprocessing_that_cannot_handle_the_test_pictures_gives_a_stretched_view(preprocess, words):
    picture = read(PIXELS)
    seen = view(picture, preprocess)
    assert np.array_equal(seen.inputs, preprocess(Image.fromarray(PIXELS)))
    assert seen.stretched
    assert seen.to_source is None
    assert words in seen.warnings[0]
    assert not view(picture, Preprocess()).stretched
    assert not view(picture, resize_crop).stretched


def test_a_warp_gives_a_view_without_a_way_back_and_says_so():
    rows = np.round(47 * (np.arange(48) / 47) ** 2).astype(int)
    seen = view(read(photo(480, 640)), lambda image: Preprocess((48, 64))(image)[:, rows])
    assert seen.to_source is None
    assert "cannot be laid back" in seen.warnings[0]
    with pytest.raises(xw.InputError, match=r"model's own grid.*\(48, 64\)"):
        seen.sample(np.zeros((480, 640)))


def fails(_image):
    raise RuntimeError("no such file")


@pytest.mark.parametrize(
    ("preprocess", "words"),
    [
        (fails, "RuntimeError: no such file"),
        (lambda image: None, "NoneType"),
        (lambda image: np.zeros((8, 8, 3)), r"shape \(8, 8, 3\)"),
        (lambda image: np.zeros((2, 3, 8, 8)), r"shape \(2, 3, 8, 8\)"),
        (lambda image: np.full((3, 8, 8), np.nan), "192 values that are NaN"),
        ("resize", "callable"),
    ],
)
def test_a_preprocessing_that_cannot_be_used_is_refused(preprocess, words):
    with pytest.raises((xw.InputError, xw.ArgumentError), match=words):
        xw.attribute(cnn(), PIXELS, preprocess=preprocess)


def test_sizes_mean_and_std_are_checked():
    for options in ({"size": 1}, {"size": "big"}, {"size": (3, 4, 5)}, {"mean": [1, 2]}, {"std": [1, 0, 1]},
                    {"std": "x"}, {"preprocess": resize_crop, "size": 64}):  # fmt: skip
        with pytest.raises(xw.ArgumentError, match=list(options)[-1]):
            xw.attribute(cnn(), PIXELS, **options)
    assert Session(cnn(), PIXELS, size=32).view.shape == (32, 32)
    assert Session(cnn(), PIXELS, size=(30, 50)).view.shape == (30, 50)
