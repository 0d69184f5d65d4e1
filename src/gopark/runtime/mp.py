"""M and P change hands: threads come, sleep and wake; Ps are given, taken, put aside.

Stands for: newm, startm, stopm, startlockedm, stoplockedm, mput, mget, acquirep, releasep, pidleput, pidleget, handoffp
and wakep of src/runtime/proc1.go at 41dbcc19ef09. This file is the seed's own ground: nearly everything here runs
without a P, so nearly every pointer store is a setter with its reason. The plain stores, in stopm and stoplockedm, lie
behind acquirep.

The reasons, once, because all stores here lean on them:

    allp  every P is in the array sched.allp, which does not change while goroutines run: nextp, p.link, sched.pidle,
          m.p
    allm  every M is in the list sched.allm for ever: midle, m.schedlink, p.m, g0.m
    g0    the G at the top of an M's own stack; m.g0 never changes after newm: m.g0
    its P an allocation cache belongs to its P and lives as long: m.mcache

* MP1  An M that owns a P: m.p is the P and p.m is the M and p.status is Prunning; m.mcache is p.mcache. Without a P m.p
       and p.m are nil, and m.mcache is the empty cache, from which nothing can be allocated.
* MP2  A P is owned by one M, or in the idle list, or on its way to one M as m.nextp: never two of them.
* MP3  `nmspinning` counts the Ms that look for work. At most one is added per wake-up; an M that stops looking checks
       all queues once more afterwards (proc.py), and the last one that finds work wakes another. So there is never a
       runnable G beside an idle P with nobody spinning.
* MP4  A G and an M that are locked to each other (g.lockedm, m.lockedg) run only together. When the G has to wait, its
       M hands the P on and sleeps (stoplockedm); an M that comes upon the G in a queue gives its own P to the other M,
       directly, and stops (startlockedm): one wake-up, and the P is in no list on its way.

startm, newm, wakep and pidle* are also called from Python threads: no getg() in them. Lock: sched.lock, where said.
"""

from __future__ import annotations

from gopark.compiler.image import NO_P, fn, forward
from gopark.runtime.audit import LIST, ONWAY, RUNNING, auditidle, movem, movep
from gopark.runtime.lock_futex import lock, notesleep, notewakeup, unlock
from gopark.runtime.mcache import emptymcache
from gopark.runtime.os_linux import newosproc
from gopark.runtime.persistent import persistentalloc
from gopark.runtime.prims import (
    addr,
    cas,
    checking,
    fence,
    funcaddr,
    g0slabs,
    handoff,
    load,
    ptr,
    setGNoWriteBarrier,
    setMcacheNoWriteBarrier,
    setMNoWriteBarrier,
    setPNoWriteBarrier,
    sizeof,
    store,
    symaddr,
    throw,
    xadd,
)
from gopark.runtime.runtime2 import G, Grunnable, M, P, Pidle, Prunning, sched
from gopark.runtime.stack import GUARD, SIGNAL_STACK, stackalloc

pokeruns = forward("pokeruns")


@fn
def pidleput(pp: P):
    """Put a P aside. sched.lock is held."""
    if checking():
        movep(pp, ONWAY, LIST)
    setPNoWriteBarrier(pp, "link", sched.pidle, "allp")
    setPNoWriteBarrier(sched, "pidle", pp, "allp")
    xadd(sched, "npidle", 1)
    if checking():
        auditidle()


@fn
def pidleget() -> P:
    """An idle P, or nil. sched.lock is held."""
    pp = sched.pidle
    if pp is not None:
        setPNoWriteBarrier(sched, "pidle", pp.link, "allp")
        xadd(sched, "npidle", -1)
        if checking():
            movep(pp, LIST, ONWAY)
            auditidle()
    return pp


@fn
def mput(mp: M):
    """An M without a P becomes idle. sched.lock is held."""
    if checking():
        movem(mp, ONWAY, LIST)
    setMNoWriteBarrier(mp, "schedlink", sched.midle, "allm")
    setMNoWriteBarrier(sched, "midle", mp, "allm")
    sched.nmidle += 1
    if checking():
        auditidle()


@fn
def mget() -> M:
    """An idle M, or nil. sched.lock is held."""
    mp = sched.midle
    if mp is not None:
        setMNoWriteBarrier(sched, "midle", mp.schedlink, "allm")
        sched.nmidle -= 1
        if checking():
            movem(mp, LIST, ONWAY)
            auditidle()
    return mp


@fn
def acquirep(mp: M, pp: P):
    """mp takes the idle P pp. From here on write barriers and allocation are legal."""
    if mp.p is not None:
        throw("acquirep: the M has a P already")
    if pp.m is not None or pp.status != Pidle:
        throw("acquirep: invalid state of the P")
    if checking():
        movep(pp, ONWAY, RUNNING)
    handoff(pp)
    setMcacheNoWriteBarrier(mp, "mcache", pp.mcache, "its P")
    setPNoWriteBarrier(mp, "p", pp, "allp")
    setMNoWriteBarrier(pp, "m", mp, "allm")
    store(pp, "status", Prunning)


@fn
def releasep(mp: M) -> P:
    """mp gives its P away. From here on no write barrier and no allocation."""
    pp = mp.p
    if pp is None:
        throw("releasep: the M has no P")
    if pp.m is not mp or pp.status != Prunning:
        throw("releasep: invalid state of the P")
    handoff(pp)
    setMNoWriteBarrier(pp, "m", None, "allm")
    setPNoWriteBarrier(mp, "p", None, "allp")
    setMcacheNoWriteBarrier(mp, "mcache", emptymcache, "static")
    store(pp, "status", Pidle)
    if checking():
        movep(pp, RUNNING, ONWAY)
    return pp


