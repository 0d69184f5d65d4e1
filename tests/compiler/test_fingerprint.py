"""Fingerprints of functions: what makes two of them differ, what must not, and what is not understood.

In this process; tests/compiler/test_cache_keys.py has whole programs, and what a second process makes of them.
"""

from __future__ import annotations

import collections
import copy
import enum
import functools
import sys
import types as python_types

import numpy as np
import pytest

from gopark import runtime
from gopark.compiler import fingerprint, image
from gopark.compiler.fingerprint import Fingerprint
from gopark.compiler.numba_api import numba, types
from gopark.compiler.structs import struct
from gopark.types.chan import Chan
from gopark.types.list import List

Point = collections.namedtuple("Point", "x y")
Spot = collections.namedtuple("Spot", "x z")


def of(value) -> str:
    """The fingerprint of a function that refers to `value`."""

    def function():
        return value

    return Fingerprint(function).hash


def adder(k, step=1, *, scale=1):
    def add(n, step=step, *, scale=scale):
        return n * scale + k * step

    return add


def colours(red):
    return enum.IntEnum("Colour", {"RED": red}, module=__name__, qualname="Colour")


def itself(*values):
    out = list(values)
    out.append(out)
    return out


DIFFERENT = {
    "int and bool": (1, True),
    "int and float": (1, 1.0),
    "signs of zero": (0.0, -0.0),
    "signs of zero in a complex number": (0j, complex(0.0, -0.0)),
    "floats that print alike": (np.float32(0.1), np.float64(0.1)),
    "str and bytes": ("1", b"1"),
    "str and int": ("1", 1),
    "a lone surrogate": ("\ud800", "\ud801"),
    "list and tuple": ([1], (1,)),
    "sets": ({"a", "b"}, {"a", "c"}),
    "dicts": ({"a": 1}, {"a": 2}),
    "dicts in another order": ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    "where the commas are": (("a", "b, c"), ("a, b", "c")),
    "named tuples": (Point(1, 2), Spot(1, 2)),
    "members of enums": (colours(1)(1), colours(2)(2)),
    "enums": (colours(1), colours(2)),
    "ranges": (range(3), range(4)),
    "slices": (slice(1, 2), slice(1, 3)),
    "lists that hold themselves": (itself(1), itself(2)),
    "elements": (np.array([1, 2]), np.array([1, 3])),
    "element types": (np.zeros(2, np.int64), np.zeros(2, np.float64)),
    "shapes": (np.zeros((2, 3)), np.zeros((3, 2))),
    "orders": (np.eye(3), np.asfortranarray(np.eye(3))),
    "dates": (np.datetime64("2020-01-01", "D"), np.datetime64("2020-01-01", "s")),
    "structured dtypes": (np.dtype("i4,i4"), np.dtype("i4,i4", align=True).newbyteorder()),
    "offsets of a dtype": (
        np.dtype({"names": ["a"], "formats": ["i4"], "offsets": [0], "itemsize": 8}),
        np.dtype({"names": ["a"], "formats": ["i4"], "offsets": [4], "itemsize": 8}),
    ),
    "types of Numba": (types.int32, types.uint32),
    "classes": (np.int32, np.int64),
    "aliases": (List[int], List[float]),
    "kinds of aliases": (List[int], Chan[int]),
    "tuples of types": (tuple[int, float], tuple[int, int]),
    "functions of one name": (adder(1), adder(2)),
    "defaults": (adder(1), adder(1, step=2)),
    "keyword defaults": (adder(1), adder(1, scale=2)),
    "compiled functions": (numba.njit(adder(1)), numba.njit(adder(2))),
    "options": (numba.njit(adder(1)), numba.njit(fastmath=True)(adder(1))),
    "what is compiled": (numba.njit(adder(1)), numba.vectorize(adder(1))),
    "functions of a library": (np.sum, np.prod),
    "ufuncs": (np.add, np.subtract),
    "builtins": (len, max),
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_values_that_differ_have_fingerprints_that_differ(name):
    one, other = DIFFERENT[name]
    assert of(one) != of(other)
    assert of((1, one)) != of((1, other))


@pytest.mark.parametrize("name", DIFFERENT)
def test_a_fingerprint_says_nothing_of_addresses(name):
    for value in DIFFERENT[name]:
        assert of(value) == of(copy.deepcopy(value))


def test_the_strides_of_an_array_are_part_of_it():
    assert of(np.zeros(3)) != of(np.zeros(6)[::2]) != of(np.zeros(9)[::3])
    assert of(np.zeros(6)[::2]) == of(np.zeros(6)[::2])


def test_which_of_two_functions_of_one_name_is_meant_where():
    one, two = adder(1), adder(2)
    assert len({of(((one, two), one)), of(((one, two), two)), of(((two, one), two))}) == 3


def test_a_function_is_described_by_all_that_it_says():
    def compiled(text):
        scope = {"__name__": __name__}
        exec(compile(text, "file.py", "exec"), scope)
        return Fingerprint(scope["f"]).hash

    texts = [
        "def f(a, b): return a - b",
        "def f(a, *, b): return a - b",
        "def f(a, b, /): return a - b",
        "def f(b, a): return a - b",
        "def f(a, b): return a + b",
        "def f(a, b):\n return a - b",
        "\ndef f(a, b): return a - b",
        "def f(a, b): return a - 1",
        "def f(a, b): return a - 1.0",
        "def f(a, b): return lambda: a - 1",
        "def f(a, b): return lambda: a - 2",
        "def f(a, b): return a in {'p', 'q', 'r'}",
        "def f(a, b): return a in {'p', 'q', 's'}",
    ]
    assert len({compiled(text) for text in texts}) == len(texts)
    assert [compiled(text) for text in texts] == [compiled(text) for text in texts]


def test_a_global_that_is_called_like_an_attribute_does_not_matter():
    def program(**scope):
        exec("def f(point):\n return point.x + y + (lambda: z)()", scope)
        return Fingerprint(scope["f"]).hash

    assert program(x=1, y=1, z=1) == program(x=2, y=1, z=1)
    assert len({program(y=1, z=1), program(y=2, z=1), program(y=1, z=2)}) == 3


# ---- namespaces


def module(name: str, **attributes) -> python_types.ModuleType:
    made = python_types.ModuleType(name)
    vars(made).update(attributes)
    return made


def test_modules_and_classes_matter_by_what_is_named():
    def program(named, unnamed):
        inner = type("Inner", (), {"__module__": "program", "named": named, "unnamed": unnamed})
        outer = module("outer", inner=inner)

        def function():
            alias = outer
            return alias.inner.named

        return Fingerprint(function).hash

    assert program(1, 1) == program(1, 2) != program(2, 1)


def test_a_name_that_is_met_later_is_looked_up_in_a_module_that_was_met_before():
    def program(late):
        space = module("space", late=late)

        def inner(m):
            return m.late

        return Fingerprint(numba.njit(lambda: compiled(space)), compiled := numba.njit(inner)).hash

    assert program(1) == program(1) != program(2)


def test_a_module_may_make_its_attributes_when_they_are_asked_for():
    def program(value):
        lazy = module("lazy")

        def getattr(name):
            if name != "wanted":
                raise AttributeError(name)
            return value

        lazy.__getattr__ = getattr
        return Fingerprint(lambda: lazy.wanted).hash

    assert program(1) == program(1) != program(2)


def test_a_module_of_the_program_may_be_called_like_one_of_pythons(monkeypatch, tmp_path):
    def program(size):
        mine = module("queue", __file__=str(tmp_path / "queue.py"), SIZE=size)
        monkeypatch.setitem(sys.modules, "queue", mine)
        fingerprint._is_installed.cache_clear()
        return Fingerprint(lambda: mine.SIZE).hash

    try:
        assert program(1) == program(1) != program(2)
    finally:
        fingerprint._is_installed.cache_clear()


# ---- structs


def test_every_struct_that_is_reached_is_part_of_it(monkeypatch):
    """Two chains of structs that differ at their far end only, reached by name, by the type of an argument, and by
    that of a channel's elements."""

    def chain(last, **options):
        monkeypatch.setattr("gopark.compiler.structs.STRUCTS", {})  # none is the second of its name
        bottom = struct(**options)(type("Bottom", (), {"__annotations__": {"x": last}, "__module__": __name__}))
        middle = struct(type("Middle", (), {"__annotations__": {"b": Chan[bottom]}, "__module__": __name__}))
        return struct(type("Top", (), {"__annotations__": {"m": tuple[int, middle]}, "__module__": __name__}))

    def by_argument(top):
        return Fingerprint(numba.typeof, top.fields["m"][1]).hash

    for described in (of, by_argument, lambda top: of(Chan[top]), lambda top: of(List[tuple[int, top]])):
        assert described(chain(int)) == described(chain(int))
        assert described(chain(int)) != described(chain(float))
        assert described(chain(int)) != described(chain(int, align={"x": 64})), "the size"
        assert described(chain(int)) != described(chain(int, notinheap=True))


# ---- what is not understood


class Length(int):
    pass


@numba.experimental.jitclass([("k", types.int64)])
class Counter:
    def __init__(self):
        self.k = 1


class Shy:
    """As a proxy that stands for nothing yet."""

    def __getattribute__(self, name):
        raise RuntimeError("working outside of a context")


UNKNOWN = {
    "an object that raises": Shy,
    "a typed list": lambda: numba.typed.List([1]),
    "a class that Numba compiles": lambda: Counter,
    "a kind of int": lambda: Length(3),
    "a random generator": lambda: np.random.default_rng(1),
    "a set of functions": lambda: {adder(1), adder(2)},
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_numba_may_freeze_and_nobody_understands_makes_a_function_unknown(name):
    value = UNKNOWN[name]()
    assert Fingerprint(lambda: value).unknown
    assert Fingerprint(lambda: [value]).unknown


@pytest.mark.parametrize(
    "value", [object(), functools.partial(len), open, sys.stdout, python_types.SimpleNamespace(a=1)]
)
def test_what_numba_cannot_freeze_is_no_obstacle(value):
    assert Fingerprint(lambda: value).unknown is None


# ---- what changes


def test_a_global_that_changes_between_two_fingerprints_is_noticed():
    space = module("space", scale=3)

    def function():
        return space.scale

    assert [Fingerprint(function).changed for _ in range(2)] == [False, False]
    space.scale = 4
    assert Fingerprint(function).changed
    assert Fingerprint(lambda: function).changed, "who calls it inlines what was compiled"
    space.scale = 3
    assert not Fingerprint(function).changed


def test_other_functions_do_not_count_as_a_change():
    one, two = adder(1), adder(2)
    for value in (one, two, (two, one), (one, two)):
        assert not Fingerprint(lambda value=value: value).changed


# ---- the runtime's own functions


def test_every_unit_of_the_runtime_is_understood():
    for unit in runtime.load_units()[0]:
        made_of = Fingerprint(*[f.py_func for f in image.UnitBuilder(unit).functions])
        assert (made_of.unknown, made_of.changed) == (None, False), unit


def test_a_unit_depends_on_what_it_takes_from_others(monkeypatch):
    from gopark.runtime import chan, select

    def described():
        return Fingerprint(*[f.py_func for f in image.UnitBuilder(select.__name__).functions]).hash

    before = described()
    for name, other in {"ENDED": chan.ENDED + 1, "waitSelect": 77, "Sudog": chan.Hchan, "take": chan.put}.items():
        monkeypatch.setattr(select, name, other)
        assert described() != before, name
        monkeypatch.undo()
        assert described() == before
