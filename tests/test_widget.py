"""The widget from Python: what a user types in cells, without a browser."""

from __future__ import annotations

import gc
import threading
import weakref

import numpy as np
import pytest
import torch
from toys import NAMES, ColourModel, Fails, quarters

import xai_widgets as xw
from xai_widgets.jobs import RUNNER
from xai_widgets.widgets._requests import Requests


@pytest.fixture
def make(tmp_path):
    """``make(**options)`` → a widget on the colour model with 16 regions in a grid, closed at the end."""
    made = []

    def explain(model=None, **options):
        options = {"class_names": NAMES, "segments": "grid", "n_segments": 16, "store": tmp_path / "fb.db", **options}
        widget = xw.explain(model or ColourModel(), quarters(), **options)
        made.append(widget)
        return widget

    yield explain
    for widget in made:
        widget.close()


def ask(model, image):
    with torch.no_grad():
        return model(torch.tensor(image / 255.0).permute(2, 0, 1)[None].float()).softmax(1)[0].numpy()


def test_the_map_arrives_and_speaks_of_the_top_class(make):
    w = make().wait(10)
    assert w.explanation.target_name == "red"
    assert w.target == 0
    assert w.method == "gradcam"
    assert w.status == "idle"
    assert w.error is None


def test_toggling_asks_the_model_about_exactly_the_picture_with_these_regions_replaced(make):
    model = ColourModel()
    w = make(model, baseline="blur").wait(10)
    w.toggle(0)
    w.toggle(5)
    w.wait(10)
    e = w.explanation
    altered = np.where(np.isin(e.segments, [0, 5])[..., None], e.off_image, e.image)
    np.testing.assert_allclose(w.prediction, ask(model, altered), atol=1e-6)
    assert list(np.flatnonzero(~w.active)) == [0, 5]


def test_toggling_twice_gives_the_first_answer_again(make):
    w = make().wait(10)
    first = w.prediction.copy()
    w.toggle(3)
    assert not np.array_equal(w.wait(10).prediction, first)
    w.toggle(3)
    np.testing.assert_array_equal(w.wait(10).prediction, first)


def test_undo_redo_and_reset(make):
    w = make().wait(10)
    w.toggle(1)
    w.toggle(2)
    one_off = [True] * 16
    one_off[1] = False
    w.undo()
    assert w.active.tolist() == one_off
    w.redo()
    assert not w.active[2]
    w.reset()
    assert w.active.all()
    w.undo()
    assert not w.active[1]
    assert not w.active[2]
    w.wait(10)
    np.testing.assert_array_equal(w.answered_off, [1, 2])


def test_active_is_replaced_and_cannot_be_changed_in_place(make):
    w = make()
    with pytest.raises(ValueError, match="read-only"):
        w.active[0] = False
    w.active = np.arange(16) % 2 == 0
    assert w.active.sum() == 8


@pytest.mark.parametrize("bad", [np.ones(15, bool), np.full(16, 0.5), "all", 7])
def test_an_impossible_active_says_what_is_needed(make, bad):
    with pytest.raises(TypeError, match=r"\(16,\)"):
        make().active = bad


@pytest.mark.parametrize("bad", [16, -1, "sky", True, None])
def test_toggling_a_region_that_is_not_there_says_which_are(make, bad):
    with pytest.raises(xw.ArgumentError, match="0 to 15"):
        make().toggle(bad)


def test_numpy_numbers_are_regions_and_targets_too(make):
    w = make().wait(10)
    w.toggle(np.int64(3))
    w.target = np.int32(2)
    assert w.wait(10).explanation.target_name == "blue"


def test_another_class_is_explained_by_name_index_or_pair(make):
    w = make(method="occlusion").wait(10)
    w.target = "green"
    assert w.wait(10).explanation.target == 1
    w.target = ("blue", "red")
    assert w.target == [2, 0]
    assert w.wait(10).explanation.target_name == "blue rather than red"
    w.target = lambda row: row[0] + row[1]
    assert w.target is None
    both = w.wait(10).explanation
    assert both.target is None
    w.target = lambda row: row[2]
    assert not np.array_equal(w.wait(10).explanation.values, both.values)


