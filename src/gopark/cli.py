"""The command line: `gopark run`, `gopark vet`, `gopark env`.

Exit statuses: 0 fine; 1 the program raised, or does not compile, or the check found something; 2 wrong usage, with a
line on standard error that says what, where, and what to do instead; 130 interrupted.

A command is on the way of every program that it starts, so this module imports what the command at hand needs, and when
it needs it. The parser is argparse: 4 ms to import once Numba is there, where cyclopts takes 250, more than all of
gopark.
"""

from __future__ import annotations

import argparse
import ast
import gc
import inspect
import json
import os
import re
import sys
import types
from pathlib import Path
from typing import Any

import gopark


class UsageError(Exception):
    """The command cannot do what it was asked; the message says what is wrong and what would be right."""


# ---- programs


def split_target(text: str) -> tuple[Path, str]:
    """`prog.py:name` as path and name; `prog.py` has the name main."""
    file, colon, name = text.rpartition(":")
    if colon and name.isidentifier() and not Path(text).is_file():
        return Path(file), name
    return Path(text), "main"


def literal(text: str) -> Any:
    """An argument as the Python literal that it is, or else as the string that it is."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text


def load_program(path: Path, arguments: list[str]) -> types.ModuleType:
    """Run a file as the module `gopark_program_<stem>`, with the `sys.path` and `sys.argv` that Python would give it.

    Not under the name `__main__`: its `if __name__ == "__main__"` part is the caller's business. The name depends on
    the file's alone and is registered before anything runs, because cached functions find structs and functions by it.
    """
    if path.is_dir():
        raise UsageError(f"{path} is a directory; give the file of a program, such as {path / 'prog.py'}")
    try:
        source = path.read_bytes()
    except OSError as e:
        raise UsageError(f"cannot read {path}: {e.strerror}") from None
    file = os.path.abspath(path)
    module = types.ModuleType("gopark_program_" + re.sub(r"\W", "_", path.stem))
    module.__file__ = file
    module.__package__ = ""
    sys.modules[module.__name__] = module
    sys.argv = [str(path), *arguments]
    if not sys.flags.safe_path:
        sys.path[0] = os.path.dirname(file)
    exec(compile(source, file, "exec", dont_inherit=True), module.__dict__)
    return module


def is_go(value: object) -> bool:
    from gopark.compiler.func import GoDispatcher

    return isinstance(value, GoDispatcher)


def find_function(module: types.ModuleType, path: Path, name: str) -> Any:
    found = getattr(module, name, None)
    if callable(found):
        return found
    theirs = [n for n, v in vars(module).items() if is_go(v) and v.py_func.__module__ == module.__name__]
    what = (
        f"{name} in {path} is no function but a {type(found).__name__}"
        if found is not None
        else (f"{path} has no function {name}")
    )
    there = (
        f"its go functions: {', '.join(theirs)}" if theirs else "it has no go functions (decorate one with @go.func)"
    )
    example = f"; run one with {path}:{theirs[0]}" if theirs else ""
    raise UsageError(f"{what}\n{there}{example}")


def check_arguments(function: Any, path: Path, name: str, arguments: tuple) -> None:
    plain = getattr(function, "py_func", function)
    try:
        signature = inspect.signature(plain)
    except (TypeError, ValueError):
        return
    try:
        signature.bind(*arguments)
    except TypeError as e:
        raise UsageError(
            f"{path}:{name}: {e}\nit takes {name}{signature}, and got {len(arguments)} argument(s)"
        ) from None


# ---- run


def command_run(options: argparse.Namespace) -> int:
    """Runs a program; the result is printed unless it is None."""
    if options.procs is not None:
        from gopark.config import settings

        os.environ["GOMAXPROCS"] = str(options.procs)
        settings.cache_clear()  # whoever asked before this line did not know
    path, name = split_target(options.program)
    arguments = tuple(map(literal, options.arguments))
    try:
        module = load_program(path, options.arguments)
        function = find_function(module, path, name)
        check_arguments(function, path, name, arguments)
        result = gopark.run(function, *arguments) if is_go(function) else function(*arguments)
        if result is not None:
            print(result)
        return 0
    except UsageError:
        raise
    except Exception as e:
        return report(e)


def report(e: Exception) -> int:
    """Prints what a program raised."""
    from gopark.bridge import explain
    from gopark.compiler.cache import CacheError

    if isinstance(e, (gopark.BootError, gopark.WriteBarrierError, CacheError)) and not explain.full_tracebacks():
        text = f"gopark: {e}\n"
    else:
        text = explain.explain(e)
    if sys.stdout is not None:
        sys.stdout.flush()
    sys.stderr.write(text)
    return 1


# ---- vet


def command_vet(options: argparse.Namespace) -> int:
    """Checks the write-barrier rule, of the runtime and of a program."""
    from gopark.bridge import boot, vet
    from gopark.compiler.vetting import LoweringFailedError

    problem = boot.problem()
    if problem:
        raise UsageError(problem)
    try:
        verdict = vet.check_runtime() if options.program is None else _vet_program(options)
    except UsageError:
        raise
    except LoweringFailedError as e:
        return _vet_failed(options, str(e))
    except Exception as e:
        from gopark.bridge import explain

        return _vet_failed(options, explain.explain(e).rstrip())
    if options.json:
        print(json.dumps(verdict.to_json(), indent=1))
    else:
        _print_verdict(verdict, options)
    return 0 if verdict.ok else 1


def _vet_failed(options: argparse.Namespace, text: str) -> int:
    if options.json:
        print(json.dumps({"ok": False, "error": text}, indent=1))
    else:
        print(text, file=sys.stderr)
    return 1


def _vet_program(options: argparse.Namespace):
    from gopark.bridge import vet

    path, name = split_target(options.program)
    arguments = tuple(map(literal, options.arguments))
    module = load_program(path, options.arguments)
    function = find_function(module, path, name)
    check_arguments(function, path, name, arguments)
    if is_go(function):
        return vet.check_program(lambda: vet.compile_for(function, arguments))
    return vet.check_program(lambda: _run_aside(function, arguments))


def _run_aside(function: Any, arguments: tuple) -> None:
    """Run a plain function: nothing else tells which go functions it starts. What it prints goes to standard error."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        function(*arguments)
    except SystemExit as e:
        if e.code not in (None, 0):
            raise UsageError(f"the program exited with {e.code!r} before it could be checked") from None
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


