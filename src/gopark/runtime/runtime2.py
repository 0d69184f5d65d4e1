"""The objects of the scheduler, their states, and the glossary.

Stands for: src/runtime/runtime2.go at 41dbcc19ef09.

    G   a goroutine: a stack, a saved context, a status. Lies at the top of its own stack slab. The bitmap `allgs` says
        which slabs hold one; it is reused through free lists, and leaves allgs only from there (stack.py).
    M   a thread of the operating system, with a stack of its own (g0) for the scheduler's loop. In `allm` for ever.
    P   the right to run go code, and everything that belongs to it: the local run queue, the allocation cache. In the
        array `allp`.
    Run one call of `go.run`: it owns the goroutines that it started. In `allruns` for ever, reused.
    Handle  an object that Python holds. In `handles.all` for ever, reused.
    sudog, hchan, waitq: a goroutine that waits for a channel; a channel; the queue between them.

All but hchan live outside the collected heap and are immortal: the registries above are what keeps them reachable, and
therefore what each setter names as its reason. Their pointer fields raise the barrier event like any other pointer
store.

Status of a G (`atomicstatus`):

        Gidle ──▶ Gdead ──newproc──▶ Grunnable ──execute──▶ Grunning ──goexit──▶ Gdead
                                        ▲                      │
                                        └── claimed ◀── Gwaiting ◀── park

* I1  A G is in at most one list (run queue, free list, ...): they share the one link `schedlink`.
* I2  The step Gwaiting -> Grunnable is the claim, for every kind of park: whoever makes it owns the wake-up, a sender,
      a receiver, close, or the end of the run. It is made under the lock of what is waited for. A select waits for
      several things, so its claim is a compare-and-swap; for the others that one lock decides, and a store is enough.
* I3  A G sets `waitlock` before it becomes Gwaiting, and the lock is released only after its context is saved (by the
      finish action of the switch). So whoever holds the lock and sees Gwaiting may switch to it.
* I4  `parkseq` grows with every park. Two looks that see Gwaiting with the same number saw the same park.

Status of a P: Pidle (in the idle list), Prunning (owned by the M in `p.m`, whose `m.p` is the P: both, always), Pdead
(out of service: in allp beyond gomaxprocs).

Offsets that user code bakes in are asserted at the end of the file (compiler/abi.py).
"""

from __future__ import annotations

from gopark.compiler import abi
from gopark.compiler.numba_api import types
from gopark.compiler.structs import MAX_LAYOUTS, Array, Descriptor, Embed, struct, var
from gopark.config import MAX_PROCS

int32 = types.int32

# ---- status of a G
Gidle, Grunnable, Grunning, Gsyscall, Gwaiting, Gdead = 0, 1, 2, 3, 4, 6
G_STATUS_NAMES = {
    Gidle: "idle",
    Grunnable: "runnable",
    Grunning: "running",
    Gsyscall: "syscall",
    Gwaiting: "waiting",
    Gdead: "dead",
}

# ---- status of a P
Pidle, Prunning, Pdead = 0, 1, 2

# ---- why a G waits
WAIT_REASONS = (
    "",
    "chan receive",
    "chan send",
    "chan receive (nil chan)",
    "chan send (nil chan)",
    "select",
    "select (no cases)",
    "sync.Mutex.Lock",
    "sync.WaitGroup.Wait",
)
(
    waitNone,
    waitChanReceive,
    waitChanSend,
    waitChanReceiveNil,
    waitChanSendNil,
    waitSelect,
    waitSelectNoCases,
    waitMutex,
    waitWaitGroup,
) = range(len(WAIT_REASONS))

# ---- finish actions: what is done about the leaving G, on the stack that was switched to
ACT_NONE, ACT_UNLOCK, ACT_SELUNLOCK, ACT_YIELD, ACT_YIELDGLOBAL, ACT_DEAD = range(6)

