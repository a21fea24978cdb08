"""What stands in for a readout as ONNX nodes: the Gaussian process on final states."""

from __future__ import annotations

from functools import singledispatch

import numpy as np
from numpy.typing import DTypeLike

from skcode.export._graph import Graph
from skcode.gaussian_process import (
    AffineLink,
    GaussianProcessHead,
    Kernel,
    Leaves,
    Link,
    LogOddsLink,
)
from skcode.model import Head
from skcode.utils._typing import FloatArray

#: entries of the differences of states and points that are in memory at once, 2 MB of float64: they
#: stay in the cache, and the memory of a graph does not grow with the rows
_BLOCK_ENTRIES = 2**18


@singledispatch
def head_nodes(head: Head, graph: Graph, x1: str, x0: str) -> str:
    """Nodes for the scores (N, K) of final and initial states."""
    raise TypeError(f"{type(head).__name__} has no ONNX translation.")


@head_nodes.register
def _(head: GaussianProcessHead, graph: Graph, x1: str, x0: str) -> str:
    """The scores of a few rows, scanned over blocks of so few."""
    m, most = len(head.center), int(np.diff(head.mean.starts).max())
    entries = most * m if head.kernel.amplitudes[0] else most
    n_rows = max(_BLOCK_ENTRIES // entries, 1)
    # zeros fill the last block: they are states like others, and their scores are cut off
    size = graph.add("Gather", graph.add("Shape", x1), graph.constant([0]))
    missing = graph.add("Mod", graph.add("Neg", size), graph.constant([n_rows]))
    zero = graph.constant([0])
    pads = graph.add("Concat", zero, zero, missing, zero, axis=0)
    blocks = graph.add("Reshape", graph.add("Pad", x1, pads), graph.constant([-1, n_rows, m]))
    body = Graph(f"{graph.prefix}block_{len(graph.nodes)}_")
    block, dtype = f"{body.prefix}x", head.center.dtype
    result = _block_nodes(head, body, block)
    stacked = graph.scan(
        blocks, body, (block, dtype, (n_rows, m)), (result, dtype, (n_rows, head.n_outputs))
    )
    scores = graph.add("Reshape", stacked, graph.constant([-1, head.n_outputs]))
    return graph.add("Slice", scores, zero, size, zero)


def _block_nodes(head: GaussianProcessHead, graph: Graph, x: str) -> str:
    """Scores (n, K) of a block of states (n, m)."""
    x = graph.add("Sub", x, graph.constant(head.center))
    mean = head.mean
    terms = [graph.affine(x, mean.weights, mean.constant)]
    inside = _inside_nodes(mean.leaves, graph, x)
    for leaf, span in enumerate(zip(mean.starts[:-1], mean.starts[1:], strict=True)):
        own = slice(*span)
        points = mean.points[own].astype(head.center.dtype)
        K = _stationary_nodes(head.kernel, graph, x, points)
        if K:
            term = graph.add("MatMul", graph.total(K), graph.constant(mean.coefficients[own]))
            terms.append(graph.add("Mul", term, inside[leaf]) if inside else term)
    f = graph.total(terms)
    # in float64, as the head does it: the mean of the targets may be large
    f = graph.cast(f, np.float64)
    return graph.cast(link_nodes(head.link, graph, f), head.center.dtype)


def _inside_nodes(leaves: Leaves, graph: Graph, x: str) -> list[str]:
    """Of each leaf a column (n, 1) with ones for the states (n, m) that lie in it.

    None where there is one leaf. All leaves are computed for all rows, and this chooses.
    """
    if leaves.n_leaves == 1:
        return []
    inside = [""] * leaves.n_leaves
    dtype = leaves.thresholds.dtype

    def follow(child: int, here: str) -> None:
        if child < 0:
            inside[-1 - child] = here
            return
        along = graph.affine(x, leaves.directions[child][:, None])
        second = graph.add("Greater", along, graph.constant(leaves.thresholds[child][None]))
        second = graph.cast(second, dtype)
        first = graph.add("Sub", graph.constant(1, dtype), second)
        for side, next_child in zip((first, second), leaves.children[child], strict=True):
            follow(next_child, graph.add("Mul", here, side) if here else side)

    follow(0, "")
    return inside


@singledispatch
def link_nodes(link: Link, graph: Graph, f: str) -> str:
    """Nodes for the scores (n, K), in float64, of what a process predicts."""
    raise TypeError(f"{type(link).__name__} has no ONNX translation.")


@link_nodes.register
def _(link: AffineLink, graph: Graph, f: str) -> str:
    scores = graph.add("Mul", f, graph.constant(link.slope, np.float64))
    return graph.add("Add", scores, graph.constant(link.bias, np.float64))


@link_nodes.register
def _(link: LogOddsLink, graph: Graph, f: str) -> str:
    def constant(value: float | FloatArray) -> str:
        return graph.constant(value, np.float64)

    def of(p: str) -> str:
        linear = graph.add("Mul", p, constant(link.temperature))
        sharp = graph.add("Mul", p, constant(link.sharpness))
        # far below zero the logarithm of the softplus function is its argument
        far = graph.add("Min", sharp, constant(link.linear_below))
        far = graph.add("Sub", far, constant(link.linear_below))
        near = graph.add("Max", sharp, constant(link.linear_below))
        # runtimes have no Softplus in double precision: max(z, 0) + log(1 + exp(-|z|))
        decay = graph.add("Exp", graph.add("Neg", graph.add("Abs", near)))
        decay = graph.add("Log", graph.add("Add", constant(1.0), decay))
        near = graph.add("Add", graph.add("Max", near, constant(0.0)), decay)
        logs = graph.add("Add", graph.add("Log", near), far)
        logs = graph.add("Sub", logs, constant(np.log(link.sharpness)))
        return graph.add("Add", linear, graph.add("Mul", logs, constant(link.power)))

    p = graph.add("Add", graph.add("Mul", f, constant(link.scale)), constant(link.mean))
    scores = graph.add("Add", of(p), constant(link.bias))
    if not link.binary:
        return scores
    return graph.add("Sub", scores, of(graph.add("Sub", constant(1.0), p)))


def _stationary_nodes(kernel: Kernel, graph: Graph, x: str, points: FloatArray) -> list[str]:
    """The stationary parts (n, J) that the kernel has."""
    one, two, three = kernel.amplitudes
    terms = []
    if one:
        # (n, 1, m) less (J, m) is (n, J, m)
        rows = graph.add("Unsqueeze", x, graph.constant([1]))
        size = graph.add("Abs", graph.add("Sub", rows, graph.constant(points)))
        distance = graph.add("ReduceSum", size, graph.constant([2]), keepdims=0)
        terms.append(_decay(graph, distance, one, kernel.length_l1, points.dtype))
    if two or three:
        squares = _square_nodes(graph, x, points)
        if two:
            distance = graph.add("Sqrt", squares)
            terms.append(_decay(graph, distance, two, kernel.length_l2, points.dtype))
        if three:
            terms.append(_decay(graph, squares, three, 2 * kernel.length_gauss**2, points.dtype))
    return terms


def _decay(graph: Graph, distance: str, amplitude: float, length: float, dtype: DTypeLike) -> str:
    """Amplitude times exp(-distance / length)."""
    power = graph.add("Mul", distance, graph.constant(-1 / length, dtype))
    return graph.add("Mul", graph.add("Exp", power), graph.constant(amplitude, dtype))


def _square_nodes(graph: Graph, x: str, points: FloatArray) -> str:
    """Squared Euclidean distances (n, J) by a product; what cancels below zero is zero."""
    of_points = graph.constant(np.einsum("ij,ij->i", points, points))
    of_states = graph.add("ReduceSum", graph.add("Mul", x, x), graph.constant([1]), keepdims=1)
    squares = graph.add("Add", of_states, of_points)
    squares = graph.add("Add", squares, graph.affine(x, -2 * points.T))
    return graph.add("Max", squares, graph.constant(0, points.dtype))
