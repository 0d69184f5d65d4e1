"""The write barrier: what happens at a pointer store while the barrier, or its check, is on.

Stands for: src/runtime/mbarrier.go at 41dbcc19ef09 (writebarrierptr_nostore1, typedmemmove).

The collector is not here yet, so nothing is shaded. What is here is the seed's rule as a run-time check: *no write
barrier without a P*. While the world is stopped, code that runs without a P may not execute one; an object marked by
such code may never be scanned, and live memory is freed.

The seed's check fired only while marking, only for heap pointers, and trusted `m.p`. This one verifies ownership both
ways, whatever is stored and whenever the check bit is set (GOPARKDEBUG=wbcheck=1): the M has a P, the P's M is this M,
and the P is running.

* MB1  `writebarrierptr` (hooks.py) is called before the store, by code that has tested the word `go.seam`.
* MB2  It runs on a stack of ours; code on a foreign stack contains no pointer store with a barrier at all (vet).
* MB3  A violation is a throw with the address of the slot: there is no way to go on.
* MB4  A value with pointers inside (a channel's element) is copied by `typedmemmove`: one event for all its pointers.
"""

from __future__ import annotations

from gopark.compiler import abi
from gopark.compiler.image import WITH_P, fn, forward
from gopark.compiler.numba_api import types
from gopark.runtime.prims import bulkevent, getg, memmove, seamword
from gopark.runtime.runtime2 import Prunning, Type

throwwb = forward("throwwb", types.none, types.int64, types.int64)
WB_CHECK = abi.WB_CHECK


@fn(inline=False, entered=WITH_P)
def checkowner(slot: int):
    """This thread is about to store a pointer at `slot`: it must own a running P."""
    if seamword() & WB_CHECK == 0:
        return
    mp = getg().m
    pp = mp.p
    if pp is None:
        throwwb(1, slot)
    elif pp.m is not mp:
        throwwb(2, slot)
    elif pp.status != Prunning:
        throwwb(3, slot)


@fn(inline=True)
def typedmemmove(desc: Type, to: int, frm: int):
    """Copy a value of the described type. The ranges may overlap."""
    bulkevent(desc, to, frm)
    memmove(to, frm, desc.size)


@fn(inline=False, entered=WITH_P)
def bulkbarrier(desc: Type, to: int, frm: int):
    """The barriers of all pointers of a value that is about to be copied."""
    checkowner(to)
