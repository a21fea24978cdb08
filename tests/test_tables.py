"""Tables as people have them: what is taken, what becomes of it, and what is an error."""

import pickle
from datetime import date, datetime, time, timedelta
from decimal import Decimal

import numpy as np
import pytest
from scipy import sparse
from scipy.stats import rankdata
from sklearn.base import clone
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, TargetEncoder
from sklearn.utils import get_tags

from skcode import ControlledODEClassifier, ControlledODERegressor, ControlledODETransformer
from skcode.columns import (
    CategoryColumn,
    ColumnEncoder,
    DateColumn,
    NumberColumn,
    RawColumn,
    SparseProjection,
    raw_column,
)
from skcode.columns._statistic import cross_fitted, statistic
from skcode.solvers import Adam
from skcode.utils._unique_rows import row_keys, sparse_row_keys

pd = pytest.importorskip("pandas")
pl = pytest.importorskip("polars")
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
# what becomes of columns is decided before any readout; the linear one is the cheapest
SMALL = {"n_fields": 8, "n_members": 1, "max_iter": 5, "readout": "linear", "random_state": 0}


def regressor(**options):
    return ControlledODERegressor(**{**SMALL, **options})


def classifier(**options):
    return ControlledODEClassifier(**{**SMALL, **options})


def transformer(**options):
    return ControlledODETransformer(n_fields=8, max_iter=5, random_state=0, **options)


@pytest.fixture(scope="module")
def table():
    """A frame of many kinds of columns, and targets that need a number, a level and a gap."""
    rng = np.random.default_rng(0)
    n = 240
    size = rng.standard_normal(n)
    colour = rng.choice(["red", "green", "blue"], n)
    gone = rng.random(n) < 0.3
    frame = pd.DataFrame(
        {
            "size": np.where(gone, np.nan, size),
            "colour": colour,
            "town": [f"town {k}" for k in rng.integers(0, 60, n)],
            "open": rng.random(n) < 0.5,
            "day": pd.date_range("2021-03-01", periods=n, freq="29h"),
            "count": rng.integers(0, 9, n),
        }
    )
    y = np.where(gone, 2.0, size) + 2.0 * (colour == "red") + 0.1 * rng.standard_normal(n)
    return frame, y


# -- one column ------------------------------------------------------------------------------------

GAP = None


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pd.Series([1, GAP, 3], dtype="Int64"), [1, np.nan, 3]),
        (pd.Series([1.5, GAP], dtype="Float64"), [1.5, np.nan]),
        (pd.Series([True, GAP, False], dtype="boolean"), [1, np.nan, 0]),
        (pd.Series([1, GAP], dtype="int64[pyarrow]"), [1, np.nan]),
        (pd.Series([True, GAP], dtype="bool[pyarrow]"), [1, np.nan]),
        (pd.Series([timedelta(minutes=2), pd.NaT]), [120, np.nan]),
        (
            pd.Series([1, pd.NA, True, GAP, np.nan, 2.5], dtype=object),
            [1, np.nan, 1, np.nan, np.nan, 2.5],
        ),
        (pd.Series([Decimal("1.5"), GAP], dtype=object), [1.5, np.nan]),
        (pd.Series([time(0, 1), GAP], dtype=object), [60, np.nan]),
        (pd.Series([GAP, GAP], dtype=object), [np.nan, np.nan]),
        (np.array([5, 6], "m8[m]"), [300, 360]),
        (pl.Series([1, GAP, 3]), [1, np.nan, 3]),
        (pl.Series([True, GAP]), [1, np.nan]),
        (pl.Series([timedelta(seconds=3), GAP]), [3, np.nan]),
        (pl.Series([GAP, GAP]), [np.nan, np.nan]),
    ],
)
def test_numbers(column, expected):
    raw = raw_column(column, "c")
    assert raw.kind == "number"
    np.testing.assert_array_equal(raw.values, np.array(expected, float))


@pytest.mark.parametrize(
    "column",
    [
        pd.Series(pd.to_datetime(["1970-01-02 12:00", GAP])),
        pd.Series(pd.to_datetime(["1970-01-02 12:00", GAP])).dt.tz_localize("Asia/Tokyo"),
        pd.Series([datetime(1970, 1, 2, 12), GAP], dtype=object),
        pd.Series([datetime(1970, 1, 2, 12), GAP], dtype="timestamp[us][pyarrow]"),
        np.array(["1970-01-02T12", "NaT"], dtype="M8[h]"),
        pl.Series([datetime(1970, 1, 2, 12), GAP]),
        pl.Series([datetime(1970, 1, 2, 12), GAP]).dt.replace_time_zone("Asia/Tokyo"),
    ],
)
def test_dates_are_what_the_clock_showed(column):
    raw = raw_column(column, "c")
    assert raw.kind == "date"
    np.testing.assert_array_equal(raw.values, [1.5, np.nan])


