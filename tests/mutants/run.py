"""Who kills which mutant: makes each in a process of its own, lets all that looks for faults look, keeps a record.

    python -m tests.mutants.run                              # all that have no verdict yet; hours on two cores
    python -m tests.mutants.run --only 'runq\\.' --jobs 2     # those whose names match
    python -m tests.mutants.run --page                       # docs/internals/mutants.md anew, from the record

The runtime's modules are imported once; a child is forked for each mutant, which replaces the one function, compiles
its file again, links an image of check level 2 and goes through the stages until something dies:

    vet     the check of the write-barrier rule looks at the call graph with the mutated function in it
    storm   storms of every kind at 2, 1 and 4 Ps (tests/semantics/test_storm.py), with all audits on
    unit    the tests that call the runtime's functions one by one, in an image of their own
    test    the tests of what the file is for

The last two are processes of their own that start from a copy of the sources, because tests start processes that import
the runtime anew. The copy and its cache belong to a slot, one for each mutant at a time: a cache knows go functions by
their files, and is warm from the second mutant on.

What dies of an audit's last words counts as killed by the audit, whatever the stage; who says nothing for so long that
it must be stuck is killed by the stage. A mutant that does not compile is none; nor is one whose image is the same
machine code, byte by byte: on x86-64 a release store is a plain one. The record (results.json) keeps for each mutant
the killer and its words. It is for the sources of that day: a mutant whose function has changed since is run again.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gopark.bridge import boot
from gopark.compiler import cache, image, vetting, wbcheck
from gopark.compiler.funcinfo import FuncInfo
from gopark.runtime import load_units
from tests.mutants.generator import FILES, OPERATORS, PACKAGE, Mutant, Source, mutants
from tests.mutants.mutated import define, lowered
from tests.mutants.page import harmless, page, reason_for
from tests.mutants.survivors import SURVIVORS

ROOT = Path(__file__).resolve().parent.parent.parent
RECORD = Path(__file__).with_name("results.json")
PAGE = ROOT / "docs" / "internals" / "mutants.md"
STORM_SECONDS = 0.4
SILENCE = {"vet": 60, "build": 120, "storm": 15, "unit": 120, "test": 120}  # seconds after which a stage is stuck

_CORE = (
    "test_fairness test_at_rest test_spawn test_go_sched test_parallel test_lock_os_thread test_gomaxprocs "
    "test_border_storm test_runs"
)
_BORDER = "test_handles test_reach test_submit test_border_storm"
_SYNC = "test_mutex test_at_rest test_waitgroup test_go_mutex test_go_waitgroup test_runs"
TESTS = {  # in tests/semantics
    "chan": "test_chan test_at_rest test_go_chan test_runs",
    "select": "test_select test_at_rest test_go_select test_runs",
    "sema": _SYNC,
    "sync": _SYNC,
    "runs": f"test_at_rest test_runs {_BORDER} test_go_sched test_spawn test_gomaxprocs test_stack",
    "stack": "test_stack test_spawn test_runs",
}
UNITS = {  # in tests
    "runq": "runtime/test_runq",
    "mp": "runtime/test_runq seed/test_mp seed/test_mstart runtime/test_virtual",
    "lock_futex": "runtime/test_lock_futex runtime/test_runq seed/test_mp runtime/test_virtual",
    "proc": "runtime/test_proc runtime/test_virtual",
    "runs": "runtime/test_runs",
    "stack": "runtime/test_stack seed/test_mp",
}


@dataclass(frozen=True)
class Original:
    """The runtime as it is: what the check reads of it, and its machine code."""

    infos: dict[str, FuncInfo]
    objects: list[bytes]

    @classmethod
    def build(cls) -> Original:
        units, headers, separate = load_units()
        return cls(vetting.sketch(units), image.build(units, headers, separate)["objects"])


# ---- in the child


class Progress:
    """Tells the parent that the child is alive, and where it is."""

    def __init__(self, file: int):
        self._file = file

    def __call__(self, what: str) -> None:
        os.write(self._file, (what + "\n").encode())


def replace_function(mutant: Mutant, scratch: Path) -> None:
    """The mutated function in place of its original, and the mutated text as what its module was made from."""
    file = scratch / f"{mutant.file}.py"
    file.write_text(define(mutant))
    sys.modules[f"gopark.runtime.{mutant.file}"].__file__ = str(file)  # image.build reads it for the key


def look(mutant: Mutant | None, original: Original, scratch: Path, say: Progress) -> None:
    """The first stages, in a process that dies of whatever it finds."""
    if mutant is not None:
        replace_function(mutant, scratch)
        say("vet")
        found = wbcheck.check({**original.infos, **lowered(mutant)}, vetting.runtime_roots()).violations
        if found:
            say(f"killed vet {found[0].kind}: {found[0].message}")
            return
        put = cache.Store.put
        cache.Store.put = lambda store, key, body: None if store.path.name == "image" else put(store, key, body)
    say("build")
    if boot.boot().image.objects == original.objects and mutant is not None:
        say("same code")
        return
    storms(say)


def storms(say: Progress) -> None:
    import gopark as go
    from tests.semantics.test_storm import KINDS, storm

    for procs in (2, 1, 4):
        go.gomaxprocs(procs)
        for kind in KINDS:
            say(f"storm {kind}, {procs} Ps")
            storm(kind, STORM_SECONDS, procs)
    go.gomaxprocs(2)


# ---- in the parent


class Child:
    """A fork of this process, in which everything looks for the mutant."""

    def __init__(self, mutant: Mutant | None, original: Original, scratch: Path):
        self.mutant = mutant
        self._heard = time.monotonic()
        self._lines, self._rest = ["build"], b""
        self._progress, write = os.pipe()
        os.set_blocking(self._progress, False)
        self._output = Path(tempfile.mkstemp(dir=scratch)[1])
        self._pid = os.fork()
        if self._pid == 0:
            self._be_child(original, scratch, write)
        os.close(write)

    def _be_child(self, original: Original, scratch: Path, write: int) -> None:
        status = 1
        try:
            os.setsid()
            file = os.open(self._output, os.O_WRONLY)
            os.dup2(file, 1)
            os.dup2(file, 2)
            look(self.mutant, original, Path(tempfile.mkdtemp(dir=scratch)), Progress(write))
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    @property
    def said(self) -> str:
        return self._output.read_text(errors="replace")

    def ended(self) -> tuple[str, str] | None:
        """The verdict, once there is one: (killer, words), or ("", "") if nobody killed it."""
        self._listen()
        pid, status = os.waitpid(self._pid, os.WNOHANG)
        if pid == 0 and time.monotonic() - self._heard < SILENCE[self._last.split()[0]]:
            return None
        if pid == 0:
            os.killpg(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
        self._listen()
        os.close(self._progress)
        return self._verdict(os.waitstatus_to_exitcode(status) if pid else None)

    def forgive(self) -> None:
        """Its silence does not count up to now."""
        self._heard = time.monotonic()

    def _listen(self) -> None:
        try:
            data = os.read(self._progress, 1 << 16)
        except BlockingIOError:
            return
        if data:
            self._heard = time.monotonic()
            *lines, self._rest = (self._rest + data).split(b"\n")
            self._lines += [line.decode() for line in lines]

    @property
    def _last(self) -> str:
        """What it did last: a stage, and where in it."""
        return next(line for line in reversed(self._lines) if line.split()[0] in SILENCE)

    def _verdict(self, status: int | None) -> tuple[str, str]:
        """Status None: it was stuck."""
        for line in self._lines:
            if line.startswith("killed vet "):
                return "vet", line.removeprefix("killed vet ")
        if self._lines[-1] == "same code":
            return "none", "the same machine code"
        said = self.said
        audit = re.search(r"^fatal error: audit: (.*)", said, re.M)
        if audit:
            return "audit", audit_words(audit[1])
        stage, _, at = self._last.partition(" ")
        fatal = re.search(r"^fatal error: (.*)", said, re.M)
        if status is None:
            return stage, f"stuck in {at}"
        if fatal:
            return stage, f"{fatal[1]}, in {at}"
        if status < 0:
            return stage, f"{signal.Signals(-status).name} in {at}"
        if "LoweringFailedError" in said:
            return "none", "does not compile"
        if status != 0:
            last = said.strip().splitlines()[-1] if said.strip() else f"status {status}"
            return stage, f"{last[:100]}, in {at}"
        return "", ""


class Slot:
    """A copy of the sources, with a cache of its own; one mutant at a time lives in it."""

    def __init__(self, scratch: Path):
        self.place = Path(tempfile.mkdtemp(dir=scratch))
        without = shutil.ignore_patterns("__pycache__", ".*")
        shutil.copytree(PACKAGE, self.place / "src" / "gopark", ignore=without)
        shutil.copytree(ROOT / "tests", self.place / "tests", ignore=without)
        shutil.copy(ROOT / "pyproject.toml", self.place)
        shutil.copytree(cache.directory() / "image", self.place / "cache" / "image")
        (self.place / "cache").chmod(0o700)

    def settle(self, mutant: Mutant | None) -> None:
        """From here on the sources are those of the mutant."""
        runtime = self.place / "src" / "gopark" / "runtime"
        shutil.rmtree(runtime / "__pycache__", ignore_errors=True)  # two versions within a second look alike
        for file in FILES:
            text = Source(file).text
            if mutant is not None and mutant.file == file:
                text = mutant.source(text)
            (runtime / f"{file}.py").write_text(text)


class Tests:
    """Tests of a mutant, from the copy of the sources in its slot."""

    def __init__(self, mutant: Mutant | None, slot: Slot, stage: str):
        self.mutant, self.slot, self.stage = mutant, slot, stage
        self._size, self._heard = 0, time.monotonic()
        slot.settle(mutant)
        self._output = slot.place / "output"
        with open(self._output, "w") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", *self._arguments()],
                cwd=slot.place,
                env={
                    **os.environ,
                    "GOPARK_CACHE_DIR": str(slot.place / "cache"),
                    "PYTHONPATH": str(slot.place / "src"),
                    "PYTHONUNBUFFERED": "1",
                    "GOPARKDEBUG": "check=2" if stage == "test" else "",
                },
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _arguments(self) -> list[str]:
        if self.mutant is not None:
            return ["-x", *tests_of(self.stage, self.mutant.file)]
        return sorted({path for file in FILES for path in tests_of(self.stage, file)})

    def forgive(self) -> None:
        self._heard = time.monotonic()

    @property
    def said(self) -> str:
        return self._output.read_text(errors="replace")

    def ended(self) -> tuple[str, str] | None:
        size = self._output.stat().st_size
        if size != self._size:
            self._size, self._heard = size, time.monotonic()
        status = self._process.poll()
        if status is None and time.monotonic() - self._heard < SILENCE[self.stage]:
            return None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        said = self.said
        last = (re.findall(r"^tests/\S*?([^/\s]+::\S+)", said, re.M) or ["?"])[-1]
        if status is None or re.search(r"\+ Timeout \+", said):
            return self.stage, f"stuck in {last}"
        if status == 0:
            return "", ""
        audit = re.search(r"^\W*fatal error: audit: (.*)", said, re.M)
        if audit:
            return "audit", f"{audit_words(audit[1])}, in {last}"
        failed = re.search(r"^(?:FAILED|ERROR) \S*?([^/\s]+::\S+)", said, re.M)
        return self.stage, failed[1] if failed else f"dies in {last}"


def audit_words(line: str) -> str:
    """What an audit said, without the numbers of who it was."""
    return re.sub(r"\b(goroutine|P|M) \d+|found .*", r"\1", line).strip(" ,:")


def tests_of(stage: str, file: str) -> list[str]:
    """The files of tests that a mutant of this file of the runtime meets."""
    if stage == "unit":
        return [f"tests/{name}.py" for name in UNITS.get(file, "").split()]
    return [f"tests/semantics/{name}.py" for name in TESTS.get(file, _CORE).split()]


def fingerprint(mutant: Mutant) -> str:
    """Of the function as it is, and of the mutation: a verdict is for both."""
    source = Source(mutant.file)
    (function,) = [f for f in source.functions if f.name == mutant.function]
    start, end = source.span(function)
    return hashlib.sha256(source.text.encode()[start:end] + repr(mutant.what).encode()).hexdigest()[:12]


def settled(mutant: Mutant, record: dict[str, dict], survivors: bool) -> bool:
    """Whether the record has a verdict on the mutant as it is now; with `survivors`, one that killed it, or there is a
    reason why nothing can."""
    verdict = record.get(mutant.name)
    if verdict is None or verdict["of"] != fingerprint(mutant):
        return False
    return bool(verdict["killer"]) or not survivors or harmless(reason_for(mutant.name, SURVIVORS))


def load_record() -> dict[str, dict]:
    """The verdicts on mutants that are still made."""
    record = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    made = {m.name for m in mutants()}
    return {name: verdict for name, verdict in record.items() if name in made}


def save_record(record: dict[str, dict]) -> None:
    text = json.dumps(dict(sorted(record.items())), indent=0, ensure_ascii=False)
    RECORD.write_text(text + "\n")


class Life:
    """What happens to one mutant, stage by stage."""

    def __init__(self, mutant: Mutant | None, original: Original, scratch: Path, slot: Slot, tests_first: bool):
        self.mutant, self.began = mutant, time.monotonic()
        self.slot = slot
        stages: list[Callable[[], Child | Tests]] = [
            functools.partial(Tests, mutant, slot, stage)
            for stage in ("unit", "test")
            if mutant is None or tests_of(stage, mutant.file)
        ]
        fork = functools.partial(Child, mutant, original, scratch)
        self._stages = [*stages, fork] if tests_first else [fork, *stages]
        self.now = self._stages.pop(0)()

    def ended(self) -> tuple[str, str] | None:
        """The verdict, once there is one."""
        ended = self.now.ended()
        if ended is None or ended[0] or not self._stages:
            return ended
        self.now = self._stages.pop(0)()
        return None


def run(
    todo: list[Mutant | None], jobs: int, tests_first: bool, done: Callable[[Mutant | None, str, str, float], None]
) -> None:
    """Run the mutants, `jobs` at a time; done(mutant, killer, words, seconds) for each."""
    original = Original.build()
    lives: list[Life] = []
    with tempfile.TemporaryDirectory(prefix="gopark-mutants-") as place:
        scratch = Path(place)
        slots = [Slot(scratch) for _ in range(jobs)]
        while todo or lives:
            while todo and slots:
                lives.append(Life(todo.pop(0), original, scratch, slots.pop(), tests_first))
            asleep = time.monotonic()
            time.sleep(0.05)
            if time.monotonic() - asleep > 2:  # the machine stood still: nobody was silent
                for life in lives:
                    life.now.forgive()
            for life in list(lives):
                ended = life.ended()
                if ended is None:
                    continue
                lives.remove(life)
                slots.append(life.slot)
                done(life.mutant, *ended, time.monotonic() - life.began)
                if life.mutant is None or not ended[0]:
                    print(life.now.said[-3000:], file=sys.stderr)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", metavar="REGEX", help="the mutants whose names match")
    parser.add_argument(
        "--operators", metavar="A,B", default=",".join(OPERATORS), help="those of these operators, in this order"
    )
    parser.add_argument("--jobs", type=int, default=2, help="how many at a time (default 2)")
    parser.add_argument("--again", action="store_true", help="those with a verdict too")
    parser.add_argument(
        "--survivors", action="store_true", help="those too that nothing killed last time and that could do harm"
    )
    parser.add_argument("--tests-first", action="store_true", help="begin with the tests, the storms last")
    parser.add_argument("--control", action="store_true", help="no mutant at all: everything must pass")
    parser.add_argument("--page", action="store_true", help="only write docs/internals/mutants.md from the record")
    arguments = parser.parse_args()
    if arguments.page:
        PAGE.write_text(page(mutants(), load_record(), SURVIVORS))
        return 0
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it, and so would tests
    if os.environ.get("GOPARKDEBUG") != "check=2":  # the settings are read once in a process
        os.environ.update(GOPARKDEBUG="check=2", GOMAXPROCS="2")
        os.execv(sys.executable, [sys.executable, "-m", "tests.mutants.run", *sys.argv[1:]])
    record = load_record()
    killers: Counter[str] = Counter()

    def done(mutant, killer, words, seconds):
        name = mutant.name if mutant is not None else "(the runtime itself)"
        killers[killer or "nobody"] += 1
        print(f"{seconds:6.1f} s  {killer or 'SURVIVED':8}  {name}  [{words}]", flush=True)
        if mutant is not None:
            record[name] = {
                "operator": mutant.operator,
                "killer": killer,
                "words": re.sub(r"/\S*/(?=tests/|src/)", "", words),  # wherever this checkout lies
                "of": fingerprint(mutant),
            }
            save_record(record)

    todo: list[Mutant | None] = [None]
    if not arguments.control:
        todo = [
            m
            for operator in arguments.operators.split(",")
            for m in mutants(FILES, [operator])
            if re.search(arguments.only or "", m.name)
            and (arguments.again or not settled(m, record, arguments.survivors))
        ]
    print(f"{len(todo)} mutants", flush=True)
    run(todo, arguments.jobs, arguments.tests_first, done)
    print(dict(killers))
    return 0


if __name__ == "__main__":
    sys.exit(main())
