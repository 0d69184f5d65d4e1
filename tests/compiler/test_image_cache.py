"""The image in the cache: processes that build it together, that are killed on the way, damaged files, no room for it.

The image here has a few functions in three units and is built in half a second; what is shown of it holds for the
runtime's, which takes half a minute and is built so in the tests marked `slow`.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.compiler.programs import environment, python, start

CHILD = Path(__file__).with_name("image_child.py")

UNIT = """
from __future__ import annotations

from gopark.compiler.image import NO_P, fn
from gopark.compiler.numba_api import types
{imports}
I = types.int64
BASE_{i} = {base}

@fn(entered=NO_P)
def t_add{i}(n: I) -> I:
    return n + {expression}
"""

NUMBERS = (1, 20, 300)
RESULTS = [11, 30, 310]
STEPS = ["unit0", "unit1", "unit2", "link", ""]


class Small:
    """Three units on the disk, and a cache."""

    def __init__(self, path: Path):
        self.units, self.cache = path / "units", path / "cache"
        self.units.mkdir()
        self.environment = environment(GOPARK_CACHE_DIR=str(self.cache))
        for i, number in enumerate(NUMBERS):
            self.write(i, number)

    def write(self, i: int, number: int, imports: str = "", expression: str = "") -> None:
        text = UNIT.format(i=i, base=number, imports=imports, expression=expression or f"BASE_{i}")
        (self.units / f"unit{i}.py").write_text(text)

    def start(self, *what: object) -> subprocess.Popen:
        command = [sys.executable, str(CHILD), str(self.units), *map(str, what)]
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        return subprocess.Popen(command, env=self.environment, text=True, **pipes)

    def run(self, *what: object) -> dict:
        return json.loads(python(CHILD, self.environment, str(self.units), *map(str, what)))

    def files(self, pattern: str = "[0-9a-f]*") -> list[Path]:
        return sorted((self.cache / "image").glob(pattern))


@pytest.fixture
def small(tmp_path):
    return Small(tmp_path)


def finish(process: subprocess.Popen) -> dict:
    try:
        out, err = process.communicate(timeout=100)
    finally:
        process.kill()
    assert process.returncode == 0, err
    return json.loads(out)


def kill(process: subprocess.Popen) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=100)


def test_it_is_built_once_and_loaded_then(small):
    built, loaded = small.run(), small.run()
    assert (built["steps"], built["results"]) == (STEPS, RESULTS)
    assert (loaded["steps"], loaded["results"]) == ([], RESULTS)
    assert loaded["digest"] == built["digest"]
    assert len(small.files()) == 4


def test_two_processes_at_once_build_it_once_and_agree(small):
    both = [small.start() for _ in range(2)]
    said = [finish(p) for p in both]
    assert sorted(s["steps"] for s in said) == [[], STEPS]
    assert [s["results"] for s in said] == [RESULTS] * 2
    assert said[0]["digest"] == said[1]["digest"]


def test_it_is_the_same_whoever_builds_it(small):
    one = small.run()
    shutil.rmtree(small.cache)
    assert small.run() == one


@pytest.mark.parametrize("step", [0, 2, 3], ids=["first unit", "last unit", "link"])
def test_one_of_two_builders_is_killed(small, step):
    """The kernel drops the lock of the dead; the other one takes over, from the units that are there."""
    killed = small.start(step)
    assert killed.stdout.readline() == "here\n"
    assert len(small.files()) == min(step, 3), "the units built so far are kept"
    other = small.start()
    kill(killed)
    said = finish(other)
    assert (said["steps"], said["results"]) == (STEPS, RESULTS)
    assert small.run() == {**said, "steps": []}
    assert small.files(".new-*") == []


def test_a_builder_that_is_killed_between_writing_and_renaming(small, tmp_path):
    """Leaves a file that nobody loads, and that a later writer removes."""
    (tmp_path / "killed.py").write_text(
        "import os, runpy, signal, sys\n"
        "os.replace = lambda *names: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"sys.argv = ['', {str(small.units)!r}]\n"
        f"runpy.run_path({str(CHILD)!r}, run_name='__main__')\n"
    )
    killed = start(tmp_path / "killed.py", small.environment)
    killed.communicate(timeout=100)
    assert killed.returncode == -signal.SIGKILL
    (left,) = small.files(".new-*")
    assert left.stat().st_size > 1000
    assert small.files() == []
    assert small.run()["results"] == RESULTS
    assert small.files(".new-*") == [left], "its writer might be alive"
    day = time.time() - 86400
    os.utime(left, (day, day))
    for path in small.files():
        path.unlink()
    assert small.run()["results"] == RESULTS
    assert small.files(".new-*") == []


def test_a_lock_file_of_a_dead_process_is_no_lock(small):
    (small.cache / "image").mkdir(parents=True, mode=0o700)
    small.cache.chmod(0o700)
    (small.cache / "image" / ".lock-build").write_text("")
    assert small.run()["results"] == RESULTS


def test_every_file_is_damaged_in_many_ways_and_never_loaded(small):
    done = small.run("damage")
    assert done["entries"] == 4
    assert done["tries"] > 100
    assert small.run()["results"] == RESULTS


def test_a_unit_follows_the_constants_that_it_takes_from_another(small):
    small.write(2, 300, imports="from unit1 import BASE_1", expression="BASE_1")
    assert small.run()["results"] == [11, 30, 30]
    small.write(1, 21)
    assert small.run()["results"] == [11, 31, 31]


# ---- no room


def warned_once(process: subprocess.Popen) -> dict:
    out, err = process.communicate(timeout=100)
    assert process.returncode == 0, err
    assert err.count("CacheWarning: gopark cannot write to its cache") == 1, err
    assert "set GOPARK_CACHE_DIR to a directory that can be written to" in err
    return json.loads(out)


def test_a_directory_that_cannot_be_made_costs_only_time(small):
    """No process may make a directory there, not even root's."""
    small.environment["GOPARK_CACHE_DIR"] = "/proc/gopark"
    for _ in range(2):
        said = warned_once(small.start())
        assert (said["steps"], said["results"]) == (STEPS, RESULTS)