@pytest.mark.parametrize("unit", ["s", "ms", "us"])
@pytest.mark.parametrize("kind", ["datetime64[{}]", "timestamp[{}][pyarrow]"])
def test_dates_far_from_now_are_dates(kind, unit):
    """Nanoseconds reach from 1677 to 2262."""
    moments = [datetime(1500, 1, 1, 6), datetime(2500, 12, 31, 18), None]
    column = pd.Series(np.array(moments, f"M8[{unit}]")).astype(kind.format(unit))
    expected = [(moment - datetime(1970, 1, 1)) / timedelta(days=1) for moment in moments[:2]]
    raw = raw_column(column, "c")
    assert raw.kind == "date"
    np.testing.assert_array_equal(raw.values, [*expected, np.nan])


def test_durations_of_centuries_are_numbers():
    column = pd.Series(np.array([400 * 365], "m8[D]").astype("m8[s]"))
    assert raw_column(column, "c").values.tolist() == [400 * 365 * 86_400]


def test_a_place_in_the_month_is_the_same_in_each():
    days = np.array(["2023-02-01", "2023-03-01", "2023-02-15", "2023-02-28"], "M8[D]")
    column = DateColumn("day").learn(days.astype(float), None, np.ones(4))
    assert column.cycles == ("year", "month", "week")
    angles = np.arctan2(*column.encode(days.astype(float))[:, 3:5].T) / (2 * np.pi) % 1
    np.testing.assert_allclose(angles, [0, 0, 14 / 28, 27 / 28], atol=1e-12)


def test_integers_beyond_floats_are_named():
    with pytest.raises(ValueError, match="Column 'c' of X contains .* too large"):
        raw_column(np.array([1, 10**400], dtype=object), "c")


def test_columns_of_columns_are_errors():
    for column in (
        pl.Series([[1, 2]] * 3),
        pl.Series([[1, 2]] * 3, dtype=pl.Array(pl.Int64, 2)),
        pl.Series([{"a": 1, "b": "c"}] * 3),
    ):
        with pytest.raises(TypeError, match="Column 'c' of X"):
            raw_column(column, "c")


def test_days_without_hours():
    for column in (
        pl.Series([date(1970, 1, 3), GAP]),
        pd.Series([date(1970, 1, 3), GAP], dtype=object),
        pd.Series([date(1970, 1, 3), GAP], dtype="date32[pyarrow]"),
        pd.Series(pd.PeriodIndex(["1970-01-03", GAP], freq="D")),
    ):
        np.testing.assert_array_equal(raw_column(column, "c").values, [2, np.nan])


@pytest.mark.parametrize(
    "column",
    [
        pd.Series(["b", GAP, "a", "b"]),
        pd.Series(["b", GAP, "a", "b"], dtype="category"),
        pd.Series(["b", GAP, "a", "b"], dtype="string"),
        pd.Series(["b", GAP, "a", "b"], dtype="string[pyarrow]"),
        np.array(["b", np.nan, "a", "b"], dtype=object),
        np.array([b"b", GAP, b"a", "b"], dtype=object),
        pl.Series(["b", GAP, "a", "b"]),
        pl.Series(["b", GAP, "a", "b"], dtype=pl.Categorical),
    ],
)
def test_levels(column):
    raw = raw_column(column, "c")
    assert (raw.kind, raw.levels) == ("levels", ("a", "b"))
    np.testing.assert_array_equal(raw.values, [1, -1, 0, 1])


def test_levels_that_read_the_same_are_one():
    mixed = np.array([1, "1", 1.0, "one", 2.5, True], dtype=object)
    raw = raw_column(mixed, "c")
    assert raw.levels == ("1", "2.5", "True", "one")
    np.testing.assert_array_equal(raw.values, [0, 0, 0, 3, 1, 2])
    numbers = RawColumn("number", np.array([2.0, np.nan, 1.0])).as_levels()
    assert numbers.levels == ("1", "2")
    np.testing.assert_array_equal(numbers.values, [1, -1, 0])


@pytest.mark.parametrize("value", [["list"], {"a": 1}, ("tuple",), np.zeros(2), {1}, object()])
@pytest.mark.parametrize("first", ["text", 1.0])
def test_what_is_no_value_of_a_table(value, first):
    column = np.array([first, None, None], dtype=object)
    column[1] = value
    X = np.column_stack([np.zeros(3, dtype=object), column])
    with pytest.raises(TypeError, match=r"[Cc]olumn 'x1'"):
        regressor().fit(X, [0.0, 1.0, 2.0])


# -- the statistic of a level ----------------------------------------------------------------------


def test_statistic_is_that_of_target_encoder_for_the_same_shrinkage(monkeypatch):
    rng = np.random.default_rng(0)
    codes, y = rng.integers(0, 30, 400), rng.standard_normal(400)
    encoder = TargetEncoder(target_type="continuous", smooth=7.0).fit(codes[:, None], y)
    monkeypatch.setattr("skcode.columns._statistic._shrinkage", lambda *args: np.full(1, 7.0))
    ours = statistic(codes, 30, y[:, None], np.ones(400))[:, 0]
    np.testing.assert_allclose(ours, encoder.encodings_[0], rtol=1e-12)


