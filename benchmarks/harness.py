"""What every benchmark needs: contestants that take turns, ratios with their spread, and a record of the machine."""

from __future__ import annotations

import datetime as dt
import json
import os
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
RESULTS, CACHE = HERE / "results", HERE / ".cache"
QUICK = HERE.parent / "build" / "benchmarks"
"""Where a smoke run writes, whose numbers mean nothing."""

PACKAGES = (
    "xai-widgets", "torch", "torchvision", "openvino", "onnxruntime", "shapiq",
    "lime", "shap", "captum", "grad-cam", "torchcam", "numpy", "scikit-image",
)  # fmt: skip


# ---- timing --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """One call of a contestant: what it took and what it answered."""

    seconds: float
    answer: Any


def timed(call: Callable[[], Any]) -> Run:
    """Call once, against the clock."""
    start = time.perf_counter()
    answer = call()
    return Run(time.perf_counter() - start, answer)


def rounds(most: int, minutes: float, least: int = 3) -> Iterator[int]:
    """Count 0, 1, … up to `most` rounds, fewer where a further one would not end within `minutes`."""
    start = time.perf_counter()
    for number in range(most):
        yield number
        spent = time.perf_counter() - start
        if number + 1 >= least and spent * (number + 2) / (number + 1) > 60 * minutes:
            return


def alternate(contestants: Mapping[Any, Callable[[int], Any]], turns: Iterable[int]) -> dict[Any, list[Run]]:
    """Let everybody have a turn in every round, so that a slow moment of the machine hits all.

    Each is called with the number of the round, which is its seed. Every other round goes backwards, so that nobody
    always finds the caches that the same neighbour left.
    """
    runs: dict[Any, list[Run]] = {name: [] for name in contestants}
    for number in turns:
        for name in list(contestants)[:: -1 if number % 2 else 1]:
            runs[name].append(timed(lambda name=name, number=number: contestants[name](number)))
    return runs


def seconds(runs: Iterable[Run]) -> np.ndarray:
    """What the runs took."""
    return np.array([run.seconds for run in runs])


# ---- what is reported ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ratio:
    """One claim: a ratio measured several times.

    Attributes
    ----------
    claim : str
        What is divided by what.
    case : str
        Which model and picture.
    values : tuple of float
        One for each repetition.
    at_least, at_most : float, optional
        The goal, which the median has to meet.
    """

    claim: str
    case: str
    values: tuple[float, ...]
    at_least: float | None = None
    at_most: float | None = None

    @property
    def spread(self) -> tuple[float, float, float]:
        """Least, median and greatest."""
        return min(self.values), float(np.median(self.values)), max(self.values)

    @property
    def goal(self) -> str:
        """The goal and whether it is met, in a few characters; empty without one."""
        if self.at_least is None and self.at_most is None:
            return ""
        median = self.spread[1]
        if self.at_least is not None:
            return f"≥ {self.at_least:g} {'✓' if median >= self.at_least else '✗'}"
        return f"≤ {self.at_most:g} {'✓' if median <= self.at_most else '✗'}"

    def row(self) -> list[str]:
        """The cells of a table."""
        return [self.claim, self.case, *(f"{value:.3g}" for value in self.spread), str(len(self.values)), self.goal]


HEAD = ["ratio", "case", "min", "median", "max", "n", "goal"]


@dataclass
class Report:
    """What one benchmark finds; printed as it comes, then written as JSON."""

    name: str
    question: str
    ratios: list[Ratio] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    curves: dict[str, Any] = field(default_factory=dict)
    """Raw numbers that a chart may want, by case."""

    def ratio(
        self, claim: str, case: str, above: Any, below: Any, at_least: float | None = None, at_most: float | None = None
    ) -> None:
        """Report ``above / below``, round by round."""
        values = np.atleast_1d(np.asarray(above, float) / np.asarray(below, float))
        found = Ratio(claim, case, tuple(float(value) for value in values), at_least, at_most)
        self.ratios.append(found)
        low, median, high = found.spread
        print(f"  {case}: {claim}: {median:.3g} ({low:.3g} – {high:.3g}, n={len(values)}) {found.goal}", flush=True)

    def note(self, words: str) -> None:
        """What a reader has to know beside the ratios."""
        self.notes.append(words)
        print(f"  · {words}", flush=True)

    def write(self, folder: Path, took: float) -> None:
        """Write ``<name>.json``."""
        folder.mkdir(parents=True, exist_ok=True)
        ratios = [{**asdict(ratio), "spread": ratio.spread, "goal": ratio.goal} for ratio in self.ratios]
        content = {**asdict(self), "ratios": ratios, "took": round(took, 1), "machine": machine()}
        (folder / f"{self.name}.json").write_text(json.dumps(content, indent=1, ensure_ascii=False, default=_plain))


def results(folder: Path) -> dict[str, dict[str, Any]]:
    """What was written into `folder`, by name."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}


def write_table(folder: Path, order: Iterable[str]) -> Path:
    """Make ``results.md`` of all results in `folder`."""
    found, lines = results(folder), ["# Benchmarks: the numbers", ""]
    for name in (name for name in order if name in found):
        part = found[name]
        lines += [f"## {name}", "", part["question"], ""]
        if part["ratios"]:
            rows = [Ratio(**{key: ratio[key] for key in Ratio.__dataclass_fields__}).row() for ratio in part["ratios"]]
            lines += [f"| {' | '.join(row)} |" for row in (HEAD, ["---"] * len(HEAD), *rows)] + [""]
        lines += [f"- {note}" for note in part["notes"]]
        facts = part["machine"]
        packages = ", ".join(f"{name} {number}" for name, number in facts["packages"].items())
        where = facts["gpu"] if name == "gpu" and facts["gpu"] else f"{facts['cpu']}, {facts['cores']} cores"
        lines += ["", f"{where}; {facts['date']}, {part['took']:.0f} s; {packages}.", ""]
    path = folder / "results.md" if folder != RESULTS else HERE / "results.md"
    path.write_text("\n".join(lines))
    return path


def machine() -> dict[str, Any]:
    """Where and with what the numbers were taken."""
    import torch

    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "",
        "python": platform.python_version(),
        "packages": {name: number for name in PACKAGES if (number := _version(name))},
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
    }


def _cpu() -> str:
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text().splitlines() if facts.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else str(value)
