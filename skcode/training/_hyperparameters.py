"""Hyper-parameters of the processes of all members: by the evidence, and by what is left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from skcode.gaussian_process import (
    Evidence,
    Hyperparameters,
    choose_factors,
    fit_exact,
    scaled,
    significant_gain,
)
from skcode.model import ClassificationTarget
from skcode.training._flow_targets import FlowTargets, Observed, link_of
from skcode.training._member import Member
from skcode.training._rows import Rows
from skcode.utils._blocks import OrderedMap
from skcode.utils._typing import Array, FloatArray, IntArray

#: rows that are left out to choose noise and lengths, and to choose whether the last member rests:
#: its controls become zero, so that its process reads the inputs themselves
_ROWS_OF_CHOICE = 1000
#: training rows beyond which more are left out for the second choice: where inputs take few values,
#: a member at rest predicts the better the more rows there are, and fewer would not show it
_MANY_ROWS = 4096
#: rows that are left out then
_MORE_ROWS = 2500


def states_of(member: Member, X: Array) -> FloatArray:
    with OrderedMap(1) as serial:
        states = member.fitted.states(X, serial)
    if not np.isfinite(states).all():
        raise ValueError(
            "The flow of the training data explodes. Scale X (scaling='robust') or use bounded "
            "vector fields (vector_fields='neural')."
        )
    return states


def evidence_of(member: Member, rows: Rows, smooth: bool) -> Evidence:
    states = states_of(member, rows.X)
    copies = float(rows.counts.sum()) - len(rows.y)
    return Evidence(states - states.mean(axis=0), rows.y, rows.weight, smooth, copies=copies)


def may_be_smooth(members: Sequence[Member]) -> bool:
    """Whether a kernel may have a Gaussian part.

    Its large coefficients all but cancel, so single precision has none.
    """
    return bool(members[0].model.dtype == np.float64)


def search_evidence(
    member: Member, rows: Rows, smooth: bool, start: FloatArray | None = None
) -> FloatArray:
    """The logarithms of highest evidence for a member, in units of its states, as is the start."""
    evidence = evidence_of(member, rows, smooth)
    at = None if start is None else evidence.start + start
    return evidence.relative(evidence.maximise(at))


def hyperparameters_of(
    members: Sequence[Member], rows: Rows, relative: FloatArray, smooth: bool
) -> list[Hyperparameters]:
    """Kernel and noise of each member, in units of its own distances.

    What a search found for one member holds for the others, whose states follow the same law.
    """
    evidences = [evidence_of(member, rows, smooth) for member in members]
    return [each.hyperparameters(each.start + relative) for each in evidences]


def refine_numbers(
    members: Sequence[Member],
    observations: Observed,
    hyperparameters: list[Hyperparameters],
    rng: np.random.Generator,
) -> list[Hyperparameters]:
    """Noise and lengths that predict left-out rows better than those of the evidence, if any do.

    A few hundred rows cannot always tell noise from a rough function: both explanations have
    nearly the same evidence, and where the rough one wins by chance all predictions are rough.
    Indicators of several labels a row count as numbers.

    Parameters
    ----------
    members : sequence of Member
        Members whose flows are trained.
    observations : Observed
        Training rows with standardised outputs (n, K), and weights with a mean of one.
    hyperparameters : list of Hyperparameters
        Those of each member by the evidence.
    rng : Generator
        Draws the rows that are left out.
    """
    some = some_rows(len(observations), rng)
    of_rows = observations.some(some)

    def losses(left_out: FloatArray) -> FloatArray:
        squares: FloatArray = ((left_out - of_rows.y) ** 2).mean(axis=1)
        return squares

    states = centred_states(members[0], of_rows.X)
    factors = choose_factors(states, *of_rows[1:], hyperparameters[0], losses)
    return [scaled(each, *factors) for each in hyperparameters]


def some_rows(n: int, rng: np.random.Generator, most: int = _ROWS_OF_CHOICE) -> IntArray:
    """Indices of the rows that are left out, in ascending order: all of few."""
    if n <= most:
        return np.arange(n)
    some: IntArray = np.sort(rng.choice(n, most, replace=False, shuffle=False))
    return some


def centred_states(member: Member, X: Array) -> FloatArray:
    states = states_of(member, X)
    states -= states.mean(axis=0)
    return states


def refine_classes(
    members: Sequence[Member],
    rows: Rows,
    observations: Observed,
    evidence_rows: Rows,
    flow_targets: FlowTargets,
    hyperparameters: list[Hyperparameters],
    rng: np.random.Generator,
) -> list[Hyperparameters]:
    """Kernels and noise that predict classes of left-out rows better than those of the evidence.

    Three questions are asked, one after the other: whether the kernel has a Gaussian part, whether
    noise and lengths are larger, and whether a member comes to rest.

    The last member may come to rest, in place: without controls its states are the inputs, so that
    its process knows nothing of a flow and errs elsewhere than the others do. What is lost on the
    rows that one trained member and one at rest leave out decides.

    Parameters
    ----------
    members : sequence of Member
        Members whose flows are trained.
    rows : Rows
        Training rows as the target encodes them.
    observations : Observed
        The same with standardised outputs (n, K), and weights with a mean of one.
    evidence_rows : Rows
        Some of the observations, for the evidence.
    flow_targets : FlowTargets
        What flows were trained on.
    hyperparameters : list of Hyperparameters
        Those of each member by the evidence.
    rng : Generator
        Draws the rows that are left out.
    """
    left_out = _LeftOut.draw(rows, observations, flow_targets, _ROWS_OF_CHOICE, rng)
    if may_be_smooth(members):
        found = search_evidence(members[0], evidence_rows, smooth=True)
        with_smooth = hyperparameters_of(members, evidence_rows, found, smooth=True)
        before, after = (
            left_out.losses(left_out.predictions(members[0], each[0]))
            for each in (hyperparameters, with_smooth)
        )
        if significant_gain(before, after, left_out.asked.weight, errors=1.0) > 0:
            hyperparameters = with_smooth
    factors = choose_factors(
        left_out.states(members[0]), *left_out.asked[1:], hyperparameters[0], left_out.losses
    )
    refined = [scaled(each, *factors) for each in hyperparameters]
    if len(members) > 1 and flow_targets.trains:
        if len(rows.y) > _MANY_ROWS:
            left_out = _LeftOut.draw(rows, observations, flow_targets, _MORE_ROWS, rng)
        last = members[-1]
        theta = last.theta.copy()
        theta[: last.fitted.controls.size] = 0
        resting = last.copy()
        resting.move(theta)
        evidence = evidence_of(resting, evidence_rows, may_be_smooth(members))
        at_rest = evidence.hyperparameters(evidence.maximise())
        flow = left_out.predictions(members[0], refined[0])
        rest = left_out.predictions(resting, at_rest)
        before, after = left_out.losses(flow), left_out.losses(*[flow] * (len(members) - 1), rest)
        if significant_gain(before, after, left_out.asked.weight, errors=1.0) > 0:
            last.move(theta)
            refined[-1] = at_rest
    return refined


@dataclass(frozen=True, eq=False)
class _LeftOut:
    """Some rows, each predicted by the others, and what is lost on their classes."""

    #: all training rows
    rows: Rows
    #: those that are left out, as the process sees them
    asked: Rows
    #: their places among all
    index: IntArray
    flow_targets: FlowTargets

    @classmethod
    def draw(
        cls,
        rows: Rows,
        observations: Observed,
        flow_targets: FlowTargets,
        n_rows: int,
        rng: np.random.Generator,
    ) -> _LeftOut:
        some = some_rows(len(rows.y), rng, n_rows)
        return cls(rows, observations.some(some), some, flow_targets)

    def states(self, member: Member) -> FloatArray:
        return centred_states(member, self.asked.X)

    def predictions(self, member: Member, hyperparameters: Hyperparameters) -> FloatArray:
        """Of each row (n, K) without it."""
        every = np.arange(len(self.index))
        return fit_exact(self.states(member), *self.asked[1:], hyperparameters, every).left_out

    def losses(self, *left_out: FloatArray) -> FloatArray:
        """Log-loss of each row, of predictions (n, K) of members that are averaged."""
        target = self.flow_targets.target
        assert isinstance(target, ClassificationTarget)
        link = link_of(self.flow_targets, np.stack(left_out), self.rows, self.index)
        p = target.mean_probabilities(np.stack([link(f) for f in left_out]))
        codes = target.strata(self.rows.y[self.index]).astype(int)
        loss: FloatArray = np.log(1 / p[np.arange(len(p)), codes])
        return loss
