r"""Normal equations of a softmax over many classes, at a cost that does not grow with their number.

The exact matrix of the controls takes one backward sweep a class. But few classes of a sample have
any probability to speak of: the likeliest ones enter exactly, and a few of the others, drawn with
their share of the rest, stand for all of them. That is unbiased for

.. math:: \sum_k a_k (J_k - \bar J)(J_k - \bar J)^T, \qquad \bar J = \sum_k a_k J_k,

and exact where the likeliest classes hold all the probability. Value, gradient and the readout's
blocks stay exact; the gradient takes one sweep of its own.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from skcode.losses import Loss
from skcode.model import Model
from skcode.utils._typing import Array, FloatArray, IntArray

#: classes of each sample that enter the matrix exactly
_LIKELIEST = 6
#: draws that stand for the other classes
_DRAWS = 2
#: value, gradient in core and blocks, then the arrow matrix: core, coupling, blocks
Parts = tuple[float, FloatArray, FloatArray, FloatArray, FloatArray, FloatArray]


def choose_classes(probability: FloatArray) -> tuple[IntArray, FloatArray]:
    """The likeliest classes of each sample and draws from the others: (S, n), and their weights.

    The draws are stratified, and the same at each call, so that an objective is one function.
    """
    n, K = probability.shape
    order = np.argsort(-probability, axis=1, kind="stable")
    ranked = np.take_along_axis(probability, order, axis=1)
    rest = np.cumsum(ranked[:, _LIKELIEST:], axis=1)
    level = (np.random.default_rng(0).random((_DRAWS, n)) + np.arange(_DRAWS)[:, None]) / _DRAWS
    drawn = np.sum(rest <= (level * rest[:, -1])[:, :, None], axis=2)
    drawn = _LIKELIEST + np.minimum(drawn, K - _LIKELIEST - 1)
    place = np.vstack([np.tile(np.arange(_LIKELIEST)[:, None], n), drawn])
    weight = np.vstack([ranked[:, :_LIKELIEST].T, np.tile(rest[:, -1] / _DRAWS, (_DRAWS, 1))])
    return np.take_along_axis(order, place.T, axis=1).T, weight


def adds_at_once(rows: FloatArray) -> bool:
    """Whether the product of several J_s (S, c, n) is cheaper than the sum of their products.

    Few samples fill the matrix (c, c) in less time than it takes to add one to another.
    """
    S, c, n = rows.shape
    return bool(S > 1 and c > n)


def gram(rows: Sequence[FloatArray]) -> FloatArray:
    """sum_s J_s J_s^T (c, c) of rows J_s (c, n), in one product."""
    J: FloatArray = np.concatenate(rows, axis=1)
    product: FloatArray = J @ J.T
    return product


def sampled_block(
    model: Model, loss: Loss, theta: FloatArray, X: Array, y: Array, weight: FloatArray
) -> Parts:
    """Parts of the normal equations of one block; the readout has weights for each class."""
    controls, parameters = model.split(theta)
    readout, n, dtype = model.readout, len(X), model.dtype
    parameters = parameters.astype(dtype)
    x0 = model.input_map(X)
    A = readout.state_gradient(parameters)
    K, S = len(A), _LIKELIEST + _DRAWS
    with model.sweep(n, (S + 1,)) as sweep:
        x1 = sweep.forward(controls, x0)
        scores = readout.scores(parameters, x1.T, x0).astype(np.float64)
        feature = readout.features(x1, x0.T)[0]
        probability = loss.hessian(scores, y)
        residual = (weight[:, None] * loss.gradient(scores, y)).T.astype(dtype)
        classes, mass = choose_classes(probability)
        root = np.sqrt(weight * mass).astype(dtype)
        adjoint = np.empty((S + 1, *x1.shape), dtype)
        mean = A.T @ probability.T.astype(dtype)
        for s in range(S):
            np.subtract(A[classes[s]].T, mean, out=adjoint[s])
            adjoint[s] *= root[s]
        np.matmul(A.T, residual, out=adjoint[S])
        rows = np.empty((S + 1, *controls.shape, n), dtype)
        sweep.jacobian(adjoint, np.moveaxis(rows, 0, 1))
        rows = rows.reshape(S + 1, -1, n)

    c, F = rows.shape[1], len(feature)
    core, coupling, blocks = np.zeros((c, c)), np.zeros((K, c, F)), np.empty((K, F, F))
    at_once = adds_at_once(rows[:S])
    for s in range(S):
        J, weighted = rows[s], feature * root[s]
        if not at_once:
            core += J @ J.T
        for k in range(K):
            of_class = np.flatnonzero(classes[s] == k)
            if len(of_class):
                coupling[k] += J[:, of_class] @ weighted[:, of_class].T
    if at_once:
        core += gram(list(rows[:S]))
    spread = np.sqrt(weight[:, None] * probability).T.astype(dtype)
    for k in range(K):
        weighted = feature * spread[k]
        blocks[k] = weighted @ weighted.T
    value = float(weight @ loss.value(scores, y))
    grad_core = rows[S].sum(axis=1).astype(np.float64)
    return value, grad_core, (residual @ feature.T).astype(np.float64), core, coupling, blocks
