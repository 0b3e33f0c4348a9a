"""An explanation as a still picture: a matplotlib figure, and the small PNG shown where no front end runs."""

from __future__ import annotations

import io
import math
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
    level, top = _levels(explanation)
    return shade(explanation.image, level if top else np.zeros_like(level), signed=explanation.signed, opacity=opacity)


def shade(image: np.ndarray, level: np.ndarray, *, signed: bool, opacity: float = 0.8) -> np.ndarray:
    """Levels of -1 … 1, or 0 … 1 without sign, (H, W), as heat over a greyed photo (H, W, 3)."""
    grey = image @ np.array([0.2126, 0.7152, 0.0722])
    ground = 0.15 * image + 0.85 * (grey[..., None] * 0.94 + 8)
    if signed:
        colour = np.where(level[..., None] > 0, FOR, AGAINST)
        alpha = opacity * np.abs(level)
    else:
        colour = 255 * _viridis(level)
        alpha = opacity * np.clip(level * 1.6, 0, 1)
    mixed = ground * (1 - alpha[..., None]) + colour * alpha[..., None]
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)


def thumbnail(explanation: Explanation) -> bytes:
    """The map and what goes with it as PNG, enlarged or reduced to about 448 pixels."""
    parts = [] if _has_no_map(explanation) else [_fitted(blend(explanation))]
    if explanation.pictures is not None:
        parts.append(_fitted(tiled(explanation.pictures)))
    height = max(len(part) for part in parts)
    parts = [np.pad(part, ((0, height - len(part)), (0, 0), (0, 0)), constant_values=255) for part in parts]
    buffer = io.BytesIO()
    Image.fromarray(np.concatenate(parts, axis=1)).save(buffer, "PNG")
    return buffer.getvalue()


def _fitted(pixels: np.ndarray) -> np.ndarray:
    """A picture with its longer side brought to `THUMBNAIL`."""
    image = Image.fromarray(pixels)
    factor = THUMBNAIL / max(image.size)
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    way = Image.Resampling.NEAREST if factor > 6 else Image.Resampling.BICUBIC
    return np.asarray(image.resize(size, way))


def tiled(pictures: np.ndarray, gap: float = 0.04) -> np.ndarray:
    """Pictures (n, h, w, 3) side by side in rows on white, (H, W, 3)."""
    n, height, width = pictures.shape[:3]
    rows, cols = _grid(n)
    margin = round(gap * width)
    sheet = np.full((rows * (height + margin) - margin, cols * (width + margin) - margin, 3), 255, np.uint8)
    for number, picture in enumerate(pictures):
        top, left = (number // cols) * (height + margin), (number % cols) * (width + margin)
        sheet[top : top + height, left : left + width] = picture
    return sheet


def _grid(n: int) -> tuple[int, int]:
    """Rows and columns for so many pictures: as square as it goes, rather wide than high."""
    cols = math.ceil(math.sqrt(n))
    return math.ceil(n / cols), cols


def _has_no_map(explanation: Explanation) -> bool:
    """Whether there are pictures instead of a map."""
    return explanation.pictures is not None and not explanation.values.any()


def plot(explanation: Explanation, ax: Any = None, *, opacity: float = 0.8, outlines: bool = False) -> Any:
    """Draw on a matplotlib Axes with a colour bar of raw values; returns the Axes.

    If none is given one is made, with the pictures and their captions beside it; where there is no map they are all
    there is, and the first one's Axes is returned. On an Axes that is given there is room for the map only, or for the
    pictures without captions.
    """
    from matplotlib import pyplot as plt

    title = f"Why {explanation.target_name}? According to {explanation.method}"
    if ax is None and explanation.pictures is not None:
        figure, ax = _gallery(explanation)
        if _has_no_map(explanation):
            figure.suptitle(title, fontsize=10)
            return ax
    elif ax is None:
        _, ax = plt.subplots(figsize=(6, 5), layout="constrained")
    ax.set_axis_off()
    ax.set_title(title, fontsize=10)
    if _has_no_map(explanation):
        ax.imshow(tiled(explanation.pictures))
        return ax
    ax.imshow(blend(explanation, opacity))
    if outlines:
        ax.contour(explanation.segments, levels=np.arange(explanation.n_segments) + 0.5, colors="white", linewidths=0.5)
    _bar(explanation, ax)
    return ax


def _gallery(explanation: Explanation) -> tuple[Any, Any]:
    """A figure with pictures and captions, and the Axes for the map to their left, or the first picture's if none."""
    from matplotlib import pyplot as plt

    rows, cols = _grid(len(explanation.pictures))
    cell = {1: 4.0, 2: 2.8}.get(cols, 1.9)
    room = 0.0 if _has_no_map(explanation) else 5.0
    figure = plt.figure(figsize=(room + cols * cell, max(room - 0.5, rows * (cell + 0.5))), layout="constrained")
    split = figure.add_gridspec(1, 2 if room else 1, width_ratios=(room, cols * cell) if room else None)
    lead = figure.add_subplot(split[0]) if room else None
    grid = split[-1].subgridspec(rows, cols)
    for number, (picture, caption) in enumerate(zip(explanation.pictures, explanation.captions, strict=True)):
        small = figure.add_subplot(grid[number // cols, number % cols])
        small.imshow(picture)
        small.set_axis_off()
        small.set_title("\n".join(caption.split(" · ")), fontsize=7)
        lead = lead or small
    return figure, lead


def _bar(explanation: Explanation, ax: Any) -> None:
    """A colour bar of raw values."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LinearSegmentedColormap, Normalize

    top = _levels(explanation)[1] or 1.0
    if explanation.signed:
        ends = [tuple(c / 255) for c in (AGAINST, np.array([143, 143, 143]), FOR)]
        colours, scale = LinearSegmentedColormap.from_list("for_against", ends), Normalize(-top, top)
    else:
        colours, scale = "viridis", Normalize(min(0.0, float(explanation.values.min())), top)
    unit = "points of probability" if explanation.space == "probability" and explanation.signed else "raw score"
    factor = 100 if unit.startswith("points") else 1
    clipped = top < float(np.abs(explanation.values).max())
    beyond = ("both" if explanation.signed else "max") if clipped else "neither"
    bar = ax.figure.colorbar(ScalarMappable(scale, colours), ax=ax, shrink=0.8, label=unit, extend=beyond)
    bar.formatter = lambda value, _position: f"{value * factor:+.3g}" if explanation.signed else f"{value:.3g}"
    bar.update_ticks()


def _levels(explanation: Explanation) -> tuple[np.ndarray, float]:
    """Values as -1 … 1 around zero (0 … 1 without sign) and the value that 1 stands for."""
    values = explanation.values.astype(np.float64)
    top = _reach(explanation)
    if not explanation.signed:
        low, high = max(min(0.0, float(values.min())), -top), min(float(values.max()), top)
        return np.clip((values - low) / (high - low), 0, 1) if high > low else np.zeros_like(values), high
    return (np.clip(values / top, -1, 1) if top else values), top


def _reach(explanation: Explanation) -> float:
    """Where the colours end: at the largest size, or earlier where a few pixels would leave all others without colour.

    The rule of the page, `js/lib/evidence.ts`.
    """
    sizes = np.abs(explanation.values)
    largest = float(sizes.max())
    if explanation.segment_values is not None:
        return largest
    usual = float(np.quantile(sizes, 0.995))
    return usual if 0 < 2 * usual < largest else largest


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
