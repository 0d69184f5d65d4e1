"""gopark: Go's runtime, written in Python.

Goroutines on all cores, channels, select and a heap of typed structs, for Python functions compiled by Numba.

    import gopark as go

    @go.func
    def worker(jobs, results):
        for n in jobs:
            results.send(n * n)

    @go.func
    def main(n):
        jobs, results = go.chan(int, 16), go.chan(int, 16)
        for _ in range(4):
            go.spawn(worker, jobs, results)
        ...

    go.run(main, 1000)

Nothing happens at import: no thread starts, nothing is compiled. The first `go.run` builds the runtime (once per
machine).
"""

from __future__ import annotations

from gopark.pause import collector_paused

with collector_paused():
    from gopark.bridge.futures import submit
    from gopark.bridge.run import run
    from gopark.bridge.stats import mem_stats
    from gopark.compiler.func import func, nowritebarrier, nowritebarrierrec, yeswritebarrierrec
    from gopark.compiler.structs import Embed, struct
    from gopark.errors import (
        BootError,
        ClosedChannelError,
        DeadlockError,
        GoparkError,
        NilPointerError,
        StackOverflowError,
        WriteBarrierError,
    )
    from gopark.runtime.sync import Mutex, WaitGroup
    from gopark.types import print as _print  # noqa: F401  (installs the lowering of print)
    from gopark.types import struct as _struct  # noqa: F401  (installs the constructors)
    from gopark.types import sync as _sync  # noqa: F401  (installs the methods)
    from gopark.types.chan import Chan, chan
    from gopark.types.list import List
    from gopark.types.select import recv, select, select_recv, send
    from gopark.types.spawn import gomaxprocs, gosched, lock_os_thread, num_goroutine, spawn, unlock_os_thread
    from gopark.types.time import monotonic

__version__ = "0.1.0"

__all__ = [
    "BootError",
    "Chan",
    "ClosedChannelError",
    "DeadlockError",
    "Embed",
    "GoparkError",
    "List",
    "Mutex",
    "NilPointerError",
    "StackOverflowError",
    "WaitGroup",
    "WriteBarrierError",
    "chan",
    "func",
    "gomaxprocs",
    "gosched",
    "lock_os_thread",
    "mem_stats",
    "monotonic",
    "nowritebarrier",
    "nowritebarrierrec",
    "num_goroutine",
    "recv",
    "run",
    "select",
    "select_recv",
    "send",
    "spawn",
    "struct",
    "submit",
    "unlock_os_thread",
    "yeswritebarrierrec",
]
