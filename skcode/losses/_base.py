"""The contract of a loss."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import DTypeLike

from skcode.utils._typing import Array, FloatArray, Traced


class Loss(ABC):
    """A convex loss l(s, y) of scores s (n, K), sample by sample.

    `value` is the definition, traced by autograd; `gradient` and `hessian` are its derivatives in
    closed form.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.losses import Loss
    >>> class Huber(Loss):
    ...     def value(self, scores, y):
    ...         return np.sum(np.sqrt(1 + (scores - y) ** 2) - 1, axis=1)
    ...     def gradient(self, scores, y):
    ...         return (scores - y) / np.sqrt(1 + (scores - y) ** 2)
    ...     def hessian(self, scores, y):
    ...         return (1 + (scores - y) ** 2) ** -1.5
    ...     def inverse_link(self, scores):
    ...         return scores
    ...     def initial_scores(self, y, weight, n_outputs):
    ...         return np.average(y, axis=0, weights=weight)
    >>> Huber().gradient(np.array([[0.0]]), np.array([[1e9]]))
    array([[-1.]])
    """

    #: whether the second derivative couples the scores of a sample, as that of softmax does
    coupled: bool = False
    #: whether a likelihood stands behind the loss whose noise precision is unknown: l / sigma^2
    #: is its negative logarithm, and the evidence estimates sigma
    has_noise: bool = False
    #: power of the residual with which the loss of such a likelihood grows: 2 for a square, 1 for
    #: an absolute value; the density integrates to sigma^(2 / degree)
    degree: int = 2
    #: whether the loss is a square: one Newton step of the readout solves for it, and a Gaussian
    #: law of the parameters gives standard deviations of observations
    quadratic: bool = False
    #: level of the quantile that scores predict, where they predict one
    level: float | None = None
    #: whether scores are logarithms of what is predicted
    log_link: bool = False
    #: how real targets are brought to size one: by mean and deviation ("moments"), by median and
    #: quartiles ("quartiles"), or divided by their mean ("mean")
    scaled_by: str = "moments"
    #: what standardised targets are cut off at: beyond it the loss is a line, whose slope stays
    bound: float = float("inf")

    @abstractmethod
    def value(self, scores: Traced, y: Array) -> Traced:
        """Losses (n,)."""

    @abstractmethod
    def gradient(self, scores: FloatArray, y: Array) -> FloatArray:
        """Derivative d l / d s as (n, K)."""

    @abstractmethod
    def hessian(self, scores: FloatArray, y: Array) -> FloatArray:
        """Array a (n, K): d^2 l / d s^2 = diag(a), minus a a^T (sum a = 1) where `coupled`."""

    @abstractmethod
    def inverse_link(self, scores: FloatArray) -> FloatArray:
        """What the scores predict, E[y | s]: values or probabilities, (n, K)."""

    def dispersion(self, scores: FloatArray, y: Array) -> FloatArray:
        """What the noise is estimated from, (n,): sigma^2 / 2 on average. It is the loss itself.

        Overridden where the loss is a deviance, whose mean depends on what is predicted.
        """
        value: FloatArray = self.value(scores, y)
        return value

    def sparsity(self, scores: FloatArray, y: Array) -> FloatArray:
        """What the mean of `dispersion` is divided by the mean of, (n,): one where scores fit.

        Overridden where few targets tell nearly all of the noise.
        """
        return np.ones(len(y))

    def telling_share(self, y: Array, weight: FloatArray) -> float:
        """Share of the targets (n, K), with weights (n,), that tell of the noise: all."""
        return 1.0

    def score_range(self, dtype: DTypeLike) -> tuple[float, float]:
        """Scores beyond which predictions no longer follow them, in a float type."""
        return -float("inf"), float("inf")

    def check(self, y: Array) -> None:
        """Raise an error if real targets (n, K) are not what the loss is defined for."""
        return

    def standardised(self, y: Array, weight: FloatArray) -> Loss:
        """The loss for targets (n, K), in units in which the noise of the best constant is one."""
        return self

    @abstractmethod
    def initial_scores(self, y: Array, weight: FloatArray, n_outputs: int) -> FloatArray:
        """The best constant scores (K,): where an intercept starts."""
