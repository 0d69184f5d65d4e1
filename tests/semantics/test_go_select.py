"""Select: what Go's own tests of it check.

Sources of the questions: runtime/chan_test.go, reflect/all_test.go and test/chan/, by the names in the docstrings;
test_go_tests.py says which test of Go is answered where.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import gopark as go
from tests.semantics.turns import let_others_run, wait_for

Ints = go.Chan[int]


@go.struct
class Item:
    n: int


@go.struct
class Nil:
    ints: go.Chan[int]


# ---- one moment, not several


@go.func
def one_of_two(c1, c2, out):
    s = go.select(a=go.recv(c1), b=go.recv(c2), default=True)
    out.send(0 if s.case == "a" or s.case == "b" else 1)


@go.func
def never_both_empty(times, closes):
    """One of two channels is ready at any time, but not always the same: how often a select found neither."""
    missed = 0
    out = go.chan(int, 1)
    for _ in range(times):
        c1, c2 = go.chan(int, 1), go.chan(int, 1)
        c1.send(1)
        go.spawn(one_of_two, c1, c2, out)
        if closes:
            c2.close()
        else:
            c2.send(1)
        go.select(a=go.recv(c1), default=True)
        missed += out.recv()
    return missed


@pytest.mark.parametrize("closes", [False, True])
def test_a_select_sees_all_channels_at_one_moment(closes, procs):
    """TestNonblockSelectRace, TestNonblockSelectRace2."""
    assert go.run(never_both_empty, 20_000, closes) == 0


# ---- both ends of one channel


@go.func
def both_ends(ch, me, n, put_first, counts, done):
    """counts[me]: how many it received, how many of those from itself, how many it sent."""
    for i in range(n):
        if put_first or i % 2 == 0:
            s = go.select(put=go.send(ch, me), get=go.recv(ch))
            if s.case == "put":
                counts[me, 2] += 1
            else:
                counts[me, 0] += 1
                counts[me, 1] += s.get == me
        else:
            t = go.select(get=go.recv(ch), put=go.send(ch, me))
            if t.case == "put":
                counts[me, 2] += 1
            else:
                counts[me, 0] += 1
                counts[me, 1] += t.get == me
    done.done()


@go.func
def two_of_them(cap, n, counts):
    ch, done = go.chan(int, cap), go.WaitGroup()
    done.add(2)
    go.spawn(both_ends, ch, 0, n, True, counts, done)
    go.spawn(both_ends, ch, 1, n, False, counts, done)
    done.wait()
    return len(ch)


@pytest.mark.parametrize("cap", [0, 10])
def test_selects_of_both_ends(cap, procs):
    """TestSelfSelect: no crash, no deadlock, and without a buffer nobody receives from himself."""
    n = 2000
    counts = np.zeros((2, 3), np.int64)
    left = go.run(two_of_them, cap, n, counts)
    received, own, sent = counts.sum(axis=0)
    assert received + sent == 2 * n
    assert sent - received == left <= cap
    if cap == 0:
        assert own == 0


# ---- everything at once


@go.func
def send_n(ch, n, done):
    for _ in range(n):
        ch.send(1)
    done.done()


@go.func
def recv_n(ch, n, done):
    for _ in range(n):
        ch.recv()
    done.done()


@go.func
def select_sends(c0, c1, c2, c3, n, counts, done):
    """n elements on each of the channels, one select a time; a channel that had its n becomes nil."""
    nil = Nil().ints
    for _ in range(4 * n):
        s = go.select(three=go.send(c3, 1), two=go.send(c2, 1), zero=go.send(c0, 1), one=go.send(c1, 1))
        match s.case:
            case "zero":
                counts[0] += 1
                c0 = nil if counts[0] == n else c0
            case "one":
                counts[1] += 1
                c1 = nil if counts[1] == n else c1
            case "two":
                counts[2] += 1
                c2 = nil if counts[2] == n else c2
            case "three":
                counts[3] += 1
                c3 = nil if counts[3] == n else c3
    done.done()


@go.func
def select_recvs(c0, c1, c2, c3, n, counts, done):
    nil = Nil().ints
    for _ in range(4 * n):
        s = go.select(zero=go.recv(c0), one=go.recv(c1), two=go.recv(c2), three=go.recv(c3))
        match s.case:
            case "zero":
                counts[0] += 1
                c0 = nil if counts[0] == n else c0
            case "one":
                counts[1] += 1
                c1 = nil if counts[1] == n else c1
            case "two":
                counts[2] += 1
                c2 = nil if counts[2] == n else c2
            case "three":
                counts[3] += 1
                c3 = nil if counts[3] == n else c3
    done.done()


@go.func
def stress(n, counts):
    channels = (go.chan(int), go.chan(int), go.chan(int, 2), go.chan(int, 3))
    c0, c1, c2, c3 = channels
    done = go.WaitGroup()
    done.add(10)
    for k in range(4):
        go.spawn(send_n, channels[k], n, done)
        go.spawn(recv_n, channels[k], n, done)
    go.spawn(select_sends, c0, c1, c2, c3, n, counts[0], done)
    go.spawn(select_recvs, c0, c1, c2, c3, n, counts[1], done)
    done.wait()
    return len(c0) + len(c1) + len(c2) + len(c3)


def test_sends_receives_and_selects_of_four_channels(procs):
    """TestSelectStress: ten goroutines, and as many elements in as out on each channel."""
    n = 10_000
    counts = np.zeros((2, 4), np.int64)
    assert go.run(stress, n, counts) == 0
    assert (counts == n).all()


# ---- fairness


@go.func
def forward_either(c1, c2, c3, c4, out, done, left):
    while True:
        s = go.select(three=go.recv(c3), four=go.recv(c4), one=go.recv(c1), two=go.recv(c2))
        t = go.select(out=go.send(out, s.three + s.four + s.one + s.two), done=go.recv(done))
        if t.case == "done":
            left.done()
            return


@go.func
def shares(trials):
    c1, c2 = go.chan(int, trials + 1), go.chan(int, trials + 1)
    for _ in range(trials + 1):
        c1.send(1)
        c2.send(2)
    c3, c4, out, done, left = go.chan(int), go.chan(int), go.chan(int), go.chan(int), go.WaitGroup()
    left.add(1)
    go.spawn(forward_either, c1, c2, c3, c4, out, done, left)
    first = second = 0
    for _ in range(trials):
        n = out.recv()
        first += n == 1
        second += n == 2
    done.close()
    left.wait()
    return first, second


def test_two_busy_channels_beside_two_idle_ones(procs):
    """TestSelectFairness: within ten standard deviations of one half each."""
    trials = 10_000
    first, second = go.run(shares, trials)
    assert first + second == trials
    assert abs(first - trials / 2) <= 10 * (trials / 4) ** 0.5


@go.func
def note_values(ch, values, done):
    for i in range(len(values)):
        go.gosched()
        values[i] = ch.recv()
    done.unlock()


@go.func
def send_either(cap, values):
    ch, done = go.chan(int, cap), go.Mutex()
    done.lock()
    go.spawn(note_values, ch, values, done)
    for _ in range(len(values)):
        go.select(one=go.send(ch, 1), zero=go.send(ch, 0))
    done.lock()


def sends_of_each_kind(cap):
    values = np.full(100, -1)
    go.run(send_either, cap, values)
    zeros, ones = (values == 0).sum(), (values == 1).sum()
    assert zeros + ones == 100
    return min(zeros, ones)


def test_two_sends_on_one_channel_take_turns_at_random(procs):
    """TestPseudoRandomSend, the half with a buffer: the select finds room."""
    assert sends_of_each_kind(100) > 10


def test_two_sends_that_wait_on_one_channel_take_turns_at_random():
    """TestPseudoRandomSend, the half without a buffer. With one P the select always waits when the receiver comes."""
    procs = go.gomaxprocs(1)
    try:
        fewer = sends_of_each_kind(0)
    finally:
        go.gomaxprocs(procs)
    assert fewer > 10


# ---- the queues after a select has left them


@go.func
def recv_later(ch, log, at, out):
    log[at] = 1
    out.send((at, ch.recv()))


@go.func
def send_later(ch, log, at, out):
    log[at] = 1
    ch.send(at)
    out.send((at, at))


@go.func
def select_twice_on(c, d, sends, log, at, e):
    log[at] = 1
    if sends:
        s = go.select(a=go.send(c, -1), b=go.send(c, -2), d=go.recv(d))
        e.send(s.d if s.case == "d" else -1)
    else:
        t = go.select(a=go.recv(c), b=go.recv(c), d=go.recv(d))
        e.send(t.d if t.case == "d" else -1)


Place = tuple[int, int]


@go.func
def queue_around(before, after, sends, log):
    """A select waits twice in the queue of c, with others before and behind it, and leaves through d. Then everybody in
    that queue is served, in order. The number of mistakes."""
    c, d, e, out = go.chan(int), go.chan(int), go.chan(int), go.chan(Place, before + after)
    wrong = 0
    for i in range(before + 1 + after):
        if i == before:
            go.spawn(select_twice_on, c, d, sends, log, i, e)
        elif sends:
            go.spawn(send_later, c, log, i, out)
        else:
            go.spawn(recv_later, c, log, i, out)
        wait_for(log, i, 1)
        let_others_run(10)
    d.send(7)
    wrong += e.recv() != 7
    for i in range(before + 1 + after):
        if i != before:
            if sends:
                wrong += c.recv() != i
            else:
                c.send(i)
    for _ in range(before + after):
        at, value = out.recv()
        wrong += at != value
    return wrong


def test_a_select_leaves_the_queues_in_order():
    """TestSelectDuplicateChannel, test/chan/select6.go; with sends too, at each place of the queue. One P: who noted
    its start waits when the next one starts."""
    procs = go.gomaxprocs(1)
    try:
        for before, after, sends in itertools.product(range(4), range(4), (False, True)):
            log = np.zeros(before + 1 + after, np.int64)
            assert go.run(queue_around, before, after, sends, log) == 0, (before, after, sends)
    finally:
        go.gomaxprocs(procs)


@go.func
def wait_twice(c1, c2, c3, log):
    log[1] = 1
    s = go.select(one=go.recv(c1), two=go.recv(c2))
    c3.send(s.two)
    c3.send(c1.recv())


@go.func
def wait_again(rounds, log):
    """Behind a receiver waits a select, which leaves and then waits there again, last in the queue both times."""
    total = 0
    c1, c2, c3, out = go.chan(int), go.chan(int), go.chan(int), go.chan(Place, 1)
    for _ in range(rounds):
        log[0], log[1] = 0, 0
        go.spawn(recv_later, c1, log, 0, out)
        wait_for(log, 0, 1)
        let_others_run(5)
        go.spawn(wait_twice, c1, c2, c3, log)
        wait_for(log, 1, 1)
        let_others_run(5)
        c2.send(1)
        total += c3.recv()
        c1.send(10)
        c1.send(10)
        total += c3.recv() + out.recv()[1]
    return total


def test_a_select_waits_again_where_it_has_waited(procs):
    """test/chan/select6.go."""
    assert go.run(wait_again, 200, np.zeros(2, np.int64)) == 200 * 21


# ---- never two cases


@go.func
def send_counter(n, c1, c2, c3, c4):
    for i in range(n):
        go.select(a=go.send(c1, i), b=go.send(c2, i), c=go.send(c3, i), d=go.send(c4, i))
    c1.close()
    c2.close()
    c3.close()
    c4.close()


@go.func
def merge(source, out, done):
    for value in source:
        out.send(value)
    done.done()


@go.func
def close_when_done(done, ch):
    done.wait()
    ch.close()


@go.func
def times_received(seen):
    """Each value goes out on one of four channels, and they come together again."""
    c1, c2, c3, c4, merged, done = go.chan(int), go.chan(int), go.chan(int), go.chan(int), go.chan(int), go.WaitGroup()
    done.add(4)
    go.spawn(send_counter, len(seen), c1, c2, c3, c4)
    go.spawn(merge, c1, merged, done)
    go.spawn(merge, c2, merged, done)
    go.spawn(merge, c3, merged, done)
    go.spawn(merge, c4, merged, done)
    go.spawn(close_when_done, done, merged)
    for value in merged:
        seen[value] += 1


def test_one_select_sends_once(procs):
    """test/chan/doubleselect.go."""
    seen = np.zeros(50_000, np.int64)
    go.run(times_received, seen)
    assert (seen == 1).all()


@go.func
def swap(a, b, me, n, seen, done):
    """Sends n values of its own on either channel, and receives from either until its n are gone."""
    sent = 0
    while sent < n:
        value = me * n + sent
        s = go.select(pa=go.send(a, value), pb=go.send(b, value), ga=go.recv(a), gb=go.recv(b))
        match s.case:
            case "ga":
                seen[me, s.ga] += 1
            case "gb":
                seen[me, s.gb] += 1
            case "pa" | "pb":
                sent += 1
    done.done()


@go.func
def collect(a, b, seen, quit, out):
    while True:
        s = go.select(a=go.recv(a), b=go.recv(b), quit=go.recv(quit))
        match s.case:
            case "a":
                seen[s.a] += 1
            case "b":
                seen[s.b] += 1
            case "quit":
                out.send(1)
                return


@go.func
def swaps(goroutines, n, seen):
    a, b, quit, out, done = go.chan(int), go.chan(int), go.chan(int), go.chan(int), go.WaitGroup()
    done.add(goroutines)
    for me in range(goroutines):
        go.spawn(swap, a, b, me, n, seen, done)
    go.spawn(collect, a, b, seen[goroutines], quit, out)
    done.wait()
    quit.close()
    out.recv()


@pytest.mark.parametrize("goroutines", [2, 5])
def test_selects_on_the_same_pair_of_channels(goroutines, procs):
    """Sends and receives on two channels in each select: every value arrives once, and nobody gets his own."""
    n = 5000
    seen = np.zeros((goroutines + 1, goroutines * n), np.int64)
    go.run(swaps, goroutines, n, seen)
    assert (seen.sum(axis=0) == 1).all()
    for me in range(goroutines):
        assert seen[me, me * n : (me + 1) * n].sum() == 0


# ---- the frame of a select that waits


@go.func
def use_stack(n):
    return n + use_stack(n - 1) if n else 0


@go.func
def wait_with_pointers(c, d, twice, ready):
    use_stack(300)
    ready.send(True)
    mine = Item(42)
    got = mine
    nil = PointerNil()
    c2 = c if twice else nil.items
    d2 = d if twice else nil.items
    s = go.select(c=go.recv(c), c2=go.recv(c2), d=go.recv(d), d2=go.recv(d2))
    if s.case == "c":
        got = s.c
    mine.n += 1
    ready.send(got is mine and got.n == 43 and s.c is None and s.d is None and not s.ok)


@go.struct
class PointerNil:
    items: go.Chan[Item]


@go.func
def pointers_while_waiting():
    c, d, ready1, ready2 = go.chan(Item), go.chan(Item), go.chan(bool), go.chan(bool)
    go.spawn(wait_with_pointers, c, d, False, ready1)
    go.spawn(wait_with_pointers, c, d, True, ready2)
    ready1.recv()
    ready2.recv()
    let_others_run(50)
    d.close()
    return ready1.recv(), ready2.recv()


def test_pointers_beside_a_select_that_waits(procs):
    """TestSelectStackAdjust, where it concerns us: stacks do not move. What a case that did not take place would have
    received is nil, and the goroutine's own pointers are what they were."""
    assert go.run(pointers_while_waiting) == (True, True)