def test_shrinkage_finds_the_ratio_of_the_variances():
    """k = 4 for levels with a deviation of 1 and noise of 2."""
    rng = np.random.default_rng(0)
    codes = np.repeat(np.arange(400), 10)
    y = rng.standard_normal(400)[codes] + 2.0 * rng.standard_normal(4000)
    levels = np.bincount(codes, y - y.mean()) / 10
    ours = statistic(codes, 400, y[:, None], np.ones(4000))[:, 0] - y.mean()
    np.testing.assert_allclose(ours, levels * 10 / 14, rtol=0.1)


def test_a_row_does_not_see_its_own_output():
    rng = np.random.default_rng(0)
    codes, y = rng.integers(0, 20, 200), rng.standard_normal((200, 1))
    other = y.copy()
    other[7] += 100
    one, two = (
        cross_fitted(codes, 20, outputs - outputs.mean(), np.ones(200)) for outputs in (y, other)
    )
    # only the mean of all rows, which levels are shrunk to, can tell of it
    assert abs(one[7] - two[7]) < 100 / 200 + 1e-9


def test_levels_of_one_row_get_a_constant():
    y = np.random.default_rng(0).standard_normal((50, 1))
    values = cross_fitted(np.arange(50), 50, y, np.ones(50))
    np.testing.assert_allclose(values, y.mean(), atol=1e-12)


# -- tables of all libraries -----------------------------------------------------------------------


def as_polars(frame):
    return pl.DataFrame({name: frame[name].to_list() for name in frame})


def as_categories(frame):
    return frame.astype({"colour": "category", "town": "category", "open": "boolean"})


def as_arrow_types(frame):
    return frame.convert_dtypes(dtype_backend="pyarrow")


def as_arrow_table(frame):
    return pytest.importorskip("pyarrow").Table.from_pandas(frame)


def as_objects(frame):
    return frame.astype(object)


@pytest.mark.parametrize(
    "form", [as_polars, as_categories, as_arrow_types, as_arrow_table, as_objects]
)
@pytest.mark.parametrize("make", [regressor, classifier, transformer])
def test_the_same_table_gives_the_same_model(table, form, make):
    frame, y = table
    y = y > 1 if make is classifier else y
    expected = make().fit(frame, y)
    model = make().fit(form(frame), y)
    predict = "transform" if make is transformer else "predict"
    reference = getattr(expected, predict)(frame)
    for X in (frame, form(frame)):
        np.testing.assert_allclose(getattr(model, predict)(X), reference, rtol=1e-9, atol=1e-9)


def test_an_array_of_objects(table):
    frame, y = table
    model = regressor().fit(frame.to_numpy(dtype=object), y)
    np.testing.assert_allclose(
        model.predict(frame.to_numpy(dtype=object)),
        regressor().fit(frame, y).predict(frame),
        rtol=1e-9,
    )
    assert list(model.encoder_.names[:2]) == ["x0", "x1"]
    rows = [["a", 1.0], ["b", None], ["a", 2.0], ["b", 5.0]]
    assert np.isfinite(regressor().fit(rows, [1.0, 2.0, 3.0, 4.0]).predict(rows)).all()


def test_levels_declared_and_not_there_change_nothing(table):
    frame, y = table
    more = frame.assign(colour=pd.Categorical(frame.colour, ["red", "pink", "blue", "green"]))
    np.testing.assert_array_equal(
        regressor().fit(more, y).predict(frame), regressor().fit(frame, y).predict(frame)
    )


def test_plain_numbers_stay_as_they_are(table):
    X = np.random.default_rng(0).standard_normal((60, 3))
    model = regressor().fit(X, X[:, 0])
    assert model.encoder_.columns is None
    frame = pd.DataFrame(X, columns=list("abc")).convert_dtypes()
    np.testing.assert_array_equal(regressor().fit(frame, X[:, 0]).predict(frame), model.predict(X))


# -- gaps ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["C", "F"])
def test_only_missingness_predicts(order):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 3))
    gone = rng.random(200) < 0.4
    X[gone, 1] = np.nan
    X = np.asarray(X, order=order)
    X.flags.writeable = False
    assert classifier().fit(X[:100], gone[:100]).score(X[100:], gone[100:]) == 1.0
    model = regressor().fit(X[:100], gone[:100].astype(float))
    assert model.score(X[100:], gone[100:]) > 0.95
    assert model.feature_importances_.argmax() == 1
    assert model.feature_importances_.shape == (3,)
    assert model.encoder_.get_feature_names_out().tolist() == ["x0", "x1", "x1 missing", "x2"]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_gap_in_rows_to_predict_is_the_median(dtype):
    X = np.random.default_rng(0).standard_normal((61, 3)).astype(dtype)
    model = regressor().fit(X, X[:, 0])
    gap, median = X.copy(), X.copy()
    gap[:, 1], median[:, 1] = np.nan, np.median(X[:, 1])
    np.testing.assert_array_equal(model.predict(gap), model.predict(median))
    assert model.predict(gap).dtype == dtype
    assert regressor().fit(gap, X[:, 0]).predict(gap).dtype == dtype


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64, object])
def test_what_is_masked_is_missing(dtype):
    rng = np.random.default_rng(0)
    X = rng.integers(0, 9, (60, 2)).astype(dtype)
    gone = rng.random((60, 2)) < 0.3
    masked, gaps = np.ma.masked_array(X, gone), X.astype(np.result_type(dtype, np.float32))
    gaps[gone] = np.nan
    model, expected = regressor().fit(masked, X[:, 0]), regressor().fit(gaps, X[:, 0])
    assert "x1 missing" in model.encoder_.get_feature_names_out()
    np.testing.assert_array_equal(model.predict(masked), expected.predict(gaps))


