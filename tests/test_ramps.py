"""Ramps of the inputs: what they are, how they are chosen, and where they travel."""

import pickle

import numpy as np
import pytest
from helpers import relative_error
from sklearn.datasets import make_friedman1

from skcode import ControlledODEClassifier, ControlledODERegressor
from skcode.estimators import _supervised
from skcode.inputs import InputMap, Ramps
from skcode.training import _trial

RNG = np.random.default_rng(0)
SMALL = {"n_members": 1, "n_fields": 8, "random_state": 0}
#: with as many fields as tell ramps from inputs
TRIED = {"n_members": 1, "random_state": 0}


@pytest.fixture
def columns():
    """A number with a tail, whole numbers, two values, and a constant."""
    n = 400
    return np.column_stack(
        [RNG.standard_cauchy(n), RNG.integers(0, 4, n), RNG.integers(0, 2, n), np.ones(n)]
    ).astype(float)


def fitted(X, weight=None, most=20, scaling="robust"):
    weight = np.ones(len(X)) if weight is None else weight
    plain = InputMap.fit(X, weight, X.shape[1], scaling)
    return plain, plain.with_ramps(X, weight, most, lambda q: q + 3)


def test_parts_follow_one_another_and_sum_to_their_column(columns):
    ramps = Ramps.learn(columns, np.ones(400), 20)
    assert ramps.columns.tolist() == [0] * 8 + [1] * 3 + [2, 3]
    for j in range(4):
        own = ramps.columns == j
        np.testing.assert_array_equal(ramps.low[own][1:], ramps.high[own][:-1])
        parts = np.clip(columns[:, [j]], ramps.low[own], ramps.high[own])
        total = parts.sum(axis=1) - ramps.low[own][1:].sum()
        np.testing.assert_allclose(total, columns[:, j], rtol=1e-12)


def test_ends_are_quantiles_or_values(columns):
    ramps = Ramps.learn(columns, np.ones(400), 20)
    ends = ramps.high[ramps.columns == 0][:-1]
    np.testing.assert_allclose((columns[:, [0]] <= ends).mean(axis=0), np.arange(1, 8) / 8)
    assert ramps.high[ramps.columns == 1].tolist() == [1, 2, 1e100]


@pytest.mark.parametrize("scaling", ["robust", "standard", None])
def test_every_ramp_rises_and_is_bounded(columns, scaling):
    _, ramped = fitted(columns, scaling=scaling)
    order = np.argsort(columns[:, 0])
    z = ramped.scaled(columns[order])[:, :8]
    assert np.all(np.diff(z, axis=0) >= 0)
    # of two rows that differ, one ramp at least does
    assert np.all(np.diff(z, axis=0).max(axis=1)[np.diff(columns[order, 0]) > 1e-9] > 0)
    far = ramped(np.array([[1e300, 9, 1, 1], [-1e300, -9, 0, 1]]))
    assert np.isfinite(far).all()
    assert np.abs(far).max() <= 3


def test_a_weight_is_a_repetition(columns):
    counts = RNG.integers(1, 4, 400)
    _, once = fitted(columns, counts.astype(float))
    _, often = fitted(np.repeat(columns, counts, axis=0))
    np.testing.assert_allclose(once(columns), often(columns), rtol=1e-12, atol=1e-12)


def test_states_of_scaled_columns_are_those_of_the_columns(columns):
    plain, ramped = fitted(columns)
    z = plain.scaled(columns)
    np.testing.assert_array_equal(ramped.scaled_columns(columns), z)
    np.testing.assert_allclose(ramped.of_scaled(z), ramped(columns), atol=1e-9)
    assert ramped(columns).shape == (400, ramped.n_coordinates + 3)
    assert ramped.n_inputs == 4


def test_derivatives_by_column_are_differences(columns):
    plain, ramped = fitted(columns)
    # rows of the data stand where ramps meet; at the bound all but all of a difference rounds away
    z = plain.scaled(columns[:60] + 0.01)
    z = z[np.abs(z).max(axis=1) < 2.5]
    weights = RNG.standard_normal((len(z), ramped.n_coordinates))

    def value(z):
        return (ramped.of_scaled(z)[:, : ramped.n_coordinates] * weights).sum(axis=1)

    gradient = ramped.by_column(weights, z)
    for j in range(3):
        move = 1e-6 * np.eye(4)[j]
        differences = (value(z + move) - value(z - move)) / 2e-6
        assert relative_error(gradient[:, j], differences) < 1e-4
    assert not gradient[:, 3].any()


@pytest.mark.parametrize(("columns_", "most"), [([2, 3], 20), ([0, 1, 2, 3], 5)])
def test_there_are_none_without_room_or_values(columns, columns_, most):
    assert fitted(columns[:, columns_], most=most)[1] is None


# -- estimators -----------------------------------------------------------------------------------


def steps(n=750):
    """A law of steps in two of four columns."""
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (n, 4))
    y = np.floor(4 * X[:, 0]) * np.where(X[:, 1] > 0.3, 1.0, -0.5)
    return X, y + 0.05 * rng.standard_normal(n)


