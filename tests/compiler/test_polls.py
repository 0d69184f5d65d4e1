"""Polls, marks and stack checks in the code of goroutines: what LLVM made of them, and what they do while it runs."""

from __future__ import annotations

import re
import threading
import time

import numpy as np
import pytest
from numba import njit, typeof, types
from numba.np.unsafe.ndarray import to_fixed_tuple

import gopark as go
from gopark.bridge import report
from gopark.config import settings
from gopark.runtime.runtime2 import G

MARK_ON = r"movq \$\$1, \(\$0\)"
MARK_OFF = r"movq \$\$0, \(\$0\)"
VECTOR = r"<\d+ x (i64|double)>"


def optimised(f, *arguments):
    """The optimised LLVM IR of the go function's body (and not of what stands around it)."""
    signature = tuple(map(typeof, arguments))
    f.compile(signature)
    result = f.overloads[signature]
    text = result.library.get_llvm_str()
    name = re.escape(result.fndesc.llvm_func_name)
    body = re.search(rf'^define [^\n]*@"?{name}"?\(.*?^}}', text, re.MULTILINE | re.DOTALL)
    assert body, "no body"
    return body.group()


def blocks(body):
    """{label: text} of the basic blocks."""
    parts = re.split(r"^([\w.\-\"]+):", body, flags=re.MULTILINE)
    return {"entry": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}


# Kept out of the disk cache: a function that is loaded from there has no LLVM IR.
func = go.func(cache=False)


@func
def sum_elements(a):
    s = 0
    for x in a:
        s += x
    return s


@go.func(cache=False, boundscheck=False)
def scale(a, b):
    for i in range(len(a)):
        b[i] = a[i] * 2.0 + 1.0


@func
def scale_checked(a, b):
    for i in range(len(a)):
        b[i] = a[i] * 2.0 + 1.0


@func
def sum_while(a):
    s = 0
    i = 0
    while i < len(a):
        s += a[i]
        i += 1
    return s


@func
def leaf_in_loop(a, n):
    s = 0
    for _ in range(n):
        for x in a:
            s += x
    return s


@func
def read_past(a, n):
    s = 0
    for i in range(n):
        s += a[i]
    return s


@njit
def helper(x):
    return x * 3 + 1


@func
def loop_with_call(n):
    s = 0
    for i in range(n):
        s += helper(i)
    return s


INTS, FLOATS = np.arange(1000), np.linspace(0.0, 1.0, 1000)


@pytest.mark.parametrize(("f", "arguments"), [(sum_elements, (INTS,)), (scale, (FLOATS, FLOATS.copy()))])
def test_a_counted_leaf_loop_over_an_array_is_vectorised_and_does_not_poll(f, arguments):
    body = optimised(f, *arguments)
    assert re.search(VECTOR, body)
    assert "go.preempted" not in body
    assert re.search(MARK_ON, body) and re.search(MARK_OFF, body)


def test_a_counted_leaf_loop_with_checked_indices_does_not_poll_either():
    body = optimised(scale_checked, FLOATS, FLOATS.copy())
    assert "go.preempted" not in body
    assert re.search(MARK_ON, body)


@pytest.mark.parametrize(("f", "arguments"), [(sum_while, (INTS,)), (loop_with_call, (5,))])
def test_every_other_loop_polls(f, arguments):
    body = optimised(f, *arguments)
    assert "go.preempted" in body
    assert re.search(r"load atomic i64, .* monotonic", body), "a plain load is hoisted out of the loop"
    assert not re.search(MARK_ON, body)


def test_the_loop_around_a_leaf_loop_polls():
    body = optimised(leaf_in_loop, INTS, 3)
    assert "go.preempted" in body and re.search(MARK_ON, body) and re.search(VECTOR, body)


def test_functions_compute_the_same_with_marks_and_polls():
    assert go.run(sum_elements, INTS) == go.run(sum_while, INTS) == INTS.sum()
    assert go.run(leaf_in_loop, INTS, 3) == 3 * INTS.sum()
    b = np.zeros_like(FLOATS)
    go.run(scale, FLOATS, b)
    assert np.array_equal(b, FLOATS * 2.0 + 1.0)


def test_every_way_out_of_a_leaf_loop_takes_the_mark_away():
    """In the text: from a block that sets the mark, every path to a `ret` passes one that clears it."""
    body = optimised(read_past, INTS, 3)
    graph = blocks(body)
    following = {b: [n for n in re.findall(r"label %([\w.\-\"]+)", text) if n in graph] for b, text in graph.items()}
    setters = [b for b, text in graph.items() if re.search(MARK_ON, text)]
    assert setters
    assert sum(" ret i32 " in text for text in graph.values()) >= 1
    todo, seen = [], set()
    for b in setters:
        after = re.split(MARK_ON, graph[b])[-1]
        if not re.search(MARK_OFF, after):
            assert " ret " not in after
            todo += following[b]
    assert todo, "the mark is taken away where it is set"
    while todo:
        b = todo.pop()
        if b in seen or re.search(MARK_OFF, graph[b]):
            continue
        seen.add(b)
        assert " ret " not in graph[b], f"a way out with the mark set: {b}\n{body}"
        todo += following[b]


# ---- while it runs


def marks():
    """g.asyncok of every G that exists, dead ones included."""
    return [report.read(G, gp, "asyncok") for gp in report.all_gs()]


@go.func
def long_leaf(a, n):
    s = 0
    for i in range(n):
        s = (s * 3 + i) ^ a[i & 7]
    return s


