"""throw: the end of a process whose runtime has found an invariant broken.

Stands for: src/runtime/panic.go and panic1.go at 41dbcc19ef09 (throw, dopanic).

* T1  A throw prints one message and the list of goroutines, and ends the process with status 2. Of several threads that
      throw, one speaks.
* T2  Its path contains no write barrier, takes no lock and allocates nothing; it may run on any stack, with or without
      a P, in a signal handler and inside the barrier. So it does not even call getg().
* T3  Every throw has a text of its own; tests/crash has a test for each that can be provoked.

`statusescaped` is where the wrapper of a runtime function ends if its body raised a Python exception: the runtime has
none, so that is a broken invariant as well.
"""

from __future__ import annotations

from gopark.compiler.image import NO_P, fn, forward
from gopark.compiler.structs import Array, struct, var
from gopark.runtime.os_linux import exit, usleep, write
from gopark.runtime.prims import addr, local, rawstore8, text, xchg

tracebackothers = forward("tracebackothers")


@struct(notinheap=True)
class Dying:
    dying: int  # 1 once a thread has begun to die


@struct(notinheap=True)
class HexBuffer:
    b: Array[int, 3]


panicstate = var(Dying, "go.panicstate")


@fn(inline=False, entered=NO_P)
def throwmsg(message: int, n: int):
    """Print the message and end the process. `throw("...")` in prims.py calls it."""
    dying()
    write(2, text("fatal error: "), 13)
    write(2, message, n)
    write(2, text("\n\n"), 2)
    tracebackothers()
    while True:
        exit(2)


@fn(inline=False)
def dying():
    """T1: the first thread goes on, every other one waits for the end."""
    if xchg(panicstate, "dying", 1) != 0:
        while True:
            usleep(1000000)


@fn(inline=False)
def printhex(v: int):
    """A word as 0x... on standard error; no allocation."""
    buffer = local(HexBuffer)
    a = addr(buffer)
    rawstore8(a, 48)
    rawstore8(a + 1, 120)
    for i in range(16):
        d = (v >> (60 - 4 * i)) & 15
        rawstore8(a + 2 + i, 48 + d if d < 10 else 87 + d)
    write(2, a, 18)


@fn(inline=False, entered=NO_P)
def throwwb(which: int, slot: int):
    """The barrier found that this thread does not own a running P."""
    dying()
    write(2, text("fatal error: "), 13)
    if which == 1:
        write(2, text("write barrier without a P"), 25)
    elif which == 2:
        write(2, text("write barrier with a P that another M owns"), 42)
    else:
        write(2, text("write barrier with a P that is not running"), 42)
    write(2, text(", slot "), 7)
    printhex(slot)
    write(2, text("\n\n"), 2)
    tracebackothers()
    while True:
        exit(2)


@fn(inline=False, entered=NO_P)
def statusescaped(code: int):
    """A function of the runtime returned with an error status."""
    dying()
    write(2, text("fatal error: a Python exception escaped from a function of the runtime\n"), 71)
    while True:
        exit(2)
