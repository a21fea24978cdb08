"""What the displays share: members, steps of pipelines, axes, colours."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from skcode.model import FittedEstimator
from skcode.utils._sklearn import check_matplotlib_support

#: distinct in hue and in lightness
COLOURS = ["#33658a", "#c8412b", "#e3a32f", "#4f8a5b", "#7d5ba6", "#3fa7a0", "#8c564b", "#5a6472"]
GREY = "#8a93a0"


def class_colours(n_classes: int) -> list[Any]:
    """A colour for each class, all of them different."""
    if n_classes <= len(COLOURS):
        return COLOURS[:n_classes]
    import matplotlib

    if n_classes <= 20:
        listed = matplotlib.colormaps["tab10" if n_classes <= 10 else "tab20"]
        return [listed(k) for k in range(n_classes)]
    return [matplotlib.colormaps["turbo"](k / (n_classes - 1)) for k in range(n_classes)]


def last_step(estimator: Any, X: ArrayLike | None = None) -> tuple[Any, Any]:
    """The model at the end of a search and a pipeline, and X as it arrives there."""
    while not hasattr(estimator, "controls_"):
        if hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        elif isinstance(estimator, Pipeline):
            if X is not None:
                X = estimator[:-1].transform(X)
            estimator = estimator[-1]
        else:
            check_is_fitted(estimator)
            raise TypeError(
                f"A {type(estimator).__name__} has no controls: what is drawn is a controlled ODE, "
                "or a pipeline or search that ends in one."
            )
    return estimator, X


def several_members(estimator: FittedEstimator) -> bool:
    """Whether fitted attributes have a leading axis, or are lists, over members."""
    return np.ndim(estimator.controls_) == 3


def of_member(estimator: FittedEstimator, name: str, member: int) -> Any:
    """A fitted attribute of one member."""
    value, n_members = getattr(estimator, name), 1
    if several_members(estimator):
        n_members = len(estimator.controls_)
    if isinstance(member, bool) or not isinstance(member, Integral) or not 0 <= member < n_members:
        raise ValueError(f"member={member!r} must lie in 0..{n_members - 1}.")
    return value[member] if several_members(estimator) else value


def one_axes(caller: str, ax: Any) -> Any:
    """The axes to draw on: those given, or new ones."""
    check_matplotlib_support(caller)
    import matplotlib.pyplot as plt

    return plt.subplots(layout="constrained")[1] if ax is None else ax


def names_of_coordinates(model: FittedEstimator) -> Sequence[str] | None:
    """Names of the coordinates that carry inputs; None where they are no columns of X."""
    names = getattr(model, "feature_names_in_", None)
    input_map = model.ensemble_.input_map
    if names is None or input_map.projection is not None:
        return None
    # a table's columns may become several coordinates each
    encoder = getattr(model, "encoder_", None)
    if encoder is not None:
        names = encoder.get_feature_names_out()
    if input_map.ramps is not None:
        names = input_map.ramps.names(names)
    return names if len(names) == input_map.n_coordinates else None
