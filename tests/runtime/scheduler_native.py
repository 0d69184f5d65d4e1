"""The runtime up to mp.py, or up to runs.py, in a process of its own, called from Python with Gs, Ms and Ps that the
tests make.

A process has one runtime, so a test decorated with `in_worker` runs in a worker process that has loaded the first of
these images, one with `in_worker_with_runs` in one that has the second; its AssertionError comes back. `last_words`
forks the worker for what must end in a throw.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import multiprocessing
import os
import signal
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor

from tests.runtime.images import Native, Record

_TO_MP = "os_linux lock_futex panic audit symtab traceback persistent hooks mbarrier mheap mcache mbitmap stack runq mp"
UNIT = "tests.runtime.scheduler_unit"
IMAGES = {  # units of the runtime, and of tests
    "mp": (_TO_MP, UNIT, "tests.runtime.threads_unit"),
    "runs": (f"{_TO_MP} signal rand proc lfstack handle reach runs", UNIT, "tests.runtime.proc_unit"),
}
_image = "mp"  # what this process loads


def _choose(image: str) -> None:
    global _image
    _image = image


@functools.cache
def pool(image: str):
    return ProcessPoolExecutor(
        1, mp_context=multiprocessing.get_context("spawn"), initializer=_choose, initargs=(image,)
    )


def _run(module, name):
    getattr(importlib.import_module(module), name).check()


def in_worker(check, image="mp"):
    """A test whose body runs in the process that has loaded the image."""

    def test():
        pool(image).submit(_run, check.__module__, check.__name__).result(timeout=300)

    test.__name__, test.__doc__, test.check = check.__name__, check.__doc__, check
    return test


in_worker_with_runs = functools.partial(in_worker, image="runs")


@functools.cache
def native() -> Native:
    lib = Native(*IMAGES[_image])
    lib.t_stackinit()
    return lib


_kept: list[Record] = []


def new(kind: str, **fields) -> Record:
    """A zeroed G, M or P; an M without a P has the empty allocation cache, a P some cache of its own."""
    from gopark.runtime import runtime2

    record = Record(getattr(runtime2, kind))
    _kept.append(record)  # the runtime never forgets one, so neither may its memory go
    if kind == "M":
        record.mcache = empty_mcache()
    elif kind == "P":
        record.mcache = record.address + 8  # never looked at here
    for name, value in fields.items():
        setattr(record, name, value.address if isinstance(value, Record) else value)
    return record


def empty_mcache() -> int:
    from gopark.runtime import mcache

    native()
    return mcache.emptymcache.address


def sched() -> Record:
    from gopark.runtime import runtime2

    native()
    return Record(runtime2.Sched, runtime2.sched.address)


def fresh() -> Record:
    """The scheduler with empty lists and zero counts."""
    s = sched()
    names = "runqhead runqtail runqsize pidle npidle midle nmidle nmidlelocked nmspinning"
    for name in names.split():
        setattr(s, name, 0)
    return s


def owned():
    """An M that owns a P."""
    mp, pp = new("M"), new("P")
    native().t_acquirep(mp.address, pp.address)
    return mp, pp


def eventually(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.001)


def behind_the_lock(call, change) -> None:
    """Let another thread call something that takes sched.lock; once it waits for that, make a change under the lock,
    and let it go on. Returns when the call has returned."""
    lib, s = native(), sched()
    lib.t_lock()
    thread = threading.Thread(daemon=True, target=call)
    thread.start()
    eventually(lambda: s.lock & 0xFFFFFFFF == 2)  # held, and somebody sleeps
    change()
    lib.t_unlock()
    thread.join(20)
    assert not thread.is_alive(), "the call does not return"


def started() -> Record:
    native()
    unit = importlib.import_module(UNIT)
    return Record(unit.Started, unit.started.address)


def seam() -> ctypes.c_int64:
    from gopark.compiler import abi

    return ctypes.c_int64.from_address(native().image.address[abi.SEAM])


def linked(head: int, kind: str, link: str = "schedlink") -> list[int]:
    """The addresses in a list, from its head along its links."""
    from gopark.runtime import runtime2

    found = []
    while head:
        assert head not in found, "the list is a circle"
        found.append(head)
        head = getattr(Record(getattr(runtime2, kind), head), link)
    return found


def last_words(action) -> str:
    """What a process says that runs `action` and must die of it, with status 2."""
    native()
    with tempfile.TemporaryFile() as errors:
        child = os.fork()
        if child == 0:
            try:
                os.dup2(errors.fileno(), 2)
                signal.alarm(20)
                action()
            finally:
                os._exit(77)  # it survived
        _, status = os.waitpid(child, 0)
        errors.seek(0)
        said = errors.read().decode()
    assert os.waitstatus_to_exitcode(status) == 2, f"status {os.waitstatus_to_exitcode(status)}, it said {said!r}"
    return said.strip()
