"""The commands, as a shell sees them: exit status, standard output, standard error.

Wrong usage never starts the runtime, so it is tested in this process; what runs is run in processes of their own.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest

import gopark
from gopark import cli
from gopark.bridge import boot

ROOT = Path(__file__).resolve().parents[2]

PROGRAM = """
import sys

import helper
from numba import njit

import gopark as go


@go.struct
class Node:
    value: int
    next: "Node"


@njit
def inner(n):
    return n.nothing


@go.func
def main(n, *more):
    return helper.TEN * n


@go.func
def square(n):
    return n * n


@go.func
def silent(text):
    print(text)


@go.func
def fail(n):
    c = go.chan(int, 1)
    go.spawn(child, c, n)
    return c.recv()


@go.func
def child(c, n):
    c.send(10 // n)
    c.close()
    c.close()


@go.func
def asleep():
    c = go.chan(int)
    c.recv()


@go.func
def bad_add(n):
    x = n + "a"
    return x


@go.func
def bad_callee(n):
    return inner(n)


@go.func
def bad_send(n):
    c = go.chan(int, 1)
    c.send("x")


@go.func
def bad_list(n):
    return len([Node(n, None)])


@go.func
def bad_except(n):
    try:
        return 10 // n
    except ZeroDivisionError:
        return 0


@go.func
def bad_with(mu):
    with mu:
        return 1


@go.func
def bad_field(n):
    return Node(n, None).colour


@go.func
def for_ever():
    print("started")
    n = 0
    while True:
        n += 1
        go.gosched()


def threads():
    return go.gomaxprocs()


@go.nowritebarrierrec
@go.func
def pure(n):
    return link(n)  # pure


@go.func
def link(n):
    node = Node(n, None)  # link
    node.next = node
    return node.value


@go.func
def builds(n):
    return link(n)


def plain(*names):
    print(__name__ in sys.modules, sys.argv[1:], names)


def plain_runs(n):
    print("on standard output")
    return go.run(square, n)


def leaves(status):
    sys.exit(status)


def raises():
    helper.deeper()


answer = 42

if __name__ == "__main__":
    raise AssertionError("this part is for python prog.py")
"""

HELPER = """
TEN = 10


def deeper():
    raise LookupError("nothing here")
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("programs")
    (place / "helper.py").write_text(HELPER)
    file = place / "prog.py"
    file.write_text(PROGRAM)
    return file


def line_of(text: str) -> int:
    """The number of the only line of the program that holds `text`."""
    (number,) = [i for i, line in enumerate(PROGRAM.splitlines(), 1) if text in line]
    return number


def environment(**variables: str) -> dict[str, str]:
    paths = [str(Path(gopark.__file__).parent.parent), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), **variables}