def test_a_wrong_class_or_method_is_refused_and_the_widget_stays_usable(make):
    w = make().wait(10)
    with pytest.raises(xw.TargetError, match="Did you mean 'green'"):
        w.target = "greeen"
    with pytest.raises(xw.MethodError, match="Did you mean 'lime'"):
        w.method = "lyme"
    assert w.target == 0
    w.method = "saliency"
    assert w.wait(10).explanation.method == "saliency"


def test_observers_and_links_work_on_public_traits(make):
    import ipywidgets

    w, other = make(), make()
    seen = []
    w.observe(lambda change: seen.append(change["new"]), "opacity")
    ipywidgets.link((w, "opacity"), (other, "opacity"))
    w.opacity = 0.25
    assert other.opacity == 0.25
    assert seen == [0.25]
    ipywidgets.link((w, "active"), (other, "active"))
    w.toggle(2)
    assert not other.active[2]


class Slow(ColourModel):
    """Waits for its turn in each call once armed, so that tests decide when the model answers."""

    def __init__(self) -> None:
        super().__init__()
        self.armed, self.turn, self.batches = False, threading.Semaphore(0), []

    def forward(self, x):
        if self.armed:
            assert self.turn.acquire(timeout=10)
        self.batches.append(len(x))
        return super().forward(x)


def test_two_hundred_toggles_cost_at_most_two_predictions_and_end_right(make):
    model = Slow()
    w = make(model).wait(10)
    model.armed, before = True, len(model.batches)
    for i in range(200):
        w.toggle(i % 16)
    for _ in range(4):
        model.turn.release()
    w.wait(10)
    assert len(model.batches) - before <= 2
    off = [i for i in range(16) if (i < 200 % 16 and (200 // 16 + 1) % 2) or (i >= 200 % 16 and (200 // 16) % 2)]
    assert list(np.flatnonzero(~w.active)) == off == w.answered_off


def test_cancel_keeps_the_map_found_so_far_and_says_so(make):
    model = Slow()
    w = make(model).wait(10)
    model.armed = True
    w.method = "occlusion"
    for _ in range(6):
        model.turn.release()
    w.cancel()
    for _ in range(3):
        model.turn.release()
    w.wait(10)
    assert w.status == "stopped"
    if w.explanation.method == "occlusion":
        assert w.heat["partial"]
    model.armed = False
    w.method = "saliency"
    assert w.wait(10).status == "idle"


def test_a_toggle_is_answered_while_a_map_is_still_being_found(make):
    model = Slow()
    w = make(model).wait(10)
    model.armed = True
    w.method = "occlusion"
    for _ in range(3):
        model.turn.release()
    w.toggle(0)
    answered = threading.Event()
    w.observe(lambda _: answered.set(), "prediction")
    for _ in range(5):
        model.turn.release()
        if answered.wait(0.5):
            break
    assert answered.is_set()
    assert w.status == "running"
    model.armed = False
    for _ in range(50):
        model.turn.release()
    w.wait(10)


def test_a_model_that_fails_is_shown_with_its_message_and_can_be_asked_again(make):
    model = Fails()
    w = make(model).wait(10)
    model.broken = True
    w.toggle(0)
    w.wait(10)
    assert "<b>no such</b> kernel image" in w.error["message"]
    assert "RuntimeError" in w.error["traceback"]
    w.method = "saliency"
    assert w.wait(10).status == "failed"
    assert w.explanation.method == "gradcam"  # the last good one stays
    model.broken = False
    w.retry()
    assert w.wait(10).status == "idle"
    assert w.error is None
    assert w.explanation.method == "saliency"


def test_a_judgement_is_stored_and_found_again_by_the_same_model_picture_and_class(make):
    model = ColourModel()
    w = make(model, annotator="anna").wait(10)
    heard = []
    w.on_feedback(heard.append)
    record = w.record("must_not_matter", regions=[3, 1], rating=2, comment="sky")
    assert heard == [record]
    w.record("mattered", mask=quarters()[..., 0] > 200)
    w.record(rating=4)
    again = make(model).wait(10)
    assert [r.id for r in again.feedback] == [r.id for r in w.feedback]
    first, second, third = again.feedback
    assert (first.verdict, first.regions, first.rating, first.comment, first.annotator) == (
        "must_not_matter", (1, 3), 2, "sky", "anna",
    )  # fmt: skip
    np.testing.assert_array_equal(first.mask, np.isin(w.explanation.segments, [1, 3]))
    assert second.scope == "mask"
    assert third.scope == "map"
    again.target = "blue"
    assert again.wait(10).feedback == ()
    with torch.no_grad():
        model.conv.bias += 1
    assert make(model).wait(10).feedback == ()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"verdict": "matter"}, "mattered"),
        ({"verdict": "mattered", "regions": [99]}, "0 to 15"),
        ({"verdict": "mattered", "mask": np.ones((3, 3), bool)}, r"\(32, 32\)"),
        ({"verdict": "mattered", "mask": np.ones((32, 32), bool), "regions": [1]}, "not both"),
        ({"rating": 6}, "1 to 5"),
        ({}, "verdict"),
    ],
)
def test_an_impossible_judgement_is_refused_and_nothing_is_stored(make, given, words):
    w = make().wait(10)
    verdict = given.pop("verdict", None)
    with pytest.raises(xw.XaiError, match=words):
        w.record(verdict, **given)
    assert w.feedback == ()


