"""The examples, run as a user runs them; wc is held against coreutils' own and against its rule."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import random
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
MIB = 1 << 20

PRINTING = re.compile(rb"[!-~]")


def words_of(data: bytes) -> int:
    """The rule of GNU wc 9.1 in the C locale: a run without white space is a word if it holds a printing byte."""
    return sum(1 for run in data.split() if PRINTING.search(run))


def run_example(name: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs `gopark run examples/name arguments`, from the repository's root, with the gopark that is under test."""
    spec = importlib.util.find_spec("gopark")
    assert spec is not None
    assert spec.origin is not None
    paths = [str(Path(spec.origin).parent.parent), os.environ.get("PYTHONPATH", "")]
    return subprocess.run(
        [sys.executable, "-m", "gopark", "run", EXAMPLES / name, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), **environment},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def coreutils(*files: object, locale: str = "C") -> subprocess.CompletedProcess[str]:
    """Runs `wc -lwc files`."""
    return subprocess.run(
        ["wc", "-lwc", *map(str, files)],
        cwd=ROOT,
        env={**os.environ, "LC_ALL": locale},
        capture_output=True,
        text=True,
        check=False,
    )


def text_of(size: int) -> bytes:
    """Words of random lengths, a tenth of them at the end of a line."""
    generator = np.random.default_rng(7)
    text = generator.integers(ord("a"), ord("z") + 1, size, np.uint8)
    ends = np.cumsum(generator.integers(1, 12, size))
    ends = ends[ends < size]
    text[ends] = generator.choice(np.frombuffer(b"      \t\r\v\n", np.uint8), len(ends))
    return text.tobytes()


@pytest.mark.parametrize("n", [0, 1, 1000])
def test_squares_prints_their_sum(n: int) -> None:
    done = run_example("squares.py", n)
    assert (done.returncode, done.stdout) == (0, f"{sum(i * i for i in range(n))}\n"), done.stderr


