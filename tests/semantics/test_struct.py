"""@go.struct: construction, fields of every kind, references, nil, embedded values, and what is refused."""

from __future__ import annotations

import numba
import numpy as np
import pytest

import gopark as go

Pair = tuple[int, float]
Point = tuple[float, float]


@go.struct
class Node:
    value: int
    left: Node
    right: Node


@go.struct
class Folder:
    n: int
    first: File


@go.struct
class File:
    size: int
    next: File
    folder: Folder


@go.struct
class Scalars:
    i: int
    f: float
    b: bool
    i8: np.int8
    u8: np.uint8
    i16: np.int16
    u16: np.uint16
    i32: np.int32
    u32: np.uint32
    i64: np.int64
    u64: np.uint64
    f32: np.float32
    f64: np.float64
    flag: np.bool_


@go.struct
class Inner:
    a: int
    node: Node
    b: np.int8


@go.struct
class Outer:
    before: np.int8
    inner: go.Embed[Inner]
    after: int
    mu: go.Mutex
    group: go.WaitGroup


@go.struct
class Mixed:
    pair: tuple[int, float]
    deep: tuple[int, tuple[Node, bool], np.int8]
    ch: go.Chan[int]
    nested: go.Chan[go.Chan[float]]
    of_structs: go.Chan[Node]


# ---- construction


@go.func
def construct():
    a = Node(1, None, None)
    b = Node(2, a)
    c = Node(value=3, right=a, left=b)
    d = Node(right=c)
    e = Node()
    return (
        (a.value, a.left is None, a.right is None),
        (b.value, b.left is a, b.right is None),
        (c.value, c.left is b, c.right is a),
        (d.value, d.left is None, d.right is c),
        (e.value, e.left is None, e.right is None),
    )


def test_construction_by_position_and_keyword_missing_fields_are_zero():
    expected = ((1, True, True), (2, True, True), (3, True, True), (0, True, True), (0, True, True))
    assert go.run(construct) == expected


@go.func
def zeros():
    s, m, o = Scalars(), Mixed(), Outer()
    numbers = s.i + s.i8 + s.u8 + s.i16 + s.u16 + s.i32 + s.u32 + s.i64 + int(s.u64) + s.f + s.f32 + s.f64
    flags = s.b or s.flag
    tuples = m.pair == (0, 0.0) and m.deep[1][0] is None and not m.deep[1][1]
    channels = m.ch is None and m.nested is None and m.of_structs is None
    return numbers, flags, tuples, channels, o.inner.a, o.inner.node is None, o.mu.try_lock()


def test_missing_fields_are_zero():
    assert go.run(zeros) == (0.0, False, True, True, 0, True, True)


@go.func
def objects_are_zeroed(n):
    """Memory that was used before shows through nowhere."""
    wrong = 0
    for i in range(n):
        s = Scalars(u8=np.uint8(i), f=float(i))
        if s.i != 0 or s.f64 != 0.0 or s.b or s.u64 != 0 or s.u8 != np.uint8(i) or s.f != i:
            wrong += 1
    return wrong


def test_every_object_starts_at_zero():
    assert go.run(objects_are_zeroed, 100000) == 0


# ---- fields


@go.func
def widths(s):
    s.i8 = np.int8(-1)
    s.u8 = np.uint8(255)
    s.i16 = np.int16(-2)
    s.u16 = np.uint16(65535)
    s.i32 = np.int32(-3)
    s.u32 = np.uint32(2**32 - 1)
    s.i64 = -4
    s.u64 = np.uint64(2**64 - 1)


@go.func
def scalars():
    s = Scalars(b=True, flag=True, f32=np.float32(0.5), f64=1e300, f=-0.25, i=-(2**63))
    widths(s)
    first = s.i, s.f, s.b, s.i8, s.u8, s.i16, s.u16
    second = s.i32, s.u32, s.i64, s.u64, s.f32, s.f64, s.flag
    s.b = False
    s.i8 = 5
    return first, second, s.b, s.flag, s.i8, s.u8


