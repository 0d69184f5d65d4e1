"""What the lowering of user code bakes in about the runtime.

A user's function reads a few fields of the current G directly (the preemption flag, the stack guard) and bumps a
pointer in the allocation cache; the machine code of both therefore depends on where those fields lie. Their offsets are
written down here, `runtime/runtime2.py` and `runtime/mcache.py` assert them when they lay out their structs, and the
hash of this table is part of every cache key: change a number here, and every cached function and image is rebuilt.

Addresses are never baked in: symbols are.
"""

from __future__ import annotations

import functools
import hashlib

from gopark.config import MIN_STACK, settings

VERSION = 1

# ---- G: the top of every stack slab
G_SIZE = 512
G_LINES = 32  # Gs of different slabs start on different cache lines (asm_amd64.py)
G_SP = 0
G_STACKGUARD = 8
G_M = 16
G_PREEMPT = 24
G_ASYNCOK = 32
G_CCALL = 320

# ---- M: reached from its G
M_MCACHE = 0
M_G0 = 8

# ---- the allocation cache: an array of these, one per layout
MCACHE_ENTRY = 32
MCACHE_CUR = 0
MCACHE_LIM = 8

# ---- a type descriptor
TYPE_LAYOUT = 0  # index of the layout in the allocation cache; assigned per process

# ---- a channel
HCHAN_QCOUNT = 0
HCHAN_DATAQSIZ = 8

# ---- symbols of data
SEAM = "go.seam"  # the mask word: hooks of the seam, the write barrier, its check
SCHED = "go.sched"

# ---- bits of the mask word. A primitive's kind is its bit; see runtime/prims.py
KINDS = (
    "load",
    "store",
    "cas",
    "xadd",
    "xchg",
    "lock",
    "note",
    "markbit",
    "phase",
    "ptrstore",
    "handoff",
    "clock",
    "random",
    "syscall",
    "switch",
)
KIND = {name: bit for bit, name in enumerate(KINDS)}
WB_ENABLED = 1 << 16  # marking: pointer stores shade
WB_CHECK = 1 << 17  # pointer stores verify that the thread owns a running P
PTR_BITS = 1 << KIND["ptrstore"] | WB_ENABLED | WB_CHECK  # what a pointer store tests, all at once

# ---- the code that a primitive passes to the hook: kind | bytes << 8 | pointer << 12 | operation << 16
OPERATIONS = ("none", "load", "store", "cas", "xadd", "xchg")
PTR_FLAG = 1 << 12  # a pointer is stored: the barrier event belongs to the operation


def prim_code(kind: str, operation: str = "none", size: int = 0, pointer: bool = False) -> int:
    """What `go.prim` is told about a primitive."""
    return KIND[kind] | size << 8 | (PTR_FLAG if pointer else 0) | OPERATIONS.index(operation) << 16


# ---- status codes of a compiled function beyond Numba's: 0 fine, -1 Python exception, -2 none, -3 stop, >= 1 exception
STATUS_ENDED = -4  # the run of this goroutine has ended: leave every frame, look at no handler


def stack_size() -> int:
    """Bytes of a goroutine's stack slab: a power of two, so that G is found from the stack pointer."""
    return settings().stack


def g_pages() -> int:
    """On how many different pages of its slab a G may lie (asm_amd64.py). The smallest slab can spare none."""
    slab = stack_size()
    return slab >> 14 if slab > MIN_STACK else 1


def g_space() -> int:
    """Bytes at the top of a slab in which its G lies, whatever its colours."""
    return G_SIZE + (G_LINES - 1) * 64 + (g_pages() - 1) * 4096


@functools.cache
def key() -> str:
    """Hash of everything above and of the settings that change generated code."""
    constants = sorted((k, repr(v)) for k, v in globals().items() if k.isupper())
    config = settings()
    return hashlib.sha256(repr((constants, config.stack, config.seam, config.check > 1)).encode()).hexdigest()[:16]
