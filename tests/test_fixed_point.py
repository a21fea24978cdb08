"""Points of a process in two bytes a number: the bits survive a file, and rounding is small."""

import pickle

import numpy as np
import pytest
from sklearn.datasets import make_friedman1

from skcode import ControlledODERegressor
from skcode.gaussian_process import FixedPoint, _fixed_point


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(0).standard_normal((500, 6)) * np.logspace(-9, 6, 6)


def test_rounding_is_at_most_half_a_step(x):
    kept = FixedPoint.of(x)
    assert kept.codes.dtype == np.int16
    assert np.abs(kept.codes).max(axis=0).tolist() == [32767] * 6
    # single precision rounds the product once more
    assert np.all(np.abs(kept.values - x) <= 0.502 * kept.step)


def test_what_is_kept_is_kept_again(x):
    kept = FixedPoint.of(x)
    again = FixedPoint.with_step(kept.values.astype(np.float64), kept.step)
    np.testing.assert_array_equal(again.codes, kept.codes)
    np.testing.assert_array_equal(again.values, kept.values)


def test_columns_of_zeros_stay_zeros():
    assert not FixedPoint.of(np.zeros((3, 2))).values.any()


@pytest.mark.parametrize(("far", "fits"), [(20.0, True), (1e4, False)])
def test_an_entry_far_out_does_not_make_the_others_coarse(x, far, fits):
    away = x / x.std(axis=0)
    away[0, 0] = far
    assert (FixedPoint.of(away) is not None) == fits


def test_a_file_holds_the_codes_alone():
    X, y = make_friedman1(200, random_state=0)
    model = ControlledODERegressor(n_fields=8, n_members=1, random_state=0).fit(X, y)
    mean = model.ensemble_.members[0].head.mean
    assert isinstance(mean.stored, FixedPoint)
    expected = model.predict(X)
    size = len(pickle.dumps(model))
    assert size == len(pickle.dumps(pickle.loads(pickle.dumps(model))))
    assert "points" not in mean.__getstate__()
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(X), expected)


def test_two_bytes_predict_what_four_do(monkeypatch):
    X, y = make_friedman1(300, random_state=0)
    settings = {"n_fields": 8, "n_members": 1, "random_state": 0}
    two = ControlledODERegressor(**settings).fit(X[:200], y[:200])
    monkeypatch.setattr(_fixed_point, "_MOST_SPREAD", 0.0)
    four = ControlledODERegressor(**settings).fit(X[:200], y[:200])
    stored = four.ensemble_.members[0].head.mean.stored
    assert stored.dtype == np.float32
    np.testing.assert_allclose(two.predict(X), four.predict(X), atol=2e-3 * y.std())
