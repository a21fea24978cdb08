"""What a fit, a prediction and a file cost at defaults, beside other learners, paired in one run.

Seconds of the processor on one thread. The peers are those that are installed among a multi-layer
perceptron, histogram gradient boosting, a support vector machine and CatBoost (extra "benchmark").

    python examples/benchmarks/cost.py fits              # by rows, columns and classes
    python examples/benchmarks/cost.py fits --fast       # small ones only
    python examples/benchmarks/cost.py rows              # a learning curve, to a million rows
    python examples/benchmarks/cost.py predictions
    python examples/benchmarks/cost.py files
"""

from __future__ import annotations

import argparse
import pickle
import time
import warnings
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

import numpy as np
from sklearn.datasets import make_classification, make_friedman1
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, SVR
from threadpoolctl import threadpool_limits

from skcode import ControlledODEClassifier, ControlledODERegressor

#: rows, columns and classes (0: numbers) of the table of fits
FITS = [
    (300, 10, 0),
    (1_000, 10, 0),
    (4_000, 20, 0),
    (10_000, 20, 0),
    (100_000, 20, 0),
    (500, 500, 2),
    (5_000, 20, 2),
    (5_000, 20, 10),
    (5_000, 20, 100),
    (5_000, 100, 2),
    (5_000, 500, 2),
    (5_000, 500, 10),
    (50_000, 20, 30),
    (442, 10, 214),
    (3_000, 20, 1_000),
]
FAST_ROWS, FAST_COLUMNS, FAST_CLASSES = 5_000, 100, 10
ROWS = [1_000, 4_000, 10_000, 100_000, 1_000_000]
N_TEST = 2_000
#: rows from which support vectors are left out
MOST_SVM_ROWS = 20_000


