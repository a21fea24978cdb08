"""Bad input gets scikit-learn's kind of error or a sound model; never a NaN.

Warnings are errors: none comes unless a flow explodes.
"""

import warnings

import numpy as np
import pytest
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning

from skcode import ControlledODEClassifier, ControlledODERegressor, ControlledODETransformer
from skcode.fields import DiagonalFields, NeuralFields, PolynomialFields, UniversalFields

ESTIMATORS = (ControlledODEClassifier, ControlledODERegressor, ControlledODETransformer)
SOLVERS = ["gauss-newton", "lbfgs", "sgd", "adam"]
SMALL = {"n_members": 1, "n_fields": 6, "max_iter": 5, "random_state": 0}
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def regressor(**kwargs):
    return ControlledODERegressor(**{**SMALL, **kwargs})


def classifier(**kwargs):
    return ControlledODEClassifier(**{**SMALL, **kwargs})


def small(estimator, **kwargs):
    options = {**SMALL, **kwargs}
    if estimator is ControlledODETransformer:
        del options["n_members"]
    return estimator(**options)


def data(n=60, p=3, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, p))
    return X, np.sin(X[:, 0]) + X[:, -1]


def assert_sound(model, X):
    """Every number that a fitted model gives is finite."""
    if isinstance(model, ControlledODETransformer):
        assert np.isfinite(model.transform(X)).all()
    else:
        assert np.isfinite(model.controls_).all()
        assert np.isfinite(model.loss_)
    if isinstance(model, ControlledODERegressor):
        assert np.isfinite(model.predict(X)).all()
    if isinstance(model, ControlledODEClassifier):
        assert np.isfinite(model.predict_log_proba(X)).all()
        assert np.isfinite(model.decision_function(X)).all()


def sound_or_clear_error(model, X, y, match, X_new=None):
    """Fit and predict; an error must say what to do. Says whether the model is sound."""
    X_new = X if X_new is None else X_new
    try:
        model.fit(X, y)
        assert_sound(model, X_new)
    except ValueError as error:
        assert any(word in str(error) for word in match), error
        return False
    return True


# -- values and shapes ---------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_nan_and_infinity(estimator, bad):
    X, y = data()
    y = y > 0 if estimator is ControlledODEClassifier else y
    wrong = X.copy()
    wrong[3, 1] = bad
    model = small(estimator)
    if np.isinf(bad):
        with pytest.raises(ValueError, match=r"infinity .* in column 'x1'"):
            model.fit(wrong, y)
    with pytest.raises(ValueError, match="NaN|infinity"):
        model.fit(X, np.where(np.arange(60) == 5, bad, y))
    with pytest.raises(ValueError, match="NaN|infinity"):
        model.fit(X, y, sample_weight=np.where(np.arange(60) == 5, bad, 1.0))
    model.fit(X, y)
    predict = model.transform if hasattr(model, "transform") else model.predict
    if np.isnan(bad):
        # a gap, which tests of tables look into
        assert np.isfinite(predict(wrong)).all()
    else:
        with pytest.raises(ValueError, match=r"infinity .* in column 'x1'"):
            predict(wrong)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_shapes_and_kinds(estimator):
    X, y = data()
    y = (y > 0).astype(int)
    model = small(estimator)
    for wrong, match in [
        ((X[0], y), "2D"),
        ((X[None], y), "dim 3"),
        ((X[:, :0], y), "0 feature"),
        ((X[:0], y[:0]), "0 sample"),
        ((X, y[:-1]), "inconsistent numbers"),
        ((X + 1j, y), "Complex"),
        ((X, y[None, None]), "dim|shape|array"),
    ]:
        with pytest.raises(ValueError, match=match):
            model.fit(*wrong)
    if estimator is not ControlledODETransformer:
        with pytest.raises((ValueError, TypeError), match="y"):
            model.fit(X, None)
        model.fit(X, y)
        for wrong, match in [(X[:, :2], "features"), (X[0], "2D"), (X[:0], "0 sample")]:
            with pytest.raises(ValueError, match=match):
                model.predict(wrong)


