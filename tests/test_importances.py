"""How much each column counts, and the derivatives that tell it."""

from dataclasses import replace

import numpy as np
import pytest
from helpers import difference
from sklearn.feature_selection import RFE, SelectFromModel
from sklearn.inspection import permutation_importance
from sklearn.pipeline import make_pipeline

from skcode import ControlledODEClassifier, ControlledODERegressor, ControlledODETransformer
from skcode.gaussian_process import (
    AffineLink,
    GaussianProcessHead,
    Kernel,
    Leaves,
    LogOddsLink,
    Mean,
)
from skcode.solvers import Adam

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
SMALL = {"n_fields": 8, "n_members": 2, "max_iter": 10, "random_state": 0}


@pytest.fixture(scope="module")
def data():
    """Column 1 counts most, then column 3; the others do not."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 5))
    return X, np.sin(X[:, 1]) * 3 + X[:, 3]


def regressor(**options):
    return ControlledODERegressor(**{**SMALL, **options})


def classifier(**options):
    return ControlledODEClassifier(**{**SMALL, **options})


@pytest.mark.parametrize("readout", ["linear", "auto"])
@pytest.mark.parametrize("n_levels", [2, 12])
def test_a_category_counts_as_what_its_levels_change(readout, n_levels):
    """Between levels a derivative means nothing: noise of twelve levels was the first of all."""
    rng = np.random.default_rng(0)
    numbers, codes = rng.standard_normal((400, 2)), rng.integers(0, n_levels, (400, 2))
    effect = np.where(codes[:, 0] % 2, 1.0, -1.0)
    y = numbers[:, 0] + 0.5 * effect + 0.1 * rng.standard_normal(400)
    table = np.empty((400, 4), dtype=object)
    table[:, :2] = numbers
    table[:, 2:] = [[f"level {a}", f"level {b}"] for a, b in codes]
    importances = regressor(readout=readout).fit(table, y).feature_importances_
    # deviations of the law: 1 of the number, and 0.5 of the category
    assert importances[0] / importances[2] == pytest.approx(2, rel=0.3)
    assert max(importances[1], importances[3]) < 0.4 * importances[2]


# -- derivatives -----------------------------------------------------------------------------------


LINKS = {
    "affine": AffineLink(np.array([2.0, -1.0]), np.array([5.0, 0.0])),
    "softmax": LogOddsLink(np.array([0.3, 0.7]), 0.1, *np.full((4, 2), 0.7), binary=False),
    "sigmoids": LogOddsLink(np.array([0.3, 0.7]), 0.1, *np.full((4, 2), 0.7), binary=True),
}


@pytest.mark.parametrize("link", LINKS.values(), ids=list(LINKS))
@pytest.mark.parametrize(
    "amplitudes", [(0, 0, 0), (0.7, 0, 0), (0, 0.4, 0), (0, 0, 0.5), (0.7, 0.4, 0.5)]
)
def test_state_gradient_of_the_gaussian_process(amplitudes, link):
    rng = np.random.default_rng(0)
    points, x, direction = (rng.standard_normal((n, 4)) for n in (30, 10, 10))
    one, two, three = amplitudes
    leaves, rows = Leaves.grow(points, 10)
    mean = Mean(
        points[np.concatenate(rows)],
        rng.standard_normal((30, 2)),
        rng.standard_normal((4, 2)),
        rng.standard_normal(2),
        leaves,
        np.cumsum([0, *map(len, rows)]),
    )
    kernel = Kernel(one, 2.0, two, 3.0, 0.5, three, 2.5)
    head = GaussianProcessHead(kernel, 0.1 * rng.standard_normal(4), mean, link)
    covector = rng.standard_normal((10, 2))
    expected = difference(lambda z: np.sum(head.scores(z, z) * covector, axis=1), x, direction)
    gradient = head.state_gradient(x, x, covector)
    np.testing.assert_allclose(np.sum(gradient * direction, axis=1), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_state_gradient_at_a_point_of_the_process(dtype):
    """A kernel has a kink there, and points in no direction."""
    x = np.random.default_rng(0).standard_normal((1, 4)).astype(dtype)
    one = np.ones(1, dtype)
    link = AffineLink(one, one)
    kernel = Kernel(1.0, 1.0, 1.0, 1.0, 0.0, 1.0, 1.0)
    head = GaussianProcessHead(kernel, 0 * x[0], Mean.of_points(kernel, x, one[None]), link)
    np.testing.assert_array_equal(head.state_gradient(x, x, one[None]), np.zeros((1, 4)))


@pytest.mark.parametrize("readout", ["gaussian_process", "linear", "displacement"])
@pytest.mark.parametrize("integrator", ["euler", "heun"])
def test_start_gradient(data, readout, integrator):
    X, y = data
    model = regressor(readout=readout, integrator=integrator).fit(X, np.column_stack([y, X[:, 0]]))
    member, rng = model.ensemble_.members[0], np.random.default_rng(1)
    x0 = member.model.input_map(rng.standard_normal((7, 5)))
    covector, direction = rng.standard_normal((7, 2)), rng.standard_normal(x0.shape)
    flow_alone = replace(member.model, input_map=member.model.input_map.identity())

    def value(z):
        scores = flow_alone.of_states(member.scores_of_states, member.theta, X[:7], z)
        return np.sum(scores * covector, axis=1)

    gradient = member.start_gradient(x0, covector)
    # larger differences meet kinks of the process, of which there is one for each point and state,
    # and in smaller ones rounding shows: where noise is small, large coefficients cancel. So one of
    # several has to agree
    by_gradient = np.sum(gradient * direction, axis=1)
    steps = [1e-5, 1e-6, 1e-7, 3e-8]
    off = [np.abs(difference(value, x0, direction, eps) - by_gradient) for eps in steps]
    np.testing.assert_array_less(np.min(off, axis=0), 5e-4 + 1e-3 * np.abs(by_gradient))


def test_start_gradient_goes_block_by_block(data):
    member = regressor().fit(*data).ensemble_.members[0]
    small = replace(member, model=member.model.with_block(96))
    x0, covector = member.model.input_map(data[0]), np.ones((300, 1))
    np.testing.assert_allclose(
        small.start_gradient(x0, covector), member.start_gradient(x0, covector), atol=1e-10
    )


# -- importances -----------------------------------------------------------------------------------


def kinds(X, y):
    return {
        "regressor": regressor().fit(X, y),
        "float32": regressor().fit(X.astype(np.float32), y),
        "outputs": regressor().fit(X, np.column_stack([y, y + 1])),
        "linear readout": regressor(readout="linear").fit(X, y),
        "stream": regressor(solver=Adam(batch_size=20, learning_rate_init=0.02)).fit(X, y),
        "two classes": classifier().fit(X, y > 0),
        "three classes": classifier().fit(X, np.digitize(y, [-1, 1])),
        "labels": classifier().fit(X, np.column_stack([y > 0, y > 1])),
        "linear readout, three classes": classifier(readout="linear").fit(
            X, np.digitize(y, [-1, 1])
        ),
        "one member": regressor(n_members=1).fit(X, y),
    }


def test_columns_that_count_come_first(data):
    X, y = data
    for name, model in kinds(X, y).items():
        importances = model.feature_importances_
        assert importances.shape == (5,), name
        assert importances.min() >= 0
        np.testing.assert_allclose(importances.sum(), 1)
        assert np.argsort(-importances)[:2].tolist() == [1, 3], name


@pytest.mark.parametrize("ramps", [False, True])
def test_units_do_not_count(data, ramps):
    X, y = data
    one, other = regressor(ramps=ramps), regressor(ramps=ramps)
    one.fit(X, y)
    other.fit(X * [1, 1e3, 1, 1e-3, 7] + 5, y)
    np.testing.assert_allclose(other.feature_importances_, one.feature_importances_, atol=0.06)


def test_a_constant_column_counts_nothing(data):
    X, y = data
    X = np.column_stack([X, np.full(len(X), 3.0)])
    assert regressor().fit(X, y).feature_importances_[5] == 0
    importances = regressor().fit(np.ones((20, 2)), np.arange(20.0)).feature_importances_
    np.testing.assert_array_equal(importances, np.zeros(2))


def test_weights_are_repetition_and_jobs_change_nothing(data):
    X, y = data
    count = np.random.default_rng(0).integers(1, 4, len(X))
    weighted = regressor().fit(X, y, sample_weight=count)
    repeated = regressor(n_jobs=2).fit(np.repeat(X, count, axis=0), np.repeat(y, count))
    np.testing.assert_array_equal(weighted.feature_importances_, repeated.feature_importances_)


def test_more_rows_than_are_looked_at(data):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((1500, 4))
    model = regressor(readout="linear").fit(X, X[:, 2] ** 2)
    importances = model.feature_importances_
    assert importances.argmax() == 2
    assert importances[2] > 0.8


def test_batches_have_them_too(data):
    X, y = data
    model = regressor(solver=Adam(batch_size=20))
    first = model.partial_fit(X, y).feature_importances_
    for _ in range(20):
        model.partial_fit(X, y)
    assert not np.array_equal(model.feature_importances_, first)
    assert model.feature_importances_.argmax() == 1


def test_agrees_with_permutation_importance():
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (600, 6))
    y = X @ [4.0, 2.0, 1.0, 0.5, 0.25, 0.0] + 0.1 * rng.standard_normal(600)
    model = regressor().fit(X[:400], y[:400])
    held_out = permutation_importance(model, X[400:], y[400:], random_state=0)
    rank = np.argsort(held_out.importances_mean)
    np.testing.assert_array_equal(np.argsort(model.feature_importances_)[1:], rank[1:])


def test_features_without_targets_have_none(data):
    assert not hasattr(ControlledODETransformer(random_state=0).fit(*data), "feature_importances_")


# -- what reads them -------------------------------------------------------------------------------


def test_select_from_model(data):
    X, y = data
    selector = SelectFromModel(regressor(), max_features=2, threshold=-np.inf).fit(X, y)
    assert selector.get_support(indices=True).tolist() == [1, 3]
    model = make_pipeline(selector, regressor()).fit(X, y)
    assert model.score(X, y) > 0.9


def test_recursive_feature_elimination(data):
    X, y = data
    for model, target in ((regressor(), y), (classifier(), np.digitize(y, [-1, 1]))):
        selector = RFE(model, n_features_to_select=2).fit(X, target)
        assert selector.get_support(indices=True).tolist() == [1, 3]
        assert selector.estimator_.feature_importances_.shape == (2,)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("algorithm", ["auto", "exact", "permutation", "partition"])
@pytest.mark.parametrize("make", [regressor, classifier])
def test_shap(data, make, algorithm):
    shap = pytest.importorskip("shap")
    X, y = data
    model = make().fit(X, y > 0 if make is classifier else y)
    predict = model.predict_proba if make is classifier else model.predict
    explainer = shap.Explainer(predict, X[:30], algorithm=algorithm)
    values = explainer(X[:10]).values
    size = np.abs(values.reshape(10, 5, -1)[:, :, -1]).mean(axis=0)
    assert size.argmax() == 1


@pytest.mark.filterwarnings("ignore")
def test_shap_takes_a_model_for_no_linear_one(data):
    """Shap reads `coef_` of whatever has one; it has to look at the predictions instead."""
    shap = pytest.importorskip("shap")
    X, y = data
    model = regressor().fit(X, y)
    values = shap.KernelExplainer(model.predict, X[:20]).shap_values(X[:3], nsamples=40)
    total = values.sum(axis=1) + model.predict(X[:20]).mean()
    np.testing.assert_allclose(total, model.predict(X[:3]), atol=1e-6)


def test_many_columns_count_through_their_projection():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 150))
    model = ControlledODERegressor(n_members=1, random_state=0).fit(X, 3 * X[:, 7])
    assert model.ensemble_.input_map.projection is not None
    assert model.feature_importances_.shape == (150,)
    assert model.feature_importances_.argmax() == 7


def test_an_interrupt_in_them_keeps_the_model(data, monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt

    X, y = data
    undisturbed = regressor().fit(X, y)
    monkeypatch.setattr("skcode.estimators._supervised.feature_importances", interrupted)
    model = regressor()
    with pytest.raises(KeyboardInterrupt, match="interrupted after the training"):
        model.fit(X, y)
    assert np.isnan(model.feature_importances_).all()
    np.testing.assert_array_equal(model.predict(X), undisturbed.predict(X))
