"""Training by batches: one pass over the rows of a batch, and what is remembered for the next.

Scales and fields come from data, of which a stream has little at first: a batch may be one row, its
target may be constant, or a column of it. So the first rows are held until there are enough, and
the model is drawn anew from all of them at each call until then. After that the scale of the target
follows the stream, by changes of the readout that leave predictions where they are, and a column
that was constant gets a scale when it varies.
"""

from __future__ import annotations

import warnings
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import sparse

from skcode.inputs import InputMap
from skcode.model import FittedMember, RegressionTarget, Target, TargetMoments
from skcode.objective import Objective
from skcode.solvers import StochasticSolver
from skcode.training._member import Member, tame_start
from skcode.training._rows import RawRows, canonical
from skcode.utils._typing import Array, FloatArray, IntArray

#: distinct rows from which quartiles and deviations are worth keeping
_ENOUGH_ROWS = 64
#: rows that are held at most, while the target does not vary
_MOST_HELD = 1024
#: ratio of two scales of the target beyond which a solver forgets the gradients it has averaged
_FAR_SCALES = 2.0


def stream_epoch(
    member: Member,
    objective: Objective,
    solver: StochasticSolver[Any],
    rng: np.random.Generator,
) -> float:
    """One pass over the rows of an objective, in place; what is remembered outlives the call."""
    if member.stream is None:
        member.move(tame_start(objective, member.theta)[0])
    if member.stream is None or member.stream.solver != type(solver).__name__:
        member.stream = solver.start_stream(member.theta)
    theta, loss = solver.run_epoch(objective, member.theta, member.stream, rng)
    member.move(theta)
    member.n_iter += 1
    return loss


@dataclass(frozen=True)
class LateColumns:
    """Columns that held one number so far, and what was seen of those that no longer do.

    Parameters
    ----------
    columns : ndarray of shape (c,)
        Their indices.
    weight, deviation : ndarray of shape (c,)
        Weight of the rows that differed, and the root of the mean square by which they did.
    """

    columns: IntArray
    weight: FloatArray
    deviation: FloatArray

    @classmethod
    def of(cls, input_map: InputMap) -> LateColumns:
        """The columns that an input map ignores."""
        columns = np.flatnonzero(input_map.gain == 0)
        return cls(columns, np.zeros(len(columns)), np.zeros(len(columns)))

    def follow(
        self, X: Array, weight: FloatArray, input_map: InputMap
    ) -> tuple[LateColumns, InputMap]:
        """What is left to follow after a batch, and the map that reads what began to vary.

        What a column held before stays at zero, so that predictions of such rows do not change.
        """
        off = input_map.differing(X, self.columns)
        if not off.any():
            return self, input_map
        shift = X[:, self.columns].astype(np.float64) - input_map.center[self.columns]
        shift = np.where(off, np.abs(shift), 0.0)
        size = np.maximum(shift.max(axis=0), np.finfo(np.float64).tiny)
        squares = weight @ (shift / size) ** 2
        total = self.weight + weight @ off
        deviation = np.hypot(np.sqrt(self.weight) * self.deviation, size * np.sqrt(squares))
        deviation /= np.sqrt(np.where(total > 0, total, 1.0))
        moved = total > 0
        gain = input_map.gain.copy()
        gain[self.columns[moved]] = 1 / deviation[moved]
        left = total < _ENOUGH_ROWS
        late = LateColumns(self.columns[left], total[left], deviation[left])
        return late, input_map.with_gain(gain, X)


