r"""Regression by a Gaussian process: exact, or in leaves, with leave-one-out predictions.

With all rows, C = K + sigma^2 S^{-1} is factored once: coefficients C^{-1} Y, and the prediction of
row i by the others is :math:`y_i - [C^{-1} Y]_i / [C^{-1}]_{ii}`, exactly. The rows of which that
is asked come last: the last entries of the diagonal of C^{-1} need the last corner of its factor.

More rows are told apart in what all share and what is local [1]_. J landmarks z, with features
phi(x) = L^{-1} k(z, x), L L^T = k(z, z), and the linear part, which is its own features, explain
Q = Phi Phi^T of the kernel everywhere. What they leave of it, k - Q, is kept within leaves of some
thousand rows that lie near to each other, and forgotten between leaves:

.. math:: C = \Phi \Phi^\top + D, \qquad D = \text{blockdiag}(k - Q) + \sigma^2 S^{-1}, \qquad
    C^{-1} = D^{-1} - D^{-1} \Phi \big(1 + \Phi^\top D^{-1} \Phi\big)^{-1} \Phi^\top D^{-1}

This is the exact process again where one leaf holds all rows. The work is linear in the rows. Of
very many rows some are in leaves, and each of the others is a leaf of its own: it tells what all
share.

A row that was merged from copies counts as that many observations. What is left out is then one of
them: the noise of row i grows from sigma^2 / s_i to sigma^2 / (s_i - 1).

References
----------
.. [1] E. Snelson, Z. Ghahramani, "Local and global sparse Gaussian process approximations",
   AISTATS 2007.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from skcode.gaussian_process._evidence import Hyperparameters
from skcode.gaussian_process._fixed_point import FixedPoint
from skcode.gaussian_process._kernel import Kernel, squared_norms
from skcode.gaussian_process._leaves import Leaves
from skcode.utils._cholesky import (
    factor_in_place,
    inverse_factor,
    solve_factor,
    substitute,
    substitute_back,
)
from skcode.utils._typing import FloatArray, IntArray

#: what is added to a diagonal, in units of rounding times the mean diagonal: what products of
#: single precision lose
_JITTER = 20
#: share of the variance that is added to that of landmarks
_FIRM = 1e-8
#: rows of a block of features
_BLOCK_ROWS = 2048
#: rows from which single precision pays
_MANY_ROWS = 500
#: least variance of noise that hides what single precision rounds, in units of the mean diagonal
_HIDING_NOISE = 1e-2


@dataclass(frozen=True, eq=False)
class Mean:
    r"""The mean of a process given its rows, as a function of states.

    .. math:: f(x) = \sum_{j \in \text{leaf}(x)} k(x, x_j) \alpha_j + \langle x, w \rangle + w_0

    where k are the stationary parts of the kernel alone.

    Parameters
    ----------
    stored : ndarray of shape (P, m) or FixedPoint
        Centred states, those of a leaf side by side: the points z_j.
    coefficients : ndarray of shape (P, K)
        Their coefficients.
    weights : ndarray of shape (m, K)
        Weights of the linear part.
    constant : ndarray of shape (K,)
        The constant.
    leaves : Leaves
        What sends a state to its leaf.
    starts : ndarray of shape (L + 1,), int
        Where the points of each leaf start, and where the last ones end.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.gaussian_process import Kernel, Mean
    >>> one = np.ones((1, 1))
    >>> mean = Mean.of_points(Kernel(1.0, 1.0, 0.0, 1.0, 0.5), one, 2 * one)
    >>> mean(Kernel(1.0, 1.0, 0.0, 1.0, 0.5), one)
    array([[5.]])
    """

    stored: FloatArray | FixedPoint
    coefficients: FloatArray
    weights: FloatArray
    constant: FloatArray
    leaves: Leaves
    starts: IntArray

    def __getstate__(self) -> dict[str, Any]:
        # what is made from what is stored neither travels nor persists
        made = {"points", "squares"}
        return {name: value for name, value in self.__dict__.items() if name not in made}

    @cached_property
    def points(self) -> FloatArray:
        """The points (P, m), in the float type of the states: one row meets thousands of them."""
        stored = self.stored.values if isinstance(self.stored, FixedPoint) else self.stored
        return stored.astype(self.constant.dtype, copy=False)

    @cached_property
    def squares(self) -> FloatArray:
        """The squared norms (P,) of the points, which would cost one row more than its own do."""
        return squared_norms(self.points)

    @classmethod
    def of_points(cls, kernel: Kernel, points: FloatArray, coefficients: FloatArray) -> Mean:
        """k(x, points) coefficients, with the whole kernel.

        What is linear in x is a sum over points of large terms that all but cancel: taken over the
        points first, in double precision, it keeps its digits in single precision as well.
        """
        z, a = points.astype(np.float64), coefficients.astype(np.float64)
        dtype = points.dtype
        return cls(
            points,
            coefficients,
            (kernel.linear * (z.T @ a)).astype(dtype),
            a.sum(axis=0).astype(dtype),
            Leaves.grow(points[:1], 1)[0],
            np.array([0, len(points)]),
        )

    def scaled(self, factor: FloatArray) -> Mean:
        """This mean times a factor (K,)."""
        coefficients, weights, constant = (
            part * factor.astype(part.dtype)
            for part in (self.coefficients, self.weights, self.constant)
        )
        return replace(self, coefficients=coefficients, weights=weights, constant=constant)

    def __call__(self, kernel: Kernel, x: FloatArray) -> FloatArray:
        """Means (n, K) at centred states (n, m)."""
        f: FloatArray = x @ self.weights + self.constant
        for rows, points in self.routed(x):
            K = kernel.stationary(x[rows], self.points[points], self.squares[points])
            f[rows] += K @ self.coefficients[points]
        return f

    def gradient(self, kernel: Kernel, x: FloatArray, covector: FloatArray) -> FloatArray:
        """Derivative (n, m) in states of the means, summed with weights (n, K)."""
        gradient: FloatArray = covector @ self.weights.T
        for rows, points in self.routed(x):
            of_points = covector[rows] @ self.coefficients[points].T
            gradient[rows] += kernel.stationary_gradient(x[rows], self.points[points], of_points)
        return gradient

    def routed(self, x: FloatArray) -> list[tuple[IntArray | slice, slice]]:
        """Rows of each leaf that has any, and its points."""
        spans = [slice(*span) for span in np.stack([self.starts[:-1], self.starts[1:]], 1)]
        if len(spans) == 1:
            return [(slice(None), spans[0])]
        at = self.leaves(x)
        return [(np.flatnonzero(at == leaf), spans[leaf]) for leaf in np.unique(at)]


class Observations(NamedTuple):
    """Rows that a process is fitted to.

    Parameters
    ----------
    states : ndarray of shape (n, m)
        Centred states.
    targets : ndarray of shape (n, K)
        Centred targets.
    weight : ndarray of shape (n,)
        Weights, in units in which those of all rows have a mean of one.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.gaussian_process import Observations
    >>> len(Observations(np.zeros((5, 2)), np.zeros((5, 1)), np.ones(5)).states)
    5
    """

    states: FloatArray
    targets: FloatArray
    weight: FloatArray


@dataclass(frozen=True, eq=False)
class Regression:
    """A fitted process, and what its rows say of each other.

    Parameters
    ----------
    mean : Mean
        What it predicts.
    left_out : ndarray of shape (q, K)
        Prediction of each row that was asked for without it.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.gaussian_process import Kernel, Mean, Regression
    >>> one = np.ones((1, 1))
    >>> Regression(Mean.of_points(Kernel(1.0, 1.0, 0.0, 1.0, 0.5), one, one), one).left_out
    array([[1.]])
    """

    mean: Mean
    left_out: FloatArray

    def scaled(self, factor: FloatArray) -> Regression:
        """All that it predicts times a factor (K,)."""
        return Regression(self.mean.scaled(factor), self.left_out * factor)


def fit_exact(
    states: FloatArray,
    targets: FloatArray,
    weight: FloatArray,
    counts: FloatArray,
    hyperparameters: Hyperparameters,
    asked: IntArray,
) -> Regression:
    """Regression on all rows.

    Parameters
    ----------
    states : ndarray of shape (n, m)
        Centred states.
    targets : ndarray of shape (n, K)
        Centred targets.
    weight : ndarray of shape (n,)
        Weights with a mean of one.
    counts : ndarray of shape (n,)
        How many observations a row stands for.
    hyperparameters : Hyperparameters
        Kernel and noise.
    asked : ndarray of shape (q,)
        Rows for which predictions without them are asked for.

    Returns
    -------
    Regression
        The mean and left-out predictions.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.gaussian_process import Hyperparameters, Kernel, fit_exact
    >>> x = np.linspace(-1, 1, 50)[:, None]
    >>> hyperparameters = Hyperparameters(Kernel(1.0, 1.0, 0.0, 1.0, 1.0), 1e-3)
    >>> ones = np.ones(50)
    >>> fitted = fit_exact(x, x**2, ones, ones, hyperparameters, np.arange(50))
    >>> bool(np.abs(fitted.left_out - x**2)[1:-1].max() < 0.02)
    True
    """
    kernel, noise = hyperparameters
    n, q = len(states), len(asked)
    if q < n:
        others = np.ones(n, dtype=bool)
        others[asked] = False
        order = np.concatenate([np.flatnonzero(others), asked])
        states, targets, weight, counts = (a[order] for a in (states, targets, weight, counts))
    dtype = _factor_dtype(states, weight, hyperparameters, states.dtype)
    variance = (noise / weight).astype(dtype)
    L, added = factor_of(kernel, states.astype(dtype, copy=False), variance)
    coefficients = solve_factor(L, targets.astype(dtype))
    corner = inverse_factor(L[n - q :, n - q :])
    diagonal = np.einsum("ij,ij->j", corner, corner)
    shift = _shift((variance + added)[n - q :], counts[n - q :], diagonal).astype(dtype)
    left_out = targets[n - q :] - coefficients[n - q :] * shift[:, None]
    coefficients = coefficients.astype(states.dtype, copy=False)
    return Regression(Mean.of_points(kernel, states, coefficients), left_out)


def _factor_dtype(
    states: FloatArray,
    weight: FloatArray,
    hyperparameters: Hyperparameters,
    given: np.dtype[Any],
) -> np.dtype[Any]:
    """In which float type to factor: a single one takes half of the time.

    What it rounds is a little more noise, and nothing where there is much of it. Predictions are in
    the float type of the states all the same: no rows of a batch depend on the others.
    """
    kernel, noise = hyperparameters
    if len(states) < _MANY_ROWS or not _hides(kernel, states, noise / weight.max()):
        return given
    return np.dtype(np.float32)


def _hides(kernel: Kernel, states: FloatArray, variance: float) -> bool:
    """Whether noise of this variance hides what single precision rounds."""
    return bool(variance > _HIDING_NOISE * np.mean(kernel.diagonal(states)))


def _shift(variance: FloatArray, counts: FloatArray, diagonal: FloatArray) -> FloatArray:
    """What leaving out a copy of a row moves its prediction by, in units of its coefficient.

    One copy less: the noise of the row is s / (s - 1) times as large, infinite for a single one.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        fewer = np.where(counts > 1, variance * counts / (counts - 1), np.inf)
        shift: FloatArray = np.where(
            np.isinf(fewer), 1 / diagonal, fewer / (1 + (fewer - variance) * diagonal)
        )
    return shift


