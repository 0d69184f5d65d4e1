"""Where goroutines can be stopped: polls at loops, the check at function entry, marks around counted leaf loops.

Stands for: the stack check that cmd/compile puts at function entry, and the loop preemption that Go got later.

* PL1  Every loop polls `g.preempt` at its back edges, except *counted leaf loops*: innermost, over a range or an array,
       with nothing in their body but arithmetic and array elements. A poll would keep LLVM from vectorising those (ten
       times slower), and they end by themselves.
* PL2  A counted leaf loop is bracketed by `g.asyncok` = 1 and 0. Nothing in it touches the heap, a lock or libc, so a
       thread that is in one may be stopped anywhere: a signal will do that in a later landing.
* PL3  The load of a poll is atomic: a plain one would be hoisted out of the loop.
* PL4  Functions that can recurse, and functions with a big frame, compare their stack pointer with `g.stackguard` at
       entry: one compare that serves overflow and preemption, because whoever wants the goroutine's attention raises
       the guard. `go.morestack` tells the two apart. An overflow is an exception like any other.
"""

from __future__ import annotations

import math
import operator

import numpy as np

from gopark.compiler import abi, asm_amd64
from gopark.compiler.numba_api import (
    cgutils,
    compute_cfg_from_blocks,
    const,
    extern,
    i1,
    i64,
    ir,
    lir,
    scalar_size,
    types,
)
from gopark.errors import StackOverflowError

BIG_FRAME = 2048  # bytes of locals from which a function checks its stack

# What a counted leaf loop may call: pure arithmetic.
_PURE_CALLS = {
    abs, min, max, int, float, bool, complex, len, round, divmod, pow,
    *(getattr(math, n) for n in dir(math) if not n.startswith("_")),
    *(getattr(operator, n) for n in dir(operator) if not n.startswith("_")),
}  # fmt: skip
_PURE_OPS = {
    "binop", "inplace_binop", "unary", "cast", "iternext", "pair_first", "pair_second", "getitem",
    "static_getitem", "phi", "null",
}  # fmt: skip


