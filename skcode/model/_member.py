"""One fitted model: the map, its trained numbers, and what it says of its own uncertainty."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol, Self

import numpy as np
from autograd import make_vjp

from skcode.flow import trajectory
from skcode.model._model import Model
from skcode.model._posterior import Posterior
from skcode.model._variance import block_variance
from skcode.utils._blocks import OrderedMap, block_slices
from skcode.utils._tracing import tracing
from skcode.utils._typing import Array, FloatArray, Traced


class Head(Protocol):
    """Stands in for the readout where what maps states to scores is fitted after the flow.

    Its state is its own, and no part of theta. It has to pickle; a head that is part of skcode has
    a tag in `TAGS`, so that files hold what is in its ``__dict__``.

    Examples
    --------
    >>> import numpy as np
    >>> class FirstState:
    ...     n_outputs = 1
    ...     n_parameters = 0
    ...     def scores(self, x1, x0):
    ...         return x1[:, :1].copy()
    ...     @classmethod
    ...     def batched(cls, heads):
    ...         return None
    ...     def state_gradient(self, x1, x0, covector):
    ...         return np.pad(covector, [(0, 0), (0, x1.shape[1] - 1)])
    ...     def variance(self, x1, x0):
    ...         return 0 * x1[:, :1]
    ...     def attributes(self):
    ...         return {}
    """

    @property
    def n_outputs(self) -> int:
        """The number K of scores."""
        ...

    @property
    def n_parameters(self) -> int:
        """Number of fitted numbers."""
        ...

    def scores(self, x1: FloatArray, x0: FloatArray) -> FloatArray:
        """Scores (n, K) from final and initial states (n, m); x1 may lie in a buffer."""
        ...

    @classmethod
    def batched(cls, heads: Sequence[Self]) -> Callable[[FloatArray], FloatArray] | None:
        """Scores (E, n, K) of heads, each at final states (E, n, m) of its own, by one call.

        None where they have to go one by one.
        """
        ...

    def state_gradient(self, x1: FloatArray, x0: FloatArray, covector: FloatArray) -> FloatArray:
        """Derivative (n, m) in final states of the scores, summed with weights (n, K)."""
        ...

    def variance(self, x1: FloatArray, x0: FloatArray) -> FloatArray:
        """Variance (n, K) of a new observation, in units of the scores."""
        ...

    def attributes(self) -> dict[str, object]:
        """Fitted attributes of an estimator, by name."""
        ...


@dataclass(frozen=True, eq=False)
class FittedMember:
    """A model with its trained numbers. Every prediction goes through here.

    Parameters
    ----------
    model : Model
        The map from inputs to scores.
    theta : ndarray of shape (n_parameters,)
        Controls, row by row, then the parameters of the readout.
    posterior : Posterior or None
        What is known of theta; None where nothing is.
    head : Head or None
        Maps states to scores in place of the readout of the model; None for the readout.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode import ControlledODERegressor
    >>> X = np.random.default_rng(0).standard_normal((50, 2))
    >>> model = ControlledODERegressor("linear", n_fields=3, random_state=0).fit(X, X[:, 0])
    >>> member = model.ensemble_.members[0]
    >>> member.controls.shape, member.trajectory(X).shape
    ((2, 3), (3, 50, 2))
    """

    model: Model
    theta: FloatArray
    posterior: Posterior | None = None
    head: Head | None = None

    @property
    def controls(self) -> FloatArray:
        """The controls (M, d), in the float type of training."""
        controls: FloatArray = self.model.split(self.theta)[0]
        return controls

    @property
    def parameters(self) -> FloatArray:
        """The parameters of the readout, in the float type of the states."""
        parameters: FloatArray = self.model.split(self.theta)[1].astype(self.model.dtype)
        return parameters

    @property
    def n_outputs(self) -> int:
        """The number K of scores."""
        return self.model.readout.n_outputs if self.head is None else self.head.n_outputs

    @property
    def n_parameters(self) -> int:
        """Trained numbers: the controls, and those of the readout or of the head."""
        readout = self.model.readout if self.head is None else self.head
        return self.model.n_acting_controls + readout.n_parameters

    def scaled(self, factor: float) -> FittedMember:
        """One whose readout, which is linear in its parameters, has so many times the scores."""
        theta = self.theta.copy()
        theta[self.controls.size :] *= factor
        return FittedMember(self.model, theta)

    @property
    def has_variance(self) -> bool:
        """Whether `variance` has something to go by."""
        return self.posterior is not None or self.head is not None

    def attributes(self) -> dict[str, object]:
        """Fitted attributes of an estimator, by name."""
        own: Mapping[str, object] = (
            self.model.readout.attributes(self.parameters)
            if self.head is None
            else self.head.attributes()
        )
        controls = self.controls.astype(self.model.dtype)
        return {"controls_": controls, **own, "vector_fields_": self.model.fields}

    # -- scores ------------------------------------------------------------------------------------

    def scores_of_states(self, x1: FloatArray, x0: FloatArray) -> FloatArray:
        """Scores (n, K) of final states x1 and initial states x0, (n, m)."""
        if self.head is not None:
            return self.head.scores(x1, x0)
        scores: FloatArray = self.model.readout.scores(self.parameters, x1, x0)
        return scores

    def block_scores(self, X: Array, x0: FloatArray | None = None) -> FloatArray:
        """Scores (n, K) of one block; its initial states may be known."""
        return self.model.of_states(self.scores_of_states, self.theta, X, x0)

    def scores(self, X: Array, mapper: OrderedMap) -> FloatArray:
        """Scores (n, K) of any number of rows."""
        # a posterior, which may be large, need not go to the workers
        alone = FittedMember(self.model, self.theta, head=self.head)
        return self.model.over_blocks(alone.block_scores, X, mapper)

    def start_gradient(self, x0: FloatArray, covector: FloatArray) -> FloatArray:
        """Derivative (n, m) in initial states of the scores, summed with weights (n, K)."""
        blocks = block_slices(len(x0), self.model.n_block)
        return np.concatenate([self._block_gradient(x0[s], covector[s]) for s in blocks])

    def column_gradient(self, z: FloatArray, covector: FloatArray) -> FloatArray:
        """Derivative (n, p) in scaled columns (n, p) of the scores, summed with weights (n, K)."""
        input_map = self.model.input_map
        x0 = input_map.of_scaled(z)
        gradient = self.start_gradient(x0, covector.astype(x0.dtype, copy=False))
        return input_map.by_column(gradient[:, : input_map.n_coordinates], z)

    def _block_gradient(self, x0: FloatArray, covector: FloatArray) -> FloatArray:
        model, readout = self.model, self.model.readout
        with model.sweep(len(x0)) as sweep:
            x1 = sweep.forward(self.controls, x0).T
            if self.head is not None:
                p = self.head.state_gradient(x1, x0, covector)
            else:
                p = covector @ readout.state_gradient(self.parameters)
            u_bar = np.zeros(self.controls.shape, model.dtype)
            start = sweep.adjoint(np.ascontiguousarray(p.T), u_bar)
            assert start is not None
            gradient: FloatArray = start.T
            if self.head is None:
                gradient = gradient + self._direct_gradient(x1, x0, covector)
        return gradient

    def _direct_gradient(self, x1: FloatArray, x0: FloatArray, covector: FloatArray) -> FloatArray:
        """What initial states do to scores by themselves, with no flow in between."""
        readout, parameters = self.model.readout, self.parameters

        def scores(z: Traced) -> Traced:
            # autograd warns of what does not depend on its argument at all
            return readout.scores(parameters, x1 + 0 * z, z)

        with tracing():
            gradient: FloatArray = make_vjp(scores)(x0)[0](covector.astype(x0.dtype, copy=False))
        return gradient

    # -- states ------------------------------------------------------------------------------------

    def states(self, X: Array, mapper: OrderedMap) -> FloatArray:
        """Final states X_1 (n, m)."""
        return self.model.states(self.theta, X, mapper)

    def trajectory(self, X: Array) -> FloatArray:
        """States (M + 1, n, m) at the ends of the intervals."""
        model = self.model
        return trajectory(model.fields, model.input_map(X), self.controls, model.tableau)

    # -- uncertainty -------------------------------------------------------------------------------

    def variance(self, X: Array, mapper: OrderedMap) -> FloatArray:
        """Variance (n, K) of a new observation, in units of the scores."""
        if self.head is not None:
            of_block = partial(self.model.of_states, self.head.variance, self.theta)
            return self.model.over_blocks(of_block, X, mapper)
        variance = self.parameter_variance(X, mapper)
        assert self.posterior is not None
        return variance + 1 / self.posterior.noise_precision

    def parameter_variance(self, X: Array, mapper: OrderedMap) -> FloatArray:
        """What the posterior of the parameters adds to the variance (n, K) of the scores."""
        if self.posterior is None:
            raise ValueError("This member has no posterior, and knows of no variance.")
        factor = self.posterior.factor
        of_parameters = partial(block_variance, self.model, self.theta, factor)
        return self.model.over_blocks(of_parameters, X, mapper)
