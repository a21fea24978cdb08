"""The estimators: thin faces over fields, flow, objective and solvers."""

from skcode.estimators._classifier import ControlledODEClassifier
from skcode.estimators._regressor import ControlledODERegressor
from skcode.estimators._transformer import ControlledODETransformer

__all__ = ["ControlledODEClassifier", "ControlledODERegressor", "ControlledODETransformer"]
