"""The frozen input map E: from columns of data to initial states."""

from skcode.inputs._input_map import InputMap
from skcode.inputs._ramps import Ramps
from skcode.inputs._scaling import (
    BOUND,
    NORMAL_IQR,
    SCALINGS,
    Scaling,
    is_constant,
    weighted_moments,
    weighted_quantiles,
)
from skcode.inputs._screening import all_columns_tell, telling_columns
from skcode.inputs._squash import HUGE, Asinh, Bound, Squash

#: classes that occur in files, by the names that files hold: a class may move, its tag may not
TAGS: dict[str, type] = {
    "skcode/input-map": InputMap,
    "skcode/ramps": Ramps,
    "skcode/squash/bound": Bound,
    "skcode/squash/asinh": Asinh,
}

__all__ = [
    "BOUND",
    "HUGE",
    "NORMAL_IQR",
    "SCALINGS",
    "TAGS",
    "Asinh",
    "Bound",
    "InputMap",
    "Ramps",
    "Scaling",
    "Squash",
    "all_columns_tell",
    "is_constant",
    "telling_columns",
    "weighted_moments",
    "weighted_quantiles",
]
