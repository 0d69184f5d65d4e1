"""Mutants that nothing kills, and why.

A name, or `* ` and a part of a name -> the reason. One that begins with "equal:" cannot be killed by what it does;
"time:" costs time and nothing else; "unseen:" is a fault that no test meets yet. A mutant that is killed must not be
here by its name.
"""

from __future__ import annotations

IN_ORDER = "equal: x86-64 keeps stores in order; only the compiler could move this one"
LOOKS_AGAIN = "equal: the compare and swap looks itself; the look saves it the line"
ONE_RUN = "equal: whoever uses a mutex belongs to one run, which has ended for all of them"
RARE = "unseen: two threads must meet within a few instructions; under the explorer they will"

SURVIVORS: dict[str, str] = {
    "* plain store for store(": IN_ORDER,
    "mp.allmadd: drop fence()": IN_ORDER,
    "proc.newp: drop fence()": IN_ORDER,
    "runs.newrun: drop fence()": IN_ORDER,
    "stack.allgadd: drop fence()": IN_ORDER,
    "proc.goexit: a dead G keeps its run: gp.run = None -> pass": (
        "equal: whoever looks at the run of a G looks at its status first, and a dead one counts nowhere"
    ),
    "mp.wakep: no look before the claim: load(sched, 'nmspinning') != 0 -> False": LOOKS_AGAIN,
    "lock_futex.lock2: no look before the claim: lockload(l, 'key') == 0 -> True": LOOKS_AGAIN,
    "lock_futex.spinlock2: no look before the claim: lockload(l, 'key') == 0 -> True": LOOKS_AGAIN,
    "runq.runqget: does not prefetch: tail - head > 2 -> False": "time: the memory of the next one is cold",
    "runq.runqsteal: believes a torn read: n > HALF -> False": (
        "equal: the swap of runqhead fails, because that has moved; the look saves it the copying"
    ),
    "runq.runqsteal: leaves the victim no chance: for _ in range(50):\n    pause() -> pass": (
        "time: a goroutine moves that was about to run where it is"
    ),
    "sema.semacquire: no first look at the count: if cansemacquire(s):\n    return ACQUIRED -> pass": (
        "time: the second look finds it, under the lock"
    ),
    "sema.semrelease: always looks for sleepers: load(root, 'nwait') == 0 -> False": "time: it takes the lock in vain",
    "sema.semdequeue: the unit of a sleeper that left is lost: xadd(s, 'count', 1) -> pass": ONE_RUN,
    "sync.mutexlockslow: a waiter that left stays counted: xadd(m, 'state', -WAITER) -> pass": ONE_RUN,
    "runs.newrun: the status of another run is kept: run.exitcode = 0 -> pass": (
        "equal: whoever ends a run sets it, and nobody reads it before"
    ),
    "runs.newrun: the last look of another run is believed: run.lastlook = 0 -> pass": (
        "equal: looks are made of the numbers of goroutines, which no two runs share"
    ),
    "proc.findrunnable: helpers wait like everybody: load(sched, 'urgent') != 0 -> False": (
        "time: a Python thread waits for time slices of goroutines that compute"
    ),
    "* runs.newhelper: nobody makes room": "time: a helper waits for the end of a time slice",
    "* runs.preempted: yields before it leaves": "time: it yields, and leaves when it comes back",
    "runs.morestack: no look at the end of the run: if gp.run is not None and load(gp.run, 'ended') != 0:\n"
    "    return 1 -> pass": "time: it yields before it leaves",
    "runs.endrun: no second clean look: clean < 2 -> clean < 1": RARE,
    "runs.endrun: looks that are not clean do not count: clean = 0 -> pass #2": RARE,
}
