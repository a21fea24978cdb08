"""Paths from inputs to outputs along which a smooth flow can carry all points at once.

Controls follow a path only as well as the points' velocities are those of a smooth field: where two
points pass close to each other at different speeds, whatever field interpolates them is steep, and
steep flows amplify rounding. Landmark matching finds the paths of the least steep field.

S. C. Joshi, M. I. Miller, "Landmark matching via large deformation diffeomorphisms", IEEE Trans.
Image Processing 9(8), 2000.
"""

from __future__ import annotations

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.optimize import minimize

from skcode.utils._typing import FloatArray

#: pieces of a path, and steps of L-BFGS
_N_PIECES, _N_STEPS = 24, 300
#: pieces, for each of these, in which the energy of a path is taken
_FINER = 8
#: keeps the kernel matrix regular where points are close
_RIDGE = 1e-6


def plan_paths(X: FloatArray, Y: FloatArray, width: float, bend: FloatArray) -> CubicSpline:
    r"""Paths x(s), one for each point, with x(0) = X and x(1) = Y.

    They minimise the energy :math:`\int_0^1 \langle \dot x, K(x)^{-1} \dot x \rangle\, ds` with the
    Gaussian kernel K, which is the squared norm of the smallest field in the kernel's space that
    has the velocities of the points.

    Parameters
    ----------
    X, Y : ndarray of shape (N, m)
        The ends.
    width : float
        The width of the kernel.
    bend : ndarray of shape (N, m)
        The descent starts at :math:`(1 - s) x_i + s y_i + s (1 - s) b_i`: ways round each other.
    """
    N, m = X.shape
    s = np.linspace(0, 1, _N_PIECES + 1)
    inner = s[1:-1, None, None]

    def energy(z: FloatArray) -> tuple[float, FloatArray]:
        x = np.concatenate([X[None], z.reshape(-1, N, m), Y[None]])
        value, gradient = _energy(x / width)
        return value, gradient[1:-1].ravel() / width

    z = (1 - inner) * X + inner * Y + inner * (1 - inner) * bend
    best = minimize(energy, z.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": _N_STEPS})
    return CubicSpline(s, np.concatenate([X[None], best.x.reshape(-1, N, m), Y[None]]))


def path_energy(path: CubicSpline, width: float) -> float:
    """The energy of paths, at points close enough to see how near they come to each other."""
    s = np.linspace(0, 1, _FINER * _N_PIECES + 1)
    return _energy(path(s) / width)[0]


def _energy(x: FloatArray) -> tuple[float, FloatArray]:
    """The energy of paths x (T + 1, N, m) in units of the kernel's width, and its gradient."""
    T, N = len(x) - 1, x.shape[1]
    v, middle = T * np.diff(x, axis=0), (x[1:] + x[:-1]) / 2
    squares = np.sum(middle**2, axis=2)
    inner = middle @ middle.transpose(0, 2, 1)
    K = np.exp(inner - (squares[:, :, None] + squares[:, None, :]) / 2)
    p = np.linalg.solve(K + _RIDGE * np.eye(N), v)
    W = K * (p @ p.transpose(0, 2, 1))
    to_v = 2 * p
    to_middle = (W.sum(axis=2, keepdims=True) * middle - W @ middle) / T
    gradient = np.zeros_like(x)
    gradient[1:] += to_v + to_middle
    gradient[:-1] += to_middle - to_v
    return float(np.sum(v * p) / T), gradient
