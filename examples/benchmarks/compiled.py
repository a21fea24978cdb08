"""What compiled sweeps would gain: numba in place of NumPy's calls.

    python examples/benchmarks/compiled.py [--rows 0 1 2 7] [--threads 2]

skcode has no compiled path. This measures two, on rows of the grid of `flow.py`: a tanh that LLVM
turns into vector instructions, and, for fields of rank 1, whole sweeps in one call a block; other
rows keep NumPy's sweeps. A figure is NumPy's time in units of numba's, for one loss and gradient
and for one Jacobian accumulation; the first column is the activation alone. All take turns, on one
thread by the processor's clock, on two by the clock on the wall. Needs numba.
"""

from __future__ import annotations

import argparse
import time
from statistics import geometric_mean

import numpy as np
from compiled_sweeps import CompiledSweep, compiled_tanh
from flow import GRID, draw, error, ours, turns
from threadpoolctl import threadpool_limits

from skcode.fields import _activations
from skcode.model import _model
from skcode.utils._blocks import OrderedMap

COLUMNS = "tanh", "gradient, tanh", "gradient, sweeps", "Jacobian, tanh", "Jacobian, sweeps"
NUMPY = _activations._tanh, _model.Sweep


def under(parts, call):
    """The call, with other parts in place of NumPy's tanh and sweeps."""

    def run():
        _activations._tanh, _model.Sweep = parts
        try:
            return call()
        finally:
            _activations._tanh, _model.Sweep = NUMPY

    return run


def gains(ways, seconds, clock, tolerance):
    """The time of the first way in units of each of the others."""
    first = next(iter(ways))
    reference = [np.copy(part) for part in ways[first]()] if first == "alone" else ways[first]()
    deviation = max(error(call(), reference) for call in ways.values())
    if not deviation < tolerance:
        raise SystemExit(f"Results deviate by {deviation:.1e}.")
    times = turns(ways, seconds, clock)
    return [times[first] / times[name] for name in list(ways)[1:]]


def measure(row, dtype, tanh, mapper, seconds, clock):
    """The gains of a row, column by column."""
    tolerance = 1e-12 if dtype == np.float64 else 1e-3
    problems = [draw(row, dtype) for _ in range(3)]
    z = np.random.default_rng(0).standard_normal((problems[0][0].fields.tape_width, 512))
    z, work = z.astype(dtype), np.empty(z.shape, dtype)

    def flat(z):
        tanh(z.reshape(-1))

    def activate():
        np.copyto(work, z)
        _activations._tanh(work)
        return [work]

    ways = {"alone": activate, "tanh": under((flat, NUMPY[1]), activate)}
    found = gains(ways, seconds, clock, tolerance)
    sweep = CompiledSweep if row.rank == 1 else NUMPY[1]
    parts = {"numpy": NUMPY, "tanh": (flat, NUMPY[1]), "sweeps": (NUMPY[0], sweep)}
    # each has a model of its own, which keeps its sweeps
    tasks = [ours(model, problem, mapper) for model, problem in problems]
    for k in range(2):
        ways = {
            name: under(each, task[k])
            for (name, each), task in zip(parts.items(), tasks, strict=True)
        }
        found += gains(ways, seconds, clock, tolerance)
    return found


def main():
    """Print the gains row by row, and their geometric means."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[0, 1, 2, 7])
    parser.add_argument("--dtypes", nargs="+", default=["float32", "float64"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=4.0, help="time for a row and task")
    args = parser.parse_args()
    clock = time.process_time if args.threads == 1 else time.perf_counter

    def told(what, numbers):
        print(f"{what:<46}" + "".join(f"{number:18.2f}" for number in numbers), flush=True)

    print(f"{'':46}" + "".join(f"{column:>18}" for column in COLUMNS))
    every = []
    with threadpool_limits(1), OrderedMap(args.threads) as mapper:
        for dtype in map(np.dtype, args.dtypes):
            tanh = compiled_tanh(dtype)
            for row in (GRID[i] for i in args.rows):
                every.append(measure(row, dtype, tanh, mapper, args.seconds, clock))
                told(f"{row} {dtype}", every[-1])
    told("geometric means", map(geometric_mean, zip(*every, strict=True)))


if __name__ == "__main__":
    main()
