"""Getting to know a model by asking it: what its answers are, what it does besides, how it can be asked."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from xai_widgets.errors import ModelError, XaiError, first_line
from xai_widgets.guard import guard
from xai_widgets.outputs import finish, kind_of

if TYPE_CHECKING:
    from xai_widgets.classifiers import Classifier

USUAL_SIZES = (224, 299, 384, 256, 192, 128, 96, 64, 32, 28)
"""Sides of square pictures that are tried to say which one a model takes that has refused another."""

ENOUGH = 8
"""Answers from which probabilities are told without a word of doubt, of the ten that are asked for."""

ASKED_AGAIN = 6
"""How often a model that draws random numbers, or seems to, is asked the same."""

_RESHAPES = ("View", "Reshape", "Squeeze", "Unsqueeze", "Select", "Slice", "Clone", "ToCopy", "Alias", "Flatten")
_LINEAR = ("Addmm", "Mm", "Bmm", "Linear", "Convolution")
"""How autograd calls what only changes an answer's shape, and what a linear layer comes to."""


def probe(classifier: Classifier, inputs: Tensor) -> np.ndarray:
    """Ask about one picture and a few strange ones; what is found out is set on the classifier.

    Set are ``habits``, ``batch``, ``kind``, ``memory_format``, ``seconds``, ``warnings``, and ``example`` once all went
    well.

    Parameters
    ----------
    classifier : Classifier
    inputs : Tensor, shape (C, h, w)

    Returns
    -------
    ndarray, shape (classes,)
        Probabilities.

    Raises
    ------
    ModelError
        If it cannot be asked; with the size that it takes, if that is the trouble.
    """
    with guard(classifier.guarded, classifier.habits) as found, torch.no_grad():
        try:
            alone = classifier.scores(inputs[None])
        except ModelError as error:
            raise _with_size(classifier, error, inputs) from error.__cause__
    classifier.habits = classifier.habits or found[0]
    _try_batch(classifier, inputs, alone)
    answers = [alone]
    if bool(((alone >= 0) & (alone <= 1)).all()) or _undecided(finish(alone, "logits", "probability")):
        answers += _strange_answers(classifier, inputs)
    everything = _settle_kind(classifier, inputs, answers)
    probabilities = everything[0].detach().cpu().numpy()
    _try_channels_last(classifier, inputs, probabilities)
    classifier.answers(inputs[None], "probability")
    classifier.example = inputs
    return probabilities


def _settle_kind(classifier: Classifier, inputs: Tensor, answers: list[Tensor]) -> Tensor:
    """Tell what kind of scores the answers are; returns them as probabilities, those of the picture first."""
    told = classifier.activation
    kind = kind_of(torch.cat(answers), told)
    if kind in ("single probability", "multi-label probabilities") and told is None:
        if _ends_linear(classifier, inputs):
            kind = "single logit" if kind == "single probability" else "logits"
        elif len(answers) < ENOUGH:
            classifier.warn(
                f"The model's answers lie within 0–1 for the {len(answers)} pictures that it took, so they are read as "
                'probabilities. If they are logits pass activation="sigmoid".'
            )
    classifier.kind = kind
    everything = finish(torch.cat(answers), kind, "probability")
    if kind in ("logits", "probabilities") and len(answers) > 1 and _undecided(everything):
        top = float(everything[0].max())
        classifier.warn(
            f"The model is undecided about everything: its top class of {everything.shape[1]} has {top:.1%} here, "
            "and noise gets no more. Is the checkpoint loaded?"
        )
    return everything


def _try_batch(classifier: Classifier, inputs: Tensor, alone: Tensor) -> None:
    """Whether it says the same when it is asked again, also beside another picture, and takes two at all."""
    habits = classifier.habits
    if (habits.draws or habits.attributes) and _is_noisy(classifier, inputs, alone):
        return
    if classifier.batch is not None:
        return
    try:
        together = _quietly(classifier, torch.stack([inputs, inputs.flip(-1)]))[:1]
    except (ModelError, torch.OutOfMemoryError):
        classifier.batch = 1
        return
    gap = float((together - alone).abs().max())
    if gap > _tolerance(classifier, alone) and not _is_noisy(classifier, inputs, alone):
        classifier.batch = 1
        classifier.warn(
            f"Asked together with another picture, the model answers differently, by up to {gap:.2g}: it mixes the "
            "pictures of a batch. So every picture is asked alone, which is slower."
        )


