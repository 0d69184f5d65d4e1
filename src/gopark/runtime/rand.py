"""Random numbers: np.random and random have a state per goroutine.

Stands for: nothing in Go, whose math/rand is a library with one source behind a lock.

Numba's generators have their state in thread-local variables, which Numba seeds by calling Python. A goroutine moves
between threads, so it would draw from several states, and share each with others; and it must not wait for the GIL.
Go code therefore gets the state from here: the three functions of Numba's that say where it is are bound to the three
below (compiler/bind.py), and everything else of Numba's works on the state it is given.

* RA1  A state is made when it is first asked for, in memory of the C library, and freed when the goroutine ends. A G
       that is used again starts without one. Nobody but its goroutine looks at it.
* RA2  It is filled from sched.seed (GOPARK_SEED) and the goroutine's number: the same two give the same numbers. The
       number is hashed before it is used, so that the sequences of neighbours do not overlap.
* RA3  Numba declares its functions to have no effects, and LLVM moves their calls out of loops and merges them. That is
       right: the answer is the same as long as the goroutine lives.

`np.random.seed(n)` fills the state of the goroutine that calls it: Numba does that by itself. All of it runs with a P.
"""

from __future__ import annotations

from gopark.compiler.image import WITH_P, fn
from gopark.compiler.numba_api import types
from gopark.runtime.prims import addr, getg, ptr, sizeof, throw
from gopark.runtime.runtime2 import G, Rand, sched

I = types.int64
malloc = types.ExternalFunction("malloc", I(I))
free = types.ExternalFunction("free", types.void(I))

MT_N = 624
STATES = 3
NP, PY, HASH = range(STATES)
GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15


@fn
def mix64(x: int) -> int:
    """The finaliser of splitmix64: a bijection that leaves no pattern."""
    x = (x ^ ((x >> 30) & 0x3FFFFFFFF)) * -4658895280553007687  # 0xBF58476D1CE4E5B9
    x = (x ^ ((x >> 27) & 0x1FFFFFFFFF)) * -7723592293110705685  # 0x94D049BB133111EB
    return x ^ ((x >> 31) & 0x1FFFFFFFF)


@fn(inline=False)
def initrand(gp: G, which: int):
    """Make one state of gp's. RA1, RA2."""
    if gp.rand is None:
        made = malloc(sizeof(Rand))
        if made == 0:
            throw("out of memory for the random numbers of a goroutine")
        rand = ptr(Rand, made)
        for i in range(STATES):
            rand.states[i].is_initialized = 0
        gp.rand = rand
    state = gp.rand.states[which]
    x = mix64(mix64(sched.seed + (which + 1) * GOLDEN) + gp.goid)
    for i in range(MT_N):
        x += GOLDEN
        state.mt[i] = mix64(x) >> 32
    state.mt[0] = -1 << 31  # not all zeros, whatever the rest is: as Numba has it
    state.index = MT_N
    state.has_gauss = 0
    state.gauss = 0.0
    state.is_initialized = 1


@fn(inline=False)
def freerand(gp: G):
    """gp ends. RA1."""
    free(addr(gp.rand))
    gp.rand = None


@fn(inline=True)
def randstate(which: int) -> int:
    """The address of one state of the calling goroutine, which is made if it is not there."""
    gp = getg()
    if gp.rand is None or gp.rand.states[which].is_initialized == 0:
        initrand(gp, which)
    return addr(gp.rand.states[which])


@fn(inline=False, entered=WITH_P)
def nprandstate() -> int:
    """In place of numba_get_np_random_state: the state of np.random."""
    return randstate(NP)


@fn(inline=False, entered=WITH_P)
def pyrandstate() -> int:
    """In place of numba_get_py_random_state: the state of random."""
    return randstate(PY)


@fn(inline=False, entered=WITH_P)
def hashrandstate() -> int:
    """In place of numba_get_internal_random_state: a NaN hashes to a random number."""
    return randstate(HASH)
