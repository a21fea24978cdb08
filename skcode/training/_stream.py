"""Training by batches: one pass over the rows of a batch, and what is remembered for the next."""

from __future__ import annotations

from typing import Any

import numpy as np

from skcode.objective import Objective
from skcode.solvers import StochasticSolver
from skcode.training._member import Member, tame_start


def stream_epoch(
    member: Member,
    objective: Objective,
    solver: StochasticSolver[Any],
    rng: np.random.Generator,
) -> float:
    """One pass over the rows of an objective, in place; what is remembered outlives the call."""
    if member.stream is None:
        member.move(tame_start(objective, member.theta)[0])
    if member.stream is None or member.stream.solver != type(solver).__name__:
        member.stream = solver.start_stream(member.theta)
    theta, loss = solver.run_epoch(objective, member.theta, member.stream, rng)
    member.move(theta)
    member.n_iter += 1
    return loss
