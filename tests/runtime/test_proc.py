"""What the scheduler decides (proc.py): where an M looks for its next goroutine, in which order, what it looks at again
before it sleeps, and who wins when two decide at once.

The functions are called from Python with Ms and Ps that the tests make; `allp` and the lists are theirs.
"""

from __future__ import annotations

import threading

from tests.runtime.scheduler_native import (
    behind_the_lock,
    fresh,
    in_worker_with_runs,
    linked,
    native,
    new,
    sched,
    started,
)

GRUNNABLE, GWAITING = 1, 4
FAIRNESS = 61


def machine(procs=2, idle=()):
    """So many Ps, of which those in `idle` are in the list of idle ones, and an M that owns P 0 unless that is idle."""
    s, lib = fresh(), native()
    s.gomaxprocs = procs
    ps = [new("P", id=i, rand=i) for i in range(procs)]
    for i, pp in enumerate(ps):
        lib.t_setallp(i, pp.address)
    for i in idle:
        lib.t_pidleput(ps[i].address)
    mp = new("M")
    if 0 not in idle:
        lib.t_acquirep(mp.address, ps[0].address)
    return s, lib, mp, ps


def someone_in_go_run():
    """A thread waits for this run."""
    run = new("Run", inuse=1)
    sched().allruns = run.address
    return run


def put(pp, gp, next=False):
    native().t_runqput(pp.address, gp.address, next)


# ---- an M that gives up looking (SC6)


@in_worker_with_runs
def test_who_gives_up_looking_looks_at_all_queues_once_more():
    """A G in a ring, in a runnext or in the global queue: the M takes a P, spins again, and says so."""
    for place in ("ring", "runnext", "global"):
        s, lib, mp, ps = machine(3, idle=(0, 1))
        gp = new("G")
        if place == "global":
            lib.t_globrunqput(gp.address)
        else:
            put(ps[2], gp, place == "runnext")
        mp.spinning = s.nmspinning = 1
        assert lib.t_findrunnable_nop(mp.address) == 1, place
        assert (mp.p, mp.spinning, s.nmspinning, s.npidle) == (ps[1].address, 1, 1, 1), place


@in_worker_with_runs
def test_who_gives_up_looking_and_finds_nothing_does_not_count_any_more():
    s, lib, mp, ps = machine(2, idle=(0,))
    mp.spinning = s.nmspinning = 1
    run = someone_in_go_run()
    assert lib.t_findrunnable_nop(mp.address) == 0
    assert (mp.p, mp.spinning, s.nmspinning) == (0, 0, 0)
    assert run.poke == 0, "P 1 is at work: no run can be dead"
    put(ps[1], new("G"))
    mp.spinning = s.nmspinning = 1
    lib.t_pidleget()
    assert lib.t_findrunnable_nop(mp.address) == 0, "there is work, but no P"
    assert (mp.p, mp.spinning, s.nmspinning) == (0, 0, 0)


@in_worker_with_runs
def test_the_last_p_that_becomes_idle_is_reported():
    """The threads in go.run look for a deadlock then."""
    _, lib, mp, _ = machine(2, idle=(0, 1))
    run = someone_in_go_run()
    assert lib.t_findrunnable_nop(mp.address) == 0
    assert run.poke == 1


@in_worker_with_runs
def test_who_found_work_is_replaced_if_it_was_the_last_one_that_looked():
    s, lib, mp, ps = machine(2, idle=(1,))
    sleeper = new("M")
    lib.t_mput(sleeper.address)
    mp.spinning, s.nmspinning = 1, 2
    lib.t_resetspinning(mp.address)
    assert (mp.spinning, s.nmspinning, sleeper.nextp) == (0, 1, 0), "another one still looks"
    mp.spinning = 1
    lib.t_resetspinning(mp.address)
    assert (mp.spinning, s.nmspinning, sleeper.nextp, sleeper.spinning) == (0, 1, ps[1].address, 1)


# ---- where an M looks, in which order


@in_worker_with_runs
def test_its_own_queue_comes_first_and_then_its_share_of_the_global_one():
    s, lib, mp, ps = machine(2)
    mine, other = new("G"), new("G")
    lib.t_globrunqput(other.address)
    put(ps[0], mine)
    assert [lib.t_findrunnable(mp.address) for _ in range(2)] == [mine.address, other.address]
    assert s.runqsize == 0


