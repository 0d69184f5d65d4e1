"""Bad input: each is a clear Python error that names what is wrong and where, and go.run works again afterwards."""

from __future__ import annotations

import traceback

import numba
import numpy as np
import pytest
from numba import njit

import gopark as go
from tests.semantics import subprocesses


@go.struct
class Node:
    value: int
    next: Node


@go.func
def works(n):
    ch = go.chan(int, 1)
    go.spawn(works_child, ch, n)
    return ch.recv()


@go.func
def works_child(ch, n):
    ch.send(n + 1)


@pytest.fixture(autouse=True)
def usable_again():
    yield
    assert go.run(works, 41) == 42
    assert go.num_goroutine() == 0


# ---- what does not compile


@go.func
def unknown_attribute(n):
    return n.nothing


@go.func
def unknown_name():
    return no_such_name + 1  # noqa: F821


@go.func
def types_do_not_unify(n):
    if n:
        return 1
    return "one"


@go.func
def text_plus_number(n):
    return "a" + n


@go.func
def list_of_structs():
    nodes = [Node()]
    return nodes[0].value


@go.func
def sends_text():
    ch = go.chan(int)
    ch.send("text")


@go.func
def sends_struct():
    ch = go.chan(int)
    ch.send(Node())


@go.func
def sends_float():
    ch = go.chan(int)
    ch.send(1.5)


@go.func
def sends_none():
    ch = go.chan(int)
    ch.send(None)


@go.func
def tries_text():
    ch = go.chan(int, 1)
    return ch.try_send("text")


@go.func
def send_without_value():
    ch = go.chan(int)
    ch.send()


@go.func
def recv_with_value():
    ch = go.chan(int)
    return ch.recv(1)


@go.func
def close_with_value():
    ch = go.chan(int)
    ch.close(1)


@go.func
def unknown_method():
    ch = go.chan(int)
    ch.put(1)


@go.func
def capacity_is_text():
    return go.chan(int, "3").cap


@go.func
def too_many_for_chan():
    return go.chan(int, 3, 4).cap


@go.func
def unknown_option_of_chan():
    return go.chan(int, size=3).cap


@go.func
def gosched_with_argument():
    go.gosched(1)


@go.func
def takes_two(a, b):
    return a + b


@go.func
def calls_with_one():
    return takes_two(1)


@go.func
def constructor_with_too_many():
    return Node(1, None, 3).value


@go.func
def spawns_a_number():
    go.spawn(3)


@go.func
def spawns_wrong_count():
    go.spawn(takes_two, 1)


@njit
def plain_with_channel(ch):
    return ch.recv()


@go.func
def calls_plain_with_channel():
    return plain_with_channel(go.chan(int, 1))


@njit
def plain_makes_channel(n):
    return go.chan(int, n).cap


@njit
def plain_calls_go(n):
    return works(n)


@njit(parallel=True)
def parallel_sum(a):
    total = 0.0
    for i in numba.prange(len(a)):
        total += a[i]
    return total


@go.func
def calls_parallel(a):
    return parallel_sum(a)


