"""Members with a linear readout of their own, whose log-odds join those of the processes."""

import pickle

import numpy as np
import onnxruntime
import pytest
import skops.io
from sklearn.datasets import make_friedman1

from skcode import ControlledODEClassifier, ControlledODERegressor
from skcode.estimators import _supervised
from skcode.estimators._defaults import choose_pooled
from skcode.export import to_onnx
from skcode.gaussian_process import GaussianProcessReadout
from skcode.model import ClassificationTarget, MultilabelTarget, mean_of
from skcode.objective import Objective
from skcode.training import FlowTargets, Rows, _heads
from skcode.training._pool import draw_folds, weigh
from skcode.utils._blocks import OrderedMap

POOLED = GaussianProcessReadout(n_pooled=2)
SMALL = {"n_fields": 16, "n_members": 2, "random_state": 0}


def lattice(n, seed=0):
    """Three classes by rules on whole numbers."""
    X = np.random.default_rng(seed).integers(0, 4, (n, 4)).astype(float)
    return X, np.where(X[:, 0] == X[:, 1], 2, (X[:, 2] + X[:, 3] > 3).astype(int))


@pytest.fixture(scope="module")
def model():
    """A model with pooled members, of unequal rows so that none are merged."""
    X, y = lattice(300)
    X += 1e-3 * np.random.default_rng(1).standard_normal(X.shape)
    return ControlledODEClassifier(readout=POOLED, **SMALL).fit(X, y)


@pytest.fixture(scope="module")
def both():
    """A model with pooled members of either kind, whatever they are worth."""
    X, y = lattice(300)
    X += 1e-3 * np.random.default_rng(1).standard_normal(X.shape)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_heads, "weigh", lambda *args: (0.7, np.array([0.4, 0.2])))
        return ControlledODEClassifier(readout=POOLED, **SMALL).fit(X, y)


