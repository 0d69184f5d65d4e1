"""What is bound behind the seam in live mode: the operation itself, and the barrier.

`go.prim(kind, address, x, y)` is called by a primitive whose bit in `go.seam` is set (prims.py). Live, nothing is
hooked: this is the operation out of line, preceded by the barrier event when the operand is a pointer. A controlled
scheduler binds its own function to the symbol; that is why this file is an object of its own, never linked into the
image.

`go.writebarrierptr(slot, value)` is called by plain pointer stores when the barrier, its check or a hook on them is on.

May run without a P and on a foreign stack, as the primitives may.
"""

from __future__ import annotations

from gopark.compiler import abi
from gopark.compiler.image import NO_P, WITH_P, fn, forward
from gopark.compiler.numba_api import types
from gopark.runtime.prims import (
    aadd4,
    aadd8,
    acas4,
    acas8,
    aload4,
    aload8,
    astore4,
    astore8,
    axchg4,
    axchg8,
    rawload,
    rawsyscall6,
)

NONE, LOAD, STORE, CAS, XADD, XCHG = range(len(abi.OPERATIONS))
KIND_SYSCALL = abi.KIND["syscall"]
PTR_FLAG = abi.PTR_FLAG

checkowner = forward("checkowner", types.none, types.int64)


@fn(inline=False, entered=WITH_P)
def writebarrierptr(slot: int, value: int) -> int:
    """The event of one pointer store into `slot` (mbarrier.py)."""
    checkowner(slot)
    return 0


@fn(inline=False, entered=NO_P)
def prim(code: int, a: int, x: int, y: int) -> int:
    """Perform the operation that the primitive would have performed inline."""
    if code & 255 == KIND_SYSCALL:
        return rawsyscall6(
            rawload(a),
            rawload(a + 8),
            rawload(a + 16),
            rawload(a + 24),
            rawload(a + 32),
            rawload(a + 40),
            rawload(a + 48),
        )
    op = code >> 16
    if code & PTR_FLAG != 0:
        writebarrierptr(a, y if op == CAS else x)
    if (code >> 8) & 15 == 4:
        if op == LOAD:
            return aload4(a, x, y)
        if op == STORE:
            return astore4(a, x, y)
        if op == CAS:
            return acas4(a, x, y)
        if op == XADD:
            return aadd4(a, x, y)
        if op == XCHG:
            return axchg4(a, x, y)
        return 0
    if op == LOAD:
        return aload8(a, x, y)
    if op == STORE:
        return astore8(a, x, y)
    if op == CAS:
        return acas8(a, x, y)
    if op == XADD:
        return aadd8(a, x, y)
    if op == XCHG:
        return axchg8(a, x, y)
    return 0
