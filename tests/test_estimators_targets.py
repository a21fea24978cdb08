"""Targets, labels, weights and dtypes: what goes in, and what comes out."""

import pickle

import numpy as np
import pytest
from scipy.linalg import lstsq
from sklearn.datasets import load_iris, make_friedman1, make_multilabel_classification
from sklearn.metrics import r2_score

from skcode import ControlledODEClassifier, ControlledODERegressor, ControlledODETransformer
from skcode.fields import LinearFields
from skcode.solvers import LBFGS

SOLVERS = ["gauss-newton", "lbfgs", "sgd", "adam"]
SMALL = {"n_members": 1, "n_fields": 6, "n_states": 8, "max_iter": 6, "random_state": 0}
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def regressor(**kwargs):
    return ControlledODERegressor(**{**SMALL, **kwargs})


def classifier(**kwargs):
    return ControlledODEClassifier(**{**SMALL, **kwargs})


def regression(n=70, n_outputs=1, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, 3))
    Y = np.column_stack([np.sin(X[:, 0]) + X[:, 1] * X[:, 2], 100 * X[:, 2], X[:, 0] ** 2])
    return X, Y[:, 0] if n_outputs == 1 else Y[:, :n_outputs]


def transformer(**kwargs):
    return ControlledODETransformer(
        **{name: value for name, value in {**SMALL, **kwargs}.items() if name != "n_members"}
    )


def blobs(n_classes=3, n=90, seed=0):
    rng = np.random.default_rng(seed)
    codes = np.arange(n) % n_classes
    centres = 3 * np.eye(3)[:n_classes]
    return centres[codes] + 0.7 * rng.standard_normal((n, 3)), codes


# -- shapes and labels ---------------------------------------------------------------------------


@pytest.mark.parametrize("n_members", [1, 3])
@pytest.mark.parametrize("solver", SOLVERS)
def test_multi_output_regression(solver, n_members):
    X, Y = regression(n_outputs=3)
    model = regressor(solver=solver, n_members=n_members, readout="linear").fit(X, Y)
    lead = () if n_members == 1 else (n_members,)
    assert model.predict(X).shape == Y.shape
    assert model.controls_.shape == (*lead, 2, 6 + 3)
    assert model.readout_coef_.shape == (*lead, 3, 8)
    assert model.readout_intercept_.shape == (*lead, 3)
    assert model.n_parameters_ == n_members * (2 * 9 + 3 * 9)


def test_a_column_of_targets_stays_a_column():
    X, y = regression()
    flat, column = regressor().fit(X, y), regressor().fit(X, y[:, None])
    assert column.predict(X).shape == (70, 1)
    np.testing.assert_array_equal(column.predict(X)[:, 0], flat.predict(X))


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("n_members", [1, 2])
def test_string_labels(solver, n_classes, n_members):
    X, codes = blobs(n_classes)
    names = np.array(["zebra", "ape", "gnu"])[codes]
    model = classifier(solver=solver, n_members=n_members, max_iter=40).fit(X, names)
    assert model.classes_.tolist() == sorted(set(names))
    assert model.score(X, names) > 0.85
    proba = model.predict_proba(X)
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-12)
    np.testing.assert_array_equal(model.predict(X), model.classes_[proba.argmax(axis=1)])
    np.testing.assert_allclose(model.predict_log_proba(X), np.log(proba))
    decision = model.decision_function(X)
    assert decision.shape == ((90,) if n_classes == 2 else (90, 3))
    order = decision > 0 if n_classes == 2 else decision.argmax(axis=1)
    np.testing.assert_array_equal(model.predict(X), model.classes_[order.astype(int)])


@pytest.mark.parametrize("labels", [[False, True], [-1, 1], [0.0, 1.0], [7, 10**12]])
def test_labels_of_other_types(labels):
    X, codes = blobs(2)
    y = np.array(labels)[codes]
    model = classifier().fit(X, y)
    assert model.predict(X).dtype == y.dtype
    assert model.score(X, y) > 0.85


