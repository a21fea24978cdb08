"""The contract of a loss."""

from __future__ import annotations

from abc import ABC, abstractmethod

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

    @abstractmethod
    def initial_scores(self, y: Array, weight: FloatArray, n_outputs: int) -> FloatArray:
        """The best constant scores (K,): where an intercept starts."""
