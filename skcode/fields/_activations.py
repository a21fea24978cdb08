"""Activations: values for autograd, and in-place values and derivatives for the kernels.

Most activations give their derivative from their value, so that a tape holds the value alone;
the others leave the derivative beside it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import autograd.numpy as anp
import numpy as np

from skcode.utils._typing import FloatArray, Traced

#: entries of an array below which np.tanh is faster than five calls that are faster for each entry
_SMALL = 4096


def _has_wide_tanh() -> bool:
    """Whether NumPy computes tanh on vectors of 512 bits, at the rate of a few products."""
    extensions = np.show_config(mode="dicts")["SIMD Extensions"]
    return not {"AVX512_SKX", "X86_V4"}.isdisjoint(extensions["baseline"] + extensions["found"])


_WIDE_TANH = _has_wide_tanh()


class Activation(ABC):
    """A scalar function sigma, applied to each entry.

    `value` is the definition; `forward` and `derivative` are the same in place, for kernels. Shapes
    of the in-place methods: any, all equal.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.fields import Activation
    >>> class Square(Activation):
    ...     keeps_derivative = True
    ...     def value(self, z):
    ...         return z**2
    ...     def forward(self, z, ds):
    ...         if ds is not None:
    ...             np.multiply(2, z, out=ds)
    ...         np.multiply(z, z, out=z)
    ...     def derivative(self, s, ds, out):
    ...         return ds
    >>> Square().value(np.array([3.0]))
    array([9.])
    """

    #: whether `derivative` needs the array that `forward` writes to `ds`
    keeps_derivative: bool = False

    @abstractmethod
    def value(self, z: Traced) -> Traced:
        """sigma(z), traceable by autograd."""

    @abstractmethod
    def forward(self, z: FloatArray, ds: FloatArray | None) -> None:
        """Replace z by s = sigma(z); write sigma'(z) to ds where it is kept and asked for."""

    @abstractmethod
    def derivative(self, s: FloatArray, ds: FloatArray | None, out: FloatArray) -> FloatArray:
        """sigma'(z), given s = sigma(z): ds where it is kept, else written to `out`."""


class _Kept(Activation):
    """Activations whose derivative is written down at forward time."""

    keeps_derivative = True

    def derivative(self, s: FloatArray, ds: FloatArray | None, out: FloatArray) -> FloatArray:
        assert ds is not None
        return ds


class Identity(Activation):
    """sigma(z) = z.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.fields import Identity
    >>> Identity().value(np.array([-1.0, 2.0]))
    array([-1.,  2.])
    """

    def value(self, z: Traced) -> Traced:
        return z

    def forward(self, z: FloatArray, ds: FloatArray | None) -> None:
        pass

    def derivative(self, s: FloatArray, ds: FloatArray | None, out: FloatArray) -> FloatArray:
        out[...] = 1
        return out


def _tanh(z: FloatArray) -> None:
    """Replace z by tanh z = 1 - 2 / (1 + e^{2 z}).

    On most processors NumPy's exponential function is twice as fast as its tanh, which pays where
    the calls do not count. The absolute error is a rounding; where e^{2 z} overflows, the quotient
    is 0 as it should be.
    """
    if _WIDE_TANH or z.size < _SMALL:
        np.tanh(z, out=z)
        return
    z *= 2
    np.exp(z, out=z)
    z += 1
    np.divide(-2, z, out=z)
    z += 1


class Tanh(Activation):
    """sigma(z) = tanh z; sigma' = 1 - s^2.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.fields import Tanh
    >>> Tanh().value(np.array([0.0, 100.0]))
    array([0., 1.])
    """

    def value(self, z: Traced) -> Traced:
        return anp.tanh(z)

    def forward(self, z: FloatArray, ds: FloatArray | None) -> None:
        _tanh(z)

    def derivative(self, s: FloatArray, ds: FloatArray | None, out: FloatArray) -> FloatArray:
        np.multiply(s, s, out=out)
        return np.subtract(1, out, out=out)


class ReLU(Activation):
    """sigma(z) = max(z, 0); sigma' = 1 where s > 0.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.fields import ReLU
    >>> ReLU().value(np.array([-1.0, 2.0]))
    array([-0.,  2.])
    """

    def value(self, z: Traced) -> Traced:
        return anp.where(z > 0, z, 0.0 * z)

    def forward(self, z: FloatArray, ds: FloatArray | None) -> None:
        np.maximum(z, 0, out=z)

    def derivative(self, s: FloatArray, ds: FloatArray | None, out: FloatArray) -> FloatArray:
        return np.sign(s, out=out)


