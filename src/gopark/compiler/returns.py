"""Copies of the end of a function, joined again.

From version 3.12 on CPython copies a short end of a function, such as `return node.value`, into each branch that leads
to it. The branches then never meet, and in

    node = Node(1) if n else None
    return node.value

one copy reads `value` of a variable that is nothing but None there, which has no type. With one end, `node` is a `Node`
that may be None. So before Numba looks at the bytecode, each copy is replaced by a jump to the last one.

Two pieces of bytecode are copies of one another if they have the same instructions from the same columns of the same
lines, go to the same handler when they fail, and end by leaving the function. Only pieces without jumps are looked at;
CPython copies no others.
"""

from __future__ import annotations

import dis

from gopark.compiler.numba_api import LABEL_SHIFT, register_pass, untyped_passes

_ENDS = ("RETURN_VALUE", "RETURN_CONST", "RAISE_VARARGS")


@register_pass(mutates_CFG=True, analysis_only=False)
class JoinReturns(untyped_passes.TranslateByteCode):
    """Numba's translation of bytecode, after `join_returns`."""

    _name = "gopark_translate_bytecode"

    def run_pass(self, state):
        join_returns(state.bc, state.func_id.code)
        return super().run_pass(state)


def join_returns(bytecode, code) -> None:
    """Replace all copies of an end but the last by jumps to that. bytecode: Numba's, of the code object `code`."""
    instructions = [i for i in bytecode if i.opname != "CACHE"]
    positions = list(code.co_positions())

    def identity(i):
        handler = bytecode.find_exception_entry(i.offset)
        where = positions[(i.offset - LABEL_SHIFT) // 2] if i.offset >= LABEL_SHIFT else None
        return i.opcode, i.arg, where, handler and (handler.target, handler.depth, handler.lasti)

    identities = [identity(i) for i in instructions]
    last = {}
    for at in reversed(range(len(instructions))):
        if instructions[at].opname in _ENDS:
            kept = last.setdefault(identities[at], at)
            length = _common_length(instructions, identities, at, kept)
            if length > 1:  # a return of what is on the stack already is as good as a jump
                _jump(bytecode, instructions[at - length + 1], instructions[kept - length + 1])


def _common_length(instructions, identities, at: int, kept: int) -> int:
    """How many instructions up to `at` and up to `kept`, which comes later, are the same; 0 if they are one piece."""
    length = 0
    while 0 <= at - length and kept - length > at and identities[at - length] == identities[kept - length]:
        if length and (instructions[at - length].is_jump or instructions[at - length].is_terminator):
            break
        length += 1
    return length


def _jump(bytecode, source, target) -> None:
    """Make the instruction `source` a jump to `target`, which comes later."""
    source.opcode, source.opname = dis.opmap["JUMP_FORWARD"], "JUMP_FORWARD"
    source.arg = (target.offset - source.next) // 2
    if target.offset not in bytecode.labels:
        bytecode.labels = sorted([*bytecode.labels, target.offset])
