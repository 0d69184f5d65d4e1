"""Programs with write-barrier pragmas, for test_pragmas.py: runs the functions that are named, in order.

Prints a JSON list with [result] or [name of the exception, its text] for each. The marked functions get their object
from an unmarked caller: an allocation is a matter of its own.
"""

from __future__ import annotations

import json
import sys

import gopark as go

uncached = go.func(cache=False)


@go.struct
class Node:
    key: int
    next: Node


@go.nowritebarrier
@uncached
def above(a):
    a.next = a
    return 1


@uncached
@go.nowritebarrier
def below(a):
    a.next = a
    return 1


@uncached
@go.nowritebarrier
def nil_store(a):
    a.next = None
    return 1


@uncached
@go.nowritebarrier
def constructor(a):
    return Node(3, a).key


@uncached
@go.nowritebarrierrec
def numbers_only(a):
    a.key += 3
    return a.key


@uncached
def helper(a):
    a.next = a
    return 1


@uncached
def middle(a):
    return helper(a)


@uncached
@go.nowritebarrier
def shallow(a):
    return helper(a)


@uncached
@go.nowritebarrierrec
def deep(a):
    return middle(a)


@uncached
@go.nowritebarrierrec
def two_ways(a):
    return middle(a) + helper(a)


@uncached
@go.yeswritebarrierrec
def trusted(a):
    return middle(a)


@uncached
@go.nowritebarrierrec
def cut(a):
    return trusted(a)


@uncached
@go.nowritebarrierrec
def cut_beside(a):
    return trusted(a) + helper(a)


@uncached
@go.nowritebarrierrec
def even(a, n):
    return 1 if n == 0 else odd(a, n - 1)


@uncached
def odd(a, n):
    return 0 if n == 0 else even(a, n - 1)


@uncached
@go.nowritebarrierrec
def even_stores(a, n):
    return 1 if n == 0 else odd_stores(a, n - 1)


@uncached
def odd_stores(a, n):
    a.next = a
    return 0 if n == 0 else even_stores(a, n - 1)


@go.func
@go.nowritebarrier
def cached(a):
    a.next = a
    return 1


# ---- what go.run starts: one unmarked caller for each


@uncached
def run_above():
    return above(Node())


@uncached
def run_above_too():
    return 10 + above(Node())


@uncached
def run_below():
    return below(Node())


@uncached
def run_nil_store():
    return nil_store(Node())


@uncached
def run_constructor():
    return constructor(Node())


@uncached
def run_numbers_only():
    return numbers_only(Node())


@uncached
def run_shallow():
    return shallow(Node())


@uncached
def run_deep():
    return deep(Node())


@uncached
def run_two_ways():
    return two_ways(Node())


@uncached
def run_cut():
    return cut(Node())


@uncached
def run_cut_beside():
    return cut_beside(Node())


@uncached
def run_even():
    return even(Node(), 3)


@uncached
def run_odd():
    return odd(Node(), 3)


@uncached
def run_even_stores():
    return even_stores(Node(), 3)


@uncached
def run_odd_stores():
    return odd_stores(Node(), 3)


@uncached
def run_spawns():
    go.spawn(below, Node())
    return 1


@uncached
def run_unrelated():
    return 4


@go.func
def run_cached():
    return cached(Node())


def outcome(name: str) -> list:
    try:
        return [go.run(globals()["run_" + name])]
    except Exception as e:
        return [type(e).__name__, str(e)]


if __name__ == "__main__":
    print(json.dumps([outcome(name) for name in sys.argv[1:]]))
