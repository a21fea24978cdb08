"""Paths from inputs to outputs along which a smooth flow can carry all points at once.

Controls follow a path only as well as the points' velocities are those of a smooth field: where two
points pass close to each other at different speeds, whatever field interpolates them is steep, and
steep flows amplify rounding. Landmark matching finds the paths of the least steep field.

S. C. Joshi, M. I. Miller, "Landmark matching via large deformation diffeomorphisms", IEEE Trans.
Image Processing 9(8), 2000.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.optimize import OptimizeResult, minimize

from skcode.geometry.interpolation._tuning import PATHS
from skcode.utils._typing import FloatArray


class Path(Protocol):
    """Points (N, m) at each s in [0, 1], or their derivative of an order in s."""

    def __call__(self, s: float, order: int = 0, /) -> FloatArray: ...


def plan_paths(X: FloatArray, Y: FloatArray, width: float, bends: Sequence[FloatArray]) -> Path:
    r"""Paths x(s), one for each point, with x(0) = X and x(1) = Y.

    They minimise the energy :math:`\int_0^1 \langle \dot x, K(x)^{-1} \dot x \rangle\, ds` with the
    Gaussian kernel K, which is the squared norm of the smallest field in the kernel's space that
    has the velocities of the points. The paths are cubic splines, and the energy is taken at more
    times than they have knots: points would pass through each other in between.

    Parameters
    ----------
    X, Y : ndarray of shape (N, m)
        The ends.
    width : float
        The width of the kernel.
    bends : sequence of ndarray of shape (N, m)
        Descents start at :math:`(1 - s) x_i + s y_i + s (1 - s) b_i`, ways round each other; after
        some steps only the one of least energy goes on.
    """
    N, m = X.shape
    s = np.linspace(0, 1, PATHS.n_pieces + 1)
    inner = s[1:-1, None, None]
    times = (np.arange(PATHS.times_a_piece * PATHS.n_pieces) + 0.5) / (
        PATHS.times_a_piece * PATHS.n_pieces
    )
    basis = CubicSpline(s, np.eye(len(s)))
    values, slopes = (basis(times, order) / width for order in (0, 1))

    def knots(z: FloatArray) -> FloatArray:
        return np.concatenate([X[None], z.reshape(-1, N, m), Y[None]])

    def energy(z: FloatArray) -> tuple[float, FloatArray]:
        rows = knots(z).reshape(len(s), -1)
        x, v = (part @ rows for part in (values, slopes))
        value, to_x, to_v = _energy(x.reshape(-1, N, m), v.reshape(-1, N, m))
        gradient = values.T @ to_x.reshape(x.shape) + slopes.T @ to_v.reshape(v.shape)
        return value, gradient[1:-1].ravel()

    def descend(z: FloatArray, n_steps: int) -> OptimizeResult:
        options = {"maxiter": n_steps, "maxfun": 2 * n_steps}
        return minimize(energy, z, jac=True, method="L-BFGS-B", options=options)

    straight = (1 - inner) * X + inner * Y
    starts = [(straight + inner * (1 - inner) * bend).ravel() for bend in bends]
    if len(starts) > 1:
        first = [descend(z, PATHS.few_steps) for z in starts]
        starts = [min(first, key=lambda found: found.fun).x]
    path: Path = CubicSpline(s, knots(descend(starts[0], PATHS.n_steps).x))
    return path


def _energy(x: FloatArray, v: FloatArray) -> tuple[float, FloatArray, FloatArray]:
    """The energy of points and velocities (T, N, m) in units of the width, and its gradients."""
    T, N, _ = x.shape
    squares = np.sum(x**2, axis=2)
    inner = x @ x.transpose(0, 2, 1)
    K = np.exp(inner - (squares[:, :, None] + squares[:, None, :]) / 2)
    p = np.linalg.solve(K + PATHS.ridge * np.eye(N), v)
    W = K * (p @ p.transpose(0, 2, 1))
    to_x = 2 * (W.sum(axis=2, keepdims=True) * x - W @ x) / T
    return float(np.sum(v * p) / T), to_x, 2 * p / T
