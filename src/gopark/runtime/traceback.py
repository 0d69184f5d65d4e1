"""The frames that an error left, and the list of goroutines that a dying process prints.

Stands for: src/runtime/traceback.go at 41dbcc19ef09 (tracebackothers, goroutineheader), as far as it exists.

Code that passes an error on stores the constant record of its line here (compiler/errpath.py). A G keeps the first
eight frames and the last eight of the current error. Another exception, or one that is raised afresh, starts over.

`tracebackothers` writes a line for every goroutine to standard error: its id, its state, the go statement that started
it. It is called by a thread that is ending the process (panic.py, signal.py): no lock, no allocation, no pointer store;
any stack, with or without a P. Others may still run, so what it shows is approximate; Gs are never unmapped.

Raw memory: the constant records and the strings they name.
"""

from __future__ import annotations

from gopark.compiler.image import WITH_P, fn, forward
from gopark.compiler.numba_api import types
from gopark.compiler.structs import Array, Pointer, struct
from gopark.runtime.os_linux import write
from gopark.runtime.prims import addr, getg, load, local, rawload, rawload8, rawstore8, text
from gopark.runtime.runtime2 import (
    G,
    Gdead,
    Grunnable,
    Grunning,
    Gwaiting,
    TracebackFrames,
    waitChanReceive,
    waitChanReceiveNil,
    waitChanSend,
    waitChanSendNil,
    waitMutex,
    waitSelect,
    waitSelectNoCases,
    waitWaitGroup,
)

MOST = 100  # goroutines in a dump

firstg = forward("firstg", Pointer(G), types.int64)
nextg = forward("nextg", Pointer(G), Pointer(G))


@struct(notinheap=True)
class Digits:
    b: Array[int, 3]


@fn(inline=False, entered=WITH_P)
def traceframe(record: int, exception: int, fresh: int):
    """An error leaves the frame with that record."""
    gp = getg()
    if fresh != 0 or gp.tbexc != exception:
        gp.tbcount = 0
        gp.tbexc = exception
    n = gp.tbcount
    if n < TracebackFrames:
        gp.tb[n] = record
    else:
        gp.tb[TracebackFrames + n % TracebackFrames] = record
    gp.tbcount = n + 1


# ---- the list of goroutines


@fn(inline=False)
def tracebackothers():
    """Every live goroutine on standard error."""
    shown = 0
    more = 0
    gp = firstg(0)
    while gp is not None:
        if load(gp, "atomicstatus") != Gdead and gp.goid != 0:
            if shown < MOST:
                goroutineheader(gp)
                shown += 1
            else:
                more += 1
        gp = nextg(gp)
    if more != 0:
        writetext(text("... and more goroutines: "))
        writeint(more)
        writetext(text("\n"))


@fn(inline=False)
def goroutineheader(gp: G):
    writetext(text("goroutine "))
    writeint(gp.goid)
    writetext(text(" ["))
    writetext(statetext(gp))
    writetext(text("]"))
    if gp.spawnrec != 0:
        writetext(text(": started at "))
        writetext(rawload(gp.spawnrec + 8))
        writetext(text(":"))
        writeint(rawload(gp.spawnrec + 16))
        writetext(text(" by "))
        writetext(rawload(gp.spawnrec))
    writetext(text("\n"))


@fn(inline=False)
def statetext(gp: G) -> int:
    """The address of a constant text: the state, or why it waits."""
    status = load(gp, "atomicstatus")
    if status == Grunning:
        return text("running")
    if status == Grunnable:
        return text("runnable")
    if status != Gwaiting:
        return text("idle")
    reason = gp.waitreason
    if reason == waitChanReceive:
        return text("chan receive")
    if reason == waitChanSend:
        return text("chan send")
    if reason == waitChanReceiveNil:
        return text("chan receive (nil chan)")
    if reason == waitChanSendNil:
        return text("chan send (nil chan)")
    if reason == waitSelect:
        return text("select")
    if reason == waitSelectNoCases:
        return text("select (no cases)")
    if reason == waitMutex:
        return text("sync.Mutex.Lock")
    if reason == waitWaitGroup:
        return text("sync.WaitGroup.Wait")
    return text("waiting")


@fn(inline=False)
def writetext(a: int):
    """A NUL-terminated text to standard error."""
    n = 0
    while rawload8(a + n) != 0:
        n += 1
    write(2, a, n)


@fn(inline=False)
def writeint(v: int):
    """A non-negative integer in decimal to standard error."""
    digits = local(Digits)
    end = addr(digits) + 24
    a = end
    while True:
        a -= 1
        rawstore8(a, 48 + v % 10)
        v = v // 10
        if v == 0:
            break
    write(2, a, end - a)
