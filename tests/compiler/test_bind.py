"""C functions on g0: the stack they run on, their arguments; BLAS is looked up before a goroutine calls it."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
from numba.core import types

import gopark as go
from gopark.compiler import abi, asm_amd64, externs
from gopark.compiler.numba_api import intrinsic
from gopark.runtime.runtime2 import G, M
from tests.compiler.programs import environment, private_cache, python

INTEGERS = tuple(range(101, 112))  # six of them are passed in registers
DOUBLES = tuple(n + 0.5 for n in range(10))  # eight of them

# Writes at its last argument, an address: the stack pointer at its entry, and all the others. Returns 7.
REPORT = """
.text
.globl {name}
.type {name}, @function
{name}:
  movq 64(%rsp), %rax
  movq %rsp, (%rax)
  movq %rdi, 8(%rax)
  movq %rsi, 16(%rax)
  movq %rdx, 24(%rax)
  movq %rcx, 32(%rax)
  movq %r8, 40(%rax)
  movq %r9, 48(%rax)
{integers}
{doubles}
{rest}
  movl $7, %eax
  retq
.size {name}, .-{name}
"""
# Writes to every page of so many bytes below its stack pointer.
DEEP = """
.text
.globl {name}
.type {name}, @function
{name}:
  movq %rsp, %rax
  movq %rsp, %rcx
  subq %rdi, %rcx
1: subq $4096, %rax
  movq %rdi, (%rax)
  cmpq %rcx, %rax
  ja 1b
  movq %rdi, %rax
  retq
.size {name}, .-{name}
"""


def assemble(source: str, name: str) -> None:
    copies = {
        "integers": "\n".join(f"  movq {8 + 8 * i}(%rsp), %r10\n  movq %r10, {56 + 8 * i}(%rax)" for i in range(5)),
        "doubles": "\n".join(f"  movsd %xmm{i}, {96 + 8 * i}(%rax)" for i in range(8)),
        "rest": "\n".join(f"  movq {48 + 8 * i}(%rsp), %r10\n  movq %r10, {160 + 8 * i}(%rax)" for i in range(2)),
    }
    asm_amd64._assemble(source.format(name=name, **copies), (name,))


@pytest.fixture(scope="module", autouse=True)
def functions():
    """The C functions of this file, classed."""
    with pytest.MonkeyPatch.context() as patch:
        for source, name, cls in (
            (REPORT, "gopark_test_on_g0", externs.Class.BIGSTACK),
            (REPORT, "gopark_test_on_g", externs.Class.LEAF),
            (DEEP, "gopark_test_deep", externs.Class.LONG),
        ):
            assemble(source, name)
            patch.setitem(externs.TABLE, name, externs.Entry(cls, "a test"))
        yield


@intrinsic
def this_g(typingctx):
    def codegen(context, b, sig, args):
        return asm_amd64.emit_getg(b)

    return types.int64(), codegen


_signature = types.int64(*[types.int64] * len(INTEGERS), *[types.float64] * len(DOUBLES), types.voidptr)
on_g0 = types.ExternalFunction("gopark_test_on_g0", _signature)
on_g = types.ExternalFunction("gopark_test_on_g", _signature)
deep = types.ExternalFunction("gopark_test_deep", types.int64(types.int64))


@go.func(cache=False)
def report_on_g0(out):
    return this_g(), on_g0(*INTEGERS, *DOUBLES, out.ctypes)


@go.func(cache=False)
def report_on_g(out):
    return this_g(), on_g(*INTEGERS, *DOUBLES, out.ctypes)


@go.func(cache=False)
def bound(out):
    go.lock_os_thread()
    return report_on_g0(out)


@go.func(cache=False)
def dive(n):
    return deep(n)


def field(struct, address, name):
    return ctypes.c_int64.from_address(address + struct.fields[name][0]).value


def stacks_of(g):
    """The address ranges of a goroutine's stack, and of the stack of the M on which it ran last."""
    g0 = field(M, field(G, g, "m"), "g0")
    return range(field(G, g, "stacklo"), g), range(field(G, g0, "stacklo"), g0)


@pytest.mark.parametrize(("function", "where"), [(report_on_g0, 1), (bound, 1), (report_on_g, 0)])
def test_which_stack_a_c_function_runs_on(function, where):
    """... by its class. The last one is the control."""
    out = np.zeros(1 + len(INTEGERS) + len(DOUBLES), np.int64)
    g, result = go.run(function, out)
    assert result == 7
    sp = int(out[0])
    assert [sp in stack for stack in stacks_of(g)] == [where == 0, where == 1]
    assert sp % 16 == 8, "C wants its frames aligned"
    assert tuple(out[1 : 1 + len(INTEGERS)]) == INTEGERS
    assert tuple(out[1 + len(INTEGERS) :].view(np.float64)) == DOUBLES
    assert field(G, g, "ccall") == 0


def test_there_is_room_on_g0():
    """More than a goroutine of this process has."""
    assert go.run(dive, 4 << 20) == 4 << 20 > abi.stack_size()


def test_no_function_is_bound_to_two_names():
    bound = [entry.bound for entry in externs.TABLE.values() if entry.bound]
    assert len(set(bound)) == len(bound)
    assert {(entry.cls is externs.Class.RUNTIME) == bool(entry.bound) for entry in externs.TABLE.values()} == {True}
    assert externs.bound_name("sin") == "sin"
    assert externs.bound_name("numba_xxdot") == "go.g0.numba_xxdot"
    assert externs.bound_name("go.g0.numba_xxdot") == "go.g0.numba_xxdot"


# ---- BLAS

PROGRAM = """
import ctypes, sys
import numpy as np
from numba import float64
import gopark as go
from gopark.compiler import linalg
from gopark.compiler.numba_api import llb

@go.func
def callee(a):
    return (a @ a)[0, 0]

@go.func
def main(a):
    u, s, v = np.linalg.svd(a)
    return s[0] + callee(a @ a)

main.compile((float64[:, ::1],))
for name in [name for name in sys.modules if name.startswith("scipy")]:
    sys.modules[name] = None
try:
    linalg.resolve("numba_xgesv")
    print("SciPy can still be imported")
except ImportError as e:
    print(e)
print(go.run(main, 2.0 * np.eye(3)), sum(main.stats.cache_hits.values()))
"""


def test_blas_is_looked_up_before_a_goroutine_calls_it(tmp_path):
    """When the function is compiled, and when it comes from the cache: nobody can import SciPy afterwards."""
    pytest.importorskip("scipy", reason="linear algebra needs SciPy")
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    env = private_cache(tmp_path / "cache")
    for hits in (0, 1):
        said = python(program, env).splitlines()
        assert said[0].startswith("numba_xgesv needs SciPy, which Numba cannot use: ")
        assert said[1] == f"18.0 {hits}"


def test_without_scipy_linear_algebra_is_refused(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import sys\n"
        "sys.modules['scipy'] = None\n"
        "import numpy as np\n"
        "import gopark as go\n"
        "@go.func(cache=False)\n"
        "def product(a):\n"
        "    return a @ a\n"
        "try:\n"
        "    go.run(product, np.eye(2))\n"
        "except Exception as e:\n"
        "    print(type(e).__name__, e)\n"
    )
    said = python(program, environment())
    assert said.startswith(("UnsupportedError ", "TypingError "))
    assert "product uses linear algebra (np.dot, @ or np.linalg), which Numba takes from SciPy" in said
    assert "pip install 'gopark[linalg]'" in said
    assert f"{program.name}" in said
