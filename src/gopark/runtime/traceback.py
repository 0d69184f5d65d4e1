"""The frames that an error left, and the stacks that a dying process prints.

Stands for: src/runtime/traceback.go at 41dbcc19ef09 (gentraceback, showframe, goroutineheader, printcreatedby,
tracebackothers).

Code that passes an error on stores the constant record of its line here (compiler/errpath.py). A G keeps the first
eight frames and the last eight of the current error. Another exception, or one that is raised afresh, starts over.

**The dump.** A thread that ends the process (panic.py, signal.py) prints its own stack (`tracebackme`), then those of
all other goroutines (`tracebackothers`), in Go's shape, with the names, files and lines of the Python source:

        goroutine 7 [chan receive]:
        module.function(...)
                file:line +0x4d
        created by module.function in goroutine 1
                file:line

Calls that were inlined are frames like any others, without the distance (+0x4d) from the start of the machine code.

* TB1  No lock, no allocation, no pointer store, no getg(). Any stack, with or without a P. symtab.py says the same of
       itself.
* TB2  Other threads still run. What is shown of a goroutine that is just being switched is approximate; Gs and stacks
       are never unmapped. A goroutine that runs has no context to start from, and is only named.
* TB3  Frames are found by following rbp. The words read must lie on the goroutine's own stack, and the kernel is asked
       whether they may be read; frame pointers must grow. So whatever a stack holds, the walk ends, and does not fault.
       On a stack that is not ours it ends at the first code that is not ours.
* TB4  A goroutine that calls a C function on g0 (asm_amd64.py) says so in its G. Its own frames are shown, and the name
       of the function; those of C are not known here.
* TB5  Frames of the runtime (and of gopark's own functions that were inlined) are shown with GOTRACEBACK=system, and
       where it was the runtime that died; GOTRACEBACK=none leaves the whole dump out.

Raw memory: constant records and the strings they name, saved contexts, frames.
"""

from __future__ import annotations

from gopark.compiler.image import WITH_P, fn, forward
from gopark.compiler.numba_api import types
from gopark.compiler.structs import Array, Pointer, struct, var
from gopark.runtime.os_linux import EFAULT, SYS_rt_sigprocmask, write
from gopark.runtime.prims import (
    addr,
    getg,
    load,
    local,
    ptr,
    rawload,
    rawload8,
    rawload32,
    rawstore8,
    symaddr,
    syscall6,
    text,
)
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
from gopark.runtime.symtab import (
    Funcs,
    directory,
    filename,
    findmodule,
    funcframes,
    funcsymbol,
    hasprefix,
    namedfunc,
)

firstg = forward("firstg", Pointer(G), types.int64)
nextg = forward("nextg", Pointer(G), Pointer(G))
stackarena = forward("stackarena", types.boolean, types.int64)

MOST = 100  # goroutines in a dump
MOSTFRAMES = 50  # of one goroutine

# levels of GOTRACEBACK (config.py)
TRACEBACK_NONE, TRACEBACK_SYSTEM = 0, 2


@struct(notinheap=True)
class Traceback:
    level: int  # of GOTRACEBACK; stored at boot


@struct(notinheap=True)
class Digits:
    b: Array[int, 3]


@struct(notinheap=True)
class Oldest:
    """The goroutines with the lowest ids, in order."""

    g: Array[int, MOST]
    id: Array[int, MOST]


tracebackstate = var(Traceback, "go.tracebackstate")


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


# ---- the dump


@fn(inline=False)
def stackowner(sp: int) -> G:
    """The G on whose stack sp lies; nil: the stack is not ours. An M's signal stack is part of its g0's."""
    if stackarena(sp):
        gp = firstg(0)
        while gp is not None:
            if gp.stacklo <= sp and sp < addr(gp):
                return gp
            gp = nextg(gp)
    return None


@fn(inline=False)
def tracebackme(pc: int, fp: int, sp: int, returned: bool) -> int:
    """The stack of the thread that dies, from pc and the frame pointer fp on; `returned` says that pc is a return
    address. Returns the address of the goroutine that was printed; 0 if the thread was not on the stack of one."""
    md = findmodule(pc)
    runtime = tracebackstate.level == TRACEBACK_SYSTEM or (md is not None and md.runtime != 0)
    gp = stackowner(sp)
    if gp is not None and gp.goid != 0:
        goroutineheader(gp, text("running"))
        tracestack(pc, fp, sp, addr(gp), returned, runtime)
        printcreatedby(gp)
        return addr(gp)
    if gp is not None:
        caller = callerof(gp)
        if caller is not None:
            goroutineheader(caller, text("running"))
            tracecall(caller, runtime)
            printcreatedby(caller)
            return addr(caller)
        writetext(text("\nruntime stack:\n"))
        tracestack(pc, fp, sp, addr(gp), returned, True)
    elif md is not None:
        writetext(text("\nruntime stack:\n"))
        tracestack(pc, fp, sp, 0, returned, True)
    return 0


