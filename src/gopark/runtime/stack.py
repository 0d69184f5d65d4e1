"""Stacks of goroutines: aligned slabs with the G at the top.

Stands for: src/runtime/stack1.go at 41dbcc19ef09; stacks here have one size and never move.

        stacklo                                                             stacklo + STACK
        │ guard (16 KiB, no access) │ room (12 KiB) │ frames ... ◀── sp │ arguments │ G │ colour │
                                                    ▲ stackguard

* ST1  A slab is STACK bytes, aligned to STACK, so the G is found from any stack pointer (compiler/asm_amd64.py). The
       stack of an M (g0) is several slabs in a row; only its top slab has a G, and runtime code stays in that one.
* ST2  Memory is reserved once, made accessible 64 MiB at a time, and backed by the kernel at first touch.
* ST3  The guard needs no mapping of its own where the kernel has MADV_GUARD_INSTALL; elsewhere mprotect guards the
       first slabs, as long as the number of mappings of a process allows it.
* ST4  `stackguard` leaves room below it for what does not check: the runtime, libm. A function that may overflow
       compares its stack pointer with it at entry and raises; the guard page is the backstop.
* ST5  A G is entered in allgs when it is made, and reused with its stack: per-P free lists (need a P), a global one
       (needs stacklock). Both are last-in first-out, so that warm stacks are reused.
* ST6  `allgs`, `usedgs` and `coldbits` have a bit for every slab. A G in the global free list is not in usedgs, where
       firstg and nextg look: a walk costs what there is now, not what there was at the peak. A free stack whose memory
       is given back (stackscavenge) leaves allgs and becomes *cold*: its slab, with its guard, is there for the next
       one who needs a stack. So a peak costs memory only while it lasts. Whoever walks without a lock may still look at
       such a G: it reads zeros, a G that is idle, belongs to no run and waits for nothing.
* ST7  Given back is what lies in the global free list beyond KEEP when a run ends, and beyond what was in use within
       the last second while one goes on. While somebody does that no cold slab is handed out, because its memory is
       about to go.

stackalloc, gfgetglobal, gfpurge and gostartcall may run without a P (a new M, a Python thread): they use setters, allgs
is the registry. gfput and gfget need a P. Raw memory: the first words of a new stack.
"""

from __future__ import annotations

from gopark.compiler.image import fn
from gopark.runtime.audit import FREE, ONWAY, auditstatus, moveg
from gopark.runtime.lock_futex import lock, unlock
from gopark.runtime.os_linux import (
    MADV_DONTNEED,
    MADV_GUARD_INSTALL,
    MADV_NOHUGEPAGE,
    madvise,
    sysGuard,
    sysMap,
    sysReserve,
)
from gopark.runtime.prims import (
    addr,
    checking,
    fence,
    gof,
    gspace,
    memmove,
    rawload,
    rawstore,
    setGNoWriteBarrier,
    setRunNoWriteBarrier,
    stackbytes,
    symaddr,
    throw,
)
from gopark.runtime.runtime2 import G, Gdead, Grunnable, P, Run, sched

GUARD = 16 << 10
ROOM = 12 << 10
SIGNAL_STACK = 64 << 10  # at the low end of an M's stack, above the guard
ARENA = 1 << 40
ARENA_MINIMUM = 1 << 30
COMMIT = 64 << 20  # no slab is larger (config.py)
MPROTECT_GUARDS = 16000  # of the 65530 mappings a process may have
GFREE_LOCAL, GFREE_BATCH = 64, 32
KEEP = 16384  # free stacks that are never given back: at a page each, 64 MiB
SCAVENGE_BATCH = 512  # how many go at a time, between two releases of the lock
SCAVENGE_LOOKS = 20  # looks of a thread in go.run, 50 ms each


