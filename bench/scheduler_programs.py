"""The scheduler rows of the benchmark, in gopark; go/main.go holds the same programs for Go.

Arguments come in fours: row, n, k, repetitions. For each row one line of JSON is printed: the nanoseconds of every
repetition and the checksum of the work, which the harness compares with Go's. The clock is read inside of the run, so
that entering it from Python costs nothing here.
"""

import importlib.metadata
import json
import sys

import gopark as go


@go.func
def leave(wg, number):
    """Takes the goroutine's own number off the count: the wait returns only when all of them ran, once each."""
    wg.add(-number)


@go.func
def spawn_batch(n, k):
    """Spawns `n` batches of `k` goroutines and waits for each batch."""
    wg = go.WaitGroup()
    total = 0
    start = go.monotonic()
    for _ in range(n):
        wg.add(k * (k + 1) // 2)
        for number in range(1, k + 1):
            go.spawn(leave, wg, number)
        wg.wait()
        total += k * (k + 1) // 2
    return go.monotonic() - start, total


@go.func
def answer(channel, number):
    """Sends the number, and ends."""
    channel.send(number)


@go.func
def spawn_wait(n, k):
    """Spawns a goroutine and receives what it sends, `n` times."""
    channel = go.chan(int)
    total = 0
    start = go.monotonic()
    for number in range(n):
        go.spawn(answer, channel, number)
        total += channel.recv()
    return go.monotonic() - start, total


@go.func
def tree_node(wg, number, size):
    """Spawns the two nodes below this one; nodes are numbered as in a heap."""
    if 2 * number < size:
        go.spawn(tree_node, wg, 2 * number, size)
        go.spawn(tree_node, wg, 2 * number + 1, size)
    wg.add(-number)


@go.func
def spawn_tree(n, k):
    """Spawns a binary tree of `n` goroutines from its root."""
    wg = go.WaitGroup()
    start = go.monotonic()
    wg.add(n * (n + 1) // 2)
    go.spawn(tree_node, wg, 1, n + 1)
    wg.wait()
    return go.monotonic() - start, n * (n + 1) // 2


@go.func
def pong(a, b, n):
    """Sends back what comes in."""
    for _ in range(n):
        b.send(a.recv())


@go.func
def ping_pong(n, k):
    """Sends `n` numbers back and forth through two unbuffered channels."""
    a = go.chan(int)
    b = go.chan(int)
    total = 0
    start = go.monotonic()
    go.spawn(pong, a, b, n)
    for number in range(n):
        a.send(number)
        total += b.recv()
    return go.monotonic() - start, total


@go.func
def produce(channel, n):
    """Sends `n` numbers and closes the channel."""
    for number in range(n):
        channel.send(number)
    channel.close()


@go.func
def buffered(n, k):
    """Receives `n` numbers from a channel that buffers `k`."""
    channel = go.chan(int, k)
    total = 0
    start = go.monotonic()
    go.spawn(produce, channel, n)
    for value in channel:
        total += value
    return go.monotonic() - start, total


@go.func
def yielder(wg, number, n):
    """Yields `n` times."""
    for _ in range(n):
        go.gosched()
    wg.add(-number)


@go.func
def yields(n, k):
    """Lets `k` goroutines yield `n` times each."""
    wg = go.WaitGroup()
    start = go.monotonic()
    wg.add(k * (k + 1) // 2)
    for number in range(1, k + 1):
        go.spawn(yielder, wg, number, n)
    wg.wait()
    return go.monotonic() - start, k * (k + 1) // 2


PROGRAMS = {
    "spawn_batch": spawn_batch,
    "spawn_wait": spawn_wait,
    "spawn_tree": spawn_tree,
    "ping_pong": ping_pong,
    "buffered": buffered,
    "gosched": yields,
}


def main(arguments):
    """Measures the rows that are asked for."""
    version = f"gopark {importlib.metadata.version('gopark')}" if installed() else "gopark (source tree)"
    for row, *sizes in zip(*[iter(arguments)] * 4, strict=True):
        n, k, repetitions = map(int, sizes)
        _, checksum = go.run(PROGRAMS[row], n, k)  # compiles and warms up, and is not recorded
        samples = []
        for _ in range(repetitions):
            elapsed, total = go.run(PROGRAMS[row], n, k)
            if total != checksum:
                raise AssertionError(f"{row}: checksum {checksum}, then {total}")
            samples.append(round(elapsed * 1e9))
        line = {"row": row, "n": n, "k": k, "checksum": checksum, "version": version, "ns": samples}
        print(json.dumps(line), flush=True)


def installed():
    """Whether gopark was installed as a distribution, rather than found on the path."""
    try:
        importlib.metadata.distribution("gopark")
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


if __name__ == "__main__":
    main(sys.argv[1:])
