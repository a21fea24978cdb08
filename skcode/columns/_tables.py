"""Tables of any library as columns; arrays of numbers are left alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import sparse

from skcode.columns._raw import RawColumn, raw_column

#: kinds of NumPy's types that are arrays of numbers: they need no reading
_NUMBERS = "biufc"


def columns_of(X: Any, *, force: bool = False) -> Callable[[list[str]], list[RawColumn]] | None:
    """What reads the columns of a table, given their names; None for arrays of numbers alone.

    Parameters
    ----------
    X : array-like or data frame
        Of pandas, polars or pyarrow; other frames, and lists, as the array that NumPy makes of
        them. Frames of pandas that hold nothing but NumPy's numbers count as arrays.
    force : bool
        Whether arrays of numbers are read as well, because some of their columns are categories.

    Returns
    -------
    function or None
        Takes the names of the columns, and gives a `RawColumn` for each.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.columns import columns_of
    >>> read = columns_of([["a", 1.0], ["b", None]])
    >>> [column.kind for column in read(["letter", "size"])]
    ['levels', 'number']
    >>> columns_of(np.eye(2)) is None
    True
    """
    if sparse.issparse(X):
        return None
    pick = None if _is_numbers(X) and not force else _picker(X)
    if pick is None:
        array = _array(X, force)
        if array is None:
            return None

        def pick(j: int) -> Any:
            return array[:, j]

    return lambda names: [raw_column(pick(j), name) for j, name in enumerate(names)]


def as_table(X: Any) -> Any:
    """X itself; of a masked array the values, with gaps where it is masked.

    NumPy drops the mask of an array without a word, and what lies under it is no value.

    Parameters
    ----------
    X : array-like or data frame
        A table.

    Returns
    -------
    array-like or data frame
        NaN, or None among objects, where X is masked.

    Raises
    ------
    TypeError
        If X is a lazy frame, whose rows are not there yet.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.columns import as_table
    >>> as_table(np.ma.masked_equal([[1, 2]], 2))
    array([[ 1., nan]])
    """
    if isinstance(X, np.ma.MaskedArray):
        if X.dtype.kind == "f":
            return X.filled(np.nan)
        if X.dtype.kind in "biu":
            return np.ma.asarray(X, dtype=np.float64).filled(np.nan)
        # `filled` takes None for the value of its own choice
        cells = np.array(X.data, dtype=object)
        cells[np.ma.getmaskarray(X)] = None
        return cells
    if hasattr(X, "collect_schema") and hasattr(X, "collect") and not hasattr(X, "shape"):
        raise TypeError("X is a lazy frame, whose rows are not there yet: call X.collect() first.")
    return X


def _is_numbers(X: Any) -> bool:
    """Whether this is a frame of pandas with NumPy's numbers alone."""
    if not (hasattr(X, "iloc") and hasattr(X, "columns")):
        return False
    return all(isinstance(dtype, np.dtype) and dtype.kind in "iufc" for dtype in X.dtypes)


def _picker(X: Any) -> Callable[[int], Any] | None:
    """Gives column j of a frame, whatever its name; None for what is no frame."""
    if hasattr(X, "iloc") and hasattr(X, "columns"):
        return lambda j: X.iloc[:, j]
    if hasattr(X, "to_series") and hasattr(X, "columns"):
        return lambda j: X.to_series(j)
    if hasattr(X, "column_names") and hasattr(X, "column"):
        return lambda j: X.column(j).to_pandas()
    return None


def _array(X: Any, force: bool) -> Any:
    """An array of objects, text or dates; None for one of numbers, and for what is no table."""
    try:
        array = np.asarray(X)
    except ValueError:
        # rows of different lengths: whoever checks the array says it best
        return None
    if array.ndim != 2 or (array.dtype.kind in _NUMBERS and not force):
        return None
    if array.dtype.kind in "USO" and not force and _spells_numbers(array):
        return None
    # NumPy makes text of all values of a list that holds some
    is_list = not hasattr(X, "dtype") and array.dtype.kind in "USO"
    return np.array(X, dtype=object) if is_list else array


def _spells_numbers(array: Any) -> bool:
    """Whether an array of text or objects holds nothing but numbers, as scikit-learn takes them."""
    try:
        array.astype(np.float64)
    except (TypeError, ValueError):
        return False
    return True
