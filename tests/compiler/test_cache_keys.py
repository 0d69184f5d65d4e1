"""What a key covers: programs whose second run would give a stale answer if it did not.

Each case has a line of a helper module before and after a change, and a go function of the main file, which stays as it
is. One process runs all cases before the change, a second one (with another seed of the hashes) must compile nothing,
and a third one runs them after it. Names are different in all cases, so that no key changes for another case's sake.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.compiler.programs import private_cache, python


class Case(NamedTuple):
    before: str  # lines of helper.py
    after: str
    body: str  # of a function of n, which is 10
    results: tuple  # before and after; as repr, or the beginning of an error


def constant(text: str, old: str, new: str, body: str, results: tuple) -> Case:
    return Case(text.replace("$", old), text.replace("$", new), body, results)


ONE_AND_FIVE = ("11", "15")
OUT_OF_BOUNDS = "IndexError"


def adds(text: str, body: str) -> Case:
    """A helper that adds 1, and after the change 5."""
    return constant(text, "1", "5", body, ONE_AND_FIVE)


CASES = {
    # constants
    "an enum": adds("class Colour(enum.Enum): RED = $", "return n + Colour.RED.value"),
    "an enum of integers": adds("class Number(enum.IntEnum): ONE = $", "return n + Number.ONE"),
    "an enum through its module": adds("class Size(enum.IntEnum): UNIT = $", "return n + helper.Size.UNIT"),
    "a member of an enum": adds("class Level(enum.IntEnum): LOW = $\nLEVEL = Level.LOW", "return n + LEVEL"),
    "a named tuple": adds("POINT = collections.namedtuple('Point', 'x y')($, 0)", "return n + POINT.x"),
    "a tuple of tuples": adds("NESTED = ((0, ($,)),)", "return n + NESTED[0][1][0]"),
    "bytes": constant("RAW = b'$'", "1", "5", "return RAW[0]", ("49", "53")),
    "the sign of zero": constant("ZERO = $", "-0.0", "0.0", "return np.copysign(1.0, ZERO)", ("-1.0", "1.0")),
    "the payload of a NaN": constant(
        "NAN = float(np.array([$], 'i8').view('f8')[0])",
        *("0x7FF8000000000001", "0x7FF8000000000005", "a = np.array([NAN])\n    return a.view(np.int64)[0] & 7"),
        ("1", "5"),
    ),
    "an attribute that a string names": adds("NAMED = $", "return n + getattr(helper, 'NAMED')"),
    "an attribute that a global names": adds("SPELT = $\nSPELLING = 'SPELT'", "return n + getattr(helper, SPELLING)"),
    "the width of a NumPy scalar": constant(
        "WIDTH = np.int$(3)", "32", "64", "return np.full(1, WIDTH).itemsize", ("4", "8")
    ),
    "a NumPy scalar with the same repr": constant(
        "TENTH = np.float$(0.1)", "32", "64", "return n + TENTH", ("10.100000001490116", "10.1")
    ),
    "the order of an array": constant(
        "GRID = np.array(np.eye(2), order='$')", "C", "F", "return GRID.flags.f_contiguous", ("False", "True")
    ),
    "a record": adds("RECORD = np.array([($,)], dtype=[('a', np.int64)])[0]", "return RECORD.a + n"),
    "a structured dtype": constant(
        "DTYPE = np.dtype([('a', np.int64), ('b', np.int$)])",
        "32",
        "64",
        "return np.zeros(1, DTYPE).itemsize",
        ("12", "16"),
    ),
    "a slice": constant("PART = slice($, 20)", "1", "5", "return np.arange(10)[PART][0]", ("1", "5")),
    "a type of Numba": constant("NARROW = types.int$", "8", "64", "return NARROW(200 + n)", ("-46", "210")),
    # where they are
    "a module in a package": adds("", "return n + package.deep.CONST"),
    "a module in a variable": adds("", "m = package.deep\n    return n + m.CONST"),
    "a module that is an argument": adds("", "return of_module(package.deep, n)"),
    "a name of a lambda": adds("FREE = $", "f = lambda k: k + helper.FREE\n    return f(n)"),
    # functions
    "a callee two modules away": adds("", "return package.middle.through(n)"),
    "a go function two modules away": adds("", "return package.middle.go_through(n)"),
    "a callee by its full name": adds("", "return package.deep.far(n)"),
    "a default that is a function": adds(
        "@njit\ndef chosen(n): return n + $\n@go.func\ndef defaults(n, f=chosen): return f(n)", "return defaults(n)"
    ),
    "a default that is an array": adds(
        "@njit\ndef of_array(n, a=np.array([$])): return n + a[0]", "return of_array(n)"
    ),
    "a default that is a tuple": adds("@njit\ndef of_tuple(n, a=(0, $)): return n + a[1]", "return of_tuple(n)"),
    "a function that is an argument": adds("@go.func\ndef applied(n): return n + $", "return apply(applied, n)"),
    "a function in a tuple": adds("@go.func\ndef listed(n): return n + $\nLISTED = (listed,)", "return LISTED[0](n)"),
    "what a function closes over": adds(
        "def make(k):\n    @njit\n    def inner(n): return n + k\n    return inner\nCLOSED = make($)",
        "return CLOSED(n)",
    ),
    "a function that is inlined": adds("@njit(inline='always')\ndef inlined(n): return n + $", "return inlined(n)"),
    "a generator": adds(
        "@njit\ndef generates(n):\n    yield n\n    yield n + $",
        "last = 0\n    for k in generates(n): last = k\n    return last",
    ),
    "the other of two recursive functions": adds(
        "@go.func\ndef even(n): return odd(n - 1) if n else 0\n"
        "@go.func\ndef odd(n): return even(n - 1) + $ if n else 7",
        "return n + even(2)",
    ),
    "what is started": adds(
        "@go.func\ndef started(c, n): c.send(n + $)",
        "c = go.chan(int, 1)\n    go.spawn(started, c, n)\n    return c.recv()",
    ),
    "what is started by what is started": adds(
        "@go.func\ndef second(c, n): c.send(n + $)\n@go.func\ndef first(c, n): go.spawn(second, c, n)",
        "c = go.chan(int, 1)\n    go.spawn(first, c, n)\n    return c.recv()",
    ),
    "an exception that is raised": constant(
        "RAISED = $", "KeyError", "ValueError", "if n > 5: raise RAISED\n    return n", ("KeyError", "ValueError")
    ),
    "a vectorized function": adds("@vectorize\ndef vectorized(n): return n + $", "return vectorized(n)"),
    # options of callees
    "fastmath": constant(
        "@njit(fastmath=$)\ndef fast(x, y): return x + y - x",
        "False",
        "True",
        "return fast(1e300 * n, 1.0)",
        ("0.0", "1.0"),
    ),
    "the error model": constant(
        "@njit(error_model='$')\ndef quotient(x, y): return x / y",
        *("python", "numpy", "return quotient(n * 1.0, 0.0)", ("ZeroDivisionError", "inf")),
    ),
    "boundscheck of an njit function": constant(
        "@njit(boundscheck=$)\ndef item(a, i): return a[i]",
        *("False", "True", "return item(np.zeros(3), 3) * 0", ("0.0", OUT_OF_BOUNDS)),
    ),
    "boundscheck of a go function": constant(
        "@go.func(boundscheck=$)\ndef go_item(a, i): return a[i]",
        *("False", "True", "return go_item(np.zeros(3), 3) * 0", ("0.0", OUT_OF_BOUNDS)),
    ),
    # structs and aliases
    "the order of a named tuple's fields": constant(
        "Place = collections.namedtuple('Place', '$')", "x y", "y x", "return Place(1, 5).x", ("1", "5")
    ),
    "a struct in a field": constant(
        "@go.struct\nclass Leaf:\n    $x: int\n@go.struct\nclass Tree:\n    leaf: Leaf",
        *("", "pad: float; ", "return of_tree(Tree(Leaf(x=n)))", ("10", "10")),
    ),
    "a struct in a channel": constant(
        "@go.struct\nclass Sent:\n    $x: int",
        *("", "pad: float; ", "c = go.chan(Sent, 1)\n    c.send(Sent(x=n))\n    return c.recv().x", ("10", "10")),
    ),
    "a struct in a list": constant(
        "@go.struct\nclass Item:\n    $x: int\nItems = go.List[Item]",
        *("", "pad: float; ", "items = Items()\n    items.append(Item(x=n))\n    return items[0].x", ("10", "10")),
    ),
    "an alias of a list": constant(
        "Numbers = go.List[$]", "int", "float", "a = Numbers()\n    a.append(n)\n    return a[0]", ("10", "10.0")
    ),
    "an alias of a tuple": constant(
        "Pair = tuple[int, $]",
        "int",
        "float",
        "c = go.chan(Pair, 1)\n    c.send((1, n))\n    return c.recv()[1]",
        ("10", "10.0"),
    ),
}

# They belong to the key of every function, so that these are changed one at a time.
EXTENSIONS = {
    "an overload": adds("def over(n): pass\n@overload(over)\ndef _over(n): return lambda n: n + $", "return over(n)"),
    "a function that an overload is made by": adds(
        "def implementation(): return lambda n: n + $\n"
        "def made(n): pass\n@overload(made)\ndef _made(n): return implementation()",
        "return made(n)",
    ),
    "an overload's configuration": adds(
        "CONFIG = python_types.SimpleNamespace(width=$)\ndef config(n): pass\n"
        "@overload(config)\ndef _config(n):\n    width = CONFIG.width\n    return lambda n: n + width",
        "return config(n)",
    ),
    "a method": adds(
        "@overload_method(types.Integer, 'plus')\ndef _plus(self): return lambda self: self + $", "return n.plus()"
    ),
    "an attribute": adds(
        "@overload_attribute(types.Integer, 'next')\ndef _next(self): return lambda self: self + $", "return n.next"
    ),
    "an intrinsic": adds(
        "@intrinsic\ndef built(typingctx, n):\n"
        "    def codegen(context, b, sig, args): return b.add(args[0], args[0].type($))\n"
        "    return types.int64(types.int64), codegen",
        "return built(n)",
    ),
    "a jitable function": adds("@register_jitable\ndef jitable(n): return n + $", "return jitable(n)"),
}

HELPER = """
import collections, enum
import types as python_types
import numpy as np
from numba import njit, types, vectorize
from numba.extending import intrinsic, overload, overload_attribute, overload_method, register_jitable
import gopark as go
"""

MAIN = """
import json, sys
import numpy as np
import gopark as go
import helper, package.deep, package.middle
from helper import *

