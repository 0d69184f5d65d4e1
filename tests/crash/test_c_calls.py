"""Last words from C: a fault in a C function on g0, SIGQUIT meanwhile, and Numba's own ways to end the process."""

from __future__ import annotations

import re

import pytest

from tests.crash.test_crash import last_words
from tests.crash.test_dump import Program, stack_of

ASSEMBLED = """
from gopark.compiler import asm_amd64, externs
from gopark.compiler.numba_api import types
asm_amd64._assemble('''
.text
.globl in_c
.type in_c, @function
in_c:
  xorl %ebp, %ebp
  INSTRUCTIONS
.size in_c, .-in_c
''', ("in_c",))
externs.TABLE["in_c"] = externs.Entry(externs.Class.BIGSTACK, "a test")
in_c = types.ExternalFunction("in_c", types.int64(types.int64))

@go.func(cache=False)
def calls(n):
    return in_c(n) + 1  # calls C

@go.func(cache=False)
def main(n):
    return calls(n) + 1  # calls
"""


def test_a_fault_in_c_names_the_function_and_who_called_it(tmp_path):
    text = ASSEMBLED.replace("INSTRUCTIONS", "movq %rdi, 8") + "go.run(main, 1)\nprint('survived')\n"
    program = Program(tmp_path, text)
    said = program.dies()
    words = r"fatal error: unexpected memory fault in the C function in_c, called by goroutine 1, address 0x0*8, pc 0x"
    assert re.match(words, said), said
    frames = ["__main__.calls(...)", program.at("calls C"), "__main__.main(...)", program.at("calls")]
    assert stack_of(said, "running in_c") == frames


def test_sigquit_shows_who_is_in_c(tmp_path):
    quit = """
def quit():
    time.sleep(1)
    os.kill(os.getpid(), signal.SIGQUIT)

threading.Thread(target=quit, daemon=True).start()
go.run(main, 1)
print("survived")
"""
    program = Program(tmp_path, ASSEMBLED.replace("INSTRUCTIONS", "jmp .") + quit)
    said = program.dies()
    assert said.startswith("SIGQUIT: quit\n"), said
    frames = ["__main__.calls(...)", program.at("calls C"), "__main__.main(...)", program.at("calls")]
    assert stack_of(said, "running in_c") == frames


NUMBA_GIVES_UP = """
from numba.np.linalg import check_blas_return
fatal = types.ExternalFunction("numba_fatal_error", types.intc())

@intrinsic
def blas_failed(typingctx, status):
    def codegen(context, b, sig, args):
        check_blas_return(context, b, args[0])
        return context.get_dummy_value()
    return types.none(types.int64), codegen

@go.func(cache=False)
def main(n):
    if n == 1:
        blas_failed(n)
    elif n == 2:
        fatal()
    return n

print(go.run(main, 0), flush=True)
print(go.run(main, WHICH), "survived")
"""


@pytest.mark.parametrize(
    ("which", "words"),
    [
        (1, "fatal error: BLAS wrapper returned with an error\n"),
        (2, "fatal error: LAPACK refused its arguments, or found no memory to work in\n"),
    ],
)
def test_what_numba_ends_the_process_with_is_a_throw(which, words):
    """The GIL is not asked for: another Python thread would have to give it up first."""
    out, err = last_words(NUMBA_GIVES_UP.replace("WHICH", str(which)))
    assert out == "0\n"
    assert err.startswith(words)
    assert "goroutine 2 [running]:" in err
    assert "__main__.main(...)" in err
    assert "Fatal Python error" not in err
