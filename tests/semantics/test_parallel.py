"""Goroutines run on all cores: the scheduler's claims, looked at from outside (per-thread CPU times of the kernel)."""

import os
import time

import numpy as np
import pytest

import gopark as go
from tests.semantics.subprocesses import call

HERE = "tests.semantics.test_parallel"
pytestmark = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")

Work = tuple[int, float]


def cpu_by_thread():
    """{thread id: seconds of CPU} of this process."""
    out = {}
    for tid in os.listdir("/proc/self/task"):
        with open(f"/proc/self/task/{tid}/stat") as f:
            fields = f.read().rpartition(")")[2].split()
        out[int(tid)] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return out


def voluntary_switches():
    total = 0
    for tid in os.listdir("/proc/self/task"):
        with open(f"/proc/self/task/{tid}/status") as f:
            total += sum(int(line.split()[1]) for line in f if line.startswith("voluntary_ctxt_switches"))
    return total


def share_of_the_second_thread(f, *args):
    """Run f(*args) and return how much of the CPU time the second busiest thread had."""
    before = cpu_by_thread()
    go.run(f, *args)
    after = cpu_by_thread()
    used = sorted((after[t] - before.get(t, 0.0) for t in after), reverse=True)
    return used[1] / (used[0] + used[1])


@go.func
def compute(until, out):
    n, x = 0, 1.0
    while go.monotonic() < until:
        for _ in range(1000):
            x = x * 1.0000001 + 1e-9
        n += 1
    out.send((n, x))


@go.func
def two_computers(seconds):
    out = go.chan(Work)
    until = go.monotonic() + seconds
    go.spawn(compute, until, out)
    go.spawn(compute, until, out)
    a, x = out.recv()
    b, y = out.recv()
    return min(a, b) / (a + b)


def measure_two_computers():
    go.run(two_computers, 0.01)
    shares = [(go.run(two_computers, 0.5), share_of_the_second_thread(two_computers, 0.5)) for _ in range(5)]
    return max(s[0] for s in shares), max(s[1] for s in shares)


def test_two_compute_goroutines_run_on_two_threads():
    work, cpu = call(HERE, "measure_two_computers", GOMAXPROCS=2)
    assert work >= 0.3, f"the slower of two equal goroutines did {work:.0%} of the work"
    assert cpu >= 0.3, f"the second thread had {cpu:.0%} of the CPU time"


@go.func
def small_job(done):
    x = 1.0
    for _ in range(1500):  # some 5 microseconds
        x = x * 1.0000001 + 1e-9
    if x > 0.0:
        done.done()


@go.func
def one_spawner(n):
    done = go.WaitGroup()
    for _ in range(n):
        done.add(1)
        go.spawn(small_job, done)
    done.wait()


def measure_stealing():
    go.run(one_spawner, 100)
    return max(share_of_the_second_thread(one_spawner, 100_000) for _ in range(5))


def test_jobs_of_one_spawner_are_stolen():
    share = call(HERE, "measure_stealing", GOMAXPROCS=2)
    assert share >= 0.3, f"one spawner, many small jobs: the second thread did {share:.0%}"


@go.func
def report_start(started):
    started.send(go.monotonic())


@go.func
def busy_spawner(seconds):
    started = go.chan(float, 1)
    begin = go.monotonic()
    go.spawn(report_start, started)
    n = 0
    while go.monotonic() < begin + seconds:
        n += 1
    return started.recv() - begin


def measure_stale_runnext():
    go.run(busy_spawner, 0.01)
    return min(go.run(busy_spawner, 0.5) for _ in range(5))


def test_a_spawned_goroutine_does_not_wait_for_its_busy_spawner():
    """What lies in runnext while its P computes is found by the thread in go.run (runs.py, R4)."""
    assert call(HERE, "measure_stale_runnext", GOMAXPROCS=2) < 0.25


def measure_idleness():
    go.run(one_spawner, 1000)
    time.sleep(0.2)
    switches, cpu = voluntary_switches(), sum(cpu_by_thread().values())
    time.sleep(5)
    return voluntary_switches() - switches, sum(cpu_by_thread().values()) - cpu


def test_idle_threads_sleep():
    switches, cpu = call(HERE, "measure_idleness", GOMAXPROCS=2)
    assert switches <= 50
    assert cpu <= 0.02


@go.func
def raises_flag(flag):
    flag[0] = 1


@go.func
def waits_without_yielding(flag):
    go.spawn(raises_flag, flag)  # it is the next one of this P, and nobody is woken for it
    while flag[0] == 0:
        go.monotonic()
    return flag[0]


def test_who_is_next_behind_one_who_computes_is_stolen():
    """SC4, R4: an idle P takes it out of runnext, in the last round of stealing."""
    previous = go.gomaxprocs(2)
    try:
        for _ in range(20):
            assert go.run(waits_without_yielding, np.zeros(1, np.int64)) == 1
    finally:
        go.gomaxprocs(previous)
