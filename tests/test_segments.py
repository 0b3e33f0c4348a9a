"""Regions: names, own label maps, functions; always 0 … S-1 on the view's grid."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from models import cnn, photo

import xai_widgets as xw
from xai_widgets.images import read
from xai_widgets.segments import SEGMENTERS, contiguous, grid, region_means, segment
from xai_widgets.views import Preprocess, view


@pytest.fixture(scope="module")
def seen():
    return view(read(photo()), Preprocess())


@pytest.mark.parametrize("name", SEGMENTERS)
def test_every_segmenter_comes_near_the_wanted_number_and_repeats_itself(seen, name):
    labels, warnings = segment(seen, name, 20)
    assert labels.dtype == np.int32
    assert labels.shape == seen.shape
    assert np.array_equal(np.unique(labels), np.arange(labels.max() + 1))
    assert 8 <= labels.max() + 1 <= 40
    assert warnings == ()
    assert np.array_equal(labels, segment(seen, name, 20)[0])


@pytest.mark.parametrize(
    ("shape", "n"), [((48, 64), 12), ((64, 48), 50), ((224, 224), 49), ((20, 90), 30), ((3, 3), 9)]
)
def test_a_grid_has_at_least_the_wanted_number_of_rectangles_of_about_equal_size(shape, n):
    labels = contiguous(grid(np.zeros((*shape, 3), np.uint8), n))
    count = labels.max() + 1
    assert n * 0.8 <= count <= n * 1.4
    rows, cols = len(np.unique(labels[:, 0])), len(np.unique(labels[0]))
    assert rows * cols == count
    area = np.bincount(labels.ravel())
    assert area.max() <= area.min() * 2.3


def test_own_labels_may_be_any_integers_and_keep_their_order(seen):
    own = np.where(np.arange(64) < 20, -7, np.where(np.arange(64) < 40, 300, 12))[None].repeat(48, 0)
    expected = np.where(np.arange(64) < 20, 0, np.where(np.arange(64) < 40, 2, 1))[None].repeat(48, 0)
    for given in (own, torch.from_numpy(own), own.astype(np.int16), lambda image: own, own == 300):
        labels, _ = segment(seen, given)
        assert np.array_equal(labels, expected if labels.max() == 2 else own == 300)


def test_labels_on_the_whole_picture_are_laid_on_the_view():
    labels = np.zeros((300, 400), int)
    labels[:, 200:] = 1
    labels[150:] += 2
    cropped = view(read(photo(300, 400)), Preprocess(60))
    found, _ = segment(cropped, labels)
    expected = np.zeros((60, 60), int)
    expected[:, 30:] = 1
    expected[30:] += 2
    assert (found != expected).mean() < 0.04  # at most the pixels on the two lines


def test_a_function_cannot_change_the_picture(seen):
    def scribbles(image):
        image[:] = 0
        return np.arange(48 * 64).reshape(48, 64) // 700

    before = seen.image.copy()
    segment(seen, scribbles)
    assert np.array_equal(seen.image, before)


def test_where_nothing_can_be_cut_a_grid_is_used_and_the_reader_is_told():
    seen = view(read(np.full((48, 64, 3), 90, np.uint8)), Preprocess())
    labels, warnings = segment(seen, "felzenszwalb", 20)
    assert labels.max() + 1 >= 16
    assert "grid is used" in warnings[0]


@pytest.mark.parametrize("n", [0, 1, -3, 2.5, True, None, "50", 10**6])
def test_an_impossible_number_of_regions_is_refused(n):
    with pytest.raises(xw.ArgumentError, match=r"n_segments=.*2 to 5000") as caught:
        xw.attribute(cnn(), photo(), n_segments=n)
    assert isinstance(caught.value, TypeError)


@pytest.mark.parametrize(
    ("segments", "words"),
    [
        ("slick", r"'slick'.*Did you mean 'slic'"),
        (np.zeros((48, 64)), "whole numbers"),
        (np.zeros((4, 8, 8), int), "two axes"),
        (np.zeros((9, 9), int), r"\(9, 9\).*\(48, 64\)"),
        (lambda image: None, "whole numbers"),
        (7, "two axes"),
    ],
)
def test_what_is_no_label_map_is_refused(segments, words):
    with pytest.raises(xw.InputError, match=words):
        xw.attribute(cnn(), photo(), segments=segments)


def test_more_regions_than_the_browser_can_count_are_refused():
    with pytest.raises(xw.InputError, match="65,536 regions are too many"):
        contiguous(np.arange(65_536).reshape(256, 256))


def test_region_means_are_the_means_of_each_region():
    labels = np.array([[0, 0, 1], [2, 2, 2]])
    values = np.array([[1.0, 3, 5], [7, 8, 9]])
    assert region_means(values, labels).tolist() == [2, 5, 8]
    assert region_means(np.stack([values, -values], -1), labels).tolist() == [[2, -2], [5, -5], [8, -8]]


def test_a_large_picture_is_cut_at_reduced_size_and_every_pixel_has_its_region():
    rng = np.random.default_rng(0)
    quarter = np.kron(rng.integers(0, 255, (2, 3, 3), dtype=np.uint8), np.ones((500, 500, 1), np.uint8))
    labels, warnings = segment(view(read(quarter), Preprocess()), "slic", 6)
    assert labels.shape == (1000, 1500)
    assert warnings == ()
    # The six flat tiles are found to within two pixels.
    for row, column in np.ndindex(2, 3):
        tile = labels[row * 500 + 3 : row * 500 + 497, column * 500 + 3 : column * 500 + 497]
        inner = tile[20:-20, 20:-20]
        assert len(np.unique(inner)) <= 2
