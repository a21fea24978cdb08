"""The Jacobian of the scores of one block in the parameters, by sweeps back."""

from __future__ import annotations

import numpy as np

from skcode.model._model import Model
from skcode.utils._typing import Array, FloatArray


def jacobian(
    model: Model, theta: FloatArray, X: Array, train_controls: bool = True, relative: bool = False
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Scores of one block, and their Jacobian in the core and in the blocks of the parameters.

    The core holds the controls, and the parameters of readouts that all scores share. It is empty,
    and no sweep goes back, where the controls are frozen and every score has its own parameters.

    Parameters
    ----------
    model : Model
        The map from inputs to scores.
    theta : ndarray of shape (n_parameters,)
        Where it is linearised.
    X : ndarray of shape (n, p)
        Inputs of one block.
    train_controls : bool
        Whether the controls are parameters.
    relative : bool
        Whether to give the core of the first K - 1 scores less the last, where the controls alone
        are the core: a sweep less.

    Returns
    -------
    scores : ndarray of shape (n, K)
        The scores.
    core : ndarray of shape (K, c, n)
        Derivatives in the c parameters of the core.
    blocks : ndarray of shape (K, F, n) or (1, F, n)
        Derivatives in the F parameters of each score's own; (1, F, n) where scores share them.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode import ControlledODERegressor
    >>> from skcode.model import jacobian
    >>> X = np.random.default_rng(0).standard_normal((50, 2))
    >>> model = ControlledODERegressor("linear", n_fields=3, random_state=0).fit(X, X[:, 0])
    >>> member = model.ensemble_.members[0]
    >>> [part.shape for part in jacobian(member.model, member.theta, X)]
    [(50, 1), (1, 6, 50), (1, 3, 50)]
    """
    controls, parameters = model.split(theta)
    parameters = parameters.astype(model.dtype)
    x0 = model.input_map(X)
    readout, n = model.readout, len(X)
    K = readout.n_outputs
    if readout.separate and not train_controls:
        x1 = model.block_states(theta, X)
        scores = readout.scores(parameters, x1, x0).astype(np.float64)
        features = readout.features(x1.T, x0.T)
        return scores, np.empty((K, 0, n), model.dtype), features
    gradient = readout.state_gradient(parameters)[:, :, None]
    if relative and readout.separate:
        gradient = gradient[:-1] - gradient[-1]
    with model.sweep(n, (len(gradient),)) as sweep:
        x1 = sweep.forward(controls, x0)
        scores = readout.scores(parameters, x1.T, x0).astype(np.float64)
        features = readout.features(x1, x0.T)
        rows = np.empty((len(gradient), *controls.shape, n), model.dtype)
        adjoint = np.broadcast_to(gradient, (*gradient.shape[:2], n))
        sweep.jacobian(adjoint, np.moveaxis(rows, 0, 1))
        rows = rows.reshape(len(gradient), -1, n)
    if not readout.separate:
        return scores, np.concatenate([rows, features], axis=1), features[:, :0]
    return scores, rows, features
