"""Cholesky factors of large matrices by products of blocks.

LAPACK by scipy holds the interpreter's lock, and factors at half the speed of a product. Blocks
that are multiplied by NumPy let other threads run, in single precision as in double.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import get_lapack_funcs

from skcode.utils._typing import FloatArray

#: rows of a block: smaller ones are mostly calls, larger ones leave more to LAPACK
_BLOCK = 256
#: rows of a triangle that LAPACK inverts: of larger ones products are faster
_LEAF = 64


def factor_in_place(A: FloatArray) -> bool:
    """The lower factor L of A = L L^T written over A, zeros above; False if A is not positive.

    Only the lower triangle of A is read.
    """
    n = len(A)
    for rows in _blocks(n):
        start, stop = rows.start, rows.stop
        if start:
            A[start:, start:stop] -= A[start:, :start] @ A[start:stop, :start].T
        try:
            corner = np.linalg.cholesky(A[start:stop, start:stop])
        except np.linalg.LinAlgError:
            return False
        A[start:stop, start:stop] = corner
        A[:start, start:stop] = 0
        if stop < n:
            A[stop:, start:stop] = A[stop:, start:stop] @ inverse_factor(corner).T
    return bool(np.isfinite(A[-1, -1]))


def solve_factor(L: FloatArray, B: FloatArray) -> FloatArray:
    """(L L^T)^{-1} B of columns B (n, K)."""
    return substitute_back(L, substitute(L, B))


def substitute(L: FloatArray, B: FloatArray) -> FloatArray:
    """L^{-1} B of columns B (n, K), by substitution of blocks."""
    X = np.array(B)
    for rows in _blocks(len(L)):
        X[rows] = inverse_factor(L[rows, rows]) @ (
            X[rows] - L[rows, : rows.start] @ X[: rows.start]
        )
    return X


def substitute_back(L: FloatArray, B: FloatArray) -> FloatArray:
    """L^{-T} B of columns B (n, K), by substitution of blocks."""
    X = np.array(B)
    for rows in reversed(_blocks(len(L))):
        later = X[rows] - L[rows.stop :, rows].T @ X[rows.stop :]
        X[rows] = inverse_factor(L[rows, rows]).T @ later
    return X


def _blocks(n: int) -> list[slice]:
    return [slice(start, min(start + _BLOCK, n)) for start in range(0, n, _BLOCK)]


def inverse_factor(L: FloatArray) -> FloatArray:
    """L^{-1} of a lower triangular L, in the float type of L, by products of halves."""
    n = len(L)
    if n <= _LEAF:
        (invert,) = get_lapack_funcs(("trtri",), dtype=L.dtype)
        # LAPACK keeps columns side by side: what it sees is the upper factor L^T
        return np.ascontiguousarray(invert(L.T, lower=0)[0].T)
    half = n // 2
    inverse = np.zeros_like(L)
    inverse[:half, :half] = inverse_factor(L[:half, :half])
    inverse[half:, half:] = inverse_factor(L[half:, half:])
    product = L[half:, :half] @ inverse[:half, :half]
    np.matmul(-inverse[half:, half:], product, out=inverse[half:, :half])
    return inverse
