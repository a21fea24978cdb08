"""Centres and factors of columns, and what is squashed of them far out."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from skcode.inputs._squash import Asinh, Bound, Squash
from skcode.utils._typing import Array, BoolArray, FloatArray

#: entries that statistics and scaling read at once, 2 MB of float64: data in a memory map stays on
#: disk, and the overhead of a chunk does not count
_CHUNK_ENTRIES = 2**18
#: bound of robustly scaled inputs, in robust standard deviations
BOUND = Bound(3.0)
#: where those that have none turn into logarithms: at 2 they are what the bound makes of them up to
#: about there, and 3 was a little worse
ASINH = Asinh(2.0)
#: share by which sums of weights may be off, as each addition rounds: a level that is missed by
#: less counts as reached. At 0 weights and copies of rows would give different quantiles, far above
#: it levels count as reached that are not
ROUNDING_OF_SUMS = 1e-12
#: share of the range of most rows up to which quartiles count as equal, but for rounding: half of
#: the rows then hold one value, and divided by such a range the others would be huge
_NO_RANGE = 1e-9
#: what is left out of that range on either side: one huge number, as stands for what is missing,
#: says nothing of a column
_TAIL = 0.05
#: a column is constant if it varies by no more than this share of its centre
_CONSTANT = 1e-12
#: interquartile range of the standard normal law: divided by it, that of data is in deviations
NORMAL_IQR = 1.349


def chunks_of(X: Array) -> list[slice]:
    n_rows = max(_CHUNK_ENTRIES // X.shape[1], 1)
    return [slice(i, i + n_rows) for i in range(0, len(X), n_rows)]


@np.errstate(over="ignore")
def weighted_moments(X: Array, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Weighted mean and standard deviation of each column, in float64, in two passes.

    Columns are divided by their largest entry on the way, so that no square overflows.
    """
    total = weight.sum()
    chunks = chunks_of(X)
    size = np.max([np.abs(X[c]).max(axis=0) for c in chunks], axis=0).astype(np.float64)
    size[size == 0] = 1.0
    mean = sum((weight[c] / total) @ (X[c] / size) for c in chunks)
    variance = sum((weight[c] / total) @ (X[c] / size - mean) ** 2 for c in chunks)
    return mean * size, np.sqrt(variance) * size


def weighted_quantiles(X: Array, weight: FloatArray, levels: list[float]) -> FloatArray:
    """Weighted quantiles (len(levels), p): the least x with at least that share of the weight."""
    result = np.empty((len(levels), X.shape[1]))
    shares = np.array(levels) * (1 - ROUNDING_OF_SUMS)
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


@np.errstate(over="ignore")
def robust(X: Array, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Median and interquartile range; mean and deviation where two values or one prevail."""
    levels = [_TAIL, 0.25, 0.5, 0.75, 1 - _TAIL]
    least, low, median, high, most = weighted_quantiles(X, weight, levels)
    spread = (high - low) / NORMAL_IQR
    mean, deviation = weighted_moments(X, weight)
    narrow = (spread <= _NO_RANGE * (most - least)) | _two_valued(X)
    center = np.where(narrow, mean, median)
    return center, _inverse(np.where(narrow, deviation, spread), center)


def _common(X: Array, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
    """One mean and one deviation for all columns, which keeps images what they are."""
    mean, deviation = weighted_moments(X, weight)
    center = np.full_like(mean, mean.mean())
    deviation = np.sqrt(np.mean(deviation**2 + (mean - center) ** 2))
    return center, _inverse(np.full_like(mean, deviation), center)


class Scaling(NamedTuple):
    """A way to scale columns."""

    #: centre and factor of each column (p,), from rows (n, p) and weights (n,)
    learn: Callable[[Array, FloatArray], tuple[FloatArray, FloatArray]]
    #: what is squashed far out; None for nothing
    squash: Squash | None = None


SCALINGS = {
    None: Scaling(_identity),
    "standard": Scaling(_standard),
    "robust": Scaling(robust, BOUND),
    "asinh": Scaling(robust, ASINH),
    "common": Scaling(_common),
}
