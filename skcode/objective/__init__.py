"""The training objective: loss of readout of flow, as a function of one parameter vector."""

from skcode.objective._evidence import EvidenceObjective
from skcode.objective._normal_equations import NormalEquations
from skcode.objective._objective import Objective

__all__ = ["EvidenceObjective", "NormalEquations", "Objective"]
