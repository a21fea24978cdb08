"""The Gaussian process behind the estimators: weights, intervals, choices by left-out rows."""

import pickle
import tracemalloc
import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import make_classification, make_friedman1
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import r2_score

from skcode import ControlledODEClassifier, ControlledODERegressor
from skcode.estimators._defaults import choose_members
from skcode.gaussian_process import (
    GaussianProcessReadout,
    Hyperparameters,
    Kernel,
)
from skcode.model import Ensemble, MultilabelTarget
from skcode.training import _heads
from skcode.training._counts import counts_of
from skcode.training._flow_targets import shrinkage_of
from skcode.training._rows import RawRows
from skcode.training._selection import which_predict

SMALL = {"n_fields": 8, "random_state": 0}


@pytest.fixture(scope="module")
def friedman():
    X, y = make_friedman1(300, noise=0.5, random_state=0)
    return X[:200], y[:200], X[200:], y[200:]


def test_auto_takes_the_process_where_a_closed_form_can_be_had(friedman):
    X, y, *_ = friedman

    def readout(**parameters):
        kwargs = {**SMALL, "n_members": 1, "max_iter": 2, **parameters}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ControlledODERegressor(**kwargs).fit(X, y).readout_

    assert isinstance(readout(), GaussianProcessReadout)
    assert isinstance(readout(solver="gauss-newton"), GaussianProcessReadout)
    assert isinstance(readout(readout="gaussian_process", solver="adam"), GaussianProcessReadout)
    assert readout(solver="adam") == readout(solver="lbfgs") == readout(readout="linear")
    assert readout(early_stopping=True) == "linear"
    assert readout(readout="displacement") == "displacement"


@pytest.mark.parametrize(
    ("n_rows", "numbers", "classes"), [(999, 6, 6), (2499, 4, 4), (2500, 2, 4), (4097, 2, 2)]
)
def test_a_process_has_fewer_members_where_rows_are_many(n_rows, numbers, classes):
    assert choose_members(None, n_rows, process=True) == numbers
    assert choose_members(None, n_rows, process=True, of_classes=True) == classes
    # a linear readout is cheap, and what a user says counts
    assert choose_members(None, n_rows) == (4 if n_rows >= 1000 else 6)
    assert choose_members(3, n_rows, process=True) == 3


def test_the_parameters_of_the_readout_are_searched_and_checked(friedman):
    X, y, *_ = friedman
    readout = GaussianProcessReadout(n_exact=100, n_leaf=60, n_landmarks=50)
    model = ControlledODERegressor(readout=readout, n_members=2, **SMALL).fit(X, y)
    n_leaves = 2 ** np.ceil(np.log2(len(y) / 60)).astype(int)
    n_points = len(y) + 50 * n_leaves
    heads = [member.head for member in model.ensemble_.members]
    assert [len(head.mean.points) for head in heads] == [n_points, n_points]
    assert model.n_parameters_ == 2 * (model.controls_[0].size + n_points)
    model.set_params(readout__n_landmarks=20, readout__n_local=50).fit(X, y)
    assert len(model.ensemble_.members[0].head.mean.points) == 50 + 20
    with pytest.raises(ValueError, match="n_landmarks"):
        clone(model).set_params(readout__n_landmarks=0).fit(X, y)
    with pytest.raises(ValueError, match="first set readout"):
        ControlledODERegressor().set_params(readout__n_landmarks=20)


def test_memory_does_not_grow_with_the_states_of_very_many_rows():
    """Of all rows 256 are in leaves; 60,000 more have states of 61 MB in double precision."""
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (120_000, 4))
    y = np.sin(3 * X[:, 0]) + X[:, 1]
    readout = GaussianProcessReadout(
        n_exact=256, n_leaf=128, n_landmarks=64, n_local=256, n_evidence=100, n_steps=0
    )
    model = ControlledODERegressor(
        readout=readout, n_states=128, n_fields=4, n_intervals=1, n_members=1, max_iter=2,
        ramps=False, random_state=0,
    )  # fmt: skip
    peaks = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X[:300], y[:300])
        for n in (60_000, 120_000):
            tracemalloc.start()
            model.fit(X[:n], y[:n])
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert model.score(X, y) > 0.95
    assert peaks[1] - peaks[0] < 60_000 * 128 * 8 / 4


