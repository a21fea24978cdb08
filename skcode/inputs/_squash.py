"""What scaled inputs become far from the median: they stay below a bound, or grow like logarithms.

Both ways are odd, smooth and rising, and leave what is near the median as it is. With a bound all
values far out are nearly one: no outlier drives a flow out of the region that it was trained on.
Logarithms keep them apart, so that a target can follow a number however far it reaches.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from skcode.utils._typing import FloatArray

#: what infinite scaled inputs become: finite, so that they end at a bound, and have a logarithm
HUGE = 1e100


class Squash(ABC):
    """An odd, smooth, rising function with slope one at zero, and less far out.

    Examples
    --------
    >>> from skcode.inputs import Bound, Squash
    >>> isinstance(Bound(3.0), Squash)
    True
    """

    def __call__(self, z: FloatArray) -> FloatArray:
        """The squashed numbers, in place; what overflowed before is huge."""
        if not np.isfinite(z).all():
            np.nan_to_num(z, copy=False, posinf=HUGE, neginf=-HUGE)
        return self._squashed(z)

    @abstractmethod
    def _squashed(self, z: FloatArray) -> FloatArray:
        """Finite numbers, in place."""

    @abstractmethod
    def slope(self, z: FloatArray) -> FloatArray:
        """Derivative of the squashed numbers in z."""

    @abstractmethod
    def inverse(self, z: FloatArray) -> FloatArray:
        """What was squashed: finite, and huge for what lies as far out as can be."""


@dataclass(frozen=True)
class Bound(Squash):
    r"""The numbers :math:`z / \sqrt{1 + (z / b)^2}`, all less than b.

    Parameters
    ----------
    bound : float
        The bound b.

    References
    ----------
    .. [1] D. Holzmueller, L. Grinsztajn, I. Steinwart, "Better by default: strong pre-tuned MLPs
       and boosted trees on tabular data", NeurIPS 2024.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.inputs import Bound
    >>> Bound(3.0)(np.array([0.1, 4.0, 1e9])).round(2)
    array([0.1, 2.4, 3. ])
    """

    bound: float

    def _squashed(self, z: FloatArray) -> FloatArray:
        # hypot does not overflow
        z /= np.hypot(1, z / self.bound)
        return z

    def slope(self, z: FloatArray) -> FloatArray:
        slope: FloatArray = np.hypot(1, z / self.bound) ** -3
        return slope

    def inverse(self, z: FloatArray) -> FloatArray:
        rest = np.maximum(1 - (z / self.bound) ** 2, HUGE**-2)
        inverse: FloatArray = z / np.sqrt(rest)
        return inverse


@dataclass(frozen=True)
class Asinh(Squash):
    r"""The numbers :math:`b \operatorname{asinh}(z / b)`, which end as logarithms [1]_.

    Parameters
    ----------
    knee : float
        The number b around which lines turn into logarithms.

    References
    ----------
    .. [1] J. B. Burbidge, L. Magee, A. L. Robb, "Alternative transformations to handle extreme
       values of the dependent variable", JASA 83, 1988.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.inputs import Asinh
    >>> Asinh(2.0)(np.array([0.1, 4.0, 1e9])).round(2)
    array([ 0.1 ,  2.89, 41.45])
    """

    knee: float

    def _squashed(self, z: FloatArray) -> FloatArray:
        z /= self.knee
        np.arcsinh(z, out=z)
        z *= self.knee
        return z

    def slope(self, z: FloatArray) -> FloatArray:
        slope: FloatArray = 1 / np.hypot(1, z / self.knee)
        return slope

    def inverse(self, z: FloatArray) -> FloatArray:
        most = np.arcsinh(HUGE)
        inverse: FloatArray = self.knee * np.sinh(np.clip(z / self.knee, -most, most))
        return inverse
