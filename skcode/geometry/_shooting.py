"""Newton's method on all intervals at once: multiple shooting for controls of minimum norm.

Unknown are the controls w (M, d) and the states x_1..x_M at the ends of the intervals. With F_t the
flow of interval t, the equations are x_{t+1} = F_t(x_t, w_t) and x_M = target. Linearised,

    dx_{t+1} = A_t dx_t + B_t dw_t + defect_t,   dx_M = sum_t P_t (B_t dw_t + defect_t)

with P_t = A_{M-1} .. A_{t+1}. All F_t, A_t and B_t are computed at once, and no flow is longer than
one interval: sequential are only the products of small matrices.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular, svdvals

from skcode.geometry._bundle import Bundle


@dataclass(frozen=True)
class Iterate:
    """Controls w (M, d) and states x (M + 1, N, m), whose first are the inputs."""

    w: NDArray
    x: NDArray


class Linearisation:
    """The linearised equations at an iterate, and their solutions of minimum norm.

    Solved by a QR factorisation of the transposed Jacobian, never of J J^T.

    Parameters
    ----------
    bundle : Bundle
        The fields.
    z : Iterate
        Where to linearise.
    n_steps : int
        Steps of the scheme in an interval.
    """

    def __init__(self, bundle: Bundle, z: Iterate, n_steps: int):
        self.A, self.B = bundle.linearised_flow(z.w, z.x[:-1], n_steps)
        M, N, m, d = self.B.shape
        self.P = np.empty_like(self.A)
        self.P[-1] = np.eye(m)
        for t in range(M - 1, 0, -1):
            np.matmul(self.P[t], self.A[t], out=self.P[t - 1])
        J = (self.P @ self.B).transpose(1, 2, 0, 3).reshape(N * m, M * d)
        self.finite = bool(np.isfinite(J).all())
        self.shape = (M, d)
        self.condition = np.inf
        if self.finite and J.shape[0] <= J.shape[1]:
            self.Q, self.R = np.linalg.qr(J.T)
            s = svdvals(self.R)
            self.condition = float(s[0] / s[-1]) if s[-1] > 0 else np.inf

    def arrival(self, defects: NDArray) -> NDArray:
        """What defects (M, N, m) amount to at the end (N, m)."""
        return np.sum(self.P @ defects[..., None], axis=0)[..., 0]

    def solve(self, miss: NDArray, defects: NDArray) -> tuple[NDArray, NDArray]:
        """The smallest dw with sum_t P_t B_t dw_t = miss, and dx_1..dx_M."""
        dw = (self.Q @ solve_triangular(self.R, miss.ravel(), trans="T")).reshape(self.shape)
        push = (self.B @ dw[:, None, :, None])[..., 0] + defects
        return dw, _respond(self.A, push)


def _respond(A: NDArray, push: NDArray) -> NDArray:
    """dx_1..dx_M of dx_{t+1} = A_t dx_t + push_t, dx_0 = 0."""
    dx = np.empty_like(push)
    dx[0] = push[0]
    for t in range(1, len(push)):
        np.matmul(A[t], dx[t - 1][..., None], out=dx[t][..., None])
        dx[t] += push[t]
    return dx


def settle(bundle: Bundle, z: Iterate, A: NDArray, n_steps: int, max_iter: int = 20) -> Iterate:
    """The states that really belong to the controls, all intervals at once.

    Newton's method for x_{t+1} = F_t(x_t, w_t) with the given derivatives A, down to rounding.
    """
    x, smallest = z.x, np.inf
    for _ in range(max_iter):
        defects = bundle.flow(z.w, x[:-1], n_steps) - x[1:]
        size = np.max(abs(defects))
        if not size < 0.5 * smallest:
            break
        smallest = size
        x = np.concatenate([x[:1], x[1:] + _respond(A, defects)])
    return Iterate(z.w, x)


def propagate(bundle: Bundle, w: NDArray, X: NDArray, n_steps: int) -> NDArray:
    """States (G, M + 1, N, m) under w (G, M, d) from X (N, m), interval after interval."""
    G, M, _ = w.shape
    x = np.empty((G, M + 1, *X.shape))
    x[:, 0] = X
    for t in range(M):
        x[:, t + 1] = bundle.flow(w[:, t], x[:, t], n_steps)
    return x


def there_and_back(
    bundle: Bundle, forth: NDArray, X: NDArray, n_intervals: int, n_steps: int
) -> Iterate:
    """The loop of excursions (E, half, d): the ways back pass through the same states."""
    out = propagate(bundle, forth, X, n_steps)
    x = np.concatenate([out[:, 1:], out[:, -2::-1]], axis=1).reshape(-1, *X.shape)
    w = np.concatenate([forth, -forth[:, ::-1]], axis=1).reshape(-1, forth.shape[-1])
    idle = n_intervals - len(w)
    return Iterate(
        np.concatenate([w, np.zeros((idle, w.shape[1]))]),
        np.concatenate([X[None], x, np.tile(X, (idle, 1, 1))]),
    )
