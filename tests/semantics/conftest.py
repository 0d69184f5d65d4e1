"""What the tests of semantics share."""

from __future__ import annotations

import pytest

import gopark as go


@pytest.fixture(autouse=True)
def tidy(booted, nothing_left):
    """What a test of semantics does leaves nothing behind: no goroutine, no thread, no descriptor."""


@pytest.fixture(params=[1, 2, 4], ids="procs={}".format)
def procs(request):
    """The test runs with so many Ps: alone, as many as two cores can run at once, and more than that."""
    previous = go.gomaxprocs(request.param)
    yield request.param
    go.gomaxprocs(previous)
