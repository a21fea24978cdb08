"""Blocks of samples, mapped with joblib and summed in block order.

Block boundaries depend on shapes alone and sums run in a fixed order, so that results are the same
bits for every n_jobs and every joblib backend.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from itertools import chain
from typing import Any, TypeVar, cast

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs

from skcode.utils._blas import single_threaded_blas
from skcode.utils._joblib import runs_in_threads
from skcode.utils._memory import keep_freed_memory
from skcode.utils._scatter import Scatter, arrived, scatter

#: largest number of tasks that the blocks of one call are grouped into: with fewer, many workers
#: would wait for the last one; with more, sending them would cost more than the work
_MOST_TASKS = 64
#: calls to each worker of another process that the tasks are grouped into: each call waits for its
#: turn, and with one a worker, all would wait for the slowest
_CALLS_PER_WORKER = 2
#: samples; a block has an odd multiple of them, see `odd_block`
_ODD = 32
#: how often a call is sent again after a machine of the cluster was lost, before it is given up
_MOST_RESENDS = 4

Value = TypeVar("Value")
#: numbers and arrays, each of which is summed
Summands = TypeVar("Summands", bound=tuple[Any, ...])


def odd_block(n: int) -> int:
    """An odd multiple of 32 near n: how many samples a block may hold, at least 96.

    Rows of an array that lie a large power of two apart share few lines of a cache, and products of
    such arrays take up to twice the time.
    """
    return max(n // (2 * _ODD), 1) * 2 * _ODD + _ODD


def block_slices(n_samples: int, n_block: int) -> list[slice]:
    """Consecutive slices of n_block samples; the last one may be shorter."""
    return [slice(i, min(i + n_block, n_samples)) for i in range(0, n_samples, n_block)]


def task_slices(n_samples: int, n_block: int) -> list[slice]:
    """Slices of whole blocks, at most 64 of them: the units that are sent to workers."""
    n_blocks = -(-n_samples // n_block)
    blocks_per_task = -(-n_blocks // _MOST_TASKS)
    return block_slices(n_samples, blocks_per_task * n_block)


class OrderedMap:
    """Map a function over tasks, in order, on one pool that lives as long as the context.

    Threads are preferred, since the sweeps release the GIL; ``joblib.parallel_config`` may decide
    otherwise. Where joblib decides for threads they are those of an executor: joblib looks for
    results every 10 ms, and many a sweep over all rows takes less.

    Parameters
    ----------
    n_jobs : int or None
        As in joblib: None is 1 unless a ``parallel_config`` context says otherwise, -1 all cores.
    """

    def __init__(self, n_jobs: int | None = None):
        self.n_jobs = n_jobs
        #: threads of this process that share the tasks; 1 where this thread does them all, or other
        #: processes do
        self.n_threads = 1
        self._threads: ThreadPoolExecutor | None = None
        self._pool: Parallel | None = None
        self._scatter: Scatter | None = None
        self._context = ExitStack()
        self._kept: dict[Hashable, Any] = {}
        self._entered = False

    def __enter__(self) -> OrderedMap:
        self._entered = True
        keep_freed_memory()
        # entered once here, so that the tasks need not switch threads on and off
        self._context.enter_context(single_threaded_blas())
        # overflow is no reason for a warning here: those who can act on it look at the results
        self._context.enter_context(np.errstate(all="ignore"))
        if effective_n_jobs(self.n_jobs) > 1:
            self._open()
        return self

    def _open(self) -> None:
        # joblib would put as many tasks into a batch as were short before, and two long ones after
        # them into one
        pool = Parallel(n_jobs=self.n_jobs, prefer="threads", batch_size=1)
        if runs_in_threads(pool):
            self.n_threads = effective_n_jobs(self.n_jobs)
            self._threads = ThreadPoolExecutor(self.n_threads)
            return
        self._pool = pool
        self._scatter = scatter(pool)
        pool.__enter__()

    def __exit__(self, *exc: object) -> None:
        self._close()
        self._kept.clear()
        self._context.close()
        self._entered = False

    def _close(self) -> None:
        if self._threads is not None:
            self._threads.shutdown(cancel_futures=True)
            self._threads, self.n_threads = None, 1
        if self._scatter is not None:
            self._scatter.forget()
            self._scatter = None
        if self._pool is not None:
            self._pool.__exit__(None, None, None)
            self._pool = None

    @property
    def ships(self) -> bool:
        """Whether the backend sends arguments to other machines, and can keep them there."""
        return self._scatter is not None and self._scatter.keeps

    def keep(self, value: Value) -> Value:
        """The value, marked as an argument of many calls: it is sent to other machines once.

        Views of the same memory are one value.
        """
        if not self.ships:
            return value
        key: Hashable = id(value)
        if isinstance(value, np.ndarray):
            key = (value.ctypes.data, value.shape, value.strides, value.dtype.str)
        kept: Value = self._kept.setdefault(key, value)
        return kept

    def __call__(
        self, function: Callable[..., Value], tasks: Sequence[tuple[Any, ...]]
    ) -> Iterable[Value]:
        """Results of ``function(*task)`` in the order of the tasks."""
        if self._threads is not None and len(tasks) > 1:
            return self._threads.map(lambda task: _run(function, *task), tasks)
        if self._pool is None or self._scatter is None or len(tasks) <= 1:
            # inside the context BLAS is limited and warnings are off already
            run = function if self._entered else partial(_run, function)
            return (run(*task) for task in tasks)
        for attempt in range(_MOST_RESENDS):
            try:
                self._scatter.send(list(self._kept.values()))
                named = self._scatter.named
                groups: Iterable[list[Value]] = self._pool(
                    delayed(_run_group)(function, len(group), *map(named, chain(*group)))
                    for group in self._grouped(tasks)
                )
                return chain.from_iterable(groups)
            except BaseException as error:
                again = attempt < _MOST_RESENDS - 1 and self._scatter.has_lost(error)
                # a pool that was interrupted may hand late results to the next call: take a new one
                self._close()
                self._open()
                if not again:
                    raise
        raise AssertionError("unreachable")

    def _grouped(self, tasks: Sequence[tuple[Any, ...]]) -> list[Sequence[tuple[Any, ...]]]:
        """Consecutive tasks that make one call: one each where there are few."""
        n_calls = _CALLS_PER_WORKER * effective_n_jobs(self.n_jobs)
        return [tasks[s] for s in block_slices(len(tasks), -(-len(tasks) // n_calls))]

    def sum(self, function: Callable[..., Summands], tasks: Sequence[tuple[Any, ...]]) -> Summands:
        """Entrywise sum, in the order of the tasks, of the tuples that the function returns."""
        return ordered_sum(self(function, tasks))


def _run(function: Callable[..., Value], *task: object) -> Value:
    keep_freed_memory()
    with single_threaded_blas(), np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        return function(*map(arrived, task))


def _run_group(function: Callable[..., Value], n_tasks: int, *values: object) -> list[Value]:
    """Results of several tasks of as many arguments each, which follow one another.

    Backends look each argument of a call up, and not what is within it.
    """
    n = len(values) // n_tasks
    return [_run(function, *values[n * k : n * (k + 1)]) for k in range(n_tasks)]


def ordered_sum(results: Iterable[Summands]) -> Summands:
    """Entrywise sum of tuples of numbers and arrays, in order."""
    total: list[Any] = []
    for k, result in enumerate(results):
        if k == 0:
            total = list(result)
        elif k == 1:
            # a new array: the first terms may be arrays that their makers keep
            total = [a + b for a, b in zip(total, result, strict=True)]
        else:
            for i, part in enumerate(result):
                total[i] += part
    if not total:
        raise ValueError("Nothing to sum.")
    return cast(Summands, tuple(total))
