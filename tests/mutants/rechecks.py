"""The looks that the scheduler takes, and what stands there if it does not take them.

Function -> (expression or statement as `ast.unparse` prints it, what stands there instead, what is lost). It must be
found in the function, else the generator says so: a table that lags behind the sources is an error.
"""

from __future__ import annotations

YES, NO = "True", "False"

RECHECKS: dict[str, tuple[tuple[str, str, str], ...]] = {
    # ---- the scheduler
    "proc.ready": (("pp.runnext is None", YES, "runnext is overwritten"),),
    "proc.gopark": (("tick % FAIRNESS != 0", YES, "never by way of the loop"),),
    "proc.nextlocal": (
        ("gp.lockedm is not None", NO, "a locked G is switched away from directly"),
        ("next is not None and next.lockedm is not None", NO, "a locked G is switched to directly"),
    ),
    "proc.goyield": (("tick % FAIRNESS != 0", YES, "the global queue is never looked at"),),
    "proc.yieldfor": (("gp.lockedm is not None or next.lockedm is not None", NO, "locked Gs switch directly"),),
    "proc.goyieldglobal": (("runqempty(mp.p) and sched.runqsize == 0", YES, "lets nobody run"),),
    "proc.yieldto": (
        ("sched.runqsize > 0", NO, "no look at the global queue"),
        ("gp is None and tick % FAIRNESS == 0", NO, "does not steal"),
    ),
    "proc.newprocforeign": (("load(sched, 'npidle') != 0", NO, "the first G wakes nobody"),),
    "proc.goexit": (
        ("load(sched, 'urgent') != 0", NO, "a helper waits for a time slice behind another"),
        ("gp.lockedm is not None", NO, "a dead G stays locked"),
        ("gp.run = None", "pass", "a dead G keeps its run"),
    ),
    "proc.unlockOSThread": (
        ("gp.lockedm is None", NO, "unlocks without a lock"),
        ("gp.m.locked == 0", YES, "calls do not nest"),
    ),
    "proc.findrunnable": (
        ("load(sched, 'urgent') != 0", NO, "helpers wait like everybody"),
        ("over or pp.slicetick - pp.globaltick >= FAIRNESS", NO, "no look at the global queue first"),
        ("load(pp, 'sliceover') != 0", NO, "the end of a time slice is not looked at"),
        ("pp.globaltick = pp.slicetick", "pass", "the global queue is looked at all the time"),
        ("mp.spinning == 0", NO, "an M that steals does not count as spinning"),
        ("mp.spinning != 0 or 2 * load(sched, 'nmspinning') < procs - load(sched, 'npidle')", NO, "never steals"),
        ("2 * load(sched, 'nmspinning') < procs - load(sched, 'npidle')", YES, "everybody spins"),
        (
            "if sched.runqsize > 0:\n    gp = globrunqget(pp, 0)\n    unlock(sched.lock)\n    if gp is not None:\n"
            "        return gp\n    continue",
            "pass",
            "no second look at the global queue",
        ),
    ),
    "proc.claimlocked": (("load(gp, 'atomicstatus') != Gwaiting", NO, "claims what is claimed"),),
    "proc.newgoids": (("xadd(sched, 'goidgen', GOIDS) + 1", "load(sched, 'goidgen') + 1", "numbers are given twice"),),
    "proc.stealwork": (
        ("attempt == 3", NO, "runnext is never stolen"),
        ("attempt == 3", YES, "runnext is stolen at once"),
        ("victim is not pp", YES, "steals from itself"),
        ("(i + offset) % procs", "i", "always in the same order"),
    ),
    "proc.findrunnable_nop": (
        ("workwaits()", NO, "no re-check of the queues"),
        ("mp.spinning != 0", NO, "goes to sleep spinning"),
        ("mp.spinning = 0", "pass", "the M keeps spinning"),
        ("mp.spinning = 1", "pass", "the M does not spin again"),
        ("load(sched, 'npidle') == sched.gomaxprocs", NO, "a dead run is not reported"),
    ),
    "proc.workwaits": (
        ("sched.runqsize > 0", NO, "no look at the global queue"),
        ("not runqempty(sched.allp[i])", NO, "no look at the rings"),
    ),
    "proc.resetspinning": (
        (
            "xadd(sched, 'nmspinning', -1) == 1 and load(sched, 'npidle') > 0",
            "xadd(sched, 'nmspinning', -1) == 1 << 40",
            "the last spinning M wakes nobody",
        ),
        ("mp.spinning = 0", "pass", "the M keeps spinning"),
    ),
    "proc.schedule": (
        ("mp.spinning != 0", NO, "a spinning M stays counted"),
        ("gp is not None", NO, "a locked M runs others"),
        ("gp.lockedm is not None", NO, "a locked G runs anywhere"),
    ),
    "proc.procresize": (
        ("anyrun()", NO, "resizes while there are runs"),
        ("load(sched, 'npidle') != old or sched.runqsize != 0", NO, "resizes while Ps are busy"),
    ),
    # ---- M and P
    "mp.acquirep": (
        ("mp.p is not None", NO, "does not refuse"),
        ("pp.m is not None or pp.status != Pidle", NO, "does not refuse the P"),
    ),
    "mp.releasep": (
        ("pp is None", NO, "does not refuse"),
        ("pp.m is not mp or pp.status != Prunning", NO, "does not refuse the P"),
    ),
    "mp.startm": (
        ("mp.nextp is not None", NO, "does not refuse"),
        ("if spinning:\n    xadd(sched, 'nmspinning', -1)", "pass", "no P, and stays counted as spinning"),
        ("mp.spinning = 1 if spinning else 0", "pass", "the M does not know that it spins"),
    ),
    "mp.newm": (("mp.mstartfn = fn", "pass", "the new M does not know that it spins"),),
    "mp.wakep": (("load(sched, 'nmspinning') != 0", NO, "no look before the claim"),),
    "mp.wakeidle": (
        ("load(sched, 'npidle') != 0 and load(sched, 'nmspinning') == 0", NO, "a stealable G wakes nobody"),
    ),
    "mp.handoffp": (
        (
            "load(pp, 'runqhead') != load(pp, 'runqtail') or pp.runnext is not None or sched.runqsize != 0",
            NO,
            "no look at the queues",
        ),
        (
            "load(sched, 'nmspinning') + load(sched, 'npidle') == 0 and cas(sched, 'nmspinning', 0, 1)",
            NO,
            "nobody spins for it",
        ),
        (
            "if sched.runqsize != 0:\n    unlock(sched.lock)\n    startm(pp, False)\n    return",
            "pass",
            "no second look at the global queue",
        ),
    ),
    "mp.stopm": (
        ("mp.p is not None", NO, "does not refuse"),
        ("mp.nextp = None", "pass", "the next P stays"),
    ),
    "mp.stoplockedm": (
        ("load(sched, 'npidle') == sched.gomaxprocs", NO, "a dead run is not reported"),
        ("mp.nextp = None", "pass", "the next P stays"),
    ),
    "mp.startlockedm": (("other.nextp is not None", NO, "does not refuse"),),
}

