"""Sums of drawn fields (the same controls) and stacks of them (more controls)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Self

import autograd.numpy as anp
import numpy as np
from numpy.typing import DTypeLike
from scipy import sparse

from skcode.fields._drawn import Batched, DrawnFields, Kernel
from skcode.utils._typing import FloatArray, Traced, Velocities

#: fills an array with the share of one part; None where only other results are wanted
_Write = Callable[[FloatArray | None], None]


class _CompositeKernel(Kernel):
    """Sum of the values of two kernels; `slices` says which controls each of them reads."""

    def __init__(
        self, kernels: list[Kernel], slices: list[slice], shape: tuple[int, ...], dtype: DTypeLike
    ):
        self.kernels = kernels
        self.slices = slices
        self.scratch = np.empty(shape, dtype)
        self.sample_scratch = self.scratch.reshape((-1, *shape[-2:]))[0]

    def new_tape(self) -> list[Any]:
        return [kernel.new_tape() for kernel in self.kernels]

    def _accumulate(self, out: FloatArray | None, scratch: FloatArray, calls: list[_Write]) -> None:
        """Out = sum of what the calls write; the first writes to out itself."""
        if out is None:
            for call in calls:
                call(None)
            return
        calls[0](out)
        for call in calls[1:]:
            call(scratch)
            out += scratch

    def forward(self, bound: list[Any], x: FloatArray, v: FloatArray, tape: list[Any]) -> None:
        self.kernels[0].forward(bound[0], x, v, tape[0])
        for i in range(1, len(self.kernels)):
            self.kernels[i].forward(bound[i], x, self.sample_scratch, tape[i])
            v += self.sample_scratch

    def pullback(
        self,
        bound: list[Any],
        x: FloatArray,
        tape: list[Any],
        p: FloatArray,
        x_bar: FloatArray | None,
        u_bar: FloatArray,
    ) -> None:
        def call(k: Kernel, b: Any, t: Any, s: slice) -> _Write:
            return lambda out: k.pullback(b, x, t, p, out, u_bar[s])

        parts = zip(self.kernels, bound, tape, self.slices, strict=True)
        self._accumulate(x_bar, self.scratch, [call(*part) for part in parts])

    def rows(
        self,
        bound: list[Any],
        x: FloatArray,
        tape: list[Any],
        p: FloatArray,
        x_bar: FloatArray | None,
        u_rows: FloatArray,
    ) -> None:
        shared = self.slices[0] == self.slices[-1]

        def call(k: Kernel, b: Any, t: Any, s: slice, first: bool) -> _Write:
            def write(out: FloatArray | None) -> None:
                if first or not shared:
                    k.rows(b, x, t, p, out, u_rows[..., s, :])
                else:
                    mine = np.empty_like(u_rows)
                    k.rows(b, x, t, p, out, mine)
                    np.add(u_rows, mine, out=u_rows)

            return write

        parts = zip(self.kernels, bound, tape, self.slices, strict=True)
        calls = [call(k, b, t, s, i == 0) for i, (k, b, t, s) in enumerate(parts)]
        self._accumulate(x_bar, self.scratch, calls)

    def pushforward(
        self,
        bound: list[Any],
        x: FloatArray,
        tape: list[Any],
        dx: FloatArray,
        bound_du: list[Any],
        dv: FloatArray,
    ) -> None:
        self._accumulate(
            dv,
            self.scratch,
            [
                partial(k.pushforward, b, x, t, dx, db)
                for k, b, t, db in zip(self.kernels, bound, tape, bound_du, strict=True)
            ],
        )


class _DrawnComposite(DrawnFields):
    """What sums and stacks share: parts, and the controls that each part reads."""

    def __init__(self, parts: list[DrawnFields]):
        if len({part.n_states for part in parts}) != 1:
            raise ValueError(
                "Fields that are combined must share n_states; got "
                f"{[part.n_states for part in parts]}."
            )
        self.parts = parts
        self.n_states = parts[0].n_states

    @property
    @abstractmethod
    def slices(self) -> list[slice]:
        """The controls that each part reads."""

    @property
    def observation(self) -> sparse.csr_array | None:
        limited = [part.observation for part in self.parts if part.observation is not None]
        return limited[0] if limited else None

    def astype(self, dtype: DTypeLike) -> Self:
        return type(self)([part.astype(dtype) for part in self.parts])

    def bind(self, u: FloatArray) -> list[Any]:
        return [part.bind(u[s]) for part, s in zip(self.parts, self.slices, strict=True)]

    @classmethod
    def batched(cls, fields: Sequence[Self]) -> Batched | None:
        binds: list[Batched] = []
        for parts in zip(*(f.parts for f in fields), strict=True):
            alike = len({(type(part), part.n_fields) for part in parts}) == 1
            bind_part = type(parts[0]).batched(parts) if alike else None
            if bind_part is None:
                return None
            binds.append(bind_part)

        def bind(bounds: Sequence[list[Any]]) -> Velocities:
            of_parts = zip(binds, zip(*bounds, strict=True), strict=True)
            first, *others = [bind(bound) for bind, bound in of_parts]

            def velocities(x: FloatArray) -> FloatArray:
                v: FloatArray = first(x)
                for other in others:
                    v += other(x)
                return v

            return velocities

        return bind

    def kernel(self, n: int, dtype: DTypeLike, lead: tuple[int, ...] = ()) -> _CompositeKernel:
        kernels = [part.kernel(n, dtype, lead) for part in self.parts]
        return _CompositeKernel(kernels, self.slices, lead + (self.n_states, n), dtype)

    @property
    def tape_width(self) -> int:
        return sum(part.tape_width for part in self.parts)


class DrawnSum(_DrawnComposite):
    """Drawn fields V_i = sum over parts of V_i^part, driven by the same control.

    Parameters
    ----------
    parts : list of DrawnFields
        Fields on the same states; each part has the same number of them.

    Raises
    ------
    ValueError
        If the parts differ in their states or in their number of fields.

    Examples
    --------
    >>> from skcode.fields import LinearFields, DrawnSum
    >>> parts = [LinearFields().draw(2, 3, rng=seed) for seed in (0, 1)]
    >>> DrawnSum(parts).n_fields
    3
    """

    def __init__(self, parts: list[DrawnFields]):
        super().__init__(parts)
        if len({part.n_fields for part in parts}) != 1:
            raise ValueError(
                "Fields that are added must share their number; got "
                f"{[part.n_fields for part in parts]}."
            )
        self.n_fields = parts[0].n_fields

    @property
    def slices(self) -> list[slice]:
        return [slice(None)] * len(self.parts)

    @property
    def labels(self) -> list[str]:
        return [" + ".join(group) for group in zip(*(p.labels for p in self.parts), strict=True)]

    def value(self, x: Traced) -> Traced:
        return sum(part.value(x) for part in self.parts)


class DrawnStack(_DrawnComposite):
    """Drawn fields (V^first, V^second, ...), each with a control of its own.

    Parameters
    ----------
    parts : list of DrawnFields
        Fields on the same states.

    Raises
    ------
    ValueError
        If the parts differ in their states.

    Examples
    --------
    >>> from skcode.fields import LinearFields, DrawnStack
    >>> parts = [LinearFields().draw(2, 3, rng=seed) for seed in (0, 1)]
    >>> DrawnStack(parts).n_fields
    6
    """

    def __init__(self, parts: list[DrawnFields]):
        super().__init__(parts)
        self.n_fields = sum(part.n_fields for part in parts)

    @property
    def slices(self) -> list[slice]:
        stops = np.cumsum([part.n_fields for part in self.parts])
        return [
            slice(int(stop) - part.n_fields, int(stop))
            for part, stop in zip(self.parts, stops, strict=True)
        ]

    @property
    def labels(self) -> list[str]:
        return [label for part in self.parts for label in part.labels]

    @property
    def start_scale(self) -> FloatArray:
        return np.concatenate([part.start_scale for part in self.parts])

    def value(self, x: Traced) -> Traced:
        return anp.concatenate([part.value(x) for part in self.parts], axis=1)
