"""The allocator, called natively with Ms and Ps that the tests make.

The image under test contains the allocator's units and the entry points of malloc_unit.py. It is loaded in a process of
its own, because a process has one runtime: a test decorated with `in_worker` runs there, and its AssertionError comes
back.
"""

from __future__ import annotations

import bisect
import ctypes
import functools
import itertools
import mmap
import multiprocessing
import os
import random
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.runtime.images import Native, Record

RUNTIME = (
    "os_linux lock_futex hooks mbarrier panic audit symtab traceback persistent mheap mcache malloc mbitmap mstats"
)
HEAP_LIMIT = 1 << 30
MASK64 = (1 << 64) - 1


# ---- the worker


@pytest.fixture(scope="module")
def worker():
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


CHECKS = {}


def run_check(name):
    CHECKS[name]()


def in_worker(check):
    """A test whose body runs in the process that has loaded the image."""
    CHECKS[check.__name__] = check

    def test(worker):
        worker.submit(run_check, check.__name__).result()

    test.__doc__ = check.__doc__
    return test


_loaded: list[Native] = []


def native(publish=True, limit=HEAP_LIMIT):
    """The image of this process; the first call loads it."""
    if not _loaded:
        lib = Native(RUNTIME, "tests.runtime.malloc_unit")
        if publish:
            from gopark.runtime.malloc import publish_size_classes

            publish_size_classes()
        lib.mallocinit(limit)
        _loaded.append(lib)
    return _loaded[0]


def sched():
    from gopark.runtime import runtime2

    native()
    return Record(runtime2.Sched, runtime2.sched.address)


def heap():
    from gopark.runtime import mheap

    native()
    return Record(mheap.Mheap, mheap.mheap_.address)


class Machine:
    """An M that owns a P with a cache of its own, entered in allp, where mem_stats looks for it: for ever."""

    allp: ClassVar[list[Machine]] = []

    def __init__(self):
        from gopark.runtime import runtime2

        lib = native()
        self.m, self.p = Record(runtime2.M), Record(runtime2.P)
        self.p.mcache = self.m.mcache = lib.t_allocmcache()
        self.p.m, self.m.p = self.m.address, self.p.address
        self.p.status = runtime2.Prunning
        sched().word("allp", len(self.allp)).value = self.p.address
        self.allp.append(self)

    def entry(self, typ):
        from gopark.runtime import runtime2

        return Record(
            runtime2.McacheEntry, self.m.mcache + runtime2.McacheEntry.size * Record(runtime2.Type, typ.address).layout
        )

    def new(self, typ):
        return native().t_new(self.m.address, typ.address)

    def slow(self, typ):
        return native().t_slow(self.m.address, typ.address)

    def array(self, typ, count, nbytes=None):
        return native().t_gc(self.m.address, count * typ.size if nbytes is None else nbytes, typ.address, count)


@functools.cache
def machine():
    return Machine()


@functools.cache
@functools.cache  # spans refer to descriptors, which live for ever
def type_of(size, pointers=(), tag=""):
    """A type descriptor: so many bytes, pointers at these offsets."""
    from gopark.compiler.structs import Descriptor

    return Descriptor(f"go.type.test.{size}.{pointers}{tag}", f"test{size}", size, list(pointers))


def layout_of(typ):
    from gopark.runtime import runtime2

    return Record(runtime2.Type, typ.address).layout


def span_of(address):
    from gopark.runtime import mheap

    found = native().t_spanof(address)
    assert found, f"no span at {address:#x}"
    return Record(mheap.Mspan, found)


def content(address, n):
    return ctypes.string_at(address, n)


def stats():
    from gopark.runtime import mstats

    out = (ctypes.c_int64 * len(mstats.MEMSTATS_FIELDS))()
    native().readmemstats(ctypes.addressof(out))
    return dict(zip(mstats.MEMSTATS_FIELDS, out, strict=True))


def difference(before):
    return {name: value - before[name] for name, value in stats().items()}


# ---- size classes


