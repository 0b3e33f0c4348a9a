"""The engine: masks in, answers out; composed right, lazily, in any batch size, and stoppable."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from models import cnn, photo, problem

from xai_widgets.answers import Answers
from xai_widgets.perturb import compose
from xai_widgets.problem import Tally


@pytest.fixture
def question():
    return problem(cnn(), photo(), n_segments=12, baseline="blur", batch_size=4)


def test_regions_that_are_on_are_the_picture_and_regions_that_are_off_the_baseline(question):
    masks = np.random.default_rng(0).random((5, question.n_segments)) < 0.5
    pictures = compose(question, masks).numpy()
    on, off = question.view.inputs, question.view.encode(question.baseline)
    for picture, mask in zip(pictures, masks, strict=True):
        assert np.array_equal(picture, np.where(mask[question.labels], on, off))


def test_masks_of_pixels_are_used_as_they_are(question):
    mask = np.random.default_rng(0).random((1, *question.view.shape)) < 0.5
    expected = np.where(mask, question.view.inputs, question.view.encode(question.baseline))
    assert np.array_equal(compose(question, mask).numpy()[0], expected)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_masks_between_0_and_1_mix_the_two(question, dtype):
    mask = np.random.default_rng(0).random((1, *question.view.shape)).astype(dtype)
    on, off = question.view.inputs, question.view.encode(question.baseline)
    assert np.abs(compose(question, mask).numpy()[0] - (off + mask * (on - off))).max() < 1e-6
    by_region = np.full((1, question.n_segments), 0.25, dtype)
    assert np.abs(compose(question, by_region).numpy()[0] - (off + 0.25 * (on - off))).max() < 1e-6


def test_the_answers_do_not_depend_on_batches_or_chunks():
    masks = np.random.default_rng(0).random((23, 12)) < 0.5
    answers = []
    for size, chunks in ((1, [masks]), (7, np.array_split(masks, 5)), (100, [masks]), ("auto", list(masks[:, None]))):
        question = problem(cnn(), photo(), segments="grid", n_segments=12, batch_size=size)
        pairs = list(question.perturb(chunks))
        assert np.array_equal(np.concatenate([batch for batch, _ in pairs]), masks)
        answers.append(np.concatenate([answer for _, answer in pairs]))
    assert all(np.abs(other - answers[0]).max() < 1e-6 for other in answers[1:])


def test_masks_are_read_no_faster_than_the_model_answers(question):
    made = 0

    def endless():
        nonlocal made
        while True:
            made += 1
            yield np.ones((4, question.n_segments), bool)

    stream = question.perturb(endless())
    for batch in range(1, 6):
        next(stream)
        assert made == batch
    stream.close()
    assert made == 5


def test_no_batch_is_larger_than_asked_for():
    sizes = []
    model = cnn()
    model.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    question = problem(model, photo(), segments="grid", n_segments=12, batch_size=6)
    sizes.clear()
    masks = np.arange(500)[:, None] >> np.arange(12) & 1 == 1  # 500 different ones: none is asked about twice
    list(question.perturb([masks]))
    assert max(sizes) == 6
    assert sum(sizes) == 500


def test_stopping_closes_the_masks_and_asks_no_more(question):
    asked, closed = [], []
    question.classifier.model.register_forward_pre_hook(lambda _, args: asked.append(len(args[0])))

    def masks():
        try:
            while True:
                yield np.ones((4, question.n_segments), bool)
        finally:
            closed.append(True)

    stream = question.perturb(masks())
    next(stream)
    stream.close()
    del stream
    assert asked == [4]
    assert closed == [True]


def test_a_batch_too_large_for_the_memory_is_halved_until_it_fits():
    question = problem(cnn(), photo(), segments="grid", n_segments=12, batch_size=16)
    masks = np.random.default_rng(0).random((21, 12)) < 0.5
    expected = question.scores(masks)
    inner, sizes = question.classifier.scores, []

    def scores(inputs):
        sizes.append(len(inputs))
        if len(inputs) > 3:
            raise torch.OutOfMemoryError("too much")
        return inner(inputs)

    question.classifier.scores = scores
    assert np.allclose(replace(question, answers=Answers()).scores(masks), expected, atol=1e-6)
    assert sizes[:4] == [16, 8, 4, 2]
    question.classifier.scores = lambda inputs: (_ for _ in ()).throw(torch.OutOfMemoryError("always"))
    with pytest.raises(torch.OutOfMemoryError):
        replace(question, answers=Answers()).scores(masks)


# ---- answers are kept ------------------------------------------------------------------------------------------------


def asked(model):
    """How many pictures each of the model's batches holds, from now on."""
    sizes = []
    model.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    return sizes


def test_a_mask_is_asked_about_once_and_order_is_kept_whatever_is_known():
    model = cnn()
    question = problem(model, photo(), segments="grid", n_segments=12, batch_size=4)
    masks = np.random.default_rng(0).random((20, 12)) < 0.5
    expected = question.scores(masks)
    fresh = replace(question, answers=Answers(), tally=Tally())
    sizes = asked(model)
    fresh.scores(masks[[3, 8, 9, 17]])
    found = list(fresh.perturb([masks[:7], masks[7:]]))
    assert sum(sizes) == 20
    assert np.array_equal(np.concatenate([batch for batch, _ in found]), masks)
    assert np.allclose(fresh.target.of(np.concatenate([rows for _, rows in found])), expected, atol=1e-6)
    assert fresh.scores(masks) == pytest.approx(expected, abs=1e-6)
    assert sum(sizes) == 20
    assert fresh.tally.reused == 4 + 20


def test_masks_of_pixels_in_shades_and_other_spaces_are_told_apart():
    model = cnn()
    question = problem(model, photo(), segments="grid", n_segments=12, batch_size=4)
    sizes = asked(model)
    soft = np.full((1, 12), 0.5, np.float32)
    half = question.scores(soft)
    assert question.scores(soft * 1.0001) != half
    assert question.scores(np.ones((1, 12), bool)) != half
    question.scores(np.ones((1, *question.view.shape), bool))
    replace(question, space="logit").scores(soft)
    assert sum(sizes) == 5


def test_what_a_changed_model_answered_before_is_forgotten():
    model = cnn()
    question = problem(model, photo(), segments="grid", n_segments=12)
    mask = np.zeros((1, 12), bool)
    before = question.scores(mask)
    with torch.no_grad():
        next(model.parameters()).mul_(-3)
    assert question.scores(mask) != before


def test_answers_are_kept_as_long_as_there_is_room_the_first_first():
    kept = Answers(budget=3 * (40 + 200))
    kept.of("model")
    rows = np.arange(50.0).reshape(5, 10)
    for key, row in enumerate(rows):
        kept.put(key, row)
    assert [kept.get(key) is not None for key in range(5)] == [True, True, True, False, False]
    assert np.array_equal(kept.get(1), rows[1])
    kept.put("mask of pixels", rows[0], pixels=True)  # has room of its own
    assert kept.get("mask of pixels") is not None
    exact = np.array([1 / 3])  # has no single precision
    other = Answers()
    other.put(0, exact)
    assert other.get(0) == exact


def test_logits_and_probabilities_are_of_the_same_answer():
    masks = np.ones((1, 12), bool)
    ((_, logits),), ((_, probabilities),) = (
        problem(cnn(), photo(), segments="grid", n_segments=12, space=space).perturb([masks])
        for space in ("logit", "probability")
    )
    raised = np.exp(logits - logits.max())
    assert np.allclose(raised / raised.sum(), probabilities, atol=1e-6)
    assert probabilities.dtype == np.float64
