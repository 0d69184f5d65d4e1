"""Operations of Python threads on objects of the heap.

Stands for: src/runtime/cgocall.go at 41dbcc19ef09, the half by which C calls Go (cgocallback).

A Python thread that calls owns no P and never waits for one with the GIL held. It fills in a Call and starts a
*helper*, a goroutine that belongs to no run and performs the one operation: it may allocate, execute write barriers,
and park like any other. The thread sleeps meanwhile on the Call's note, with the GIL released. The helper goes to the
head of the global queue, and if no P is idle one is asked to make room for it: what it has to do is short.

* CC1  The Call is memory of the Python thread, which waits until `done` is set before it touches it again. notewakeup
       is the last thing that a helper does with it.
* CC2  A thread that has waited long enough calls callstop. It may find the helper not yet started (then `stopped` keeps
       it from doing anything), on its way, or parked: then its wake-up is claimed as the end of a run claims one, and
       the operation reports ENDED. Whoever claims first wins: a send or a receive has taken place, or it has not.
* CC3  `gp` and `goid` say which goroutine performs the Call while there is one. A G is reused, its number never: that
       is how callstop's claim cannot hit another (claimended).
* CC4  Pointers that are given to Python are entered in the table of handles before the helper ends: the list `held`, in
       the order of their words.

callstart, callwait and callstop run on Python threads, without a P. The operations need one.
"""

from __future__ import annotations

from gopark.compiler.image import NO_P, fn
from gopark.compiler.structs import Embed, struct
from gopark.runtime.chan import ENDED, chanrecv, chansend, closechan, makechan
from gopark.runtime.handle import changed, newhandle
from gopark.runtime.lock_futex import notetsleep, notewakeup
from gopark.runtime.malloc import newobject
from gopark.runtime.mbarrier import typedmemmove
from gopark.runtime.mbitmap import pointerat, ptrword
from gopark.runtime.os_linux import usleep
from gopark.runtime.prims import addr, fence, funcaddr, getg, load, local, memmove, ptr, sizeof, store
from gopark.runtime.proc import goyieldglobal
from gopark.runtime.runs import LOOK_TICKS, TICK_NS, claimended, lookps, newhelper
from gopark.runtime.runtime2 import G, Gwaiting, Handle, Hchan, Memory, Note, Type
from gopark.runtime.sync import (
    Mutex,
    WaitGroup,
    mutexlock,
    mutextrylock,
    mutexunlock,
    waitgroupadd,
    waitgroupwait,
)

# What Python may ask for. `type` describes a value that lies at `elem`, and `object` says on what; `count` is 0 for a
# send or receive that does not wait.
(
    NEW,  # an object of the type, a copy of the image at elem
    LOAD,  # copy the value at object to elem
    STORE,  # copy the value at elem to object
    MAKECHAN,  # a channel with room for count
    SEND,
    RECV,
    CLOSE,
    LOCK,
    TRYLOCK,
    UNLOCK,
    GROUPADD,  # count
    GROUPWAIT,
) = range(12)

NOMEMORY = -2  # beside what the operations report themselves


@struct(notinheap=True)
class Call:
    op: int  # the operation
    object: Memory  # on what: a channel, an object or a value inside one
    type: Type  # of the object to make, or of the element
    elem: int  # address of the element, or of the image of the object
    count: int  # capacity; 1: may wait
    result: int
    held: Handle  # CC4
    gp: G  # CC3
    goid: int
    started: int
    stopped: int  # CC2
    done: Embed[Note]  # CC1
    over: Embed[Note]  # callstop's helper has ended, too


@struct(notinheap=True)
class CallRecord:
    """The argument record of a helper."""

    call: int  # its address: who starts a helper has no P


@struct(notinheap=True)
class MutexAt:
    """A Mutex by its address: an object of its own, or a value inside another."""

    value: Mutex


@struct(notinheap=True)
class WaitGroupAt:
    value: WaitGroup


# ---- Python's side


@fn(inline=False)
def starthelper(c: Call, entry: int):
    record = local(CallRecord)
    record.call = addr(c)
    newhelper(entry, addr(record), sizeof(CallRecord))


@fn(inline=False, entered=NO_P)
def callstart(call: int, ns: int) -> int:
    """Let a helper perform the Call, and wait for its end as callwait does."""
    changed()
    c = ptr(Call, call)
    c.started = 1
    starthelper(c, funcaddr(callhelper, "entry"))
    return callwait(call, ns)