def test_leaves_come_close_to_all_rows(friedman):
    X, y, X_new, y_new = friedman
    exact = ControlledODERegressor(**SMALL).fit(X, y)
    some = GaussianProcessReadout(n_exact=1, n_leaf=60, n_landmarks=60)
    leaves = ControlledODERegressor(readout=some, **SMALL).fit(X, y)
    assert leaves.score(X_new, y_new) > exact.score(X_new, y_new) - 0.05


@pytest.mark.parametrize("whole", [False, True])
def test_weights_that_are_all_multiplied_predict_the_same(friedman, whole):
    X, y, X_new, _ = friedman
    rng = np.random.default_rng(0)
    weight = rng.integers(1, 600, len(y)) if whole else rng.uniform(0.5, 2, len(y))
    model = ControlledODERegressor(n_members=2, **SMALL)
    mean, deviation = model.fit(X, y, weight).predict(X_new, return_std=True)
    for factor in (0.001, 0.999, 2, 1000):
        other = model.fit(X, y, factor * weight).predict(X_new, return_std=True)
        np.testing.assert_allclose(other, (mean, deviation), rtol=1e-4)


def rare_class(n, seed):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, 4))
    return X, (X[:, 0] + np.sin(2 * X[:, 1]) + 0.8 * rng.standard_normal(n) > 1.5).astype(int)


def test_a_class_of_more_weight_is_more_probable_whole_or_not():
    X, y = rare_class(300, 0)
    X_new, y_new = rare_class(2000, 1)
    model = ControlledODEClassifier(n_members=2, **SMALL)

    def probability(X, y, weight=None):
        return model.fit(X, y, weight).predict_proba(X_new)[:, 1]

    plain = probability(X, y)
    whole, nearly = (probability(X, y, np.where(y == 1, w, 1.0)) for w in (6.0, 6.001))
    # a quartile that is just reached may be the next row's
    np.testing.assert_allclose(whole, nearly, atol=0.05)
    # with weights six times as large, odds are six times as large where classes mix
    odds = y_new.mean() * 6 / (1 - y_new.mean())
    assert plain.mean() == pytest.approx(y_new.mean(), abs=0.05)
    assert whole.mean() == pytest.approx(odds / (1 + odds), abs=0.2)
    # so do copies drawn at random, as those who oversample a class make them
    rare = np.random.default_rng(2).choice(np.flatnonzero(y == 1), 5 * int(y.sum()))
    drawn = probability(np.concatenate([X, X[rare]]), np.concatenate([y, y[rare]]))
    np.testing.assert_allclose(drawn.mean(), whole.mean(), atol=0.1)
    model.set_params(class_weight={1: 6})
    np.testing.assert_allclose(probability(X, y), whole, atol=1e-6)


def counts_where(X, weight, strata=None, copies=None):
    copies = np.ones(len(X)) if copies is None else np.asarray(copies, dtype=float)
    rows = RawRows(X, np.zeros(len(X)), np.asarray(weight, dtype=float), copies)
    return counts_of(rows, strata).tolist()


def test_rows_stand_for_several_observations_where_places_come_with_several_targets():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((40, 1))
    X[1] = X[0]
    codes = np.arange(40) % 2
    weight = 2 + np.arange(40) % 3
    assert counts_where(X, weight, codes) == [2, 3, *[1] * 38]
    # factors of classes, and of all rows, are no counts
    assert counts_where(X, weight * np.where(codes, 10, 1), codes) == [2, 3, *[1] * 38]
    assert counts_where(X, 7 * weight) == [2, 3, *[1] * 38]
    assert counts_where(X, weight + 0.5) == [1] * 40
    assert counts_where(X, np.ones(40)) == [1] * 40


def test_rows_stand_for_several_observations_in_tables_of_few_values():
    rng = np.random.default_rng(0)
    weight = rng.integers(1, 9, 60)
    of_one = [1] * 60
    levels = np.stack(np.unravel_index(np.arange(60), (3, 4, 5)), axis=1)
    several = weight.tolist()
    assert counts_where(levels, weight) == several
    assert counts_where(np.arange(60)[:, None] - 7.5, weight) == several
    assert counts_where(rng.standard_normal((60, 1)), weight) == of_one
    assert counts_where(np.c_[levels, rng.standard_normal(60)], weight) == of_one
    # where weights are not whole, merged rows count
    assert counts_where(levels, 0.3 * weight, copies=weight) == several
    assert counts_where(levels, weight / 7) == of_one
    # gaps are a value
    assert counts_where(np.where(levels == 1, np.nan, levels), weight) == several
    # classes of which one has one row alone
    assert counts_where(levels[:3], [6, 4, 8], np.array([0, 1, 1])) == [6, 1, 2]


