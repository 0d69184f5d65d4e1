"""select: wait for the first of several channel operations.

Stands for: src/runtime/select.go at 41dbcc19ef09.

The cases are sudogs in the caller's frame, filled in by the inline code: channel, element, direction. selectgo
allocates nothing: the order in which it polls and the order in which it locks are lists through the cases themselves.

1. Try the case that comes first in a random order alone, if it seems ready: it would be the choice of step 3.
2. Lock all channels, in the order of their addresses, each once.
3. Look at the cases in the random order; take the first that is ready.
4. None, and no default: put every case in its channel's queue and park. The channels are unlocked by the finish action,
   when the context is saved. One waker wins the claim (runtime2.py, I2); the others find the sudogs unclaimable.
5. Awake: lock all again, take the cases that did not win out of their queues. `param` is the one that did, and its
   `success` is as the waker left it; nil if it was the end of the run that won the claim.

* SL1  A case whose channel is nil is never ready and is in no queue.
* SL2  Two selects that share channels lock them in the same order.
* SL3  While the goroutine is parked, `waiting` is its list of cases in lock order; the finish action walks it, and
       reads the link of a case before it unlocks: as soon as the last channel is unlocked the goroutine may run again.

* SL4  Step 1 looks at one channel only, so it may take a case and never decides that none is ready: for a default, and
       for parking, all channels are seen at the same time.

Needs a P. Result: the index of the case, plus OK if it received a value or sent; DEFAULT; ENDED.
"""

from __future__ import annotations

from gopark.compiler.image import WITH_P, fn
from gopark.compiler.structs import struct
from gopark.runtime.audit import auditchan, auditout
from gopark.runtime.chan import ENDED, dequeue, dequeueSudoG, enqueue, put, recv, send, take, wake
from gopark.runtime.lock_futex import spinlock, spinunlock
from gopark.runtime.malloc import mallocgc
from gopark.runtime.prims import addr, cas, checking, getg, load, memclr, ptr, sizeof, typedesc
from gopark.runtime.proc import gopark, parkforever, parkprepare
from gopark.runtime.runtime2 import ACT_SELUNLOCK, G, Hchan, Memory, Sudog, waitSelect, waitSelectNoCases
from gopark.runtime.slice import List

RECV, SEND = 0, 1  # the `kind` of a case
DEFAULT, SENDCLOSED, NOTREADY, NOMEMORY = -2, -3, -4, -5  # SENDCLOSED, NOMEMORY: the caller raises
OK = 1 << 32


@fn(inline=True)
def scase(cases: Sudog, i: int) -> Sudog:
    return ptr(Sudog, addr(cases) + i * sizeof(Sudog))


@fn(inline=False)
def sortcases(cases: Sudog, n: int, shuffled: bool) -> Sudog:
    """Link the cases with a channel in the order of their channels' addresses; the first, or nil. Those of one channel
    follow each other in the order in which they are written or, shuffled, in the random one."""
    first = None
    last = None
    for k in range(n):
        sg = scase(cases, scase(cases, k).ticket if shuffled else k)
        sg.waitlink = None
        if sg.c is None:
            continue
        key = addr(sg.c)
        before = None
        after = first
        if last is not None and addr(last.c) <= key:  # many channels that were made one after the other: no search
            before = last
            after = None
        while after is not None and addr(after.c) <= key:
            before = after
            after = after.waitlink
        sg.waitlink = after
        if after is None:
            last = sg
        if before is None:
            first = sg
        else:
            before.waitlink = sg
    return first


@fn
def sharechannel(first: Sudog) -> bool:
    """Whether two cases of the list have the same channel."""
    sg = first
    while sg.waitlink is not None:
        if sg.waitlink.c is sg.c:
            return True
        sg = sg.waitlink
    return False


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
        j = (((state >> 33) & 0x7FFFFFFF) * (i + 1)) >> 31  # below i + 1, without a division
        scase(cases, i).ticket = scase(cases, j).ticket
        scase(cases, j).ticket = i
    pp.rand = state


@fn
def seemsready(sg: Sudog) -> bool:
    """Whether the case looks ready to somebody who holds no lock. A guess. SL4."""
    c = sg.c
    if c is None:
        return False
    if sg.kind == SEND:
        return c.recvq.first is not None or c.qcount < c.dataqsiz or c.closed != 0
    return c.sendq.first is not None or c.qcount > 0 or c.closed != 0


@fn(inline=False)
def selectready(cases: Sudog, n: int, first: Sudog) -> int:
    """Perform the first ready one of n cases in random order and unlock the channels of `first`, which are theirs.
    NOTREADY if there is none; then the channels are still locked."""
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
    sg = scase(cases, scase(cases, 0).ticket)
    if seemsready(sg):
        sg.waitlink = None
        sellock(sg)
        ready = selectready(cases, 1, sg)
        if ready != NOTREADY:
            return ready
        selunlock(sg)
    first = sortcases(cases, n, False)
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
    if sharechannel(first):
        first = sortcases(cases, n, True)  # they wait in its queue in the random order; the locks are the same
    gp = getg()
    sg = first
    while sg is not None:
        sg.g = gp
        sg.isselect = 1
        if sg.kind == SEND:
            enqueue(sg.c.sendq, sg)
        else:
            enqueue(sg.c.recvq, sg)
        sg = sg.waitlink
    gp.waiting = first
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


# ---- over a list of channels


@struct
class ChanSlot:
    """An element of a list of channels."""

    c: Hchan


@fn(inline=False, entered=WITH_P)
def selectrecv(l: List, ep: int) -> int:
    """Receive into the memory at ep from one of the channels in l. Result as of selectgo, or NOMEMORY."""
    n = load(l, "len") if l is not None else 0
    if n == 0:
        parkforever(waitSelectNoCases)
        return ENDED
    memory = takecases(l, n)
    if memory is None:
        return NOMEMORY
    cases = scase(ptr(Sudog, addr(memory)), 1)
    for i in range(n):
        sg = scase(cases, i)
        sg.c = ptr(ChanSlot, addr(l.buf) + i * sizeof(ChanSlot)).c
        sg.elem = ptr(Memory, ep)
        sg.kind = RECV
        sg.index = i
    outcome = selectgo(cases, n, True)
    cas(l, "cases", None, memory)
    return outcome


@fn
def takecases(l: List, n: int) -> Memory:
    """Memory for n cases behind a first sudog, whose index says how many there is room for: what the last select over
    this list left, if it is enough and nobody else uses it. slice.py, LI3."""
    memory = l.cases
    if memory is not None and cas(l, "cases", memory, None) and ptr(Sudog, addr(memory)).index >= n:
        return memory
    memory = mallocgc((n + 1) * sizeof(Sudog), typedesc(Sudog), n + 1)
    if memory is not None:
        ptr(Sudog, addr(memory)).index = n
    return memory
