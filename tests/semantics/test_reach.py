"""What Python can reach, Python can wake: when a run that was given objects is deadlocked, and when not."""

from __future__ import annotations

import threading
import time

import pytest

import gopark as go

PATIENCE = 0.4  # seconds in which a run that counted as deadlocked would have been ended several times over


@go.struct
class Box:
    ch: go.Chan[int]
    next: Box
    pair: tuple[int, go.Chan[int]]
    boxes: go.List[Box]
    queue: go.Chan[Box]
    mu: go.Mutex
    flag: bool


class Running:
    """A run on a thread of its own: its result, or what it raised."""

    def __init__(self, fn, *args):
        self.outcome = None
        self._thread = threading.Thread(target=self._run, args=(fn, *args))
        self._thread.start()

    def _run(self, fn, *args):
        try:
            self.outcome = go.run(fn, *args)
        except BaseException as e:
            self.outcome = type(e)

    def still(self) -> bool:
        """Whether it goes on although nothing happens."""
        time.sleep(PATIENCE)
        return self._thread.is_alive()

    def ended(self):
        self._thread.join(60)
        assert not self._thread.is_alive()
        return self.outcome


@go.func
def waits_for(ch):
    return ch.recv()


def test_a_channel_that_python_holds():
    ch = go.chan(int)
    run = Running(waits_for, ch)
    assert run.still()
    ch.send(5)
    assert run.ended() == 5


@go.func
def in_a_field(box):
    box.ch = go.chan(int)
    return box.ch.recv()


@go.func
def in_the_next(box):
    box.next = Box(None, Box(go.chan(int)))
    box.next.next.next = box
    return box.next.next.ch.recv()


@go.func
def in_a_tuple(box):
    box.pair = (1, go.chan(int))
    return box.pair[1].recv()


@go.func
def in_a_list(box):
    box.boxes = go.List[Box]()
    for _ in range(1000):
        box.boxes.append(Box(go.chan(int)))
    return box.boxes[777].ch.recv()


@go.func
def in_a_buffer(box):
    box.queue = go.chan(Box, 4)
    ch = go.chan(int)
    for _ in range(2):
        box.queue.send(Box(ch))
    return ch.recv()


@go.func
def in_a_select(box):
    box.ch = go.chan(int)
    other = go.chan(int)
    s = go.select(a=go.recv(other), b=go.recv(box.ch))
    return s.b


def hand(box):
    """The way from the box to the channel."""
    if box.ch:
        return box.ch
    if box.next:
        return box.next.next.ch
    if box.pair[1]:
        return box.pair[1]
    return box.queue.recv().ch


@pytest.mark.parametrize("program", [in_a_field, in_the_next, in_a_tuple, in_a_buffer, in_a_select])
def test_a_channel_that_python_can_get_at(program, procs):
    box = Box()
    run = Running(program, box)
    assert run.still()
    hand(box).send(7)
    assert run.ended() == 7


@go.func
def wakes(box):
    box.boxes[777].ch.send(8)


def test_a_channel_in_a_list():
    box = Box()
    run = Running(in_a_list, box)
    assert run.still()
    go.run(wakes, box)
    assert run.ended() == 8


@go.func
def asleep_beside(box):
    """Waits for what only itself can reach."""
    return go.chan(int).recv()


def test_a_channel_that_python_cannot_get_at():
    box = Box(go.chan(int), Box())
    assert Running(asleep_beside, box).ended() is go.DeadlockError


@pytest.mark.parametrize("program", [in_a_field, in_the_next])
def test_the_way_is_cut(program):
    box = Box()
    run = Running(program, box)
    assert run.still()
    box.ch = box.next = None
    assert run.ended() is go.DeadlockError


@go.func
def locks(box):
    box.mu.lock()
    return 3


def test_a_mutex_that_python_can_unlock():
    box = Box()
    box.mu.lock()
    run = Running(locks, box)
    assert run.still()
    box.mu.unlock()
    assert run.ended() == 3


@go.func
def takes_and_computes(box):
    """From here on only this goroutine knows the channel."""
    ch = box.ch
    box.ch = None
    while not box.flag:
        go.gosched()
    ch.send(4)


@go.func
def takes_and_waits(box):
    ch = box.ch
    box.ch = None
    return ch.recv()


def test_runs_that_were_given_objects_are_judged_together():
    one, other = Box(), Box()
    one.ch = other.ch = go.chan(int)
    waiter, worker = Running(takes_and_waits, one), Running(takes_and_computes, other)
    assert waiter.still()
    other.flag = True
    assert waiter.ended() == 4 and worker.ended() is None


def test_two_runs_that_nobody_can_wake():
    boxes = Box(), Box()
    boxes[0].ch, boxes[1].ch = go.chan(int), go.chan(int)
    runs = [Running(takes_and_waits, b) for b in boxes]
    assert [r.ended() for r in runs] == [go.DeadlockError] * 2


@go.func
def large(box, n):
    for _ in range(n):
        box.next = Box(None, box.next)
    return go.chan(int).recv()


def test_a_large_graph():
    box = Box()
    assert Running(large, box, 200_000).ended() is go.DeadlockError
    count, node = 0, box
    while node is not None and count < 100:
        count, node = count + 1, node.next
    assert count == 100


def test_a_thread_that_waits_is_no_deadlock_of_its_own():
    ch = go.chan(int)
    received = []
    thread = threading.Thread(target=lambda: received.append(ch.recv()))
    thread.start()
    time.sleep(PATIENCE)
    with pytest.raises(go.DeadlockError):
        go.run(asleep_beside, Box())
    ch.send(1)
    thread.join(60)
    assert received == [1]
