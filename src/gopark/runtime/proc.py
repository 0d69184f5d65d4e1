"""The scheduler: the life of a goroutine, and the loop of an M.

Stands for: src/runtime/proc.go and proc1.go at 41dbcc19ef09: newproc, goexit, gopark, goready, gosched, schedule,
findrunnable, mstart, schedinit, procresize.

A goroutine that parks switches *directly* to the next one of its P, without a detour through the M's own stack. What
must be done about the one that left (release the channel's lock, requeue it, free its stack) cannot be done while its
registers are live on the processor, so it is done by the other side: the leaving G stores a *finish action* in its M,
and the code behind the switch, which runs on the other stack, performs it. g0 is switched to only when the local queue
is empty, and every 61st time, so that its loop looks at the global queue: goroutines that wake each other cannot starve
those that wait there.

* SC1  A finish action runs when the context of the G that left is saved, on the M it left, with that M's P. It is short
       and never blocks. Actions that run without a P belong to g0's loop and come with system calls and stop-the-world.
* SC2  After `gogo` nothing known about the M before holds: the goroutine may be on another one. `getg()` holds.
* SC3  Only a claimed G is readied: exactly one waker made its step Gwaiting -> Grunnable (runtime2.py, I2).
* SC4  ready() puts a G into an empty runnext without waking another M: what is in runnext will run here next, so there
       is nothing to steal. Another M is woken when a G was displaced into the ring, where it can be stolen.
       A G that stays in runnext while its P is busy with a long computation is found by the thread in go.run (runs.py,
       R4).
* SC5  findrunnable gives its P away in the middle. The half behind `releasep` is a function of its own,
       findrunnable_nop, which returns True with a P and False without: the check (compiler/wbcheck.py) sees that
       without being told.
* SC6  An M that stops looking for work drops `spinning` first and then looks at all queues once more, the global one
       too: a producer that saw it spinning did not wake anybody else (mp.py, MP3).
* SC7  The number of Ps changes only while all of them are idle and no run exists, so no M looks at their queues. Nobody
       gets a P without sched.lock, and that is held. A P is never freed: one that is taken out of service keeps its
       allocation cache, gives its free Gs back, and is used again when the number grows.
* SC8  A goroutine that is locked to its M (lockOSThread) is neither switched to nor away from directly: both go
       through g0's loop, where stoplockedm and startlockedm (mp.py, MP4) keep the two together. nextlocal and yieldfor
       are the places that look.

Who needs a P: everything but findrunnable_nop, mstart's beginning, schedinit, procresize and newprocforeign.
"""

from __future__ import annotations

from gopark.compiler.image import NO_P, WITH_P, fn, forward
from gopark.compiler.numba_api import types
from gopark.compiler.structs import Pointer
from gopark.runtime.audit import (
    NEXT,
    ONWAY,
    PARKED,
    RETIRED,
    RUNNING,
    auditgoexit,
    auditp,
    auditstatus,
    inp,
    moveg,
)
from gopark.runtime.lock_futex import lock, spinlock, spinunlock, unlock
from gopark.runtime.mcache import allocmcache
from gopark.runtime.mp import acquirep, pidleget, pidleput, releasep, startlockedm, stoplockedm, stopm, wakeidle, wakep
from gopark.runtime.os_linux import gettid
from gopark.runtime.persistent import persistentalloc
from gopark.runtime.prims import (
    callfn,
    cas,
    checking,
    fence,
    getg,
    gogo,
    load,
    ptr,
    setMcacheNoWriteBarrier,
    setPNoWriteBarrier,
    sizeof,
    store,
    throw,
    xadd,
)
from gopark.runtime.rand import freerand
from gopark.runtime.runq import globrunqget, globrunqput, runqempty, runqget, runqput, runqsteal
from gopark.runtime.runtime2 import (
    ACT_DEAD,
    ACT_NONE,
    ACT_SELUNLOCK,
    ACT_UNLOCK,
    ACT_YIELD,
    ACT_YIELDGLOBAL,
    G,
    Gdead,
    Grunnable,
    Grunning,
    Gwaiting,
    M,
    Mutex,
    P,
    Pdead,
    Pidle,
    Run,
    sched,
)
from gopark.runtime.signal import minit
from gopark.runtime.stack import gfget, gfgetglobal, gfpurge, gfput, gostartcall, stackinit

pokeruns = forward("pokeruns")
selunlockparked = forward("selunlockparked", types.none, Pointer(G))

