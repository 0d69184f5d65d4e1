"""The check of the write-barrier rule is tested by what it must catch: source mutants of the runtime (mutants.py).

Each mutant is made in a copy of the package, never in place, and checked in a process of its own, as a user would do
it: with `gopark vet --json`. At most two of them run at a time.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.mutants.mutants import MUTANTS, Mutant

PACKAGE = Path(importlib.util.find_spec("gopark").origin).parent
LIMIT = 300.0  # seconds, for a machine that does other things as well
pytestmark = pytest.mark.timeout(3 * LIMIT)


@dataclass
class Verdict:
    """What the check said of one copy of the package."""

    status: int
    report: dict
    seconds: float

    def chains(self, kind: str, message: str) -> list[list[str]]:
        """The chains of the violations of that kind and message, as `file: text` without line numbers."""
        return [
            [f"{os.path.basename(file)}: {re.sub(r':[0-9]+', '', text)}" for file, _, text in violation["chain"]]
            for violation in self.report["violations"]
            if violation["kind"] == kind and message in violation["message"]
        ]


def vet(change=None) -> Verdict:
    """Check a copy of the package, after `change(directory of the copy)`."""
    with tempfile.TemporaryDirectory(prefix="gopark-mutant-") as scratch:
        copy = Path(scratch) / "src" / "gopark"
        shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__", ".*"))
        if change is not None:
            change(copy)
        command = [sys.executable, "-m", "gopark", "vet", "--json"]
        # the lowered code of a mutant shall not be found in a cache, nor left in one
        environment = {**os.environ, "PYTHONPATH": str(copy.parent), "GOPARK_CACHE_DIR": str(Path(scratch) / "cache")}
        environment.pop("GOPARKDEBUG", None)
        start = time.perf_counter()
        done = subprocess.run(
            command, env=environment, cwd=scratch, capture_output=True, text=True, timeout=LIMIT, check=False
        )
        seconds = time.perf_counter() - start
        assert done.stdout.startswith("{"), f"no report, status {done.returncode}: {done.stderr[-2000:]}"
        return Verdict(done.returncode, json.loads(done.stdout), seconds)


def mutate(mutant: Mutant, copy: Path) -> None:
    for edit in mutant.edits:
        file = copy / edit.file
        text = file.read_text()
        assert text.count(edit.old) == 1, (
            f"{mutant.name}: {edit.old!r} occurs {text.count(edit.old)} times in {edit.file}"
        )
        file.write_text(text.replace(edit.old, edit.new))


@pytest.fixture(scope="module")
def verdicts(request):
    """name -> the verdict, coming: all the mutants whose tests were selected, two at a time."""
    wanted = {
        item.callspec.params["mutant"].name
        for item in request.session.items
        if "mutant" in getattr(getattr(item, "callspec", None), "params", ())
    }
    with ThreadPoolExecutor(2) as pool:
        coming = {
            mutant.name: pool.submit(vet, functools.partial(mutate, mutant))
            for mutant in MUTANTS
            if mutant.name in wanted
        }
        yield coming
        for future in coming.values():
            future.cancel()


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_mutant_is_caught(mutant: Mutant, verdicts: dict[str, Future]):
    """Exit status 1, the violation of the expected rule, and as its chain the shortest one, step by step."""
    verdict = verdicts[mutant.name].result()
    print(f"{verdict.seconds:.1f} s")
    assert verdict.status == 1
    assert verdict.report["ok"] is False
    chains = verdict.chains(mutant.kind, mutant.message)
    assert chains, [(v["kind"], v["message"]) for v in verdict.report["violations"]]
    matching = [chain for chain in chains if _names(chain, mutant.chain)]
    assert matching, "\n".join(["wanted:", *mutant.chain, "found:", *chains[0]])


def _names(chain: list[str], words: tuple[str, ...]) -> bool:
    return len(chain) == len(words) and all(word in step for word, step in zip(words, chain, strict=True))


# ---- all setters at once


@dataclass(frozen=True)
class _Setter:
    file: str
    function: str
    line: int
    start: tuple[int, int]
    end: tuple[int, int]
    store: str  # the plain store in its place


def _setters(root: Path) -> list[_Setter]:
    """Every call of a setter in the runtime, with the plain store that does the same."""
    found = []
    for file in sorted((root / "runtime").glob("*.py")):
        for function in [n for n in ast.parse(file.read_text()).body if isinstance(n, ast.FunctionDef)]:
            for node in ast.walk(function):
                name = getattr(getattr(node, "func", None), "id", "")
                if isinstance(node, ast.Call) and re.fullmatch(r"set[A-Z]\w*NoWriteBarrier", name):
                    target, where, value, _ = node.args
                    place = f".{where.value}" if isinstance(where, ast.Constant) else f"[{ast.unparse(where)}]"
                    store = f"{ast.unparse(target)}{place} = {ast.unparse(value)}"
                    begin, end = (node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)
                    found.append(_Setter(file.name, function.name, node.lineno, begin, end, store))
    return found


def _plain_stores_everywhere(copy: Path) -> None:
    for setter in sorted(_setters(copy), key=lambda setter: (setter.file, setter.start), reverse=True):
        file = copy / "runtime" / setter.file
        lines = file.read_text().splitlines(keepends=True)
        (first, column), (last, stop) = setter.start, setter.end
        assert first == last, f"{setter.file}:{first}: a setter on more than one line"
        line = lines[first - 1]
        lines[first - 1] = line[:column] + setter.store + line[stop:]
        file.write_text("".join(lines))


def test_the_runtime_itself_passes():
    """Without a mutation the same command says nothing, so it is the mutations that the tests above see. It lowers
    everything and builds nothing: under ten seconds of a processor."""
    before = os.times()
    verdict = vet()
    after = os.times()
    assert verdict.report["violations"] == []
    assert (verdict.status, verdict.report["ok"]) == (0, True)
    seconds = after.children_user + after.children_system - before.children_user - before.children_system
    print(f"{verdict.seconds:.1f} s, {seconds:.1f} s of a processor")
    assert seconds < 60.0  # it lowers, and builds nothing: some 8 seconds of CPU on an idle machine


def test_every_setter_is_needed():
    """All setters of the runtime as plain stores at once: each is reported, at its line, and nothing else is."""
    setters = _setters(PACKAGE)
    assert len(setters) > 25
    verdict = vet(_plain_stores_everywhere)
    assert verdict.status == 1
    reported = {
        (os.path.basename(violation["chain"][-1][0]), violation["chain"][-1][1])
        for violation in verdict.report["violations"]
        if violation["kind"] == "barrier"
    }
    assert reported == {(setter.file, setter.line) for setter in setters}
    assert {violation["kind"] for violation in verdict.report["violations"]} == {"barrier"}
    assert verdict.report["reasons"] == []
