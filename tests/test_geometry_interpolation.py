"""Interpolation against scipy's own integrator, its honesty, and what it refuses."""

import warnings
from types import SimpleNamespace

import autograd.numpy as anp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.integrate import solve_ivp
from sklearn.datasets import load_diabetes
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import scale

from skcode import ControlledODERegressor
from skcode.fields import FunctionFields, LinearFields, NeuralFields, UniversalFields
from skcode.geometry import InterpolationResult, interpolate

UNIVERSAL = UniversalFields().draw(2, rng=0)


def drive(x):
    return anp.stack([anp.cos(x[:, 2]), anp.sin(x[:, 2]), 0 * x[:, 2]], axis=1)


def turn(x):
    return 0 * x + np.array([0.0, 0.0, 1.0])


def points(N, m, seed=0):
    rng = np.random.default_rng(seed)
    return rng.random((N, m)), rng.random((N, m))


def arrivals(fields, X, controls):
    """X_1 by scipy's DOP853 at tight tolerance, interval by interval, all points at once."""
    x, M = X, len(controls)
    for u in controls:

        def velocity(_, z, u=u):
            return np.einsum("i,nij->nj", u, fields.value(z.reshape(X.shape))).ravel()

        solution = solve_ivp(
            velocity, (0, 1 / M), x.ravel(), method="DOP853", rtol=1e-13, atol=1e-15
        )
        x = solution.y[:, -1].reshape(X.shape)
    return x


def recomputed(fields, X, Y, result, readout):
    x = arrivals(fields, X, result.controls)
    return (result.scale * (x - X) if readout == "displacement" else x) - Y


CASES = {
    "steering in the plane": ("identity", UNIVERSAL, 1, 2, 1e-10),
    "steering in five dimensions": ("identity", UniversalFields().draw(5, rng=1), 1, 5, 1e-10),
    "matching of three points": ("identity", UNIVERSAL, 3, 2, 1e-9),
    "matching of ten points": ("identity", UNIVERSAL, 10, 2, 1e-8),
    "matching with neural fields": (
        "identity",
        NeuralFields(rank=None).draw(2, 8, rng=0),
        4,
        2,
        1e-9,
    ),
    "matching in five dimensions": (
        "identity",
        NeuralFields(rank=None).draw(5, 8, rng=0),
        3,
        5,
        1e-9,
    ),
    "displacement of five points": ("displacement", UNIVERSAL, 5, 2, 1e-8),
    "displacement with random polynomials": (
        "displacement",
        NeuralFields("polynomial", rank=None).draw(2, 7, rng=0),
        6,
        2,
        1e-8,
    ),
}


SLOW = {case for case in CASES if case.startswith("matching of")}


@pytest.mark.parametrize(
    "case", [pytest.param(c, marks=pytest.mark.slow) if c in SLOW else c for c in CASES]
)
def test_the_residual_is_that_of_the_differential_equation(case):
    readout, fields, N, m, tol = CASES[case]
    X, Y = points(N, m)
    result = interpolate(fields, X, Y, readout=readout, tol=tol)
    assert result.success, result.message
    assert result.error <= tol
    assert result.message.startswith("Interpolated")
    assert result.residual.shape == (N, m)
    assert result.controls.shape[1] == fields.n_fields
    assert (readout == "displacement") or result.scale == 1.0
    assert abs(recomputed(fields, X, Y, result, readout)).max() <= 2 * tol


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fields", "N", "m"),
    [
        (UniversalFields(), 10, 2),
        (UniversalFields(), 20, 2),
        (NeuralFields("polynomial", rank=None), 10, 2),
        (UniversalFields(), 20, 10),
    ],
)
def test_many_points(fields, N, m):
    X, Y = points(N, m)
    drawn = fields.draw(m, 7, rng=0)
    result = interpolate(drawn, X, Y, readout="displacement", tol=1e-8)
    assert result.success, result.message
    assert abs(recomputed(drawn, X, Y, result, "displacement")).max() <= 2e-8


def test_steering_along_a_bracket():
    # no field moves the unicycle sideways; their bracket does
    X, Y = np.zeros((1, 3)), np.array([[0.0, 1.0, 0.0]])
    result = interpolate([drive, turn], X, Y, tol=1e-9)
    assert result.success, result.message
    fields = FunctionFields([drive, turn]).draw(3)
    assert_allclose(arrivals(fields, X, result.controls), Y, atol=2e-9)


