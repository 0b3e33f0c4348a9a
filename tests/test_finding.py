"""A map while it is found: how often it is painted, what it tells, how it goes on, what is shown until it comes."""

from __future__ import annotations

import threading
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from sampler import sampling
from toys import NAMES, ColourModel, quarters

import xai_widgets as xw
from xai_widgets import registry, wire
from xai_widgets.widgets import _preview
from xai_widgets.widgets._requests import Requests


@pytest.fixture
def sampler(monkeypatch):
    with sampling(monkeypatch) as made:
        yield made


@pytest.fixture
def make(tmp_path):
    """``make(**options)`` → a widget on the colour model, and every map that it painted."""
    widgets = []

    def explain(model=None, **options):
        options = {"class_names": NAMES, "segments": "grid", "n_segments": 16, "store": tmp_path / "fb.db", **options}
        widget = xw.explain(model or ColourModel(), quarters(), **options)
        widgets.append(widget)
        return widget

    yield explain
    for widget in widgets:
        widget.close()


def watch(w, sampler, *names):
    """What becomes of traits from now on, each with the time."""
    seen = []
    w.observe(lambda change: seen.append((sampler.time, change["name"], change["new"])), list(names))
    return seen


def until(condition):
    for _ in range(1000):
        if condition():
            return
        threading.Event().wait(0.01)
    raise AssertionError(condition)


