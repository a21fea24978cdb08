"""The linear readout A X_1 + b."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from autograd.extend import defvjp
from scipy import sparse

from skcode.readouts._base import Attribute, Readout, Scores
from skcode.utils._tracing import primitive
from skcode.utils._typing import BoolArray, FloatArray, IntArray, Traced


@primitive
def _observed(A: FloatArray, P: sparse.csr_array) -> FloatArray:
    """A P for a sparse P."""
    product: FloatArray = (P.T @ A.T).T
    return product


defvjp(_observed, lambda ans, A, P: lambda g: (P @ g.T).T, argnums=(0,))


class LinearReadout(Readout):
    """The readout R(x) = A P X_1 + b with A (K, q) and b (K,) trained.

    The parameters are A, row by row, then b. The observation P is frozen, and the identity unless
    the fields have one.

    Parameters
    ----------
    n_states : int
        Dimension m of the state.
    n_outputs : int
        Number K of scores.
    n_inputs : int or None
        Number of leading coordinates that carry inputs; None means all.
    observation : sparse matrix of shape (q, m) or None
        The matrix P; None is the identity.

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
    affine = True

    @property
    def n_features(self) -> int:
        """The number q of what is read."""
        return self.n_states if self.observation is None else self.observation.shape[0]

    @property
    def n_parameters(self) -> int:
        return self.n_outputs * (self.n_features + 1)

    @property
    def penalised(self) -> BoolArray:
        return np.arange(self.n_parameters) < self.n_outputs * self.n_features

    def initial(self, constant: FloatArray) -> FloatArray:
        return np.concatenate([np.zeros(self.n_outputs * self.n_features), constant])

    def split(self, parameters: Traced) -> tuple[Traced, Traced]:
        """A (K, q) and b (K,)."""
        cut = self.n_outputs * self.n_features
        return parameters[:cut].reshape((self.n_outputs, self.n_features)), parameters[cut:]

    def _weights(self, A: Traced) -> Traced:
        """A P, (K, m)."""
        return A if self.observation is None else _observed(A, self.observation)

    def scores(self, parameters: Traced, x1: Traced, x0: Traced) -> Traced:
        A, b = self.split(parameters)
        seen = slice(self._first_read, None)
        return x1[:, seen] @ self._weights(A)[:, seen].T + b

    @cached_property
    def _first_read(self) -> int:
        """The first state that is read: of an image most states are colours, which are not."""
        if self.observation is None or not self.observation.nnz:
            return 0
        return int(self.observation.indices.min())

    def rescaled(self, parameters: FloatArray, gain: FloatArray, shift: FloatArray) -> FloatArray:
        A, b = self.split(parameters)
        return np.concatenate([(gain[:, None] * A).ravel(), gain * b + shift])

    def batched(self, parameters: Sequence[FloatArray]) -> Scores:
        pairs = [self.split(each) for each in parameters]
        A = np.stack([self._weights(A).T for A, _ in pairs])
        b = np.stack([b[None] for _, b in pairs])
        return lambda x1, x0: np.swapaxes(x1, 1, 2) @ A + b

    def state_gradient(self, parameters: FloatArray) -> FloatArray:
        gradient: FloatArray = self._weights(self.split(parameters)[0])
        return gradient

    def features(self, x1: FloatArray, x0: FloatArray) -> FloatArray:
        if self.observation is not None:
            x1 = (self.observation @ x1).astype(x1.dtype, copy=False)
        ones = np.ones((1, x1.shape[1]), x1.dtype)
        return np.concatenate([x1, ones])[None]

    @cached_property
    def index(self) -> IntArray:
        A = np.arange(self.n_outputs * self.n_features).reshape(self.n_outputs, -1)
        b = self.n_outputs * self.n_features + np.arange(self.n_outputs)
        return np.hstack([A, b[:, None]])

    @property
    def groups(self) -> list[str]:
        if self.observation is None:
            row = ["input weights"] * self.n_inputs
            row += ["state weights"] * (self.n_states - self.n_inputs)
        else:
            row = ["state weights"] * self.n_features
        return row * self.n_outputs + [""] * self.n_outputs

    def attributes(self, parameters: FloatArray) -> dict[str, Attribute]:
        A, b = self.split(parameters)
        return {"readout_coef_": A, "readout_intercept_": b}
