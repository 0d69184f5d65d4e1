"""Runs: who owns a goroutine, how a run ends, when it is dead.

Stands for: nothing in Go, where goroutines end with the process. Here `go.run` returns, and may be called again, so
every goroutine belongs to the run that started it.

A Python thread that calls `go.run` owns no P and never will: it takes a Run, puts the first goroutine on the global
queue, wakes an M and sleeps on the run's note. Every 50 ms, or when an M found all Ps idle, it looks whether the run is
dead.

**The end.** The goroutine that returns from the main function, or fails, wins `run.ended` by compare and swap. It then
makes every other goroutine of the run leave (`endrun`) and only then wakes the Python thread. Leaving is a status that
no handler of the user sees: a parked goroutine is claimed like by any other waker, unlinked under the lock it waits
under, marked `ended` and readied, so that it unwinds and gives back what its frames hold; a running one finds `preempt`
set at its next poll; one that never started is let go by its entry stub.

* R1  `run.ended` is set (sequentially consistent) before the first look at allgs. A goroutine made by someone who read
      the old value exists by the second clean look at the latest, and can make no further one: its entry stub looks
      again (startended). So two clean looks in a row mean that nothing of the run is left.
* R2  The claim is made under the G's waitlock, seen again under the lock (I2, I3): the lock word stays valid memory
      because the one who waits there keeps the channel alive, and after it has gone the status or the lock differs. So
      does the number, if another goroutine has come to be that G and waits under the same lock.
* R3  Only the ender touches exit* and tb of a Run, before rundone; the Python thread reads them afterwards.

* R4  Until there is a sysmon, the thread in go.run looks at the Ps every 10 ms. A P whose slicetick did not move
      between two looks, while goroutines wait for it, is held by one goroutine that computes, or by a few that wake
      each other through runnext. If no P is idle their time slice is over: the one that runs is asked to yield at its
      next poll, and what is in runnext goes to the end of the ring. If some P is idle, and the goroutine that runs did
      not switch either (schedtick), an M is woken to steal what is in runnext.

**Deadlock.** A run is dead when none of its goroutines can ever run again. `lookrun` walks allgs: if every G of the run
is Gwaiting it returns a number made of their identities and park sequence numbers, else 0. Two equal looks in a row
mean that between them all of them were parked at once, and nobody was left to wake one (I4).

* R5  What Python can reach, Python can wake. A run that was given objects (arguments that are handles) may share them
      with other such runs, so these are looked at together: a run of them is dead when all goroutines of all of them
      are parked, and none waits for anything that a handle leads to (reach.py). A run that was given none cannot be
      reached from outside. Such a look walks the heap, so what it saw is remembered, as long as neither Python nor a
      goroutine has done anything since.

* R6  A Run is reused, so nobody may come too late: runfree waits for the helpers that were sent to stop it.

lookrun, runstart, runwait, runstop, runfree and pokeruns run on Python threads or Ms without a P: setters, reason
allruns (handles.all for what Python holds). endrun, runexit need a P.
"""

from __future__ import annotations

from gopark.compiler.image import NO_P, WITH_P, fn
from gopark.compiler.structs import Embed, struct, var
from gopark.runtime.audit import auditrest, auditrun
from gopark.runtime.handle import changed, drophandle, handles, newhandle
from gopark.runtime.lfstack import LFStack, lfstackpush
from gopark.runtime.lock_futex import lock, noteclear, notetsleep, notewakeup, spinlock, spinunlock, unlock
from gopark.runtime.mp import wakep
from gopark.runtime.os_linux import futexwakeup, usleep
from gopark.runtime.persistent import persistentalloc
from gopark.runtime.prims import (
    addr,
    cas,
    checking,
    fence,
    fieldaddr,
    funcaddr,
    getg,
    load,
    local,
    ptr,
    setHandleNoWriteBarrier,
    setRunNoWriteBarrier,
    sizeof,
    store,
    xadd,
    xchg,
)
from gopark.runtime.proc import claim, goexit, gopreempt, goready, goyieldglobal, newgforeign, newprocforeign
from gopark.runtime.reach import pythonreaches
from gopark.runtime.runq import globrunqputhead, runqempty
from gopark.runtime.runtime2 import G, Gdead, Gwaiting, Memory, Note, P, Run, TracebackFrames, sched
from gopark.runtime.stack import firstg, guardof, nextg, scavengeall, scavengeidle

