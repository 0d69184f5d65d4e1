"""The write-barrier check, on call graphs written by hand and on random ones.

The programs are written in a small language.  A line at the margin begins a function: its name, file:line and pragmas.
Below it are its blocks, `label: event, event | end`, where `end` is one of `goto L [L...]`, `if L L` (on the result of
the last call of the block), `ret [True|False|None|?]` or `stop`.  Every event stands on a line of its own.
"""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gopark.compiler.funcinfo import ADDRESS, ALLOC, BARRIER, CALL, INDIRECT, OPAQUE, RAW, SETTER, Event, FuncInfo
from gopark.compiler.wbcheck import NONE, STATE_TABLE, P, Report, State, check, check_pragmas

KINDS = {
    "call": CALL,
    "through": INDIRECT,
    "store": BARRIER,
    "alloc": ALLOC,
    "raw": RAW,
    "opaque": OPAQUE,
}
CONSTANTS = {"True": True, "False": False, "None": None, "?": "?"}
PRIMITIVES = """
acquirep mp.py:200
    0: set M.p, set P.m | ret
releasep mp.py:210
    0: set M.p, set P.m | ret
"""


def event(text: str, file: str, line: int) -> Event:
    verb, *words = text.split()
    if verb == "set":
        return Event(SETTER, words[0], file, line, ("setPNoWriteBarrier", "allp"))
    if verb == "address":
        return Event(ADDRESS, f"go.{words[0]}", file, line, (words[1],))
    symbolic = verb in ("call", "opaque")
    return Event(KINDS[verb], f"go.{words[0]}" if symbolic else words[0], file, line)


def program(text: str, primitives: str = PRIMITIVES) -> dict[str, FuncInfo]:
    infos: dict[str, FuncInfo] = {}
    for row in filter(str.strip, (text + primitives).splitlines()):
        if not row[0].isspace():
            name, place, *pragmas = row.split()
            file, number = place.split(":")
            info = infos[f"go.{name}"] = FuncInfo(f"go.{name}", name, f"src/{file}", int(number), tuple(pragmas))
            line = info.line
            continue
        label, _, rest = row.partition(":")
        events, _, end = rest.partition("|")
        block = info.blocks[int(label)] = []
        for part in filter(str.strip, events.split(",")):
            line += 1
            block.append(event(part, info.file, line))
        verb, *words = end.split()
        targets = tuple(int(word) for word in words) if verb in ("goto", "if") else ()
        info.succs[int(label)] = targets
        if verb == "if":
            index = max(i for i, e in enumerate(block) if e.kind in (CALL, INDIRECT))
            info.branches[int(label)] = (index, *targets)
        elif verb == "ret":
            info.returns[int(label)] = CONSTANTS[words[0]] if words else None
    return infos


def run(text: str, table=STATE_TABLE, primitives: str = PRIMITIVES, **roots: State) -> Report:
    return check(program(text, primitives), {f"go.{name}": state for name, state in roots.items()}, table)


def kinds(report: Report) -> list[str]:
    return [violation.kind for violation in report.violations]


# E1: barriers and allocations


def test_a_store_with_a_p_is_fine_and_is_counted():
    report = run("f proc.py:10\n  0: store M.next, alloc Sudog, raw load | ret", f=P)
    assert report.ok
    function = report.functions["go.f"]
    assert [(site.line, site.field) for site in function.plain_stores_with_p] == [(11, "M.next")]
    assert (function.stores, function.allocs, function.raw, function.entered) == (1, 1, 1, ("P",))


def test_the_chain_reads_from_the_root_to_the_store():
    report = run(
        """
mstart proc.py:127
    0: raw load, raw load, raw load, raw load, call stopm | ret
stopm mp.py:76
    0: call mput | ret
mput mp.py:25
    0: store M.schedlink | ret
""",
        mstart=NONE,
    )
    assert len(report.violations) == 1
    assert report.violations[0].kind == "barrier"
    assert report.violations[0].function == "go.mput"
    assert report.violations[0].format_text() == (
        "write barrier without a P: store to M.schedlink\n"
        "    mstart (proc.py:127), entered without a P\n"
        "    proc.py:132: calls stopm\n"
        "    mp.py:77: calls mput\n"
        "    mp.py:26: write barrier: store to M.schedlink"
    )
    assert report.violations[0].chain[1] == ("src/proc.py", 132, "calls stopm")
    assert report.no_p == ["go.mstart", "go.stopm", "go.mput"]


