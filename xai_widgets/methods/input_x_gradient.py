"""Input × gradient: the gradient, times what the model is given."""

from __future__ import annotations

from xai_widgets.problem import Estimate, Problem, Steps
from xai_widgets.registry import MethodInfo


def input_x_gradient(problem: Problem) -> Steps:
    """``x ⊙ ∂ score / ∂ x``, summed over channels (Shrikumar et al. 2016, equation 1).

    ``x`` is the model's input, after preprocessing: what is 0 there, the mean colour as a rule, gets nothing whatever
    the model makes of it. There is no other baseline.

    Proof: equals captum's InputXGradient to 1e-6; adds up to the logit of a network of ReLUs without biases
    (tests/test_gradients.py).
    """
    from xai_widgets.gradients import flat, gradient, wide

    found = gradient(problem, problem.inputs)
    yield Estimate(values=flat(wide(problem.inputs) * wide(found.gradients[0])), n_forward=1)


INFO = MethodInfo(
    name="input_x_gradient",
    label="Input × gradient",
    family="gradient",
    summary="The gradient times the input: a first guess at what each pixel adds. "
    "Pixels that are zero inside get nothing.",
    run=input_x_gradient,
    needs="gradients",
    linear=True,
    space="logit",
    source="Shrikumar, Greenside, Shcherbina and Kundaje, Not Just a Black Box, arXiv 1605.01713, 2016",
)