# ---- what blocks, and what does not


@go.func
def operation(kind):
    """One operation each; -1 if something else happened than what the test expects where it returns."""
    nil, ch, full = Nil().ints, go.chan(int), go.chan(int, 1)
    closed = go.chan(int)
    closed.close()
    if kind == "nil send":
        nil.send(7)
    elif kind == "nil recv":
        nil.recv()
    elif kind == "recv":
        ch.recv()
    elif kind == "send":
        ch.send(7)
    elif kind == "no cases":
        go.select()
    elif kind == "select nil recv":
        go.select(a=go.recv(nil))
    elif kind == "select nil send":
        go.select(a=go.send(nil, 7))
    elif kind == "select nil both":
        go.select(a=go.recv(nil), b=go.send(nil, 7))
    elif kind == "select recv":
        go.select(a=go.recv(ch))
    elif kind == "select send":
        go.select(a=go.send(ch, 7))
    elif kind == "select itself":
        go.select(a=go.send(ch, 1), b=go.recv(ch))
    elif kind == "select two":
        go.select(a=go.recv(ch), b=go.recv(go.chan(int)))
    elif kind == "buffer":
        full.send(7)
    elif kind == "closed":
        for _ in range(10):
            value, ok = closed.recv_ok()
            if closed.recv() != 0 or value != 0 or ok:
                return -1
    elif kind == "default":
        s = go.select(default=True)
        return 0 if s.case == "default" else -1
    elif kind == "default nil recv":
        t = go.select(a=go.recv(nil), default=True)
        return 0 if t.case == "default" else -1
    elif kind == "default nil send":
        u = go.select(a=go.send(nil, 7), default=True)
        return 0 if u.case == "default" else -1
    elif kind == "default send":
        v = go.select(a=go.send(full, 7), default=True)
        return 0 if v.case == "a" else -1
    elif kind == "default recv":
        full.send(7)
        w = go.select(a=go.recv(full), default=True)
        return 0 if w.case == "a" and w.a == 7 else -1
    elif kind == "select closed":
        x = go.select(a=go.recv(closed))
        return 0 if x.case == "a" and x.a == 0 and not x.ok else -1
    elif kind == "closed send":
        closed.send(7)
    elif kind == "select closed send":
        go.select(a=go.send(closed, 7))
    return 0


