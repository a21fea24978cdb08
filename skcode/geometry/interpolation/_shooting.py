"""Newton's method on all intervals at once: multiple shooting for controls that move little.

Unknown are the controls w (M, d) and the states x_1..x_M at the ends of the intervals. With F_t the
flow of interval t, the equations are x_{t+1} = F_t(x_t, w_t) and x_M = target. Linearised,

    dx_{t+1} = A_t dx_t + B_t dw_t + defect_t,   dx_M = sum_t P_t (B_t dw_t + defect_t)

with P_t = A_{M-1} .. A_{t+1}. All F_t, A_t and B_t are computed at once, and no flow is longer than
one interval: sequential are only the products of small matrices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular, svdvals
from scipy.linalg.lapack import dpotrf, dpotrs

from skcode.geometry.interpolation._batched_fields import BatchedFields
from skcode.geometry.interpolation._matrices import Cascade, applied
from skcode.geometry.interpolation._tuning import CLOSING, NEWTON
from skcode.utils._typing import FloatArray, IntArray

#: what intervals have each: a number of steps, or a gap
Number = TypeVar("Number", bound=np.generic)


@dataclass(frozen=True)
class ShootingIterate:
    """Controls w (M, d) and states x (M + 1, N, m), whose first are the inputs."""

    w: FloatArray
    x: FloatArray

    def plus(self, dw: FloatArray, dx: FloatArray) -> ShootingIterate:
        """The iterate after a step dw (M, d), dx_1..dx_M."""
        return ShootingIterate(self.w + dw, np.concatenate([self.x[:1], self.x[1:] + dx]))


class Linearisation:
    r"""The linearised equations at an iterate, and their solutions that move the states least.

    Among the dw that bring the points home the one with the smallest

    .. math:: \sum_t |dw_t|^2 + \mu^2 \sum_k |dx_{t_k}|^2

    is taken, with the states at the ends of blocks of intervals. With the first sum alone points
    travel far, and come back, in order to move a little: Newton's method then converges for much
    smaller targets only. The reachability Gramian P_k = L_k^T L_k of the blocks obeys a Riccati
    equation, P_{k+1} = F (P_k^{-1} + mu^2)^{-1} F^T + G G^T, of which only the factors L_k are
    computed, by QR: nothing is squared.

    Parameters
    ----------
    batched : BatchedFields
        The fields.
    z : ShootingIterate
        Where to linearise.
    n_steps : int or ndarray of shape (M,)
        Steps of the scheme in an interval.
    mu : float
        The weight of the states.
    """

    def __init__(
        self, batched: BatchedFields[Any], z: ShootingIterate, n_steps: int | IntArray, mu: float
    ):
        self.A, self.B = batched.linearised_flow(z.w, z.x[:-1], n_steps)
        M, N, m, d = self.B.shape
        self.cascade = Cascade(self.A)
        self.P = self.cascade.products()
        self.finite = bool(np.isfinite(self.P).all() and np.isfinite(self.B).all())
        self.shape = (M, d)
        self.condition = np.inf
        if self.finite and N * m <= M * d:
            F, G = self._blocks(max(NEWTON.block, N * m // (2 * d)))
            self.factors: _Gramians | _Roots = _Gramians(F, G, mu)
            if not self.factors.condition <= NEWTON.squared:
                self.factors = _Roots(F, G, mu)
            self.condition = self.factors.condition

    def _blocks(self, size: int) -> tuple[FloatArray, FloatArray]:
        """What blocks of intervals do to states (K, N, m, m), and their controls (K, N m, size d).

        The last block is filled up with intervals in which nothing happens.
        """
        M, N, m, d = self.B.shape
        K = -(-M // size)
        A = np.concatenate([self.A, np.broadcast_to(np.eye(m), (K * size - M, N, m, m))])
        B = np.concatenate([self.B, np.zeros((K * size - M, N, m, d))])
        cascade = Cascade(A.reshape(K, size, N, m, m).swapaxes(0, 1))
        pushes = cascade.products() @ B.reshape(K, size, N, m, d).swapaxes(0, 1)
        return cascade.composed(), pushes.transpose(1, 2, 3, 0, 4).reshape(K, N * m, size * d)

    def arrival(self, defects: FloatArray) -> FloatArray:
        """What defects (M, N, m) amount to at the end (N, m)."""
        total: FloatArray = np.sum(applied(self.P, defects), axis=0)
        return total

    def solve(self, miss: FloatArray, defects: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The dw with sum_t P_t B_t dw_t = miss, and the dx_1..dx_M that it and defects cause."""
        M, d = self.shape
        dw = self.factors.controls(miss.ravel()).reshape(-1, d)[:M]
        pushes = self.B.reshape(M, -1, d) @ dw[:, :, None]
        return dw, self.cascade.respond(pushes.reshape(defects.shape) + defects)


