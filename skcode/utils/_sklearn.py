"""What skcode takes from scikit-learn's private modules, and its decorators with types.

Private names may move with any release: no other module of skcode imports them. Callbacks, which
scikit-learn calls experimental, stand behind `skcode.training._callbacks`. Tests state what is
needed of each. To who calls it, a decorated function has the type that it is written with.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import update_wrapper
from typing import Any, TypeVar

import numpy as np
import sklearn.base
import sklearn.utils.metaestimators
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils._optional_dependencies import check_matplotlib_support
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import _check_sample_weight

from skcode.utils._typing import Array, FloatArray

__all__ = [
    "HasMethods",
    "Interval",
    "StrOptions",
    "available_if",
    "check_matplotlib_support",
    "check_sample_weight",
    "fit_context",
    "validate_parameters",
]

Function = TypeVar("Function", bound=Callable[..., Any])


def fit_context(*, prefer_skip_nested_validation: bool) -> Callable[[Function], Function]:
    """As scikit-learn's decorator of `fit`: parameters are checked before."""
    decorator: Callable[[Function], Function] = sklearn.base._fit_context(
        prefer_skip_nested_validation=prefer_skip_nested_validation
    )
    return decorator


def available_if(check: Callable[[Any], bool]) -> Callable[[Function], Function]:
    """As scikit-learn's decorator of methods that only some instances have.

    The error of where there is none says why, with what `check` raises: scikit-learn's own leaves
    that to a traceback above.
    """

    def decorator(function: Function) -> Function:
        method: Any = _SaysWhy(sklearn.utils.metaestimators.available_if(check)(function))
        update_wrapper(method, function)
        described: Function = method
        return described

    return decorator


class _SaysWhy:
    """A descriptor whose errors hold the reasons of those that they come from."""

    def __init__(self, method: Any):
        self.method = method

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        try:
            return self.method.__get__(instance, owner)
        except AttributeError as error:
            if error.__cause__ is None:
                raise
            raise AttributeError(f"{error}: {error.__cause__}") from error.__cause__


def validate_parameters(specification: BaseEstimator) -> None:
    """Check the parameters of a family, solver or estimator against `_parameter_constraints`.

    What is out of its range raises scikit-learn's InvalidParameterError, a ValueError.
    """
    specification._validate_params()


def check_sample_weight(sample_weight: ArrayLike, X: Array) -> FloatArray:
    """Weights of the rows of X as an array (n,) of float64; negative ones are an error."""
    weight: FloatArray = _check_sample_weight(
        sample_weight, X, dtype=np.float64, ensure_non_negative=True
    )
    return weight
