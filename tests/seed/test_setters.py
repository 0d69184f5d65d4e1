"""runtime2.go's hunk, and the pragmas of the other ones: the setters, and where the runtime uses them.

The seed says beside each raw store which root keeps its target reachable. Here that root is an argument, `gopark vet`
prints the table of them, and this file holds the table against the commit.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from numba import njit

from gopark.compiler import image
from gopark.compiler.numba_api import errors
from gopark.runtime.prims import funcaddr, setPNoWriteBarrier
from gopark.runtime.runtime2 import G, M, P
from tests.runtime.scheduler_native import empty_mcache, in_worker, native, new, seam

# (function, field, setter, registry): the raw stores of the commit that exist here
SEED = {
    ("newm", "M.nextp", "setPNoWriteBarrier", "allp"),
    ("startm", "M.nextp", "setPNoWriteBarrier", "allp"),
    ("startlockedm", "M.nextp", "setPNoWriteBarrier", "allp"),
    ("acquirep", "M.mcache", "setMcacheNoWriteBarrier", "its P"),
    ("acquirep", "M.p", "setPNoWriteBarrier", "allp"),
    ("acquirep", "P.m", "setMNoWriteBarrier", "allm"),
    ("mput", "M.schedlink", "setMNoWriteBarrier", "allm"),
    ("mput", "Sched.midle", "setMNoWriteBarrier", "allm"),
    ("mget", "Sched.midle", "setMNoWriteBarrier", "allm"),
    ("globrunqput", "G.schedlink", "setGNoWriteBarrier", "allgs"),
    ("globrunqput", "Sched.runqhead", "setGNoWriteBarrier", "allgs"),
    ("globrunqput", "Sched.runqtail", "setGNoWriteBarrier", "allgs"),
    ("pidleput", "P.link", "setPNoWriteBarrier", "allp"),
    ("pidleput", "Sched.pidle", "setPNoWriteBarrier", "allp"),
    ("pidleget", "Sched.pidle", "setPNoWriteBarrier", "allp"),
}
# stores of nil that the commit left plain, though they are made without a P as well
NIL_STORES = {
    ("releasep", "P.m", "setMNoWriteBarrier", "allm"),
    ("releasep", "M.p", "setPNoWriteBarrier", "allp"),
    ("releasep", "M.mcache", "setMcacheNoWriteBarrier", "static"),
}
# functions that the commit marked nowritebarrier
MARKED = ("newm", "startm", "startlockedm", "acquirep", "mput", "mget", "globrunqput", "pidleput", "pidleget")


# these are entered with a P and give it away before they store
GIVE_THEIR_P = ("go.startlockedm",)


@pytest.fixture(scope="module")
def report() -> dict:
    done = subprocess.run(
        [sys.executable, "-m", "gopark", "vet", "--json"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    return json.loads(done.stdout)


def test_reasons_of_the_seed(report):
    """Each raw store of the commit is a setter, in the same function, with its registry named."""
    reasons = {(r["function"], r["field"], r["setter"], r["registry"]) for r in report["reasons"]}
    assert SEED | NIL_STORES <= reasons
    for function in MARKED:
        assert {r for r in reasons if r[0] == function} <= SEED | {
            ("newm", "G.m", "setMNoWriteBarrier", "allm"),
            ("newm", "M.g0", "setGNoWriteBarrier", "g0"),
            ("newm", "M.mcache", "setMcacheNoWriteBarrier", "static"),
        }


def test_registries_are_a_short_list(report):
    """A reason that nobody can check is none: these are the roots; mp.py, stack.py and runs.py say why they hold."""
    known = {"allp", "allm", "allgs", "allruns", "handles.all", "g0", "its P", "static"}
    assert {r["registry"] for r in report["reasons"]} <= known


@pytest.mark.parametrize("name", MARKED)
def test_marked_functions_have_no_barrier(report, name):
    """What the commit marks by hand follows here from the code: it may run without a P, and has no plain store."""
    function = report["functions"]["go." + name]
    assert "none" in function["entered"] or "go." + name in GIVE_THEIR_P
    assert function["stores"] == 0
    assert function["allocs"] == 0


def test_plain_store_behind_acquirep(report):
    """`mp.nextp = nil` in mstart and stopm comes when the P is held: plain in the seed, plain here."""
    for name in ("mstart", "stopm"):
        assert [site["field"] for site in report["functions"]["go." + name]["plain_stores_with_p"]] == ["M.nextp"]


# ---- what a setter does


@in_worker
def test_setters_store_and_raise_nothing():
    """All four, on a thread without M and P, with the bits of the barrier set: words are stored, nobody is asked."""
    from gopark.compiler import abi

    mp, gp, pp = new("M"), new("G"), new("P")
    word = seam()
    word.value |= abi.WB_CHECK | abi.WB_ENABLED
    try:
        native().t_setters(mp.address, gp.address, pp.address, empty_mcache())
    finally:
        word.value = 0
    assert (mp.curg, mp.alllink, mp.nextp, mp.mcache) == (gp.address, mp.address, pp.address, empty_mcache())


def _refusal(py_func) -> str:
    function = image.RuntimeFunction(py_func, None, None)
    try:
        builder = image.UnitBuilder(py_func.__module__)
        builder.functions = [function]
        with pytest.raises((errors.NumbaError, SyntaxError)) as caught:
            builder.lower()
        return str(caught.value)
    finally:
        del image.RuntimeFunction.BY_SYMBOL[function.symbol]


def wrong_setter(mp: M, gp: G):
    setPNoWriteBarrier(mp, "curg", gp, "allgs")


def no_reason(mp: M, pp: P, why: int):
    setPNoWriteBarrier(mp, "nextp", pp, why)


@njit
def plain_function(m):
    pass


def no_static_function(mp: M):
    mp.mstartfn = funcaddr(plain_function, "mstartfn")


def test_setter_of_another_type_is_refused():
    assert "setPNoWriteBarrier stores a P" in _refusal(wrong_setter)


def test_setter_without_a_reason_is_refused():
    """The registry is a literal: there is no raw store without one."""
    assert "registry" in _refusal(no_reason)


def test_mstartfn_takes_static_functions_only():
    """The commit: "fn needs to be static and not a heap allocated closure". Only the image's functions have one."""
    assert "no function of the runtime" in _refusal(no_static_function)


# ---- with a P, stores are plain


@pytest.mark.parametrize("name", ["runqput", "ready", "execute", "chansend", "selectgo"])
def test_plain_stores_where_a_p_is_held(report, name):
    """The rule is not met by setters everywhere: these store pointers plainly, and are only ever entered with a P."""
    function = report["functions"]["go." + name]
    assert function["plain_stores_with_p"]
    assert function["plain_stores_without_p"] == function["setters"] == []
    assert function["entered"] == ["P"]


def test_setters_only_where_there_may_be_no_p(report):
    for name, function in report["functions"].items():
        assert not function["setters"] or "none" in function["entered"] or name in GIVE_THEIR_P, name
