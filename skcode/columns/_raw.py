"""One column of a table of any library, as numbers or as codes of levels.

What a column is, is told by its type, and where that is "object" by its values. No library of data
frames is imported: their columns know how to turn themselves into arrays.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from numbers import Real
from typing import Any

import numpy as np

from skcode.utils._typing import Array, BoolArray, FloatArray, IntArray

#: a day and a second, in nanoseconds: dates are in days, durations in seconds
_DAY = np.timedelta64(1, "D")
_SECOND = np.timedelta64(1, "s")
#: values that stand for a missing one, beside NaN and NaT: those of Python, pandas
_MISSING_NAMES = {"NAType", "NaTType", "NoneType"}


@dataclass(frozen=True, eq=False)
class RawColumn:
    """A column as it came.

    Parameters
    ----------
    kind : {"number", "date", "levels"}
        What the values are: numbers, days since 1970, or codes of levels.
    values : ndarray of shape (n,)
        Floats with NaN where a value is missing; for levels indices with -1 there.
    levels : tuple of str
        The distinct values, as text.
    ordered : bool
        Whether the order of the levels means something.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.columns import RawColumn
    >>> RawColumn("number", np.array([2.0, np.nan, 1.0])).as_levels().levels
    ('1', '2')
    """

    kind: str
    values: Array
    levels: tuple[str, ...] = ()
    ordered: bool = False

    @property
    def is_missing(self) -> bool:
        """Whether there is no value at all."""
        return not np.any(self.values >= 0 if self.kind == "levels" else ~np.isnan(self.values))

    def as_levels(self) -> RawColumn:
        """The same column as codes of levels: two values are one level if they read the same."""
        if self.kind == "levels":
            return self
        distinct, codes = np.unique(self.values, return_inverse=True)
        known = ~np.isnan(distinct)
        codes = np.where(known[codes], codes, -1)
        if self.kind == "date":
            texts = [str(_as_datetime(day)) for day in distinct[known]]
        else:
            texts = [text_of(float(value)) for value in distinct[known]]
        return _merged(codes, texts, ordered=False)

    def as_numbers(self) -> FloatArray:
        """Numbers with NaN; levels are read as numbers where they spell some.

        Raises
        ------
        ValueError
            If a level is no number.
        """
        if self.kind != "levels":
            return self.values
        numbers = np.array([*map(_spelt_number, self.levels), np.nan])
        # an index of -1 finds the NaN at the end
        return numbers[self.values]


def raw_column(column: Any, name: str) -> RawColumn:
    """Read a column: an array (n,), or a column of a data frame of any library.

    Parameters
    ----------
    column : ndarray or Series
        The column.
    name : str
        What errors call it.

    Returns
    -------
    RawColumn
        Its values, as numbers or codes, and what they mean.

    Raises
    ------
    TypeError
        If the values are lists, dicts, or of another type that is no value of a table.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.columns import raw_column
    >>> raw_column(np.array(["b", None, "a"], dtype=object), "letter")
    RawColumn(kind='levels', values=array([ 1, -1,  0]), levels=('a', 'b'), ordered=False)
    """
    dtype = getattr(column, "dtype", None)
    if hasattr(dtype, "categories") and hasattr(column, "cat") and hasattr(column.cat, "codes"):
        return _declared_levels(column)
    return _of_array(_as_array(column), name)


def _declared_levels(column: Any) -> RawColumn:
    """A column of pandas' type "category"."""
    codes = np.asarray(column.cat.codes, dtype=np.int64)
    categories = column.cat.categories
    texts = [text_of(value) for value in np.asarray(categories, dtype=object)]
    return _merged(codes, texts, ordered=bool(column.cat.ordered))


def _as_array(column: Any) -> Array:
    """A NumPy array of the values; dates keep what the clock showed, whatever the time zone."""
    if isinstance(column, np.ndarray):
        return column
    dtype = getattr(column, "dtype", getattr(column, "type", None))
    kind = getattr(dtype, "kind", None)
    if kind is None:
        # polars, pyarrow: missing numbers become NaN, missing dates NaT
        if getattr(dtype, "time_zone", None) is not None:
            column = column.dt.replace_time_zone(None)
        return np.asarray(column.to_numpy())
    if kind == "M":
        if _has_time_zone(dtype):
            column = column.dt.tz_localize(None)
        return _times(column, "datetime64[us]")
    if kind == "m":
        return _times(column, "timedelta64[us]")
    if hasattr(column, "dt") and hasattr(dtype, "freq"):
        # periods are their first days
        return np.asarray(column.dt.to_timestamp())
    if isinstance(dtype, np.dtype):
        return np.asarray(column)
    if kind in "biuf":
        floats: Array = column.to_numpy(dtype=np.float64, na_value=np.nan)
        return floats
    return np.asarray(column, dtype=object)


def _times(column: Any, unit: str) -> Array:
    """A column of pandas in its own unit, or in one that reaches far: nanoseconds end in 2262."""
    return np.asarray(column if isinstance(column.dtype, np.dtype) else column.astype(unit))


def _has_time_zone(dtype: Any) -> bool:
    arrow = getattr(dtype, "pyarrow_dtype", None)
    return getattr(dtype, "tz", getattr(arrow, "tz", None)) is not None


