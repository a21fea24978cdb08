"""The sweeps of one block of samples: forward, adjoint, Jacobian and tangent, for every tableau.

In units of increments: controls are multiplied by the step size h once, so that the stages are
k_i = h V_u(X_i), X_i = x + sum_j a_ij k_j and x' = x + sum_i b_i k_i. With p the adjoint of x',
going back through the stages,

    kappa_i = b_i p + sum_{j > i} a_ji xi_j,   xi_i = (h DV_u(X_i))^T kappa_i,   p <- p + sum_i xi_i

and the control of field l gathers h <kappa_i, V_l(X_i)>.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from skcode.fields import DrawnFields, FieldKernel
from skcode.flow._tableau import Tableau
from skcode.utils._blocks import odd_block
from skcode.utils._typing import FloatArray

#: bytes of tapes of one block that are kept between the sweeps. Beyond, tapes are recomputed: that
#: costs a forward step for each step back, and keeping more takes memory in every thread
_TAPE_BYTES = 32 * 2**20
#: bytes of the arrays of one step, which sets the size of blocks. Larger blocks fall out of the
#: caches, and smaller ones save less in memory traffic than their calls from Python cost
_CACHE_BYTES = 4 * 2**20
#: what the sweep back does in a stage, given bound, x, tape, adjoint, x_bar and the interval
_Pull = Callable[[Any, FloatArray, Any, FloatArray, FloatArray | None, int], None]


def block_size(fields: DrawnFields, dtype: DTypeLike) -> int:
    """Number of samples in a block: from the shapes and the cache, never from n_jobs.

    Parameters
    ----------
    fields : DrawnFields
        Drawn fields.
    dtype : dtype
        Of the states.

    Returns
    -------
    int
        A power of two and 32, up to 2080.

    Examples
    --------
    >>> from skcode.fields import LinearFields
    >>> from skcode.flow import block_size
    >>> block_size(LinearFields().draw(2, 2, rng=0), float)
    2080
    """
    floats = 2 * fields.tape_width + 3 * fields.n_states
    n = _CACHE_BYTES // (floats * np.dtype(dtype).itemsize)
    return odd_block(int(np.clip(2 ** int(np.log2(max(n, 1))), 64, 2048)))


class Sweep:
    """Buffers and sweeps for blocks of n samples; reused from block to block, one thread at a time.

    Parameters
    ----------
    fields : DrawnFields
        The drawn fields, of the dtype of the computation.
    tableau : Tableau
        The scheme.
    n_intervals : int
        The number M of intervals of the controls.
    n_steps : int
        Steps in each interval.
    n : int
        Samples in a block.
    dtype : dtype
        Of all buffers.
    lead : tuple of int
        () for one adjoint, (K,) for K adjoints at once (`jacobian`).

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.fields import LinearFields
    >>> from skcode.flow import Sweep, flow, get_tableau
    >>> fields = LinearFields().draw(n_states=2, n_fields=3, rng=0)
    >>> sweep = Sweep(fields, get_tableau("heun"), 4, 1, 5, np.dtype(float))
    >>> x, u = np.ones((5, 2)), np.ones((4, 3))
    >>> np.array_equal(sweep.forward(u, x).T, flow(fields, x, u, "heun"))
    True
    """

    def __init__(
        self,
        fields: DrawnFields,
        tableau: Tableau,
        n_intervals: int,
        n_steps: int,
        n: int,
        dtype: DTypeLike,
        lead: tuple[int, ...] = (),
    ):
        self.fields = fields
        self.tableau = tableau
        self.n_intervals = n_intervals
        self.n_steps = n_steps
        self.shape = (fields.n_states, n)
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self.lead = lead
        #: the states that fields move: the colours of an image are most of its states, and stay
        self.moving = slice(fields.n_still, fields.n_states)
        self.kernel = fields.kernel(n, dtype, lead)
        self._bound: list[Any] = []
        self._key: tuple[np.dtype[Any], bytes] | None = None
        self._state: FloatArray | None = None
        #: the states between steps, from the first `forward` on
        self._states: FloatArray | None = None
        self._stages = np.empty((tableau.n_stages, *self.shape), self.dtype)
        self._scratch = np.empty(self.shape, self.dtype)
        n_tapes = self.n_total_steps * tableau.n_stages
        tape_bytes = n_tapes * (fields.tape_width + fields.n_states) * n * self.dtype.itemsize
        self.keeps_tapes = tape_bytes <= _TAPE_BYTES
        self._records: list[_Record] | None = None

    @property
    def n_total_steps(self) -> int:
        return self.n_intervals * self.n_steps

    # -- forward ---------------------------------------------------------------------------------

    def propagate(self, controls: FloatArray, x0: FloatArray) -> FloatArray:
        """X_1 (m, n) from rows x0 (n, m), keeping nothing: the sweep of predictions."""
        self._bind(controls)
        if self._state is None:
            self._state = np.ones((self.shape[0] + 1, self.shape[1]), self.dtype)
            self._recycled = self._new_record()
        x = self._state
        x[:-1] = x0.T
        with np.errstate(over="ignore"):
            for step in range(self.n_total_steps):
                self._step(self._bound[step // self.n_steps], x, x, self._recycled)
        return x[:-1]

    def forward(self, controls: FloatArray, x0: FloatArray) -> FloatArray:
        """X_1 (m, n) from rows x0 (n, m); a view into the states that the adjoint reads."""
        self._bind(controls)
        if self._states is None:
            shape = (self.n_total_steps + 1, self.shape[0] + 1, self.shape[1])
            self._states = np.ones(shape, self.dtype)
            n_records = self.n_total_steps if self.keeps_tapes else 1
            self._records = [self._new_record() for _ in range(n_records)]
        self._states[0, :-1] = x0.T
        self._states[1:, : self.moving.start] = self._states[0, : self.moving.start]
        # saturated activations overflow on the way, and explosions are the caller's to see
        with np.errstate(over="ignore"):
            for step in range(self.n_total_steps):
                bound = self._bound[step // self.n_steps]
                self._step(bound, self._states[step], self._states[step + 1], self._record(step))
        return self._states[-1, :-1]

    @property
    def states(self) -> FloatArray:
        """States at the step ends (steps + 1, m, n) of the last `forward`."""
        assert self._states is not None
        return self._states[:, :-1]

    def _bind(self, controls: FloatArray) -> None:
        # bytes are compared faster than numbers, and that is all that a repeated call does here
        key = (controls.dtype, controls.tobytes())
        if key != self._key:
            scaled = (controls / self.n_total_steps).astype(self.dtype)
            self._bound = self._bind_rows(scaled)
            self._key = key

    def _bind_rows(self, controls: FloatArray) -> list[Any]:
        M = self.n_intervals
        return [self.fields.bind_interval(u, t, M) for t, u in enumerate(controls)]

    def _new_record(self) -> _Record:
        return _Record(self.kernel, self.tableau.n_stages, self.shape, self.dtype)

    def _record(self, step: int) -> _Record:
        assert self._records is not None
        return self._records[step if self.keeps_tapes else 0]

    def _step(self, bound: Any, x: FloatArray, x_next: FloatArray, record: _Record) -> None:
        """One step of the scheme; the stage states and tapes stay in the record."""
        k = self._stages
        record.points[0] = x
        if self.tableau.b == (1,):
            # Euler's scheme, without the calls that the others make
            self.kernel.forward(bound, x, k[0], record.tapes[0])
            np.add(x[self.moving], k[0, self.moving], out=x_next[self.moving])
            return

        def slope(i: int) -> None:
            self.kernel.forward(bound, record.points[i], k[i], record.tapes[i])

        self._advance([point[:-1] for point in record.points], k, slope, x_next[:-1])

    def _advance(
        self,
        points: Sequence[FloatArray],
        k: FloatArray,
        slope: Callable[[int], None],
        out: FloatArray,
    ) -> None:
        """One step of the scheme, in place: `runge_kutta` without an allocation.

        Stage i moves points[i], which slope(i) turns into k[i]; points[0] is the state itself.
        """
        for i, row in enumerate(self.tableau.a):
            if i:
                self._combine(points[0], row, k, points[i])
            slope(i)
        self._combine(points[0], self.tableau.b, k, out)

    def _combine(
        self, x: FloatArray, weights: tuple[float, ...], k: FloatArray, out: FloatArray
    ) -> None:
        """Out = x + sum_j weights_j k_j."""
        start = x
        for weight, kj in zip(weights, k, strict=False):
            if weight == 0:
                continue
            term = kj if weight == 1 else np.multiply(kj, weight, out=self._scratch)
            np.add(start, term, out=out)
            start = out
        if start is x and out is not x:
            out[...] = x

    # -- adjoint ---------------------------------------------------------------------------------

    def adjoint(
        self, p: FloatArray, u_bar: FloatArray, wants_start: bool = True
    ) -> FloatArray | None:
        """Sweep p = dL/dX_1 (m, n) back: adds dL/du to u_bar (M, d), returns dL/dX_0 if wanted."""
        h = 1.0 / self.n_total_steps
        total = np.zeros_like(u_bar)

        def pull(
            bound: Any,
            x: FloatArray,
            tape: Any,
            adjoint: FloatArray,
            x_bar: FloatArray | None,
            t: int,
        ) -> None:
            self.kernel.pullback(bound, x, tape, adjoint, x_bar, total[t])

        start = self._sweep_back(p, pull, wants_start)
        u_bar += h * total
        return start

    def jacobian(self, p: FloatArray, u_rows: FloatArray) -> None:
        """Sweep K adjoints p (K, m, n) back: writes the rows sample by sample to (M, K, d, n).

        Adjoints that are the same for all samples may come as a view with stride zero.
        """
        h = self.dtype.type(1.0 / self.n_total_steps)
        p = np.broadcast_to(h * p[..., :1], p.shape) if p.strides[-1] == 0 else h * p
        written: set[int] = set()
        scratch = np.empty(0, self.dtype)

        def pull(
            bound: Any,
            x: FloatArray,
            tape: Any,
            adjoint: FloatArray,
            x_bar: FloatArray | None,
            t: int,
        ) -> None:
            nonlocal scratch
            if t not in written:
                written.add(t)
                self.kernel.rows(bound, x, tape, adjoint, x_bar, u_rows[t])
                return
            if not scratch.size:
                scratch = np.empty(u_rows.shape[1:], self.dtype)
            self.kernel.rows(bound, x, tape, adjoint, x_bar, scratch)
            u_rows[t] += scratch

        self._sweep_back(p, pull, wants_start=False)

    def _sweep_back(self, p: FloatArray, pull: _Pull, wants_start: bool) -> FloatArray | None:
        """Take adjoints p of X_1 back through all stages; those of X_0, if wanted.

        `BatchedFields._adjoint_step` of the geometry does not share this: it keeps the adjoints of
        all stages, as matrices, and this one hands each to `pull` and uses its memory again.
        """
        shape = self.lead + self.shape
        p = np.asarray(p, dtype=self.dtype)
        tableau = self.tableau
        xi = np.empty((tableau.n_stages, *shape), self.dtype)
        # adjoints of states that never move drive nothing, and matter at the start alone
        rows = np.s_[..., slice(None) if wants_start else self.moving, :]
        kappa = np.empty(shape, self.dtype)
        for step in reversed(range(self.n_total_steps)):
            t = step // self.n_steps
            bound, record = self._bound[t], self._record(step)
            if not self.keeps_tapes:
                self._replay(step)
            for i in reversed(range(tableau.n_stages)):
                weight = tableau.b[i]
                adjoint = p if weight == 1 else np.multiply(p, weight, out=kappa)
                for j in range(i + 1, tableau.n_stages):
                    if tableau.a[j][i]:
                        adjoint = np.add(adjoint, tableau.a[j][i] * xi[j], out=kappa)
                last = step == 0 and i == 0 and not wants_start
                x_bar = None if last else xi[i]
                pull(bound, record.points[i], record.tapes[i], adjoint, x_bar, t)
                if last:
                    return None
            if step == self.n_total_steps - 1:
                p = p.copy()
            for each in xi:
                p[rows] += each[rows]
        return p

    def _replay(self, step: int) -> None:
        """Recompute the stage states and tapes of a step whose tapes were not kept."""
        assert self._states is not None
        bound, record = self._bound[step // self.n_steps], self._record(step)
        with np.errstate(over="ignore"):
            self._step(bound, self._states[step], np.empty_like(self._states[step]), record)

    # -- tangent ---------------------------------------------------------------------------------

    def tangent(self, du: FloatArray, dx: FloatArray) -> FloatArray:
        """Push (du (M, d), dX_0 (m, n)) forward along the last `forward`: returns dX_1 (m, n)."""
        h = 1.0 / self.n_total_steps
        bound_du = self._bind_rows((h * du).astype(self.dtype))
        dx = np.array(dx, dtype=self.dtype)
        dk = np.empty_like(self._stages)
        # later stages may share an array: each is used up before the next one begins
        points = [dx] + [np.empty(self.shape, self.dtype)] * (self.tableau.n_stages - 1)
        for step in range(self.n_total_steps):
            t = step // self.n_steps
            record = self._record(step)
            if not self.keeps_tapes:
                self._replay(step)

            def slope(i: int, t: int = t, record: _Record = record) -> None:
                self.kernel.pushforward(
                    self._bound[t], record.points[i], record.tapes[i], points[i], bound_du[t], dk[i]
                )

            self._advance(points, dk, slope, dx)
        return dx


class _Record:
    """Stage states and tapes of one step."""

    def __init__(
        self, kernel: FieldKernel[Any, Any], n_stages: int, shape: tuple[int, int], dtype: DTypeLike
    ):
        self.tapes = [kernel.new_tape() for _ in range(n_stages)]
        # the first stage state is the state itself, which the step puts there
        self.points = [np.empty((shape[0] + 1, 0), dtype)] + [
            np.ones((shape[0] + 1, shape[1]), dtype) for _ in range(n_stages - 1)
        ]
