"""The text that print makes of numbers and strings is Python's, byte for byte.

The functions of runtime/print.py are compiled here with what they need, and called without a runtime: with loops of
their own for many values at once, so that every comparison can be a big one.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import itertools
import math
import random
import sys
from collections.abc import Callable, Iterable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gopark.compiler import asm_amd64, image
from gopark.compiler.numba_api import i32, intrinsic, lir, llb, types
from gopark.runtime import print as text_of
from gopark.runtime.prims import rawload, rawload32, rawstore8

UNITS = ["os_linux", "hooks", "mbarrier", "panic", "print"]
NEWLINE = 10
FILLER = 0xA5
SIGNATURES = {
    "printint": (ctypes.c_int64,),
    "printuint": (ctypes.c_uint64,),
    "printbool": (ctypes.c_bool,),
    "printfloat": (ctypes.c_double,),
    "printfloat32": (ctypes.c_float,),
    "printcomplex": (ctypes.c_double, ctypes.c_double),
    "printcomplex64": (ctypes.c_float, ctypes.c_float),
    "printstr": (ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64),
    "printreprstr": (ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64),
    "printwrite": (ctypes.c_int64, ctypes.c_int64),
    **dict.fromkeys(
        ("manyints", "manyuints", "manyfloats", "manyfloat32s", "manycharreprs"), (ctypes.c_void_p, ctypes.c_int64)
    ),
}


# ---- the unit: a line for each of many values


@intrinsic
def float64of(typingctx, bits):
    """The float64 with these bits."""

    def codegen(context, b, sig, args):
        return b.bitcast(args[0], lir.DoubleType())

    return types.float64(types.int64), codegen


@intrinsic
def float32of(typingctx, bits):
    """The float32 with these bits."""

    def codegen(context, b, sig, args):
        return b.bitcast(b.trunc(args[0], i32), lir.FloatType())

    return types.float32(types.int64), codegen


def manyints(p: int, values: int, n: int) -> int:
    for i in range(n):
        p = text_of_int(p, rawload(values + 8 * i))
        rawstore8(p, NEWLINE)
        p += 1
    return p


def manyuints(p: int, values: int, n: int) -> int:
    for i in range(n):
        p = text_of_uint(p, rawload(values + 8 * i))
        rawstore8(p, NEWLINE)
        p += 1
    return p


def manyfloats(p: int, values: int, n: int) -> int:
    for i in range(n):
        p = text_of_float(p, float64of(rawload(values + 8 * i)))
        rawstore8(p, NEWLINE)
        p += 1
    return p


def manyfloat32s(p: int, values: int, n: int) -> int:
    for i in range(n):
        p = text_of_float32(p, float32of(rawload32(values + 4 * i)))
        rawstore8(p, NEWLINE)
        p += 1
    return p


def manycharreprs(p: int, characters: int, n: int) -> int:
    """repr of each code point as a str of its own."""
    for i in range(n):
        p = text_of_repr(p, characters + 4 * i, 4, 1)
        rawstore8(p, NEWLINE)
        p += 1
    return p


text_of_int, text_of_uint = text_of.printint, text_of.printuint
text_of_float, text_of_float32, text_of_repr = text_of.printfloat, text_of.printfloat32, text_of.printreprstr
LOOPS = (manyints, manyuints, manyfloats, manyfloat32s, manycharreprs)


@contextlib.contextmanager
def _declared(functions: Iterable[Callable]):
    """The functions are runtime functions for as long as their unit is compiled: no image of this process has them."""
    declared = [image.fn(f) for f in functions]
    try:
        yield
    finally:
        for f in declared:
            del image.RuntimeFunction.BY_SYMBOL[f.symbol]


class Native:
    """The compiled functions by name, in an engine of their own, with a buffer to write into."""

    def __init__(self):
        asm_amd64.initialize_llvm()
        units = ["gopark.runtime." + u for u in UNITS]
        for unit in units:
            importlib.import_module(unit)
        image.runtime_context().refresh()
        with image.global_compiler_lock, _declared(LOOPS):
            bitcodes = {unit: image.UnitBuilder(unit).build().bitcode for unit in [*units, __name__]}
        objects, externs = image.link(bitcodes, [], {"go." + name for name in SIGNATURES})
        assert not [e for e in externs if e.startswith("go.")]
        target = llb.Target.from_triple(llb.get_process_triple())
        empty = llb.parse_assembly("")
        empty.triple = llb.get_process_triple()
        self._engine = llb.create_mcjit_compiler(empty, target.create_target_machine(jit=True), use_lmm=True)
        self._engine.add_object_file(llb.ObjectFileRef.from_data(objects[0]))
        self._engine.finalize_object()
        self.functions = {}
        for name, arguments in SIGNATURES.items():
            prototype = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, *arguments)
            self.functions[name] = prototype(self._engine.get_function_address("go." + name))
        self.size = 64 << 20
        self.buffer = np.empty(self.size, np.uint8)

    def __call__(self, name: str, *arguments, bound: int | None = None) -> str:
        """What the function writes, as text. With a bound: it writes no byte behind that."""
        if bound is not None:
            self.buffer[: bound + 64] = FILLER
        end = self.functions[name](self.buffer.ctypes.data, *arguments) - self.buffer.ctypes.data
        if bound is not None:
            assert 0 <= end <= bound
            assert (self.buffer[bound : bound + 64] == FILLER).all()
        return self.buffer[:end].tobytes().decode()

    def lines(self, name: str, values: np.ndarray) -> list[str]:
        values = np.ascontiguousarray(values)
        out = []
        for i in range(0, len(values), 100_000):
            part = values[i : i + 100_000]
            out += self(name, part.ctypes.data, len(part)).split("\n")[:-1]
        return out

    def string(self, name: str, s: str) -> str:
        """printstr or printreprstr of the characters of s, as Python holds them."""
        kind, data = stored(s)
        held = ctypes.create_string_buffer(data, len(data))
        each = text_of.MAX_STR_CHAR if name == "printstr" else text_of.MAX_REPR_CHAR
        return self(name, ctypes.addressof(held), kind, len(s), bound=each * len(s) + text_of.MAX_REPR_QUOTES)


def stored(s: str) -> tuple[int, bytes]:
    """Bytes per character and the characters, as PEP 393 stores s."""
    widest = max(map(ord, s), default=0)
    kind = 1 if widest < 0x100 else 2 if widest < 0x10000 else 4
    return kind, b"".join(ord(c).to_bytes(kind, "little") for c in s)


@pytest.fixture(scope="module")
def native() -> Native:
    return Native()


def assert_same(ours: list[str], pythons: list[str]):
    assert len(ours) == len(pythons)
    different = [(a, b) for a, b in zip(ours, pythons, strict=True) if a != b]
    assert not different, f"{len(different)} of {len(ours)} differ, first (ours, Python's): {different[:5]}"


# ---- integers


def test_ints(native):
    rng = random.Random(1)
    edges = [s * (10**e + d) for e in range(19) for d in (-1, 0, 1) for s in (1, -1)]
    edges += [s * (2**e + d) for e in range(63) for d in (-1, 0, 1) for s in (1, -1)] + [-(2**63), 2**63 - 1]
    values = [v for v in edges if -(2**63) <= v < 2**63]
    values += [rng.randrange(-(2**63), 2**63) >> rng.randrange(64) for _ in range(100_000)]
    assert_same(native.lines("manyints", np.array(values, np.int64)), list(map(str, values)))


def test_uints(native):
    rng = random.Random(2)
    values = [10**e + d for e in range(20) for d in (-1, 0, 1)] + [2**e for e in range(64)] + [2**63 - 1, 2**64 - 1]
    values += [rng.randrange(2**64) >> rng.randrange(64) for _ in range(100_000)]
    assert_same(native.lines("manyuints", np.array(values, np.uint64)), list(map(str, values)))


def test_bounds_of_ints_and_bools(native):
    for v in (0, 9, 10, 2**63 - 1, -(2**63)):
        assert native("printint", v, bound=text_of.MAX_INT) == str(v)
    assert native("printuint", 2**64 - 1, bound=text_of.MAX_INT) == str(2**64 - 1)
    for v in (True, False):
        assert native("printbool", v, bound=text_of.MAX_BOOL) == str(v)


# ---- floats


def midpoints(rng: np.random.Generator, n: int) -> np.ndarray:
    """Floats whose shortest digits lie exactly between them and a neighbour: (2c + 1) * 2**j = d * 10**j, rounded."""
    values = []
    while len(values) < n:
        j = int(rng.integers(1, 23))
        d = int(rng.integers(2**53 // 5**j + 1, 2**54 // 5**j)) | 1
        values.append(float(d * 10**j))
    return np.array(values)


def special_floats() -> list[float]:
    values = [
        0.0,
        1.0,
        0.1,
        1e16,
        1e15,
        123456789012345.6,
        1e-4,
        1e-5,
        5e-324,
        1.7976931348623157e308,
        math.inf,
        math.nan,
    ]
    values += [9007199254740993.0, 2.2250738585072014e-308, 2.225073858507201e-308, 9999999999999998.0, 1e22, 1e23]
    values += [2.0**e for e in range(-1074, 1024)] + [float(f"1e{e}") for e in range(-323, 309)]
    values += [math.nextafter(v, to) for v in values for to in (math.inf, -math.inf)]
    return values + [-v for v in values]


def test_special_floats(native):
    values = special_floats()
    assert_same(native.lines("manyfloats", np.array(values)), list(map(repr, values)))


@pytest.mark.parametrize(
    ("what", "make"),
    [
        ("bits", lambda rng, n: rng.integers(0, 2**64, n, np.uint64).view(np.float64)),
        ("subnormal", lambda rng, n: rng.integers(0, 2**52, n, np.uint64).view(np.float64)),
        ("uniform", lambda rng, n: rng.random(n)),
        ("hundredths", lambda rng, n: rng.integers(-(10**9), 10**9, n) / 100),
        ("decades", lambda rng, n: 10 ** rng.uniform(-16, 20, n)),
        ("midpoints", midpoints),
        ("integers", lambda rng, n: (rng.integers(0, 2**63, n) >> rng.integers(0, 63, n)).astype(float)),
        (
            "short",
            lambda rng, n: np.array([float(f"{d}e{e}") for d, e in rng.integers([1, -330], [10**4, 305], (n, 2))]),
        ),
    ],
)
def test_many_floats(native, what, make):
    values = make(np.random.default_rng(3), 100_000)
    assert_same(native.lines("manyfloats", values), list(map(repr, values.tolist())))


@given(st.floats())
@settings(max_examples=500, deadline=None)
def test_float_within_its_bound(native, x):
    assert native("printfloat", x, bound=text_of.MAX_FLOAT) == repr(x)


def single_text(v: np.float32, trim: str = "0") -> str:
    """What print makes of a float32: NumPy's shortest digits in the notation of a Python float."""
    if not np.isfinite(v):
        return str(v)
    if v == 0 or 1e-4 <= abs(float(v)) < 1e16:
        return np.format_float_positional(v, unique=True, trim=trim)
    return np.format_float_scientific(v, unique=True, trim="-", exp_digits=2)


