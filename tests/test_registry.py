"""Methods as data: the table, their parameters, and methods from outside the package."""

from __future__ import annotations

import dataclasses
import importlib

import numpy as np
import pytest
from models import cnn, photo

import xai_widgets as xw
from xai_widgets import registry
from xai_widgets.registry import FAMILIES, Param


def centre(problem, *, width=0.25):
    """A fixed bump in the middle, as a control."""
    height, side = problem.view.shape
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : side * 1j]
    yield xw.Estimate(values=np.exp(-(x**2 + y**2) / width).astype(np.float32))


INFO = xw.MethodInfo(
    "centre", "Centre", "gradient", "A fixed map, as a control.", centre,
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
    assert {info.name for info in table} >= {"gradcam", "saliency", "occlusion", "lime", "shap"}
    text = repr(table)
    for words in ("name", "lime", "n_samples=1000, kernel_width=0.25", "gradcam", "layer", "answers"):
        assert words in text
    assert len(text.splitlines()) == len(table) + 1


def test_the_function_is_still_there_after_its_namesake_package_was_imported():
    importlib.import_module("xai_widgets.methods.lime")
    assert [info.name for info in xw.methods()] == [info.name for info in registry.methods()]
    from xai_widgets import methods

    assert methods().__class__ is registry.MethodTable


@pytest.mark.parametrize("info", list(registry.methods()), ids=lambda info: info.name)
def test_every_method_is_complete_as_data(info):
    assert info.family in FAMILIES
    assert info.needs in ("answers", "gradients", "layer")
    assert info.summary
    assert info.source
    with pytest.raises(dataclasses.FrozenInstanceError):
        info.name = "x"
    for param in info.params:
        assert param.help
        assert param.check(param.default) == param.default
    assert info.bind({}) == {param.name: param.default for param in info.params}


def test_a_method_from_outside_is_listed_and_works(registered):
    assert "centre" in repr(xw.methods())
    explanation = xw.attribute(cnn(), photo(), method="centre", width=0.5)
    assert explanation.method == "centre"
    assert explanation.params["width"] == 0.5
    assert explanation.values[24, 32] > explanation.values[0, 0]
    with pytest.raises(xw.ArgumentError, match=r"widht.*Did you mean 'width'"):
        xw.attribute(cnn(), photo(), method="centre", widht=0.5)


def test_a_name_that_is_taken_is_refused(registered):
    with pytest.raises(xw.MethodError, match="'centre' already"):
        xw.register_method(INFO)
    for name in ("lime", "auto"):
        with pytest.raises(xw.MethodError, match=f"'{name}' already"):
            xw.register_method(dataclasses.replace(INFO, name=name))
    with pytest.raises(xw.ArgumentError, match="takes a MethodInfo, not a function"):
        xw.register_method(centre)


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
