"""Stacks that take no lock: many threads push, one takes all.

Stands for: src/runtime/lfstack.go at 41dbcc19ef09.

The links are integers, as in Go: threads without a P push, and a store of an integer is no barrier event. What they
lead to must be kept reachable by somebody else, therefore; so it is with everything here, which is immortal.

Go's stack is popped one node at a time and needs a count in the pointer, because a node may be popped and pushed again
between a load and the swap. Here the whole stack is taken at once, by which that cannot happen.

Needs no P, runs on any stack.
"""

from __future__ import annotations

from gopark.compiler.image import fn
from gopark.compiler.structs import struct
from gopark.runtime.prims import addr, cas, load, ptr, xchg
from gopark.runtime.runtime2 import LFNode


@struct(notinheap=True)
class LFStack:
    head: int  # address of the node that was pushed last; 0: empty


@fn
def lfstackpush(stack: LFStack, node: LFNode) -> bool:
    """Put a node on top. True if the stack was empty."""
    while True:
        old = load(stack, "head")
        node.next = old
        if cas(stack, "head", old, addr(node)):
            return old == 0


@fn
def lfstacktake(stack: LFStack) -> int:
    """Empty the stack; the address of the node that was pushed last, from which `next` leads to the others, or 0."""
    if load(stack, "head") == 0:
        return 0
    return xchg(stack, "head", 0)


@fn
def lfstackreversed(node: int) -> int:
    """A taken stack in the order in which its nodes were pushed; the address of the first one."""
    first = 0
    while node != 0:
        n = ptr(LFNode, node)
        following = n.next
        n.next = first
        first = node
        node = following
    return first