@pytest.mark.parametrize(
    ("weight", "match"),
    [
        (-np.ones(60), "[Nn]egative"),
        (np.r_[np.ones(59), -1e-9], "[Nn]egative"),
        (np.zeros(60), "weight"),
        (np.ones(59), "shape"),
        (np.ones((60, 2)), "1D|shape|dimension"),
        ("heavy", "."),
    ],
)
@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("targets", [True, False])
def test_bad_weights(estimator, weight, match, targets):
    X, y = data()
    if not targets and estimator is not ControlledODETransformer:
        pytest.skip("only the transformer does without targets")
    y = (y > 0).astype(int) if targets else None
    with pytest.raises((ValueError, TypeError), match=match):
        small(estimator).fit(X, y, sample_weight=weight)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("size", [1e-300, 1e-12, 1.0 / 60, 1e12, 1e300, 1.7e308])
def test_weights_of_any_size(solver, size):
    X, y = data()
    weight = np.full(60, size)
    mixed = np.where(np.arange(60) % 2, size, 1.0)
    for w in (weight, mixed):
        assert_sound(regressor(solver=solver).fit(X, y, sample_weight=w), X)
        assert_sound(classifier(solver=solver).fit(X, y > 0, sample_weight=w), X)


# -- targets -------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", SOLVERS)
def test_one_class_is_an_error_that_says_so(solver):
    X, _ = data()
    with pytest.raises(ValueError, match="class"):
        classifier(solver=solver).fit(X, np.ones(60))
    with pytest.raises(ValueError, match="class"):
        classifier(solver=solver).fit(
            X, np.arange(60) % 2, sample_weight=(np.arange(60) % 2).astype(float)
        )


def test_targets_of_the_wrong_kind():
    X, y = data()
    for model in (regressor(), classifier()):
        with pytest.raises(TypeError, match="Sparse data was passed for y"):
            model.fit(X, sparse.csr_matrix(np.eye(60, 2, dtype=int)))
    with pytest.raises(ValueError, match="continuous"):
        classifier().fit(X, y)
    with pytest.raises(ValueError, match="[Mm]ulti-?output"):
        classifier().fit(X, np.column_stack([np.arange(60) % 3, np.arange(60) % 4]))
    with pytest.raises(ValueError, match="string|float|numeric"):
        regressor().fit(X, np.array(["a", "b"])[np.arange(60) % 2])
    with pytest.raises(ValueError, match="[Mm]ulti-?output|target"):
        small(ControlledODETransformer).fit(
            X, np.column_stack([np.arange(60) % 3, np.arange(60) % 4])
        )


def test_numbers_may_come_as_strings_and_objects():
    X, y = data()
    expected = regressor().fit(X, y).predict(X)
    for kind in (str, object):
        model = regressor().fit(X.astype(kind), y.astype(kind))
        np.testing.assert_array_equal(model.predict(X.astype(kind)), expected)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_few_rows(solver, early_stopping, n):
    X, y = data(n)
    options = {"solver": solver, "early_stopping": early_stopping}
    words = ["validation_fraction"]
    assert sound_or_clear_error(regressor(**options), X, y, words) or early_stopping
    if n > 1:
        labels = np.arange(n) % 2
        assert sound_or_clear_error(classifier(**options), X, labels, words) or early_stopping


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("value", [0.0, 3.0, -1e8, 1e-12, 1e300])
@pytest.mark.parametrize("scaling", ["robust", None])
def test_constant_targets(solver, value, scaling):
    X, _ = data()
    words = ["overflow", "explode"]
    model = regressor(solver=solver, scaling=scaling)
    sound = sound_or_clear_error(model, X, np.full(60, value), words)
    assert sound or (scaling is None and value == 1e300)
    if scaling == "robust":
        np.testing.assert_allclose(model.predict(X), value, rtol=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [1e-300, 1e-30, 1e-12, 1e8, 1e30, 1e100, 1e200, 1e300])
def test_targets_of_any_size(scale, dtype):
    X, y = data()
    plain = regressor().fit(X, y).score(X, y)
    model = regressor()
    fits = dtype == np.float64 or 1e-37 < scale < 1e37
    sound = sound_or_clear_error(model, X.astype(dtype), scale * y, ["scale", "Scale", "overflow"])
    assert sound or not fits
    if fits:
        prediction = model.predict(X.astype(dtype)).astype(np.float64) / scale
        assert 1 - np.mean((prediction - y) ** 2) / y.var() > plain - 0.3


# -- columns -------------------------------------------------------------------------------------


