"""Benchmark of skcode against eight common learners on tabular data.

Every learner runs at its defaults, on one thread, on the same splits; the linear
model, the perceptron, the support vector machine and the nearest neighbours see
standardised inputs. Results are appended to a CSV file one by one, so that an
interrupted run goes on where it stopped::

    python tabular.py --data FOLDER --results results.csv
    python tabular.py --openml 31 1464 44132 --learners skcode forest lightgbm
    python tabular.py --results results.csv --also baselines.csv --report-only

A variant of skcode is recorded under a name of its own and compared with the same
baselines::

    python tabular.py --data FOLDER --learners skcode --label skcode-lbfgs \\
        --params '{"solver": "lbfgs"}' --also baselines.csv

Measured are accuracy, log-loss and expected calibration error for classification,
R2 for regression (and, where a learner predicts a standard deviation, how often its
90 % interval covers the target), and the processor's seconds to fit and to predict.
"""

import argparse
import csv
import inspect
import json
import signal
import sys
import time
import warnings
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from sklearn.calibration import CalibratedClassifierCV
from sklearn.metrics import r2_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tabular_data import OPENML_PREFIX, list_sets, load, split
from tabular_report import read_results, report
from threadpoolctl import threadpool_limits

MAX_TEST = 4000
SMALLEST_PROBABILITY = 1e-7  # log-loss clips here: about float32's resolution
N_CALIBRATION_BINS = 15
N_CALIBRATION_FOLDS = 5
NORMAL_QUANTILE_95 = 1.6448536269514722
COLUMNS = [
    "set", "task", "seed", "learner", "n_train", "n_test", "n_features", "n_classes",
    "score", "log_loss", "ece", "coverage", "fit_s", "predict_s", "status", "note",
    "params",
]  # fmt: skip


@dataclass(frozen=True)
class Learner:
    """Where a learner comes from and what it needs; imported when it is built."""

    module: str
    classifier: str
    regressor: str
    scaled: bool = False
    params: dict = field(default_factory=dict)

    def build(self, task, seed, params):
        """Return an unfitted estimator for the task."""
        name = self.classifier if task == "classification" else self.regressor
        estimator = getattr(import_module(self.module), name)(**self.params | params)
        if "random_state" in estimator.get_params():
            estimator.set_params(random_state=seed)
        return make_pipeline(StandardScaler(), estimator) if self.scaled else estimator


OURS = "skcode"
LEARNERS = {
    OURS: Learner("skcode", "ControlledODEClassifier", "ControlledODERegressor"),
    "linear": Learner(
        "sklearn.linear_model", "LogisticRegression", "Ridge", scaled=True
    ),
    "mlp": Learner(
        "sklearn.neural_network", "MLPClassifier", "MLPRegressor",
        scaled=True, params={"max_iter": 500},
    ),
    "svm": Learner("sklearn.svm", "SVC", "SVR", scaled=True),
    "knn": Learner(
        "sklearn.neighbors", "KNeighborsClassifier", "KNeighborsRegressor", scaled=True
    ),
    "forest": Learner(
        "sklearn.ensemble", "RandomForestClassifier", "RandomForestRegressor"
    ),
    "hist_boosting": Learner(
        "sklearn.ensemble",
        "HistGradientBoostingClassifier", "HistGradientBoostingRegressor",
    ),
    "xgboost": Learner(
        "xgboost", "XGBClassifier", "XGBRegressor", params={"n_jobs": 1}
    ),
    "lightgbm": Learner(
        "lightgbm", "LGBMClassifier", "LGBMRegressor",
        params={"n_jobs": 1, "verbose": -1},
    ),
}  # fmt: skip
BASELINES = [name for name in LEARNERS if name != OURS]


@dataclass(frozen=True)
class Trial:
    """One fit of one learner on one split of one data set."""

    set: str
    seed: int
    learner: str
    label: str
    params: dict

    @property
    def key(self):
        return self.set, self.seed, self.label


def log_loss(y, proba):
    """Mean negative log-likelihood with clipped probabilities, in nats."""
    likelihood = proba[np.arange(len(y)), y]
    return -np.mean(np.log(np.clip(likelihood, SMALLEST_PROBABILITY, 1.0)))


def calibration_error(y, proba):
    """Expected calibration error of the top probability, equal-width bins."""
    confidence = proba.max(axis=1)
    surplus = confidence - (proba.argmax(axis=1) == y)
    bins = np.minimum(confidence * N_CALIBRATION_BINS, N_CALIBRATION_BINS - 1)
    return np.abs(np.bincount(bins.astype(int), surplus)).sum() / len(y)