def test_object_labels():
    X, codes = blobs(3)
    y = np.array(["a", "b", "c"], dtype=object)[codes]
    assert classifier().fit(X, y).predict(X[:5]).dtype == object


@pytest.mark.parametrize("n_members", [1, 3])
@pytest.mark.parametrize("solver", SOLVERS)
def test_multilabel(solver, n_members):
    X, Y = make_multilabel_classification(90, 4, n_classes=3, random_state=0)
    model = classifier(solver=solver, n_members=n_members, max_iter=30).fit(X, Y)
    proba = model.predict_proba(X)
    assert proba.shape == model.decision_function(X).shape == (90, 3)
    np.testing.assert_array_equal(model.predict(X), (proba > 0.5).astype(int))
    np.testing.assert_array_equal(model.predict(X), (model.decision_function(X) > 0).astype(int))
    assert model.score(X, Y) > 0.3


def test_multilabel_with_empty_and_full_labels():
    X, Y = make_multilabel_classification(60, 4, n_classes=2, random_state=0)
    Y = np.column_stack([Y, np.zeros(60, int), np.ones(60, int)])
    predicted = classifier().fit(X, Y).predict(X)
    np.testing.assert_array_equal(predicted[:, 2:], Y[:, 2:])


def test_the_transformer_reads_the_kind_of_target():
    X, codes = blobs(3)
    names = np.array(["u", "v", "w"])[codes]
    by_class = transformer().fit(X, names)
    assert by_class.readout_coef_.shape == (3, 8)
    np.testing.assert_array_equal(
        by_class.controls_, classifier(readout="linear").fit(X, names).controls_
    )
    target = X[:, 0] * X[:, 1]
    by_value = transformer().fit(X, target)
    np.testing.assert_array_equal(
        by_value.controls_, regressor(readout="linear").fit(X, target).controls_
    )
    assert by_value.transform(X).shape == (90, 8)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_transformer_reads_a_column_of_labels(n_classes):
    X = np.random.default_rng(0).standard_normal((30, 2))
    y = np.arange(30) % n_classes
    flat, column = (
        ControlledODETransformer(max_iter=2, random_state=0).fit_transform(X, target)
        for target in (y, y[:, None])
    )
    np.testing.assert_array_equal(flat, column)


def test_the_last_state_of_the_trajectory_is_what_is_read_out():
    X, y = regression()
    model = regressor(n_members=2, integrator="rk4", readout="linear").fit(X, y)
    path = model.trajectory(X, member=1)
    assert path.shape == (3, 70, 8)
    scores = path[-1] @ model.readout_coef_[1].T + model.readout_intercept_[1]
    alone = model.ensemble_.target.decode(scores)
    other = model.trajectory(X)[-1] @ model.readout_coef_[0].T + model.readout_intercept_[0]
    both = 0.5 * (alone + model.ensemble_.target.decode(other))
    np.testing.assert_allclose(model.predict(X), both, rtol=1e-10, atol=1e-10)


def test_columns_of_controls_are_labelled():
    X, y = regression()
    model = ControlledODERegressor(n_fields=5, n_members=1, max_iter=1).fit(X, y)
    labels = model.vector_fields_.labels
    assert labels == [f"diagonal[{j}]" for j in range(3)] + [f"neural[{i}]" for i in range(5)]
    assert model.controls_.shape == (2, len(labels))
    ensemble = ControlledODERegressor(n_fields=5, n_members=3, max_iter=1).fit(X, y)
    assert [fields.labels for fields in ensemble.vector_fields_] == 3 * [labels]


# -- the displacement readout --------------------------------------------------------------------


@pytest.mark.parametrize("n_members", [1, 2])
@pytest.mark.parametrize("solver", SOLVERS)
def test_displacement_trains_one_number_beside_the_controls(solver, n_members):
    X, Y = regression(n_outputs=2)
    model = regressor(
        solver=solver, vector_fields="neural", readout="displacement", n_members=n_members
    ).fit(X, Y)
    assert model.n_parameters_ == n_members * (2 * 6 + 1)
    assert np.shape(model.scale_) == (() if n_members == 1 else (n_members,))
    assert not hasattr(model, "readout_coef_")
    assert model.predict(X).shape == Y.shape
    if n_members == 1:
        path = model.trajectory(X)
        scores = model.scale_ * (path[-1] - path[0])[:, :2]
        np.testing.assert_allclose(
            model.predict(X), model.ensemble_.target.decode(scores), rtol=1e-10
        )


