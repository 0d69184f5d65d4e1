"""go.select: which case takes place, fairness, labels, and what it refuses at compile time."""

from __future__ import annotations

import numpy as np
import pytest

import gopark as go
from tests.semantics import subprocesses

Pair = tuple[int, float]


@go.struct
class Item:
    n: int


@go.struct
class Nil:
    """A channel that was never set is the nil channel."""

    ints: go.Chan[int]
    items: go.Chan[Item]


@go.func
def send_after(ch, value, rounds):
    for _ in range(rounds):
        go.gosched()
    ch.send(value)


@go.func
def close_after(ch, rounds):
    for _ in range(rounds):
        go.gosched()
    ch.close()


@go.func
def recv_into(ch, out):
    out.send(ch.recv())


# ---- one case ready, none ready, default


@go.func
def one_ready(which):
    a, b = go.chan(int, 1), go.chan(float, 1)
    if which == 0:
        a.send(4)
    else:
        b.send(2.5)
    s = go.select(first=go.recv(a), second=go.recv(b))
    if s.case == "first":
        return 0, s.first, s.second, s.ok
    return 1, s.first, s.second, s.ok


def test_the_ready_case_takes_place_and_the_other_value_is_zero():
    assert go.run(one_ready, 0) == (0, 4, 0.0, True)
    assert go.run(one_ready, 1) == (1, 0, 2.5, True)


@go.func
def blocked(which):
    a, b = go.chan(int), go.chan(float)
    if which == 0:
        go.spawn(send_after, a, 4, 30)
    else:
        go.spawn(send_after, b, 2.5, 30)
    s = go.select(first=go.recv(a), second=go.recv(b))
    if s.case == "first":
        return 0, s.first, s.second, s.ok
    return 1, s.first, s.second, s.ok


def test_a_blocked_select_is_woken_by_the_first_sender():
    assert go.run(blocked, 0) == (0, 4, 0.0, True)
    assert go.run(blocked, 1) == (1, 0, 2.5, True)


@go.func
def blocked_send():
    a, b, out = go.chan(int), go.chan(int), go.chan(int, 1)
    go.spawn(recv_into, b, out)
    for _ in range(30):
        go.gosched()
    s = go.select(a=go.send(a, 1), b=go.send(b, 2))
    return s.case == "b", s.ok, out.recv()


@go.func
def send_parks_then_goes():
    a, b, out = go.chan(int), go.chan(int), go.chan(int, 1)
    go.spawn(late_receiver, b, out)
    s = go.select(a=go.send(a, 1), b=go.send(b, 2))
    return s.case == "b", s.ok, out.recv()


@go.func
def late_receiver(ch, out):
    for _ in range(30):
        go.gosched()
    out.send(ch.recv())


def test_sends():
    assert go.run(blocked_send) == (True, True, 2)
    assert go.run(send_parks_then_goes) == (True, True, 2)


@go.func
def defaults(wait):
    a = go.chan(int, 1)
    s = go.select(a=go.recv(a), default=True)
    empty = s.case == "default", s.case == "a", s.case != "default", s.ok, s.a
    a.send(5)
    t = go.select(a=go.recv(a), default=True)
    u = go.select(a=go.send(a, 6), default=True)
    v = go.select(a=go.send(a, 7), default=not wait)
    return empty, (t.case == "a", t.ok, t.a), (u.case == "a", u.ok), (v.case == "default", v.ok), a.recv()


def test_default():
    expected = ((True, False, False, False, 0), (True, True, 5), (True, True), (True, False), 6)
    assert go.run(defaults, False) == expected


def test_default_false_waits():
    with pytest.raises(go.DeadlockError, match="select"):
        go.run(defaults, True)


@go.func
def only_default():
    s = go.select(default=True)
    return s.case == "default"


def test_a_select_with_nothing_but_a_default():
    assert go.run(only_default) is True


# ---- the same channel twice


@go.func
def sends_and_receives_one_channel(n):
    """Both cases are possible in turn on a channel with room for one element."""
    ch = go.chan(int, 1)
    sent = received = total = 0
    for i in range(n):
        s = go.select(put=go.send(ch, i), get=go.recv(ch))
        if s.case == "put":
            sent += 1
        else:
            received += 1
            total += s.get
    return sent, received, total


