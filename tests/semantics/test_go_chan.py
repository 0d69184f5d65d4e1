"""Channels: what Go's own tests of channels check.

Sources of the questions: runtime/chan_test.go, test/chan/ and test/chancap.go, by the names in the docstrings;
test_go_tests.py says which test of Go is answered where. Selects are in test_go_select.py.
"""

from __future__ import annotations

from fractions import Fraction
from math import factorial

import numpy as np
import pytest

import gopark as go
from tests.semantics.elements import recv_into, select_either, send_from
from tests.semantics.turns import let_others_run, wait_for

Pair = tuple[int, float]
Unit = tuple[()]
Units = tuple[Unit, Unit]
Rational = tuple[int, int]
Ints = go.Chan[int]


@go.struct
class Item:
    n: int


@go.struct
class Empty:
    """A struct without fields. Each object is one of its own, as `new` of Go need not guarantee."""


@go.struct
class Nil:
    ints: go.Chan[int]
    units: go.Chan[Unit]


# ---- TestChan


@go.func
def recv_noted(ch, log, at, two):
    log[at] = 1
    if two:
        ch.recv_ok()
    else:
        ch.recv()
    log[at] = 2


@go.func
def send_noted(ch, log, at):
    log[at] = 1
    ch.send(-1)
    log[at] = 2


@go.func
def empty_blocks(cap, log):
    """Receivers of an empty channel wait; who only tries does not; then two sends let both go."""
    ch = go.chan(int, cap)
    go.spawn(recv_noted, ch, log, 0, False)
    go.spawn(recv_noted, ch, log, 1, True)
    wait_for(log, 0, 1)
    wait_for(log, 1, 1)
    let_others_run(20)
    early = log[0] + log[1]
    s = go.select(got=go.recv(ch), default=True)
    tried = ch.try_recv()
    ch.send(0)
    ch.send(0)
    wait_for(log, 0, 2)
    wait_for(log, 1, 2)
    return early, s.case == "default", tried, len(ch)


@go.func
def full_blocks(cap, log):
    """A sender on a full channel waits; who only tries does not; one receive lets it go."""
    ch = go.chan(int, cap)
    for i in range(cap):
        ch.send(i)
    go.spawn(send_noted, ch, log, 0)
    wait_for(log, 0, 1)
    let_others_run(20)
    early = log[0]
    s = go.select(put=go.send(ch, 0), default=True)
    tried = ch.try_send(0)
    first = ch.recv()
    wait_for(log, 0, 2)
    return early, s.case == "default", tried, first, len(ch)


@go.func
def closed_drains(cap):
    """How many elements of a full channel arrive in order after close, and what comes then, twice."""
    ch = go.chan(int, cap)
    for i in range(cap):
        ch.send(i)
    full = len(ch)
    ch.close()
    ordered = 0
    for i in range(cap):
        value, ok = ch.recv_ok()
        ordered += ok and value == i
    return full, ordered, ch.recv(), ch.recv_ok(), ch.cap


@go.func
def tell_what_came(ch, log, out):
    log[0] = 1
    out.send(ch.recv_ok())


Came = tuple[int, bool]


@go.func
def close_unblocks(cap, log):
    ch, out = go.chan(int, cap), go.chan(Came)
    go.spawn(tell_what_came, ch, log, out)
    wait_for(log, 0, 1)
    let_others_run(20)
    ch.close()
    return out.recv()


@go.func
def send_upto(ch, n, step):
    for i in range(0, n * step, step):
        ch.send(i)


@go.func
def one_to_one(cap, n):
    """The number of elements that did not arrive in their order, with recv and with recv_ok."""
    ch = go.chan(int, cap)
    wrong = 0
    go.spawn(send_upto, ch, n, 1)
    for i in range(n):
        wrong += ch.recv() != i
    go.spawn(send_upto, ch, n, 1)
    for i in range(n):
        value, ok = ch.recv_ok()
        wrong += not ok or value != i
    return wrong


@go.func
def count_values(ch, n, counts, done):
    for _ in range(n):
        counts[ch.recv()] += 1
    done.done()


@go.func
def many_to_many(cap, counts):
    """As many senders of 0..n-1 as rows of counts, and as many receivers of n elements each."""
    ch, done = go.chan(int, cap), go.WaitGroup()
    n = counts.shape[1]
    done.add(len(counts))
    for k in range(len(counts)):
        go.spawn(send_upto, ch, n, 1)
        go.spawn(count_values, ch, n, counts[k], done)
    done.wait()


