"""Effects of single values: what they are, when they are found, and where they travel."""

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skcode import ControlledODEClassifier, ControlledODERegressor
from skcode.columns import ColumnEncoder, ValueEffect, left_out_effects
from skcode.training import _effects, _trial

ONE = {"n_members": 1, "random_state": 0}
DAYS = 150


def law(n, seed=0, size=1.0):
    """Two numbers, a day, and a number for each day that no smooth function of it tells."""
    rng = np.random.default_rng(seed)
    of_days = np.random.default_rng(7).standard_normal(DAYS) * size
    day = rng.integers(0, DAYS, n)
    X = np.column_stack([rng.uniform(-1, 1, (n, 2)), 17.1 + 0.3 * day])
    return X, np.sin(2 * X[:, 0]) + X[:, 1] + of_days[day] + 0.1 * rng.standard_normal(n)


@pytest.fixture(scope="module")
def days():
    """The law, and a model of it."""
    X, y = law(600)
    return X, y, ControlledODERegressor(**ONE).fit(X, y)


# -- what they are -------------------------------------------------------------------------------


def test_an_effect_is_the_best_linear_prediction_of_a_random_effect():
    rng = np.random.default_rng(0)
    n_values, n_rows = 400, 6
    of_values = 0.5 * rng.standard_normal(n_values)
    x = np.repeat(np.arange(n_values, dtype=float), n_rows)
    residuals = np.repeat(of_values, n_rows) + rng.standard_normal(len(x))
    effect = ValueEffect.learn("x", 0, x, residuals[:, None], np.ones(len(x)))
    shrunk = residuals.reshape(n_values, -1).sum(axis=1) / (n_rows + 1 / 0.5**2)
    # but for the variances, which are estimated
    np.testing.assert_allclose(effect.table[:, 0], shrunk, atol=0.1)
    error = np.mean((effect.table[:, 0] - of_values) ** 2)
    assert error < np.mean((residuals.reshape(n_values, -1).mean(axis=1) - of_values) ** 2)


def test_a_row_does_not_see_its_own_residual():
    rng = np.random.default_rng(0)
    x, residuals = rng.integers(0, 30, 200).astype(float), rng.standard_normal((200, 2))
    before = left_out_effects(x, residuals, np.ones(200))
    residuals[13] += 100
    after = left_out_effects(x, residuals, np.ones(200))
    np.testing.assert_array_equal(after[13], before[13])
    assert not np.allclose(after[x == x[13]], before[x == x[13]])


def test_what_is_missing_or_new_has_no_effect():
    x = np.array([1.0, 2.0, 3.0, np.nan] * 5)
    residuals = np.array([1.0, -1.0, 0.0, 9.0] * 5)[:, None]
    effect = ValueEffect.learn("x", 0, x, residuals, np.ones(20))
    assert effect.values.tolist() == [1, 2, 3]
    others = np.array([[np.nan], [2.5], [np.inf], [2.0]])
    np.testing.assert_array_equal(effect.encode(others)[:3], 0)
    # gaps were there in the fit, with the effect zero
    assert effect.is_new(others).tolist() == [False, True, True, False]
    known = ~np.isnan(x)
    without = ValueEffect.learn("x", 0, x[known], residuals[known], np.ones(15))
    assert without.is_new(others).tolist() == [True, True, True, False]
    x, residuals = np.tile([*range(30), np.nan], 3), np.ones((93, 1))
    np.testing.assert_array_equal(left_out_effects(x, residuals, np.ones(93))[30::31], 0)
    all_missing = np.full(20, np.nan)
    assert left_out_effects(all_missing, np.ones((20, 1)), np.ones(20)) is None


@pytest.mark.parametrize("x", [np.arange(90.0), np.arange(90) % 20.0], ids=["none again", "few"])
def test_columns_of_few_values_or_of_one_for_each_row_have_none(x):
    assert left_out_effects(x, np.ones((90, 1)), np.ones(90)) is None


