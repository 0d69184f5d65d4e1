"""The arena of the heap: pages, spans, and the tables beside them.

Stands for: src/runtime/mheap.go, msize.go and the arena part of malloc.go at 41dbcc19ef09.

One range of addresses is reserved at boot and made accessible 4 MiB at a time. It is cut into pages of 8 KiB; a *span*
is a run of pages whose slots all have one size and one meaning. There are no headers, neither on objects nor on spans:
the start of an object follows from its span, and everything known about a page lies in tables of their own, indexed by
page or by address. So a marker touches the object and one or two bytes beside it, and an object of 16 bytes costs 16
bytes.

    span type   u16 a page     what the slots of this page are:
                                 0            free
                                 layout + 1   objects of that layout (size, pointer words), whatever their nominal type
                                 TT_NOSCAN    one large array without pointers
                                 TT_ARRAY     arrays of `Mspan.typ`: each slot is filled by elements from its start on,
                                              and what no element covers is zero, so a marker may scan whole slots
                                 TT_CONTINUED a page of a large object that is not its first: no object starts here
    free index  i32 a page     first page of a span: slots below this index count as allocated (>= 0);
                               every other page: minus the distance to the first page, in pages (< 0)
    spans       Mspan a page   size of the slots and so on; only the first page's record is used, and the marker's
                               common path (a pointer to an object of a layout) does not need it
    alloc bits  1 bit per 8 B  the bit of an object's first word: allocated, as the last sweep found it (mbitmap.py)
    mark bits   1 bit per 8 B  the same, marked

* MH1  Slot k of a span is [start + k*elemsize, start + (k+1)*elemsize), and lies in the span's pages altogether.
* MH2  The tables of a chunk are accessible *and touched* before its first page is handed out (growmeta): nobody meets a
       page fault in them, which would land in a barrier or a pause.
* MH3  Order of publication of a span: its record and free index, a fence, its span type, and last (release) `heapbump`,
       if it grew. Who finds an address below `heapbump` with a span type that is not 0 finds the rest in place.
* MH4  Order of publication of a run of slots: the run is taken (and, while marking, marked black), then the free index
       is raised (release). So a conservative scan never takes a slot for an object before that is safe. Slots that an
       allocation cache holds but has not given out count as allocated: a collector takes them back first.
* MH5  Layouts differ in nothing but size and pointer words: the Type seen first stands for all of its layout.
* MH6  Memory that comes from the kernel is zero. Nothing is reclaimed yet, so spans are always fresh memory.

Spans are small (one page) until a layout owns `FEW_SPANS` of them, then 64 KiB; slots of `BIG_SLOT` bytes and more get
64 KiB from the start, or up to an eighth of the pages would be rounding loss. Objects above `MaxSmallSize` have a span
each.

Who: spanalloc and everything that writes tables hold `sched.heaplock`, the innermost lock, and a P (its pointer stores
are plain ones). Free indices are raised by the owner of the run without the lock. Readers (mbitmap, mstats) need
neither. mallocinit runs without a P. Raw memory: touching tables in growmeta.
"""

from __future__ import annotations

from gopark.compiler.image import fn
from gopark.compiler.numba_api import types
from gopark.compiler.structs import MAX_LAYOUTS, Array, struct, var
from gopark.runtime.os_linux import MADV_NOHUGEPAGE, madvise, sysMap, sysReserve
from gopark.runtime.prims import fence, ptr, rawstore, sizeof, store, throw
from gopark.runtime.runtime2 import Type, sched

PageShift = 13
PageSize = 1 << PageShift
MaxSmallSize = 32 << 10

BIG_PAGES = 8  # pages of a big span
BIG_SLOT = 512
FEW_SPANS = 4

HEAP_CHUNK = 4 << 20
HEAP_ARENA = 64 << 30
HEAP_ARENA_MINIMUM = 256 << 20
OS_PAGE = 4096

TT_FREE, TT_NOSCAN, TT_ARRAY, TT_CONTINUED = 0, 0xFFFD, 0xFFFE, 0xFFFF
assert MAX_LAYOUTS + 1 < TT_NOSCAN

SPAN_TYPE_BYTES, FREE_INDEX_BYTES = 2, 4
GRANULE_SHIFT = 3  # one alloc bit and one mark bit per 8 bytes