def test_an_allocation_needs_a_p_too():
    report = run("f proc.py:10\n  0: alloc Sudog | ret", f=NONE)
    assert [v.message for v in report.violations] == ["allocation without a P: new Sudog"]


def test_the_chain_shows_where_the_p_went():
    report = run("f proc.py:10\n  0: call releasep, store M.next | ret", f=P)
    assert report.violations[0].format_text().splitlines()[1:] == [
        "    f (proc.py:10), entered with a P",
        "    proc.py:11: gives up its P (calls releasep)",
        "    proc.py:12: write barrier: store to M.next",
    ]


def test_a_state_change_below_a_call_is_shown_in_the_callers_too():
    report = run(
        """
f proc.py:10
    0: call g, call h | ret
g proc.py:20
    0: call releasep | ret
h proc.py:30
    0: store M.next | ret
""",
        f=P,
    )
    assert [text for _, _, text in report.violations[0].chain] == [
        "f (proc.py:10), entered with a P",
        "gives up its P (calls g)",
        "calls h",
        "write barrier: store to M.next",
    ]


def test_a_function_is_judged_in_each_state_in_which_it_is_entered():
    text = """
f proc.py:10
    0: call h, call releasep, {} | ret
h proc.py:30
    0: store M.next | ret
"""
    assert run(text.format("raw load"), f=P).ok
    report = run(text.format("call h"), f=P)
    assert kinds(report) == ["barrier"]
    function = report.functions["go.h"]
    assert function.entered == ("P", "none")
    assert (len(function.plain_stores_with_p), len(function.plain_stores_without_p)) == (0, 1)


@pytest.mark.parametrize("order", ["call a, call b", "call b, call a"])
def test_the_shortest_of_two_chains_is_reported_once(order):
    report = run(
        f"""
f proc.py:10
    0: {order} | ret
a proc.py:20
    0: call c | ret
b proc.py:30
    0: call mput | ret
c proc.py:40
    0: call mput | ret
mput mp.py:25
    0: store M.schedlink | ret
""",
        f=NONE,
    )
    assert kinds(report) == ["barrier"]
    assert [text for _, _, text in report.violations[0].chain][1:] == [
        "calls b",
        "calls mput",
        "write barrier: store to M.schedlink",
    ]


@pytest.mark.parametrize("ways", ["1 3", "3 1"])
def test_the_shortest_way_through_a_function_is_shown(ways):
    text = "f proc.py:10\n 0: raw load | goto {}\n 1: call acquirep | goto 2\n 2: call releasep | goto 3\n"
    report = run(text.format(ways) + " 3: store M.a | ret", f=NONE)
    assert [text for _, _, text in report.violations[0].chain] == [
        "f (proc.py:10), entered without a P",
        "write barrier: store to M.a",
    ]


def test_a_nearer_root_gives_the_shorter_chain():
    report = run(
        "f proc.py:10\n  0: call g | ret\ng proc.py:20\n  0: call h | ret\nh proc.py:30\n  0: store M.a | ret\n",
        f=NONE,
        h=NONE,
    )
    assert len(report.violations[0].chain) == 2


# Summaries


HELPER = """
tryget proc.py:30
    0: call pidleget | if 1 2
    1: call acquirep | ret True
    2: raw load | ret {}
pidleget mp.py:10
    0: raw load | ret ?
"""


@pytest.mark.parametrize("other", ["False", "None"])
def test_a_helper_may_return_true_with_a_p_and_false_without(other):
    text = """
f proc.py:10
    0: call tryget | if 1 2
    1: store M.a, call releasep | goto 3
    2: {} | goto 3
    3: set M.b | ret
"""
    assert run(text.format("set M.c") + HELPER.format(other), f=NONE).ok
    report = run(text.format("store M.c") + HELPER.format(other), f=NONE)
    assert [v.message for v in report.violations] == ["write barrier without a P: store to M.c"]


def test_the_branch_may_be_the_other_way_round():
    text = "f proc.py:10\n 0: call tryget | if 2 1\n 1: store M.a, call releasep | ret\n 2: raw load | ret\n"
    report = run(text + HELPER.format("False"), f=NONE)
    assert sorted(kinds(report)) == ["barrier", "merge", "transition"]


def test_both_ways_are_followed_to_the_end_of_the_block_of_the_call():
    infos = program(
        "f proc.py:10\n 0: call tryget, store M.a | goto 1 2\n 1: call releasep | ret\n 2: raw load | ret\n"
        + HELPER.format("False")
    )
    infos["go.f"].branches[0] = (0, 1, 2)
    assert [v.message for v in check(infos, {"go.f": NONE}).violations] == ["write barrier without a P: store to M.a"]


