"""A fit from its start to members that predict: flows are trained, then readouts are finished."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from skcode.gaussian_process import GaussianProcessReadout
from skcode.solvers import Solver
from skcode.training._callbacks import FitReport
from skcode.training._flow_targets import FlowTargets
from skcode.training._heads import fit_heads, fit_provisional_heads
from skcode.training._member import Member, Outcome, helpful_members, parted, trained_members
from skcode.training._pool import kinds_of
from skcode.training._quantiles import calibrate_quantiles
from skcode.training._rows import Rows
from skcode.training._training import Training
from skcode.utils._blocks import OrderedMap
from skcode.utils._random import as_generator

_INTERRUPTED_READOUT = (
    "Training was interrupted while the readout was fitted. The estimator predicts, with a readout "
    "that knows only some of the rows."
)


class Start(NamedTuple):
    """Where a fit begins."""

    #: new ones, or copies of those of the last fit
    members: list[Member]
    #: whether they are those of the last fit
    goes_on: bool = False
    #: whether steps through the evidence may gain anything
    steps: bool = True
    #: message of an interrupt that came before the training; empty without one
    interrupt: str = ""


class End(NamedTuple):
    """What a fit leaves."""

    members: list[Member]
    solver: Solver
    #: message of an interrupt, which is passed on once the model is in place; empty without one
    interrupt: str = ""


def fit_members(
    start: Start,
    readout: str | GaussianProcessReadout,
    training: Training,
    rows: Rows,
    validation: Rows | None,
    random_state: np.random.RandomState,
    report: FitReport,
    mapper: OrderedMap,
) -> End:
    """Train the flows, in place, and finish the readouts.

    An interrupt keeps what was reached: of new members those that were trained at all, and of a
    Gaussian process that was not fitted yet one that knows some of the rows. It is for `fit` to
    call this, at the line of which the user is warned.
    """
    if isinstance(readout, GaussianProcessReadout):
        flow_targets = _learn_flow_targets(start.members, training, rows)
        training = replace(training, flow_targets=flow_targets)
    outcome = _train(start, training, rows, validation, random_state, report, mapper)
    members, interrupt = start.members, outcome.interrupt
    joined: list[Member] = []
    if not (start.goes_on or outcome.completed):
        members = trained_members(parted(members)[0])
    if isinstance(readout, GaussianProcessReadout):
        assert training.flow_targets is not None
        of_flows, rng = training.flow_targets, as_generator(random_state)
        try:
            more = fit_heads(members, rows, of_flows, readout, rng, mapper, steps=start.steps)
            joined = [] if more is None else [more]
        except KeyboardInterrupt:
            fit_provisional_heads(members, rows, of_flows)
            interrupt = _INTERRUPTED_READOUT
        members = helpful_members(members) + joined
    elif outcome.completed:
        calibrate_quantiles(members, training.target, rows, mapper)
    return End(members, outcome.solver, interrupt)


def _learn_flow_targets(members: Sequence[Member], training: Training, rows: Rows) -> FlowTargets:
    """What the flows of these members are trained on, if they are to get heads."""
    alone, pooled = parted(members)
    n_kinds = max(len(kinds_of(pooled)), 1)
    return FlowTargets.learn(
        training.target, rows, len(alone), training.train_controls, len(pooled), n_kinds
    )


def _train(
    start: Start,
    training: Training,
    rows: Rows,
    validation: Rows | None,
    random_state: np.random.RandomState,
    report: FitReport,
    mapper: OrderedMap,
) -> Outcome:
    """Train the members in place, and warn of what went wrong; the outcome of the last one.

    It has the message of an interrupt of any of them.
    """
    if start.interrupt:
        n_entries = start.members[0].model.n_normal_entries
        solver = training.choose_solver(n_entries, len(rows.X))
        return Outcome(False, 0, solver, [], start.interrupt)
    interrupt = ""
    for outcome in training.run(start.members, rows, validation, random_state, report, mapper):
        for message, category in outcome.warnings:
            # the line of the user, above this function, `fit_members`, `fit` and its decorator
            warnings.warn(message, category, stacklevel=5)
        interrupt = interrupt or outcome.interrupt
    return outcome._replace(interrupt=interrupt)
