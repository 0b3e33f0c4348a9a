"""Which axes of a layer's values are places in the picture, told from shapes alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

Grid = tuple[int, int]
"""Rows and columns."""

MOST_EXTRA = 16
"""Tokens before the patches: class, distillation and up to a dozen registers."""


class Arrangement(NamedTuple):
    """How a layer's values lie.

    Attributes
    ----------
    axes : {"NCHW", "NHWC", "tokens", "tokens first"}
        Tokens are (1, tokens, channels), tokens first (tokens, 1, channels).
    grid : (int, int)
    prefix : int
        Tokens before the patches.
    channels : int
    """

    axes: str
    grid: Grid
    prefix: int
    channels: int


class Grids:
    """The grids seen so far in one forward pass on one picture (h, w): they explain the shapes that come next.

    A convolution returns (1, channels, rows, cols) for certain. Anything else of four axes may also be attention, one
    number for each pair of tokens, so it has to show a grid that is there already, or half of it, as where patches are
    merged. Tokens are explained by a grid, or half of it, with a few tokens before; where no convolution cut the
    patches, by whole patches of the picture.
    """

    def __init__(self, picture: Grid) -> None:
        self.picture = picture
        self._seen: list[Grid] = []  # the latest first

    def read(self, shape: Sequence[int], *, certain: bool = False, whole: bool = False) -> Arrangement | None:
        """How the values of `shape` lie, or None if they know no place.

        A grid of one place is told, but explains nothing that comes after it.

        Parameters
        ----------
        shape : sequence of int
            For one picture.
        certain : bool
            They come from a module that always returns (1, channels, rows, cols).
        whole : bool
            They come from a module with parts: its grid may be one from before those, while a part has the latest.
        """
        found = None
        if len(shape) == 4 and shape[0] == 1:
            found = self._map(shape, certain, whole)
        elif len(shape) == 3 and 1 in shape[:2]:
            found = self._tokens(shape)
        if found and found.grid != (1, 1):
            self._seen = [found.grid, *(grid for grid in self._seen if grid != found.grid)]
        return found

    def _map(self, shape: Sequence[int], certain: bool, whole: bool) -> Arrangement | None:
        _, a, b, c = shape
        if certain or b == c == 1:
            return Arrangement("NCHW", (b, c), 0, a)
        known = self._seen if whole else self._seen[:1]
        if not known:
            return Arrangement("NCHW", (b, c), 0, a) if self._is_shrunk_picture((b, c)) else None
        near = {*known, *_halves(known)}
        if (b, c) in near:
            return Arrangement("NCHW", (b, c), 0, a)
        return Arrangement("NHWC", (a, b), 0, c) if (a, b) in near else None

    def _tokens(self, shape: Sequence[int]) -> Arrangement | None:
        first = shape[0] != 1
        n, channels = shape[0 if first else 1], shape[2]
        if channels == 1:
            return None
        halves = _halves(self._seen)
        options = [(self._seen, MOST_EXTRA), (halves, 1), (_halves(halves), 1)]
        if set(self._seen) <= {self.picture}:
            options.append((self._patches(), 5))
        for grids, most in options:
            fits = [(n - rows * cols, (rows, cols)) for rows, cols in grids if 0 <= n - rows * cols <= most]
            if fits:
                prefix, grid = min(fits, key=lambda fit: fit[0])  # the latest of those that fit as well
                return Arrangement("tokens first" if first else "tokens", grid, prefix, channels)
        return None

    def _is_shrunk_picture(self, grid: Grid) -> bool:
        """Whether the picture has this aspect ratio, to one row or column."""
        (rows, cols), (height, width) = grid, self.picture
        return rows <= height and cols <= width and abs(rows * width - cols * height) <= max(height, width)

    def _patches(self) -> list[Grid]:
        """Every grid of square patches that tiles the picture."""
        height, width = self.picture
        sides = range(2, min(height, width) // 2 + 1)
        return [(height // side, width // side) for side in sides if height % side == width % side == 0]


def _halves(grids: Iterable[Grid]) -> list[Grid]:
    """Half of each, rounded up and down."""
    found = [((rows + up) // 2, (cols + up) // 2) for rows, cols in grids for up in (1, 0)]
    return [grid for grid in dict.fromkeys(found) if min(grid) > 0]
