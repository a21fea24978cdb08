"""The iterate of Levenberg-Marquardt: linearisation, damping, prior and noise precisions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from skcode.objective import NormalEquations, Objective
from skcode.solvers._base import warn_of_explosion
from skcode.utils._arrowhead import Arrowhead, ArrowheadFactor
from skcode.utils._typing import FloatArray

#: prior precisions from which the evidence updates start
_FIRST_CONTROL_PRECISION = 1.0
_FIRST_READOUT_PRECISION = 1e-2
_FIRST_NOISE_PRECISION = 2.0
#: so little that steps near the optimum converge quadratically
_LEAST_DAMPING = 1e-8
#: where damping starts to grow after a rejection: climbing from the least would take evaluations
_RETREAT_DAMPING = 1e-4
#: outputs from which a trial is looked at before it is linearised
_MANY_OUTPUTS = 3


@dataclass(frozen=True)
class Posterior:
    """Laplace approximation N(theta, P^{-1}) at an iterate, and the noise precision."""

    theta: FloatArray
    factor: ArrowheadFactor
    noise: float


class Strengths(NamedTuple):
    """What the next phase starts with: damping, noise precision and prior precisions."""

    damping: float
    noise: float
    precision: FloatArray


class State:
    """The iterate, its linearisation, the damping, and the prior and noise precisions.

    `readout_steps` are taken first where no `strengths` come from an earlier phase.
    """

    def __init__(
        self,
        objective: Objective,
        theta: FloatArray,
        damping: float,
        strengths: Strengths | None = None,
        readout_steps: int = 0,
    ):
        self.objective = objective
        self.theta = np.array(theta, dtype=np.float64)
        self.total: float = objective.total_weight
        self.damping = damping
        self.noise = 1.0
        self.precision = self._first_precision()
        if strengths is not None:
            self.damping, self.noise = strengths.damping, strengths.noise
            if objective.alpha is None:
                self.precision = strengths.precision
        self.is_control = np.arange(len(self.theta)) < objective.model.n_controls
        self.held = self.is_control & (not objective.train_controls)
        self.readout_only = False
        # some trials fail, and several sweeps back cost several times the way forward
        self.tries_first = objective.model.readout.n_outputs >= _MANY_OUTPUTS
        if strengths is None and readout_steps:
            self._solve_readout(readout_steps)
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

    def _first_precision(self) -> FloatArray:
        objective = self.objective
        if objective.alpha is not None:
            ridge: FloatArray = self.total * objective.ridge
            return ridge
        if objective.loss.has_noise:
            self.noise = _FIRST_NOISE_PRECISION
        precision = np.full(len(self.theta), _FIRST_READOUT_PRECISION)
        precision[: objective.model.n_controls] = _FIRST_CONTROL_PRECISION
        # intercepts are all but free; those of a softmax are defined up to a constant
        precision[objective.groups < 0] = 1e-2 if objective.loss.coupled else 1e-8
        return precision

    def linearise(self) -> None:
        """Value, gradient and Gauss-Newton matrix of the mean loss at theta."""
        self.equations = self._equations(self.theta)

    def _equations(self, theta: FloatArray) -> NormalEquations:
        return self.objective.normal_equations(theta, controls=not self.readout_only)

    @property
    def strengths(self) -> Strengths:
        return Strengths(self.damping, self.noise, self.precision)

    @property
    def penalised(self) -> float:
        """Summed loss plus penalty."""
        return self._penalised(self.equations.value, self.theta)

    @property
    def mean_objective(self) -> float:
        """Loss plus penalty in units of one sample's loss."""
        return self.penalised / (self.total * self.noise)

    def _penalised(self, value: float, theta: FloatArray) -> float:
        return self.total * self.noise * value + 0.5 * float(self.precision @ theta**2)

    def factor(self, damping: float = 0.0) -> ArrowheadFactor | None:
        """Factor of the damped matrix of the summed objective; None if it is not positive.

        What is held takes a shift that no data can move.
        """
        diagonal = self.total * self.noise * self.equations.matrix.diagonal
        # rounding of the sweeps must not make the matrix indefinite
        eps = np.finfo(self.objective.precision).eps
        shift = self.precision + damping * (diagonal + self.precision) + 3 * eps * diagonal
        shift += 1e-3 * eps * diagonal.max()
        shift[self.held] += 1e12 * (1 + diagonal[self.held])
        matrix: Arrowhead = self.equations.matrix
        return matrix.scaled(self.total * self.noise).factor(shift)

    def undamped_factor(self) -> ArrowheadFactor | None:
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

    def _solve_readout(self, n_steps: int) -> None:
        """Newton steps on the readout alone, for the controls at hand."""
        held, self.held, self.readout_only = self.held, self.is_control, True
        self.linearise()
        self._retreat()
        for _ in range(n_steps):
            self.step(damping=1e-6)
        self.held, self.readout_only = held, False

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
            equations = None if self.tries_first else self._equations(trial)
            value = self.objective.normal_value(trial) if equations is None else equations.value
            decrease = before - self._penalised(value, trial)
            ratio = decrease / max(predicted, 1e-300)
            accepted = np.isfinite(value) and ratio > 1e-3 and decrease > 0
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
            damping = 4 * max(damping, _RETREAT_DAMPING)
        if follow:
            self.damping = damping
        return 0.0