def factor_of(kernel: Kernel, states: FloatArray, variance: FloatArray) -> tuple[FloatArray, float]:
    """L of L L^T = k(states, states) + diag(variance), and what had to be added to it."""
    return _factor(lambda: kernel.lower(states), variance)


def _factor(matrix: Callable[[], FloatArray], variance: FloatArray) -> tuple[FloatArray, float]:
    """L of L L^T = matrix + diag(variance), and what had to be added to the diagonal.

    The matrix is made again where the first attempt overwrote it in vain.
    """
    C = matrix()
    diagonal = np.diag_indices(len(C))
    mean = float(np.mean(C[diagonal] + variance))
    if not np.isfinite(mean):
        raise ValueError(
            "The kernel of the final states overflows. Scale X (scaling='robust') or use bounded "
            "vector fields (vector_fields='neural')."
        )
    added = _JITTER * float(np.finfo(C.dtype).eps) * mean
    while True:
        C[diagonal] += variance + added
        if factor_in_place(C):
            return C, added
        added *= 10
        C = matrix()


def fit_leaves(
    states: FloatArray,
    targets: FloatArray,
    weight: FloatArray,
    counts: FloatArray,
    hyperparameters: Hyperparameters,
    landmarks: IntArray,
    local: IntArray,
    most: int,
    asked: IntArray,
    others: Iterable[Observations] = (),
    dtype: DTypeLike | None = None,
) -> Regression:
    """Regression by what landmarks explain, and by what leaves of near rows add.

    Parameters
    ----------
    states : ndarray of shape (n, m)
        Centred states.
    targets : ndarray of shape (n, K)
        Centred targets.
    weight : ndarray of shape (n,)
        Weights with a mean of one.
    counts : ndarray of shape (n,)
        How many observations a row stands for.
    hyperparameters : Hyperparameters
        Kernel and noise.
    landmarks : ndarray of shape (J,)
        Rows that are landmarks.
    local : ndarray of shape (P,)
        Rows that are in leaves with others, in ascending order.
    most : int
        Rows of a leaf at most.
    asked : ndarray of shape (q,)
        Local rows for which predictions without them are asked for, in ascending order.
    others : iterable of Observations
        Further rows that are in no leaf, in blocks: of very many rows the states of all would take
        more memory than the rows themselves.
    dtype : dtype or None
        Float type of the states of predictions; None for that of the states. Those of single
        precision take half of the memory, and become wider where they have to.

    Returns
    -------
    Regression
        The mean and left-out predictions.

    Raises
    ------
    ValueError
        If the kernel of the states overflows.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.gaussian_process import Hyperparameters, Kernel, fit_leaves
    >>> x = np.linspace(-1, 1, 500)[:, None]
    >>> hyperparameters = Hyperparameters(Kernel(1.0, 1.0, 0.0, 1.0, 1.0), 1e-3)
    >>> ones, some, every = np.ones(500), np.arange(0, 500, 50), np.arange(500)
    >>> fitted = fit_leaves(x, x**2, ones, ones, hyperparameters, some, every, 100, every)
    >>> bool(np.abs(fitted.left_out - x**2)[1:-1].max() < 0.02)
    True
    """
    kernel, noise = hyperparameters
    given = states.dtype if dtype is None else np.dtype(dtype)
    # leaves are told apart as predictions will tell them
    leaves, members = Leaves.grow(states[local].astype(given, copy=False), most)
    states = states.astype(_factor_dtype(states, weight, hyperparameters, given), copy=False)
    shared = _Shared(kernel, np.ascontiguousarray(states[landmarks]))
    variance = noise / weight
    normal = np.eye(shared.n_features)
    moment = np.zeros((shared.n_features, targets.shape[1]))

    wanted = np.zeros(len(states), dtype=bool)
    wanted[asked] = True
    # within a leaf the rows that are asked for come last
    rows_of = [local[each[np.argsort(wanted[local[each]], kind="stable")]] for each in members]
    # what is kept of all leaves lies in one array, which goes back to the system as a whole: parts
    # between what else comes and goes would not
    kept = np.empty((len(local), shared.n_features), states.dtype)
    ends = np.cumsum([len(rows) for rows in rows_of])
    parts = []
    for rows, room in zip(rows_of, np.split(kept, ends[:-1]), strict=True):
        part, leaf_normal, leaf_moment = _leaf(
            shared, states[rows], targets[rows], variance[rows], int(wanted[rows].sum()), room
        )
        normal += leaf_normal
        moment += leaf_moment
        parts.append(part)
    # sums over very many rows with little noise are so large that single precision would round off
    # the one that is added to them
    summed = states.dtype if _hides(kernel, states, noise / weight.max()) else np.dtype(np.float64)
    alone = np.setdiff1d(np.arange(len(states)), local, assume_unique=True)
    for block in chain([Observations(states[alone], targets[alone], weight[alone])], others):
        for start in range(0, len(block.states), _BLOCK_ROWS):
            x, y, s = (part[start : start + _BLOCK_ROWS] for part in block)
            features, unexplained = shared(x.astype(states.dtype, copy=False))
            features = features.astype(summed, copy=False)
            precision = (1 / (noise / s + unexplained))[:, None].astype(summed)
            weighted = features * precision
            normal += features.T @ weighted
            moment += weighted.T @ y.astype(summed)
    L, _ = _factor(normal.copy, np.zeros(len(normal)))
    back = inverse_factor(L)
    solution = back.T @ (back @ moment)

    points, coefficients = [], []
    left_out = np.empty((len(asked), targets.shape[1]))
    for rows, part in zip(rows_of, parts, strict=True):
        own = part.targets - part.features @ solution
        of_landmarks = solution[: shared.n_landmarks] - shared.of_landmarks(states[rows]).T @ own
        points += [shared.points, states[rows]]
        coefficients += [shared.coefficients(of_landmarks), own]
        q = len(part.diagonal)
        last = rows[len(rows) - q :]
        spread = back @ part.features[len(rows) - q :].T
        diagonal = part.diagonal - np.einsum("ij,ij->j", spread, spread)
        shift = _shift(variance[last] + part.added, counts[last], diagonal)
        left_out[np.searchsorted(asked, last)] = (
            targets[last] - own[len(rows) - q :] * shift[:, None]
        )
    # as large as all that follows
    del kept, room, part, parts
    linear = solution[shared.n_landmarks :]
    mean = Mean(
        np.concatenate(points, dtype=given),
        np.concatenate(coefficients, dtype=given),
        (linear[:-1] * np.sqrt(kernel.linear)).astype(given),
        linear[-1].astype(given),
        leaves,
        np.cumsum([0] + [shared.n_landmarks + len(rows) for rows in rows_of]),
    )
    return Regression(mean, left_out)


