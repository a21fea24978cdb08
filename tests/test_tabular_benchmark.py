"""The tabular benchmark: sets, splits, measures, learners on raw tables, resume and report."""

import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import BayesianRidge

pd = pytest.importorskip("pandas")
pytest.importorskip("pyarrow")
FOLDER = Path(__file__).parents[1] / "examples" / "benchmarks"
sys.path.append(str(FOLDER))

tabular = pytest.importorskip("tabular")
tabular_data = pytest.importorskip("tabular_data")
tabular_learners = pytest.importorskip("tabular_learners")
tabular_measures = pytest.importorskip("tabular_measures")
tabular_report = pytest.importorskip("tabular_report")


@pytest.fixture
def table():
    """Numbers, booleans and categories with few and many levels, with missing ones of each."""
    rng = np.random.default_rng(0)
    n = 200
    number = rng.standard_normal(n)
    few = rng.integers(3, size=n)
    frame = pd.DataFrame(
        {
            "number": np.where(rng.uniform(size=n) < 0.1, np.nan, number),
            "truth": pd.array(few == 0, "boolean"),
            "few": pd.Categorical.from_codes(few, ["low", "middle", "high"]),
            "many": pd.Categorical([f"level {k}" for k in rng.integers(60, size=n)]),
            "target": number + few,
        }
    )
    frame.loc[::9, ["truth", "few"]] = pd.NA
    return frame


@pytest.fixture
def folders(tmp_path, table):
    """One set of numbers and one raw table."""
    rng = np.random.default_rng(1)
    X = rng.standard_normal((80, 3))
    np.savez(tmp_path / "numbers.npz", X=X, y=(X[:, 0] > 0).astype(int))
    table.to_parquet(tmp_path / "table.parquet")
    return tmp_path


def run(*words, capsys):
    tabular.main(list(map(str, words)))
    return capsys.readouterr().out


def test_halves_follow_the_name_alone():
    assert [tabular_data.half_of(name) for name in ("ada", "banana", "zoo")] == ["A", "B", "A"]
    assert tabular_data.half_of("raw:diamonds") == tabular_data.half_of("diamonds") == "B"


def test_size_groups_have_the_bounds_of_their_names():
    groups = [tabular_data.size_group(n) for n in (999, 1000, 3000, 3001)]
    assert groups == [0, 1, 1, 2]


@pytest.mark.parametrize("name", ["linear", "knn", "forest", "hist_boosting"])
def test_learners_of_scikit_learn_take_raw_tables(name, table):
    X, y = table.drop(columns="target"), table["target"].to_numpy()
    train, test = slice(0, 150), slice(150, 200)
    model = tabular_learners.LEARNERS[name].build("regression", 0, {}, X[train])
    assert model.fit(X[train], y[train]).score(X[test], y[test]) > 0.4


def test_coverage_by_quarter_tells_noise_that_the_deviation_does_not_follow():
    rng = np.random.default_rng(2)
    spread = np.linspace(0.5, 1.5, 8000)
    y = rng.normal(0, spread)
    right = tabular_measures.coverages(y, 0 * y, spread)
    assert all(abs(value - 0.9) < 0.02 for value in right.values())
    # all the same deviation but for its order: too wide in the first quarter
    wrong = tabular_measures.coverages(y, 0 * y, 1 + 1e-9 * spread)
    assert wrong["coverage_q1"] > 0.97
    assert wrong["coverage_q4"] < 0.80


def test_interval_of_a_learner_with_return_std_is_measured():
    X = np.random.default_rng(3).standard_normal((400, 2))
    y = X[:, 0] + np.random.default_rng(4).standard_normal(400)
    parts = X[:300], X[300:], y[:300], y[300:]
    measured = tabular_measures.evaluate(BayesianRidge, "regression", *parts)
    assert 0.8 < measured["coverage"] < 1
    assert {"coverage_q1", "coverage_q4"} <= set(measured)


def test_run_resumes_and_reports(folders, capsys):
    words = ["--data", folders, "--raw", folders, "--learners", "linear", "knn", "--seeds", 2]
    words += ["--results", folders / "results.csv"]
    first = run(*words, capsys=capsys)
    assert "[8/8" in first
    assert "## Classification, half" in first
    assert "accuracy by training rows" in first
    for name in ("accuracy of split 0", "log-loss of split 1", "R2 of split 1"):
        assert f"{name} (rank)" in first
    again = run(*words, capsys=capsys)
    assert not again.startswith("[")
    assert again == first[first.index("## Class") :]
    with pytest.raises(SystemExit, match="--max-train"):
        run(*words, "--max-train", "all", capsys=capsys)


def test_set_beyond_the_limit_of_a_learner_is_skipped_until_the_limit_rises(folders, capsys):
    words = ["--data", folders, "--learners", "linear", "knn", "--seeds", 1]
    words += ["--results", folders / "results.csv"]
    told = run(*words, "--max-rows", "knn=10", capsys=capsys)
    assert "skipped, more than 10 training rows" in told
    assert not run(*words, "--max-rows", "knn=10", capsys=capsys).startswith("[")
    assert run(*words, capsys=capsys).startswith("[1/1")


def test_failed_fit_has_the_last_rank_and_a_skipped_one_none():
    rows = pd.DataFrame(
        {
            "set": "name",
            "task": "classification",
            "seed": 0,
            "learner": ["first", "second", "failed", "skipped"],
            "score": [0.9, 0.8, np.nan, np.nan],
            "status": ["ok", "ok", "failed", "skipped"],
        }
    ).assign(log_loss=np.nan, ece=np.nan)
    value = tabular_report.mean_over_seeds(tabular_report.complete(rows), "score")
    place = tabular_report.ranks(value, list(value), "first").loc["name"]
    assert place[["first", "second", "failed"]].tolist() == [1, 2, 3]
    assert np.isnan(place["skipped"])
