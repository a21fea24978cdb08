"""Newton's method from a loop: one small displacement, or a chain of loops along a path."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import pdist

from skcode.fields import Fields
from skcode.geometry._end_point import EndPoint, MinimumNorm
from skcode.geometry._loops import LoopBuilder, LoopDesign

#: steps of the scheme in an interval, tried in turn until a loop closes
_STEPS = (1, 2, 4)
_CLOSED = 1e-9


@dataclass
class Report:
    """What was seen on the way, for the message."""

    n_iter: int = 0
    n_loops: int = 0
    condition: float = np.nan
    explosions: int = 0
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Start:
    """A loop u whose end-point map is ready for Newton's method at controls near u."""

    u: NDArray
    end: EndPoint
    solver: MinimumNorm


def draw_start(
    fields: Fields,
    X: NDArray,
    spread: float,
    n_intervals: int,
    rng: np.random.Generator,
    report: Report,
) -> Start | None:
    """A loop at the points X, its end-point map and factorised Jacobian; None on explosion."""
    design = LoopDesign(n_candidates=8 if X.size <= 200 else 2)
    u = LoopBuilder(fields, X, spread, design).draw(n_intervals, rng)
    report.n_loops += 1
    for n_steps in _STEPS:
        end = EndPoint(fields, X, n_intervals, n_steps)
        gap = np.max(abs(end(u) - X))
        if gap < _CLOSED * spread:
            break
    solver = factor(end, u, report)
    return None if solver is None else Start(u, end, solver)


def factor(end: EndPoint, u: NDArray, report: Report) -> MinimumNorm | None:
    """The factorised Jacobian at u; None on explosion or a rank below the number of equations."""
    J = end.jacobian(u)
    if not np.isfinite(J).all():
        report.explosions += 1
        return None
    solver = MinimumNorm(J)
    report.condition = solver.condition
    return solver if np.isfinite(solver.condition) else None


def newton(
    end: EndPoint,
    solver: MinimumNorm,
    u: NDArray,
    target: NDArray,
    tol: float,
    report: Report,
    max_iter: int = 20,
) -> tuple[NDArray, float]:
    """Steps with a fixed Jacobian as long as each halves the error: (u, largest error).

    It runs on past tol until the error stops falling quickly: the last digits are cheap.
    """
    error = np.max(abs(end.propagate(u) - target))
    r = target - end.propagate(u)
    for _ in range(max_iter):
        report.n_iter += 1
        trial = u + solver.solve(r).reshape(u.shape)
        r_trial = target - end.propagate(trial)
        new = np.max(abs(r_trial))
        if not new < 0.5 * error:
            break
        u, r, error = trial, r_trial, new
        if error < tol:
            break
    return u, float(error)


@dataclass(frozen=True)
class Segment:
    """Controls u (M, d) over unit time that move points to x."""

    u: NDArray
    x: NDArray


def follow(
    fields: Fields,
    path,
    s: float,
    X: NDArray,
    spread: float,
    n_intervals: int,
    tol: float,
    rng: np.random.Generator,
    report: Report,
    max_steps: int = 12,
) -> tuple[Segment, float] | None:
    """One loop at X, carried along the path of targets from path(s) as far as Newton goes.

    The Jacobian is renewed at each step along the path. Returns the segment and the new s, or None
    where the loop was of no use.
    """
    start = draw_start(fields, X, spread, n_intervals, rng, report)
    if start is None:
        return None
    u, end, solver = start.u, start.end, start.solver
    origin, ds, fails, best = s, 1 - s, 0, 0.0
    for _ in range(max_steps):
        while ds > 1e-6:
            t = min(s + ds, 1.0)
            accuracy = tol if t == 1.0 else min(1e-3 * ds * spread, 1e-6)
            trial, error = newton(end, solver, u, path(t), accuracy, report, max_iter=8)
            if error <= accuracy:
                break
            ds /= 3
            fails += 1
        else:
            break
        u, s, best = trial, t, max(best, ds)
        if s == 1.0 or ds < best / 9:
            break
        ds *= 2
        solver = factor(end, u, report)
        if solver is None:
            break
    if s == origin:
        return None
    return Segment(u, end.propagate(u)), s


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