RunqSize = 256  # length of a local run queue; a power of two
MaxGomaxprocs = MAX_PROCS
TracebackFrames = 8  # an error keeps the first and the last so many frames


@struct(notinheap=True)
class Mutex:
    """A lock of the runtime: 0 free, 1 held, 2 held and somebody sleeps. Not a user's mutex."""

    key: int32
    pad: int32


@struct(notinheap=True)
class Note:
    """One-shot wake-up: one sleeper, one notewakeup."""

    key: int32
    pad: int32


@struct(notinheap=True)
class LFNode:
    """What lies in a stack without a lock (lfstack.py)."""

    next: int


@struct(notinheap=True)
class Type:
    """A type descriptor (compiler/structs.py, Descriptor): written by Python, read by the allocator."""

    layout: int  # index in every allocation cache
    size: int  # bytes
    ptrwords: int  # words up to the last pointer; 0: no pointers
    mask: int  # which of the first 64 words are pointers
    masks: int  # address of the whole mask
    name: int  # address of a C string
    spare: Array[int, 2]


@struct
class Memory:
    """Memory of unknown type: Go's unsafe.Pointer is `Pointer[Memory]`."""


@struct(notinheap=True)
class G:
    sp: int  # saved stack pointer while not running
    stackguard: int  # functions that may overflow compare their stack pointer with it
    m: M
    preempt: int  # set to make it look up at its next poll
    asyncok: int  # it is in a counted leaf loop
    schedlink: G
    atomicstatus: int
    lockedm: M  # it runs on this M only; beside what every switch reads
    goid: int
    run: Run  # who owns it; nil: the runtime itself
    waiting: Sudog  # what it waits on: one sudog, or select's list
    waitlock: Mutex  # I2, I3
    waitreason: int
    parkseq: int  # I4
    param: Sudog  # of the operation on a channel that woke it: who wins the claim sets it; nil: the end of the run
    rand: Rand  # its random numbers; nil: it has drawn none (rand.py)
    ended: int  # the run's end won its claim
    stacklo: int  # lowest address of the slab
    startfn: int  # entry stub of the goroutine's function
    startarg: int  # its argument record, on its own stack
    spawnrec: int  # constant record {function, file, line, module} of the go statement
    parentgoid: int  # whose it was
    tbcount: int  # frames that the current error left so far
    tbexc: int  # which error that is
    tb: Array[int, 2 * TracebackFrames]  # their constant records: the first eight, a ring of the last eight
    ccall: int  # name of the C function that it runs on g0; 0: none. sp is then the frame of the stub (asm_amd64.py)
    place: int  # check level 2: where it is (audit.py)


@struct(notinheap=True)
class M:
    mcache: Mcache  # of its P; without a P: the empty one, from which nothing can be allocated
    g0: G
    curg: G
    p: P
    nextp: P  # the P it will own when it wakes
    prev: G  # finish action: who left ...
    act: int  # ... what is to be done about it ...
    unlock: Mutex  # ... and the lock to release
    spinning: int
    locks: int  # > 0: inside the runtime's own critical section
    throwing: int
    lockedg: G  # it runs this G only ...
    locked: int  # ... which asked for it so many times
    schedlink: M
    alllink: M
    id: int
    tid: int
    pthread: int
    mstartfn: int
    park: Embed[Note]
    place: int  # check level 2 (audit.py)
    scratch: Array[int, 24]  # attributes and signal masks while a thread is made