def test_the_encoder_says_where_effects_stand():
    values, table = np.array([1.0, 2.0], np.float32), np.array([[3.0, 4], [5, 6]])
    effect = ValueEffect("b", 1, values, table, np.array([0.5, 0.0]))
    encoder = ColumnEncoder(("a", "b"), medians=np.zeros(2)).with_effects((effect,))
    X = np.array([[7.0, 2.0], [8.0, 9.0]])
    np.testing.assert_array_equal(encoder.encode(X), [[7, 2, 5, 6], [8, 9, 0, 0]])
    assert encoder.get_feature_names_out().tolist() == ["a", "b", "b effect 0", "b effect 1"]
    np.testing.assert_allclose(encoder.by_column(np.array([3.0, 0, 0, 4])), [3 / 7, 4 / 7])
    np.testing.assert_array_equal(encoder.variance(X), [[0, 0], [0.5, 0]])


# -- when they are found -------------------------------------------------------------------------


def test_effects_of_days_are_found_and_help(days):
    X, y, model = days
    (effect,) = model.encoder_.effects
    assert (effect.name, effect.column) == ("x2", 2)
    np.testing.assert_array_equal(effect.values, np.unique(X[:, 2]).astype(np.float32))
    X_test, y_test = law(500, seed=1)
    without = ControlledODERegressor(value_effects=False, **ONE).fit(X, y)
    assert without.encoder_.effects == ()
    assert 1 - model.score(X_test, y_test) < 0.5 * (1 - without.score(X_test, y_test))
    assert model.feature_importances_.shape == (3,)
    assert model.feature_importances_.sum() == pytest.approx(1)
    assert model.feature_importances_[2] > without.feature_importances_[2]


@pytest.mark.parametrize("n_outputs", [1, 5])
def test_intervals_of_new_values_are_wider(n_outputs):
    X, y = law(600)
    y = 100 * y
    known = X[:, 2] < np.median(X[:, 2])
    # the other outputs are the same with more noise
    noise = np.random.default_rng(0).standard_normal((600, n_outputs)) * np.arange(n_outputs)
    targets = y[:, None] + 10 * noise
    targets = targets[:, 0] if n_outputs == 1 else targets
    model = ControlledODERegressor(**ONE).fit(X[known], targets[known])
    assert [effect.column for effect in model.encoder_.effects] == [2]
    mean, std = model.predict(X[~known], return_std=True)
    # new days: nobody knows what they have in common, but how much days differ
    covers = (np.abs(targets[~known] - mean) < 1.645 * std).reshape(-1, n_outputs).mean(axis=0)
    assert covers.min() > 0.75
    assert model.predict(X[known], return_std=True)[1].mean() < 0.8 * std.mean()


@pytest.mark.parametrize("seed", range(4))
def test_smooth_laws_and_noise_have_none(seed):
    X, y = law(300, seed=seed, size=0.0)
    rng = np.random.default_rng(seed)
    smooth = np.sin(X[:, 2])
    for targets in (y, y + smooth, rng.standard_normal(300), rng.standard_cauchy(300)):
        assert ControlledODERegressor(**ONE).fit(X, targets).encoder_.effects == ()


def test_classes_have_effects_too():
    X, y = law(900, size=2.0)
    two = ControlledODEClassifier(**ONE).fit(X, y > 0)
    assert [effect.column for effect in two.encoder_.effects] == [2]
    X_test, y_test = law(500, seed=1, size=2.0)
    without = ControlledODEClassifier(value_effects=False, **ONE).fit(X, y > 0)
    assert two.score(X_test, y_test > 0) > without.score(X_test, y_test > 0)
    five = ControlledODEClassifier(**ONE).fit(X, np.digitize(y, [-2, -1, 0, 1]))
    (effect,) = five.encoder_.effects
    # of more classes than three, directions
    assert effect.table.shape == (len(effect.values), 3)
    assert effect.labels == ["x2 effect 0", "x2 effect 1", "x2 effect 2"]


def test_several_outputs_share_the_columns():
    X, y = law(400)
    model = ControlledODERegressor(**ONE).fit(X, np.column_stack([y, X[:, 0]]))
    (effect,) = model.encoder_.effects
    assert effect.table.shape == (len(effect.values), 2)
    assert np.abs(effect.table[:, 1]).max() < 0.2 * np.abs(effect.table[:, 0]).max()