TICK_NS = (
    10_000_000  # how often a thread in go.run wakes up; every LOOK_TICKS it looks at its run, and Python at signals
)
LOOK_TICKS = 5

STACK_PREEMPT = 1 << 62  # above every stack address: the next check of the stack fails

# what runwait returns
RUN_WAIT, RUN_DONE, RUN_DEAD = 0, 1, 2

# exit codes beyond the statuses of compiled code
EXIT_INTERRUPTED, EXIT_DEADLOCK, EXIT_CANCELLED = -20, -21, -22


@struct(notinheap=True)
class Futures:
    """Runs that were started by go.submit and are over (futures.py)."""

    done: Embed[LFStack]
    note: Embed[Note]  # the thread that serves them sleeps here


futures = var(Futures, "go.futures")


@struct(notinheap=True)
class StopRequest:
    """The argument record of runstopper."""

    run: int
    code: int


@fn(inline=False)
def newrun(given: int) -> Run:
    """A fresh Run: from the free list, or made and entered in allruns. given: whether Python gives it objects."""
    lock(sched.lock)
    run = sched.runfree
    if run is not None:
        setRunNoWriteBarrier(sched, "runfree", run.link, "allruns")
    unlock(sched.lock)
    if run is None:
        run = ptr(Run, persistentalloc(sizeof(Run)))
        lock(sched.lock)
        setRunNoWriteBarrier(run, "alllink", sched.allruns, "allruns")
        fence()
        setRunNoWriteBarrier(sched, "allruns", run, "allruns")
        unlock(sched.lock)
    run.id = xadd(sched, "runidgen", 1) + 1
    run.exitcode = 0
    run.exitexc = 0
    run.exitgoid = 0
    run.exitspawn = 0
    run.tbcount = 0
    run.lastlook = 0
    run.given = given
    run.vetolook = 0
    run.token = 0
    run.dead = 0
    store(run, "poke", 0)
    noteclear(run.done)
    store(run, "ended", 0)
    store(run, "inuse", 1)
    return run


@fn(inline=False, entered=NO_P)
def runstart(entry: int, argp: int, n: int, given: int) -> int:
    """Start entry(a copy of the n bytes at argp) as the first goroutine of a new Run; the Run's address. given: 1 if
    Python gives it objects."""
    run = newrun(given)
    changed()
    for i in range(sched.gomaxprocs):
        store(sched.allp[i], "goidcacheend", 0)  # what this run makes comes after its first one
    newprocforeign(run, entry, argp, n, 0)
    return addr(run)


@fn(inline=False, entered=NO_P)
def runsubmit(entry: int, argp: int, n: int, given: int, token: int, block: int) -> int:
    """The same for a run that no thread of its own waits for: futures.py tells when it is done."""
    run = newrun(given)
    changed()
    run.token = token
    run.block = block
    newprocforeign(run, entry, argp, n, 0)
    return addr(run)


@fn(inline=False, entered=NO_P)
def runstop(r: int, code: int):
    """End the run from outside, with that exit code. runwait will say when it is done."""
    request = local(StopRequest)
    xadd(ptr(Run, r), "stoppers", 1)
    request.run = r
    request.code = code
    newhelper(funcaddr(runstopper, "entry"), addr(request), sizeof(StopRequest))


@fn(inline=False)
def newhelper(entry: int, argp: int, n: int):
    """A goroutine of no run that a Python thread waits for: before all others. R4."""
    gp = newgforeign(None, entry, argp, n, 0)
    lock(sched.lock)
    globrunqputhead(gp)
    unlock(sched.lock)
    if load(sched, "npidle") != 0:
        wakep()
        return
    preemptone(sched.allp[xadd(sched, "roomhint", 1) % sched.gomaxprocs])


@fn(inline=False)
def runstopper(a: int):
    """The helper goroutine behind runstop; it belongs to no run."""
    request = ptr(StopRequest, a)
    run = ptr(Run, request.run)
    if cas(run, "ended", 0, 1):
        run.exitcode = request.code
        endrun(run, getg())
        rundone(run)
    xadd(run, "stoppers", -1)


@fn(inline=False, entered=WITH_P)
def runhold(object: int):
    """The result of the run has a pointer to this object: Python will hold it."""
    run = getg().run
    h = newhandle(ptr(Memory, object))
    h.link = run.held
    run.held = h


