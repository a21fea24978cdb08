"""Streams of batches whose first rows tell little: one row, constant targets, constant columns."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.metrics import d2_tweedie_score

from skcode import ControlledODEClassifier, ControlledODERegressor
from skcode.solvers import SGD, Adam


def regressor(**options):
    options = {"solver": "adam", "n_members": 1, "random_state": 0, **options}
    return ControlledODERegressor(**options)


#: a solver that all but stands still, so that what else moves predictions shows
STILL = {"solver": SGD(learning_rate_init=1e-12), "alpha": 0.0}


@pytest.fixture(scope="module")
def linear():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((1000, 3))
    return X, X[:, 0] + 0.1 * rng.standard_normal(1000)


def stream(model, X, y, first, size=50, passes=1, **options):
    model.partial_fit(X[:first], y[:first], **options)
    for _ in range(passes):
        for start in range(first, len(X), size):
            model.partial_fit(X[start : start + size], y[start : start + size])
    return model


def test_after_a_fit_with_a_process_a_linear_readout_begins_with_the_batch(linear):
    X, y = linear
    model = ControlledODERegressor(n_members=1, random_state=0).fit(X[:300], y[:300])
    with pytest.warns(UserWarning, match="a linear readout takes its place"):
        model.partial_fit(X[300:400], y[300:400])
    assert model.score(X[400:], y[400:]) > 0.9
    assert model.readout_ == "linear"


@pytest.mark.parametrize("first", [1, 50, 200])
def test_a_small_first_batch_does_not_decide(linear, first):
    X, y = linear
    assert stream(regressor(), X, y, first, passes=3).score(X, y) > 0.97


@pytest.mark.parametrize("constant", [50, 300, 1100])
def test_a_target_that_is_constant_at_first_is_learnt_later(linear, constant):
    X, y = linear
    first = np.random.default_rng(1).standard_normal((constant, 3))
    model = stream(regressor(n_fields=16), first, np.zeros(constant), 50, 350)
    np.testing.assert_allclose(model.predict(X), 0.0)
    stream(model, X, y, 50, passes=4)
    # a thousand rows are as many as are held: from there on its scale follows
    assert model.score(X, y) > 0.9


@pytest.mark.parametrize("scaling", ["robust", "standard"])
def test_a_column_that_is_constant_at_first_is_read_when_it_varies(linear, scaling):
    X, y = linear
    late = X.copy()
    late[:200, 0] = 5.0
    model = regressor(scaling=scaling)
    model.partial_fit(late[:100], y[:100]).partial_fit(late[100:200], y[100:200])
    # what it said of the value that the column held, it says after the column has got a scale
    model.set_params(**STILL)
    before = model.predict(late[:200])
    model.partial_fit(late[200:250], y[200:250])
    y_scale = model.ensemble_.target.scale
    np.testing.assert_allclose(model.predict(late[:200]), before, atol=1e-6 * y_scale[0])
    model.set_params(solver="adam")
    for _ in range(8):
        stream(model, late[250:], y[250:], 50)
    assert model.score(late[250:], y[250:]) > 0.9


def test_a_late_scale_does_not_depend_on_the_batches(linear):
    X, y = linear
    late = X.copy()
    late[:100, 0] = 5.0
    gains = []
    for size in (5, 30):
        model = stream(regressor(**STILL), late[:160], y[:160], 100, size)
        gains.append(model.ensemble_.input_map.gain)
    np.testing.assert_allclose(*gains, rtol=1e-12)
    assert gains[0][0] > 0


def test_predictions_do_not_jump_when_the_scale_follows(linear):
    X, y = linear
    Y = np.column_stack([y, 3 - y])
    model = regressor().partial_fit(X[:200], Y[:200])
    model.set_params(**STILL)
    before, scale = model.predict(X), model.ensemble_.target.scale
    model.partial_fit(X[200:300], 100 + 50 * Y[200:300])
    assert np.all(model.ensemble_.target.scale > 10 * scale)
    np.testing.assert_allclose(model.predict(X), before, atol=1e-5)


def test_scales_end_the_same_in_batches_of_any_size(linear):
    X, y = linear
    y = 100 + y * np.linspace(0.1, 3, len(y))
    weight = np.random.default_rng(1).uniform(0.5, 2.0, len(y))
    whole = regressor().partial_fit(X, y, sample_weight=weight).ensemble_.target
    for size in (10, 64, 300):
        model = regressor(n_fields=4)
        for start in range(0, len(X), size):
            part = slice(start, start + size)
            model.partial_fit(X[part], y[part], sample_weight=weight[part])
        target = model.ensemble_.target
        np.testing.assert_allclose(target.mean, whole.mean, rtol=1e-12)
        np.testing.assert_allclose(target.scale, whole.scale, rtol=1e-10)
        assert target.reach == pytest.approx(whole.reach)


def test_the_first_rows_give_one_model_however_they_are_cut(linear):
    X, y = linear
    whole = regressor().partial_fit(X[:60], y[:60])
    parts = stream(regressor(), X[:60], y[:60], 10, 10)
    np.testing.assert_array_equal(parts.predict(X), whole.predict(X))
    # the curves tell of all calls all the same
    assert (len(parts.loss_curve_), parts.n_iter_) == (6, 6)
    assert parts.loss_curve_[-1] == whole.loss_curve_[-1]


def test_few_rows_that_come_again_are_trained_on(linear):
    X, y = linear
    model = stream(regressor(), X[:30], y[:30], 10, 10)
    fields, first = model.vector_fields_, model.score(X, y)
    for _ in range(100):
        model.partial_fit(X[:30], y[:30])
    assert model.vector_fields_ is fields
    assert model.loss_ < model.loss_curve_[3]
    assert model.score(X, y) > min(first, 0.9)


def test_a_first_batch_of_one_class():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((600, 3))
    y = (X[:, 0] > 0).astype(int)
    order = np.argsort(y[:100], kind="stable")
    X[:100], y[:100] = X[order], y[order]
    model = ControlledODEClassifier(solver="adam", n_members=1, random_state=0)
    stream(model, X, y, 10, classes=[0, 1])
    assert model.score(X, y) > 0.9


def test_counts_without_an_event_at_first(linear):
    X = linear[0]
    y = np.random.default_rng(0).poisson(np.exp(X[:, 0])) * 1.0
    y[:100] = 0
    model = regressor(loss="poisson", solver=Adam(batch_size=10))
    stream(model, X, y, 50, passes=3)
    assert model.predict(X).min() > 0
    assert d2_tweedie_score(y[100:], model.predict(X[100:]), power=1) > 0.2


def test_what_cannot_follow_is_told(linear):
    X, y = linear
    # a projection, which many columns take, does not read what was constant at first
    wide = np.random.default_rng(0).standard_normal((120, 150))
    wide[:100, 7] = 1.0
    model = regressor(n_fields=2).partial_fit(wide[:100], y[:100])
    with pytest.warns(UserWarning, match=r"Columns \[7\] of X were constant") as told:
        model.partial_fit(wide[100:], y[100:120])
    assert told[0].filename == __file__
    # the displacement readout has no intercept, and holds rows until the target varies
    X = np.random.default_rng(0).standard_normal((1100, 2))
    model = regressor(n_fields=4, readout="displacement").partial_fit(X[:1000], np.ones(1000))
    with pytest.warns(UserWarning, match="y has held one value in the first 1100 rows") as told:
        model.partial_fit(X[1000:], np.ones(100))
    assert told[0].filename == __file__
    # a fit keeps the scales that it took
    model = regressor(n_fields=4).fit(X[:100], np.ones(100))
    with pytest.warns(UserWarning, match="y was constant when the model was drawn") as told:
        model.partial_fit(X[100:200], X[100:200, 0])
    assert told[0].filename == __file__


def test_a_displacement_waits_for_a_target_that_varies(linear):
    X, y = linear
    late = np.where(np.arange(len(y)) < 200, 0.0, y)
    model = regressor(readout="displacement", vector_fields="neural", n_states=6)
    stream(model, X, late, 50, passes=2)
    assert model.ensemble_.target.scale > 0
    assert model.score(X[200:], y[200:]) > 0.2


def test_other_targets_are_refused_while_rows_are_held(linear):
    X, y = linear
    model = regressor().partial_fit(X[:10], y[:10])
    before = model.predict(X)
    with pytest.raises(ValueError, match="outputs"):
        model.partial_fit(X[10:20], np.ones((10, 2)))
    with pytest.raises(ValueError, match="features"):
        model.partial_fit(X[10:20, :2], y[10:20])
    np.testing.assert_array_equal(model.predict(X), before)
    # a column of targets is the same as their vector
    model.partial_fit(X[10:20], y[10:20, None])
    assert model.predict(X).ndim == 1


def test_tables_and_sparse_rows_may_begin_with_few_rows():
    pd = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.standard_normal(400), "b": rng.choice(["x", "y"], 400)})
    frame.loc[150::7, "a"] = np.nan
    y = frame["a"].fillna(2.0) + (frame["b"] == "x")
    model = regressor(solver=Adam(batch_size=10))
    for _ in range(4):
        for start in range(0, 400, 20):
            part = slice(start, start + 20)
            model.partial_fit(frame.iloc[part], y.iloc[part])
    known = frame["a"].notna()
    assert model.score(frame[known], y[known]) > 0.8
    X = sparse.random(200, 20, 0.3, format="csr", random_state=0)
    y = np.asarray(X.sum(axis=1)).ravel()
    model = regressor(n_fields=8)
    for start in range(0, 200, 20):
        model.partial_fit(X[start : start + 20], y[start : start + 20])
    assert model.score(X, y) > 0.5
