"""Every symbol that Numba can emit is classed, ordinary code passes, and a refusal says what to do."""

import functools
import re
from pathlib import Path

import numba
import numpy as np
import pytest
from numba import njit, objmode, typed, types
from numba.core.intrinsics import INTR_MATH

from gopark.compiler.externs import (
    ALLOWED_TODAY,
    PREFIXES,
    TABLE,
    Class,
    classify,
    declared_functions,
    first_refusal,
    module_refusal,
    refusal,
)

ARRAY = types.float64[::1]
MATRIX = types.float64[:, ::1]


# ---- the table is complete


def helper_symbols() -> set[str]:
    """The C functions that Numba registers with LLVM, under the names that compiled code calls them by."""
    from numba import _dynfunc, _helperlib
    from numba.core.runtime import _nrt_python

    symbols = {"numba_" + name for helpers in (_helperlib, _dynfunc) for name in helpers.c_helpers}
    symbols |= {name if name.startswith("_") else "NRT_" + name for name in _nrt_python.c_helpers}
    return symbols | set(INTR_MATH)


def symbols_in_sources() -> set[str]:
    """The C functions that Numba's Python sources declare by a literal name."""
    root = Path(numba.__file__).parent
    declaration = re.compile(
        r"add_symbol\(\s*['\"]([\w.]+)['\"]"
        r"|ExternalFunction\(\s*['\"]([\w.]+)['\"]"
        r"|(?:get_or_insert_function|insert_pure_function|_get_function)"
        r"\([^()]*(?:\([^()]*\)[^()]*)*['\"]([A-Za-z_][\w.]*)['\"]\s*\)"
        r"|['\"](NRT_\w+)['\"]"
    )
    found = set()
    for path in root.rglob("*.py"):
        if {"tests", "cuda", "testing"}.isdisjoint(path.relative_to(root).parts):
            for groups in declaration.findall(path.read_text(encoding="utf-8")):
                found.update(filter(None, groups))
    return found


@pytest.mark.parametrize("source", [helper_symbols, symbols_in_sources])
def test_every_symbol_of_numba_is_classed(source):
    symbols = source()
    assert len(symbols) > 100, "the search itself found too little"
    unclassed = sorted(symbol for symbol in symbols if classify(symbol) is None)
    assert not unclassed, f"this Numba has symbols without a class in compiler/externs.py: {unclassed}"


def test_no_helper_is_classed_by_a_prefix():
    """A new helper must not slip through by a rule that happens to fit: Numba's helpers have entries of their own."""
    assert not [symbol for symbol in helper_symbols() if symbol not in TABLE and symbol.startswith(("numba_", "NRT_"))]
    assert not [prefix for prefix, _ in PREFIXES if prefix in ("numba_", "NRT_")]


@pytest.mark.parametrize(
    ("symbol", "expected"),
    [
        ("sin", Class.LEAF),
        ("sincosf", Class.LEAF),
        ("memcpy", Class.LEAF),
        ("__divti3", Class.LEAF),
        ("llvm.memset.p0.i64", Class.LEAF),
        ("go.newobject", Class.LEAF),
        ("__svml_sin4", Class.LEAF),
        ("NRT_MemInfo_call_dtor", Class.LEAF),
        ("numba_dict_lookup", Class.LEAF),
        ("snprintf", Class.BIGSTACK),
        ("numba_cpow", Class.BIGSTACK),
        ("numba_xxgemm", Class.LONG),
        ("numba_get_np_random_state", Class.RUNTIME),
        ("Py_FatalError", Class.RUNTIME),
        ("numba_gil_release", Class.PYTHON),
        ("nanosleep", Class.SYSCALL),
        ("PyTuple_Pack", Class.PYTHON),
        ("_PyDict_NewPresized", Class.PYTHON),
        ("numba_unpickle", Class.PYTHON),
        ("numba_parallel_for", Class.FORBIDDEN),
        ("PyExc_ValueError", Class.DATA),
        ("_Py_NoneStruct", Class.DATA),
        ("_ZN08NumbaEnv8__main__1fB2v1Ex", Class.DATA),
    ],
)
def test_class_of(symbol, expected):
    assert classify(symbol).cls is expected


