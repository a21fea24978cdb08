"""What becomes of columns, as ONNX nodes: numbers, with gaps or without."""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike

from skcode.columns import Column, ColumnEncoder, NumberColumn, ValueEffect
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
    coordinates = _coordinate_nodes(encoder, graph, x, dtype)
    effects = [_effect(effect, graph, x, dtype) for effect in encoder.effects]
    return graph.add("Concat", coordinates, *effects, axis=1) if effects else coordinates


def _coordinate_nodes(encoder: ColumnEncoder, graph: Graph, x: str, dtype: DTypeLike) -> str:
    """Coordinates (N, q) of a table, but for effects of single values."""
    missing = graph.add("IsNaN", x)
    if encoder.columns is None:
        return graph.add("Where", missing, graph.constant(encoder.medians, dtype), x)
    columns = [_number(column) for column in encoder.columns]
    # a column without any value in the fit has no coordinate, and whatever stands in it is read
    medians = np.nan_to_num([column.median for column in columns])
    filled = graph.add("Where", missing, graph.constant(medians, dtype), x)
    parts = [filled, graph.cast(missing, dtype)]
    places: list[int] = []
    for j, column in enumerate(columns):
        if not column.labels:
            continue
        places.append(j)
        if len(column.knots):
            places.append(2 * len(columns) + len(parts) - 2)
            parts.append(_rank(column, graph, _one(graph, filled, j), dtype))
        if column.has_indicator:
            places.append(len(columns) + j)
        if not np.isnan(column.atom):
            places.append(2 * len(columns) + len(parts) - 2)
            # of the values as they came: a gap is not the median
            same = graph.add("Equal", _one(graph, x, j), graph.constant([column.atom], dtype))
            parts.append(graph.cast(same, dtype))
    both = graph.add("Concat", *parts, axis=1)
    if not places:
        # one coordinate that is zero, as `encode` makes it
        first = graph.add("Gather", both, graph.constant([len(columns)]), axis=1)
        return graph.add("Mul", first, graph.constant(0, dtype))
    return graph.add("Gather", both, graph.constant(places), axis=1)


def _effect(effect: ValueEffect, graph: Graph, x: str, dtype: DTypeLike) -> str:
    """Effects (N, K) of the values of a column: each value is known, or none and no effect."""
    single = graph.cast(_one(graph, x, effect.column), np.float32)
    same = graph.add("Equal", single, graph.constant(effect.values, np.float32))
    return graph.affine(graph.cast(same, dtype), effect.table.astype(dtype))


def _one(graph: Graph, x: str, j: int) -> str:
    """One column (N, 1) of a matrix."""
    return graph.add("Gather", x, graph.constant([j]), axis=1)


def _rank(column: NumberColumn, graph: Graph, x: str, dtype: DTypeLike) -> str:
    """Ranks (N, 1) of a heavy-tailed number: how much of each piece lies below, by its slope."""
    lengths = np.diff(column.knots)
    below = graph.add("Sub", x, graph.constant(column.knots[:-1], dtype))
    below = graph.add("Max", below, graph.constant(0, dtype))
    below = graph.add("Min", below, graph.constant(lengths, dtype))
    slopes = np.diff(column.ranks) / lengths
    return graph.affine(below, slopes[:, None].astype(dtype), column.ranks[:1].astype(dtype))


def _number(column: Column) -> NumberColumn:
    """The column, if it is a number."""
    if isinstance(column, NumberColumn) and not column.levels:
        return column
    raise TypeError(
        f"Column {column.name!r} is no number, and an ONNX graph of skcode takes one matrix of "
        "floats: encode categories and dates before the model, in a Pipeline."
    )
