"""How a model is asked: measured when it pays, translated when that is as true, and known again the next time."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
import torch
from models import Answer, cnn, photo
from torch import nn

import xai_widgets as xw
from xai_widgets import engine as engines
from xai_widgets import known, translation
from xai_widgets.engine import Engine, Plan, engine_of
from xai_widgets.session import Session

PICTURE = photo(64, 64)


def ready(model, **options):
    return Session(model, PICTURE, **options).classifier


def planned(classifier, n, **options):
    return list(engine_of(classifier).plan(classifier, n, **options))[-1]


# ---- measuring -------------------------------------------------------------------------------------------------------


def test_few_pictures_are_asked_without_measuring():
    model = cnn()
    classifier = ready(model)
    asked = count(model)
    plan = planned(classifier, engines.MANY - 1)
    assert asked == []
    assert (plan.runtime, plan.batch_size, plan.ms) == ("torch", 8, None)
    assert planned(classifier, 1, batch_size=7).batch_size == 7


def count(model):
    asked = []
    model.register_forward_pre_hook(lambda _, args: asked.append(len(args[0])))
    return asked


def priced(monkeypatch, price, operations=1e9):
    """Let a picture cost what `price(n, plan)` says, in milliseconds, and so many operations."""
    monkeypatch.setattr(
        Engine, "_timed", lambda self, classifier, plan, turns=3: engines.replace(plan, ms=price(plan.batch_size, plan))
    )
    monkeypatch.setattr(Engine, "_counted", lambda self, classifier: setattr(self, "_convolved", 1.0) or operations)


@pytest.mark.parametrize(
    ("operations", "batch_size"), [(0, 8), (2e11, 1), (4e10, 1), (3e10, 2), (8e9, 8), (1e9, 64), (1, 64)]
)
def test_on_a_cpu_the_batch_size_is_counted_not_timed(monkeypatch, operations, batch_size):
    priced(monkeypatch, lambda n, plan: abs(n - 16), operations)
    assert planned(ready(cnn()), 1000, runtime="torch").batch_size == batch_size


@pytest.mark.parametrize(("side", "batch_size"), [(64, 64), (96, 32), (224, 8), (600, 1), (2000, 1)])
def test_a_batch_of_large_pictures_stays_small(monkeypatch, side, batch_size):
    priced(monkeypatch, lambda n, plan: 1 / n, operations=1)
    classifier = Session(cnn(), photo(side, side)).classifier
    assert planned(classifier, 5).batch_size == min(batch_size, 8)
    assert planned(classifier, 1000, runtime="torch").batch_size == planned(classifier, 10**12).batch_size == batch_size


def test_what_is_counted_are_the_operations_of_one_answer():
    model = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.Flatten(), nn.Linear(5 * 64 * 64, 7)).eval()
    classifier = ready(model)
    multiplications = 64 * 64 * 5 * 3 * 9 + 5 * 64 * 64 * 7
    engine = engine_of(classifier)
    assert engine._counted(classifier) == 2 * multiplications
    assert engine._convolved == 64 * 64 * 5 * 3 * 9 / multiplications


def test_a_model_of_matrices_is_not_translated_unless_asked_for(monkeypatch):
    monkeypatch.setattr(engines, "TRANSLATION", 1)
    matrices = nn.Sequential(nn.Conv2d(3, 8, 16, 16), nn.Flatten(), nn.Linear(128, 2048), nn.Linear(2048, 7)).eval()
    assert planned(ready(matrices), 1000).runtime == "torch"
    assert planned(ready(matrices), 1000, runtime="openvino").runtime == "openvino"
    assert planned(ready(cnn()), 1000).runtime == "openvino"


def on_a_gpu(model):
    """A classifier that says so; what would run there is measured by `priced`."""
    classifier = ready(model)
    classifier.device = torch.device("cuda")
    return classifier


@pytest.mark.parametrize(
    ("price", "batch_size"),
    [
        (lambda n: 10 + abs(n - 256), 256),  # best at 256
        (lambda n: 10 + n, 64),  # best small
        (lambda n: 1 / n, 512),  # ever better: up to the largest
        (lambda n: 10 - 0.001 * n, 64),  # hardly better: noise buys no memory
    ],
)
def test_on_a_gpu_the_clock_chooses_the_batch_size(monkeypatch, price, batch_size):
    priced(monkeypatch, lambda n, plan: price(n))
    assert planned(on_a_gpu(cnn()), 1000).batch_size == batch_size


def test_a_batch_that_does_not_fit_into_memory_is_not_chosen(monkeypatch):
    def price(n, plan):
        if n > most:
            raise torch.OutOfMemoryError("too much")
        return 1 / n

    priced(monkeypatch, price)
    for most, chosen in [(300, 256), (8, 8), (1, 1)]:
        assert planned(on_a_gpu(cnn(seed=most)), 1000).batch_size == chosen
    most = 0
    with pytest.raises(torch.OutOfMemoryError):
        planned(on_a_gpu(cnn()), 1000)


def test_what_was_measured_is_kept_until_the_model_changes(monkeypatch):
    measured = []
    priced(monkeypatch, lambda n, plan: measured.append(n) or 10 + n)
    model = cnn()
    for _ in range(2):  # another call, another classifier
        planned(ready(model), 1000)
    once = len(measured)
    with torch.no_grad():
        model[0].weight.mul_(2)
    planned(ready(model), 1000)
    assert len(measured) == 2 * once > 0


@pytest.mark.parametrize("n", [60, 400])
def test_the_same_question_gets_the_same_bytes_whatever_was_asked_before(n):
    model = cnn()
    given = {"method": "lime", "n_samples": n, "confidence": None, "n_segments": 9, "size": 64}
    first = xw.attribute(model, PICTURE, **given)
    xw.attribute(model, PICTURE, **{**given, "n_samples": 500}, runtime="openvino")
    again = xw.attribute(model, PICTURE, **given)
    known.forget(model)  # as in a new kernel, where all is measured anew
    anew = xw.attribute(model, PICTURE, **given)
    assert first.values.tobytes() == again.values.tobytes() == anew.values.tobytes()
    assert {e.params["input"]["engine"]["runtime"] for e in (first, again, anew)} == {"torch"}


# ---- translating -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrap", [lambda y: y, lambda y: y.sigmoid(), lambda y: {"logits": y}], ids=["", "σ", "dict"])
def test_a_translation_answers_as_the_model_in_any_batch_size_to_the_bit(wrap):
    classifier = ready(Answer(cnn(), wrap).eval())
    translated = translation.trace(classifier).compile()
    batch = torch.rand(9, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert (translated(batch) - classifier.scores(batch)).abs().max() < 1e-5
    alone = torch.cat([translated(one[None]) for one in batch])
    assert torch.equal(translated(batch), alone)
    assert translated.gap(classifier) < 1e-5


def test_maps_are_the_same_in_either_runtime_and_say_which_it_was():
    model = cnn()
    maps = {
        runtime: xw.attribute(model, PICTURE, method="lime", n_samples=300, n_segments=9, runtime=runtime)
        for runtime in ("torch", "openvino")
    }
    assert np.abs(maps["torch"].values - maps["openvino"].values).max() < 1e-5
    for runtime, explanation in maps.items():
        engine = explanation.params["input"]["engine"]
        assert engine["runtime"] == runtime
        assert engine["batch_size"] >= 1
        assert engine["precision"] == "float32"


def test_a_translation_pays_only_where_torch_would_take_seconds(monkeypatch):
    priced(monkeypatch, lambda n, plan: 1.0 if plan.runtime == "openvino" else 10.0, operations=5e8)
    classifier = ready(cnn())
    assert planned(classifier, 149).runtime == "torch"
    assert planned(classifier, 150).runtime == "openvino"
    assert planned(classifier, 149).runtime == "torch"
    assert planned(classifier, 150, runtime="torch").runtime == "torch"


def test_a_much_slower_translation_is_left_and_says_so(monkeypatch):
    priced(monkeypatch, lambda n, plan: 20.0 if plan.runtime == "openvino" else 10.0)
    classifier = ready(cnn())
    plan = planned(classifier, 1000)
    assert plan.runtime == "torch"
    assert "20 ms" in plan.note
    assert engine_of(classifier).few(classifier, quick=True).runtime == "torch"
    assert planned(classifier, 1000, runtime="openvino").runtime == "openvino"


def test_a_change_that_no_stamp_shows_is_found_by_asking(monkeypatch):
    model = cnn()
    given = {"method": "lime", "n_samples": 300, "n_segments": 9, "runtime": "openvino"}
    before = xw.attribute(model, PICTURE, **given)
    stamp = known.stamp(model)
    model[-1].weight.data.mul_(0.5)
    assert known.stamp(model) == stamp
    after = xw.attribute(model, PICTURE, **given)
    expected = xw.attribute(model, PICTURE, **{**given, "runtime": "torch"})
    assert np.abs(after.values - expected.values).max() < 1e-5
    assert np.abs(after.values - before.values).max() > 1e-4


def test_cells_and_worker_may_ask_a_translation_at_once():
    from concurrent.futures import ThreadPoolExecutor

    model = cnn()
    given = {"method": "lime", "n_samples": 300, "n_segments": 9, "runtime": "openvino"}
    expected = xw.attribute(model, PICTURE, **given)
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda _: xw.attribute(model, PICTURE, **given), range(3)))
    assert all(np.array_equal(each.values, expected.values) for each in found)


def test_what_is_recorded_is_what_was_used():
    model = cnn()
    assert xw.attribute(model, PICTURE, method="gradcam", runtime="openvino").params["input"]["engine"] == {}
    xw.attribute(cnn().double(), PICTURE, method="saliency", runtime="openvino")  # which does not ask for answers
    session = Session(model, PICTURE, n_segments=9, batch_size=8)
    inner = session.classifier.scores

    def scores(inputs):
        if len(inputs) > 3:
            raise torch.OutOfMemoryError("too much")
        return inner(inputs)

    session.classifier.scores = scores
    step = list(session.explain(session.method("lime"), session.target(0), {"n_samples": 20}))[-1]
    assert step.explanation().params["input"]["engine"]["batch_size"] == 2


class Looping(nn.Module):
    """Asks about each picture of a batch by itself; a trace repeats that for as many as it saw."""

    def __init__(self):
        super().__init__()
        self.inner = cnn()

    def forward(self, x):
        return torch.cat([self.inner(x[i : i + 1]) for i in range(x.shape[0])])


class Sized(nn.Module):
    """Its answer depends on the number of pictures as a constant of the trace: right for one picture only."""

    def __init__(self):
        super().__init__()
        self.inner = cnn()

    def forward(self, x):
        return self.inner(x).reshape(int(x.shape[0]), 4)


class Branching(nn.Module):
    """Which way it goes depends on the picture, which a trace does not see."""

    def __init__(self):
        super().__init__()
        self.inner = cnn()

    def forward(self, x):
        return self.inner(x) if bool(x.mean() > 0.05) else -self.inner(x)


@pytest.mark.parametrize(
    ("model", "said"), [(Sized(), "cannot take it"), (Branching(), "differ by"), (Looping(), "cannot take it")]
)
def test_a_translation_that_is_not_true_is_not_used(monkeypatch, model, said):
    priced(monkeypatch, lambda n, plan: 1.0 if plan.runtime == "openvino" else 10.0)
    classifier = ready(model.eval())
    plan = planned(classifier, 1000)
    assert plan.runtime == "torch"
    assert said in plan.note
    with pytest.raises(xw.ArgumentError, match='pass runtime="torch"'):
        planned(classifier, 1000, runtime="openvino")


class Counting(nn.Module):
    """Does more than answer."""

    def __init__(self):
        super().__init__()
        self.inner, self.calls = cnn(), 0

    def forward(self, x):
        self.calls += 1
        return self.inner(x)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (lambda batch: torch.zeros(len(batch), 3), "plain callable"),
        (cnn().double(), "float64"),
        (Counting().eval(), "more than answer|hooks"),
        (torch.jit.script(cnn()), "scripted by torch.jit"),
    ],
)
def test_what_cannot_be_translated_says_why(model, reason):
    with pytest.raises(xw.ArgumentError, match=reason) as caught:
        xw.attribute(model, PICTURE, method="occlusion", window=32, stride=32, runtime="openvino", target=0)
    assert 'runtime="torch"' in str(caught.value)
    xw.attribute(model, PICTURE, method="occlusion", window=32, stride=32, target=0)


def test_without_openvino_everything_goes_on(monkeypatch):
    monkeypatch.setattr(translation, "find_spec", lambda name: None)
    priced(monkeypatch, lambda n, plan: 10.0)
    assert planned(ready(cnn()), 10_000).runtime == "torch"
    with pytest.raises(xw.ArgumentError, match="pip install"):
        planned(ready(cnn()), 10_000, runtime="openvino")


def test_an_unknown_runtime_is_refused():
    with pytest.raises(xw.ArgumentError, match="'auto', 'torch', 'openvino'"):
        xw.attribute(cnn(), PICTURE, runtime="onnx")


def test_stopping_and_toggling_are_possible_while_a_model_is_translated(monkeypatch):
    priced(monkeypatch, lambda n, plan: 1.0 if plan.runtime == "openvino" else 10.0)
    import threading

    go = threading.Event()
    inner = translation.Traced.compile
    monkeypatch.setattr(translation.Traced, "compile", lambda traced: go.wait(20) and inner(traced))
    session = Session(cnn(), PICTURE, n_segments=9)
    steps = session.explain(session.method("lime"), session.target(0), {"n_samples": 1000})
    assert next(steps).estimate.done == 0
    assert len(session.predict(np.arange(session.n_segments) > 2)) == 4
    steps.close()
    go.set()


# ---- rounding --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("price", "n", "precision"),
    [(5.0, 1, "bfloat16"), (9.0, 1, "float32"), (5.0, 10**9, "float32")],
    ids=["", "hardly faster", "more is asked than it can tell"],
)
def test_less_precision_is_used_only_where_it_is_faster_and_cannot_be_seen(monkeypatch, price, n, precision):
    monkeypatch.setattr(engines, "_rounds", lambda device: True)
    priced(monkeypatch, lambda size, plan: price if plan.precision == "bfloat16" else 10.0)
    model = Answer(cnn(), lambda y: 8 * y).eval()
    session = Session(model, PICTURE, n_segments=9, baseline="black", space="logit", runtime="torch")
    problem = session._problem(session.target(0), "logit")
    engine = engine_of(session.classifier)
    plan = engine.rounded(problem, planned(session.classifier, 250, runtime="torch"), n)
    assert plan.precision == precision
    if price < 9:
        exact, rounded = (
            engine.answers(session.classifier, engines.replace(plan, precision=each), problem.inputs[None], "logit")
            for each in ("float32", "bfloat16")
        )
        assert 0 < np.abs(exact - rounded).max() < 0.05 * np.abs(exact).max()
    assert ("would err" in plan.note) == (n > 1000)


# ---- known again -----------------------------------------------------------------------------------------------------


def test_the_second_call_asks_only_what_it_must():
    model = cnn()
    asked = count(model)
    xw.attribute(model, PICTURE, method="gradcam")
    first = len(asked)
    xw.attribute(model, photo(64, 64, seed=5), method="gradcam")
    assert len(asked) - first == 2 < first  # what it answers, and what the layer saw
    del asked[:]
    xw.attribute(model, photo(96, 64), method="gradcam")
    assert len(asked) > 2  # another size is another question


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model[0].weight.data.__setitem__(0, 0) or model[0].weight.add_(0.1),
        lambda model: setattr(model, "1", nn.BatchNorm2d(8).eval()),
        lambda model: setattr(model[8], "p", 0.3),
        lambda model: model[3].register_forward_hook(lambda *_: None),
        lambda model: model[1].running_mean.add_(1),
        lambda model: setattr(model, "scale", torch.ones(3)),
        lambda model: setattr(model[7], "reshape", torch.tanh),
    ],
    ids=["weight", "module", "attribute", "hook", "buffer", "tensor", "function"],
)
def test_a_model_that_has_changed_is_got_to_know_again(change):
    model = cnn()
    before = known.stamp(model)
    asked = count(model)
    xw.attribute(model, PICTURE, method="gradcam")
    del asked[:]
    with torch.no_grad():
        change(model)
    assert known.stamp(model) != before
    xw.attribute(model, PICTURE, method="gradcam")
    assert len(asked) > 2


def test_a_tensor_that_is_no_parameter_is_looked_at_too():
    model = cnn()
    model.scale = torch.ones(3)
    before = known.stamp(model)
    assert known.stamp(model) == before
    model.scale.mul_(2)
    assert known.stamp(model) != before


def test_a_hook_in_place_of_another_is_seen():
    model = cnn()
    first = model[3].register_forward_hook(lambda *_: None)
    before = known.stamp(model)
    first.remove()
    model[3].register_forward_hook(lambda *_: None)
    assert known.stamp(model) != before


def test_training_mode_and_asking_change_nothing_that_is_known():
    model = cnn()
    before = known.stamp(model)
    model.train()
    xw.attribute(model, PICTURE, method="gradcam")
    assert known.stamp(model) == before


def test_what_is_known_keeps_no_model_alive():
    model = cnn()
    xw.attribute(model, PICTURE, method="gradcam")
    xw.attribute(model, PICTURE, method="lime", n_samples=300, n_segments=9, runtime="openvino")
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None


def test_facts_about_modules_come_back_as_the_modules_of_this_model():
    model = cnn()
    known.keep(model, "fact", {"where": model[3], "what": (1, "a")}, modules=True)
    found = known.recall(model, "fact")
    assert found["where"] is model[3]
    assert found["what"] == (1, "a")
    known.keep(model, "foreign", {"where": cnn()}, modules=True)
    assert known.recall(model, "foreign") is None
    assert known.recall(cnn(), "fact") is None


def test_a_plan_is_recorded_in_plain_values():
    assert Plan("torch", "float32", 4, True, 1.23456).record() == {
        "runtime": "torch", "precision": "float32", "batch_size": 4, "channels_last": True, "ms": 1.235, "note": "",
    }  # fmt: skip