def test_a_row_that_stands_out_stands_for_several_observations():
    X = np.random.default_rng(0).uniform(size=(100, 1))
    assert counts_where(X, np.r_[80, np.ones(99)], np.r_[1, np.zeros(99, int)])[:2] == [80, 1]


def test_means_whose_noise_falls_with_their_weights_have_exposures():
    """In a table of few values, what a smooth function leaves of the targets tells."""
    rng = np.random.default_rng(0)
    cells = np.stack(np.unravel_index(np.arange(120), (4, 5, 6)), axis=1)
    smooth = np.sin(cells[:, 0]) + 0.5 * cells[:, 1] + 0.3 * cells[:, 2]
    weight = rng.integers(1, 100, 120)
    noisy = smooth + rng.standard_normal(120) * np.sqrt(50 / weight)
    rough = smooth + rng.standard_normal(120)

    def fitted(y):
        model = ControlledODERegressor(n_members=2, **SMALL)
        return model.fit(cells, y, weight).predict(cells)

    assert r2_score(smooth, noisy) < 0
    assert r2_score(smooth, fitted(noisy)) > 0.6
    # a law without noise is no smoother where rows are many
    assert r2_score(rough, fitted(rough)) > 0.99


def _laws():
    """Laws without noise on few places, of which a rough one says nothing of the others."""
    rng = np.random.default_rng(0)
    bits, levels = rng.integers(0, 2, (600, 5)), rng.integers(0, 4, (400, 2))
    ages = rng.integers(20, 60, (600, 1))
    xor = bits[:, 0] ^ bits[:, 1]
    yield "xor", bits[:, :2], xor
    yield "parity", bits, bits.sum(axis=1) % 2
    yield "one column", bits[:, :1], bits[:, 0]
    yield "sum modulo three", levels, levels.sum(axis=1) % 3
    prices = rng.standard_normal(60)
    yield "prices of ages", ages, prices[ages[:, 0]]
    cities = np.array([f"city {k}" for k in range(60)], dtype=object)[ages]
    yield "prices of cities", cities, prices[ages[:, 0]]
    yield "xor as numbers", bits[:, :2], xor.astype(float)
    rain = np.where(rng.random(400) < 0.5, 0.0, rng.uniform(0.1, 1, 400))[:, None]
    yield "zeros", rain, (rain[:, 0] == 0).astype(int)
    yield "zeros as numbers", rain, (rain[:, 0] == 0).astype(float)


@pytest.mark.parametrize(("X", "y"), [pytest.param(X, y, id=name) for name, X, y in _laws()])
def test_a_law_without_noise_on_few_places_is_known(X, y):
    kind = ControlledODERegressor if y.dtype.kind == "f" else ControlledODEClassifier
    model = kind(n_members=2, **SMALL).fit(X[::2], y[::2])
    assert model.score(X[1::2], y[1::2]) > 0.9
    if kind is ControlledODEClassifier:
        assert model.predict_proba(X[1::2]).max(axis=1).mean() > 0.9
    # whatever rows weigh
    weight = np.random.default_rng(1).uniform(0.5, 2, len(y[::2]))
    assert model.fit(X[::2], y[::2], weight).score(X[1::2], y[1::2]) > 0.9


@pytest.mark.parametrize("n_rows", [100, 200, 300])
def test_intervals_of_few_rows_are_as_wide_as_errors(n_rows):
    X, y = make_friedman1(n_rows + 1000, noise=0.1, random_state=0)
    model = ControlledODERegressor(n_members=2, **SMALL).fit(X[:n_rows], y[:n_rows])
    mean, deviation = model.predict(X[n_rows:], return_std=True)
    error = np.sqrt(np.mean((y[n_rows:] - mean) ** 2))
    assert 0.5 * error < np.sqrt(np.mean(deviation**2)) < 1.6 * error
    assert 0.8 < np.mean(np.abs(y[n_rows:] - mean) < 1.645 * deviation) < 0.99


