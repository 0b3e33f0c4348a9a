"""Hierarchies for `partition_shap`: of the regions, by colour and place, and of the pixels, by halving."""

from __future__ import annotations

import warnings
from functools import cached_property, lru_cache
from typing import Any, Protocol

import numpy as np

from xai_widgets.problem import Problem

Node = Any
"""A part of the picture; what it looks like is the tree's own affair."""

_COMPACTNESS = 10.0
"""What a region's width weighs against a unit of colour in Lab; SLIC's own, with which the regions were cut."""


class Tree(Protocol):
    """A picture cut in two, and each part again, down to its leaves."""

    root: Node
    shape: tuple[int, ...]
    """Of a mask and of the leaves' values."""

    def split(self, node: Node) -> tuple[Node, Node] | None:
        """The two parts of a node, None for a leaf."""

    def leaves(self, node: Node) -> Any:
        """An index of the leaves below a node, for arrays of `shape`."""

    @property
    def n_splits(self) -> int:
        """Splits that exact Owen values take: a node below `d` others is split in 2 ** d contexts."""


class Pixels:
    """shap's image masker's hierarchy: a rectangle is halved across its longer side, down to single pixels.

    An odd row or column goes to the upper or left half, as in shap, which numbers its pixels from the end.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        self.shape = shape
        self.root = (0, shape[0], 0, shape[1])

    def split(self, node: Node) -> tuple[Node, Node] | None:
        top, bottom, left, right = node
        height, width = bottom - top, right - left
        if height >= width and height > 1:
            middle = bottom - height // 2
            return (top, middle, left, right), (middle, bottom, left, right)
        if width > 1:
            middle = right - width // 2
            return (top, bottom, left, middle), (top, bottom, middle, right)
        return None

    def leaves(self, node: Node) -> tuple[slice, slice]:
        top, bottom, left, right = node
        return slice(top, bottom), slice(left, right)

    @property
    def n_splits(self) -> int:
        @lru_cache(None)
        def below(height: int, width: int) -> int:
            halves = self.split((0, height, 0, width))
            if halves is None:
                return 0
            return 1 + 2 * sum(below(bottom - top, right - left) for top, bottom, left, right in halves)

        return below(*self.shape)


class Regions:
    """Neighbouring regions joined two by two, those alike in colour and close to each other first.

    Ward's linkage of mean Lab colours and centres between touching regions; a centre counts as SLIC counts places.
    """

    def __init__(self, image: np.ndarray, labels: np.ndarray) -> None:
        self.n = int(labels.max()) + 1
        self.shape = (self.n,)
        self.children = [(int(a), int(b)) for a, b in _joined(image, labels, self.n)]
        self.root = self.n + len(self.children) - 1

    def split(self, node: Node) -> tuple[Node, Node] | None:
        return self.children[node - self.n] if node >= self.n else None

    @cached_property
    def _below(self) -> list[list[int]]:
        found = [[leaf] for leaf in range(self.n)]
        for left, right in self.children:
            found.append(found[left] + found[right])
        return found

    def leaves(self, node: Node) -> list[int]:
        return self._below[node]

    @property
    def n_splits(self) -> int:
        below = [0] * self.n
        for left, right in self.children:
            below.append(1 + 2 * (below[left] + below[right]))
        return below[-1]


def _joined(image: np.ndarray, labels: np.ndarray, n: int) -> np.ndarray:
    """Which two nodes are joined at each step, (S - 1, 2); regions are 0 … S-1, and step t makes node S + t."""
    if n == 1:
        return np.zeros((0, 2), int)
    from scipy.sparse import coo_matrix
    from skimage.color import rgb2lab

    from xai_widgets.guard import same_randomness
    from xai_widgets.segments import region_means

    with same_randomness():  # scikit-learn draws as it is imported
        from sklearn.cluster import ward_tree

    places = np.stack(np.indices(labels.shape), axis=-1) * (_COMPACTNESS * np.sqrt(n / labels.size))
    features = region_means(np.concatenate([rgb2lab(image), places], axis=-1), labels)
    one = np.concatenate([labels[1:].ravel(), labels[:, 1:].ravel()])
    other = np.concatenate([labels[:-1].ravel(), labels[:, :-1].ravel()])
    touching = coo_matrix((np.ones(len(one)), (one, other)), (n, n)).tocsr()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # regions of the user's own may leave gaps; the nearest are joined across them
        return ward_tree(features, connectivity=touching)[0]


def tree(problem: Problem, hierarchy: str) -> Tree:
    """The hierarchy called "regions" or "image"."""
    if hierarchy == "image":
        return Pixels(problem.view.shape)
    return Regions(problem.view.image, problem.labels)
