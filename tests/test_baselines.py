"""What a switched-off region looks like, and that the model is asked about exactly that."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from models import cnn, photo
from PIL import Image

import xai_widgets as xw
from xai_widgets.baselines import BASELINES, WORDS, baseline_picture
from xai_widgets.images import read
from xai_widgets.segments import segment
from xai_widgets.session import Session
from xai_widgets.views import Preprocess, view

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
OWN = {
    **{name: name for name in BASELINES},
    "picture": photo(seed=5),
    "PIL": Image.fromarray(photo(seed=6)),
    "callable": lambda image: image[::-1] * 0.5,
}


@pytest.mark.parametrize("name", OWN)
def test_switching_off_equals_replacing_pixels_by_hand(name):
    model = cnn()
    session = Session(model, photo(), mean=MEAN, std=STD, baseline=OWN[name], n_segments=12)
    active = np.random.default_rng(0).random(session.n_segments) < 0.5
    by_hand = session.view.image.copy()
    off = ~active[session.regions.labels]
    by_hand[off] = session.regions.off_image[off]
    assert (by_hand != session.view.image).any()
    inputs = torch.from_numpy(Preprocess(mean=MEAN, std=STD)(Image.fromarray(by_hand)))
    with torch.no_grad():
        expected = model(inputs[None]).softmax(1)[0].numpy()
    assert np.abs(session.predict(active) - expected).max() < 1e-5
    assert np.abs(session.predict(active) - session.probabilities).max() > 1e-3


def test_each_baseline_is_what_its_name_says():
    seen = view(
        read(
            photo(),
        ),
        Preprocess(),
    )
    labels, _ = segment(seen, "slic", 12)
    made = {name: baseline_picture(seen, labels, name, seed=3) for name in BASELINES}
    assert all(picture.dtype == np.uint8 and picture.shape == seen.image.shape for picture in made.values())
    assert (made["black"] == 0).all()
    assert (made["grey"] == 128).all()
    region = labels == 4
    assert np.abs(made["mean"][region] - seen.image[region].mean(0)).max() <= 0.5
    assert made["blur"].std() < seen.image.std() * 0.9
    assert abs(made["blur"].mean() - seen.image.mean()) < 5
    assert abs(made["noise"].mean() - 127.5) < 3
    assert made["noise"].std() > 70
    assert set(WORDS) == set(BASELINES)


def test_noise_follows_the_seed():
    seen = view(read(photo()), Preprocess())
    labels, _ = segment(seen, "grid", 12)
    one, again, other = (baseline_picture(seen, labels, "noise", seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_a_baseline_of_the_originals_size_is_laid_on_the_view():
    original = np.zeros((96, 128, 3), np.uint8)
    original[:, 64:] = 200
    seen = view(read(photo(96, 128)), Preprocess((48, 64)))
    labels, _ = segment(seen, "grid", 12)
    made = baseline_picture(seen, labels, original)
    assert (made[:, :31] == 0).all()
    assert (made[:, 33:] == 200).all()


BANDS = np.random.default_rng(0).integers(20, 200, (6, 48, 64), dtype=np.uint8)


def standardised(image):
    values = Preprocess()(image)
    return (values - values.mean()) / values.std()


def thirds(bands):
    return np.moveaxis(bands, -1, 0)[:, ::2, ::2] * 3 - 1


def stretched(kind):
    if kind == "bands":
        return view(read(BANDS, channels=6), thirds)
    with np.errstate(all="ignore"):
        return view(read(photo()), standardised)


@pytest.mark.parametrize("kind", ["bands", "standardised"])
@pytest.mark.parametrize("name", BASELINES)
def test_behind_an_opaque_preprocessing_nobody_knows_what_black_is(name, kind):
    seen = stretched(kind)
    labels, _ = segment(seen, "grid", 12)
    if name in ("mean", "blur"):
        assert baseline_picture(seen, labels, name).shape == seen.planes.shape
    else:
        with pytest.raises(xw.InputError, match=rf'What {WORDS[name]} is cannot be known.*baseline="mean".*"blur"'):
            baseline_picture(seen, labels, name)


@pytest.mark.parametrize(("kind", "other"), [("bands", BANDS[:, ::-1] // 2 + 50), ("standardised", photo()[::-1])])
def test_a_picture_goes_through_the_same_opaque_preprocessing(kind, other):
    seen = stretched(kind)
    made = baseline_picture(seen, None, other)
    wanted = thirds(np.moveaxis(other, 0, -1) / 255) if kind == "bands" else standardised(Image.fromarray(other.copy()))
    assert made.shape == seen.planes.shape
    assert np.abs(seen.encode(made) - wanted).max() <= 0.51 / 255 * seen.scale.max()


@pytest.mark.parametrize(
    ("kind", "other", "words"),
    [
        ("bands", np.zeros((6, 48, 64), np.uint8), r"from -1 to -1.*beyond this one.*baseline=\"mean\""),
        ("bands", BANDS[:, ::2, ::2], r"\(24, 32, 6\).*\(48, 64, 6\)"),
        ("bands", photo(), r"\(48, 64, 3\).*\(48, 64, 6\)"),
        ("standardised", photo(24, 32), r"\(24, 32, 3\).*\(48, 64, 3\)"),
        ("standardised", np.zeros((48, 64, 3), np.uint8), "nan.*cannot|cannot.*nan"),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_picture_that_cannot_be_stretched_alike_is_refused(kind, other, words):
    with pytest.raises(xw.InputError, match=words):
        baseline_picture(stretched(kind), None, other)


@pytest.mark.parametrize(
    ("baseline", "words"),
    [
        ("blurr", "'blurr'.*Did you mean 'blur'"),
        (np.zeros((9, 9, 3), np.uint8), r"shape \(9, 9, 3\).*\(48, 64, 3\)"),
        (lambda image: None, "48, 64, 3"),
        (lambda image: np.full(image.shape, np.nan), "finite"),
        (object(), "no picture"),
    ],
)
def test_what_cannot_be_a_baseline_is_refused(baseline, words):
    with pytest.raises(xw.InputError, match=words):
        xw.attribute(cnn(), photo(), baseline=baseline)
