"""Markdown report of the tabular benchmark."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from tabular_data import SIZE_GROUPS, half_of, size_group
from tabular_measures import MEASURES, QUARTERS, SMALLEST_PROBABILITY

KEY = ["set", "seed", "learner"]
SKIPPED = "skipped"
NUMBERS = [*MEASURES, "n_train", "n_classes"]
#: what a failed fit counts: no better than a constant, and certain of a wrong class
FAILED = {"score": 0.0, "log_loss": -np.log(SMALLEST_PROBABILITY), "ece": 1.0}
#: learners whose fit time is the unit of the others'
CLOCKS = ["catboost", "mlp"]
#: intervals of 90 % are sound where their coverage lies within these
SOUND, SOUND_QUARTER = (0.85, 0.95), (0.80, 0.97)


class Measure(NamedTuple):
    """A measure by which learners are ranked."""

    name: str
    column: str
    lower_is_better: bool = False


MEASURES_OF = {
    "classification": [
        Measure("accuracy", "score"),
        Measure("log-loss", "log_loss", lower_is_better=True),
        Measure("ECE", "ece", lower_is_better=True),
    ],
    "regression": [Measure("R2", "score")],
}


def read_results(paths):
    """Read and merge result files.

    Of two results with the same set, seed and learner the later one in a file
    counts, and the earlier file in the list. A column that a file lacks is empty.
    """
    empty_is_missing = dict.fromkeys(NUMBERS, "")
    frames = [
        pd.read_csv(
            path, keep_default_na=False, na_values=empty_is_missing, dtype={"max_train": str}
        ).drop_duplicates(KEY, keep="last")
        for path in paths
    ]
    results = pd.concat(frames, ignore_index=True).drop_duplicates(KEY, keep="first")
    missing = [name for name in MEASURES if name not in results]
    return results.assign(**dict.fromkeys(missing, np.nan))


def report(results, baselines, reference="skcode"):
    """Tables for each task, as one markdown text.

    Parameters
    ----------
    results : DataFrame
        One row for each (set, seed, learner), as read by `read_results`.
    baselines : list of str
        The fixed competitors. Any other learner (the reference and its variants) is
        ranked against the baselines alone, so that variants do not crowd each other;
        baselines are ranked against each other and the reference.
    reference : str
        The learner that the others are compared with.

    Returns
    -------
    str
    """
    sections = []
    for task in MEASURES_OF:
        rows = results[results["task"] == task]
        if len(rows):
            sections.append(_task_report(task, rows, baselines, reference))
    return "\n\n".join(sections)


def complete(results):
    """Rows of the (set, seed) pairs that every learner has run, or skipped for their size.

    A failed fit counts as `FAILED`, a skipped one is missing in means and ranks.
    """
    n_learners = results["learner"].nunique()
    n_run = results.groupby(["set", "seed"])["learner"].transform("size")
    rows = results[n_run == n_learners].copy()
    failed = rows["status"] == "failed"
    for column, value in FAILED.items():
        rows.loc[failed, column] = value
    return rows


def mean_over_seeds(rows, column):
    """Mean of a column, one row for each set and one column for each learner.

    Rounded to the digits of the result files, so that ties are ties.
    """
    return rows.groupby(["set", "learner"])[column].mean().unstack().round(6)


def ranks(values, baselines, reference, lower_is_better=False):
    """Rank of each learner on each set, ties averaged; missing where it was skipped."""

    def rank(names):
        names = list(dict.fromkeys(name for name in names if name in values))
        return values[names].rank(axis=1, ascending=lower_is_better)

    return pd.DataFrame(
        {
            name: rank([*baselines, reference if name in baselines else name])[name]
            for name in values
        }
    )


def _task_report(task, results, baselines, reference):
    """All tables of one task."""
    rows = complete(results)
    pairs, all_pairs = (r.groupby(["set", "seed"]).ngroups for r in (rows, results))
    halves = sorted(set(map(half_of, results["set"])))
    of = f"half {halves[0]}" if len(halves) == 1 else "halves A and B"
    title = f"## {task.capitalize()}, {of}: {rows['set'].nunique()} sets, {pairs} splits"
    if pairs < all_pairs:
        title += f" ({all_pairs - pairs} left out that some learner has not run yet)"
    if not pairs:
        return title
    measures = MEASURES_OF[task]
    values = {m: mean_over_seeds(rows, m.column) for m in measures}
    baselines = [name for name in baselines if name in values[measures[0]]]
    placed = {m: ranks(values[m], baselines, reference, m.lower_is_better) for m in measures}
    order = placed[measures[0]].mean().sort_values().index
    values = {m: value[order] for m, value in values.items()}
    placed = {m: place[order] for m, place in placed.items()}

    def section(text, table):
        parts.extend([text, _markdown(table)])

    parts = [title, _markdown(_summary(rows, values, placed, baselines, reference))]
    for m in measures:
        section(f"{m.name} by training rows:", _by_size(rows, values[m], placed[m]))
    section("Seconds to fit, of the processor:", _fit_times(rows).loc[order])
    if reference in order and len(order) > 1:
        text = f"{reference} minus each other learner, paired over sets:"
        section(text, _differences(values, baselines, reference))
    for m in measures:
        text = f"{m.name}, on how many sets the row's learner is better than the column's:"
        section(text, _duels(values[m], m))
    if rows["seed"].nunique() > 1:
        section("Spread over splits:", _spread(rows, measures, baselines, reference).loc[order])
    if rows["coverage"].notna().any():
        section("Coverage of intervals of 90 %:", _coverage(rows))
    for m in measures:
        section(f"Mean {m.name} over seeds:", _each_set(rows, values[m], m.lower_is_better))
    return "\n\n".join(parts)


def _summary(rows, values, placed, baselines, reference):
    """One row for each learner; a set won by several learners is shared out."""
    score = next(iter(values.values()))
    field = [name for name in score if name in baselines or name == reference]
    wins = score.ge(score[field].max(axis=1), axis=0)
    columns = {"wins": wins.div(wins[field].sum(axis=1), axis=0).sum().map("{:.1f}".format)}
    for m, value in values.items():
        columns |= {
            f"mean {m.name}": value.mean().map("{:.4f}".format),
            f"rank in {m.name}": placed[m].mean().map("{:.2f}".format),
        }
    status = rows.groupby("learner")["status"]
    columns["failed"] = status.agg(lambda status: str((status == "failed").sum()))
    if (rows["status"] == SKIPPED).any():
        columns["sets"] = score.count().map(str)
    return pd.DataFrame(columns).loc[list(score)]


def _by_size(rows, value, place):
    """Mean rank and mean value in each group of sizes."""
    group = rows.groupby("set")["n_train"].max().map(size_group)
    columns = {}
    for what, table, digits in (("rank", place, 2), ("mean", value, 4)):
        for k, name in enumerate(SIZE_GROUPS):
            sets = group.index[group == k]
            if len(sets):
                mean = table.loc[sets].mean().map(f"{{:.{digits}f}}".format)
                columns[f"{what}, {name} ({len(sets)} sets)"] = mean.replace("nan", "")
    return pd.DataFrame(columns)


def _fit_times(rows):
    """Median and largest time, and its ratio to that of other learners, over sets."""
    times = mean_over_seeds(rows, "fit_s")
    columns = {
        "median": times.median().map("{:.3f}".format),
        "largest": times.max().map("{:.1f}".format),
    }
    for clock in CLOCKS:
        if clock in times:
            ratio = times.div(times[clock], axis=0)
            columns[f"median of the ratio to {clock}"] = ratio.median().map("{:.2f}".format)
            columns[f"largest ratio to {clock}"] = ratio.max().map("{:.1f}".format)
    return pd.DataFrame(columns)


def _differences(values, baselines, reference):
    """Differences between the reference and each other learner, and their standard errors."""
    columns = {}
    for m, value in values.items():
        rivals = value[[baseline for baseline in baselines if baseline != reference]]
        best = rivals.min(axis=1) if m.lower_is_better else rivals.max(axis=1)
        others = value.drop(columns=reference).assign(**{"best baseline of each set": best})
        gap = others.rsub(value[reference], axis=0)
        error = gap.std(ddof=1) / np.sqrt(gap.count())
        signs = (f"{(g > 0).sum()} / {(g == 0).sum()} / {(g < 0).sum()}" for _, g in gap.items())
        columns |= {
            f"{m.name}: mean": gap.mean().map("{:+.4f}".format),
            f"± ({m.name})": error.map("{:.4f}".format),
            f"median ({m.name})": gap.median().map("{:+.4f}".format),
            f"+ / 0 / - ({m.name})": pd.Series(list(signs), index=gap.columns),
        }
    return pd.DataFrame(columns)


def _duels(value, measure):
    """Number of sets on which each learner is better than each other."""
    value = -value if measure.lower_is_better else value
    wins = {rival: value.gt(value[rival], axis=0).sum().map(str) for rival in value}
    table = pd.DataFrame(wins)
    return table.mask(np.eye(len(table), dtype=bool), "")


def _spread(rows, measures, baselines, reference):
    """Means and mean ranks of each split, and how a learner varies over the splits of a set."""
    columns = {}
    for m in measures:
        deviation = rows.groupby(["set", "learner"])[m.column].std(ddof=1).unstack()
        columns[f"{m.name}: deviation on a set"] = deviation.mean().map("{:.4f}".format)
        for seed, split in rows.groupby("seed"):
            value = mean_over_seeds(split, m.column)
            place = ranks(value, baselines, reference, m.lower_is_better)
            means = zip(value.mean(), place.mean(), strict=True)
            cells = [f"{mean:.4f} ({rank:.2f})" for mean, rank in means]
            columns[f"{m.name} of split {seed} (rank)"] = pd.Series(cells, index=value.columns)
    return pd.DataFrame(columns)


def _coverage(rows):
    """Median over sets, extremes, and the share of sets where the coverage is sound."""
    rows = rows[rows["coverage"].notna()]
    tables = {"all rows": (mean_over_seeds(rows, "coverage"), SOUND)}
    for k, quarter in enumerate(QUARTERS):
        if rows[quarter].notna().any():
            tables[f"quarter {k + 1}"] = (mean_over_seeds(rows, quarter), SOUND_QUARTER)
    columns = {}
    for name, (value, (low, high)) in tables.items():
        sound = ((value >= low) & (value <= high)).sum() / value.count()
        columns |= {
            f"{name}: median": value.median().map("{:.3f}".format),
            f"{name}: extremes": value.min().map("{:.2f}".format)
            + " - "
            + value.max().map("{:.2f}".format),
            f"{name}: sets in {low} - {high}": sound.map("{:.0%}".format),
        }
    return pd.DataFrame(columns)


def _each_set(rows, values, lower_is_better):
    """Values of each set, the best in bold."""
    shape = rows.groupby("set")[["n_train", "n_features", "n_classes"]].first()
    shape.columns = ["rows", "inputs", "classes"]
    shape = shape.dropna(axis="columns").astype(int)
    values = values.round(3)
    best = values.min(axis=1) if lower_is_better else values.max(axis=1)
    cells = values.map("{:.3f}".format)
    cells = cells.mask(values.eq(best, axis=0), "**" + cells + "**")
    return shape.join(cells.mask(values.isna(), ""))


def _markdown(table):
    """A data frame as an aligned markdown table, its index the first column."""
    lines = [[table.index.name or "learner", *table.columns]]
    lines += [
        [str(name), *map(str, row)]
        for name, row in zip(table.index, table.itertuples(index=False), strict=True)
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join(
        "| "
        + " | ".join(
            cell.ljust(width) if k == 0 else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        + " |"
        for line in [lines[0], rule, *lines[1:]]
    )
