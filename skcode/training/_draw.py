"""How a fit begins: members with fields of their own, and where their training starts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skcode.fields import FieldFamily
from skcode.flow import Tableau
from skcode.inputs import InputMap
from skcode.model import FittedMember, Model
from skcode.readouts import Readout
from skcode.training._member import Member
from skcode.training._monitor import TrainingMonitor
from skcode.training._rows import Rows
from skcode.utils._random import as_generator
from skcode.utils._typing import FloatArray

#: rows from which families that are placed by data take their places
_REFERENCE_ROWS = 1024


@dataclass(frozen=True)
class Design:
    """What members are made of, with all choices made."""

    family: FieldFamily
    n_fields: int
    n_intervals: int
    tableau: Tableau
    readout: type[Readout]


def draw_members(
    design: Design,
    rows: Rows,
    input_map: InputMap,
    constant: FloatArray,
    n_members: int,
    random_state: np.random.RandomState,
) -> list[Member]:
    """Members at the start of their training; `constant` are the best constant scores (K,).

    All have one map of the inputs, so that predictions scale their rows once.
    """
    return [
        _draw_member(design, rows, input_map, constant, as_generator(random_state))
        for _ in range(n_members)
    ]


def _draw_member(
    design: Design,
    rows: Rows,
    input_map: InputMap,
    constant: FloatArray,
    rng: np.random.Generator,
) -> Member:
    p, m = input_map.n_coordinates, input_map.n_states
    some = rows.X[np.sort(rng.integers(0, len(rows.X), _REFERENCE_ROWS))]
    reference = input_map(some)[:, :p].astype(np.float64)
    fields = design.family.draw(m, design.n_fields, rng, n_inputs=p, reference=reference)
    model = Model(
        input_map,
        fields.astype(input_map.dtype),
        design.tableau,
        design.n_intervals,
        design.readout(m, len(constant), p, fields.observation),
    )
    theta = _initial_theta(model, constant, rng)
    return Member(FittedMember(model, theta), TrainingMonitor())


def _initial_theta(model: Model, constant: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Independent normal controls, scaled by family, and the best constant prediction."""
    shape = (model.n_intervals, model.fields.n_fields)
    controls = rng.standard_normal(shape) * model.fields.start_scale
    acts = model.fields.acts(model.n_intervals)
    if acts is not None:
        controls[~acts] = 0
    return np.concatenate([controls.ravel(), model.readout.initial(constant)])
