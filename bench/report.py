"""Writes docs/bench.md and its picture from the JSON of a benchmark: `python -m bench.report bench.json [--to DIR]`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from bench.plot import Group, Panel, svg
from bench.processes import ROOT
from bench.results import Result, cell, figures, times
from bench.rows import PYTHON_PEERS

PANELS = {"ns": "Time of an operation", "B": "Resident memory of a parked goroutine"}

INTRODUCTION = """\
# Benchmarks

`python -m bench.report` wrote this page from what `python -m bench --json` had measured; bench/README.md describes the
method. A figure is the median over the rounds of each process's best repetition, with the least and the greatest in
brackets. A ratio says how many times faster, or smaller, gopark is than the peer.
"""

PYTHON_INTRODUCTION = """\
The same programs in Python, as near as they come; with smaller sizes, and each in one thread. The ratio is to gopark at
{procs}.
"""


def main() -> int:
    """Reads a benchmark's JSON, and writes bench.md and bench.svg."""
    parser = argparse.ArgumentParser(prog="python -m bench.report", description=main.__doc__)
    parser.add_argument("json", type=Path, help="what `python -m bench --json` wrote")
    parser.add_argument("--to", type=Path, default=ROOT / "docs", metavar="DIR", help="where to write (default: docs)")
    options = parser.parse_args()
    write(json.loads(options.json.read_text()), options.to)
    return 0


def write(document: dict, place: Path) -> None:
    """Writes bench.md, and bench.svg if there is something to draw, into that directory, which is made if need be."""
    place.mkdir(parents=True, exist_ok=True)
    results = [Result.from_json(row) for row in document["rows"]]
    picture = draw(results)
    if picture:
        (place / "bench.svg").write_text(picture)
    (place / "bench.md").write_text(markdown(document, results, bool(picture)))


def markdown(document: dict, results: Sequence[Result], picture: bool) -> str:
    """The page."""
    parts = [INTRODUCTION, machine_table(document), busy(document["machine"]), bars(results)]
    parts = [part for part in parts if part]
    if picture:
        parts.append("![Time of an operation, and memory, beside the peers; logarithmic](bench.svg)\n")
    counts = list(dict.fromkeys(result.procs for result in results))
    for procs in counts:
        of_count = [result for result in results if result.procs == procs]
        parts.append(f"## {processors(procs)}\n" if procs else "## Commands and compilation\n")
        parts.append(reference_table(of_count))
        if procs and procs == next(filter(None, counts)) and python_names(of_count):
            parts.append(f"### Beside Python's own\n\n{PYTHON_INTRODUCTION.format(procs=processors(procs))}")
            parts.append(python_table(of_count))
    notes = [f"- {note}" for note in document["notes"]]
    notes += [f"- {result.title} failed: {' '.join(result.error.split())}" for result in results if result.error]
    if notes:
        parts += ["## Left out\n", "\n".join(notes) + "\n"]
    return "\n".join(parts)


def machine_table(document: dict) -> str:
    """What it was measured on, and how often."""
    rows = []
    for name, value in document["machine"].items():
        if name == "load":
            value = ", ".join(f"{average:.2f}" for average in value)
        elif isinstance(value, dict):
            value = ", ".join(value.values())
        rows.append((name.replace("_gib", " (GiB)"), str(value)))
    rows.append(("rounds", str(document["options"]["rounds"])))
    return table(("machine", ""), rows)


def busy(machine: dict) -> str:
    """A warning, if others used the machine when the benchmark began."""
    load = machine["load"][0]
    if load < machine["cores"] / 4:
        return ""
    return f"**The machine was busy when this began: a load of {load:.1f}. The figures are an example.**\n"


def bars(results: Sequence[Result]) -> str:
    """Which bars are met."""
    judged = [result for result in results if result.met is not None]
    missed = [result for result in judged if not result.met]
    sentence = f"Bars met: {len(judged) - len(missed)} of {len(judged)}."
    names = [f"{result.title} ({processors(result.procs)})" if result.procs else result.title for result in missed]
    return sentence + (f" Not met: {'; '.join(names)}.\n" if missed else "\n")


def reference_table(results: Sequence[Result]) -> str:
    """gopark and the peer of the bar."""
    rows = []
    for result in results:
        peer = cell(figures(result.peers.get(result.reference or "", [])))
        ours = cell(figures(result.gopark))
        name = f"{result.reference} {peer}" if peer else ""
        rows.append((result.title, result.unit, ours, name, times(result.ratio), result.bar, result.verdict))
    return table(("row", "unit", "gopark", "peer", "ratio", "bar", "met"), rows)


def python_names(results: Sequence[Result]) -> list[str]:
    """The peers in Python that were measured."""
    return [name for name in PYTHON_PEERS if any(figures(result.peers.get(name, [])) for result in results)]


def python_table(results: Sequence[Result]) -> str:
    """The peers in Python, each with gopark's ratio to it."""
    names = python_names(results)
    rows = []
    for result in results:
        cells = []
        for name in names:
            values = cell(figures(result.peers.get(name, [])))
            cells.append(f"{values}: {times(result.ratio_to(name))}" if values and result.ratio_to(name) else values)
        if any(cells):
            rows.append((result.title, result.unit, *cells))
    return table(("row", "unit", *names), rows)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown; the columns behind the first lie to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(word.replace('|', chr(92) + '|') for word in line)} |" for line in lines) + "\n"


def processors(procs: int | None) -> str:
    """A number of processors in words."""
    return f"GOMAXPROCS={procs}"


def draw(results: Sequence[Result]) -> str:
    """The picture of the first number of processors; empty if nothing was measured that has a place in it."""
    first = next((result.procs for result in results if result.procs), None)
    panels = []
    for unit, title in PANELS.items():
        groups = []
        for result in results:
            sides = {"gopark": figures(result.gopark)}
            sides |= {name: figures(samples) for name, samples in result.peers.items()}
            values = {name: drawn[0] for name, drawn in sides.items() if drawn}
            if result.unit == unit and result.procs == first and values and not result.name.startswith("seam_"):
                groups.append(Group(result.title, values))
        if groups:
            panels.append(Panel(f"{title}, {processors(first)}", unit, groups))
    return svg(panels) if panels else ""


if __name__ == "__main__":
    sys.exit(main())