def test_unknown_symbols_have_no_class():
    assert classify("frobnicate") is None
    assert classify("sinus") is None
    assert classify("golang") is None


# ---- what real functions refer to


# The compiled functions below contain no assert: pytest rewrites it into calls that Numba cannot compile.


@functools.cache
def compiled(function, *argument_types) -> str:
    """The text of the linked module of `function`, compiled as go functions are: without entries from Python."""
    dispatcher = njit(argument_types, no_cpython_wrapper=True, no_cfunc_wrapper=True, nogil=True)(function)
    return dispatcher.inspect_llvm(dispatcher.signatures[0])


def arrays(n):
    a = np.arange(n) * 2.0
    b = np.zeros(n) + a.reshape(1, -1)[0]
    return np.cumsum(b)[1:]


def sorting(a):
    a.sort()
    return a[0]


def strings(s, n):
    return hash(s), s + str(n)


def containers(n):
    numbers = [i * i for i in range(n)]
    numbers.append(7)
    squares = {}
    for i in numbers:
        squares[i] = i * 2.0
    t = typed.List()
    t.append((n, 1.5))
    seen = set(numbers)
    seen.add(n)
    return squares[4], 4 in squares, len(t) + len(seen)


def mathematics(x, z):
    real = np.sin(x) + np.hypot(x, 2.0) + np.log1p(x) + x**2.5 + x % 3.0 + np.exp2(x)
    return real, z**z, np.exp(z), int(x) // 3, divmod(7, int(x) + 1)


def raises(n, s):
    if n == 1:
        raise ValueError("constant")
    if n == 2:
        raise ValueError(n)
    if n == 3:
        raise KeyError(f"no {s}", np.zeros(n))
    try:
        if n == 4:
            raise TypeError("caught")
    except Exception:  # noqa: BLE001 (Numba catches nothing narrower)
        return 0
    return n


def raises_list(n):
    if n > 3:
        raise ValueError([n, n])
    return n


@njit
def pairs(n):
    a = np.ones(n)
    for i in range(n):
        yield a[i]


def draws(x):
    return np.random.random() + np.random.normal(0.0, 1.0), {x: 1.0}


def linear_algebra(a, b):
    return np.linalg.svd(a), a @ b, np.linalg.solve(a, b), np.linalg.eigvalsh(b), np.linalg.norm(a)


RECORD = np.dtype([("a", "i8"), ("b", "f4")], align=True)


def generators_and_records(records, n):
    total = 0.0
    for value in pairs(n):
        total += value
    records[0].a = n
    return total + records[1].b


ORDINARY = {
    arrays: (types.int64,),
    sorting: (ARRAY,),
    strings: (types.unicode_type, types.int64),
    containers: (types.int64,),
    mathematics: (types.float64, types.complex128),
    raises: (types.int64, types.unicode_type),
    raises_list: (types.int64,),
    draws: (types.float64,),
    linear_algebra: (MATRIX, MATRIX),
    generators_and_records: (numba.from_dtype(RECORD)[::1], types.int64),
}


@pytest.mark.parametrize("function", ORDINARY, ids=lambda f: f.__name__)
def test_ordinary_code_passes(function):
    if function is linear_algebra:
        pytest.importorskip("scipy", reason="Numba compiles linear algebra only where SciPy is installed")
    assert module_refusal(compiled(function, *ORDINARY[function]), function.__name__) is None


def test_boxing_thunks_are_what_makes_the_difference():
    """The module of `raises` does declare symbols of Python, so the test above proves that thunks are told apart."""
    declared = declared_functions(compiled(raises, *ORDINARY[raises]))
    assert first_refusal(declared, "raises") is not None
    assert {"PyTuple_Pack", "numba_unpickle"} <= set(declared)


def prints(n):
    print("n is", n)


def asks_python(n):
    with objmode(y="int64"):
        y = int(str(n))
    return y


