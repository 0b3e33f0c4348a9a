"""The engine: masks in, answers out; composed right, lazily, in any batch size, and stoppable."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from models import cnn, photo, problem

from xai_widgets.perturb import compose


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
    list(question.perturb([np.ones((500, 12), bool)]))
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
    inner, sizes = question.classifier.answers, []

    def answers(inputs, space):
        sizes.append(len(inputs))
        if len(inputs) > 3:
            raise torch.OutOfMemoryError("too much")
        return inner(inputs, space)

    question.classifier.answers = answers
    assert np.allclose(question.scores(masks), expected, atol=1e-6)
    assert sizes[:4] == [16, 8, 4, 2]
    question.classifier.answers = lambda inputs, space: (_ for _ in ()).throw(torch.OutOfMemoryError("always"))
    with pytest.raises(torch.OutOfMemoryError):
        question.scores(masks)


def test_logits_and_probabilities_are_of_the_same_answer():
    masks = np.ones((1, 12), bool)
    ((_, logits),), ((_, probabilities),) = (
        problem(cnn(), photo(), segments="grid", n_segments=12, space=space).perturb([masks])
        for space in ("logit", "probability")
    )
    raised = np.exp(logits - logits.max())
    assert np.allclose(raised / raised.sum(), probabilities, atol=1e-6)
    assert probabilities.dtype == np.float64
