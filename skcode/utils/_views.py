"""Arrays that are views of one number, such as the weights of rows that have none."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from skcode.utils._typing import FloatArray


def entrywise(function: Callable[[FloatArray], FloatArray], values: FloatArray) -> FloatArray:
    """What a function makes of each entry of a vector; a view of one number stays one."""
    if len(values) > 1 and values.strides == (0,):
        return np.broadcast_to(function(values[:1]), values.shape)
    return function(values)