@pytest.mark.parametrize(
    "function, arguments, words",
    [
        (unknown_attribute, (1,), ["Unknown attribute 'nothing' of type int", "return n.nothing"]),
        (unknown_name, (), ["no_such_name"]),
        (types_do_not_unify, (1,), ["returns int in line", "and str in line"]),
        (text_plus_number, (1,), ["str + int is not supported", '"a" + n']),
        (list_of_structs, (), ["list", "Node", "collector", "list_of_structs"]),
        (sends_text, (), ["cannot send str on chan(int)"]),
        (sends_struct, (), ["cannot send Node on chan(int)"]),
        (sends_float, (), ["cannot send float on chan(int)"]),
        (sends_none, (), ["cannot send None on chan(int)"]),
        (tries_text, (), ["cannot send str on chan(int)"]),
        (send_without_value, (), ["send(value) takes one argument"]),
        (recv_with_value, (), ["recv() takes no arguments"]),
        (close_with_value, (), ["close() takes no arguments"]),
        (unknown_method, (), ["has no 'put'", "send", "recv"]),
        (capacity_is_text, (), ["capacity is an integer"]),
        (too_many_for_chan, (), ["go.chan(type, cap=0)"]),
        (unknown_option_of_chan, (), ["go.chan(type, cap=0)"]),
        (gosched_with_argument, (), ["go.gosched() takes no arguments"]),
        (calls_with_one, (), ["takes_two", "'b'"]),
        (constructor_with_too_many, (), ["Node() takes at most 2 arguments", "got 3"]),
        (spawns_a_number, (), ["go.spawn takes a function decorated with @go.func"]),
        (spawns_wrong_count, (), ["go.spawn(takes_two", "'b'"]),
        (calls_parallel, (np.zeros(10),), ["parallel=True", "go.spawn"]),
    ],
)
def test_refused_at_compile_time(function, arguments, words):
    for _ in range(2):  # the second time it is as clear as the first
        with pytest.raises(numba.core.errors.NumbaError) as caught:
            go.run(function, *arguments)
        text = str(caught.value)
        for word in words:
            assert word in text
        assert "test_errors_input.py" in text


def test_plain_njit_functions_cannot_use_channels():
    with pytest.raises(numba.core.errors.NumbaError) as caught:
        plain_makes_channel(1)
    assert "go.chan works only inside a @go.func" in str(caught.value)
    assert "plain @njit" in str(caught.value)
    with pytest.raises(numba.core.errors.NumbaError, match="is a go function: a plain @njit function cannot call it"):
        plain_calls_go(1)
    with pytest.raises(numba.core.errors.NumbaError) as caught:
        go.run(calls_plain_with_channel)
    assert "plain_with_channel" in str(caught.value)
    assert "@go.func" in str(caught.value)


# ---- wrong use of go.run


def plain(n):
    return n


@pytest.mark.parametrize("thing", [plain, plain_makes_channel, 3, None, "works", len, Node])
def test_run_takes_go_functions(thing):
    with pytest.raises(TypeError, match=r"is no go function.*@go\.func"):
        go.run(thing, 1)


@pytest.mark.parametrize(
    "arguments, keywords, words",
    [
        ((), {}, "missing a required argument: 'a'"),
        ((1,), {}, "missing a required argument: 'b'"),
        ((1, 2, 3), {}, "too many positional arguments"),
        ((1,), {"c": 2}, "'b'|'c'"),
        ((1, 2), {"a": 1}, "multiple values for argument 'a'"),
    ],
)
def test_wrong_argument_counts(arguments, keywords, words):
    with pytest.raises(TypeError, match=words) as caught:
        go.run(takes_two, *arguments, **keywords)
    assert "takes_two" in str(caught.value)


@pytest.mark.parametrize("argument", [object(), {}, [1, "a"], lambda n: n, Exception("x"), np.array([object()])])
def test_arguments_that_compiled_code_does_not_know(argument):
    with pytest.raises((TypeError, ValueError, numba.core.errors.NumbaError)):
        go.run(works, argument)


def test_an_integer_that_does_not_fit():
    with pytest.raises(OverflowError):
        go.run(works, 2**70)


def test_what_the_decorators_refuse():
    with pytest.raises(TypeError, match="use go.spawn"):
        go.func(parallel=True)
    with pytest.raises(TypeError, match="unknown option nogil"):
        go.func(nogil=True)
    with pytest.raises(TypeError, match="take @njit off"):
        go.func(plain_makes_channel)
    with pytest.raises(TypeError, match="decorates a function"):
        go.func(3)


def test_operations_from_python_say_where_they_belong():
    for call in (
        lambda: go.select(),
        lambda: go.spawn(works, 1),
        lambda: go.List[int](),
    ):
        with pytest.raises(TypeError, match=r"inside a @go\.func"):
            call()


# ---- errors while it runs


@go.func
def divides(a, b):
    return a // b


@go.func
def true_divides(a, b):
    return a / b


@go.func
def remainder(a, b):
    return a % b


