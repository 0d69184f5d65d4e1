"""Programs in processes of their own, over a cache of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import gopark
from gopark.bridge.boot import boot
from gopark.config import settings

SOURCES = Path(gopark.__file__).parent.parent


def private_cache(path: Path) -> dict[str, str]:
    """The environment of a process whose cache lies at `path` and holds nothing but the runtime's image."""
    boot()  # the image exists
    path.mkdir(mode=0o700)
    shutil.copytree(settings().cache_dir / "image", path / "image")
    return {**environment(), "GOPARK_CACHE_DIR": str(path)}


def environment(**more: str) -> dict[str, str]:
    """This process's environment with gopark on the path of modules."""
    paths = [str(SOURCES), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **more}


def start(program: Path, env: dict[str, str], *arguments: str) -> subprocess.Popen:
    command = [sys.executable, str(program), *arguments]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def python(program: Path, env: dict[str, str], *arguments: str, timeout: float = 100) -> str:
    """What the program prints; it must end well."""
    process = start(program, env, *arguments)
    try:
        out, err = process.communicate(timeout=timeout)
    finally:
        process.kill()
    assert process.returncode == 0, f"{program.name} ended with {process.returncode}:\n{err}"
    return out
