"""Verdicts, the page and the picture, from results made by hand."""

from __future__ import annotations

import math
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from json import dumps, loads

import pytest

from bench import plot, processes, report
from bench.results import Result, cell, figures, times

SVG = "{http://www.w3.org/2000/svg}"


def result(name="row", ours=20.0, go=80.0, **more):
    """A result of two rounds, whose best repetitions are `ours` and `go`, and these and a fifth more."""
    peers = {"Go": [[go, 2 * go], [1.2 * go]]} if go else {}
    more = {"unit": "ns", "procs": 1, "reference": "Go", "checksum": 7} | more
    more["peers"] = peers | more.get("peers", {})
    return Result(name, f"title of {name}", gopark=[[ours], [3 * ours, 1.2 * ours]] if ours else [], **more)


def document(*results, notes=(), load=0.4):
    machine = {"cpu": "a processor", "cores": 2, "load": [load, 0.25, 0]}
    machine["processes"] = {"Go": "go1.27", "gopark": "gopark 1"}
    rows = [one.as_json() for one in results]
    return loads(dumps({"machine": machine, "options": {"rounds": "3"}, "notes": list(notes), "rows": rows}))


def test_figures_are_the_median_of_the_minima():
    assert figures([[5, 3], [], [9, 10], [4]]) == (4, 3, 9)
    assert figures([]) is None
    assert figures([[]]) is None


@pytest.mark.parametrize(
    ("bars", "met"),
    [
        ({}, None),
        ({"least_ratio": 4}, True),
        ({"least_ratio": 4.01}, False),
        ({"limit": 22.1}, True),
        ({"limit": 22}, False),
        ({"limit": 22.1, "least_ratio": 4}, True),
        ({"limit": 22, "least_ratio": 4}, False),
        ({"limit": 22.1, "least_ratio": 5}, False),
        ({"least_ratio": 4, "error": "it broke"}, False),
        ({"error": "it broke"}, None),
        ({"least_ratio": 4, "go": None}, None),
        ({"least_ratio": 4, "limit": 22.1, "go": None}, None),
        ({"least_ratio": 4, "limit": 22, "go": None}, False),
        ({"limit": 22, "ours": None}, None),
    ],
)
def test_verdicts(bars, met):
    """The medians are 22 and 88."""
    assert result(**bars).met is met


def test_what_is_written_is_read_again():
    before = result(peers={"asyncio": [[2e4]]}, least_ratio=3, limit=5, error="it broke")
    row = loads(dumps(before.as_json()))
    assert Result.from_json(row) == before
    assert row["ratios"] == {"Go": 4.0, "asyncio": 20000 / 22}


def test_numbers_in_cells():
    assert cell((1.234, 1, 2)) == "1.23 (1.00 - 2.00)"
    assert cell((12.34, 1, 20)) == "12.3 (1.0 - 20.0)"
    assert cell((1234.5, 999.6, 2000)) == "1,234 (1,000 - 2,000)"
    assert [times(ratio) for ratio in (None, 0.5, 12.34, 1234.5)] == ["", "0.50x", "12.3x", "1,234x"]


