"""Audits of check level 2 are needed: mutants of the scheduler that they find, and with which words.

The mutants come from the generator by name. Each is made in a copy of the package, built as an image of check level 2
and driven by storms, which find nothing in the unmutated runtime (tests/semantics/test_storm.py).
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gopark.compiler import cache
from tests.mutants.generator import FILES, PACKAGE, Mutant, Source, mutants

ROOT = Path(__file__).resolve().parent.parent.parent
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # each builds an image and compiles the storms

# (file and function, operator, a part of what the mutant is called, the audit's words, the storm or program)
FOUND = [
    ("mp.pidleput", "count", "npidle", "the number of idle Ps", "traffic"),
    ("mp.mput", "count", "nmidle", "the number of idle Ms", "traffic"),
    ("mp.mget", "count", "nmidle", "the number of idle Ms", "traffic"),
    ("runq.globrunqputbatch", "count", "runqsize", "the length of the global queue", "trees"),
    ("stack.gfget", "count", "gfreecnt", "the number of free Gs", "trees"),
    ("sema.semacquire", "count", "xadd(root, 'nwait', 1)", "the number of sleepers on a semaphore", "convoys"),
    ("mp.startm", "lock", "no lock of sched.lock", "a lock is not held", "traffic"),
    ("mp.wakeidle", "check", "a stealable G wakes nobody", "a runnable G beside an idle P", "hogs"),
]


@functools.cache
def all_mutants() -> tuple[Mutant, ...]:
    return tuple(mutants(FILES))


def mutant_of(function: str, operator: str, part: str) -> Mutant:
    """The first mutant that answers to this."""
    return next(
        m for m in all_mutants() if f"{m.file}.{m.function}" == function and m.operator == operator and part in m.what
    )


def run(mutant: Mutant | None, kind: str, seconds: float) -> subprocess.CompletedProcess[str]:
    """Storms of one kind on two Ps, or hogs, in a process that imports the mutated copy."""
    with tempfile.TemporaryDirectory(prefix="gopark-mutant-") as scratch:
        copy = Path(scratch) / "src" / "gopark"
        shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__", ".*"))
        # what does not differ is not compiled again
        shutil.copytree(cache.directory() / "image", Path(scratch) / "cache" / "image")
        (Path(scratch) / "cache").chmod(0o700)
        if mutant is not None:
            file = copy / "runtime" / f"{mutant.file}.py"
            file.write_text(mutant.source(Source(mutant.file).text))
        program = f"from tests.semantics.test_storm import storm; storm({kind!r}, {seconds}, 7)"
        if kind == "hogs":
            program = f"from tests.mutants.hogs import run; run({seconds})"
        return subprocess.run(
            [sys.executable, "-c", program],
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join([str(copy.parent), str(ROOT)]),
                "GOPARK_CACHE_DIR": str(Path(scratch) / "cache"),
                "GOPARKDEBUG": "check=2",
                "GOMAXPROCS": "2",
            },
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )


@pytest.fixture(scope="module")
def coming(request):
    """What became of each mutant whose test was selected, two at a time."""
    wanted = {
        item.callspec.params["found"]
        for item in request.session.items
        if "found" in getattr(getattr(item, "callspec", None), "params", ())
    }
    with ThreadPoolExecutor(2) as pool:
        futures = {found: pool.submit(run, mutant_of(*found[:3]), found[4], 10.0) for found in FOUND if found in wanted}
        yield futures
        for future in futures.values():
            future.cancel()


@pytest.mark.parametrize("found", FOUND, ids=lambda found: f"{found[0]}-{found[1]}")
def test_the_audit_finds_its_mutant(found, coming):
    done = coming[found].result()
    assert done.returncode == 2, f"status {done.returncode}\n{done.stdout[-500:]}\n{done.stderr[-2000:]}"
    assert re.match(rf"fatal error: audit: {re.escape(found[3])}\b", done.stderr), done.stderr[:500]


@pytest.mark.parametrize(("kind", "seconds"), [("ends", 1.0), ("hogs", 5.0)])
def test_the_copy_itself_is_sound(kind, seconds):
    """The control: the same without a mutation."""
    done = run(None, kind, seconds)
    assert done.returncode == 0, done.stderr[-2000:]
