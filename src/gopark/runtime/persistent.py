"""Memory that is never freed: Ms, Ps, Runs and their tables.

Stands for: persistentalloc of src/runtime/malloc.go and fixalloc at 41dbcc19ef09.

A bump pointer over chunks of 1 MiB of zeroed memory from the kernel, under a lock of its own. Everything that lives
here is `notinheap`, so there is nothing for a collector to see. Needs no P, runs on any stack.
"""

from __future__ import annotations

from gopark.compiler.image import fn
from gopark.compiler.structs import Embed, struct, var
from gopark.runtime.lock_futex import lock, unlock
from gopark.runtime.os_linux import sysMap, sysReserve
from gopark.runtime.prims import throw
from gopark.runtime.runtime2 import Mutex

CHUNK = 1 << 20
ALIGN = 64


@struct(notinheap=True)
class Persistent:
    lock: Embed[Mutex]
    pos: int
    end: int
    total: int  # bytes handed out


persistent = var(Persistent, "go.persistent")


@fn(inline=False)
def persistentalloc(n: int) -> int:
    """n zeroed bytes, on a cache line of their own; the address."""
    size = (n + ALIGN - 1) & -ALIGN
    lock(persistent.lock)
    if persistent.pos + size > persistent.end:
        chunk = CHUNK if size <= CHUNK else (size + 4095) & -4096
        base = sysReserve(chunk)
        if base < 0 or sysMap(base, chunk) < 0:
            throw("out of memory for the runtime's own structures")
        persistent.pos = base
        persistent.end = base + chunk
    a = persistent.pos
    persistent.pos = a + size
    persistent.total += size
    unlock(persistent.lock)
    return a
