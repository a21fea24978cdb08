"""Loops, linearised flows over all intervals, and Newton steps."""

from dataclasses import replace

import numpy as np
import pytest
from helpers import relative_error
from numpy.testing import assert_allclose, assert_array_equal

from skcode.fields import NeuralFields, UniversalFields
from skcode.geometry.interpolation._batched_families import batched_fields
from skcode.geometry.interpolation._continuation import NewtonMethod, Report, draw_start
from skcode.geometry.interpolation._loops import LoopBuilder
from skcode.geometry.interpolation._shooting import (
    Linearisation,
    ShootingIterate,
    _Gramians,
    _Roots,
    carried,
    propagate,
    there_and_back,
)
from skcode.geometry.interpolation._tuning import CLOSING, NEWTON, LoopDesign


def start(n_intervals=35, N=5):
    many = batched_fields(UniversalFields().draw(2, rng=0))
    rng = np.random.default_rng(0)
    X, w = rng.random((N, 2)), 0.03 * rng.standard_normal((n_intervals, 5))
    return many, ShootingIterate(w, propagate(many, w[None], X, 1)[0])


@pytest.mark.parametrize("mu", [0.0, 0.7])
def test_the_step_is_the_one_that_moves_the_states_least(mu):
    many, z = start()
    line = Linearisation(many, z, 1, mu)
    M, N, m, d = line.B.shape
    miss = np.random.default_rng(1).standard_normal((N, m))
    dw, dx = line.solve(miss, np.zeros((M, N, m)))
    # the same problem, dense and squared
    S, squares = np.zeros((N, m, M * d)), np.eye(M * d)
    for t in range(M):
        S = line.A[t] @ S
        S[:, :, t * d : (t + 1) * d] += line.B[t]
        if t % 10 == 9:
            squares += mu**2 * S.reshape(N * m, -1).T @ S.reshape(N * m, -1)
    J = S.reshape(N * m, -1)
    K = np.linalg.solve(squares, J.T)
    expected = K @ np.linalg.solve(J @ K, miss.ravel())
    assert_allclose(dx[-1], miss, atol=1e-10)
    assert relative_error(dw.ravel(), expected) < 1e-8


def test_defects_arrive_where_the_linear_system_takes_them():
    many, z = start()
    line = Linearisation(many, z, 1, 0.1)
    defects = 1e-3 * np.random.default_rng(1).standard_normal(line.B.shape[:3])
    miss = -line.arrival(defects)
    _, dx = line.solve(miss, defects)
    assert_allclose(dx[-1], 0, atol=1e-12)


def test_newton_is_quadratic_where_the_derivative_is_renewed():
    many, z = start()
    report = Report()
    solver = NewtonMethod(many, 1, 0.3, report)
    line = solver.linearise(z)
    target = z.x[-1] + 1e-3
    reached, _, arrived = solver.newton(z, line, target, 1e-12)
    assert arrived
    assert report.n_iter <= 6
    assert_allclose(propagate(many, reached.w[None], z.x[0], 1)[0, -1], target, atol=1e-11)


def test_newton_may_stop_where_its_steps_are_small():
    many, z = start()
    target = z.x[-1] + 1e-3
    misses, iterations = [], []
    for slack in (0.0, 0.3):
        solver = NewtonMethod(many, 1, 0.3, Report())
        reached, _, arrived = solver.newton(z, solver.linearise(z), target, 1e-12, slack=slack)
        assert arrived
        end = propagate(many, reached.w[None], z.x[0], 1)[0, -1]
        misses.append(np.max(abs(end - target)))
        iterations.append(solver.report.n_iter)
    assert iterations[1] < iterations[0]
    assert misses[0] < 1e-11 < misses[1] < 1e-4
    # where Newton's method fails it says so, whatever the slack
    solver = NewtonMethod(many, 1, 0.3, Report())
    with np.errstate(all="ignore"):
        assert not solver.newton(z, solver.linearise(z), z.x[-1] + 30.0, 1e-12, slack=0.3)[2]


def test_a_loop_comes_home():
    many = batched_fields(UniversalFields().draw(3, rng=1))
    X = np.random.default_rng(0).random((4, 3))
    design = LoopDesign(excursion=20, n_candidates=4)
    forth = LoopBuilder(many, X, 0.5, design).draw(50, np.random.default_rng(1))[0].forth
    assert forth.shape == (2, 10, 5)
    z = there_and_back(propagate(many, forth, X, 2), forth, X, 50)
    assert z.w.shape == (50, 5)
    assert z.x.shape == (51, 4, 3)
    # states are those of the flow, out and back, idle at the end
    assert_allclose(propagate(many, z.w[None], X, 2)[0], z.x, atol=1e-8)
    assert_allclose(z.x[20], X, atol=1e-8)
    assert abs(z.x[10] - X).max() > 0.1


def test_loops_respect_their_bounds():
    many = batched_fields(UniversalFields().draw(2, rng=0))
    X = np.random.default_rng(0).random((4, 2))
    design = LoopDesign(reach=2.0, stretch=5.0)
    forth = LoopBuilder(many, X, 0.5, design).draw(100, np.random.default_rng(1))[0].forth
    z = there_and_back(propagate(many, forth, X, 4), forth, X, 100)
    assert abs(z.x - X.mean(axis=0)).max() <= 2.0 * 0.5 + 1e-3
    A, _ = many.linearised_flow(z.w[:50], z.x[:50], 4)
    D = np.eye(2)
    for At in A:
        D = At @ D
        s = np.linalg.svd(D, compute_uv=False)
        assert s.max() <= 5.0 * 1.05
        assert s.min() >= 1 / (5.0 * 1.05)