def test_a_column_that_is_missing_in_predict_alone(table):
    frame, y = table
    model = regressor().fit(frame, y)
    for name in ("size", "colour", "town", "open", "day", "count"):
        nothing = [model.predict(frame.assign(**{name: gap})) for gap in (None, np.nan, pd.NA)]
        assert np.isfinite(nothing[0]).all()
        for other in nothing[1:]:
            np.testing.assert_array_equal(other, nothing[0])


def test_what_is_given_is_not_written_to(table):
    frame, y = table
    before = frame.copy(deep=True)
    regressor().fit(frame, y).predict(frame)
    pd.testing.assert_frame_equal(frame, before)
    X = np.where(np.random.default_rng(0).random((60, 2)) < 0.3, np.nan, 1.5)
    kept = X.copy()
    regressor().fit(X, y[:60]).predict(X)
    np.testing.assert_array_equal(X, kept)


def test_a_column_without_values_is_left_out(table):
    frame, y = table
    model = regressor().fit(frame.assign(nothing=np.nan, none=None), y)
    assert model.n_features_in_ == 8
    assert model.feature_importances_[6:].tolist() == [0, 0]
    assert model.encoder_.get_feature_names_out()[-1] == "count"
    np.testing.assert_array_equal(
        model.predict(frame.assign(nothing=1.0, none=GAP)),
        model.predict(frame.assign(nothing=GAP, none=2)),
    )
    empty = np.full((20, 2), np.nan)
    np.testing.assert_allclose(
        regressor().fit(empty, y[:20]).predict(empty), y[:20].mean(), atol=0.5
    )


def test_weights_are_repetition(table):
    frame, y = table
    count = np.random.default_rng(0).integers(0, 3, len(y))
    for make in (regressor, classifier):
        target = y > 1 if make is classifier else y
        weighted = make().fit(frame, target, sample_weight=count)
        rows = np.random.default_rng(1).permutation(np.repeat(np.arange(len(y)), count))
        repeated = make().fit(frame.iloc[rows], target[rows])
        np.testing.assert_array_equal(weighted.predict(frame), repeated.predict(frame))


def test_keys_of_rows_do_not_tell_one_nan_from_another():
    X = np.array([[np.nan, 0.0], [-np.nan, -0.0]])
    assert len(set(row_keys(X))) == 1


def test_heavy_tailed_numbers_have_ranks_beside_them():
    """Mostly zeros, and the rest over orders of magnitude: height above the ground, say."""
    rng = np.random.default_rng(0)
    values = np.where(rng.random(1000) < 0.5, 0.0, 10 ** rng.uniform(0, 5, 1000))
    values[::7] = np.nan
    column = NumberColumn("height").learn(values, None, np.ones(1000))
    assert column.labels == ["height", "height rank", "height missing", "height=0"]
    value, rank, missing, zero = column.encode(values).T
    known = ~np.isnan(values)
    np.testing.assert_array_equal(value[known], values[known])
    np.testing.assert_array_equal(value[~known], column.median)
    expected = rankdata(values[known]) / known.sum()
    np.testing.assert_allclose(rank[known], expected, atol=0.01)
    np.testing.assert_array_equal(missing, ~known)
    np.testing.assert_array_equal(zero, values == 0)
    # beyond the training rows ranks end
    np.testing.assert_array_equal(column.encode(np.array([-1e9, 1e9]))[:, 1], column.ranks[[0, -1]])
    twice = np.random.default_rng(1).integers(0, 3, 1000)
    weighted = NumberColumn("height").learn(values, None, twice.astype(float))
    repeated = NumberColumn("height").learn(np.repeat(values, twice), None, np.ones(twice.sum()))
    np.testing.assert_array_equal(weighted.encode(values), repeated.encode(values))


@pytest.mark.parametrize("values", [np.arange(20.0) ** 9, np.linspace(-1, 1, 500) ** 3])
def test_numbers_of_few_values_or_short_tails_stay_as_they_are(values):
    column = NumberColumn("size").learn(values, None, np.ones(len(values)))
    np.testing.assert_array_equal(column.encode(values), values[:, None])