class Softplus(Activation):
    """sigma(z) = log(1 + e^z); sigma' = 1 - e^{-s}.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.fields import Softplus
    >>> Softplus().value(np.array([-1000.0, 100.0]))
    array([  0., 100.])
    """

    def value(self, z: Traced) -> Traced:
        return anp.logaddexp(0.0 * z, z)

    def forward(self, z: FloatArray, ds: FloatArray | None) -> None:
        # log(1 + e^-|z|) by log, not by log1p, which is several times slower: its absolute error is
        # a rounding all the same
        tail = np.abs(z)
        np.negative(tail, out=tail)
        np.exp(tail, out=tail)
        tail += 1
        np.log(tail, out=tail)
        np.maximum(z, 0, out=z)
        z += tail

    def derivative(self, s: FloatArray, ds: FloatArray | None, out: FloatArray) -> FloatArray:
        np.negative(s, out=out)
        np.exp(out, out=out)
        return np.subtract(1, out, out=out)


class Sin(_Kept):
    """sigma(z) = sin z.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.fields import Sin
    >>> Sin().value(np.array([0.0]))
    array([0.])
    """

    def value(self, z: Traced) -> Traced:
        return anp.sin(z)

    def forward(self, z: FloatArray, ds: FloatArray | None) -> None:
        if ds is not None:
            np.cos(z, out=ds)
        np.sin(z, out=z)


class GELU(_Kept):
    """sigma(z) = z (1 + tanh g(z)) / 2, g(z) = sqrt(2 / pi) (z + 0.044715 z^3).

    The form that needs no error function [1]_.

    References
    ----------
    .. [1] D. Hendrycks, K. Gimpel, "Gaussian error linear units (GELUs)", arXiv:1606.08415, 2016.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.fields import GELU
    >>> GELU().value(np.array([0.0, 100.0]))
    array([  0., 100.])
    """

    #: factors in g(z) = slope (z + cubic z^3)
    slope = float(np.sqrt(2 / np.pi))
    cubic = 0.044715

    def value(self, z: Traced) -> Traced:
        return 0.5 * z * (1 + anp.tanh(self.slope * (z + self.cubic * z**3)))

    def forward(self, z: FloatArray, ds: FloatArray | None) -> None:
        t = z * z
        if ds is not None:
            g_prime = self.slope * (1 + 3 * self.cubic * t)
        t *= self.cubic
        t += 1
        t *= z
        t *= self.slope
        _tanh(t)
        if ds is not None:
            np.multiply(t, t, out=ds)
            np.subtract(1, ds, out=ds)
            ds *= g_prime
            ds *= z
            ds += t
            ds += 1
            ds *= 0.5
        t += 1
        t *= 0.5
        z *= t


class PolynomialActivation(_Kept):
    """sigma_i(z) = sum_k c_ik z^k, one polynomial for each field.

    Parameters
    ----------
    coefficients : ndarray of shape (degree + 1, rows, 1)
        Coefficients, lowest degree first, one row for each row of z.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.fields import PolynomialActivation
    >>> square = PolynomialActivation(np.array([0.0, 0.0, 1.0]).reshape(3, 1, 1))
    >>> square.value(np.array([[3.0]]))
    array([[9.]])
    """

    def __init__(self, coefficients: FloatArray):
        self.coefficients = coefficients

    def value(self, z: Traced) -> Traced:
        # z: (N, rows)
        c = self.coefficients[:, :, 0]
        s = 0.0 * z + c[-1]
        for k in range(len(c) - 2, -1, -1):
            s = s * z + c[k]
        return s

    def forward(self, z: FloatArray, ds: FloatArray | None) -> None:
        c = self.coefficients
        shape = (c.shape[1], -1)
        z = z.reshape(shape)
        s = np.broadcast_to(c[-1], z.shape).copy()
        slope = np.zeros_like(s)
        for k in range(len(c) - 2, -1, -1):
            slope *= z
            slope += s
            s *= z
            s += c[k]
        if ds is not None:
            ds.reshape(shape)[...] = slope
        z[...] = s


ACTIVATIONS: dict[str, Activation] = {
    "tanh": Tanh(),
    "relu": ReLU(),
    "gelu": GELU(),
    "softplus": Softplus(),
    "sin": Sin(),
    "identity": Identity(),
}
