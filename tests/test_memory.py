"""More rows than memory: memory maps and streams; and memory that is kept."""

import os
import platform
import subprocess
import sys

import numpy as np
import pytest

from skcode import ControlledODEClassifier, ControlledODERegressor
from skcode.solvers import Adam

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

#: Fits a memory map of float32 in a process whose address space is bounded: the file, the code of
#: all libraries and what the process allocates. Without pandas, which alone would take 140 MB.
FIT = """
import resource, sys

sys.modules["pandas"] = None
import numpy as np
from skcode import ControlledODERegressor
del sys.modules["pandas"]

path, n, p, limit = sys.argv[1], *map(int, sys.argv[2:5])
X = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(n, p))
y = np.empty(n, np.float32)
rng = np.random.default_rng(0)
for start in range(0, n, 100_000):
    rows = rng.standard_normal((min(100_000, n - start), p), dtype=np.float32)
    X[start : start + len(rows)] = rows
    y[start : start + len(rows)] = np.sin(rows[:, 0]) + rows[:, 1]
X.flush()
del X, rows
X = np.load(path, mmap_mode="r")
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
try:
    np.ones(limit // 8)
except MemoryError:
    pass
else:
    raise SystemExit("the limit does not hold")
model = ControlledODERegressor(
    vector_fields="neural", n_fields=4, n_members=1, n_intervals=1, max_iter=4, random_state=0,
)
model.fit(X, y)
print(model.score(X[:100_000], y[:100_000]))
"""


def fit_within(limit, path, n, p=50):
    """R2 of a fit that runs under a limit, in bytes, of the address space."""
    arguments = [str(path), str(n), str(p), str(limit)]
    command = [sys.executable, "-W", "ignore", "-c", FIT, *arguments]
    # threads of BLAS and arenas of the C library take address space as they please
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MALLOC_ARENA_MAX"), "1")
    environment = {**os.environ, **one}
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=3000,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return float(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("n_rows", [1_000_000, 5_000_000])
def test_rows_of_a_memory_map_are_never_copied(tmp_path, n_rows):
    """A fit takes 500 MB beyond the file, of 200 or 1,000 MB, and 350 MB of libraries."""
    assert fit_within(n_rows * 200 + 850 * 10**6, tmp_path / "X.npy", n_rows) > 0.5


# -- streams ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stream():
    """Rows for training and for the test, and noisy targets."""
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (12_000, 4))
    y = np.sin(3 * X[:, 0]) + X[:, 1] * X[:, 2] + 0.1 * rng.standard_normal(len(X))
    return X[:8000], y[:8000], X[8000:], y[8000:]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("estimator", "encode"),
    [(ControlledODERegressor, np.asarray), (ControlledODEClassifier, lambda y: y > 0)],
)
def test_a_stream_reaches_the_score_of_a_fit(stream, estimator, encode):
    X, y, X_test, y_test = stream
    y, y_test = encode(y), encode(y_test)
    options = {"n_fields": 32, "n_members": 1, "random_state": 0}
    fitted = estimator(**options).fit(X, y).score(X_test, y_test)
    streamed = estimator(**options, solver=Adam(batch_size=50))
    for rate, passes in ((0.02, 8), (0.004, 6), (0.001, 2)):
        streamed.set_params(solver__learning_rate_init=rate)
        for _ in range(passes):
            for start in range(0, len(X), 2000):
                streamed.partial_fit(X[start : start + 2000], y[start : start + 2000])
    assert fitted > 0.9
    assert streamed.score(X_test, y_test) >= 0.99 * fitted


#: Takes and frees three arrays again and again, and counts the pages that the system hands out
PAGES = """
import resource
import numpy as np
from skcode.utils._memory import keep_freed_memory

def take():
    for array in [np.empty(3 * 2**20, np.uint8) for _ in range(3)]:
        array.fill(1)

def pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        take()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

take()
print(pages())
keep_freed_memory()
take()
print(pages())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="tells glibc's allocator")
# Dask's workers trim, by their environment, which holds all thresholds fixed
@pytest.mark.parametrize("named", [{}, {"MALLOC_TRIM_THRESHOLD_": "65536"}], ids=["free", "dask"])
def test_freed_memory_stays_with_the_process(named):
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC", "GLIBC"))}
    environment |= named
    done = subprocess.run(
        [sys.executable, "-c", PAGES], capture_output=True, text=True, env=environment, check=True
    )
    before, after = map(int, done.stdout.split())
    # huge pages are few
    assert after < min(100, before / 10)
