"""Batches: partial_fit of the classifier and of the regressor."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_random_state

from skcode.estimators._base import ControlledODEBase
from skcode.estimators._choices import choose_solver
from skcode.estimators._drawn import check_unchanged
from skcode.estimators._member import Member, tame_start
from skcode.estimators._state import unchanged_by_failure
from skcode.estimators._tasks import Task
from skcode.objective import Objective
from skcode.solvers import SOLVERS, Adam, Solver, StochasticSolver
from skcode.utils._blocks import OrderedMap
from skcode.utils._random import as_generator


def streams(estimator: Any) -> bool:
    """Whether partial_fit exists: for a stochastic or automatic solver, without early stopping."""
    solver = estimator.solver
    kind = type(solver) if isinstance(solver, Solver) else SOLVERS.get(solver, Adam)
    if not issubclass(kind, StochasticSolver):
        raise AttributeError(
            f"partial_fit needs a stochastic solver ('sgd', 'adam') or 'auto'; solver={solver!r}."
        )
    if estimator.early_stopping:
        raise AttributeError("partial_fit does not support early_stopping=True.")
    return True


def stream_epoch(
    member: Member, objective: Objective, solver: StochasticSolver, rng: np.random.Generator
) -> float:
    """One pass over the rows of an objective, in place; the memory outlives the call."""
    kind = type(solver).__name__
    if member.memory is None:
        member.theta, _ = tame_start(objective, member.theta)
    if member.memory is None or member.memory["kind"] != kind:
        member.memory = {**solver.start(member.theta), "kind": kind}
    member.theta, loss = solver.run_epoch(objective, member.theta, member.memory, rng)
    member.n_iter += 1
    member.posterior = None
    return loss


class StreamingBase(ControlledODEBase):
    """Base of the estimators that learn from batches; not for direct use."""

    def _partial_fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None, task: Task | None = None
    ) -> None:
        """One pass of the stochastic solver over these rows."""
        fresh = not hasattr(self, "_members")
        if not fresh:
            check_unchanged(self)
        known = task if fresh else self._task
        solver = Adam() if self.solver == "auto" else choose_solver(self.solver, 0, 0)
        solver._validate_params()
        with unchanged_by_failure(self), OrderedMap(self.n_jobs) as mapper:
            data, task = self._prepare(X, y, sample_weight, known, reset=fresh)
            stream = getattr(self, "_stream", None) or check_random_state(self.random_state)
            if fresh:
                members = self._draw_members(data, task, stream)
            else:
                members = [member.copy() for member in self._members]
            for k, member in enumerate(members):
                objective = self._objective(member.model, task, data, mapper)
                loss = stream_epoch(member, objective, solver, as_generator(stream))
                member.monitor.verbose, member.monitor.name = self.verbose, self._label(k)
                member.monitor(member.theta, loss)
        self._adopt(task, members, solver, stream)
