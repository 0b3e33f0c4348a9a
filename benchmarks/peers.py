"""How the peers are called: with their own documented defaults, our regions and our off colour.

Each function takes a case, a number of samples and a seed and returns one number a region, or a map.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.cases import Case
from benchmarks.harness import timed

SHAP_IMAGE_BATCH = 32
"""KernelExplainer hands over everything at once; in shap's own image example Keras then asks by 32."""


def lime(case: Case, n_samples: int, seed: int) -> np.ndarray:
    """``LimeImageExplainer`` with its defaults; one class is fitted where its default is five."""
    from lime.lime_image import LimeImageExplainer

    found = LimeImageExplainer(random_state=seed).explain_instance(
        case.image, case.predict, labels=(case.target,), top_labels=None, num_samples=n_samples,
        segmentation_fn=lambda _image: case.segments,
    )  # fmt: skip
    return by_region(found.local_exp[case.target], case.n_segments)


def lime_fit(masks: np.ndarray, scores: np.ndarray, *, converged: bool = False) -> np.ndarray:
    """Lime's own regression on answers that are there already.

    With `converged`, for weights so large that ``Ridge(1)`` no longer shrinks: what lime tends to.
    """
    from lime.lime_base import LimeBase

    def kernel(distances: np.ndarray) -> np.ndarray:
        return np.sqrt(np.exp(-(distances**2) / 0.25**2)) * (1e6 if converged else 1)

    rows = masks.astype(float)
    distances = 1 - np.sqrt(rows.mean(1))  # cosine distance from the whole picture
    fitted = LimeBase(kernel, random_state=0).explain_instance_with_data(
        rows, scores[:, None], distances, 0, rows.shape[1], feature_selection="none"
    )
    return by_region(fitted[1], rows.shape[1])


def by_region(ranked: list[tuple[int, float]], n_segments: int) -> np.ndarray:
    """Lime's list of (region, weight) as an array."""
    values = np.zeros(n_segments)
    for region, weight in ranked:
        values[region] = weight
    return values


def shap_kernel(
    case: Case, n_samples: int, seed: int, predict: Callable[[np.ndarray], np.ndarray] | None = None
) -> np.ndarray:
    """``KernelExplainer`` over regions, without the default that sets all but ten of them to zero."""
    import shap

    predict = predict or (lambda masks: case.predict_regions(masks, SHAP_IMAGE_BATCH))
    np.random.seed(seed)  # noqa: NPY002 - the generator that shap draws from
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about our few samples
        explainer = shap.KernelExplainer(predict, np.zeros((1, case.n_segments)))
        found = explainer.shap_values(np.ones((1, case.n_segments)), nsamples=n_samples, l1_reg=False, silent=True)
    return np.asarray(found).reshape(-1)


def shap_permutation(case: Case, n_samples: int, seed: int) -> np.ndarray:
    """``PermutationExplainer`` over regions, the default of ``shap.Explainer``."""
    import shap

    explainer = shap.PermutationExplainer(case.predict_regions, np.zeros((1, case.n_segments)), seed=seed)
    return explainer(np.ones((1, case.n_segments)), max_evals=n_samples, silent=True).values[0]


def shap_partition(case: Case, n_samples: int, _seed: int) -> np.ndarray:
    """``PartitionExplainer`` with an image masker, shap's way with pictures, summed over our regions.

    Owen values of a fixed tree of rectangles are not the Shapley values of regions, so more samples do not bring it
    there.
    """
    import shap

    masker = shap.maskers.Image(case.off.astype(float), case.image.shape)
    explainer = shap.PartitionExplainer(lambda images: case.predict(images)[:, [case.target]], masker)
    pixels = explainer(case.image[None].astype(float), max_evals=n_samples, silent=True).values[0]
    pixels = pixels.reshape(*case.image.shape, -1).sum((2, 3))
    return np.bincount(case.segments.ravel(), pixels.ravel(), case.n_segments)


def captum_regions(name: str, case: Case, n_samples: int, seed: int, per_call: int = 1) -> np.ndarray:
    """Captum's ``Lime`` or ``KernelShap`` over regions."""
    import captum.attr

    torch.manual_seed(seed)
    mask = torch.as_tensor(case.segments, dtype=torch.long, device=case.device)[None, None]
    found = getattr(captum.attr, name)(case.probabilities).attribute(
        case.inputs, baselines=case.off_inputs, target=case.target, feature_mask=mask,
        n_samples=n_samples, perturbations_per_eval=per_call, return_input_shape=False,
    )  # fmt: skip
    return found[0].cpu().numpy()


@cache
def captum_batch(case: Case) -> int:
    """How many pictures captum had best ask about at once: 1, its default, or 10, whichever is faster here."""
    return min((1, 10), key=lambda batch: timed(lambda: captum_regions("KernelShap", case, 20, 0, batch)).seconds)


def captum_occlusion(case: Case, window: int, stride: int, per_call: int = 1) -> Tensor:
    """Captum's ``Occlusion`` over squares."""
    from captum.attr import Occlusion

    with torch.no_grad():
        return Occlusion(case.probabilities).attribute(
            case.inputs, (3, window, window), (3, stride, stride), case.off_inputs, case.target,
            perturbations_per_eval=per_call,
        )  # fmt: skip


def rise(case: Case, n_samples: int, seed: int, grid: int = 7, batch: int = 100) -> np.ndarray:
    """RISE as its authors and TorchRay do it: float masks for all samples, then batches of 100 NCHW pictures.

    Coins on a 7 × 7 grid, enlarged bilinearly and shifted by less than a cell; hidden is 0, the mean colour.
    """
    rng, side = np.random.default_rng(seed), case.inputs.shape[-1]
    cell = -(-side // grid)
    coins = torch.from_numpy(rng.integers(0, 2, (n_samples, 1, grid, grid))).float()
    large = functional.interpolate(coins, (grid + 1) * cell, mode="bilinear", align_corners=False)
    shifts = rng.integers(0, cell, (n_samples, 2))
    masks = torch.stack([mask[:, y : y + side, x : x + side] for mask, (y, x) in zip(large, shifts, strict=True)])
    masks = masks.to(case.device)
    with torch.no_grad():
        scores = torch.cat([case.probabilities(case.inputs * part)[:, case.target] for part in masks.split(batch)])
    return (torch.tensordot(scores, masks[:, 0], 1) / n_samples / 0.5).cpu().numpy()


def gradcam(case: Case, layer: Any) -> np.ndarray:
    """pytorch-grad-cam's ``GradCAM``, made and called once."""
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    with GradCAM(case.model, [layer]) as cam:
        return cam(case.inputs, [ClassifierOutputTarget(case.target)])[0]


def torchcam_gradcam(case: Case, layer: Any) -> Tensor:
    """Torchcam's ``GradCAM``, made and called once."""
    from torchcam.methods import GradCAM

    with GradCAM(case.model, layer, tuple(case.inputs.shape[1:])) as cam:
        return cam(case.target, case.model(case.inputs))[0]
