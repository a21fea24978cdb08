"""The iterate of Levenberg-Marquardt: linearisation, damping, prior and noise precisions."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from skcode.model import Posterior
from skcode.objective import NormalEquations
from skcode.solvers._back_off import halve_controls
from skcode.solvers._objectives import NormalObjective
from skcode.utils._arrowhead import Arrowhead, ArrowheadFactor
from skcode.utils._typing import FloatArray

#: prior precision of the controls from which the evidence starts: they are drawn of size one
_FIRST_CONTROL_PRECISION = 1.0
#: that of readout weights, whose standard deviation it lets be ten
_FIRST_READOUT_PRECISION = 1e-2
#: ... and where scores are logarithms of means, be one: with ten, a first step multiplies the mean
#: at each rare event by a thousand, far from where a quadratic model of the loss holds
_FIRST_LOG_READOUT_PRECISION = 1.0
#: noise precision from which the evidence starts: half the variance of standardised targets
_FIRST_NOISE_PRECISION = 2.0
#: prior precision of intercepts, which are all but free
_INTERCEPT_PRECISION = 1e-8
#: ... but those of coupled scores (softmax) are defined up to a constant, which this one settles
_COUPLED_INTERCEPT_PRECISION = 1e-2
#: least damping, relative to the diagonal: so little that steps near the optimum converge
#: quadratically
_LEAST_DAMPING = 1e-8
#: damping from which it grows after a rejection: to climb from the least would take evaluations
_RETREAT_DAMPING = 1e-4
#: factor of the damping after a matrix that is not positive: no step was tried, and none evaluated
_INDEFINITE_GROWTH = 10.0
#: factor of the damping after a step that was rejected
_REJECTED_GROWTH = 4.0
#: trials of one step, each with more damping, before the step is given up
_MOST_TRIALS = 8
#: least share of the predicted decrease that a step has to bring
_LEAST_RATIO = 1e-3
#: outputs from which a trial is evaluated before it is linearised: some trials fail, and several
#: sweeps back cost several times the way forward
_MANY_OUTPUTS = 3


class Strengths(NamedTuple):
    """What the next phase starts with: damping, noise precision and prior precisions."""

    damping: float
    noise_precision: float
    prior_precision: FloatArray


class Iterate:
    """The parameters, their linearisation, the damping, and the prior and noise precisions.

    Parameters
    ----------
    objective : NormalObjective
        What is minimised.
    theta : ndarray of shape (n_parameters,)
        Where the iteration starts.
    damping : float
        First damping.
    strengths : Strengths or None
        Where an earlier phase, on fewer rows, ended.
    readout_steps : int
        Steps of the readout alone that come first where there was no earlier phase.
    """

    def __init__(
        self,
        objective: NormalObjective,
        theta: FloatArray,
        damping: float,
        strengths: Strengths | None = None,
        readout_steps: int = 0,
    ):
        self.objective = objective
        self.theta: FloatArray = np.array(theta, dtype=np.float64)
        self.total: float = objective.total_weight
        self.damping = damping
        self.noise_precision = 1.0
        self.prior_precision = self._first_precision()
        if strengths is not None:
            self.damping = strengths.damping
            self.noise_precision = strengths.noise_precision
            if objective.alpha is None:
                self.prior_precision = strengths.prior_precision
        self.is_control = np.arange(len(self.theta)) < objective.n_controls
        self.held = self.is_control & (not objective.train_controls)
        self.readout_only = False
        self.tries_first = objective.n_outputs >= _MANY_OUTPUTS
        if strengths is None and readout_steps:
            self._solve_readout(readout_steps)
        self.linearise()

    def linearise(self) -> None:
        """Value, gradient and Gauss-Newton matrix of the mean loss at theta, or at less controls.

        The controls are halved until the normal equations are finite.
        """
        self.theta, self.equations = halve_controls(
            self.theta,
            self.objective.n_controls,
            self._equations,
            lambda equations: equations.value,
            "The flow, or the Gauss-Newton matrix, overflows however small the controls are. Scale "
            "X and y (scaling='robust') or use bounded vector fields (vector_fields='neural').",
        )

    def _first_precision(self) -> FloatArray:
        objective = self.objective
        if objective.alpha is not None:
            ridge: FloatArray = self.total * objective.ridge
            return ridge
        if objective.loss.has_noise:
            self.noise_precision = _FIRST_NOISE_PRECISION
        of_logs = objective.loss.log_link
        first = _FIRST_LOG_READOUT_PRECISION if of_logs else _FIRST_READOUT_PRECISION
        precision = np.full(len(self.theta), first)
        precision[: objective.n_controls] = _FIRST_CONTROL_PRECISION
        precision[objective.groups < 0] = (
            _COUPLED_INTERCEPT_PRECISION if objective.loss.coupled else _INTERCEPT_PRECISION
        )
        return precision

    def _scale_precision(self) -> None:
        """Let the scores of each group of readout weights have that standard deviation.

        A prior that lets each weight have it is so weak where columns are about as many as rows
        that the first step interpolates, and the noise runs away.
        """
        groups, diagonal = self.objective.groups, self.equations.matrix.diagonal
        for group in np.unique(groups[~self.is_control & (groups >= 0)]):
            members = groups == group
            features = float(diagonal[members].sum()) / self.objective.n_outputs
            self.prior_precision[members] *= max(features, 1.0)

    def _equations(self, theta: FloatArray) -> NormalEquations:
        return self.objective.normal_equations(theta, controls=not self.readout_only)

    @property
    def strengths(self) -> Strengths:
        return Strengths(self.damping, self.noise_precision, self.prior_precision)

    @property
    def penalised(self) -> float:
        """Summed loss plus penalty."""
        return self._penalised(self.equations.value, self.theta)

    @property
    def mean_objective(self) -> float:
        """Loss plus penalty in units of one sample's loss."""
        return self.penalised / (self.total * self.noise_precision)

    def _penalised(self, value: float, theta: FloatArray) -> float:
        return self.total * self.noise_precision * value + 0.5 * float(
            self.prior_precision @ theta**2
        )

    def factor(self, damping: float = 0.0) -> ArrowheadFactor | None:
        """Factor of the damped matrix of the summed objective; None if it is not positive.

        What is held takes a shift that no data can move.
        """
        diagonal = self.total * self.noise_precision * self.equations.matrix.diagonal
        # rounding of the sweeps must not make the matrix indefinite
        eps = np.finfo(self.objective.normal_dtype).eps
        shift = (
            self.prior_precision + damping * (diagonal + self.prior_precision) + 3 * eps * diagonal
        )
        shift += 1e-3 * eps * diagonal.max()
        shift[self.held] += 1e12 * (1 + diagonal[self.held])
        matrix: Arrowhead = self.equations.matrix
        return matrix.scaled(self.total * self.noise_precision).factor(shift)

    def undamped_factor(self) -> ArrowheadFactor | None:
        """Factor without damping, or with the least that rounding of the sweeps asks for."""
        for damping in (0.0, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2):
            factor = self.factor(damping)
            if factor is not None:
                return factor
        return None

    def posterior(self) -> Posterior | None:
        """The Laplace approximation at theta; ends the use of this iterate."""
        if self.objective.alpha is not None and self.objective.loss.quadratic:
            # a fixed penalty is one in units of the noise, of which the residuals tell
            n = self.total * self.objective.n_outputs
            self.noise_precision = n / max(2 * self.total * self.equations.value, 1e-9 * n)
            self.prior_precision = self.noise_precision * self.prior_precision
        factor = self.undamped_factor()
        return (
            None if factor is None else Posterior(self.theta.copy(), factor, self.noise_precision)
        )

    def _solve_readout(self, n_steps: int) -> None:
        """Newton steps on the readout alone, for the controls at hand."""
        held, self.held, self.readout_only = self.held, self.is_control, True
        self.linearise()
        if self.objective.alpha is None and self.objective.loss.has_noise:
            self._scale_precision()
        for _ in range(n_steps):
            self.step(damping=1e-6)
        self.held, self.readout_only = held, False

    def step(self, damping: float | None = None) -> float:
        """Take a step if one decreases the objective; returns the decrease, 0 if none does."""
        follow = damping is None
        damping = self.damping if damping is None else damping
        scale, before = self.total * self.noise_precision, self.penalised
        gradient = scale * self.equations.gradient + self.prior_precision * self.theta
        gradient[self.held] = 0
        for _ in range(_MOST_TRIALS):
            factor = self.factor(damping)
            if factor is None:
                damping = _INDEFINITE_GROWTH * max(damping, _RETREAT_DAMPING)
                continue
            delta = np.where(self.held, 0, -factor.solve(gradient))
            curvature = scale * self.equations.matrix.quadratic(delta)
            curvature += float(self.prior_precision @ delta**2)
            predicted = -float(gradient @ delta) - 0.5 * curvature
            trial = self.theta + delta
            equations = None if self.tries_first else self._equations(trial)
            value = self.objective.normal_value(trial) if equations is None else equations.value
            decrease = before - self._penalised(value, trial)
            ratio = decrease / max(predicted, 1e-300)
            accepted = np.isfinite(value) and ratio > _LEAST_RATIO and decrease > 0
            if accepted and equations is None:
                equations = self._equations(trial)
                # a product may overflow where the flow does not
                accepted = np.isfinite(equations.value)
            if accepted and equations is not None:
                self.theta, self.equations = trial, equations
                if follow:
                    self.damping = damping * max(1 / 3, 1 - (2 * ratio - 1) ** 3)
                    self.damping = max(self.damping, _LEAST_DAMPING)
                return decrease
            damping = _REJECTED_GROWTH * max(damping, _RETREAT_DAMPING)
        if follow:
            self.damping = damping
        return 0.0
