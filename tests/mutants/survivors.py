"""Mutants that nothing kills, and why.

A name, or `* ` and a part of a name -> the reason. One that begins with "equal:" cannot be killed by what it does;
"time:" costs time and nothing else; "unseen:" is a fault that no test meets yet. A mutant that is killed must not be
here by its name.
"""

from __future__ import annotations

IN_ORDER = "equal: x86-64 keeps stores in order; only the compiler could move this one"
BY_TIME = (
    "time: polls end every slice within 20 ms (R4), and then the global queue and the other Ps have their turn too; "
    "without this look it takes that long"
)
RARE = "unseen: two threads must meet within a few instructions; under the explorer they will"

SURVIVORS: dict[str, str] = {
    "* plain store for store(": IN_ORDER,
    "mp.allmadd: drop fence()": IN_ORDER,
    "proc.newp: drop fence()": IN_ORDER,
    "proc.claim: load and store for cas(gp, 'atomicstatus', Gwaiting, Grunnable)": RARE,
    "proc.demotenext: always win cas(pp, 'runnext', next, None)": RARE,
    "proc.goexit: a dead G keeps its run: gp.run = None -> pass": (
        "equal: whoever looks at the run of a G looks at its status first, and a dead one counts nowhere"
    ),
    "proc.gopark: never by way of the loop: tick % FAIRNESS != 0 -> True": BY_TIME,
    "proc.findrunnable: no look at the global queue first: over or pp.slicetick - pp.globaltick >= FAIRNESS -> False": (
        BY_TIME
    ),
    "proc.goyield: the global queue is never looked at: tick % FAIRNESS != 0 -> True": BY_TIME,
    "proc.yieldto: does not steal: gp is None and tick % FAIRNESS == 0 -> False": BY_TIME,
    "proc.yieldto: no look at the global queue: sched.runqsize > 0 -> False": BY_TIME,
    "proc.findrunnable: an M that steals does not count as spinning: mp.spinning == 0 -> False": (
        "time: more Ms than necessary are woken"
    ),
    "* no second look at the global queue: if sched.runqsize > 0": RARE,
    "proc.findrunnable_nop: no re-check of the queues: workwaits() -> False": RARE,
    "proc.findrunnable_nop: a dead run is not reported: load(sched, 'npidle') == sched.gomaxprocs -> False": (
        "time: the thread in go.run looks every 50 ms in any case"
    ),
    "proc.workwaits: no look at the global queue: sched.runqsize > 0 -> False": RARE,
    "proc.workwaits: no look at the rings: not runqempty(sched.allp[i]) -> False": RARE,
    "mp.wakep: no look before the claim: load(sched, 'nmspinning') != 0 -> False": (
        "equal: the compare and swap looks itself; the look saves it the line"
    ),
    "proc.stealwork: always in the same order: (i + offset) % procs -> i": "time: thieves get in each other's way",
    "proc.stealwork: runnext is never stolen: attempt == 3 -> False": BY_TIME,
    "mp.handoffp: always win cas(sched, 'nmspinning', 0, 1)": RARE,
    "sync.waitgroupwait: always win cas(wg, 'state', state, state + 1)": RARE,
}