RECHECKS |= {
    # ---- run queues
    "runq.globrunqput": (("tail is None", YES, "the queue is lost"),),
    "runq.globrunqputbatch": (
        ("last.schedlink = None", "pass", "the batch has no end"),
        ("tail is None", YES, "the queue is lost"),
    ),
    "runq.globrunqget": (
        ("sched.urgent != 0", NO, "helpers are not counted down"),
        ("n > size", NO, "takes more than there is"),
        ("most > 0 and n > most", NO, "takes more than it was told"),
        ("n > HALF", NO, "takes more than half a ring"),
        ("rest is None", NO, "the tail stays"),
        ("size == 0", NO, "no look whether it is empty"),
    ),
    "runq.runqempty": (
        ("load(pp, 'runnext') is None", YES, "no look at runnext"),
        ("load(pp, 'runqhead') == load(pp, 'runqtail')", YES, "no look at the ring"),
    ),
    "runq.runqput": (
        ("tail - head < RunqSize", YES, "the ring overflows"),
        ("tail - head < RunqSize", "tail - head < RunqSize - 1", "a slot is wasted"),
        ("old is None", YES, "a next one is overwritten"),
    ),
    "runq.runqget": (
        ("tail == head", NO, "takes from an empty ring"),
        ("tail - head > 2", NO, "does not prefetch"),
    ),
    "runq.runqsteal": (
        ("n > HALF", NO, "believes a torn read"),
        ("n = n - n // 2", "pass", "steals all"),
        ("stealnext", YES, "takes runnext at once"),
        ("for _ in range(50):\n    pause()", "pass", "leaves the victim no chance"),
        ("n == 0", "n < 0", "steals from an empty ring"),
    ),
    # ---- channels
    "chan.dequeue": (
        (
            "claim(sg.g) if sg.isselect != 0 else claimlocked(sg.g)",
            "(claim(sg.g) if sg.isselect != 0 else claimlocked(sg.g)) or True",
            "a waiter that was not claimed is woken",
        ),
        ("following.prev = None", "pass", "the link back stays"),
        ("sg.next = None", "pass", "the link on stays"),
    ),
    "chan.dequeueSudoG": (
        ("q.first is sg", NO, "the last waiter stays"),
        ("q.first is sg", YES, "the queue is emptied for one that is not in it"),
    ),
    "chan.enqueue": (
        ("sg.next = None", "pass", "the link on stays"),
        ("sg.prev = last", "sg.prev = None", "no link back"),
    ),
    "chan.advance": (("i == c.dataqsiz", NO, "the ring has no end"),),
    "chan.recv": (
        ("c.dataqsiz == 0", YES, "the sender overtakes the ring"),
        ("c.sendx = c.recvx", "pass", "sendx stays"),
    ),
    "chan.take": (("c.elemtype.ptrwords != 0", NO, "an empty slot keeps its pointer"),),
    "chan.wake": (
        ("sg.success = 1", "pass", "the operation did not take place"),
        ("gp.param = sg", "pass", "select does not know who won"),
    ),
    "chan.chansend": (
        ("c.closed != 0", NO, "sends into a closed channel"),
        ("sg is not None", NO, "no look for a receiver"),
        ("c.qcount < c.dataqsiz", NO, "no look for room"),
        ("c.qcount < c.dataqsiz", YES, "the ring overflows"),
        ("not block", NO, "always blocks"),
        ("gp.ended != 0", NO, "no look at the end of the run"),
        ("gp.waiting = sg", "pass", "does not say what it waits for"),
    ),
    "chan.chanrecv": (
        ("sg is not None", NO, "no look for a sender"),
        ("c.qcount > 0", NO, "no look at the ring"),
        ("c.closed != 0", NO, "waits for a closed channel"),
        ("not block", NO, "always blocks"),
        ("gp.ended != 0", NO, "no look at the end of the run"),
        ("sg.success == 0", NO, "the element is not cleared"),
    ),
    "chan.closechan": (
        ("c.closed != 0", NO, "closes twice"),
        ("c.closed = 1", "pass", "the channel stays open"),
        ("sg.success = 0", "sg.success = 1", "close counts as a communication"),
        ("sg = dequeue(c.sendq)", "sg = None", "senders are not woken"),
        (
            "while first is not None:\n    gp = first\n    first = gp.schedlink\n    goready(gp)",
            "if first is not None:\n        goready(first)",
            "only one waiter is woken",
        ),
    ),
}