# -- folds -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "n_pooled"), [(3, 2), (11, 1), (300, 2), (300, 7), (20_000, 2)])
def test_folds_share_no_row(n, n_pooled):
    folds = draw_folds(n, n_pooled)
    assert len(folds) == n_pooled
    together = np.concatenate(folds)
    assert len(np.unique(together)) == len(together) == n_pooled * len(folds[0])
    assert together.min(initial=0) >= 0
    assert together.max(initial=0) < n
    assert len(folds[0]) == min(int(0.2 * n), n // n_pooled, 1024)


@pytest.mark.parametrize("n", [300, 80_000])
def test_a_pooled_member_never_sees_its_fold(n):
    rows = Rows.single(np.arange(float(n))[:, None], np.arange(n) % 2, np.ones(n))
    target = ClassificationTarget.learn(np.array([0, 1]))
    flow_targets = FlowTargets.learn(target, rows, 4, n_pooled=2)
    assert set(flow_targets.pool_folds) == {4, 5}
    for number, fold in flow_targets.pool_folds.items():
        seen = flow_targets.of_pooled_member(rows, number)
        assert not np.isin(seen.X[:, 0], fold).any()
        assert len(seen.X) == min(n - len(fold), 2**16)
        # few rows that stand for many weigh as much
        assert np.isclose(seen.weight.sum(), max(len(seen.X), seen.weight.sum()))


# -- factors ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def known():
    """Log-odds of three classes, classes drawn from them, and scores that know nothing."""
    rng = np.random.default_rng(0)
    truth = 2 * rng.standard_normal((4000, 3))
    p = np.exp(truth) / np.exp(truth).sum(axis=1, keepdims=True)
    codes = (rng.random((4000, 1)) > p.cumsum(axis=1)).sum(axis=1)
    return truth, codes, rng.standard_normal((4000, 3)), ClassificationTarget.learn(np.arange(3))


def test_all_of_the_weight_goes_to_who_knows(known):
    truth, codes, nothing, target = known
    own, shares = weigh(nothing[None], truth[None], codes, np.ones(4000), target)
    np.testing.assert_allclose([own, *shares], [0, 1], atol=0.08)


def test_who_knows_nothing_is_left_out(known):
    truth, codes, nothing, target = known
    for n_kinds in (1, 2):
        opinions = np.stack([nothing, nothing[::-1]])[:n_kinds]
        own, shares = weigh(truth[None], opinions, codes, np.ones(4000), target)
        assert (own, shares.tolist()) == (1.0, [0.0] * n_kinds)


def test_halves_of_the_truth_are_added(known):
    truth, codes, nothing, target = known
    scores = truth * np.array([1, 0, 0]), truth * np.array([0, 1, 1])
    own, shares = weigh(scores[0][None], scores[1][None], codes, np.ones(4000), target)
    np.testing.assert_allclose([own, *shares], [1, 1], atol=0.1)


def test_each_kind_has_a_factor_of_its_own(known):
    truth, codes, nothing, target = known
    kinds = truth * np.array([0, 1, 0]), truth * np.array([0, 0, 0.5])
    scores = truth * np.array([1, 0, 0])
    own, shares = weigh(scores[None], np.stack(kinds), codes, np.ones(4000), target)
    np.testing.assert_allclose([own, *shares], [1, 1, 2], atol=0.15)


def test_rows_that_are_all_right_do_not_make_sure(known):
    """All of them together stand for a tenth of an error: no factor says less."""
    target = known[3]
    codes = np.arange(60) % 3
    scores = 5 * np.eye(3)[codes]
    own, shares = weigh(scores[None], scores[None], codes, np.ones(60), target)
    p = target.mean_probabilities((own * scores + shares[0] * scores)[None])
    np.testing.assert_allclose(p[np.arange(60), codes], 1 - 0.1 / 61, atol=1e-4)


def test_rows_count_by_their_weights(known):
    truth, codes, nothing, target = known
    weight = np.random.default_rng(1).integers(1, 4, 4000)
    repeated = np.repeat(np.arange(4000), weight)
    opinion = truth / 3 + nothing
    of_weights = weigh(truth[None] / 3, opinion[None], codes, weight * 1.0, target)
    of_copies = weigh(
        truth[repeated][None] / 3, opinion[repeated][None], codes[repeated],
        np.ones(len(repeated)), target,
    )  # fmt: skip
    for one, other in zip(of_weights, of_copies, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-3)


# -- what predicts ---------------------------------------------------------------------------------


@pytest.mark.parametrize("n_rows", [1, 40, 3000])
def test_pooled_scores_are_added_to_those_of_each_member(both, n_rows):
    ensemble = both.ensemble_
    assert len(ensemble) == 2
    # of 300 rows ramps are tried as well
    assert [member.model.input_map.is_plain for member in ensemble.pooled] == [True] * 2 + [
        False
    ] * 2
    X = lattice(n_rows, seed=2)[0] + 0.3
    with OrderedMap(1) as serial:
        alone = [member.scores(X, serial) for member in ensemble.members]
        pool = sum(member.scores(X, serial) for member in ensemble.pooled)
    for n_jobs in (1, 2):
        np.testing.assert_allclose(ensemble.scores(X, n_jobs), np.stack(alone) + pool, atol=1e-10)
    expected = ensemble.target.mean_probabilities(np.stack(alone) + pool)
    np.testing.assert_allclose(both.predict_proba(X), expected, atol=1e-10)


def test_a_share_is_a_factor_on_what_the_member_says(both):
    X = lattice(20, seed=3)[0]
    pooled = [member for member in both._members if member.share is not None]
    np.testing.assert_allclose([member.share for member in pooled], [0.2, 0.2, 0.1, 0.1])
    with OrderedMap(1) as serial:
        for member, fitted in zip(pooled, both.ensemble_.pooled, strict=True):
            own = member.fitted.scores(X, serial)
            np.testing.assert_allclose(fitted.scores(X, serial), member.share * own, atol=1e-10)


def test_the_gradient_is_that_of_the_mean_scores(both):
    ensemble = both.ensemble_
    X = lattice(6, seed=4)[0] + 0.37
    z = ensemble.input_map.scaled_columns(X)
    rng = np.random.default_rng(0)
    covector = rng.standard_normal((6, 3))
    direction = rng.standard_normal(z.shape)
    np.testing.assert_allclose(ensemble.scores_of_scaled(z), ensemble.scores(X), rtol=1e-8)

    def value(step):
        scores = mean_of(ensemble.scores_of_scaled(z + step * direction))
        return (covector * scores).sum(axis=1)

    numeric = (value(1e-6) - value(-1e-6)) / 2e-6
    gradient = (ensemble.column_gradient(z, covector) * direction).sum(axis=1)
    np.testing.assert_allclose(gradient, numeric, rtol=1e-4, atol=1e-4)


def test_rules_are_found_by_the_pool_and_not_by_the_process_alone(model):
    new, truth = lattice(2000, seed=5)
    X, y = lattice(300)
    X += 1e-3 * np.random.default_rng(1).standard_normal(X.shape)
    alone = ControlledODEClassifier(readout=GaussianProcessReadout(n_pooled=0), **SMALL).fit(X, y)
    assert alone.ensemble_.pooled == ()
    losses = [-np.log(m.predict_proba(new)[np.arange(2000), truth]).mean() for m in (model, alone)]
    assert losses[0] < 0.9 * losses[1]


def test_coins_need_no_pool():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((300, 3)), rng.integers(0, 2, 300)
    model = ControlledODEClassifier(readout=POOLED, **SMALL).fit(X, y)
    assert model.ensemble_.pooled == ()
    assert len(model._members) == 2


# -- defaults and the life of a model --------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "n_rows", "n_classes", "expected"),
    [(None, 999, 2, 0), (None, 1000, 20, 2), (None, 1000, 21, 0), (1, 20, 30, 1), (0, 5000, 2, 0)],
)
def test_the_pool_is_for_ample_rows_of_few_classes(asked, n_rows, n_classes, expected):
    target = ClassificationTarget.learn(np.arange(n_classes))
    assert choose_pooled(asked, n_rows, target) == expected


