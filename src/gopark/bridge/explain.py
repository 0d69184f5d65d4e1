"""What went wrong, for the author of a program: compile errors in Python's terms, tracebacks of its own lines.

Numba reports a typing error as the history of its search: every implementation that it tried, once for literal
arguments and once without, and the pass of the compiler that it was in. The author of a program asks four things:
which line, what is wrong with it, what to write instead, and how one got there. `explain_compile_error` picks those out
of the text, because Numba has no other form of them; what it does not recognise it leaves as it is.

`go.run` raises the exception that Numba raised, of the same class, with that short text (`shorten`), so that a script,
a test and a notebook see what the command line prints. With `NUMBA_FULL_TRACEBACKS=1`, by which Numba shows all of its
own frames, nothing is left out.
"""

from __future__ import annotations

import linecache
import os
import re
import textwrap
import traceback
from pathlib import Path

from gopark.compiler.numba_api import errors, llvmlite, numba

# Code of these is nobody's program.
_PACKAGES = (Path(__file__).parent.parent, Path(str(numba.__file__)).parent, Path(str(llvmlite.__file__)).parent)
_INTERNAL = (*(f"{package}{os.sep}" for package in _PACKAGES), "<frozen ")

COMPILE_ERRORS = (errors.NumbaError, errors.UnsupportedBytecodeError)


def full_tracebacks() -> bool:
    """Whether the user asked for everything."""
    return os.environ.get("NUMBA_FULL_TRACEBACKS", "0") not in ("", "0")


def is_internal(filename: str) -> bool:
    """Whether a file is part of gopark, of Numba, or of Python's import system."""
    return filename.startswith(_INTERNAL)


# ---- compile errors

_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")
_PLACE = re.compile(r"^ *During: .* at (.+) \((\d+)\)$", re.MULTILINE)
_ARGUMENT = re.compile(r"^- argument (\d+): Cannot determine Numba type of <class '(.+)'>$", re.MULTILINE)
_SPECIFIC = re.compile(r"raised a specific error:\n\s*\w+: (.*?)\n\s*raised from ", re.DOTALL)
_NO_IMPLEMENTATION = re.compile(
    r"^No implementation of function .* found for signature:\s+>>> ([\w.<>]+)\((.*)\)\s*$", re.MULTILINE
)
_BOTH_WAYS = re.compile(
    r"- Resolution failure for literal arguments:\n(.*?)\n- Resolution failure for non-literal arguments:\n", re.DOTALL
)
_RETURNS = re.compile(r"^Return of: IR name '.*?', type '(.*)', location:\s*File \"(.+)\", line (\d+):", re.MULTILINE)
_RAISED_FROM = re.compile(r"\. Raised from (.+) \((\d+)\)$", re.MULTILINE)
_REST = re.compile(r"^ *(During: |File \"|This error may have been caused by)", re.MULTILINE)
_PIPELINE = re.compile(r"^ *Failed in .* mode pipeline \(step: .*\)\n", re.MULTILINE)

_OPERATORS = {
    "add": "+",
    "sub": "-",
    "mul": "*",
    "truediv": "/",
    "floordiv": "//",
    "mod": "%",
    "pow": "**",
    "and_": "&",
    "or_": "|",
    "xor": "^",
    "lshift": "<<",
    "rshift": ">>",
    "eq": "==",
    "ne": "!=",
    "lt": "<",
    "le": "<=",
    "gt": ">",
    "ge": ">=",
}

_SPELLINGS = (
    (re.compile(r"Literal\[(\w+)\]\(.*?\)"), r"\1"),
    (re.compile(r"\bunicode_type\b"), "str"),
    (re.compile(r"(?<!array\()\bint64\b"), "int"),
    (re.compile(r"(?<!array\()\bfloat64\b"), "float"),
    (re.compile(r"\bboolean\b"), "bool"),
    (re.compile(r"\bnone\b"), "None"),
    (re.compile(r"reflected list\((.*?)\)<iv=.*?>"), r"list(\1)"),
    (re.compile(r"\b(?:Pointer|StructClass|Embedded)\[[\w.<>]*?(\w+)(?:#\d+)?\]"), r"\1"),
    (re.compile(r"type\(<go function [\w.<>]*?(\w+)>\)"), r"\1"),
    (re.compile(r"type\(CPUDispatcher\(<function [\w.<>]*?(\w+) at 0x[0-9a-f]+>\)\)"), r"\1"),
    (re.compile(r",? defined at .+? \(\d+\)"), ""),
    (re.compile(r"'(\w+)\.\d+'"), r"'\1'"),  # a variable under the name of its second, third ... assignment
    (
        re.compile(r"Cannot bind '.*' to signature '(.*)' due to \"TypeError: (.*)\"\.?"),
        r"the arguments do not fit the parameters \1: \2",
    ),
)


