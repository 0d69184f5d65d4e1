"""Handles: objects of the collected heap that Python holds.

Stands for: src/runtime/cgo/handle.go of later Go. The seed has nothing: a C program must not keep Go pointers.

CPython's stacks and objects are no roots of the collector. An object that Python can name is in this table instead: one
Handle for each Python object that stands for it, made by a goroutine (newhandle) and let go by Python (drophandle). The
table is a root, and `handles.all` is how it is walked.

* HA1  A Handle keeps its object from newhandle until somebody who has a P clears it. drophandle runs on a Python thread
       at any time, inside of a garbage collection of CPython's too: it only clears `held` and pushes the Handle to
       `dropped`, without a lock. The next newhandle takes what lies there.
* HA2  Python may reach whatever can be reached from a Handle that is held. `changes` grows before and after everything
       by which Python can change what that is: an operation (cgocall.py), a drop, a run that is given objects. A look
       at the graph that saw the same number before and after saw it standing still (reach.py), if no goroutine runs.

newhandle needs a P. The lock is innermost.
"""

from __future__ import annotations

from gopark.compiler.image import NO_P, fn
from gopark.compiler.structs import Embed, struct, var
from gopark.runtime.lfstack import LFStack, lfstackpush, lfstacktake
from gopark.runtime.lock_futex import lock, unlock
from gopark.runtime.persistent import persistentalloc
from gopark.runtime.prims import fence, ptr, sizeof, store, xadd
from gopark.runtime.runtime2 import Handle, Memory, Mutex


@struct(notinheap=True)
class Handles:
    lock: Embed[Mutex]
    free: Handle
    all: Handle
    dropped: Embed[LFStack]
    count: int  # those that are held
    changes: int  # HA2


handles = var(Handles, "go.handles")


@fn(inline=False)
def newhandle(obj: Memory) -> Handle:
    """A handle of the object. HA1."""
    lock(handles.lock)
    freedropped()
    h = handles.free
    if h is None:
        h = ptr(Handle, persistentalloc(sizeof(Handle)))
        h.alllink = handles.all
        fence()  # reach.py walks the list without the lock
        handles.all = h
    else:
        handles.free = h.link
    h.obj = obj
    h.link = None
    unlock(handles.lock)
    store(h, "held", 1)
    xadd(handles, "count", 1)
    return h


@fn
def freedropped():
    """What Python has let go since the last time is free. The lock is held."""
    node = lfstacktake(handles.dropped)
    while node != 0:
        h = ptr(Handle, node)
        node = h.node.next
        h.obj = None
        h.link = handles.free
        handles.free = h


@fn(inline=False, entered=NO_P)
def drophandle(handle: int):
    """Python lets go of a handle. Takes no lock and waits for nobody. HA1."""
    h = ptr(Handle, handle)
    changed()
    store(h, "held", 0)
    xadd(handles, "count", -1)
    lfstackpush(handles.dropped, h.node)
    changed()


@fn
def changed():
    """HA2."""
    xadd(handles, "changes", 1)