def test_numpy_scalars_keep_their_width_and_their_neighbours():
    first = (-(2**63), -0.25, True, -1, 255, -2, 65535)
    second = (-3, 2**32 - 1, -4, 2**64 - 1, 0.5, 1e300, True)
    assert go.run(scalars) == (first, second, False, True, 5, 255)


@go.func
def conversions():
    s = Scalars(3, 2)
    s.f = 7
    s.i = True
    s.f32 = 0.1
    s.i32 += 5
    s.u8 -= np.uint8(1)
    return s.i, s.f, s.f32, s.i32, s.u8


def test_numbers_convert_to_the_type_of_the_field():
    i, f, f32, i32, u8 = go.run(conversions)
    assert (i, f, i32, u8) == (1, 7.0, 5, 255)
    assert np.float32(f32) == np.float32(0.1)


@go.func
def tuples():
    n = Node(5)
    m = Mixed((1, 2.5), (3, (n, True), np.int8(-4)))
    m.pair = (7, m.pair[1] + 1)
    old = m.deep
    m.deep = (old[0] + 1, (None, False), old[2])
    i, x = m.pair
    return i, x, old[1][0] is n, m.deep[1][0] is None, m.deep[0], m.deep[2]


def test_tuple_fields():
    assert go.run(tuples) == (7, 3.5, True, True, 4, -4)


@go.func
def channels():
    m = Mixed(ch=go.chan(int, 1), nested=go.chan(go_chan_float, 1), of_structs=go.chan(Node, 1))
    m.ch.send(4)
    inner = go.chan(float, 1)
    m.nested.send(inner)
    m.of_structs.send(Node(6))
    inner.send(0.5)
    return m.ch.recv(), m.nested.recv().recv(), m.of_structs.recv().value


go_chan_float = go.Chan[float]


def test_channel_fields():
    assert go.run(channels) == (4, 0.5, 6)


# ---- references


@go.func
def insert(tree, value):
    node = tree
    while True:
        if value < node.value:
            if node.left is None:
                node.left = Node(value)
                return
            node = node.left
        else:
            if node.right is None:
                node.right = Node(value)
                return
            node = node.right


@go.func
def walk(node, out, at):
    if node is None:
        return at
    at = walk(node.left, out, at)
    out[at] = node.value
    return walk(node.right, out, at + 1)


@go.func
def tree_sort(values, out):
    root = Node(values[0])
    for v in values[1:]:
        insert(root, v)
    return walk(root, out, 0)


def test_a_tree():
    values = np.random.default_rng(1).permutation(5000)
    out = np.zeros(5000, np.int64)
    assert go.run(tree_sort, values, out) == 5000
    assert (out == np.arange(5000)).all()


@go.func
def mutual(n):
    folder = Folder(1)
    for i in range(n):
        folder.first = File(i, folder.first, folder)
    size = 0
    count = 0
    file = folder.first
    while file:
        size += file.size
        if file.folder is folder and file.folder.first.folder.n == 1:
            count += 1
        file = file.next
    return size, count


def test_structs_that_mention_each_other():
    assert go.run(mutual, 1000) == (499500, 1000)


@go.func
def cycle(n):
    first = Node(0)
    last = first
    for i in range(1, n):
        last.right = Node(i, last)
        last = last.right
    last.right = first
    first.left = last
    total = 0
    node = first
    for _ in range(3 * n):
        total += node.value
        node = node.right
    back = 0
    while node.left is not first:
        node = node.left
        back += 1
    return total, back, node.left is first, node is last.left


def test_a_ring():
    assert go.run(cycle, 100) == (3 * 4950, 99, True, False)


