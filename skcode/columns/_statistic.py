r"""The target statistic of a level: the mean of the outputs of its rows, shrunk to the mean of all.

.. math:: t_l = \frac{s_l \bar y_l + k \bar y}{s_l + k}, \quad
    k = \sigma^2_{within} / \sigma^2_{between}

s_l is the weight of the rows of level l. It is the best linear prediction in a model of random
effects, whose two variances are estimated from the data by their moments (the analysis of variance
with unequal groups, [1]_). scikit-learn's `TargetEncoder` takes the variance within each level
alone, and so believes a level of one row: here all levels share it.

Training rows get a statistic of the other folds (cross-fitting): a row that saw its own output in
its input would teach the model to trust the statistic of rare levels, most of all identifiers.

References
----------
.. [1] S. R. Searle, G. Casella, C. E. McCulloch, "Variance Components", Wiley 1992, chapter 3.
"""

from __future__ import annotations

import numpy as np

from skcode.utils._typing import FloatArray, IntArray

#: parts of the rows: each gets the statistic of the others
N_FOLDS = 5
#: least k, in rows: no level is believed at once
_LEAST_SHRINKAGE = 1.0
#: largest k, in rows: a level of very many rows is always believed
_MOST_SHRINKAGE = 1e3


def statistic(
    codes: IntArray, n_levels: int, outputs: FloatArray, weight: FloatArray
) -> FloatArray:
    """The statistic (n_levels, K) of outputs (n, K); a level without rows gets the mean."""
    mean, total, sums, squares = _sums(codes, n_levels, outputs, weight)
    shrinkage = _shrinkage(*_variances(total, sums, squares))
    shrunk: FloatArray = mean + sums / (total[:, None] + shrinkage)
    return shrunk


def _shrinkage(within: FloatArray, between: FloatArray) -> FloatArray:
    """The number k (K,) of rows that the mean of all counts for."""
    with np.errstate(all="ignore"):
        k = within / between
    k = np.where((between > 0) & np.isfinite(k), k, _MOST_SHRINKAGE)
    return np.clip(k, _LEAST_SHRINKAGE, _MOST_SHRINKAGE)


def between_variance(
    codes: IntArray, n_levels: int, outputs: FloatArray, weight: FloatArray
) -> FloatArray:
    """The variance (K,) of what the levels have in common, which a level without rows has."""
    _, *sums = _sums(codes, n_levels, outputs, weight)
    return np.maximum(_variances(*sums)[1], 0)


def _sums(
    codes: IntArray, n_levels: int, outputs: FloatArray, weight: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """The mean (K,) of outputs (n, K), and around it: weights, sums and squares by level."""
    mean = weight @ outputs / weight.sum()
    centred = outputs - mean
    total: FloatArray = np.bincount(codes, weight, n_levels).astype(np.float64)
    sums: FloatArray = np.empty((n_levels, outputs.shape[1]))
    for k, y in enumerate(centred.T):
        sums[:, k] = np.bincount(codes, weight * y, n_levels)
    return mean, total, sums, weight @ centred**2


def _variances(
    total: FloatArray, sums: FloatArray, squares: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """The variances (K,) within levels and between them, by their moments."""
    total, sums = total[total > 0], sums[total > 0]
    n, n_levels = total.sum(), len(total)
    between_squares = np.sum(sums**2 / total[:, None], axis=0)
    # weights may be of any size: a level of one row has no degree of freedom, of less neither
    freedom = np.maximum(total - 1, 0).sum()
    within = (squares - between_squares) / max(freedom, 1.0)
    spread = n - np.sum(total**2) / n
    return within, (between_squares - (n_levels - 1) * within) / max(spread, 1e-300)


def cross_fitted(
    codes: IntArray, n_levels: int, outputs: FloatArray, weight: FloatArray
) -> FloatArray:
    """The statistic (n, K) of each row, from the rows of the other folds.

    Rows have to be in an order that says nothing of them, as the canonical one.
    """
    folds = np.arange(len(codes)) % min(N_FOLDS, len(codes))
    values = np.empty((len(codes), outputs.shape[1]))
    mean = weight @ outputs / weight.sum()
    for fold in range(folds[-1] + 1 if len(codes) < N_FOLDS else N_FOLDS):
        rest, part = folds != fold, folds == fold
        if not rest.any():
            return np.broadcast_to(mean, values.shape).copy()
        # the mean of all rows for levels that the others lack: the mean of the others would tell
        # which fold a row is in, and by that a little of its output
        table = statistic(codes[rest], n_levels, outputs[rest], weight[rest])
        seen = np.bincount(codes[rest], minlength=n_levels) > 0
        table[~seen] = mean
        values[part] = table[codes[part]]
    return values
