"""Softmax cross-entropy for one of K classes."""

from __future__ import annotations

import autograd.numpy as anp
import numpy as np
from autograd.scipy.special import logsumexp
from scipy.special import softmax

from skcode.losses._base import Loss


class SoftmaxCrossEntropy(Loss):
    r"""Negative log-likelihood of class codes y (n,).

    .. math:: l(s, y) = \log \sum_k e^{s_k} - s_y

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.losses import SoftmaxCrossEntropy
    >>> SoftmaxCrossEntropy().mean(np.zeros((1, 4)))
    array([[0.25, 0.25, 0.25, 0.25]])
    """

    coupled = True

    def value(self, scores, y):
        picked = anp.sum(scores * _one_hot(y, scores.shape), axis=1)
        return logsumexp(scores, axis=1) - picked

    def gradient(self, scores, y):
        return softmax(scores, axis=1) - _one_hot(y, scores.shape)

    def curvature(self, scores, y):
        return softmax(scores, axis=1)

    def mean(self, scores):
        return softmax(scores, axis=1)

    def initial_scores(self, y, weight, n_outputs):
        share = np.bincount(y, weights=weight, minlength=n_outputs) / np.sum(weight)
        log_share = np.log(np.maximum(share, np.finfo(np.float64).eps))
        return log_share - log_share.mean()


def _one_hot(y, shape):
    return y[:, None] == np.arange(shape[1])
