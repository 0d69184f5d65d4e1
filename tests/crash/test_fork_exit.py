"""The process's borders: forked children, the end of the interpreter, and what a child process inherits."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.compiler.programs import environment

PROLOGUE = """
import atexit, gc, multiprocessing, os, subprocess, sys, threading, time
import gopark as go

@go.struct
class Node:
    value: int
    next: "Node"
    mu: go.Mutex

@go.func
def square(n):
    return n * n

@go.func
def endless(ch):
    ch.send(1)
    while True:
        go.gosched()

@go.func
def loops(ch):
    ch.send(1)
    x = 0
    while x >= 0:
        x = (x + 1) & 0xFFFF

@go.func
def parked(ch, other):
    ch.send(1)
    return other.recv()

"""


def run(program: str, **variables) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", PROLOGUE + program],
        env=environment(**{name: str(value) for name, value in variables.items()}),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def clean(done: subprocess.CompletedProcess) -> str:
    """What a program printed that ended well."""
    assert (done.returncode, done.stderr) == (0, ""), f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_every_entry_of_a_forked_child_says_what_to_do():
    program = """
node, ch = Node(1, Node(2)), go.chan(int, 1)
assert go.run(square, 3) == 9 and go.submit(square, 4).result() == 16
ENTRIES = [
    lambda: go.run(square, 3), lambda: square(3), lambda: go.submit(square, 3), lambda: square.compile((go.chan,)),
    lambda: Node(1), lambda: go.chan(int), lambda: ch.send(1), lambda: ch.recv(), lambda: ch.try_recv(),
    lambda: len(ch), lambda: ch.close(), lambda: node.value, lambda: node.next, lambda: setattr(node, "value", 3),
    lambda: setattr(node, "next", None), lambda: node.mu.lock(), lambda: go.gomaxprocs(), lambda: go.num_goroutine(),
    lambda: go.mem_stats(),
]
pid = os.fork()
if pid == 0:
    for i, entry in enumerate(ENTRIES):
        try:
            entry()
        except go.BootError as e:
            assert "spawn" in str(e) and "fork" in str(e)
        else:
            os.write(2, f"entry {i} went through\\n".encode())
    assert "forked" in repr(node) and "forked" in repr(ch)
    del node, ch, ENTRIES
    gc.collect()
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
assert go.run(square, 5) == 25 and node.next.value == 2
"""
    clean(run(program))


def test_pools_of_processes():
    program = """
if __name__ == "__main__":
    assert square(2) == 4
    with multiprocessing.get_context("fork").Pool(2) as pool:
        try:
            pool.apply(go.num_goroutine)
        except go.BootError as e:
            print(e)
"""
    assert "multiprocessing's 'spawn'" in clean(run(program))


ENDINGS = {
    "submitted": "ch = go.chan(int); go.submit(endless, ch); ch.recv()",
    "in a loop": "ch = go.chan(int); go.submit(loops, ch); ch.recv()",
    "parked": "ch, other = go.chan(int), go.chan(int); go.submit(parked, ch, other); ch.recv()",
    "a daemon in go.run": "ch = go.chan(int); threading.Thread(target=go.run, args=(loops, ch), daemon=True).start(); "
    "ch.recv()",
    "a daemon in a channel": "ch = go.chan(int); threading.Thread(target=ch.recv, daemon=True).start(); "
    "time.sleep(0.1)",
    "sys.exit": "ch = go.chan(int); go.submit(endless, ch); ch.recv(); sys.exit(0)",
    "atexit": "ch = go.chan(int); go.submit(endless, ch); ch.recv(); "
    "atexit.register(lambda: sys.stdout.write(str(go.run(square, 4))))",
    "handles in a cycle": "node = Node(1); node.next = node; cell = [node]; cell.append(cell); del node, cell",
    "many futures": "futures = [go.submit(square, i) for i in range(1000)]",
}


@pytest.mark.parametrize("procs", [1, 3])
@pytest.mark.parametrize("ending", list(ENDINGS))
def test_the_interpreter_ends_while_goroutines_run(ending, procs):
    printed = clean(run(ENDINGS[ending], GOMAXPROCS=procs))
    assert printed == ("16" if ending == "atexit" else "")


def test_children_of_the_process_have_a_normal_signal_mask():
    """Threads of goroutines block nearly all signals; a child process would inherit that from the thread that starts
    it."""
    program = """
def masks(where):
    code = "print([l.split()[1] for l in open('/proc/self/status') if l.startswith(('SigBlk', 'SigIgn'))])"
    for _ in range(5):
        found.append(subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True).stdout)

found = []
masks("before")
ch = go.chan(int)
futures = [go.submit(loops, ch) for _ in range(3)]
for _ in futures:
    ch.recv()
masks("beside")
thread = threading.Thread(target=masks, args=("on a thread",))
thread.start()
thread.join()
done = threading.Event()
go.submit(square, 3).add_done_callback(lambda f: (masks("in a callback"), done.set()))
done.wait()
assert len(set(found)) == 1 and len(found) == 20, set(found)
"""
    clean(run(program, GOMAXPROCS=3))
