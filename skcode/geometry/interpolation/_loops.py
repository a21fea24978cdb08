"""Loops of controls whose flow is the identity and whose linearisation is well conditioned.

Coron's return method: run a control forth, then the same control back. The points come home, and
the linearisation there collects the fields pulled back from all along the way. A loop is a bouquet
of such excursions, each chosen leg by leg so that the determinant of the Gramian grows most: one
long excursion stays where it has stretched the points, several short ones see more.

J.-M. Coron, "Global asymptotic stabilization for controllable systems without drift", Math.
Control Signals Systems 5, 1992.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.linalg import cholesky, solve_triangular

from skcode.flow import get_tableau, runge_kutta
from skcode.geometry.interpolation._batched_fields import BatchedFields
from skcode.geometry.interpolation._matrices import inverted, times
from skcode.geometry.interpolation._shooting import Loop
from skcode.geometry.interpolation._tuning import LOOPS, LoopDesign
from skcode.utils._typing import BoolArray, FloatArray

_RK4 = get_tableau("rk4")


class LoopBuilder:
    """Draws loops for given fields and points.

    Parameters
    ----------
    batched : BatchedFields
        The fields.
    X : ndarray of shape (N, m)
        The points.
    spread : float
        The unit of length.
    design : LoopDesign
        How to draw.
    """

    def __init__(
        self, batched: BatchedFields[Any], X: FloatArray, spread: float, design: LoopDesign
    ):
        self.batched = batched
        self.X = X
        self.centre = X.mean(axis=0)
        self.spread = spread
        self.design = design
        size = np.sqrt(np.mean(np.sum(batched.values(X[None])[0] ** 2, axis=1), axis=0))
        #: controls in these units displace the points by about one
        self.units = 1 / np.maximum(size, LOOPS.weakest * max(size.max(), 1e-300))
        self.gramian = np.zeros((X.size, X.size))

    def draw(
        self, n_intervals: int, rng: np.random.Generator, kept: Loop | None = None
    ) -> tuple[Loop, float]:
        """Excursions that, with their ways back, fill n_intervals; states are those of RK4.

        Those that are kept come first, where they fit. Also the share of the excursions that is
        new.
        """
        self.gramian[...] = 0
        half = min(self.design.excursion, n_intervals) // 2
        n_excursions = n_intervals // (2 * half) if half else 0
        loop = self._loop([], half)
        if kept is not None and kept.forth.shape[1] == half:
            loop = kept.some(slice(n_excursions))
        n_new = n_excursions - len(loop.forth)
        new = self._loop([self._excursion(half, rng) for _ in range(n_new)], half)
        return loop.joined(new), n_new / max(n_excursions, 1)

    def _loop(self, drawn: list[tuple[FloatArray, FloatArray, FloatArray]], half: int) -> Loop:
        """The loop of excursions with their states and derivatives."""
        (N, m), E = self.X.shape, len(drawn)
        forth, xs, Ds = zip(*drawn, strict=True) if drawn else ([], [], [])
        x = np.reshape(xs, (E, half + 1, N, m))
        D = np.reshape(Ds, (E, half + 1, N, m, m))
        A = times(D[:, 1:], inverted(D[:, :-1]))
        return Loop(np.reshape(forth, (E, half, self.batched.n_fields)), x, A)

    def _excursion(
        self, half: int, rng: np.random.Generator
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """The way out (half, d), with the states and the derivatives (half + 1, N, m, m)."""
        N, m = self.X.shape
        x, D = self.X, np.tile(np.eye(m), (N, 1, 1))
        legs: list[FloatArray] = []
        way, slopes = [x[None]], [D[None]]
        while len(legs) * self.design.leg < half:
            w = self._directions(rng)
            xs, Ds = self._run(w, x, D)
            admissible, inverses = self._admissible(xs, Ds)
            if admissible.any():
                w, xs, Ds = w[admissible], xs[admissible], Ds[admissible]
                i = self._choose(xs, inverses)
                legs.append(w[i])
            else:
                # no candidate keeps the bounds: back along the last leg, and on from there
                i = 0
                legs.append(-legs[-1] if legs else np.zeros(self.batched.n_fields))
                xs, Ds = self._run(legs[-1][None], x, D)
            way.append(xs[i])
            slopes.append(Ds[i])
            x, D = xs[i, -1], Ds[i, -1]
        w = np.repeat(legs, self.design.leg, axis=0)[:half]
        return w, np.concatenate(way)[: half + 1], np.concatenate(slopes)[: half + 1]

    def _directions(self, rng: np.random.Generator) -> FloatArray:
        """Controls (c, d) of candidates: some use one field alone, the others use all of them."""
        c, d = self.design.n_candidates, self.batched.n_fields
        w = rng.standard_normal((c, d))
        alone = rng.random(c) < LOOPS.alone
        w[alone] *= np.arange(d) == rng.integers(d, size=c)[alone, None]
        low, high = np.log(self.design.sizes)
        sizes = self.spread * np.exp(rng.uniform(low, high, (c, 1)))
        moves: FloatArray = sizes * self.units * w / np.linalg.norm(w, axis=1, keepdims=True)
        return moves

    def _run(self, w: FloatArray, x: FloatArray, D: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Points (c, leg, N, m) and derivatives (c, leg, N, m, m) after each interval of the leg.

        One RK4 step an interval: the choice of a loop need not be exact.
        """
        c = len(w)
        bound = self.batched.bind(w)
        x, D = np.tile(x, (c, 1, 1)), np.tile(D, (c, 1, 1, 1))
        xs, Ds = [], []

        def slopes(x: FloatArray, D: FloatArray) -> tuple[FloatArray, FloatArray]:
            v, J = self.batched.tangent(bound, x)
            return v, times(J, D)

        for _ in range(self.design.leg):
            dx, dD = runge_kutta(_RK4.a, _RK4.b, slopes, x, D)
            x, D = x + dx, D + dD
            xs.append(x)
            Ds.append(D)
        return np.stack(xs, axis=1), np.stack(Ds, axis=1)

    def _admissible(self, xs: FloatArray, Ds: FloatArray) -> tuple[BoolArray, FloatArray]:
        """Which candidates (c,) keep within the bounds all along, and the inverses of their Ds."""
        design = self.design
        finite = np.isfinite(Ds).all(axis=(1, 2, 3, 4)) & np.isfinite(xs).all(axis=(1, 2, 3))
        near = abs(xs - self.centre).max(axis=(1, 2, 3)) <= design.reach * self.spread
        admissible: BoolArray = finite & near
        admissible[admissible] = (np.linalg.det(Ds[admissible]) != 0).all(axis=(1, 2))
        # norms that are those of stretch along one axis, the bound of the design (see LoopDesign)
        D = Ds[admissible]
        inverses = inverted(D)
        squares = [np.sum(E**2, axis=(3, 4)) for E in (D, inverses)]
        bound = design.stretch**2 + self.X.shape[1] - 1
        mild = np.max(squares, axis=(0, 2, 3)) <= bound
        admissible[admissible] = mild
        return admissible, inverses[mild]

    def _choose(self, xs: FloatArray, inverses: FloatArray) -> int:
        """The candidate with the largest determinant of the Gramian, which gains what it adds.

        det(G + P P^T) = det(G) det(1 + P^T G^{-1} P), with one factorisation for all.
        """
        V = self.batched.values(xs.reshape(-1, *self.X.shape)) * self.units
        pulled = inverses @ V.reshape(*xs.shape, -1)  # (c, leg, N, m, d)
        P = np.moveaxis(pulled, 1, 3).reshape(len(xs), self.X.size, -1)
        trace = np.trace(self.gramian) + np.mean(np.sum(P**2, axis=(1, 2)))
        floor = LOOPS.ridge * trace / self.X.size
        L = cholesky(self.gramian + floor * np.eye(self.X.size), lower=True)
        W = solve_triangular(L, np.eye(self.X.size), lower=True) @ P
        # 1 + W^T W and 1 + W W^T have the same determinant: take the smaller matrix
        W = W if W.shape[1] <= W.shape[2] else np.swapaxes(W, -1, -2)
        gains = np.linalg.slogdet(np.eye(W.shape[1]) + W @ np.swapaxes(W, -1, -2))[1]
        i = int(np.argmax(gains))
        self.gramian += P[i] @ P[i].T
        return i
