"""Whether the state shall carry the inputs or their ramps: both are tried.

Ramps suit laws with steps and bends, and lose where a law is smooth. No statistic of the inputs
tells which, nor do flows that are trained in another way than those of the fit. So one member of
each kind is trained on some thousand rows, with half of the steps through the evidence, and
predicts rows that its process leaves out. What is left of their targets says as well whether single
values of a column have effects.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from skcode.columns import ColumnEncoder
from skcode.gaussian_process import (
    GaussianProcessReadout,
    Hyperparameters,
    fit_exact,
    significant_gain,
)
from skcode.inputs import InputMap
from skcode.model import ClassificationTarget
from skcode.training._ascent import LEAST_GAIN, ascend_member, steps_for
from skcode.training._callbacks import FitReport
from skcode.training._draw import Design, draw_for_heads, own_source
from skcode.training._effects import Baseline, FoundEffects, find_effects, losses_of
from skcode.training._flow_targets import FlowTargets, Observed
from skcode.training._hyperparameters import (
    centred_states,
    hyperparameters_of,
    may_be_smooth,
    search_evidence,
    some_rows,
)
from skcode.training._member import Member, interrupted
from skcode.training._rows import Rows
from skcode.training._training import Training
from skcode.utils._blocks import OrderedMap
from skcode.utils._typing import Array, FloatArray, IntArray

#: distinct rows from which there is a trial
LEAST_TRIAL_ROWS = 200
#: rows that a trial takes at most
_MOST_ROWS = 4096
#: rows of those that are left out at most, each predicted by the others
_MOST_LEFT_OUT = 1500
#: most steps through the evidence: twenty and sixty decide alike on nearly all tables
_MOST_STEPS = 30
#: standard errors by which ramps must be better for numbers
_ERRORS = 0.0
#: and for classes: their flows learn some rows by heart, and the more so the more coordinates they
#: have
_ERRORS_OF_CLASSES = 1.0


class InputChoice(NamedTuple):
    """What members carry, and what a trial said of it."""

    #: whether members are on ramps; pooled ones have each kind, the one that lost included
    ramps: bool = False
    #: whether steps through the evidence may gain anything; they may unless a trial says no
    steps: bool = True
    #: effects of single values, which are inputs as well
    effects: FoundEffects | None = None
    #: message of an interrupt of the trial; empty without one
    interrupt: str = ""


class _Comparison(NamedTuple):
    """What a trial says."""

    #: whether ramps help
    ramps: bool
    #: whether steps through the evidence gained anything for either kind
    steps: bool
    #: the better of both, and what it leaves of left-out rows
    baseline: Baseline


class _Tried(NamedTuple):
    """One kind."""

    #: of the predictions of left-out rows (q,)
    losses: FloatArray
    #: whether the steps gained anything
    steps: bool
    hyperparameters: Hyperparameters
    #: outputs less predictions (q, K)
    residuals: FloatArray


def try_inputs(
    plain: InputMap,
    ramped: InputMap,
    rows: Rows,
    table: tuple[Array, ColumnEncoder] | None,
    design: Design,
    training: Training,
    readout: GaussianProcessReadout,
    random_state: np.random.RandomState,
    mapper: OrderedMap,
) -> InputChoice:
    """Which of two maps of the inputs suits the rows; after an interrupt the plain one.

    The trial has a source of random numbers of its own: all else is drawn as without it. Effects of
    single values are sought where a table (n, p) is given, with the encoder that made its rows.
    """
    own = own_source(random_state)
    n = len(rows.X)
    some = np.arange(n) if n <= _MOST_ROWS else np.sort(own.choice(n, _MOST_ROWS, replace=False))
    tried = rows.some(some)
    seed = own.randint(2**31)
    target = training.target
    try:
        with_plain, with_ramps = (
            draw_for_heads(design, tried, each, target, 1, np.random.RandomState(seed))[0]
            for each in (plain, ramped)
        )
        flow_targets = FlowTargets.learn(target, tried, 1)
        training = replace(training, flow_targets=flow_targets, verbose=False)
        silent = FitReport(None, 2, rows.X, rows.y, None)
        for outcome in training.run([with_plain, with_ramps], tried, None, own, silent, mapper):
            if not outcome.completed:
                raise KeyboardInterrupt
        found = _compare(with_plain, with_ramps, tried, some, flow_targets, readout, seed, mapper)
        effects = None if table is None else find_effects(*table, rows, found.baseline)
    except KeyboardInterrupt:
        return InputChoice(interrupt=interrupted(0))
    return InputChoice(found.ramps, found.steps, effects)


def _compare(
    plain: Member,
    ramped: Member,
    rows: Rows,
    places: IntArray,
    flow_targets: FlowTargets,
    readout: GaussianProcessReadout,
    seed: int,
    mapper: OrderedMap,
) -> _Comparison:
    """Whether a member on ramps predicts left-out rows better than one on the inputs themselves.

    Compared are absolute errors, and of classes squares (`losses_of`).

    Parameters
    ----------
    plain, ramped : Member
        Members that least squares trained. They are changed.
    rows : Rows
        Their training rows.
    places : ndarray of shape (n,)
        The places of these among all.
    flow_targets : FlowTargets
        What they were trained on.
    readout : GaussianProcessReadout
        Parameters of the readout.
    seed : int
        Draws minibatches and rows, the same for both.
    mapper : OrderedMap
        Where both are trained on.
    """
    observations = flow_targets.observed(rows)
    of_rows = observations, flow_targets, readout, seed
    before, after = mapper(_tried, [(plain, *of_rows), (ramped, *of_rows)])
    asked = _asked(len(observations), seed)
    weight = observations.some(asked).weight
    of_classes = isinstance(flow_targets.target, ClassificationTarget)
    errors = _ERRORS_OF_CLASSES if of_classes else _ERRORS
    helps = significant_gain(before.losses, after.losses, weight, errors) > 0
    member, tried = (ramped, after) if helps else (plain, before)
    baseline = Baseline(member, tried.hyperparameters, flow_targets, places, asked, tried.residuals)
    return _Comparison(helps, before.steps or after.steps, baseline)


def _asked(n: int, seed: int) -> IntArray:
    """Indices of the rows that are left out, in ascending order."""
    return some_rows(n, np.random.default_rng(seed), _MOST_LEFT_OUT)


def _tried(
    member: Member,
    observations: Observed,
    flow_targets: FlowTargets,
    readout: GaussianProcessReadout,
    seed: int,
) -> _Tried:
    """One member."""
    n, rng = len(observations), np.random.default_rng(seed)
    some = some_rows(n, rng, readout.n_evidence)
    evidence_rows = observations.some(some)
    of_classes = isinstance(flow_targets.target, ClassificationTarget)
    smooth = may_be_smooth([member]) and not of_classes
    logs = search_evidence(member, evidence_rows, smooth)
    n_steps, gains = min(steps_for(readout.n_steps, n), _MOST_STEPS), False
    if n_steps:
        reached = ascend_member(member, observations, evidence_rows, logs, n_steps, smooth, rng)
        gains = reached.gain >= LEAST_GAIN
        if gains:
            member.move(reached.theta)
            # where the steps led the hyper-parameters will do for a comparison
            logs = reached.logs
    (hyperparameters,) = hyperparameters_of([member], evidence_rows, logs, smooth)
    asked = _asked(n, seed)
    of_rows = observations.some(asked)
    every = np.arange(len(asked))
    states = centred_states(member, of_rows.X)
    residuals = of_rows.y - fit_exact(states, *of_rows[1:], hyperparameters, every).left_out
    losses = losses_of(residuals, flow_targets.target)
    return _Tried(losses, gains, hyperparameters, residuals)
