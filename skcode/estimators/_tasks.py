"""What is predicted: the encoding of targets for a loss, and the decoding of scores."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit
from sklearn.metrics import r2_score

from skcode.inputs import weighted_moments
from skcode.losses import SigmoidCrossEntropy, SoftmaxCrossEntropy, SquaredError


class Task(ABC):
    """A kind of target, learnt from the training targets.

    Attributes
    ----------
    loss : Loss
        The loss of scores against encoded targets.
    n_outputs : int
        Number K of scores.
    reach : float
        Size of the scores that the targets ask for.
    """

    #: a class attribute, or what a property computes
    loss: Any
    #: what log-odds reach where classes are as good as certain
    reach: float = 100.0

    @property
    @abstractmethod
    def n_outputs(self) -> int: ...

    @abstractmethod
    def encode(self, y: NDArray) -> NDArray:
        """Targets as the loss wants them."""

    def strata(self, targets: NDArray) -> NDArray | None:
        """Class codes of encoded targets, for stratified parts; None where there are none."""
        return None

    @abstractmethod
    def score(self, scores: NDArray, targets: NDArray, weight: NDArray) -> float:
        """R2 or accuracy of finite scores against encoded targets."""


def _columns(y: NDArray) -> NDArray:
    """Targets (n,) or (n, K) as numbers (n, K), which may come as strings, as in X."""
    Y = y.reshape(len(y), -1)
    return Y if Y.dtype.kind in "biuf" else Y.astype(np.float64)


@dataclass(frozen=True)
class RegressionTask(Task):
    """Standardised real targets."""

    mean: NDArray
    scale: NDArray
    y_ndim: int
    reach: float = 1.0

    loss = SquaredError()

    @classmethod
    def learn(cls, y: NDArray, weight: NDArray, scaling: bool) -> RegressionTask:
        """Mean and scale of targets (n,) or (n, K); none where `scaling` is off."""
        Y = _columns(y)
        mean, deviation = weighted_moments(Y, weight)
        if scaling:
            constant = deviation <= 1e-12 * np.abs(mean) + np.finfo(np.float64).tiny
            # a constant is learnt as it is: scale 0
            task = cls(mean, np.where(constant, 0.0, deviation), y.ndim)
        else:
            task = cls(np.zeros_like(mean), np.ones_like(mean), y.ndim)
        ends = np.array([Y.min(axis=0), Y.max(axis=0)])
        return replace(task, reach=max(float(np.abs(task.encode(ends)).max()), 1.0))

    @property
    def n_outputs(self):
        return len(self.mean)

    def encode(self, y):
        Y = _columns(y)
        if Y.shape[1] != self.n_outputs:
            raise ValueError(f"y has {Y.shape[1]} outputs; the model has {self.n_outputs}.")
        gain = np.where(self.scale == 0, 0.0, 1 / np.where(self.scale == 0, 1.0, self.scale))
        targets = np.subtract(Y, self.mean, dtype=np.float64)
        targets *= gain
        return targets

    def score(self, scores, targets, weight):
        if len(targets) < 2:
            return float("nan")
        return float(r2_score(targets, scores, sample_weight=weight))

    def decode(self, scores: NDArray) -> NDArray:
        """Predictions in the units of y."""
        return self._shaped(scores * self.scale + self.mean, scores.dtype)

    def spread(self, deviations: NDArray) -> NDArray:
        """Standard deviations of scores in the units of y."""
        return self._shaped(deviations * self.scale, deviations.dtype)

    def _shaped(self, y: NDArray, dtype: np.dtype) -> NDArray:
        """In the dtype of the inputs where that can hold the values, and in the shape of y."""
        if np.abs(y).max(initial=0) <= np.finfo(dtype).max:
            y = y.astype(dtype, copy=False)
        return y[:, 0] if self.y_ndim == 1 else y


@dataclass(frozen=True)
class ClassificationTask(Task):
    """One of K classes; two classes take one score."""

    classes: NDArray

    @classmethod
    def learn(cls, labels: NDArray) -> ClassificationTask:
        """The classes among the labels (n,)."""
        classes = np.unique(labels)
        if len(classes) < 2:
            raise ValueError(
                "Classification needs samples of at least 2 classes; the data holds "
                f"{len(classes)} class: {classes.tolist()}."
            )
        return cls(classes)

    @property
    def loss(self):
        return SigmoidCrossEntropy() if len(self.classes) == 2 else SoftmaxCrossEntropy()

    @property
    def n_outputs(self):
        return 1 if len(self.classes) == 2 else len(self.classes)

    def encode(self, y):
        codes = np.minimum(np.searchsorted(self.classes, y), len(self.classes) - 1)
        unknown = self.classes[codes] != y
        if np.any(unknown):
            raise ValueError(
                f"y holds labels that are not among the classes: {np.unique(y[unknown]).tolist()}."
            )
        return codes[:, None].astype(np.float64) if self.n_outputs == 1 else codes

    def strata(self, targets):
        return targets.reshape(-1).astype(int)

    def score(self, scores, targets, weight):
        right = self.probabilities(scores).argmax(axis=1) == self.strata(targets)
        return float(np.average(right, weights=weight))

    def probabilities(self, scores: NDArray) -> NDArray:
        """P(class | scores), (n, n_classes)."""
        p = self.loss.mean(scores)
        return np.hstack([1 - p, p]) if self.n_outputs == 1 else p

    def link(self, probabilities: NDArray) -> NDArray:
        """Scores of given probabilities, the inverse of `probabilities`."""
        log_p = np.log(np.maximum(probabilities, np.finfo(probabilities.dtype).tiny))
        return log_p[:, 1:] - log_p[:, :1] if self.n_outputs == 1 else log_p

    def decision(self, scores: NDArray) -> NDArray:
        """Scores in scikit-learn's shape: (n,) for two classes."""
        return scores[:, 0] if self.n_outputs == 1 else scores

    def decode(self, probabilities: NDArray) -> NDArray:
        """The most probable class."""
        return self.classes[probabilities.argmax(axis=1)]


@dataclass(frozen=True)
class MultilabelTask(Task):
    """Any subset of K labels, given as a 0-1 indicator matrix."""

    n_labels: int

    loss = SigmoidCrossEntropy()

    @property
    def classes(self) -> NDArray:
        return np.arange(self.n_labels)

    @property
    def n_outputs(self):
        return self.n_labels

    def encode(self, y):
        if y.ndim != 2 or y.shape[1] != self.n_labels:
            raise ValueError(f"y must have shape (n_samples, {self.n_labels}); got {y.shape}.")
        return y.astype(np.float64)

    def score(self, scores, targets, weight):
        right = np.all((scores > 0) == (targets > 0.5), axis=1)
        return float(np.average(right, weights=weight))

    def probabilities(self, scores: NDArray) -> NDArray:
        """P(label | scores), (n, n_labels)."""
        return self.loss.mean(scores)

    def link(self, probabilities: NDArray) -> NDArray:
        """Scores of given probabilities, the inverse of `probabilities`."""
        # the closest to 0 and 1 that are not those
        info = np.finfo(probabilities.dtype)
        return logit(np.clip(probabilities, info.tiny, 1 - info.epsneg))

    def decision(self, scores: NDArray) -> NDArray:
        """Scores (n, n_labels)."""
        return scores

    def decode(self, probabilities: NDArray) -> NDArray:
        """Indicators of the labels that are more probable than not."""
        return (probabilities > 0.5).astype(int)
