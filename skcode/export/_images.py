"""Filters of patches as ONNX nodes."""

from __future__ import annotations

import math

import numpy as np

from skcode.export._graph import Graph
from skcode.images import PatchFilters


def patch_nodes(filters: PatchFilters, graph: Graph, x: str) -> str:
    """Pooled responses (N, q) of images (N, p), bytes as floats."""
    (h, w, c), k, S = filters.pixel_shape_, filters.kernel_size_, len(filters.filters_)
    images = graph.add("Reshape", graph.cast(x, np.float32), graph.constant([-1, h, w, c]))
    # beyond the edge stands the mean pixel, and ONNX has zeros there
    images = graph.add("Sub", images, graph.constant(np.float32(filters.padding_)))
    images = graph.add("Transpose", images, perm=[0, 3, 1, 2])
    kernels = filters.filters_[:, :-1].reshape(S, k, k, c).transpose(0, 3, 1, 2)
    bias = filters.filters_[:, -1] + filters.padding_ * filters.filters_[:, :-1].sum(axis=1)
    pads = [k // 2] * 4
    z = graph.add("Conv", images, graph.constant(kernels), graph.constant(bias), pads=pads)
    z = graph.add("Reshape", graph.add("Relu", z), graph.constant([-1, S, h * w]))
    pooled = graph.affine(z, filters.pooling_matrix_.T.astype(np.float32))
    shares = graph.add("Div", pooled, graph.constant(filters.largest_[:, None]))
    shares = graph.add("Min", shares, graph.constant(np.float32(1)))
    powers = filters.exponents_.astype(np.float32)
    shares = graph.add("Pow", shares, graph.constant(powers[:, None]))
    bytes = graph.add("Round", graph.add("Mul", shares, graph.constant(np.float32(255))))
    colours = graph.add("Transpose", bytes, perm=[0, 2, 1])
    return graph.add("Reshape", colours, graph.constant([-1, math.prod(filters.image_shape_)]))
