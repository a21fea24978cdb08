"""The displacement readout lambda (X_1 - x) of the interpolation theorem."""

from __future__ import annotations

import numpy as np

from skcode.readouts._base import Readout


class DisplacementReadout(Readout):
    """R(x) = lambda (X_1 - X_0): output j reads state j; the one trained number is lambda.

    What a linear readout would read does not matter here.
    """

    def __init__(self, n_states, n_outputs, n_inputs=None, observation=None):
        if n_outputs > n_states:
            raise ValueError(
                f"readout='displacement' reads output j from state j: {n_outputs} outputs need "
                f"n_states >= {n_outputs}; got n_states={n_states}."
            )
        super().__init__(n_states, n_outputs, n_inputs, observation)

    separate = False

    @property
    def n_parameters(self):
        return 1

    @property
    def penalised(self):
        return np.zeros(1, dtype=bool)

    def initial(self, constant):
        return np.ones(1)

    def scores(self, parameters, x1, x0):
        return parameters[0] * (x1 - x0)[:, : self.n_outputs]

    def state_gradient(self, parameters):
        return parameters[0] * np.eye(self.n_outputs, self.n_states, dtype=parameters.dtype)

    def features(self, x1, x0):
        return (x1 - x0)[: self.n_outputs, None]

    @property
    def index(self):
        return np.zeros((self.n_outputs, 1), dtype=int)

    @property
    def groups(self):
        return [""]

    def attributes(self, parameters):
        return {"scale_": parameters[0]}
