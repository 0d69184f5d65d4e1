"""Go's runtime, file by file, under Go's names. Start with runtime2.py (the objects and the glossary), then proc.py.

A file is a translation unit of the image (compiler/image.py). `UNITS` lists them in reading order; HOOKS is the one
that stays an object of its own; HEADERS are inlined into the others.
"""

from __future__ import annotations

import importlib

HEADERS = ("runtime2", "prims")
UNITS = (
    "os_linux",
    "lock_futex",
    "panic",
    "audit",
    "persistent",
    "mbarrier",
    "mheap",
    "mbitmap",
    "mcache",
    "malloc",
    "mstats",
    "stack",
    "symtab",
    "traceback",
    "runq",
    "mp",
    "signal",
    "rand",
    "proc",
    "lfstack",
    "handle",
    "reach",
    "runs",
    "futures",
    "chan",
    "slice",
    "select",
    "sema",
    "sync",
    "cgocall",
    "print",
    "hooks",
)
HOOKS = ("hooks",)


def load_units() -> tuple[list[str], list[str], list[str]]:
    """Import every unit; the full module names of (units, headers, separate units)."""
    names = [[f"{__name__}.{name}" for name in group] for group in (UNITS, HEADERS, HOOKS)]
    for module in (*names[1], *names[0]):
        importlib.import_module(module)
    return names[0], names[1], names[2]
