"""Source mutants of the runtime: each breaks the write-barrier rule in one place, and names what must notice.

A mutant is data: which text becomes which, in which files, and the violation that the check must report for it. `chain`
says what the steps of the reported chain contain, one entry a step, from the root to the broken place: because it names
every step, a chain that is longer than the shortest one fails the test as well. Line numbers are left out of it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Edit:
    """In `file` (relative to the package), `old`, which occurs there exactly once, becomes `new`."""

    file: str
    old: str
    new: str


@dataclass(frozen=True)
class Mutant:
    name: str
    why: str  # what would go wrong at run time
    edits: tuple[Edit, ...]
    kind: str  # the rule that kills it: Violation.kind
    message: str
    chain: tuple[str, ...]


MP, RUNQ, PROC, RUNS = "runtime/mp.py", "runtime/runq.py", "runtime/proc.py", "runtime/runs.py"
LOCK, WBCHECK = "runtime/lock_futex.py", "compiler/wbcheck.py"

LOOP = ("mstart", "gets a P (calls acquirep)", "calls schedule", "calls findrunnable")
NO_WORK = (*LOOP, "gives up its P (calls releasep)")
LOCKED = (*LOOP[:3], "calls stoplockedm", "gives up its P (calls releasep)")

MUTANTS = (
    # ---- a plain store in place of a setter
    Mutant(
        "plain store in mput",
        "an M links itself into the idle list after it has given its P away",
        (Edit(MP, 'setMNoWriteBarrier(mp, "schedlink", sched.midle, "allm")', "mp.schedlink = sched.midle"),),
        "barrier",
        "write barrier without a P: store to M.schedlink",
        (*NO_WORK, "calls stopm", "calls mput", "write barrier: store to M.schedlink"),
    ),
    Mutant(
        "plain store in pidleput",
        "the P that was just given away is linked into the idle list by an M that owns none",
        (Edit(MP, 'setPNoWriteBarrier(pp, "link", sched.pidle, "allp")', "pp.link = sched.pidle"),),
        "barrier",
        "write barrier without a P: store to P.link",
        ("procresize", "calls pidleput", "write barrier: store to P.link"),
    ),
    Mutant(
        "plain store in globrunqput",
        "a Python thread queues the first goroutine of a run, and never owns a P",
        (
            Edit(
                RUNQ,
                'setGNoWriteBarrier(tail, "schedlink", gp, "allgs")\n'
                '    setGNoWriteBarrier(sched, "runqtail", gp, "allgs")',
                'setGNoWriteBarrier(tail, "schedlink", gp, "allgs")\n    sched.runqtail = gp',
            ),
        ),
        "barrier",
        "write barrier without a P: store to Sched.runqtail",
        ("runstart", "calls newprocforeign", "calls globrunqput", "write barrier: store to Sched.runqtail"),
    ),
    Mutant(
        "plain store in startlockedm",
        "the P is given to another M, so the store that hands it over is made by one that owns none any more",
        (Edit(MP, 'setPNoWriteBarrier(other, "nextp", releasep(mp), "allp")', "other.nextp = releasep(mp)"),),
        "barrier",
        "write barrier without a P: store to M.nextp",
        (
            *LOOP[:3],
            "calls startlockedm",
            "gives up its P (calls releasep)",
            "write barrier: store to M.nextp",
        ),
    ),
    # ---- where only the call graph shows it
    Mutant(
        "plain store in a helper of another unit",
        "notesleep is called by symbol; an M sleeps there without a P",
        (
            Edit(LOCK, "import Mutex, Note", "import Mutex, Note, sched"),
            Edit(
                LOCK, '    while noteload(n, "key") == 0:', '    sched.midle = None\n    while noteload(n, "key") == 0:'
            ),
        ),
        "barrier",
        "write barrier without a P: store to Sched.midle",
        (*LOCKED, "calls notesleep", "write barrier: store to Sched.midle"),
    ),
    Mutant(
        "plain store behind a forward declaration",
        "pokeruns is known to its caller by symbol only, and runs behind releasep",
        (
            Edit(
                RUNS,
                '            store(run, "poke", 1)',
                '            run.link = None\n            store(run, "poke", 1)',
            ),
        ),
        "barrier",
        "write barrier without a P: store to Run.link",
        (*LOCKED, "calls pokeruns", "write barrier: store to Run.link"),
    ),
    Mutant(
        "plain store reached only through mstartfn",
        "a new thread calls the function whose address its M carries before it acquires its P",
        (Edit(MP, "    ptr(M, m).spinning = 1", "    ptr(M, m).spinning = 1\n    ptr(M, m).curg = None"),),
        "barrier",
        "write barrier without a P: store to M.curg",
        ("mstart", "calls mspinning through mstartfn", "write barrier: store to M.curg"),
    ),
    Mutant(
        "finish action that stores behind releasep",
        "an action that hands the P on runs the rest of itself without one",
        (
            Edit(
                PROC,
                "        selunlockparked(gp)\n",
                "        selunlockparked(gp)\n"
                "    elif action == 7:\n"
                "        pp = releasep(mp)\n"
                "        mp.prev = None\n"
                "        acquirep(mp, pp)\n",
            ),
        ),
        "barrier",
        "write barrier without a P: store to M.prev",
        ("gostart", "calls finish", "gives up its P (calls releasep)", "write barrier: store to M.prev"),
    ),
    Mutant(
        "finish action that keeps the P given away",
        "one action returns without a P, the others with one, and their caller runs go code next",
        (Edit(PROC, "        selunlockparked(gp)\n", "        selunlockparked(gp)\n        pidleput(releasep(mp))\n"),),
        "merge",
        "paths merge with different states",
        ("gostart", "calls finish", "paths merge with different states"),
    ),
    # ---- the table of the functions that change the state
    Mutant(
        "state table without acquirep",
        "the check believes that a thread never gets a P",
        (Edit(WBCHECK, '{"go.acquirep": P, "go.releasep": NONE}', '{"go.releasep": NONE}'),),
        "barrier",
        "write barrier without a P: store to M.nextp",
        ("mstart", "write barrier: store to M.nextp"),
    ),
    Mutant(
        "state table without releasep",
        "the check believes that a thread never gives its P away, and so that it takes a second one",
        (Edit(WBCHECK, '{"go.acquirep": P, "go.releasep": NONE}', '{"go.acquirep": P}'),),
        "transition",
        "acquirep with a P held",
        (*LOOP, "calls findrunnable_nop", "calls acquirep"),
    ),
    # ---- the other rules
    Mutant(
        "setter where a P is held",
        "a runtime that used setters everywhere would pass with nothing proved",
        (
            Edit(
                RUNQ,
                "        gp = pp.runq[head & MASK]\n        if cas",
                '        gp = pp.runq[head & MASK]\n        setGNoWriteBarrier(gp, "schedlink", None, "allgs")\n'
                "        if cas",
            ),
        ),
        "setter-with-p",
        "setter where there always is a P: setGNoWriteBarrier to G.schedlink; use a plain store",
        ("gosched", "calls goyield", "calls nextlocal", "calls runqget", "calls setGNoWriteBarrier for G.schedlink"),
    ),
    Mutant(
        "nowritebarrier on a function that stores",
        "a pragma that nobody enforces is a comment",
        (
            Edit(
                PROC,
                "from gopark.compiler.image",
                "from gopark.compiler.func import nowritebarrier\nfrom gopark.compiler.image",
            ),
            Edit(PROC, "@fn(inline=True)\ndef execute", "@nowritebarrier\n@fn(inline=True)\ndef execute"),
        ),
        "pragma",
        "write barrier prohibited: store to G.m",
        ("execute", "write barrier: store to G.m"),
    ),
    Mutant(
        "nowritebarrierrec above a function that stores",
        "the barrier lies in a callee, where a check of the function alone does not look",
        (
            Edit(
                PROC,
                "from gopark.compiler.image",
                "from gopark.compiler.func import nowritebarrierrec\nfrom gopark.compiler.image",
            ),
            Edit(PROC, "@fn(inline=True)\ndef goready", "@nowritebarrierrec\n@fn(inline=True)\ndef goready"),
        ),
        "pragma",
        "write barrier prohibited: store to P.runnext",
        ("goready", "calls ready", "write barrier: store to P.runnext"),
    ),
    Mutant(
        "result of findrunnable_nop ignored",
        "it returns with a P or without one, and only its result tells which",
        (Edit(PROC, "        if findrunnable_nop(mp):\n            continue\n", "        findrunnable_nop(mp)\n"),),
        "ignored-result",
        "findrunnable_nop returns with different states, and the caller does not look at the result",
        (
            *NO_WORK,
            "findrunnable_nop returns with different states",
        ),
    ),
    Mutant(
        "True returned without the P it promises",
        "the caller would look at the queues of a P that it does not own",
        (
            Edit(
                PROC,
                '"nmspinning", -1)\n        if workwaits():\n',
                '"nmspinning", -1)\n        if mp.locks != 0:\n            return True\n        if workwaits():\n',
            ),
        ),
        "merge",
        "paths merge with different states",
        (
            *LOOP[:3],
            "may have no P: paths merge",
            "calls findrunnable",
            "calls findrunnable_nop",
            "paths merge with different states",
        ),
    ),
    Mutant(
        "P given away twice",
        "two Ms would run on it",
        (
            Edit(
                PROC,
                "        pidleput(releasep(mp))\n",
                "        pidleput(releasep(mp))\n        pidleput(releasep(mp))\n",
            ),
        ),
        "transition",
        "releasep without a P",
        (*NO_WORK, "calls releasep"),
    ),
    Mutant(
        "call of a function that was not compiled",
        "what the check has not seen, it cannot judge",
        (
            Edit(
                MP,
                "import GUARD, SIGNAL_STACK, stackalloc",
                'import GUARD, SIGNAL_STACK, stackalloc\n\nmstopped = forward("mstopped")',
            ),
            Edit(MP, "    mput(mp)\n", "    mput(mp)\n    mstopped()\n"),
        ),
        "unknown",
        "calls an unknown function: go.mstopped",
        (*NO_WORK, "calls stopm", "calls an unknown function: go.mstopped"),
    ),
)
