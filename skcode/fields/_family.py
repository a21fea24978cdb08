"""Families: specifications of laws of random vector fields; their sums and stacks.

A sum drives fields of two families by the same controls, a stack gives each its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from numbers import Integral
from typing import Any, Self, overload

import autograd.numpy as anp
import numpy as np
from numpy.typing import DTypeLike
from scipy import sparse
from sklearn.base import BaseEstimator

from skcode.fields._drawn import Batched, DrawnFields, FieldKernel
from skcode.utils._doc_link import DocLinkMixin
from skcode.utils._random import RandomSource, as_generator
from skcode.utils._sklearn import validate_parameters
from skcode.utils._typing import BoolArray, FloatArray, Traced, Velocities


class FieldFamily(DocLinkMixin, BaseEstimator, ABC):
    """Specification of a law of random vector fields.

    A family holds hyper-parameters only, so that it can be cloned and searched
    (``vector_fields__scale``). `draw` turns it into `DrawnFields`, which hold arrays only.

    ``a + b`` adds fields pairwise: the same controls drive both. ``a | b`` stacks them: each family
    has controls of its own.

    Examples
    --------
    >>> from skcode.fields import NeuralFields
    >>> family = NeuralFields(rank=1)
    >>> family.set_params(scale=2.0).draw(n_states=3, n_fields=4, rng=0).n_fields
    4
    """

    #: whether the inputs are pixels of an image
    of_images: bool = False
    #: what `draw` checks of the parameters, as scikit-learn's estimators do
    _parameter_constraints: dict[str, list[Any]] = {}

    def draw(
        self,
        n_states: int,
        n_fields: int | None = None,
        rng: RandomSource = None,
        *,
        n_inputs: int | None = None,
        reference: FloatArray | None = None,
    ) -> DrawnFields:
        """Draw V_1..V_d on R^m.

        Parameters
        ----------
        n_states : int
            Dimension m of the state.
        n_fields : int or None
            Number of fields d, for families whose number is free. Families with a number of their
            own (diagonal, universal, functions) draw that number whatever is asked.
        rng : numpy Generator, RandomState, int or None
            Source of randomness.
        n_inputs : int or None
            Number p of leading state coordinates that carry the inputs; None means all m.
        reference : ndarray of shape (n, p) or None
            Scaled inputs, for families that place fields where the data lie.

        Returns
        -------
        DrawnFields
            Immutable drawn fields.

        Raises
        ------
        ValueError
            If the numbers contradict each other or the family, or a parameter is out of its range.
        """
        validate_parameters(self)
        n_inputs = n_states if n_inputs is None else n_inputs
        if not 1 <= n_inputs <= n_states:
            raise ValueError(f"n_inputs={n_inputs} must lie between 1 and n_states={n_states}.")
        d = self.count(n_fields, n_inputs)
        return self._draw(n_states, d, as_generator(rng), n_inputs, reference)

    def count(self, n_fields: int | None, n_inputs: int) -> int:
        """Number of fields that `draw` returns for this request."""
        if not isinstance(n_fields, Integral) or n_fields < 1:
            raise ValueError(f"{type(self).__name__} needs n_fields >= 1; got {n_fields!r}.")
        return int(n_fields)

    @abstractmethod
    def _draw(
        self,
        n_states: int,
        n_fields: int,
        rng: np.random.Generator,
        n_inputs: int,
        reference: FloatArray | None,
    ) -> DrawnFields:
        """Draw exactly n_fields fields; the arguments are checked."""

    def __add__(self, other: FieldFamily) -> SumFields:
        return SumFields(self, other) if isinstance(other, FieldFamily) else NotImplemented

    def __or__(self, other: FieldFamily) -> StackFields:
        return StackFields(self, other) if isinstance(other, FieldFamily) else NotImplemented


class SumFields(FieldFamily):
    r"""``first + second``: one control drives a field of each, as one field.

    .. math:: V_i = V_i^{\mathrm{first}} + V_i^{\mathrm{second}}

    Parameters
    ----------
    first, second : FieldFamily
        Families that draw the same number of fields.

    Examples
    --------
    >>> from skcode.fields import LinearFields, NeuralFields
    >>> (LinearFields() + NeuralFields()).draw(3, 4, rng=0).n_fields
    4
    """

    _parameter_constraints = {"first": [FieldFamily], "second": [FieldFamily]}

    def __init__(self, first: FieldFamily, second: FieldFamily):
        self.first = first
        self.second = second

    @property
    def of_images(self) -> bool:  # type: ignore[override]
        return self.first.of_images or self.second.of_images

    def count(self, n_fields: int | None, n_inputs: int) -> int:
        counts = {family.count(n_fields, n_inputs) for family in (self.first, self.second)}
        if len(counts) != 1:
            raise ValueError(
                "Families that are added must draw the same number of fields; "
                f"got {sorted(counts)}."
            )
        return counts.pop()

    def _draw(
        self,
        n_states: int,
        n_fields: int,
        rng: np.random.Generator,
        n_inputs: int,
        reference: FloatArray | None,
    ) -> DrawnSum:
        return DrawnSum(
            [
                family.draw(n_states, n_fields, rng, n_inputs=n_inputs, reference=reference)
                for family in (self.first, self.second)
            ]
        )


class StackFields(FieldFamily):
    """``first | second``: the fields of both families side by side, each with its own control.

    ``n_fields`` is asked of every family whose number is free; ``count`` is the sum.

    Parameters
    ----------
    first, second : FieldFamily
        The two families.

    Examples
    --------
    >>> from skcode.fields import DiagonalFields, NeuralFields
    >>> fields = (DiagonalFields() | NeuralFields(rank=1)).draw(2, 3, rng=0)
    >>> fields.labels
    ['diagonal[0]', 'diagonal[1]', 'neural[0]', 'neural[1]', 'neural[2]']
    """

    _parameter_constraints = {"first": [FieldFamily], "second": [FieldFamily]}

    def __init__(self, first: FieldFamily, second: FieldFamily):
        self.first = first
        self.second = second

    @property
    def of_images(self) -> bool:  # type: ignore[override]
        return self.first.of_images or self.second.of_images

    def count(self, n_fields: int | None, n_inputs: int) -> int:
        return self.first.count(n_fields, n_inputs) + self.second.count(n_fields, n_inputs)

    def draw(
        self,
        n_states: int,
        n_fields: int | None = None,
        rng: RandomSource = None,
        *,
        n_inputs: int | None = None,
        reference: FloatArray | None = None,
    ) -> DrawnStack:
        validate_parameters(self)
        rng = as_generator(rng)
        return DrawnStack(
            [
                family.draw(n_states, n_fields, rng, n_inputs=n_inputs, reference=reference)
                for family in (self.first, self.second)
            ]
        )

    def _draw(
        self,
        n_states: int,
        n_fields: int,
        rng: np.random.Generator,
        n_inputs: int,
        reference: FloatArray | None,
    ) -> DrawnStack:
        return self.draw(n_states, n_fields, rng, n_inputs=n_inputs, reference=reference)


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

    def bind_interval(self, u: FloatArray, interval: int, n_intervals: int) -> list[Any]:
        return [
            part.bind_interval(u[s], interval, n_intervals)
            for part, s in zip(self.parts, self.slices, strict=True)
        ]

    def acts(self, n_intervals: int) -> BoolArray | None:
        windows = [part.acts(n_intervals) for part in self.parts]
        if all(window is None for window in windows):
            return None
        # fields that are added act where one of them does
        acts = np.zeros((n_intervals, self.n_fields), dtype=bool)
        for window, s in zip(windows, self.slices, strict=True):
            acts[:, s] |= True if window is None else window
        return acts

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


class _CompositeKernel(FieldKernel[list[Any], list[Any]]):
    """Sum of the values of several kernels; `slices` says which controls each of them reads."""

    def __init__(
        self,
        kernels: list[FieldKernel[Any, Any]],
        slices: list[slice],
        shape: tuple[int, ...],
        dtype: DTypeLike,
    ):
        self.kernels = kernels
        self.slices = slices
        self.scratch = np.empty(shape, dtype)

    def new_tape(self) -> list[Any]:
        return [kernel.new_tape() for kernel in self.kernels]

    @overload
    def _shares(self, out: FloatArray) -> Iterator[tuple[int, FloatArray]]: ...

    @overload
    def _shares(self, out: None) -> Iterator[tuple[int, None]]: ...

    def _shares(self, out: FloatArray | None) -> Iterator[tuple[int, FloatArray | None]]:
        """For each part, the array that it has to fill; what it filled is added to `out`.

        The first part fills `out` itself. None goes to all parts where nobody needs `out`.
        """
        if out is None:
            yield from ((i, None) for i in range(len(self.kernels)))
            return
        yield 0, out
        # the memory has room for several adjoints of each sample; values take less
        scratch = self.scratch.reshape(-1)[: out.size].reshape(out.shape)
        for i in range(1, len(self.kernels)):
            yield i, scratch
            out += scratch

    def forward(self, bound: list[Any], x: FloatArray, v: FloatArray, tape: list[Any]) -> None:
        for i, share in self._shares(v):
            self.kernels[i].forward(bound[i], x, share, tape[i])

    def pullback(
        self,
        bound: list[Any],
        x: FloatArray,
        tape: list[Any],
        p: FloatArray,
        x_bar: FloatArray | None,
        u_bar: FloatArray,
    ) -> None:
        # the default would not call the pullbacks of the parts, which are faster than their rows
        for i, share in self._shares(x_bar):
            self.kernels[i].pullback(bound[i], x, tape[i], p, share, u_bar[self.slices[i]])

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
        for i, share in self._shares(x_bar):
            mine = np.empty_like(u_rows) if shared and i else u_rows[..., self.slices[i], :]
            self.kernels[i].rows(bound[i], x, tape[i], p, share, mine)
            if shared and i:
                u_rows += mine

    def pushforward(
        self,
        bound: list[Any],
        x: FloatArray,
        tape: list[Any],
        dx: FloatArray,
        bound_du: list[Any],
        dv: FloatArray,
    ) -> None:
        for i, share in self._shares(dv):
            self.kernels[i].pushforward(bound[i], x, tape[i], dx, bound_du[i], share)