class _Gramians:
    """Solutions by the Gramians P_k themselves, whose condition is that of their roots squared.

    Parameters
    ----------
    F : ndarray of shape (K, N, m, m)
        What the blocks of intervals do to states.
    G : ndarray of shape (K, N m, r)
        What their r controls do to the states at their ends.
    mu : float
        The weight of the states.
    """

    def __init__(self, F: FloatArray, G: FloatArray, mu: float):
        N, m = F.shape[1:3]
        self.F, self.G = F, G
        #: Cholesky factors of 1 + mu^2 P_k
        self.factors: list[FloatArray] = []
        one, P, self.condition = np.eye(N * m), np.zeros((N * m, N * m)), np.inf
        for Fk, square in zip(F, G @ G.swapaxes(1, 2), strict=True):
            S, _ = dpotrf(one + mu**2 * P, lower=1)
            self.factors.append(S)
            # P (1 + mu^2 P)^{-1} is symmetric, and so is F times it times F^T
            kept = dpotrs(S, P, lower=1)[0]
            half = (Fk @ kept.reshape(N, m, -1)).reshape(N * m, -1)
            P = (Fk @ half.T.reshape(N, m, -1)).reshape(N * m, -1) + square
            P = (P + P.T) / 2
        self.root, singular = dpotrf(P, lower=1)
        if not singular and np.isfinite(self.root).all():
            sizes = np.linalg.eigvalsh(P)
            self.condition = float(np.sqrt(sizes[-1] / sizes[0])) if sizes[0] > 0 else np.inf

    def controls(self, miss: FloatArray) -> FloatArray:
        """The controls (K, r) that bring about the miss (N m,)."""
        y = dpotrs(self.root, miss, lower=1)[0]
        ys = np.empty((len(self.F), y.size))
        for k in range(len(ys) - 1, -1, -1):
            ys[k] = y
            if k:
                back = y.reshape(len(self.F[k]), 1, -1) @ self.F[k]
                y = dpotrs(self.factors[k], back.ravel(), lower=1)[0]
        return (ys[:, None] @ self.G)[:, 0]


class _Roots:
    """Solutions by square roots of the Gramians, from orthogonal factors: nothing is squared.

    Parameters are those of `_Gramians`.
    """

    def __init__(self, F: FloatArray, G: FloatArray, mu: float):
        N, m = F.shape[1:3]
        #: Q_k and S_k of each block
        self.factors: list[tuple[FloatArray, FloatArray]] = []
        L = np.empty((0, N * m))
        for Fk, Gk in zip(F, G, strict=True):
            S = np.linalg.cholesky(np.eye(len(L)) + mu**2 * (L @ L.T))
            kept = _lower_solve(S, L).reshape(-1, N, m)
            Q, L = np.linalg.qr(np.vstack([applied(Fk, kept).reshape(-1, N * m), Gk.T]))
            self.factors.append((Q, S))
        self.R = L
        s = svdvals(self.R)
        self.condition = float(s[0] / s[-1]) if s[-1] > 0 else np.inf

    def controls(self, miss: FloatArray) -> FloatArray:
        """The controls (K, r) that bring about the miss (N m,)."""
        y = solve_triangular(self.R, miss, trans="T")
        pieces = []
        for Q, S in reversed(self.factors):
            a, dw = np.split(Q @ y, [len(S)])
            pieces.append(dw)
            y = _lower_solve(S, a, trans="T")
        return np.stack(pieces[::-1])


