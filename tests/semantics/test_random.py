"""np.random and random: every goroutine draws from states of its own."""

from __future__ import annotations

import random

import numpy as np
import pytest
from numba.cpython.randomimpl import rnd_state_t

import gopark as go
from gopark.compiler.numba_api import target_context
from gopark.runtime.runtime2 import Rand, RandState
from tests.semantics import subprocesses

HERE = __name__
GOROUTINES, DRAWS = 20, 700  # a twister makes 624 words at a time, and a double takes two


def test_the_state_is_laid_out_as_numba_has_it():
    """Compiled code reads and writes it by Numba's offsets."""
    context = target_context()
    assert RandState.size == context.get_abi_sizeof(rnd_state_t)
    at, offsets = 0, []
    for ty in rnd_state_t.elements:
        alignment = context.get_abi_alignment(ty)
        at = -(-at // alignment) * alignment
        offsets.append(at)
        at += context.get_abi_sizeof(ty)
    assert [offset for offset, _ in RandState.fields.values()] == offsets
    assert Rand.size == 3 * RandState.size


@go.func
def seeded(out, i, wg):
    np.random.seed(i)
    random.seed(i + 1000)
    for k in range(out.shape[1]):
        out[i, k, 0] = np.random.random()
        out[i, k, 1] = np.random.normal(0.0, 1.0)
        out[i, k, 2] = random.random()
        go.gosched()
    wg.done()


@go.func
def unseeded(out, i, wg):
    for k in range(out.shape[1]):
        out[i, k, 0] = np.random.random()
        out[i, k, 2] = random.random()
        go.gosched()
    wg.done()


@go.func
def together(out, seeds):
    """The goroutines draw by turns, on all Ps."""
    wg = go.WaitGroup()
    wg.add(len(out))
    for i in range(len(out)):
        if seeds:
            go.spawn(seeded, out, i, wg)
        else:
            go.spawn(unseeded, out, i, wg)
    wg.wait()


def seeded_draws():
    """Whether goroutines that seed their state draw NumPy's numbers, by turns and on all Ps."""
    out = np.zeros((GOROUTINES, DRAWS, 3))
    go.run(together, out, True)
    for i in range(GOROUTINES):
        numpy_state = np.random.RandomState(i)
        for k in range(DRAWS):
            assert out[i, k, 0] == numpy_state.random_sample()
            assert out[i, k, 1] == pytest.approx(numpy_state.normal(), abs=1e-12)
    # Numba seeds `random` with a number as NumPy does, not as Python does.
    python = [np.random.RandomState(i + 1000).random_sample(DRAWS).tolist() for i in range(GOROUTINES)]
    assert out[:, :, 2].tolist() == python
    return True


@pytest.mark.parametrize("procs", [1, 2, 4])
def test_a_seeded_goroutine_draws_the_numbers_of_numpy(procs):
    """Whoever else draws meanwhile, and wherever it runs. In a process of its own: where plain @njit code has compiled
    np.random.normal before, that function still draws from Numba's own state."""
    assert subprocesses.call(__name__, "seeded_draws", GOMAXPROCS=procs)


def test_goroutines_draw_different_numbers(procs):
    out = np.zeros((GOROUTINES, DRAWS, 3))
    go.run(together, out, False)
    drawn = np.concatenate([out[:, :, 0].ravel(), out[:, :, 2].ravel()])
    assert len(set(drawn)) == 2 * GOROUTINES * DRAWS, "no two states are the same, or overlap"
    assert abs(drawn.mean() - 0.5) < 0.02
    assert abs(np.histogram(drawn, 8, (0, 1))[0] / len(drawn) - 0.125).max() < 0.02


# ---- the seed of the process


@go.func
def draw(out):
    out[0] = np.random.random()
    out[1] = random.random()
    out[2] = np.random.normal(0.0, 1.0)


@go.func
def spawned(out):
    wg = go.WaitGroup()
    wg.add(len(out))
    for i in range(len(out)):
        go.spawn(draw_one, out[i], wg)
    wg.wait()


@go.func
def draw_one(out, wg):
    draw(out)
    wg.done()


def numbers_of(runs_that_draw):
    """What the goroutines of the third run draw, and what the runs before did."""
    before = [0.0, 0.0, 0.0]
    for i in range(2):
        out = np.zeros(3)
        if i < runs_that_draw:
            go.run(draw, out)
            before = out.tolist()
        else:
            go.run(nothing)
    out = np.zeros((4, 3))
    go.run(spawned, out)
    return before, out.tolist()


@go.func
def nothing():
    pass


def test_the_seed_and_the_number_of_the_goroutine_decide():
    """Reproducible, and a goroutine whose G was used before starts afresh."""
    first = subprocesses.call(HERE, "numbers_of", 2, GOPARK_SEED=7, GOMAXPROCS=1)
    again = subprocesses.call(HERE, "numbers_of", 2, GOPARK_SEED=7, GOMAXPROCS=1)
    fewer = subprocesses.call(HERE, "numbers_of", 0, GOPARK_SEED=7, GOMAXPROCS=1)
    other = subprocesses.call(HERE, "numbers_of", 2, GOPARK_SEED=8, GOMAXPROCS=1)
    assert first == again
    assert fewer[1] == first[1], "what earlier goroutines drew does not matter"
    drawn = [x for before, rows in (first, other) for row in (before, *rows) for x in row]
    assert len(set(drawn)) == 2 * 5 * 3


def test_without_a_seed_every_process_differs():
    assert subprocesses.call(HERE, "numbers_of", 1) != subprocesses.call(HERE, "numbers_of", 1)


# ---- hashing


@go.func
def hashes(x):
    table = {x: 1, 2.5: 2, 0.0: 3}
    return hash(x) == hash(x), table[2.5], table[0.0], len(table)


def test_floats_are_hashed():
    assert go.run(hashes, 7.25) == (True, 2, 3, 3)
    same, *rest = go.run(hashes, np.nan)  # a NaN hashes to a random number, so that many of them do not collide
    assert not same
    assert rest == [2, 3, 3]


# ---- memory


MANY = 100_000


@go.func
def one_after_the_other(n):
    wg = go.WaitGroup()
    out = np.zeros(3)
    for _ in range(n):
        wg.add(1)
        go.spawn(draw_one, out, wg)
        wg.wait()


def growth(n):
    from tests.semantics.test_stack import resident

    go.run(one_after_the_other, 10)
    before = resident()
    go.run(one_after_the_other, n)
    return resident() - before


def test_the_state_is_freed_when_the_goroutine_ends():
    assert subprocesses.call(HERE, "growth", MANY) < MANY * Rand.size / 10
