"""Autograd's trace: one thread at a time has it, since nested traces are counted in one number."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import autograd.extend

Function = TypeVar("Function", bound=Callable[..., Any])


class _State(threading.local):
    """What each thread knows of itself: whether it holds the trace."""

    holds = False


_lock = threading.Lock()
_state = _State()


def primitive(function: Function) -> Function:
    """As `autograd.extend.primitive`: a node of the trace, whose derivatives are registered."""
    node: Function = autograd.extend.primitive(function)
    return node


def _new_lock() -> None:
    """In a forked child: another thread may have held the lock, and is not there to free it."""
    global _lock
    _lock = threading.Lock()
    if _state.holds:
        _lock.acquire()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_new_lock)


@contextmanager
def tracing() -> Iterator[None]:
    """Hold autograd's trace stack. Re-entrant within a thread."""
    if _state.holds:
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
    if not _state.holds:
        yield
        return
    _state.holds = False
    _lock.release()
    try:
        yield
    finally:
        _lock.acquire()
        _state.holds = True
