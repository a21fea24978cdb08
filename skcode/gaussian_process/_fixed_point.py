"""Numbers of two bytes each: half of the size of single precision in a file."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skcode.utils._typing import Array, FloatArray

#: largest code of 16 bits with a sign
_LARGEST = 32767
#: sum of the largest entries of all columns, in units of the sum of the mean ones: up to it what is
#: rounded is less than a thousandth of a distance in l1
_MOST_SPREAD = 100.0


@dataclass(frozen=True, eq=False)
class FixedPoint:
    """A matrix whose columns are whole multiples of a step each.

    Parameters
    ----------
    codes : ndarray of shape (n, m), int16
        The multiples.
    step : ndarray of shape (m,), float32
        The step of each column.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.gaussian_process import FixedPoint
    >>> x = np.random.default_rng(0).standard_normal((100, 3))
    >>> near = FixedPoint.of(x)
    >>> bool(np.abs(near.values - x).max() < 1e-4)
    True
    >>> np.array_equal(FixedPoint.with_step(near.values, near.step).codes, near.codes)
    True
    """

    codes: Array
    step: FloatArray

    @classmethod
    def of(cls, x: FloatArray) -> FixedPoint | None:
        """The nearest one; None where an entry far out would make the steps of others coarse."""
        size = np.abs(x)
        largest = size.max(axis=0)
        if largest.sum() > _MOST_SPREAD * size.mean(axis=0).sum():
            return None
        return cls.with_step(x, np.where(largest > 0, largest / _LARGEST, 1).astype(np.float32))

    @classmethod
    def with_step(cls, x: FloatArray, step: FloatArray) -> FixedPoint:
        """The nearest multiples of given steps."""
        # one array of numbers for all: of very many rows each would take as much as a leaf
        multiples = x / step
        np.rint(multiples, out=multiples)
        np.clip(multiples, -_LARGEST, _LARGEST, out=multiples)
        return cls(multiples.astype(np.int16), step)

    @property
    def values(self) -> FloatArray:
        """The numbers, in single precision."""
        values: FloatArray = self.codes * self.step
        return values