def test_send_and_receive_on_one_channel():
    assert go.run(sends_and_receives_one_channel, 100) == (50, 50, sum(range(0, 100, 2)))


@go.func
def talk_to_itself():
    """A select does not meet itself: a send and a receive of its own on an unbuffered channel are not partners."""
    ch = go.chan(int)
    s = go.select(put=go.send(ch, 1), get=go.recv(ch), default=True)
    return s.case == "default"


@go.func
def both_ways_alone():
    ch = go.chan(int)
    go.select(put=go.send(ch, 1), get=go.recv(ch))


def test_a_select_is_no_partner_of_its_own():
    assert go.run(talk_to_itself) is True
    with pytest.raises(go.DeadlockError, match=r"\[select\]"):
        go.run(both_ways_alone)


@go.func
def exchange(ch, n, out):
    sent = received = 0
    for i in range(n):
        s = go.select(put=go.send(ch, i), get=go.recv(ch))
        if s.case == "put":
            sent += 1
        else:
            received += 1
    out.send((sent, received))


Counts = tuple[int, int]


@go.func
def exchanges(n, goroutines):
    ch, out = go.chan(int), go.chan(Counts)
    for _ in range(goroutines):
        go.spawn(exchange, ch, n, out)
    sent = received = 0
    for _ in range(goroutines):
        s, r = out.recv()
        sent += s
        received += r
    return sent, received


def test_two_selects_that_send_and_receive_meet():
    assert go.run(exchanges, 5000, 2) == (5000, 5000)


@go.func
def same_channel_twice(n):
    ch = go.chan(int, 1)
    first = second = wrong = 0
    for i in range(n):
        ch.send(i)
        s = go.select(a=go.recv(ch), b=go.recv(ch))
        if s.case == "a":
            first += 1
            if s.a != i or s.b != 0:
                wrong += 1
        else:
            second += 1
            if s.b != i or s.a != 0:
                wrong += 1
    return first, second, wrong


def test_the_same_receive_twice():
    first, second, wrong = go.run(same_channel_twice, 2000)
    assert wrong == 0
    assert first + second == 2000
    assert min(first, second) > 500


@go.func
def same_channel_twice_parked(n):
    """As above, but the select parks with two sudogs in one queue, and then has to leave with the other one."""
    ch, acknowledge = go.chan(int), go.chan(int)
    go.spawn(feed, ch, acknowledge, n)
    total = 0
    for _ in range(n):
        s = go.select(a=go.recv(ch), b=go.recv(ch), never=go.recv(acknowledge))
        total += s.a + s.b
        acknowledge.send(1)
    return total, len(ch)


@go.func
def feed(ch, acknowledge, n):
    for i in range(n):
        for _ in range(3):
            go.gosched()
        ch.send(i)
        acknowledge.recv()


def test_the_same_receive_twice_while_parked():
    assert go.run(same_channel_twice_parked, 3000) == (4498500, 0)


# ---- nil and closed


@go.func
def nil_cases():
    a = go.chan(int, 1)
    a.send(3)
    nil = Nil()
    s = go.select(x=go.recv(nil.ints), a=go.recv(a), y=go.send(nil.ints, 4), z=go.recv(nil.items))
    t = go.select(x=go.recv(nil.ints), y=go.send(nil.ints, 4), default=True)
    return s.case == "a", s.a, s.ok, s.x, s.z is None, t.case == "default"


@go.func
def all_nil():
    nil = Nil()
    go.select(x=go.recv(nil.ints), y=go.send(nil.ints, 4))


@go.func
def nil_while_parked():
    nil, a = Nil(), go.chan(int)
    go.spawn(send_after, a, 8, 20)
    s = go.select(x=go.recv(nil.ints), a=go.recv(a), z=go.recv(nil.items))
    return s.case == "a", s.a


def test_a_nil_channel_takes_its_case_out():
    assert go.run(nil_cases) == (True, 3, True, 0, True, True)
    assert go.run(nil_while_parked) == (True, 8)
    with pytest.raises(go.DeadlockError, match=r"\[select\]"):
        go.run(all_nil)


