"""Members of an ensemble that are trained one after another, or several at once."""

import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from helpers import ctrl_c_field
from joblib import parallel_config
from sklearn.datasets import make_friedman1
from sklearn.exceptions import ConvergenceWarning

from skcode import ControlledODEClassifier, ControlledODERegressor
from skcode.fields import FunctionFields, NeuralFields
from skcode.training import _concurrency, _training

SOLVERS = ["gauss-newton", "lbfgs", "sgd", "adam"]
SMALL = {"n_members": 4, "n_fields": 6, "n_states": 8, "max_iter": 6, "random_state": 0}
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def regressor(**kwargs):
    return ControlledODERegressor(**{**SMALL, **kwargs})


@pytest.fixture(scope="module")
def friedman():
    return make_friedman1(200, n_features=5, noise=1.0, random_state=0)


@pytest.fixture
def pools(monkeypatch):
    """The numbers of threads that train members, one for each fit that trains several at once."""
    sizes = []

    class Counting(ThreadPoolExecutor):
        def __init__(self, max_workers):
            sizes.append(max_workers)
            super().__init__(max_workers)

    monkeypatch.setattr(_concurrency, "ThreadPoolExecutor", Counting)
    return sizes


def same_fit(one, other, X):
    np.testing.assert_array_equal(one.controls_, other.controls_)
    np.testing.assert_array_equal(one.predict(X), other.predict(X))
    assert one.loss_curve_ == other.loss_curve_
    assert one.n_iter_ == other.n_iter_
    assert repr(one.solver_) == repr(other.solver_)


@pytest.mark.parametrize("n_jobs", [2, 3, 8])
@pytest.mark.parametrize("options", [{}, {"early_stopping": True}], ids=str)
@pytest.mark.parametrize("solver", SOLVERS)
def test_members_at_once_are_those_of_one_after_another(friedman, pools, solver, options, n_jobs):
    X, y = friedman
    alone = regressor(solver=solver, **options).fit(X, y)
    assert pools == []
    same_fit(regressor(solver=solver, **options, n_jobs=n_jobs).fit(X, y), alone, X)
    assert pools == [min(n_jobs, 4)]


def test_a_warm_start_goes_on_with_all_members(friedman, pools):
    X, y = friedman
    options = {"solver": "lbfgs", "warm_start": True}
    alone, together = regressor(**options), regressor(**options, n_jobs=2)
    for _ in range(2):
        same_fit(together.fit(X, y), alone.fit(X, y), X)
    assert pools == [2, 2]


def test_standard_deviations_and_probabilities(friedman):
    X, y = friedman
    runs = [regressor(n_jobs=n_jobs).fit(X, y).predict(X, return_std=True) for n_jobs in (1, 2)]
    np.testing.assert_array_equal(*runs)
    labels = np.digitize(y, [11, 17])
    runs = [
        ControlledODEClassifier(**SMALL, n_jobs=n_jobs).fit(X, labels).predict_proba(X)
        for n_jobs in (1, 2)
    ]
    np.testing.assert_array_equal(*runs)


@pytest.mark.parametrize("n_members", [1, 2])
def test_blocks_are_shared_where_members_are_few_and_rows_many(pools, n_members):
    X, y = make_friedman1(16_000, n_features=5, random_state=0)
    model = regressor(n_members=n_members, max_iter=1, n_jobs=3, readout="linear").fit(X, y)
    assert len(X) > 6 * model.ensemble_.members[0].model.n_block
    assert pools == []


@pytest.mark.parametrize("backend", ["loky", "multiprocessing"])
def test_other_backends_share_the_blocks(friedman, pools, backend):
    with parallel_config(backend):
        regressor(n_members=2, max_iter=1, n_jobs=2).fit(*friedman)
    assert pools == []


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.filterwarnings("default::sklearn.exceptions.ConvergenceWarning")
def test_warnings_name_the_line_that_fits(friedman, n_jobs):
    model = regressor(solver="lbfgs", max_iter=2, n_jobs=n_jobs)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        model.fit(*friedman)
    seen = [warning for warning in seen if warning.category is ConvergenceWarning]
    assert len(seen) == 4
    assert {warning.filename for warning in seen} == {__file__}


@pytest.mark.filterwarnings("default::sklearn.exceptions.ConvergenceWarning")
def test_a_number_of_steps_that_a_user_names_is_told_even_if_it_is_the_default(friedman):
    with warnings.catch_warnings(record=True) as unnamed:
        warnings.simplefilter("always")
        model = regressor(n_members=1, max_iter=None).fit(*friedman)
    assert model.n_iter_ == 15, "the steps of the default are what ends this fit"
    assert not unnamed
    with pytest.warns(ConvergenceWarning, match="max_iter=15 did not converge"):
        regressor(n_members=1, max_iter=15).fit(*friedman)


@pytest.mark.parametrize("at", [1, 2, 4])
def test_an_error_in_a_member_is_the_error_of_the_fit(friedman, monkeypatch, at):
    train, calls = _training.train, []

    def failing(*args, **kwargs):
        calls.append(args)
        if len(calls) == at:
            raise RuntimeError("in a member")
        return train(*args, **kwargs)

    monkeypatch.setattr(_training, "train", failing)
    threads = threading.active_count()
    model = regressor(n_jobs=2)
    with pytest.raises(RuntimeError, match="in a member"):
        model.fit(*friedman)
    assert not hasattr(model, "controls_")
    assert threading.active_count() == threads


@pytest.mark.usefixtures("keyboard")
@pytest.mark.parametrize("solver", SOLVERS)
def test_ctrl_c_stops_all_members_and_keeps_what_they_reached(friedman, solver):
    X, y = friedman

    def specified(field):
        family = FunctionFields([field]) | NeuralFields()
        return regressor(vector_fields=family, solver=solver, max_iter=20, n_jobs=2)

    undisturbed = ctrl_c_field(at=0)
    whole = specified(undisturbed).fit(X, y)
    # the first calls are those of the draws, before there is anything to keep
    drawn = ctrl_c_field(at=0)
    for _ in range(4):
        FunctionFields([drawn]).draw(8, 1, 0)
    for share in (0.05, 0.3, 0.6):
        at = drawn.calls + 1 + int(share * (undisturbed.calls - drawn.calls))
        model = specified(ctrl_c_field(at))
        with pytest.raises(KeyboardInterrupt, match="interrupted"):
            model.fit(X, y)
        curves = model.loss_curve_ if model.controls_.ndim == 3 else [model.loss_curve_]
        assert sum(map(len, curves)) < sum(map(len, whole.loss_curve_))
        # what came before the interrupt is what would have been
        assert all(
            any(curve == full[: len(curve)] for full in whole.loss_curve_) for curve in curves
        )
        assert all(curves)
        assert np.isfinite(model.predict(X)).all()
        same_fit(specified(ctrl_c_field(at=0)).fit(X, y), whole, X)
