"""print in go functions shows what Python's print shows of the same values, and refuses the rest at compile time.

Each program is run twice: as go functions, and as plain Python functions. The two outputs are compared byte for byte.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

PLAIN = """
class go:
    func = staticmethod(lambda f: f)
    run = staticmethod(lambda f, *args: f(*args))
"""


def _execute(path: Path, source: str, **options) -> subprocess.CompletedProcess:
    path.write_text(source)
    environment = {**os.environ, "PYTHONUTF8": "1"}
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": environment, "timeout": 300, **options}
    return subprocess.run([sys.executable, str(path)], check=False, **options)


def compiled(tmp_path: Path, source: str, **options) -> subprocess.CompletedProcess:
    return _execute(tmp_path / "compiled.py", "import gopark as go\n" + textwrap.dedent(source), **options)


def assert_prints_like_python(tmp_path: Path, source: str):
    ours = compiled(tmp_path, source)
    assert ours.returncode == 0, ours.stderr.decode()
    pythons = _execute(tmp_path / "plain.py", PLAIN + textwrap.dedent(source))
    assert pythons.returncode == 0, pythons.stderr.decode()
    assert pythons.stdout
    assert ours.stdout.decode() == pythons.stdout.decode()


def test_numbers(tmp_path):
    assert_prints_like_python(
        tmp_path,
        """
        import numpy as np

        @go.func
        def main(i, x, z, yes, u, narrow, single):
            print()
            print(i)
            print(-i, x, z, yes, not yes, u, narrow, single)
            print(x, -x, 0.0, x * 1e300, x / 1e300, x * 1e16, i * 2**30)
            print(z, z * 1j, z - z, 1.5, 7, True, None)
            for k in range(5):
                print("item", k, k * 0.1, k > 2)

        go.run(main, 123456789, 0.1, 1.5 - 2j, True, np.uint64(2**64 - 1), np.int8(-128), np.float32(0.1))
        """,
    )


def test_strings(tmp_path):
    assert_prints_like_python(
        tmp_path,
        """
        @go.func
        def main(ascii, latin, wide, long):
            print("a literal, with é, € and \\U0001f600")
            print(ascii, latin, wide)
            print("", ascii, "", latin + wide)
            print(len(long), long, "the end")
            print((ascii, latin, wide, "lit'eral"), ("quo'te",), 'both \\' and "')
            print((long, 1))

        go.run(main, "plain text", "naïve", "€uro \\U0001f600 \\u200b", "0123456789" * 300)
        """,
    )


def test_tuples_and_none(tmp_path):
    assert_prints_like_python(
        tmp_path,
        """
        from collections import namedtuple

        Point = namedtuple("Point", "x y")

        @go.func
        def main(i, s):
            print((), (i,), (i, i), (i, (0.5, (True, None)), s))
            print(None, (None,))
            print(Point(i, (1.0, s)), (Point(1, 2),))
            t = (i, s, 2.5)
            print(*t)
            print("first", *t)

        go.run(main, 3, "a\\nb")
        """,
    )


def test_optional(tmp_path):
    assert_prints_like_python(
        tmp_path,
        """
        @go.func
        def positive(i):
            if i > 0:
                return i
            return None

        @go.func
        def name(i):
            if i > 0:
                return "n" * i
            return None

        @go.func
        def main():
            for i in range(-1, 2):
                print(positive(i), name(i), (positive(i), name(i)), name(1000 * i))

        go.run(main)
        """,
    )


def test_many_arguments_need_a_buffer_from_the_heap(tmp_path):
    columns = ", ".join(f"x * {k}.0e-{k}" for k in range(60))
    assert_prints_like_python(
        tmp_path,
        f"""
        @go.func
        def main(x):
            for i in range(3):
                print({columns}, i)

        go.run(main, 1.0 / 3.0)
        """,
    )


def test_one_write_for_each_call(tmp_path):
    """A datagram socket as standard output keeps the limits of each write."""
    import socket

    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        result = compiled(
            tmp_path,
            """
            @go.func
            def main(s):
                for i in range(3):
                    print("line", i, s, (s, 0.5))

            go.run(main, "€" * 100)
            """,
            stdout=theirs,
        )
        assert result.returncode == 0, result.stderr.decode()
        ours.setblocking(False)
        for i in range(3):
            s = "€" * 100
            assert ours.recv(1 << 16).decode() == f"line {i} {s} {(s, 0.5)}\n"
        with pytest.raises(BlockingIOError):
            ours.recv(1)


def test_a_reader_that_has_gone_is_an_error(tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    try:
        result = compiled(
            tmp_path,
            """
            @go.func
            def main(i):
                print(i)

            try:
                go.run(main, 1)
            except BrokenPipeError as e:
                import sys
                sys.exit(str(e))
            """,
            stdout=writing,
        )
    finally:
        os.close(writing)
    assert b"nobody reads standard output" in result.stderr
    assert result.returncode == 1


@pytest.mark.parametrize(
    ("argument", "says"),
    [
        ("np.zeros(3)", "argument 2 is of type array(float64, 1d, C)"),
        ("[1, 2]", "argument 2 is of type list(int)"),
        ("(1, [1])", "inside"),
        ("{1: 2}", "argument 2 is of type"),
        ("range(3)", "argument 2 is of type range_state_int64"),
    ],
)
def test_other_types_are_refused_by_name(tmp_path, argument, says):
    result = compiled(
        tmp_path,
        f"""
        import numpy as np

        @go.func
        def main(i):
            print(i, {argument})

        go.run(main, 1)
        """,
    )
    message = " ".join(result.stderr.decode().split())
    assert result.returncode == 1
    assert says in message
    assert "which go functions cannot print" in message


def test_keywords_are_refused(tmp_path):
    result = compiled(
        tmp_path,
        """
        @go.func
        def main(i):
            print(i, end="")

        go.run(main, 1)
        """,
    )
    assert result.returncode == 1
    assert "print takes no keyword arguments in compiled code" in result.stderr.decode()
