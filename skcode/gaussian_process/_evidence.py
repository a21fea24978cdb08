r"""The hyper-parameters of the kernel by the evidence of the data.

With targets Y (n, K), of which each column is a draw of the same process, and noise of variance
:math:`\sigma^2 / s_i` at row i of weight s_i, the matrix :math:`C = k(x, x) + \sigma^2 S^{-1}`
gives

.. math:: \log p(Y) = -\tfrac12 \mathrm{tr}\, Y^\top C^{-1} Y - \tfrac K2 \log\det C + \text{const},
    \qquad \frac{\partial}{\partial C} \log p = \tfrac12 \big( C^{-1} Y Y^\top C^{-1} - K C^{-1}
    \big)

so that one factorisation serves all derivatives. Weights that are all multiplied by a number change
the noise variance and nothing else.
"""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy.linalg import lapack
from scipy.optimize import minimize
from scipy.spatial.distance import pdist, squareform

from skcode.gaussian_process._kernel import Kernel
from skcode.utils._typing import FloatArray


class Hyperparameters(NamedTuple):
    """A kernel and the variance of the noise.

    Parameters
    ----------
    kernel : Kernel
        The kernel.
    noise : float
        Variance of the noise of a row of weight one.

    Examples
    --------
    >>> from skcode.gaussian_process import Hyperparameters, Kernel
    >>> Hyperparameters(Kernel(1.0, 2.0, 0.0, 1.0, 0.5), 0.1).noise
    0.1
    """

    kernel: Kernel
    noise: float


class _Start(NamedTuple):
    """Where the ascent starts, and how far the logarithms may move from there."""

    #: amplitudes of both Laplace kernels: half of the variance of standardised targets each
    amplitude: float = 0.5
    #: variance that the linear part explains on average
    linear: float = 0.1
    #: noise: a fifth of the variance; the ascent finds both clean and noisy targets from here
    noise: float = 0.2
    #: lengths, in medians of the distances: shorter is white noise, longer is linear
    least_length: float = 0.05
    most_length: float = 30.0
    #: amplitudes
    least_amplitude: float = 1e-4
    most_amplitude: float = 1e3
    #: noise: below the first the factorisation is no longer safe in single precision
    least_noise: float = 1e-5
    most_noise: float = 10.0


_START = _Start()
#: mean squared state below which states are as good as equal, and no linear part can be told
_LEAST_SIZE = 1e-10
#: distance, in units of the size of a state, below which two states are one
_LEAST_DISTANCE = 1e-6
#: stands for infinity in units of the number of targets, where C is not positive: a line search
#: goes back from it, and would stop at infinity itself
_NOT_POSITIVE = 1e6
#: precisions of the normal priors on the logarithms of amplitudes, lengths, linear part and noise:
#: weak, so that what the data does not tell stays where it starts
_PRIOR = np.array([0.02, 0.3, 0.02, 0.3, 0.02, 0.02])


class _Terms(NamedTuple):
    """Minus the log evidence, and what its derivatives are made of.

    Of symmetric matrices the entries above the diagonal, row after row, as scipy's pdist has them:
    half of the work.
    """

    value: float
    #: derivative in C (n, n), all of it
    slope: FloatArray
    #: the same times the Laplace kernel in l1, and in l2, entry by entry above the diagonal
    by_first: FloatArray
    by_second: FloatArray


