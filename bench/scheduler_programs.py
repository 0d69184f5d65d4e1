"""The scheduler's rows of the benchmark, in gopark; go/ holds the same programs for Go.

The clock is read inside of the run, so that entering it from Python costs nothing here. rows.py says what n and k are,
and what each program must come to; protocol.py, how the process is asked.
"""

import ctypes
import functools
import importlib.metadata
import sys
import threading
import time

import numpy as np

import gopark as go
from bench import protocol

PRODUCERS = CONSUMERS = 4


@go.struct
class Cell:
    value: int


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


# ---- many producers, many consumers


@go.func
def produce_every(channel, wg, number, n):
    """Sends the numbers below `n` that are `number` modulo the number of producers."""
    for value in range(number, n, PRODUCERS):
        channel.send(value)
    wg.done()


@go.func
def consume(channel, totals):
    """Sums what it gets, until the channel is closed."""
    total = 0
    for value in channel:
        total += value
    totals.send(total)


@go.func
def close_after(channel, wg):
    """Closes the channel when all producers are done."""
    wg.wait()
    channel.close()


@go.func
def mpmc(n, k):
    """Sends the numbers below `n` from four goroutines to four others, over one channel that buffers `k`."""
    channel = go.chan(int, k)
    totals = go.chan(int, CONSUMERS)
    wg = go.WaitGroup()
    start = go.monotonic()
    for _ in range(CONSUMERS):
        go.spawn(consume, channel, totals)
    wg.add(PRODUCERS)
    for number in range(PRODUCERS):
        go.spawn(produce_every, channel, wg, number, n)
    go.spawn(close_after, channel, wg)
    total = 0
    for _ in range(CONSUMERS):
        total += totals.recv()
    return go.monotonic() - start, total


# ---- select


@go.func
def filled(n, number):
    """A channel that holds n numbers, other ones for each `number`."""
    channel = go.chan(int, n)
    for value in range(n):
        channel.send(number * n + value)
    return channel


@go.func
def drain(channel):
    """The sum of what is left."""
    channel.close()
    total = 0
    for value in channel:
        total += value
    return total


@go.func
def select_2_ready(n, k):
    """Selects `n` times among two channels that hold `n` items each: none is ever empty."""
    a, b = filled(n, 0), filled(n, 1)
    total = 0
    start = go.monotonic()
    for _ in range(n):
        s = go.select(a=go.recv(a), b=go.recv(b))
        match s.case:
            case "a":
                total += s.a
            case "b":
                total += s.b
    elapsed = go.monotonic() - start
    return elapsed, total + drain(a) + drain(b)


@go.func
def select_8_ready(n, k):
    """The same with eight channels."""
    a, b, c, d = filled(n, 0), filled(n, 1), filled(n, 2), filled(n, 3)
    e, f, g, h = filled(n, 4), filled(n, 5), filled(n, 6), filled(n, 7)
    total = 0
    start = go.monotonic()
    for _ in range(n):
        s = go.select(
            a=go.recv(a),
            b=go.recv(b),
            c=go.recv(c),
            d=go.recv(d),
            e=go.recv(e),
            f=go.recv(f),
            g=go.recv(g),
            h=go.recv(h),
        )
        match s.case:
            case "a":
                total += s.a
            case "b":
                total += s.b
            case "c":
                total += s.c
            case "d":
                total += s.d
            case "e":
                total += s.e
            case "f":
                total += s.f
            case "g":
                total += s.g
            case "h":
                total += s.h
    elapsed = go.monotonic() - start
    total += drain(a) + drain(b) + drain(c) + drain(d)
    return elapsed, total + drain(e) + drain(f) + drain(g) + drain(h)


@go.func
def ask_in_turn(channels, answers, n):
    """Sends a number on one channel after the other, each when the one before was answered; ends with the sum."""
    total = 0
    for number in range(n):
        channels[number % len(channels)].send(number)
        total += answers.recv()
    answers.send(total)


