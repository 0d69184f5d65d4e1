"""Layouts of structs: offsets against ctypes and Numba, pointer maps, layout indices, and the offsets of the ABI."""

from __future__ import annotations

import ctypes
import random

import numpy as np
import pytest
from numba import types

import gopark as go
from gopark.compiler import abi, structs
from gopark.compiler.numba_api import size_and_alignment, target_context
from gopark.compiler.structs import Array, Embedded, Pointer, ensure_descriptor, layout_index, struct
from gopark.runtime import runtime2

POINTER = ctypes.c_void_p

SCALARS = {
    int: ctypes.c_int64,
    float: ctypes.c_double,
    bool: ctypes.c_bool,
    np.int8: ctypes.c_int8,
    np.uint8: ctypes.c_uint8,
    np.int16: ctypes.c_int16,
    np.uint16: ctypes.c_uint16,
    np.int32: ctypes.c_int32,
    np.uint32: ctypes.c_uint32,
    np.int64: ctypes.c_int64,
    np.uint64: ctypes.c_uint64,
    np.float32: ctypes.c_float,
    np.float64: ctypes.c_double,
}


@go.struct
class Node:
    value: int
    next: Node


@go.struct
class Small:
    flag: bool
    node: Node
    tail: np.int16


def made(fields, **options):
    """A struct with these annotated fields."""
    return struct(type("Made", (), {"__annotations__": dict(fields), "__module__": __name__}), **options)


def as_ctypes(annotation):
    """The C type that lies in memory as a slot of this annotation does."""
    if annotation in SCALARS:
        return SCALARS[annotation]
    if annotation is Node or getattr(annotation, "__gopark_type__", None) is not None:
        return POINTER
    if isinstance(annotation, go.Embed):
        return structure([*annotation.struct.__annotations__.items()], annotation.struct)
    return structure([(f"f{i}", a) for i, a in enumerate(annotation.__args__)])


def structure(fields, cls=None):
    """A ctypes.Structure of the fields; with the least alignment of ours, if it stands for a struct."""
    scope = {**globals(), "Node": Node}
    resolved = [(n, eval(a, scope) if isinstance(a, str) else a) for n, a in fields]
    body = {"_fields_": [(n, as_ctypes(a)) for n, a in resolved]}
    plain = type("Plain", (ctypes.Structure,), body)
    if cls is None or ctypes.alignment(plain) == 8:
        return plain
    padded = [*body["_fields_"], ("_least", ctypes.c_uint64 * 0)]
    return type("Padded", (ctypes.Structure,), {"_fields_": padded})


def random_annotation(r, depth=0):
    kind = r.randint(0, 9)
    if kind < 6 or depth > 2:
        return r.choice(list(SCALARS))
    if kind == 6:
        return Node
    if kind == 7:
        return go.Chan[int]
    if kind == 8 and depth == 0:
        return go.Embed[Small]
    return tuple[tuple(random_annotation(r, depth + 1) for _ in range(r.randint(1, 4)))]


@pytest.mark.parametrize("seed", range(60))
def test_offsets_and_size_are_those_of_c(seed):
    r = random.Random(seed)
    fields = [(f"field{i}", random_annotation(r)) for i in range(r.randint(1, 9))]
    ours, theirs = made(fields), structure(fields, cls=Node)
    assert [(n, off) for n, (off, _) in ours.fields.items()] == [(n, getattr(theirs, n).offset) for n, _ in fields]
    assert ours.size == (ctypes.sizeof(theirs) + 7) & -8
    assert ours.alignment == 8


@pytest.mark.parametrize("annotation", [*SCALARS, Node, go.Chan[float]])
def test_the_size_of_a_slot_is_numbas(annotation):
    cls = made([("first", np.int8), ("it", annotation), ("last", np.int8)])
    offset, ty = cls.fields["it"]
    size, alignment = size_and_alignment(ty)
    data = target_context().get_data_type(ty)
    assert size == target_context().get_abi_sizeof(data) == ctypes.sizeof(as_ctypes(annotation))
    assert offset == alignment
    assert cls.fields["last"][0] == offset + size


def test_fields_can_start_on_a_cache_line_of_their_own():
    cls = made([("a", int), ("b", int), ("c", int)], notinheap=True, align={"b": 64})
    assert [off for off, _ in cls.fields.values()] == [0, 64, 72]
    assert (cls.size, cls.alignment) == (128, 64)


