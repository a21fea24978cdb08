"""Sigmoid cross-entropy for two classes and for multilabel targets."""

from __future__ import annotations

import autograd.numpy as anp
import numpy as np
from scipy.special import expit, logit

from skcode.losses._base import Loss


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

    def value(self, scores, y):
        return anp.sum(anp.logaddexp(0.0 * scores, scores) - y * scores, axis=1)

    def gradient(self, scores, y):
        return expit(scores) - y

    def curvature(self, scores, y):
        p = expit(scores)
        return p * (1 - p)

    def mean(self, scores):
        # no probability is rounded to 0 or 1
        info = np.finfo(scores.dtype)
        return np.clip(expit(scores), info.tiny, 1 - info.epsneg)

    def initial_scores(self, y, weight, n_outputs):
        eps = np.finfo(np.float64).eps
        return logit(np.clip(np.average(y, axis=0, weights=weight), eps, 1 - eps))