def columns(kind, X):
    X = X.copy()
    n = len(X)
    if kind == "constant":
        X[:, 1] = 7.0
    elif kind == "all constant":
        X[:] = [1.0, -2.0, 1e9]
    elif kind == "all zero":
        X[:] = 0
    elif kind == "nearly constant":
        X[:, 1] = 1e9 + 1e-8 * X[:, 1]
    elif kind == "one row differs":
        X[:, 1] = (np.arange(n) == 4) * 1e8
    elif kind == "unscaled":
        X = X * [1e8, 1e-12, 1.0] + [1e10, 0.0, 0.0]
    elif kind == "duplicated":
        X[:, 1] = X[:, 2] = X[:, 0]
    elif kind == "huge":
        X = X * [1e30, 1e150, 1e200]
    elif kind == "largest":
        X = np.sign(X) * 1e300
    elif kind == "tiny":
        X = X * [1e-300, 1e-310, 1e-200]
    elif kind == "binary":
        X = (X > 0).astype(float)
    elif kind == "heavy tails":
        X = np.exp(20 * X)
    return X


KINDS = [
    "constant",
    "all constant",
    "all zero",
    "nearly constant",
    "one row differs",
    "unscaled",
    "duplicated",
    "huge",
    "largest",
    "tiny",
    "binary",
    "heavy tails",
]


@pytest.mark.parametrize("scaling", ["robust", "standard"])
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("kind", KINDS)
def test_columns_of_any_kind(kind, solver, scaling):
    X, y = data()
    X = columns(kind, X)
    options = {"solver": solver, "scaling": scaling}
    for model, target in ((regressor(**options), y), (classifier(**options), y > 0)):
        assert_sound(model.fit(X, target), X)
        assert_sound(model, X[::-1] * 0.9)
    assert_sound(small(ControlledODETransformer, scaling=scaling).fit(X), X)


@pytest.mark.parametrize("kind", ["constant", "unscaled", "one row differs", "tiny", "huge"])
def test_the_defaults_learn_whatever_the_units(kind):
    X, _ = data(200)
    y = X[:, 0] + 0.1 * X[:, 2]
    model = regressor(max_iter=None, n_fields=16)
    assert model.fit(columns(kind, X), y).score(columns(kind, X), y) > 0.9


@pytest.mark.parametrize("scaling", ["robust", "standard", None])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [1e4, 1e20, 1e38, 1e300])
def test_predictions_far_from_the_data(scaling, dtype, size):
    X, y = data()
    with np.errstate(over="ignore"):
        far = (size * X).astype(dtype)
    far[~np.isfinite(far)] = np.finfo(dtype).max
    for fitted_dtype in (np.float32, np.float64):
        model = regressor(scaling=scaling)
        words = ["explode", "infinity", "too large"]
        sound = sound_or_clear_error(model, X.astype(fitted_dtype), y, words, far)
        assert sound or scaling != "robust" or fitted_dtype == np.float32


@pytest.mark.parametrize("n_features", [1, 2, 40])
@pytest.mark.parametrize("solver", SOLVERS)
def test_few_and_many_columns(n_features, solver):
    X, y = data(20, n_features)
    assert_sound(regressor(solver=solver).fit(X, y), X)
    assert_sound(classifier(solver=solver).fit(X, y > 0), X)


def test_one_feature_is_augmented():
    X = np.linspace(-2, 2, 80)[:, None]
    y = np.abs(X[:, 0])
    for family in (None, "neural"):
        model = ControlledODERegressor(family, n_members=1, random_state=0).fit(X, y)
        fields = model.vector_fields_
        assert fields.n_states >= 2
        assert model.score(X, y) > 0.95


# -- parameters ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("vector_fields", "neurall"),
        ("vector_fields", NeuralFields),
        ("vector_fields", 3),
        ("n_fields", 0),
        ("n_fields", 2.5),
        ("n_intervals", 0),
        ("n_states", 0),
        ("n_states", 2),
        ("n_members", 0),
        ("integrator", "leapfrog"),
        ("readout", "quadratic"),
        ("solver", "newton"),
        ("solver", None),
        ("solver", ["lbfgs"]),
        ("alpha", -1.0),
        ("alpha", "auto"),
        ("alpha", np.nan),
        ("max_iter", 0),
        ("max_iter", 3.5),
        ("tol", -1e-3),
        ("tol", None),
        ("scaling", "minmax"),
        ("scaling", True),
        ("train_controls", "yes"),
        ("warm_start", "yes"),
        ("early_stopping", "auto"),
        ("validation_fraction", 0.0),
        ("validation_fraction", 1.0),
        ("n_iter_no_change", 0),
        ("n_jobs", "many"),
        ("n_jobs", 1.5),
        ("random_state", "seed"),
        ("random_state", -1),
        ("verbose", "loud"),
    ],
)
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_wrong_parameters_are_named(estimator, name, value):
    X, y = data()
    y = y > 0 if estimator is ControlledODEClassifier else y
    if estimator is ControlledODETransformer and name == "n_members":
        pytest.skip("the transformer has one member")
    model = small(estimator, **{name: value})
    assert isinstance(hasattr(model, "partial_fit"), bool)
    with pytest.raises((ValueError, TypeError), match=name):
        model.fit(X, y)
    if hasattr(model, "partial_fit") and name != "max_iter":
        with pytest.raises((ValueError, TypeError), match=name):
            model.partial_fit(X, y)


