"""The last step of a fit whose readout is a Gaussian process: from trained flows to heads.

Flows are trained by least squares on one number a row: the target itself, or a random projection of
several targets or of the indicators of classes, another for each member. Then the process is fitted
to the final states of each member, for all outputs at once. With few rows the flow of each member
leaves out a part of the rows of its own, so that what is left out of the process there was never
seen by anything: such predictions calibrate probabilities and intervals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from skcode.gaussian_process import (
    AffineLink,
    Evidence,
    GaussianProcessHead,
    GaussianProcessReadout,
    Hyperparameters,
    Link,
    NoiseModel,
    Regression,
    calibrate_sigmoids,
    calibrate_softmax,
    choose_factors,
    fit_exact,
    fit_leaves,
    scaled,
)
from skcode.model import ClassificationTarget, RegressionTarget, Target
from skcode.training._ascent import ascend
from skcode.training._member import Member, as_reached, fitted_state
from skcode.training._rows import Rows
from skcode.utils._blocks import OrderedMap
from skcode.utils._typing import Array, FloatArray, IntArray

#: distinct rows below which every flow leaves out a part of its own: with more rows the few hundred
#: controls hardly learn a row by heart
_FEW_ROWS = 1000
#: rows that train the flow of a member, where there are more: they know a few hundred controls, and
#: the process sees all
_MOST_FLOW_ROWS = 2**16
#: rows that calibration looks at, where there are more: each costs a prediction
_MOST_LEFT_OUT = 2048
#: anchors of the model of the noise: the cost of a standard deviation grows with their square
_ANCHORS = 256
#: rows of heads that only stand in: for callbacks, which ask after each iteration, and after an
#: interrupt
_PROVISIONAL_ROWS, _PROVISIONAL_EVIDENCE = 400, 128
#: rows by which factors on noise and lengths are chosen
_ROWS_OF_CHOICE = 1000
#: steps through the evidence, from so many distinct rows on: with fewer they change little, and
#: cost more than all the rest
_STEPS, _ROWS_FOR_STEPS = 60, 700
#: least weight of a row, in units of the mean: rows of less say nothing, and their noise overflows
_LEAST_WEIGHT = 1e-12


def outputs_of(target: Target, targets: Array) -> FloatArray:
    """What the process is fitted to (n, K): targets, or indicators of classes."""
    if isinstance(target, ClassificationTarget) and target.n_outputs > 1:
        indicators: FloatArray = (targets[:, None] == np.arange(target.n_outputs)).astype(float)
        return indicators
    outputs: FloatArray = np.asarray(targets, dtype=np.float64).reshape(len(targets), -1)
    return outputs


@dataclass(frozen=True)
class FlowTargets:
    """What the flow of each member is trained on.

    Parameters
    ----------
    target : Target
        What the estimator predicts.
    mean, scale : ndarray of shape (K,), float
        Weighted mean of the outputs, and the root of their mean square around it.
    folds : ndarray of shape (n,) or None
        Member whose flow leaves the row out; None where all rows train all flows.
    trains : bool
        Whether controls are trained at all.
    """

    target: Target
    mean: FloatArray
    scale: float
    folds: IntArray | None
    trains: bool = True

    @classmethod
    def learn(cls, target: Target, rows: Rows, n_members: int, trains: bool = True) -> FlowTargets:
        """From the training rows, which are in canonical order where they are few."""
        outputs, share = outputs_of(target, rows.y), rows.weight / rows.weight.sum()
        mean = share @ outputs
        # in units of the largest deviation: squares of large targets overflow
        largest = float(np.abs(outputs - mean).max()) or 1.0
        scale = largest * float(np.sqrt(np.mean(share @ ((outputs - mean) / largest) ** 2)))
        n = len(outputs)
        folds = None
        if n_members > 1 and 2 * n_members <= n < _FEW_ROWS:
            strata = target.strata(rows.y)
            strata = np.zeros(n, dtype=int) if strata is None else strata
            folds = np.empty(n, dtype=int)
            for stratum in np.unique(strata):
                among = np.flatnonzero(strata == stratum)
                folds[among] = np.arange(len(among)) % n_members
        return cls(target, mean, scale if scale > 0 else 1.0, folds, trains)

    @property
    def single(self) -> RegressionTarget:
        """The target of a flow: one number, standardised already."""
        return RegressionTarget(np.zeros(1), np.ones(1), 1)

    def standardised(self, targets: Array) -> FloatArray:
        """Outputs (n, K) of mean zero and mean square one."""
        outputs: FloatArray = (outputs_of(self.target, targets) - self.mean) / self.scale
        return outputs

    def projected(self, rows: Rows, projection: FloatArray) -> Rows:
        """Rows with one output each."""
        return rows._replace(y=self.standardised(rows.y) @ projection[:, None])

    def of_member(self, rows: Rows, projection: FloatArray, number: int) -> Rows:
        """Rows that the flow of a member is trained on."""
        rows = self.projected(rows, projection)
        n = len(rows.X)
        if n > _MOST_FLOW_ROWS:
            rng = np.random.default_rng(number)
            some = np.sort(rng.choice(n, _MOST_FLOW_ROWS, replace=False, shuffle=False))
            rows = Rows(*(part[some] for part in rows))
            return rows._replace(weight=rows.weight * _raised(rows.weight))
        if self.folds is None:
            return rows
        kept = self.folds != number
        X, y, weight = (part[kept] for part in rows)
        return Rows(X, y, weight * _raised(rows.weight))


def _raised(weight: FloatArray) -> float:
    """What raises a sum of weights below the number of rows to it: small weights are relative."""
    return max(len(weight) / float(weight.sum()), 1.0)


def draw_projection(n_outputs: int, rng: np.random.Generator) -> FloatArray:
    """A random direction (K,) of mean square one; of a single output that output."""
    if n_outputs == 1:
        return np.ones(1)
    normal = rng.standard_normal(n_outputs)
    return normal * np.sqrt(n_outputs / (normal @ normal))


class _Sample(NamedTuple):
    """Which rows serve what: indices in ascending order."""

    evidence: IntArray
    landmarks: IntArray | None
    local: IntArray
    asked: IntArray
    #: among those that are asked
    anchors: IntArray


def _sample(n: int, readout: GaussianProcessReadout, rng: np.random.Generator) -> _Sample:
    def some(most: int) -> IntArray:
        if n <= most:
            return np.arange(n)
        return np.sort(rng.choice(n, most, replace=False, shuffle=False))

    evidence = some(readout.n_evidence)
    landmarks = None
    local: IntArray = np.arange(n)
    if n > readout.n_exact:
        landmarks = some(readout.n_landmarks)
        local = some(readout.n_local)
    asked: IntArray = local
    if len(local) > _MOST_LEFT_OUT:
        asked = np.sort(rng.choice(local, _MOST_LEFT_OUT, replace=False, shuffle=False))
    anchors = np.sort(rng.choice(len(asked), min(_ANCHORS, len(asked)), replace=False))
    return _Sample(evidence, landmarks, local, asked, anchors)


def counts_of(weight: FloatArray) -> FloatArray:
    """How many observations each row stands for: whole weights count them, others do not.

    Weights that are all multiplied by a whole number are no more observations.
    """
    least = float(weight.min())
    counts: FloatArray = weight / least
    if least >= 1 and np.all(counts == np.rint(counts)):
        return counts
    if np.all(weight == np.rint(weight)):
        return weight
    return np.ones_like(weight)


def fit_heads(
    members: Sequence[Member],
    rows: Rows,
    flow_targets: FlowTargets,
    readout: GaussianProcessReadout,
    rng: np.random.Generator,
    mapper: OrderedMap,
    refine: bool = True,
) -> None:
    """Give every member a head, in place; `refine` takes pains over the noise of classes."""
    weight = np.ascontiguousarray(rows.weight)
    counts = counts_of(weight)
    weight = np.maximum(weight / weight.mean(), _LEAST_WEIGHT)
    outputs = flow_targets.standardised(rows.y)
    sample = _sample(len(outputs), readout, rng)
    evidence_rows = Rows(*(part[sample.evidence] for part in (rows.X, outputs, weight)))
    relative = None
    n_steps = readout.n_steps
    if n_steps is None:
        n_steps = _STEPS if len(outputs) >= _ROWS_FOR_STEPS else 0
    if n_steps and flow_targets.trains:
        relative = _ascend(
            members,
            Rows(rows.X, outputs, weight),
            evidence_rows,
            flow_targets,
            n_steps,
            rng,
            mapper,
        )
    hyperparameters = _hyperparameters(members, evidence_rows, relative)
    classes = isinstance(flow_targets.target, ClassificationTarget)
    # of few rows the evidence of all says as much
    if refine and classes and flow_targets.folds is None:
        factors = _factors(
            members[0], rows, outputs, weight, counts, flow_targets, hyperparameters[0], rng
        )
        hyperparameters = [scaled(each, *factors) for each in hyperparameters]
    tasks = [
        (member, rows.X, outputs, weight, counts, each, readout, sample)
        for member, each in zip(members, hyperparameters, strict=True)
    ]
    fitted = list(mapper(_fit_member, tasks))
    left_out = np.stack([regression.left_out for _, regression in fitted])
    between = left_out.var(axis=0)
    folds = flow_targets.folds
    # after an interrupt there may be fewer members than folds
    if folds is not None and folds.max() < len(members):
        # of each row the member whose flow has not seen it
        left_out = left_out[folds[sample.asked], np.arange(len(sample.asked))][None]
    link = _link(flow_targets, left_out, rows, sample.asked)
    noises: list[NoiseModel | None] = [None] * len(members)
    if isinstance(flow_targets.target, RegressionTarget):
        residuals = (outputs[sample.asked] - left_out.mean(axis=0)) * np.sqrt(
            weight[sample.asked, None]
        )
        noise_tasks = [
            (member, rows.X[sample.asked], center, residuals, between, each, sample.anchors)
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


def fit_provisional_heads(members: Sequence[Member], rows: Rows, flow_targets: FlowTargets) -> None:
    """Give every member a head that knows a few hundred rows, in place and in no time."""
    n = len(rows.X)
    some: IntArray = np.arange(n)
    if n > _PROVISIONAL_ROWS:
        some = np.linspace(0, n - 1, _PROVISIONAL_ROWS).astype(int)
    folds = None if flow_targets.folds is None else flow_targets.folds[some]
    with OrderedMap(1) as serial:
        fit_heads(
            members,
            Rows(*(part[some] for part in rows)),
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


def _states(member: Member, X: Array) -> FloatArray:
    with OrderedMap(1) as serial:
        states = member.fitted.states(X, serial)
    if not np.isfinite(states).all():
        raise ValueError(
            "The flow of the training data explodes. Scale X (scaling='robust') or use bounded "
            "vector fields (vector_fields='neural')."
        )
    return states


def _evidence(member: Member, rows: Rows) -> Evidence:
    states = _states(member, rows.X)
    return Evidence(states - states.mean(axis=0), rows.y, rows.weight)


def _ascend(
    members: Sequence[Member],
    rows: Rows,
    evidence_rows: Rows,
    flow_targets: FlowTargets,
    n_steps: int,
    rng: np.random.Generator,
    mapper: OrderedMap,
) -> FloatArray:
    """Train the controls on through the evidence, in place.

    All start at the hyper-parameters that suit the flow of the first member as it is: the first
    steps, if kernel and noise were far off, would lead the controls astray. Returns the mean of the
    logarithms that were reached, in units of the states.
    """
    first = _evidence(members[0], evidence_rows)
    start = first.relative(first.maximise())
    tasks = []
    for number, (member, seed) in enumerate(zip(members, rng.spawn(len(members)), strict=True)):
        own = rows
        if flow_targets.folds is not None:
            kept = flow_targets.folds != number
            own = Rows(*(part[kept] for part in rows))
        tasks.append((member, own, evidence_rows, start, n_steps, seed))
    relative = []
    for member, (controls, logs) in zip(members, mapper(_ascend_member, tasks), strict=True):
        theta = member.theta.copy()
        theta[: controls.size] = controls.ravel()
        member.move(theta)
        relative.append(logs)
    mean: FloatArray = np.mean(relative, axis=0)
    return mean


def _ascend_member(
    member: Member,
    rows: Rows,
    evidence_rows: Rows,
    start: FloatArray,
    n_steps: int,
    rng: np.random.Generator,
) -> tuple[FloatArray, FloatArray]:
    """Controls, and logarithms in units of the states."""
    evidence = _evidence(member, evidence_rows)
    controls, logs = ascend(member, rows, evidence.start + start, n_steps, rng)
    return controls, evidence.relative(logs)


def _hyperparameters(
    members: Sequence[Member], rows: Rows, relative: FloatArray | None
) -> list[Hyperparameters]:
    """Kernel and noise of each member, in units of its own distances.

    The search is the first member's: what it finds holds for the others, whose states follow the
    same law.
    """
    evidences = [_evidence(member, rows) for member in members]
    first = evidences[0]
    found = first.maximise(None if relative is None else first.start + relative)
    relative = first.relative(found)
    return [each.hyperparameters(each.start + relative) for each in evidences]


def _factors(
    member: Member,
    rows: Rows,
    outputs: FloatArray,
    weight: FloatArray,
    counts: FloatArray,
    flow_targets: FlowTargets,
    hyperparameters: Hyperparameters,
    rng: np.random.Generator,
) -> tuple[float, float]:
    """Factors on noise and lengths, by the losses of some rows that one member leaves out."""
    n = len(outputs)
    some: IntArray = np.arange(n)
    if n > _ROWS_OF_CHOICE:
        some = np.sort(rng.choice(n, _ROWS_OF_CHOICE, replace=False, shuffle=False))
    states, y = _states(member, rows.X[some]), rows.y[some]

    def losses(left_out: FloatArray) -> FloatArray:
        link = _link(flow_targets, left_out[None], rows, some)
        values: FloatArray = flow_targets.target.loss.value(link(left_out), y)
        return values

    of_rows = outputs[some], weight[some], counts[some]
    return choose_factors(states - states.mean(axis=0), *of_rows, hyperparameters, losses)


def _fit_member(
    member: Member,
    X: Array,
    outputs: FloatArray,
    weight: FloatArray,
    counts: FloatArray,
    hyperparameters: Hyperparameters,
    readout: GaussianProcessReadout,
    sample: _Sample,
) -> tuple[FloatArray, Regression]:
    """Centre of the states, and the process on them."""
    states = _states(member, X)
    center = states.mean(axis=0)
    # points are kept in single precision, half of the size of a file: so they are fitted
    states = (states - center).astype(np.float32).astype(states.dtype, copy=False)
    of_rows = states, outputs, weight, counts, hyperparameters
    if sample.landmarks is None:
        regression = fit_exact(*of_rows, sample.asked)
    else:
        some = sample.landmarks, sample.local, readout.n_leaf, sample.asked
        regression = fit_leaves(*of_rows, *some)
    mean = regression.mean
    return center, Regression(
        replace(mean, points=mean.points.astype(np.float32)), regression.left_out
    )


def _fit_noise(
    member: Member,
    X: Array,
    center: FloatArray,
    residuals: FloatArray,
    between: FloatArray,
    hyperparameters: Hyperparameters,
    anchors: IntArray,
) -> NoiseModel:
    states = _states(member, X) - center
    return NoiseModel.fit(states, residuals, between, hyperparameters, anchors)


def _link(flow_targets: FlowTargets, left_out: FloatArray, rows: Rows, asked: IntArray) -> Link:
    """What makes scores of what the process predicts."""
    target, mean, scale = flow_targets.target, flow_targets.mean, flow_targets.scale
    K = left_out.shape[2]
    if isinstance(target, RegressionTarget):
        return AffineLink(np.full(K, scale), mean)
    y, weight = rows.y[asked], rows.weight[asked] * _raised(rows.weight)
    if target.n_outputs == K and K > 1 and isinstance(target, ClassificationTarget):
        return calibrate_softmax(left_out, y, weight, mean, scale)
    return calibrate_sigmoids(left_out, y, weight, mean, scale)
