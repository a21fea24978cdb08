r"""The kernel of the Gaussian process on final states, and its blocks.

.. math:: k(x, x') = a_1 e^{-|x - x'|_1 / l_1} + a_2 e^{-|x - x'|_2 / l_2}
    + a_3 e^{-|x - x'|_2^2 / 2 l_3^2} + c \langle x, x' \rangle + 1

Each stationary part is a layer of infinitely many frozen neurons. The functions of both Laplace
kernels are rough enough for what is local in a table, and the distance in l1 sees axes as trees
do. Those of the Gaussian kernel are smooth, as laws of nature are. The linear part is the linear
readout of the flow, and the constant is its intercept.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.distance import cdist

from skcode.utils._typing import FloatArray

#: a part with less than this share of the amplitude is left out: its distances cost more than it
#: adds
_LEAST_SHARE = 1e-3
#: entries of a block, whose distances are computed in double precision: 4 MB stay near the core
_BLOCK_ENTRIES = 2**19


@dataclass(frozen=True)
class Kernel:
    """Amplitudes and lengths of the kernel; states are centred.

    Parameters
    ----------
    amplitude_l1 : float
        Variance of the part in the l1 distance.
    length_l1 : float
        Length of that part.
    amplitude_l2 : float
        Variance of the part in the l2 distance.
    length_l2 : float
        Length of that part.
    linear : float
        Variance c of the weights of the linear part.
    amplitude_gauss : float
        Variance of the Gaussian part, in the l2 distance.
    length_gauss : float
        Length of that part.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.gaussian_process import Kernel
    >>> x = np.array([[0.0, 0.0], [1.0, 1.0]])
    >>> Kernel(1.0, 2.0, 0.0, 1.0, 0.5)(x, x).round(3)
    array([[2.   , 1.368],
           [1.368, 3.   ]])
    """

    amplitude_l1: float
    length_l1: float
    amplitude_l2: float
    length_l2: float
    linear: float
    amplitude_gauss: float = 0.0
    length_gauss: float = 1.0

    @property
    def amplitudes(self) -> tuple[float, float, float]:
        """Those of the stationary parts, with zero for one that is as good as nothing."""
        every = self.amplitude_l1, self.amplitude_l2, self.amplitude_gauss
        least = _LEAST_SHARE * sum(every)
        one, two, three = (each if each > least else 0.0 for each in every)
        return one, two, three

    @property
    def variance(self) -> float:
        """The variance of the stationary parts together."""
        return sum(self.amplitudes)

    def longer(self, factor: float) -> Kernel:
        """With lengths that are so many times as long."""
        names = "length_l1", "length_l2", "length_gauss"
        return replace(self, **{name: factor * getattr(self, name) for name in names})

    def __call__(self, x: FloatArray, z: FloatArray) -> FloatArray:
        """The matrix k(x_i, z_j) (n, J), in the float type of x."""
        return self._matrix(x, z, linear=True)

    def lower(self, x: FloatArray) -> FloatArray:
        """The matrix k(x_i, x_j) (n, n) on and below the diagonal, which is all a factor reads."""
        n = len(x)
        K = np.zeros((n, n), x.dtype)
        for rows in self._blocks(n, n):
            K[rows, : rows.stop] = self._block(x[rows], x[: rows.stop], linear=True)
        return K

    def unexplained(self, x: FloatArray, features: FloatArray) -> FloatArray:
        """What features (n, J) leave of the stationary parts, on and below the diagonal (n, n)."""
        n = len(x)
        K = np.zeros((n, n), x.dtype)
        for rows in self._blocks(n, n):
            K[rows, : rows.stop] = self._block(x[rows], x[: rows.stop], linear=False)
            K[rows, : rows.stop] -= features[rows] @ features[: rows.stop].T
        return K

    def stationary(
        self, x: FloatArray, z: FloatArray, squares: FloatArray | None = None
    ) -> FloatArray:
        """The same matrix of the stationary parts alone, without c <x, z> + 1.

        The squared norms (J,) of z may be given, where many calls share them.
        """
        return self._matrix(x, z, linear=False, squares=squares)

    def _matrix(
        self, x: FloatArray, z: FloatArray, linear: bool, squares: FloatArray | None = None
    ) -> FloatArray:
        K = np.empty((len(x), len(z)), x.dtype)
        for rows in self._blocks(len(x), len(z)):
            K[rows] = self._block(x[rows], z, linear, squares)
        return K

    @staticmethod
    def _blocks(n: int, n_columns: int) -> list[slice]:
        n_rows = max(_BLOCK_ENTRIES // max(n_columns, 1), 1)
        return [slice(start, min(start + n_rows, n)) for start in range(0, n, n_rows)]

    def _block(
        self, x: FloatArray, z: FloatArray, linear: bool, squares: FloatArray | None = None
    ) -> FloatArray:
        one, two, three = self.amplitudes
        if linear:
            K: FloatArray = x @ z.T
            K *= self.linear
            K += 1
        else:
            K = np.zeros((len(x), len(z)), x.dtype)
        if one:
            K += self._decay(distances_l1(x, z), one, self.length_l1)
        if two or three:
            distance = distances_l2(x, z, squares)
            if three:
                K += self._decay(distance * distance, three, 2 * self.length_gauss**2)
            if two:
                K += self._decay(distance, two, self.length_l2)
        return K

    @staticmethod
    def _decay(distance: FloatArray, amplitude: float, length: float) -> FloatArray:
        """Amplitude times exp(-distance / length), in place."""
        distance *= -1 / length
        np.exp(distance, out=distance)
        distance *= amplitude
        return distance

    def stationary_gradient(self, x: FloatArray, z: FloatArray, weights: FloatArray) -> FloatArray:
        """Derivatives in x_i (n, m) of sum_j weights_ij k(x_i, z_j), of the stationary parts alone.

        At a point itself, where the Laplace kernels have a kink, theirs is zero.
        """
        gradient = np.empty_like(x)
        for rows in self._blocks(len(x), len(z)):
            gradient[rows] = self._block_gradient(x[rows], z, weights[rows])
        return gradient

    def _block_gradient(self, x: FloatArray, z: FloatArray, weights: FloatArray) -> FloatArray:
        one, two, three = self.amplitudes
        gradient = np.zeros_like(x)
        if two or three:
            distance = distances_l2(x, z)
            slope = weights * np.exp(distance * (-1 / self.length_l2)) * (-two / self.length_l2)
            # what rounding leaves of a distance of zero is no direction
            size = np.sqrt(np.einsum("ij,ij->i", x, x))[:, None]
            near = distance <= 10 * np.sqrt(np.finfo(np.float64).eps) * size
            slope /= np.where(near, np.inf, distance)
            if three:
                narrow = 1 / self.length_gauss**2
                slope -= weights * np.exp(distance * distance * (-0.5 * narrow)) * (three * narrow)
            gradient += slope.sum(axis=1)[:, None] * x - slope @ z
        if one:
            distance = distances_l1(x, z)
            slope = weights * np.exp(distance * (-1 / self.length_l1)) * (-one / self.length_l1)
            # signs of one row at a time stay in the cache, and in single precision they are twice
            # as many
            x, z, slope = (a.astype(np.float32) for a in (x, z, slope))
            for i in range(len(x)):
                signs = np.greater(x[i], z).view(np.int8) - np.less(x[i], z).view(np.int8)
                gradient[i] += slope[i] @ signs.astype(np.float32)
        return gradient

    def diagonal(self, x: FloatArray) -> FloatArray:
        """The variances k(x_i, x_i) (n,)."""
        diagonal: FloatArray = self.variance + 1 + self.linear * np.einsum("ij,ij->i", x, x)
        return diagonal


def distances_l1(x: FloatArray, z: FloatArray) -> FloatArray:
    """City-block distances (n, J), in the float type of x."""
    distances: FloatArray = cdist(x, z, "cityblock").astype(x.dtype, copy=False)
    return distances


def squared_norms(x: FloatArray) -> FloatArray:
    """Squared Euclidean norms (n,), in double precision."""
    wide = x.astype(np.float64, copy=False)
    squares: FloatArray = np.einsum("ij,ij->i", wide, wide)
    return squares


def distances_l2(x: FloatArray, z: FloatArray, squares: FloatArray | None = None) -> FloatArray:
    """Euclidean distances (n, J) by a product of matrices, in the float type of x.

    The squares of near states cancel: they are taken in double precision, and what cancels below
    zero is zero. Those of z may be given.
    """
    wide, other = (a.astype(np.float64, copy=False) for a in (x, z))
    # of few new rows and many points the rows are multiplied
    squared = (-2 * wide) @ other.T
    squared += squared_norms(wide)[:, None]
    squared += squared_norms(other) if squares is None else squares
    np.maximum(squared, 0, out=squared)
    distances: FloatArray = np.sqrt(squared, out=squared).astype(x.dtype, copy=False)
    return distances
