"""throw: the end of a process whose runtime has found an invariant broken.

Stands for: src/runtime/panic.go and panic1.go at 41dbcc19ef09 (throw, dopanic).

* T1  A throw prints one message, its own stack and those of the goroutines, and ends the process with status 2. Of
      several threads that throw, one speaks; the others wait for the end.
* T2  Its path contains no write barrier, takes no lock and allocates nothing; it may run on any stack, with or without
      a P, in a signal handler and inside the barrier. So it does not even call getg(). The roots are marked
      nowritebarrierrec; a test walks the rest of the graph.
* T3  Every throw has a text of its own; tests/crash has a test for each that can be provoked.
* T4  The thread that speaks and comes here again, because printing failed in turn, ends the process at once.

Numba ends the process, with the GIL and a message of Python's, where something happened that cannot: BLAS or LAPACK
refused what Numba passed, or found no memory to work in. A goroutine must not wait for the GIL, so compiled go code
calls `pyfatalerror` and its neighbours in place of Numba's functions (compiler/bind.py), and that is a throw.

`statusescaped` is where the wrapper of a runtime function ends if its body raised a Python exception: the runtime has
none, so that is a broken invariant as well.
"""

from __future__ import annotations

from gopark.compiler.func import nowritebarrierrec
from gopark.compiler.image import NO_P, fn
from gopark.compiler.structs import Array, struct, var
from gopark.runtime.os_linux import exit, gettid, usleep, write
from gopark.runtime.prims import addr, cas, getfp, load, local, rawload, rawload8, rawstore8, text, throw
from gopark.runtime.traceback import TRACEBACK_NONE, tracebackme, tracebackothers, tracebackstate


@struct(notinheap=True)
class Dying:
    dying: int  # the id of the thread that ends the process; 0: none


@struct(notinheap=True)
class HexBuffer:
    b: Array[int, 3]


panicstate = var(Dying, "go.panicstate")


@fn(inline=False, entered=NO_P)
@nowritebarrierrec
def throwmsg(message: int, n: int):
    """Print the message and end the process. `throw("...")` in prims.py calls it."""
    dying()
    write(2, text("fatal error: "), 13)
    write(2, message, n)
    write(2, text("\n"), 1)
    dothrow(getfp())


@fn(inline=False, entered=NO_P)
@nowritebarrierrec
def pyfatalerror(message: int):
    """In place of Py_FatalError."""
    n = 0
    while rawload8(message + n) != 0:
        n += 1
    throwmsg(message, n)


@fn(inline=False, entered=NO_P)
@nowritebarrierrec
def numbafatalerror():
    """In place of numba_fatal_error, which Numba calls where LAPACK fails without a reason to report."""
    throw("LAPACK refused its arguments, or found no memory to work in")


@fn(inline=False, entered=NO_P)
def nogil(state: int):
    """In place of numba_gil_ensure. Where a goroutine calls that, Py_FatalError follows: code that gives the GIL back
    is refused (compiler/externs.py)."""


@fn(inline=False)
def dying():
    """T1: the first thread goes on, every other one waits for the end. T4."""
    me = gettid()
    if cas(panicstate, "dying", 0, me):
        return
    if isdying(me):
        write(2, text("fatal error: printing the above failed\n"), 39)
        while True:
            exit(2)
    while True:
        usleep(1000000)


@fn
def isdying(tid: int) -> bool:
    """Whether that thread is ending the process."""
    return load(panicstate, "dying") == tid


@fn(inline=False)
def dothrow(fp: int):
    """Print the stacks from the caller of the function with that frame on, and end the process."""
    dopanic(rawload(fp + 8), rawload(fp), fp, True)


@fn(inline=False)
def dopanic(pc: int, fp: int, sp: int, returned: bool):
    """Print the stacks, that of this thread from pc and fp on, and end the process. After dying()."""
    if tracebackstate.level != TRACEBACK_NONE:
        tracebackothers(tracebackme(pc, fp, sp, returned))
    while True:
        exit(2)


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
@nowritebarrierrec
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
    write(2, text("\n"), 1)
    dothrow(getfp())


@fn(inline=False, entered=NO_P)
@nowritebarrierrec
def statusescaped(code: int):
    """A function of the runtime returned with an error status."""
    dying()
    write(2, text("fatal error: a Python exception escaped from a function of the runtime\n"), 71)
    dothrow(getfp())
