"""The scheduler's rows: which programs there are, what each must come to, and the sizes at which they are measured.

A program has two sizes, n and k. Its number of operations and its checksum follow from them, so every side is held to
the same answer although the slower ones run with smaller sizes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

ASYNCIO_LIKE = ("asyncio", "uvloop")  # where gevent has no such program: it cannot wait for the first of several queues
PYTHON_PEERS = (*ASYNCIO_LIKE, "gevent")


def below(n: int) -> int:
    """The sum of the numbers below n."""
    return n * (n - 1) // 2


def least_prime_factors(limit: int) -> list[int]:
    """For each number from 2 to the limit: its least prime factor."""
    factors = [0] * (limit + 1)
    for i in range(2, limit + 1):
        for multiple in range(i, limit + 1, i):
            factors[multiple] = factors[multiple] or i
    return factors[2:]


def sieved(limit: int) -> int:
    """How many items pass through the sieve's channels: each number reaches the filter of its least prime factor."""
    factors = least_prime_factors(limit)
    place = {prime: i + 1 for i, prime in enumerate(sorted(set(factors)))}
    return sum(place[factor] for factor in factors)


@dataclasses.dataclass(frozen=True)
class Program:
    """What a program does for sizes n and k: its number of operations, and its checksum."""

    operations: Callable[[int, int], int]
    checksum: Callable[[int, int], int]


def _first(n: int, k: int) -> int:
    return n


def _product(n: int, k: int) -> int:
    return n * k


def _below_n(n: int, k: int) -> int:
    return below(n)


PROGRAMS = {
    "spawn_batch": Program(_product, lambda n, k: n * below(k + 1)),
    "spawn_wait": Program(_first, _below_n),
    "spawn_tree": Program(_first, lambda n, k: below(n + 1)),
    "ping_pong": Program(_first, _below_n),
    "buffered": Program(_first, _below_n),
    "mpmc": Program(_first, _below_n),
    "gosched": Program(_product, lambda n, k: below(k + 1)),
    "select_2_ready": Program(_first, lambda n, k: below(n * k)),
    "select_8_ready": Program(_first, lambda n, k: below(n * k)),
    "select_2_blocked": Program(_first, _below_n),
    "select_8_blocked": Program(_first, _below_n),
    "mutex_contended": Program(_product, lambda n, k: n * below(k + 1)),
    "mutex_handoff": Program(lambda n, k: 2 * n, lambda n, k: n * n),
    "fan_out": Program(_product, lambda n, k: n * below(k + 1)),
    "sieve": Program(lambda n, k: sieved(k), lambda n, k: sum(set(least_prime_factors(k)))),
    "ring": Program(_first, lambda n, k: n % k),
    "parked": Program(_first, _first),
    "alloc_16": Program(_first, _below_n),
    "alloc_64": Program(_first, _below_n),
    "alloc_1024": Program(_first, _below_n),
}


@dataclasses.dataclass(frozen=True)
class Figure:
    """One of the figures of a program that measures several at once: the row's name and title get these endings."""

    name: str
    title: str
    unit: str = "ns"
    limit: float | None = None


PARKED = (
    Figure("bytes", "resident memory each", "B", limit=5000),
    Figure("create", "create, fresh stacks, each"),
    Figure("wake", "wake all, each"),
)


# The least ratio Go/gopark, at one processor and at several.
Bars = tuple[float | None, float | None]
NO_BARS: Bars = (None, None)
SPAWN, PING_PONG, GOSCHED, COMMUNICATE = (3, 2.5), (4, 3), (3, 3), (2, 1.5)