@fn(inline=False)
def stackinit():
    """Reserve the arena."""
    slab = stackbytes()
    size = ARENA
    base = sysReserve(size + slab)
    while base < 0:
        size //= 2
        if size < ARENA_MINIMUM:
            throw("out of address space for goroutine stacks")
        base = sysReserve(size + slab)
    lo = (base + slab - 1) & -slab
    sched.stackstart = lo
    sched.stackbump = lo
    sched.stackmapped = lo
    sched.stackend = lo + size // slab * slab
    sched.allgs = slabbitmap(size // slab)
    sched.usedgs = slabbitmap(size // slab)
    sched.coldbits = slabbitmap(size // slab)
    sched.guardok = 1


@fn(inline=False)
def slabbitmap(bits: int) -> int:
    """Zeroed memory for so many bits, backed at first touch."""
    n = (bits // 8 + 4096) & -4096
    base = sysReserve(n)
    if base < 0 or sysMap(base, n) < 0:
        throw("out of memory for the table of goroutine stacks")
    return base


@fn
def slabset(bits: int, i: int):
    word = bits + (i >> 6) * 8
    rawstore(word, rawload(word) | (1 << (i & 63)))


@fn
def slabclear(bits: int, i: int):
    word = bits + (i >> 6) * 8
    rawstore(word, rawload(word) & ~(1 << (i & 63)))


@fn(inline=False)
def slabnext(bits: int, i: int, n: int) -> int:
    """The first set bit from the i-th on, below n; n if there is none."""
    while i < n:
        word = rawload(bits + (i >> 6) * 8) >> (i & 63)
        if word == 0:
            i = (i | 63) + 1
        else:
            while word & 1 == 0:
                word >>= 1
                i += 1
            return i
    return n


@fn
def slabof(address: int) -> int:
    """The number of the slab in which the address lies."""
    return (address - sched.stackstart) // stackbytes()


@fn(inline=False)
def firstg(i: int) -> G:
    """The G of the first slab from the i-th on that has one, the Gs in the global free list left out; nil at the end.
    Takes no lock. ST6."""
    n = slabof(sched.stackbump)
    i = slabnext(sched.usedgs, i, n)
    if i >= n:
        return None
    return gof(sched.stackstart + i * stackbytes())


@fn(inline=False)
def nextg(gp: G) -> G:
    """The next one after gp, or nil."""
    return firstg(slabof(addr(gp)) + 1)


@fn
def stackarena(address: int) -> bool:
    """Whether the address lies in a slab."""
    return sched.stackstart <= address and address < sched.stackbump


@fn
def guardof(gp: G) -> int:
    """The stackguard of a goroutine: all have the same space above it, whatever their colours."""
    return addr(gp) - stackbytes() + gspace() + GUARD + ROOM


@fn(inline=False)
def stackalloc(slabs: int) -> G:
    """A stack with its G, which is entered in allgs: a cold one, or a new one. Takes stacklock and allglock."""
    lock(sched.stacklock)
    lo = 0
    if slabs == 1 and sched.coldcount > 0 and sched.scavenging == 0:
        lo = stackwarm()
    if lo == 0:
        lo = stackgrow(slabs)
    gp = gof(lo + stackbytes() * (slabs - 1))
    slabset(sched.usedgs, slabof(lo) + slabs - 1)
    unlock(sched.stacklock)
    gp.stacklo = lo
    gp.stackguard = guardof(gp)
    gp.atomicstatus = Gdead
    allgadd(gp)
    return gp


@fn(inline=False)
def stackgrow(slabs: int) -> int:
    """The address of a new stack of so many slabs, with its guard. stacklock is held."""
    lo = sched.stackbump
    slab = stackbytes()
    hi = lo + slab * slabs
    if hi > sched.stackend:
        throw("out of address space for goroutine stacks")
    while hi > sched.stackmapped:
        if sysMap(sched.stackmapped, COMMIT) < 0:
            throw("out of memory for goroutine stacks")
        madvise(sched.stackmapped, COMMIT, MADV_NOHUGEPAGE)
        sched.stackmapped += COMMIT
    sched.stackbump = hi
    if sched.guardok != 0 and madvise(lo, GUARD, MADV_GUARD_INSTALL) < 0:
        sched.guardok = 0
    if sched.guardok == 0 and sched.guards < MPROTECT_GUARDS:
        sysGuard(lo, GUARD)
        sched.guards += 1
    return lo


@fn(inline=False)
def stackwarm() -> int:
    """The address of a cold stack. stacklock is held, and there is one."""
    n = slabof(sched.stackbump)
    i = slabnext(sched.coldbits, sched.coldhint * 64, n)
    if i >= n:
        throw("a cold stack is missing")
    slabclear(sched.coldbits, i)
    sched.coldhint = i >> 6
    sched.coldcount -= 1
    return sched.stackstart + i * stackbytes()


@fn(inline=False)
def allgadd(gp: G):
    """Enter a G in allgs. Readers take no lock: its bit is set last."""
    lock(sched.allglock)
    fence()
    slabset(sched.allgs, slabof(addr(gp)))
    sched.allglen += 1
    unlock(sched.allglock)


# ---- memory is given back


@fn(inline=False)
def stackscavenge(surplus: int):
    """Give the memory of that many free stacks back, at most. Runs without a P. ST6, ST7."""
    lock(sched.stacklock)
    if sched.scavenging != 0 or surplus < SCAVENGE_BATCH:
        unlock(sched.stacklock)
        return
    sched.scavenging = 1
    n = 0
    while n < surplus and sched.gfree is not None:
        n += coolstacks(SCAVENGE_BATCH)
        unlock(sched.stacklock)
        lock(sched.stacklock)
    unlock(sched.stacklock)
    dropcold()
    lock(sched.stacklock)
    sched.coldcount += n
    sched.coldhint = 0
    sched.scavenging = 0
    unlock(sched.stacklock)


@fn(inline=False)
def coolstacks(most: int) -> int:
    """Up to `most` stacks from the global free list become cold; how many. stacklock is held."""
    n = 0
    lock(sched.allglock)
    while n < most and sched.gfree is not None:
        gp = sched.gfree
        setGNoWriteBarrier(sched, "gfree", gp.schedlink, "allgs")
        if checking():
            moveg(gp, FREE, ONWAY)
        i = slabof(addr(gp))
        slabclear(sched.allgs, i)
        slabset(sched.coldbits, i)
        n += 1
    sched.gfreecnt -= n
    sched.allglen -= n
    unlock(sched.allglock)
    return n


@fn(inline=False)
def dropcold():
    """Give the memory of all cold slabs back, neighbours at a time. Guards stay: they survive MADV_DONTNEED."""
    slab = stackbytes()
    n = slabof(sched.stackbump)
    i = slabnext(sched.coldbits, 0, n)
    while i < n:
        j = i + 1
        while j < n and rawload(sched.coldbits + (j >> 6) * 8) >> (j & 63) & 1 != 0:
            j += 1
        madvise(sched.stackstart + i * slab, (j - i) * slab, MADV_DONTNEED)
        i = slabnext(sched.coldbits, j, n)


@fn(inline=False)
def scavengeall():
    """A run has ended."""
    stackscavenge(sched.gfreecnt - KEEP)


@fn(inline=False)
def scavengeidle():
    """A run goes on: what was not needed within the last looks."""
    sched.scavtick += 1
    if sched.scavtick % SCAVENGE_LOOKS == 0:
        low = sched.gfreelow
        sched.gfreelow = sched.gfreecnt
        stackscavenge(low - KEEP)


@fn
def gfput(pp: P, gp: G):
    """A dead G to the free list of its P."""
    if checking():
        moveg(gp, ONWAY, FREE)
    n = pp.gfreecnt
    if n >= GFREE_LOCAL:
        n = gfputslow(pp, n)
    gp.schedlink = pp.gfree
    pp.gfree = gp
    pp.gfreecnt = n + 1


@fn(inline=False)
def gfputslow(pp: P, n: int) -> int:
    lock(sched.stacklock)
    while n > GFREE_LOCAL - GFREE_BATCH:
        gp = pp.gfree
        pp.gfree = gp.schedlink
        gp.schedlink = sched.gfree
        sched.gfree = gp
        sched.gfreecnt += 1
        slabclear(sched.usedgs, slabof(addr(gp)))
        n -= 1
    unlock(sched.stacklock)
    return n


@fn(inline=False)
def gfpurge(pp: P):
    """The dead Gs of a P that is taken out of service, to the global list. Runs without a P."""
    lock(sched.stacklock)
    while pp.gfree is not None:
        gp = pp.gfree
        setGNoWriteBarrier(pp, "gfree", gp.schedlink, "allgs")
        setGNoWriteBarrier(gp, "schedlink", sched.gfree, "allgs")
        setGNoWriteBarrier(sched, "gfree", gp, "allgs")
        sched.gfreecnt += 1
        slabclear(sched.usedgs, slabof(addr(gp)))
    pp.gfreecnt = 0
    unlock(sched.stacklock)


@fn
def gfget(pp: P) -> G:
    """A dead G with its stack."""
    gp = pp.gfree
    if gp is None:
        return gfgetslow(pp)
    pp.gfree = gp.schedlink
    pp.gfreecnt -= 1
    if checking():
        moveg(gp, FREE, ONWAY)
    return gp


@fn(inline=False)
def gfgetslow(pp: P) -> G:
    if sched.gfree is not None:
        lock(sched.stacklock)
        n = 0
        while n < GFREE_BATCH and sched.gfree is not None:
            gp = sched.gfree
            sched.gfree = gp.schedlink
            sched.gfreecnt -= 1
            gp.schedlink = pp.gfree
            pp.gfree = gp
            slabset(sched.usedgs, slabof(addr(gp)))
            n += 1
        if sched.gfreecnt < sched.gfreelow:
            sched.gfreelow = sched.gfreecnt
        unlock(sched.stacklock)
        pp.gfreecnt += n
    gp = pp.gfree
    if gp is None:
        return stackalloc(1)
    pp.gfree = gp.schedlink
    pp.gfreecnt -= 1
    if checking():
        moveg(gp, FREE, ONWAY)
    return gp


@fn(inline=False)
def gfgetglobal() -> G:
    """A dead G for a thread without a P."""
    lock(sched.stacklock)
    gp = sched.gfree
    if gp is not None:
        setGNoWriteBarrier(sched, "gfree", gp.schedlink, "allgs")
        sched.gfreecnt -= 1
        slabset(sched.usedgs, slabof(addr(gp)))
    unlock(sched.stacklock)
    if gp is None:
        return stackalloc(1)
    if checking():
        moveg(gp, FREE, ONWAY)
    return gp


@fn(inline=True)
def gostartcall(gp: G, run: Run, entry: int, argp: int, n: int, where: int):
    """Prepare a dead G to run entry(record): the n bytes of the record are copied to the new stack.

    A fresh context is [entry0][G][gostart]; entry0 pops both and calls (asm_amd64.py).
    """
    record = (addr(gp) - n) & ~15
    memmove(record, argp, n)
    sp = record - 72
    rawstore(sp, symaddr("go.entry0", "asm"))
    rawstore(sp + 8, addr(gp))
    rawstore(sp + 16, symaddr("go.gostart", "gostart"))
    gp.sp = sp
    gp.startfn = entry
    gp.startarg = record
    gp.spawnrec = where
    gp.ended = 0
    gp.tbcount = 0
    gp.tbexc = 0
    setRunNoWriteBarrier(gp, "run", run, "allruns")
    gp.preempt = 0
    gp.stackguard = guardof(gp)
    if checking():
        auditstatus(gp, Gdead)
    gp.atomicstatus = Grunnable
