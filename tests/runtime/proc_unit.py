"""Entry points for the tests of what proc.py, runs.py and stack.py decide: an M that has run out of work, the thread in
go.run that looks after its run, free stacks. The structs are made by the tests, and no goroutine runs."""

from __future__ import annotations

from gopark.compiler.image import NO_P, fn
from gopark.runtime.prims import addr, load, pause, ptr, setPNoWriteBarrier, store, throw, xadd
from gopark.runtime.proc import (
    claim,
    claimlocked,
    demotenext,
    findrunnable,
    findrunnable_nop,
    finish,
    newprocforeign,
    resetspinning,
    stealwork,
    yieldto,
)
from gopark.runtime.runq import runqget, runqput, runqsteal
from gopark.runtime.runs import claimended, lookps, lookrun, newrun, pokeruns
from gopark.runtime.runtime2 import G, Grunnable, Gwaiting, M, P, Run, sched
from gopark.runtime.stack import gfget, gfput, stackalloc, stackscavenge
from tests.runtime.scheduler_unit import meet, started


@fn(inline=False)
def selunlockparked(gp: G):
    throw("no goroutine parks here")


@fn(entered=NO_P)
def t_findrunnable(mp: int) -> int:
    return addr(findrunnable(ptr(M, mp)))


@fn(entered=NO_P)
def t_findrunnable_nop(mp: int) -> int:
    return 1 if findrunnable_nop(ptr(M, mp)) else 0


@fn(entered=NO_P)
def t_resetspinning(mp: int):
    resetspinning(ptr(M, mp))


@fn(entered=NO_P)
def t_stealwork(pp: int, procs: int) -> int:
    return addr(stealwork(ptr(P, pp), procs))


@fn(entered=NO_P)
def t_yieldto(pp: int, tick: int) -> int:
    return addr(yieldto(ptr(P, pp), tick))


@fn(entered=NO_P)
def t_demotenext(pp: int):
    demotenext(ptr(P, pp))


@fn(entered=NO_P)
def t_finish(mp: int, action: int):
    finish(ptr(M, mp), action)


@fn(entered=NO_P)
def t_claim(gp: int) -> int:
    return 1 if claim(ptr(G, gp)) else 0


@fn(entered=NO_P)
def t_claimlocked(gp: int) -> int:
    return 1 if claimlocked(ptr(G, gp)) else 0


# ---- two at the same instant


@fn(entered=NO_P)
def t_claims(gp: int, rounds: int, first: int) -> int:
    """One of two that claim a parked G, again and again; the first one, who parks it, counts the rounds in which not
    exactly one of them won."""
    wrong = 0
    g = ptr(G, gp)
    for i in range(rounds):
        if first != 0:
            store(g, "atomicstatus", Gwaiting)
            store(started, "found", 0)
        meet(2 * i + 1)
        if claim(g):
            xadd(started, "found", 1)
        meet(2 * i + 2)
        if first != 0 and (load(started, "found") != 1 or g.atomicstatus != Grunnable):
            wrong += 1
    return wrong


@fn(entered=NO_P)
def t_demotes(pp: int, gp: int, rounds: int) -> int:
    """The end of a time slice, while somebody steals what is in runnext: how often the G was in two places, or in
    none."""
    p, wrong = ptr(P, pp), 0
    for i in range(rounds):
        runqput(p, ptr(G, gp), True)
        meet(2 * i + 1)
        for _ in range(i % 100):  # a thief waits before it takes runnext
            pause()
        demotenext(p)
        meet(2 * i + 2)
        places = load(started, "found")
        g = runqget(p)
        while g is not None:
            places += 1
            g = runqget(p)
        if places != 1:
            wrong += 1
    return wrong


@fn(entered=NO_P)
def t_robs(pp: int, victim: int, rounds: int):
    """The thief."""
    for i in range(rounds):
        meet(2 * i + 1)
        gp = runqsteal(ptr(P, pp), ptr(P, victim), True)
        store(started, "found", 0 if gp is None else 1)
        meet(2 * i + 2)


@fn(entered=NO_P)
def t_setallp(i: int, pp: int):
    """P number i."""
    setPNoWriteBarrier(sched.allp, i, ptr(P, pp), "the test")


# ---- runs.py


@fn(entered=NO_P)
def t_newrun() -> int:
    return addr(newrun(0))


@fn(entered=NO_P)
def t_newgoroutine(run: int) -> int:
    """One that is runnable, in the global queue, and will never run."""
    return addr(newprocforeign(ptr(Run, run), 0, 0, 0, 0))


@fn(entered=NO_P)
def t_lookrun(run: int) -> int:
    return lookrun(ptr(Run, run))


@fn(entered=NO_P)
def t_lookps():
    lookps()


@fn(entered=NO_P)
def t_pokeruns():
    pokeruns()


@fn(entered=NO_P)
def t_claimended(mp: int, gp: int, goid: int):
    claimended(ptr(G, gp), goid)


# ---- stack.py


@fn(entered=NO_P)
def t_stackalloc(slabs: int) -> int:
    return addr(stackalloc(slabs))


@fn(entered=NO_P)
def t_stackscavenge(surplus: int):
    stackscavenge(surplus)


@fn(entered=NO_P)
def t_gfput(pp: int, gp: int):
    gfput(ptr(P, pp), ptr(G, gp))


@fn(entered=NO_P)
def t_gfget(pp: int) -> int:
    return addr(gfget(ptr(P, pp)))