@dataclasses.dataclass(frozen=True)
class Row:
    """A program at certain sizes, with its bars."""

    name: str
    title: str
    sizes: tuple[int, int]  # n and k
    repetitions: int
    bars: Bars = NO_BARS
    limit: float | None = None
    # The name of the program, where it is not that of the row.
    of: str | None = None
    # The sizes for the peers in Python, which are some hundred times slower, and those of them that have the program.
    small: tuple[int, int] | None = None
    peers: tuple[str, ...] = PYTHON_PEERS
    figures: tuple[Figure, ...] = (Figure("", ""),)
    # Measured at the first value of GOMAXPROCS only, and the peers in Python in the first round only: it takes long.
    long: bool = False
    # Bytes of an object, where the pages must have been touched before the clock starts; 0: not looked at.
    touched: int = 0
    # GiB that must be free, in the worst case over the sides.
    memory: float = 0

    @property
    def program(self) -> str:
        """The name of the program."""
        return self.of or self.name

    @property
    def results(self) -> list[str]:
        """The names of its results: one for each figure."""
        return ["_".join(filter(None, (self.name, figure.name))) for figure in self.figures]

    def sizes_for(self, side: str) -> tuple[int, int]:
        """n and k for that side."""
        return self.small if self.small and side in PYTHON_PEERS else self.sizes

    def bar(self, procs: int) -> float | None:
        """The least ratio at so many processors."""
        return self.bars[0] if procs == 1 else self.bars[1]


# fmt: off
# The sizes make a repetition about a millisecond, long enough for the clock and short enough to often go undisturbed.
ROWS = [
    Row("spawn_batch", "spawn+run+exit, batches of 100", (100, 100), 40, SPAWN, small=(20, 100)),
    Row("spawn_wait", "spawn+wait, one at a time", (5_000, 1), 40, SPAWN, small=(1_000, 1)),
    Row("spawn_tree", "spawn tree, depth 13", (2**14 - 1, 1), 40, SPAWN, small=(2**10 - 1, 1)),
    Row("ping_pong", "unbuffered ping-pong, round trip", (5_000, 1), 40, PING_PONG, small=(500, 1)),
    Row("buffered", "buffered channel, cap 128, item", (20_000, 128), 40, COMMUNICATE, small=(5_000, 128)),
    Row("mpmc_buffered", "mpmc, 4 to 4, cap 128, item", (20_000, 128), 40, COMMUNICATE, of="mpmc", small=(4_000, 128)),
    Row("mpmc_unbuffered", "mpmc, 4 to 4, unbuffered, item", (10_000, 0), 40, of="mpmc", small=(2_000, 0)),
    *(
        Row(f"select_{k}_{kind}", f"select over {k}, {title}", (5_000, k), 20, COMMUNICATE,
            small=(200, k), peers=ASYNCIO_LIKE)
        for kind, title in (("ready", "all ready"), ("blocked", "parked, round trip"))
        for k in (2, 8)
    ),
    Row("mutex_contended", "mutex, 8 contend, yield while held", (1_000, 8), 40, COMMUNICATE, small=(100, 8)),
    Row("mutex_handoff", "mutex hand-off, 2 goroutines", (5_000, 1), 40, COMMUNICATE, small=(500, 1)),
    Row("fan_out", "WaitGroup fan-out, 1 to 100, waiter", (100, 100), 40, small=(20, 100)),
    Row("sieve", "prime sieve, 500 primes, item", (500, 3_571), 5, small=(100, 541)),
    Row("ring", "ring of 503, pass", (20_000, 503), 20, small=(2_000, 503)),
    Row("gosched_1", "gosched, 1 goroutine", (20_000, 1), 40, GOSCHED, of="gosched", small=(2_000, 1)),
    Row("gosched_2", "gosched, 2 goroutines", (10_000, 2), 40, GOSCHED, of="gosched", small=(1_000, 2)),
    Row("gosched_1000", "gosched, 1000 goroutines", (50, 1_000), 20, GOSCHED, of="gosched", small=(10, 1_000)),
    Row("gosched_10000", "gosched, 10000 goroutines", (20, 10_000), 10, GOSCHED, of="gosched", small=(5, 10_000)),
    Row("parked_100k", "100 000 parked", (100_000, 1), 1, of="parked", figures=PARKED, memory=1),
    # A million greenlets of gevent take more than 8 GB and a minute.
    Row("parked_1m", "1 000 000 parked", (1_000_000, 1), 1, of="parked", figures=PARKED, memory=6, long=True,
        peers=ASYNCIO_LIKE),
    Row("alloc_16", "allocate 16 B, touched memory", (100_000, 1), 20, (4, 4), limit=3, peers=(), touched=16),
    Row("alloc_64", "allocate 64 B, touched memory", (50_000, 1), 20, (4, 4), peers=(), touched=64),
    Row("alloc_1024", "allocate 1 KiB, touched memory", (5_000, 1), 20, (2.5, 2.5), peers=(), touched=1024),
]
# fmt: on
