"""In a real browser: choosing another picture of a batch, and another layer, with the real kernel side."""

from __future__ import annotations

import numpy as np
import pytest
from models import cnn, photo
from toys import NAMES, ColourModel, quarters

import xai_widgets as xw

pytestmark = pytest.mark.browser


@pytest.fixture
def show(bridge, tmp_path):
    made = []

    def make(model, image, **options):
        widget = xw.explain(model, image, store=tmp_path / "fb.db", **options)
        made.append(widget)
        bridge.show(widget)
        settled(bridge, widget)
        return widget

    yield make
    for widget in made:
        widget.close()


def settled(bridge, widget):
    """Wait until the page shows the kernel's picture and map."""
    root = bridge.page.get_by_test_id("xw")
    widget.wait(30)
    bridge.until(lambda: root.get_attribute("data-ready") == "1", "the picture")
    bridge.until(lambda: root.get_attribute("data-heat") == str(widget.heat["id"]), "the map")


def test_another_picture_of_a_batch_is_one_click_away(bridge, show):
    turned = np.ascontiguousarray(quarters()[::-1])
    wide = np.tile(quarters(), (1, 2, 1))
    w = show(ColourModel(), [quarters(), turned, wide], class_names=NAMES, segments="grid", n_segments=16)
    radios = bridge.page.get_by_role("radiogroup", name="Pictures").get_by_role("radio")
    bridge.until(lambda: radios.count() == 3, "the strip")
    bridge.until(lambda: "red 0." in (radios.first.get_attribute("aria-label") or ""), "the answers")
    assert radios.nth(2).get_attribute("aria-label").startswith("picture 3 of 3, ")
    w.toggle(3)
    w.wait(30)
    radios.nth(2).click()
    bridge.until(lambda: w.picked == 2, "the kernel")
    settled(bridge, w)
    assert np.array_equal(w.explanation.image, wide)
    assert bridge.page.evaluate("() => window.models[Object.keys(window.models)[0]].state.history.states.length") == 1
    assert w.active.all()
    # What follows works on the new picture: a click on its lower right corner switches off its last region.
    canvas = bridge.page.get_by_test_id("xw-canvas")
    box = canvas.bounding_box()
    canvas.click(position={"x": box["width"] * 0.97, "y": box["height"] * 0.95})
    bridge.until(lambda: list(np.flatnonzero(~w.active)) == [w.explanation.segments[-1, -1]], "the click")
    radios.nth(2).press("Home")
    bridge.until(lambda: w.picked == 0, "the first picture again")
    settled(bridge, w)
    assert np.array_equal(w.explanation.image, quarters())


def test_the_layer_is_shown_and_can_be_changed(bridge, show):
    w = show(cnn(), photo(), method="gradcam")
    automatic = w.explanation
    bridge.page.get_by_role("button", name="Layer").click()
    select = bridge.page.get_by_label("Read at")
    options = select.locator("option").all_inner_texts()
    assert options[0] == "Automatic"
    assert any(text.startswith(automatic.target_layer) for text in options)
    select.select_option("0")
    bridge.until(lambda: w.layer == "0", "the kernel")
    settled(bridge, w)
    assert w.explanation.target_layer == "0"
    assert w.explanation.coarse.shape != automatic.coarse.shape
    chip = bridge.page.get_by_role("button", name="Layer")
    bridge.until(lambda: "0" in chip.inner_text(), "the chip")
    select.select_option("")
    bridge.until(lambda: w.layer == "", "automatic again")
    settled(bridge, w)
    assert np.array_equal(w.explanation.values, automatic.values)


def test_a_picture_that_cannot_be_opened_is_said_and_the_last_one_stays(bridge, show):
    wrong = quarters() / 255
    wrong[0, 0] = np.nan
    w = show(ColourModel(), [quarters(), wrong], class_names=NAMES, segments="grid", n_segments=16)
    radios = bridge.page.get_by_role("radiogroup", name="Pictures").get_by_role("radio")
    bridge.until(lambda: radios.count() == 2, "the strip")
    radios.nth(1).click()
    bridge.until(lambda: bridge.page.get_by_role("alert").filter(has_text="Picture 2 of 2").count(), "the message")
    bridge.until(lambda: radios.nth(0).is_checked(), "the mark on the picture that is shown")
    assert w.picked == 0
