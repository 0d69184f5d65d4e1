"""What is installed: metadata, the public namespace, an import that starts nothing."""

from __future__ import annotations

import importlib.metadata
import inspect
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import gopark

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def python(code: str, *flags: str) -> subprocess.CompletedProcess[str]:
    paths = f"import sys; sys.path.insert(0, {str(Path(gopark.__file__).parent.parent)!r})\n"
    return subprocess.run(
        [sys.executable, *flags, "-c", paths + code], capture_output=True, text=True, timeout=60, check=False
    )


def test_every_public_name_exists_and_is_documented():
    assert sorted(gopark.__all__) == gopark.__all__
    assert len(set(gopark.__all__)) == len(gopark.__all__)
    undocumented = [name for name in gopark.__all__ if not (inspect.getdoc(getattr(gopark, name)) or "").strip()]
    assert undocumented == []


def test_import_starts_nothing(tmp_path):
    """No thread, no file, no compilation, no look at the environment: a bad setting does no harm yet."""
    done = python(
        "import os, threading\n"
        f"os.environ.update(GOPARK_CACHE_DIR={str(tmp_path / 'cache')!r}, GOPARK_STACK='3', GOMAXPROCS='none')\n"
        "import numpy, numba\n"
        "tasks = len(os.listdir('/proc/self/task'))\n"  # NumPy's own threads, if it has any
        "import gopark\n"
        "from gopark.bridge import boot\n"
        "print(threading.active_count(), len(os.listdir('/proc/self/task')) - tasks, boot._state, "
        f"os.path.exists({str(tmp_path / 'cache')!r}))\n"
    )
    assert done.stdout.split() == ["1", "0", "None", "False"], done.stderr


def test_bad_setting_is_an_error_at_boot():
    done = python(
        "import os\n"
        "os.environ['GOPARK_STACK'] = '3'\n"
        "import gopark\n"
        "try:\n"
        "    gopark.num_goroutine()\n"
        "except gopark.BootError as e:\n"
        "    print(e)\n"
    )
    assert "GOPARK_STACK=3" in done.stdout, done.stderr
    assert "power of two" in done.stdout


def test_the_window_of_numba_is_the_one_that_is_tested():
    from gopark.compiler.numba_api import TESTED

    low, high = (".".join(map(str, version)) for version in TESTED)
    assert f"numba>={low},<{high.removesuffix('.0')}" in PROJECT["project"]["dependencies"]


def test_every_module_that_is_imported_is_declared():
    """Third-party packages are either dependencies or not there."""
    distributions = importlib.metadata.packages_distributions()
    declared = {re.split(r"[<>=\[]", d)[0] for d in PROJECT["project"]["dependencies"]}
    declared |= {
        "llvmlite",
        "pytest",
    }  # comes with Numba; gopark.testing is a plugin of it, and imported by nothing else
    imported = set()
    for path in (ROOT / "src").rglob("*.py"):
        imported |= set(re.findall(r"^\s*(?:import|from) (\w+)", path.read_text(), re.MULTILINE))
    foreign = {name for name in imported if name in distributions and name not in sys.stdlib_module_names} - {"gopark"}
    assert {distributions[name][0] for name in foreign} <= declared


def test_the_readme_has_the_two_commands_and_the_program_of_the_example():
    readme = (ROOT / "README.md").read_text()
    assert "pip install . && gopark run examples/wc.py README.md" in readme
    assert "pip install '.[test]' && python -m pytest -n 2" in readme
    program = re.search(r"```python\n(.*?)```", readme, re.DOTALL)
    assert program
    namespace = {"__name__": "readme"}
    exec(compile(program[1], "README.md", "exec"), namespace)
    assert gopark.run(namespace["main"], 100) == sum(i * i for i in range(100))


def test_type_information_is_shipped():
    assert (ROOT / "src" / "gopark" / "py.typed").is_file()


def test_version():
    assert re.fullmatch(r"\d+\.\d+\.\d+", gopark.__version__)
