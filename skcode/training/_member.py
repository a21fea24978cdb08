"""A member in training, its course, and what is published of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from skcode.model import Ensemble, FittedMember, Model, Posterior, Target
from skcode.objective import Objective
from skcode.readouts import LinearReadout
from skcode.solvers import Solver, StreamState, halve_controls
from skcode.training._callbacks import MemberReport
from skcode.training._monitor import TrainingMonitor
from skcode.utils._typing import FloatArray

#: factor on the objective of the start beyond which a training is worse than none
_DIVERGED = 2.0


@dataclass
class Member:
    """A fitted member, and how it was reached: what a training that goes on starts from.

    Parameters
    ----------
    fitted : FittedMember
        Model and parameters.
    monitor : TrainingMonitor
        Curves of the training.
    n_iter : int
        Iterations of the last training.
    stream : StreamState or None
        What a stochastic solver remembers between two calls of partial_fit.
    projection : ndarray of shape (K,) or None
        Direction of the outputs that the flow is trained on, where a head predicts all of them.
    share : float or None
        Of a pooled member, the factor on its scores, which are added to those of the others.
    predicts : bool
        Whether it predicts with the others; one that errs far more than the best does not.
    at_rest : bool
        Whether it is a regression on the inputs alone, which each fit makes anew.
    """

    fitted: FittedMember
    monitor: TrainingMonitor
    n_iter: int = 0
    stream: StreamState[Any] | None = None
    projection: FloatArray | None = None
    share: float | None = None
    predicts: bool = True
    at_rest: bool = False

    @property
    def model(self) -> Model:
        return self.fitted.model

    @property
    def theta(self) -> FloatArray:
        return self.fitted.theta

    def move(self, theta: FloatArray, posterior: Posterior | None = None) -> None:
        """Put other parameters in place."""
        self.fitted = FittedMember(self.model, theta, posterior)

    def copy(self) -> Member:
        """A member that is trained further without a change to this one."""
        stream = None if self.stream is None else self.stream.copy()
        return replace(self, monitor=self.monitor.copy(), stream=stream)


class Outcome(NamedTuple):
    """What became of a training: whether more members are to follow, and what to warn of.

    An interrupt is told when the model is in place, which is what its message says.
    """

    completed: bool
    n_iter: int
    solver: Solver
    warnings: list[tuple[str, type[Warning]]]
    interrupt: str = ""


def interrupted(n_iter: int) -> str:
    """What tells the caller of `fit` what an interrupt leaves."""
    return (
        f"Training was interrupted after {n_iter} iterations. The estimator is fitted with what "
        "was reached, and predicts."
    )


def tame_start(objective: Objective, theta: FloatArray) -> tuple[FloatArray, float]:
    """Parameters at which the flow of the data is finite, and the objective there."""
    return halve_controls(
        theta,
        objective.n_controls,
        objective.value,
        float,
        "The flow of the training data explodes even for tiny controls, or the loss overflows. "
        "Scale X and y (scaling='standard'), lower the degree or the scale of the vector fields, "
        "or use bounded ones (vector_fields='neural').",
    )


def train(
    member: Member,
    objective: Objective,
    solver: Solver,
    *,
    max_iter: int | None,
    tol: float,
    n_iter_no_change: int,
    rng: np.random.Generator,
    report: MemberReport,
    stopped: Callable[[], bool],
) -> Outcome:
    """Train a member in place.

    It is not completed after an interrupt, which keeps what was reached, or if a callback wants no
    more members, or where `stopped` became true.
    """
    # a number that nobody named may be a rule of the solver
    may_end = max_iter is None and solver.ends_by_default(objective.alpha)
    if max_iter is None:
        max_iter = solver.default_iterations(objective.alpha)
    monitor = member.monitor
    monitor.should_stop = lambda: report.iterated() or stopped()
    monitor.start(max_iter)

    def keep_what_was_reached() -> None:
        last = member.theta if monitor.theta is None else monitor.theta
        member.move(monitor.chosen(last))
        member.n_iter = max(len(monitor.losses), 1)

    try:
        theta, first = tame_start(objective, member.theta)
        member.move(theta)
        report.begin(solver.most_iterations(objective, max_iter))
        result = solver.minimize(
            objective,
            theta,
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
        return Outcome(False, n_iter, solver, [], interrupted(n_iter))
    finally:
        # neither the validation part nor the callbacks are kept with the model
        monitor.validate = monitor.should_stop = None
    theta = monitor.chosen(result.theta)
    # an iterate that the validation part chose has no posterior; deviations of the squared error
    # and the calibration of quantiles ask for one
    asked = objective.loss.quadratic or objective.loss.level is not None
    has_posterior = asked and theta is result.theta
    member.move(theta, result.posterior if has_posterior else None)
    member.n_iter = max(result.n_iter, 1)
    warned: list[tuple[str, type[Warning]]] = []
    # the last loss that a solver reports may be a mean over a pass
    bound = _DIVERGED * first + tol
    if monitor.losses[-1] > bound and (now := objective.value(theta)) > bound:
        message = (
            f"{type(solver).__name__} diverged: the objective is {now:.3g}, and was {first:.3g} "
            "at the start. Lower the rate of the solver or alpha, scale X (scaling='robust'), or "
            "use bounded vector fields (vector_fields='neural')."
        )
        warned.append((message, ConvergenceWarning))
    elif not (result.converged or may_end):
        message = (
            f"{type(solver).__name__} with max_iter={max_iter} did not converge "
            f"({result.message}): raise max_iter, or tol."
        )
        warned.append((message, ConvergenceWarning))
    interrupt = ""
    try:
        completed = not report.end()
    except KeyboardInterrupt:
        completed, interrupt = False, interrupted(len(monitor.losses))
    return Outcome(completed, len(monitor.losses), solver, warned, interrupt)


def with_linear_readouts(members: Sequence[Member], constant: FloatArray) -> list[Member]:
    """Members of a Gaussian process as those of a stream, which learn from batch after batch.

    The flows go on, and linear readouts begin at the constant (K,). All members of a stream have
    one map of the inputs: pooled ones of the other kind are left out.
    """
    is_plain = members[0].model.input_map.is_plain
    return [
        _with_linear_readout(member, constant)
        for member in members
        if member.model.input_map.is_plain == is_plain
    ]


def _with_linear_readout(member: Member, constant: FloatArray) -> Member:
    """A member whose flow goes on with a linear readout at its start, in place of a head."""
    model = member.model
    n_inputs, observation = model.input_map.n_coordinates, model.fields.observation
    readout = LinearReadout(model.fields.n_states, len(constant), n_inputs, observation)
    theta = np.concatenate([member.fitted.controls.ravel(), readout.initial(constant)])
    fitted = FittedMember(replace(model, readout=readout), theta)
    return replace(member, fitted=fitted, stream=None, projection=None, share=None, predicts=True)


def trained_members(members: list[Member]) -> list[Member]:
    """The members to keep of an ensemble whose training was not completed.

    One without an iteration would only dilute the others.
    """
    return [member for member in members if member.monitor.losses] or members[:1]


def helpful_members(members: list[Member]) -> list[Member]:
    """Members without those that are pooled with a share of nothing."""
    return [member for member in members if member.share != 0]


# -- what is published -----------------------------------------------------------------------------


def fitted_state(members: Sequence[Member], target: Target | None) -> dict[str, Any]:
    """Attributes of an estimator: what predicts, what training goes on from, what is published."""
    return {
        "ensemble_": ensemble_of(members, target),
        "_members": list(members),
        **fitted_attributes(members),
    }


def ensemble_of(members: Sequence[Member], target: Target | None) -> Ensemble:
    """What predicts: members that do, and beside them those that are pooled."""
    alone, pooled = parted([member for member in members if member.predicts])
    return Ensemble(
        tuple(member.fitted for member in alone),
        target,
        tuple(member.fitted.scaled(member.share) for member in pooled if member.share),
    )


def parted(members: Sequence[Member]) -> tuple[list[Member], list[Member]]:
    """Members that predict by themselves, and those whose scores are added to theirs."""
    alone = [member for member in members if member.share is None]
    return alone, [member for member in members if member.share is not None]


def snapshot(members: Sequence[Member], target: Target) -> dict[str, Any]:
    """Attributes of an estimator whose fit stops now."""
    return fitted_state(as_reached(members), target)


def as_reached(members: Sequence[Member]) -> list[Member]:
    """Members as they stand; the last one is in training, or is trained."""
    *trained, last = members
    monitor = last.monitor
    if monitor.should_stop is not None:
        theta = last.theta if monitor.theta is None else monitor.chosen(monitor.theta)
        fitted = FittedMember(last.model, theta)
        last = replace(last, fitted=fitted, monitor=monitor.copy(), n_iter=len(monitor.losses))
    return [*trained, last]


def fitted_attributes(members: Sequence[Member]) -> dict[str, Any]:
    """Public attributes by name; with several members that predict, arrays gain a leading axis."""
    columns: dict[str, list[Any]] = {}
    every = [member for member in members if member.predicts]
    members, _ = parted(every)
    for member in members:
        monitor = member.monitor
        scores = monitor.validation_scores
        attributes = {
            **member.fitted.attributes(),
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
    result["n_parameters_"] = sum(member.fitted.n_parameters for member in every)
    # drawing alone counts as one iteration
    result["n_iter_"] = max(1, *(member.n_iter for member in members))
    return result
