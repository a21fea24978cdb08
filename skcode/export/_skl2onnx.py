"""What skcode takes from skl2onnx's private interface, in one place; a test states what it does.

skl2onnx is an extra: it is imported where it is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def tensor_type(element_type: int, shape: Sequence[int | str]) -> Any:
    """skl2onnx's type of a tensor, for an element type of ONNX; a named length may vary."""
    from skl2onnx.common.data_types import _guess_type_proto

    return _guess_type_proto(
        element_type, [None if isinstance(length, str) else length for length in shape]
    )