@go.func
def select_2_blocked(n, k):
    """Selects `n` times among two channels on which the next number is only sent when the last one was answered."""
    a, b, answers = go.chan(int), go.chan(int), go.chan(int)
    start = go.monotonic()
    go.spawn(ask_in_turn, (a, b), answers, n)
    for _ in range(n):
        s = go.select(a=go.recv(a), b=go.recv(b))
        match s.case:
            case "a":
                answers.send(s.a)
            case "b":
                answers.send(s.b)
    total = answers.recv()
    return go.monotonic() - start, total


@go.func
def select_8_blocked(n, k):
    """The same with eight channels."""
    a, b, c, d = go.chan(int), go.chan(int), go.chan(int), go.chan(int)
    e, f, g, h = go.chan(int), go.chan(int), go.chan(int), go.chan(int)
    answers = go.chan(int)
    start = go.monotonic()
    go.spawn(ask_in_turn, (a, b, c, d, e, f, g, h), answers, n)
    for _ in range(n):
        s = go.select(
            a=go.recv(a),
            b=go.recv(b),
            c=go.recv(c),
            d=go.recv(d),
            e=go.recv(e),
            f=go.recv(f),
            g=go.recv(g),
            h=go.recv(h),
        )
        match s.case:
            case "a":
                answers.send(s.a)
            case "b":
                answers.send(s.b)
            case "c":
                answers.send(s.c)
            case "d":
                answers.send(s.d)
            case "e":
                answers.send(s.e)
            case "f":
                answers.send(s.f)
            case "g":
                answers.send(s.g)
            case "h":
                answers.send(s.h)
    total = answers.recv()
    return go.monotonic() - start, total


# ---- sync


@go.func
def contend(mutex, cell, wg, number, n):
    """Adds its number `n` times, and yields between reading and writing: with the mutex held, so the others queue."""
    for _ in range(n):
        mutex.lock()
        value = cell.value
        go.gosched()
        cell.value = value + number
        mutex.unlock()
    wg.done()


@go.func
def mutex_contended(n, k):
    """Lets `k` goroutines contend for one mutex, `n` times each."""
    mutex, wg, cell = go.Mutex(), go.WaitGroup(), Cell(0)
    start = go.monotonic()
    wg.add(k)
    for number in range(1, k + 1):
        go.spawn(contend, mutex, cell, wg, number, n)
    wg.wait()
    return go.monotonic() - start, cell.value


@go.func
def answer_by_mutex(here, there, cell, n):
    """Adds one whenever `here` is unlocked for it."""
    for _ in range(n):
        here.lock()
        cell.value += 1
        there.unlock()


@go.func
def mutex_handoff(n, k):
    """Two goroutines take turns: each waits for a mutex that the other one unlocks."""
    here, there, cell = go.Mutex(), go.Mutex(), Cell(0)
    here.lock()
    there.lock()
    total = 0
    start = go.monotonic()
    go.spawn(answer_by_mutex, here, there, cell, n)
    for number in range(n):
        cell.value = 2 * number
        here.unlock()
        there.lock()
        total += cell.value
    return go.monotonic() - start, total


@go.func
def wait_at_gates(even, odd, finish, number, n):
    """Waits at one gate after the other, and takes its number off `finish` behind each."""
    for turn in range(n):
        if turn % 2 == 0:
            even.wait()
        else:
            odd.wait()
        finish.add(-number)


