"""``make screenshots``: pictures of the real widget on the real demo model, for the docs.

The widget runs in Chromium on the bridge that the tests use, once in JupyterLab's light and once in its dark colours,
1200 and 480 pixels wide, with LIME's map, three regions switched off and a judgement begun;
and a batch of photos with Grad-CAM and its layers.

Usage: ``python scripts/screenshots.py [FOLDER]``
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import comm
from playwright.sync_api import Browser, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from bridge import Bridge, BridgeComm  # noqa: E402
from conftest import CHROMIUM, CHROMIUM_ARGS  # noqa: E402
from themes import THEMES, apply_theme  # noqa: E402

WIDTHS = (1200, 480)


def main(folder: Path) -> None:
    comm.create_comm = BridgeComm
    import xai_widgets as xw
    from xai_widgets import demo

    model, photo = demo.imagenet_classifier(), demo.sample("chelsea")
    folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as scratch:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(CHROMIUM_ARGS))
        page = browser.new_page(viewport={"width": 1200, "height": 900}, device_scale_factor=1)
        bridge = Bridge(page)
        store = Path(scratch) / "feedback.db"
        w = xw.explain(model, photo, method="lime", n_samples=1000, store=store, annotator="anna")
        bridge.show(w)
        root = page.get_by_test_id("xw")
        w.wait(300)
        bridge.until(lambda: root.get_attribute("data-status") == "idle", "the map")
        stage = page.get_by_test_id("xw-canvas")
        stage.focus()
        for n in range(1, 4):
            # By keyboard, so that the page keeps what the map promised for each.
            page.keyboard.press("n")
            page.keyboard.press("Space")
            bridge.until(lambda n=n: len(w.answered_off) == n, "the answer")
            w.wait(30)
            bridge.until(lambda: root.get_attribute("data-off") == ",".join(map(str, w.answered_off)), "the answer")
        stage.blur()
        for theme in THEMES:
            apply_theme(page, theme)
            for width in WIDTHS:
                page.set_viewport_size({"width": width + 16, "height": 900})
                page.wait_for_timeout(300)
                path = folder / f"widget-{theme}-{width}.png"
                root.screenshot(path=path)
                print(path)
        w.close()
        page.close()
        batch(browser, model, folder, store)
        browser.close()


def batch(browser: Browser, model: Any, folder: Path, store: Path) -> None:
    """Several photos, the second picked, and the layer that is read."""
    import xai_widgets as xw
    from xai_widgets import demo

    page = browser.new_page(viewport={"width": 1216, "height": 900}, device_scale_factor=1)
    bridge = Bridge(page)
    names = ("chelsea", "coffee", "camera", "rocket", "motorcycle")
    w = xw.explain(model, [demo.sample(name) for name in names], store=store, annotator="anna")
    bridge.show(w)
    apply_theme(page, "light")
    root, radios = page.get_by_test_id("xw"), page.get_by_role("radiogroup", name="Pictures").get_by_role("radio")
    bridge.until(lambda: "0." in (radios.last.get_attribute("aria-label") or ""), "the small pictures", 120)
    radios.nth(1).click()
    bridge.until(lambda: w.explanation is not None and w.picked == 1, "the second photo")
    w.wait(60)
    bridge.until(lambda: root.get_attribute("data-heat") == str(w.heat["id"]), "its map")
    page.get_by_role("button", name="Layer").click()
    page.wait_for_timeout(300)
    path = folder / "widget-batch-1200.png"
    root.screenshot(path=path)
    print(path)
    w.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs")
