"""What solvers read of an objective: one protocol for each way to minimise.

`skcode.objective.Objective` satisfies all of them; so does any object that has what is listed.
"""

from __future__ import annotations

from inspect import get_annotations
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np

from skcode.losses import Loss
from skcode.objective import NormalEquations
from skcode.utils._typing import FloatArray, IntArray


class ValueObjective(Protocol):
    """An objective that can be evaluated.

    Examples
    --------
    >>> class Square:
    ...     def value(self, theta):
    ...         return float(theta @ theta)
    """

    def value(self, theta: FloatArray) -> float:
        """The objective; infinity where the flow explodes."""
        ...


class SmoothObjective(Protocol):
    """An objective with a gradient over all rows: for L-BFGS.

    Examples
    --------
    >>> class Square:
    ...     def value_and_grad(self, theta):
    ...         return float(theta @ theta), 2 * theta
    """

    def value_and_grad(self, theta: FloatArray) -> tuple[float, FloatArray]:
        """The objective and its gradient; infinity and zeros where the flow explodes."""
        ...


class BatchObjective(ValueObjective, Protocol):
    """An objective with gradients over some of its rows: for SGD and Adam.

    Examples
    --------
    >>> class MeanSquare:
    ...     n_samples = 1
    ...     def value(self, theta):
    ...         return float(theta @ theta)
    ...     def batch_value_and_grad(self, theta, index):
    ...         return float(theta @ theta), 2 * theta
    """

    @property
    def n_samples(self) -> int:
        """Number of rows."""
        ...

    def batch_value_and_grad(self, theta: FloatArray, index: IntArray) -> tuple[float, FloatArray]:
        """An unbiased estimate of objective and gradient from the rows of a minibatch."""
        ...


@runtime_checkable
class ReadoutObjective(BatchObjective, Protocol):
    """A batch objective whose readout has a closed form: for ``start_readout=True``.

    Examples
    --------
    >>> from skcode.solvers import BatchObjective, ReadoutObjective
    >>> BatchObjective in ReadoutObjective.__mro__
    True
    """

    def newton_readout(self, theta: FloatArray) -> FloatArray:
        """Theta after one Newton step of the readout."""
        ...


class NormalObjective(Protocol):
    """An objective with normal equations: for Gauss-Newton.

    Examples
    --------
    >>> from skcode.objective import Objective
    >>> all(hasattr(Objective, name) for name in ("normal_equations", "subset", "groups"))
    True
    """

    #: the loss of scores: whether its scores are coupled, whether it has a noise
    loss: Loss
    #: strength of the penalty; None leaves it to the solver
    alpha: float | None
    #: strength of the penalty of each parameter, of the mean loss
    ridge: FloatArray
    #: number of observations that the rows stand for
    total_weight: float
    #: whether the controls are trained
    train_controls: bool
    #: float type of the matrix, whose rounding the damping has to bear
    normal_dtype: np.dtype[Any]

    @property
    def n_samples(self) -> int:
        """Number of rows."""
        ...

    @property
    def n_features(self) -> int:
        """Number of inputs of a row."""
        ...

    @property
    def n_controls(self) -> int:
        """Number of parameters that are controls: they come first in theta."""
        ...

    @property
    def n_outputs(self) -> int:
        """Number K of scores."""
        ...

    @property
    def groups(self) -> IntArray:
        """Number of the prior group of each parameter, -1 for parameters without a prior."""
        ...

    def normal_equations(self, theta: FloatArray, controls: bool = True) -> NormalEquations:
        """Value, gradient and Gauss-Newton matrix of the mean loss without penalty."""
        ...

    def normal_value(self, theta: FloatArray) -> float:
        """The value of `normal_equations` alone."""
        ...

    def dispersion(self, theta: FloatArray) -> float:
        """What the noise is estimated from, in the mean over the rows."""
        ...

    @property
    def telling_share(self) -> float:
        """Share of all values that tell of the noise, from zero to one."""
        ...

    def subset(self, index: IntArray) -> Self:
        """The objective of some of the rows."""
        ...


def members_of(protocol: type) -> tuple[str, ...]:
    """Names of all that a protocol asks for, its own first."""
    names: dict[str, None] = {}
    for base in protocol.__mro__:
        if getattr(base, "_is_protocol", False) and base is not Protocol:
            names.update(dict.fromkeys(get_annotations(base)))
            names.update(dict.fromkeys(name for name in vars(base) if not name.startswith("_")))
    return tuple(names)
