"""Run queues: one per P, lock-free, and a global one under sched.lock.

Stands for: the runq* and globrunq* functions of src/runtime/proc1.go at 41dbcc19ef09.

* RQ1  Only the owner of a P puts into its ring (release store of runqtail); anybody takes, by compare and swap of
       runqhead. The ring is full at 256: half of it, and the new G, then go to the global queue as one batch.
* RQ2  `runnext` is the G that was made ready last. Only the owner stores a G there, so an empty runnext may be filled
       by a release store; anybody may take it, by compare and swap. It is stolen only in the last round of stealing.
       It goes on with the time slice of the one that readied it; whoever comes from elsewhere begins a new one, which
       `slicetick` counts (runs.py, R4).
* RQ4  A G's schedlink is written only by who owns the G: in runqputslow that is after the swap of runqhead, not before.
* RQ3  The global queue is a list through `schedlink`, first in, first out. A P takes its share of it, at most half a
       ring.
* RQ5  A switch's cost is the cold memory of the goroutine that comes: runqget therefore asks for the stack of the one
       after it, and for the G of the one after that, whose slab the TLB may not know either.
* RQ6  Helpers, which Python threads wait for (runs.py), go to the head of the global queue and are counted: the first
       `urgent` of it. findrunnable looks there before it looks anywhere else, and takes them one at a time; they never
       lie in a ring, behind others.

globrunqput and globrunqputhead run also in threads without a P (a Python thread that starts a run): their three stores
are setters, and allgs keeps the G reachable. Everything else needs a P and stores plainly.
"""

from __future__ import annotations

from gopark.compiler.image import fn
from gopark.runtime.audit import GLOBAL, NEXT, ONWAY, RING, auditglobal, inp, moveg
from gopark.runtime.lock_futex import lock, unlock
from gopark.runtime.prims import addr, cas, checking, load, pause, prefetch, setGNoWriteBarrier, store
from gopark.runtime.runtime2 import G, P, RunqSize, sched

MASK, HALF = RunqSize - 1, RunqSize // 2


@fn
def globrunqput(gp: G):
    """Append one G to the global queue. sched.lock is held."""
    if checking():
        auditglobal()
        moveg(gp, ONWAY, GLOBAL)
    setGNoWriteBarrier(gp, "schedlink", None, "allgs")
    tail = sched.runqtail
    if tail is None:
        setGNoWriteBarrier(sched, "runqhead", gp, "allgs")
    else:
        setGNoWriteBarrier(tail, "schedlink", gp, "allgs")
    setGNoWriteBarrier(sched, "runqtail", gp, "allgs")
    sched.runqsize += 1


@fn
def globrunqputhead(gp: G):
    """Put one G at the head of the global queue: it goes before all others. sched.lock is held. RQ6."""
    if checking():
        auditglobal()
        moveg(gp, ONWAY, GLOBAL)
    setGNoWriteBarrier(gp, "schedlink", sched.runqhead, "allgs")
    setGNoWriteBarrier(sched, "runqhead", gp, "allgs")
    if sched.runqtail is None:
        setGNoWriteBarrier(sched, "runqtail", gp, "allgs")
    sched.runqsize += 1
    store(sched, "urgent", sched.urgent + 1)


@fn
def globrunqputbatch(first: G, last: G, n: int):
    """Append n Gs, linked from first to last. sched.lock is held."""
    last.schedlink = None
    tail = sched.runqtail
    if tail is None:
        sched.runqhead = first
    else:
        tail.schedlink = first
    sched.runqtail = last
    sched.runqsize += n
    if checking():
        auditglobal()


@fn(inline=False)
def globrunqget(pp: P, most: int) -> G:
    """Take this P's share of the global queue, at most `most` if that is not 0; the first is returned, the rest becomes
    local. sched.lock is held."""
    size = sched.runqsize
    if checking():
        auditglobal()
    if size == 0:
        return None
    n = size // sched.gomaxprocs + 1
    if n > size:
        n = size
    if most > 0 and n > most:
        n = most
    if n > HALF:
        n = HALF
    if sched.urgent != 0:  # RQ6
        store(sched, "urgent", sched.urgent - 1)
        n = 1
    gp = sched.runqhead
    rest = gp.schedlink
    if checking():
        moveg(gp, GLOBAL, ONWAY)
    for _ in range(n - 1):
        following = rest.schedlink
        if checking():
            moveg(rest, GLOBAL, ONWAY)
        runqput(pp, rest, False)
        rest = following
    sched.runqhead = rest
    if rest is None:
        sched.runqtail = None
    sched.runqsize = size - n
    pp.slicetick += 1
    return gp


