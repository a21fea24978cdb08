"""From checked arrays to the rows that a training takes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse

from skcode.model import Target
from skcode.utils._sklearn import check_sample_weight
from skcode.utils._typing import Array, BoolArray, FloatArray, IntArray
from skcode.utils._unique_rows import distinct_rows, row_keys, sparse_row_keys, validation_mask
from skcode.utils._views import entrywise

#: up to this many rows, equal rows are merged and sorted (see utils._unique_rows)
_CANONICAL_ROWS = 50_000

#: weights beyond this are relative to the largest, so that sums of squares do not overflow
_LARGEST_WEIGHT = 1e9

#: observations of a row, on average, from which on rows come again as a rule. Where fewer do, they
#: are those of which all is known anyway, and the noise of the others would seem less than it is
_OFTEN = 2.0
#: values of a column up to which they are few, however few rows there are
_FEW_VALUES = 12
#: share of all weight from which on a row stands for several observations in any table,
_LEAST_SHARE = 0.05
#: and how many times the median weight it has to be
_OUTSTANDING = 8.0


class Rows(NamedTuple):
    """Rows ready for an objective: inputs, targets as the loss wants them, weights."""

    X: Array
    y: Array
    weight: FloatArray
    #: how many observations a row stands for, one of which at a time is left out
    counts: FloatArray

    @classmethod
    def single(cls, X: Array, y: Array, weight: FloatArray) -> Rows:
        """Rows that are one observation each."""
        return cls(X, y, weight, np.broadcast_to(1.0, len(weight)))

    def some(self, index: IntArray | BoolArray) -> Rows:
        """The rows of an index or a mask."""
        return Rows(*(part[index] for part in self))


class RawRows(NamedTuple):
    """Rows as they came: inputs, targets and weights."""

    X: Array
    y: Array
    weight: FloatArray
    #: how many equal rows were merged
    copies: FloatArray


def positive_rows(X: Array, y: Array, sample_weight: ArrayLike | None) -> RawRows:
    """Rows of positive weight, and the weights in float64: a view of one number without weights."""
    if sparse.issparse(y):
        raise TypeError("Sparse data was passed for y, but dense data is required: y.toarray().")
    ones = np.broadcast_to(1.0, X.shape[0])
    if sample_weight is None:
        return RawRows(X, y, ones, ones)
    weight = check_sample_weight(sample_weight, X)
    with np.errstate(over="ignore"):
        overflows = np.isinf(weight.sum())
    if overflows:
        weight = weight / weight.max()
    if not weight.sum() > 0:
        raise ValueError("sample_weight must have a positive sum.")
    rows = RawRows(X, y, weight, ones)
    if np.all(weight > 0):
        return rows
    kept = weight > 0
    return RawRows(*(part[kept] for part in rows))


def canonical(rows: RawRows, content: Array | None = None) -> RawRows:
    """Equal rows merged and sorted, where copies of the rows are affordable.

    The content of rows, (n, q), says which are equal and which comes first; None is X itself.
    """
    X, y, weight, copies = rows
    if X.shape[0] > _CANONICAL_ROWS:
        return rows
    # labels of any kind are hashed through their codes
    codes = y if y.dtype.kind in "fiub" else np.unique(y, return_inverse=True)[1]
    content = X if content is None else content
    keys = sparse_row_keys(content) if sparse.issparse(content) else row_keys(content)
    distinct = distinct_rows(content, codes, weight, keys)
    index = distinct.first
    return RawRows(X[index], y[index], distinct.sums(weight), distinct.sums(copies))


def relative_to_rows(weight: FloatArray) -> FloatArray:
    """Weights of which the sum is at least the number of rows, and finite with room to spare."""
    least = min(1.0, _LARGEST_WEIGHT / float(weight.max()))
    weight = entrywise(lambda each: each * least, weight)
    raised = max(len(weight) / float(weight.sum()), 1.0)
    return entrywise(lambda each: each * raised, weight)


def hold_out(rows: Rows, target: Target, fraction: float, seed: int) -> tuple[Rows, Rows]:
    """Split off a validation part: a share of the distinct rows, stratified by class."""
    held = validation_mask(row_keys(rows.X), fraction, target.strata(rows.y), seed)
    if not held.any() or held.all():
        raise ValueError(
            f"With validation_fraction={fraction}, the validation part or the rest is empty for "
            f"n_samples = {len(rows.X)} distinct rows; change it, or turn early_stopping off."
        )
    return rows.some(~held), rows.some(held)


def counts_of(rows: RawRows, strata: IntArray | None) -> FloatArray:
    """How many observations each row stands for, one of which at a time is left out.

    Whole weights may count observations, but as well they may be prices, exposures, or what makes
    up for a rare class; and rows are copied for the same reasons. If a copy stayed where another
    one is left out, what is left out would be known. So a row counts as several only where nature
    repeats rows as well:

    - where rows come again as a rule, in a table all of whose columns take few values, as an
      experiment at a few levels has them;
    - where the same inputs come with other targets too;
    - where a single row makes up much of the weight, as that of zeros alone does.

    If all rows of a class have multiples of some number, that number is no count. Where weights are
    not whole, rows that were merged are what is counted.

    Parameters
    ----------
    rows : RawRows
        Rows of which no two are equal, where they are few, before classes have weights.
    strata : ndarray of shape (n,), int, or None
        Classes of the rows.
    """
    table, _, weight, copies = rows
    n = len(weight)
    ones = np.broadcast_to(1.0, n)
    if weight.strides == (0,) or n > _CANONICAL_ROWS or not weight.max() <= _LARGEST_WEIGHT:
        return ones
    number = weight if np.all(weight == np.rint(weight)) else copies
    if number.max() == 1:
        return ones
    if number.sum() >= _OFTEN * n and _takes_few_values(table):
        several = np.ones(n, dtype=bool)
    else:
        keys = sparse_row_keys(table) if sparse.issparse(table) else row_keys(table)
        _, at, n_targets = np.unique(keys, return_inverse=True, return_counts=True)
        outstanding = max(_LEAST_SHARE * number.sum(), _OUTSTANDING * float(np.median(number)))
        several = (n_targets[at] > 1) | (number >= outstanding)
    if not several.any():
        return ones
    counts = np.ones(n)
    whole = number.astype(np.int64)
    strata = np.zeros(n, dtype=int) if strata is None else strata
    for stratum in np.unique(strata):
        among = strata == stratum
        here = among & several
        # a class of one row has no other one to be compared with
        factor = np.gcd.reduce(whole[among]) if np.count_nonzero(among) > 1 else 1
        counts[here] = whole[here] / factor
    return counts


def _takes_few_values(table: Array) -> bool:
    """Whether all columns of a table (n, p) do: few ones, or most of those of a regular grid.

    A factorial experiment of two factors has as many levels as the root of its rows.
    """
    if sparse.issparse(table):
        return False
    most = max(_FEW_VALUES, 2 * len(table) ** 0.5)
    for j in range(table.shape[1]):
        values = np.unique(np.asarray(table[:, j], dtype=np.float64))
        if len(values) > most and not _is_grid(values[~np.isnan(values)]):
            return False
    return True


def _is_grid(values: FloatArray) -> bool:
    """Whether ascending values are most of the places of a regular grid, as ages in years are."""
    steps = np.diff(values)
    least = float(steps.min())
    places = np.rint(steps / least)
    return bool(places.sum() < 2 * len(values) and np.allclose(steps, places * least, rtol=1e-6))
