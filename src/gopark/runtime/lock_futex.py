"""Locks and notes of the runtime, on futexes.

Stands for: src/runtime/lock_futex.go at 41dbcc19ef09.

    lock/unlock          the runtime's mutex: three states (free, held, held and somebody sleeps)
    spinlock/spinunlock  for sections of a few instructions (channels): unlocking is a plain release store
    notesleep/wakeup     one thread sleeps until another wakes it, once; the sleeper clears the note

None of them needs a P, getg or a stack of ours: Python's threads use them too. Nothing here contains a pointer store.

Lock order: a channel's (or semaphore's) spin lock, then sched.lock; allglock, stacklock and heaplock are innermost: no
other lock is taken under them.
"""

from __future__ import annotations

from gopark.compiler.image import fn
from gopark.runtime.audit import auditlocked, auditspun
from gopark.runtime.os_linux import futexsleep, futexwakeup, osyield
from gopark.runtime.prims import (
    checking,
    fieldaddr,
    lockcas,
    lockload,
    lockstore,
    lockxchg,
    noteload,
    notestore,
    notexchg,
    pause,
)
from gopark.runtime.runtime2 import Mutex, Note

ACTIVE_SPIN = 30
MOST_PAUSES, YIELD_PAUSES = 32, 128  # a pause takes 40 to 140 cycles


@fn(inline=True)
def lock(l: Mutex):
    if not lockcas(l, "key", 0, 1):
        lock2(l)


@fn(inline=False)
def lock2(l: Mutex):
    for _ in range(ACTIVE_SPIN):
        pause()
        if lockload(l, "key") == 0 and lockcas(l, "key", 0, 1):
            return
    while lockxchg(l, "key", 2) != 0:
        futexsleep(fieldaddr(l, "key"), 2, -1)


@fn(inline=True)
def unlock(l: Mutex):
    if checking():
        auditlocked(l)
    if lockxchg(l, "key", 0) == 2:
        futexwakeup(fieldaddr(l, "key"), 1)


@fn(inline=True)
def spinlock(l: Mutex):
    if not lockcas(l, "key", 0, 1):
        spinlock2(l)


@fn(inline=False)
def spinlock2(l: Mutex):
    """Wait for a lock that was held: twice as long after each look that finds it held, at most MOST_PAUSES. A thread
    that looked all the time would take the lock's line, and what lies beside it, away from the holder after each of
    its operations; so the two work by turns of many operations and not of one."""
    n = 0
    pauses = 1
    patience = YIELD_PAUSES
    while True:
        for _ in range(pauses):
            pause()
        if lockload(l, "key") == 0 and lockcas(l, "key", 0, 1):
            return
        n += pauses
        if pauses < MOST_PAUSES:
            pauses *= 2
        if n >= patience:
            patience = n + YIELD_PAUSES
            osyield()  # the holder has lost its core
            if checking():
                auditspun(n)


@fn(inline=True)
def spinunlock(l: Mutex):
    if checking():
        auditlocked(l)
    lockstore(l, "key", 0)


@fn(inline=False)
def notesleep(n: Note):
    """Sleep until notewakeup; it may have come before."""
    while noteload(n, "key") == 0:
        futexsleep(fieldaddr(n, "key"), 0, -1)
    notestore(n, "key", 0)


@fn(inline=False)
def notetsleep(n: Note, ns: int) -> bool:
    """At most `ns` nanoseconds, at most one wait: an interrupt returns too. True if the note was set; it stays set."""
    if noteload(n, "key") == 0:
        futexsleep(fieldaddr(n, "key"), 0, ns)
    return noteload(n, "key") != 0


@fn(inline=False)
def notewakeup(n: Note):
    notexchg(n, "key", 1)
    futexwakeup(fieldaddr(n, "key"), 1)


@fn(inline=False)
def noteclear(n: Note):
    notestore(n, "key", 0)
