"""The dump: what a dying process shows of its goroutines, on a throw, on a fault and on SIGQUIT.

The programs are files of their own, so that the lines in a dump can be compared with their source. A comment `# name`
behind a statement marks its line.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from gopark.compiler import funcinfo, vetting, wbcheck
from gopark.runtime import load_units
from tests.compiler.programs import environment

PROLOGUE = """
import ctypes, os, signal, sys, threading, time
import numpy as np
import gopark as go
from gopark.bridge import boot
from gopark.compiler.numba_api import llb
from gopark.runtime.runtime2 import G, M, P, Sched, sched

signal.signal(signal.SIGQUIT, signal.SIG_DFL)  # a shell's background job inherits that it is ignored

def word(address):
    return ctypes.c_int64.from_address(address)

@go.func
def inner(c):
    return c.recv() + 1  # receives

@go.func
def outer(c, depth):
    if depth == 0:
        return inner(c)  # calls inner
    return outer(c, depth - 1)  # recurses

@go.func
def chooser(c):
    go.select(a=go.recv(c), b=go.send(c, 1))  # selects

@go.func
def bound(c):
    go.lock_os_thread()
    c.send(1)  # sends

@go.func
def yielder():
    while True:
        go.gosched()

@go.func
def spinner(stop):
    n = 0
    while stop[0] == 0:
        n += 1
    return n
"""


class Program:
    """A program in a file: its lines by mark, and what it says when it dies."""

    def __init__(self, directory, text):
        self.file = directory / "program.py"
        self.text = PROLOGUE + textwrap.dedent(text)
        self.file.write_text(self.text)

    def at(self, mark: str) -> str:
        """file:line of the statement with that mark."""
        (line,) = [i for i, text in enumerate(self.text.splitlines(), 1) if text.endswith(f"# {mark}")]
        return f"{self.file}:{line}"

    def dies(self, status=2, **variables) -> str:
        done = subprocess.run(
            [sys.executable, self.file], env=environment(**variables), capture_output=True, text=True, timeout=100
        )
        assert done.returncode == status, f"status {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "survived" not in done.stdout
        return done.stderr


def goroutines(said: str) -> dict[str, list[str]]:
    """The stacks of a dump: header -> its lines."""
    parts = said.split("\n\n")
    return {part.splitlines()[0]: part.splitlines()[1:] for part in parts if re.match(r"goroutine \d+ \[", part)}


def stack_of(said: str, state: str) -> list[str]:
    """The lines of the one goroutine in that state, without distances from the start of the code."""
    (lines,) = [lines for header, lines in goroutines(said).items() if f"[{state}]" in header]
    return [re.sub(r" \+0x[0-9a-f]+$", "", line).strip() for line in lines]


SCENES = """
@go.func
def main(stop):
    c, never = go.chan(int), go.chan(int)
    go.spawn(outer, c, 2)  # starts outer
    go.spawn(chooser, never)  # starts chooser
    go.spawn(bound, go.chan(int))  # starts bound
    if len(stop) == 2:
        go.spawn(spinner, stop)  # starts spinner
    else:
        go.spawn(yielder)  # or this would be a deadlock
    for _ in range(20):
        go.gosched()
    stop[-1] = 7
    wg = go.WaitGroup()
    wg.add(1)
    wg.wait()  # waits

def quit(stop):
    while stop[-1] != 7:
        time.sleep(0.01)
    time.sleep(0.1)
    os.kill(os.getpid(), signal.SIGQUIT)

