"""A method written by somebody else, in a file of their own, is one like any other."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
METHOD = '''
"""Rings: switch off one ring around the middle after the other, and see how far the answer falls."""

import numpy as np

import xai_widgets as xw


def rings(problem, *, n_rings: int = 8, shape: str = "round"):
    """``f(x) - f(x without the ring)``.

    Proof: rings that cover the picture take away what the whole picture is worth to a linear model.
    """
    height, width = problem.view.shape
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    radius = np.hypot(x, y) / 2**0.5 if shape == "round" else np.maximum(abs(x), abs(y))
    ring = np.minimum((radius * n_rings).astype(int), n_rings - 1)
    whole = problem.scores(np.ones((1, height, width), bool))[0]
    falls = np.zeros(n_rings)
    for i in range(n_rings):
        falls[i] = whole - problem.scores(ring[None] != i)[0]
        yield xw.Estimate(values=falls[ring].astype(np.float32), done=i + 1, total=n_rings, n_forward=i + 2)


INFO = xw.register_method(xw.MethodInfo(
    "rings", "Rings", "perturbation", "Switches one ring off at a time.", rings, source="this test", linear=True,
    params=(xw.Param("n_rings", int, 8, "How many rings.", 1, 100),
            xw.Param("shape", str, "round", "Of the rings.", choices=("round", "square"))),
    cost=lambda problem, n_rings=8, shape="round": n_rings + 1, quick={"n_rings": 3},
))
'''


@pytest.fixture
def plugin(tmp_path):
    """A folder with the file, and an environment in which it can be imported."""
    assert len(METHOD.strip().splitlines()) <= 40
    (tmp_path / "rings_plugin.py").write_text(METHOD, encoding="utf-8")
    path = os.pathsep.join([str(tmp_path), str(ROOT), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": path}


def run(plugin, *arguments):
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, env=plugin, capture_output=True, text=True)


def test_it_takes_part_in_the_tests_of_every_method(plugin):
    found = run(
        plugin,
        "-m",
        "pytest",
        "-p",
        "rings_plugin",
        "tests/test_every_method.py",
        "-k",
        "rings",
        "-v",
        "-p",
        "no:cacheprovider",
    )
    assert found.returncode == 0, found.stdout
    for test in (
        "test_the_map_is_finite_and_the_same_to_the_last_bit_every_time",
        "test_the_model_is_left_as_it_was_found_also_when_it_is_stopped_midway",
        "test_it_can_be_cancelled_between_two_steps",
        "test_a_rather_than_b_is_the_difference_where_it_promises_that_and_an_answer_or_a_reason_elsewhere",
    ):
        assert f"{test}[rings] PASSED" in found.stdout


def test_a_careless_one_is_caught_there(plugin, tmp_path):
    draws = METHOD.replace("falls = np.zeros(n_rings)", "falls = np.random.rand(n_rings)")
    draws = draws.replace("falls[i] = whole -", "falls[i] += whole -")
    (tmp_path / "rings_plugin.py").write_text(draws, encoding="utf-8")
    found = run(
        plugin,
        "-m",
        "pytest",
        "-p",
        "rings_plugin",
        "tests/test_every_method.py",
        "-k",
        "rings and bit",
        "-p",
        "no:cacheprovider",
    )
    assert found.returncode == 1
    assert "1 failed" in found.stdout


def test_it_is_listed_and_the_page_has_its_controls(plugin, tmp_path):
    code = """
import sys, rings_plugin, xai_widgets as xw
from toys import ColourModel, quarters
assert "rings" in [info.name for info in xw.methods()]
w = xw.explain(ColourModel(), quarters(), method="rings", store=sys.argv[1]).wait(20)
row = {row["name"]: row for row in w.methods}["rings"]
assert [param["name"] for param in row["params"]] == ["n_rings", "shape"], row
assert row["params"][1]["choices"] == ["round", "square"] and not row["unfit"] and row["cost"].startswith("9 calls")
w.params = {"n_rings": 4, "shape": "square"}
w.wait(20)
engine = w.explanation.params["input"]["engine"]
assert w.explanation.params["shape"] == "square" and w.explanation.n_forward + engine["reused"] == 5, w.error
print("fine")
"""
    path = os.pathsep.join([plugin["PYTHONPATH"], str(ROOT / "tests")])
    found = run({**plugin, "PYTHONPATH": path}, "-c", code, str(tmp_path / "f.db"))
    assert found.stdout.strip().endswith("fine"), found.stderr
