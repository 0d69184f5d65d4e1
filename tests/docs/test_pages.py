"""Every program of the pages under docs/ runs, and prints what the page shows; every link leads somewhere."""

from __future__ import annotations

import re
import time

import pytest

import gopark as go
from tests.docs.pages import DOCS, programs_of, run_program

ELSEWHERE = {"mistakes.md"}  # half of its programs must not compile: tests/semantics/test_ten_mistakes.py
PAGES = sorted(path for path in DOCS.glob("*.md") if path.name not in ELSEWHERE)
PROGRAMS = [(page, program) for page in PAGES for program in programs_of(page.read_text())]


def as_shown(text: str, directory) -> str:
    """Output as a page has it: files by their names, and goroutines, which are numbered through the process, as N."""
    return re.sub(r"goroutine \d+", "goroutine N", text.replace(f"{directory}/", ""))


def wait_for_cancelled_runs() -> None:
    """Their goroutines may still be on their way out when the Future is cancelled."""
    deadline = time.monotonic() + 60
    while go.num_goroutine() and time.monotonic() < deadline:
        time.sleep(0.001)


@pytest.mark.parametrize(
    ("page", "program"), PROGRAMS, ids=[f"{page.name}:{program.line}" for page, program in PROGRAMS]
)
def test_a_program_prints_what_the_page_shows(page, program, tmp_path, monkeypatch, capfd, booted):
    monkeypatch.chdir(tmp_path)
    run_program(program.text, tmp_path)
    wait_for_cancelled_runs()
    assert as_shown(capfd.readouterr().out, tmp_path) == as_shown(program.output, tmp_path)
    assert program.output, "a program that prints nothing shows nothing"


@pytest.mark.parametrize("page", [*DOCS.glob("*.md"), DOCS.parent / "README.md"], ids=lambda page: page.name)
def test_links_of_a_page_lead_to_files(page):
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_what_programs_of_a_page_are():
    page = """
```python
import one
print(f(1))  # 1
```

```python
print(2)  # 2
```

Words.

```python
from two import three
print(3)  # not read
```

```text
3
```

```python
four()
```

```text
4
```

```sh
not a program
```
"""
    one, two = programs_of(page)
    assert (one.line, one.output) == (3, "1\n2\n")
    assert one.text == "import one\nprint(f(1))  # 1\n\n\nprint(2)  # 2\n"
    assert (two.line, two.output) == (14, "3\n4\n")
    assert two.text.endswith("\n\n\nfour()\n")


def test_figures_of_why_are_those_of_the_benchmarks():
    """Each row has what the first two tables of bench.md, at GOMAXPROCS=1, say of gopark, Go and asyncio."""
    beside_go, rest = (DOCS / "bench.md").read_text().split("### Beside Python's own")
    beside_asyncio = rest.split("## GOMAXPROCS=2")[0]
    rows = re.findall(r"^\| (.+?) \| ([\d.,]+) \| ([\d.,]+) \| ([\d.,]+) \|$", (DOCS / "why.md").read_text(), re.M)
    assert len(rows) == 4
    for operation, ours, gos, asyncios in rows:
        row = rf"^\| {re.escape(operation)} \| ns \| "
        assert re.search(rf"{row}{re.escape(ours)} \(.*?\) \| Go {re.escape(gos)} \(", beside_go, re.M), operation
        assert re.search(rf"{row}{re.escape(asyncios)} \(", beside_asyncio, re.M), operation
