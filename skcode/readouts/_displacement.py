"""The displacement readout lambda (X_1 - x) of the interpolation theorem."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from scipy import sparse

from skcode.readouts._base import Attribute, Readout
from skcode.utils._typing import BoolArray, FloatArray, IntArray, Traced


class DisplacementReadout(Readout):
    """The readout R(x) = lambda (X_1 - X_0) with one trained number, lambda.

    Output j reads state j.

    Parameters
    ----------
    n_states : int
        Dimension m of the state.
    n_outputs : int
        Number K of scores.
    n_inputs : int or None
        Number of leading coordinates that carry inputs; None means all.
    observation : sparse matrix or None
        What a linear readout would read; it does not matter here.

    Raises
    ------
    ValueError
        If there are more outputs than states.

    References
    ----------
    .. [1] C. Cuchiero, M. Larsson, J. Teichmann, "Deep neural networks, generic universal
       interpolation, and controlled ODEs", SIAM J. Math. Data Sci. 2(3), 2020.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.readouts import DisplacementReadout
    >>> readout = DisplacementReadout(n_states=2, n_outputs=1)
    >>> readout.scores(np.array([10.0]), np.array([[3.0, 5.0]]), np.array([[1.0, 5.0]]))
    array([[20.]])
    """

    separate = False

    def __init__(
        self,
        n_states: int,
        n_outputs: int,
        n_inputs: int | None = None,
        observation: sparse.csr_array | None = None,
    ):
        if n_outputs > n_states:
            raise ValueError(
                f"readout='displacement' reads output j from state j: {n_outputs} outputs need "
                f"n_states >= {n_outputs}; got n_states={n_states}."
            )
        super().__init__(n_states, n_outputs, n_inputs, observation)

    @property
    def n_parameters(self) -> int:
        return 1

    @property
    def penalised(self) -> BoolArray:
        return np.zeros(1, dtype=bool)

    def initial(self, constant: FloatArray) -> FloatArray:
        return np.ones(1)

    def scores(self, parameters: Traced, x1: Traced, x0: Traced) -> Traced:
        return parameters[0] * (x1 - x0)[:, : self.n_outputs]

    def state_gradient(self, parameters: FloatArray) -> FloatArray:
        unit = np.eye(self.n_outputs, self.n_states, dtype=parameters.dtype)
        gradient: FloatArray = parameters[0] * unit
        return gradient

    def features(self, x1: FloatArray, x0: FloatArray) -> FloatArray:
        return (x1 - x0)[: self.n_outputs, None]

    @cached_property
    def index(self) -> IntArray:
        return np.zeros((self.n_outputs, 1), dtype=int)

    @property
    def groups(self) -> list[str]:
        return [""]

    def attributes(self, parameters: FloatArray) -> dict[str, Attribute]:
        return {"scale_": parameters[0]}
