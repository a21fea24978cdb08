"""The training objective: loss of readout of flow, as a function of one parameter vector."""

from skcode.objective._ensemble import ensemble_scores
from skcode.objective._model import Model
from skcode.objective._normal import NormalEquations
from skcode.objective._objective import Objective
from skcode.objective._variance import score_variance

__all__ = ["Model", "NormalEquations", "Objective", "ensemble_scores", "score_variance"]