FAIRNESS = 61  # every so many switches go through g0's loop, which looks at the global queue after so many slices
GOIDS = 16  # numbers of goroutines that a P draws at once
RESIZE_BUSY, RESIZE_RUNS = -1, -2  # why procresize refuses


# ---- making a G runnable


@fn(inline=True)
def ready(pp: P, gp: G):
    """Put a runnable G on pp, as the next one. SC4."""
    if pp.runnext is None:
        if checking():
            moveg(gp, ONWAY, inp(NEXT, pp))
        store(pp, "runnext", gp)
        return
    runqput(pp, gp, True)
    wakeidle()


@fn(inline=True)
def goready(gp: G):
    """A G that the caller has claimed becomes runnable on the caller's P."""
    ready(getg().m.p, gp)


@fn(inline=True)
def claim(gp: G) -> bool:
    """Win the wake-up of a parked G; its waitlock is held. SC3."""
    won = cas(gp, "atomicstatus", Gwaiting, Grunnable)
    if checking() and won:
        moveg(gp, PARKED, ONWAY)
    return won


@fn(inline=True)
def claimlocked(gp: G) -> bool:
    """The same for a G that waits under one lock only, which the caller holds: nobody else can claim it. I2."""
    if load(gp, "atomicstatus") != Gwaiting:
        return False
    store(gp, "atomicstatus", Grunnable)
    if checking():
        moveg(gp, PARKED, ONWAY)
    return True


@fn(inline=True)
def casgstatus(gp: G, source: int, to: int):
    """A change of status by who owns the G; `claim` is the one that others contend for."""
    if checking():
        auditstatus(gp, source)
    gp.atomicstatus = to


# ---- switching


@fn
def finish(mp: M, action: int):
    """What is to be done about the G that left. SC1."""
    gp = mp.prev
    if action == ACT_UNLOCK:
        spinunlock(mp.unlock)
    elif action == ACT_YIELD:
        if checking():
            moveg(gp, RUNNING, ONWAY)
        runqput(mp.p, gp, False)
        wakeidle()
    elif action == ACT_DEAD:
        if checking():
            moveg(gp, RUNNING, ONWAY)
            auditstatus(gp, Grunning)
        store(gp, "atomicstatus", Gdead)
        gfput(mp.p, gp)
    elif action == ACT_SELUNLOCK:
        selunlockparked(gp)
    elif action == ACT_YIELDGLOBAL:
        if checking():
            moveg(gp, RUNNING, ONWAY)
        lock(sched.lock)
        globrunqput(gp)
        unlock(sched.lock)
        wakeidle()


@fn(inline=True)
def execute(mp: M, gp: G):
    """mp runs gp from here on; the switch follows. g0 is in no list, and its status means nothing."""
    if checking() and gp is not mp.g0:
        moveg(gp, ONWAY, RUNNING)
        auditstatus(gp, Grunnable)
    gp.m = mp
    mp.curg = gp
    gp.atomicstatus = Grunning


@fn(inline=True)
def gswitch(gp: G, to: G, action: int, l: Mutex):
    """Leave gp for `to`; on return gp runs again, perhaps on another M."""
    mp = gp.m
    mp.prev = gp
    mp.act = action
    mp.unlock = l
    execute(mp, to)
    gogo(gp, to)
    mp = getg().m  # SC2
    action = mp.act
    if action == ACT_UNLOCK:  # the most frequent one, inline
        spinunlock(mp.unlock)
    elif action != ACT_NONE:
        finish(mp, action)


@fn(inline=False)
def gopark(action: int, l: Mutex):
    """Leave this G: parked (Gwaiting, its waitlock held, released by the action), yielding or dead."""
    gp = getg()
    mp = gp.m
    pp = mp.p
    tick = pp.schedtick + 1
    pp.schedtick = tick
    if tick % FAIRNESS != 0:
        next = nextlocal(gp, pp)
        if next is not None:
            gswitch(gp, next, action, l)
            return
    gswitch(gp, mp.g0, action, l)


@fn(inline=True)
def nextlocal(gp: G, pp: P) -> G:
    """The next G of this P, if gp may switch to it directly; nil if the queue is empty or g0's loop has to see to it.
    SC8."""
    if gp.lockedm is not None:
        return None
    next = runqget(pp)
    if next is not None and next.lockedm is not None:
        runqput(pp, next, True)
        return None
    return next


