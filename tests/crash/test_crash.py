"""Last words: what a process says that dies of a broken invariant or a wild access, and with which status.

Each test breaks something in a program of its own. `PROLOGUE` gives the programs raw access to memory, which go
functions do not have; a goroutine finds its G, its M and its P with it as the runtime does.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys

import pytest

from tests.compiler.programs import environment

PROLOGUE = """
import ctypes, faulthandler, os, sys, threading
import numpy as np
import gopark as go
from gopark.compiler import asm_amd64
from gopark.compiler.numba_api import i64, intrinsic, lir, types
from gopark.runtime.runtime2 import G, M, P, sched

@intrinsic
def peek(typingctx, address):
    def codegen(context, b, sig, args):
        return b.load(b.inttoptr(args[0], i64.as_pointer()))
    return types.int64(types.int64), codegen

@intrinsic
def poke(typingctx, address, value):
    def codegen(context, b, sig, args):
        b.store(args[1], b.inttoptr(args[0], i64.as_pointer()))
        return context.get_dummy_value()
    return types.none(types.int64, types.int64), codegen

@intrinsic
def this_g(typingctx):
    def codegen(context, b, sig, args):
        return asm_amd64.emit_getg(b)
    return types.int64(), codegen

@intrinsic
def execute(typingctx, address):
    def codegen(context, b, sig, args):
        b.call(b.inttoptr(args[0], lir.FunctionType(lir.VoidType(), []).as_pointer()), [])
        return context.get_dummy_value()
    return types.none(types.int64), codegen

G_M, G_STACKLO, G_ID = (G.fields[n][0] for n in ("m", "stacklo", "goid"))
M_P, M_G0 = (M.fields[n][0] for n in ("p", "g0"))
P_M, P_STATUS = (P.fields[n][0] for n in ("m", "status"))

@go.struct
class Node:
    value: int
    next: "Node"

@go.func(cache=False)
def fine(n):
    return n + 1

def word(address):
    return ctypes.c_int64.from_address(address)
"""


def last_words(program, status=2, **variables):
    """(standard output, standard error) of a program that must end with this exit status."""
    done = subprocess.run(
        [sys.executable, "-c", PROLOGUE + program],
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == status, f"status {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "survived" not in done.stdout
    return done.stdout, done.stderr


# ---- the write barrier's check

BARRIER = """
@go.func(cache=False)
def main(n):
    node = Node(n, None)
    m = peek(this_g() + G_M)
    p = peek(m + M_P)
    status = peek(p + P_STATUS)
    if n == 1:
        poke(m + M_P, 0)
    elif n == 2:
        poke(p + P_M, m + 64)
    elif n == 3:
        poke(p + P_STATUS, status + 1)
    node.next = node
    poke(m + M_P, p)
    poke(p + P_M, m)
    poke(p + P_STATUS, status)
    return node.next.value

print(go.run(main, 0), flush=True)
print(go.run(main, WHICH), "survived")
"""


@pytest.mark.parametrize(
    ("which", "words"),
    [
        (1, "fatal error: write barrier without a P, slot 0x"),
        (2, "fatal error: write barrier with a P that another M owns, slot 0x"),
        (3, "fatal error: write barrier with a P that is not running, slot 0x"),
    ],
)
def test_a_pointer_store_without_a_running_p_of_its_own(which, words):
    out, err = last_words(BARRIER.replace("WHICH", str(which)), GOPARKDEBUG="wbcheck=1")
    assert out == "0\n"
    assert err.startswith(words)
    assert re.match(re.escape(words) + "[0-9a-f]{16}\n", err)


@pytest.mark.parametrize("which", [1, 2, 3])
def test_without_the_check_the_same_programs_go_on(which):
    """The control: it is the check that finds them, and nothing else dies of what they do."""
    program = BARRIER.replace("WHICH", str(which)).replace('"survived"', '"and on"')
    assert last_words(program, status=0, GOPARKDEBUG="wbcheck=0") == (f"0\n{which} and on\n", "")


# ---- Ms and Ps in states that must not be


def test_a_p_that_is_not_idle_in_the_list_of_idle_ones():
    """acquirep refuses it: two Ms would own one P."""
    program = """
