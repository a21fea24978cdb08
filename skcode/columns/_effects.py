"""What rows that share a value of a column have in common, beyond what a model says of them.

A number often stands for something else as well: the day on which a row was measured, the batch,
the house. Rows of one value then share what no smooth function of the value can tell. Statistics
knows this as a random effect of a group. Here the groups are the values, and the effect of each is
the mean of the residuals of its rows, shrunk to zero by as much as the residuals vary within
values.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skcode.columns._statistic import between_variance, cross_fitted, statistic
from skcode.utils._typing import Array, BoolArray, FloatArray, IntArray

#: values that a column needs: fewer are told apart by the model itself, or by indicators of levels
_LEAST_VALUES = 21
#: effects that stand for those that a new value may have
_POSSIBLE = 16
#: share of the rows that have their value from another row as well
_SHARED = 0.2


@dataclass(frozen=True, eq=False)
class ValueEffect:
    """The effects of the values of a column, one coordinate for each output.

    Values are compared in single precision, so that a table of another float type has the same.

    Parameters
    ----------
    name : str
        Name of the column.
    column : int
        Its place in the table.
    values : ndarray of shape (k,)
        The values of the fit, in rising order.
    table : ndarray of shape (k, K)
        Their effects. A value that is new, or missing, has none: zero.
    variance : ndarray of shape (outputs,)
        The variance of what values have in common, for each output that is predicted: that of a
        prediction is larger by it where the value is new.
    has_gaps : bool
        Whether some value was missing in the fit: such rows had the effect zero, and are not new.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.columns import ValueEffect
    >>> x, residuals = np.repeat([[1.0], [2.0], [5.0]], 4, axis=0), np.repeat([1.0, -1.0, 0.0], 4)
    >>> effect = ValueEffect.learn("day", 0, x[:, 0], residuals[:, None], np.ones(12))
    >>> effect.encode(np.array([[1.0], [2.0], [3.0], [np.nan]])).ravel().tolist()
    [0.8, -0.8, 0.0, 0.0]
    """

    name: str
    column: int
    values: FloatArray
    table: FloatArray
    variance: FloatArray
    has_gaps: bool = False

    @classmethod
    def learn(
        cls,
        name: str,
        column: int,
        values: Array,
        residuals: FloatArray,
        weight: FloatArray,
        of_outputs: FloatArray | None = None,
    ) -> ValueEffect:
        """From a column (n,), and what a model leaves of its rows (n, K).

        Those of all outputs (n, outputs) tell the variances, where effects are of directions.
        """
        known, codes = _coded(values)
        rows = codes, len(known) + 1
        table = statistic(*rows, residuals, weight)
        of_outputs = residuals if of_outputs is None else of_outputs
        variance = between_variance(*rows, of_outputs, weight)
        has_gaps = bool((codes == len(known)).any())
        return cls(name, column, known, table[:-1], variance, has_gaps)

    @property
    def labels(self) -> list[str]:
        """Names of the coordinates."""
        K = self.table.shape[1]
        return [f"{self.name} effect"] if K == 1 else [f"{self.name} effect {k}" for k in range(K)]

    def encode(self, X: Array) -> FloatArray:
        """The effects (n, K) of the rows of a table (n, p), as `read` gave it."""
        table = np.vstack([self.table, np.zeros_like(self.table[:1])])
        effects: FloatArray = table[_codes_among(self.values, X[:, self.column])]
        return effects

    @property
    def possible(self) -> FloatArray:
        """Effects (q, K) that a new value may have: those of values at evenly spaced ranks."""
        order = np.argsort(self.table[:, 0], kind="stable")
        q = min(_POSSIBLE, len(order))
        places = ((np.arange(q) + 0.5) / q * len(order)).astype(np.int64)
        effects: FloatArray = self.table[order[places]]
        return effects

    def is_new(self, X: Array) -> BoolArray:
        """Whether each row (n,) of a table has a value whose effect nobody knows."""
        values = X[:, self.column]
        new: BoolArray = _codes_among(self.values, values) == len(self.values)
        return new & ~np.isnan(_single(values)) if self.has_gaps else new


def left_out_effects(values: Array, residuals: FloatArray, weight: FloatArray) -> FloatArray | None:
    """The effects of a column, for each row from residuals of others alone.

    Parameters
    ----------
    values : ndarray of shape (n,)
        The column.
    residuals : ndarray of shape (n, K)
        What a model leaves of the outputs.
    weight : ndarray of shape (n,)
        Weights of the rows.

    Returns
    -------
    ndarray of shape (n, K) or None
        Effects; None where the column has at most twenty values, or hardly one comes again.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.columns import left_out_effects
    >>> day = np.repeat(np.arange(30.0), 9)
    >>> residuals = np.repeat([[1.0], [-1.0], [0.0]], 90, axis=0)
    >>> left_out_effects(day, residuals, np.ones(270)).round(1)[::90].ravel().tolist()
    [0.9, -0.9, 0.0]
    """
    known, codes = _coded(values)
    count = np.bincount(codes, minlength=len(known) + 1)[:-1]
    if len(known) < _LEAST_VALUES or count[count > 1].sum() < _SHARED * len(values):
        return None
    effects = cross_fitted(codes, len(known) + 1, residuals, weight)
    # what is missing has no value, and so no effect
    effects[codes == len(known)] = 0
    return effects


def _coded(values: Array) -> tuple[FloatArray, IntArray]:
    """The values that there are (k,), and the place (n,) of each row's, which is k for a gap."""
    single = _single(values)
    known = np.unique(single[~np.isnan(single)])
    return known, _codes_among(known, values)


def _codes_among(known: FloatArray, values: Array) -> IntArray:
    """The places (n,) of values among those that are known (k,), in rising order; k for others."""
    single, k = _single(values), len(known)
    at = np.searchsorted(known, single)
    found = known[np.minimum(at, k - 1)] == single if k else np.zeros(len(single), dtype=bool)
    return np.where(found, at, k)


def _single(values: Array) -> FloatArray:
    with np.errstate(over="ignore"):
        single: FloatArray = np.asarray(values).astype(np.float32)
    return single
