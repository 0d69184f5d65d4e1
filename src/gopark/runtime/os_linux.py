"""System calls and threads.

Stands for: src/runtime/os1_linux.go, mem_linux.go and sys_linux_amd64.s at 41dbcc19ef09.

System calls are raw: they return the result or -errno, touch no thread-local state and are no cancellation points. Only
threads are made by libc (`pthread_create` on a stack of ours), because Python code will run on them one day and needs a
thread that libc knows.

A thread of ours blocks every signal but the synchronous ones (SEGV, BUS, FPE, ILL, TRAP): Python's signals belong to
Python's threads. The mask is set around the creation, so that no signal can land on a half-initialised thread.

Everything here may run without a P, and on a foreign stack (no getg). Raw memory: the attribute block and masks that
libc and the kernel read.
"""

from __future__ import annotations

from gopark.compiler.image import NO_P, fn
from gopark.compiler.numba_api import types
from gopark.compiler.structs import struct
from gopark.runtime.prims import addr, clock, fieldaddr, local, rawload, rawstore, syscall6
from gopark.runtime.runtime2 import M

I, I32 = types.int64, types.int32
pthread_create = types.ExternalFunction("pthread_create", I32(I, I, I, I))
pthread_attr_init = types.ExternalFunction("pthread_attr_init", I32(I))
pthread_attr_destroy = types.ExternalFunction("pthread_attr_destroy", I32(I))
pthread_attr_setstack = types.ExternalFunction("pthread_attr_setstack", I32(I, I, I))
pthread_attr_setdetachstate = types.ExternalFunction("pthread_attr_setdetachstate", I32(I, I32))
pthread_sigmask = types.ExternalFunction("pthread_sigmask", I32(I32, I, I))

SYS_write, SYS_mmap, SYS_mprotect, SYS_munmap, SYS_rt_sigaction = 1, 9, 10, 11, 13
SYS_rt_sigprocmask = 14
SYS_sched_yield, SYS_madvise, SYS_nanosleep, SYS_sigaltstack = 24, 28, 35, 131
SYS_gettid, SYS_futex, SYS_exit_group = 186, 202, 231

EINTR, EAGAIN, EFAULT = 4, 11, 14
FUTEX_WAIT_PRIVATE, FUTEX_WAKE_PRIVATE = 128, 129
PROT_NONE, PROT_RW = 0, 3
MAP_PRIVATE_ANON_NORESERVE = 0x4022
MADV_DONTNEED, MADV_NOHUGEPAGE, MADV_GUARD_INSTALL = 4, 15, 102

# every signal but SEGV 11, BUS 7, FPE 8, ILL 4, TRAP 5
SIGMASK = ~((1 << 10) | (1 << 6) | (1 << 7) | (1 << 3) | (1 << 4))


@struct(notinheap=True)
class Timespec:
    sec: int
    nsec: int


@fn(inline=False)
def futexsleep(address: int, value: int, ns: int) -> int:
    """Sleep while the 32-bit word at `address` holds `value`; at most `ns` nanoseconds if that is not negative."""
    if ns < 0:
        return syscall6(SYS_futex, address, FUTEX_WAIT_PRIVATE, value, 0, 0, 0)
    return futexsleepns(address, value, ns)


@fn(inline=False)
def futexsleepns(address: int, value: int, ns: int) -> int:
    ts = local(Timespec)
    ts.sec = ns // 1000000000
    ts.nsec = ns % 1000000000
    return syscall6(SYS_futex, address, FUTEX_WAIT_PRIVATE, value, addr(ts), 0, 0)


@fn(inline=False)
def futexwakeup(address: int, n: int) -> int:
    return syscall6(SYS_futex, address, FUTEX_WAKE_PRIVATE, n, 0, 0, 0)


@fn(inline=False)
def osyield():
    syscall6(SYS_sched_yield, 0, 0, 0, 0, 0, 0)


@fn(inline=False)
def usleep(us: int):
    """Sleep this thread, with whatever it holds."""
    ts = local(Timespec)
    ts.sec = us // 1000000
    ts.nsec = us % 1000000 * 1000
    syscall6(SYS_nanosleep, addr(ts), 0, 0, 0, 0, 0)


@fn(inline=False, entered=NO_P)
def nanotime() -> int:
    """The monotonic clock, in nanoseconds."""
    return clock()


@fn(inline=False)
def gettid() -> int:
    return syscall6(SYS_gettid, 0, 0, 0, 0, 0, 0)


@fn(inline=False)
def exit(code: int):
    """End the process at once: no handlers, no flushing."""
    while True:
        syscall6(SYS_exit_group, code, 0, 0, 0, 0, 0)


@fn(inline=False)
def write(fd: int, address: int, n: int) -> int:
    """Write all of it, through interrupts and short writes; returns what was written, or -errno."""
    done = 0
    while done < n:
        r = syscall6(SYS_write, fd, address + done, n - done, 0, 0, 0)
        if r == -EINTR or r == -EAGAIN:
            continue
        if r < 0:
            return r
        done += r
    return done


@fn(inline=False)
def sysReserve(n: int) -> int:
    """n bytes of address space, inaccessible, page aligned; or -errno."""
    return syscall6(SYS_mmap, 0, n, PROT_NONE, MAP_PRIVATE_ANON_NORESERVE, -1, 0)


@fn(inline=False)
def sysMap(address: int, n: int) -> int:
    """Make reserved memory usable: zeroed, backed page by page at first touch. 0, or -errno."""
    return syscall6(SYS_mprotect, address, n, PROT_RW, 0, 0, 0)


@fn(inline=False)
def sysFree(address: int, n: int) -> int:
    """Give reserved address space, and the memory behind it, back."""
    return syscall6(SYS_munmap, address, n, 0, 0, 0, 0)


@fn(inline=False)
def sysGuard(address: int, n: int) -> int:
    """Take all access away."""
    return syscall6(SYS_mprotect, address, n, PROT_NONE, 0, 0, 0)


@fn(inline=False)
def madvise(address: int, n: int, advice: int) -> int:
    return syscall6(SYS_madvise, address, n, advice, 0, 0, 0)


@fn(inline=False)
def newosproc(mp: M, lo: int, top: int, start: int) -> int:
    """Start a thread whose stack is [lo, top) and whose first call is start(mp). 0, or an errno.

    The attribute block (56 bytes) and the two masks lie in mp.scratch.
    """
    attr = fieldaddr(mp, "scratch")
    full, old = attr + 64, attr + 72
    pthread_attr_init(attr)
    pthread_attr_setstack(attr, lo, top - lo)
    pthread_attr_setdetachstate(attr, 1)
    rawstore(full, SIGMASK)
    pthread_sigmask(2, full, old)
    r = pthread_create(attr + 80, attr, start, addr(mp))
    pthread_sigmask(2, old, 0)
    pthread_attr_destroy(attr)
    mp.pthread = rawload(attr + 80)
    return r