print(go.run(fine, 1), flush=True)
import time
time.sleep(0.3)  # all Ps are idle again
p = word(sched.address + sched.struct.fields["pidle"][0]).value
while p:
    word(p + P_STATUS).value = 7
    p = word(p + P.fields["link"][0]).value
go.run(fine, 1)
print("survived")
"""
    _, err = last_words(program)
    assert err.startswith("fatal error: acquirep: invalid state of the P\n")


def test_a_p_that_another_m_owns_in_the_list_of_idle_ones():
    program = """
print(go.run(fine, 1), flush=True)
import time
time.sleep(0.3)
p = word(sched.address + sched.struct.fields["pidle"][0]).value
while p:
    word(p + P_M).value = p
    p = word(p + P.fields["link"][0]).value
go.run(fine, 1)
print("survived")
"""
    _, err = last_words(program)
    assert err.startswith("fatal error: acquirep: invalid state of the P\n")


def test_an_m_that_lost_its_p_cannot_release_it():
    """A goroutine spoils the state of its P and parks: the M finds nothing to do and gives the P away."""
    program = """
@go.func(cache=False)
def main(n):
    p = peek(peek(this_g() + G_M) + M_P)
    poke(p + P_STATUS, 7)
    go.chan(int).recv()

go.run(main, 1)
print("survived")
"""
    _, err = last_words(program, GOMAXPROCS="1")
    assert err.startswith("fatal error: releasep: invalid state of the P\n")


# ---- wild accesses of goroutines

OVERFLOW = "fatal error: stack overflow: the guard page of a goroutine was hit, goroutine "
FAULT = "fatal error: unexpected memory fault on a goroutine, goroutine "


@pytest.mark.parametrize(
    ("what", "address"),
    [
        ("n += peek(16)", 16),
        ("poke(24, 1)", 24),
        ("execute(40)", 40),
    ],
)
def test_a_wild_access_of_a_goroutine(what, address):
    program = f"""
@go.func(cache=False)
def main(n):
    if n:
        {what}
    return n

print(go.run(main, 0), flush=True)
go.run(main, 1)
print("survived")
"""
    out, err = last_words(program)
    assert out == "0\n"
    assert re.match(re.escape(FAULT) + rf"\d+, address {address:#018x}, pc 0x[0-9a-f]{{16}}\n", err), err


def test_a_wild_access_of_a_spawned_goroutine_names_it():
    program = """
@go.func(cache=False)
def child(c):
    c.send(peek(this_g() + G_ID))
    poke(8, 1)

@go.func(cache=False)
def main(shown):
    c = go.chan(int)
    go.spawn(child, c)
    shown[0] = c.recv()
    go.chan(int).recv()

shown = np.zeros(1, np.int64)
reader = threading.Thread(target=lambda: go.run(main, shown))
reader.start()
reader.join()
print("survived")
"""
    _, err = last_words(program)
    goid = re.match(re.escape(FAULT) + r"(\d+), address 0x0000000000000008", err).group(1)
    assert int(goid) > 1


def test_the_guard_page():
    """What does not check its stack runs into the page below it."""
    program = """
@go.func(cache=False)
def main(below):
    poke(peek(this_g() + G_STACKLO) + below, 1)
    return below

print(go.run(main, 32 << 10), flush=True)  # above the guard: memory like any other
go.run(main, 4096)
print("survived")
"""
    out, err = last_words(program)
    assert out == f"{32 << 10}\n"
    assert re.match(re.escape(OVERFLOW) + r"\d+, address 0x[0-9a-f]{16}, pc 0x", err), err


def test_a_recursion_that_does_not_check_its_stack_hits_the_guard_page():
    """Native code without a check, called from a goroutine: the stack pointer itself is in the guard page."""
    program = """
