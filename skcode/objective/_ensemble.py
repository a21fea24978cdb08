"""Scores of several models that share their inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from skcode.flow import BatchedFlows
from skcode.objective._model import Model
from skcode.utils._blocks import OrderedMap
from skcode.utils._typing import Array, FloatArray

#: rows up to which the flows of all members run in one array
_FEW_ROWS = 64
#: ... where their coefficients, which are copied, are few as well
_SMALL_ENTRIES = 2**20

Members = Sequence[tuple[Model, FloatArray]]


class _Batched(NamedTuple):
    """What members need to predict few rows at once, and the models and numbers it is made from."""

    key: list[Any]
    scores: Callable[[Array], FloatArray] | None


def ensemble_scores(members: Members, X: Array, n_jobs: int | None = None) -> FloatArray:
    """Scores (E, n, K) of E models; few rows are scaled once, and flow through all at once."""
    if len(members) > 1 and len(X) <= _FEW_ROWS:
        of_few = _batched(members)
        if of_few is not None:
            # so little is no work for a pool, nor for threads of BLAS
            with np.errstate(all="ignore"):
                return of_few(X)
    model = members[0][0]
    shape = len(members), len(X), model.readout.n_outputs
    scores = np.empty(shape, model.dtype)
    one_block = len(X) <= min(other.n_block for other, _ in members)
    with OrderedMap(n_jobs) as mapper:
        x0 = model.input_map(X) if one_block and _share_inputs(members) else None
        for e, (other, theta) in enumerate(members):
            if one_block:
                scores[e] = other.block_scores(theta, X, x0)
            else:
                scores[e] = other.scores(theta, X, mapper)
    return scores


def _share_inputs(members: Members) -> bool:
    return all(model.input_map is members[0][0].input_map for model, _ in members)


def _batched(members: Members) -> Callable[[Array], FloatArray] | None:
    """The scores of few rows, made once for the numbers at hand, and kept with the first model."""
    model = members[0][0]
    key = [item for other, theta in members for item in (other, theta.tobytes())]
    kept: _Batched | None = model.batched
    if kept is None or kept.key != key:
        kept = _Batched(key, _of_few(members))
        model.batched = kept
    return kept.scores


def _of_few(members: Members) -> Callable[[Array], FloatArray] | None:
    model = members[0][0]
    small = len(members) * model.fields.tape_width * model.fields.n_states <= _SMALL_ENTRIES
    if not small or not _share_inputs(members):
        return None
    controls, parameters = zip(*(other.split(theta) for other, theta in members), strict=True)
    fields = [other.fields for other, _ in members]
    flows = BatchedFlows.of(fields, model.tableau, controls, model.dtype)
    if flows is None:
        return None
    readouts = model.readout.batched([part.astype(model.dtype) for part in parameters])

    def scores(X: Array) -> FloatArray:
        x0 = model.input_map(X)
        return readouts(flows(x0), x0)

    return scores
