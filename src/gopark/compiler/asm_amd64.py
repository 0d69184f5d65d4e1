"""The text of the assembly: everything that neither Python nor LLVM's IR can say.

Stands for: src/runtime/asm_amd64.s at 41dbcc19ef09 (gogo, mcall, systemstack, mstart, the goroutine's entry).

Five pieces, all position independent:

* **getg** finds the current G from the stack pointer. Every stack is a slab of `GOPARK_STACK` bytes, aligned to its
  size, and G lies at the slab's top. So there is no thread-local variable, nothing to save at a switch, and the answer
  stays right when a goroutine moves to another thread. Tops of aligned slabs would all fall into one set of the
  first-level cache and into a few sets of the TLB, so the number of a slab gives its G two colours: the cache line it
  starts on, and the page.
* **gogo** switches stacks. It is inline assembly that declares every register clobbered, so LLVM saves just the values
  that live across the switch; a suspended context is two words at its saved stack pointer: [pc][rbp]. The jump that
  resumes it is indirect and therefore predicted per site, where a `ret` would always be mispredicted.
* **entry0** is the first frame of a goroutine. A fresh context is [entry0][g][start]: it pops the two arguments,
  clears rbp (the end of the chain of frame pointers) and calls.
* **g0 stubs** call a C function on the stack of the M, for C code that needs more stack than a goroutine has: Go's
  asmcgocall. There is one for each such function, with the function's own signature, so that compiled code calls
  `go.g0.dgemm` as it would call `dgemm` (compiler/bind.py).
* **asyncpreempt** and thread entry by signals are mechanisms of later landings and absent.

A function that calls `gogo` must treat everything it knew about its M as stale afterwards: the goroutine may come back
on another thread. `getg()` stays valid (a frame never changes its stack).
"""

from __future__ import annotations

import ctypes
import functools

from gopark.compiler import abi
from gopark.compiler.numba_api import const, i64, lir, llb, void

_ENTRY0 = r"""
.text
.globl go.entry0
.type go.entry0, @function
go.entry0:
  .cfi_startproc
  .cfi_undefined %rip
  popq %rdi
  popq %rax
  xorl %ebp, %ebp
  callq *%rax
  ud2
  .cfi_endproc
.size go.entry0, .-go.entry0
.globl go.sigreturn
.type go.sigreturn, @function
go.sigreturn:
  movq $15, %rax
  syscall
  ud2
.size go.sigreturn, .-go.sigreturn
"""

CLOBBERS = (
    [f"~{{{r}}}" for r in "rax rbx rcx rdx r8 r9 r10 r11 r12 r13 r14 r15".split()]
    + [f"~{{xmm{i}}}" for i in range(32)]
    + [f"~{{k{i}}}" for i in range(8)]
    + ["~{memory}", "~{dirflag}", "~{fpsr}", "~{flags}"]
)

# rdi and rsi are tied in and out: on the way back they hold another context's values. 128 skips the red zone.
_SWITCH = (
    "leaq -128(%rsp), %rsp\n\tpushq %rbp\n\tleaq 1f(%rip), %rax\n\tpushq %rax\n\tmovq %rsp, (%rdi)\n\t"
    "movq (%rsi), %rsp\n\tpopq %rax\n\tjmpq *%rax\n1:\n\tpopq %rbp\n\tleaq 128(%rsp), %rsp"
)


@functools.cache
def initialize_llvm() -> None:
    """Target, printer and assembly parser: needed before any code with inline assembly is compiled."""
    llb.initialize_native_target()
    llb.initialize_native_asmprinter()
    llb.initialize_native_asmparser()


# The slow path of the allocator under LLVM's convention preserve_most: it gives back every general register but rax and
# r11, so the fast path in the caller spills nothing.
_MALLOCSTUB = r"""
.text
.globl go.mallocstub
.type go.mallocstub, @function
go.mallocstub:
  pushq %rbp
  movq %rsp, %rbp
  pushq %rdi
  pushq %rsi
  pushq %rdx
  pushq %rcx
  pushq %r8
  pushq %r9
  pushq %r10
  subq $8, %rsp
  callq go.mallocslow
  addq $8, %rsp
  popq %r10
  popq %r9
  popq %r8
  popq %rcx
  popq %rdx
  popq %rsi
  popq %rdi
  popq %rbp
  retq
.size go.mallocstub, .-go.mallocstub
"""

# A C function on g0. While a goroutine runs, g0 is suspended in its loop: all below its saved stack pointer is free.
# And goroutine and M stay together until the function returns, as nothing on the way polls or switches. Registers that
# carry arguments are left alone (r10 and r11 carry none). What the caller put on the stack is copied: more words than
# any caller passes, and always memory of the slab, because the G lies above. Frame pointer and CFI lead from the C
# function back to the goroutine's frames. For the dump, the G says which function it is in and where its frames are.
_G0STUB = r"""
.text
.globl {stub}
.type {stub}, @function
{stub}:
  .cfi_startproc
  pushq %rbp
  .cfi_def_cfa_offset 16
  .cfi_offset %rbp, -16
  movq %rsp, %rbp
  .cfi_def_cfa_register %rbp
  movq %rsp, %r10
  orq ${slab_mask}, %r10
  movq %r10, %r11
  shrq ${colour_shift}, %r11
  andl ${colours}, %r11d
  subq %r11, %r10
  subq ${g_size} - 1, %r10
  pushq %r10
  movq %rbp, {g_sp}(%r10)
  leaq 1f(%rip), %r11
  movq %r11, {g_ccall}(%r10)
  movq {g_m}(%r10), %r10
  movq {m_g0}(%r10), %r10
  movq {g_sp}(%r10), %rsp
  andq $-16, %rsp
{copies}
  movabsq ${target}, %r11
  callq *%r11
  movq -8(%rbp), %r10
  movq $0, {g_ccall}(%r10)
  leaveq
  .cfi_def_cfa %rsp, 8
  retq
  .cfi_endproc
.size {stub}, .-{stub}
.section .rodata
1: .asciz "{symbol}"
"""
STACK_WORDS = 16  # that a g0 stub copies; an even number, because C wants the stack aligned

