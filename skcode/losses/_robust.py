"""Losses that outliers cannot drive: Huber's, and the one of a quantile."""

from __future__ import annotations

import autograd.numpy as anp
import numpy as np
from scipy.special import expit

from skcode.losses._regression import ScaledLoss, best_constant
from skcode.utils._typing import Array, FloatArray, Traced

#: size of standardised targets from which they are outliers: they keep their pull, which is that of
#: a sign, but one of 1e12 would be all that the mean loss, and with it the noise, tells of
_OUTLIER = 30.0
#: ... in units of the best constant, where that is far out itself, as extreme quantiles are
_BEYOND = 10.0


class RobustLoss(ScaledLoss):
    """Base of losses that grow no faster than a line; not for direct use."""

    scaled_by = "quartiles"

    def bound_around(self, constant: FloatArray) -> float:
        return max(_OUTLIER, _BEYOND * float(np.abs(constant).max()))

    def inverse_link(self, scores: FloatArray) -> FloatArray:
        return scores


class Huber(RobustLoss):
    r"""Huber's loss of targets y (n, K): a square up to a threshold, and a line beyond.

    .. math:: l(s, y) = \frac1c \sum_k h(s_k - y_k), \quad h(r) = \begin{cases}
        \tfrac12 r^2 & |r| \le \delta \\ \delta (|r| - \tfrac12 \delta) & |r| > \delta
        \end{cases}

    Parameters
    ----------
    delta : float
        The threshold, in units of the targets: an estimator scales them by their quartiles, so that
        1 is about their standard deviation without the outliers.
    unit : float
        The unit c.

    References
    ----------
    .. [1] P. J. Huber, "Robust estimation of a location parameter", Ann. Math. Statist. 35(1),
       1964.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.losses import Huber
    >>> Huber(delta=1.0).value(np.zeros((2, 1)), np.array([[1.0], [10.0]]))
    array([0.5, 9.5])
    """

    def __init__(self, delta: float = 0.5, unit: float = 1.0):
        super().__init__(unit)
        self.delta = delta

    def value(self, scores: Traced, y: Array) -> Traced:
        size = anp.abs(scores - y)
        bounded = anp.minimum(size, self.delta)
        return anp.sum(bounded * (size - 0.5 * bounded), axis=1) / self.unit

    def gradient(self, scores: FloatArray, y: Array) -> FloatArray:
        gradient: FloatArray = np.clip(scores - y, -self.delta, self.delta) / self.unit
        return gradient

    def hessian(self, scores: FloatArray, y: Array) -> FloatArray:
        residual = scores - y
        hessian: FloatArray = (np.abs(residual) <= self.delta).astype(residual.dtype) / self.unit
        return hessian

    def initial_scores(self, y: Array, weight: FloatArray, n_outputs: int) -> FloatArray:
        return best_constant(lambda s: weight @ self.gradient(s, y), y.min(axis=0), y.max(axis=0))


class SmoothPinball(RobustLoss):
    r"""The smoothed loss of a quantile of y (n, K): pinball loss convolved with a logistic law.

    .. math:: l(s, y) = \frac1c \sum_k \tau r_k + h \log(1 + e^{-r_k / h}) - h H(\tau),
        \quad r = y - s, \quad H(\tau) = -\tau \log \tau - (1 - \tau) \log(1 - \tau)

    Its derivative is a smooth step from :math:`-\tau` to :math:`1 - \tau` of width h, which second
    derivatives, and with them Gauss-Newton, need [1]_. For :math:`h \to 0` it is the pinball loss.

    Parameters
    ----------
    level : float
        The level :math:`\tau` of the quantile, in (0, 1).
    smoothing : float
        The width h, in units of the targets, which an estimator scales by their quartiles.
    unit : float
        The unit c.

    References
    ----------
    .. [1] X. He, X. Pan, K. M. Tan, W.-X. Zhou, "Smoothed quantile regression with large-scale
       inference", J. Econometrics 232(2), 2023.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.losses import SmoothPinball
    >>> SmoothPinball(0.9).gradient(np.zeros((2, 1)), np.array([[-5.0], [5.0]])).round(3)
    array([[ 0.1],
           [-0.9]])
    """

    degree = 1
    level: float

    def __init__(self, level: float = 0.5, smoothing: float = 0.05, unit: float = 1.0):
        super().__init__(unit)
        self.level = level
        self.smoothing = smoothing

    def value(self, scores: Traced, y: Array) -> Traced:
        tau, h = self.level, self.smoothing
        least = float(-tau * np.log(tau) - (1 - tau) * np.log1p(-tau))
        r = (y - scores) / h
        return anp.sum(tau * r + anp.logaddexp(0.0 * r, -r) - least, axis=1) * (h / self.unit)

    def gradient(self, scores: FloatArray, y: Array) -> FloatArray:
        gradient: FloatArray = (expit((scores - y) / self.smoothing) - self.level) / self.unit
        return gradient

    def hessian(self, scores: FloatArray, y: Array) -> FloatArray:
        p: FloatArray = expit((scores - y) / self.smoothing)
        return p * (1 - p) / (self.smoothing * self.unit)

    def initial_scores(self, y: Array, weight: FloatArray, n_outputs: int) -> FloatArray:
        # the smooth step is felt some widths beyond the targets
        margin = self.smoothing * (1 + abs(np.log(self.level) - np.log1p(-self.level)))
        return best_constant(
            lambda s: weight @ self.gradient(s, y),
            y.min(axis=0) - margin,
            y.max(axis=0) + margin,
        )
