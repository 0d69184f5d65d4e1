"""What `gopark vet` lowers: the runtime's functions, freshly, for the sake of their events alone.

The check (`wbcheck.py`) reads what lowering wrote down about each function. No machine code is wanted, and nothing may
come from a cache: whoever changes a source file wants to hear about that file. So each function goes through type
inference and lowering exactly as in a build, and its LLVM module is dropped instead of being parsed. That keeps the
whole runtime well below ten seconds.
"""

from __future__ import annotations

from collections.abc import Iterable

from gopark.compiler import asm_amd64, image, wbcheck
from gopark.compiler.funcinfo import OPAQUE, FuncInfo
from gopark.compiler.numba_api import cpu_target, errors, global_compiler_lock
from gopark.pause import collector_paused


class LoweringFailedError(ValueError):
    """A function of the runtime does not compile; the message names it."""


class _Sketch(image.UnitBuilder):
    """A unit that is lowered and never built."""

    def lower(self):
        library = image.runtime_context().codegen().create_library(self.unit)
        library.add_ir_module = lambda module: None
        for function in self.functions:
            try:
                result = self._lower_function(function, library)
            except errors.NumbaError as e:
                raise LoweringFailedError(f"{function.symbol} does not compile: {e}") from e
            self.infos[function.symbol] = result.metadata["go_info"]
        return library


@global_compiler_lock
@collector_paused()
def sketch(units: Iterable[str]) -> dict[str, FuncInfo]:
    """The FuncInfos of all functions of `units` (names of imported modules), by symbol."""
    asm_amd64.initialize_llvm()
    image.runtime_context().refresh()
    cpu_target.typing_context.refresh()
    infos: dict[str, FuncInfo] = {}
    for unit in units:
        builder = _Sketch(unit)
        builder.lower()
        infos.update(builder.infos)
    return infos


def runtime_roots() -> dict[str, wbcheck.State]:
    """Where the runtime is entered from outside the image, and with what: the roots of the check."""
    states = {image.WITH_P: wbcheck.State.P, image.NO_P: wbcheck.State.NONE}
    return {
        function.symbol: states[function.entered]
        for function in image.RuntimeFunction.BY_SYMBOL.values()
        if function.entered is not None
    }


def opaque_calls(infos: Iterable[FuncInfo]) -> list[tuple[str, int, str, str]]:
    """Calls of code that gopark did not compile and that therefore never polls: (file, line, caller, callee)."""
    found = {
        (event.file, event.line, info.name, event.name)
        for info in infos
        for event in info.events()
        if event.kind == OPAQUE
    }
    return sorted(found)