@fn(inline=True)
def parkprepare(gp: G, l: Mutex, reason: int):
    """gp is about to park under l, which it holds. I3, I4."""
    gp.waitlock = l
    gp.waitreason = reason
    gp.parkseq += 1
    if checking():
        moveg(gp, RUNNING, PARKED)
        auditstatus(gp, Grunning)
    store(gp, "atomicstatus", Gwaiting)


@fn(inline=False)
def parkforever(reason: int):
    """Wait for nothing at all: only the end of the run wakes it."""
    gp = getg()
    run = gp.run
    spinlock(run.lock)
    gp.waiting = None
    parkprepare(gp, run.lock, reason)
    gopark(ACT_UNLOCK, run.lock)


@fn(inline=False, entered=WITH_P)
def gosched():
    """Let others run. Returns at once if there are none."""
    goyield()


@fn
def goyield() -> bool:
    """gosched; False if nobody was there to run."""
    gp = getg()
    pp = gp.m.p
    tick = pp.schedtick + 1
    pp.schedtick = tick
    next = None
    if tick % FAIRNESS != 0:
        next = nextlocal(gp, pp)
    if next is None:
        next = yieldto(pp, tick)
        if next is None:
            return False
        yieldfor(gp, next)
        return True
    casgstatus(gp, Grunning, Grunnable)
    gswitch(gp, next, ACT_YIELD, None)
    return True


@fn(inline=False)
def yieldfor(gp: G, next: G):
    """gp lets `next`, which it took from a queue, run: directly, or by way of g0's loop. SC8."""
    mp = gp.m
    if gp.lockedm is not None or next.lockedm is not None:
        runqput(mp.p, next, True)
        next = mp.g0
    casgstatus(gp, Grunning, Grunnable)
    gswitch(gp, next, ACT_YIELD, None)


@fn(inline=False)
def goyieldglobal() -> bool:
    """Let everybody run who is runnable now, on this P or in the global queue: gp goes to the end of that. False if
    nobody was there."""
    gp = getg()
    mp = gp.m
    if runqempty(mp.p) and sched.runqsize == 0:
        return False
    casgstatus(gp, Grunning, Grunnable)
    gswitch(gp, mp.g0, ACT_YIELDGLOBAL, None)
    return True


@fn(inline=False)
def gopreempt():
    """Give the P to others, if any wait: the time slice is over. To the end of the global queue, so that all of them
    come first."""
    demotenext(getg().m.p)
    goyieldglobal()


@fn(inline=False)
def globrunqgetlocked(pp: P, most: int) -> G:
    lock(sched.lock)
    gp = globrunqget(pp, most)
    unlock(sched.lock)
    return gp


@fn(inline=False)
def yieldto(pp: P, tick: int) -> G:
    """Whom a goroutine lets run that yields with an empty queue, or for the FAIRNESS-th time: the global queue first,
    and what other Ps have queued up behind a goroutine that does not yield."""
    if sched.runqsize > 0:
        gp = globrunqgetlocked(pp, 1)
        if gp is not None:
            return gp
    gp = runqget(pp)
    if gp is None and tick % FAIRNESS == 0:
        gp = stealwork(pp, sched.gomaxprocs)
    return gp


# ---- birth and death


@fn(inline=False, entered=WITH_P)
def newproc(entry: int, argp: int, n: int, where: int):
    """The go statement: a new G of the caller's run executes entry(a copy of the n bytes at argp)."""
    gp = getg()
    run = gp.run
    pp = gp.m.p
    newg = gfget(pp)
    gostartcall(newg, run, entry, argp, n, where)
    id = pp.goidcache
    if id >= load(pp, "goidcacheend"):
        id = newgoids(pp)
    pp.goidcache = id + 1
    newg.goid = id
    newg.parentgoid = gp.goid
    ready(pp, newg)


@fn(inline=False)
def newgoids(pp: P) -> int:
    """The first of a batch of numbers for goroutines that pp makes: all Ps draw from one counter."""
    id = xadd(sched, "goidgen", GOIDS) + 1
    store(pp, "goidcacheend", id + GOIDS)
    return id


@fn(inline=False)
def newgforeign(run: Run, entry: int, argp: int, n: int, where: int) -> G:
    """A runnable G that is in no queue yet, for a thread without a P."""
    gp = gfgetglobal()
    gostartcall(gp, run, entry, argp, n, where)
    gp.goid = xadd(sched, "goidgen", 1) + 1
    return gp


@fn(inline=False)
def newprocforeign(run: Run, entry: int, argp: int, n: int, where: int) -> G:
    """The same for a thread without a P: through the global queue."""
    gp = newgforeign(run, entry, argp, n, where)
    lock(sched.lock)
    globrunqput(gp)
    unlock(sched.lock)
    if load(sched, "npidle") != 0:
        wakep()
    return gp


