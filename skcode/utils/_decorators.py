"""Decorators of scikit-learn and autograd, which have no annotations, with types.

To who calls it, a decorated function has the type that it is written with.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import autograd.extend
import sklearn.base
import sklearn.utils.metaestimators

Function = TypeVar("Function", bound=Callable[..., Any])


def primitive(function: Function) -> Function:
    """As `autograd.extend.primitive`: a node of the trace, whose derivatives are registered."""
    node: Function = autograd.extend.primitive(function)
    return node


def fit_context(*, prefer_skip_nested_validation: bool) -> Callable[[Function], Function]:
    """As scikit-learn's decorator of `fit`: parameters are checked before."""
    decorator: Callable[[Function], Function] = sklearn.base._fit_context(
        prefer_skip_nested_validation=prefer_skip_nested_validation
    )
    return decorator


def available_if(check: Callable[[Any], bool]) -> Callable[[Function], Function]:
    """As scikit-learn's decorator of methods that only some instances have."""
    decorator: Callable[[Function], Function] = sklearn.utils.metaestimators.available_if(check)
    return decorator
