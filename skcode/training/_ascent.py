"""Controls trained on through the evidence of the Gaussian process that reads the final states.

Least squares trains a flow for a linear readout. What suits the process is a little different: a
few dozen steps of Adam on minibatches move the controls, together with the hyper-parameters, up the
evidence of the rows of each batch. A batch of a few hundred rows tells the metric that the flow has
to make, if not the finest detail, and its factorisation takes no time.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count

import numpy as np

from skcode.objective import EvidenceObjective
from skcode.solvers import Adam
from skcode.training._member import Member
from skcode.training._rows import Rows
from skcode.utils._typing import FloatArray

#: rows of a minibatch: half of them see too little, twice as many cost four times as much
_BATCH_ROWS = 256
#: first rate of Adam, in standard deviations of a control, and the decay of its second moments:
#: a few dozen steps have to forget the first ones
_RATE, _BETA_2 = 0.1, 0.99
#: least standard deviation of a control: a flow that least squares left at rest may still move
_LEAST_SCALE = 0.02


def ascend(
    member: Member,
    rows: Rows,
    logs: FloatArray,
    n_steps: int,
    smooth: bool,
    rng: np.random.Generator,
) -> tuple[FloatArray, FloatArray]:
    """Controls (M, d) and logarithms of the hyper-parameters after so many steps.

    Parameters
    ----------
    member : Member
        Model and controls to start from.
    rows : Rows
        Rows with standardised outputs (n, K) and weights with a mean of one.
    logs : ndarray of shape (8,)
        Logarithms to start from, as `Evidence` has them.
    n_steps : int
        Steps of Adam.
    smooth : bool
        Whether the kernel has a Gaussian part.
    rng : Generator
        Draws the minibatches.
    """
    n = len(rows.X)
    most = n_steps * _BATCH_ROWS
    if n > most:
        some = np.sort(rng.choice(n, most, replace=False, shuffle=False))
        rows, n = Rows(*(part[some] for part in rows)), most
    n_batches = max(round(n / _BATCH_ROWS), 1)
    controls = member.fitted.controls.astype(np.float64)
    scale = max(float(np.sqrt(np.mean(controls**2))), _LEAST_SCALE)
    objective = EvidenceObjective(member.model, *rows, controls, scale, logs, smooth)
    solver = Adam("cosine", _RATE, beta_2=_BETA_2, batch_size=-(-n // n_batches))
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
