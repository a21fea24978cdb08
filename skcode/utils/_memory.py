"""Memory that is freed and taken again at each step stays with the process."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from functools import cache

import numpy as np

#: bytes: the largest piece that moves glibc's threshold, 32 MB, less room for its own records; any
#: more, and the threshold stays where it is
_PIECE = 2**25 - 2**13
#: options of mallopt(3), by their numbers in malloc.h, and bytes that glibc moves them to by itself
_THRESHOLDS = {
    -3: 2**25,  # M_MMAP_THRESHOLD
    -1: 2**26,  # M_TRIM_THRESHOLD
}


@cache
def keep_freed_memory() -> None:
    """Let the C library keep what is freed, up to twice 32 MB for each thread that works.

    It is told once for the process.

    Each step of a fit takes and frees the same few megabytes. glibc gives pieces of that size back
    to the system, which hands them out again page by page, zeroed; threads, which share the map of
    pages, wait for each other meanwhile. It keeps pieces up to the size of the largest one that was
    freed (mallopt(3), M_MMAP_THRESHOLD), so one is taken and freed here. It is never written to,
    and takes no memory. Other allocators do not mind.

    Where the environment names one threshold, as Dask does for its workers, glibc moves none of
    them: a fit takes half as long again. There they are set to what they would have moved to.
    """
    with suppress(MemoryError):
        np.empty(_PIECE, np.uint8)
    if "MALLOC_TRIM_THRESHOLD_" in os.environ and "MALLOC_MMAP_THRESHOLD_" not in os.environ:
        # what has no such function has no such thresholds
        with suppress(OSError, AttributeError, TypeError):
            set_option = ctypes.CDLL(None).mallopt
            for option, size in _THRESHOLDS.items():
                set_option(option, size)