def command(*arguments: object, cwd: Path | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs `gopark arguments`."""
    return subprocess.run(
        [sys.executable, "-m", "gopark", *map(str, arguments)],
        cwd=cwd,
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


# ---- run


def test_result_is_printed(program):
    done = command("run", program, 7)
    assert (done.returncode, done.stdout, done.stderr) == (0, "70\n", "")


def test_function_by_name_from_any_directory(program):
    done = command("run", f"{program.name}:square", "-3", cwd=program.parent)
    assert (done.returncode, done.stdout, done.stderr) == (0, "9\n", "")


def test_none_is_not_printed_and_text_is_no_literal(program):
    done = command("run", f"{program}:silent", "two words")
    assert (done.returncode, done.stdout, done.stderr) == (0, "two words\n", "")


def test_plain_function_gets_everything_behind_the_program(program):
    done = command("run", f"{program}:plain", "--json", "1", "[1, 'x']", "--", "a.txt", "-h")
    arguments = ["--json", "1", "[1, 'x']", "--", "a.txt", "-h"]
    literals = ("--json", 1, [1, "x"], "--", "a.txt", "-h")
    assert (done.returncode, done.stdout) == (0, f"True {arguments} {literals}\n"), done.stderr


def test_procs(program):
    done = command("run", "--procs", 3, f"{program}:threads")
    assert (done.returncode, done.stdout) == (0, "3\n"), done.stderr


def test_exit_status_of_the_program_passes_through(program):
    assert command("run", f"{program}:leaves", 7).returncode == 7


def test_exception_of_a_goroutine_shows_the_lines_of_the_program_only(program):
    done = command("run", f"{program}:fail", 0)
    assert done.returncode == 1
    assert f'File "{program}", line {line_of("c.send(10 // n)")}, in child' in done.stderr
    assert "ZeroDivisionError" in done.stderr
    assert f"started at {program}:{line_of('go.spawn(child, c, n)')}" in done.stderr
    files = set(re.findall(r'File "(.*?)"', done.stderr))
    assert files == {str(program)}


def test_exception_of_plain_python_shows_its_frames(program):
    done = command("run", f"{program}:raises")
    assert done.returncode == 1
    assert [Path(f).name for f in re.findall(r'File "(.*?)"', done.stderr)] == ["prog.py", "helper.py"]
    assert done.stderr.endswith("LookupError: nothing here\n")


def test_full_tracebacks_on_demand(program):
    done = command("run", f"{program}:raises", NUMBA_FULL_TRACEBACKS="1")
    assert "cli.py" in done.stderr


def test_deadlock(program):
    done = command("run", f"{program}:asleep")
    assert done.returncode == 1
    assert "DeadlockError: all goroutines are asleep" in done.stderr
    assert f"prog.py:{line_of('    c.recv()')}" in done.stderr
    assert "site-packages" not in done.stderr


def test_program_that_is_no_python(tmp_path):
    (tmp_path / "broken.py").write_text("def main(:\n")
    done = command("run", tmp_path / "broken.py")
    assert done.returncode == 1
    assert "SyntaxError" in done.stderr
    assert re.findall(r'File "(.*?)"', done.stderr) == [str(tmp_path / "broken.py")]


def test_interrupt(program):
    child = subprocess.Popen(
        [sys.executable, "-m", "gopark", "run", f"{program}:for_ever"],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert child.stdout.readline() == "started\n"
        time.sleep(0.2)
        child.send_signal(signal.SIGINT)
        _, errors = child.communicate(timeout=60)
    finally:
        child.kill()
    assert child.returncode == 130, errors
    assert errors == "gopark: interrupted\n"


# ---- run: what does not compile


@pytest.mark.parametrize(
    ("name", "where", "what"),
    [
        ("bad_add", 'n + "a"', "int + str is not supported in compiled code"),
        ("bad_send", 'c.send("x")', "cannot send str on chan(int)"),
        ("bad_list", "[Node(n, None)]", "a list of Node holds pointers"),
        ("bad_field", ".colour", "struct Node has no field 'colour'"),
        ("bad_except", "except ZeroDivisionError", "write `except Exception:`"),
    ],
)
def test_compile_error_in_terms_of_the_program(program, name, where, what, capsys, monkeypatch):
    assert in_process(monkeypatch, "run", f"{program}:{name}", "1") == 1
    printed = capsys.readouterr()
    first, source, *rest = printed.err.splitlines()
    assert first.startswith(f"{program}:{line_of(where)}: ")
    assert what in first
    assert where in source
    assert rest == ["(NUMBA_FULL_TRACEBACKS=1 shows all that Numba has to say about it)"]
    assert not re.search(r"may have been caused|During: |Failed in|site-packages|\x1b", printed.err)
    assert gopark.num_goroutine() == 0


def test_compile_error_in_a_callee_names_the_callers(program, capsys, monkeypatch):
    assert in_process(monkeypatch, "run", f"{program}:bad_callee", "1") == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == f"{program}:{line_of('n.nothing')}: Unknown attribute 'nothing' of type int"
    assert lines[2] == f"{program}:{line_of('return inner(n)')}: called from here"


def test_compile_error_of_an_argument(program, capsys, monkeypatch):
    assert in_process(monkeypatch, "run", f"{program}:square", "{1: 2}") == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == f"{program}:{line_of('def square')}: argument 1 is a dict, which compiled code cannot take"


def test_unsupported_statement(program, capsys, monkeypatch):
    assert in_process(monkeypatch, "run", f"{program}:bad_with", "1") == 1
    assert "`with` is not supported; write try/finally" in capsys.readouterr().err


def test_whole_report_of_numba_on_demand(program, capsys, monkeypatch):
    monkeypatch.setenv("NUMBA_FULL_TRACEBACKS", "1")
    assert in_process(monkeypatch, "run", f"{program}:bad_add", "1") == 1
    assert "candidate implementations" in capsys.readouterr().err


# ---- wrong usage


def in_process(monkeypatch, *arguments: object) -> int:
    """The exit status of `gopark arguments`, without a process of its own."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "argv", list(sys.argv))
    try:
        return cli.main([str(a) for a in arguments])
    except SystemExit as e:
        return e.code
    finally:
        for name in [n for n in sys.modules if n.startswith("gopark_program_") or n == "helper"]:
            del sys.modules[name]


def test_missing_file(tmp_path, capsys, monkeypatch):
    assert in_process(monkeypatch, "run", tmp_path / "nothing.py") == 2
    assert capsys.readouterr().err == f"gopark run: cannot read {tmp_path / 'nothing.py'}: No such file or directory\n"


def test_directory_for_a_file(tmp_path, capsys, monkeypatch):
    assert in_process(monkeypatch, "run", tmp_path) == 2
    assert "is a directory" in capsys.readouterr().err


def test_missing_function_names_those_that_are_there(program, capsys, monkeypatch):
    assert in_process(monkeypatch, "run", f"{program}:squared", "3") == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first == f"gopark run: {program} has no function squared"
    assert second.startswith("its go functions: main, square, silent, ")
    assert second.endswith(f"run one with {program}:main")


def test_name_of_something_else(program, capsys, monkeypatch):
    assert in_process(monkeypatch, "run", f"{program}:answer") == 2
    assert "answer in" in (text := capsys.readouterr().err)
    assert "is no function but a int" in text


def test_program_without_go_functions(tmp_path, capsys, monkeypatch):
    (tmp_path / "empty.py").write_text("")
    assert in_process(monkeypatch, "run", tmp_path / "empty.py") == 2
    assert "it has no go functions (decorate one with @go.func)" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [(), (1, 2)])