@in_worker_with_runs
def test_the_global_queue_comes_first_after_so_many_slices():
    """61 switches that begin a time slice; after one look the count begins anew."""
    s, lib, mp, ps = machine(2)
    gs = [new("G") for _ in range(2)]
    for gp in gs:
        lib.t_globrunqput(gp.address)
    for _ in range(200):
        put(ps[0], new("G"))
    found = [lib.t_findrunnable(mp.address) for _ in range(3 * FAIRNESS)]
    assert [found.index(gp.address) for gp in gs] == [FAIRNESS, 2 * FAIRNESS]
    assert s.runqsize == 0


@in_worker_with_runs
def test_the_end_of_a_slice_puts_runnext_behind_all_that_wait():
    """The global queue first, then the ring, then what was to run next."""
    _, lib, mp, ps = machine(2)
    elsewhere, waiting, next = (new("G") for _ in range(3))
    lib.t_globrunqput(elsewhere.address)
    put(ps[0], waiting)
    put(ps[0], next, True)
    ps[0].sliceover = 1
    found = [lib.t_findrunnable(mp.address) for _ in range(3)]
    assert found == [elsewhere.address, waiting.address, next.address]
    assert ps[0].sliceover == 0


@in_worker_with_runs
def test_who_steals_counts_as_spinning_unless_half_of_the_busy_already_do():
    s, lib, mp, ps = machine(4)
    gp = new("G")
    put(ps[1], gp)
    assert lib.t_findrunnable(mp.address) == gp.address
    assert (mp.spinning, s.nmspinning) == (1, 1)
    put(ps[1], gp)
    assert lib.t_findrunnable(mp.address) == gp.address
    assert (mp.spinning, s.nmspinning) == (1, 1), "counted once"


@in_worker_with_runs
def test_what_comes_to_the_global_queue_after_the_first_look_is_found_before_the_p_is_given_away():
    """The M does not spin, because another one does: nobody would look again for it."""
    s, lib, mp, ps = machine(2)
    s.nmspinning = 1
    gp, found = new("G"), []
    behind_the_lock(lambda: found.append(lib.t_findrunnable(mp.address)), lambda: lib.t_globrunqputlocked(gp.address))
    assert found == [gp.address]
    assert (mp.p, mp.spinning, s.npidle) == (ps[0].address, 0, 0)


@in_worker_with_runs
def test_who_finds_nothing_gives_its_p_away_and_sleeps_until_it_gets_one():
    s, lib, mp, ps = machine(2)
    s.nmspinning = 1
    found = []
    thread = threading.Thread(daemon=True, target=lambda: found.append(lib.t_findrunnable(mp.address)))

    def wake():
        gp = new("G")
        put(ps[1], gp)
        lib.t_startm(ps[1].address, 0)
        return gp.address

    thread.start()
    while s.midle != mp.address:
        pass
    assert linked(s.pidle, "P", "link") == [ps[0].address]
    gp = wake()
    thread.join(20)
    assert (found, mp.p) == ([gp], ps[1].address)


@in_worker_with_runs
def test_thieves_begin_with_different_victims():
    """Of four Ps, three with work: within a hundred thefts each is the first victim several times."""
    _, lib, mp, ps = machine(4)
    owner = {}
    for pp in ps[1:]:
        for _ in range(200):
            gp = new("G")
            owner[gp.address] = pp.id
            put(pp, gp)
    first = []
    for _ in range(100):
        gp = lib.t_stealwork(ps[0].address, 4)
        first.append(owner[gp])
        batch = [gp]
        while g := lib.t_runqget(ps[0].address):
            batch.append(g)
        for g in batch:  # back to whom it was taken from
            lib.t_runqput(ps[owner[gp]].address, g, 0)
    assert min(first.count(i) for i in (1, 2, 3)) > 10, first


