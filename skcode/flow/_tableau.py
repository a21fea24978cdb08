"""Explicit Runge-Kutta schemes as data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from skcode.utils._typing import FloatArray

#: maps the parts of a state to h times their velocities, one array for each part
Slopes = Callable[..., tuple[FloatArray, ...]]


@dataclass(frozen=True)
class Tableau:
    r"""An explicit Runge-Kutta scheme, checked when it is made.

    .. math::
        k_i = V_u\Big(x + h \sum_{j < i} a_{ij} k_j\Big), \qquad x' = x + h \sum_i b_i k_i

    Controls are constant within an interval, so that the nodes c_i never enter.

    Parameters
    ----------
    name : str
        Its name.
    order : int
        Order of convergence, at most 4 (what the conditions below can check).
    a : tuple of tuple of float
        Strictly lower triangular: row i holds a_i0 .. a_i,i-1.
    b : tuple of float
        Weights.

    Raises
    ------
    ValueError
        If `a` is not strictly lower triangular, or a condition of the order fails.

    References
    ----------
    .. [1] E. Hairer, S. P. Norsett, G. Wanner, "Solving Ordinary Differential Equations I",
       Springer, 1993, section II.2.

    Examples
    --------
    >>> from skcode.flow import Tableau
    >>> Tableau("ralston", order=2, a=((), (2 / 3,)), b=(1 / 4, 3 / 4)).n_stages
    2
    """

    name: str
    order: int
    a: tuple[tuple[float, ...], ...]
    b: tuple[float, ...]

    def __post_init__(self) -> None:
        if [len(row) for row in self.a] != list(range(len(self.b))):
            raise ValueError(
                f"{self.name}: row i of `a` must have i entries, one row for each of b."
            )
        if self.order not in (1, 2, 3, 4):
            raise ValueError(f"{self.name}: order={self.order} must be 1, 2, 3 or 4.")
        for order, residual in self._order_conditions():
            if order <= self.order and abs(residual) > 1e-12:
                raise ValueError(f"{self.name}: an order-{order} condition fails by {residual}.")

    @property
    def n_stages(self) -> int:
        return len(self.b)

    def _order_conditions(self) -> list[tuple[int, float]]:
        """Residuals of the conditions up to order 4 (Hairer, Norsett, Wanner I, table II.2.1)."""
        s = range(self.n_stages)
        a = [[*row, *[0.0] * (self.n_stages - len(row))] for row in self.a]
        c = [sum(row) for row in a]
        ac = [sum(a[i][j] * c[j] for j in s) for i in s]
        acc = [sum(a[i][j] * c[j] ** 2 for j in s) for i in s]
        aac = [sum(a[i][j] * ac[j] for j in s) for i in s]

        def weighted(values: list[float]) -> float:
            return sum(b * value for b, value in zip(self.b, values, strict=True))

        return [
            (1, sum(self.b) - 1),
            (2, weighted(c) - 1 / 2),
            (3, weighted([ci**2 for ci in c]) - 1 / 3),
            (3, weighted(ac) - 1 / 6),
            (4, weighted([ci**3 for ci in c]) - 1 / 4),
            (4, weighted([ci * x for ci, x in zip(c, ac, strict=True)]) - 1 / 8),
            (4, weighted(acc) - 1 / 12),
            (4, weighted(aac) - 1 / 24),
        ]


#   | 0
# --+--
#   | 1
EULER = Tableau("euler", 1, ((),), (1.0,))

#       | 0    0
#   1/2 | 1/2  0
# ------+-------
#       | 0    1
MIDPOINT = Tableau("midpoint", 2, ((), (1 / 2,)), (0.0, 1.0))

#     | 0    0
#   1 | 1    0
# ----+--------
#     | 1/2  1/2
HEUN = Tableau("heun", 2, ((), (1.0,)), (1 / 2, 1 / 2))

#       | 0    0    0    0
#   1/2 | 1/2  0    0    0
#   1/2 | 0    1/2  0    0
#   1   | 0    0    1    0
# ------+------------------
#       | 1/6  1/3  1/3  1/6
RK4 = Tableau("rk4", 4, ((), (1 / 2,), (0.0, 1 / 2), (0.0, 0.0, 1.0)), (1 / 6, 1 / 3, 1 / 3, 1 / 6))

#: the schemes by their names
TABLEAUS: dict[str, Tableau] = {t.name: t for t in (EULER, MIDPOINT, HEUN, RK4)}


def get_tableau(integrator: str | Tableau) -> Tableau:
    """The tableau of a name, or the tableau itself.

    Parameters
    ----------
    integrator : {"euler", "midpoint", "heun", "rk4"} or Tableau
        The scheme.

    Returns
    -------
    Tableau
        The scheme as data.

    Raises
    ------
    ValueError
        If the name is unknown.

    Examples
    --------
    >>> from skcode.flow import get_tableau
    >>> get_tableau("rk4").order
    4
    """
    if isinstance(integrator, Tableau):
        return integrator
    if integrator not in TABLEAUS:
        raise ValueError(f"integrator={integrator!r} must be one of {sorted(TABLEAUS)}.")
    return TABLEAUS[integrator]


def runge_kutta(
    a: Sequence[Sequence[float]] | FloatArray,
    b: Sequence[float] | FloatArray,
    slopes: Slopes,
    *parts: FloatArray,
) -> tuple[FloatArray, ...]:
    r"""What one step of an explicit scheme adds to a state that consists of one or more arrays.

    .. math:: k_i = h V\Big(x + \sum_{j < i} a_{ij} k_j\Big), \qquad \sum_i b_i k_i

    The one place where stages are combined, but for `Sweep`, which does it in buffers of its own,
    and the export to ONNX, which writes the same sums as nodes of a graph (`_combined` in
    ``export/_estimators.py``).
    A state in parts is, for instance, points together with derivatives of the flow at them.

    Parameters
    ----------
    a : sequence of sequence of float
        The matrix of the scheme; of row i the first i entries are read.
    b : sequence of float
        The weights.
    slopes : callable
        Maps arrays of the shapes of `parts` to a tuple of h times their velocities.
    *parts : ndarray
        The state at the beginning of the step.

    Returns
    -------
    tuple of ndarray
        The increments, in double precision unless the scheme is Euler's.

    Examples
    --------
    One step of Heun's method for x' = x:

    >>> import numpy as np
    >>> from skcode.flow import get_tableau, runge_kutta
    >>> heun, h = get_tableau("heun"), 0.1
    >>> runge_kutta(heun.a, heun.b, lambda x: (h * x,), np.ones(1))
    (array([0.105]),)
    """
    n_stages = len(b)
    first = slopes(*parts)
    if n_stages == 1 and b[0] == 1:
        return first
    ks = [np.empty((n_stages, part.size)) for part in parts]
    for i in range(n_stages):
        if i:
            row = np.asarray(a[i][:i])
            points = [
                (part + (row @ k[:i]).reshape(part.shape)).astype(part.dtype, copy=False)
                for part, k in zip(parts, ks, strict=True)
            ]
        for k, value in zip(ks, slopes(*points) if i else first, strict=True):
            k[i] = value.ravel()
    weights = np.asarray(b)
    return tuple((weights @ k).reshape(part.shape) for part, k in zip(parts, ks, strict=True))