@struct(notinheap=True, align={"runqhead": 64, "runqtail": 64, "runnext": 64, "runq": 64})
class P:
    id: int
    status: int
    link: P
    m: M
    mcache: Mcache
    schedtick: int  # grows with every switch
    slicetick: int  # grows with every switch that begins a time slice (runq.py, RQ2)
    globaltick: int  # slicetick when this P last looked at the global queue before its own (proc.py)
    ticklooked: int  # schedtick and slicetick when the thread in go.run last looked (runs.py, R4)
    slicelooked: int
    sliceover: int  # it found that the slice is over
    gfree: G
    gfreecnt: int
    goidcache: int  # the next number for a new goroutine; below goidcacheend it is the P's
    goidcacheend: int
    rand: int
    place: int  # check level 2 (audit.py)
    runqhead: int  # anybody takes here (compare and swap)
    runqtail: int  # only the owner puts here (release store)
    runnext: G  # the G that was made ready last; runs next
    runq: Array[G, RunqSize]


@struct(notinheap=True)
class McacheEntry:
    """The allocation run of one layout: objects are cut from [cur, lim)."""

    cur: int
    lim: int
    span: int
    nmalloc: int  # objects in all runs so far; the rest of this one, (lim - cur) / size, is not allocated yet


@struct(notinheap=True)
class Mcache:
    alloc: Array[Embed[McacheEntry], MAX_LAYOUTS]


@struct(notinheap=True)
class Run:
    node: Embed[LFNode]  # in futures.done (futures.py); first: the address of the one is that of the other
    id: int
    alllink: Run
    link: Run  # free list
    ended: int  # 1: somebody won the right to end it
    lock: Embed[Mutex]  # its goroutines that wait for nothing at all park under it
    done: Embed[Note]  # the thread in go.run sleeps here
    poke: int32  # that thread should look for a deadlock
    pad: int32
    exitcode: int  # status of the goroutine that ended it
    exitexc: int  # its exception
    exitgoid: int
    exitspawn: int  # record of the line that spawned it
    tbcount: int
    tb: Array[int, 2 * TracebackFrames]
    lastlook: int  # what the deadlock scan saw last
    inuse: int
    stoppers: int  # R6
    token: int  # of go.submit, which knows the run by it (futures.py); 0: a thread waits in go.run
    block: int  # go.submit: memory of its result and its arguments
    mark: int  # what the scan for deadlocks of such runs has seen so far
    dead: int  # it found this one
    given: int  # 1: it was given objects by Python, or may be reached through some (runs.py, R5)
    held: Handle  # the objects in its result, for Python
    vetolook: int  # what the scan saw, and handles.changes, when Python could still reach one of its goroutines
    vetochanges: int
    stuck: int  # check level 2: for how many ticks work has waited beside an idle P


@struct(notinheap=True)
class Handle:
    """An object of the heap that Python holds (handle.py)."""

    node: Embed[LFNode]  # first: the address of the one is that of the other
    held: int  # 1: Python has it
    obj: Memory
    link: Handle  # in the free list, or in what one operation has given out
    alllink: Handle


@struct(notinheap=True)
class Sudog:
    """A G in a wait queue. Lies in the frame of the function that parks; stacks do not move."""

    g: G
    next: Sudog
    prev: Sudog
    elem: Memory  # the element: in the frame of the goroutine that waits
    c: Hchan
    waitlink: Sudog  # select: the next case, in lock order
    kind: int  # select: 1 send, 0 receive
    index: int  # select: number of the case
    success: int  # the communication took place (0: woken by close, or by the end of the run)
    isselect: int  # the G waits in other queues too
    ticket: int  # semaphores: the address waited for


@struct(notinheap=True)
class RandState:
    """Numba's rnd_state_t (numba/_random.c): a Mersenne twister, and the second one of a pair of normal numbers."""

    index: int32
    mt: Array[int32, 624]
    has_gauss: int32
    gauss: float
    is_initialized: int32


@struct(notinheap=True)
class Rand:
    """The random numbers of a goroutine, in memory of the C library."""

    states: Array[Embed[RandState], 3]  # of np.random, of random, and for the hash of a NaN


@struct(notinheap=True)
class Waitq:
    first: Sudog
    last: Sudog