def test_the_most_telling_column_comes_first_and_the_next_has_what_it_leaves():
    rng = np.random.default_rng(3)
    codes = rng.integers(0, 120, (900, 2))
    strong, weak = rng.standard_normal(120), 0.5 * rng.standard_normal(120)
    X = np.column_stack([rng.uniform(-1, 1, 900), codes])
    y = X[:, 0] + strong[codes[:, 1]] + weak[codes[:, 0]] + 0.1 * rng.standard_normal(900)
    effects = ControlledODERegressor(**ONE).fit(X, y).encoder_.effects
    assert [effect.column for effect in effects] == [2, 1]


def test_frames_with_gaps_categories_and_dates():
    X, y = law(600)
    day = np.rint((X[:, 2] - 17.1) / 0.3).astype(int)
    frame = pd.DataFrame({"a": X[:, 0], "b": X[:, 1]})
    frame.loc[::7, "a"] = np.nan
    frame["day"] = pd.date_range("2010-01-01", periods=DAYS, freq="MS")[day]
    model = ControlledODERegressor(**ONE).fit(frame, y)
    (effect,) = model.encoder_.effects
    assert effect.name == "day"
    assert model.encoder_.get_feature_names_out()[-1] == "day effect"
    assert model.feature_importances_.shape == (3,)
    assert model.predict(frame[:1]).shape == (1,)


def test_many_rows_are_predicted_by_some_of_them(monkeypatch):
    X, y = law(900)
    monkeypatch.setattr(_trial, "_MOST_ROWS", 300)
    found = ControlledODERegressor(**ONE).fit(X, y).encoder_.effects
    assert [effect.column for effect in found] == [2]
    # rows that made no effects have those of the others
    monkeypatch.setattr(_effects, "_MOST_ROWS", 600)
    fewer = ControlledODERegressor(**ONE).fit(X, y)
    assert [effect.column for effect in fewer.encoder_.effects] == [2]
    X_test, y_test = law(500, seed=1)
    assert fewer.score(X_test, y_test) > 0.95
    monkeypatch.setattr(_effects, "_MOST_TABLE_ROWS", 800)
    assert ControlledODERegressor(**ONE).fit(X, y).encoder_.effects == ()


def test_probabilities_of_new_values_are_not_too_sure():
    X, y = law(900, size=2.0)
    days = np.unique(X[:, 2])
    new = np.isin(X[:, 2], np.random.default_rng(0).permutation(days)[:50])
    model = ControlledODEClassifier(**ONE).fit(X[~new], y[~new] > 0)
    assert len(model.encoder_.effects) == 1
    p = model.predict_proba(X[new])[:, 1]
    # as if the effect were known, and zero
    sure = model._target.mean_probabilities(
        model.ensemble_.scores(model.encoder_.encode(X[new]), None)
    )[:, 1]
    assert log_loss(y[new] > 0, p) < 0.8 * log_loss(y[new] > 0, sure)
    np.testing.assert_array_equal(model.predict(X[new]), p > 0.5)
    np.testing.assert_array_equal(model.predict(X[new]), model.decision_function(X[new]) > 0)
    # rows of known values are what they are beside any others
    both = np.vstack([X[new][:3], X[~new][:3]])
    known = model.predict_proba(X[~new][:3])
    np.testing.assert_allclose(model.predict_proba(both)[3:], known, rtol=1e-12)
    onnx = pytest.importorskip("onnx")
    assert onnx
    from skcode.export import to_onnx

    with pytest.raises(TypeError, match="value_effects=False"):
        to_onnx(model)


# -- where they travel ---------------------------------------------------------------------------


