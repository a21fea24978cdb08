"""Rows in a canonical form, so that fits depend on the weighted set of rows and on nothing else.

Equal rows are merged and their weights added; the rest is sorted by a hash of the content. A fit is
then the same, bit for bit, under permutation of the rows, repetition in place of integer weights,
and removal of rows of weight zero. The hash also assigns rows to validation parts, so that copies
of a row stay together.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from skcode.utils._typing import Array, BoolArray, FloatArray, HashArray, IntArray

_MULTIPLIER = 0x9E3779B97F4A7C15


def _mix(h: HashArray) -> HashArray:
    """Finaliser of splitmix64 (Steele, Lea, Flood 2014): every input bit moves every output bit."""
    h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return h ^ (h >> np.uint64(31))


def row_keys(X: Array, seed: int = 0) -> HashArray:
    """A 64-bit hash of the content of each row (n, p)."""
    h = np.full(len(X), np.uint64(seed), dtype=np.uint64)
    for j in range(X.shape[1]):
        # adding zero makes -0.0 and 0.0 one value; NaN has many forms, and is one value as well
        column = np.asarray(X[:, j], dtype=np.float64) + 0.0
        column[np.isnan(column)] = np.nan
        bits = column.view(np.uint64)
        h = _mix(h * np.uint64(_MULTIPLIER) + bits)
    return h


def sparse_row_keys(X: Any) -> HashArray:
    """A 64-bit hash of the content of each row of a CSR matrix (n, p); its order does not count."""
    values = X.data.astype(np.float64) + 0.0
    columns = _mix(X.indices.astype(np.uint64) + np.uint64(1))
    # an entry that is zero is no entry
    entries = np.where(values == 0, np.uint64(0), _mix(columns ^ _mix(values.view(np.uint64))))
    sums = np.concatenate([[np.uint64(0)], np.cumsum(entries, dtype=np.uint64)])
    return _mix(sums[X.indptr[1:]] - sums[X.indptr[:-1]])


class DistinctRows(NamedTuple):
    """Rows in order of their content, and where each distinct one starts."""

    order: IntArray
    starts: IntArray

    @property
    def first(self) -> IntArray:
        """Index of one representative of each."""
        first: IntArray = self.order[self.starts]
        return first

    def sums(self, values: FloatArray) -> FloatArray:
        """Sums of values (n,) over the copies of each."""
        sums: FloatArray = np.add.reduceat(values[self.order], self.starts)
        return sums


def distinct_rows(X: Array, y: Array, weight: FloatArray, keys: HashArray) -> DistinctRows:
    """Rows (x, y) by key; copies are in order of their weights, so that sums have the same bits."""
    y_keys = row_keys(y.reshape(len(y), -1))
    order = np.lexsort((weight, y_keys, keys))
    same = (keys[order][1:] == keys[order][:-1]) & (y_keys[order][1:] == y_keys[order][:-1])
    same[same] = _equal_rows(X[order[1:][same]], X[order[:-1][same]])
    starts = np.flatnonzero(np.r_[True, ~same])
    return DistinctRows(order, starts)


def _equal_rows(one: Any, other: Any) -> BoolArray:
    """Whether each row of one array or CSR matrix is that of the other."""
    if sparse.issparse(one):
        differing = sparse.csr_array(one != other)
        differing.eliminate_zeros()
        same: BoolArray = np.diff(differing.indptr) == 0
        return same
    # only NaN is not equal to itself: two of them are equal here
    equal: BoolArray = np.all((one == other) | ((one != one) & (other != other)), axis=1)
    return equal


def validation_mask(
    keys: HashArray, fraction: float, strata: IntArray | None = None, seed: int = 0
) -> BoolArray:
    """Mask of the rows of the validation part: the given share of each stratum, copies together.

    Parameters
    ----------
    keys : ndarray of shape (n,)
        Row hashes.
    fraction : float
        Share of distinct rows that is held out.
    strata : ndarray of shape (n,) or None
        Class codes. Every stratum keeps at least one distinct row for training.
    seed : int
        Different seeds give independent parts.
    """
    shuffled = _mix(keys + np.uint64(_MULTIPLIER * (seed + 1) % 2**64))
    strata = np.zeros(len(keys), dtype=int) if strata is None else strata
    mask = np.zeros(len(keys), dtype=bool)
    for stratum in np.unique(strata):
        among = np.flatnonzero(strata == stratum)
        distinct = np.unique(shuffled[among])
        count = min(round(fraction * len(distinct)), len(distinct) - 1)
        if count > 0:
            mask[among] = shuffled[among] <= distinct[count - 1]
    if not mask.any():
        # no stratum has rows enough to give its share: the largest one gives one row
        counts = {s: len(np.unique(shuffled[strata == s])) for s in np.unique(strata)}
        largest = max(counts, key=lambda s: counts[s])
        if counts[largest] > 1:
            mask = (strata == largest) & (shuffled == shuffled[strata == largest].min())
    return mask
