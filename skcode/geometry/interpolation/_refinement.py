"""Refinement of a chain of loops: the same controls at finer steps, corrected where they drift."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from skcode.geometry.interpolation._batched_fields import ORDER
from skcode.geometry.interpolation._collocation import collocated
from skcode.geometry.interpolation._continuation import Segment, fine_steps
from skcode.geometry.interpolation._matrices import Cascade, applied
from skcode.geometry.interpolation._shooting import (
    Linearisation,
    ShootingIterate,
    carried,
    settle,
)
from skcode.geometry.interpolation._tuning import COLLOCATION, NEWTON, REFINEMENT
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
        stretches = _stretches(segments)
        # what rounding of the states causes at the end: no target is met more closely
        rounding = np.finfo(float).eps * np.max(stretches) * np.max(abs(segments[-1].z.x[-1]))
        self.tol = max(tol, REFINEMENT.roundings * float(rounding))
        self.parts = [segment.z for segment in segments]
        self.A = [segment.A for segment in segments]
        self.steps = fine_steps(segments, REFINEMENT.share * self.tol)
        #: largest last step of the settling of each loop, whose square is left and stretched
        left = REFINEMENT.unseen * self.tol / np.maximum(stretches[1:], 1.0)
        self.enough = np.minimum(np.sqrt(left), COLLOCATION.enough)
        #: by how much finer steps have changed the end of each loop, and its derivatives
        self.changes = [np.zeros_like(X) for _ in segments]
        self.through = [Cascade(A).composed() for A in self.A]

    def run(self) -> FloatArray:
        """Correct the chain at finer steps until more of them change nothing; where it ends.

        What a quarter more steps change is known from the settling of the loops, to first order.
        Where the chain explodes nothing more is tried.
        """
        steps, line, change = self.steps, self.segments[-1].line, np.inf
        for _ in range(REFINEMENT.rounds):
            end = self._settle(steps)
            if not np.isfinite(end).all():
                break
            self.steps = [_more(n) for n in steps]
            if np.max(abs(end - self.target)) > REFINEMENT.meets * self.tol:
                line = line if line is not None else self._linearised(-1)
                if line is not None:
                    self._steer(-1, line, steps[-1], self.target, REFINEMENT.leaves * self.tol)
                    end = self.parts[-1].x[-1]
            before, change = change, float(np.max(abs(self._change())))
            if not change > REFINEMENT.meets * self.tol or change > before / REFINEMENT.gains:
                break
            wanted = REFINEMENT.meets * REFINEMENT.share * self.tol
            growth = np.clip((change / wanted) ** (1 / ORDER), *REFINEMENT.growth)
            steps = [np.ceil(growth * n).astype(int) for n in steps]
        return end

    def _change(self) -> FloatArray:
        """What the last steps of all loops, at finer steps, have changed at the end (N, m)."""
        total = np.zeros_like(self.X)
        for moved, D in zip(self.changes, self.through, strict=True):
            total = applied(D, total) + moved
        return total

    def _settle(self, steps: Sequence[IntArray]) -> FloatArray:
        """Give the loops the states of their controls; where they end."""
        for i in range(len(steps)):
            self._settle_loop(i, steps[i])
            if i + 1 < len(steps):
                self._keep_to_plan(i, steps[i])
        ends: FloatArray = self.parts[-1].x[-1]
        return ends

    def _settle_loop(self, i: int, n_steps: IntArray) -> None:
        """The states of a loop at these steps, then at a quarter more, and what that changes.

        By collocation, where that pays and arrives, or by the flows of the intervals.
        """
        solver, z = self.segments[i].solver, self.parts[i]
        # the last loop is also number -1
        start = self.parts[i - 1].x[-1] if i % len(self.parts) else self.X
        x = carried(z.x, self.A[i], start)
        settled = collocated(solver.batched, z.w, x, n_steps, self.enough[i])
        if settled is not None:
            self.A[i], before, x = settled.A, settled.x, settled.refined(_more(n_steps)).x
        else:
            if np.max(abs(start - z.x[0])) > REFINEMENT.moved * NEWTON.still / solver.mu:
                coarse = np.maximum(solver.n_steps // 2, 1)
                self.A[i] = solver.batched.single().tangent_flow(z.w, x[:-1], coarse)
            before = self._followed(i, x, n_steps)
            x = self._followed(i, before, _more(n_steps))
        self.parts[i] = ShootingIterate(z.w, x)
        self.changes[i], self.through[i] = x[-1] - before[-1], Cascade(self.A[i]).composed()

    def _followed(self, i: int, x: FloatArray, n_steps: IntArray) -> FloatArray:
        """The states of a loop by the flows of its intervals, from nearby ones."""
        batched, near = self.segments[i].solver.batched, ShootingIterate(self.parts[i].w, x)
        return settle(batched, near, self.A[i], n_steps, enough=REFINEMENT.settled)

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

    def _linearised(self, i: int) -> Linearisation | None:
        """The equations at coarse steps, by the quick batched where they are regular enough."""
        solver = self.segments[i].solver
        coarse = np.maximum(solver.n_steps // 2, 1)
        quick = replace(solver, batched=solver.batched.quick(), n_steps=coarse)
        line = quick.linearise(self.parts[i])
        if line is not None and line.condition < NEWTON.quick:
            return line
        return solver.linearise(self.parts[i])

    def _steer(
        self, i: int, line: Linearisation, n_steps: IntArray, target: FloatArray, tol: float
    ) -> None:
        """Newton's method for the end of a loop whose states belong to its controls at each step.

        Progress is measured by the size of the steps, as it is where states are unknowns too.
        """
        still, miss = np.zeros_like(self.parts[i].x[1:]), target - self.parts[i].x[-1]
        # no step leads back from an explosion, of which the end of the chain tells
        if not np.isfinite(miss).all():
            return
        dw, dx = line.solve(miss, still)
        for _ in range(NEWTON.most_steps):
            if not np.max(abs(miss)) > tol:
                break
            self.segments[i].solver.report.n_iter += 1
            before = self.parts[i], self.A[i], self.changes[i], self.through[i]
            self.parts[i] = before[0].plus(dw, dx)
            self._settle_loop(i, n_steps)
            miss = target - self.parts[i].x[-1]
            shrinks = np.inf
            if np.isfinite(miss).all():
                dw_t, dx_t = line.solve(miss, still)
                shrinks = float(np.linalg.norm(dw_t) / np.linalg.norm(dw))
            if not shrinks < NEWTON.converges:
                self.parts[i], self.A[i], self.changes[i], self.through[i] = before
                break
            dw, dx = dw_t, dx_t
            if shrinks > NEWTON.keeps_line and np.max(abs(miss)) > tol:
                renewed = self._linearised(i)
                if renewed is None:
                    break
                line = renewed
                dw, dx = line.solve(miss, still)


def _more(n_steps: IntArray) -> IntArray:
    """A quarter more steps. Order 8 then has a sixth of the error."""
    return n_steps + (n_steps + 3) // 4


def _stretches(segments: list[Segment]) -> FloatArray:
    """How much the flow to the end stretches from the beginning of each loop, and from the end."""
    to_end, sizes = np.eye(segments[-1].A.shape[-1]), [1.0]
    for segment in reversed(segments):
        to_end = to_end @ Cascade(segment.A).composed()
        size = float(np.linalg.norm(to_end, axis=(1, 2)).max())
        sizes.append(size if np.isfinite(size) else 0.0)
    return np.array(sizes[::-1])
