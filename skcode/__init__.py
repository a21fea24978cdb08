"""Controlled neural ODEs as scikit-learn estimators."""

# first, because the parts read it
__version__ = "0.1.0"

from skcode.estimators import (
    ControlledODEClassifier,
    ControlledODERegressor,
    ControlledODETransformer,
)
from skcode.utils._publish import publish

__all__ = [
    "ControlledODEClassifier",
    "ControlledODERegressor",
    "ControlledODETransformer",
    "__version__",
]

publish(__name__)