@fn
def runqempty(pp: P) -> bool:
    return load(pp, "runqhead") == load(pp, "runqtail") and load(pp, "runnext") is None


@fn
def runqput(pp: P, gp: G, next: bool):
    """Make gp runnable on pp: as the next one (which displaces the present next one), or at the tail of the ring."""
    if next:
        if checking():
            moveg(gp, ONWAY, inp(NEXT, pp))
        while True:
            old = pp.runnext
            if old is None:
                store(pp, "runnext", gp)
                return
            if cas(pp, "runnext", old, gp):
                break
        gp = old
        if checking():
            moveg(gp, inp(NEXT, pp), ONWAY)
    while True:
        head = load(pp, "runqhead")
        tail = pp.runqtail
        if tail - head < RunqSize:
            if checking():
                moveg(gp, ONWAY, inp(RING, pp))
            pp.runq[tail & MASK] = gp
            store(pp, "runqtail", tail + 1)
            return
        if runqputslow(pp, gp, head):
            return


@fn(inline=False)
def runqputslow(pp: P, gp: G, head: int) -> bool:
    """The ring is full: half of it and gp to the global queue. False if a thief was faster."""
    if not cas(pp, "runqhead", head, head + HALF):
        return False
    # Only now are they ours: before, a thief may have taken one of them, and its link may be in use in another list.
    # The slots of the ring still hold them, because only the owner of the P writes there.
    first = pp.runq[head & MASK]
    last = first
    if checking():
        moveg(first, inp(RING, pp), GLOBAL)
        moveg(gp, ONWAY, GLOBAL)
    for i in range(1, HALF):
        following = pp.runq[(head + i) & MASK]
        if checking():
            moveg(following, inp(RING, pp), GLOBAL)
        last.schedlink = following
        last = following
    last.schedlink = gp
    lock(sched.lock)
    globrunqputbatch(first, gp, HALF + 1)
    unlock(sched.lock)
    return True


@fn
def runqget(pp: P) -> G:
    """The next G of this P, or nil."""
    next = pp.runnext
    if next is not None and cas(pp, "runnext", next, None):
        if checking():
            moveg(next, inp(NEXT, pp), ONWAY)
        return next
    while True:
        head = load(pp, "runqhead")
        tail = pp.runqtail
        if tail == head:
            return None
        if tail - head > 2:
            prefetchnext(pp, head)
        gp = pp.runq[head & MASK]
        if cas(pp, "runqhead", head, head + 1):
            pp.slicetick += 1
            if checking():
                moveg(gp, inp(RING, pp), ONWAY)
            return gp


@fn
def prefetchnext(pp: P, head: int):
    """RQ5. The lines of a context: the saved words, the frame of gosched or gopark, the caller's behind a red zone."""
    prefetch(addr(pp.runq[(head + 2) & MASK]))
    context = pp.runq[(head + 1) & MASK].sp
    prefetch(context)
    prefetch(context + 64)
    prefetch(context + 192)
    prefetch(context + 256)


@fn(inline=False)
def runqsteal(pp: P, victim: P, stealnext: bool) -> G:
    """Half of victim's ring to pp; one of them is returned. With stealnext, an otherwise empty victim's next one."""
    while True:
        head = load(victim, "runqhead")
        tail = load(victim, "runqtail")
        n = tail - head
        n = n - n // 2
        if n == 0:
            if stealnext:
                next = load(victim, "runnext")
                if next is not None:
                    for _ in range(50):  # the victim is about to run it: leave it the chance
                        pause()
                    if cas(victim, "runnext", next, None):
                        pp.slicetick += 1
                        if checking():
                            moveg(next, inp(NEXT, victim), ONWAY)
                        return next
                    continue
            return None
        if n > HALF:
            continue  # head and tail were read at different times
        mine = pp.runqtail
        for i in range(n):
            pp.runq[(mine + i) & MASK] = victim.runq[(head + i) & MASK]
        if cas(victim, "runqhead", head, head + n):
            pp.slicetick += 1
            n -= 1
            gp = pp.runq[(mine + n) & MASK]
            if checking():
                moveg(gp, inp(RING, victim), ONWAY)
                for i in range(n):
                    moveg(pp.runq[(mine + i) & MASK], inp(RING, victim), inp(RING, pp))
            if n > 0:
                store(pp, "runqtail", mine + n)
            return gp
