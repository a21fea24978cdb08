"""The input map, and the weighted statistics that it is made of."""

import numpy as np
import pytest
from sklearn.datasets import make_friedman1

from skcode import ControlledODEClassifier, ControlledODERegressor, ControlledODETransformer
from skcode.inputs import (
    SCALINGS,
    Asinh,
    Bound,
    InputMap,
    _screening,
    telling_columns,
    weighted_moments,
    weighted_quantiles,
)

RNG = np.random.default_rng(0)
X = RNG.standard_normal((40, 3)) * [1.0, 10.0, 0.1] + [0.0, 5.0, -2.0]
COUNTS = RNG.integers(1, 5, len(X))
REPEATED = np.repeat(X, COUNTS, axis=0)
LEVELS = [0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0]
every_scaling = pytest.mark.parametrize("scaling", SCALINGS)


def fit(X, scaling, weight=None, n_states=None):
    weight = np.ones(len(X)) if weight is None else weight
    return InputMap.fit(X, weight, n_states or X.shape[1], scaling)


def test_weighted_moments_are_numpys_and_weights_repeat_rows(monkeypatch):
    mean, deviation = weighted_moments(X, COUNTS * 1.0)
    np.testing.assert_allclose(mean, REPEATED.mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(deviation, REPEATED.std(axis=0), rtol=1e-13)
    monkeypatch.setattr("skcode.inputs._scaling._CHUNK_ENTRIES", 21)
    np.testing.assert_allclose(weighted_moments(X, COUNTS * 1.0), (mean, deviation), rtol=1e-13)


def test_weighted_quantiles_are_numpys_and_weights_repeat_rows():
    ones = np.ones(len(X))
    exact = np.quantile(X, LEVELS, axis=0, method="inverted_cdf")
    np.testing.assert_array_equal(weighted_quantiles(X, ones, LEVELS), exact)
    exact = np.quantile(REPEATED, LEVELS, axis=0, method="inverted_cdf")
    np.testing.assert_array_equal(weighted_quantiles(X, COUNTS * 1.0, LEVELS), exact)
    # a factor on all weights is no matter, and neither is its rounding
    np.testing.assert_array_equal(weighted_quantiles(X, 0.1 * COUNTS, LEVELS), exact)


@every_scaling
def test_weights_repeat_rows(scaling):
    weighted, repeated = fit(X, scaling, COUNTS * 1.0), fit(REPEATED, scaling)
    np.testing.assert_allclose(weighted.center, repeated.center, rtol=1e-13)
    np.testing.assert_allclose(weighted.gain, repeated.gain, rtol=1e-13)


def test_standard_scaling_gives_zero_mean_and_unit_variance():
    z = fit(X, "standard")(X)
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=1e-13)
    np.testing.assert_allclose(z.std(axis=0), 1, rtol=1e-13)


def test_robust_scaling_reads_median_and_quartiles():
    normal = np.random.default_rng(1).standard_normal((4001, 1))
    plain = fit(normal, "robust")
    low, median, high = np.quantile(normal, [0.25, 0.5, 0.75], method="inverted_cdf")
    np.testing.assert_allclose(plain.center, median)
    np.testing.assert_allclose(plain.gain, 1.349 / (high - low))
    # 1.349 is the interquartile range of the standard normal law
    np.testing.assert_allclose(plain.gain, 1, rtol=0.05)
    dirty = normal.copy()
    dirty[:40] = 1e6
    np.testing.assert_allclose(fit(dirty, "robust").gain, plain.gain, rtol=0.05)


def test_columns_of_two_values_are_standardised_by_moments():
    X = np.array([[0.0, 7.0], [0, 7], [0, 7], [0, 9], [1, 7]])
    robust, standard = fit(X, "robust"), fit(X, "standard")
    np.testing.assert_allclose(robust.center, standard.center)
    np.testing.assert_allclose(robust.gain, standard.gain)


def test_columns_with_one_prevailing_value_keep_their_rare_ones():
    column = np.zeros((100, 1))
    column[:10, 0] = np.arange(10)
    assert fit(column, "robust").gain == fit(column, "standard").gain > 0


@pytest.mark.parametrize("fill", [1e11, 9.96921e36, -1e300])
def test_one_huge_number_does_not_erase_its_column(fill):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 2))
    center, gain = SCALINGS["robust"].learn(X, np.ones(60))
    X[3, 0] = fill
    near, other = SCALINGS["robust"].learn(X, np.ones(60))
    np.testing.assert_allclose(near, center, atol=0.2)
    np.testing.assert_allclose(other, gain, rtol=0.2)


