"""Lists: arrays of the collected heap that grow.

Stands for: src/runtime/slice.go at 41dbcc19ef09 (growslice, slicecopy). Go's slice is a view of an array that may move
away under it; what Python's programmers expect is a list: one object, with one length, however many refer to it.

A List is an object with a length, a capacity and a buffer; user code reads and writes elements inline (types/list.py)
and comes here to grow, to open and to close gaps, and to copy.

* LI1  The capacity only grows, one goroutine at a time (`lock`): a longer buffer is stored before its `cap`, which is
       stored before a greater `len`; readers load them in the opposite order, and each function loads `len` once. So
       who reads or writes a list while another goroutine changes it may see old elements, or lose some, but never
       touches memory that is not the list's.
* LI2  What lies in the buffer behind `len` is zero: nothing there keeps an object alive.
* LI3  `cases` is memory for a select over the channels in the list (select.py): taken while one goes on, and put back.

Everything here needs a P: elements are copied by typedmemmove, pointer stores are plain.
"""

from __future__ import annotations

from gopark.compiler.image import WITH_P, fn
from gopark.compiler.structs import Embed, struct
from gopark.runtime.lock_futex import spinlock, spinunlock
from gopark.runtime.malloc import mallocgc, newobject
from gopark.runtime.mbarrier import typedmemmove
from gopark.runtime.prims import addr, load, memclr, memmove, ptr, store, typedesc
from gopark.runtime.runtime2 import Memory, Mutex, Type

MaxBuffer = 1 << 40  # bytes


@struct
class List:
    len: int
    cap: int
    buf: Memory
    elemtype: Type
    cases: Memory  # LI3
    lock: Embed[Mutex]  # LI1


@fn(inline=False, entered=WITH_P)
def makelist(elemtype: Type) -> List:
    """An empty list; nil if there is no memory."""
    o = newobject(typedesc(List))
    if o is None:
        return None
    l = ptr(List, addr(o))
    l.elemtype = elemtype
    return l


@fn
def moveelems(elemtype: Type, to: int, frm: int, n: int):
    """Copy n elements; the ranges may overlap."""
    size = elemtype.size
    if elemtype.ptrwords == 0:
        memmove(to, frm, n * size)
    elif to < frm:
        for i in range(n):
            typedmemmove(elemtype, to + i * size, frm + i * size)
    else:
        for k in range(n):
            i = n - 1 - k
            typedmemmove(elemtype, to + i * size, frm + i * size)


@fn(inline=False, entered=WITH_P)
def growslice(l: List, more: int) -> int:
    """Make room for `more` elements behind the last one; 0 if there is no memory. The capacity doubles."""
    size = l.elemtype.size
    while True:
        cap = load(l, "cap")
        need = load(l, "len") + more
        if need <= cap:
            return 1
        newcap = 2 * cap
        if newcap < 4:
            newcap = 4
        if newcap < need:
            newcap = need
        if size > 0 and newcap > MaxBuffer // size:
            return 0
        buf = mallocgc(size * newcap, l.elemtype, newcap)
        if buf is None:
            return 0
        spinlock(l.lock)
        unchanged = l.cap == cap
        if unchanged:
            moveelems(l.elemtype, addr(buf), addr(l.buf), load(l, "len"))
            l.buf = buf
            store(l, "cap", newcap)
        spinunlock(l.lock)
        if unchanged:
            return 1


@fn(inline=False, entered=WITH_P)
def opengap(l: List, i: int, n: int) -> int:
    """Make room for n elements before the i-th; what lies there is for the caller to overwrite. 0: no memory."""
    while True:
        if growslice(l, n) == 0:
            return 0
        length = load(l, "len")
        if length + n <= load(l, "cap"):
            break
    if i > length:
        i = length
    size = l.elemtype.size
    base = addr(l.buf)
    moveelems(l.elemtype, base + (i + n) * size, base + i * size, length - i)
    store(l, "len", length + n)
    return 1


@fn(inline=False, entered=WITH_P)
def closegap(l: List, i: int, n: int):
    """Take n elements out, from the i-th on; nothing if they are not there any more. LI2."""
    length = load(l, "len")
    rest = length - n
    if rest < i:
        return
    size = l.elemtype.size
    base = addr(l.buf)
    moveelems(l.elemtype, base + i * size, base + (i + n) * size, rest - i)
    store(l, "len", rest)
    memclr(base + rest * size, n * size)


@fn(inline=False, entered=WITH_P)
def copyslice(l: List, elemtype: Type, start: int, step: int, n: int) -> List:
    """A new list of the n elements l[start], l[start + step] ..., which are of that type; nil if there is no memory. If
    n is 0, l may be nil."""
    made = makelist(elemtype)
    if made is None or growslice(made, n) == 0:
        return None
    if n == 0:
        return made
    size = elemtype.size
    frm = addr(l.buf) + start * size
    if step == 1:
        moveelems(elemtype, addr(made.buf), frm, n)
    else:
        for i in range(n):
            moveelems(elemtype, addr(made.buf) + i * size, frm + i * step * size, 1)
    store(made, "len", n)
    return made
