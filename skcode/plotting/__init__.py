"""Pictures of fitted models and of their geometry; they need matplotlib (extra ``plot``)."""

from skcode.plotting._bracket_rank import BracketRankDisplay
from skcode.plotting._controls import ControlsDisplay
from skcode.plotting._flow import FlowDisplay
from skcode.plotting._loss_curve import LossCurveDisplay

__all__ = ["BracketRankDisplay", "ControlsDisplay", "FlowDisplay", "LossCurveDisplay"]
