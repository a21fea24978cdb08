"""Scores of several models that share their inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from skcode.flow import FlowsAbreast
from skcode.objective._model import Model
from skcode.utils._blocks import OrderedMap
from skcode.utils._typing import Array, FloatArray

#: rows up to which the flows of all members run in one array
_FEW_ROWS = 64
#: ... where their coefficients, which are copied, are few as well
_SMALL_ENTRIES = 2**20

Members = Sequence[tuple[Model, FloatArray]]


class _Abreast(NamedTuple):
    """What members need to predict few rows at once, and the models and numbers it is made from."""

    key: list[Any]
    flows: FlowsAbreast | None
    parameters: list[FloatArray]


def ensemble_scores(members: Members, X: Array, mapper: OrderedMap) -> list[FloatArray]:
    """Scores (n, K) of several models; few rows are scaled once, and flow through all at once."""
    model = members[0][0]
    if len(X) > min(other.n_block for other, _ in members):
        return [other.scores(theta, X, mapper) for other, theta in members]
    if any(other.input_map is not model.input_map for other, _ in members):
        return [other.block_scores(theta, X) for other, theta in members]
    x0 = model.input_map(X)
    abreast = _abreast(members) if len(members) > 1 and len(X) <= _FEW_ROWS else None
    if abreast is None or abreast.flows is None:
        return [other.block_scores(theta, X, x0) for other, theta in members]
    ends = np.swapaxes(abreast.flows(x0), 1, 2)
    return [
        other.readout.scores(parameters, x1, x0)
        for (other, _), parameters, x1 in zip(members, abreast.parameters, ends, strict=True)
    ]


def _abreast(members: Members) -> _Abreast:
    """Made once for the numbers at hand, and kept with the first model."""
    model = members[0][0]
    key = [item for other, theta in members for item in (other, theta.tobytes())]
    kept: _Abreast | None = model.abreast
    if kept is None or kept.key != key:
        controls, parameters = zip(*(other.split(theta) for other, theta in members), strict=True)
        small = len(members) * model.fields.tape_width * model.fields.n_states <= _SMALL_ENTRIES
        fields = [other.fields for other, _ in members]
        flows = FlowsAbreast.of(fields, model.tableau, controls, model.dtype) if small else None
        kept = _Abreast(key, flows, [part.astype(model.dtype) for part in parameters])
        model.abreast = kept
    return kept