@pytest.mark.filterwarnings("ignore:Code running in object mode")
@pytest.mark.parametrize(
    ("function", "argument_types", "words"),
    [
        (prints, (types.int64,), "Numba's own print"),
        (asks_python, (types.int64,), "a call of Python (a `with objmode()` block"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_refused_code_is_named(function, argument_types, words):
    text = module_refusal(compiled(function, *argument_types), function.__name__)
    assert text.startswith(f"{function.__name__} uses {words}")


# ---- modules by hand


MODULE = """
@table = constant [1 x ptr] [ptr {initialiser}]
@text = constant [16 x i8] c"call @PyErr_Print"

define i32 @_ZN4work(ptr %x) {{
  %f = load ptr, ptr @table
  store ptr @__excinfo_unwrap_args0, ptr %x
  {call}
  ret i32 0
}}

define linkonce_odr void @box(ptr %x) {{
  call void @box(ptr %x)
  call void @PyList_New(i64 0)
  ret void
}}

define ptr @__excinfo_unwrap_args0(ptr %x) {{
  call void @box(ptr %x)
  call void @PyErr_Print()
  ret ptr null
}}

declare void @PyErr_Print()
declare noalias ptr @PyList_New(i64)
declare double @sin(double) #1
declare void @"go.gopark"(ptr)
"""


def test_only_what_the_goroutine_can_reach_counts():
    assert declared_functions(MODULE) == ["PyErr_Print", "PyList_New", "sin", "go.gopark"]
    assert module_refusal(MODULE.format(initialiser="null", call=""), "work") is None
    assert "PyErr_Print" in module_refusal(MODULE.format(initialiser="null", call="call void @PyErr_Print()"), "work")
    assert "PyErr_Print" in module_refusal(MODULE.format(initialiser="@PyErr_Print", call=""), "work")
    # A helper that the thunk shares with the goroutine counts.
    assert "PyList_New" in module_refusal(MODULE.format(initialiser="null", call="call void @box(ptr %x)"), "work")


# ---- texts


LANDS = "goroutines will be able to call it once "


def test_text_for_a_sleep():
    text = refusal("nanosleep", "work")
    assert text.startswith("work uses a C sleep, which goroutines cannot use yet: it puts the whole thread to sleep")
    assert text.endswith("Use go.sleep, which parks only the goroutine. The C symbol is nanosleep.")


def test_text_for_a_system_call():
    text = refusal("getaddrinfo", "work")
    assert text.startswith("work uses the C function getaddrinfo, which goroutines cannot use yet: it may block ")
    assert text.endswith(f"{LANDS}system calls land.")


def test_text_for_prange():
    """The symbols are those of a loop over prange: some of the GIL and of a print come with them."""
    symbols = [
        "numba_gil_ensure",
        "PyEval_SaveThread",
        "printf",
        "get_num_threads",
        "numba_parallel_for",
        "PySys_FormatStdout",
    ]
    text = first_refusal(symbols, "work")
    assert text.startswith("work uses prange or other code under parallel=True, which goroutines can never use: ")
    assert text.endswith(
        "write range instead of prange, and share the work out with go.spawn. The C symbol is numba_parallel_for."
    )


def test_text_for_print():
    text = first_refusal(["Py_DecRef", "PySys_FormatStdout", "PyObject_Str", "numba_gil_ensure"], "work")
    assert text.startswith("work uses Numba's own print, which goroutines cannot use yet: ")
    assert "gopark's print replaces it in go functions" in text


def test_text_for_an_unknown_symbol():
    text = refusal("frobnicate", "work")
    assert text.startswith("work calls the C function frobnicate, which gopark does not know")
    assert "please report its name" in text


def test_what_is_named_goes_before_what_is_not():
    assert "a C sleep" in first_refusal(["numba_gil_release", "frobnicate", "usleep"], "work")
    assert "frobnicate" in first_refusal(["numba_gil_release", "frobnicate"], "work")
    assert first_refusal(["sin", "go.gopark", "NRT_Allocate", "numba_gil_ensure", "numba_xxgemm"], "work") is None


def test_every_refusal_is_complete_sentences():
    for symbol, entry in TABLE.items():
        text = refusal(symbol, "work")
        if entry.cls in ALLOWED_TODAY:
            assert text is None
        else:
            assert symbol in text
            assert text.startswith("work ")
            assert text.endswith(".")
            assert ".." not in text
            assert text.count(": ") >= 1