class _Shared:
    """Features phi(x) of what all rows share: of the landmarks, and of the linear part."""

    def __init__(self, kernel: Kernel, points: FloatArray):
        self.kernel, self.points = kernel, points
        self.root = np.sqrt(kernel.linear)
        # what landmarks do not explain leaves do: so a firm diagonal costs nothing, and keeps the
        # coefficients small, whose rounding predictions show
        firm = np.full(len(points), _FIRM * kernel.variance)
        L, _ = _factor(lambda: kernel.stationary(points, points), firm)
        self.inverse = inverse_factor(L)

    @property
    def n_landmarks(self) -> int:
        return len(self.points)

    @property
    def n_features(self) -> int:
        """Landmarks, coordinates of the state, and the constant."""
        return self.n_landmarks + int(self.points.shape[1]) + 1

    def __call__(self, x: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Features (n, J + m + 1), and the variance (n,) of the process that they leave."""
        of_landmarks = self.of_landmarks(x)
        explained = np.einsum("ij,ij->i", of_landmarks, of_landmarks)
        unexplained = np.maximum(self.kernel.variance - explained, 0)
        ones = np.ones((len(x), 1), x.dtype)
        root = x.dtype.type(self.root)
        return np.concatenate([of_landmarks, root * x, ones], axis=1), unexplained

    def of_landmarks(self, x: FloatArray) -> FloatArray:
        """Features (n, J) of the landmarks alone."""
        features: FloatArray = self.kernel.stationary(x, self.points) @ self.inverse.T
        return features

    def coefficients(self, solution: FloatArray) -> FloatArray:
        """Coefficients (J, K) of the kernel for a solution (J, K) in features."""
        coefficients: FloatArray = self.inverse.T.astype(np.float64) @ solution
        return coefficients


class _Part(NamedTuple):
    """What is kept of a leaf of n rows, of which the last q are asked for, until all are seen.

    With D what landmarks leave of the kernel between the rows.
    """

    #: D^{-1} Phi (n, J + m + 1)
    features: FloatArray
    #: D^{-1} Y (n, K)
    targets: FloatArray
    #: of D^{-1}, its last q entries
    diagonal: FloatArray
    #: what had to be added to D
    added: float


def _leaf(
    shared: _Shared,
    states: FloatArray,
    targets: FloatArray,
    variance: FloatArray,
    q: int,
    kept: FloatArray,
) -> tuple[_Part, FloatArray, FloatArray]:
    """A leaf, and what it adds to the normal equations: Phi^T D^{-1} Phi and Phi^T D^{-1} Y.

    D^{-1} Phi is written to the array that is given.
    """
    features, _ = shared(states)
    n, F = len(states), shared.n_features
    of_landmarks = features[:, : shared.n_landmarks]
    L, added = _factor(lambda: shared.kernel.unexplained(states, of_landmarks), variance)
    white = substitute(L, np.concatenate([features, targets.astype(states.dtype)], axis=1))
    normal = white[:, :F].T @ white
    corner = inverse_factor(L[n - q :, n - q :])
    diagonal = np.einsum("ij,ij->j", corner, corner)
    both = substitute_back(L, white)
    kept[:] = both[:, :F]
    part = _Part(kept, both[:, F:].copy(), diagonal, added)
    return part, normal[:, :F], normal[:, F:]
