"""Estimators, and the parts that they are made of, as ONNX nodes."""

from __future__ import annotations

from functools import singledispatch
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from skcode.estimators import (
    ControlledODEClassifier,
    ControlledODERegressor,
    ControlledODETransformer,
)
from skcode.export._columns import column_nodes
from skcode.export._fields import field_nodes
from skcode.export._graph import Graph
from skcode.export._heads import head_nodes
from skcode.export._images import patch_nodes
from skcode.images import PatchFilters, ShiftedImagesClassifier
from skcode.inputs import BOUND, HUGE, Asinh, Bound, InputMap, Ramps, Squash
from skcode.model import (
    ClassificationTarget,
    FittedMember,
    MultilabelTarget,
    RegressionTarget,
    Target,
)
from skcode.readouts import DisplacementReadout, LinearReadout, Readout
from skcode.utils._typing import FloatArray


class Output(NamedTuple):
    """One answer of a model."""

    node: str
    name: str
    dtype: DTypeLike
    shape: tuple[str | int, ...]


@singledispatch
def estimator_nodes(estimator: object, graph: Graph, x: str) -> list[Output]:
    """Nodes for the predictions of an estimator."""
    raise TypeError(f"{type(estimator).__name__} is no estimator of skcode.")


@estimator_nodes.register
def _(estimator: ControlledODETransformer, graph: Graph, x: str) -> list[Output]:
    member = estimator.ensemble_.members[0]
    x = column_nodes(estimator.encoder_, graph, x, member.model.dtype)
    state = _flow_nodes(member, graph, x)[1]
    return [Output(state, "variable", member.model.dtype, ("N", member.model.fields.n_states))]


@estimator_nodes.register(ControlledODERegressor)
@estimator_nodes.register(ControlledODEClassifier)
def _(
    estimator: ControlledODERegressor | ControlledODEClassifier, graph: Graph, x: str
) -> list[Output]:
    ensemble = estimator.ensemble_
    assert ensemble.target is not None
    if isinstance(estimator, ControlledODEClassifier) and estimator.encoder_.effects:
        raise TypeError(
            "This classifier has effects of single values (encoder_.effects), and takes the mean "
            "over many of them where a value is new, which its ONNX graph would not: fit it with "
            "value_effects=False."
        )
    x = column_nodes(estimator.encoder_, graph, x, ensemble.dtype)
    scores = [_score_nodes(member, graph, x) for member in ensemble.members]
    if ensemble.pooled:
        pool = graph.total([_score_nodes(member, graph, x) for member in ensemble.pooled])
        scores = [graph.add("Add", each, pool) for each in scores]
    return answer_nodes(ensemble.target, graph, scores, ensemble.dtype)


@estimator_nodes.register
def _(filters: PatchFilters, graph: Graph, x: str) -> list[Output]:
    n_outputs = int(np.prod(filters.image_shape_))
    return [Output(patch_nodes(filters, graph, x), "variable", np.float32, ("N", n_outputs))]


@estimator_nodes.register
def _(estimator: ShiftedImagesClassifier, graph: Graph, x: str) -> list[Output]:
    raise TypeError(
        "ShiftedImagesClassifier has no ONNX translation: export its estimator_, and take the mean "
        "of what that says of the shifted views."
    )


@singledispatch
def answer_nodes(
    target: Target, graph: Graph, scores: list[str], dtype: np.dtype[Any]
) -> list[Output]:
    """Nodes for what is predicted of a target from the scores (N, K) of each member."""
    raise TypeError(f"{type(target).__name__} has no ONNX translation.")


@answer_nodes.register
def _(
    target: RegressionTarget, graph: Graph, scores: list[str], dtype: np.dtype[Any]
) -> list[Output]:
    if target.loss.log_link:
        bounds = target.loss.score_range(dtype)
        scores = [_exponential_nodes(graph, s, bounds, dtype) for s in scores]
    # in float64, as `predict` does it
    values = graph.cast(_mean(graph, scores, dtype), np.float64)
    values = graph.add("Mul", values, graph.constant(target.scale))
    values = graph.add("Add", values, graph.constant(target.mean))
    shape = (-1,) if target.y_ndim == 1 else (-1, target.n_outputs)
    values = graph.add("Reshape", values, graph.constant(shape))
    return [Output(graph.cast(values, dtype), "variable", dtype, ("N", *shape[1:]))]


