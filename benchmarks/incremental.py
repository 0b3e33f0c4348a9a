"""Does it pay to compute only what a window reaches, when a window slides over the picture?

For each model the part of its multiplications that windows of 32 pixels at a stride of 16 need, the time of a window
against an ordinary forward pass in torch and in OpenVINO, and a whole ``attribute(method="occlusion")`` with and
without, in which the canonical copy is paid for. Also alone: ``python -m benchmarks.incremental``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import numpy as np

from benchmarks import cases
from benchmarks.cases import Case
from benchmarks.harness import Report, alternate, rounds, seconds
from xai_widgets.incremental import Incremental
from xai_widgets.perturb import compose
from xai_widgets.problem import Problem
from xai_widgets.session import Session

MODELS = ("resnet18", "vgg11", "densenet121", "mobilenet_v3_small")
WINDOW, STRIDE = 32, 16


def run(report: Report, quick: bool) -> None:
    """Each model."""
    for case in (cases.lite0(), *map(cases.torchvision_model, MODELS)):
        compare(report, case, *((16, 2) if quick else (64, 7)))


def compare(report: Report, case: Case, n_windows: int, turns: int) -> None:
    """One model."""
    session = Session(case.model, case.photo, segments=case.segments, **case.options)
    problem = session._problem(session.target(case.target), "probability")  # noqa: SLF001
    made, masks = Incremental(problem), _windows(problem, n_windows)
    gap = float(np.abs(made.answers(masks) - problem.classifier.answers(compose(problem, masks), "probability")).max())
    share = made.share((WINDOW, WINDOW))
    report.note(f"{case.name}: windows need {share:.0%} of {made.multiplications / 1e6:.0f} M; off by {gap:.1g}")

    ways: dict[str, Callable[[int], Any]] = {
        "incremental": lambda _round: list(map(made.answers, np.array_split(masks, -(-n_windows // made.BATCH)))),
        "torch": lambda _round: _ordinary(problem, masks),
    }
    if find_spec("openvino"):
        from xai_widgets import translation

        translated = translation.trace(problem.classifier).compile()
        ways["OpenVINO"] = lambda _round: [translated(part) for part in compose(problem, masks).split(8)]
    alternate(ways, range(1))
    found = alternate(ways, rounds(turns, 0.7))
    for name in list(ways)[1:]:
        report.ratio(f"{name} / incremental, a window", case.name, seconds(found[name]), seconds(found["incremental"]))

    def whole(_round: int) -> Any:
        return case.attribute("occlusion", 0, window=WINDOW, stride=STRIDE)

    def without(turn: int) -> Any:
        with _without():
            return whole(turn)

    found = alternate({"with": whole, "without": without}, rounds(min(turns, 3), 0.7))
    report.ratio("without / with it, a whole map", case.name, seconds(found["without"]), seconds(found["with"]))


def _windows(problem: Problem, count: int) -> np.ndarray:
    """Masks (count, h, w), spread over the picture."""
    height, width = problem.view.shape
    places = [(y, x) for y in range(0, height - WINDOW + 1, STRIDE) for x in range(0, width - WINDOW + 1, STRIDE)]
    masks = np.ones((count, height, width), bool)
    for mask, at in zip(masks, np.linspace(0, len(places) - 1, count).astype(int), strict=True):
        y, x = places[at]
        mask[y : y + WINDOW, x : x + WINDOW] = False
    return masks


def _ordinary(problem: Problem, masks: np.ndarray) -> None:
    """Whole forward passes at the batch size that suits a CPU."""
    for start in range(0, len(masks), 8):
        problem.classifier.answers(compose(problem, masks[start : start + 8]), "probability")


@contextmanager
def _without() -> Iterator[None]:
    """Whole forward passes only."""
    of = Incremental.__dict__["of"]
    Incremental.of = classmethod(lambda *_args: None)
    try:
        yield
    finally:
        Incremental.of = of


if __name__ == "__main__":
    run(Report("incremental", __doc__.partition("\n")[0]), quick=False)
