"""Scaling of the inputs, their ramps, and the augmentation of the state by zeros."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import DTypeLike
from sklearn.utils.extmath import randomized_svd

from skcode.inputs._ramps import Ramps
from skcode.inputs._scaling import SCALINGS, chunks_of, is_constant
from skcode.inputs._screening import all_columns_tell, telling_columns
from skcode.inputs._squash import Squash
from skcode.utils._typing import Array, BoolArray, FloatArray, IntArray

#: rows, at most, from which the directions of a projection are taken, and by which columns are
#: chosen. Many times the columns that it is for; more take longer than what they add is worth
_MOST_PROJECTED_ROWS = 4096
#: rows, at most, by which linear regressions are compared: a few for each of hundreds of columns
_MOST_REGRESSED_ROWS = 2048
#: rows, at most, from which the ends of ramps are taken. Quantiles of so many are exact enough for
#: eight parts of a column, and sorting more would take time on tables of millions
_MOST_RAMP_ROWS = 2**14


@dataclass(frozen=True)
class InputMap:
    r"""E(x) = (c(g (x - x_0)), 0): scaled inputs, then zeros.

    The odd, rising function c squashes what lies far out: it bounds every input smoothly, so that
    no outlier can drive the flow out of the region that it was trained on, or turns into a
    logarithm. If inputs are many, the state carries their projection :math:`z W`, and where that
    helps, their ramps.

    Parameters
    ----------
    center : ndarray of shape (p,)
        The centre x_0.
    gain : ndarray of shape (p,)
        The factors g; 0 for constant columns.
    n_states : int
        Dimension m of the state, at least p.
    squash : Squash or None
        The function c; None for the identity.
    dtype : dtype
        Float type of the states.
    size : float
        Largest scaled input among those that the map was fitted to.
    projection : ndarray of shape (p, q) or None
        Directions of the scaled inputs that are read in their place, where columns are many.
    ramps : Ramps or None
        Ramps of the scaled inputs, before they are squashed, that are read in their place.
    """

    center: FloatArray
    gain: FloatArray
    n_states: int
    squash: Squash | None = None
    dtype: DTypeLike = np.float64
    size: float = 1.0
    projection: FloatArray | None = None
    ramps: Ramps | None = None

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
        """Take centre and gain from weighted data (n, p).

        With a number of coordinates the scaled inputs are projected on as many directions: with
        outputs (n, K) these begin with the columns that tell most of them (`telling_columns`); the
        others are principal directions of what is left, in units of the deviation along the first.
        """
        learn, squash = SCALINGS[scaling]
        center, gain = learn(X, weight)
        fitted = cls(center, gain, n_states, squash, np.result_type(X.dtype, np.float32))
        fitted = fitted._with_size(X)
        return (
            fitted
            if n_coordinates is None
            else fitted._projected(X, weight, n_coordinates, outputs)
        )

    def _with_size(self, X: Array) -> InputMap:
        # scaling keeps the order of a column, and so do its ramps: its ends stay its ends
        ends = self.scaled(np.stack([X.min(axis=0), X.max(axis=0)]))
        return replace(self, size=float(np.abs(ends).max()))

    def with_ramps(
        self, X: Array, weight: FloatArray, most: int, n_states: Callable[[int], int]
    ) -> InputMap | None:
        """The map to ramps, at most so many, and to `n_states` of as many coordinates.

        None where no column can be parted.
        """
        wide = replace(self, squash=None)
        some = np.unique(np.linspace(0, len(X) - 1, _MOST_RAMP_ROWS).astype(int))
        z = wide.scaled(X[some]).astype(np.float64)
        ramps = Ramps.learn(z, weight[some], most)
        if ramps is None:
            return None
        return replace(self, ramps=ramps, n_states=n_states(len(ramps)))._with_size(X)

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

    def all_columns_tell(self, X: Array, outputs: FloatArray, weight: FloatArray) -> bool:
        """Whether linear regression knows much more from all columns than from the coordinates."""
        rows = np.unique(np.linspace(0, len(X) - 1, _MOST_REGRESSED_ROWS).astype(int))
        z, coordinates = (f(X[rows]).astype(np.float64) for f in (self.scaled_columns, self.scaled))
        return all_columns_tell(z, coordinates, outputs[rows], weight[rows])

    @property
    def n_inputs(self) -> int:
        """The number p of columns."""
        return len(self.center)

    @property
    def n_coordinates(self) -> int:
        """The coordinates of the state that carry inputs: p, or q of ramps or of a projection."""
        if self.ramps is not None:
            return len(self.ramps)
        return self.n_inputs if self.projection is None else self.projection.shape[1]

    def __call__(self, X: Array) -> FloatArray:
        """Initial states (n, m) of rows (n, p); the memory is feature-major."""
        return self._augmented(self.scaled(X))

    def of_scaled(self, z: FloatArray) -> FloatArray:
        """Initial states (n, m) of scaled columns (n, p)."""
        if self.ramps is not None:
            return self._augmented(self.ramps(self._unsquashed(z)))
        return self._augmented(self._projection_of(z))

    def _augmented(self, coordinates: FloatArray) -> FloatArray:
        states = np.zeros((self.n_states, len(coordinates)), self.dtype)
        states[: self.n_coordinates] = coordinates.T
        return states.T

    def scaled(self, X: Array) -> FloatArray:
        """The scaled inputs (n, p), or their ramps or projection (n, q)."""
        if self.is_identity:
            return X
        chunks = chunks_of(X)
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
        if self.ramps is not None:
            return self.ramps(z)
        return self._projection_of(z if self.squash is None else self.squash(z))

    def _unsquashed(self, z: FloatArray) -> FloatArray:
        """Scaled columns (n, p) as they were before they were squashed."""
        return z if self.squash is None else self.squash.inverse(z)

    def _projection_of(self, z: FloatArray) -> FloatArray:
        if self.projection is None:
            return z
        return z.astype(self.dtype, copy=False) @ self.projection

    def scaled_columns(self, X: Array) -> FloatArray:
        """The scaled inputs (n, p) before any ramps or projection."""
        return replace(self, projection=None, ramps=None).scaled(X)

    def by_column(self, gradient: FloatArray, z: FloatArray) -> FloatArray:
        """Derivatives (n, p) in scaled columns z, from those in the coordinates of the state."""
        if self.ramps is not None:
            wide = self._unsquashed(z)
            by_column = self.ramps.by_column(gradient, wide)
            if self.squash is None:
                return by_column
            # at a bound nothing changes any more
            slope = self.squash.slope(wide)
            slope[slope == 0] = np.inf
            return by_column / slope
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

    @property
    def is_plain(self) -> bool:
        """Whether the state carries the scaled inputs, and nothing in their place."""
        return self.projection is None and self.ramps is None

    @cached_property
    def is_identity(self) -> bool:
        scaled = np.any(self.center) or np.any(self.gain != 1) or self.squash is not None
        return self.is_plain and not scaled

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
