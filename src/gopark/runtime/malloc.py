"""Allocation from the collected heap.

Stands for: src/runtime/malloc.go at 41dbcc19ef09 (mallocgc, newobject, largeAlloc, mallocinit) and the classes of
msize.go.

    mallocslow(type)             where the fast path in user code ends when its run is used up (mcache.py)
    newobject(type)              fast path and slow path, for the runtime itself
    mallocgc(bytes, type, count) memory for `count` elements in a row: buffers of channels

What goes where, so that a marker finds the pointers (mheap.py has the span types):

    one object, one element      a slot of its layout's spans, from the P's cache
    elements without pointers    up to 32 KiB: a slot of the smallest size class that is large enough. A class is a
                                 layout like any other, (size, no pointers), so it lies in the P's cache too, and
                                 pointer-free structs of that size share its spans. Above: a span of its own, TT_NOSCAN
    elements with pointers       up to 2 KiB: a slot in a span of arrays of this element and size class (TT_ARRAY, the
                                 element's Type in the span's record). Such spans are shared by all Ps, under heaplock:
                                 a cache per P, element and class would waste more than the lock costs. Above: a span of
                                 its own, TT_ARRAY
    anything above 32 KiB        a span of its own; a single object there has its layout as span type

* MA1  What is returned is zeroed, at least 8 bytes, and aligned to 8.
* MA2  Out of memory is nil, never an exception: the call sites in user code raise MemoryError, with the figures that
       `outofmemory` kept in sched (oomsize, oominuse, heaplimit). Memory is "out" when spans would exceed
       sched.heaplimit, when the arena is full, and when the kernel refuses.
* MA3  Without a P: throw. The P must belong to this M as well (p.m is m): a stale P is no permission.
* MA4  A slot from a run is zeroed when it is given out, in every path, because one day runs will be second-hand. A span
       of its own comes from the kernel zeroed (MH6) and is not touched.

Nothing is reclaimed yet. Functions with the suffix 1 take the M instead of asking for the current one.
Pointer stores are plain: a P is held. Raw memory: the clearing of slots.
"""

from __future__ import annotations

import ctypes

from gopark.compiler.image import NO_P, WITH_P, fn
from gopark.compiler.structs import Array, Embed, layout_index, struct, var
from gopark.runtime.lock_futex import lock, unlock
from gopark.runtime.mcache import refill
from gopark.runtime.mheap import (
    BIG_PAGES,
    BIG_SLOT,
    TT_ARRAY,
    TT_NOSCAN,
    MaxSmallSize,
    Mspan,
    PageShift,
    PageSize,
    freeindexof,
    mheap_,
    mheapinit,
    outofmemory,
    pageof,
    publishrun,
    seelayout,
    slotsize,
    spanalloc,
)
from gopark.runtime.prims import getg, memclr, ptr, throw
from gopark.runtime.runtime2 import M, Memory, Type, sched

MaxSmallArray = 2 << 10  # of elements with pointers


# ---- size classes


