"""Markdown report of the tabular benchmark."""

import numpy as np
import pandas as pd

KEY = ["set", "seed", "learner"]
MEASURED = ["score", "log_loss", "ece", "coverage", "fit_s", "predict_s"]


def read_results(paths):
    """Read and merge result files.

    Of two results with the same set, seed and learner the later one in a file
    counts, and the earlier file in the list.
    """
    empty_is_missing = dict.fromkeys([*MEASURED, "n_classes"], "")
    frames = [
        pd.read_csv(path, keep_default_na=False, na_values=empty_is_missing).drop_duplicates(
            KEY, keep="last"
        )
        for path in paths
    ]
    return pd.concat(frames, ignore_index=True).drop_duplicates(KEY, keep="first")


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
    for task in ("classification", "regression"):
        rows = results[results["task"] == task]
        if len(rows):
            sections.append(_task_report(task, rows, baselines, reference))
    return "\n\n".join(sections)


def _task_report(task, results, baselines, reference):
    """Summary, paired differences and scores of one task."""
    rows = _complete(results)
    pairs, all_pairs = (r.groupby(["set", "seed"]).ngroups for r in (rows, results))
    title = f"## {task.capitalize()}: {rows['set'].nunique()} sets, {pairs} splits"
    if pairs < all_pairs:
        title += f" ({all_pairs - pairs} left out that some learner has not run yet)"
    if not pairs:
        return title
    rows = rows.assign(score=rows["score"].fillna(0.0))  # a failed fit scores 0
    values = {"score": _mean_over_seeds(rows, "score")}
    if task == "classification":
        values["log-loss"] = _mean_over_seeds(rows, "log_loss")
    learners = list(values["score"])
    baselines = [name for name in baselines if name in learners]
    ranks = {
        name: _ranks(value, baselines, reference, ascending=name == "log-loss")
        for name, value in values.items()
    }
    order = ranks["score"].mean().sort_values().index
    parts = [title, _markdown(_summary(rows, values, ranks, baselines, reference).loc[order])]
    if reference in learners and len(learners) > 1:
        parts.append(f"{reference} minus each other learner, paired over sets:")
        parts.append(_markdown(_differences(values, baselines, reference)))
    for name, value in values.items():
        parts.append(f"Mean {name} over seeds:")
        parts.append(_markdown(_each_set(rows, value[order], lower_is_better=name == "log-loss")))
    return "\n\n".join(parts)


def _complete(results):
    """Rows of the (set, seed) pairs that every learner has run."""
    n_learners = results["learner"].nunique()
    n_run = results.groupby(["set", "seed"])["learner"].transform("size")
    return results[n_run == n_learners]


def _mean_over_seeds(rows, column):
    """Mean of a column, one row for each set and one column for each learner.

    Rounded to the digits of the result files, so that ties are ties.
    """
    return rows.groupby(["set", "learner"])[column].mean().unstack().round(6)


def _ranks(values, baselines, reference, ascending):
    """Rank of each learner on each set, ties averaged, failures last."""

    def rank(names):
        names = list(dict.fromkeys(name for name in names if name in values))
        return values[names].rank(axis=1, ascending=ascending, na_option="bottom")

    return pd.DataFrame(
        {
            name: rank([*baselines, reference if name in baselines else name])[name]
            for name in values
        }
    )


def _summary(rows, values, ranks, baselines, reference):
    """One row for each learner; a set won by several learners is shared out."""
    score = values["score"]
    field = [name for name in score if name in baselines or name == reference]
    wins = score.ge(score[field].max(axis=1), axis=0)
    by_learner = rows.groupby("learner")
    columns = {
        "mean score": score.mean().map("{:.4f}".format),
        "median": score.median().map("{:.4f}".format),
        "mean rank": ranks["score"].mean().map("{:.2f}".format),
        "wins": wins.div(wins[field].sum(axis=1), axis=0).sum().map("{:.1f}".format),
    }
    if "log-loss" in values:
        columns |= {
            "log-loss": values["log-loss"].mean().map("{:.4f}".format),
            "its rank": ranks["log-loss"].mean().map("{:.2f}".format),
            "ECE": by_learner["ece"].mean().map("{:.4f}".format),
        }
    elif rows["coverage"].notna().any():
        coverage = by_learner["coverage"].mean()
        columns["coverage of 90 %"] = coverage.map("{:.3f}".format).replace("nan", "")
    columns |= {
        "fit s (median)": by_learner["fit_s"].median().map("{:.3f}".format),
        "fit s (max)": by_learner["fit_s"].max().map("{:.1f}".format),
        "failed": by_learner["status"].agg(lambda status: str((status != "ok").sum())),
    }
    return pd.DataFrame(columns)


def _differences(values, baselines, reference):
    """Differences between the reference and each other learner, and their standard errors."""
    columns = {}
    for name, value in values.items():
        rivals = value[[baseline for baseline in baselines if baseline != reference]]
        best = rivals.min(axis=1) if name == "log-loss" else rivals.max(axis=1)
        others = value.drop(columns=reference).assign(**{"best baseline of each set": best})
        gap = others.rsub(value[reference], axis=0)
        error = gap.std(ddof=1) / np.sqrt(gap.count())
        signs = (f"{(g > 0).sum()} / {(g == 0).sum()} / {(g < 0).sum()}" for _, g in gap.items())
        columns |= {
            f"{name}: mean": gap.mean().map("{:+.4f}".format),
            f"± ({name})": error.map("{:.4f}".format),
            f"median ({name})": gap.median().map("{:+.4f}".format),
            f"+ / 0 / - ({name})": pd.Series(list(signs), index=gap.columns),
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
    return shape.join(cells.mask(values.eq(best, axis=0), "**" + cells + "**"))


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