BLOCKS = {
    "nil send": r"chan send \(nil chan\)",
    "nil recv": r"chan receive \(nil chan\)",
    "recv": "chan receive",
    "send": "chan send",
    "no cases": r"select \(no cases\)",
    "select nil recv": "select",
    "select nil send": "select",
    "select nil both": "select",
    "select recv": "select",
    "select send": "select",
    "select itself": "select",
    "select two": "select",
}
RETURNS = [
    "buffer",
    "closed",
    "default",
    "default nil recv",
    "default nil send",
    "default send",
    "default recv",
    "select closed",
]


def test_what_blocks():
    """test/chan/select3.go: for ever, and with the reason in the report."""
    for kind, reason in BLOCKS.items():
        with pytest.raises(go.DeadlockError, match=rf"\[{reason}\]"):
            go.run(operation, kind)


def test_what_does_not_block():
    """test/chan/select3.go, TestSelectNop."""
    assert {kind: go.run(operation, kind) for kind in RETURNS} == dict.fromkeys(RETURNS, 0)
    for kind in ("closed send", "select closed send"):
        with pytest.raises(go.ClosedChannelError, match="^send on closed channel$"):
            go.run(operation, kind)


@go.func
def value(log, n):
    log[0] += 1
    return n


@go.func
def fill_both(a, b, log):
    """Sends on a and b what shift says, until neither has room."""
    shift = sent = 0
    while True:
        s = go.select(a=go.send(a, value(log, 1 << shift)), b=go.send(b, value(log, 1 << shift)), default=True)
        match s.case:
            case "a":
                sent += 1
                a = Nil().ints
            case "b":
                sent += 1
                b = Nil().ints
            case "default":
                return sent
        shift += 1


