"""go.gomaxprocs: the number of Ps, asked and changed between runs."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import gopark as go


@pytest.fixture(autouse=True)
def as_before():
    number = go.gomaxprocs()
    yield
    go.gomaxprocs(number)


@go.func
def ask():
    return go.gomaxprocs()


@go.func
def yielder(wg, i):
    for _ in range(50):
        go.gosched()
    wg.add(-i)


@go.func
def many(n):
    """n goroutines that yield, each counted once; and the number of Ps."""
    wg = go.WaitGroup()
    wg.add(n * (n + 1) // 2)
    for i in range(1, n + 1):
        go.spawn(yielder, wg, i)
    wg.wait()
    return go.gomaxprocs()


def test_it_returns_the_previous_value():
    go.gomaxprocs(3)
    assert go.gomaxprocs(5) == 3
    assert go.gomaxprocs() == 5
    assert go.run(ask) == 5


@pytest.mark.parametrize("n", [0, -1, -(10**6)])
def test_below_one_it_only_asks(n):
    go.gomaxprocs(2)
    assert go.gomaxprocs(n) == 2
    assert go.gomaxprocs() == 2


def test_runs_work_at_every_number_up_and_down():
    for n in (1, 4, 2, 8, 1, 3, 256, 1):
        go.gomaxprocs(n)
        assert go.run(many, 300) == n


def test_a_p_out_of_service_gives_its_goroutines_back():
    """The stacks that a P kept are used again: their number does not grow with each change."""
    for n in (4, 1) * 2:
        go.gomaxprocs(n)
        go.run(many, 1000)
    before = go.mem_stats().stack_sys
    for n in (4, 1) * 20:
        go.gomaxprocs(n)
        go.run(many, 1000)
    assert go.mem_stats().stack_sys - before < 200 * 262144


@go.func
def wait_for(started, stop):
    started[0] = 1
    while stop[0] == 0:
        go.gosched()
    return started[0]


def test_it_is_refused_while_a_run_is_active():
    started, stop = np.zeros(1, np.int64), np.zeros(1, np.int64)
    results = []
    number = go.gomaxprocs()
    thread = threading.Thread(target=lambda: results.append(go.run(wait_for, started, stop)))
    thread.start()
    try:
        while not started[0]:
            pass
        with pytest.raises(RuntimeError, match=r"go.gomaxprocs\(7\): a run is active.*set GOMAXPROCS=7"):
            go.gomaxprocs(7)
        assert go.gomaxprocs() == number
    finally:
        stop[0] = 1
        thread.join()
    assert results == [1]
    assert go.gomaxprocs(7) == number


def test_threads_that_change_it_and_a_thread_that_runs():
    """Each change is refused or complete; no run is harmed."""
    failures = []

    def change(factor):
        for i in range(60):
            try:
                go.gomaxprocs(1 + (i * factor) % 6)
            except RuntimeError as e:
                if "a run is active" not in str(e):
                    failures.append(e)

    def work():
        failures.extend(n for n in (go.run(many, 20) for _ in range(60)) if not 1 <= n <= 6)

    go.gomaxprocs(2)
    go.run(many, 20)
    threads = [threading.Thread(target=change, args=(k,)) for k in (1, 5)] + [threading.Thread(target=work)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failures
    assert go.run(many, 100) == go.gomaxprocs()


@pytest.mark.parametrize(("bad", "error"), [(257, ValueError), ("2", TypeError), (1.0, TypeError)])
def test_wrong_arguments(bad, error):
    number = go.gomaxprocs()
    with pytest.raises(error):
        go.gomaxprocs(bad)
    assert go.gomaxprocs() == number


@go.func
def change_inside():
    return go.gomaxprocs(3)


def test_compiled_code_only_asks():
    with pytest.raises(Exception, match="cannot change while goroutines run. Call it from Python"):
        go.run(change_inside)
