"""One Newton step of a linear readout, streamed: the closed form from which training may start."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from skcode.losses import Loss
from skcode.model import Model
from skcode.utils._blocks import OrderedMap
from skcode.utils._typing import Array, FloatArray

#: entries of the features that are held at once
_CHUNK_ENTRIES = 2**22
#: smallest ridge, in units of rounding, that a Cholesky factorisation bears
_LEAST_RIDGE = 100


class PenalisedRows(Protocol):
    """What the step reads of an objective."""

    model: Model
    loss: Loss
    X: Array
    y: Array
    #: weights that sum to one
    weight: FloatArray
    #: strength of the penalty of each parameter
    ridge: FloatArray
    mapper: OrderedMap

    @property
    def n_samples(self) -> int: ...


def newton_readout(objective: PenalisedRows, theta: FloatArray) -> FloatArray:
    """Parameters after one Newton step of the readout at fixed controls.

    All scores share one matrix: the mean of f f^T over the rows, times the mean curvature of the
    loss, plus the ridge. It is the least squares solution for the squared loss. Features f are held
    for a bounded number of rows at a time. Where the step overflows the parameters stay.
    """
    model, loss = objective.model, objective.loss
    readout = model.readout
    if not readout.separate:
        raise ValueError("start_readout=True needs readout='linear'.")
    n_features = readout.index.shape[1]
    gram = np.zeros((n_features, n_features), model.dtype)
    gradient = np.zeros((n_features, readout.n_outputs))
    curvature = 0.0
    parameters = model.split(theta)[1].astype(model.dtype)
    n_chunk = max(_CHUNK_ENTRIES // model.fields.n_states // model.n_block, 1) * model.n_block
    for start in range(0, objective.n_samples, n_chunk):
        rows = slice(start, start + n_chunk)
        X, y = objective.X[rows], objective.y[rows]
        weight = objective.weight[rows].astype(model.dtype)
        x1, x0 = model.states(theta, X, objective.mapper), model.input_map(X)
        scores = readout.scores(parameters, x1, x0)
        f = readout.features(np.ascontiguousarray(x1.T), x0.T)[0]
        gradient += f @ (weight[:, None] * loss.gradient(scores, y))
        curvature += float(weight @ np.mean(loss.hessian(scores, y), axis=1))
        f *= np.sqrt(weight)
        gram += f @ f.T
    gram *= curvature
    ridge = objective.ridge[model.n_controls + readout.index[0]]
    floor = _LEAST_RIDGE * np.finfo(gram.dtype).eps * float(np.trace(gram)) / n_features
    gram[np.diag_indices(n_features)] += np.maximum(ridge, floor)
    gradient += ridge[:, None] * parameters[readout.index].T
    gradient = gradient.astype(gram.dtype)
    if not (np.isfinite(gram).all() and np.isfinite(gradient).all()):
        # squares of states overflow where the states themselves do not
        return theta
    step = cho_solve(cho_factor(gram, overwrite_a=True), gradient)
    theta = theta.copy()
    theta[model.n_controls + readout.index] -= step.T
    return theta