def _print_verdict(verdict, options: argparse.Namespace) -> None:
    print(verdict.report.format_text(details=options.details))
    if verdict.program:
        print(f"\n{len(verdict.program)} functions of the program: {', '.join(verdict.program)}")
        if verdict.opaque:
            print("calls without polls (code that gopark did not compile):")
        for file, line, caller, callee in verdict.opaque:
            print(f"    {os.path.basename(file)}:{line}: {caller} calls {callee}")
    number = len(verdict.report.violations)
    what = "the runtime" if not verdict.program else f"the runtime and {options.program}"
    print(f"\ngopark vet: {what}: {'ok' if verdict.ok else f'{number} violations' if number > 1 else '1 violation'}")


# ---- env


def command_env(options: argparse.Namespace) -> int:
    """Says what gopark finds here; never starts or builds anything."""
    from gopark.bridge import environment
    from gopark.compiler.cache import CacheError

    if options.clean:
        try:
            print(environment.clean())
        except (CacheError, ValueError) as e:
            print(f"gopark env: {e}", file=sys.stderr)
            return 1
        return 0
    for title, rows in environment.describe(gopark.__version__):
        print(title)
        for name, value in rows:
            print(f"  {name:<18}{value}")
    return 0


# ---- the parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


_positive.__name__ = "positive number"  # argparse's word for it


def parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    top = argparse.ArgumentParser(prog="gopark", description="Go's runtime, written in Python.", allow_abbrev=False)
    top.add_argument("--version", action="version", version=f"gopark {gopark.__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="run | vet | env")

    run = commands.add_parser(
        "run",
        help="run a program",
        description="Run a go function of a program as a goroutine, or call a plain function, and print the result "
        "unless it is None. Arguments are Python literals where they parse, else strings.",
        allow_abbrev=False,
    )
    run.add_argument("--procs", type=_positive, metavar="N", help="how many goroutines run at once (GOMAXPROCS)")
    run.set_defaults(do=command_run)

    vet = commands.add_parser(
        "vet",
        help="check the write-barrier rule",
        description="Check the write-barrier rule over the runtime; with a program, over both: a go function is "
        "compiled for the types of the arguments, a plain function is run. Exit 1 if the rule is broken.",
        allow_abbrev=False,
    )
    vet.add_argument("--json", action="store_true", help="the whole report as JSON")
    vet.add_argument("--details", action="store_true", help="every function, and every setter with its reason")
    vet.set_defaults(do=command_vet)

    for command, how_many in ((run, None), (vet, "?")):
        command.add_argument(
            "program", nargs=how_many, metavar="prog.py[:main]", help="the file, and the function in it"
        )
        command.add_argument("arguments", nargs=argparse.REMAINDER, metavar="args", help="passed to the function")

    env = commands.add_parser("env", help="versions, machine, limits, cache", allow_abbrev=False)
    env.add_argument("--clean", action="store_true", help="empty the cache of machine code")
    env.set_defaults(do=command_env)
    return top


def main(argv: list[str] | None = None) -> int:
    """The command `gopark`; returns its exit status."""
    if argv is None:  # the process is ours: what was imported will never be garbage
        gc.freeze()
    options = parser().parse_args(argv)
    try:
        return options.do(options)
    except UsageError as e:
        print(f"gopark {options.command}: {e}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("gopark: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # whoever read standard output is gone; Python would complain once more when it flushes at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