def test_inline_arrays_take_the_place_of_their_elements():
    cls = made([("a", Array[np.int32, 5]), ("b", int), ("c", Array[Node, 3]), ("d", np.int8)], notinheap=True)
    assert [off for off, _ in cls.fields.values()] == [0, 24, 32, 56]
    assert cls.size == 64


# ---- pointer maps


class Record:
    """What a descriptor says: the words of its `runtime2.Type` record in memory."""

    def __init__(self, descriptor):
        words = (ctypes.c_uint64 * descriptor.WORDS).from_address(descriptor.address)
        self.layout, self.size, self.span, self.mask, mask_address, name_address = words[:6]
        self.name = ctypes.string_at(name_address).decode()
        masks = (ctypes.c_uint64 * max(1, (self.span + 63) // 64)).from_address(mask_address)
        assert masks[0] == self.mask
        self.pointers = [64 * i + bit for i, m in enumerate(masks) for bit in range(64) if m >> bit & 1]


def object_record(cls):
    return Record(ensure_descriptor("object", Pointer(cls)))


@go.struct
class Leaf:
    a: int
    b: float


@go.struct
class Both:
    pair: tuple[Node, int]
    n: np.int32
    nested: tuple[np.int8, tuple[int, Node, np.int8, tuple[go.Chan[int]]], Node]
    inner: go.Embed[Small]
    mu: go.Mutex
    last: Node


@go.struct
class Deeper:
    n: int
    both: go.Embed[Both]
    end: go.Chan[Node]


@go.struct
class Long:
    head: tuple[int, int, int, int, int, int, int, int]
    a: go.Embed[Both]
    b: go.Embed[Both]
    c: go.Embed[Both]
    d: go.Embed[Both]
    e: go.Embed[Both]
    tail: Node


def pointer_words(cls, base=0):
    """The words that hold pointers, by a walk over the annotations of our own and the offsets of ctypes."""
    return sorted(
        word
        for name, annotation in cls.__annotations__.items()
        for word in annotation_words(eval(annotation, globals()), base + cls.fields[name][0])
    )


def annotation_words(annotation, base):
    if annotation is Node or getattr(annotation, "__gopark_type__", None) is not None:
        return [base // 8]
    if isinstance(annotation, go.Embed):
        return pointer_words(annotation.struct, base)
    if hasattr(annotation, "__args__"):
        c = as_ctypes(annotation)
        return [
            word
            for i, inner in enumerate(annotation.__args__)
            for word in annotation_words(inner, base + getattr(c, f"f{i}").offset)
        ]
    return []


@pytest.mark.parametrize("cls", [Leaf, Node, Small, Both, Deeper, Long], ids=lambda cls: cls.__name__)
def test_the_descriptor_of_an_object_maps_its_pointers(cls):
    record = object_record(cls)
    assert record.pointers == pointer_words(cls)
    assert record.span == max(record.pointers, default=-1) + 1
    assert (record.size, record.name) == (cls.size, cls.__qualname__)


def test_pointer_maps_by_hand():
    assert object_record(Leaf).pointers == []
    assert object_record(Node).pointers == [1]
    assert object_record(Small).pointers == [1]
    # pair 0-1, n 2, nested 3-8 (int8, (int, Node, int8, (Chan)), Node), inner 9-11, mu, last
    last = Both.fields["last"][0] // 8
    assert object_record(Both).pointers == [0, 5, 7, 8, 10, last]
    assert object_record(Long).span > 64, "the longer mask is tested"


@pytest.mark.parametrize(
    ("ty", "size", "pointers"),
    [
        (types.int64, 8, []),
        (types.int8, 1, []),
        (Pointer(Node), 8, [0]),
        (types.Tuple([types.int8, Pointer(Node), types.float32]), 24, [1]),
        (types.Tuple([Pointer(Node), types.Tuple([types.int32, Pointer(Leaf)])]), 24, [0, 2]),
        (types.UniTuple(Pointer(Leaf), 3), 24, [0, 1, 2]),
    ],
    ids=str,
)
def test_the_descriptor_of_a_value_maps_its_pointers(ty, size, pointers):
    record = Record(ensure_descriptor("value", ty))
    assert (record.size, record.pointers) == (size, pointers)


def test_pointers_to_objects_outside_the_heap_are_not_followed():
    outside = made([("n", int)], notinheap=True)
    inside = made([("a", outside), ("b", Node)], notinheap=True)
    offsets = [o for off, ty in inside.fields.values() for o in structs.pointer_offsets(ty, off)]
    assert offsets == [8]
    assert structs.pointer_offsets(Embedded(inside), 16) == [24]


def test_there_is_one_descriptor_of_a_kind():
    assert ensure_descriptor("object", Pointer(Node)) is ensure_descriptor("object", Pointer(Node))
    assert ensure_descriptor("value", Pointer(Node)) is not ensure_descriptor("object", Pointer(Node))


# ---- layouts


@go.struct
class SameAsNode:
    x: float
    y: go.Chan[int]


@go.struct
class OtherPointer:
    y: Node
    x: float


def test_equal_layouts_have_one_index_whatever_their_types():
    assert object_record(Node).layout == object_record(SameAsNode).layout
    value = types.Tuple([types.float64, Pointer(Leaf)])
    assert Record(ensure_descriptor("value", value)).layout == object_record(Node).layout
    indices = [object_record(cls).layout for cls in (Node, OtherPointer, Leaf, Small, Both, Long)]
    assert len(set(indices)) == len(indices)


def test_a_layout_is_its_size_and_its_pointers():
    assert layout_index(24, (0b10,)) == layout_index(24, (0b10,))
    assert layout_index(24, (0b10,)) != layout_index(32, (0b10,))
    assert layout_index(24, (0b10,)) != layout_index(24, (0b100,))
    assert layout_index(24, ()) != layout_index(24, (0b10,))


def test_more_layouts_than_a_cache_has_room_for_are_refused(monkeypatch):
    monkeypatch.setattr(structs, "_layouts", {})
    monkeypatch.setattr(structs, "MAX_LAYOUTS", 2)
    assert [layout_index(8, ()), layout_index(16, ()), layout_index(8, ())] == [0, 1, 0]
    with pytest.raises(MemoryError, match="more than 2 different object layouts"):
        layout_index(24, ())
    assert layout_index(16, ()) == 1


def test_a_refused_layout_takes_no_place(monkeypatch):
    """Asking again for what was refused is refused again, and never handed out."""
    monkeypatch.setattr(structs, "_layouts", {})
    monkeypatch.setattr(structs, "MAX_LAYOUTS", 1)
    layout_index(8, ())
    for _ in range(2):
        with pytest.raises(MemoryError):
            layout_index(16, ())
    assert layout_index(8, ()) == 0


# ---- what user code bakes in


OFFSETS = [
    "G_SP",
    "G_STACKGUARD",
    "G_M",
    "G_PREEMPT",
    "G_ASYNCOK",
    "G_CCALL",
    "M_MCACHE",
    "M_G0",
    "MCACHE_CUR",
    "MCACHE_LIM",
    "MCACHE_ENTRY",
    "TYPE_LAYOUT",
    "HCHAN_QCOUNT",
    "HCHAN_DATAQSIZ",
]


@pytest.mark.parametrize("name", OFFSETS)
def test_an_offset_of_the_abi_that_is_not_the_structs_is_an_error(name, monkeypatch):
    runtime2._assert_offsets()
    monkeypatch.setattr(abi, name, getattr(abi, name) + 8)
    with pytest.raises(AssertionError):
        runtime2._assert_offsets()


def test_a_g_that_outgrows_its_place_is_an_error(monkeypatch):
    monkeypatch.setattr(abi, "G_SIZE", runtime2.G.size - 8)
    with pytest.raises(AssertionError, match="G has"):
        runtime2._assert_offsets()


def test_every_offset_of_the_abi_is_asserted():
    """A number that names a field and is not in the list above would not be tested."""
    named = {n for n in vars(abi) if n.split("_")[0] in ("G", "M", "MCACHE", "TYPE", "HCHAN") and n.isupper()}
    assert named - set(OFFSETS) == {"G_SIZE", "G_LINES"}


def test_the_key_of_the_abi_covers_every_constant(monkeypatch):
    before = abi.key()
    for name in OFFSETS + ["VERSION", "WB_CHECK", "STATUS_ENDED"]:
        monkeypatch.setattr(abi, name, getattr(abi, name) + 8)
        abi.key.cache_clear()
        assert abi.key() != before, name
        monkeypatch.undo()
    abi.key.cache_clear()
    assert abi.key() == before
