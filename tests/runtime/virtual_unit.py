"""A virtual operating system for the runtime's image: its threads are coroutines of one thread of Python's.

What the image asks of the system, it asks by symbol, and the functions here are bound to these symbols: the seam's
`go.prim` and `go.writebarrierptr` in place of the live ones, and those of the C library that make a thread and read the
clock. So newm makes a *virtual thread*, whose stack is the M's own g0, and nothing else in the image knows of it.

With the bits of `go.seam` set, a thread that is about to perform a primitive, or to store a pointer, lies in `prim` or
`writebarrierptr`, on whatever stack it is on. There it enters what it is about to do in the log and gives the processor
to the driver. When it gets it back, it performs that one operation, and goes on to the next. So a turn is one
primitive, and the plain code around it.

* V1  Thread 0 is the driver, on Python's own stack. What it calls itself is not stepped and not entered in the log; it
      must not wait, because it is the one for whom all others wait.
* V2  A futex is virtual: a thread that waits gets no turn until a wake for that address. A wake goes to the sleepers in
      the order of their numbers. Yielding and sleeping for a time are nothing but a turn given away.
* V3  A stack belongs to a goroutine, a turn to a thread: `Thread.sp` is where the thread stood, on g0 or on the stack
      of the goroutine that it ran.
* V4  Nothing here uses a primitive or stores a pointer, because that would come back here: the program at the end does,
      and whoever throws.

All words are integers, and no P is needed, except by the program.
"""

from __future__ import annotations

from gopark.compiler import abi, asm_amd64
from gopark.compiler.image import NO_P, WITH_P, fn, forward
from gopark.compiler.numba_api import const, i64, intrinsic, lir, types
from gopark.compiler.structs import Array, Embed, struct, var
from gopark.runtime.chan import DONE, chanrecv, chansend, closechan, makechan
from gopark.runtime.os_linux import (
    EAGAIN,
    FUTEX_WAIT_PRIVATE,
    FUTEX_WAKE_PRIVATE,
    SYS_futex,
    SYS_gettid,
    SYS_nanosleep,
    SYS_rt_sigaction,
    SYS_sched_yield,
    SYS_sigaltstack,
)
from gopark.runtime.prims import (
    addr,
    fieldaddr,
    funcaddr,
    local,
    ptr,
    rawload,
    rawload32,
    rawstore,
    sizeof,
    symaddr,
    throw,
)
from gopark.runtime.proc import gosched, newproc
from gopark.runtime.runs import runexit
from gopark.runtime.runtime2 import Hchan, Type, int32

I = types.int64
SYSCALL, PTRSTORE = abi.KIND["syscall"], abi.KIND["ptrstore"]

DRIVER = 0
MAX_THREADS = 7
CALLERS = 8  # frames that an entry of the log keeps

# Event.what: about to perform a primitive; or what became of a system call
PRIM, SLEPT, WOKE, LOST, BORN = range(5)

# what drive returns
MORE, ASLEEP = 0, 1

liveprim = forward("liveprim", I, I, I, I, I)
livewritebarrierptr = forward("livewritebarrierptr", I, I, I)


@struct(notinheap=True)
class Thread:
    sp: int  # its context while another one has the processor
    futex: int  # the address it sleeps on; 0: it can run


@struct(notinheap=True)
class Event:
    """An entry of the log.

    PRIM   code as `go.prim` gets it, the address and two operands; of a system call its number and three arguments
    SLEPT  the thread sleeps on the address
    WOKE   thread x, which slept on the address, can run again;  LOST: and should have been woken
    BORN   thread x; the address is its M's
    """

    what: int
    thread: int  # whose turn it was
    code: int
    number: int
    at: int  # the address
    x: int
    y: int
    callers: Array[int, CALLERS]  # PRIM: return addresses, innermost first


@struct(notinheap=True)
class System:
    current: int  # who has the processor
    count: int  # of threads but the driver
    deaf: int  # 1: wakes are lost
    clock: int  # turns so far; the time in nanoseconds, for who asks
    log: int  # room for `room` events, of which `events` are taken, or would be
    room: int
    events: int
    threads: Array[Embed[Thread], MAX_THREADS + 1]


