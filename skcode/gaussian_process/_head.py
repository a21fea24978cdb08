"""The Gaussian process as the head of a fitted member: from final states to scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from skcode.gaussian_process._batched_heads import BatchedHeads
from skcode.gaussian_process._kernel import Kernel
from skcode.gaussian_process._links import AffineLink, Link
from skcode.gaussian_process._noise import NoiseModel
from skcode.gaussian_process._regression import Mean
from skcode.utils._typing import FloatArray


@dataclass(frozen=True, eq=False)
class GaussianProcessHead:
    """Scores of final states: the link of what the process predicts.

    Parameters
    ----------
    kernel : Kernel
        The kernel.
    center : ndarray of shape (m,)
        What is taken from final states first.
    mean : Mean
        What the process predicts at centred states.
    link : Link
        From predictions to scores: `AffineLink` for regression, `LogOddsLink` for classes.
    noise : NoiseModel or None
        Variance of a new observation; None where nobody asks for one.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.gaussian_process import AffineLink, GaussianProcessHead, Kernel, Mean
    >>> kernel, zero, one = Kernel(1.0, 1.0, 0.0, 1.0, 0.0), np.zeros(1), np.ones(1)
    >>> mean = Mean.of_points(kernel, one[None], 2 * one[None])
    >>> head = GaussianProcessHead(kernel, zero, mean, AffineLink(one, zero))
    >>> head.scores(np.array([[1.0]]), np.array([[1.0]]))
    array([[4.]])
    """

    kernel: Kernel
    center: FloatArray
    mean: Mean
    link: Link
    noise: NoiseModel | None = None

    @property
    def n_outputs(self) -> int:
        """The number K of scores."""
        return self.link.n_outputs

    @property
    def n_parameters(self) -> int:
        """The coefficients: one for each point and output."""
        return self.mean.coefficients.size

    def _predictions(self, x1: FloatArray) -> FloatArray:
        return self.mean(self.kernel, x1 - self.center)

    def scores(self, x1: FloatArray, x0: FloatArray) -> FloatArray:
        """Scores (n, K) of final states (n, m)."""
        return self.link(self._predictions(x1)).astype(x1.dtype, copy=False)

    @classmethod
    def batched(cls, heads: Sequence[Self]) -> BatchedHeads | None:
        """Scores (E, n, K) of heads at final states (E, n, m); None where they go one by one."""
        kernels, centers, means, links = (
            [getattr(head, name) for head in heads] for name in ("kernel", "center", "mean", "link")
        )
        return BatchedHeads.of(kernels, centers, means, links)

    def state_gradient(self, x1: FloatArray, x0: FloatArray, covector: FloatArray) -> FloatArray:
        """Derivative (n, m) in final states of the scores, summed with weights (n, K)."""
        derivative = self.link.derivative(self._predictions(x1))
        weights = (covector * derivative).astype(self.center.dtype, copy=False)
        return self.mean.gradient(self.kernel, x1 - self.center, weights)

    def variance(self, x1: FloatArray, x0: FloatArray) -> FloatArray:
        """Variance (n, K) of a new observation, in units of the scores."""
        if self.noise is None or not isinstance(self.link, AffineLink):
            raise ValueError("This head was fitted to classes, and knows of no variance.")
        variance: FloatArray = self.noise(x1 - self.center, self.kernel) * self.link.slope**2
        return variance

    def attributes(self) -> dict[str, object]:
        """What an estimator shows: the kernel."""
        return {"kernel_": self.kernel}
