"""go.run: results, exceptions with their lines, deadlocks, Ctrl-C, and what is left of a run (nothing)."""

from __future__ import annotations

import inspect
import os
import random
import re
import signal
import subprocess
import threading
import time
import traceback

import numba
import numpy as np
import pytest

import gopark as go
from tests.leaks import nothing_leaks
from tests.semantics import subprocesses


def line_of(function, text):
    """The number of the line of a go function that contains `text`."""
    lines, first = inspect.getsourcelines(function.py_func)
    return first + next(i for i, line in enumerate(lines) if text in line)


def formatted(error):
    return "".join(traceback.format_exception(error))


# ---- results


@go.func
def identity(x):
    return x


@go.func
def nothing():
    pass


@go.func
def nothing_or(n):
    if n:
        return n
    return None


@go.func
def several(n, text):
    return n + 1, (n * 0.5, text + "!"), True


@go.func
def made_array(n):
    return np.arange(0, 2 * n, 2)


@pytest.mark.parametrize(
    "value", [0, -(2**63), 2.5, True, False, "", "näive €\U0001f600", (1, 2.0), (1, ("x", (True,))), 1 + 2j, ()]
)
def test_values_come_back_as_they_went(value):
    result = go.run(identity, value)
    assert result == value
    assert type(result) is type(value)


def test_other_results():
    assert go.run(nothing) is None
    assert go.run(identity, None) is None
    assert go.run(nothing_or, 0) is None
    assert go.run(nothing_or, 3) == 3
    assert go.run(several, 3, "a") == (4, (1.5, "a!"), True)
    assert (go.run(made_array, 5) == [0, 2, 4, 6, 8]).all()
    array = np.arange(6.0).reshape(2, 3)
    assert go.run(identity, array) is not None
    assert (go.run(identity, array[:, 1:]) == array[:, 1:]).all()
    assert np.isnan(go.run(identity, float("nan")))


@go.func
def options(a, b=2, c=3):
    return a * 100 + b * 10 + c


def test_defaults_and_keywords():
    assert go.run(options, 1) == 123
    assert go.run(options, 1, c=4) == 124
    assert go.run(options, b=5, a=1) == 153


def test_calling_a_go_function_is_running_it():
    assert several(3, "a") == (4, (1.5, "a!"), True)


@go.func
def total_of(n):
    out = go.chan(int)
    for i in range(10):
        go.spawn(send_scaled, out, i, n)
    total = 0
    for _ in range(10):
        total += out.recv()
    return total


@go.func
def send_scaled(out, i, n):
    out.send(i * n)


def test_runs_on_several_python_threads():
    results = {}

    def work(k):
        results[k] = [go.run(total_of, k) for _ in range(200)]

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    assert results == {k: [45 * k] * 200 for k in range(8)}
    assert go.num_goroutine() == 0


# ---- exceptions


@go.func
def divide(a, by):
    return a // by


@go.func
def middle(a, by):
    return divide(a, by) + 1


@go.func
def fails_directly(by):
    return middle(1, by)


def test_the_traceback_shows_every_line_of_the_goroutine():
    with pytest.raises(ZeroDivisionError) as caught:
        go.run(fails_directly, 0)
    frames = [(f.name, f.lineno) for f in traceback.extract_tb(caught.value.__traceback__) if f.name != "run"]
    expected = [
        ("fails_directly", line_of(fails_directly, "return middle")),
        ("middle", line_of(middle, "return divide")),
        ("divide", line_of(divide, "return a // by")),
    ]
    assert frames[-3:] == expected
    assert "return a // by" in formatted(caught.value)
    assert go.run(fails_directly, 1) == 2


@go.func
def child(out, by):
    out.send(middle(1, by))


@go.func
def parent(by):
    out = go.chan(int)
    go.spawn(child, out, 1)
    out.recv()
    go.spawn(child, out, by)
    return out.recv()


def test_the_exception_of_a_child_names_its_lines_and_the_line_that_spawned_it():
    with pytest.raises(ZeroDivisionError) as caught:
        go.run(parent, 0)
    frames = [(f.name, f.lineno) for f in traceback.extract_tb(caught.value.__traceback__) if f.name != "run"]
    expected = [
        ("child", line_of(child, "out.send")),
        ("middle", line_of(middle, "return divide")),
        ("divide", line_of(divide, "return a // by")),
    ]
    assert frames[-3:] == expected
    text = formatted(caught.value)
    assert f"test_runs.py:{line_of(parent, 'go.spawn(child, out, by)')} by parent" in text
    assert "in goroutine" in text
    assert go.run(parent, 1) == 2