@pytest.mark.parametrize(
    ("family", "match"),
    [
        (NeuralFields(activation="swish"), "activation"),
        (NeuralFields(rank=0), "rank"),
        (NeuralFields(rank=1.5), "rank"),
        (NeuralFields(scale=np.nan), "scale"),
        (NeuralFields(sparse=2.0), "sparse"),
        (NeuralFields("polynomial", degree=0), "degree"),
        (PolynomialFields(degree=0), "degree"),
        (DiagonalFields() + NeuralFields(), "same number of fields"),
    ],
)
def test_wrong_parameters_of_families_are_named(family, match):
    with pytest.raises((ValueError, TypeError), match=match):
        regressor(vector_fields=family).fit(*data())


def test_prediction_before_fit():
    from sklearn.exceptions import NotFittedError

    X, _ = data()
    for estimator in ESTIMATORS:
        model = estimator()
        for method in ("predict", "predict_proba", "decision_function", "transform", "trajectory"):
            if hasattr(model, method):
                with pytest.raises(NotFittedError):
                    getattr(model, method)(X)
    assert not hasattr(ControlledODEClassifier(), "classes_")


@pytest.mark.parametrize("member", [2, -3, 0.5, 1.0, "first"])
def test_a_member_that_does_not_exist(member):
    X, y = data()
    model = regressor(n_members=2).fit(X, y)
    with pytest.raises(ValueError, match=f"member={member!r} must lie in 0..1"):
        model.trajectory(X, member=member)


# -- flows that explode --------------------------------------------------------------------------

tamed = pytest.mark.filterwarnings("ignore:The flow or the loss overflows:RuntimeWarning")
far = pytest.mark.filterwarnings("ignore:The flow all but explodes:RuntimeWarning")
EXPLOSIVE = [
    "polynomial",
    PolynomialFields(degree=3),
    PolynomialFields(degree=5),
    UniversalFields(),
    NeuralFields("polynomial", degree=4, scale=10.0),
    NeuralFields("identity", scale=1e3),
    "affine",
]


@tamed
@far
@pytest.mark.parametrize("integrator", ["euler", "rk4"])
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("family", EXPLOSIVE, ids=str)
@pytest.mark.parametrize("size", [1.0, 1e6])
def test_explosive_fields(family, solver, integrator, size):
    X, y = data(40)
    options = {"solver": solver, "integrator": integrator, "scaling": None, "n_intervals": 4}
    words = ["explode", "Scale"]
    model = regressor(vector_fields=family, **options)
    sound_or_clear_error(model, size * X, y, words)
    if hasattr(model, "controls_"):
        sound_or_clear_error(model, size * X, y, words, 1e3 * size * X)
    sound_or_clear_error(classifier(vector_fields=family, **options), size * X, y > 0, words)


@far
@tamed
@pytest.mark.parametrize("family", EXPLOSIVE, ids=str)
@pytest.mark.parametrize("solver", ["gauss-newton", "adam"])
def test_unbounded_fields_are_sound_with_the_default_scaling(family, solver):
    X, y = data(40)
    model = regressor(vector_fields=family, solver=solver, n_intervals=4).fit(1e6 * X, y)
    assert_sound(model, 1e6 * X)


@tamed
@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_explosive_streams_end(solver):
    # the start is finite on the first batch and explodes on the second
    X, y = data(40)
    model = regressor(vector_fields=PolynomialFields(degree=3), solver=solver, scaling=None)
    model.partial_fit(X, y)
    try:
        model.partial_fit(1e200 * X, y)
    except ValueError as error:
        assert "explode" in str(error)
    model = regressor(solver=solver, scaling=None)
    with pytest.raises(ValueError, match="explode|overflow"):
        model.partial_fit(X, 1e200 * y)


