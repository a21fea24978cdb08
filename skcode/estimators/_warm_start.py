"""What the members of a model are drawn from: it stays while a training goes on."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

#: parameters that decide what is drawn; the others may change between two fits
_DRAWN = {
    "vector_fields",
    "n_fields",
    "n_intervals",
    "n_states",
    "n_members",
    "integrator",
    "readout",
    "scaling",
    "ramps",
    "value_effects",
    "loss",
    "quantile",
    "categorical_features",
}


def drawn_from(estimator: BaseEstimator) -> dict[str, Any]:
    """The parameters that the members are drawn from, nested ones included."""
    return {
        # a family or a readout is compared by its kind and its parameters, which can change in
        # place
        name: type(value).__name__ if isinstance(value, BaseEstimator) else value
        for name, value in estimator.get_params().items()
        if name.split("__")[0] in _DRAWN
    }


def check_unchanged(estimator: BaseEstimator, before: dict[str, Any]) -> None:
    """Raise an error that names a parameter which an existing model cannot follow.

    `before` is what `drawn_from` gave when the model was drawn.
    """
    now = drawn_from(estimator)
    # a family before its parameters
    for name in sorted(now, key=lambda name: name.count("__")):
        value: Any = now[name]
        old: Any = before.get(name)
        if value is not old and not np.array_equal(value, old):
            raise ValueError(
                f"{name}={value!r} was {old!r} when the model was drawn, and a model that is "
                "trained further keeps it. Set it back, or draw a new model: fit with "
                "warm_start=False."
            )
