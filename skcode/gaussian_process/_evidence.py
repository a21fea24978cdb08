r"""The hyper-parameters of the kernel by the evidence of the data.

With targets Y (n, K), of which each column is a draw of the same process, and noise of variance
:math:`\sigma^2 / s_i` at row i of weight s_i, the matrix :math:`C = k(x, x) + \sigma^2 S^{-1}`
gives

.. math:: \log p(Y) = -\tfrac12 \mathrm{tr}\, Y^\top C^{-1} Y - \tfrac K2 \log\det C + \text{const},
    \qquad \frac{\partial}{\partial C} \log p = \tfrac12 \big( C^{-1} Y Y^\top C^{-1} - K C^{-1}
    \big)

so that one factorisation serves all derivatives. Weights that are all multiplied by a number change
the noise variance and nothing else.

Rows that stand for several observations each, c more than there are rows altogether, say that these
had the same targets: each one more costs :math:`\tfrac K2 \log \sigma^2`, as it does where all are
rows, so that a law without noise on a few places is known for one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike
from scipy.linalg import get_lapack_funcs
from scipy.optimize import minimize
from scipy.spatial.distance import pdist, squareform

from skcode.gaussian_process._kernel import Kernel
from skcode.utils._blocks import block_slices
from skcode.utils._cholesky import inverse_factor
from skcode.utils._typing import Array, BoolArray, FloatArray, IntArray


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
    #: amplitude of the Gaussian kernel
    smooth: float = 0.3
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
#: noise above which steps may be taken in single precision
ROUGH_NOISE = 1e-2
#: mean squared state below which states are as good as equal, and no linear part can be told
_LEAST_SIZE = 1e-10
#: distance, in units of the size of a state, below which two states are one
_LEAST_DISTANCE = 1e-6
#: stands for infinity in units of the number of targets, where C is not positive: a line search
#: goes back from it, and would stop at infinity itself
_NOT_POSITIVE = 1e6
#: evaluations of the evidence at most, from the usual start
_EVALUATIONS = 40
#: evaluations at most from a start that is known to be near
_EVALUATIONS_NEARBY = 20
#: evaluations of either start where a smooth one is tried beside the usual one: the better goes on
#: with what is left of the first number
_TRIAL = 15
#: amplitudes of the Laplace kernels of a smooth start, in units of the usual ones
_ROUGH_SHARE = 0.02
#: how many logarithms there are: those of the parameters of the kernel, and of the noise
_N_LOGS = 8
#: comparisons of ranks that are held at a time: half a megabyte of numbers
_COMPARED_ENTRIES = 2**17
#: precisions of the normal priors on the logarithms: weak, and firmer on those of lengths, so that
#: what the data does not tell stays where it starts
_PRIOR = np.array([0.02, 0.3, 0.02, 0.3, 0.02, 0.02, 0.3, 0.02])
#: which logarithms are those of the Gaussian part
_GAUSSIAN = slice(5, 7)


class _Terms(NamedTuple):
    """Minus the log evidence, and what its derivatives are made of.

    Of symmetric matrices the entries above the diagonal, row after row, as scipy's pdist has them:
    half of the work.
    """

    value: float
    #: derivative in C (n, n), all of it
    slope: FloatArray
    #: the same above the diagonal
    above: FloatArray
    #: that times the Laplace kernel in l1, the one in l2 and the Gaussian kernel, entry by entry
    by_first: FloatArray
    by_second: FloatArray
    by_third: FloatArray


class Evidence:
    """Minus the log evidence of eight logarithms, and its gradient.

    The logarithms are those of the parameters of the kernel, in their order, and of the noise.

    Parameters
    ----------
    states : ndarray of shape (n, m)
        Centred states.
    targets : ndarray of shape (n, K)
        Centred targets, with a mean square of one.
    weight : ndarray of shape (n,)
        Weights, with a mean of one.
    smooth : bool
        Whether there is a Gaussian part. Without one its logarithms stay where they start.
    copies : float
        How many observations there are beyond the rows, each equal to that of some row.
    dtype : dtype
        Float type of the factorisation. A single one takes two thirds of the time, and is for steps
        with `ROUGH_NOISE` or more: what it rounds is then less than the next batch changes.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.gaussian_process import Evidence
    >>> x = np.linspace(-1, 1, 20)[:, None]
    >>> evidence = Evidence(x, np.sign(x), np.ones(20))
    >>> at, step = evidence.start, np.eye(8)[0] * 1e-6
    >>> value, gradient = evidence(at)
    >>> bool(np.isclose((evidence(at + step)[0] - value) / 1e-6, gradient[0], rtol=1e-3))
    True
    """

    def __init__(
        self,
        states: FloatArray,
        targets: FloatArray,
        weight: FloatArray,
        smooth: bool = True,
        copies: float = 0.0,
        dtype: DTypeLike = np.float64,
    ):
        self.smooth, self.copies = smooth, copies
        states = np.asarray(states, dtype=np.float64)
        products = states @ states.T
        norms, product = np.diag(products), _above(products)
        self.size = max(float(norms.sum()) / len(states), _LEAST_SIZE)
        # squared distances in l2, in double precision; what cancels below zero is zero
        squares = _above(norms[:, None] + norms)
        squares -= 2 * product
        np.maximum(squares, 0, out=squares)
        self.states = states.astype(dtype, copy=False)
        self.targets = np.asarray(targets, dtype)
        self.noise_shape = 1 / np.asarray(weight, dtype)
        #: inner products of states above the diagonal, and on it
        self.product, self.norms = product.astype(dtype, copy=False), norms.astype(dtype)
        self.squares = squares.astype(dtype, copy=False)
        self.distances = pdist(states, "cityblock").astype(dtype, copy=False), np.sqrt(self.squares)

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
        kernel = s.amplitude, one, s.amplitude, two, s.linear / self.size, s.smooth, two
        return np.log([*kernel, s.noise])

    @property
    def bounds(self) -> list[tuple[float, float]]:
        """Least and largest logarithms."""
        s, (one, two) = _START, self.medians
        amplitude = np.log(s.least_amplitude), np.log(s.most_amplitude)
        first, second = (
            (np.log(s.least_length * median), np.log(s.most_length * median))
            for median in (one, two)
        )
        linear = (amplitude[0] - np.log(self.size), amplitude[1] - np.log(self.size))
        noise = np.log(s.least_noise), np.log(s.most_noise)
        return [amplitude, first, amplitude, second, linear, amplitude, second, noise]

    def __call__(self, logs: FloatArray) -> tuple[float, FloatArray]:
        """Minus the log evidence and the log prior; a huge number where C is not positive."""
        terms = self._terms(logs)
        if terms is None:
            return _NOT_POSITIVE * self.targets.size, np.zeros(_N_LOGS)
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
            return np.inf, np.zeros(_N_LOGS), np.zeros_like(self.states)
        return terms.value, self._by_logs(logs, terms), self._by_states(logs, terms)

    def _terms(self, logs: FloatArray) -> _Terms | None:
        """Value, derivative in C, and the stationary parts; None where C is not positive."""
        one, length_one, two, length_two, linear, three, length_three, noise = _exp(logs)
        n, K = self.targets.shape
        first = one * np.exp(self.distances[0] * (-1 / length_one))
        second = two * np.exp(self.distances[1] * (-1 / length_two))
        third = np.zeros_like(first)
        variance = one + two
        if self.smooth:
            third = three * np.exp(self.squares * (-0.5 / length_three**2))
            variance += three
        C = _symmetric(linear * self.product + first + second + third + 1, n)
        np.fill_diagonal(C, variance + linear * self.norms + 1 + noise * self.noise_shape)
        # LAPACK keeps columns side by side: the transpose, which is the same, needs no copy
        (factor,) = get_lapack_funcs(("potrf",), dtype=C.dtype)
        L, failed = factor(C.T, lower=1, clean=1, overwrite_a=1)
        if failed:
            return None
        log_determinant = 2 * float(np.log(np.diag(L)).sum())
        inverse = inverse_factor(L)
        # NumPy knows the product of a matrix and its own transpose: half of the work
        slope = inverse.T @ inverse
        coefficients = slope @ self.targets
        value = 0.5 * (float(np.vdot(self.targets, coefficients)) + K * log_determinant)
        value += 0.5 * K * self.copies * float(logs[-1])
        slope *= 0.5 * K
        coefficients *= 0.5**0.5
        slope -= coefficients @ coefficients.T
        above = _above(slope)
        return _Terms(value, slope, above, above * first, above * second, above * third)

    def _by_logs(self, logs: FloatArray, terms: _Terms) -> FloatArray:
        one, length_one, two, length_two, linear, three, length_three, noise = _exp(logs)
        diagonal = np.diag(terms.slope)
        trace = float(diagonal.sum())
        by_logs = np.array(
            [
                2 * terms.by_first.sum() + one * trace,
                2 * np.vdot(terms.by_first, self.distances[0]) / length_one,
                2 * terms.by_second.sum() + two * trace,
                2 * np.vdot(terms.by_second, self.distances[1]) / length_two,
                linear * (2 * np.vdot(terms.above, self.product) + diagonal @ self.norms),
                2 * terms.by_third.sum() + three * trace,
                2 * np.vdot(terms.by_third, self.squares) / length_three**2,
                noise * float(diagonal @ self.noise_shape)
                + 0.5 * self.targets.shape[1] * self.copies,
            ]
        )
        if not self.smooth:
            by_logs[_GAUSSIAN] = 0
        return by_logs

    def _by_states(self, logs: FloatArray, terms: _Terms) -> FloatArray:
        _, length_one, _, length_two, linear, _, length_three, _ = _exp(logs)
        x, n = self.states, len(self.states)
        gradient: FloatArray = 2 * linear * (terms.slope @ x)
        distances = self.distances[1]
        # what rounding leaves of a distance of zero is no direction
        least = _LEAST_DISTANCE * self.size**0.5
        apart = np.where(distances <= least, np.inf, distances)
        along = terms.by_second / apart * (-2 / length_two)
        along -= terms.by_third * (2 / length_three**2)
        pull = _symmetric(along, n)
        gradient += pull.sum(axis=1)[:, None] * x - pull @ x
        # rows that are equal in all coordinates pull at nothing, and need no telling apart
        equal = self.distances[0] == 0
        pull_one = np.where(equal, 0, terms.by_first * (-2 / length_one))
        gradient += signed_sums(_symmetric(pull_one, n), x, int(np.count_nonzero(equal)))
        return gradient

    def maximise(self, start: FloatArray | None = None) -> FloatArray:
        """The logarithms of highest evidence that L-BFGS finds.

        A smooth function and a rough one are two explanations with a valley between them. So a
        few steps from a smooth start are taken as well, and the better of both goes on. A start
        that is given knows which, and is near.
        """
        if start is not None:
            return self._descended(start, _EVALUATIONS_NEARBY)[0]
        if not self.smooth:
            return self._descended(self.start, _EVALUATIONS)[0]
        ways = [self._descended(each, _TRIAL) for each in (self.start, self._smooth_start)]
        better = min(ways, key=lambda way: way[1])[0]
        return self._descended(better, _EVALUATIONS - _TRIAL)[0]

    @property
    def _smooth_start(self) -> FloatArray:
        start = self.start.copy()
        start[[0, 2]] += np.log(_ROUGH_SHARE)
        return start

    def _descended(self, start: FloatArray, max_evaluations: int) -> tuple[FloatArray, float]:
        """Logarithms and minus the log evidence after so many evaluations."""
        low, high = np.transpose(self.bounds)
        result = minimize(
            lambda logs: self(logs),
            np.clip(start, low, high),
            jac=True,
            method="L-BFGS-B",
            bounds=self.bounds,
            options={"maxfun": max_evaluations},
        )
        return result.x, float(result.fun)

    def hyperparameters(self, logs: FloatArray) -> Hyperparameters:
        """What the logarithms say."""
        *kernel, noise = np.exp(logs).tolist()
        if not self.smooth:
            kernel = kernel[: _GAUSSIAN.start]
        return Hyperparameters(Kernel(*kernel), noise)

    def relative(self, logs: FloatArray) -> FloatArray:
        """The logarithms in units of these states: what other states can share."""
        relative: FloatArray = logs - self.start
        return relative


def _exp(logs: FloatArray) -> list[float]:
    """What the logarithms are of, as Python's numbers: those leave the type of arrays as it is."""
    numbers: list[float] = np.exp(logs).tolist()
    return numbers


