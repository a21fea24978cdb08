"""Newton's method from a loop, and one loop followed along a path of targets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from skcode.geometry.interpolation._batched_fields import ORDER, BatchedFields
from skcode.geometry.interpolation._loops import LoopBuilder
from skcode.geometry.interpolation._matrices import Cascade
from skcode.geometry.interpolation._shooting import (
    Linearisation,
    Loop,
    ShootingIterate,
    closed_excursions,
    of_both_ways,
    there_and_back,
)
from skcode.geometry.interpolation._tuning import CLOSING, CONTINUATION, NEWTON, LoopDesign
from skcode.utils._typing import FloatArray, IntArray


@dataclass
class Report:
    """Counts and notes of a run, for the message at its end."""

    n_iter: int = 0
    n_loops: int = 0
    #: loops that only told which path is easy
    n_probes: int = 0
    condition: float = np.nan
    explosions: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def n_tried(self) -> int:
        """Loops that were to carry points."""
        return self.n_loops - self.n_probes


@dataclass(frozen=True)
class NewtonMethod:
    """Newton's method for given fields at given numbers of steps in each interval (M,)."""

    batched: BatchedFields[Any]
    n_steps: IntArray
    mu: float
    report: Report

    def linearise(self, z: ShootingIterate) -> Linearisation | None:
        """The equations linearised at z; None on explosion or where they are singular."""
        line = Linearisation(self.batched, z, self.n_steps, self.mu)
        if not line.finite:
            self.report.explosions += 1
            return None
        self.report.condition = line.condition
        return line if line.condition < NEWTON.singular else None

    def newton(
        self,
        z: ShootingIterate,
        line: Linearisation,
        target: FloatArray,
        tol: float,
        max_iter: int = NEWTON.most_steps,
        slack: float = 0.0,
    ) -> tuple[ShootingIterate, Linearisation, bool]:
        """Steps towards the target: (z, its linearisation, whether it arrived).

        It arrives where the largest miss is at most tol, or where a step is at most `slack` times
        the first one.

        Progress is measured by the size of the steps, not by the miss: a miss in a direction in
        which the points move easily counts for little (Deuflhard, Newton Methods for Nonlinear
        Problems, 2004, section 3.2). The linearisation is renewed where the steps shrink slowly.
        """
        defects, miss, error = self._errors(z, line, target)
        if not np.isfinite(error):
            return z, line, False
        dw, dx = line.solve(miss, defects)
        first = np.linalg.norm(dw)
        for _ in range(max_iter):
            if error <= tol:
                break
            self.report.n_iter += 1
            trial = z.plus(dw, dx)
            defects, miss, error_t = self._errors(trial, line, target)
            if not np.isfinite(error_t):
                break
            dw_t, dx_t = line.solve(miss, defects)
            shrinks = np.linalg.norm(dw_t) / np.linalg.norm(dw)
            if not shrinks < NEWTON.converges:
                break
            z, error, dw, dx = trial, error_t, dw_t, dx_t
            if np.linalg.norm(dw) <= slack * first:
                return z.plus(dw, dx), line, True
            if error > tol and shrinks > NEWTON.keeps_line:
                renewed = self.linearise(z)
                if renewed is None:
                    break
                line = renewed
                dw, dx = line.solve(*self._errors(z, line, target)[1::-1])
        return z, line, error <= tol

    def _errors(
        self, z: ShootingIterate, line: Linearisation, target: FloatArray
    ) -> tuple[FloatArray, FloatArray, float]:
        """Defects, what misses at the end in all, and its largest entry; inf on explosion."""
        defects = self.batched.flow(z.w, z.x[:-1], self.n_steps) - z.x[1:]
        miss = target - z.x[-1] - line.arrival(defects)
        error = np.max(abs(miss))
        return defects, miss, float(error) if np.isfinite(error) else np.inf


@dataclass(frozen=True)
class Start:
    """A loop that is ready for Newton's method, and by how much its intervals (M,) miss their ends.

    `quick` solves to few digits, for targets within a chain. `drawn` is the share of the excursions
    that are new.
    """

    solver: NewtonMethod
    quick: NewtonMethod
    z: ShootingIterate
    line: Linearisation
    gaps: FloatArray
    loop: Loop
    drawn: float