def single_complex_text(z: np.complex64) -> str:
    imag = single_text(z.imag, "-") + "j"
    if z.real == 0 and not np.signbit(z.real):
        return imag
    return f"({single_text(z.real, '-')}{'' if imag.startswith('-') else '+'}{imag})"


@pytest.mark.parametrize(
    ("what", "make"),
    [
        ("bits", lambda rng, n: rng.integers(0, 2**32, n, np.uint32).view(np.float32)),
        ("subnormal", lambda rng, n: rng.integers(0, 2**23, n, np.uint32).view(np.float32)),
        ("decades", lambda rng, n: (10 ** rng.uniform(-7, 18, n)).astype(np.float32)),
        ("integers", lambda rng, n: (rng.integers(0, 2**40, n) >> rng.integers(0, 40, n)).astype(np.float32)),
        ("powers of two", lambda rng, n: np.ldexp(np.float32(1), np.arange(-149, 128, dtype=np.int32))),
        ("powers of ten", lambda rng, n: np.array([float(f"1e{e}") for e in range(-46, 40)], np.float32)),
    ],
)
def test_many_float32(native, what, make):
    with np.errstate(over="ignore"):
        values = make(np.random.default_rng(4), 100_000).astype(np.float32)
    lines = native.lines("manyfloat32s", values)
    assert_same(lines, list(map(single_text, values)))
    # Where all versions of NumPy agree on the notation of a scalar, print agrees with them.
    small = [(line, v) for line, v in zip(lines, values, strict=True) if abs(v) < 1e6]
    assert_same([line for line, _ in small], [str(v) for _, v in small])


