"""The contract of a readout."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from scipy import sparse

from skcode.utils._typing import BoolArray, FloatArray, IntArray, Traced

#: states (E, m, n), initial states (n, m) -> scores (E, n, K)
Scores: TypeAlias = Callable[[FloatArray, FloatArray], FloatArray]
#: a fitted attribute: an array, or one number
Attribute: TypeAlias = FloatArray | np.floating[Any]


class Readout(ABC):
    """Maps final states to scores with a few trained numbers, packed in a vector.

    Scores are linear in the final state and in the parameters, so that Gauss-Newton and the
    evidence need `state_gradient` and `features` alone.

    Parameters
    ----------
    n_states : int
        Dimension m of the state.
    n_outputs : int
        Number K of scores.
    n_inputs : int or None
        Number of leading coordinates that carry inputs; None means all.
    observation : sparse matrix of shape (q, m) or None
        What a linear readout reads of the state; None for all of it.

    Examples
    --------
    >>> from skcode.readouts import READOUTS
    >>> {name: kind(n_states=5, n_outputs=2).n_parameters for name, kind in READOUTS.items()}
    {'linear': 12, 'displacement': 1}
    """

    #: whether each score has parameters of its own
    separate: bool
    #: whether its parameters can give any multiple of the scores plus a constant
    affine: bool = False

    def __init__(
        self,
        n_states: int,
        n_outputs: int,
        n_inputs: int | None = None,
        observation: sparse.csr_array | None = None,
    ):
        self.n_states = n_states
        self.n_outputs = n_outputs
        self.n_inputs = n_states if n_inputs is None else n_inputs
        self.observation = observation

    @property
    @abstractmethod
    def n_parameters(self) -> int:
        """Length of the parameter vector."""

    @property
    @abstractmethod
    def penalised(self) -> BoolArray:
        """Mask (n_parameters,) of the numbers that the penalty counts."""

    @abstractmethod
    def initial(self, constant: FloatArray) -> FloatArray:
        """Parameters from which training starts, given the best constant scores (K,)."""

    @abstractmethod
    def scores(self, parameters: Traced, x1: Traced, x0: Traced) -> Traced:
        """Scores (n, K) from states x1 (n, m) and initial states x0 (n, m); autograd traces it."""

    def batched(self, parameters: Sequence[FloatArray]) -> Scores:
        """The scores of this readout with E parameter vectors, each at states of its own.

        Overridden where one call can serve all of them.
        """

        def scores(x1: FloatArray, x0: FloatArray) -> FloatArray:
            pairs = zip(parameters, x1, strict=True)
            return np.stack([self.scores(each, x.T, x0) for each, x in pairs])

        return scores

    def rescaled(self, parameters: FloatArray, gain: FloatArray, shift: FloatArray) -> FloatArray:
        """Parameters whose scores are these times gain (K,), plus shift (K,), where `affine`."""
        raise NotImplementedError(f"{type(self).__name__} is not affine.")

    @abstractmethod
    def state_gradient(self, parameters: FloatArray) -> FloatArray:
        """Derivative d scores / d x1 (K, m): the readouts are linear in the final state."""

    @abstractmethod
    def features(self, x1: FloatArray, x0: FloatArray) -> FloatArray:
        """Derivatives d score_k / d parameters[index[k]] at states (m, n): (K, F, n).

        They are (1, F, n) if the scores share them.
        """

    @property
    @abstractmethod
    def index(self) -> IntArray:
        """Positions (K, F) of the parameters that each score reads."""

    @property
    @abstractmethod
    def groups(self) -> list[str]:
        """Names (n_parameters,) of the groups that share a prior precision; "" for no prior."""

    @abstractmethod
    def attributes(self, parameters: FloatArray) -> dict[str, Attribute]:
        """What a fitted estimator shows of these parameters: attributes by name, with a last _."""