def test_displacement_learns():
    X, y = regression(200)
    model = ControlledODERegressor(
        "neural", n_fields=24, readout="displacement", n_members=1, n_states=6, random_state=0
    )
    assert model.fit(X, y).score(X, y) > 0.8
    X, codes = blobs(3)
    model = ControlledODEClassifier(
        "neural", n_fields=24, readout="displacement", n_members=1, random_state=0
    )
    assert model.fit(X, codes).score(X, codes) > 0.85


def test_displacement_needs_a_state_for_each_output():
    X, Y = regression(n_outputs=3)
    with pytest.raises(ValueError, match="3 outputs need n_states >= 3; got n_states=2"):
        regressor(n_states=2, readout="displacement").fit(X[:, :2], Y)


# -- weights -------------------------------------------------------------------------------------


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("scaling", ["robust", "standard", None])
def test_integer_weights_are_repetition_to_the_bit(solver, early_stopping, scaling):
    kwargs = {"solver": solver, "early_stopping": early_stopping, "scaling": scaling}
    weight = np.arange(70) % 4
    X, y = regression()
    weighted = regressor(**kwargs).fit(X, y, sample_weight=weight)
    repeated = regressor(**kwargs).fit(np.repeat(X, weight, axis=0), np.repeat(y, weight))
    np.testing.assert_array_equal(weighted.predict(X), repeated.predict(X))
    X, codes = blobs(3, n=70)
    weighted = classifier(**kwargs).fit(X, codes, sample_weight=weight)
    repeated = classifier(**kwargs).fit(np.repeat(X, weight, axis=0), np.repeat(codes, weight))
    np.testing.assert_array_equal(weighted.predict_proba(X), repeated.predict_proba(X))


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("weights", [False, True])
def test_the_order_of_rows_does_not_matter_to_the_bit(solver, weights):
    rng = np.random.default_rng(0)
    order = rng.permutation(70)
    weight = rng.uniform(0.1, 3, 70) if weights else np.ones(70)
    X, Y = regression(n_outputs=3)
    first = regressor(solver=solver).fit(X, Y, weight).predict(X)
    second = regressor(solver=solver).fit(X[order], Y[order], weight[order]).predict(X)
    np.testing.assert_array_equal(first, second)
    X, codes = blobs(3, n=70)
    model = classifier(solver=solver, class_weight="balanced", early_stopping=True)
    first = model.fit(X, codes, weight).predict_proba(X)
    second = model.fit(X[order], codes[order], weight[order]).predict_proba(X)
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("y", [None, "controls frozen"])
def test_the_random_transformer_respects_weights(y):
    X, target = regression()
    weight = np.arange(70) % 4
    model = transformer(train_controls=y is None)
    targets = (None, None) if y is None else (target, np.repeat(target, weight))
    weighted = model.fit(X, targets[0], sample_weight=weight).transform(X)
    repeated = model.fit(np.repeat(X, weight, axis=0), targets[1]).transform(X)
    np.testing.assert_array_equal(weighted, repeated)


def test_weights_of_any_scale_are_sound():
    X, y = regression()
    plain = regressor().fit(X, y).predict(X)
    for factor in (1e-300, 1e-12, 1 / 70, 0.5):
        scaled = regressor().fit(X, y, sample_weight=np.full(70, factor)).predict(X)
        # the search for hyper-parameters makes more of what rounding leaves
        np.testing.assert_allclose(scaled, plain, rtol=1e-4, atol=1e-5)
    for factor in (1e3, 1e12, 1e300):
        scaled = regressor().fit(X, y, sample_weight=np.full(70, factor))
        assert scaled.score(X, y) > 0.5