def test_wrong_number_of_arguments(program, arguments, capsys, monkeypatch):
    assert in_process(monkeypatch, "run", f"{program}:square", *arguments) == 2
    assert f"it takes square(n), and got {len(arguments)} argument(s)" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [(), ("explore",), ("run",), ("run", "--procs", "0", "x.py"), ("vet", "--fast")])
def test_wrong_commands(arguments, capsys, monkeypatch):
    assert in_process(monkeypatch, *arguments) == 2
    assert capsys.readouterr().err.startswith("usage: gopark")


# ---- vet


@pytest.fixture(scope="module")
def runtime_verdict() -> dict:
    started = time.process_time()
    done = command("vet", "--json")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    return {"seconds": time.process_time() - started, **json.loads(done.stdout)}


def test_runtime_keeps_the_rule(runtime_verdict):
    assert runtime_verdict["ok"]
    assert runtime_verdict["violations"] == []
    assert runtime_verdict["trusted"] == []
    assert runtime_verdict["checked"] > 150


@pytest.mark.parametrize("name", ["runqput", "ready", "execute", "chansend", "selectgo"])
def test_code_under_a_p_stores_plainly(runtime_verdict, name):
    """A runtime that used setters everywhere would keep the rule and prove nothing."""
    function = runtime_verdict["functions"]["go." + name]
    assert function["plain_stores_with_p"]
    assert function["entered"] == ["P"]
    assert not function["setters"]
    assert not function["plain_stores_without_p"]


def test_setters_only_where_there_may_be_no_p(runtime_verdict):
    with_setters = {name for name, function in runtime_verdict["functions"].items() if function["setters"]}
    assert with_setters
    assert with_setters - set(runtime_verdict["no_p"]) == {"go.startlockedm"}, "which gives its own P away before"
    assert {reason["registry"] for reason in runtime_verdict["reasons"]} >= {"allgs", "allm", "allp"}