CAPACITIES = [*range(20), 50, 199]


def test_every_capacity(procs):
    """TestChan: what blocks, what close does, the order of elements, and that none is lost or doubled."""
    for cap in CAPACITIES:
        waited = cap > 0
        assert go.run(empty_blocks, cap, np.zeros(2, np.int64)) == (2, True, (0, False), 0), cap
        assert go.run(full_blocks, cap, np.zeros(1, np.int64)) == (1, True, False, 0 if waited else -1, cap), cap
        assert go.run(closed_drains, cap) == (cap, cap, 0, (0, False), cap)
        assert go.run(close_unblocks, cap, np.zeros(1, np.int64)) == (0, False), cap
        assert go.run(one_to_one, cap, 100) == 0, cap
        counts = np.zeros((4, 1000), np.int64)
        go.run(many_to_many, cap, counts)
        assert (counts.sum(axis=0) == 4).all(), cap


# ---- order


@go.func
def next_in_line(ch, value, before, after, wrong):
    before.recv()
    if ch.recv() != value:
        wrong[0] += 1
    after.send(1)


@go.func
def in_line(n, wrong):
    """Each goroutine receives one element after the one before it has; so the i-th gets the i-th element."""
    ch, before = go.chan(int), go.chan(int)
    start = before
    for i in range(n):
        after = go.chan(int)
        go.spawn(next_in_line, ch, i, before, after, wrong)
        before = after
    start.send(0)
    for i in range(n):
        ch.send(i)
    before.recv()
    return wrong[0]


def test_an_unbuffered_channel_is_a_queue(procs):
    """test/chan/fifo.go, the synchronous half; the other one is in closed_drains."""
    assert go.run(in_line, 200, np.zeros(1, np.int64)) == 0


@go.func
def wait_in_queue(ch, log, at, out):
    log[at] = 1
    value = ch.recv()
    out.send((at, value))


Served = tuple[int, int]


@go.func
def queue_of_receivers(log, places):
    """Receivers that begin to wait one after the other; `places[i]` is the element that the i-th got."""
    n = len(log)
    ch, out = go.chan(int), go.chan(Served, n)
    for i in range(n):
        go.spawn(wait_in_queue, ch, log, i, out)
        wait_for(log, i, 1)
        let_others_run(5)
    for i in range(n):
        ch.send(i)
    for _ in range(n):
        at, value = out.recv()
        places[at] = value


def test_waiting_receivers_are_served_first_come():
    """With one P, who noted its start has parked when the next one starts. (Senders: test_chan.py.)"""
    before = go.gomaxprocs(1)
    try:
        places = np.full(50, -1)
        go.run(queue_of_receivers, np.zeros(50, np.int64), places)
    finally:
        go.gomaxprocs(before)
    assert places.tolist() == list(range(50))


# ---- non-blocking operations


@go.func
def must_be_ready(ch, out):
    s = go.select(got=go.recv(ch), default=True)
    out.send(0 if s.case == "got" else 1)


@go.func
def closing_race(times):
    """How often a channel that holds an element or is closed was found not ready."""
    missed = 0
    out = go.chan(int, 1)
    for _ in range(times):
        ch = go.chan(int, 1)
        ch.send(1)
        go.spawn(must_be_ready, ch, out)
        ch.close()
        ch.recv()
        missed += out.recv()
    return missed


def test_a_channel_is_ready_all_the_while_it_is_closed(procs):
    """TestNonblockRecvRace."""
    assert go.run(closing_race, 10_000) == 0


@go.func
def take_one(ch, log, out, wanted):
    log[0] = 1
    out.send(ch.recv() == wanted)


@go.func
def give_one(ch, log, value):
    log[1] = 1
    ch.send(value)
    log[1] = 2


@go.func
def tries(ch, log, a, b):
    """try_ finds nothing, a receiver that waits, a sender that waits or has filled the buffer. The last: a == b?"""
    nothing = ch.try_recv()[1]
    out = go.chan(bool, 1)
    go.spawn(take_one, ch, log, out, a)
    wait_for(log, 0, 1)
    while not ch.try_send(a):
        go.gosched()
    arrived = out.recv()
    go.spawn(give_one, ch, log, b)
    if ch.cap > 0:
        wait_for(log, 1, 2)
        value, ok = ch.try_recv()
    else:
        wait_for(log, 1, 1)
        value, ok = ch.try_recv()
        while not ok:
            go.gosched()
            value, ok = ch.try_recv()
    wait_for(log, 1, 2)
    return nothing, arrived, ok, value == b, value == a, ch.try_recv()[1]


