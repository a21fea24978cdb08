"""What is predicted: the encoding of targets for a loss, and the decoding of scores."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.special import logit
from sklearn.metrics import r2_score

from skcode.inputs import NORMAL_IQR, is_constant, weighted_moments, weighted_quantiles
from skcode.losses import Loss, SigmoidCrossEntropy, SoftmaxCrossEntropy, SquaredError
from skcode.utils._typing import Array, FloatArray, IntArray


class Target(ABC):
    """A kind of target, learnt from the training targets.

    Attributes
    ----------
    reach : float
        Largest `size` of the scores that the targets ask for.

    Examples
    --------
    >>> from skcode.model import RegressionTarget, Target
    >>> issubclass(RegressionTarget, Target)
    True
    """

    #: what log-odds reach where classes are as good as certain
    reach: float = 100.0

    @property
    @abstractmethod
    def loss(self) -> Loss:
        """The loss of scores against encoded targets."""

    @property
    @abstractmethod
    def n_outputs(self) -> int:
        """Number K of scores."""

    @abstractmethod
    def encode(self, y: Array) -> Array:
        """Targets as the loss wants them."""

    def strata(self, targets: Array) -> IntArray | None:
        """Class codes of encoded targets, for stratified parts; None where there are none."""
        return None

    def size(self, scores: FloatArray) -> FloatArray:
        """How large scores are, element by element: what is compared to `reach`."""
        sizes: FloatArray = np.abs(scores)
        return sizes

    def check_whole(self, targets: Array) -> None:
        """Raise an error if all encoded targets together tell of nothing; a batch of them may."""
        return

    @abstractmethod
    def score(self, scores: FloatArray, targets: Array, weight: FloatArray) -> float:
        """R2 or accuracy of finite scores against encoded targets."""


class ClassTarget(Target):
    """Classes or labels: the scores of members are averaged as probabilities.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.model import ClassTarget, MultilabelTarget
    >>> target: ClassTarget = MultilabelTarget(1)
    >>> target.mean_probabilities(np.array([[[0.0]], [[100.0]]]))
    array([[0.75]])
    """

    @property
    @abstractmethod
    def classes(self) -> Array:
        """The classes in the order of the columns of probabilities."""

    @abstractmethod
    def probabilities(self, scores: FloatArray) -> FloatArray:
        """Probabilities (n, C) of the classes, from scores (n, K)."""

    @abstractmethod
    def link(self, probabilities: FloatArray) -> FloatArray:
        """Scores of given probabilities, the inverse of `probabilities`."""

    @abstractmethod
    def decision(self, scores: FloatArray) -> FloatArray:
        """Scores in the shape of scikit-learn's decision functions."""

    @abstractmethod
    def decode(self, probabilities: FloatArray) -> Array:
        """What is predicted from probabilities (n, C)."""

    def mean_probabilities(self, scores: FloatArray) -> FloatArray:
        """Probabilities (n, C) that members with scores (E, n, K) give together."""
        E, n, K = scores.shape
        return mean_of(self.probabilities(scores.reshape(E * n, K)).reshape(E, n, -1))

    def mean_decision(self, scores: FloatArray) -> FloatArray:
        """The decision function of members with scores (E, n, K) together."""
        if len(scores) > 1:
            return self.decision(self.link(self.mean_probabilities(scores)))
        return self.decision(scores[0])

    @staticmethod
    def log(probabilities: FloatArray) -> FloatArray:
        """Finite logarithms of probabilities."""
        tiny = np.finfo(probabilities.dtype).tiny
        logarithms: FloatArray = np.log(np.maximum(probabilities, tiny))
        return logarithms


def mean_of(values: FloatArray) -> FloatArray:
    """Mean of what the members predict.

    Parameters
    ----------
    values : ndarray of shape (E, n, K)
        Values of each member.

    Returns
    -------
    ndarray of shape (n, K)
        Their mean; the values themselves of a single member.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.model import mean_of
    >>> mean_of(np.array([[[1.0]], [[3.0]]]))
    array([[2.]])
    """
    mean: FloatArray = values[0] if len(values) == 1 else np.add.reduce(values) / len(values)
    return mean


def _columns(y: Array) -> Array:
    """Targets (n,) or (n, K) as numbers (n, K), which may come as strings, as in X."""
    Y = y.reshape(len(y), -1)
    return Y if Y.dtype.kind in "biuf" else Y.astype(np.float64)


