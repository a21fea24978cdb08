"""Values of the flow: matrix exponentials, tight solutions, orders, trajectories, errors."""

import numpy as np
import pytest
from helpers import FAMILIES, N_STATES, draw, naive_flow, relative_error
from scipy.integrate import solve_ivp
from scipy.linalg import expm

from skcode.fields import LinearFields, NeuralFields
from skcode.flow import TABLEAUS, Sweep, as_float, block_size, flow, get_tableau, trajectory

every_kind = pytest.mark.parametrize("name", FAMILIES)
every_scheme = pytest.mark.parametrize("integrator", TABLEAUS)


def problem(family, n_intervals=2, n=5, size=0.7):
    rng = np.random.default_rng(11)
    fields = draw(family)
    controls = size * rng.standard_normal((n_intervals, fields.n_fields))
    return fields, 0.5 * rng.standard_normal((n, N_STATES)), controls


def order_slope(fields, x, controls, integrator, exact):
    """Slope of log error against log step, where it has settled."""
    steps = 16 if integrator == "rk4" else 64
    errors = [
        np.max(np.abs(flow(fields, x, controls, integrator, n) - exact)) for n in (steps, 2 * steps)
    ]
    assert errors[1] > 1e-12
    return np.log2(errors[0] / errors[1])


@every_scheme
def test_linear_flows_converge_to_matrix_exponentials(integrator):
    fields, x, controls = problem(LinearFields())
    A = fields.matrices[:, :, :-1]
    exact = x
    for u in controls:
        exact = exact @ expm(np.tensordot(u, A, axes=1) / len(controls)).T
    slope = order_slope(fields, x, controls, integrator, exact)
    assert slope == pytest.approx(get_tableau(integrator).order, abs=0.1)


@every_scheme
def test_nonlinear_flows_converge_to_a_tight_solution(integrator):
    fields, x, controls = problem(NeuralFields(rank=2), size=2.0)
    exact = x.ravel()
    for u in controls:
        exact = solve_ivp(
            lambda t, z, u=u: fields.combine(z.reshape(x.shape), u).ravel(),
            (0, 1 / len(controls)),
            exact,
            method="DOP853",
            rtol=1e-13,
            atol=1e-14,
        ).y[:, -1]
    slope = order_slope(fields, x, controls, integrator, exact.reshape(x.shape))
    assert slope == pytest.approx(get_tableau(integrator).order, abs=0.1)


def test_one_euler_step_an_interval_is_a_residual_network():
    fields, x, controls = problem(NeuralFields(rank=None))
    layers = x
    for u in controls:
        layers = layers + np.einsum("i,nij->nj", u, fields.value(layers)) / len(controls)
    np.testing.assert_allclose(flow(fields, x, controls), layers, rtol=1e-13)


@every_scheme
@every_kind
def test_the_sweep_is_the_naive_loop(name, integrator):
    fields, x, controls = problem(name)
    exact = naive_flow(fields, x, controls, integrator, 2)
    assert relative_error(flow(fields, x, controls, integrator, 2), exact) < 1e-13
    x32, fields32 = x.astype(np.float32), fields.astype(np.float32)
    single = flow(fields32, x32, controls, integrator, 2)
    assert single.dtype == np.float32
    assert relative_error(single, exact) < 1e-5


@every_scheme
@every_kind
def test_propagation_is_the_forward_sweep_without_memory(name, integrator):
    fields, x, controls = problem(name)
    sweep = Sweep(fields, get_tableau(integrator), len(controls), 2, len(x), x.dtype)
    for scale in (1.0, -0.5):
        forward = sweep.forward(scale * controls, x).copy()
        np.testing.assert_array_equal(sweep.propagate(scale * controls, x), forward)


@every_scheme
def test_trajectories_are_flows_over_shorter_times(integrator):
    fields, x, controls = problem("stack", n_intervals=3)
    states = trajectory(fields, x, controls, integrator, 2)
    assert states.shape == (4, *x.shape)
    np.testing.assert_array_equal(states[0], x)
    np.testing.assert_array_equal(states[-1], flow(fields, x, controls, integrator, 2))
    for t in (1, 2):
        # slower controls for longer: the flow over [0, t / M] in the time of [0, 1]
        shorter = flow(fields, x, controls[:t] * t / 3, integrator, 2)
        np.testing.assert_allclose(states[t], shorter, rtol=1e-13)