def data(n: int, p: int, n_classes: int) -> tuple[np.ndarray, ...]:
    """Training part of n rows, and a test part."""
    if not n_classes:
        X, y = make_friedman1(n + N_TEST, n_features=max(p, 5), noise=1.0, random_state=0)
    elif n_classes > 100:
        rng = np.random.default_rng(0)
        X = rng.standard_normal((n + N_TEST, p))
        score = X[:, 0] + X[:, 1] * X[:, 2]
        y = np.searchsorted(np.quantile(score, np.linspace(0, 1, n_classes + 1)[1:-1]), score)
    else:
        informative = max(2, min(p // 2 if p < 40 else 15, p))
        many = n_classes > 8
        X, y = make_classification(
            n + N_TEST,
            p,
            n_informative=informative,
            n_redundant=0,
            n_classes=n_classes,
            n_clusters_per_class=1 if many else 2,
            class_sep=1.5 if many else 1.0,
            flip_y=0.02,
            random_state=0,
        )
    return X[:n], y[:n], X[n:], y[n:]


def learners(classes: bool, n: int) -> Iterator[tuple[str, Any]]:
    """Names and models at their defaults."""
    yield "skcode", (ControlledODEClassifier if classes else ControlledODERegressor)(random_state=0)
    mlp = (MLPClassifier if classes else MLPRegressor)(random_state=0)
    yield "mlp", make_pipeline(StandardScaler(), mlp)
    boosting = HistGradientBoostingClassifier if classes else HistGradientBoostingRegressor
    yield "hist_boosting", boosting(random_state=0)
    if n <= MOST_SVM_ROWS:
        yield "svm", make_pipeline(StandardScaler(), SVC() if classes else SVR())
    if find_spec("catboost"):
        from catboost import CatBoostClassifier, CatBoostRegressor

        settings = {"verbose": False, "thread_count": 1, "allow_writing_files": False}
        yield "catboost", (CatBoostClassifier if classes else CatBoostRegressor)(**settings)


def seconds(call: Callable[[], object]) -> float:
    """Processor seconds of a call."""
    start = time.process_time()
    call()
    return time.process_time() - start


def measured(n: int, p: int, n_classes: int, without: set[str]) -> dict[str, str]:
    """Seconds and test score of each learner."""
    X, y, X_test, y_test = data(n, p, n_classes)
    cells = {}
    for name, model in learners(bool(n_classes), n):
        if name in without:
            continue
        taken = seconds(lambda model=model: model.fit(X, y))
        cells[name] = f"{taken:.2f} ({model.score(X_test, y_test):.3f})"
    return cells


def table(head: list[str], lines: Iterator[tuple[list[str], dict[str, str]]]) -> None:
    """Print lines as they come; the columns are the learners of the first one."""
    names: list[str] = []
    for key, cells in lines:
        if not names:
            names = list(cells)
            print("| " + " | ".join([*head, *names]) + " |")
            print("|" + "---|" * (len(head) + len(names)))
        print(
            "| " + " | ".join([*key, *(cells.get(name, "") for name in names)]) + " |", flush=True
        )


def fits(fast: bool, without: set[str]) -> None:
    """Seconds of a fit, and the score on 2,000 other rows."""

    def lines() -> Iterator[tuple[list[str], dict[str, str]]]:
        for n, p, n_classes in FITS:
            if fast and (n > FAST_ROWS or p > FAST_COLUMNS or n_classes > FAST_CLASSES):
                continue
            cells = measured(n, p, n_classes, without)
            yield [f"{n:,}", str(p), str(n_classes or "")], cells

    table(["rows", "columns", "classes"], lines())


def rows(fast: bool, without: set[str]) -> None:
    """The same for friedman1 with twenty columns, fifteen of which are noise."""

    def lines() -> Iterator[tuple[list[str], dict[str, str]]]:
        for n in ROWS[:3] if fast else ROWS:
            yield [f"{n:,}"], measured(n, 20, 0, without | {"svm"})

    table(["rows"], lines())


def predictions(fast: bool, without: set[str]) -> None:
    """Seconds for many rows, and milliseconds for one, after 4,000 training rows."""
    X, y, _, _ = data(4_000, 20, 0)
    many = np.random.default_rng(0).random((10_000 if fast else 100_000, 20))
    linear = ControlledODERegressor(readout="linear", random_state=0)
    print(f"| learner | {len(many):,} rows, s | one row, ms | with deviation, s |")
    print("|---|---|---|---|")
    for name, model in [*learners(False, 4_000), ("skcode, linear readout", linear)]:
        if name in without:
            continue
        model.fit(X, y)
        one = min(seconds(lambda model=model: model.predict(many[:1])) for _ in range(20))
        taken = seconds(lambda model=model: model.predict(many))
        deviation = ""
        if name.startswith("skcode"):
            both = seconds(lambda model=model: model.predict(many, return_std=True))
            deviation = f"{both:.2f}"
        print(f"| {name} | {taken:.2f} | {1e3 * one:.2f} | {deviation} |", flush=True)


def files(fast: bool, without: set[str]) -> None:
    """Megabytes of a pickled model, and milliseconds to load it."""
    print("| rows | columns | learner | MB | to load, ms |")
    print("|---|---|---|---|---|")
    for n, p in [(1_000, 20), (4_000, 20)] if fast else [(1_000, 20), (4_000, 20), (4_000, 400)]:
        X, y, _, _ = data(n, p, 0)
        for name, model in learners(False, n):
            if name in without:
                continue
            held = pickle.dumps(model.fit(X, y))
            loading = min(seconds(lambda held=held: pickle.loads(held)) for _ in range(5))
            size = len(held) / 1e6
            print(f"| {n:,} | {p} | {name} | {size:.2f} | {1e3 * loading:.1f} |", flush=True)


def main() -> None:
    tables = {"fits": fits, "rows": rows, "predictions": predictions, "files": files}
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", choices=tables)
    parser.add_argument("--fast", action="store_true", help="small ones only")
    parser.add_argument("--without", nargs="+", default=[], help="learners to leave out")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    with threadpool_limits(1):
        tables[args.table](args.fast, set(args.without))


if __name__ == "__main__":
    main()
