"""The same bits for every n_jobs and backend; one pool a fit; BLAS threads given back."""

import time
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import pytest
from joblib import parallel_config
from threadpoolctl import threadpool_info, threadpool_limits

from skcode import ControlledODEClassifier, ControlledODERegressor, ControlledODETransformer
from skcode.gaussian_process import GaussianProcessReadout
from skcode.solvers import SGD
from skcode.utils import _blocks

SOLVERS = {"gauss-newton": 3, "lbfgs": 4, SGD(batch_size=1500): 2, "adam": 2}
#: a process on few landmarks of many rows, so that both are there and take little time
PROCESS = GaussianProcessReadout(n_exact=64, n_leaf=256, n_landmarks=64, n_evidence=64, n_steps=2)
SMALL = {"n_members": 2, "n_fields": 8, "n_states": 12, "random_state": 0, "readout": PROCESS}
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((4500, 5))
    return X, np.sin(2 * X[:, 0]) + X[:, 1] * X[:, 2]


def fitted(data, solver, n_jobs):
    X, y = data
    model = ControlledODERegressor(solver=solver, max_iter=SOLVERS[solver], **SMALL)
    return model.set_params(n_jobs=n_jobs).fit(X, y)


@pytest.fixture(scope="module")
def serial(data):
    models = {solver: fitted(data, solver, None) for solver in SOLVERS}
    return {solver: (model.controls_, model.predict(data[0])) for solver, model in models.items()}


def assert_same_bits(model, data, expected):
    np.testing.assert_array_equal(model.controls_, expected[0])
    np.testing.assert_array_equal(model.predict(data[0]), expected[1])


def test_the_data_spans_many_tasks(data, serial):
    model = fitted(data, "gauss-newton", 1)
    assert len(data[0]) > 2 * model.ensemble_.members[0].model.n_block


@pytest.mark.parametrize("n_jobs", [2, 3])
@pytest.mark.parametrize("solver", SOLVERS, ids=str)
def test_any_number_of_threads(data, serial, solver, n_jobs):
    assert_same_bits(fitted(data, solver, n_jobs), data, serial[solver])


@pytest.mark.parametrize("solver", SOLVERS, ids=str)
@pytest.mark.parametrize("backend", ["threading", "loky", "multiprocessing"])
def test_any_backend(data, serial, solver, backend):
    with parallel_config(backend, n_jobs=2):
        assert_same_bits(fitted(data, solver, None), data, serial[solver])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_classifier_and_transformer(data, dtype):
    # beyond 4,096 rows left-out rows are asked more, and no more is shown
    X, y = data[0][:3000].astype(dtype), np.digitize(data[1][:3000], [-0.5, 0.5])
    kwargs = {**SMALL, "max_iter": 2}
    single = {name: value for name, value in kwargs.items() if name != "n_members"}
    runs = []
    for n_jobs, backend in ((1, "threading"), (2, "threading"), (2, "loky")):
        with parallel_config(backend):
            model = ControlledODEClassifier(**kwargs, n_jobs=n_jobs).fit(X, y)
            states = ControlledODETransformer(
                **{**single, "readout": "linear"}, n_jobs=n_jobs
            ).fit_transform(X, y)
            runs.append((model.predict_proba(X), states))
    for run in runs[1:]:
        np.testing.assert_array_equal(run[0], runs[0][0])
        np.testing.assert_array_equal(run[1], runs[0][1])


@pytest.mark.parametrize("part", ["first rows", "one row", "every other row"])
def test_predictions_do_not_depend_on_the_company_of_a_row(data, part):
    X, _ = data
    model = fitted(data, "gauss-newton", 1)
    rows = {"first rows": slice(10), "one row": slice(1), "every other row": slice(None, None, 2)}
    # training rows lie a rounding of single precision from the points that are kept of them, and
    # distances so small keep half of their digits
    np.testing.assert_allclose(
        model.predict(X[rows[part]]), model.predict(X)[rows[part]], rtol=1e-8, atol=1e-8
    )


@pytest.fixture
def pools(monkeypatch):
    """The backends of the pools that were opened, in order."""
    opened = []

    class CountingThreads(ThreadPoolExecutor):
        def __init__(self, *args):
            opened.append("threading")
            super().__init__(*args)

    class CountingParallel(joblib.Parallel):
        def __enter__(self):
            opened.append("loky")
            return super().__enter__()

    monkeypatch.setattr(_blocks, "ThreadPoolExecutor", CountingThreads)
    monkeypatch.setattr(_blocks, "Parallel", CountingParallel)
    return opened


@pytest.mark.parametrize("backend", ["threading", "loky"])
@pytest.mark.parametrize(
    ("solver", "early_stopping"), [*((solver, False) for solver in SOLVERS), ("gauss-newton", True)]
)
def test_one_pool_a_fit(data, pools, solver, early_stopping, backend):
    X, y = data
    model = ControlledODERegressor(solver=solver, max_iter=2, n_jobs=2, **SMALL)
    with parallel_config(backend):
        model.set_params(early_stopping=early_stopping).fit(X, y)
        assert pools == [backend]
        model.predict(X)
        assert pools == [backend] * 2
        model.set_params(n_jobs=1).fit(X, y)
        assert pools == [backend] * 2


def blas_threads():
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


@pytest.mark.parametrize("n_jobs", [1])
def test_blas_threads_are_given_back(data, monkeypatch, n_jobs):
    X, y = data
    seen = []
    with threadpool_limits(2, "blas"):
        before = blas_threads()
        model = ControlledODERegressor(max_iter=1, n_jobs=n_jobs, **SMALL).fit(X, y)
        assert blas_threads() == before

        def raising(self, *args):
            seen.append(blas_threads())
            raise RuntimeError("from within a task")

        monkeypatch.setattr(type(model.ensemble_.members[0].model), "of_states", raising)
        for call in (lambda: model.predict(X), lambda: model.fit(X, y)):
            with pytest.raises(RuntimeError, match="from within a task"):
                call()
            # joblib may report an error while another worker still runs
            deadline = time.monotonic() + 30
            while blas_threads() != before and time.monotonic() < deadline:
                time.sleep(0.01)
            assert blas_threads() == before
    assert all(set(threads) == {1} for threads in seen)


def test_an_impossible_number_of_jobs_is_an_error(data):
    with pytest.raises(ValueError, match="n_jobs"):
        ControlledODERegressor(n_jobs=0, max_iter=1, **SMALL).fit(*data)


def test_memory_mapped_rows_are_read_in_place(data, tmp_path):
    X, y = data
    joblib.dump(X, tmp_path / "X")
    mapped = joblib.load(tmp_path / "X", mmap_mode="r")
    model = ControlledODERegressor(max_iter=2, n_jobs=2, **SMALL)
    np.testing.assert_array_equal(model.fit(X, y).predict(X), model.fit(mapped, y).predict(mapped))


def test_fits_in_threads_do_not_disturb_each_other(data):
    X, y = data[0][:400], data[1][:400]
    kwargs = {**SMALL, "max_iter": 5}
    seeds = range(6)

    def fit(seed):
        model = ControlledODERegressor(**{**kwargs, "random_state": seed}, solver="lbfgs")
        return model.fit(X, y).predict(X)

    together = joblib.Parallel(4, backend="threading")(joblib.delayed(fit)(s) for s in seeds)
    for seed, prediction in zip(seeds, together, strict=True):
        np.testing.assert_array_equal(prediction, fit(seed))