def _moments(Y: Array, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean and deviation of each output; the deviation of a constant one is 0: it is learnt."""
    mean, deviation = weighted_moments(Y, weight)
    # sums round: what is the same in all rows is its own mean, and predicted to the bit
    mean = np.where(Y.min(axis=0) == Y.max(axis=0), Y[0], mean)
    return mean, np.where(is_constant(deviation, mean), 0.0, deviation)


def _quartiles(Y: Array, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Median and interquartile range, in deviations of a normal law; no outlier moves them."""
    low, median, high = weighted_quantiles(Y, weight, [0.25, 0.5, 0.75])
    _, deviation = _moments(Y, weight)
    spread = (high - low) / NORMAL_IQR
    # half of the targets may be equal
    return median, np.where(is_constant(spread, median), deviation, spread)


def _mean_alone(Y: Array, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
    """No centre, and the mean of what is positive: a ratio stays one."""
    mean, _ = weighted_moments(Y, weight)
    return np.zeros_like(mean), np.where(mean > 0, mean, 1.0)


#: the loss where none is named
_SQUARED_ERROR = SquaredError()
#: centre and scale of targets (n, K), by what a loss asks for
_SCALES = {"moments": _moments, "quartiles": _quartiles, "mean": _mean_alone}


@dataclass(frozen=True)
class TargetMoments:
    """Weight, mean and deviation of targets that come in batches.

    Parameters
    ----------
    weight : float
        Sum of the weights.
    mean : ndarray of shape (K,)
        Weighted means of the outputs.
    deviation : ndarray of shape (K,)
        Weighted standard deviations; 0 for a constant.
    ends : ndarray of shape (2, K)
        Least and largest values.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.model import TargetMoments
    >>> y = np.array([1.0, 2.0, 6.0])
    >>> parts = [TargetMoments.of(y[s], np.ones(len(y[s]))) for s in (slice(1), slice(1, 3))]
    >>> parts[0].merged(parts[1]).mean
    array([3.])
    """

    weight: float
    mean: FloatArray
    deviation: FloatArray
    ends: FloatArray

    @classmethod
    def of(cls, y: Array, weight: FloatArray) -> TargetMoments:
        """Moments of targets (n,) or (n, K)."""
        Y = _columns(y)
        mean, deviation = _moments(Y, weight)
        ends = np.array([Y.min(axis=0), Y.max(axis=0)], dtype=np.float64)
        return cls(float(weight.sum()), mean, deviation, ends)

    def merged(self, other: TargetMoments) -> TargetMoments:
        """Moments of both together."""
        total = self.weight + other.weight
        share = other.weight / total
        apart = other.mean - self.mean
        mean = self.mean + share * apart
        # roots of sums of squares that do not overflow
        within = np.hypot(np.sqrt(1 - share) * self.deviation, np.sqrt(share) * other.deviation)
        deviation = np.hypot(within, np.sqrt(share * (1 - share)) * apart)
        deviation = np.where(is_constant(deviation, mean), 0.0, deviation)
        low = np.minimum(self.ends[0], other.ends[0])
        high = np.maximum(self.ends[1], other.ends[1])
        return TargetMoments(total, mean, deviation, np.array([low, high]))


@dataclass(frozen=True)
class RegressionTarget(Target):
    """Real targets, standardised as their loss wants it.

    Parameters
    ----------
    mean : ndarray of shape (K,)
        Centres of the outputs.
    scale : ndarray of shape (K,)
        Deviations of the outputs; 0 for a constant one.
    y_ndim : int
        1 where targets come as (n,), 2 where they come as (n, K).
    reach : float
        Size of the largest encoded target of the training.
    loss : Loss
        The loss of scores against encoded targets.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.model import RegressionTarget
    >>> y = np.array([1.0, 3.0])
    >>> target = RegressionTarget.learn(y, np.ones(2), scaling=True)
    >>> target.encode(y).ravel(), target.decode(target.encode(y))
    (array([-1.,  1.]), array([1., 3.]))
    """

    mean: FloatArray
    scale: FloatArray
    y_ndim: int
    reach: float = 1.0
    loss: Loss = _SQUARED_ERROR

    @classmethod
    def learn(
        cls, y: Array, weight: FloatArray, scaling: bool, loss: Loss = _SQUARED_ERROR
    ) -> RegressionTarget:
        """Centre and scale of targets (n,) or (n, K), and the unit of their loss.

        Targets stay what they are where `scaling` is off, but for losses whose widths are in units
        of their quartiles.
        """
        Y = _columns(y)
        loss.check(Y)
        if scaling or loss.scaled_by == "quartiles":
            mean, scale = _SCALES[loss.scaled_by](Y, weight)
        else:
            mean, scale = np.zeros(Y.shape[1]), np.ones(Y.shape[1])
        target = cls(mean, scale, y.ndim)
        target = replace(target, loss=loss.standardised(target.encode(Y), weight))
        ends = target.encode(np.array([Y.min(axis=0), Y.max(axis=0)]))
        return replace(target, reach=max(float(np.abs(ends).max()), 1.0))

    @property
    def n_outputs(self) -> int:
        return len(self.mean)

    def encode(self, y: Array) -> Array:
        Y = _columns(y)
        if Y.shape[1] != self.n_outputs:
            raise ValueError(f"y has {Y.shape[1]} outputs; the model has {self.n_outputs}.")
        self.loss.check(Y)
        gain = np.where(self.scale == 0, 0.0, 1 / np.where(self.scale == 0, 1.0, self.scale))
        targets = np.subtract(Y, self.mean, dtype=np.float64)
        targets *= gain
        if self.loss.bound < np.inf:
            np.clip(targets, -self.loss.bound, self.loss.bound, out=targets)
        return targets

    def size(self, scores: FloatArray) -> FloatArray:
        return self.loss.inverse_link(scores) if self.loss.log_link else np.abs(scores)

    @property
    def follows(self) -> bool:
        """Whether the scale is one of moments, which can follow a stream."""
        return self.loss.scaled_by == "moments"

    def followed(self, moments: TargetMoments) -> tuple[RegressionTarget, FloatArray, FloatArray]:
        """The target with the scale of other moments, and what becomes of the scores.

        Returns
        -------
        target : RegressionTarget
            The target.
        gain, shift : ndarray of shape (K,)
            ``gain * scores + shift`` predict with it what the scores predicted before.
        """
        constant = moments.deviation == 0
        unit = np.where(constant, 1.0, moments.deviation)
        target = replace(self, mean=moments.mean, scale=moments.deviation)
        reach = max(float(np.abs(target.encode(moments.ends)).max()), 1.0)
        gain = np.where(constant, 1.0, self.scale / unit)
        shift = np.where(constant, 0.0, (self.mean - moments.mean) / unit)
        return replace(target, reach=reach), gain, shift

    def check_whole(self, targets: Array) -> None:
        if self.loss.log_link and not targets.any(axis=0).all():
            raise ValueError("loss='poisson' requires non-negative y and sum(y) > 0.")

    def score(self, scores: FloatArray, targets: Array, weight: FloatArray) -> float:
        if len(targets) < 2:
            return float("nan")
        predicted = self.loss.inverse_link(scores)
        return float(r2_score(targets, predicted, sample_weight=weight))

    def mean_prediction(self, scores: FloatArray) -> FloatArray:
        """What members with scores (E, n, K) predict together: the mean of their predictions."""
        return self._decoded(mean_of(self.loss.inverse_link(scores)))

    def decode(self, scores: FloatArray) -> FloatArray:
        """Predictions in the units of y of scores (n, K)."""
        return self._decoded(self.loss.inverse_link(scores))

    def _decoded(self, values: FloatArray) -> FloatArray:
        return self._shaped(values * self.scale + self.mean, values.dtype)

    def spread(self, deviations: FloatArray) -> FloatArray:
        """Standard deviations of scores in the units of y."""
        return self._shaped(deviations * self.scale, deviations.dtype)

    def _shaped(self, y: Array, dtype: np.dtype[Any]) -> FloatArray:
        """In the dtype of the inputs where that can hold the values, and in the shape of y."""
        if np.abs(y).max(initial=0) <= np.finfo(dtype).max:
            y = y.astype(dtype, copy=False)
        return y[:, 0] if self.y_ndim == 1 else y


@dataclass(frozen=True)
class ClassificationTarget(ClassTarget):
    """One of K classes; two classes take one score.

    Parameters
    ----------
    labels : ndarray of shape (n_classes,)
        The classes, sorted.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.model import ClassificationTarget
    >>> target = ClassificationTarget.learn(np.array(["no", "yes", "no"]))
    >>> p = target.probabilities(np.array([[2.0], [-2.0]]))
    >>> target.decode(p).tolist()
    ['yes', 'no']
    """

    labels: Array

    @property
    def classes(self) -> Array:
        return self.labels

    @classmethod
    def learn(cls, labels: Array) -> ClassificationTarget:
        """The classes among the labels (n,)."""
        classes = np.unique(labels)
        if len(classes) < 2:
            raise ValueError(
                "Classification needs samples of at least 2 classes; the data holds "
                f"{len(classes)} class: {classes.tolist()}."
            )
        return cls(classes)

    @property
    def loss(self) -> Loss:
        return SigmoidCrossEntropy() if len(self.classes) == 2 else SoftmaxCrossEntropy()

    @property
    def n_outputs(self) -> int:
        return 1 if len(self.classes) == 2 else len(self.classes)

    def encode(self, y: Array) -> Array:
        codes = np.minimum(np.searchsorted(self.classes, y), len(self.classes) - 1)
        unknown = self.classes[codes] != y
        if np.any(unknown):
            raise ValueError(
                f"y holds labels that are not among the classes: {np.unique(y[unknown]).tolist()}."
            )
        return codes[:, None].astype(np.float64) if self.n_outputs == 1 else codes

    def strata(self, targets: Array) -> IntArray:
        return targets.reshape(-1).astype(int)

    def balancing_factors(self, targets: Array, weight: FloatArray) -> FloatArray:
        """Factors (n,) of the weights with which all classes weigh the same, N / (K N_k)."""
        codes = self.strata(targets)
        totals = np.bincount(codes, weights=weight, minlength=len(self.classes))
        factors: FloatArray = weight.sum() / (len(totals) * np.maximum(totals, 1e-300))
        return factors[codes]

    def score(self, scores: FloatArray, targets: Array, weight: FloatArray) -> float:
        right = self.probabilities(scores).argmax(axis=1) == self.strata(targets)
        return float(np.average(right, weights=weight))

    def probabilities(self, scores: FloatArray) -> FloatArray:
        """P(class | scores), (n, n_classes)."""
        p = self.loss.inverse_link(scores)
        return np.hstack([1 - p, p]) if self.n_outputs == 1 else p

    def link(self, probabilities: FloatArray) -> FloatArray:
        """Scores of given probabilities, the inverse of `probabilities`."""
        log_p = np.log(np.maximum(probabilities, np.finfo(probabilities.dtype).tiny))
        return log_p[:, 1:] - log_p[:, :1] if self.n_outputs == 1 else log_p

    def decision(self, scores: FloatArray) -> FloatArray:
        """Scores in scikit-learn's shape: (n,) for two classes."""
        return scores[:, 0] if self.n_outputs == 1 else scores

    def decode(self, probabilities: FloatArray) -> Array:
        """The most probable class."""
        labels: Array = self.classes[probabilities.argmax(axis=1)]
        return labels


@dataclass(frozen=True)
class MultilabelTarget(ClassTarget):
    """Any subset of K labels, given as a 0-1 indicator matrix.

    Parameters
    ----------
    n_labels : int
        The number K.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.model import MultilabelTarget
    >>> target = MultilabelTarget(2)
    >>> target.decode(target.probabilities(np.array([[2.0, -2.0]])))
    array([[1, 0]])
    """

    n_labels: int

    loss = SigmoidCrossEntropy()

    @property
    def classes(self) -> IntArray:
        return np.arange(self.n_labels)

    @property
    def n_outputs(self) -> int:
        return self.n_labels

    def encode(self, y: Array) -> Array:
        if y.ndim != 2 or y.shape[1] != self.n_labels:
            raise ValueError(f"y must have shape (n_samples, {self.n_labels}); got {y.shape}.")
        return y.astype(np.float64)

    def score(self, scores: FloatArray, targets: Array, weight: FloatArray) -> float:
        right = np.all((scores > 0) == (targets > 0.5), axis=1)
        return float(np.average(right, weights=weight))

    def probabilities(self, scores: FloatArray) -> FloatArray:
        """P(label | scores), (n, n_labels)."""
        return self.loss.inverse_link(scores)

    def link(self, probabilities: FloatArray) -> FloatArray:
        """Scores of given probabilities, the inverse of `probabilities`."""
        # the closest to 0 and 1 that are not those
        info = np.finfo(probabilities.dtype)
        log_odds: FloatArray = logit(np.clip(probabilities, info.tiny, 1 - info.epsneg))
        return log_odds

    def decision(self, scores: FloatArray) -> FloatArray:
        """Scores (n, n_labels)."""
        return scores

    def decode(self, probabilities: FloatArray) -> IntArray:
        """Indicators of the labels that are more probable than not."""
        return (probabilities > 0.5).astype(int)
