"""Mutants of the runtime, made by operators on its syntax trees: each is one edit of one function.

An operator looks at a place and says what would stand there if somebody had forgotten, or weakened, what the place is
for. The name of a mutant says all of it: `proc.findrunnable_nop: drop call xadd(sched, 'nmspinning', -1)`; a second
one of the same name gets `#2`.

    setter      a setter becomes the plain store that raises the write-barrier event
    claim       a compare and swap stores unconditionally and has always won
    atomic      a compare and swap, an addition or an exchange becomes a load and a store
    order       a release store becomes a plain store; an acquire load in the condition of a loop a plain load
    fence       a full fence is left out
    lock        a lock is neither taken nor released
    count       a number is not kept
    call        something that is done for others is left out
    check       a look is not taken: an `if`, a `while` or a part of one is decided beforehand (rechecks.py)

Not mutated: the audits and what stands under `if checking():` (that they are needed is shown by test_audits.py), and
what does not take part in scheduling: the heap, printing, tracebacks.

A mutant must still compile. What does not type-check is no mutant, and the tests say so.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.rechecks import RECHECKS

PACKAGE = Path(importlib.util.find_spec("gopark").origin).parent
FILES = ("proc", "mp", "runq", "chan", "select", "sema", "sync", "runs", "stack", "lock_futex")

# the atomic primitives: compare and swap -> the store and the load of the same kind
CAS = {"cas": ("store", "load"), "lockcas": ("lockstore", "lockload")}
STORES = ("store", "lockstore", "notestore")
LOADS = ("load", "lockload", "noteload")
LOCKS = {"lock": "unlock", "spinlock": "spinunlock"}
POINTERS = ("runnext",)  # fields that hold a pointer and are swapped: compared by `is`

COUNTS = (
    "npidle nmspinning nmidle runqsize gfreecnt nwait mcount nmidlelocked parkseq allglen coldcount locked schedtick "
    "slicetick"
).split()
CALLS = (
    "wakep wakeidle pokeruns resetspinning leavequeue dequeueSudoG incidlelocked handoffp demotenext notewakeup "
    "futexwakeup goready semrelease askpreempt claimended globrunqput gfput gfpurge pidleput mput unlockm enqueue "
    "lookps preemptone noteclear shuffle selunlock sellock wake send recv put take spinunlock startm stopm runqput "
    "allmadd allgadd slabclear slabset"
).split()


@dataclass(frozen=True)
class Mutant:
    """In `file` of the runtime, the text between the offsets of `edits` becomes another one."""

    operator: str
    file: str
    function: str
    line: int
    what: str
    edits: tuple[tuple[int, int, str], ...]  # start and end in the text of the file, new text

    @property
    def name(self) -> str:
        return f"{self.file}.{self.function}: {self.what}"

    def source(self, text: str) -> str:
        """The mutated text of the file."""
        raw = text.encode()  # a syntax tree counts bytes
        for start, end, new in sorted(self.edits, reverse=True):
            raw = raw[:start] + new.encode() + raw[end:]
        return raw.decode()


class Source:
    """A file of the runtime: its text, its functions, and where the nodes of its tree lie in the text."""

    def __init__(self, file: str, root: Path = PACKAGE):
        self.file = file
        self.path = root / "runtime" / f"{file}.py"
        self.text = self.path.read_text()
        self._starts = [0]
        for line in self.text.encode().splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))
        self.functions = [node for node in ast.parse(self.text).body if isinstance(node, ast.FunctionDef)]

    def span(self, node: ast.AST) -> tuple[int, int]:
        return self._starts[node.lineno - 1] + node.col_offset, self._starts[node.end_lineno - 1] + node.end_col_offset

    def edit(self, node: ast.AST, new: str) -> tuple[int, int, str]:
        return (*self.span(node), new)


def _called(node: ast.AST) -> str:
    """The name of the function that a call calls; "" if it is no call of a name."""
    return node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""


def _audited(node: ast.AST) -> bool:
    """Whether it is an `if` of check level 2."""
    return isinstance(node, ast.If) and any(_called(n) == "checking" for n in ast.walk(node.test))


def walk(node: ast.AST) -> Iterator[ast.AST]:
    """The node and all below it in the order of the text, without what only check level 2 does."""
    yield node
    for child in ast.iter_child_nodes(node):
        if not _audited(child):
            yield from walk(child)


def plain_store(call: ast.Call) -> str:
    """The plain store in place of a call of a setter or of an atomic store."""
    target, where, value = call.args[:3]
    place = f".{where.value}" if isinstance(where, ast.Constant) else f"[{ast.unparse(where)}]"
    return f"{ast.unparse(target)}{place} = {ast.unparse(value)}"


# ---- the operators: (what, edits) of each mutant of a function


def setters(source: Source, function: ast.FunctionDef):
    for node in walk(function):
        if re.fullmatch(r"set[A-Z]\w*NoWriteBarrier", _called(node)):
            store = plain_store(node)
            yield node, f"plain store {store}", [source.edit(node, store)]


def claims(source: Source, function: ast.FunctionDef):
    for node in walk(function):
        if _called(node) in CAS:
            store, _ = CAS[_called(node)]
            p, field, _, new = map(ast.unparse, node.args)
            always = f"({store}({p}, {field}, {new}) is None)"  # an atomic store returns nothing: this is true
            yield node, f"always win {ast.unparse(node)}", [source.edit(node, always)]


def atomics(source: Source, function: ast.FunctionDef):
    for node in walk(function):
        name = _called(node)
        if name in CAS:
            store, load = CAS[name]
            p, field, old, new = map(ast.unparse, node.args)
            same = "is" if node.args[1].value in POINTERS else "=="
            torn = f"({load}({p}, {field}) {same} {old} and {store}({p}, {field}, {new}) is None)"
            yield node, f"load and store for {ast.unparse(node)}", [source.edit(node, torn)]
        elif isinstance(node, ast.Expr) and _called(node.value) in ("xadd", "xchg", "notexchg"):
            p, field, value = node.value.args
            place = f"{ast.unparse(p)}.{field.value}"
            sign = "+=" if _called(node.value) == "xadd" else "="
            yield (
                node,
                f"load and store for {ast.unparse(node)}",
                [source.edit(node, f"{place} {sign} {ast.unparse(value)}")],
            )


def orders(source: Source, function: ast.FunctionDef):
    for node in walk(function):
        if isinstance(node, ast.Expr) and _called(node.value) in STORES:
            yield node, f"plain store for {ast.unparse(node)}", [source.edit(node, plain_store(node.value))]
        elif isinstance(node, ast.While):
            for load in walk(node.test):
                if _called(load) in LOADS:
                    p, field = load.args
                    plain = f"{ast.unparse(p)}.{field.value}"
                    yield load, f"plain load for {ast.unparse(load)}", [source.edit(load, plain)]


def fences(source: Source, function: ast.FunctionDef):
    for node in walk(function):
        if isinstance(node, ast.Expr) and _called(node.value) == "fence":
            yield node, "drop fence()", [source.edit(node, "pass")]


def locks(source: Source, function: ast.FunctionDef):
    calls = [n for n in walk(function) if isinstance(n, ast.Expr) and _called(n.value) in (*LOCKS, *LOCKS.values())]
    for take, release in LOCKS.items():
        taken = {ast.unparse(n.value.args[0]): n for n in reversed(calls) if _called(n.value) == take}
        for which, first in sorted(taken.items()):
            pair = [n for n in calls if ast.unparse(n.value) in (f"{take}({which})", f"{release}({which})")]
            if len(pair) > 1:
                yield first, f"no {take} of {which}", [source.edit(n, "pass") for n in pair]


def counts(source: Source, function: ast.FunctionDef):
    for node in walk(function):
        if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Attribute) and node.target.attr in COUNTS:
            yield node, f"do not count {ast.unparse(node)}", [source.edit(node, "pass")]
        elif isinstance(node, ast.Expr) and _called(node.value) == "xadd" and node.value.args[1].value in COUNTS:
            yield node, f"do not count {ast.unparse(node)}", [source.edit(node, "pass")]


def calls(source: Source, function: ast.FunctionDef):
    for node in walk(function):
        if isinstance(node, ast.Expr) and _called(node.value) in CALLS:
            yield node, f"drop call {ast.unparse(node)}", [source.edit(node, "pass")]


def checks(source: Source, function: ast.FunctionDef):
    for test, replacement, why in RECHECKS.get(f"{source.file}.{function.name}", ()):
        # an expression and the statement that consists of it are the same place
        found = {
            source.span(n): n
            for n in walk(function)
            if isinstance(n, ast.expr | ast.stmt)
            and ast.unparse(n) == test
            and not isinstance(getattr(n, "ctx", None), ast.Store)
        }
        assert found, f"{source.file}.{function.name} has no {test!r} any more: {why}"
        for node in found.values():
            yield node, f"{why}: {test} -> {replacement}", [source.edit(node, replacement)]


OPERATORS = {
    "setter": setters,
    "claim": claims,
    "atomic": atomics,
    "order": orders,
    "fence": fences,
    "lock": locks,
    "count": counts,
    "call": calls,
    "check": checks,
}


def mutants(files: Iterable[str] = FILES, operators: Iterable[str] = tuple(OPERATORS)) -> list[Mutant]:
    """All mutants of these operators, file by file in the order of the text."""
    made: list[Mutant] = []
    for file in files:
        source = Source(file)
        here = []
        for function in source.functions:
            for operator in operators:
                for node, what, edits in OPERATORS[operator](source, function):
                    here.append(Mutant(operator, file, function.name, node.lineno, what, tuple(edits)))
        here.sort(key=lambda m: m.line)
        made += here
    return _numbered(made)


def _numbered(made: list[Mutant]) -> list[Mutant]:
    """Names are unique, and those of the same name are told apart by a number."""
    seen: Counter[str] = Counter()
    result = []
    for mutant in made:
        seen[mutant.name] += 1
        if seen[mutant.name] > 1:
            what = f"{mutant.what} #{seen[mutant.name]}"
            mutant = Mutant(mutant.operator, mutant.file, mutant.function, mutant.line, what, mutant.edits)
        result.append(mutant)
    return result


@functools.cache
def setter_mutants() -> tuple[Mutant, ...]:
    """One for every setter of the whole runtime."""
    files = sorted(path.stem for path in (PACKAGE / "runtime").glob("*.py") if path.stem != "__init__")
    return tuple(mutants(files, ["setter"]))
