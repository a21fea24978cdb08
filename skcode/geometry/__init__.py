"""The geometry of controllability: Lie brackets, Hoermander ranks, steering and interpolation."""

from skcode.geometry._bracket import lie_bracket
from skcode.geometry._generation import GenerationResult, generates_polynomials, universal_fields
from skcode.geometry._interpolate import InterpolationResult, interpolate
from skcode.geometry._rank import RankResult, hormander_rank, lie_algebra_rank
from skcode.geometry._vector_field import PolynomialField, VectorField, vector_fields
from skcode.geometry._words import bracket_basis

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