@answer_nodes.register
def _(
    target: ClassificationTarget, graph: Graph, scores: list[str], dtype: np.dtype[Any]
) -> list[Output]:
    if target.n_outputs == 1:
        p = _mean(graph, [_sigmoid_nodes(graph, s, dtype) for s in scores], dtype)
        p = graph.add("Concat", graph.add("Sub", graph.constant(1, dtype), p), p, axis=1)
    else:
        p = _mean(graph, [graph.add("Softmax", s, axis=1) for s in scores], dtype)
    best = graph.add("ArgMax", p, axis=1, keepdims=0)
    label = graph.add("Gather", graph.constant(target.classes), best)
    return [
        Output(label, "label", target.classes.dtype, ("N",)),
        Output(p, "probabilities", dtype, ("N", len(target.classes))),
    ]


@answer_nodes.register
def _(
    target: MultilabelTarget, graph: Graph, scores: list[str], dtype: np.dtype[Any]
) -> list[Output]:
    p = _mean(graph, [_sigmoid_nodes(graph, s, dtype) for s in scores], dtype)
    label = graph.cast(graph.add("Greater", p, graph.constant(0.5, dtype)), np.int64)
    shape = ("N", target.n_labels)
    return [Output(label, "label", np.int64, shape), Output(p, "probabilities", dtype, shape)]


def _mean(graph: Graph, parts: list[str], dtype: np.dtype[Any]) -> str:
    total = graph.total(parts)
    return total if len(parts) == 1 else graph.add("Div", total, graph.constant(len(parts), dtype))


def _exponential_nodes(
    graph: Graph, scores: str, bounds: tuple[float, float], dtype: np.dtype[Any]
) -> str:
    """Positive, finite exponentials of the scores."""
    low, high = bounds
    s = graph.add("Max", scores, graph.constant(low, dtype))
    return graph.add("Exp", graph.add("Min", s, graph.constant(high, dtype)))


def _sigmoid_nodes(graph: Graph, scores: str, dtype: np.dtype[Any]) -> str:
    info = np.finfo(dtype)
    p = graph.add("Max", graph.add("Sigmoid", scores), graph.constant(info.tiny, dtype))
    return graph.add("Min", p, graph.constant(1 - info.epsneg, dtype))


# -- the parts of a model --------------------------------------------------------------------------


def _score_nodes(member: FittedMember, graph: Graph, x: str) -> str:
    """Scores (N, K) of a member."""
    start, end = _flow_nodes(member, graph, x)
    if member.head is not None:
        return head_nodes(member.head, graph, end, start)
    return readout_nodes(member.model.readout, graph, member.parameters, end, start)


def _flow_nodes(member: FittedMember, graph: Graph, x: str) -> tuple[str, str]:
    """Initial and final states (N, m)."""
    model = member.model
    start = state = _input_nodes(model.input_map, graph, x)
    acts = model.fields.acts(model.n_intervals)
    controls = member.controls if acts is None else np.where(acts, member.controls, 0)
    for u in (controls / model.n_intervals).astype(model.dtype):
        stages: list[str] = []
        for row in model.tableau.a:
            point = _combined(graph, state, row, stages, model.dtype)
            stages.append(field_nodes(model.fields, graph, point, u))
        state = _combined(graph, state, model.tableau.b, stages, model.dtype)
    return start, state


def _combined(
    graph: Graph, x: str, weights: tuple[float, ...], stages: list[str], dtype: np.dtype[Any]
) -> str:
    """x + sum_j weights_j stages_j."""
    terms = [x]
    for weight, stage in zip(weights, stages, strict=True):
        if weight == 1:
            terms.append(stage)
        elif weight:
            terms.append(graph.add("Mul", stage, graph.constant(weight, dtype)))
    return graph.total(terms)


