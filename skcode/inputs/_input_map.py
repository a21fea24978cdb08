"""Scaling of the inputs, and the augmentation of the state by zeros."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import DTypeLike
from sklearn.utils.extmath import randomized_svd

from skcode.inputs._screening import telling_columns
from skcode.utils._typing import Array, BoolArray, FloatArray, IntArray

#: entries that statistics and scaling read at once, 2 MB of float64: data in a memory map stays on
#: disk, and the overhead of a chunk does not count
_CHUNK_ENTRIES = 2**18
#: bound of robustly scaled inputs, in robust standard deviations
_ROBUST_CLIP = 3.0
#: a column is constant if it varies by no more than this share of its centre
_CONSTANT = 1e-12
#: what infinite scaled inputs become: finite, so that the smooth bound takes them to its limit
_HUGE = 1e100
#: rows from which the directions of a projection are taken
_MOST_PROJECTED_ROWS = 4096


@dataclass(frozen=True)
class InputMap:
    r"""E(x) = (c(g (x - x_0)) W, 0): scaled inputs, projected if they are many, then zeros.

    With a finite `clip`, :math:`c(z) = z / \sqrt{1 + (z / clip)^2}` bounds every input smoothly by
    `clip`, so that no outlier can drive the flow out of the region that it was trained on [1]_.

    Parameters
    ----------
    center : ndarray of shape (p,)
        The centre x_0.
    gain : ndarray of shape (p,)
        The factors g; 0 for constant columns.
    n_states : int
        Dimension m of the state, at least p.
    clip : float
        Bound of the scaled inputs; infinity for none.
    dtype : dtype
        Float type of the states.
    size : float
        Largest scaled input among those that the map was fitted to.
    projection : ndarray of shape (p, q) or None
        Directions of the scaled inputs that are read in their place, where columns are many.

    References
    ----------
    .. [1] D. Holzmueller, L. Grinsztajn, I. Steinwart, "Better by default: strong pre-tuned MLPs
       and boosted trees on tabular data", NeurIPS 2024.
    """

    center: FloatArray
    gain: FloatArray
    n_states: int
    clip: float = np.inf
    dtype: DTypeLike = np.float64
    size: float = 1.0
    projection: FloatArray | None = None

    @classmethod
    def fit(
        cls,
        X: Array,
        weight: FloatArray,
        n_states: int,
        scaling: str | None,
        n_coordinates: int | None = None,
        outputs: FloatArray | None = None,
    ) -> InputMap:
        """Take centre and gain from weighted data (n, p); "robust" also clips.

        With a number of coordinates the scaled inputs are projected on as many directions: with
        outputs (n, K) these begin with the columns that tell most of them (`telling_columns`); the
        others are principal directions of what is left, in units of the deviation along the first.
        """
        center, gain = SCALINGS[scaling](X, weight)
        clip = _ROBUST_CLIP if scaling == "robust" else np.inf
        fitted = cls(center, gain, n_states, clip, np.result_type(X.dtype, np.float32))
        # scaling keeps the order of a column: its ends stay its ends
        ends = fitted.scaled(np.stack([X.min(axis=0), X.max(axis=0)]))
        fitted = replace(fitted, size=float(np.abs(ends).max()))
        return (
            fitted
            if n_coordinates is None
            else fitted._projected(X, weight, n_coordinates, outputs)
        )

    def _projected(
        self, X: Array, weight: FloatArray, n_coordinates: int, outputs: FloatArray | None
    ) -> InputMap:
        rows = np.unique(np.linspace(0, len(X) - 1, _MOST_PROJECTED_ROWS).astype(int))
        z = self.scaled(X[rows]).astype(np.float64)
        share = weight[rows] / weight[rows].sum()
        axes: IntArray = np.empty(0, dtype=np.intp)
        if outputs is not None:
            axes = telling_columns(z, outputs[rows], share, 2 * n_coordinates // 3)
        z -= share @ z
        z *= np.sqrt(share)[:, None]
        z[:, axes] = 0
        n_coordinates = min(n_coordinates - len(axes), *z.shape)
        # the sign of a direction is free: the generator fixes it, as it fixes the rest
        _, deviations, directions = randomized_svd(z, n_coordinates, random_state=0)
        projection = directions.T / max(deviations[0], np.finfo(np.float64).tiny)
        # zeros that became roundings are zeros again
        projection[axes] = 0
        projection = np.hstack([np.eye(self.n_inputs)[:, axes], projection])
        projected = replace(self, projection=projection.astype(self.dtype))
        return replace(projected, size=float(np.abs(projected.scaled(X[rows])).max()))

    @property
    def n_inputs(self) -> int:
        """The number p of columns."""
        return len(self.center)

    @property
    def n_coordinates(self) -> int:
        """The number of coordinates of the state that carry inputs: p, or q of a projection."""
        return self.n_inputs if self.projection is None else self.projection.shape[1]

    def __call__(self, X: Array) -> FloatArray:
        """Initial states (n, m) of rows (n, p); the memory is feature-major."""
        states = np.zeros((self.n_states, len(X)), self.dtype)
        states[: self.n_coordinates] = self.scaled(X).T
        return states.T

    def scaled(self, X: Array) -> FloatArray:
        """The scaled inputs (n, p), or their projection (n, q)."""
        if self.is_identity:
            return X
        chunks = _chunks(X)
        if len(chunks) == 1:
            return self._scaled(X).astype(self.dtype, copy=False)
        z = np.empty((len(X), self.n_coordinates), self.dtype)
        for rows in chunks:
            z[rows] = self._scaled(X[rows])
        return z

    def _scaled(self, X: Array) -> FloatArray:
        # in float64, so that large offsets neither cancel nor overflow
        with np.errstate(over="ignore", invalid="ignore"):
            z = (X.astype(np.float64, copy=False) - self.center) * self.gain
        if np.isfinite(self.clip):
            # hypot does not overflow, and what overflowed before stands at the bound
            if not np.isfinite(z).all():
                np.nan_to_num(z, copy=False, posinf=_HUGE, neginf=-_HUGE)
            z /= np.hypot(1, z / self.clip)
        if self.projection is not None:
            z = z.astype(self.dtype, copy=False) @ self.projection
        return z

    def scaled_columns(self, X: Array) -> FloatArray:
        """The scaled inputs (n, p) before any projection."""
        return replace(self, projection=None).scaled(X)

    def by_column(self, gradient: FloatArray) -> FloatArray:
        """Derivatives (n, p) in the scaled columns, from those in the coordinates of the state."""
        return gradient if self.projection is None else gradient @ self.projection.T

    def differing(self, X: Array, columns: IntArray) -> BoolArray:
        """Mask (n, c) of the entries of some columns that are not at their centre."""
        center = self.center[columns]
        return ~is_constant(np.abs(X[:, columns].astype(np.float64) - center), center)

    def with_gain(self, gain: FloatArray, X: Array) -> InputMap:
        """The same map with other factors, of which rows show how large inputs become."""
        changed = replace(self, gain=gain)
        size = float(np.abs(changed.scaled(X)).max(initial=0.0))
        return replace(changed, size=max(self.size, size))

    @cached_property
    def is_identity(self) -> bool:
        plain = not np.any(self.center) and bool(np.all(self.gain == 1)) and self.clip == np.inf
        return plain and self.projection is None

    def identity(self) -> InputMap:
        """The map that augments inputs which are scaled already."""
        return InputMap(
            np.zeros(self.n_coordinates),
            np.ones(self.n_coordinates),
            self.n_states,
            dtype=self.dtype,
        )

    def astype(self, dtype: DTypeLike) -> InputMap:
        """The same map to states of another float type."""
        projection = self.projection
        if projection is not None:
            projection = projection.astype(dtype)
        return replace(self, dtype=np.dtype(dtype), projection=projection)


def _chunks(X: Array) -> list[slice]:
    n_rows = max(_CHUNK_ENTRIES // X.shape[1], 1)
    return [slice(i, i + n_rows) for i in range(0, len(X), n_rows)]


@np.errstate(over="ignore")
def weighted_moments(X: Array, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Weighted mean and standard deviation of each column, in float64, in two passes.

    Columns are divided by their largest entry on the way, so that no square overflows.
    """
    total = weight.sum()
    chunks = _chunks(X)
    size = np.max([np.abs(X[c]).max(axis=0) for c in chunks], axis=0).astype(np.float64)
    size[size == 0] = 1.0
    mean = sum((weight[c] / total) @ (X[c] / size) for c in chunks)
    variance = sum((weight[c] / total) @ (X[c] / size - mean) ** 2 for c in chunks)
    return mean * size, np.sqrt(variance) * size


