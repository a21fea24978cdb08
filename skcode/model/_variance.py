"""Variance of scores under a Gaussian law of the parameters."""

from __future__ import annotations

import numpy as np

from skcode.model._jacobian import jacobian
from skcode.model._model import Model
from skcode.utils._arrowhead import ArrowheadFactor
from skcode.utils._typing import Array, FloatArray


def block_variance(
    model: Model, theta: FloatArray, factor: ArrowheadFactor, X: Array
) -> FloatArray:
    """J_n P^{-1} J_n^T on its diagonal, (n, K), to first order in the parameters.

    Parameters
    ----------
    model, theta
        The map from inputs to scores, and where it is linearised.
    factor : ArrowheadFactor
        Factor of the precision P of the parameters.
    X : ndarray of shape (n, p)
        Inputs of one block.
    """
    _, rows, features = jacobian(model, theta, X, train_controls=factor.has_core)
    columns = [
        factor.inverse_form(rows[k], features[min(k, len(features) - 1)], k)
        for k in range(len(rows))
    ]
    return np.stack(columns, axis=1)
