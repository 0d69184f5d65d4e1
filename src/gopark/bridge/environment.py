"""What `gopark env` says: versions, machine, kernel, limits, settings, cache. It looks, and starts nothing."""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
import resource
import sys
from pathlib import Path

from gopark import runtime
from gopark.bridge import boot
from gopark.compiler import cache, image
from gopark.compiler.numba_api import host_cpu, versions
from gopark.config import settings

Rows = list[tuple[str, str]]
MADV_GUARD_INSTALL = 102  # Linux 6.13


def size(count: int) -> str:
    """Bytes for people."""
    amount, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if amount < 1024:
            break
        amount, unit = amount / 1024, larger
    return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"


def files(count: int) -> str:
    return "1 file" if count == 1 else f"{count} files"


def describe(version: str) -> list[tuple[str, Rows]]:
    """Sections of (name, value). version: gopark's own."""
    found = boot.problem()
    return [
        ("gopark", [("version", version), ("runs here", "yes" if found is None else f"no: {found}")]),
        ("versions", _versions()),
        ("machine", _machine()),
        ("kernel", _kernel()),
        ("limits", _limits()),
        *_settings_and_cache(),
    ]


def clean() -> str:
    """Empty the cache; says how much was in it."""
    path = settings().cache_dir
    if not path.is_dir():
        return f"there is no cache at {path}"
    count, freed = cache.clear()
    if not count:
        return f"the cache {path} is empty"
    return f"removed {files(count)}, {size(freed)}, from {path}; the next run builds the runtime again"


def _versions() -> Rows:
    of = versions()
    python = f"{platform.python_version()} ({platform.python_implementation()}, {sys.executable})"
    return [("python", python), *((name, of[name]) for name in ("numba", "llvmlite", "llvm"))]


def _machine() -> Rows:
    usable = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return [
        ("system", f"{platform.system()} {platform.release()} {platform.machine()}"),
        ("processor", f"{_processor_name()} (compiled for {host_cpu()[0]})"),
        ("cores", f"{usable} usable of {os.cpu_count()}"),
        ("memory", size(memory)),
    ]


def _processor_name() -> str:
    for line in _read("/proc/cpuinfo").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown processor"


def _read(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace").strip()
    except OSError:
        return ""


def _guards_pages() -> bool:
    """Whether the kernel guards a page without a mapping of its own: asked of the kernel, on a page made for it."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    area = mmap.mmap(-1, mmap.PAGESIZE)
    view = (ctypes.c_char * mmap.PAGESIZE).from_buffer(area)
    try:
        return libc.madvise(ctypes.addressof(view), mmap.PAGESIZE, MADV_GUARD_INSTALL) == 0
    finally:
        del view
        area.close()


def _kernel() -> Rows:
    policies = {"0": "heuristic", "1": "always", "2": "strict: large reservations count against the limit"}
    policy = _read("/proc/sys/vm/overcommit_memory")
    guards = "a page each (MADV_GUARD_INSTALL)" if _guards_pages() else "a mapping each (the kernel is older than 6.13)"
    return [
        ("stack guards", guards),
        ("overcommit", f"{policy} ({policies[policy]})" if policy in policies else "unknown"),
        ("max_map_count", _read("/proc/sys/vm/max_map_count") or "unknown"),
    ]


def _limits() -> Rows:
    def shown(which: int, in_bytes: bool) -> str:
        soft, _ = resource.getrlimit(which)
        if soft == resource.RLIM_INFINITY:
            return "unlimited"
        return size(soft) if in_bytes else str(soft)

    return [
        ("threads", f"{shown(resource.RLIMIT_NPROC, False)} (ulimit -u)"),
        ("address space", f"{shown(resource.RLIMIT_AS, True)} (ulimit -v); stacks and heap are reserved in it"),
    ]


def _settings_and_cache() -> list[tuple[str, Rows]]:
    try:
        config = settings()
    except ValueError as e:
        return [("settings", [("error", str(e))])]
    limit = size(config.memory_limit) if config.memory_limit else "none"
    rows = [
        ("GOMAXPROCS", str(config.procs)),
        ("GOMEMLIMIT", limit),
        ("GOPARK_STACK", f"{config.stack} ({size(config.stack)} for each goroutine)"),
        ("GOPARK_SEED", "from the system" if config.seed is None else str(config.seed)),
        ("GOPARKDEBUG", os.environ.get("GOPARKDEBUG") or "none"),
    ]
    return [("settings", rows), ("cache", _cache(config.cache_dir))]


KINDS = {
    "image": ("runtime", "its image, and the units that this is linked from"),
    "func": ("functions", "go functions of programs"),
    "main": ("wrappers", "what Python calls to run them"),
    "left over": ("left over", "of processes that were killed while they wrote"),
}


def _cache(path: Path) -> Rows:
    rows = [("GOPARK_CACHE_DIR", str(path))]
    if not path.is_dir():
        return [*rows, ("files", "none; the first run builds the runtime")]
    try:
        used = {kind: usage for kind, usage in cache.usage().items() if usage[0]}
    except cache.CacheError as e:
        return [*rows, ("error", str(e))]
    for kind, (count, total) in used.items():
        name, meaning = KINDS[kind]
        rows.append((name, f"{files(count)}, {size(total)}: {meaning}"))
    rows.append(("in all", f"{size(sum(total for _, total in used.values()))}; gopark env --clean removes it"))
    return [*rows, ("runtime image", _image())]


def _image() -> str:
    """The size of the runtime's code, if it is in the cache."""
    built = image.find(*runtime.load_units())
    if built is None:
        return "not built yet; the first run does it, in half a minute"
    return f"{size(sum(map(len, built['objects'])))} of objects, {len(built['infos'])} functions"
