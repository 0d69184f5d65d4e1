"""The thread in go.run: when it finds a run dead, whom it helps; and the claim of goroutines whose run ends.

The functions are called from Python, with goroutines that never run: the tests write their status.
"""

from __future__ import annotations

import threading
import time

from tests.runtime.images import Record
from tests.runtime.scheduler_native import in_worker_with_runs, native, new, sched
from tests.runtime.test_proc import GRUNNABLE, GWAITING, machine, put

GDEAD = 6
RUN_WAIT, RUN_DEAD = 0, 2


def a_run(goroutines=2, status=GWAITING):
    """A run with so many goroutines, all of the same status."""
    from gopark.runtime import runtime2

    _, lib, *_ = machine(2)
    run = Record(runtime2.Run, lib.t_newrun())
    gs = [Record(runtime2.G, lib.t_newgoroutine(run.address)) for _ in range(goroutines)]
    for gp in gs:
        gp.atomicstatus = status
    return lib, run, gs


# ---- a dead run


@in_worker_with_runs
def test_a_run_is_asleep_if_all_of_its_goroutines_are_parked():
    """The look tells one set of parks from another; 0: somebody may still run, or nobody is there."""
    lib, run, (a, b) = a_run()
    look = lib.t_lookrun(run.address)
    assert look != 0
    assert lib.t_lookrun(run.address) == look
    a.parkseq += 1  # it was awake meanwhile
    assert lib.t_lookrun(run.address) not in (0, look)
    b.atomicstatus = GRUNNABLE
    assert lib.t_lookrun(run.address) == 0
    b.atomicstatus = GDEAD
    assert lib.t_lookrun(run.address) != 0
    a.atomicstatus = GDEAD
    assert lib.t_lookrun(run.address) == 0, "nobody is there"


@in_worker_with_runs
def test_goroutines_of_other_runs_do_not_count():
    lib, run, _ = a_run()
    look = lib.t_lookrun(run.address)
    a_run(status=GRUNNABLE)
    assert lib.t_lookrun(run.address) == look


@in_worker_with_runs
def test_two_looks_that_see_the_same_find_a_run_dead():
    """One look may pass a goroutine just before another one wakes it."""
    lib, run, (a, _) = a_run()
    assert [lib.runwait(run.address) for _ in range(2)] == [RUN_WAIT, RUN_DEAD]
    a.parkseq += 1
    assert [lib.runwait(run.address) for _ in range(2)] == [RUN_WAIT, RUN_DEAD]


@in_worker_with_runs
def test_the_second_look_comes_at_once_if_all_ps_are_idle():
    lib, run, (a, _) = a_run()
    run.poke = 1
    assert lib.runwait(run.address) == RUN_DEAD
    assert run.poke == 0
    a.atomicstatus, run.poke = GRUNNABLE, 1
    assert lib.runwait(run.address) == RUN_WAIT


@in_worker_with_runs
def test_a_run_that_ends_is_not_dead():
    """Whoever ends it waits for goroutines that are parked, and is about to wake them."""
    lib, run, _ = a_run()
    run.ended = 1
    assert [lib.runwait(run.address) for _ in range(3)] == [RUN_WAIT] * 3


@in_worker_with_runs
def test_only_runs_that_somebody_waits_for_are_poked():
    lib, run, _ = a_run()
    _, other, _ = a_run()
    assert (run.inuse, other.inuse) == (1, 1)
    other.inuse = 0
    lib.t_pokeruns()
    assert (run.poke, other.poke) == (1, 0)


# ---- help for those that wait behind a goroutine that does not switch (R4)


def behind(idle=()):
    """P 0 runs a goroutine and has another one in its ring; two slices and switches have been seen."""
    s, lib, mp, ps = machine(2, idle)
    running, waiting = new("G"), new("G")
    mp.curg = running.address
    put(ps[0], waiting)
    ps[0].slicetick = ps[0].schedtick = 7
    lib.t_lookps()
    assert (ps[0].sliceover, running.preempt) == (0, 0), "the first look only notes where it is"
    return s, lib, ps, running


