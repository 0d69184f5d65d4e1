"""The disk cache: machine code that can be trusted.

One directory (`GOPARK_CACHE_DIR`, else the user's cache directory), mode 0700, refused if it belongs to somebody else:
what lies in it is executed. An entry's file name is the hash of everything that it was made from; the compiler's own
sources are part of that, so a new gopark never meets an old entry.

An entry is written to a temporary name and renamed, so that a reader sees all of it or nothing. It carries the hash of
its own contents: an entry that was damaged on the disk reads as absent and is made anew. Writers of the same kind take
a lock file, so that two processes that start together do the work once.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import stat
import tempfile
from pathlib import Path

from gopark.config import settings

_MAGIC = b"gopark-cache-1\n"


class CacheError(OSError):
    """The cache directory cannot be used as it is."""


def directory() -> Path:
    """The cache directory, made if need be. Raises CacheError if others could write to it."""
    path = settings().cache_dir
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = path.stat()
    except OSError as e:
        raise CacheError(
            f"cannot use the cache directory {path}: {e.strerror}. Set GOPARK_CACHE_DIR to a directory of yours"
        ) from None
    if status.st_uid != os.geteuid():
        raise CacheError(f"the cache directory {path} belongs to another user; set GOPARK_CACHE_DIR to one of yours")
    if stat.S_IMODE(status.st_mode) & 0o022:
        raise CacheError(
            f"the cache directory {path} is writable by others (machine code is run from it): chmod 700 it"
        )
    return path


class Store:
    """Entries of one kind, in a subdirectory of the cache."""

    def __init__(self, kind: str):
        self.path = directory() / kind
        self.path.mkdir(mode=0o700, exist_ok=True)

    def _file(self, key: str) -> Path:
        return self.path / key[:40]

    def get(self, key: str) -> bytes | None:
        """The entry, or None if there is none or it is damaged."""
        try:
            raw = self._file(key).read_bytes()
        except FileNotFoundError:
            return None
        head = len(_MAGIC)
        digest, body = raw[head : head + 32], raw[head + 32 :]
        if raw[:head] != _MAGIC or hashlib.sha256(key.encode() + body).digest() != digest:
            return None
        return body

    def put(self, key: str, body: bytes) -> None:
        digest = hashlib.sha256(key.encode() + body).digest()
        handle, name = tempfile.mkstemp(dir=self.path, prefix=".new-")
        try:
            with os.fdopen(handle, "wb") as f:
                f.write(_MAGIC + digest + body)
            os.replace(name, self._file(key))
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise

    @contextlib.contextmanager
    def lock(self, name: str):
        """Hold the lock file `name`; waits for other processes."""
        with open(self.path / f".lock-{name}", "w") as f:
            fcntl.flock(f, fcntl.LOCK_EX)
            yield


def usage() -> dict[str, tuple[int, int]]:
    """{kind: (entries, bytes)} of the whole cache."""
    out = {}
    for kind in sorted(p for p in directory().iterdir() if p.is_dir()):
        sizes = [p.stat().st_size for p in kind.iterdir() if not p.name.startswith(".")]
        out[kind.name] = (len(sizes), sum(sizes))
    return out


def clear() -> int:
    """Remove every entry; returns how many bytes were freed."""
    freed = 0
    for kind in (p for p in directory().iterdir() if p.is_dir()):
        for entry in kind.iterdir():
            if not entry.name.startswith(".lock"):
                freed += entry.stat().st_size
                entry.unlink(missing_ok=True)
    return freed
