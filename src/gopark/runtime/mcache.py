"""The allocation cache of a P: for every layout a run of free slots, from which objects are cut by adding to a pointer.

Stands for: src/runtime/mcache.go and mcentral.go at 41dbcc19ef09.

User code contains the fast path itself, five instructions and the zeroing, so the cache's form is part of abi.py:

        entry = g.m.mcache + 32 * layout;  p = entry.cur
        if p + size <= entry.lim:  entry.cur = p + size;  zero the object
        else:                      p = go.mallocslow(type)

* MC1  An entry's run is [cur, lim), wholly inside one span of its layout. Only the owner of the P writes it, without
       atomics; mem_stats reads it meanwhile and may be off by one refill.
* MC2  A thread without a P has the cache `emptymcache`: cur = lim = 0 in every entry, for ever. Its fast path fails at
       the first comparison, and the slow path throws. So there is no way to allocate without a P, and no test for it in
       the fast path. Nobody writes to this cache.
* MC3  A run today is a whole fresh span, because nothing is reclaimed. Nothing here relies on that: a sweeper may hand
       out any stretch of free slots as a run.

refill needs a P (it is called by the owner of the cache) and takes heaplock. allocmcache needs none.
"""

from __future__ import annotations

from gopark.compiler.image import fn
from gopark.compiler.structs import var
from gopark.runtime.lock_futex import lock, unlock
from gopark.runtime.mheap import layoutspan, outofmemory, publishrun
from gopark.runtime.persistent import persistentalloc
from gopark.runtime.prims import ptr, sizeof
from gopark.runtime.runtime2 import Mcache, Type, sched

emptymcache = var(Mcache, "go.emptymcache")


@fn(inline=False)
def allocmcache() -> Mcache:
    """A cache for a new P, empty. It lives as long as the P: for ever. Only the entries that are used get memory."""
    return ptr(Mcache, persistentalloc(sizeof(Mcache)))


@fn(inline=False)
def refill(mc: Mcache, typ: Type, size: int) -> bool:
    """The next run of typ's layout, whose slots have `size` bytes. False: out of memory, and the old run stays."""
    lock(sched.heaplock)
    s = layoutspan(typ, size)
    if s is None:
        outofmemory(size)
        unlock(sched.heaplock)
        return False
    unlock(sched.heaplock)
    entry = mc.alloc[typ.layout]
    entry.span = s.start
    entry.cur = s.start
    entry.lim = s.start + s.nelems * size
    entry.nmalloc += s.nelems
    publishrun(s, s.nelems)
    return True