def _lower_solve(S: FloatArray, b: FloatArray, trans: str = "N") -> FloatArray:
    """S^{-1} b or S^{-T} b; old versions of scipy refuse systems of size 0."""
    return solve_triangular(S, b, lower=True, trans=trans) if len(S) else b


def carried(x: FloatArray, A: FloatArray, start: FloatArray) -> FloatArray:
    """The states (M + 1, N, m), by their derivatives, where the first ones move to the start."""
    push = np.zeros_like(x[1:])
    push[0] = applied(A[0], start - x[0])
    return np.concatenate([start[None], x[1:] + Cascade(A).respond(push)])


def propagate(
    batched: BatchedFields[Any], w: FloatArray, X: FloatArray, n_steps: int | IntArray
) -> FloatArray:
    """States (G, M + 1, N, m) under w (G, M, d) from X (N, m), interval after interval.

    n_steps is one number or those of all intervals (G, M).
    """
    G, M, _ = w.shape
    steps = np.broadcast_to(n_steps, (G, M))
    x = np.empty((G, M + 1, *X.shape))
    x[:, 0] = X
    for t in range(M):
        x[:, t + 1] = batched.flow(w[:, t], x[:, t], steps[:, t])
    return x


def settle(
    batched: BatchedFields[Any],
    z: ShootingIterate,
    A: FloatArray,
    n_steps: int | IntArray,
    max_iter: int = NEWTON.most_steps,
    enough: float = 0.0,
    ends: FloatArray | None = None,
) -> FloatArray:
    """The states (M + 1, N, m) that belong to the controls, from nearby ones, all at once.

    Newton's method for x_{t+1} = F_t(x_t, w_t) with the derivatives A, down to rounding; where it
    fails, the flows of the intervals one after another. Once relative defects are at most `enough`
    one more correction ends it, without a look at what it leaves. `ends` are the points at which
    the flows of the intervals arrive from z, where they are known already.
    """
    x, smallest, cascade = z.x, np.inf, Cascade(A)
    for _ in range(max_iter):
        defects = (batched.flow(z.w, x[:-1], n_steps) if ends is None else ends) - x[1:]
        ends = None
        size = np.max(abs(defects)) / np.max(abs(x))
        stagnant = not size < NEWTON.stalls * smallest
        if size <= (NEWTON.stagnant if stagnant else NEWTON.settled):
            return x
        if stagnant:
            break
        smallest = size
        x = np.concatenate([x[:1], x[1:] + cascade.respond(defects)])
        if size <= enough:
            return x
    states: FloatArray = propagate(batched, z.w[None], z.x[0], n_steps)[0]
    return states


