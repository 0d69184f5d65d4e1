"""The seam: with bits of the word `go.seam` set, primitives go through `go.prim`, and programs give the same results.

Each test is a process of its own (seam_child.py), in which counting functions are bound to the seam's two symbols.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gopark.compiler import abi

CHILD = Path(__file__).with_name("seam_child.py")
RESULTS = [3000 * 3001 // 2, 1600, 2 * (499 * 500 // 2) + 500 * 1000000, 50]
# the kinds of primitives that the programs perform while they run
PERFORMED = ("load", "store", "cas", "xadd", "xchg", "lock", "note", "handoff", "syscall")
ALL = sum(1 << bit for bit in abi.KIND.values())


def hooked(bits: int, **environment: str) -> dict:
    """Run the programs with those bits set."""
    done = subprocess.run(
        [sys.executable, CHILD, hex(bits)],
        env={**os.environ, "GOMAXPROCS": "2", "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **environment},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(done.stdout)
    assert said["idle"] == [0] * (len(abi.KINDS) + 1), "with no bit set nothing may be called"
    assert said["results"] == RESULTS
    return said["counts"]


def test_all_kinds():
    """Every kind of primitive that takes place is seen, and the programs do not notice."""
    counts = hooked(ALL)
    assert [kind for kind in PERFORMED if counts[kind] == 0] == []
    assert counts["lock"] > 6000, "every send and every receive takes a channel's lock"
    assert counts["event"] > 1500, "plain pointer stores: the list's cells at least"


@pytest.mark.parametrize("kind", PERFORMED)
def test_one_kind(kind):
    """A bit lets through its own kind and no other."""
    counts = hooked(1 << abi.KIND[kind])
    assert counts.pop(kind) > 0
    assert set(counts.values()) == {0}


def test_barrier_enabled():
    """The barrier's own bit: each plain pointer store calls writebarrierptr, atomic ones through go.prim."""
    counts = hooked(abi.WB_ENABLED)
    assert counts["event"] > 1500
    assert counts["store"] + counts["cas"] > 0
    assert {kind for kind, n in counts.items() if n} <= {"event", "store", "cas"}


def test_barrier_checked():
    """The check at run time finds nothing wrong in right programs."""
    assert hooked(abi.WB_CHECK)["event"] > 1500
    assert hooked(abi.WB_CHECK | abi.WB_ENABLED)["event"] > 1500


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_built_without_the_seam():
    """GOPARKDEBUG=seam=0 is a build of its own, for measurements: bits change nothing, since nobody looks at them."""
    program = (
        "import ctypes, sys; sys.argv[1:] = ['0']\n"
        f"sys.path.insert(0, {str(CHILD.parent)!r})\n"
        "import seam_child\n"
        "from gopark.bridge import boot\n"
        "from gopark.compiler import abi, image\n"
        "image.Image = seam_child.HookedImage\n"
        "word = ctypes.c_int64.from_address(boot.boot().image.address[abi.SEAM])\n"
        f"word.value = {ALL}\n"
        "print(seam_child.play(), sum(seam_child.HookedImage.counters[:-1]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "GOPARKDEBUG": "seam=0"},
        capture_output=True,
        text=True,
        timeout=590,
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (0, f"{RESULTS} 0"), done.stderr[-3000:]
