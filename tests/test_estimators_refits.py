"""Refits, warm starts and streams: what is kept, what is dropped, what is refused."""

import copy
import pickle
import re

import numpy as np
import pytest
from sklearn.datasets import make_friedman1
from sklearn.utils.class_weight import compute_class_weight

from skcode import ControlledODEClassifier, ControlledODERegressor, ControlledODETransformer
from skcode.fields import DiagonalFields, FunctionFields, NeuralFields
from skcode.solvers import SGD, Adam, GaussNewton
from skcode.training import _training, fitted_attributes

SMALL = {"n_members": 2, "n_fields": 6, "n_states": 8, "max_iter": 4, "random_state": 0}
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def regressor(**kwargs):
    return ControlledODERegressor(**{**SMALL, **kwargs})


def classifier(**kwargs):
    return ControlledODEClassifier(**{**SMALL, **kwargs})


def transformer(**kwargs):
    options = {**SMALL, **kwargs}
    del options["n_members"]
    return ControlledODETransformer(**options)


@pytest.fixture(scope="module")
def friedman():
    return make_friedman1(120, n_features=5, noise=1.0, random_state=0)


def rotation(x):
    return x[:, ::-1]


# -- warm starts ---------------------------------------------------------------------------------

CHANGES = {
    "vector_fields": "neural",
    "n_fields": 7,
    "n_intervals": 4,
    "n_states": 9,
    "n_members": 3,
    "integrator": "heun",
    "readout": "displacement",
    "scaling": "standard",
}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("make", [regressor, transformer])
def test_a_warm_start_refuses_another_model(friedman, make, name):
    if make is transformer and name == "n_members":
        name = "n_states"
    X, y = friedman
    model = make(warm_start=True).fit(X, y)
    old = model.get_params()[name]
    model.set_params(**{name: CHANGES[name]})
    message = f"{name}={CHANGES[name]!r} was {old!r}"
    with pytest.raises(ValueError, match=re.escape(message)):
        model.fit(X, y)
    # set back, or drawn anew
    model.set_params(**{name: old}).fit(X, y)
    model.set_params(**{name: CHANGES[name], "warm_start": False}).fit(X, y)


def test_a_warm_start_sees_into_families(friedman):
    X, y = friedman
    family = DiagonalFields() | NeuralFields()
    model = regressor(vector_fields=family, warm_start=True).fit(X, y).fit(X, y)
    family.second.scale = 3.0
    with pytest.raises(ValueError, match="vector_fields__second__scale=3.0 was 1.0"):
        model.fit(X, y)
    model.set_params(vector_fields=NeuralFields() | NeuralFields())
    with pytest.raises(
        ValueError, match="vector_fields__first='NeuralFields' was 'DiagonalFields'"
    ):
        model.fit(X, y)
    # another object of the same law
    model.set_params(vector_fields=DiagonalFields() | NeuralFields()).fit(X, y)


