"""The disk cache: what changes a key, what a second process compiles, and what happens to bad entries and directories.

Programs run in processes of their own, over one cache that holds the runtime's image and nothing else at first.
"""

from __future__ import annotations

import os
import resource
import stat
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import gopark as go
from gopark.compiler import cache, func, image
from gopark.compiler.numba_api import types
from tests.compiler.programs import environment, private_cache, python, start

HELPER = """
import numpy as np
from numba import njit
import gopark as go

SCALE = 3
NUMPY_SCALE = np.int64(5)
TABLE = np.array([1, 2, 4])
KIND = np.int64

@go.struct
class Inner:
    x: int

@go.struct
class Node:
    value: int
    inner: Inner
    next: "Node"

@njit
def plain(n):
    return n + 1

@go.func
def callee(n, step=1):
    return n * SCALE + step

@go.func
def in_module(n):
    return n + 7

@go.func
def first(n):
    return n + 11
"""

MAIN = """
import sys
import gopark as go
import helper
from helper import KIND, NUMPY_SCALE, TABLE, Inner, Node, callee, first, plain

FUNCTIONS = (first,)
OFFSET = 1000

def closure_over(k):
    @go.func
    def inner(n):
        return n + k
    return inner

@go.func
def child(n, c):
    c.send(plain(n))

@go.func
def main(n):
    node = Node(n, Inner(n), None)
    c = go.chan(int, 1)
    go.spawn(child, n, c)
    return c.recv() + node.value + node.inner.x + callee(n) + OFFSET + NUMPY_SCALE + TABLE[2]

@go.func
def through_module(n):
    return helper.in_module(n) + helper.SCALE

@go.func
def through_tuple(n):
    return FUNCTIONS[0](n)

@go.func
def converted(x):
    return KIND(x) * 2

if __name__ == "__main__":
    name = sys.argv[1]
    if name == "main":
        print(go.run(main, 10))
        functions = main, child, callee
    elif name == "converted":
        print(go.run(converted, 2.5))
        functions = (converted,)
    else:
        print(go.run(globals()[name], 10))
        functions = (globals()[name],)
    print("compiled", sum(sum(f.stats.cache_misses.values()) for f in functions))
"""

RESULT = {
    "main": 11 + 10 + 10 + 31 + 1000 + 5 + 4,
    "through_module": 17 + 3,
    "through_tuple": 21,
    "converted": 4,
}


class Project:
    """The program above on the disk, with a cache of its own."""

    def __init__(self, path: Path):
        self.path = path
        self.environment = private_cache(path / "cache")
        self.write()

    def write(self, helper: str = HELPER, main: str = MAIN):
        (self.path / "helper.py").write_text(helper)
        (self.path / "main.py").write_text(main)

    def run(self, name="main", **variables):
        """(result, how many functions were compiled)."""
        lines = python(self.path / "main.py", {**self.environment, **variables}, name).split()
        return float(lines[0]), int(lines[2])


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    made = Project(tmp_path_factory.mktemp("project"))
    for name, result in RESULT.items():
        assert made.run(name)[0] == result
    return made


def test_a_second_process_compiles_nothing(project):
    for name, result in RESULT.items():
        assert project.run(name) == (result, 0)