def test_a_result_that_decides_the_state_must_be_looked_at():
    report = run("f proc.py:10\n 0: call tryget, store M.a | ret\n" + HELPER.format("False"), f=NONE)
    assert kinds(report) == ["ignored-result", "barrier"]
    assert report.violations[0].message == (
        "tryget returns with different states, and the caller does not look at the result"
    )


def test_a_result_need_not_be_looked_at_where_the_states_agree():
    text = "f proc.py:10\n 0: call g, store M.a | ret\ng proc.py:20\n 0: raw load | goto 1 2\n"
    assert run(text + " 1: raw load | ret True\n 2: raw load | ret False", f=P).ok


@pytest.mark.parametrize(("one", "other"), [("True", "True"), ("True", "?"), ("?", "False"), ("None", "False")])
def test_returns_that_a_caller_cannot_tell_apart_must_agree(one, other):
    text = f"f proc.py:10\n 0: raw load | goto 1 2\n 1: call releasep | ret {one}\n 2: raw load | ret {other}\n"
    report = run(text, f=P)
    assert [v.message for v in report.violations] == [
        "paths merge with different states: with a P from line 10, without from line 12"
    ]


def test_the_caller_of_such_a_function_goes_on_without_a_p():
    report = run(
        "f proc.py:10\n 0: call g, store M.a | ret\n"
        "g proc.py:20\n 0: raw load | goto 1 2\n 1: call releasep | ret ?\n 2: raw load | ret ?\n",
        f=P,
    )
    assert sorted(kinds(report)) == ["barrier", "merge"]


def test_what_follows_a_call_that_never_returns_is_dead():
    text = """
f proc.py:10
    0: raw load | goto 1 2
    1: call releasep, call throw, store M.dead | goto 3
    2: raw load | goto 3
    3: store M.a | ret
throw panic.py:5
    0: opaque exit | {}
"""
    report = run(text.format("stop"), f=P)
    assert report.ok
    function = report.functions["go.f"]
    assert (function.stores, [site.field for site in function.plain_stores_with_p]) == (2, ["M.a"])
    assert sorted(kinds(run(text.format("ret"), f=P))) == ["barrier", "barrier", "merge"]
    assert run(text.format("goto 0"), f=P).ok


# E2: merges


MERGE = """
f proc.py:10
    0: raw load | goto 1 2
    1: call releasep | goto 3
    2: raw load | goto 3
    3: {} | ret
"""


def test_paths_that_merge_in_different_states_are_an_error_and_go_on_without_a_p():
    report = run(MERGE.format("raw load"), f=P)
    assert [v.message for v in report.violations] == [
        "paths merge with different states: with a P from line 10, without from line 12"
    ]
    assert report.violations[0].chain[-1][:2] == ("src/proc.py", 14)
    assert sorted(kinds(run(MERGE.format("store M.a"), f=P))) == ["barrier", "merge"]


def test_what_follows_from_a_merge_is_not_reported_again():
    text = """
f proc.py:10
    0: raw load | goto 1 6
    1: raw load | goto 2 3
    2: call releasep | goto 4
    3: raw load | goto 4
    4: raw load | goto 5
    5: raw load | goto 7
    6: raw load | goto 7
    7: raw load | ret
"""
    assert kinds(run(text, f=P)) == ["merge"]
    # A second loss of the P is an error of its own.
    second = text.replace("6: raw load", "6: raw load | goto 7 8\n 8: call releasep")
    assert kinds(run(second, f=P)) == ["merge", "merge"]


def test_a_p_that_is_lost_again_after_a_merge_is_reported_again():
    text = """
f proc.py:10
    0: raw load | goto 1 2 4
    1: call releasep | goto 3
    2: raw load | goto 3
    3: {} | goto 5
    4: raw load | goto 5
    5: raw load | ret
"""
    assert kinds(run(text.format("raw load"), f=P)) == ["merge"]
    assert kinds(run(text.format("call acquirep, call releasep"), f=P)) == ["merge", "merge"]


