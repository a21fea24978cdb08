"""A chain of loops that carries points along paths, a small part of the way each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from skcode.geometry.interpolation._batched_fields import ORDER, BatchedFields
from skcode.geometry.interpolation._collocation import collocated
from skcode.geometry.interpolation._continuation import Report, Segment, Start, draw_start
from skcode.geometry.interpolation._matrices import Cascade
from skcode.geometry.interpolation._paths import Path, plan_paths
from skcode.geometry.interpolation._shooting import Linearisation, Loop, ShootingIterate, settle
from skcode.geometry.interpolation._tuning import CHAIN, CLOSING, NEWTON, PATHS, LoopDesign
from skcode.utils._typing import FloatArray, IntArray


class Setting(NamedTuple):
    """What all loops of a chain share: fields, unit of length, intervals of a loop, and so on."""

    batched: BatchedFields[Any]
    spread: float
    n_intervals: int
    rng: np.random.Generator
    report: Report

    def start(self, X: FloatArray, design: LoopDesign, kept: Loop | None = None) -> Start | None:
        """A loop at the points X, of new excursions but for those kept; None on explosion."""
        quick = self.batched.quick()
        shared = (X, self.spread, self.n_intervals, self.rng, self.report, design)
        return draw_start(self.batched, *shared, CLOSING.in_chain, quick, kept)


def _response(start: Start, velocity: FloatArray) -> tuple[FloatArray, float]:
    """How controls (M, d) change, and how far points move, for the velocities at the end."""
    dw, dx = start.line.solve(velocity, np.zeros(start.line.B.shape[:3]))
    return dw, float(np.max(abs(dx)))


def easiest_path(setting: Setting, X: FloatArray, Y: FloatArray) -> Path:
    """Of planned paths the one along which loops have to change least for the velocities."""
    neighbours = 2 * setting.spread * len(X) ** (-1 / X.shape[1])
    if len(X) == 1:
        return plan_paths(X, Y, PATHS.widths[0] * neighbours, [np.zeros_like(X)])
    bends = [bend * setting.spread * setting.rng.standard_normal(X.shape) for bend in PATHS.bends]
    paths = [plan_paths(X, Y, width * neighbours, bends) for width in PATHS.widths]
    before = setting.report.n_loops
    path = min(paths, key=lambda path: _hardness(setting, path))
    setting.report.n_probes += setting.report.n_loops - before
    return path


def _hardness(setting: Setting, path: Path) -> float:
    """How much the controls of loops have to change for the velocities along the path."""
    total = 0.0
    fewer = setting._replace(n_intervals=max(1, int(PATHS.probed_share * setting.n_intervals)))
    for s in PATHS.probes:
        start = fewer.start(path(s), PATHS.probed)
        total += np.inf if start is None else float(np.linalg.norm(_response(start, path(s, 1))[0]))
    return total


@dataclass
class _Option:
    """A design of loops, and how far its loops came for what they cost."""

    design: LoopDesign
    n_intervals: int
    #: factor by which the intervals have grown
    times: int = 1
    #: how far points may move on the way of the next loop, in spreads
    far: float = CHAIN.first_reach
    #: part of the path for each unit of cost; infinite until known, so that every design is tried
    rate: float = np.inf
    #: what a loop costs, in Newton steps times intervals
    cost: float = np.inf
    #: the excursions of its last loop that the next one takes over
    kept: Loop | None = None

    def size(self) -> int:
        """The intervals of its next loop."""
        return self.times * self.n_intervals

    def took(self, ds: float, travel: float, newton: float, drawn: float = 1.0) -> None:
        """Note a loop that carried the points ds of the path, or failed where ds is 0."""
        self.cost = self._cost(newton, drawn)
        rate = ds / self.cost
        known = self.rate if np.isfinite(self.rate) else CHAIN.expected / self.cost
        self.rate = CHAIN.fresh * rate + (1 - CHAIN.fresh) * known
        self.far = CHAIN.grow * ds * travel if ds > 0 else self.far / CHAIN.shrink
        if ds < CHAIN.small_part:
            self.times = min(2 * self.times, CHAIN.most_times)
        elif ds > CHAIN.large_part:
            self.times = max(self.times // 2, 1)

    def rested(self, ds: float, cost: float, newton: float) -> None:
        """Note that another design made a loop of this cost, with so many steps an interval.

        Where that one has moved on, what needed more intervals may be over.
        """
        if self.rate == np.inf:
            self.cost = self._cost(newton)
            self.rate = CHAIN.expected / self.cost
        else:
            self.rate *= CHAIN.forget ** min(cost / self.cost, 1.0)
            if ds > 0 and self.times > 1:
                self.times, self.cost = self.times // 2, self.cost / 2

    def _cost(self, newton: float, drawn: float = 1.0) -> float:
        return self.size() * (drawn * CHAIN.draw_cost * self.design.n_candidates + newton)


def chain(
    setting: Setting, path: Path, X: FloatArray, tol: float, max_loops: int
) -> tuple[list[Segment], float]:
    """Loops that carry X along the path, a small part each, and how far along they came.

    The flow of a loop that moves the points far is steep between them, and the flow of the chain is
    as steep as the product of all: it would amplify rounding beyond all bounds. So loops are
    bounded in steepness, and companions (points beside those around which the flow has stretched
    most) have to come closer, which takes the stretch back. Each loop starts where the one before
    really ends. The next loop is of the design whose loops came furthest for what they cost;
    designs that rest gain slowly, until they are tried again.
    """
    segments: list[Segment] = []
    s, x, misses = 0.0, X, 0
    options = [
        _Option(design, max(1, int(share * setting.n_intervals))) for design, share in CHAIN.designs
    ]
    turned = np.tile(np.eye(X.shape[1]), (len(X), 1, 1))
    bearable = max(tol / CHAIN.rounding, CHAIN.bearable)
    report = setting.report
    most_misses = CHAIN.most_failures * len(options)
    while s < 1 and misses < most_misses and report.n_tried < max_loops:
        option = max(options, key=lambda option: option.rate)
        guarded = _guard(path, s, turned, bearable, setting.spread)
        shared = setting._replace(n_intervals=option.size())
        before, link, travel, ds = report.n_iter, None, np.inf, 0.0
        kept, drawn = option.kept, 1.0
        if kept is not None:
            kept = kept.at(guarded.extended(x), np.concatenate([np.arange(len(x)), guarded.points]))
        start = shared.start(guarded.extended(x), option.design, kept)
        if start is not None:
            drawn = start.drawn
            dw, moved = _response(start, guarded(s, 1))
            travel = max(moved / setting.spread, 1e-300)
            part = min(option.far / travel, 1.0)
            link = _link(start, guarded, s, part, tol, turned, bearable)
        if link is None:
            misses += drawn > 0
        else:
            segment, ds = link
            segments.append(segment)
            turned = Cascade(segment.A).composed() @ turned
            s, x, misses = min(s + ds, 1.0), segment.z.x[-1], 0
        steps = 1.0 if start is None else float(np.mean(start.solver.n_steps))
        newton = steps * (1 + report.n_iter - before)
        average = option.rate
        option.took(ds, travel, newton, drawn)
        option.kept = None
        # with few intervals a loop has no excursions
        if start is not None and len(start.loop.forth):
            good = ds > 0 and ds >= CHAIN.keeps * average * option.cost
            option.kept = start.loop if good else _most_used(start.loop, dw)
        for other in options:
            if other is not option:
                other.rested(ds, option.cost, newton)
    return segments, s


def _most_used(loop: Loop, dw: FloatArray) -> Loop:
    """The half of the excursions whose controls have to change most, which do most of the work."""
    E, half, _ = loop.forth.shape
    use = np.sum(dw[: 2 * E * half].reshape(E, -1) ** 2, axis=1)
    return loop.some(np.argsort(-use)[: E // 2])


class _Guarded(NamedTuple):
    """A path together with companions of some of its points, which come closer from s on."""

    path: Path
    s: float
    points: IntArray
    offsets: FloatArray

    def extended(self, x: FloatArray) -> FloatArray:
        """The points x (N, m) and their companions at s."""
        return np.concatenate([x, x[self.points] + self.offsets])

    def __call__(self, t: float, order: int = 0) -> FloatArray:
        x = self.path(t, order)
        closer = (-CHAIN.relief) ** order * np.exp(-CHAIN.relief * (t - self.s)) * self.offsets
        return np.concatenate([x, x[self.points] + closer])


def _guard(path: Path, s: float, turned: FloatArray, bearable: float, spread: float) -> _Guarded:
    """The path together with companions of the points around which the flow has stretched most.

    A companion lies where the stretch points: a flow that brings it closer takes the stretch back.
    """
    U, sizes, _ = np.linalg.svd(turned)
    points = np.argsort(-sizes[:, 0])[: int(np.ceil(CHAIN.guarded * len(turned)))]
    share = CHAIN.guard if bearable > CHAIN.little else 1.0
    points = points[sizes[points, 0] > share * _allowed(bearable, s)]
    return _Guarded(path, s, points, CHAIN.near * spread * U[points, :, 0])


def _link(
    start: Start,
    path: Path,
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
    while ds > CHAIN.smallest_part:
        t = min(s + ds, 1.0)
        last = t == 1.0
        solver = start.solver if last else start.quick
        z, line, arrived = solver.newton(
            start.z,
            start.line,
            path(t),
            NEWTON.share * tol if last else 0.0,
            NEWTON.few_steps,
            0.0 if last else CHAIN.slack,
        )
        if arrived:
            N = len(turned)
            z = ShootingIterate(z.w, z.x[:, :N])
            A = solver.batched.tangent_flow(z.w, z.x[:-1], solver.n_steps)
            whole = Cascade(A).composed()
            steepness = _steepness(whole)
            if steepness <= CHAIN.mild or (
                steepness <= CHAIN.steep and _steepness(whole @ turned) <= _allowed(bearable, t)
            ):
                kept = line if last and line.B.shape[1] == N else None
                return _settled(start, z, A, kept), ds
        ds /= CHAIN.cut
    return None


def _settled(
    start: Start, z: ShootingIterate, A: FloatArray, line: Linearisation | None
) -> Segment:
    """The segment with states at finer steps, which tell what the errors of the scheme are."""
    solver = start.solver
    # twice as many at least: by the difference the errors are told
    gaps = start.gaps * solver.mu / NEWTON.still / CHAIN.converged
    refine = np.maximum(2, np.ceil(gaps ** (1 / ORDER))).astype(int)
    finer = replace(solver, n_steps=refine * solver.n_steps)
    settled = collocated(solver.batched, z.w, z.x, finer.n_steps)
    if settled is not None:
        x, A = settled.x, settled.A
        ends, coarse = x[1:], solver.batched.flow(z.w, x[:-1], solver.n_steps)
    else:
        # first to where coarse steps lead, which cost less
        x = settle(start.quick.batched, z, A, solver.n_steps, enough=CHAIN.nearly)
        coarse, ends = (solver.batched.flow(z.w, x[:-1], n.n_steps) for n in (solver, finer))
        there = ShootingIterate(z.w, x)
        x = settle(solver.batched, there, A, finer.n_steps, enough=CHAIN.enough, ends=ends)
    errors = abs(ends - coarse).max(axis=2) / refine[:, None] ** ORDER
    return Segment(finer, ShootingIterate(z.w, x), A, errors, line)


def _allowed(bearable: float, s: float) -> float:
    """The largest stretch that a chain may have at s.

    A share of what is bearable, in digits, from the start, the rest in proportion to the way.
    """
    share = CHAIN.at_once + (1 - CHAIN.at_once) * s
    return float(CHAIN.steep * bearable**share)


def _steepness(D: FloatArray) -> float:
    """The largest singular value of derivatives (N, m, m)."""
    return float(np.linalg.norm(D, 2, axis=(1, 2)).max())