def test_drawn_fields_and_a_fitted_estimator_give_the_same_numbers():
    X, Y = points(3, 2)
    one = interpolate(UNIVERSAL, X, Y, readout="displacement")
    other = interpolate(
        SimpleNamespace(vector_fields_=UNIVERSAL), X, Y, readout="displacement", random_state=0
    )
    assert_array_equal(one.controls, other.controls)
    assert one.scale == other.scale


def test_matrices_are_fields():
    A, B = np.array([[0.0, 1.0], [-1.0, 0.0]]), np.array([[1.0, 0.0], [0.0, -1.0]])
    result = interpolate([A, B], [[1.0, 0.5]], [[-0.5, 2.0]])
    assert result.success, result.message


def test_the_number_of_intervals_is_the_users():
    X, Y = points(2, 2)
    result = interpolate(UNIVERSAL, X, Y, readout="displacement", n_intervals=37)
    assert result.success, result.message
    assert len(result.controls) == 37


def test_points_that_stay():
    X, _ = points(3, 2)
    result = interpolate(UNIVERSAL, X, X)
    assert result.success, result.message
    zero = interpolate(UNIVERSAL, X, 0 * X, readout="displacement")
    assert zero.success, zero.message


# -- through fit ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("N", "m", "d"), [(5, 2, 7), (8, 2, 16), (10, 3, 20)])
@pytest.mark.parametrize("seed", [0, 1])
def test_fit_interpolates_with_the_displacement_readout(N, m, d, seed):
    X, Y = points(N, m, seed)
    model = ControlledODERegressor(
        vector_fields=NeuralFields(rank=None),
        n_fields=d,
        n_intervals=20,
        n_members=1,
        readout="displacement",
        solver="gauss-newton",
        alpha=0.0,
        max_iter=300,
        tol=0.0,
        scaling=None,
        random_state=seed,
    )
    with warnings.catch_warnings():
        # the loss ends at rounding, where no step decreases it
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X, Y)
    assert model.n_parameters_ == 20 * d + 1
    assert abs(model.predict(X) - Y).max() < 1e-10
    # the trained network is lambda (X_1 - x) of the Euler scheme, written out
    x = X
    for u in model.controls_:
        x = x + np.einsum("i,nij->nj", u, model.vector_fields_.value(x)) / 20
    assert_allclose(model.scale_ * (x - X), Y, atol=1e-9)


def test_fit_interpolates_fifty_measured_pairs():
    data = load_diabetes()
    table = scale(np.column_stack([data.data, data.target]))
    rows = np.random.default_rng(0).permutation(len(table))[:50]
    X, Y = table[rows][:, [2, 3]], table[rows][:, [8, 10]]
    model = ControlledODERegressor(
        vector_fields=NeuralFields(rank=None),
        n_fields=30,
        n_intervals=20,
        n_members=1,
        readout="displacement",
        solver="gauss-newton",
        alpha=0.0,
        max_iter=300,
        tol=0.0,
        scaling=None,
        random_state=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X, Y)
    assert abs(model.predict(X) - Y).max() < 1e-10


# -- failure -------------------------------------------------------------------------------------


def assert_honest(result, X, Y):
    assert not result.success
    assert result.message.startswith("Not interpolated")
    assert result.residual.shape == Y.shape
    assert result.error > 1e-8


def test_rank_limits():
    # two matrices generate a group of dimension 4 at most: three points of the plane need 6
    X, Y = points(3, 2)
    result = interpolate(LinearFields().draw(2, 2, rng=0), X, Y, readout="displacement")
    assert_honest(result, X, Y)
    assert "rank" in result.message
    assert_array_equal(result.residual, -Y)


def test_too_few_controls():
    X, Y = points(12, 2)
    result = interpolate(UNIVERSAL, X, Y, n_intervals=1)
    assert_honest(result, X, Y)
    assert "5 controls for 24 equations" in result.message


