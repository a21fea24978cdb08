"""Sigmoid cross-entropy for two classes and for multilabel targets."""

from __future__ import annotations

import autograd.numpy as anp
import numpy as np
from scipy.special import expit, logit

from skcode.losses._base import Loss
from skcode.utils._typing import Array, FloatArray, Traced


class SigmoidCrossEntropy(Loss):
    r"""Negative log-likelihood of indicators y (n, K) of 0 and 1, score by score.

    .. math:: l(s, y) = \sum_k \log(1 + e^{s_k}) - y_k s_k

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.losses import SigmoidCrossEntropy
    >>> SigmoidCrossEntropy().gradient(np.array([[0.0]]), np.array([[1.0]]))
    array([[-0.5]])
    """

    def value(self, scores: Traced, y: Array) -> Traced:
        return anp.sum(anp.logaddexp(0.0 * scores, scores) - y * scores, axis=1)

    def gradient(self, scores: FloatArray, y: Array) -> FloatArray:
        gradient: FloatArray = expit(scores) - y
        return gradient

    def hessian(self, scores: FloatArray, y: Array) -> FloatArray:
        p: FloatArray = expit(scores)
        return p * (1 - p)

    def inverse_link(self, scores: FloatArray) -> FloatArray:
        # no probability is rounded to 0 or 1
        info = np.finfo(scores.dtype)
        p: FloatArray = np.clip(expit(scores), info.tiny, 1 - info.epsneg)
        return p

    def initial_scores(self, y: Array, weight: FloatArray, n_outputs: int) -> FloatArray:
        eps = np.finfo(np.float64).eps
        mean = np.average(y, axis=0, weights=weight)
        log_odds: FloatArray = logit(np.clip(mean, eps, 1 - eps))
        return log_odds
