"""How a fit begins: members with fields of their own, and where their training starts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass

import numpy as np

from skcode.fields import FieldFamily
from skcode.flow import Tableau
from skcode.inputs import InputMap
from skcode.model import FittedMember, Model, Target
from skcode.readouts import Readout
from skcode.training._flow_targets import draw_projection, outputs_of
from skcode.training._member import Member
from skcode.training._monitor import TrainingMonitor
from skcode.training._rows import Rows
from skcode.utils._random import as_generator
from skcode.utils._typing import FloatArray

#: rows from which families that are placed by data take their places
_REFERENCE_ROWS = 1024


@dataclass(frozen=True)
class Design:
    """What members are made of.

    Parameters
    ----------
    family, n_fields
        Vector fields, and how many of them.
    choose_depth : callable
        ``choose_depth(n_rows)``: the number of intervals, from the rows that a member is drawn for.
    tableau : Tableau
        Scheme of the integrator.
    readout : type of Readout
        What maps final states to scores in the training.
    """

    family: FieldFamily
    n_fields: int
    choose_depth: Callable[[int], int]
    tableau: Tableau
    readout: type[Readout]


def draw_members(
    design: Design,
    rows: Rows,
    input_map: InputMap,
    target: Target | None,
    n_members: int,
    random_state: np.random.RandomState,
) -> list[Member]:
    """Members at the start of their training, where scores are the best constant ones.

    All have one map of the inputs, so that predictions scale their rows once. Without a target
    there is one score, which stays at zero.
    """
    constant: FloatArray = np.zeros(1)
    if target is not None:
        constant = target.loss.initial_scores(rows.y, rows.weight, target.n_outputs)
    return _draw(design, rows, input_map, constant, n_members, random_state)


def draw_for_heads(
    design: Design,
    rows: Rows,
    input_map: InputMap,
    target: Target,
    n_members: int,
    random_state: np.random.RandomState,
) -> list[Member]:
    """Members that are to get a head: each is trained on one output, a random one of several."""
    members = _draw(design, rows, input_map, np.zeros(1), n_members, random_state)
    n_outputs = outputs_of(target, rows.y[:1]).shape[1]
    for member in members:
        member.projection = draw_projection(n_outputs, as_generator(random_state))
    return members


def draw_pooled(
    design: Design,
    rows: Rows,
    input_maps: Sequence[InputMap],
    target: Target,
    n_members: int,
    random_state: np.random.RandomState,
) -> list[Member]:
    """Members that are pooled with others, so many for each map of the inputs.

    They have no share before it is known what they are worth. Their source of random numbers is
    their own: all else is drawn as without them.
    """
    source = own_source(random_state)
    pooled = [
        member
        for input_map in input_maps
        if n_members
        for member in draw_members(design, rows, input_map, target, n_members, source)
    ]
    for member in pooled:
        member.share = 0.0
    return pooled


def own_source(random_state: np.random.RandomState) -> np.random.RandomState:
    """Another source of random numbers, which leaves this one as it is."""
    return np.random.RandomState(deepcopy(random_state).randint(2**31))


def _draw(
    design: Design,
    rows: Rows,
    input_map: InputMap,
    constant: FloatArray,
    n_members: int,
    random_state: np.random.RandomState,
) -> list[Member]:
    """Members whose scores start at the constant (K,)."""
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
        design.choose_depth(len(rows.X)),
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
