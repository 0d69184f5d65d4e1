"""A process whose runtime runs on a virtual operating system: test_virtual.py starts it, and reads what it prints as
JSON.

    virtual_child.py ROUNDS GAMES DEAF

The live image is loaded, its main object as it is. In place of the object of hooks comes one that is compiled here from
virtual_unit.py; its functions are what the image finds under the operating system's symbols. Then a game of ping-pong
of so many ROUNDS is played so many times, one game after the other, each until all threads sleep. From the game with
the number DEAF on (the first one has the number 0), the system loses every wake.

In the log, addresses are named by what they belong to (`M1.park`, or `G2-0x40`: below G2, on its stack), and callers by
their functions. So the logs of two processes can be compared.
"""

from __future__ import annotations

import bisect
import ctypes
import hashlib
import importlib
import json
import os
import sys

from gopark.bridge import boot, report
from gopark.compiler import abi, func, image
from gopark.compiler.numba_api import image_target_machine, llb
from gopark.compiler.structs import Var
from gopark.runtime import mheap, os_linux, runs, runtime2, stack
from tests.runtime.images import WORD, Record

HOOKS = "gopark.runtime.hooks"
UNIT = "tests.runtime.virtual_unit"
TURNS = 1_000_000  # far more than a game takes
ROOM = 100_000  # events
SEAM = sum(1 << bit for bit in abi.KIND.values()) | abi.WB_CHECK
REAL = {"malloc", "free"}  # of the C library: they make nobody wait
KERNEL = {n: s.removeprefix("SYS_") for s, n in vars(os_linux).items() if s.startswith("SYS_")}


class VirtualImage(image.Image):
    """The image as it was built, but for the object of hooks."""

    def __init__(self, built):
        main, _ = built["objects"]
        system, exports = virtual_system([s for s in built["externs"] if not s.startswith("go.") and s not in REAL])
        exports += [s for s in built["exports"] if s not in exports]
        super().__init__({**built, "objects": [main, system], "exports": exports})
        self.types = [s for s in built["externs"] if s.startswith("go.type.")]


def virtual_system(libc: list[str]) -> tuple[bytes, list[str]]:
    """The object of the virtual operating system, and the symbols that it exports: all of `libc` among them, which is
    what the image needs of the C library. What the live hooks do is part of it, under other names."""
    live = llb.parse_bitcode(image.UnitBuilder(HOOKS).build().bitcode)
    functions = image.RuntimeFunction.BY_SYMBOL
    for symbol in [s for s, f in functions.items() if f.unit == HOOKS]:
        live.get_function(symbol).name = symbol.replace("go.", "go.live")
        del functions[symbol]  # its place is taken
    others = set(Var.ALL)
    importlib.import_module(UNIT)
    virtual = llb.parse_bitcode(image.UnitBuilder(UNIT).build().bitcode)
    exports = [s for s, f in functions.items() if f.unit == UNIT and f.entered is not None]
    for name in libc:
        virtual.get_function(f"go.{name}").name = name
        exports[exports.index(f"go.{name}")] = name
    storage = (
        f'@"{s}" = dso_local global [{v.struct.size} x i8] zeroinitializer, align 64'
        for s, v in Var.ALL.items()
        if s not in others
    )
    module = llb.parse_assembly("\n".join([f'target triple = "{llb.get_process_triple()}"', *storage]))
    module.link_in(live)
    module.link_in(virtual)
    for f in module.functions:
        if not f.is_declaration and f.name not in exports:
            f.linkage = "internal"
    return image._optimise(module, image_target_machine()), exports


# ---- names of addresses