@go.func
def of_module(m, n): return m.CONST + n
@go.func
def apply(f, n): return f(n)
@go.func
def of_tree(tree): return tree.leaf.x
"""

PACKAGE = {
    "__init__.py": "",
    "deep.py": """
import gopark as go
from numba import njit
CONST = $
@njit
def far(n): return n + $
@go.func
def go_far(n): return n + $
""",
    "middle.py": """
import gopark as go
from package import deep
@go.func
def through(n): return deep.far(n)
@go.func
def go_through(n): return deep.go_far(n)
""",
}

ANSWERS = """
answers = {}
for name in sys.argv[1:] or FUNCTIONS:
    f = FUNCTIONS[name]
    try:
        said = repr(go.run(f, 10))
    except (ArithmeticError, LookupError, ValueError) as e:
        said = type(e).__name__
    answers[name] = said, sum(f.stats.cache_misses.values())
print(json.dumps(answers))
"""


class Programs:
    """Cases in one program on the disk, with a cache of its own."""

    def __init__(self, path: Path, cases: dict[str, Case]):
        self.path, self.cases, self.environment = path, cases, private_cache(path / "cache")
        (path / "package").mkdir()
        functions = "".join(f"@go.func\ndef case_{i}(n):\n    {case.body}\n" for i, case in enumerate(cases.values()))
        table = ", ".join(f"{name!r}: case_{i}" for i, name in enumerate(cases))
        (path / "main.py").write_text(f"{MAIN}{functions}FUNCTIONS = {{{table}}}\n{ANSWERS}")

    def run(self, *names: str, changed=(), seed: str = "0") -> dict[str, tuple[str, int]]:
        """By case, of these or all: what the function returned, and how often it was compiled."""
        helpers = [case.after if name in changed else case.before for name, case in self.cases.items()]
        (self.path / "helper.py").write_text("\n".join([HELPER, *helpers, ""]))
        for name, text in PACKAGE.items():
            (self.path / "package" / name).write_text(text.replace("$", "5" if changed else "1"))
        environment = {**self.environment, "PYTHONHASHSEED": seed, "PYTHONDONTWRITEBYTECODE": "1"}
        return json.loads(python(self.path / "main.py", environment, *names))


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    programs = Programs(tmp_path_factory.mktemp("programs"), CASES)
    return {
        "cold": programs.run(seed="1"),
        "again": programs.run(seed="2"),
        "changed": programs.run(seed="3", changed=CASES),
    }


@pytest.mark.parametrize("name", CASES)
def test_a_change_is_seen_and_nothing_else_is_compiled_again(answers, name):
    before, after = CASES[name].results
    assert answers["cold"][name] == [before, 1]
    assert answers["again"][name] == [before, 0]
    assert answers["changed"][name] == [after, 1]


@pytest.fixture(scope="module")
def extended(tmp_path_factory):
    programs = Programs(tmp_path_factory.mktemp("extended"), EXTENSIONS)
    assert programs.run(seed="1") == {name: [case.results[0], 1] for name, case in EXTENSIONS.items()}
    assert programs.run(seed="2") == {name: [case.results[0], 0] for name, case in EXTENSIONS.items()}
    return programs


@pytest.mark.parametrize("name", EXTENSIONS)
def test_a_change_of_an_extension_of_numba_is_seen(extended, name):
    assert extended.run(name, changed={name}) == {name: [EXTENSIONS[name].results[1], 1]}


# ---- what cannot be kept, or not in this process

ADDRESSES = """
import gopark as go
import numpy as np