def _of_array(values: Array, name: str) -> RawColumn:
    kind = values.dtype.kind
    if values.ndim != 1 or kind == "V":
        raise _unusable(values[0], name)
    if kind in "biuf":
        return RawColumn("number", values.astype(np.float64))
    if kind == "M":
        return RawColumn("date", _days(values))
    if kind == "m":
        seconds = values / _SECOND
        return RawColumn("number", seconds.astype(np.float64))
    if kind == "c":
        raise ValueError(f"Complex data not supported: column {name!r} of X.")
    return _of_objects(values.astype(object), name)


def _of_objects(values: Array, name: str) -> RawColumn:
    """Objects of Python: numbers or dates if all of them are, and text otherwise."""
    kinds = {type(value) for value in values}
    missing = [kind for kind in kinds if kind.__name__ in _MISSING_NAMES]
    kinds -= set(missing)
    gone = np.array([type(value) in missing for value in values]) if missing else None
    if all(issubclass(kind, (Real, np.bool_, Decimal, Fraction)) for kind in kinds):
        try:
            return RawColumn("number", _filled(values, gone, np.float64, np.nan))
        except OverflowError as error:
            # scikit-learn's words for numbers that are too large
            raise ValueError(
                f"Column {name!r} of X contains infinity or a value too large for dtype('float64')."
            ) from error
    # a NaN among strings or dates is a missing value
    nan = np.array([isinstance(value, (float, np.floating)) and value != value for value in values])
    gone = nan if gone is None else gone | nan
    kinds = {type(value) for value in values[~gone]}
    if kinds and all(issubclass(kind, (date, np.datetime64)) for kind in kinds):
        plain = [_naive(value) for value in values[~gone]]
        days = np.full(len(values), np.nan)
        days[~gone] = _days(np.array(plain, dtype="datetime64[us]"))
        return RawColumn("date", days)
    if kinds and all(issubclass(kind, (timedelta, np.timedelta64)) for kind in kinds):
        seconds = np.full(len(values), np.nan)
        seconds[~gone] = np.array(values[~gone], dtype="timedelta64[us]") / _SECOND
        return RawColumn("number", seconds)
    if kinds and all(issubclass(kind, time) for kind in kinds):
        seconds = np.full(len(values), np.nan)
        seconds[~gone] = [_seconds_of_day(value) for value in values[~gone]]
        return RawColumn("number", seconds)
    return _text_levels(values, gone, name)


def _filled(values: Array, gone: BoolArray | None, dtype: Any, fill: float) -> FloatArray:
    if gone is None:
        return values.astype(dtype)
    return np.where(gone, fill, values).astype(dtype)


def _naive(value: Any) -> Any:
    return value.replace(tzinfo=None) if isinstance(value, datetime) else value


def _seconds_of_day(value: time) -> float:
    return value.hour * 3600 + value.minute * 60 + value.second + value.microsecond * 1e-6


def _text_levels(values: Array, gone: BoolArray, name: str) -> RawColumn:
    """Codes of values of any type; equal values of different types may read differently."""
    index: dict[tuple[type, Any], int] = {}
    texts: list[str] = []
    codes = np.full(len(values), -1)
    for i in np.flatnonzero(~gone):
        value = values[i]
        key = (type(value), value)
        try:
            code = index.get(key)
        except TypeError as error:
            raise _unusable(value, name) from error
        if code is None:
            if not _is_scalar(value):
                raise _unusable(value, name)
            code = index[key] = len(texts)
            texts.append(text_of(value))
        codes[i] = code
    return _merged(codes, texts, ordered=False)


def _is_scalar(value: Any) -> bool:
    """Whether a value is one thing that can be read: not a collection, nor an address in memory."""
    kind: Any = type(value)
    reads = kind.__str__ is not object.__str__ or kind.__repr__ is not object.__repr__
    return isinstance(value, (str, bytes)) or (reads and not isinstance(value, Iterable))


def _unusable(value: Any, name: str) -> TypeError:
    kind = type(value).__name__
    return TypeError(
        f"Column {name!r} of X holds values of type {kind!r}: every argument must be a string, a "
        "number, a date or missing."
    )


def text_of(value: Any) -> str:
    """A level as text: 1, 1.0 and "1" are the same level."""
    if isinstance(value, (bytes, np.bytes_)):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return str(int(value))
    return str(value)


def _merged(codes: IntArray, texts: list[str], ordered: bool) -> RawColumn:
    """Levels in the order of their text, or in their own; those that read the same are one."""
    distinct = list(dict.fromkeys(texts)) if ordered else sorted(set(texts))
    place = {text: k for k, text in enumerate(distinct)}
    table = np.array([*(place[text] for text in texts), -1])
    return RawColumn("levels", table[codes], tuple(distinct), ordered)


def _days(values: Array) -> FloatArray:
    """Days since 1970, NaN for NaT."""
    whole = values.astype("datetime64[D]")
    # a unit finer than days may not reach from here to 1970
    days: FloatArray = (whole - np.datetime64(0, "D")) / _DAY + (values - whole) / _DAY
    return days


def _as_datetime(day: float) -> np.datetime64:
    return np.datetime64(round(day * 86_400), "s")


def _spelt_number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        if text in ("True", "False"):
            return float(text == "True")
        raise
