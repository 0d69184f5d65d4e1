"""Entry points for the tests of queues and of M and P: the runtime's functions, on structs that the tests make.

No goroutine runs in the images that these are part of. What they need of the rest is in threads_unit.py; or they have
proc.py and runs.py (proc_unit.py).
"""

from __future__ import annotations

from gopark.compiler.image import NO_P, fn
from gopark.compiler.structs import struct, var
from gopark.runtime.lock_futex import lock, notesleep, notewakeup, unlock
from gopark.runtime.mp import (
    acquirep,
    handoffp,
    mget,
    mput,
    mspinning,
    newm,
    pidleget,
    pidleput,
    releasep,
    startlockedm,
    startm,
    stoplockedm,
    stopm,
    wakeidle,
)
from gopark.runtime.os_linux import newosproc, osyield
from gopark.runtime.prims import (
    addr,
    funcaddr,
    gof,
    load,
    memclr,
    pause,
    ptr,
    rawload,
    rawstore,
    setGNoWriteBarrier,
    setMcacheNoWriteBarrier,
    setMNoWriteBarrier,
    setPNoWriteBarrier,
    store,
    xadd,
)
from gopark.runtime.runq import globrunqget, globrunqput, globrunqputhead, runqempty, runqget, runqput, runqsteal
from gopark.runtime.runtime2 import G, M, Mcache, P, sched
from gopark.runtime.stack import stackinit


@struct(notinheap=True)
class Started:
    """What the last thread that began in mstart found."""

    m: int
    nextp: int
    spinning: int
    count: int
    poked: int
    target: int  # a thread with a stack of ours: where it shall store a pointer
    arrived: int  # how often a thread has come to `meet`
    found: int  # whether the one that gave up looking found work after all


started = var(Started, "go.test.started")


# ---- run queues


@fn(entered=NO_P)
def t_runqput(pp: int, gp: int, next: int):
    runqput(ptr(P, pp), ptr(G, gp), next != 0)


@fn(entered=NO_P)
def t_runqget(pp: int) -> int:
    return addr(runqget(ptr(P, pp)))


@fn(entered=NO_P)
def t_runqempty(pp: int) -> int:
    return 1 if runqempty(ptr(P, pp)) else 0


@fn(entered=NO_P)
def t_runqsteal(pp: int, victim: int, stealnext: int) -> int:
    return addr(runqsteal(ptr(P, pp), ptr(P, victim), stealnext != 0))


@fn(entered=NO_P)
def t_globrunqput(gp: int):
    lock(sched.lock)
    globrunqput(ptr(G, gp))
    unlock(sched.lock)


@fn(entered=NO_P)
def t_globrunqputhead(gp: int):
    lock(sched.lock)
    globrunqputhead(ptr(G, gp))
    unlock(sched.lock)


@fn(entered=NO_P)
def t_lock():
    lock(sched.lock)


@fn(entered=NO_P)
def t_unlock():
    unlock(sched.lock)


@fn(entered=NO_P)
def t_globrunqputlocked(gp: int):
    """The caller holds sched.lock."""
    globrunqput(ptr(G, gp))


@fn(entered=NO_P)
def t_globrunqget(pp: int, most: int) -> int:
    lock(sched.lock)
    gp = globrunqget(ptr(P, pp), most)
    unlock(sched.lock)
    return addr(gp)


@fn(entered=NO_P)
def t_owner(pp: int, gs: int, n: int, out: int) -> int:
    """Put n Gs, every fourth as the next one, and take one back after every second; what was taken, to `out`."""
    p = ptr(P, pp)
    took = 0
    for i in range(n):
        runqput(p, ptr(G, rawload(gs + 8 * i)), i & 3 == 0)
        if i & 1 == 1:
            gp = runqget(p)
            if gp is not None:
                rawstore(out + 8 * took, addr(gp))
                took += 1
    while not runqempty(p):
        gp = runqget(p)
        if gp is not None:
            rawstore(out + 8 * took, addr(gp))
            took += 1
    xadd(started, "count", 1)
    return took


@fn(entered=NO_P)
def t_thief(pp: int, victim: int, out: int) -> int:
    """Steal from the victim, and take all that came along, until its owner is done; what was taken, to `out`."""
    p = ptr(P, pp)
    took = 0
    done = False
    while not done:
        done = load(started, "count") != 0
        gp = runqsteal(p, ptr(P, victim), True)
        while gp is not None:
            rawstore(out + 8 * took, addr(gp))
            took += 1
            gp = runqget(p)
    return took


# ---- notes


@fn(entered=NO_P)
def t_notesleep(mp: int):
    notesleep(ptr(M, mp).park)


@fn(entered=NO_P)
def t_notewakeup(mp: int):
    notewakeup(ptr(M, mp).park)


# ---- M and P


@fn(entered=NO_P)
def t_stackinit():
    stackinit()


@fn(entered=NO_P)
def t_pidleput(pp: int):
    lock(sched.lock)
    pidleput(ptr(P, pp))
    unlock(sched.lock)


@fn(entered=NO_P)
def t_pidleget() -> int:
    lock(sched.lock)
    pp = pidleget()
    unlock(sched.lock)
    return addr(pp)


@fn(entered=NO_P)
def t_mput(mp: int):
    lock(sched.lock)
    mput(ptr(M, mp))
    unlock(sched.lock)


@fn(entered=NO_P)
def t_mget() -> int:
    lock(sched.lock)
    mp = mget()
    unlock(sched.lock)
    return addr(mp)


@fn(entered=NO_P)
def t_acquirep(mp: int, pp: int):
    acquirep(ptr(M, mp), ptr(P, pp))


