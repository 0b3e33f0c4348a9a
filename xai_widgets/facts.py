"""The chips of the footer: how the map was made, each as a short fact and the plain words it opens to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from xai_widgets import baselines
from xai_widgets.explanation import Explanation
from xai_widgets.protocol import Fact


def facts(explanation: Explanation) -> list[Fact]:
    """Every chip that applies to this map."""
    return [chip for make in (_input, _layer, _fidelity, _ranking, _off) for chip in make(explanation)]


def _chip(key: str, label: str, value: str, title: str, *text: str, level: Literal["", "good", "warn"] = "") -> Fact:
    return {"key": key, "label": label, "value": value, "level": level, "title": title, "text": list(text)}


def _input(explanation: Explanation) -> Iterator[Fact]:
    done = explanation.params["input"]
    source, seen = (" × ".join(map(str, done[key])) for key in ("source_size", "view_size"))
    if source == seen:
        how = "The picture is used at its own size."
    else:
        how = (
            f"The {source} photo was brought to {seen}, as the model expects. The picture above is exactly that: "
            "nothing outside it can have had an influence."
        )
    raw = any("not normalised" in step for step in done["steps"])
    yield _chip(
        "input",
        "Input",
        seen + (", not normalised" if raw else ""),
        "What the model sees",
        how,
        *(f"{step[0].upper()}{step[1:]}." for step in (*done["steps"], *done["model"])),
        f"The model answers with {done['answers_in_words']}.",
        level="warn" if raw else "",
    )


def _layer(explanation: Explanation) -> Iterator[Fact]:
    if not explanation.target_layer:
        return
    text = ["Read at a layer that still knows where things are."]
    if explanation.coarse is not None:
        rows, cols = explanation.coarse.shape
        text.append(f"It sees {cols} × {rows} cells; what is smaller than a cell blurs together.")
    text.append("Earlier layers see finer, and less of what things are.")
    yield _chip("layer", "Layer", explanation.target_layer, "Which part of the model was read", *text)


def _fidelity(explanation: Explanation) -> Iterator[Fact]:
    if "fidelity_r2" not in explanation.checks:
        return
    r2, verdict = explanation.checks["fidelity_r2"]
    advice = "Good enough to rank regions."
    if verdict != "good":
        advice = "Treat small differences between regions as noise; test the ones that matter by switching them off."
    asked = explanation.n_forward + explanation.params["input"].get("engine", {}).get("reused", 0)
    yield _chip(
        "fidelity",
        "Fidelity",
        f"R² {r2:.2f}, {verdict}",
        "How well these weights describe the model",
        f"They explain {r2:.0%} of how the answer changed over {asked:,} altered pictures. The rest "
        "comes from regions acting together, which single weights cannot show.",
        advice,
        level="good" if verdict == "good" else "warn",
    )


def _ranking(explanation: Explanation) -> Iterator[Fact]:
    if "ranking" not in explanation.checks:
        return
    sure, verdict = explanation.checks["ranking"]
    settled = verdict == "settled"
    top = (
        f"the {explanation.params['top']} strongest regions" if "top" in explanation.params else "the strongest regions"
    )
    if settled:
        answer = f"Yes: with more altered pictures {top} would keep their order, {sure:.0%} sure."
        advice = "That is where the method may stop by itself. Refine has it go on, for smaller errors."
    else:
        answer = f"Not yet: that with more altered pictures {top} would keep their order is {sure:.0%} sure only."
        advice = "Refine asks about more. Until then do not lean on small differences between regions."
    yield _chip(
        "ranking",
        "Ranking",
        f"{sure:.0%}, {verdict}",
        "Is the order of the strongest regions settled?",
        answer,
        advice,
        level="good" if settled else "warn",
    )


def _off(explanation: Explanation) -> Iterator[Fact]:
    if explanation.off_image is None:  # another library's map
        return
    word = baselines.WORDS.get(explanation.baseline, explanation.baseline)
    yield _chip(
        "off",
        "Off means",
        word.removeprefix("its own "),
        "What a switched-off region looks like",
        f"It is replaced: {word}. The model still sees that, so the answer can depend on this choice.",
        'Choose another with explain(…, baseline="…"): "mean", "blur", "grey", "black", "noise" or a picture.',
    )