@go.func
def identity():
    a, b = Node(1), Node(1)
    c = a
    nothing = a.left
    return (
        (a is b, a is c, a is not b, a == c, a == b, a != b),
        (a is None, a is not None, a == None, a != None, None is a),  # noqa: E711
        (nothing is None, nothing is not None, nothing == None, nothing != None, nothing is b.left),  # noqa: E711
        (bool(a), bool(nothing), not a, not nothing),
    )


def test_identity_equality_and_truth():
    assert go.run(identity) == (
        (False, True, True, True, False, True),
        (False, True, False, True, False),
        (True, False, True, False, True),
        (True, False, False, True),
    )


@go.func
def truths(n):
    node = Node(0) if n else None
    if node:
        first = 1
    else:
        first = 0
    second = 10 if node and node.value == 0 else 0
    third = 100 if not node or node.left else 0
    other = node or Node(5)
    return first + second + third, other.value


def test_a_variable_that_may_be_none():
    assert go.run(truths, 1) == (11, 0)
    assert go.run(truths, 0) == (100, 5)


@go.func
def find(node, value):
    if node is None:
        return None
    if node.value == value:
        return node
    return find(node.left, value) or find(node.right, value)


@go.func
def finds():
    root = Node(1, Node(2, Node(4)), Node(3))
    return find(root, 4).value, find(root, 5) is None, find(root, 3) is root.right


def test_a_function_that_returns_a_struct_or_none():
    assert go.run(finds) == (4, True, True)


# ---- nil


@go.func
def nil_read(n):
    node = Node(1) if n else None
    return node.value


@go.func
def nil_write(n):
    node = Node(1) if n else None
    node.value = 4
    return node.value


@go.func
def nil_deep(n):
    node = Node(1, Node(2) if n else None)
    return node.left.left is None


@go.func
def nil_embedded(n):
    outer = Outer() if n else None
    return outer.inner.a


@go.func
def nil_mutex(n):
    outer = Outer() if n else None
    outer.mu.lock()
    return 1


@go.func
def nil_augmented(n):
    node = Node(1) if n else None
    node.value += 1
    return node.value


@pytest.mark.parametrize(
    "function, fine, words",
    [
        (nil_read, 1, "field 'value' of Node"),
        (nil_write, 4, "field 'value' of Node"),
        (nil_deep, True, "field 'left' of Node"),
        (nil_embedded, 0, "of Outer"),
        (nil_mutex, 1, "of Outer"),
        (nil_augmented, 2, "field 'value' of Node"),
    ],
)
def test_the_field_of_nil_raises(function, fine, words):
    assert go.run(function, 1) == fine
    with pytest.raises(go.NilPointerError, match=words):
        go.run(function, 0)
    assert go.run(function, 1) == fine


@go.func
def nil_caught():
    node = Node(1)
    try:
        return node.left.value
    except Exception:
        return -1


def test_nil_can_be_caught():
    assert go.run(nil_caught) == -1


# ---- embedded values


@go.func
def raise_a(inner, by):
    inner.a += by
    return inner.a


@go.func
def embedded():
    o = Outer(np.int8(1))
    o.after = 9
    o.inner.a = 3
    o.inner.b = np.int8(-2)
    o.inner.node = Node(8)
    local = o.inner
    local.a += 1
    returned = raise_a(o.inner, 10)
    o.mu.lock()
    second = o.mu.try_lock()
    o.mu.unlock()
    o.group.add(1)
    o.group.done()
    o.group.wait()
    return o.before, o.inner.a, returned, o.inner.b, o.inner.node.value, o.after, second


def test_an_embedded_struct_is_a_part_of_its_owner():
    assert go.run(embedded) == (1, 14, 14, -2, 8, 9, False)


@go.struct
class Keeper:
    inner: Inner


@go.func
def stored_in_field():
    o, k = Outer(), Keeper()
    k.inner = o.inner


@go.func
def given_to_constructor():
    o = Outer()
    return Keeper(o.inner) is None


@go.func
def sent():
    o, ch = Outer(), go.chan(Inner, 1)
    ch.send(o.inner)


