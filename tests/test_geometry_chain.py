"""Chains of loops along planned paths."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.interpolate import CubicSpline

from skcode.fields import UniversalFields
from skcode.geometry.interpolation._batched_families import batched_fields
from skcode.geometry.interpolation._chain import (
    Setting,
    _guard,
    _link,
    _Option,
    _steepness,
    chain,
    easiest_path,
)
from skcode.geometry.interpolation._continuation import Report, fine_steps
from skcode.geometry.interpolation._matrices import Cascade
from skcode.geometry.interpolation._paths import _energy, plan_paths
from skcode.geometry.interpolation._shooting import propagate
from skcode.geometry.interpolation._tuning import CHAIN, LoopDesign


def setting(N, n_intervals):
    many = batched_fields(UniversalFields().draw(2, rng=0))
    X, Y = np.random.default_rng(0).random((2, N, 2))
    return Setting(many, 0.5, n_intervals, np.random.default_rng(1), Report()), X, Y


def test_a_chain_starts_each_loop_where_the_one_before_ends():
    shared, X, Y = setting(7, 100)
    many, tol = shared.batched, 1e-8
    path = plan_paths(X, Y, 0.5, [np.zeros_like(X)])
    with np.errstate(all="ignore"):  # of the candidates for a loop some explode
        segments, s = chain(shared, path, X, tol, 200)
    assert s == 1.0
    # loops of all or a part of the intervals, and up to four times as many
    sizes = {len(segment.z.w) for segment in segments}
    assert sizes <= {15, 30, 60, 40, 80, 160, 100, 200, 400}
    assert len(sizes) > 1
    x, turned = X, np.tile(np.eye(2), (7, 1, 1))
    for segment in segments:
        assert_allclose(segment.z.x[0], x, atol=1e-15)
        # the loop really ends there, at steps that are finer still
        end = propagate(many, segment.z.w[None], x, 2 * segment.solver.n_steps)[0, -1]
        x = segment.z.x[-1]
        # up to what following it may leave, which the refinement corrects
        assert_allclose(end, x, atol=1e-7)
        turned = Cascade(segment.A).composed() @ turned
    assert_allclose(x, Y, atol=2e-6)  # to what loops are closed; the last one is corrected later
    # following the chain from X on amplifies rounding little
    assert np.linalg.norm(turned, 2, axis=(1, 2)).max() < 3.0 * tol / 1e-11


def test_errors_of_segments_tell_at_which_steps_the_end_of_a_chain_is_accurate():
    shared, X, Y = setting(5, 100)
    many = shared.batched
    path = plan_paths(X, Y, 0.5, [np.zeros_like(X)])
    with np.errstate(all="ignore"):
        segments, s = chain(shared, path, X, 1e-8, 200)
    assert s == 1.0
    for segment in segments:
        z, n = segment.z, segment.solver.n_steps
        errors = abs(many.flow(z.w, z.x[:-1], n) - many.flow(z.w, z.x[:-1], 3 * n)).max(axis=2)
        large = errors > 1e-13
        assert large.any()
        ratios = segment.errors[large] / errors[large]
        assert 0.3 < np.median(ratios) < 3.0

    def end(steps):
        x = X
        for segment, n in zip(segments, steps, strict=True):
            x = propagate(many, segment.z.w[None], x, n)[0, -1]
        return x

    for accuracy in (1e-5, 1e-7, 1e-9):
        steps = fine_steps(segments, accuracy)
        assert abs(end(steps) - end([2 * n for n in steps])).max() < 2 * accuracy
    fewer, more = (np.concatenate(fine_steps(segments, a)) for a in (1e-6, 1e-10))
    assert (more >= fewer).all()
    assert fewer.sum() < 0.7 * more.sum()


def test_the_easiest_path_is_one_that_loops_can_follow():
    shared, X, Y = setting(4, 100)
    with np.errstate(all="ignore"):
        path = easiest_path(shared, X, Y)
    assert_allclose(path([0.0, 1.0]), [X, Y], atol=1e-14)
    assert shared.report.n_loops > 0


def test_the_design_that_comes_furthest_for_its_cost_is_used_more():
    quick, slow = _Option(LoopDesign(), 100), _Option(LoopDesign(), 100)
    assert quick.rate == np.inf  # both are tried
    quick.took(0.02, 10.0, 3.04)
    slow.took(0.002, 10.0, 3.04)
    assert quick.cost == pytest.approx(400)  # 16 candidates cost 0.96 for each interval
    # half of it is what was expected
    assert quick.rate == pytest.approx((0.02 + CHAIN.expected) / 2 / 400)
    assert slow.rate == pytest.approx((0.002 + CHAIN.expected) / 2 / 400)
    assert (quick.size(), slow.size()) == (100, 200)  # small parts ask for more intervals
    far = quick.far
    quick.took(0.0, np.inf, 3.04)
    assert quick.rate == pytest.approx((0.02 + CHAIN.expected) / 4 / 400)
    assert (quick.size(), quick.far) == (200, far / 2)


def test_designs_that_rest_are_tried_the_later_the_dearer_they_are():
    cheap, dear = _Option(LoopDesign(), 100), _Option(LoopDesign(), 1000)
    for option in (cheap, dear):
        option.rested(0.02, 400.0, 3.04)
    # what is expected before they are tried is the same part of the path
    assert cheap.rate == pytest.approx(10 * dear.rate)
    rates = cheap.rate, dear.rate
    for option in (cheap, dear):
        option.rested(0.02, 400.0, 3.04)
    assert cheap.rate / rates[0] == pytest.approx(1.05)
    assert dear.rate / rates[1] == pytest.approx(1.05**0.1)
    for option in (cheap, dear):
        option.rested(0.02, 1e6, 3.04)
    assert cheap.rate / rates[0] == pytest.approx(1.05**2)


def test_designs_that_rest_go_back_to_few_intervals_where_others_move_on():
    option = _Option(LoopDesign(), 100)
    for _ in range(2):
        option.took(0.0, np.inf, 3.04)
    cost, sizes = option.cost, [option.size()]
    for ds in (0.0, 0.02, 0.02, 0.02):
        option.rested(ds, 400.0, 3.04)
        sizes.append(option.size())
    assert sizes == [400, 400, 200, 100, 100]
    assert option.cost == pytest.approx(cost / 4)


def test_companions_take_the_stretch_back():
    shared, X, Y = setting(4, 100)
    path = plan_paths(X, Y, 0.5, [np.zeros_like(X)])
    # the flow has stretched around the point 2, in the direction (0.6, 0.8), and little elsewhere
    turned, u = np.tile(np.eye(2), (4, 1, 1)), np.array([0.6, 0.8])
    turned[2] = 40.0 * np.outer(u, [1.0, 0.0])
    sizes = []
    for bearable in (1e2, 1e9):
        guarded = _guard(path, 0.0, turned, bearable, 0.5)
        sizes.append(len(guarded.points))
        with np.errstate(all="ignore"):
            start = shared.start(guarded.extended(X), LoopDesign(excursion=50))
            segment, ds = _link(start, guarded, 0.0, 0.05, 1e-8, turned, 1e9)
        assert segment.z.x.shape[1] == segment.A.shape[1] == 4
        if len(guarded.points):
            assert list(guarded.points) == [2]
            assert_allclose(guarded.offsets[0] @ [0.8, -0.6], 0, atol=1e-15)
            stretched = np.linalg.norm(Cascade(segment.A).composed()[2] @ u)
            assert stretched == pytest.approx(np.exp(-CHAIN.relief * ds), abs=0.05)
    assert sizes == [1, 0]


def test_links_are_cut_until_their_flow_is_mild():
    shared, X, Y = setting(4, 100)
    path = plan_paths(X, Y, 0.5, [np.zeros_like(X)])
    with np.errstate(all="ignore"):
        start = shared.start(X, LoopDesign(excursion=50))
        free = _link(start, path, 0.0, 0.2, 1e-8, np.tile(np.eye(2), (4, 1, 1)), 1e9)
        # a chain that has stretched more than is bearable takes mild loops alone
        turned = 1e6 * np.tile(np.eye(2), (4, 1, 1))
        mild = _link(start, path, 0.0, 0.2, 1e-8, turned, 1.0)
    steep = [_steepness(Cascade(segment.A).composed()) for segment, _ in (free, mild)]
    assert steep[1] <= CHAIN.mild < steep[0] <= CHAIN.steep
    assert mild[1] < free[1]
    for segment, ds in (free, mild):
        assert np.max(abs(segment.z.x[-1] - path(ds))) < 0.05 * np.max(abs(path(ds) - X))


def test_the_energy_of_paths_has_the_gradient_of_differences():
    x, v, dx, dv = np.random.default_rng(0).standard_normal((4, 5, 3, 2))
    eps = 1e-6
    value, to_x, to_v = _energy(x, v)
    slope = (_energy(x + eps * dx, v)[0] - _energy(x - eps * dx, v)[0]) / (2 * eps)
    assert_allclose(np.sum(to_x * dx), slope, rtol=1e-7)
    slope = (_energy(x, v + eps * dv)[0] - _energy(x, v - eps * dv)[0]) / (2 * eps)
    assert_allclose(np.sum(to_v * dv), slope, rtol=1e-7)
    # one point alone: the kernel is one, and the energy the squared speed
    assert_allclose(_energy(x[:, :1], v[:, :1])[0], np.sum(v[:, 0] ** 2) / 5, rtol=1e-5)


def test_planned_paths_keep_points_apart():
    # straight paths would meet half way
    X = np.array([[0.0, 0.0], [1.0, 1.0]])
    bend = np.random.default_rng(0).standard_normal(X.shape)
    path = plan_paths(X, X[::-1], 0.5, [bend])
    assert_allclose(path(0.0), X, atol=1e-14)
    assert_allclose(path(1.0), X[::-1], atol=1e-14)
    gaps = [np.linalg.norm(np.diff(path(s), axis=0)) for s in np.linspace(0, 1, 21)]
    assert min(gaps) > 0.3


def test_paths_keep_points_apart_between_their_knots():
    rng = np.random.default_rng(0)
    X, Y = rng.random((2, 12, 2))
    bends = [np.zeros_like(X), 0.2 * rng.standard_normal(X.shape)]
    path = plan_paths(X, Y, 0.2, bends)

    def energy(path, n_times):
        s = (np.arange(n_times) + 0.5) / n_times
        return _energy(path(s) / 0.2, path(s, 1) / 0.2)[0]

    assert_allclose(energy(path, 2000), energy(path, 96), rtol=0.05)
    s = np.linspace(0, 1, 25)[:, None, None]
    straight = CubicSpline(s.ravel(), (1 - s) * X + s * Y)
    assert energy(path, 2000) < 0.2 * energy(straight, 2000)
    # of several starts the path is no worse than from the first alone
    assert energy(path, 2000) < 1.1 * energy(plan_paths(X, Y, 0.2, bends[:1]), 2000)