def _class_sizes() -> tuple[int, ...]:
    """8, multiples of 16 up to 128, then four steps for each doubling: there at most a fifth of a slot is lost."""
    sizes = [8, *range(16, 129, 16)]
    while sizes[-1] < MaxSmallSize:
        base = sizes[-1]
        sizes += [base + base // 4 * i for i in (1, 2, 3, 4)]
    return tuple(sizes)


CLASS_SIZES = _class_sizes()
FIRST_DOUBLING = CLASS_SIZES.index(128)


@struct(notinheap=True)
class SizeClasses:
    types: Array[Embed[Type], len(CLASS_SIZES)]


sizeclasses = var(SizeClasses, "go.sizeclasses")


def publish_size_classes() -> None:
    """Write the Types of the size classes into the loaded image. Before mallocinit.

    The index of a layout belongs to this process, so compiled code cannot know it.
    """
    words = Type.size // 8
    records = (ctypes.c_int64 * (words * len(CLASS_SIZES))).from_address(sizeclasses.address)
    layout, size = (Type.fields[name][0] // 8 for name in ("layout", "size"))
    for i, n in enumerate(CLASS_SIZES):
        records[i * words + layout] = layout_index(n, ())
        records[i * words + size] = n


@fn
def sizeclass(n: int) -> int:
    """The class of n bytes, 0 < n <= MaxSmallSize."""
    if n <= 8:
        return 0
    if n <= 128:
        return (n + 15) >> 4
    shift = 5  # of a quarter of the doubling (128, 256], which n lies in or above
    index = FIRST_DOUBLING
    while n > 8 << shift:
        shift += 1
        index += 4
    return index + ((n - 1) >> shift) - 3


# ---- boot


@fn(inline=False, entered=NO_P)
def mallocinit(limit: int):
    """Make the heap, of at most `limit` bytes of spans; 0: as large as the address space allows."""
    if sizeclasses.types[0].size != 8:
        throw("mallocinit: the size classes have not been published")
    mheapinit(limit)


# ---- entry points


@fn(inline=False, entered=WITH_P)
def mallocslow(typ: Type) -> Memory:
    """A zeroed object; nil when out of memory. User code calls it when its run is used up."""
    return mallocslow1(getg().m, typ)


@fn(entered=WITH_P)
def newobject(typ: Type) -> Memory:
    """A zeroed object; nil when out of memory."""
    return newobject1(getg().m, typ)


@fn(inline=False, entered=WITH_P)
def mallocgc(nbytes: int, typ: Type, count: int) -> Memory:
    """Zeroed memory of nbytes >= count * typ.size for elements in a row; nil when out of memory."""
    return mallocgc1(getg().m, nbytes, typ, count)


# ---- the allocator proper


@fn
def newobject1(mp: M, typ: Type) -> Memory:
    entry = mp.mcache.alloc[typ.layout]
    size = slotsize(typ)
    p = entry.cur
    if p + size > entry.lim:
        return mallocslow1(mp, typ)
    entry.cur = p + size
    memclr(p, size)
    return ptr(Memory, p)


@fn(inline=False)
def mallocslow1(mp: M, typ: Type) -> Memory:
    checkp(mp)
    size = slotsize(typ)
    if size > MaxSmallSize:
        return largealloc(size, typ, typ.layout + 1)
    entry = mp.mcache.alloc[typ.layout]
    if entry.cur + size > entry.lim and not refill(mp.mcache, typ, size):
        return None
    p = entry.cur
    entry.cur = p + size
    memclr(p, size)
    return ptr(Memory, p)


@fn(inline=False)
def mallocgc1(mp: M, nbytes: int, typ: Type, count: int) -> Memory:
    checkp(mp)
    n = (nbytes + 7) & -8 or 8
    if count == 1 and n == slotsize(typ):
        return newobject1(mp, typ)
    if typ.ptrwords == 0:
        if 0 < n <= MaxSmallSize:
            return newobject1(mp, sizeclasses.types[sizeclass(n)])
        return largealloc(n, typ, TT_NOSCAN)
    if 0 < n <= MaxSmallArray:
        return arrayalloc(n, typ)
    return largealloc(n, typ, TT_ARRAY)


@fn
def checkp(mp: M):
    """MA3."""
    pp = mp.p
    if pp is None:
        throw("malloc without a P")
    if pp.m is not mp:
        throw("malloc with a P that another M owns")


@fn(inline=False)
def largealloc(nbytes: int, typ: Type, kind: int) -> Memory:
    """A span of its own. nbytes is a multiple of 8, or nonsense that a caller's multiplication has made."""
    lock(sched.heaplock)
    s = ptr(Mspan, 0)
    if 0 < nbytes <= sched.heaplimit:
        s = spanalloc((nbytes + PageSize - 1) >> PageShift, typ, kind, nbytes, 1)
    if s is None:
        outofmemory(nbytes)
        unlock(sched.heaplock)
        return None
    if kind < TT_NOSCAN:
        seelayout(typ)
    mheap_.ndirect += 1
    mheap_.directbytes += s.elemsize
    unlock(sched.heaplock)
    publishrun(s, 1)
    return ptr(Memory, s.start)


@fn(inline=False)
def arrayalloc(nbytes: int, typ: Type) -> Memory:
    """A slot in a span of arrays: of this element's layout, of the size class of nbytes."""
    size = sizeclasses.types[sizeclass(nbytes)].size
    lock(sched.heaplock)
    s = arrayspan(typ, size)
    if s is None:
        outofmemory(nbytes)
        unlock(sched.heaplock)
        return None
    k = freeindexof(pageof(s.start)).index
    if k + 1 == s.nelems:
        dropspan(s, typ.layout)
    mheap_.ndirect += 1
    mheap_.directbytes += size
    publishrun(s, k + 1)
    unlock(sched.heaplock)
    p = s.start + k * size
    memclr(p, size)
    return ptr(Memory, p)


@fn
def arrayspan(typ: Type, size: int) -> Mspan:
    """The span with free slots of this size for arrays of this element; a fresh one if there is none. heaplock is
    held."""
    s = mheap_.arrays[typ.layout]
    while s is not None and s.elemsize != size:
        s = s.link
    if s is None:
        npages = BIG_PAGES if size >= BIG_SLOT else 1
        s = spanalloc(npages, typ, TT_ARRAY, size, (npages << PageShift) // size)
        if s is not None:
            s.link = mheap_.arrays[typ.layout]
            mheap_.arrays[typ.layout] = s
    return s


@fn
def dropspan(s: Mspan, layout: int):
    """Take a span that is full out of the list of its element's layout. heaplock is held."""
    if mheap_.arrays[layout] is s:
        mheap_.arrays[layout] = s.link
    else:
        before = mheap_.arrays[layout]
        while before.link is not s:
            before = before.link
        before.link = s.link
    s.link = None
