"""Threads, forks, interrupts, full disks and errors of the user: an answer, or the error."""

import errno
import multiprocessing
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from joblib import parallel_config

from skcode import ControlledODEClassifier, ControlledODERegressor
from skcode.fields import FunctionFields, NeuralFields, PolynomialFields
from skcode.utils._blas import single_threaded_blas
from skcode.utils._tracing import tracing

SMALL = {"n_members": 1, "n_fields": 6, "n_states": 8, "max_iter": 4, "random_state": 0}
SOLVERS = ["gauss-newton", "lbfgs", "adam"]
pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning",
    # Python 3.12 and newer warn of every fork with threads; that is what is tested here
    "ignore:.*multi-threaded, use of fork:DeprecationWarning",
)


def data(n=300, p=3):
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (n, p))
    return X, np.sin(2 * X[:, 0]) + X[:, 1]


def fit_and_predict(solver, seed=0, n_jobs=None):
    X, y = data()
    options = {**SMALL, "solver": solver, "random_state": seed, "n_jobs": n_jobs}
    regressor = ControlledODERegressor(**options).fit(X, y)
    classifier = ControlledODEClassifier(**options).fit(X, np.digitize(y, [-0.5, 0.5]))
    return regressor.predict(X), classifier.predict_proba(X)


# -- threads and processes -------------------------------------------------------------------------


def test_eight_threads_fit_and_predict_as_one_after_another():
    jobs = [(SOLVERS[k % 3], k, 1 + k % 2) for k in range(8)]
    alone = [fit_and_predict(*job) for job in jobs]
    together: list = [None] * 8

    def work(k):
        together[k] = fit_and_predict(*jobs[k])

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    for mine, theirs in zip(alone, together, strict=True):
        for a, b in zip(mine, theirs, strict=True):
            np.testing.assert_array_equal(a, b)


