"""Lie brackets of vector fields, and what they span: ranks at points, algebras of polynomials."""

from skcode.geometry.brackets._bracket import lie_bracket
from skcode.geometry.brackets._generation import (
    GenerationResult,
    generates_polynomials,
    universal_fields,
)
from skcode.geometry.brackets._lyndon import bracket_basis
from skcode.geometry.brackets._rank import RankResult, hormander_rank, lie_algebra_rank
from skcode.geometry.brackets._vector_field import (
    Exponent,
    FieldsLike,
    PolynomialField,
    VectorField,
    all_polynomial,
    drawn_fields,
    vector_fields,
)

__all__ = [
    "Exponent",
    "FieldsLike",
    "GenerationResult",
    "PolynomialField",
    "RankResult",
    "VectorField",
    "all_polynomial",
    "bracket_basis",
    "drawn_fields",
    "generates_polynomials",
    "hormander_rank",
    "lie_algebra_rank",
    "lie_bracket",
    "universal_fields",
    "vector_fields",
]
