"""ONNX models of fitted estimators and, through skl2onnx, of pipelines that hold them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from skcode.estimators import (
    ControlledODEClassifier,
    ControlledODERegressor,
    ControlledODETransformer,
)
from skcode.export._estimators import estimator_nodes
from skcode.export._graph import OPSET, Graph, element_type
from skcode.export._skl2onnx import tensor_type
from skcode.images import PatchFilters
from skcode.model import FittedEstimator


def to_onnx(estimator: FittedEstimator | Pipeline) -> onnx.ModelProto:
    """A fitted estimator as an ONNX model.

    The graph computes in the float type of the fit, float64 or float32, and its input ``X`` (N, p)
    is of that type. A classifier gives ``label`` (N,) and ``probabilities`` (N, K), a regressor
    ``variable``, of the shape of its predictions, a transformer ``variable`` (N, m).

    Where a flow explodes, `predict` raises and the graph gives infinities or NaN.

    Parameters
    ----------
    estimator : ControlledODEClassifier, ControlledODERegressor, ControlledODETransformer, Pipeline
        A fitted estimator, or a pipeline that ends in one; a pipeline needs skl2onnx.

    Returns
    -------
    onnx.ModelProto
        The checked model; ``model.SerializeToString()`` are the bytes that runtimes read.

    Raises
    ------
    TypeError
        If the estimator holds what ONNX cannot express: functions of the user, categories, dates,
        and sparse matrices of many columns. Encode those in a pipeline.
    sklearn.exceptions.NotFittedError
        If it is not fitted.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode import ControlledODERegressor
    >>> from skcode.export import to_onnx
    >>> X = np.random.default_rng(0).standard_normal((50, 2))
    >>> model = to_onnx(ControlledODERegressor(random_state=0).fit(X, X[:, 0] * X[:, 1]))
    >>> [output.name for output in model.graph.output]
    ['variable']
    """
    check_is_fitted(estimator)
    if isinstance(estimator, Pipeline):
        return _convert_pipeline(estimator)
    graph = Graph()
    outputs = estimator_nodes(estimator, graph, "X")
    for output in outputs:
        graph.add("Identity", output.node, output=output.name)
    return graph.model(
        [("X", estimator.ensemble_.dtype, ("N", estimator.n_features_in_))],
        [(output.name, output.dtype, output.shape) for output in outputs],
        f"A fitted {type(estimator).__name__}.",
    )


def _convert_pipeline(pipeline: Pipeline) -> onnx.ModelProto:
    from skl2onnx import to_onnx as convert
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType

    register_skl2onnx()
    last = pipeline[-1]
    kind = DoubleTensorType if last.ensemble_.dtype == np.float64 else FloatTensorType
    classifies = isinstance(last, ControlledODEClassifier)
    model: onnx.ModelProto = convert(
        pipeline,
        initial_types=[("X", kind([None, pipeline.n_features_in_]))],
        options={id(last): {"zipmap": False}} if classifies else None,
        target_opset=OPSET,
    )
    return model


def register_skl2onnx() -> None:
    """Teach skl2onnx the estimators of skcode, wherever they stand in a pipeline or a search.

    Examples
    --------
    >>> from skcode.export import register_skl2onnx
    >>> register_skl2onnx()
    """
    from skl2onnx import update_registered_converter

    for kind in (
        ControlledODEClassifier,
        ControlledODERegressor,
        ControlledODETransformer,
        PatchFilters,
    ):
        classifies = kind is ControlledODEClassifier
        update_registered_converter(
            kind,
            f"Skcode{kind.__name__}",
            _infer_shapes,
            _convert,
            options={"zipmap": [True, False, "columns"], "nocl": [True, False]}
            if classifies
            else None,
        )


def _infer_shapes(operator: Any) -> None:
    for variable, output in zip(
        operator.outputs, estimator_nodes(operator.raw_operator, Graph(), "X"), strict=True
    ):
        variable.type = tensor_type(element_type(output.dtype), output.shape)


def _convert(scope: Any, operator: Any, container: Any) -> None:
    graph = Graph(scope.get_unique_variable_name("skcode") + "_")
    outputs = estimator_nodes(operator.raw_operator, graph, operator.inputs[0].full_name)
    for variable, output in zip(operator.outputs, outputs, strict=True):
        graph.add("Identity", output.node, output=variable.full_name)
    container.initializers.extend(graph.constants)
    for node in graph.nodes:
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        container.add_node(
            node.op_type,
            list(node.input),
            list(node.output),
            op_version=OPSET,
            name=scope.get_unique_operator_name(node.op_type),
            **attributes,
        )
