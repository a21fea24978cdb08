"""Sweeps between two uses: their buffers are large, and are used again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from skcode.flow import Sweep

#: shapes of blocks whose buffers are kept: batches of many sizes must not pile up
_MOST_SHAPES = 8
#: samples in a block, and the leading axes of its adjoints
Shape = tuple[int, tuple[int, ...]]


class SweepBuffers:
    """Lends sweeps by shape, and keeps what comes back for the next borrower.

    They belong to a process, not to a model: a model that is copied or saved starts without any.

    Parameters
    ----------
    make : callable
        ``make(n, lead)`` is a new sweep for n samples.
    """

    def __init__(self, make: Callable[[int, tuple[int, ...]], Sweep]):
        self._make = make
        self._idle: dict[Shape, list[Sweep]] = {}

    @contextmanager
    def borrow(self, n: int, lead: tuple[int, ...]) -> Iterator[Sweep]:
        """A sweep for n samples that nobody else holds."""
        # list.pop and list.append are atomic: two threads never hold the same sweep
        try:
            sweep = self._idle[n, lead].pop()
        except (KeyError, IndexError):
            sweep = self._make(n, lead)
        yield sweep
        if (n, lead) in self._idle or len(self._idle) < _MOST_SHAPES:
            self._idle.setdefault((n, lead), []).append(sweep)
