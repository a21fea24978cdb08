"""
Predictions beside those of a multilayer perceptron
===================================================

Default classifiers on data that scikit-learn ships or makes: the times of one row and of many rows,
with a Gaussian process as the readout and with a linear one. The learners take turns, and the
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


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=10_000, help="rows of the throughput")
    parser.add_argument("--turns", type=int, default=15)
    args = parser.parse_args()

    print("Times in units of the perceptron's.")
    print("| data | members | one row | many rows | linear: one row | linear: many rows |")
    print("|---|---|---|---|---|---|")
    for name, load in SETS.items():
        X, y = load()
        X = StandardScaler().fit_transform(X)
        ours = ControlledODEClassifier(random_state=0).fit(X, y)
        linear = ControlledODEClassifier(readout="linear", random_state=0).fit(X, y)
        mlp = MLPClassifier(max_iter=500, random_state=0).fit(X, y)
        models, row, many = (ours, linear, mlp), X[:1], np.resize(X, (args.rows, X.shape[1]))
        one = seconds_of([partial(model.predict, row) for model in models], args.turns, 100)
        all_ = seconds_of([partial(model.predict, many) for model in models], args.turns, 1)
        one, all_ = one / one[2], all_ / all_[2]
        print(
            f"| {name} | {len(ours.ensemble_)} | {one[0]:.1f} | {all_[0]:.0f} | {one[1]:.1f} "
            f"| {all_[1]:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