def _symmetric(above: FloatArray, n: int) -> FloatArray:
    """The symmetric matrix (n, n) of the entries above its diagonal, which is zero."""
    if n < 2:
        return np.zeros((n, n), above.dtype)
    matrix: FloatArray = squareform(above, force="tomatrix", checks=False)
    return matrix


def signed_sums(pull: FloatArray, states: FloatArray, n_equal: int = 0) -> FloatArray:
    r"""The sums :math:`\sum_j P_{ij}\, \mathrm{sign}(x_{ik} - x_{jk})` (n, m), P symmetric (n, n).

    The diagonal of P is zero. If no two states agree in a coordinate, the sum is that of all
    :math:`P_{ij}`, less twice those with :math:`x_{jk} > x_{ik}`. Ranks compare faster than
    numbers.

    `n_equal` is the number of pairs of states that are equal altogether, of which P is zero: no
    matter then what sign they get.
    """
    pull = pull.astype(np.float32)
    columns = np.ascontiguousarray(states.T)
    order = np.argsort(columns, axis=1)
    ascending = np.take_along_axis(columns, order, axis=1)
    # of equal numbers equal ranks
    ranks = np.empty(columns.shape, np.int16 if len(states) < 2**15 else np.int32)
    place = np.arange(len(states), dtype=ranks.dtype)
    first = np.zeros(columns.shape, ranks.dtype)
    first[:, 1:] = np.where(ascending[:, 1:] > ascending[:, :-1], place[1:], 0)
    np.maximum.accumulate(first, axis=1, out=first)
    np.put_along_axis(ranks, order, first, axis=1)
    tied: IntArray = (place - first).sum(axis=1, dtype=np.int64)
    apart = tied <= n_equal
    sums = np.empty(states.shape)
    above = _compared_sums(pull, ranks[apart], np.less)
    sums[:, apart] = pull.sum(axis=1)[:, None] - 2 * above
    sums[:, ~apart] = _compared_sums(pull, ranks[~apart], _signs)
    return sums