@go.func
def fill_twice(log):
    a, b = go.chan(int, 1), go.chan(int, 1)
    first = fill_both(a, b, log)
    received = a.recv() | b.recv()
    second = fill_both(a, Nil().ints, log)
    return first, received, second, log[0]


def test_every_operand_is_evaluated_by_every_select():
    """test/chan/select.go: also those of nil channels and of cases that do not take place."""
    assert go.run(fill_twice, np.zeros(1, np.int64)) == (2, 3, 1, 10)


@go.func
def receive_as(form, ch, out):
    if form == 0:
        ch.recv()
    elif form == 1:
        go.select(a=go.recv(ch))
    else:
        go.select(a=go.recv(ch), b=go.recv(go.chan(int)))
    out.send(form)


@go.func
def send_as(form, receiver, rounds):
    ch, out = go.chan(int), go.chan(int, 1)
    go.spawn(receive_as, receiver, ch, out)
    for _ in range(rounds):
        go.gosched()
    if form == 0:
        ch.send(1)
    elif form == 1:
        go.select(a=go.send(ch, 1))
    else:
        go.select(a=go.send(ch, 1), b=go.send(go.chan(int), 1))
    return out.recv()


def test_a_value_that_nobody_keeps(procs):
    """test/chan/select7.go: received by a statement, by a select of one case, of two; sent in the same three ways."""
    for form, receiver, rounds in itertools.product(range(3), range(3), (0, 1, 10)):
        assert go.run(send_as, form, receiver, rounds) == receiver


