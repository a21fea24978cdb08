"""Fitted models in other formats: ONNX (``pip install "skcode[onnx]"``)."""

from skcode.export._fields import field_nodes
from skcode.export._graph import Graph
from skcode.export._onnx import register_skl2onnx, to_onnx

__all__ = ["Graph", "field_nodes", "register_skl2onnx", "to_onnx"]
