"""The frozen input map E: from columns of data to initial states."""

from skcode.inputs._input_map import (
    SCALINGS,
    InputMap,
    is_constant,
    weighted_moments,
    weighted_quantiles,
)
from skcode.inputs._screening import telling_columns

#: classes that occur in files, by the names that files hold: a class may move, its tag may not
TAGS: dict[str, type] = {"skcode/input-map": InputMap}

__all__ = [
    "SCALINGS",
    "TAGS",
    "InputMap",
    "is_constant",
    "telling_columns",
    "weighted_moments",
    "weighted_quantiles",
]
