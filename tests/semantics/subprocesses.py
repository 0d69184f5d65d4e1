"""Runs a function of a test module in a process of its own.

The child imports the test module by its name, so the go functions in it come from the same disk cache as those of the
test process, whatever GOMAXPROCS and GOPARKDEBUG are there.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent

_CHILD = """
import faulthandler, importlib
faulthandler.enable()
result = importlib.import_module({module!r}).{function}(*{arguments!r})
print("\\nresult:", repr(result))
"""


def environment(**variables: object) -> dict[str, str]:
    """The environment of a child: ours, our import path, and `variables`."""
    paths = [str(ROOT), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    changes = {name: str(value) for name, value in variables.items()}
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "PYTHONUNBUFFERED": "1", **changes}


def command(module: str, function: str, *arguments: object) -> list[str]:
    """The command line that calls `module.function(*arguments)` and prints its result."""
    return [sys.executable, "-c", _CHILD.format(module=module, function=function, arguments=arguments)]


def call(module: str, function: str, *arguments: object, timeout: float = 100, **variables: object):
    """The result of `module.function(*arguments)` in a process of its own; it must be a literal."""
    child = subprocess.run(
        command(module, function, *arguments),
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert child.returncode == 0, f"exit status {child.returncode}\n{child.stdout[-4000:]}\n{child.stderr[-8000:]}"
    return ast.literal_eval(child.stdout.rpartition("result:")[2].strip())
