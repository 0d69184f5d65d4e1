"""The lint of the seam (prims.py, rule S3): what is atomic, a fence or a system call in the image comes from a
primitive.

Every unit of the runtime is lowered as for the image; the text of its module, before it is linked, is searched.
"""

from __future__ import annotations

import functools
import re

import pytest

from gopark import runtime
from gopark.compiler import asm_amd64, image
from gopark.compiler.numba_api import cpu_target, intrinsic, lir, types
from gopark.runtime.prims import fence, load
from gopark.runtime.runtime2 import sched

MARK = "!gopark.prim"
SEAMED = re.compile(
    r"""^\s*(%\S+\s*=\s*)?            # a result, or none
        (  (tail\ |musttail\ |notail\ )?call\b.*\basm\b.*"[^"]*\bsyscall\b[^"]*"
        |  cmpxchg\b | atomicrmw\b | fence\b | load\ atomic\b | store\ atomic\b )""",
    re.VERBOSE,
)

# Code of Numba itself may be added to a unit; what it does atomically touches nothing that is shared. None is needed
# today.
EXCEPTIONS: frozenset[str] = frozenset()


def violations(text: str) -> list[str]:
    """Instructions of the module that pass the seam by, as `function: instruction`."""
    found, function = [], ""
    for line in text.splitlines():
        if line.startswith("define "):
            function = re.search(r'@("[^"]+"|[^\s(]+)', line).group(1).strip('"')
        elif SEAMED.match(line) and MARK not in line and function not in EXCEPTIONS:
            found.append(f"{function}: {line.strip()}")
    return found


@functools.cache
def built(unit: str) -> str:
    """The LLVM IR of a unit, before it is linked with the others."""
    asm_amd64.initialize_llvm()
    image.runtime_context().refresh()
    cpu_target.typing_context.refresh()
    with image.global_compiler_lock:
        return image.UnitBuilder(unit).build().text


UNITS, _, _ = runtime.load_units()


@pytest.mark.parametrize("unit", UNITS)
def test_every_atomic_fence_and_system_call_of_the_image_is_a_primitive(unit):
    assert violations(built(unit)) == []


def test_the_units_contain_what_the_lint_looks_for():
    """A lint that finds nothing may be blind: these units are full of primitives."""
    kinds = {
        "gopark.runtime.os_linux": ["syscall"],
        "gopark.runtime.lock_futex": ["cmpxchg", "atomicrmw xchg", "load atomic", "store atomic"],
        "gopark.runtime.stack": ["fence seq_cst"],
        "gopark.runtime.proc": ["atomicrmw add"],
    }
    for unit, wanted in kinds.items():
        marked = [line for line in built(unit).splitlines() if SEAMED.match(line) and MARK in line]
        for kind in wanted:
            assert any(kind in line for line in marked), f"{unit}: no {kind}"


UNMARKED = """
define void @marked(ptr %p) {
  fence seq_cst, !gopark.prim !1
  %x = load atomic i64, ptr %p acquire, align 8, !gopark.prim !1
  %z = call i64 asm sideeffect "movq %rsp, $0", "=r"()
  ret void
}
define void @"go.bad"(ptr %p) {
  %a = load i64, ptr %p
  INSTRUCTION
  ret void
}
"""


@pytest.mark.parametrize(
    "instruction",
    [
        "fence seq_cst",
        "%x = load atomic i64, ptr %p acquire, align 8",
        "store atomic i64 0, ptr %p release, align 8",
        "%x = cmpxchg ptr %p, i64 0, i64 1 seq_cst seq_cst",
        "%x = atomicrmw add ptr %p, i64 1 seq_cst, align 8",
        '%x = call i64 asm sideeffect "syscall", "={rax},{rax}"(i64 60)',
        '%x = tail call i64 asm sideeffect "movq $1, %rdi; syscall", "={rax},{rax}"(i64 60), !dbg !7',
    ],
)
def test_the_lint_finds_an_instruction_without_its_mark(instruction):
    text = UNMARKED.replace("INSTRUCTION", instruction)
    assert violations(text) == [f"go.bad: {instruction}"]
    assert violations(UNMARKED.replace("INSTRUCTION", instruction + ", !gopark.prim !1")) == []


# ---- a unit that cheats


@intrinsic
def unmarked_fence(typingctx):
    """A fence past the seam."""

    def codegen(context, b, sig, args):
        b.fence("seq_cst")
        return context.get_dummy_value()

    return types.none(), codegen


@intrinsic
def unmarked_xchg(typingctx, p):
    """An exchange past the seam."""

    def codegen(context, b, sig, args):
        return b.atomic_rmw("xchg", b.bitcast(args[0], lir.IntType(64).as_pointer()), lir.IntType(64)(1), "seq_cst")

    return types.int64(p), codegen


@pytest.fixture
def cheat():
    """The functions of a unit made here; they leave the table of symbols afterwards."""
    before = dict(image.RuntimeFunction.BY_SYMBOL)

    @image.fn
    def lint_honest() -> int:
        fence()
        return load(sched, "npidle")

    @image.fn
    def lint_fence() -> int:
        unmarked_fence()
        return 0

    @image.fn
    def lint_xchg() -> int:
        return unmarked_xchg(sched)

    yield __name__
    image.RuntimeFunction.BY_SYMBOL.clear()
    image.RuntimeFunction.BY_SYMBOL.update(before)


def test_the_lint_finds_an_intrinsic_that_passes_the_seam_by(cheat):
    found = violations(built(cheat))
    assert len(found) == 2
    assert "lint_fence" in found[0] and "fence seq_cst" in found[0]
    assert "lint_xchg" in found[1] and "atomicrmw xchg" in found[1]
