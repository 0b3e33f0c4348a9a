"""Which number is explained: a class by index or name, one rather than another, or a function."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from models import NAMES, cnn, photo

import xai_widgets as xw
from xai_widgets.targets import resolve

PROBABILITIES = np.array([0.1, 0.2, 0.6, 0.1])


def ask(target, **options):
    return xw.attribute(cnn(), photo(), target=target, method="saliency", class_names=NAMES, **options)


def test_the_top_class_is_the_default():
    chosen = resolve(None, PROBABILITIES, NAMES)
    assert (chosen.index, chosen.name) == (2, "dog")
    assert resolve(None, PROBABILITIES, None).name == "class 2"


@pytest.mark.parametrize("target", [1, np.int64(1), torch.tensor(1), "tiger cat", " Tiger Cat "])
def test_a_class_is_known_by_index_and_name(target):
    chosen = resolve(target, PROBABILITIES, NAMES)
    assert (chosen.index, chosen.name, chosen.key) == (1, "tiger cat", 1)


def test_any_of_imagenets_synonyms_will_do():
    assert resolve("tabby cat", PROBABILITIES, ("tabby, tabby cat", "b", "c", "d")).index == 0


def test_a_contrast_is_the_difference_of_the_two_maps():
    a, b, contrast = (
        xw.attribute(cnn(), photo(), target=target, method="occlusion", window=16, class_names=NAMES).values
        for target in ("cat", "bus", ("cat", "bus"))
    )
    assert np.abs(contrast - (a - b)).max() < 1e-6
    explanation = ask((0, "bus"))
    assert explanation.target == [0, 3]
    assert explanation.target_name == "cat rather than bus"


@pytest.mark.parametrize("method", ["gradcam", "saliency", "occlusion"])
def test_a_function_of_the_answer_can_be_explained(method):
    def pets(row):
        return row[0] + row[1]

    params = {"window": 16} if method == "occlusion" else {}
    explanation = xw.attribute(cnn(), photo(), target=pets, method=method, **params)
    assert explanation.target is None
    assert explanation.target_name == "pets"
    if method == "occlusion":
        parts = [xw.attribute(cnn(), photo(), target=i, method=method, **params).values for i in (0, 1)]
        assert np.abs(explanation.values - parts[0] - parts[1]).max() < 1e-6


@pytest.mark.parametrize("method", ["gradcam", "occlusion", "lime"])
@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda row: row[:, 3], "IndexError"),
        (lambda row: row[:2], r"gave shape \(2,\)"),
        (lambda row: row.no_such_thing, "AttributeError"),
        (lambda row: None, "TypeError|RuntimeError"),
    ],
)
def test_a_function_that_does_not_give_one_number_each_is_refused_with_an_example(method, function, words):
    with pytest.raises(xw.TargetError, match=rf"({words}).*lambda row: row\[3\]"):
        xw.attribute(cnn(), photo(), target=function, method=method)


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("tigre cat", "'tigre cat'.*Did you mean 'tiger cat'"),
        ("bu", "No class is called 'bu'"),
        (4, r"Class 4 does not exist; the model has 4 \(0 to 3\)"),
        (-1, "Class -1 does not exist"),
        (True, "bool"),
        (1.0, "float"),
        ((1,), "one class or two"),
        ((1, 2, 3), "one class or two"),
        ((1, "tiger cat"), "same class twice"),
        ((0, "lion"), "'lion'"),
        ({"a": 1}, "dict"),
    ],
)
def test_a_class_that_does_not_exist_is_refused(target, words):
    with pytest.raises(xw.TargetError, match=words) as caught:
        ask(target)
    assert isinstance(caught.value, ValueError)


def test_a_part_of_a_name_offers_the_names_that_have_it():
    with pytest.raises(xw.TargetError, match="'fire engine'"):
        resolve("engine", PROBABILITIES, ("fire engine", "b", "c", "d"))


def test_a_name_needs_names_and_must_be_unique():
    with pytest.raises(xw.TargetError, match=r"Pass class_names=\[…4 names…\]"):
        xw.attribute(cnn(), photo(), target="cat")
    with pytest.raises(xw.TargetError, match=r"2 classes are called 'crane': \[0, 2\].*target=0"):
        resolve("crane", PROBABILITIES, ("crane", "b", "crane", "d"))


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["a", "b"], "2 class_names, 4 outputs"),
        (list("abcde"), "5 class_names, 4 outputs"),
        ("abcd", "one string"),
        (5, "list of 4 names"),
        ({0: "a", 1: "b"}, r"none for \[2, 3\]"),
        ({1: "a", 2: "b", 3: "c", 4: "d"}, r"none for \[0\]"),
        ({"x": "a"}, "map class indices"),
    ],
)
def test_names_that_do_not_fit_the_outputs_are_refused(names, words):
    with pytest.raises(xw.TargetError, match=words):
        xw.attribute(cnn(), photo(), class_names=names)


def test_names_may_be_a_dict_and_may_come_with_the_model():
    model = cnn()
    assert xw.attribute(model, photo(), class_names={"3": "d", 0: "a", 1: "b", 2: "c"}).class_names == tuple("abcd")
    model.class_names = NAMES
    assert xw.attribute(model, photo()).class_names == NAMES
