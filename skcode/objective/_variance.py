"""Variance of scores under a Gaussian law of the parameters."""

from __future__ import annotations

import numpy as np

from skcode.objective._model import Model
from skcode.objective._normal import jacobian
from skcode.utils._arrowhead import ArrowheadFactor
from skcode.utils._blocks import OrderedMap, block_slices, task_slices
from skcode.utils._typing import Array, FloatArray


def score_variance(
    model: Model, theta: FloatArray, factor: ArrowheadFactor, X: Array, mapper: OrderedMap
) -> FloatArray:
    """J_n P^{-1} J_n^T on its diagonal, (n, K), to first order in the parameters.

    Parameters
    ----------
    model, theta
        The linearised map from inputs to scores.
    factor : ArrowheadFactor
        Factor of the precision P of the parameters.
    X : ndarray of shape (n, p)
        Inputs.
    mapper : OrderedMap
        Maps blocks of samples.
    """
    tasks = [(model, theta, factor, X[s]) for s in task_slices(len(X), model.n_block)]
    return np.concatenate(list(mapper(_task_variance, tasks)))


def _task_variance(
    model: Model, theta: FloatArray, factor: ArrowheadFactor, X: Array
) -> FloatArray:
    return np.concatenate(
        [_block_variance(model, theta, factor, X[s]) for s in block_slices(len(X), model.n_block)]
    )


def _block_variance(
    model: Model, theta: FloatArray, factor: ArrowheadFactor, X: Array
) -> FloatArray:
    _, rows, features = jacobian(model, theta, X, train_controls=factor.has_core)
    columns = [
        factor.inverse_form(rows[k], features[min(k, len(features) - 1)], k)
        for k in range(len(rows))
    ]
    return np.stack(columns, axis=1)
