"""The end-point map u -> X_1, its Jacobian, and minimum-norm Newton steps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import DOP853
from scipy.linalg import solve_triangular, svdvals

from skcode.fields import Fields
from skcode.flow import Sweep, Tableau

#: the scheme of Dormand and Prince of order 8: loops close to rounding at one or two steps.
#: A tableau checks the conditions up to order 4 itself, and claims no more
ORDER_8 = Tableau(
    "dop853",
    4,
    tuple(tuple(float(a) for a in row[:i]) for i, row in enumerate(DOP853.A)),
    tuple(float(b) for b in DOP853.B),
)


class EndPoint:
    """The map of controls (M, d) to the end points (N, m) of the given starting points.

    Parameters
    ----------
    fields : Fields
        The fields.
    X : ndarray of shape (N, m)
        Starting points.
    n_intervals : int
        The number M of intervals.
    n_steps : int
        Steps of the scheme in an interval.
    """

    def __init__(self, fields: Fields, X: NDArray, n_intervals: int, n_steps: int = 1):
        N, m = X.shape
        self.X = X
        self.shape = (n_intervals, fields.n_fields)
        self.n_steps = n_steps
        self.sweep = Sweep(fields, ORDER_8, n_intervals, n_steps, N, np.float64, (m,))

    def __call__(self, u: NDArray) -> NDArray:
        """X_1 (N, m); entries that are not finite tell of an explosion."""
        with np.errstate(all="ignore"):
            return self.sweep.forward(u, self.X).T.copy()

    def propagate(self, u: NDArray) -> NDArray:
        """X_1 (N, m), keeping nothing for the Jacobian."""
        with np.errstate(all="ignore"):
            return self.sweep.propagate(u, self.X).T.copy()

    def jacobian(self, u: NDArray) -> NDArray:
        """dX_1 / du as (N m, M d)."""
        self(u)
        N, m = self.X.shape
        M, d = self.shape
        rows = np.zeros((M, m, d, N))
        p = np.broadcast_to(np.eye(m)[:, :, None], (m, m, N))
        with np.errstate(all="ignore"):
            self.sweep.jacobian(p, rows)
        return rows.transpose(3, 1, 0, 2).reshape(N * m, M * d)


class MinimumNorm:
    """Minimum-norm solutions of J du = r by a QR factorisation of J^T, never of J J^T.

    Parameters
    ----------
    J : ndarray of shape (N m, M d)
        The Jacobian, of full row rank or nearly so.
    """

    def __init__(self, J: NDArray):
        self.Q, self.R = np.linalg.qr(J.T)
        self.singular_values = svdvals(self.R)

    @property
    def condition(self) -> float:
        """Condition number of J; inf where J has fewer columns than rows."""
        smallest = self.singular_values[-1]
        if self.R.shape[0] < self.R.shape[1] or smallest == 0:
            return np.inf
        return float(self.singular_values[0] / smallest)

    def solve(self, r: NDArray) -> NDArray:
        """The smallest du with J du = r (flat)."""
        return self.Q @ solve_triangular(self.R, r.ravel(), trans="T")
