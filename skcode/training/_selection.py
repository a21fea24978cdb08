"""Which members predict: where the flow is hard to find, some members find it and others do not.

A mean over both would be far from either. On most tables members differ little, and all predict.
"""

from __future__ import annotations

import numpy as np

from skcode.gaussian_process import significant_gain
from skcode.utils._typing import BoolArray, FloatArray, IntArray

#: factor on the left-out squared error of the best member beyond which a member is left behind
_FAR = 2.0
#: ... as long as the difference is so many of its standard errors
_ERRORS = 3.0
#: ... and it was asked of so many rows: of fewer the standard error itself is hardly known
_LEAST_ROWS = 30


def which_predict(
    left_out: FloatArray, outputs: FloatArray, weight: FloatArray, fold_of: IntArray | None
) -> BoolArray:
    """Whether each member predicts (E,): not if it errs far more than the best one.

    Parameters
    ----------
    left_out : ndarray of shape (E, n, K)
        What each member says of rows that its process has not seen.
    outputs : ndarray of shape (n, K)
        The outputs of these rows.
    weight : ndarray of shape (n,)
        Their weights.
    fold_of : ndarray of shape (n,) or None
        The member whose flow has not seen the row either, which is then asked of it alone.
    """
    squares = np.sum((outputs - left_out.astype(np.float64)) ** 2, axis=2)
    asked = np.ones(squares.shape, dtype=bool)
    if fold_of is not None:
        asked = np.arange(len(squares))[:, None] == fold_of
    share = np.where(asked, weight, 0.0)
    # of a member that is asked too little nothing is known: it is not behind
    share[asked.sum(axis=1) < _LEAST_ROWS] = np.nan
    share /= share.sum(axis=1, keepdims=True)
    error = np.einsum("en,en->e", share, squares)
    if np.isnan(error).all():
        return np.ones(len(error), dtype=bool)
    best = int(np.nanargmin(error))
    if fold_of is None:
        # all are asked of the same rows: what is hard for one is so for the other
        gains = [significant_gain(each, squares[best], weight, _ERRORS) for each in squares]
        significant = np.array(gains) > 0
    else:
        variance = np.sum(share**2 * (squares - error[:, None]) ** 2, axis=1)
        significant = error - error[best] > _ERRORS * np.sqrt(variance + variance[best])
    predicts: BoolArray = ~(significant & (error > _FAR * error[best]))
    return predicts
