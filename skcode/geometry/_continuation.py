"""Newton's method from a loop: one small displacement, or a chain of loops along a path."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import pdist

from skcode.geometry._bundle import Bundle
from skcode.geometry._loops import LoopBuilder, LoopDesign
from skcode.geometry._shooting import Iterate, Linearisation, there_and_back

#: steps of the scheme in an interval, tried in turn until a loop closes
_STEPS = (1, 2, 4, 8)
_CLOSED = 1e-9
#: weight of the points' moves, in units of their spread, against that of the controls
_STILL = 0.3
#: steps have to shrink by this factor, and by the second one to keep the linearisation
_CONVERGES, _KEEP = 0.5, 0.1
#: the smallest part of a path that is tried
_SMALLEST = 1e-6
#: beyond this the smallest singular value is rounding
_SINGULAR = 1e14


@dataclass
class Report:
    """What was seen on the way, for the message."""

    n_iter: int = 0
    n_loops: int = 0
    condition: float = np.nan
    explosions: int = 0
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Solver:
    """Newton's method for given fields at a given number of steps in an interval."""

    bundle: Bundle
    n_steps: int
    mu: float
    report: Report

    def linearise(self, z: Iterate) -> Linearisation | None:
        """The equations linearised at z; None on explosion or where they are singular."""
        line = Linearisation(self.bundle, z, self.n_steps, self.mu)
        if not line.finite:
            self.report.explosions += 1
            return None
        self.report.condition = line.condition
        return line if line.condition < _SINGULAR else None

    def newton(
        self, z: Iterate, line: Linearisation, target: NDArray, tol: float, max_iter: int = 20
    ) -> tuple[Iterate, Linearisation, float]:
        """Steps towards the target: (z, its linearisation, the largest miss).

        Progress is measured by the size of the steps, not by the miss: a miss in a direction in
        which the points move easily counts for little (Deuflhard, Newton Methods for Nonlinear
        Problems, 2004, section 3.2). The linearisation is renewed where the steps shrink slowly.
        """
        defects, miss, error = self._errors(z, line, target)
        if not np.isfinite(error):
            return z, line, error
        dw, dx = line.solve(miss, defects)
        for _ in range(max_iter):
            if error <= tol:
                break
            self.report.n_iter += 1
            trial = Iterate(z.w + dw, np.concatenate([z.x[:1], z.x[1:] + dx]))
            defects, miss, error_t = self._errors(trial, line, target)
            if not np.isfinite(error_t):
                break
            dw_t, dx_t = line.solve(miss, defects)
            shrinks = np.linalg.norm(dw_t) / np.linalg.norm(dw)
            if not shrinks < _CONVERGES:
                break
            z, error, dw, dx = trial, error_t, dw_t, dx_t
            if error > tol and shrinks > _KEEP:
                renewed = self.linearise(z)
                if renewed is None:
                    break
                line = renewed
                dw, dx = line.solve(*self._errors(z, line, target)[1::-1])
        return z, line, error

    def _errors(self, z: Iterate, line: Linearisation, target: NDArray) -> tuple[Any, ...]:
        """Defects, what misses at the end in all, and its largest entry; inf on explosion."""
        defects = self.bundle.flow(z.w, z.x[:-1], self.n_steps) - z.x[1:]
        miss = target - z.x[-1] - line.arrival(defects)
        error = np.max(abs(miss))
        return defects, miss, float(error) if np.isfinite(error) else np.inf


@dataclass(frozen=True)
class Start:
    """A loop that is ready for Newton's method."""

    solver: Solver
    z: Iterate
    line: Linearisation


def draw_start(
    bundle: Bundle,
    X: NDArray,
    spread: float,
    n_intervals: int,
    rng: np.random.Generator,
    report: Report,
) -> Start | None:
    """A loop at the points X and the equations linearised there; None on explosion."""
    forth = LoopBuilder(bundle, X, spread, LoopDesign()).draw(n_intervals, rng)
    report.n_loops += 1
    for n_steps in _STEPS:
        z = there_and_back(bundle, forth, X, n_intervals, n_steps)
        gap = np.max(abs(bundle.flow(z.w, z.x[:-1], n_steps) - z.x[1:]))
        if gap < _CLOSED * spread:
            break
    solver = Solver(bundle, n_steps, _STILL / spread, report)
    line = solver.linearise(z)
    return None if line is None else Start(solver, z, line)


@dataclass(frozen=True)
class Segment:
    """A part of the chain: controls and states, and the solver that found them."""

    solver: Solver
    z: Iterate
    line: Linearisation


def follow(
    bundle: Bundle,
    path: Callable[[float], NDArray],
    s: float,
    X: NDArray,
    spread: float,
    n_intervals: int,
    tol: float,
    rng: np.random.Generator,
    report: Report,
    enough: float = 1.0,
    max_steps: int = 12,
) -> tuple[Segment, float] | None:
    """One loop at X, carried along the path of targets from path(s) as far as Newton goes.

    It ends at path(1), or where s is `enough` already.

    Returns the segment and the new s, or None where the loop was of no use.
    """
    start = draw_start(bundle, X, spread, n_intervals, rng, report)
    if start is None:
        return None
    z, line, solver = start.z, start.line, start.solver
    origin, ds, best = s, 1 - s, 0.0
    for _ in range(max_steps):
        while ds > _SMALLEST:
            t = min(s + ds, 1.0)
            accuracy = tol if t == 1.0 else min(1e-3 * ds * spread, 1e-6)
            trial, trial_line, error = solver.newton(z, line, path(t), accuracy, max_iter=8)
            if error <= accuracy:
                break
            ds /= 3
        else:
            break
        z, line, s, best = trial, trial_line, t, max(best, ds)
        renewed = solver.linearise(z)
        if renewed is None:
            break
        line = renewed
        if s >= enough or ds < best / 9:
            break
        ds *= 2
    return None if s == origin else (Segment(solver, z, line), s)


class DetourPath:
    """Paths from X to Y, one for each point, which stay apart from each other.

    :math:`(1 - s) x_i + s y_i + s (1 - s) w_i`, with bends w chosen among random ones so that the
    smallest distance of two points, relative to that at the ends, is largest.
    """

    def __init__(self, X: NDArray, Y: NDArray, spread: float, rng: np.random.Generator):
        self.X, self.Y = X, Y
        self.w = np.zeros_like(X)
        if len(X) > 1:
            bends = [np.zeros_like(X), *(rng.normal(0, 2 * spread, X.shape) for _ in range(200))]
            self.w = max(bends, key=self._clearance)

    def __call__(self, s: float) -> NDArray:
        return (1 - s) * self.X + s * self.Y + s * (1 - s) * self.w

    def _clearance(self, w: NDArray) -> float:
        self.w = w
        return min(pdist(self(s)).min() for s in np.linspace(0, 1, 41))