# -- categories ------------------------------------------------------------------------------------


def test_levels_that_are_rare_or_new(table):
    frame, y = table
    rare = frame.assign(
        colour=np.where(np.arange(len(y)) < 2, ["teal", "mint"] * 120, frame.colour)
    )
    model = regressor().fit(rare, y)
    names = model.encoder_.get_feature_names_out().tolist()
    assert "colour other" in names
    assert not {"colour=teal", "colour=mint"} & set(names)
    new, known = (rare.assign(colour=level) for level in ("lilac", "teal"))
    np.testing.assert_array_equal(model.predict(new), model.predict(known))
    # without rare levels what is new is as the mean of all rows
    model = regressor().fit(frame, y)
    places = model.predict(frame.assign(colour="lilac")).mean()
    assert model.predict(frame.assign(colour="blue")).mean() < places
    assert places < model.predict(frame.assign(colour="red")).mean()


def test_frames_whose_categories_differ(table):
    frame, y = table
    model = regressor().fit(as_categories(frame), y)
    rows = (frame.colour != "green").to_numpy()
    some = frame[rows].assign(colour=pd.Categorical(frame.colour[rows], ["blue", "white", "red"]))
    np.testing.assert_allclose(model.predict(some), model.predict(frame)[rows], rtol=1e-9)


@pytest.mark.parametrize("make", [regressor, classifier])
def test_ten_thousand_levels(make):
    rng = np.random.default_rng(0)
    effect = rng.standard_normal(10_000)
    ids = rng.integers(0, 10_000, 600)
    ids[:300] = rng.integers(0, 50, 300)
    X = np.column_stack([ids.astype(str), np.arange(600)]).astype(object)
    target = effect[ids] if make is regressor else effect[ids] > 0
    model = make(categorical_features=[0]).fit(X, target)
    assert len(model.encoder_.get_feature_names_out()) <= 67
    seen = X[:300]
    assert model.score(seen, target[:300]) > 0.6


def test_random_identifiers_leak_nothing():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.standard_normal(240), "id": rng.permutation(240).astype(str)})
    frame["pair"] = [f"p{k // 2}" for k in rng.permutation(240)]
    y = frame.x.to_numpy() + rng.standard_normal(240)
    with_ids = cross_val_score(regressor(), frame, y, cv=4).mean()
    without = cross_val_score(regressor(), frame[["x"]], y, cv=4).mean()
    assert with_ids > without - 0.1
    model = regressor().fit(frame, y)
    assert model.score(frame, y) < 0.75
    assert model.feature_importances_.argmax() == 0


def test_ordered_categories_keep_their_order():
    sizes = ["small", "medium", "large", "huge"]
    rng = np.random.default_rng(0)
    code = rng.integers(0, 4, 120)
    column = pd.Categorical.from_codes(code, sizes, ordered=True)
    model = regressor(max_iter=15).fit(pd.DataFrame({"s": column}), code.astype(float))
    assert model.encoder_.get_feature_names_out().tolist() == ["s"]
    text = pd.DataFrame({"s": sizes})
    assert np.all(np.diff(model.predict(text)) > 0.5)


def test_categorical_features(table):
    frame, y = table
    names = regressor(categorical_features=["count", "colour", "town"]).fit(frame, y).encoder_
    assert "count=3" in names.get_feature_names_out()
    mask = np.isin(frame.columns, ["count", "colour", "town"])
    for chosen in (mask, np.flatnonzero(mask), mask.tolist()):
        model = regressor(categorical_features=chosen).fit(frame, y)
        assert (
            model.encoder_.get_feature_names_out().tolist()
            == names.get_feature_names_out().tolist()
        )
    X = frame[["count", "open"]].to_numpy(float)
    model = regressor(categorical_features=[0], readout="gaussian_process").fit(X, y)
    assert "x0=3" in model.encoder_.get_feature_names_out()
    np.testing.assert_array_equal(model.predict(X.astype(int)), model.predict(X))
    for chosen, match in [
        (["hue"], "hue"),
        ([6], "categorical_features"),
        ([True], "mask"),
        ([[0]], "categorical_features"),
        ("colour", "categorical_features"),
        (["count", "colour"], "Column 'town'"),
        (None, "Column 'colour'"),
    ]:
        with pytest.raises(ValueError, match=match):
            regressor(categorical_features=chosen).fit(frame, y)
    with pytest.raises(ValueError, match="names"):
        regressor(categorical_features=["count"]).fit(X, y)


def test_many_classes_have_few_statistics():
    rng = np.random.default_rng(0)
    town = rng.integers(0, 45, 240)
    frame = pd.DataFrame({"town": town.astype(str)})
    model = classifier().fit(frame, town % 12)
    assert sum("statistic" in name for name in model.encoder_.get_feature_names_out()) == 8


# -- dates -----------------------------------------------------------------------------------------