def test_legs_that_collapse_or_explode_are_not_admitted():
    many = batched_fields(UniversalFields().draw(2, rng=0))
    X = np.random.default_rng(0).random((4, 2))
    builder = LoopBuilder(many, X, 0.5, LoopDesign())
    xs, Ds = np.tile(X, (4, 3, 1, 1)), np.tile(np.eye(2), (4, 3, 4, 1, 1))
    Ds[1, 2, 0], Ds[2, 0, 1, 0, 0], xs[3, 1, 0, 0] = 0, np.nan, 1e3
    admissible, inverses = builder._admissible(xs, Ds)
    assert_array_equal(admissible, [True, False, False, False])
    assert_array_equal(inverses, Ds[:1])


def test_loops_are_linearised_in_single_precision_where_they_are_regular(monkeypatch):
    many = batched_fields(NeuralFields(rank=None).draw(2, 20, rng=0))
    X = np.random.default_rng(0).random((5, 2))

    def drawn(quick):
        rng = np.random.default_rng(1)
        return draw_start(many, X, 0.5, 60, rng, Report(), LoopDesign(), 1e-6, quick)

    single = many.single()
    rough = drawn(single)
    assert (rough.solver.batched, rough.quick.batched) == (many, single)
    assert rough.line.condition < 1e5
    exact = Linearisation(many, rough.z, rough.solver.n_steps, rough.solver.mu)
    assert 0 < relative_error(rough.line.B, exact.B) < 1e-5
    strict = replace(NEWTON, quick=1.0)
    monkeypatch.setattr("skcode.geometry.interpolation._continuation.NEWTON", strict)
    fallen_back = drawn(single)
    assert fallen_back.quick.batched is many
    assert_array_equal(fallen_back.line.B, exact.B)
    assert drawn(None).quick.batched is many


def test_states_are_carried_to_first_order_where_the_start_moves():
    many, z = start()
    A, _ = many.linearised_flow(z.w, z.x[:-1], 1)
    errors = []
    for size in (1e-3, 1e-4):
        moved = z.x[0] + size * np.random.default_rng(3).standard_normal(z.x[0].shape)
        states = propagate(many, z.w[None], moved, 1)[0]
        errors.append(abs(carried(z.x, A, moved) - states).max())
        assert_array_equal(carried(z.x, A, moved)[0], moved)
    assert errors[1] < 0.02 * errors[0]


def test_a_loop_takes_more_steps_only_where_it_does_not_close():
    rng = np.random.default_rng(0)
    many = batched_fields(NeuralFields(rank=None, scale=4.0).draw(2, 10, rng=0))
    X = rng.random((5, 2))
    start = draw_start(many, X, 0.5, 44, rng, Report(), LoopDesign(excursion=20), 1e-6)
    steps = start.solver.n_steps
    assert len(set(steps)) > 1
    # two excursions of 10 intervals out and 10 back, and four idle intervals
    both = steps[:40].reshape(2, 20)
    assert_array_equal(both, both[:, ::-1])
    assert_array_equal(steps[40:], 1)
    ends = many.flow(start.z.w, start.z.x[:-1], steps)
    misses = abs(ends - start.z.x[1:]).max(axis=(1, 2))
    assert misses.max() < 0.5e-6
    # states on the way out are settled to a share of the gap that is allowed
    assert (start.gaps >= misses - CLOSING.share * 0.5e-6).all()


def test_gramians_and_their_roots_give_the_same_controls():
    many, z = start()
    F, G = Linearisation(many, z, 1, 0.7)._blocks(10)
    squared, roots = _Gramians(F, G, 0.7), _Roots(F, G, 0.7)
    assert squared.condition == pytest.approx(roots.condition, rel=1e-5)
    miss = np.random.default_rng(1).standard_normal(10)
    assert relative_error(squared.controls(miss), roots.controls(miss)) < 1e-6


def test_derivatives_to_few_digits_take_more_steps_where_fields_bend():
    many, z = start()
    quick = many.quick()
    exact, rough = (each.linearised_flow(z.w, z.x[:-1], 1)[1] for each in (many, quick))
    assert 0 < relative_error(rough, exact) < 1e-2
    with np.errstate(all="ignore"):
        few, more, most = (
            quick._coarse_steps(size * z.w, z.x[:-1]) for size in (1.0, 100.0, 1e300)
        )
    assert_array_equal(few, 1)
    assert 1 < more.max() <= 2**CLOSING.doublings
    # where points explode the number stays bounded
    assert most.max() == 2**CLOSING.doublings


def test_loops_take_excursions_over_from_other_points():
    many = batched_fields(UniversalFields().draw(2, rng=0))
    rng = np.random.default_rng(0)
    X, design = rng.random((4, 2)), LoopDesign(excursion=20, n_candidates=4)
    with np.errstate(all="ignore"):  # of the candidates for a loop some explode
        one = draw_start(many, X, 0.5, 60, rng, Report(), design)
    assert one.drawn == 1.0
    moved = X + 1e-3 * rng.standard_normal(X.shape)
    kept = one.loop.some(np.array([2, 0])).at(moved, np.arange(4))
    with np.errstate(all="ignore"):
        other = draw_start(many, moved, 0.5, 60, rng, Report(), design, kept=kept)
    assert other.drawn == pytest.approx(1 / 3)
    assert_array_equal(other.loop.forth[:2], one.loop.forth[[2, 0]])
    # states are those of the flow from the points that have moved, and come home there
    steps = other.solver.n_steps
    assert_allclose(propagate(many, other.z.w[None], moved, steps)[0], other.z.x, atol=1e-9)
    assert_allclose(other.z.x[-1], moved, atol=1e-9)
