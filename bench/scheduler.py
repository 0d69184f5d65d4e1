"""Measures the scheduler's rows: gopark's goroutines and channels beside Go's and the peers in Python.

In each round and for each number of processors every side's process runs once, row by row, so that all see the same
weather. A process repeats a row's work and prints the time of every repetition, taken inside the program, and a
checksum (protocol.py). The peers in Python have one thread: they run at the first number of processors only, and their
samples stand in all of a row's results.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from bench.peers import Side, gopark
from bench.processes import FailedProcessError, run
from bench.results import Result, Samples
from bench.rows import PROGRAMS, PYTHON_PEERS, ROWS, Row

SMALL_REPETITIONS = 5  # of a peer in Python, at most
TIMEOUT = 300  # seconds for a process
PAGE = 4096
# Of the pages that a row takes for touched, so many may be faults: the tables of both heaps grow with them.
FAULTS = 0.1


def measure(
    rows: Sequence[Row], peers: Sequence[Side], rounds: int, procs: Sequence[int], tell: Callable[[str], None]
) -> tuple[list[Result], dict[str, str], list[str]]:
    """Measures the rows; returns their results, the versions that the processes gave, and sentences on what is left
    out."""
    ours = gopark()
    notes = left_out(rows, peers)
    rows = [row for row in rows if row.memory <= free_memory()]
    single = {(row.name, peer.name): new_samples(row) for row in rows for peer in peers if peer.name in PYTHON_PEERS}
    results: dict[tuple[int, str], dict[str, Result]] = {}
    for count in procs:
        for row in rows:
            if count == procs[0] or not row.long:
                results[count, row.name] = new_results(row, count, peers, single)
    versions: dict[str, str] = {}
    for number in range(rounds):
        for count in procs:
            for row in rows:
                of_row = results.get((count, row.name))
                if of_row is None or any(result.error for result in of_row.values()):
                    continue
                tell(f"round {number + 1} of {rounds}, {count} procs: {row.title}")
                for side in (*peers, ours):
                    in_python = side.name in PYTHON_PEERS
                    if in_python and (side.name not in row.peers or count != procs[0] or (row.long and number > 0)):
                        continue
                    try:
                        figures, version, checksum = one_process(side, row, count)
                    except FailedProcessError as failure:
                        for result in of_row.values():
                            result.error = f"{side.name}: {failure}"
                        break
                    versions[side.name] = version
                    for name, result in of_row.items():
                        (result.gopark if side is ours else result.peers[side.name]).append(figures[name])
                        if side is ours:
                            result.checksum = checksum
    return [result for of_row in results.values() for result in of_row.values()], versions, notes


def left_out(rows: Sequence[Row], peers: Sequence[Side]) -> list[str]:
    """Sentences on what will not be measured, of what these rows could be."""
    free = free_memory()
    notes = [f"{row.title}: skipped, it needs {row.memory:g} GiB of free memory." for row in rows if row.memory > free]
    for peer in peers:
        if peer.name not in PYTHON_PEERS:
            continue
        without = [row.title for row in rows if row.memory <= free and peer.name not in row.peers]
        if without:
            notes.append(f"{peer.name} has no program for: {'; '.join(without)}.")
        once = [row.title for row in rows if row.memory <= free and peer.name in row.peers and row.long]
        if once:
            notes.append(f"{peer.name} ran in the first round only: {'; '.join(once)}.")
    return notes


def free_memory() -> float:
    """GiB that a process could take without swapping."""
    with open("/proc/meminfo") as file:
        for line in file:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) / 2**20
    raise OSError("/proc/meminfo does not say MemAvailable")


def new_samples(row: Row) -> dict[str, Samples]:
    """Room for the samples of a row's figures."""
    return {figure.name: [] for figure in row.figures}


def new_results(
    row: Row, procs: int, peers: Sequence[Side], single: dict[tuple[str, str], dict[str, Samples]]
) -> dict[str, Result]:
    """The results of a row by figure, still without samples; `single` has what all numbers of processors share."""
    results = {}
    for figure, name in zip(row.figures, row.results, strict=True):
        of_peers: dict[str, Samples] = {}
        for peer in peers:
            if peer.name not in PYTHON_PEERS:
                of_peers[peer.name] = []
            elif peer.name in row.peers:
                of_peers[peer.name] = single[row.name, peer.name][figure.name]
        results[figure.name] = Result(
            name,
            ": ".join(filter(None, (row.title, figure.title))),
            figure.unit,
            procs,
            peers=of_peers,
            reference="Go" if "Go" in of_peers else None,
            least_ratio=row.bar(procs),
            limit=row.limit if figure.limit is None else figure.limit,
        )
    return results


def seam(rounds: int, procs: Sequence[int], tell: Callable[[str], None]) -> list[Result]:
    """What the seam's tests cost: ping-pong and spawn, beside a build of the runtime without them."""
    rows = {row.name: row for row in ROWS if row.name in ("ping_pong", "spawn_batch")}
    without = "no seam"
    results = {}
    for count in procs:
        for row in rows.values():
            results[count, row.name] = Result(
                f"seam_{row.name}",
                f"seam: {row.title}",
                "ns",
                count,
                peers={without: []},
                reference=without,
                least_ratio=1 / 1.05,
            )
    for number in range(rounds):
        for (count, name), result in results.items():
            tell(f"round {number + 1} of {rounds}, {count} procs: {result.title}")
            try:
                bare, _, _ = one_process(gopark(), rows[name], count, GOPARKDEBUG="seam=0")
                whole, _, result.checksum = one_process(gopark(), rows[name], count)
            except FailedProcessError as failure:
                result.error = str(failure)
                continue
            result.peers[without].append(bare[""])
            result.gopark.append(whole[""])
    return list(results.values())


def one_process(side: Side, row: Row, procs: int, **environment: str) -> tuple[dict[str, list[float]], str, int]:
    """Runs one process; returns its samples by figure, for one operation each, its version, and the checksum.

    Raises FailedProcessError, also if the work did not come to what it must.
    """
    n, k = row.sizes_for(side.name)
    repetitions = min(row.repetitions, SMALL_REPETITIONS) if side.name in PYTHON_PEERS else row.repetitions
    arguments = (row.program, *map(str, (n, k, repetitions)))
    printed = run([*side.command, *arguments], seconds=TIMEOUT, GOMAXPROCS=str(procs), **environment)
    line = json.loads(printed)
    program = PROGRAMS[row.program]
    expected = program.checksum(n, k)
    if line["checksums"] != [expected]:
        raise FailedProcessError(f"{row.program}: checksums {line['checksums']} instead of {expected}")
    if sorted(line["samples"]) != sorted(figure.name for figure in row.figures):
        raise FailedProcessError(f"{row.program}: figures {sorted(line['samples'])}")
    for samples in line["samples"].values():
        if len(samples) != repetitions:
            raise FailedProcessError(f"{row.program}: {len(samples)} samples instead of {repetitions}")
    touched = n * repetitions * row.touched // PAGE
    if row.touched and line["faults"] > max(touched * FAULTS, 32):
        raise FailedProcessError(f"{row.program}: {line['faults']} page faults on {touched} touched pages")
    operations = program.operations(n, k)
    figures = {name: [value / operations for value in samples] for name, samples in line["samples"].items()}
    return figures, line["version"], expected
