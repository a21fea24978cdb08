"""Do given fields generate all polynomial fields up to a degree? Proved in a prime field."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations_with_replacement

import numpy as np

from skcode.fields import DrawnFields, UniversalFields
from skcode.geometry._checks import check_count
from skcode.geometry.brackets._bracket import lie_bracket
from skcode.geometry.brackets._vector_field import (
    FieldsLike,
    PolynomialField,
    VectorField,
    vector_fields,
)
from skcode.utils._random import RandomSource
from skcode.utils._typing import IntArray

#: Mersenne prime: products of two residues fit an int64
_PRIME = 2**31 - 1


@dataclass(frozen=True)
class GenerationResult:
    """Dimensions of the generated polynomial fields, by degree.

    Attributes
    ----------
    dimensions : tuple of int
        Dimension of the generated fields that are homogeneous of degree 0, 1, ...
    expected : tuple of int
        Dimension of all such fields, m C(m + k - 1, k).

    Examples
    --------
    >>> from skcode.geometry import GenerationResult
    >>> GenerationResult(dimensions=(2, 4, 5), expected=(2, 4, 6)).complete
    False
    """

    dimensions: tuple[int, ...]
    expected: tuple[int, ...]

    @property
    def complete(self) -> bool:
        """Whether all polynomial fields up to the degree are generated."""
        return self.dimensions == self.expected


def generates_polynomials(fields: FieldsLike, degree: int) -> GenerationResult:
    r"""Check that :math:`\mathrm{Lie}(V_1, \dots, V_d)` contains all polynomials up to a degree.

    The fields are homogeneous, as the five of `UniversalFields` are; so is their Lie algebra, and
    it is spanned degree by degree: :math:`L_k` is closed under brackets with the :math:`V_i` and
    with what is found of :math:`L_0` and :math:`L_1`. Coefficients are reduced modulo a prime,
    where ranks can only fall: ``complete`` is a proof for the given floating-point coefficients.
    Brackets that pass through a higher degree are not followed, so that an incomplete result is no
    proof of the opposite.

    Parameters
    ----------
    fields : DrawnFields, fitted estimator, or sequence of vector fields
        Homogeneous polynomial fields.
    degree : int
        The degree up to which to check.

    Returns
    -------
    GenerationResult
        Dimensions by degree.

    Raises
    ------
    ValueError
        If a field is not a homogeneous polynomial, or degree < 0.
    TypeError
        If degree is no integer.

    References
    ----------
    .. [1] C. Cuchiero, M. Larsson, J. Teichmann, "Deep neural networks, generic universal
       interpolation, and controlled ODEs", SIAM J. Math. Data Sci. 2(3), 2020.

    Examples
    --------
    >>> from skcode.fields import UniversalFields
    >>> from skcode.geometry import generates_polynomials
    >>> generates_polynomials(UniversalFields().draw(2, rng=0), degree=4)
    GenerationResult(dimensions=(2, 4, 6, 8, 10), expected=(2, 4, 6, 8, 10))
    """
    check_count(degree, "degree", least=0)
    Vs = [_residues(V, i) for i, V in enumerate(vector_fields(fields))]
    m = Vs[0].n_states
    monomials = [list(combinations_with_replacement(range(m), k)) for k in range(degree + 1)]
    spans = [_Span(m * len(alphas)) for alphas in monomials]

    def kept(V: PolynomialField) -> bool:
        """Whether V is new; if so it joins the span of its degree."""
        if not 0 <= V.degree <= degree or spans[V.degree].full:
            return False
        table = np.array([V.terms.get(a, np.zeros(m, int)) for a in monomials[V.degree]])
        return spans[V.degree].add(table.astype(np.int64).ravel() % _PRIME)

    members: list[PolynomialField] = []
    fresh = [V for V in Vs if kept(V)]
    while fresh:
        # each pair of a generator, a constant or a linear field with a member, once
        low, new_low = ([V for V in each if V.degree <= 1] for each in (members, fresh))
        members += fresh
        pairs = [(V, W) for V in Vs + low for W in fresh] + [
            (V, W) for V in new_low for W in members
        ]
        fresh = []
        for V, W in pairs:
            k = V.degree + W.degree - 1
            if 0 <= k <= degree and not spans[k].full:
                bracket = _reduced(lie_bracket(V, W))
                if kept(bracket):
                    fresh.append(bracket)
    return GenerationResult(
        tuple(span.rank for span in spans), tuple(span.dimension for span in spans)
    )


def universal_fields(
    n_states: int, degree: int = 2, *, scale: float = 1.0, random_state: RandomSource = 0
) -> DrawnFields:
    """The five fields of `UniversalFields`, drawn and proved to generate all polynomials.

    Parameters
    ----------
    n_states : int
        Dimension m of the state, at least 2.
    degree : int
        The degree up to which `generates_polynomials` checks the draw.
    scale : float
        As in `UniversalFields`.
    random_state : int, Generator or None
        Source of the matrices A and B.

    Returns
    -------
    DrawnFields
        The drawn fields.

    Raises
    ------
    ValueError
        If the draw does not generate all polynomial fields up to the degree, as with scale = 0.

    Examples
    --------
    >>> from skcode.geometry import universal_fields
    >>> universal_fields(3, degree=3).labels[0]
    'universal[0]'
    """
    fields = UniversalFields(scale).draw(n_states, rng=random_state)
    result = generates_polynomials(fields, degree)
    if not result.complete:
        raise ValueError(
            f"The draw does not generate all polynomial fields up to degree {degree}: dimensions "
            f"{result.dimensions} by degree, of {result.expected}. Draw again, or change the scale."
        )
    return fields


def _residues(V: VectorField, i: int) -> PolynomialField:
    if not isinstance(V, PolynomialField) or len({len(alpha) for alpha in V.terms}) > 1:
        raise ValueError(f"Field {i} is not a homogeneous polynomial.")
    terms = {}
    for alpha, c in V.terms.items():
        fractions = [Fraction(v) for v in c]
        residues = [f.numerator * pow(f.denominator, -1, _PRIME) % _PRIME for f in fractions]
        terms[alpha] = np.array(residues, dtype=object)
    return PolynomialField(terms, V.n_states)


def _reduced(V: PolynomialField) -> PolynomialField:
    return PolynomialField({alpha: c % _PRIME for alpha, c in V.terms.items()}, V.n_states)


class _Span:
    """Row echelon form of vectors modulo the prime."""

    def __init__(self, dimension: int):
        self.dimension = dimension
        self.rows = np.empty((0, dimension), dtype=np.int64)
        self.pivots: list[int] = []

    @property
    def rank(self) -> int:
        return len(self.pivots)

    @property
    def full(self) -> bool:
        return self.rank == self.dimension

    def add(self, v: IntArray) -> bool:
        """Whether v is independent of the vectors so far; if so it joins them."""
        for row, pivot in zip(self.rows, self.pivots, strict=True):
            if v[pivot]:
                v = (v - v[pivot] * row) % _PRIME
        pivots = np.flatnonzero(v)
        if not len(pivots):
            return False
        pivot = int(pivots[0])
        v = v * pow(int(v[pivot]), -1, _PRIME) % _PRIME
        self.rows = np.vstack([self.rows, v])
        self.pivots.append(pivot)
        return True