stop = np.zeros(SIZE, np.int64)
threading.Thread(target=quit, args=(stop,), daemon=True).start()
go.run(main, stop)
print("survived")
"""


def test_sigquit_shows_every_goroutine_with_its_lines(tmp_path):
    """As in Go: the message, the stacks with calls that were inlined, who started whom, status 2."""
    program = Program(tmp_path, SCENES.replace("SIZE", "1"))
    said = program.dies(GOMAXPROCS="2")
    assert re.match(r"SIGQUIT: quit\nPC=0x[0-9a-f]{16}\n", said), said
    assert stack_of(said, "chan receive") == [
        "__main__.inner(...)",
        program.at("receives"),
        "__main__.outer(...)",
        program.at("calls inner"),
        "__main__.outer(...)",
        program.at("recurses"),
        "__main__.outer(...)",
        program.at("recurses"),
        "created by __main__.main in goroutine 1",
        program.at("starts outer"),
    ]
    assert stack_of(said, "select") == [
        "__main__.chooser(...)",
        program.at("selects"),
        "created by __main__.main in goroutine 1",
        program.at("starts chooser"),
    ]
    assert stack_of(said, "chan send, locked to thread")[:2] == ["__main__.bound(...)", program.at("sends")]
    assert stack_of(said, "sync.WaitGroup.Wait") == ["__main__.main(...)", program.at("waits")]


@pytest.mark.parametrize("procs", ["1", "2"])
def test_sigquit_while_goroutines_compute(tmp_path, procs):
    """Those that run on other threads have no saved context, and are named; the others are shown."""
    program = Program(tmp_path, SCENES.replace("SIZE", "2"))
    said = program.dies(GOMAXPROCS=procs)
    running = stack_of(said, "running")
    assert running[0] == "goroutine running on other thread; stack unavailable"
    assert running[-1] == program.at("starts spinner")
    assert stack_of(said, "select")[1] == program.at("selects")


def test_sigquit_between_runs(tmp_path):
    """No goroutine, no run; the signal meets Python itself."""
    program = Program(
        tmp_path, "go.run(go.func(lambda: 1)); time.sleep(0.5); os.kill(os.getpid(), signal.SIGQUIT); print('survived')"
    )
    said = program.dies()
    assert said.startswith("SIGQUIT: quit\n")
    assert goroutines(said) == {}


@pytest.mark.parametrize("before", [True, False])
def test_a_handler_of_python_keeps_sigquit(tmp_path, before):
    """One that was there at boot, and one that comes later."""
    handler = "signal.signal(signal.SIGQUIT, lambda *_: print('python has it', flush=True))\n"
    boot = "boot.boot()\n"
    lines = (handler + boot if before else boot + handler) + "os.kill(os.getpid(), signal.SIGQUIT)\ntime.sleep(0.01)\n"
    assert Program(tmp_path, lines).dies(status=0) == ""


def test_without_a_runtime_sigquit_does_what_it_always_did(tmp_path):
    """Nothing happens at import."""
    assert Program(tmp_path, "os.kill(os.getpid(), signal.SIGQUIT)").dies(status=-signal.SIGQUIT) == ""


THROW = """
@go.func
def sleeper(c):
    c.recv()  # sleeps

@go.func
def main(n):
    c = go.chan(int)
    for _ in range(n):
        go.spawn(sleeper, c)  # starts sleepers
    for _ in range(3):
        go.gosched()
    spoil()  # is about to throw
    go.gosched()
    return n

@go.func
def spoil():
    breakit()

from gopark.compiler import asm_amd64, lower
from gopark.compiler.numba_api import const, i8p, i64, intrinsic, types

@intrinsic
def breakit(typingctx):
    def codegen(context, b, sig, args):
        text = lower.cgutils.global_constant(b.module, "text", lower.cgutils.make_bytearray(b"spoiled"))
        lower.call_runtime(context, b, "go.throwmsg", i8p, [b.ptrtoint(text, i64), const(7)])
        return context.get_dummy_value()
    return types.none(), codegen

go.run(main, COUNT)
print("survived")
"""


@pytest.mark.parametrize("procs", ["1", "2"])
def test_a_throw_shows_its_own_goroutine_first(tmp_path, procs):
    program = Program(tmp_path, THROW.replace("COUNT", "2"))
    said = program.dies(GOMAXPROCS=procs)
    assert said.startswith("fatal error: spoiled\n\ngoroutine 1 [running]:\n"), said
    assert said.count("fatal error") == 1
    first = [line.strip() for line in said.split("\n\n")[1].splitlines()[1:]]
    assert any(line.startswith(program.at("is about to throw")) for line in first), first
    assert "__main__.main(...)" in first
    sleeping = [lines for header, lines in goroutines(said).items() if "chan receive" in header]
    assert len(sleeping) == 2
    assert all(lines[1].strip().startswith(program.at("sleeps")) for lines in sleeping)
    assert all(lines[-1].strip() == program.at("starts sleepers") for lines in sleeping)


def test_a_dump_has_a_hundred_goroutines_and_the_number_of_the_others(tmp_path):
    said = Program(tmp_path, THROW.replace("COUNT", "250")).dies()
    shown = goroutines(said)
    assert len(shown) == 101, "the one that throws, and the hundred oldest"
    ids = [int(re.match(r"goroutine (\d+)", header).group(1)) for header in shown]
    assert ids == sorted(ids)
    assert said.rstrip().endswith("... and 150 more goroutines")


@pytest.mark.parametrize(("level", "shown", "runtime"), [("none", 0, False), ("all", 3, False), ("system", 3, True)])
def test_gotraceback(tmp_path, level, shown, runtime):
    said = Program(tmp_path, THROW.replace("COUNT", "2")).dies(GOTRACEBACK=level)
    assert len(goroutines(said)) == shown
    assert ("go.gopark(...)" in said) == runtime


def test_gotraceback_of_another_name_is_refused(tmp_path):
    said = Program(tmp_path, "go.run(go.func(lambda: 1)); print('survived')").dies(status=1, GOTRACEBACK="much")
    assert "BootError: GOTRACEBACK='much': one of none, single, all, system is wanted" in said


FROM_PYTHON = """
state = boot.boot()
message = b"told by Python"
buffer = ctypes.create_string_buffer(message)

