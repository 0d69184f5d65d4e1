"""proc1.go's hunks that are in mp.py and runq.py: what each function does, and with which words it refuses.

One test per hunk of 41dbcc19ef09, in the order of the commit (docs/internals/seed.md).
"""

from __future__ import annotations

import threading

from tests.runtime.scheduler_native import (
    Record,
    behind_the_lock,
    empty_mcache,
    eventually,
    fresh,
    in_worker,
    last_words,
    linked,
    native,
    new,
    owned,
    started,
)

PIDLE, PRUNNING = 0, 1


# ---- newm, mstartfn


@in_worker
def test_newm_hands_over_the_p_and_a_static_function():
    """The new thread finds its P in nextp, has called the function whose address it was given, and is in allm."""
    s, pp, begun = fresh(), new("P"), started()
    begun.count = 0
    before = s.mcount
    native().t_newm(native().t_mspinning(), pp.address)
    eventually(lambda: begun.count == 1)
    assert (begun.nextp, begun.spinning) == (pp.address, 1)
    assert s.mcount == before + 1
    from gopark.runtime import runtime2

    assert begun.m in linked(s.allm, "M", "alllink")
    mp = Record(runtime2.M, begun.m)
    assert mp.mstartfn == native().t_mspinning(), "an integer: the address of code, not of a closure"
    assert (mp.p, mp.mcache) == (0, empty_mcache()), "nextp is a promise; the M owns nothing yet"
    assert Record(runtime2.G, mp.g0).m == mp.address


@in_worker
def test_newm_without_a_function():
    """mstartfn 0: the thread calls nothing."""
    fresh()
    begun, pp = started(), new("P")
    begun.count = 0
    native().t_newm(0, pp.address)
    eventually(lambda: begun.count == 1)
    assert (begun.nextp, begun.spinning) == (pp.address, 0)


# ---- startm


@in_worker
def test_startm_wakes_an_idle_m_with_the_p_as_its_next():
    """An idle M is taken off its list, told whether it spins, given the P, and woken."""
    s, mp, pp = fresh(), new("M"), new("P")
    native().t_mput(mp.address)
    native().t_startm(pp.address, 1)
    assert (mp.nextp, mp.spinning, mp.p) == (pp.address, 1, 0)
    assert mp.park & 0xFFFFFFFF == 1, "its note is set"
    assert (s.midle, s.nmidle) == (0, 0)


@in_worker
def test_startm_takes_an_idle_p():
    """Without a P of its own it takes one off the idle list; without any, it takes the spinning count back."""
    s, mp, pp = fresh(), new("M"), new("P")
    s.nmspinning = 1
    native().t_startm(0, 1)
    assert s.nmspinning == 0
    native().t_mput(mp.address)
    native().t_pidleput(pp.address)
    native().t_startm(0, 0)
    assert (mp.nextp, mp.spinning) == (pp.address, 0)
    assert (s.pidle, s.npidle) == (0, 0)


@in_worker
def test_startm_refuses_an_m_with_a_next_p():
    fresh()
    mp = new("M", nextp=new("P"))
    native().t_mput(mp.address)
    pp = new("P")
    said = last_words(lambda: native().t_startm(pp.address, 0))
    assert said.startswith("fatal error: startm: the M has a next P already")


# ---- acquirep, releasep


@in_worker
def test_acquirep_wires_three_links():
    """m.mcache, m.p and p.m, and the P runs."""
    mp, pp = owned()
    assert (mp.p, pp.m, pp.status, mp.mcache) == (pp.address, mp.address, PRUNNING, pp.mcache)


@in_worker
def test_acquirep_refuses():
    """An M that has a P; a P that has an M; a P that is not idle."""
    lib = native()
    mp, _ = owned()
    _, taken = owned()
    words = "fatal error: acquirep: "
    assert last_words(lambda: lib.t_acquirep(mp.address, new("P").address)).startswith(words + "the M has a P already")
    invalid = words + "invalid state of the P"
    assert last_words(lambda: lib.t_acquirep(new("M").address, taken.address)).startswith(invalid)
    running = new("P", status=PRUNNING)
    assert last_words(lambda: lib.t_acquirep(new("M").address, running.address)).startswith(invalid)


@in_worker
def test_releasep_undoes_them():
    """The links are gone, the P is idle and returned, and nothing can be allocated: the M has the empty cache."""
    mp, pp = owned()
    cache = pp.mcache
    assert native().t_releasep(mp.address) == pp.address
    assert (mp.p, pp.m, pp.status, mp.mcache) == (0, 0, PIDLE, empty_mcache())
    assert pp.mcache == cache, "the cache stays with its P"


