"""Readouts R: from the final state X_1 to scores, one for each output."""

from skcode.readouts._base import Readout
from skcode.readouts._displacement import DisplacementReadout
from skcode.readouts._linear import LinearReadout

READOUTS: dict[str, type[Readout]] = {
    "linear": LinearReadout,
    "displacement": DisplacementReadout,
}

__all__ = ["READOUTS", "DisplacementReadout", "LinearReadout", "Readout"]
