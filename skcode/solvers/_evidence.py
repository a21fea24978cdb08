"""Prior and noise precisions from the data, through Laplace's evidence."""

from __future__ import annotations

import numpy as np

from skcode.model import Posterior
from skcode.solvers._levenberg_marquardt import Iterate
from skcode.utils._arrowhead import ArrowheadFactor

#: bounds of a prior precision; beyond them a group is free, or held at zero
_PRECISION_RANGE = 1e-6, 1e6
#: least number of parameters of a group that count as determined by the data
_LEAST_EFFECTIVE = 1e-3
#: least share of the values that has to be left for them to tell the noise, where parameters are
#: many. With less it may be larger than it was, but not smaller: a first step that interpolates
#: would take itself for exact, and no later one could leave it
_LEAST_RESIDUAL_SHARE = 0.1


class Evidence:
    """MacKay's updates of the precisions of an iterate, and the parameters of highest evidence.

    Parameters
    ----------
    iterate : Iterate
        What a step has just moved.
    rate : float
        Geometric weight of the new precisions; 1 is MacKay's rule undamped.
    """

    def __init__(self, iterate: Iterate, rate: float):
        self.iterate = iterate
        self.rate = rate
        groups = iterate.objective.groups
        self.groups = [
            np.flatnonzero(groups == group) for group in range(groups.max(initial=-1) + 1)
        ]
        # how many residuals the noise is estimated from; those of a degree of one count twice, as
        # sigma^2 stands in their density with another power
        objective = iterate.objective
        self.telling = iterate.total * objective.telling_share
        self.n_values = self.telling * objective.n_outputs * (2 / objective.loss.degree)
        self.best: Posterior | None = None
        self._factor: ArrowheadFactor | None = None
        self._highest = -np.inf
        self._stalled = 0

    def cost(self) -> float:
        """Minus the log evidence of the iterate, per unit of weight: what the steps lower.

        Infinite where the curvature is not positive. `update` goes on from here.
        """
        self._factor = self.iterate.undamped_factor()
        if self._factor is None:
            return np.inf
        return -self._log_evidence(self._factor) / self.iterate.total

    def update(self) -> int:
        """Compare what `cost` saw, update the precisions, return the steps since the highest."""
        iterate = self.iterate
        factor, self._factor = self._factor, None
        if factor is None:
            return self._stalled
        self._compare(factor)
        variances = factor.inverse_diagonal()
        effective_total = 0.0
        for group in self.groups:
            old = iterate.prior_precision[group[0]]
            effective = max(len(group) - old * float(variances[group].sum()), _LEAST_EFFECTIVE)
            effective_total += effective
            new = effective / max(float(np.sum(iterate.theta[group] ** 2)), 1e-8)
            new = float(np.clip(new, *_PRECISION_RANGE))
            iterate.prior_precision[group] = old ** (1 - self.rate) * new**self.rate
        if iterate.objective.loss.has_noise:
            n = self.n_values
            residual = 2 * self.telling * self._dispersion()
            if not np.isfinite(residual):
                return self._stalled
            old, least = iterate.noise_precision, _LEAST_RESIDUAL_SHARE * n
            new = max(n - effective_total, least) / max(residual, 1e-9 * n)
            if n - effective_total < least:
                new = min(new, old)
            iterate.noise_precision = old ** (1 - self.rate) * new**self.rate
        return self._stalled

    def _dispersion(self) -> float:
        """Half the mean squared residual, in units of what the noise is a factor of."""
        iterate = self.iterate
        if iterate.objective.loss.quadratic:
            return iterate.equations.value
        return iterate.objective.dispersion(iterate.theta)

    def _log_evidence(self, factor: ArrowheadFactor) -> float:
        """Of Laplace's approximation, up to constants of the intercepts, which have no prior."""
        iterate = self.iterate
        value = -iterate.penalised - 0.5 * factor.log_determinant
        for group in self.groups:
            value += 0.5 * len(group) * np.log(iterate.prior_precision[group[0]])
        if iterate.objective.loss.has_noise:
            value += 0.5 * self.n_values * np.log(iterate.noise_precision)
        return float(value)

    def _compare(self, factor: ArrowheadFactor) -> None:
        """Keep the iterate of highest evidence."""
        iterate, value = self.iterate, self._log_evidence(factor)
        if value > self._highest:
            self._highest, self._stalled = value, 0
            self.best = Posterior(iterate.theta.copy(), factor, iterate.noise_precision)
        else:
            self._stalled += 1