@go.func
def unnoticed(ch):
    ch.recv()
    raise KeyError("nobody waits for me")


@go.func
def nobody_waits():
    ch = go.chan(int)
    go.spawn(unnoticed, ch)
    ch.send(1)
    ch.recv()


def test_an_exception_that_nobody_waits_for_ends_the_run():
    with pytest.raises(KeyError, match="nobody waits for me") as caught:
        go.run(nobody_waits)
    assert "by nobody_waits" in formatted(caught.value)


@go.func
def raises(kind, n):
    if kind == 0:
        raise ValueError("static text", 7)
    if kind == 1:
        raise ValueError("dynamic", n)
    if kind == 2:
        raise RuntimeError
    if kind == 3:
        raise OverflowError("text " + str(n))
    if kind == 4:
        raise IndexError(n, (n, 0.5))
    return n


@pytest.mark.parametrize(
    "kind, error, arguments",
    [
        (0, ValueError, ("static text", 7)),
        (1, ValueError, ("dynamic", 12)),
        (2, RuntimeError, ()),
        (3, OverflowError, ("text 12",)),
        (4, IndexError, (12, (12, 0.5))),
    ],
)
def test_exceptions_keep_their_type_and_their_arguments(kind, error, arguments):
    with pytest.raises(error) as caught:
        go.run(raises, kind, 12)
    assert type(caught.value) is error
    assert caught.value.args == arguments
    assert f"line {line_of(raises, f'kind == {kind}') + 1}, in raises" in formatted(caught.value)
    assert go.run(raises, 9, 12) == 12


@go.func
def element(a, i):
    return a[i]


@go.func
def descend(n):
    if n == 0:
        return 0
    return 1 + descend(n - 1)


def test_errors_of_compiled_code():
    with pytest.raises(IndexError):
        go.run(element, np.zeros(3), 3)
    with pytest.raises(IndexError):
        go.run(element, np.zeros(3), -4)
    with pytest.raises(go.StackOverflowError) as caught:
        go.run(descend, 10**9)
    assert "descend" in formatted(caught.value)
    assert go.run(descend, 1000) == 1000


@go.func
def two_fail(n):
    ch = go.chan(int)
    for i in range(n):
        go.spawn(fails_after, ch, i)
    ch.close()
    for _ in range(1000):
        go.gosched()


@go.func
def fails_after(ch, i):
    ch.recv()
    raise ValueError("goroutine", i)


def test_one_of_several_failures_comes_out():
    for _ in range(50):
        with pytest.raises(ValueError, match="goroutine"):
            go.run(two_fail, 20)
    assert go.num_goroutine() == 0


# ---- deadlocks


@go.func
def waits_to_receive(ch):
    ch.recv()


@go.func
def waits_to_send(ch):
    ch.send(1)


@go.func
def waits_to_select(a, b):
    go.select(a=go.recv(a), b=go.send(b, 1))


@go.func
def waits_for_mutex(mu):
    mu.lock()


@go.func
def waits_for_group(group):
    group.wait()


@go.func
def all_asleep():
    a, b, c = go.chan(int), go.chan(int), go.chan(float)
    mu, group = go.Mutex(), go.WaitGroup()
    mu.lock()
    group.add(1)
    go.spawn(waits_to_receive, a)
    go.spawn(waits_to_send, b)
    go.spawn(waits_to_select, a, go.chan(int))
    go.spawn(waits_for_mutex, mu)
    go.spawn(waits_for_group, group)
    c.recv()


def test_a_deadlock_lists_every_goroutine_with_state_and_line():
    with pytest.raises(go.DeadlockError) as caught:
        go.run(all_asleep)
    text = str(caught.value)
    assert text.startswith("all goroutines are asleep - deadlock!")
    blocks = text.split("\n\n")[1:]
    assert len(blocks) == 6
    expected = [
        ("chan receive", all_asleep, "c.recv()", None),
        ("chan receive", waits_to_receive, "ch.recv()", "go.spawn(waits_to_receive"),
        ("chan send", waits_to_send, "ch.send(1)", "go.spawn(waits_to_send"),
        ("select", waits_to_select, "go.select", "go.spawn(waits_to_select"),
        ("sync.Mutex.Lock", waits_for_mutex, "mu.lock()", "go.spawn(waits_for_mutex"),
        ("sync.WaitGroup.Wait", waits_for_group, "group.wait()", "go.spawn(waits_for_group"),
    ]
    for reason, function, where, spawned in expected:
        block = next(b for b in blocks if f"in {function.__name__}" in b)
        assert block.startswith("goroutine ")
        assert f"[{reason}]:" in block
        assert f"test_runs.py:{line_of(function, where)} in {function.__name__}" in block
        if spawned:
            assert f"started at {__file__}:{line_of(all_asleep, spawned)} by all_asleep" in block


