"""The disk cache: machine code that can be trusted.

One directory (`GOPARK_CACHE_DIR`, else the user's cache directory), mode 0700, refused if it belongs to somebody else:
what lies in it is executed. An entry's file name is the hash of everything that it was made from; gopark's own sources
are part of that, so a new gopark never meets an old entry.

An entry is written to a temporary name and renamed, so that a reader sees all of it or nothing. It carries the hash of
its own contents: an entry that was damaged on the disk reads as absent and is made anew. Writers of the same kind take
a lock file, so that two processes that start together do the work once; the kernel drops the lock of a process that
dies. What a killed writer leaves under a temporary name, a later one removes.

No program fails for want of a cache. Where the disk is full or read-only, everything is compiled and nothing is kept,
with one warning. Only a directory that is not safe, or no directory, is an error: the setting is wrong then.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import stat
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

from gopark.config import settings
from gopark.pause import interrupt_now

KINDS = ("image", "func", "main")  # the runtime (compiler/image.py), go functions (func.py), wrappers (bridge/run.py)

_MAGIC = b"gopark-cache-1\n"
_ENTRY = re.compile("[0-9a-f]{40}")
_NEW = ".new-"  # how temporary names begin
_ABANDONED = 3600  # seconds after which no writer comes back to a temporary file
_PATIENCE = 180  # seconds in which whoever holds a lock should be ready


class CacheError(OSError):
    """The cache directory must not be used as it is."""


class CacheWarning(RuntimeWarning):
    """Nothing can be written to the cache: what is compiled is not kept."""


def directory() -> Path:
    """The cache directory, made if need be and possible. Raises CacheError if others could write to it."""
    path = settings().cache_dir
    _make(path)
    try:
        status = path.stat()
    except OSError:
        return path  # it could not be made, which was told
    if status.st_uid != os.geteuid():
        raise CacheError(f"the cache directory {path} belongs to another user; set GOPARK_CACHE_DIR to one of yours")
    if stat.S_IMODE(status.st_mode) & 0o022:
        raise CacheError(
            f"the cache directory {path} is writable by others (machine code is run from it): chmod 700 it"
        )
    return path


def _make(path: Path) -> None:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (NotADirectoryError, FileExistsError) as e:
        raise CacheError(
            f"cannot use the cache directory {path}: {e.strerror}. Set GOPARK_CACHE_DIR to a directory of yours"
        ) from None
    except OSError as e:
        _warn(path, e)


_warned: list[Path] = []


def _warn(path: Path, e: OSError) -> None:
    """Once per process: what cannot be kept this time cannot be kept the next time either."""
    if not _warned:
        _warned.append(path)
        warnings.warn(
            f"gopark cannot write to its cache: {path}: {e.strerror}. The program runs all the same, but each process "
            f"compiles anew, and builds the runtime, which takes half a minute. Make room there, or set "
            f"GOPARK_CACHE_DIR to a directory that can be written to",
            CacheWarning,
            stacklevel=3,
        )


class Store:
    """Entries of one kind, in a subdirectory of the cache."""

    def __init__(self, kind: str):
        self.path = directory() / kind
        _make(self.path)

    def _file(self, key: str) -> Path:
        return self.path / key[:40]

    def get(self, key: str) -> bytes | None:
        """The entry, or None if there is none or it is damaged."""
        try:
            raw = self._file(key).read_bytes()
        except OSError:
            return None
        head = len(_MAGIC)
        digest, body = raw[head : head + 32], raw[head + 32 :]
        if raw[:head] != _MAGIC or hashlib.sha256(key.encode() + body).digest() != digest:
            return None
        return body

    def put(self, key: str, body: bytes) -> bool:
        """Keep an entry. False, and a warning, if that cannot be done."""
        digest = hashlib.sha256(key.encode() + body).digest()
        try:
            self._write(self._file(key), _MAGIC + digest + body)
        except OSError as e:
            _warn(self.path, e)
            return False
        return True

    def _write(self, path: Path, raw: bytes) -> None:
        handle, name = tempfile.mkstemp(dir=self.path, prefix=_NEW)
        try:
            with os.fdopen(handle, "wb") as f:
                f.write(raw)
            os.replace(name, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise
        self._sweep()

    def _sweep(self) -> None:
        """Remove what writers have left that were killed long ago."""
        if self.path in _swept:
            return
        _swept.add(self.path)
        with contextlib.suppress(OSError):
            for left in self.path.glob(f"{_NEW}*"):
                if left.stat().st_mtime < time.time() - _ABANDONED:
                    left.unlink()

    @contextlib.contextmanager
    def lock(self, name: str):
        """Hold the lock file `name`; waits for other processes, and Ctrl-C ends that. Without it, if it cannot be had
        or its holder does not get on (a build that was stopped with Ctrl-Z), work is done twice and nothing is lost."""
        with contextlib.ExitStack() as held:
            with contextlib.suppress(OSError):
                f = held.enter_context(open(self.path / f".lock-{name}", "w"))
                patience = time.monotonic() + _PATIENCE
                while not _try_lock(f) and time.monotonic() < patience:
                    interrupt_now()
                    time.sleep(0.02)
            yield


def _try_lock(f) -> bool:
    try:
        fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


_swept: set[Path] = set()


# ---- the cache as a whole


def usage() -> dict[str, tuple[int, int]]:
    """{kind: (files, bytes)} of the whole cache; the kind "left over" is what killed processes were writing."""
    out = {kind: (0, 0) for kind in (*KINDS, "left over")}
    for kind, path in _files():
        with contextlib.suppress(FileNotFoundError):  # another process has just removed it
            size = path.stat().st_size
            count, total = out[kind]
            out[kind] = count + 1, total + size
    return out


def clear() -> tuple[int, int]:
    """Empty the cache; returns how many files and bytes that were. Raises CacheError if it cannot be done."""
    count = freed = 0
    for _, path in _files():
        try:
            size = path.stat().st_size
            path.unlink()
        except FileNotFoundError:
            continue  # another process has just removed it
        except OSError as e:
            raise CacheError(f"cannot remove {path}: {e.strerror}") from None
        count, freed = count + 1, freed + size
    return count, freed


def _files() -> Iterator[tuple[str, Path]]:
    """(kind, path) of every file that gopark has made here; others, in a directory that was not made for a cache, are
    no concern of ours. Lock files stay: a process may be waiting at one."""
    for kind in KINDS:
        place = directory() / kind
        for path in sorted(place.iterdir()) if place.is_dir() else ():
            if path.name.startswith(_NEW):
                yield "left over", path
            elif _ENTRY.fullmatch(path.name):
                yield kind, path
