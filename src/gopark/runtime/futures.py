"""Runs that nobody waits for by himself: the runtime's half of go.submit.

Stands for: nothing in Go.

`go.submit` starts a run and returns. Thousands of them may be there at once, so they share one Python thread, which
does for all of them what the thread in go.run does for its own: it sleeps until a run is done, takes results, looks at
time slices (runs.py, R4), and looks for deadlocks.

* FU1  A run is done once: rundone pushes it to `futures.done`, and whoever found that stack empty wakes the thread. The
       thread takes all that are there before it sleeps again.
* FU2  A look for deadlocks is one walk over allgs for all runs: each collects in its `mark` what lookrun collects for
       one. Runs that were given objects have one mark in common (R5). Only that thread uses the marks.

All of this runs on a Python thread, without a P.
"""

from __future__ import annotations

from gopark.compiler.image import NO_P, fn
from gopark.runtime.lfstack import lfstackreversed, lfstacktake
from gopark.runtime.lock_futex import noteclear, notetsleep
from gopark.runtime.prims import addr, load
from gopark.runtime.runs import LOOK_TICKS, TICK_NS, foldlook, futures, lookps, saved
from gopark.runtime.runtime2 import Gdead, Gwaiting, sched
from gopark.runtime.stack import firstg, nextg, scavengeidle

NOBODY = 1  # the mark of a run of which no goroutine was seen
ALIVE = 0  # ... of which one may run


@fn(inline=False, entered=NO_P)
def futureswait() -> int:
    """Sleep until a run is done, at most LOOK_TICKS ticks; the first of those that are, the others behind it, or 0."""
    for _ in range(LOOK_TICKS):
        if notetsleep(futures.note, TICK_NS):
            noteclear(futures.note)
            break
        lookps()
    return lfstackreversed(lfstacktake(futures.done))


@fn(inline=False, entered=NO_P)
def futureslook() -> int:
    """Look for deadlocks: a run that two looks have found dead, each once, or 0 when there is none left. FU2."""
    scavengeidle()
    given = lookall()
    run = sched.allruns
    while run is not None:
        if load(run, "inuse") != 0 and run.token != 0 and run.dead == 0 and load(run, "ended") == 0:
            look = given if run.given != 0 else run.mark
            if look == NOBODY:
                look = ALIVE  # about to start, or about to be done
            if look != ALIVE and look == run.lastlook and not saved(run, look):
                run.dead = 1
                return addr(run)
            run.lastlook = look
        run = run.alllink
    return 0


@fn(inline=False)
def lookall() -> int:
    """Set the marks of all runs; the common one is returned."""
    run = sched.allruns
    while run is not None:
        run.mark = NOBODY
        run = run.alllink
    given = NOBODY
    gp = firstg(0)
    while gp is not None:
        owner = gp.run
        if owner is not None:
            status = load(gp, "atomicstatus")
            if status != Gdead:
                waits = status == Gwaiting
                owner.mark = foldlook(owner.mark, gp, waits)
                if owner.given != 0:
                    given = foldlook(given, gp, waits)
        gp = nextg(gp)
    return given