@pytest.mark.parametrize("example", ["squares.py", "sieve.py"])
def test_example_runs_under_plain_python_as_well(example: str) -> None:
    """Their `__main__` blocks do what `gopark run` does with the numbers that are the defaults."""
    run = run_example(example)
    spec = importlib.util.find_spec("gopark")
    assert spec is not None
    assert spec.origin is not None
    plain = subprocess.run(
        [sys.executable, EXAMPLES / example],
        env={**os.environ, "PYTHONPATH": str(Path(spec.origin).parent.parent)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert (plain.returncode, run.returncode) == (0, 0), plain.stderr + run.stderr
    assert plain.stdout == run.stdout
    assert plain.stdout


@pytest.mark.parametrize("n", [1, 100])
def test_sieve_prints_the_first_primes(n: int) -> None:
    primes: list[int] = []
    candidate = 2
    while len(primes) < n:
        if all(candidate % prime for prime in primes):
            primes.append(candidate)
        candidate += 1
    done = run_example("sieve.py", n)
    expected = [*map(str, primes), f"{n} primes, the last is {primes[-1]}"]
    assert (done.returncode, done.stdout.splitlines()) == (0, expected), done.stderr


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_wc_of_the_repository_equals_coreutils(locale: str) -> None:
    known = subprocess.run(["locale", "-a"], capture_output=True, text=True, check=True).stdout.lower().split()
    if locale.lower() not in known and "c.utf8" not in known:
        pytest.skip(f"this machine has no locale {locale}")
    files = sorted(path for folder in ("src", "examples", "tests", "bench") for path in (ROOT / folder).rglob("*.py"))
    assert len(files) > 10
    theirs = coreutils(*files, locale=locale)
    done = run_example("wc.py", *files, LC_ALL=locale)
    assert (done.returncode, done.stdout) == (0, theirs.stdout), done.stderr


def test_wc_in_a_utf8_locale_counts_words_outside_ascii(tmp_path: Path) -> None:
    file = tmp_path / "text"
    file.write_text("naïve ≥ 日本 語\n— end\n" * 1000)
    done = run_example("wc.py", file, LC_ALL="C.UTF-8")
    assert done.stdout.split() == ["2000", "6000", str(file.stat().st_size), str(file)], done.stderr
    # In the C locale the words without an ASCII letter are none.
    done = run_example("wc.py", file, LC_ALL="C")
    assert done.stdout.split() == ["2000", "2000", str(file.stat().st_size), str(file)], done.stderr


def nasty_inputs() -> dict[str, bytes]:
    """Inputs of several chunks that try the borders and the rule for control bytes."""
    generator = np.random.default_rng(3)
    return {
        "random": generator.integers(0, 256, 5 * MIB, np.uint8).tobytes(),
        "one_word": b"x" * (5 * MIB),
        "long_words": b" ".join(b"w" * int(size) for size in generator.integers(1, 900_000, 12)),
        "zeros": bytes(5 * MIB),
        "word_around_zeros": b"a" + bytes(5 * MIB - 1) + b"b c",
        "zeros_after_space": b"a " + bytes(5 * MIB) + b"b",
        "spaces_and_controls": generator.choice(np.frombuffer(b" \0\1\x7f\n", np.uint8), 5 * MIB).tobytes(),
        "border_between_words": b"a" * (2 * MIB - 1) + b" " + b"b" * (2 * MIB) + b" c",
        "text": text_of(5 * MIB),
    }


@pytest.mark.parametrize("name", list(nasty_inputs()))
def test_wc_equals_its_rule_and_coreutils(name: str, tmp_path: Path) -> None:
    data = nasty_inputs()[name]
    file = tmp_path / name
    file.write_bytes(data)
    done = run_example("wc.py", file, LC_ALL="C")
    expected = [data.count(b"\n"), words_of(data), len(data)]
    assert done.returncode == 0, done.stderr
    assert list(map(int, done.stdout.split()[:3])) == expected
    if wc_wants_printing_bytes(tmp_path):
        assert done.stdout == coreutils(file).stdout


def wc_wants_printing_bytes(place: Path) -> bool:
    """Whether this machine's wc finds no word in a lone control byte: the rule that the example follows."""
    file = place / "control"
    file.write_bytes(b"\1\n")
    return coreutils(file).stdout.split()[1] == "0"


@pytest.mark.slow
def test_wc_of_200_megabytes_equals_coreutils(tmp_path: Path) -> None:
    file = tmp_path / "large"
    # The block's length divides no chunk's, so that borders fall everywhere.
    block = text_of(2_000_003)
    with file.open("wb") as out:
        for _ in range(100):
            out.write(block)
    theirs = coreutils(file).stdout
    done = run_example("wc.py", file, LC_ALL="C")
    assert (done.returncode, done.stdout) == (0, theirs), done.stderr


def test_wc_goes_on_after_a_file_it_cannot_read(tmp_path: Path) -> None:
    good, empty, missing = tmp_path / "good", tmp_path / "empty", tmp_path / "missing"
    good.write_bytes(b"one two\nthree")
    empty.touch()
    files = [good, missing, empty, tmp_path]
    theirs = coreutils(*files)
    done = run_example("wc.py", *files, LC_ALL="C")
    assert done.returncode == theirs.returncode == 1
    assert done.stdout == theirs.stdout
    assert done.stderr.splitlines() == [
        f"wc.py: {missing}: No such file or directory",
        f"wc.py: {tmp_path}: Is a directory",
    ]


def test_wc_of_only_an_empty_file(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    done = run_example("wc.py", empty)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"0 0 0 {empty}\n", "")


def test_wc_reads_what_cannot_be_mapped() -> None:
    """Files below /proc have no size, and cannot be mapped."""
    done = run_example("wc.py", "/proc/filesystems", LC_ALL="C")
    assert (done.returncode, done.stdout) == (0, coreutils("/proc/filesystems").stdout), done.stderr


def test_wc_without_files_says_how_to_use_it() -> None:
    done = run_example("wc.py")
    assert done.returncode != 0
    assert done.stdout == ""
    assert "usage: gopark run examples/wc.py FILE..." in done.stderr


# ---- the Mandelbrot set


def shades(width: int, height: int, limit: int) -> np.ndarray:
    """The same picture from the definition, in NumPy."""
    scale = 3.0 / width
    x = (np.arange(width) - 0.5 * (width - 1)) * scale - 0.75
    y = (np.arange(height) - 0.5 * (height - 1)) * scale
    c = x[np.newaxis, :] + 1j * y[:, np.newaxis]
    z = np.zeros_like(c)
    grey = np.zeros(c.shape)
    left = np.zeros(c.shape, bool)
    for step in range(limit):
        size = np.where(left, 1.0, z.real**2 + z.imag**2)
        leaves = ~left & (size > 256)
        smooth = step + 1 - np.log2(0.5 * np.log(np.where(leaves, size, 300.0)))
        grey = np.where(leaves, 255 * (1 - np.sqrt(np.sqrt(np.maximum(smooth, 0) / limit))), grey)
        left |= leaves
        z = np.where(left, 0, z * z + c)
    return grey


def test_mandelbrot_paints_the_set(tmp_path: Path) -> None:
    picture = tmp_path / "set.png"
    done = run_example("mandelbrot.py", picture, 90, 60, 80)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(rf"{re.escape(str(picture))}: 90 x 60, \d+ goroutines\n", done.stdout)
    with Image.open(picture) as image:
        assert (image.format, image.mode, image.size) == ("PNG", "L", (90, 60))
        painted = np.asarray(image).astype(int)
    wanted = shades(90, 60, 80)
    assert np.abs(painted - wanted).max() <= 1, "rounding may differ, nothing else"
    assert np.array_equal(painted, painted[::-1]), "the set is its own mirror image"
    assert painted[30, 50] == 0
    assert painted[0, 0] > 100


@pytest.mark.parametrize("arguments", [("x.png", 0), ("x.png", -1, 5), ("x.png", "wide")])
def test_mandelbrot_says_how_it_is_used(arguments: tuple, tmp_path: Path) -> None:
    done = run_example("mandelbrot.py", *arguments)
    assert done.returncode == 1
    assert done.stderr == (
        "usage: gopark run examples/mandelbrot.py FILE.png [WIDTH HEIGHT [STEPS]], numbers above 0\n"
    )


def test_mandelbrot_into_a_folder_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "none" / "x.png"
    done = run_example("mandelbrot.py", path, 30, 20, 10)
    assert (done.returncode, done.stderr) == (1, f"mandelbrot.py: {path}: No such file or directory\n")


# ---- the pipeline


def lines_of(data: bytes) -> str:
    lines = data.split(b"\n")
    if not lines[-1]:
        lines.pop()
    longest = max(map(len, lines), default=0)
    return f"{len(lines)} lines, {len(set(lines))} different, the longest has {longest} bytes\n"


def many_lines() -> bytes:
    """Sixty thousand lines of which a third are different, some longer than a block of the example."""
    generator = np.random.default_rng(3)
    lines = [b"%d" % n * (1 + n % 7) for n in generator.integers(0, 30_000, 60_000)]
    lines[100] = b"x" * 200_000
    return b"\n".join(lines)


@pytest.mark.parametrize(
    "data",
    [b"", b"\n", b"one", b"one\n", b"a\n\na\nb", b"\n\n\n", b"x" * 70_000 + b"\n" + b"x" * 70_000, many_lines()],
    ids=["empty", "newline", "open", "line", "four", "newlines", "long", "many"],
)
def test_distinct_counts_lines(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes(data)
    done = run_example("distinct.py", path, GOMAXPROCS="2")
    assert (done.returncode, done.stdout) == (0, lines_of(data)), done.stderr


def test_distinct_with_wrong_input(tmp_path: Path) -> None:
    done = run_example("distinct.py", tmp_path / "none")
    assert (done.returncode, done.stderr) == (1, f"distinct.py: {tmp_path / 'none'}: No such file or directory\n")
    done = run_example("distinct.py")
    assert (done.returncode, done.stderr) == (1, "usage: gopark run examples/distinct.py FILE\n")


# ---- words


def most_frequent(data: bytes, most: int) -> str:
    ranked = sorted(Counter(data.split()).items(), key=lambda pair: (-pair[1], pair[0]))
    return "".join(f"{count:8} {word.decode(errors='replace')}\n" for word, count in ranked[:most])


@pytest.mark.parametrize("procs", ["1", "2", "4"])
def test_words_agrees_with_a_counter(tmp_path, procs):
    rng = random.Random(int(procs))
    vocabulary = [bytes(rng.choices(b"abcdefgh\xc3\xa9-.", k=rng.randrange(1, 12))) for _ in range(3000)]
    texts = []
    for size in (0, 1, 1_000, 200_000):
        words = rng.choices(vocabulary, weights=range(1, 3001), k=size)
        texts.append(b"".join(word + rng.choice((b" ", b"\n", b"\t\t", b" \r\n", b"\x0b\x0c")) for word in words))
    texts.append(b"x" * (1 << 20))  # one word that is longer than a piece, and not ended
    for i, text in enumerate(texts):
        (tmp_path / f"{i}.txt").write_bytes(text)
    files = sorted(tmp_path.iterdir())
    done = run_example("words.py", 5000, *files, GOMAXPROCS=procs)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == most_frequent(b"\n".join(texts), 5000)


def test_words_of_nothing_and_of_a_missing_file(tmp_path):
    empty = tmp_path / "empty"
    empty.write_bytes(b"")
    assert run_example("words.py", empty).stdout == ""
    missing = run_example("words.py", tmp_path / "missing")
    assert missing.returncode == 1 and "missing: No such file or directory" in missing.stderr
    assert "usage:" in run_example("words.py").stderr


# ---- service


def test_service_shows_itself():
    done = run_example("service.py")
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line.split(None, 1) for line in done.stdout.splitlines()]
    assert lines == [
        ["10", "4"],
        ["1000", "168"],
        ["200000", "17984"],
        ["ten", "error: 'ten' is no number up to 100000000, and not 'stats'"],
        ["stats", "3 requests, 18156 primes"],
    ]


def test_service_with_many_clients():
    command = [sys.executable, "-m", "gopark", "run", EXAMPLES / "service.py", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        try:
            port = int(server.stdout.readline().rpartition(":")[2])
            # the primes below 1, 101, 201 ..., by a sieve
            limit = 20_000
            sieve = np.ones(limit, np.bool_)
            sieve[:2] = False
            for d in range(2, 142):
                sieve[d * d :: d] = False
            below = np.concatenate([[0], sieve.cumsum()])

            async def client(k: int) -> None:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                for n in range(k, limit, 2000):
                    writer.write(f"{n}\n".encode())
                    assert int(await reader.readline()) == below[n]
                writer.close()

            async def all_of_them() -> str:
                await asyncio.gather(*(client(k) for k in range(1, 2000, 100)))
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(b"stats\n")
                answer = (await reader.readline()).decode()
                writer.close()
                return answer

            assert asyncio.run(all_of_them()).startswith("200 requests, ")
        finally:
            server.send_signal(signal.SIGINT)
            server.communicate(timeout=60)
    assert server.returncode == 130


# ---- pool


def test_pool_agrees_with_numpy():
    done = run_example("pool.py", 300, 2)
    assert (done.returncode, done.stderr) == (0, "")
    assert "300 signals" in done.stdout and "the same as NumPy's" in done.stdout
    assert "usage:" in run_example("pool.py", "many").stderr