LARGE = np.arange(200_000)
STRIDED = np.arange(10)[::3]

@go.func
def large(n):
    return LARGE[n]

@go.func
def strided(n):
    return STRIDED.sum()

@go.func
def calls(n):
    return large(n) + strided(n)

print(go.run(large, 150_000), go.run(strided, 0), go.run(calls, 5))
print([sum(f.stats.cache_misses.values()) for f in (large, strided, calls)])
"""


def test_code_that_holds_addresses_is_not_kept(tmp_path):
    """Numba freezes an array that is large or not contiguous by its address."""
    program = tmp_path / "addresses.py"
    program.write_text(ADDRESSES)
    env = private_cache(tmp_path / "cache")
    for _ in range(2):
        assert python(program, env).splitlines() == ["150000 18 23", "[1, 1, 1]"]
    assert not list((tmp_path / "cache").glob("func/*")) + list((tmp_path / "cache").glob("main/*"))


REPLACED = """
import sys
import gopark as go

SCALE = 3
LATER = 7

@go.func
def scaled(n):
    return n * SCALE

@go.func
def main(n):
    return scaled(n) + 1

if sys.argv[1] == "changes":
    print(go.run(scaled, 10))
SCALE = 4
print(go.run(main, 10))
SCALE = 5.5
print(go.run(main, 10))
print(sum(main.stats.cache_misses.values()))
"""


def test_code_of_two_states_of_the_program_is_not_kept(tmp_path):
    """Numba freezes a global when it compiles. Who calls a function that was compiled before the global changed gets
    the old value, and who calls it in another process the new one."""
    program = tmp_path / "replaced.py"
    program.write_text(REPLACED)
    env = private_cache(tmp_path / "cache")
    assert python(program, env, "changes").split() == ["30", "31", "31", "1"]
    assert python(program, env, "does not").split() == ["41", "41", "1"]
    assert python(program, env, "does not").split() == ["41", "41", "0"]
    assert python(program, env, "changes").split() == ["30", "31", "31", "1"]


SPAWNED = """
import gopark as go
from numba import njit

