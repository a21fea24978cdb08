"""A chain of loops that carries points along paths, a small part of the way each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from scipy.interpolate import CubicSpline

from skcode.geometry._bundle import ORDER, Bundle
from skcode.geometry._continuation import STILL, Report, Segment, Start, draw_start
from skcode.geometry._loops import LoopDesign
from skcode.geometry._paths import plan_paths
from skcode.geometry._shooting import Iterate, Linearisation, composed, settle
from skcode.utils._typing import FloatArray

#: the smallest part of a path that one loop is to carry the points
_SMALLEST_PART = 2e-5
#: parts that fail are cut by the first factor; in the next loop points may move further on the way
#: by the second one, the first loop's by the last number, in spreads
_CUT, _MORE, _FIRST = 1.5, 1.4, 0.7
#: how well loops are closed within the chain, in spreads, and when Newton's method may stop there,
#: in units of its first step: the next loop starts where this one really ends
_CLOSED, _SLACK = 1e-6, 0.03
#: steps of the scheme by which it would be closed up to this, in spreads, tell where it really
#: ends. Relative defects of the second size at coarse steps, and of the third at finer ones, are
#: small once they are corrected: what is left the last pass corrects
_CONVERGED, _NEARLY, _ENOUGH = 1e-8, 1e-4, 1e-5
#: how much the flow of one loop may stretch what is around a point, and how much it may do so
#: even where the whole chain stretches more than the tolerance bears
_STEEP, _MILD = 3.0, 1.3
#: the flow of the chain may amplify errors of this size up to the tolerance, or by the second
#: number; half of that, in digits, from the start, the rest in proportion to the way
_ROUNDING, _BEARABLE = 3e-12, 50.0
#: around at most this share of the points, where the flow of the chain has stretched by this share
#: of what is bearable, a companion at this distance, in spreads, is to come closer at this rate;
#: where little is bearable, less than the last number, all of it
_GUARDED, _GUARD, _NEAR, _RELIEF, _LITTLE = 0.25, 0.2, 0.02, 4.0, 1000.0
#: loops double their intervals after parts below the first size, up to the last factor in all, and
#: halve them after parts above the second one
_SMALL_PART, _LARGE_PART, _MOST_INTERVALS = 0.003, 0.01, 4
#: designs of loops, and their shares of the intervals: many fields that vary from point to point
#: do best with loops that are short in every way, in ten dimensions a little less so; five or seven
#: with long legs and excursions, chosen from more candidates
_DESIGNS = (
    (LoopDesign(excursion=10, leg=1, n_candidates=8), 0.15),
    (LoopDesign(excursion=20, leg=2, n_candidates=8), 0.4),
    (LoopDesign(excursion=50, leg=3, n_candidates=32), 1.0),
    (LoopDesign(excursion=100, leg=5, n_candidates=32), 1.0),
)
#: what an interval costs in steps of Newton's method for each candidate; the share of a design's
#: rate that its last loop makes, how the rates of those that rest grow until they are tried, for
#: each loop that costs as much as theirs, and the part of the path that is expected before
_DRAW, _FRESH, _FORGET, _EXPECTED = 0.06, 0.5, 1.05, 0.003
#: widths of the kernel for planned paths, in units of the distance of neighbours in a cube, the
#: sizes of the bends that the plans start from, where paths are probed, and by what
_WIDTHS, _BENDS, _PROBES = (0.55, 0.8), (0.0, 0.25, 0.25, 0.5), (0.1, 0.5, 0.9)
_PROBED = LoopDesign(excursion=50)


class Setting(NamedTuple):
    """What all loops of a chain share: fields, unit of length, intervals of a loop, and so on."""

    bundle: Bundle
    spread: float
    n_intervals: int
    rng: np.random.Generator
    report: Report

    def start(self, X: FloatArray, design: LoopDesign) -> Start | None:
        """A loop at the points X; None on explosion."""
        quick = self.bundle.single()
        shared = (X, self.spread, self.n_intervals, self.rng, self.report, design)
        return draw_start(self.bundle, *shared, _CLOSED, quick)


def _response(start: Start, velocity: FloatArray) -> tuple[float, float]:
    """How much controls change, and points move on the way, for the velocities at the end."""
    dw, dx = start.line.solve(velocity, np.zeros(start.line.B.shape[:3]))
    return float(np.linalg.norm(dw)), float(np.max(abs(dx)))


def easiest_path(setting: Setting, X: FloatArray, Y: FloatArray) -> CubicSpline:
    """Of planned paths the one along which loops have to change least for the velocities."""
    neighbours = 2 * setting.spread * len(X) ** (-1 / X.shape[1])
    if len(X) == 1:
        return plan_paths(X, Y, _WIDTHS[0] * neighbours, [np.zeros_like(X)])
    bends = [bend * setting.spread * setting.rng.standard_normal(X.shape) for bend in _BENDS]
    paths = [plan_paths(X, Y, width * neighbours, bends) for width in _WIDTHS]
    return min(paths, key=lambda path: _hardness(setting, path))


def _hardness(setting: Setting, path: Any) -> float:
    """How much the controls of loops have to change for the velocities along the path."""
    total = 0.0
    for s in _PROBES:
        start = setting.start(path(s), _PROBED)
        total += np.inf if start is None else _response(start, path(s, 1))[0]
    return total


@dataclass
class _Option:
    """A design of loops, and how it did so far."""

    design: LoopDesign
    n_intervals: int
    #: the intervals are this many times as many now
    times: int = 1
    #: how far points may move on the way, in spreads
    far: float = _FIRST
    #: the part of the path for the cost, and what a loop costs; unknown in the beginning
    rate: float = np.inf
    cost: float = np.inf

    def size(self) -> int:
        """The intervals of its next loop."""
        return self.times * self.n_intervals

    def took(self, ds: float, travel: float, newton: float) -> None:
        """Note a loop that carried the points ds of the path, or failed where ds is 0."""
        self.cost = self._cost(newton)
        rate = ds / self.cost
        known = self.rate if np.isfinite(self.rate) else rate
        self.rate = _FRESH * rate + (1 - _FRESH) * known
        self.far = _MORE * ds * travel if ds > 0 else self.far / 2
        if ds < _SMALL_PART:
            self.times = min(2 * self.times, _MOST_INTERVALS)
        elif ds > _LARGE_PART:
            self.times = max(self.times // 2, 1)

    def rested(self, ds: float, cost: float, newton: float) -> None:
        """Note that another design made a loop of this cost, with so many steps an interval.

        Where that one has moved on, what needed more intervals may be over.
        """
        if self.rate == np.inf:
            self.cost = self._cost(newton)
            self.rate = _EXPECTED / self.cost
        else:
            self.rate *= _FORGET ** min(cost / self.cost, 1.0)
            if ds > 0 and self.times > 1:
                self.times, self.cost = self.times // 2, self.cost / 2

    def _cost(self, newton: float) -> float:
        return self.size() * (_DRAW * self.design.n_candidates + newton)


def chain(
    setting: Setting, path: Any, X: FloatArray, tol: float, max_loops: int
) -> tuple[list[Segment], float]:
    """Loops that carry X along the path, a small part each, and how far along they came.

    The flow of a loop that moves the points far is steep between them, and the flow of the chain is
    as steep as the product: it would amplify rounding beyond all bounds. Companions of the points
    around which it has stretched most take the stretch back. Each loop starts where the one before
    really ends. Of the designs that one makes the next loop whose loops came furthest for what they
    cost; the others are tried again from time to time.
    """
    segments: list[Segment] = []
    s, x, misses = 0.0, X, 0
    options = [
        _Option(design, max(1, int(share * setting.n_intervals))) for design, share in _DESIGNS
    ]
    turned = np.tile(np.eye(X.shape[1]), (len(X), 1, 1))
    bearable = max(tol / _ROUNDING, _BEARABLE)
    report = setting.report
    while s < 1 and misses < 3 * len(options) and report.n_loops < max_loops:
        option = max(options, key=lambda option: option.rate)
        guarded = _guard(path, s, turned, bearable, setting.spread)
        shared = setting._replace(n_intervals=option.size())
        before, link, travel, ds = report.n_iter, None, np.inf, 0.0
        start = shared.start(guarded.extended(x), option.design)
        if start is not None:
            travel = max(_response(start, guarded(s, 1))[1] / setting.spread, 1e-300)
            part = min(option.far / travel, 1.0)
            link = _link(start, guarded, s, part, tol, turned, bearable)
        if link is None:
            misses += 1
        else:
            segment, ds = link
            segments.append(segment)
            turned = composed(segment.A) @ turned
            s, x, misses = min(s + ds, 1.0), segment.z.x[-1], 0
        steps = 1.0 if start is None else float(np.mean(start.solver.n_steps))
        newton = steps * (1 + report.n_iter - before)
        option.took(ds, travel, newton)
        for other in options:
            if other is not option:
                other.rested(ds, option.cost, newton)
    return segments, s


class _Guarded(NamedTuple):
    """A path together with companions of some of its points, which come closer from s on."""

    path: Any
    s: float
    points: Any
    offsets: FloatArray

    def extended(self, x: FloatArray) -> FloatArray:
        """The points x (N, m) and their companions at s."""
        return np.concatenate([x, x[self.points] + self.offsets])

    def __call__(self, t: float, order: int = 0) -> FloatArray:
        x = self.path(t, order)
        closer = (-_RELIEF) ** order * np.exp(-_RELIEF * (t - self.s)) * self.offsets
        return np.concatenate([x, x[self.points] + closer])


def _guard(path: Any, s: float, turned: FloatArray, bearable: float, spread: float) -> _Guarded:
    """The path together with companions of the points around which the flow has stretched most.

    A companion lies where the stretch points: a flow that brings it closer takes the stretch back.
    """
    U, sizes, _ = np.linalg.svd(turned)
    points = np.argsort(-sizes[:, 0])[: int(np.ceil(_GUARDED * len(turned)))]
    share = _GUARD if bearable > _LITTLE else 1.0
    points = points[sizes[points, 0] > share * _STEEP * bearable ** (0.5 + 0.5 * s)]
    return _Guarded(path, s, points, _NEAR * spread * U[points, :, 0])


def _link(
    start: Start,
    path: Any,
    s: float,
    ds: float,
    tol: float,
    turned: FloatArray,
    bearable: float,
) -> tuple[Segment, float] | None:
    """Newton from the loop to path(s + ds), where ds is cut until it converges and is not steep.

    The flow up to the loop has the derivatives `turned` at the points; what the path holds beyond
    these are companions, which the segment leaves out.
    """
    while ds > _SMALLEST_PART:
        t = min(s + ds, 1.0)
        last = t == 1.0
        solver = start.solver if last else start.quick
        z, line, arrived = solver.newton(
            start.z, start.line, path(t), 0.1 * tol if last else 0.0, 8, 0.0 if last else _SLACK
        )
        if arrived:
            N = len(turned)
            z = Iterate(z.w, z.x[:, :N])
            A = solver.bundle.tangent_flow(z.w, z.x[:-1], solver.n_steps)
            whole = composed(A)
            steepness = _steepness(whole)
            if steepness <= _MILD or (
                steepness <= _STEEP
                and _steepness(whole @ turned) <= _STEEP * bearable ** (0.5 + 0.5 * t)
            ):
                kept = line if last and line.B.shape[1] == N else None
                return _settled(start, z, A, kept), ds
        ds /= _CUT
    return None


def _settled(start: Start, z: Iterate, A: FloatArray, line: Linearisation | None) -> Segment:
    """The segment with states at finer steps, which tell what the errors of the scheme are."""
    solver = start.solver
    gaps = start.gaps * solver.mu / STILL / _CONVERGED
    refine = np.maximum(2, np.ceil(gaps ** (1 / ORDER))).astype(int)
    finer = replace(solver, n_steps=refine * solver.n_steps)
    # first to where coarse steps lead, which cost less
    x = settle(start.quick.bundle, z, A, solver.n_steps, enough=_NEARLY)
    coarse, ends = (solver.bundle.flow(z.w, x[:-1], each.n_steps) for each in (solver, finer))
    errors = abs(ends - coarse).max(axis=2) / refine[:, None] ** ORDER
    x = settle(solver.bundle, Iterate(z.w, x), A, finer.n_steps, enough=_ENOUGH, ends=ends)
    return Segment(finer, Iterate(z.w, x), A, errors, line)


def _steepness(D: FloatArray) -> float:
    """The largest singular value of derivatives (N, m, m)."""
    return float(np.linalg.norm(D, 2, axis=(1, 2)).max())
