r"""The normal equations of Gauss-Newton, accumulated block by block.

With scores s_n (K,), J_n = d s_n / d theta and W_n = d^2 l / d s^2, the generalised Gauss-Newton
matrix is H = sum_n s_n J_n^T W_n J_n. The rows of J_n in the controls are the sample-by-sample
adjoints that the backward sweep passes anyway: K of them a sample. W_n is diag(a), minus a a^T for
the softmax; then, with J centred by sum_k a_k J_k, H is again a sum of K squares. The Jacobian of
all samples never exists: one block of it does.

The readout weights of different scores are coupled by the softmax alone. There that coupling is
replaced by the bound diag(a) - a a^T <= diag(a), which leaves an arrow matrix: K blocks of the size
of one readout, coupled through the controls, at a cost that grows linearly with K. The bound is
exact in all directions that leave sum_k a_k s_k unchanged.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np

from skcode.losses import Loss
from skcode.model import Model, jacobian
from skcode.objective._sampled_classes import Parts, adds_at_once, gram, sampled_block
from skcode.utils._arrowhead import Arrowhead, ArrowheadOrder
from skcode.utils._blocks import block_slices, ordered_sum
from skcode.utils._typing import Array, FloatArray

#: coupled scores up to which every one takes a backward sweep
MOST_EXACT = 20


class NormalEquations(NamedTuple):
    """Value, gradient (P,) and Gauss-Newton matrix of the weighted mean loss."""

    value: float
    gradient: FloatArray
    matrix: Arrowhead

    @property
    def is_finite(self) -> bool:
        parts = (self.value, self.gradient, self.matrix.core, self.matrix.blocks)
        return all(bool(np.isfinite(part).all()) for part in parts)


def task_normal(
    model: Model,
    loss: Loss,
    train_controls: bool,
    theta: FloatArray,
    X: Array,
    y: Array,
    weight: FloatArray,
) -> Parts:
    """Parts of the normal equations, summed over the blocks of one task."""
    # a view of one number would be summed in another order than what it looks like
    weight = np.ascontiguousarray(weight)
    blocks = block_slices(len(X), model.n_block)
    many = loss.coupled and model.readout.separate and model.readout.n_outputs > MOST_EXACT
    block = sampled_block if many and train_controls else partial(_block_normal, train_controls)
    return ordered_sum(block(model, loss, theta, X[s], y[s], weight[s]) for s in blocks)


def _block_normal(
    train_controls: bool,
    model: Model,
    loss: Loss,
    theta: FloatArray,
    X: Array,
    y: Array,
    weight: FloatArray,
) -> Parts:
    scores, rows, features = jacobian(model, theta, X, train_controls, relative=loss.coupled)
    K = scores.shape[1]
    value = float(weight @ loss.value(scores, y))
    residual = (weight[:, None] * loss.gradient(scores, y)).T.astype(model.dtype)
    curvature = loss.hessian(scores, y).T.astype(model.dtype)
    root = np.sqrt(weight.astype(model.dtype) * curvature)

    c, F = rows.shape[1], features.shape[1]
    grad_core, mean = np.zeros(c), np.zeros(rows.shape[1:] if loss.coupled else 0, rows.dtype)
    # the residuals of coupled scores sum to zero, as do the rows once they are centred: what is
    # taken from all of them does not matter
    for k, J in enumerate(rows):
        # np.dot lets other threads run, as a product with a vector by matmul does not
        grad_core += np.dot(J, residual[k])
        if loss.coupled:
            mean += curvature[k] * J
    grad_blocks = np.empty((K, F))
    core, coupling, blocks = np.zeros((c, c)), np.empty((K, c, F)), np.empty((K, F, F))
    at_once = adds_at_once(rows)
    # one score at a time: its rows stay in the cache from centring to the products
    for k in range(K):
        feature = features[min(k, len(features) - 1)]
        if k < len(rows):
            J = rows[k]
            if loss.coupled:
                J -= mean
        else:
            J = np.negative(mean, out=mean)
        J *= root[k]
        weighted = feature * root[k]
        grad_blocks[k] = np.dot(feature, residual[k])
        if not at_once:
            core += J @ J.T
        coupling[k] = J @ weighted.T
        blocks[k] = weighted @ weighted.T
    if at_once:
        core += gram([*rows, J] if len(rows) < K else [*rows])
    return value, grad_core, grad_blocks, core, coupling, blocks


def assemble(model: Model, parts: Parts) -> NormalEquations:
    """Gradient and arrow matrix in the order of theta."""
    value, grad_core, grad_blocks, core, coupling, blocks = parts
    index = model.n_controls + model.readout.index
    head = np.arange(len(core))
    if model.readout.separate:
        positions = np.concatenate([head, index.ravel()])
    else:
        positions, grad_blocks, coupling, blocks = head, grad_blocks[:0], coupling[:0], blocks[:0]
    order = ArrowheadOrder(positions, (len(core), *grad_blocks.shape), model.n_parameters)
    gradient = order.join(grad_core, grad_blocks)
    return NormalEquations(float(value), gradient, Arrowhead(core, coupling, blocks, order))
