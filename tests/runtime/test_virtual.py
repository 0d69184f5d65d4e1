"""The seam is enough to take the operating system away: two Ms play ping-pong as coroutines of one thread.

The image is the live one. What it asks of the system leads to a virtual one (virtual_unit.py), which gives every M one
turn after the other, a turn being one primitive, and keeps a log of the primitives. Each test reads what a process of
its own printed (virtual_child.py): two games, one after the other, at two Ps.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import subprocess
import sys
from typing import NamedTuple

ROUNDS, GAMES = 10, 2
TOTAL = sum(range(1, ROUNDS + 1))  # every ball comes back larger by one
NEVER = GAMES
MS = {1: "M0", 2: "M1"}  # the virtual threads of the first game, and their Ms


@functools.cache
def play(process: int, deaf: int = NEVER) -> dict:
    """What the process with that number printed: it runs once, the tests share it. From game number `deaf` on it loses
    wakes."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.runtime.virtual_child", *map(str, (ROUNDS, GAMES, deaf))],
        env={
            **os.environ,
            "GOMAXPROCS": "2",
            "GOPARK_SEED": "1",
            "OPENBLAS_NUM_THREADS": "1",  # NumPy's own threads
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        },
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


class Event(NamedTuple):
    thread: int
    what: str
    place: str
    x: str
    y: str
    callers: list[str]  # innermost first


def first_game(said: dict) -> list[Event]:
    events = []
    for line in said["log"][: said["games"][0]["events"]]:
        thread, what, place, x, y, *callers = line.replace(" < ", " ").split()
        events.append(Event(int(thread), what, place, x, y, callers))
    return events


def test_the_object_is_the_live_one(booted):
    """The image's code is the same bytes as in this process; only the object of hooks is another."""
    live = [hashlib.sha256(data).hexdigest() for data in booted.image.objects]
    main, hooks = play(1)["objects"]
    assert main == live[0]
    assert hooks != live[1]


def test_the_games_end_well_without_a_second_thread():
    said = play(1)
    for game in said["games"]:
        assert (game["done"], game["total"], game["goroutines"], game["asleep"]) == (True, TOTAL, 0, True)
    assert said["games"][0]["threads"] == len(MS)
    assert said["tasks"] == [1] * (1 + GAMES), "threads that the kernel knows: before the boot, and after each game"


def test_each_m_sleeps_and_is_woken():
    """Each sleeps in a futex, on its own note and nowhere else, and each time the other one wakes it."""
    log = first_game(play(1))
    for thread, m in MS.items():
        slept = [event for event in log if event.what == "slept" and event.thread == thread]
        woken = [event for event in log if event.what == "woke" and event.x == str(thread)]
        assert len(woken) >= 1
        assert {event.thread for event in woken} == {3 - thread}
        assert {event.place for event in slept + woken} == {f"{m}.park"}
        fate = [event.what for event in log if event in slept or event in woken]
        assert fate == ["slept", "woke"] * len(woken) + ["slept"], "in turn, and asleep at the end"


def test_each_m_goes_through_the_scheduler():
    """The primitives were performed by Go's functions, on both Ms, and goroutines ran on both.

    A function whose last act is a call may leave no frame behind: startm, where it wakes an M or makes one; and LLVM
    decides whether releasep has one."""
    log = first_game(play(1))
    for thread in MS:
        chains = [event.callers for event in log if event.thread == thread]
        called = {function for callers in chains for function in callers}
        assert {"mstart", "schedule", "findrunnable", "stopm", "startm", "notesleep", "notewakeup"} <= called
        assert {"gostart", "pingpong", "pong", "chansend", "chanrecv", "gopark"} <= called
        assert ["futexsleep", "notesleep", "stopm", "findrunnable", "schedule", "mstart"] in chains
        woken = [event.place for event in log if event.thread == thread and event.callers[:1] == ["notewakeup"]]
        assert f"{MS[3 - thread]}.park" in woken
        taken = [event.callers[:2] for event in log if event.thread == thread and event.what == "handoff.none"]
        assert ["acquirep", "mstart"] in taken, "the P that it was started with"
        assert ["acquirep", "stopm"] in taken, "the P that it was woken with"
        assert any(f"{a} {b}" in ("findrunnable schedule", "releasep findrunnable") for a, b in taken), (
            "the P that it gave away"
        )


def test_turns_go_round():
    """Who can run gets one turn after the other, and a turn is one primitive."""
    awake, last, turns, most = set(), 0, 0, 0
    for event in first_game(play(1)):
        if event.what in ("born", "woke"):
            awake.add(int(event.x))
        elif event.what == "slept":
            awake.remove(event.thread)
        else:
            turns = turns + 1 if event.thread == last else 1
            last = event.thread
        if len(awake) < 2:
            turns = 0
        most = max(most, turns)
    assert most == 2, "two in a row only where the other one has just come"


def test_two_processes_do_the_same():
    """With one seed the whole sequence is the same, although addresses are others: they are compared by name."""
    logs = [play(process)["log"] for process in (1, 2)]
    differ = next((pair for pair in zip(*logs, strict=False) if pair[0] != pair[1]), None)
    assert differ is None
    first, second = (hashlib.sha256("\n".join(log).encode()).hexdigest() for log in logs)
    assert first == second


def test_a_lost_wake_shows():
    """The wake that should start the second game is lost: all sleep, and a goroutine waits that nobody runs."""
    right, wrong = play(1), play(3, deaf=1)
    first, second = wrong["games"]
    assert first == right["games"][0]
    assert wrong["log"][: first["events"]] == right["log"][: first["events"]]
    assert (second["asleep"], second["done"], second["total"], second["goroutines"]) == (True, False, 0, 1)
    (lost,) = wrong["log"][first["events"] :]
    driver, what, place = lost.split()[:3]
    assert (driver, what) == ("0", "lost")
    assert place in ("M0.park", "M1.park"), "the M that went to sleep last"