@fn(inline=False, entered=NO_P)
def callwait(call: int, ns: int) -> int:
    """Wait for the end of the Call, at most ns nanoseconds and at most LOOK_TICKS ticks. 1 if it has come."""
    c = ptr(Call, call)
    for _ in range(LOOK_TICKS):
        if ns <= 0:
            break
        if notetsleep(c.done, ns if ns < TICK_NS else TICK_NS):
            break
        lookps()
        ns -= TICK_NS
    return 1 if load(c.done, "key") != 0 else 0


@fn(inline=False, entered=NO_P)
def callstop(call: int):
    """Nobody wants the Call any more: see to it that it ends, and wait until it has. CC2."""
    c = ptr(Call, call)
    store(c, "stopped", 1)
    fence()
    starthelper(c, funcaddr(callstopper, "entry"))
    while not notetsleep(c.over, TICK_NS):
        lookps()


# ---- the helpers


@fn
def callbegin(a: int) -> Call:
    """What a helper begins with: its Call, or nil if that has been stopped."""
    c = ptr(Call, ptr(CallRecord, a).call)
    gp = getg()
    c.goid = gp.goid
    store(c, "gp", gp)
    fence()
    if load(c, "stopped") != 0:
        callend(c, ENDED)
        return None
    return c


@fn
def callend(c: Call, result: int):
    """What a helper ends with. CC1."""
    store(c, "gp", None)
    c.result = result
    changed()
    notewakeup(c.done)


@fn(inline=False)
def holdpointers(c: Call, typ: Type, at: int):
    """Enter the pointers of the value at an address in the table of handles. CC4."""
    last = c.held
    for i in range(typ.ptrwords):
        if ptrword(typ, i):
            obj = pointerat(at + 8 * i)
            if obj is not None:
                h = newhandle(obj)
                if last is None:
                    c.held = h
                else:
                    last.link = h
                last = h


@fn(inline=False)
def callstopper(a: int):
    """The helper behind callstop."""
    c = ptr(Call, ptr(CallRecord, a).call)
    while load(c.done, "key") == 0:
        gp = load(c, "gp")
        if gp is not None and load(gp, "atomicstatus") == Gwaiting:
            claimended(gp, c.goid)
        if not goyieldglobal():
            usleep(50)  # it runs on another M
    notewakeup(c.over)


@fn(inline=False)
def callhelper(a: int):
    """The helper behind callstart."""
    c = callbegin(a)
    if c is not None:
        callend(c, perform(c))


# ---- the operations


@fn(inline=False)
def perform(c: Call) -> int:
    """What Python asked for; the result is the operation's own."""
    op = c.op
    if op == NEW:
        return new(c)
    if op == LOAD:
        memmove(c.elem, addr(c.object), c.type.size)
        holdpointers(c, c.type, c.elem)
        return 1
    if op == STORE:
        typedmemmove(c.type, addr(c.object), c.elem)
        return 1
    if op == MAKECHAN:
        return newchan(c)
    if op == SEND:
        return chansend(ptr(Hchan, addr(c.object)), c.elem, c.count != 0)
    if op == RECV:
        return receive(c)
    if op == CLOSE:
        return closechan(ptr(Hchan, addr(c.object)))
    return performsync(c)


@fn
def performsync(c: Call) -> int:
    op = c.op
    mutex = ptr(MutexAt, addr(c.object)).value
    group = ptr(WaitGroupAt, addr(c.object)).value
    if op == LOCK:
        return mutexlock(mutex)
    if op == TRYLOCK:
        return 1 if mutextrylock(mutex) else 0
    if op == UNLOCK:
        return mutexunlock(mutex)
    if op == GROUPADD:
        return waitgroupadd(group, c.count)
    return waitgroupwait(group)


@fn
def new(c: Call) -> int:
    o = newobject(c.type)
    if o is None:
        return NOMEMORY
    typedmemmove(c.type, addr(o), c.elem)
    c.held = newhandle(o)
    return 1


@fn
def newchan(c: Call) -> int:
    made = makechan(c.type, c.count)
    if made is None:
        return NOMEMORY
    c.held = newhandle(ptr(Memory, addr(made)))
    return 1


@fn
def receive(c: Call) -> int:
    result = chanrecv(ptr(Hchan, addr(c.object)), c.elem, c.count != 0)
    if result != ENDED:
        holdpointers(c, c.type, c.elem)
    return result
