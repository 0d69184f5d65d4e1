"""Arrays of Python's in goroutines: in place, without a copy, of any layout; arrays of goroutines' in Python."""

from __future__ import annotations

import gc
import sys

import numpy as np
import pytest

import gopark as go
from tests.leaks import nothing_leaks


@go.func
def add_to_each(a, n, wg):
    for i in range(a.size):
        a.flat[i] += n + i
    wg.done()


@go.func
def add_in_a_goroutine(a, n):
    """Changes the array in another goroutine; its address."""
    wg = go.WaitGroup()
    wg.add(1)
    go.spawn(add_to_each, a, n, wg)
    wg.wait()
    return a.ctypes.data


def base():
    return np.arange(24.0).reshape(4, 6)


LAYOUTS = {
    "contiguous": lambda: base(),
    "Fortran": lambda: np.asfortranarray(base()),
    "transposed": lambda: base().T,
    "strided": lambda: base()[::2, 1::2],
    "negative strides": lambda: base()[::-1, ::-2],
    "one column": lambda: base()[:, 3],
    "backwards": lambda: np.arange(7.0)[::-1],
    "no dimensions": lambda: np.array(5.0),
    "empty": lambda: np.zeros((0, 3)),
    "of length one": lambda: np.ones((1, 1)),
    "unaligned": lambda: np.frombuffer(bytearray(8 * 5 + 1), np.float64, 5, 1),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_array_is_changed_in_place(layout):
    a, wanted = LAYOUTS[layout](), LAYOUTS[layout]()
    owner = a.base if a.base is not None else a
    before = np.array(owner, copy=True) if isinstance(owner, np.ndarray) else None
    address = go.run(add_in_a_goroutine, a, 10.0)
    assert address == a.ctypes.data, "no copy"
    for i in range(wanted.size):
        wanted.flat[i] += 10 + i
    assert np.array_equal(a, wanted)
    if before is not None:  # what the view leaves out is untouched
        assert (owner != before).sum() == a.size


# ---- read-only


@go.func(cache=False)
def writes_an_item(a):
    n = a.size
    a[0] = n


@go.func(cache=False)
def adds_in_place(a):
    n = a.size
    a += n


@go.func(cache=False)
def sorts_in_place(a):
    n = a.size
    if n:
        a.sort()


@go.func(cache=False)
def writes_a_view(a):
    view = a[1:]
    view[0] = 1.0


@go.func
def reads(a):
    return a.sum() + a[0], a.copy() + 1


def read_only():
    a = np.arange(5.0)
    a.flags.writeable = False
    return a


@pytest.mark.parametrize("function", [writes_an_item, adds_in_place, sorts_in_place, writes_a_view])
def test_a_write_to_a_read_only_array_does_not_compile(function):
    a = read_only()
    with pytest.raises(Exception, match="that is read-only") as raised:
        go.run(function, a)
    said = str(raised.value)
    assert f"{function.__name__} writes to an array that is read-only. Pass a copy, a.copy(), or make" in said
    code = function.py_func.__code__
    line = code.co_firstlineno + {writes_an_item: 3, adds_in_place: 3, sorts_in_place: 4, writes_a_view: 3}[function]
    assert f"test_arrays.py:{line}: " in said
    assert np.array_equal(a, np.arange(5.0))


def test_a_read_only_array_is_read():
    total, copy = go.run(reads, read_only())
    assert total == 10
    assert copy.tolist() == [1, 2, 3, 4, 5]


# ---- records

POINT = np.dtype([("x", "f8"), ("y", "f8")])
ITEM = np.dtype([("id", "i4"), ("at", POINT), ("tag", "u1"), ("weights", "f4", (3,))], align=True)


@go.func
def change_records(items, i, wg):
    items[i].id += 100
    items[i].at.y = items[i].at.x * 2
    items[i].weights[1] = i
    items["tag"][i] = 7
    wg.done()


@go.func
def records(items):
    wg = go.WaitGroup()
    wg.add(len(items))
    for i in range(len(items)):
        go.spawn(change_records, items, i, wg)
    wg.wait()
    return items[1]


@pytest.mark.parametrize("step", [1, 2, -1])
def test_records_are_changed_in_place(step):
    owner = np.zeros(8, ITEM)
    owner["id"], owner["at"]["x"] = np.arange(8), np.arange(8) / 4
    wanted = owner.copy()
    view = wanted[::step]
    view["id"] += 100
    view["at"]["y"] = view["at"]["x"] * 2
    view["weights"][:, 1] = np.arange(len(view))
    view["tag"] = 7
    record = go.run(records, owner[::step])
    assert repr(owner) == repr(wanted)  # padding may differ
    assert record.id == view[1]["id"]


# ---- what comes back


@go.func
def same(a):
    return a


@go.func
def view(a):
    return a[1:, ::-1]


@go.func
def made(n):
    """An array that another goroutine filled; the goroutine is gone when it is returned."""
    a = np.zeros((n, n))
    wg = go.WaitGroup()
    wg.add(1)
    go.spawn(add_to_each, a, 1.0, wg)
    wg.wait()
    return a, a[1], a.T


def test_the_array_that_was_passed_comes_back():
    a = base()
    assert go.run(same, a) is a
    back = go.run(view, a)
    assert np.shares_memory(back, a)
    assert np.array_equal(back, a[1:, ::-1])
    back[0, 0] = -1
    assert a[1, -1] == -1


def test_an_array_made_by_goroutines_stays_alive():
    n = 60
    wanted = 1.0 + np.arange(n * n).reshape(n, n)
    with nothing_leaks():
        a, row, transposed = go.run(made, n)
        assert np.shares_memory(a, row)
        del a
        gc.collect()
        for _ in range(50):  # would use the memory again
            assert np.array_equal(go.run(made, n)[0], wanted)
        assert np.array_equal(row, wanted[1])
        assert np.array_equal(transposed, wanted.T)
        row[0] = 7
        assert transposed[0, 1] == 7
        del row, transposed


# ---- references


@go.func
def holder(a, gate):
    gate.recv()
    a[0] += 1


@go.func
def ends_in_some_way(a, how):
    """0: it returns, 1: it raises, 2: it raises while others hold the array, 3: all are asleep."""
    gate = go.chan(int)
    for _ in range(3):
        go.spawn(holder, a, gate)
    if how == 1:
        for i in range(3):
            gate.send(i)
    go.gosched()
    if how == 1 or how == 2:
        raise ValueError("on purpose")
    if how == 3:
        go.chan(int).recv()
    return a


def run_to_its_end(a, how):
    try:
        assert go.run(ends_in_some_way, a, how) is a
    except ValueError:
        assert how in (1, 2)
    except go.DeadlockError:
        assert how == 3


def test_no_reference_stays(procs):
    a = np.zeros(3)
    for how in range(4):
        run_to_its_end(a, how)
    gc.collect()
    before = sys.getrefcount(a)
    with nothing_leaks():
        for i in range(1000):
            run_to_its_end(a, i % 3 if i % 50 else 3)
    assert sys.getrefcount(a) == before
