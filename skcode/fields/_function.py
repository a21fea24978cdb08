"""Fields given by the user's own functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import autograd.numpy as anp
import numpy as np
from autograd import make_jvp, make_vjp

from skcode.fields._family import FieldFamily
from skcode.fields._fields import Fields, Kernel
from skcode.utils._tracing import tracing


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

    def __init__(self, functions: Sequence[Callable]):
        self.functions = functions

    def count(self, n_fields, n_inputs):
        return len(self.functions)

    def _draw(self, n_states, n_fields, rng, n_inputs, reference):
        if not n_fields:
            raise ValueError("functions must hold at least one callable.")
        drawn = FunctionDrawn(tuple(self.functions), n_states)
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


class FunctionDrawn(Fields):
    """Fields V_i = functions[i]."""

    def __init__(self, functions: tuple[Callable, ...], n_states: int):
        self.functions = functions
        self.n_fields = len(functions)
        self.n_states = n_states

    @property
    def labels(self):
        return [f"function[{i}]" for i in range(self.n_fields)]

    @property
    def tape_width(self):
        return self.n_fields * self.n_states

    def value(self, x):
        return anp.stack([function(x) for function in self.functions], axis=1)

    def astype(self, dtype):
        return self

    def bind(self, u):
        return u

    def kernel(self, n, dtype, lead=()):
        return _FunctionKernel(self)


class _FunctionKernel(Kernel):
    def __init__(self, fields: FunctionDrawn):
        self.fields = fields

    def new_tape(self):
        return None

    def _value(self, x):
        """V (d, n, m) at feature-major x (m + 1, n)."""
        return np.swapaxes(self.fields.value(x[:-1].T), 0, 1)

    def forward(self, bound, x, v, tape):
        v[...] = np.tensordot(bound, self._value(x), axes=1).T

    def pullback(self, bound, x, tape, p, x_bar, u_bar):
        u_bar += np.einsum("inm,mn->i", self._value(x), p)
        if x_bar is not None:
            self._pull_state(bound, x, p, x_bar)

    def rows(self, bound, x, tape, p, x_bar, u_rows):
        np.einsum("inm,...mn->...in", self._value(x), p, out=u_rows)
        if x_bar is not None:
            self._pull_state(bound, x, p, x_bar)

    def _combined(self, bound):
        def combined(x):
            return sum(u * f(x) for u, f in zip(bound, self.fields.functions, strict=True))

        return combined

    def _pull_state(self, bound, x, p, x_bar):
        with tracing():
            vjp, _ = make_vjp(self._combined(bound))(x[:-1].T)
            for index in np.ndindex(p.shape[:-2]):
                x_bar[index] = vjp(p[index].T).T

    def pushforward(self, bound, x, tape, dx, bound_du, dv):
        with tracing():
            _, tangent = make_jvp(self._combined(bound))(x[:-1].T)(dx.T)
        dv[...] = tangent.T
        dv += np.tensordot(bound_du, self._value(x), axes=1).T