@in_worker
def test_releasep_refuses():
    """An M without a P; a P that another M owns; a P that is not running."""
    lib = native()
    words = "fatal error: releasep: "
    assert last_words(lambda: lib.t_releasep(new("M").address)).startswith(words + "the M has no P")
    for broken in ({"m": new("M").address}, {"status": PIDLE}):
        mp, pp = owned()
        for name, value in broken.items():
            setattr(pp, name, value)
        assert last_words(lambda mp=mp: lib.t_releasep(mp.address)).startswith(words + "invalid state of the P")


@in_worker
def test_stopm_refuses():
    """An M that holds a P, or a lock, may not go to sleep."""
    lib = native()
    mp, _ = owned()
    assert last_words(lambda: lib.t_stopm(mp.address)).startswith("fatal error: stopm: the M holds a P")
    locked = new("M", locks=1)
    assert last_words(lambda: lib.t_stopm(locked.address)).startswith("fatal error: stopm: the M holds locks")


# ---- stoplockedm, startlockedm


def locked(status=1, **fields):
    """An M and a G, locked to each other; the G is runnable unless said otherwise."""
    mp = new("M", **fields)
    gp = new("G", lockedm=mp, atomicstatus=status)
    mp.lockedg = gp.address
    return mp, gp


@in_worker
def test_startlockedm_gives_its_own_p_to_the_m_of_the_goroutine():
    """The P goes from one M to the other as its nextp, in no list between; then the M that gave it sleeps, until
    somebody gives it another P."""
    s, lib = fresh(), native()
    s.nmidlelocked = 1
    other, gp = locked()
    mp, pp = owned()
    giver = threading.Thread(daemon=True, target=lib.t_startlockedm, args=(mp.address, gp.address))
    giver.start()
    eventually(lambda: s.midle == mp.address)
    assert (other.nextp, other.park & 0xFFFFFFFF) == (pp.address, 1)
    assert (pp.m, pp.status, mp.p, mp.mcache) == (0, PIDLE, 0, empty_mcache())
    assert (s.npidle, s.nmidle, s.nmidlelocked) == (0, 1, 0)
    back = new("P")
    lib.t_startm(back.address, 0)
    giver.join(20)
    assert (mp.p, mp.nextp, back.m) == (back.address, 0, mp.address)


@in_worker
def test_stoplockedm_hands_its_p_on_and_comes_back_with_the_one_it_was_given():
    """Without work the P becomes idle and the M sleeps, counted as idle and locked; it is woken with a P of its own."""
    s, lib = fresh(), native()
    mp, gp = locked()
    pp = new("P")
    lib.t_acquirep(mp.address, pp.address)
    s.nmspinning = 1  # so nobody else is started for the P
    s.gomaxprocs = 1
    before = started().poked
    sleeper = threading.Thread(daemon=True, target=lib.t_stoplockedm, args=(mp.address,))
    sleeper.start()
    eventually(lambda: s.nmidlelocked == 1 and started().poked == before + 1)
    assert linked(s.pidle, "P", "link") == [pp.address]
    assert (mp.p, mp.mcache, s.midle) == (0, empty_mcache(), 0), "not in the list of idle Ms: nobody else may wake it"
    giver, given = owned()
    second = threading.Thread(daemon=True, target=lib.t_startlockedm, args=(giver.address, gp.address))
    second.start()
    sleeper.join(20)
    assert (mp.p, mp.nextp, given.m) == (given.address, 0, mp.address)
    eventually(lambda: s.midle == giver.address)
    lib.t_startm(new("P").address, 0)
    second.join(20)


@in_worker
def test_startlockedm_refuses():
    """A goroutine that is locked to the M that found it; an M that was given a P already."""
    lib = native()
    mp, _ = owned()
    mine = new("G", lockedm=mp, atomicstatus=1)
    words = "fatal error: startlockedm: "
    assert last_words(lambda: lib.t_startlockedm(mp.address, mine.address)).startswith(words + "locked to me")
    _, gp = locked(nextp=new("P"))
    said = last_words(lambda: lib.t_startlockedm(mp.address, gp.address))
    assert said.startswith(words + "the M has a next P already")


