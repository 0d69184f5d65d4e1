"""The user's Mutex and WaitGroup.

Stands for: src/sync/mutex.go and src/sync/waitgroup.go, over sema.py.

**Mutex.** `state` is LOCKED | WOKEN | STARVING | number of waiters << 3. In the normal mode an unlocked mutex is for
whoever comes first: a goroutine that runs already has a good chance against one that was just woken, which makes
convoys rare. A waiter that lost twice turns on STARVING: then unlock hands the mutex to the first waiter and newcomers
queue up.

* MU1  WOKEN is set while a woken waiter is on its way, so that unlock wakes one at a time.
* MU2  In STARVING the mutex is handed over with LOCKED clear and the unit of the semaphore as the token; newcomers do
       not take it.

**WaitGroup.** `state` is counter << 32 | waiters: one atomic add sees both. Who brings the counter to 0 with waiters
there resets the state and gives each of them a unit.

Both report to the inline code of the caller, which raises. A Mutex that is held when its run ends stays locked. Zero is
ready to use, so they are values inside other structs. Need a P.
"""

from __future__ import annotations

from gopark.compiler.image import WITH_P, fn
from gopark.compiler.structs import Embed, struct
from gopark.runtime.prims import cas, load, store, xadd
from gopark.runtime.runtime2 import waitMutex, waitWaitGroup
from gopark.runtime.sema import ACQUIRED, Semaphore, semacquire, semrelease

LOCKED, WOKEN, STARVING, SHIFT = 1, 2, 4, 3
WAITER = 1 << SHIFT
PATIENCE = 2  # lost rounds before a waiter starves

MISUSE = 0  # what unlock and add report when they are used wrongly


@struct(embedded=True)
class Mutex:
    """Mutual exclusion of goroutines. The zero value is unlocked.

    `go.Mutex()` makes one, in a go function and in Python; as a field of a struct it is a value inside that object,
    ready at once. Whoever unlocks need not be who locked.

    Example:

        @go.struct
        class Account:
            mu: go.Mutex
            balance: int


        @go.func
        def deposit(account, amount):
            account.mu.lock()
            try:
                account.balance += amount
            finally:
                account.mu.unlock()


        account = Account(balance=10)
        go.run(deposit, account, 5)
        print(account.balance)  # 15
    """

    state: int
    sema: Embed[Semaphore]


@struct(embedded=True)
class WaitGroup:
    """Waits for a collection of goroutines: a counter, and who waits until it is 0.

    `go.WaitGroup()` makes one, in a go function and in Python; as a field of a struct it is a value inside that object.
    Add before the goroutine is started, not in it.

    Example:

        import numpy as np


        @go.func
        def square(n, squares, done):
            squares[n] = n * n
            done.done()


        @go.func
        def fill(squares):
            done = go.WaitGroup()
            for n in range(len(squares)):
                done.add(1)
                go.spawn(square, n, squares, done)
            done.wait()


        squares = np.zeros(5, np.int64)
        go.run(fill, squares)
        print(squares)  # [ 0  1  4  9 16]
    """

    state: int
    sema: Embed[Semaphore]


@fn(entered=WITH_P)
def mutexlock(m: Mutex) -> int:
    """ACQUIRED, or ENDED."""
    if cas(m, "state", 0, LOCKED):
        return ACQUIRED
    return mutexlockslow(m)


@fn(inline=False)
def mutexlockslow(m: Mutex) -> int:
    rounds = 0
    awoke = False
    while True:
        old = load(m, "state")
        new = old
        if old & STARVING == 0:
            new |= LOCKED
        if old & (LOCKED | STARVING) != 0:
            new += WAITER
        if rounds >= PATIENCE and old & LOCKED != 0:
            new |= STARVING
        if awoke:
            new &= ~WOKEN
        if not cas(m, "state", old, new):
            continue
        if old & (LOCKED | STARVING) == 0:
            return ACQUIRED
        result = semacquire(m.sema, waitMutex, rounds > 0)
        if result != ACQUIRED:
            xadd(m, "state", -WAITER)
            return result
        rounds += 1
        old = load(m, "state")
        if old & STARVING != 0:  # MU2: it is ours
            delta = LOCKED - WAITER
            if rounds <= PATIENCE or old >> SHIFT == 1:
                delta -= STARVING
            xadd(m, "state", delta)
            return ACQUIRED
        awoke = True


@fn(entered=WITH_P)
def mutextrylock(m: Mutex) -> bool:
    old = load(m, "state")
    if old & (LOCKED | STARVING) != 0:
        return False
    return cas(m, "state", old, old | LOCKED)


@fn(entered=WITH_P)
def mutexunlock(m: Mutex) -> int:
    """1, or MISUSE if it is not locked."""
    if load(m, "state") & LOCKED == 0:
        return MISUSE
    new = xadd(m, "state", -LOCKED) - LOCKED
    if new != 0:
        mutexunlockslow(m, new)
    return 1


@fn(inline=False)
def mutexunlockslow(m: Mutex, state: int):
    if state & STARVING != 0:
        semrelease(m.sema)
        return
    old = state
    while True:
        if old >> SHIFT == 0 or old & (LOCKED | WOKEN | STARVING) != 0:
            return
        if cas(m, "state", old, (old - WAITER) | WOKEN):
            semrelease(m.sema)
            return
        old = load(m, "state")


@fn(inline=False, entered=WITH_P)
def waitgroupadd(wg: WaitGroup, delta: int) -> int:
    """1, or MISUSE if the counter would become negative."""
    state = xadd(wg, "state", delta << 32) + (delta << 32)
    counter = state >> 32
    waiters = state & 0xFFFFFFFF
    if counter < 0:
        xadd(wg, "state", -(delta << 32))
        return MISUSE
    if counter > 0 or waiters == 0:
        return 1
    store(wg, "state", 0)
    for _ in range(waiters):
        semrelease(wg.sema)
    return 1


@fn(inline=False, entered=WITH_P)
def waitgroupwait(wg: WaitGroup) -> int:
    """ACQUIRED, or ENDED."""
    while True:
        state = load(wg, "state")
        if state >> 32 == 0:
            return ACQUIRED
        if cas(wg, "state", state, state + 1):
            return semacquire(wg.sema, waitWaitGroup, False)
