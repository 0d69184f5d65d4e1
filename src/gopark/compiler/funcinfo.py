"""What lowering remembers about each compiled function.

A `FuncInfo` is plain data (strings, integers, tuples), so that it can travel with the machine code into the cache:
a function that comes from the disk is checked exactly as one that was just compiled.

It is a control-flow graph whose nodes are Numba's basic blocks and whose labels are events in the order of emission.
The write-barrier check (`wbcheck.py`) lets the state "holds a P" flow along that graph and into calls; nothing else
about the function matters to it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

# Kinds of events.
BARRIER = "barrier"  # a pointer store that raises the barrier event; name: "Struct.field"
# A pointer store without the event; name: "Struct.field", detail: (setter, registry that keeps the target reachable)
SETTER = "setter"
CALL = "call"  # a call of another function; name: its symbol ("go.runqput") or the key of a FuncInfo
INDIRECT = "indirect"  # a call through a code pointer; name: the class of pointers ("mstartfn", "finish", "entry")
ADDRESS = "address"  # the address of a function is taken; name: its symbol, detail: (class of pointers,)
ALLOC = "alloc"  # an allocation from the collected heap: needs a P; name: the type
RAW = "raw"  # an integer load or store of memory; name: "load" or "store"
OPAQUE = "opaque"  # a call of code that was not compiled by gopark; name: its symbol


@dataclass(slots=True)
class Event:
    kind: str
    name: str
    file: str
    line: int
    detail: tuple = ()


@dataclass(slots=True)
class FuncInfo:
    """One compiled function (or one specialisation of a user's function)."""

    symbol: str  # unique: "go.runqput" in the runtime, "module.qualname(types)" elsewhere
    name: str  # for people: "runqput"
    file: str
    line: int
    pragmas: tuple[str, ...] = ()  # "nowritebarrier", "nowritebarrierrec", "yeswritebarrierrec"
    entry: int = 0  # label of the first block
    blocks: dict[int, list[Event]] = field(default_factory=dict)
    succs: dict[int, tuple[int, ...]] = field(default_factory=dict)
    # block that ends in `if f(...):` -> (index of that call in the block's events, label if true, label if false)
    branches: dict[int, tuple[int, int, int]] = field(default_factory=dict)
    # block that ends in `return`: the constant returned where it is a literal True, False or None; else "?"
    returns: dict[int, object] = field(default_factory=dict)
    # for the cache: what must exist before the code is loaded
    externs: tuple[str, ...] = ()
    spawns: list = field(default_factory=list)
    structs: list = field(default_factory=list)

    def events(self):
        """All events, block by block."""
        for block in self.blocks.values():
            yield from block