def test_the_mark_is_set_during_a_leaf_loop_and_gone_afterwards():
    a, seen, done = np.arange(8), [], threading.Event()

    def look():
        while not done.is_set():
            seen.append(sum(marks()))
            time.sleep(0.002)

    go.run(long_leaf, a, 10)
    watcher = threading.Thread(target=look)
    watcher.start()
    go.run(long_leaf, a, 300_000_000)
    done.set()
    watcher.join()
    assert max(seen) == 1
    assert set(marks()) == {0}


def test_an_error_inside_a_leaf_loop_leaves_no_mark():
    for _ in range(20):
        with pytest.raises(IndexError):
            go.run(read_past, INTS, 1001)
    assert set(marks()) == {0}


@go.func
def read_past_and_catch(a, n, mark):
    s = 0
    try:
        for i in range(n):
            s += a[i]
    except Exception:
        s = 1
        while mark[0] == 0:
            go.gosched()
    return s


def test_an_error_inside_a_leaf_loop_that_is_caught_leaves_no_mark():
    """The goroutine waits in its handler while the marks are read."""
    mark, results = np.zeros(1, np.int64), []
    waiter = threading.Thread(target=lambda: results.append(go.run(read_past_and_catch, INTS, 1001, mark)))
    waiter.start()
    time.sleep(1.0)
    seen = marks()
    mark[0] = 1
    waiter.join()
    assert results == [1]
    assert set(seen) == {0}


@go.func
def spin_empty(started):
    started.done()
    while True:
        pass


@go.func
def spin_around_leaf(started):
    started.done()
    n = 0
    while True:
        n += 1
        for i in range(10):
            n ^= i


@go.func
def spin_with_call(started):
    started.done()
    n = 0
    for i in range(1 << 62):
        n += helper(i)
    return n


@go.func
def spin_in_try(started):
    started.done()
    n = 0
    while n >= 0:
        try:
            if n & 1:
                n = 2
                continue
            n = 3
        except Exception:
            n = 0
    return n


@go.func
def recurse(depth):
    """Two to the power of depth calls and no loop: only the check of the stack can stop it."""
    if depth <= 0:
        return 0
    return recurse(depth - 1) + recurse(depth - 1)


@go.func
def spin_by_calls(started):
    started.done()
    return recurse(60)


@go.func
def beside_empty(count):
    started = go.WaitGroup()
    started.add(count)
    for _ in range(count):
        go.spawn(spin_empty, started)
    started.wait()
    return count


@go.func
def beside_leaf(count):
    started = go.WaitGroup()
    started.add(count)
    for _ in range(count):
        go.spawn(spin_around_leaf, started)
    started.wait()
    return count


@go.func
def beside_call(count):
    started = go.WaitGroup()
    started.add(count)
    for _ in range(count):
        go.spawn(spin_with_call, started)
    started.wait()
    return count


@go.func
def beside_try(count):
    started = go.WaitGroup()
    started.add(count)
    for _ in range(count):
        go.spawn(spin_in_try, started)
    started.wait()
    return count


@go.func
def beside_calls(count):
    started = go.WaitGroup()
    started.add(count)
    for _ in range(count):
        go.spawn(spin_by_calls, started)
    started.wait()
    return count


@pytest.mark.skipif(settings().procs < 2, reason="on one P nobody takes the loop away: that needs preemption")
@pytest.mark.parametrize(
    "main", [beside_empty, beside_leaf, beside_call, beside_try, beside_calls], ids=lambda f: f.__name__
)
def test_endless_goroutines_beside_a_main_that_returns_end_promptly(main):
    go.run(main, 0)
    start = time.perf_counter()
    assert go.run(main, 1) == 1
    assert time.perf_counter() - start < 2.0
    assert go.num_goroutine() == 0


# ---- the check of the stack


@func
def factorial(n):
    return 1 if n < 2 else n * factorial(n - 1)


@func
def even(n):
    return True if n == 0 else odd(n - 1)


@func
def odd(n):
    return False if n == 0 else even(n - 1)


@func
def big_frame(a):
    t = to_fixed_tuple(a, 260)
    s = 0
    for i in range(260):
        s += t[i]
    return s


@func
def small_frame(a):
    return a[0] + a[1]


@func
def deep(n):
    return 1 if n == 0 else deep(n - 1) + 1


def test_functions_that_recurse_check_their_stack():
    assert "go.morestack" in optimised(factorial, 5)
    assert go.run(factorial, 10) == 3628800


def test_mutual_recursion_checks_the_stack_somewhere():
    assert go.run(even, 1000) is True
    signature = (types.int64,)
    assert any(
        "go.morestack" in f.overloads[signature].library.get_llvm_str() for f in (even, odd) if signature in f.overloads
    )


def test_functions_with_a_big_frame_check_their_stack():
    assert "go.morestack" in optimised(big_frame, INTS)
    assert go.run(big_frame, INTS) == INTS[:260].sum()


def test_small_functions_that_do_not_recurse_check_nothing():
    assert "go.morestack" not in optimised(small_frame, INTS)


def test_a_recursion_without_end_is_an_exception():
    assert go.run(deep, 500) == 501
    for _ in range(3):
        with pytest.raises(go.StackOverflowError, match="goroutine stack exceeds its"):
            go.run(deep, 10**9)
    assert go.run(deep, 500) == 501


@func
def mutual_down(n):
    return 1 if n == 0 else mutual_back(n - 1) + 1


@func
def mutual_back(n):
    return 1 if n == 0 else mutual_down(n - 1) + 1


def test_a_mutual_recursion_without_end_is_an_exception():
    assert go.run(mutual_down, 100) == 101
    with pytest.raises(go.StackOverflowError):
        go.run(mutual_down, 10**9)