CHANGES = {
    "a callee in another file": ("helper", "n * SCALE + step", "n * SCALE + step + 1", "main", +1),
    "a constant in another file": ("helper", "SCALE = 3", "SCALE = 4", "main", +10),
    "a constant of NumPy's type": ("helper", "np.int64(5)", "np.int64(6)", "main", +1),
    "an array constant": ("helper", "[1, 2, 4]", "[1, 2, 5]", "main", +1),
    "a default argument": ("helper", "step=1", "step=3", "main", +2),
    "a plain njit callee of a spawned function": ("helper", "return n + 1\n", "return n + 2\n", "main", +1),
    "a constant of its own file": ("main", "OFFSET = 1000", "OFFSET = 1001", "main", +1),
    "the layout of a struct": ("helper", "    value: int", "    extra: int\n    value: int", "main", None),
    "the layout of an inner struct": ("helper", "    x: int", "    pad: float\n    x: int", "main", None),
    "a function reached through its module": ("helper", "return n + 7", "return n + 8", "through_module", +1),
    "a constant reached through its module": ("helper", "SCALE = 3", "SCALE = 4", "through_module", +1),
    "a function reached through a tuple": ("helper", "return n + 11", "return n + 12", "through_tuple", +1),
    "a type that is a global": ("helper", "KIND = np.int64", "KIND = np.float64", "converted", +1),
    "an option": ("main", "@go.func\ndef main(", "@go.func(boundscheck=False)\ndef main(", "main", 0),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_compiled(project, change):
    file, old, new, name, difference = CHANGES[change]
    sources = {"helper": HELPER, "main": MAIN}
    assert sources[file].count(old) == 1
    sources[file] = sources[file].replace(old, new)
    wanted = RESULT[name]
    if difference is None:  # one more argument for the constructor
        sources["main"] = sources["main"].replace(
            "Node(n, Inner(n), None)", "Node(value=n, inner=Inner(x=n), next=None)"
        )
    else:
        wanted += difference
    try:
        project.write(**sources)
        result, compiled = project.run(name)
        assert result == wanted
        assert compiled >= 1
        assert project.run(name) == (wanted, 0)
    finally:
        project.write()


def test_the_entries_from_before_the_changes_are_still_there(project):
    for name, result in RESULT.items():
        assert project.run(name) == (result, 0)


KEYS = """
import gopark as go
from gopark import runtime
from gopark.compiler import image
from gopark.compiler.numba_api import types

@go.func
def square(n):
    return n * n

print(image.base_key(runtime.load_units()[1]))
print(square._cache.key((types.int64,)))
"""

SETTINGS = {
    "GOPARK_STACK": str(128 << 10),
    "GOPARKDEBUG": "seam=0",
    "NUMBA_CPU_NAME": "generic",
    "NUMBA_CPU_FEATURES": "",
    "NUMBA_OPT": "max",
    "NUMBA_BOUNDSCHECK": "1",
    "NUMBA_LOOP_VECTORIZE": "0",
    "NUMBA_SLP_VECTORIZE": "1",
}


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """Prints the keys of the image and of a function under some settings. In the keys themselves: an image for these
    settings would have to be built first."""
    program = tmp_path_factory.mktemp("keys") / "keys.py"
    program.write_text(KEYS)
    plain = {k: v for k, v in environment().items() if k not in SETTINGS}
    return lambda **more: python(program, {**plain, **more}).split()


def test_keys_are_the_same_in_every_process(keys):
    assert keys(PYTHONHASHSEED="1") == keys(PYTHONHASHSEED="2")


@pytest.mark.parametrize("variable", SETTINGS)
def test_settings_that_change_code_have_entries_of_their_own(keys, variable):
    for one, other in zip(keys(), keys(**{variable: SETTINGS[variable]}), strict=True):
        assert one != other


@pytest.mark.parametrize("name", ["numba", "numpy", "llvmlite", "llvm", "python"])
def test_versions_that_change_code_have_entries_of_their_own(booted, monkeypatch, name):
    @go.func
    def square(n):
        return n * n

    key = func._FunctionCache(square).key
    before = key((types.int64,)), image.base_key(())
    other = {**func.versions(), name: "another"}
    for module in (func, image):
        monkeypatch.setattr(module, "versions", lambda: other)
    for one, old in zip((key((types.int64,)), image.base_key(())), before, strict=True):
        assert one != old
    monkeypatch.undo()
    assert (key((types.int64,)), image.base_key(())) == before


def entries(project):
    root = project.path / "cache"
    return [p for kind in ("func", "main") for p in (root / kind).iterdir() if not p.name.startswith(".")]


@pytest.mark.parametrize("damage", ["first", "middle", "last", "shorter", "empty", "exchanged"])
def test_a_damaged_entry_is_made_anew_and_never_loaded(project, damage):
    found = entries(project)
    assert {p.parent.name for p in found} == {"func", "main"}
    other = {kind: next(p.read_bytes() for p in found if p.parent.name != kind) for kind in ("func", "main")}
    for path in found:
        raw = bytearray(path.read_bytes())
        at = {"first": 0, "middle": len(raw) // 2, "last": len(raw) - 1}.get(damage)
        if at is not None:
            raw[at] ^= 0x40
        contents = {"shorter": raw[:-7], "empty": b"", "exchanged": other[path.parent.name]}
        path.write_bytes(contents.get(damage, raw))
    result, compiled = project.run()
    assert result == RESULT["main"]
    assert compiled == 3
    assert project.run() == (RESULT["main"], 0)


FLIPS = """
import gopark as go
from gopark.bridge.run import Wrappers
from gopark.compiler import cache
from gopark.compiler.numba_api import types

@go.func
def square(n):
    return n * n

assert go.run(square, 3) == 9
args = (types.int64,)
result = square.overloads[args]
key = Wrappers._key("main", square, result)
loads = {
    "func": lambda: square._cache.load_overload(args, square.targetctx),
    "main": lambda: Wrappers._cached(key, square, type(result.environment)(result.environment.globals)),
}
for kind, load in loads.items():
    (path,) = (cache.directory() / kind).glob("[0-9a-f]*")
    raw = path.read_bytes()
    assert load() is not None
    tries = 0
    for at in [*range(64), *range(64, len(raw), len(raw) // 1000 + 1), len(raw) - 1]:
        path.write_bytes(raw[:at] + bytes([raw[at] ^ 1 << at % 8]) + raw[at + 1:])
        assert load() is None, (kind, at)
        path.write_bytes(raw[:at])
        assert load() is None, (kind, at)
        tries += 1
    path.write_bytes(raw)
    assert load() is not None
    print(kind, tries)
"""


def test_no_flipped_byte_and_no_shorter_file_is_loaded(tmp_path):
    """At a thousand places in a function's file and its wrapper's. (Every bit and every length: see Store, below.)"""
    program = tmp_path / "flips.py"
    program.write_text(FLIPS)
    lines = python(program, private_cache(tmp_path / "cache")).splitlines()
    tries = dict(line.split() for line in lines)
    assert set(tries) == {"func", "main"} and min(map(int, tries.values())) > 500


def test_a_full_disk_does_not_stop_a_program(project, tmp_path):
    """Nothing can be kept (files may not grow), and the answer is right."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    env = private_cache(tmp_path / "cache")
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, limits[1]))
    try:
        process = start(project.path / "main.py", env, "main")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    out, err = process.communicate(timeout=100)
    assert process.returncode == 0, err
    assert out.split() == [str(RESULT["main"]), "compiled", "3"]
    assert err.count("CacheWarning: gopark cannot write to its cache") == 1
    assert not [p for kind in ("func", "main") for p in (tmp_path / "cache").glob(f"{kind}/*")]


READ_ONLY = """
mount -t tmpfs none "$1/place" && cp -a "$1/cache/." "$1/place" && mount -o remount,ro none "$1/place" || exit 77
"$2" "$3" converted && "$2" "$3" main && "$2" -m gopark env && "$2" -m gopark env --clean
"""


def test_a_cache_that_became_read_only_is_still_read(project, tmp_path):
    """In a namespace of its own, where nobody can write, root neither."""
    env = private_cache(tmp_path / "cache")
    python(project.path / "main.py", env, "converted")
    (tmp_path / "place").mkdir(mode=0o700)
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", READ_ONLY, "sh"]
    try:
        done = subprocess.run(
            [*command, tmp_path, sys.executable, project.path / "main.py"],
            env={**env, "GOPARK_CACHE_DIR": str(tmp_path / "place")},
            capture_output=True,
            text=True,
            timeout=100,
        )
    except FileNotFoundError:
        pytest.skip("there is no unshare")
    if done.returncode == 77 or "unshare failed" in done.stderr:
        pytest.skip("no namespace of mounts can be made here")
    assert done.stdout.split()[:6] == ["4", "compiled", "0", str(RESULT["main"]), "compiled", "3"]
    assert done.stderr.count("CacheWarning: gopark cannot write to its cache") == 1
    assert done.returncode == 1 and "cannot remove" in done.stderr.splitlines()[-1]


def test_an_entry_under_another_key_is_not_taken_for_it(project):
    """Contents that are whole but belong to another entry."""
    found = [p for p in entries(project) if p.parent.name == "func"]
    assert len(found) >= 2
    contents = [p.read_bytes() for p in found]
    try:
        for path, other in zip(found, contents[1:] + contents[:1], strict=True):
            path.write_bytes(other)
        result, compiled = project.run()
        assert (result, compiled) == (RESULT["main"], 3)
    finally:
        for path, content in zip(found, contents, strict=True):
            path.write_bytes(content)


def test_two_processes_that_start_cold_together_agree(tmp_path):
    project = Project(tmp_path)
    both = [start(tmp_path / "main.py", project.environment, "main") for _ in range(2)]
    try:
        said = [p.communicate(timeout=100) for p in both]
    finally:
        for p in both:
            p.kill()
    assert [p.returncode for p in both] == [0, 0], said
    assert [float(out.split()[0]) for out, _ in said] == [RESULT["main"]] * 2
    assert project.run() == (RESULT["main"], 0)
    assert not [p for p in (tmp_path / "cache").rglob(".new-*")], "temporary files are left"


# ---- the directory


OPEN = "from gopark.compiler import cache; print(cache.Store('func').path)"


def open_store(path: Path, umask: int = 0o022):
    return subprocess.run(
        [sys.executable, "-c", f"import os; os.umask({umask}); {OPEN}"],
        env=environment(GOPARK_CACHE_DIR=str(path)),
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_directories_are_made_for_their_owner_only(tmp_path):
    path = tmp_path / "a" / "b"
    done = open_store(path, umask=0)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(path / "func")
    assert {stat.S_IMODE(p.stat().st_mode) for p in (path, path / "func")} == {0o700}


def test_entries_are_readable_by_their_owner_only(project):
    modes = {stat.S_IMODE(p.stat().st_mode) for p in entries(project)}
    assert modes == {0o600}


@pytest.mark.parametrize("mode", [0o770, 0o702, 0o777])
def test_a_directory_that_others_can_write_to_is_refused(tmp_path, mode):
    path = tmp_path / "open"
    path.mkdir()
    path.chmod(mode)
    done = open_store(path)
    assert done.returncode == 1
    assert f"CacheError: the cache directory {path} is writable by others" in done.stderr
    assert "chmod 700" in done.stderr
    assert list(path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_directory_of_somebody_else_is_refused(tmp_path):
    path = tmp_path / "theirs"
    path.mkdir(mode=0o700)
    os.chown(path, 12345, 12345)
    done = open_store(path)
    assert done.returncode == 1
    assert "belongs to another user" in done.stderr


def test_a_path_that_cannot_be_a_directory_is_refused(tmp_path):
    (tmp_path / "file").write_text("not a directory")
    done = open_store(tmp_path / "file" / "cache")
    assert done.returncode == 1
    assert "CacheError: cannot use the cache directory" in done.stderr and "GOPARK_CACHE_DIR" in done.stderr


# ---- Store


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "directory", lambda: tmp_path)
    return cache.Store("test")


def test_a_store_gives_back_what_was_put(store):
    assert store.get("k" * 64) is None
    store.put("k" * 64, b"one")
    store.put("l" * 64, b"")
    assert store.get("k" * 64) == b"one"
    assert store.get("l" * 64) == b""
    store.put("k" * 64, b"two")
    assert store.get("k" * 64) == b"two"
    assert sorted(p.name for p in store.path.iterdir()) == ["k" * 40, "l" * 40]


def test_a_store_rejects_every_flipped_bit_and_every_shorter_file(store):
    key, body = "a1" * 32, b"machine code"
    store.put(key, body)
    (path,) = store.path.iterdir()
    raw = path.read_bytes()
    for i in range(8 * len(raw)):
        damaged = bytearray(raw)
        damaged[i // 8] ^= 1 << i % 8
        path.write_bytes(damaged)
        assert store.get(key) is None, i
    for n in range(len(raw)):
        path.write_bytes(raw[:n])
        assert store.get(key) is None, n
    path.write_bytes(raw)
    assert store.get(key) == body


def test_a_key_that_shares_its_file_name_with_another_is_told_apart(store):
    """File names are the first forty characters of a key."""
    store.put("k" * 64, b"one")
    assert store.get("k" * 40 + "x" * 24) is None


def test_a_write_that_fails_leaves_nothing_and_is_told_once(store, monkeypatch):
    store.put("k" * 64, b"one")

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache, "_warned", [])
    monkeypatch.setattr(cache.os, "replace", full)
    with pytest.warns(cache.CacheWarning, match="No space left on device.*Make room there, or set GOPARK_CACHE_DIR"):
        assert not store.put("k" * 64, b"two")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not store.put("l" * 64, b"two")
    monkeypatch.undo()
    assert [p.name for p in store.path.iterdir()] == ["k" * 40]
    assert store.get("k" * 64) == b"one"


def test_an_entry_that_cannot_be_read_is_absent(store):
    """A directory where a file should be: as with every other error, there is nothing to load."""
    (store.path / ("k" * 40)).mkdir()
    assert store.get("k" * 64) is None


def test_what_killed_writers_left_is_removed_by_a_later_one(store, monkeypatch):
    """Once in a process, and nothing that somebody may still be writing."""
    monkeypatch.setattr(cache, "_swept", set())
    old, new = store.path / ".new-old", store.path / ".new-new"
    for path in (old, new):
        path.write_bytes(b"half of an entry")
    os.utime(old, (0, 0))
    assert store.get("k" * 64) is None
    store.put("k" * 64, b"one")
    assert sorted(p.name for p in store.path.iterdir()) == [".new-new", "k" * 40]


def test_a_lock_that_cannot_be_had_stops_nobody(store):
    (store.path / ".lock-it").mkdir()
    with store.lock("it"):
        store.put("k" * 64, b"one")
    assert store.get("k" * 64) == b"one"


def test_nobody_waits_for_ever_for_a_lock(store, monkeypatch):
    """Its holder was stopped in the middle, with Ctrl-Z: the lock saves work, and nothing depends on it."""
    monkeypatch.setattr(cache, "_PATIENCE", 0.2)
    with store.lock("it"), store.lock("it"):
        store.put("k" * 64, b"one")
    assert store.get("k" * 64) == b"one"


# ---- what the wrapper of go.run needs to make Python's objects

RESULTS = """
import collections
import numpy as np
import gopark as go

Point = collections.namedtuple("Point", "x y")
RECORD = np.dtype([("n", np.int64), ("x", np.float32)])

@go.func
def nothing(array):
    return array

@go.func
def filled(n):
    out = np.zeros(n, np.float32)
    out[n - 1] = 2.5
    return out

@go.func
def several(n):
    return np.full((2, n), 7), "text", (np.zeros(1, np.bool_), 1j)

@go.func
def named(n):
    return Point(n, 0.5)

@go.func
def record(array):
    return array[0]

@go.func
def perhaps(n):
    if n > 1:
        return np.zeros(n)
    return None

def show(*values):
    print(" ".join(" ".join(map(repr, values)).split()))

records = np.zeros(2, RECORD)
show(go.run(nothing, np.arange(3, dtype=np.int16)))
show(go.run(nothing, records))
show(go.run(nothing, np.asfortranarray(np.eye(2))))
show(go.run(filled, 2))
show(go.run(several, 2))
show(go.run(named, 2))
show(go.run(record, records))
show(go.run(perhaps, 2), go.run(perhaps, 0))
print(sum(sum(f.stats.cache_misses.values()) for f in (nothing, filled, several, named, record, perhaps)))
"""


def test_results_come_out_of_the_cache_as_they_went_in(tmp_path):
    """The dtype of a returned array is a constant of the wrapper: it has to be kept with it."""
    program = tmp_path / "results.py"
    program.write_text(RESULTS)
    env = private_cache(tmp_path / "cache")
    first, second = (python(program, env).splitlines() for _ in range(2))
    assert (first[-1], second[-1]) == ("8", "0")
    assert second[:-1] == first[:-1]
    assert first[0] == "array([0, 1, 2], dtype=int16)"
    assert first[3] == "array([0. , 2.5], dtype=float32)"
    assert first[5] == "Point(x=2, y=0.5)"
    assert first[7] == "array([0., 0.]) None"


# ---- recursion

RECURSES = """
import gopark as go

@go.func
def deep(n):
    return deep(n - 1) + 1 if n else 0

@go.func
def even(n):
    return odd(n - 1) if n else True

@go.func
def odd(n):
    return even(n - 1) if n else False

@go.func
def child(out):
    out.send(deep(10) + even(4))

@go.func
def main():
    out = go.chan(int)
    go.spawn(child, out)
    return out.recv()

print(go.run(main))
print(sum(sum(f.stats.cache_misses.values()) for f in (deep, even, odd, child, main)))
"""


def test_callers_of_recursive_functions_come_out_of_the_cache(tmp_path):
    """With a literal argument the first call is a specialisation of its own, whose code, and with it the slot through
    which it calls the other one, becomes part of the caller's."""
    program = tmp_path / "recurses.py"
    program.write_text(RECURSES)
    env = private_cache(tmp_path / "cache")
    first, second = (python(program, env).splitlines() for _ in range(2))
    assert first[0] == second[0] == "11"
    assert int(first[1]) > 0
    assert second[1] == "0"
