"""Counting what Numba's runtime hands out and gets back."""

from __future__ import annotations

import contextlib
import gc

from numba.core.runtime import _nrt_python, rtsys


@contextlib.contextmanager
def nothing_leaks():
    """The block gives back every block of memory that Numba's runtime handed out in it. Compile beforehand."""
    _nrt_python.memsys_enable_stats()
    gc.collect()
    before = rtsys.get_allocation_stats()
    yield
    gc.collect()
    after = rtsys.get_allocation_stats()
    blocks = (after.alloc - before.alloc) - (after.free - before.free)
    owners = (after.mi_alloc - before.mi_alloc) - (after.mi_free - before.mi_free)
    assert after.alloc > before.alloc, "nothing was allocated: the test shows nothing"
    assert (blocks, owners) == (0, 0), f"{blocks} blocks and {owners} owners of {after.alloc - before.alloc} leaked"