@tamed
@far
@pytest.mark.parametrize(
    ("solver", "size", "done"),
    # the start explodes, or the flow is finite and the Gauss-Newton matrix is not
    [(solver, 1e37, "the controls were divided by 2.68e.08") for solver in SOLVERS]
    + [("gauss-newton", 1e5, "the controls were divided by 1.05e.06")],
)
def test_what_keeps_a_training_finite_is_told(solver, size, done):
    X, y = data(40)
    model = regressor(vector_fields=PolynomialFields(degree=3), scaling=None, solver=solver)
    with pytest.warns(RuntimeWarning, match=f"overflows in training: {done}.*scaling='robust'"):
        # what is reached then may be too far out for the solver
        sound_or_clear_error(model, size * X, y, ["explodes", "overflows"])
    # warnings are errors: nothing to tell of here
    model.set_params(solver="lbfgs").fit(X, y)


@tamed
@far
@pytest.mark.filterwarnings("default::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_a_training_that_diverges_is_told(solver):
    X, y = data(40)
    family = "affine" if solver == "sgd" else NeuralFields("polynomial", degree=4, scale=10.0)
    model = regressor(vector_fields=family, scaling=None, solver=solver, max_iter=50)
    with pytest.warns(ConvergenceWarning) as told:
        model.fit(10.0 * X, y)
    (message,) = {str(w.message) for w in told if w.category is ConvergenceWarning}
    assert f"{type(model.solver_).__name__} diverged" in message
    assert "scaling='robust'" in message
    with pytest.warns(ConvergenceWarning, match="did not converge"):
        regressor(solver=solver, max_iter=3).fit(X, y)


@pytest.mark.parametrize("scaling", ["standard", None])
@pytest.mark.parametrize("degree", [2, 3])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_finite_nonsense_far_from_the_data_is_told(estimator, degree, scaling):
    X, y = data()
    y = y > 0 if estimator is ControlledODEClassifier else y
    family = PolynomialFields(degree=degree)
    model = small(estimator, vector_fields=family, scaling=scaling, n_intervals=4).fit(X, y)
    names = ("transform", "decision_function", "predict")
    predict = next(getattr(model, name) for name in names if hasattr(model, name))
    near, seen = np.abs(predict(X)).max(), set()
    for size in 10.0 ** np.arange(0, 150):
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            try:
                largest = np.abs(predict(size * X)).max()
            except ValueError as error:
                assert "explodes" in str(error)
                seen.add("error")
                continue
        if told:
            assert "scaling='robust'" in str(told[0].message)
            assert largest > 100 * near * size
        else:
            # nothing beyond what grows with the inputs
            assert largest < 1e6 * size
        seen.add("warning" if told else "silence")
    assert seen == {"error", "warning", "silence"}


@pytest.mark.parametrize("size", [1e3, 1e12, 1e100])
@pytest.mark.parametrize("scaling", ["robust", "standard", None])
@pytest.mark.parametrize("family", [None, "neural", "affine", "diagonal"])
def test_linear_growth_is_nothing_to_tell(family, scaling, size):
    X, y = data()
    model = regressor(vector_fields=family, scaling=scaling).fit(X, y)
    assert np.isfinite(model.predict(size * X)).all()


def test_explosive_trajectories_are_errors():
    X, y = data(40)
    model = regressor(vector_fields=PolynomialFields(degree=3), scaling=None).fit(X, y)
    with pytest.raises(ValueError, match="explode"):
        model.predict(1e150 * X)
    with pytest.raises(ValueError, match="explode"):
        model.trajectory(1e150 * X)


@far
@tamed
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("alpha", [None, 0.0, 1e-3, 1e6])
@pytest.mark.parametrize("family", ["diagonal", "neural", "universal"])
def test_displacement_whatever_the_start(family, alpha, solver):
    # diagonal fields start at rest: the displacement is zero at first
    X, y = data()
    model = regressor(vector_fields=family, readout="displacement", alpha=alpha, solver=solver)
    for inputs in (X, np.zeros_like(X)):
        sound = sound_or_clear_error(model, inputs, y, ["explodes"])
        assert sound or (solver == "sgd" and alpha == 1e6)


@far
@tamed
@pytest.mark.parametrize("alpha", [0.0, 1e-300, 1e12, 1e300])
@pytest.mark.parametrize("solver", SOLVERS)
def test_penalties_of_any_size(solver, alpha):
    X, y = data(20)
    for model, target in ((regressor, y), (classifier, y > 0)):
        sound = sound_or_clear_error(model(solver=solver, alpha=alpha), X, target, ["explodes"])
        # plain gradient descent diverges under a stiff penalty, and says so
        assert sound or (solver == "sgd" and alpha >= 1e12)
