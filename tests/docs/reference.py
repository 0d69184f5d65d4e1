"""docs/reference.md, from the docstrings of the public names: `python -m tests.docs.reference --write`.

An indented block of a docstring is a program to which `import gopark as go` is added; like every program of the pages
it is run by test_pages.py, and each of its `print(...)` lines says what it prints.
"""

from __future__ import annotations

import inspect
import re
import sys
import textwrap

import gopark as go
from gopark.bridge.futures import Future
from gopark.bridge.handles import _METHODS, Channel
from tests.docs.pages import DOCS

PAGE = DOCS / "reference.md"

HEAD = """# Reference

`python -m tests.docs.reference --write` wrote this page from the docstrings. `help(go.chan)` shows the same.

"In compiled code" means inside of functions decorated with `@go.func`. Times are in seconds and sizes in bytes, unless
something else is said. What blocks in a go function parks the goroutine, and its thread runs others; what blocks in
Python releases the GIL, and Ctrl-C interrupts it.
"""

SECTIONS = {
    "Functions and structs": ["func", "struct", "Embed", "List"],
    "Runs and goroutines": ["run", "submit", "spawn", "gosched", "gomaxprocs", "num_goroutine", "lock_os_thread",
        "unlock_os_thread", "mem_stats", "monotonic"],
    "Communicating": ["chan", "Chan", "select", "recv", "send", "select_recv", "Mutex", "WaitGroup"],
    "Errors": ["GoparkError", "BootError", "DeadlockError", "WriteBarrierError", "ClosedChannelError",
        "NilPointerError", "StackOverflowError"],
    "Pragmas": ["nowritebarrier", "nowritebarrierrec", "yeswritebarrierrec"],
}  # fmt: skip

# The classes whose methods are shown below a name.
METHODS = {
    "submit": ("The Future, beside what `concurrent.futures.Future` has:", vars(Future)),
    "Chan": ("A channel's methods; `timeout` is for Python only, compiled code waits for ever:", vars(Channel)),
    "Mutex": ("Its methods; `timeout` is for Python only:", _METHODS[go.Mutex]),
    "WaitGroup": ("Its methods; `timeout` is for Python only:", _METHODS[go.WaitGroup]),
}
SPECIAL = {"__len__": "len(ch)", "__iter__": "for value in ch"}


def page() -> str:
    lines = [HEAD]
    for title, names in SECTIONS.items():
        lines.append(f"## {title}\n")
        for name in names:
            lines += [f"### `{heading(name)}`\n", markdown(documented(getattr(go, name))).strip(), ""]
            if name in METHODS:
                introduction, members = METHODS[name]
                lines += [f"{introduction}\n", *methods(members), ""]
    return "\n".join(lines).rstrip() + "\n"


def heading(name: str) -> str:
    """How the name is written in a program."""
    public = getattr(go, name)
    if name in ("Chan", "List", "Embed"):
        return f"go.{name}[T]"
    if name in ("Mutex", "WaitGroup"):
        return f"go.{name}()"
    if isinstance(public, type):
        return f"go.{name}({public.__base__.__name__})"
    if name in ("func", "struct") or "writebarrier" in name:
        return f"@go.{name}"
    return f"go.{name}{signature(public)}"


def signature(function, skip: int = 0) -> str:
    """(a, b=0), without annotations and without the first `skip` parameters."""
    parameters = list(inspect.signature(function).parameters.values())[skip:]
    plain = [p.replace(annotation=p.empty) for p in parameters]
    return str(inspect.Signature(plain)).replace("(/, ", "(")


def documented(thing) -> str:
    """Its docstring."""
    text = inspect.getdoc(thing)
    assert text, f"{thing} has no docstring"
    return text


def methods(members) -> list[str]:
    lines = []
    for name, member in members.items():
        if isinstance(member, property):
            shown = f".{name}"
        elif name in SPECIAL:
            shown = SPECIAL[name]
        elif name.startswith("_") or not callable(member):
            continue
        else:
            shown = f".{name}{signature(member, 1)}"
        lines.append(textwrap.indent(f"* `{shown}`: {documented(member)}", "  ")[2:])
    return lines


def markdown(docstring: str) -> str:
    """The docstring with its indented blocks as complete programs."""

    def program(block: re.Match) -> str:
        code = textwrap.dedent(block[0]).strip("\n")
        if code.startswith("import "):
            first, _, code = code.partition("\n\n\n")
            code = f"{first}\n\nimport gopark as go\n\n\n{code}"
        else:
            between = "\n\n\n" if code.startswith("@") else "\n\n"
            code = f"import gopark as go{between}{code}"
        return f"```python\n{code}\n```\n"

    return re.sub(r"(?:^    .*\n?|^\n(?=\n*    ))+", lambda m: "\n" + program(m), docstring, flags=re.MULTILINE)


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit("usage: python -m tests.docs.reference --write")
    PAGE.write_text(page())