@go.func
def indexes(a, i):
    return a[i]


@go.func
def stores(a, i):
    a[i] = 1


@go.func
def indexes_text(text, i):
    return text[i]


@go.func
def indexes_tuple(i):
    return (1, 2, 3)[i]


@go.func
def nil_field(n):
    node = Node(n)
    return node.next.value


@go.func
def closes_twice():
    ch = go.chan(int)
    ch.close()
    ch.close()


@go.func
def sends_on_closed():
    ch = go.chan(int, 1)
    ch.close()
    ch.send(1)


@go.func
def sends_closed_later():
    ch = go.chan(int)
    go.spawn(closes, ch)
    ch.send(1)


@go.func
def closes(ch):
    ch.close()


@go.func
def fails_unwatched(a, b):
    divides(a, b)


@go.func
def nobody_waits():
    go.spawn(fails_unwatched, 1, 0)
    go.select()


@go.func
def asserts(n):
    if n != 1:
        raise AssertionError("n is", n)


@pytest.mark.parametrize(
    "function, arguments, error, words",
    [
        (divides, (1, 0), ZeroDivisionError, ""),
        (divides, (1.5, 0.0), ZeroDivisionError, ""),
        (true_divides, (1, 0), ZeroDivisionError, ""),
        (remainder, (1, 0), ZeroDivisionError, ""),
        (indexes, (np.arange(3), 3), IndexError, ""),
        (indexes, (np.arange(3), -4), IndexError, ""),
        (indexes, (np.arange(3), 2**62), IndexError, ""),
        (stores, (np.arange(3), 3), IndexError, ""),
        (indexes_text, ("abc", 3), IndexError, ""),
        (indexes_tuple, (3,), IndexError, ""),
        (nil_field, (1,), go.NilPointerError, "field 'value' of Node"),
        (closes_twice, (), go.ClosedChannelError, "close of closed channel"),
        (sends_on_closed, (), go.ClosedChannelError, "send on closed channel"),
        (sends_closed_later, (), go.ClosedChannelError, "send on closed channel"),
        (nobody_waits, (), ZeroDivisionError, ""),
        (asserts, (2,), AssertionError, "n is"),
    ],
)
def test_raises(function, arguments, error, words):
    for _ in range(3):
        with pytest.raises(error) as caught:
            go.run(function, *arguments)
        assert words in str(caught.value)
        assert type(caught.value) is error
        text = "".join(traceback.format_exception(caught.value))
        assert "test_errors_input.py" in text
        where = {"nobody_waits": "fails_unwatched"}.get(function.__name__, function.__name__)
        assert f"in {where}" in text


@go.func
def wraps(a, b):
    return a + b, a * b, -a


def test_integers_wrap():
    assert go.run(wraps, 2**63 - 1, 1) == (-(2**63), 2**63 - 1, -(2**63) + 1)
    assert go.run(wraps, -(2**63), -1) == (2**63 - 1, -(2**63), -(2**63))


@go.func
def array_work(a):
    """Array expressions and NumPy's functions, as any user of Numba writes them."""
    b = np.sqrt(a) * 2 + 1
    b[b > 4] = 0
    return b.sum(), (a + a).max(), np.cumsum(a)[-1], len(np.concatenate((a, b)))


def array_work_in_a_process():
    return tuple(float(x) for x in go.run(array_work, np.array([0.0, 1.0, 4.0])))


def test_array_expressions_do_not_crash_the_process():
    assert subprocesses.call(__name__, "array_work_in_a_process") == (4.0, 8.0, 5.0, 6.0)


@go.func
def container_work(n):
    """Numba's own containers of plain values."""
    squares = {i: i * i for i in range(n)}
    names = {"a": 1.5}
    seen = {0, 1}
    seen.add(n % 3 + 1)
    items = [i for i in range(n)]
    items.append(5)
    return squares[n - 1], names["a"], len(seen), sum(items)


def test_containers_of_plain_values_work():
    assert go.run(container_work, 4) == (9, 1.5, 3, 11)
