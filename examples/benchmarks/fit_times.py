"""How long a fit at defaults takes, by rows, columns and classes, beside gradient boosting.

One thread, seconds of the processor. The data are made: ten columns that matter, the others noise.

    python examples/benchmarks/fit_times.py
    python examples/benchmarks/fit_times.py --fast      # small ones only
"""

from __future__ import annotations

import argparse
import time
import warnings

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits

from skcode import ControlledODEClassifier, ControlledODERegressor

#: rows, columns and classes (0: numbers)
GRID = [
    (300, 10, 0),
    (1_000, 10, 0),
    (3_000, 10, 0),
    (10_000, 10, 0),
    (30_000, 10, 0),
    (1_000, 100, 0),
    (1_000, 500, 0),
    (300, 10, 2),
    (3_000, 10, 2),
    (30_000, 10, 2),
    (3_000, 10, 10),
    (3_000, 10, 100),
]


def made(n: int, p: int, n_classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1, 1, (n, p))
    signal = np.sin(3 * X[:, 0] * X[:, 1]) + X[:, 2] ** 2 + X[:, 3:10].sum(axis=1) / 4
    signal += 0.1 * rng.standard_normal(n)
    if not n_classes:
        return X, signal
    edges = np.quantile(signal, np.linspace(0, 1, n_classes + 1)[1:-1])
    return X, np.searchsorted(edges, signal)


def seconds(model: object, X: np.ndarray, y: np.ndarray) -> float:
    start = time.process_time()
    model.fit(X, y)  # type: ignore[attr-defined]
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--fast", action="store_true", help="up to 3,000 rows and 100 columns")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    print("| rows | columns | classes | skcode, s | gradient boosting, s |")
    print("|---|---|---|---|---|")
    for n, p, n_classes in GRID:
        if args.fast and (n > 3_000 or p > 100 or n_classes > 10):
            continue
        X, y = made(n, p, n_classes)
        ours = ControlledODEClassifier if n_classes else ControlledODERegressor
        peer = HistGradientBoostingClassifier if n_classes else HistGradientBoostingRegressor
        with threadpool_limits(1):
            mine = seconds(ours(random_state=0), X, y)
            other = seconds(peer(random_state=0), X, y)
        print(f"| {n:,} | {p} | {n_classes or ''} | {mine:.2f} | {other:.2f} |", flush=True)


if __name__ == "__main__":
    main()