@pytest.mark.parametrize("travel", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_warm_start_goes_on_after_a_travel(friedman, travel):
    X, y = friedman
    family = FunctionFields([rotation]) | NeuralFields()
    model = travel(regressor(vector_fields=family, warm_start=True).fit(X, y))
    fields = model.vector_fields_
    model.fit(X, y)
    assert all(a is b for a, b in zip(model.vector_fields_, fields, strict=True))


def test_what_is_no_part_of_the_model_may_change_in_a_warm_start(friedman):
    X, y = friedman
    model = regressor(warm_start=True).fit(X, y)
    fields = model.vector_fields_
    for change in (
        {"solver": "lbfgs"},
        {"alpha": 1e-2},
        {"max_iter": 7, "tol": 0.0},
        {"early_stopping": True},
        {"train_controls": False},
        {"random_state": 3},
    ):
        model.set_params(**change).fit(X, y)
        assert all(a is b for a, b in zip(model.vector_fields_, fields, strict=True))


def test_a_transformer_without_targets_has_no_task_to_go_on_with(friedman):
    X, y = friedman
    for labels in (y, np.digitize(y, [11, 17])):
        warm = transformer(warm_start=True).fit(X).fit(X, labels)
        np.testing.assert_array_equal(warm.transform(X), transformer().fit(X, labels).transform(X))
        once = warm.transform(X)
        assert not np.array_equal(warm.fit(X, labels).transform(X), once)


# -- what a fit leaves ---------------------------------------------------------------------------


def test_a_refit_drops_what_the_model_before_had_alone(friedman):
    X, y = friedman
    model = regressor(readout="linear").fit(X, y)
    linear = set(vars(model))
    assert {"readout_coef_", "readout_intercept_", "solver_"} < linear
    model.set_params(readout="displacement").fit(X, y)
    assert linear - set(vars(model)) == {"readout_coef_", "readout_intercept_"}
    model.set_params(readout="linear").fit(X, y)
    assert set(vars(model)) == linear
    model.set_params(readout="gaussian_process").fit(X, y)
    assert linear - set(vars(model)) == {"readout_coef_", "readout_intercept_"}
    assert set(vars(model)) - linear == {"kernel_"}
    model.set_params(readout="linear").fit(X, y)
    assert set(vars(model)) == linear
    features = transformer().fit(X, y).fit(X)
    assert not hasattr(features, "solver_")


def raise_in_the_second_member(monkeypatch):
    train = _training.train
    calls = []

    def failing(*args, **kwargs):
        calls.append(args)
        if len(calls) == 2:
            raise RuntimeError("in the second member")
        return train(*args, **kwargs)

    monkeypatch.setattr(_training, "train", failing)


def state(model, X):
    return {**vars(model), "prediction": model.predict(X).tolist()}


@pytest.mark.parametrize("warm_start", [False, True])
def test_a_fit_that_fails_leaves_the_model_before(friedman, monkeypatch, warm_start):
    X, y = friedman
    model = regressor(warm_start=warm_start).fit(X, y)
    model.set_params(solver="lbfgs")
    before = state(model, X)
    raise_in_the_second_member(monkeypatch)
    narrow = X if warm_start else X[:, :3]
    with pytest.raises(RuntimeError, match="second member"):
        model.fit(narrow, y)
    after = state(model, X)
    assert before.keys() == after.keys()
    assert all(
        np.array_equal(before[key], after[key]) for key in before.keys() - {"_members", "ensemble_"}
    )
    assert isinstance(model.solver_, GaussNewton)


def test_a_fit_that_fails_leaves_an_unfitted_model_unfitted(friedman, monkeypatch):
    X, y = friedman
    model = regressor()
    before = dict(vars(model))
    raise_in_the_second_member(monkeypatch)
    with pytest.raises(RuntimeError, match="second member"):
        model.fit(X, y)
    assert vars(model) == before


@pytest.mark.filterwarnings("ignore:The flow or the loss overflows")
def test_a_batch_that_fails_leaves_the_model_before(friedman):
    X, y = friedman
    model = regressor(solver="adam", scaling=None).partial_fit(X, y)
    other = copy.deepcopy(model)
    with pytest.raises(ValueError, match="overflow|explode"):
        model.partial_fit(X, 1e200 * y)
    curves = [list(curve) for curve in model.loss_curve_]
    assert curves == other.loss_curve_
    np.testing.assert_array_equal(model.predict(X), other.predict(X))
    assert [m.stream.memory.count for m in model._members] == [
        m.stream.memory.count for m in other._members
    ]


# -- streams -------------------------------------------------------------------------------------


def test_streams_refuse_what_needs_all_rows(friedman):
    X, y = friedman
    labels = np.digitize(y, [11, 17])
    for model, target in ((regressor, y), (classifier, labels)):
        stopping = model(solver="adam", early_stopping=True)
        assert not hasattr(stopping, "partial_fit")
        with pytest.raises(AttributeError, match="does not support early_stopping=True"):
            stopping.partial_fit(X, target)
    with pytest.raises(ValueError, match="class_weight='balanced'.*compute_class_weight"):
        classifier(solver="adam", class_weight="balanced").partial_fit(X, labels)
    weights = compute_class_weight("balanced", classes=np.unique(labels), y=labels)
    given = dict(enumerate(weights))
    model = classifier(solver="adam", class_weight=given).partial_fit(X, labels)
    expected = classifier(solver="adam").partial_fit(X, labels, sample_weight=weights[labels])
    np.testing.assert_allclose(model.predict_proba(X), expected.predict_proba(X), rtol=1e-9)


def test_a_stream_refuses_another_model(friedman):
    X, y = friedman
    model = regressor(solver="adam").partial_fit(X, y)
    with pytest.raises(ValueError, match="n_intervals=5 was None"):
        model.set_params(n_intervals=5).partial_fit(X, y)


@pytest.mark.parametrize("after_fit", [False, True])
def test_a_verbose_stream_prints_a_line_a_batch_and_member(friedman, capsys, after_fit):
    X, y = friedman
    model = regressor(solver="adam")
    if after_fit:
        model.fit(X, y)
    model.set_params(verbose=True)
    for _ in range(2):
        model.partial_fit(X, y)
    lines = capsys.readouterr().out.splitlines()
    first = len(model.loss_curve_[0]) - 1
    names = [line.split(", loss")[0] for line in lines]
    assert names == [
        f"[ControlledODERegressor] member {k}, iteration {i}"
        for i in (first, first + 1)
        for k in (1, 2)
    ]
    assert not any("left" in line for line in lines)
    model.set_params(verbose=False).partial_fit(X, y)
    assert capsys.readouterr().out == ""


# -- parameters behind names ---------------------------------------------------------------------


@pytest.mark.parametrize("make", [regressor, classifier, transformer])
def test_parameters_of_what_has_none_say_what_to_set_first(make):
    model = make()
    for name, value, example in (
        ("vector_fields__second__scale", None, r"DiagonalFields\(\) \| NeuralFields\(rank=1"),
        ("solver__momentum", "auto", r"Adam\(\)"),
    ):
        part = name.split("__")[0]
        message = f"{name} cannot be set while {part}={value!r}: first set {part} .*{example}"
        with pytest.raises(ValueError, match=message):
            model.set_params(**{name: 2.0})
    model.set_params(
        vector_fields=DiagonalFields() | NeuralFields(), vector_fields__second__scale=2.0
    )
    model.set_params(solver=SGD(), solver__momentum=0.5)
    assert model.get_params()["vector_fields__second__scale"] == 2.0
    assert model.get_params()["solver__momentum"] == 0.5
    with pytest.raises(ValueError, match="Invalid parameter 'first' for estimator NeuralFields"):
        model.set_params(vector_fields=NeuralFields(), vector_fields__first__scale=2.0)
    with pytest.raises(ValueError, match="Invalid parameter 'n_field'"):
        model.set_params(n_field=3)


# -- iterations and scores -----------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [None, 1e-3])
@pytest.mark.parametrize("max_iter", [1, 2, 3, 5, 12])
def test_phases_share_the_iterations(friedman, max_iter, alpha):
    X, y = friedman
    solver = GaussNewton(first_rows=10, growth=2.0, patience=100)
    model = regressor(solver=solver, alpha=alpha, tol=0.0, max_iter=max_iter).fit(X, y)
    assert model.n_iter_ <= max_iter
    rows = [rows for rows, _ in solver._phases(_Rows(X, alpha), max_iter)]
    assert rows[-1] == len(X)
    assert len(rows) == min(max_iter, 5)


class _Rows:
    """All that the phases ask of an objective."""

    def __init__(self, X, alpha):
        self.n_samples, self.n_features = X.shape
        self.alpha = alpha


def test_the_best_score_passes_over_those_that_are_not_defined(friedman):
    X, y = friedman
    model = regressor(n_members=1).fit(X, y, X_val=X[:20], y_val=y[:20])
    monitor = model._members[0].monitor
    for scores, best in (([np.nan, -3.0, -2.0], -2.0), ([0.5, np.nan], 0.5), ([np.nan], np.nan)):
        monitor.validation_scores = scores
        found = fitted_attributes(model._members)["best_validation_score_"]
        np.testing.assert_equal(found, best)
    # R2 of one row is not defined
    alone = regressor(n_members=1).fit(X, y, X_val=X[:1], y_val=y[:1])
    assert np.isnan(alone.best_validation_score_)


def test_the_warning_says_why_the_solver_ended(friedman):
    X, y = friedman
    for solver, why in (("lbfgs", ".*ITERATIONS REACHED LIMIT"), (Adam(), "max_iter reached")):
        with pytest.warns(UserWarning, match=rf"max_iter=2 did not converge \({why}"):
            regressor(n_members=1, solver=solver, max_iter=2).fit(X, y)


def test_lbfgs_ends_when_the_loss_stalls(friedman):
    X, y = friedman
    options = {"n_members": 1, "solver": "lbfgs", "max_iter": 2000, "tol": 1e-3}
    few, many = (regressor(n_iter_no_change=n, **options).fit(X, y) for n in (2, 20))
    for model, n in ((few, 2), (many, 20)):
        falls = -np.subtract(model.loss_curve_[n:], model.loss_curve_[:-n])
        assert falls[-1] < 1e-3 <= falls[:-1].min()
    assert few.n_iter_ < many.n_iter_ < 2000


@pytest.mark.parametrize("n_members", [1, 3])
def test_scores_of_certain_labels_are_finite(friedman, n_members):
    X, _ = friedman
    Y = np.column_stack([np.ones(len(X)), np.zeros(len(X)), X[:, 0] > 0.5]).astype(int)
    for dtype in (np.float32, np.float64):
        model = classifier(n_members=n_members, alpha=0.0, solver="gauss-newton", max_iter=60)
        model.fit(X.astype(dtype), Y)
        assert np.isfinite(model.decision_function(X)).all()
        one = np.array([[0.0, 1.0]], dtype)
        assert np.isfinite(model.ensemble_.target.link(one)).all()


# -- weights -------------------------------------------------------------------------------------


def test_the_size_of_weights_counts_rows_only_where_the_data_regularise(friedman):
    X, y = friedman
    weight = np.random.default_rng(0).uniform(0.5, 1.5, len(X))
    weight *= len(X) / weight.sum()

    def predict(factor, **kwargs):
        return regressor(**kwargs).fit(X, y, sample_weight=factor * weight).predict(X)

    for solver in ("gauss-newton", "lbfgs"):
        # a fixed penalty stands beside the mean
        fixed = {"alpha": 1e-2, "solver": solver}
        np.testing.assert_allclose(predict(10.0, **fixed), predict(0.1, **fixed), rtol=1e-6)
    # else a sum of ten times the rows is ten times the evidence, and a smaller one is relative
    linear = {"readout": "linear"}
    np.testing.assert_allclose(predict(0.1, **linear), predict(1.0, **linear), rtol=1e-7)
    assert np.abs(predict(10.0, **linear) - predict(1.0, **linear)).max() > 0.01
    # a process takes all weights as relative
    # points are kept in single precision: what rounds the other way moves its prediction
    for factor in (0.1, 10.0):
        np.testing.assert_allclose(predict(factor), predict(1.0), rtol=1e-6)
    labels = np.digitize(y, [11, 17])
    balanced = compute_class_weight("balanced", classes=np.arange(3), y=labels)

    def probabilities(factor):
        weights = dict(enumerate(factor * balanced))
        return classifier(class_weight=weights).fit(X, labels).predict_proba(X)

    expected = classifier(class_weight="balanced").fit(X, labels).predict_proba(X)
    np.testing.assert_allclose(probabilities(1.0), expected, rtol=1e-6)
    for factor in (0.1, 10.0):
        np.testing.assert_allclose(probabilities(factor), expected, rtol=1e-5)
    repeated = regressor().fit(np.repeat(X, 10, axis=0), np.repeat(y, 10)).predict(X)
    np.testing.assert_array_equal(regressor().fit(X, y, np.full(len(X), 10.0)).predict(X), repeated)
