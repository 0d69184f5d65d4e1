"""On stacks of 64 KiB, the smallest there are, goroutines do what Numba offers for NumPy, and get what NumPy gets."""

from __future__ import annotations

import ast
import subprocess

import numpy as np
import pytest

import gopark as go
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


@go.func
def inverter(a, out, i, wg):
    out[i] = np.linalg.inv(a)
    wg.done()


@go.func
def inverters(a, out):
    wg = go.WaitGroup()
    wg.add(len(out))
    for i in range(len(out)):
        go.spawn(inverter, a, out, i, wg)
    wg.wait()


def inverses():
    """How far the inverses that goroutines find of a matrix are from NumPy's, at most."""
    a = np.random.RandomState(2).random_sample((400, 400))
    out = np.zeros((8, 400, 400))
    go.run(inverters, a, out)
    return float(np.abs(out - np.linalg.inv(a)).max())


def test_lapack_goes_deeper_than_any_goroutine_could():
    """OpenBLAS takes megabytes of stack where it shares a matrix out to threads."""
    assert subprocesses.call(HERE, "inverses", **SMALL) < 1e-8


def check_all_acts(rounds, n):
    child = subprocess.run(
        subprocesses.command(HERE, "all_acts", rounds, n),
        env=subprocesses.environment(**SMALL),
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert child.returncode == 0, child.stderr[-8000:]
    printed, _, worst = child.stdout.rpartition("result:")
    assert max(ast.literal_eval(worst.strip())) < 1e-12
    assert sorted(printed.splitlines()) == ["", *sorted([f"line {i} {i / 4} <{i}>" for i in range(n)] * rounds)]


def test_every_act_is_the_first_of_some_goroutine():
    check_all_acts(rounds=2, n=12)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_hundred_goroutines_ten_times():
    check_all_acts(rounds=10, n=100)