def weighted_quantiles(X: Array, weight: FloatArray, levels: list[float]) -> FloatArray:
    """Weighted quantiles (len(levels), p): the least x with at least that share of the weight."""
    result = np.empty((len(levels), X.shape[1]))
    # sums of weights have rounding errors: a share that is missed by one counts as reached
    shares = np.array(levels) * (1 - 1e-12)
    if weight.min() == weight.max():
        # equal weights: a partial sort finds the entries, and one column at a time is copied
        index = np.maximum(np.ceil(shares * len(X)).astype(int) - 1, 0)
        for j in range(X.shape[1]):
            column = X[:, j].copy()
            column.partition(index)
            result[:, j] = column[index]
        return result
    for j in range(X.shape[1]):
        column = np.ascontiguousarray(X[:, j])
        order = np.argsort(column, kind="stable")
        share = weight[order]
        np.cumsum(share, out=share)
        index = np.searchsorted(share, shares * share[-1])
        result[:, j] = column[order[np.minimum(index, len(order) - 1)]]
    return result


def is_constant(scale: FloatArray, center: FloatArray) -> BoolArray:
    """Whether columns with these deviations and centres hold one number, up to rounding.

    A column of equal numbers gets a deviation of a few roundings of its mean, 1e-16 of it each.
    Divided by that, noise would become data; a column that varies by 1e-12 of its mean has lost all
    but four digits, and is left out too.
    """
    constant: BoolArray = scale <= _CONSTANT * np.abs(center) + np.finfo(np.float64).tiny
    return constant