def test_days_to_come_go_on_where_those_of_the_fit_end():
    """Dates are never ranked, however far some of them lie."""
    days = np.r_[np.arange(80), 1000.0 * np.arange(1, 21)]
    assert len(NumberColumn("count").learn(days, None, np.ones(100)).knots)
    column = DateColumn("when").learn(days, None, np.ones(100))
    assert np.diff(column.encode(np.array([0.0, 1e6]))[:, 0]) == 1e6


def test_dates_have_parts():
    days = pd.date_range("2020-01-01", periods=250, freq="31h")
    frame = pd.DataFrame({"day": days})
    y = np.asarray(days.day_of_week >= 5)
    model = classifier(n_fields=16, max_iter=15).fit(frame[:200], y[:200])
    assert model.score(frame[200:], y[200:]) > 0.9
    assert [str(name) for name in model.encoder_.get_feature_names_out()] == [
        "day",
        *(
            f"day {part} of {cycle}"
            for cycle in ("year", "month", "week", "day")
            for part in ("sin", "cos")
        ),
    ]
    midnight = pd.DataFrame({"day": days.normalize()})
    assert len(classifier().fit(midnight, y).encoder_.get_feature_names_out()) == 7
    gap = midnight.assign(day=midnight.day.where(np.arange(250) % 3 > 0))
    assert "day missing" in classifier().fit(gap, y).encoder_.get_feature_names_out()


# -- sparse matrices -------------------------------------------------------------------------------


def texts(n):
    rng = np.random.default_rng(0)
    topic = rng.integers(0, 2, n)
    words = [
        " ".join(
            f"w{k}"
            for k in np.r_[rng.integers(0, 300, 15), 300 + 100 * t + rng.integers(0, 100, 15)]
        )
        for t in topic
    ]
    return words, topic


@pytest.mark.parametrize("kind", ["csr", "csc"])
def test_tfidf(kind):
    words, topic = texts(200)
    X = TfidfVectorizer().fit_transform(words)
    assert X.shape[1] > 128
    model = classifier().fit(X[:120].asformat(kind), topic[:120])
    assert model.score(X[120:].asformat(kind), topic[120:]) > 0.9
    assert model.n_features_in_ == X.shape[1]
    assert model.feature_importances_.shape == (X.shape[1],)
    np.testing.assert_allclose(model.feature_importances_.sum(), 1)
    np.testing.assert_allclose(model.predict_proba(X.toarray()), model.predict_proba(X), atol=1e-9)
    pipeline = make_pipeline(TfidfVectorizer(), classifier()).fit(words[:120], topic[:120])
    assert pipeline.score(words[120:], topic[120:]) > 0.9


def test_few_sparse_columns_are_what_dense_ones_are(table):
    frame, y = table
    X = OneHotEncoder().fit_transform(frame[["colour", "town"]])
    assert X.shape[1] < 128
    sparse_model, dense = regressor().fit(X, y), regressor().fit(X.toarray(), y)
    np.testing.assert_array_equal(sparse_model.predict(X.tocsc()), dense.predict(X.toarray()))


def test_a_hundred_thousand_columns():
    X = sparse.random(150, 100_000, 1e-3, "csr", random_state=0)
    y = np.asarray(X[:, :50_000].sum(axis=1)).ravel()
    count = np.arange(150) % 3
    rows = np.random.default_rng(0).permutation(np.repeat(np.arange(150), count))
    weighted = regressor().fit(X, y, sample_weight=count)
    repeated = regressor().fit(X[rows], y[rows])
    np.testing.assert_array_equal(weighted.predict(X), repeated.predict(X))
    assert weighted.feature_importances_.shape == (100_000,)


@pytest.mark.parametrize("shape", [(50, 300), (300, 140), (98, 200), (3, 400)])
def test_directions_are_singular_vectors(shape):
    X = sparse.random(*shape, 0.2, "csr", random_state=0)
    weight = np.random.default_rng(0).uniform(0.5, 2, shape[0])
    projection = SparseProjection.learn(X, weight, 96)
    _, expected, _ = np.linalg.svd(
        np.sqrt(weight / weight.sum())[:, None] * X.toarray(), full_matrices=False
    )
    np.testing.assert_allclose(projection.coordinate_sizes, expected[:96], rtol=1e-8)
    V = projection.directions
    np.testing.assert_allclose(V.T @ V, np.eye(V.shape[1]), atol=1e-10)
    squares = weight / weight.sum() @ projection.encode(X) ** 2
    np.testing.assert_allclose(np.sqrt(squares), expected[:96], rtol=1e-8)


def test_keys_of_sparse_rows():
    X = sparse.csr_array(np.array([[0, 1.0, 2.0], [0, 2.0, 1.0], [0, 1.0, 2.0], [0, 0, 0]]))
    # an entry of zero is no entry, and the order of entries does not count
    same = sparse.csr_array(
        (np.array([2.0, 0.0, 1.0]), np.array([2, 0, 1]), np.array([0, 3])), (1, 3)
    )
    keys, key = sparse_row_keys(X), sparse_row_keys(same)
    assert keys[0] == keys[2] == key[0]
    assert len({*keys}) == 3


