"""The scheduler's rows in asyncio, on its own event loop or on uvloop's: the first argument says which.

The nearest thing that asyncio has stands for what it lacks: a queue of one place for an unbuffered channel, tasks that
wait for an item of each queue for select, `sleep(0)` for gosched.
"""

import asyncio
import functools
import platform
import sys
import time

from bench import protocol

PRODUCERS = CONSUMERS = 4
END = None  # in a queue: nothing more will come


class Count:
    """What a WaitGroup is: `wait` until the numbers that were added come to nothing."""

    def __init__(self, number=0):
        self.number = number
        self.zero = asyncio.Event()

    def add(self, number):
        """Adds a number, which may be negative."""
        self.number += number
        if self.number == 0:
            self.zero.set()
        else:
            self.zero.clear()

    async def wait(self):
        """Waits for zero."""
        await self.zero.wait()


async def leave(count, number):
    count.add(-number)


async def spawn_batch(n, k):
    total = 0
    start = time.perf_counter()
    for _ in range(n):
        count = Count(k * (k + 1) // 2)
        tasks = [asyncio.create_task(leave(count, number)) for number in range(1, k + 1)]
        await count.wait()
        total += len(tasks) * (k + 1) // 2
    return time.perf_counter() - start, total


async def answer(number):
    return number


async def spawn_wait(n, k):
    total = 0
    start = time.perf_counter()
    for number in range(n):
        total += await asyncio.create_task(answer(number))
    return time.perf_counter() - start, total


async def tree_node(tasks, count, number, size):
    if 2 * number < size:
        for child in (2 * number, 2 * number + 1):
            tasks.append(asyncio.create_task(tree_node(tasks, count, child, size)))
    count.add(-number)


async def spawn_tree(n, k):
    count = Count(n * (n + 1) // 2)
    tasks = []
    start = time.perf_counter()
    tasks.append(asyncio.create_task(tree_node(tasks, count, 1, n + 1)))
    await count.wait()
    return time.perf_counter() - start, len(tasks) * (n + 1) // 2


async def pong(a, b, n):
    for _ in range(n):
        await b.put(await a.get())


async def ping_pong(n, k):
    a, b = asyncio.Queue(1), asyncio.Queue(1)
    total = 0
    start = time.perf_counter()
    task = asyncio.create_task(pong(a, b, n))
    for number in range(n):
        await a.put(number)
        total += await b.get()
    await task
    return time.perf_counter() - start, total


async def produce(queue, n):
    for number in range(n):
        await queue.put(number)
    await queue.put(END)


async def buffered(n, k):
    queue = asyncio.Queue(k)
    total = 0
    start = time.perf_counter()
    task = asyncio.create_task(produce(queue, n))
    while (value := await queue.get()) is not END:
        total += value
    await task
    return time.perf_counter() - start, total


async def produce_every(queue, number, n):
    for value in range(number, n, PRODUCERS):
        await queue.put(value)


async def consume(queue):
    total = 0
    while (value := await queue.get()) is not END:
        total += value
    return total


async def mpmc(n, k):
    queue = asyncio.Queue(k or 1)
    start = time.perf_counter()
    consumers = [asyncio.create_task(consume(queue)) for _ in range(CONSUMERS)]
    await asyncio.gather(*[produce_every(queue, number, n) for number in range(PRODUCERS)])
    for _ in range(CONSUMERS):
        await queue.put(END)
    total = sum(await asyncio.gather(*consumers))
    return time.perf_counter() - start, total


async def first_of(getters):
    """The indices of the queues that have given an item, one at least."""
    done, _ = await asyncio.wait(getters, return_when=asyncio.FIRST_COMPLETED)
    return [i for i, getter in enumerate(getters) if getter in done]


async def select_ready(n, k):
    queues = [asyncio.Queue() for _ in range(k)]
    for number, queue in enumerate(queues):
        for value in range(n):
            queue.put_nowait(number * n + value)
    total = taken = 0
    start = time.perf_counter()
    getters = [asyncio.create_task(queue.get()) for queue in queues]
    while taken < n:
        for i in await first_of(getters):
            total += getters[i].result()
            taken += 1
            # A queue may give all that is taken, and then has no item for a further getter.
            getters[i] = asyncio.create_task(queues[i].get() if taken < n else answer(0))
    elapsed = time.perf_counter() - start
    total += sum(await asyncio.gather(*getters))
    for queue in queues:
        while not queue.empty():
            total += queue.get_nowait()
    return elapsed, total


async def ask_in_turn(queues, answers, n):
    total = 0
    for number in range(n):
        await queues[number % len(queues)].put(number)
        total += await answers.get()
    return total


async def select_blocked(n, k):
    queues, answers = [asyncio.Queue(1) for _ in range(k)], asyncio.Queue(1)
    start = time.perf_counter()
    getters = [asyncio.create_task(queue.get()) for queue in queues]
    asking = asyncio.create_task(ask_in_turn(queues, answers, n))
    answered = 0
    while answered < n:
        for i in await first_of(getters):
            await answers.put(getters[i].result())
            answered += 1
            getters[i] = asyncio.create_task(queues[i].get())
    total = await asking
    elapsed = time.perf_counter() - start
    for getter in getters:
        getter.cancel()
    await asyncio.wait(getters)
    return elapsed, total


async def contend(lock, cell, number, n):
    for _ in range(n):
        async with lock:
            value = cell[0]
            await asyncio.sleep(0)
            cell[0] = value + number


async def mutex_contended(n, k):
    lock, cell = asyncio.Lock(), [0]
    start = time.perf_counter()
    await asyncio.gather(*[contend(lock, cell, number, n) for number in range(1, k + 1)])
    return time.perf_counter() - start, cell[0]


async def answer_by_lock(here, there, cell, n):
    for _ in range(n):
        await here.acquire()
        cell[0] += 1
        there.release()


async def mutex_handoff(n, k):
    here, there, cell = asyncio.Lock(), asyncio.Lock(), [0]
    await here.acquire()
    await there.acquire()
    total = 0
    start = time.perf_counter()
    task = asyncio.create_task(answer_by_lock(here, there, cell, n))
    for number in range(n):
        cell[0] = 2 * number
        here.release()
        await there.acquire()
        total += cell[0]
    await task
    return time.perf_counter() - start, total


async def wait_at_gates(gates, finish, number, n):
    for turn in range(n):
        await gates[turn % 2].wait()
        finish.add(-number)


async def fan_out(n, k):
    gates, finish = [asyncio.Event(), asyncio.Event()], Count()
    tasks = [asyncio.create_task(wait_at_gates(gates, finish, number, n)) for number in range(1, k + 1)]
    total = 0
    start = time.perf_counter()
    for turn in range(n):
        finish.add(k * (k + 1) // 2)
        gates[1 - turn % 2].clear()
        gates[turn % 2].set()
        await finish.wait()
        total += len(tasks) * (k + 1) // 2
    return time.perf_counter() - start, total


async def generate(queue, limit):
    for number in range(2, limit + 1):
        await queue.put(number)
    await queue.put(END)


async def sift(source, target, prime):
    while (number := await source.get()) is not END:
        if number % prime != 0:
            await target.put(number)
    await target.put(END)


async def sieve(n, k):
    queue = asyncio.Queue(1)
    total = 0
    start = time.perf_counter()
    tasks = [asyncio.create_task(generate(queue, k))]
    for _ in range(n):
        prime = await queue.get()
        total += prime
        sifted = asyncio.Queue(1)
        tasks.append(asyncio.create_task(sift(queue, sifted, prime)))
        queue = sifted
    while (number := await queue.get()) is not END:
        total += number
    await asyncio.gather(*tasks)
    return time.perf_counter() - start, total


async def ring_node(source, target, done, number):
    while (token := await source.get()) > 0:
        await target.put(token - 1)
    if token == 0:
        done.set_result(number)
    await target.put(-1)


async def ring(n, k):
    done = asyncio.get_running_loop().create_future()
    queues = [asyncio.Queue(1) for _ in range(k)]
    tasks = [
        asyncio.create_task(ring_node(queues[number], queues[(number + 1) % k], done, number)) for number in range(k)
    ]
    start = time.perf_counter()
    await queues[0].put(n)
    number = await done
    elapsed = time.perf_counter() - start
    await asyncio.gather(*tasks)
    return elapsed, number


async def yielder(count, number, n):
    for _ in range(n):
        await asyncio.sleep(0)
    count.add(-number)


async def yields(n, k):
    count = Count(k * (k + 1) // 2)
    start = time.perf_counter()
    tasks = [asyncio.create_task(yielder(count, number, n)) for number in range(1, k + 1)]
    await count.wait()
    return time.perf_counter() - start, len(tasks) * (k + 1) // 2


async def sit(arrived, gate, gone):
    arrived.add(-1)
    await gate.wait()
    gone.add(-1)


async def parked(n, k):
    arrived, gone, gate = Count(n), Count(n), asyncio.Event()
    before = protocol.resident()
    start = time.perf_counter()
    tasks = [asyncio.create_task(sit(arrived, gate, gone)) for _ in range(n)]
    await arrived.wait()
    create = time.perf_counter() - start
    number = len(asyncio.all_tasks()) - 1
    size = protocol.resident() - before
    start = time.perf_counter()
    gate.set()
    await gone.wait()
    wake = time.perf_counter() - start
    await asyncio.gather(*tasks)
    return {"bytes": size, "create": create * 1e9, "wake": wake * 1e9}, number


PROGRAMS = {
    "spawn_batch": spawn_batch,
    "spawn_wait": spawn_wait,
    "spawn_tree": spawn_tree,
    "ping_pong": ping_pong,
    "buffered": buffered,
    "mpmc": mpmc,
    "select_2_ready": select_ready,
    "select_8_ready": select_ready,
    "select_2_blocked": select_blocked,
    "select_8_blocked": select_blocked,
    "mutex_contended": mutex_contended,
    "mutex_handoff": mutex_handoff,
    "fan_out": fan_out,
    "sieve": sieve,
    "ring": ring,
    "gosched": yields,
    "parked": parked,
}


def main(loop, arguments):
    """Serves the programs on that loop, "asyncio" or "uvloop"."""
    version, factory = f"asyncio of Python {platform.python_version()}", None
    if loop == "uvloop":
        import uvloop

        version, factory = f"uvloop {uvloop.__version__}", uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:

        def run(function, n, k):
            return runner.run(function(n, k))

        served = {
            name: protocol.Program(functools.partial(run, function), warm_up=10 if name == "parked" else None)
            for name, function in PROGRAMS.items()
        }
        protocol.serve(served, version, arguments)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
