"""Notes: who sleeps on one is woken by notewakeup and by nothing else."""

from __future__ import annotations

import ctypes
import threading

from tests.runtime.scheduler_native import eventually, in_worker, native, new

SYS_FUTEX, FUTEX_WAKE_PRIVATE = 202, 129


@in_worker
def test_a_sleeper_looks_at_its_note_again_when_the_kernel_wakes_it():
    """A futex may return without a wake-up of ours: another sleeper on the address, a signal."""
    lib, mp = native(), new("M")
    key = mp.address + mp.cls.fields["park"][0]
    futex = ctypes.CDLL(None, use_errno=True).syscall
    sleeper = threading.Thread(daemon=True, target=lib.t_notesleep, args=(mp.address,))
    sleeper.start()
    for _ in range(5):
        eventually(lambda: futex(SYS_FUTEX, ctypes.c_void_p(key), FUTEX_WAKE_PRIVATE, 1, 0, 0, 0) == 1)
    sleeper.join(0.05)
    assert sleeper.is_alive()
    lib.t_notewakeup(mp.address)
    sleeper.join(20)
    assert not sleeper.is_alive()
    assert mp.park & 0xFFFFFFFF == 0, "the sleeper clears it"


@in_worker
def test_a_wake_up_that_comes_first_is_not_lost():
    lib, mp = native(), new("M")
    lib.t_notewakeup(mp.address)
    lib.t_notesleep(mp.address)
    assert mp.park & 0xFFFFFFFF == 0