def test_errors_of_sparse_matrices():
    X = sparse.random(60, 200, 0.1, "csr", random_state=0)
    y = np.arange(60.0)
    model = regressor().fit(X, y)
    for bad, match in ((np.nan, "NaN in column 'x"), (np.inf, "infinity in column 'x")):
        wrong = X.copy()
        wrong.data[5] = bad
        for use in (
            lambda Z: regressor().fit(Z, y),
            model.predict,
            lambda Z: model.predict(Z.toarray()),
        ):
            with pytest.raises(ValueError, match=match):
                use(wrong)
    with pytest.raises(ValueError, match="categorical_features"):
        regressor(categorical_features=[0]).fit(X, y)


# -- errors ----------------------------------------------------------------------------------------


def test_errors_name_the_column(table):
    frame, y = table
    model = regressor().fit(frame, y)
    infinite = frame.assign(size=np.where(np.arange(len(y)) == 3, np.inf, frame["size"]))
    for use in (lambda Z: regressor().fit(Z, y), model.predict):
        with pytest.raises(ValueError, match=r"infinity .* column 'size'"):
            use(infinite)
    with pytest.raises(ValueError, match="Column 'size'.*text"):
        model.predict(frame.assign(size="large"))
    with pytest.raises(TypeError, match="Column 'size'.*dates"):
        model.predict(frame.assign(size=frame.day))
    with pytest.raises(TypeError, match="Column 'day'.*numbers"):
        model.predict(frame.assign(day=1.0))
    with pytest.raises(ValueError, match="feature"):
        model.predict(frame[["size"]])
    with pytest.raises(TypeError, match="Column 'colour'.*list"):
        regressor().fit(frame.assign(colour=[["red"]] * len(y)), y)


@pytest.mark.parametrize("make", [regressor, classifier])
def test_gaps_in_targets(table, make):
    frame, _ = table
    y = np.arange(len(frame)) % 3
    gone = np.arange(len(frame)) == 4
    for target in (
        np.where(gone, np.nan, y),
        pd.Series(y).astype("Int64").mask(gone),
        pl.Series(y).to_frame("y").select(pl.when(pl.Series(~gone)).then(pl.col("y")))["y"],
    ):
        with pytest.raises(ValueError, match="y contains NaN|y"):
            make().fit(frame, target)


@pytest.mark.parametrize(
    ("make", "y", "error", "match"),
    [
        (classifier, np.array(["a", None] * 20, dtype=object), ValueError, "y contains NaN"),
        (classifier, ["a", None] * 20, ValueError, "y contains NaN"),
        (classifier, pd.Series(["a", pd.NA] * 20, dtype=object), ValueError, "y contains NaN"),
        (classifier, np.array(["a", 1] * 20, dtype=object), TypeError, "text beside other"),
        (regressor, np.ma.masked_equal(np.arange(40.0), 3.0), ValueError, "y contains NaN"),
        (regressor, pd.date_range("2021", periods=40), TypeError, "choose a unit"),
        (regressor, np.arange(40).astype("m8[h]"), TypeError, "choose a unit"),
    ],
)
def test_targets_that_are_none(make, y, error, match):
    with pytest.raises(error, match=match):
        make().fit(np.arange(40.0)[:, None], y)


def test_lazy_frames_are_to_be_collected():
    lazy = pl.DataFrame({"x": [1.0, 2.0]}).lazy()
    with pytest.raises(TypeError, match="collect"):
        regressor().fit(lazy, [1.0, 2.0])


def test_a_failed_fit_keeps_the_encoder(table):
    frame, y = table
    model = regressor().fit(frame, y)
    before = model.predict(frame)
    with pytest.raises(ValueError, match="y contains NaN"):
        model.fit(frame[["size"]], np.where(y > 1, np.nan, y))
    np.testing.assert_array_equal(model.predict(frame), before)


# -- the life of a model ---------------------------------------------------------------------------


def test_tags():
    for make in (regressor, classifier, transformer):
        tags = get_tags(make()).input_tags
        assert tags.allow_nan
        assert tags.sparse
        assert tags.categorical


def test_a_noise_category_counts_less_than_a_number_that_matters_a_little():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(
        {
            "much": rng.standard_normal(300),
            "little": rng.standard_normal(300),
            "noise": rng.choice(list("abcdefghijkl"), 300),
        }
    )
    y = 3 * X["much"] + X["little"] + rng.standard_normal(300)
    model = ControlledODERegressor(n_members=2, random_state=0).fit(X, y)
    assert np.argsort(model.feature_importances_).tolist() == [2, 1, 0]


def test_names_and_importances_are_of_the_columns(table):
    frame, y = table
    model = regressor().fit(frame, y)
    assert model.feature_names_in_.tolist() == list(frame)
    assert model.feature_importances_.shape == (6,)
    np.testing.assert_allclose(model.feature_importances_.sum(), 1)
    assert set(np.argsort(-model.feature_importances_)[:2]) == {0, 1}


