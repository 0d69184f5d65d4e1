"""What Numba offers for NumPy and strings works on goroutines with stacks of 64 KiB, and gives what Python gives."""

from __future__ import annotations

import ctypes
import math
import warnings

import numpy as np
import pytest
from numba import cfunc, njit, objmode, types

import gopark as go
from tests.semantics import subprocesses

HERE = __name__


@go.func
def decompositions(a, s):
    """a: any square matrix, s: one that is symmetric and positive."""
    q, r = np.linalg.qr(a)
    w, v = np.linalg.eigh(s)
    return (
        np.linalg.eigvals(s).sum(),
        np.abs(np.linalg.eig(a.astype(np.complex128))[0]).sum(),
        w,
        np.dot(v * w, v.T),
        np.linalg.eigvalsh(s),
        np.dot(np.ascontiguousarray(q), r),
        np.linalg.svd(a)[1],
        np.linalg.cholesky(s),
        np.linalg.pinv(a),
        np.linalg.cond(a),
        np.linalg.matrix_rank(a),
    )


@go.func
def systems(a, b):
    x, residues, rank, _ = np.linalg.lstsq(a, b)
    return (
        np.linalg.solve(a, b),
        x,
        rank,
        np.linalg.inv(a),
        np.linalg.det(a),
        np.linalg.slogdet(a)[1],
        np.linalg.matrix_power(a, -3),
        np.linalg.norm(a),
        np.linalg.norm(a, 2),
    )


@go.func
def products(a, b, x, y):
    return a @ b, a @ x, x @ b, np.dot(x, y), np.vdot(x, y), np.dot(a.T, b), np.outer(x, y), np.cov(a, b)


@go.func
def orders(a):
    b = a.copy()
    b.sort()
    return (
        b,
        np.argsort(a),
        np.argsort(a, kind="mergesort"),
        np.median(a),
        np.percentile(a, 30.0),
        np.searchsorted(b, 0.5),
        np.where(a > 0.5, a, b)[::-3],
    )


@go.func
def analysis(a, b):
    return np.histogram(a, 7)[0], np.interp(0.35, b, a), np.cumsum(a), a.reshape(2, -1).sum(axis=0)


@go.func
def mathematics(z, x):
    power = z**z + z**2.5
    return power, np.exp(z), np.hypot(x, 2.0), math.gamma(x), math.erf(x), x % 0.3, divmod(x, 0.7), math.lgamma(x)


@go.func
def times(start, days):
    return start + days[1], days[1] - days[0], (start + days)[2] > start


@go.func
def texts(s, n):
    words = s.split(" ")
    return (
        f"{s}: {n} and {n * n}",
        "-".join([w.upper() for w in words]),
        s.replace("b", "xyz").title(),
        s.find("c"),
        s.rjust(30, "*"),
        str(n) + s[::-1],
        s.startswith("a"),
        s * 3,
        hash(s) == hash(s + ""),
        s.strip("a"),
        len("é☃" + s),
    )


def arguments() -> dict:
    """Functions by group, and what they are called with."""
    draw = np.random.RandomState(3)
    a, x = draw.random_sample((6, 6)), draw.random_sample(6)
    s, y = a @ a.T + np.eye(6), draw.random_sample(20)
    return {
        "linear algebra": {decompositions: (a, s), systems: (a, x), products: (a, s, x, x + 1)},
        "arrays": {orders: (draw.random_sample(5000),), analysis: (y, np.sort(draw.random_sample(20)))},
        "scalars": {
            mathematics: (1.5 + 2j, 1.7),
            times: (np.datetime64("2024-02-27"), np.array([1, 2, 3], "m8[D]")),
            texts: ("abc bca cab", 5),
        },
    }


def differences(group) -> list[str]:
    """Where a goroutine gets something else than Python does."""
    warnings.simplefilter("ignore")  # Numba's advice about layouts
    found = []
    for f, args in arguments()[group].items():
        for i, (got, wanted) in enumerate(zip(go.run(f, *args), f.py_func(*args), strict=True)):
            exact = isinstance(wanted, str | bool | np.generic) and not isinstance(wanted, float | complex)
            if got != wanted if exact else not np.allclose(got, wanted, rtol=1e-9, atol=1e-9):
                found.append(f"{f.__name__}, {i}: {got!r} is not {wanted!r}")
    return found


