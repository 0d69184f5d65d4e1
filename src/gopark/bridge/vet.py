"""The write-barrier check, over the runtime and over a program.

For the runtime by itself, everything is lowered freshly: the verdict is about the sources as they lie there. With a
program the check is about what would run: the program's functions, compiled for the types of the arguments given,
together with those functions of the runtime's image that are loaded in this process. The program's functions run on
goroutines, so each of them is entered with a P.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gopark import runtime
from gopark.bridge import boot
from gopark.compiler import func, vetting, wbcheck
from gopark.compiler.funcinfo import FuncInfo
from gopark.errors import WriteBarrierError


@dataclass
class Verdict:
    """The report of the check, and the calls that leave what gopark compiled."""

    report: wbcheck.Report
    opaque: list[tuple[str, int, str, str]]  # file, line, caller, callee
    program: list[str]  # symbols of the program's functions that were checked

    @property
    def ok(self) -> bool:
        return self.report.ok

    def to_json(self) -> dict[str, object]:
        """`Report.to_json`, with `program`: symbols, and `opaque`: [{file, line, caller, callee}]."""
        keys = ("file", "line", "caller", "callee")
        opaque = [dict(zip(keys, call, strict=True)) for call in self.opaque]
        return {**self.report.to_json(), "program": self.program, "opaque": opaque}


def check_runtime() -> Verdict:
    """Lower and check the runtime. Neither boots nor builds nor reads a cache."""
    units, _, _ = runtime.load_units()
    infos = vetting.sketch(units)
    report = wbcheck.check(infos, vetting.runtime_roots())
    return Verdict(report, vetting.opaque_calls(infos.values()), [])


def check_program(compile_program: Callable[[], object]) -> Verdict:
    """Check the runtime's image together with every go function that is compiled when `compile_program` returns.

    Raises what `compile_program` raises, except for the WriteBarrierError of a function whose pragma is broken: that
    one is part of the report, with the chain of calls that leads to the store.
    """
    refused = None
    try:
        compile_program()
    except WriteBarrierError as e:
        refused = e
    image = boot.boot().image.infos
    program = {symbol: info for symbol, info in func.INFOS.items() if symbol not in image}
    infos: dict[str, FuncInfo] = {**image, **program}
    roots = {**vetting.runtime_roots(), **dict.fromkeys(program, wbcheck.State.P)}
    report = wbcheck.check(infos, roots)
    if refused is not None and report.ok:
        raise refused
    return Verdict(report, vetting.opaque_calls(program.values()), sorted(program))


def compile_for(dispatcher: Any, arguments: tuple) -> None:
    """Compile a go function, and with it all that it calls and spawns, for the types of `arguments`. Runs nothing."""
    boot.boot()
    given = tuple(map(dispatcher.typeof_pyval, arguments))
    _, folded = dispatcher.fold_argument_types(given, {})
    dispatcher.compile(tuple(folded))
