"""What becomes of each column: numbers, levels and dates as coordinates of the model's input.

A column first becomes one number a row (`read`): a number, days, or the code of a level, with NaN
where it is missing. On these rows are compared and sorted. `learn` then looks at them and gives the
column that predicts, whose `encode` makes one or several coordinates of the number.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from skcode.columns._raw import RawColumn
from skcode.columns._statistic import cross_fitted, statistic
from skcode.inputs import NORMAL_IQR, weighted_quantiles
from skcode.utils._typing import Array, FloatArray, IntArray

#: indicators of levels in all columns together: the time of a fit grows with them
INDICATORS = 64
#: indicators that each column may have all the same: levels that change what other columns do need
#: them, and a statistic of the target does not tell
LEAST_INDICATORS = 20
#: weight of the rows from which a level has an indicator of its own
RARE_WEIGHT = 3.0
#: code of a level that was not there in the fit
_UNSEEN = -1.0
_DAYS_OF_WEEK = 7
#: robust deviations from the median beyond which a value is far: scaled inputs are bounded, and the
#: bound makes nearly one value of all that lie so far out
_FAR = 6.0
#: a number is heavy-tailed if more than this share of its rows is far
_FAR_SHARE = 0.05
#: and if it has more distinct values than this
_LEAST_VALUES = 20
#: share of the rows from which one value of a heavy-tailed number has an indicator
_ATOM_SHARE = 0.1
#: values between which ranks are linear
_MOST_KNOTS = 128


class Column(ABC):
    """One column of a table, as the model sees it.

    Attributes
    ----------
    name : str
        Name of the column.

    Examples
    --------
    >>> from skcode.columns import Column, NumberColumn
    >>> issubclass(NumberColumn, Column)
    True
    """

    name: str

    @abstractmethod
    def read(self, raw: RawColumn) -> FloatArray:
        """One number (n,) for each row, NaN where the value is missing."""

    @abstractmethod
    def learn(
        self,
        values: FloatArray,
        outputs: FloatArray | None,
        weight: FloatArray,
        most_indicators: int = LEAST_INDICATORS,
    ) -> Column:
        """The column that predicts, from what `read` gave of the training rows."""

    @abstractmethod
    def encode(self, values: FloatArray) -> FloatArray:
        """Coordinates (n, q) of what `read` gave."""

    def encode_training(
        self, values: FloatArray, outputs: FloatArray | None, weight: FloatArray
    ) -> FloatArray:
        """Coordinates of training rows, none of which has seen its own output."""
        return self.encode(values)

    @property
    @abstractmethod
    def labels(self) -> list[str]:
        """Names of the coordinates."""


@dataclass(frozen=True, eq=False)
class NumberColumn(Column):
    """A number: its value, the median where it is missing, and an indicator that it is.

    A heavy-tailed number has its rank beside the value: the share of the training rows below, plus
    half of those that are equal, and linear in between. Such is a number that has more than 5 % of
    its rows further than six robust deviations from its median, as counts and amounts have that are
    zero most of the time. The rank tells values apart wherever rows are, and the value, which some
    targets follow in proportion, how far out one lies. If one value has more than 10 % of the rows,
    an indicator tells it from its neighbours.

    Parameters
    ----------
    name : str
        Name of the column.
    levels : tuple of str
        Levels of an ordered category, whose places are the numbers; empty for other columns.
    median : float
        What stands for a missing value; NaN if there was none at all, and no coordinate either.
    has_indicator : bool
        Whether a coordinate says that the value is missing: if one was in the fit.
    knots : ndarray of shape (k,)
        Values of a heavy-tailed number, in rising order; empty for others.
    ranks : ndarray of shape (k,)
        Their ranks.
    atom : float
        The value of a heavy-tailed number that has an indicator; NaN if none has.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.columns import NumberColumn
    >>> values = np.array([1.0, np.nan, 3.0, 4.0])
    >>> column = NumberColumn("size").learn(values, None, np.ones(4))
    >>> column.labels
    ['size', 'size missing']
    >>> column.encode(values)[:2]
    array([[1., 0.],
           [3., 1.]])
    """

    name: str
    levels: tuple[str, ...] = ()
    median: float = np.nan
    has_indicator: bool = False
    knots: FloatArray = field(default_factory=lambda: np.empty(0))
    ranks: FloatArray = field(default_factory=lambda: np.empty(0))
    atom: float = np.nan

    def read(self, raw: RawColumn) -> FloatArray:
        if self.levels:
            return _places(self.levels, raw, unseen=np.nan)
        if raw.kind == "date":
            raise TypeError(f"Column {self.name!r} of X holds dates, and held numbers in the fit.")
        try:
            return raw.as_numbers()
        except ValueError as error:
            raise ValueError(
                f"Column {self.name!r} of X holds text, where numbers are expected: {error}. With "
                "categorical_features='from_dtype' columns of text are categories."
            ) from error

    def learn(
        self,
        values: FloatArray,
        outputs: FloatArray | None,
        weight: FloatArray,
        most_indicators: int = LEAST_INDICATORS,
    ) -> NumberColumn:
        known = ~np.isnan(values)
        learnt = self.without_ranks(values, weight)
        return learnt._with_ranks(values[known], weight[known]) if known.any() else learnt

    def without_ranks(self, values: FloatArray, weight: FloatArray) -> NumberColumn:
        """The column whose numbers stay as they are, whatever their tails."""
        missing = np.isnan(values)
        if missing.all():
            return self
        return replace(
            self, median=_median(values, weight, missing), has_indicator=bool(missing.any())
        )

    def _with_ranks(self, values: FloatArray, weight: FloatArray) -> NumberColumn:
        """The column with ranks if the values (n,), none of them missing, are heavy-tailed."""
        knots, places = np.unique(values, return_inverse=True)
        total: FloatArray = np.bincount(places, weight).astype(np.float64)
        # rows without weight leave no trace
        knots, total = knots[total > 0], total[total > 0]
        if len(knots) <= _LEAST_VALUES:
            return self
        low, high = weighted_quantiles(values[:, None], weight, [0.25, 0.75])[:, 0]
        far = np.abs(knots - self.median) > _FAR * (high - low) / NORMAL_IQR
        if total[far].sum() <= _FAR_SHARE * total.sum():
            return self
        ranks = (np.cumsum(total) - total / 2) / total.sum()
        atom = knots[np.argmax(total)] if total.max() > _ATOM_SHARE * total.sum() else np.nan
        if len(knots) > _MOST_KNOTS:
            some = np.searchsorted(ranks, np.linspace(ranks[0], ranks[-1], _MOST_KNOTS))
            some = np.unique(np.minimum(some, len(knots) - 1))
            knots, ranks = knots[some], ranks[some]
        return replace(self, knots=knots, ranks=ranks, atom=float(atom))

    def encode(self, values: FloatArray) -> FloatArray:
        if np.isnan(self.median):
            return np.empty((len(values), 0))
        missing = np.isnan(values)
        filled = np.where(missing, self.median, values)
        parts = [filled]
        if len(self.knots):
            parts.append(np.interp(filled, self.knots, self.ranks))
        if self.has_indicator:
            parts.append(missing)
        if not np.isnan(self.atom):
            parts.append(values == self.atom)
        return np.column_stack(parts)

    @property
    def labels(self) -> list[str]:
        if np.isnan(self.median):
            return []
        labels = [self.name]
        if len(self.knots):
            labels.append(f"{self.name} rank")
        if self.has_indicator:
            labels.append(f"{self.name} missing")
        if not np.isnan(self.atom):
            labels.append(f"{self.name}={self.atom:g}")
        return labels


@dataclass(frozen=True, eq=False)
class CategoryColumn(Column):
    """A category: a row of coordinates for each level.

    Few levels have an indicator each, rare ones one together, and a missing value counts as a
    level. Of many levels the most frequent have an indicator, and all have a statistic of the
    target beside it; without targets, the logarithm of their frequency. What was not there in the
    fit is as rare levels are, or as the mean of all rows.

    Parameters
    ----------
    name : str
        Name of the column.
    levels : tuple of str
        The levels of the fit.
    table : ndarray of shape (len(levels) + 2, q)
        Coordinates of the levels, of a missing value, and of one that is new.
    n_statistics : int
        How many coordinates, the last ones, are statistics of the target.
    names : tuple of str
        Names of the coordinates.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.columns import CategoryColumn, raw_column
    >>> colours = raw_column(np.repeat(["red", "green", "blue"], 5), "colour")
    >>> column = CategoryColumn("colour", colours.levels)
    >>> column = column.learn(column.read(colours), None, np.ones(15))
    >>> column.labels
    ['colour=blue', 'colour=green', 'colour=red']
    >>> column.encode(column.read(raw_column(np.array(["red", "pink"]), "colour"))).round(2)
    array([[0.  , 0.  , 1.  ],
           [0.33, 0.33, 0.33]])
    """

    name: str
    levels: tuple[str, ...] = ()
    table: FloatArray = field(default_factory=lambda: np.empty((2, 0)))
    n_statistics: int = 0
    names: tuple[str, ...] = ()

    def read(self, raw: RawColumn) -> FloatArray:
        return _places(self.levels, raw.as_levels(), unseen=_UNSEEN)

    def with_levels_of(self, values: FloatArray) -> tuple[CategoryColumn, FloatArray]:
        """The column with the levels that there are alone, and the values that they then have."""
        present = np.unique(values[~np.isnan(values)]).astype(np.int64)
        place = np.full(len(self.levels) + 1, np.nan)
        place[present] = np.arange(len(present))
        found = np.where(np.isnan(values), len(self.levels), values).astype(np.int64)
        return replace(self, levels=tuple(self.levels[k] for k in present)), place[found]

    def _codes(self, values: FloatArray) -> IntArray:
        """Rows of the table."""
        n_levels = len(self.levels)
        places = np.where(values == _UNSEEN, n_levels + 1, values)
        return np.where(np.isnan(places), n_levels, places).astype(np.int64)

    def learn(
        self,
        values: FloatArray,
        outputs: FloatArray | None,
        weight: FloatArray,
        most_indicators: int = LEAST_INDICATORS,
    ) -> CategoryColumn:
        codes = self._codes(values)
        n_rows = len(self.levels) + 2
        total: FloatArray = np.bincount(codes, weight, n_rows).astype(np.float64)
        count = np.bincount(codes, minlength=n_rows)
        many = np.count_nonzero(count) > LEAST_INDICATORS
        table, labels = self._indicators(total, count > 0, most_indicators)
        n_statistics = 0
        if many:
            if outputs is None:
                more = np.log1p(total)[:, None]
                names = [f"{self.name} frequency"]
            else:
                more = statistic(codes, n_rows, outputs, weight)
                n_statistics = more.shape[1]
                names = [f"{self.name} statistic {k}" for k in range(n_statistics)]
            table, labels = np.hstack([table, more]), labels + names
        return replace(self, table=table, names=tuple(labels), n_statistics=n_statistics)

    def _indicators(
        self, total: FloatArray, seen: Array, n_frequent: int
    ) -> tuple[FloatArray, list[str]]:
        """Indicators of the most frequent levels, one of the rest, and their names."""
        frequent = np.argsort(-total, kind="stable")[:n_frequent]
        own = seen & (total >= RARE_WEIGHT)
        own &= np.isin(np.arange(len(total)), frequent)
        rest = seen & ~own
        groups = [np.arange(len(total)) == k for k in np.flatnonzero(own)]
        names = [self._level_name(k) for k in np.flatnonzero(own)]
        if rest.any():
            # also what is new, and missing values if none were there
            groups.append(~own)
            names.append(f"{self.name} other")
        table = np.array(groups, dtype=np.float64).T
        share = total @ table / total.sum()
        if not rest.any():
            table[~seen] = share
        if len(groups) == 2:
            # the first would say the same once more
            table, names = table[:, 1:], names[1:]
        if len(groups) == 1:
            table, names = table[:, :0], []
        return table, names

    def _level_name(self, k: np.integer[Any]) -> str:
        if k == len(self.levels):
            return f"{self.name} missing"
        # rows that came before the column was learnt, but not with those that told its levels
        return f"{self.name} new" if k > len(self.levels) else f"{self.name}={self.levels[k]}"

    @property
    def has_many_levels(self) -> bool:
        """Whether some levels share an indicator, and statistics or frequencies tell them apart."""
        return len(self.levels) + 1 > LEAST_INDICATORS

    @property
    def labels(self) -> list[str]:
        return list(self.names)

    def encode(self, values: FloatArray) -> FloatArray:
        encoded: FloatArray = self.table[self._codes(values)]
        return encoded

    def encode_training(
        self, values: FloatArray, outputs: FloatArray | None, weight: FloatArray
    ) -> FloatArray:
        encoded = self.encode(values)
        if self.n_statistics and outputs is not None:
            codes = self._codes(values)
            encoded[:, -self.n_statistics :] = cross_fitted(codes, len(self.table), outputs, weight)
        return encoded


@dataclass(frozen=True)
class DateColumn(Column):
    """A date: days as a number, and the places in year, month, week and day, on circles.

    Parameters
    ----------
    name : str
        Name of the column.
    days : NumberColumn
        The days since 1970.
    cycles : tuple of {"year", "month", "week", "day"}
        Cycles of which the dates of the fit have more than one place.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.columns import DateColumn, raw_column
    >>> days = raw_column(np.arange("2024-01-01", "2024-02-01", dtype="M8[D]"), "day")
    >>> column = DateColumn("day")
    >>> column.learn(column.read(days), None, np.ones(31)).cycles
    ('year', 'month', 'week')
    """

    name: str
    days: NumberColumn = NumberColumn("")
    cycles: tuple[str, ...] = ()

    def read(self, raw: RawColumn) -> FloatArray:
        if raw.kind == "date" or raw.is_missing:
            return raw.values if raw.kind != "levels" else np.full(len(raw.values), np.nan)
        kind = "numbers" if raw.kind == "number" else "text"
        raise TypeError(f"Column {self.name!r} of X holds {kind}, and held dates in the fit.")

    def learn(
        self,
        values: FloatArray,
        outputs: FloatArray | None,
        weight: FloatArray,
        most_indicators: int = LEAST_INDICATORS,
    ) -> DateColumn:
        # not ranks: days to come go on where those of the fit end
        days = NumberColumn(self.name).without_ranks(values, weight)
        known = values[~np.isnan(values)]
        cycles = (
            [cycle for cycle, phase in _PHASES.items() if np.ptp(phase(known)) > 0]
            if len(known)
            else []
        )
        return replace(self, days=days, cycles=tuple(cycles))

    def encode(self, values: FloatArray) -> FloatArray:
        numbers = self.days.encode(values)
        filled = np.where(np.isnan(values), self.days.median, values)
        angles = [2 * np.pi * _PHASES[cycle](filled) for cycle in self.cycles]
        parts = [part for angle in angles for part in (np.sin(angle), np.cos(angle))]
        return np.column_stack([numbers, *parts])

    @property
    def labels(self) -> list[str]:
        parts = [
            f"{self.name} {part} of {cycle}" for cycle in self.cycles for part in ("sin", "cos")
        ]
        return self.days.labels + parts


def _calendar_phase(days: FloatArray, unit: str) -> FloatArray:
    """Places in cycles of different lengths: in years, "Y", or in months, "M"."""
    day = np.floor(days).astype("datetime64[D]")
    cycle = day.astype(f"datetime64[{unit}]")
    start, end = cycle.astype("datetime64[D]"), (cycle + 1).astype("datetime64[D]")
    phase: FloatArray = (day - start) / (end - start)
    return phase


#: the place of a day in a cycle, from 0 to 1; 1970 began on a Thursday, and weeks begin on Monday
_PHASES: dict[str, Callable[[FloatArray], FloatArray]] = {
    "year": lambda days: _calendar_phase(days, "Y"),
    "month": lambda days: _calendar_phase(days, "M"),
    "week": lambda days: np.floor(days + 3) % _DAYS_OF_WEEK / _DAYS_OF_WEEK,
    "day": lambda days: days % 1,
}


def most_indicators(n_levels: list[int]) -> int:
    """How many indicators a column may have, where columns have so many levels.

    The largest number that keeps within those of all columns together.
    """
    number = min(max(n_levels, default=0), INDICATORS)
    while number > LEAST_INDICATORS and sum(min(n, number) for n in n_levels) > INDICATORS:
        number -= 1
    return max(number, LEAST_INDICATORS)


def _places(levels: tuple[str, ...], raw: RawColumn, unseen: float) -> FloatArray:
    """Places of levels among those of the fit, by what they read; NaN where they are missing."""
    raw = raw.as_levels()
    place = {level: float(k) for k, level in enumerate(levels)}
    table = np.array([*(place.get(level, unseen) for level in raw.levels), np.nan])
    # an index of -1 finds the NaN at the end
    places: FloatArray = table[raw.values]
    return places


def _median(values: FloatArray, weight: FloatArray, missing: Array) -> float:
    known = ~missing
    return float(weighted_quantiles(values[known, None], weight[known], [0.5])[0, 0])
