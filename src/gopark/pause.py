"""CPython's cyclic collector, kept out of imports and compilations.

Numba and LLVM's bindings are several hundred thousand live objects, and a compilation makes many more that die by their
reference counts. A full collection in the middle of it takes as long as compiling ten lines, and frees next to nothing.
"""

from __future__ import annotations

import contextlib
import gc
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