class Loop(NamedTuple):
    """Ways out of excursions, with the states on them and the derivatives of the flows.

    Ways back have the same controls with the other sign, in turn: from whatever points a loop
    begins, it takes them home.
    """

    forth: FloatArray  # (E, half, d)
    x: FloatArray  # (E, half + 1, N, m)
    A: FloatArray  # (E, half, N, m, m)

    def at(self, X: FloatArray, points: IntArray) -> Loop:
        """The same controls with states, to first order, that begin at the points X (N, m).

        Each of them stands near the one of the loop's points that is named.
        """
        x, A = self.x[:, :, points].swapaxes(0, 1), self.A[:, :, points].swapaxes(0, 1)
        start = np.broadcast_to(X, x.shape[1:])
        return Loop(self.forth, carried(x, A, start).swapaxes(0, 1), A.swapaxes(0, 1))

    def some(self, excursions: slice | IntArray) -> Loop:
        """Those excursions alone."""
        return Loop(*(part[excursions] for part in self))

    def joined(self, other: Loop) -> Loop:
        """The excursions of both."""
        return Loop(*(np.concatenate(parts) for parts in zip(self, other, strict=True)))

    def settled(self, batched: BatchedFields[Any], steps: IntArray, enough: float) -> FloatArray:
        """The states (E, half + 1, N, m) of the controls at these steps (E, half).

        Newton's method on all intervals at once, until defects are at most `enough`; where it
        fails, the flows of the intervals one after another.
        """
        E, half, d = self.forth.shape
        x, w = self.x.copy(), self.forth.reshape(-1, d)
        cascade, smallest = Cascade(self.A.swapaxes(0, 1)), np.inf
        for _ in range(NEWTON.most_steps):
            starts = x[:, :-1].reshape(-1, *x.shape[2:])
            ends = batched.flow(w, starts, steps.ravel()).reshape(E, half, *x.shape[2:])
            defects = ends - x[:, 1:]
            size = np.max(abs(defects), initial=0.0)
            if size <= enough:
                return x
            if not size < NEWTON.stalls * smallest:
                break
            smallest = size
            x[:, 1:] += cascade.respond(defects.swapaxes(0, 1)).swapaxes(0, 1)
        return propagate(batched, self.forth, x[0, 0], steps)


def closed_excursions(
    batched: BatchedFields[Any], loop: Loop, allowed: float, doublings: int
) -> tuple[FloatArray, IntArray, FloatArray]:
    """States (E, half + 1, N, m) on the ways out, which the ways back pass again.

    Also the steps of the scheme (E, half), which are doubled for intervals whose way back misses
    the start of the way out by more than `allowed`, and by how much each misses it.
    """
    E, half, d = loop.forth.shape
    steps = np.ones((E, half), dtype=int)
    out, misses = loop.x.copy(), np.zeros((E, half))
    loose = np.ones((E, half), dtype=bool)
    for doubling in range(doublings + 1):
        s = np.flatnonzero(loose.any(axis=1))
        if not s.size:
            break
        if doubling:
            steps[loose] *= 2
        part = Loop(loop.forth[s], out[s], loop.A[s])
        out[s] = part.settled(batched, steps[s], CLOSING.share * allowed)
        starts = out[s, 1:].reshape(-1, *out.shape[2:])
        ends = batched.flow(-loop.forth[s].reshape(-1, d), starts, steps[s].ravel())
        misses[s] = abs(ends.reshape(-1, half, *out.shape[2:]) - out[s, :-1]).max(axis=(2, 3))
        loose = ~(misses < allowed)
    return out, steps, misses


def there_and_back(
    out: FloatArray, forth: FloatArray, X: FloatArray, n_intervals: int
) -> ShootingIterate:
    """The loop of excursions with states out (E, half + 1, N, m) under forth (E, half, d)."""
    x = np.concatenate([out[:, 1:], out[:, -2::-1]], axis=1).reshape(-1, *X.shape)
    w = np.concatenate([forth, -forth[:, ::-1]], axis=1).reshape(-1, forth.shape[-1])
    idle = n_intervals - len(w)
    return ShootingIterate(
        np.concatenate([w, np.zeros((idle, w.shape[1]))]),
        np.concatenate([X[None], x, np.tile(X, (idle, 1, 1))]),
    )


def of_both_ways(forth: NDArray[Number], n_intervals: int, idle: float) -> NDArray[Number]:
    """Numbers (E, half) of the ways out, as those of all intervals of the loop (M,)."""
    both = np.concatenate([forth, forth[:, ::-1]], axis=1).ravel()
    return np.pad(both, (0, n_intervals - both.size), constant_values=idle)
