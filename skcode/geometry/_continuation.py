"""Newton's method from a loop: one small displacement, or a chain of loops along a path."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.interpolate import CubicSpline

from skcode.geometry._bundle import Bundle
from skcode.geometry._loops import LoopBuilder, LoopDesign
from skcode.geometry._paths import plan_paths
from skcode.geometry._shooting import Iterate, Linearisation, settle, there_and_back
from skcode.utils._typing import FloatArray

#: steps of the scheme in an interval, tried in turn until a loop closes
_STEPS = (1, 2, 4, 8)
_CLOSED = 1e-9
#: weight of the points' moves, in units of their spread, against that of the controls
_STILL = 0.3
#: steps have to shrink by this factor, and by the second one to keep the linearisation
_CONVERGES, _KEEP = 0.5, 0.1
#: how far along its path one loop is carried, and by how many targets at most
_ENOUGH, _MOST_TARGETS = 0.3, 12
#: the smallest part of a path that is tried
_SMALLEST = 1e-6
#: the smallest part of a path that one loop of a chain is to carry the points
_SMALLEST_PART = 2e-4
#: how much the flow of one loop of a chain may stretch what is around a point
_STEEP = 3.0
#: intervals of an excursion in a chain: many short ones bend the flow less than few long ones
_CHAIN = LoopDesign(excursion=50)
#: widths of the kernel for planned paths, in units of the distance of neighbours in a cube, the
#: sizes of the bends that the plans start from, and where plans are probed
_WIDTHS, _BENDS, _PROBES = (0.55, 1.2), (0.5, 2.0), (0.1, 0.3, 0.5, 0.7, 0.9)
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
        self, z: Iterate, line: Linearisation, target: FloatArray, tol: float, max_iter: int = 20
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

    def _errors(
        self, z: Iterate, line: Linearisation, target: FloatArray
    ) -> tuple[FloatArray, FloatArray, float]:
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
    X: FloatArray,
    spread: float,
    n_intervals: int,
    rng: np.random.Generator,
    report: Report,
    design: LoopDesign,
) -> Start | None:
    """A loop at the points X and the equations linearised there; None on explosion."""
    forth = LoopBuilder(bundle, X, spread, design).draw(n_intervals, rng)
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
    path: Callable[[float], FloatArray],
    X: FloatArray,
    spread: float,
    n_intervals: int,
    tol: float,
    rng: np.random.Generator,
    report: Report,
) -> tuple[Segment, float] | None:
    """One loop at X, carried along the path of targets from path(0) as far as Newton goes.

    Returns the segment and how far along it came, or None where the loop was of no use.
    """
    start = draw_start(bundle, X, spread, n_intervals, rng, report, LoopDesign())
    if start is None:
        return None
    z, line, solver = start.z, start.line, start.solver
    s, ds, best = 0.0, 1.0, 0.0
    for _ in range(_MOST_TARGETS):
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
        if s >= _ENOUGH or ds < best / 9:
            break
        ds *= 2
    return (Segment(solver, z, line), s) if s > 0 else None


def easiest_path(
    bundle: Bundle,
    X: FloatArray,
    Y: FloatArray,
    spread: float,
    n_intervals: int,
    rng: np.random.Generator,
    report: Report,
) -> CubicSpline:
    """Of planned paths the one along which loops have to change least for the velocities."""
    neighbours = 2 * spread * len(X) ** (-1 / X.shape[1])

    def effort(path: CubicSpline) -> float:
        total = 0.0
        for s in _PROBES:
            start = draw_start(bundle, path(s), spread, n_intervals, rng, report, _CHAIN)
            if start is None:
                return np.inf
            dw, _ = start.line.solve(path(s, 1), np.zeros(start.line.B.shape[:3]))
            total += float(np.linalg.norm(dw))
        return total

    paths = [
        plan_paths(X, Y, width * neighbours, bend * spread * rng.standard_normal(X.shape))
        for width in _WIDTHS
        for bend in _BENDS
    ]
    return min(paths, key=effort) if len(X) > 1 else paths[0]


def chain(
    bundle: Bundle,
    path: Callable[[float], FloatArray],
    X: FloatArray,
    spread: float,
    n_intervals: int,
    tol: float,
    rng: np.random.Generator,
    report: Report,
    max_loops: int,
) -> tuple[list[Segment], float]:
    """Loops that carry X along the path, a small part each, and how far along they came.

    The flow of a loop that moves the points far is steep between them, and the flow of the chain is
    as steep as the product: it would amplify rounding beyond all bounds. Each loop starts where the
    one before really ends.
    """
    segments: list[Segment] = []
    s, ds, x, misses = 0.0, 1.0, X, 0
    while s < 1 and misses < 3 and report.n_loops < max_loops:
        start = draw_start(bundle, x, spread, n_intervals, rng, report, _CHAIN)
        link = None if start is None else _link(start, path, s, ds, tol, spread)
        if link is None:
            misses += 1
            continue
        segment, ds = link
        segments.append(segment)
        s, ds, x, misses = min(s + ds, 1.0), 1.5 * ds, segment.z.x[-1], 0
    return segments, s


def _link(
    start: Start,
    path: Callable[[float], FloatArray],
    s: float,
    ds: float,
    tol: float,
    spread: float,
) -> tuple[Segment, float] | None:
    """Newton from the loop to path(s + ds), where ds is halved until it converges."""
    while ds > _SMALLEST_PART:
        t = min(s + ds, 1.0)
        accuracy = tol if t == 1.0 else 1e-8 * spread
        z, _, error = start.solver.newton(start.z, start.line, path(t), accuracy, max_iter=8)
        line = start.solver.linearise(z) if error <= accuracy else None
        if line is not None and line.steepness <= _STEEP:
            solver = replace(start.solver, n_steps=2 * start.solver.n_steps)
            z = Iterate(z.w, settle(solver.bundle, z, line.A, solver.n_steps))
            return Segment(solver, z, line), ds
        ds /= 2
    return None
