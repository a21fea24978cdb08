"""The exact adjoint, tangent and Jacobian of the discrete scheme."""

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad, jacobian, make_jvp, make_vjp
from helpers import FAMILIES, N_STATES, difference, draw, naive_flow, relative_error

import skcode.flow._sweep
from skcode.flow import TABLEAUS, Sweep, flow, get_tableau

TOLERANCE = {"float64": 1e-12, "float32": 1e-4}
every_kind = pytest.mark.parametrize("name", FAMILIES)
every_scheme = pytest.mark.parametrize("integrator", TABLEAUS)


def problem(name, n_intervals=2, n=4):
    """Fields, states, controls, a covector at the end, and tangents."""
    rng = np.random.default_rng(21)
    fields = draw(name)
    controls, du = 0.7 * rng.standard_normal((2, n_intervals, fields.n_fields))
    x, v, dx = rng.standard_normal((3, n, N_STATES))
    return fields, 0.5 * x, controls, v, dx, du


def pull(run, fields, x, controls, v, *scheme):
    """Gradients of <v, X_1> in x and in the controls, through autograd."""

    def end(xu):
        return run(fields, *xu, *scheme)

    return make_vjp(end)((x, controls))[0](v)


@every_scheme
@every_kind
def test_the_adjoint_is_autograd_of_the_naive_loop(name, integrator):
    fields, x, controls, v, *_ = problem(name)
    for n_steps in (1, 2):
        exact = pull(naive_flow, fields, x, controls, v, integrator, n_steps)
        for dtype, tolerance in TOLERANCE.items():
            typed = [array.astype(dtype) for array in (x, controls, v)]
            bars = pull(flow, fields.astype(dtype), *typed, integrator, n_steps)
            for bar, true in zip(bars, exact, strict=True):
                assert bar.dtype == dtype
                assert relative_error(bar, true) < tolerance


@every_scheme
@every_kind
def test_the_adjoint_is_the_limit_of_differences(name, integrator):
    fields, x, controls, v, dx, du = problem(name)
    x_bar, u_bar = pull(flow, fields, x, controls, v, integrator)
    in_x = difference(lambda x: np.sum(v * flow(fields, x, controls, integrator)), x, dx)
    in_u = difference(lambda u: np.sum(v * flow(fields, x, u, integrator)), controls, du)
    assert np.sum(x_bar * dx) == pytest.approx(in_x, rel=1e-6, abs=1e-6)
    assert np.sum(u_bar * du) == pytest.approx(in_u, rel=1e-6, abs=1e-6)


@every_scheme
@every_kind
def test_tangent_and_adjoint_are_transposes(name, integrator):
    fields, x, controls, v, dx, du = problem(name)
    x_bar, u_bar = pull(flow, fields, x, controls, v, integrator, 2)
    in_x = make_jvp(lambda x: flow(fields, x, controls, integrator, 2))(x)(dx)[1]
    in_u = make_jvp(lambda u: flow(fields, x, u, integrator, 2))(controls)(du)[1]
    both = make_jvp(lambda xu: flow(fields, *xu, integrator, 2))((x, controls))((dx, du))[1]
    np.testing.assert_allclose(np.sum(v * in_x), np.sum(x_bar * dx), atol=1e-12)
    np.testing.assert_allclose(np.sum(v * in_u), np.sum(u_bar * du), atol=1e-12)
    np.testing.assert_allclose(both, in_x + in_u, atol=1e-13)


