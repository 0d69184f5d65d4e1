"""go.submit: runs whose results come as Futures."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import sys
import threading

import numpy as np
import pytest

import gopark as go
from gopark.bridge import futures

PATIENCE = 100


@go.struct
class Node:
    value: int
    next: Node


@go.func
def square(n):
    go.gosched()
    return n * n


@go.func
def fails(n):
    if n % 2 == 1:
        go.spawn(fails_alone, n)
        go.chan(int).recv()
    return n


@go.func
def fails_alone(n):
    raise ValueError("odd", n)


@go.func
def touches(a, text, node):
    a[0] += 1
    return a, text + "!", Node(node.value + 1, node)


@go.func
def asleep(n):
    return go.chan(int).recv()


@go.func
def endless(ch):
    ch.send(1)
    while True:
        go.gosched()


@go.func
def forwards(a, b):
    b.send(a.recv() + 1)


@go.func
def says_nothing(ch):
    ch.send(1)


def test_a_result():
    future = go.submit(square, 7)
    assert isinstance(future, concurrent.futures.Future)
    assert future.result(PATIENCE) == 49
    assert future.done() and not future.running() and not future.cancelled() and not future.cancel()
    assert future.exception() is None


def test_arguments_and_results_of_all_kinds():
    a, node = np.zeros(3), Node(4, None)
    array, text, made = go.submit(touches, a, "hey", node=node).result(PATIENCE)
    assert array is a and a[0] == 1 and text == "hey!"
    assert made.value == 5 and made.next is node
    ch = go.chan(int, 1)
    assert go.submit(says_nothing, ch).result(PATIENCE) is None and ch.recv() == 1


def test_thousands_at_once(procs):
    futures = [go.submit(square, i) for i in range(3000)]
    assert [f.result(PATIENCE) for f in futures] == [i * i for i in range(3000)]


def test_a_chain_of_runs_that_wait_for_each_other():
    channels = [go.chan(int) for _ in range(200)]
    futures = [go.submit(forwards, a, b) for a, b in zip(channels, channels[1:], strict=False)]
    channels[0].send(0)
    assert channels[-1].recv(timeout=PATIENCE) == 199
    assert [f.result(PATIENCE) for f in futures] == [None] * 199


def test_exceptions_of_main_and_of_children():
    futures = [go.submit(fails, i) for i in range(20)]
    for i, future in enumerate(futures):
        if i % 2 == 0:
            assert future.result(PATIENCE) == i
        else:
            error = future.exception(PATIENCE)
            assert type(error) is ValueError and error.args == ("odd", i)
            assert "started at" in error.__notes__[0] and "by fails" in error.__notes__[0]
            assert error.__traceback__.tb_frame.f_code.co_name == "fails_alone"


def test_a_deadlock_is_the_futures_exception():
    futures = [go.submit(asleep, i) for i in range(30)]
    for future in futures:
        error = future.exception(PATIENCE)
        assert type(error) is go.DeadlockError and "[chan receive]" in str(error)


def test_a_deadlock_beside_runs_that_go_on():
    ch = go.chan(int)
    busy = go.submit(endless, ch)
    assert ch.recv(timeout=PATIENCE) == 1
    assert type(go.submit(asleep, 1).exception(PATIENCE)) is go.DeadlockError
    assert busy.running() and busy.cancel()


@go.func
def computes_beside_waiters(stop):
    nobody = go.chan(int)
    for _ in range(20):
        go.spawn(forwards, nobody, nobody)
    while True:
        _, ok = stop.try_recv()
        if ok:
            return 5
        go.gosched()


def test_one_that_computes_keeps_its_run_from_being_dead():
    stop = go.chan(int)
    future = go.submit(computes_beside_waiters, stop)
    with pytest.raises(concurrent.futures.TimeoutError):
        future.result(0.5)
    stop.send(1)
    assert future.result(PATIENCE) == 5


def test_cancel_ends_the_run(procs):
    ch = go.chan(int)
    futures = [go.submit(endless, ch) for _ in range(10)]
    for _ in futures:
        assert ch.recv(timeout=PATIENCE) == 1
    assert not any(f.done() for f in futures)
    assert all(f.cancel() for f in futures) and all(f.cancelled() for f in futures)
    with pytest.raises(concurrent.futures.CancelledError):
        futures[0].result()
    assert go.submit(square, 3).result(PATIENCE) == 9


def test_cancelling_races_with_the_end():
    for i in range(300):
        future = go.submit(square, i)
        if future.cancel():
            assert future.cancelled()
        else:
            assert future.result(PATIENCE) == i * i


def test_several_threads_submit():
    results = {}

    def work(k):
        results[k] = [f.result(PATIENCE) for f in [go.submit(square, k * 1000 + i) for i in range(200)]]

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert results == {k: [(k * 1000 + i) ** 2 for i in range(200)] for k in range(4)}


def test_callbacks_may_submit():
    done = threading.Event()

    def again(future):
        go.submit(square, future.result()).add_done_callback(lambda f: (results.append(f.result()), done.set()))

    results = []
    go.submit(square, 3).add_done_callback(again)
    assert done.wait(PATIENCE) and results == [81]


def test_asyncio():
    async def main():
        numbers = await asyncio.gather(*(asyncio.wrap_future(go.submit(square, i)) for i in range(500)))
        assert numbers == [i * i for i in range(500)]
        ch = go.chan(int)
        waiting = asyncio.wrap_future(go.submit(endless, ch))
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(waiting, 0.05)  # which cancels it
        with pytest.raises(ValueError, match="odd"):
            await asyncio.wrap_future(go.submit(fails, 1))

    asyncio.run(main())


def test_run_and_handles_inside_of_an_event_loop():
    async def main():
        ch = go.chan(int, 1)
        ch.send(2)
        return go.run(square, ch.recv())

    assert asyncio.run(main()) == 4


def test_what_was_passed_is_let_go():
    a = np.zeros(4)
    before = sys.getrefcount(a)
    ch = go.chan(int)
    for future in [go.submit(touches, a, "x", Node(1, None)) for _ in range(50)]:
        future.result(PATIENCE)
    futures = [go.submit(endless, ch) for _ in range(5)]
    for f in futures:
        f.cancel()
    del future, f, futures
    go.submit(square, 1).result(PATIENCE)
    gc.collect()
    assert a[0] == 50 and sys.getrefcount(a) == before


def test_an_interrupt_just_behind_the_start_does_not_stop_the_server(monkeypatch):
    """The run is there, although its Future has been lost: it is served like any other."""
    wrappers = futures._wrappers(square, (3,))
    begin, result = wrappers.entries

    def begin_and_be_interrupted(*arguments):
        begin(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(wrappers, "entries", [begin_and_be_interrupted, result])
    with pytest.raises(KeyboardInterrupt):
        go.submit(square, 3)
    monkeypatch.undo()
    assert go.submit(square, 4).result(PATIENCE) == 16


def test_what_is_refused():
    with pytest.raises(TypeError, match="go.submit.*no go function; decorate it with @go.func"):
        go.submit(len, 1)
    with pytest.raises(TypeError, match=r"go\.submit\(square, \.\.\.\): missing a required argument: 'n'"):
        go.submit(square)


@go.func
def does_not_compile(n):
    return n + "x"


def test_a_compile_error_is_raised_at_once():
    with pytest.raises(Exception, match=r"test_submit\.py:\d+: int \+ str is not supported in compiled code"):
        go.submit(does_not_compile, 1)
