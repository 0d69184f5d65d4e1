"""The scheduler's rows of the benchmark in gevent.

Its greenlets have queues, semaphores and events; it cannot wait for the first of several queues, so the select rows are
missing.
"""

import sys
import time

import gevent
from gevent.event import Event
from gevent.lock import Semaphore
from gevent.queue import Channel, SimpleQueue

from bench import protocol

PRODUCERS = CONSUMERS = 4
END = None  # in a queue: nothing more will come


class Count:
    """What a WaitGroup is: `wait` until the numbers that were added come to nothing."""

    def __init__(self, number=0):
        self.number = number
        self.zero = Event()

    def add(self, number):
        """Adds a number, which may be negative."""
        self.number += number
        if self.number == 0:
            self.zero.set()
        else:
            self.zero.clear()

    def wait(self):
        """Waits for zero."""
        self.zero.wait()


def leave(count, number):
    count.add(-number)


def spawn_batch(n, k):
    total = 0
    start = time.perf_counter()
    for _ in range(n):
        count = Count(k * (k + 1) // 2)
        for number in range(1, k + 1):
            gevent.spawn(leave, count, number)
        count.wait()
        total += k * (k + 1) // 2
    return time.perf_counter() - start, total


def answer(number):
    return number


def spawn_wait(n, k):
    total = 0
    start = time.perf_counter()
    for number in range(n):
        total += gevent.spawn(answer, number).get()
    return time.perf_counter() - start, total


def tree_node(count, number, size):
    if 2 * number < size:
        gevent.spawn(tree_node, count, 2 * number, size)
        gevent.spawn(tree_node, count, 2 * number + 1, size)
    count.add(-number)


def spawn_tree(n, k):
    count = Count(n * (n + 1) // 2)
    start = time.perf_counter()
    gevent.spawn(tree_node, count, 1, n + 1)
    count.wait()
    return time.perf_counter() - start, n * (n + 1) // 2


def pong(a, b, n):
    for _ in range(n):
        b.put(a.get())


def ping_pong(n, k):
    a, b = Channel(), Channel()
    total = 0
    start = time.perf_counter()
    greenlet = gevent.spawn(pong, a, b, n)
    for number in range(n):
        a.put(number)
        total += b.get()
    greenlet.get()
    return time.perf_counter() - start, total


def produce(queue, n):
    for number in range(n):
        queue.put(number)
    queue.put(END)


def buffered(n, k):
    queue = SimpleQueue(k)
    start = time.perf_counter()
    greenlet = gevent.spawn(produce, queue, n)
    total = consume(queue)
    greenlet.get()
    return time.perf_counter() - start, total


def produce_every(queue, number, n):
    for value in range(number, n, PRODUCERS):
        queue.put(value)


def consume(queue):
    total = 0
    while (value := queue.get()) is not END:
        total += value
    return total


def mpmc(n, k):
    queue = SimpleQueue(k) if k else Channel()
    start = time.perf_counter()
    consumers = [gevent.spawn(consume, queue) for _ in range(CONSUMERS)]
    producers = [gevent.spawn(produce_every, queue, number, n) for number in range(PRODUCERS)]
    gevent.joinall(producers, raise_error=True)
    for _ in range(CONSUMERS):
        queue.put(END)
    total = sum(greenlet.get() for greenlet in consumers)
    return time.perf_counter() - start, total


def contend(mutex, cell, number, n):
    for _ in range(n):
        with mutex:
            value = cell[0]
            gevent.sleep(0)
            cell[0] = value + number


def mutex_contended(n, k):
    mutex, cell = Semaphore(1), [0]
    start = time.perf_counter()
    gevent.joinall([gevent.spawn(contend, mutex, cell, number, n) for number in range(1, k + 1)], raise_error=True)
    return time.perf_counter() - start, cell[0]


def answer_by_mutex(here, there, cell, n):
    for _ in range(n):
        here.acquire()
        cell[0] += 1
        there.release()


def mutex_handoff(n, k):
    here, there, cell = Semaphore(0), Semaphore(0), [0]
    total = 0
    start = time.perf_counter()
    greenlet = gevent.spawn(answer_by_mutex, here, there, cell, n)
    for number in range(n):
        cell[0] = 2 * number
        here.release()
        there.acquire()
        total += cell[0]
    greenlet.get()
    return time.perf_counter() - start, total


def wait_at_gates(gates, finish, number, n):
    for turn in range(n):
        gates[turn % 2].wait()
        finish.add(-number)


def fan_out(n, k):
    gates, finish = [Event(), Event()], Count()
    for number in range(1, k + 1):
        gevent.spawn(wait_at_gates, gates, finish, number, n)
    total = 0
    start = time.perf_counter()
    for turn in range(n):
        finish.add(k * (k + 1) // 2)
        gates[1 - turn % 2].clear()
        gates[turn % 2].set()
        finish.wait()
        total += k * (k + 1) // 2
    return time.perf_counter() - start, total


def generate(channel, limit):
    for number in range(2, limit + 1):
        channel.put(number)
    channel.put(END)


def sift(source, target, prime):
    while (number := source.get()) is not END:
        if number % prime != 0:
            target.put(number)
    target.put(END)


def sieve(n, k):
    channel = Channel()
    total = 0
    start = time.perf_counter()
    greenlets = [gevent.spawn(generate, channel, k)]
    for _ in range(n):
        prime = channel.get()
        total += prime
        sifted = Channel()
        greenlets.append(gevent.spawn(sift, channel, sifted, prime))
        channel = sifted
    total += consume(channel)
    gevent.joinall(greenlets, raise_error=True)
    return time.perf_counter() - start, total


def ring_node(source, target, done, number):
    while (token := source.get()) > 0:
        target.put(token - 1)
    if token == 0:
        done.put(number)
        target.put(-1)
        source.get()
    else:
        target.put(-1)


def ring(n, k):
    done = Channel()
    channels = [Channel() for _ in range(k)]
    greenlets = [
        gevent.spawn(ring_node, channels[number], channels[(number + 1) % k], done, number) for number in range(k)
    ]
    start = time.perf_counter()
    channels[0].put(n)
    number = done.get()
    elapsed = time.perf_counter() - start
    gevent.joinall(greenlets, raise_error=True)
    return elapsed, number


def yielder(count, number, n):
    for _ in range(n):
        gevent.sleep(0)
    count.add(-number)


def yields(n, k):
    count = Count(k * (k + 1) // 2)
    start = time.perf_counter()
    for number in range(1, k + 1):
        gevent.spawn(yielder, count, number, n)
    count.wait()
    return time.perf_counter() - start, k * (k + 1) // 2


def sit(arrived, gate, gone):
    arrived.add(-1)
    gate.wait()
    gone.add(-1)


def parked(n, k):
    arrived, gone, gate = Count(n), Count(n), Event()
    before = protocol.resident()
    start = time.perf_counter()
    greenlets = [gevent.spawn(sit, arrived, gate, gone) for _ in range(n)]
    arrived.wait()
    create = time.perf_counter() - start
    number = sum(map(bool, greenlets))  # a greenlet that started and has not ended is true
    size = protocol.resident() - before
    start = time.perf_counter()
    gate.set()
    gone.wait()
    wake = time.perf_counter() - start
    gevent.joinall(greenlets, raise_error=True)
    return {"bytes": size, "create": create * 1e9, "wake": wake * 1e9}, number


PROGRAMS = {
    "spawn_batch": spawn_batch,
    "spawn_wait": spawn_wait,
    "spawn_tree": spawn_tree,
    "ping_pong": ping_pong,
    "buffered": buffered,
    "mpmc": mpmc,
    "mutex_contended": mutex_contended,
    "mutex_handoff": mutex_handoff,
    "fan_out": fan_out,
    "sieve": sieve,
    "ring": ring,
    "gosched": yields,
    "parked": parked,
}


if __name__ == "__main__":
    served = {
        name: protocol.Program(function, warm_up=10 if name == "parked" else None)
        for name, function in PROGRAMS.items()
    }
    protocol.serve(served, f"gevent {gevent.__version__}", sys.argv[1:])
