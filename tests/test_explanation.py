"""The result: frozen, kept exactly, shown without a front end."""

from __future__ import annotations

import copy
import dataclasses
import io
import json
import pickle
import zipfile

import numpy as np
import pytest
from models import NAMES, cnn, photo
from PIL import Image

import xai_widgets as xw
from xai_widgets.explanation import SCHEMA_VERSION, Explanation
from xai_widgets.plotting import blend

ARRAYS = ("values", "image", "segments", "probabilities", "segment_values", "std_error", "coarse", "off_image")
CALLS = {
    "lime": {"method": "lime", "n_samples": 60},
    "gradcam": {"method": "gradcam", "target": ("cat", "bus")},
    "occlusion": {"method": "occlusion", "target": lambda row: row[0]},
    "saliency": {"method": "saliency"},
}


@pytest.fixture(scope="module")
def made():
    return {
        name: xw.attribute(cnn(), photo(), class_names=NAMES, n_segments=20, **call) for name, call in CALLS.items()
    }


@pytest.fixture(scope="module")
def lime(made):
    return made["lime"]


def assert_same(one, other):
    for f in dataclasses.fields(Explanation):
        a, b = getattr(one, f.name), getattr(other, f.name)
        if f.name in ARRAYS and a is not None:
            assert a.dtype == b.dtype
            assert np.array_equal(a, b)
            assert not b.flags.writeable
        else:
            assert a == b, f.name
            assert type(a) is type(b), f.name


def test_shapes_and_types_are_as_documented(lime):
    assert (lime.values.dtype, lime.values.shape) == (np.float32, (48, 64))
    assert (lime.image.dtype, lime.image.shape) == (np.uint8, (48, 64, 3))
    assert (lime.segments.dtype, lime.segments.shape) == (np.int32, (48, 64))
    assert (lime.probabilities.dtype, lime.probabilities.shape) == (np.float32, (4,))
    assert lime.segment_values.shape == lime.std_error.shape == (lime.n_segments,)
    assert np.array_equal(lime.values, lime.segment_values.astype(np.float32)[lime.segments])
    assert lime.n_forward == 60
    assert lime.seed == 0
    assert lime.baseline == "mean"
    assert lime.target_name == NAMES[lime.target]
    assert lime.params["n_samples"] == 60
    assert lime.versions["xai-widgets"] == xw.__version__


def test_the_space_that_was_explained_is_recorded(made):
    assert {name: e.space for name, e in made.items()} == {
        "lime": "probability", "occlusion": "probability", "gradcam": "logit", "saliency": "logit",
    }  # fmt: skip
    assert xw.attribute(cnn(), photo(), method="saliency", space="probability").space == "probability"


def test_nothing_about_it_can_be_changed(lime):
    for name in ARRAYS:
        array = getattr(lime, name)
        if array is not None:
            with pytest.raises(ValueError, match="read-only"):
                array[0] = 0
    with pytest.raises(dataclasses.FrozenInstanceError):
        lime.method = "kernel_shap"
    with pytest.raises(TypeError):
        lime.params["n_samples"] = 1
    with pytest.raises(TypeError):
        lime.checks["mine"] = (1.0, "good")


def test_making_one_leaves_the_callers_arrays_alone():
    values = np.zeros((4, 4), np.float32)
    made = Explanation(values, photo(4, 4), np.zeros((4, 4), np.int32), np.ones(1, np.float32), 0, "a", "mine")
    values[:] = 7
    assert (made.values == 0).all()


@pytest.mark.parametrize("name", CALLS)
def test_saving_and_loading_gives_back_exactly_the_same(made, name, tmp_path):
    path = made[name].save(tmp_path / "e.xai")
    assert_same(made[name], Explanation.load(path))
    assert [p.name for p in tmp_path.iterdir()] == ["e.xai"]


def test_the_file_needs_no_pickle(lime, tmp_path):
    with np.load(lime.save(tmp_path / "e.npz"), allow_pickle=False) as stored:
        assert all(stored[name].dtype != object for name in stored.files)
        assert json.loads(stored["meta"].tobytes())["method"] == "lime"


@pytest.mark.parametrize("twin", [copy.copy, copy.deepcopy, lambda e: pickle.loads(pickle.dumps(e))])
def test_copies_and_pickles_are_the_same(lime, twin):
    assert_same(lime, twin(lime))


def rewrite(path, **changes):
    with np.load(path) as stored:
        content = {name: stored[name] for name in stored.files}
    meta = {**json.loads(content["meta"].tobytes()), **changes.pop("meta", {})}
    content["meta"] = np.frombuffer(json.dumps(meta).encode(), np.uint8)
    content = {name: value for name, value in {**content, **changes}.items() if value is not None}
    np.savez(path.open("wb"), **content)


def test_a_file_from_a_newer_version_is_refused_with_what_to_type(lime, tmp_path):
    path = lime.save(tmp_path / "e.xai")
    rewrite(path, meta={"schema_version": SCHEMA_VERSION + 1})
    with pytest.raises(xw.FileError, match=r"newer xai_widgets.*pip install -U"):
        Explanation.load(path)


