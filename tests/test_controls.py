"""Random, edge and center: maps that have not asked the model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from models import cnn, photo, problem
from scipy.ndimage import gaussian_filter
from skimage.filters import sobel

import xai_widgets as xw
from xai_widgets.methods.random import random
from xai_widgets.session import Session

PIXELS = photo()
CONTROLS = ("random", "edge", "center")


def control(name, image=PIXELS, model=None, **options):
    return xw.attribute(model or cnn(), image, method=name, segments="grid", **options)


@pytest.mark.parametrize("name", CONTROLS)
def test_no_model_is_asked_whatever_the_class(name):
    asked, model = [], cnn()
    model.register_forward_pre_hook(lambda _, args: asked.append(len(args[0])))
    session = Session(model, PIXELS, segments="grid")
    info = session.method(name)
    assert session.cost(info, {}) == 0
    maps = []
    for target in (0, 1, (2, 3), lambda row: row[0] * 2):
        asked.clear()
        (step,) = session.explain(info, session.target(target), {})
        assert not asked
        assert step.estimate.n_forward == 0
        maps.append(step.estimate.values)
    maps += [control(name, model=cnn(seed=5)).values, control(name, model=cnn(7, seed=2), target=6).values]
    assert len({values.tobytes() for values in maps}) == 1
    assert maps[0].dtype == np.float32
    assert maps[0].shape == PIXELS.shape[:2]
    assert maps[0].min() >= 0
    assert any("model was not asked" in note for note in control(name).warnings)


def test_random_is_filtered_noise_of_the_seed():
    noise = np.random.default_rng(7).standard_normal((48, 64))
    expected = gaussian_filter(noise, 3, mode="wrap")
    assert np.abs(control("random", seed=7).values - (expected - expected.min())).max() < 1e-6
    other = photo(seed=3)
    assert np.array_equal(control("random", seed=7).values, control("random", other, seed=7).values)
    assert abs(np.corrcoef(control("random", seed=7).values.flat, control("random", seed=8).values.flat)[0, 1]) < 0.9


def test_random_favours_no_place():
    whole = problem(cnn(), PIXELS, segments="grid")
    mean = np.mean([next(random(replace(whole, seed=seed))).values for seed in range(300)], axis=0)
    blocks = mean.reshape(2, 24, 4, 16).mean((1, 3))
    assert np.abs(blocks / mean.mean() - 1).max() < 0.05


def test_edge_is_skimages_sobel_of_the_channels():
    levels = PIXELS.astype(np.float64) / 255
    expected = np.mean([sobel(levels[..., channel]) for channel in range(3)], axis=0)
    assert np.abs(control("edge").values - expected).max() < 1e-6
    step = np.zeros((48, 64, 3), np.uint8)
    assert not control("edge", step).values.any()
    step[:, 32:] = 255
    values = control("edge", step).values
    assert set(values.argmax(1)) <= {31, 32}
    assert not values[:, :30].any()


@pytest.mark.parametrize("channels", [1, 5])
def test_edge_takes_any_number_of_channels(channels):
    image = np.random.default_rng(0).integers(0, 255, (48, 64, channels), np.uint8)
    picture = torch.from_numpy(image.astype(np.float32) / 255).permute(2, 0, 1)
    values = control("edge", picture, cnn(channels=channels)).values
    assert values.shape == (48, 64)
    assert values.std() > 0


def test_center_is_a_gaussian_of_a_quarter_of_each_side():
    values = control("center").values
    y, x = np.mgrid[0:48, 0:64]
    expected = np.exp(-((y - 23.5) ** 2) / (2 * 12**2) - (x - 31.5) ** 2 / (2 * 16**2))
    assert np.abs(values - expected).max() < 1e-6
    assert np.array_equal(values, control("center", photo(seed=3)).values)
    assert np.array_equal(values, control("centre").values)
