"""When an answer has become another one: what methods that search for regions ask of each altered picture."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from xai_widgets.problem import Problem

Rows = np.ndarray
"""Answers (n, classes) in the problem's space."""


def lead(problem: Problem, whole: Rows) -> Callable[[Rows], np.ndarray]:
    """By how much the target has its way in each answer, (n,); above 0 where it has.

    A class has its way by being on top; where each class is for itself, by a probability above one half. Of "a rather
    than b", a must be above b. A function of the user's has no line of its own: it must keep half of what it gives for
    the `whole` picture, (1, classes), or if that is negative, lose no more than half as much again.
    """
    target = problem.target
    if target.function is not None:
        floor = _floor(float(target.of(whole)[0]))
        return lambda rows: target.of(rows) - floor
    if target.rather_than is not None:
        return target.of
    if problem.classifier.kind.startswith("multi-label"):
        half = 0.5 if problem.space == "probability" else 0.0
        return lambda rows: target.of(rows) - half
    return lambda rows: target.of(rows) - np.delete(rows, target.index, axis=1).max(1)


def hold(problem: Problem, whole: Rows) -> tuple[Callable[[Rows], np.ndarray], str]:
    """Which answers keep what the `whole` picture's says of the target, bool (n,), and in words what that is.

    Where the target has its way it must go on having it. Where it does not, that would hold of an empty picture, too;
    there the target must keep its number, by the rule for functions of `lead`.
    """
    target, ahead = problem.target, lead(problem, whole)
    if target.function is None and ahead(whole)[0] > 0:
        if target.rather_than is not None:
            words = f"{target.name} stays true"
        elif problem.classifier.kind.startswith("multi-label"):
            words = f"{target.name} stays above one half"
        else:
            words = f"{target.name} stays on top"
        return lambda rows: ahead(rows) > 0, words
    floor = _floor(float(target.of(whole)[0]))
    return lambda rows: target.of(rows) >= floor, f"{target.name} stays above {floor:.3g}"


def _floor(number: float) -> float:
    return number - abs(number) / 2
