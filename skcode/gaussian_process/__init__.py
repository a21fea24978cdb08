"""The readout by a Gaussian process on final states: kernel, evidence, regression, calibration."""

from skcode.gaussian_process._batched_heads import BatchedHeads
from skcode.gaussian_process._calibration import calibrate_sigmoids, calibrate_softmax, smoothed
from skcode.gaussian_process._choice import choose_factors, scaled, significant_gain
from skcode.gaussian_process._evidence import ROUGH_NOISE, Evidence, Hyperparameters
from skcode.gaussian_process._fixed_point import FixedPoint
from skcode.gaussian_process._head import GaussianProcessHead
from skcode.gaussian_process._kernel import Kernel
from skcode.gaussian_process._leaves import Leaves
from skcode.gaussian_process._links import AffineLink, Link, LogOddsLink
from skcode.gaussian_process._noise import NoiseModel
from skcode.gaussian_process._readout import GaussianProcessReadout
from skcode.gaussian_process._regression import (
    Mean,
    Observations,
    Regression,
    fit_exact,
    fit_leaves,
)
from skcode.utils._publish import publish

#: classes that occur in files, by the names that files hold: a class may move, its tag may not
TAGS: dict[str, type] = {
    "skcode/readout/gaussian-process": GaussianProcessReadout,
    "skcode/gaussian-process/head": GaussianProcessHead,
    "skcode/gaussian-process/kernel": Kernel,
    "skcode/gaussian-process/mean": Mean,
    "skcode/gaussian-process/leaves": Leaves,
    "skcode/gaussian-process/fixed-point": FixedPoint,
    "skcode/gaussian-process/affine-link": AffineLink,
    "skcode/gaussian-process/log-odds-link": LogOddsLink,
    "skcode/gaussian-process/noise": NoiseModel,
}

__all__ = [
    "ROUGH_NOISE",
    "TAGS",
    "AffineLink",
    "BatchedHeads",
    "Evidence",
    "FixedPoint",
    "GaussianProcessHead",
    "GaussianProcessReadout",
    "Hyperparameters",
    "Kernel",
    "Leaves",
    "Link",
    "LogOddsLink",
    "Mean",
    "NoiseModel",
    "Observations",
    "Regression",
    "calibrate_sigmoids",
    "calibrate_softmax",
    "choose_factors",
    "fit_exact",
    "fit_leaves",
    "scaled",
    "significant_gain",
    "smoothed",
]

publish(__name__)
