"""The estimators inside scikit-learn: parameters, frames, meta-estimators, searches, routing."""

import copy
import pickle

import joblib
import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.datasets import load_iris, make_classification, make_regression
from sklearn.ensemble import BaggingRegressor, StackingClassifier, VotingRegressor
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    cross_val_predict,
    cross_validate,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skcode import ControlledODEClassifier, ControlledODERegressor, ControlledODETransformer
from skcode.fields import DiagonalFields, NeuralFields
from skcode.gaussian_process import GaussianProcessReadout
from skcode.solvers import SGD, Adam, GaussNewton

SMALL = {"n_members": 1, "n_fields": 6, "n_states": 8, "max_iter": 6, "random_state": 0}
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
ESTIMATORS = (ControlledODEClassifier, ControlledODERegressor, ControlledODETransformer)


def classification(n=80):
    return make_classification(n, 4, n_redundant=0, random_state=0)


def regression(n=80, **kwargs):
    return make_regression(n, 4, random_state=0, **kwargs)


def transformer(**kwargs):
    return ControlledODETransformer(
        **{name: value for name, value in {**SMALL, **kwargs}.items() if name != "n_members"}
    )


def regressor(**kwargs):
    return ControlledODERegressor(**{**SMALL, **kwargs})


def classifier(**kwargs):
    return ControlledODEClassifier(**{**SMALL, **kwargs})


# -- parameters ----------------------------------------------------------------------------------


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_nested_parameters_are_reached_and_cloned(estimator):
    model = estimator(vector_fields=DiagonalFields() | NeuralFields(rank=1), solver=SGD())
    model.set_params(vector_fields__second__scale=2.5, solver__momentum=0.5)
    params = clone(model).get_params()
    assert params["vector_fields__second__scale"] == 2.5
    assert params["solver__momentum"] == 0.5
    assert clone(model).vector_fields is not model.vector_fields
    with pytest.raises(ValueError, match="Invalid parameter"):
        model.set_params(vector_fields__second__skale=1)


def test_fit_leaves_parameters_alone():
    model = regressor(vector_fields=DiagonalFields() | NeuralFields(), solver=GaussNewton())
    before = {name: (id(value), repr(value)) for name, value in model.get_params().items()}
    model.fit(*regression())
    assert before == {name: (id(value), repr(value)) for name, value in model.get_params().items()}
    assert model.solver_ is not model.solver


@pytest.mark.parametrize("solver", ["gauss-newton", "lbfgs", "sgd", "adam"])
@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_fitted_models_survive_copies(solver, early_stopping, tmp_path):
    X, y = classification()
    model = classifier(solver=solver, early_stopping=early_stopping, n_members=2).fit(X, y)
    expected = model.predict_proba(X)
    joblib.dump(model, tmp_path / "model.joblib")
    mapped = joblib.load(tmp_path / "model.joblib", mmap_mode="r")
    for twin in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model), mapped, copy.copy(model)):
        np.testing.assert_array_equal(twin.predict_proba(X), expected)
        assert not hasattr(clone(twin), "controls_")


def test_a_pickled_model_holds_no_rows():
    model = regressor(n_intervals=2, max_iter=2, readout="linear")
    sizes = [len(pickle.dumps(model.fit(*regression(n)))) for n in (100, 3000)]
    assert abs(sizes[1] - sizes[0]) < 2000
    # a Gaussian process has points, and no more than it was told
    process = GaussianProcessReadout(n_exact=50, n_leaf=50, n_landmarks=50, n_local=50)
    model.set_params(readout=process)
    sizes = [len(pickle.dumps(model.fit(*regression(n)))) for n in (1000, 3000)]
    assert abs(sizes[1] - sizes[0]) < 2000


def test_a_pickled_stream_goes_on_as_the_original():
    X, y = regression()
    model = regressor(solver="adam").partial_fit(X, y)
    twin = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(
        model.partial_fit(X, y).predict(X), twin.partial_fit(X, y).predict(X)
    )


def test_repr_and_html_show_only_what_was_changed():
    assert repr(ControlledODERegressor(n_fields=3)) == "ControlledODERegressor(n_fields=3)"
    model = regressor(vector_fields=DiagonalFields() | NeuralFields()).fit(*regression())
    assert "ControlledODERegressor" in model._repr_html_()


