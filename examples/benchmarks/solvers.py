"""How much sooner Gauss-Newton reaches the loss that L-BFGS has after 300 iterations.

    python examples/benchmarks/solvers.py                 # sets that scikit-learn bundles
    python examples/benchmarks/solvers.py --data FOLDER   # NAME.npz files with X and y

Both solvers minimise the same objective (same fields, same start, same alpha) in one run, on one
thread. A row is one data set; the last column is the ratio of the two times to the same loss.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
from sklearn.datasets import (
    load_breast_cancer,
    load_diabetes,
    load_digits,
    load_wine,
    make_friedman1,
    make_moons,
)
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from skcode import ControlledODEClassifier, ControlledODERegressor
from skcode.solvers import LBFGS, GaussNewton


class Clock:
    """A monitor that notes the processor's seconds and the loss, and stops at a loss."""

    def __init__(self, monitor, goal: float = -np.inf):
        self.monitor = monitor
        self.goal = goal
        self.start = time.process_time()
        self.times: list[float] = []
        self.losses: list[float] = []

    def __call__(self, theta, loss: float, parts=None) -> bool:
        self.times.append(time.process_time() - self.start)
        self.losses.append(loss)
        return self.monitor(theta, loss, parts) or loss <= self.goal


class TimedLBFGS(LBFGS):
    """L-BFGS that leaves its clock behind."""

    def minimize(self, objective, theta, *, monitor, **options):
        self.clock = Clock(monitor)
        return super().minimize(objective, theta, monitor=self.clock, **options)


class TimedGaussNewton(GaussNewton):
    """Gauss-Newton on all rows that leaves its clock behind and stops at a loss."""

    def __init__(self, goal: float = -np.inf):
        super().__init__(growth=1)
        self.goal = goal

    def minimize(self, objective, theta, *, monitor, **options):
        self.clock = Clock(monitor, self.goal)
        return super().minimize(objective, theta, monitor=self.clock, **options)


def compare(X, y, alpha: float, n_rows: int, n_iter: int):
    """Clocks of L-BFGS, and of Gauss-Newton to the loss that L-BFGS has in the end."""
    kind = ControlledODEClassifier if y.dtype.kind in "iu" else ControlledODERegressor
    rows = np.random.default_rng(0).permutation(len(X))[:n_rows]
    model = kind(alpha=alpha, n_members=1, tol=0.0, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.set_params(solver=TimedLBFGS(), max_iter=n_iter).fit(X[rows], y[rows])
        lbfgs = model.solver_.clock
        goal = lbfgs.losses[-1]
        model.set_params(solver=TimedGaussNewton(goal), max_iter=200).fit(X[rows], y[rows])
    return lbfgs, model.solver_.clock


def bundled():
    """Ten small sets without a network."""
    yield "breast_cancer", *load_breast_cancer(return_X_y=True)
    yield "wine", *load_wine(return_X_y=True)
    yield "digits", *load_digits(return_X_y=True)
    yield "moons", *make_moons(2000, noise=0.25, random_state=0)
    yield "diabetes", *load_diabetes(return_X_y=True)
    for seed in range(3):
        yield f"friedman1-{seed}", *make_friedman1(2000, noise=1.0, random_state=seed)


def folder(path: Path, names: list[str] | None):
    for file in sorted(path.glob("*.npz")):
        if names is None or file.stem in names:
            with np.load(file) as stored:
                yield file.stem, stored["X"], stored["y"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of NAME.npz files with X and y")
    parser.add_argument("--sets", nargs="+", help="names of the files to take")
    parser.add_argument("--alpha", type=float, default=1e-4)
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--iterations", type=int, default=300)
    arguments = parser.parse_args()
    sets = folder(arguments.data, arguments.sets) if arguments.data else bundled()
    print(f"{'set':18s} {'loss':>10s} {'L-BFGS s':>9s} {'GN s':>7s} {'GN steps':>8s} {'ratio':>6s}")
    ratios = []
    with threadpool_limits(1):
        for name, X, y in sets:
            lbfgs, newton = compare(X, y, arguments.alpha, arguments.rows, arguments.iterations)
            reached = newton.losses[-1] <= lbfgs.losses[-1]
            # where the loss is not reached, the ratio counts as zero in the median
            ratio = lbfgs.times[-1] / newton.times[-1] if reached else 0.0
            ratios.append(ratio)
            note = f"{ratio:6.1f}" if reached else f"not reached ({newton.losses[-1]:.4g})"
            print(
                f"{name:18s} {lbfgs.losses[-1]:10.5f} {lbfgs.times[-1]:9.2f} "
                f"{newton.times[-1]:7.2f} {len(newton.losses):8d} {note}",
                flush=True,
            )
    print(f"median ratio {np.median(ratios):.1f} over {len(ratios)} sets")


if __name__ == "__main__":
    main()
