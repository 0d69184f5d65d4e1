"""What a measured process in Python reads and prints; go/main.go does the same for Go.

Arguments come in fours: program, n, k, repetitions. For each program one line of JSON is printed: the samples, the
checksum of the work, and the page faults that the repetitions met.
"""

from __future__ import annotations

import dataclasses
import json
import os
import resource
from collections.abc import Callable, Sequence

# What a program measured in one repetition, and its checksum: seconds, or several figures by name (bytes, or ns).
Outcome = tuple[float | dict[str, float], int]


@dataclasses.dataclass(frozen=True)
class Program:
    """How a side runs a program."""

    run: Callable[[int, int], Outcome]
    # n for the warm-up where it is not that of the measurement: what is measured is how things are the first time.
    warm_up: int | None = None
    # Called with n, k and the number of repetitions, between the warm-up and the first of them.
    prepare: Callable[[int, int, int], None] = lambda n, k, repetitions: None


def serve(programs: dict[str, Program], version: str, arguments: Sequence[str]) -> None:
    """Measures the programs that are asked for."""
    for name, *sizes in zip(*[iter(arguments)] * 4, strict=True):
        n, k, repetitions = map(int, sizes)
        program = programs[name]
        program.run(program.warm_up or n, k)  # compiles, fills the caches, and is not recorded
        program.prepare(n, k, repetitions)
        samples: dict[str, list[int]] = {}
        checksums = set()
        faults = page_faults()
        for _ in range(repetitions):
            measured, checksum = program.run(n, k)
            checksums.add(checksum)
            for figure, value in (measured if isinstance(measured, dict) else {"": measured * 1e9}).items():
                samples.setdefault(figure, []).append(round(value))
        line = {
            "program": name,
            "n": n,
            "k": k,
            "version": version,
            "checksums": sorted(checksums),
            "faults": page_faults() - faults,
            "samples": samples,
        }
        print(json.dumps(line), flush=True)


def page_faults() -> int:
    """Page faults of this process so far that needed no disk."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def resident() -> int:
    """Bytes of this process's memory that are resident; its page tables are not counted."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
