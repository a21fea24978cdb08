"""Random, frozen vector fields: families (specifications) and what they draw."""

from skcode.fields._activations import PolynomialActivation
from skcode.fields._composite import DrawnStack, DrawnSum
from skcode.fields._convolutional import ConvolutionalFields
from skcode.fields._drawn import DrawnFields, Kernel, homogeneous
from skcode.fields._family import FieldFamily, StackFields, SumFields
from skcode.fields._filter import FilterFields
from skcode.fields._function import FunctionFields
from skcode.fields._linear import (
    AffineFields,
    DiagonalFields,
    DrawnAffine,
    DrawnDiagonal,
    LinearFields,
)
from skcode.fields._local import LocalFields
from skcode.fields._neural import DrawnNeural, NeuralFields
from skcode.fields._polynomial import DrawnPolynomial, Monomials, PolynomialFields, UniversalFields
from skcode.fields._two import TwoFields

__all__ = [
    "AffineFields",
    "ConvolutionalFields",
    "DiagonalFields",
    "DrawnAffine",
    "DrawnDiagonal",
    "DrawnFields",
    "DrawnNeural",
    "DrawnPolynomial",
    "DrawnStack",
    "DrawnSum",
    "FieldFamily",
    "FilterFields",
    "FunctionFields",
    "Kernel",
    "LinearFields",
    "LocalFields",
    "Monomials",
    "NeuralFields",
    "PolynomialActivation",
    "PolynomialFields",
    "StackFields",
    "SumFields",
    "TwoFields",
    "UniversalFields",
    "homogeneous",
]