def test_the_line_keeps_the_order_of_points():
    fields = NeuralFields(rank=None).draw(1, 4, rng=0)
    X, Y = np.array([[0.1], [0.6]]), np.array([[0.7], [0.2]])
    result = interpolate(fields, X, Y)
    assert_honest(result, X, Y)
    assert "order of points" in result.message
    assert_array_equal(result.residual, X - Y)
    kept = interpolate(fields, X, Y[::-1])
    assert kept.success, kept.message


@pytest.mark.parametrize(
    ("errors", "kept"),
    [((np.nan, 2.0, 1.0), 1.0), ((2.0, np.nan, 3.0), 2.0), ((np.nan, np.nan, 1.0), 1.0)],
)
def test_the_best_attempt_is_kept_and_an_explosion_gives_way(monkeypatch, errors, kept):
    X, Y = points(2, 2)
    outcomes = iter(errors)

    def finish(*_):
        residual = np.full(Y.shape, next(outcomes))
        return InterpolationResult(np.zeros((3, 5)), 1.0, residual, False, "", 0, 1, 1, 1.0)

    monkeypatch.setattr(
        "skcode.geometry.interpolation._interpolate._identity", lambda *_: ([], 1.0)
    )
    monkeypatch.setattr("skcode.geometry.interpolation._interpolate._finish", finish)
    assert interpolate(UNIVERSAL, X, Y, n_intervals=3).error == kept


def test_a_tolerance_below_rounding_is_not_claimed():
    X, Y = points(1, 2)
    result = interpolate(UNIVERSAL, X, Y, readout="displacement", tol=1e-20, n_intervals=8)
    assert result.error > 1e-20
    assert not result.success
    assert "tol 1.0e-20" in result.message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"X": np.zeros((3, 3))}, "X must have shape"),
        ({"X": np.zeros(2)}, "X must have shape"),
        ({"X": np.zeros((0, 2)), "Y": np.zeros((0, 2))}, "X must have shape"),
        ({"Y": np.zeros((3, 2))}, "Y must have the shape of X"),
        ({"Y": np.array([[0.0, np.nan], [1.0, 0.0]])}, "X and Y must be finite"),
        ({"X": np.array([[0.0, np.inf], [1.0, 0.0]])}, "X and Y must be finite"),
        ({"X": np.ones((2, 2))}, "X holds equal points"),
        ({"Y": np.ones((2, 2))}, "Y holds equal points"),
        ({"readout": "linear"}, "readout='linear'"),
        ({"n_intervals": 0}, "n_intervals=0"),
        ({"tol": 0.0}, "tol=0.0"),
        ({"tol": np.nan}, "tol=nan"),
        ({"tol": np.inf}, "tol=inf"),
        ({"max_loops": 0}, "max_loops=0"),
    ],
)
def test_wrong_arguments(change, message):
    X, Y = points(2, 2)
    arguments = {"X": X, "Y": Y} | change
    with pytest.raises(ValueError, match=message):
        interpolate(UNIVERSAL, **arguments)


@pytest.mark.parametrize("max_loops", [1, 3])
def test_the_bound_on_loops_holds_and_is_told(max_loops):
    X, Y = np.random.default_rng(0).random((2, 6, 2))
    result = interpolate(UNIVERSAL, X, Y, max_loops=max_loops)
    assert not result.success
    assert result.n_loops == max_loops
    assert f"max_loops={max_loops} was reached" in result.message


def test_points_far_out_are_no_error():
    X, Y = np.random.default_rng(0).random((2, 4, 2))
    result = interpolate(UNIVERSAL, X + 1000, Y, readout="displacement", tol=1e-6)
    assert not result.success
    assert "Not interpolated" in result.message or "explodes" in result.message


def test_equal_outputs_are_fine_for_displacements():
    X, _ = points(3, 2)
    result = interpolate(UNIVERSAL, X, np.ones((3, 2)), readout="displacement")
    assert result.success, result.message


def test_loops_of_few_intervals_have_no_excursions_to_keep():
    fields = UniversalFields().draw(2, rng=0)
    X, Y = [[-0.5, 0], [0.5, 0]], [[0.5, 0], [-0.5, 0]]
    for n_intervals in (6, 10):
        result = interpolate(fields, X, Y, n_intervals=n_intervals)
        assert result.success
