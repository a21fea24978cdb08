"""One loss and gradient, and one Jacobian accumulation: skcode against its peers and the machine.

    python examples/benchmarks/flow.py                       # the whole grid: an hour
    python examples/benchmarks/flow.py --fast                # small rows, seconds
    python examples/benchmarks/flow.py --rows 2 3 --dtypes float32 --peers torch jax
    python examples/benchmarks/flow.py --no-peers            # skcode and the limit alone

A row is a size (n samples, m states, d fields, rank, M intervals of one Euler step each). All
competitors compute the same numbers in one process on the same cores (two threads each), take
turns, and are timed in every turn; a figure is the median of the turns. skcode runs as a fit runs
it: ``Objective.value_and_grad`` and ``Objective.normal_equations`` with n_jobs=2. Columns:

- ms: time of skcode;
- limit: share of that time which the necessary work takes at the rates that the machine reached in
  the same turns (see flow_limit.py);
- one column for each peer: its time in units of ours, more than 1 where skcode is faster;
- error: largest deviation of a peer's result from ours, in units of the largest entry.

The last lines are the geometric means of the columns, and what they would be if skcode ran at the
limit: as far ahead of a peer as this arithmetic gets at these rates.

Results that deviate by more than 1e-5 in double or 1e-3 in single precision are an error.
Peers that are not installed are left out.
"""

from __future__ import annotations

import argparse
import gc
import os
import time
from dataclasses import replace
from statistics import geometric_mean, median
from typing import NamedTuple

import numpy as np
from flow_limit import Limit
from flow_peers import PEERS, Problem, installed, prepare

from skcode.fields import NeuralFields, PolynomialFields
from skcode.flow import get_tableau
from skcode.inputs import InputMap
from skcode.losses import SquaredError
from skcode.model import Model
from skcode.objective import NormalEquations, Objective
from skcode.readouts import LinearReadout
from skcode.utils._blocks import OrderedMap

TOLERANCE = {"float32": 1e-3, "float64": 1e-5}


class Row(NamedTuple):
    """A size of the grid; rank 0 stands for polynomial fields of degree 3."""

    n: int
    m: int
    d: int
    rank: int | None
    M: int

    def __str__(self):
        rank = {None: "full", 0: "degree 3"}.get(self.rank, f"rank {self.rank}")
        return f"n={self.n:,} m={self.m} d={self.d} {rank} M={self.M}"


GRID = [
    Row(200, 8, 32, 1, 4),
    Row(2_000, 16, 64, 1, 4),
    Row(10_000, 64, 128, 1, 3),
    Row(10_000, 64, 7, None, 20),
    Row(2_000, 256, 7, None, 10),
    Row(20_000, 10, 7, None, 20),
    Row(5_000, 784, 1_024, 1, 3),
    Row(100_000, 32, 64, 1, 4),
    Row(2_000, 8, 5, 0, 4),
    Row(2_000, 8, 50, 0, 4),
]
FAST = [Row(200, 8, 32, 1, 4), Row(500, 16, 7, None, 5), Row(200, 4, 5, 0, 4)]


def draw(row, dtype):
    """Model and arrays of a row."""
    rng = np.random.default_rng(0)
    family = PolynomialFields(3, scale=0.5) if row.rank == 0 else NeuralFields(rank=row.rank)
    fields = family.draw(row.m, row.d, rng).astype(dtype)
    identity = InputMap(np.zeros(row.m), np.ones(row.m), row.m, dtype=dtype)
    model = Model(identity, fields, get_tableau("euler"), row.M, LinearReadout(row.m, 1))
    X = (0.5 * rng.standard_normal((row.n, row.m))).astype(dtype)
    controls = rng.standard_normal((row.M, row.d)) * fields.start_scale
    problem = Problem(
        X=X,
        y=np.sin(X[:, 0] + X[:, 1]),
        controls=controls.astype(dtype),
        weights=(rng.standard_normal(row.m) / np.sqrt(row.m)).astype(dtype),
        intercept=np.zeros(1, dtype),
    )
    if row.rank == 0:
        parts = {"coefficients": fields.coefficients, "monomials": fields.monomials}
    else:
        parts = {"A": fields.A, "B": fields.B}
    return model, replace(problem, **parts)


def ours(model, problem, mapper):
    """The two callables of `flow_peers`, through the objective that a fit minimises."""
    n = len(problem.X)
    objective = Objective(
        model, SquaredError(), problem.X, problem.y[:, None], np.ones(n), 0.0, mapper
    )
    theta = np.concatenate([problem.controls.ravel(), problem.weights, problem.intercept])
    theta = theta.astype(np.float64)
    c, m = model.n_controls, model.fields.n_states

    def gradient():
        value, grad = objective.value_and_grad(theta)
        return value, [grad[:c].reshape(problem.controls.shape), grad[c : c + m], grad[c + m :]]

    return gradient, lambda: objective.normal_equations(theta)


