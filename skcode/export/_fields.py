"""V_u(x) as ONNX nodes, for each kind of drawn fields and each activation."""

from __future__ import annotations

from functools import singledispatch
from typing import Any

import numpy as np

from skcode.export._graph import Graph
from skcode.fields import (
    GELU,
    Activation,
    DrawnAffine,
    DrawnConvolutional,
    DrawnDiagonal,
    DrawnFields,
    DrawnFilter,
    DrawnFunction,
    DrawnMixing,
    DrawnNeural,
    DrawnPolynomial,
    DrawnStack,
    DrawnSum,
    Identity,
    PolynomialActivation,
    ReLU,
    Sin,
    Softplus,
    Tanh,
)
from skcode.utils._typing import FloatArray


@singledispatch
def field_nodes(fields: DrawnFields, graph: Graph, x: str, u: FloatArray) -> str:
    """Nodes for V_u(x) = sum_i u^i V_i(x).

    Fields of your own join with ``field_nodes.register(YourFields)``.

    Parameters
    ----------
    fields : DrawnFields
        Drawn fields.
    graph : Graph
        Where the nodes go.
    x : str
        Name of the rows of states (N, m).
    u : ndarray of shape (d,)
        One row of controls, of the float type of the computation.

    Returns
    -------
    str
        Name of the result (N, m).

    Raises
    ------
    TypeError
        If there is no translation for these fields.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.export import Graph, field_nodes
    >>> from skcode.fields import LinearFields
    >>> fields = LinearFields().draw(n_states=2, n_fields=1, rng=0)
    >>> graph = Graph()
    >>> field_nodes(fields, graph, "x", np.ones(1))
    'Add_1'
    """
    raise TypeError(
        f"{type(fields).__name__} has no ONNX translation: register one with "
        "skcode.export.field_nodes.register."
    )


@field_nodes.register
def _(fields: DrawnFunction, graph: Graph, x: str, u: FloatArray) -> str:
    raise TypeError(
        "FunctionFields hold Python functions, which ONNX cannot run. Save the model with pickle "
        "or joblib, or make the functions fields of your own, with a translation in "
        "skcode.export.field_nodes."
    )


@field_nodes.register
def _(fields: DrawnAffine, graph: Graph, x: str, u: FloatArray) -> str:
    matrix = fields.bind(u).astype(u.dtype)
    return graph.affine(x, matrix[:, :-1].T, matrix[:, -1])


@field_nodes.register
def _(fields: DrawnDiagonal, graph: Graph, x: str, u: FloatArray) -> str:
    factors = np.zeros(fields.n_states, u.dtype)
    factors[: fields.n_fields] = u
    return graph.add("Mul", x, graph.constant(factors))


@field_nodes.register
def _(fields: DrawnNeural, graph: Graph, x: str, u: FloatArray) -> str:
    A = fields.A.astype(u.dtype)
    s = activation_nodes(fields.activation, graph, graph.affine(x, A[:, :-1].T, A[:, -1]), u.dtype)
    if fields.B is not None:
        Bu = fields.B * np.repeat(u, fields.rank)
        return graph.affine(s, Bu.astype(u.dtype).T)
    # (N, d m) to (N, d, m), then the sum over fields as a product from the left
    grouped = graph.add("Reshape", s, graph.constant([-1, fields.n_fields, fields.n_states]))
    summed = graph.add("MatMul", graph.constant(u[None]), grouped)
    return graph.add("Reshape", summed, graph.constant([-1, fields.n_states]))


@field_nodes.register
def _(fields: DrawnPolynomial, graph: Graph, x: str, u: FloatArray) -> str:
    matrix = fields.bind(u).astype(u.dtype)
    table: list[str] = []
    first = 1
    for level in fields.monomials.levels:
        row = graph.add("Gather", x, graph.constant(fields.monomials.variable[level]), axis=1)
        if table:
            parents = graph.constant(fields.monomials.parent[level] - first)
            row = graph.add("Mul", graph.add("Gather", table[-1], parents, axis=1), row)
        table.append(row)
        first = level.start
    return graph.affine(graph.add("Concat", *table, axis=1), matrix[:, 1:].T, matrix[:, 0])


@field_nodes.register
def _(fields: DrawnConvolutional, graph: Graph, x: str, u: FloatArray) -> str:
    p, kernel = fields.layout.n_inputs, fields.bind(u).astype(u.dtype)
    pixels, hidden = (
        graph.add("Gather", x, graph.constant(part), axis=1)
        for part in (np.arange(p), np.arange(p, fields.n_states))
    )
    hidden = activation_nodes(fields.activation, graph, hidden, u.dtype)
    # cells beyond the edge read the zero at the end
    z = graph.add("Concat", pixels, hidden, axis=1)
    z = graph.add("Pad", z, graph.constant([0, 0, 0, 1]))
    patches = graph.add("Gather", z, graph.constant(fields.reads), axis=1)
    maps = _filtered(graph, kernel, patches)
    flat = graph.add("Reshape", maps, graph.constant([-1, fields.layout.coordinates.size]))
    return graph.add("Gather", flat, graph.constant(fields.places), axis=1)


