"""gopark.testing: what a test leaves behind is found, and named; what does not count is not."""

from __future__ import annotations

import os
import threading

import numpy as np
import pytest

import gopark as go
from gopark.testing import nothing_left_behind

pytestmark = pytest.mark.usefixtures("booted")


@go.func
def waits_for_nobody(ch):
    ch.recv()


@go.func
def goes_on(log):
    go.spawn(waits_for_nobody, go.chan(int))
    while log[1] == 0:
        log[0] += 1
        go.gosched()


@go.func
def crowd(n):
    ch = go.chan(int)
    for i in range(n):
        go.spawn(sends, ch, i)
    total = 0
    for _ in range(n):
        total += ch.recv()
    return total


@go.func
def sends(ch, i):
    ch.send(i)


def test_a_run_that_has_returned_leaves_nothing():
    """Threads of the runtime stay, and do not count: a new one for each P."""
    previous = go.gomaxprocs(2)
    try:
        with nothing_left_behind():
            go.gomaxprocs(4)
            assert go.run(crowd, 1000) == 499500
    finally:
        go.gomaxprocs(previous)


def test_a_run_that_goes_on_is_named_with_its_goroutines():
    log = np.zeros(2, np.int64)
    run = threading.Thread(target=go.run, args=(goes_on, log), name="who runs it")
    try:
        with pytest.raises(AssertionError) as caught:
            with nothing_left_behind(patience=0.1):
                run.start()
                while log[0] == 0:
                    pass
    finally:
        log[1] = 1
        run.join()
    text = str(caught.value)
    assert "[chan receive]:" in text
    assert "in waits_for_nobody" in text
    assert f"{os.path.basename(__file__)}:" in text
    assert "thread who runs it" in text


def test_a_thread_is_named():
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait, name="the one that stays")
    with pytest.raises(AssertionError, match="left behind:\n\nthread the one that stays$"):
        with nothing_left_behind(patience=0.05):
            thread.start()
    stop.set()
    thread.join()


def test_a_descriptor_is_named(tmp_path):
    path = tmp_path / "open.txt"
    file = None
    with pytest.raises(AssertionError, match=r"left behind:\n\ndescriptor \d+, open on \S*open\.txt$"):
        with nothing_left_behind(patience=0.05):
            file = open(path, "w")
    file.close()


def test_what_is_about_to_go_may_go():
    with nothing_left_behind():
        threading.Timer(0.2, lambda: None).start()


def test_what_was_there_before_does_not_count(tmp_path):
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    with open(tmp_path / "open.txt", "w"), nothing_left_behind(patience=0):
        pass
    stop.set()
    thread.join()


def test_the_error_of_the_block_is_the_one_that_comes_out(tmp_path):
    file = None
    with pytest.raises(ZeroDivisionError):
        with nothing_left_behind(patience=0):
            file = open(tmp_path / "open.txt", "w")
            1 // 0  # noqa: B018
    file.close()


def test_the_fixture_fails_the_test_that_leaves_something(pytester_outcomes):
    assert pytester_outcomes == (1, 1, 1)


@pytest.fixture
def pytester_outcomes(tmp_path):
    """Passed, failed and errors of a suite of its own, in a process of its own."""
    import re
    import subprocess
    import sys

    (tmp_path / "conftest.py").write_text('pytest_plugins = ["gopark.testing"]\n')
    (tmp_path / "test_it.py").write_text(
        "import pytest, threading\n"
        "pytestmark = pytest.mark.usefixtures('nothing_left')\n"
        "stop = threading.Event()\n"
        "def test_tidy():\n    pass\n"
        "def test_fails():\n    assert False\n"
        "def test_leaves():\n    threading.Thread(target=stop.wait, daemon=True).start()\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", tmp_path, tmp_path],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert "left behind:" in done.stdout, done.stdout + done.stderr
    counts = {word: int(n) for n, word in re.findall(r"(\d+) (passed|failed|error)", done.stdout)}
    # the one that leaves a thread passes, and then errs
    return counts["passed"] - 1, counts["failed"], counts["error"]
