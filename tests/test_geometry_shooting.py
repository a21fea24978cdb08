"""The parts of `interpolate`: fields under many controls, linearised flows, loops, Newton steps."""

import numpy as np
import pytest
from helpers import EVERY_FAMILY, draw, relative_error
from numpy.testing import assert_allclose, assert_array_equal
from scipy.interpolate import CubicSpline

from skcode.fields import NeuralFields, UniversalFields
from skcode.geometry._bundle_kinds import GeneralBundle, NeuralBundle, PolynomialBundle, bundle
from skcode.geometry._chain import (
    _MILD,
    _RELIEF,
    _STEEP,
    Setting,
    _guard,
    _link,
    _Option,
    _steepness,
    chain,
    easiest_path,
)
from skcode.geometry._continuation import Report, Solver, draw_start, fine_steps
from skcode.geometry._loops import LoopBuilder, LoopDesign
from skcode.geometry._paths import _energy, plan_paths
from skcode.geometry._shooting import (
    Iterate,
    Linearisation,
    carried,
    composed,
    propagate,
    there_and_back,
)

SMOOTH = [name for name in EVERY_FAMILY if "relu" not in name]
N_GROUPS, N_POINTS = 3, 4


def groups(fields, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.uniform(-0.5, 0.5, (N_GROUPS, N_POINTS, fields.n_states))
    return x, 0.1 * rng.standard_normal((N_GROUPS, fields.n_fields))


@pytest.mark.parametrize("family", SMOOTH)
def test_groups_agree_with_the_fields(family):
    fields = draw(family)
    x, w = groups(fields)
    direction = np.random.default_rng(1).standard_normal(x.shape[1:])
    for many in (bundle(fields), GeneralBundle(fields)):
        bound = many.bind(w)
        velocity, derivative = many.velocity(bound, x), many.derivative(bound, x)
        for one, other in zip(
            many.local(bound, x), (velocity, derivative, many.values(x)), strict=True
        ):
            assert_allclose(one, other, atol=1e-14)
        assert_allclose(many.tangent(bound, x)[1], derivative, atol=1e-14)
        for g in range(N_GROUPS):
            assert_allclose(many.values(x)[g], np.swapaxes(fields.value(x[g]), 1, 2), atol=1e-13)
            assert_allclose(velocity[g], fields.combine(x[g], w[g]), atol=1e-13)
            along = (derivative[g] @ direction[..., None])[..., 0]
            assert_allclose(along, fields.pushforward(x[g], w[g], direction), atol=1e-13)


@pytest.mark.parametrize("family", ["universal", "polynomial activation", "full rank", "functions"])
def test_linearised_flow_against_differences(family):
    fields = draw(family)
    many = bundle(fields)
    x, w = groups(fields)
    rng = np.random.default_rng(2)
    dx, dw, eps = rng.standard_normal(x.shape), rng.standard_normal(w.shape), 1e-6
    A, B = many.linearised_flow(w, x, 2)
    assert_allclose(many.tangent_flow(w, x, 2), A, atol=1e-13)
    forth = many.flow(w + eps * dw, x + eps * dx, 2)
    back = many.flow(w - eps * dw, x - eps * dx, 2)
    tangent = (A @ dx[..., None] + B @ dw[:, None, :, None])[..., 0]
    assert relative_error((forth - back) / (2 * eps), tangent) < 1e-7


def test_each_kind_takes_its_fast_path():
    assert isinstance(bundle(draw("universal")), PolynomialBundle)
    assert isinstance(bundle(draw("full rank")), NeuralBundle)
    assert isinstance(bundle(draw("functions")), GeneralBundle)


@pytest.mark.parametrize("family", ["rank 1", "full rank"])
def test_single_precision_keeps_six_digits(family):
    fields = draw(family)
    many, single = bundle(fields), bundle(fields).single()
    x, w = groups(fields)
    assert single.velocity(single.bind(w), x).dtype == np.float32
    assert many.velocity(many.bind(w), x).dtype == np.float64
    pairs = [(each.flow(w, x, 2), *each.linearised_flow(w, x, 2)) for each in (many, single)]
    for exact, rough in zip(*pairs, strict=True):
        assert rough.dtype == np.float64
        assert 0 < relative_error(rough, exact) < 3e-6


def test_families_without_a_faster_precision_keep_theirs():
    for family in ("universal", "functions"):
        many = bundle(draw(family))
        assert many.single() is many


def start(n_intervals=35, N=5):
    many = bundle(UniversalFields().draw(2, rng=0))
    rng = np.random.default_rng(0)
    X, w = rng.random((N, 2)), 0.03 * rng.standard_normal((n_intervals, 5))
    return many, Iterate(w, propagate(many, w[None], X, 1)[0])


def test_chunks_change_nothing(monkeypatch):
    many, z = start()
    whole = many.flow(z.w, z.x[:-1], 1), *many.linearised_flow(z.w, z.x[:-1], 1)
    monkeypatch.setattr("skcode.geometry._bundle._CHUNK", 1)
    parts = many.flow(z.w, z.x[:-1], 1), *many.linearised_flow(z.w, z.x[:-1], 1)
    for one, other in zip(whole, parts, strict=True):
        assert_allclose(one, other, rtol=1e-13, atol=1e-14)


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
    solver = Solver(many, 1, 0.3, report)
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
        solver = Solver(many, 1, 0.3, Report())
        reached, _, arrived = solver.newton(z, solver.linearise(z), target, 1e-12, slack=slack)
        assert arrived
        end = propagate(many, reached.w[None], z.x[0], 1)[0, -1]
        misses.append(np.max(abs(end - target)))
        iterations.append(solver.report.n_iter)
    assert iterations[1] < iterations[0]
    assert misses[0] < 1e-11 < misses[1] < 1e-4
    # where Newton's method fails it says so, whatever the slack
    solver = Solver(many, 1, 0.3, Report())
    with np.errstate(all="ignore"):
        assert not solver.newton(z, solver.linearise(z), z.x[-1] + 30.0, 1e-12, slack=0.3)[2]


def test_a_loop_comes_home():
    many = bundle(UniversalFields().draw(3, rng=1))
    X = np.random.default_rng(0).random((4, 3))
    design = LoopDesign(excursion=20, n_candidates=4)
    forth = LoopBuilder(many, X, 0.5, design).draw(50, np.random.default_rng(1))
    assert forth.shape == (2, 10, 5)
    z = there_and_back(propagate(many, forth, X, 2), forth, X, 50)
    assert z.w.shape == (50, 5)
    assert z.x.shape == (51, 4, 3)
    # states are those of the flow, out and back, idle at the end
    assert_allclose(propagate(many, z.w[None], X, 2)[0], z.x, atol=1e-8)
    assert_allclose(z.x[20], X, atol=1e-8)
    assert abs(z.x[10] - X).max() > 0.1


def test_loops_respect_their_bounds():
    many = bundle(UniversalFields().draw(2, rng=0))
    X = np.random.default_rng(0).random((4, 2))
    design = LoopDesign(reach=2.0, stretch=5.0)
    forth = LoopBuilder(many, X, 0.5, design).draw(100, np.random.default_rng(1))
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
    many = bundle(UniversalFields().draw(2, rng=0))
    X = np.random.default_rng(0).random((4, 2))
    builder = LoopBuilder(many, X, 0.5, LoopDesign())
    xs, Ds = np.tile(X, (4, 3, 1, 1)), np.tile(np.eye(2), (4, 3, 4, 1, 1))
    Ds[1, 2, 0], Ds[2, 0, 1, 0, 0], xs[3, 1, 0, 0] = 0, np.nan, 1e3
    assert_array_equal(builder._admissible(xs, Ds), [True, False, False, False])


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


def setting(N, n_intervals):
    many = bundle(UniversalFields().draw(2, rng=0))
    X, Y = np.random.default_rng(0).random((2, N, 2))
    return Setting(many, 0.5, n_intervals, np.random.default_rng(1), Report()), X, Y


def test_a_chain_starts_each_loop_where_the_one_before_ends():
    shared, X, Y = setting(7, 100)
    many, tol = shared.bundle, 1e-8
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
        assert_allclose(end, x, atol=1e-9)
        turned = composed(segment.A) @ turned
    assert_allclose(x, Y, atol=2e-6)  # to what loops are closed; the last one is corrected later
    # following the chain from X on amplifies rounding little
    assert np.linalg.norm(turned, 2, axis=(1, 2)).max() < 3.0 * tol / 1e-11


def test_errors_of_segments_tell_at_which_steps_the_end_of_a_chain_is_accurate():
    shared, X, Y = setting(5, 100)
    many = shared.bundle
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
    assert quick.rate == pytest.approx(0.02 / 400)
    assert slow.rate == pytest.approx(0.002 / 400)
    assert (quick.size(), slow.size()) == (100, 200)  # small parts ask for more intervals
    far = quick.far
    quick.took(0.0, np.inf, 3.04)
    assert quick.rate == pytest.approx(0.01 / 400)
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


def test_loops_are_linearised_in_single_precision_where_they_are_regular(monkeypatch):
    many = bundle(NeuralFields(rank=None).draw(2, 20, rng=0))
    X = np.random.default_rng(0).random((5, 2))

    def drawn(quick):
        rng = np.random.default_rng(1)
        return draw_start(many, X, 0.5, 60, rng, Report(), LoopDesign(), 1e-6, quick)

    single = many.single()
    rough = drawn(single)
    assert (rough.solver.bundle, rough.quick.bundle) == (many, single)
    assert rough.line.condition < 1e5
    exact = Linearisation(many, rough.z, rough.solver.n_steps, rough.solver.mu)
    assert 0 < relative_error(rough.line.B, exact.B) < 1e-5
    monkeypatch.setattr("skcode.geometry._continuation._REGULAR", 1.0)
    fallen_back = drawn(single)
    assert fallen_back.quick.bundle is many
    assert_array_equal(fallen_back.line.B, exact.B)
    assert drawn(None).quick.bundle is many


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
            stretched = np.linalg.norm(composed(segment.A)[2] @ u)
            assert stretched == pytest.approx(np.exp(-_RELIEF * ds), abs=0.05)
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
    steep = [_steepness(composed(segment.A)) for segment, _ in (free, mild)]
    assert steep[1] <= _MILD < steep[0] <= _STEEP
    assert mild[1] < free[1]
    for segment, ds in (free, mild):
        assert np.max(abs(segment.z.x[-1] - path(ds))) < 0.05 * np.max(abs(path(ds) - X))


@pytest.mark.parametrize("family", SMOOTH)
def test_groups_may_have_steps_of_their_own(family):
    fields = draw(family)
    many = bundle(fields)
    x, w = groups(fields)
    steps = np.array([2, 1, 2])
    flows = [many.flow, many.linearised_flow, many.tangent_flow]
    for flow in flows:
        whole = flow(w, x, steps)
        alone = [flow(w[g : g + 1], x[g : g + 1], int(steps[g])) for g in range(N_GROUPS)]
        if flow == many.linearised_flow:
            for part, parts in zip(whole, zip(*alone, strict=True), strict=True):
                assert_allclose(part, np.concatenate(parts), atol=1e-13)
        else:
            assert_allclose(whole, np.concatenate(alone), atol=1e-13)


def test_a_loop_takes_more_steps_only_where_it_does_not_close():
    rng = np.random.default_rng(0)
    many = bundle(NeuralFields(rank=None, scale=4.0).draw(2, 10, rng=0))
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
    assert (start.gaps >= misses - 1e-14).all()
