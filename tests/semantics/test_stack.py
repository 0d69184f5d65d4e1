"""Where goroutines lie in memory, and how deep each of them may recurse."""

from __future__ import annotations

import ctypes
import os
import threading
import time

import numpy as np
import pytest

import gopark as go
from gopark.bridge import boot
from gopark.compiler import abi, asm_amd64
from gopark.compiler.numba_api import intrinsic, types
from gopark.runtime import runtime2, stack
from tests.semantics import subprocesses

GOROUTINES = 1024  # the page changes with every 64th slab


@intrinsic
def this_g(typingctx):
    def codegen(context, b, sig, args):
        return asm_amd64.emit_getg(b)

    return types.int64(), codegen


@go.func
def say_where(places, i, gate, wg):
    places[i] = this_g()
    gate.recv()
    wg.done()


@go.func
def places_of(n):
    """The addresses of n goroutines that live at the same time."""
    places = np.zeros(n, np.int64)
    gate = go.chan(int)
    wg = go.WaitGroup()
    wg.add(n)
    for i in range(n):
        go.spawn(say_where, places, i, gate, wg)
    for i in range(n):
        gate.send(i)
    wg.wait()
    return places


def test_goroutines_spread_over_the_sets_of_the_caches():
    """Aligned slabs alone would put every G on one cache line of its page, and their pages into 4 sets of a TLB."""
    places = go.run(places_of, GOROUTINES)
    assert len(set(places)) == GOROUTINES
    assert np.all(places % 64 == 0)
    assert len(set(places >> 6 & 63)) == abi.G_LINES
    slab = abi.stack_size()
    assert len(set(places // slab)) == GOROUTINES
    assert np.all(slab - places % slab <= abi.g_space())
    assert abi.g_pages() == (slab >> 14 if slab > 1 << 16 else 1)
    assert len(set(places >> 12 & 255)) >= 16  # 64 with the default slab, unless other tests have taken some of them


@go.func
def count_frames(depths, i):
    depths[i] += 1
    count_frames(depths, i)
    depths[i] += 0  # no tail call


@go.func
def overflow(depths, i, wg):
    try:
        count_frames(depths, i)
    except Exception:
        pass
    wg.done()


@go.func
def depths_of(n):
    depths = np.zeros(n, np.int64)
    wg = go.WaitGroup()
    wg.add(n)
    for i in range(n):
        go.spawn(overflow, depths, i, wg)
        go.gosched()
    wg.wait()
    return depths


def test_every_goroutine_may_recurse_equally_deep():
    """At least half of a slab is for frames, whatever the colours of the G above them."""
    depths = go.run(depths_of, GOROUTINES)
    assert len(set(depths)) == 1
    assert depths[0] * 16 < abi.stack_size()  # a call takes at least 16 bytes
    assert depths[0] > abi.stack_size() // 512


# ---- memory comes and goes with goroutines


HERE = __name__
MANY = 40_000


def resident():
    """Bytes of memory that this process has."""
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@go.func
def parked(gate, wg, n, sums):
    """Park with n live values in the frame; then add them up."""
    a, b, c = n * 3, n * 5, n * 7
    wg.done()
    gate.recv()
    sums[n] = a + b + c
    wg.done()


@go.func
def peak(n, sums):
    """n goroutines that are parked at the same time."""
    gate = go.chan(int)
    wg = go.WaitGroup()
    wg.add(n)
    for i in range(n):
        go.spawn(parked, gate, wg, i, sums)
    wg.wait()
    wg.add(n)
    gate.close()
    wg.wait()
    return n


@go.func
def peak_and_go_on(n, sums, state):
    peak(n, sums)
    state[0] = 1
    while state[0] == 1:
        go.gosched()


def right(sums):
    return bool(np.all(sums == 15 * np.arange(len(sums))))


def give_back_at_the_end_of_a_run():
    go.run(peak, 10, np.zeros(10, np.int64))
    kept = stack.KEEP * 4096
    grown, results = [], []
    for _ in range(3):
        before = resident()
        sums = np.zeros(MANY, np.int64)
        go.run(peak, MANY, sums)
        results.append(right(sums))
        grown.append(resident() - before)
    return grown, kept, results, go.mem_stats().stack_sys // abi.stack_size()


def test_memory_of_stacks_is_given_back_when_a_run_ends():
    """At most KEEP free stacks stay, a page each; those that were given back serve again."""
    grown, kept, results, stacks = subprocesses.call(HERE, "give_back_at_the_end_of_a_run")
    assert results == [True] * 3
    assert grown[0] < kept + 0.2 * (MANY * 4096 - kept), "peak: a page a goroutine"
    assert max(grown[1:]) < 16 << 20, "no more from one peak to the next"
    assert stacks < stack.KEEP + 1000


def give_back_while_a_run_goes_on():
    state, sums = np.zeros(1, np.int64), np.zeros(MANY, np.int64)
    go.run(peak, 10, np.zeros(10, np.int64))
    before = resident()
    thread = threading.Thread(target=go.run, args=(peak_and_go_on, MANY, sums, state))
    thread.start()
    most = 0
    while state[0] == 0:
        most = max(most, resident() - before)
        time.sleep(0.001)
    deadline = time.monotonic() + 60
    while resident() - before > stack.KEEP * 4096 + (8 << 20) and time.monotonic() < deadline:
        time.sleep(0.05)
    least = resident() - before
    state[0] = 2
    thread.join()
    return most, least, right(sums)


def test_memory_of_stacks_is_given_back_while_a_run_goes_on():
    most, least, correct = subprocesses.call(HERE, "give_back_while_a_run_goes_on")
    assert correct
    assert most > 0.8 * MANY * 4096
    assert least < stack.KEEP * 4096 + (16 << 20)


def without_guards_of_the_kernel():
    """What the kernel cannot guard without a mapping, mprotect guards, up to a number of stacks."""
    state = boot.boot()
    layout = {name: offset for name, (offset, _) in runtime2.Sched.fields.items()}

    def word(name):
        return ctypes.c_int64.from_address(state.image.address[abi.SCHED] + layout[name])

    word("guardok").value = 0
    results = []
    for n in (1000, MANY, MANY):
        sums = np.zeros(n, np.int64)
        go.run(peak, n, sums)
        results.append(right(sums))
    with open("/proc/self/maps") as f:
        mappings = len(f.readlines())
    return results, word("guards").value, mappings


def test_a_kernel_without_guards_that_need_no_mapping():
    results, guards, mappings = subprocesses.call(HERE, "without_guards_of_the_kernel")
    assert results == [True] * 3
    assert guards == stack.MPROTECT_GUARDS
    assert mappings < 40_000, "a process may have 65530"


def parked_goroutines(n):
    sums = np.zeros(n, np.int64)
    go.run(peak, 10, sums[:10])
    before, most, stop = resident(), [0], threading.Event()

    def watch():
        while not stop.is_set():
            most[0] = max(most[0], resident() - before)
            time.sleep(0.01)

    watcher = threading.Thread(target=watch)
    watcher.start()
    go.run(peak, n, sums)
    stop.set()
    watcher.join()
    return most[0] / n, resident() - before, right(sums)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_million_parked_goroutines():
    each, after, correct = subprocesses.call(HERE, "parked_goroutines", 1_000_000, timeout=250)
    assert correct
    assert each < 5000
    assert after < stack.KEEP * 4096 + (64 << 20)
