"""The chart of the README, from the JSON files: ``python -m benchmarks.chart [FOLDER] [PICTURE]``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

from benchmarks.harness import HERE, RESULTS, results

PICTURE = HERE.parent / "docs" / "benchmark.svg"
INK = "#768089"
"""Grey that can be read on white and on black alike, as can the colours below."""
OURS, PEERS = "#e0701a", ("#3f8fd2", "#8d6fd1", "#2a9d8f", "#b8578f")
CASE = "lite0, coffee"


def draw(folder: Path = RESULTS, picture: Path = PICTURE) -> Path | None:
    """Draw what there is of price, LIME and Shapley values; None if there is nothing."""
    found = results(folder)
    panels = [
        (panel, found[name]["curves"][CASE])
        for name, panel in (("price", price), ("lime", lime), ("shapley", shapley))
        if CASE in found.get(name, {}).get("curves", {})
    ]
    if not panels:
        return None
    style = {"font.size": 9, "svg.fonttype": "none", "svg.hashsalt": "xai", "font.family": "sans-serif"}
    colours = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color")
    with mpl.rc_context({**style, **dict.fromkeys(colours, INK)}):
        figure = Figure(figsize=(3.9 * len(panels), 3.3), layout="constrained")
        axes = figure.subplots(1, len(panels), squeeze=False)[0]
        for ax, (panel, curves) in zip(axes, panels, strict=True):
            ax.patch.set_alpha(0)
            ax.spines[["top", "right"]].set_visible(False)
            panel(ax, curves)
        machine = next(iter(found.values()))["machine"]
        figure.supxlabel(f"EfficientNet-Lite0, {machine['cores']} cores, {machine['cpu']}", fontsize=7, color=INK)
        picture.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(picture, transparent=True, metadata={"Date": None})
    return picture


def price(ax: Axes, curves: dict[str, Any]) -> None:
    """Milliseconds a picture, one bar for each way to ask."""
    names = sorted(curves, key=lambda name: np.median(curves[name]))
    values = [1e3 * np.median(curves[name]) for name in names]
    bars = ax.barh(names, values, color=[OURS if name == "ours" else PEERS[0] for name in names], height=0.6)
    ax.bar_label(bars, [f" {value:.1f}" for value in values], color=INK)
    ax.set_yticks(range(len(names)), [name.replace(", ", "\n", 1).replace(" (", "\n(") for name in names], fontsize=7)
    ax.margins(x=0.15)
    ax.set_xlabel("ms a picture")
    ax.set_title("One forward", fontsize=10)


def lime(ax: Axes, curves: dict[str, Any]) -> None:
    """Rank error of LIME against time."""
    name, entries = next(iter(curves.items()))
    against_time(ax, {"xai_widgets": entries["ours"], "lime, its defaults": entries["lime"]})
    ax.set_ylabel(f"1 − Spearman, {name}")
    ax.set_title("LIME", fontsize=10)


def shapley(ax: Axes, curves: dict[str, Any]) -> None:
    """Error of Shapley values against time."""
    against_time(ax, {"xai_widgets" if name == "ours" else name: entry for name, entry in curves.items()})
    ax.set_ylabel("mean square error / greatest value²")
    ax.set_title("Shapley values", fontsize=10)


def against_time(ax: Axes, entries: dict[str, dict[str, Any]]) -> None:
    """Ours as a line through numbers of samples, each peer as a point, both axes logarithmic."""
    (ours_name, ours), *others = entries.items()
    x, y = (np.mean(ours[key], axis=1) for key in ("seconds", "error"))
    ax.loglog(x, np.maximum(y, 1e-6), "o-", color=OURS, label=ours_name, markersize=4)
    for (name, entry), colour in zip(others, PEERS, strict=False):
        ax.loglog(np.mean(entry["seconds"]), max(np.mean(entry["error"]), 1e-6), "s", color=colour, label=name)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.set_minor_locator(NullLocator())
    ax.set_xlabel("seconds")
    ax.legend(frameon=False, fontsize=7)


if __name__ == "__main__":
    print(draw(*map(Path, sys.argv[1:3])))