system = var(System, "go.virtual.system")


@intrinsic
def framepointer(typingctx):
    """rbp: two words, the caller's rbp and the return address, lie where it points."""

    def codegen(context, b, sig, args):
        return b.asm(lir.FunctionType(i64, []), "movq %rbp, $0", "=r", [], side_effect=True)

    return I(), codegen


@intrinsic
def switch(typingctx, leaving, to):
    """Save this context in the word at `leaving`, go on with the one in the word at `to`."""

    def codegen(context, b, sig, args):
        asm_amd64.emit_gogo(b, args[0], args[1])
        return const(0)

    return I(I, I), codegen


# ---- the log


@fn
def enter(what: int, code: int, number: int, address: int, x: int, y: int, rbp: int):
    """One more event; beyond the room it is only counted."""
    n = system.events
    system.events = n + 1
    if n >= system.room:
        return
    e = ptr(Event, system.log + n * sizeof(Event))
    e.what = what
    e.thread = system.current
    e.code = code
    e.number = number
    e.at = address
    e.x = x
    e.y = y
    for i in range(CALLERS):
        if rbp == 0:
            e.callers[i] = 0
        else:
            e.callers[i] = rawload(rbp + 8)
            rbp = rawload(rbp)


# ---- turns


@fn(inline=False)
def giveaway():
    """The driver goes on; returns when this thread has the processor again."""
    t = system.threads[system.current]
    switch(fieldaddr(t, "sp"), fieldaddr(system.threads[DRIVER], "sp"))


@fn(inline=False)
def turn(thread: int):
    """Let the thread run to its next primitive."""
    system.clock += 1
    system.current = thread
    switch(fieldaddr(system.threads[DRIVER], "sp"), fieldaddr(system.threads[thread], "sp"))
    system.current = DRIVER


@fn(inline=False, entered=NO_P)
def virtualdrive(turns: int) -> int:
    """Round robin: a turn for each thread that can run, again and again. MORE after so many turns; ASLEEP if before
    that nobody could run any more."""
    while True:
        ran = False
        for i in range(system.count):
            if system.threads[i + 1].futex == 0:
                if turns == 0:
                    return MORE
                turns -= 1
                turn(i + 1)
                ran = True
        if not ran:
            return ASLEEP


# ---- the seam


@fn(inline=False, entered=NO_P)
def prim(code: int, a: int, x: int, y: int) -> int:
    """The operation, in this thread's next turn."""
    iscall = code & 255 == SYSCALL
    if system.current != DRIVER:
        if iscall:
            enter(PRIM, code, rawload(a), rawload(a + 8), rawload(a + 16), rawload(a + 24), framepointer())
        else:
            enter(PRIM, code, 0, a, x, y, framepointer())
        giveaway()
    if iscall:
        return systemcall(a)
    return liveprim(code, a, x, y)


@fn(inline=False, entered=WITH_P)
def writebarrierptr(slot: int, value: int) -> int:
    """The event of a plain store of a pointer, which follows in this thread's next turn."""
    if system.current != DRIVER:
        enter(PRIM, PTRSTORE, 0, slot, value, 0, framepointer())
        giveaway()
    return livewritebarrierptr(slot, value)


# ---- system calls


@fn(inline=False)
def systemcall(block: int) -> int:
    """The call whose number and arguments lie in `block`: its result, or -errno."""
    number = rawload(block)
    if number == SYS_futex:
        op = rawload(block + 16)
        if op == FUTEX_WAIT_PRIVATE:
            return futexwait(rawload(block + 8), rawload(block + 24), rawload(block + 32))
        if op == FUTEX_WAKE_PRIVATE:
            return futexwake(rawload(block + 8), rawload(block + 24))
        throw("virtual: an operation on a futex that is unknown here")
    if system.current != DRIVER:
        if number == SYS_sched_yield or number == SYS_nanosleep:
            return 0
        if number == SYS_sigaltstack or number == SYS_rt_sigaction:
            return 0
        if number == SYS_gettid:
            return system.current
    return liveprim(SYSCALL, block, 0, 0)


