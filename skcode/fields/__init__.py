"""Random, frozen vector fields: families (specifications) and what they draw."""

from skcode.fields._composite import StackFields, SumFields
from skcode.fields._convolutional import ConvolutionalFields
from skcode.fields._family import FieldFamily, StackFamily, SumFamily
from skcode.fields._fields import Fields, Kernel, homogeneous
from skcode.fields._filter import FilterFields
from skcode.fields._function import FunctionFields
from skcode.fields._linear import AffineFields, DiagonalFields, LinearFields
from skcode.fields._local import LocalFields
from skcode.fields._neural import NeuralFields
from skcode.fields._polynomial import Monomials, PolynomialDrawn, PolynomialFields, UniversalFields

__all__ = [
    "AffineFields",
    "ConvolutionalFields",
    "DiagonalFields",
    "FieldFamily",
    "Fields",
    "FilterFields",
    "FunctionFields",
    "Kernel",
    "LinearFields",
    "LocalFields",
    "Monomials",
    "NeuralFields",
    "PolynomialDrawn",
    "PolynomialFields",
    "StackFamily",
    "StackFields",
    "SumFamily",
    "SumFields",
    "UniversalFields",
    "homogeneous",
]
