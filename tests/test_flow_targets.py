"""What the flows of members are trained on: folds, rows of classes, standardised outputs."""

import numpy as np
import pytest

from skcode.model import ClassificationTarget, RegressionTarget
from skcode.training import FlowTargets, Rows, draw_projection


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