@fn(inline=False)
def futexwait(address: int, value: int, timeout: int) -> int:
    """Sleep until a wake for the address, unless the word there differs from `value`."""
    if system.current == DRIVER or timeout != 0:
        throw("virtual: the driver waits, or somebody for a time")
    if rawload32(address) != value & 0xFFFFFFFF:
        return -EAGAIN
    enter(SLEPT, 0, 0, address, 0, 0, 0)
    system.threads[system.current].futex = address
    giveaway()
    return 0


@fn(inline=False)
def futexwake(address: int, n: int) -> int:
    """Wake at most n sleepers; how many. If the system is deaf, they sleep on, and who wakes does not learn of it."""
    woken = 0
    for i in range(system.count):
        t = system.threads[i + 1]
        if woken < n and t.futex == address:
            woken += 1
            if system.deaf != 0:
                enter(LOST, 0, 0, address, i + 1, 0, 0)
            else:
                t.futex = 0
                enter(WOKE, 0, 0, address, i + 1, 0, 0)
    return woken


# ---- the C library, under its own names. The attributes of a thread are one word: the end of its stack.


@fn(inline=False, entered=NO_P)
def pthread_create(out: int, attr: int, start: int, argument: int) -> int32:
    """A thread that will call start(argument). Its first context is [entry0][argument][start] (asm_amd64.py)."""
    i = system.count + 1
    if i > MAX_THREADS:
        return EAGAIN
    sp = (rawload(attr) & ~15) - 72
    rawstore(sp, symaddr("go.entry0", "asm"))
    rawstore(sp + 8, argument)
    rawstore(sp + 16, start)
    t = system.threads[i]
    t.sp = sp
    t.futex = 0
    system.count = i
    rawstore(out, i)
    enter(BORN, 0, 0, argument, i, 0, 0)
    return 0


@fn(inline=False, entered=NO_P)
def pthread_attr_init(attr: int) -> int32:
    return 0


@fn(inline=False, entered=NO_P)
def pthread_attr_destroy(attr: int) -> int32:
    return 0


@fn(inline=False, entered=NO_P)
def pthread_attr_setstack(attr: int, lo: int, size: int) -> int32:
    rawstore(attr, lo + size)
    return 0


@fn(inline=False, entered=NO_P)
def pthread_attr_setdetachstate(attr: int, state: int32) -> int32:
    return 0


@fn(inline=False, entered=NO_P)
def pthread_sigmask(how: int32, new: int, old: int) -> int32:
    return 0


@fn(inline=False, entered=NO_P)
def clock_gettime(which: int32, to: int) -> int32:
    rawstore(to, system.clock // 1000000000)
    rawstore(to + 8, system.clock % 1000000000)
    return 0


# ---- the program


@struct(notinheap=True)
class Ball:
    value: int


@struct(notinheap=True)
class Game:
    ball: Embed[Type]  # what the channels carry: one word
    rounds: int
    total: int  # of the balls that came back
    there: Hchan
    back: Hchan


game = var(Game, "go.virtual.game")


@fn(inline=False, entered=NO_P)
def virtualgame() -> int:
    """The address of the first goroutine's function."""
    game.ball.size = 8
    return funcaddr(pingpong, "entry")


@fn(inline=False, entered=WITH_P)
def pingpong(argument: int):
    """Send numbers there, get each back larger by one. After every operation the goroutine gosched()s: it goes to the
    ring, from where the other P may steal it."""
    game.there = makechan(game.ball, 0)
    game.back = makechan(game.ball, 0)
    game.total = 0
    newproc(funcaddr(pong, "entry"), 0, 0, 0)
    ball = local(Ball)
    for i in range(game.rounds):
        ball.value = i
        if chansend(game.there, addr(ball), True) != DONE:
            throw("virtual: ping cannot send")
        gosched()
        if chanrecv(game.back, addr(ball), True) != DONE:
            throw("virtual: ping cannot receive")
        gosched()
        game.total += ball.value
    closechan(game.there)
    runexit(0, 0)


@fn(inline=False, entered=WITH_P)
def pong(argument: int):
    ball = local(Ball)
    while chanrecv(game.there, addr(ball), True) == DONE:
        gosched()
        ball.value += 1
        if chansend(game.back, addr(ball), True) != DONE:
            throw("virtual: pong cannot send")
        gosched()