def probabilities(model, make_model, X_train, y_train, X_test):
    """Class probabilities of a fitted model, one column for each training class.

    A model without ``predict_proba`` is calibrated by five-fold cross-validation, with fewer folds
    where a class is rarer than that; a class of one row is left out and gets probability 0.
    """
    proba = np.zeros((len(X_test), y_train.max() + 1))
    if not hasattr(model, "predict_proba"):
        class_size = np.bincount(y_train)[y_train]
        X_train, y_train = X_train[class_size > 1], y_train[class_size > 1]
        n_folds = min(N_CALIBRATION_FOLDS, class_size[class_size > 1].min())
        model = CalibratedClassifierCV(make_model(), ensemble=False, cv=int(n_folds))
        model.fit(X_train, y_train)
    proba[:, model.classes_] = model.predict_proba(X_test)
    if not np.isfinite(proba).all():
        raise ValueError("predict_proba returned non-finite values")
    return proba


def evaluate(make_model, task, X_train, X_test, y_train, y_test):
    """Fit, predict and score; returns the measured columns of a result."""
    model = make_model()
    # seconds of the processor: on one thread they are the time of an idle machine
    start = time.process_time()
    model.fit(X_train, y_train)
    fitted = time.process_time()
    y_pred = model.predict(X_test)
    measured = {"fit_s": fitted - start, "predict_s": time.process_time() - fitted}
    if task == "classification":
        proba = probabilities(model, make_model, X_train, y_train, X_test)
        measured["score"] = np.mean(y_pred == y_test)
        measured["log_loss"] = log_loss(y_test, proba)
        measured["ece"] = calibration_error(y_test, proba)
    else:
        measured["score"] = r2_score(y_test, y_pred)
        if "return_std" in inspect.signature(model.predict).parameters:
            y_pred, std = model.predict(X_test, return_std=True)
            covered = np.abs(y_test - y_pred) <= NORMAL_QUANTILE_95 * std
            measured["coverage"] = np.mean(covered)
    return measured


def run_trial(trial, folder, max_train):
    """Run one trial on one thread; a failure is a result too."""
    data = load(trial.set, folder)
    X_train, X_test, y_train, y_test = split(data, trial.seed, max_train, MAX_TEST)
    result = {
        "set": trial.set,
        "task": data.task,
        "seed": trial.seed,
        "learner": trial.label,
        "n_train": len(y_train),
        "n_test": len(y_test),
        "n_features": X_train.shape[1],
        "n_classes": y_train.max() + 1 if data.task == "classification" else "",
        "params": json.dumps(trial.params, sort_keys=True),
    }

    def make_model():
        return LEARNERS[trial.learner].build(data.task, trial.seed, trial.params)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            make_model()  # imports the learner, whose thread pools are limited next
            with threadpool_limits(1):
                measured = evaluate(make_model, data.task, X_train, X_test, y_train, y_test)
            result |= {name: f"{value:.6g}" for name, value in measured.items()}
            result |= {"status": "ok", "note": _first_warning(caught)}
        except Exception as error:
            result |= {"status": "failed", "note": _one_line(error)}
    return trial, result


def _first_warning(caught):
    """The first warning of a fit and how many there were.

    LightGBM's remark on feature names, which comes with every array, says nothing.
    """
    caught = [w for w in caught if "valid feature names" not in str(w.message)]
    return f"warnings: {len(caught)}, first {_one_line(caught[0].message)}" if caught else ""


def _one_line(error):
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]


def run(trials, args):
    """Run the trials in order and append each result to the file at once.

    The flag keeps a learner that handles Ctrl-C itself (and returns a model that is
    not finished) from leaving a result.
    """
    interrupted = False

    def interrupt(signum, frame):
        nonlocal interrupted
        interrupted = True
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGINT, interrupt)
    start = time.perf_counter()
    try:
        finished = Parallel(n_jobs=args.jobs, return_as="generator_unordered")(
            delayed(run_trial)(trial, args.data, args.max_train) for trial in trials
        )
        for n_done, (trial, result) in enumerate(finished, start=1):
            if interrupted:
                raise KeyboardInterrupt
            append(args.results, result)
            left = (time.perf_counter() - start) / n_done * (len(trials) - n_done)
            print(progress(trial, result, n_done, len(trials), left), flush=True)
    except KeyboardInterrupt:
        sys.exit("Interrupted. The same command goes on from here.")
    finally:
        signal.signal(signal.SIGINT, previous)


def append(path, result):
    """Append a result to a CSV file, below a header if the file is new."""
    is_new = not path.exists() or not path.stat().st_size
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if is_new:
            writer.writeheader()
        writer.writerow(result)


