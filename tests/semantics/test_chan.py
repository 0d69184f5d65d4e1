"""Channels: what send, receive, close, range, try_, len and cap do, for every type of element."""

from __future__ import annotations

import numpy as np
import pytest

import gopark as go
from tests.semantics import subprocesses

# Aliases of element types: compiled code knows them by these names.
Pair = tuple[int, float]
Counted = tuple[int, int]
Nested = tuple[int, tuple[bool, float], int]
Ints = go.Chan[int]
Replies = go.Chan[go.Chan[int]]
Addressed = tuple[int, go.Chan[int]]


@go.struct
class Item:
    n: int
    x: float
    next: Item


@go.struct
class Nil:
    """A channel that was never set is the nil channel."""

    ints: go.Chan[int]
    items: go.Chan[Item]


# ---- order and meeting


@go.func
def send_range(ch, start, stop):
    for i in range(start, stop):
        ch.send(i)
    ch.close()


@go.func
def in_order(n, cap):
    """0 if 0..n-1 arrive in order and nothing follows, else the place of the first mistake."""
    ch = go.chan(int, cap)
    go.spawn(send_range, ch, 0, n)
    for i in range(n):
        if ch.recv() != i:
            return i + 1
    value, ok = ch.recv_ok()
    if ok or value != 0:
        return -1
    return 0


@pytest.mark.parametrize("cap", [0, 1, 2, 7, 1000])
def test_elements_arrive_in_the_order_in_which_they_were_sent(cap):
    assert go.run(in_order, 3000, cap) == 0


@go.func
def note_and_send(ch, log, mark):
    log[0] = mark
    ch.send(mark)
    log[1] = mark


@go.func
def unbuffered_meets(log):
    ch = go.chan(int)
    go.spawn(note_and_send, ch, log, 7)
    while log[0] != 7:
        go.gosched()
    for _ in range(100):
        go.gosched()
    early = log[1]
    value = ch.recv()
    while log[1] != 7:
        go.gosched()
    return early, value


def test_an_unbuffered_send_waits_for_its_receiver():
    assert go.run(unbuffered_meets, np.zeros(2, np.int64)) == (0, 7)


@go.func
def buffer_fills(log):
    ch = go.chan(int, 2)
    ch.send(1)
    ch.send(2)
    full = len(ch)
    go.spawn(note_and_send, ch, log, 3)
    while log[0] != 3:
        go.gosched()
    for _ in range(100):
        go.gosched()
    early = log[1]
    first, second, third = ch.recv(), ch.recv(), ch.recv()
    return full, early, first, second, third, len(ch), ch.cap


def test_a_full_buffer_makes_the_sender_wait_and_keeps_the_order():
    assert go.run(buffer_fills, np.zeros(2, np.int64)) == (2, 0, 1, 2, 3, 0, 2)


@go.func
def send_one(ch, value):
    ch.send(value)


@go.func
def waiting_senders_are_first_come(n):
    """Senders that wait are served in the order in which they began to wait."""
    ch = go.chan(int)
    for i in range(n):
        go.spawn(send_one, ch, i)
        for _ in range(20):
            go.gosched()
    mistakes = 0
    for i in range(n):
        if ch.recv() != i:
            mistakes += 1
    return mistakes


def test_waiting_senders_are_served_first_come():
    assert subprocesses.call(__name__, "first_come_at_one_proc", GOMAXPROCS=1) == 0


def first_come_at_one_proc():
    return go.run(waiting_senders_are_first_come, 50)


# ---- close


@go.func
def report_recv(ch, out):
    value, ok = ch.recv_ok()
    out.send(value * 10 + int(ok))


@go.func
def close_wakes_receivers(n):
    ch = go.chan(int)
    out = go.chan(int)
    for _ in range(n):
        go.spawn(report_recv, ch, out)
    for _ in range(100):
        go.gosched()
    ch.close()
    total = 0
    for _ in range(n):
        total += out.recv()
    return total


def test_close_wakes_every_waiting_receiver_with_zero_and_not_ok():
    assert go.run(close_wakes_receivers, 50) == 0


@go.func
def send_and_catch(ch, out):
    try:
        ch.send(1)
        out.send(0)
    except Exception:
        out.send(1)


@go.func
def close_wakes_senders(n):
    ch = go.chan(int)
    out = go.chan(int)
    for _ in range(n):
        go.spawn(send_and_catch, ch, out)
    for _ in range(100):
        go.gosched()
    ch.close()
    total = 0
    for _ in range(n):
        total += out.recv()
    return total


def test_close_makes_every_waiting_sender_raise():
    assert go.run(close_wakes_senders, 50) == 50