def test_common_scaling_has_one_mean_and_one_deviation():
    images = np.random.default_rng(0).normal(3.0, 2.0, (50, 4)) * [1, 2, 0, 1]
    scaled = fit(images, "common").scaled(images)
    assert abs(scaled.mean()) < 1e-12
    assert abs(scaled.std() - 1) < 1e-12
    np.testing.assert_allclose(scaled * images.std() + images.mean(), images, atol=1e-12)
    as_bytes = images.clip(0, 255).astype(np.uint8)
    assert fit(as_bytes, "common")(as_bytes).dtype == np.float32


@pytest.mark.parametrize("value", [0.0, 0.1, -3.0, 1e8, 1e-8, 1e300])
@pytest.mark.parametrize("scaling", ["standard", "robust"])
def test_constant_columns_become_zero(scaling, value):
    X = np.full((1000, 1), value)
    input_map = fit(X, scaling)
    assert input_map.gain == 0
    np.testing.assert_array_equal(input_map(np.append(X[:2], [[value + 1]], axis=0)), 0)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@every_scaling
def test_huge_offsets_and_units_are_removed(scaling, dtype):
    base = (np.arange(-50, 50)[:, None] * 64).astype(dtype)
    plain, moved = fit(base, scaling), fit(base + np.float32(2**27), scaling)
    if scaling is not None:
        np.testing.assert_allclose(
            moved(base + np.float32(2**27)), plain(base), rtol=1e-5, atol=1e-6
        )
        large = fit(base * 2**20, scaling)
        np.testing.assert_allclose(large(base * 2**20), plain(base), rtol=1e-6)
    else:
        np.testing.assert_array_equal(plain(base), base)


@every_scaling
def test_the_state_is_augmented_by_zeros_in_the_dtype_of_the_data(scaling):
    for dtype in (np.float32, np.float64):
        states = fit(X.astype(dtype), scaling, n_states=5)(X.astype(dtype))
        assert states.shape == (len(X), 5)
        assert states.dtype == dtype
        assert states.T.flags.c_contiguous
        np.testing.assert_array_equal(states[:, 3:], 0)
        assert np.all(np.ptp(states[:, :3], axis=0) > 0.1 * (scaling != "common"))


@pytest.mark.parametrize("squash", [Bound(3.0), Asinh(2.0)])
def test_squashed_numbers_are_odd_and_rise_and_come_back(squash):
    z = np.linspace(-50, 50, 1001)
    squashed = squash(z.copy())
    np.testing.assert_allclose(squashed, -squashed[::-1])
    assert np.all(np.diff(squashed) > 0)
    np.testing.assert_allclose(squash.inverse(squashed), z, rtol=1e-10, atol=1e-13)
    step = 1e-6
    slope = (squash(z + step) - squash(z - step)) / (2 * step)
    np.testing.assert_allclose(squash.slope(z), slope, atol=1e-8)
    np.testing.assert_allclose(squash.slope(np.zeros(1)), 1)
    far = squash(np.array([-np.inf, -1e200, 1e200, np.inf]))
    assert np.isfinite(far).all()
    assert np.isfinite(squash.inverse(far)).all()


def test_the_state_carries_squashed_inputs():
    z = np.linspace(-50, 50, 1001)[:, None]
    bound = InputMap(np.zeros(1), np.ones(1), 1, squash=Bound(3.0))(z)
    np.testing.assert_allclose(bound, z / np.sqrt(1 + (z / 3) ** 2), rtol=1e-13)
    assert np.abs(bound).max() < 3
    grown = InputMap(np.zeros(1), np.ones(1), 1, squash=Asinh(2.0))(z)
    np.testing.assert_allclose(grown, 2 * np.arcsinh(z / 2), rtol=1e-13)
    # up to two deviations both are the same, but for a tenth
    near = np.abs(z) < 2
    np.testing.assert_allclose(grown[near], bound[near], rtol=0.1)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("gain", [1.0, 1e6])
