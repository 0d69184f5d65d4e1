"""Names that mean nothing in a go function, and the names that were meant.

Numba finds an undefined name only when it types the statement, and says neither the line nor what is there instead; a
module's missing attribute ends its compiler with a bare AttributeError. Here both are looked for before types are
inferred, when the branches that cannot be reached are gone already.

What was meant is the name that differs by Go's capital letters, the same operation under the name that another library
gives it, or the most similar one, in this order.
"""

from __future__ import annotations

import builtins
import difflib
import inspect

from gopark.compiler.numba_api import FunctionPass, errors, ir, register_pass

# What queues, Go, threading and asyncio call an operation, and its names here.
_SYNONYMS = {
    "put": "send append",
    "push": "send append",
    "write": "send",
    "put_nowait": "try_send",
    "get": "recv",
    "pop": "recv",
    "read": "recv",
    "receive": "recv",
    "get_nowait": "try_recv",
    "capacity": "cap",
    "maxsize": "cap",
    "acquire": "lock",
    "release": "unlock",
    "join": "wait",
    "add": "append",
    "make": "chan",
    "Channel": "chan",
    "Queue": "chan",
    "go": "spawn",
    "create_task": "spawn",
    "Goexit": "goexit",
    "Lock": "Mutex",
}


def meant(given: str, known) -> str | None:
    """The one of the names `known` that `given` was meant to be; None if none is close."""
    known = list(known)
    plain = given.replace("_", "").lower()
    for name in known:
        if name.replace("_", "").lower() == plain:
            return name
    ours = [name for name in _SYNONYMS.get(given, "").split() if name in known]
    return next(iter(ours or difflib.get_close_matches(given, known, 1)), None)


def did_you_mean(given: str, known) -> str:
    """The question that ends an error message about the name `given`; empty if no name is close."""
    found = meant(given, known)
    return f"; did you mean {found!r}?" if found else ""


@register_pass(mutates_CFG=False, analysis_only=True)
class FindNames(FunctionPass):
    """Refuse global names that are not defined and attributes that modules do not have."""

    _name = "gopark_names"

    def __init__(self):
        FunctionPass.__init__(self)

    def run_pass(self, state):
        for block in state.func_ir.blocks.values():
            for s in block.find_insts(ir.Assign):
                if isinstance(s.value, ir.Global) and s.value.value is ir.UNDEFINED:
                    f = state.func_id
                    known = [*f.code.co_varnames, *f.code.co_freevars, *f.func.__globals__, *dir(builtins)]
                    name = s.value.name
                    raise errors.TypingError(f"name {name!r} is not defined{did_you_mean(name, known)}", loc=s.loc)
                if isinstance(s.value, ir.Expr) and s.value.op == "getattr":
                    self._check_attribute(state.func_ir, s)
        return False

    def _check_attribute(self, func_ir, s):
        try:
            owner = getattr(func_ir.get_definition(s.value.value), "value", None)
        except KeyError:
            return  # a variable with several values is no module
        name = s.value.attr
        if inspect.ismodule(owner) and not hasattr(owner, name):
            known = [n for n in dir(owner) if not n.startswith("_")]
            raise errors.TypingError(
                f"module {owner.__name__!r} has no attribute {name!r}{did_you_mean(name, known)}", loc=s.loc
            )
