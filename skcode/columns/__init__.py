"""From tables as people have them to the numbers that the model sees.

`ColumnEncoder` makes coordinates of columns: numbers with gaps, categories, dates. It is fitted
inside the fit of an estimator, and its columns are data: what it learnt can be read off them.
"""

from skcode.columns._columns import CategoryColumn, Column, DateColumn, NumberColumn
from skcode.columns._effects import ValueEffect, left_out_effects
from skcode.columns._encoder import ColumnEncoder, check_no_infinity, check_sparse
from skcode.columns._raw import RawColumn, raw_column
from skcode.columns._sparse import MOST_DENSE_COLUMNS, SPARSE_COORDINATES, SparseProjection
from skcode.columns._tables import as_table, columns_of

#: classes that occur in files, by the names that files hold: a class may move, its tag may not
TAGS: dict[str, type] = {
    "skcode/columns/encoder": ColumnEncoder,
    "skcode/columns/number": NumberColumn,
    "skcode/columns/category": CategoryColumn,
    "skcode/columns/date": DateColumn,
    "skcode/columns/sparse": SparseProjection,
    "skcode/columns/effect": ValueEffect,
}

__all__ = [
    "MOST_DENSE_COLUMNS",
    "SPARSE_COORDINATES",
    "TAGS",
    "CategoryColumn",
    "Column",
    "ColumnEncoder",
    "DateColumn",
    "NumberColumn",
    "RawColumn",
    "SparseProjection",
    "ValueEffect",
    "as_table",
    "check_no_infinity",
    "check_sparse",
    "columns_of",
    "left_out_effects",
    "raw_column",
]