def test_a_loop_that_loses_its_p_is_found_at_its_head():
    text = """
f proc.py:10
    0: raw load | goto 1
    1: raw load | goto 2 3
    2: call lose | goto 1
    3: raw load | stop
lose proc.py:30
    0: raw load | goto 1 2
    1: call releasep | goto 3
    2: call drop | goto 3
    3: raw load | ret
drop proc.py:40
    0: call releasep | ret
"""
    assert kinds(run(text, f=P)) == ["merge", "transition", "transition"]


def test_the_first_block_merges_with_the_entry():
    text = "f proc.py:10\n 0: call park{} | goto 0\npark proc.py:20\n 0: call releasep | ret"
    assert sorted(kinds(run(text.format(""), f=P))) == ["merge", "transition"]
    assert run(text.format(", call acquirep"), f=P).ok


def test_a_loop_whose_body_keeps_none_does_not_excuse_its_own_merge():
    text = """
f proc.py:10
    0: raw load | goto 1
    1: call keep | goto 1 2
    2: raw load | stop
keep proc.py:30
    0: call take | if 1 2
    1: raw load | ret
    2: raw load | ret
take proc.py:40
    0: raw load | ret ?
"""
    assert run(text, f=P).ok
    losing = text.replace("1: call keep | goto 1 2", "1: raw load, call releasep, raw load | goto 1 2")
    report = run(losing, f=P)
    assert sorted(kinds(report)) == ["merge", "transition"]
    assert "may have no P: paths merge" in [row[2] for row in report.violations[0].chain]


def test_the_members_of_a_class_must_return_in_the_same_state():
    text = """
f proc.py:10
    0: through finish | ret
setup proc.py:20
    0: address a finish, address b finish | ret
a proc.py:30
    0: call releasep | ret
b proc.py:40
    0: raw load | ret
"""
    report = run(text, f=P)
    assert [v.message for v in report.violations] == ["the functions of class finish return with different states"]


# E4: transitions


@pytest.mark.parametrize(
    ("call", "entry", "message"),
    [("acquirep", P, "acquirep with a P held"), ("releasep", NONE, "releasep without a P")],
)
def test_transitions_are_legal_from_the_other_state_only(call, entry, message):
    report = run(f"f proc.py:10\n 0: call {call} | ret", f=entry)
    assert [v.message for v in report.violations] == [message]
    assert report.violations[0].chain[-1] == ("src/proc.py", 11, f"calls {call}")
    assert run(f"f proc.py:10\n 0: call {call} | ret", f=P if entry is NONE else NONE).ok


@pytest.mark.parametrize(("call", "entry"), [("acquirep", NONE), ("releasep", P)])
def test_the_bodies_of_the_primitives_run_without_a_p(call, entry):
    primitives = PRIMITIVES.replace(f"{call} mp", f"helper mp.py:300\n 0: store M.q | ret\n{call} mp", 1).replace(
        "set M.p, set P.m", "call releasep, call acquirep, call helper, set M.p"
    )
    report = run(f"f proc.py:10\n 0: call {call} | ret", primitives=primitives, f=entry)
    assert [v.message for v in report.violations] == ["write barrier without a P: store to M.q"]
    assert report.functions[f"go.{call}"].entered == ("none",)


SCENE = """
stopm mp.py:10
    0: call releasep, call park, call acquirep, store M.a | ret
park mp.py:20
    0: set M.b, call mput | ret
mput mp.py:30
    0: set M.schedlink | ret
"""


@pytest.mark.parametrize(
    ("row", "found"), [("go.releasep", {"transition", "setter-with-p"}), ("go.acquirep", {"barrier"})]
)
def test_dropping_a_row_of_the_table_is_found(row, found):
    assert run(SCENE, stopm=P).ok
    table = {symbol: state for symbol, state in STATE_TABLE.items() if symbol != row}
    assert set(kinds(run(SCENE, table, stopm=P))) == found


def test_a_longer_table_is_obeyed():
    text = "f proc.py:10\n 0: call entersyscall, {} | ret\nentersyscall syscall.py:1\n 0: raw store | ret\n"
    table = {**STATE_TABLE, "go.entersyscall": NONE}
    assert run(text.format("set M.a"), table, f=P).ok
    assert kinds(run(text.format("store M.a"), table, f=P)) == ["barrier"]


# E5: holes


def test_a_call_of_an_unknown_function_is_a_hole_and_an_opaque_one_is_not():
    assert run("f proc.py:10\n 0: opaque futex | ret", f=NONE).ok
    report = run("f proc.py:10\n 0: call futex | ret", f=NONE)
    assert [v.message for v in report.violations] == ["calls an unknown function: go.futex"]
    assert report.violations[0].chain[-1] == ("src/proc.py", 11, "calls an unknown function: go.futex")


