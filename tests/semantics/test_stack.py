"""Where goroutines lie in memory, and how deep each of them may recurse."""

import numpy as np

import gopark as go
from gopark.compiler import abi, asm_amd64
from gopark.compiler.numba_api import intrinsic, types

GOROUTINES = 1024  # the page changes with every 64th slab


@intrinsic
def this_g(typingctx):
    def codegen(context, b, sig, args):
        return asm_amd64.emit_getg(b)

    return types.int64(), codegen


@go.func
def say_where(places, i, gate, wg):
    places[i] = this_g()
    gate.recv()
    wg.done()


@go.func
def places_of(n):
    """The addresses of n goroutines that live at the same time."""
    places = np.zeros(n, np.int64)
    gate = go.chan(int)
    wg = go.WaitGroup()
    wg.add(n)
    for i in range(n):
        go.spawn(say_where, places, i, gate, wg)
    for i in range(n):
        gate.send(i)
    wg.wait()
    return places


def test_goroutines_spread_over_the_sets_of_the_caches():
    """Aligned slabs alone would put every G on one cache line of its page, and their pages into 4 sets of a TLB."""
    places = go.run(places_of, GOROUTINES)
    assert len(set(places)) == GOROUTINES
    assert np.all(places % 64 == 0)
    assert len(set(places >> 6 & 63)) == abi.G_LINES
    slab = abi.stack_size()
    assert len(set(places // slab)) == GOROUTINES
    assert np.all(slab - places % slab <= abi.g_space())
    assert abi.g_pages() == (slab >> 14 if slab > 1 << 16 else 1)
    assert len(set(places >> 12 & 255)) >= 16  # 64 with the default slab, unless other tests have taken some of them


@go.func
def count_frames(depths, i):
    depths[i] += 1
    count_frames(depths, i)
    depths[i] += 0  # no tail call


@go.func
def overflow(depths, i, wg):
    try:
        count_frames(depths, i)
    except Exception:
        pass
    wg.done()


@go.func
def depths_of(n):
    depths = np.zeros(n, np.int64)
    wg = go.WaitGroup()
    wg.add(n)
    for i in range(n):
        go.spawn(overflow, depths, i, wg)
        go.gosched()
    wg.wait()
    return depths


def test_every_goroutine_may_recurse_equally_deep():
    """At least half of a slab is for frames, whatever the colours of the G above them."""
    depths = go.run(depths_of, GOROUTINES)
    assert len(set(depths)) == 1
    assert depths[0] * 16 < abi.stack_size()  # a call takes at least 16 bytes
    assert depths[0] > abi.stack_size() // 512
