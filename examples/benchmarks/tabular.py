"""Benchmark of skcode against eleven common learners on tabular data.

Every learner runs at its defaults, on one thread, on the same splits; the linear
model, the perceptron, the support vector machine and the nearest neighbours see
standardised inputs. Results are appended to a CSV file one by one, so that an
interrupted run goes on where it stopped::

    python tabular.py --data FOLDER --results results.csv
    python tabular.py --openml 31 1464 44132 --learners skcode forest lightgbm
    python tabular.py --results results.csv --also baselines.csv --report-only

Raw tables are parquet files with a column ``target``, and categories and missing
values in the others; ``tabular_learners.py`` tells what each learner makes of them::

    python tabular.py --raw FOLDER --results raw.csv

A variant of skcode is recorded under a name of its own and compared with the same
baselines::

    python tabular.py --data FOLDER --learners skcode --label skcode-lbfgs \\
        --params '{"solver": "lbfgs"}' --also baselines.csv

Defaults that were chosen on some sets look better there than elsewhere. So all sets are
in two halves, A and B, by their names; choose on ``--half A``, and report ``--half B``.

Measured are accuracy, log-loss and expected calibration error for classification,
R2 for regression (and, where a learner predicts a standard deviation, how often its
90 % interval covers the target, also by quarter of that deviation), and the processor's
seconds to fit and to predict.
"""

import argparse
import contextlib
import csv
import json
import os
import signal
import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from tabular_data import OPENML_PREFIX, half_of, list_sets, list_tables, load, split
from tabular_learners import BASELINES, LEARNERS, OURS, wake
from tabular_measures import MEASURES, evaluate
from tabular_report import SKIPPED, read_results, report
from threadpoolctl import threadpool_limits

MAX_TEST = 4000
COLUMNS = [
    "set", "task", "seed", "learner", "n_train", "n_test", "n_features", "n_classes",
    *MEASURES, "status", "note", "params", "max_train",
]  # fmt: skip


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


def run_trial(trial, folders, max_train, max_rows):
    """Run one trial on one thread; a failure is a result too, and so is a set that is too large."""
    data = load(trial.set, *folders)
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
        "max_train": "all" if max_train is None else max_train,
    }
    if len(y_train) > max_rows.get(trial.learner, np.inf):
        note = f"more than {max_rows[trial.learner]} training rows"
        return trial, result | {"status": SKIPPED, "note": note}

    def make_model():
        return LEARNERS[trial.learner].build(data.task, trial.seed, trial.params, X_train)

    with warnings.catch_warnings(record=True) as caught, silence():
        warnings.simplefilter("always")
        np.random.seed(trial.seed)  # noqa: NPY002, for steps that take no seed on every version
        try:
            make_model()  # imports the learner, whose thread pools are limited next
            with threadpool_limits(1):
                wake(trial.learner, data.task)
                measured = evaluate(make_model, data.task, X_train, X_test, y_train, y_test)
            result |= {name: f"{value:.6g}" for name, value in measured.items()}
            result |= {"status": "ok", "note": _first_warning(caught)}
        except Exception as error:
            result |= {"status": "failed", "note": _one_line(error)}
    return trial, result


@contextlib.contextmanager
def silence():
    """Nothing that a learner prints."""
    with (
        open(os.devnull, "w") as sink,
        contextlib.redirect_stdout(sink),
        contextlib.redirect_stderr(sink),
    ):
        yield


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
            delayed(run_trial)(trial, (args.data, args.raw), args.max_train, args.max_rows)
            for trial in trials
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
    if result["status"] == SKIPPED:
        return f"{place} {name}: skipped, {result['note']}"
    text = f"{place} {name}: {float(result['score']):.4f}"
    if "log_loss" in result:
        text += f", log-loss {float(result['log_loss']):.4f}"
    return f"{text}, fit {float(result['fit_s']):.2f} s"


def available(names):
    """Of the named learners those whose package is installed; says what is missing."""
    found = []
    for name in names:
        try:
            LEARNERS[name].load("classification")
            found.append(name)
        except (ImportError, AttributeError) as error:
            print(f"{name} is left out: {error}", file=sys.stderr)
    return found


def reachable(names, folders):
    """Of the named data sets those that can be loaded; says which cannot."""
    found = []
    for name in names:
        try:
            load(name, *folders)
            found.append(name)
        except Exception as error:
            print(f"{name} is left out: {_one_line(error)}", file=sys.stderr)
    return found


