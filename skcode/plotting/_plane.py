"""The arrays behind the picture of a flow: states, arrows and regions in a plane."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import is_classifier, is_regressor
from sklearn.utils import check_scalar
from sklearn.utils.multiclass import type_of_target

from skcode.fields import DrawnFields
from skcode.flow import flow
from skcode.model import ClassificationTarget, FittedEstimator, FittedMember, RegressionTarget
from skcode.utils._typing import Array, FloatArray

#: takes final states (n, m) to class codes or numbers (n,)
Predict: TypeAlias = Callable[[FloatArray], FloatArray]
#: moments of a flow that has more intervals, unless the user names times
_MOMENTS = 21
#: samples at whose final states the gradients of the scores are taken
_GRADIENTS = 256
#: outputs each of which has gradients of its own
_MOST_OUTPUTS = 10
#: least size of a direction, relative to the first, that counts as read
_LEAST_SIZE = 1e-3
#: points of a grid that are predicted at once
_ROWS_AT_ONCE = 2048


class CoordinatePlane:
    """Two coordinates of the state; the others are those of the mean state at each moment.

    Parameters
    ----------
    coordinates : pair of int
        Which two.
    """

    def __init__(self, coordinates: tuple[int, int]):
        self.coordinates = list(coordinates)

    def project(self, states: FloatArray) -> FloatArray:
        """Positions (..., 2) in the plane of states, or of vectors, (..., m)."""
        return states[..., self.coordinates]

    vectors = project

    def points(self, states: FloatArray, z: FloatArray) -> FloatArray:
        """States (n, m) at positions (n, 2), given the states of samples at that moment."""
        points = np.repeat(states.mean(axis=0)[None], len(z), axis=0)
        points[:, self.coordinates] = z
        return points


class DirectionPlane:
    r"""Two directions of the state space; off them, states are where samples are in the mean.

    A position z is :math:`P^\top (x - x_0)`. Of all states with this position the plane holds
    the one that linear regression of the samples' states on their positions predicts.

    Parameters
    ----------
    directions : ndarray of shape (m, 2)
        The columns of P.
    origin : ndarray of shape (m,)
        The state at position zero.
    """

    def __init__(self, directions: FloatArray, origin: FloatArray):
        self.directions = directions
        self.origin = origin

    def project(self, states: FloatArray) -> FloatArray:
        """Positions (..., 2) in the plane of states (..., m)."""
        return (states - self.origin) @ self.directions

    def vectors(self, vectors: FloatArray) -> FloatArray:
        """Components (..., 2) in the plane of vectors (..., m)."""
        return vectors @ self.directions

    def points(self, states: FloatArray, z: FloatArray) -> FloatArray:
        """States (n, m) at positions (n, 2), given the states of samples at that moment."""
        mean = states.mean(axis=0)
        positions = self.project(states)
        slopes = np.linalg.lstsq(positions - self.project(mean), states - mean, rcond=None)[0]
        points: FloatArray = mean + (z - self.project(mean)) @ slopes
        return points.astype(states.dtype, copy=False)


def plane_of_readout(member: FittedMember, states: FloatArray) -> DirectionPlane:
    r"""The two directions of final states along which the scores of a member change most.

    With the gradients :math:`g_{nk}` of the scores at final states, in units of the deviations of
    the states, these are the first eigenvectors of :math:`\sum_{nk} g_{nk} g_{nk}^\top`. Where the
    gradients span one direction only, as those of a linear readout of one output do, the second one
    is the direction in which the states vary most beside it.

    Parameters
    ----------
    member : FittedMember
        The member.
    states : ndarray of shape (M + 1, n, m)
        Its states at the ends of the intervals.
    """
    some = np.unique(np.linspace(0, states.shape[1] - 1, _GRADIENTS).astype(int))
    x0, x1 = states[0, some], states[-1, some]
    n_outputs = member.n_outputs
    weights = np.eye(n_outputs)
    if n_outputs > _MOST_OUTPUTS:
        # sums of so many scores with random signs see what all of them see
        weights = np.random.default_rng(0).choice([-1.0, 1.0], size=(_MOST_OUTPUTS, n_outputs))
    deviation = states[-1].std(axis=0, dtype=np.float64)
    inverse = np.divide(1, deviation, out=np.zeros_like(deviation), where=deviation > 0)
    gradients = [_state_gradient(member, x1, x0, weight) * deviation for weight in weights]
    varying = (states[-1] - states[-1].mean(axis=0)) * inverse
    _, size, first = np.linalg.svd(np.concatenate(gradients), full_matrices=False)
    found = first[: min(2, int(np.sum(size > _LEAST_SIZE * max(size[0], 1e-300))))]
    beside = varying - varying @ found.T @ found
    if len(beside) < 2:
        # a single sample varies in no direction: any one beside those found will do
        others = np.eye(found.shape[1]) - found.T @ found
        beside = np.concatenate([beside, np.finfo(float).eps * others])
    rest = np.linalg.svd(beside, full_matrices=False)[2][: 2 - len(found)]
    directions = np.concatenate([found, rest])
    # the sign of a direction is free: its largest component is positive
    largest = np.abs(directions).argmax(axis=1)
    directions = directions * np.sign(directions[np.arange(2), largest])[:, None]
    return DirectionPlane((directions * inverse).T, states[-1].mean(axis=0))


def _state_gradient(
    member: FittedMember, x1: FloatArray, x0: FloatArray, weight: FloatArray
) -> FloatArray:
    covector = np.repeat(weight[None], len(x1), axis=0)
    if member.head is not None:
        return member.head.state_gradient(x1, x0, covector)
    gradient: FloatArray = covector @ member.model.readout.state_gradient(member.parameters)
    return gradient


Plane: TypeAlias = CoordinatePlane | DirectionPlane


class FlowInPlane:
    """A flow at moments of [0, 1], seen in a plane.

    Parameters
    ----------
    fields : DrawnFields
        Drawn fields on R^m.
    states : ndarray of shape (M + 1, N, m)
        States of samples at the ends of the intervals.
    controls : ndarray of shape (M, d)
        The controls.
    how : dict
        Options of `skcode.flow.flow`.
    plane : Plane
        The plane.
    times : array-like or None
        Moments, rounded to ends of intervals.
    """

    def __init__(
        self,
        fields: DrawnFields,
        states: FloatArray,
        controls: FloatArray,
        how: dict[str, Any],
        plane: Plane,
        times: ArrayLike | None,
    ):
        self.fields = fields
        self.controls = controls
        self.how = how
        self.plane = plane
        n_intervals = len(states) - 1
        if times is None:
            times = np.linspace(0, 1, min(_MOMENTS, n_intervals + 1))
        times = np.asarray(times, dtype=float)
        check_moments("times", times)
        if not np.isfinite(states).all():
            raise ValueError("The flow explodes: there is nothing to draw.")
        self.ends = np.unique(np.rint(times * n_intervals).astype(int))
        self.times = self.ends / n_intervals
        self.whole = states[self.ends]
        self.states = plane.project(self.whole)

    def _grid(
        self, name: str, resolution: int
    ) -> tuple[tuple[FloatArray, FloatArray], list[FloatArray]]:
        """Axes of a grid, and the states at its points at each moment."""
        check_scalar(resolution, name, Integral, min_val=2)
        across, up = (np.linspace(a, b, resolution) for a, b in limits(self.states))
        points = np.stack(np.meshgrid(across, up), axis=-1).reshape(-1, 2)
        return (across, up), [self.plane.points(states, points) for states in self.whole]

    @np.errstate(all="ignore")
    def arrows(self, resolution: int) -> dict[str, Any]:
        """The field that acts from each moment on; at t = 1 the one that acted last."""
        axes, grids = self._grid("field_resolution", resolution)
        last = len(self.controls) - 1
        vectors = [
            self.plane.vectors(self.fields.combine(grid, self.controls[min(k, last)]))
            for k, grid in zip(self.ends, grids, strict=True)
        ]
        shape = (len(grids), resolution, resolution, 2)
        return {"field_grid": axes, "field": np.reshape(vectors, shape)}

    @np.errstate(all="ignore")
    def regions(self, resolution: int, predict: Predict) -> dict[str, Any]:
        """What is predicted at the end of the flow that starts in the plane at each moment."""
        axes, grids = self._grid("grid_resolution", resolution)
        values = [predict(self._arrive(k, z)) for k, z in zip(self.ends, grids, strict=True)]
        return {"grid": axes, "regions": np.reshape(values, (-1, resolution, resolution))}

    @np.errstate(all="ignore")
    def fidelity(self, predict: Predict, own: FloatArray, of_classes: bool) -> FloatArray:
        """How far the plane tells the predictions of the samples, at each moment.

        It compares what is predicted where the plane has a sample with what is predicted for the
        sample: the share of classes that are the same, or the R2 of numbers.
        """
        shares = []
        for k, states, z in zip(self.ends, self.whole, self.states, strict=True):
            seen = predict(self._arrive(k, self.plane.points(states, z)))
            if of_classes:
                shares.append(np.mean(seen == own))
            else:
                total = float(np.sum((own - own.mean()) ** 2))
                shares.append(1 - float(np.sum((seen - own) ** 2)) / max(total, 1e-300))
        fidelity: FloatArray = np.nan_to_num(np.array(shares), nan=-np.inf)
        return fidelity

    def _arrive(self, k: int, z: FloatArray) -> FloatArray:
        """States at time 1 of the flow that starts in z when k intervals are over."""
        n_intervals = len(self.controls)
        if k == n_intervals:
            return z
        # the flow takes its intervals to fill [0, 1]: slower, by the factor that is left
        share = (n_intervals - k) / n_intervals
        end: FloatArray = flow(self.fields, z, share * self.controls[k:], **self.how)
        return end


def check_moments(name: str, times: FloatArray) -> None:
    """Raise an error unless times (T,) lie in [0, 1]."""
    if times.ndim != 1 or not len(times) or not np.all((times >= 0) & (times <= 1)):
        raise ValueError(f"{name} must be moments in [0, 1]; got {times.tolist()}.")


def check_coordinates(coordinates: tuple[int, int], n_states: int) -> tuple[int, int]:
    """Two indices of states, or an error."""
    pair = np.asarray(coordinates)
    if pair.shape != (2,) or pair.dtype.kind not in "iu" or not np.all(pair == pair % n_states):
        raise ValueError(
            f"coordinates={coordinates!r} must be two of the states 0..{n_states - 1}."
        )
    return int(pair[0]), int(pair[1])


def limits(states: FloatArray) -> FloatArray:
    """Of both coordinates: the range of all states, and a margin."""
    low, high = states.min(axis=(0, 1)), states.max(axis=(0, 1))
    margin = 0.08 * np.where(high > low, high - low, 1.0)
    return np.stack([low - margin, high + margin], axis=1)


def encoded(y: ArrayLike, model: Any = None) -> tuple[Array, list[Any] | None]:
    """Codes and names of classes, or numbers and None; a model says which of them y holds."""
    if np.ndim(y) != 1:
        raise ValueError(f"y must have shape (N,) to give colours; got {np.shape(y)}.")
    if model is not None and is_classifier(model):
        classes = model.classes_.tolist()
        code_of = {label: code for code, label in enumerate(classes)}
        labels = np.asarray(y).tolist()
        unknown = [label for label in labels if label not in code_of]
        if unknown:
            raise ValueError(f"y holds {unknown[0]!r}, which is none of the classes {classes}.")
        return np.array([code_of[label] for label in labels]), classes
    if type_of_target(y) == "continuous" or (model is not None and is_regressor(model)):
        return np.asarray(y, dtype=float), None
    classes, codes = np.unique(y, return_inverse=True)
    return codes, classes.tolist()


def predictor(model: FittedEstimator, member: int) -> Predict | None:
    """What a member predicts from final states: class codes, or numbers; None if it does not."""
    target = model.ensemble_.target
    # a readout that reads the initial state too says nothing of states on their way
    predicts = hasattr(model, "predict") and not hasattr(model, "scale_")
    if not predicts or not isinstance(target, ClassificationTarget | RegressionTarget):
        return None
    fitted = model.ensemble_.members[member]

    def predict(x: FloatArray) -> FloatArray:
        # some at a time: a Gaussian process has an entry for each of them and of its points
        parts = np.array_split(x, -(-len(x) // _ROWS_AT_ONCE))
        scores = np.concatenate([fitted.scores_of_states(part, part) for part in parts])
        finite = np.isfinite(scores).all(axis=1)
        values = np.full(len(x), np.nan)
        if isinstance(target, ClassificationTarget):
            values[finite] = target.probabilities(scores[finite]).argmax(axis=1)
        else:
            values[finite] = target.decode(scores[finite]).reshape(finite.sum(), -1)[:, 0]
        return values

    return predict
