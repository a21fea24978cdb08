"""Effects of single values of a column, where what a model leaves of left-out rows shows them.

A model that is trained already predicts rows without their own targets. If rows of one value of a
column all lie above what it says, and those of another all below, the value itself tells something.
What counts is what effects save on rows that did not make them, so noise finds none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from skcode.columns import ColumnEncoder, ValueEffect, left_out_effects
from skcode.gaussian_process import Hyperparameters, fit_exact, significant_gain
from skcode.model import ClassificationTarget, Target
from skcode.training._flow_targets import FlowTargets
from skcode.training._hyperparameters import some_rows, states_of
from skcode.training._member import Member
from skcode.training._rows import Rows
from skcode.utils._blocks import block_slices
from skcode.utils._typing import Array, FloatArray, IntArray

#: columns that have effects at most: the one of most gain first, and the next by what it leaves
_MOST_COLUMNS = 3
#: outputs of which a value has effects; with more of them, along principal directions
_MOST_EFFECTS = 3
#: standard errors by which effects have to save losses before all rows are asked
_ERRORS_OF_SOME = 2.0
#: and then
_ERRORS = 3.0
#: share of the losses that they have to save
_LEAST_SHARE = 0.01
#: rows of which the residuals make effects: there are hardly more where values come again
_MOST_ROWS = 2**16
#: rows beyond which no effects are sought: their coordinates are a copy of the table
_MOST_TABLE_ROWS = 2**20
#: rows that are predicted at once
_BLOCK = 1024


class Baseline(NamedTuple):
    """A member that is trained, and what it says of some rows without their own targets."""

    member: Member
    hyperparameters: Hyperparameters
    flow_targets: FlowTargets
    #: places of its rows among all
    rows: IntArray
    #: places among those of the rows that it was asked for
    asked: IntArray
    #: standardised outputs less predictions, of those
    residuals: FloatArray


class FoundEffects(NamedTuple):
    """Effects of single values."""

    effects: tuple[ValueEffect, ...]
    #: their coordinates for the training rows (n, q), none of which has seen its own output
    coordinates: FloatArray


def losses_of(residuals: FloatArray, target: Target) -> FloatArray:
    """What is compared (n,) of residuals (n, K): their lengths, and of classes squares.

    Of numbers a few rows have most of the squares; of indicators lengths are least for predictions
    that are too sure.
    """
    squares: FloatArray = (residuals**2).sum(axis=1)
    return squares if isinstance(target, ClassificationTarget) else np.sqrt(squares)


def find_effects(
    table: Array, encoder: ColumnEncoder, rows: Rows, baseline: Baseline
) -> FoundEffects | None:
    """Effects of the columns of a table (n, p), if there are any.

    Parameters
    ----------
    table : ndarray of shape (n, p)
        One number for each cell, as the encoder reads it.
    encoder : ColumnEncoder
        What it is encoded by.
    rows : Rows
        The training rows, encoded.
    baseline : Baseline
        A model of some of them.
    """
    if encoder.projection is not None or len(table) > _MOST_TABLE_ROWS:
        return None
    target, p = baseline.flow_targets.target, table.shape[1]
    asked = baseline.rows[baseline.asked]
    some = _Residuals(table[asked], _principal(baseline.residuals), rows.weight[asked], target)
    candidates = some.telling(range(p), _ERRORS_OF_SOME)
    if not candidates:
        return None
    at, residuals = _all_residuals(rows, baseline)
    every = _Residuals(table[at], _principal(residuals), rows.weight[at], target)
    # in the units of the scores
    of_outputs = residuals * baseline.flow_targets.scale
    effects, coordinates = [], []
    for column, left_out in every.telling([column for column, _ in candidates], _ERRORS):
        values, name = every.table[:, column], encoder.names[column]
        effect = ValueEffect.learn(name, column, values, every.residuals, every.weight, of_outputs)
        # rows that made no effects are as rows to come
        of_column = effect.encode(table)
        of_column[at] = left_out
        effects.append(effect)
        coordinates.append(of_column)
        every = every.less(left_out)
    return FoundEffects(tuple(effects), np.hstack(coordinates)) if effects else None


class _Residuals(NamedTuple):
    """What a model leaves of the outputs of some rows."""

    table: Array
    residuals: FloatArray
    weight: FloatArray
    target: Target

    def less(self, effects: FloatArray) -> _Residuals:
        return self._replace(residuals=self.residuals - effects)

    def telling(self, columns: Sequence[int], errors: float) -> list[tuple[int, FloatArray]]:
        """Columns with effects, that of most gain first, and these effects (n, K), left out."""
        rest, found = self, list[tuple[int, FloatArray]]()
        while columns and len(found) < _MOST_COLUMNS:
            before = losses_of(rest.residuals, self.target)
            least = _LEAST_SHARE * float(self.weight @ before / self.weight.sum())
            gains: dict[int, tuple[float, FloatArray]] = {}
            for column in columns:
                effects = left_out_effects(self.table[:, column], rest.residuals, self.weight)
                if effects is not None:
                    after = losses_of(rest.residuals - effects, self.target)
                    gains[column] = significant_gain(before, after, self.weight, errors), effects
            gains = {column: each for column, each in gains.items() if each[0] > least}
            if not gains:
                break
            best = max(gains, key=lambda column: gains[column][0])
            found.append((best, gains[best][1]))
            rest = rest.less(gains[best][1])
            # what told nothing beside more tells nothing beside less
            columns = [column for column in gains if column != best]
        return found


def _all_residuals(rows: Rows, baseline: Baseline) -> tuple[IntArray, FloatArray]:
    """Places of rows (q,), and what is left of their outputs (q, K): of all but very many."""
    member, hyperparameters, flow_targets, own, _, _ = baseline
    kernel = hyperparameters.kernel
    observations = flow_targets.observed(rows)
    of_own = observations.some(own)
    states = states_of(member, of_own.X)
    centre = states.mean(axis=0)
    every = np.arange(len(own))
    fitted = fit_exact(states - centre, *of_own[1:], hyperparameters, every)
    at, residuals = own, of_own.y - fitted.left_out
    if len(own) < len(rows.X):
        others = np.setdiff1d(np.arange(len(rows.X)), own)
        others = others[some_rows(len(others), np.random.default_rng(0), _MOST_ROWS - len(own))]
        at, parts = np.concatenate([own, others]), [residuals]
        for block in block_slices(len(others), _BLOCK):
            part = others[block]
            predicted = fitted.mean(kernel, states_of(member, rows.X[part]) - centre)
            parts.append(observations.some(part).y - predicted)
        residuals = np.vstack(parts)
        # an order that says nothing of the rows, as that of all
        order = np.argsort(at)
        at, residuals = at[order], residuals[order]
    return at, residuals


def _principal(residuals: FloatArray) -> FloatArray:
    """Residuals (n, K) as they are, or along the directions in which they vary most."""
    if residuals.shape[1] <= _MOST_EFFECTS:
        return residuals
    directions = np.linalg.eigh(residuals.T @ residuals)[1][:, : -_MOST_EFFECTS - 1 : -1]
    # an eigenvector has no sign of its own
    along: FloatArray = residuals @ (directions * np.sign(directions.sum(axis=0)))
    return along