def test_unknown_roots_members_and_callees_of_unreached_functions_are_holes_too():
    assert kinds(run("f proc.py:10\n 0: raw load | ret", f=P, gone=NONE)) == ["unknown"]
    assert kinds(run("f proc.py:10\n 0: address gone entry, through entry | ret", f=P)) == ["unknown"]
    assert kinds(run("f proc.py:10\n 0: raw load | ret\ng proc.py:20\n 0: call gone | ret", f=P)) == ["unknown"]
    assert "unknown" in run("", gone=NONE).format_text()


# Pointers to functions


def test_a_call_through_a_pointer_reaches_the_class_and_no_other():
    text = """
f proc.py:10
    0: through mstartfn | ret
setup proc.py:20
    0: address a mstartfn, address b finish | ret
a proc.py:30
    0: store M.a | ret
b proc.py:40
    0: store M.b | ret
"""
    report = run(text, f=NONE)
    assert [v.message for v in report.violations] == ["write barrier without a P: store to M.a"]
    assert report.violations[0].chain[1] == ("src/proc.py", 11, "calls a through mstartfn")
    assert report.unreached == ["go.setup", "go.b", "go.acquirep", "go.releasep"]


def test_a_class_without_members_changes_nothing():
    assert run("f proc.py:10\n 0: through mstartfn, store M.a | ret", f=P).ok


# E6: setters


def test_a_setter_where_there_always_is_a_p_is_an_error():
    report = run("f proc.py:10\n 0: set M.a | ret", f=P)
    assert kinds(report) == ["setter-with-p"]
    assert report.violations[0].message == (
        "setter where there always is a P: setPNoWriteBarrier to M.a; use a plain store"
    )
    assert run("f proc.py:10\n 0: set M.a | ret", f=NONE).ok


def test_a_setter_is_needed_if_one_path_of_many_has_no_p():
    text = "f proc.py:10\n 0: call g, call releasep{} | ret\ng proc.py:20\n 0: set M.a | ret"
    assert kinds(run(text.format(""), f=P)) == ["setter-with-p"]
    assert run(text.format(", call g"), f=P).ok


def test_a_line_that_is_compiled_twice_is_one_setter():
    infos = program("f proc.py:10\n 0: set M.a, call releasep | goto 1\n 1: set M.a | ret")
    assert kinds(check(infos, {"go.f": P})) == ["setter-with-p"]
    infos["go.f"].blocks[1][0].line = infos["go.f"].blocks[0][0].line
    assert check(infos, {"go.f": P}).ok


def test_unreached_functions_are_listed_and_taken_as_entered_with_a_p():
    text = """
f proc.py:10
    0: raw load | ret
callee proc.py:40
    0: set M.b | ret
unused proc.py:20
    0: set M.a | goto 1 2
    1: call releasep, call callee, store M.c | goto 2
    2: raw load | ret
"""
    report = run(text, f=P)
    assert [(v.kind, v.function) for v in report.violations] == [("setter-with-p", "go.unused")]
    assert report.violations[0].chain[0][2] == "unused (proc.py:20), which no root reaches, taken as entered with a P"
    assert report.unreached == ["go.callee", "go.unused", "go.acquirep", "go.releasep"]
    assert report.functions["go.unused"].entered == ()


def test_unreached_recursion_is_looked_at_too():
    text = "f proc.py:10\n 0: raw load | ret\na proc.py:20\n 0: set M.a, call b | ret\nb proc.py:30\n 0: call a | ret\n"
    assert kinds(run(text, f=P)) == ["setter-with-p"]


def test_an_unreached_caller_does_not_justify_a_setter():
    text = (
        "f proc.py:10\n 0: call h | ret\ng proc.py:20\n 0: call releasep, call h | ret\nh proc.py:30\n 0: set M.a | ret"
    )
    assert kinds(run(text, f=P)) == ["setter-with-p"]


# Recursion


def test_recursion_converges():
    text = """
even proc.py:10
    0: raw load | goto 1 2
    1: call odd | if 3 4
    2: call releasep | ret True
    3: raw load | ret True
    4: raw load | ret False
odd proc.py:20
    0: raw load | goto 1 2
    1: call even | if 3 4
    2: raw load | ret False
    3: raw load | ret True
    4: store M.a | ret False
f proc.py:30
    0: call even | if 1 2
    1: {} M.b | stop
    2: store M.c | stop
"""
    assert run(text.format("set"), f=P).ok
    assert kinds(run(text.format("store"), f=P)) == ["barrier"]


