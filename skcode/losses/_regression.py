"""Losses of real targets that are divided by a unit of their own, as standardised targets are."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import Self

import numpy as np

from skcode.losses._base import Loss
from skcode.utils._typing import Array, FloatArray

#: bisections, after which the bracket of a constant is a rounding wide
_BISECTIONS = 60


class ScaledLoss(Loss):
    """A loss l / c whose unit c makes it the size of the squared error of standardised targets.

    A penalty, a tolerance or a first guess of the noise then means the same for every loss.

    Parameters
    ----------
    unit : float
        The unit c.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.losses import PoissonDeviance
    >>> y, weight = np.array([[0.0], [1.0], [5.0]]), np.ones(3)
    >>> loss = PoissonDeviance().standardised(y, weight)
    >>> constant = np.tile(loss.initial_scores(y, weight, 1), (3, 1))
    >>> round(float(loss.dispersion(constant, y).mean()), 12)
    0.5
    """

    has_noise = True

    def __init__(self, unit: float = 1.0):
        self.unit = unit

    def standardised(self, y: Array, weight: FloatArray) -> Self:
        constant = self.initial_scores(y, weight, y.shape[1])
        scaled = copy(self)
        scaled.bound = self.bound_around(constant)
        values = self.dispersion(
            np.broadcast_to(constant, y.shape), np.clip(y, -scaled.bound, scaled.bound)
        )
        # the noise of all outputs together is that of one, times their number
        cost = float(np.average(values, weights=weight)) / y.shape[1]
        # targets that are all equal cost nothing, or what rounding makes of that
        if np.isfinite(cost) and cost > np.finfo(np.float64).eps:
            scaled.unit = self.unit * 2 * cost
        return scaled

    def bound_around(self, constant: FloatArray) -> float:
        """What targets are cut off at whose best constants (K,) are these."""
        return self.bound


def best_constant(
    gradient: Callable[[FloatArray], FloatArray], low: FloatArray, high: FloatArray
) -> FloatArray:
    """Zeros (K,) of increasing functions, one for each output, by bisection from their brackets."""
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        above = gradient(middle) > 0
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    return 0.5 * (low + high)
