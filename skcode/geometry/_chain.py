"""A chain of loops that carries points along paths, a small part of the way each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from scipy.interpolate import CubicSpline

from skcode.geometry._bundle import Bundle
from skcode.geometry._continuation import STILL, Report, Segment, Start, draw_start
from skcode.geometry._loops import LoopDesign
from skcode.geometry._paths import plan_paths
from skcode.geometry._shooting import Iterate, composed, settle
from skcode.utils._typing import FloatArray

#: the smallest part of a path that one loop is to carry the points
_SMALLEST_PART = 2e-5
#: parts that fail are cut by the first factor; in the next loop points may move further on the way
#: by the second one, the first loop's by the last number, in spreads
_CUT, _MORE, _FIRST = 1.5, 1.4, 0.7
#: how well loops are closed within the chain, in spreads, and when Newton's method may stop there,
#: in units of its first step: the next loop starts where this one really ends
_CLOSED, _SLACK = 1e-6, 0.03
#: steps of the scheme by which it would be closed up to this tell where it really ends; relative
#: defects of the second size, once corrected, are as small
_CONVERGED, _ENOUGH = 1e-12, 1e-9
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
#: many short excursions bend the flow less than few long ones, and many candidates pay here; the
#: shortest do best with many fields, where one leg has more directions to offer
_DESIGNS = LoopDesign(excursion=50), LoopDesign(excursion=26, leg=2)
#: candidates for a leg: many pay as long as their Gramians are small
_CANDIDATES, _COORDINATES = (16, 64), 6400
#: widths of the kernel for planned paths, in units of the distance of neighbours in a cube, the
#: sizes of the bends that the plans start from, and where plans and designs are probed
_WIDTHS, _BENDS, _PROBES = (0.55, 1.2), (0.5, 2.0), (0.1, 0.5, 0.9)


class Setting(NamedTuple):
    """What all loops of a chain share: fields, unit of length, intervals of a loop, and so on."""

    bundle: Bundle
    spread: float
    n_intervals: int
    rng: np.random.Generator
    report: Report

    def start(self, X: FloatArray, design: LoopDesign) -> Start | None:
        """A loop at the points X; None on explosion."""
        return draw_start(
            self.bundle, X, self.spread, self.n_intervals, self.rng, self.report, design, _CLOSED
        )


def _response(start: Start, velocity: FloatArray) -> tuple[float, float]:
    """How much controls change, and points move on the way, for the velocities at the end."""
    dw, dx = start.line.solve(velocity, np.zeros(start.line.B.shape[:3]))
    return float(np.linalg.norm(dw)), float(np.max(abs(dx)))


def _responses(
    setting: Setting, path: Any, design: LoopDesign, places: Sequence[float]
) -> FloatArray:
    """The sums of `_response` over places of the path; infinite where a loop explodes."""
    total = np.zeros(2)
    for s in places:
        start = setting.start(path(s), design)
        total += np.inf if start is None else _response(start, path(s, 1))
    return total


def easiest_path(setting: Setting, X: FloatArray, Y: FloatArray) -> CubicSpline:
    """Of planned paths the one along which loops have to change least for the velocities."""
    neighbours = 2 * setting.spread * len(X) ** (-1 / X.shape[1])
    paths = [
        plan_paths(
            X, Y, width * neighbours, bend * setting.spread * setting.rng.standard_normal(X.shape)
        )
        for width in _WIDTHS
        for bend in _BENDS
    ]
    if len(X) == 1:
        return paths[0]
    return min(paths, key=lambda path: _responses(setting, path, _DESIGNS[0], _PROBES)[0])


def easiest_design(setting: Setting, path: Any) -> LoopDesign:
    """Of the designs the one with which points move least on the way."""
    n_candidates = int(np.clip(_COORDINATES / path(0.0).size, *_CANDIDATES))
    return min(
        (replace(design, n_candidates=n_candidates) for design in _DESIGNS),
        key=lambda design: _responses(setting, path, design, _PROBES[::2])[1],
    )


def chain(
    setting: Setting, path: Any, X: FloatArray, design: LoopDesign, tol: float, max_loops: int
) -> tuple[list[Segment], float]:
    """Loops that carry X along the path, a small part each, and how far along they came.

    The flow of a loop that moves the points far is steep between them, and the flow of the chain is
    as steep as the product: it would amplify rounding beyond all bounds. Companions of the points
    around which it has stretched most take the stretch back. Each loop starts where the one before
    really ends.
    """
    segments: list[Segment] = []
    s, x, misses, times, far = 0.0, X, 0, 1, _FIRST
    turned = np.tile(np.eye(X.shape[1]), (len(X), 1, 1))
    bearable = max(tol / _ROUNDING, _BEARABLE)
    while s < 1 and misses < 3 and setting.report.n_loops < max_loops:
        guarded = _guard(path, s, turned, bearable, setting.spread)
        shared = setting._replace(n_intervals=times * setting.n_intervals)
        start = shared.start(guarded.extended(x), design)
        link = None
        if start is not None:
            travel = max(_response(start, guarded(s, 1))[1] / setting.spread, 1e-300)
            link = _link(start, guarded, s, min(far / travel, 1.0), tol, turned, bearable)
        if link is None:
            misses, far = misses + 1, far / 2
        else:
            segment, ds = link
            segments.append(segment)
            turned = composed(segment.A) @ turned
            s, x, misses, far = min(s + ds, 1.0), segment.z.x[-1], 0, _MORE * ds * travel
        if link is None or ds < _SMALL_PART:
            times = min(2 * times, _MOST_INTERVALS)
        elif ds > _LARGE_PART:
            times = max(times // 2, 1)
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
    solver = start.solver
    while ds > _SMALLEST_PART:
        t = min(s + ds, 1.0)
        last = t == 1.0
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
                gap = start.gap * solver.mu / STILL
                refine = max(2, int(np.ceil((gap / _CONVERGED) ** 0.125)))
                finer = replace(solver, n_steps=refine * solver.n_steps)
                z = Iterate(z.w, settle(solver.bundle, z, A, finer.n_steps, enough=_ENOUGH))
                kept = line if last and line.B.shape[1] == N else None
                return Segment(finer, z, A, kept), ds
        ds /= _CUT
    return None


def _steepness(D: FloatArray) -> float:
    """The largest singular value of derivatives (N, m, m)."""
    return float(np.linalg.norm(D, 2, axis=(1, 2)).max())
