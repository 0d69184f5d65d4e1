"""Run queues: against a model of lists, in every detail of their memory; and a storm of thieves that may lose no G.

The model states what runq.py promises: a ring of 256 with a place for the next one beside it, half of a full ring to
the global queue in order, half of a victim's ring to a thief, a fair share of the global queue to a P.
"""

from __future__ import annotations

import ctypes
import functools
import threading

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.runtime.scheduler_native import in_worker, linked, native, new, sched, started

RING, HALF = 256, 128
PROCS = 2
GOROUTINES = 3 * RING


@functools.cache
def goroutines() -> list[int]:
    """Addresses of Gs; their place in this list is their name."""
    records = [new("G") for _ in range(GOROUTINES)]
    goroutines.keep = records
    return [record.address for record in records]


class Queues:
    """The model beside the machine: each operation is done to both, and `agree` compares them."""

    def __init__(self):
        self.free = list(goroutines())
        self.global_: list[int] = []
        self.ring: list[list[int]] = [[] for _ in range(PROCS)]
        self.next: list[int] = [0] * PROCS
        self.ps = [new("P", id=i) for i in range(PROCS)]
        s = sched()
        s.runqhead = s.runqtail = s.runqsize = s.urgent = 0
        self.urgent = 0
        s.gomaxprocs = PROCS

    # -- operations

    def put(self, p: int, count: int, as_next: bool):
        for _ in range(min(count, len(self.free))):
            gp = self.free.pop(0)
            native().t_runqput(self.ps[p].address, gp, as_next)
            if as_next:
                gp, self.next[p] = self.next[p], gp
            if gp:
                self._append(p, gp)

    def _append(self, p: int, gp: int):
        ring = self.ring[p]
        if len(ring) < RING:
            ring.append(gp)
        else:
            self.global_ += [*ring[:HALF], gp]
            del ring[:HALF]

    def get(self, p: int, count: int):
        for _ in range(count):
            got = native().t_runqget(self.ps[p].address)
            if self.next[p]:
                wanted, self.next[p] = self.next[p], 0
            else:
                wanted = self.ring[p].pop(0) if self.ring[p] else 0
            self._took(got, wanted)

    def steal(self, thief: int, steal_next: bool):
        """A thief has looked at its own queue first, so it is empty."""
        victim = 1 - thief
        if self.ring[thief]:
            self.get(thief, len(self.ring[thief]) + 1)
        got = native().t_runqsteal(self.ps[thief].address, self.ps[victim].address, steal_next)
        ring = self.ring[victim]
        batch = ring[: len(ring) - len(ring) // 2]
        if batch:
            del ring[: len(batch)]
            wanted = batch.pop()
            self.ring[thief] += batch
        elif steal_next:
            wanted, self.next[victim] = self.next[victim], 0
        else:
            wanted = 0
        self._took(got, wanted)

    def put_global(self, count: int):
        for _ in range(min(count, len(self.free))):
            gp = self.free.pop(0)
            native().t_globrunqput(gp)
            self.global_.append(gp)

    def put_urgent(self, count: int):
        for _ in range(min(count, len(self.free))):
            gp = self.free.pop(0)
            native().t_globrunqputhead(gp)
            self.global_.insert(0, gp)
            self.urgent += 1

    def get_global(self, p: int, most: int):
        """More than one at a time is taken only by a P whose own ring is empty."""
        if self.ring[p] and most != 1:
            self.get(p, len(self.ring[p]) + 1)
        got = native().t_globrunqget(self.ps[p].address, most)
        size = len(self.global_)
        share = min(size, size // PROCS + 1, most or size, HALF)
        if self.urgent:
            share = 1
            self.urgent -= 1
        batch, self.global_ = self.global_[:share], self.global_[share:]
        wanted = batch.pop(0) if batch else 0
        self.ring[p] += batch
        self._took(got, wanted)

    def _took(self, got: int, wanted: int):
        names = {gp: i for i, gp in enumerate(goroutines())}
        assert got == wanted, f"got {names.get(got)}, wanted {names.get(wanted)}"
        if got:
            self.free.append(got)

    # -- comparison

    def agree(self):
        s = sched()
        assert linked(s.runqhead, "G") == self.global_
        assert (s.runqsize, s.urgent) == (len(self.global_), self.urgent)
        assert s.runqtail == (self.global_[-1] if self.global_ else 0)
        for p, ring, following in zip(self.ps, self.ring, self.next, strict=True):
            assert [p.word("runq", i % RING).value for i in range(p.runqhead, p.runqtail)] == ring
            assert p.runnext == following
            assert native().t_runqempty(p.address) == (not ring and not following)
        everywhere = [*self.free, *self.global_, *sum(self.ring, []), *filter(None, self.next)]
        assert sorted(everywhere) == sorted(goroutines()), "a G is lost, or in two places"


ps, flags = st.integers(0, PROCS - 1), st.booleans()
OPERATIONS = st.one_of(
    st.tuples(st.just("put"), ps, st.sampled_from([1, 2, 3, 100, RING, RING + 1]), flags),
    st.tuples(st.just("get"), ps, st.sampled_from([1, 2, 50, HALF])),
    st.tuples(st.just("steal"), ps, flags),
    st.tuples(st.just("put_global"), st.sampled_from([1, 2, 5, 300])),
    st.tuples(st.just("put_urgent"), st.sampled_from([1, 2, 5])),
    st.tuples(st.just("get_global"), ps, st.sampled_from([0, 1, 2, 10])),
)


@in_worker
@settings(max_examples=150, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(st.lists(OPERATIONS, min_size=1, max_size=25))
def test_queues_agree_with_their_model(operations):
    """Whatever is done in whatever order: every word of the queues is as the model says."""
    queues = Queues()
    for name, *arguments in operations:
        getattr(queues, name)(*arguments)
        queues.agree()


@in_worker
def test_first_in_first_out():
    """The ring keeps the order of arrival, also when its counters have gone round many times."""
    queues = Queues()
    for _ in range(20):
        queues.put(0, 100, False)
        queues.get(0, 100)
    assert queues.ps[0].runqtail == 2000, "the counters are never wound back"
    queues.agree()


@in_worker
def test_runnext_goes_first_and_displaces():
    """The G made ready last runs next; the one before it goes to the tail of the ring, behind those that wait."""
    queues = Queues()
    a, b, c, d = queues.free[:4]
    queues.put(0, 2, False)
    queues.put(0, 2, True)
    p = queues.ps[0]
    assert (p.runnext, queues.ring[0]) == (d, [a, b, c])
    taken = [native().t_runqget(p.address) for _ in range(5)]
    assert taken == [d, a, b, c, 0]


@in_worker
def test_full_ring_moves_half_to_the_global_queue_in_order():
    """The 257th G does not fit: the first 128 and itself go as one batch behind what is in the global queue."""
    queues = Queues()
    gs = list(queues.free)
    queues.put_global(1)
    queues.put(0, RING, False)
    assert sched().runqsize == 1
    queues.put(0, 1, False)
    assert linked(sched().runqhead, "G") == [gs[0], *gs[1 : HALF + 1], gs[RING + 1]]
    assert sched().runqsize == HALF + 2
    queues.agree()
    queues.get(0, 1)  # the ring goes on with the second half
    assert queues.free[-1] == gs[HALF + 1]


@in_worker
def test_displaced_next_overflows_too():
    """A full ring and a next one: readying another displaces the next one into the ring, which overflows."""
    queues = Queues()
    queues.put(0, RING, False)
    queues.put(0, 2, True)
    assert sched().runqsize == HALF + 1
    queues.agree()


@in_worker
def test_steal_takes_the_larger_half():
    """n - n/2 of n, the oldest ones; the last of them is what runs, the others keep their order."""
    for count in (1, 2, 3, 255, 256):
        queues = Queues()
        gs = list(queues.free)
        queues.put(1, count, False)
        taken = count - count // 2
        mine, others = queues.ps
        assert native().t_runqsteal(mine.address, others.address, 0) == gs[taken - 1]
        assert [mine.word("runq", i).value for i in range(mine.runqtail)] == gs[: taken - 1]
        assert (others.runqhead, others.runqtail) == (taken, count)


@in_worker
def test_next_is_stolen_only_when_asked_for():
    """runnext is about to run where it is: thieves leave it alone until their last round."""
    queues = Queues()
    gp = queues.free[0]
    queues.put(1, 1, True)
    thief, victim = (p.address for p in queues.ps)
    assert native().t_runqsteal(thief, victim, 0) == 0
    assert native().t_runqsteal(thief, victim, 1) == gp
    assert native().t_runqsteal(thief, victim, 1) == 0


@in_worker
def test_share_of_the_global_queue():
    """size/procs + 1, at most what was asked for, at most half a ring; 0 from an empty queue."""
    for size, most, share in [(0, 0, 0), (1, 0, 1), (2, 0, 2), (10, 0, 6), (10, 3, 3), (10, 1, 1), (600, 0, HALF)]:
        queues = Queues()
        queues.put_global(size)
        queues.get_global(0, most)
        assert size - sched().runqsize == share, (size, most)
        queues.agree()


@in_worker
def test_nothing_is_lost_or_taken_twice_among_thieves():
    """One owner puts and takes, three thieves steal, natively and at once: every G is taken by exactly one of them."""
    for _ in range(5):
        _storm(200_000)


def _storm(count):
    lib, s = native(), sched()
    s.runqhead = s.runqtail = s.runqsize = 0
    s.gomaxprocs = 1
    started().count = 0
    size = new("G").cls.size
    memory = (ctypes.c_int64 * (count * size // 8 + 8))()
    base = (ctypes.addressof(memory) + 63) & -64
    gs = (ctypes.c_int64 * count)(*range(base, base + count * size, size))
    owner, *thieves = [new("P", id=i) for i in range(4)]
    outs = [(ctypes.c_int64 * count)() for _ in range(4)]
    took = [0] * 4

    def steal(i):
        took[i] = lib.t_thief(thieves[i - 1].address, owner.address, ctypes.addressof(outs[i]))

    threads = [threading.Thread(daemon=True, target=steal, args=(i,)) for i in (1, 2, 3)]
    for thread in threads:
        thread.start()
    took[0] = lib.t_owner(owner.address, ctypes.addressof(gs), count, ctypes.addressof(outs[0]))
    for thread in threads:
        thread.join()
    taken = [g for out, n in zip(outs, took, strict=True) for g in out[:n]]
    while gp := lib.t_globrunqget(owner.address, 1):
        taken.append(gp)
    assert len(taken) == count
    assert sorted(taken) == list(gs)


# ---- nobody overlooks the other


@in_worker
def test_a_producer_and_one_who_gives_up_looking_see_each_other():
    """W3: the one stores into its ring and then reads who looks for work; the other says that it does not any more and
    then reads the ring. Without a fence both can read old values: 100 000 tries at the same instant."""
    lib, s, rounds = native(), sched(), 100_000
    s.gomaxprocs, s.nmspinning, s.npidle = 2, 0, 0
    s.pidle = s.midle = s.nmidle = started().arrived = 0
    producing, idle = new("P", id=0), new("P", id=1)
    gp, mp = new("G"), new("M")
    looker = threading.Thread(daemon=True, target=lib.t_looker, args=(producing.address, rounds))
    looker.start()
    lost = lib.t_producer(producing.address, gp.address, idle.address, mp.address, rounds)
    looker.join()
    s.gomaxprocs = s.nmspinning = 1
    assert lost == 0
