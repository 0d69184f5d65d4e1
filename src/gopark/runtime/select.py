"""select: wait for the first of several channel operations.

Stands for: src/runtime/select.go at 41dbcc19ef09.

The cases are sudogs in the caller's frame, filled in by the inline code: channel, element, direction. selectgo
allocates nothing: the order in which it polls and the order in which it locks are lists through the cases themselves.

1. Lock all channels, in the order of their addresses, each once.
2. Look at the cases in random order; take the first that is ready.
3. None, and no default: put every case in its channel's queue and park. The channels are unlocked by the finish action,
   when the context is saved. One waker wins the claim (runtime2.py, I2); the others find the sudogs unclaimable.
4. Awake: lock all again, take the cases that did not win out of their queues. `param` is the one that did.

* SL1  A case whose channel is nil is never ready and is in no queue.
* SL2  Two selects that share channels lock them in the same order.
* SL3  While the goroutine is parked, `waiting` is its list of cases in lock order; the finish action walks it, and
       reads the link of a case before it unlocks: as soon as the last channel is unlocked the goroutine may run again.

Needs a P. Result: the index of the case, plus OK if it received a value or sent; DEFAULT; ENDED.
"""

from __future__ import annotations

from gopark.compiler.image import WITH_P, fn
from gopark.runtime.audit import auditchan, auditout
from gopark.runtime.chan import ENDED, dequeue, dequeueSudoG, enqueue, put, recv, send, take, wake
from gopark.runtime.lock_futex import spinlock, spinunlock
from gopark.runtime.prims import addr, checking, getg, memclr, ptr, sizeof
from gopark.runtime.proc import gopark, parkforever, parkprepare
from gopark.runtime.runtime2 import ACT_SELUNLOCK, G, Sudog, waitSelect, waitSelectNoCases

RECV, SEND = 0, 1  # the `kind` of a case
DEFAULT, SENDCLOSED, NOTREADY = -2, -3, -4  # SENDCLOSED: the caller raises
OK = 1 << 32


@fn(inline=True)
def scase(cases: Sudog, i: int) -> Sudog:
    return ptr(Sudog, addr(cases) + i * sizeof(Sudog))


@fn(inline=False)
def sortcases(cases: Sudog, n: int) -> Sudog:
    """Link the cases with a channel in the order of their channels' addresses; the first, or nil."""
    first = None
    for i in range(n):
        sg = scase(cases, i)
        sg.waitlink = None
        if sg.c is None:
            continue
        key = addr(sg.c)
        before = None
        after = first
        while after is not None and addr(after.c) <= key:
            before = after
            after = after.waitlink
        sg.waitlink = after
        if before is None:
            first = sg
        else:
            before.waitlink = sg
    return first


@fn(inline=False)
def sellock(first: Sudog):
    """Lock the channels of the list, each once. SL2."""
    last = 0
    sg = first
    while sg is not None:
        if addr(sg.c) != last:
            last = addr(sg.c)
            spinlock(sg.c.lock)
            if checking():
                auditchan(sg.c)
        sg = sg.waitlink


@fn(inline=False)
def selunlock(first: Sudog):
    """Unlock them. SL3."""
    sg = first
    while sg is not None:
        c = sg.c
        sg = sg.waitlink
        while sg is not None and sg.c is c:
            sg = sg.waitlink
        spinunlock(c.lock)


@fn(inline=False)
def selunlockparked(gp: G):
    """The finish action of a select that parked."""
    selunlock(gp.waiting)


@fn(inline=False)
def shuffle(cases: Sudog, n: int):
    """A random order of the cases, every one equally likely, in their `ticket` fields."""
    pp = getg().m.p
    state = pp.rand
    scase(cases, 0).ticket = 0
    for i in range(1, n):
        state = state * 6364136223846793005 + 1442695040888963407
        j = ((state >> 33) & 0x3FFFFFFF) % (i + 1)
        scase(cases, i).ticket = scase(cases, j).ticket
        scase(cases, j).ticket = i
    pp.rand = state


@fn(inline=False)
def selectready(cases: Sudog, n: int, first: Sudog) -> int:
    """With all channels locked: perform the first ready case in random order and unlock everything. NOTREADY if there
    is none; then everything is still locked."""
    for k in range(n):
        index = scase(cases, k).ticket
        sg = scase(cases, index)
        c = sg.c
        if c is None:
            continue
        ep = addr(sg.elem)
        if sg.kind == SEND:
            if c.closed != 0:
                selunlock(first)
                return SENDCLOSED
            other = dequeue(c.recvq)
            if other is not None:
                selunlock(first)
                send(c, other, ep)
                return index + OK
            if c.qcount < c.dataqsiz:
                put(c, ep)
                selunlock(first)
                return index + OK
        else:
            other = dequeue(c.sendq)
            if other is not None:
                recv(c, other, ep)
                selunlock(first)
                wake(other)
                return index + OK
            if c.qcount > 0:
                take(c, ep)
                selunlock(first)
                return index + OK
            if c.closed != 0:
                selunlock(first)
                memclr(ep, c.elemsize)
                return index
    return NOTREADY


@fn(inline=False, entered=WITH_P)
def selectgo(cases: Sudog, n: int, block: bool) -> int:
    """Perform one of the n cases. See the head of the file."""
    if n == 0:
        if not block:
            return DEFAULT
        parkforever(waitSelectNoCases)
        return ENDED
    shuffle(cases, n)
    first = sortcases(cases, n)
    sellock(first)
    ready = selectready(cases, n, first)
    if ready != NOTREADY:
        return ready
    if not block:
        selunlock(first)
        return DEFAULT
    if first is None:  # only nil channels. SL1
        parkforever(waitSelect)
        return ENDED
    gp = getg()
    sg = first
    while sg is not None:
        sg.g = gp
        sg.success = 0
        if sg.kind == SEND:
            enqueue(sg.c.sendq, sg)
        else:
            enqueue(sg.c.recvq, sg)
        sg = sg.waitlink
    gp.waiting = first
    gp.param = None
    parkprepare(gp, first.c.lock, waitSelect)
    gopark(ACT_SELUNLOCK, None)
    won = gp.param
    sellock(first)
    sg = first
    while sg is not None:
        if sg is not won:
            if sg.kind == SEND:
                dequeueSudoG(sg.c.sendq, sg)
            else:
                dequeueSudoG(sg.c.recvq, sg)
        if checking():
            auditout(sg.c.sendq, sg)
            auditout(sg.c.recvq, sg)
        sg = sg.waitlink
    selunlock(first)
    if won is None:
        return ENDED
    if won.success != 0:
        return won.index + OK
    if won.kind == SEND:
        return SENDCLOSED
    memclr(addr(won.elem), won.c.elemsize)
    return won.index