def test_every_request_of_the_browser_is_answered(make):
    w = make().wait(10)
    sent = []
    w.send = lambda content, buffers=None: sent.append(content)
    Requests(w)(w, {"kind": "ping", "id": "1"}, [])
    Requests(w)(w, {"kind": "stop", "id": "2"}, [])
    Requests(w)(w, {"kind": "fly", "id": "3"}, [])
    Requests(w)(w, {"kind": "record", "id": "4", "payload": {"verdict": "mattered", "regions": [1]}}, [])
    RUNNER.wait({(id(w), "record", "4")}, 10)
    Requests(w)(w, {"kind": "record", "id": "5", "payload": {"verdict": "nonsense", "regions": []}}, [])
    RUNNER.wait({(id(w), "record", "5")}, 10)
    Requests(w)(w, {"kind": "record", "id": "6"}, [])
    RUNNER.wait({(id(w), "record", "6")}, 10)
    assert [(m["kind"], m["id"]) for m in sent] == [
        ("ping/done", "1"), ("stop/done", "2"), ("fly/failed", "3"),
        ("record/done", "4"), ("record/failed", "5"), ("record/failed", "6"),
    ]  # fmt: skip
    assert sent[3]["payload"]["regions"] == [1]
    assert "mattered" in sent[4]["payload"]["message"]


def test_a_closed_widget_lets_go_of_the_model_and_the_picture(make):
    model = ColourModel()
    w = make(model).wait(10)
    weights = weakref.ref(model)
    picture = weakref.ref(w._session)
    w.close()
    w.close()
    del model
    gc.collect()
    assert weights() is None
    assert picture() is None
    assert w.status == "closed"
    with pytest.raises(xw.XaiError, match="closed"):
        w.record("mattered")


def test_the_display_bundle_has_widget_picture_and_text(make):
    data, _ = make().wait(10)._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in data
    assert data["image/png"].startswith(b"\x89PNG")
    assert "red" in data["text/plain"]


def test_before_there_is_a_map_the_bundle_has_the_photo(make):
    model = Slow()
    w = make(model).wait(10)
    w.set_trait("explanation", None)
    data, _ = w._repr_mimebundle_()
    assert data["image/png"] == w.picture["data"]
    assert "at work" in data["text/plain"]


def test_the_model_is_left_as_found_after_everything(make):
    model = ColourModel().train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    w = make(model).wait(10)
    w.toggle(0)
    for method in ("saliency", "occlusion", "lime", "kernel_shap"):
        w.method = method
        w.wait(20)
    assert model.training
    assert all(module.training for module in model.modules())
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert not any(m._forward_hooks or m._backward_hooks or m._forward_pre_hooks for m in model.modules())


def test_a_judgement_belongs_to_the_map_that_was_judged_even_if_the_class_changes_at_once(make):
    model = Slow()
    w = make(model, method="saliency").wait(10)
    model.armed = True
    w.target = "blue"
    record = w.record("mattered", regions=[1])
    assert record.target_name == "red"
    model.armed = False
    for _ in range(20):
        model.turn.release()
    w.wait(10)
    assert w.record("unsure").target_name == "blue"
    assert [r.target_name for r in w.feedback] == ["blue"]


