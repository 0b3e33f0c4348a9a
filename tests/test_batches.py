"""Several pictures at once: a list from `attribute`, a picker in the widget."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from models import Tally, cnn, photo
from PIL import Image

import xai_widgets as xw

SHOTS = [photo(seed=seed) for seed in range(3)]
OPTIONS = {"method": "occlusion", "window": 24, "stride": 24, "n_segments": 9}


def alone(index: int, **options):
    return xw.attribute(cnn(), SHOTS[index], **{**OPTIONS, **options})


BATCHES = {
    "list of arrays": lambda folder: list(SHOTS),
    "tuple of PIL images": lambda folder: tuple(Image.fromarray(shot) for shot in SHOTS),
    "tensor NCHW": lambda folder: torch.from_numpy(np.stack(SHOTS)).permute(0, 3, 1, 2) / 255,
    "array NHWC": lambda folder: np.stack(SHOTS),
    "array NCHW": lambda folder: np.stack(SHOTS).transpose(0, 3, 1, 2),
    "paths": lambda folder: [save(shot, folder / f"{i}.png") for i, shot in enumerate(SHOTS)],
}


def save(shot, path):
    Image.fromarray(shot).save(path)
    return path


@pytest.mark.parametrize("form", BATCHES)
def test_a_batch_gives_the_explanation_of_each_picture(form, tmp_path):
    found = xw.attribute(cnn(), BATCHES[form](tmp_path), **OPTIONS)
    assert len(found) == 3
    for index, explanation in enumerate(found):
        assert np.array_equal(explanation.image, SHOTS[index])
        assert np.allclose(explanation.values, alone(index).values, atol=1e-6)


def test_a_batch_of_one_is_a_picture_and_a_list_of_one_is_a_list():
    batch = torch.from_numpy(SHOTS[0]).permute(2, 0, 1)[None]
    assert isinstance(xw.attribute(cnn(), batch, **OPTIONS), xw.Explanation)
    assert [type(each) for each in xw.attribute(cnn(), [SHOTS[0]], **OPTIONS)] == [xw.Explanation]


def test_each_picture_may_have_a_class_of_its_own():
    found = xw.attribute(cnn(), SHOTS, target=[2, 0, (1, 3)], **OPTIONS)
    assert [each.target for each in found] == [2, 0, [1, 3]]
    assert [each.target for each in xw.attribute(cnn(), SHOTS, target=(1, 3), **OPTIONS)] == [[1, 3]] * 3
    with pytest.raises(xw.ArgumentError, match=r"lists 2 classes for 3 pictures.*tuple"):
        xw.attribute(cnn(), SHOTS, target=[1, 3], **OPTIONS)


def test_pictures_of_different_sizes_can_stand_together():
    sizes = [photo(48, 64), photo(40, 40), photo(64, 48)]
    found = xw.attribute(cnn(), sizes, method="gradcam")
    assert [each.values.shape for each in found] == [(48, 64), (40, 40), (64, 48)]
    for each, shot in zip(found, sizes, strict=True):
        assert np.allclose(each.values, xw.attribute(cnn(), shot, method="gradcam").values, atol=1e-6)


def test_which_picture_is_wrong_is_said():
    wrong = SHOTS[1] / 255
    wrong[0, 0] = np.nan
    with pytest.raises(xw.InputError, match=r"^Picture 2 of 3: .*NaN"):
        xw.attribute(cnn(), [SHOTS[0], wrong, SHOTS[2]], **OPTIONS)


def test_a_picture_that_the_model_refuses_does_not_spoil_the_next():
    class Picky(torch.nn.Module):
        """Raises once, for the first picture that it is asked about, and then answers in probabilities."""

        def __init__(self):
            super().__init__()
            self.inner, self.asked = cnn(), Tally()

        def forward(self, x):
            self.asked[0] += 1
            if self.asked[0] == 1:
                raise RuntimeError("not yet")
            return self.inner(x).softmax(1)

    from xai_widgets.pictures import Pictures

    pictures = Pictures(Picky(), SHOTS, {})
    with pytest.raises(xw.ModelError, match="not yet"):
        pictures[0]
    assert pictures[1].classifier.kind == "probabilities"


def test_a_layout_is_that_of_the_batch():
    batch = np.random.default_rng(0).random((2, 3, 20, 3)).astype(np.float32)
    first, last = (xw.attribute(cnn(), batch, layout=layout, **OPTIONS) for layout in ("NCHW", "NHWC"))
    assert first[0].values.shape == (20, 3)
    assert last[0].values.shape == (3, 20)


@pytest.fixture
def widget():
    made = xw.explain(cnn(), SHOTS, **OPTIONS, class_names=["a", "b", "c", "d"])
    made.wait(60)
    yield made
    made.close()


def test_the_widget_shows_one_and_offers_the_others(widget):
    assert [thumb["label"] for thumb in widget.pictures] == ["picture 1 of 3", "picture 2 of 3", "picture 3 of 3"]
    widget.toggle(2)
    widget.wait(60)
    widget.picked = 1
    widget.wait(60)
    expected = alone(1)
    assert np.allclose(widget.explanation.values, expected.values, atol=1e-6)
    assert np.allclose(widget.prediction, expected.probabilities, atol=1e-6)
    assert widget.active.all()
    assert widget.history == {"states": [[]], "at": 0}
    assert widget.target == expected.target
    assert widget.error is None


def test_small_pictures_come_with_what_the_model_says(widget):
    from xai_widgets.jobs import RUNNER

    assert RUNNER.wait({(id(widget), "thumbs")}, 60)
    for index, thumb in enumerate(widget.pictures):
        explanation = alone(index, class_names=["a", "b", "c", "d"])
        assert thumb["answer"] == f"{explanation.target_name} {explanation.probabilities.max():.2f}"
        assert thumb["data"][:2] == b"\xff\xd8"  # a JPEG


def test_a_class_chosen_by_the_reader_stays_chosen(widget):
    chosen = (widget.target + 1) % 4
    widget.target = chosen
    widget.picked = 2
    widget.wait(60)
    assert widget.target == chosen
    assert widget.explanation.target == chosen


def test_a_picture_that_cannot_be_opened_leaves_the_one_on_show():
    wrong = SHOTS[1] / 255
    wrong[0, 0] = np.nan
    widget = xw.explain(cnn(), [SHOTS[0], wrong], **OPTIONS)
    widget.wait(60)
    widget.picked = 1
    widget.wait(60)
    assert widget.picked == 0
    assert "Picture 2 of 2" in widget.error["message"]
    assert np.array_equal(widget.explanation.image, SHOTS[0])
    assert widget.status != "running"
    widget.close()


def test_there_and_back_again_leaves_the_first_picture_as_it_was():
    options = {**OPTIONS, "method": "lime", "n_samples": 400, "confidence": None}
    del options["window"], options["stride"]
    widget = xw.explain(cnn(), SHOTS, **options)
    widget.picked = 1
    widget.picked = 0
    widget.wait(60)
    assert widget.status == "idle"
    assert widget.explanation.n_forward == 400
    assert np.array_equal(widget.explanation.image, SHOTS[0])
    widget.picked = 1
    widget.wait(60)
    widget.picked = 0
    widget.picked = 1
    widget.wait(60)
    assert widget.status == "idle"
    assert np.array_equal(widget.explanation.image, SHOTS[1])
    widget.close()


def test_a_picture_that_cannot_be_opened_does_not_cut_off_the_map_on_show():
    options = {**OPTIONS, "method": "lime", "n_samples": 400, "confidence": None}
    del options["window"], options["stride"]
    widget = xw.explain(cnn(), [SHOTS[0], "no/such.png"], **options)
    widget.picked = 1
    widget.wait(60)
    assert widget.picked == 0
    assert "no/such.png" in widget.error["message"]
    assert widget.explanation.n_forward == 400
    assert widget.status == "idle"
    widget.close()


def test_a_judgement_belongs_to_the_picture_on_show(tmp_path):
    widget = xw.explain(cnn(), SHOTS, store=tmp_path / "f.db", **OPTIONS)
    widget.wait(60)
    first = widget.record("mattered", regions=[0])
    widget.picked = 1
    widget.wait(60)
    assert widget.feedback == ()
    second = widget.record("unsure", regions=[1])
    assert first.picture_id != second.picture_id
    widget.picked = 0
    widget.wait(60)
    assert [record.id for record in widget.feedback] == [first.id]
    widget.close()


def test_there_is_no_picture_beyond_the_last(widget):
    with pytest.raises(xw.ArgumentError, match="There is no picture 3; there are 3"):
        widget.picked = 3


def test_the_layer_can_be_changed_in_the_widget():
    widget = xw.explain(cnn(), SHOTS[0], method="gradcam")
    widget.wait(60)
    automatic = widget.explanation
    names = [row["name"] for row in widget.layers]
    assert automatic.target_layer in names
    other = next(name for name in names if name != automatic.target_layer)
    widget.layer = other
    widget.wait(60)
    assert widget.explanation.target_layer == other
    assert np.array_equal(widget.explanation.values, xw.attribute(cnn(), SHOTS[0], target_layer=other).values)
    widget.layer = ""
    widget.wait(60)
    assert np.array_equal(widget.explanation.values, automatic.values)
    with pytest.raises(xw.MethodError, match="no layer"):
        widget.layer = "nonsense"
    widget.method = "saliency"
    widget.wait(60)
    assert widget.layers == []
    widget.close()


def test_a_layer_given_in_python_is_the_one_marked():
    model = cnn()
    widget = xw.explain(model, SHOTS[0], method="gradcam", target_layer=model[3])
    widget.wait(60)
    assert widget.layer == "3"
    assert "3" in [row["name"] for row in widget.layers]
    widget.close()
