"""The ends of an image that stops at mp.py: where threads and goroutines begin, and who is told that all Ps are idle.

They write down what they are told.
"""

from __future__ import annotations

from gopark.compiler.image import NO_P, fn
from gopark.runtime.prims import addr, callfn, ptr, xadd
from gopark.runtime.runtime2 import M
from tests.runtime.scheduler_unit import started


@fn(inline=False, entered=NO_P)
def mstart(m: int) -> int:
    """A thread of newm begins: write down what it was given, call its mstartfn, and end."""
    mp = ptr(M, m)
    if mp.mstartfn != 0:
        callfn("mstartfn", mp.mstartfn, m)
    started.m = m
    started.nextp = addr(mp.nextp)
    started.spinning = mp.spinning
    xadd(started, "count", 1)
    return 0


@fn(inline=False, entered=NO_P)
def gostart(g: int):
    """No goroutine runs in this image."""
    xadd(started, "count", 1 << 32)


@fn(inline=False)
def pokeruns():
    xadd(started, "poked", 1)
