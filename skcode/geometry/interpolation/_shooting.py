"""Newton's method on all intervals at once: multiple shooting for controls that move little.

Unknown are the controls w (M, d) and the states x_1..x_M at the ends of the intervals. With F_t the
flow of interval t, the equations are x_{t+1} = F_t(x_t, w_t) and x_M = target. Linearised,

    dx_{t+1} = A_t dx_t + B_t dw_t + defect_t,   dx_M = sum_t P_t (B_t dw_t + defect_t)

with P_t = A_{M-1} .. A_{t+1}. All F_t, A_t and B_t are computed at once, and no flow is longer than
one interval: sequential are only the products of small matrices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular, svdvals

from skcode.geometry.interpolation._batched_fields import BatchedFields
from skcode.geometry.interpolation._tuning import NEWTON
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
        self.P = products(self.A)
        self.finite = bool(np.isfinite(self.P).all() and np.isfinite(self.B).all())
        self.shape = (M, d)
        self.condition = np.inf
        if self.finite and N * m <= M * d:
            self._factor(mu, max(NEWTON.block, N * m // (2 * d)))
            s = svdvals(self.R)
            self.condition = float(s[0] / s[-1]) if s[-1] > 0 else np.inf

    def _factor(self, mu: float, size: int) -> None:
        """Q_k and S_k of each block, and the last R, from the square roots of the Gramians."""
        M, N, m, _ = self.B.shape
        self.factors: list[tuple[FloatArray, FloatArray]] = []
        L = np.empty((0, N * m))
        for start in range(0, M, size):
            A, B = self.A[start : start + size], self.B[start : start + size]
            to_end = products(A)
            S = np.linalg.cholesky(np.eye(len(L)) + mu**2 * (L @ L.T))
            kept = _lower_solve(S, L).reshape(-1, N, m, 1)
            F = to_end[0] @ A[0]
            G = np.moveaxis(to_end @ B, 3, 1).reshape(-1, N * m)
            Q, L = np.linalg.qr(np.vstack([(F @ kept).reshape(-1, N * m), G]))
            self.factors.append((Q, S))
        self.R = L

    def _controls(self, miss: FloatArray) -> FloatArray:
        """The dw with sum_t P_t B_t dw_t = miss."""
        y = solve_triangular(self.R, miss.ravel(), trans="T")
        pieces = []
        for Q, S in reversed(self.factors):
            a, dw = np.split(Q @ y, [len(S)])
            pieces.append(dw)
            y = _lower_solve(S, a, trans="T")
        return np.concatenate(pieces[::-1]).reshape(self.shape)

    def arrival(self, defects: FloatArray) -> FloatArray:
        """What defects (M, N, m) amount to at the end (N, m)."""
        total: FloatArray = np.sum(self.P @ defects[..., None], axis=0)[..., 0]
        return total

    def solve(self, miss: FloatArray, defects: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The dw with sum_t P_t B_t dw_t = miss, and the dx_1..dx_M that it and defects cause."""
        dw = self._controls(miss)
        push = (self.B @ dw[:, None, :, None])[..., 0] + defects
        return dw, _respond(self.A, push)


def _lower_solve(S: FloatArray, b: FloatArray, trans: str = "N") -> FloatArray:
    """S^{-1} b or S^{-T} b; old versions of scipy refuse systems of size 0."""
    return solve_triangular(S, b, lower=True, trans=trans) if len(S) else b


def products(A: FloatArray) -> FloatArray:
    """P_t = A_{M-1} .. A_{t+1}, the last the identity."""
    P = np.empty_like(A)
    P[-1] = np.eye(A.shape[-1])
    for t in range(len(A) - 1, 0, -1):
        np.matmul(P[t], A[t], out=P[t - 1])
    return P


def composed(A: FloatArray) -> FloatArray:
    """A_{M-1} .. A_0 (N, m, m)."""
    whole: FloatArray = A[0]
    for At in A[1:]:
        whole = At @ whole
    return whole


def _respond(A: FloatArray, push: FloatArray) -> FloatArray:
    """dx_1..dx_M of dx_{t+1} = A_t dx_t + push_t, dx_0 = 0."""
    dx = np.empty_like(push)
    dx[0] = push[0]
    for t in range(1, len(push)):
        np.matmul(A[t], dx[t - 1][..., None], out=dx[t][..., None])
        dx[t] += push[t]
    return dx


def carried(x: FloatArray, A: FloatArray, start: FloatArray) -> FloatArray:
    """The states (M + 1, N, m), by their derivatives, where the first ones move to the start."""
    push = np.zeros_like(x[1:])
    push[0] = (A[0] @ (start - x[0])[..., None])[..., 0]
    return np.concatenate([start[None], x[1:] + _respond(A, push)])


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
    x, smallest = z.x, np.inf
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
        x = np.concatenate([x[:1], x[1:] + _respond(A, defects)])
        if size <= enough:
            return x
    states: FloatArray = propagate(batched, z.w[None], z.x[0], n_steps)[0]
    return states


def closed_excursions(
    batched: BatchedFields[Any], forth: FloatArray, X: FloatArray, allowed: float, doublings: int
) -> tuple[FloatArray, IntArray, FloatArray]:
    """States (E, half + 1, N, m) on the ways out (E, half, d), which the ways back pass again.

    Also the steps of the scheme (E, half), which are doubled for intervals whose way back misses
    the start of the way out by more than `allowed`, and by how much each misses it.
    """
    E, half, d = forth.shape
    steps = np.ones((E, half), dtype=int)
    out, misses = np.empty((E, half + 1, *X.shape)), np.zeros((E, half))
    loose = np.ones((E, half), dtype=bool)
    for doubling in range(doublings + 1):
        s = np.flatnonzero(loose.any(axis=1))
        if not s.size:
            break
        if doubling:
            steps[loose] *= 2
        out[s] = propagate(batched, forth[s], X, steps[s])
        starts = out[s, 1:].reshape(-1, *X.shape)
        ends = batched.flow(-forth[s].reshape(-1, d), starts, steps[s].ravel())
        misses[s] = abs(ends.reshape(-1, half, *X.shape) - out[s, :-1]).max(axis=(2, 3))
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