@go.func
def dead_at_depth(n, ch):
    if n == 0:
        return ch.recv()
    return dead_at_depth(n - 1, ch) + 1


@go.func
def many_asleep(n):
    ch = go.chan(int)
    for _ in range(n):
        go.spawn(waits_to_receive, ch)
    return dead_at_depth(5, ch)


def test_a_deadlock_of_many():
    with pytest.raises(go.DeadlockError) as caught:
        go.run(many_asleep, 1000)
    text = str(caught.value)
    assert text.count(f"test_runs.py:{line_of(dead_at_depth, '+ 1')} in dead_at_depth") == 5
    assert "more goroutines" in text
    assert go.num_goroutine() == 0


def test_a_deadlock_is_found_soon():
    start = time.monotonic()
    for _ in range(5):
        with pytest.raises(go.DeadlockError):
            go.run(all_asleep)
    assert time.monotonic() - start < 5


@go.func
def computes_until(stop):
    n = 0
    while stop[0] == 0:
        n += 1
    return n


def deadlocks_beside_a_run():
    stop = np.zeros(1, np.int64)
    other = threading.Thread(target=go.run, args=(computes_until, stop))
    other.start()
    try:
        for _ in range(3):
            with pytest.raises(go.DeadlockError):
                go.run(many_asleep, 10)
    finally:
        stop[0] = 1
        other.join()
    return go.num_goroutine()


@pytest.mark.parametrize("procs", [1, 2])
def test_a_deadlock_is_found_while_another_run_computes(procs):
    """A P is never idle, so nobody says that it is time to look: the thread in go.run looks by itself."""
    assert subprocesses.call(__name__, "deadlocks_beside_a_run", GOMAXPROCS=procs) == 0


@go.func
def slow_but_alive(n):
    """Everybody is parked most of the time, but never all."""
    ch = go.chan(int)
    go.spawn(computes, ch, n)
    return ch.recv()


@go.func
def computes(ch, n):
    x = 1
    for i in range(n):
        x = (x * 1103515245 + i) & 0x7FFFFFFF
        if x == -1:
            go.gosched()
    ch.send(x & 0)


def test_a_goroutine_that_computes_is_no_deadlock():
    assert go.run(slow_but_alive, 200_000_000) == 0


# ---- Ctrl-C


@go.func
def loops():
    n = 0
    while n >= 0:
        n = (n + 1) & 0xFFFFFF
    return n


@go.func
def loops_in_a_child():
    ch = go.chan(int)
    go.spawn(loops)
    ch.recv()


@go.func
def loops_everywhere(n):
    for _ in range(n):
        go.spawn(loops)
    loops()


@go.func
def prints():
    n = 0
    while True:
        print("line", n)
        n += 1


@go.func
def ping(a, b):
    for value in a:
        b.send(value + 1)


@go.func
def rallies():
    a, b = go.chan(int), go.chan(int)
    go.spawn(ping, a, b)
    n = 0
    while True:
        a.send(n)
        n = b.recv()


@go.func
def allocates():
    ch = go.chan(int)
    while True:
        ch = go.chan(int, 1)
        ch.send(1)
        if ch.recv() == 2:
            return


@go.func
def parked_beside_a_loop():
    ch = go.chan(int)
    for _ in range(100):
        go.spawn(waits_to_receive, ch)
    loops()


SCENES = {
    "looping": (loops,),
    "child": (loops_in_a_child,),
    "all": (loops_everywhere, 4),
    "printing": (prints,),
    "rally": (rallies,),
    "parked": (parked_beside_a_loop,),
}


def interrupted(scene):
    """Runs a scene until Ctrl-C, then another run."""
    go.run(total_of, 1)
    function, *arguments = SCENES[scene]
    function.compile(tuple(map(numba.typeof, arguments)))
    print("\nready", flush=True)
    start = time.monotonic()
    try:
        go.run(function, *arguments)
    except KeyboardInterrupt:
        took = time.monotonic() - start
        return "interrupted", took < 5, go.num_goroutine(), go.run(total_of, 2)
    return "not interrupted"