def test_a_function_that_only_calls_itself_never_returns():
    assert run("f proc.py:10\n 0: call g, store M.a | ret\ng proc.py:20\n 0: call g | ret", f=NONE).ok


# E7: pragmas


def test_yeswritebarrierrec_silences_what_runs_without_a_p_and_is_counted():
    text = """
f proc.py:10
    0: call boot | ret
boot proc.py:20 {}
    0: store M.a, alloc T, call g, call acquirep, call h, call releasep | ret
g proc.py:30
    0: store M.b, set M.c | ret
h proc.py:40
    0: store M.d | ret
"""
    report = run(text.format("yeswritebarrierrec"), f=NONE)
    assert report.ok
    assert report.trusted == ["go.boot"]
    assert report.no_p == ["go.f", "go.boot", "go.g", "go.acquirep", "go.releasep"]
    assert [site.field for site in report.functions["go.g"].plain_stores_trusted] == ["M.b"]
    assert [site.field for site in report.functions["go.h"].plain_stores_with_p] == ["M.d"]
    assert kinds(run(text.format(""), f=NONE)) == ["barrier", "alloc", "barrier"]


def test_trust_ends_where_there_is_a_p_again():
    text = """
boot proc.py:20 yeswritebarrierrec
    0: call acquirep, store M.a, {} call h, call releasep | ret
h proc.py:40
    0: store M.b, call releasep, {} call acquirep | ret
"""
    report = run(text.format("", ""), boot=NONE)
    assert report.ok
    assert [site.field for site in report.functions["go.boot"].plain_stores_with_p] == ["M.a"]
    assert kinds(run(text.format("set M.c,", ""), boot=NONE)) == ["setter-with-p"]
    assert kinds(run(text.format("", "store M.c,"), boot=NONE)) == ["barrier"]


def test_trust_does_not_cover_other_paths_and_keeps_the_states():
    text = """
f proc.py:10
    0: call boot, {} | ret
boot proc.py:20 yeswritebarrierrec
    0: call g, call releasep | ret
g proc.py:30
    0: store M.b | ret
"""
    assert run(text.format("raw load"), f=P).ok
    assert kinds(run(text.format("call g"), f=P)) == ["barrier"]
    assert kinds(run(text.format("raw load"), f=NONE)) == ["transition"]


def test_nowritebarrier_holds_for_the_function_itself_whatever_the_state():
    text = "f proc.py:10 nowritebarrier\n 0: {}, call g | ret\ng proc.py:20\n 0: store M.b | ret"
    assert run(text.format("raw load"), f=P).ok
    report = run(text.format("store M.a, store M.c"), f=P)
    assert [v.format_text() for v in report.violations] == [
        f"write barrier prohibited: store to {name}\n"
        "    f (proc.py:10), marked nowritebarrier\n"
        f"    proc.py:{line}: write barrier: store to {name}"
        for line, name in ((11, "M.a"), (12, "M.c"))
    ]


def test_nowritebarrierrec_reaches_through_helpers_pointers_and_stops_at_the_cut():
    text = """
f proc.py:10 nowritebarrierrec
    0: {} | ret
long proc.py:20
    0: call longer | ret
longer proc.py:22
    0: call g | ret
short proc.py:25
    0: call g | ret
g proc.py:30 {}
    0: through finish | ret
h proc.py:40
    0: address h finish, store M.b, store M.c | ret
"""
    for order in ("call long, call short", "call short, call long"):
        report = run(text.format(order, ""), f=P)
        assert [[row[2] for row in v.chain] for v in report.violations] == [
            [
                "f (proc.py:10), marked nowritebarrierrec",
                "calls short",
                "calls g",
                "calls h through finish",
                "write barrier: store to M.b",
            ]
        ]
        assert report.violations[0].message == "write barrier prohibited: store to M.b"
        assert run(text.format(order, "yeswritebarrierrec"), f=P).ok


def test_check_pragmas_judges_one_function_at_compile_time():
    infos = program("f proc.py:10 nowritebarrierrec\n 0: call f, call g | ret\ng proc.py:20\n 0: store M.b | ret")
    info = infos.pop("go.f")
    assert [v.kind for v in check_pragmas(info, infos)] == ["pragma"]
    assert check_pragmas(infos["go.g"], infos) == []
    del infos["go.g"]
    assert [v.message for v in check_pragmas(info, infos)] == ["calls an unknown function: go.g"]


