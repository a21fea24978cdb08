"""Names for the types of arrays; their shapes are documented where they are used, and tested."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

#: float32 or float64, as the inputs are
FloatArray: TypeAlias = NDArray[np.floating[Any]]
#: indices, codes and counts
IntArray: TypeAlias = NDArray[np.integer[Any]]
#: masks
BoolArray: TypeAlias = NDArray[np.bool_]
#: hashes of rows
HashArray: TypeAlias = NDArray[np.uint64]
#: an array, or autograd's box around one
Traced: TypeAlias = Any
#: an array of any type: inputs, labels and targets as they come, and exact numbers
Array: TypeAlias = NDArray[Any]
#: takes states to velocities of the same shape
Velocities: TypeAlias = Callable[[FloatArray], FloatArray]
