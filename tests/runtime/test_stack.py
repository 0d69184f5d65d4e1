"""Free stacks: which one is used next, who keeps how many, and what becomes of those that are too many.

stack.py, ST5 to ST7; the functions are called from Python, and no goroutine runs on any of these stacks.
"""

from __future__ import annotations

from tests.runtime.images import Record
from tests.runtime.scheduler_native import in_worker_with_runs, linked, native, new, sched

LOCAL, BATCH, SCAVENGE_BATCH = 64, 32, 512


def g(address):
    from gopark.runtime import runtime2

    return Record(runtime2.G, address)


def nothing_free():
    """No free stack but those that are cold."""
    s = sched()
    s.gfree = s.gfreecnt = s.gfreelow = 0
    return s, native()


def freed(count):
    """So many stacks, in the global list and in that of a P."""
    s, lib = nothing_free()
    while s.coldcount:
        lib.t_stackalloc(1)  # so that they are new ones
    pp = new("P")
    stacks = [lib.t_stackalloc(1) for _ in range(count)]
    for gp in stacks:
        lib.t_gfput(pp.address, gp)
    return s, lib, pp, stacks


@in_worker_with_runs
def test_a_p_keeps_a_few_free_stacks_and_the_others_are_for_all():
    s, lib, pp, stacks = freed(0)
    for i in range(3 * LOCAL):
        gp = lib.t_stackalloc(1)
        stacks.append(gp)
        lib.t_gfput(pp.address, gp)
        assert pp.gfreecnt <= LOCAL
        assert pp.gfreecnt + s.gfreecnt == i + 1
    here, there = linked(pp.gfree, "G"), linked(s.gfree, "G")
    assert (len(here), len(there)) == (pp.gfreecnt, s.gfreecnt)
    assert sorted(here + there) == sorted(stacks)
    assert here[0] == stacks[-1], "the one that was used last is the next one"


@in_worker_with_runs
def test_free_stacks_are_used_before_new_ones_are_made():
    """A P takes a batch from the global list when its own is empty; only without any is one made."""
    s, lib, _, stacks = freed(LOCAL + 1)
    other = new("P")
    count = s.gfreecnt
    assert count > 0
    s.gfreelow = count
    bump = s.stackbump
    taken = [lib.t_gfget(other.address)]
    assert other.gfreecnt == min(count, BATCH) - 1
    assert s.gfreelow == s.gfreecnt == count - min(count, BATCH), "the fewest there were since somebody looked"
    while len(taken) < count:
        taken.append(lib.t_gfget(other.address))
    assert set(taken) <= set(stacks)
    assert s.stackbump == bump
    assert lib.t_gfget(other.address) not in stacks
    assert s.stackbump > bump


@in_worker_with_runs
def test_a_goroutine_finds_nothing_of_the_one_before_it_on_its_stack():
    """It has not ended, nobody asked it to yield, and its guard is where it belongs."""
    s, lib = nothing_free()
    lib.t_newgoroutine(0)
    gp = g(lib.t_stackalloc(1))
    guard = gp.stackguard
    gp.preempt = gp.ended = 1
    gp.stackguard = 1 << 62
    s.gfree, s.gfreecnt = gp.address, 1
    assert lib.t_newgoroutine(0) == gp.address
    assert (gp.preempt, gp.ended, gp.stackguard) == (0, 0, guard)
    assert (s.gfree, s.gfreecnt) == (0, 0)


@in_worker_with_runs
def test_stacks_that_are_too_many_become_cold_and_are_used_again():
    """Twice, the second time those that lie lowest: whoever looks for a cold one begins at the first again."""
    s, lib, pp, stacks = freed(SCAVENGE_BATCH + LOCAL)
    for _ in range(2):
        free = s.gfreecnt
        lib.t_stackscavenge(SCAVENGE_BATCH)
        assert (s.coldcount, s.scavenging) == (free, 0)
        assert (s.gfree, s.gfreecnt) == (0, 0)
        bump = s.stackbump
        warm = [lib.t_stackalloc(1) for _ in range(free)]
        assert set(warm) <= set(stacks)
        assert (s.coldcount, s.stackbump) == (0, bump)
        for gp in warm:
            lib.t_gfput(pp.address, gp)


@in_worker_with_runs
def test_a_few_are_not_worth_it():
    s, lib, *_ = freed(SCAVENGE_BATCH + LOCAL)
    count = s.gfreecnt
    lib.t_stackscavenge(SCAVENGE_BATCH - 1)
    assert (s.gfreecnt, s.coldcount) == (count, 0)


@in_worker_with_runs
def test_the_stack_of_a_thread_is_never_a_cold_one():
    """It is several slabs in a row; cold ones are single."""
    s, lib, *_ = freed(SCAVENGE_BATCH + LOCAL)
    lib.t_stackscavenge(SCAVENGE_BATCH)
    cold, bump = s.coldcount, s.stackbump
    assert cold > 0
    gp = g(lib.t_stackalloc(4))
    assert gp.stacklo == bump
    assert s.coldcount == cold


@in_worker_with_runs
def test_nobody_uses_cold_stacks_or_makes_some_while_their_memory_goes():
    s, lib, *_ = freed(2 * SCAVENGE_BATCH + LOCAL)
    lib.t_stackscavenge(SCAVENGE_BATCH)
    cold, bump, free = s.coldcount, s.stackbump, s.gfreecnt
    assert min(cold, free) >= SCAVENGE_BATCH
    s.scavenging = 1
    try:
        lib.t_stackscavenge(SCAVENGE_BATCH)
        assert (s.gfreecnt, s.coldcount) == (free, cold), "two at a time would count what the other one cooled"
        lib.t_stackalloc(1)
        assert (s.coldcount, s.stackbump > bump) == (cold, True)
    finally:
        s.scavenging = 0
