"""What becomes of columns, as ONNX nodes: numbers, with gaps or without."""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike

from skcode.columns import Column, ColumnEncoder, NumberColumn
from skcode.export._graph import Graph


def column_nodes(encoder: ColumnEncoder, graph: Graph, x: str, dtype: DTypeLike) -> str:
    """Coordinates (N, q) of a table of numbers (N, p), in the float type of the fit.

    Raises
    ------
    TypeError
        If a column is no number: the graph takes one matrix of floats.
    """
    if encoder.projection is not None:
        raise TypeError(
            "This model was fitted to a sparse matrix of many columns, which ONNX cannot express: "
            "put TruncatedSVD before it in a Pipeline."
        )
    x = graph.cast(x, dtype)
    missing = graph.add("IsNaN", x)
    if encoder.columns is None:
        return graph.add("Where", missing, graph.constant(encoder.medians, dtype), x)
    columns = [_number(column) for column in encoder.columns]
    # a column without any value in the fit has no coordinate, and whatever stands in it is read
    medians = np.nan_to_num([column.median for column in columns])
    filled = graph.add("Where", missing, graph.constant(medians, dtype), x)
    parts = [_ranked(column, graph, filled, j, dtype) for j, column in enumerate(columns)]
    frequent = np.nan_to_num([column.frequent for column in columns])
    tolerance = np.nan_to_num([column.tolerance for column in columns])
    distance = graph.add("Abs", graph.add("Sub", x, graph.constant(frequent, dtype)))
    is_frequent = graph.add("LessOrEqual", distance, graph.constant(tolerance, dtype))
    indicators = [graph.cast(is_frequent, dtype), graph.cast(missing, dtype)]
    both = graph.add("Concat", *parts, *indicators, axis=1)
    places: list[int] = []
    for j, column in enumerate(columns):
        # a number, whether it is the most frequent one, whether it is missing
        has = [bool(column.labels), not np.isnan(column.frequent), column.has_indicator]
        places += [j + k * len(columns) for k in range(3) if has[k]]
    if not places:
        # one coordinate that is zero, as `encode` makes it
        first = graph.add("Gather", both, graph.constant([2 * len(columns)]), axis=1)
        return graph.add("Mul", first, graph.constant(0, dtype))
    return graph.add("Gather", both, graph.constant(places), axis=1)


def _ranked(column: NumberColumn, graph: Graph, x: str, j: int, dtype: DTypeLike) -> str:
    """Column j (N, 1) of a matrix without gaps, or its ranks."""
    values = graph.add("Gather", x, graph.constant([j]), axis=1)
    if not column.knots:
        return values
    knots, ranks = np.array(column.knots), np.array(column.ranks)
    low, high = graph.constant(knots[:-1], dtype), graph.constant(knots[1:], dtype)
    # what of each interval lies below the number, times the slope there
    reached = graph.add("Sub", graph.add("Min", graph.add("Max", values, low), high), low)
    slopes = graph.constant((np.diff(ranks) / np.diff(knots))[:, None], dtype)
    risen = graph.add("MatMul", reached, slopes)
    return graph.add("Add", risen, graph.constant(ranks[0], dtype))


def _number(column: Column) -> NumberColumn:
    """The column, if it is a number."""
    if isinstance(column, NumberColumn) and not column.levels:
        return column
    raise TypeError(
        f"Column {column.name!r} is no number, and an ONNX graph of skcode takes one matrix of "
        "floats: encode categories and dates before the model, in a Pipeline."
    )