def draw_start(
    batched: BatchedFields[Any],
    X: FloatArray,
    spread: float,
    n_intervals: int,
    rng: np.random.Generator,
    report: Report,
    design: LoopDesign,
    closed: float = CLOSING.alone,
    quick: BatchedFields[Any] | None = None,
    kept: Loop | None = None,
) -> Start | None:
    """A loop at the points X and the equations linearised there; None on explosion.

    Each interval of it is closed up to `closed` in units of the spread. It is drawn, closed and
    linearised by the quick batched, if there is one and the equations are regular enough.
    Excursions that are given are taken in place of new ones; their states have to be near those
    that begin at X.
    """
    builder = LoopBuilder(quick or batched, X, spread, design)
    loop, drawn = builder.draw(n_intervals, rng, kept)
    report.n_loops += 1
    out, steps, misses = closed_excursions(
        quick or batched, loop, closed * spread, CLOSING.doublings
    )
    z = there_and_back(out, loop.forth, X, n_intervals)
    n_steps = of_both_ways(steps, n_intervals, 1)
    solver = NewtonMethod(batched, n_steps, NEWTON.still / spread, report)
    sketch = replace(solver, batched=quick or batched)
    line = sketch.linearise(z)
    if sketch.batched is not batched and not (line is not None and line.condition < NEWTON.quick):
        sketch = solver
        line = solver.linearise(z)
    if line is None:
        return None
    # idle intervals have no gap yet, and get one when Newton's method moves them
    gaps = of_both_ways(misses, n_intervals, float(np.max(misses, initial=0.0)))
    E, half = steps.shape
    A = line.A[: 2 * E * half].reshape(E, 2 * half, *line.A.shape[1:])[:, :half]
    return Start(solver, sketch, z, line, gaps, Loop(loop.forth, out, A), drawn)


@dataclass(frozen=True)
class Segment:
    """A part of the chain: controls and states, and the solver that found them.

    A (M, N, m, m) are the derivatives of the intervals' flows, errors (M, N) about those of the
    scheme; the linearisation need not be kept.
    """

    solver: NewtonMethod
    z: ShootingIterate
    A: FloatArray
    errors: FloatArray
    line: Linearisation | None = None


def fine_steps(segments: list[Segment], accuracy: float) -> list[IntArray]:
    """Steps of the scheme in each interval at which the end of the chain is accurate.

    The errors of the intervals, carried to the end by the derivatives of the flow, are to be equal,
    and are taken as independent of each other.
    """
    share = accuracy / sum(len(segment.A) for segment in segments) ** 0.5
    to_end, fine = np.eye(segments[-1].A.shape[-1]), []
    for segment in reversed(segments):
        P = to_end @ Cascade(segment.A).products()
        carried = np.max(np.linalg.norm(P, axis=(2, 3)) * segment.errors, axis=1)
        wanted = segment.solver.n_steps * (carried / share) ** (1 / ORDER)
        fine.append(np.maximum(1, np.ceil(np.nan_to_num(wanted, posinf=0))).astype(int))
        to_end = to_end @ Cascade(segment.A).composed()
    return fine[::-1]


def follow(
    batched: BatchedFields[Any],
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
    start = draw_start(batched, X, spread, n_intervals, rng, report, LoopDesign())
    if start is None:
        return None
    z, line, solver = start.z, start.line, start.solver
    s, ds, best = 0.0, 1.0, 0.0
    for _ in range(CONTINUATION.most_targets):
        while ds > CONTINUATION.smallest:
            t = min(s + ds, 1.0)
            on_the_way = min(CONTINUATION.miss * ds * spread, CONTINUATION.largest_miss)
            accuracy = tol if t == 1.0 else on_the_way
            trial, trial_line, arrived = solver.newton(z, line, path(t), accuracy, NEWTON.few_steps)
            if arrived:
                break
            ds /= CONTINUATION.cut
        else:
            break
        z, line, s, best = trial, trial_line, t, max(best, ds)
        renewed = solver.linearise(z)
        if renewed is None:
            break
        line = renewed
        if s >= CONTINUATION.enough or ds < best / CONTINUATION.fades:
            break
        ds *= CONTINUATION.grow
    if s == 0:
        return None
    flows = [batched.flow(z.w, z.x[:-1], k * solver.n_steps) for k in (1, 2)]
    return Segment(solver, z, line.A, abs(flows[1] - flows[0]).max(axis=2), line), s
