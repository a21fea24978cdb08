"""Drawn vector fields and the kernels that evaluate them on blocks of samples."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Generic, Self, TypeAlias, TypeVar

import numpy as np
from numpy.typing import ArrayLike, DTypeLike
from scipy import sparse

from skcode.utils._typing import BoolArray, FloatArray, Traced, Velocities

#: what `DrawnFields.bind` makes of one row of controls; the kernel alone looks inside
Bound = TypeVar("Bound")
#: what `FieldKernel.new_tape` makes, for the derivatives; the kernel alone looks inside
Tape = TypeVar("Tape")
#: what `DrawnFields.batched` makes: takes what `bind` made of the controls of each
Batched: TypeAlias = Callable[[Sequence[Any]], Velocities]


def homogeneous(x: FloatArray, dtype: DTypeLike | None = None) -> FloatArray:
    """Rows of samples as a feature-major block with a last row of ones.

    Parameters
    ----------
    x : ndarray of shape (N, m)
        States, one sample a row.
    dtype : dtype or None
        Of the block; None is that of x.

    Returns
    -------
    ndarray of shape (m + 1, N)
        The block.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.fields import homogeneous
    >>> homogeneous(np.array([[2.0, 3.0]]))
    array([[2.],
           [3.],
           [1.]])
    """
    block = np.empty((x.shape[1] + 1, x.shape[0]), dtype=dtype or x.dtype)
    block[:-1] = x.T
    block[-1] = 1
    return block


class FieldKernel(ABC, Generic[Bound, Tape]):
    """The fields on one block of n samples: V_u = sum_i u^i V_i and its derivatives.

    A kernel writes `forward`, `rows` and `pushforward`; `pullback` follows from `rows`, and is
    written too where the sum over the samples comes cheaper than its terms.

    Blocks are feature-major, so that one GEMM serves all fields and all samples, and states carry a
    last row of ones (homogeneous coordinates), so that biases are part of that GEMM.

    A kernel owns scratch memory and is not shared between threads. ``bound``, of the kernel's own
    type Bound, is what `DrawnFields.bind` made of one row of controls; ``tape``, of its type Tape,
    is what `forward` wrote at the point of the derivative. ``lead`` is a shape of leading axes, ()
    for one adjoint for each sample and (K,) for K of them at once.

    Shapes: x (m + 1, n); v, dx, dv (m, n); p, x_bar lead + (m, n).

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.fields import LinearFields, homogeneous
    >>> fields = LinearFields().draw(n_states=2, n_fields=3, rng=0)
    >>> kernel, u, v = fields.kernel(5, float), np.ones(3), np.empty((2, 5))
    >>> kernel.forward(fields.bind(u), homogeneous(np.ones((5, 2))), v, kernel.new_tape())
    >>> np.allclose(v.T, fields.combine(np.ones((5, 2)), u))
    True
    """

    @abstractmethod
    def new_tape(self) -> Tape:
        """Memory in which `forward` leaves what the derivatives at the same point need."""

    @abstractmethod
    def forward(self, bound: Bound, x: FloatArray, v: FloatArray, tape: Tape) -> None:
        """Compute v = V_u(x)."""

    @abstractmethod
    def rows(
        self,
        bound: Bound,
        x: FloatArray,
        tape: Tape,
        p: FloatArray,
        x_bar: FloatArray | None,
        u_rows: FloatArray,
    ) -> None:
        """Compute x_bar = DV_u(x)^T p and u_rows lead + (d, n) = <p_n, V_i(x_n)>, row by row.

        Where nobody needs x_bar it is None.
        """

    def pullback(
        self,
        bound: Bound,
        x: FloatArray,
        tape: Tape,
        p: FloatArray,
        x_bar: FloatArray | None,
        u_bar: FloatArray,
    ) -> None:
        """Compute x_bar = DV_u(x)^T p and u_bar (d,) += sum_n <p_n, V_i(x_n)>; lead is ().

        Where nobody needs x_bar it is None.
        """
        u_rows = np.empty((len(u_bar), x.shape[-1]), x.dtype)
        self.rows(bound, x, tape, p, x_bar, u_rows)
        u_bar += u_rows.sum(axis=-1)

    @abstractmethod
    def pushforward(
        self,
        bound: Bound,
        x: FloatArray,
        tape: Tape,
        dx: FloatArray,
        bound_du: Bound,
        dv: FloatArray,
    ) -> None:
        """Compute dv = DV_u(x) dx + V_du(x); lead is ()."""


class DrawnFields(ABC):
    """Drawn vector fields V_1..V_d on R^m: immutable, picklable, arrays only.

    `value` is the definition. `combine`, `pullback` and `pushforward` are the same mathematics
    through the blocked kernels, which the flow uses.

    Attributes
    ----------
    n_states : int
        Dimension m of the state.
    n_fields : int
        Number of fields d.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.fields import LinearFields
    >>> fields = LinearFields().draw(n_states=2, n_fields=3, rng=0)
    >>> x, u = np.ones((5, 2)), np.array([1.0, 0.0, -1.0])
    >>> np.allclose(fields.combine(x, u), fields.value(x)[:, 0] - fields.value(x)[:, 2])
    True
    """

    n_states: int
    n_fields: int

    @abstractmethod
    def value(self, x: Traced) -> Traced:
        """V_i(x_n) for rows x (N, m) as an array (N, d, m), traceable by autograd."""

    @property
    @abstractmethod
    def labels(self) -> list[str]:
        """One label for each field; a common prefix names the family."""

    @property
    def start_scale(self) -> FloatArray:
        """Standard deviations (d,) of the controls from which training starts."""
        return np.full(self.n_fields, 0.3 / np.sqrt(self.n_fields))

    def acts(self, n_intervals: int) -> BoolArray | None:
        """Where fields act, (M, d); None for everywhere.

        Outside of its window of time a field is zero, and its control is no trained number.
        """
        return None

    @property
    def n_still(self) -> int:
        """First states that no field moves, such as the pixels of an image: the flow skips them."""
        return 0

    @property
    def observation(self) -> sparse.csr_array | None:
        """Sparse matrix (q, m) of what a linear readout reads of the state; None for all of it."""
        return None

    @abstractmethod
    def astype(self, dtype: DTypeLike) -> DrawnFields:
        """The same fields with arrays of another float type."""

    @abstractmethod
    def bind(self, u: FloatArray) -> object:
        """Contract one row of controls u (d,) with the coefficients, for use by kernels.

        Whoever calls it hands the result on and does not look inside.
        """

    def bind_interval(self, u: FloatArray, interval: int, n_intervals: int) -> object:
        """`bind` for one of M intervals: fields that do not act there are zero."""
        return self.bind(u)

    @abstractmethod
    def kernel(self, n: int, dtype: DTypeLike, lead: tuple[int, ...] = ()) -> FieldKernel[Any, Any]:
        """A kernel for blocks of n samples."""

    @classmethod
    def batched(cls, fields: Sequence[Self]) -> Batched | None:
        """E drawn fields of this class, shape and number, evaluated by one call on E blocks.

        The function returned takes what `bind` made of the controls of each, and gives the function
        that takes x (E, m + 1, n) to V_u(x) (E, m, n), number e by ``fields[e]``. None says that
        these fields have no such function; they are then evaluated one after another.
        """
        return None

    @property
    @abstractmethod
    def tape_width(self) -> int:
        """Floats for each sample that a tape holds; sets block sizes and the storing rule."""

    def combine(self, x: ArrayLike, u: ArrayLike) -> FloatArray:
        """V_u(x) = sum_i u^i V_i(x) for rows x (N, m) and u (d,), as (N, m)."""
        x, u = self._check(x, u)
        kernel, v, block = self._block(x)
        self._forward(kernel, self.bind(u), block, v, kernel.new_tape())
        return v.T.copy()

    def pullback(self, x: ArrayLike, u: ArrayLike, p: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Vector-Jacobian products (DV_u(x)^T p, sum_n <p_n, V_i(x_n)>): (N, m) and (d,)."""
        x, u = self._check(x, u)
        kernel, v, block = self._block(x)
        bound, tape, u_bar = self.bind(u), kernel.new_tape(), np.zeros(self.n_fields, x.dtype)
        x_bar = np.empty_like(v)
        self._forward(kernel, bound, block, v, tape)
        p = np.ascontiguousarray(np.asarray(p, dtype=x.dtype).T)
        kernel.pullback(bound, block, tape, p, x_bar, u_bar)
        return x_bar.T.copy(), u_bar

    def pushforward(
        self, x: ArrayLike, u: ArrayLike, dx: ArrayLike, du: ArrayLike | None = None
    ) -> FloatArray:
        """Jacobian-vector product DV_u(x) dx + V_du(x), as (N, m)."""
        x, u = self._check(x, u)
        du = np.zeros_like(u) if du is None else np.asarray(du, dtype=u.dtype)
        kernel, v, block = self._block(x)
        bound, tape, dv = self.bind(u), kernel.new_tape(), np.empty_like(v)
        self._forward(kernel, bound, block, v, tape)
        dx = np.ascontiguousarray(np.asarray(dx, dtype=x.dtype).T)
        kernel.pushforward(bound, block, tape, dx, self.bind(du), dv)
        return dv.T.copy()

    def _check(self, x: ArrayLike, u: ArrayLike) -> tuple[FloatArray, FloatArray]:
        x = np.asarray(x)
        x = x.astype(np.result_type(x.dtype, np.float32), copy=False)
        if x.ndim != 2 or x.shape[1] != self.n_states:
            raise ValueError(f"x must have shape (N, {self.n_states}); got {x.shape}.")
        u = np.asarray(u, dtype=x.dtype)
        if u.shape != (self.n_fields,):
            raise ValueError(f"u must have shape ({self.n_fields},); got {u.shape}.")
        return x, u

    def _block(self, x: FloatArray) -> tuple[FieldKernel[Any, Any], FloatArray, FloatArray]:
        block = homogeneous(x)
        return self.kernel(len(x), x.dtype), np.empty((self.n_states, len(x)), x.dtype), block

    def _forward(
        self,
        kernel: FieldKernel[Bound, Tape],
        bound: Bound,
        x: FloatArray,
        v: FloatArray,
        tape: Tape,
    ) -> None:
        # saturated activations overflow on the way to their limit
        with np.errstate(over="ignore"):
            kernel.forward(bound, x, v, tape)