def _signs(own: IntArray, others: IntArray, out: BoolArray) -> IntArray:
    signs: IntArray = np.greater(own, others, out=out).view(np.int8)
    signs -= np.less(own, others).view(np.int8)
    return signs


def _compared_sums(
    pull: FloatArray, ranks: IntArray, compare: Callable[[IntArray, IntArray, BoolArray], Array]
) -> FloatArray:
    """The sums over j of P_ij c(r_ki, r_kj) (n, m'), of ranks r (m', n).

    Comparisons of a few rows with all stay in the cache until their product with P is taken.
    """
    n_columns, n = ranks.shape
    own = np.ascontiguousarray(ranks.T)[:, :, None]
    sums = np.empty((n, n_columns), pull.dtype)
    n_rows = min(max(_COMPARED_ENTRIES // max(ranks.size, 1), 1), n)
    # memory that is asked for once: that of each block anew would cost a third of the time
    found = np.empty((n_rows, n_columns, n), bool)
    numbers = np.empty(found.shape, pull.dtype)
    for rows in block_slices(n, n_rows):
        these = slice(rows.stop - rows.start)
        numbers[these] = compare(own[rows], ranks, found[these])
        sums[rows] = (numbers[these] @ pull[rows, :, None])[:, :, 0]
    return sums


def _above(matrix: FloatArray) -> FloatArray:
    """The entries of a symmetric matrix above its diagonal, row after row."""
    above: FloatArray = squareform(matrix, force="tovector", checks=False)
    return above
