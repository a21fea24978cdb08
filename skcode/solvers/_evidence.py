"""Prior and noise precisions from the data, through Laplace's evidence."""

from __future__ import annotations

import numpy as np

from skcode.solvers._damped import Posterior, State
from skcode.utils._arrowhead import ArrowheadFactor


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

    def _compare(self, factor: ArrowheadFactor) -> None:
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
