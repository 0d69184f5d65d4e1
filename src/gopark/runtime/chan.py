"""Channels.

Stands for: src/runtime/chan.go at 41dbcc19ef09.

A channel is an object of the collected heap: a lock, a ring of elements, and two queues of waiting goroutines. The
sudog that represents a waiting goroutine lies in the frame of the operation that waits; so does the element it sends or
the place it receives into. Stacks do not move, so the other side copies directly.

* CH1  At least one of sendq and recvq is empty, except for a goroutine that waits for both ends in one select.
* CH2  If the ring holds elements, recvq is empty; if the ring has room, sendq is empty.
* CH3  A waiter that is taken from a queue is claimed (runtime2.py, I2) under the channel's lock; a claim that fails
       belongs to a select that another channel won, or to the end of the run: the sudog is then simply out of the
       queue.
* CH4  A goroutine that the end of its run woke takes its own sudog out of the queue before it leaves.

The lock is a spin lock of a few instructions; while it is held there is no park, no allocation and no call of user
code. Operations report to the inline code of the caller: SENT, CLOSED, ENDED ... A nil channel blocks for ever.

Everything here runs with a P: plain pointer stores. Elements are copied by typedmemmove (mbarrier.py).
"""

from __future__ import annotations

from gopark.compiler.image import WITH_P, fn
from gopark.runtime.audit import auditchan, auditout
from gopark.runtime.lock_futex import spinlock, spinunlock
from gopark.runtime.malloc import mallocgc, newobject
from gopark.runtime.mbarrier import typedmemmove
from gopark.runtime.prims import addr, checking, getg, local, memclr, memmove, ptr, typedesc
from gopark.runtime.proc import claim, claimlocked, gopark, goready, parkforever, parkprepare
from gopark.runtime.runtime2 import (
    ACT_UNLOCK,
    Hchan,
    Memory,
    Sudog,
    Type,
    Waitq,
    waitChanReceive,
    waitChanReceiveNil,
    waitChanSend,
    waitChanSendNil,
)

# what an operation reports
ENDED = -1  # the run has ended: leave
CLOSED = 0  # closed: a receive got the zero value; a send failed
DONE = 1  # it took place
WOULDBLOCK = 2  # (try_) nobody is ready

MaxElem = 64 << 10  # bytes of an element
MaxBuffer = 1 << 40  # bytes of a ring


@fn(inline=False, entered=WITH_P)
def makechan(elemtype: Type, count: int) -> Hchan:
    """A new channel with room for `count` elements; nil if there is no memory."""
    size = elemtype.size
    if size != 0 and count > MaxBuffer // size:
        return None
    o = newobject(typedesc(Hchan))
    if o is None:
        return None
    c = ptr(Hchan, addr(o))
    c.elemtype = elemtype
    c.elemsize = size
    c.dataqsiz = count
    if count > 0 and size > 0:
        c.buf = mallocgc(size * count, elemtype, count)
        if c.buf is None:
            return None
    return c


# ---- wait queues


@fn(inline=True)
def enqueue(q: Waitq, sg: Sudog):
    sg.next = None
    last = q.last
    sg.prev = last
    if last is None:
        q.first = sg
    else:
        last.next = sg
    q.last = sg


@fn(inline=True)
def dequeue(q: Waitq) -> Sudog:
    """The first waiter that can be claimed, taken from the queue and claimed; or nil. CH3."""
    while True:
        sg = q.first
        if sg is None:
            return None
        following = sg.next
        q.first = following
        if following is None:
            q.last = None
        else:
            following.prev = None
            sg.next = None
        if claim(sg.g) if sg.isselect != 0 else claimlocked(sg.g):
            return sg


@fn(inline=False)
def dequeueSudoG(q: Waitq, sg: Sudog):
    """Take sg out of the queue, wherever it is; nothing if `dequeue` took it out before, which clears its links. Nobody
    asks for its links afterwards."""
    before = sg.prev
    after = sg.next
    if before is not None:
        before.next = after
        if after is not None:
            after.prev = before
        else:
            q.last = before
    elif after is not None:
        after.prev = None
        q.first = after
    elif q.first is sg:
        q.first = None
        q.last = None


# ---- elements


@fn(inline=True)
def copyelem(c: Hchan, to: int, frm: int):
    """Copy one element between the ring and frames of goroutines; its pointers raise the barrier event."""
    if c.elemtype.ptrwords != 0:
        typedmemmove(c.elemtype, to, frm)
    elif c.elemsize == 8:
        memmove(to, frm, 8)
    else:
        memmove(to, frm, c.elemsize)


@fn(inline=True)
def chanbuf(c: Hchan, i: int) -> int:
    return addr(c.buf) + i * c.elemsize


@fn(inline=True)
def advance(c: Hchan, i: int) -> int:
    i += 1
    return 0 if i == c.dataqsiz else i


@fn(inline=True)
def wake(sg: Sudog):
    """Ready the goroutine of a claimed sudog whose operation took place. The channel is unlocked."""
    sg.success = 1
    gp = sg.g
    gp.param = sg
    goready(gp)


