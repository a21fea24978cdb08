"""The two nodes of autograd's trace of the training loss: scores of a block, and their loss.

Each has its adjoint beside it, and autograd's backpropagation composes them. Finer nodes say the
same, but on small blocks their bookkeeping costs several times the arithmetic.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from autograd.extend import defvjp, primitive
from numpy.typing import NDArray

from skcode.flow import Sweep
from skcode.losses import Loss
from skcode.utils._tracing import paused


@primitive
def sweep_scores(theta: NDArray, model: Any, X: NDArray, sweep: Sweep) -> NDArray:
    """Scores (n, K) of one block; the sweep holds the tapes for the adjoint."""
    controls, parameters = model.split(theta)
    with paused():
        x0 = model.input_map(X)
        x1 = sweep.forward(controls, x0).T
        return model.readout.scores(parameters.astype(model.dtype), x1, x0)


def _sweep_scores_vjp(scores, theta, model, X, sweep):
    readout, n_controls = model.readout, model.n_controls

    def vjp(g):
        controls, parameters = model.split(theta)
        with paused():
            g = g.T
            x0, x1 = sweep.states[0], sweep.states[-1]
            gradient = np.zeros_like(theta)
            by_score = np.matmul(readout.features(x1, x0), g[:, :, None])[:, :, 0]
            np.add.at(gradient, n_controls + readout.index, by_score)
            p = readout.state_gradient(parameters.astype(model.dtype)).T @ g
            u_bar = np.zeros(controls.shape, model.dtype)
            sweep.adjoint(p, u_bar, wants_start=False)
            gradient[:n_controls] = u_bar.ravel()
        return gradient

    return vjp


defvjp(sweep_scores, _sweep_scores_vjp, argnums=(0,))


@primitive
def weighted_loss(scores: NDArray, loss: Loss, y: NDArray, weight: NDArray) -> float:
    """sum_n s_n l(s_n, y_n)."""
    return float(weight @ loss.value(scores, y))


def _weighted_loss_vjp(value, scores, loss, y, weight):
    return lambda g: ((g * weight)[:, None] * loss.gradient(scores, y)).astype(scores.dtype)


defvjp(weighted_loss, _weighted_loss_vjp, argnums=(0,))