@dataclass(frozen=True)
class Stream:
    """What a stream of batches remembers beside the members.

    Parameters
    ----------
    random_state : RandomState
        Source of random numbers.
    first_state : RandomState or None
        That source before anything was drawn, from which a draw is repeated; None at the end of
        the beginning.
    held : tuple of ndarray or None
        The first rows: inputs, targets and weights; None once there were enough.
    moments : TargetMoments or None
        What the scale of the target follows; None where it does not.
    late : LateColumns or None
        Columns that wait for a scale; None where they cannot get one.
    """

    random_state: np.random.RandomState
    first_state: np.random.RandomState | None = None
    held: tuple[Array, ...] | None = None
    moments: TargetMoments | None = None
    late: LateColumns | None = None

    @classmethod
    def begin(cls, random_state: np.random.RandomState) -> Stream:
        """A stream without rows."""
        return cls(random_state, deepcopy(random_state))

    @property
    def begins(self) -> bool:
        """Whether the model is still drawn anew where new rows come."""
        return self.first_state is not None

    def with_batch(self, batch: RawRows) -> RawRows | None:
        """All rows so far, equal ones merged; None if the batch has none that is new."""
        if self.held is None:
            return batch
        held = RawRows(*self.held)
        batch = batch._replace(y=batch.y.reshape(len(batch.y), *held.y.shape[1:]))
        parts = zip(held, batch, strict=True)
        rows = canonical(RawRows(*(_stacked(*each) for each in parts)))
        return None if len(rows.y) == len(held.y) else rows

    def restarted(self) -> Stream:
        """The stream with its source of random numbers where it was at first."""
        if self.held is None or self.first_state is None:
            return self
        return replace(self, random_state=deepcopy(self.first_state))

    def after_draw(
        self, rows: RawRows, target: Target, members: list[Member], scaling: bool
    ) -> Stream:
        """What follows a draw from these rows: more rows to hold, or scales that follow."""
        model, y = members[0].model, rows.y
        moments, varies = None, True
        if isinstance(target, RegressionTarget):
            varies = bool(np.all(y.min(axis=0) < y.max(axis=0)))
            if scaling and target.follows and model.readout.affine:
                moments = TargetMoments.of(y, rows.weight)
        enough = len(y) >= _ENOUGH_ROWS and varies
        if not enough and len(y) < _MOST_HELD:
            return replace(self, held=tuple(rows))
        if not varies and scaling and moments is None:
            warnings.warn(
                f"y has held one value in the first {len(y)} rows of the stream, and its scale "
                "cannot follow later ones with this loss or readout. Begin with rows in which it "
                "varies, or set loss='squared_error' and readout='linear'.",
                stacklevel=7,
            )
        # neither ramps nor a projection read a column that was constant when they were learnt
        late = LateColumns.of(model.input_map) if model.input_map.is_plain else None
        return replace(self, first_state=None, held=None, moments=moments, late=late)

    def follow(
        self, batch: RawRows, target: Target, members: list[Member]
    ) -> tuple[Stream, Target]:
        """Let scales follow a batch, in members and target; predictions stay where they are."""
        X, y, weight, _ = batch
        stream, input_map = self, members[0].model.input_map
        if self.late is None:
            self._warn_of_ignored(X, input_map)
        elif len(self.late.columns):
            late, followed = self.late.follow(X, weight, input_map)
            stream = replace(stream, late=late)
            if followed is not input_map:
                for member in members:
                    model = replace(member.model, input_map=followed)
                    member.fitted = FittedMember(model, member.theta)
        if self.moments is None:
            self._warn_of_constant(y, target)
        elif isinstance(target, RegressionTarget):
            moments = self.moments.merged(TargetMoments.of(y, weight))
            target, gain, shift = target.followed(moments)
            stream = replace(stream, moments=moments)
            for member in members:
                _rescale(member, gain, shift)
        return stream, target

    @staticmethod
    def _warn_of_ignored(X: Array, input_map: InputMap) -> None:
        columns = np.flatnonzero(input_map.gain == 0)
        ignored = columns[input_map.differing(X, columns).any(axis=0)]
        if len(ignored):
            warnings.warn(
                f"Columns {ignored.tolist()} of X were constant when the model was drawn, and are "
                "ignored although they vary now. Fit a new model, or begin the stream with rows in "
                "which they vary.",
                stacklevel=8,
            )

    @staticmethod
    def _warn_of_constant(y: Array, target: Target) -> None:
        if not isinstance(target, RegressionTarget):
            return
        Y = y.reshape(len(y), -1).astype(np.float64)
        if np.any((target.scale == 0) & np.any(target.mean != Y, axis=0)):
            warnings.warn(
                "y was constant when the model was drawn, and predictions stay that constant "
                "although y varies now. Fit a new model.",
                stacklevel=8,
            )


def _stacked(above: Array, below: Array) -> Array:
    """Rows above others; sparse ones stay sparse."""
    if sparse.issparse(above):
        rows: Array = sparse.vstack([above, below], format="csr")
        return rows
    return np.concatenate([above, below])


def _rescale(member: Member, gain: FloatArray, shift: FloatArray) -> None:
    """Scores times gain, plus shift, in place."""
    if np.all(gain == 1) and not shift.any():
        return
    model, theta = member.model, member.theta.copy()
    theta[model.n_controls :] = model.readout.rescaled(theta[model.n_controls :], gain, shift)
    member.move(theta)
    if np.any((gain > _FAR_SCALES) | (gain < 1 / _FAR_SCALES)):
        # means of gradients in other units
        member.stream = None