def test_special_float32(native):
    values = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-4, 1e16, 0.1, 16777216, 3.4028235e38, 1e-45], np.float32)
    values = np.concatenate([values, np.nextafter(values, np.float32(1)), np.nextafter(values, np.float32(-1))])
    values = np.concatenate([values, -values])
    assert_same(native.lines("manyfloat32s", values), list(map(single_text, values)))


@given(st.complex_numbers())
@settings(max_examples=500, deadline=None)
def test_complex(native, z):
    assert native("printcomplex", z.real, z.imag, bound=text_of.MAX_COMPLEX) == repr(z)


@given(st.floats(width=32), st.floats(width=32))
@settings(max_examples=500, deadline=None)
def test_complex64(native, real, imag):
    z = np.array([real, imag], np.float32).view(np.complex64)[0]
    assert native("printcomplex64", real, imag, bound=text_of.MAX_COMPLEX) == single_complex_text(z)


def test_special_complex(native):
    parts = [0.0, -0.0, 1.0, -1.0, 0.5, 123456.7, 1e16, -1e-5, math.inf, -math.inf, math.nan, -math.nan]
    for real in parts:
        for imag in parts:
            z = complex(real, imag)
            assert native("printcomplex", real, imag, bound=text_of.MAX_COMPLEX) == repr(z)
            single = np.array([real, imag], np.float32).view(np.complex64)[0]
            assert native("printcomplex64", real, imag, bound=text_of.MAX_COMPLEX) == str(single)