def throw():
    ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64)(state.image.address["go.throwmsg"])(
        ctypes.addressof(buffer), len(message))

@go.func
def start():
    go.spawn(yielder)  # or this would be a deadlock
    outer(go.chan(int), 0)

threading.Thread(target=lambda: go.run(start), daemon=True).start()
while go.num_goroutine() < 2:  # it is being compiled
    time.sleep(0.01)
time.sleep(0.5)
threads = [threading.Thread(target=throw) for _ in range(COUNT)]
for t in threads: t.start()
for t in threads: t.join()
print("survived")
"""


@pytest.mark.parametrize("count", [1, 8])
def test_a_throw_on_threads_of_python(tmp_path, count):
    """One message, however many throw at once; no stack of a goroutine is theirs."""
    program = Program(tmp_path, FROM_PYTHON.replace("COUNT", str(count)))
    start = time.monotonic()
    said = program.dies()
    assert time.monotonic() - start < 60
    assert said.startswith("fatal error: told by Python\n")
    assert said.count("fatal error") == 1
    assert stack_of(said, "chan receive")[:2] == ["__main__.inner(...)", program.at("receives")]


SPOILT = """
@go.func
def main(shown):
    c = go.chan(int)
    go.spawn(outer, c, 1)
    go.gosched()
    go.gosched()
    shown[0] = 1
    while shown[0] == 1:
        go.gosched()

shown = np.zeros(1, np.int64)
threading.Thread(target=lambda: go.run(main, shown), daemon=True).start()
while shown[0] == 0:
    time.sleep(0.01)
from gopark.bridge import report
(parked,) = [g for g in report.goroutines() if report.read(G, g, "atomicstatus") == 4]
sp = report.read(G, parked, "sp")
HOW
os.kill(os.getpid(), signal.SIGQUIT)
time.sleep(20)
print("survived")
"""


@pytest.mark.parametrize(
    "how",
    [
        "word(sp + 8).value = 0x123456789abcdef0",  # not an address at all
        "word(sp + 8).value = sp - 4096",  # below the stack
        "word(sp).value = 0x10",  # no code
        "word(sp + 8).value = sp + 4",  # not aligned
        "word(word(sp + 8).value).value = word(sp + 8).value",  # a frame that is its own caller
        "word(sp + 8).value = parked - 8",  # the last word of the stack
    ],
)
def test_a_spoilt_stack_ends_its_own_walk_only(tmp_path, how):
    """The dump goes on, and the process ends as it should."""
    said = Program(tmp_path, SPOILT.replace("HOW", how)).dies(GOMAXPROCS="1")
    assert said.startswith("SIGQUIT: quit\n")
    assert len(goroutines(said)) == 2


def test_a_fault_of_the_dump_ends_the_process_with_what_was_printed(tmp_path):
    """The saved stack pointer leads nowhere: the thread that prints faults, and says so."""
    how = "report.words; word(parked + G.fields['sp'][0]).value = 64"
    said = Program(tmp_path, SPOILT.replace("HOW", how)).dies(GOMAXPROCS="1")
    assert said.startswith("SIGQUIT: quit\n")
    assert said.endswith("fatal error: printing the above failed\n")


# ---- the path of a throw

ROOTS = ("go.throwmsg", "go.throwwb", "go.statusescaped", "go.auditfailed", "go.sigquit", "go.sighandler")
FORBIDDEN = {"go.lock", "go.lock2", "go.spinlock", "go.spinlock2", "go.mallocgc", "go.newobject", "go.persistentalloc"}


@pytest.fixture(scope="module")
def infos():
    units, _, _ = load_units()
    return vetting.sketch(units)


def reached(infos, root: str) -> dict[str, funcinfo.FuncInfo]:
    """All functions that may be called from there."""
    found, todo = {}, [root]
    while todo:
        symbol = todo.pop()
        if symbol in found or symbol not in infos:
            continue
        found[symbol] = infos[symbol]
        todo += [event.name for event in infos[symbol].events() if event.kind == funcinfo.CALL]
    return found


@pytest.mark.parametrize("root", ROOTS)
def test_a_throw_has_no_barrier_no_lock_and_no_allocation(infos, root):
    """T2, SG1: of everything that it may call, nothing stores a pointer, takes a lock, or allocates."""
    functions = reached(infos, root)
    assert {"go.tracebackothers", "go.funcframes", "go.write"} <= set(functions), "the walk follows calls"
    assert not FORBIDDEN & set(functions)
    kinds = {event.kind for info in functions.values() for event in info.events()}
    assert not kinds & {funcinfo.BARRIER, funcinfo.ALLOC}
    assert not wbcheck.check(functions, {root: wbcheck.State.NONE}).violations


def test_the_walk_would_find_a_lock(infos):
    """The control: a function that locks and allocates."""
    assert FORBIDDEN & set(reached(infos, "go.makechan"))