@go.func
def sent_by_select():
    o, ch = Outer(), go.chan(Inner, 1)
    go.select(a=go.send(ch, o.inner))


@go.func
def sent_in_a_tuple():
    o, ch = Outer(), go.chan(IntAndInner, 1)
    ch.send((1, o.inner))


IntAndInner = tuple[int, Inner]


@go.func
def spawned():
    o = Outer()
    go.spawn(raise_a, o.inner, 1)


@go.func
def inner_of(o):
    return o.inner


@go.func
def returned():
    return inner_of(Outer()).a


@go.func
def replaced():
    o = Outer()
    o.inner = o.inner


@go.func
def mutex_spawned():
    o = Outer()
    go.spawn(lock_it, o.mu)


@go.func
def lock_it(mu):
    mu.lock()


@go.func
def mutex_returned():
    return mutex_of(Outer()).try_lock()


@go.func
def mutex_of(o):
    return o.mu


@pytest.mark.parametrize(
    "function, words",
    [
        (stored_in_field, ["Inner", "value inside another object", "Keeper.inner"]),
        (given_to_constructor, ["Inner", "value inside another object", "Keeper.inner"]),
        (sent, ["Inner", "value inside another object", "sending"]),
        (sent_by_select, ["Inner", "value inside another object", "sending"]),
        (sent_in_a_tuple, ["Inner", "cannot send"]),
        (spawned, ["Inner", "value inside another object", "giving it to a goroutine", "raise_a"]),
        (returned, ["Inner", "value inside another object", "inner_of"]),
        (replaced, ["Inner", "Outer.inner"]),
        (mutex_spawned, ["Mutex", "value inside another object", "lock_it"]),
        (mutex_returned, ["Mutex", "value inside another object", "mutex_of"]),
    ],
)
def test_the_address_of_an_embedded_value_does_not_escape(function, words):
    with pytest.raises(Exception) as caught:  # noqa: PT011 (the text is what matters)
        go.run(function)
    for word in words:
        assert word in str(caught.value)
    assert "test_struct.py" in str(caught.value)


# ---- refused at compile time


@go.func
def wrong_name():
    return Node().valeu


@go.func
def wrong_name_stored():
    node = Node()
    node.vlaue = 1


@go.func
def text_stored():
    node = Node()
    node.value = "1"


@go.func
def other_struct_stored():
    node = Node()
    node.left = Folder()


@go.func
def number_stored():
    node = Node()
    node.left = 3


@go.func
def none_stored():
    node = Node()
    node.value = None


@go.func
def too_many_arguments():
    return Node(1, None, None, 4).value


@go.func
def unknown_argument():
    return Node(valeu=1).value


@go.func
def argument_twice():
    return Node(1, value=1).value


@go.func
def wrong_argument():
    return Node("1").value


@go.func
def struct_in_a_list():
    nodes = [Node(1), Node(2)]
    return nodes[0].value


@go.func
def struct_in_a_comprehension():
    nodes = [Node(i) for i in range(3)]
    return nodes[0].value


@go.func
def channel_in_a_list():
    channels = [go.chan(int, 1)]
    return channels[0].cap


@go.func
def tuple_in_a_list():
    pairs = [(1, Node(1))]
    return pairs[0][0]


@go.func
def struct_in_a_set():
    nodes = {Node(1)}
    return len(nodes)


@go.func
def struct_in_a_dict():
    nodes = {1: Node(1)}
    return nodes[1].value


@go.func
def nodes_of(n):
    for i in range(n):
        yield Node(i)


@go.func
def struct_in_a_generator():
    total = 0
    for node in nodes_of(3):
        total += node.value
    return total


@go.func
def node_argument(node):
    yield node.value
    yield node.value + 1


@go.func
def struct_held_by_a_generator():
    total = 0
    for value in node_argument(Node(3)):
        total += value
    return total


