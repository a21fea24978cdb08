"""Cholesky factors of large matrices by products of blocks.

LAPACK by scipy holds the interpreter's lock, and factors at half the speed of a product. Blocks
that are multiplied by NumPy let other threads run, in single precision as in double.
"""

from __future__ import annotations

import numpy as np

from skcode.utils._typing import FloatArray

#: rows of a block: smaller ones are mostly calls, larger ones leave more to LAPACK
_BLOCK = 256


def factor_in_place(A: FloatArray) -> bool:
    """The lower factor L of A = L L^T written over A, zeros above; False if A is not positive.

    Only the lower triangle of A is read.
    """
    n = len(A)
    for start in range(0, n, _BLOCK):
        stop = min(start + _BLOCK, n)
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
    """(L L^T)^{-1} B for a few columns B (n, K), by substitution of blocks."""
    n, X = len(L), np.array(B)
    blocks = [slice(start, min(start + _BLOCK, n)) for start in range(0, n, _BLOCK)]
    inverses = [inverse_factor(L[rows, rows]) for rows in blocks]
    for rows, inverse in zip(blocks, inverses, strict=True):
        X[rows] = inverse @ (X[rows] - L[rows, : rows.start] @ X[: rows.start])
    for rows, inverse in zip(reversed(blocks), reversed(inverses), strict=True):
        X[rows] = inverse.T @ (X[rows] - L[rows.stop :, rows].T @ X[rows.stop :])
    return X


def inverse_factor(L: FloatArray) -> FloatArray:
    """L^{-1} of a lower triangular L, in the float type of L, by products of halves."""
    n = len(L)
    if n <= 64:
        return np.tril(np.linalg.inv(L)).astype(L.dtype, copy=False)
    half = n // 2
    inverse = np.zeros_like(L)
    inverse[:half, :half] = inverse_factor(L[:half, :half])
    inverse[half:, half:] = inverse_factor(L[half:, half:])
    product = L[half:, :half] @ inverse[:half, :half]
    np.matmul(-inverse[half:, half:], product, out=inverse[half:, :half])
    return inverse
