"""Signals: a wild access ends the process with a message, not in silence; SIGQUIT shows what all goroutines do.

Stands for: src/runtime/signal_amd64x.go, os1_linux.go (minit, sigaltstack, setsig) at 41dbcc19ef09.

SEGV and BUS are handled on a stack of their own (each M's lies at the low end of its g0), so that a goroutine that ran
over its guard page can still be reported. If the fault belongs to us (the stack pointer lies in the arena of stacks: a
goroutine's, or the g0 on which it calls a C function) the handler prints what it knows and ends the process with status
2. Otherwise the fault is somebody else's (a C extension, Python itself): the action that was installed before ours is
put back, and the faulting instruction, which runs again, meets that.

SIGQUIT (Ctrl-\\) prints where it hit and the stacks of all goroutines, and ends the process with status 2, as in Go.
It is ours only if nobody else had asked for it when the runtime was booted: a handler that Python or the program
installed before stays, and one that is installed later replaces ours. Threads of ours block the signal, so a Python
thread runs the handler, on its own stack, wherever it is, with the GIL or without.

* SG1  The handlers take no lock, allocate nothing, and contain no pointer store; they may run without a P.
* SG2  An overflow that user code is expected to have is found at function entry and raised (compiler/polls.py); the
       guard page is the backstop for code that does not check.
* SG3  Handlers that Python installs later (faulthandler) stay in force: ours is asserted once, at boot.
* SG4  A fault of the thread that is printing the dump ends the process with what was printed. SEGV and BUS are not
       blocked while they are handled: the kernel would kill the process without a status.

Raw memory: the kernel's siginfo, ucontext and sigaction.
"""

from __future__ import annotations

from gopark.compiler.func import nowritebarrierrec
from gopark.compiler.image import NO_P, fn
from gopark.compiler.structs import Array, struct, var
from gopark.runtime.os_linux import SYS_rt_sigaction, SYS_sigaltstack, gettid, write
from gopark.runtime.panic import dopanic, dying, isdying, panicstate, printhex
from gopark.runtime.prims import (
    addr,
    fieldaddr,
    funcaddr,
    load,
    local,
    rawload,
    symaddr,
    syscall6,
    text,
)
from gopark.runtime.runtime2 import M
from gopark.runtime.stack import GUARD, SIGNAL_STACK, stackarena
from gopark.runtime.symtab import findmodule
from gopark.runtime.traceback import callerof, readable, stackowner, writeint, writetext

SIGQUIT, SIGBUS, SIGSEGV = 3, 7, 11
SIG_DFL = 0
SA_SIGINFO, SA_RESTORER, SA_ONSTACK, SA_RESTART, SA_NODEFER = 4, 0x04000000, 0x08000000, 0x10000000, 0x40000000
UC_RBP, UC_RSP, UC_RIP, SI_ADDR = 120, 160, 168, 16


@struct(notinheap=True)
class Sigaction:
    """The kernel's: handler, flags, restorer, mask."""

    handler: int
    flags: int
    restorer: int
    mask: int


@struct(notinheap=True)
class StackT:
    """The kernel's stack_t."""

    sp: int
    flags: int
    size: int


@struct(notinheap=True)
class SignalState:
    oldsegv: Array[int, 4]
    oldbus: Array[int, 4]


sigstate = var(SignalState, "go.sigstate")


@fn(inline=False)
def minit(mp: M):
    """A new thread gets its signal stack. Runs without a P."""
    ss = local(StackT)
    ss.sp = mp.g0.stacklo + GUARD
    ss.flags = 0
    ss.size = SIGNAL_STACK
    syscall6(SYS_sigaltstack, addr(ss), 0, 0, 0, 0, 0)


@fn(inline=False, entered=NO_P)
def siginit():
    """Install the handlers, once per process; on a Python thread."""
    fault = funcaddr(sighandler, "signal")
    setsig(SIGSEGV, fault, SA_ONSTACK | SA_NODEFER, fieldaddr(sigstate, "oldsegv"))
    setsig(SIGBUS, fault, SA_ONSTACK | SA_NODEFER, fieldaddr(sigstate, "oldbus"))
    old = local(Sigaction)
    syscall6(SYS_rt_sigaction, SIGQUIT, 0, addr(old), 8, 0, 0)
    if old.handler == SIG_DFL:
        setsig(SIGQUIT, funcaddr(sigquit, "signal"), SA_RESTART, 0)


@fn(inline=False)
def setsig(number: int, handler: int, flags: int, old: int):
    act = local(Sigaction)
    act.handler = handler
    act.flags = SA_SIGINFO | SA_RESTORER | flags
    act.restorer = symaddr("go.sigreturn", "asm")
    act.mask = 0
    syscall6(SYS_rt_sigaction, number, addr(act), old, 8, 0, 0)


@fn(inline=False, entered=NO_P)
@nowritebarrierrec
def sigquit(number: int, info: int, context: int):
    """The handler of SIGQUIT. SG1."""
    if load(panicstate, "dying") != 0:
        return  # some thread, perhaps the one that was interrupted, ends the process already
    dying()
    write(2, text("SIGQUIT: quit\nPC="), 17)
    printhex(rawload(context + UC_RIP))
    write(2, text("\n"), 1)
    dopanic(rawload(context + UC_RIP), rawload(context + UC_RBP), rawload(context + UC_RSP), False)


@fn(inline=False, entered=NO_P)
@nowritebarrierrec
def sighandler(number: int, info: int, context: int):
    """The handler of SEGV and BUS. SG1."""
    if isdying(gettid()):
        dying()  # SG4
    sig = number & 0xFFFFFFFF
    sp = rawload(context + UC_RSP)
    if not stackarena(sp):
        chainsignal(sig, info, context)
        return
    address = rawload(info + SI_ADDR)
    dying()
    gp = stackowner(sp)
    caller = callerof(gp) if gp is not None and gp.goid == 0 else None
    if gp is not None and gp.stacklo <= address and address < gp.stacklo + GUARD:
        write(2, text("fatal error: stack overflow: the guard page of a goroutine was hit, goroutine "), 78)
    elif caller is not None:
        write(2, text("fatal error: unexpected memory fault in the C function "), 55)
        writetext(caller.ccall)
        write(2, text(", called by goroutine "), 22)
        gp = caller
    else:
        write(2, text("fatal error: unexpected memory fault on a goroutine, goroutine "), 63)
    writeint(gp.goid if gp is not None else 0)
    write(2, text(", address "), 10)
    printhex(address)
    write(2, text(", pc "), 5)
    printhex(rawload(context + UC_RIP))
    write(2, text("\n"), 1)
    pc = rawload(context + UC_RIP)
    if findmodule(pc) is None and readable(sp):
        # A call through a wild pointer, or a C function without a frame: the return address is on top of the stack.
        dopanic(rawload(sp), rawload(context + UC_RBP), sp, True)
    dopanic(pc, rawload(context + UC_RBP), sp, False)


@fn(inline=False)
def chainsignal(sig: int, info: int, context: int):
    """Not ours: put the previous action back. The faulting instruction runs again and meets it."""
    old = fieldaddr(sigstate, "oldsegv") if sig == SIGSEGV else fieldaddr(sigstate, "oldbus")
    syscall6(SYS_rt_sigaction, sig, old, 0, 8, 0, 0)