def test_models_travel(table):
    frame, y = table
    for X in (frame, sparse.random(len(y), 200, 0.1, "csr", random_state=0)):
        model = regressor().fit(X, y)
        np.testing.assert_array_equal(
            pickle.loads(pickle.dumps(model)).predict(X), model.predict(X)
        )
        sio = pytest.importorskip("skops.io")
        loaded = sio.loads(sio.dumps(model), trusted=["skcode.ControlledODERegressor"])
        np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
    assert clone(regressor(categorical_features=["colour"])).categorical_features == ["colour"]


def test_searches_and_output(table):
    frame, y = table
    search = GridSearchCV(
        regressor(), {"categorical_features": ["from_dtype", ["colour", "town"]]}, cv=2
    )
    assert search.fit(frame, y).best_score_ > 0.5
    out = transformer().set_output(transform="pandas").fit_transform(frame)
    assert len(out) == len(y)
    assert out.index.equals(frame.index)


def test_the_transformer_counts_levels_where_it_has_no_targets(table):
    frame, y = table
    names = transformer().fit(frame).encoder_.get_feature_names_out()
    assert "town frequency" in names
    assert "town statistic 0" in transformer().fit(frame, y).encoder_.get_feature_names_out()


def test_batches(table):
    frame, y = table
    model = regressor(solver=Adam(batch_size=32))
    for rows in (slice(0, 120), slice(120, 240)):
        model.partial_fit(frame[rows], y[rows])
    levels = model.encoder_.columns[1].levels
    model.partial_fit(frame[:30].assign(colour="violet"), y[:30])
    assert model.encoder_.columns[1].levels == levels
    assert np.isfinite(model.predict(frame)).all()


def test_columns_may_be_learnt_from_more_rows_than_told_what_they_are():
    """As in a stream, whose first batch says what the columns are, and waits for more rows."""
    first = raw_column(np.array(["a", "b"]), "c")
    column = CategoryColumn("c", first.levels)
    values = column.read(raw_column(np.repeat(["a", "b", "d"], 4), "c"))
    learnt = column.learn(values, None, np.ones(12))
    assert learnt.labels == ["c=a", "c=b", "c new"]
    np.testing.assert_array_equal(learnt.encode(values), np.repeat(np.eye(3), 4, axis=0))
    X = np.arange(6.0)[:, None]
    encoder = ColumnEncoder.of_numbers(X, ["x0"])
    X[4:] = np.nan
    encoder = encoder.learn(X, None, np.ones(6))
    np.testing.assert_array_equal(encoder.encode(X[3:]), [[3, 0], [1, 1], [1, 1]])


def test_warm_starts(table):
    frame, y = table
    model = regressor(warm_start=True).fit(frame, y)
    encoder = model.encoder_
    model.fit(frame, y)
    assert model.encoder_ is encoder
    with pytest.raises(ValueError, match="categorical_features"):
        model.set_params(categorical_features=None).fit(frame, y)


def test_validation_sets(table):
    frame, y = table
    model = regressor(solver=Adam(batch_size=32))
    model.fit(frame[:160], y[:160], X_val=frame[160:], y_val=y[160:])
    assert len(model.validation_loss_curve_) == model.n_iter_
    stopped = regressor(early_stopping=True, validation_fraction=0.2).fit(frame, y)
    assert np.isfinite(stopped.best_validation_score_)


def test_large_and_skewed_targets_need_no_preparation(table):
    frame, y = table
    frame = frame.drop(columns="town")
    large, plain = (regressor(max_iter=15).fit(frame, size * y) for size in (1e9, 1.0))
    np.testing.assert_allclose(large.predict(frame), 1e9 * plain.predict(frame), rtol=1e-5)
    skewed = regressor(max_iter=15, readout="auto").fit(frame, np.exp(2 * y))
    assert skewed.score(frame, np.exp(2 * y)) > 0.7


@pytest.mark.parametrize("gaps", [False, True])
def test_one_column_for_each_level_says_the_same_as_text(gaps):
    """Numbers agree to rounding: rows have the same order, whatever the levels are called."""
    rng = np.random.default_rng(0)
    levels, sizes = rng.choice(["a", "b", "c", "d"], 120), rng.standard_normal((120, 2))
    y = sizes[:, 0] * (levels == "a") + (levels == "b") + 0.1 * rng.standard_normal(120)
    if gaps:
        sizes[::9, 1] = np.nan
    text = pd.DataFrame({"x": sizes[:, 0], "level": levels, "z": sizes[:, 1]})
    indicators = levels[:, None] == np.array(["a", "b", "c", "d"])
    numbers = np.column_stack([sizes[:, 0], indicators, sizes[:, 1]])
    predictions = [
        ControlledODERegressor(n_members=1, max_iter=2, random_state=0).fit(X, y).predict(X)
        for X in (text, numbers)
    ]
    np.testing.assert_allclose(*predictions, atol=1e-6)