def _input_nodes(input_map: InputMap, graph: Graph, x: str) -> str:
    """Initial states (N, m): scaled inputs, their ramps or projection, then zeros."""
    z = graph.add("Sub", graph.cast(x, np.float64), graph.constant(input_map.center, np.float64))
    z = graph.add("Mul", z, graph.constant(input_map.gain, np.float64))
    if input_map.ramps is not None:
        z = _ramp_nodes(input_map.ramps, graph, z)
    elif input_map.squash is not None:
        z = _squash_nodes(input_map.squash, graph, z)
    z = graph.cast(z, input_map.dtype)
    if input_map.projection is not None:
        z = graph.add("MatMul", z, graph.constant(input_map.projection))
    missing = input_map.n_states - input_map.n_coordinates
    return graph.add("Pad", z, graph.constant([0, 0, 0, missing])) if missing else z


def _ramp_nodes(ramps: Ramps, graph: Graph, z: str) -> str:
    """Ramps (N, q) of scaled inputs."""
    parts = graph.add("Gather", z, graph.constant(ramps.columns), axis=1)
    parts = graph.add("Max", parts, graph.constant(ramps.low, np.float64))
    parts = graph.add("Min", parts, graph.constant(ramps.high, np.float64))
    parts = graph.add("Sub", parts, graph.constant(ramps.center, np.float64))
    parts = graph.add("Mul", parts, graph.constant(ramps.gain, np.float64))
    return _squash_nodes(BOUND, graph, parts)


def _squash_nodes(squash: Squash, graph: Graph, z: str) -> str:
    """Squashed inputs, in double precision."""
    finite = graph.add("Max", z, graph.constant(-HUGE, np.float64))
    z = graph.add("Min", finite, graph.constant(HUGE, np.float64))
    return squashed_nodes(squash, graph, z)


@singledispatch
def squashed_nodes(squash: Squash, graph: Graph, z: str) -> str:
    """Nodes for squashed finite numbers."""
    raise TypeError(f"{type(squash).__name__} has no ONNX translation.")


@squashed_nodes.register
def _(squash: Bound, graph: Graph, z: str) -> str:
    return graph.add("Div", z, _hypotenuse(graph, _in_units(graph, z, squash.bound)))


@squashed_nodes.register
def _(squash: Asinh, graph: Graph, z: str) -> str:
    # runtimes have no Asinh in double precision; it is odd, and of what is positive a logarithm
    ratio = _in_units(graph, z, squash.knee)
    logarithm = graph.add(
        "Log", graph.add("Add", graph.add("Abs", ratio), _hypotenuse(graph, ratio))
    )
    grown = graph.add("Mul", logarithm, graph.constant(squash.knee, np.float64))
    return graph.add("Mul", graph.add("Sign", z), grown)


def _in_units(graph: Graph, z: str, unit: float) -> str:
    return graph.add("Div", z, graph.constant(unit, np.float64))


def _hypotenuse(graph: Graph, z: str) -> str:
    """The root of 1 + z^2."""
    square = graph.add("Add", graph.add("Mul", z, z), graph.constant(1, np.float64))
    return graph.add("Sqrt", square)


@singledispatch
def readout_nodes(readout: Readout, graph: Graph, parameters: FloatArray, x1: str, x0: str) -> str:
    """Nodes for the scores (N, K) of final and initial states."""
    raise TypeError(f"{type(readout).__name__} has no ONNX translation.")


@readout_nodes.register
def _(readout: LinearReadout, graph: Graph, parameters: FloatArray, x1: str, x0: str) -> str:
    A = readout.state_gradient(parameters).astype(parameters.dtype)
    return graph.affine(x1, A.T, readout.split(parameters)[1])


@readout_nodes.register
def _(readout: DisplacementReadout, graph: Graph, parameters: FloatArray, x1: str, x0: str) -> str:
    return graph.affine(graph.add("Sub", x1, x0), readout.state_gradient(parameters).T)
