"""Levenberg-Marquardt on controls and readout together, regularised by evidence."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils._param_validation import Interval

from skcode.solvers._base import Solver, SolverResult, warn_of_explosion
from skcode.utils._arrow import ArrowFactor

#: prior precisions from which the evidence updates start
_FIRST_CONTROL_PRECISION = 1.0
_FIRST_READOUT_PRECISION = 1e-2
_FIRST_NOISE_PRECISION = 2.0
#: so little that steps near the optimum converge quadratically
_LEAST_DAMPING = 1e-8
#: where damping starts to grow after a rejection: climbing from the least would take evaluations
_RETREAT_DAMPING = 1e-4
#: steps of each phase after the first, when rows come in growing subsets
_LATE_STEPS = 3
#: entries of X that a subset may copy: 64 MB in single precision
_SUBSET_ENTRIES = 2**24


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

    and the iterate of highest Laplace evidence is kept: all rows train, none is held out.

    Parameters
    ----------
    damping : float
        First damping.
    patience : int
        Steps without a higher evidence after which training ends.
    rate : float
        Geometric weight of the new precisions in (0, 1]; 1 is MacKay's rule undamped.
    evidence_steps : int
        Most steps where evidence regularises; few steps are part of that regularisation.
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

    needs = ("normal_equations", "subset", "groups", "total_weight", "ridge", "alpha")
    default_max_iter = 100

    _parameter_constraints = {
        "damping": [Interval(Real, 0, None, closed="neither")],
        "patience": [Interval(Integral, 1, None, closed="left")],
        "rate": [Interval(Real, 0, 1, closed="right")],
        "evidence_steps": [Interval(Integral, 1, None, closed="left")],
        "first_rows": [Interval(Integral, 1, None, closed="left")],
        "growth": [Interval(Real, 1, None, closed="left")],
    }

    def __init__(
        self,
        damping: float = 0.1,
        patience: int = 3,
        rate: float = 0.5,
        evidence_steps: int = 15,
        first_rows: int = 2**14,
        growth: float = 8.0,
    ):
        self.damping = damping
        self.patience = patience
        self.rate = rate
        self.evidence_steps = evidence_steps
        self.first_rows = first_rows
        self.growth = growth

    def minimize(self, objective, theta, *, max_iter, tol, n_iter_no_change, rng, monitor):
        self.check_objective(objective)
        state: Any = None
        n_iter, converged, message = 0, False, "max_iter reached"
        for rows, budget in self._phases(objective, max_iter):
            part = objective
            if rows < objective.n_samples:
                part = objective.subset(np.sort(rng.choice(objective.n_samples, rows, False)))
            state = State(part, theta, self.damping, previous=state)
            if n_iter == 0:
                state.solve_readout(1 if objective.loss.has_noise else 2)
            evidence = Evidence(state, self.rate) if objective.alpha is None else None
            converged, message, stop = False, "max_iter reached", False
            for _ in range(budget):
                n_iter += 1
                decrease = state.step()
                if stop := monitor(state.theta, state.mean_objective):
                    converged, message = True, "stopped by the monitor"
                    break
                if decrease <= 1e-2 * tol * state.total * state.noise:
                    converged, message = True, "no step decreases the loss by tol"
                    break
                if evidence is not None and evidence.update() >= self.patience:
                    message = "the evidence fell"
                    break
            # the bound on the steps is part of the regularisation, not a failure to converge
            converged = converged or evidence is not None
            posterior = evidence.best if evidence is not None else None
            theta = state.theta if posterior is None else posterior.theta
            if stop:
                break
        return SolverResult(theta, n_iter, converged, message, posterior or state.posterior())

    def most_iterations(self, objective, max_iter):
        return sum(budget for _, budget in self._phases(objective, max_iter))

    def _phases(self, objective: Any, max_iter: int) -> list[tuple[int, int]]:
        """Rows and steps of each phase: growing random subsets first, all rows last."""
        if objective.alpha is None:
            max_iter = min(max_iter, self.evidence_steps)
        rows = [objective.n_samples]
        # a phase has a step at least
        while self.growth > 1 and rows[0] > self.first_rows and len(rows) < max_iter:
            fewer = min(int(rows[0] / self.growth), _SUBSET_ENTRIES // objective.X.shape[1])
            rows.insert(0, max(fewer, self.first_rows))
        late = min(_LATE_STEPS, max_iter // len(rows))
        first = max_iter - late * (len(rows) - 1)
        return [(r, first if i == 0 else late) for i, r in enumerate(rows)]


@dataclass(frozen=True)
class Posterior:
    """Laplace approximation N(theta, P^{-1}) at an iterate, and the noise precision."""

    theta: NDArray
    factor: ArrowFactor
    noise: float


class State:
    """The iterate, its linearisation, the damping, and the prior and noise precisions."""

    def __init__(
        self, objective: Any, theta: NDArray, damping: float, previous: State | None = None
    ):
        self.objective = objective
        self.theta = np.array(theta, dtype=np.float64)
        self.total = objective.total_weight
        self.damping = damping
        self.noise = 1.0
        self.precision = self._first_precision()
        if previous is not None:
            self.damping, self.noise = previous.damping, previous.noise
            if objective.alpha is None:
                self.precision = previous.precision
        self.is_control = np.arange(len(self.theta)) < objective.model.n_controls
        self.held = self.is_control & (not objective.train_controls)
        self.linearise()
        self._retreat()

    def _retreat(self) -> None:
        """Halve the controls until the normal equations are finite, and tell of it."""
        for halved in range(60):
            if np.isfinite(self.equations.value):
                if halved:
                    warn_of_explosion(f"the controls were divided by {2.0**halved:.3g}")
                return
            self.theta[self.is_control] /= 2
            self.linearise()
        raise ValueError(
            "The flow, or the Gauss-Newton matrix, overflows however small the controls are. Scale "
            "X and y (scaling='robust') or use bounded vector fields (vector_fields='neural')."
        )

    def _first_precision(self) -> NDArray:
        objective = self.objective
        if objective.alpha is not None:
            return self.total * objective.ridge
        if objective.loss.has_noise:
            self.noise = _FIRST_NOISE_PRECISION
        precision = np.full(len(self.theta), _FIRST_READOUT_PRECISION)
        precision[: objective.model.n_controls] = _FIRST_CONTROL_PRECISION
        # intercepts are all but free; those of a softmax are defined up to a constant
        precision[objective.groups < 0] = 1e-2 if objective.loss.coupled else 1e-8
        return precision

    def linearise(self) -> None:
        """Value, gradient and Gauss-Newton matrix of the mean loss at theta."""
        self.equations = self.objective.normal_equations(self.theta)

    @property
    def penalised(self) -> float:
        """Summed loss plus penalty."""
        return self._penalised(self.equations.value, self.theta)

    @property
    def mean_objective(self) -> float:
        """Loss plus penalty in units of one sample's loss."""
        return self.penalised / (self.total * self.noise)

    def _penalised(self, value: float, theta: NDArray) -> float:
        return self.total * self.noise * value + 0.5 * float(self.precision @ theta**2)

    def factor(self, damping: float = 0.0) -> ArrowFactor | None:
        """Factor of the damped matrix of the summed objective; None if it is not positive.

        What is held takes a shift that no data can move.
        """
        diagonal = self.total * self.noise * self.equations.matrix.diagonal
        # rounding of the sweeps must not make the matrix indefinite
        eps = np.finfo(self.objective.precision).eps
        shift = self.precision + damping * (diagonal + self.precision) + 3 * eps * diagonal
        shift += 1e-3 * eps * diagonal.max()
        shift[self.held] += 1e12 * (1 + diagonal[self.held])
        return self.equations.matrix.scaled(self.total * self.noise).factor(shift)

    def undamped_factor(self) -> ArrowFactor | None:
        """Factor without damping, or with the least that rounding of the sweeps asks for."""
        for damping in (0.0, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2):
            factor = self.factor(damping)
            if factor is not None:
                return factor
        return None

    def posterior(self) -> Posterior | None:
        """The Laplace approximation at theta; ends the use of this state."""
        if self.objective.alpha is not None and self.objective.loss.has_noise:
            # a fixed penalty is one in units of the noise, of which the residuals tell
            n = self.total * self.objective.model.readout.n_outputs
            self.noise = n / max(2 * self.total * self.equations.value, 1e-9 * n)
            self.precision = self.noise * self.precision
        factor = self.undamped_factor()
        return None if factor is None else Posterior(self.theta.copy(), factor, self.noise)

    def solve_readout(self, n_steps: int) -> None:
        """Newton steps on the readout alone, for the controls at hand."""
        held, self.held = self.held, self.is_control
        for _ in range(n_steps):
            self.step(damping=1e-6)
        self.held = held

    def step(self, damping: float | None = None) -> float:
        """Take a step if one decreases the objective; returns the decrease, 0 if none does."""
        follow = damping is None
        damping = self.damping if damping is None else damping
        scale, before = self.total * self.noise, self.penalised
        gradient = scale * self.equations.gradient + self.precision * self.theta
        gradient[self.held] = 0
        for _ in range(8):
            factor = self.factor(damping)
            if factor is None:
                damping = 10 * max(damping, _RETREAT_DAMPING)
                continue
            delta = np.where(self.held, 0, -factor.solve(gradient))
            curvature = scale * self.equations.matrix.quadratic(delta)
            curvature += float(self.precision @ delta**2)
            predicted = -float(gradient @ delta) - 0.5 * curvature
            trial = self.theta + delta
            equations = self.objective.normal_equations(trial)
            decrease = before - self._penalised(equations.value, trial)
            ratio = decrease / max(predicted, 1e-300)
            if np.isfinite(equations.value) and ratio > 1e-3 and decrease > 0:
                self.theta, self.equations = trial, equations
                if follow:
                    self.damping = damping * max(1 / 3, 1 - (2 * ratio - 1) ** 3)
                    self.damping = max(self.damping, _LEAST_DAMPING)
                return decrease
            damping = 4 * max(damping, _RETREAT_DAMPING)
        if follow:
            self.damping = damping
        return 0.0