RECHECKS |= {
    # ---- select
    "select.sortcases": (
        ("addr(after.c) <= key", NO, "cases are locked in any order"),
        ("sg.c is None", NO, "nil channels are cases"),
        ("scase(cases, k).ticket if shuffled else k", "k", "cases of one channel wait as they are written"),
    ),
    "select.sellock": (("addr(sg.c) != last", YES, "a channel is locked twice"),),
    "select.selunlock": (("sg is not None and sg.c is c", NO, "a channel is unlocked twice"),),
    "select.shuffle": (
        ("(state >> 33 & 2147483647) * (i + 1) >> 31", "i", "always in the same order"),
        ("state >> 33 & 2147483647", "0", "not every order is equally likely"),
        ("pp.rand = state", "pass", "always the same random number"),
    ),
    "select.sharechannel": (("sg.waitlink.c is sg.c", NO, "cases of one channel wait as they are written"),),
    "select.selectready": (
        ("c.closed != 0", NO, "sends into a closed channel"),
        ("c.qcount < c.dataqsiz", NO, "no look for room"),
        ("c.qcount > 0", NO, "no look at the ring"),
        ("c is None", NO, "a nil channel is looked at"),
    ),
    "select.selectgo": (
        ("sharechannel(first)", NO, "cases of one channel wait as they are written"),
        ("sg.isselect = 1", "pass", "a select is claimed without a compare and swap"),
        ("seemsready(sg)", YES, "tries a case that is not there"),
        ("not block", NO, "always blocks"),
        ("first is None", NO, "only nil channels, and not for ever"),
        ("sg is not won", NO, "losers stay in their queues"),
        ("gp.waiting = first", "pass", "does not say what it waits for"),
        ("won is None", NO, "no look at the end of the run"),
        ("won.success != 0", YES, "close counts as a communication"),
    ),
    # ---- semaphores
    "sema.cansemacquire": (("v <= 0", NO, "takes what is not there"),),
    "sema.semacquire": (
        (
            "if cansemacquire(s):\n    xadd(root, 'nwait', -1)\n    spinunlock(root.lock)\n    return ACQUIRED",
            "pass",
            "no second look at the count",
        ),
        ("if cansemacquire(s):\n    return ACQUIRED", "pass", "no first look at the count"),
        ("sg.ticket = addr(s)", "pass", "does not say which semaphore"),
        ("lifo", NO, "always last in the queue"),
        ("gp.ended != 0", NO, "no look at the end of the run"),
        ("sg.ticket != 0", YES, "leaves the queue twice"),
        ("sg.ticket != 0", NO, "stays in the queue"),
    ),
    "sema.semdequeue": (
        ("sg.ticket == addr(s)", YES, "wakes a sleeper of another semaphore"),
        ("not cansemacquire(s)", NO, "a sleeper is woken without a unit"),
        ("sg.ticket = 0", "pass", "leaves the queue twice"),
        ("claimlocked(sg.g)", "claimlocked(sg.g) or True", "a sleeper that was not claimed is woken"),
        ("xadd(s, 'count', 1)", "pass", "the unit of a sleeper that left is lost"),
    ),
    "sema.semrelease": (
        ("load(root, 'nwait') == 0", YES, "looks for no sleeper"),
        ("load(root, 'nwait') == 0", NO, "always looks for sleepers"),
        ("xadd(s, 'count', 1)", "pass", "gives nothing"),
    ),
    # ---- Mutex, WaitGroup
    "sync.mutexlockslow": (
        ("old & STARVING == 0", YES, "newcomers take a mutex that is handed over"),
        ("old & (LOCKED | STARVING) != 0", NO, "a waiter does not count"),
        ("rounds >= PATIENCE and old & LOCKED != 0", NO, "nobody starves"),
        ("awoke", NO, "WOKEN stays"),
        ("result != ACQUIRED", NO, "no look at the end of the run"),
        ("xadd(m, 'state', -WAITER)", "pass", "a waiter that left stays counted"),
        ("old & STARVING != 0", NO, "a mutex that was handed over is not taken"),
        ("rounds <= PATIENCE or old >> SHIFT == 1", NO, "STARVING stays"),
        ("delta = LOCKED - WAITER", "delta = LOCKED", "who got the mutex still counts as waiting"),
        ("rounds > 0", NO, "who lost waits behind all others"),
    ),
    "sync.mutextrylock": (("old & (LOCKED | STARVING) != 0", NO, "no look before the claim"),),
    "sync.mutexunlock": (
        ("load(m, 'state') & LOCKED == 0", NO, "unlocks what is not locked"),
        ("new != 0", NO, "wakes nobody"),
    ),
    "sync.mutexunlockslow": (
        ("state & STARVING != 0", NO, "a starving waiter is not woken"),
        ("old >> SHIFT == 0 or old & (LOCKED | WOKEN | STARVING) != 0", NO, "wakes whenever asked"),
        ("LOCKED | WOKEN | STARVING", "LOCKED | STARVING", "wakes beside a woken one"),
        ("old - WAITER", "old", "a woken waiter stays counted"),
    ),
    "sync.waitgroupadd": (
        ("counter < 0", NO, "does not refuse"),
        ("xadd(wg, 'state', -(delta << 32))", "pass", "a refused addition stays"),
        ("counter > 0 or waiters == 0", "waiters == 0", "wakes at any counter"),
        ("store(wg, 'state', 0)", "pass", "no reset"),
    ),
    "sync.waitgroupwait": (("state >> 32 == 0", NO, "waits for nobody"),),
}

