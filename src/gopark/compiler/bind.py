"""What the C symbols of a go function are bound to, in its final machine code.

Stands for: what cgo and the linker do for Go's calls of C.

When the module of a function is optimised and about to become machine code, the C functions that it declares get the
names under which goroutines may call them (compiler/externs.py says which, and why):

    numba_ez_gesdd              go.g0.numba_ez_gesdd    a stub that calls it on g0 (compiler/asm_amd64.py)
    numba_get_np_random_state   go.nprandstate          the runtime's own (runtime/rand.py)
    sin, NRT_incref, ...        as they are

A stub is assembled when the first function that needs it is compiled or comes from the cache; its C function is made
ready for goroutines at that moment (compiler/linalg.py). A module that is linked into a caller's has Numba's names, so
that the optimiser sees what it knows, and no symbol goes by two names in one module.
"""

from __future__ import annotations

from collections.abc import Iterable

from gopark.compiler import asm_amd64, externs, linalg
from gopark.compiler.numba_api import llb

_ORIGINAL = {entry.bound: symbol for symbol, entry in externs.TABLE.items() if entry.bound}


def bind(module) -> None:
    """Give the C functions that the module declares the names under which goroutines call them."""
    for f in [f for f in module.functions if f.is_declaration]:
        bound = externs.bound_name(f.name)
        if bound.startswith(externs.G0):
            _check_arguments(f)
        if bound != f.name:
            f.name = bound


def _check_arguments(f) -> None:
    n = len(list(f.arguments))
    assert n <= 6 + asm_amd64.STACK_WORDS, f"{f.name} has {n} arguments: a stub does not copy so many"


def unbind(module) -> None:
    """The reverse of `bind`."""
    for f in [f for f in module.functions if f.is_declaration]:
        name = f.name
        if name.startswith(externs.G0):
            f.name = name.removeprefix(externs.G0)
        elif name in _ORIGINAL:
            f.name = _ORIGINAL[name]


def provide(names: Iterable[str]) -> None:
    """Make the stubs among `names`, symbols of bound code, that do not exist yet. Runs on a Python thread. Stubs of
    functions that nothing defines are left undefined."""
    for name in names:
        if name.startswith(externs.G0) and llb.address_of_symbol(name) is None:
            symbol = name.removeprefix(externs.G0)
            linalg.resolve(symbol)
            target = llb.address_of_symbol(symbol)
            if target is not None:
                asm_amd64.load_g0stub(name, symbol, target)
