"""Every side's programs come to what rows.py says, at sizes so small that nothing is measured by it.

One process a side runs all programs. A peer that is not installed is skipped by name.
"""

from __future__ import annotations

import importlib.util
import json
import os

import pytest

from bench import asyncio_programs, peers, processes, rows

SIZES = {
    "spawn_batch": (3, 5),
    "spawn_wait": (7, 1),
    "spawn_tree": (15, 1),
    "ping_pong": (7, 1),
    "buffered": (40, 3),
    "mpmc": (42, 3),
    "gosched": (3, 5),
    "select_2_ready": (30, 2),
    "select_8_ready": (30, 8),
    "select_2_blocked": (30, 2),
    "select_8_blocked": (30, 8),
    "mutex_contended": (5, 4),
    "mutex_handoff": (9, 1),
    "fan_out": (5, 6),
    "sieve": (6, 13),
    "ring": (17, 5),
    "parked": (50, 1),
    "alloc_16": (1000, 1),
    "alloc_64": (1000, 1),
    "alloc_1024": (200, 1),
}
NOT_IN_PYTHON = {"alloc_16", "alloc_64", "alloc_1024"}
REPETITIONS = 2


@pytest.fixture(scope="module", params=["gopark", *peers.NAMES])
def side(request, tmp_path_factory):
    """A side, and the programs that it has."""
    name = request.param
    if name == "gopark":
        return peers.gopark(), set(SIZES)
    if name == "Go" and peers.find_go() is None:
        pytest.skip("Go is not installed")
    if name in rows.PYTHON_PEERS and importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    found, missing = peers.find([name], tmp_path_factory.mktemp("go"))
    assert missing == []
    programs = set(SIZES)
    if name in rows.PYTHON_PEERS:
        programs = {row.program for row in rows.ROWS if name in row.peers}
    return found[0], programs


@pytest.fixture(scope="module")
def lines(side):
    """What the side's process printed, by program."""
    of_side, programs = side
    asked = [(name, *sizes, REPETITIONS) for name, sizes in SIZES.items() if name in programs]
    # Two mpmc rows: the unbuffered channel is another case.
    asked.append(("mpmc", 41, 0, REPETITIONS))
    printed = processes.run([*of_side.command, *(str(word) for four in asked for word in four)], GOMAXPROCS="2")
    return [json.loads(line) for line in printed.splitlines()]


def test_all_programs_come_to_what_they_must(side, lines):
    checksums = {(line["program"], line["n"], line["k"]): line["checksums"] for line in lines}
    asked = {(name, *SIZES[name]) for name in side[1]} | {("mpmc", 41, 0)}
    assert checksums == {(name, n, k): [rows.PROGRAMS[name].checksum(n, k)] for name, n, k in asked}


def test_all_programs_measure_each_repetition(lines):
    for line in lines:
        wanted = {figure.name for figure in rows.PARKED} if line["program"] == "parked" else {""}
        assert set(line["samples"]) == wanted, line["program"]
        for figure, samples in line["samples"].items():
            assert len(samples) == REPETITIONS
            # So few goroutines may fit into memory that is resident already.
            assert all(sample >= 0 if figure == "bytes" else sample > 0 for sample in samples), line["program"]


def test_sides_say_their_versions(side, lines):
    versions = {line["version"] for line in lines}
    assert len(versions) == 1
    assert side[0].name.lower() in versions.pop()


def test_rows_name_programs_that_there_are():
    assert {row.program for row in rows.ROWS} == set(rows.PROGRAMS) == set(SIZES)
    assert {row.program for row in rows.ROWS if "asyncio" in row.peers} == set(asyncio_programs.PROGRAMS)
    assert set(rows.PROGRAMS) - set(asyncio_programs.PROGRAMS) == NOT_IN_PYTHON
    names = [name for row in rows.ROWS for name in row.results]
    assert len(names) == len(set(names))
    assert {"ping_pong", "parked_1m_bytes", "parked_1m_create", "parked_1m_wake"} <= set(names)


def test_gevent_has_the_programs_that_rows_say():
    if importlib.util.find_spec("gevent") is None:
        pytest.skip("gevent is not installed")
    printed = processes.run(
        [
            *peers.gopark().command[:1],
            "-c",
            "from bench import gevent_programs; print(*sorted(gevent_programs.PROGRAMS))",
        ]
    )
    assert printed.split() == sorted({row.program for row in rows.ROWS if "gevent" in row.peers})


def test_items_of_the_sieve():
    """The formula against the sieve itself, run on lists."""
    limit, sent, primes = 97, 0, 0
    numbers = list(range(2, limit + 1))
    while numbers:
        sent += len(numbers)
        primes += 1
        numbers = [number for number in numbers if number % numbers[0] != 0]
    assert rows.sieved(limit) == sent
    assert len(set(rows.least_prime_factors(limit))) == primes
    for row in rows.ROWS:
        if row.program == "sieve":
            for n, k in (row.sizes, row.small):
                found = rows.least_prime_factors(k)
                assert len(set(found)) == n and found[-1] == k, "k is the last of n primes"


def test_memory_that_is_allocated_from_was_touched():
    """The rows of allocation promise that: without it a page fault for every page would be seen."""
    row = next(row for row in rows.ROWS if row.name == "alloc_64")
    n, repetitions = 20_000, 4
    printed = processes.run([*peers.gopark().command, row.program, str(n), "1", str(repetitions)])
    pages = n * repetitions * row.touched // os.sysconf("SC_PAGE_SIZE")
    assert json.loads(printed)["faults"] < pages // 5
