"""What `fit` and `predict` are given, checked: one number for each cell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from sklearn.utils import check_array, check_X_y
from sklearn.utils.validation import validate_data

from skcode.columns import (
    MOST_DENSE_COLUMNS,
    SPARSE_COORDINATES,
    ColumnEncoder,
    as_table,
    check_no_infinity,
    check_sparse,
    columns_of,
)
from skcode.utils._typing import BoolArray

#: what scikit-learn takes for no targets at all, not even None
NO_TARGETS = "no_validation"


class TakesTables(Protocol):
    """What is read and learnt of an estimator that is given a table."""

    categorical_features: ArrayLike | str | None
    n_states: int | None
    #: what is learnt
    encoder_: ColumnEncoder
    #: set by scikit-learn's validation; names of columns, `feature_names_in_`, where there are some
    n_features_in_: int


def check_table(
    estimator: TakesTables,
    X: ArrayLike,
    y: ArrayLike | None = NO_TARGETS,
    *,
    reset: bool,
    **how: Any,
) -> Any:
    """One number (n, p) for each cell of X, NaN where it is missing; and the targets.

    With `reset` the columns are learnt: ``encoder_`` says what they are, by their types and by
    ``categorical_features``. Without it they are read as ``encoder_`` says, by value, whatever
    their types are now.

    Parameters
    ----------
    estimator : estimator
        What the table is for.
    X : array-like or data frame of shape (n, p)
        The table.
    y : array-like or None
        Targets, where there are some.
    reset : bool
        Whether this is the table of a fit.
    **how : dict
        Options of scikit-learn's `check_array` or `check_X_y`.

    Returns
    -------
    ndarray of shape (n, p), or a pair of it and the targets
    """
    X = as_table(X)
    check_targets(y, numeric=how.get("y_numeric", False))
    how["ensure_all_finite"] = False
    how["accept_sparse"] = "csr"
    chosen = estimator.categorical_features
    by_type = chosen is None or (isinstance(chosen, str) and chosen == "from_dtype")
    force = not by_type if reset else not estimator.encoder_.takes_numbers
    read = columns_of(X, force=force)
    if read is None:
        checked = validate_data(estimator, X, y, reset=reset, **how)
        values, *targets = checked if isinstance(checked, tuple) else (checked,)
        reads_sparse = not reset and estimator.encoder_.projection is not None
        if reads_sparse and not sparse.issparse(values):
            values = sparse.csr_array(values)
        if sparse.issparse(values):
            values = _sparse_or_dense(estimator, values, reset, force)
            if sparse.issparse(values):
                return (values, *targets) if targets else values
            checked = (values, *targets) if targets else values
        if reset:
            estimator.encoder_ = ColumnEncoder.of_numbers(values, _names(estimator))
    else:
        # names and number of columns alone; the columns are checked one by one
        validate_data(estimator, X, y, reset=reset, skip_check_array=True)
        raws = read(_names(estimator))
        if reset:
            categorical = _mask(chosen, estimator) if not isinstance(chosen, str) else None
            estimator.encoder_ = ColumnEncoder.of_table(raws, _names(estimator), categorical)
        values = estimator.encoder_.read(raws)
        if isinstance(y, str):
            checked = check_array(values, estimator=estimator, input_name="X", **how)
        else:
            checked = check_X_y(values, y, estimator=estimator, **how)
    check_no_infinity(values, _names(estimator))
    return checked


def check_targets(y: Any, *, numeric: bool = False) -> None:
    """Errors that say what to do, for targets that scikit-learn cannot sort or misreads.

    Parameters
    ----------
    y : array-like or None
        Targets.
    numeric : bool
        Whether they are numbers.

    Raises
    ------
    ValueError
        If some of them are missing: masked, or None among objects.
    TypeError
        If text stands beside other values, which have no order, or dates stand for numbers.
    """
    if np.ma.is_masked(y):
        raise ValueError("Input y contains NaN: masked targets. Leave these rows out.")
    if isinstance(y, (list, tuple)) and any(value is None for value in y):
        y = np.array(y, dtype=object)
    dtype = getattr(y, "dtype", None)
    if numeric and getattr(dtype, "kind", None) in ("m", "M"):
        raise TypeError(
            "y holds dates or durations, and numbers are needed: choose a unit, as in "
            "(y - y.min()) / np.timedelta64(1, 'D')."
        )
    if getattr(dtype, "kind", None) != "O" or dtype != np.dtype(object):
        return
    values = np.asarray(y, dtype=object).ravel()
    if any(_is_missing(value) for value in values):
        raise ValueError("Input y contains NaN. Leave these rows out.")
    if not numeric and len({isinstance(value, str) for value in values}) > 1:
        raise TypeError(
            "y holds text beside other values, which have no order: make all of it text, by "
            "y.astype(str)."
        )


def _is_missing(value: object) -> bool:
    """Whether an object stands for no value, in pandas too, which need not be installed."""
    if isinstance(value, float):
        return value != value
    return value is None or type(value).__name__ in ("NAType", "NaTType")


def _sparse_or_dense(estimator: TakesTables, X: Any, reset: bool, force: bool) -> Any:
    """Sparse rows of many columns as they are; dense ones where a column is a coordinate."""
    if force:
        raise ValueError(
            "categorical_features cannot be chosen in a sparse matrix: pass a data frame or an "
            "array."
        )
    if reset and X.shape[1] > MOST_DENSE_COLUMNS:
        n_states = estimator.n_states or SPARSE_COORDINATES
        estimator.encoder_ = ColumnEncoder.of_sparse(
            _names(estimator), min(n_states, SPARSE_COORDINATES)
        )
    elif reset or estimator.encoder_.projection is None:
        return X.toarray()
    check_sparse(X, _names(estimator))
    return X


def _names(estimator: TakesTables) -> list[str]:
    """Names of the columns, as scikit-learn names them."""
    names = getattr(estimator, "feature_names_in_", None)
    if names is None:
        return [f"x{j}" for j in range(estimator.n_features_in_)]
    return [str(name) for name in names]


def _mask(chosen: ArrayLike | None, estimator: TakesTables) -> BoolArray:
    """Which columns (p,) are categories, by `categorical_features`: names, indices or a mask."""
    n_features = estimator.n_features_in_
    mask = np.zeros(n_features, dtype=bool)
    if chosen is None:
        return mask
    which = np.asarray(chosen)
    if which.size == 0:
        return mask
    if which.ndim != 1 or which.dtype.kind not in "biuUSO":
        raise ValueError(
            "categorical_features must be 'from_dtype', None, or a list of names, indices or "
            f"booleans; got {chosen!r}."
        )
    if which.dtype.kind == "b":
        if len(which) != n_features:
            raise ValueError(
                f"categorical_features as a mask must have shape ({n_features},); got "
                f"{which.shape}."
            )
        return which
    if which.dtype.kind in "iu":
        if which.min() < 0 or which.max() >= n_features:
            raise ValueError(
                f"categorical_features as indices must lie in 0..{n_features - 1}; got {chosen!r}."
            )
        mask[which] = True
        return mask
    names: Sequence[str] | None = getattr(estimator, "feature_names_in_", None)
    if names is None:
        raise ValueError(
            "categorical_features holds names, and X has none: pass a data frame, or indices."
        )
    unknown = [name for name in which.tolist() if name not in set(names)]
    if unknown:
        raise ValueError(f"categorical_features names columns that X lacks: {unknown}.")
    return np.isin(names, which)
