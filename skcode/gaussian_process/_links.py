r"""From what a process predicts to scores: units of the targets, or logarithms of odds.

A process that is fitted to indicators of classes predicts means p_k of them, nearly probabilities.
Where its errors are noise, the odds grow with the exponential of p_k; where classes overlap, p_k is
the share of the class, and its logarithm is the score. The link has both terms:

.. math:: s_k = T p_k + \kappa \log \zeta(p_k) + b_k, \qquad
    \zeta(p) = \beta^{-1} \log(1 + e^{\beta p})

with the softplus function zeta, which is p where p is large against 1 / beta, and positive
everywhere. Of two classes only p is known of one: the other has 1 - p, and the score is the
difference of both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np
from scipy.special import expit

from skcode.utils._typing import FloatArray

#: below this the logarithm of the softplus function is its argument, to nine decimals; further down
#: runtimes that have no log1p lose digits
_LINEAR_BELOW = -20.0


@runtime_checkable
class Link(Protocol):
    """From predictions (n, K) to scores.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.gaussian_process import AffineLink, Link
    >>> isinstance(AffineLink(np.ones(2), np.zeros(2)), Link)
    True
    """

    @property
    def n_outputs(self) -> int:
        """The number K."""
        ...

    def __call__(self, f: FloatArray) -> FloatArray:
        """Scores (n, K)."""
        ...

    def derivative(self, f: FloatArray) -> FloatArray:
        """Derivative (n, K) of each score in its prediction."""
        ...


@dataclass(frozen=True, eq=False)
class AffineLink:
    """Scores slope_k f_k + bias_k: predictions of standardised targets in the units of the targets.

    Parameters
    ----------
    slope : ndarray of shape (K,)
        Scale of the targets.
    bias : ndarray of shape (K,)
        Mean of the targets.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.gaussian_process import AffineLink
    >>> AffineLink(np.array([2.0]), np.array([10.0]))(np.array([[1.0]]))
    array([[12.]])
    """

    slope: FloatArray
    bias: FloatArray

    @property
    def n_outputs(self) -> int:
        """The number K."""
        return int(self.bias.shape[-1])

    def __call__(self, f: FloatArray) -> FloatArray:
        """Scores (n, K)."""
        scores: FloatArray = f * self.slope + self.bias
        return scores

    def derivative(self, f: FloatArray) -> FloatArray:
        """The slope, for each row."""
        return np.broadcast_to(self.slope, f.shape)


@dataclass(frozen=True, eq=False)
class LogOddsLink:
    """Scores that are logarithms of odds, of predictions that are nearly probabilities.

    Parameters
    ----------
    mean : ndarray of shape (K,)
        Share of each class: p_k = mean_k + scale f_k.
    scale : float or ndarray
        Scale of the standardised indicators.
    temperature : ndarray of shape (K,)
        Factor T of p_k.
    power : ndarray of shape (K,)
        Factor kappa of the logarithm.
    sharpness : ndarray of shape (K,)
        Sharpness beta of the softplus function.
    bias : ndarray of shape (K,)
        Bias b_k.
    binary : bool
        Whether each p_k has a counterpart 1 - p_k, so that each score is a difference of both.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.gaussian_process import LogOddsLink
    >>> one = np.ones(1)
    >>> link = LogOddsLink(0.5 * one, 1.0, 0 * one, one, 100 * one, 0 * one, binary=True)
    >>> 1 / (1 + np.exp(-link(np.array([[0.0], [0.3]])))).round(3)
    array([[0.5],
           [0.8]])
    """

    mean: FloatArray
    scale: float | FloatArray
    temperature: FloatArray
    power: FloatArray
    sharpness: FloatArray
    bias: FloatArray
    binary: bool

    @property
    def n_outputs(self) -> int:
        """The number K."""
        return int(self.bias.shape[-1])

    #: sharpness times p below which the logarithm is linear in p, to nine decimals
    linear_below: ClassVar[float] = _LINEAR_BELOW

    def __call__(self, f: FloatArray) -> FloatArray:
        """Scores (n, K)."""
        p = self.mean + self.scale * f
        scores: FloatArray = self._of(p) + self.bias
        return scores - self._of(1 - p) if self.binary else scores

    def derivative(self, f: FloatArray) -> FloatArray:
        """Derivative (n, K) of each score in its prediction."""
        p = self.mean + self.scale * f
        slope = self._slope(p) + self._slope(1 - p) if self.binary else self._slope(p)
        derivative: FloatArray = self.scale * slope
        return derivative

    def scaled(self, factor: float) -> LogOddsLink:
        """A link with so many times the scores."""
        names = "temperature", "power", "bias"
        return replace(self, **{name: factor * getattr(self, name) for name in names})

    def _of(self, p: FloatArray) -> FloatArray:
        logs = log_softplus(self.sharpness * p) - np.log(self.sharpness)
        of: FloatArray = self.temperature * p + self.power * logs
        return of

    def _slope(self, p: FloatArray) -> FloatArray:
        relative = log_softplus_slope(self.sharpness * p)
        slope: FloatArray = self.temperature + self.power * self.sharpness * relative
        return slope


def stacked(links: Sequence[Link]) -> Link | None:
    """Several links as one, from predictions (E, n, K); None where they differ in kind or size."""
    first = links[0]
    if len({(type(link), link.n_outputs, getattr(link, "binary", None)) for link in links}) > 1:
        return None
    if isinstance(first, AffineLink):
        return AffineLink(_rows_of(links, "slope"), _rows_of(links, "bias"))
    if isinstance(first, LogOddsLink):
        return LogOddsLink(
            _rows_of(links, "mean"),
            _rows_of(links, "scale"),
            _rows_of(links, "temperature"),
            _rows_of(links, "power"),
            _rows_of(links, "sharpness"),
            _rows_of(links, "bias"),
            first.binary,
        )
    return None


def _rows_of(links: Sequence[Link], name: str) -> FloatArray:
    """A parameter of each link, (E, 1, K), or (E, 1, 1) of numbers."""
    return np.stack([np.atleast_2d(getattr(link, name)) for link in links])


def log_softplus(x: FloatArray) -> FloatArray:
    """log(log(1 + e^x))."""
    return np.where(x < _LINEAR_BELOW, x, np.log(np.logaddexp(0, np.maximum(x, _LINEAR_BELOW))))


def log_softplus_slope(x: FloatArray) -> FloatArray:
    """Derivative of log(log(1 + e^x))."""
    bounded = np.maximum(x, _LINEAR_BELOW)
    slope: FloatArray = np.where(x < _LINEAR_BELOW, 1.0, expit(bounded) / np.logaddexp(0, bounded))
    return slope
