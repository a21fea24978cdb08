"""Readouts R: from the final state X_1 to scores, one for each output."""

from skcode.readouts._base import Readout
from skcode.readouts._displacement import DisplacementReadout
from skcode.readouts._linear import LinearReadout
from skcode.utils._publish import publish

READOUTS: dict[str, type[Readout]] = {
    "linear": LinearReadout,
    "displacement": DisplacementReadout,
}

#: classes that occur in files, by the names that files hold: a class may move, its tag may not
TAGS: dict[str, type] = {
    "skcode/readout/linear": LinearReadout,
    "skcode/readout/displacement": DisplacementReadout,
}

__all__ = ["READOUTS", "TAGS", "DisplacementReadout", "LinearReadout", "Readout"]

publish(__name__)
