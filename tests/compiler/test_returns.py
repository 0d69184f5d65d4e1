"""CPython copies the end of a function into its branches; a variable keeps one type all the same."""

from __future__ import annotations

import pytest

import gopark as go
from gopark.compiler import returns
from gopark.compiler.numba_api import bytecode


@go.struct
class Node:
    value: int
    next: Node


@go.func
def conditional_expression(n):
    node = Node(n, None) if n else None
    return node.value


@go.func
def branches(n):
    if n:
        node = Node(n, None)
    else:
        node = None
    return node.value


@go.func
def three_branches(n):
    if n > 5:
        node = Node(n, None)
    elif n:
        node = Node(n, Node(n, None)).next
    else:
        node = None
    return node.value


@go.func
def inside_a_loop(n):
    total = 0
    for i in range(n + 1):
        if n:
            node = Node(total + n, None)
        else:
            node = None
        if i == n:
            return node.value - total
        total += i
    return -1


@go.func
def inside_a_try(n):
    try:
        node = Node(n, None) if n else None
        return node.value
    except Exception:
        return -1


@go.func
def behind_a_try(n):
    node = None
    try:
        if n:
            node = Node(n // (n - 3), None)
        else:
            node = None
    except Exception:
        return 3
    return node.value


@go.func
def raised(n):
    node = Node(n, None) if n else None
    raise ValueError(node.value)


ALL = [conditional_expression, branches, three_branches, inside_a_loop, inside_a_try, behind_a_try, raised]


@pytest.mark.parametrize("function", ALL[:4], ids=lambda f: f.__name__)
def test_one_type_in_all_branches(function):
    assert go.run(function, 2) == 2
    assert go.run(function, 7) == 7
    with pytest.raises(go.NilPointerError, match="field 'value' of Node") as caught:
        go.run(function, 0)
    last = function.py_func.__code__.co_firstlineno
    assert caught.traceback[-1].lineno + 1 > last


def test_inside_a_try():
    assert [go.run(inside_a_try, n) for n in (2, 0)] == [2, -1]


def test_behind_a_try():
    assert [go.run(behind_a_try, n) for n in (4, 3)] == [4, 3]
    with pytest.raises(go.NilPointerError):
        go.run(behind_a_try, 0)


def test_raised():
    with pytest.raises(ValueError, match="^2$"):
        go.run(raised, 2)
    with pytest.raises(go.NilPointerError):
        go.run(raised, 0)


# ---- what is joined


def joined(f):
    """The function's bytecode as Numba gets to see it."""
    code = bytecode.ByteCode(bytecode.FunctionIdentity.from_function(f))
    returns.join_returns(code, f.__code__)
    return code


def reachable_ends(code) -> int:
    """How many returns can be reached."""
    instructions = list(code)
    index = {i.offset: at for at, i in enumerate(instructions)}
    todo, seen, ends = [0], set(), 0
    while todo:
        at = todo.pop()
        if at in seen:
            continue
        seen.add(at)
        i = instructions[at]
        ends += i.opname.startswith("RETURN")
        if i.is_jump:
            todo.append(index[i.get_jump_target()])
        if not i.is_terminator and i.opname not in ("JUMP_FORWARD", "JUMP_BACKWARD"):
            todo.append(at + 1)
    return ends


@pytest.mark.parametrize("function", [branches, three_branches, conditional_expression], ids=lambda f: f.__name__)
def test_one_end_is_left(function):
    assert reachable_ends(joined(function.py_func)) == 1


def alike(n):
    if n:
        return n + 1
    return n + 1


def test_what_only_looks_alike_is_kept():
    """Errors of the two name different lines."""
    assert reachable_ends(joined(alike)) == 2