def test_vet_leaves_no_trace_in_the_cache(tmp_path):
    """It lowers, and builds nothing."""
    done = command("vet", GOPARK_CACHE_DIR=str(tmp_path / "cache"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "gopark vet: the runtime: ok"
    assert not (tmp_path / "cache").exists()


def test_vet_of_a_program(program):
    for _ in range(2):  # compiled, and from the cache
        done = command("vet", "--json", f"{program}:builds", 3)
        verdict = json.loads(done.stdout)
        assert (done.returncode, verdict["ok"]) == (0, True), done.stdout[-2000:] + done.stderr
        assert [name.partition(":")[0].rpartition(".")[2] for name in verdict["program"]] == ["builds", "link"]
        stores = verdict["files"][str(program)]
        assert (stores["stores_with_p"], stores["stores_without_p"], stores["allocs"]) == (2, 0, 1)
        assert not verdict["unreached"] or all(name.startswith("go.") for name in verdict["unreached"])


def test_vet_shows_the_chain_to_a_forbidden_store(program):
    done = command("vet", "--json", f"{program}:pure", 3)
    verdict = json.loads(done.stdout)
    assert done.returncode == 1
    in_link = [v for v in verdict["violations"] if "prog.link:" in v["function"]]
    assert [v["kind"] for v in in_link] == ["pragma"]
    lines = [line for _, line, _ in in_link[0]["chain"]]
    assert lines[1:] == [line_of("return link(n)  # pure"), line_of("node = Node(n, None)  # link")]


def test_vet_runs_a_plain_function_and_keeps_its_output_apart(program):
    done = command("vet", "--json", f"{program}:plain_runs", 3)
    assert done.returncode == 0, done.stderr
    assert [name.partition(":")[0] for name in json.loads(done.stdout)["program"]] == ["gopark_program_prog.square"]
    assert "on standard output" in done.stderr


def test_vet_of_a_program_that_does_not_compile(program):
    done = command("vet", f"{program}:bad_add", 1)
    assert done.returncode == 1
    assert "int + str is not supported" in done.stderr


# ---- env


def test_env_says_what_matters_and_starts_nothing(tmp_path):
    done = command("env", GOPARK_CACHE_DIR=str(tmp_path / "cache"), GOMAXPROCS="3", GOPARK_STACK="131072")
    assert (done.returncode, done.stderr) == (0, "")
    for pattern in (
        rf"version +{re.escape(gopark.__version__)}\n",
        r"runs here +yes\n",
        r"numba +0\.\d+",
        r"llvm +\d+",
        r"cores +\d+ usable of \d+",
        r"stack guards +a (page|mapping) each",
        r"GOMAXPROCS +3\n",
        r"GOPARK_STACK +131072 \(128\.0 KiB",
        r"files +none; the first run builds the runtime\n",
    ):
        assert re.search(pattern, done.stdout), pattern
    assert not (tmp_path / "cache").exists()


def test_env_counts_and_empties_the_cache(tmp_path):
    """By kind, and with what a killed process left; what gopark has not made stays."""
    place = tmp_path / "cache"
    sizes = {"image": [1 << 20, 1 << 20], "func": [2048], "main": [100]}
    place.mkdir(mode=0o700)
    for kind, each in sizes.items():
        (place / kind).mkdir()
        for i, count in enumerate(each):
            (place / kind / f"{i:040x}").write_bytes(bytes(count))
    (place / "func" / ".new-abc").write_bytes(bytes(3072))
    theirs = place / "func" / "notes.txt", place / "photos" / ("0" * 40), place / "0.txt"
    for path in theirs:
        path.parent.mkdir(exist_ok=True)
        path.write_text("not gopark's")
    shown = command("env", GOPARK_CACHE_DIR=str(place))
    for pattern in (
        r"runtime +2 files, 2\.0 MiB: ",
        r"functions +1 file, 2\.0 KiB: ",
        r"wrappers +1 file, 100 B: ",
        r"left over +1 file, 3\.0 KiB: of processes that were killed",
        r"in all +2\.0 MiB; gopark env --clean removes it\n",
        r"runtime image +not built yet; the first run does it",
    ):
        assert re.search(pattern, shown.stdout), (pattern, shown.stdout)
    cleaned = command("env", "--clean", GOPARK_CACHE_DIR=str(place))
    said = f"removed 5 files, 2.0 MiB, from {place}; the next run builds the runtime again\n"
    assert (cleaned.returncode, cleaned.stdout, cleaned.stderr) == (0, said, "")
    assert sorted(p for p in place.rglob("*") if p.is_file()) == sorted(theirs)
    again = command("env", "--clean", GOPARK_CACHE_DIR=str(place))
    assert (again.returncode, again.stdout) == (0, f"the cache {place} is empty\n")


def test_env_cleans_no_cache_that_is_not_there(tmp_path):
    done = command("env", "--clean", GOPARK_CACHE_DIR=str(tmp_path / "none"))
    assert (done.returncode, done.stdout) == (0, f"there is no cache at {tmp_path / 'none'}\n")
    assert not (tmp_path / "none").exists()


def test_env_does_not_touch_a_cache_that_others_can_write_to(tmp_path):
    place = tmp_path / "cache"
    (place / "func").mkdir(parents=True)
    (place / "func" / ("0" * 40)).write_bytes(b"entry")
    place.chmod(0o777)
    done = command("env", "--clean", GOPARK_CACHE_DIR=str(place))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"gopark env: the cache directory {place} is writable by others")
    assert (place / "func" / ("0" * 40)).exists()


def test_env_reports_a_bad_setting():
    done = command("env", GOMAXPROCS="many")
    assert done.returncode == 0
    assert "GOMAXPROCS='many': an integer is wanted" in done.stdout


def test_no_progress_bar_where_there_is_no_terminal(capsys):
    state = types.SimpleNamespace(built=False)
    with boot._Progress(state) as progress:
        for done in range(3):
            progress("unit", done, 2)
    assert state.built
    assert capsys.readouterr() == ("", "")
