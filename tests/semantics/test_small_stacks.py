"""On stacks of 64 KiB, the smallest there are, goroutines do what Numba offers for NumPy, and get what NumPy gets."""

from __future__ import annotations

import ast
import ctypes
import subprocess

import numpy as np
import pytest

import gopark as go
from gopark.compiler import asm_amd64
from gopark.compiler.numba_api import intrinsic, types
from gopark.runtime.runtime2 import G, M
from gopark.runtime.stack import GUARD, SIGNAL_STACK
from tests.semantics import subprocesses

pytest.importorskip("scipy", reason="linear algebra needs SciPy")

HERE = __name__
SMALL = {"GOPARK_STACK": 65536}


@go.func
def act(kind, i, a, big, numbers, out):
    if kind == 0:
        out[i, 0] = np.linalg.svd(a)[1].sum()
    elif kind == 1:
        out[i, 1] = np.dot(big, big).sum()
    elif kind == 2:
        numbers.sort()
        out[i, 2] = 1.0 if np.all(numbers[1:] >= numbers[:-1]) else 0.0
    elif kind == 3:
        np.random.seed(i)
        out[i, 3] = np.random.normal(2.0, 3.0)
    elif kind == 4:
        text = f"goroutine {i}: {i * i}"
        out[i, 4] = 1.0 if text == "goroutine " + str(i) + ": " + str(i * i) else 0.0
        out[i, 5] = len(text)
    else:
        print("line", i, i / 4, f"<{i}>")


@go.func
def worker(i, a, big, numbers, out, wg):
    """All acts, each time another one first."""
    for k in range(6):
        act((i + k) % 6, i, a, big, numbers, out)
    wg.done()


@go.func
def workers(a, big, numbers, out):
    wg = go.WaitGroup()
    wg.add(len(out))
    for i in range(len(out)):
        go.spawn(worker, i, a, big, numbers[i], out, wg)
    wg.wait()


def all_acts(rounds, n):
    """How far the results of `rounds` runs of n goroutines are from NumPy's, at most, by act."""
    draw = np.random.RandomState(1)
    a, big = draw.random_sample((200, 200)), draw.random_sample((800, 800))
    wanted = np.empty((n, 6))
    wanted[:, 0] = np.linalg.svd(a)[1].sum()
    wanted[:, 1] = np.dot(big, big).sum()
    wanted[:, (2, 4)] = 1.0
    wanted[:, 3] = [np.random.RandomState(i).normal(2.0, 3.0) for i in range(n)]
    wanted[:, 5] = [len(f"goroutine {i}: {i * i}") for i in range(n)]
    worst = np.zeros(6)
    for _ in range(rounds):
        numbers, out = draw.random_sample((n, 5000)), np.full((n, 6), np.nan)
        expected = np.sort(numbers)
        go.run(workers, a, big, numbers, out)
        assert np.array_equal(numbers, expected)
        worst = np.maximum(worst, np.abs(out / wanted - 1).max(axis=0))
    return worst.tolist()


@intrinsic
def this_g(typingctx):
    def codegen(context, b, sig, args):
        return asm_amd64.emit_getg(b)

    return types.int64(), codegen


@go.func
def inverse(a, out):
    out[:] = np.linalg.inv(a)
    return this_g()


def field(struct, address, name):
    return ctypes.c_int64.from_address(address + struct.fields[name][0]).value


def depth(g, skipped):
    """How deep a stack was ever used: a new one is zero. So many bytes at its low end are for something else."""
    lo = field(G, g, "stacklo") + skipped
    used = np.flatnonzero(np.frombuffer(ctypes.string_at(lo, g - lo), np.int64))
    return g - lo - 8 * int(used[0])


def inverted():
    """How far a goroutine's inverse of a matrix is from NumPy's, how deep its stack was used, and how deep that of the
    M on which it ran."""
    a, out = np.random.RandomState(2).random_sample((400, 400)), np.zeros((400, 400))
    g = go.run(inverse, a, out)
    g0 = field(M, field(G, g, "m"), "g0")
    return float(np.abs(out - np.linalg.inv(a)).max()), depth(g, GUARD), depth(g0, GUARD + SIGNAL_STACK)


def test_lapack_runs_on_the_stack_of_the_m():
    """OpenBLAS takes megabytes of it where it shares a matrix out to threads, and some 20 KB where it does not."""
    difference, of_goroutine, of_m = subprocesses.call(HERE, "inverted", GOMAXPROCS=1, **SMALL)
    assert difference < 1e-8
    assert of_goroutine < 8 << 10
    assert of_m > 12 << 10


def check_all_acts(rounds, n, **variables):
    child = subprocess.run(
        subprocesses.command(HERE, "all_acts", rounds, n),
        env=subprocesses.environment(**SMALL, **variables),
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert child.returncode == 0, child.stderr[:6000]  # a crash's first words, and the innermost frames
    printed, _, worst = child.stdout.rpartition("result:")
    assert max(ast.literal_eval(worst.strip())) < 1e-12
    assert sorted(printed.splitlines()) == ["", *sorted([f"line {i} {i / 4} <{i}>" for i in range(n)] * rounds)]


def test_every_act_is_the_first_of_some_goroutine():
    check_all_acts(rounds=2, n=12)


@pytest.mark.slow
@pytest.mark.timeout(1000)
def test_a_hundred_goroutines_ten_times():
    """Without OpenBLAS's threads, which wait for cores that goroutines have: minutes on a machine with other work."""
    check_all_acts(rounds=10, n=100, OPENBLAS_NUM_THREADS=1)
