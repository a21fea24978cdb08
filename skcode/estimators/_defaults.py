"""What the estimators choose where the user leaves the choice: fields, sizes, solver."""

from __future__ import annotations

from typing import Any

from sklearn.base import BaseEstimator, clone

from skcode.fields import (
    AffineFields,
    DiagonalFields,
    FieldFamily,
    LinearFields,
    NeuralFields,
    PolynomialFields,
    UniversalFields,
)
from skcode.gaussian_process import GaussianProcessReadout
from skcode.model import ClassificationTarget, RegressionTarget, Target
from skcode.solvers import LBFGS, SOLVERS, Adam, GaussNewton, Solver
from skcode.utils._sklearn import validate_parameters

#: entries of its matrix up to which "auto" takes Gauss-Newton: 72 MB in double precision
_MOST_ENTRIES = 9_000_000
#: rows up to which "auto" takes L-BFGS for larger matrices; beyond them it takes Adam
_MOST_FULL_BATCH_ROWS = 20_000
#: distinct rows from which data is ample: it supports a deeper flow, and needs less averaging
_AMPLE_ROWS = 1000
#: intervals where data is ample
_AMPLE_DEPTH = 3
#: intervals where it is not
_SMALL_DEPTH = 2
#: columns up to which each is a coordinate of the state: the time of a fit grows with coordinates,
#: and so do the controls that weigh them
_MOST_COLUMNS = 128
#: columns up to which they still are where linear regression needs all of them: twice the time
_MOST_TELLING_COLUMNS = 256
#: coordinates where columns are more, or where they are ramps
_COORDINATES = 96
#: members where data is not ample: few rows leave more to average, and cost less
_SMALL_MEMBERS = 6
#: members where data is ample
_AMPLE_MEMBERS = 4
#: members of a Gaussian process where rows are many: its cost grows faster than they do, and its
#: members differ less
_LARGE_MEMBERS = 2
#: distinct rows that are so many, for numbers
_LARGE_ROWS = 2500
#: and for classes, of which members differ for longer
_LARGE_ROWS_OF_CLASSES = 4097
#: members that are pooled with those of a Gaussian process where data is ample
_POOLED_MEMBERS = 2
#: classes up to which they are: their time grows with the classes
_MOST_POOLED_CLASSES = 20
#: least dimension of the state with the recommended fields
_LEAST_STATES = 64
#: coordinates of that state beside the inputs at least: fields need room to work in
_EXTRA_STATES = 32

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
    "readout": "GaussianProcessReadout()",
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


def check_nested(estimator: BaseEstimator, params: dict[str, Any]) -> None:
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


def choose_readout(
    readout: str | GaussianProcessReadout,
    solver: str | Solver,
    family: FieldFamily,
    has_validation: bool,
) -> str | GaussianProcessReadout:
    """The readout asked for; "auto" is the Gaussian process wherever a closed form can be had.

    Stochastic solvers, L-BFGS, images and validation sets keep the linear readout: the first two
    are for rows or parameters too many, and a validation set is there to watch one objective.
    """
    if isinstance(readout, GaussianProcessReadout):
        own: GaussianProcessReadout = clone(readout)
        validate_parameters(own)
        return own
    if readout == "gaussian_process":
        return GaussianProcessReadout()
    if readout != "auto":
        return readout
    exact = solver in ("auto", "gauss-newton") or isinstance(solver, GaussNewton)
    if exact and not has_validation and not family.of_images:
        return GaussianProcessReadout()
    return "linear"


def choose_depth(n_intervals: int | None, n_rows: int) -> int:
    """The number M of intervals."""
    if n_intervals is not None:
        return n_intervals
    return _AMPLE_DEPTH if n_rows >= _AMPLE_ROWS else _SMALL_DEPTH


def choose_members(
    n_members: int | None, n_rows: int, process: bool = False, of_classes: bool = False
) -> int:
    """The number of members; a Gaussian process has fewer where rows are many."""
    if n_members is not None:
        return n_members
    large = _LARGE_ROWS_OF_CLASSES if of_classes else _LARGE_ROWS
    if process and n_rows >= large:
        return _LARGE_MEMBERS
    return _AMPLE_MEMBERS if n_rows >= _AMPLE_ROWS else _SMALL_MEMBERS


def choose_pooled(n_pooled: int | None, n_rows: int, target: Target) -> int:
    """The number of members whose opinion on classes joins that of a Gaussian process."""
    if not isinstance(target, ClassificationTarget):
        return 0
    if n_pooled is not None:
        return n_pooled
    few_classes = len(target.classes) <= _MOST_POOLED_CLASSES
    return _POOLED_MEMBERS if n_rows >= _AMPLE_ROWS and few_classes else 0


def choose_coordinates(
    n_states: int | None, n_features: int, vector_fields: str | FieldFamily | None
) -> int | None:
    """Directions that the inputs are projected on; None for all inputs as they are.

    Only where fields and dimension are left to us: a family that a user names sees what it is
    given.
    """
    if n_states is not None or vector_fields is not None or n_features <= _MOST_COLUMNS:
        return None
    return _COORDINATES


def may_keep_columns(n_features: int) -> bool:
    """Whether all of more columns than usual may be coordinates, if all of them tell."""
    return n_features <= _MOST_TELLING_COLUMNS


def choose_scaling(
    scaling: str | None,
    vector_fields: str | FieldFamily | None,
    readout: str | GaussianProcessReadout,
    target: Target | None,
    projected: bool,
) -> str | None:
    """The scaling asked for; "auto" grows with the logarithm of what is far out, or bounds it.

    Numbers may follow an input however far it reaches, where classes are sure at some point. A
    process between known rows and the recommended fields, which are linear or bounded, bear large
    inputs; other fields may explode, and directions of very many columns would be those of a few
    outliers.
    """
    if scaling != "auto":
        return scaling
    numbers = isinstance(target, RegressionTarget) and isinstance(readout, GaussianProcessReadout)
    return "asinh" if numbers and vector_fields is None and not projected else "robust"


def choose_ramps(
    ramps: bool | str, n_states: int | None, n_inputs: int, vector_fields: str | FieldFamily | None
) -> int:
    """The most coordinates that ramps of the inputs may have; 0 for none."""
    if ramps == "auto" and (n_states is not None or vector_fields is not None):
        return 0
    if not ramps or choose_coordinates(n_states, n_inputs, vector_fields) is not None:
        return 0
    return _COORDINATES if n_states is None else n_states


def choose_dimension(
    n_states: int | None, n_features: int, vector_fields: str | FieldFamily | None
) -> int:
    """The dimension m of the state."""
    if n_states is None:
        # flows of the line keep the order of points: one input needs a second coordinate
        alone = vector_fields is not None
        return max(n_features, 2) if alone else max(_LEAST_STATES, n_features + _EXTRA_STATES)
    if n_states < n_features:
        raise ValueError(
            f"n_states={n_states} must be at least the number of features, {n_features}, where "
            "categories, dates and gaps count as several."
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


def scores_poorly(
    vector_fields: str | FieldFamily | None, readout: str | GaussianProcessReadout
) -> bool:
    """Whether a model cannot even fit a constant: the tag "poor_score" of scikit-learn."""
    family = FAMILIES.get(vector_fields) if isinstance(vector_fields, str) else type(vector_fields)
    return readout == "displacement" and family in _FLAT_FAMILIES
