"""Fields given by the user's own functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import autograd.numpy as anp
import numpy as np
from autograd import make_jvp, make_vjp
from numpy.typing import DTypeLike

from skcode.fields._drawn import DrawnFields, FieldKernel
from skcode.fields._family import FieldFamily
from skcode.utils._tracing import tracing
from skcode.utils._typing import FloatArray, Traced

#: takes states (N, m) to vectors (N, m), written in ``autograd.numpy``
Function = Callable[[Traced], Traced]


class FunctionFields(FieldFamily):
    """Fields given by callables: general, differentiated by autograd, slower than the others.

    Parameters
    ----------
    functions : sequence of callable
        Each takes states (N, m) and returns V_i at each of them, (N, m). It is written in
        ``autograd.numpy`` and treats rows independently.

    Examples
    --------
    >>> import autograd.numpy as np
    >>> from skcode.fields import FunctionFields
    >>> rotation = lambda x: np.stack([-x[:, 1], x[:, 0]], axis=1)
    >>> FunctionFields([rotation]).draw(n_states=2).value(np.array([[1.0, 0.0]]))
    array([[[-0.,  1.]]])
    """

    _parameter_constraints = {
        "functions": ["array-like"],
    }

    def __init__(self, functions: Sequence[Function]):
        self.functions = functions

    def count(self, n_fields: int | None, n_inputs: int) -> int:
        return len(self.functions)

    def _draw(
        self,
        n_states: int,
        n_fields: int,
        rng: np.random.Generator,
        n_inputs: int,
        reference: FloatArray | None,
    ) -> DrawnFunction:
        if not n_fields:
            raise ValueError("functions must hold at least one callable.")
        drawn = DrawnFunction(tuple(self.functions), n_states)
        probe = np.full((2, n_states), 0.5)
        for i, function in enumerate(drawn.functions):
            if not callable(function):
                raise ValueError(f"functions[{i}]={function!r} must be callable.")
            shape = np.shape(function(probe))
            if shape != probe.shape:
                raise ValueError(
                    f"functions[{i}] must map states (N, {n_states}) to (N, {n_states}); "
                    f"it returned shape {shape} for {probe.shape}."
                )
        return drawn


class DrawnFunction(DrawnFields):
    """Fields that are functions, V_i = functions[i].

    Parameters
    ----------
    functions : tuple of callable
        Each takes states (N, m) to vectors (N, m).
    n_states : int
        Dimension m of the state.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.fields import DrawnFunction
    >>> DrawnFunction((np.negative,), n_states=2).value(np.array([[1.0, 2.0]]))
    array([[[-1., -2.]]])
    """

    def __init__(self, functions: tuple[Function, ...], n_states: int):
        self.functions = functions
        self.n_fields = len(functions)
        self.n_states = n_states

    @property
    def labels(self) -> list[str]:
        return [f"function[{i}]" for i in range(self.n_fields)]

    @property
    def tape_width(self) -> int:
        return self.n_fields * self.n_states

    def value(self, x: Traced) -> Traced:
        return anp.stack([function(x) for function in self.functions], axis=1)

    def astype(self, dtype: DTypeLike) -> DrawnFunction:
        return self

    def bind(self, u: FloatArray) -> FloatArray:
        return u

    def kernel(self, n: int, dtype: DTypeLike, lead: tuple[int, ...] = ()) -> _FunctionKernel:
        return _FunctionKernel(self)


class _FunctionKernel(FieldKernel[FloatArray, None]):
    def __init__(self, fields: DrawnFunction):
        self.fields = fields

    def new_tape(self) -> None:
        return None

    def _value(self, x: FloatArray) -> FloatArray:
        """V (d, n, m) at feature-major x (m + 1, n)."""
        return np.swapaxes(self.fields.value(x[:-1].T), 0, 1)

    def forward(self, bound: FloatArray, x: FloatArray, v: FloatArray, tape: None) -> None:
        v[...] = np.tensordot(bound, self._value(x), axes=1).T

    def rows(
        self,
        bound: FloatArray,
        x: FloatArray,
        tape: None,
        p: FloatArray,
        x_bar: FloatArray | None,
        u_rows: FloatArray,
    ) -> None:
        np.einsum("inm,...mn->...in", self._value(x), p, out=u_rows)
        if x_bar is not None:
            self._pull_state(bound, x, p, x_bar)

    def _combined(self, bound: FloatArray) -> Function:
        def combined(x: Traced) -> Traced:
            return sum(u * f(x) for u, f in zip(bound, self.fields.functions, strict=True))

        return combined

    def _pull_state(
        self, bound: FloatArray, x: FloatArray, p: FloatArray, x_bar: FloatArray
    ) -> None:
        with tracing():
            vjp, _ = make_vjp(self._combined(bound))(x[:-1].T)
            for index in np.ndindex(p.shape[:-2]):
                x_bar[index] = vjp(p[index].T).T

    def pushforward(
        self,
        bound: FloatArray,
        x: FloatArray,
        tape: None,
        dx: FloatArray,
        bound_du: FloatArray,
        dv: FloatArray,
    ) -> None:
        with tracing():
            _, tangent = make_jvp(self._combined(bound))(x[:-1].T)(dx.T)
        dv[...] = tangent.T
        dv += np.tensordot(bound_du, self._value(x), axes=1).T