class Names:
    """What lies where. G, M and Run are numbered in the order in which they were made."""

    def __init__(self, state):
        self.starts, self.ranges = [], []
        sched, heap = (Record(v.struct, v.address) for v in (runtime2.sched, mheap.mheap_))
        for symbol, v in Var.ALL.items():
            self.add(v.address, v.struct.size, symbol.removeprefix("go."), v.struct)
        everything = (
            (runtime2.M, reversed(linked(runtime2.M, sched.allm))),
            (runtime2.G, report.all_gs()),
            (runtime2.Run, reversed(linked(runtime2.Run, sched.allruns))),
        )
        for kind, addresses in everything:
            for i, address in enumerate(addresses):
                self.add(address, kind.size, f"{kind.__name__}{i}", kind)
                if kind is runtime2.G:
                    # where in its slab a G lies depends on where the slab lies: frames are below the G
                    lo = Record(kind, address).stacklo
                    self.add(lo, stack.GUARD, f"G{i}.guard", None)
                    self.add(lo + stack.GUARD, address - lo - stack.GUARD, f"G{i}", None, address)
        self.add(sched.stackbump, sched.stackend - sched.stackbump, "stacks", None)
        for i in range(sched.gomaxprocs):
            pp = Record(runtime2.P, sched.word("allp", i).value)
            self.add(pp.address, pp.cls.size, f"P{i}", pp.cls)
        tables = heap.markbits + (heap.arenaend >> 9 << 3)  # the end of the last one
        self.add(sched.heapstart, tables - sched.heapstart, "heap", None)
        for symbol in state.image.types:
            self.add(llb.address_of_symbol(symbol), runtime2.Type.size, symbol, runtime2.Type)

    def add(self, start, size, label, cls, base=None):
        i = bisect.bisect(self.starts, start)
        self.starts.insert(i, start)
        self.ranges.insert(i, (start + size, label, cls, start if base is None else base))

    def name(self, word: int, place: bool = False) -> str:
        """A word in which an address may be; the same, or the address of a place in memory."""
        i = bisect.bisect(self.starts, word) - 1
        if i < 0 or word >= self.ranges[i][0]:
            assert abs(word) < 1 << 32, f"an address without a name: {word:#x}"
            return str(word)
        _, label, cls, base = self.ranges[i]
        offset = word - base
        if cls is not None and (place or offset):
            field, start = max(
                ((f, start) for f, (start, _) in cls.fields.items() if start <= offset), key=lambda pair: pair[1]
            )
            label, offset = f"{label}.{field}", offset - start
        return f"{label}{offset:+#x}" if offset else label


def linked(cls, address) -> list[int]:
    found = []
    while address:
        found.append(address)
        address = Record(cls, address).alllink
    return found


# ---- the log


def lines(state, log, count: int) -> list[str]:
    """Of each event: the thread, what, the address, two words, the callers."""
    unit, names = sys.modules[UNIT], Names(state)
    fate = {unit.SLEPT: "slept", unit.WOKE: "woke", unit.LOST: "lost", unit.BORN: "born"}

    def line(e):
        kind = abi.KINDS[e.code & 255]
        what = fate.get(e.what) or (KERNEL[e.number] if kind == "syscall" else f"{kind}.{abi.OPERATIONS[e.code >> 16]}")
        pcs = [e.word("callers", k).value for k in range(unit.CALLERS)]
        frames = [f for pc in pcs if pc for f in func.CODE.lookup(pc, return_address=True)]
        callers = " < ".join(f.function.rpartition(".")[2] for f in frames)
        place = what not in ("handoff.none", "born")
        return f"{e.thread} {what} {names.name(e.at, place)} {names.name(e.x)} {names.name(e.y)} {callers}"

    return [line(Record(unit.Event, ctypes.addressof(log) + i * unit.Event.size)) for i in range(count)]


def tasks() -> int:
    """Threads of this process, as the kernel counts them."""
    return len(os.listdir("/proc/self/task"))


def main(rounds: int, games: int, deaf: int) -> None:
    threads = [tasks()]
    image.Image = VirtualImage
    state = boot.boot()
    unit = sys.modules[UNIT]
    system, game = (Record(v.struct, v.address) for v in (unit.system, unit.game))
    log = (ctypes.c_int64 * (ROOM * unit.Event.size // WORD))()
    system.log, system.room = ctypes.addressof(log), ROOM
    ctypes.c_int64.from_address(state.image.address[abi.SEAM]).value |= SEAM
    first = state.call("go.virtualgame")
    played = []
    for i in range(games):
        system.deaf, game.rounds, game.total = int(i >= deaf), rounds, 0
        run = state.call("go.runstart", first, 0, 0, 0)
        asleep = state.call("go.virtualdrive", TURNS) == unit.ASLEEP
        done = Record(runtime2.Run, run).done != 0
        if done:  # so this does not wait
            done = state.call("go.runwait", run) == runs.RUN_DONE
            state.call("go.runfree", run)
        played.append(
            {
                "asleep": asleep,
                "done": done,
                "total": game.total,
                "goroutines": state.call("go.numgoroutine"),
                "threads": system.count,
                "events": system.events,
            }
        )
        threads.append(tasks())
    assert system.events <= ROOM
    said = {
        "objects": [hashlib.sha256(o).hexdigest() for o in state.image.objects],
        "tasks": threads,
        "games": played,
        "log": lines(state, log, system.events),
    }
    print(json.dumps(said))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
