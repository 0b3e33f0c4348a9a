"""The widget in a real browser, with the real kernel side and a model whose answers can be computed by hand."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
import torch
from bridge import BridgeComm
from sampler import sampling
from themes import apply_theme
from toys import NAMES, ColourModel, Fails, quarters

import xai_widgets as xw
from xai_widgets.jobs import RUNNER
from xai_widgets.widgets import _preview

pytestmark = pytest.mark.browser


@pytest.fixture
def explain(bridge, tmp_path):
    made = []

    def make(model=None, **options):
        options = {"class_names": NAMES, "segments": "grid", "n_segments": 16, "store": tmp_path / "fb.db", **options}
        widget = xw.explain(model or ColourModel(), quarters(), **options)
        made.append(widget)
        return widget

    yield make
    for widget in made:
        widget.close()


@pytest.fixture
def show(bridge, explain):
    """``show(**options)`` → a widget, on the page and drawn."""

    def make(model=None, **options):
        w = explain(model, **options)
        bridge.show(w)
        ready(bridge, w)
        return w

    return make


def ready(bridge, w, view=0):
    root = bridge.page.get_by_test_id("xw").nth(view)
    w.wait(20)
    bridge.until(lambda: root.get_attribute("data-ready") == "1", "the picture")
    bridge.until(lambda: root.get_attribute("data-heat") == str(w.heat["id"]), "the map")


def answered(bridge, w, *off, view=0):
    """Wait until the view shows the answer for exactly these regions."""
    root = bridge.page.get_by_test_id("xw").nth(view)
    wanted = ",".join(map(str, sorted(off)))
    bridge.until(lambda: root.get_attribute("data-off") == wanted, f"the answer for {wanted or 'all on'}")


def click_region(bridge, w, region, view=0):
    """Click where the region is on the canvas."""
    rows, cols = np.nonzero(w.explanation.segments == region)
    canvas = bridge.page.get_by_test_id("xw-canvas").nth(view)
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    height, width = w.explanation.segments.shape
    bridge.page.mouse.click(
        box["x"] + (cols.mean() + 0.5) / width * box["width"], box["y"] + (rows.mean() + 0.5) / height * box["height"]
    )


def test_a_region_clicked_off_shows_the_models_answer_for_exactly_that_picture(bridge, show):
    model = ColourModel()
    w = show(model)
    click_region(bridge, w, 0)
    answered(bridge, w, 0)
    e = w.explanation
    altered = np.where((e.segments == 0)[..., None], e.off_image, e.image)
    with torch.no_grad():
        expected = model(torch.tensor(altered / 255.0).permute(2, 0, 1)[None].float()).softmax(1)[0].numpy()
    np.testing.assert_allclose(w.prediction, expected, atol=1e-5)
    hero = bridge.page.get_by_test_id("xw-hero").inner_text()
    assert f"{100 * expected[0]:.1f}" in hero
    assert not w.active[0]


@pytest.mark.parametrize(("name", "trait"), [("Heat opacity", "opacity"), ("Show strongest", "threshold")])
def test_looking_sends_nothing_until_a_slider_is_let_go(bridge, show, name, trait):
    w = show()
    page = bridge.page
    page.get_by_role("button", name="Display").click()
    before = getattr(w, trait)
    sent = page.evaluate("window.sent.length")
    slider = page.get_by_role("slider", name=name)
    box = slider.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.8, box["y"] + box["height"] / 2)
    page.mouse.down()
    for step in range(30):
        page.mouse.move(box["x"] + box["width"] * (0.8 - step * 0.02), box["y"] + box["height"] / 2)
    bridge.pump()
    assert slider.input_value() != str(round(before * 100))  # it did move, in the page
    assert getattr(w, trait) == before
    assert page.evaluate("window.sent.length") == sent
    page.mouse.up()
    bridge.until(lambda: getattr(w, trait) < 0.5, "the value in the kernel")
    assert page.evaluate("n => window.sent.slice(n)", sent) == [["update", [trait]]]


def zoomed(page):
    """How much the picture is enlarged, in percent, as the page says."""
    return int("".join(c for c in page.get_by_role("group", name="Zoom").inner_text() if c.isdigit()))


def test_an_enlarged_picture_is_moved_by_hand_and_clicked_where_it_is(bridge, show):
    w = show(method="saliency")
    page, canvas = bridge.page, bridge.page.get_by_test_id("xw-canvas")
    sent = page.evaluate("window.sent.length")
    box = canvas.bounding_box()
    left, top, side = box["x"], box["y"], box["width"]
    # The upper left corner stays under the pointer, so after four-fold zoom the stage shows the first of 4 × 4 regions.
    page.mouse.move(left + 1, top + 1)
    page.keyboard.down("Control")
    while zoomed(page) < 400:
        page.mouse.wheel(0, -100)
    page.keyboard.up("Control")
    # Dragged by half of a stage, the middle shows what was to the right and below.
    page.mouse.move(left + side * 0.9, top + side * 0.9)
    page.mouse.down()
    for step in range(11):
        page.mouse.move(left + side * (0.9 - 0.08 * step), top + side * (0.9 - 0.08 * step))
    page.mouse.up()
    assert page.evaluate("window.sent.length") == sent  # looking is nobody's business, and a drag is no click
    part = 100 / zoomed(page)
    at = 0.8 * part + part / 2  # of the picture, what is in the middle of the stage now
    page.mouse.click(left + side / 2, top + side / 2)
    segments = w.explanation.segments
    region = int(segments[int(at * segments.shape[0]), int(at * segments.shape[1])])
    answered(bridge, w, region)
    page.keyboard.press("0")
    bridge.until(lambda: zoomed(page) == 100, "the whole picture")
    page.keyboard.press("x")
    answered(bridge, w)
    click_region(bridge, w, 15)
    answered(bridge, w, 15)


def test_a_plain_wheel_is_the_notebooks_and_says_what_zooms(bridge, show):
    show(method="saliency")
    page, canvas = bridge.page, bridge.page.get_by_test_id("xw-canvas")
    canvas.hover()
    page.mouse.wheel(0, -200)
    page.get_by_text("Ctrl and wheel").wait_for()
    assert zoomed(page) == 100
    canvas.focus()
    page.keyboard.press("+")
    bridge.until(lambda: zoomed(page) == 125, "the key")
    page.mouse.wheel(0, -200)  # at work in an enlarged picture
    bridge.until(lambda: zoomed(page) > 125, "the wheel")
    page.get_by_role("button", name="Whole picture").click()
    bridge.until(lambda: zoomed(page) == 100, "the whole picture")
    page.get_by_role("button", name="Zoom in").click()
    bridge.until(lambda: zoomed(page) == 125, "the button")


def test_a_region_found_by_keys_is_brought_on_show(bridge, show):
    w = show(method="saliency")
    page, canvas = bridge.page, bridge.page.get_by_test_id("xw-canvas")
    canvas.focus()
    for _ in range(10):
        page.keyboard.press("+")
    for _ in range(5):  # to the corner, whichever region came first
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowDown")
    tip, box = page.locator(".tip"), canvas.bounding_box()
    tip.wait_for()
    assert "Region 15" in tip.inner_text()
    at = tip.bounding_box()
    assert box["x"] - at["width"] < at["x"] < box["x"] + box["width"]
    page.keyboard.press("Space")
    answered(bridge, w, 15)


def test_the_colours_end_where_they_are_dragged_to(bridge, show):
    show(method="lime", n_samples=64)
    page = bridge.page
    handle, bar = page.get_by_role("slider", name="Where the colours end"), page.locator(".ramp canvas")
    sent = page.evaluate("window.sent.length")
    pixels = "c => [...c.getContext('2d').getImageData(0, 2, c.width, 1).data].join()"
    before = bar.evaluate(pixels)
    box, at = bar.bounding_box(), handle.bounding_box()
    page.mouse.move(at["x"] + at["width"] / 2, at["y"] + at["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.75 * box["width"], at["y"] + 5, steps=5)
    page.mouse.up()

    def share():
        return int(handle.get_attribute("aria-valuenow"))

    bridge.until(lambda: abs(share() - 50) <= 2, "the middle of the positive half")
    bridge.until(lambda: bar.evaluate(pixels) != before, "other colours")
    handle.focus()
    page.keyboard.press("ArrowRight")
    bridge.until(lambda: abs(share() - 55) <= 2, "a step of the key")
    assert "points" in handle.get_attribute("aria-valuetext")
    handle.dblclick()
    bridge.until(lambda: bar.evaluate(pixels) == before, "the colours as they were")
    assert page.evaluate("window.sent.length") == sent


def test_the_kernel_moves_the_sliders(bridge, show):
    w = show()
    page = bridge.page
    page.get_by_role("button", name="Display").click()
    w.opacity = 0.35
    slider = page.get_by_role("slider", name="Heat opacity")
    bridge.until(lambda: slider.input_value() == "35", "the slider")


def test_two_hundred_toggles_in_two_seconds_end_right_with_one_running_and_one_waiting(bridge, show):
    waiting = []

    class Slow(ColourModel):
        def forward(self, x):
            time.sleep(0.05)
            waiting.append(sum(job.key[-1] == "predict" for job in RUNNER._jobs))
            return super().forward(x)

    w = show(Slow(), method="saliency")
    waiting.clear()
    page = bridge.page
    took = page.evaluate("""async () => {
        const stage = document.querySelector('[data-testid=xw-canvas]');
        stage.focus();
        const key = (k) => stage.dispatchEvent(new KeyboardEvent('keydown', {key: k, bubbles: true, cancelable: true}));
        const start = performance.now();
        for (let i = 0; i < 200; i++) {
            key('n'); key(' ');
            await new Promise((ok) => setTimeout(ok, Math.max(0, start + (i + 1) * 9.5 - performance.now())));
        }
        return performance.now() - start;
    }""")
    browser_off = page.evaluate("(id) => window.models[id].state.active.flatMap((on, i) => on ? [] : [i])", w.model_id)
    bridge.until(lambda: list(np.flatnonzero(~w.active)) == browser_off, "the kernel to follow")
    answered(bridge, w, *browser_off)
    assert len(browser_off) == 8  # 200 toggles over 16 regions in turn
    assert max(waiting) <= 2
    assert len(waiting) < 200  # some were overtaken before they were asked
    assert took > 1500


def test_keyboard_alone_switches_undoes_and_redoes(bridge, show):
    w = show(method="saliency")
    page = bridge.page
    page.get_by_test_id("xw-canvas").focus()
    page.keyboard.press("n")
    page.keyboard.press("Space")
    bridge.until(lambda: (~w.active).sum() == 1, "one region off")
    off = int(np.flatnonzero(~w.active)[0])
    answered(bridge, w, off)
    page.keyboard.press("z")
    answered(bridge, w)
    page.keyboard.press("Shift+Z")
    answered(bridge, w, off)
    page.keyboard.press("x")
    answered(bridge, w)
    assert w.active.all()


def test_the_class_is_switched_by_searching_all_names(bridge, show):
    w = show()
    page = bridge.page
    page.get_by_role("button", name="Why").click()
    page.get_by_role("searchbox").fill("blu")
    page.keyboard.press("Enter") if page.get_by_role("button", name="blue").count() == 0 else page.locator(
        "[role=dialog]"
    ).get_by_role("button", name="blue").click()
    bridge.until(lambda: w.target == 2, "the class in the kernel")
    ready(bridge, w)
    assert w.explanation.target_name == "blue"


def test_the_method_is_switched_in_the_page(bridge, show):
    w = show()
    page = bridge.page
    page.get_by_role("button", name="according to").click()
    page.locator("[role=dialog]").get_by_role("button", name="Saliency").click()
    bridge.until(lambda: w.method == "saliency", "the method in the kernel")
    ready(bridge, w)


def test_a_parameter_set_in_the_page_explains_anew_and_one_set_in_the_kernel_is_shown(bridge, show):
    w = show(method="lime", n_samples=40)
    page = bridge.page
    settings = page.get_by_role("button", name="Settings of LIME")
    settings.click()
    field = page.get_by_role("spinbutton", name="Number of samples")
    assert field.input_value() == "40"
    field.fill("70")
    field.press("Tab")
    bridge.until(lambda: w.params["n_samples"] == 70, "the number in the kernel")
    ready(bridge, w)
    assert w.progress["done"] == 70
    field.fill("2")  # fewer than the method takes: the browser says so, and nothing is sent
    field.press("Tab")
    page.keyboard.press("Escape")
    assert w.params["n_samples"] == 70
    w.params = {"n_samples": 50}
    ready(bridge, w)
    settings.click()
    assert page.get_by_role("spinbutton", name="Number of samples").input_value() == "50"


def test_what_a_method_draws_is_shown_with_captions_and_enlarged_on_demand(bridge, show):
    w = show(method="feature_maps")
    page = bridge.page
    plates = page.get_by_role("group", name="Pictures made by").get_by_role("figure")
    bridge.until(lambda: plates.count() == len(w.explanation.pictures), "the pictures")
    caption = w.explanation.captions[0]
    page.get_by_role("button", name=f"Enlarge: {caption}").click()
    big = page.get_by_role("dialog").get_by_role("img", name=caption)
    assert big.evaluate("image => image.naturalWidth") > 0
    page.keyboard.press("Escape")
    assert page.get_by_role("dialog").count() == 0


def test_an_error_of_the_model_is_shown_with_a_retry_and_the_widget_stays_usable(bridge, show):
    model = Fails()
    w = show(model)
    page = bridge.page
    model.broken = True
    click_region(bridge, w, 3)
    alert = page.get_by_role("alert")
    bridge.until(lambda: alert.count() and "<b>no such</b> kernel image" in alert.inner_text(), "the error")
    model.broken = False
    alert.get_by_role("button", name="Try again").click()
    answered(bridge, w, 3)
    assert page.get_by_role("alert").count() == 0


def test_a_region_marked_by_hand_is_stored_before_the_page_says_so(bridge, show):
    w = show(method="saliency")
    page = bridge.page
    page.get_by_role("radio", name="Must not matter").check(force=True)
    page.get_by_role("button", name="Whole regions").click()
    click_region(bridge, w, 5)
    click_region(bridge, w, 6)
    assert w.active.all()  # marking does not switch
    page.get_by_role("radio", name="4").check(force=True)
    page.get_by_role("textbox", name="Comment").fill("<img src=x onerror=alert(1)> sky 🌤")
    page.get_by_role("button", name="Submit").click()
    bridge.until(lambda: len(w.feedback) == 1, "the record")
    bridge.until(lambda: "Saved" in page.get_by_test_id("xw-saved").inner_text(), "the page to say so")
    (record,) = xw.FeedbackStore(w.store["path"]).records()
    assert (record.verdict, record.regions, record.rating) == ("must_not_matter", (5, 6), 4)
    assert record.comment == "<img src=x onerror=alert(1)> sky 🌤"


def test_a_judgement_that_cannot_be_stored_says_why_and_keeps_what_was_typed(bridge, show, monkeypatch):
    w = show(method="saliency")
    page = bridge.page

    def full(record):
        raise xw.StoreError("The disk is full. Choose another place: store=…")

    monkeypatch.setattr(w._judge._store, "add", full)
    page.get_by_role("textbox", name="Comment").fill("keep me")
    page.get_by_role("button", name="Submit").click()
    bridge.until(lambda: "disk is full" in page.get_by_test_id("xw").inner_text(), "the reason")
    assert page.get_by_role("textbox", name="Comment").input_value() == "keep me"
    assert w.feedback == ()


def test_two_views_of_one_widget_agree_and_closing_one_leaves_no_listener(bridge, show):
    w = show(method="saliency")
    listeners = bridge.page.evaluate("id => window.models[id].listeners()", w.model_id)
    bridge.show(w)
    ready(bridge, w, view=1)
    click_region(bridge, w, 2, view=1)
    answered(bridge, w, 2, view=0)
    answered(bridge, w, 2, view=1)
    bridge.page.evaluate("id => window.models[id].closeView(1)", w.model_id)
    assert bridge.page.evaluate("id => window.models[id].listeners()", w.model_id) == listeners
    click_region(bridge, w, 2)
    answered(bridge, w)
    bridge.page.evaluate("id => window.models[id].closeView(0)", w.model_id)
    assert bridge.page.evaluate("id => window.models[id].listeners()", w.model_id) == 0


def test_the_theme_follows_the_host_while_it_is_shown(bridge, show):
    show(method="saliency")
    root = bridge.page.get_by_test_id("xw")
    for theme in ("dark", "light", "dark"):
        apply_theme(bridge.page, theme)
        bridge.until(lambda theme=theme: root.get_attribute("data-theme") == theme, theme)


def test_keys_typed_inside_never_reach_the_notebook(bridge, show):
    show(method="saliency")
    page = bridge.page
    page.evaluate("window.leaked = []; document.addEventListener('keydown', (e) => window.leaked.push(e.key))")
    page.get_by_test_id("xw-canvas").focus()
    for key in ("n", "d", "Enter", "a", "ArrowDown", "b"):
        page.keyboard.press(key)
    page.get_by_role("textbox", name="Comment").fill("x")
    page.keyboard.type("dd0 zz xx nn")
    assert page.get_by_role("textbox", name="Comment").input_value() == "xdd0 zz xx nn"
    assert page.evaluate("window.leaked") == []
    page.get_by_test_id("xw-canvas").focus()
    page.keyboard.press("Escape")
    assert page.evaluate("window.leaked") == ["Escape"]


def test_ten_widgets_on_one_page_work_each_for_itself(bridge, explain):
    widgets = [explain(method="saliency") for _ in range(10)]
    for w in widgets:
        bridge.show(w)
    for i, w in enumerate(widgets):
        ready(bridge, w, view=i)
    for i in (0, 4, 9):
        click_region(bridge, widgets[i], i, view=i)
        answered(bridge, widgets[i], i, view=i)
    assert [int((~w.active).sum()) for w in widgets] == [1, 0, 0, 0, 1, 0, 0, 0, 0, 1]


@pytest.mark.parametrize("shape", [(28, 28), (40, 120), (120, 40)])
def test_pictures_of_any_shape_are_drawn_in_their_proportions(bridge, tmp_path, shape):
    image = np.random.default_rng(0).integers(0, 255, (*shape, 3), dtype=np.uint8)
    w = xw.explain(ColourModel(), image, store=tmp_path / "fb.db", n_segments=9, segments="grid")
    bridge.show(w)
    ready(bridge, w)
    box = bridge.page.get_by_test_id("xw-canvas").bounding_box()
    assert box["width"] / box["height"] == pytest.approx(shape[1] / shape[0], rel=0.02)
    w.close()


def test_hostile_and_long_names_are_shown_as_text(bridge, tmp_path):
    names = ["<script>window.hacked = 1</script>", "\u202eأحمر" * 40, "x" * 300]
    w = xw.explain(ColourModel(), quarters(), class_names=names, store=tmp_path / "fb.db")
    bridge.show(w)
    ready(bridge, w)
    page = bridge.page
    assert page.evaluate("window.hacked") is None
    assert "<script>" in page.get_by_test_id("xw").inner_text()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    w.close()


def test_a_map_keeps_its_name_while_another_cannot_be_made(bridge, show):
    model = Fails()
    w = show(model, method="occlusion")
    page = bridge.page
    model.broken = True
    w.target = "blue"
    w.wait(20)
    bridge.until(lambda: page.get_by_role("alert").count(), "the error")
    text = page.locator(".pic").inner_text()
    assert "Still showing red, according to Occlusion" in text
    assert "for red" in text
    assert "for blue" not in text


def test_menus_stay_open_while_a_map_is_refined(bridge, explain, sampler):
    sampler.gate = threading.Semaphore(1)
    w = explain(method="sampler")
    bridge.show(w)
    page = bridge.page
    bridge.until(lambda: w.heat, "a first map")
    heated(bridge, w)
    page.get_by_role("button", name="according to").click()
    for done in (20, 30, 40):
        sampler.gate.release(1)
        bridge.until(lambda done=done: w.progress["done"] == done, "a better map")
        heated(bridge, w)
    page.locator("[role=dialog]").get_by_role("button", name="Saliency").click()
    sampler.open()
    bridge.until(lambda: w.method == "saliency", "the method in the kernel")
    ready(bridge, w)


def test_nothing_is_submitted_before_something_is_said(bridge, show):
    w = show(method="saliency")
    page = bridge.page
    submit = page.get_by_role("button", name="Submit")
    assert submit.is_disabled()
    page.get_by_role("radio", name="Unsure").check(force=True)
    bridge.until(submit.is_enabled, "the button")
    submit.click()
    bridge.until(lambda: len(w.feedback) == 1, "the record")
    assert (w.feedback[0].verdict, w.feedback[0].scope) == ("unsure", "map")


# ---------------------------------------------------------------------------------------------------------------------
# While a map is found
# ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def sampler(monkeypatch):
    with sampling(monkeypatch) as made:
        yield made


def heated(bridge, w):
    """Wait until the page shows the map that the kernel has."""
    root = bridge.page.get_by_test_id("xw")
    bridge.until(lambda: root.get_attribute("data-heat") == str(w.heat["id"]), "the map")


def test_a_map_is_refined_by_a_button_and_goes_on_where_it_was_stopped(bridge, show, sampler):
    w = show(method="sampler", n_samples=200)
    page = bridge.page
    refine, stop = (page.get_by_role("button", name=name, exact=True) for name in ("Refine", "Stop"))
    sampler.gate = threading.Semaphore(25)
    refine.click()
    bridge.until(lambda: w.progress["done"] == 250, "more than before")
    heated(bridge, w)
    assert page.locator(".run").inner_text().startswith("250 of 400")
    stop.focus()
    page.keyboard.press("Enter")
    bridge.until(lambda: any(job.stop for job in RUNNER._jobs), "the stop")
    sampler.open()
    bridge.until(lambda: w.status == "stopped", "the end")
    bridge.until(lambda: "Stopped at 260 of 400" in page.locator(".run").inner_text(), "the page to say so")
    assert refine.evaluate("button => button === document.activeElement")
    page.keyboard.press("Enter")
    bridge.until(lambda: w.explanation.n_forward == 400, "the whole")
    ready(bridge, w)
    assert sampler.asked == [(200, 0.9), (400, None), (400, None)]
    assert w.params["n_samples"] == 200


def test_a_map_that_settles_by_itself_says_after_how_many(bridge, show, sampler):
    sampler.settles = 340
    show(method="sampler")
    page = bridge.page
    bridge.until(lambda: "Settled after 340 of 1,000" in page.locator(".run").inner_text(), "the page to say so")
    page.get_by_role("button", name="Ranking").click()
    assert "keep their order" in page.get_by_role("dialog").inner_text()


def test_a_cheap_map_is_on_the_page_first_with_its_own_name_on_it(bridge, explain, sampler, monkeypatch):
    monkeypatch.setattr(_preview, "_seconds", lambda session, info, params: 100 if info.name == "sampler" else 0.1)
    sampler.silent, sampler.gate = 4, threading.Semaphore(3)
    w = explain(method="sampler")
    bridge.show(w)
    page = bridge.page
    hint = page.get_by_text("Grad-CAM, while Sampler is being found")
    bridge.until(lambda: hint.is_visible(), "the name")
    heated(bridge, w)
    assert "Why red? According to Grad-CAM." in page.get_by_test_id("xw").get_attribute("aria-label")
    assert page.get_by_role("button", name="according to").inner_text().endswith("Sampler")
    sampler.open()
    ready(bridge, w)
    bridge.until(lambda: not hint.is_visible(), "the name to go")
    assert page.get_by_test_id("xw").get_attribute("aria-label") == "Why red? According to Sampler."


def test_the_list_keeps_focus_rows_and_place_while_a_map_is_refined(bridge, explain, sampler):
    sampler.gate = threading.Semaphore(1)
    w = explain(method="sampler", n_segments=64)
    bridge.show(w)
    page = bridge.page
    page.set_viewport_size({"width": 420, "height": 900})  # a short list
    rows = page.get_by_role("option")
    bridge.until(lambda: rows.count() == w.n_segments, "the list")
    page.get_by_role("listbox").focus()
    for _ in range(30):
        page.keyboard.press("ArrowDown")
    bridge.until(lambda: page.locator(".row.act").count() == 1, "the row")
    page.evaluate("window.row = document.querySelector('.row.act')")
    where = "row.getBoundingClientRect().top - document.querySelector('.list').getBoundingClientRect().top"
    before = page.evaluate(where)
    for done in range(20, 80, 10):
        sampler.gate.release(1)
        bridge.until(lambda done=done: w.progress["done"] == done, "a better map")
        heated(bridge, w)
        assert page.evaluate("document.activeElement === document.querySelector('.list') && row.isConnected")
        assert page.evaluate("row.id === document.activeElement.getAttribute('aria-activedescendant')")
        assert page.evaluate(where) == pytest.approx(before, abs=1)  # its rank changed by one each time
    sampler.open()


def test_the_page_hears_of_a_map_ten_times_a_second_at_most(bridge, explain, sampler, monkeypatch):
    sent, publish = [], BridgeComm.publish_msg

    def note(self, msg_type, data=None, **rest):
        if "heat" in (data or {}).get("state", {}):
            sent.append(sampler.time)
        publish(self, msg_type, data, **rest)

    monkeypatch.setattr(BridgeComm, "publish_msg", note)
    w = explain().wait(20)
    begun, sampler.tick = sampler.time, 0.01
    sent.clear()
    with w.hold_trait_notifications():
        w.method, w.params = "sampler", {"n_samples": 5000}
    w.wait(20)
    assert sampler.time - begun == pytest.approx(5)
    assert 40 <= len(sent) <= 10 * 5 + 1
