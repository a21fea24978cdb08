"""The geometry of controllability: Lie brackets, Hoermander ranks, steering and interpolation."""

from skcode.geometry.brackets import (
    GenerationResult,
    PolynomialField,
    RankResult,
    VectorField,
    bracket_basis,
    generates_polynomials,
    hormander_rank,
    lie_algebra_rank,
    lie_bracket,
    universal_fields,
    vector_fields,
)
from skcode.geometry.interpolation import InterpolationResult, interpolate

__all__ = [
    "GenerationResult",
    "InterpolationResult",
    "PolynomialField",
    "RankResult",
    "VectorField",
    "bracket_basis",
    "generates_polynomials",
    "hormander_rank",
    "interpolate",
    "lie_algebra_rank",
    "lie_bracket",
    "universal_fields",
    "vector_fields",
]
