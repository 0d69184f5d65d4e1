"""Structs and channels in Python's hands: the same objects as in go functions."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import signal
import sys
import threading
import time
import weakref

import numpy as np
import pytest

import gopark as go
from gopark.bridge import report
from gopark.compiler.numba_api import size_and_alignment, types
from gopark.compiler.structs import pointer_offsets, tuple_layout
from gopark.runtime.handle import Handles, handles


@go.struct
class Inner:
    x: int
    y: float


@go.struct
class Everything:
    i8: np.int8
    flag: bool
    i32: np.int32
    u16: np.uint16
    n: int
    f: float
    f32: np.float32
    c: complex
    pair: tuple[int, bool]
    nested: tuple[np.int8, tuple[float, np.int16], bool]
    next: Everything
    inner: go.Embed[Inner]
    ch: go.Chan[int]
    boxed: tuple[int, Inner]
    mu: go.Mutex
    group: go.WaitGroup
    items: go.List[int]


@go.struct
class Awkward:
    """Fields whose names mean something elsewhere."""

    _size: int
    fields: int
    drop: int
    size: int


@go.struct
class Node:
    value: int
    next: Node


def held() -> int:
    """How many handles Python holds."""
    gc.collect()
    return report.read(Handles, handles.address, "count")


@pytest.fixture(autouse=True)
def no_handle_stays(booted):
    """Whatever a test held is let go."""
    before = held()
    yield
    assert held() == before


# ---- structs


def test_construct_read_and_write():
    e = Everything(i8=-3, n=7, f=2, f32=0.5, c=1j, pair=(1, True), nested=(1, (2.5, -4), True), u16=65535)
    assert (e.i8, e.n, e.f, e.f32, e.c, e.u16) == (-3, 7, 2.0, 0.5, 1j, 65535)
    assert (e.flag, e.i32, e.next, e.ch) == (False, 0, None, None)
    assert e.pair == (1, True) and e.nested == (1, (2.5, -4), True)
    e.flag, e.i32, e.pair, e.nested = True, -(2**31), (-5, False), (-128, (1e300, 3), False)
    assert (e.flag, e.i32, e.pair, e.nested) == (True, -(2**31), (-5, False), (-128, (1e300, 3), False))
    assert type(e.flag) is bool and type(e.i8) is int and type(e.f32) is float


@go.func
def sees(e):
    return e.i8, e.flag, e.n, e.f, e.pair, e.nested, e.inner.x, e.next is None


@go.func
def changes(e):
    e.n += 1
    e.f *= 2
    e.flag = not e.flag
    e.inner.x = 5
    e.next = e


def test_goroutines_and_python_see_the_same_object():
    e = Everything(i8=1, n=2, f=1.5, pair=(3, True), nested=(4, (5.0, 6), True))
    e.inner.x = 8
    assert go.run(sees, e) == (1, False, 2, 1.5, (3, True), (4, (5.0, 6), True), 8, True)
    go.run(changes, e)
    assert (e.n, e.f, e.flag, e.inner.x) == (3, 3.0, True, 5)
    assert e.next is e
    e.next = None
    assert e.next is None


def test_one_object_has_one_handle():
    a, b = Node(1, None), Node(2, None)
    a.next = b
    assert a.next is b and a.next is a.next and a != b and a == a and len({a, b, a.next}) == 2
    reference = weakref.ref(b)
    del b
    gc.collect()
    assert reference() is None
    assert a.next.value == 2  # another handle of the same object, which a has kept
    e = Everything()
    assert e.inner is e.inner and e.mu is e.mu


def test_a_value_inside_an_object_keeps_the_object():
    inner = Everything(n=1).inner
    gc.collect()
    inner.x, inner.y = 3, 4.5
    assert (inner.x, inner.y) == (3, 4.5)
    with pytest.raises(TypeError, match="inside another object"):
        go.run(sees, inner)
    with pytest.raises(TypeError, match="'?Inner"):
        Everything(boxed=(1, inner))


def test_repr():
    n = Node(1, None)
    assert repr(n) == "Node(value=1, next=None)"
    n.next = n  # a cycle is only named
    assert repr(n).startswith("Node(value=1, next=<Node at 0x")
    e = Everything(ch=go.chan(int))
    assert all(f"{name}=" in repr(e) for name in Everything.fields)
    assert repr(go.chan(Node, 3)).startswith("<chan(Node) with 0 of 3 at 0x")


def test_any_field_name_will_do():
    a = Awkward(1, 2, 3, 4)
    assert (a._size, a.fields, a.drop, a.size) == (1, 2, 3, 4)
    a._size, a.size = 5, 6
    assert (a._size, a.size) == (5, 6)
    assert dir(a) == ["_size", "drop", "fields", "size"]


@pytest.mark.parametrize(
    ("action", "error", "words"),
    [
        (lambda e: setattr(e, "n", "x"), TypeError, "Everything.n: 'x' is a str, and an int is wanted"),
        (lambda e: setattr(e, "n", 1.5), TypeError, "Everything.n: 1.5 is a float, and an int is wanted"),
        (lambda e: setattr(e, "n", True), TypeError, "Everything.n: True is a bool, and an int is wanted"),
        (lambda e: setattr(e, "n", None), TypeError, "Everything.n: None is a NoneType, and an int is wanted"),
        (lambda e: setattr(e, "i8", 200), OverflowError, "200 does not fit int8, which goes from -128 to 127"),
        (lambda e: setattr(e, "u16", -1), OverflowError, "-1 does not fit uint16"),
        (lambda e: setattr(e, "n", 2**63), OverflowError, "does not fit int"),
        (lambda e: setattr(e, "f", "1"), TypeError, "Everything.f: '1' is a str, and a float is wanted"),
        (lambda e: setattr(e, "c", "1"), TypeError, "and a complex is wanted"),
        (lambda e: setattr(e, "flag", 1), TypeError, "Everything.flag: 1 is an int, and a bool is wanted"),
        (lambda e: setattr(e, "pair", (1,)), TypeError, "and a tuple[int, bool] is wanted"),
        (lambda e: setattr(e, "pair", (1, 2)), TypeError, "Everything.pair[1]: 2 is an int, and a bool is wanted"),
        (lambda e: setattr(e, "next", Node()), TypeError, "is a Node, and an Everything is wanted"),
        (lambda e: setattr(e, "ch", go.chan(float)), TypeError, "is a Channel, and a chan(int) is wanted"),
        (lambda e: setattr(e, "inner", Inner()), AttributeError, "cannot be replaced, only changed"),
        (lambda e: setattr(e, "nothing", 1), AttributeError, "Everything has no field 'nothing' (there are i8, flag,"),
        (lambda e: e.nothing, AttributeError, "Everything has no field 'nothing'"),
        (lambda e: e.items, TypeError, "a List[int] cannot be used from Python yet"),
        (lambda e: delattr(e, "n"), AttributeError, "cannot be deleted"),
        (lambda e: Everything(1, 2, 3, n=1, q=1), TypeError, "Everything() has no field 'q'"),
        (lambda e: Node(1, value=2), TypeError, "Node() got a value for 'value' twice"),
        (lambda e: Node(1, None, 3), TypeError, "Node() takes at most 2 arguments (value, next), got 3"),
        (lambda e: go.Mutex(1), TypeError, "Mutex() takes no arguments"),
        (lambda e: e.mu.state, AttributeError, "Mutex has no method 'state' (there are lock, try_lock, unlock)"),
        (lambda e: pickle.dumps(e), TypeError, "cannot be pickled or copied"),
        (lambda e: copy.copy(e), TypeError, "cannot be pickled or copied"),
        (lambda e: go.chan(str), TypeError, "str"),
        (lambda e: go.chan(int, -1), ValueError, "the capacity is negative"),
        (lambda e: go.chan(int, 1.5), TypeError, "integer"),
        (lambda e: go.chan(int, 1 << 50), MemoryError, "the collected heap is full"),
        (lambda e: go.chan(int).send("x"), TypeError, "send on chan(int): 'x' is a str, and an int is wanted"),
        (lambda e: go.chan(int, 1).send(1, timeout=-1), ValueError, "timeout=-1"),
        (lambda e: go.chan(go.List[int]).recv(timeout=0), TypeError, "cannot be used from Python yet"),
    ],
)
def test_what_is_refused(action, error, words):
    e = Everything()
    with pytest.raises(error) as raised:
        action(e)
    assert words in str(raised.value)
    del raised


def test_the_layouts_of_python_and_of_compiled_code_agree():
    for ty in (
        types.Tuple((types.int8, types.float64, types.boolean)),
        types.Tuple((types.boolean, types.Tuple((types.int16, types.complex128)), types.int8)),
        types.UniTuple(types.int32, 3),
        types.Tuple((types.int8, Everything.fields["next"][1], types.float32)),
    ):
        found = tuple_layout(ty)
        last, offset = found[-1]
        assert offset + size_and_alignment(last)[0] <= size_and_alignment(ty)[0]
        pointers = [o for element, o in found for o in pointer_offsets(element, o)]
        assert pointers == pointer_offsets(ty)


# ---- results and arguments


@go.func
def makes(n):
    return Node(n, Node(n + 1, None)), go.chan(int, n), n, (Node(9, None), None)


@go.func
def none_of(n):
    return Node(n, None) if n > 0 else None


@go.func
def gives_back(node, ch):
    return node, ch, node.next


def test_results():
    node, ch, n, (other, nothing) = go.run(makes, 3)
    assert (node.value, node.next.value, ch.cap, n, other.value, nothing) == (3, 4, 3, 3, 9, None)
    assert go.run(none_of, 1).value == 1 and go.run(none_of, 0) is None
    same, same_channel, following = go.run(gives_back, node, ch)
    assert same is node and same_channel is ch and following is node.next


@go.func
def fails(n):
    node = Node(n, None)
    if n > 0:
        raise ValueError(n)
    return node


def test_a_failed_run_holds_nothing():
    before = held()
    for _ in range(3):
        with pytest.raises(ValueError):
            go.run(fails, 1)
    assert held() == before


def test_handles_are_let_go():
    before = held()
    nodes = [Node(i, None) for i in range(100)]
    assert held() == before + 100
    for a, b in zip(nodes, nodes[1:], strict=False):
        a.next = b
    first = nodes[0]
    del nodes, a, b
    assert held() == before + 1
    count, node = 0, first
    while node is not None:
        count, node = count + 1, node.next
    assert count == 100
    del first, node
    assert held() == before


# ---- channels


@go.func
def doubles(jobs, results):
    for n in jobs:
        results.send(2 * n)
    results.close()


def test_python_at_both_ends_of_a_pipeline():
    jobs, results = go.chan(int), go.chan(int, 2)
    out = []
    worker = threading.Thread(target=go.run, args=(doubles, jobs, results))
    reader = threading.Thread(target=lambda: out.extend(results))
    worker.start(), reader.start()
    for n in range(50):
        jobs.send(n)
    jobs.close()
    worker.join(), reader.join()
    assert out == [2 * n for n in range(50)]
    assert results.recv_ok() == (0, False) and results.recv() == 0


def test_channels_between_python_threads():
    ch = go.chan(tuple[int, Node])
    sent = [Node(i, None) for i in range(20)]

    def send():
        for i, node in enumerate(sent):
            ch.send((i, node))
        ch.close()

    thread = threading.Thread(target=send)
    thread.start()
    received = list(ch)
    thread.join()
    assert [i for i, _ in received] == list(range(20))
    assert all(a is b for (_, a), b in zip(received, sent, strict=True))


def test_closed_and_full_and_empty():
    ch = go.chan(int, 2)
    assert (len(ch), ch.cap, bool(ch)) == (0, 2, True)
    assert ch.try_recv() == (0, False)
    assert ch.try_send(1) and ch.try_send(2) and not ch.try_send(3)
    assert len(ch) == 2
    for timeout in (0, 0.01):
        with pytest.raises(TimeoutError, match="nobody took it within"):
            ch.send(3, timeout=timeout)
    assert (ch.recv(), ch.recv_ok(timeout=5), ch.try_recv()) == (1, (2, True), (0, False))
    for timeout in (0, 0.01):
        with pytest.raises(TimeoutError, match="nothing came within"):
            ch.recv(timeout=timeout)
    ch.send(4)
    ch.close()
    with pytest.raises(go.ClosedChannelError, match="send on closed channel"):
        ch.send(5)
    with pytest.raises(go.ClosedChannelError, match="close of closed channel"):
        ch.close()
    assert (ch.recv_ok(), ch.recv_ok(), ch.try_recv(), list(ch)) == ((4, True), (0, False), (0, False), [])


def test_what_timed_out_has_not_taken_place():
    ch = go.chan(int)
    for i in range(20):
        with pytest.raises(TimeoutError):
            ch.send(i, timeout=0.002)
        with pytest.raises(TimeoutError):
            ch.recv(timeout=0.002)
    threading.Thread(target=ch.send, args=(99,)).start()
    assert ch.recv() == 99
    assert go.num_goroutine() == 0


def test_timeouts_race_with_the_other_side(procs):
    """Each send either takes place, and is received, or times out, and is not."""
    ch, taken, given = go.chan(int), [], []
    stop = threading.Event()

    def receive():
        while not stop.is_set():
            try:
                taken.append(ch.recv(timeout=0.0005))
            except TimeoutError:
                pass

    thread = threading.Thread(target=receive)
    thread.start()
    for i in range(300):
        try:
            ch.send(i, timeout=0.0005)
            given.append(i)
        except TimeoutError:
            pass
    stop.set()
    thread.join()
    assert taken == given


# ---- Mutex and WaitGroup


@go.func
def locks(e, n):
    for _ in range(n):
        e.mu.lock()
        e.n += 1
        e.mu.unlock()
    e.group.done()


def test_a_mutex_between_python_and_goroutines():
    e = Everything()
    e.group.add(2)
    threads = [threading.Thread(target=go.run, args=(locks, e, 2000)) for _ in range(2)]
    for t in threads:
        t.start()
    for _ in range(100):
        e.mu.lock()
        e.n = e.n + 1
        e.mu.unlock()
    e.group.wait()
    assert e.n == 4100
    for t in threads:
        t.join()
    assert e.mu.try_lock() and not e.mu.try_lock()
    with pytest.raises(TimeoutError, match=r"Mutex.lock: not within 0.01 seconds"):
        e.mu.lock(timeout=0.01)
    e.mu.unlock()
    with pytest.raises(RuntimeError, match="unlock of unlocked mutex"):
        e.mu.unlock()
    with pytest.raises(RuntimeError, match="negative WaitGroup counter"):
        e.group.done()
    e.group.add(1)
    with pytest.raises(TimeoutError):
        e.group.wait(timeout=0.01)
    e.group.done()
    e.group.wait(timeout=5)


# ---- beside goroutines that compute


@go.func
def spins(stop, n):
    x = 0
    while True:
        _, ok = stop.try_recv()
        if ok:
            return x
        for i in range(n):
            x += i ^ x


def test_python_is_served_while_goroutines_compute(procs):
    stop, ch = go.chan(int, 8), go.chan(int, 1)
    threads = [threading.Thread(target=go.run, args=(spins, stop, 1000)) for _ in range(procs + 1)]
    for t in threads:
        t.start()
    for i in range(100):
        ch.send(i)
        assert ch.recv() == i
        assert Node(i, None).value == i
    for _ in threads:
        stop.send(1)
    for t in threads:
        t.join()


def test_python_that_keeps_the_gil_does_not_stop_goroutines():
    e = Everything()
    thread = threading.Thread(target=go.run, args=(counts_for_ever, e, 10**6))
    previous = sys.getswitchinterval()
    thread.start()
    while e.n == 0:
        time.sleep(0.001)
    try:
        sys.setswitchinterval(1000)
        before = e.n
        deadline = time.monotonic() + 30
        while e.n == before and time.monotonic() < deadline:  # never gives the GIL up
            pass
        assert e.n > before
    finally:
        sys.setswitchinterval(previous)
        e.flag = True
    thread.join()


@go.func
def counts_for_ever(e, n):
    while not e.flag:
        e.n += 1
        go.gosched()


# ---- signals


def test_ctrl_c_while_a_thread_waits_in_a_channel():
    ch = go.chan(int)
    for wait in (ch.recv, lambda: ch.send(1), lambda: list(ch)):
        timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            wait()
        timer.join()
    threading.Thread(target=ch.send, args=(7,)).start()
    assert ch.recv(timeout=30) == 7  # the operations that were given up wait no longer


# ---- a class that is defined again


def cell(fields):
    """A cell of a notebook: the names it defines."""
    scope = {"go": go, "__name__": "a_notebook"}
    exec(f"@go.struct\nclass Job:\n    {fields}\n\n@go.func\ndef get(j):\n    return j.n\n", scope)
    return scope["Job"], scope["get"]


def test_a_class_that_is_defined_again_is_another_type():
    Old, old_get = cell("n: int")
    old = Old(1)
    assert old_get(old) == 1
    New, new_get = cell("a: int; b: int; n: float")
    new = New(1, 2, 2.5)
    assert (new_get(new), old_get(old), old.n, new.b) == (2.5, 1, 1, 2)
    ch = go.chan(New, 1)
    with pytest.raises(TypeError, match="made by another definition of the class"):
        ch.send(old)
    ch.send(new)
    assert ch.recv() is new
