"""The programs of the pages under docs/, and what each says that it prints.

Every ```python block is run. One that begins with an import or a docstring is a program; any other continues the
program above it. What a program prints is in the ```text blocks that follow its blocks at once; or, for a program
without such a block, in the comments behind its `print(...)` lines.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"

BLOCK = re.compile(r"^```python\n(.*?)^```$(?:\n\n```text\n(.*?)^```$)?", re.DOTALL | re.MULTILINE)
BEGINNING = re.compile(r'import |from |"""')
PRINTED = re.compile(r"^ *print\(.*\)  # (.*)$", re.MULTILINE)


@dataclass
class Program:
    line: int  # of the page, where it begins
    text: str
    output: str = ""


def programs_of(page: str) -> list[Program]:
    """The programs of a page, in their order."""
    found: list[Program] = []
    for block in BLOCK.finditer(page):
        text, output = block[1], block[2] or ""
        if BEGINNING.match(text):
            found.append(Program(page.count("\n", 0, block.start()) + 2, text, output))
        else:
            found[-1].text += "\n\n" + text
            found[-1].output += output
    for program in found:
        if not program.output:
            program.output = "".join(f"{line}\n" for line in PRINTED.findall(program.text))
    return found


def run_program(text: str, directory: Path) -> None:
    """Import the program as `prog.py` of the directory, which runs it."""
    path = directory / "prog.py"
    path.write_text(text)
    spec = importlib.util.spec_from_file_location("prog", path)
    sys.modules["prog"] = importlib.util.module_from_spec(spec)  # where go functions find each other by name
    spec.loader.exec_module(sys.modules["prog"])
