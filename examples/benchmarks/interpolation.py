"""The interpolation targets, row by row: ``python interpolation.py [row ...] [--seeds 10]``.

Inputs and outputs are uniform on the cube [0, 1]^m. The errors are those of the residual that
`interpolate` reports, in y; with ``--verify`` they are recomputed by scipy's DOP853 at tight
tolerance, interval by interval.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from scipy.integrate import solve_ivp

from skcode.fields import NeuralFields, TwoFields, UniversalFields
from skcode.geometry import interpolate

#: row: readout, kind of fields, N, m, tolerance
ROWS = {
    f"{readout}-{kind}-{N}-{m}": (readout, kind, N, m, tol)
    for readout, kind, N, m, tol in [
        *[
            ("displacement", kind, N, m, 1e-8)
            for kind in ("universal", "polynomial")
            for N, m in [(5, 2), (10, 2), (20, 2), (20, 10), (50, 10)]
        ],
        ("displacement", "universal", 50, 2, 1e-6),
        ("displacement", "universal", 100, 10, 1e-6),
        *[
            ("identity", kind, N, m, tol)
            for kind in ("universal", "polynomial")
            for N, m, tol in [
                (1, 2, 1e-10),
                (1, 3, 1e-10),
                (1, 5, 1e-10),
                (1, 10, 1e-10),
                (5, 2, 1e-10),
                (10, 2, 1e-8),
                (20, 2, 1e-6),
            ]
        ],
        ("displacement", "two", 5, 2, 1e-8),
        ("displacement", "two", 10, 2, 1e-8),
        ("identity", "two", 5, 2, 1e-8),
        ("identity", "neural", 20, 2, 1e-10),
        ("identity", "neural", 50, 10, 1e-10),
        ("identity", "neural", 50, 2, 1e-8),
        ("identity", "neural", 100, 2, 1e-6),
    ]
}


def draw_fields(kind: str, N: int, m: int, seed: int):
    """Two explicit, five universal, seven polynomial-activation, or N random neural fields.

    The arguments of tanh have standard deviation one: inputs have variance 1 / 12.
    """
    if kind == "universal":
        return UniversalFields().draw(m, rng=seed)
    if kind == "two":
        return TwoFields().draw(m)
    if kind == "polynomial":
        return NeuralFields("polynomial", rank=None).draw(m, 7, rng=seed)
    return NeuralFields(rank=None, scale=12**0.5).draw(m, N, rng=seed)


def verify(fields, X, Y, result, readout):
    """The largest error in y, by scipy's DOP853 at the least rtol that it takes.

    Steps of its own choice have errors that long chains sum up to 1e-10; shorter ones do not.
    """
    x, M = X, len(result.controls)
    for u in result.controls:
        x = (
            solve_ivp(
                lambda _, z, u=u: fields.combine(z.reshape(X.shape), u).ravel(),
                (0, 1 / M),
                x.ravel(),
                method="DOP853",
                rtol=2.3e-14,
                atol=1e-16,
                max_step=1 / (16 * M),
            )
            .y[:, -1]
            .reshape(X.shape)
        )
    value = result.scale * (x - X) if readout == "displacement" else x
    return float(np.max(abs(value - Y)))


def main() -> None:
    """Run the rows that are asked for, all by default."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="*", default=list(ROWS), metavar="row", help=", ".join(ROWS))
    parser.add_argument("--seeds", type=int, default=10, help="how many seeds")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--verify", action="store_true")
    arguments = parser.parse_args()
    for name in arguments.rows:
        readout, kind, N, m, tol = ROWS[name]
        errors, seconds = [], []
        for seed in range(arguments.first, arguments.first + arguments.seeds):
            rng = np.random.default_rng(seed)
            X, Y = rng.random((N, m)), rng.random((N, m))
            fields = draw_fields(kind, N, m, seed)
            start = time.perf_counter()
            result = interpolate(fields, X, Y, readout=readout, tol=tol, random_state=seed)
            seconds.append(time.perf_counter() - start)
            errors.append(result.error)
            checked = ""
            if arguments.verify:
                checked = f" scipy {verify(fields, X, Y, result, readout):.1e}"
            print(
                f"  {name} seed {seed}: {result.error:.1e}{checked} lambda {result.scale:.0f} "
                f"M {len(result.controls)} loops {result.n_loops} {seconds[-1]:.1f} s "
                f"{result.message}",
                flush=True,
            )
        met = sum(error <= tol for error in errors)
        print(
            f"{name}: {met}/{len(errors)} within {tol:.0e}, worst {max(errors):.1e}, "
            f"median {np.median(seconds):.1f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