@in_worker
def test_the_class_of_a_size_is_the_smallest_that_holds_it():
    from gopark.runtime.malloc import CLASS_SIZES, MaxSmallSize

    assert CLASS_SIZES[-1] == MaxSmallSize and list(CLASS_SIZES) == sorted(set(CLASS_SIZES))
    for n in range(1, MaxSmallSize + 1):
        k = native().t_sizeclass(n)
        assert k == bisect.bisect_left(CLASS_SIZES, n), n
        assert n <= 128 or CLASS_SIZES[k] - n < CLASS_SIZES[k] / 5 + 1, n


# ---- objects


OBJECTS = st.tuples(
    st.just("object"),
    st.sampled_from([8, 16, 24, 40, 64, 72, 136, 504, 512, 520, 1024, 3000, 8192, 20008, 32768, 32776, 100_000]),
    st.booleans(),
)
ARRAYS = st.tuples(st.just("array"), st.sampled_from([1, 4, 8, 12, 16, 24]), st.integers(1, 6000), st.booleans())


@in_worker
def test_what_is_allocated_is_aligned_zeroed_its_own_and_found_again():
    """Programs of random allocations on two Ps: nothing overlaps, and every interior address leads back to its
    object."""
    machines = Machine(), Machine()

    @settings(
        max_examples=60,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(st.one_of(OBJECTS, ARRAYS), min_size=1, max_size=60))
    def programs(steps):
        made = []
        for k, (what, size, *rest) in enumerate(steps):
            m = machines[k & 1]
            if what == "object":
                typ = type_of(size, (0, size - 8 & -8) if rest[0] else ())
                p, n = m.new(typ), size
            else:
                count, pointers = rest
                pointers = pointers and size % 8 == 0
                typ = type_of(size, (size - 8,) if pointers else (), "element")
                p, n = m.array(typ, count), size * count
            assert p and p % 8 == 0, (p, steps[k])
            assert content(p, n) == bytes(n), steps[k]
            pattern = random.Random(k).randbytes(n)
            ctypes.memmove(p, pattern, n)
            made.append((p, n, pattern))
        for p, n, pattern in made:
            assert content(p, n) == pattern
            for inside in (0, 1, n // 2, n - 1):
                assert native().t_findobject(p + inside) == p
        made.sort()
        for (p, n, _), (q, _, _) in itertools.pairwise(made):
            assert p + n <= q

    programs()
    assert native().t_checkheap() == 0


@in_worker
def test_second_hand_slots_are_zeroed_as_well():
    """A run may one day hold slots that were in use: every path clears the slot that it gives out."""
    typ, m = type_of(48), Machine()
    for allocate in (m.new, m.slow):
        p = allocate(typ)
        ctypes.memset(p, 0xFF, 48)
        m.entry(typ).cur = p
        assert allocate(typ) == p and content(p, 48) == bytes(48)


@in_worker
def test_an_element_alone_is_an_object_of_its_layout():
    typ, m = type_of(56, (8,)), Machine()
    p = m.array(typ, 1)
    assert native().t_spantype(p) == layout_of(typ) + 1
    assert m.new(typ) == p + 56, "the same run"


@in_worker
def test_nothing_at_all_still_has_an_address_of_its_own():
    empty = type_of(0)
    addresses = [machine().array(empty, 5), machine().array(empty, 1), machine().new(empty), machine().new(empty)]
    assert all(addresses) and len(set(addresses)) == 4


# ---- spans


@in_worker
def test_a_span_holds_one_layout_and_equal_layouts_share():
    m = Machine()
    kinds = [type_of(64, (0,)), type_of(64, (8,)), type_of(64), type_of(80, (0,)), type_of(64, (0,), "twin")]
    assert layout_of(kinds[0]) == layout_of(kinds[4])
    assert len({layout_of(t) for t in kinds}) == 4
    spans = {}
    for _ in range(1000):
        for typ in kinds:
            p = m.new(typ)
            s = span_of(p)
            assert native().t_spantype(p) == layout_of(typ) + 1
            assert s.elemsize == typ.size and (p - s.start) % typ.size == 0
            spans.setdefault(s.start, set()).add(layout_of(typ))
    assert all(len(layouts) == 1 for layouts in spans.values())
    first, twin = m.new(kinds[0]), m.new(kinds[4])
    assert span_of(first).start == span_of(twin).start
    assert native().t_checkheap() == 0


@in_worker
def test_two_caches_never_share_a_run():
    typ, a, b = type_of(32, (24,)), Machine(), Machine()
    assert {span_of(a.new(typ)).start for _ in range(600)}.isdisjoint({span_of(b.new(typ)).start for _ in range(600)})


@in_worker
def test_spans_grow_with_the_layout():
    from gopark.runtime.mheap import BIG_PAGES, BIG_SLOT, FEW_SPANS, PageSize

    m, typ = Machine(), type_of(104, (0,))
    sizes = {}
    for _ in range(FEW_SPANS * (PageSize // 104) + 2 * BIG_PAGES * PageSize // 104):
        s = span_of(m.new(typ))
        sizes.setdefault(s.start, s.npages)
    pages = list(sizes.values())
    assert pages[:FEW_SPANS] == [1] * FEW_SPANS and set(pages[FEW_SPANS:]) == {BIG_PAGES}
    assert span_of(m.new(type_of(BIG_SLOT, (0,)))).npages == BIG_PAGES
    assert span_of(m.new(type_of(BIG_SLOT - 8, (0,)))).npages == 1
    assert native().t_checkheap() == 0


@in_worker
def test_pointer_free_arrays_share_the_spans_of_pointer_free_objects():
    m = Machine()
    p, q = m.new(type_of(96)), m.array(type_of(4, (), "element"), 23)
    assert q == p + 96
    assert native().t_spantype(q) == layout_of(type_of(96)) + 1


@in_worker
def test_arrays_with_pointers_lie_in_spans_of_their_element():
    from gopark.runtime.mheap import TT_ARRAY
    from gopark.runtime.runtime2 import Type

    m = Machine()
    pair, other = type_of(16, (8,), "pair"), type_of(16, (0,), "other")
    made = [(typ, count, m.array(typ, count)) for _ in range(700) for typ in (pair, other) for count in (2, 3, 100)]
    sizes = {2: 32, 3: 48, 100: 1792}
    for typ, count, p in made:
        s = span_of(p)
        assert native().t_spantype(p) == TT_ARRAY
        assert s.elemsize == sizes[count] and (p - s.start) % s.elemsize == 0
        # of this element, or of an earlier one of the same layout
        assert Record(Type, s.typ).layout == layout_of(typ), "the marker takes the element's pointer words from here"
    assert len({p for _, _, p in made}) == len(made)
    assert len({span_of(p).start for typ, count, p in made if (typ, count) == (pair, 2)}) > 1, "spans fill up"
    assert native().t_checkheap() == 0


@in_worker
def test_a_full_span_of_arrays_leaves_the_list_wherever_it_stands():
    """The list of an element's layout holds the spans with free slots, one for each size; filling one loses no
    other."""
    m, typ = Machine(), type_of(24, (0, 16), "listed")
    sizes = {2: 48, 4: 96, 8: 192}

    def listed():
        address, found = heap().word("arrays", layout_of(typ)).value, {}
        while address:
            s = Record(Span, address)
            assert s.elemsize not in found
            found[s.elemsize] = s.start
            address = s.link
        return found

    first = {count: m.array(typ, count) for count in sizes}
    Span = span_of(first[2]).cls
    assert list(listed()) == [192, 96, 48], "the newest is in front"
    for filled in (4, 2, 8, 8, 2, 4):  # in the middle, at the end, in front ...
        before = listed()
        while listed().get(sizes[filled]) == before[sizes[filled]]:
            assert span_of(m.array(typ, filled)).start == before[sizes[filled]]
        assert sizes[filled] not in listed()
        assert listed() == {size: start for size, start in before.items() if size != sizes[filled]}
        fresh = m.array(typ, filled)
        assert listed()[sizes[filled]] == span_of(fresh).start != before[sizes[filled]]


# ---- large objects


@in_worker
def test_large_objects_have_spans_of_their_own():
    from gopark.runtime.mheap import TT_ARRAY, TT_CONTINUED, TT_NOSCAN, PageSize

    m = machine()
    big, element, number = type_of(50_000, (0, 49_992)), type_of(8, (0,), "reference"), type_of(8, (), "number")
    cases = [
        (m.new(big), 50_000, layout_of(big) + 1),
        (m.array(element, 300), 2400, TT_ARRAY),
        (m.array(element, 100_000), 800_000, TT_ARRAY),
        (m.array(number, 5000), 40_000, TT_NOSCAN),
        (m.array(number, 1 << 20), 8 << 20, TT_NOSCAN),
    ]
    for p, n, kind in cases:
        s = span_of(p)
        assert p == s.start and p % PageSize == 0 and s.nelems == 1 and s.elemsize == n
        assert s.npages == -(-n // PageSize)
        assert content(p, n) == bytes(n)
        assert native().t_spantype(p) == kind
        for page in range(1, s.npages):
            assert native().t_spantype(p + page * PageSize) == TT_CONTINUED
        for inside in (0, 7, n // 2, n - 1):
            assert native().t_findobject(p + inside) == p
        assert native().t_findobject(p + n) == 0, "the rest of the last page belongs to nobody"
    assert native().t_checkheap() == 0


# ---- addresses and bits


@in_worker
def test_findobject_takes_every_integer():
    s = sched()
    native_ = native()
    for a in (0, 1, -1, 1 << 62, -(1 << 63), s.heapstart - 1, s.heapbump, s.heapend, heap().arenaend, 12345):
        assert native_.t_findobject(a) == 0 and native_.t_spanof(a) == 0
    p = machine().new(type_of(3000))
    span = span_of(p)
    end = span.start + span.nelems * span.elemsize
    assert native_.t_findobject(end - 1) == end - 3000
    assert native_.t_findobject(end) == 0, "behind the last slot"


@in_worker
def test_a_slot_is_allocated_by_the_free_index_or_by_its_bit():
    from gopark.runtime.mheap import PageShift

    lib = native()
    m, typ = Machine(), type_of(88, (80,))
    p = m.new(typ)
    s = span_of(p)
    index = ctypes.c_int32.from_address(heap().freeindex + 4 * ((s.start - sched().heapstart) >> PageShift))
    assert index.value == s.nelems, "the whole run counts as allocated"
    index.value = 2
    slot = [p + 88 * k for k in range(6)]
    assert [lib.t_findobject(a + 40) for a in slot] == [slot[0], slot[1], 0, 0, 0, 0]
    lib.t_setbit(0, slot[3])
    assert lib.t_testbit(0, slot[3]) == 1 and lib.t_testbit(0, slot[3] + 8) == 0 and lib.t_testbit(1, slot[3]) == 0
    assert [lib.t_findobject(a + 40) for a in slot] == [slot[0], slot[1], 0, slot[3], 0, 0]
    assert lib.t_checkspan(p) == 0
    index.value = s.nelems
    assert lib.t_checkheap() == 0


@in_worker
def test_the_checker_finds_what_is_broken():
    """Each table is damaged in turn, and mended."""
    from gopark.runtime import mbitmap, mheap

    lib = native()
    m, typ = Machine(), type_of(640, (0,))
    p = m.new(typ)
    s = span_of(p)
    page = (s.start - sched().heapstart) >> mheap.PageShift

    def span_type(k):
        return ctypes.c_uint16.from_address(heap().spantypes + 2 * (page + k))

    def free_index(k):
        return ctypes.c_int32.from_address(heap().freeindex + 4 * (page + k))

    def bit_word(table, address):
        return ctypes.c_uint64.from_address(table + (address >> 9 << 3))

    inuse = heap().word("inuse")
    cases = [
        (s.word("elemsize"), 641, mbitmap.SPAN_RECORD),
        (s.word("nelems"), s.nelems + 1, mbitmap.SPAN_RECORD),
        (s.word("typ"), 0, mbitmap.SPAN_RECORD),
        (s.word("elemsize"), 632, mbitmap.SPAN_LAYOUT),
        (span_type(0), layout_of(type_of(8)) + 1, mbitmap.SPAN_PAGES),
        (span_type(3), mheap.TT_CONTINUED, mbitmap.SPAN_PAGES),
        (free_index(3), -2, mbitmap.SPAN_PAGES),
        (free_index(0), s.nelems + 1, mbitmap.SPAN_INDEX),
        (bit_word(heap().allocbits, p + 8), 1 << (p + 8 >> 3 & 63), mbitmap.SPAN_BITS),
        (bit_word(heap().markbits, p + 8), 1 << (p + 8 >> 3 & 63), mbitmap.SPAN_BITS),
    ]
    for word, broken, verdict in cases:
        sound, word.value = word.value, broken
        assert lib.t_checkspan(s.start) == verdict, (verdict, broken)
        assert lib.t_checkheap() != 0
        word.value = sound
        assert lib.t_checkspan(s.start) == 0
    lib.t_setbit(1, p)
    assert lib.t_checkspan(p) == 0, "a mark bit of an allocated object"
    free_index(0).value = 0
    assert lib.t_checkspan(p) == mbitmap.SPAN_BITS, "marked, but not allocated"
    free_index(0).value = s.nelems
    bit_word(heap().markbits, p).value = 0
    inuse.value += mheap.PageSize
    assert lib.t_checkheap() == mbitmap.SPAN_SUM
    inuse.value -= mheap.PageSize
    assert lib.t_checkheap() == 0


# ---- out of memory


@in_worker
def test_beyond_the_limit_allocation_gives_nil_and_keeps_the_figures():
    from gopark.runtime.mheap import PageSize

    s, m = sched(), Machine()
    typ, number, pair = type_of(200, (0,)), type_of(8, (), "number"), type_of(16, (0, 8), "oom")
    limit, inuse = s.heaplimit, heap().inuse
    assert limit == HEAP_LIMIT
    s.heaplimit = inuse + 20 * PageSize
    try:
        assert m.array(number, 21 * PageSize // 8) == 0
        assert (s.oomsize, s.oominuse, s.heaplimit) == (21 * PageSize, inuse, inuse + 20 * PageSize)
        assert stats()["oom_size"] == 21 * PageSize and stats()["oom_heap_inuse"] == inuse
        made = list(itertools.takewhile(bool, iter(lambda: m.new(typ), None)))
        assert 4 * (PageSize // 200) <= len(made) <= 20 * PageSize // 200
        assert s.oomsize == 200 and s.oominuse == heap().inuse <= s.heaplimit
        assert m.new(typ) == 0, "and again"
        s.heaplimit = heap().inuse
        assert m.array(pair, 5) == 0 and s.oomsize == 80
        assert m.array(pair, 500) == 0 and s.oomsize == 8000
    finally:
        s.heaplimit = limit
    assert m.new(typ) and m.array(pair, 5) and m.array(pair, 500)
    assert native().t_checkheap() == 0


@in_worker
def test_sizes_that_no_memory_could_hold_are_out_of_memory():
    number, reference = type_of(8, (), "number"), type_of(8, (0,), "reference")
    for nbytes in (HEAP_LIMIT + 8, 1 << 46, (1 << 63) - 1, -8, -(1 << 63)):
        for typ in (number, reference):
            assert machine().array(typ, 2, nbytes) == 0
    assert native().t_checkheap() == 0


# ---- caches and statistics


@in_worker
def test_the_empty_cache_gives_nothing_and_stays_empty():
    from gopark.runtime import mcache, runtime2

    assert content(mcache.emptymcache.address, runtime2.Mcache.size) == bytes(runtime2.Mcache.size)


@in_worker
def test_statistics_count_every_object_and_byte():
    m, other = Machine(), Machine()
    typ, number, pair = type_of(144, (0,)), type_of(8, (), "number"), type_of(16, (8,), "stats")
    before = stats()
    for _ in range(1000):
        m.new(typ)
    for _ in range(10):
        other.new(typ)
    difference_of_objects = difference(before)
    assert difference_of_objects["mallocs"] == difference_of_objects["heap_objects"] == 1010
    assert difference_of_objects["heap_alloc"] == difference_of_objects["total_alloc"] == 1010 * 144
    before = stats()
    m.array(number, 3)  # 24 bytes, its own class is 32
    m.array(pair, 3)  # a slot of 48
    m.array(number, 10_000)  # a span of its own
    after = difference(before)
    assert after["mallocs"] == 3 and after["total_alloc"] == 32 + 48 + 80_000
    now = stats()
    assert now["sys"] == now["heap_sys"] + now["stack_sys"] + now["gc_sys"] + now["other_sys"]
    assert now["heap_idle"] == now["heap_sys"] - now["heap_inuse"] >= 0
    assert now["heap_alloc"] <= now["heap_inuse"] == heap().inuse == sched().heapbump - sched().heapstart
    assert (native().heapinuse(), native().heaplimit()) == (now["heap_inuse"], now["heap_limit"])
    assert now["heap_limit"] == HEAP_LIMIT and now["heap_sys"] % (4 << 20) == 0
    assert 0 < now["gc_sys"] < now["heap_sys"] / 25
    assert (now["frees"], now["num_gc"]) == (0, 0), "nothing is reclaimed yet"


@in_worker
def test_statistics_of_stacks_count_slabs():
    from gopark.compiler import abi

    slab = abi.stack_size()
    of_an_m = max(2, (8 << 20) // slab)

    s, m = sched(), Machine()
    s.allglen, s.mcount, s.gfreecnt, m.p.gfreecnt = 12, 2, 3, 4  # two of the twelve are the g0s of Ms
    now = stats()
    s.allglen = s.mcount = s.gfreecnt = m.p.gfreecnt = 0
    assert now["stack_sys"] == (10 + 2 * of_an_m) * slab
    assert now["stack_inuse"] == now["stack_sys"] - 7 * slab


@in_worker
def test_tables_are_backed_before_the_pages_are_handed_out():
    """MH2: no page of a table is touched for the first time by an allocation (mincore says which are backed)."""
    mincore = ctypes.CDLL(None, use_errno=True).mincore
    mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p]
    machine().array(type_of(8, (), "number"), 3 << 20)
    h, s = heap(), sched()
    pages = (s.heapend - s.heapstart) >> 13
    bias = s.heapstart >> 9 << 3
    tables = [(h.spantypes, 2 * pages), (h.freeindex, 4 * pages), (h.spans, span_of(s.heapstart).cls.size * pages)]
    tables += [(table + bias, (s.heapend - s.heapstart) >> 6) for table in (h.allocbits, h.markbits)]
    for start, n in tables:
        backed = (ctypes.c_uint8 * -(-n // 4096))()
        assert mincore(start, n, ctypes.addressof(backed)) == 0
        assert all(flag & 1 for flag in backed)


# ---- several threads


@in_worker
def test_threads_with_a_p_each_allocate_without_treading_on_each_other():
    """Small objects, arrays that share spans under the lock, spans for one or three objects: all keep what was
    written."""
    lib = native()
    reference = type_of(8, (0,), "reference")
    work = [  # type, bytes, elements (0: an object), words to write, how many
        (type_of(40, (8,)), 40, 0, 5, 30_000),
        (type_of(20_008, (8,)), 20_008, 0, 2, 1000),
        (reference, 16, 2, 2, 50_000),
        (reference, 40_000, 5000, 5000, 40),
        (reference, 40_000, 5000, 2, 1500),
    ]
    failures, addresses = [], []
    together = threading.Barrier(4)

    def storm(m):
        for typ, nbytes, count, words, n in work:
            out = (ctypes.c_int64 * n)()
            together.wait()
            result = lib.t_storm(m.m.address, typ.address, nbytes, count, words, n, ctypes.addressof(out))
            if result != n:
                failures.append((nbytes, result))
            addresses.append(list(out))

    threads = [threading.Thread(target=storm, args=(Machine(),)) for _ in range(4)]
    before = stats()
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failures
    made = list(itertools.chain(*addresses))
    assert len(set(made)) == len(made) == 4 * sum(n for *_, n in work)
    assert difference(before)["mallocs"] == len(made)
    assert all(lib.t_findobject(p + 8) == p for p in made[::97])
    assert lib.t_checkheap() == 0


# ---- on a stack of ours


def on_stack(m, typ, count):
    """Run newobject, mallocslow and mallocgc of `typ` on a thread whose G is found from its stack pointer."""
    from gopark.compiler import abi
    from tests.runtime import malloc_unit

    slab = abi.stack_size()
    area = mmap.mmap(-1, 2 * slab)
    lo = ctypes.addressof(ctypes.c_char.from_buffer(area)) + slab - 1 & -slab
    wanted = Record(malloc_unit.OnStack, malloc_unit.onstack.address)
    wanted.typ, wanted.count, wanted.nbytes = typ.address, count, count * typ.size
    assert native().t_thread(m.address, lo) == 0
    deadline = time.monotonic() + 30
    while m.word("park").value & 0xFFFFFFFF == 0:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    on_stack.areas.append(area)  # the thread ends on it
    return wanted


on_stack.areas = []


@in_worker
def test_the_entry_points_find_their_m_through_the_stack():
    """With the check of the P's ownership switched on: the allocator's own pointer stores pass it."""
    from gopark.compiler import abi

    m, typ = Machine(), type_of(120, (112,))
    first = m.new(typ)
    seam = ctypes.c_int64.from_address(native().image.address[abi.SEAM])
    seam.value = abi.WB_CHECK
    made = on_stack(m.m, typ, 3)
    seam.value = 0
    assert (made.new, made.slow) == (first + 120, first + 240)
    assert span_of(made.array).typ == typ.address
    assert m.new(typ) == first + 360


# ---- who may allocate


@in_worker
def test_the_check_knows_that_the_allocator_needs_a_p():
    from gopark.compiler import wbcheck

    infos = {
        symbol: info
        for symbol, info in native().image.infos.items()
        if not info.file.endswith("malloc_unit.py") or symbol in ("go.firstg", "go.nextg", "go.stackarena")
    }
    with_p = {f"go.{name}": wbcheck.State.P for name in ("mallocslow", "newobject", "mallocgc")}
    without = {f"go.{name}": wbcheck.State.NONE for name in ("mallocinit", "readmemstats", "allocmcache")}
    assert [v.format_text() for v in wbcheck.check(infos, with_p | without).violations] == []
    for symbol in with_p:
        assert wbcheck.check(infos, {symbol: wbcheck.State.NONE}).violations, f"{symbol} without a P is no violation"


# ---- last words: each in a process that dies


def malloc_without_a_p():
    from gopark.runtime import mcache, runtime2

    native()
    m = Record(runtime2.M)
    m.mcache = mcache.emptymcache.address
    on_stack(m, type_of(16), 1)


def mallocslow_with_the_p_of_another():
    m, thief = Machine(), Machine()
    thief.m.p = m.p.address
    thief.slow(type_of(16))


def mallocgc_with_the_p_of_another():
    m, thief = Machine(), Machine()
    thief.m.p = m.p.address
    thief.array(type_of(8, (0,)), 3)


def boot_without_size_classes():
    native(publish=False)


def boot_in_too_little_address_space():
    limit_address_space(200 << 20)
    native()


def boot_in_little_address_space():
    limit_address_space(6 << 30)
    native(limit=0)
    assert 1 << 30 <= sched().heaplimit == heap().arenaend - sched().heapstart < 6 << 30
    assert machine().new(type_of(16))
    assert machine().array(type_of(8, (), "number"), 1 << 40) == 0
    print(f"booted with {sched().heaplimit} bytes")


def limit_address_space(more):
    """Leave room for so many bytes when the heap is made: after everything else is loaded."""
    import resource

    import numba  # noqa: F401

    original = Native.__getattr__

    def limited(self, name):
        if name == "mallocinit":
            used = int(Path("/proc/self/statm").read_text().split()[0]) * 4096
            resource.setrlimit(resource.RLIMIT_AS, (used + more,) * 2)
        return original(self, name)

    Native.__getattr__ = limited


def in_a_process(scene):
    here = Path(__file__)
    path = os.pathsep.join([str(here.parent), *filter(None, sys.path)])
    return subprocess.run(
        [sys.executable, "-c", f"import {here.stem}; {here.stem}.{scene.__name__}()"],
        env={**os.environ, "PYTHONPATH": path},
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize(
    ("scene", "words"),
    [
        (malloc_without_a_p, "malloc without a P"),
        (mallocslow_with_the_p_of_another, "malloc with a P that another M owns"),
        (mallocgc_with_the_p_of_another, "malloc with a P that another M owns"),
        (boot_without_size_classes, "mallocinit: the size classes have not been published"),
        (boot_in_too_little_address_space, "out of address space for the heap"),
    ],
)
def test_last_words(scene, words):
    done = in_a_process(scene)
    assert (done.returncode, done.stderr) == (2, f"fatal error: {words}\n"), done.stderr


def test_a_limited_address_space_makes_a_smaller_arena():
    done = in_a_process(boot_in_little_address_space)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("booted with ")
