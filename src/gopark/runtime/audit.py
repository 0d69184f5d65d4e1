"""Audits: the invariants of the scheduler, asked at the places that could break them.

Stands for: the assertions of src/runtime/proc1.go at 41dbcc19ef09 (casgstatus, checkdead, acquirep ...), and goes
beyond them.

Check level 2 (GOPARKDEBUG=check=2) is an image of its own, compiled on demand under its own key. It differs from the
ordinary one in a constant, `checking()` (prims.py): where that is false LLVM drops the calls of this module, so an
ordinary image contains none of it. An audit that finds something wrong is a throw that says what, and whom.

**Every G, M and P is in exactly one place.** Each carries a word that names it: on its way (held by the thread that
moves it), running, parked, in a ring, in runnext, in the global queue, in a free list; a P likewise. Whoever moves it
exchanges the word and must find the place that it took it from. So a thing that is put into two lists, taken twice, or
run while it is in a queue, is found at that moment by the second who touches it, without stopping anybody.

* AU1  A move costs one atomic exchange; it is made by the owner of the move: after the compare and swap that took the
       G, before the store that offers it to others.
* AU2  Counts equal the lengths of their lists: asked under the lock of the list, by those who change it. Lists longer
       than MOST are walked that far.
* AU3  A change of status is legal only from the status that its place in the code implies.
* AU4  A P's ring holds at most RunqSize; its free list has as many Gs as it counts. Asked by its owner, in g0's loop.
* AU5  Under a channel's lock: the ring's indices agree with its count; CH1 and CH2; the queues are well linked.
* AU6  At rest there is no runnable G in a ring or in the global queue beside an idle P with nobody looking for work
       (MP3). The thread in go.run asks at each of its ticks. It does not help out then, as it does in an ordinary image
       (R4), and throws if it sees the same for PATIENCE ticks: longer than any thread waits for its core.
* AU7  When a run is given back nothing belongs to it.
* AU8  A lock is held where it must be, and free nowhere before it is unlocked; a spin lock is released within seconds.

May run without a P and on any stack. No lock is taken, nothing is allocated, no pointer is stored.
"""

from __future__ import annotations

from gopark.compiler.image import fn, forward
from gopark.compiler.numba_api import types
from gopark.compiler.structs import Pointer
from gopark.runtime.os_linux import write
from gopark.runtime.panic import dothrow, dying
from gopark.runtime.prims import getfp, load, lockload, text, xchg
from gopark.runtime.runtime2 import (
    G,
    Gdead,
    Grunnable,
    Grunning,
    Gwaiting,
    Hchan,
    M,
    Mutex,
    P,
    Pidle,
    Prunning,
    Run,
    RunqSize,
    Sudog,
    Waitq,
    sched,
)
from gopark.runtime.traceback import writeint, writetext

firstg = forward("firstg", Pointer(G), types.int64)
nextg = forward("nextg", Pointer(G), Pointer(G))

# ---- places: of a G, a P (onway, running, list, retired), an M (onway, list)
ONWAY, RUNNING, PARKED, RING, NEXT, GLOBAL, FREE, LIST, RETIRED = range(9)
PLACES = 16  # a place in a P is `place + PLACES * id of the P`

MOST, MOSTWAITERS = 64, 16  # elements of a list, and of a channel's queue, that are looked at
PATIENCE = 300  # ticks of the thread in go.run, 10 ms each


# ---- the last words


@fn(inline=False)
def auditfailed(what: int, kind: int, who: int, found: int, wanted: int):
    """Print `what`, and whom it is about, and end the process. The texts are addresses; 0: none."""
    dying()
    writetext(text("fatal error: audit: "))
    writetext(what)
    if kind != 0:
        writetext(text(": "))
        writetext(kind)
        writetext(text(" "))
        writenumber(who)
    writetext(text(", found "))
    writenumber(found)
    writetext(text(", should be "))
    writenumber(wanted)
    writetext(text("\n"))
    dothrow(getfp())


@fn(inline=False)
def writenumber(v: int):
    if v < 0:
        write(2, text("-"), 1)
        v = -v
    writeint(v)


# ---- places


@fn(inline=True)
def inp(place: int, pp: P) -> int:
    """The place `place` of that P."""
    return place + PLACES * pp.id


