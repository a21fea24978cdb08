"""The two nodes of autograd's trace of the training loss: scores of a block, and their loss.

autograd traces loss(scores(theta)) of a block as two nodes, and its backpropagation composes what
each node has registered. Ours are the derivatives within the nodes: the exact adjoint of the sweep
behind `sweep_scores`, with that of the readout, and the gradient of the loss in closed form behind
`weighted_loss`. Finer nodes (flow, readout, loss, each traced alone) say the same, but on small
blocks their bookkeeping costs several times the arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from autograd.extend import defvjp

from skcode.flow import Sweep
from skcode.losses import Loss
from skcode.model import Model
from skcode.utils._tracing import paused, primitive
from skcode.utils._typing import Array, FloatArray


@primitive
def sweep_scores(
    theta: FloatArray, model: Model, X: Array, sweep: Sweep, train_controls: bool
) -> FloatArray:
    """Scores (n, K) of one block; the sweep holds the tapes for the adjoint.

    Frozen controls have a derivative of zero, which takes no sweep back.
    """
    controls, parameters = model.split(theta)
    with paused():
        x0 = model.input_map(X)
        x1 = sweep.forward(controls, x0).T
        scores: FloatArray = model.readout.scores(parameters.astype(model.dtype), x1, x0)
    return scores


def _sweep_scores_vjp(
    scores: FloatArray,
    theta: FloatArray,
    model: Model,
    X: Array,
    sweep: Sweep,
    train_controls: bool,
) -> Callable[[FloatArray], FloatArray]:
    readout, n_controls = model.readout, model.n_controls

    def vjp(g: FloatArray) -> FloatArray:
        controls, parameters = model.split(theta)
        with paused():
            g = np.ascontiguousarray(g.T)
            x0, x1 = sweep.states[0], sweep.states[-1]
            gradient = np.zeros_like(theta)
            by_score = np.matmul(readout.features(x1, x0), g[:, :, None])[:, :, 0]
            np.add.at(gradient, n_controls + readout.index, by_score)
            if not train_controls:
                return gradient
            # for one score an outer product, which matmul leaves to a slow loop
            p = np.dot(readout.state_gradient(parameters.astype(model.dtype)).T, g)
            u_bar = np.zeros(controls.shape, model.dtype)
            sweep.adjoint(p, u_bar, wants_start=False)
            gradient[:n_controls] = u_bar.ravel()
        return gradient

    return vjp


defvjp(sweep_scores, _sweep_scores_vjp, argnums=(0,))


@primitive
def weighted_loss(scores: FloatArray, loss: Loss, y: Array, weight: FloatArray) -> float:
    """sum_n s_n l(s_n, y_n)."""
    return float(weight @ loss.value(scores, y))


def _weighted_loss_vjp(
    value: float, scores: FloatArray, loss: Loss, y: Array, weight: FloatArray
) -> Callable[[float], FloatArray]:
    return lambda g: ((g * weight)[:, None] * loss.gradient(scores, y)).astype(scores.dtype)


defvjp(weighted_loss, _weighted_loss_vjp, argnums=(0,))
