"""Where a pointer to an object of the collected heap is deleted, it must still be somewhere the stack scan can see it.

LLVM may keep an address that it derived from the pointer in place of the pointer itself. An empty instruction at the
`del` reads the pointer: until there it is alive as it is, whatever was derived from it. There is no collector yet that
could miss it, so these tests look at the optimised code.
"""

from __future__ import annotations

import re

import gopark as go
from gopark.compiler import asm_amd64

KEEPALIVE = re.compile(r'call void asm sideeffect "", "r"\(ptr (?:nonnull )?(%[\w."]+|null)\)')


@go.struct
class Cell:
    value: int
    next: Cell


def read_after_yield(n):
    cell = Cell(n, None)
    go.gosched()
    return cell.value


def swap_values(a, b):
    kept = a.value
    a.value = b.value
    b.value = kept


def numbers_only(n):
    total = 0
    for i in range(n):
        total += i
    return total


def driver(n):
    a, b = Cell(n, None), Cell(n + 1, None)
    swapper(a, b)
    return a.value * 100 + b.value


def compiled(function, *arguments):
    """The optimised IR of a go function, in a dispatcher of its own."""
    dispatcher = go.func(cache=False)(function)
    assert go.run(dispatcher, *arguments) is not None
    return body_of(dispatcher)


def body_of(dispatcher):
    """The IR of the function itself: the first definition of its module."""
    (result,) = dispatcher.overloads.values()
    text = result.library.get_llvm_str()
    return text[text.index("\ndefine ") :].split("\n}")[0]


swapper = go.func(cache=False)(swap_values)


def test_a_pointer_lives_until_its_last_use():
    text = compiled(read_after_yield, 1)
    yields, keeps = text.index("@go.gosched"), list(KEEPALIVE.finditer(text))
    assert keeps, text
    assert keeps[-1].start() > yields
    pointer = re.escape(keeps[-1].group(1))
    assert re.search(rf"{pointer} = ", text[:yields]), "what is kept is not what was allocated before"
    assert re.search(rf"load i64, ptr {pointer}", text[yields : keeps[-1].start()]), "not behind the last use"


def test_every_pointer_is_kept():
    assert go.run(go.func(cache=False)(driver), 7) == 807
    kept = {m.group(1) for m in KEEPALIVE.finditer(body_of(swapper))}
    assert kept == {"%arg.a", "%arg.b"}


def test_numbers_are_not_kept():
    assert not KEEPALIVE.search(compiled(numbers_only, 10))


def test_without_the_instruction_nothing_would_hold_them(monkeypatch):
    """The mutant: what the tests above find comes from there alone."""
    monkeypatch.setattr(asm_amd64, "emit_keepalive", lambda b, value: None)
    assert not KEEPALIVE.search(compiled(read_after_yield, 1))


def test_it_costs_no_instruction():
    dispatcher = go.func(cache=False)(read_after_yield)
    assert go.run(dispatcher, 5) == 5
    (result,) = dispatcher.overloads.values()
    assert "#APP\n\t#NO_APP" in result.library.get_asm_str()
