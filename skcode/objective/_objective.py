"""Weighted mean loss plus penalty, and its gradient through autograd.

The gradient is `autograd.value_and_grad` of the loss of one block at a time. autograd traces two
nodes, scores and loss (see `skcode.objective._traced`); the derivatives of both are ours, so that
the sweep back is the exact adjoint of the discrete scheme. The penalty is a quadratic form, and its
gradient is added in closed form.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from autograd import value_and_grad

from skcode.flow import Sweep
from skcode.losses import Loss
from skcode.model import Model
from skcode.objective._newton_readout import newton_readout
from skcode.objective._normal_equations import (
    MOST_EXACT,
    NormalEquations,
    assemble,
    task_normal,
)
from skcode.objective._traced import sweep_scores, weighted_loss
from skcode.utils._blocks import OrderedMap, block_slices, odd_block, ordered_sum, task_slices
from skcode.utils._tracing import tracing
from skcode.utils._typing import Array, FloatArray, IntArray, Traced
from skcode.utils._views import entrywise

#: penalty of solvers that do not find it from the data
_DEFAULT_ALPHA = 1e-4
#: entries of X up to which a scaled copy is kept
_MOST_SCALED = 2**23
#: bytes that the Jacobian of one block may take: it bounds memory where scores are many
_ROW_BYTES = 16 * 2**20
#: ... or this part of the bytes of the Gauss-Newton matrix, whichever is more
_ROW_SHARE = 4


def _shares(weight: FloatArray) -> FloatArray:
    """Weights divided by their sum; a view of one number stays one."""
    total = weight.sum()
    return entrywise(lambda each: each / total, weight)


class Objective:
    r"""The training objective

    .. math:: F(\theta) = \frac{1}{\sum_n s_n} \sum_n s_n\, l(R(X_1^{x_n}), y_n)
        + \frac{\alpha}{2} \Big( \int_0^1 |u_t|^2 dt + |A|^2 \Big)

    with sample weights s, controls u and readout weights A (without intercepts).

    Parameters
    ----------
    model : Model
        The map from inputs to scores.
    loss : Loss
        The loss l.
    X : ndarray of shape (n, p)
        Inputs.
    y : ndarray of shape (n,) or (n, K)
        Targets, as the loss wants them.
    weight : ndarray of shape (n,)
        Sample weights, positive.
    alpha : float or None
        Strength of the penalty. None leaves it to solvers that find it from the data, and is 1e-4
        for the others.
    mapper : OrderedMap
        Maps blocks of samples.
    train_controls : bool
        False freezes the controls at their start: the readout alone is trained.
    """

    def __init__(
        self,
        model: Model,
        loss: Loss,
        X: Array,
        y: Array,
        weight: FloatArray,
        alpha: float | None,
        mapper: OrderedMap,
        train_controls: bool = True,
    ):
        self.model = model
        self.loss = loss
        self.X = X
        self.y = y
        self.weight = _shares(weight)
        # weights that sum to less than the number of rows are relative, else they count rows
        self.total_weight = max(float(weight.sum()), float(len(X)))
        self.alpha = alpha
        self.mapper = mapper
        self.train_controls = train_controls
        ridge = np.full(model.n_parameters, _DEFAULT_ALPHA if alpha is None else float(alpha))
        ridge[: model.n_controls] /= model.n_intervals
        ridge[model.n_controls :] *= model.readout.penalised
        self.ridge, self.root_ridge = ridge, np.sqrt(ridge)
        self._tasks = self._cut(X, model)
        # where the strength of the penalty comes from the data, single precision is ample
        self.normal_dtype: np.dtype[Any] = np.dtype(np.float32) if alpha is None else model.dtype

    def _cut(self, X: Array, model: Model) -> list[tuple[Array, ...]]:
        """Tasks, cut once: backends that ship data see the same arrays at each call."""
        self.mapper.keep(model)
        return [
            tuple(self.mapper.keep(part[s]) for part in (X, self.y, self.weight))
            for s in task_slices(len(X), model.n_block)
        ]

    @property
    def n_samples(self) -> int:
        """Number of rows."""
        return len(self.X)

    @property
    def n_features(self) -> int:
        """Number of inputs of a row."""
        return int(self.X.shape[1])

    @property
    def n_controls(self) -> int:
        """Number of parameters that are controls: they come first in theta."""
        return self.model.n_controls

    @property
    def n_outputs(self) -> int:
        """Number K of scores."""
        return self.model.readout.n_outputs

    def value_and_grad(self, theta: FloatArray) -> tuple[float, FloatArray]:
        """F and its gradient; infinity and zeros where the flow explodes."""
        tasks = [(self.model, self.loss, self.train_controls, theta, *task) for task in self._tasks]
        return self._finish(theta, *self.mapper.sum(_task_value_and_grad, tasks))

    def value(self, theta: FloatArray) -> float:
        """F alone; infinity where the flow explodes."""
        tasks = [(self.model, self.loss, theta, *task) for task in self._tasks]
        value = float(self.mapper.sum(_task_value, tasks)[0])
        value += self._penalty(theta)
        return value if np.isfinite(value) else np.inf

    def normal_equations(self, theta: FloatArray, controls: bool = True) -> NormalEquations:
        """Value, gradient and Gauss-Newton matrix of the loss without penalty.

        The value is infinite where the flow or a product of it overflows. Without `controls` they
        are those of the readout, which take no sweep back.
        """
        model, parts = self._normal_tasks
        controls = controls and self.train_controls
        tasks = [(model, self.loss, controls, theta, *part) for part in parts]
        equations = assemble(model, self.mapper.sum(task_normal, tasks))
        return equations if equations.is_finite else equations._replace(value=np.inf)

    def normal_value(self, theta: FloatArray) -> float:
        """The value of `normal_equations` alone, which takes no sweep back."""
        model, parts = self._normal_tasks
        tasks = [(model, self.loss, theta, *part) for part in parts]
        value = float(self.mapper.sum(_task_value, tasks)[0])
        return value if np.isfinite(value) else np.inf

    def dispersion(self, theta: FloatArray) -> float:
        """Mean of `Loss.dispersion`, by that of `Loss.sparsity`; infinite where it overflows."""
        model, parts = self._normal_tasks
        tasks = [(model, self.loss, theta, *part) for part in parts]
        dispersion, sparsity = map(float, self.mapper.sum(_task_dispersion, tasks))
        value = dispersion / sparsity if sparsity > 0 else np.inf
        return value if np.isfinite(value) else np.inf

    @property
    def telling_share(self) -> float:
        """Share of all values that tell of the noise, from zero to one."""
        return self.loss.telling_share(self.y, self.weight)

    @cached_property
    def _normal_tasks(self) -> tuple[Model, list[tuple[Array, ...]]]:
        """Model and tasks of the normal equations; small inputs are scaled once."""
        model, X = self.model.astype(self.normal_dtype), self.X
        # rows that are elsewhere already are scaled there
        if X.size <= _MOST_SCALED and not self.mapper.ships:
            X, model = model.input_map.scaled(X), model.without_scaling()
        model = model.with_block(_block_of_rows(model, self.loss))
        return model, self._cut(X, model)

    def subset(self, index: IntArray) -> Objective:
        """The objective of some of the rows."""
        weight = self.weight[index] * self.total_weight
        return Objective(
            self.model,
            self.loss,
            self.X[index],
            self.y[index],
            weight,
            self.alpha,
            self.mapper,
            self.train_controls,
        )

    @property
    def groups(self) -> IntArray:
        """Number of the prior group of each parameter, -1 for parameters without a prior."""
        model = self.model
        families = [label.split("[")[0] for label in model.fields.labels]
        names = families * model.n_intervals + model.readout.groups
        codes = {name: i for i, name in enumerate(dict.fromkeys(n for n in names if n))}
        return np.array([codes.get(name, -1) for name in names])

    def batch_value_and_grad(self, theta: FloatArray, index: IntArray) -> tuple[float, FloatArray]:
        """An unbiased estimate of both from the rows of a minibatch."""
        X, y = self.X[index], self.y[index]
        weight = self.weight[index] * (self.n_samples / len(index))
        tasks = [
            (self.model, self.loss, self.train_controls, theta, X[s], y[s], weight[s])
            for s in task_slices(len(X), self.model.n_block)
        ]
        return self._finish(theta, *self.mapper.sum(_task_value_and_grad, tasks))

    def newton_readout(self, theta: FloatArray) -> FloatArray:
        """Theta after one Newton step of a linear readout, in one pass over the rows."""
        return newton_readout(self, theta)

    def _penalty(self, theta: FloatArray) -> float:
        # the square root first: a huge number times the ridge is finite where its square is not
        scaled = self.root_ridge * theta
        with np.errstate(over="ignore"):
            return 0.5 * float(np.dot(scaled, scaled))

    def _finish(
        self, theta: FloatArray, value: float, grad: FloatArray
    ) -> tuple[float, FloatArray]:
        value = float(value) + self._penalty(theta)
        if not (np.isfinite(value) and np.isfinite(grad).all()):
            return np.inf, np.zeros_like(theta)
        grad += self.ridge * theta
        if not self.train_controls:
            # those of the penalty
            grad[: self.model.n_controls] = 0
        return value, grad


def _block_of_rows(model: Model, loss: Loss) -> int:
    """Samples in a block: many for many controls, with a bound on the Jacobian rows of all scores.

    Each block adds to the Gauss-Newton matrix. Where no cache holds that, blocks of few samples
    would read and write it for most of their time. Rows take a part of what the matrix takes.
    """
    sweeps = model.readout.n_outputs
    if loss.coupled:
        sweeps = min(sweeps, MOST_EXACT)
    sample = sweeps * model.n_controls * model.dtype.itemsize
    most = max(_ROW_BYTES, model.n_normal_entries * np.dtype(float).itemsize // _ROW_SHARE)
    return odd_block(min(max(model.n_block, model.n_controls), most // sample))


def _block_value(
    theta: Traced,
    model: Model,
    loss: Loss,
    X: Array,
    y: Array,
    weight: FloatArray,
    sweep: Sweep,
    train_controls: bool,
) -> Traced:
    """Sum of s_n l_n over one block: what autograd traces."""
    return weighted_loss(sweep_scores(theta, model, X, sweep, train_controls), loss, y, weight)


_block_value_and_grad = value_and_grad(_block_value)


def _task_value_and_grad(
    model: Model,
    loss: Loss,
    train_controls: bool,
    theta: FloatArray,
    X: Array,
    y: Array,
    weight: FloatArray,
) -> tuple[float, FloatArray]:
    """Sum of s_n l_n over the blocks of one task, and its gradient: one trace a block."""
    weight = np.ascontiguousarray(weight)

    def block(s: slice) -> tuple[float, FloatArray]:
        with model.sweep(s.stop - s.start) as sweep, tracing():
            value, grad = _block_value_and_grad(
                theta, model, loss, X[s], y[s], weight[s], sweep, train_controls
            )
        return float(value), grad

    return ordered_sum(block(s) for s in block_slices(len(X), model.n_block))


def _task_value(
    model: Model, loss: Loss, theta: FloatArray, X: Array, y: Array, weight: FloatArray
) -> tuple[float, ...]:
    """Sum of s_n l_n over the blocks of one task."""
    return _task_sums([loss.value], model, theta, X, y, weight)


def _task_dispersion(
    model: Model, loss: Loss, theta: FloatArray, X: Array, y: Array, weight: FloatArray
) -> tuple[float, ...]:
    """Sums of what the noise is estimated from, over the blocks of one task."""
    return _task_sums([loss.dispersion, loss.sparsity], model, theta, X, y, weight)


def _task_sums(
    functions: Sequence[Callable[[FloatArray, Array], FloatArray]],
    model: Model,
    theta: FloatArray,
    X: Array,
    y: Array,
    weight: FloatArray,
) -> tuple[float, ...]:
    """Sums of s_n f(scores_n, y_n) over the blocks of one task, one of each function."""
    weight = np.ascontiguousarray(weight)

    def of_block(s: slice) -> tuple[float, ...]:
        scores = model.block_scores(theta, X[s]).astype(float)
        return tuple(float(weight[s] @ function(scores, y[s])) for function in functions)

    return ordered_sum(of_block(s) for s in block_slices(len(X), model.n_block))
