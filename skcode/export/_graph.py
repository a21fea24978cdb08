"""A graph of ONNX nodes under construction."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike, DTypeLike
from onnx import TensorProto, helper, numpy_helper

from skcode.utils._typing import FloatArray

#: version of the operators, old enough for runtimes of the last years
OPSET = 17
_IR_VERSION = 8
#: name, type and shape of an input or an output
_Info = tuple[str, DTypeLike, tuple[str | int, ...]]


class Graph:
    """Collects nodes and constants; `add` returns the name of what a node computes.

    Parameters
    ----------
    prefix : str
        Prefix of all names, so that graphs can be joined.

    Examples
    --------
    >>> from skcode.export import Graph
    >>> graph = Graph()
    >>> graph.add("Tanh", "X")
    'Tanh_0'
    """

    def __init__(self, prefix: str = ""):
        self.prefix = prefix
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, value: ArrayLike, dtype: DTypeLike | None = None) -> str:
        """Name of a constant array."""
        name = f"{self.prefix}constant_{len(self.constants)}"
        array = np.asarray(value, dtype=dtype)
        if array.dtype.kind in "UO":
            entries: Any = [str(entry).encode() for entry in array.ravel()]
            tensor = helper.make_tensor(name, TensorProto.STRING, array.shape, entries)
        else:
            tensor = numpy_helper.from_array(np.ascontiguousarray(array), name)
        self.constants.append(tensor)
        return name

    def add(self, operator: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """Append a node and return the name of its output."""
        name = output or f"{self.prefix}{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def cast(self, x: str, dtype: DTypeLike, output: str | None = None) -> str:
        """The same values in another type."""
        return self.add("Cast", x, to=element_type(dtype), output=output)

    def affine(self, x: str, matrix: FloatArray, bias: FloatArray | None = None) -> str:
        """Rows x (N, a) times matrix (a, b), plus bias (b,)."""
        product = self.add("MatMul", x, self.constant(matrix))
        return product if bias is None else self.add("Add", product, self.constant(bias))

    def total(self, terms: list[str]) -> str:
        """Sum of arrays of one shape."""
        result = terms[0]
        for term in terms[1:]:
            result = self.add("Add", result, term)
        return result

    def scan(self, x: str, body: Graph, given: _Info, asked: _Info) -> str:
        """Stack of what a body computes from each entry of x along its first axis.

        ``given`` is what the body calls an entry, ``asked`` what it computes from it. Everything
        else that the body reads has to be a constant of its own.
        """
        one, other = (
            helper.make_tensor_value_info(n, element_type(d), s) for n, d, s in (given, asked)
        )
        graph = helper.make_graph(
            body.nodes, f"{body.prefix}body", [one], [other], initializer=body.constants
        )
        return self.add("Scan", x, body=graph, num_scan_inputs=1)

    def model(self, inputs: list[_Info], outputs: list[_Info], doc: str) -> onnx.ModelProto:
        """The checked model; inputs and outputs are (name, dtype, shape)."""
        given, asked = (
            [helper.make_tensor_value_info(n, element_type(d), s) for n, d, s in infos]
            for infos in (inputs, outputs)
        )
        graph = helper.make_graph(self.nodes, "skcode", given, asked, initializer=self.constants)
        model = helper.make_model(
            graph,
            producer_name="skcode",
            doc_string=doc,
            opset_imports=[helper.make_opsetid("", OPSET)],
        )
        model.ir_version = _IR_VERSION
        onnx.checker.check_model(model)
        return model


def element_type(dtype: DTypeLike) -> int:
    """ONNX's number of a type; any text is a string."""
    dtype = np.dtype(dtype)
    if dtype.kind in "UO":
        return TensorProto.STRING
    return helper.np_dtype_to_tensor_dtype(dtype)
