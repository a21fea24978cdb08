"""Losses of scores against targets, sample by sample."""

from skcode.losses._base import Loss
from skcode.losses._sigmoid import SigmoidCrossEntropy
from skcode.losses._softmax import SoftmaxCrossEntropy
from skcode.losses._squared import SquaredError

__all__ = ["Loss", "SigmoidCrossEntropy", "SoftmaxCrossEntropy", "SquaredError"]
