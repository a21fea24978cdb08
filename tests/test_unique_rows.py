"""Rows in a canonical form: fits depend on the weighted set of rows and on nothing else."""

import numpy as np
import pytest

from skcode.utils._unique_rows import distinct_rows, row_keys, validation_mask

N = 50
RNG = np.random.default_rng(0)
X = RNG.standard_normal((N, 3))
Y = RNG.integers(0, 3, N)
COUNTS = RNG.integers(1, 4, N)


def canonical(X, y, weight):
    """The canonical data, as bytes."""
    rows = distinct_rows(X, y, weight, row_keys(X))
    return X[rows.first].tobytes(), y[rows.first].tobytes(), rows.sums(weight).tobytes()


def test_permutation_gives_the_same_bits():
    order = RNG.permutation(N)
    weight = RNG.uniform(0.1, 1, N)
    assert canonical(X[order], Y[order], weight[order]) == canonical(X, Y, weight)


def test_permuted_copies_with_fractional_weights_give_the_same_bits():
    twins, labels, weight = np.tile(X, (4, 1)), np.tile(Y, 4), RNG.uniform(0.1, 1, 4 * N)
    order = RNG.permutation(4 * N)
    assert canonical(twins[order], labels[order], weight[order]) == canonical(twins, labels, weight)


def test_repetition_is_a_whole_weight():
    rows = RNG.permutation(np.repeat(np.arange(N), COUNTS))
    assert canonical(X[rows], Y[rows], np.ones(len(rows))) == canonical(X, Y, COUNTS * 1.0)


def test_rows_differ_by_inputs_and_by_targets():
    X = np.array([[1.0, 2.0], [1.0, 2.0], [1.0, 2.0], [2.0, 1.0]])
    y = np.array([0, 1, 0, 0])
    weight = np.array([1.0, 2.0, 4.0, 8.0])
    distinct = distinct_rows(X, y, weight, row_keys(X))
    sums = zip(distinct.first, distinct.sums(weight), strict=True)
    rows = {(*X[i], y[i]): w for i, w in sums}
    assert rows == {(1, 2, 0): 5, (1, 2, 1): 2, (2, 1, 0): 8}


def test_rows_whose_keys_collide_stay_apart():
    keys = np.zeros(N, dtype=np.uint64)
    rows = distinct_rows(X, np.zeros(N), np.ones(N), keys)
    assert sorted(rows.first) == list(range(N))
    np.testing.assert_array_equal(rows.sums(np.ones(N)), 1)


def test_keys_read_content_and_not_representation():
    np.testing.assert_array_equal(row_keys(np.array([[0.0, 1.0]])), row_keys(np.array([[-0.0, 1]])))
    single = X.astype(np.float32)
    np.testing.assert_array_equal(row_keys(single), row_keys(single.astype(np.float64)))
    np.testing.assert_array_equal(row_keys(np.asfortranarray(X)), row_keys(X))
    np.testing.assert_array_equal(row_keys(X[7:9]), row_keys(X)[7:9])
    assert len(set(row_keys(X))) == N
    assert not set(row_keys(X[:, ::-1])) & set(row_keys(X))
    assert not set(row_keys(X, seed=1)) & set(row_keys(X))


def test_keys_of_near_rows_spread_over_all_bits():
    keys = row_keys(np.arange(4096.0)[:, None] * 1e-9)
    bits = (keys[:, None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1)
    np.testing.assert_allclose(bits.mean(axis=0), 0.5, atol=0.05)


def test_validation_keeps_copies_together_and_ignores_their_number():
    rows = RNG.permutation(np.repeat(np.arange(N), COUNTS))
    mask = validation_mask(row_keys(X), 0.3, Y)
    np.testing.assert_array_equal(validation_mask(row_keys(X[rows]), 0.3, Y[rows]), mask[rows])
    assert 0 < mask.sum() < N


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5])
def test_validation_is_stratified(fraction):
    strata = np.repeat([0, 1, 2], [400, 100, 20])
    keys = row_keys(RNG.standard_normal((520, 2)))
    mask = validation_mask(keys, fraction, strata)
    for stratum, size in enumerate([400, 100, 20]):
        assert mask[strata == stratum].sum() == fraction * size
    assert validation_mask(keys, fraction).sum() == fraction * 520


def test_every_class_keeps_a_row_for_training():
    strata = np.array([0, 1, 1, 2, 2, 2])
    keys = row_keys(RNG.standard_normal((6, 2)))
    mask = validation_mask(keys, 0.99, strata)
    np.testing.assert_array_equal(np.bincount(strata[~mask]), 1)
    assert mask.sum() == 3


def test_seeds_give_independent_parts():
    keys = row_keys(RNG.standard_normal((2000, 2)))
    first, second = (validation_mask(keys, 0.5, seed=seed) for seed in (0, 1))
    assert np.mean(first & second) == pytest.approx(0.25, abs=0.04)
    np.testing.assert_array_equal(first, validation_mask(keys, 0.5, seed=0))
