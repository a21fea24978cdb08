"""The main job: a controlled ODE beside a neural network, a support vector machine and boosting.

Every model stands in a Pipeline inside GridSearchCV, with four candidates each, on real data that
scikit-learn ships. All see the same training rows, the same folds and the same test rows. The
script prints one table for each data set (test score with its spread over the splits, seconds to
fit the best candidate on one core, number of trained parameters) and draws a figure. At last it
fits a raw table, with text, dates and gaps, whose law is known.

    python examples/compare.py            all data sets, three splits
    python examples/compare.py --fast     three data sets, one split
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.compose import TransformedTargetRegressor, make_column_transformer
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from sklearn.ensemble import (
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingRegressor,
)
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, ShuffleSplit, StratifiedShuffleSplit
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OrdinalEncoder, StandardScaler
from sklearn.svm import SVC, SVR
from threadpoolctl import threadpool_limits

from skcode import ControlledODEClassifier, ControlledODERegressor

FAST = ("wine", "breast cancer", "diabetes")


# -- data ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Dataset:
    """Real rows that scikit-learn ships."""

    name: str
    X: np.ndarray
    y: np.ndarray
    classification: bool

    @property
    def metric(self) -> str:
        return "accuracy" if self.classification else "R2"

    def splits(self, number: int, rows: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Random parts: at most `rows` rows, and at most three quarters of them, train."""
        kind = StratifiedShuffleSplit if self.classification else ShuffleSplit
        size = min(rows, 3 * len(self.X) // 4)
        return kind(number, train_size=size, random_state=0).split(self.X, self.y)


def load_datasets() -> list[Dataset]:
    tumours, wine = load_breast_cancer(), load_wine()
    columns, colour = list(tumours.feature_names), wine.feature_names.index("color_intensity")
    return [
        Dataset("wine", wine.data, wine.target, True),
        Dataset("breast cancer", tumours.data, tumours.target, True),
        Dataset("digits", *load_digits(return_X_y=True), True),
        Dataset("diabetes", *load_diabetes(return_X_y=True), False),
        # the colour of a wine from its chemistry
        Dataset("wine colour", np.delete(wine.data, colour, 1), wine.data[:, colour], False),
        # the roughest texture among a tumour's cells from the means and errors of ten measurements
        Dataset(
            "tumour texture",
            tumours.data[:, :20],
            tumours.data[:, columns.index("worst texture")],
            False,
        ),
    ]


# -- models ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Candidate:
    """A model, the grid that is searched, and how its trained numbers are counted."""

    name: str
    model: BaseEstimator
    grid: dict[str, list]
    count: Callable[[Any], int]

    def search(self, n_jobs: int) -> GridSearchCV:
        pipeline = Pipeline([("scale", StandardScaler()), ("model", self.model)])
        grid = {f"model__{name}": values for name, values in self.grid.items()}
        return GridSearchCV(pipeline, grid, cv=3, n_jobs=n_jobs)

    def n_parameters(self, search: GridSearchCV) -> int:
        model = search.best_estimator_.named_steps["model"]
        return self.count(getattr(model, "regressor_", model))


def candidates(classification: bool, seed: int) -> list[Candidate]:
    """The four models; regressors that do not scale their targets get it done."""
    kinds = (
        (ControlledODEClassifier, MLPClassifier, SVC, GradientBoostingClassifier)
        if classification
        else (ControlledODERegressor, MLPRegressor, SVR, GradientBoostingRegressor)
    )
    code, mlp, svm, boosting = kinds

    def scaled(name, model, grid, count):
        if not classification:
            model = TransformedTargetRegressor(model, transformer=StandardScaler())
            grid = {f"regressor__{key}": values for key, values in grid.items()}
        return Candidate(name, model, grid, count)

    features = "sqrt" if classification else None
    return [
        Candidate(
            "controlled ODE",
            code(random_state=seed),
            {"n_fields": [32, 64], "n_intervals": [1, 2]},
            lambda fitted: fitted.n_parameters_,
        ),
        scaled(
            "neural network",
            mlp(max_iter=300, random_state=seed),
            {"hidden_layer_sizes": [(64,), (64, 64)], "alpha": [0.1, 10.0]},
            lambda fitted: sum(a.size for a in fitted.coefs_ + fitted.intercepts_),
        ),
        scaled(
            "support vectors",
            svm(),
            {"C": [1.0, 10.0], "gamma": ["scale", 0.01]},
            # the support vectors themselves are stored as well, but not counted
            lambda fitted: fitted.dual_coef_.size + fitted.intercept_.size,
        ),
        scaled(
            "boosted trees",
            boosting(max_features=features, random_state=seed),
            {"learning_rate": [0.05, 0.2], "max_depth": [2, 4]},
            lambda fitted: sum(map(_tree_numbers, fitted.estimators_.ravel())),
        ),
    ]


def _tree_numbers(tree: Any) -> int:
    """A value for each leaf, a column and a threshold for each split."""
    leaves = int(tree.get_n_leaves())
    return leaves + 2 * (tree.tree_.node_count - leaves)


# -- the comparison --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Result:
    """One model on one split of one data set."""

    dataset: str
    model: str
    score: float
    fit_time: float
    n_parameters: int


class Progress:
    """Prints a line a job; the time left comes from the same job on an earlier split."""

    def __init__(self, jobs: list[tuple]):
        self.left = list(jobs)
        self.total = len(jobs)
        self.seconds: dict[tuple, float] = {}

    def done(self, job: tuple, seconds: float, text: str) -> None:
        self.left.remove(job)
        self.seconds[job[1:]] = seconds
        typical = sum(self.seconds.values()) / len(self.seconds)
        left = sum(self.seconds.get(other[1:], typical) for other in self.left)
        number = f"[{self.total - len(self.left)}/{self.total}]"
        print(f"{number:>8} {text}; about {left:.0f} s left", flush=True)


def compare(datasets: list[Dataset], n_splits: int, rows: int, n_jobs: int) -> list[Result]:
    """Search, refit and test every model on every split of every data set."""
    parts = {data.name: list(data.splits(n_splits, rows)) for data in datasets}
    names = [candidate.name for candidate in candidates(True, 0)]
    progress = Progress(
        [(k, data.name, name) for k in range(n_splits) for data in datasets for name in names]
    )
    results = []
    for k in range(n_splits):
        for data in datasets:
            train, test = parts[data.name][k]
            for candidate in candidates(data.classification, seed=k):
                start = time.perf_counter()
                search = candidate.search(n_jobs)
                # one thread for everyone: the searches share the cores, the refits are comparable
                with threadpool_limits(1):
                    search.fit(data.X[train], data.y[train])
                score = search.score(data.X[test], data.y[test])
                n_parameters = candidate.n_parameters(search)
                results.append(
                    Result(data.name, candidate.name, score, search.refit_time_, n_parameters)
                )
                job = (k, data.name, candidate.name)
                text = f"split {k + 1}, {data.name}, {candidate.name}: {data.metric} {score:.3f}"
                progress.done(job, time.perf_counter() - start, text)
    return results


def by_model(results: list[Result], dataset: str) -> dict[str, list[Result]]:
    """The results on one data set, model by model."""
    table: dict[str, list[Result]] = {}
    for result in results:
        if result.dataset == dataset:
            table.setdefault(result.model, []).append(result)
    return table


def print_tables(datasets: list[Dataset], results: list[Result], rows: int) -> None:
    for data in datasets:
        size = min(rows, 3 * len(data.X) // 4)
        print(f"\n{data.name}: {size} training rows, {data.X.shape[1]} columns")
        print(f"  {'model':<18}{data.metric:>16}{'fit (s)':>10}{'parameters':>12}")
        for model, part in by_model(results, data.name).items():
            scores = [result.score for result in part]
            score = f"{np.mean(scores):.3f} +- {np.std(scores):.3f}"
            fit_time = np.median([result.fit_time for result in part])
            n_parameters = np.median([result.n_parameters for result in part])
            print(f"  {model:<18}{score:>16}{fit_time:>10.2f}{n_parameters:>12,.0f}")


# -- a raw table -----------------------------------------------------------------------------------

#: the law of `draw_rents`, as it is printed
LAW = """a raw table of rents: text, dates and missing values as they are, 400 training rows
  rent = rate(city) * area + effect(street) + 2 cos(month) + 3 [area missing] + noise(0, 1)"""
#: places of the columns of `draw_rents` that are text
CITY, STREET = 1, 2


def draw_rents(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A table of objects (area, city, street, date), its rents, and what is no noise of them."""
    area = rng.uniform(2, 10, n)
    gone = rng.random(n) < 0.2
    cities, rates = np.array(["Bern", "Graz", "Wien"]), np.array([1.5, 0.5, 1.0])
    city, street = rng.integers(0, 3, n), rng.integers(0, 60, n)
    effect = 1.5 * rng.standard_normal(60)
    day = np.datetime64("2022-01-01") + rng.integers(0, 1000, n)
    month = 2 * np.pi * (day.astype("datetime64[M]").astype(int) % 12) / 12
    # nobody can know an area that is missing: its rate counts for the mean area
    known = rates[city] * np.where(gone, 6, area) + effect[street] + 2 * np.cos(month) + 3 * gone
    rent = known + rates[city] * np.where(gone, area - 6, 0) + rng.standard_normal(n)
    columns = np.where(gone, None, area), cities[city], [f"street {k}" for k in street], day
    X = np.empty((n, 4), dtype=object)
    for j, column in enumerate(columns):
        X[:, j] = list(column) if j == 3 else column
    return X, rent, known


def fit_raw_table() -> None:
    """Fit a controlled ODE to the table as it is, and boosted trees to the codes they need."""
    X, y, known = draw_rents(1400, np.random.default_rng(0))
    days = FunctionTransformer(lambda dates: dates.astype("datetime64[D]").astype(float))
    codes = make_column_transformer(
        (OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan), [CITY, STREET]),
        (days, [3]),
        remainder="passthrough",
    )
    boosting = HistGradientBoostingRegressor(categorical_features=[0, 1], random_state=0)
    models = {
        "controlled ODE": ControlledODERegressor(random_state=0),
        "boosted trees": make_pipeline(codes, boosting),
    }
    print(f"\n{LAW}")
    print(f"  {'model':<18}{'R2':>16}{'fit (s)':>10}")
    for name, model in models.items():
        start = time.perf_counter()
        with threadpool_limits(1):
            model.fit(X[:400], y[:400])
        seconds = time.perf_counter() - start
        print(f"  {name:<18}{model.score(X[400:], y[400:]):>16.3f}{seconds:>10.2f}")
    print(f"  {'the law':<18}{r2_score(y[400:], known[400:]):>16.3f}")


# -- the figure ------------------------------------------------------------------------------------


def draw(datasets: list[Dataset], results: list[Result], path: Path) -> None:
    """Test scores, one panel for each data set; the trained parameters stand on the right."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    models = list(by_model(results, datasets[0].name))
    colours = dict(zip(models, ["#c8412b", "#7c8798", "#7c8798", "#7c8798"], strict=True))
    plt.rcParams.update({"font.size": 10.5, "font.family": "DejaVu Sans"})
    n_columns = min(3, len(datasets))
    n_rows = -(-len(datasets) // n_columns)
    figure, axes = plt.subplots(
        n_rows, n_columns, figsize=(9.5, 2.5 * n_rows), squeeze=False, layout="constrained"
    )
    figure.get_layout_engine().set(wspace=0.04, hspace=0.08)
    for ax, data in zip(axes.flat, datasets, strict=False):
        for y, (model, part) in enumerate(by_model(results, data.name).items()):
            colour, scores = colours[model], np.array([result.score for result in part])
            ax.plot([scores.min(), scores.max()], [y, y], color=colour, lw=2.5, alpha=0.3)
            ax.plot(scores, np.full(len(scores), y), "o", color=colour, ms=4.5, alpha=0.5, mew=0)
            ax.plot(scores.mean(), y, "o", color=colour, ms=9.5, mec="white", mew=1.2)
            size = np.median([result.n_parameters for result in part])
            ax.annotate(
                f"{size:,.0f}",
                (1.02, y),
                xycoords=("axes fraction", "data"),
                va="center",
                size=9,
                color=colour,
            )
        ax.annotate("parameters", (1.02, 1.04), xycoords="axes fraction", size=8.5, color="#7c8798")
        ax.set_title(data.name, size=11.5, weight="bold", loc="left")
        ax.set_xlabel("test accuracy" if data.classification else "test R²", color="#4a5260")
        ax.margins(x=0.12)
        ax.xaxis.set_major_locator(plt.MaxNLocator(4, steps=[1, 2, 5, 10]))
        ax.grid(axis="x", color="#e4e7ec", lw=0.8)
        ax.set_axisbelow(True)
        ax.spines[["top", "right", "left"]].set_visible(False)
        ax.tick_params(axis="y", length=0)
        ax.tick_params(axis="x", colors="#4a5260")
        ax.set_ylim(len(models) - 0.4, -0.6)
        ax.set_yticks(range(len(models)), models if ax in axes[:, 0] else [])
        for label in ax.get_yticklabels()[:1]:
            label.set(color=colours[models[0]], weight="bold")
    for ax in axes.flat[len(datasets) :]:
        ax.remove()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=170)
    plt.close(figure)
    print(f"\nFigure: {path}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--fast", action="store_true", help="three data sets, one split")
    parser.add_argument("--splits", type=int, default=3, help="random splits for each data set")
    parser.add_argument("--rows", type=int, default=300, help="most training rows")
    parser.add_argument("--jobs", type=int, default=-1, help="processes of GridSearchCV; -1: all")
    parser.add_argument("--figure", type=Path, default=Path("compare.png"), help="where to draw")
    args = parser.parse_args()
    plots = importlib.util.find_spec("matplotlib") is not None
    if not plots:
        print("There will be no figure: matplotlib is missing. pip install '.[plot]' brings it.\n")

    # the neural network warns whenever it reaches max_iter, here and in the worker processes
    warnings.filterwarnings("ignore", "Stochastic Optimizer", UserWarning)
    os.environ["PYTHONWARNINGS"] = "ignore:Stochastic Optimizer:UserWarning"

    start = time.perf_counter()
    datasets = load_datasets()
    if args.fast:
        datasets = [data for data in datasets if data.name in FAST]
    results = compare(datasets, 1 if args.fast else args.splits, args.rows, args.jobs)
    print_tables(datasets, results, args.rows)
    fit_raw_table()
    if plots:
        draw(datasets, results, args.figure)
    print(f"Total: {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
