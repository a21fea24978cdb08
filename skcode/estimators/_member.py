"""One trained model: drawing it, training it, and what is kept of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from skcode.estimators._callbacks import MemberTask
from skcode.estimators._monitor import TrainingMonitor, Validation
from skcode.estimators._tasks import Task
from skcode.losses import Loss
from skcode.objective import Model, Objective
from skcode.solvers import Solver
from skcode.solvers._base import warn_of_explosion
from skcode.utils._blocks import OrderedMap
from skcode.utils._typing import Array, FloatArray

#: factor on the objective of the start beyond which a training is worse than none
_DIVERGED = 2.0


class Data(NamedTuple):
    """Rows ready for an objective: inputs, targets as the loss wants them, weights."""

    X: Array
    y: Array
    weight: FloatArray


@dataclass
class Member:
    """A model, its parameters, and how they were reached."""

    model: Model
    theta: FloatArray
    monitor: TrainingMonitor
    n_iter: int = 0
    posterior: Any = None
    #: memory of a stochastic solver between two calls of partial_fit
    memory: dict[str, Any] | None = None

    def copy(self) -> Member:
        """A member that is trained further without a change to this one."""
        memory = None if self.memory is None else dict(self.memory)
        return replace(self, monitor=self.monitor.copy(), memory=memory)


def initial_theta(model: Model, loss: Loss, data: Data, rng: np.random.Generator) -> FloatArray:
    """Independent normal controls, scaled by family, and the best constant prediction."""
    shape = (model.n_intervals, model.fields.n_fields)
    controls = (rng.standard_normal(shape) * model.fields.start_scale).ravel()
    constant = loss.initial_scores(data.y, data.weight, model.readout.n_outputs)
    return np.concatenate([controls, model.readout.initial(constant)])


def tame_start(objective: Objective, theta: FloatArray) -> tuple[FloatArray, float]:
    """Halve the controls until the flow of the data is finite; at zero it is the identity.

    Returned are the parameters and the objective there.
    """
    theta = theta.copy()
    for halved in range(60):
        value = objective.value(theta)
        if np.isfinite(value):
            if halved:
                warn_of_explosion(f"the controls were divided by {2.0**halved:.3g}")
            return theta, value
        theta[: objective.model.n_controls] /= 2
    raise ValueError(
        "The flow of the training data explodes even for tiny controls, or the loss overflows. "
        "Scale X and y (scaling='standard'), lower the degree or the scale of the vector fields, "
        "or use bounded ones (vector_fields='neural')."
    )


class Outcome(NamedTuple):
    """What became of a training: whether more members are to follow, and what to warn of."""

    completed: bool
    n_iter: int
    solver: Solver
    warnings: list[tuple[str, type[Warning]]]


def interrupted(n_iter: int) -> tuple[str, type[Warning]]:
    """The warning that tells the caller of `fit` what an interrupt leaves."""
    message = f"Training interrupted after {n_iter} iterations; the model keeps what was reached."
    return message, UserWarning


def train(
    member: Member,
    objective: Objective,
    solver: Solver,
    *,
    max_iter: int | None,
    tol: float,
    n_iter_no_change: int,
    rng: np.random.Generator,
    told: MemberTask,
    stopped: Callable[[], bool],
) -> Outcome:
    """Train a member in place.

    It is not completed after an interrupt, which keeps what was reached, or if a callback wants no
    more members, or where `stopped` became true.
    """
    max_iter = solver.default_max_iter if max_iter is None else max_iter
    monitor = member.monitor
    monitor.told = lambda: told.iterated() or stopped()
    monitor.start(max_iter)

    def keep_what_was_reached() -> None:
        last = member.theta if monitor.theta is None else monitor.theta
        member.theta, member.n_iter = monitor.chosen(last), max(len(monitor.losses), 1)
        member.posterior = None

    try:
        member.theta, first = tame_start(objective, member.theta)
        told.begin(solver.most_iterations(objective, max_iter))
        result = solver.minimize(
            objective,
            member.theta,
            max_iter=max_iter,
            tol=tol,
            n_iter_no_change=n_iter_no_change,
            rng=rng,
            monitor=monitor,
        )
        if stopped():
            keep_what_was_reached()
            return Outcome(False, len(monitor.losses), solver, [])
        if not monitor.losses:
            # the start was the optimum
            monitor(result.theta, objective.value(result.theta))
    except KeyboardInterrupt:
        keep_what_was_reached()
        n_iter = len(monitor.losses)
        return Outcome(False, n_iter, solver, [interrupted(n_iter)])
    finally:
        # neither the validation part nor the callbacks are kept with the model
        monitor.validate = monitor.told = None
    member.theta, member.n_iter = monitor.chosen(result.theta), max(result.n_iter, 1)
    # an iterate that the validation part chose has no posterior; only regression asks for one
    kept = objective.loss.has_noise and member.theta is result.theta
    member.posterior = result.posterior if kept else None
    warned: list[tuple[str, type[Warning]]] = []
    # what a solver told of the objective may be a mean over a pass
    bound = _DIVERGED * first + tol
    if monitor.losses[-1] > bound and (now := objective.value(member.theta)) > bound:
        message = (
            f"{type(solver).__name__} diverged: the objective is {now:.3g}, and was {first:.3g} "
            "at the start. Lower the rate of the solver or alpha, scale X (scaling='robust'), or "
            "use bounded vector fields (vector_fields='neural')."
        )
        warned.append((message, ConvergenceWarning))
    elif not result.converged:
        message = (
            f"{type(solver).__name__} with max_iter={max_iter} did not converge "
            f"({result.message}): raise max_iter, or tol."
        )
        warned.append((message, ConvergenceWarning))
    try:
        completed = not told.end()
    except KeyboardInterrupt:
        completed = False
        warned.append(interrupted(len(monitor.losses)))
    return Outcome(completed, len(monitor.losses), solver, warned)


def moved(members: list[Member]) -> list[Member]:
    """The members to keep of an ensemble whose training was not completed.

    One without an iteration would only dilute the others.
    """
    return [member for member in members if member.monitor.losses] or members[:1]


def validator(
    model: Model, task: Task, validation: Data | None, mapper: OrderedMap
) -> Callable[[FloatArray], Validation] | None:
    """Loss and score on a validation part, as a function of the parameters."""
    if validation is None:
        return None
    X, y, weight = validation

    def validate(theta: FloatArray) -> Validation:
        scores = model.scores(theta, X, mapper)
        if not np.isfinite(scores).all():
            return Validation(np.inf, np.nan)
        loss = float(np.average(task.loss.value(scores, y), weights=weight))
        return Validation(loss, task.score(scores, y, weight))

    return validate


def mean_of(values: FloatArray) -> FloatArray:
    """Mean (n, K) of what the members predict, (E, n, K)."""
    mean: FloatArray = values[0] if len(values) == 1 else np.add.reduce(values) / len(values)
    return mean


def snapshot(members: list[Member], task: Task) -> dict[str, Any]:
    """Attributes of an estimator whose fit stops now, with the last member in training or after."""
    *trained, last = members
    monitor = last.monitor
    if monitor.told is not None:
        theta = last.theta if monitor.theta is None else monitor.chosen(monitor.theta)
        n_iter = len(monitor.losses)
        last = replace(last, theta=theta, monitor=monitor.copy(), n_iter=n_iter, posterior=None)
    return {"_task": task, "_members": [*trained, last], **published([*trained, last])}


def published(members: list[Member]) -> dict[str, Any]:
    """Fitted attributes by name; with several members, arrays gain a leading axis."""
    columns: dict[str, list[Any]] = {}
    for member in members:
        model, monitor = member.model, member.monitor
        controls, parameters = model.split(member.theta)
        scores = monitor.validation_scores
        attributes = {
            "controls_": controls.astype(model.dtype),
            **model.readout.attributes(parameters.astype(model.dtype)),
            "vector_fields_": model.fields,
            "loss_curve_": list(monitor.losses),
            "loss_": monitor.losses[-1] if monitor.losses else np.nan,
            "validation_loss_curve_": list(monitor.validation_losses) or None,
            "validation_scores_": list(scores) or None,
            # a score that is not defined is NaN, which fmax passes over
            "best_validation_score_": float(np.fmax.reduce(scores)) if scores else None,
        }
        for name, value in attributes.items():
            columns.setdefault(name, []).append(value)
    several = len(members) > 1
    result = {
        name: (np.stack(values) if isinstance(values[0], np.ndarray) else values)
        if several
        else values[0]
        for name, values in columns.items()
    }
    result["n_parameters_"] = sum(member.model.n_parameters for member in members)
    # drawing alone counts as one iteration
    result["n_iter_"] = max(1, *(member.n_iter for member in members))
    return result
