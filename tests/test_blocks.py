"""Blocks of samples: slices, ordered maps, ordered sums, random generators."""

import os

import numpy as np
import pytest
from joblib import parallel_config

from skcode.utils._blocks import OrderedMap, block_slices, odd_block, ordered_sum, task_slices
from skcode.utils._random import as_generator

POOLS = [("threading", 2), ("loky", 2), ("multiprocessing", 2), ("threading", 1)]


def square(k):
    return (k**2, np.full(2, k / 3))


def inverse(k):
    return 1 / k


def process_of(k):
    return os.getpid()


def overflow(k):
    return np.float64(1e200) * np.float64(1e200) * k


@pytest.mark.parametrize("slices", [block_slices, task_slices])
@pytest.mark.parametrize(("n", "n_block"), [(1, 4), (8, 4), (9, 4), (5000, 7), (64 * 7, 7)])
def test_slices_cut_all_samples_once_in_order(slices, n, n_block):
    cut = slices(n, n_block)
    np.testing.assert_array_equal(np.concatenate([np.arange(n)[s] for s in cut]), np.arange(n))
    assert all((s.stop - s.start) % n_block == 0 for s in cut[:-1])


def test_blocks_hold_an_odd_multiple_of_32_samples():
    sizes = np.array([odd_block(n) for n in range(1, 5000)])
    assert np.all(sizes % 64 == 32)
    assert np.all(sizes >= 96)
    assert np.all(abs(sizes - np.arange(1, 5000))[95:] <= 32)
    assert [odd_block(size) for size in sizes] == list(sizes)


def test_tasks_are_few_and_hold_whole_blocks():
    assert len(task_slices(10**6, 64)) <= 64
    assert task_slices(640, 64) == block_slices(640, 64)
    assert all(s.start % 64 == 0 for s in task_slices(10**6, 64))


@pytest.mark.parametrize(("backend", "n_jobs"), POOLS)
def test_maps_keep_the_order_of_tasks(backend, n_jobs):
    tasks = [(k,) for k in range(20)]
    with parallel_config(backend=backend), OrderedMap(n_jobs) as mapper:
        assert [squared for squared, _ in mapper(square, tasks)] == [k**2 for k in range(20)]
        assert len(list(mapper(os.getpid, [(), ()]))) == 2
        total, array = mapper.sum(square, tasks)
        pids = set(mapper(process_of, tasks))
    assert total == 2470
    assert array.tobytes() == sum(np.full(2, k / 3) for k in range(20)).tobytes()
    assert (pids == {os.getpid()}) == (backend == "threading")


def test_one_pool_serves_all_calls():
    with parallel_config(backend="loky"), OrderedMap(2) as mapper:
        pool = mapper._pool
        list(mapper(square, [(1,), (2,)]))
        assert mapper._pool is pool
    assert mapper._pool is None


@pytest.mark.parametrize(("backend", "n_jobs"), POOLS)
def test_an_error_in_a_task_is_raised_and_the_pool_goes_on(backend, n_jobs):
    with parallel_config(backend=backend), OrderedMap(n_jobs) as mapper:
        with pytest.raises(ZeroDivisionError):
            list(mapper(inverse, [(k,) for k in range(20)]))
        assert list(mapper(inverse, [(1,), (2,)])) == [1, 0.5]


def test_a_map_outside_its_context_is_serial():
    assert list(OrderedMap(2)(process_of, [(1,), (2,)])) == [os.getpid()] * 2


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_overflow_in_a_task_is_a_value_and_no_warning(n_jobs):
    with OrderedMap(n_jobs) as mapper:
        assert list(mapper(overflow, [(1.0,), (2.0,)])) == [np.inf, np.inf]


def test_sums_leave_their_terms_alone():
    terms = [(1.0, np.ones(2)), (2.0, np.ones(2))]
    total, array = ordered_sum(terms)
    assert total == 3
    np.testing.assert_array_equal(array, 2)
    np.testing.assert_array_equal(terms[0][1], 1)
    with pytest.raises(ValueError, match="Nothing to sum"):
        ordered_sum([])


def test_generators_come_from_seeds_states_and_generators():
    rng = np.random.default_rng(0)
    assert as_generator(rng) is rng
    assert as_generator(3).random() == np.random.default_rng(3).random()
    state, twin = np.random.RandomState(0), np.random.RandomState(0)
    first, second = as_generator(state), as_generator(state)
    assert first.random() == as_generator(twin).random()
    assert second.random() == as_generator(twin).random()
    assert as_generator(None).random() != as_generator(None).random()


def test_other_processes_get_tasks_in_groups_and_return_them_in_order():
    """Four calls for two workers, whatever the number of tasks; also none."""
    with parallel_config(backend="loky"), OrderedMap(2) as mapper:
        for n in (0, 1, 3, 4, 5, 50):
            tasks = [(k, 2) for k in range(n)]
            assert n == 0 or len(mapper._grouped(tasks)) <= 4
            assert list(mapper(pow, tasks)) == [k**2 for k in range(n)]
