"""Kernels of every family against autograd of its definition and against differences."""

import pickle

import joblib
import numpy as np
import pytest
from autograd import make_jvp, make_vjp
from helpers import EVERY_FAMILY, FAMILIES, N_STATES, combined, difference, draw, relative_error

from skcode.fields import FieldKernel, homogeneous
from skcode.flow import flow

TOLERANCE = {"float64": 1e-12, "float32": 2e-5}
every_family = pytest.mark.parametrize("name", EVERY_FAMILY)
every_kind = pytest.mark.parametrize("name", FAMILIES)
both_dtypes = pytest.mark.parametrize("dtype", TOLERANCE)


def problem(name, n=6):
    """Fields, states, controls, an adjoint, and tangents, in float64."""
    rng = np.random.default_rng(1)
    fields = draw(name)
    x, p, dx = rng.standard_normal((3, n, N_STATES))
    u, du = rng.standard_normal((2, fields.n_fields))
    return fields, x, u, p, dx, du


@both_dtypes
@every_family
def test_combine_is_the_controlled_sum_of_values(name, dtype):
    fields, x, u, *_ = problem(name)
    v = fields.astype(dtype).combine(x.astype(dtype), u.astype(dtype))
    assert v.dtype == dtype
    assert v.shape == x.shape
    assert relative_error(v, combined(fields, x, u)) < TOLERANCE[dtype]


@both_dtypes
@every_family
def test_pullback_is_the_vjp_of_combine(name, dtype):
    fields, x, u, p, *_ = problem(name)
    x_bar, u_bar = fields.astype(dtype).pullback(x.astype(dtype), u, p)
    assert x_bar.dtype == u_bar.dtype == dtype
    assert x_bar.shape == x.shape
    assert u_bar.shape == u.shape
    true_x_bar = make_vjp(lambda x: combined(fields, x, u))(x)[0](p)
    true_u_bar = make_vjp(lambda u: combined(fields, x, u))(u)[0](p)
    np.testing.assert_allclose(x_bar, true_x_bar, rtol=0, atol=10 * TOLERANCE[dtype])
    np.testing.assert_allclose(u_bar, true_u_bar, rtol=0, atol=100 * TOLERANCE[dtype])


@both_dtypes
@every_family
def test_pushforward_is_the_jvp_of_combine(name, dtype):
    fields, x, u, _, dx, du = problem(name)
    dv = fields.astype(dtype).pushforward(x.astype(dtype), u, dx, du)
    assert dv.dtype == dtype
    in_x = make_jvp(lambda x: combined(fields, x, u))(x)(dx)[1]
    np.testing.assert_allclose(dv, in_x + combined(fields, x, du), atol=50 * TOLERANCE[dtype])
    along_x = fields.pushforward(x, u, dx)
    np.testing.assert_allclose(along_x, in_x, atol=1e-12)


@every_family
def test_derivatives_are_limits_of_differences(name):
    fields, x, u, p, dx, du = problem(name)
    in_x = difference(lambda x: combined(fields, x, u), x, dx)
    in_u = difference(lambda u: combined(fields, x, u), u, du)
    np.testing.assert_allclose(fields.pushforward(x, u, dx, du), in_x + in_u, atol=2e-7)
    x_bar, u_bar = fields.pullback(x, u, p)
    np.testing.assert_allclose(np.sum(x_bar * dx), np.sum(p * in_x), atol=1e-6)
    np.testing.assert_allclose(u_bar @ du, np.sum(p * in_u), atol=1e-6)


@every_kind
def test_rows_are_pullbacks_of_single_samples(name):
    fields, x, u, *_ = problem(name)
    n, K = len(x), 2
    adjoints = np.random.default_rng(2).standard_normal((K, N_STATES, n))
    kernel, bound, block = fields.kernel(n, x.dtype, (K,)), fields.bind(u), homogeneous(x)
    tape, x_bar = kernel.new_tape(), np.empty_like(adjoints)
    rows = np.zeros((K, fields.n_fields, n))
    kernel.forward(bound, block, np.empty((N_STATES, n)), tape)
    kernel.rows(bound, block, tape, adjoints, x_bar, rows)
    for k in range(K):
        for i in range(n):
            one_x_bar, one_row = fields.pullback(x[[i]], u, adjoints[k, :, [i]])
            np.testing.assert_allclose(x_bar[k, :, [i]], one_x_bar, atol=1e-13)
            np.testing.assert_allclose(rows[k, :, i], one_row, atol=1e-13)


@every_kind
def test_a_pullback_of_its_own_is_what_follows_from_the_rows(name):
    fields, x, u, p, *_ = problem(name)
    kernel, bound, block = fields.kernel(len(x), x.dtype), fields.bind(u), homogeneous(x)
    tape, u_bar, x_bar = kernel.new_tape(), np.ones(fields.n_fields), np.empty((N_STATES, len(x)))
    kernel.forward(bound, block, np.empty_like(x_bar), tape)
    FieldKernel.pullback(kernel, bound, block, tape, np.ascontiguousarray(p.T), x_bar, u_bar)
    own_x_bar, own_u_bar = fields.pullback(x, u, p)
    np.testing.assert_allclose(x_bar.T, own_x_bar, atol=1e-13)
    np.testing.assert_allclose(u_bar, 1 + own_u_bar, atol=1e-12)


@both_dtypes
@every_kind
def test_value_keeps_shape_and_dtype(name, dtype):
    fields, x, *_ = problem(name)
    values = fields.astype(dtype).value(x.astype(dtype))
    assert values.shape == (len(x), fields.n_fields, N_STATES)
    assert values.dtype == dtype
    assert len(fields.labels) == len(fields.start_scale) == fields.n_fields


@every_kind
def test_drawn_fields_survive_pickle(name):
    fields, x, u, p, *_ = problem(name)
    again = pickle.loads(pickle.dumps(fields))
    np.testing.assert_array_equal(again.value(x), fields.value(x))
    np.testing.assert_array_equal(again.pullback(x, u, p)[1], fields.pullback(x, u, p)[1])


@every_kind
def test_read_only_memory_maps_serve_as_arrays(name, tmp_path):
    fields, x, u, p, dx, du = problem(name)
    joblib.dump((fields, x, u), tmp_path / "fields")
    mapped, x_mapped, u_mapped = joblib.load(tmp_path / "fields", mmap_mode="r")
    assert isinstance(x_mapped, np.memmap)
    assert not x_mapped.flags.writeable
    np.testing.assert_array_equal(mapped.combine(x_mapped, u_mapped), fields.combine(x, u))
    for ours, theirs in zip(mapped.pullback(x, u, p), fields.pullback(x, u, p), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(
        mapped.pushforward(x, u, dx, du), fields.pushforward(x, u, dx, du)
    )
    np.testing.assert_array_equal(flow(mapped, x_mapped, u_mapped[None]), flow(fields, x, u[None]))


@every_kind
def test_wrong_shapes_are_named(name):
    fields, x, u, *_ = problem(name)
    with pytest.raises(ValueError, match=r"x must have shape \(N, 3\); got \(6, 2\)"):
        fields.combine(x[:, :2], u)
    with pytest.raises(ValueError, match=r"x must have shape"):
        fields.pullback(x[0], u, x[0])
    with pytest.raises(ValueError, match=r"u must have shape"):
        fields.pushforward(x, np.append(u, 1.0), x)