@go.func
def closed_ready():
    a, items = go.chan(int, 2), go.chan(Item)
    a.send(5)
    a.close()
    s = go.select(a=go.recv(a), item=go.recv(items))
    t = go.select(a=go.recv(a), item=go.recv(items))
    items.close()
    u = go.select(item=go.recv(items))
    return (s.a, s.ok), (t.case == "a", t.a, t.ok), (u.case == "item", u.item is None, u.ok)


@go.func
def closed_while_parked():
    a, b = go.chan(int), go.chan(int)
    go.spawn(close_after, b, 20)
    s = go.select(a=go.recv(a), b=go.recv(b))
    return s.case == "b", s.b, s.ok


def test_a_closed_channel_is_ready_and_not_ok():
    assert go.run(closed_ready) == ((5, True), (True, 0, False), (True, True, False))
    assert go.run(closed_while_parked) == (True, 0, False)


@go.func
def send_on_closed_in_select():
    a, b = go.chan(int, 1), go.chan(int)
    a.close()
    go.select(a=go.send(a, 1), b=go.recv(b))


@go.func
def send_closed_with_default():
    a = go.chan(int)
    a.close()
    go.select(a=go.send(a, 1), default=True)


@go.func
def send_closed_while_parked():
    a, b = go.chan(int), go.chan(int)
    go.spawn(close_after, a, 20)
    go.select(b=go.recv(b), a=go.send(a, 1))


@pytest.mark.parametrize("function", [send_on_closed_in_select, send_closed_with_default, send_closed_while_parked])
def test_a_send_on_a_closed_channel_raises(function):
    with pytest.raises(go.ClosedChannelError, match="send on closed channel"):
        go.run(function)


@go.func
def used_after_refused_sends():
    a, b = go.chan(int), go.chan(int, 1)
    a.close()
    refused = 0
    for _ in range(3):
        try:
            go.select(a=go.send(a, 1), b=go.recv(b))
        except Exception:
            refused += 1
    b.send(7)
    return refused, a.recv_ok(), b.recv()


def test_channels_can_be_used_after_a_refused_send():
    assert go.run(used_after_refused_sends) == (3, (0, False), 7)


# ---- for ever


@go.func
def no_cases():
    go.select()


@go.func
def no_cases_beside_work():
    out = go.chan(int)
    go.spawn(no_cases)
    go.spawn(send_after, out, 4, 10)
    return out.recv()


def test_select_without_cases_blocks_for_ever():
    with pytest.raises(go.DeadlockError, match=r"select \(no cases\)"):
        go.run(no_cases)
    assert go.run(no_cases_beside_work) == 4
    assert go.num_goroutine() == 0


# ---- operands


@go.func
def noted(log, mark, ch):
    log[0] = log[0] * 10 + mark
    return ch


@go.func
def value_noted(log, mark):
    log[0] = log[0] * 10 + mark
    return mark


@go.func
def operand_order(log):
    a, b = go.chan(int, 1), go.chan(int, 1)
    b.send(0)
    s = go.select(a=go.send(noted(log, 1, a), value_noted(log, 2)), b=go.recv(noted(log, 3, b)))
    return log[0], s.case == "a" or s.case == "b"


def test_operands_are_evaluated_once_and_in_order():
    assert go.run(operand_order, np.zeros(1, np.int64)) == (123, True)


# ---- values of every type


@go.func
def all_types():
    i, f, b, p, n, item = (
        go.chan(int, 1),
        go.chan(float, 1),
        go.chan(bool, 1),
        go.chan(Pair, 1),
        go.chan(np.int8, 1),
        go.chan(Item, 1),
    )
    total = 0.0
    seen = 0
    for k in range(6):
        if k == 0:
            i.send(10)
        elif k == 1:
            f.send(0.5)
        elif k == 2:
            b.send(True)
        elif k == 3:
            p.send((100, 0.25))
        elif k == 4:
            n.send(np.int8(-3))
        else:
            item.send(Item(7))
        s = go.select(i=go.recv(i), f=go.recv(f), b=go.recv(b), p=go.recv(p), n=go.recv(n), item=go.recv(item))
        total += s.i + s.f + int(s.b) + s.p[0] + s.p[1] + s.n
        if s.case == "item":
            total += s.item.n
            seen += 1
        elif s.item is None:
            seen += 1
    return total, seen