@go.func
def tries_int32(cap, log):
    return tries(go.chan(np.int32, cap), log, np.int32(123), np.int32(-234))


@go.func
def tries_int64(cap, log):
    return tries(go.chan(int, cap), log, 123456, 234567)


@go.func
def tries_bool(cap, log):
    return tries(go.chan(bool, cap), log, True, False)


@go.func
def tries_pair(cap, log):
    return tries(go.chan(Pair, cap), log, (1, 0.5), (2, 0.5))


@pytest.mark.parametrize("function", [tries_int32, tries_int64, tries_bool, tries_pair])
def test_operations_that_do_not_wait(function, procs):
    """test/chan/nonblock.go, for the types that an element may have (a string may not be one yet)."""
    for cap in (0, 1):
        log = np.zeros(2, np.int64)
        assert go.run(function, cap, log) == (False, True, True, True, False, False)


# ---- pointers, expressions, what is refused


@go.func
def pointers():
    ch = go.chan(Empty, 1)
    mine = Empty()
    ch.send(mine)
    s = go.select(again=go.send(ch, mine), default=True)
    t = go.select(again=go.send(ch, mine), other=go.send(ch, Empty()), default=True)
    full = len(ch)
    got = ch.recv()
    u = go.select(again=go.send(ch, mine), other=go.send(ch, Empty()), default=True)
    return s.case == "default", t.case == "default", full, got is mine, (ch.recv() is mine) == (u.case == "again")


def test_pointers_to_nothing():
    """TestChanSendInterface: a pointer to a struct without fields, sent, tried and selected."""
    assert go.run(pointers) == (True, True, 1, True, True)


@go.func
def sends_as_expressions():
    channels, ch = go.chan(Ints, 1), go.chan(int, 1)
    channels.send(ch)
    s = go.select(put=go.send(channels.recv(), 2), default=True)
    flags = go.chan(bool, 1)
    flags.send(False or True)
    return s.case == "put", ch.recv(), flags.recv()


def test_operands_are_expressions():
    """test/chan/sendstmt.go."""
    assert go.run(sends_as_expressions) == (True, 2, True)


@go.func
def send_text():
    go.chan(int).send("1")


@go.func
def send_nothing():
    go.chan(int).send()


@go.func
def recv_from_number():
    n = 3
    n.recv()


@go.func
def close_number():
    n = 3
    n.close()


@go.func
def range_over_number():
    for _ in 3:
        pass


@go.func
def indexed():
    return go.chan(int, 1)[0]


@go.func
def sum_of_channels():
    return go.chan(int) + go.chan(int)


@go.func
def new_capacity():
    ch = go.chan(int)
    ch.cap = 3


@go.func
def of_none():
    go.chan(None)


@go.func
def of_text():
    go.chan(str)


@go.func
def capacity_of_half():
    go.chan(int, 0.5)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (send_text, r"cannot send .* on chan\(int\)"),
        (send_nothing, r"send\(value\) takes one argument"),
        (recv_from_number, "recv"),
        (close_number, "close"),
        (range_over_number, "getiter|iter"),
        (indexed, "getitem"),
        (sum_of_channels, r"chan\(int\) \+ chan\(int\) is not supported"),
        (of_none, "names no element type"),
        (of_text, "unicode_type|str"),
        (capacity_of_half, "the capacity is an integer"),
    ],
)
def test_what_the_compiler_refuses(function, words):
    """test/chan/perm.go, where it concerns us: channels have no direction here."""
    with pytest.raises(Exception, match=words) as caught:
        go.run(function)
    assert "test_go_chan.py" in str(caught.value)


def test_the_capacity_cannot_be_set():
    with pytest.raises(Exception, match=r"chan\(int64\).cap"):
        go.run(new_capacity)


# ---- many consumers


@go.func
def pass_on(q, r, mine, done):
    for value in q:
        if value == mine:
            go.gosched()
        r.send(value)
    done.done()


@go.func
def feed(q, r, numbers, n, done):
    for i in range(n):
        q.send(numbers[i % len(numbers)])
    q.close()
    done.wait()
    r.close()


