r"""Variance of a new observation, which may depend on where it lies.

What is left out tells how far predictions are off, row by row. The logarithm of the squared
residual is fitted by

.. math:: \log s^2(x) = \beta_0 + \beta_1 \log(v(x) + \sigma^2) + \gamma \cdot \phi(x)

where v is the variance of the process given some anchor rows, in closed form, and phi are features
of the anchors, with as much ridge as leave-one-out asks for: none of the third term where the noise
is the same everywhere. A last factor makes a normal interval of 90 % cover 90 % of the rows left
out.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from skcode.gaussian_process._evidence import Hyperparameters
from skcode.gaussian_process._kernel import Kernel
from skcode.gaussian_process._regression import factor_of
from skcode.utils._cholesky import inverse_factor
from skcode.utils._typing import FloatArray, IntArray

#: minus the mean of the logarithm of a squared standard normal number
_LOG_MEAN = 1.27
#: the variance of that logarithm
_LOG_VARIANCE = 4.93
#: variances of the third term that leave-one-out chooses from, in units of the log variance
_SPREADS = (0.0, 0.03, 0.1, 0.3, 1.0)
#: share of new observations in the interval that the last factor is for
_COVERAGE = 0.9
#: half the width of that interval, in standard deviations of a normal law
_QUANTILE = 1.6448536269514722
#: squared residuals below this share of their mean say no less: logarithms have no bound below
_LEAST_SQUARE = 1e-4
#: bounds of the log variance around its mean over the rows: no exponential may explode far out
_MOST_LOG = 6.0


@dataclass(frozen=True, eq=False)
class NoiseModel:
    """Variance of a new observation (n, K) at states.

    Parameters
    ----------
    anchors : ndarray of shape (s, m)
        Centred states of the anchor rows.
    inverse : ndarray of shape (s, s)
        Inverse of the Cholesky factor of their covariance with noise.
    noise : float
        The variance sigma^2.
    line : ndarray of shape (2, K)
        The coefficients beta_0 and beta_1.
    gamma : ndarray of shape (s, K)
        Weights of the features.
    centre : ndarray of shape (K,)
        Mean log variance of the rows.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.gaussian_process import Hyperparameters, Kernel, NoiseModel
    >>> rng = np.random.default_rng(0)
    >>> x = rng.uniform(-1, 1, (2000, 1))
    >>> residual = rng.standard_normal((2000, 1)) * np.where(x > 0, 1.0, 0.1)
    >>> hyperparameters = Hyperparameters(Kernel(1.0, 1.0, 0.0, 1.0, 1.0), 0.5)
    >>> noise = NoiseModel.fit(x, residual, 0 * residual, hyperparameters, np.arange(200))
    >>> small, large = np.sqrt(noise(np.array([[-0.7], [0.7]]), hyperparameters.kernel))[:, 0]
    >>> bool(0.05 < small < 0.2), bool(0.7 < large < 1.4)
    (True, True)
    """

    anchors: FloatArray
    inverse: FloatArray
    noise: float
    line: FloatArray
    gamma: FloatArray
    centre: FloatArray

    def __getstate__(self) -> dict[str, Any]:
        # what is made from what is stored neither travels nor persists
        return {name: value for name, value in self.__dict__.items() if name != "_wide"}

    @cached_property
    def _wide(self) -> tuple[FloatArray, FloatArray]:
        """Anchors and inverse in double precision, which would cost one row more than its own."""
        anchors, inverse = (
            each.astype(np.float64, copy=False) for each in (self.anchors, self.inverse)
        )
        return anchors, inverse

    @classmethod
    def fit(
        cls,
        states: FloatArray,
        residuals: FloatArray,
        between: FloatArray,
        hyperparameters: Hyperparameters,
        anchors: IntArray,
    ) -> NoiseModel:
        """From residuals (n, K) of rows left out, in units of a row of weight one.

        `between` is the variance (n, K) between members, which intervals add.
        """
        kernel, noise = hyperparameters
        points = np.ascontiguousarray(states[anchors])
        factor, _ = factor_of(kernel, points, np.full(len(points), noise, points.dtype))
        inverse = inverse_factor(factor)
        start = cls(points, inverse, noise, np.empty(0), np.empty(0), np.empty(0))
        level, features = start._of_states(states, kernel)
        # an anchor has told the process of itself: left out, its variance with noise is one over
        # the diagonal of the inverse covariance, as that of a new row is what it has not seen
        level[anchors] = -np.log(np.einsum("ij,ij->j", inverse, inverse))
        squares = residuals.astype(np.float64) ** 2
        least = _LEAST_SQUARE * squares.mean(axis=0) + np.finfo(np.float64).tiny
        logs = np.log(squares + least) + _LOG_MEAN
        line, gamma = np.empty((2, logs.shape[1])), np.zeros((len(points), logs.shape[1]))
        left_out = np.empty_like(logs)
        for k in range(logs.shape[1]):
            line[:, k], gamma[:, k], left_out[:, k] = _fit_logs(level, features, logs[:, k])
        fitted = cls(
            points.astype(np.float32),
            inverse.astype(np.float32),
            noise,
            line,
            gamma,
            logs.mean(axis=0),
        )
        # by what each row's own residual has no part in: where rows are few, it would hide itself
        variance = fitted._bounded(left_out)
        line[0] += np.log(_factor(squares, variance, between.astype(np.float64)))
        return fitted

    def __call__(self, states: FloatArray, kernel: Kernel) -> FloatArray:
        """Variances (n, K) at centred states (n, m)."""
        return self._variance(*self._of_states(states, kernel))

    def _of_states(self, states: FloatArray, kernel: Kernel) -> tuple[FloatArray, FloatArray]:
        """The log of the variance of the process (n,), and whitened features (n, s)."""
        wide = states.dtype == np.float64
        anchors, inverse = self._wide if wide else (self.anchors, self.inverse)
        features = kernel(states, anchors) @ inverse.T
        latent = kernel.diagonal(states) - np.einsum("ij,ij->i", features, features)
        return np.log(np.maximum(latent, 0) + self.noise), features

    def _variance(self, level: FloatArray, features: FloatArray) -> FloatArray:
        return self._bounded(self.line[0] + level[:, None] * self.line[1] + features @ self.gamma)

    def _bounded(self, logs: FloatArray) -> FloatArray:
        variance: FloatArray = np.exp(
            np.clip(logs, self.centre - _MOST_LOG, self.centre + _MOST_LOG)
        )
        return variance


def _fit_logs(
    level: FloatArray, features: FloatArray, logs: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """The line (2,) and gamma (s,), with the ridge of the least left-out error.

    And what they say of each row (n,) if it is left out.
    """
    n = len(logs)
    design = np.stack([np.ones(n), level], axis=1).astype(np.float64)
    phi = features.astype(np.float64)
    # a slope of one is what the process says; the data may say otherwise where it has much to say
    prior_line, line_precision = np.array([0.0, 1.0]), np.array([1e-6, 20.0])
    target = logs - design @ prior_line
    full = np.hstack([design, phi])
    gram = full.T @ full
    best, least = (prior_line, np.zeros(phi.shape[1]), design @ prior_line), np.inf
    for spread in _SPREADS:
        used = 2 if spread == 0 else full.shape[1]
        precision = line_precision
        if spread:
            precision = np.concatenate([line_precision, np.full(used - 2, 1 / spread)])
        matrix = gram[:used, :used] + _LOG_VARIANCE * np.diag(precision)
        inverse = np.linalg.inv(matrix)
        part = full[:, :used]
        solution = inverse @ (part.T @ target)
        share = np.einsum("ij,jk,ik->i", part, inverse, part, optimize=True)
        errors = (target - part @ solution) / (1 - np.minimum(share, 0.99))
        error = float(np.mean(errors**2))
        if error < least * (1 - 1e-3):
            gamma = np.zeros(phi.shape[1])
            gamma[: used - 2] = solution[2:]
            best, least = (prior_line + solution[:2], gamma, logs - errors), error
    return best


def _factor(squares: FloatArray, variance: FloatArray, between: FloatArray) -> FloatArray:
    """Factor q (K,) for which squares <= z^2 (q variance + between) for 90 % of the rows."""
    q = np.empty(squares.shape[1])
    for k in range(len(q)):
        needed = (squares[:, k] / _QUANTILE**2 - between[:, k]) / variance[:, k]
        q[k] = np.quantile(needed, _COVERAGE, method="higher")
    return np.maximum(q, 1e-2)