def progress(trial, result, n_done, n_trials, left):
    """One line about a result and the minutes left."""
    place = f"[{n_done}/{n_trials}, {left / 60:.0f} min left]"
    name = f"{trial.set} seed {trial.seed} {trial.label}"
    if result["status"] == "failed":
        return f"{place} {name}: FAILED {result['note']}"
    text = f"{place} {name}: {float(result['score']):.4f}"
    if "log_loss" in result:
        text += f", log-loss {float(result['log_loss']):.4f}"
    return f"{text}, fit {float(result['fit_s']):.2f} s"


def available(names):
    """Of the named learners those whose package is installed; says what is missing."""
    found = []
    for name in names:
        try:
            getattr(import_module(LEARNERS[name].module), LEARNERS[name].classifier)
            found.append(name)
        except (ImportError, AttributeError) as error:
            print(f"{name} is left out: {error}", file=sys.stderr)
    return found


def reachable(names, folder):
    """Of the named data sets those that can be loaded; says which cannot."""
    found = []
    for name in names:
        try:
            load(name, folder)
            found.append(name)
        except Exception as error:
            print(f"{name} is left out: {_one_line(error)}", file=sys.stderr)
    return found


def wanted_sets(args):
    """Names of the data sets that the command line asks for."""
    names = args.sets or (list_sets(args.data) if args.data else [])
    return [*names, *(f"{OPENML_PREFIX}{data_id}" for data_id in args.openml)]


def plan(args):
    """Trials still to run, seed by seed."""
    names = reachable(wanted_sets(args), args.data)
    learners = available(args.learners)
    trials = [
        Trial(name, seed, learner, args.label, args.params)
        if learner == OURS
        else Trial(name, seed, learner, learner, {})
        for seed in range(args.seeds)
        for name in names
        for learner in learners
    ]
    if not args.results.exists():
        return trials
    known = read_results([args.results])
    other = known[known["learner"] == args.label]["params"].unique()
    if set(other) - {json.dumps(args.params, sort_keys=True)}:
        sys.exit(f"{args.results} has {args.label!r} with other --params: {other[0]}")
    if args.retry_failed:
        known = known[known["status"] == "ok"]
    present = set(known[["set", "seed", "learner"]].itertuples(index=False, name=None))
    return [trial for trial in trials if trial.key not in present]


def parse_args(argv=None):
    """Read the command line."""
    summary, _, details = __doc__.partition("\n\n")
    parser = argparse.ArgumentParser(
        description=summary,
        epilog=details,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--data", metavar="FOLDER", help="folder of NAME.npz files with X and y")
    add("--sets", nargs="+", metavar="NAME", help="only these sets (default: all)")
    add("--openml", nargs="+", type=int, default=[], metavar="ID", help="OpenML ids")
    add(
        "--learners",
        nargs="+",
        metavar="NAME",
        help=f"of {', '.join(LEARNERS)}; in the report also labels (default: all)",
    )
    add("--seeds", type=int, default=3, help="number of splits (default: 3)")
    add("--max-train", type=int, default=4000, help="rows to fit on (default: 4000)")
    add("--results", type=Path, default=Path("results.csv"), metavar="CSV")
    add(
        "--also",
        nargs="+",
        type=Path,
        default=[],
        metavar="CSV",
        help="more result files for the report",
    )
    add(
        "--params",
        type=json.loads,
        default={},
        metavar="JSON",
        help="parameters of the skcode estimators; needs a --label",
    )
    add("--label", default=OURS, help="name under which skcode is recorded")
    add("--reference", help="learner to compare the others with (default: --label)")
    add("--jobs", type=int, default=1, help="processes, each of one thread")
    add("--retry-failed", action="store_true", help="run failed trials again")
    add("--report-only", action="store_true", help="run nothing")
    args = parser.parse_args(argv)  # fmt: skip
    if args.params and args.label == OURS:
        parser.error("--params needs a --label of its own")
    if args.label in BASELINES:
        parser.error(f"--label {args.label} is the name of a baseline")
    if not args.report_only:
        unknown = set(args.learners or []) - set(LEARNERS)
        if unknown:
            parser.error(f"unknown learners: {', '.join(sorted(unknown))}")
        if not (args.data or args.openml):
            parser.error("give --data or --openml, or --report-only")
        if args.sets and not args.data:
            parser.error("--sets needs --data")
    return args


def main(argv=None):
    """Run what is missing, then print the report."""
    args = parse_args(argv)
    chosen, args.learners = args.learners, args.learners or list(LEARNERS)
    if not args.report_only:
        run(plan(args), args)
    paths = [path for path in [args.results, *args.also] if path.exists()]
    if not paths:
        sys.exit("no results to report")
    results = read_results(paths)
    if args.sets:
        results = results[results["set"].isin(wanted_sets(args))]
    if args.report_only and chosen:
        results = results[results["learner"].isin(chosen)]
    print(report(results, BASELINES, args.reference or args.label))


if __name__ == "__main__":
    main()