@fn(inline=False, entered=WITH_P)
def goexit():
    """The end of this G. Never returns."""
    gp = getg()
    if gp.atomicstatus != Grunning:
        throw("goexit of a goroutine that is not running")
    if checking():
        auditgoexit(gp)
    another = gp.run is None and load(sched, "urgent") != 0  # after a helper comes the next helper (runq.py, RQ6)
    gp.run = None
    gp.waiting = None
    if gp.lockedm is not None:
        unlockm(gp)
    if gp.rand is not None:
        freerand(gp)
    if another:
        gswitch(gp, gp.m.g0, ACT_DEAD, None)
    gopark(ACT_DEAD, None)
    while True:
        throw("a dead goroutine was resumed")


@fn(inline=False, entered=WITH_P)
def gostart(g: int):
    """The first function of every goroutine, on its own stack."""
    gp = ptr(G, g)
    mp = gp.m
    action = mp.act
    if action != ACT_NONE:
        finish(mp, action)
    callfn("entry", gp.startfn, gp.startarg)
    goexit()


# ---- a goroutine and its thread


@fn(inline=False, entered=WITH_P)
def lockOSThread():
    """From here on the calling goroutine runs on this thread only, and nothing else does. Calls nest."""
    gp = getg()
    mp = gp.m
    mp.locked += 1
    mp.lockedg = gp
    gp.lockedm = mp


@fn(inline=False, entered=WITH_P)
def unlockOSThread():
    """Take one lockOSThread back. Nothing, if there was none."""
    gp = getg()
    if gp.lockedm is None:
        return
    gp.m.locked -= 1
    if gp.m.locked == 0:
        unlockm(gp)


@fn
def unlockm(gp: G):
    gp.m.locked = 0
    gp.m.lockedg = None
    gp.lockedm = None


# ---- the loop of an M


@fn(inline=False)
def findrunnable(mp: M) -> G:
    """A G to run. Entered and left with a P, not always the same."""
    while True:
        pp = mp.p
        if checking():
            auditp(mp, pp)
        if load(sched, "urgent") != 0:
            gp = globrunqgetlocked(pp, 1)
            if gp is not None:
                return gp
        over = load(pp, "sliceover") != 0
        if over:
            demotenext(pp)
        if over or pp.slicetick - pp.globaltick >= FAIRNESS:
            pp.globaltick = pp.slicetick
            if sched.runqsize > 0:
                gp = globrunqgetlocked(pp, 1)
                if gp is not None:
                    return gp
        gp = runqget(pp)
        if gp is not None:
            return gp
        if sched.runqsize > 0:
            gp = globrunqgetlocked(pp, 0)
            if gp is not None:
                return gp
        procs = sched.gomaxprocs
        if mp.spinning != 0 or 2 * load(sched, "nmspinning") < procs - load(sched, "npidle"):
            if mp.spinning == 0:
                mp.spinning = 1
                xadd(sched, "nmspinning", 1)
            gp = stealwork(pp, procs)
            if gp is not None:
                return gp
        lock(sched.lock)
        if sched.runqsize > 0:
            gp = globrunqget(pp, 0)
            unlock(sched.lock)
            if gp is not None:
                return gp
            continue
        pidleput(releasep(mp))
        unlock(sched.lock)
        if findrunnable_nop(mp):
            continue
        stopm(mp)


@fn(inline=False)
def demotenext(pp: P):
    """The time slice of this P is over: what is in runnext goes to the end of the ring. R4."""
    store(pp, "sliceover", 0)
    next = pp.runnext
    if next is not None and cas(pp, "runnext", next, None):
        if checking():
            moveg(next, inp(NEXT, pp), ONWAY)
        runqput(pp, next, False)
        wakeidle()


@fn(inline=False)
def stealwork(pp: P, procs: int) -> G:
    """Four rounds over the other Ps in random order; runnext only in the last."""
    for attempt in range(4):
        seed = pp.rand * 6364136223846793005 + 1442695040888963407
        pp.rand = seed
        offset = (seed >> 33) & 0x3FFFFFFF
        for i in range(procs):
            victim = sched.allp[(i + offset) % procs]
            if victim is not pp:
                gp = runqsteal(pp, victim, attempt == 3)
                if gp is not None:
                    return gp
    return None


