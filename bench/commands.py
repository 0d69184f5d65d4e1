"""The rows of whole commands: starting a program, compiling a function, and the parallel wc against coreutils' own."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from bench.processes import ROOT, FailedProcessError, run, run_gopark
from bench.results import Result

SQUARES = ROOT / "examples" / "squares.py"
SQUARES_ARGUMENT = 1000
SQUARES_SUM = sum(i * i for i in range(SQUARES_ARGUMENT))
# The Collatz lengths of 1 to 10 add up to 67, and the longest is 9's, 19.
FIFTEEN_CHECKSUM = 67_019
COREUTILS = "wc -lwc"
WC_BYTES = 1 << 30


def start(rounds: int, tell: Callable[[str], None]) -> list[Result]:
    """Runs an example with an empty cache, then again and again with the cache that this left."""
    cold = Result("start_cold", "gopark run, cold cache", "s", limit=30)
    warm = Result("start_warm", "gopark run, warm", "s", limit=1)
    own = Result("start_own", "the same less importing Numba", "s", limit=0.25)
    results = [cold, warm, own]
    with tempfile.TemporaryDirectory(prefix="gopark-bench-") as cache:
        try:
            tell(cold.title)
            cold.gopark.append([squares(cache)])
            for number in range(rounds):
                tell(f"round {number + 1} of {rounds}: {warm.title}")
                imports = timed([sys.executable, "-c", "import numpy, numba"])[0]
                whole = squares(cache)
                warm.gopark.append([whole])
                own.gopark.append([whole - imports])
            cold.checksum = warm.checksum = own.checksum = SQUARES_SUM
        except FailedProcessError as failure:
            mark(results, failure)
    return results


def squares(cache: str) -> float:
    """Runs the example with that cache, checks its answer, and returns the seconds."""
    command = [sys.executable, "-m", "gopark", "run", SQUARES, str(SQUARES_ARGUMENT)]
    seconds, printed = timed(command, GOPARK_CACHE_DIR=cache)
    if printed != f"{SQUARES_SUM}\n":
        raise FailedProcessError(f"squares.py printed {printed!r} instead of {SQUARES_SUM}")
    return seconds


def compile_times(rounds: int, tell: Callable[[str], None]) -> list[Result]:
    """Compiles a function of fifteen lines from a new file each time, then loads it from the cache."""
    cold = Result(
        "compile_cold", "compile a function of 15 lines", "ms", peers={"Numba": []}, reference="Numba", limit=150
    )
    cached = Result("compile_cached", "the same function from the cache", "ms", limit=10)
    results = [cold, cached]
    with tempfile.TemporaryDirectory(prefix="gopark-bench-") as place:
        # The runtime's own image is built outside of the measurement.
        environment = {"GOPARK_CACHE_DIR": os.path.join(place, "cache")}
        try:
            run_gopark(SQUARES, SQUARES_ARGUMENT, **environment)
            for number in range(rounds):
                tell(f"round {number + 1} of {rounds}: {cold.title}")
                program = Path(place) / f"fifteen_{number}.py"
                shutil.copy(ROOT / "bench" / "fifteen.py", program)
                cold.peers["Numba"].append([fifteen(ROOT / "bench" / "fifteen_numba.py", environment)])
                cold.gopark.append([fifteen(program, environment)])
                cached.gopark.append([fifteen(program, environment)])
            cold.checksum = cached.checksum = FIFTEEN_CHECKSUM
        except FailedProcessError as failure:
            mark(results, failure)
    return results


def image_times(tell: Callable[[str], None]) -> list[Result]:
    """How long each function of the runtime took to compile, when its image was built; and the link."""
    functions = Result("image_functions", "compile a function of the runtime (each)", "ms")
    link = Result("image_link", "optimise and link the image", "ms")
    tell(functions.title)
    program = "import json; from gopark.bridge import boot; print(json.dumps(boot.boot().image.seconds))"
    try:
        seconds = json.loads(run([sys.executable, "-c", program]).splitlines()[-1])
        link.gopark.append([seconds.pop("link") * 1e3])
        functions.gopark = [[value * 1e3] for value in seconds.values()]
        functions.checksum = len(seconds)
    except FailedProcessError as failure:
        mark([functions, link], failure)
    return [functions, link]


def fifteen(program: Path, environment: dict[str, str]) -> float:
    """Runs the program, checks its answer, and returns the milliseconds that it measured."""
    seconds, checksum = run([sys.executable, program], **environment).split()
    if int(checksum) != FIFTEEN_CHECKSUM:
        raise FailedProcessError(f"the function of 15 lines returned {checksum} instead of {FIFTEEN_CHECKSUM}")
    return float(seconds) * 1e3


def word_count(rounds: int, tell: Callable[[str], None]) -> Result:
    """Counts a file of one GiB with the example and with coreutils' wc, by turns, file in the page cache."""
    result = Result("wc", "wc of 1 GiB, whole command", "s", peers={COREUTILS: []}, reference=COREUTILS, least_ratio=2)
    with tempfile.TemporaryDirectory(prefix="gopark-bench-") as place:
        text = Path(place) / "text"
        tell("writing one GiB of text")
        write_text(text, WC_BYTES)
        theirs = ["wc", "-lwc", text]
        ours = [sys.executable, "-m", "gopark", "run", ROOT / "examples" / "wc.py", text]
        try:
            run(ours)  # fills the caches
            for number in range(rounds):
                tell(f"round {number + 1} of {rounds}: {result.title}")
                seconds, expected = timed(theirs, LC_ALL="C")
                result.peers[COREUTILS].append([seconds])
                seconds, printed = timed(ours, LC_ALL="C")
                result.gopark.append([seconds])
                if printed != expected:
                    raise FailedProcessError(f"wc.py printed {printed!r} instead of {expected!r}")
                result.checksum = list(map(int, expected.split()[:3]))
        except FailedProcessError as failure:
            result.error = str(failure)
    return result


def write_text(path: Path, size: int) -> None:
    """Writes words of random lengths, a tenth of them at the end of a line: one block over and over."""
    generator = np.random.default_rng(1)
    block = generator.integers(ord("a"), ord("z") + 1, 4 << 20, np.uint8)
    ends = np.cumsum(generator.integers(2, 12, len(block) // 4))
    ends = ends[ends < len(block)]
    block[ends] = ord(" ")
    block[ends[generator.random(len(ends)) < 0.1]] = ord("\n")
    with path.open("wb") as file:
        for _ in range(size // len(block)):
            file.write(block.data)


def timed(command: Sequence[str | Path], **environment: str) -> tuple[float, str]:
    """Runs a command; returns the seconds of wall time, and what it printed."""
    begin = time.perf_counter()
    printed = run(command, **environment)
    return time.perf_counter() - begin, printed


def mark(results: Sequence[Result], failure: FailedProcessError) -> None:
    """Notes the failure in the rows that it left incomplete."""
    for result in results:
        if result.checksum is None:
            result.error = str(failure)
