"""The write-barrier check: no write barrier, and no allocation, without a P.

Stands for: the compiler's `go:nowritebarrier` at 41dbcc19ef09, made recursive and sensitive to the flow of control.

A P is a capability.  The collector stops the world by taking every P, so a thread without one is stopped as far as the
heap can tell, whatever its instructions do; if it ran a write barrier then, it would mark behind the collector's
back: an object marked but not yet queued when marking ends loses all that hangs on it.  Go forbids that by annotating
functions, and forgot some for years.  Here nobody annotates: the check knows the roots, where threads start to run and
in which state, and the few functions that change the state (`STATE_TABLE`).  Everything else follows from the code.

**The lattice.**  NEVER (no path gets here) < P < NONE (may hold no P).  It is a chain, and NONE, the state in which
less is allowed, is its top: joining can only make the check stricter.  Calls map the chain monotonically (each is the
identity, a constant, or "does not return", on every path), so the fixpoint exists, is reached from NEVER in a few
rounds and does not depend on the order of work.  Recursion needs no special case.

**Summaries.**  For each function and each entry state: the state in which it returns something true, and the state in
which it returns something false.  That is all a caller can learn with `if f():`, so None counts as False, and a result
that is not a literal ("?") counts as both.  A helper that returns True with a P and False without one is thus
understood without an annotation, wherever the caller branches on the result; where it does not, that is an error.
NEVER for both means that the function does not return (`go.throw`): what follows the call is dead.  A block with
neither successor nor return ends its path: it threw, or left by an error, which only code with a P does.

**What is an error.**  In the order in which one should read them:
  E1  a barrier or an allocation in state NONE                                               kinds "barrier", "alloc"
  E2  paths that merge, or return the same thing, in different states                        kind "merge"
  E3  a result that decides the state and is not looked at                                   kind "ignored-result"
  E4  acquirep with a P held, releasep without one                                           kind "transition"
  E5  a call of something that was not compiled by us and is not declared opaque             kind "unknown"
  E6  a setter at a place that is reached only with a P: a plain store would do              kind "setter-with-p"
  E7  a barrier in, or below, a function marked nowritebarrier, or nowritebarrierrec         kind "pragma"
After E2 and E3 the check goes on with NONE, and does not repeat E2 for what merely follows from the first.  E6 is
there because a runtime that used setters everywhere would pass E1 with nothing proved.

**What no root reaches** is listed, and for E6 taken as entered with a P.  E5 and E7 hold there too, E1 to E4 do not.

**Bodies of the table's functions** run wholly in NONE, and no call inside changes that.  For acquirep this is plain:
it is legal only without a P and has one when it returns.  releasep gives its P away somewhere in the middle; the check
cannot see where, so it takes the stricter state for all of it.  They are primitives: calls among them are not judged
by E4.

**Pointers to functions** are followed by class: a call through an "mstartfn" reaches every function whose address is
taken as an "mstartfn" anywhere.  So thread starts, finish actions and spawn records have no holes.

**yeswritebarrierrec** is trust, and is counted: E1 is silent in such a function, and in what it calls for as long as
no P is held.  The same callees are judged as ever where another path reaches them, and the states are tracked through
it all, so that E2 to E6 hold there too.

Chains are found breadth first over (function, entry state), so the first one found is a shortest one.

The module is pure Python over `FuncInfo`s.  It imports nothing of Numba and keeps nothing between two calls.
"""

from __future__ import annotations

import enum
import os
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field

from gopark.compiler.funcinfo import ADDRESS, ALLOC, BARRIER, CALL, INDIRECT, RAW, SETTER, Event, FuncInfo


class State(enum.IntEnum):
    """Whether the thread holds a P; larger is stricter (see the essay)."""

    NEVER = 0
    P = 1
    NONE = 2

    @property
    def words(self) -> str:
        return "with a P" if self is State.P else "without a P"


NEVER, P, NONE = State.NEVER, State.P, State.NONE

#: The functions that change the state, and the state in which they return.  They are legal only in the other one.
STATE_TABLE: Mapping[str, State] = {"go.acquirep": P, "go.releasep": NONE}