def test_zero_controls_and_opposite_controls_are_the_identity():
    fields, x, controls = problem(LinearFields())
    np.testing.assert_array_equal(flow(fields, x, 0 * controls), x)
    back = np.vstack([controls, -controls[::-1]])
    np.testing.assert_allclose(flow(fields, x, back, "rk4", 32), x, atol=1e-7)


def test_samples_do_not_see_each_other():
    fields, x, controls = problem("full rank", n=7)
    together = flow(fields, x, controls, "heun")
    apart = np.vstack([flow(fields, row[None], controls, "heun") for row in x])
    np.testing.assert_allclose(together, apart, rtol=1e-13)
    assert flow(fields, x[:0], controls).shape == (0, N_STATES)


def test_inputs_stay_untouched():
    fields, x, controls = problem("stack")
    x_before, controls_before = x.copy(), controls.copy()
    flow(fields, x, controls, "rk4")
    np.testing.assert_array_equal(x, x_before)
    np.testing.assert_array_equal(controls, controls_before)


@pytest.mark.parametrize("run", [flow, trajectory])
@pytest.mark.parametrize(
    ("x", "controls", "match"),
    [
        (np.ones(3), np.ones((2, 4)), r"x must have shape \(N, 3\); got \(3,\)"),
        (np.ones((5, 2)), np.ones((2, 4)), r"x must have shape \(N, 3\); got \(5, 2\)"),
        (np.ones((5, 3)), np.ones((2, 3)), r"controls must have shape \(M, 4\); got \(2, 3\)"),
        (np.ones((5, 3)), np.ones(4), r"controls must have shape \(M, 4\); got \(4,\)"),
        (np.ones((5, 3)), np.ones((0, 4)), r"controls must have shape \(M, 4\); got \(0, 4\)"),
    ],
)
def test_wrong_shapes_are_named(run, x, controls, match):
    with pytest.raises(ValueError, match=match):
        run(draw("linear"), x, controls)


@pytest.mark.parametrize("run", [flow, trajectory])
def test_lists_and_whole_numbers_are_arrays(run):
    fields = draw("linear", seed=0)
    x, controls = [[1, 2, 3], [0, 1, 0]], [[1, 0, 2, -1], [0, 1, 0, 3]]
    expected = run(fields, np.array(x, float), np.array(controls, float))
    np.testing.assert_array_equal(run(fields, x, controls), expected)
    np.testing.assert_array_equal(run(fields, np.array(x), np.array(controls)), expected)


@pytest.mark.parametrize("run", [flow, trajectory])
def test_wrong_schemes_and_steps_are_named(run):
    fields, x, controls = problem("linear")
    with pytest.raises(ValueError, match="integrator='eulr' must be one of"):
        run(fields, x, controls, "eulr")
    for n_steps in (0, 1.5, "2"):
        with pytest.raises(
            ValueError, match=f"n_steps={n_steps} must be a whole number, at least 1"
        ):
            run(fields, x, controls, n_steps=n_steps)


@pytest.mark.parametrize(
    ("given", "kept"),
    [("f4", "f4"), ("f8", "f8"), ("i8", "f8"), ("f2", "f8"), ("?", "f8")],
)
def test_single_precision_stays_and_the_rest_becomes_double(given, kept):
    assert as_float(np.ones(2, given)).dtype == kept
    fields, x, controls = problem("linear")
    assert flow(fields, (10 * x).astype(given), controls).dtype == kept


def test_blocks_shrink_with_the_tape_to_96_and_never_hold_many_powers_of_two():
    sizes = [
        block_size(NeuralFields(rank=1).draw(64, d, 0), dtype)
        for d in (16, 256, 20_000)
        for dtype in (np.float32, np.float64)
    ]
    assert sizes[0] == 2080
    assert sizes[-1] == 96
    assert sizes == sorted(sizes, reverse=True)
    assert all(size % 64 == 32 for size in sizes)