class Evidence:
    """MacKay's updates of the precisions of a state, and the iterate of highest evidence."""

    def __init__(self, state: State, rate: float):
        self.state = state
        self.rate = rate
        groups = state.objective.groups
        self.members = [
            np.flatnonzero(groups == group) for group in range(groups.max(initial=-1) + 1)
        ]
        self.n_values = state.total * state.objective.model.readout.n_outputs
        self.best: Posterior | None = None
        self._highest = -np.inf
        self._stalled = 0

    def update(self) -> int:
        """Compare the iterate, update the precisions, return the steps since the highest."""
        state = self.state
        factor = state.undamped_factor()
        if factor is None:
            return self._stalled
        self._compare(factor)
        variances = factor.inverse_diagonal()
        effective_total = 0.0
        for group in self.members:
            old = state.precision[group[0]]
            effective = max(len(group) - old * float(variances[group].sum()), 1e-3)
            effective_total += effective
            new = effective / max(float(np.sum(state.theta[group] ** 2)), 1e-8)
            new = float(np.clip(new, 1e-6, 1e6))
            state.precision[group] = old ** (1 - self.rate) * new**self.rate
        if state.objective.loss.has_noise:
            n = self.n_values
            residual = 2 * state.total * state.equations.value
            new = max(n - effective_total, 0.1 * n) / max(residual, 1e-9 * n)
            state.noise = state.noise ** (1 - self.rate) * new**self.rate
        return self._stalled

    def _compare(self, factor: ArrowFactor) -> None:
        """Laplace evidence up to constants; the highest so far is kept."""
        state = self.state
        value = -state.penalised - 0.5 * factor.log_determinant
        for group in self.members:
            value += 0.5 * len(group) * np.log(state.precision[group[0]])
        if state.objective.loss.has_noise:
            value += 0.5 * self.n_values * np.log(state.noise)
        if value > self._highest:
            self._highest, self._stalled = value, 0
            self.best = Posterior(state.theta.copy(), factor, state.noise)
        else:
            self._stalled += 1
