"""Minus the log evidence of the process on final states, as a function of the controls.

The gradient is `autograd.value_and_grad` through two nodes: final states of a batch, whose
derivative is the exact adjoint of the sweep, and their evidence, whose derivative in the states and
in the hyper-parameters comes from one factorisation.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from autograd import value_and_grad
from autograd.extend import defvjp

from skcode.flow import Sweep
from skcode.gaussian_process import ROUGH_NOISE, Evidence
from skcode.model import Model
from skcode.utils._tracing import paused, primitive, tracing
from skcode.utils._typing import Array, FloatArray, IntArray, Traced

#: rows on which an iterate is looked at as a whole
_ROWS_OF_VALUE = 256


@primitive
def sweep_states(controls: FloatArray, model: Model, X: Array, sweep: Sweep) -> FloatArray:
    """Final states (n, m) of one block; the sweep holds the tapes for the adjoint."""
    with paused():
        return sweep.forward(controls, model.input_map(X)).T.astype(np.float64)


def _sweep_states_vjp(
    states: FloatArray, controls: FloatArray, model: Model, X: Array, sweep: Sweep
) -> Callable[[FloatArray], FloatArray]:
    def vjp(g: FloatArray) -> FloatArray:
        with paused():
            u_bar = np.zeros(controls.shape, model.dtype)
            sweep.adjoint(np.ascontiguousarray(g.T, dtype=model.dtype), u_bar, wants_start=False)
            return u_bar.astype(np.float64)

    return vjp


defvjp(sweep_states, _sweep_states_vjp, argnums=(0,))


class _Batch:
    """Targets of a batch, and the derivatives that its evidence leaves for the way back."""

    def __init__(self, targets: FloatArray, weight: FloatArray, smooth: bool, copies: float):
        self.targets, self.weight, self.smooth, self.copies = targets, weight, smooth, copies
        self.by_states: FloatArray = np.empty(0)
        self.by_logs: FloatArray = np.empty(0)


@primitive
def minus_log_evidence(states: FloatArray, logs: FloatArray, batch: _Batch) -> float:
    """Minus the log evidence of the targets of a batch."""
    with paused():
        if not np.isfinite(states).all():
            batch.by_logs, batch.by_states = np.zeros_like(logs), np.zeros_like(states)
            return np.inf
        # the noise of a row is less the more the row weighs
        rough = np.exp(logs[-1]) > ROUGH_NOISE * batch.weight.max()
        dtype = np.float32 if rough else np.float64
        centred = states - states.mean(axis=0)
        of_batch = batch.targets, batch.weight, batch.smooth, batch.copies
        evidence = Evidence(centred, *of_batch, dtype)
        value, batch.by_logs, by_states = evidence.with_states(logs)
        batch.by_states = by_states - by_states.mean(axis=0)
    return value


defvjp(
    minus_log_evidence,
    lambda value, states, logs, batch: lambda g: g * batch.by_states,
    lambda value, states, logs, batch: lambda g: g * batch.by_logs,
    argnums=(0, 1),
)


class EvidenceObjective:
    r"""Minus the log evidence of a Gaussian process on final states, for each row

    .. math:: F(z) = -\frac1n \log p(Y \mid X_1^{u}, \lambda)
        + \frac1{2n} |z|^2 - \frac1n \log p(\lambda), \qquad u = u_0 + s z

    with the controls u and the logarithms lambda of kernel and noise. The normal prior on z keeps
    what the data does not tell where training by least squares left it.

    Parameters
    ----------
    model : Model
        The map from inputs to final states.
    X : ndarray of shape (n, p)
        Inputs.
    targets : ndarray of shape (n, K)
        Centred targets, with a mean square of one.
    weight : ndarray of shape (n,)
        Weights, with a mean of one.
    counts : ndarray of shape (n,)
        How many observations a row stands for.
    controls : ndarray of shape (M, d)
        Where the controls start, u_0.
    scale : float
        Their standard deviation s around that.
    logs : ndarray of shape (8,)
        Where the logarithms start, and what their prior is centred at.
    smooth : bool
        Whether the kernel has a Gaussian part.
    """

    def __init__(
        self,
        model: Model,
        X: Array,
        targets: FloatArray,
        weight: FloatArray,
        counts: FloatArray,
        controls: FloatArray,
        scale: float,
        logs: FloatArray,
        smooth: bool = True,
    ):
        self.smooth = smooth
        self.model, self.X = model, X
        self.targets, self.weight, self.counts = targets, weight, counts
        self.controls, self.scale, self.logs = controls, scale, logs

    @property
    def n_samples(self) -> int:
        """Number of rows."""
        return len(self.X)

    @property
    def start(self) -> FloatArray:
        """The parameters z = 0, followed by the logarithms."""
        return np.concatenate([np.zeros(self.controls.size), self.logs])

    def controls_of(self, parameters: Traced) -> Traced:
        """The controls (M, d)."""
        moves = parameters[: self.controls.size].reshape(self.controls.shape)
        return self.controls + self.scale * moves

    def value(self, parameters: FloatArray) -> float:
        """The objective on the first rows; infinity where the flow explodes."""
        return self.batch_value_and_grad(
            parameters, np.arange(min(self.n_samples, _ROWS_OF_VALUE))
        )[0]

    def batch_value_and_grad(
        self, parameters: FloatArray, index: IntArray
    ) -> tuple[float, FloatArray]:
        """The objective by the rows of a minibatch, as if they were all, and its gradient."""
        n, X = len(index), self.X[index]
        copies = float(self.counts[index].sum()) - n
        batch = _Batch(self.targets[index], self.weight[index], self.smooth, copies)
        with self.model.sweep(n) as sweep, tracing():

            def of_batch(parameters: Traced) -> Traced:
                states = sweep_states(self.controls_of(parameters), self.model, X, sweep)
                return minus_log_evidence(states, parameters[self.controls.size :], batch)

            value, gradient = value_and_grad(of_batch)(parameters)
        moves = parameters[: self.controls.size]
        prior, by_logs = Evidence.log_prior(parameters[self.controls.size :], self.logs)
        # priors count once for all rows, and a batch stands for all of them
        share = n / self.n_samples
        value += share * (0.5 * float(moves @ moves) + prior)
        gradient = gradient + share * np.concatenate([moves, by_logs])
        return float(value) / n, gradient / n