@struct(notinheap=True)
class Mspan:
    typ: Type  # of the objects, or of the elements of the arrays
    start: int  # address of the first page
    npages: int
    elemsize: int  # bytes of a slot
    nelems: int  # slots
    link: Mspan  # the next span of arrays with free slots, of the same element layout


@struct(notinheap=True)
class SpanTypes:
    at: Array[types.uint16, 1]  # as many as there are pages; inline arrays have no bounds checks


@struct(notinheap=True)
class FreeIndex:
    """One entry of the free index, and its neighbour."""

    index: types.int32
    next: types.int32


@struct(notinheap=True)
class Mheap:
    arenaend: int  # end of the reserved range
    spantypes: int  # addresses of the tables ...
    freeindex: int
    spans: int
    allocbits: int  # ... of these two, less what makes `table + (address >> 9) * 8` the word of an address
    markbits: int
    inuse: int  # bytes of pages in spans
    nlayouts: int  # layouts seen: indices below this
    ndirect: int  # objects made under the lock: large ones, and arrays with pointers ...
    directbytes: int  # ... and their bytes
    nfree: int  # objects reclaimed ...
    freebytes: int  # ... and their bytes
    numgc: int  # collections
    layouttype: Array[Type, MAX_LAYOUTS]  # MH5
    layoutspans: Array[int, MAX_LAYOUTS]  # spans that the layout owns
    arrays: Array[Mspan, MAX_LAYOUTS]  # by layout of the element: spans of arrays with free slots, one per slot size


mheap_ = var(Mheap, "go.mheap")


# ---- boot


@fn(inline=False)
def mheapinit(limit: int):
    """Reserve the arena and its tables: smaller ones where the address space is limited (RLIMIT_AS)."""
    size = HEAP_ARENA
    base = sysReserve(HEAP_CHUNK + size + metabytes(size))
    while base < 0:
        size //= 2
        if size < HEAP_ARENA_MINIMUM:
            throw("out of address space for the heap")
        base = sysReserve(HEAP_CHUNK + size + metabytes(size))
    start = (base + HEAP_CHUNK - 1) & -HEAP_CHUNK
    pages = size >> PageShift
    table = start + size
    # Huge pages would be zeroed 2 MiB at a time, inside whatever touches a table first.
    madvise(table, metabytes(size), MADV_NOHUGEPAGE)
    mheap_.spantypes = table
    mheap_.freeindex = table + pages * SPAN_TYPE_BYTES
    mheap_.spans = mheap_.freeindex + pages * FREE_INDEX_BYTES
    bits = mheap_.spans + pages * sizeof(Mspan)
    bias = start >> (GRANULE_SHIFT + 6) << 3
    mheap_.allocbits = bits - bias
    mheap_.markbits = bits + bitmapbytes(size) - bias
    mheap_.arenaend = start + size
    sched.heaplimit = limit if 0 < limit < size else size
    sched.heapstart = start
    sched.heapend = start
    sched.heapbump = start


@fn
def bitmapbytes(n: int) -> int:
    """Bytes of one bitmap for n bytes of arena."""
    return n >> (GRANULE_SHIFT + 3)


@fn
def metabytes(n: int) -> int:
    """Bytes of all tables for n bytes of arena."""
    return (n >> PageShift) * (SPAN_TYPE_BYTES + FREE_INDEX_BYTES + sizeof(Mspan)) + 2 * bitmapbytes(n)


# ---- growth: heaplock is held


@fn(inline=False)
def mheapgrow(npages: int) -> bool:
    """Make room for n pages above `heapbump`. False: the arena is full, or the kernel refuses."""
    need = sched.heapbump + (npages << PageShift) - sched.heapend
    grow = (need + HEAP_CHUNK - 1) & -HEAP_CHUNK
    if grow <= 0:
        return True
    if grow > mheap_.arenaend - sched.heapend or sysMap(sched.heapend, grow) < 0:
        return False
    lo, hi = sched.heapend - sched.heapstart, sched.heapend + grow - sched.heapstart
    bits = sched.heapstart >> (GRANULE_SHIFT + 6) << 3
    if not (
        growmeta(mheap_.spantypes, lo >> PageShift, hi >> PageShift, SPAN_TYPE_BYTES)
        and growmeta(mheap_.freeindex, lo >> PageShift, hi >> PageShift, FREE_INDEX_BYTES)
        and growmeta(mheap_.spans, lo >> PageShift, hi >> PageShift, sizeof(Mspan))
        and growmeta(mheap_.allocbits + bits, bitmapbytes(lo), bitmapbytes(hi), 1)
        and growmeta(mheap_.markbits + bits, bitmapbytes(lo), bitmapbytes(hi), 1)
    ):
        return False
    sched.heapend += grow
    return True