@fn(inline=False)
def callerof(g0: G) -> G:
    """The goroutine that calls C on that g0; nil: there is none."""
    mp = g0.m
    if mp is not None:
        gp = mp.curg
        if gp is not None and gp.ccall != 0:
            return gp
    return None


@fn(inline=False)
def tracecall(gp: G, runtime: bool):
    """The frames of a goroutine that calls C on g0: its sp is the frame of the stub. TB4."""
    tracestack(rawload(gp.sp + 8), rawload(gp.sp), gp.sp, addr(gp), True, runtime)


@fn(inline=False)
def tracebackothers(me: int):
    """Every live goroutine but the one at `me`: the MOST oldest, then the number of the others."""
    oldest = local(Oldest)
    n = 0
    total = 0
    gp = firstg(0)
    while gp is not None:
        if load(gp, "atomicstatus") != Gdead and gp.goid != 0 and addr(gp) != me:
            n = amongoldest(oldest, n, addr(gp), gp.goid)
            total += 1
        gp = nextg(gp)
    for i in range(n):
        traceback(ptr(G, oldest.g[i]))
    if total > n:
        writetext(text("\n... and "))
        writeint(total - n)
        writetext(text(" more goroutines\n"))


@fn(inline=False)
def amongoldest(oldest: Oldest, n: int, g: int, id: int) -> int:
    """Insert a goroutine into the n oldest so far, if it belongs there; how many they are now."""
    if n == MOST:
        if oldest.id[n - 1] < id:
            return n
        n -= 1
    i = n
    while i > 0 and oldest.id[i - 1] > id:
        oldest.g[i] = oldest.g[i - 1]
        oldest.id[i] = oldest.id[i - 1]
        i -= 1
    oldest.g[i] = g
    oldest.id[i] = id
    return n + 1


@fn(inline=False)
def traceback(gp: G):
    """One goroutine that is not the caller's."""
    goroutineheader(gp, statetext(gp))
    runtime = tracebackstate.level == TRACEBACK_SYSTEM
    sp = gp.sp
    if gp.ccall != 0:
        tracecall(gp, runtime)
    elif load(gp, "atomicstatus") == Grunning:
        writetext(text("\tgoroutine running on other thread; stack unavailable\n"))
    elif rawload(sp) == symaddr("go.entry0", "asm"):
        startframe(gp.startfn, runtime)
    else:
        tracestack(rawload(sp), rawload(sp + 8), sp, addr(gp), False, runtime)  # the saved context: asm_amd64.py
    printcreatedby(gp)


@fn(inline=False)
def goroutineheader(gp: G, state: int):
    writetext(text("\ngoroutine "))
    writeint(gp.goid)
    writetext(text(" ["))
    writetext(state)
    call = gp.ccall
    if call != 0:
        writetext(text(" "))
        writetext(call)
    if gp.lockedm is not None:
        writetext(text(", locked to thread"))
    writetext(text("]:\n"))


@fn(inline=False)
def printcreatedby(gp: G):
    """The go statement. The main function of a run has none."""
    if gp.spawnrec != 0:
        writetext(text("created by "))
        writetext(rawload(gp.spawnrec + 24))
        writetext(text("."))
        writetext(rawload(gp.spawnrec))
        writetext(text(" in goroutine "))
        writeint(gp.parentgoid)
        writetext(text("\n\t"))
        writetext(rawload(gp.spawnrec + 8))
        writetext(text(":"))
        writeint(rawload(gp.spawnrec + 16))
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


# ---- frames


@fn(inline=False)
def tracestack(pc: int, fp: int, lo: int, hi: int, returned: bool, runtime: bool):
    """The frames of a stack within [lo, hi), innermost first. TB3. hi is 0 if the stack is not ours."""
    n = 0
    elided = 0
    while True:
        if hi == 0 and findmodule(pc) is None:
            break
        if n < MOSTFRAMES:
            n += printframes(pc, returned, runtime)
        else:
            elided += 1
        if fp < lo or (hi != 0 and fp + 16 > hi) or not readable(fp) or not readable(fp + 8):
            break
        pc = rawload(fp + 8)
        returned = True
        if pc == 0:
            break
        lo = fp + 16  # what fp must reach next time
        fp = rawload(fp)
    if elided != 0:
        writetext(text("... "))
        writeint(elided)
        writetext(text(" frames elided ...\n"))


