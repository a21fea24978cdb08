"""The frozen input map E: from columns of data to initial states."""

from skcode.inputs._input_map import InputMap
from skcode.inputs._ramps import Ramps
from skcode.inputs._scaling import (
    HUGE,
    NORMAL_IQR,
    ROBUST_CLIP,
    SCALINGS,
    is_constant,
    weighted_moments,
    weighted_quantiles,
)
from skcode.inputs._screening import telling_columns

#: classes that occur in files, by the names that files hold: a class may move, its tag may not
TAGS: dict[str, type] = {"skcode/input-map": InputMap, "skcode/ramps": Ramps}

__all__ = [
    "HUGE",
    "NORMAL_IQR",
    "ROBUST_CLIP",
    "SCALINGS",
    "TAGS",
    "InputMap",
    "Ramps",
    "is_constant",
    "telling_columns",
    "weighted_moments",
    "weighted_quantiles",
]