def test_no_finite_input_escapes_the_bound(dtype, gain):
    largest = np.finfo(dtype).max
    input_map = InputMap(np.zeros(1, dtype), np.full(1, gain, dtype), 1, squash=Bound(3.0))
    states = input_map(np.array([[-largest], [-1e30], [1e30], [largest]], dtype))
    np.testing.assert_allclose(states[:, 0], [-3, -3, 3, 3], rtol=1e-6)


def test_inputs_that_are_scaled_already_pass_unchanged():
    input_map = fit(X, "robust", n_states=4)
    again = input_map.identity()
    assert again.is_identity
    assert not input_map.is_identity
    np.testing.assert_array_equal(again(input_map.scaled(X)), input_map(X))
    assert input_map.astype(np.float32)(X).dtype == np.float32


def test_many_columns_are_read_along_their_principal_directions():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 3)) @ rng.standard_normal((3, 40))
    input_map = InputMap.fit(X, np.ones(200), 10, "standard", n_coordinates=5)
    z = input_map.scaled(X)
    assert z.shape == (200, 5)
    # three directions hold all of the data, the first with a deviation of one
    np.testing.assert_allclose(z[:, 0].std(), 1, rtol=1e-6)
    assert np.abs(z[:, 3:]).max() < 1e-6
    np.testing.assert_array_equal(input_map(X)[:, 5:], 0)
    np.testing.assert_allclose(input_map.identity().scaled(z), z)


def test_columns_that_tell_of_the_outputs_stay_axes():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((400, 60))
    # correlations with the output miss the second of these
    outputs = (X[:, 7] + X[:, 30] ** 2)[:, None]
    input_map = InputMap.fit(X, np.ones(400), 60, "standard", 20, outputs)
    projection = input_map.projection
    assert projection.shape == (60, 20)
    z, columns = input_map.scaled(X), input_map.scaled_columns(X)
    for column in (7, 30):
        # one coordinate is this column, and the others hold nothing of it
        (axis,) = np.flatnonzero(projection[column])
        np.testing.assert_array_equal(projection[:, axis], np.arange(60) == column)
        np.testing.assert_allclose(z[:, axis], columns[:, column])
    np.testing.assert_allclose(input_map.scaled(X[:1]), z[:1])


@pytest.mark.parametrize("K", [1, 20])
def test_columns_that_tell_are_few_and_bounded(K):
    rng = np.random.default_rng(0)
    z = rng.standard_normal((300, 40))
    share = np.full(300, 1 / 300)
    assert len(telling_columns(z, np.ones((300, K)), share, 10)) == 0
    outputs = z[:, :K] @ rng.standard_normal((K, K))
    telling = telling_columns(z, outputs, share, 5)
    assert 0 < len(telling) <= 5
    assert telling[0] < K
    index = np.repeat(np.arange(300), 2)
    repeated = telling_columns(z[index], outputs[index], share[index] / 2, 5)
    np.testing.assert_array_equal(repeated, telling)


def test_each_tree_draws_some_of_many_rows():
    rng = np.random.default_rng(0)
    z = rng.standard_normal((5000, 30)).astype(np.float32)
    outputs = (z[:, 3] + z[:, 11] * z[:, 20])[:, None]
    share = np.full(5000, 1 / 5000)
    np.testing.assert_array_equal(telling_columns(z, outputs, share, 3), [3, 11, 20])
    # rows without weight say nothing, drawn or not
    outputs[1000:, 0] = z[1000:, 25]
    share = np.where(np.arange(5000) < 1000, 1e-3, 0)
    np.testing.assert_array_equal(telling_columns(z, outputs, share, 3), [3, 11, 20])


def test_a_few_columns_of_hundreds_matter():
    """Friedman's law among columns that are noise: principal directions alone lose it."""
    X, y = make_friedman1(600, 200, random_state=0)
    model = ControlledODERegressor(n_members=1, max_iter=20, random_state=0).fit(X[:300], y[:300])
    assert model.score(X[300:], y[300:]) > 0.6


def test_weights_of_directions_equal_repetition():
    rng = np.random.default_rng(0)
    X, weight = rng.standard_normal((50, 8)), rng.integers(1, 4, 50).astype(float)
    one = InputMap.fit(X, weight, 8, "standard", n_coordinates=3)
    repeated = np.repeat(X, weight.astype(int), axis=0)
    two = InputMap.fit(repeated, np.ones(len(repeated)), 8, "standard", n_coordinates=3)
    np.testing.assert_allclose(one.scaled(X), two.scaled(X), atol=1e-7)