@fn(inline=False)
def moveg(gp: G, source: int, to: int):
    """The caller moves gp. AU1."""
    found = xchg(gp, "place", to)
    if found != source:
        auditfailed(text("a G is not where it was taken from"), text("goroutine"), gp.goid, found, source)


@fn(inline=False)
def movep(pp: P, source: int, to: int):
    found = xchg(pp, "place", to)
    if found != source:
        auditfailed(text("a P is not where it was taken from"), text("P"), pp.id, found, source)


@fn(inline=False)
def movem(mp: M, source: int, to: int):
    found = xchg(mp, "place", to)
    if found != source:
        auditfailed(text("an M is not where it was taken from"), text("M"), mp.id, found, source)


@fn(inline=False)
def auditstatus(gp: G, source: int):
    """gp is about to leave that status. AU3."""
    found = load(gp, "atomicstatus")
    if found != source:
        auditfailed(text("illegal change of the status of a G"), text("goroutine"), gp.goid, found, source)


# ---- locks


@fn(inline=False)
def auditlocked(l: Mutex):
    """AU8."""
    if lockload(l, "key") == 0:
        auditfailed(text("a lock is not held"), 0, 0, 0, 1)


@fn(inline=False)
def auditspun(n: int):
    """A spin lock has been waited for n pauses long. AU8."""
    if n > 1 << 28:
        auditfailed(text("a spin lock was not released"), 0, 0, n, 0)


# ---- the scheduler's lists, under sched.lock


@fn(inline=False)
def auditidle():
    """The lists of idle Ps and Ms. AU2."""
    auditlocked(sched.lock)
    n = 0
    pp = sched.pidle
    while pp is not None:
        if load(pp, "status") != Pidle or pp.m is not None or load(pp, "place") != LIST:
            auditfailed(text("an idle P is not idle"), text("P"), pp.id, load(pp, "status"), Pidle)
        n += 1
        pp = pp.link
    if n != load(sched, "npidle"):
        auditfailed(text("the number of idle Ps"), 0, 0, load(sched, "npidle"), n)
    n = 0
    mp = sched.midle
    while mp is not None:
        if mp.p is not None or load(mp, "place") != LIST or mp.spinning != 0:
            auditfailed(text("an idle M is not idle"), text("M"), mp.id, load(mp, "place"), LIST)
        n += 1
        mp = mp.schedlink
    if n != sched.nmidle:
        auditfailed(text("the number of idle Ms"), 0, 0, sched.nmidle, n)
    if load(sched, "nmspinning") < 0:
        auditfailed(text("the number of spinning Ms"), 0, 0, load(sched, "nmspinning"), 0)


@fn(inline=False)
def auditglobal():
    """The global run queue. AU2."""
    auditlocked(sched.lock)
    n = 0
    gp = sched.runqhead
    last = gp
    while gp is not None and n < MOST:
        if load(gp, "place") != GLOBAL:
            auditfailed(text("a G of the global queue"), text("goroutine"), gp.goid, load(gp, "place"), GLOBAL)
        if load(gp, "atomicstatus") != Grunnable:
            auditfailed(text("a G in a queue is not runnable"), text("goroutine"), gp.goid, gp.atomicstatus, Grunnable)
        n += 1
        last = gp
        gp = gp.schedlink
    if gp is None and n != sched.runqsize or n > sched.runqsize:
        auditfailed(text("the length of the global queue"), 0, 0, sched.runqsize, n)
    if gp is None and last is not sched.runqtail:
        auditfailed(text("the tail of the global queue"), 0, 0, 0, 1)


# ---- a P, by its owner


@fn(inline=False)
def auditp(mp: M, pp: P):
    """AU4."""
    if pp.m is not mp or load(pp, "status") != Prunning or load(pp, "place") != RUNNING:
        auditfailed(text("an M looks for work without a P of its own"), text("M"), mp.id, load(pp, "status"), Prunning)
    n = load(pp, "runqtail") - load(pp, "runqhead")
    if n < 0 or n > RunqSize:
        auditfailed(text("the length of a ring"), text("P"), pp.id, n, RunqSize)
    n = 0
    gp = pp.gfree
    while gp is not None:
        if load(gp, "place") != FREE or load(gp, "atomicstatus") != Gdead:
            auditfailed(text("a G in a free list"), text("goroutine"), gp.goid, load(gp, "place"), FREE)
        n += 1
        gp = gp.schedlink
    if n != pp.gfreecnt:
        auditfailed(text("the number of free Gs"), text("P"), pp.id, pp.gfreecnt, n)


