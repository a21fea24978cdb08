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
CANONICAL_ROWS = 50_000

#: weights beyond this are relative to the largest, so that sums of squares do not overflow
LARGEST_WEIGHT = 1e9


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
    if X.shape[0] > CANONICAL_ROWS:
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
    least = min(1.0, LARGEST_WEIGHT / float(weight.max()))
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