def test_a_trial_takes_ramps_for_steps_and_not_for_a_smooth_law():
    X, y = steps(400)
    assert ControlledODERegressor(**TRIED).fit(X, y).ensemble_.input_map.ramps is not None
    X, y = make_friedman1(400, n_features=6, noise=0.1, random_state=0)
    assert ControlledODERegressor(**TRIED).fit(X, y).ensemble_.input_map.ramps is None


def test_a_trial_that_declines_leaves_no_trace():
    X, y = make_friedman1(400, n_features=6, noise=0.1, random_state=0)
    tried, never = (ControlledODERegressor(ramps=r, **TRIED).fit(X, y) for r in ("auto", False))
    np.testing.assert_array_equal(tried.predict(X), never.predict(X))


def test_a_trial_that_accepts_gives_what_was_asked_for():
    X, y = steps(400)
    tried, asked = (ControlledODERegressor(ramps=r, **TRIED).fit(X, y) for r in ("auto", True))
    np.testing.assert_array_equal(tried.predict(X), asked.predict(X))
    two = ControlledODERegressor(n_jobs=2, **TRIED).fit(X, y)
    np.testing.assert_array_equal(tried.predict(X), two.predict(X))


def test_classes_in_steps_take_ramps_too():
    X, _ = steps(1500)
    y = (np.floor(3 * X[:, 0]) + np.floor(3 * X[:, 1])) % 2
    model = ControlledODEClassifier(**TRIED).fit(X, y)
    assert model.ensemble_.input_map.ramps is not None


@pytest.mark.parametrize(
    "changed",
    [
        {"vector_fields": "neural"},
        {"n_states": 40},
        {"readout": "linear"},
        {"train_controls": False},
    ],
    ids=str,
)
def test_there_is_no_trial_where_much_is_named(monkeypatch, changed):
    def never(*args):
        raise AssertionError

    monkeypatch.setattr(_supervised, "try_inputs", never)
    X, y = steps(300)
    assert ControlledODERegressor(**SMALL | changed).fit(X, y).ensemble_.input_map.ramps is None


@pytest.mark.parametrize("readout", ["linear", "gaussian_process"])
def test_ramps_that_are_asked_for(readout):
    X, y = steps(200)
    model = ControlledODERegressor(ramps=True, readout=readout, n_states=30, **SMALL).fit(X, y)
    assert model.ensemble_.input_map.n_coordinates == 28
    assert model.trajectory(X[:3]).shape[2] == 30
    assert model.feature_importances_.shape == (4,)
    assert model.feature_importances_[:2].sum() > 0.7
    assert pickle.loads(pickle.dumps(model)).predict(X) == pytest.approx(model.predict(X), abs=0)
    float32 = ControlledODERegressor(ramps=True, readout=readout, **SMALL)
    assert float32.fit(X.astype(np.float32), y).predict(X.astype(np.float32)).dtype == np.float32


def test_ramps_go_to_onnx():
    onnxruntime = pytest.importorskip("onnxruntime")
    from skcode.export import to_onnx

    X, y = steps(300)
    X[:, 2] = np.rint(2 * X[:, 2])
    model = ControlledODERegressor(ramps=True, **SMALL).fit(X, y)
    far = np.vstack([X, 50 * X[:5]])
    session = onnxruntime.InferenceSession(to_onnx(model).SerializeToString())
    exported = session.run(None, {session.get_inputs()[0].name: far})[0].ravel()
    np.testing.assert_allclose(exported, model.predict(far), rtol=1e-6, atol=1e-6)


def test_an_interrupt_of_the_trial_leaves_a_model(monkeypatch):
    def pressed(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(_trial, "_compare", pressed)
    X, y = steps(300)
    model = ControlledODERegressor(**SMALL)
    with pytest.raises(KeyboardInterrupt, match="interrupted"):
        model.fit(X, y)
    assert np.isfinite(model.predict(X)).all()
    assert model.solver_ is not None


def test_a_training_that_goes_on_keeps_its_ramps():
    X, y = steps(200)
    model = ControlledODERegressor(ramps=True, warm_start=True, **SMALL).fit(X, y)
    before = model.ensemble_.input_map
    assert model.fit(X, y).ensemble_.input_map is before
    with pytest.raises(ValueError, match="ramps"):
        model.set_params(ramps=False).fit(X, y)
    model = ControlledODERegressor(ramps=True, **SMALL).fit(X, y)
    with pytest.warns(UserWarning, match="a linear readout takes its place"):
        model.partial_fit(X, y)
    assert model.score(X, y) > 0.5


def test_streams_take_none():
    X, y = steps(100)
    with pytest.raises(ValueError, match="ramps=True"):
        ControlledODERegressor(ramps=True, **SMALL).partial_fit(X, y)


def test_numpy_booleans_ask_too_and_displacements_take_none():
    X, y = steps(60)
    model = ControlledODERegressor(ramps=np.True_, **SMALL).fit(X, y)
    assert model.ensemble_.input_map.ramps is not None
    with pytest.raises(ValueError, match="ramps=True"):
        ControlledODERegressor(ramps=True, readout="displacement", **SMALL).fit(X, y)


@pytest.mark.parametrize("wrong", ["yes", 3, None])
def test_wrong_values(wrong):
    with pytest.raises(ValueError, match="'ramps' parameter"):
        ControlledODERegressor(ramps=wrong).fit(np.eye(5), np.arange(5.0))
