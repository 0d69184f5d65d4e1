"""`@go.nowritebarrier`, `@go.nowritebarrierrec` and `@go.yeswritebarrierrec` on a user's functions.

A broken pragma is a `WriteBarrierError` when the function is compiled for a run, with the shortest chain of calls.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

CHILD = Path(__file__).with_name("pragmas_child.py")
STORE = "write barrier prohibited: store to Node.next"


def outcomes(*names: str) -> list[list]:
    """What go.run gave for each of the functions, one after another in one process."""
    done = subprocess.run(
        [sys.executable, CHILD, *names],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def refusal(name: str) -> list[str]:
    """The lines of the error for that function, the places without their line numbers."""
    ((kind, text),) = outcomes(name)
    assert kind == "WriteBarrierError"
    return [re.sub(r":[0-9]+", "", line).strip() for line in text.splitlines()]


def test_accepted():
    """Stores of numbers are no barriers; a callee's barriers are not those of a nowritebarrier function."""
    assert outcomes("numbers_only", "shallow", "even", "odd", "unrelated") == [[3], [1], [0], [1], [4]]


@pytest.mark.parametrize("name", ["above", "below", "nil_store"])
def test_direct_store(name):
    """A pointer store in the function itself, of nil too; the pragma may stand above or below @go.func."""
    assert refusal(name) == [
        STORE,
        f"{name} (pragmas_child.py), marked nowritebarrier",
        "pragmas_child.py: write barrier: store to Node.next",
    ]


def test_constructor_stores_its_pointers():
    assert refusal("constructor")[0] == STORE


def test_chain_through_a_helper():
    assert refusal("deep") == [
        STORE,
        "deep (pragmas_child.py), marked nowritebarrierrec",
        "pragmas_child.py: calls middle",
        "pragmas_child.py: calls helper",
        "pragmas_child.py: write barrier: store to Node.next",
    ]


def test_chain_is_the_shortest():
    """The helper is reached directly and through another function."""
    assert refusal("two_ways") == [
        STORE,
        "two_ways (pragmas_child.py), marked nowritebarrierrec",
        "pragmas_child.py: calls helper",
        "pragmas_child.py: write barrier: store to Node.next",
    ]


def test_yeswritebarrierrec_cuts():
    """Below a trusted function nothing is asked; beside it, the same callee is judged as ever."""
    assert outcomes("cut") == [[1]]
    assert refusal("cut_beside")[2:] == [
        "pragmas_child.py: calls helper",
        "pragmas_child.py: write barrier: store to Node.next",
    ]


def test_mutual_recursion():
    """A callee is complete only after its caller: both are when the check looks, from whichever side one starts."""
    for order in (["even_stores", "odd_stores"], ["odd_stores", "even_stores"]):
        for kind, text in outcomes(*order):
            assert (kind, text.splitlines()[0]) == ("WriteBarrierError", STORE)


def test_marked_function_deeper_down():
    """The marked function is spawned by the one that is run."""
    assert outcomes("spawns")[0][0] == "WriteBarrierError"


def test_again_and_afterwards():
    """A second attempt is refused as the first one was; other functions run before, between and after."""
    kinds = [outcome[0] for outcome in outcomes("unrelated", "above", "unrelated", "above", "above_too", "unrelated")]
    assert kinds == [4, "WriteBarrierError", 4, "WriteBarrierError", "WriteBarrierError", 4]


def test_from_the_cache():
    """A function that comes from the disk is checked like one that was just compiled."""
    first, second = outcomes("cached"), outcomes("cached")
    assert first[0][0] == "WriteBarrierError"
    assert second == first
