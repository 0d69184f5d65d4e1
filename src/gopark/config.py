"""The environment, in one table.

Nothing here is read at import: `settings()` reads the environment the first time it is asked, which is at the first
compilation or at boot, and keeps what it read for the rest of the process.
"""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from pathlib import Path

MIN_STACK = 64 << 10
MAX_STACK = 64 << 20
MAX_PROCS = 256


@dataclass(frozen=True)
class Settings:
    stack: int  # bytes of a goroutine's stack, a power of two (GOPARK_STACK)
    procs: int  # Ps of the first run (GOMAXPROCS; default: the affinity mask)
    cache_dir: Path  # GOPARK_CACHE_DIR
    wbcheck: bool  # GOPARKDEBUG=wbcheck=1: verify the ownership of the P at every pointer store
    check: int  # GOPARKDEBUG=check=1: wbcheck; =2: also an image of its own, with audits of the scheduler
    seam: bool  # GOPARKDEBUG=seam=0 builds an image without the seam's tests (to measure what they cost)
    memory_limit: (
        int  # bytes of the collected heap (GOMEMLIMIT; default: the machine's memory); 0: only the address space
    )
    seed: int | None  # GOPARK_SEED: the state of every source of randomness of the runtime
    traceback: int  # GOTRACEBACK: what a process that dies shows of its goroutines (TRACEBACKS)


KNOWN_DEBUG = {
    "wbcheck": "1: every pointer store verifies that its thread owns a running P",
    "check": "1: as wbcheck=1; 2: moreover an image of its own that audits the scheduler (runtime/audit.py)",
    "seam": "0: compile without the tests of the seam word (a build of its own, for measurements)",
}

# As in Go, except that a process that dies of a throw or a signal shows all goroutines anyway.
TRACEBACKS = {
    "none": 0,  # no goroutine
    "single": 1,
    "all": 1,  # the frames of the program's functions
    "system": 2,  # the runtime's too
}


def _integer(name: str, text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise ValueError(f"{name}={text!r}: an integer is wanted") from None


_UNITS = {"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}


def _memory_limit() -> int:
    """GOMEMLIMIT in Go's notation: a number with B, KiB, MiB, GiB or TiB; "off" for none."""
    text = os.environ.get("GOMEMLIMIT")
    if text is None:
        try:
            return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        except (OSError, ValueError):
            return 0
    if text == "off":
        return 0
    digits = text.rstrip("BKMGTi")
    unit = text[len(digits) :]
    if not digits.isdigit() or unit not in _UNITS or int(digits) == 0:
        raise ValueError(f"GOMEMLIMIT={text!r}: a size such as 512MiB or 4GiB is wanted, or off")
    return int(digits) * _UNITS[unit]


def _debug_keys() -> dict[str, str]:
    keys: dict[str, str] = {}
    for item in filter(None, os.environ.get("GOPARKDEBUG", "").split(",")):
        key, _, value = item.partition("=")
        if key not in KNOWN_DEBUG:
            known = "; ".join(f"{k}={v}" for k, v in KNOWN_DEBUG.items())
            raise ValueError(f"GOPARKDEBUG: unknown key {key!r}. Known: {known}")
        keys[key] = value
    return keys


@functools.cache
def settings() -> Settings:
    """What the environment says, read once."""
    stack = _integer("GOPARK_STACK", os.environ.get("GOPARK_STACK") or str(256 << 10))
    if stack & (stack - 1) or not MIN_STACK <= stack <= MAX_STACK:
        raise ValueError(
            f"GOPARK_STACK={stack}: the stack of a goroutine is a power of two from {MIN_STACK} to {MAX_STACK} bytes"
        )
    procs = os.environ.get("GOMAXPROCS")
    if procs is None:
        count = min(len(os.sched_getaffinity(0)), MAX_PROCS)
    else:
        count = _integer("GOMAXPROCS", procs)
        if not 1 <= count <= MAX_PROCS:
            raise ValueError(f"GOMAXPROCS={procs}: from 1 to {MAX_PROCS} are possible")
    seed = os.environ.get("GOPARK_SEED")
    traceback = os.environ.get("GOTRACEBACK") or "single"
    if traceback not in TRACEBACKS:
        raise ValueError(f"GOTRACEBACK={traceback!r}: one of {', '.join(TRACEBACKS)} is wanted")
    debug = _debug_keys()
    check = _integer("GOPARKDEBUG: check", debug.get("check", "0"))
    if not 0 <= check <= 2:
        raise ValueError(f"GOPARKDEBUG: check={check}: the levels are 0, 1 and 2")
    cache = os.environ.get("GOPARK_CACHE_DIR")
    if cache is None:
        cache = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "gopark")
    return Settings(
        stack=stack,
        procs=count,
        cache_dir=Path(cache),
        wbcheck=debug.get("wbcheck", "0") == "1" or check > 0,
        check=check,
        seam=debug.get("seam", "1") != "0",
        memory_limit=_memory_limit(),
        seed=None if seed is None else _integer("GOPARK_SEED", seed),
        traceback=TRACEBACKS[traceback],
    )
