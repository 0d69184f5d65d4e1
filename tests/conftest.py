"""What all tests share: one runtime per process, from the cache that all processes share, and no goroutine left behind.

The image of the runtime is built by whichever process needs it first; the others, workers of pytest-xdist as well, wait
for it at the cache's lock file and load it. The environment stays as the user has it: GOMAXPROCS and GOPARK_CACHE_DIR
mean the same as ever. A test that wants others runs a process of its own. Only PYTHONPATH is led by the sources of this
checkout: processes that tests start import the same gopark as the tests, installed or not.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

pytest_plugins = ["gopark.testing"]


def pytest_configure(config):
    """Children find the gopark that is under test."""
    source = str(Path(__file__).resolve().parent.parent / "src")
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if source not in paths:
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [source, *paths]))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """The tests of a file stay on one worker, so that what a file makes once, such as a verdict, is made once."""
    from xdist.scheduler import LoadFileScheduling

    return LoadFileScheduling(config, log) if config.getoption("dist") == "load" else None  # else what was asked for


@pytest.fixture(scope="session")
def booted():
    """The runtime of this process, started if need be."""
    from gopark.bridge import boot

    return boot.boot()


@pytest.fixture(autouse=True)
def no_goroutine_stays():
    """A run leaves nothing behind, whatever became of it: checked after every test of a process that has a runtime."""
    yield
    boot = sys.modules.get("gopark.bridge.boot")
    if boot is not None and boot.booted() is not None:
        import gopark

        left = gopark.num_goroutine()
        assert left == 0, f"{left} goroutines are still there after the test"