@fn(entered=NO_P)
def t_releasep(mp: int) -> int:
    return addr(releasep(ptr(M, mp)))


@fn(entered=NO_P)
def t_stopm(mp: int):
    stopm(ptr(M, mp))


@fn(entered=NO_P)
def t_stoplockedm(mp: int):
    stoplockedm(ptr(M, mp))


@fn(entered=NO_P)
def t_startlockedm(mp: int, gp: int):
    startlockedm(ptr(M, mp), ptr(G, gp))


@fn
def meet(turn: int):
    """Wait for the other one of two threads, for the turn-th time."""
    xadd(started, "arrived", 1)
    n = 0
    while load(started, "arrived") < 2 * turn:
        pause()
        n += 1
        if n & 1023 == 0:
            osyield()  # the other one has no core


@fn(entered=NO_P)
def t_producer(pp: int, gp: int, idle: int, mp: int, rounds: int) -> int:
    """Make gp stealable, again and again, while `t_looker` gives up looking for work; how often neither noticed the
    other. `idle` is an idle P, and mp an M to be woken for it."""
    lost = 0
    for i in range(rounds):
        pidleput(ptr(P, idle))
        mput(ptr(M, mp))
        store(sched, "nmspinning", 1)
        meet(2 * i + 1)
        runqput(ptr(P, pp), ptr(G, gp), False)
        wakeidle()
        meet(2 * i + 2)
        if ptr(M, mp).nextp is None and started.found == 0:
            lost += 1
        runqget(ptr(P, pp))
        setPNoWriteBarrier(ptr(M, mp), "nextp", None, "the test")
        forget()
    return lost


@fn(entered=NO_P)
def t_looker(pp: int, rounds: int):
    """The other side: an M that gives up looking, as in findrunnable_nop."""
    for i in range(rounds):
        meet(2 * i + 1)
        xadd(sched, "nmspinning", -1)
        started.found = 0 if runqempty(ptr(P, pp)) else 1
        meet(2 * i + 2)


@fn(entered=NO_P)
def t_startm(pp: int, spinning: int):
    startm(ptr(P, pp), spinning != 0)


@fn(entered=NO_P)
def t_handoffp(pp: int):
    handoffp(ptr(P, pp))


@fn(entered=NO_P)
def t_hands_over(pp: int, rounds: int):
    for i in range(rounds):
        meet(2 * i + 1)
        handoffp(ptr(P, pp))
        meet(2 * i + 2)


@fn(entered=NO_P)
def t_hands_over_and_counts(pp: int, m1: int, m2: int, rounds: int) -> int:
    """The same at the same time, with two Ms that sleep: how often not exactly those were told to spin that count as
    spinning."""
    wrong = 0
    for i in range(rounds):
        mput(ptr(M, m1))
        mput(ptr(M, m2))
        meet(2 * i + 1)
        for _ in range(i % 16):  # the other one has to fetch more lines
            pause()
        handoffp(ptr(P, pp))
        meet(2 * i + 2)
        spinning = ptr(M, m1).spinning + ptr(M, m2).spinning
        if spinning != load(sched, "nmspinning") or spinning + load(sched, "npidle") != 2:
            wrong += 1
        ptr(M, m1).spinning = 0
        ptr(M, m2).spinning = 0
        setPNoWriteBarrier(ptr(M, m1), "nextp", None, "the test")
        setPNoWriteBarrier(ptr(M, m2), "nextp", None, "the test")
        forget()
    return wrong


@fn
def forget():
    """Nobody is idle and nobody spins."""
    setPNoWriteBarrier(sched, "pidle", None, "the test")
    setMNoWriteBarrier(sched, "midle", None, "the test")
    store(sched, "npidle", 0)
    store(sched, "nmspinning", 0)
    sched.nmidle = 0


@fn(entered=NO_P)
def t_newm(function: int, pp: int):
    newm(function, ptr(P, pp))


@fn(entered=NO_P)
def t_mspinning() -> int:
    return funcaddr(mspinning, "mstartfn")


# ---- the check at run time


@fn(entered=NO_P)
def t_thread(mp: int, lo: int) -> int:
    """Run t_store on a thread whose stack begins at lo and ends in the G of its slab."""
    memclr(addr(gof(lo)), 64)
    setMNoWriteBarrier(gof(lo), "m", ptr(M, mp), "the test")
    return newosproc(ptr(M, mp), lo, addr(gof(lo)), funcaddr(t_store, "mstart"))


@fn(entered=NO_P)
def t_store(m: int) -> int:
    """Two plain pointer stores to the target: of the M itself, and of nil; one atomic one."""
    target = ptr(M, started.target)
    target.schedlink = ptr(M, m)
    target.alllink = None
    store(target, "curg", ptr(G, m))
    notewakeup(ptr(M, m).park)
    return 0


@fn(entered=NO_P)
def t_set(m: int):
    """The same store by a setter, on a thread of Python's: no barrier, so no owner is asked for."""
    setMNoWriteBarrier(ptr(M, started.target), "schedlink", ptr(M, m), "the test")


@fn(entered=NO_P)
def t_setters(m: int, g: int, p: int, cache: int):
    """One store by each of the four setters, into the M."""
    mp = ptr(M, m)
    setGNoWriteBarrier(mp, "curg", ptr(G, g), "the test")
    setMNoWriteBarrier(mp, "alllink", mp, "the test")
    setPNoWriteBarrier(mp, "nextp", ptr(P, p), "the test")
    setMcacheNoWriteBarrier(mp, "mcache", ptr(Mcache, cache), "the test")