@pytest.mark.parametrize("n", [2, 4, 6])
def test_a_handful_of_rows_is_no_obstacle(n):
    X, y = np.arange(2.0 * n).reshape(n, 2), np.arange(n) % 2
    model = ControlledODEClassifier(readout=POOLED, **SMALL).fit(X, y)
    assert np.isfinite(model.predict_proba(X)).all()


def test_numbers_and_labels_have_no_pool():
    X, y = make_friedman1(60, random_state=0)
    model = ControlledODERegressor(readout=POOLED, **SMALL).fit(X, y)
    assert model.ensemble_.pooled == ()
    assert choose_pooled(2, 5000, MultilabelTarget(2)) == 0


def test_attributes_are_those_of_the_members_with_a_process(both):
    assert len(both.controls_) == len(both.kernel_) == len(both.loss_curve_) == 2
    every = both.ensemble_.every_member
    assert len(every) == 6
    assert both.n_parameters_ == sum(member.n_parameters for member in every)
    assert np.isclose(both.feature_importances_.sum(), 1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_two_classes_of_either_float_type(dtype):
    X, y = lattice(600)
    X = (X + 1e-3 * np.random.default_rng(1).standard_normal(X.shape)).astype(dtype)
    model = ControlledODEClassifier(readout=POOLED, **SMALL).fit(X, y == 0)
    assert len(model.ensemble_.pooled) in (2, 4)
    p = model.predict_proba(X)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-6)
    assert model.score(X, y == 0) > 0.95
    np.testing.assert_allclose(model.predict_proba(X[:3]), p[:3], atol=1e-4)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict_proba(X), p)


def test_a_training_that_goes_on_keeps_the_pool():
    X, y = lattice(300)
    X += 1e-3 * np.random.default_rng(1).standard_normal(X.shape)
    model = ControlledODEClassifier(readout=POOLED, warm_start=True, **SMALL).fit(X, y)
    before = {id(member.model): member.theta.copy() for member in model._members}
    assert len(before) > 2
    model.fit(X, y)
    # a kind that is of no use any more may be gone
    assert len(model.ensemble_) == 2
    assert len(model.ensemble_.pooled) in (2, 4)
    for member in model._members:
        assert not np.array_equal(member.theta, before[id(member.model)])


