"""Python threads at work on objects of the heap beside goroutines that compute, under every audit: nothing is lost.

In processes of their own: check level 2 is another image, and GOMAXPROCS another start.
"""

from __future__ import annotations

import contextlib
import random
import threading

import pytest

import gopark as go
from tests.semantics import subprocesses

THREADS = 4


@go.struct
class Item:
    owner: int
    n: int
    next: Item


@go.struct
class Shared:
    jobs: go.Chan[Item]
    results: go.Chan[Item]
    mu: go.Mutex
    sum: int
    last: Item
    stop: bool


@go.func
def computes(shared):
    x = 1
    while not shared.stop:
        for i in range(1000):
            x = (x * 1103515245 + i) & 0x7FFFFFFF
    return x


@go.func
def works(shared):
    for item in shared.jobs:
        shared.mu.lock()
        shared.sum += item.n
        shared.last = item
        shared.mu.unlock()
        shared.results.send(Item(item.owner, item.n + 1, item))


def storm(operations: int):
    """Each thread makes items, sends them, takes whatever result comes, and changes what it reaches: some five
    operations an item. Returns (items that came back, the sum of their numbers as workers saw it, as it should be,
    failures)."""
    shared = Shared(go.chan(Item, 3), go.chan(Item))
    goroutines = [go.submit(computes, shared) for _ in range(2)] + [go.submit(works, shared) for _ in range(3)]
    received, sums, failures = [0] * THREADS, [0] * THREADS, []
    each = operations // THREADS

    def work(k: int):
        rng = random.Random(k)
        sent = 0
        try:
            while received[k] < each or sent < each:
                if sent < each and sent - received[k] < 4:
                    item = Item(owner=k, n=rng.randrange(1000))
                    item.next = item if rng.random() < 0.5 else None
                    with contextlib.suppress(TimeoutError):
                        shared.jobs.send(item, timeout=rng.choice((0.01, 0.001, 0)))
                        sent += 1
                        sums[k] += item.n
                if received[k] == each:
                    continue
                try:
                    result = shared.results.recv(timeout=rng.choice((0.1, 0.001, 0)))
                except TimeoutError:
                    continue
                received[k] += 1
                item = result.next
                assert result.n == item.n + 1 and result.owner == item.owner
                item.next, item.owner = result, -1
                change_and_change_back(shared)
        except BaseException as e:
            failures.append(repr(e))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(THREADS)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    shared.stop = True
    shared.jobs.close()
    for g in goroutines:
        g.result(100)
    return sum(received), shared.sum, sum(sums), failures


def change_and_change_back(shared) -> None:
    """Under the lock, what goroutines change under it too."""
    shared.mu.lock()
    shared.sum = shared.sum + 1
    shared.sum = shared.sum - 1
    shared.mu.unlock()


@pytest.mark.parametrize("procs", [1, 2, 8])
def test_threads_beside_goroutines(procs):
    came_back, seen, sent, failures = subprocesses.call(__name__, "storm", 400, GOMAXPROCS=procs, GOPARKDEBUG="check=2")
    assert (came_back, seen, failures) == (400, sent, [])


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("procs", [1, 2, 8])
def test_threads_beside_goroutines_for_long(procs):
    """B12: a hundred thousand operations, and more."""
    came_back, seen, sent, failures = subprocesses.call(
        __name__, "storm", 20_000, GOMAXPROCS=procs, GOPARKDEBUG="check=2", timeout=1700
    )
    assert (came_back, seen, failures) == (20_000, sent, [])
