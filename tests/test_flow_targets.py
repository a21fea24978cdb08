"""What the flows of members are trained on: folds, rows of classes, standardised outputs."""

import tracemalloc

import numpy as np
import pytest

from skcode.model import ClassificationTarget, RegressionTarget
from skcode.training import FlowTargets, Rows, _flow_targets, draw_projection, outputs_of


def rows_of(y, weight=None):
    weight = np.ones(len(y)) if weight is None else weight
    return Rows.single(np.zeros((len(y), 1)), y, weight)


@pytest.mark.parametrize("n_members", [2, 6])
def test_folds_part_the_rows_and_every_class(n_members):
    codes = np.repeat([0, 1, 2], [60, 30, 13])
    target = ClassificationTarget.learn(codes)
    flow_targets = FlowTargets.learn(target, rows_of(codes), n_members)
    assert set(flow_targets.folds) == set(range(n_members))
    for code in range(3):
        sizes = np.bincount(flow_targets.folds[codes == code], minlength=n_members)
        assert sizes.max() - sizes.min() <= 1
    seen = [
        len(flow_targets.of_member(rows_of(codes), np.ones(3), number).y)
        for number in range(n_members)
    ]
    # each row is left out by one member
    assert sum(seen) == (n_members - 1) * len(codes)


@pytest.mark.parametrize(
    ("n", "n_classes", "seen"), [(3000, 3, 2048), (5000, 3, 2500), (5000, 50, 3200)]
)
def test_of_many_rows_flows_of_classes_see_some_and_each_others(n, n_classes, seen):
    rng = np.random.default_rng(0)
    codes, weight = rng.integers(0, n_classes, n), rng.uniform(0.5, 2, n)
    rows = Rows.single(np.arange(float(n))[:, None], codes, weight)
    of_classes = FlowTargets.learn(ClassificationTarget.learn(codes), rows, 2)
    projection = np.ones(n_classes)
    one, other = (of_classes.of_member(rows, projection, number) for number in range(2))
    assert len(one.X) == len(other.X) == len(np.unique(one.X)) == seen
    # so many would agree by chance
    assert abs(len(np.intersect1d(one.X, other.X)) - seen**2 / n) < 100
    # weights keep their ratios
    ratios = one.weight / weight[one.X[:, 0].astype(int)]
    np.testing.assert_allclose(ratios, ratios[0])
    numbers = rows._replace(y=rng.standard_normal((n, 1)))
    target = RegressionTarget.learn(numbers.y, weight, scaling=True)
    of_numbers = FlowTargets.learn(target, numbers, 2)
    assert len(of_numbers.of_member(numbers, np.ones(1), 0).X) == n


def test_members_share_the_rows_of_classes_that_have_one_each():
    codes = np.concatenate([np.arange(25), np.full(5, 25)])
    flow_targets = FlowTargets.learn(ClassificationTarget.learn(codes), rows_of(codes), 3)
    assert np.bincount(flow_targets.folds).tolist() == [10, 10, 10]


@pytest.mark.parametrize(("n", "n_members"), [(11, 6), (2000, 4), (100, 1)])
def test_too_few_and_many_rows_and_one_member_have_no_folds(n, n_members):
    y = np.arange(float(n))[:, None]
    target = RegressionTarget.learn(y, np.ones(n), scaling=True)
    assert FlowTargets.learn(target, rows_of(y), n_members).folds is None


@pytest.mark.parametrize("size", [1e-200, 1.0, 1e200])
def test_outputs_are_standardised_whatever_their_size(size):
    rng = np.random.default_rng(0)
    y, weight = size * rng.standard_normal((50, 3)), rng.uniform(0.5, 2, 50)
    target = RegressionTarget(np.zeros(3), np.ones(3), 2)
    outputs = FlowTargets.learn(target, rows_of(y, weight), 1).standardised(y)
    share = weight / weight.sum()
    np.testing.assert_allclose(share @ outputs, 0, atol=1e-12)
    assert np.mean(share @ outputs**2) == pytest.approx(1)


def test_projections_keep_the_size_of_the_outputs():
    rng = np.random.default_rng(0)
    assert draw_projection(1, rng) == 1
    for n_outputs in (2, 30):
        projection = draw_projection(n_outputs, rng)
        assert projection @ projection == pytest.approx(n_outputs)


@pytest.mark.parametrize("n_classes", [0, 3])
def test_moments_of_many_rows_are_those_of_all(n_classes, monkeypatch):
    rng = np.random.default_rng(0)
    n, weight = 1000, rng.uniform(0.5, 2, 1000)
    if n_classes:
        y = rng.integers(0, n_classes, n)
        target = ClassificationTarget.learn(y)
    else:
        y = 5 + rng.standard_normal((n, 2))
        target = RegressionTarget(np.zeros(2), np.ones(2), 2)
    whole = FlowTargets.learn(target, rows_of(y, weight), 1)
    outputs = outputs_of(target, y)
    np.testing.assert_allclose(whole.mean, np.average(outputs, axis=0, weights=weight))
    variance = np.average((outputs - whole.mean) ** 2, axis=0, weights=weight)
    assert whole.scale == pytest.approx(np.sqrt(variance.mean()))
    monkeypatch.setattr(_flow_targets, "_BLOCK_ENTRIES", 64)
    parted = FlowTargets.learn(target, rows_of(y, weight), 1)
    np.testing.assert_allclose(parted.mean, whole.mean, rtol=1e-13)
    assert parted.scale == pytest.approx(whole.scale, rel=1e-13)


def test_a_constant_is_its_own_mean():
    y = np.full((1000, 1), 0.1)
    target = RegressionTarget(np.zeros(1), np.ones(1), 1)
    flow_targets = FlowTargets.learn(target, rows_of(y, np.linspace(0.1, 3, 1000)), 1)
    assert flow_targets.mean == 0.1
    assert flow_targets.scale == 1


def test_observed_are_the_observations_that_are_asked_for():
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 4, 60)
    rows = Rows.single(rng.standard_normal((60, 2)), codes, rng.uniform(0.5, 2, 60))
    flow_targets = FlowTargets.learn(ClassificationTarget.learn(codes), rows, 1)
    every, observed = flow_targets.observations(rows), flow_targets.observed(rows)
    assert len(observed) == 60
    kept = codes > 0
    among = observed.among(kept)
    assert len(among) == kept.sum()
    for some, expected in [
        (observed.some(np.array([3, 50])), every.some(np.array([3, 50]))),
        (among.some(np.arange(5)), every.some(np.flatnonzero(kept)[:5])),
    ]:
        for part, its in zip(some, expected, strict=True):
            np.testing.assert_array_equal(part, its)


def test_outputs_of_many_classes_and_rows_are_never_all_there():
    n, n_classes = 100_000, 100
    rng = np.random.default_rng(0)
    codes = rng.integers(0, n_classes, n)
    target, rows = ClassificationTarget.learn(codes), rows_of(codes)
    projection = draw_projection(n_classes, rng)
    tracemalloc.start()
    try:
        flow_targets = FlowTargets.learn(target, rows, 2)
        flow_targets.observed(rows).some(np.arange(500))
        of_all = 8 * n * n_classes
        assert tracemalloc.get_traced_memory()[1] < of_all / 2
    finally:
        tracemalloc.stop()
    # flows see half of them
    assert len(flow_targets.of_member(rows, projection, 0).y) == n // 2
