"""The frozen input map E: from columns of data to initial states."""

from skcode.inputs._input_map import (
    SCALINGS,
    InputMap,
    is_constant,
    weighted_moments,
    weighted_quantiles,
)

__all__ = ["SCALINGS", "InputMap", "is_constant", "weighted_moments", "weighted_quantiles"]
