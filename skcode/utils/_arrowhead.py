"""Symmetric arrow matrices: a dense core, and diagonal blocks that only the core couples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import lapack

from skcode.utils._triangular import inverse_lower
from skcode.utils._typing import FloatArray, IntArray


@dataclass(frozen=True)
class ArrowheadOrder:
    """Where the entries of the core and of the blocks stand in a vector.

    Parameters
    ----------
    positions : ndarray of shape (c + K F,)
        Positions of the core's entries and then of each block's.
    shape : tuple of int
        (c, K, F).
    size : int
        Length of the vector; entries in no position are zero.
    """

    positions: IntArray
    shape: tuple[int, int, int]
    size: int

    def split(self, vector: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Entries of the core (c,) and of the blocks (K, F)."""
        c, K, F = self.shape
        entries = vector[self.positions]
        return entries[:c], entries[c:].reshape(K, F)

    def join(self, core: FloatArray, blocks: FloatArray) -> FloatArray:
        """The inverse of `split`."""
        vector = np.zeros(self.size)
        vector[self.positions] = np.concatenate([core, blocks.ravel()])
        return vector


@dataclass(frozen=True)
class Arrowhead:
    r"""The matrix [[A, C_1, .., C_K], [C_1^T, D_1], .., [C_K^T, .., D_K]] in a given order.

    Parameters
    ----------
    core : ndarray of shape (c, c)
        The block A.
    coupling : ndarray of shape (K, c, F)
        The blocks C_k.
    blocks : ndarray of shape (K, F, F)
        The blocks D_k.
    order : ArrowheadOrder
        Order of the vectors that the methods take and return.
    """

    core: FloatArray
    coupling: FloatArray
    blocks: FloatArray
    order: ArrowheadOrder

    @property
    def diagonal(self) -> FloatArray:
        return self.order.join(np.diag(self.core), np.diagonal(self.blocks, axis1=1, axis2=2))

    def scaled(self, factor: float) -> Arrowhead:
        """The matrix times a number."""
        return Arrowhead(
            factor * self.core, factor * self.coupling, factor * self.blocks, self.order
        )

    def quadratic(self, vector: FloatArray) -> float:
        """v^T M v."""
        v, w = self.order.split(vector)
        across = np.einsum("kcf,kf->c", self.coupling, w)
        within = np.einsum("kf,kfg,kg->", w, self.blocks, w)
        return float(v @ (self.core @ v) + 2 * v @ across + within)

    def factor(self, shift: FloatArray) -> ArrowheadFactor | None:
        """Factor of M + diag(shift); None if that is not positive definite.

        Each block is factored by itself, D_k = L_k L_k^T, and then the Schur complement of all of
        them, A - sum_k V_k^T V_k with V_k = L_k^{-1} C_k^T.
        """
        shift_core, shift_blocks = self.order.split(shift)
        c, (K, F) = len(self.core), shift_blocks.shape
        D = self.blocks.copy()
        D[:, np.arange(F), np.arange(F)] += shift_blocks
        inverses = np.empty_like(D)
        log_determinant = 0.0
        for k in range(K):
            L, info = lapack.dpotrf(D[k], lower=1, clean=1)
            if info != 0:
                return None
            log_determinant += 2 * float(np.log(np.diag(L)).sum())
            inverses[k], info = lapack.dtrtri(L, lower=1)
        V = np.matmul(inverses, np.swapaxes(self.coupling, 1, 2)).reshape(K * F, c)
        S = self.core - V.T @ V
        S[np.arange(c), np.arange(c)] += shift_core
        if not np.isfinite(S).all():
            return None
        try:
            # other threads run meanwhile, as they do not during calls of LAPACK by scipy
            schur = np.linalg.cholesky(S)
        except np.linalg.LinAlgError:
            return None
        log_determinant += 2 * float(np.log(np.diag(schur)).sum())
        return ArrowheadFactor(self.order, schur, inverses, V, log_determinant)


@dataclass(frozen=True)
class ArrowheadFactor:
    """Cholesky factor of a positive definite arrow matrix."""

    order: ArrowheadOrder
    schur: FloatArray  # (c, c) lower factor of the Schur complement
    inverses: FloatArray  # (K, F, F): L_k^{-1}
    V: FloatArray  # (K F, c): L_k^{-1} C_k^T
    log_determinant: float

    @property
    def has_core(self) -> bool:
        return len(self.schur) > 0

    def solve(self, b: FloatArray) -> FloatArray:
        """M^{-1} b."""
        b_core, b_blocks = self.order.split(b)
        K, F = b_blocks.shape
        y = np.einsum("kfg,kg->kf", self.inverses, b_blocks).ravel()
        x_core = b_core - self.V.T @ y
        if len(x_core):
            x_core, _ = lapack.dpotrs(self.schur.T, x_core, lower=0)
        rest = (y - self.V @ x_core).reshape(K, F)
        return self.order.join(x_core, np.einsum("kgf,kg->kf", self.inverses, rest))

    def inverse_diagonal(self) -> FloatArray:
        """The diagonal of M^{-1}."""
        K, F, _ = self.inverses.shape
        if not self.has_core:
            return self.order.join(np.empty(0), np.sum(self.inverses**2, axis=1))
        inverse = inverse_lower(self.schur)
        core = np.einsum("ij,ij->j", inverse, inverse)
        across = np.matmul(
            np.swapaxes(self.inverses, 1, 2), (self.V @ inverse.T).reshape(K, F, len(inverse))
        )
        blocks = np.sum(self.inverses**2, axis=1) + np.sum(across**2, axis=2)
        return self.order.join(core, blocks)

    def inverse_form(self, core: FloatArray, block: FloatArray, k: int) -> FloatArray:
        """r^T M^{-1} r (n,) for vectors r with entries in the core (c, n) and in block k (F, n)."""
        F = self.inverses.shape[1]
        if not F:
            y, rest = np.zeros((0, core.shape[1])), core
        else:
            y = self.inverses[k] @ block
            rest = core - self.V[k * F : (k + 1) * F].T @ y
        z = lapack.dtrtrs(self.schur.T, rest, lower=0, trans=1)[0] if self.has_core else rest
        form: FloatArray = np.sum(y**2, axis=0) + np.sum(z**2, axis=0)
        return form
