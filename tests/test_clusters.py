"""Real clusters on this machine: Dask and Ray give the bits of threads, and lose no fit.

Needs the extras "dask" and "ray"; run with ``python -m pytest -m cluster tests/test_clusters.py``.
"""

import os
import signal
import subprocess
import sys
import threading
import time

import joblib
import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV

from skcode import ControlledODEClassifier, ControlledODERegressor

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.filterwarnings("default", "error::sklearn.exceptions.DataConversionWarning"),
]
SMALL = {"n_members": 1, "n_fields": 8, "n_states": 12, "random_state": 0}


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60_000, 10))
    return X, np.sin(2 * X[:, 0]) + X[:, 1] * X[:, 2]


@pytest.fixture(scope="module")
def dask_client():
    from dask.distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def ray_pool():
    import ray
    from ray.util.joblib import register_ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    register_ray()
    yield
    ray.shutdown()


def fitted(data, solver, max_iter=3, n_jobs=2, sample_weight=None, **options):
    X, y = data
    options = {**SMALL, "solver": solver, "max_iter": max_iter, "n_jobs": n_jobs, **options}
    return ControlledODERegressor(**options).fit(X, y, sample_weight)


def assert_same_bits(model, other, X):
    np.testing.assert_array_equal(model.controls_, other.controls_)
    np.testing.assert_array_equal(model.predict(X), other.predict(X))


@pytest.mark.parametrize("solver", ["gauss-newton", "lbfgs"])
@pytest.mark.parametrize("backend", ["dask", "ray"])
def test_the_bits_of_threads(request, data, backend, solver):
    request.getfixturevalue({"dask": "dask_client", "ray": "ray_pool"}[backend])
    threads = fitted(data, solver)
    with joblib.parallel_config(backend):
        assert_same_bits(fitted(data, solver), threads, data[0])


def count_received(dask_worker):
    """On a worker: bytes of the arrays that were sent to it, and bytes that it took from others."""
    if not hasattr(dask_worker, "sent_here"):
        dask_worker.sent_here, take = 0, dask_worker.handlers["update_data"]

        def counting(data, **options):
            arrays = [value for value in data.values() if isinstance(value, np.ndarray)]
            dask_worker.sent_here += sum(array.nbytes for array in arrays)
            return take(data, **options)

        dask_worker.handlers["update_data"] = counting
    taken = sum(entry["total"] for entry in dask_worker.transfer_incoming_log)
    return dask_worker.sent_here, taken


def received_in(client, function):
    """Bytes that workers are sent, and that they take from each other, while a function runs."""
    before = np.sum(list(client.run(count_received).values()), axis=0)
    function()
    return np.sum(list(client.run(count_received).values()), axis=0) - before


def sent_once(X, y, solver):
    """Bytes of two members that every fit sends, and how many more it may."""
    # rows and targets once for both members and all workers, weights once a member
    once = X.nbytes + 3 * y.nbytes
    if solver == "lbfgs":
        return once, 0
    # Gauss-Newton starts with a subset of the rows, of each member's own
    once += 2 * (X.nbytes + 2 * y.nbytes) * 2**14 // len(X)
    # the process takes standardised targets, weights and counts; choices look at some of the rows:
    # a trial at 4,096, the noise of either member at 2,048
    return once + 3 * y.nbytes, 2 * 4096 * (X.nbytes + 4 * y.nbytes) // len(X)


@pytest.mark.parametrize("solver", ["gauss-newton", "lbfgs"])
def test_dask_ships_the_rows_once_a_fit(dask_client, data, solver):
    X, y = data
    options = {"n_members": 2, "solver": solver, "sample_weight": np.linspace(1, 2, len(X))}
    with joblib.parallel_config("dask"):
        (few, moved), (many, moved_by_many) = (
            received_in(dask_client, lambda n=n: fitted(data, n_jobs=2, max_iter=n, **options))
            for n in (2, 12)
        )
    rows = X.nbytes
    print(f"{solver}: rows {rows}, sent {few} and {many}; moved {moved} and {moved_by_many}")
    once, some = sent_once(X, y, solver)
    assert few == many
    assert once <= few <= once + some


