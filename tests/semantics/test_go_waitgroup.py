"""go.WaitGroup: what Go's own tests of it check.

Sources of the questions: sync/waitgroup_test.go by the names in the docstrings, and what its documentation promises;
test_go_tests.py says which test of Go is answered where. The simple cases are in test_waitgroup.py.
"""

from __future__ import annotations

import numpy as np
import pytest

import gopark as go
from tests.semantics.turns import let_others_run, wait_for


@go.struct
class Shifted:
    """Groups behind fields of one byte."""

    a: np.int8
    first: go.WaitGroup
    b: np.int8
    c: np.int8
    second: go.WaitGroup
    d: bool


# ---- TestWaitGroup


@go.func
def meet(first, second, exited):
    first.done()
    second.wait()
    exited.send(True)


@go.func
def two_barriers(rounds, n):
    """How often somebody passed the second barrier before all had been let through, and who passed in the end."""
    first, second = go.WaitGroup(), go.WaitGroup()
    early = passed = 0
    for _ in range(rounds):
        first.add(n)
        second.add(n)
        exited = go.chan(bool, n)
        for _ in range(n):
            go.spawn(meet, first, second, exited)
        first.wait()
        for _ in range(n):
            early += exited.try_recv()[1]
            second.done()
        for _ in range(n):
            passed += exited.recv()
    return early, passed


def test_two_groups_as_barriers_again_and_again(procs):
    """TestWaitGroup: nobody is let through before the last `done`, everybody after it, eight times and more."""
    assert go.run(two_barriers, 8, 16) == (0, 8 * 16)
    assert go.run(two_barriers, 500, 3) == (0, 500 * 3)


# ---- TestWaitGroupRace, TestWaitGroupAlign


@go.func
def mark(log, i, group):
    log[i] += 1
    group.done()


@go.func
def woken_too_soon(log, times):
    early = 0
    for k in range(times):
        group = go.WaitGroup()
        group.add(1)
        go.spawn(mark, log, 0, group)
        group.add(1)
        go.spawn(mark, log, 1, group)
        group.wait()
        early += log[0] != k + 1 or log[1] != k + 1
    return early


def test_wait_does_not_return_between_two_that_are_added_one_by_one(procs):
    """TestWaitGroupRace. The counter may go 1, 0, 1, 0 here or 1, 2, 1, 0."""
    assert go.run(woken_too_soon, np.zeros(2, np.int64), 10_000) == 0


@go.func
def done_in(x, which):
    if which:
        x.second.done()
    else:
        x.first.done()


@go.func
def behind_bytes(n):
    x = Shifted(np.int8(-1), np.int8(-2), np.int8(-3), True)
    x.first.add(n)
    x.second.add(n)
    for i in range(2 * n):
        go.spawn(done_in, x, i % 2 == 0)
    x.first.wait()
    x.second.wait()
    return x.a, x.b, x.c, x.d


def test_groups_behind_fields_of_one_byte(procs):
    """TestWaitGroupAlign."""
    assert go.run(behind_bytes, 100) == (-1, -2, -3, True)


# ---- adding while somebody waits


@go.func
def grow(group, log, at, width):
    """Counted already: marks its place and has the group count those that it starts."""
    if 2 * at + 2 < width:
        group.add(2)
        go.spawn(grow, group, log, 2 * at + 1, width)
        go.spawn(grow, group, log, 2 * at + 2, width)
    go.gosched()
    log[at] += 1
    group.done()


@go.func
def grown(log):
    group = go.WaitGroup()
    group.add(1)
    go.spawn(grow, group, log, 0, len(log))
    group.wait()
    missing = 0
    for i in range(len(log)):
        missing += log[i] != 1
    return missing


def test_the_group_grows_while_somebody_waits(procs):
    """`add` of a positive number may come at any time while the counter is not zero: a tree that counts itself."""
    for n in (1, 3, 4095):
        assert go.run(grown, np.zeros(n, np.int64)) == 0


@go.func
def wait_and_mark(group, log, at):
    log[at] = 1
    group.wait()
    log[at] = 2


@go.func
def up_and_down(log):
    """Waiters beside a counter that moves and never reaches zero; then it does."""
    group = go.WaitGroup()
    group.add(1)
    for i in range(len(log)):
        go.spawn(wait_and_mark, group, log, i)
    for i in range(len(log)):
        wait_for(log, i, 1)
    let_others_run(20)
    for k in range(1, 100):
        group.add(k)
        go.gosched()
        group.add(1 - k)
        group.done()
    early = 0
    for i in range(len(log)):
        early += log[i] != 1
    group.done()
    for i in range(len(log)):
        wait_for(log, i, 2)
    return early


