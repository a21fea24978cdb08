"""The Gaussian process as the head of a fitted member: from final states to scores."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from skcode.gaussian_process._kernel import Kernel
from skcode.gaussian_process._links import AffineLink, Link
from skcode.gaussian_process._noise import NoiseModel
from skcode.utils._typing import FloatArray


@dataclass(frozen=True, eq=False)
class GaussianProcessHead:
    r"""Scores of final states: the link of what the process predicts, k(x_1, points) coefficients.

    Parameters
    ----------
    kernel : Kernel
        The kernel.
    center : ndarray of shape (m,)
        What is taken from final states first.
    points : ndarray of shape (J, m)
        Centred states of the training rows, or of landmarks.
    coefficients : ndarray of shape (J, K)
        Their coefficients.
    link : Link
        From predictions to scores: `AffineLink` for regression, `LogOddsLink` for classes.
    noise : NoiseModel or None
        Variance of a new observation; None where nobody asks for one.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.gaussian_process import AffineLink, GaussianProcessHead, Kernel
    >>> kernel, zero, one = Kernel(1.0, 1.0, 0.0, 1.0, 0.0), np.zeros(1), np.ones(1)
    >>> link = AffineLink(one, zero)
    >>> head = GaussianProcessHead(kernel, zero, one[None], 2 * one[None], link)
    >>> head.scores(np.array([[1.0]]), np.array([[1.0]]))
    array([[4.]])
    """

    kernel: Kernel
    center: FloatArray
    points: FloatArray
    coefficients: FloatArray
    link: Link
    noise: NoiseModel | None = None

    def __getstate__(self) -> dict[str, Any]:
        # what is made from the others neither travels nor persists
        return {name: value for name, value in self.__dict__.items() if name != "linear_part"}

    @cached_property
    def linear_part(self) -> tuple[FloatArray, FloatArray]:
        """Weights (m, K) and constant (K,) of what is linear in states, c <x, z> + 1.

        It is a sum over points of large terms that all but cancel: taken over the points first, in
        double precision, it keeps its digits in single precision as well.
        """
        points, coefficients = (a.astype(np.float64) for a in (self.points, self.coefficients))
        weights = self.kernel.linear * (points.T @ coefficients)
        dtype = self.points.dtype
        return weights.astype(dtype), coefficients.sum(axis=0).astype(dtype)

    @property
    def n_outputs(self) -> int:
        """The number K of scores."""
        return self.link.n_outputs

    @property
    def n_parameters(self) -> int:
        """The coefficients: one for each point and output."""
        return self.coefficients.size

    def _predictions(self, x1: FloatArray) -> FloatArray:
        x = x1 - self.center
        weights, constant = self.linear_part
        f: FloatArray = self.kernel.laplace(x, self.points) @ self.coefficients
        return f + x @ weights + constant

    def scores(self, x1: FloatArray, x0: FloatArray) -> FloatArray:
        """Scores (n, K) of final states (n, m)."""
        return self.link(self._predictions(x1)).astype(x1.dtype, copy=False)

    def state_gradient(self, x1: FloatArray, x0: FloatArray, covector: FloatArray) -> FloatArray:
        """Derivative (n, m) in final states of the scores, summed with weights (n, K)."""
        derivative = self.link.derivative(self._predictions(x1))
        weights = (covector * derivative).astype(self.points.dtype, copy=False)
        x, linear = x1 - self.center, weights @ self.linear_part[0].T
        of_points = weights @ self.coefficients.T
        gradient: FloatArray = linear + self.kernel.laplace_gradient(x, self.points, of_points)
        return gradient

    def variance(self, x1: FloatArray, x0: FloatArray) -> FloatArray:
        """Variance (n, K) of a new observation, in units of the scores."""
        if self.noise is None or not isinstance(self.link, AffineLink):
            raise ValueError("This head was fitted to classes, and knows of no variance.")
        variance: FloatArray = self.noise(x1 - self.center, self.kernel) * self.link.slope**2
        return variance

    def attributes(self) -> dict[str, Any]:
        """What an estimator shows: the kernel."""
        return {"kernel_": self.kernel}
