"""A planted cause: one shape alone decides the class, so a map of why must point to the shape.

The networks of `scenes` have learnt to name the shape, and everything else in the scenes is drawn without regard to it.
Each method's map is compared with the shape: the share of the map's mass that lies on it, over the share of the picture
that it takes up. 1 is what a map that knows nothing reaches.
"""

from __future__ import annotations

import sys
from functools import cache

import numpy as np
import pytest
import scenes

import xai_widgets as xw
from xai_widgets.registry import get_method
from xai_widgets.session import Session

OPTIONS = {"n_segments": 40, "seed": 0, "baseline": "black"}
"""The ground is dark, so black erases a shape; the default, a region's own mean, leaves one of one colour as it is."""

FAIR = {
    "lime": {"n_samples": 300},
    "kernel_shap": {"n_samples": 300},
    "anchors": {"n_samples": 600, "off_share": 0.8, "beam_width": 1},
    "counterfactual": {"n_samples": 300},
    "extremal_perturbation": {"n_steps": 60},
    "rise": {"n_samples": 800},
    "sobol": {"n_designs": 8},
}
"""Parameters with which a method can show what it can in a second or two; others take their defaults."""

N = 6
"""Scenes a method is tried on."""

TABLE: list[tuple[str, str, float, float]] = []


@pytest.fixture(scope="module", autouse=True)
def table(request):
    """Prints who ranks where when all are through."""
    yield
    rows = [f"{'method':<24}{'on':<6}{'on the shape':>14}{'its area':>10}{'ratio':>8}"]
    for name, network, mass, area in sorted(TABLE, key=lambda row: -row[2] / row[3]):
        rows.append(f"{name:<24}{network:<6}{mass:>14.1%}{area:>10.1%}{mass / area:>8.2f}")
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        sys.stdout.write("\n\n" + "\n".join(rows) + "\n")


@cache
def sessions(network):
    """One for each scene."""
    model = getattr(scenes, network)
    return tuple(Session(model(), each.image, class_names=scenes.NAMES, **OPTIONS) for each in scenes.known(N, model))


def share_on_shape(name, network):
    """Mean share of the positive mass on the shape, and the mean share of the picture that the shape takes up."""
    info, shares, areas = get_method(name), [], []
    for session, scene in zip(sessions(network), scenes.known(N, getattr(scenes, network)), strict=True):
        steps = session.explain(info, session.target(scene.label), info.bind(FAIR.get(name, {})))
        *_, step = steps
        positive = np.maximum(step.explanation().values, 0)
        area = scene.shape.mean()
        # An empty map points nowhere: it knows as much as one that is the same everywhere.
        shares.append(positive[scene.shape].sum() / positive.sum() if positive.any() else area)
        areas.append(area)
    return float(np.mean(shares)), float(np.mean(areas))


def names(*, control):
    return [info.name for info in xw.methods() if (info.family == "control") == control and info.family != "unit"]


@pytest.mark.parametrize(("network", "least"), [("cnn", 0.95), ("vit", 0.92)])
def test_the_networks_have_learnt_the_shape(network, least):
    model = getattr(scenes, network)
    assert scenes.accuracy(model()) > least
    assert len(scenes.known(N, model)) == N


@pytest.mark.parametrize("name", names(control=False))
def test_a_method_points_to_what_decides(name):
    info = get_method(name)
    network = "vit" if info.family == "attention" else "cnn"
    reason = info.unfit(sessions(network)[0].classifier)
    if reason:
        pytest.skip(f"{name} on {network}: {reason}")
    mass, area = share_on_shape(name, network)
    TABLE.append((name, network, mass, area))
    assert mass > area * 1.2


@pytest.mark.parametrize(("name", "low", "high"), [("random", 0.7, 1.3), ("center", 0.5, 2), ("edge", 0.5, 2.5)])
def test_a_control_does_not(name, low, high):
    """Random is near 1; shapes keep off the border; an outline is an edge, as those of bars and blobs are."""
    mass, area = share_on_shape(name, "cnn")
    TABLE.append((name, "cnn", mass, area))
    assert low < mass / area < high


def test_all_controls_are_here():
    assert set(names(control=True)) == {"random", "center", "edge"}
