"""Semaphores: goroutines that sleep on an address.

Stands for: src/runtime/sema.go at 41dbcc19ef09 (semacquire, semrelease).

The table has 251 roots; an address belongs to the root that its hash names. A root is a spin lock and a queue of
sudogs, whose `ticket` is the address they wait for. A semaphore itself is a count in the object of whoever uses it (a
Mutex, a WaitGroup); here are only the sleepers.

* SM1  semrelease adds to the count first and then looks for sleepers; semacquire announces itself (root.nwait), then
       looks at the count once more, both under the root's lock or with a full fence between: no wake-up is lost.
* SM2  First in, first out among the sleepers of one address. A sleeper that is woken has been given its unit: it does
       not compete for it again.

Needs a P (plain stores).
"""

from __future__ import annotations

from gopark.compiler.image import fn
from gopark.compiler.structs import Array, Embed, struct, var
from gopark.runtime.audit import auditwaiters
from gopark.runtime.chan import ENDED, dequeueSudoG, enqueue
from gopark.runtime.lock_futex import spinlock, spinunlock
from gopark.runtime.prims import addr, cas, checking, getg, load, local, xadd
from gopark.runtime.proc import claimlocked, gopark, goready, parkprepare
from gopark.runtime.runtime2 import ACT_UNLOCK, G, Mutex, Sudog, Waitq

TABLE_SIZE = 251
ACQUIRED = 1


@struct(notinheap=True, align={"lock": 64})
class SemaRoot:
    lock: Embed[Mutex]
    queue: Embed[Waitq]
    nwait: int  # sleepers; read without the lock


@struct(notinheap=True)
class SemaTable:
    roots: Array[Embed[SemaRoot], TABLE_SIZE]


semtable = var(SemaTable, "go.semtable")


@struct(notinheap=True)
class Semaphore:
    """The count, inside the object of its user; only its address matters here."""

    count: int


@fn(inline=True)
def semroot(s: Semaphore) -> SemaRoot:
    return semtable.roots[(addr(s) >> 3) % TABLE_SIZE]


@fn(inline=True)
def cansemacquire(s: Semaphore) -> bool:
    while True:
        v = load(s, "count")
        if v <= 0:
            return False
        if cas(s, "count", v, v - 1):
            return True


@fn
def enqueuefirst(q: Waitq, sg: Sudog):
    sg.prev = None
    first = q.first
    sg.next = first
    if first is None:
        q.last = sg
    else:
        first.prev = sg
    q.first = sg


@fn(inline=False)
def semacquire(s: Semaphore, reason: int, lifo: bool) -> int:
    """Take one unit, or sleep until one is given (lifo: before those who sleep already). ACQUIRED or ENDED."""
    if cansemacquire(s):
        return ACQUIRED
    root = semroot(s)
    gp = getg()
    spinlock(root.lock)
    if checking():
        auditwaiters(root.queue, load(root, "nwait"))
    xadd(root, "nwait", 1)
    if cansemacquire(s):
        xadd(root, "nwait", -1)
        spinunlock(root.lock)
        return ACQUIRED
    sg = local(Sudog)
    sg.g = gp
    sg.ticket = addr(s)
    gp.waiting = sg
    if lifo:
        enqueuefirst(root.queue, sg)
    else:
        enqueue(root.queue, sg)
    parkprepare(gp, root.lock, reason)
    gopark(ACT_UNLOCK, root.lock)
    if gp.ended != 0:
        spinlock(root.lock)
        if sg.ticket != 0:
            dequeueSudoG(root.queue, sg)
            xadd(root, "nwait", -1)
        if checking():
            auditwaiters(root.queue, load(root, "nwait"))
        spinunlock(root.lock)
        return ENDED
    return ACQUIRED


@fn(inline=False)
def semdequeue(root: SemaRoot, s: Semaphore) -> G:
    """The first sleeper of s, given a unit, claimed and out of the queue; or nil. The root is locked. SM2."""
    sg = root.queue.first
    while sg is not None:
        following = sg.next
        if sg.ticket == addr(s):
            if not cansemacquire(s):
                return None
            dequeueSudoG(root.queue, sg)
            sg.ticket = 0
            xadd(root, "nwait", -1)
            if claimlocked(sg.g):
                return sg.g
            xadd(s, "count", 1)  # its run has ended: the unit is for somebody else
        sg = following
    return None


@fn(inline=False)
def semrelease(s: Semaphore):
    """Give one unit: to the first sleeper of this semaphore, or to the count. SM1."""
    xadd(s, "count", 1)
    root = semroot(s)
    if load(root, "nwait") == 0:
        return
    spinlock(root.lock)
    if checking():
        auditwaiters(root.queue, load(root, "nwait"))
    gp = semdequeue(root, s)
    spinunlock(root.lock)
    if gp is not None:
        goready(gp)