def test_page(tmp_path):
    rows = [
        result("fast", least_ratio=3, peers={"asyncio": [[2200.0]]}),
        result("slow", least_ratio=5),
        result("fast", procs=2),
        result("broken", ours=None, error="it\nbroke"),
        result("whole", unit="s", procs=None, limit=1, go=None),
    ]
    report.write(document(*rows, notes=["gevent is not installed: skipped."]), tmp_path)
    page = (tmp_path / "bench.md").read_text()
    assert "| cpu | a processor |" in page
    assert "| processes | go1.27, gopark 1 |" in page
    assert "| title of fast | ns | 22.0 (20.0 - 24.0) | Go 88.0 (80.0 - 96.0) | 4.00x | >= 3x | yes |" in page
    assert "| title of slow | ns | 22.0 (20.0 - 24.0) | Go 88.0 (80.0 - 96.0) | 4.00x | >= 5x | no |" in page
    assert "| title of fast | ns | 2,200 (2,200 - 2,200): 100x |" in page
    assert "| title of whole | s | 22.0 (20.0 - 24.0) |  |  | < 1 s | no |" in page
    assert "Bars met: 1 of 3. Not met: title of slow (GOMAXPROCS=1); title of whole." in page
    assert "- gevent is not installed: skipped." in page
    assert "- title of broken failed: it broke" in page
    headings = re.findall("^#+ .*", page, re.MULTILINE)
    assert headings == [
        "# Benchmarks",
        "## GOMAXPROCS=1",
        "### Beside Python's own",
        "## GOMAXPROCS=2",
        "## Commands and compilation",
        "## Left out",
    ]
    for block in page.split("\n\n"):
        columns = {line.count("|") for line in block.splitlines() if line.startswith("|")}
        assert len(columns) <= 1, block
    assert "](bench.svg)" in page and (tmp_path / "bench.svg").exists()


@pytest.mark.parametrize(("load", "warned"), [(0.4, False), (0.5, True)])
def test_page_of_a_busy_machine_says_so(tmp_path, load, warned):
    report.write(document(result("fast"), load=load), tmp_path)
    page = (tmp_path / "bench.md").read_text()
    assert ("**The machine was busy" in page) is warned
    assert "| rounds | 3 |" in page


def test_page_without_a_picture(tmp_path):
    report.write(document(result("whole", unit="s", procs=None, go=None)), tmp_path)
    assert "bench.svg" not in (tmp_path / "bench.md").read_text()
    assert not (tmp_path / "bench.svg").exists()


def test_picture():
    """Bars as long as the logarithms of their values, one colour a side, nothing beyond the edge."""
    values = {"gopark": 20.0, "Go": 200.0, "asyncio": 20_000.0}
    picture = ElementTree.fromstring(plot.svg([plot.Panel("Time <ns>", "ns", [plot.Group("a & b", values)])]))
    width, height = float(picture.attrib["width"]), float(picture.attrib["height"])
    bars = [bar for bar in picture.iter(f"{SVG}rect") if bar.find(f"{SVG}title") is not None]
    assert [bar.find(f"{SVG}title").text for bar in bars] == [
        "a & b, gopark: 20 ns",
        "a & b, Go: 200 ns",
        "a & b, asyncio: 20 µs",
    ]
    lengths = [float(bar.attrib["width"]) for bar in bars]
    decade = lengths[1] - lengths[0]
    assert decade > 0
    assert lengths[2] - lengths[1] == pytest.approx(2 * decade, abs=0.2)
    assert lengths[0] == pytest.approx(math.log10(2) * decade, abs=0.2)
    assert len({bar.attrib["fill"] for bar in bars}) == 3
    for element in picture.iter():
        if "x" in element.attrib:
            assert 0 <= float(element.attrib["x"]) <= width
            assert 0 <= float(element.attrib["y"]) <= height
    tops = sorted(float(bar.attrib["y"]) for bar in bars)
    assert all(below - above >= float(bars[0].attrib["height"]) for above, below in zip(tops, tops[1:], strict=False))


@pytest.mark.parametrize(
    ("value", "unit", "words"),
    [
        (1.5, "ns", "1.5 ns"),
        (999.4, "ns", "999 ns"),
        (999.9, "ns", "1 µs"),
        (8446, "ns", "8.45 µs"),
        (123_456_789, "ns", "123 ms"),
        (4096, "B", "4.1 kB"),
        (0.25, "s", "0.25 s"),
        (5000, "s", "5,000 s"),
    ],
)
def test_amounts(value, unit, words):
    assert plot.amount(value, unit) == words


def test_command(tmp_path):
    source = tmp_path / "bench.json"
    source.write_text(dumps(document(result("fast"))))
    command = [sys.executable, "-m", "bench.report", source, "--to", tmp_path]
    subprocess.run(command, check=True, cwd=processes.ROOT)
    assert "title of fast" in (tmp_path / "bench.md").read_text()