def test_zero_weights_forget_rows_and_heavy_ones_win():
    X, y = regression()
    weight = np.r_[np.ones(50), np.zeros(20)]
    wrong = np.r_[y[:50], np.full(20, 1e9)]
    np.testing.assert_array_equal(
        regressor().fit(X, wrong, sample_weight=weight).predict(X),
        regressor().fit(X[:50], y[:50]).predict(X),
    )
    constant = regressor().fit(X, np.r_[y[:-1], 50.0], sample_weight=np.r_[np.ones(69), 1e9])
    assert abs(constant.predict(X[-1:])[0] - 50) < 1


# -- class weights -------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", SOLVERS)
def test_balanced_classes_are_those_of_weights(solver):
    X, codes = blobs(3)
    kept = np.r_[np.flatnonzero(codes > 0), np.flatnonzero(codes == 0)[:5]]
    X, codes = X[kept], codes[kept]
    counts = np.bincount(codes)
    factors = len(codes) / (3 * counts)
    explicit = classifier(solver=solver).fit(X, codes, sample_weight=factors[codes])
    for class_weight in ("balanced", dict(enumerate(factors))):
        model = classifier(solver=solver, class_weight=class_weight).fit(X, codes)
        np.testing.assert_allclose(
            model.predict_proba(X), explicit.predict_proba(X), rtol=1e-8, atol=1e-10
        )


def test_class_weights_shift_the_decision():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((200, 2)), np.array(["no", "yes"])[np.arange(200) % 2]
    shares = [
        np.mean(classifier(class_weight={"yes": w}).fit(X, y).predict(X) == "yes")
        for w in (0.1, 10.0)
    ]
    assert shares[0] < 0.1 < 0.9 < shares[1]


@pytest.mark.parametrize(
    ("class_weight", "message"),
    [
        ({9: 2.0}, "class_weight.*9"),
        ({9: 2.0, "x": 1.0}, "class_weight.*9"),
        ({0: -1.0}, "class_weight"),
        ({0: np.nan}, "class_weight"),
        ({0: np.inf}, "class_weight"),
        ({0: "heavy"}, "class_weight"),
        ("uniform", "class_weight"),
    ],
)
def test_bad_class_weights_are_named(class_weight, message):
    with pytest.raises((ValueError, TypeError), match=message):
        classifier(class_weight=class_weight).fit(*blobs())


# -- dtypes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("n_members", [1, 2])
def test_float32_goes_through(solver, n_members):
    X, y = regression()
    X32 = X.astype(np.float32)
    model = regressor(solver=solver, n_members=n_members).fit(X32, y)
    # a Gaussian process has coefficients of its own
    parts = [member.head.mean.coefficients for member in model.ensemble_.members if member.head]
    parts = parts or [model.readout_coef_]
    assert {part.dtype for part in (model.predict(X32), model.controls_, *parts)} == {X32.dtype}
    assert model.trajectory(X32).dtype == np.float32
    assert model.predict(X).dtype == np.float32
    double = regressor(solver=solver, n_members=n_members).fit(X32.astype(np.float64), y)
    assert double.predict(X32).dtype == np.float64
    assert r2_score(double.predict(X32), model.predict(X32)) > 0.99
    codes = (y > 0).astype(int)
    model = classifier(solver=solver, n_members=n_members).fit(X32, codes)
    assert model.predict_proba(X32).dtype == model.decision_function(X32).dtype == np.float32
    assert transformer(solver=solver).fit_transform(X32, y).dtype == np.float32


def test_probabilities_stay_off_zero_and_one():
    X = np.r_[np.full((50, 1), -1.0), np.full((50, 1), 1.0)] * [[1.0, 100.0]]
    y = np.arange(100) // 50
    for dtype in (np.float32, np.float64):
        model = classifier(alpha=0.0, n_members=3, max_iter=100).fit(X.astype(dtype), y)
        proba = model.predict_proba(X.astype(dtype))
        assert np.all(proba > 0)
        assert np.isfinite(model.predict_log_proba(X.astype(dtype))).all()
        assert np.isfinite(model.decision_function(X.astype(dtype))).all()