@go.func
def through_workers(numbers, workers, n):
    q, r = go.chan(int, workers * 3), go.chan(int, workers * 3)
    done = go.WaitGroup()
    done.add(workers)
    for w in range(workers):
        go.spawn(pass_on, q, r, numbers[w % len(numbers)], done)
    go.spawn(feed, q, r, numbers, n, done)
    count, total = 0, 0
    for value in r:
        count += 1
        total += value
    return count, total


def test_many_consumers(procs):
    """TestMultiConsumer: workers between two channels that are closed one after the other."""
    numbers = np.array([2, 3, 7, 11, 13, 17, 19, 23, 27, 31])
    n = 100_000
    assert go.run(through_workers, numbers, 23, n) == (n, numbers.sum() * n // len(numbers))


# ---- what a waiting goroutine's stack holds


@go.func
def use_stack(n):
    return n + use_stack(n - 1) if n else 0


@go.func
def send_and_recurse(ch, log, n, depth, done):
    total = 0
    for i in range(n):
        log[0] = i + 1
        ch.send((i, i + 0.5))
        total += use_stack(depth)
    done.send(total)


@go.func
def from_a_used_stack(log, n, depth):
    ch, done = go.chan(Pair), go.chan(int)
    wrong = 0
    go.spawn(send_and_recurse, ch, log, n, depth, done)
    for i in range(n):
        wait_for(log, 0, i + 1)
        let_others_run(10)
        wrong += ch.recv() != (i, i + 0.5)
    return wrong, done.recv()


def test_a_sender_that_waits_after_using_much_stack(procs):
    """TestShrinkStackDuringBlockedSend, TestNoShrinkStackWhileParking. Stacks do not shrink here; what stays is that
    an element in the frame of a goroutine that waits is intact, whatever lay below that frame."""
    n, depth = 100, 300
    assert go.run(from_a_used_stack, np.zeros(1, np.int64), n, depth) == (0, n * depth * (depth + 1) // 2)


# ---- the smallest and the largest elements


@go.func
def send_unit(ch, log):
    log[0] = 1
    ch.send(())
    log[0] = 2


@go.func
def units(cap, log):
    ch = go.chan(Unit, cap)
    sent = 0
    while sent < cap and ch.try_send(()):
        sent += 1
    more = cap > 0 and ch.try_send(())
    go.spawn(send_unit, ch, log)
    wait_for(log, 0, 1)
    let_others_run(20)
    early = log[0]
    received = 0
    while received < cap + 1:
        _, ok = ch.recv_ok()
        received += ok
    wait_for(log, 0, 2)
    empty = ch.try_recv()[1]
    ch.close()
    return sent, more, early, received, empty, ch.recv_ok()[1], ch.cap


@go.func
def units_selected():
    ch, nested = go.chan(Unit, 1), go.chan(Units, 1)
    nested.send(((), ()))
    s = go.select(put=go.send(ch, ()), get=go.recv(ch))
    t = go.select(put=go.send(ch, ()), get=go.recv(ch))
    u = go.select(get=go.recv(ch), default=True)
    return s.case == "put", t.case == "get", t.ok, u.case == "default", len(nested), nested.recv_ok()[1]


@go.func
def units_without_end(cap):
    ch = go.chan(Unit, cap)
    for _ in range(1000):
        ch.send(())
    return len(ch), ch.cap == cap


def test_elements_without_size(procs):
    """test/chan/zerosize.go, and that such a channel counts and blocks as any other. It takes no room: any capacity
    will do."""
    for cap in (0, 1, 5):
        expected = (cap, False, 1, cap + 1, False, False, cap)
        assert go.run(units, cap, np.zeros(1, np.int64)) == expected
    assert go.run(units_selected) == (True, True, True, True, 1, True)
    assert go.run(units_without_end, 2**62) == (1000, True)


def _row(n, of=int):
    return tuple[(of,) * n]


KIB = _row(128)
KIB64 = _row(64, KIB)
ROW = tuple(range(127))


@go.func
def send_row(ch, n):
    for i in range(n):
        ch.send((i, *ROW))


@go.func
def rows(cap, n):
    """Elements of 1 KiB as values, received by recv, by range and by a select; the number of wrong ones."""
    ch = go.chan(KIB, cap)
    wrong = 0
    go.spawn(send_row, ch, n)
    for i in range(n):
        if i % 2:
            row = ch.recv()
        else:
            s = go.select(row=go.recv(ch))
            row = s.row
        wrong += row != (i, *ROW)
    ch.close()
    row = ch.recv()
    return wrong, row[0], row[127]


@pytest.mark.parametrize("cap", [0, 1, 3])
def test_elements_of_1_kib(cap, procs):
    assert go.run(rows, cap, 50) == (0, 0, 0)


@go.func
def fill(block, first):
    for k in range(len(block)):
        block[k] = first + k


@go.func
def wrong_in(block, first, step):
    """How many numbers of block are not first, first + step, ..."""
    wrong = 0
    for k in range(len(block)):
        wrong += block[k] != first + k * step
    return wrong


@go.func
def send_blocks(ch, n):
    block = np.empty(8192, np.int64)
    for i in range(n):
        fill(block, i)
        send_from(ch, block)
    ch.close()


@go.func
def blocks(cap, n):
    ch = go.chan(KIB64, cap)
    go.spawn(send_blocks, ch, n)
    block = np.empty(8192, np.int64)
    wrong = i = 0
    while recv_into(ch, block):
        wrong += wrong_in(block, i, 1)
        i += 1
    return i, wrong, wrong_in(block, 0, 0)


@go.func
def echo_blocks(requests, replies):
    block = np.empty(8192, np.int64)
    while recv_into(requests, block):
        fill(block, block[0] + 1)
        send_from(replies, block)
    replies.close()


@go.func
def blocks_selected(cap, n):
    """Sends blocks and receives what an echo makes of them, by selects that may do either."""
    requests, replies = go.chan(KIB64, cap), go.chan(KIB64, cap)
    go.spawn(echo_blocks, requests, replies)
    given, taken = np.empty(8192, np.int64), np.empty(8192, np.int64)
    sent = received = wrong = 0
    none = Blocks().ch
    while True:
        fill(given, sent)
        case = select_either(requests if sent < n else none, given, replies, taken)
        if case == 0:
            sent += 1
            if sent == n:
                requests.close()
        elif case == 1:
            received += 1
            wrong += wrong_in(taken, received, 1)
        else:
            return sent, received, wrong, wrong_in(taken, 0, 0)


@go.struct
class Blocks:
    ch: go.Chan[KIB64]


@pytest.mark.parametrize("cap", [0, 1, 3])
def test_elements_of_64_kib(cap, procs):
    """The largest that an element may be: handed over directly, through the buffer, in selects, cleared by close."""
    n = 20
    assert go.run(blocks, cap, n) == (n, 0, 0)
    assert go.run(blocks_selected, cap, n) == (n, n, 0, 0)


@go.func
def capacities():
    nil = Nil()
    return nil.ints.cap, len(nil.ints), nil.units.cap, go.chan(int).cap, go.chan(int, 10).cap


def test_capacities():
    """test/chancap.go; what is refused is in test_chan.py."""
    assert go.run(capacities) == (0, 0, 0, 0, 10)


# ---- trees of goroutines: primes, power series


@go.func
def count_from(n, out):
    while True:
        out.send(n)
        n += 1


@go.func
def filter_multiples(prime, source, out):
    while True:
        n = source.recv()
        if n % prime:
            out.send(n)


@go.func
def sieve(primes):
    source = go.chan(int)
    go.spawn(count_from, 2, source)
    for i in range(len(primes)):
        prime = source.recv()
        primes[i] = prime
        rest = go.chan(int)
        go.spawn(filter_multiples, prime, source, rest)
        source = rest


def test_the_sieve(procs):
    """test/chan/sieve1.go: a chain of filters that grows at its end."""
    primes = np.zeros(200, np.int64)
    go.run(sieve, primes)
    n = primes[-1] + 1
    assert primes.tolist() == [k for k in range(2, n) if all(k % d for d in range(2, int(k**0.5) + 1))]


@go.struct
class Series:
    """A power series, a coefficient for each demand."""

    want: go.Chan[bool]
    have: go.Chan[Rational]


@go.func
def series():
    return Series(go.chan(bool), go.chan(Rational))


@go.func
def get(s):
    s.want.send(True)
    return s.have.recv()


@go.func
def reduced(n, d):
    a, b = abs(n), d
    while b:
        a, b = b, a % b
    return (n // a, d // a) if a else (0, 1)


@go.func
def plus(a, b):
    return reduced(a[0] * b[1] + b[0] * a[1], a[1] * b[1])


@go.func
def times(a, b):
    return reduced(a[0] * b[0], a[1] * b[1])


@go.func
def repeat(c, out):
    while True:
        out.want.recv()
        out.have.send(c)


@go.func
def fork(source, left, right, limit):
    """Gives each coefficient of source to both. While it waits for one, it goes on giving those it has: what the source
    is made of may be asked for here."""
    n, d = np.zeros(limit, np.int64), np.zeros(limit, np.int64)
    have = i = j = 0
    left_waits = right_waits = asks = asked = False
    while True:
        s = go.select(
            left=go.recv(None if left_waits else left.want),
            right=go.recv(None if right_waits else right.want),
            ask=go.send(source.want if asks else None, True),
            got=go.recv(source.have if asked else None),
        )
        if s.case == "left":
            left_waits = True
        elif s.case == "right":
            right_waits = True
        elif s.case == "ask":
            asks, asked = False, True
        else:
            n[have], d[have] = s.got
            have += 1
            asked = False
        if left_waits and i < have:
            left.have.send((n[i], d[i]))
            i += 1
            left_waits = False
        if right_waits and j < have:
            right.have.send((n[j], d[j]))
            j += 1
            right_waits = False
        asks = (left_waits or right_waits) and not asked


@go.func
def forked(source, limit):
    left, right = series(), series()
    go.spawn(fork, source, left, right, limit)
    return left, right


@go.func
def scale(c, a, out):
    while True:
        out.want.recv()
        out.have.send(times(c, get(a)))


@go.func
def multiply(a, b, out, limit):
    """(a0 + x A)(b0 + x B) = a0 b0 + x (a0 B + b0 A + x A B), by goroutines all the way down."""
    out.want.recv()
    a0, b0 = get(a), get(b)
    out.have.send(times(a0, b0))
    a1, a2 = forked(a, limit)
    b1, b2 = forked(b, limit)
    left, right, rest = series(), series(), series()
    go.spawn(scale, a0, b1, left)
    go.spawn(scale, b0, a1, right)
    go.spawn(multiply, a2, b2, rest, limit)
    out.want.recv()
    out.have.send(plus(get(left), get(right)))
    while True:
        out.want.recv()
        out.have.send(plus(plus(get(left), get(right)), get(rest)))


@go.func
def integrate(first, a, out):
    out.want.recv()
    out.have.send(first)
    k = 1
    while True:
        out.want.recv()
        out.have.send(times((1, k), get(a)))
        k += 1


@go.func
def add_to_first(c, a, out):
    out.want.recv()
    out.have.send(plus(c, get(a)))
    while True:
        out.want.recv()
        out.have.send(get(a))


@go.func
def coefficients(kind, numbers):
    """The first coefficients of 0: 1/(1-x)^2, 1: exp(x), 2: tan(x), the last two from the equations they solve."""
    limit = len(numbers) + 2
    answer = series()
    if kind == 0:
        a, b = series(), series()
        go.spawn(repeat, (1, 1), a)
        go.spawn(repeat, (1, 1), b)
        go.spawn(multiply, a, b, answer, limit)
    else:
        whole = series()
        answer, again = forked(whole, limit)
        if kind == 1:
            go.spawn(integrate, (1, 1), again, whole)
        else:
            a, b = forked(again, limit)
            square, derivative = series(), series()
            go.spawn(multiply, a, b, square, limit)
            go.spawn(add_to_first, (1, 1), square, derivative)
            go.spawn(integrate, (0, 1), derivative, whole)
    for i in range(len(numbers)):
        numbers[i, 0], numbers[i, 1] = get(answer)


TANGENT = [0, 1, 0, Fraction(1, 3), 0, Fraction(2, 15), 0, Fraction(17, 315), 0, Fraction(62, 2835)]


def test_power_series(procs):
    """test/chan/powser1.go: networks of goroutines with feedback, left unfinished when main returns."""
    expected = [list(range(1, 13)), [Fraction(1, factorial(k)) for k in range(12)], TANGENT]
    for kind, wanted in enumerate(expected):
        numbers = np.zeros((len(wanted), 2), np.int64)
        go.run(coefficients, kind, numbers)
        assert [Fraction(int(n), int(d)) for n, d in numbers] == wanted
