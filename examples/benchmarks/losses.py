"""Losses of the regressor beside those of scikit-learn, on targets whose law is known.

Eight columns, of which five say something:
f(x) = 2 sin(pi x_1 x_2) + 4 (x_3 - 1/2)^2 + x_4 + x_5 / 2. Scores are D2, the share of the deviance
of a constant that is explained (of the mean itself where events are rare), or R2 against f where
noise is heavy-tailed; "below" is the share of new rows below the prediction. All learners have
their defaults, but for a weak penalty of the linear models.

Example: python examples/benchmarks/losses.py --seeds 4
"""

import argparse
import time
import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import (
    GammaRegressor,
    HuberRegressor,
    PoissonRegressor,
    QuantileRegressor,
    Ridge,
)
from sklearn.metrics import d2_pinball_score, d2_tweedie_score, r2_score

from skcode import ControlledODERegressor


class Problem(NamedTuple):
    """A law of targets given f(x), what scores predictions of it, and linear and boosted models."""

    draw: Callable
    score: Callable
    loss: dict
    linear: object
    boosted: dict


def d2(power):
    return lambda y, f, p: d2_tweedie_score(y, p, power=power)


def d2_of_mean(shift):
    """Where events are so rare that new ones tell little: the deviance of the mean itself."""
    return lambda y, f, p: d2_tweedie_score(np.exp(f + shift), p, power=1)


def against_f(y, f, p):
    return r2_score(f, p)


def of_quantile(level):
    return lambda y, f, p: d2_pinball_score(y, p, alpha=level)


def skewed(f, rng):
    """Noise that grows with f, on one side."""
    return f + (0.1 + 0.3 * f) * rng.standard_exponential(len(f))


POISSON = ({"loss": "poisson"}, PoissonRegressor(alpha=1e-3), {"loss": "poisson"})
GAMMA = ({"loss": "gamma"}, GammaRegressor(alpha=1e-3), {"loss": "gamma"})
HUBER = ({"loss": "huber"}, HuberRegressor(max_iter=2000), {"loss": "absolute_error"})


def quantile(level):
    at_level = {"loss": "quantile", "quantile": level}
    return (at_level, QuantileRegressor(quantile=level, alpha=1e-3), at_level)


PROBLEMS = {
    "counts": Problem(lambda f, rng: rng.poisson(np.exp(f - 1)) * 1.0, d2(1), *POISSON),
    "rare counts": Problem(lambda f, rng: rng.poisson(np.exp(f - 4)) * 1.0, d2(1), *POISSON),
    "one event in 100 rows": Problem(
        lambda f, rng: rng.poisson(np.exp(f - 7)) * 1.0, d2_of_mean(-7), *POISSON
    ),
    "over-dispersed counts": Problem(
        lambda f, rng: rng.poisson(np.exp(f) * rng.gamma(1.0, size=len(f))) * 1.0, d2(1), *POISSON
    ),
    "costs": Problem(lambda f, rng: 1000 * np.exp(f) * rng.gamma(2.0, 0.5, len(f)), d2(2), *GAMMA),
    "heavy tails": Problem(lambda f, rng: f + 0.3 * rng.standard_t(1.5, len(f)), against_f, *HUBER),
    "normal noise, robustly": Problem(
        lambda f, rng: f + 0.3 * rng.standard_normal(len(f)), against_f, *HUBER
    ),
    "quantile 0.1": Problem(skewed, of_quantile(0.1), *quantile(0.1)),
    "quantile 0.5": Problem(skewed, of_quantile(0.5), *quantile(0.5)),
    "quantile 0.9": Problem(skewed, of_quantile(0.9), *quantile(0.9)),
}


def run(problem: Problem, n_rows: int, seed: int) -> dict[str, tuple[float, float, float]]:
    """Score, share of rows below the prediction, and seconds of each learner."""
    rng = np.random.default_rng(seed)
    X = rng.random((n_rows + 4000, 8))
    f = 2 * np.sin(np.pi * X[:, 0] * X[:, 1]) + 4 * (X[:, 2] - 0.5) ** 2 + X[:, 3] + X[:, 4] / 2
    y = problem.draw(f, rng)
    learners = {
        "skcode": ControlledODERegressor(**problem.loss, random_state=0),
        "skcode, squared error": ControlledODERegressor(random_state=0),
        "linear": problem.linear,
        "linear, squared error": Ridge(),
        "boosting": HistGradientBoostingRegressor(**problem.boosted, random_state=0),
        "boosting, squared error": HistGradientBoostingRegressor(random_state=0),
    }
    results = {}
    train, test = slice(n_rows), slice(n_rows, None)
    positive = problem.loss["loss"] in ("poisson", "gamma")
    for name, learner in learners.items():
        start = time.perf_counter()
        predicted = learner.fit(X[train], y[train]).predict(X[test])
        seconds = time.perf_counter() - start
        if positive:
            # the squared error may predict what has no deviance
            predicted = np.maximum(predicted, 0.01 * y[train].mean())
        below = float(np.mean(y[test] <= predicted))
        results[name] = (problem.score(y[test], f[test], predicted), below, seconds)
    return results


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1000, help="training rows")
    parser.add_argument("--seeds", type=int, default=4, help="data sets of each law")
    parser.add_argument("--only", choices=PROBLEMS, help="one law alone")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    for name in [args.only] if args.only else PROBLEMS:
        runs = [run(PROBLEMS[name], args.rows, seed) for seed in range(args.seeds)]
        for learner in runs[0]:
            score, below, seconds = np.mean([results[learner] for results in runs], axis=0)
            print(
                f"{name:24}{learner:26}score {score:7.3f}  below {below:.3f}  {seconds:.1f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