@go.func
def ways_out():
    """break and continue inside a select's cases belong to the loop around it."""
    ch = go.chan(int, 1)
    rounds = received = 0
    while True:
        rounds += 1
        s = go.select(got=go.recv(ch), put=go.send(ch, rounds))
        match s.case:
            case "put":
                continue
            case "got":
                received += s.got
                if rounds > 6:
                    break
    return rounds, received


def test_leaving_a_select():
    """test/chan/select8.go. (In Go, break leaves the select; a match has no break.)"""
    assert go.run(ways_out) == (8, 1 + 3 + 5 + 7)


@go.func
def selects_that_wait(n):
    ch, never, done = go.chan(int), go.chan(int), go.WaitGroup()
    done.add(1)
    go.spawn(send_n, ch, n, done)
    for _ in range(n):
        go.select(a=go.recv(ch), b=go.recv(never))
    done.wait()


def test_selects_take_no_memory(procs):
    """test/chan/select2.go. Nothing is allocated here but the channels and the group of each run."""
    go.run(selects_that_wait, 1000)
    before = go.mem_stats()
    go.run(selects_that_wait, 100_000)
    after = go.mem_stats()
    assert 3 <= after.mallocs - before.mallocs <= 10


# ---- all combinations of cases


# What a case may be. Sends go out on the slots of their own number, receives come in on theirs.
SENDS = ("ready send", "blocking send", "nil send", "closed send")
RECVS = ("ready recv", "blocking recv", "nil recv", "closed recv")
READY, BLOCKING, NIL, CLOSED = range(4)
DEFAULT, RAISED = 8, 9


