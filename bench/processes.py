"""Runs the processes that are measured."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


class FailedProcessError(Exception):
    """A measured process that did not end well, with its last words."""


def run(command: Sequence[str | Path], seconds: float = 600, **environment: str) -> str:
    """Runs a command from the repository's root and returns what it printed."""
    try:
        done = subprocess.run(
            list(map(str, command)),
            cwd=ROOT,
            env=python_environment() | environment,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise FailedProcessError(f"{Path(command[0]).name}: still running after {seconds:g} s") from None
    if done.returncode != 0:
        words = done.stderr.strip().splitlines()[-5:]
        raise FailedProcessError("\n".join([f"{Path(command[0]).name}: status {done.returncode}", *words]))
    return done.stdout


def run_gopark(program: str | Path, *arguments: object, **environment: str) -> str:
    """Runs `gopark run program arguments`."""
    return run([sys.executable, "-m", "gopark", "run", program, *map(str, arguments)], **environment)


def python_environment() -> dict[str, str]:
    """The environment, in which Python finds the gopark that it finds here; the source tree's, if there is no other.

    Python keeps the bytecode of what it imports, as it does for an installed gopark.
    """
    spec = importlib.util.find_spec("gopark")
    found = Path(spec.origin).parent.parent if spec and spec.origin else ROOT / "src"
    paths = [str(found), os.environ.get("PYTHONPATH", "")]
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return kept | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