@go.func
def fan_out(n, k):
    """Releases `k` goroutines that wait for one WaitGroup, `n` times.

    Two gates serve by turns. The next one is shut before this one opens: all have left it by then.
    """
    even, odd, finish = go.WaitGroup(), go.WaitGroup(), go.WaitGroup()
    even.add(1)
    for number in range(1, k + 1):
        go.spawn(wait_at_gates, even, odd, finish, number, n)
    total = 0
    start = go.monotonic()
    for turn in range(n):
        finish.add(k * (k + 1) // 2)
        if turn % 2 == 0:
            odd.add(1)
            even.done()
        else:
            even.add(1)
            odd.done()
        finish.wait()
        total += k * (k + 1) // 2
    return go.monotonic() - start, total


# ---- chains of goroutines


@go.func
def generate(channel, limit):
    """Sends the numbers from 2 to the limit."""
    for number in range(2, limit + 1):
        channel.send(number)
    channel.close()


@go.func
def sift(source, target, prime):
    """Passes on what the prime does not divide."""
    for number in source:
        if number % prime != 0:
            target.send(number)
    target.close()


@go.func
def sieve(n, k):
    """Finds the first `n` primes, of which `k` is the last, and sums them: each one is a goroutine that sifts."""
    channel = go.chan(int)
    total = 0
    start = go.monotonic()
    go.spawn(generate, channel, k)
    for _ in range(n):
        prime = channel.recv()
        total += prime
        sifted = go.chan(int)
        go.spawn(sift, channel, sifted, prime)
        channel = sifted
    for number in channel:
        total += number
    return go.monotonic() - start, total


@go.func
def ring_node(source, target, done, number):
    """Passes the token on, less one. Who gets 0 says its number, and sends a negative one round, which ends all."""
    token = source.recv()
    while token > 0:
        target.send(token - 1)
        token = source.recv()
    if token == 0:
        done.send(number)
        target.send(-1)
        source.recv()
        done.send(number)
    else:
        target.send(-1)


@go.func
def ring(n, k):
    """Passes a token `n` times through a ring of `k` goroutines."""
    first, done = go.chan(int), go.chan(int)
    source = first
    for number in range(k - 1):
        target = go.chan(int)
        go.spawn(ring_node, source, target, done, number)
        source = target
    go.spawn(ring_node, source, first, done, k - 1)
    start = go.monotonic()
    first.send(n)
    number = done.recv()
    elapsed = go.monotonic() - start
    done.recv()
    return elapsed, number


# ---- parked goroutines


@go.func
def sit(arrived, gate, gone):
    """Waits until the gate is opened."""
    arrived.done()
    gate.recv()
    gone.done()


@go.func
def park(n, flags):
    """Parks `n` goroutines, raises a flag and waits for the other, then wakes all by closing their channel."""
    arrived, gone, gate = go.WaitGroup(), go.WaitGroup(), go.chan(int)
    arrived.add(n)
    gone.add(n)
    start = go.monotonic()
    for _ in range(n):
        go.spawn(sit, arrived, gate, gone)
    arrived.wait()
    create = go.monotonic() - start
    number = go.num_goroutine() - 1
    flags[0] = 1
    while flags[1] == 0:
        go.gosched()
    start = go.monotonic()
    gate.close()
    gone.wait()
    return create, go.monotonic() - start, number


def parked(n, k):
    """Parks `n` goroutines; a Python thread reads the memory meanwhile."""
    flags = np.zeros(2, np.int64)
    sizes = [protocol.resident()]

    def read_memory():
        while not flags[0]:
            time.sleep(0.001)
        sizes.append(protocol.resident())
        flags[1] = 1

    reader = threading.Thread(target=read_memory, daemon=True)
    reader.start()
    create, wake, number = go.run(park, n, flags)
    reader.join()
    return {"bytes": sizes[1] - sizes[0], "create": create * 1e9, "wake": wake * 1e9}, number


# ---- allocation


@go.struct
class Words8:
    a: int
    b: int
    c: int
    d: int
    e: int
    f: int
    g: int
    h: int


@go.struct
class Node16:
    number: int
    next: "Node16"


@go.struct
class Node64:
    number: int
    next: "Node64"
    c: int
    d: int
    e: int
    f: int
    g: int
    h: int


@go.struct
class Node1024:
    number: int
    next: "Node1024"
    c: int
    d: int
    e: int
    f: int
    g: int
    h: int
    words1: go.Embed[Words8]
    words2: go.Embed[Words8]
    words3: go.Embed[Words8]
    words4: go.Embed[Words8]
    words5: go.Embed[Words8]
    words6: go.Embed[Words8]
    words7: go.Embed[Words8]
    words8: go.Embed[Words8]
    words9: go.Embed[Words8]
    words10: go.Embed[Words8]
    words11: go.Embed[Words8]
    words12: go.Embed[Words8]
    words13: go.Embed[Words8]
    words14: go.Embed[Words8]
    words15: go.Embed[Words8]


@go.func
def chain_sum(node):
    """The sum of the numbers in a chain."""
    total = 0
    while node is not None:
        total += node.number
        node = node.next
    return total


@go.func
def alloc_16(n, k):
    """Makes a chain of `n` objects of 16 bytes."""
    last = None
    start = go.monotonic()
    for number in range(n):
        last = Node16(number, last)
    return go.monotonic() - start, chain_sum(last)


@go.func
def alloc_64(n, k):
    """Makes a chain of `n` objects of 64 bytes."""
    last = None
    start = go.monotonic()
    for number in range(n):
        last = Node64(number=number, next=last)
    return go.monotonic() - start, chain_sum(last)


@go.func
def alloc_1024(n, k):
    """Makes a chain of `n` objects of 1 KiB."""
    last = None
    start = go.monotonic()
    for number in range(n):
        last = Node1024(number=number, next=last)
    return go.monotonic() - start, chain_sum(last)


def touch_arena(size, n, k, repetitions):
    """Touches the arena's pages that the repetitions will get, so that they meet no page fault.

    Nothing is reclaimed yet, so no memory is given out twice; but spans follow one another in the arena. What lies
    above the last one is made accessible here, as the runtime would do it later, and overwritten with the zeros that
    it holds.
    """
    from gopark.bridge import boot
    from gopark.runtime.runtime2 import Sched

    base = boot.boot().image.address["go.sched"]
    begin, end = (ctypes.c_int64.from_address(base + Sched.fields[name][0]).value for name in ("heapbump", "heapend"))
    # A span holds whole objects only: an eighth more is enough for every size up to a kilobyte.
    needed = n * size * (repetitions + 1) * 9 // 8
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mprotect(ctypes.c_void_p(end), ctypes.c_size_t(needed & -4096), 3) != 0:
        raise OSError(ctypes.get_errno(), "mprotect of the arena")
    ctypes.memset(begin, 0, end - begin + (needed & -4096))


PROGRAMS = {
    "spawn_batch": protocol.Program(functools.partial(go.run, spawn_batch)),
    "spawn_wait": protocol.Program(functools.partial(go.run, spawn_wait)),
    "spawn_tree": protocol.Program(functools.partial(go.run, spawn_tree)),
    "ping_pong": protocol.Program(functools.partial(go.run, ping_pong)),
    "buffered": protocol.Program(functools.partial(go.run, buffered)),
    "mpmc": protocol.Program(functools.partial(go.run, mpmc)),
    "select_2_ready": protocol.Program(functools.partial(go.run, select_2_ready)),
    "select_8_ready": protocol.Program(functools.partial(go.run, select_8_ready)),
    "select_2_blocked": protocol.Program(functools.partial(go.run, select_2_blocked)),
    "select_8_blocked": protocol.Program(functools.partial(go.run, select_8_blocked)),
    "mutex_contended": protocol.Program(functools.partial(go.run, mutex_contended)),
    "mutex_handoff": protocol.Program(functools.partial(go.run, mutex_handoff)),
    "fan_out": protocol.Program(functools.partial(go.run, fan_out)),
    "sieve": protocol.Program(functools.partial(go.run, sieve)),
    "ring": protocol.Program(functools.partial(go.run, ring)),
    "gosched": protocol.Program(functools.partial(go.run, yields)),
    "parked": protocol.Program(parked, warm_up=10),
    "alloc_16": protocol.Program(functools.partial(go.run, alloc_16), prepare=functools.partial(touch_arena, 16)),
    "alloc_64": protocol.Program(functools.partial(go.run, alloc_64), prepare=functools.partial(touch_arena, 64)),
    "alloc_1024": protocol.Program(functools.partial(go.run, alloc_1024), prepare=functools.partial(touch_arena, 1024)),
}


def version():
    """gopark's version, or that it is no installed distribution but found on the path."""
    try:
        return f"gopark {importlib.metadata.version('gopark')}"
    except importlib.metadata.PackageNotFoundError:
        return "gopark (source tree)"


if __name__ == "__main__":
    protocol.serve(PROGRAMS, version(), sys.argv[1:])
