"""docs/mistakes.md: every message on it is what `go.run` raises, word for word, and every right program runs."""

from __future__ import annotations

import re
from pathlib import Path

import numba
import pytest

import gopark as go
from tests.docs.pages import DOCS, run_program

PAGE = (DOCS / "mistakes.md").read_text()

SECTIONS = re.findall(
    r"^## (\d+\. .*?)\n.*?```python\n(.*?)```\n\n```text\n(.*?)```\n\n```python\n(.*?)```\n",
    PAGE,
    re.DOTALL | re.MULTILINE,
)
TITLES = [title for title, *_ in SECTIONS]

COMPILE_ERRORS = (numba.core.errors.NumbaError, numba.core.errors.UnsupportedBytecodeError)


def refused(text: str, directory: Path) -> Exception:
    with pytest.raises(COMPILE_ERRORS) as caught:
        run_program(text, directory)
    return caught.value


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # files are shown relative to the current directory
    monkeypatch.delenv("NUMBA_FULL_TRACEBACKS", raising=False)


def test_there_are_ten():
    assert [title.partition(".")[0] for title in TITLES] == [str(i) for i in range(1, 11)]


@pytest.mark.parametrize(("title", "wrong", "message", "right"), SECTIONS, ids=TITLES)
def test_message_and_right_program(title, wrong, message, right, tmp_path, capsys):
    error = refused(wrong, tmp_path)
    assert f"{error}\n" == message
    assert error.__notes__ == ["(NUMBA_FULL_TRACEBACKS=1 shows all that Numba has to say about it)"]
    assert error.__cause__ is None
    assert error.__context__ is None
    assert "numba" not in {Path(entry.path).parent.parent.name for entry in frames(error)}
    (tmp_path / "right").mkdir()
    run_program(right, tmp_path / "right")
    assert capsys.readouterr().out.strip() == right.rpartition("# ")[2].strip()


def frames(error):
    return pytest.ExceptionInfo.from_exception(error).traceback


@pytest.mark.parametrize(("title", "wrong", "message", "right"), SECTIONS[:3], ids=TITLES[:3])
def test_numbas_own_words_on_demand(title, wrong, message, right, tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_FULL_TRACEBACKS", "1")
    error = refused(wrong, tmp_path)
    assert "Failed in gopark mode pipeline" in str(error)
    assert "During: Pass" in str(error)
    assert not getattr(error, "__notes__", ())


def test_a_typing_error_is_caught_as_one(tmp_path):
    assert isinstance(refused(SECTIONS[7][1], tmp_path), numba.TypingError)


# ---- one line each

BEFORE = """
import time
import gopark as go

ITEMS = [1, 2]
TABLE = {"a": 1}

@go.struct
class Job:
    number: int

@go.func
def two(a, b):
    return a + b

@go.func
def main(n):
    jobs = go.chan(int, 1)
"""

OTHERS = [
    ("return jobz.recv()", "name 'jobz' is not defined; did you mean 'jobs'?"),
    ("go.Spawn(two, n, n)", "module 'gopark' has no attribute 'Spawn'; did you mean 'spawn'?"),
    ("jobs.put(n)", "chan(int) has no 'put' (there are send, recv, recv_ok, try_send, try_recv, close, cap); "
        "did you mean 'send'?"),
    ("return Job(n).numbre", "struct Job has no field 'numbre' (fields: number); did you mean 'number'?"),
    ("Job(n).number = 'x'", "main: cannot store str in Job.number, which is int"),
    ("jobs = go.chan(5, int)", "go.chan(type, capacity): int names no element type; the type comes first, then the "
        "capacity"),
    ("ITEMS.append(n)", "'ITEMS' is a list at the level of the module, which compiled code cannot use; make it a tuple "
        "if it never changes, else pass a go.List or a NumPy array as an argument"),
    ("return TABLE['a']", "'TABLE' is a Python dict, which compiled code cannot use; make it a tuple, a number, a str "
        "or a NumPy array, which are constants in compiled code, or pass what is needed as an argument"),
    ("return two(n)", "the arguments do not fit the parameters (a, b): missing a required argument: 'b'"),
    ("print(f'{n:5d}')", "an f-string with a format, as {x:.2f}, is not supported in compiled code; write {x}, or "
        "return the number and format it in Python"),
    ("print(n, end='')", "print takes no keyword arguments in compiled code; leave out sep, end, file and flush"),
    ("time.sleep(1)", "time.sleep is not supported in compiled code: there are no timers yet; wait for another "
        "goroutine on a channel, or sleep in Python"),
    ("yield from range(n)", "`yield from` and `await` are not supported in compiled code; start a goroutine and read "
        "from its channel"),
    ("import math", "`import` inside of a compiled function is not supported; import at the top of the file"),
]  # fmt: skip


@pytest.mark.parametrize(("statement", "message"), OTHERS, ids=[statement for statement, _ in OTHERS])
def test_others(statement, message, tmp_path):
    program = f"{BEFORE}    {statement}\n\ngo.run(main, 3)\n"
    line = program[: program.index(statement)].count("\n") + 1
    first, source = str(refused(program, tmp_path)).splitlines()
    assert first == f"prog.py:{line}: {message}"
    assert source.strip() == statement
    assert f"| `{statement}` | {message} |" in PAGE


def test_several_types_of_results(tmp_path):
    program = f"{BEFORE}    if n:\n        return 1\n    return 'x'\n\ngo.run(main, 3)\n"
    last = program[: program.index("return 'x'")].count("\n") + 1
    assert str(refused(program, tmp_path)).splitlines() == [
        f"prog.py:{last}: the function returns int in line {last - 1} and str in line {last}; "
        f"all its results have one type",
        "    return 'x'",
    ]


def test_async_function_is_refused_when_it_is_decorated():
    with pytest.raises(TypeError, match="is an `async def`; write `def`"):

        @go.func
        async def waits():
            return 1
