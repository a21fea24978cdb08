"""The fitted model: what is kept after a fit, and predicts. Nothing in here trains.

`Model` is the map x -> R(X_1) without its trained numbers, a `FittedMember` is a model with them,
and an `Ensemble` is several members with the target that they predict together.
"""

from skcode.model._divergence import check_divergence
from skcode.model._ensemble import Ensemble
from skcode.model._estimator import FittedEstimator
from skcode.model._few_rows import FewRows
from skcode.model._jacobian import jacobian
from skcode.model._member import FittedMember, Head
from skcode.model._model import Model
from skcode.model._posterior import Posterior
from skcode.model._targets import (
    ClassificationTarget,
    ClassTarget,
    MultilabelTarget,
    RegressionTarget,
    Target,
    TargetMoments,
    mean_of,
)
from skcode.utils._arrowhead import ArrowheadFactor, ArrowheadOrder

#: classes that occur in files, by the names that files hold: a class may move, its tag may not
TAGS: dict[str, type] = {
    "skcode/model": Model,
    "skcode/fitted-member": FittedMember,
    "skcode/ensemble": Ensemble,
    "skcode/posterior": Posterior,
    "skcode/arrowhead-factor": ArrowheadFactor,
    "skcode/arrowhead-order": ArrowheadOrder,
    "skcode/target/regression": RegressionTarget,
    "skcode/target/moments": TargetMoments,
    "skcode/target/classification": ClassificationTarget,
    "skcode/target/multilabel": MultilabelTarget,
}

__all__ = [
    "TAGS",
    "ClassTarget",
    "ClassificationTarget",
    "Ensemble",
    "FewRows",
    "FittedEstimator",
    "FittedMember",
    "Head",
    "Model",
    "MultilabelTarget",
    "Posterior",
    "RegressionTarget",
    "Target",
    "TargetMoments",
    "check_divergence",
    "jacobian",
    "mean_of",
]