from gopark.compiler.numba_api import llb
text = '''
define i64 @unchecked(i64 %n) noinline {
  %frame = alloca [128 x i64]
  store volatile i64 %n, ptr %frame
  %m = add i64 %n, 1
  %r = call i64 @unchecked(i64 %m)
  %v = load volatile i64, ptr %frame
  %s = add i64 %r, %v
  ret i64 %s
}
'''
asm_amd64.initialize_llvm()
module = llb.parse_assembly(f'target triple = "{llb.get_process_triple()}"' + text)
machine = llb.Target.from_triple(llb.get_process_triple()).create_target_machine(jit=True)
engine = llb.create_mcjit_compiler(module, machine)
engine.finalize_object()
address = engine.get_function_address("unchecked")

@go.func(cache=False)
def main(f):
    execute(f)
    return 1

go.run(main, address)
print("survived")
"""
    _, err = last_words(program)
    assert re.match(re.escape(OVERFLOW) + r"\d+, address", err), err


def test_a_bus_error_of_a_goroutine(tmp_path):
    """A page of a mapped file that lies behind the end of the file."""
    program = f"""
import mmap
with open({str(tmp_path / "short")!r}, "w+b") as f:
    f.truncate(8192)
    shared = mmap.mmap(f.fileno(), 8192)
    f.truncate(0)
address = ctypes.addressof(ctypes.c_char.from_buffer(shared))

@go.func(cache=False)
def main(address):
    return peek(address + 4096)

go.run(main, address)
print("survived")
"""
    _, err = last_words(program)
    assert err.startswith(FAULT)


def test_of_several_goroutines_that_fault_one_speaks():
    program = """
@go.func(cache=False)
def child(n, start):
    start.wait()
    poke(8 + 8 * n, 1)

@go.func(cache=False)
def main(count):
    start = go.WaitGroup()
    start.add(1)
    for n in range(count):
        go.spawn(child, n, start)
    for _ in range(10):
        go.gosched()
    start.done()
    go.chan(int).recv()

go.run(main, 16)
print("survived")
"""
    for _ in range(5):
        _, err = last_words(program)
        assert err.count("fatal error:") == 1 and err.startswith(FAULT), err


# ---- faults that are not ours


@pytest.mark.parametrize("boot", ["", "go.run(fine, 1)"])
@pytest.mark.parametrize("order", ["enabled before", "enabled after"])
def test_a_wild_access_of_python_gives_faulthandlers_dump(boot, order):
    """ctypes.string_at(0), with gopark booted or not: Python's own dump, and the signal as the cause of death."""
    steps = ["faulthandler.enable()", boot] if order == "enabled before" else [boot, "faulthandler.enable()"]
    program = "\n".join([*steps, "print('still here', flush=True)", "ctypes.string_at(0)", "print('survived')"])
    out, err = last_words(program, status=-signal.SIGSEGV)
    assert out == "still here\n"
    assert "Fatal Python error: Segmentation fault" in err
    assert "string_at" in err
    assert "goroutine" not in err and "fatal error:" not in err


def test_a_wild_access_of_python_without_faulthandler_is_a_plain_segmentation_fault():
    out, err = last_words("print(go.run(fine, 1), flush=True); ctypes.string_at(0)", status=-signal.SIGSEGV)
    assert (out, err) == ("2\n", "")


def test_a_fault_of_a_goroutine_with_faulthandler_enabled_before_boot():
    """Boot comes last, so the fault is ours: our words, our status."""
    program = """
@go.func(cache=False)
def main(n):
    return peek(16)

faulthandler.enable()
go.run(main, 1)
print("survived")
"""
    _, err = last_words(program)
    assert err.startswith(FAULT)


def test_a_handler_that_was_installed_before_boot_still_gets_pythons_faults():
    """The chain behind ours: what was there is put back, and the instruction meets it."""
    program = """
faulthandler.enable(file=sys.stdout)
go.run(fine, 1)
ctypes.string_at(0)
"""
    out, _ = last_words(program, status=-signal.SIGSEGV)
    assert "Fatal Python error: Segmentation fault" in out


def test_a_python_exception_that_ends_the_program_is_not_a_throw():
    """The control: status 1 and a traceback, as for any Python program."""
    program = """
@go.func(cache=False)
def main(n):
    return 1 // n

go.run(main, 0)
"""
    _, err = last_words(program, status=1)
    assert err.splitlines()[-1].startswith("ZeroDivisionError") and "fatal error" not in err
