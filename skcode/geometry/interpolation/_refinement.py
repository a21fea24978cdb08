"""Refinement of a chain of loops: the same controls at finer steps, corrected where they drift."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from skcode.geometry.interpolation._batched_fields import ORDER
from skcode.geometry.interpolation._continuation import Segment, fine_steps
from skcode.geometry.interpolation._matrices import Cascade
from skcode.geometry.interpolation._shooting import (
    Linearisation,
    ShootingIterate,
    carried,
    settle,
)
from skcode.geometry.interpolation._tuning import NEWTON, REFINEMENT
from skcode.utils._typing import FloatArray, IntArray


class Refinement:
    """A chain whose loops have to meet their targets, the last one within the tolerance.

    Within the chain loops are computed at coarse steps of the scheme. At fine ones they end
    elsewhere, and the loops that follow stretch the difference. Where it has grown, the loop at
    hand brings the points back to where they were to be.

    Parameters
    ----------
    segments : list of Segment
        The chain.
    X, target : ndarray of shape (N, m)
        Where it begins, and where it is to end.
    tol : float
        The largest error at the end.

    Attributes
    ----------
    parts : list of ShootingIterate
        Controls and states of the loops.
    A : list of ndarray of shape (M, N, m, m)
        Derivatives of the flows of their intervals.
    steps : list of ndarray
        Steps of the scheme in the intervals of each loop.
    """

    def __init__(self, segments: list[Segment], X: FloatArray, target: FloatArray, tol: float):
        self.segments = segments
        self.X = X
        self.target = target
        self.tol = max(tol, _rounding(segments))
        self.parts = [segment.z for segment in segments]
        self.A = [segment.A for segment in segments]
        self.steps = fine_steps(segments, REFINEMENT.share * self.tol)

    def run(self) -> FloatArray:
        """Correct the chain at finer steps until more of them change nothing; where it ends.

        A quarter more steps of order 8 have a sixth of the error. Where the chain explodes nothing
        more is tried.
        """
        steps, line, change = self.steps, self.segments[-1].line, np.inf
        for _ in range(REFINEMENT.rounds):
            end = self._settle(steps)
            if not np.isfinite(end).all():
                break
            for _ in range(REFINEMENT.corrections):
                if not np.max(abs(end - self.target)) > REFINEMENT.meets * self.tol:
                    break
                line = line if line is not None else self._linearised(-1)
                if line is None:
                    break
                self._steer(-1, line, steps[-1], self.target, REFINEMENT.leaves * self.tol)
                end = self._settle(steps, len(steps) - 1)
            coarse, self.steps = end, [n + (n + 3) // 4 for n in steps]
            end = self._settle(self.steps)
            before, change = change, np.max(abs(end - coarse))
            if not change > REFINEMENT.meets * self.tol or change > before / REFINEMENT.gains:
                break
            wanted = REFINEMENT.meets * REFINEMENT.share * self.tol
            growth = np.clip((change / wanted) ** (1 / ORDER), *REFINEMENT.growth)
            steps = [np.ceil(growth * n).astype(int) for n in steps]
        return end

    def _settle(self, steps: Sequence[IntArray], first: int = 0) -> FloatArray:
        """Give the loops from `first` on the states of their controls; where they end."""
        for i in range(first, len(steps)):
            self._settle_loop(i, steps[i])
            if i + 1 < len(steps):
                self._keep_to_plan(i, steps[i])
        ends: FloatArray = self.parts[-1].x[-1]
        return ends

    def _settle_loop(self, i: int, n_steps: IntArray) -> None:
        solver, z = self.segments[i].solver, self.parts[i]
        start = self.parts[i - 1].x[-1] if i else self.X
        x = carried(z.x, self.A[i], start)
        if np.max(abs(start - z.x[0])) > REFINEMENT.moved * NEWTON.still / solver.mu:
            coarse = np.maximum(solver.n_steps // 2, 1)
            self.A[i] = solver.batched.single().tangent_flow(z.w, x[:-1], coarse)
        x = settle(
            solver.batched, ShootingIterate(z.w, x), self.A[i], n_steps, enough=REFINEMENT.settled
        )
        self.parts[i] = ShootingIterate(z.w, x)

    def _keep_to_plan(self, i: int, n_steps: IntArray) -> None:
        """Correct a loop whose end is further from the plan than later loops can take back."""
        segment, planned = self.segments[i], self.segments[i].z.x[-1]
        move = np.max(abs(planned - segment.z.x[0]))
        allowed = min(
            REFINEMENT.drift * NEWTON.still / segment.solver.mu, REFINEMENT.of_move * move
        )
        if not np.max(abs(self.parts[i].x[-1] - planned)) > allowed:
            return
        line = self._linearised(i)
        if line is not None:
            self._steer(i, line, n_steps, planned, REFINEMENT.left * allowed)
            self._settle_loop(i, n_steps)

    def _linearised(self, i: int) -> Linearisation | None:
        return self.segments[i].solver.linearise(self.parts[i])

    def _steer(
        self, i: int, line: Linearisation, n_steps: IntArray, target: FloatArray, tol: float
    ) -> None:
        """Newton's method at fine steps, by a linearisation at coarse ones."""
        solver = replace(self.segments[i].solver, n_steps=n_steps)
        self.parts[i] = solver.newton(self.parts[i], line, target, tol)[0]


def _rounding(segments: list[Segment]) -> float:
    """Largest error at the end that rounding the states causes: no target is met more closely."""
    to_end, largest = np.eye(segments[-1].A.shape[-1]), 1.0
    for segment in reversed(segments):
        to_end = to_end @ Cascade(segment.A).composed()
        largest = max(largest, float(np.nan_to_num(np.linalg.norm(to_end, axis=(1, 2)).max())))
    return float(
        REFINEMENT.roundings * np.finfo(float).eps * largest * np.max(abs(segments[-1].z.x[-1]))
    )
