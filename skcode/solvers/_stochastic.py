"""Stochastic gradient descent and Adam on minibatches."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from numbers import Integral, Real
from typing import Generic, TypeVar

import numpy as np

from skcode.solvers._back_off import MOST_ATTEMPTS, back_off, warn_of_explosion
from skcode.solvers._base import Monitor, Solver, SolverResult
from skcode.solvers._objectives import BatchObjective, ReadoutObjective, members_of
from skcode.utils._sklearn import Interval, StrOptions
from skcode.utils._typing import FloatArray, IntArray

#: attempts to step half the way back to where the last batch was finite; later ones shrink the
#: parameters, in case that place is no longer finite for this batch
_HALFWAY_ATTEMPTS = MOST_ATTEMPTS // 3
#: factor of the parameters in those later attempts
_SHRINKAGE = 1e-3
#: root mean square of the largest step that a rate times a gradient may ask for
_LONGEST_STEP = 1.0

SCHEDULES = ("constant", "invscaling", "adaptive", "cosine")


#: memory of a step rule
Memory = TypeVar("Memory")


@dataclass
class StreamState(Generic[Memory]):
    """What a stochastic solver remembers from one batch to the next.

    Parameters
    ----------
    memory : object
        Memory of the step rule, as `StochasticSolver.start` makes it.
    solver : str
        Name of the class of the solver whose memory it is.
    damping : float
        Factor of the rate; every step that is taken back halves it.
    n_steps : int
        Steps so far, which the schedule "invscaling" counts.
    last_finite : ndarray or None
        The last parameters at which a batch had a finite loss.

    Examples
    --------
    >>> from skcode.solvers import StreamState
    >>> StreamState(memory={}, solver="SignDescent").damping
    1.0
    """

    memory: Memory
    solver: str
    damping: float = 1.0
    n_steps: int = 0
    last_finite: FloatArray | None = None

    def copy(self) -> StreamState[Memory]:
        """A state that goes on without a change to this one."""
        return replace(self, memory=deepcopy(self.memory))


class StochasticSolver(Solver, Generic[Memory]):
    """Passes over shuffled minibatches; subclasses say how a gradient becomes a step.

    The rate of pass t is ``learning_rate_init`` ("constant"), divided by ``(1 + step)**power_t``
    ("invscaling"), divided by five whenever the loss stalls for `n_iter_no_change` passes
    ("adaptive"), or multiplied by (1 + cos(pi t / max_iter)) / 2 ("cosine", where t
    runs from step to step).

    With `start_readout`, `fit` begins with one pass in which a linear readout takes a Newton step:
    the least squares readout of the fields as they are drawn, in closed form.

    Gradients so steep that the rate would move the parameters by more than 1 (root mean square) are
    shortened. Steps into an exploding flow are taken back, half the way at a time, and halve the
    rate.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.solvers import StochasticSolver
    >>> class SignDescent(StochasticSolver):
    ...     learning_rate, learning_rate_init = "constant", 1e-3
    ...     power_t, batch_size, shuffle = 0.5, "auto", True
    ...     def start(self, theta):
    ...         return {}
    ...     def step(self, grad, rate, memory):
    ...         return -rate * np.sign(grad)
    >>> SignDescent().step(np.array([3.0, -4.0]), 0.1, {})
    array([-0.1,  0.1])
    """

    _parameter_constraints = {
        "learning_rate": [StrOptions(set(SCHEDULES))],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "power_t": [Interval(Real, 0, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "start_readout": ["boolean"],
    }
    needs = members_of(BatchObjective)
    default_max_iter = 200

    learning_rate: str
    learning_rate_init: float
    power_t: float
    batch_size: int | str
    shuffle: bool
    start_readout: bool = False

    @abstractmethod
    def start(self, theta: FloatArray) -> Memory:
        """Fresh memory of the step rule."""

    @abstractmethod
    def step(self, grad: FloatArray, rate: float, memory: Memory) -> FloatArray:
        """The update to add to theta; what is remembered is changed in place."""

    def start_stream(self, theta: FloatArray) -> StreamState[Memory]:
        """What is remembered before the first batch."""
        return StreamState(self.start(theta), type(self).__name__)

    def minimize(
        self,
        objective: BatchObjective,
        theta: FloatArray,
        *,
        max_iter: int,
        tol: float,
        n_iter_no_change: int,
        rng: np.random.Generator,
        monitor: Monitor,
    ) -> SolverResult:
        self.check_objective(objective)
        if self.start_readout:
            theta = self._readout_of(objective).newton_readout(theta)
        stream = self.start_stream(theta)
        damp, best, stalled = 1.0, np.inf, 0
        converged, message = self.learning_rate == "cosine", "max_iter reached"
        for epoch in range(max_iter):
            passed = (epoch / max_iter, 1 / max_iter)
            theta, loss = self.run_epoch(objective, theta, stream, rng, damp, passed)
            if monitor(theta, loss):
                converged, message = True, "stopped by the monitor"
                break
            stalled = 0 if loss < best - tol else stalled + 1
            best = min(best, loss)
            if stalled >= n_iter_no_change:
                if self.learning_rate != "adaptive" or damp * self.learning_rate_init < 1e-6:
                    converged, message = True, "the loss stalled"
                    break
                damp, stalled = damp / 5, 0
        # no batch has seen where the last step leads
        theta = self._retreat(lambda theta: (objective.value(theta), theta), theta, stream)[0]
        return SolverResult(theta, epoch + 1, converged, message)

    def _readout_of(self, objective: BatchObjective) -> ReadoutObjective:
        """The objective, which has to have a closed form for its readout."""
        if not isinstance(objective, ReadoutObjective):
            raise TypeError(
                f"{type(self).__name__}(start_readout=True) needs ['newton_readout'] of the "
                f"objective; {type(objective).__name__} does not have it."
            )
        return objective

    def run_epoch(
        self,
        objective: BatchObjective,
        theta: FloatArray,
        stream: StreamState[Memory],
        rng: np.random.Generator,
        damp: float = 1.0,
        passed: tuple[float, float] = (0.0, 0.0),
    ) -> tuple[FloatArray, float]:
        """One pass over the data: new parameters and the mean loss on the way.

        `passed` is the share of the training before this pass, and that of the pass itself.
        """
        total, seen = 0.0, 0
        for index in self._batches(objective.n_samples, rng):
            evaluate = partial(objective.batch_value_and_grad, index=index)
            theta, (loss, grad) = self._retreat(evaluate, theta, stream)
            total += loss * len(index)
            stream.last_finite = theta
            rate = self.learning_rate_init * damp * stream.damping
            if self.learning_rate == "cosine":
                share = passed[0] + passed[1] * seen / objective.n_samples
                rate *= 0.5 * (1 + np.cos(np.pi * share))
            if self.learning_rate == "invscaling":
                stream.n_steps += 1
                rate /= stream.n_steps**self.power_t
            theta = theta + self.step(_shortened(grad, rate), rate, stream.memory)
            seen += len(index)
        return theta, total / objective.n_samples

    def _retreat(
        self,
        evaluate: Callable[[FloatArray], tuple[float, FloatArray]],
        theta: FloatArray,
        stream: StreamState[Memory],
    ) -> tuple[FloatArray, tuple[float, FloatArray]]:
        """Parameters where the loss is finite, as they are or stepped back to, and their values."""

        def shorten(theta: FloatArray, attempt: int) -> FloatArray:
            if stream.damping == 1:
                warn_of_explosion("steps are taken back, and learning_rate_init is lowered")
            safe = stream.last_finite
            if not np.isfinite(theta).all():
                theta = np.zeros_like(theta) if safe is None else safe
            if safe is not None and attempt < _HALFWAY_ATTEMPTS:
                theta = 0.5 * (theta + safe)
            else:
                theta = _SHRINKAGE * theta
            stream.memory = self.start(theta)
            stream.damping *= 0.5
            return theta

        failure = (
            "The flow explodes, or its gradient overflows, wherever the solver steps back to. "
            "Scale X (scaling='robust') or use bounded vector fields (vector_fields='neural')."
        )
        theta, values, _ = back_off(theta, evaluate, lambda values: values[0], shorten, failure)
        return theta, values

    def _batches(self, n: int, rng: np.random.Generator) -> Iterator[IntArray]:
        size = min(200, n) if self.batch_size == "auto" else min(int(self.batch_size), n)
        order = rng.permutation(n) if self.shuffle else np.arange(n)
        for start in range(0, n, size):
            # sorted within the batch: memory-mapped rows are read in order
            yield np.sort(order[start : start + size])


def _shortened(grad: FloatArray, rate: float) -> FloatArray:
    """The gradient, of a length at which rate times gradient stays within the longest step."""
    steepest = float(np.abs(grad).max(initial=0.0))
    if rate * steepest <= _LONGEST_STEP:
        return grad
    # squares of what is divided by its largest entry cannot overflow
    shape = grad / steepest
    length = float(np.sqrt(np.mean(shape**2)))
    return shape * min(steepest, _LONGEST_STEP / (rate * length))


@dataclass
class Velocity:
    """Memory of gradient descent with momentum.

    Parameters
    ----------
    velocity : ndarray
        The last step, before the momentum looked ahead.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.solvers import SGD
    >>> SGD().start(np.zeros(2))
    Velocity(velocity=array([0., 0.]))
    """

    velocity: FloatArray


class SGD(StochasticSolver[Velocity]):
    """Stochastic gradient descent with (Nesterov) momentum.

    Parameters
    ----------
    learning_rate : {"constant", "invscaling", "adaptive", "cosine"}
        Schedule of the rate.
    learning_rate_init : float
        First rate.
    power_t : float
        Exponent of "invscaling".
    momentum : float
        Share of the last step that is kept, in [0, 1).
    nesterov : bool
        Whether the momentum looks ahead.
    batch_size : int or "auto"
        Samples in a minibatch; "auto" is ``min(200, n_samples)``.
    shuffle : bool
        Whether the rows are shuffled before each pass.
    start_readout : bool
        Whether `fit` starts with a Newton step of the linear readout, one more pass.

    References
    ----------
    .. [1] I. Sutskever, J. Martens, G. Dahl, G. Hinton, "On the importance of initialization and
       momentum in deep learning", ICML 2013.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skcode import ControlledODEClassifier
    >>> from skcode.solvers import SGD
    >>> solver = SGD(learning_rate="cosine", learning_rate_init=0.1)
    >>> model = ControlledODEClassifier(solver=solver, n_members=1, tol=1e-3, random_state=0)
    >>> bool(model.fit(*load_iris(return_X_y=True)).n_iter_ > 1)
    True
    """

    _parameter_constraints = {
        **StochasticSolver._parameter_constraints,
        "momentum": [Interval(Real, 0, 1, closed="left")],
        "nesterov": ["boolean"],
    }

    def __init__(
        self,
        learning_rate: str = "constant",
        learning_rate_init: float = 0.01,
        power_t: float = 0.5,
        momentum: float = 0.9,
        nesterov: bool = True,
        batch_size: int | str = "auto",
        shuffle: bool = True,
        start_readout: bool = False,
    ):
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.momentum = momentum
        self.nesterov = nesterov
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.start_readout = start_readout

    def start(self, theta: FloatArray) -> Velocity:
        return Velocity(np.zeros_like(theta))

    def step(self, grad: FloatArray, rate: float, memory: Velocity) -> FloatArray:
        velocity: FloatArray = self.momentum * memory.velocity - rate * grad
        memory.velocity = velocity
        return self.momentum * velocity - rate * grad if self.nesterov else velocity


@dataclass
class Moments:
    """Memory of Adam.

    Parameters
    ----------
    first : ndarray
        Decayed mean of the gradients.
    second : ndarray
        Decayed mean of their squares.
    count : int
        Number of gradients so far.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.solvers import Adam
    >>> Adam().start(np.zeros(2)).count
    0
    """

    first: FloatArray
    second: FloatArray
    count: int = 0


class Adam(StochasticSolver[Moments]):
    """Adam: steps in units of running means of the gradient and of its square.

    The method and its names are those of [1]_.

    Parameters
    ----------
    learning_rate : {"constant", "invscaling", "adaptive", "cosine"}
        Schedule of the rate.
    learning_rate_init : float
        First rate.
    power_t : float
        Exponent of "invscaling".
    beta_1, beta_2 : float
        Decay of the first and second moments, in [0, 1).
    epsilon : float
        Added to the root of the second moment.
    batch_size : int or "auto"
        Samples in a minibatch; "auto" is ``min(200, n_samples)``.
    shuffle : bool
        Whether the rows are shuffled before each pass.
    start_readout : bool
        Whether `fit` starts with a Newton step of the linear readout, one more pass.

    References
    ----------
    .. [1] D. P. Kingma, J. Ba, "Adam: a method for stochastic optimization", ICLR 2015.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skcode import ControlledODEClassifier
    >>> from skcode.solvers import Adam
    >>> solver = Adam(learning_rate_init=0.02, batch_size=50)
    >>> model = ControlledODEClassifier(solver=solver, n_members=1, tol=1e-3, random_state=0)
    >>> bool(model.fit(*load_iris(return_X_y=True)).n_iter_ > 1)
    True
    """

    _parameter_constraints = {
        **StochasticSolver._parameter_constraints,
        "beta_1": [Interval(Real, 0, 1, closed="left")],
        "beta_2": [Interval(Real, 0, 1, closed="left")],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
    }

    def __init__(
        self,
        learning_rate: str = "constant",
        learning_rate_init: float = 0.01,
        power_t: float = 0.5,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        batch_size: int | str = "auto",
        shuffle: bool = True,
        start_readout: bool = False,
    ):
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.start_readout = start_readout

    def start(self, theta: FloatArray) -> Moments:
        return Moments(np.zeros_like(theta), np.zeros_like(theta))

    def step(self, grad: FloatArray, rate: float, memory: Moments) -> FloatArray:
        memory.count += 1
        memory.first = self.beta_1 * memory.first + (1 - self.beta_1) * grad
        memory.second = self.beta_2 * memory.second + (1 - self.beta_2) * grad**2
        first = memory.first / (1 - self.beta_1**memory.count)
        second = memory.second / (1 - self.beta_2**memory.count)
        update: FloatArray = -rate * first / (np.sqrt(second) + self.epsilon)
        return update
