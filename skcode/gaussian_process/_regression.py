r"""Regression by a Gaussian process: exact, or on landmarks, with leave-one-out predictions.

With all rows, C = K + sigma^2 S^{-1} is factored once: coefficients C^{-1} Y, and the prediction of
row i by the others is :math:`y_i - [C^{-1} Y]_i / [C^{-1}]_{ii}`, exactly. The rows of which that
is asked come last: the last entries of the diagonal of C^{-1} need the last corner of its factor.

With J landmarks z, features phi(x) = L^{-1} k(z, x), L L^T = k(z, z), make it ridge regression with
normal equations J x J, summed in the order of blocks: n J^2 operations, linear in n.

A row that was merged from copies counts as that many observations. What is left out is then one of
them: the noise of row i grows from sigma^2 / s_i to sigma^2 / (s_i - 1).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from skcode.gaussian_process._evidence import Hyperparameters
from skcode.gaussian_process._kernel import Kernel
from skcode.utils._cholesky import factor_in_place, inverse_factor, solve_factor
from skcode.utils._typing import FloatArray, IntArray

#: what is added to a diagonal, in units of rounding times the mean diagonal: what products of
#: single precision lose
_JITTER = 20
#: rows of a block of features
_BLOCK_ROWS = 2048


class Regression(NamedTuple):
    """A fitted process, and what its rows say of each other.

    Parameters
    ----------
    points : ndarray of shape (J, m)
        Rows or landmarks, in the float type of the states.
    coefficients : ndarray of shape (J, K)
        Predictions are k(x, points) @ coefficients.
    left_out : ndarray of shape (q, K)
        Prediction of each row that was asked for without it.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.gaussian_process import Regression
    >>> Regression(np.zeros((3, 2)), np.zeros((3, 1)), np.zeros((3, 1))).points.shape
    (3, 2)
    """

    points: FloatArray
    coefficients: FloatArray
    left_out: FloatArray


def fit_exact(
    states: FloatArray,
    targets: FloatArray,
    weight: FloatArray,
    counts: FloatArray,
    hyperparameters: Hyperparameters,
    asked: IntArray,
) -> Regression:
    """Regression on all rows.

    Parameters
    ----------
    states : ndarray of shape (n, m)
        Centred states.
    targets : ndarray of shape (n, K)
        Centred targets.
    weight : ndarray of shape (n,)
        Weights with a mean of one.
    counts : ndarray of shape (n,)
        How many observations a row stands for.
    hyperparameters : Hyperparameters
        Kernel and noise.
    asked : ndarray of shape (q,)
        Rows for which predictions without them are asked for.

    Returns
    -------
    Regression
        Points, coefficients and left-out predictions.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.gaussian_process import Hyperparameters, Kernel, fit_exact
    >>> x = np.linspace(-1, 1, 50)[:, None]
    >>> hyperparameters = Hyperparameters(Kernel(1.0, 1.0, 0.0, 1.0, 1.0), 1e-3)
    >>> ones = np.ones(50)
    >>> fitted = fit_exact(x, x**2, ones, ones, hyperparameters, np.arange(50))
    >>> bool(np.abs(fitted.left_out - x**2)[1:-1].max() < 0.02)
    True
    """
    kernel, noise = hyperparameters
    n, q, dtype = len(states), len(asked), states.dtype
    if q < n:
        others = np.ones(n, dtype=bool)
        others[asked] = False
        order = np.concatenate([np.flatnonzero(others), asked])
        states, targets, weight, counts = (a[order] for a in (states, targets, weight, counts))
    variance = (noise / weight).astype(dtype)
    L, added = factor_of(kernel, states, variance)
    coefficients = solve_factor(L, targets.astype(dtype))
    corner = inverse_factor(L[n - q :, n - q :])
    diagonal = np.einsum("ij,ij->j", corner, corner)
    # one copy less: its noise is s / (s - 1) times as large, infinite for a single row
    own, counts = (variance + added)[n - q :], counts[n - q :]
    with np.errstate(divide="ignore", invalid="ignore"):
        fewer = np.where(counts > 1, own * counts / (counts - 1), np.inf)
        factor = np.where(
            np.isinf(fewer), 1 / diagonal, fewer / (1 + (fewer - own) * diagonal)
        ).astype(dtype)
    left_out = targets[n - q :] - coefficients[n - q :] * factor[:, None]
    return Regression(states, coefficients, left_out)


def factor_of(kernel: Kernel, states: FloatArray, variance: FloatArray) -> tuple[FloatArray, float]:
    """L of L L^T = k(states, states) + diag(variance), and what had to be added to it."""
    n = len(states)
    eps = float(np.finfo(states.dtype).eps)
    C = kernel.lower(states)
    mean = float(np.mean(np.diag(C) + variance))
    if not np.isfinite(mean):
        raise ValueError(
            "The kernel of the final states overflows. Scale X (scaling='robust') or use bounded "
            "vector fields (vector_fields='neural')."
        )
    added = _JITTER * eps * mean
    while True:
        C[np.diag_indices(n)] += variance + added
        if factor_in_place(C):
            return C, added
        added *= 10
        C = kernel.lower(states)


def fit_landmarks(
    states: FloatArray,
    targets: FloatArray,
    weight: FloatArray,
    counts: FloatArray,
    hyperparameters: Hyperparameters,
    landmarks: IntArray,
    asked: IntArray,
) -> Regression:
    """Regression on the features of some of the rows.

    Parameters
    ----------
    states : ndarray of shape (n, m)
        Centred states.
    targets : ndarray of shape (n, K)
        Centred targets.
    weight : ndarray of shape (n,)
        Weights with a mean of one.
    counts : ndarray of shape (n,)
        How many observations a row stands for.
    hyperparameters : Hyperparameters
        Kernel and noise.
    landmarks : ndarray of shape (J,)
        Rows that are landmarks.
    asked : ndarray of shape (q,)
        Rows for which predictions without them are asked for.

    Returns
    -------
    Regression
        Points, coefficients and left-out predictions.

    Raises
    ------
    ValueError
        If the normal equations are not positive, as where states overflow.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.gaussian_process import Hyperparameters, Kernel, fit_landmarks
    >>> x = np.linspace(-1, 1, 500)[:, None]
    >>> hyperparameters = Hyperparameters(Kernel(1.0, 1.0, 0.0, 1.0, 1.0), 1e-3)
    >>> ones, some, asked = np.ones(500), np.arange(0, 500, 10), np.arange(100, 400)
    >>> fitted = fit_landmarks(x, x**2, ones, ones, hyperparameters, some, asked)
    >>> bool(np.abs(fitted.left_out - x[asked] ** 2).max() < 0.02)
    True
    """
    kernel, noise = hyperparameters
    points = np.ascontiguousarray(states[landmarks])
    dtype, J = states.dtype, len(landmarks)
    inverse = inverse_factor(factor_of(kernel, points, np.zeros(J, dtype))[0])
    normal = np.zeros((J, J))
    moment = np.zeros((J, targets.shape[1]))
    blocks = [slice(i, i + _BLOCK_ROWS) for i in range(0, len(states), _BLOCK_ROWS)]
    root = np.sqrt(weight)
    for rows in blocks:
        features = _features(kernel, states[rows], points, inverse)
        features *= root[rows, None].astype(dtype)
        normal += features.T @ features
        moment += features.T @ (targets[rows] * root[rows, None]).astype(dtype)
    normal[np.diag_indices(J)] += noise
    if not factor_in_place(normal):
        raise ValueError("The normal equations of the landmarks are not positive.")
    back = inverse_factor(normal)
    solution = back.T @ (back @ moment)
    coefficients = (inverse.T @ solution.astype(dtype)).astype(dtype)
    features = _features(kernel, states[asked], points, inverse)
    spread = features @ back.astype(dtype).T
    # share of a row in its own fit; of one copy alone where there are several
    own = np.minimum(np.einsum("ij,ij->i", spread, spread) * weight[asked], 1 - 1e-6)
    own = own / np.maximum(counts[asked], 1)
    residual = (targets[asked] - features @ solution.astype(dtype)) / (1 - own)[:, None]
    return Regression(points, coefficients, targets[asked] - residual)


def _features(
    kernel: Kernel, states: FloatArray, points: FloatArray, inverse: FloatArray
) -> FloatArray:
    """Features phi(x) (n, J)."""
    features: FloatArray = kernel(states, points) @ inverse.T
    return features
