"""Flows that explode, or all but explode, far from the training data."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np

from skcode.inputs import InputMap
from skcode.utils._typing import Array, FloatArray

#: values so many times beyond those of the training are no predictions any more
_FAR = 1e3
#: calls from the user's line down to the warning: predict, scores, check_divergence
_LEVELS = 4


def check_divergence(
    values: FloatArray,
    reach: float,
    X: Array,
    input_map: InputMap,
    size: Callable[[FloatArray], FloatArray] = np.abs,
) -> FloatArray:
    """Values of rows as they are; an error where they are not finite, a warning where absurd.

    Absurd are values far beyond `reach`, in proportion to inputs beyond those of the training.

    Parameters
    ----------
    values : ndarray of shape (..., n, K)
        What is made of the rows.
    reach : float
        Size of the values that the training data asked for; infinity for no bound.
    X : ndarray of shape (n, p)
        The rows.
    input_map : InputMap
        Scaling of the rows.
    size : callable
        How large values are, element by element: what is compared to `reach`.

    Returns
    -------
    ndarray of shape (..., n, K)
        The values.

    Raises
    ------
    ValueError
        If a value is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.inputs import InputMap
    >>> from skcode.model import check_divergence
    >>> X, input_map = np.zeros((1, 2)), InputMap(np.zeros(2), np.ones(2), n_states=2)
    >>> check_divergence(np.array([[3.0]]), 1.0, X, input_map)
    array([[3.]])
    """
    # NaN and infinity are not less than anything
    if size(values).max() < _FAR * reach:
        return values
    others = (*range(values.ndim - 2), -1)
    exploded = ~np.isfinite(values).all(axis=others)
    if exploded.any():
        raise ValueError(
            f"The flow of {exploded.sum()} samples explodes (the first is row "
            f"{int(np.argmax(exploded))}): they lie far from the training data. Scale or clip "
            "them, or refit with bounded vector fields (vector_fields='neural')."
        )
    with np.errstate(all="ignore"):
        grown = np.abs(input_map.scaled(X)).max(axis=1) / max(input_map.size, 1e-300)
        far = size(values).max(axis=others) > _FAR * reach * np.maximum(grown, 1)
    if far.any():
        warnings.warn(
            f"The flow all but explodes for {far.sum()} samples (the first is row "
            f"{int(np.argmax(far))}), and what is made of them means nothing: they lie far from "
            "the training data, or the training diverged. Scale or clip them, or refit with "
            "scaling='robust' or bounded vector fields (vector_fields='neural').",
            RuntimeWarning,
            stacklevel=_LEVELS,
        )
    return values