@go.func
def send_blocked_then_closed():
    ch = go.chan(int)
    go.spawn(close_later, ch)
    ch.send(1)


@go.func
def close_later(ch):
    for _ in range(50):
        go.gosched()
    ch.close()


def test_a_sender_that_waits_raises_when_the_channel_is_closed():
    with pytest.raises(go.ClosedChannelError, match="send on closed channel"):
        go.run(send_blocked_then_closed)


@go.func
def drain_after_close():
    ch = go.chan(int, 4)
    for i in range(3):
        ch.send(i + 5)
    ch.close()
    first = ch.recv_ok()
    second = ch.recv()
    third = ch.try_recv()
    return first, second, third, ch.recv(), ch.recv_ok(), ch.try_recv()


def test_a_closed_channel_is_drained_then_gives_zero():
    assert go.run(drain_after_close) == ((5, True), 6, (7, True), 0, (0, False), (0, False))


@go.func
def range_drains(n, cap, close_first):
    ch = go.chan(int, cap)
    if close_first:
        for i in range(n):
            ch.send(i)
        ch.close()
    else:
        go.spawn(send_range, ch, 0, n)
    total = 0
    count = 0
    for value in ch:
        total += value
        count += 1
    return count, total


@pytest.mark.parametrize("cap, close_first", [(0, False), (3, False), (100, True)])
def test_range_ends_when_closed_and_drained(cap, close_first):
    assert go.run(range_drains, 100, cap, close_first) == (100, 4950)


@go.func
def range_break_and_continue():
    ch = go.chan(int, 10)
    for i in range(10):
        ch.send(i)
    total = 0
    for value in ch:
        if value % 2:
            continue
        if value > 6:
            break
        total += value
    return total, len(ch)


def test_range_can_be_left():
    assert go.run(range_break_and_continue) == (12, 1)


@go.func
def close_twice():
    ch = go.chan(int)
    ch.close()
    ch.close()


@go.func
def send_on_closed():
    ch = go.chan(int, 5)
    ch.close()
    ch.send(1)


@go.func
def try_send_on_closed():
    ch = go.chan(int, 5)
    ch.close()
    return ch.try_send(1)


@go.func
def close_nil():
    ch = Nil().ints
    ch.close()


@pytest.mark.parametrize(
    "function, error, text",
    [
        (close_twice, go.ClosedChannelError, "close of closed channel"),
        (send_on_closed, go.ClosedChannelError, "send on closed channel"),
        (try_send_on_closed, go.ClosedChannelError, "send on closed channel"),
        (close_nil, go.NilPointerError, "close of a nil channel"),
    ],
)
def test_misuse_raises(function, error, text):
    with pytest.raises(error, match=text):
        go.run(function)


@go.func
def used_after_misuse():
    """Whatever was refused, the channel goes on as before."""
    ch = go.chan(int, 1)
    ch.send(7)
    ch.close()
    refused = 0
    for _ in range(2):
        try:
            ch.send(1)
        except Exception:
            refused += 1
        try:
            ch.close()
        except Exception:
            refused += 1
        try:
            ch.try_send(1)
        except Exception:
            refused += 1
        try:
            go.select(a=go.send(ch, 1), default=True)
        except Exception:
            refused += 1
    return refused, ch.recv_ok(), ch.recv_ok(), len(ch)


def test_a_channel_can_be_used_after_a_misuse():
    assert go.run(used_after_misuse) == (8, (7, True), (0, False), 0)


# ---- try_, len and cap


@go.func
def tries():
    ch = go.chan(int, 1)
    empty = ch.try_recv()
    sent = ch.try_send(4)
    full = ch.try_send(5)
    n = len(ch)
    got = ch.try_recv()
    meeting = go.chan(int)
    nobody = meeting.try_send(1), meeting.try_recv()
    return empty, sent, full, n, got, len(ch), nobody


def test_try_send_and_try_recv():
    expected = ((0, False), True, False, 1, (4, True), 0, (False, (0, False)))
    assert go.run(tries) == expected


@go.func
def try_send_meets_receiver():
    ch = go.chan(int)
    out = go.chan(int, 1)
    go.spawn(report_recv, ch, out)
    while not ch.try_send(3):
        go.gosched()
    return out.recv()


@go.func
def try_recv_meets_sender():
    ch = go.chan(int)
    go.spawn(send_one, ch, 9)
    value, ok = ch.try_recv()
    while not ok:
        go.gosched()
        value, ok = ch.try_recv()
    return value


def test_try_finds_the_partner_that_waits():
    assert go.run(try_send_meets_receiver) == 31
    assert go.run(try_recv_meets_sender) == 9


