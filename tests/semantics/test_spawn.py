"""go.spawn: arguments of every kind and what becomes of their references, trees, and what is refused."""

from __future__ import annotations

import gc
import sys

import numpy as np
import pytest
from numba import njit

import gopark as go
from tests.semantics import subprocesses


@go.struct
class Item:
    n: int
    next: Item


# ---- trees


@go.func
def leaf_count(depth, out):
    """A goroutine that spawns itself twice, down to depth 0."""
    if depth == 0:
        out.send(1)
        return
    mine = go.chan(int, 2)
    go.spawn(leaf_count, depth - 1, mine)
    go.spawn(leaf_count, depth - 1, mine)
    out.send(mine.recv() + mine.recv())


@go.func
def tree(depth):
    out = go.chan(int)
    go.spawn(leaf_count, depth, out)
    return out.recv()


def trees():
    return [go.run(tree, depth) for depth in (0, 1, 5, 13)] + [go.num_goroutine()]


@pytest.mark.parametrize("procs", [1, 2, 4])
def test_a_function_that_spawns_itself(procs):
    assert subprocesses.call(__name__, "trees", GOMAXPROCS=procs) == [1, 2, 32, 8192, 0]


@go.func
def even(n, out):
    if n == 0:
        out.send(1)
    else:
        go.spawn(odd, n - 1, out)


@go.func
def odd(n, out):
    if n == 0:
        out.send(0)
    else:
        go.spawn(even, n - 1, out)


@go.func
def is_even(n):
    out = go.chan(int)
    go.spawn(even, n, out)
    return out.recv()


def test_functions_that_spawn_each_other():
    assert [go.run(is_even, n) for n in (0, 1, 2, 999, 1000)] == [1, 0, 1, 0, 1]


# ---- arguments


@go.func
def tell(out, a, b=10, c=100):
    out.send(a + b + c)


@go.func
def keywords():
    out = go.chan(int, 8)
    go.spawn(tell, out, 1)
    go.spawn(tell, out, 2, 20)
    go.spawn(tell, out, 3, c=5)
    go.spawn(tell, out, c=1, b=2, a=3)
    go.spawn(tell, a=4, out=out)
    total = 0
    for _ in range(5):
        total += out.recv()
    return total


def test_keyword_and_default_arguments():
    assert go.run(keywords) == 111 + 122 + 18 + 6 + 114


@go.func
def mixed(done, i, x, yes, text, pair, item, ch, array, small):
    ok = i == -(2**63) and x == 0.25 and yes and text == "näive €" and pair == (3, (True, 0.5))
    ok = ok and item.next is None and item.n == 7 and ch.cap == 3 and array[1] == 5 and small == -3
    done.send(ok)


@go.func
def every_kind(text, array, small):
    done = go.chan(bool)
    item = Item(7)
    ch = go.chan(float, 3)
    go.spawn(mixed, done, -(2**63), 0.25, True, text, (3, (True, 0.5)), item, ch, array, small)
    return done.recv()


def test_arguments_of_every_kind_arrive():
    assert go.run(every_kind, "näive €", np.array([4, 5]), np.int8(-3)) is True


@go.func
def none_of(done, item):
    done.send(item is None)


@go.func
def spawns_none():
    done = go.chan(bool)
    go.spawn(none_of, done, None)
    first = done.recv()
    go.spawn(none_of, done, Item().next)
    return first, done.recv()


def test_none_as_an_argument():
    assert go.run(spawns_none) == (True, True)


@go.func
def apply(f, n, out):
    out.send(f(n))


@go.func
def double(n):
    return 2 * n


@njit
def plain_square(n):
    return n * n


@go.func
def functions_as_arguments():
    out = go.chan(int)
    go.spawn(apply, double, 21, out)
    first = out.recv()
    go.spawn(apply, plain_square, 5, out)
    return first, out.recv()


@go.func
def spawn_given(f, out, n):
    go.spawn(f, out, n)


@go.func
def spawn_an_argument():
    out = go.chan(int)
    spawn_given(tell, out, 1)
    return out.recv()


def test_functions_as_arguments():
    assert go.run(functions_as_arguments) == (42, 25)
    assert go.run(spawn_an_argument) == 111


@go.func
def fill(array, at, value, done):
    array[at] = value
    done.done()


@go.func
def fill_all(array, n):
    done = go.WaitGroup()
    done.add(n)
    for i in range(n):
        go.spawn(fill, array, i, i * i, done)
    done.wait()
    return array.sum()


def test_goroutines_write_into_one_array():
    array = np.zeros(1000, np.int64)
    n = 1000
    assert go.run(fill_all, array, n) == (n - 1) * n * (2 * n - 1) // 6
    assert (array == np.arange(n) ** 2).all()


# ---- references


@go.func
def hold(array, ch):
    ch.recv()
    return array[0]


@go.func
def holders_leave(array, n):
    ch = go.chan(int)
    for _ in range(n):
        go.spawn(hold, array, ch)
    for _ in range(n):
        ch.send(1)


@go.func
def holders_stay(array, n):
    """Every goroutine still holds the array when the run ends."""
    ch = go.chan(int)
    for _ in range(n):
        go.spawn(hold, array, ch)
    for _ in range(50):
        go.gosched()


@go.func
def holders_never_start(array, n):
    ch = go.chan(int)
    for _ in range(n):
        go.spawn(hold, array, ch)


@go.func
def spin_with(array):
    while True:
        array[0] += 1
        go.gosched()


@go.func
def holders_spin(array, n):
    for _ in range(n):
        go.spawn(spin_with, array)
    for _ in range(50):
        go.gosched()


@go.func
def fail_with(array, by):
    array[0] = 1 // by