@every_scheme
@every_kind
def test_jacobian_rows_are_adjoints_one_at_a_time(name, integrator):
    fields, x, controls, *_ = problem(name)
    K, n = 2, len(x)
    p = np.random.default_rng(2).standard_normal((K, N_STATES, n))
    shared = np.broadcast_to(p[:, :, :1], p.shape)
    sweep = Sweep(fields, get_tableau(integrator), len(controls), 2, n, x.dtype, (K,))
    sweep.forward(controls, x)
    for adjoints in (p, shared):
        rows = np.zeros((len(controls), K, fields.n_fields, n))
        sweep.jacobian(adjoints, rows)
        for k in range(K):
            for i in range(n):
                v = adjoints[k, :, i][None]
                _, row = pull(flow, fields, x[[i]], controls, v, integrator, 2)
                np.testing.assert_allclose(rows[:, k, :, i], row, atol=1e-13)


@every_scheme
@every_kind
def test_tapes_that_are_not_kept_are_recomputed(name, integrator, monkeypatch):
    fields, x, controls, v, dx, du = problem(name)

    def results():
        args = fields, get_tableau(integrator), len(controls), 2, len(x), x.dtype
        sweep, wide = Sweep(*args), Sweep(*args, (1,))
        u_bar, rows = np.zeros_like(controls), np.zeros((len(controls), 1, fields.n_fields, len(x)))
        for each in (sweep, wide):
            each.forward(controls, x)
        wide.jacobian(v.T[None].copy(), rows)
        return sweep.keeps_tapes, sweep.adjoint(v.T, u_bar), u_bar, rows, sweep.tangent(du, dx.T)

    kept, *with_tapes = results()
    monkeypatch.setattr(skcode.flow._sweep, "_TAPE_BYTES", 0)
    still_kept, *without = results()
    assert kept
    assert not still_kept
    for ours, theirs in zip(without, with_tapes, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_sweep_adds_to_what_is_there_and_leaves_the_covector():
    fields, x, controls, v, *_ = problem("stack")
    sweep = Sweep(fields, get_tableau("heun"), len(controls), 1, len(x), x.dtype)
    sweep.forward(controls, x)
    p = v.T.copy()
    once, twice = np.zeros_like(controls), np.zeros_like(controls)
    sweep.adjoint(p, once)
    for _ in range(2):
        sweep.adjoint(p, twice)
    np.testing.assert_array_equal(p, v.T)
    np.testing.assert_allclose(twice, 2 * once, rtol=1e-14)


def test_each_argument_has_its_gradient_alone():
    fields, x, controls, v, *_ = problem("stack")
    x_bar, u_bar = pull(flow, fields, x, controls, v, "heun")
    alone_x = grad(lambda x: anp.sum(v * flow(fields, x, controls, "heun")))(x)
    alone_u = grad(lambda u: anp.sum(v * flow(fields, x, u, "heun")))(controls)
    np.testing.assert_allclose(alone_x, x_bar, rtol=1e-12)
    np.testing.assert_allclose(alone_u, u_bar, rtol=1e-12)


def test_mixed_precision_gives_each_argument_its_own():
    fields, x, controls, v, *_ = problem("stack")
    fields, x = fields.astype(np.float32), x.astype(np.float32)
    x_bar, u_bar = pull(flow, fields, x, controls, v)
    assert x_bar.dtype == np.float32
    assert u_bar.dtype == np.float64


@pytest.mark.parametrize("loss", [anp.sum, lambda ends: (ends**2).sum()], ids=["linear", "square"])
@pytest.mark.parametrize("argument", ["x", "controls"])
def test_second_derivatives_raise(argument, loss):
    fields, x, controls, *_ = problem("rank 1")

    def total(z):
        return loss(flow(fields, z, controls) if argument == "x" else flow(fields, x, z))

    z = x if argument == "x" else controls
    with pytest.raises(NotImplementedError, match=r"trace fields\.value"):
        jacobian(grad(total))(z)
    with pytest.raises(NotImplementedError, match=r"trace fields\.value"):
        make_jvp(grad(total))(z)(np.ones_like(z))
    with pytest.raises(NotImplementedError, match=r"trace fields\.value"):
        make_jvp(lambda z: make_jvp(total)(z)(np.ones_like(z))[1])(z)(np.ones_like(z))
