"""A tree that sends states to leaves of rows that lie near to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from skcode.utils._typing import FloatArray, IntArray

#: rows that tell the direction of a split
_ROWS_OF_DIRECTION = 4096


@dataclass(frozen=True, eq=False)
class Leaves:
    """A binary tree of half-spaces.

    Split s sends a state x to the first of its children where <directions_s, x> <= thresholds_s,
    to the second elsewhere. Children from zero on are splits, the others -1, -2, ... stand for the
    leaves 0, 1, ... The first split is the root; without a split there is one leaf.

    Parameters
    ----------
    directions : ndarray of shape (S, m)
        Normals of the half-spaces.
    thresholds : ndarray of shape (S,)
        Where they end.
    children : ndarray of shape (S, 2), int
        What follows on both sides.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.gaussian_process import Leaves
    >>> x = np.array([[0.0, 1.0], [1.0, 0.0], [8.0, 1.0], [9.0, 0.0]])
    >>> leaves, rows = Leaves.grow(x, 2)
    >>> sorted(each.tolist() for each in rows)
    [[0, 1], [2, 3]]
    >>> [bool(np.all(leaves(x[each]) == k)) for k, each in enumerate(rows)]
    [True, True]
    """

    directions: FloatArray
    thresholds: FloatArray
    children: IntArray

    @classmethod
    def grow(cls, states: FloatArray, most: int) -> tuple[Leaves, list[IntArray]]:
        """A tree whose leaves hold at most so many of these states each, and their rows.

        Rows are parted along their first principal direction, again and again: in halves where as
        few leaves as can hold them are even in number, else so that all become as large.
        """
        directions: list[FloatArray] = []
        thresholds: list[np.floating[Any]] = []
        children: list[list[int]] = []
        rows: list[IntArray] = []
        # parts that wait: their rows, the split that they follow, and on which side of it
        waiting: list[tuple[IntArray, int, int]] = [(np.arange(len(states)), -1, 0)]
        while waiting:
            among, parent, side = waiting.pop()
            number = len(directions) if len(among) > most else -1 - len(rows)
            if parent >= 0:
                children[parent][side] = number
            if number < 0:
                rows.append(among)
                continue
            direction = _principal_direction(states[among])
            along = states[among] @ direction
            order = np.argsort(along, kind="stable")
            n_leaves = -(-len(among) // most)
            first = -(-len(among) * (n_leaves // 2) // n_leaves)
            threshold = along[order[first - 1]]
            # equal rows stay together, unless all are equal: then any part is as good
            left = along <= threshold
            if left.all():
                left = along < threshold
                threshold = np.nextafter(threshold, -np.inf, dtype=along.dtype)
            if not left.any():
                left = np.zeros(len(among), dtype=bool)
                left[order[:first]] = True
            directions.append(direction)
            thresholds.append(threshold)
            children.append([0, 0])
            # the first side is parted first
            waiting += [(among[~left], number, 1), (among[left], number, 0)]
        m, dtype = states.shape[1], states.dtype
        tree = cls(
            np.array(directions, dtype).reshape(-1, m),
            np.array(thresholds, dtype),
            np.array(children, dtype=np.intp).reshape(-1, 2),
        )
        return tree, rows

    @property
    def n_leaves(self) -> int:
        """The number of leaves: one more than splits."""
        return len(self.thresholds) + 1

    def __call__(self, states: FloatArray) -> IntArray:
        """The leaves (n,) of states (n, m)."""
        # rows arrive at a split before they arrive at its children
        at = np.full(len(states), 0 if len(self.thresholds) else -1)
        for s, (direction, threshold) in enumerate(
            zip(self.directions, self.thresholds, strict=True)
        ):
            here = np.flatnonzero(at == s)
            second = states[here] @ direction > threshold
            at[here] = self.children[s][second.astype(int)]
        leaves: IntArray = -1 - at
        return leaves


def _principal_direction(states: FloatArray) -> FloatArray:
    """The direction (m,) in which states vary most."""
    some = states[:: -(-len(states) // _ROWS_OF_DIRECTION)].astype(np.float64)
    some -= some.mean(axis=0)
    direction: FloatArray = np.linalg.eigh(some.T @ some)[1][:, -1].astype(states.dtype)
    return direction