@fn(inline=False, entered=WITH_P)
def runexit(code: int, exc: int):
    """The calling goroutine ends its run: it returned from main (code 0), or it failed. Returns, before anything is
    done, if another goroutine ends the run already: the exception is still the caller's."""
    gp = getg()
    run = gp.run
    if not cas(run, "ended", 0, 1):
        return
    run.exitcode = code
    run.exitexc = exc
    run.exitgoid = gp.goid
    run.exitspawn = gp.spawnrec
    run.tbcount = gp.tbcount
    for i in range(2 * TracebackFrames):
        run.tb[i] = gp.tb[i]
    endrun(run, gp)
    gp.run = None
    rundone(run)
    goexit()


@fn(inline=False)
def rundone(run: Run):
    """Tell whoever waits for the run that it is over: the last thing that is done with it."""
    if run.token != 0:
        if lfstackpush(futures.done, run.node):
            notewakeup(futures.note)
    else:
        notewakeup(run.done)


@fn(inline=False)
def endrun(run: Run, me: G):
    """Make every goroutine of the run but `me` leave, and wait until they have left. R1."""
    clean = 0
    while clean < 2:
        if sweeprun(run, me):
            clean += 1
        else:
            clean = 0
            # To the end of the global queue: behind a local yield the next look would come before most have had a turn.
            if not goyieldglobal():
                usleep(50)  # what is left runs on other Ms, and has not come to its next poll


@fn(inline=False)
def sweeprun(run: Run, me: G) -> bool:
    """One look at allgs. True if nothing of the run is left."""
    clean = True
    gp = firstg(0)
    while gp is not None:
        goid = gp.goid
        if gp is not me and gp.run is run:
            status = load(gp, "atomicstatus")
            if status != Gdead:
                clean = False
                askpreempt(gp)
                if status == Gwaiting:
                    claimended(gp, goid)
        gp = nextg(gp)
    return clean


@fn(inline=False)
def claimended(gp: G, goid: int):
    """Wake the parked goroutine of that number with the news that its run has ended, or that nobody wants it any more
    (cgocall.py), unless somebody else wakes it first. R2."""
    l = gp.waitlock
    if l is None:
        return  # its stack has been given back meanwhile (stack.py, ST6)
    spinlock(l)
    if gp.waitlock is l and gp.goid == goid and load(gp, "atomicstatus") == Gwaiting:
        gp.ended = 1
        gp.param = None
        if claim(gp):
            spinunlock(l)
            goready(gp)
            return
        gp.ended = 0
    spinunlock(l)


@fn(entered=WITH_P)
def startended() -> int:
    """Asked by the entry stub: 1 if the run ended before the goroutine got its turn."""
    gp = getg()
    return 1 if gp.run is not None and load(gp.run, "ended") != 0 else 0


@fn(inline=False, entered=WITH_P)
def preempted() -> int:
    """The slow path of a poll: 1 if the goroutine must leave. If its run has not ended, somebody wants its P."""
    gp = getg()
    if gp.run is not None and load(gp.run, "ended") != 0:
        return 1
    gp.preempt = 0
    gopreempt()
    return 1 if gp.run is not None and load(gp.run, "ended") != 0 else 0


@fn(inline=False, entered=WITH_P)
def morestack(lowest: int) -> int:
    """A function found its lowest stack address below the guard: 1 if the run has ended (the guard was raised to get
    its attention), 2 if the stack is full, 0 if neither any more."""
    gp = getg()
    if gp.run is not None and load(gp.run, "ended") != 0:
        return 1
    guard = guardof(gp)
    gp.stackguard = guard
    if lowest < guard:
        return 2
    preempted()  # the guard was raised to get the goroutine's attention
    return 1 if gp.run is not None and load(gp.run, "ended") != 0 else 0


@fn(inline=False, entered=NO_P)
def runfree(r: int):
    """The Python thread has taken the result: the Run may be used again."""
    run = ptr(Run, r)
    while load(run, "stoppers") != 0:  # R6
        usleep(50)
        lookps()
    if checking():
        auditrun(run)
    h = run.held
    while h is not None:  # of a result that nobody takes
        following = h.link
        drophandle(addr(h))
        h = following
    setHandleNoWriteBarrier(run, "held", None, "handles.all")
    store(run, "inuse", 0)
    lock(sched.lock)
    setRunNoWriteBarrier(run, "link", sched.runfree, "allruns")
    setRunNoWriteBarrier(sched, "runfree", run, "allruns")
    unlock(sched.lock)
    scavengeall()


