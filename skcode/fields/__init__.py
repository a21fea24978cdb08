"""Random, frozen vector fields: families (specifications) and what they draw."""

from skcode.fields._activations import (
    ACTIVATIONS,
    GELU,
    Activation,
    Identity,
    PolynomialActivation,
    ReLU,
    Sin,
    Softplus,
    Tanh,
)
from skcode.fields._convolutional import ConvolutionalFields, DrawnConvolutional
from skcode.fields._drawn import DrawnFields, FieldKernel, homogeneous
from skcode.fields._family import DrawnStack, DrawnSum, FieldFamily, StackFields, SumFields
from skcode.fields._filter import DrawnFilter, FilterFields
from skcode.fields._function import DrawnFunction, FunctionFields
from skcode.fields._linear import (
    AffineFields,
    DiagonalFields,
    DrawnAffine,
    DrawnDiagonal,
    LinearFields,
)
from skcode.fields._local import LocalFields
from skcode.fields._mixing import DrawnMixing, MixingFields
from skcode.fields._neural import DrawnNeural, NeuralFields
from skcode.fields._polynomial import DrawnPolynomial, Monomials, PolynomialFields, UniversalFields
from skcode.fields._tags import TAGS
from skcode.fields._two import TwoFields
from skcode.utils._publish import publish

__all__ = [
    "ACTIVATIONS",
    "GELU",
    "TAGS",
    "Activation",
    "AffineFields",
    "ConvolutionalFields",
    "DiagonalFields",
    "DrawnAffine",
    "DrawnConvolutional",
    "DrawnDiagonal",
    "DrawnFields",
    "DrawnFilter",
    "DrawnFunction",
    "DrawnMixing",
    "DrawnNeural",
    "DrawnPolynomial",
    "DrawnStack",
    "DrawnSum",
    "FieldFamily",
    "FieldKernel",
    "FilterFields",
    "FunctionFields",
    "Identity",
    "LinearFields",
    "LocalFields",
    "MixingFields",
    "Monomials",
    "NeuralFields",
    "PolynomialActivation",
    "PolynomialFields",
    "ReLU",
    "Sin",
    "Softplus",
    "StackFields",
    "SumFields",
    "Tanh",
    "TwoFields",
    "UniversalFields",
    "homogeneous",
]

publish(__name__)
