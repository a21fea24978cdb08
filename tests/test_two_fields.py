"""Two fields are enough: what they are, the algebra that they generate, and ranks by depth."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skcode.fields import PolynomialFields, TwoFields
from skcode.flow import flow
from skcode.geometry import PolynomialField, generates_polynomials, hormander_rank, interpolate

FIELDS = TwoFields().draw(2)
#: brackets of up to 1, 2, ... of two letters, by Witt's formula
WORDS = (2, 3, 5, 8, 14)


@pytest.mark.parametrize("m", [2, 3, 5])
def test_one_is_constant_and_one_rotates(m):
    fields = TwoFields().draw(m, 99, rng=0)
    x = np.random.default_rng(1).standard_normal((6, m))
    V = fields.value(x)
    assert V.shape == (6, 2, m)
    assert_array_equal(V[:, 0], np.broadcast_to(np.eye(m)[-1], (6, m)))
    expected = np.zeros_like(x)
    for j in range(m - 1):
        speed = x[:, j] ** 2 - x[:, j + 1] ** 2
        expected[:, j] -= speed * x[:, j + 1]
        expected[:, j + 1] += speed * x[:, j]
    assert_allclose(V[:, 1], expected, atol=1e-13)
    # tangent to spheres: no point escapes
    assert_allclose(np.sum(V[:, 1] * x, axis=1), 0, atol=1e-13)
    ends = flow(fields, x, np.array([[0.0, 3.0]]), "rk4", 400)
    assert_allclose(np.linalg.norm(ends, axis=1), np.linalg.norm(x, axis=1), rtol=1e-5)


@pytest.mark.parametrize("m", [2, 3, 4])
def test_they_generate_all_quadratic_fields_and_so_all_polynomials(m):
    # the five universal fields are of degree two, and generate the rest
    assert generates_polynomials(TwoFields().draw(m), degree=2).complete


def test_almost_every_quadratic_field_would_do_beside_a_constant_one():
    # what is true of one draw is true of almost all: the determinants are polynomials
    quadratic = PolynomialFields(degree=2).draw(3, 1, rng=0)
    terms = zip(quadratic.monomials.exponents, quadratic.coefficients[0].T, strict=True)
    V = PolynomialField({alpha: c for alpha, c in terms if len(alpha) == 2}, 3)
    e = PolynomialField({(): np.array([0.0, 0.0, 1.0])}, 3)
    assert generates_polynomials([e, V], degree=3).complete


def test_ranks_by_depth():
    X = np.random.default_rng(0).random((6, 2))
    assert hormander_rank(FIELDS, X, depth=5).ranks == (*WORDS[:4], 12)
    assert hormander_rank(FIELDS, X, depth=5, exact=True).ranks == (*WORDS[:4], 12)


def test_the_line_is_refused():
    with pytest.raises(ValueError, match="n_states >= 2; got 1"):
        TwoFields().draw(1)


@pytest.mark.parametrize("N", [5, 10])
def test_displacements_are_interpolated(N):
    X, Y = np.random.default_rng(0).random((2, N, 2))
    result = interpolate(FIELDS, X, Y, readout="displacement")
    assert result.controls.shape[1] == 2
    assert result.success, result.message


def test_a_point_is_steered():
    X, Y = np.random.default_rng(0).random((2, 1, 2))
    result = interpolate(FIELDS, X, Y)
    assert result.success, result.message