def test_a_judgement_filed_before_the_widget_is_closed_is_stored(make):
    model = Slow()
    w = make(model).wait(10)
    path, key = w.store["path"], (id(w), "record", "1")
    model.armed = True
    w.toggle(0)
    Requests(w)(w, {"kind": "record", "id": "1", "payload": {"verdict": "mattered", "regions": [2]}}, [])
    w.close()
    for _ in range(20):
        model.turn.release()
    assert RUNNER.wait({key}, 10)
    assert [r.regions for r in xw.FeedbackStore(path).records()] == [(2,)]


def test_a_callback_that_fails_does_not_make_a_stored_judgement_look_lost(make):
    w = make().wait(10)

    def broken(record):
        raise ZeroDivisionError("mine")

    w.on_feedback(broken)
    assert w.record("mattered").verdict == "mattered"
    assert len(w.feedback) == 1
    assert "mine" in w.error["message"]


def test_judgements_of_a_pair_of_classes_are_found_again(make):
    model = ColourModel()
    w = make(model, target=("red", "blue")).wait(10)
    w.record("mattered", regions=[0])
    assert len(make(model, target=("red", "blue")).wait(10).feedback) == 1
    assert make(model, target=("blue", "red")).wait(10).feedback == ()


def test_setting_the_class_to_what_it_is_loses_nothing(make):
    model = ColourModel()
    make(model).wait(10).record("mattered")
    w = make(model)
    w.target = "red"
    assert len(w.wait(10).feedback) == 1


@pytest.mark.parametrize(
    ("state", "words"),
    [({"target": 99}, "99 does not exist"), ({"method": "lyme"}, "'lime'"), ({"active": [1, 0]}, r"(16,)")],
)
def test_what_the_browser_may_not_set_is_shown_and_put_back(make, state, words):
    w = make().wait(10)
    (name,) = state
    before = w.get_state(name)[name]
    sent = []
    w.send_state = lambda key=None: sent.append(key)
    w.set_state(state)
    assert w.get_state(name)[name] == before
    assert words in w.error["message"]
    assert name in sent
    assert w.wait(10).status == "idle"


def test_an_error_goes_when_what_failed_goes_well_and_retry_does_all_that_failed(make):
    model = Fails()
    w = make(model, method="saliency").wait(10)
    model.broken = True
    w.toggle(0)
    w.method = "gradcam"
    w.wait(10)
    assert w.status == "failed"
    model.broken = False
    w.retry()
    w.wait(10)
    assert (w.status, w.error, w.explanation.method, w.answered_off) == ("idle", None, "gradcam", [0])


def test_what_a_cell_draws_while_the_model_works_is_not_rewound(make):
    w = make(method="lime", n_samples=2000)
    seen = {torch.rand(1).item() for _ in range(300)}
    w.cancel()
    assert len(seen) == 300


@pytest.mark.parametrize("method", ["occlusion", "lime", "kernel_shap"])
def test_every_method_that_asks_often_can_be_stopped_after_each_batch(method):
    from xai_widgets.session import Session

    model = Slow()
    session = Session(model, quarters(), segments="grid", n_segments=16, batch_size=4)
    info = session.method(method)
    before = len(model.batches)
    asked = [len(model.batches) - before for _ in session.explain(info, session.target(None), info.bind({}))]
    assert max(np.diff([0, *asked])) <= 2  # a step is a batch, and once the two ends besides


def test_auto_takes_a_method_that_has_the_parameters_given(make):
    w = make(n_samples=60).wait(20)
    assert w.method == "lime"
    assert w.explanation.params["n_samples"] == 60


# ---------------------------------------------------------------------------------------------------------------------
# The method's parameters
# ---------------------------------------------------------------------------------------------------------------------


LIME = {"kernel_width": 0.25, "confidence": 0.95, "top": 5}


def test_the_parameters_on_show_are_those_of_the_method_and_setting_one_explains_anew(make):
    w = make(method="lime", n_samples=40).wait(20)
    assert w.params == {"n_samples": 40, **LIME}
    w.params = {"n_samples": 60}
    w.wait(20)
    assert w.params == {"n_samples": 60, **LIME}
    assert w.progress["done"] == 60
    assert w.explanation.params["n_samples"] == 60