# The report


def test_the_report_as_text():
    text = """
f proc.py:10
    0: store M.a, call releasep, set M.b, raw load | ret
g mp.py:10
    0: alloc T, store M.c | ret
"""
    report = run(text, primitives=PRIMITIVES, f=P, g=P)
    assert report.format_text() == (
        "write barriers: no violation; 4 functions checked, 1 of them run without a P, 0 trusted, 1 never reached\n"
        "file     stores with P  without  trusted  setters  allocs  raw\n"
        "mp.py                1        0        0        4       1    0\n"
        "proc.py              1        0        0        1       0    1"
    )
    detailed = report.format_text(details=True)
    assert "proc.py:13: f stores M.b by setPNoWriteBarrier, reachable by allp" in detailed
    assert "never reached: go.acquirep" in detailed
    assert "\n  releasep " in detailed
    bad = run(text, f=P, g=NONE).format_text().splitlines()
    assert bad[0] == "allocation without a P: new T"
    assert any(line.startswith("write barriers: 2 violations; ") for line in bad)


def test_files_of_the_same_name_are_told_apart():
    infos = program("f time.py:10\n 0: store M.a | ret\ng time.py:10\n 0: store M.a | ret")
    infos["go.g"].file = "src/types/time.py"
    text = check(infos, {"go.f": P, "go.g": P}).format_text()
    assert "\nsrc/time.py" in text
    assert "\ntypes/time.py" in text


def test_the_report_as_json():
    report = run("f proc.py:10\n 0: store M.a, call releasep, set M.b, store M.c | ret", f=P)
    data = json.loads(json.dumps(report.to_json()))
    assert (data["ok"], data["checked"], data["unreached"]) == (False, 3, ["go.acquirep"])
    assert (data["no_p"], data["trusted"]) == (["go.releasep"], [])
    assert data["violations"][0]["chain"][-1] == ["src/proc.py", 14, "write barrier: store to M.c"]
    function = data["functions"]["go.f"]
    assert (function["entered"], function["stores"]) == (["P"], 2)
    assert function["plain_stores_with_p"] == [{"line": 11, "field": "M.a"}]
    assert function["plain_stores_without_p"] == [{"line": 14, "field": "M.c"}]
    reason = {"file": "src/proc.py", "line": 13, "function": "f", "field": "M.b"}
    assert data["reasons"][-1] == {**reason, "setter": "setPNoWriteBarrier", "registry": "allp"}
    assert data["files"]["src/proc.py"]["stores_without_p"] == 1


def test_some_hundred_functions_take_a_fraction_of_a_second():
    rows = []
    for i in range(400):
        rows.append(f"f{i} proc.py:{i * 100}")
        work = "raw load, store M.a, raw store"
        for block in range(6):
            callee = f"call f{i + 1 + block}" if i + block < 399 else "raw load, raw load"
            rows.append(f"    {block}: {work}, {callee} | goto {block + 1} {block * (block % 2) + 1}")
        rows.append("    6: raw load | goto 7 8")
        rows.append(f"    7: call f{max(0, i - 50)} | goto 8")
        rows.append(f"    8: call releasep, call acquirep, {work} | ret")
    infos = program("\n".join(rows))
    assert sum(1 for info in infos.values() for _ in info.events()) > 12_000
    spent = []
    for _ in range(3):
        start = time.process_time()
        report = check(infos, {"go.f0": P, "go.f9": NONE})
        spent.append(time.process_time() - start)
    assert {"barrier", "merge"} <= set(kinds(report))
    assert min(spent) < 1.0, "some 0.1 s are usual"


# Against brute force


