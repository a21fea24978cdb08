"""Errors that name a number which does not fit."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any


def check_count(value: Any, name: str, least: int = 1) -> None:
    """Raise an error unless the value is an integer, and large enough."""
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise TypeError(f"{name}={value!r} must be an integer.")
    if value < least:
        raise ValueError(f"{name}={value} must be at least {least}.")


def check_tolerance(value: Any, name: str, *, zero: bool = False) -> None:
    """Raise an error unless the value is a positive, finite number, or zero where it may be."""
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(f"{name}={value!r} must be a number.")
    if not math.isfinite(value) or value < 0 or (value == 0 and not zero):
        raise ValueError(
            f"{name}={value} must be {'at least zero' if zero else 'positive'} and finite."
        )
