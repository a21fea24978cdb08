"""Softmax cross-entropy for one of K classes."""

from __future__ import annotations

import autograd.numpy as anp
import numpy as np
from autograd.scipy.special import logsumexp
from scipy.special import softmax

from skcode.losses._base import Loss
from skcode.utils._typing import Array, BoolArray, FloatArray, IntArray, Traced


class SoftmaxCrossEntropy(Loss):
    r"""Negative log-likelihood of class codes y (n,).

    .. math:: l(s, y) = \log \sum_k e^{s_k} - s_y

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.losses import SoftmaxCrossEntropy
    >>> SoftmaxCrossEntropy().inverse_link(np.zeros((1, 4)))
    array([[0.25, 0.25, 0.25, 0.25]])
    """

    coupled = True

    def value(self, scores: Traced, y: Array) -> Traced:
        picked = anp.sum(scores * _one_hot(y, scores.shape), axis=1)
        return logsumexp(scores, axis=1) - picked

    def gradient(self, scores: FloatArray, y: Array) -> FloatArray:
        gradient: FloatArray = softmax(scores, axis=1) - _one_hot(y, scores.shape)
        return gradient

    def hessian(self, scores: FloatArray, y: Array) -> FloatArray:
        probabilities: FloatArray = softmax(scores, axis=1)
        return probabilities

    def inverse_link(self, scores: FloatArray) -> FloatArray:
        probabilities: FloatArray = softmax(scores, axis=1)
        return probabilities

    def initial_scores(self, y: Array, weight: FloatArray, n_outputs: int) -> FloatArray:
        share = np.bincount(y, weights=weight, minlength=n_outputs) / np.sum(weight)
        log_share: FloatArray = np.log(np.maximum(share, np.finfo(np.float64).eps))
        centred: FloatArray = log_share - log_share.mean()
        return centred


def _one_hot(y: IntArray, shape: tuple[int, int]) -> BoolArray:
    hot: BoolArray = y[:, None] == np.arange(shape[1])
    return hot