def _inverse(scale: FloatArray, center: FloatArray) -> FloatArray:
    """1 / scale, and 0 where a column is constant."""
    constant = is_constant(scale, center)
    return np.where(constant, 0.0, 1.0 / np.where(constant, 1.0, scale))


def _identity(X: Array, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
    return np.zeros(X.shape[1]), np.ones(X.shape[1])


def _standard(X: Array, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
    mean, deviation = weighted_moments(X, weight)
    return mean, _inverse(deviation, mean)


def _two_valued(X: Array) -> BoolArray:
    """Whether each column holds at most two values."""
    low, high = X.min(axis=0), X.max(axis=0)
    return np.array([np.all((X[:, j] == low[j]) | (X[:, j] == high[j])) for j in range(X.shape[1])])


def _robust(X: Array, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Median and interquartile range; mean and deviation where two values or one prevail."""
    low, median, high = weighted_quantiles(X, weight, [0.25, 0.5, 0.75])
    # 1.349 is the interquartile range of the standard normal law
    spread = (high - low) / 1.349
    mean, deviation = weighted_moments(X, weight)
    narrow = (spread <= 1e-9 * deviation) | _two_valued(X)
    center = np.where(narrow, mean, median)
    return center, _inverse(np.where(narrow, deviation, spread), center)


def _common(X: Array, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
    """One mean and one deviation for all columns, which keeps images what they are."""
    mean, deviation = weighted_moments(X, weight)
    center = np.full_like(mean, mean.mean())
    deviation = np.sqrt(np.mean(deviation**2 + (mean - center) ** 2))
    return center, _inverse(np.full_like(mean, deviation), center)


SCALINGS = {None: _identity, "standard": _standard, "robust": _robust, "common": _common}