def test_the_flows_of_all_go_on_where_a_stream_begins(monkeypatch):
    monkeypatch.setattr(_supervised, "choose_pooled", lambda *args: 2)
    X, y = lattice(300)
    X += 1e-3 * np.random.default_rng(1).standard_normal(X.shape)
    model = ControlledODEClassifier(n_fields=16, n_members=1, random_state=0).fit(X, y)
    n_kinds = len(model.ensemble_.pooled) // 2
    assert n_kinds > 0
    with pytest.warns(UserWarning, match="a linear readout takes its place"):
        model.partial_fit(X, y)
    assert model.readout_ == "linear"
    # with the pooled ones of the same kind
    assert len(model.ensemble_) == 3
    assert model.ensemble_.pooled == ()
    assert model.predict_proba(X).shape == (300, 3)


def test_members_of_either_kind_leave_out_the_same_rows():
    rows = Rows.single(np.arange(300.0)[:, None], np.arange(300) % 2, np.ones(300))
    target = ClassificationTarget.learn(np.array([0, 1]))
    folds = FlowTargets.learn(target, rows, 4, n_pooled=4, n_kinds=2).pool_folds
    assert sorted(folds) == [4, 5, 6, 7]
    np.testing.assert_array_equal(folds[4], folds[6])
    np.testing.assert_array_equal(folds[5], folds[7])
    assert not np.isin(folds[4], folds[5]).any()


@pytest.mark.parametrize("ramps", [True, False])
def test_who_decides_on_ramps_decides_for_the_pool(ramps):
    X, y = lattice(300)
    X += 1e-3 * np.random.default_rng(1).standard_normal(X.shape)
    model = ControlledODEClassifier(readout=POOLED, ramps=ramps, **SMALL).fit(X, y)
    every = model.ensemble_.every_member
    assert {member.model.input_map.is_plain for member in every} == {not ramps}


def test_a_pool_that_is_interrupted_is_left_out(monkeypatch):
    """The interrupt comes in the first pass of the first pooled member."""
    X, y = lattice(300)
    X += 1e-3 * np.random.default_rng(1).standard_normal(X.shape)
    model = ControlledODEClassifier(readout=POOLED, **SMALL)
    value = Objective.value

    def interrupted(self, theta):
        if self.model.readout.n_outputs == 3:
            raise KeyboardInterrupt
        return value(self, theta)

    monkeypatch.setattr(Objective, "value", interrupted)
    with pytest.raises(KeyboardInterrupt, match="interrupted"):
        model.fit(X, y)
    assert model.ensemble_.pooled == ()
    assert len(model._members) == 2
    assert model.score(X, y) > 0.8


def test_the_processes_are_what_they_are_without_a_pool(model):
    X, y = lattice(300)
    X += 1e-3 * np.random.default_rng(1).standard_normal(X.shape)
    alone = ControlledODEClassifier(readout=GaussianProcessReadout(n_pooled=0), **SMALL).fit(X, y)
    np.testing.assert_array_equal(alone.controls_, model.controls_)
    assert alone.kernel_ == model.kernel_


def test_a_pool_travels(both):
    X = lattice(50, seed=6)[0] + 0.2
    expected = both.predict_proba(X)
    through_skops = skops.io.loads(
        skops.io.dumps(both), trusted=[f"{type(both).__module__}.{type(both).__qualname__}"]
    )
    np.testing.assert_array_equal(through_skops.predict_proba(X), expected)
    session = onnxruntime.InferenceSession(to_onnx(both).SerializeToString())
    labels, probabilities = session.run(None, {"X": X})
    np.testing.assert_allclose(probabilities, expected, atol=1e-6)
    np.testing.assert_array_equal(labels, both.predict(X))
