"""Ramps: each number in parts, one for each interval between two of its quantiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from skcode.inputs._scaling import BOUND, ROUNDING_OF_SUMS, robust
from skcode.inputs._squash import HUGE
from skcode.utils._typing import FloatArray, IntArray

#: parts of a column, where there is room for so many. More leave few rows to a part, and have
#: controls each; with one, a ramp is the column itself
_MOST_PARTS = 8


@dataclass(frozen=True, eq=False)
class Ramps:
    r"""What of each number lies between two of its quantiles, each part a column of its own.

    .. math:: r_k(x) = c\big(g_k (\min(\max(x_{j(k)}, a_k), b_k) - m_k)\big), \qquad
        c(z) = z / \sqrt{1 + (z / 3)^2}

    The parts of a column follow one another: the first reaches down without an end, each ends where
    the next begins, and the last reaches up without one. So nothing of a number is lost. What is
    gained are coordinates that a flow can stretch one by one: an input then matters much in one
    range and little in another, as it does to a tree [1]_. The parts of numbers with few values are
    the steps from each to the next. Each part is scaled robustly and bounded, as columns are with
    ``scaling="robust"``.

    Parameters
    ----------
    columns : ndarray of shape (q,)
        The column j(k) of each ramp, in rising order.
    low, high : ndarray of shape (q,)
        Ends a_k and b_k; both as good as infinite for a column that is not parted.
    center, gain : ndarray of shape (q,)
        Centres m_k and factors g_k.

    References
    ----------
    .. [1] Y. Gorishniy, I. Rubachev, A. Babenko, "On embeddings for numerical features in tabular
       deep learning", NeurIPS 2022.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.inputs import Ramps
    >>> x = np.repeat([[-1.0], [0.0], [1.0]], 2, axis=0)
    >>> ramps = Ramps.learn(x, np.ones(6), most=4)
    >>> ramps.low[1:], ramps.high[:-1]
    (array([0.]), array([0.]))
    >>> ramps(x)[::2].round(2)
    array([[-1.28, -0.69],
           [ 0.69, -0.69],
           [ 0.69,  1.28]])
    >>> ramps.names(["age"])
    ['age (1 of 2)', 'age (2 of 2)']
    """

    columns: IntArray
    low: FloatArray
    high: FloatArray
    center: FloatArray
    gain: FloatArray

    @classmethod
    def learn(cls, x: FloatArray, weight: FloatArray, most: int) -> Ramps | None:
        """From rows (n, p) and weights (n,); at most so many ramps.

        None where no column has more than two values, or all together leave no room to part them.
        """
        several = np.array([np.any((c != c.min()) & (c != c.max())) for c in x.T])
        if not several.any():
            return None
        n_parts = min((most - np.sum(~several)) // several.sum(), _MOST_PARTS)
        if n_parts < 2:
            return None
        ends = [
            [-HUGE, *(_inner_ends(column, weight, n_parts) if parted else ()), HUGE]
            for column, parted in zip(x.T, several, strict=True)
        ]
        columns = np.repeat(np.arange(len(ends)), [len(each) - 1 for each in ends])
        low, high = np.transpose([pair for each in ends for pair in pairwise(each)])
        center, gain = robust(np.clip(x[:, columns], low, high), weight)
        return cls(columns, low, high, center, gain)

    def __len__(self) -> int:
        return len(self.columns)

    def __call__(self, x: FloatArray) -> FloatArray:
        """The ramps (n, q) of rows (n, p)."""
        return BOUND(self._scaled(x))

    def by_column(self, gradient: FloatArray, x: FloatArray) -> FloatArray:
        """Derivatives (n, p) in x (n, p), from those in the ramps (n, q)."""
        own = x[:, self.columns]
        inside = (own >= self.low) & (own < self.high)
        slope = self.gain * inside * BOUND.slope(self._scaled(x))
        starts = np.flatnonzero(np.diff(self.columns, prepend=-1))
        by_column: FloatArray = np.add.reduceat(gradient * slope, starts, axis=1)
        return by_column

    def names(self, names: Sequence[str]) -> list[str]:
        """Names of ramps from those of columns: ``age (2 of 8)`` is the second of eight."""
        n_parts = np.bincount(self.columns)
        number = np.arange(len(self)) - np.searchsorted(self.columns, self.columns)
        return [
            names[j] if n_parts[j] == 1 else f"{names[j]} ({k + 1} of {n_parts[j]})"
            for j, k in zip(self.columns, number, strict=True)
        ]

    def _scaled(self, x: FloatArray) -> FloatArray:
        parts: FloatArray = np.clip(x[:, self.columns], self.low, self.high)
        parts -= self.center
        parts *= self.gain
        return parts


def _inner_ends(column: FloatArray, weight: FloatArray, n_parts: int) -> FloatArray:
    """Where the parts of a column of three values or more meet, in rising order.

    Few values part it themselves, many its quantiles.
    """
    values, of_value = np.unique(column, return_inverse=True)
    if len(values) > n_parts + 1:
        reached = np.cumsum(np.bincount(of_value, weight))
        levels = np.arange(1, n_parts) / n_parts * (1 - ROUNDING_OF_SUMS) * reached[-1]
        values = np.unique(values[[0, *np.searchsorted(reached, levels), -1]])
    inner: FloatArray = values[1:-1]
    return inner
