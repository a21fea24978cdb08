"""How time and memory grow with rows, states, fields, intervals, outputs and threads.

    python examples/benchmarks/scaling.py --fast             # up to 1e5 rows, a minute
    python examples/benchmarks/scaling.py                    # up to 1e7 rows
    python examples/benchmarks/scaling.py --axes n jobs      # some of the axes
    python examples/benchmarks/scaling.py --axes fit --fit-rows 1000000
    python examples/benchmarks/scaling.py --axes backends --fit-rows 1000000   # extras dask, ray

Each figure comes from a process of its own. Rows are float32 and lie in a file that is mapped into
memory, so that they are read block by block. The first tables time one loss and gradient and one
Jacobian accumulation (``Objective.value_and_grad``, ``Objective.normal_equations``) with rank-1
fields; "fits" and "fit" are ``ControlledODERegressor().fit`` with defaults, "fits" with one worker
and with two; "backends" is the same fit on two threads and on two workers of Dask and of Ray, which
are there before it starts. Memory is the peak of what the process allocates beyond what it held
before the call; mapped rows do not count.

The slope is that of log time against log size: 1 is linear. Where other programs run,
``--clock cpu`` reads the processor time, for one thread.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import joblib
import numpy as np

from skcode import ControlledODERegressor
from skcode.fields import NeuralFields
from skcode.flow import get_tableau
from skcode.inputs import InputMap
from skcode.losses import SquaredError
from skcode.model import Model
from skcode.objective import Objective
from skcode.readouts import LinearReadout
from skcode.utils._blocks import OrderedMap

BASE = {"n": 20_000, "p": 20, "m": 32, "d": 64, "M": 4, "K": 1, "jobs": 1}
AXES = {
    "n": [10**3, 10**4, 10**5, 10**6, 10**7],
    "m": [20, 64, 128, 256],
    "d": [16, 64, 256],
    "M": [2, 4, 8, 16],
    "K": [1, 2, 4, 8],
}
#: sizes below this are left out of the slope in n: calls outweigh rows there
FIRST_N = 10**4
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


class PeakMemory:
    """Peak of the private memory of this process above its start, in MB, sampled by a thread."""

    def __enter__(self):
        self.start = self.peak = self._private()
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._sample)
        self.thread.start()
        return self

    def __exit__(self, *exc):
        self.done.set()
        self.thread.join()

    def _private(self):
        resident, shared = map(int, Path("/proc/self/statm").read_text().split()[1:3])
        return (resident - shared) * os.sysconf("SC_PAGE_SIZE") / 2**20

    def _sample(self):
        while not self.done.wait(0.005):
            self.peak = max(self.peak, self._private())

    @property
    def megabytes(self):
        return self.peak - self.start


def write_rows(folder, n, p):
    """X (n, p) and y (n,) as files, written in pieces."""
    rng = np.random.default_rng(0)
    X = np.lib.format.open_memmap(folder / "X.npy", "w+", np.float32, (n, p))
    y = np.lib.format.open_memmap(folder / "y.npy", "w+", np.float32, (n,))
    for start in range(0, n, 2**17):
        rows = rng.standard_normal((min(2**17, n - start), p), dtype=np.float32)
        X[start : start + len(rows)] = rows
        y[start : start + len(rows)] = np.sin(2 * rows[:, 0]) + rows[:, 1] * rows[:, 2]


def repeated(call, clock, seconds=1.0):
    """Median time of a call: at least three of them, or one where it takes long."""
    times = []
    while not times or (sum(times) < seconds and len(times) < 50):
        start = clock()
        call()
        times.append(clock() - start)
    return median(times)


def run_sweeps(folder, size, clock):
    X, y = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in "Xy")
    X, y = X[: size["n"], : size["p"]], y[: size["n"]]
    rng = np.random.default_rng(0)
    fields = NeuralFields(rank=1).draw(size["m"], size["d"], rng).astype(np.float32)
    identity = InputMap(
        np.zeros(size["p"]), np.ones(size["p"]), size["m"], dtype=np.dtype(np.float32)
    )
    readout = LinearReadout(size["m"], size["K"])
    model = Model(identity, fields, get_tableau("euler"), size["M"], readout)
    theta = 0.3 * rng.standard_normal(model.n_parameters)
    targets = np.broadcast_to(y[:, None], (len(y), size["K"]))
    weight = np.ones(len(y))
    with OrderedMap(size["jobs"]) as mapper, PeakMemory() as memory:
        objective = Objective(model, SquaredError(), X, targets, weight, 0.0, mapper)
        objective.subset(np.arange(min(len(X), 4096))).value_and_grad(theta)
        gradient = repeated(lambda: objective.value_and_grad(theta), clock)
        normal = repeated(lambda: objective.normal_equations(theta), clock)
    return {"gradient": gradient, "Jacobian": normal, "megabytes": memory.megabytes}


@contextmanager
def two_workers(backend):
    """Two local workers of a joblib backend that a fit finds; threads make their own."""
    if backend == "threads":
        yield
    elif backend == "dask":
        from dask.distributed import Client, LocalCluster

        cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0")
        with cluster, Client(cluster), joblib.parallel_config("dask"):
            yield
    else:
        import ray
        from ray.util.joblib import register_ray

        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
        register_ray()
        with joblib.parallel_config("ray"):
            yield
        ray.shutdown()


def run_fit(folder, size, clock):
    X, y = (np.load(folder / f"{name}.npy", mmap_mode="r")[: size["n"]] for name in "Xy")
    # what is imported on first use is no memory of the fit
    ControlledODERegressor(max_iter=1, n_members=1).fit(X[:200], y[:200])
    model = ControlledODERegressor(n_members=size["members"], n_jobs=size["jobs"], random_state=0)
    with two_workers(size.get("backend", "threads")), PeakMemory() as memory:
        start = clock()
        model.fit(X, y)
        seconds = clock() - start
    score = model.score(X[:10_000], y[:10_000])
    bits = hashlib.sha256(model.predict(X[:1000]).tobytes()).hexdigest()
    return {"fit": seconds, "megabytes": memory.megabytes, "score": score, "bits": bits}


def measure(folder, kind, size, clock):
    """Run one measurement in a new process."""
    job = json.dumps({"folder": str(folder), "kind": kind, "size": size, "clock": clock})
    output = subprocess.run(
        [sys.executable, __file__, "--child", job], check=True, capture_output=True, text=True
    )
    return json.loads(output.stdout.splitlines()[-1])


def child(job):
    warnings.simplefilter("ignore")
    run = run_fit if job["kind"] == "fit" else run_sweeps
    print(json.dumps(run(Path(job["folder"]), job["size"], CLOCKS[job["clock"]])))


def slope(sizes, times):
    return np.polyfit(np.log(sizes), np.log(times), 1)[0]


def sweep_axis(folder, name, values, clock):
    print(f"\n{name:>10}{'gradient s':>12}{'Jacobian s':>12}{'peak MB':>9}")
    results = []
    for value in values:
        size = BASE | {name: value} | ({"p": min(20, value)} if name == "m" else {})
        result = measure(folder, "sweeps", size, clock)
        results.append((value, result["gradient"], result["Jacobian"]))
        print(
            f"{value:10}{result['gradient']:12.4f}{result['Jacobian']:12.4f}"
            f"{result['megabytes']:9.0f}",
            flush=True,
        )
    fitted = [r for r in results if name != "n" or r[0] >= FIRST_N]
    if len(fitted) > 1:
        sizes, gradient, normal = zip(*fitted, strict=True)
        print(f"{'slope':>10}{slope(sizes, gradient):12.2f}{slope(sizes, normal):12.2f}")


def jobs_table(folder, n, clock):
    print(f"\n{'n_jobs':>10}{'gradient s':>12}{'Jacobian s':>12}{'peak MB':>9}   (n = {n:,})")
    single = None
    for jobs in (1, 2):
        result = measure(folder, "sweeps", BASE | {"n": n, "jobs": jobs}, clock)
        print(
            f"{jobs:10}{result['gradient']:12.4f}{result['Jacobian']:12.4f}"
            f"{result['megabytes']:9.0f}",
            flush=True,
        )
        single = single or result
    ratios = [single[task] / result[task] for task in ("gradient", "Jacobian")]
    print(f"{'speed-up':>10}{ratios[0]:12.2f}{ratios[1]:12.2f}")
    # what the cores allow: processes share no lock of Python's
    with ThreadPoolExecutor(2) as pool:
        halves = [
            pool.submit(measure, folder, "sweeps", BASE | {"n": n // 2}, clock) for _ in range(2)
        ]
        results = [half.result() for half in halves]
    ratios = [single[task] / max(r[task] for r in results) for task in ("gradient", "Jacobian")]
    print(f"{'2 processes':>11}{ratios[0]:11.2f}{ratios[1]:12.2f}")


def fits_table(folder, most, clock):
    print(f"\n{'rows':>10}{'1 job s':>12}{'2 jobs s':>12}{'speed-up':>9}   (fit, 4 members)")
    for n in (500, 2_000, 20_000, 100_000):
        if n <= most:
            one, two = (
                min(
                    measure(folder, "fit", {"n": n, "jobs": jobs, "members": 4}, clock)["fit"]
                    for _ in range(2)
                )
                for jobs in (1, 2)
            )
            print(f"{n:10}{one:12.2f}{two:12.2f}{one / two:9.2f}", flush=True)


def backends_table(folder, n, members, clock):
    print(f"\n{'backend':>10}{'fit s':>9}{'ratio':>7}{'same bits':>11}   (n = {n:,}, two workers)")
    size, first = {"n": n, "jobs": 2, "members": members}, None
    for backend in ("threads", "dask", "ray"):
        if backend != "threads" and find_spec(backend) is None:
            print(f"{backend:>10}  is not installed")
            continue
        result = measure(folder, "fit", size | {"backend": backend}, clock)
        first = first or result
        same = "yes" if result["bits"] == first["bits"] else "no"
        ratio = result["fit"] / first["fit"]
        print(f"{backend:>10}{result['fit']:9.1f}{ratio:7.2f}{same:>11}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--axes", nargs="+", choices=[*AXES, "jobs", "fits", "fit", "backends"])
    parser.add_argument("--fit-rows", type=int, default=10**6)
    parser.add_argument("--fit-members", type=int, default=4)
    parser.add_argument("--most-rows", type=int, default=10**7)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--fast", action="store_true", help="at most 1e5 rows")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(json.loads(args.child))
        return
    most = min(args.most_rows, 10**5) if args.fast else args.most_rows
    fit_rows = min(args.fit_rows, most)
    axes = args.axes or [*AXES, "jobs", "fits", "fit"]
    of_fit = fit_rows if {"fit", "backends"} & set(axes) else 0
    n_file = max(most if "n" in axes else min(most, 10**5), of_fit)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_rows(folder, n_file, BASE["p"])
        for axis in axes:
            if axis == "jobs":
                jobs_table(folder, min(most, 10**5), args.clock)
            elif axis == "fits":
                fits_table(folder, min(most, 10**5), args.clock)
            elif axis == "backends":
                backends_table(folder, fit_rows, args.fit_members, args.clock)
            elif axis == "fit":
                size = {"n": fit_rows, "jobs": 2, "members": args.fit_members}
                result = measure(folder, "fit", size, args.clock)
                data = fit_rows * (BASE["p"] + 1) * 4 / 2**20
                print(
                    f"\nfit of {fit_rows:,} x {BASE['p']} float32 rows ({data:.0f} MB), "
                    f"{args.fit_members} members, n_jobs=2: {result['fit']:.0f} s, "
                    f"{result['megabytes']:.0f} MB beyond the data, R2 {result['score']:.3f}"
                )
            else:
                values = [v for v in AXES[axis] if axis != "n" or v <= most]
                sweep_axis(folder, axis, values, args.clock)


if __name__ == "__main__":
    main()
