"""Entry points for test_malloc.py: a unit of the runtime's language that calls the allocator with an M of the test's
choice."""

from __future__ import annotations

from gopark.compiler.image import NO_P, fn
from gopark.compiler.structs import struct, var
from gopark.runtime.lock_futex import notewakeup
from gopark.runtime.malloc import (
    mallocgc,
    mallocgc1,
    mallocslow,
    mallocslow1,
    newobject,
    newobject1,
    sizeclass,
)
from gopark.runtime.mbitmap import checkheap, checkspan, findobject, inheap, setbit, spanof, spantypeof, testbit
from gopark.runtime.mcache import allocmcache
from gopark.runtime.mheap import mheap_
from gopark.runtime.os_linux import newosproc
from gopark.runtime.prims import addr, funcaddr, gof, memclr, ptr, rawload, rawstore, setMNoWriteBarrier
from gopark.runtime.runtime2 import G, M, Type


@struct(notinheap=True)
class OnStack:
    """What a thread with a stack of ours is asked to do, and what came out."""

    typ: int
    nbytes: int
    count: int
    new: int
    slow: int
    array: int


onstack = var(OnStack, "go.test.onstack")


@fn(entered=NO_P)
def t_new(mp: int, typ: int) -> int:
    return addr(newobject1(ptr(M, mp), ptr(Type, typ)))


@fn(entered=NO_P)
def t_slow(mp: int, typ: int) -> int:
    return addr(mallocslow1(ptr(M, mp), ptr(Type, typ)))


@fn(entered=NO_P)
def t_gc(mp: int, nbytes: int, typ: int, count: int) -> int:
    return addr(mallocgc1(ptr(M, mp), nbytes, ptr(Type, typ), count))


@fn(entered=NO_P)
def t_sizeclass(n: int) -> int:
    return sizeclass(n)


@fn(entered=NO_P)
def t_allocmcache() -> int:
    return addr(allocmcache())


@fn(entered=NO_P)
def t_findobject(address: int) -> int:
    return findobject(address)


@fn(entered=NO_P)
def t_spanof(address: int) -> int:
    return addr(spanof(address))


@fn(entered=NO_P)
def t_spantype(address: int) -> int:
    return spantypeof(address) if inheap(address) else -1


@fn(entered=NO_P)
def t_checkspan(address: int) -> int:
    return checkspan(spanof(address))


@fn(entered=NO_P)
def t_checkheap() -> int:
    return checkheap()


@fn(entered=NO_P)
def t_setbit(marked: int, address: int):
    setbit(mheap_.markbits if marked != 0 else mheap_.allocbits, address)


@fn(entered=NO_P)
def t_testbit(marked: int, address: int) -> int:
    return 1 if testbit(mheap_.markbits if marked != 0 else mheap_.allocbits, address) else 0


@fn(entered=NO_P)
def t_storm(mp: int, typ: int, nbytes: int, count: int, words: int, n: int, out: int) -> int:
    """Allocate n objects (count 0) or arrays, write its address into the first words of each, look whether all hold
    it."""
    for i in range(n):
        if count == 0:
            p = addr(newobject1(ptr(M, mp), ptr(Type, typ)))
        else:
            p = addr(mallocgc1(ptr(M, mp), nbytes, ptr(Type, typ), count))
        if p == 0:
            return -1
        for k in range(words):
            if rawload(p + 8 * k) != 0:
                return -2
            rawstore(p + 8 * k, p)
        rawstore(out + 8 * i, p)
    for i in range(n):
        p = rawload(out + 8 * i)
        for k in range(words):
            if rawload(p + 8 * k) != p:
                return -3
    return n


@fn(entered=NO_P)
def t_gof(address: int) -> int:
    return addr(gof(address))


@fn(entered=NO_P)
def t_thread(mp: int, lo: int) -> int:
    """Run t_start on a thread whose stack begins at lo and ends in the G of its slab."""
    memclr(addr(gof(lo)), 64)
    setMNoWriteBarrier(gof(lo), "m", ptr(M, mp), "the test")
    return newosproc(ptr(M, mp), lo, addr(gof(lo)), funcaddr(t_start, "mstart"))


@fn(entered=NO_P)
def t_start(m: int) -> int:
    typ = ptr(Type, onstack.typ)
    onstack.new = addr(newobject(typ))
    onstack.slow = addr(mallocslow(typ))
    onstack.array = addr(mallocgc(onstack.nbytes, typ, onstack.count))
    notewakeup(ptr(M, m).park)
    return 0


# ---- stack.py is not part of this image: it has no goroutines for a dump


@fn(inline=False)
def firstg(i: int) -> G:
    return None


@fn(inline=False)
def nextg(gp: G) -> G:
    return None


@fn(inline=False)
def stackarena(address: int) -> bool:
    return False
