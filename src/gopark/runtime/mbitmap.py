"""From an address to its span, its object and its bits; and the checker of the heap's structure.

Stands for: src/runtime/mbitmap.go at 41dbcc19ef09 (heapBitsForObject, markBits), inheap and spanOf.

The two bitmaps have one bit for each 8 bytes of the arena. The bit of an object is that of its first word, so finding
it takes a shift of the address and no load: word = table + (address >> 9) * 8, bit (address >> 3) & 63.

* MB1  Addresses come from anywhere: a conservative scan passes whatever lies on a stack. findobject and spanof accept
       every integer and never fault (MH2, MH3).
* MB2  A slot is allocated if its index lies below the span's free index, or if its alloc bit is set: the index covers
       what was given out since the last sweep, the bits what that sweep found alive above it.
* MB3  findobject accepts interior addresses. One past the end belongs to the next slot, so a conservative scan that
       must keep `a` alive for a pointer to its end asks for `address - 1` as well.
* MB4  A bit that is set is that of the start of a slot; a mark bit, that of an allocated one.

Everything here reads without locks and needs no P, but for setbit, whose callers own the word or the world. Raw memory:
the words of the bitmaps.
"""

from __future__ import annotations

from gopark.compiler.image import fn
from gopark.runtime.mheap import (
    TT_ARRAY,
    TT_CONTINUED,
    TT_FREE,
    TT_NOSCAN,
    MaxSmallSize,
    Mspan,
    PageShift,
    freeindexof,
    mheap_,
    pageof,
    slotsize,
    spanrecord,
    spantypes,
)
from gopark.runtime.prims import load, ptr, rawload, rawstore
from gopark.runtime.runtime2 import Memory, Type, sched

# ---- bits: `table` is mheap_.allocbits or mheap_.markbits


@fn
def bitword(table: int, address: int) -> int:
    """The address of the word with the bit of `address`."""
    return table + (address >> 9 << 3)


@fn
def bitmask(address: int) -> int:
    return 1 << ((address >> 3) & 63)


@fn
def testbit(table: int, address: int) -> bool:
    return rawload(bitword(table, address)) & bitmask(address) != 0


@fn
def setbit(table: int, address: int):
    """Not atomic: see the head of the module."""
    word = bitword(table, address)
    rawstore(word, rawload(word) | bitmask(address))


# ---- addresses


@fn
def inheap(address: int) -> bool:
    """Whether the address lies in a page that was ever in use."""
    return sched.heapstart <= address < load(sched, "heapbump")


@fn
def spantypeof(address: int) -> int:
    """The span type of the page of an address of the arena: what the slots there hold."""
    return spantypes().at[pageof(address)]


@fn
def spanof(address: int) -> Mspan:
    """The span that an address lies in; nil if it lies in none."""
    if not inheap(address) or spantypeof(address) == TT_FREE:
        return None
    page = pageof(address)
    index = freeindexof(page).index
    return spanrecord(page + index if index < 0 else page)


@fn
def isallocated(s: Mspan, index: int) -> bool:
    """MB2."""
    if index < load(freeindexof(pageof(s.start)), "index"):
        return True
    return testbit(mheap_.allocbits, s.start + index * s.elemsize)


@fn(inline=False)
def findobject(address: int) -> int:
    """The start of the allocated object that contains the address; 0 if there is none."""
    s = spanof(address)
    if s is None:
        return 0
    index = (address - s.start) // s.elemsize
    if not isallocated(s, index):  # nor is what lies behind the last slot: MB2, MB4
        return 0
    return s.start + index * s.elemsize


@fn
def ptrword(typ: Type, i: int) -> bool:
    """Whether word i, below typ.ptrwords, of a value of that type is a pointer."""
    mask = typ.mask if i < 64 else rawload(typ.masks + (i >> 6) * 8)
    return mask >> (i & 63) & 1 != 0


@fn
def pointerat(address: int) -> Memory:
    """The pointer that lies at an address, which nobody stores at meanwhile."""
    return ptr(Memory, rawload(address))


# ---- the checker: 0, or the number of what is broken

(
    SPAN_OK,
    SPAN_RECORD,  # start, pages and slots do not fit (MH1)
    SPAN_PAGES,  # a page of it has another span type, or leads elsewhere
    SPAN_LAYOUT,  # its layout has another size, or is unknown (MH5)
    SPAN_INDEX,  # the free index is outside
    SPAN_BITS,  # MB4
    SPAN_SUM,  # the spans do not add up to what is in use
) = range(7)


@fn(inline=False)
def checkspan(s: Mspan) -> int:
    """Whether the tables agree about a span. The caller sees to it that nobody allocates from it meanwhile."""
    page = pageof(s.start)
    size = s.elemsize
    if addressofpage(page) != s.start or s.npages < 1 or s.nelems < 1 or s.typ is None:
        return SPAN_RECORD
    if size < 8 or size & 7 != 0 or s.nelems * size > s.npages << PageShift:
        return SPAN_RECORD
    kind = spantypes().at[page]
    if kind == TT_FREE or kind == TT_CONTINUED or (size > MaxSmallSize and s.nelems != 1):
        return SPAN_RECORD
    for i in range(1, s.npages):
        if spantypes().at[page + i] != (TT_CONTINUED if s.nelems == 1 else kind) or freeindexof(page + i).index != -i:
            return SPAN_PAGES
    if kind < TT_NOSCAN:
        typ = mheap_.layouttype[kind - 1]
        if typ is None or typ.layout != kind - 1 or s.typ.layout != kind - 1 or slotsize(typ) != size:
            return SPAN_LAYOUT
    elif (kind == TT_ARRAY) != (s.typ.ptrwords != 0):
        return SPAN_LAYOUT
    index = freeindexof(page).index
    if index < 0 or index > s.nelems:
        return SPAN_INDEX
    return checkbits(s)


@fn
def addressofpage(page: int) -> int:
    return sched.heapstart + (page << PageShift)


@fn(inline=False)
def checkbits(s: Mspan) -> int:
    """MB4 for one span."""
    for granule in range(s.npages << (PageShift - 3)):
        a = s.start + (granule << 3)
        allocated, marked = testbit(mheap_.allocbits, a), testbit(mheap_.markbits, a)
        if allocated or marked:
            index = (a - s.start) // s.elemsize
            if index >= s.nelems or a != s.start + index * s.elemsize or (marked and not isallocated(s, index)):
                return SPAN_BITS
    return SPAN_OK


@fn(inline=False)
def checkheap() -> int:
    """Every page that was ever in use belongs to one span, and every span is in order. Nobody may allocate
    meanwhile."""
    a, inuse = sched.heapstart, 0
    while a < sched.heapbump:
        s = spanof(a)
        if s is None or s.start != a:
            return SPAN_PAGES
        broken = checkspan(s)
        if broken != SPAN_OK:
            return broken
        inuse += s.npages << PageShift
        a += s.npages << PageShift
    if a != sched.heapbump or inuse != mheap_.inuse:
        return SPAN_SUM
    return SPAN_OK
