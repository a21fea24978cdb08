"""Flows of several drawn fields at the same points, in one array: predictions of few rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import DTypeLike

from skcode.fields import DrawnFields
from skcode.flow._tableau import Tableau, runge_kutta
from skcode.utils._typing import FloatArray, Velocities


class BatchedFlows:
    """Flows of fields of one kind, each with controls of its own, one step an interval.

    Few samples cost calls, not arithmetic, and one call serves all flows. Nothing is kept between
    calls, so that threads may share it.

    Parameters
    ----------
    velocities : list of callables
        For each interval the map of x (E, m + 1, n) to the increments (E, m, n).
    tableau : Tableau
        The scheme.
    n_flows : int
        The number E.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.fields import LinearFields
    >>> from skcode.flow import BatchedFlows, flow, get_tableau
    >>> fields = [LinearFields().draw(2, 3, rng=seed) for seed in (0, 1)]
    >>> x, u = np.ones((5, 2)), [np.ones((4, 3)), np.zeros((4, 3))]
    >>> ends = BatchedFlows.of(fields, get_tableau("heun"), u, float)(x)
    >>> np.allclose(ends[0].T, flow(fields[0], x, u[0], "heun")), np.array_equal(ends[1].T, x)
    (True, True)
    """

    def __init__(self, velocities: list[Velocities], tableau: Tableau, n_flows: int):
        self.velocities = velocities
        self.tableau = tableau
        self.n_flows = n_flows

    @classmethod
    def of(
        cls,
        fields: Sequence[DrawnFields],
        tableau: Tableau,
        controls: Sequence[FloatArray],
        dtype: DTypeLike,
    ) -> BatchedFlows | None:
        """The flows of fields under controls (M, d); None where they have to flow one by one."""
        if len({(type(f), f.n_fields, u.shape) for f, u in zip(fields, controls, strict=True)}) > 1:
            return None
        bind = type(fields[0]).batched(fields)
        if bind is None:
            return None
        steps = [(u / len(u)).astype(dtype) for u in controls]
        M = len(steps[0])
        bounds = [
            [f.bind_interval(u[t], t, M) for f, u in zip(fields, steps, strict=True)]
            for t in range(M)
        ]
        return cls([bind(bound) for bound in bounds], tableau, len(fields))

    def __call__(self, x0: FloatArray) -> FloatArray:
        """X_1 (E, m, n) from rows x0 (n, m)."""
        x = np.empty((self.n_flows, x0.shape[1], x0.shape[0]), x0.dtype)
        x[...] = x0.T
        point = np.ones((self.n_flows, x.shape[1] + 1, x.shape[2]), x.dtype)
        for velocities in self.velocities:

            def slopes(y: FloatArray, velocities: Velocities = velocities) -> tuple[FloatArray]:
                point[:, :-1] = y
                return (velocities(point),)

            x += runge_kutta(self.tableau.a, self.tableau.b, slopes, x)[0]
        return x
