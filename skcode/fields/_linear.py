"""Linear and affine fields, and diagonal fields (one for each input)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from numbers import Real

import autograd.numpy as anp
import numpy as np
from numpy.typing import DTypeLike

from skcode.fields._drawn import Batched, DrawnFields, FieldKernel
from skcode.fields._family import FieldFamily
from skcode.utils._sklearn import Interval
from skcode.utils._typing import FloatArray, Traced, Velocities


class LinearFields(FieldFamily):
    r"""Random linear fields :math:`V_i(x) = A_i x`.

    Parameters
    ----------
    scale : float
        The matrices have normal entries of standard deviation ``scale / sqrt(m)``.

    Examples
    --------
    >>> from skcode.fields import LinearFields
    >>> LinearFields().draw(n_states=3, n_fields=2, rng=0).matrices.shape
    (2, 3, 4)
    """

    _parameter_constraints = {
        "scale": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(self, scale: float = 1.0):
        self.scale = scale

    def _draw(
        self,
        n_states: int,
        n_fields: int,
        rng: np.random.Generator,
        n_inputs: int,
        reference: FloatArray | None,
    ) -> DrawnAffine:
        matrices = np.zeros((n_fields, n_states, n_states + 1))
        normal = rng.standard_normal((n_fields, n_states, n_states))
        matrices[:, :, :-1] = normal * (self.scale / np.sqrt(n_states))
        return DrawnAffine(matrices, "linear")


class AffineFields(FieldFamily):
    r"""Random affine fields :math:`V_i(x) = A_i x + b_i`.

    Parameters
    ----------
    scale : float
        The matrices have normal entries of standard deviation ``scale / sqrt(m)``.
    bias_scale : float
        Standard deviation of the entries of :math:`b_i`.

    Examples
    --------
    >>> from skcode.fields import AffineFields
    >>> AffineFields().draw(n_states=3, n_fields=2, rng=0).matrices.shape
    (2, 3, 4)
    """

    _parameter_constraints = {
        "scale": [Interval(Real, 0, None, closed="left")],
        "bias_scale": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(self, scale: float = 1.0, bias_scale: float = 1.0):
        self.scale = scale
        self.bias_scale = bias_scale

    def _draw(
        self,
        n_states: int,
        n_fields: int,
        rng: np.random.Generator,
        n_inputs: int,
        reference: FloatArray | None,
    ) -> DrawnAffine:
        matrices = rng.standard_normal((n_fields, n_states, n_states + 1))
        matrices[:, :, :-1] *= self.scale / np.sqrt(n_states)
        matrices[:, :, -1] *= self.bias_scale
        return DrawnAffine(matrices, "affine")


class DrawnAffine(DrawnFields):
    """Drawn affine fields; linear ones have zero bias.

    Parameters
    ----------
    matrices : ndarray of shape (d, m, m + 1)
        The matrices A_i with the bias b_i in the last column.
    name : str
        Prefix of the labels.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.fields import DrawnAffine
    >>> rotation = DrawnAffine(np.array([[[0.0, -1.0, 0.0], [1.0, 0.0, 0.0]]]), "rotation")
    >>> rotation.value(np.array([[1.0, 0.0]]))
    array([[[0., 1.]]])
    """

    def __init__(self, matrices: FloatArray, name: str = "affine"):
        self.matrices = matrices
        self.name = name
        self.n_fields, self.n_states, _ = matrices.shape

    @property
    def labels(self) -> list[str]:
        return [f"{self.name}[{i}]" for i in range(self.n_fields)]

    @property
    def tape_width(self) -> int:
        return 0

    def value(self, x: Traced) -> Traced:
        A = self.matrices[:, :, :-1].reshape(-1, self.n_states)
        flat = anp.dot(x, A.T) + self.matrices[:, :, -1].reshape(-1)
        return anp.reshape(flat, (-1, self.n_fields, self.n_states))

    def astype(self, dtype: DTypeLike) -> DrawnAffine:
        return DrawnAffine(self.matrices.astype(dtype), self.name)

    def bind(self, u: FloatArray) -> FloatArray:
        d, m, _ = self.matrices.shape
        return (u @ self.matrices.reshape(d, -1)).reshape(m, m + 1)

    @classmethod
    def batched(cls, fields: Sequence[DrawnAffine]) -> Batched:
        return lambda bounds: partial(np.matmul, np.stack(bounds))

    def kernel(self, n: int, dtype: DTypeLike, lead: tuple[int, ...] = ()) -> _AffineKernel:
        return _AffineKernel(self)


class _AffineKernel(FieldKernel[FloatArray, None]):
    """One m x m matrix an interval, whatever the number of fields."""

    def __init__(self, fields: DrawnAffine):
        self.matrices = fields.matrices

    def new_tape(self) -> None:
        return None

    def forward(self, bound: FloatArray, x: FloatArray, v: FloatArray, tape: None) -> None:
        np.matmul(bound, x, out=v)

    def pullback(
        self,
        bound: FloatArray,
        x: FloatArray,
        tape: None,
        p: FloatArray,
        x_bar: FloatArray | None,
        u_bar: FloatArray,
    ) -> None:
        # 15 times as fast as the default (16 states, 32 fields): one product in place of d
        u_bar += self.matrices.reshape(len(self.matrices), -1) @ (p @ x.T).reshape(-1)
        if x_bar is not None:
            np.matmul(bound[:, :-1].T, p, out=x_bar)

    def rows(
        self,
        bound: FloatArray,
        x: FloatArray,
        tape: None,
        p: FloatArray,
        x_bar: FloatArray | None,
        u_rows: FloatArray,
    ) -> None:
        np.einsum("imn,...mn->...in", self.matrices @ x, p, out=u_rows)
        if x_bar is not None:
            np.matmul(bound[:, :-1].T, p, out=x_bar)

    def pushforward(
        self,
        bound: FloatArray,
        x: FloatArray,
        tape: None,
        dx: FloatArray,
        bound_du: FloatArray,
        dv: FloatArray,
    ) -> None:
        np.matmul(bound[:, :-1], dx, out=dv)
        dv += bound_du @ x


class DiagonalFields(FieldFamily):
    r"""One field for each input, :math:`V_j(x) = x_j e_j`: inputs are stretched and shrunk.

    The control of :math:`x_j e_j` stretches input j where it is positive and shrinks it where it is
    negative, so that inputs that matter weigh more in what the other fields read. The number of
    fields is the number p of inputs, whatever ``n_fields`` asks.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.fields import DiagonalFields
    >>> DiagonalFields().draw(n_states=2).value(np.array([[3.0, 4.0]]))
    array([[[3., 0.],
            [0., 4.]]])
    """

    def count(self, n_fields: int | None, n_inputs: int) -> int:
        return n_inputs

    def _draw(
        self,
        n_states: int,
        n_fields: int,
        rng: np.random.Generator,
        n_inputs: int,
        reference: FloatArray | None,
    ) -> DrawnDiagonal:
        return DrawnDiagonal(n_fields, n_states)


class DrawnDiagonal(DrawnFields):
    """Drawn diagonal fields x_j e_j for the first coordinates j.

    Parameters
    ----------
    n_fields : int
        The number of fields, and of coordinates that have one.
    n_states : int
        Dimension m of the state.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.fields import DrawnDiagonal
    >>> DrawnDiagonal(n_fields=1, n_states=2).value(np.array([[3.0, 4.0]]))
    array([[[3., 0.]]])
    """

    def __init__(self, n_fields: int, n_states: int):
        self.n_fields = n_fields
        self.n_states = n_states

    @property
    def labels(self) -> list[str]:
        return [f"diagonal[{i}]" for i in range(self.n_fields)]

    @property
    def start_scale(self) -> FloatArray:
        # training starts where no input is stretched or shrunk
        return np.zeros(self.n_fields)

    @property
    def tape_width(self) -> int:
        return 0

    def value(self, x: Traced) -> Traced:
        unit = np.eye(self.n_fields, self.n_states)
        return x[:, : self.n_fields, None] * unit[None].astype(x.dtype)

    def astype(self, dtype: DTypeLike) -> DrawnDiagonal:
        return self

    def bind(self, u: FloatArray) -> FloatArray:
        return u[:, None]

    @classmethod
    def batched(cls, fields: Sequence[DrawnDiagonal]) -> Batched:
        rest = fields[0].n_states - fields[0].n_fields

        def bind(bounds: Sequence[FloatArray]) -> Velocities:
            # coordinates without a field do not move
            u = np.pad(np.stack(bounds), ((0, 0), (0, rest), (0, 0)))
            return lambda x: u * x[:, :-1]

        return bind

    def kernel(self, n: int, dtype: DTypeLike, lead: tuple[int, ...] = ()) -> _DiagonalKernel:
        return _DiagonalKernel(self.n_fields)


class _DiagonalKernel(FieldKernel[FloatArray, None]):
    def __init__(self, n_fields: int):
        self.d = n_fields

    def new_tape(self) -> None:
        return None

    def forward(self, bound: FloatArray, x: FloatArray, v: FloatArray, tape: None) -> None:
        np.multiply(bound, x[: self.d], out=v[: self.d])
        v[self.d :] = 0

    def pullback(
        self,
        bound: FloatArray,
        x: FloatArray,
        tape: None,
        p: FloatArray,
        x_bar: FloatArray | None,
        u_bar: FloatArray,
    ) -> None:
        # 1.2 to 1.4 times as fast as the default: no row of products is written
        u_bar += np.einsum("in,in->i", x[: self.d], p[: self.d])
        if x_bar is not None:
            self._pull_state(bound, p, x_bar)

    def rows(
        self,
        bound: FloatArray,
        x: FloatArray,
        tape: None,
        p: FloatArray,
        x_bar: FloatArray | None,
        u_rows: FloatArray,
    ) -> None:
        np.multiply(x[: self.d], p[..., : self.d, :], out=u_rows)
        if x_bar is not None:
            self._pull_state(bound, p, x_bar)

    def _pull_state(self, bound: FloatArray, p: FloatArray, x_bar: FloatArray) -> None:
        np.multiply(bound, p[..., : self.d, :], out=x_bar[..., : self.d, :])
        x_bar[..., self.d :, :] = 0

    def pushforward(
        self,
        bound: FloatArray,
        x: FloatArray,
        tape: None,
        dx: FloatArray,
        bound_du: FloatArray,
        dv: FloatArray,
    ) -> None:
        np.multiply(bound, dx[: self.d], out=dv[: self.d])
        dv[: self.d] += bound_du * x[: self.d]
        dv[self.d :] = 0