_engines = []  # code is never freed


@functools.cache
def load() -> None:
    """Assemble the routines that the image refers to."""
    _assemble(_ENTRY0, ("go.entry0", "go.sigreturn"))


@functools.cache
def load_stubs() -> None:
    """Assemble the routines that refer to the image."""
    _assemble(_MALLOCSTUB, ("go.mallocstub",))


def load_g0stub(stub: str, symbol: str, target: int) -> None:
    """Assemble and publish `stub`, which calls the C function `symbol` at address `target` on g0."""
    slab = abi.stack_size()
    source = _G0STUB.format(
        stub=stub,
        symbol=symbol,
        target=target,
        slab_mask=slab - 1,
        colour_shift=slab.bit_length() - 1 - 6,
        colours=colours(),
        g_size=abi.G_SIZE,
        g_sp=abi.G_SP,
        g_m=abi.G_M,
        g_ccall=abi.G_CCALL,
        m_g0=abi.M_G0,
        copies="\n".join(f"  pushq {16 + 8 * i}(%rbp)" for i in reversed(range(STACK_WORDS))),
    )
    _assemble(source, (stub,))


def _assemble(source: str, names: tuple[str, ...]) -> None:
    """Assemble routines and publish their symbols."""
    initialize_llvm()
    text = f'target triple = "{llb.get_process_triple()}"\n'
    lines = (line.replace('"', r"\22") for line in source.strip().splitlines())
    text += "".join(f'module asm "{line}"\n' for line in lines)
    for i, name in enumerate(names):
        text += f'declare void @"{name}"()\ndefine i64 @address{i}() {{ ret i64 ptrtoint (ptr @"{name}" to i64) }}\n'
    engine = llb.create_mcjit_compiler(
        llb.parse_assembly(text), llb.Target.from_triple(llb.get_process_triple()).create_target_machine(jit=True)
    )
    engine.finalize_object()
    _engines.append(engine)
    for i, name in enumerate(names):
        address = ctypes.CFUNCTYPE(ctypes.c_int64)(engine.get_function_address(f"address{i}"))()
        llb.add_symbol(name, address)


# ---- emitters: each appends to the builder's block and returns an i64 (or nothing)


def emit_getsp(b: lir.IRBuilder):
    return b.asm(lir.FunctionType(i64, []), "movq %rsp, $0", "=r", [], side_effect=False)


def colours() -> int:
    """Which bits of the address of a G its colours are: the low bits of the slab's number choose the cache line, those
    from the seventh on the page."""
    return (abi.G_LINES - 1) << 6 | (abi.g_pages() - 1) << 12


def emit_gof(b: lir.IRBuilder, address):
    """Address of the G of the slab that contains `address`."""
    slab = abi.stack_size()
    top = b.or_(address, const(slab - 1))
    colour = b.and_(b.lshr(top, const(slab.bit_length() - 1 - 6)), const(colours()))  # one shift for both
    return b.sub(b.add(top, const(1 - abi.G_SIZE)), colour)


def emit_getg(b: lir.IRBuilder):
    return emit_gof(b, emit_getsp(b))


def emit_gogo(b: lir.IRBuilder, leaving, to):
    """Save this context in `leaving` (its first word) and resume `to`."""
    ty = lir.FunctionType(lir.LiteralStructType([i64, i64]), [i64, i64])
    b.asm(ty, _SWITCH, "={rdi},={rsi},0,1," + ",".join(CLOBBERS), [leaving, to], side_effect=True)


def emit_syscall(b: lir.IRBuilder, arguments):
    """The raw system call: number and six arguments, returns the result or -errno. No errno, no thread-local state."""
    constraint = "={rax},{rax},{rdi},{rsi},{rdx},{r10},{r8},{r9},~{rcx},~{r11},~{memory}"
    return b.asm(lir.FunctionType(i64, [i64] * 7), "syscall", constraint, arguments, side_effect=True)


def emit_pause(b: lir.IRBuilder):
    b.asm(lir.FunctionType(void, []), "pause", "~{memory}", [], side_effect=True)


def emit_keepalive(b: lir.IRBuilder, value):
    """An empty instruction that reads `value`: until here it must exist somewhere the stack scan can see.

    LLVM may otherwise keep only an address derived from it (p - 8k, one past the end), which may point outside the
    object: the collector would free what is in use. It costs a register, no instruction.
    """
    b.asm(lir.FunctionType(void, [value.type]), "", "r", [value], side_effect=True)


def emit_volatile_store(b: lir.IRBuilder, address, value: int):
    """A store of a small constant that LLVM neither removes nor moves across other memory accesses."""
    b.asm(lir.FunctionType(void, [i64]), f"movq $${value}, ($0)", "r,~{memory}", [address], side_effect=True)