# ---- text

ENCODABLE = st.text(st.characters(exclude_categories=["Cs"]))


@given(ENCODABLE)
@settings(max_examples=500, deadline=None)
def test_str(native, s):
    assert native.string("printstr", s) == s


@pytest.mark.parametrize(
    "s", ["", "a", "é", "ÿ" * 9, "€uro", "naïve ASCII and more", "\U0001f600 and \U0010ffff", "x\0y", "x" * 5000]
)
def test_str_of_each_kind(native, s):
    for text in (s, s * 3, "12345678" + s, s + "12345678"):
        assert native.string("printstr", text) == text


def test_lone_surrogates_become_the_replacement_character(native):
    assert native.string("printstr", "a\ud800b\udfffc") == "a\ufffdb\ufffdc"
    assert native.string("printreprstr", "a\ud800b\udfffc") == r"'a\ud800b\udfffc'"


@given(
    st.text(st.characters(codec=None) | st.sampled_from("'\"\\\n\r\t\0\x7f\x85\xa0\xad\u200b\u2028\ud800\U000e0001"))
)
@settings(max_examples=1000, deadline=None)
def test_repr_of_str(native, s):
    assert native.string("printreprstr", s) == repr(s)


def test_repr_chooses_and_escapes_quotes(native):
    for length in range(6):
        for characters in itertools.product("'\"\\x", repeat=length):
            s = "".join(characters)
            assert native.string("printreprstr", s) == repr(s)


def test_repr_of_every_character(native):
    codepoints = np.arange(sys.maxunicode + 1, dtype=np.uint32)
    assert_same(native.lines("manycharreprs", codepoints), [repr(chr(c)) for c in codepoints])


# ---- output


def test_write_reports_the_bytes_or_the_error(native, tmp_path):
    data = np.frombuffer(b"hello, " * 1000, np.uint8)
    with open(tmp_path / "out", "wb") as f:
        assert native.functions["printwrite"](f.fileno(), data.ctypes.data, len(data)) == len(data)
    assert (tmp_path / "out").read_bytes() == data.tobytes()
    assert native.functions["printwrite"](-1, data.ctypes.data, 1) < 0
