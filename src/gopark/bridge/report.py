"""What Python reads of the runtime after a run failed: frames of the error, goroutines that are stuck.

The Run and the Gs are read as memory, by the layouts that runtime2.py declares. That is safe where it is done: a failed
run is over and its Run still ours; a deadlocked run stands still, and Gs and stacks are never unmapped.
"""

from __future__ import annotations

import ctypes
import types as python_types
from pathlib import Path

from gopark.compiler import abi, asm_amd64, func, linetable
from gopark.runtime.runtime2 import (
    G_STATUS_NAMES,
    WAIT_REASONS,
    G,
    Gdead,
    Gwaiting,
    M,
    Run,
    Sched,
    TracebackFrames,
    sched,
)

_RUNTIME = str(Path(__file__).parent.parent)


def read(struct, address: int, field: str) -> int:
    """A word of a runtime struct."""
    offset, ty = struct.fields[field]
    kind = ctypes.c_int32 if getattr(ty, "bitwidth", 64) == 32 else ctypes.c_int64
    return kind.from_address(address + offset).value


def write(struct, address: int, field: str, word: int) -> None:
    """Store a word of a runtime struct that nobody else uses now."""
    ctypes.c_int64.from_address(address + struct.fields[field][0]).value = word


def words(struct, address: int, field: str, count: int) -> list[int]:
    """The elements of an inline array."""
    return list((ctypes.c_int64 * count).from_address(address + struct.fields[field][0]))


def record(address: int) -> linetable.Frame:
    """A constant record {function, file, line} of compiled code."""
    function, file, line = (ctypes.c_int64 * 3).from_address(address)
    return linetable.Frame(ctypes.string_at(function).decode(), ctypes.string_at(file).decode(), line)


class Failure:
    """Why and where a run failed."""

    def __init__(self, run: int):
        self.code = read(Run, run, "exitcode")
        self.goid = read(Run, run, "exitgoid")
        spawned = read(Run, run, "exitspawn")
        self.spawned = record(spawned) if spawned else None
        count, kept = read(Run, run, "tbcount"), words(Run, run, "tb", 2 * TracebackFrames)
        first = [record(a) for a in kept[: min(count, TracebackFrames)]]
        last = [
            record(kept[TracebackFrames + i % TracebackFrames])
            for i in range(max(TracebackFrames, count - TracebackFrames), count)
        ]
        self.left_out = max(0, count - 2 * TracebackFrames)
        self.first, self.last = first, last

    @property
    def frames(self):
        """Innermost first; a number where frames were left out."""
        return [*self.first, *([self.left_out] if self.left_out else []), *self.last]


# ---- tracebacks

_codes: dict[tuple, python_types.CodeType] = {}


def _python_frame(frame: linetable.Frame):
    """A real traceback entry with that name, file and line."""
    code = _codes.get(frame)
    if code is None:
        source = "\n" * (frame.line - 1) + "raise _gopark"
        name = frame.function if frame.function.startswith("...") else frame.function.rpartition(".")[2]
        code = compile(source, frame.file, "exec").replace(co_name=name, co_qualname=frame.function)
        _codes[frame] = code
    try:
        exec(code, {"_gopark": ZeroDivisionError(), "__name__": "gopark.goroutine"})
    except ZeroDivisionError as e:
        return e.__traceback__.tb_next
    raise AssertionError("unreachable")


def traceback_of(failure: Failure, inner=None):
    """A traceback of the goroutine's frames; `inner` stands for what only the raising code knows."""
    for frame in failure.frames:
        if isinstance(frame, int):
            previous = failure.first[-1]
            frame = linetable.Frame(f"... {frame} frames left out ...", previous.file, previous.line)
        entry = _python_frame(frame)
        inner = python_types.TracebackType(inner, entry.tb_frame, -1, entry.tb_lineno)
    return inner


# ---- goroutines


def all_gs():
    """The addresses of all Gs, read as `firstg` and `nextg` of runtime/stack.py read them."""
    slab, start = abi.stack_size(), read(Sched, sched.address, "stackstart")
    count = (read(Sched, sched.address, "stackbump") - start) // slab
    bits = ctypes.string_at(read(Sched, sched.address, "allgs"), (count + 7) // 8)
    for i in range(count):
        if bits[i >> 3] >> (i & 7) & 1:
            top = start + (i + 1) * slab - 1
            yield top + 1 - abi.G_SIZE - ((top >> (slab.bit_length() - 1 - 6)) & asm_amd64.colours())


def goroutines(run: int | None = None):
    """Addresses of the live Gs (of one run), in the order of their ids."""
    found = []
    for gp in all_gs():
        owner = read(G, gp, "run")
        if read(G, gp, "atomicstatus") != Gdead and (owner == run if run is not None else owner):
            found.append(gp)
    return sorted(found, key=lambda g: read(G, g, "goid"))


def all_ms():
    """The addresses of all Ms."""
    mp = read(Sched, sched.address, "allm")
    while mp:
        yield mp
        mp = read(M, mp, "alllink")


def all_runs():
    """The addresses of all Runs, those that are free as well."""
    run = read(Sched, sched.address, "allruns")
    while run:
        yield run
        run = read(Run, run, "alllink")


def runtime_threads() -> set[int]:
    """The kernel's numbers of the threads on which goroutines run."""
    return {read(M, mp, "tid") for mp in all_ms()}


def parked_frames(gp: int) -> list[linetable.Frame]:
    """The user's frames of a goroutine that is parked, innermost first."""
    sp, top = read(G, gp, "sp"), gp

    def peek(address):
        if not sp <= address <= top - 8 or address & 7:
            return None
        return ctypes.c_uint64.from_address(address).value

    pc, rbp = peek(sp), peek(sp + 8)
    if pc is None or rbp is None:
        return []
    frames = linetable.walk_frames(pc, rbp, peek, func.CODE)
    return [f for f in frames if f.file and not f.file.startswith(_RUNTIME)]


def describe(gp: int) -> str:
    """One goroutine, as Go's dumps show it: state, where it is, who started it."""
    status = read(G, gp, "atomicstatus")
    state = WAIT_REASONS[read(G, gp, "waitreason")] if status == Gwaiting else G_STATUS_NAMES.get(status, str(status))
    lines = [f"goroutine {read(G, gp, 'goid')} [{state}]:"]
    if status == Gwaiting:
        lines += [f"    {f.file}:{f.line} in {f.function}" for f in parked_frames(gp)]
    where = read(G, gp, "spawnrec")
    if where:
        f = record(where)
        lines.append(f"    started at {f.file}:{f.line} by {f.function}")
    return "\n".join(lines)


def deadlock_text(run: int, most: int = 100) -> str:
    """The text of a DeadlockError."""
    gs = goroutines(run)
    shown = "\n\n".join(describe(g) for g in gs[:most])
    more = f"\n\n... and {len(gs) - most} more goroutines" if len(gs) > most else ""
    return f"all goroutines are asleep - deadlock!\n\n{shown}{more}"