@struct
class Hchan:
    qcount: int  # elements in the buffer; first, because len(ch) reads it inline
    dataqsiz: int  # capacity
    buf: Memory
    elemtype: Type
    elemsize: int
    closed: int
    sendx: int
    recvx: int
    recvq: Embed[Waitq]
    sendq: Embed[Waitq]
    lock: Embed[Mutex]


@struct(
    notinheap=True,
    align={
        "lock": 64,
        "npidle": 64,
        "nmspinning": 64,
        "goidgen": 64,
        "allglock": 64,
        "stacklock": 64,
        "heaplock": 64,
        "allp": 64,
    },
)
class Sched:
    lock: Embed[Mutex]
    runqhead: G
    runqtail: G
    runqsize: int
    urgent: int  # the first so many in the global queue are helpers (runq.py, RQ6)
    pidle: P
    midle: M
    nmidle: int
    nmidlelocked: int  # Ms that sleep because their locked G has to wait
    mcount: int
    allm: M
    gomaxprocs: int
    seed: int  # of all random numbers: the Ps', and those of the goroutines (rand.py)
    npidle: int
    nmspinning: int
    goidgen: int
    runidgen: int
    roomhint: int  # which P makes room for the next helper (runs.py)
    allglock: Embed[Mutex]
    allgs: int  # bitmap of the slabs that hold a G; changed under allglock
    allglen: int
    allruns: Run
    runfree: Run
    stacklock: Embed[Mutex]  # the arena of stacks, the global list of free ones
    gfree: G
    gfreecnt: int
    usedgs: int  # bitmap of the slabs whose G is not in the global free list; changed under stacklock
    stackstart: int
    stackbump: int  # the arena: next slab, end of what is accessible, end
    stackmapped: int
    stackend: int
    gfreelow: int  # the least gfreecnt since the scavenger looked
    scavtick: int
    scavenging: int  # somebody gives stacks back; cold ones are not for use meanwhile
    coldbits: int  # bitmap of the slabs whose memory was given back
    coldcount: int
    coldhint: int  # no cold slab below this word of the bitmap
    guardok: int  # the kernel can guard pages without a mapping each
    guards: int  # guards made by mprotect, where it cannot
    heaplock: Embed[Mutex]  # the arena of the heap
    heapbump: int  # above the last page that was ever in use
    heapend: int  # end of what is accessible
    heapstart: int
    heaplimit: int  # bytes of spans beyond which allocation fails
    oomsize: int  # the request that failed last: its bytes ...
    oominuse: int  # ... and the bytes of spans in use then
    allp: Array[P, MaxGomaxprocs]


sched = var(Sched, abi.SCHED)


# ---- what lowering bakes in
def _assert_offsets():
    expected = {
        (G, "sp"): abi.G_SP,
        (G, "stackguard"): abi.G_STACKGUARD,
        (G, "m"): abi.G_M,
        (G, "preempt"): abi.G_PREEMPT,
        (G, "asyncok"): abi.G_ASYNCOK,
        (G, "ccall"): abi.G_CCALL,
        (M, "mcache"): abi.M_MCACHE,
        (M, "g0"): abi.M_G0,
        (McacheEntry, "cur"): abi.MCACHE_CUR,
        (McacheEntry, "lim"): abi.MCACHE_LIM,
        (Type, "layout"): abi.TYPE_LAYOUT,
        (Hchan, "qcount"): abi.HCHAN_QCOUNT,
        (Hchan, "dataqsiz"): abi.HCHAN_DATAQSIZ,
    }
    for (cls, name), offset in expected.items():
        actual = cls.fields[name][0]
        assert actual == offset, f"abi.py says {cls.__name__}.{name} lies at {offset}, runtime2.py lays it at {actual}"
    assert G.size <= abi.G_SIZE, f"G has {G.size} bytes, abi.G_SIZE allows {abi.G_SIZE}"
    assert McacheEntry.size == abi.MCACHE_ENTRY
    assert Type.size == 8 * Descriptor.WORDS


_assert_offsets()
