"""go.List: it does what Python's list does, is shared by reference, and holds what the collected heap may hold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

import gopark as go

Ints = go.List[int]
Pair = tuple[int, float]


@go.struct
class Node:
    value: int
    children: go.List[Node]


# ---- a random life, beside Python's list

OPERATIONS = (
    "append set get pop pop_last insert extend_self clear reverse sort sort_down copy slice delete delete_slice index "
    "count remove contains"
).split()


@go.func
def live(steps, n, log):
    """Does the operations (number, three arguments) to one list; what each gave, or that it failed, to the log;
    then the contents behind it. The length of all."""
    items = go.List[int]()
    for k in range(n):
        op, a, b, c = steps[k, 0], steps[k, 1], steps[k, 2], steps[k, 3]
        said = 0
        try:
            if op == 0:
                items.append(a)
            elif op == 1:
                items[a] = b
            elif op == 2:
                said = items[a]
            elif op == 3:
                said = items.pop(a)
            elif op == 4:
                said = items.pop()
            elif op == 5:
                items.insert(a, b)
            elif op == 6:
                if len(items) < 50:
                    items.extend(items)
            elif op == 7:
                if b == 0:
                    items.clear()
            elif op == 8:
                items.reverse()
            elif op == 9:
                items.sort()
            elif op == 10:
                items.sort(reverse=True)
            elif op == 11:
                other = items.copy()
                said = (other == items) + 2 * (other is items)
                other.append(1)
                said += 4 * (other == items)
            elif op == 12:
                part = items[a : b : (c if c != 0 else 1)]
                said = len(part)
                for i in range(len(part)):
                    said = said * 31 + part[i]
            elif op == 13:
                del items[a]
            elif op == 14:
                del items[a : b : (c if c != 0 else 1)]
            elif op == 15:
                said = items.index(a)
            elif op == 16:
                said = items.count(a)
            elif op == 17:
                items.remove(a)
            else:
                said = (a in items) + 2 * bool(items)
        except Exception:  # Numba tells no kinds apart
            said = -1001
        log[k] = said
    for i in range(len(items)):
        log[n + i] = items[i]
    return len(items)


def live_in_python(steps):
    items, log = [], []
    for op, a, b, c in steps:
        said = 0
        try:
            match OPERATIONS[op]:
                case "append":
                    items.append(a)
                case "set":
                    items[a] = b
                case "get":
                    said = items[a]
                case "pop":
                    said = items.pop(a)
                case "pop_last":
                    said = items.pop()
                case "insert":
                    items.insert(a, b)
                case "extend_self":
                    if len(items) < 50:
                        items.extend(items)
                case "clear":
                    if b == 0:
                        items.clear()
                case "reverse":
                    items.reverse()
                case "sort":
                    items.sort()
                case "sort_down":
                    items.sort(reverse=True)
                case "copy":
                    said = 1
                case "slice":
                    part = items[a : b : c or 1]
                    said = len(part)
                    for x in part:
                        said = said * 31 + x
                    said = (said + (1 << 63)) % (1 << 64) - (1 << 63)
                case "delete":
                    del items[a]
                case "delete_slice":
                    del items[a : b : c or 1]
                case "index":
                    said = items.index(a)
                case "count":
                    said = items.count(a)
                case "remove":
                    items.remove(a)
                case "contains":
                    said = (a in items) + 2 * bool(items)
        except (IndexError, ValueError):
            said = -1001
        log.append(said)
    return log + items


small = st.integers(-12, 12)
step = st.tuples(st.integers(0, len(OPERATIONS) - 1) | st.just(0), small, small, st.integers(-3, 3))


@hypothesis_settings(max_examples=300, deadline=None)
@given(st.lists(step, max_size=60))
def test_a_random_life_is_that_of_pythons_list(steps):
    array = np.array(steps, np.int64).reshape(-1, 4)
    log = np.zeros(len(steps) + 1000, np.int64)
    n = go.run(live, array, len(steps), log)
    assert log[: len(steps) + n].tolist() == live_in_python(steps)


@go.func
def sorted_pairs(keys, down):
    """Sorts by the first part only: struct-like pairs whose second part tells their order before."""
    items = go.List[Pair]()
    for i in range(len(keys)):
        items.append((keys[i], float(i)))
    items.sort(reverse=down)
    out = np.zeros((len(keys), 2))
    for i in range(len(items)):
        out[i, 0], out[i, 1] = items[i]
    return out


@pytest.mark.parametrize("n", [0, 1, 2, 15, 16, 17, 100, 1000])
@pytest.mark.parametrize("down", [False, True])
def test_sort_of_many(n, down):
    keys = np.random.default_rng(n).integers(0, 10, n)
    wanted = sorted(((int(k), float(i)) for i, k in enumerate(keys)), reverse=down)
    assert [tuple(row) for row in go.run(sorted_pairs, keys, down).tolist()] == wanted


# ---- what it may hold, and references


@go.func
def build(depth, width):
    node = Node(depth, go.List[Node]())
    if depth > 0:
        for _ in range(width):
            node.children.append(build(depth - 1, width))
    return node


@go.func
def weight(node):
    total = node.value
    for child in node.children:
        total += weight(child)
    return total


@go.func
def weigh(depth, width):
    return weight(build(depth, width))


def test_a_tree_of_structs():
    def expected(depth):
        return depth + 4 * expected(depth - 1) if depth else 0

    assert go.run(weigh, 6, 4) == expected(6)


@go.func
def share():
    a = Ints()
    b = a
    a.append(1)
    holder = Node(0, None)
    empty = len(holder.children)
    for _ in holder.children:
        empty += 100
    if holder.children:
        empty += 100
    holder.children = go.List[Node]()
    holder.children.append(Node(5, None))
    return len(b), b is a, empty, holder.children[0].value, holder.children[0].children is None


def test_lists_are_references_and_nil_reads_as_empty():
    assert go.run(share) == (1, True, 0, 5, True)


@go.func
def write_to_nil(how):
    node = Node(0, None)
    if how == 0:
        node.children.append(node)
    elif how == 1:
        node.children.insert(0, node)
    elif how == 2:
        node.children[0] = node
    elif how == 3:
        node.children.pop()
    else:
        return node.children[0].value
    return 0


@pytest.mark.parametrize(
    ("how", "error"),
    [
        (0, go.NilPointerError),
        (1, go.NilPointerError),
        (2, go.NilPointerError),
        (3, IndexError),
        (4, IndexError),
    ],
)
def test_a_nil_list_is_not_written_to(how, error):
    with pytest.raises(error):
        go.run(write_to_nil, how)


@go.func
def misuse(how, n):
    items = Ints()
    for i in range(n):
        items.append(i)
    if how == 0:
        return items[n]
    if how == 1:
        return items[-n - 1]
    if how == 2:
        items[n] = 1
    elif how == 3:
        del items[n]
    elif how == 4:
        return items.pop(n)
    elif how == 5:
        return items.index(n)
    else:
        items.remove(n)
    return 0


@pytest.mark.parametrize("n", [0, 1, 5])
@pytest.mark.parametrize(("how", "error"), [*((i, IndexError) for i in range(5)), (5, ValueError), (6, ValueError)])
def test_indices_and_values_that_are_not_there(how, error, n):
    with pytest.raises(error):
        go.run(misuse, how, n)


@go.func
def wrong_element():
    items = Ints()
    items.append(2.5)


@go.func
def wrong_method():
    items = Ints()
    items.push(1)


@go.func
def with_arguments():
    return len(go.List[int](3))


@go.func
def of_arrays():
    return len(go.List[str]())


@go.func
def python_list_of_channels():
    items = [go.chan(int)]
    return len(items)


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (wrong_element, r"append: float cannot be an element of List\[int\]"),
        (wrong_method, r"List\[int\] has no 'push' \(there are append, clear.*did you mean 'append'\?"),
        (with_arguments, r"go.List\[int\]\(\) takes no arguments"),
        (of_arrays, "go.List: str in struct fields"),
        (python_list_of_channels, r"Hold them in a go.List\[...\]"),
    ],
)
def test_mistakes_are_named(function, said):
    with pytest.raises(Exception, match=said):
        go.run(function)


def test_outside_of_go_functions():
    with pytest.raises(TypeError, match="makes a list inside a @go.func"):
        Ints()
    assert repr(Ints) == "List[int]"


# ---- goroutines


@go.func
def add_many(items, mu, first, n, done):
    for i in range(first, first + n):
        mu.lock()
        items.append(i)
        mu.unlock()
    done.done()


@go.func
def collect(goroutines, n):
    items, mu, done = Ints(), go.Mutex(), go.WaitGroup()
    done.add(goroutines)
    for g in range(goroutines):
        go.spawn(add_many, items, mu, g * n, n, done)
    done.wait()
    items.sort()
    for i in range(len(items)):
        if items[i] != i:
            return -1
    return len(items)


def test_goroutines_append_under_a_mutex(procs):
    assert go.run(collect, 20, 500) == 10_000


@go.func
def scribble(items, n, seed, done):
    """Without a lock: elements may be lost, nothing else. Every element is a struct that must still be one."""
    x = seed
    wrong = 0
    for _ in range(n):
        x = (x * 1103515245 + 12345) & 0x7FFFFFFF
        how, size = (x >> 5) % 16, len(items)
        try:
            if how < 6 or size == 0:
                items.append(Node(x, None))
            elif how == 6:
                items.insert((x >> 8) % size, Node(x, None))
            elif how == 7:
                items[(x >> 8) % size] = Node(x, None)
            elif how == 8:
                items.pop()
            elif how == 9:
                del items[(x >> 8) % size]
            elif how == 10 and size > 200:
                items.clear()
            elif how == 11 and size < 500:
                items.extend(items)
            elif how == 12:
                items.reverse()
            elif how == 13:
                for node in items[(x >> 8) % size :]:
                    if node is not None and node.value < 0:
                        wrong += 1
            else:
                node = items[(x >> 8) % size]
                if node is not None and node.value < 0:
                    wrong += 1
        except Exception:
            wrong += 0
    done.send(wrong)


@go.func
def race(goroutines, n):
    items, done = go.List[Node](), go.chan(int)
    for g in range(goroutines):
        go.spawn(scribble, items, n, g + 1, done)
    wrong = 0
    for _ in range(goroutines):
        wrong += done.recv()
    return wrong


def test_a_race_damages_nothing_but_the_list(procs):
    """LI1: whoever comes too late sees an old element, none, or an IndexError."""
    for _ in range(20):
        assert go.run(race, 4, 5000) == 0


# ---- select over a list of channels


@go.func
def put(ch, value):
    ch.send(value)


@go.func
def first_of_many(n):
    chans = go.List[go.Chan[int]]()
    for i in range(n):
        ch = go.chan(int)
        chans.append(ch)
        go.spawn(put, ch, i * i)
    wrong = 0
    for _ in range(n):
        i, value, ok = go.select_recv(chans)
        if value != i * i or not ok:
            wrong += 1
        chans[i] = None
    return wrong


@pytest.mark.parametrize("n", [1, 2, 3, 100, 2000])
def test_select_over_a_list(procs, n):
    assert go.run(first_of_many, n) == 0


@go.func
def closed_and_nil():
    chans = go.List[go.Chan[float]]()
    for _ in range(3):
        chans.append(None)
    chans[1] = go.chan(float)
    chans[1].close()
    return go.select_recv(chans)


def test_closed_and_nil_channels():
    assert go.run(closed_and_nil) == (1, 0.0, False)


@go.func
def none_at_all(n):
    chans = go.List[go.Chan[int]]()
    for _ in range(n):
        chans.append(None)
    go.select_recv(chans)


@go.func
def nil_list(chans_of):
    go.select_recv(chans_of.chans)


@go.struct
class Holder:
    chans: go.List[go.Chan[int]]


@go.func
def nil_list_of_channels():
    nil_list(Holder(None))


@pytest.mark.parametrize(
    ("function", "arguments"), [(none_at_all, (0,)), (none_at_all, (3,)), (nil_list_of_channels, ())]
)
def test_nothing_to_wait_for_blocks_for_ever(function, arguments):
    with pytest.raises(go.DeadlockError, match="select"):
        go.run(function, *arguments)


@go.func
def fairness(n):
    chans = go.List[go.Chan[int]]()
    for _ in range(4):
        ch = go.chan(int, n)
        for k in range(n):
            ch.send(k)
        chans.append(ch)
    counts = np.zeros(4, np.int64)
    for _ in range(n):
        counts[go.select_recv(chans)[0]] += 1
    return counts


def test_ready_channels_are_taken_alike():
    counts = go.run(fairness, 4000)
    assert counts.sum() == 4000
    assert counts.min() > 800


@go.func
def server(chans, n, out):
    total = 0
    for _ in range(n):
        total += go.select_recv(chans)[1]
    out.send(total)


@go.func
def feed(ch, first, n):
    for i in range(first, first + n):
        ch.send(i)


@go.func
def several_servers(servers, channels, n):
    """All wait on the same list at the same time."""
    chans, out = go.List[go.Chan[int]](), go.chan(int)
    for c in range(channels):
        ch = go.chan(int, c % 3)
        chans.append(ch)
        go.spawn(feed, ch, c * n, n)
    for _ in range(servers):
        go.spawn(server, chans, channels * n // servers, out)
    total = 0
    for _ in range(servers):
        total += out.recv()
    return total


def test_several_select_over_one_list(procs):
    n = 8 * 300
    assert go.run(several_servers, 4, 8, 300) == n * (n - 1) // 2


@go.func
def leave_one_waiting():
    chans = go.List[go.Chan[int]]()
    chans.append(go.chan(int))
    chans.append(go.chan(int))
    go.spawn(server, chans, 1, go.chan(int))
    for _ in range(10):
        go.gosched()
    return len(chans)


def test_the_end_of_a_run_in_the_middle_of_a_select_over_a_list(procs):
    for _ in range(100):
        assert go.run(leave_one_waiting) == 2


def test_a_loop_of_selects_over_a_list_needs_no_new_memory():
    before = go.mem_stats().heap_alloc
    go.run(several_servers, 1, 8, 300)
    used = go.mem_stats().heap_alloc - before
    before = go.mem_stats().heap_alloc
    go.run(several_servers, 1, 8, 3000)
    assert go.mem_stats().heap_alloc - before < 2 * used