@njit
def up(n):
    return n + 1

@njit
def down(n):
    return n - 1

def adder(k):
    @njit
    def add(n):
        return n + k
    return add

TEN, HUNDRED = adder(10), adder(100)

@go.func
def apply(out, f, n):
    out.send(f(n))

@go.func
def with_default(out, n, f=up):
    out.send(f(n))

@go.func
def of_pair(out, pair, n):
    out.send(pair[0](n) + pair[1])

@go.func
def named(n):
    out = go.chan(int, 3)
    go.spawn(apply, out, up, n)
    first = out.recv()
    go.spawn(apply, out, down, n)
    return first, out.recv()

@go.func
def made(n):
    out = go.chan(int, 3)
    go.spawn(apply, out, TEN, n)
    first = out.recv()
    go.spawn(apply, out, HUNDRED, n)
    return first, out.recv()

@go.func
def default(n):
    out = go.chan(int, 3)
    go.spawn(with_default, out, n)
    return out.recv()

@go.func
def paired(n):
    out = go.chan(int, 3)
    go.spawn(of_pair, out, (up, 5), n)
    return out.recv()

print(go.run(named, 1), go.run(made, 1), go.run(default, 1), go.run(paired, 1))
"""


def test_goroutines_get_the_functions_they_were_given(tmp_path):
    """Functions as arguments of go.spawn: several of one name, as defaults, in tuples; compiled, and from the cache."""
    program = tmp_path / "spawned.py"
    program.write_text(SPAWNED)
    env = private_cache(tmp_path / "cache")
    for _ in range(3):
        assert python(program, env).strip() == "(2, 0) (11, 101) 2 7"
