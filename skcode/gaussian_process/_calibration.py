r"""From regression on indicators to scores that are log-odds.

A process that is fitted to centred indicators predicts means f_k, not logarithms of odds. With
left-out predictions f the scores :math:`T f_k + b_k` are fitted to the classes by their likelihood:
one temperature for all classes, and a bias for each.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, log_softmax

from skcode.utils._typing import FloatArray, IntArray

#: precision of the normal prior on the biases: classes of few rows keep what the process says
_BIAS_PRECISION = 1.0
#: variance of the normal prior on the log of the temperature, around that of indicators of
#: deviation one which the process tells well apart
_FIRST_TEMPERATURE, _LOG_TEMPERATURE_VARIANCE = 3.0, 4.0


def calibrate_softmax(
    left_out: FloatArray, codes: IntArray, weight: FloatArray
) -> tuple[float, FloatArray]:
    """Temperature T and biases (K,) of the softmax.

    Parameters
    ----------
    left_out : ndarray of shape (E, n, K)
        Predictions of each member for rows that are left out.
    codes : ndarray of shape (n,)
        Classes 0..K-1.
    weight : ndarray of shape (n,)
        Weights.

    Returns
    -------
    temperature : float
        T.
    biases : ndarray of shape (K,)
        The biases.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.gaussian_process import calibrate_softmax
    >>> codes = np.arange(300) % 3
    >>> sure = np.eye(3)[codes] - 1 / 3
    >>> rng = np.random.default_rng(0)
    >>> doubt = sure + 2 * rng.standard_normal((300, 3))
    >>> first, _ = calibrate_softmax(sure[None], codes, np.ones(300))
    >>> second, _ = calibrate_softmax(doubt[None], codes, np.ones(300))
    >>> bool(first > 5 * second)
    True
    """
    f = left_out.mean(axis=0).astype(np.float64)
    n, K = f.shape
    indicators = np.arange(K) == codes[:, None]

    def objective(parameters: FloatArray) -> tuple[float, FloatArray]:
        temperature, biases = np.exp(parameters[0]), parameters[1:]
        log_p = log_softmax(temperature * f + biases, axis=1)
        residual = (np.exp(log_p) - indicators) * weight[:, None]
        value = -float(weight @ log_p[np.arange(n), codes])
        gradient = np.concatenate([[temperature * np.vdot(residual, f)], residual.sum(axis=0)])
        return _with_priors(value, gradient, parameters, 1)

    found = minimize(objective, _start(1, K), jac=True, method="L-BFGS-B").x
    return float(np.exp(found[0])), found[1:]


def calibrate_sigmoids(
    left_out: FloatArray, targets: FloatArray, weight: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Temperatures and biases of K logistic functions.

    Parameters
    ----------
    left_out : ndarray of shape (E, n, K)
        Predictions of each member for rows that are left out.
    targets : ndarray of shape (n, K)
        Targets of 0 and 1.
    weight : ndarray of shape (n,)
        Weights.

    Returns
    -------
    temperatures : ndarray of shape (K,)
        Temperature of each target.
    biases : ndarray of shape (K,)
        Bias of each target.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.gaussian_process import calibrate_sigmoids
    >>> y = (np.arange(100) % 2)[:, None]
    >>> temperature, bias = calibrate_sigmoids((y - 0.5)[None], y, np.ones(100))
    >>> bool(temperature[0] > 5), bool(abs(bias[0]) < 0.1)
    (True, True)
    """
    mean = left_out.mean(axis=0).astype(np.float64)
    K = mean.shape[1]
    found = np.empty((K, 2))
    for k in range(K):
        f, y = mean[:, k], targets[:, k]

        def objective(
            parameters: FloatArray, f: FloatArray = f, y: FloatArray = y
        ) -> tuple[float, FloatArray]:
            temperature, bias = np.exp(parameters[0]), parameters[1]
            scores = temperature * f + bias
            residual = (expit(scores) - y) * weight
            value = float(weight @ (np.logaddexp(0, scores) - y * scores))
            gradient = np.array([temperature * (residual @ f), residual.sum()])
            return _with_priors(value, gradient, parameters, 1)

        found[k] = minimize(objective, _start(1, 1), jac=True, method="L-BFGS-B").x
    return np.exp(found[:, 0]), found[:, 1]


def _start(n_temperatures: int, n_biases: int) -> FloatArray:
    first = np.full(n_temperatures, np.log(_FIRST_TEMPERATURE))
    return np.concatenate([first, np.zeros(n_biases)])


def _with_priors(
    value: float, gradient: FloatArray, parameters: FloatArray, n_temperatures: int
) -> tuple[float, FloatArray]:
    precision = np.full(len(parameters), _BIAS_PRECISION)
    precision[:n_temperatures] = 1 / _LOG_TEMPERATURE_VARIANCE
    moved = parameters - _start(n_temperatures, len(parameters) - n_temperatures)
    return value + 0.5 * float(precision @ moved**2), gradient + precision * moved
