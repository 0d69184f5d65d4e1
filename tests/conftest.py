"""What all tests share: one runtime per process, from the cache that all processes share, and no goroutine left behind.

The image of the runtime is built by whichever process needs it first; the others, workers of pytest-xdist as well, wait
for it at the cache's lock file and load it. The environment stays as the user has it: GOMAXPROCS and GOPARK_CACHE_DIR
mean the same as ever. A test that wants others runs a process of its own.
"""

from __future__ import annotations

import os
import sys

import pytest


def _booted():
    """The runtime of this process if it is up; asking does not start it."""
    boot = sys.modules.get("gopark.bridge.boot")
    state = boot._state if boot is not None else None
    return state if state is not None and state.pid == os.getpid() else None


@pytest.fixture(scope="session")
def booted():
    """The runtime of this process, started if need be."""
    from gopark.bridge import boot

    return boot.boot()


@pytest.fixture(autouse=True)
def no_goroutine_stays():
    """A run leaves nothing behind, whatever became of it: checked after every test of a process that has a runtime."""
    yield
    if _booted() is not None:
        import gopark

        left = gopark.num_goroutine()
        assert left == 0, f"{left} goroutines are still there after the test"
