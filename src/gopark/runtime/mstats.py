"""Counters of the heap, and the answer to mem_stats.

Stands for: src/runtime/mstats.go at 41dbcc19ef09 (ReadMemStats).

Allocation counts nothing: objects are counted a run at a time, when a cache takes the run (mcache.py), and the part of
the run that is still free is taken off here. What is made under the lock is counted there.

* MT1  The world is not stopped. The caches of all Ps are read while their owners allocate, so a figure may be off by
       what happens meanwhile: a few objects, or one run of a layout that is being refilled. When nobody allocates,
       figures are exact.
* MT2  `heap_inuse` are bytes of spans, `heap_sys` bytes of the arena that are accessible, `gc_sys` those of the tables
       beside it; `heap_alloc` bytes of objects, rounded up to their slots. `sys` is the sum of the figures that end in
       `_sys`.
* MT3  P records and their caches are immortal, so what a P that is out of use has counted stays counted.

Needs no P and no stack of ours. Contains no pointer store.
"""

from __future__ import annotations

from gopark.compiler.image import NO_P, WITH_P, fn
from gopark.compiler.structs import struct
from gopark.runtime.mheap import metabytes, mheap_, slotsize
from gopark.runtime.persistent import persistent
from gopark.runtime.prims import g0slabs, ptr, stackbytes
from gopark.runtime.runtime2 import MaxGomaxprocs, Mcache, sched


@struct(notinheap=True)
class MemStats:
    """What mem_stats tells, in this order."""

    heap_alloc: int  # bytes of allocated objects
    heap_objects: int
    total_alloc: int  # bytes of all objects ever allocated
    mallocs: int
    frees: int
    sys: int
    heap_sys: int
    heap_inuse: int
    heap_idle: int  # accessible, but in no span
    stack_inuse: int  # stacks of goroutines and threads; address space, of which only what was touched is memory
    stack_sys: int
    gc_sys: int
    other_sys: int  # Ps, Ms, caches
    num_gc: int
    heap_limit: int
    oom_size: int  # the allocation that failed last ...
    oom_heap_inuse: int  # ... and heap_inuse then


MEMSTATS_FIELDS = tuple(MemStats.fields)


@fn(inline=False, entered=NO_P)
def readmemstats(out: int):
    """Write the figures, one 8-byte integer each, in the order of MEMSTATS_FIELDS."""
    st = ptr(MemStats, out)
    st.mallocs = mheap_.ndirect
    st.total_alloc = mheap_.directbytes
    freestacks = sched.gfreecnt
    for i in range(MaxGomaxprocs):
        pp = sched.allp[i]
        if pp is not None:
            addcache(st, pp.mcache)
            freestacks += pp.gfreecnt
    st.frees = mheap_.nfree
    st.heap_alloc = st.total_alloc - mheap_.freebytes
    st.heap_objects = st.mallocs - st.frees
    st.heap_sys = sched.heapend - sched.heapstart
    st.heap_inuse = mheap_.inuse
    st.heap_idle = st.heap_sys - st.heap_inuse
    st.stack_sys = (sched.allglen + sched.mcount * (g0slabs() - 1)) * stackbytes()
    st.stack_inuse = st.stack_sys - freestacks * stackbytes()
    st.gc_sys = metabytes(st.heap_sys)
    st.other_sys = persistent.total
    st.sys = st.heap_sys + st.stack_sys + st.gc_sys + st.other_sys
    st.num_gc = mheap_.numgc
    st.heap_limit = sched.heaplimit
    st.oom_size = sched.oomsize
    st.oom_heap_inuse = sched.oominuse


@fn
def addcache(st: MemStats, mc: Mcache):
    """Add what was allocated through one cache."""
    for layout in range(mheap_.nlayouts):
        entry = mc.alloc[layout]
        if entry.nmalloc != 0:
            size = slotsize(mheap_.layouttype[layout])
            rest = entry.lim - entry.cur
            n = entry.nmalloc - (rest // size if rest > 0 else 0)
            st.mallocs += n
            st.total_alloc += n * size


@fn(inline=False, entered=WITH_P)
def heapinuse() -> int:
    """Bytes of spans in use, for the text of a MemoryError."""
    return mheap_.inuse


@fn(inline=False, entered=WITH_P)
def heaplimit() -> int:
    """The limit of the heap, likewise."""
    return sched.heaplimit