@fn(inline=False)
def readable(a: int) -> bool:
    """Whether a word of memory may be read. The kernel reads the mask before it looks at what is to be done with it,
    and refuses the latter."""
    return a & 7 == 0 and syscall6(SYS_rt_sigprocmask, -1, a, 0, 8, 0, 0) != -EFAULT


@fn(inline=False)
def printframes(pc: int, returned: bool, runtime: bool) -> int:
    """The function at pc and the calls inlined there, innermost first; how many were printed. A return address belongs
    to the instruction before it."""
    md = findmodule(pc)
    if md is None or (md.runtime != 0 and not runtime):
        return 0
    at = pc - 1 if returned else pc
    f = local(Funcs)
    funcframes(md, at, f)
    if f.n == 0:
        return symbolframe(at, pc) if runtime else 0  # entry stubs have no lines, nor has anything of a user's
    shown = 0
    file = f.file
    line = f.line
    level = f.n
    while level > 0:
        level -= 1
        if runtime or not hasprefix(f.name[level], text("_ZN6gopark")):
            writename(f.name[level])
            writetext(text("(...)\n\t"))
            writefile(f, file)
            writetext(text(":"))
            writeint(line)
            if level == 0 and f.entry != 0:
                writetext(text(" +0x"))
                writehex(pc - f.entry)
            writetext(text("\n"))
            shown += 1
        file = f.callfile[level]
        line = f.callline[level]
    return shown


@fn(inline=False)
def symbolframe(at: int, pc: int) -> int:
    """A function of which only the linker knows; how many were printed."""
    md = findmodule(pc)
    symbol = funcsymbol(md, at)
    if symbol == 0:
        return 0
    writename(md.names + rawload32(symbol))
    writetext(text("(...)\n\t+0x"))
    writehex(pc - md.lo - rawload(symbol + 8))
    writetext(text("\n"))
    return 1


@fn(inline=False)
def startframe(stub: int, runtime: bool):
    """The first line of the function behind an entry stub: the goroutine has not run yet."""
    md = findmodule(stub)
    if md is None:
        return
    symbol = funcsymbol(md, stub)
    if symbol != 0 and hasprefix(md.names + rawload32(symbol), text("go.stub.")):
        function = namedfunc(md, md.names + rawload32(symbol) + 8)
        if function != 0:
            printframes(function, False, runtime)


# ---- texts


@fn(inline=False)
def writename(a: int):
    """The dotted name in a symbol that Numba mangled, without types and tags; any other symbol as it is."""
    if a == 0:
        writetext(text("?"))
        return
    if not hasprefix(a, text("_Z")):
        writetext(a)
        return
    a += 2
    nested = rawload8(a) == 78  # N
    if nested:
        a += 1
    written = 0
    while True:
        n = 0
        while 48 <= rawload8(a) and rawload8(a) <= 57:
            n = 10 * n + rawload8(a) - 48
            a += 1
        if n == 0:
            break
        if written != 0:
            writetext(text("."))
        # the brackets of <locals> and <lambda> are the only escapes that can be told from plain text
        if n > 6 and hasprefix(a, text("_3c")) and rawload32(a + n - 4) >> 8 == 0x65335F:
            writetext(text("<"))
            write(2, a + 3, n - 6)
            writetext(text(">"))
        else:
            write(2, a, n)
        written += 1
        a += n
        if not nested:
            break


@fn(inline=False)
def writefile(f: Funcs, number: int):
    """The path of a file of the line table."""
    file = filename(f, number)
    if file == 0:
        writetext(text("?"))
        return
    if rawload8(file) != 47:  # /
        below = directory(f, file)
        if below == 0 or rawload8(below) != 47:
            writedirectory(f.compdir)
        writedirectory(below)
    writetext(file)


@fn(inline=False)
def writedirectory(a: int):
    if a != 0 and rawload8(a) != 0:
        writetext(a)
        while rawload8(a + 1) != 0:
            a += 1
        if rawload8(a) != 47:
            writetext(text("/"))


@fn(inline=False)
def writehex(v: int):
    """A word in hexadecimal to standard error, without leading zeros."""
    digits = local(Digits)
    end = addr(digits) + 24
    a = end
    while True:
        a -= 1
        d = v & 15
        rawstore8(a, 48 + d if d < 10 else 87 + d)
        v = (v >> 4) & 0x0FFFFFFFFFFFFFFF
        if v == 0:
            break
    write(2, a, end - a)


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