@fn(inline=False)
def mspinning(m: int):
    """The mstartfn of an M that is started to look for work; it was counted in nmspinning by who started it."""
    ptr(M, m).spinning = 1


@fn(inline=False)
def newm(fn: int, pp: P):
    """A new thread that will own pp and, before anything else, call fn (a static function, as an integer: never a
    closure)."""
    mp = ptr(M, persistentalloc(sizeof(M)))
    mp.id = xadd(sched, "mcount", 1)
    g0 = stackalloc(g0slabs())
    setMNoWriteBarrier(g0, "m", mp, "allm")
    setGNoWriteBarrier(mp, "g0", g0, "g0")
    setPNoWriteBarrier(mp, "nextp", pp, "allp")
    setMcacheNoWriteBarrier(mp, "mcache", emptymcache, "static")
    mp.mstartfn = fn
    allmadd(mp)
    lo = g0.stacklo + GUARD + SIGNAL_STACK
    if newosproc(mp, lo, addr(g0), symaddr("go.mstart", "mstart")) != 0:
        throw("newosproc: cannot create a thread (see ulimit -u)")


@fn(inline=False)
def allmadd(mp: M):
    lock(sched.lock)
    setMNoWriteBarrier(mp, "alllink", sched.allm, "allm")
    fence()
    setMNoWriteBarrier(sched, "allm", mp, "allm")
    unlock(sched.lock)


@fn(inline=False)
def startm(pp: P, spinning: bool):
    """Let some M run pp (nil: an idle one, if there is any). If `spinning`, the caller counted it in nmspinning."""
    lock(sched.lock)
    if pp is None:
        pp = pidleget()
        if pp is None:
            unlock(sched.lock)
            if spinning:
                xadd(sched, "nmspinning", -1)
            return
    mp = mget()
    unlock(sched.lock)
    if mp is None:
        if spinning:
            newm(funcaddr(mspinning, "mstartfn"), pp)
        else:
            newm(0, pp)
        return
    if mp.nextp is not None:
        throw("startm: the M has a next P already")
    mp.spinning = 1 if spinning else 0
    setPNoWriteBarrier(mp, "nextp", pp, "allp")
    notewakeup(mp.park)


@fn(inline=False, entered=NO_P)
def wakep():
    """There is new work: add one spinning M, unless there is one."""
    if load(sched, "nmspinning") != 0 or not cas(sched, "nmspinning", 0, 1):
        return
    startm(None, True)


@fn(inline=True)
def wakeidle():
    """A G has just become stealable: if a P is idle and nobody looks for work, somebody shall. The queue is written
    before the counts are read; who gives up looking counts first and reads the queues then. MP3."""
    if sched.gomaxprocs > 1:
        fence()
        if load(sched, "npidle") != 0 and load(sched, "nmspinning") == 0:
            wakep()


@fn(inline=False)
def handoffp(pp: P):
    """Find a new owner for a P that the caller has just released."""
    if load(pp, "runqhead") != load(pp, "runqtail") or pp.runnext is not None or sched.runqsize != 0:
        startm(pp, False)
        return
    if load(sched, "nmspinning") + load(sched, "npidle") == 0 and cas(sched, "nmspinning", 0, 1):
        startm(pp, True)
        return
    lock(sched.lock)
    if sched.runqsize != 0:
        unlock(sched.lock)
        startm(pp, False)
        return
    pidleput(pp)
    unlock(sched.lock)


@fn(inline=False)
def stopm(mp: M):
    """Sleep until somebody hands over a P. Returns owning it."""
    if mp.p is not None:
        throw("stopm: the M holds a P")
    if mp.locks != 0:
        throw("stopm: the M holds locks")
    lock(sched.lock)
    mput(mp)
    unlock(sched.lock)
    notesleep(mp.park)
    acquirep(mp, mp.nextp)
    mp.nextp = None  # with a P: a plain store


@fn(inline=False)
def stoplockedm(mp: M):
    """The G that mp is locked to has to wait: hand the P on and sleep until its turn has come. Returns owning a P."""
    gp = mp.lockedg
    if gp.lockedm is not mp:
        throw("stoplockedm: inconsistent locking")
    handoffp(releasep(mp))
    incidlelocked(1)
    if load(sched, "npidle") == sched.gomaxprocs:
        pokeruns()
    notesleep(mp.park)
    if load(gp, "atomicstatus") != Grunnable:
        throw("stoplockedm: the goroutine is not runnable")
    acquirep(mp, mp.nextp)
    mp.nextp = None  # with a P: a plain store


@fn(inline=False)
def startlockedm(mp: M, gp: G):
    """gp is runnable and locked to another M: give that one mp's P, and stop. Returns owning a P. MP4."""
    other = gp.lockedm
    if other is mp:
        throw("startlockedm: locked to me")
    if other.nextp is not None:
        throw("startlockedm: the M has a next P already")
    incidlelocked(-1)
    setPNoWriteBarrier(other, "nextp", releasep(mp), "allp")
    notewakeup(other.park)
    stopm(mp)


@fn(inline=True)
def incidlelocked(n: int):
    xadd(sched, "nmidlelocked", n)
