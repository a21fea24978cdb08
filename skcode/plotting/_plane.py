"""The arrays behind the picture of a flow: states, arrows and regions in a plane."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import is_classifier, is_regressor
from sklearn.utils.multiclass import type_of_target

from skcode.fields import DrawnFields
from skcode.flow import flow
from skcode.model import ClassificationTarget, RegressionTarget
from skcode.utils._typing import Array, FloatArray

#: moments of a flow that has more intervals, unless the user names times
_MOMENTS = 21
#: points of a grid that are predicted at once
_ROWS_AT_ONCE = 2048


class FlowInPlane:
    """A flow at moments of [0, 1], seen in the plane of two state coordinates.

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
    coordinates : pair of int
        Which two states make the plane.
    times : array-like or None
        Moments, rounded to ends of intervals.
    """

    def __init__(
        self,
        fields: DrawnFields,
        states: FloatArray,
        controls: FloatArray,
        how: dict[str, Any],
        coordinates: tuple[int, int],
        times: ArrayLike | None,
    ):
        self.fields = fields
        self.controls = controls
        self.how = how
        self.coordinates = list(coordinates)
        n_intervals = len(states) - 1
        if times is None:
            times = np.linspace(0, 1, min(_MOMENTS, n_intervals + 1))
        times = np.asarray(times, dtype=float)
        if times.ndim != 1 or np.any((times < 0) | (times > 1)):
            raise ValueError(f"times must be moments in [0, 1]; got {times.tolist()}.")
        self.ends = np.unique(np.rint(times * n_intervals).astype(int))
        self.times = self.ends / n_intervals
        self.whole = states[self.ends]
        self.states = self.whole[:, :, self.coordinates]

    def _plane(self, resolution: int) -> tuple[tuple[FloatArray, FloatArray], FloatArray]:
        """Axes of a grid, and its points at each moment in the plane through the mean state."""
        across, up = (np.linspace(a, b, resolution) for a, b in limits(self.states))
        points = np.stack(np.meshgrid(across, up), axis=-1).reshape(-1, 2)
        planes = np.repeat(self.whole.mean(axis=1)[:, None], len(points), axis=1)
        planes[:, :, self.coordinates] = points
        return (across, up), planes

    @np.errstate(all="ignore")
    def arrows(self, resolution: int) -> dict[str, Any]:
        """The field that acts from each moment on; at t = 1 the one that acted last."""
        axes, planes = self._plane(resolution)
        last = len(self.controls) - 1
        vectors = [
            self.fields.combine(plane, self.controls[min(k, last)])[:, self.coordinates]
            for k, plane in zip(self.ends, planes, strict=True)
        ]
        shape = (len(planes), resolution, resolution, 2)
        return {"field_grid": axes, "field": np.reshape(vectors, shape)}

    @np.errstate(all="ignore")
    def regions(self, resolution: int, predict: Any) -> dict[str, Any]:
        """What is predicted at the end of the flow that starts in the plane at each moment."""
        if predict is None:
            return {}
        axes, planes = self._plane(resolution)
        values = [predict(self._arrive(k, z)) for k, z in zip(self.ends, planes, strict=True)]
        return {"grid": axes, "regions": np.reshape(values, (-1, resolution, resolution))}

    def _arrive(self, k: int, z: FloatArray) -> FloatArray:
        """States at time 1 of the flow that starts in z when k intervals are over."""
        n_intervals = len(self.controls)
        if k == n_intervals:
            return z
        # the flow takes its intervals to fill [0, 1]: slower, by the factor that is left
        share = (n_intervals - k) / n_intervals
        end: FloatArray = flow(self.fields, z, share * self.controls[k:], **self.how)
        return end


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
        classes = model.classes_
        return np.searchsorted(classes, y), classes.tolist()
    if type_of_target(y) == "continuous" or (model is not None and is_regressor(model)):
        return np.asarray(y, dtype=float), None
    classes, codes = np.unique(y, return_inverse=True)
    return codes, classes.tolist()


def predictor(model: Any, member: int) -> Callable[[FloatArray], FloatArray] | None:
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
