"""Loops of controls whose flow is the identity and whose linearisation is well conditioned.

Coron's return method: run a control forth, then the same control back. The points come home, and
the linearisation there collects the fields pulled back from all along the way. A loop is a bouquet
of such excursions, each chosen leg by leg so that the determinant of the Gramian grows most: one
long excursion stays where it has stretched the points, several short ones see more.

J.-M. Coron, "Global asymptotic stabilization for controllable systems without drift", Math.
Control Signals Systems 5, 1992.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skcode.fields import Fields


@dataclass(frozen=True)
class LoopDesign:
    """How a loop is drawn.

    Attributes
    ----------
    excursion : int
        Intervals of one way out and back.
    leg : int
        Intervals on which the direction of the controls stays.
    sizes : tuple of float
        Smallest and largest displacement in an interval, in units of the points' spread.
    reach : float
        How far from their centre the points may go, in units of their spread.
    stretch : float
        Largest singular value of the flow's derivative and of its inverse at the points.
    n_candidates : int
        Admissible legs among which the best is chosen.
    """

    excursion: int = 100
    leg: int = 4
    sizes: tuple[float, float] = (0.15, 0.6)
    reach: float = 4.0
    stretch: float = 1000.0
    n_candidates: int = 8


@dataclass(frozen=True)
class _Walk:
    """Points x (N, m) and the flow's derivatives D (N, m, m) at them, after some legs."""

    x: NDArray
    D: NDArray


class LoopBuilder:
    """Draws loops for given fields and points.

    Parameters
    ----------
    fields : Fields
        The fields.
    X : ndarray of shape (N, m)
        The points.
    spread : float
        The unit of length.
    design : LoopDesign
        How to draw.
    """

    def __init__(self, fields: Fields, X: NDArray, spread: float, design: LoopDesign):
        self.fields = fields
        self.X = X
        self.centre = X.mean(axis=0)
        self.spread = spread
        self.design = design
        size = np.sqrt(np.mean(np.sum(np.asarray(fields.value(X)) ** 2, axis=2), axis=0))
        #: controls in these units displace the points by about one
        self.units = 1 / np.maximum(size, 1e-3 * max(size.max(), 1e-300))

    def draw(self, n_intervals: int, rng: np.random.Generator) -> NDArray:
        """A loop of controls (n_intervals, d) over unit time."""
        N, m = self.X.shape
        gramian = np.zeros((N * m, N * m))
        pieces: list[NDArray] = []
        remaining = n_intervals
        while remaining > 1:
            half = min(self.design.excursion, remaining) // 2
            forth, gramian = self._excursion(half, gramian, rng)
            pieces += [forth, -forth[::-1]]
            remaining -= 2 * half
        pieces.append(np.zeros((remaining, self.fields.n_fields)))
        return n_intervals * np.concatenate(pieces)

    def _excursion(
        self, half: int, gramian: NDArray, rng: np.random.Generator
    ) -> tuple[NDArray, NDArray]:
        """The way out (half, d), and the Gramian with what it adds."""
        N, m = self.X.shape
        walk = _Walk(self.X, np.tile(np.eye(m), (N, 1, 1)))
        legs: list[NDArray] = []
        while len(legs) * self.design.leg < half:
            best = self._best_leg(walk, gramian, rng)
            if best is None:
                # stuck at the bounds: go back along the last leg and try other ways
                u = -legs[-1] if legs else np.zeros(self.fields.n_fields)
                steps = self._run(walk, u)
                walk = steps[-1] if steps else walk
            else:
                u, walk, gramian = best
            legs.append(u)
        return np.repeat(legs, self.design.leg, axis=0)[:half], gramian

    def _best_leg(self, walk: _Walk, gramian: NDArray, rng: np.random.Generator):
        """Of a few admissible legs the one with the largest determinant of the Gramian."""
        best, best_value, found = None, -np.inf, 0
        for _ in range(6 * self.design.n_candidates):
            u = self._direction(rng)
            steps = self._run(walk, u)
            if not steps or not self._admissible(steps):
                continue
            found += 1
            G = gramian + sum(self._gain(step) for step in steps)
            floor = 1e-13 * np.trace(G) / len(G)
            value = np.linalg.slogdet(G + floor * np.eye(len(G)))[1]
            if value > best_value:
                best, best_value = (u, steps[-1], G), value
            if found == self.design.n_candidates:
                break
        return best

    def _direction(self, rng: np.random.Generator) -> NDArray:
        """One field alone, or all of them: both kinds of leg are needed."""
        d = self.fields.n_fields
        u = rng.standard_normal(d)
        if rng.random() < 0.5:
            u *= np.arange(d) == rng.integers(d)
        low, high = np.log(self.design.sizes)
        return self.spread * np.exp(rng.uniform(low, high)) * self.units * u / np.linalg.norm(u)

    def _run(self, walk: _Walk, u: NDArray) -> list[_Walk]:
        """The leg's intervals, one RK4 step each; [] where the points leave the floating range."""
        steps = []
        for _ in range(self.design.leg):
            k1, K1 = self._velocity(walk.x, walk.D, u)
            k2, K2 = self._velocity(walk.x + k1 / 2, walk.D + K1 / 2, u)
            k3, K3 = self._velocity(walk.x + k2 / 2, walk.D + K2 / 2, u)
            k4, K4 = self._velocity(walk.x + k3, walk.D + K3, u)
            x = walk.x + (k1 + 2 * k2 + 2 * k3 + k4) / 6
            D = walk.D + (K1 + 2 * K2 + 2 * K3 + K4) / 6
            if not (np.isfinite(x).all() and np.isfinite(D).all()):
                return []
            walk = _Walk(x, D)
            steps.append(walk)
        return steps

    def _velocity(self, x: NDArray, D: NDArray, u: NDArray) -> tuple[NDArray, NDArray]:
        N, m = x.shape
        columns = D.transpose(2, 0, 1).reshape(m * N, m)
        with np.errstate(all="ignore"):
            pushed = self.fields.pushforward(np.tile(x, (m, 1)), u, columns)
            return self.fields.combine(x, u), pushed.reshape(m, N, m).transpose(1, 2, 0)

    def _admissible(self, steps: list[_Walk]) -> bool:
        design = self.design
        for step in steps:
            if np.max(abs(step.x - self.centre)) > design.reach * self.spread:
                return False
            s = np.linalg.svd(step.D, compute_uv=False)
            if s.max() > design.stretch or s.min() < 1 / design.stretch:
                return False
        return True

    def _gain(self, step: _Walk) -> NDArray:
        """What one interval adds to the Gramian: the fields, pulled back to the start."""
        V = np.asarray(self.fields.value(step.x)) * self.units[None, :, None]
        pulled = np.linalg.solve(step.D, V.transpose(0, 2, 1)).reshape(-1, self.fields.n_fields)
        return pulled @ pulled.T