def test_a_full_disk_costs_only_time(small):
    """Files may not grow beyond a kilobyte: less than any entry, and an error of the same kind as a full disk's."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, limits[1]))
    try:
        process = small.start()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    said = warned_once(process)
    assert (said["steps"], said["results"]) == (STEPS, RESULTS)
    assert small.files() + small.files(".new-*") == []
    assert small.run()["steps"] == STEPS
    assert small.run()["steps"] == []


# ---- the runtime's own image

PROGRAM = """
import gopark as go

@go.func
def square(out, n):
    out.send(n * n)

@go.func
def main(n):
    out = go.chan(int)
    go.spawn(square, out, n)
    return out.recv()

print(go.run(main, 12))
"""


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_two_cold_starts_at_once_and_one_is_killed(tmp_path):
    program, place = tmp_path / "program.py", tmp_path / "cache"
    program.write_text(PROGRAM)
    env = environment(GOPARK_CACHE_DIR=str(place))
    both = [start(program, env) for _ in range(2)]
    deadline = time.monotonic() + 200
    while len(list(place.glob("image/[0-9a-f]*"))) < 5:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    kill(both[0])
    out, err = both[1].communicate(timeout=300)
    assert (both[1].returncode, out) == (0, "144\n"), err
    units = len(list(place.glob("image/[0-9a-f]*")))
    assert python(program, env) == "144\n"
    assert len(list(place.glob("image/[0-9a-f]*"))) == units
    assert not list(place.glob("image/.new-*"))


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_two_cold_starts_at_once_build_one_image(tmp_path):
    program, place = tmp_path / "program.py", tmp_path / "cache"
    program.write_text(PROGRAM)
    env = environment(GOPARK_CACHE_DIR=str(place))
    both = [start(program, env) for _ in range(2)]
    for process in both:
        out, err = process.communicate(timeout=300)
        assert (process.returncode, out) == (0, "144\n"), err
    from gopark.runtime import UNITS

    assert len(list(place.glob("image/[0-9a-f]*"))) == len(UNITS) + 1