def stopped_at(w, sampler, done, **params):
    """A widget of which the map was stopped by hand after about so many answers."""
    sampler.gate = threading.Semaphore(0)
    w.params = {"n_samples": 1000, **params}
    sampler.gate.release(done // 10)
    until(lambda: w.progress["done"] == done)
    w.cancel()
    sampler.gate.release(1)  # the batch that runs is not torn
    w.wait(10)
    sampler.gate = None


@pytest.mark.parametrize(("tick", "every"), [(0.01, 1), (0.07, 1), (0.01, 25), (3.0, 1)])
def test_a_map_is_painted_at_most_ten_times_a_second_and_never_twice_the_same(make, sampler, tick, every):
    w = make().wait(10)
    sampler.tick, sampler.every = tick, every
    painted = watch(w, sampler, "heat")
    begun = sampler.time
    w.method = "sampler"
    w.wait(20)
    times = [time for time, _, _ in painted]
    assert np.diff([begun, *times[:-1]]).min() >= 0.1 - 1e-9
    assert len(times) >= 100 * tick / (0.1 + (every + 1) * tick)  # and not less often either
    heats = [heat["regions"] for _, _, heat in painted[:-1]]
    assert all(one != other for one, other in pairwise(heats))
    assert not painted[-1][2]["partial"]


def test_painting_takes_at_most_a_tenth_of_the_time(make, sampler, monkeypatch):
    w = make().wait(10)
    original = wire.heat

    def dear(*args, **kwargs):
        sampler.time += 0.05
        return original(*args, **kwargs)

    monkeypatch.setattr(wire, "heat", dear)
    sampler.tick, begun = 0.1, sampler.time
    painted = watch(w, sampler, "heat")
    w.method = "sampler"
    w.wait(20)
    assert len(painted) >= 10
    assert 0.05 * len(painted) <= 0.105 * (sampler.time - begun)


def test_progress_says_how_far_it_is_and_how_long_it_takes_also_before_there_is_a_map(make, sampler):
    w = make().wait(10)
    sampler.tick, sampler.ready, sampler.silent = 0.1, 30, 50
    told = watch(w, sampler, "progress")
    w.method = "sampler"
    w.wait(20)
    progress = [value for _, _, value in told]
    assert progress[0] == {"done": 0, "total": 1000, "left": -1.0, "settled": False, "more": 0}
    done = [each["done"] for each in progress]
    assert done == sorted(done)
    assert sum(1 for each in done if each <= 500) > 40
    assert {each["left"] for each in progress if not each["done"]} == {-1.0}
    told = [each for each in progress if each["done"]]
    assert all(each["left"] == pytest.approx((1000 - each["done"]) / 100, abs=0.06) for each in told)
    assert progress[-1] == {"done": 1000, "total": 1000, "left": 0.0, "settled": False, "more": 2000}


def test_what_was_stopped_goes_on_to_its_end_and_never_shows_a_map_of_fewer_answers(make, sampler, tmp_path):
    w = make(method="sampler", n_samples=20).wait(10)
    stopped_at(w, sampler, 300)
    assert w.status == "stopped"
    assert w.heat["partial"]
    assert w.progress == {"done": 310, "total": 1000, "left": 0.0, "settled": False, "more": 1000}
    assert any("Stopped after 310 of 1,000" in note for note in w.explanation.warnings)
    kept = xw.Explanation.load(w.explanation.save(tmp_path / "e.npz"))
    assert kept.warnings == w.explanation.warnings
    painted, told = watch(w, sampler, "heat"), watch(w, sampler, "progress")
    w.more()
    w.wait(10)
    assert sampler.asked[-2:] == [(1000, 0.9), (1000, 0.9)]
    numbers = [heat["n_forward"] for _, _, heat in painted]
    assert numbers == sorted(numbers)
    assert numbers[0] > 310
    assert min(value["done"] for _, _, value in told) == 310
    assert (w.status, w.explanation.n_forward, w.heat["partial"]) == ("idle", 1000, False)
    assert not any("Stopped" in note for note in w.explanation.warnings)


def test_what_is_finished_is_refined_with_twice_as_many_and_the_settings_stay(make, sampler):
    w = make(method="sampler", n_samples=200).wait(10)
    w.more()
    w.wait(10)
    assert sampler.asked == [(200, 0.9), (400, None)]
    assert (w.explanation.params["n_samples"], w.explanation.params["confidence"]) == (400, None)
    assert w.params == {"n_samples": 200, "confidence": 0.9}
    w.more()
    w.wait(10)
    assert w.explanation.n_forward == 800
    w.target = "blue"  # the extra was for once
    w.wait(10)
    assert sampler.asked[-1] == (200, 0.9)


def test_what_stopped_by_itself_says_so_and_is_refined_from_there(make, sampler):
    sampler.settles = 340
    w = make(method="sampler").wait(10)
    assert w.status == "idle"
    assert w.progress == {"done": 340, "total": 1000, "left": 0.0, "settled": True, "more": 680}
    (chip,) = [fact for fact in w.facts if fact["key"] == "ranking"]
    assert (chip["value"], chip["level"]) == ("95%, settled", "good")
    w.more()
    w.wait(10)
    assert sampler.asked[-1] == (680, None)
    assert not w.progress["settled"]


def test_while_the_order_is_open_the_chip_says_what_to_do(make, sampler):
    w = make(method="sampler", n_samples=20).wait(10)
    stopped_at(w, sampler, 300)
    (chip,) = [fact for fact in w.facts if fact["key"] == "ranking"]
    assert (chip["value"], chip["level"]) == ("50%, open", "warn")
    assert "Refine" in chip["text"][1]


def test_stopping_before_it_is_better_leaves_the_map_as_it_was(make, sampler):
    w = make(method="sampler", n_samples=200).wait(10)
    before, progress = w.heat["id"], w.progress
    sampler.gate = threading.Semaphore(5)
    w.more()
    until(lambda: sampler.steps >= 25)
    assert w.status == "running"
    assert w.heat["id"] == before
    w.cancel()
    sampler.gate.release(1)
    w.wait(10)
    assert (w.heat["id"], w.progress, w.status) == (before, progress, "idle")


def test_more_goes_no_further_than_the_method_and_stops_where_nothing_is_left(make, sampler):
    w = make(method="sampler", n_samples=200).wait(10)
    info = registry.get_method("sampler")
    narrow = replace(info, params=(replace(info.params[0], default=100, high=300), info.params[1]))
    xw.register_method(narrow)
    w.params = {"n_samples": 210}
    w.wait(10)
    assert w.progress["more"] == 300
    w.more()
    w.wait(10)
    assert w.progress["more"] == 0
    with pytest.raises(xw.ArgumentError, match="all that there is"):
        w.more()


def test_more_is_refused_in_words_while_one_is_found_where_there_is_none_and_after_the_end(make, sampler):
    w = make().wait(10)
    assert w.progress["more"] == 0
    with pytest.raises(xw.ArgumentError, match="Grad-CAM is all that there is"):
        w.more()
    sampler.gate = threading.Semaphore(0)
    w.method = "sampler"
    with pytest.raises(xw.ArgumentError, match="already"):
        w.more()
    sent = []
    w.send = lambda content, buffers=None: sent.append(content)
    Requests(w)(w, {"kind": "more", "id": "1"}, [])
    assert (sent[0]["kind"], sent[0]["id"]) == ("more/failed", "1")
    sampler.gate.release(1000)
    w.wait(10)
    Requests(w)(w, {"kind": "more", "id": "2"}, [])
    assert sent[-1]["kind"] == "more/done"
    sampler.gate.release(1000)
    w.wait(10)
    assert w.explanation.n_forward == 2000
    w.close()
    with pytest.raises(xw.ArgumentError, match="closed"):
        w.more()


def test_stop_takes_effect_within_one_batch(make, sampler):
    w = make().wait(10)
    sampler.gate = threading.Semaphore(7)
    w.method = "sampler"
    until(lambda: w.progress["done"] == 70)
    w.cancel()
    sampler.gate.release(100)
    w.wait(10)
    assert sampler.steps <= 8
    assert w.explanation.n_forward == 10 * sampler.steps


def test_stopped_before_there_is_a_map_it_can_be_asked_for_again(make, sampler):
    sampler.silent, sampler.gate = 100, threading.Semaphore(3)
    w = make(method="sampler")
    until(lambda: w.progress["done"] == 30)
    w.cancel()
    sampler.gate.release(1)
    w.wait(10)
    assert (w.status, w.explanation) == ("stopped", None)
    assert w.progress["more"] == 1000
    sampler.silent, sampler.gate = 0, None
    w.more()
    assert w.wait(10).explanation.n_forward == 1000


def test_more_of_lime_asks_only_what_was_not_asked_and_finds_what_one_run_would(make):
    class Counts(ColourModel):
        asked = 0

        def forward(self, x):
            self.asked += len(x)
            return super().forward(x)

    model = Counts()
    options = {"class_names": NAMES, "segments": "grid", "n_segments": 16, "method": "lime"}
    w = make(model, n_samples=200, confidence=None, **options).wait(20)
    before = model.asked
    w.more()
    w.wait(20)
    assert model.asked - before <= 230
    once = xw.attribute(ColourModel(), quarters(), **options, n_samples=400, confidence=None)
    assert w.progress["done"] == w.explanation.params["n_samples"] == 400
    np.testing.assert_allclose(w.explanation.values, once.values, rtol=0, atol=1e-3 * np.abs(once.values).max())


@pytest.mark.parametrize("method", ["lime", "kernel_shap", "partition_shap", "permutation_shap", "rise", "sobol"])
def test_every_method_that_samples_can_go_on(make, method):
    quick = registry.get_method(method).quick
    w = make(method=method, **quick).wait(30)
    before = w.progress["done"]
    w.more()
    w.wait(30)
    assert w.error is None
    assert w.progress["done"] > before


# ---------------------------------------------------------------------------------------------------------------------
# The cheap map that shows first
# ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def costly(sampler, monkeypatch):
    """The sampler takes minutes, by its price, and half a second until there is a map."""
    monkeypatch.setattr(_preview, "_seconds", lambda session, info, params: 100 if info.name == "sampler" else 0.1)
    sampler.silent = 4
    return sampler


@pytest.fixture
def gradcam(monkeypatch):
    """How often Grad-CAM was asked for; with a -1 added it fails."""
    calls, info = [], registry.get_method("gradcam")

    def run(problem, **params):
        if -1 in calls:
            calls.append(-2)
            raise RuntimeError("no gradients today")
        calls.append(problem.target.index)
        yield from info.run(problem, **params)

    monkeypatch.setitem(registry._registered, "gradcam", replace(info, run=run))
    return calls


def test_a_cheap_map_shows_first_under_its_own_name_and_is_nobodys_result(make, costly):
    costly.gate = threading.Semaphore(3)
    w = make(method="sampler")
    until(lambda: w.heat.get("preview") and costly.steps == 3)
    assert (w.heat["method"], w.heat["label"], w.heat["partial"]) == ("gradcam", "Grad-CAM", True)
    assert (w.method, w.status, w.explanation) == ("sampler", "running", None)
    assert w.progress["more"] == 0
    assert [fact["value"] for fact in w.facts if fact["key"] == "layer"] == ["conv"]
    assert w.record("unsure", regions=[1]).method == ""  # of no map
    painted = watch(w, costly, "heat")
    costly.open()
    w.wait(20)
    assert not any(heat["preview"] or heat["method"] != "sampler" for _, _, heat in painted)
    assert w.explanation.method == w.record("mattered").method == "sampler"
    assert not [fact for fact in w.facts if fact["key"] == "layer"]


def test_stopped_while_only_the_cheap_map_is_there_it_stays_under_its_name(make, costly):
    costly.gate = threading.Semaphore(3)
    w = make(method="sampler")
    until(lambda: w.heat.get("preview") and costly.steps == 3)
    w.cancel()
    costly.open()
    w.wait(10)
    assert (w.status, w.explanation, w.heat["method"], w.heat["preview"]) == ("stopped", None, "gradcam", True)
    w.more()
    assert w.wait(20).explanation.method == "sampler"


def test_the_cheap_map_of_a_picture_and_class_is_made_once(make, costly, gradcam):
    w = make(method="sampler").wait(20)
    w.target = "blue"
    w.wait(20)
    assert gradcam == [0, 2]
    painted = watch(w, costly, "heat")
    w.target = "red"
    w.wait(20)
    assert painted[0][2]["preview"]
    assert (painted[0][2]["target_name"], painted[0][2]["method"]) == ("red", "gradcam")
    assert gradcam == [0, 2]


def test_a_cheap_map_that_cannot_be_made_is_passed_over_in_silence(make, costly, gradcam):
    w = make(method="saliency").wait(20)
    gradcam.append(-1)
    painted = watch(w, costly, "heat", "error")
    with w.hold_trait_notifications():
        w.method, w.target = "sampler", "blue"
    w.wait(20)
    assert -2 in gradcam
    assert (w.status, w.error, w.explanation.method) == ("idle", None, "sampler")
    assert not any(name == "error" or value["preview"] for _, name, value in painted)


@pytest.mark.parametrize("why", ["in time", "cheap", "there is one", "other question", "nothing cheaper"])
def test_no_other_map_is_shown_where_none_is_wanted(make, costly, monkeypatch, why):
    model, options = ColourModel(), {"method": "sampler"}
    if why == "in time":
        costly.silent, costly.tick = 0, 0.1
    if why == "cheap":
        monkeypatch.setattr(_preview, "_seconds", lambda session, info, params: 0.9 if info.name == "sampler" else 0.1)
    if why == "there is one":
        options["method"] = "saliency"
    if why == "other question":
        xw.register_method(replace(registry.get_method("sampler"), family="unit"))
    if why == "nothing cheaper":
        model = lambda batch: np.stack([batch.mean((1, 2, 3)), np.zeros(len(batch))], 1)  # noqa: E731
        options["class_names"] = ["a", "b"]
    w = make(model, **options)
    painted = watch(w, costly, "heat")
    w.wait(20)
    w.method = "sampler"
    w.wait(20)
    assert painted
    assert not any(heat["preview"] for _, _, heat in painted)


def test_what_cannot_run_is_told_while_a_costly_method_is_at_work(make, costly):
    costly.gate = threading.Semaphore(3)
    w = make(method="sampler")
    until(lambda: {row["name"]: row["unfit"] for row in w.methods}["attention_rollout"])
    assert w.status == "running"
    costly.gate.release(1000)


def test_what_cannot_run_is_found_out_behind_the_first_map(make, sampler):
    sampler.gate = threading.Semaphore(0)
    w = make(method="sampler")
    reasons = {row["name"]: row["unfit"] for row in w.methods}
    assert len(reasons) > 40
    assert reasons["attention_rollout"] == ""  # nobody has looked
    sampler.gate.release(1000)
    w.wait()
    until(lambda: {row["name"]: row["unfit"] for row in w.methods}["attention_rollout"])