# -- frames --------------------------------------------------------------------------------------


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames_and_their_column_names(library):
    frames = pytest.importorskip(library)
    X, y = regression()
    names = ["a", "b", "c", "d"]
    frame = frames.DataFrame({name: X[:, j] for j, name in enumerate(names)})
    model = regressor().fit(frame, frames.Series(y))
    assert model.feature_names_in_.tolist() == names
    np.testing.assert_array_equal(model.predict(frame), regressor().fit(X, y).predict(X))
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(frame[["b", "a", "c", "d"]])
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(frame[["a", "b", "c"]])
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        model.predict(X)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_the_transformer_returns_named_frames(library):
    frames = pytest.importorskip(library)
    X, y = regression()
    frame = frames.DataFrame({name: X[:, j] for j, name in enumerate("abcd")})
    model = transformer().set_output(transform=library)
    out = model.fit_transform(frame, y)
    expected = [f"controlledodetransformer{j}" for j in range(8)]
    assert isinstance(out, frames.DataFrame)
    assert list(out.columns) == expected
    assert model.get_feature_names_out().tolist() == expected
    np.testing.assert_array_equal(np.asarray(model.transform(frame)), np.asarray(out))


def test_integer_and_nullable_columns():
    pd = pytest.importorskip("pandas")
    X, y = regression()
    ints = np.round(3 * X).astype(int)
    nullable = pd.DataFrame(ints, columns=list("abcd")).astype("Int64")
    mixed = pd.DataFrame(ints, columns=list("abcd")).astype({"a": "float32", "b": "int8"})
    expected = regressor().fit(ints, y).predict(ints)
    np.testing.assert_array_equal(regressor().fit(nullable, y).predict(nullable), expected)
    np.testing.assert_array_equal(regressor().fit(mixed, y).predict(mixed), expected)


# -- pipelines and meta-estimators ---------------------------------------------------------------


def test_column_transformer_and_pipeline():
    pd = pytest.importorskip("pandas")
    X, y = regression()
    frame = pd.DataFrame(X, columns=list("abcd")).assign(kind=np.where(X[:, 0] > 0, "u", "v"))
    columns = ColumnTransformer(
        [
            ("flow", transformer(), ["a", "b"]),
            ("number", StandardScaler(), ["c", "d"]),
            ("kind", OneHotEncoder(), ["kind"]),
        ]
    )
    model = make_pipeline(columns, ControlledODERegressor(**{**SMALL, "n_states": 12}))
    model.fit(frame, y)
    assert len(columns.fit(frame, y).get_feature_names_out()) == 12
    assert model.score(frame, y) > 0.8


def test_transformer_ahead_of_a_linear_model():
    X, y = load_iris(return_X_y=True)
    model = make_pipeline(transformer(), LogisticRegression(max_iter=2000))
    assert model.fit(X, y).score(X, y) > 0.95


def test_cross_validate_returns_the_same_scores_in_any_process():
    X, y = classification()
    model = make_pipeline(StandardScaler(), classifier(early_stopping=True, max_iter=3))
    runs = [
        cross_validate(model, X, y, cv=3, n_jobs=n, return_estimator=True, scoring="neg_log_loss")
        for n in (1, 2)
    ]
    np.testing.assert_array_equal(runs[0]["test_score"], runs[1]["test_score"])
    proba = cross_val_predict(model, X, y, cv=3, method="predict_proba")
    np.testing.assert_allclose(proba.sum(axis=1), 1)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("search", [GridSearchCV, HalvingGridSearchCV])
def test_searches_over_nested_parameters_in_two_processes(search):
    X, y = classification(120)
    model = classifier(vector_fields=NeuralFields(), solver=Adam(), n_jobs=2)
    grid = {"vector_fields__scale": [0.5, 2.0], "solver__learning_rate_init": [0.01, 0.1]}
    kwargs = {} if search is GridSearchCV else {"random_state": 0}
    found = search(model, grid, cv=2, n_jobs=2, error_score="raise", **kwargs).fit(X, y)
    assert found.best_score_ > 0.5
    assert found.predict(X).shape == (120,)


def test_searches_over_families_and_solvers():
    X, y = regression()
    grid = {"vector_fields": [None, "linear", NeuralFields(rank=2)], "alpha": [None, 0.1]}
    model = regressor(solver="lbfgs", max_iter=200, tol=1e-2)
    found = GridSearchCV(model, grid, cv=2, error_score="raise").fit(X, y)
    assert found.best_score_ > 0.9


