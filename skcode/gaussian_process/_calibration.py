"""The link from regression on indicators to logarithms of odds, by the likelihood of left-out rows.

Three numbers shape the link (`skcode.gaussian_process.LogOddsLink`), and each class has a bias. All
have priors, so that few rows keep what the process says. Where no row is wrong, the likelihood has
no maximum: the surer the better. So each row counts a little for the other classes, all rows
together as a tenth of an error.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, log_softmax

from skcode.gaussian_process._links import LogOddsLink, log_softplus, log_softplus_slope
from skcode.utils._typing import FloatArray, IntArray


class _Prior(NamedTuple):
    """Where the link starts, and how firmly: normal priors on the logarithms, and on the biases."""

    #: at first predictions are taken for probabilities, with a temperature that adds little
    temperature: float = 1.0
    power: float = 1.0
    #: predictions below a twentieth are as good as nothing
    sharpness: float = 20.0
    #: precision of the logarithms: a quarter of it serves many rows as well, and few rows worse
    precision_of_logs: float = 1.0
    precision_of_biases: float = 1.0


_PRIOR = _Prior()
#: errors that all rows together are taken to have beside those that they have: one, as the rule of
#: succession has it, is too many where rows are few and classes lie apart
_MORE_ERRORS = 0.1
_START = np.log([_PRIOR.temperature, _PRIOR.power, _PRIOR.sharpness])


def calibrate_softmax(
    left_out: FloatArray, codes: IntArray, weight: FloatArray, mean: FloatArray, scale: float
) -> LogOddsLink:
    """The link of K classes that exclude each other.

    Parameters
    ----------
    left_out : ndarray of shape (E, n, K)
        Predictions of each member for rows that are left out.
    codes : ndarray of shape (n,)
        Classes 0..K-1.
    weight : ndarray of shape (n,)
        Weights.
    mean : ndarray of shape (K,)
        Mean of the indicators.
    scale : float
        Scale of the indicators: predictions are (indicator - mean) / scale.

    Returns
    -------
    LogOddsLink
        The link.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.gaussian_process import calibrate_softmax
    >>> codes, mean = np.arange(300) % 3, np.full(3, 1 / 3)
    >>> sure = np.eye(3)[codes] - 1 / 3
    >>> doubt = sure + np.random.default_rng(0).standard_normal((300, 3))
    >>> first, second = (
    ...     calibrate_softmax(f[None], codes, np.ones(300), mean, 1.0) for f in (sure, doubt)
    ... )
    >>> bool(np.ptp(first(sure)) > 3 * np.ptp(second(sure)))
    True
    """
    p = mean + scale * left_out.mean(axis=0).astype(np.float64)
    K = p.shape[1]
    shares = smoothed(np.eye(K)[codes], weight)

    def objective(parameters: FloatArray) -> tuple[float, FloatArray]:
        scores, by_logs = _scores(parameters[:3], p)
        log_p = log_softmax(scores + parameters[3:], axis=1)
        residual = (np.exp(log_p) - shares) * weight[:, None]
        value = -float(weight @ np.einsum("ij,ij->i", shares, log_p))
        gradient = [*(np.vdot(residual, each) for each in by_logs), *residual.sum(axis=0)]
        return _with_priors(value, np.array(gradient), parameters)

    found = _minimum(objective, K)
    temperature, power, sharpness = (np.full(K, number) for number in np.exp(found[:3]))
    return LogOddsLink(mean, scale, temperature, power, sharpness, found[3:], binary=False)


def calibrate_sigmoids(
    left_out: FloatArray, targets: FloatArray, weight: FloatArray, mean: FloatArray, scale: float
) -> LogOddsLink:
    """The link of K targets of two classes each.

    Parameters
    ----------
    left_out : ndarray of shape (E, n, K)
        Predictions of each member for rows that are left out.
    targets : ndarray of shape (n, K)
        Targets of 0 and 1.
    weight : ndarray of shape (n,)
        Weights.
    mean : ndarray of shape (K,)
        Mean of the targets.
    scale : float
        Scale of the targets: predictions are (target - mean) / scale.

    Returns
    -------
    LogOddsLink
        The link.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.gaussian_process import calibrate_sigmoids
    >>> y = (np.arange(100) % 2)[:, None]
    >>> link = calibrate_sigmoids((y - 0.5)[None], y, np.ones(100), np.array([0.5]), 1.0)
    >>> bool(link(np.array([[0.5]])) > 4), bool(abs(link.bias[0]) < 0.1)
    (True, True)
    """
    p = mean + scale * left_out.mean(axis=0).astype(np.float64)
    K = p.shape[1]
    found = np.empty((K, 4))
    for k in range(K):
        of_one = p[:, k]
        y = smoothed(np.stack([1 - targets[:, k], targets[:, k]], axis=1), weight)[:, 1]

        def objective(
            parameters: FloatArray, of_one: FloatArray = of_one, y: FloatArray = y
        ) -> tuple[float, FloatArray]:
            (own, own_by), (other, other_by) = (
                _scores(parameters[:3], q) for q in (of_one, 1 - of_one)
            )
            scores = own - other + parameters[3]
            residual = (expit(scores) - y) * weight
            value = float(weight @ (np.logaddexp(0, scores) - y * scores))
            by_logs = [residual @ (a - b) for a, b in zip(own_by, other_by, strict=True)]
            return _with_priors(value, np.array([*by_logs, residual.sum()]), parameters)

        found[k] = _minimum(objective, 1)
    temperature, power, sharpness = np.exp(found[:, :3]).T
    return LogOddsLink(mean, scale, temperature, power, sharpness, found[:, 3], binary=True)


def smoothed(indicators: FloatArray, weight: FloatArray) -> FloatArray:
    """Indicators (n, K) that leave a little for the other classes, so that none is impossible.

    Parameters
    ----------
    indicators : ndarray of shape (n, K)
        One for the class of a row, zero for the others.
    weight : ndarray of shape (n,)
        How many observations a row stands for.

    Returns
    -------
    ndarray of shape (n, K)
        Shares of each row, with a sum of one.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.gaussian_process import smoothed
    >>> smoothed(np.eye(2), np.ones(2)).round(3)
    array([[0.967, 0.033],
           [0.033, 0.967]])
    """
    error, K = _MORE_ERRORS / (float(weight.sum()) + 1), indicators.shape[1]
    shares: FloatArray = (1 - error) * indicators + error / max(K - 1, 1) * (1 - indicators)
    return shares


def _scores(logs: FloatArray, p: FloatArray) -> tuple[FloatArray, list[FloatArray]]:
    """Scores without biases, and their derivatives in the three logarithms."""
    temperature, power, sharpness = np.exp(logs)
    linear = temperature * p
    logarithm = power * (log_softplus(sharpness * p) - logs[2])
    by_sharpness = power * (log_softplus_slope(sharpness * p) * sharpness * p - 1)
    return linear + logarithm, [linear, logarithm, by_sharpness]


def _minimum(objective: object, n_biases: int) -> FloatArray:
    start = np.concatenate([_START, np.zeros(n_biases)])
    found: FloatArray = minimize(objective, start, jac=True, method="L-BFGS-B").x
    return found


def _with_priors(
    value: float, gradient: FloatArray, parameters: FloatArray
) -> tuple[float, FloatArray]:
    precision = np.full(len(parameters), _PRIOR.precision_of_biases)
    precision[:3] = _PRIOR.precision_of_logs
    moved = parameters.copy()
    moved[:3] -= _START
    return value + 0.5 * float(precision @ moved**2), gradient + precision * moved