@field_nodes.register
def _(fields: DrawnFilter, graph: Graph, x: str, u: FloatArray) -> str:
    patches = graph.add("Gather", x, graph.constant(fields.reads), axis=1)
    responses = _filtered(graph, fields.A.astype(u.dtype), patches)
    responses = activation_nodes(fields.activation, graph, responses, u.dtype)
    # from the left: the sum over the fields of a channel, with u^i / s_i; from the right: pooling
    to_channels = np.zeros((fields.n_channels, fields.n_fields), u.dtype)
    i = np.arange(fields.n_fields)
    to_channels[i % fields.n_channels, i] = u * fields.gain
    summed = graph.add("MatMul", graph.constant(to_channels), responses)
    shift = (-to_channels @ fields.shift).astype(u.dtype)
    pooled = graph.affine(summed, fields.means.T.astype(u.dtype), shift)
    flat = graph.add("Reshape", pooled, graph.constant([-1, shift.size]))
    return graph.add("Pad", flat, graph.constant([0, fields.n_inputs, 0, 0]))


@field_nodes.register
def _(fields: DrawnMixing, graph: Graph, x: str, u: FloatArray) -> str:
    (h, w), k, p, dtype = fields.layout.grid, fields.kernel_size, fields.layout.n_inputs, u.dtype
    bound = fields.bind(u)
    # None stands for an interval in which fields do not act, which `bind` does not know of
    assert bound.by_colour is not None
    assert bound.by_response is not None
    pixels, hidden = (
        graph.add("Gather", x, graph.constant(part), axis=1)
        for part in (np.arange(p), np.arange(p, fields.n_states))
    )
    flat = graph.constant([-1, fields.n_states - p])
    terms = []
    # where fields do not act their controls are zero, and they need no nodes
    if bound.by_colour.any():
        pixels = graph.add("Reshape", pixels, graph.constant([-1, h * w, fields.n_colours]))
        by_place = graph.affine(pixels, bound.by_colour.T.astype(dtype))
        by_channel = graph.add("Transpose", by_place, perm=[0, 2, 1])
        terms.append(graph.add("Reshape", by_channel, flat))
    if bound.by_response.any() or not terms:
        hidden = graph.add("Reshape", hidden, graph.constant([-1, fields.n_channels, h, w]))
        filters = graph.constant(fields.A[..., :-1].reshape(-1, 1, k, k).astype(dtype))
        biases = graph.constant(fields.A[..., -1].ravel().astype(dtype))
        pads = [k // 2] * 4
        z = graph.add("Conv", hidden, filters, biases, group=fields.n_channels, pads=pads)
        responses = activation_nodes(fields.activation, graph, z, dtype)
        shape = graph.constant([-1, fields.n_responses, h * w])
        responses = graph.add("Reshape", responses, shape)
        mixed = graph.add("MatMul", graph.constant(bound.by_response.astype(dtype)), responses)
        terms.append(graph.add("Reshape", mixed, flat))
    terms.append(graph.constant(np.repeat(bound.constants, h * w)[None].astype(dtype)))
    return graph.add("Pad", graph.total(terms), graph.constant([0, p, 0, 0]))


def _filtered(graph: Graph, filters: FloatArray, patches: str) -> str:
    """Filters (d, w + 1), with a bias each, on patches (N, w, positions)."""
    product = graph.add("MatMul", graph.constant(filters[:, :-1]), patches)
    return graph.add("Add", product, graph.constant(filters[:, -1:]))


@field_nodes.register(DrawnStack)
@field_nodes.register(DrawnSum)
def _(fields: DrawnStack | DrawnSum, graph: Graph, x: str, u: FloatArray) -> str:
    return graph.total(
        [
            field_nodes(part, graph, x, u[s])
            for part, s in zip(fields.parts, fields.slices, strict=True)
        ]
    )


@singledispatch
def activation_nodes(activation: Activation, graph: Graph, z: str, dtype: np.dtype[Any]) -> str:
    """Nodes for sigma(z)."""
    raise TypeError(f"{type(activation).__name__} has no ONNX translation.")


@activation_nodes.register
def _(activation: Identity, graph: Graph, z: str, dtype: np.dtype[Any]) -> str:
    return z


@activation_nodes.register
def _(activation: Tanh, graph: Graph, z: str, dtype: np.dtype[Any]) -> str:
    return graph.add("Tanh", z)


@activation_nodes.register
def _(activation: ReLU, graph: Graph, z: str, dtype: np.dtype[Any]) -> str:
    return graph.add("Relu", z)


@activation_nodes.register
def _(activation: Sin, graph: Graph, z: str, dtype: np.dtype[Any]) -> str:
    return graph.add("Sin", z)


@activation_nodes.register
def _(activation: Softplus, graph: Graph, z: str, dtype: np.dtype[Any]) -> str:
    # log(1 + e^z) = max(z, 0) + log(1 + e^-|z|), which does not overflow
    tail = graph.add("Exp", graph.add("Neg", graph.add("Abs", z)))
    tail = graph.add("Log", graph.add("Add", tail, graph.constant(1, dtype)))
    return graph.add("Add", graph.add("Relu", z), tail)


@activation_nodes.register
def _(activation: GELU, graph: Graph, z: str, dtype: np.dtype[Any]) -> str:
    def scaled(factor: float, x: str) -> str:
        return graph.add("Mul", x, graph.constant(factor, dtype))

    cube = graph.add("Mul", z, graph.add("Mul", z, z))
    inner = graph.add("Add", z, scaled(activation.cubic, cube))
    t = graph.add("Tanh", scaled(activation.slope, inner))
    return graph.add("Mul", scaled(0.5, z), graph.add("Add", t, graph.constant(1, dtype)))


@activation_nodes.register
def _(activation: PolynomialActivation, graph: Graph, z: str, dtype: np.dtype[Any]) -> str:
    c = activation.coefficients[:, :, 0].astype(dtype)
    s = graph.constant(c[-1])
    for k in range(len(c) - 2, -1, -1):
        s = graph.add("Add", graph.add("Mul", s, z), graph.constant(c[k]))
    return s
