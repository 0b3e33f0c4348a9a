"""How long from a click on a region to the new prediction in the page?

The real widget in Chromium, on the bridge of the tests, clicked with the mouse. The page itself keeps the time, from
the pointer's release to the frame in which the region is counted as off, and to that in which the model's answer stands
there. In turn with each click: a no-op that crosses the same bridge to the kernel, back, and into a frame; and one
forward of the bare model.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import torch
from scipy.ndimage import distance_transform_edt

import xai_widgets as xw
from benchmarks import cases
from benchmarks.harness import HERE, Report, timed
from benchmarks.price import plain

MARGIN = 10.0
"""Milliseconds that a toggle may take beyond one forward and a no-op."""

WATCH = """
() => {
  const root = document.querySelector('[data-testid=xw]'), count = root.querySelector('.regs .muted');
  const since = (name) => { window.took[name] ??= performance.now() - window.released; };
  new MutationObserver(() => since('region')).observe(count, { childList: true, characterData: true, subtree: true });
  // An attribute that is set to what it was counts as changed, too.
  const answered = () => root.dataset.off === window.before || since('answer');
  new MutationObserver(answered).observe(root, { attributeFilter: ['data-off'] });
  window.took = {};
  const release = () => { window.took = {}; window.before = root.dataset.off; window.released = performance.now(); };
  addEventListener('pointerup', release, true);
}
"""
FRAME = """() => new Promise((ok) => {
  const stamps = [];
  const next = (now) => stamps.push(now) < 21 ? requestAnimationFrame(next) : ok((stamps[20] - stamps[0]) / 20);
  requestAnimationFrame(next);
})"""


class Echo(anywidget.AnyWidget):
    """Sends back whatever the page sends."""

    _esm = """
    export default { render({ model }) {
      let start;
      model.on('msg:custom', () => requestAnimationFrame(() => { window.echoed = performance.now() - start; }));
      window.ping = () => { window.echoed = null; start = performance.now(); model.send({ kind: 'ping' }); };
    } };
    """
    _css = "/* nothing to see */"

    def __init__(self) -> None:
        super().__init__()
        self.on_msg(lambda widget, content, _buffers: widget.send(content))


def run(report: Report, quick: bool) -> None:
    """Click regions, one after another."""
    case = cases.lite0()
    with tempfile.TemporaryDirectory() as folder, page_with_bridge() as bridge:
        w = xw.explain(case.model, case.photo, store=Path(folder) / "feedback.db", **case.options)
        bridge.show(w)
        bridge.show(Echo())
        root = bridge.page.get_by_test_id("xw")
        w.wait(300)
        bridge.until(lambda: root.get_attribute("data-heat") == str(w.heat["id"]), "the map", 60)
        bridge.page.evaluate(WATCH)
        forward = plain(case, 1, 1, torch.contiguous_format)
        clicks, echoes, forwards = [], [], []
        for region in largest(w.explanation.segments, 4 if quick else 25):
            echoes.append(echo(bridge))
            forwards.append(1e3 * timed(forward).seconds)
            clicks.append(click(bridge, w.explanation.segments, region))
        frame = bridge.page.evaluate(FRAME)
        w.close()
    # The first of each warms up.
    answer, painted = (np.array([took[name] for took in clicks[1:]]) for name in ("answer", "region"))
    echoes, forwards = np.array(echoes[1:]), np.array(forwards[1:])
    allowed = np.median(forwards) + np.median(echoes) + MARGIN
    claim = f"click to answer in the page / (forward + no-op + {MARGIN:g} ms)"
    report.ratio(claim, case.name, answer, allowed, at_most=1)
    # A click falls somewhere within a frame, so "in the next" is up to one away, and a frame is drawn a little late.
    report.ratio("click to region off in the page / one frame", case.name, painted, frame, at_most=1.5)
    report.note(
        f"{case.name}, medians: click to answer {np.median(answer):.1f} ms, forward {np.median(forwards):.1f}, "
        f"no-op {np.median(echoes):.1f}, region off {np.median(painted):.1f}, frame {frame:.1f}"
    )


@contextmanager
def page_with_bridge() -> Iterator[Any]:
    """A page in Chromium that widgets made meanwhile talk to."""
    sys.path.append(str(HERE.parent / "tests"))
    import comm
    from bridge import Bridge, BridgeComm
    from conftest import CHROMIUM, CHROMIUM_ARGS
    from playwright.sync_api import sync_playwright

    create, comm.create_comm = comm.create_comm, BridgeComm
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(CHROMIUM_ARGS))
            yield Bridge(browser.new_page(viewport={"width": 1280, "height": 900}))
            browser.close()
    finally:
        comm.create_comm = create


def largest(segments: np.ndarray, n: int) -> list[int]:
    """The `n` largest regions."""
    return [int(region) for region in np.argsort(-np.bincount(segments.ravel()))[:n]]


def click(bridge: Any, segments: np.ndarray, region: int) -> dict[str, float]:
    """Click a region where it is thickest; milliseconds until it is off, and until the answer is there."""
    depth = distance_transform_edt(np.pad(segments == region, 1))[1:-1, 1:-1]
    row, column = np.unravel_index(depth.argmax(), depth.shape)
    canvas = bridge.page.get_by_test_id("xw-canvas")
    canvas.scroll_into_view_if_needed()
    box, (height, width) = canvas.bounding_box(), segments.shape
    x, y = box["x"] + (column + 0.5) / width * box["width"], box["y"] + (row + 0.5) / height * box["height"]
    bridge.page.mouse.click(x, y)
    return pumped(bridge, "() => 'answer' in window.took && 'region' in window.took ? window.took : null")


def echo(bridge: Any) -> float:
    """Milliseconds of a no-op."""
    bridge.page.evaluate("window.ping()")
    return pumped(bridge, "() => window.echoed")


def pumped(bridge: Any, wanted: str) -> Any:
    """Deliver the kernel's messages, as often as can be, until the page has what is wanted."""
    while (found := bridge.page.evaluate(wanted)) is None:
        bridge.pump()
        time.sleep(0.002)  # a kernel's main thread waits without holding the interpreter
    return found