def test_eight_threads_share_one_model():
    X, y = data()
    model = ControlledODERegressor(**SMALL).fit(X, y)
    alone = [model.predict(X[k : k + 200]) for k in range(8)]
    together: list = [None] * 8

    def work(k):
        for _ in range(10):
            together[k] = model.predict(X[k : k + 200])

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    for mine, theirs in zip(alone, together, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def send(connection, solver):
    connection.send(fit_and_predict(solver))


def in_a_child(method, solver):
    """What a child process answers."""
    context = multiprocessing.get_context(method)
    ours, theirs = context.Pipe()
    child = context.Process(target=send, args=(theirs, solver), daemon=True)
    child.start()
    try:
        assert ours.poll(120), "the child hangs"
        return ours.recv()
    finally:
        child.kill()
        child.join()


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.parametrize("solver", SOLVERS)
def test_a_child_says_the_same(method, solver):
    for mine, theirs in zip(fit_and_predict(solver), in_a_child(method, solver), strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("state", [tracing, single_threaded_blas])
def test_a_fork_while_another_thread_fits(state):
    expected = fit_and_predict("lbfgs")
    held, done = threading.Event(), threading.Event()

    def hold():
        with state():
            held.set()
            done.wait(180)

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        assert held.wait(60)
        for mine, theirs in zip(expected, in_a_child("fork", "lbfgs"), strict=True):
            np.testing.assert_array_equal(mine, theirs)
    finally:
        done.set()
        thread.join(60)


# -- interrupts ------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("solver", SOLVERS)
def test_an_interrupt_at_any_time(solver, n_jobs):
    X, y = data(1500, 6)
    options = {**SMALL, "n_members": 2, "max_iter": 8, "solver": solver, "n_jobs": n_jobs}
    undisturbed = ControlledODERegressor(**options)
    start = time.perf_counter()
    undisturbed.fit(X, y)
    duration = time.perf_counter() - start
    delays = random.Random(solver)
    for _ in range(5):
        model = ControlledODERegressor(**options)
        timer = threading.Timer(delays.uniform(0, duration), os.kill, (os.getpid(), signal.SIGINT))
        said = ""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                timer.start()
                model.fit(X, y)
                timer.join()
                # the signal is taken between two instructions
                time.sleep(0.01)
        except KeyboardInterrupt as interrupt:
            said = str(interrupt)
        finally:
            timer.join()
        if hasattr(model, "controls_"):
            assert np.isfinite(model.predict(X)).all()
        if "interrupted" in said:
            assert hasattr(model, "controls_")
        # nothing is left behind that would change a fit
        np.testing.assert_array_equal(
            ControlledODERegressor(**options).fit(X, y).predict(X), undisturbed.predict(X)
        )


# -- errors ----------------------------------------------------------------------------------------


class FieldError(Exception):
    """What a user's field may raise."""


def raising(x):
    if np.shape(x)[0] > 2:  # beyond the probe of the shapes
        raise FieldError("as it was", 42)
    return x


class Later:
    """A field that fails after some calls."""

    def __init__(self, calls):
        self.calls = calls

    def __call__(self, x):
        self.calls -= 1
        if self.calls < 0:
            raise FieldError("as it was", 42)
        return x


def traces():
    """Threads, and files in the folder for temporary files."""
    return threading.active_count(), sorted(os.listdir(tempfile.gettempdir()))


def settled(before):
    """Whether threads and files are those of before, within a while."""
    deadline = time.monotonic() + 30
    while traces() != before and time.monotonic() < deadline:
        time.sleep(0.05)
    return traces() == before


@pytest.fixture
def own_temporary_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("JOBLIB_TEMP_FOLDER", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("calls", [3, 20])
def test_an_error_in_a_field_comes_back_as_it_was(own_temporary_folder, solver, n_jobs, calls):
    X, y = data(3000)
    before = traces()
    family = FunctionFields([Later(calls)])
    model = ControlledODERegressor(
        **{**SMALL, "n_states": 3, "vector_fields": family, "solver": solver, "n_jobs": n_jobs}
    )
    with pytest.raises(FieldError) as caught:
        model.fit(X, y)
    assert caught.value.args == ("as it was", 42)
    assert not hasattr(model, "controls_")
    assert settled(before)
    # the same process goes on
    assert np.isfinite(fit_and_predict(solver)[0]).all()


def test_an_error_in_a_process_comes_back_as_it_was():
    X, y = data(3000)
    model = ControlledODERegressor(vector_fields=FunctionFields([raising]), **SMALL)
    with parallel_config("loky", n_jobs=2), pytest.raises(FieldError) as caught:
        model.set_params(n_states=3).fit(X, y)
    assert caught.value.args == ("as it was", 42)


FULL_DISK = """
import os, pickle, resource, sys, tempfile
import numpy as np
from joblib import parallel_config
from skcode import ControlledODERegressor

folder = tempfile.mkdtemp(dir=sys.argv[1])
os.environ["JOBLIB_TEMP_FOLDER"] = folder
rng = np.random.default_rng(0)
X = rng.standard_normal((40_000, 10))  # tasks of more than joblib's 1 MB go through files
y = X[:, 0]
model = ControlledODERegressor(
    n_members=1, n_fields=4, n_states=10, solver="lbfgs", max_iter=1, random_state=0
)
limits = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
try:
    with parallel_config("loky", n_jobs=2, max_nbytes=1000):
        model.fit(X, y)
except pickle.PicklingError as error:  # joblib's, with the system's as its cause
    print(str(error.__cause__).split("OSError: ")[1].splitlines()[0])
else:
    print("no error")
resource.setrlimit(resource.RLIMIT_FSIZE, limits)
left = [name for _, _, names in os.walk(folder) for name in names]
print("files:", len(left))
print("fitted:", hasattr(model, "controls_"))
with parallel_config("loky", n_jobs=2, max_nbytes=1000):
    again = model.fit(X, y).predict(X)
print("again:", np.array_equal(again, model.set_params(n_jobs=1).fit(X, y).predict(X)))
"""


@pytest.mark.slow
def test_a_full_disk_while_a_memory_map_is_written(tmp_path):
    """No file may exceed 100 kB: what the disk says of a write to it comes back."""
    command = [sys.executable, "-W", "ignore", "-c", FULL_DISK, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    error = f"[Errno {errno.EFBIG}] {os.strerror(errno.EFBIG)}"
    assert lines == [error, "files: 0", "fitted: False", "again: True"]
    assert not [path for path in Path(tmp_path).rglob("*") if path.is_file()]


# -- explosions ------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:The flow or the loss overflows in training:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:The flow all but explodes:RuntimeWarning")
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("size", [1e3, 1e6])
@pytest.mark.parametrize("family", [PolynomialFields(degree=3), NeuralFields("polynomial")])
def test_explosive_fields_on_large_inputs(family, size, solver):
    """Unscaled inputs: finite predictions near the data and far away, or an error that helps."""
    X, y = data()
    X = size * X
    model = ControlledODERegressor(vector_fields=family, scaling=None, solver=solver, **SMALL)
    said = []
    for rows in (X, 1e3 * X):
        try:
            fitted = model if hasattr(model, "controls_") else model.fit(X, y)
            said.append(fitted.predict(rows))
        except ValueError as error:
            assert re.search("explode|overflow", str(error))
            assert re.search("scaling=|Scale or clip", str(error))
    assert all(np.isfinite(values).all() for values in said)
    assert np.isfinite(model.set_params(scaling="robust").fit(X, y).predict(X)).all()


def test_a_deviation_that_overflows_is_an_error():
    """Predictions of a constant stay finite where their deviation, of which they know, does not."""
    X = np.array([[0.3], [0.8]])
    model = ControlledODERegressor(
        vector_fields=NeuralFields("polynomial", degree=3), integrator="rk4", scaling="standard",
        n_fields=1, n_intervals=1, n_members=1, max_iter=1, random_state=2,
    ).fit(X, np.zeros(2))  # fmt: skip
    np.testing.assert_array_equal(model.predict(1e3 * X), 0)
    with pytest.raises(ValueError, match="explodes"):
        model.predict(1e3 * X, return_std=True)
