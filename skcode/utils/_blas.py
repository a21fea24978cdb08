"""One BLAS thread for each worker: no oversubscription, and the same bits whatever n_jobs is."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController

_lock = threading.Lock()
_users = 0
_limited: list[tuple[Any, int]] = []


def _new_lock() -> None:
    """In a forked child: another thread may have held the lock, and is not there to free it."""
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_new_lock)


@cache
def _libraries() -> list[Any]:
    libraries: list[Any] = ThreadpoolController().select(user_api="blas").lib_controllers
    return libraries


def _set_threads(library: Any, n: int) -> None:
    """Set the number of threads of a library, from any thread.

    From threadpoolctl 3.7 on the first thread that sets it is in control, and others are ignored
    without a word. Here users are counted under a lock: whoever comes first sets it, whoever leaves
    last sets it back, and these may be two threads.
    """
    release = getattr(library, "clear_controlling_thread", None)
    if release is not None:
        release(force=True)
    library.set_num_threads(n)
    if release is not None:
        release(force=True)


@contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Limit BLAS to one thread while any thread of this process is inside.

    The limit is global to the process: the first to enter sets it, the last to leave restores it.
    """
    global _users, _limited
    with _lock:
        if _users == 0:
            # the libraries are limited one by one: threadpoolctl's own context takes longer than a
            # prediction of few rows
            threads = [(library, library.get_num_threads()) for library in _libraries()]
            _limited = [(library, n) for library, n in threads if n != 1]
            for library, _ in _limited:
                _set_threads(library, 1)
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                for library, n in _limited:
                    _set_threads(library, n)
