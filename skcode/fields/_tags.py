"""Classes of this package that occur in files, by the names that files hold.

A class may move or change its name; its tag may not.
"""

from skcode.fields._activations import (
    GELU,
    Identity,
    PolynomialActivation,
    ReLU,
    Sin,
    Softplus,
    Tanh,
)
from skcode.fields._convolutional import ConvolutionalFields, DrawnConvolutional
from skcode.fields._family import DrawnStack, DrawnSum, StackFields, SumFields
from skcode.fields._filter import DrawnFilter, FilterFields
from skcode.fields._function import DrawnFunction, FunctionFields
from skcode.fields._image import ImageLayout
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
from skcode.fields._polynomial import (
    DrawnPolynomial,
    Monomials,
    PolynomialFields,
    UniversalFields,
)
from skcode.fields._two import TwoFields

TAGS: dict[str, type] = {
    "skcode/fields/neural": NeuralFields,
    "skcode/fields/polynomial": PolynomialFields,
    "skcode/fields/universal": UniversalFields,
    "skcode/fields/two": TwoFields,
    "skcode/fields/linear": LinearFields,
    "skcode/fields/affine": AffineFields,
    "skcode/fields/diagonal": DiagonalFields,
    "skcode/fields/functions": FunctionFields,
    "skcode/fields/filters": FilterFields,
    "skcode/fields/convolutional": ConvolutionalFields,
    "skcode/fields/mixing": MixingFields,
    "skcode/fields/local": LocalFields,
    "skcode/fields/sum": SumFields,
    "skcode/fields/stack": StackFields,
    "skcode/drawn/neural": DrawnNeural,
    "skcode/drawn/polynomial": DrawnPolynomial,
    "skcode/drawn/affine": DrawnAffine,
    "skcode/drawn/diagonal": DrawnDiagonal,
    "skcode/drawn/functions": DrawnFunction,
    "skcode/drawn/filters": DrawnFilter,
    "skcode/drawn/convolutional": DrawnConvolutional,
    "skcode/drawn/mixing": DrawnMixing,
    "skcode/drawn/sum": DrawnSum,
    "skcode/drawn/stack": DrawnStack,
    "skcode/drawn/monomials": Monomials,
    "skcode/drawn/image-layout": ImageLayout,
    "skcode/activation/identity": Identity,
    "skcode/activation/tanh": Tanh,
    "skcode/activation/relu": ReLU,
    "skcode/activation/softplus": Softplus,
    "skcode/activation/sin": Sin,
    "skcode/activation/gelu": GELU,
    "skcode/activation/polynomial": PolynomialActivation,
}