@pytest.mark.parametrize("solver", ["gauss-newton", "lbfgs"])
def test_ray_ships_the_rows_once_a_fit(ray_pool, data, solver, monkeypatch):
    import ray
    from joblib.pool import PicklingPool

    X, y = data
    options = {"n_members": 2, "solver": solver, "sample_weight": np.linspace(1, 2, len(X))}
    sizes = {"store": 0, "calls": 0}

    def counting(put):
        def count(value, *args, **kwargs):
            sizes["store"] += value.nbytes if isinstance(value, np.ndarray) else 0
            return put(value, *args, **kwargs)

        return count

    def counting_calls(self, func, *args, **kwargs):
        sizes["calls"] += len(ray.cloudpickle.dumps(func))
        return apply_async(self, func, *args, **kwargs)

    with joblib.parallel_config("ray"):
        fitted(data, solver, max_iter=1)  # which makes the pool Ray's
        apply_async = PicklingPool.apply_async
        monkeypatch.setattr(ray, "put", counting(ray.put))
        monkeypatch.setattr(PicklingPool, "apply_async", counting_calls, raising=False)
        sent = []
        for n_iter in (2, 12):
            sizes.update(store=0, calls=0)
            fitted(data, max_iter=n_iter, **options)
            sent.append(dict(sizes))
    few, many = sent
    print(f"{solver}: rows {X.nbytes}, sent {few} and {many}")
    once, some = sent_once(X, y, solver)
    assert few["store"] == many["store"]
    assert once <= few["store"] <= once + some
    # calls carry parameters, and no rows
    assert many["calls"] < 0.5 * X.nbytes


@pytest.mark.parametrize("n_iter", [10])
def test_a_killed_worker_does_not_lose_the_fit(dask_client, data, n_iter):
    X, _ = data
    threads = fitted(data, "lbfgs", max_iter=n_iter)
    pids = list(dask_client.run(os.getpid).values())
    done = threading.Event()
    killed = []

    def kill():
        while not done.is_set() and not killed:
            if any(dask_client.processing().values()):
                os.kill(pids[0], signal.SIGKILL)
                killed.append(pids[0])
            time.sleep(0.05)

    killer = threading.Thread(target=kill)
    with joblib.parallel_config("dask"):
        killer.start()
        try:
            model = fitted(data, "lbfgs", max_iter=n_iter)
        finally:
            done.set()
            killer.join()
    assert killed
    assert_same_bits(model, threads, X)
    dask_client.wait_for_workers(2, timeout=60)
    assert killed[0] not in dask_client.run(os.getpid).values()


def test_a_killed_worker_of_ray_does_not_lose_the_fit(ray_pool, data):
    """Ray restarts its workers when it is told to, and it is."""
    import psutil  # comes with Ray

    X, _ = data
    threads = fitted(data, "lbfgs", max_iter=200)
    done, killed = threading.Event(), []

    def kill():
        while not done.is_set() and not killed:
            workers = [
                process
                for process in psutil.Process().children(recursive=True)
                if "PoolActor" in " ".join(process.cmdline())
            ]
            # at work: importing alone takes a second or two
            if busy := [worker for worker in workers if worker.cpu_times().user > 2.5]:
                busy[0].kill()
                killed.append(busy[0].pid)
            time.sleep(0.05)

    killer = threading.Thread(target=kill)
    with joblib.parallel_config("ray"):
        killer.start()
        try:
            model = fitted(data, "lbfgs", max_iter=200)
        finally:
            done.set()
            killer.join()
    assert killed
    assert_same_bits(model, threads, X)


@pytest.mark.parametrize("backend", ["dask", "ray"])
def test_a_search_as_users_do_it(request, data, backend):
    request.getfixturevalue({"dask": "dask_client", "ray": "ray_pool"}[backend])
    X, y = data[0][:600], data[1][:600] > 0
    grid = {"n_fields": [4, 8], "vector_fields": [None, "neural"]}
    search = GridSearchCV(ControlledODEClassifier(**SMALL, max_iter=3), grid, cv=3, n_jobs=2)
    alone = search.fit(X, y)
    scores, best = alone.cv_results_["mean_test_score"], alone.best_estimator_.predict_proba(X)
    with joblib.parallel_config(backend):
        search.fit(X, y)
    np.testing.assert_array_equal(search.cv_results_["mean_test_score"], scores)
    np.testing.assert_array_equal(search.best_estimator_.predict_proba(X), best)


# -- arrays of Dask that are larger than memory ----------------------------------------------------

