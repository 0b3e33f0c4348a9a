"""An explanation as a still picture: a matplotlib figure, and the small PNG shown where no front end runs."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from xai_widgets.explanation import Explanation

FOR, AGAINST = np.array([207, 56, 0]), np.array([12, 113, 229])
"""The front end's vermilion and blue: equally light, and told apart by colour-blind readers."""
THUMBNAIL = 448


def blend(explanation: Explanation, opacity: float = 0.8) -> np.ndarray:
    """Photo under heat, uint8 (H, W, 3): vermilion for, blue against, viridis where a method knows no sign."""
    grey = explanation.image @ np.array([0.2126, 0.7152, 0.0722])
    ground = 0.15 * explanation.image + 0.85 * (grey[..., None] * 0.94 + 8)
    level, top = _levels(explanation)
    if explanation.signed:
        colour = np.where(level[..., None] > 0, FOR, AGAINST)
        alpha = opacity * np.abs(level)
    else:
        colour = 255 * _viridis(level)
        alpha = opacity * np.clip(level * 1.6, 0, 1)
    if top == 0:
        alpha = np.zeros_like(level)
    mixed = ground * (1 - alpha[..., None]) + colour * alpha[..., None]
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)


def thumbnail(explanation: Explanation) -> bytes:
    """The blend as PNG, enlarged or reduced to about 448 pixels."""
    image = Image.fromarray(blend(explanation))
    factor = THUMBNAIL / max(image.size)
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    way = Image.Resampling.NEAREST if factor > 6 else Image.Resampling.BICUBIC
    buffer = io.BytesIO()
    image.resize(size, way).save(buffer, "PNG")
    return buffer.getvalue()


def plot(explanation: Explanation, ax: Any = None, *, opacity: float = 0.8, outlines: bool = False) -> Any:
    """Draw on a matplotlib Axes, made if none is given, with a colour bar of raw values; returns the Axes."""
    from matplotlib import pyplot as plt
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LinearSegmentedColormap, Normalize

    if ax is None:
        _, ax = plt.subplots(figsize=(6, 5), layout="constrained")
    ax.imshow(blend(explanation, opacity))
    if outlines:
        ax.contour(explanation.segments, levels=np.arange(explanation.n_segments) + 0.5, colors="white", linewidths=0.5)
    ax.set_axis_off()
    ax.set_title(f"Why {explanation.target_name}? According to {explanation.method}", fontsize=10)
    top = _levels(explanation)[1] or 1.0
    if explanation.signed:
        ends = [tuple(c / 255) for c in (AGAINST, np.array([143, 143, 143]), FOR)]
        colours, scale = LinearSegmentedColormap.from_list("for_against", ends), Normalize(-top, top)
    else:
        colours, scale = "viridis", Normalize(min(0.0, float(explanation.values.min())), top)
    unit = "points of probability" if explanation.space == "probability" and explanation.signed else "raw score"
    factor = 100 if unit.startswith("points") else 1
    bar = ax.figure.colorbar(ScalarMappable(scale, colours), ax=ax, shrink=0.8, label=unit)
    bar.formatter = lambda value, _position: f"{value * factor:+.3g}" if explanation.signed else f"{value:.3g}"
    bar.update_ticks()
    return ax


def _levels(explanation: Explanation) -> tuple[np.ndarray, float]:
    """Values as -1 … 1 around zero (0 … 1 without sign) and the value that 1 stands for."""
    values = explanation.values.astype(np.float64)
    if not explanation.signed:
        low, high = min(0.0, float(values.min())), float(values.max())
        return (values - low) / (high - low) if high > low else np.zeros_like(values), high
    top = float(np.abs(values).max())
    return (values / top if top else values), top


def _viridis(level: np.ndarray) -> np.ndarray:
    """Viridis by nine of its colours, so that a thumbnail needs no matplotlib."""
    stops = np.array(
        [
            (68, 1, 84), (71, 45, 123), (59, 82, 139), (44, 114, 142), (33, 145, 140),
            (40, 174, 128), (94, 201, 98), (173, 220, 48), (253, 231, 37),
        ]
    ) / 255  # fmt: skip
    at = np.linspace(0, 1, len(stops))
    return np.stack([np.interp(level, at, stops[:, channel]) for channel in range(3)], axis=-1)