@pytest.mark.parametrize("procs", [1, 2])
@pytest.mark.parametrize("scene", list(SCENES))
def test_ctrl_c(scene, procs):
    child = subprocess.Popen(
        subprocesses.command(__name__, "interrupted", scene),
        env=subprocesses.environment(GOMAXPROCS=procs),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        for line in child.stdout:
            if line.strip() == "ready":
                break
        timer = threading.Timer(0.7, child.send_signal, [signal.SIGINT])
        timer.start()
        killer = threading.Timer(20, child.kill)
        killer.start()
        rest = child.stdout.read()
        child.wait(5)
        killer.cancel()
    finally:
        child.kill()
    assert child.returncode == 0
    assert rest.rpartition("result:")[2].strip() == repr(("interrupted", True, 0, 90))


# ---- what is left of a run


@go.func
def prints_in_a_child():
    ch = go.chan(int)
    go.spawn(prints)
    ch.recv()


def interrupted_at_random(times):
    """Sends itself so many Ctrl-C at random moments of runs that would never end; how many came out, and how many runs
    after one of them had the right result."""
    rng = random.Random(times)
    scenes = [*SCENES.values(), (prints_in_a_child,)]
    for function, *arguments in scenes:
        function.compile(tuple(map(numba.typeof, arguments)))
    go.run(total_of, 1)
    came, right = 0, 0
    for _ in range(times):
        function, *arguments = rng.choice(scenes)
        timer = threading.Timer(rng.random() * 0.02, os.kill, (os.getpid(), signal.SIGINT))
        try:
            timer.start()
            go.run(function, *arguments)
        except KeyboardInterrupt:
            came += 1
        timer.join()
        right += go.run(total_of, 2) == 90
    return came, right, go.num_goroutine()


@pytest.mark.parametrize("procs", [1, 2])
def test_ctrl_c_at_random_moments(procs):
    """B11."""
    assert subprocesses.call(__name__, "interrupted_at_random", 200, GOMAXPROCS=procs) == (200, 200, 0)


@go.func
def forever(ch):
    """Half-way through channel operations at any moment."""
    while True:
        ch.send(ch.recv() + 1)
        go.gosched()


@go.func
def turns():
    n = 0
    while True:
        n += 1
        go.gosched()


@go.func
def touches_in_handlers(ch, log):
    try:
        log[0] = 1
        ch.recv()
        log[1] = 1
    except Exception:
        log[2] = 1
    finally:
        log[3] = 1
    log[4] = 1


@go.func
def crowd(how, log, by):
    """Starts goroutines that are parked, looping and half-way through operations, and ends: 0 returns, 1 raises,
    2 deadlocks, 3 fails in a child, 4 returns with a goroutine that loops without yielding."""
    nobody, ring, mu, group = go.chan(int), go.chan(int, 2), go.Mutex(), go.WaitGroup()
    mu.lock()
    group.add(1)
    for _ in range(3):
        go.spawn(waits_to_receive, nobody)
        go.spawn(waits_to_select, nobody, go.chan(int))
        go.spawn(waits_for_mutex, mu)
        go.spawn(waits_for_group, group)
        go.spawn(touches_in_handlers, nobody, log)
    if how != 2:
        for _ in range(4):
            go.spawn(forever, ring)
        ring.send(1)
        ring.send(1)
        go.spawn(turns)
    if how == 4:
        go.spawn(loops)
    for _ in range(10):
        go.gosched()
    if how == 1:
        return 1 // by
    if how == 2:
        nobody.recv()
    if how == 3:
        go.spawn(child, go.chan(int), by)
        nobody.recv()
    return how


def end_once(how, log):
    try:
        result = go.run(crowd, how, log, 0)
    except (ZeroDivisionError, go.DeadlockError) as e:
        result = type(e).__name__
    expected = (0, "ZeroDivisionError", "DeadlockError", "ZeroDivisionError", 4)[how]
    assert result == expected, (how, result)
    assert go.num_goroutine() == 0


def status(name):
    with open("/proc/self/status") as f:
        for line in f:
            if line.startswith(name):
                return int(line.split()[1])
    raise KeyError(name)


def ends(kinds, times):
    """Ends so many runs; how many threads and KiB of memory came on top after the first tenth."""
    log = np.zeros(8, np.int64)
    for i in range(times // 10):
        end_once(kinds[i % len(kinds)], log)
    threads, memory = status("Threads"), status("VmRSS")
    for i in range(times):
        end_once(kinds[i % len(kinds)], log)
        assert go.run(total_of, 2) == 90
    return status("Threads") - threads, status("VmRSS") - memory, log.tolist()


@pytest.mark.parametrize(
    "procs, kinds, times",
    [
        (1, (0, 1, 3), 1000),
        (2, (0, 1, 3), 1000),
        (4, (0, 1, 3), 1000),
        (1, (2,), 50),
        (2, (2,), 50),
        (2, (4, 0, 1, 2, 3), 100),
    ],
)
def test_the_end_of_a_run_leaves_nothing(procs, kinds, times):
    threads, memory, log = subprocesses.call(__name__, "ends", kinds, times, GOMAXPROCS=procs)
    assert threads <= 2
    assert memory < 8000 + 12 * times  # objects of the collected heap are not reclaimed yet: about 10 KiB for each run
    assert log == [1, 0, 0, 0, 0, 0, 0, 0]


@go.func
def holds_arrays(how, n):
    """Ends in one of several ways, with arrays alive here and in goroutines that are left behind."""
    mine = np.ones(n)
    nobody = go.chan(int)
    for i in range(3):
        go.spawn(keeps_an_array, nobody, np.full(n, i))
    go.gosched()
    if how == 0:
        raise ValueError(mine.sum(), "arrays")
    if how == 1:
        nobody.recv()
    if how == 2:
        return 1.0 / (mine[0] - 1.0)
    return mine.sum()


@go.func
def keeps_an_array(ch, a):
    b = a + 1
    ch.recv()
    b[0] = a[0]


def failures_with_arrays(times, deadlocks):
    """Ends so many runs, every so many-th by a deadlock. What came on top after the first tenth: bytes of memory beyond
    those of the collected heap, threads, descriptors."""

    def one(i):
        how = 1 if i % deadlocks == 0 else (0, 2, 3)[i % 3]
        try:
            assert go.run(holds_arrays, how, 20_000) == 20_000
        except (ValueError, ZeroDivisionError, go.DeadlockError) as e:
            assert type(e) is (ValueError, go.DeadlockError, ZeroDivisionError)[how]

    def now():
        heap = go.mem_stats().heap_alloc
        return 1024 * status("VmRSS") - heap, status("Threads"), len(os.listdir("/proc/self/fd"))

    for i in range(times // 10):
        one(i)
    before = now()
    for i in range(times):
        one(i)
    return [b - a for a, b in zip(before, now(), strict=True)]


@pytest.mark.parametrize(
    "times, deadlocks",
    [(300, 15), pytest.param(1000, 3, marks=pytest.mark.slow)],
)
def test_runs_that_fail_leave_no_memory(times, deadlocks):
    """B10. A run that left one of its arrays would leave 160 KB."""
    memory, threads, descriptors = subprocesses.call(__name__, "failures_with_arrays", times, deadlocks, GOMAXPROCS=2)
    assert memory < 2 << 20
    assert threads <= 1 and descriptors == 0


@go.func
def spinning_handler(log):
    try:
        log[0] += 1
        while True:
            go.gosched()
    except Exception:
        log[1] = 1
    finally:
        log[2] = 1
    log[3] = 1


@go.func
def nested_handlers(ch, log):
    try:
        try:
            log[0] += 1
            waits_to_receive(ch)
        finally:
            log[1] = 1
    except Exception:
        log[2] = 1


@go.func
def ended_in_try(log, by):
    ch = go.chan(int)
    go.spawn(touches_in_handlers, ch, log)
    for _ in range(3):
        go.spawn(spinning_handler, log)
        go.spawn(nested_handlers, ch, log)
    for _ in range(100):
        go.gosched()
    return 1 // by


def test_no_handler_of_an_ended_goroutine_runs():
    log = np.zeros(8, np.int64)
    assert go.run(ended_in_try, log, 1) == 1
    with pytest.raises(ZeroDivisionError):
        go.run(ended_in_try, log, 0)
    assert log[0] >= 2
    assert not log[1:].any()


@go.func
def sends(ch, mu, group):
    ch.send(1)


@go.func
def receives(ch, mu, group):
    ch.recv()


@go.func
def iterates(ch, mu, group):
    for _ in ch:
        pass


@go.func
def selects(ch, mu, group):
    go.select(a=go.recv(ch), b=go.send(go.chan(int), 1))


@go.func
def selects_again(ch, mu, group):
    first = go.chan(int)
    go.spawn(waits_to_send, first)
    go.select(a=go.recv(first), b=go.recv(ch))
    go.select(a=go.recv(ch), b=go.recv(go.chan(int)))


@go.func
def locks(ch, mu, group):
    mu.lock()


@go.func
def waits(ch, mu, group):
    group.wait()


def ended_while_it(operation):
    @go.func
    def goes_on(ch, mu, group, log):
        log[0] += 1
        try:
            operation(ch, mu, group)
            log[1] += 1
        except Exception:
            log[2] += 1
        finally:
            log[3] += 1

    @go.func
    def ends(log):
        ch, mu, group = go.chan(int), go.Mutex(), go.WaitGroup()
        mu.lock()
        group.add(1)
        for _ in range(4):
            go.spawn(goes_on, ch, mu, group, log)
        while log[0] < 4:
            go.gosched()
        for _ in range(100):
            go.gosched()

    log = np.zeros(4, np.int64)
    go.run(ends, log)
    assert go.num_goroutine() == 0
    return log.tolist()


@pytest.mark.parametrize("operation", [sends, receives, iterates, selects, selects_again, locks, waits])
def test_a_goroutine_whose_run_ends_does_not_go_on_behind_what_it_waited_for(operation):
    """Neither as if it had succeeded nor as if it had failed: nothing of it runs."""
    assert ended_while_it(operation) == [4, 0, 0, 0]


@go.func
def starts(log):
    log[0] += 1


@go.func
def ends_before_they_start(log):
    for _ in range(10):
        go.spawn(starts, log)


def started_after_the_end():
    log = np.zeros(1, np.int64)
    for _ in range(100):
        go.run(ends_before_they_start, log)
    return log.tolist(), go.num_goroutine()


def test_a_goroutine_whose_run_ends_before_its_first_turn_does_not_start():
    """On one P none of them has had a turn when main returns."""
    assert subprocesses.call(__name__, "started_after_the_end", GOMAXPROCS=1) == ([0], 0)


@go.func
def counts(log):
    while True:
        log[0] += 1


@go.func
def ends_beside_one_that_counts(log):
    go.spawn(counts, log)
    while log[0] == 0:
        go.gosched()
    return log[0]


def counted_after_the_end():
    found = []
    for _ in range(10):
        log = np.zeros(1, np.int64)
        n = go.run(ends_beside_one_that_counts, log)
        found.append(int(log[0]) - n)
    return found


def test_a_goroutine_that_had_to_yield_does_not_go_on_after_the_end():
    """It was asked to let others run, and its run ended meanwhile: it leaves there, not at its next poll."""
    assert subprocesses.call(__name__, "counted_after_the_end", GOMAXPROCS=1) == [0] * 10


# ---- several that end the run at once


@go.func
def fail_together(flags, n):
    """Waits for the others, computes where nothing polls, and raises with arguments made at run time."""
    flags[1] += 1
    while flags[0] == 0:
        go.gosched()
    total = 0
    for i in range(3_000_000):
        total += i & n
    raise ValueError(total, n)


@go.func
def several_fail(flags, n):
    for i in range(n):
        go.spawn(fail_together, flags, i)
    while flags[1] < n:
        go.gosched()
    flags[0] = 1
    while True:
        go.gosched()


@go.func
def fail_when_told(flags):
    while flags[0] == 0:
        go.gosched()
    raise ValueError(flags[0])


@go.func
def result_beside_failure(flags):
    go.spawn(fail_when_told, flags)
    go.gosched()
    flags[0] = 1
    result = np.zeros(3_000_000)
    for i in range(3_000_000):
        result[i] = i
    return result


def test_the_exceptions_of_losers_are_given_back():
    """One of the goroutines that fail at the same time is reported; what the others raised is freed."""

    def fail():
        with pytest.raises(ValueError):
            go.run(several_fail, np.zeros(2, np.int64), 2)

    fail()
    with nothing_leaks():
        for _ in range(40):
            fail()


def test_the_result_of_a_loser_is_given_back():
    def race():
        try:
            return len(go.run(result_beside_failure, np.zeros(1, np.int64)))
        except ValueError:
            return 0

    race()
    with nothing_leaks():
        outcomes = {race() for _ in range(60)}
    assert outcomes <= {0, 3_000_000}


# ---- stack overflow beside others


@go.func
def deep(n):
    if n == 0:
        return 0
    return deep(n - 1) + 1


@go.func
def deep_child(n):
    deep(n)


@go.func
def neighbour(requests, replies):
    for n in requests:
        replies.send(n + deep(50) - 50)


@go.func
def deep_beside(n, depth, catch):
    """Neighbours work before and after a goroutine overflows its stack; their answers are added up."""
    requests, replies = go.chan(int), go.chan(int, n)
    for _ in range(n):
        go.spawn(neighbour, requests, replies)
    total = 0
    for i in range(n):
        requests.send(i)
    for _ in range(n):
        total += replies.recv()
    if catch:
        try:
            deep(depth)
        except Exception:
            total += 1_000_000
    else:
        go.spawn(deep_child, depth)
    for i in range(n):
        requests.send(i)
    for _ in range(n):
        total += replies.recv()
    if not catch:
        requests.recv()
    return total


def overflows(times):
    for _ in range(times):
        if go.run(deep_beside, 1000, 10**9, True) != 999_000 + 1_000_000:
            return "neighbours are wrong"
        try:
            go.run(deep_beside, 1000, 10**9, False)
            return "nothing was raised"
        except go.StackOverflowError as e:
            if "deep_child" not in formatted(e):
                return formatted(e)
        if go.num_goroutine() != 0:
            return "goroutines are left"
    return None


@pytest.mark.parametrize("procs", [1, 2])
def test_a_stack_overflow_leaves_the_neighbours_intact(procs):
    assert subprocesses.call(__name__, "overflows", 100, GOMAXPROCS=procs) is None


@go.func
def yields_for_ever():
    while True:
        go.gosched()


@go.func
def main_among_yielders(n):
    for _ in range(n):
        go.spawn(yields_for_ever)
    go.gosched()
    return n


@go.func
def yields_a_few_times(done):
    for _ in range(4):
        go.gosched()
    done.done()


@go.func
def main_of_few_yields(n):
    done = go.WaitGroup()
    done.add(n)
    for _ in range(n):
        go.spawn(yields_a_few_times, done)
    done.wait()


def least_seconds(f, n, times=5):
    best = 1e9
    for _ in range(times):
        start = time.perf_counter()
        go.run(f, n)
        best = min(best, time.perf_counter() - start)
    return best


def measure_the_end():
    go.run(main_among_yielders, 16_000)  # the stacks are there, and stay (stack.KEEP)
    return least_seconds(main_among_yielders, 16_000) / least_seconds(main_of_few_yields, 16_000)


def test_the_end_of_a_run_takes_time_in_proportion_to_its_goroutines():
    """Each look at all of them is followed by a turn for all of them, also for those in the global queue: it takes
    about as long as if they had ended by themselves after a few turns. With a turn for one of them between two looks it
    took some hundred times as long."""
    assert subprocesses.call(__name__, "measure_the_end", GOMAXPROCS=1) < 20


@go.func
def nothing_of(n):
    pass


def measure_after_a_peak():
    before = least_seconds(nothing_of, 0, 50)
    go.run(main_among_yielders, 16_000)  # these stacks stay (stack.KEEP)
    return least_seconds(nothing_of, 0, 50) / before


def test_a_small_run_costs_what_it_cost_before_the_peak():
    """The walks at its end look at the goroutines that there are, not at those that there were (stack.py, ST6): with
    all of them it would be some hundred times as long."""
    assert subprocesses.call(__name__, "measure_after_a_peak", GOMAXPROCS=1) < 10


@go.func
def deadlocks_in_the_second():
    ch = go.chan(int)
    for _ in range(3):
        go.spawn(receives_nothing, ch)
    ch.recv()


@go.func
def receives_nothing(ch):
    ch.recv()


def test_the_first_goroutine_of_a_run_has_the_least_number():
    """Numbers come in batches for each P; a run begins new ones (decision 22)."""
    for _ in range(3):
        with pytest.raises(go.DeadlockError) as caught:
            go.run(deadlocks_in_the_second)
        numbers = [int(n) for n in re.findall(r"goroutine (\d+)", str(caught.value))]
        assert len(numbers) == 4
        assert "receives_nothing" not in str(caught.value).split(f"goroutine {numbers[1]}")[0]