def test_what_was_chosen_for_a_method_is_there_when_it_comes_back(make):
    w = make(method="lime", n_samples=40).wait(20)
    w.params = {"kernel_width": 0.5}
    w.wait(20)
    w.method = "occlusion"
    w.wait(20)
    assert w.params == {"window": None, "stride": None}
    w.method = "lime"
    w.wait(20)
    assert w.params == {"n_samples": 40, **LIME, "kernel_width": 0.5}
    assert w.explanation.params["kernel_width"] == 0.5


def test_another_method_is_run_once_not_once_more_for_its_parameters(make):
    w = make(method="saliency").wait(20)
    begun = []
    w.observe(lambda change: begun.append(change["new"]) if change["new"] == "running" else None, "status")
    w.method = "occlusion"
    w.wait(20)
    assert len(begun) == 1
    assert w.explanation.method == "occlusion"


@pytest.mark.parametrize("bad", [{"n_samples": 0}, {"n_samples": "many"}, {"samples": 5}])
def test_a_parameter_that_cannot_be_is_an_error_in_python_and_shown_in_the_browser(make, bad):
    w = make(method="lime", n_samples=40).wait(20)
    with pytest.raises(xw.ArgumentError, match=next(iter(bad))):
        w.params = bad
    w.set_state({"params": bad})
    assert w.error["title"].startswith("params cannot be")
    assert w.params == {"n_samples": 40, **LIME}


def test_parameters_that_are_no_numbers_or_words_are_kept_but_not_shown(make):
    w = make(method="gradcam", target_layer="conv").wait(10)
    assert "target_layer" not in w.params
    assert w.layer == "conv"
    rows = {row["name"]: row["params"] for row in w.methods}
    assert [param["name"] for param in rows["lime"]] == ["n_samples", *LIME]
    assert "lime's default" in rows["lime"][0].pop("help")
    assert rows["lime"][0] == {
        "name": "n_samples", "kind": "int", "default": 1000, "low": 4, "high": 1_000_000, "choices": [],
    }  # fmt: skip


def test_opening_the_menu_makes_no_copy_of_the_model_and_a_refusal_is_remembered(make):
    class Scripted(ColourModel):
        def __init__(self):
            super().__init__()
            self.twice = torch.jit.script(torch.nn.Identity())

        def forward(self, x):
            return super().forward(self.twice(x))

    w = make(Scripted()).wait(20)
    unfit = {row["name"]: row["unfit"] for row in w.methods}
    assert unfit["deeplift"] == ""  # not known yet
    w.method = "deeplift"
    w.wait(20)
    assert w.status == "failed"
    assert "TorchScript" in w.error["message"]
    assert "TorchScript" in {row["name"]: row["unfit"] for row in w.methods}["deeplift"]


def test_pictures_that_a_method_draws_travel_with_their_captions(make):
    w = make(method="feature_maps").wait(20)
    assert len(w.gallery) == len(w.explanation.pictures) > 0
    assert [plate["caption"] for plate in w.gallery] == list(w.explanation.captions)
    assert all(plate["data"].startswith(b"\x89PNG") for plate in w.gallery)
    w.method = "saliency"
    w.wait(20)
    assert w.gallery == []


def test_a_method_and_its_parameters_may_be_set_together(make):
    w = make(method="occlusion").wait(20)
    with w.hold_trait_notifications():
        w.method = "lime"
        w.params = {"n_samples": 60}
    w.wait(20)
    assert w.params["n_samples"] == w.progress["done"] == 60
    w.set_state({"method": "rise", "params": {"n_samples": 77}})
    w.wait(20)
    assert w.error is None
    assert w.method == "rise"
    assert w.params["n_samples"] == w.explanation.params["n_samples"] == 77
    with w.hold_trait_notifications():
        w.method = "gradcam"
        w.layer = "conv"
    w.wait(20)
    assert w.layer == w.explanation.target_layer == "conv"


def test_a_layer_that_a_method_cannot_read_fails_in_words_and_not_for_ever(make):
    class Headed(ColourModel):
        def __init__(self):
            super().__init__()
            self.head = torch.nn.Linear(3, 3)

        def forward(self, x):
            return super().forward(x) + 0 * self.head(x.mean((2, 3)))

    w = make(Headed(), method="scorecam").wait(20)
    w.set_state({"layer": "head"})
    w.wait(20)
    assert w.status == "failed"
    assert "'head'" in w.error["message"]