@in_worker_with_runs
def test_runnext_is_stolen_if_there_is_nothing_else():
    """From the second victim too, in the last round; a ring goes before it, wherever."""
    _, lib, mp, ps = machine(3)
    next, waiting = new("G"), new("G")
    put(ps[1], next, True)
    put(ps[2], waiting)
    assert [lib.t_stealwork(ps[0].address, 3) for _ in range(3)] == [waiting.address, next.address, 0]


# ---- yielding with an empty queue, or for the 61st time


@in_worker_with_runs
def test_who_yields_lets_the_global_queue_go_first_and_robs_others_only_now_and_then():
    _, lib, mp, ps = machine(2)
    elsewhere, mine, stolen = (new("G") for _ in range(3))
    lib.t_globrunqput(elsewhere.address)
    put(ps[0], mine)
    put(ps[1], stolen)
    assert [lib.t_yieldto(ps[0].address, FAIRNESS) for _ in range(2)] == [elsewhere.address, mine.address]
    assert lib.t_yieldto(ps[0].address, FAIRNESS + 1) == 0
    assert lib.t_yieldto(ps[0].address, 2 * FAIRNESS) == stolen.address


# ---- whoever makes a goroutine stealable looks for an idle P (W2)


def beside_an_idle_p():
    """P 0 is at work, P 1 is idle, and an M sleeps that could run it."""
    s, lib, mp, ps = machine(2, idle=(1,))
    sleeper = new("M")
    lib.t_mput(sleeper.address)
    return s, lib, mp, ps, sleeper


@in_worker_with_runs
def test_who_yields_may_run_elsewhere():
    """Its switch put it into the ring, or into the global queue: an M is woken, which looks for work."""
    from gopark.runtime import runtime2

    for action, queued in ((runtime2.ACT_YIELD, "ring"), (runtime2.ACT_YIELDGLOBAL, "global")):
        s, lib, mp, ps, sleeper = beside_an_idle_p()
        gp = new("G", atomicstatus=GRUNNABLE)
        mp.prev = gp.address
        lib.t_finish(mp.address, action)
        assert (s.runqhead == gp.address) == (queued == "global")
        assert (ps[0].runqtail - ps[0].runqhead == 1) == (queued == "ring")
        assert (sleeper.nextp, sleeper.spinning) == (ps[1].address, 1), queued


@in_worker_with_runs
def test_what_is_put_behind_others_may_run_elsewhere():
    """The end of a slice moves what was in runnext into the ring."""
    _, lib, _, ps, sleeper = beside_an_idle_p()
    put(ps[0], new("G"), True)
    lib.t_demotenext(ps[0].address)
    assert (sleeper.nextp, sleeper.spinning) == (ps[1].address, 1)


# ---- claims


@in_worker_with_runs
def test_a_goroutine_is_claimed_once():
    """claim and claimlocked: the second one is told that it lost, whatever it would like to do with the G."""
    for claim in (native().t_claim, native().t_claimlocked):
        gp = new("G", atomicstatus=GWAITING)
        assert (claim(gp.address), gp.atomicstatus) == (1, GRUNNABLE)
        assert claim(gp.address) == 0
        gp.atomicstatus = 2
        assert (claim(gp.address), gp.atomicstatus) == (0, 2), "it runs already"


def at_once(first, second):
    """The result of the first one, called while another thread is in the second."""
    started().arrived = 0
    thread = threading.Thread(daemon=True, target=second)
    thread.start()
    result = first()
    thread.join()
    return result


@in_worker_with_runs
def test_of_two_that_claim_at_the_same_instant_one_wins():
    """100 000 times."""
    lib, gp, rounds = native(), new("G"), 100_000
    wrong = at_once(lambda: lib.t_claims(gp.address, rounds, 1), lambda: lib.t_claims(gp.address, rounds, 0))
    assert wrong == 0


@in_worker_with_runs
def test_the_end_of_a_slice_and_a_thief_take_runnext_once():
    """100 000 times at about the same instant: the G is in one place."""
    _, lib, mp, ps = machine(1)
    thief, gp, rounds = new("P", id=1), new("G"), 100_000
    wrong = at_once(
        lambda: lib.t_demotes(ps[0].address, gp.address, rounds),
        lambda: lib.t_robs(thief.address, ps[0].address, rounds),
    )
    sched().gomaxprocs = 1
    assert wrong == 0
