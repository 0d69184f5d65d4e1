"""The rows of the scheduler: gopark's goroutines and channels against Go's.

Each round runs, for each number of processors, Go's process and then gopark's, so that both see the same weather.
A process repeats a row's work and prints the time of every repetition, taken inside the program, and a checksum.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.processes import ROOT, FailedProcessError, run
from bench.results import Result


@dataclasses.dataclass(frozen=True)
class Row:
    """A program, its size, and the least ratio Go/gopark at one processor and at several."""

    name: str
    title: str
    program: str
    n: int
    k: int
    operations: int
    repetitions: int
    bar_one: float
    bar_more: float


# The sizes make a repetition about a millisecond, long enough for the clock and short enough to often go undisturbed.
ROWS = [
    Row("spawn_batch", "spawn+run+exit, batches of 100", "spawn_batch", 100, 100, 10_000, 40, 3, 2.5),
    Row("spawn_wait", "spawn+wait, one at a time", "spawn_wait", 5_000, 1, 5_000, 40, 3, 2.5),
    Row("spawn_tree", "spawn tree, depth 13", "spawn_tree", 2**14 - 1, 1, 2**14 - 1, 40, 3, 2.5),
    Row("ping_pong", "unbuffered ping-pong, round trip", "ping_pong", 5_000, 1, 5_000, 40, 4, 3),
    Row("buffered", "buffered channel, cap 128, item", "buffered", 20_000, 128, 20_000, 40, 2, 1.5),
    Row("gosched_1", "gosched, 1 goroutine", "gosched", 20_000, 1, 20_000, 40, 3, 3),
    Row("gosched_2", "gosched, 2 goroutines", "gosched", 10_000, 2, 20_000, 40, 3, 3),
    Row("gosched_1000", "gosched, 1000 goroutines", "gosched", 50, 1_000, 50_000, 20, 3, 3),
    Row("gosched_10000", "gosched, 10000 goroutines", "gosched", 20, 10_000, 200_000, 10, 3, 3),
]


def measure(
    rows: Sequence[Row], go_program: Path | None, rounds: int, procs: Sequence[int], tell: Callable[[str], None]
) -> tuple[list[Result], dict[str, str]]:
    """Measures the rows; returns their results, and the versions that the processes gave for themselves."""
    results = {(count, row.name): new_result(row, count, go_program) for count in procs for row in rows}
    versions: dict[str, str] = {}
    gopark_program = [sys.executable, ROOT / "bench" / "scheduler_programs.py"]
    for number in range(rounds):
        for count in procs:
            for row in rows:
                result = results[count, row.name]
                if result.error:
                    continue
                tell(f"round {number + 1} of {rounds}, {count} procs: {row.title}")
                try:
                    if go_program:
                        result.peer.append(one_process([go_program], row, count, result, versions))
                    result.gopark.append(one_process(gopark_program, row, count, result, versions))
                except FailedProcessError as failure:
                    result.error = str(failure)
    return list(results.values()), versions


def seam(rounds: int, procs: Sequence[int], tell: Callable[[str], None]) -> list[Result]:
    """What the seam's tests cost: ping-pong and spawn, beside a build of the runtime without them."""
    rows = [row for row in ROWS if row.name in ("ping_pong", "spawn_batch")]
    program = [sys.executable, ROOT / "bench" / "scheduler_programs.py"]
    results = {}
    for count in procs:
        for row in rows:
            title = f"seam: {row.title}"
            results[count, row.name] = Result(
                f"seam_{row.name}", title, "ns", count, peer_name="no seam", least_ratio=1 / 1.05
            )
    for number in range(rounds):
        for (count, name), result in results.items():
            row = next(row for row in rows if row.name == name)
            tell(f"round {number + 1} of {rounds}, {count} procs: {result.title}")
            try:
                result.peer.append(one_process(program, row, count, result, {}, GOPARKDEBUG="seam=0"))
                result.gopark.append(one_process(program, row, count, result, {}))
            except FailedProcessError as failure:
                result.error = str(failure)
    return list(results.values())


def new_result(row: Row, procs: int, go_program: Path | None) -> Result:
    """The row's result, still without samples."""
    bar = row.bar_one if procs == 1 else row.bar_more
    peer_name = "Go" if go_program else None
    return Result(row.name, row.title, "ns", procs, peer_name=peer_name, least_ratio=bar)


def one_process(
    command: Sequence[str | Path],
    row: Row,
    procs: int,
    result: Result,
    versions: dict[str, str],
    **environment: str,
) -> list[float]:
    """Runs one process and returns its samples, in nanoseconds for an operation."""
    sizes = (row.n, row.k, row.repetitions)
    printed = run([*command, row.program, *map(str, sizes)], seconds=300, GOMAXPROCS=str(procs), **environment)
    line = json.loads(printed)
    if len(line["ns"]) != row.repetitions:
        raise FailedProcessError(f"{len(line['ns'])} samples instead of {row.repetitions}")
    if result.checksum not in (None, line["checksum"]):
        raise FailedProcessError(f"checksum {line['checksum']} instead of {result.checksum}")
    result.checksum = line["checksum"]
    versions["gopark" if "gopark" in line["version"] else "go"] = line["version"]
    return [elapsed / row.operations for elapsed in line["ns"]]