def test_values_of_every_type():
    assert go.run(all_types) == (10 + 0.5 + 1 + 100.25 - 3 + 7, 6)


# ---- labels


@go.func
def matched(which):
    jobs, stop = go.chan(int, 1), go.chan(bool, 1)
    if which == 1:
        jobs.send(5)
    elif which == 2:
        stop.close()
    s = go.select(job=go.recv(jobs), stop=go.recv(stop), default=True)
    match s.case:
        case "job":
            return s.job
        case "stop":
            return -1 if s.ok else -2
        case "default":
            return -3
    return -4


def test_match_on_the_case():
    assert [go.run(matched, k) for k in range(3)] == [-3, 5, -2]


@go.func
def wrong_label():
    a = go.chan(int)
    s = go.select(a=go.recv(a), default=True)
    return s.case == "b"


@go.func
def wrong_match():
    a = go.chan(int)
    s = go.select(a=go.recv(a), default=True)
    match s.case:
        case "jbo":
            return 1
    return 0


@go.func
def wrong_value():
    a = go.chan(int)
    s = go.select(a=go.recv(a), default=True)
    return s.b


@go.func
def value_of_a_send():
    a = go.chan(int)
    s = go.select(out=go.send(a, 1), default=True)
    return s.out


@go.func
def compared_with_a_variable(text):
    a = go.chan(int)
    s = go.select(a=go.recv(a), default=True)
    return s.case == text


@go.func
def reserved_label():
    a = go.chan(int)
    go.select(ok=go.recv(a))


@go.func
def reserved_case():
    a = go.chan(int)
    go.select(case=go.recv(a))


@go.func
def no_label():
    a = go.chan(int)
    go.select(go.recv(a))


@go.func
def no_case():
    a = go.chan(int)
    go.select(a=a)


@go.func
def default_is_no_flag():
    a = go.chan(int)
    go.select(a=go.recv(a), default=3)


@go.func
def wrong_type_sent():
    a = go.chan(int)
    go.select(a=go.send(a, "text"))


@go.func
def recv_of_a_number():
    go.select(a=go.recv(3))


@go.func
def recv_without_channel():
    go.select(a=go.recv())


@pytest.mark.parametrize(
    "function, arguments, words",
    [
        (wrong_label, (), ["no case of this select is labelled 'b'", "'a'", "'default'"]),
        (wrong_match, (), ["no case of this select is labelled 'jbo'", "'a'", "'default'"]),
        (wrong_value, (), ["no 'b'", "case, ok", "a"]),
        (value_of_a_send, (), ["no 'out'"]),
        (compared_with_a_variable, ("a",), ["literal label"]),
        (reserved_label, (), ["'ok' cannot be a label"]),
        (reserved_case, (), ["'case' cannot be a label"]),
        (no_label, (), ["every case has a label"]),
        (no_case, (), ["'a' is go.recv(ch) or go.send(ch, value)"]),
        (default_is_no_flag, (), ["default", "True or False"]),
        (wrong_type_sent, (), ["cannot send", "chan(int)"]),
        (recv_of_a_number, (), ["go.recv(ch) takes a channel"]),
        (recv_without_channel, (), ["go.recv(ch) takes a channel"]),
    ],
)
def test_refused_at_compile_time(function, arguments, words):
    with pytest.raises(Exception) as caught:  # noqa: PT011 (the text is what matters)
        go.run(function, *arguments)
    text = str(caught.value)
    for word in words:
        assert word in text
    assert "test_select.py" in text
    assert go.run(only_default) is True


def test_the_parts_of_a_select_are_for_go_functions():
    for call in (lambda: go.select(), lambda: go.recv(None), lambda: go.send(None, 1)):
        with pytest.raises(TypeError, match=r"inside a @go.func"):
            call()


# ---- fairness