def _is_noisy(classifier: Classifier, inputs: Tensor, alone: Tensor) -> bool:
    """Whether its answers to the same picture differ; then it is said."""
    with guard(classifier.guarded, classifier.habits), torch.no_grad():
        # All in one guard, which puts random state back only at its end. More than twice, for dropout of a few scores
        # may well fall the same way two times.
        rows = torch.cat([classifier.scores(inputs[None]) for _ in range(ASKED_AGAIN)])
    gap = float((rows.amax(0) - rows.amin(0)).max())
    if gap <= _tolerance(classifier, alone):
        return False
    classifier.warn(
        f"Asked again about the same picture, the model's answers differ by up to {gap:.2g} in evaluation "
        "mode, so a map holds that noise. Look for dropout that stays on, or random numbers in forward()."
    )
    return True


def _tolerance(classifier: Classifier, answer: Tensor) -> float:
    """How far two answers to one picture may differ by rounding."""
    rounding = 2e-2 if classifier.dtype in (torch.float16, torch.bfloat16) else 1e-4
    return rounding * (1 + float(answer.abs().max()))


def _strange_answers(classifier: Classifier, inputs: Tensor) -> list[Tensor]:
    """Answers to pictures unlike any it was made for; a logit gives itself away there, a probability does not."""
    noise = torch.randn(inputs.shape, generator=torch.Generator().manual_seed(0)).to(inputs)
    low, high = float(inputs.min()), float(inputs.max())
    strange = [0 * inputs, inputs.flip(-2), -10 * inputs, 10 * inputs, 3 * noise, -30 * noise]
    # A model may refuse what is out of range; these are within.
    strange += [low + 0 * inputs, high + 0 * inputs, noise.clamp(low, high)]
    answers = []
    for picture in strange:
        try:
            answers.append(_quietly(classifier, picture[None]))
        except ModelError:
            continue
    return answers


def _ends_linear(classifier: Classifier, inputs: Tensor) -> bool:
    """Whether the last thing it does is a linear layer; what that returns is no probability, whatever its size."""
    if classifier.opaque:
        return False
    with classifier.differentiable(inputs) as (leaf, _):
        step = classifier.scores(leaf[None]).grad_fn
        while step is not None and step.name().startswith(_RESHAPES) and step.next_functions:
            step = step.next_functions[0][0]
        return step is not None and step.name().startswith(_LINEAR)


def _try_channels_last(classifier: Classifier, inputs: Tensor, expected: np.ndarray) -> None:
    """On a CPU channels-last convolutions are faster, but a model may reshape with ``view`` and break."""
    if classifier.device.type != "cpu" or classifier.opaque or classifier.batch is not None:
        return
    if not any(isinstance(module, nn.Conv2d) for module in classifier.model.modules()):
        return
    classifier.memory_format = torch.channels_last
    try:
        # Two pictures: some views are possible for a batch of one only.
        found = classifier.answers(inputs.expand(2, *inputs.shape), "probability")[0]
    except ModelError:
        found = None
    if found is None or not np.allclose(found, expected, atol=1e-5):
        classifier.memory_format = torch.contiguous_format


def _with_size(classifier: Classifier, error: ModelError, inputs: Tensor) -> ModelError:
    """The same error, ending in the size of picture that the model takes, if one is found."""
    channels, height, width = inputs.shape
    for side in USUAL_SIZES:
        if (side, side) == (height, width):
            continue
        try:
            classifier.scores(torch.zeros(1, channels, side, side).to(inputs))
        except (XaiError, torch.OutOfMemoryError):
            continue
        cause = error.__cause__
        said = str(error) if cause is None else f"{type(cause).__name__}: {first_line(cause)}"
        return ModelError(
            f"{classifier.name} takes pictures of {side}×{side} and was given {height}×{width} (rows × columns). Pass "
            f"size={side}, or preprocess=weights.transforms(). It said: {said}"
        )
    return error


def _quietly(classifier: Classifier, batch: Tensor) -> Tensor:
    with guard(classifier.guarded, classifier.habits), torch.no_grad():
        return classifier.scores(batch)


def _undecided(probabilities: Tensor) -> bool:
    """Whether the classes have about equal shares in every row, as untrained weights give them.

    Nine tenths of the greatest entropy: random weights of torchvision's models come to .95 and more.
    """
    classes = probabilities.shape[1]
    if classes < 5:
        return False
    entropy = -(probabilities * probabilities.clamp_min(1e-12).log()).sum(1)
    return bool((entropy > 0.9 * math.log(classes)).all())