class Paths:
    """Follows every path of an acyclic program, in every choice, and collects what each meets.

    It knows nothing of lattices, summaries or orders: it is the definition of what the check must find.
    """

    def __init__(self, infos: dict[str, FuncInfo]) -> None:
        self.infos = infos
        self.found: set[tuple[str, str, int]] = set()
        self.arrivals: dict[tuple, set[State]] = {}
        self.setters: dict[tuple[str, int], set[State]] = {}
        self.known: dict[tuple[str, State], set[tuple[object, State]]] = {}

    def arrive(self, symbol: str, entry: State, place: object, state: State) -> None:
        self.arrivals.setdefault((symbol, entry, place), set()).add(state)

    def outcomes(self, symbol: str, entry: State) -> set[tuple[object, State]]:
        """All (result, state) in which a function can return."""
        if (symbol, entry) not in self.known:
            info = self.infos[symbol]
            self.arrive(symbol, entry, f"block {info.entry}", entry)
            self.known[symbol, entry] = set(self.block(info, entry, info.entry, entry))
        return self.known[symbol, entry]

    def block(self, info, entry, label, state):
        yield from self.events(info, entry, label, 0, state, info.succs[label])

    def events(self, info, entry, label, index, state, targets):
        events = info.blocks[label]
        while index < len(events) and events[index].kind != CALL:
            e = events[index]
            if e.kind == BARRIER and state is NONE:
                self.found.add(("barrier", info.symbol, e.line))
            if e.kind == SETTER:
                self.setters.setdefault((info.symbol, e.line), set()).add(state)
            index += 1
        if index == len(events):
            if label in info.returns:
                result = info.returns[label]
                for truth in {True: [True], "?": [True, False]}.get(result, [False]):
                    self.arrive(info.symbol, entry, truth, state)
                yield result, state
            for target in targets:
                self.arrive(info.symbol, entry, f"block {target}", state)
                yield from self.block(info, entry, target, state)
            return
        call = events[index]
        if call.name in STATE_TABLE:
            if state is STATE_TABLE[call.name]:
                self.found.add(("transition", info.symbol, call.line))
            results = {("?", STATE_TABLE[call.name])}
        else:
            results = self.outcomes(call.name, state)
        branch = info.branches.get(label)
        if branch is None or branch[0] != index:
            if len({after for _, after in results}) > 1:
                self.found.add(("ignored-result", info.symbol, call.line))
            for after in {after for _, after in results}:
                yield from self.events(info, entry, label, index + 1, after, targets)
            return
        for result, after in results:
            for truth, target in ((True, branch[1]), (False, branch[2])):
                if result == "?" or (result is True) == truth:
                    yield from self.events(info, entry, label, index + 1, after, (target,))

    def merges(self) -> set[str]:
        return {symbol for (symbol, _, _), states in self.arrivals.items() if len(states) > 1}


@st.composite
def programs(draw) -> dict[str, FuncInfo]:
    functions = draw(st.integers(1, 4))
    rows = []
    for f in range(functions):
        rows.append(f"f{f} proc.py:{100 * f}")
        callees = [f"call f{g}" for g in range(f + 1, functions)]
        event_texts = st.sampled_from([*callees, *callees, "call acquirep", "call releasep", "store M.a", "set M.b"])
        blocks = draw(st.integers(1, 5))
        for b in range(blocks):
            events = draw(st.lists(event_texts, max_size=3))
            later = st.integers(b + 1, blocks - 1)
            end = draw(st.sampled_from(["ret True", "ret False", "ret None", "ret ?", "stop", "ret"]))
            if b + 1 < blocks:
                two = f"{draw(later)} {draw(later)}"
                calls = any(text.startswith("call") for text in events)
                end = draw(st.sampled_from([f"if {two}" if calls else f"goto {two}", f"goto {draw(later)}", end]))
            rows.append(f"  {b}: {', '.join(events)} | {end}")
    return program("\n".join(rows))


@settings(max_examples=600, deadline=None)
@given(programs(), st.sampled_from([P, NONE]))
def test_the_check_agrees_with_the_enumeration_of_all_paths(infos, entry):
    report = check(infos, {"go.f0": entry})
    paths = Paths(infos)
    paths.outcomes("go.f0", entry)
    found = {
        (v.kind, v.function, v.chain[-1][1])
        for v in report.violations
        if v.function in {symbol for symbol, _ in paths.known} and v.kind not in ("merge", "setter-with-p")
    }
    merges = {v.function for v in report.violations if v.kind == "merge"}
    ignored = any(kind == "ignored-result" for kind, _, _ in found)
    # Whether something is wrong, and every barrier without a P, must agree always; the rest wherever the check had no
    # reason to guess "no P".
    assert bool(merges or found) == bool(paths.merges() or paths.found)
    assert {place for place in paths.found if place[0] == "barrier"} <= found
    if not ignored:
        assert bool(merges) == bool(paths.merges())
    if not ignored and not merges:
        assert found == paths.found
        idle = {(v.function, v.chain[-1][1]) for v in report.violations if v.kind == "setter-with-p"}
        expected = {place for place, states in paths.setters.items() if states == {P}}
        assert {place for place in idle if place[0] not in report.unreached} == expected