@pytest.mark.parametrize(
    "function, words",
    [
        (wrong_name, ["struct Node has no field 'valeu'", "value, left, right"]),
        (wrong_name_stored, ["struct Node has no field 'vlaue'", "value, left, right"]),
        (text_stored, ["Node.value"]),
        (other_struct_stored, ["Node.left", "Folder"]),
        (number_stored, ["Node.left"]),
        (none_stored, ["Node.value"]),
        (too_many_arguments, ["Node() takes at most 3 arguments", "value, left, right", "got 4"]),
        (unknown_argument, ["Node() has no field 'valeu'"]),
        (argument_twice, ["value", "twice"]),
        (wrong_argument, ["Node(value=...)"]),
        (struct_in_a_list, ["list", "Node", "collector"]),
        (struct_in_a_comprehension, ["list", "Node", "collector"]),
        (channel_in_a_list, ["list", "chan", "collector"]),
        (tuple_in_a_list, ["list", "Node", "collector"]),
        (struct_in_a_set, ["set", "Node", "collector"]),
        (struct_in_a_dict, ["dict", "Node", "collector"]),
        (struct_in_a_generator, ["generator", "collector"]),
        (struct_held_by_a_generator, ["generator", "collector"]),
    ],
)
def test_refused_at_compile_time(function, words):
    with pytest.raises(Exception) as caught:  # noqa: PT011 (the text is what matters)
        go.run(function)
    text = str(caught.value)
    for word in words:
        assert word in text
    assert "test_struct.py" in text
    assert go.run(nil_read, 1) == 1


# ---- refused at the class


def _use(cls):
    """Layouts are made at the first use."""

    @go.func
    def make():
        return cls() is None

    return go.run(make)


def test_an_array_in_a_field_is_refused_by_name():
    for annotation in (np.ndarray, numba.float64[:]):
        with pytest.raises(Exception, match="not supported yet") as caught:

            @go.struct
            class Buffer:
                data: annotation

            _use(Buffer)
        assert "Buffer.data" in str(caught.value)


def test_a_string_in_a_field_is_refused_by_name():
    with pytest.raises(Exception, match="not supported yet") as caught:

        @go.struct
        class Named:
            name: str

        _use(Named)
    assert "Named.name" in str(caught.value)


def test_other_annotations_are_refused_by_name():
    for annotation in (list, dict, set, object, list[int], 5, bytes, None, float | None, "NoSuchName"):
        with pytest.raises(Exception) as caught:  # noqa: PT011

            @go.struct
            class Strange:
                odd: annotation

            _use(Strange)
        assert "Strange.odd" in str(caught.value)


@go.func
def channel_of_text():
    return go.chan(str).cap


@go.func
def text_on_channel(ch):
    return ch.cap


@go.func
def channel_of_something():
    return go.chan(3).cap


Floats = numba.float64[:]


@go.func
def channel_of_arrays():
    return go.chan(Floats).cap


def test_channels_of_arrays_and_strings_are_refused():
    for function in (channel_of_text, channel_of_arrays):
        with pytest.raises(Exception, match="not supported yet"):
            go.run(function)
    with pytest.raises(Exception, match="names no element type"):
        go.run(channel_of_something)


def test_what_a_struct_class_cannot_have():
    with pytest.raises(TypeError, match="no default value"):

        @go.struct
        class Defaulted:
            n: int = 3

    with pytest.raises(TypeError, match="no methods"):

        @go.struct
        class Active:
            n: int

            def go(self):
                return self.n

    with pytest.raises(TypeError, match="inheritance"):

        @go.struct
        class Derived(Node):
            m: int

    with pytest.raises(TypeError, match="decorates a class"):
        go.struct(3)


def test_a_struct_cannot_contain_itself():
    with pytest.raises(TypeError, match="cannot contain itself"):

        @go.struct
        class Endless:
            self: go.Embed[Endless]

        _use(Endless)