# ---- channels, under their lock


@fn(inline=False)
def auditchan(c: Hchan):
    """AU5."""
    auditlocked(c.lock)
    if c.qcount < 0 or c.qcount > c.dataqsiz:
        auditfailed(text("the count of a channel"), 0, 0, c.qcount, c.dataqsiz)
    if c.dataqsiz > 0 and (c.recvx + c.qcount) % c.dataqsiz != c.sendx:
        auditfailed(text("the ring of a channel"), 0, 0, c.sendx, (c.recvx + c.qcount) % c.dataqsiz)
    receivers = auditqueue(c.recvq)
    senders = auditqueue(c.sendq)
    if receivers > 0 and c.qcount > 0:
        auditfailed(text("a receiver waits while the channel holds elements"), 0, 0, c.qcount, 0)
    if senders > 0 and c.qcount < c.dataqsiz:
        auditfailed(text("a sender waits while the channel has room"), 0, 0, c.qcount, c.dataqsiz)
    if c.closed != 0 and receivers + senders > 0:
        auditfailed(text("a goroutine waits for a closed channel"), 0, 0, receivers + senders, 0)


@fn(inline=False)
def auditqueue(q: Waitq) -> int:
    """A queue is linked both ways; returns how many wait in it and can be woken."""
    waiting = 0
    n = 0
    before = None
    sg = q.first
    while sg is not None and n < MOSTWAITERS:
        if sg.prev is not before:
            auditfailed(text("a queue is badly linked"), text("goroutine"), sg.g.goid, 0, 1)
        if load(sg.g, "atomicstatus") == Gwaiting:
            waiting += 1
        n += 1
        before = sg
        sg = sg.next
    if sg is None and q.last is not before:
        auditfailed(text("the end of a queue"), 0, 0, n, 0)
    return waiting


@fn(inline=False)
def auditout(q: Waitq, sg: Sudog):
    """A goroutine that was woken leaves no sudog behind in the queue. CH3, CH4."""
    other = q.first
    n = 0
    while other is not None and n < MOSTWAITERS:
        if other is sg:
            auditfailed(text("a sudog was left in its queue"), text("goroutine"), sg.g.goid, n, 0)
        n += 1
        other = other.next


@fn(inline=False)
def auditwaiters(q: Waitq, n: int):
    """The sleepers of a semaphore's root are counted. AU2."""
    auditqueue(q)
    counted = 0
    sg = q.first
    while sg is not None and counted < MOST:
        counted += 1
        sg = sg.next
    if sg is None and counted != n:
        auditfailed(text("the number of sleepers on a semaphore"), 0, 0, n, counted)


# ---- runs, and the world at rest


@fn(inline=False)
def auditrest(stuck: int) -> int:
    """Asked at every tick of a thread in go.run: how many ticks in a row there has been work beside an idle P with
    nobody looking for it. AU6."""
    if load(sched, "npidle") == 0 or load(sched, "nmspinning") != 0:
        return 0
    waits = sched.runqsize > 0
    for i in range(sched.gomaxprocs):
        pp = sched.allp[i]
        if load(pp, "runqhead") != load(pp, "runqtail"):
            waits = True
    if not waits:
        return 0
    if stuck >= PATIENCE:
        auditfailed(text("a runnable G beside an idle P, and nobody looks for work"), 0, 0, stuck, 0)
    return stuck + 1


@fn(inline=False)
def auditrun(run: Run):
    """The run is over and is being given back. AU7."""
    gp = firstg(0)
    while gp is not None:
        if gp.run is run and load(gp, "atomicstatus") != Gdead:
            auditfailed(text("a goroutine outlives its run"), text("goroutine"), gp.goid, gp.atomicstatus, Gdead)
        gp = nextg(gp)


@fn(inline=False)
def auditgoexit(gp: G):
    """A goroutine that ends is in no queue. AU3."""
    if gp.atomicstatus != Grunning or load(gp, "place") != RUNNING:
        auditfailed(text("a goroutine ends that does not run"), text("goroutine"), gp.goid, load(gp, "place"), RUNNING)
