"""The inverse of a triangular matrix, by products."""

from __future__ import annotations

import numpy as np
from scipy.linalg import lapack

from skcode.utils._typing import FloatArray

#: rows up to which LAPACK is faster: small halves are not worth their calls
_FEWEST = 64
#: rows beyond which it is faster again: large halves cost products with many zeros, which it leaves
#: out
_MOST = 640


def inverse_lower(L: FloatArray) -> FloatArray:
    """L^{-1} of a lower triangular L (n, n) in double precision.

    The inverse of [[A, 0], [B, C]] is [[A^{-1}, 0], [-C^{-1} B A^{-1}, C^{-1}]]. Other threads run
    during the products, as they do not during calls of LAPACK by scipy.
    """
    n = len(L)
    if not _FEWEST < n <= _MOST:
        inverse: FloatArray = lapack.dtrtri(L.T, lower=0)[0].T
        return inverse
    half = n // 2
    inverse = np.zeros((n, n))
    inverse[:half, :half] = inverse_lower(L[:half, :half])
    inverse[half:, half:] = inverse_lower(L[half:, half:])
    product = L[half:, :half] @ inverse[:half, :half]
    np.matmul(-inverse[half:, half:], product, out=inverse[half:, :half])
    return inverse
