"""One thread traces at a time: autograd counts its nested traces in one global number."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_state = threading.local()


def _new_lock() -> None:
    """In a forked child: another thread may have held the lock, and is not there to free it."""
    global _lock
    _lock = threading.Lock()
    if getattr(_state, "holds", False):
        _lock.acquire()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_new_lock)


@contextmanager
def tracing() -> Iterator[None]:
    """Hold autograd's trace stack. Re-entrant within a thread."""
    if getattr(_state, "holds", False):
        yield
        return
    with _lock:
        _state.holds = True
        try:
            yield
        finally:
            _state.holds = False


@contextmanager
def paused() -> Iterator[None]:
    """Let other threads trace while this one does plain NumPy inside its trace.

    Sound because the boxes of two traces never meet in one call; without effect outside `tracing`.
    """
    if not getattr(_state, "holds", False):
        yield
        return
    _state.holds = False
    _lock.release()
    try:
        yield
    finally:
        _lock.acquire()
        _state.holds = True