RECHECKS |= {
    # ---- runs
    "runs.runexit": (
        ("not cas(run, 'ended', 0, 1)", "store(run, 'ended', 1) is not None", "two end the run"),
        ("gp.run = None", "pass", "the ender keeps its run"),
    ),
    "runs.runstopper": (("rundone(run)", "pass", "who stops a run is not told"),),
    "runs.rundone": (
        ("run.token != 0", NO, "a Future is not told"),
        ("lfstackpush(futures.done, run.node)", NO, "whoever serves Futures sleeps on"),
    ),
    "runs.newhelper": (
        ("load(sched, 'npidle') != 0", NO, "a helper wakes nobody"),
        ("preemptone(sched.allp[xadd(sched, 'roomhint', 1) % sched.gomaxprocs])", "pass", "nobody makes room"),
    ),
    "runs.saved": (
        ("run.given == 0", NO, "runs that were given nothing are walked for"),
        ("not pythonreaches(run)", YES, "Python saves nobody"),
        ("run.vetolook == look", YES, "an old verdict is believed"),
        ("run.vetochanges == changes", YES, "what Python did since does not count"),
    ),
    "runs.endrun": (
        ("clean < 2", "clean < 1", "no second clean look"),
        ("clean = 0", "pass", "looks that are not clean do not count"),
        ("not goyieldglobal()", NO, "does not sleep"),
    ),
    "runs.sweeprun": (
        ("status != Gdead", NO, "everything looks clean"),
        ("status == Gwaiting", NO, "no parked goroutine is woken"),
        ("gp is not me", YES, "waits for itself"),
        ("gp.run is run", YES, "ends other runs too"),
    ),
    "runs.claimended": (
        ("l is None", NO, "no look whether it waits at all"),
        (
            "gp.waitlock is l and gp.goid == goid and (load(gp, 'atomicstatus') == Gwaiting)",
            "gp.goid == goid and load(gp, 'atomicstatus') == Gwaiting",
            "no second look at waitlock",
        ),
        ("gp.goid == goid", YES, "claims whoever has become that G"),
        ("load(gp, 'atomicstatus') == Gwaiting", YES, "no second look at the status"),
        ("gp.ended = 1", "pass", "does not say why it wakes"),
        ("gp.param = None", "pass", "a select believes its last winner"),
    ),
    "runs.startended": (
        ("1 if gp.run is not None and load(gp.run, 'ended') != 0 else 0", "0", "starts though the run has ended"),
    ),
    "runs.preempted": (
        ("if gp.run is not None and load(gp.run, 'ended') != 0:\n    return 1", "pass", "yields before it leaves"),
        ("1 if gp.run is not None and load(gp.run, 'ended') != 0 else 0", "0", "does not leave behind a yield"),
        ("gp.preempt = 0", "pass", "stays preempted"),
        ("gopreempt()", "pass", "does not yield"),
    ),
    "runs.morestack": (
        (
            "if gp.run is not None and load(gp.run, 'ended') != 0:\n    return 1",
            "pass",
            "no look at the end of the run",
        ),
        ("gp.stackguard = guard", "pass", "the guard stays raised"),
        ("lowest < guard", NO, "a stack overflows"),
    ),
    "runs.runwait": (
        ("dead = look != 0 and look == run.lastlook", "dead = look != 0", "one look is enough"),
        ("look == run.lastlook", NO, "no deadlock is found"),
        ("load(run, 'ended') != 0", NO, "a run that ends is looked at"),
        ("poked and look != 0 and (look != run.lastlook)", NO, "no second look at once"),
        ("run.lastlook = look", "pass", "the look is not kept"),
    ),
    "runs.newrun": (
        ("store(run, 'ended', 0)", "pass", "a run that is used again has ended"),
        ("store(run, 'inuse', 1)", "pass", "a run is not in use"),
        ("run.lastlook = 0", "pass", "the last look of another run is believed"),
        ("run.exitcode = 0", "pass", "the status of another run is kept"),
    ),
    "runs.runfree": (
        ("store(run, 'inuse', 0)", "pass", "a run stays in use"),
        ("load(run, 'stoppers') != 0", NO, "does not wait for who was sent to stop it"),
        ("drophandle(addr(h))", "pass", "a result that nobody takes is held for ever"),
    ),
    "runs.lookps": (
        ("tick == load(pp, 'ticklooked')", YES, "wakes a thief for what switches"),
        ("slice == load(pp, 'slicelooked')", YES, "does not wait for a second look"),
        ("slice == load(pp, 'slicelooked')", "tick == load(pp, 'ticklooked')", "does not see a pair"),
        ("load(sched, 'npidle') == 0", YES, "wakes nobody"),
        ("sched.runqsize > 0 or not runqempty(pp)", YES, "helps where nobody waits"),
    ),
    "runs.lookrun": (
        ("status == Gwaiting", YES, "runnable goroutines count as parked"),
        ("run.given != 0 and owner is not None and (owner.given != 0)", NO, "runs that share objects are judged alone"),
        ("mark == 1", NO, "an empty run is dead"),
    ),
    "runs.foldlook": (
        ("gp.goid * 69069 + load(gp, 'parkseq')", "gp.goid * 69069", "no look at parkseq"),
        ("mark == 0 or not waits", "not waits", "one that may run is forgotten"),
    ),
    "runs.pokeruns": (("load(run, 'inuse') != 0", YES, "pokes runs that are over"),),
    # ---- stacks
    "stack.stackalloc": (
        ("slabs == 1", YES, "a thread gets a cold stack"),
        ("sched.scavenging == 0", YES, "a stack is used while its memory goes"),
    ),
    "stack.stackscavenge": (
        ("sched.scavenging != 0", NO, "two scavenge"),
        ("sched.coldhint = 0", "pass", "cold stacks are not found"),
        ("sched.scavenging = 0", "pass", "cold stacks are never used again"),
    ),
    "stack.gfput": (("n >= GFREE_LOCAL", NO, "a P keeps all free Gs"),),
    "stack.gfgetslow": (
        ("sched.gfree is not None", NO, "free Gs are not reused"),
        ("sched.gfreecnt < sched.gfreelow", NO, "the low-water mark is not kept"),
    ),
    "stack.gostartcall": (
        ("gp.ended = 0", "pass", "a new goroutine has ended"),
        ("gp.preempt = 0", "pass", "a new goroutine is preempted"),
        ("gp.stackguard = guardof(gp)", "pass", "a new goroutine has its predecessor's guard"),
    ),
    # ---- locks and notes
    "lock_futex.lock2": (
        ("lockload(l, 'key') == 0", YES, "no look before the claim"),
        (
            "while lockxchg(l, 'key', 2) != 0:\n    futexsleep(fieldaddr(l, 'key'), 2, -1)",
            "if lockxchg(l, 'key', 2) != 0:\n        futexsleep(fieldaddr(l, 'key'), 2, -1)",
            "no re-check after the sleep",
        ),
        (
            "while lockxchg(l, 'key', 2) != 0:\n    futexsleep(fieldaddr(l, 'key'), 2, -1)",
            "while lockxchg(l, 'key', 1) != 0:\n        futexsleep(fieldaddr(l, 'key'), 1, -1)",
            "a sleeper is not marked",
        ),
    ),
    "lock_futex.unlock": (("lockxchg(l, 'key', 0) == 2", "lockxchg(l, 'key', 0) == 1 << 20", "wakes nobody"),),
    "lock_futex.spinlock2": (("lockload(l, 'key') == 0", YES, "no look before the claim"),),
    "lock_futex.notesleep": (
        (
            "while noteload(n, 'key') == 0:\n    futexsleep(fieldaddr(n, 'key'), 0, -1)",
            "if noteload(n, 'key') == 0:\n        futexsleep(fieldaddr(n, 'key'), 0, -1)",
            "no re-check after the sleep",
        ),
        ("notestore(n, 'key', 0)", "pass", "the note stays set"),
        ("futexsleep(fieldaddr(n, 'key'), 0, -1)", "pass", "burns a core instead of sleeping"),
    ),
    "lock_futex.notetsleep": (("noteload(n, 'key') != 0", YES, "a time-out is a wake-up"),),
    "lock_futex.notewakeup": (("notexchg(n, 'key', 1)", "pass", "wakes without a sign"),),
}