@in_worker
def test_stoplockedm_refuses():
    """A G that is locked to another M; a wake-up while the G is not runnable."""
    lib = native()
    words = "fatal error: stoplockedm: "
    mp, gp = locked()
    gp.lockedm = new("M").address
    lib.t_acquirep(mp.address, new("P").address)
    assert last_words(lambda: lib.t_stoplockedm(mp.address)).startswith(words + "inconsistent locking")
    fresh().nmspinning = 1
    waiting, _ = locked(status=4, park=1)
    lib.t_acquirep(waiting.address, new("P").address)
    said = last_words(lambda: lib.t_stoplockedm(waiting.address))
    assert said.startswith(words + "the goroutine is not runnable")


# ---- mput, mget


@in_worker
def test_mput_and_mget_are_a_stack():
    s, lib = fresh(), native()
    ms = [new("M") for _ in range(3)]
    for i, mp in enumerate(ms):
        lib.t_mput(mp.address)
        assert s.nmidle == i + 1
    assert linked(s.midle, "M") == [mp.address for mp in reversed(ms)]
    assert [lib.t_mget() for _ in range(4)] == [*(mp.address for mp in reversed(ms)), 0]
    assert (s.midle, s.nmidle) == (0, 0), "an empty list is not counted below 0"


# ---- globrunqput


@in_worker
def test_globrunqput_appends():
    """First in, first out, and the new tail ends the list, whatever it was linked to before."""
    s, lib = fresh(), native()
    gs = [new("G") for _ in range(3)]
    for i, gp in enumerate(gs):
        gp.schedlink = gs[0].address  # left over from another list
        lib.t_globrunqput(gp.address)
        assert (s.runqsize, s.runqtail) == (i + 1, gp.address)
    assert linked(s.runqhead, "G") == [gp.address for gp in gs]


# ---- pidleput, pidleget


@in_worker
def test_pidleput_and_pidleget_are_a_stack():
    s, lib = fresh(), native()
    ps = [new("P") for _ in range(3)]
    for i, pp in enumerate(ps):
        lib.t_pidleput(pp.address)
        assert s.npidle == i + 1
    assert linked(s.pidle, "P", "link") == [pp.address for pp in reversed(ps)]
    assert [lib.t_pidleget() for _ in range(4)] == [*(pp.address for pp in reversed(ps)), 0]
    assert (s.pidle, s.npidle) == (0, 0), "an empty list is not counted below 0"


@in_worker
def test_handoffp():
    """A P with work goes to an M; one without, while another M looks for work, becomes idle."""
    s, lib = fresh(), native()
    mp, busy, idle = new("M"), new("P"), new("P")
    lib.t_mput(mp.address)
    lib.t_runqput(busy.address, new("G").address, 0)
    lib.t_handoffp(busy.address)
    assert (mp.nextp, mp.spinning) == (busy.address, 0)
    s.nmspinning = 1
    lib.t_handoffp(idle.address)
    assert linked(s.pidle, "P", "link") == [idle.address]
    other = new("M")
    lib.t_mput(other.address)
    s.nmspinning = s.npidle = s.pidle = 0
    lib.t_handoffp(idle.address)  # nobody looks for work and no P is idle: somebody should look
    assert (other.nextp, other.spinning, s.nmspinning) == (idle.address, 1, 1)


@in_worker
def test_handoffp_looks_at_the_global_queue_again_under_the_lock():
    """What comes between the first look and the lock is not left beside an idle P."""
    s, lib = fresh(), native()
    s.nmspinning = 1  # so it goes on to the lock
    mp, pp, gp = new("M"), new("P"), new("G")
    lib.t_mput(mp.address)
    behind_the_lock(lambda: lib.t_handoffp(pp.address), lambda: lib.t_globrunqputlocked(gp.address))
    assert (mp.nextp, s.pidle, s.npidle) == (pp.address, 0, 0)


@in_worker
def test_of_two_that_hand_a_p_over_one_starts_a_spinning_m():
    """MP3: at the same instant, 100 000 times; the Ms that were told to spin are the ones that are counted."""
    lib, rounds = native(), 100_000
    s = fresh()
    started().arrived = 0
    ms, (mine, other) = [new("M"), new("M")], (new("P"), new("P"))
    second = threading.Thread(daemon=True, target=lib.t_hands_over, args=(other.address, rounds))
    second.start()
    wrong = lib.t_hands_over_and_counts(mine.address, ms[0].address, ms[1].address, rounds)
    second.join()
    fresh()
    assert wrong == 0
    assert s.nmspinning == 0
