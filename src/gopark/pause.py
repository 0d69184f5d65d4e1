"""What is kept out of compilations: CPython's cyclic collector, and Ctrl-C.

Numba and LLVM's bindings are several hundred thousand live objects, and a compilation makes many more that die by their
reference counts. A full collection in the middle of it takes as long as compiling ten lines, and frees next to nothing.

A KeyboardInterrupt may be raised behind any instruction of the main thread. In the middle of LLVM's bindings it leaves
objects that are owned twice or by nobody, and the process crashes when they are freed. So it waits until the
compilation is over, or has come to a place where it may be given up.
"""

from __future__ import annotations

import contextlib
import gc
import signal
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def collector_paused() -> Iterator[None]:
    """No cyclic collection inside of the block; nested blocks, and other threads, see it enabled again at the end of
    the outermost one. Where the program itself has disabled it, it stays disabled.

    What was made in the block counts as old: else the first collection of the youngest would traverse all of it.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            if gc.get_freeze_count() == 0:
                gc.freeze()
                gc.unfreeze()
            gc.enable()


class _Interrupts:
    """Ctrl-C that was pressed while it had to wait."""

    def __init__(self):
        self.handler = None  # whose turn it will be; None: nobody waits
        self.came: tuple | None = None

    def remember(self, *arguments) -> None:
        self.came = arguments


_interrupts = _Interrupts()


@contextlib.contextmanager
def interrupts_deferred() -> Iterator[None]:
    """SIGINT waits for the end of the block, and is handled then. Nested blocks: the outermost.

    Other threads than the main one get no signals from Python, and whoever has no handler in Python is left alone.
    """
    handler = signal.getsignal(signal.SIGINT)
    main = threading.current_thread() is threading.main_thread()
    if not main or not callable(handler) or _interrupts.handler is not None:
        yield
        return
    _interrupts.handler, _interrupts.came = handler, None
    signal.signal(signal.SIGINT, _interrupts.remember)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        _interrupts.handler = None
        if _interrupts.came is not None:
            handler(*_interrupts.came)


def interrupt_now() -> None:
    """A place inside of such a block where the work may be given up: handle what has come."""
    if threading.current_thread() is threading.main_thread() and _interrupts.came is not None:
        came, _interrupts.came = _interrupts.came, None
        _interrupts.handler(*came)
