"""Whether Python can still wake a goroutine: a walk from the handles over the heap.

Stands for: nothing in Go, whose verdict "all goroutines are asleep" is given up as soon as there is C code that might
call back.

A goroutine waits for a channel, or for a count in an object. Python can wake it if it can get at that object: because
it holds a handle of it, or of something from which pointers lead there. So the walk starts at the handles that are held
and marks what it meets, in a bitmap of its own (the collector's mark bits are the collector's). It is precise, as the
heap is.

* RE1  Called on a thread without a P, and nobody is stopped: the answer counts only if nothing changed meanwhile. The
       goroutines of all runs that were given objects are parked (runs.py, R5), so only Python could change anything,
       and `handles.changes` tells (handle.py, HA2).
* RE2  Every address that is followed is looked up first (findobject accepts all), and every sudog is seen to lie in the
       stack of the goroutine that waits: nothing that is read here may fault.
* RE3  Nothing is reclaimed during a walk.

Where there is no memory for the bitmap, Python counts as able to reach everything: a verdict that is missing does less
harm than a wrong one. Raw memory: bitmap, stack of the walk, words of objects.
"""

from __future__ import annotations

from gopark.compiler.image import fn
from gopark.compiler.structs import struct
from gopark.runtime.handle import handles
from gopark.runtime.mbitmap import findobject, ptrword, spanof, spantypeof
from gopark.runtime.mheap import TT_ARRAY, TT_NOSCAN, mheap_
from gopark.runtime.os_linux import sysFree, sysMap, sysReserve
from gopark.runtime.prims import addr, load, local, rawload, rawstore
from gopark.runtime.runtime2 import G, Gwaiting, Run, Type, sched
from gopark.runtime.stack import firstg, nextg


@struct(notinheap=True)
class Walk:
    base: int  # of the heap, when the walk began
    end: int
    bits: int  # one bit for 8 bytes: seen
    stack: int  # objects that were seen and not scanned
    top: int  # the end of the stack of those


@fn(inline=False)
def pythonreaches(run: Run) -> bool:
    """Whether Python can get at something that a goroutine of the run, or of a run judged together with it, waits
    for."""
    before = load(handles, "changes")
    if load(handles, "count") == 0:
        return False
    w = local(Walk)
    w.base = sched.heapstart
    w.end = load(sched, "heapbump")
    size = w.end - w.base
    if size == 0:
        return False
    bitmap = ((size >> 6) + 4095) & -4096
    total = bitmap + ((size + 4095) & -4096)  # no more objects than there are words
    w.bits = sysReserve(total)
    if w.bits < 0:
        return True
    found = True
    if sysMap(w.bits, total) >= 0:
        w.stack = w.bits + bitmap
        w.top = w.stack
        walkhandles(w)
        found = anywaits(w, run)
    sysFree(w.bits, total)
    return found or load(handles, "changes") != before


@fn(inline=False)
def walkhandles(w: Walk):
    """Mark whatever Python can reach."""
    h = handles.all
    while h is not None:
        if load(h, "held") != 0:
            visit(w, addr(h.obj))
        h = h.alllink
    while w.top != w.stack:
        w.top -= 8
        scan(w, rawload(w.top))


@fn
def seenword(w: Walk, object: int) -> int:
    return w.bits + ((object - w.base) >> 9 << 3)


@fn
def seen(w: Walk, object: int) -> bool:
    return rawload(seenword(w, object)) >> ((object - w.base) >> 3 & 63) & 1 != 0


@fn(inline=False)
def visit(w: Walk, address: int):
    """Mark the object at an address, if there is one, and remember to scan it."""
    if not w.base <= address < w.end:
        return
    object = findobject(address)
    if object == 0 or seen(w, object):
        return
    word = seenword(w, object)
    rawstore(word, rawload(word) | 1 << ((object - w.base) >> 3 & 63))
    rawstore(w.top, object)
    w.top += 8


@fn(inline=False)
def scan(w: Walk, object: int):
    """Visit what the object points to."""
    kind = spantypeof(object)
    if kind == TT_NOSCAN:
        return
    if kind == TT_ARRAY:
        s = spanof(object)
        count = s.elemsize // s.typ.size
        for i in range(count):
            scanvalue(w, s.typ, object + i * s.typ.size)
    else:
        scanvalue(w, mheap_.layouttype[kind - 1], object)


@fn(inline=False)
def scanvalue(w: Walk, typ: Type, at: int):
    for i in range(typ.ptrwords):
        if ptrword(typ, i):
            visit(w, rawload(at + 8 * i))


@fn(inline=False)
def anywaits(w: Walk, run: Run) -> bool:
    """Whether a goroutine of those runs waits for something that was seen."""
    gp = firstg(0)
    while gp is not None:
        owner = gp.run
        if owner is not None and (owner is run or owner.given != 0) and load(gp, "atomicstatus") == Gwaiting:
            if waitsforseen(w, gp):
                return True
        gp = nextg(gp)
    return False


@fn(inline=False)
def waitsforseen(w: Walk, gp: G) -> bool:
    sg = gp.waiting
    while sg is not None and gp.stacklo < addr(sg) < addr(gp) and addr(sg) & 7 == 0:  # RE2
        if isseen(w, addr(sg.c)) or isseen(w, sg.ticket):
            return True
        sg = sg.waitlink
    return False


@fn(inline=False)
def isseen(w: Walk, address: int) -> bool:
    if not w.base <= address < w.end:
        return False
    object = findobject(address)
    return object != 0 and seen(w, object)
