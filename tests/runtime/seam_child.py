"""A process whose seam is hooked: test_seam.py starts it, and reads what it prints as JSON.

    seam_child.py BITS

BITS of the word go.seam are set after the boot. In place of the live `go.prim` and `go.writebarrierptr` stand functions
that count their calls by kind of primitive and pass on to the live ones: bound by symbol, as a tracer would be.
"""

from __future__ import annotations

import ctypes
import json
import sys
import time

import numpy as np
from llvmlite import ir

import gopark as go
from gopark.bridge import boot
from gopark.compiler import abi, image
from gopark.compiler.numba_api import llb

EVENTS = len(abi.KINDS)  # the counter behind those of the kinds: barrier events


@go.struct
class Cell:
    value: int
    next: Cell


@go.func
def player(mine, other):
    for n in mine:
        other.send(n + 1)
    other.close()


@go.func
def ping_pong(n):
    a, b = go.chan(int), go.chan(int, 1)
    go.spawn(player, a, b)
    total = 0
    for i in range(n):
        a.send(i)
        total += b.recv()
    a.close()
    return total


@go.func
def adder(lock, done, counters, n):
    for _ in range(n):
        lock.lock()
        counters[0] += 1
        lock.unlock()
        go.gosched()
    done.done()


@go.func
def mutex(counters, workers, n):
    lock, done = go.Mutex(), go.WaitGroup()
    done.add(workers)
    for _ in range(workers):
        go.spawn(adder, lock, done, counters, n)
    done.wait()
    return counters[0]


@go.func
def producer(out, first, n):
    for i in range(n):
        out.send(Cell(first + i, None))


@go.func
def select(n):
    """The sum of what comes in over two channels; every cell that came is linked into a list."""
    evens, odds = go.chan(Cell, 4), go.chan(Cell)
    go.spawn(producer, evens, 0, n)
    go.spawn(producer, odds, 1000000, n)
    head = None
    for _ in range(2 * n):
        s = go.select(even=go.recv(evens), odd=go.recv(odds))
        if s.case == "even":
            head = Cell(s.even.value, head)
        else:
            head = Cell(s.odd.value, head)
    total = 0
    while head is not None:
        total += head.value
        head = head.next
    return total


@go.func
def waiter(never):
    never.recv()


@go.func
def left_behind(n):
    """The end of this run has to wake `n` goroutines and let them leave."""
    never = go.chan(int)
    for _ in range(n):
        go.spawn(waiter, never)
    go.gosched()
    return n


def hooks(counters: int) -> str:
    """The two functions in LLVM's language: `lock xadd` the counter, then jump to the live one."""
    word, text = ir.IntType(64), ir.Module("hooks")

    def function(name, arguments, count):
        f = ir.Function(text, ir.FunctionType(word, [word] * arguments), name)
        live = ir.GlobalVariable(text, word, name + ".live")
        live.initializer = ir.Constant(word, 0)
        b = ir.IRBuilder(f.append_basic_block())
        slot = b.add(ir.Constant(word, counters), b.mul(count(b, f.args), ir.Constant(word, 8)))
        b.atomic_rmw("add", b.inttoptr(slot, word.as_pointer()), ir.Constant(word, 1), "monotonic")
        b.ret(b.call(b.inttoptr(b.load(live), f.function_type.as_pointer()), f.args))

    function("go.prim", 4, lambda b, arguments: b.and_(arguments[0], ir.Constant(word, 255)))
    function("go.writebarrierptr", 2, lambda b, arguments: ir.Constant(word, EVENTS))
    return str(text)


class HookedImage(image.Image):
    """The image with the counting functions bound to the two symbols, and the object of the live ones beside it."""

    counters = (ctypes.c_int64 * (EVENTS + 1))()

    def __init__(self, built):
        hooked = ("go.prim", "go.writebarrierptr")
        counting = self._load([llb.parse_assembly(hooks(ctypes.addressof(self.counters)))], [])
        for symbol in hooked:
            llb.add_symbol(symbol, counting.get_function_address(symbol))
        main, live = built["objects"]
        exports = [symbol for symbol in built["exports"] if symbol not in hooked]
        super().__init__({**built, "objects": [main], "exports": exports})
        self._hooks = counting, self._load([], [live])
        for symbol in hooked:
            cell = ctypes.c_int64.from_address(counting.get_global_value_address(symbol + ".live"))
            cell.value = self._hooks[1].get_function_address(symbol)
            assert cell.value not in (0, counting.get_function_address(symbol))
            self.address[symbol] = counting.get_function_address(symbol)

    def _load(self, modules, objects):
        target = llb.Target.from_triple(llb.get_process_triple())
        empty = llb.parse_assembly("")
        engine = llb.create_mcjit_compiler(empty, target.create_target_machine(jit=True))
        for module in modules:
            module.triple = llb.get_process_triple()
            engine.add_module(module)
        for data in objects:
            engine.add_object_file(llb.ObjectFileRef.from_data(data))
        engine.finalize_object()
        return engine


def play() -> list[int]:
    """The results of the programs, each of them started while all threads sleep."""
    results = []
    for program, *arguments in (
        (ping_pong, 3000),
        (mutex, np.zeros(1, np.int64), 8, 200),
        (select, 500),
        (left_behind, 50),
    ):
        time.sleep(0.02)
        results.append(go.run(program, *arguments))
    return results


def main(bits: int) -> None:
    image.Image = HookedImage
    state = boot.boot()
    word = ctypes.c_int64.from_address(state.image.address[abi.SEAM])
    play()  # compiled, and threads started, before anything is counted
    idle = list(HookedImage.counters)
    word.value |= bits
    results = play()
    counts = list(HookedImage.counters)
    word.value &= ~bits
    named = dict(zip([*abi.KINDS, "event"], counts, strict=True))
    print(json.dumps({"idle": idle, "results": results, "counts": named}))


if __name__ == "__main__":
    main(int(sys.argv[1], 0))