# -- ground truth --------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["gauss-newton", LBFGS(memory=30)])
def test_a_linear_code_reaches_the_closed_form_optimum(solver):
    # linear fields and a linear readout make linear predictions: least squares is the optimum
    X, Y = regression(n_outputs=2)
    model = regressor(
        vector_fields=LinearFields(),
        solver=solver,
        alpha=0.0,
        max_iter=3000,
        tol=1e-10,
        scaling="standard",
        readout="linear",
    ).fit(X, Y)
    design = np.column_stack([X, np.ones(70)])
    np.testing.assert_allclose(model.predict(X), design @ lstsq(design, Y)[0], rtol=1e-4, atol=1e-3)


def test_the_readout_alone_is_ridge_regression():
    X, y = regression()
    alpha = 0.05
    kwargs = {"alpha": alpha, "max_iter": 100, "tol": 1e-12, "readout": "linear"}
    model = regressor(train_controls=False, **kwargs).fit(X, y)
    states = model.trajectory(X)[-1]
    centred, target = states - states.mean(axis=0), (y - y.mean()) / y.std()
    coef = np.linalg.solve(centred.T @ centred + alpha * 70 * np.eye(8), centred.T @ target)
    np.testing.assert_allclose(model.readout_coef_[0], coef, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("solver", SOLVERS)
def test_frozen_controls_stay_where_they_were_drawn(solver):
    X, y = regression()
    kwargs = {"solver": solver, "train_controls": False}
    short, long = (regressor(**kwargs, max_iter=k).fit(X, y) for k in (1, 20))
    np.testing.assert_array_equal(short.controls_, long.controls_)
    drawn = transformer().fit(X)
    np.testing.assert_array_equal(short.controls_, drawn.controls_)
    assert long.score(X, y) >= short.score(X, y)


@pytest.mark.parametrize("solver", ["gauss-newton", "lbfgs", "adam"])
def test_trained_controls_beat_frozen_ones_out_of_sample(solver):
    kwargs = {"n_fields": 24, "n_members": 1, "solver": solver, "random_state": 0}

    def score(n_columns=10, **more):
        X, y = make_friedman1(600, n_columns, noise=0.5, random_state=0)
        model = ControlledODERegressor(**kwargs, **more).fit(X[:400], y[:400])
        return model.score(X[400:], y[400:])

    trained, frozen = (score(train_controls=b, readout="linear") for b in (True, False))
    assert trained > max(0.85, frozen + 0.05)
    # a Gaussian process finds as much in the states of a random flow, unless it is a trained flow
    # that tells the columns that matter
    if solver == "gauss-newton":
        assert score() > trained
        assert score(20) > score(20, train_controls=False) + 0.05


def test_iris_with_defaults():
    X, y = load_iris(return_X_y=True)
    model = ControlledODEClassifier(random_state=0).fit(X[::2], y[::2])
    assert model.score(X[1::2], y[1::2]) > 0.9


def test_hundreds_of_columns_are_projected_and_the_projection_travels():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((150, 200)).astype(np.float32)
    y = X[:, 0] + X[:, 1]
    model = ControlledODERegressor(n_members=2, max_iter=3, random_state=0)
    model.fit(X, y)
    assert model.ensemble_.input_map.n_coordinates == 96
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    # a family that a user names sees what it is given
    alone = ControlledODERegressor("diagonal", n_members=1, random_state=0).fit(X, y)
    assert alone.ensemble_.input_map.projection is None


@pytest.mark.parametrize("readout", ["auto", "linear"])
def test_a_constant_is_predicted_to_the_bit(readout):
    X = np.random.default_rng(0).standard_normal((60, 3))
    Y = np.column_stack([X[:, 0], np.full(60, 3.1)])
    model = ControlledODERegressor(readout=readout, n_fields=8, n_members=2, random_state=0)
    assert np.array_equal(model.fit(X, Y).predict(X)[:, 1], Y[:, 1])
    assert model.fit(X, Y[:, 1]).score(X, Y[:, 1]) == 1