@fn(inline=False)
def growmeta(table: int, lo: int, hi: int, width: int) -> bool:
    """MH2: entries [lo, hi) of a table become accessible and are backed by memory; what lies before them is so
    already."""
    first = (table + lo * width + OS_PAGE - 1) & -OS_PAGE
    end = (table + hi * width + OS_PAGE - 1) & -OS_PAGE
    if end <= first:
        return True
    if sysMap(first, end - first) < 0:
        return False
    while first < end:
        rawstore(first, 0)
        first += OS_PAGE
    return True


# ---- spans


@fn
def spantypes() -> SpanTypes:
    return ptr(SpanTypes, mheap_.spantypes)


@fn
def spanrecord(page: int) -> Mspan:
    return ptr(Mspan, mheap_.spans + page * sizeof(Mspan))


@fn
def freeindexof(page: int) -> FreeIndex:
    return ptr(FreeIndex, mheap_.freeindex + page * FREE_INDEX_BYTES)


@fn
def pageof(address: int) -> int:
    """Number of the page of an address of the arena."""
    return (address - sched.heapstart) >> PageShift


@fn
def slotsize(typ: Type) -> int:
    """Bytes of a slot for one such object."""
    return (typ.size + 7) & -8 or 8


@fn
def publishrun(s: Mspan, end: int):
    """MH4: the slots of `s` below `end` count as allocated. By the owner of the run, after it has taken it."""
    store(freeindexof(pageof(s.start)), "index", types.int32(end))


@fn(inline=False)
def spanalloc(npages: int, typ: Type, kind: int, elemsize: int, nelems: int) -> Mspan:
    """A fresh span of nelems slots, all free; nil if there is no memory for it. heaplock is held.

    A span of one slot is that of a large object: its further pages say TT_CONTINUED.
    """
    nbytes = npages << PageShift
    if nbytes > sched.heaplimit - mheap_.inuse or not mheapgrow(npages):
        return None
    start = sched.heapbump
    page = pageof(start)
    s = spanrecord(page)
    s.typ = typ
    s.start = start
    s.npages = npages
    s.elemsize = elemsize
    s.nelems = nelems
    for i in range(npages):
        freeindexof(page + i).index = types.int32(-i)
    fence()
    continued = TT_CONTINUED if nelems == 1 else kind
    tt = spantypes()
    for i in range(npages - 1, 0, -1):
        tt.at[page + i] = types.uint16(continued)
    tt.at[page] = types.uint16(kind)
    mheap_.inuse += nbytes
    store(sched, "heapbump", start + nbytes)
    return s


@fn(inline=False)
def layoutspan(typ: Type, elemsize: int) -> Mspan:
    """A fresh span for objects of typ's layout; nil if there is no memory. heaplock is held."""
    layout = typ.layout
    npages = 1
    if elemsize >= BIG_SLOT or mheap_.layoutspans[layout] >= FEW_SPANS:
        npages = BIG_PAGES
    s = spanalloc(npages, typ, layout + 1, elemsize, (npages << PageShift) // elemsize)
    if s is not None:
        seelayout(typ)
        mheap_.layoutspans[layout] += 1
    return s


@fn
def seelayout(typ: Type):
    """MH5: enter a layout that has its first span. heaplock is held."""
    layout = typ.layout
    if mheap_.layouttype[layout] is None:
        mheap_.layouttype[layout] = typ
        if layout >= mheap_.nlayouts:
            mheap_.nlayouts = layout + 1


@fn(inline=False)
def outofmemory(nbytes: int):
    """Keep the figures of a request that failed, for the text of MemoryError. heaplock is held."""
    sched.oomsize = nbytes
    sched.oominuse = mheap_.inuse
