"""The linear readout A X_1 + b."""

from __future__ import annotations

import numpy as np

from skcode.readouts._base import Readout


class LinearReadout(Readout):
    """The readout R(x) = A X_1 + b with A (K, m) and b (K,) trained.

    The parameters are A, row by row, then b.

    Parameters
    ----------
    n_states : int
        Dimension m of the state.
    n_outputs : int
        Number K of scores.
    n_inputs : int or None
        Number of leading coordinates that carry inputs; None means all.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.readouts import LinearReadout
    >>> readout = LinearReadout(n_states=2, n_outputs=1)
    >>> x1 = np.array([[1.0, 2.0]])
    >>> readout.scores(np.array([10.0, 20.0, 3.0]), x1, x1)
    array([[53.]])
    """

    separate = True

    @property
    def n_parameters(self):
        return self.n_outputs * (self.n_states + 1)

    @property
    def penalised(self):
        return np.arange(self.n_parameters) < self.n_outputs * self.n_states

    def initial(self, constant):
        return np.concatenate([np.zeros(self.n_outputs * self.n_states), constant])

    def split(self, parameters):
        """A (K, m) and b (K,)."""
        cut = self.n_outputs * self.n_states
        return parameters[:cut].reshape((self.n_outputs, self.n_states)), parameters[cut:]

    def scores(self, parameters, x1, x0):
        A, b = self.split(parameters)
        return x1 @ A.T + b

    def state_gradient(self, parameters):
        return self.split(parameters)[0]

    def features(self, x1, x0):
        ones = np.ones((1, x1.shape[1]), x1.dtype)
        return np.concatenate([x1, ones])[None]

    @property
    def index(self):
        A = np.arange(self.n_outputs * self.n_states).reshape(self.n_outputs, self.n_states)
        b = self.n_outputs * self.n_states + np.arange(self.n_outputs)
        return np.hstack([A, b[:, None]])

    @property
    def groups(self):
        row = ["input weights"] * self.n_inputs
        row += ["state weights"] * (self.n_states - self.n_inputs)
        return row * self.n_outputs + [""] * self.n_outputs

    def attributes(self, parameters):
        A, b = self.split(parameters)
        return {"coef_": A, "intercept_": b}