@go.func
def channel_for(kind, is_send, value):
    if kind == 2:
        return Nil().ints
    ch = go.chan(int, 1 if kind == 0 else 0)
    if kind == 0 and not is_send:
        ch.send(value)
    if kind == 3:
        ch.close()
    return ch


@go.func
def help_send(ch, value, rounds):
    let_others_run(rounds)
    ch.send(value)


@go.func
def help_recv(ch, out, rounds):
    let_others_run(rounds)
    out.send(ch.recv())


@go.func
def one_select(kinds, helped, rounds, default):
    """A select over four sends and four receives, case i of kind kinds[i], a nil channel where it is left out. helped:
    the case that another goroutine makes possible after some rounds, or -1. What took place, the value received or, of
    the helped send, delivered; ok."""
    s0, s1 = channel_for(kinds[0], True, 0), channel_for(kinds[1], True, 0)
    s2, s3 = channel_for(kinds[2], True, 0), channel_for(kinds[3], True, 0)
    r4, r5 = channel_for(kinds[4], False, 104), channel_for(kinds[5], False, 105)
    r6, r7 = channel_for(kinds[6], False, 106), channel_for(kinds[7], False, 107)
    channels = (s0, s1, s2, s3, r4, r5, r6, r7)
    out = go.chan(int, 1)
    if helped >= 4:
        go.spawn(help_send, channels[helped], 100 + helped, rounds)
    elif helped >= 0:
        go.spawn(help_recv, channels[helped], out, rounds)
    try:
        s = go.select(
            s0=go.send(s0, 100),
            s1=go.send(s1, 101),
            r4=go.recv(r4),
            r5=go.recv(r5),
            s2=go.send(s2, 102),
            s3=go.send(s3, 103),
            r6=go.recv(r6),
            r7=go.recv(r7),
            default=default,
        )
    except Exception:
        return 9, 0, False
    match s.case:
        case "s0":
            return 0, out.recv() if helped == 0 else len(s0), s.ok
        case "s1":
            return 1, out.recv() if helped == 1 else len(s1), s.ok
        case "s2":
            return 2, out.recv() if helped == 2 else len(s2), s.ok
        case "s3":
            return 3, out.recv() if helped == 3 else len(s3), s.ok
        case "r4":
            return 4, s.r4, s.ok
        case "r5":
            return 5, s.r5, s.ok
        case "r6":
            return 6, s.r6, s.ok
        case "r7":
            return 7, s.r7, s.ok
        case "default":
            return 8, s.r4 + s.r5 + s.r6 + s.r7, s.ok
    return -1, 0, False