def wanted_sets(args):
    """Names of the data sets that the command line asks for."""
    names = args.sets or [
        *(list_sets(args.data) if args.data else []),
        *(list_tables(args.raw) if args.raw else []),
    ]
    names = [*names, *(f"{OPENML_PREFIX}{data_id}" for data_id in args.openml)]
    return [name for name in names if args.half in (None, half_of(name))]


def plan(args):
    """Trials still to run, seed by seed."""
    names = reachable(wanted_sets(args), (args.data, args.raw))
    learners = available(args.learners)
    trials = [
        Trial(name, seed, learner, args.label, args.params)
        if learner == OURS
        else Trial(name, seed, learner, learner, {})
        for seed in range(args.first_seed, args.first_seed + args.seeds)
        for name in names
        for learner in learners
    ]
    if not args.results.exists():
        return trials
    with args.results.open(newline="", encoding="utf-8") as file:
        if next(csv.reader(file), COLUMNS) != COLUMNS:
            sys.exit(f"{args.results} has other columns: read it by --also, write another file")
    known = read_results([args.results])
    check_settings(known, args)
    again = known["status"] == SKIPPED
    again &= known["n_train"] <= known["learner"].map(args.max_rows).fillna(np.inf)
    if args.retry_failed:
        again |= known["status"] == "failed"
    present = known.loc[~again, ["set", "seed", "learner"]]
    present = set(present.itertuples(index=False, name=None))
    return [trial for trial in trials if trial.key not in present]


def check_settings(known, args):
    """Stop where the result file was written with other settings than these."""
    other = known[known["learner"] == args.label]["params"].unique()
    if set(other) - {json.dumps(args.params, sort_keys=True)}:
        sys.exit(f"{args.results} has {args.label!r} with other --params: {other[0]}")
    max_train = "all" if args.max_train is None else str(args.max_train)
    other = set(known["max_train"].astype(str)) - {max_train}
    if other:
        sys.exit(f"{args.results} has results with --max-train {other.pop()}")


def rows_or_all(text):
    """A number of rows, or None for "all"."""
    return None if text == "all" else int(text)


def limits(texts):
    """Largest numbers of training rows by learner, from texts like ``svm=5000`` or ``svm=all``."""
    found = {name: learner.max_rows for name, learner in LEARNERS.items()}
    for text in texts:
        name, _, rows = text.partition("=")
        if name not in LEARNERS:
            raise ValueError(f"unknown learner: {name}")
        found[name] = rows_or_all(rows)
    return {name: rows for name, rows in found.items() if rows is not None}


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
    add("--raw", metavar="FOLDER", help="folder of raw tables NAME.parquet, sets raw:NAME")
    add("--half", choices=["A", "B"], help="only the sets of this half (default: both)")
    add("--sets", nargs="+", metavar="NAME", help="only these sets (default: all)")
    add("--openml", nargs="+", type=int, default=[], metavar="ID", help="OpenML ids")
    add(
        "--learners",
        nargs="+",
        metavar="NAME",
        help=f"of {', '.join(LEARNERS)}; in the report also labels (default: all)",
    )
    add("--seeds", type=int, default=3, help="number of splits (default: 3)")
    add("--first-seed", type=int, default=0, help="the first of them (default: 0)")
    add(
        "--max-train",
        type=rows_or_all,
        default=4000,
        metavar="ROWS",
        help="rows to fit on, or all (default: 4000)",
    )
    add(
        "--max-rows",
        nargs="+",
        default=[],
        metavar="LEARNER=ROWS",
        help="skip a learner on sets of more training rows (default: realmlp=1000)",
    )
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
    try:
        args.max_rows = limits(args.max_rows)
    except ValueError as error:
        parser.error(f"--max-rows: {error}")
    if args.label in BASELINES:
        parser.error(f"--label {args.label} is the name of a baseline")
    if not args.report_only:
        unknown = set(args.learners or []) - set(LEARNERS)
        if unknown:
            parser.error(f"unknown learners: {', '.join(sorted(unknown))}")
        if not (args.data or args.raw or args.openml):
            parser.error("give --data, --raw or --openml, or --report-only")
        if args.sets and not (args.data or args.raw):
            parser.error("--sets needs --data or --raw")
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
    if args.half:
        results = results[results["set"].map(half_of) == args.half]
    if args.report_only and chosen:
        results = results[results["learner"].isin(chosen)]
    print(report(results, BASELINES, args.reference or args.label))


if __name__ == "__main__":
    main()