class Plan:
    """The polls of one function; asked by its lowerer."""

    def __init__(self, low):
        self.low = low
        self._back_edges: set[int] = set()
        self._mark_before: set[int] = set()  # blocks that enter a counted leaf loop
        self._mark_after: set[int] = set()  # blocks that a counted leaf loop leaves to
        if low.generator_info is None:
            self._find_loops()
        self._recursive = any(isinstance(t, types.RecursiveCall) for t in low.fndesc.typemap.values())

    def _find_loops(self):
        blocks = self.low.func_ir.blocks
        cfg = compute_cfg_from_blocks(blocks)
        loops = cfg.loops()
        for header, loop in loops.items():
            if self._counted_leaf(blocks, header, loop, loops):
                for label in blocks:
                    if label not in loop.body and header in blocks[label].terminator.get_targets():
                        self._mark_before.add(label)
                self._mark_after |= {
                    t for label in loop.body for t in blocks[label].terminator.get_targets() if t not in loop.body
                }
                continue
            self._back_edges |= {label for label in loop.body if header in blocks[label].terminator.get_targets()}

    def _counted_leaf(self, blocks, header, loop, loops) -> bool:
        if any(label in loops for label in loop.body if label != header):
            return False
        counted = False
        for label in loop.body:
            for s in blocks[label].body:
                if isinstance(s, (ir.Jump, ir.Branch, ir.Del)):
                    continue
                if isinstance(s, (ir.SetItem, ir.StaticSetItem)):
                    if not _plain_array(self.low.typeof(s.target.name)):
                        return False
                    continue
                if not isinstance(s, ir.Assign):
                    return False
                value = s.value
                if isinstance(value, ir.Expr):
                    if value.op == "iternext":
                        iterator = self.low.typeof(value.value.name)
                        counted = isinstance(iterator, (types.RangeIteratorType, types.ArrayIterator))
                    if not self._pure(value):
                        return False
                if not _plain_value(self.low.typeof(s.target.name)):
                    return False
        return counted

    def _pure(self, e: ir.Expr) -> bool:
        if e.op == "call":
            fn = self.low.typeof(e.func.name)
            if isinstance(fn, (types.NumberClass, types.Function)):
                key = getattr(fn, "typing_key", None)
                return isinstance(fn, types.NumberClass) or key in _PURE_CALLS or isinstance(key, np.ufunc)
            return False
        return e.op in _PURE_OPS

    # ---- emission

    def _field(self, b, offset):
        return b.add(asm_amd64.emit_getg(b), const(offset))

    def before_jump(self, label):
        b = self.low.builder
        if label in self._back_edges:
            self.poll()
        if label in self._mark_before:
            asm_amd64.emit_volatile_store(b, self._field(b, abi.G_ASYNCOK), 1)

    def at_block_start(self, label):
        if label in self._mark_after:
            b = self.low.builder
            asm_amd64.emit_volatile_store(b, self._field(b, abi.G_ASYNCOK), 0)

    def on_leave(self):
        """An error leaves the function, perhaps out of a counted leaf loop."""
        if self._mark_before:
            b = self.low.builder
            asm_amd64.emit_volatile_store(b, self._field(b, abi.G_ASYNCOK), 0)

    def poll(self):
        """Look at g.preempt; leave if the run has ended. PL3."""
        b = self.low.builder
        flag = b.inttoptr(self._field(b, abi.G_PREEMPT), i64.as_pointer())
        wanted = b.load_atomic(flag, "monotonic", 8)
        with b.if_then(cgutils.is_not_null(b, wanted), likely=False):
            ended = b.call(extern(b.module, "go.preempted", i64, []), [])
            with b.if_then(cgutils.is_not_null(b, ended)):
                self.low.call_conv.return_ended(b)

    def at_entry(self):
        """The stack check. Whether it is needed, and how big the frame is, is known only at the end: `at_end` fills it
        in."""
        low, b = self.low, self.low.builder
        self._needed, self._frame = lir.Constant(i1, 0), lir.Constant(i64, 0)
        lowest = b.sub(asm_amd64.emit_getsp(b), self._frame)
        guard = b.load(b.inttoptr(self._field(b, abi.G_STACKGUARD), i64.as_pointer()))
        short = b.and_(b.icmp_unsigned("<", lowest, guard), self._needed)
        with b.if_then(short, likely=False):
            what = b.call(extern(b.module, "go.morestack", i64, [i64]), [lowest])
            with b.if_then(b.icmp_signed("==", what, const(1))):
                low.call_conv.return_ended(b)
            with b.if_then(b.icmp_signed("==", what, const(2))):
                name = low.func_ir.func_id.func_name
                message = f"goroutine stack exceeds its {abi.stack_size()} bytes in {name} (GOPARK_STACK sets the size)"
                low.call_conv.return_user_exc(
                    b, StackOverflowError, (message,), loc=low.func_ir.loc, func_name=low.func_ir.func_id.func_name
                )

    def at_end(self):
        context = self.low.context
        types_in_frame = (i.type.pointee for i in self.low.entry_block.instructions if isinstance(i, lir.AllocaInstr))
        frame = sum(scalar_size(ty) or context.get_abi_sizeof(ty) for ty in types_in_frame)
        if self._recursive or frame >= BIG_FRAME:
            self._needed.constant = 1
        self._frame.constant = frame if frame >= BIG_FRAME else 0


def _plain_array(ty) -> bool:
    return isinstance(ty, types.Array) and isinstance(ty.dtype, (types.Number, types.Boolean))


def _plain_value(ty) -> bool:
    """Values that can be kept without a reference count: numbers, and the bookkeeping of loops."""
    if isinstance(ty, types.Pair):
        return _plain_value(ty.first_type) and _plain_value(ty.second_type)
    return _plain_array(ty) or isinstance(
        ty,
        (
            types.Number,
            types.Boolean,
            types.NoneType,
            types.RangeIteratorType,
            types.ArrayIterator,
            types.RangeType,
            types.Function,
            types.NumberClass,
            types.Module,
            types.Literal,
        ),
    )
