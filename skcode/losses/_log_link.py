"""Deviances with a logarithmic link: counts and costs."""

from __future__ import annotations

import autograd.numpy as anp
import numpy as np
from numpy.typing import DTypeLike
from scipy.special import xlogy

from skcode.losses._regression import ScaledLoss
from skcode.utils._typing import Array, FloatArray, Traced

#: logarithm of two, rounded down: powers of two stay below what a float can hold
_LOG_2 = 0.69


class LogLink(ScaledLoss):
    """Base of losses whose scores are logarithms of means; not for direct use."""

    log_link = True
    scaled_by = "mean"

    def inverse_link(self, scores: FloatArray) -> FloatArray:
        mean: FloatArray = np.exp(np.clip(scores, *self.score_range(scores.dtype)))
        return mean

    def score_range(self, dtype: DTypeLike) -> tuple[float, float]:
        # predictions are positive and finite, however far out
        info = np.finfo(dtype)
        return float(info.minexp) * _LOG_2, float(info.maxexp) * _LOG_2

    def initial_scores(self, y: Array, weight: FloatArray, n_outputs: int) -> FloatArray:
        mean = np.average(y, axis=0, weights=weight)
        # in a stream there may be no event yet
        scores: FloatArray = np.log(np.maximum(mean, np.finfo(np.float64).eps))
        return scores


class PoissonDeviance(LogLink):
    r"""Half the Poisson deviance of y (n, K) >= 0 from means :math:`e^s`.

    .. math:: l(s, y) = \frac1c \sum_k e^{s_k} - y_k s_k + y_k \log y_k - y_k

    The variance of y is c times the mean, up to a factor (over-dispersion) that Gauss-Newton
    estimates from Pearson's residuals, with the correction of Fletcher [2]_ for rare events: nearly
    all of their noise is in the few targets above zero, and where a model has these by heart,
    Pearson's residuals all but vanish.

    Parameters
    ----------
    unit : float
        The unit c.

    References
    ----------
    .. [1] P. McCullagh, J. A. Nelder, "Generalized linear models", 2nd ed., Chapman and Hall, 1989.
    .. [2] D. J. Fletcher, "Estimating overdispersion when fitting a generalized linear model to
       sparse data", Biometrika 99(1), 2012.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.losses import PoissonDeviance
    >>> PoissonDeviance().gradient(np.array([[0.0]]), np.array([[3.0]]))
    array([[-2.]])
    """

    def value(self, scores: Traced, y: Array) -> Traced:
        with np.errstate(over="ignore"):
            total = anp.sum(anp.exp(scores) - y * scores + (xlogy(y, y) - y), axis=1)
        return total / self.unit

    def gradient(self, scores: FloatArray, y: Array) -> FloatArray:
        with np.errstate(over="ignore"):
            return (np.exp(scores) - y) / self.unit

    def hessian(self, scores: FloatArray, y: Array) -> FloatArray:
        with np.errstate(over="ignore"):
            return np.exp(scores) / self.unit

    def dispersion(self, scores: FloatArray, y: Array) -> FloatArray:
        mean = self.inverse_link(scores)
        with np.errstate(over="ignore"):
            pearson: FloatArray = np.sum((y - mean) ** 2 / mean, axis=1)
        return 0.5 * pearson / self.unit

    def sparsity(self, scores: FloatArray, y: Array) -> FloatArray:
        with np.errstate(over="ignore"):
            ratio: FloatArray = np.mean(y / self.inverse_link(scores), axis=1)
        return ratio

    def telling_share(self, y: Array, weight: FloatArray) -> float:
        return float(np.average(np.mean(y > 0, axis=1), weights=weight))

    def check(self, y: Array) -> None:
        if np.any(y < 0):
            raise ValueError("loss='poisson' requires non-negative y.")


class GammaDeviance(LogLink):
    r"""Half the gamma deviance of y (n, K) > 0 from means :math:`e^s`.

    .. math:: l(s, y) = \frac1c \sum_k y_k e^{-s_k} + s_k - \log y_k - 1

    The standard deviation of y is in proportion to the mean.

    Parameters
    ----------
    unit : float
        The unit c.

    References
    ----------
    .. [1] P. McCullagh, J. A. Nelder, "Generalized linear models", 2nd ed., Chapman and Hall, 1989.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.losses import GammaDeviance
    >>> GammaDeviance().gradient(np.array([[0.0]]), np.array([[3.0]]))
    array([[-2.]])
    """

    def value(self, scores: Traced, y: Array) -> Traced:
        with np.errstate(over="ignore"):
            total = anp.sum(y * anp.exp(-scores) + scores - np.log(y) - 1, axis=1)
        return total / self.unit

    def gradient(self, scores: FloatArray, y: Array) -> FloatArray:
        with np.errstate(over="ignore"):
            return (1 - y * np.exp(-scores)) / self.unit

    def hessian(self, scores: FloatArray, y: Array) -> FloatArray:
        with np.errstate(over="ignore"):
            return y * np.exp(-scores) / self.unit

    def dispersion(self, scores: FloatArray, y: Array) -> FloatArray:
        with np.errstate(over="ignore"):
            pearson: FloatArray = np.sum((y / self.inverse_link(scores) - 1) ** 2, axis=1)
        return 0.5 * pearson / self.unit

    def check(self, y: Array) -> None:
        if np.any(y <= 0):
            raise ValueError("loss='gamma' requires strictly positive y.")
