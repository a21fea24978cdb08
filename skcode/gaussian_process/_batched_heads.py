"""Heads of several members at a few states, in one array: predictions of few rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from scipy.spatial.distance import cdist

from skcode.gaussian_process._kernel import Kernel
from skcode.gaussian_process._links import Link, stacked
from skcode.gaussian_process._regression import Mean
from skcode.utils._typing import FloatArray


class BatchedHeads:
    """Scores of several heads, each at final states of its own.

    A single row costs calls, not arithmetic, and one call serves all heads: only the distances in
    l1 are taken head by head. Nothing is kept between calls, so that threads may share it.

    Parameters
    ----------
    kernels : list of Kernel
        The kernel of each head.
    centers : list of ndarray of shape (m,)
        What each takes from final states first.
    means : list of Mean
        What each predicts at centred states, in one leaf, by as many points as the others.
    link : Link
        Their links in one, with parameters (E, 1, K).

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.gaussian_process import AffineLink, BatchedHeads, Kernel, Mean
    >>> kernels, zero, one = 2 * [Kernel(1.0, 1.0, 0.0, 1.0, 0.0)], np.zeros(1), np.ones(1)
    >>> means = [Mean.of_points(kernels[0], one[None], c * one[None]) for c in (2, 3)]
    >>> links = [AffineLink(one, zero), AffineLink(10 * one, zero)]
    >>> heads = BatchedHeads.of(kernels, [zero, zero], means, links)
    >>> heads(np.ones((2, 1, 1))).ravel()
    array([ 4., 60.])
    """

    def __init__(
        self,
        kernels: Sequence[Kernel],
        centers: Sequence[FloatArray],
        means: Sequence[Mean],
        link: Link,
    ):
        self.link = link
        self.points = [mean.points for mean in means]
        self.centers = np.stack(centers)[:, None]
        self.coefficients = np.stack([mean.coefficients for mean in means])
        self.weights = np.stack([mean.weights for mean in means])
        self.constants = np.stack([mean.constant for mean in means])[:, None]
        self.squares = np.stack([mean.squares for mean in means])[:, None]
        dtype = self.constants.dtype
        # (E, 1, 1) each; a part that one head does without has an amplitude of zero there
        amplitudes = np.array([kernel.amplitudes for kernel in kernels])
        lengths = [(k.length_l1, k.length_l2, 2 * k.length_gauss**2) for k in kernels]
        rates = np.where(amplitudes > 0, 1 / np.array(lengths), 0.0)
        self.amplitudes, self.rates = (
            values.T[:, :, None, None].astype(dtype) for values in (amplitudes, rates)
        )
        self.has = [bool(amplitude.any()) for amplitude in self.amplitudes]

    @classmethod
    def of(
        cls,
        kernels: Sequence[Kernel],
        centers: Sequence[FloatArray],
        means: Sequence[Mean],
        links: Sequence[Link],
    ) -> BatchedHeads | None:
        """The heads as one; None where they differ in size, and have to go one by one."""
        sizes = {(mean.points.shape, mean.coefficients.shape) for mean in means}
        if len(sizes) > 1 or any(len(mean.starts) > 2 for mean in means):
            return None
        link = stacked(links)
        return None if link is None else cls(kernels, centers, means, link)

    def __call__(self, x1: FloatArray) -> FloatArray:
        """Scores (E, n, K) of final states (E, n, m)."""
        x = x1 - self.centers
        f: FloatArray = x @ self.weights + self.constants
        f += self._stationary(x) @ self.coefficients
        return self.link(f).astype(x1.dtype, copy=False)

    def _stationary(self, x: FloatArray) -> FloatArray:
        """The stationary parts of the kernel (E, n, P) between states and points."""
        K = np.zeros((*x.shape[:2], self.squares.shape[2]), x.dtype)
        for part, distance in self._distances(x):
            # amplitude times exp(-rate distance), in place
            distance *= -self.rates[part]
            np.exp(distance, out=distance)
            distance *= self.amplitudes[part]
            K += distance
        return K

    def _distances(self, x: FloatArray) -> Iterator[tuple[int, FloatArray]]:
        """Of each part that some head has the distances (E, n, P) by which it decays."""
        one, two, three = self.has
        absolute, squared = np.empty((2, *x.shape[:2], self.squares.shape[2]))
        # the squares of near states cancel: they are taken in double precision
        wide = x.astype(np.float64, copy=False)
        for e, points in enumerate(self.points):
            # the points of a head are in the cache still when they are read again
            if one:
                cdist(x[e], points, "cityblock", out=absolute[e])
            if two or three:
                np.matmul(-2 * wide[e], points.T, out=squared[e])
        if one:
            yield 0, absolute.astype(x.dtype, copy=False)
        if two or three:
            squared += np.einsum("eij,eij->ei", wide, wide)[..., None]
            squared += self.squares
            np.maximum(squared, 0, out=squared)
        if two:
            yield 1, np.sqrt(squared).astype(x.dtype, copy=False)
        if three:
            yield 2, squared.astype(x.dtype, copy=False)
