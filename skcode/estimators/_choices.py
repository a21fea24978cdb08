"""What the estimators choose where the user leaves the choice: fields, sizes, solver."""

from __future__ import annotations

from typing import Any

from sklearn.base import clone

from skcode.fields import (
    AffineFields,
    DiagonalFields,
    FieldFamily,
    LinearFields,
    NeuralFields,
    PolynomialFields,
    UniversalFields,
)
from skcode.solvers import LBFGS, SOLVERS, Adam, GaussNewton, Solver

#: "auto" takes Gauss-Newton while its matrix has at most this many entries: 72 MB
_MOST_ENTRIES = 9_000_000
#: ... and for more parameters L-BFGS up to this many rows, then Adam
_MOST_FULL_BATCH_ROWS = 20_000
#: distinct rows from which there is ample data: three intervals and four members, below it two
#: intervals and six members
_AMPLE_ROWS = 1000

FAMILIES: dict[str, type[FieldFamily]] = {
    "neural": NeuralFields,
    "polynomial": PolynomialFields,
    "linear": LinearFields,
    "affine": AffineFields,
    "diagonal": DiagonalFields,
    "universal": UniversalFields,
}

#: fields whose flow alone displaces a state by a multiple of the inputs, or of one input
_FLAT_FAMILIES = (LinearFields, DiagonalFields)
#: what to set where a name or None stands, to reach the parameters behind it
_INSTANCES = {
    "vector_fields": "DiagonalFields() | NeuralFields(rank=1, sparse=0.5, centred=True), which is "
    "what None stands for",
    "solver": "Adam()",
}


def choose_family(vector_fields: str | FieldFamily | None) -> FieldFamily:
    """The family asked for; None is the recommended stack.

    Recommended are the trainable relevance of the inputs beside single neurons, half of them sparse
    and steep.
    """
    if vector_fields is None:
        return DiagonalFields() | NeuralFields(rank=1, sparse=0.5, centred=True)
    if isinstance(vector_fields, str):
        return FAMILIES[vector_fields]()
    family: FieldFamily = clone(vector_fields)
    return family


def check_nested(estimator: Any, params: dict[str, Any]) -> None:
    """Raise an error that says what to set first, where a part has no parameters yet."""
    for name in params:
        part, _, nested = name.partition("__")
        if nested and part in _INSTANCES:
            value = params.get(part, getattr(estimator, part))
            if not hasattr(value, "set_params"):
                raise ValueError(
                    f"{name} cannot be set while {part}={value!r}: first set {part} to an "
                    f"instance, such as {_INSTANCES[part]}."
                )


def choose_depth(n_intervals: int | None, n_rows: int) -> int:
    """The number M of intervals."""
    if n_intervals is not None:
        return n_intervals
    return 3 if n_rows >= _AMPLE_ROWS else 2


def choose_members(n_members: int | None, n_rows: int) -> int:
    """The number of members: few rows leave more to average, and cost less."""
    if n_members is not None:
        return n_members
    return 4 if n_rows >= _AMPLE_ROWS else 6


def choose_dimension(
    n_states: int | None, n_features: int, vector_fields: str | FieldFamily | None
) -> int:
    """The dimension m of the state."""
    if n_states is None:
        # flows of the line keep the order of points: one input needs a second coordinate
        alone = vector_fields is not None
        return max(n_features, 2) if alone else max(64, n_features + 32)
    if n_states < n_features:
        raise ValueError(
            f"n_states={n_states} must be at least the number of features, {n_features}."
        )
    return n_states


def choose_solver(solver: str | Solver, n_entries: int, n_rows: int) -> Solver:
    """The solver asked for; "auto" is Gauss-Newton while its matrix is small."""
    if isinstance(solver, Solver):
        own: Solver = clone(solver)
        return own
    if solver != "auto":
        return SOLVERS[solver]()
    if n_entries <= _MOST_ENTRIES:
        return GaussNewton()
    return LBFGS() if n_rows <= _MOST_FULL_BATCH_ROWS else Adam()


def scores_poorly(vector_fields: str | FieldFamily | None, readout: str) -> bool:
    """Whether a model cannot even fit a constant: the tag "poor_score" of scikit-learn."""
    family = FAMILIES.get(vector_fields) if isinstance(vector_fields, str) else type(vector_fields)
    return readout == "displacement" and family in _FLAT_FAMILIES
