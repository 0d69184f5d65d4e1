"""mbarrier.go's hunk: a pointer store by a thread that owns no running P ends the process, and says which slot it was.

The seed checks `mp.p == nil`. Ours checks both directions, and each has its test: the M has a P, that P's M is this M,
and the P is running. The storing thread runs on a stack of ours, natively, with an M and a P that the test makes.
"""

from __future__ import annotations

import contextlib
import mmap
import re
import time

from tests.runtime.scheduler_native import in_worker, last_words, native, new, sched, seam, started

PIDLE, PRUNNING = 0, 1


@contextlib.contextmanager
def seam_bits(bits: int):
    word = seam()
    word.value |= bits
    try:
        yield
    finally:
        word.value &= ~bits


def store_on_a_thread(mp, target) -> None:
    """A thread with that M stores pointers into `target`; returns when it is done."""
    from gopark.compiler import abi

    size = abi.stack_size()
    memory = mmap.mmap(-1, 2 * size)
    import ctypes

    base = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    started().target = target.address
    assert native().t_thread(mp.address, (base + size - 1) & -size) == 0
    deadline = time.monotonic() + 10
    while mp.park & 0xFFFFFFFF == 0 and time.monotonic() < deadline:
        time.sleep(0.001)
    assert mp.park & 0xFFFFFFFF == 1, "the thread did not come to its end"
    store_on_a_thread.keep.append(memory)  # the thread may still be leaving


store_on_a_thread.keep = []


def owner():
    mp, pp = new("M"), new("P", status=PRUNNING)
    mp.p, pp.m = pp.address, mp.address
    return mp, pp


@in_worker
def test_with_a_running_p_nothing_is_said():
    """Both bits of the barrier set: the thread owns a running P, the stores are made."""
    from gopark.compiler import abi

    (mp, _), target = owner(), new("M", alllink=1)
    with seam_bits(abi.WB_CHECK | abi.WB_ENABLED):
        store_on_a_thread(mp, target)
    assert (target.schedlink, target.alllink, target.curg) == (mp.address, 0, mp.address)


@in_worker
def test_without_the_bit_nothing_is_checked():
    """The check costs a program nothing that does not ask for it."""
    mp, target = new("M"), new("M")
    store_on_a_thread(mp, target)
    assert target.schedlink == mp.address


def _dies(mp) -> tuple[str, int]:
    from gopark.compiler import abi

    target = new("M")

    def action():
        seam().value |= abi.WB_CHECK
        store_on_a_thread(mp, target)

    said = last_words(action)
    found = re.match(r"fatal error: (write barrier .*), slot 0x([0-9a-f]{16})", said)
    assert found, said
    return found[1], int(found[2], 16) - target.address


def _schedlink() -> int:
    from gopark.runtime import runtime2

    return runtime2.M.fields["schedlink"][0]


@in_worker
def test_store_without_a_p():
    """m.p is nil."""
    assert _dies(new("M")) == ("write barrier without a P", _schedlink())


@in_worker
def test_store_with_a_p_of_another_m():
    """m.p is stale: the P belongs to another M by now. The seed trusted m.p and could not see this."""
    mp, pp = owner()
    pp.m = new("M").address
    assert _dies(mp) == ("write barrier with a P that another M owns", _schedlink())


@in_worker
def test_store_with_a_p_that_is_not_running():
    mp, pp = owner()
    pp.status = PIDLE
    assert _dies(mp) == ("write barrier with a P that is not running", _schedlink())


@in_worker
def test_setters_raise_no_barrier():
    """The same store by a setter, on a Python thread, which has neither M nor P: nobody is asked."""
    from gopark.compiler import abi

    sched()
    value, target = new("M"), new("M")
    started().target = target.address
    with seam_bits(abi.WB_CHECK | abi.WB_ENABLED):
        native().t_set(value.address)
    assert target.schedlink == value.address