def test_fields_that_are_not_known_are_passed_over(lime, tmp_path):
    path = lime.save(tmp_path / "e.xai")
    rewrite(path, meta={"mood": "sunny"})
    assert_same(lime, Explanation.load(path))


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def npz(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def empty_zip():
    buffer = io.BytesIO()
    zipfile.ZipFile(buffer, "w").close()
    return buffer.getvalue()


GARBAGE = {
    "empty": b"",
    "text": b"hello, this is no explanation",
    "png": b"\x89PNG\r\n\x1a\n" + bytes(100),
    "array": npy(np.zeros(3)),
    "pickle": pickle.dumps({"a": 1}),
    "object array": npz(meta=np.array([{}], dtype=object)),
    "zip of nothing": empty_zip(),
    "other arrays": npz(a=np.zeros(3)),
    "json list": npz(meta=np.frombuffer(b"[1, 2]", np.uint8)),
    "json of nothing": npz(meta=np.frombuffer(b"{}", np.uint8)),
    "no arrays": npz(meta=np.frombuffer(b'{"schema_version": 1}', np.uint8)),
    "odd version": npz(meta=np.frombuffer(b'{"schema_version": "x"}', np.uint8)),
}


@pytest.mark.parametrize("case", GARBAGE)
def test_a_file_that_is_no_explanation_is_refused_by_name(case, tmp_path):
    path = tmp_path / "broken.xai"
    path.write_bytes(GARBAGE[case])
    with pytest.raises(xw.FileError, match=r"broken.xai' is no") as caught:
        Explanation.load(path)
    assert isinstance(caught.value, ValueError)


def test_a_damaged_file_is_refused(lime, tmp_path):
    content = lime.save(tmp_path / "e.xai").read_bytes()
    for number, damaged in enumerate((content[: len(content) // 2], content[:300] + bytes(200) + content[500:])):
        path = tmp_path / f"{number}.xai"
        path.write_bytes(damaged)
        with pytest.raises(xw.FileError, match=f"{number}.xai"):
            Explanation.load(path)


def test_missing_files_and_unwritable_places_are_named(lime, tmp_path):
    with pytest.raises(xw.FileError, match=r"no file .*nothing.xai"):
        Explanation.load(tmp_path / "nothing.xai")
    with pytest.raises(xw.FileError, match=r"cannot be written"):
        lime.save(tmp_path / "no such folder" / "e.xai")
    with pytest.raises(xw.FileError, match=r"cannot be written"):
        lime.save(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_strongest_regions_come_first(made):
    lime = made["lime"]
    top = lime.top_segments(3)
    values = lime.segment_values
    assert top[0] == int(np.argmax(values))
    assert values[top[0]] >= values[top[1]] >= values[top[2]]
    assert all(isinstance(region, int) for region in top)
    saliency = made["saliency"]  # which has no numbers of regions: the mean of its map
    region = saliency.top_segments(1)[0]
    means = [saliency.values[saliency.segments == i].mean() for i in range(saliency.n_segments)]
    assert region == int(np.argmax(means))


def test_the_summary_says_what_why_and_how(made):
    text = made["lime"].summary()
    top = made["lime"].top_segments(1)[0]
    assert made["lime"].target_name in text
    for words in ("lime", f"{made['lime'].probabilities.max():.1%}", f"{top} (", "60 forward passes", "seed 0"):
        assert words in text
    assert "layer 5" in made["gradcam"].summary()
    assert "cat rather than bus" in made["gradcam"].summary()
    assert "<lambda>" in made["occlusion"].summary()
    warned = dataclasses.replace(made["lime"], warnings=("beware",))
    assert "note: beware" in warned.summary()
    assert "64×48" in repr(made["lime"])


def test_a_notebook_without_the_front_end_shows_picture_and_text(made):
    for explanation in made.values():
        bundle = explanation._repr_mimebundle_()
        assert bundle["text/plain"] == explanation.summary()
        shown = Image.open(io.BytesIO(bundle["image/png"]))
        assert shown.size == (448, 336)
        assert explanation._repr_png_() == bundle["image/png"]


def test_the_still_picture_is_warm_for_and_blue_against_and_plain_at_zero():
    values = np.zeros((4, 6), np.float32)
    values[:, :2], values[:, 2:4] = 1, -1
    grey = np.full((4, 6, 3), 128, np.uint8)
    labels = np.zeros((4, 6), np.int32)
    made = Explanation(values, grey, labels, np.ones(1, np.float32), 0, "a", "mine")
    shown = blend(made, 1.0).astype(int)
    assert shown[0, 0, 0] > shown[0, 0, 2] + 100
    assert shown[0, 2, 2] > shown[0, 2, 0] + 100
    assert np.ptp(shown[0, 4]) == 0
    nothing = dataclasses.replace(made, values=values * 0)
    assert np.ptp(blend(nothing, 1.0)) == 0
    unsigned = dataclasses.replace(made, values=np.abs(values), signed=False)
    assert np.array_equal(blend(unsigned, 1.0)[0, 0], [253, 231, 37])
    assert np.ptp(blend(dataclasses.replace(unsigned, values=values * 0))) == 0


def test_plot_draws_the_map_with_a_bar_of_raw_numbers(made):
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    for explanation in made.values():
        ax = explanation.plot(outlines=True)
        assert explanation.target_name in ax.get_title()
        assert np.array_equal(ax.images[0].get_array(), blend(explanation))
        scale = ax.collections and ax.figure.axes[-1].get_ylim()
        assert scale[1] == pytest.approx(np.abs(explanation.values).max())
        ax.figure.canvas.draw()
        plt.close(ax.figure)
    _, own = plt.subplots()
    assert made["lime"].plot(own) is own
    plt.close("all")