def squash_of(model, X, y):
    return model.fit(X, y).ensemble_.input_map.squash


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_the_default_squash_is_a_logarithm_where_a_process_predicts_numbers():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 3))
    y = X[:, 0]
    few = {"n_members": 1, "max_iter": 1}
    assert squash_of(ControlledODERegressor(**few), X, y) == Asinh(2.0)
    bounded = [
        (ControlledODEClassifier(**few), X, y > 0),
        (ControlledODERegressor(**few, readout="linear"), X, y),
        # fields that a user names may explode
        (ControlledODERegressor(**few, vector_fields="polynomial"), X, y),
        # directions of very many columns would be those of a few outliers
        (ControlledODERegressor(**few), rng.standard_normal((60, 150)), y),
        (ControlledODETransformer(max_iter=1), X, y),
        (ControlledODERegressor(**few, scaling="robust"), X, y),
    ]
    for model, table, target in bounded:
        assert squash_of(model, table, target) == Bound(3.0), model
    assert squash_of(ControlledODERegressor(**few, scaling="standard"), X, y) is None
    assert squash_of(ControlledODEClassifier(**few, scaling="asinh"), X, y > 0) == Asinh(2.0)


def test_numbers_follow_a_heavy_tailed_input_in_proportion():
    """The bound makes nearly one of all that is far out, which has most of the variance."""
    rng = np.random.default_rng(0)
    X = np.exp(1.5 * rng.standard_normal((700, 2)))
    y = 2 * X[:, 0] + 0.5 * rng.standard_normal(700)
    left = [
        1
        - ControlledODERegressor(random_state=0, scaling=each)
        .fit(X[:350], y[:350])
        .score(X[350:], y[350:])
        for each in ("auto", "robust")
    ]
    assert left[0] < 0.1
    assert left[0] < 0.5 * left[1]


def test_an_outlier_moves_no_other_prediction_far():
    """One huge number in the fit, and one in the rows to come: predictions stay finite."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 3))
    y = np.sin(X[:, 0]) + X[:, 1]
    dirty = X.copy()
    dirty[0, 2] = 1e12
    clean, other = (
        ControlledODERegressor(random_state=0, n_members=2).fit(table, y) for table in (X, dirty)
    )
    new = rng.standard_normal((200, 3))
    assert np.sqrt(np.mean((other.predict(new) - clean.predict(new)) ** 2)) < 0.1
    new[:, 2] = [-1e300, 1e300] * 100
    assert np.isfinite(other.predict(new)).all()
    assert np.abs(other.predict(new)).max() < 100


def test_left_out_errors_are_those_of_refits():
    rng = np.random.default_rng(0)
    x, targets = rng.standard_normal((30, 5)), rng.standard_normal((30, 2))
    share = rng.uniform(0.5, 2, 30)
    share /= share.sum()
    targets -= share @ targets
    found = _screening._left_out_errors(x, targets, share)
    errors = np.empty((len(_screening._STRENGTHS), 30))
    for k, strength in enumerate(_screening._STRENGTHS):
        for i in range(30):
            kept = np.arange(30) != i
            s = share[kept] / share[kept].sum()
            centre, mean = s @ x[kept], s @ targets[kept]
            weighted = share[kept, None] * (x[kept] - centre)
            gram = weighted.T @ (x[kept] - centre) + strength * np.eye(5)
            weights = np.linalg.solve(gram, weighted.T @ (targets[kept] - mean))
            errors[k, i] = np.mean((targets[i] - mean - (x[i] - centre) @ weights) ** 2)
    np.testing.assert_allclose(found, errors[np.argmin(errors @ share)], rtol=1e-10)


def test_columns_stay_where_each_has_a_part_in_a_sum():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((900, 140))
    y = X @ rng.standard_normal(140)
    model = ControlledODERegressor(n_fields=8, n_members=1, random_state=0)
    model.fit(X[:500], y[:500])
    assert model.ensemble_.input_map.n_coordinates == 140
    assert model.score(X[500:], y[500:]) > 0.95
    # of a sum of few columns those few are enough
    model.fit(X[:500], X[:500, :3].sum(axis=1))
    assert model.ensemble_.input_map.n_coordinates == 96
    wide = np.hstack([X, X[:, ::-1]])
    model.fit(wide[:500], y[:500])
    assert model.ensemble_.input_map.n_coordinates == 96