#: Follows both ways of docs/scaling.md in a process that may not allocate all rows. What is mapped
#: from a file does not count.
LARGER = """
import resource, sys

import dask, dask.array as da
import numpy as np
from skcode import ControlledODERegressor

path, n, p, limit = sys.argv[1], *map(int, sys.argv[2:5])
dask.config.set(scheduler="synchronous")
X = da.random.default_rng(0).standard_normal((n, p), chunks=(100_000, p))
y = da.sin(X[:, 0]) + X[:, 1]
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
try:
    np.ones(X.shape)
except MemoryError:
    pass
else:
    raise SystemExit("the limit does not hold")

options = dict(vector_fields="neural", n_fields=4, n_members=1, n_intervals=1, random_state=0)
stream = ControlledODERegressor(solver="adam", **options)
for rows, targets in zip(X.to_delayed().ravel(), y.to_delayed().ravel(), strict=True):
    stream.partial_fit(*dask.compute(rows, targets))
rows = np.lib.format.open_memmap(path, mode="w+", dtype="float32", shape=X.shape)
da.store(X, rows)
stored = np.load(path, mmap_mode="r")
model = ControlledODERegressor(max_iter=4, **options).fit(stored, y.compute())
some, truth = X[:100_000].compute(), y[:100_000].compute()
print(stream.score(some, truth), model.score(some, truth))
predictions = X[:200_000].map_blocks(stream.predict, drop_axis=1, dtype=float)
np.testing.assert_array_equal(predictions[:100_000].compute(), stream.predict(some))
"""


def test_an_array_of_dask_larger_than_memory(tmp_path):
    """800 MB of rows, in a process that may allocate 850 MB, 350 MB of which are libraries."""
    arguments = [str(tmp_path / "X.npy"), "2000000", "50", str(850 * 10**6)]
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MALLOC_ARENA_MAX"), "1")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LARGER, *arguments],
        capture_output=True,
        text=True,
        timeout=3000,
        check=False,
        env={**os.environ, **one},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    streamed, fitted = map(float, done.stdout.split())
    assert streamed > 0.8
    assert fitted > 0.8


def test_blocks_of_dask_are_the_rows(data, tmp_path):
    """The memory map of an array and its blocks give the bits of the rows in memory."""
    import dask
    import dask.array as da

    X, y = data
    lazy, lazy_y = da.from_array(X, chunks=(10_000, -1)), da.from_array(y, chunks=10_000)
    rows = np.lib.format.open_memmap(tmp_path / "X.npy", mode="w+", dtype=X.dtype, shape=X.shape)
    da.store(lazy, rows)
    stored = np.load(tmp_path / "X.npy", mmap_mode="r")
    in_memory = fitted(data, "auto")
    assert_same_bits(fitted((stored, y), "auto"), in_memory, X)
    assert_same_bits(fitted((lazy, lazy_y), "auto"), in_memory, X)
    stream, blocks = (ControlledODERegressor(**SMALL, solver="adam") for _ in range(2))
    for part, targets in zip(lazy.to_delayed().ravel(), lazy_y.to_delayed(), strict=True):
        blocks.partial_fit(*dask.compute(part, targets))
    for start in range(0, len(X), 10_000):
        stream.partial_fit(X[start : start + 10_000], y[start : start + 10_000])
    assert_same_bits(blocks, stream, X)


def test_partitions_of_a_frame_are_its_rows(data):
    """By the ways of docs/scaling.md."""
    pd = pytest.importorskip("pandas")
    frames = pytest.importorskip("dask.dataframe")
    X, y = data
    table = pd.DataFrame(X[:3000], columns=[f"c{j}" for j in range(X.shape[1])])
    table["level"] = np.where(X[:3000, 3] > 0, "high", "low")
    lazy = frames.from_pandas(table, npartitions=3)
    parts = [part.compute() for part in lazy.to_delayed()]
    stream, blocks = (ControlledODERegressor(**SMALL, solver="adam") for _ in range(2))
    start = 0
    for part in parts:
        targets = y[start : start + len(part)]
        blocks.partial_fit(part, targets)
        stream.partial_fit(table[start : start + len(part)], targets)
        start += len(part)
    assert start == len(table)
    assert_same_bits(blocks, stream, table)
    lazily = lazy.map_partitions(blocks.predict, meta=("y", float)).compute()
    np.testing.assert_array_equal(lazily, blocks.predict(table))
