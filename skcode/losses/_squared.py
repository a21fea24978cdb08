"""Squared error."""

from __future__ import annotations

import autograd.numpy as anp
import numpy as np

from skcode.losses._base import Loss
from skcode.utils._typing import Array, FloatArray, Traced


class SquaredError(Loss):
    r"""Squared error of targets y (n, K).

    .. math:: l(s, y) = \tfrac12 |s - y|^2

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.losses import SquaredError
    >>> SquaredError().value(np.array([[1.0, 2.0]]), np.array([[0.0, 0.0]]))
    array([2.5])
    """

    has_noise = True
    quadratic = True

    def value(self, scores: Traced, y: Array) -> Traced:
        return 0.5 * anp.sum((scores - y) ** 2, axis=1)

    def gradient(self, scores: FloatArray, y: Array) -> FloatArray:
        return scores - y

    def hessian(self, scores: FloatArray, y: Array) -> FloatArray:
        return np.ones_like(scores)

    def inverse_link(self, scores: FloatArray) -> FloatArray:
        return scores

    def initial_scores(self, y: Array, weight: FloatArray, n_outputs: int) -> FloatArray:
        return np.average(y, axis=0, weights=weight)