def error(result, reference):
    """Largest deviation in units of the largest entry, over all parts."""
    flat = [
        [np.atleast_1d(np.asarray(part, float)) for part in flatten(dense(r))]
        for r in (result, reference)
    ]
    return max(np.abs(a - b).max() / np.abs(b).max() for a, b in zip(*flat, strict=True))


def dense(result):
    """J^T J / n and the gradient of normal equations, whose arrow a fit leaves as it is."""
    if not isinstance(result, NormalEquations):
        return result
    arrow = result.matrix
    J_by_J = np.block([[arrow.core, arrow.coupling[0]], [arrow.coupling[0].T, arrow.blocks[0]]])
    return J_by_J, result.gradient


def flatten(parts):
    for part in parts:
        if isinstance(part, list):
            yield from part
        else:
            yield part


def turns(calls, seconds, clock, most=200):
    """Median times of callables that take turns, each after an untimed call of its own.

    That is what an iteration of a fit sees: caches hold what the one before left there.
    """
    times = {name: [] for name in calls}
    for call in calls.values():
        call()
    stop = time.perf_counter() + seconds
    while len(min(times.values(), key=len)) < 3 or (
        time.perf_counter() < stop and len(min(times.values(), key=len)) < most
    ):
        for name, call in calls.items():
            # idle threads of the others spin for a while before they sleep
            time.sleep(0.002)
            call()
            start = clock()
            call()
            times[name].append(clock() - start)
    return {name: median(t) for name, t in times.items()}


def measure(row, dtype, peers, seconds, clock, mapper):
    """For each of the two tasks: our time, share of the limit, peers' ratios, largest error."""
    model, problem = draw(row, np.dtype(dtype))
    competitors = {"skcode": ours(model, problem, mapper)}
    for name in peers:
        competitors[name] = PEERS[name][1](problem)
    limit = Limit(model, row.n, mapper.n_jobs)
    results = []
    for k, task in enumerate(("gradient", "Jacobian")):
        calls = {name: pair[k] for name, pair in competitors.items() if pair[k] is not None}
        reference = calls["skcode"]()
        deviation = max([error(call(), reference) for call in calls.values()])
        if not deviation <= TOLERANCE[dtype]:
            raise SystemExit(f"{row} {dtype} {task}: results deviate by {deviation:.1e}.")
        gc.collect()
        gc.disable()
        pieces = limit.calls(task)
        times = turns(calls | pieces, seconds, clock)
        gc.enable()
        bound = limit.seconds(task, times)
        ratios = {name: times[name] / times["skcode"] for name in calls if name != "skcode"}
        results.append((task, times["skcode"], bound / times["skcode"], ratios, deviation))
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", help="numbers of rows of the grid, from 0")
    parser.add_argument("--dtypes", nargs="+", default=["float32", "float64"])
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--seconds", type=float, default=8.0, help="time for a row and task")
    parser.add_argument("--threads", type=int, default=2, help="threads for each competitor")
    parser.add_argument(
        "--clock",
        choices=("wall", "cpu"),
        default="wall",
        help="cpu: processor time, for one thread on a machine that others use too",
    )
    parser.add_argument("--fast", action="store_true", help="small rows and short turns")
    args = parser.parse_args()

    grid = FAST if args.fast else GRID
    rows = grid if args.rows is None else [grid[k] for k in args.rows]
    seconds = min(args.seconds, 0.5) if args.fast else args.seconds
    peers, missing = installed([] if args.no_peers else args.peers)
    if missing:
        print(f"not installed, left out: {', '.join(missing)}")
    if hasattr(os, "sched_setaffinity"):
        # as many cores for everybody as threads
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: args.threads])
    prepare(args.threads)
    clock = time.perf_counter if args.clock == "wall" else time.process_time
    header = f"{'row':<42}{'dtype':<9}{'task':<10}{'ms':>9}{'limit':>7}"
    print(header + "".join(f"{name:>15}" for name in peers) + f"{'error':>10}")
    tasks = "gradient", "Jacobian"
    collected = {(task, name): [] for task in tasks for name in peers}
    shares = {task: [] for task in tasks}
    with OrderedMap(args.threads) as mapper:
        for row in rows:
            for dtype in args.dtypes:
                for task, ms, share, ratios, deviation in measure(
                    row, dtype, peers, seconds, clock, mapper
                ):
                    line = f"{row!s:<42}{dtype:<9}{task:<10}{1e3 * ms:9.2f}{share:7.0%}"
                    line += "".join(f"{ratios[name]:15.2f}" for name in peers)
                    print(line + f"{deviation:10.0e}", flush=True)
                    shares[task].append(share)
                    for name in peers:
                        collected[task, name].append(ratios[name])
    for task in tasks if peers else ():
        # beyond the limit, which is measured too, there is nothing to gain
        share = geometric_mean(min(share, 1.0) for share in shares[task])
        for title, factor in (
            ("geometric mean", 1),
            ("... if skcode were at the limit", 1 / share),
        ):
            means = [factor * geometric_mean(collected[task, name]) for name in peers]
            print(f"{title:<51}{task:<10}{'':16}" + "".join(f"{mean:15.2f}" for mean in means))


if __name__ == "__main__":
    main()
