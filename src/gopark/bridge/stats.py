"""Figures of the runtime for Python: `go.mem_stats()`, `go.gomaxprocs()`."""

from __future__ import annotations

import collections
import ctypes

from gopark.bridge import boot
from gopark.runtime.mstats import MEMSTATS_FIELDS
from gopark.runtime.runtime2 import sched

MemStats = collections.namedtuple("MemStats", MEMSTATS_FIELDS)
MemStats.__doc__ = "Figures of the heap and the stacks, in bytes or counts; Go's names in snake_case."


def mem_stats() -> MemStats:
    """The state of the collected heap and of the stacks, as Go's `runtime.ReadMemStats`.

    `heap_alloc` bytes in `heap_objects` objects, `mallocs` and `frees` so far, `sys` bytes taken from the system, and
    so on. Read without stopping anybody, so figures that belong together may differ by what happened meanwhile.
    """
    words = (ctypes.c_int64 * len(MEMSTATS_FIELDS))()
    boot.boot().call("go.readmemstats", ctypes.addressof(words))
    return MemStats(*words)


def gomaxprocs(n: int = 0) -> int:
    """The number of Ps: how many goroutines run at once. GOMAXPROCS sets it; the default is the affinity mask.

    Changing it (n > 0) is not supported yet: set GOMAXPROCS before the first run.
    """
    boot.boot()
    offset = sched.struct.fields["gomaxprocs"][0]
    current = ctypes.c_int64.from_address(sched.address + offset).value
    if n > 0 and n != current:
        raise NotImplementedError(
            f"go.gomaxprocs({n}): the number of Ps cannot be changed while the process runs yet; "
            f"set the environment variable GOMAXPROCS={n} before the first go.run"
        )
    return current
