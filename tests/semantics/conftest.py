"""What the tests of semantics share."""

from __future__ import annotations

import time

import pytest

import gopark as go


@pytest.fixture(autouse=True)
def tidy(booted, nothing_left):
    """What a test of semantics does leaves nothing behind: no goroutine, no thread, no descriptor."""


@pytest.fixture(params=[1, 2, 4], ids="procs={}".format)
def procs(request):
    """The test runs with so many Ps: alone, as many as two cores can run at once, and more than that."""
    previous = resize(request.param)
    yield request.param
    resize(previous)


def resize(procs: int) -> int:
    """gomaxprocs, once all runs are over: those that a test has cancelled may still be on their way out."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return go.gomaxprocs(procs)
        except RuntimeError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.001)