# What Numba refuses without saying what would do. The types are spelled as in Python already.
_ADVICE = (
    (
        re.compile(r"Exception matching is limited to .*"),
        "except with a class is not supported; write `except Exception:`",
    ),
    (
        re.compile(
            r"(The 'with .*' construct is not supported|Illegal use of context-manager|Unsupported context manager).*"
        ),
        "`with` is not supported; write try/finally, such as mu.lock(), try: ... finally: mu.unlock()",
    ),
    (
        re.compile(r"Cannot capture the non-constant value associated with variable '(\w+)' in a function that .*"),
        r"a function inside of a function cannot take '\1' with it; write it at the level of the module, decorated "
        r"with @go.func, and give it '\1' as an argument: go.spawn(f, \1)",
    ),
    (
        re.compile(r"Untyped global name '(\w+)': Cannot determine Numba type of <class 'function'>"),
        r"'\1' is a plain Python function, which compiled code cannot call; decorate it with @go.func",
    ),
    (
        re.compile(r"Untyped global name '(\w+)': Cannot determine Numba type of <class '(?:\w+\.)*(\w+)'>"),
        r"'\1' is a Python \2, which compiled code cannot use; make it a tuple, a number, a str or a NumPy array, "
        r"which are constants in compiled code, or pass what is needed as an argument",
    ),
    (
        re.compile(r"The use of a (\w+)\(.* type, assigned to variable '(\w+)' in globals, is not supported .*"),
        r"'\2' is a \1 at the level of the module, which compiled code cannot use; make it a tuple if it never "
        r"changes, else pass a go.List or a NumPy array as an argument",
    ),
    (
        re.compile(r"Cannot unify (.*) and (.*) for '\$.*'"),
        r"this is \1 in one case and \2 in another; an expression has one type",
    ),
    (
        re.compile(r"Cannot unify (.*) and (.*) for ('\w+')"),
        r"\3 is \1 in one place and \2 in another; a variable has one type: use two names",
    ),
    (
        re.compile(r"Unknown attribute 'sleep' of type Module\(<module 'time'.*"),
        "time.sleep is not supported in compiled code: there are no timers yet; wait for another goroutine on a "
        "channel, or sleep in Python",
    ),
    (
        re.compile(r"Unknown attribute '(\w+)' of type Module\(<module '([\w.]+)'.*"),
        r"\2.\1 is not supported in compiled code; if the function is your own, decorate it with @go.func",
    ),
    (
        re.compile(r"Numba's print\(\) function implementation does not support keyword arguments\."),
        "print takes no keyword arguments in compiled code; leave out sep, end, file and flush",
    ),
    (
        re.compile(r"format spec in f-strings not supported yet.*"),
        "an f-string with a format, as {x:.2f}, is not supported in compiled code; write {x}, or return the number and "
        "format it in Python",
    ),
    (
        re.compile(r"Use of unsupported opcode \(LOAD_BUILD_CLASS\) found.*"),
        "a class inside of a compiled function is not supported; write it at the level of the module, decorated with "
        "@go.struct",
    ),
    (
        re.compile(r"Use of unsupported opcode \((GET_YIELD_FROM_ITER|SEND)\) found.*"),
        "`yield from` and `await` are not supported in compiled code; start a goroutine and read from its channel",
    ),
    (
        re.compile(r"Use of unsupported opcode \(IMPORT_NAME\) found.*"),
        "`import` inside of a compiled function is not supported; import at the top of the file",
    ),
)


def _spell(text: str) -> str:
    """Types by the names that Python has for them, and what to write instead."""
    for pattern, replacement in (*_SPELLINGS, *_ADVICE):
        text = pattern.sub(replacement, text)
    return text


def _arguments(text: str) -> list[str]:
    """The arguments of a printed signature; commas inside of brackets separate nothing."""
    parts, depth = [""], 0
    for c in text:
        depth += (c in "([{") - (c in ")]}")
        if c == "," and not depth:
            parts.append("")
        else:
            parts[-1] += c
    return [p.strip() for p in parts if p.strip()]


def _returns(text: str) -> list[tuple[str, str, str]]:
    """Type, file and line of each return statement of a function whose results have several types, in their order."""
    return sorted(_RETURNS.findall(text), key=lambda found: int(found[2]))


