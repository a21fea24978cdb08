"""What a compiled activation would gain: tanh by numba in place of NumPy's.

    python examples/benchmarks/compiled.py [--rows 0 1 5 7]

skcode has no compiled path. This measures the one that would be the simplest, a tanh that LLVM
turns into vector instructions, on rows of the grid of `flow.py`: the time of NumPy's in units of
numba's, for the activation alone, for one loss and gradient and for one Jacobian accumulation.
Processor time on one thread; both take turns. Needs numba.
"""

from __future__ import annotations

import argparse
import time
from math import factorial
from statistics import geometric_mean

import numpy as np
from flow import GRID, draw, error, ours, turns
from numba import njit
from threadpoolctl import threadpool_limits

from skcode.fields import _activations
from skcode.utils._blocks import OrderedMap

#: products and sums may be one instruction, and nothing raises: what vector instructions need
OPTIONS = {"nogil": True, "fastmath": {"contract", "nsz"}, "error_model": "numpy"}


def taylor(coefficients):
    """The sum of c_i r^i by Horner's rule, as functions of each other that LLVM unrolls."""
    first, *rest = coefficients
    if not rest:
        return njit(**OPTIONS)(lambda r: first)
    tail = taylor(rest)

    @njit(**OPTIONS)
    def value(r):
        return tail(r) * r + first

    return value


def compiled(dtype):
    """Replace z by tanh z = 1 - 2 / (1 + e^{2 z}), for contiguous z of one axis.

    e^y = 2^k e^r with |r| <= log(2) / 2: e^r by its Taylor series, 2^k by the bits of the exponent.
    The sum y / log(2) + shift rounds to k, which stands in its last bits.
    """
    double = dtype == np.float64
    number, integer = dtype.type, np.dtype(f"i{dtype.itemsize}").type
    shift, mantissa = (number(1.5 * 2.0**52), 52) if double else (number(1.5 * 2.0**23), 23)
    mantissa = integer(mantissa)
    # log(2) as a sum whose first part has trailing zeros, so that its multiples are exact
    high = number(6.93147180369123816490e-01 if double else 0.693359375)
    low = number(np.log(np.longdouble(2)) - np.longdouble(high))
    inverse, most = number(1 / np.log(2)), number(40)
    one, two = number(1), number(2)
    exponential = taylor([number(1 / factorial(i)) for i in range(14 if double else 8)])

    @njit(**OPTIONS)
    def tanh(z):
        for i in range(z.size):
            y = min(max(two * z[i], -most), most)
            rounded = y * inverse + shift
            k = rounded - shift
            r = (y - k * high) - k * low
            power = integer(number(rounded).view(integer) << mantissa)
            bits = number(exponential(r)).view(integer) + power
            z[i] = one - two / (one + integer(bits).view(number))

    return tanh


def measure(row, dtype, tanh, mapper, seconds):
    """NumPy's time in units of numba's for the activation, the gradient and the Jacobian."""
    by_numpy = _activations._tanh
    model, problem = draw(row, dtype)
    z = np.random.default_rng(0).standard_normal((model.fields.tape_width, 512)).astype(dtype)
    work = np.empty_like(z)

    def activate():
        np.copyto(work, z)
        _activations._tanh(work)
        return [work]

    def under(kernel, call):
        def run():
            _activations._tanh = kernel
            return call()

        return run

    gains = []
    for call in (activate, *ours(model, problem, mapper)):
        calls = {
            "numpy": under(by_numpy, call),
            "numba": under(lambda z: tanh(z.reshape(-1)), call),
        }
        reference = [np.copy(part) for part in calls["numpy"]()] if call is activate else None
        deviation = error(calls["numba"](), reference or calls["numpy"]())
        if not deviation < (1e-12 if dtype == np.float64 else 1e-3):
            raise SystemExit(f"{row} {dtype}: results deviate by {deviation:.1e}.")
        times = turns(calls, seconds, time.process_time)
        gains.append(times["numpy"] / times["numba"])
    _activations._tanh = by_numpy
    return gains


def main():
    """Print the gains row by row, and their geometric means."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[0, 1, 5, 7])
    parser.add_argument("--seconds", type=float, default=4.0, help="time for a row and task")
    args = parser.parse_args()

    def told(what, gains):
        tasks = zip(("tanh", "gradient", "Jacobian"), gains, strict=True)
        print(f"{what}: {', '.join(f'{task} {gain:.2f}' for task, gain in tasks)}", flush=True)

    every = []
    with threadpool_limits(1), OrderedMap(1) as mapper:
        for dtype in map(np.dtype, ("float32", "float64")):
            tanh = compiled(dtype)
            for row in (GRID[i] for i in args.rows):
                every.append(measure(row, dtype, tanh, mapper, args.seconds))
                told(f"{row} {dtype}", every[-1])
    told("geometric means", map(geometric_mean, zip(*every, strict=True)))


if __name__ == "__main__":
    main()