class Evidence:
    """Minus the log evidence of six logarithms, and its gradient.

    The logarithms are those of both amplitudes, each followed by its length, the linear part and
    the noise.

    Parameters
    ----------
    states : ndarray of shape (n, m)
        Centred states.
    targets : ndarray of shape (n, K)
        Centred targets, with a mean square of one.
    weight : ndarray of shape (n,)
        Weights, with a mean of one.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.gaussian_process import Evidence
    >>> x = np.linspace(-1, 1, 20)[:, None]
    >>> evidence = Evidence(x, np.sign(x), np.ones(20))
    >>> at, step = evidence.start, np.eye(6)[0] * 1e-6
    >>> value, gradient = evidence(at)
    >>> bool(np.isclose((evidence(at + step)[0] - value) / 1e-6, gradient[0], rtol=1e-3))
    True
    """

    def __init__(self, states: FloatArray, targets: FloatArray, weight: FloatArray):
        self.states = states = np.asarray(states, dtype=np.float64)
        self.targets = np.asarray(targets, dtype=np.float64)
        self.noise_shape = 1 / np.asarray(weight, dtype=np.float64)
        self.distances = pdist(states, "cityblock"), pdist(states, "euclidean")
        self.product = states @ states.T
        self.size = max(float(np.trace(self.product)) / len(states), _LEAST_SIZE)

    @cached_property
    def medians(self) -> list[float]:
        """Medians of the distances in l1 and in l2: minibatches, which have a start, need none."""
        # of two rows or more that all lie in one point the length says nothing
        medians = [float(np.median(d)) if len(d) else 1.0 for d in self.distances]
        return [median if median > 0 else 1.0 for median in medians]

    @cached_property
    def start(self) -> FloatArray:
        """The logarithms that the ascent starts from."""
        s, (one, two) = _START, self.medians
        return np.log([s.amplitude, one, s.amplitude, two, s.linear / self.size, s.noise])

    @property
    def bounds(self) -> list[tuple[float, float]]:
        """Least and largest logarithms."""
        s, (one, two) = _START, self.medians
        return [
            (np.log(s.least_amplitude), np.log(s.most_amplitude)),
            (np.log(s.least_length * one), np.log(s.most_length * one)),
            (np.log(s.least_amplitude), np.log(s.most_amplitude)),
            (np.log(s.least_length * two), np.log(s.most_length * two)),
            (np.log(s.least_amplitude / self.size), np.log(s.most_amplitude / self.size)),
            (np.log(s.least_noise), np.log(s.most_noise)),
        ]

    def __call__(self, logs: FloatArray) -> tuple[float, FloatArray]:
        """Minus the log evidence and the log prior; a huge number where C is not positive."""
        terms = self._terms(logs)
        if terms is None:
            return _NOT_POSITIVE * self.targets.size, np.zeros(6)
        prior, by_logs = self.log_prior(logs, self.start)
        return terms.value + prior, self._by_logs(logs, terms) + by_logs

    @staticmethod
    def log_prior(logs: FloatArray, start: FloatArray) -> tuple[float, FloatArray]:
        """Minus the log of the normal prior of the logarithms around a start, and its gradient."""
        moved = logs - start
        return 0.5 * float(_PRIOR @ moved**2), _PRIOR * moved

    def with_states(self, logs: FloatArray) -> tuple[float, FloatArray, FloatArray]:
        """Minus the log evidence alone, and its derivatives in the logarithms and in the states.

        Infinity and zeros where C is not positive. Where two states agree in a coordinate, or
        altogether, the kernels have a kink, and their derivative is zero.
        """
        terms = self._terms(logs)
        if terms is None:
            return np.inf, np.zeros(6), np.zeros_like(self.states)
        return terms.value, self._by_logs(logs, terms), self._by_states(logs, terms)

    def _terms(self, logs: FloatArray) -> _Terms | None:
        """Value, derivative in C, and both Laplace kernels; None where C is not positive."""
        one, length_one, two, length_two, linear, noise = np.exp(logs)
        n, K = self.targets.shape
        first = one * np.exp(self.distances[0] * (-1 / length_one))
        second = two * np.exp(self.distances[1] * (-1 / length_two))
        C = _symmetric(first + second, n)
        C += linear * self.product
        C += 1
        C[np.diag_indices(n)] += one + two + noise * self.noise_shape
        L, failed = lapack.dpotrf(C, lower=1, clean=1, overwrite_a=1)
        if failed:
            return None
        log_determinant = 2 * float(np.log(np.diag(L)).sum())
        inverse = lapack.dpotri(L, lower=1, overwrite_c=1)[0]
        inverse += np.tril(inverse, -1).T
        coefficients = inverse @ self.targets
        value = 0.5 * (float(np.vdot(self.targets, coefficients)) + K * log_determinant)
        slope = 0.5 * (K * inverse - coefficients @ coefficients.T)
        above = _above(slope)
        return _Terms(value, slope, above * first, above * second)

    def _by_logs(self, logs: FloatArray, terms: _Terms) -> FloatArray:
        one, length_one, two, length_two, linear, noise = np.exp(logs)
        diagonal = np.diag(terms.slope)
        trace = float(diagonal.sum())
        return np.array(
            [
                2 * terms.by_first.sum() + one * trace,
                2 * np.vdot(terms.by_first, self.distances[0]) / length_one,
                2 * terms.by_second.sum() + two * trace,
                2 * np.vdot(terms.by_second, self.distances[1]) / length_two,
                linear * np.vdot(terms.slope, self.product),
                noise * float(diagonal @ self.noise_shape),
            ]
        )

    def _by_states(self, logs: FloatArray, terms: _Terms) -> FloatArray:
        _, length_one, _, length_two, linear, _ = np.exp(logs)
        x, n = self.states, len(self.states)
        gradient: FloatArray = 2 * linear * (terms.slope @ x)
        distances = self.distances[1]
        # what rounding leaves of a distance of zero is no direction
        least = _LEAST_DISTANCE * np.sqrt(self.size)
        apart = np.where(distances <= least, np.inf, distances)
        pull = _symmetric(terms.by_second / apart * (-2 / length_two), n)
        gradient += pull.sum(axis=1)[:, None] * x - pull @ x
        # signs of one coordinate at a time stay in the cache, and in single precision they are
        # twice as many
        pull = _symmetric((terms.by_first * (-2 / length_one)).astype(np.float32), n)
        difference, signs = np.empty_like(pull), np.empty_like(pull)
        for k, column in enumerate(np.ascontiguousarray(x.T, dtype=np.float32)):
            np.subtract(column[:, None], column, out=difference)
            np.sign(difference, out=signs)
            gradient[:, k] += np.einsum("ij,ij->i", pull, signs)
        return gradient

    def maximise(self, start: FloatArray | None = None, max_evaluations: int = 40) -> FloatArray:
        """The six logarithms of highest evidence that L-BFGS finds."""
        low, high = np.transpose(self.bounds)
        result = minimize(
            lambda logs: self(logs),
            self.start if start is None else np.clip(start, low, high),
            jac=True,
            method="L-BFGS-B",
            bounds=self.bounds,
            options={"maxfun": max_evaluations},
        )
        logs: FloatArray = result.x
        return logs

    def hyperparameters(self, logs: FloatArray) -> Hyperparameters:
        """What the logarithms say."""
        one, length_one, two, length_two, linear, noise = np.exp(logs).tolist()
        return Hyperparameters(Kernel(one, length_one, two, length_two, linear), noise)

    def relative(self, logs: FloatArray) -> FloatArray:
        """The logarithms in units of these states: what other states can share."""
        relative: FloatArray = logs - self.start
        return relative


def _symmetric(above: FloatArray, n: int) -> FloatArray:
    """The symmetric matrix (n, n) of the entries above its diagonal, which is zero."""
    if n < 2:
        return np.zeros((n, n), above.dtype)
    matrix: FloatArray = squareform(above, force="tomatrix", checks=False)
    return matrix


def _above(matrix: FloatArray) -> FloatArray:
    """The entries of a symmetric matrix above its diagonal, row after row."""
    above: FloatArray = squareform(matrix, force="tovector", checks=False)
    return above
