"""Random programs of nested try, except, else, finally, raise, loops and calls, against Python.

Each program is run by CPython and as a goroutine. Compared are its value or its exception (type and arguments), what it
did on the way (a log of events), and that nothing leaked. Seeds are fixed: program n is the same program for ever.
"""

from __future__ import annotations

import contextlib
import linecache
import random
from types import FunctionType

import numpy as np
import pytest
from numba.core.errors import NumbaError, UnsupportedBytecodeError
from numba.core.runtime import _nrt_python, rtsys

import gopark as go

ROOM = 4000  # events of a log
INPUTS = range(10)


@go.func
def mark(log, event):
    if log[0] < len(log) - 2:
        log[0] += 1
        log[log[0]] = event


@go.func
def risk(log, k, at):
    """Fails for about a third of its arguments, in four ways."""
    mark(log, 1000 + at)
    kind = (k * 7 + at) % 11
    if kind == 0:
        raise ValueError("risk", k)
    if kind == 1:
        raise KeyError("text " + str(at))
    if kind == 2:
        return at // (kind - 2)
    if kind == 3:
        return int(np.ones(3)[kind + at])
    return kind


@go.func
def fresh(a, k, log):
    b = a + 1.0
    b[0] += risk(log, k, 5)
    return b


@go.func
def longer(text, k):
    return text + str(k % 7)


@go.func
def renewed(a):
    b = a[1:]
    return np.ones(3) if b[0] > 9.0 else np.append(b, 1.0)


HELPERS = (mark, risk, fresh, longer, renewed)


def plain_helpers():
    """The helpers as functions of plain Python."""
    scope = {"np": np}
    for f in HELPERS:
        scope[f.__name__] = FunctionType(f.py_func.__code__, scope, f.__name__)
    return scope


class Program:
    """The source of one random program: `main(log, k)` and what it calls."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.events = 0
        self.source = self.function("inner", []) + self.function("main", ["inner"])

    def function(self, name, callees):
        self.callees, self.size = callees, 0
        body = self.block(0, False, False)
        head = f"\n\n@func\ndef {name}(log, k):\n    r = k\n    a = np.ones(3)\n    t = 'text'\n"
        return head + "".join(f"    {line}\n" for line in body) + "    return r + int(a[0]) + len(t)\n"

    def block(self, depth, loop, handler):
        lines = []
        for _ in range(self.random.randint(1, 2)):
            lines += self.statement(depth, loop, handler)
        return lines

    def event(self):
        self.events += 1
        return self.events

    def statement(self, depth, loop, handler):
        r, self.size = self.random, self.size + 1
        n, c = self.event(), r.randint(0, 9)
        simple = [
            [f"mark(log, {n})"],
            [f"r += risk(log, k + {c}, {n})"],
            [f"r += risk(log, k + {c}, {n}) + risk(log, r, {c})"],
            [f"a = fresh(a, k + {c}, log)"],
            ["t = longer(t, r)"],
            ["a = renewed(a)"],
            [f"if (r + k) % {c + 2} == 1:", f"    raise ValueError('raised {n}', r)"],
            [f"if k % {c + 2} == 2:", f"    raise KeyError('raised {n}')"],
            [f"r += {c}; k += 1"],
        ]
        if self.callees:
            simple += 2 * [[f"r += {r.choice(self.callees)}(log, k + {c})"]]
        if loop:
            simple += [[f"if r % {c + 2} == 0:", f"    {r.choice(['break', 'continue'])}"]]
        if handler:
            simple += [[f"if (r + {c}) % 3 == 0:", "    raise"]]
        if depth == 0:
            simple += [[f"if (r + k) % {c + 5} == 3:", f"    return r + {n}"]]
        if depth >= 3 or self.size > 3 or r.random() < 0.45:
            return r.choice(simple)
        if r.random() < 0.2 and depth < 3:
            body = self.block(depth + 1, True, handler)
            return [f"for i{depth} in range({r.randint(1, 3)}):", *indented(body), f"    r += i{depth}"]
        return self.attempt(depth + 1, loop, handler)

    def attempt(self, depth, loop, handler):
        """A try statement."""
        r = self.random
        shape = r.choice(["except", "except", "except", "finally", "both", "else", "all"])
        lines = ["try:", *indented(self.block(depth, loop, handler))]
        if shape != "finally":
            lines += ["except Exception:", f"    mark(log, {self.event()})", *indented(self.block(depth, loop, True))]
        if shape in ("else", "all"):
            lines += ["else:", f"    mark(log, {self.event()})", *indented(self.block(depth, loop, handler))]
        if shape in ("finally", "both", "all"):
            lines += ["finally:", f"    mark(log, {self.event()})", *indented(self.block(depth, False, False))]
        return lines

    def load(self, name, decorator, helpers):
        """The function `main` of the program, all its functions decorated."""
        file = f"<{name}>"
        linecache.cache[file] = (len(self.source), None, self.source.splitlines(True), file)
        scope = {**helpers, "np": np, "func": decorator, "__name__": name}
        exec(compile(self.source, file, "exec"), scope)
        return scope["main"]


def indented(lines):
    return ["    " + line for line in lines]


def observe(call, k):
    """What one run gives: the outcome and the events."""
    log = np.zeros(ROOM, np.int64)
    try:
        result = "returned", call(log, k)
    except (ValueError, KeyError) as e:
        result = "raised", type(e), e.args
    except (ZeroDivisionError, IndexError) as e:
        result = "raised", type(e)  # their texts are CPython's and NumPy's own
    return result, log[1 : log[0] + 1].tolist()


def blocks_held():
    stats = rtsys.get_allocation_stats()
    return stats.alloc - stats.free, stats.mi_alloc - stats.mi_free


def refused(main):
    """Whether Numba does not compile the program."""
    log = np.zeros(ROOM, np.int64)
    try:
        with contextlib.suppress(ValueError, KeyError, ZeroDivisionError, IndexError):
            go.run(main, log, 0)
    except (NumbaError, UnsupportedBytecodeError):
        return True
    return False


def check(seeds):
    """Compare the programs of these seeds; returns how many were refused, and how many runs raised."""
    _nrt_python.memsys_enable_stats()
    refusals = errors = 0
    for seed in seeds:
        program = Program(seed)
        python = program.load(f"fuzz_python_{seed}", lambda f: f, plain_helpers())
        main = program.load(f"fuzz_go_{seed}", go.func(cache=False), {f.__name__: f for f in HELPERS})
        if refused(main):
            refusals += 1
            continue
        wanted = [observe(python, k) for k in INPUTS]
        before = blocks_held()
        got = [observe(lambda log, k, main=main: go.run(main, log, k), k) for k in INPUTS]
        leaked = blocks_held() != before
        errors += sum(result[0] == "raised" for result, _ in wanted)
        for k in INPUTS:
            assert got[k] == wanted[k], f"seed {seed}, k = {k}\n{program.source}"
        assert not leaked, f"seed {seed} leaks\n{program.source}"
    return refusals, errors


@pytest.mark.timeout(300)
def test_random_programs_do_what_python_does():
    """Numba makes a block of every instruction inside a try, so a program takes a second or two to compile."""
    count = 24
    refusals, errors = check(range(count))
    assert refusals < 0.2 * count
    assert errors > 2 * count, "the programs hardly ever fail: they test nothing"


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_many_random_programs_do_what_python_does():
    count = 500
    refusals, errors = check(range(1000, 1000 + count))
    assert refusals < 0.2 * count
    assert errors > 2 * count
