"""Many small matrices at once, and recursions through a long row of them.

A product of two matrices of two or three rows takes a few nanoseconds, and a call of BLAS for each
of them several times as much: entries are combined by arithmetic on whole arrays instead.
"""

from __future__ import annotations

import numpy as np

from skcode.geometry.interpolation._tuning import CACHE
from skcode.utils._typing import FloatArray


def times(A: FloatArray, B: FloatArray) -> FloatArray:
    """The products (..., m, n) of A (..., m, k) and B (..., k, n)."""
    (m, k), n = A.shape[-2:], B.shape[-1]
    if max(m, k, n) > CACHE.by_entries:
        product: FloatArray = A @ B
        return product
    shape = np.broadcast_shapes(A.shape[:-2], B.shape[:-2])
    out = np.empty((*shape, m, n), np.result_type(A, B))
    for i in range(m):
        for j in range(n):
            entry = A[..., i, 0] * B[..., 0, j]
            for inner in range(1, k):
                entry += A[..., i, inner] * B[..., inner, j]
            out[..., i, j] = entry
    return out


def applied(A: FloatArray, x: FloatArray) -> FloatArray:
    """The vectors A x (..., m) of A (..., m, k) and x (..., k)."""
    if max(A.shape[-2:]) > CACHE.by_entries:
        product: FloatArray = (A @ x[..., None])[..., 0]
        return product
    total: FloatArray = A[..., 0] * x[..., :1]
    for inner in range(1, A.shape[-1]):
        total += A[..., inner] * x[..., inner : inner + 1]
    return total


def inverted(A: FloatArray) -> FloatArray:
    """The inverses of matrices (..., m, m) that are known to be regular."""
    if A.shape[-1] != 2:
        return np.linalg.inv(A)
    determinants = A[..., 0, 0] * A[..., 1, 1] - A[..., 0, 1] * A[..., 1, 0]
    out = np.empty_like(A)
    out[..., 0, 0], out[..., 1, 1] = A[..., 1, 1], A[..., 0, 0]
    out[..., 0, 1], out[..., 1, 0] = -A[..., 0, 1], -A[..., 1, 0]
    out /= determinants[..., None, None]
    return out


class Cascade:
    """Matrices A_0 .. A_{M-1} (M, ..., m, m) with the products of pairs, of pairs of pairs, ...

    With them a recursion through all M takes about log M operations on whole arrays instead of M
    on small ones.
    """

    def __init__(self, A: FloatArray):
        self.levels = [A]
        while len(A) > 1:
            half = len(A) // 2
            pairs = times(A[1::2], A[: 2 * half : 2])
            A = np.concatenate([pairs, A[2 * half :]])
            self.levels.append(A)

    def composed(self) -> FloatArray:
        """A_{M-1} .. A_0."""
        whole: FloatArray = self.levels[-1][0]
        return whole

    def products(self) -> FloatArray:
        """P_t = A_{M-1} .. A_{t+1}, the last the identity."""
        P: FloatArray = np.broadcast_to(np.eye(self.levels[0].shape[-1]), self.levels[-1].shape)
        for A in self.levels[-2::-1]:
            half = len(A) // 2
            finer = np.empty_like(A)
            # what comes after the second one of a pair is what comes after the pair
            finer[1::2] = P[:half]
            finer[: 2 * half : 2] = times(P[:half], A[1::2])
            finer[2 * half :] = P[half:]
            P = finer
        return P

    def respond(self, push: FloatArray) -> FloatArray:
        """The x_1..x_M (M, ..., m) of x_{t+1} = A_t x_t + push_t, x_0 = 0."""
        pushes = [push]
        for A in self.levels[:-1]:
            b, half = pushes[-1], len(A) // 2
            pairs = applied(A[1::2], b[: 2 * half : 2]) + b[1::2]
            pushes.append(np.concatenate([pairs, b[2 * half :]]))
        x = pushes.pop()
        for A, b in zip(self.levels[-2::-1], reversed(pushes), strict=True):
            half = len(A) // 2
            finer = np.empty_like(b)
            finer[1::2] = x[:half]
            finer[0] = b[0]
            # the first ones of later pairs follow the pair before, and so does one without a pair
            finer[2::2] = applied(A[2::2], x[: len(finer[2::2])]) + b[2::2]
            x = finer
        return x
