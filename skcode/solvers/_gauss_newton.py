"""Levenberg-Marquardt on controls and readout together, regularised by evidence."""

from __future__ import annotations

from numbers import Integral, Real
from typing import NamedTuple

import numpy as np

from skcode.model import Posterior
from skcode.solvers._base import Monitor, Solver, SolverResult
from skcode.solvers._evidence import Evidence
from skcode.solvers._levenberg_marquardt import Iterate, Strengths
from skcode.solvers._objectives import NormalObjective, members_of
from skcode.utils._sklearn import Interval
from skcode.utils._typing import FloatArray

#: steps where evidence regularises and nobody names a number: most of the gain is reached, and the
#: price of more is better paid for more members; a larger ``max_iter`` goes on while evidence grows
_EVIDENCE_STEPS = 15
#: steps of each phase after the first, when rows come in growing subsets
_LATE_STEPS = 3
#: entries of X that a subset may copy: 64 MB in single precision
_SUBSET_ENTRIES = 2**24


class Phase(NamedTuple):
    """What the steps on one set of rows led to."""

    theta: FloatArray
    strengths: Strengths
    n_iter: int
    converged: bool
    message: str
    stopped: bool
    posterior: Posterior | None


class GaussNewton(Solver):
    r"""Exact (generalised) Gauss-Newton steps with Levenberg-Marquardt damping.

    The objective is the sum over N samples of the loss plus :math:`\frac12 \sum_j \lambda_j
    \theta_j^2`. A step solves

    .. math:: (H + \Lambda + \mu\,\mathrm{diag}(H + \Lambda))\,\delta = -g

    with the Gauss-Newton matrix H; the damping :math:`\mu` follows the ratio of actual to predicted
    decrease smoothly [2]_. Where the user names no ``alpha``, the prior precisions :math:`\lambda`
    of each group of parameters (controls by family, readout weights of inputs and of other states)
    and the noise precision of the squared error are updated after each step by MacKay's rule [1]_

    .. math:: \lambda_g = \gamma_g / |\theta_g|^2, \qquad
        \gamma_g = \sum_{j \in g} 1 - \lambda_j (H + \Lambda)^{-1}_{jj}

    and the iterate of highest Laplace evidence is kept: all rows train, none is held out. There are
    15 steps where ``max_iter`` is None; a larger number goes on as long as the evidence grows.

    Parameters
    ----------
    damping : float
        First damping.
    patience : int
        Steps without a higher evidence after which training ends.
    rate : float
        Geometric weight of the new precisions in (0, 1]; 1 is MacKay's rule undamped.
    first_rows : int
        More rows than these are not used at once: the first steps take a random subset of this
        size, later ones subsets that grow, and the last steps take all rows.
    growth : float
        Factor by which the subsets grow; 1 uses all rows from the start.

    References
    ----------
    .. [1] D. J. C. MacKay, "A practical Bayesian framework for backpropagation networks", Neural
       Computation 4(3), 1992.
    .. [2] H. B. Nielsen, "Damping parameter in Marquardt's method", report IMM-REP-1999-05,
       Technical University of Denmark, 1999.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skcode import ControlledODEClassifier
    >>> from skcode.solvers import GaussNewton
    >>> model = ControlledODEClassifier(solver=GaussNewton(rate=0.7), n_members=1, random_state=0)
    >>> bool(model.fit(*load_iris(return_X_y=True)).n_iter_ <= 15)
    True
    """

    needs = members_of(NormalObjective)
    finds_penalty = True
    default_max_iter = 100

    _parameter_constraints = {
        "damping": [Interval(Real, 0, None, closed="neither")],
        "patience": [Interval(Integral, 1, None, closed="left")],
        "rate": [Interval(Real, 0, 1, closed="right")],
        "first_rows": [Interval(Integral, 1, None, closed="left")],
        "growth": [Interval(Real, 1, None, closed="left")],
    }

    def __init__(
        self,
        damping: float = 0.1,
        patience: int = 3,
        rate: float = 1.0,
        first_rows: int = 2**14,
        growth: float = 8.0,
    ):
        self.damping = damping
        self.patience = patience
        self.rate = rate
        self.first_rows = first_rows
        self.growth = growth

    def minimize(
        self,
        objective: NormalObjective,
        theta: FloatArray,
        *,
        max_iter: int,
        tol: float,
        n_iter_no_change: int,
        rng: np.random.Generator,
        monitor: Monitor,
    ) -> SolverResult:
        self.check_objective(objective)
        n_iter, strengths = 0, None
        for rows, budget in self._phases(objective, max_iter):
            part = objective
            if rows < objective.n_samples:
                index = rng.choice(objective.n_samples, rows, replace=False, shuffle=False)
                part = objective.subset(np.sort(index))
            # what a phase holds, its rows among it, is let go before the next
            phase = self._run_phase(part, theta, strengths, budget, tol, monitor)
            del part
            theta, strengths = phase.theta, phase.strengths
            n_iter += phase.n_iter
            if phase.stopped:
                break
        return SolverResult(theta, n_iter, phase.converged, phase.message, phase.posterior)

    def _run_phase(
        self,
        objective: NormalObjective,
        theta: FloatArray,
        strengths: Strengths | None,
        budget: int,
        tol: float,
        monitor: Monitor,
    ) -> Phase:
        """Up to `budget` steps on the rows of one objective."""
        readout_steps = 1 if objective.loss.quadratic else 2
        iterate = Iterate(objective, theta, self.damping, strengths, readout_steps)
        evidence = Evidence(iterate, self.rate) if objective.alpha is None else None
        converged, message, stopped, n_iter = False, "max_iter reached", False, 0
        for _ in range(budget):
            n_iter += 1
            decrease = iterate.step()
            # penalties that follow the data change from step to step, and what they are added to
            # may rise while the model improves: the evidence is what can be compared
            loss = iterate.mean_objective if evidence is None else evidence.cost()
            parts = {"data": iterate.equations.value}
            if stopped := monitor(iterate.theta, loss, parts):
                converged, message = True, "stopped by the monitor"
                break
            if decrease <= 1e-2 * tol * iterate.total * iterate.noise_precision:
                converged, message = True, "no step decreases the loss by tol"
                break
            if evidence is not None and evidence.update() >= self.patience:
                converged, message = True, "the evidence fell"
                break
        posterior = None if evidence is None else evidence.best
        return Phase(
            theta=iterate.theta if posterior is None else posterior.theta,
            strengths=iterate.strengths,
            n_iter=n_iter,
            converged=converged,
            message=message,
            stopped=stopped,
            posterior=posterior or iterate.posterior(),
        )

    def default_iterations(self, alpha: float | None) -> int:
        return _EVIDENCE_STEPS if alpha is None else self.default_max_iter

    def ends_by_default(self, alpha: float | None) -> bool:
        # with strengths from the data the bound on the steps is a part of the regularisation
        return alpha is None

    def most_iterations(self, objective: NormalObjective, max_iter: int) -> int:
        return sum(budget for _, budget in self._phases(objective, max_iter))

    def _phases(self, objective: NormalObjective, max_iter: int) -> list[tuple[int, int]]:
        """Rows and steps of each phase: growing random subsets first, all rows last."""
        rows = [objective.n_samples]
        # a phase has a step at least
        while self.growth > 1 and rows[0] > self.first_rows and len(rows) < max_iter:
            fewer = min(int(rows[0] / self.growth), _SUBSET_ENTRIES // objective.n_features)
            rows.insert(0, max(fewer, self.first_rows))
        late = min(_LATE_STEPS, max_iter // len(rows))
        first = max_iter - late * (len(rows) - 1)
        return [(r, first if i == 0 else late) for i, r in enumerate(rows)]
