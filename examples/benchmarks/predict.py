"""
Predictions beside those of a multilayer perceptron
===================================================

Default classifiers on data that scikit-learn ships or makes: the time of one row, and of many rows
by the arithmetic and by the trained parameters of the models. Both learners take turns, and the
medians of the turns are compared::

    python examples/benchmarks/predict.py
    python examples/benchmarks/predict.py --rows 100000 --turns 15
"""

import argparse
import time
from functools import partial

import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits, load_wine, make_classification
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

from skcode import ControlledODEClassifier

SETS = {
    "wine": lambda: load_wine(return_X_y=True),
    "breast_cancer": lambda: load_breast_cancer(return_X_y=True),
    "digits": lambda: load_digits(return_X_y=True),
    "made, 3,000 x 20": lambda: make_classification(3000, 20, n_informative=8, random_state=0),
}


def seconds_of(functions, turns, calls):
    """Medians over turns of the seconds of one call, the functions taking turns."""
    times = np.empty((turns, len(functions)))
    for turn in times:
        for k, function in enumerate(functions):
            start = time.perf_counter()
            for _ in range(calls):
                function()
            turn[k] = (time.perf_counter() - start) / calls
    return np.median(times, axis=0)


def operations(model):
    """Additions, multiplications and activations that one row takes."""
    total = 0
    for member in model.ensemble_.members:
        parts, m = member.model.fields.parts, member.model.fields.n_states
        diagonal, neural = (part.n_fields for part in parts)
        step = 2 * diagonal + 2 * neural * (2 * m + 1)
        total += member.model.n_intervals * step + 2 * m * member.model.readout.n_outputs
    return total


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=10_000, help="rows of the throughput")
    parser.add_argument("--turns", type=int, default=15)
    args = parser.parse_args()

    print("Ratios are skcode / perceptron.")
    print("| data | members | one row | trained numbers | rows/s | rows/s/number | flop/s |")
    print("|---|---|---|---|---|---|---|")
    for name, load in SETS.items():
        X, y = load()
        X = StandardScaler().fit_transform(X)
        ours = ControlledODEClassifier(random_state=0).fit(X, y)
        mlp = MLPClassifier(max_iter=500, random_state=0).fit(X, y)
        row, many = X[:1], np.resize(X, (args.rows, X.shape[1]))
        one = seconds_of([partial(model.predict, row) for model in (ours, mlp)], args.turns, 100)
        all_ = seconds_of([partial(model.predict, many) for model in (ours, mlp)], args.turns, 1)
        rate = all_[1] / all_[0]
        numbers = ours.n_parameters_ / sum(w.size for w in mlp.coefs_ + mlp.intercepts_)
        work = operations(ours) / sum(2 * w.size for w in mlp.coefs_)
        print(
            f"| {name} | {len(ours.ensemble_)} | {one[0] / one[1]:.2f} | {numbers:.2f} "
            f"| {rate:.2f} | {rate / numbers:.2f} | {rate * work:.2f} |"
        )


if __name__ == "__main__":
    main()