def test_float_types_order_of_rows_and_workers_change_nothing(days):
    X, y, model = days
    order = np.random.default_rng(0).permutation(len(X))
    shuffled = ControlledODERegressor(n_jobs=2, **ONE).fit(X[order], y[order])
    np.testing.assert_array_equal(shuffled.predict(X), model.predict(X))
    # 17.1 + 0.3 day has other digits in single precision
    single = model.predict(X.astype(np.float32))
    np.testing.assert_allclose(single, model.predict(X), atol=1e-4)
    model = ControlledODERegressor(**ONE).fit(X.astype(np.float32), y)
    assert [effect.column for effect in model.encoder_.effects] == [2]
    assert model.predict(X.astype(np.float32)).dtype == np.float32
    np.testing.assert_allclose(model.predict(X), model.predict(X.astype(np.float32)), atol=1e-3)


def test_whole_weights_repeat_rows():
    X, y = law(300)
    weight = np.random.default_rng(0).integers(1, 4, 300)
    weighted = ControlledODERegressor(**ONE).fit(X, y, sample_weight=weight)
    repeated = ControlledODERegressor(**ONE).fit(np.repeat(X, weight, 0), np.repeat(y, weight))
    assert [effect.column for effect in weighted.encoder_.effects] == [2]
    np.testing.assert_array_equal(weighted.predict(X), repeated.predict(X))


def test_effects_are_pickled_and_go_into_a_search(days):
    X, y, model = days
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(X), model.predict(X))
    pipeline = make_pipeline(StandardScaler(), ControlledODERegressor(**ONE))
    grid = {"controlledoderegressor__value_effects": [False, True]}
    search = GridSearchCV(pipeline, grid, cv=3).fit(X, y)
    assert search.best_params_ == {"controlledoderegressor__value_effects": True}


@pytest.mark.parametrize("gaps", [False, True])
def test_effects_go_to_onnx(gaps):
    onnxruntime = pytest.importorskip("onnxruntime")
    from skcode.export import to_onnx

    X, y = law(400)
    if gaps:
        X[::9, 2] = X[1::9, 0] = np.nan
    model = ControlledODERegressor(**ONE).fit(X, y)
    assert len(model.encoder_.effects) == 1
    rows = np.vstack([X, X[:20] + 0.01])
    session = onnxruntime.InferenceSession(to_onnx(model).SerializeToString())
    exported = session.run(None, {session.get_inputs()[0].name: rows})[0].ravel()
    np.testing.assert_allclose(exported, model.predict(rows), rtol=1e-6, atol=1e-6)


def test_a_training_that_goes_on_keeps_its_effects():
    X, y = law(400)
    model = ControlledODERegressor(warm_start=True, **ONE).fit(X, y)
    before = model.encoder_.effects
    X_test, y_test = law(500, seed=1)
    assert model.fit(X, y).encoder_.effects == before
    assert model.score(X_test, y_test) > 0.9
    with pytest.raises(ValueError, match="value_effects"):
        model.set_params(value_effects=False).fit(X, y)
    model = ControlledODERegressor(**ONE).fit(X, y)
    with pytest.warns(UserWarning, match="a linear readout takes its place"):
        model.partial_fit(X, y)
    assert model.score(X_test, y_test) > 0.5


def test_a_validation_set_has_them_too():
    X, y = law(400)
    model = ControlledODERegressor(readout="gaussian_process", **ONE)
    model.fit(X, y, X_val=X[:50], y_val=y[:50])
    assert model.score(X, y) > 0.9


def test_a_fit_that_fails_leaves_the_effects_of_the_last(days, monkeypatch):
    X, y, _ = days
    model = ControlledODERegressor(**ONE).fit(X, y)
    before = model.predict(X)

    def failing(*args, **kwargs):
        raise RuntimeError("in the middle")

    monkeypatch.setattr("skcode.estimators._supervised.draw_for_heads", failing)
    with pytest.raises(RuntimeError, match="in the middle"):
        model.fit(X[:300], y[:300])
    np.testing.assert_array_equal(model.predict(X), before)


@pytest.mark.parametrize("wrong", ["auto", 3, None])
def test_wrong_values(wrong):
    with pytest.raises(ValueError, match="'value_effects' parameter"):
        ControlledODERegressor(value_effects=wrong).fit(np.eye(5), np.arange(5.0))
