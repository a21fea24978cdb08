"""A logistic regression on the inputs, which joins processes where borders are linear."""

import pickle
import warnings

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from skcode import ControlledODEClassifier
from skcode.gaussian_process import GaussianProcessReadout
from skcode.model import ClassificationTarget
from skcode.training._linear_opinion import (
    _left_out,
    _regression,
    _share,
    may_have_linear_opinion,
)
from skcode.training._rows import Rows
from skcode.utils._blocks import OrderedMap

SMALL = {"n_fields": 8, "n_members": 2, "random_state": 0}


def linear_law(n, n_classes=3, seed=0):
    """Classes by the largest of linear scores of four columns."""
    weights = np.random.default_rng(7).standard_normal((4, n_classes))
    X = np.random.default_rng(seed).standard_normal((n, 4))
    return X, (X @ weights).argmax(axis=1)


def joined(model):
    return [member for member in model._members if member.at_rest]


@pytest.fixture(scope="module", params=[2, 3])
def model(request):
    X, y = linear_law(200, request.param)
    return X, y, ControlledODEClassifier(**SMALL).fit(X, y)


def test_linear_borders_are_known(model):
    X, y, fitted = model
    X_new, y_new = linear_law(2000, len(fitted.classes_), seed=1)
    (member,) = joined(fitted)
    assert 0.5 < member.share <= 1
    alone = ControlledODEClassifier(readout=GaussianProcessReadout(n_pooled=0), **SMALL).fit(X, y)
    assert not joined(alone)
    assert fitted.score(X_new, y_new) > alone.score(X_new, y_new) + 0.01
    losses = (log_loss(y_new, each.predict_proba(X_new)) for each in (fitted, alone))
    assert next(losses) < 0.6 * next(losses)


def test_the_member_says_what_the_regression_says(model):
    X, y, fitted = model
    (member,) = joined(fitted)
    z = member.model.input_map(X)[:, :4].astype(float)
    K = fitted.ensemble_.target.n_outputs
    weights, intercepts = _regression(z, y, np.ones(len(y)), 10.0, fitted.ensemble_.target)
    theta = np.zeros(len(member.theta))
    A, b = member.model.readout.split(theta[member.fitted.controls.size :])
    A[:, :4], b[:] = weights, intercepts
    member = member.copy()
    member.move(theta)
    expected = LogisticRegression(C=10.0, max_iter=500).fit(z, y).decision_function(z)
    scores = member.fitted.scores(X, OrderedMap(1)).reshape(expected.shape)
    np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-5)
    assert scores.size == len(X) * K


def test_processes_have_the_rest_of_the_weight(model):
    X, y, fitted = model
    (member,) = joined(fitted)
    alone = ControlledODEClassifier(readout=GaussianProcessReadout(n_pooled=0), **SMALL).fit(X, y)
    scores = fitted.ensemble_.scores(X)
    own = alone.ensemble_.scores(X)
    np.testing.assert_allclose(
        scores,
        (1 - member.share) * own + member.share * member.fitted.scores(X, OrderedMap(1)),
        rtol=1e-6,
        atol=1e-6,
    )


def test_rows_are_predicted_by_regressions_without_them():
    X, y = linear_law(60)
    target = ClassificationTarget.learn(y)
    scores, strength = _left_out(X, y, np.ones(60), target)
    X[17] += 0.1
    other = scores.copy()
    moved, same = _left_out(X, y, np.ones(60), target)
    assert same == strength
    fold = np.empty(60, dtype=int)
    fold[np.argsort(y, kind="stable")] = np.arange(60) % 5
    kept = fold != fold[17]
    weights, intercepts = _regression(X[kept], y[kept], np.ones(kept.sum()), strength, target)
    np.testing.assert_allclose(moved[17], weights @ X[17] + intercepts, atol=1e-12)
    # its own part does not see it, the others do
    rest = (fold == fold[17]) & (np.arange(60) != 17)
    np.testing.assert_array_equal(moved[rest], other[rest])
    assert (moved[fold != fold[17]] != other[fold != fold[17]]).any()


def test_who_knows_nothing_has_no_weight():
    rng = np.random.default_rng(0)
    y = np.arange(200) % 3
    truth = 3 * np.eye(3)[y] + rng.standard_normal((200, 3))
    noise = rng.standard_normal((200, 3))
    target = ClassificationTarget.learn(y)
    assert _share(truth[None], noise, y, np.ones(200), target) == 0
    assert _share(noise[None], truth, y, np.ones(200), target) > 0.8


def test_curved_borders_ask_for_none():
    X = np.random.default_rng(0).standard_normal((300, 2))
    model = ControlledODEClassifier(**SMALL).fit(X, (X**2).sum(axis=1) > 1.4)
    assert not joined(model)


def test_each_fit_makes_it_anew(model):
    X, y, _ = model
    going = ControlledODEClassifier(warm_start=True, **SMALL).fit(X, y).fit(X, y)
    assert len(joined(going)) == 1
    assert len(going._members) == 3
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        going.partial_fit(X, y)
    assert len(going._members) == 2


def test_it_travels(model):
    X, _, fitted = model
    other = pickle.loads(pickle.dumps(fitted))
    assert np.array_equal(other.predict_proba(X), fitted.predict_proba(X))


@pytest.mark.parametrize("y", [[0, 1] * 3, [0, 1, 2, 2, 2, 2], [0, 0, 0, 0, 0, 1], list("abcdef")])
def test_classes_of_a_row_are_no_obstacle(y):
    X = np.random.default_rng(0).standard_normal((6, 2))
    p = ControlledODEClassifier(**SMALL).fit(X, y).predict_proba(X)
    np.testing.assert_allclose(p.sum(axis=1), 1)


def test_inputs_of_any_size_are_no_obstacle():
    X, y = linear_law(100)
    model = ControlledODEClassifier(scaling=None, **SMALL).fit(1e5 * X, y)
    assert not joined(model)


@pytest.mark.parametrize(
    ("n", "K", "expected"), [(999, 10, True), (1000, 2, False), (99, 11, False)]
)
def test_it_is_for_few_rows_of_few_classes(n, K, expected):
    y = np.arange(n) % K
    rows = Rows.single(np.zeros((n, 1)), y, np.ones(n))
    assert may_have_linear_opinion(rows, ClassificationTarget.learn(y)) == expected
