"""From tables as people have them to the numbers that the model sees.

`ColumnEncoder` makes coordinates of columns: numbers with gaps, categories, dates. It is fitted
inside the fit of an estimator, and its columns are data: what it learnt can be read off them.
"""

from skcode.columns._columns import CategoryColumn, Column, DateColumn, NumberColumn
from skcode.columns._encoder import ColumnEncoder, check_no_infinity
from skcode.columns._raw import RawColumn, raw_column
from skcode.columns._tables import columns_of

#: classes that occur in files, by the names that files hold: a class may move, its tag may not
TAGS: dict[str, type] = {
    "skcode/columns/encoder": ColumnEncoder,
    "skcode/columns/number": NumberColumn,
    "skcode/columns/category": CategoryColumn,
    "skcode/columns/date": DateColumn,
}

__all__ = [
    "TAGS",
    "CategoryColumn",
    "Column",
    "ColumnEncoder",
    "DateColumn",
    "NumberColumn",
    "RawColumn",
    "check_no_infinity",
    "columns_of",
    "raw_column",
]
