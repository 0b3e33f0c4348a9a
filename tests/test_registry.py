"""Methods as data: the table, their parameters, and methods from outside the package."""

from __future__ import annotations

import dataclasses
import importlib
from pathlib import Path

import numpy as np
import pytest
from models import cnn, photo

import xai_widgets as xw
from xai_widgets import methods as methods_package
from xai_widgets import registry
from xai_widgets.registry import Param


def bump(problem, *, width=0.25):
    """A fixed bump in the middle, as a control."""
    height, side = problem.view.shape
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : side * 1j]
    yield xw.Estimate(values=np.exp(-(x**2 + y**2) / width).astype(np.float32))


INFO = xw.MethodInfo(
    "bump", "Centre", "gradient", "A fixed map, as a control.", bump,
    params=(Param("width", float, 0.25, "How wide.", 0.01, 10),),
)  # fmt: skip


@pytest.fixture
def registered():
    xw.methods()
    before = dict(registry._registered)
    xw.register_method(INFO)
    yield INFO
    registry._registered.clear()
    registry._registered.update(before)


def test_the_table_lists_every_method_with_its_parameters():
    table = xw.methods()
    assert {info.name for info in table} >= {"gradcam", "saliency", "occlusion", "lime", "kernel_shap"}
    text = repr(table)
    for words in ("name", "lime", "n_samples=1000, kernel_width=0.25", "gradcam", "layer", "answers"):
        assert words in text
    assert len(text.splitlines()) == len(table) + 1


def test_the_function_is_still_there_after_its_namesake_package_was_imported():
    importlib.import_module("xai_widgets.methods.lime")
    assert [info.name for info in xw.methods()] == [info.name for info in registry.methods()]
    from xai_widgets import methods

    assert methods().__class__ is registry.MethodTable


def test_each_file_of_a_method_holds_one_and_no_two_share_a_name():
    files = [path for path in Path(methods_package.__file__).parent.glob("*.py") if not path.name.startswith("_")]
    found = [importlib.import_module(f"xai_widgets.methods.{path.stem}").INFO for path in files]
    names = [name for info in found for name in (info.name, *info.aliases)]
    assert len(set(names)) == len(names)
    assert {info.name for info in found} <= {info.name for info in xw.methods()}


def test_a_method_is_found_by_its_other_names_and_is_called_by_its_own():
    assert registry.get_method("shap") is registry.get_method("kernel_shap")
    assert xw.attribute(cnn(), photo(), method="shap", n_samples=30, n_segments=6).method == "kernel_shap"


def test_a_method_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        INFO.name = "x"


def test_a_method_from_outside_is_listed_and_works(registered):
    assert "bump" in repr(xw.methods())
    explanation = xw.attribute(cnn(), photo(), method="bump", width=0.5)
    assert explanation.method == "bump"
    assert explanation.params["width"] == 0.5
    assert explanation.values[24, 32] > explanation.values[0, 0]
    with pytest.raises(xw.ArgumentError, match=r"widht.*Did you mean 'width'"):
        xw.attribute(cnn(), photo(), method="bump", widht=0.5)


def test_a_name_that_is_taken_is_refused(registered):
    xw.register_method(INFO)  # its cell was run again
    assert [info.name for info in xw.methods()].count("bump") == 1
    for name in ("lime", "auto"):
        with pytest.raises(xw.MethodError, match=f"'{name}' already"):
            xw.register_method(dataclasses.replace(INFO, name=name))
    with pytest.raises(xw.ArgumentError, match="takes a MethodInfo, not a function"):
        xw.register_method(bump)


def test_a_method_that_yields_nothing_is_named(registered):
    xw.register_method(dataclasses.replace(INFO, name="silent", run=lambda problem, **_: iter(())))
    with pytest.raises(xw.ArgumentError, match="'silent' yielded no map"):
        xw.attribute(cnn(), photo(), method="silent")


PARAM = Param("n", int, 5, "How many.", 1, 10)


@pytest.mark.parametrize("value", [1, 10, np.int64(3), np.array(4)])
def test_a_parameter_within_its_limits_is_taken_as_a_plain_number(value):
    assert PARAM.check(value) == value
    assert type(PARAM.check(value)) is int


@pytest.mark.parametrize("value", [0, 11, 2.5, "3", True, None, [1], float("nan")])
def test_a_parameter_outside_its_limits_is_refused_with_the_limits(value):
    with pytest.raises(xw.ArgumentError, match=r"n=.* must be a whole number from 1 to 10, the default is 5"):
        PARAM.check(value)


def test_floats_take_whole_numbers_and_choices_are_kept():
    assert type(Param("x", float, 0.5, "", 0).check(2)) is float
    with pytest.raises(xw.ArgumentError, match="a number of at least 0"):
        Param("x", float, 0.5, "", 0).check(-1)
    with pytest.raises(xw.ArgumentError, match="one of 'a', 'b'"):
        Param("x", str, "a", "", choices=("a", "b")).check("c")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"needs": "gradient"}, "needs='gradient' must be one of 'answers', 'gradients'"),
        ({"family": "foo"}, "family='foo' must be one of"),
        ({"space": "logits"}, "space='logits' must be"),
        ({"params": PARAM}, "params must be a tuple of Param"),
        ({"params": (Param("k", bool, True, "Whether."),)}, "k has kind"),
        ({"params": (Param("k", int, 0, "How many.", 1),)}, "k=0 must be a whole number of at least 1"),
        ({"quick": {"many": 3}}, "no parameter 'many'"),
    ],
)
def test_a_method_that_would_be_in_the_way_of_the_others_is_refused_at_once(registered, wrong, words):
    with pytest.raises(xw.ArgumentError, match=words):
        xw.register_method(dataclasses.replace(INFO, name="wrong", **wrong))
    assert "wrong" not in [info.name for info in xw.methods()]


def test_a_price_that_cannot_be_told_costs_nobody_the_menu(registered, tmp_path):
    xw.register_method(dataclasses.replace(INFO, name="unpriced", cost=lambda problem: 1))
    w = xw.explain(cnn(), photo(), method="saliency", store=tmp_path / "f.db").wait(20)
    assert w.status == "idle"
    assert "unexpected keyword" in {row["name"]: row["cost"] for row in w.methods}["unpriced"]
    w.close()