@fn(inline=False, entered=NO_P)
def runwait(r: int) -> int:
    """Sleep until the run is done, at most LOOK_TICKS ticks; RUN_DEAD if two looks found it deadlocked."""
    run = ptr(Run, r)
    for _ in range(LOOK_TICKS):
        if notetsleep(run.done, TICK_NS):
            return RUN_DONE
        if load(run, "poke") != 0:
            break
        if checking():
            run.stuck = auditrest(run.stuck)
        lookps()
    scavengeidle()
    poked = load(run, "poke") != 0
    store(run, "poke", 0)
    if load(run, "ended") != 0:
        run.lastlook = 0
        return RUN_WAIT
    look = lookrun(run)
    if poked and look != 0 and look != run.lastlook:
        run.lastlook = look
        look = lookrun(run)
    dead = look != 0 and look == run.lastlook
    run.lastlook = look
    return RUN_DEAD if dead and not saved(run, look) else RUN_WAIT


@fn(inline=False)
def saved(run: Run, look: int) -> bool:
    """Whether Python can still wake a goroutine of a run whose goroutines are all parked. R5."""
    if run.given == 0:
        return False
    changes = load(handles, "changes")
    if run.vetolook == look and run.vetochanges == changes:
        return True
    if not pythonreaches(run):
        return False
    run.vetolook = look
    run.vetochanges = changes
    return True


@fn(inline=False)
def lookps():
    """R4. Several threads may do this at once: at worst an M looks in vain, or a goroutine yields too early."""
    for i in range(sched.gomaxprocs):
        pp = sched.allp[i]
        tick = load(pp, "schedtick")
        slice = load(pp, "slicetick")
        if slice == load(pp, "slicelooked") and (sched.runqsize > 0 or not runqempty(pp)):
            if load(sched, "npidle") == 0:
                store(pp, "sliceover", 1)
                preemptone(pp)
            elif tick == load(pp, "ticklooked"):
                if not checking() or pp.runnext is not None:  # AU6: no help where none may be needed
                    wakep()
        store(pp, "ticklooked", tick)
        store(pp, "slicelooked", slice)


@fn(inline=False)
def preemptone(pp: P):
    """Ask whatever runs on pp to yield at its next poll. What it reads may be stale: a needless request is harmless."""
    mp = pp.m
    if mp is not None and mp.curg is not None:
        askpreempt(mp.curg)


@fn
def askpreempt(gp: G):
    """Get a goroutine's attention at its next poll, or at its next check of the stack."""
    gp.stackguard = STACK_PREEMPT
    xchg(gp, "preempt", 1)


@fn(inline=True)
def foldlook(mark: int, gp: G, waits: bool) -> int:
    """A number that tells sets of parks apart, one goroutine later; 0, and ever after, if one does not wait."""
    if mark == 0 or not waits:
        return 0
    return (mark * 1000003) ^ (gp.goid * 69069 + load(gp, "parkseq")) or 2


@fn(inline=False)
def lookrun(run: Run) -> int:
    """0 if a goroutine of the run, or of one that is judged together with it, may still run; else a number that tells
    this set of parks from any other. R5."""
    mark = 1
    gp = firstg(0)
    while gp is not None:
        owner = gp.run
        if owner is run or (run.given != 0 and owner is not None and owner.given != 0):
            status = load(gp, "atomicstatus")
            if status != Gdead:
                mark = foldlook(mark, gp, status == Gwaiting)
                if mark == 0:
                    return 0
        gp = nextg(gp)
    if mark == 1:
        return 0  # nobody there (yet): it is about to start, or about to be done
    return mark


@fn(inline=False)
def pokeruns():
    """All Ps are idle: whoever waits for a run should look at it now."""
    run = sched.allruns
    while run is not None:
        if load(run, "inuse") != 0:
            store(run, "poke", 1)
            futexwakeup(fieldaddr(run.done, "key"), 1)
        run = run.alllink


@fn(inline=False, entered=NO_P)
def numgoroutine() -> int:
    """Goroutines that exist and belong to a run."""
    n = 0
    gp = firstg(0)
    while gp is not None:
        if gp.run is not None and load(gp, "atomicstatus") != Gdead:
            n += 1
        gp = nextg(gp)
    return n