@go.func
def nil_tries():
    ch = Nil().items
    value, ok = ch.try_recv()
    return ch.try_send(Item()), value is None, ok, len(ch), ch.cap, ch is None


def test_a_nil_channel_is_never_ready():
    assert go.run(nil_tries) == (False, True, False, 0, 0, True)


@go.func
def counts(cap):
    ch = go.chan(int, cap)
    before = len(ch)
    for i in range(cap // 2):
        ch.send(i)
    return before, len(ch), ch.cap


@pytest.mark.parametrize("cap", [0, 1, 10, 100000])
def test_len_and_cap(cap):
    assert go.run(counts, cap) == (0, cap // 2, cap)


def test_a_negative_capacity_is_a_value_error():
    with pytest.raises(ValueError, match="capacity is negative"):
        go.run(counts, -1)
    assert go.run(counts, 2) == (0, 1, 2)


def test_an_absurd_capacity_is_a_memory_error():
    for cap in (1 << 60, 1 << 50, 1 << 43):
        with pytest.raises(MemoryError, match="bytes wanted"):
            go.run(counts, cap)
    assert go.run(counts, 2) == (0, 1, 2)


# ---- nil channels block for ever


@go.func
def nil_recv():
    ch = Nil().ints
    ch.recv()


@go.func
def nil_send():
    ch = Nil().ints
    ch.send(1)


@go.func
def nil_range():
    ch = Nil().ints
    for _ in ch:
        return 1
    return 0


@go.func
def receive(ch):
    return ch.recv()


@go.func
def nil_argument():
    go.spawn(receive, Nil().ints)
    receive(Nil(None, None).items)


@pytest.mark.parametrize(
    "function, reason",
    [
        (nil_recv, r"chan receive \(nil chan\)"),
        (nil_send, r"chan send \(nil chan\)"),
        (nil_range, r"chan receive \(nil chan\)"),
        (nil_argument, r"chan receive \(nil chan\)"),
    ],
)
def test_a_nil_channel_blocks_for_ever(function, reason):
    with pytest.raises(go.DeadlockError, match=reason):
        go.run(function)


@go.func
def nil_recv_beside_others():
    ch = Nil().ints
    out = go.chan(int)
    go.spawn(send_one, out, 3)
    go.spawn(send_one, ch, 3)
    return out.recv()


def test_a_goroutine_that_blocks_for_ever_does_not_hold_up_the_run():
    assert go.run(nil_recv_beside_others) == 3
    assert go.num_goroutine() == 0


# ---- elements of every type


@go.func
def through(ch, value):
    """Sends value three ways: into the ring, to a receiver that waits, from a sender that waits."""
    ch.send(value)
    first = ch.recv()
    go.spawn(send_one, ch, value)
    second = ch.recv()
    ch.send(value)
    go.spawn(send_one, ch, value)
    third, ok = ch.recv_ok()
    fourth, _ = ch.recv_ok()
    ch.close()
    return first, second, third, fourth, ok, ch.recv()


@go.func
def ints(v):
    return through(go.chan(int, 1), v)


@go.func
def floats(v):
    return through(go.chan(float, 1), v)


@go.func
def bools(v):
    return through(go.chan(bool, 1), v)


@go.func
def int32s(v):
    return through(go.chan(np.int32, 1), v)


@go.func
def uint8s(v):
    return through(go.chan(np.uint8, 1), v)


@go.func
def int16s(v):
    return through(go.chan(np.int16, 1), v)


@go.func
def uint64s(v):
    return through(go.chan(np.uint64, 1), v)


@go.func
def float32s(v):
    return through(go.chan(np.float32, 1), v)


@go.func
def pairs(v):
    return through(go.chan(Pair, 1), v)


@go.func
def nested(v):
    return through(go.chan(Nested, 1), v)


@pytest.mark.parametrize(
    "function, value, zero",
    [
        (ints, -(2**63), 0),
        (ints, 2**63 - 1, 0),
        (floats, -1.5e300, 0.0),
        (bools, True, False),
        (int32s, np.int32(-(2**31)), 0),
        (uint8s, np.uint8(255), 0),
        (int16s, np.int16(-300), 0),
        (uint64s, np.uint64(2**64 - 1), 0),
        (float32s, np.float32(0.1), 0.0),
        (pairs, (3, 0.25), (0, 0.0)),
        (nested, (1, (True, 2.5), -1), (0, (False, 0.0), 0)),
    ],
)
def test_scalars_and_tuples_arrive_as_sent(function, value, zero):
    assert go.run(function, value) == (value, value, value, value, True, zero)


@go.func
def narrow(n):
    """Elements smaller than a word do not touch their neighbours in the ring."""
    ch = go.chan(np.int8, n)
    for i in range(n):
        ch.send(np.int8(i - 100))
    wrong = 0
    for i in range(n):
        if ch.recv() != i - 100:
            wrong += 1
    return wrong


def test_narrow_elements():
    assert go.run(narrow, 200) == 0


@go.func
def converted():
    """An int is sent on a channel of float, as a Python int goes where a float is wanted."""
    ch = go.chan(float, 2)
    ch.send(3)
    ch.send(True)
    return ch.recv(), ch.recv()


def test_numbers_convert_to_the_element_type():
    assert go.run(converted) == (3.0, 1.0)


@go.func
def structs():
    ch = go.chan(Item, 1)
    a = Item(1, 2.5, None)
    b = Item(2, 3.5, a)
    ch.send(b)
    got = ch.recv()
    go.spawn(send_one, ch, got)
    again = ch.recv()
    ch.send(None)
    nothing, ok = ch.recv_ok()
    ch.close()
    return got is b, again is b, again.next is a, again.next.x, nothing is None, ok, ch.recv() is None


def test_struct_pointers_keep_their_identity():
    assert go.run(structs) == (True, True, True, 2.5, True, True, True)


@go.func
def answer(requests):
    for request in requests:
        n, reply = request
        reply.send(n * n)


@go.func
def tuples_with_channels():
    requests = go.chan(Addressed)
    go.spawn(answer, requests)
    total = 0
    for i in range(100):
        reply = go.chan(int)
        requests.send((i, reply))
        total += reply.recv()
    requests.close()
    return total


@go.func
def hand_over(channels, n):
    mine = go.chan(int, 1)
    channels.send(mine)
    mine.send(n)


@go.func
def channels_of_channels():
    channels = go.chan(Ints)
    nested = go.chan(Replies, 1)
    nested.send(channels)
    for i in range(20):
        go.spawn(hand_over, channels, i)
    total = 0
    same = nested.recv()
    for _ in range(20):
        total += same.recv().recv()
    return total, same is channels


def test_channels_travel_on_channels():
    assert go.run(tuples_with_channels) == 328350
    assert go.run(channels_of_channels) == (190, True)


def _row(n):
    """An alias of n ints."""
    return tuple[(int,) * n]


Wide = _row(64)


@go.func
def wide_elements():
    ch = go.chan(Wide, 3)
    row = (1,) * 64
    for _ in range(3):
        ch.send(row)
    total = 0
    for _ in range(3):
        got = ch.recv()
        total += got[0] + got[63]
    return total


def test_an_element_of_512_bytes():
    assert go.run(wide_elements) == 6


Half = tuple[(_row(64),) * 64]
Limit = tuple[Half, Half]
TooLarge = tuple[Half, Half, bool]


@go.func
def as_large_as_possible():
    return go.chan(Limit, 2).cap


@go.func
def too_large():
    return go.chan(TooLarge).cap


def test_an_element_is_at_most_64_kib():
    assert go.run(as_large_as_possible) == 2
    with pytest.raises(Exception, match="larger than 64 KiB"):
        go.run(too_large)


# ---- storms


@go.func
def produce(ch, start, stop, done):
    for i in range(start, stop):
        ch.send(i)
    done.done()


@go.func
def consume(ch, out):
    total = 0
    count = 0
    for value in ch:
        total += value
        count += 1
    out.send((count, total))


@go.func
def storm(producers, consumers, each, cap):
    ch = go.chan(int, cap)
    out = go.chan(Counted)
    producing = go.WaitGroup()
    producing.add(producers)
    for p in range(producers):
        go.spawn(produce, ch, p * each, (p + 1) * each, producing)
    for _ in range(consumers):
        go.spawn(consume, ch, out)
    producing.wait()
    ch.close()
    count = 0
    total = 0
    for _ in range(consumers):
        got = out.recv()
        count += got[0]
        total += got[1]
    return count, total


def storms():
    for producers, consumers, cap in ((1, 1, 0), (1, 8, 0), (8, 1, 0), (8, 8, 0), (8, 8, 1), (8, 8, 64), (50, 50, 3)):
        each = 20000 // producers
        n = each * producers
        if go.run(storm, producers, consumers, each, cap) != (n, n * (n - 1) // 2):
            return (producers, consumers, cap)
    return None


@pytest.mark.parametrize("procs", [1, 2, 4])
def test_producers_and_consumers_lose_and_double_nothing(procs):
    assert subprocesses.call(__name__, "storms", GOMAXPROCS=procs) is None