Row = tuple[str, int, str]  # file, line, text: one step of a call chain
Members = Mapping[str, tuple[str, ...]]  # class of code pointers -> functions whose address is taken for it
Lane = tuple[State, tuple[Row, ...], tuple[int, ...]]  # state, what changed it on the way, blocks it continues to

# Index of an event in its block, the event, and for calls the functions called.
_Step = tuple[int, Event, tuple[str, ...] | None]
# A place in the source, not in the code: the compiler may emit one line twice.  Function, kind, file, line, name.
_Place = tuple[str, str, str, int, str]
_TRUSTED = 4  # next to the bits P and NONE: seen without a P, below a function marked yeswritebarrierrec
_RETURN_TRUE, _RETURN_FALSE = 1 << 62, (1 << 62) + 1  # two more "blocks", where all returns meet
_RETURN_TARGETS: Mapping[object, tuple[int, ...]] = {
    True: (_RETURN_TRUE,),
    False: (_RETURN_FALSE,),
    None: (_RETURN_FALSE,),
    "?": (_RETURN_TRUE, _RETURN_FALSE),
}


@dataclass(frozen=True)
class Violation:
    """One broken rule; `chain` leads from a root to the place, as (file, line, text)."""

    kind: str
    message: str
    function: str
    chain: tuple[Row, ...]

    def format_text(self) -> str:
        steps = [f"{os.path.basename(file)}:{line}: {text}" for file, line, text in self.chain[1:]]
        return "\n    ".join([self.message, self.chain[0][2], *steps])


@dataclass(frozen=True)
class Site:
    """One pointer store."""

    line: int
    field: str


@dataclass(frozen=True)
class Reason:
    """One pointer store without a barrier, and the registry that keeps its target reachable all the same."""

    file: str
    line: int
    function: str
    field: str
    setter: str
    registry: str


@dataclass
class FunctionReport:
    """What one function does; `entered` holds the states ("P", "none") in which a root reaches it."""

    name: str
    file: str
    line: int
    entered: tuple[str, ...]
    stores: int = 0  # all plain ones, those in dead code too
    plain_stores_with_p: list[Site] = field(default_factory=list)
    plain_stores_without_p: list[Site] = field(default_factory=list)
    plain_stores_trusted: list[Site] = field(default_factory=list)
    setters: list[Reason] = field(default_factory=list)
    allocs: int = 0
    raw: int = 0

    def counts(self) -> dict[str, int]:
        return {
            "stores_with_p": len(self.plain_stores_with_p),
            "stores_without_p": len(self.plain_stores_without_p),
            "stores_trusted": len(self.plain_stores_trusted),
            "setters": len(self.setters),
            "allocs": self.allocs,
            "raw": self.raw,
        }