@pytest.mark.parametrize(
    "readout", ["auto", GaussianProcessReadout(n_exact=1, n_leaf=40, n_landmarks=30)]
)
def test_whole_weights_are_repetition_to_the_bit(friedman, readout):
    X, y, X_new, _ = friedman
    counts = np.random.default_rng(0).integers(0, 4, len(y))
    model = ControlledODERegressor(readout=readout, n_members=2, **SMALL).fit(X, y, counts)
    repeated = np.random.default_rng(1).permutation(np.repeat(np.arange(len(y)), counts))
    other = clone(model).fit(X[repeated], y[repeated])
    for one, two in zip(
        model.predict(X_new, return_std=True), other.predict(X_new, return_std=True), strict=True
    ):
        assert np.array_equal(one, two)


@pytest.mark.parametrize("kind", ["binary", "many", "multilabel"])
def test_whole_weights_of_classes_are_repetition_to_the_bit(kind):
    K = 2 if kind == "binary" else 4
    X, y = make_classification(120, n_classes=K, n_informative=4, random_state=0)
    if kind == "multilabel":
        y = np.stack([y % 2, y // 2], axis=1)
    counts = np.random.default_rng(0).integers(1, 4, len(y))
    model = ControlledODEClassifier(n_members=2, **SMALL).fit(X, y, counts)
    other = clone(model).fit(np.repeat(X, counts, axis=0), np.repeat(y, counts, axis=0))
    assert np.array_equal(model.predict_proba(X), other.predict_proba(X))


def test_deviations_are_positive_and_grow_away_from_the_data(friedman):
    X, y, X_new, y_new = friedman
    model = ControlledODERegressor(**SMALL).fit(X, y)
    mean, deviation = model.predict(X_new, return_std=True)
    assert np.array_equal(mean, model.predict(X_new))
    assert np.isfinite(deviation).all()
    assert (deviation > 0).all()
    within = np.abs(y_new - mean) < 1.645 * deviation
    assert within.mean() > 0.75
    _, far = model.predict(X_new + 3, return_std=True)
    assert np.median(far) > np.median(deviation)


def test_several_outputs_are_each_predicted(friedman):
    X, y, X_new, y_new = friedman
    both = np.stack([y, 100 - 3 * X[:, 0]], axis=1)
    model = ControlledODERegressor(**SMALL).fit(X, both)
    mean, deviation = model.predict(X_new, return_std=True)
    assert mean.shape == deviation.shape == (100, 2)
    assert np.corrcoef(mean[:, 0], y_new)[0, 1] ** 2 > 0.7
    assert np.corrcoef(mean[:, 1], X_new[:, 0])[0, 1] ** 2 > 0.9
    # each in the units of its own
    assert np.median(deviation[:, 1]) < 0.5 * np.median(deviation[:, 0])


@pytest.mark.parametrize("K", [2, 3, 6])
def test_classes_are_told_apart_and_probabilities_are_calibrated(K):
    X, y = make_classification(
        500, n_features=8, n_informative=8, n_redundant=0, n_classes=K, class_sep=2.0,
        n_clusters_per_class=1, random_state=0,
    )  # fmt: skip
    model = ControlledODEClassifier(**SMALL).fit(X[:300], y[:300])
    p = model.predict_proba(X[300:])
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-6)
    right = p.argmax(axis=1) == y[300:]
    assert right.mean() > 0.75
    # how sure it is on average is how often it is right
    assert abs(p.max(axis=1).mean() - right.mean()) < 0.1
    # a thousand classes would cost the flow what two do: it is trained on one number
    assert model.ensemble_.members[0].model.readout.n_outputs == 1


def test_labels_are_told_apart():
    X = np.random.default_rng(0).standard_normal((200, 3))
    Y = (X[:, :2] > 0).astype(int)
    model = ControlledODEClassifier(**SMALL).fit(X, Y)
    assert isinstance(model.ensemble_.target, MultilabelTarget)
    assert (model.predict(X) == Y).mean() > 0.95


def test_a_fit_that_goes_on_keeps_directions_and_readout(friedman):
    X, y, *_ = friedman
    codes = np.digitize(y, np.quantile(y, [0.3, 0.6]))
    model = ControlledODEClassifier(warm_start=True, n_members=2, max_iter=3, **SMALL)
    with pytest.warns(UserWarning, match="did not converge"):
        model.fit(X, codes)
    directions = [member.projection for member in model._members if not member.at_rest]
    losses = model.loss_
    # "auto" alone would take a linear readout for this solver
    model.set_params(solver="lbfgs", max_iter=200, tol=1e-2, alpha=1e-3).fit(X, codes)
    assert isinstance(model.readout_, GaussianProcessReadout)
    alone = [member for member in model._members if not member.at_rest]
    assert all(one is two.projection for one, two in zip(directions, alone, strict=True))
    assert all(np.isfinite(losses))
    assert model.score(X, codes) > 0.8


def test_batches_keep_the_linear_readout(friedman):
    X, y, *_ = friedman
    model = ControlledODERegressor(n_members=1, **SMALL)
    model.partial_fit(X, y)
    assert model.readout_ == "linear"
    assert not hasattr(model, "kernel_")
    # what was begun with a linear readout goes on with it
    model.set_params(warm_start=True, max_iter=2, alpha=1e-2, tol=10).fit(X, y)
    assert model.readout_ == "linear"
    model.set_params(warm_start=False, alpha=None, max_iter=None, tol=1e-4).fit(X, y)
    assert isinstance(model.readout_, GaussianProcessReadout)
    assert not hasattr(model, "readout_coef_")
    # the flows of a fit go on, with a linear readout that begins anew
    controls = model.controls_.copy()
    with pytest.warns(UserWarning, match="a linear readout takes its place"):
        model.set_params(solver="auto").partial_fit(X, y)
    assert model.readout_ == "linear"
    assert 0 < np.abs(model.controls_ - controls).max() < 0.1
    assert not hasattr(ControlledODERegressor(readout="gaussian_process"), "partial_fit")


def test_ctrl_c_in_the_readout_leaves_a_model(friedman, monkeypatch):
    import skcode.training._heads as heads

    X, y, X_new, y_new = friedman
    whole = ControlledODERegressor(**SMALL).fit(X, y)
    pressed, fit_member = [], heads._fit_member

    def press(*task):
        if not pressed:
            pressed.append(True)
            raise KeyboardInterrupt
        return fit_member(*task)

    monkeypatch.setattr(heads, "_fit_member", press)
    model = clone(whole)
    with pytest.raises(KeyboardInterrupt, match="interrupted"):
        model.fit(X, y)
    assert model.score(X_new, y_new) == pytest.approx(whole.score(X_new, y_new), abs=0.05)


def test_one_row_and_constant_targets():
    X = np.random.default_rng(0).standard_normal((30, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        one = ControlledODERegressor(**SMALL).fit(X[:1], [3.0])
    mean, deviation = one.predict(X, return_std=True)
    np.testing.assert_allclose(mean, 3.0)
    assert np.isfinite(deviation).all()
    for value in (0.0, 1e10):
        constant = ControlledODERegressor(**SMALL).fit(X, np.full(30, value))
        np.testing.assert_allclose(constant.predict(3 * X), value)


def test_flows_of_many_rows_are_trained_on_some_of_them(friedman, monkeypatch):
    X, y, X_new, y_new = friedman
    model = ControlledODERegressor(n_members=2, **SMALL)
    whole = clone(model).fit(X, y).score(X_new, y_new)
    monkeypatch.setattr("skcode.training._flow_targets._MOST_FLOW_ROWS", len(y) // 2)
    some = model.fit(X, y)
    assert whole != some.score(X_new, y_new) > whole - 0.1
    # the process sees all rows
    assert len(some.ensemble_.members[0].head.mean.points) == len(y)


def test_noise_that_looks_like_a_rough_function_is_noise(monkeypatch):
    monkeypatch.setattr("skcode.training._flow_targets._FEW_ROWS", 0)
    rng = np.random.default_rng(0)
    X, X_new = rng.uniform(-1, 1, (2, 300, 2))
    y = 0.5 * X[:, 0] + rng.standard_normal(300)
    model = ControlledODERegressor(n_members=2, ramps=False, **SMALL)
    right = model.fit(X, y).predict(X_new)
    # an evidence that errs by chance: a short length explains everything
    rough = Hyperparameters(Kernel(1.0, 0.3, 0.0, 1.0, 0.0), 1e-3)
    monkeypatch.setattr(
        "skcode.training._heads.hyperparameters_of", lambda members, *args: [rough] * len(members)
    )
    mended = model.fit(X, y).predict(X_new)
    monkeypatch.setattr(
        "skcode.training._heads.refine_numbers",
        lambda members, observations, hyperparameters, rng: hyperparameters,
    )
    wrong = model.fit(X, y).predict(X_new)
    law = 0.5 * X_new[:, 0]
    errors = [np.mean((f - law) ** 2) for f in (right, mended, wrong)]
    assert errors[0] < errors[1] < 0.5 * errors[2]


def test_predictions_are_shrunk_by_the_slope_of_what_is_left_out():
    rng = np.random.default_rng(0)
    n, S = 20_000, 4
    known, errors = rng.standard_normal((n, 3)), rng.standard_normal((S, n, 3))
    # outputs that follow what members agree on by a fifth, not at all, and by more than it
    outputs = known * [0.2, 0.0, 1.5] + rng.standard_normal((n, 3))
    weight = rng.uniform(0.5, 2, n)
    members = known + 0.8 * errors
    mean = members.mean(axis=0)
    expected = [np.average(outputs[:, k] * mean[:, k], weights=weight) for k in range(3)]
    expected = np.clip(expected / np.average(mean**2, weights=weight, axis=0), 0, 1)
    # the definition, for opinions that are all of the same rows
    np.testing.assert_allclose(shrinkage_of(outputs, members, None, weight), expected)
    assert expected[1] < 0.02
    assert expected[2] == 1
    # one member speaks for each row, and the slope is still that of the mean
    one = members[rng.integers(S, size=n), np.arange(n)][None]
    found = shrinkage_of(outputs, one, members.var(axis=0), weight)
    np.testing.assert_allclose(found, expected, atol=0.02)
    # nothing is said, and nothing is to be shrunk
    np.testing.assert_array_equal(shrinkage_of(outputs, 0 * one, None, weight), 1)


def test_where_columns_say_nothing_predictions_come_near_the_mean(monkeypatch):
    rng = np.random.default_rng(2)
    X, y = rng.standard_normal((200, 5)), rng.standard_normal(200)
    X_test, y_test = rng.standard_normal((1000, 5)), rng.standard_normal(1000)
    model = ControlledODERegressor(random_state=0)
    shrunk = clone(model).fit(X, y)
    monkeypatch.setattr(_heads, "shrinkage_of", lambda outputs, *_: np.ones(outputs.shape[1]))
    plain = clone(model).fit(X, y)
    mean = y.mean()
    said, unsaid = shrunk.predict(X_test) - mean, plain.predict(X_test) - mean
    slope = (said @ unsaid) / (unsaid @ unsaid)
    assert 0.1 < slope < 0.9
    np.testing.assert_allclose(said, slope * unsaid, atol=1e-5)
    assert shrunk.score(X_test, y_test) > plain.score(X_test, y_test)


@pytest.mark.parametrize("gain", [0.0, 1.0])
def test_a_member_rests_if_left_out_rows_say_so(gain, monkeypatch):
    monkeypatch.setattr("skcode.training._flow_targets._FEW_ROWS", 0)
    monkeypatch.setattr(
        "skcode.training._hyperparameters.significant_gain", lambda *args, **errors: gain
    )
    X, y = make_classification(150, n_classes=3, n_informative=4, random_state=0)
    model = ControlledODEClassifier(n_members=3, **SMALL).fit(X, y)
    moving = [np.any(controls != 0) for controls in model.controls_]
    assert moving == [True, True, gain == 0]
    assert model.score(X, y) > 0.6
    # in the same way a Gaussian part comes in, and single precision has none
    assert (model.kernel_[0].amplitude_gauss > 0) == (gain > 0)
    single = ControlledODEClassifier(n_members=2, **SMALL).fit(X.astype(np.float32), y)
    assert single.kernel_[0].amplitude_gauss == 0
    # beyond some thousand rows another sample answers
    monkeypatch.setattr("skcode.training._hyperparameters._MANY_ROWS", 100)
    many = ControlledODEClassifier(n_members=3, **SMALL).fit(X, y)
    assert [np.any(controls != 0) for controls in many.controls_] == moving
    # one member has nobody to rest for, and frozen controls have no choice
    single = ControlledODEClassifier(n_members=1, **SMALL).fit(X, y)
    assert np.any(single.controls_ != 0)
    frozen = ControlledODEClassifier(n_members=2, train_controls=False, **SMALL).fit(X, y)
    assert all(np.any(controls != 0) for controls in frozen.controls_)


def test_steps_that_gain_nothing_are_not_taken(monkeypatch):
    X, y = make_friedman1(100, random_state=0)

    def controls(n_steps):
        readout = GaussianProcessReadout(n_steps=n_steps)
        return ControlledODERegressor(readout=readout, **SMALL).fit(X, y).controls_[0]

    assert np.any(controls(4) != controls(0))
    monkeypatch.setattr("skcode.training._ascent.LEAST_GAIN", np.inf)
    np.testing.assert_array_equal(controls(4), controls(0))


def test_steps_that_lose_their_way_are_made_shorter(monkeypatch):
    import skcode.training._ascent as ascent

    rates, steps = [], ascent.ascend

    def astray(member, rows, logs, n_steps, smooth, rng, rate):
        rates.append(rate)
        controls, logs = steps(member, rows, logs, n_steps, smooth, rng, rate)
        return controls, logs + 5 * (rate == rates[0])

    monkeypatch.setattr(ascent, "ascend", astray)
    X, y = make_friedman1(100, random_state=0)
    readout = GaussianProcessReadout(n_steps=4)
    moved = ControlledODERegressor(readout=readout, **SMALL).fit(X, y)
    assert rates == [0.1, 0.025] * len(moved.controls_)
    still = ControlledODERegressor(readout=GaussianProcessReadout(n_steps=0), **SMALL).fit(X, y)
    assert np.any(moved.controls_[0] != still.controls_[0])


def test_a_smooth_law_gets_a_gaussian_part():
    X = np.random.default_rng(0).uniform(-1, 1, (200, 3))
    y = np.sin(3 * X[:, 0]) * np.cos(2 * X[:, 1])
    kernel = ControlledODERegressor(**SMALL).fit(X, y).kernel_[0]
    assert kernel.amplitude_gauss > kernel.amplitude_l1
    single = ControlledODERegressor(**SMALL).fit(X.astype(np.float32), y)
    assert single.kernel_[0].amplitude_gauss == 0


@pytest.mark.parametrize("by_fold", [False, True])
def test_members_that_err_far_more_do_not_predict(by_fold):
    """Errors of variance 1, 1.5 and 4: only the last is more than twice the first."""
    rng = np.random.default_rng(0)
    n = 3000
    y = rng.standard_normal((n, 2))
    deviation = np.sqrt([1.0, 1.5, 4.0])[:, None, None]
    left_out = y + deviation * rng.standard_normal((3, n, 2))
    fold_of = np.arange(n) % 3 if by_fold else None
    if by_fold:
        # what a flow has seen does not count, however well it is told
        seen = fold_of[None] != np.arange(3)[:, None]
        left_out[seen] = np.broadcast_to(y, left_out.shape)[seen]
    weight = rng.uniform(0.5, 2, n)
    predicts = which_predict(left_out, y, weight, fold_of)
    assert predicts.tolist() == [True, True, False]
    # of few rows the same factor is within three standard errors
    few = slice(0, 12)
    fold_of = None if fold_of is None else fold_of[few]
    assert which_predict(left_out[:, few], y[few], weight[few], fold_of).all()
    if by_fold:
        # whoever is asked nothing stays
        fold_of = np.zeros(n, dtype=int)
        assert which_predict(left_out, y, weight, fold_of).all()


def test_flows_that_do_not_find_the_law_are_left_behind():
    """A checkerboard in two of ten columns: a flow finds it, or it does not."""
    n, rng = 600, np.random.default_rng(1)
    X = rng.uniform(size=(n + 2000, 10))
    y = np.floor(3 * X[:, :2]).sum(axis=1) % 2 + 0.1 * rng.standard_normal(len(X))
    model = ControlledODERegressor(random_state=0, warm_start=True).fit(X[:n], y[:n])
    n_members, n_alone = len(model._members), len(model.ensemble_.members)
    assert 1 <= n_alone < n_members
    # attributes are those of the members that predict, in their order
    controls = np.stack([member.controls for member in model.ensemble_.members])
    assert np.array_equal(np.reshape(model.controls_, controls.shape), controls)
    of_all = Ensemble(tuple(member.fitted for member in model._members), model.ensemble_.target)
    encoded = model.encoder_.encode(X[n:])
    together = model.ensemble_.target.decode(of_all.scores(encoded).mean(axis=0))
    assert model.score(X[n:], y[n:]) > r2_score(y[n:], together) + 0.02
    mean, deviation = model.predict(X[n:], return_std=True)
    assert 0.8 < np.mean(abs(mean - y[n:]) < 1.645 * deviation) < 0.97
    again = pickle.loads(pickle.dumps(model))
    assert np.array_equal(again.predict(X[n:]), mean)
    # a fit that goes on asks all of them again
    assert len(model.fit(X[:n], y[:n])._members) == n_members
