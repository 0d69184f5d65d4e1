"""The benchmark's command: measures, prints a table, and writes every sample as JSON."""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench import commands, machine, peers, report, scheduler
from bench.results import Result, cell, figures, times
from bench.rows import ROWS

START_ROWS = ["start_cold", "start_warm", "start_own"]
COMPILE_ROWS = ["compile_cold", "compile_cached"]


def main() -> int:
    """Runs the benchmark; the status is 1 if a row failed. A bar that is not met is a result, not a failure."""
    options = parse()
    wanted = re.compile(options.only)
    # A pipe or a file has no width of its own: wide enough there for a row to stay one line.
    console = Console() if sys.stdout.isatty() else Console(width=200)
    header = machine.describe()
    console.print(", ".join(f"{name} {value}" for name, value in header.items()), highlight=False)
    results: list[Result] = []
    notes: list[str] = []
    with console.status("starting") as status, tempfile.TemporaryDirectory(prefix="gopark-bench-") as place:
        rows = [row for row in ROWS if any(wanted.search(name) for name in row.results)]
        if rows:
            status.update("building the Go programs")
            sides, missing = peers.find(options.peers, Path(place))
            measured, versions, left_out = scheduler.measure(rows, sides, options.rounds, options.procs, status.update)
            results += [result for result in measured if wanted.search(result.name)]
            header["processes"] = versions
            notes += [*missing, *left_out]
        for names, measure in ((START_ROWS, commands.start), (COMPILE_ROWS, commands.compile_times)):
            if any(map(wanted.search, names)):
                measured = measure(options.rounds, status.update)
                results += [result for result in measured if wanted.search(result.name)]
        if wanted.search("image"):
            results += commands.image_times(status.update)
        if options.seam:
            results += scheduler.seam(options.rounds, options.procs, status.update)
        if options.wc and wanted.search("wc"):
            results.append(commands.word_count(options.rounds, status.update))
    show(results, notes, console)
    arguments = {name: str(value) for name, value in vars(options).items()}
    rows = [result.as_json() for result in results]
    document = {"machine": header, "options": arguments, "notes": notes, "rows": rows}
    if options.json:
        Path(options.json).write_text(json.dumps(document, indent=1) + "\n")
    if options.report:
        report.write(document, Path(options.report))
    return 1 if any(result.error for result in results) else 0


def parse() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=main.__doc__)
    parser.add_argument("--rounds", type=positive, default=5, help="how often each process is run (default 5)")
    parser.add_argument("--procs", type=numbers, default=[1, 2], metavar="1,2", help="the values of GOMAXPROCS")
    parser.add_argument("--only", default="", metavar="REGEX", help="the rows whose names match")
    parser.add_argument(
        "--wc", action="store_true", help="count one GiB of text too (written to a temporary directory)"
    )
    parser.add_argument(
        "--seam", action="store_true", help="what the seam's tests cost, beside a build of the runtime without them"
    )
    parser.add_argument("--json", metavar="PATH", help="write the machine and all samples there")
    parser.add_argument("--report", metavar="DIR", help="write bench.md and its picture there, as bench.report does")
    parser.add_argument(
        "--peers",
        type=some_peers,
        default=list(peers.NAMES),
        metavar="Go,asyncio",
        help=f"the peers of the scheduler's rows (default {','.join(peers.NAMES)}); none: gopark alone",
    )
    return parser.parse_args()


def positive(text: str) -> int:
    """A number of at least one, for argparse."""
    value = int(text)
    if value < 1:
        raise ValueError(text)
    return value


def some_peers(text: str) -> list[str]:
    """Names of peers between commas, for argparse."""
    names = [] if text == "none" else text.split(",")
    for name in names:
        if name not in peers.NAMES:
            raise ValueError(name)
    return names


def numbers(text: str) -> list[int]:
    """Positive numbers between commas, for argparse."""
    return [positive(part) for part in text.split(",")]


def show(results: list[Result], notes: list[str], console: Console) -> None:
    """Prints the table, and below it what was left out and what went wrong."""
    table = Table(title="median of the rounds' minima (least - greatest)")
    table.add_column("row", no_wrap=True)
    for heading in ("procs", "unit", "gopark", "peer", "ratio", "bar"):
        table.add_column(heading, justify="right")
    table.add_column("met")
    table.add_column("other peers: ratio")
    for result in results:
        reference = figures(result.peers.get(result.reference or "", []))
        others = [
            f"{name} {times(result.ratio_to(name))}"
            for name in result.peers
            if name != result.reference and result.ratio_to(name)
        ]
        table.add_row(
            result.title,
            str(result.procs or ""),
            result.unit,
            cell(figures(result.gopark)),
            f"{result.reference} {cell(reference)}" if reference else "",
            times(result.ratio),
            result.bar,
            result.verdict,
            ", ".join(others),
        )
    console.print(table)
    for note in notes:
        console.print(note, markup=False, highlight=False)
    for result in results:
        if result.error:
            console.print(f"{result.title}: {result.error}", markup=False)


if __name__ == "__main__":
    sys.exit(main())