@pytest.mark.parametrize("group", arguments())
def test_goroutines_get_what_python_gets(group):
    if group == "linear algebra":
        pytest.importorskip("scipy", reason="linear algebra needs SciPy")
    assert subprocesses.call(HERE, "differences", group, GOPARK_STACK=65536) == []


@go.func
def kinds(a, b):
    return a @ b, np.linalg.solve(a, b), np.linalg.svd(a)[1], np.linalg.norm(a), np.vdot(a[0], b[0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex64, np.complex128])
def test_every_type_of_elements_has_its_blas(dtype):
    pytest.importorskip("scipy", reason="linear algebra needs SciPy")
    draw = np.random.RandomState(5)
    a, b = (draw.random_sample((5, 5)).astype(dtype) * dtype(2) for _ in range(2))
    if dtype in (np.complex64, np.complex128):
        a, b = a + 1j * b, b - 1j * a
    exact = 1e-4 if np.finfo(dtype).bits == 32 else 1e-11
    for got, wanted in zip(go.run(kinds, a, b), kinds.py_func(a, b), strict=True):
        assert np.allclose(got, wanted, rtol=exact, atol=exact)
        assert np.isscalar(wanted) or got.dtype == wanted.dtype


@go.func
def solve(a, b):
    try:
        return np.linalg.solve(a, b)[0]
    except Exception:
        return -1.0


@go.func
def invert(a):
    return np.linalg.inv(a)


def test_what_linear_algebra_raises_is_raised():
    pytest.importorskip("scipy", reason="linear algebra needs SciPy")
    singular = np.zeros((3, 3))
    assert go.run(solve, singular, np.ones(3)) == -1.0
    with pytest.raises(np.linalg.LinAlgError, match="Matrix is singular to machine precision"):
        go.run(invert, singular)
    with pytest.raises(np.linalg.LinAlgError, match="must not contain infs or NaNs"):
        go.run(invert, np.full((3, 3), np.nan))
    assert go.run(invert, np.zeros((0, 0))).shape == (0, 0)


# ---- what needs Python is refused, and named


hypot = ctypes.CDLL("libm.so.6").hypot
hypot.argtypes, hypot.restype = [ctypes.c_double] * 2, ctypes.c_double


@cfunc(types.float64(types.float64))
def callback(x):
    return x + 1


unknown = types.ExternalFunction("frobnicate", types.float64(types.float64))
blocking = types.ExternalFunction("getaddrinfo", types.int64(types.int64))


@go.func(cache=False)
def calls_ctypes(x):
    return hypot(x, 1.0)


@go.func(cache=False)
def calls_a_callback(x):
    return callback(x)


@go.func(cache=False)
def asks_python(x):
    with objmode(y="float64"):
        y = float(str(x))
    return y


@go.func(cache=False)
def draws_from_a_generator(generator):
    return generator.random()


@njit
def helper(generator):
    return generator.normal()


@go.func(cache=False)
def lets_a_helper_draw(generator):
    return helper(generator)


@go.func(cache=False)
def calls_the_unknown(x):
    return unknown(x)


@go.func(cache=False)
def calls_what_blocks(x):
    return blocking(int(x))


@pytest.mark.filterwarnings("ignore:Code running in object mode")
@pytest.mark.parametrize(
    ("function", "words"),
    [
        (calls_ctypes, "uses a C function by its address (ctypes or cffi), which goroutines cannot use: it may block"),
        (calls_a_callback, "uses a call of Python (a `with objmode()` block, or a call through a function that was"),
        (asks_python, "uses a call of Python (a `with objmode()` block, or a call through a function that was"),
        (draws_from_a_generator, "uses a np.random.Generator, which goroutines cannot use: it belongs to Python"),
        (lets_a_helper_draw, "uses a np.random.Generator, which goroutines cannot use: it belongs to Python"),
        (calls_the_unknown, "calls the C function frobnicate, which gopark does not know"),
        (calls_what_blocks, "uses the C function getaddrinfo, which goroutines cannot use yet: it may block"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_needs_python_or_is_unknown_does_not_compile(function, words):
    argument = np.random.default_rng(1) if "draw" in function.__name__ else 1.5
    with pytest.raises(Exception, match="which") as raised:
        go.run(function, argument)
    said = str(raised.value)
    assert f"{function.__name__} {words}" in said
    assert any(remedy in said for remedy in ("Call it from Python before go.run", "Instead, np.random.random"))
