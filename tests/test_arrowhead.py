"""Arrowhead matrices and triangular inverses against dense linear algebra."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skcode.utils._arrowhead import Arrowhead, ArrowheadOrder
from skcode.utils._triangular import inverse_lower


def arrow_and_dense(c, K, F):
    """A positive definite arrow matrix, and the same as an array, in a shuffled order."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((K, 3 * (c + F), c + F))
    products = np.swapaxes(rows, 1, 2) @ rows
    core, coupling = products[:, :c, :c].sum(axis=0), products[:, :c, c:]
    blocks, size = products[:, c:, c:], c + K * F
    positions = rng.permutation(size)
    arrow = Arrowhead(core, coupling, blocks, ArrowheadOrder(positions, (c, K, F), size))
    dense = np.zeros((size, size))
    at = np.split(positions, [c, *(c + F * np.arange(1, K))])
    dense[np.ix_(at[0], at[0])] = core
    for k in range(K):
        dense[np.ix_(at[0], at[k + 1])] = coupling[k]
        dense[np.ix_(at[k + 1], at[0])] = coupling[k].T
        dense[np.ix_(at[k + 1], at[k + 1])] = blocks[k]
    return arrow, dense


@pytest.mark.parametrize("shape", [(7, 1, 3), (100, 3, 4), (0, 2, 5), (6, 1, 0)])
def test_arrow_agrees_with_dense_algebra(shape):
    arrow, dense = arrow_and_dense(*shape)
    rng = np.random.default_rng(1)
    shift, b = rng.random(len(dense)), rng.standard_normal(len(dense))
    assert_array_equal(arrow.diagonal, np.diag(dense))
    assert_allclose(arrow.quadratic(b), b @ dense @ b, rtol=1e-12)
    assert_allclose(arrow.scaled(2.0).quadratic(b), 2 * b @ dense @ b, rtol=1e-12)
    factor = arrow.factor(shift)
    whole = dense + np.diag(shift)
    inverse = np.linalg.inv(whole)
    assert_allclose(factor.log_determinant, np.linalg.slogdet(whole)[1], rtol=1e-12)
    assert_allclose(factor.solve(b), inverse @ b, rtol=1e-9, atol=1e-12)
    assert_allclose(factor.inverse_diagonal(), np.diag(inverse), rtol=1e-10)


def test_forms_are_those_of_one_block():
    c, K, F = 6, 2, 3
    arrow, dense = arrow_and_dense(c, K, F)
    factor = arrow.factor(np.zeros(len(dense)))
    rng = np.random.default_rng(1)
    core, block = rng.standard_normal((c, 4)), rng.standard_normal((F, 4))
    for k in range(K):
        r = np.zeros((len(dense), 4))
        r[arrow.order.positions[:c]] = core
        r[arrow.order.positions[c + k * F : c + (k + 1) * F]] = block
        exact = np.sum(r * np.linalg.solve(dense, r), axis=0)
        assert_allclose(factor.inverse_form(core, block, k), exact, rtol=1e-10)


@pytest.mark.parametrize("where", [0, 8])
def test_what_is_not_positive_definite_has_no_factor(where):
    arrow, dense = arrow_and_dense(7, 1, 3)
    shift = np.zeros(len(dense))
    shift[arrow.order.positions[where]] = -1e6
    assert arrow.factor(shift) is None
    shift[arrow.order.positions[where]] = np.inf
    assert arrow.factor(-shift) is None


@pytest.mark.parametrize("n", [1, 5, 64, 65, 200, 641])
def test_inverse_of_a_triangle(n):
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((2 * n, n))
    L = np.linalg.cholesky(rows.T @ rows)
    inverse = inverse_lower(L)
    assert_allclose(inverse @ L, np.eye(n), atol=1e-12)
    assert_array_equal(np.triu(inverse, 1), 0)
