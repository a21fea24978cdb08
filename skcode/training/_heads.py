"""The last step of a fit whose readout is a Gaussian process: from trained flows to heads.

Flows are trained by least squares on one number a row: the target itself, or a random projection of
several targets or of the indicators of classes, another for each member. Then the process is fitted
to the final states of each member, for all outputs at once. With few rows the flow of each member
leaves out a part of the rows of its own, so that what is left out of the process there was never
seen by anything: such predictions calibrate probabilities and intervals.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from skcode.gaussian_process import (
    FixedPoint,
    GaussianProcessHead,
    GaussianProcessReadout,
    Hyperparameters,
    Link,
    LogOddsLink,
    NoiseModel,
    Observations,
    Regression,
    fit_exact,
    fit_leaves,
)
from skcode.model import ClassificationTarget, RegressionTarget
from skcode.training._ascent import steps_for, train_through_evidence
from skcode.training._flow_targets import FlowTargets, link_of, shrinkage_of
from skcode.training._hyperparameters import (
    hyperparameters_of,
    may_be_smooth,
    refine_classes,
    refine_numbers,
    search_evidence,
    states_of,
)
from skcode.training._linear_opinion import join_linear_opinion, may_have_linear_opinion
from skcode.training._member import Member, as_reached, fitted_state, parted
from skcode.training._pool import kinds_of, opinions, weigh
from skcode.training._rows import Rows
from skcode.training._selection import which_predict
from skcode.utils._blocks import OrderedMap, block_slices, task_slices
from skcode.utils._typing import Array, FloatArray, IntArray

#: rows that calibration looks at, where there are more: each costs a prediction
_MOST_LEFT_OUT = 2048
#: anchors of the model of the noise: the cost of a standard deviation grows with their square
_ANCHORS = 256
#: rows whose states are computed at a time, where not all are held
_BLOCK_ROWS = 2**14
#: rows of heads that only stand in, after an interrupt and for callbacks, which ask after each
#: iteration: as many as are fitted before anybody notices
_PROVISIONAL_ROWS = 400
#: rows of those whose evidence is maximised, which takes some dozen evaluations
_PROVISIONAL_EVIDENCE = 128


class _Sample(NamedTuple):
    """Which rows serve what: indices in ascending order."""

    evidence: IntArray
    landmarks: IntArray | None
    local: IntArray
    asked: IntArray
    #: among those that are asked
    anchors: IntArray


def _sample(
    n: int, readout: GaussianProcessReadout, rng: np.random.Generator, required: IntArray
) -> _Sample:
    """Rows for each purpose; those required are among the ones that are asked for."""

    def some(most: int) -> IntArray:
        if n <= most:
            return np.arange(n)
        return np.sort(rng.choice(n, most, replace=False, shuffle=False))

    evidence = some(readout.n_evidence)
    landmarks = some(readout.n_landmarks) if n > readout.n_exact else None
    local = np.arange(n) if landmarks is None else some(readout.n_local)
    if len(required):
        local = np.union1d(local, required)
    asked: IntArray = local
    # a source of its own: with pooled members all else is drawn as without
    own = rng.spawn(1)[0]
    if len(local) > _MOST_LEFT_OUT:
        others = np.setdiff1d(local, required)
        n_others = max(_MOST_LEFT_OUT - len(required), 0)
        asked = own.choice(others, n_others, replace=False, shuffle=False)
        asked = np.sort(np.concatenate([asked, required]))
    anchors = np.sort(own.choice(len(asked), min(_ANCHORS, len(asked)), replace=False))
    return _Sample(evidence, landmarks, local, asked, anchors)


def fit_heads(
    members: Sequence[Member],
    rows: Rows,
    flow_targets: FlowTargets,
    readout: GaussianProcessReadout,
    rng: np.random.Generator,
    mapper: OrderedMap,
    refine: bool = True,
    steps: bool = True,
) -> Member | None:
    """Give every member a head, in place, and those that are pooled their share.

    Returns a member more where a linear opinion joins them.

    Parameters
    ----------
    members : sequence of Member
        Those whose flows are trained, and those that are pooled.
    rows : Rows
        The training rows.
    flow_targets : FlowTargets
        What the flows were trained on.
    readout : GaussianProcessReadout
        How many rows and steps serve what.
    rng : Generator
        Draws those rows.
    mapper : OrderedMap
        Where the processes are fitted.
    refine : bool
        Whether rows that are left out choose noise and kernel after the evidence did: see
        `refine_numbers` and `refine_classes`. Heads that only stand in go without.
    steps : bool
        Whether steps through the evidence are taken; a trial may have said that they gain nothing.
    """
    members, pooled = parted(members)
    n_folds = max((len(kind) for kind in kinds_of(pooled)), default=0)
    folds = [flow_targets.pool_folds[len(members) + k] for k in range(n_folds)]
    sample = _sample(len(rows.y), readout, rng, np.concatenate([np.zeros(0, int), *folds]))
    hyperparameters = _find_hyperparameters(
        members, rows, flow_targets, readout, sample.evidence, rng, mapper, refine, steps
    )
    shared = tuple(map(mapper.keep, rows[1:]))
    parts = _parts(rows.X, members[0].model.n_block, mapper)
    tasks = [
        (member, *shared, flow_targets, each, readout, sample, *parts)
        for member, each in zip(members, hyperparameters, strict=True)
    ]
    fitted = list(mapper(_fit_member, tasks))
    left_out = np.stack([regression.left_out for _, regression in fitted])
    fold_of = None if flow_targets.folds is None else flow_targets.folds[sample.asked]
    # after an interrupt there may be fewer members than folds
    if fold_of is not None and fold_of.max() >= len(members):
        fold_of = None
    asked = flow_targets.observations(rows, sample.asked)
    predicts = which_predict(left_out, asked.y, asked.weight, fold_of)
    for member, does in zip(members, predicts.tolist(), strict=True):
        member.predicts = does
    between = left_out[predicts].var(axis=0)
    by_one = None
    if fold_of is None:
        left_out = left_out[predicts]
    else:
        # of each row the member whose flow has not seen it, or another where that does not predict
        who = np.where(predicts[fold_of], fold_of, np.flatnonzero(predicts)[0])
        by_one = between
        left_out = left_out[who, np.arange(len(who))][None]
    link = link_of(flow_targets, left_out, rows, sample.asked)
    if pooled:
        link = _pool(pooled, rows, left_out, link, folds, sample.asked, flow_targets, mapper)
    joined = None
    if refine and readout.n_pooled is None and not pooled:
        joined, link = _join_linear(members[0], rows, left_out, link, flow_targets)
    noises: list[NoiseModel | None] = [None] * len(members)
    if isinstance(flow_targets.target, RegressionTarget):
        shrinkage = shrinkage_of(asked.y, left_out, by_one, asked.weight)
        left_out = left_out * shrinkage
        fitted = [(center, each.scaled(shrinkage)) for center, each in fitted]
        residuals = (asked.y - left_out.mean(axis=0)) * np.sqrt(asked.weight[:, None])
        noise_tasks = [
            (member, asked.X, center, residuals, between, each, sample.anchors)
            for member, (center, _), each in zip(members, fitted, hyperparameters, strict=True)
        ]
        noises = list(mapper(_fit_noise, noise_tasks))
    for member, (center, regression), each, noise in zip(
        members, fitted, hyperparameters, noises, strict=True
    ):
        head = GaussianProcessHead(
            each.kernel,
            center,
            regression.mean,
            link,
            noise,
        )
        # what the flow knows of its parameters is large, and no prediction asks for it
        member.fitted = replace(member.fitted, posterior=None, head=head)
    return joined


def _find_hyperparameters(
    members: Sequence[Member],
    rows: Rows,
    flow_targets: FlowTargets,
    readout: GaussianProcessReadout,
    evidence: IntArray,
    rng: np.random.Generator,
    mapper: OrderedMap,
    refine: bool,
    steps: bool,
) -> list[Hyperparameters]:
    """Kernel and noise of each member; its controls are trained on, in place."""
    observations = flow_targets.observed(rows)
    evidence_rows = observations.some(evidence)
    # of classes the evidence is too sure, and a smooth kernel would make flows so: for them it
    # waits until left-out rows have a say in it
    classes = isinstance(flow_targets.target, ClassificationTarget)
    smooth = may_be_smooth(members) and not classes
    found = search_evidence(members[0], evidence_rows, smooth)
    n_steps = steps_for(readout.n_steps, len(rows.y))
    if steps and n_steps and flow_targets.trains:
        reached = train_through_evidence(
            members, observations, evidence_rows, flow_targets, found, n_steps, smooth, rng, mapper
        )
        if reached is not None:
            found = search_evidence(members[0], evidence_rows, smooth, reached)
    hyperparameters = hyperparameters_of(members, evidence_rows, found, smooth)
    # of few rows, a part of which each flow left out, the evidence of all says as much
    if refine and flow_targets.folds is None:
        if classes:
            hyperparameters = refine_classes(
                members,
                rows,
                observations,
                evidence_rows,
                flow_targets,
                hyperparameters,
                rng,
            )
        else:
            hyperparameters = refine_numbers(members, observations, hyperparameters, rng)
    return hyperparameters


def _pool(
    pooled: Sequence[Member],
    rows: Rows,
    left_out: FloatArray,
    link: Link,
    folds: Sequence[IntArray],
    asked: IntArray,
    flow_targets: FlowTargets,
    mapper: OrderedMap,
) -> Link:
    """Give pooled members their share, in place; the link of the others with theirs."""
    target = flow_targets.target
    assert isinstance(target, ClassificationTarget)
    assert isinstance(link, LogOddsLink)
    index = np.concatenate(folds)
    at = np.searchsorted(asked, index)
    kinds = kinds_of(pooled)
    own, shares = weigh(
        np.stack([link(each) for each in left_out[:, at]]),
        np.stack([opinions(kind, rows.X, folds, mapper) for kind in kinds]),
        target.strata(rows.y[index]).astype(int),
        rows.weight[index],
        target,
    )
    for kind, share in zip(kinds, shares.tolist(), strict=True):
        for member in kind:
            member.share = share / len(kind)
    return link.scaled(own)


def _join_linear(
    member: Member,
    rows: Rows,
    left_out: FloatArray,
    link: Link,
    flow_targets: FlowTargets,
) -> tuple[Member | None, Link]:
    """A member with a linear opinion, if one helps, and the link of the others with theirs."""
    target = flow_targets.target
    if not isinstance(target, ClassificationTarget) or not may_have_linear_opinion(rows, target):
        return None, link
    assert isinstance(link, LogOddsLink)
    scores = np.stack([link(each) for each in left_out])
    joined = join_linear_opinion(member, rows, scores, target)
    if joined is None:
        return None, link
    assert joined.share is not None
    return joined, link.scaled(1 - joined.share)


def fit_provisional_heads(members: Sequence[Member], rows: Rows, flow_targets: FlowTargets) -> None:
    """Give every member a head that knows a few hundred rows, in place and in no time.

    What is pooled keeps no share: few rows do not tell what it is worth.
    """
    members, pooled = parted(members)
    for member in pooled:
        member.share = 0.0
    n = len(rows.X)
    some: IntArray = np.arange(n)
    if n > _PROVISIONAL_ROWS:
        some = np.linspace(0, n - 1, _PROVISIONAL_ROWS).astype(int)
    folds = None if flow_targets.folds is None else flow_targets.folds[some]
    with OrderedMap(1) as serial:
        fit_heads(
            members,
            rows.some(some),
            replace(flow_targets, folds=folds),
            GaussianProcessReadout(n_evidence=_PROVISIONAL_EVIDENCE, n_steps=0),
            np.random.default_rng(0),
            serial,
            refine=False,
        )


def snapshot_with_heads(
    members: Sequence[Member], rows: Rows, flow_targets: FlowTargets
) -> dict[str, Any]:
    """Attributes of an estimator whose fit stops now, with heads that know a few hundred rows."""
    reached = [member.copy() for member in as_reached(members)]
    fit_provisional_heads(reached, rows, flow_targets)
    return fitted_state(reached, flow_targets.target)


def _parts(X: Array, n_block: int, mapper: OrderedMap) -> list[Array]:
    """All rows; where they are sent to other machines, in the parts that flows were trained on."""
    if not mapper.ships:
        return [X]
    return [mapper.keep(X[part]) for part in task_slices(len(X), n_block)]


def _fit_member(
    member: Member,
    y: Array,
    weight: FloatArray,
    counts: FloatArray,
    flow_targets: FlowTargets,
    hyperparameters: Hyperparameters,
    readout: GaussianProcessReadout,
    sample: _Sample,
    *parts: Array,
) -> tuple[FloatArray, Regression]:
    """Centre of the states, and the process on them."""
    rows = Rows(parts[0] if len(parts) == 1 else np.concatenate(parts), y, weight, counts)
    # of very many rows the states of those are held whole that are kept as points
    kept: IntArray | slice = slice(None)
    local, landmarks, asked = sample.local, sample.landmarks, sample.asked
    if landmarks is not None:
        kept = np.union1d(local, landmarks)
        local, landmarks, asked = (np.searchsorted(kept, a) for a in (local, landmarks, asked))
    observations = flow_targets.observations(rows, kept)
    states = states_of(member, observations.X)
    center = states.mean(axis=0)
    states -= center
    # points are kept in two bytes each, and fitted as they are kept
    dtype, fixed = states.dtype, FixedPoint.of(states)
    points = states.astype(np.float32) if fixed is None else fixed.values
    del states
    of_rows = *observations[1:], hyperparameters
    if landmarks is None:
        regression = fit_exact(points.astype(dtype, copy=False), *of_rows, asked)
    else:
        others = _others(member, rows, flow_targets, center, kept)
        some = landmarks, local, readout.n_leaf, asked
        regression = fit_leaves(points, *of_rows, *some, others, dtype)
    mean = regression.mean
    stored: FloatArray | FixedPoint = mean.points.astype(np.float32)
    if fixed is not None:
        stored = FixedPoint.with_step(mean.points, fixed.step)
    return center, Regression(replace(mean, stored=stored), regression.left_out)


def _others(
    member: Member,
    rows: Rows,
    flow_targets: FlowTargets,
    center: FloatArray,
    kept: IntArray | slice,
) -> Iterator[Observations]:
    """What a process is told of the rows that are not kept, block by block."""
    other = np.ones(len(rows.y), dtype=bool)
    other[kept] = False
    for block in block_slices(len(other), _BLOCK_ROWS):
        index = block.start + np.flatnonzero(other[block])
        if len(index):
            X, outputs, weight, _ = flow_targets.observations(rows, index)
            yield Observations(states_of(member, X) - center, outputs, weight)


def _fit_noise(
    member: Member,
    X: Array,
    center: FloatArray,
    residuals: FloatArray,
    between: FloatArray,
    hyperparameters: Hyperparameters,
    anchors: IntArray,
) -> NoiseModel:
    states = states_of(member, X) - center
    return NoiseModel.fit(states, residuals, between, hyperparameters, anchors)