def _message(text: str) -> str:
    """What is wrong, out of Numba's text."""
    argument = _ARGUMENT.search(text)
    if argument:
        kind = argument[2].rpartition(".")[2]
        return f"argument {int(argument[1]) + 1} is a {kind}, which compiled code cannot take"
    returns = _returns(text)
    if returns:
        kinds = " and ".join(f"{_spell(kind)} in line {line}" for kind, _, line in returns)
        return f"the function returns {kinds}; all its results have one type"
    both = _BOTH_WAYS.search(text)
    if both:  # Numba may have only the first to tell, and says None for the second
        rest = text[both.end() :]
        text = both[1] if rest.startswith("None") else rest
    specific = _SPECIFIC.search(text)
    if specific:
        return _message(textwrap.dedent(specific[1]))
    missing = _NO_IMPLEMENTATION.search(text)
    if missing:
        name, given = missing[1], _arguments(_spell(missing[2]))
        if name in _OPERATORS and len(given) == 2:
            return f"{given[0]} {_OPERATORS[name]} {given[1]} is not supported in compiled code"
        return f"{name}({', '.join(given)}) is not supported in compiled code"
    text = _PIPELINE.sub("", text)
    rest = _REST.search(text)
    if rest and rest.start():
        text = text[: rest.start()]
    return _spell(" ".join(text.split()))


def _being_compiled(e: BaseException):
    """Numba's description of the function whose compilation `e` came out of; None if it came out of none."""
    found, entry = None, e.__traceback__
    while entry is not None:
        candidate = getattr(entry.tb_frame.f_locals.get("state"), "func_id", None)
        inside = is_internal(entry.tb_frame.f_code.co_filename)
        if candidate is not None and inside and not is_internal(candidate.filename):
            found = candidate
        entry = entry.tb_next
    return found


def _places(text: str, e: BaseException) -> list[tuple[str, int]]:
    """Lines of the program, innermost first."""
    found: list[tuple[str, int]] = []
    last_return = [(os.path.abspath(file), line) for _, file, line in _returns(text)[-1:]]
    for file, line in (*last_return, *_RAISED_FROM.findall(text), *_PLACE.findall(text)):
        place = (file, int(line))
        if place not in found and not is_internal(file):
            found.append(place)
    loc = getattr(e, "loc", None)
    if not found and loc is not None and not is_internal(loc.filename):
        found.append((loc.filename, loc.line))
    if not found:
        function = _being_compiled(e)
        if function is not None:
            found.append((function.filename, function.firstlineno))
    return found


def shown_path(file: str) -> str:
    """A path as short as it can be: relative below the current directory."""
    try:
        relative = os.path.relpath(file)
    except (OSError, ValueError):
        return file
    return file if relative.startswith(os.pardir) else relative


def explain_compile_error(e: BaseException) -> str:
    """A compile error for the author of the program: `file:line: what`, the line itself, and who called.

    e: an error of Numba, or one that was raised inside of Numba while it compiled.
    """
    text = _ESCAPES.sub("", str(e)).strip()
    if full_tracebacks():
        return text
    message = _message(text)
    places = _places(text, e)
    if not places:
        return message
    lines = []
    for i, (file, line) in enumerate(places):
        while linecache.getline(file, line).lstrip().startswith("@"):
            line += 1  # a function begins at its decorators, for Numba
        lines.append(f"{shown_path(file)}:{line}: {'called from here' if i else message}")
        source = linecache.getline(file, line).strip()
        if source:
            lines.append(f"    {source}")
    return "\n".join(lines)


_ON_DEMAND = "(NUMBA_FULL_TRACEBACKS=1 shows all that Numba has to say about it)"


def shorten(e: BaseException) -> BaseException:
    """Give a compile error, in place, the text of `explain_compile_error`; unless the user asked for everything."""
    if not full_tracebacks() and _ON_DEMAND not in getattr(e, "__notes__", ()):
        e.args = (explain_compile_error(e),)
        e.add_note(_ON_DEMAND)
    return e


# ---- exceptions


def format_exception(e: BaseException) -> str:
    """A traceback as Python prints it, without the frames of gopark and Numba."""
    if full_tracebacks():
        return "".join(traceback.format_exception(e))
    shown = traceback.TracebackException.from_exception(e)
    _strip(shown, set())
    return "".join(shown.format())


def _strip(shown, seen) -> None:
    if shown is None or id(shown) in seen:
        return
    seen.add(id(shown))
    if shown.stack is not None:
        kept = [frame for frame in shown.stack if not is_internal(frame.filename)]
        shown.stack = traceback.StackSummary.from_list(kept) if kept else None
    for inner in (shown.__cause__, shown.__context__, *(getattr(shown, "exceptions", None) or ())):
        _strip(inner, seen)


def explain(e: BaseException) -> str:
    """What `gopark run` prints about an exception of a program."""
    if isinstance(e, COMPILE_ERRORS):
        return "\n".join([str(shorten(e)), *getattr(e, "__notes__", ()), ""])
    text = format_exception(e)
    function = _being_compiled(e)
    if function is not None:
        text += f"(while {function.func_name} was compiled, {shown_path(function.filename)}:{function.firstlineno})\n"
    return text