@fn(inline=True)
def send(c: Hchan, sg: Sudog, ep: int):
    """Hand the element at ep to the claimed receiver sg, and ready it. The channel is unlocked."""
    copyelem(c, addr(sg.elem), ep)
    wake(sg)


@fn(inline=True)
def recv(c: Hchan, sg: Sudog, ep: int):
    """Take an element on behalf of a receiver while the claimed sender sg waits: from sg itself, or, if there is a ring
    (which is full), from its head, sg's element going to its tail. The channel is locked; the caller unlocks it and
    wakes sg."""
    if c.dataqsiz == 0:
        copyelem(c, ep, addr(sg.elem))
    else:
        i = c.recvx
        copyelem(c, ep, chanbuf(c, i))
        copyelem(c, chanbuf(c, i), addr(sg.elem))
        c.recvx = advance(c, i)
        c.sendx = c.recvx


@fn(inline=True)
def put(c: Hchan, ep: int):
    """Append the element at ep to the ring, which has room. The channel is locked."""
    i = c.sendx
    copyelem(c, chanbuf(c, i), ep)
    c.sendx = advance(c, i)
    c.qcount += 1


@fn(inline=True)
def take(c: Hchan, ep: int):
    """Take the head of the ring, which is not empty; its slot keeps no pointer. The channel is locked."""
    i = c.recvx
    copyelem(c, ep, chanbuf(c, i))
    if c.elemtype.ptrwords != 0:
        memclr(chanbuf(c, i), c.elemsize)
    c.recvx = advance(c, i)
    c.qcount -= 1


# ---- operations: ep is the address of the element


@fn(inline=False, entered=WITH_P)
def chansend(c: Hchan, ep: int, block: bool) -> int:
    if c is None:
        if not block:
            return WOULDBLOCK
        parkforever(waitChanSendNil)
        return ENDED
    spinlock(c.lock)
    if checking():
        auditchan(c)
    if c.closed != 0:
        spinunlock(c.lock)
        return CLOSED
    sg = dequeue(c.recvq)
    if sg is not None:
        spinunlock(c.lock)
        send(c, sg, ep)
        return DONE
    if c.qcount < c.dataqsiz:
        put(c, ep)
        spinunlock(c.lock)
        return DONE
    if not block:
        spinunlock(c.lock)
        return WOULDBLOCK
    gp = getg()
    sg = local(Sudog)
    sg.g = gp
    sg.elem = ptr(Memory, ep)
    sg.c = c
    gp.waiting = sg
    enqueue(c.sendq, sg)
    parkprepare(gp, c.lock, waitChanSend)
    gopark(ACT_UNLOCK, c.lock)
    if gp.ended != 0:
        leavequeue(c, c.sendq, sg)
        return ENDED
    return sg.success


@fn(inline=False, entered=WITH_P)
def chanrecv(c: Hchan, ep: int, block: bool) -> int:
    if c is None:
        if not block:
            return WOULDBLOCK
        parkforever(waitChanReceiveNil)
        return ENDED
    spinlock(c.lock)
    if checking():
        auditchan(c)
    sg = dequeue(c.sendq)
    if sg is not None:
        recv(c, sg, ep)
        spinunlock(c.lock)
        wake(sg)
        return DONE
    if c.qcount > 0:
        take(c, ep)
        spinunlock(c.lock)
        return DONE
    if c.closed != 0:
        spinunlock(c.lock)
        memclr(ep, c.elemsize)
        return CLOSED
    if not block:
        spinunlock(c.lock)
        memclr(ep, c.elemsize)
        return WOULDBLOCK
    gp = getg()
    sg = local(Sudog)
    sg.g = gp
    sg.elem = ptr(Memory, ep)
    sg.c = c
    gp.waiting = sg
    enqueue(c.recvq, sg)
    parkprepare(gp, c.lock, waitChanReceive)
    gopark(ACT_UNLOCK, c.lock)
    if gp.ended != 0:
        leavequeue(c, c.recvq, sg)
        return ENDED
    if sg.success == 0:
        memclr(ep, c.elemsize)
    return sg.success


@fn(inline=False)
def leavequeue(c: Hchan, q: Waitq, sg: Sudog):
    """The run of this goroutine has ended while it waited. CH4."""
    spinlock(c.lock)
    dequeueSudoG(q, sg)
    if checking():
        auditout(q, sg)
        auditchan(c)
    spinunlock(c.lock)


@fn(inline=False, entered=WITH_P)
def closechan(c: Hchan) -> int:
    """DONE, CLOSED if it was closed before, WOULDBLOCK if it is nil."""
    if c is None:
        return WOULDBLOCK
    spinlock(c.lock)
    if checking():
        auditchan(c)
    if c.closed != 0:
        spinunlock(c.lock)
        return CLOSED
    c.closed = 1
    # Claim everybody under the lock; ready them behind it, linked through schedlink (they are in no other list).
    first = None
    while True:
        sg = dequeue(c.recvq)
        if sg is None:
            sg = dequeue(c.sendq)
            if sg is None:
                break
        gp = sg.g
        sg.success = 0
        gp.param = sg
        gp.schedlink = first
        first = gp
    spinunlock(c.lock)
    while first is not None:
        gp = first
        first = gp.schedlink
        goready(gp)
    return DONE