@dataclass
class Report:
    """The verdict of `check`, with what it rests on."""

    violations: list[Violation]
    functions: dict[str, FunctionReport]  # by symbol
    trusted: list[str]  # functions marked yeswritebarrierrec
    unreached: list[str]  # functions to which no root leads

    @property
    def ok(self) -> bool:
        return not self.violations

    @property
    def no_p(self) -> list[str]:
        """The functions that may run without a P."""
        return [symbol for symbol, function in self.functions.items() if "none" in function.entered]

    @property
    def reasons(self) -> list[Reason]:
        """Every setter with its registry, in the order of the sources."""
        every = [reason for function in self.functions.values() for reason in function.setters]
        return sorted(every, key=lambda reason: (reason.file, reason.line, reason.field))

    def files(self) -> dict[str, Counter[str]]:
        """Totals per source file."""
        totals: dict[str, Counter[str]] = {}
        for function in sorted(self.functions.values(), key=lambda f: f.file):
            totals.setdefault(function.file, Counter()).update(function.counts())
        return totals

    def format_text(self, details: bool = False) -> str:
        """The report for people: violations, verdict, totals per file; with details also functions and reasons."""
        number = len(self.violations)
        verdict = f"{number} violation{'s' * (number > 1)}" if number else "no violation"
        lines = [line for violation in self.violations for line in (violation.format_text(), "")]
        lines.append(
            f"write barriers: {verdict}; {len(self.functions)} functions checked, {len(self.no_p)} of them run without "
            f"a P, {len(self.trusted)} trusted, {len(self.unreached)} never reached"
        )
        rows = [("file", "stores with P", "without", "trusted", "setters", "allocs", "raw")]
        files = self.files()
        names = Counter(os.path.basename(file) for file in files)
        for file, counts in files.items():
            base = os.path.basename(file)
            label = base if names[base] == 1 else "/".join(file.split(os.sep)[-2:])
            rows.append((label, *map(str, counts.values())))
            for function in sorted(self.functions.values(), key=lambda f: f.line) if details else ():
                if function.file == file and any(function.counts().values()):
                    rows.append((f"  {function.name}", *map(str, function.counts().values())))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for name, *cells in rows:
            numbers = (cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))
            lines.append("  ".join([name.ljust(widths[0]), *numbers]))
        if details:
            for r in self.reasons:
                place = f"{os.path.basename(r.file)}:{r.line}"
                lines.append(f"{place}: {r.function} stores {r.field} by {r.setter}, reachable by {r.registry}")
            lines += [f"never reached: {symbol}" for symbol in self.unreached]
        return "\n".join(lines)

    def to_json(self) -> dict[str, object]:
        """The report as plain data for `json.dumps`.  Its keys are stable:

        ok; checked: the number of functions; no_p, trusted, unreached: lists of symbols;
        violations: [{kind, message, function, chain: [[file, line, text]]}];
        files: {file: the numbers of `FunctionReport.counts`}; functions: {symbol: the fields of `FunctionReport`};
        reasons: [the fields of `Reason`].
        """
        return {
            "ok": self.ok,
            "checked": len(self.functions),
            "no_p": self.no_p,
            "trusted": self.trusted,
            "unreached": self.unreached,
            "violations": [asdict(violation) for violation in self.violations],
            "files": {file: dict(counts) for file, counts in self.files().items()},
            "functions": {symbol: asdict(function) for symbol, function in self.functions.items()},
            "reasons": [asdict(reason) for reason in self.reasons],
        }


def check(
    infos: Mapping[str, FuncInfo], roots: Mapping[str, State], table: Mapping[str, State] = STATE_TABLE
) -> Report:
    """Checks all functions of `infos` (by symbol), of which `roots` are entered first, in the states given."""
    return _Check(infos, table).report(roots)


def check_pragmas(info: FuncInfo, infos: Mapping[str, FuncInfo]) -> list[Violation]:
    """Rule E7 for one function, as soon as it is compiled; `infos` are the functions compiled before it."""
    if not {"nowritebarrier", "nowritebarrierrec"} & set(info.pragmas):
        return []
    infos = {**infos, info.symbol: info}
    return list(_pragma_violations(info, infos, _members(infos)))


def _members(infos: Mapping[str, FuncInfo]) -> Members:
    """For each class of code pointers the functions in it, in the order of appearance."""
    found: defaultdict[str, dict[str, None]] = defaultdict(dict)
    for info in infos.values():
        for event in info.events():
            if event.kind == ADDRESS and event.detail:
                found[event.detail[0]][event.name] = None
    return {name: tuple(symbols) for name, symbols in found.items()}


def _targets(event: Event, members: Members) -> tuple[str, ...]:
    if event.kind == CALL:
        return (event.name,)
    return members.get(event.name, ()) if event.kind == INDIRECT else ()


def _name(symbol: str, infos: Mapping[str, FuncInfo]) -> str:
    return infos[symbol].name if symbol in infos else symbol


def _call_row(event: Event, symbol: str, infos: Mapping[str, FuncInfo]) -> Row:
    verb = "calls" if symbol in infos else "calls an unknown function:"
    through = f" through {event.name}" if event.kind == INDIRECT else ""
    return event.file, event.line, f"{verb} {_name(symbol, infos)}{through}"


def _head_row(info: FuncInfo, how: str) -> Row:
    return info.file, info.line, f"{info.name} ({os.path.basename(info.file)}:{info.line}), {how}"


