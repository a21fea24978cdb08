"""In-place activations against their definition, on small arrays and on large ones."""

import numpy as np
import pytest
from autograd import elementwise_grad

from skcode.fields import _activations
from skcode.fields._activations import _SMALL, ACTIVATIONS, PolynomialActivation

EVERY = ACTIVATIONS | {"polynomial": PolynomialActivation(np.array([[[0.5]], [[-1.0]], [[0.3]]]))}
every_activation = pytest.mark.parametrize("name", EVERY)


@pytest.fixture(params=[False, True], ids=["narrow", "wide"])
def wide_tanh(request, monkeypatch):
    """Both forms of tanh, whatever this processor has."""
    monkeypatch.setattr(_activations, "_WIDE_TANH", request.param)


def arguments(size, dtype):
    """Arguments on all scales, one row, of either sign."""
    z = np.linspace(-12, 12, size)
    z[::5] = np.logspace(-12, 0, len(z[::5]))
    return z.astype(dtype)[None]


@pytest.mark.usefixtures("wide_tanh")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [_SMALL - 1, 4 * _SMALL])
@every_activation
def test_values_and_derivatives_are_exact_up_to_rounding(name, size, dtype):
    activation, z = EVERY[name], arguments(size, dtype)
    s, out = z.copy(), np.empty_like(z)
    ds = np.empty_like(z) if activation.keeps_derivative else None
    with np.errstate(over="ignore"):
        activation.forward(s, ds)
    slope = activation.derivative(s, ds, out)
    exact = z.astype(np.float64).T
    eps = np.finfo(dtype).eps
    for result, true in ((s, activation.value), (slope, elementwise_grad(activation.value))):
        true = true(exact).T
        assert result.dtype == dtype
        # gelu multiplies a rounding by arguments up to 12
        np.testing.assert_allclose(result, true, rtol=8 * eps, atol=100 * eps)


@pytest.mark.usefixtures("wide_tanh")
@pytest.mark.parametrize("size", [2, 2 * _SMALL])
def test_tanh_saturates_where_the_exponential_overflows(size):
    s = np.resize([[-1e4, 1e4]], (1, size))
    with np.errstate(over="ignore"):
        ACTIVATIONS["tanh"].forward(s, None)
    np.testing.assert_array_equal(s, np.resize([[-1.0, 1.0]], (1, size)))
