"""From a table to the matrix of floats that the model sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike

from skcode.columns._columns import (
    CategoryColumn,
    Column,
    DateColumn,
    NumberColumn,
    most_indicators,
)
from skcode.columns._effects import ValueEffect
from skcode.columns._raw import RawColumn
from skcode.columns._sparse import SparseProjection, SparseRows
from skcode.inputs import weighted_quantiles
from skcode.utils._typing import Array, BoolArray, FloatArray, IntArray

#: rows from which the medians of columns without gaps are taken: they serve rows with gaps alone
_MEDIAN_ROWS = 4096
#: outputs of which a level has statistics: with more of them, of random mixtures
_MOST_STATISTICS = 8
#: entries that are looked at at once for gaps and infinities
_CHUNK_ENTRIES = 2**18


@dataclass(frozen=True, eq=False)
class ColumnEncoder:
    """What becomes of the columns of a table.

    A table of numbers without gaps stays as it is, and ``columns`` is None.

    Parameters
    ----------
    names : tuple of str
        Names of the columns, for errors and coordinates.
    columns : tuple of Column or None
        The columns; None for numbers that stay as they are.
    medians : ndarray of shape (p,)
        Medians of such numbers, which stand for gaps in rows to predict.
    n_directions : int or None
        Coordinates that stand for the columns of a sparse matrix; None for other tables.
    projection : SparseProjection or None
        What makes them.
    effects : tuple of ValueEffect
        Effects of single values, which are coordinates behind all others.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode import ControlledODERegressor
    >>> X = [["red", 1.0], ["green", 2.0], ["red", None], ["green", 5.0]] * 3
    >>> model = ControlledODERegressor(n_members=1, random_state=0).fit(X, range(12))
    >>> encoder = model.encoder_
    >>> [str(name) for name in encoder.get_feature_names_out()]
    ['x0=red', 'x1', 'x1 missing']
    >>> encoder.columns[1].median
    2.0
    """

    names: tuple[str, ...]
    columns: tuple[Column, ...] | None = None
    medians: FloatArray = field(default_factory=lambda: np.empty(0))
    n_directions: int | None = None
    projection: SparseProjection | None = None
    effects: tuple[ValueEffect, ...] = ()

    # -- from tables to numbers, one a cell --------------------------------------------------------

    @classmethod
    def of_table(
        cls, raws: list[RawColumn], names: Sequence[str], categorical: BoolArray | None
    ) -> ColumnEncoder:
        """What the columns of a table are, by their types.

        Parameters
        ----------
        raws : list of RawColumn
            The columns.
        names : sequence of str
            Their names.
        categorical : ndarray of shape (p,) or None
            Which columns are categories; None to go by their types.
        """
        chosen = [None] * len(raws) if categorical is None else categorical.tolist()
        columns = [_column(*column) for column in zip(raws, names, chosen, strict=True)]
        encoder = cls(tuple(names), tuple(columns))
        if encoder.takes_numbers and not np.isnan(encoder.read(raws)).any():
            return cls(tuple(names))
        return encoder

    @classmethod
    def of_numbers(cls, X: Array, names: Sequence[str]) -> ColumnEncoder:
        """What the columns of an array of numbers are: numbers, with gaps or without."""
        has_gaps = bool(missing_cells(X).any())
        columns = tuple(NumberColumn(name) for name in names) if has_gaps else None
        return cls(tuple(names), columns)

    @classmethod
    def of_sparse(cls, names: Sequence[str], n_directions: int) -> ColumnEncoder:
        """What the columns of a sparse matrix are: so many directions together."""
        return cls(tuple(names), n_directions=n_directions)

    @property
    def takes_numbers(self) -> bool:
        """Whether all columns are numbers, so that an array of numbers needs no reading."""
        return self.columns is None or all(
            isinstance(column, NumberColumn) and not column.levels for column in self.columns
        )

    def read(self, raws: list[RawColumn]) -> FloatArray:
        """One number for each cell (n, p), NaN where it is missing."""
        columns = self.columns or [NumberColumn(name) for name in self.names]
        if not raws:
            return np.empty((0, 0))
        return np.column_stack([c.read(raw) for c, raw in zip(columns, raws, strict=True)])

    def with_levels_of(self, X: Array) -> tuple[ColumnEncoder, Array]:
        """The encoder without levels that no row (n, p) has, and the rows with places in the rest.

        Rows without weight leave no trace, nor do categories that a frame only declares.
        """
        if self.columns is None:
            return self, X
        columns, X = list(self.columns), X.copy()
        for j, column in enumerate(columns):
            if isinstance(column, CategoryColumn):
                columns[j], X[:, j] = column.with_levels_of(X[:, j])
        return replace(self, columns=tuple(columns)), X

    # -- from those to coordinates -----------------------------------------------------------------

    def learn(self, X: Array, outputs: FloatArray | None, weight: FloatArray) -> ColumnEncoder:
        """The encoder that predicts, from the training rows (n, p) as `read` gives them.

        Parameters
        ----------
        X : ndarray of shape (n, p)
            One number for each cell.
        outputs : ndarray of shape (n, K) or None
            Targets as numbers, for statistics.
        weight : ndarray of shape (n,)
            Weights of the rows.
        """
        if self.n_directions is not None:
            projection = SparseProjection.learn(X, weight, self.n_directions)
            return replace(self, projection=projection)
        if self.columns is None and missing_cells(X).any():
            # the first rows of a stream had no gaps, and later ones have
            return self.of_numbers(X, self.names).learn(X, outputs, weight)
        if self.columns is None:
            rows = np.unique(np.linspace(0, len(X) - 1, _MEDIAN_ROWS).astype(int))
            medians = weighted_quantiles(X[rows], weight[rows], [0.5])[0]
            return replace(self, medians=medians)
        outputs = _mixed(outputs)
        most = most_indicators(
            [len(column.levels) for column in self.columns if isinstance(column, CategoryColumn)]
        )
        columns = [
            column.learn(X[:, j].astype(np.float64), outputs, weight, most)
            for j, column in enumerate(self.columns)
        ]
        return replace(self, columns=tuple(columns))

    def content(self, X: Array) -> Array | None:
        """What rows (n, p) say, however categories are written: numbers, and indicators of levels.

        So a table has its rows in the same order with text as with one column of zeros and ones for
        each level. None where all columns are numbers, or some have levels too many to be written
        so.
        """
        if self.columns is None or self.takes_numbers:
            return None
        parts = []
        for j, column in enumerate(self.columns):
            values: FloatArray = X[:, j].astype(np.float64)
            if isinstance(column, CategoryColumn):
                if column.has_many_levels:
                    return None
                values = column.encode(values)
            parts.append(values)
        return np.column_stack(parts)

    def encode(self, X: Array) -> Array:
        """Coordinates (n, q) of rows that `read` gave."""
        return self._with_effects(X, self._encode_columns(X))

    def _with_effects(self, X: Array, coordinates: Array) -> Array:
        if not self.effects:
            return coordinates
        parts = [coordinates, *(effect.encode(X) for effect in self.effects)]
        return np.hstack(parts).astype(coordinates.dtype, copy=False)

    def _encode_columns(self, X: Array) -> Array:
        if self.projection is not None:
            return self.projection.encode(X)
        if self.columns is None:
            if not missing_cells(X).any():
                return X
            return np.where(np.isnan(X), self.medians, X).astype(X.dtype)
        return self._stacked(
            X, [c.encode(X[:, j].astype(np.float64)) for j, c in enumerate(self.columns)]
        )

    def variance(self, X: Array) -> FloatArray | float:
        """What effects that nobody knows add to the variances (n, outputs) of predictions."""
        return sum(each.is_new(X)[:, None] * each.variance for each in self.effects)

    def is_new(self, X: Array) -> BoolArray:
        """Whether each row (n,) has a value whose effect nobody knows."""
        new: BoolArray = np.zeros(X.shape[0], dtype=bool)
        for effect in self.effects:
            new |= effect.is_new(X)
        return new

    def possible(self, X: Array) -> list[Array]:
        """Coordinates (n, q) of rows with effects that new values may have, one way after another.

        Those of several columns are paired at random.
        """
        coordinates, ways = self._encode_columns(X), []
        rng = np.random.default_rng(0)
        possible = [rng.permutation(each.possible) for each in self.effects]
        for q in range(max(len(each) for each in possible)):
            parts = [coordinates]
            for effect, of_new in zip(self.effects, possible, strict=True):
                known = effect.encode(X)
                parts.append(np.where(effect.is_new(X)[:, None], of_new[q % len(of_new)], known))
            ways.append(np.hstack(parts).astype(coordinates.dtype, copy=False))
        return ways

    def encode_training(self, X: Array, outputs: FloatArray | None, weight: FloatArray) -> Array:
        """Coordinates (n, q) of training rows, none of which has seen its own output.

        But for effects that are known already, when a training goes on.
        """
        if self.columns is None:
            return self.encode(X)
        outputs = _mixed(outputs)
        parts = [
            column.encode_training(X[:, j].astype(np.float64), outputs, weight)
            for j, column in enumerate(self.columns)
        ]
        return self._with_effects(X, self._stacked(X, parts))

    def with_effects(self, effects: tuple[ValueEffect, ...]) -> ColumnEncoder:
        """The encoder with effects of single values as well."""
        return replace(self, effects=effects)

    @staticmethod
    def _stacked(X: Array, parts: list[FloatArray]) -> Array:
        # a column that is missing altogether has no coordinate: a model needs one
        parts = parts if any(part.shape[1] for part in parts) else [np.zeros((len(X), 1))]
        return np.hstack(parts).astype(np.result_type(X.dtype, np.float32), copy=False)

    # -- what the coordinates are ------------------------------------------------------------------

    @property
    def sources(self) -> Array:
        """The column (q,) that each coordinate is of."""
        own = np.arange(len(self.names))
        if self.columns is not None:
            own = np.repeat(own, [len(column.labels) for column in self.columns])
        of_effects = [np.repeat(each.column, len(each.labels)) for each in self.effects]
        return np.concatenate([own, *of_effects])

    @property
    def categories(self) -> list[IntArray]:
        """The coordinates of each category."""
        columns, sources = self.columns or (), self.sources
        return [
            np.flatnonzero(sources == j)
            for j, column in enumerate(columns)
            if isinstance(column, CategoryColumn) and len(column.labels)
        ]

    def by_column(self, values: FloatArray) -> FloatArray:
        """Importances (q,) of coordinates, as those of the columns (p,), which sum to one again.

        Squares of the coordinates of one column are added up: slopes of many indicators that are
        noise would add up to more than those of a number that is noise.
        """
        if self.projection is not None:
            return self.projection.by_column(values)
        if self.columns is None and not self.effects:
            return values
        sources = self.sources
        squares: FloatArray = np.zeros(len(self.names))
        np.add.at(squares, sources, values[: len(sources)] ** 2)
        sizes: FloatArray = np.sqrt(squares)
        total = float(sizes.sum())
        return sizes / total if total > 0 else sizes

    def get_feature_names_out(self, input_features: ArrayLike | None = None) -> Array:
        """Names of the coordinates.

        Parameters
        ----------
        input_features : ignored
            Present by convention.

        Returns
        -------
        ndarray of str objects of shape (q,)
        """
        if self.projection is not None:
            n_directions = self.projection.directions.shape[1]
            return np.array([f"direction {k}" for k in range(n_directions)], dtype=object)
        labels = list(self.names)
        if self.columns is not None:
            labels = [label for column in self.columns for label in column.labels]
        labels += [label for effect in self.effects for label in effect.labels]
        return np.array(labels, dtype=object)


def _column(raw: RawColumn, name: str, chosen: bool | None) -> Column:
    """The column for what came, by its type or as it was chosen."""
    if chosen or (chosen is None and raw.kind == "levels"):
        raw = raw.as_levels()
        return NumberColumn(name, raw.levels) if raw.ordered else CategoryColumn(name, raw.levels)
    return DateColumn(name) if raw.kind == "date" else NumberColumn(name)


def _mixed(outputs: FloatArray | None) -> FloatArray | None:
    """Outputs (n, K) as they are, or random mixtures of them where they are many."""
    if outputs is None or outputs.shape[1] <= _MOST_STATISTICS:
        return outputs
    directions = np.random.default_rng(0).standard_normal((outputs.shape[1], _MOST_STATISTICS))
    return outputs @ directions


def check_sparse(X: SparseRows, names: Sequence[str]) -> None:
    """Check that the numbers of a sparse matrix are finite.

    Parameters
    ----------
    X : CSR matrix or array of shape (n, p)
        The matrix.
    names : sequence of str
        Names of the columns.

    Raises
    ------
    ValueError
        If one is not; it names the column.

    Examples
    --------
    >>> from scipy import sparse
    >>> from skcode.columns import check_sparse
    >>> check_sparse(sparse.csr_array([[0.0, 1.0]]), ["x0", "x1"])
    """
    wrong = ~np.isfinite(X.data)
    if wrong.any():
        j = int(X.indices[np.argmax(wrong)])
        what = "NaN" if np.isnan(X.data[np.argmax(wrong)]) else "infinity"
        raise ValueError(
            f"Input X contains {what} in column {names[j]!r}: of a sparse matrix with many columns "
            "all numbers have to be finite."
        )


def missing_cells(X: Array) -> BoolArray:
    """Whether each column (p,) has a NaN; memory maps are read in parts."""
    if X.dtype.kind != "f":
        return np.zeros(X.shape[1], dtype=bool)
    n_rows = max(_CHUNK_ENTRIES // X.shape[1], 1)
    parts = [np.isnan(X[i : i + n_rows]).any(axis=0) for i in range(0, len(X), n_rows)]
    missing: BoolArray = np.any(parts, axis=0)
    return missing


def check_no_infinity(X: Array, names: Sequence[str]) -> None:
    """Check that no number is infinite; memory maps are read in parts.

    Parameters
    ----------
    X : ndarray of shape (n, p)
        Numbers, with NaN where one is missing.
    names : sequence of str
        Names of the columns.

    Raises
    ------
    ValueError
        If one is; it names the column.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.columns import check_no_infinity
    >>> check_no_infinity(np.array([[0.0, np.nan]]), ["x0", "x1"])
    """
    if X.dtype.kind != "f":
        return
    n_rows = max(_CHUNK_ENTRIES // X.shape[1], 1)
    for i in range(0, len(X), n_rows):
        infinite = np.isinf(X[i : i + n_rows]).any(axis=0)
        if infinite.any():
            j = int(np.argmax(infinite))
            raise ValueError(
                f"Input X contains infinity or a value too large for {X.dtype!r}, in column "
                f"{names[j]!r}."
            )