def _pragma_violations(info: FuncInfo, infos: Mapping[str, FuncInfo], members: Members) -> Iterator[Violation]:
    """Breadth first: all barriers of the function itself, and one of each function below, as Go's compiler does."""
    recursive = "nowritebarrierrec" in info.pragmas
    if not recursive and "nowritebarrier" not in info.pragmas:
        return
    head = _head_row(info, f"marked nowritebarrier{'rec' if recursive else ''}")
    chains = {info.symbol: (head,)}
    queue = deque([info])
    while queue:
        current = queue.popleft()
        chain = chains[current.symbol]
        barriers = sorted({(e.file, e.line, e.name) for e in current.events() if e.kind == BARRIER})
        for file, line, name in barriers if current is info else barriers[:1]:
            row = (file, line, f"write barrier: store to {name}")
            yield Violation("pragma", f"write barrier prohibited: store to {name}", current.symbol, (*chain, row))
        for event in current.events() if recursive else ():
            for symbol in _targets(event, members):
                row = _call_row(event, symbol, infos)
                if symbol not in infos:
                    yield Violation("unknown", f"calls an unknown function: {symbol}", current.symbol, (*chain, row))
                elif symbol not in chains and "yeswritebarrierrec" not in infos[symbol].pragmas:
                    chains[symbol] = (*chain, row)
                    queue.append(infos[symbol])


@dataclass(slots=True, eq=False)
class _Visit:
    """A function entered in a state, and how a root gets there: `parent` calls it in `rows[-1]`."""

    symbol: str
    entry: State
    trusted: bool
    parent: _Visit | None
    rows: tuple[Row, ...]


