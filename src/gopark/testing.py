"""For tests of programs that use gopark: a test that leaves goroutines, threads or descriptors behind fails.

In a test suite of pytest's, name the plugin in conftest.py, and ask for the fixture where it should hold:

    pytest_plugins = ["gopark.testing"]

    @pytest.fixture(autouse=True)
    def tidy(nothing_left):
        \"\"\"Every test here cleans up after itself.\"\"\"

`nothing_left_behind` is the same as a context manager, without pytest.

What counts is what is there after the block and was not there before it: goroutines of any run (a run that has returned
leaves none, so a run that another Python thread has not finished is what is meant), threads, and open descriptors. The
threads of the runtime do not count: they stay, asleep, for the next run. Nor do those of SciPy's BLAS, which come when
Numba compiles for the first time. What is about to go has a second to go.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import threading
import time
from collections.abc import Iterator

from gopark.bridge import boot
from gopark.bridge.futures import server_thread
from gopark.bridge.report import describe, goroutines, runtime_threads

__all__ = ["nothing_left", "nothing_left_behind"]

PATIENCE = 1.0  # seconds for what is about to go


@contextlib.contextmanager
def nothing_left_behind(patience: float = PATIENCE) -> Iterator[None]:
    """A block after which no goroutine, thread or descriptor may be there that was not there before.

    patience: seconds that are given to what is still on its way out when the block ends. Raises AssertionError, which
    names everything that is left: each goroutine with its state and line, each thread by its name, each descriptor with
    what it is open on. Nothing is looked at if the block raises.
    """
    with contextlib.suppress(ImportError):
        importlib.import_module("scipy.linalg.cython_blas")  # as Numba does, but before the block
    before = _Present()
    yield
    deadline = time.monotonic() + patience
    while True:
        left = _Present().beyond(before)
        if not left:
            return
        if time.monotonic() >= deadline:
            raise AssertionError("left behind:\n\n" + "\n".join(left))
        time.sleep(0.01)


class _Present:
    """What is there now: each thing, and how it is named in a message."""

    def __init__(self):
        booted = boot.booted() is not None
        self.goroutines = set(goroutines()) if booted else set()
        ours = {*runtime_threads(), server_thread()} if booted else set()
        python = {t.native_id: t.name for t in threading.enumerate()}
        self.threads = {(tid, start): python.get(tid, command) for tid, start, command in _tasks() if tid not in ours}
        self.descriptors = dict(_descriptors())

    def beyond(self, before: _Present) -> list[str]:
        """What was not there before, in words."""
        gs = [describe(gp) for gp in sorted(self.goroutines - before.goroutines)]
        threads = [f"thread {name}" for key, name in self.threads.items() if key not in before.threads]
        open_on = [
            f"descriptor {number}, open on {what}"
            for number, what in self.descriptors.items()
            if before.descriptors.get(number) != what
        ]
        return gs + threads + open_on


def _tasks() -> Iterator[tuple[int, int, str]]:
    """Number, start and name of every thread of this process, as the kernel knows them."""
    for tid in os.listdir("/proc/self/task"):
        with contextlib.suppress(OSError), open(f"/proc/self/task/{tid}/stat") as f:
            _, _, rest = f.read().partition("(")
            command, _, fields = rest.rpartition(")")
            yield int(tid), int(fields.split()[19]), command


def _descriptors() -> Iterator[tuple[int, str]]:
    """Open descriptors, but for the one that lists them."""
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            yield int(number), os.readlink(f"/proc/self/fd/{number}")


with contextlib.suppress(ImportError):  # the context manager needs no pytest
    import pytest

    @pytest.fixture
    def nothing_left() -> Iterator[None]:
        """The test fails if it leaves goroutines, threads or descriptors behind."""
        with nothing_left_behind():
            yield
