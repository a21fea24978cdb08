"""Controls trained on through the evidence of the Gaussian process that reads the final states.

Least squares trains a flow for a linear readout. What suits the process is a little different: a
few dozen steps of Adam on minibatches move the controls, together with the hyper-parameters, up the
evidence of the rows of each batch. A batch of a few hundred rows tells the metric that the flow has
to make, if not the finest detail, and its factorisation takes no time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count
from typing import NamedTuple

import numpy as np

from skcode.objective import EvidenceObjective
from skcode.solvers import Adam
from skcode.training._flow_targets import FlowTargets, Observed
from skcode.training._hyperparameters import evidence_of
from skcode.training._member import Member
from skcode.training._rows import Rows
from skcode.utils._blocks import OrderedMap
from skcode.utils._typing import FloatArray

#: rows of a minibatch: half of them see too little, twice as many cost four times as much
_BATCH_ROWS = 256
#: first rate of Adam, in standard deviations of a control
_RATE = 0.1
#: decay of Adam's second moments, for each step: a few dozen steps have to forget the first ones
_BETA_2 = 0.99
#: shorter steps, in units of that rate, where evidence is lost: a process with next to no noise
#: bears no others
_SHORT = 0.25
#: least standard deviation of a control: a flow that least squares left at rest may still move
_LEAST_SCALE = 0.02
#: steps of Adam where the user names no number
_STEPS = 60
#: distinct rows from which they are taken: with fewer they change little, and cost more than all
#: the rest
_ROWS_FOR_STEPS = 700
#: nats of evidence below which the steps of the first member gained nothing: where tables are noisy
#: they gain -3 to 2, and elsewhere from 4 to some hundreds
LEAST_GAIN = 3.0


def steps_for(n_steps: int | None, n_rows: int) -> int:
    """The number of steps; None leaves it to the number of distinct rows."""
    if n_steps is not None:
        return n_steps
    return _STEPS if n_rows >= _ROWS_FOR_STEPS else 0


def train_through_evidence(
    members: Sequence[Member],
    observations: Observed,
    evidence_rows: Rows,
    flow_targets: FlowTargets,
    start: FloatArray,
    n_steps: int,
    smooth: bool,
    rng: np.random.Generator,
    mapper: OrderedMap,
) -> FloatArray | None:
    """Train the controls of all members on, in place, if that gains anything.

    All start at hyper-parameters that suit the flow of the first member as it is: the first steps,
    if kernel and noise were far off, would lead the controls astray. Where the first member gains
    nothing, all stay as they are. Returns the mean of the logarithms that were reached, in units of
    the states, as is the start.
    """
    tasks = []
    for number, (member, seed) in enumerate(zip(members, rng.spawn(len(members)), strict=True)):
        own = observations
        if flow_targets.folds is not None:
            own = observations.among(flow_targets.folds != number)
        tasks.append((member, own, evidence_rows, start, n_steps, smooth, seed))
    reached = list(mapper(ascend_member, tasks[:1]))
    if reached[0].gain < LEAST_GAIN:
        return None
    reached += mapper(ascend_member, tasks[1:])
    for member, each in zip(members, reached, strict=True):
        member.move(each.theta)
    mean: FloatArray = np.mean([each.logs for each in reached], axis=0)
    return mean


class _Reached(NamedTuple):
    """Where steps through the evidence led a member."""

    theta: FloatArray
    #: logarithms of the hyper-parameters, in units of the states
    logs: FloatArray
    #: nats of evidence that were gained
    gain: float


def ascend_member(
    member: Member,
    observations: Observed,
    evidence_rows: Rows,
    start: FloatArray,
    n_steps: int,
    smooth: bool,
    rng: np.random.Generator,
) -> _Reached:
    """Steps of one member, which stays as it is; shorter ones where the first lost their way."""
    evidence = evidence_of(member, evidence_rows, smooth)
    at = evidence.start + start

    def reached(rate: float) -> _Reached:
        controls, logs = ascend(member, observations, at, n_steps, smooth, rng, rate)
        logs = evidence.relative(logs)
        moved = member.copy()
        moved.move(np.concatenate([controls.ravel(), member.theta[controls.size :]]))
        after = evidence_of(moved, evidence_rows, smooth)
        return _Reached(moved.theta, logs, evidence(at)[0] - after(after.start + logs)[0])

    first = reached(_RATE)
    return first if first.gain > -LEAST_GAIN else reached(_SHORT * _RATE)


def ascend(
    member: Member,
    observations: Observed,
    logs: FloatArray,
    n_steps: int,
    smooth: bool,
    rng: np.random.Generator,
    rate: float = _RATE,
) -> tuple[FloatArray, FloatArray]:
    """Controls (M, d) and logarithms of the hyper-parameters after so many steps.

    Parameters
    ----------
    member : Member
        Model and controls to start from.
    observations : Observed
        Rows with standardised outputs (n, K) and weights with a mean of one.
    logs : ndarray of shape (8,)
        Logarithms to start from, as `Evidence` has them.
    n_steps : int
        Steps of Adam.
    smooth : bool
        Whether the kernel has a Gaussian part.
    rng : Generator
        Draws the minibatches.
    rate : float
        First rate of Adam, in standard deviations of a control.
    """
    n = len(observations)
    most = n_steps * _BATCH_ROWS
    some = np.arange(n)
    if n > most:
        some, n = np.sort(rng.choice(n, most, replace=False, shuffle=False)), most
    rows = observations.some(some)
    n_batches = max(round(n / _BATCH_ROWS), 1)
    controls = member.fitted.controls.astype(np.float64)
    scale = max(float(np.sqrt(np.mean(controls**2))), _LEAST_SCALE)
    objective = EvidenceObjective(member.model, *rows, controls, scale, logs, smooth)
    solver = Adam("cosine", rate, beta_2=_BETA_2, batch_size=-(-n // n_batches))
    n_passes = -(-n_steps // n_batches)
    passes = count(1)

    def tell(theta: FloatArray, loss: float, parts: Mapping[str, float] | None = None) -> bool:
        # the loss is minus the log evidence, each row of a batch, with the prior on the moves
        member.monitor.say(
            f"pass {next(passes)} of {n_passes} through the evidence of the readout, "
            f"loss {loss:.6g}"
        )
        return False

    result = solver.minimize(
        objective,
        objective.start,
        max_iter=n_passes,
        tol=0.0,
        n_iter_no_change=n_passes + 1,
        rng=rng,
        monitor=tell,
    )
    return objective.controls_of(result.theta), result.theta[controls.size :]