@go.func
def ready_counts(n, ready, counts):
    """Selects n times over eight cases, of which `ready` are always ready and the others nil."""
    closed = go.chan(int)
    closed.close()
    nil = Nil().ints
    c1 = closed if ready > 1 else nil
    c2 = closed if ready > 2 else nil
    c3 = closed if ready > 3 else nil
    c4 = closed if ready > 4 else nil
    c5 = closed if ready > 5 else nil
    c6 = closed if ready > 6 else nil
    c7 = closed if ready > 7 else nil
    for _ in range(n):
        s = go.select(
            c0=go.recv(closed),
            c1=go.recv(c1),
            c2=go.recv(c2),
            c3=go.recv(c3),
            c4=go.recv(c4),
            c5=go.recv(c5),
            c6=go.recv(c6),
            c7=go.recv(c7),
        )
        match s.case:
            case "c0":
                counts[0] += 1
            case "c1":
                counts[1] += 1
            case "c2":
                counts[2] += 1
            case "c3":
                counts[3] += 1
            case "c4":
                counts[4] += 1
            case "c5":
                counts[5] += 1
            case "c6":
                counts[6] += 1
            case "c7":
                counts[7] += 1


@pytest.mark.parametrize("ready", range(2, 9))
def test_every_ready_case_gets_its_share(ready):
    counts = np.zeros(8, np.int64)
    go.run(ready_counts, 10000, ready, counts)
    assert counts.sum() == 10000
    assert counts[:ready].min() > 500
    assert not counts[ready:].any()
    assert counts[:ready].max() < 2 * 10000 / ready


@go.func
def produce(ch):
    i = 0
    while True:
        ch.send(i)
        i += 1


@go.func
def parked_counts(enough, most):
    """Two producers on unbuffered channels, a select in between: until both had their turns, or `most` values came."""
    a, b = go.chan(int), go.chan(int)
    go.spawn(produce, a)
    go.spawn(produce, b)
    first = second = 0
    while min(first, second) < enough and first + second < most:
        s = go.select(a=go.recv(a), b=go.recv(b))
        if s.case == "a":
            first += 1
        else:
            second += 1
    return first, second


def turns_of_producers():
    return go.run(parked_counts, 100, 5_000_000)


@pytest.mark.parametrize("procs", [1, 2])
def test_neither_of_two_producers_starves(procs):
    assert min(subprocesses.call(__name__, "turns_of_producers", GOMAXPROCS=procs)) == 100


# ---- many selects on shared channels


@go.func
def pump(source, drain, quit, out):
    """Takes from source, gives to drain, until quit is closed; reports how many it moved."""
    moved = 0
    while True:
        s = go.select(job=go.recv(source), quit=go.recv(quit))
        if s.case == "quit":
            break
        t = go.select(put=go.send(drain, s.job), quit=go.recv(quit))
        if t.case == "quit":
            break
        moved += 1
    out.send(moved)


@go.func
def pumps(n, goroutines):
    source, drain, quit, out = go.chan(int), go.chan(int), go.chan(bool), go.chan(int)
    for _ in range(goroutines):
        go.spawn(pump, source, drain, quit, out)
    sent = received = total = 0
    while received < n:
        s = go.select(
            put=go.send(source if sent < n else Nil().ints, sent),
            get=go.recv(drain),
        )
        if s.case == "put":
            sent += 1
        else:
            received += 1
            total += s.get
    quit.close()
    moved = 0
    for _ in range(goroutines):
        moved += out.recv()
    return moved, total


def pumped():
    return go.run(pumps, 20000, 8)