class _Check:
    """One run: `_summarise` computes the states, `_search` walks them from the roots, `_examine` judges one visit."""

    def __init__(self, infos: Mapping[str, FuncInfo], table: Mapping[str, State]) -> None:
        self.infos, self.table = infos, table
        self.members = _members(infos)
        # Per block the events that matter here, and those that change the state.
        self.steps: dict[str, dict[int, list[_Step]]] = {}
        self.calls: dict[str, dict[int, list[_Step]]] = {}
        self.callees: dict[str, dict[str, None]] = {}
        for symbol, info in infos.items():
            callees = self.callees[symbol] = {}
            self.steps[symbol], self.calls[symbol] = {}, {}
            for label, events in info.blocks.items():
                steps = self.steps[symbol][label] = []
                for index, event in enumerate(events):
                    if event.kind == CALL or event.kind == INDIRECT:
                        targets = _targets(event, self.members)
                        callees.update(dict.fromkeys(targets))
                        steps.append((index, event, targets))
                    elif event.kind in (BARRIER, SETTER, ALLOC):
                        steps.append((index, event, None))
                self.calls[symbol][label] = [step for step in steps if step[2]]
        # Entry state -> states on return of something true and something false.  What is unknown changes nothing.
        bottom, same = (NEVER, NEVER), ((NEVER, NEVER), (P, P), (NONE, NONE))
        self.summaries: dict[str, tuple[tuple[State, State], ...]] = {
            **{target: same for callees in self.callees.values() for target in callees},
            **{symbol: (bottom, bottom, bottom) for symbol in infos},
            **{symbol: (bottom, (after, after), (after, after)) for symbol, after in table.items()},
        }
        self.flows: dict[tuple[str, State], dict[int, State]] = {}  # the state at the head of each block reached
        self.violations: dict[tuple, Violation] = {}
        self.visits: dict[tuple[str, State, bool], _Visit] = {}
        self.queue: deque[_Visit] = deque()
        self.reached: set[str] | None = None  # what the roots reach; None while that search goes on
        self.seen: defaultdict[_Place, int] = defaultdict(int)  # the states in which stores and setters are reached
        self.setters: dict[_Place, tuple[_Visit, tuple[Row, ...], Event]] = {}  # how each setter was reached first

    def report(self, roots: Mapping[str, State]) -> Report:
        self._summarise()
        for symbol, state in roots.items():
            if symbol in self.infos:
                self._enter(symbol, state)
            else:
                row = ("", 0, f"{symbol}, a root entered {state.words}")
                self._add("unknown", f"the root {symbol} is an unknown function", symbol, (row,), symbol)
        self._search()
        self.reached = {symbol for symbol, _, _ in self.visits}
        unreached = [symbol for symbol in self.infos if symbol not in self.reached]
        for symbol in unreached:
            self._enter(symbol, P)
        self._search()
        self._judge_setters()
        for info in self.infos.values():
            for v in _pragma_violations(info, self.infos, self.members):
                if v.kind == "pragma":  # what is unknown was reported above
                    self.violations[v.kind, info.symbol, v.chain[-1]] = v
        functions = {symbol: self._function_report(info) for symbol, info in self.infos.items()}
        trusted = [symbol for symbol, info in self.infos.items() if "yeswritebarrierrec" in info.pragmas]
        return Report(list(self.violations.values()), functions, trusted, unreached)

    # The states.

    def _summarise(self) -> None:
        """Summaries of all functions in both entry states: the least fixpoint, callees first to get there at once."""
        callers: defaultdict[str, list[str]] = defaultdict(list)
        for symbol, callees in self.callees.items():
            for callee in callees:
                callers[callee].append(symbol)
        queue = dict.fromkeys(self._callees_first())
        while queue:
            symbol = next(iter(queue))
            del queue[symbol]
            summary = ((NEVER, NEVER), self._flow(symbol, P), self._flow(symbol, NONE))
            if symbol not in self.table and summary != self.summaries[symbol]:
                self.summaries[symbol] = summary
                queue.update(dict.fromkeys(callers[symbol]))

    def _callees_first(self) -> list[str]:
        order: dict[str, None] = {}
        open_: set[str] = set()
        for start in self.infos:
            stack = [(start, iter(self.callees[start]))]
            while stack:
                symbol, callees = stack[-1]
                open_.add(symbol)
                callee = next((c for c in callees if c in self.infos and c not in open_), None)
                if callee is not None:
                    stack.append((callee, iter(self.callees[callee])))
                else:
                    order[symbol] = None
                    stack.pop()
        return list(order)

    def _flow(self, symbol: str, entry: State) -> tuple[State, State]:
        """Lets the state flow through one function; returns its summary and leaves the states at its blocks."""
        info = self.infos[symbol]
        heads = self.flows[symbol, entry] = {info.entry: entry}
        if_true = if_false = NEVER
        work = [info.entry]
        while work:
            label = work.pop()
            for state, _, targets in self._step(symbol, label, heads[label]):
                for target in targets:
                    if state > heads.get(target, NEVER):
                        heads[target] = state
                        work.append(target)
                if label in info.returns:
                    ends = _RETURN_TARGETS[info.returns[label]]
                    if_true = max(if_true, state if _RETURN_TRUE in ends else NEVER)
                    if_false = max(if_false, state if _RETURN_FALSE in ends else NEVER)
        return if_true, if_false

    def _step(self, symbol: str, label: int, state: State, see: Callable[..., None] | None = None) -> list[Lane]:
        """Leads a state through a block, and shows each event that matters, in its state, to `see`.

        There is one lane; two after the call on whose result the block branches; none after one that never returns.
        """
        info = self.infos[symbol]
        lanes: list[Lane] = [(state, (), info.succs.get(label, ()))]
        steps = (self.steps if see else self.calls)[symbol].get(label)
        if not steps:
            return lanes
        split, true_label, false_label = info.branches.get(label, (-1, 0, 0))
        for index, event, callees in steps:
            if see:
                for before, changes, _ in lanes:
                    see(event, before, changes, index == split)
            if not callees:
                continue
            through: list[Lane] = []
            for before, changes, targets in lanes:
                if_true, if_false = self._after(symbol, callees, before)
                if index == split:
                    ways = ((if_true, (true_label,)), (if_false, (false_label,)))
                else:
                    ways = ((max(if_true, if_false), targets),)
                for after, onward in ways:
                    if after is not NEVER:
                        changed = see is not None and after is not before
                        rows = (*changes, self._change_row(event, after)) if changed else changes
                        through.append((after, rows, onward))
            lanes = through
        return lanes

    def _after(self, caller: str, callees: tuple[str, ...], state: State) -> tuple[State, State]:
        """The states after a call that returned something true, and something false."""
        if_true, if_false = self.summaries[callees[0]][state]
        for callee in callees[1:]:
            true, false = self.summaries[callee][state]
            if_true, if_false = max(if_true, true), max(if_false, false)
        if caller in self.table:
            return NONE if if_true else NEVER, NONE if if_false else NEVER
        return if_true, if_false

    def _change_row(self, event: Event, after: State) -> Row:
        verb = "gets a P" if after is P else "gives up its P"
        return event.file, event.line, f"{verb} (calls {_name(event.name, self.infos)})"

    # The walk from the roots.

    def _enter(self, symbol: str, state: State, parent: _Visit | None = None, rows: tuple[Row, ...] = ()) -> None:
        if self.reached is not None and symbol in self.reached:
            return
        trusted = "yeswritebarrierrec" in self.infos[symbol].pragmas
        trusted = trusted or (parent is not None and parent.trusted and state is NONE)
        entry = NONE if symbol in self.table else state
        if (symbol, entry, trusted) not in self.visits:
            visit = self.visits[symbol, entry, trusted] = _Visit(symbol, entry, trusted, parent, rows)
            self.queue.append(visit)

    def _search(self) -> None:
        while self.queue:
            self._examine(self.queue.popleft())

    def _add(self, kind: str, message: str, symbol: str, chain: tuple[Row, ...], *place: object) -> None:
        self.violations.setdefault((kind, symbol, *place), Violation(kind, message, symbol, chain))

    def _chain(self, visit: _Visit, *rows: Row) -> tuple[Row, ...]:
        while visit.parent is not None:
            rows = (*visit.rows, *rows)
            visit = visit.parent
        how = f"entered {visit.entry.words}"
        if self.reached is not None and visit.symbol not in self.reached:
            how = "which no root reaches, taken as " + how
        return (_head_row(self.infos[visit.symbol], how), *rows)

    def _examine(self, visit: _Visit) -> None:
        """Walks one function, each block once in its state, along shortest paths, and reports what is wrong there."""
        info = self.infos[visit.symbol]
        heads = self.flows[visit.symbol, visit.entry]
        trails: dict[int, tuple[Row, ...]] = {}
        joins: defaultdict[int, list[tuple[int, State, bool, int]]] = defaultdict(list)
        joins[info.entry].append((-1, visit.entry, False, info.line))
        queue, later = deque([(info.entry, ())]), deque()

        def see(event: Event, state: State, changes: tuple[Row, ...], looked_at: bool) -> None:
            if event.kind == CALL or event.kind == INDIRECT:
                self._see_call(visit, event, state, trail + changes, looked_at)
            else:
                self._see_access(visit, event, state, trail + changes)

        while queue or later:
            label, trail = (queue or later).popleft()
            if label in trails:
                continue
            trails[label] = trail
            for state, changes, targets in self._step(visit.symbol, label, heads[label], see):
                rows = trail + changes
                line = rows[-1][1] if rows else info.line
                if label in info.returns:
                    targets = _RETURN_TARGETS[info.returns[label]]
                for target in targets:
                    joins[target].append((label, state, bool(changes), line))
                    if target >= _RETURN_TRUE:
                        continue
                    if state is heads[target]:
                        queue.append((target, rows))
                    else:  # taken only where no path in the state of that block leads to it
                        here = next((e.line for e in info.blocks.get(target, ())), line)
                        later.append((target, (*rows, (info.file, here, "may have no P: paths merge"))))
        if self.reached is None:
            self._judge_merges(visit, info, joins)

    def _see_access(self, visit: _Visit, event: Event, state: State, trail: tuple[Row, ...]) -> None:
        place = (visit.symbol, event.kind, event.file, event.line, event.name)
        trusted = visit.trusted and state is NONE
        self.seen[place] |= _TRUSTED if trusted else state
        if event.kind == SETTER:
            self.setters.setdefault(place, (visit, trail, event))
        elif state is NONE and not trusted and self.reached is None:
            rule, what = ("write barrier", "store to") if event.kind == BARRIER else ("allocation", "new")
            row = (event.file, event.line, f"{rule}: {what} {event.name}")
            message = f"{rule} without a P: {what} {event.name}"
            self._add(event.kind, message, visit.symbol, self._chain(visit, *trail, row), place)

    def _see_call(self, visit: _Visit, event: Event, state: State, trail: tuple[Row, ...], looked_at: bool) -> None:
        judge = visit.symbol not in self.table and self.reached is None
        callees = _targets(event, self.members)

        def add(kind: str, message: str, text: str = "") -> None:
            chain = self._chain(visit, *trail, (event.file, event.line, text or message))
            self._add(kind, message, visit.symbol, chain, event.file, event.line, event.name)

        for callee in callees:
            call = _call_row(event, callee, self.infos)
            if callee in self.infos:
                self._enter(callee, state, visit, (*trail, call))
            else:
                add("unknown", f"calls an unknown function: {callee}", call[2])
            if judge and state is self.table.get(callee):
                how = "with a P held" if state is P else "without a P"
                add("transition", f"{_name(callee, self.infos)} {how}", call[2])
        if judge:
            results = [self.summaries[callee][state] for callee in callees]
            ways = [{after for after in way if after} for way in zip(*results, strict=True)]
            if any(len(way) > 1 for way in ways):
                add("merge", f"the functions of class {event.name} return with different states")
            elif not looked_at and len(set().union(*ways)) > 1:
                what = "returns with different states, and the caller does not look at the result"
                add("ignored-result", f"{_name(event.name, self.infos)} {what}")

    def _judge_merges(
        self, visit: _Visit, info: FuncInfo, joins: Mapping[int, list[tuple[int, State, bool, int]]]
    ) -> None:
        """Rule E2, where edges (from block, state, changed in that block, line of the last change) meet.

        A join is excused if all its edges without a P come down, unchanged, from a join that was reported.  Joins are
        judged in the order of their labels, and an edge from one not yet judged excuses nothing: so excuses never go
        in a circle, and the first bad join is always reported.
        """
        follows: set[int] = set()
        for target in sorted(joins):
            edges = joins[target]
            without = [e for e in edges if e[1] is NONE]
            fresh = [e for e in without if e[2] or e[0] not in follows]
            if without and not fresh:
                follows.add(target)
            elif without and len(without) < len(edges):
                follows.add(target)
                with_line, line = next(e[3] for e in edges if e[1] is P), fresh[0][3]
                message = f"paths merge with different states: with a P from line {with_line}, without from line {line}"
                here = next((e.line for e in info.blocks.get(target, ())), line)
                chain = self._chain(visit, (info.file, here, message))
                self._add("merge", message, visit.symbol, chain, min(target, _RETURN_TRUE))

    def _judge_setters(self) -> None:
        for place, (visit, trail, event) in self.setters.items():
            if self.seen[place] == P:
                message = f"setter where there always is a P: {event.detail[0]} to {event.name}; use a plain store"
                row = (event.file, event.line, f"calls {event.detail[0]} for {event.name}")
                self._add("setter-with-p", message, visit.symbol, self._chain(visit, *trail, row), place)

    def _function_report(self, info: FuncInfo) -> FunctionReport:
        symbol = info.symbol
        states = {s for s in (P, NONE) for trust in (False, True) if (symbol, s, trust) in self.visits}
        entered = tuple("P" if s is P else "none" for s in sorted(states) if symbol in (self.reached or ()))
        report = FunctionReport(info.name, info.file, info.line, entered)
        for event in info.events():
            if event.kind == BARRIER:
                report.stores += 1
                seen = self.seen[symbol, BARRIER, event.file, event.line, event.name]
                site = Site(event.line, event.name)
                if seen & NONE:
                    report.plain_stores_without_p.append(site)
                elif seen & _TRUSTED:
                    report.plain_stores_trusted.append(site)
                elif seen:
                    report.plain_stores_with_p.append(site)
            elif event.kind == SETTER:
                report.setters.append(Reason(event.file, event.line, info.name, event.name, *event.detail))
            elif event.kind == ALLOC:
                report.allocs += 1
            elif event.kind == RAW:
                report.raw += 1
        return report