def test_waiters_stay_until_the_counter_is_zero(procs):
    assert go.run(up_and_down, np.zeros(20, np.int64)) == 0


# ---- reuse


@go.func
def reused_at_once(log):
    """The next round begins before the waiter of the last one has run: it is let go, and takes nobody's place."""
    group = go.WaitGroup()
    n = len(log) - 1
    for i in range(n):
        group.add(1)
        go.spawn(wait_and_mark, group, log, i)
        wait_for(log, i, 1)
        let_others_run(5)
        group.done()
    group.add(1)
    go.spawn(wait_and_mark, group, log, n)
    wait_for(log, n, 1)
    for i in range(n):
        wait_for(log, i, 2)
    let_others_run(20)
    early = log[n] != 1
    group.done()
    wait_for(log, n, 2)
    return early


def test_a_group_is_used_again_before_its_waiters_have_left():
    """In Go this is a misuse that panics where it is noticed. Here every waiter belongs to the round in which it began
    to wait. With one P, who noted its start waits when the next one runs; several: test_barriers of test_waitgroup.py.
    """
    before = go.gomaxprocs(1)
    try:
        assert not go.run(reused_at_once, np.zeros(21, np.int64))
    finally:
        go.gomaxprocs(before)


# ---- misuse


@go.func
def once_too_often():
    group = go.WaitGroup()
    group.add(1)
    group.done()
    group.done()


@go.func
def finish(group):
    group.done()


@go.func
def once_too_often_in_a_goroutine():
    group, never = go.WaitGroup(), go.chan(int)
    group.add(1)
    go.spawn(finish, group)
    go.spawn(finish, group)
    never.recv()


@pytest.mark.parametrize("function", [once_too_often, once_too_often_in_a_goroutine])
def test_done_once_too_often(function, procs):
    """TestWaitGroupMisuse."""
    with pytest.raises(RuntimeError, match="^sync: negative WaitGroup counter") as caught:
        go.run(function)
    assert caught.value.args == ("sync: negative WaitGroup counter",)


@go.func
def misused_beside_waiters(log):
    """Taking away too much raises and changes nothing: those who wait go on waiting, until the right `done`."""
    group = go.WaitGroup()
    group.add(2)
    for i in range(len(log)):
        go.spawn(wait_and_mark, group, log, i)
    for i in range(len(log)):
        wait_for(log, i, 1)
    let_others_run(20)
    caught = 0
    for k in range(3, 10):
        try:
            group.add(-k)
        except Exception:
            caught += 1
    group.done()
    let_others_run(20)
    early = 0
    for i in range(len(log)):
        early += log[i] != 1
    group.done()
    for i in range(len(log)):
        wait_for(log, i, 2)
    group.wait()
    return caught, early


def test_a_misuse_does_not_wake_the_waiters(procs):
    assert go.run(misused_beside_waiters, np.zeros(5, np.int64)) == (7, 0)


@go.func
def largest():
    """The counter has 31 bits; one more is negative."""
    group = go.WaitGroup()
    most = (1 << 31) - 1
    group.add(most)
    caught = 0
    try:
        group.add(1)
    except Exception:
        caught += 1
    try:
        group.add(most)
    except Exception:
        caught += 1
    group.add(-most)
    group.wait()
    try:
        group.add(most + 1)
    except Exception:
        caught += 1
    group.wait()
    return caught


def test_the_largest_counter():
    assert go.run(largest) == 3


# ---- a goroutine that fails before it is done


@go.func
def fail_counted(group, by):
    n = 1 // by
    if n:
        group.done()


@go.func
def wait_for_the_failed(log, n, by):
    group = go.WaitGroup()
    group.add(n)
    for _ in range(n - 1):
        go.spawn(finish, group)
    go.spawn(fail_counted, group, by)
    group.wait()
    log[0] += 1


def test_wait_does_not_return_when_a_counted_goroutine_fails(procs):
    """TestIssue76126: what it raises ends the run before anybody can take it for done."""
    log = np.zeros(1, np.int64)
    go.run(wait_for_the_failed, log, 3, 1)
    for _ in range(200):
        with pytest.raises(ZeroDivisionError):
            go.run(wait_for_the_failed, log, 3, 0)
    assert log[0] == 1