@pytest.mark.parametrize("ensemble", [True, False])
def test_calibration(ensemble):
    X, y = classification(120)
    model = CalibratedClassifierCV(classifier(), cv=2, ensemble=ensemble).fit(X, y)
    assert model.score(X, y) > 0.8


def test_bagging_stacking_voting():
    X, y = regression()
    bagged = BaggingRegressor(regressor(), n_estimators=3, n_jobs=2, random_state=0).fit(X, y)
    assert bagged.score(X, y) > 0.9
    assert VotingRegressor([("a", regressor()), ("b", regressor())]).fit(X, y).score(X, y) > 0.9
    X, y = load_iris(return_X_y=True)
    stack = StackingClassifier(
        [("ode", classifier()), ("linear", LogisticRegression(max_iter=1000))], cv=2
    )
    assert stack.fit(X, y).score(X, y) > 0.9


def test_multioutput_and_multiclass_wrappers():
    X, Y = regression(n_targets=2)
    assert MultiOutputRegressor(regressor()).fit(X, Y).score(X, Y) > 0.9
    X, y = load_iris(return_X_y=True)
    assert OneVsRestClassifier(classifier()).fit(X, y).score(X, y) > 0.9
    labels = np.column_stack([y == 0, y == 2]).astype(int)
    chain = ClassifierChain(ControlledODEClassifier(**{**SMALL, "n_states": None}), cv=2)
    assert chain.fit(X, labels).score(X, labels) > 0.8


def test_target_transformation_and_importance():
    X, y = regression()
    model = TransformedTargetRegressor(regressor(), transformer=StandardScaler()).fit(X, y)
    assert model.score(X, y) > 0.9
    importance = permutation_importance(regressor().fit(X, y), X, y, n_repeats=2, random_state=0)
    assert importance.importances_mean.min() > 0


# -- metadata routing ----------------------------------------------------------------------------


@pytest.fixture
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


@pytest.mark.usefixtures("routing")
def test_weights_are_routed_through_pipeline_and_cross_validation():
    X, y = regression()
    weight = np.linspace(0.1, 3, len(y))
    model = make_pipeline(
        StandardScaler().set_fit_request(sample_weight=False),
        regressor().set_fit_request(sample_weight=True).set_score_request(sample_weight=True),
    )
    model.fit(X, y, sample_weight=weight)
    direct = regressor().fit(StandardScaler().fit_transform(X), y, sample_weight=weight)
    np.testing.assert_array_equal(direct.controls_, model[-1].controls_)
    result = cross_validate(
        model, X, y, cv=2, params={"sample_weight": weight}, error_score="raise"
    )
    assert np.isfinite(result["test_score"]).all()


@pytest.mark.usefixtures("routing")
def test_a_validation_set_is_routed_and_transformed_by_the_pipeline():
    X, y = classification(120)
    X_val, y_val = X[80:], y[80:]
    request = {"X_val": True, "y_val": True}
    model = make_pipeline(
        StandardScaler(), classifier().set_fit_request(**request), transform_input=["X_val"]
    )
    model.fit(X[:80], y[:80], X_val=X_val, y_val=y_val)
    scaler = StandardScaler().fit(X[:80])
    direct = classifier().fit(
        scaler.transform(X[:80]), y[:80], X_val=scaler.transform(X_val), y_val=y_val
    )
    assert model[-1].validation_loss_curve_ == direct.validation_loss_curve_
    result = cross_validate(
        classifier().set_fit_request(**request),
        X[:80],
        y[:80],
        cv=2,
        params={"X_val": X_val, "y_val": y_val},
        return_estimator=True,
        error_score="raise",
    )
    assert all(len(fitted.validation_scores_) > 0 for fitted in result["estimator"])


@pytest.mark.usefixtures("routing")
def test_unrequested_weights_are_an_error():
    X, y = regression()
    model = make_pipeline(StandardScaler(), regressor())
    with pytest.raises(Exception, match="sample_weight"):
        model.fit(X, y, sample_weight=np.ones(len(y)))


@pytest.mark.usefixtures("routing")
def test_partial_fit_requests_classes_and_weights():
    model = classifier(solver="sgd").set_partial_fit_request(sample_weight=True, classes=True)
    assert model.get_metadata_routing().partial_fit.requests == {
        "sample_weight": True,
        "classes": True,
    }
