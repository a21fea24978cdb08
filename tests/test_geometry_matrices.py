"""Small matrices by whole arrays, and recursions through long rows of them."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skcode.fields import UniversalFields
from skcode.geometry.interpolation._batched_families import batched_fields
from skcode.geometry.interpolation._loops import LoopBuilder
from skcode.geometry.interpolation._matrices import Cascade, applied, inverted, times
from skcode.geometry.interpolation._shooting import _Gramians, _Roots, propagate
from skcode.geometry.interpolation._tuning import LoopDesign


@pytest.mark.parametrize("m", [1, 2, 3, 4])
def test_products_and_inverses_are_those_of_the_library(m):
    rng = np.random.default_rng(0)
    A, B, x = (rng.standard_normal((5, 7, m, n)) for n in (m, m + 1, 1))
    assert_allclose(times(A, B), A @ B, atol=1e-14)
    assert_allclose(times(A[:1], B), A[:1] @ B, atol=1e-14)
    assert_allclose(applied(A, x[..., 0]), (A @ x)[..., 0], atol=1e-14)
    regular = A + 4 * np.eye(m)
    assert_allclose(inverted(regular) @ regular, np.broadcast_to(np.eye(m), A.shape), atol=1e-12)


@pytest.mark.parametrize("M", range(1, 10))
def test_a_cascade_is_the_recursion(M):
    rng = np.random.default_rng(M)
    A, push = rng.standard_normal((M, 3, 2, 2)), rng.standard_normal((M, 3, 2))
    cascade = Cascade(A)
    P, x, states = np.tile(np.eye(2), (3, 1, 1)), np.zeros((3, 2)), []
    for t in range(M):
        x = (A[t] @ x[..., None])[..., 0] + push[t]
        states.append(x)
    after = []
    for t in range(M - 1, -1, -1):
        after.append(P)
        P = P @ A[t]
    assert_allclose(cascade.composed(), P, rtol=1e-10, atol=1e-12)
    assert_allclose(cascade.products(), after[::-1], rtol=1e-10, atol=1e-12)
    assert_allclose(cascade.respond(push), states, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("mu", [0.0, 0.7])
def test_gramians_and_their_roots_give_the_same_controls(mu):
    rng = np.random.default_rng(0)
    K, N, m, r = 4, 3, 2, 9
    F = np.eye(m) + 0.1 * rng.standard_normal((K, N, m, m))
    G, miss = rng.standard_normal((K, N * m, r)), rng.standard_normal(N * m)
    squared, roots = _Gramians(F, G, mu), _Roots(F, G, mu)
    assert_allclose(squared.condition, roots.condition, rtol=1e-8)
    controls = squared.controls(miss)
    assert_allclose(controls, roots.controls(miss), rtol=1e-8, atol=1e-10)
    # what each block moves, and what later ones make of it, adds up to the miss
    state = np.zeros((N, m))
    for Fk, Gk, dw in zip(F, G, controls, strict=True):
        state = (Fk @ state[..., None])[..., 0] + (Gk @ dw).reshape(N, m)
    assert_allclose(state.ravel(), miss, atol=1e-10)


def test_quick_derivatives_agree_to_the_digits_that_newton_needs():
    many = batched_fields(UniversalFields().draw(2, rng=0))
    rng = np.random.default_rng(0)
    x, w = rng.random((6, 5, 2)), 0.1 * rng.standard_normal((6, 5))
    n_steps = np.ones(6, dtype=int)
    fine, coarse = (each.linearised_flow(w, x, n_steps) for each in (many, many.quick()))
    for one, other in zip(fine, coarse, strict=True):
        assert 0 < np.abs(one - other).max() < 1e-3 * np.abs(one).max()


def test_an_excursion_that_is_taken_over_has_states_near_those_that_begin_at_new_points():
    many = batched_fields(UniversalFields().draw(2, rng=0))
    rng = np.random.default_rng(0)
    X, move = rng.random((4, 2)), rng.standard_normal((4, 2))
    loop, share = LoopBuilder(many, X, 0.5, LoopDesign(excursion=10)).draw(40, rng)
    assert share == 1.0
    start = propagate(many, loop.forth, X, 1)
    for size in (1e-3, 1e-4):
        moved = loop.at(X + size * move, np.arange(4)).x - loop.x
        true = propagate(many, loop.forth, X + size * move, 1) - start
        # by derivatives of a few digits, as states of RK4 have them
        assert 0 < np.abs(moved - true).max() < 0.01 * np.abs(true).max()
    other = LoopBuilder(many, X, 0.5, LoopDesign(excursion=10))
    again, share = other.draw(40, rng, kept=loop.some(slice(1)))
    assert share == 1 - 1 / len(loop.forth)
    np.testing.assert_array_equal(again.forth[0], loop.forth[0])