@go.func
def holders_fail(array, n):
    ch = go.chan(int)
    for _ in range(n):
        go.spawn(hold, array, ch)
    go.spawn(fail_with, array, 0)
    ch.recv()


@go.func
def main_fails(array, n):
    ch = go.chan(int)
    for _ in range(n):
        go.spawn(hold, array, ch)
    go.gosched()
    fail_with(array, 0)


@go.func
def all_deadlock(array, n):
    ch = go.chan(int)
    for _ in range(n):
        go.spawn(hold, array, ch)
    hold(array, ch)


@pytest.mark.parametrize(
    "function, error",
    [
        (holders_leave, None),
        (holders_stay, None),
        (holders_never_start, None),
        (holders_spin, None),
        (holders_fail, ZeroDivisionError),
        (main_fails, ZeroDivisionError),
        (all_deadlock, go.DeadlockError),
    ],
)
def test_an_array_is_given_back(function, error):
    array = np.ones(10, np.int64)
    view = array[2:]
    before = sys.getrefcount(array), sys.getrefcount(view)
    for _ in range(5):
        for a in (array, view):
            if error is None:
                go.run(function, a, 20)
            else:
                with pytest.raises(error):
                    go.run(function, a, 20)
    del a
    gc.collect()  # an exception and the frames of its traceback may refer to each other
    assert (sys.getrefcount(array), sys.getrefcount(view)) == before
    assert go.num_goroutine() == 0


@go.func
def length(text, out):
    out.send(len(text))


@go.func
def made_texts(text, n):
    """Strings that are made in a go function outlive the statement that spawned with them."""
    out = go.chan(int)
    for i in range(n):
        go.spawn(length, text + str(i), out)
    total = 0
    for _ in range(n):
        total += out.recv()
    return total


def test_strings_as_arguments():
    text = "".join(["ab", "cdé"])
    assert go.run(made_texts, text, 1) == 6  # compiles it; what the compiler keeps is not the question here
    gc.collect()
    before = sys.getrefcount(text)
    for _ in range(10):
        assert go.run(made_texts, text, 1000) == 5 * 1000 + 10 + 90 * 2 + 900 * 3
    gc.collect()
    assert sys.getrefcount(text) == before


@go.func
def array_sum(array, out):
    out.send(array.sum())


@go.func
def made_arrays(n):
    out = go.chan(float)
    for i in range(n):
        go.spawn(array_sum, np.full(100, float(i)), out)
    total = 0.0
    for _ in range(n):
        total += out.recv()
    return total


def test_arrays_made_by_goroutines():
    assert go.run(made_arrays, 500) == 100 * 499 * 500 / 2


# ---- calls


@go.func
def fib(n):
    return n if n < 2 else fib(n - 1) + fib(n - 2)


@go.func
def fib_into(n, out):
    out.send(fib(n))


@go.func
def recursion(n):
    out = go.chan(int, n)
    for i in range(n):
        go.spawn(fib_into, i, out)
    total = 0
    for _ in range(n):
        total += out.recv()
    return total


def test_recursive_functions_on_goroutines():
    assert go.run(recursion, 20) == 10945


@go.func
def result_is_dropped(n):
    return str(n) + "!"


@go.func
def drops(n):
    for i in range(n):
        go.spawn(result_is_dropped, i)
    go.gosched()
    return n


def test_the_result_of_a_goroutine_is_dropped():
    assert go.run(drops, 1000) == 1000


# ---- refused


def plain_function(n):
    return n


@go.func
def spawns_njit():
    go.spawn(plain_square, 1)


@go.func
def spawns_number():
    go.spawn(3, 1)


@go.func
def spawns_plain():
    go.spawn(plain_function, 1)


@go.func
def spawns_struct():
    go.spawn(Item, 1)


@go.func
def spawns_nothing():
    go.spawn()


@go.func
def too_few():
    go.spawn(double)


@go.func
def too_many():
    go.spawn(double, 1, 2)


@go.func
def unknown_keyword():
    go.spawn(double, m=1)


@go.func
def twice_given():
    go.spawn(double, 1, n=1)


@go.func
def does_not_compile(n):
    return n.nothing


@go.func
def spawns_what_does_not_compile():
    go.spawn(does_not_compile, 1)


@pytest.mark.parametrize(
    "function, words",
    [
        (spawns_number, ["go.spawn takes a function decorated with @go.func"]),
        (spawns_plain, ["plain_function"]),
        (spawns_struct, ["go.spawn takes a function decorated with @go.func", "Item"]),
        (spawns_nothing, ["which function"]),
        (too_few, ["go.spawn(double", "'n'"]),
        (too_many, ["go.spawn(double", "many"]),
        (unknown_keyword, ["do not fit the parameters (n)", "go.spawn(double, m=1)"]),
        (twice_given, ["go.spawn(double", "'n'"]),
        (spawns_what_does_not_compile, ["nothing", "does_not_compile"]),
    ],
)
def test_refused_at_compile_time(function, words):
    with pytest.raises(Exception) as caught:  # noqa: PT011 (the text is what matters)
        go.run(function)
    text = str(caught.value)
    for word in words:
        assert word in text
    assert "test_spawn.py" in text
    assert go.run(double, 4) == 8


def refusal_of_njit():
    try:
        go.run(spawns_njit)
    except Exception as e:
        return str(e)
    return "nothing was raised"


def test_a_plain_njit_function_is_no_goroutine():
    text = subprocesses.call(__name__, "refusal_of_njit")
    assert "go.spawn takes a function decorated with @go.func" in text
    assert "plain_square, which is compiled by @njit" in text


def test_spawn_from_python_says_what_to_do():
    with pytest.raises(TypeError, match=r"from Python call go\.run"):
        go.spawn(double, 1)