@fn(inline=False)
def findrunnable_nop(mp: M) -> bool:
    """The half of findrunnable behind releasep: mp owns no P. True: it got one and should look again. SC5, SC6."""
    if mp.spinning != 0:
        mp.spinning = 0
        xadd(sched, "nmspinning", -1)
        if workwaits():
            lock(sched.lock)
            pp = pidleget()
            unlock(sched.lock)
            if pp is not None:
                acquirep(mp, pp)
                mp.spinning = 1
                xadd(sched, "nmspinning", 1)
                return True
    if load(sched, "npidle") == sched.gomaxprocs:
        pokeruns()
    return False


@fn(inline=False)
def workwaits() -> bool:
    """Whether any queue holds a G."""
    if sched.runqsize > 0:
        return True
    for i in range(sched.gomaxprocs):
        if not runqempty(sched.allp[i]):
            return True
    return False


@fn(inline=False)
def resetspinning(mp: M):
    """mp has found work: if it was the last one to look, another one takes over."""
    mp.spinning = 0
    if xadd(sched, "nmspinning", -1) == 1 and load(sched, "npidle") > 0:
        wakep()


@fn(inline=False)
def schedule(mp: M):
    """g0's loop: find a G, run it until it switches back here. Entered with a P; never returns."""
    g0 = mp.g0
    while True:
        gp = mp.lockedg
        if gp is not None:
            stoplockedm(mp)
        else:
            gp = findrunnable(mp)
            if mp.spinning != 0:
                resetspinning(mp)
            if gp.lockedm is not None:
                startlockedm(mp, gp)
                continue
        if load(gp, "atomicstatus") != Grunnable:
            throw("schedule: the goroutine is not runnable")
        mp.p.schedtick += 1
        gswitch(g0, gp, ACT_NONE, None)


@fn(inline=False, entered=NO_P)
def mstart(m: int) -> int:
    """A new thread, on its own stack, without a P."""
    mp = ptr(M, m)
    mp.tid = gettid()
    minit(mp)
    if mp.mstartfn != 0:
        callfn("mstartfn", mp.mstartfn, m)
    acquirep(mp, mp.nextp)
    mp.nextp = None
    schedule(mp)
    return 0


# ---- the Ps: on a Python thread


@fn(inline=False, entered=NO_P)
def schedinit(procs: int, seed: int):
    """Reserve the stacks and make the Ps. Once per process."""
    stackinit()
    sched.seed = seed
    procresize(procs)


@fn(inline=False, entered=NO_P)
def numprocs() -> int:
    return load(sched, "gomaxprocs")


@fn(inline=False, entered=NO_P)
def procresize(procs: int) -> int:
    """Change the number of Ps; returns what it was. SC7. Refused, and nothing changed: RESIZE_RUNS if there is a run,
    RESIZE_BUSY if some M has not given its P back yet. The caller sees to it that nobody else calls it meanwhile."""
    for i in range(procs):
        if sched.allp[i] is None:
            setPNoWriteBarrier(sched.allp, i, newp(i), "allp")
    lock(sched.lock)
    old = sched.gomaxprocs
    refused = 0
    if anyrun():
        refused = RESIZE_RUNS
    elif load(sched, "npidle") != old or sched.runqsize != 0:
        refused = RESIZE_BUSY
    if refused != 0:
        unlock(sched.lock)
        return refused
    setPNoWriteBarrier(sched, "pidle", None, "allp")
    store(sched, "npidle", 0)
    for k in range(procs):
        pp = sched.allp[procs - 1 - k]
        store(pp, "status", Pidle)
        if checking():
            store(pp, "place", ONWAY)
        pidleput(pp)
    for i in range(procs, old):
        store(sched.allp[i], "status", Pdead)
        if checking():
            store(sched.allp[i], "place", RETIRED)
    store(sched, "gomaxprocs", procs)
    unlock(sched.lock)
    for i in range(procs, old):
        gfpurge(sched.allp[i])
    return old


@fn(inline=False)
def newp(id: int) -> P:
    pp = ptr(P, persistentalloc(sizeof(P)))
    pp.id = id
    pp.status = Pdead
    pp.rand = sched.seed + id * 2654435761 + 1
    setMcacheNoWriteBarrier(pp, "mcache", allocmcache(), "its P")
    fence()  # readmemstats reads allp without a lock
    return pp


@fn(inline=False)
def anyrun() -> bool:
    """Whether some thread is in go.run."""
    run = sched.allruns
    while run is not None:
        if load(run, "inuse") != 0:
            return True
        run = run.alllink
    return False
