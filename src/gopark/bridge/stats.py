"""Figures of the runtime for Python: `go.mem_stats()`."""

from __future__ import annotations

import collections
import ctypes

from gopark.bridge import boot
from gopark.runtime.mstats import MEMSTATS_FIELDS

MemStats = collections.namedtuple("MemStats", MEMSTATS_FIELDS)
MemStats.__doc__ = "Figures of the heap and the stacks, in bytes or counts; Go's names in snake_case."


def mem_stats() -> MemStats:
    """The state of the collected heap and of the stacks, as Go's `runtime.ReadMemStats`.

    `heap_alloc` bytes in `heap_objects` objects, `mallocs` and `frees` so far, `sys` bytes taken from the system, and
    so on. Read without stopping anybody, so figures that belong together may differ by what happened meanwhile. Does
    not block. From Python only.

    Example:

        ch = go.chan(int, 1000)
        stats = go.mem_stats()
        print(stats.heap_alloc >= 8000 and stats.heap_objects >= 1)  # True
    """
    words = (ctypes.c_int64 * len(MEMSTATS_FIELDS))()
    boot.boot().call("go.readmemstats", ctypes.addressof(words))
    return MemStats(*words)
