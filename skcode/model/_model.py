"""The map from inputs to scores, with its trained numbers packed in one vector beside it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from skcode.fields import DrawnFields
from skcode.flow import Sweep, Tableau, block_size
from skcode.inputs import InputMap
from skcode.model._buffers import SweepBuffers
from skcode.readouts import Readout
from skcode.utils._blocks import OrderedMap, block_slices, task_slices
from skcode.utils._typing import Array, FloatArray, Traced

#: what is computed from the rows of one block: n rows to (n, ...)
OfBlock = Callable[[Array], FloatArray]
#: what is computed from final and initial states (n, m)
OfStates = Callable[[FloatArray, FloatArray], FloatArray]


@dataclass(frozen=True, eq=False)
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
    n_block : int
        Samples in a block; 0 for as many as fit the cache.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.fields import LinearFields
    >>> from skcode.flow import get_tableau
    >>> from skcode.inputs import InputMap
    >>> from skcode.model import Model
    >>> from skcode.readouts import LinearReadout
    >>> fields = LinearFields().draw(n_states=3, n_fields=2, rng=0)
    >>> input_map = InputMap(np.zeros(3), np.ones(3), n_states=3)
    >>> model = Model(input_map, fields, get_tableau("euler"), 4, LinearReadout(3, n_outputs=1))
    >>> model.n_controls, model.n_parameters
    (8, 12)
    >>> model.block_states(np.zeros(12), np.eye(3))[0]
    array([1., 0., 0.])
    """

    input_map: InputMap
    fields: DrawnFields
    tableau: Tableau
    n_intervals: int
    readout: Readout
    n_block: int = 0

    def __post_init__(self) -> None:
        if not self.n_block:
            object.__setattr__(self, "n_block", block_size(self.fields, self.dtype))

    @cached_property
    def _buffers(self) -> SweepBuffers:
        # not a method of this model: buffers are large, and must go when the model goes
        fields, tableau, M, dtype = self.fields, self.tableau, self.n_intervals, self.dtype
        return SweepBuffers(lambda n, lead: Sweep(fields, tableau, M, 1, n, dtype, lead))

    def __getstate__(self) -> dict[str, Any]:
        # buffers neither travel nor persist
        return {name: value for name, value in self.__dict__.items() if name != "_buffers"}

    @property
    def dtype(self) -> np.dtype[Any]:
        """Float type of the states."""
        return np.dtype(self.input_map.dtype)

    @property
    def n_controls(self) -> int:
        """Number M d of controls."""
        return self.n_intervals * self.fields.n_fields

    @property
    def n_acting_controls(self) -> int:
        """Number of controls of fields that act: these are trained."""
        acts = self.fields.acts(self.n_intervals)
        return self.n_controls if acts is None else int(acts.sum())

    @property
    def n_parameters(self) -> int:
        """Length of theta."""
        return self.n_controls + self.readout.n_parameters

    @property
    def n_normal_entries(self) -> int:
        """Numbers in the Gauss-Newton matrix: a core for all scores, and a block for each."""
        c, (K, F) = self.n_controls, self.readout.index.shape
        if not self.readout.separate:
            return int((c + F) ** 2)
        return int(c**2 + K * F * (c + F))

    # -- the same model, otherwise -----------------------------------------------------------------

    def astype(self, dtype: DTypeLike) -> Model:
        """The same model, computing in another float type."""
        if np.dtype(dtype) == self.dtype:
            return self
        input_map, fields = self.input_map.astype(dtype), self.fields.astype(dtype)
        return replace(self, input_map=input_map, fields=fields, n_block=0)

    def without_scaling(self) -> Model:
        """The same model for inputs that are scaled already."""
        return replace(self, input_map=self.input_map.identity(), n_block=0)

    def with_block(self, n_block: int) -> Model:
        """The same model, working in blocks of another size."""
        return self if n_block == self.n_block else replace(self, n_block=n_block)

    # -- what it computes --------------------------------------------------------------------------

    def split(self, theta: Traced) -> tuple[Traced, Traced]:
        """Controls (M, d) and the parameters of the readout."""
        controls = theta[: self.n_controls].reshape((self.n_intervals, self.fields.n_fields))
        return controls, theta[self.n_controls :]

    def sweep(self, n: int, lead: tuple[int, ...] = ()) -> AbstractContextManager[Sweep]:
        """Borrow a sweep for n samples; its buffers are used again by the next borrower."""
        return self._buffers.borrow(n, lead)

    def of_states(
        self, function: OfStates, theta: FloatArray, X: Array, x0: FloatArray | None = None
    ) -> FloatArray:
        """A function of the final and the initial states of one block, which may be known.

        The final states lie in a buffer: what the function returns must not be a view of them.
        """
        x0 = self.input_map(X) if x0 is None else x0
        with self.sweep(len(X)) as sweep:
            return function(sweep.propagate(self.split(theta)[0], x0).T, x0)

    def block_states(self, theta: FloatArray, X: Array) -> FloatArray:
        """Final states (n, m) of one block."""
        return self.of_states(lambda x1, x0: x1.copy(), theta, X)

    def block_scores(self, theta: FloatArray, X: Array) -> FloatArray:
        """Scores (n, K) of one block."""
        parameters = self.split(theta)[1].astype(self.dtype)
        return self.of_states(partial(self.readout.scores, parameters), theta, X)

    def states(self, theta: FloatArray, X: Array, mapper: OrderedMap) -> FloatArray:
        """Final states (n, m) of any number of rows."""
        return self.over_blocks(partial(self.block_states, theta), X, mapper)

    def scores(self, theta: FloatArray, X: Array, mapper: OrderedMap) -> FloatArray:
        """Scores (n, K) of any number of rows."""
        return self.over_blocks(partial(self.block_scores, theta), X, mapper)

    def over_blocks(self, function: OfBlock, X: Array, mapper: OrderedMap) -> FloatArray:
        """A function of the rows of one block, for any number of rows."""
        if len(X) <= self.n_block:
            return function(X)
        tasks = [(function, X[s], self.n_block) for s in task_slices(len(X), self.n_block)]
        return np.concatenate(list(mapper(_map_blocks, tasks)))


def _map_blocks(function: OfBlock, X: Array, n_block: int) -> FloatArray:
    return np.concatenate([function(X[s]) for s in block_slices(len(X), n_block)])
