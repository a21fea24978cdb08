"""Controlled neural ODEs as scikit-learn estimators."""

from skcode.estimators import (
    ControlledODEClassifier,
    ControlledODERegressor,
    ControlledODETransformer,
)

__version__ = "0.1.0"

__all__ = [
    "ControlledODEClassifier",
    "ControlledODERegressor",
    "ControlledODETransformer",
    "__version__",
]
