"""Single vector fields: polynomial ones by their coefficients, all others as functions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from functools import singledispatch
from typing import Protocol, TypeAlias, TypeGuard

import autograd.numpy as anp
import numpy as np
from autograd import make_jvp

from skcode.fields import (
    DrawnAffine,
    DrawnDiagonal,
    DrawnFields,
    DrawnNeural,
    DrawnPolynomial,
    DrawnStack,
    DrawnSum,
    PolynomialActivation,
)
from skcode.utils._tracing import tracing
from skcode.utils._typing import Array, Traced

#: a monomial as the sorted indices of its variables: () is 1, (0, 0, 2) is x_0^2 x_2
Exponent = tuple[int, ...]


class VectorField(ABC):
    """One vector field on R^m: a map of rows (N, m) to rows (N, m), traceable by autograd.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.geometry import VectorField
    >>> class Rotation(VectorField):
    ...     def __call__(self, x):
    ...         return x @ np.array([[0.0, 1.0], [-1.0, 0.0]])
    >>> Rotation()(np.array([[1.0, 0.0]]))
    array([[0., 1.]])
    """

    @abstractmethod
    def __call__(self, x: Traced) -> Traced:
        """V(x_n) for rows x (N, m)."""


class PolynomialField(VectorField):
    r"""The field :math:`V(x) = \sum_\alpha c_\alpha x^\alpha`, given by its coefficients.

    Parameters
    ----------
    terms : mapping of tuple to ndarray of shape (m,)
        Coefficient vector of each monomial; a monomial is the sorted tuple of the indices of its
        variables. The entries are floats, or `fractions.Fraction` in arrays of objects.
    n_states : int
        The number m of variables.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.geometry import PolynomialField
    >>> shear = PolynomialField({(1, 1): np.array([1.0, 0.0])}, n_states=2)
    >>> shear(np.array([[0.0, 3.0]]))
    array([[9., 0.]])
    """

    def __init__(self, terms: Mapping[Exponent, Array], n_states: int):
        self.terms = {alpha: c for alpha, c in terms.items() if np.any(c != 0)}
        self.n_states = n_states

    @property
    def degree(self) -> int:
        """The largest degree of a term; -1 for the field zero."""
        return max((len(alpha) for alpha in self.terms), default=-1)

    def __call__(self, x: Traced) -> Traced:
        value = anp.zeros((x.shape[0], self.n_states)) + 0.0 * x
        for alpha, c in self.terms.items():
            monomial = 1.0
            for j in alpha:
                monomial = monomial * x[:, j : j + 1]
            value = value + monomial * np.asarray(c, dtype=float)
        return value

    def rational(self) -> PolynomialField:
        """The same field with `fractions.Fraction` coefficients (every float is a fraction)."""
        return PolynomialField(
            {a: np.array([Fraction(v) for v in c], dtype=object) for a, c in self.terms.items()},
            self.n_states,
        )

    def absolute(self) -> PolynomialField:
        """The field of absolute coefficients, which bounds rounding errors."""
        return PolynomialField({a: abs(c) for a, c in self.terms.items()}, self.n_states)

    def derivative_along(self, V: PolynomialField) -> PolynomialField:
        """DW V, the derivative of this field W along V."""
        total: dict[Exponent, Array] = {}
        for alpha, c in self.terms.items():
            for j in set(alpha):
                rest = list(alpha)
                rest.remove(j)
                for beta, b in V.terms.items():
                    if b[j] != 0:
                        gamma = tuple(sorted((*rest, *beta)))
                        total[gamma] = total.get(gamma, 0) + c * (alpha.count(j) * b[j])
        return PolynomialField(total, self.n_states)

    def _combine(self, other: PolynomialField, sign: int) -> PolynomialField:
        total = dict(self.terms)
        for alpha, c in other.terms.items():
            total[alpha] = total.get(alpha, 0) + sign * c
        return PolynomialField(total, self.n_states)

    def __add__(self, other: PolynomialField) -> PolynomialField:
        return self._combine(other, 1)

    def __sub__(self, other: PolynomialField) -> PolynomialField:
        return self._combine(other, -1)


class FunctionField(VectorField):
    """A field given by a function of rows (N, m), written in ``autograd.numpy``."""

    def __init__(self, function: Callable[[Traced], Traced]):
        self.function = function

    def __call__(self, x: Traced) -> Traced:
        return self.function(x)


class BracketField(VectorField):
    """[V, W] = DW V - DV W by forward mode; nested brackets nest the forward modes."""

    def __init__(self, V: VectorField, W: VectorField):
        self.V = V
        self.W = W

    def __call__(self, x: Traced) -> Traced:
        along_v, along_w = self.parts(x)
        return along_v - along_w

    def parts(self, x: Traced) -> tuple[Traced, Traced]:
        """The two terms (DW V, DV W), whose sizes tell how much the bracket cancels."""
        with tracing():
            v, w = self.V(x), self.W(x)
            return make_jvp(self.W)(x)(v)[1], make_jvp(self.V)(x)(w)[1]


class _Component:
    """Field i of drawn fields, as a function of rows."""

    def __init__(self, fields: DrawnFields, i: int):
        self.fields = fields
        self.i = i

    def __call__(self, x: Traced) -> Traced:
        return self.fields.value(x)[:, self.i, :]


class Fitted(Protocol):
    """An estimator after its fit."""

    @property
    def vector_fields_(self) -> DrawnFields | Sequence[DrawnFields]: ...


#: one vector field: itself, a square matrix, a callable of rows, or drawn fields with d = 1
FieldLike: TypeAlias = VectorField | Array | Callable[[Traced], Traced] | DrawnFields
#: several: drawn fields, those of a fitted estimator, or fields one by one
FieldsLike: TypeAlias = FieldLike | Fitted | Iterable[FieldLike]


def as_vector_field(V: FieldLike) -> VectorField:
    """One vector field from a VectorField, a matrix, a callable, or drawn fields with d = 1.

    Raises
    ------
    ValueError
        If drawn fields hold more than one field, or a matrix is not square.
    TypeError
        If it is none of these.
    """
    if isinstance(V, VectorField):
        return V
    if isinstance(V, np.ndarray):
        if V.ndim != 2 or V.shape[0] != V.shape[1]:
            raise ValueError(f"A linear field is a square matrix; got shape {V.shape}.")
        return PolynomialField({(j,): V[:, j] for j in range(len(V))}, len(V))
    if isinstance(V, DrawnFields):
        if V.n_fields != 1:
            raise ValueError(
                f"Expected one field, got {V.n_fields}: use skcode.geometry.vector_fields(fields)."
            )
        return vector_fields(V)[0]
    if callable(V):
        return FunctionField(V)
    raise TypeError(f"Expected a vector field or a callable; got {type(V).__name__}.")


def drawn_fields(fields: FieldsLike) -> FieldsLike:
    """The fields of a fitted estimator; anything else as it is."""
    drawn = getattr(fields, "vector_fields_", fields)
    if drawn is not fields and isinstance(drawn, Sequence):
        raise ValueError(
            f"The estimator has {len(drawn)} members, each with fields of its own: pass one of "
            "its vector_fields_, or fit with n_members=1."
        )
    return drawn


def vector_fields(fields: FieldsLike) -> list[VectorField]:
    """The single fields V_1..V_d of drawn fields, a fitted estimator or a sequence.

    Linear, affine and polynomial fields come with their coefficients, others as functions.

    Parameters
    ----------
    fields : DrawnFields, fitted estimator, or sequence of fields, matrices and callables
        An estimator is read through its attribute ``vector_fields_``.

    Returns
    -------
    list of VectorField
        Callables of rows (N, m).

    Raises
    ------
    ValueError
        If there is no field, or the estimator has several members with fields of their own.
    TypeError
        If it is none of these.

    Examples
    --------
    >>> from skcode.fields import UniversalFields
    >>> from skcode.geometry import vector_fields
    >>> [V.degree for V in vector_fields(UniversalFields().draw(3, rng=0))]
    [1, 1, 0, 2, 2]
    """
    fields = drawn_fields(fields)
    if isinstance(fields, DrawnFields):
        polynomials = _polynomials(fields)
        if polynomials is not None:
            return [PolynomialField(terms, fields.n_states) for terms in polynomials]
        return [FunctionField(_Component(fields, i)) for i in range(fields.n_fields)]
    if isinstance(fields, Iterable) and not isinstance(fields, np.ndarray | str):
        if not (Vs := [as_vector_field(V) for V in fields]):
            raise ValueError("fields must hold at least one vector field.")
        return Vs
    if isinstance(fields, VectorField) or callable(fields):
        return [as_vector_field(fields)]
    raise TypeError(
        "fields must be drawn fields, a fitted estimator or a sequence of fields; "
        f"got {type(fields).__name__}."
    )


def all_polynomial(Vs: list[VectorField]) -> TypeGuard[list[PolynomialField]]:
    """Whether all fields are polynomial."""
    return all(isinstance(V, PolynomialField) for V in Vs)


@singledispatch
def _polynomials(fields: DrawnFields) -> list[dict[Exponent, Array]] | None:
    """Terms of each field where all are polynomials, else None."""
    return None


@_polynomials.register
def _(fields: DrawnPolynomial) -> list[dict[Exponent, Array]] | None:
    exponents = fields.monomials.exponents
    return [dict(zip(exponents, c.T, strict=True)) for c in fields.coefficients]


@_polynomials.register
def _(fields: DrawnAffine) -> list[dict[Exponent, Array]] | None:
    exponents = [*[(j,) for j in range(fields.n_states)], ()]
    return [dict(zip(exponents, A.T, strict=True)) for A in fields.matrices]


@_polynomials.register
def _(fields: DrawnDiagonal) -> list[dict[Exponent, Array]] | None:
    unit = np.eye(fields.n_fields, fields.n_states)
    return [{(j,): unit[j]} for j in range(fields.n_fields)]


@_polynomials.register
def _(fields: DrawnStack) -> list[dict[Exponent, Array]] | None:
    parts = [_polynomials(part) for part in fields.parts]
    known = [part for part in parts if part is not None]
    return [terms for part in known for terms in part] if len(known) == len(parts) else None


@_polynomials.register
def _(fields: DrawnSum) -> list[dict[Exponent, Array]] | None:
    parts = [_polynomials(part) for part in fields.parts]
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    sums = []
    for group in zip(*known, strict=True):
        total = PolynomialField({}, fields.n_states)
        for terms in group:
            total = total + PolynomialField(terms, fields.n_states)
        sums.append(total.terms)
    return sums


@_polynomials.register
def _(fields: DrawnNeural) -> list[dict[Exponent, Array]] | None:
    """B_i sigma_i(A_i x + b_i) with polynomial sigma_i, expanded."""
    if not isinstance(fields.activation, PolynomialActivation):
        return None
    m, r = fields.n_states, fields.rank
    c = fields.activation.coefficients[:, :, 0]
    B = np.tile(np.eye(m), fields.n_fields) if fields.B is None else fields.B
    result = []
    for i in range(fields.n_fields):
        terms: dict[Exponent, Array] = {}
        for row in range(i * r, (i + 1) * r):
            line: dict[Exponent, float] = {(): fields.A[row, m]}
            line |= {(j,): fields.A[row, j] for j in range(m)}
            for alpha, value in _compose(c[:, row], line).items():
                terms[alpha] = terms.get(alpha, 0) + value * B[:, row]
        result.append(terms)
    return result


def _compose(c: Array, line: dict[Exponent, float]) -> dict[Exponent, float]:
    """Sum_k c_k line^k for a scalar polynomial `line`, by Horner's rule."""
    s: dict[Exponent, float] = {(): c[-1]}
    for ck in c[-2::-1]:
        product: dict[Exponent, float] = {}
        for alpha, a in s.items():
            for beta, b in line.items():
                gamma = tuple(sorted((*alpha, *beta)))
                product[gamma] = product.get(gamma, 0) + a * b
        product[()] = product.get((), 0) + ck
        s = product
    return s
