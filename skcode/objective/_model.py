"""The map from inputs to scores, with its parameters packed in one vector."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from skcode.fields import DrawnFields
from skcode.flow import Sweep, Tableau, block_size
from skcode.inputs import InputMap
from skcode.readouts import Readout
from skcode.utils._blocks import OrderedMap, block_slices, task_slices
from skcode.utils._typing import Array, FloatArray, Traced

#: shapes of blocks whose buffers are kept for the next sweep
_MOST_SHAPES = 8
#: what is computed from theta and the rows of one block
_OfBlock = Callable[[FloatArray, Array], FloatArray]


class Model:
    """x -> R(X_1), X_0 = E(x), dX = sum_i u^i V_i(X) dt: everything that is not trained.

    The parameter vector theta holds the controls (M, d), row by row, then those of the readout.

    Parameters
    ----------
    input_map : InputMap
        The map E.
    fields : DrawnFields
        Drawn fields, of the dtype of the inputs.
    tableau : Tableau
        The scheme, one step for each interval.
    n_intervals : int
        The number M.
    readout : Readout
        The readout R.
    """

    def __init__(
        self,
        input_map: InputMap,
        fields: DrawnFields,
        tableau: Tableau,
        n_intervals: int,
        readout: Readout,
    ):
        self.input_map = input_map
        self.fields = fields
        self.tableau = tableau
        self.n_intervals = n_intervals
        self.readout = readout
        self.dtype = np.dtype(input_map.dtype)
        self.n_block = block_size(fields, self.dtype)
        self._idle: dict[tuple[int, tuple[int, ...]], list[Sweep]] = {}
        #: what an ensemble that begins with this model keeps for its predictions
        self.batched: Any = None

    def __getstate__(self) -> dict[str, Any]:
        # neither buffers nor what they are made from travel or persist
        return {**self.__dict__, "_idle": {}, "batched": None}

    def astype(self, dtype: DTypeLike) -> Model:
        """The same model, computing in another float type."""
        if np.dtype(dtype) == self.dtype:
            return self
        return self._replace(self.input_map.astype(dtype), self.fields.astype(dtype))

    def without_scaling(self) -> Model:
        """The same model for inputs that are scaled already."""
        return self._replace(self.input_map.identity(), self.fields)

    def with_block(self, n_block: int) -> Model:
        """The same model, working in blocks of another size."""
        if n_block == self.n_block:
            return self
        model = self._replace(self.input_map, self.fields)
        model.n_block = n_block
        return model

    def _replace(self, input_map: InputMap, fields: DrawnFields) -> Model:
        return Model(input_map, fields, self.tableau, self.n_intervals, self.readout)

    @property
    def n_controls(self) -> int:
        return self.n_intervals * self.fields.n_fields

    @property
    def n_parameters(self) -> int:
        return self.n_controls + self.readout.n_parameters

    @property
    def n_normal_entries(self) -> int:
        """Numbers in the Gauss-Newton matrix: a core for all scores, and a block for each."""
        c, (K, F) = self.n_controls, self.readout.index.shape
        if not self.readout.separate:
            return int((c + F) ** 2)
        return int(c**2 + K * F * (c + F))

    def split(self, theta: Traced) -> tuple[Traced, Traced]:
        """Controls (M, d) and the parameters of the readout."""
        controls = theta[: self.n_controls].reshape((self.n_intervals, self.fields.n_fields))
        return controls, theta[self.n_controls :]

    @contextmanager
    def sweep(self, n: int, lead: tuple[int, ...] = ()) -> Iterator[Sweep]:
        """Borrow a sweep for n samples; its buffers are used again by the next borrower."""
        # list.pop and list.append are atomic: two threads never hold the same sweep
        try:
            sweep = self._idle[n, lead].pop()
        except (KeyError, IndexError):
            sweep = Sweep(self.fields, self.tableau, self.n_intervals, 1, n, self.dtype, lead)
        yield sweep
        # batches of many sizes must not pile up
        if (n, lead) in self._idle or len(self._idle) < _MOST_SHAPES:
            self._idle.setdefault((n, lead), []).append(sweep)

    def block_states(self, theta: FloatArray, X: Array) -> FloatArray:
        """Final states (n, m) of one block."""
        with self.sweep(len(X)) as sweep:
            return sweep.propagate(self.split(theta)[0], self.input_map(X)).T.copy()

    def block_scores(self, theta: FloatArray, X: Array, x0: FloatArray | None = None) -> FloatArray:
        """Scores (n, K) of one block; its initial states may be known."""
        controls, parameters = self.split(theta)
        x0 = self.input_map(X) if x0 is None else x0
        with self.sweep(len(X)) as sweep:
            x1 = sweep.propagate(controls, x0).T
            scores: FloatArray = self.readout.scores(parameters.astype(self.dtype), x1, x0)
        return scores

    def scores(self, theta: FloatArray, X: Array, mapper: OrderedMap) -> FloatArray:
        """Scores (n, K) of any number of rows."""
        return self._over_blocks(self.block_scores, theta, X, mapper)

    def states(self, theta: FloatArray, X: Array, mapper: OrderedMap) -> FloatArray:
        """Final states (n, m) of any number of rows."""
        return self._over_blocks(self.block_states, theta, X, mapper)

    def _over_blocks(
        self, function: _OfBlock, theta: FloatArray, X: Array, mapper: OrderedMap
    ) -> FloatArray:
        if len(X) <= self.n_block:
            return function(theta, X)
        tasks = [(function, theta, X[s], self.n_block) for s in task_slices(len(X), self.n_block)]
        return np.concatenate(list(mapper(_map_blocks, tasks)))


def _map_blocks(function: _OfBlock, theta: FloatArray, X: Array, n_block: int) -> FloatArray:
    return np.concatenate([function(theta, X[s]) for s in block_slices(len(X), n_block)])