@in_worker_with_runs
def test_a_slice_is_over_when_a_second_look_finds_the_same_one():
    _, lib, ps, running = behind()
    ps[0].schedtick += 1  # two that wake each other share one slice
    lib.t_lookps()
    assert (ps[0].sliceover, running.preempt) == (1, 1)


@in_worker_with_runs
def test_a_new_slice_is_not_over():
    _, lib, ps, running = behind()
    ps[0].slicetick += 1
    lib.t_lookps()
    assert (ps[0].sliceover, running.preempt) == (0, 0)


@in_worker_with_runs
def test_nobody_is_preempted_for_nobody():
    _, lib, ps, running = behind()
    lib.t_runqget(ps[0].address)
    ps[0].slicetick = 7
    lib.t_lookps()
    assert (ps[0].sliceover, running.preempt) == (0, 0)


@in_worker_with_runs
def test_a_thief_is_woken_if_a_p_is_idle():
    """Rather than that somebody has to yield; but not for a pair that wakes each other, which takes no turn away."""
    for switches, woken in ((0, True), (1, False)):
        s, lib, ps, running = behind(idle=(1,))
        sleeper = new("M")
        lib.t_mput(sleeper.address)
        ps[0].schedtick += switches
        lib.t_lookps()
        assert (ps[0].sliceover, running.preempt) == (0, 0)
        assert (sleeper.nextp == ps[1].address, s.nmspinning) == (woken, int(woken))


# ---- the claim of a goroutine whose run has ended (R2)


def meanwhile(gp, l, change):
    """Let another thread wait for the lock of a G that it wants to claim, make the change, and give it the lock.
    Returns when it is done. It is made again if the thread came too late to see how the G was before."""
    while True:
        l.key, gp.waitlock = 1, l.address
        thread = threading.Thread(daemon=True, target=native().t_claimended, args=(0, gp.address, gp.goid))
        thread.start()
        time.sleep(0.05)
        late = change()
        l.key = 0
        thread.join(1)
        if not thread.is_alive():
            return
        gp.atomicstatus = GRUNNABLE
        late.key = 0
        thread.join()
        gp.atomicstatus = GWAITING


@in_worker_with_runs
def test_who_waits_for_nothing_is_left_alone():
    """Its stack was given back meanwhile, and reads as zeros but for the status."""
    gp = new("G", atomicstatus=GWAITING)
    native().t_claimended(0, gp.address, gp.goid)
    assert (gp.atomicstatus, gp.ended) == (GWAITING, 0)


@in_worker_with_runs
def test_who_waits_for_something_else_by_now_is_left_alone():
    """Its lock is another one, so the one that was taken does not protect it."""
    gp, first, second = new("G", atomicstatus=GWAITING), new("Mutex"), new("Mutex", key=1)

    def parks_elsewhere():
        gp.waitlock = second.address
        return second

    meanwhile(gp, first, parks_elsewhere)
    assert (gp.atomicstatus, gp.ended) == (GWAITING, 0)


@in_worker_with_runs
def test_another_goroutine_in_the_same_place_is_left_alone():
    """The one that was meant has ended; who has its G now waits under the same lock."""
    l = new("Mutex")
    gp = new("G", atomicstatus=GWAITING, goid=8, waitlock=l.address)
    native().t_claimended(0, gp.address, 7)
    assert (gp.atomicstatus, gp.ended, l.key) == (GWAITING, 0, 0)


@in_worker_with_runs
def test_who_was_claimed_by_another_keeps_what_it_was_given():
    gp, l = new("G", atomicstatus=GWAITING), new("Mutex")

    def is_claimed():
        gp.param, gp.atomicstatus = 4711, GRUNNABLE
        return l

    meanwhile(gp, l, is_claimed)
    assert (gp.atomicstatus, gp.ended, gp.param) == (GRUNNABLE, 0, 4711)
    sched().allruns = 0
