"""Losses of scores against targets, sample by sample."""

from skcode.losses._base import Loss
from skcode.losses._log_link import GammaDeviance, PoissonDeviance
from skcode.losses._regression import ScaledLoss
from skcode.losses._robust import Huber, SmoothPinball
from skcode.losses._sigmoid import SigmoidCrossEntropy
from skcode.losses._softmax import SoftmaxCrossEntropy
from skcode.losses._squared import SquaredError
from skcode.utils._publish import publish

#: losses of real targets, by the name that a regressor knows them by
REGRESSION_LOSSES: dict[str, type[Loss]] = {
    "squared_error": SquaredError,
    "poisson": PoissonDeviance,
    "gamma": GammaDeviance,
    "huber": Huber,
    "quantile": SmoothPinball,
}

#: classes that occur in files, by the names that files hold: a class may move, its tag may not
TAGS: dict[str, type] = {
    "skcode/loss/squared": SquaredError,
    "skcode/loss/poisson": PoissonDeviance,
    "skcode/loss/gamma": GammaDeviance,
    "skcode/loss/huber": Huber,
    "skcode/loss/pinball": SmoothPinball,
}

__all__ = [
    "REGRESSION_LOSSES",
    "TAGS",
    "GammaDeviance",
    "Huber",
    "Loss",
    "PoissonDeviance",
    "ScaledLoss",
    "SigmoidCrossEntropy",
    "SmoothPinball",
    "SoftmaxCrossEntropy",
    "SquaredError",
]

publish(__name__)