@pytest.mark.parametrize("procs", [1, 2, 4])
def test_selects_on_shared_channels_lose_and_double_nothing(procs):
    n = 20000
    assert subprocesses.call(__name__, "pumped", GOMAXPROCS=procs) == (n, n * (n - 1) // 2)


# ---- select_recv: over channels that are told apart by their place


@go.func
def recv_from_one_of_three(which, value):
    """One channel has a value; where it lies is known at run time only."""
    channels = (go.chan(int, 1), go.chan(int, 1), go.chan(int, 1))
    channels[which].send(value)
    return go.select_recv(channels)


@pytest.mark.parametrize("which", [0, 1, 2])
def test_select_recv_tells_which(which):
    assert go.run(recv_from_one_of_three, which, 70 + which) == (which, 70 + which, True)


@go.func
def recv_when_sent(which, rounds):
    channels = (go.chan(Pair), go.chan(Pair), go.chan(Pair), go.chan(Pair))
    go.spawn(send_pair_after, channels[which], which, rounds)
    i, pair, ok = go.select_recv(channels)
    return i, pair[0], pair[1], ok


@go.func
def send_pair_after(ch, n, rounds):
    for _ in range(rounds):
        go.gosched()
    ch.send((n, n + 0.5))


@pytest.mark.parametrize("rounds", [0, 5, 200])
@pytest.mark.parametrize("which", [0, 3])
def test_select_recv_waits(which, rounds):
    assert go.run(recv_when_sent, which, rounds) == (which, which, which + 0.5, True)


@go.func
def recv_from_closed(rounds):
    a, b = go.chan(int), go.chan(int)
    go.spawn(close_after, b, rounds)
    return go.select_recv((a, b))


@pytest.mark.parametrize("rounds", [0, 5])
def test_select_recv_of_a_closed_channel(rounds):
    assert go.run(recv_from_closed, rounds) == (1, 0, False)


@go.func
def drain(n):
    """Receives all of three channels by turns; a channel that is closed becomes nil and drops out."""
    a, b, c = go.chan(int), go.chan(int, 3), go.chan(int, 1)
    go.spawn(send_many, a, n, 1)
    go.spawn(send_many, b, n, 10)
    go.spawn(send_many, c, n, 100)
    nil = Nil().ints
    total, closed = 0, 0
    while closed < 3:
        i, value, ok = go.select_recv((a, b, c))
        if not ok:
            closed += 1
            a = nil if i == 0 else a
            b = nil if i == 1 else b
            c = nil if i == 2 else c
        total += value
    return total


@go.func
def send_many(ch, n, value):
    for _ in range(n):
        ch.send(value)
    ch.close()


def test_select_recv_leaves_nil_channels_out():
    assert go.run(drain, 50) == 50 * 111


@go.func
def only_nil_channels():
    nil = Nil().ints
    return go.select_recv((nil, nil))


def test_select_recv_of_nil_channels_blocks_for_ever():
    with pytest.raises(go.DeadlockError, match="select"):
        go.run(only_nil_channels)


@go.func
def items_by_turns(n):
    a, b = go.chan(Item, n), go.chan(Item, n)
    for k in range(n):
        a.send(Item(k))
        b.send(Item(1000 + k))
    total = 0
    for _ in range(2 * n):
        _, item, ok = go.select_recv((a, b))
        total += item.n
    return total


def test_select_recv_of_pointers():
    assert go.run(items_by_turns, 10) == 2 * sum(range(10)) + 10_000


@go.func
def who_is_taken(n, counts):
    a, b, c = go.chan(int, n), go.chan(int, n), go.chan(int, n)
    for _ in range(n):
        a.send(0)
        b.send(0)
        c.send(0)
    for _ in range(n):
        i, _, _ = go.select_recv((a, b, c))
        counts[i] += 1


def test_select_recv_is_fair():
    counts = np.zeros(3, np.int64)
    go.run(who_is_taken, 3000, counts)
    assert counts.sum() == 3000
    assert counts.min() > 800


@go.func
def of_a_channel():
    go.select_recv(go.chan(int))


@go.func
def of_a_mix():
    go.select_recv((go.chan(int), go.chan(float)))


@go.func
def of_nothing():
    go.select_recv(())


@go.func
def of_two_arguments():
    go.select_recv(go.chan(int), go.chan(int))


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (
            of_a_channel,
            r"takes a go.List of channels, or a tuple (.*) such as \(a, b, c\), not chan\(int\)",
        ),
        (of_a_mix, r"the channels carry different types (?s:.*)go.select\(label=go.recv\(ch\), ...\) takes a mix"),
        (of_nothing, "takes a go.List of channels, or a tuple of one or more"),
        (of_two_arguments, "takes one argument, a list or tuple of channels"),
    ],
)
def test_what_select_recv_refuses(function, words):
    with pytest.raises(Exception, match=words):
        go.run(function)


def test_select_recv_from_python():
    with pytest.raises(TypeError, match="inside a @go.func"):
        go.select_recv(())