def outcomes(kinds, helped, default):
    """What may take place: a set of results of one_select."""
    possible = set()
    for i, kind in enumerate(kinds):
        if kind == READY:
            possible.add((i, 1 if i < 4 else 100 + i, True))
        elif kind == CLOSED:
            possible.add((RAISED, 0, False) if i < 4 else (i, 0, False))
    if not possible and default:
        possible.add((DEFAULT, 0, False))
    if helped >= 0 and (default or not possible):
        possible.add((helped, 100 + helped, True))
    return possible


def combinations():
    """Each set of kinds among the sends with each among the receives, at places that rotate; each case that blocks
    alone and helped; with and without a default."""
    turn = 0
    subsets = [[k for k in range(4) if mask >> k & 1] for mask in range(16)]
    for sends, recvs in itertools.product(subsets, subsets):
        for default in (False, True):
            for blocked in (None, "send", "recv"):
                turn += 1
                kinds = [NIL] * 8
                for k in sends:
                    kinds[(k + turn) % 4] = k
                for k in recvs:
                    kinds[4 + (k + turn // 4) % 4] = k
                helped = -1
                if blocked == "send":
                    helped = kinds[:4].index(BLOCKING) if BLOCKING in sends else -1
                elif blocked == "recv":
                    helped = 4 + kinds[4:].index(BLOCKING) if BLOCKING in recvs else -1
                if blocked and helped < 0:
                    continue
                yield kinds, helped, default


def test_all_combinations_of_cases(procs):
    """reflect's TestSelect: ready, blocking, nil and closed channels, sends and receives, with and without a default
    and somebody who makes a blocked case possible."""
    seen, times = set(), 0
    for kinds, helped, default in combinations():
        expected = outcomes(kinds, helped, default)
        for rounds in (0, 3) if helped >= 0 else (0,):
            if not expected:
                continue  # it would block for ever: test_what_blocks
            got = go.run(one_select, np.array(kinds), helped, rounds, default)
            times += 1
            if got not in expected:
                # The one who helps may have come before the select, which then chose between two that were ready.
                assert helped >= 0 and got == (helped, 100 + helped, True), (kinds, helped, default, got)
            seen.add(got[0])
    assert times > 1000
    assert seen == set(range(10))


# ---- a case that comes and goes


@go.func
def grow_until_blocked(n):
    """A goroutine between two channels that never blocks its senders, however many wait: its queue grows."""
    proxy, out = go.chan(int, 10), go.chan(int)
    go.spawn(unbounded, proxy, out, n)
    for i in range(n):
        proxy.send(i)
    wrong = 0
    for i in range(n):
        wrong += out.recv() != i
    return wrong


@go.func
def unbounded(source, out, most):
    """Gives what it has and takes what comes; the case of the empty queue has a nil channel."""
    queue = np.empty(most, np.int64)
    first = last = 0
    while True:
        have = first < last
        s = go.select(take=go.recv(source), give=go.send(out if have else None, queue[first] if have else 0))
        if s.case == "take":
            queue[last] = s.take
            last += 1
        else:
            first += 1


def test_a_buffer_without_bound(procs):
    """The proxy of test/chan/sieve2.go: nobody receives until everything is sent."""
    assert go.run(grow_until_blocked, 5000) == 0
