"""Mutex and WaitGroup in compiled code: their methods, over runtime/sync.py.

Both are structs whose zero value is ready. As a field of another struct they are values inside it; made alone they are
objects of the collected heap, which may be passed and spawned with.
"""

from __future__ import annotations

from gopark.compiler import lower
from gopark.compiler.numba_api import (
    AbstractTemplate,
    const,
    errors,
    i8,
    i64,
    lower_builtin,
    signature,
    types,
)
from gopark.compiler.structs import Ref
from gopark.runtime.sync import MISUSE, Mutex, WaitGroup
from gopark.types.chan import leave_if_ended


def _method(struct, name, result, *parameters):
    """Declare a method: typing now, lowering by the decorated function (context, b, address of the struct,
    *arguments)."""
    key = f"go.{struct.__name__}.{name}"

    class Template(AbstractTemplate):
        def generic(self, args, kws):
            lower.require_go(self.context, f"{struct.__name__}.{name}")
            if kws or len(args) != len(parameters):
                wanted = ", ".join(n for n, _ in parameters) or "nothing"
                raise errors.TypingError(f"{struct.__name__}.{name}({wanted}): got {len(args) + len(kws)} arguments")
            for (parameter, ty), given in zip(parameters, args, strict=True):
                if not lower.convertible(self.context, given, ty):
                    raise errors.TypingError(f"{struct.__name__}.{name}({parameter}): {given} is no {ty}")
            return signature(result, *[ty for _, ty in parameters], recvr=self.this)

    Template.key = key
    Template.__name__ = f"{struct.__name__}_{name}"
    lower.METHODS.setdefault(struct, {})[name] = Template

    def register(implementation):
        @lower_builtin(key, Ref, *[ty for _, ty in parameters])
        def lowered(context, b, sig, args):
            lower.check_nil(context, b, args[0], f"{struct.__name__}.{name}")
            made = implementation(context, b, *args)
            return context.get_dummy_value() if made is None else made

        return implementation

    return register


def _raise_runtime_error(context, b, failed, text):
    with b.if_then(failed, likely=False):
        lower.raise_here(context, b, RuntimeError, text)


@_method(Mutex, "lock", types.none)
def _lock(context, b, mutex):
    leave_if_ended(context, b, lower.call_runtime(context, b, "go.mutexlock", i64, [mutex]))


@_method(Mutex, "try_lock", types.boolean)
def _try_lock(context, b, mutex):
    return b.icmp_unsigned("!=", lower.call_runtime(context, b, "go.mutextrylock", i8, [mutex]), i8(0))


@_method(Mutex, "unlock", types.none)
def _unlock(context, b, mutex):
    result = lower.call_runtime(context, b, "go.mutexunlock", i64, [mutex])
    _raise_runtime_error(context, b, b.icmp_signed("==", result, const(MISUSE)), "sync: unlock of unlocked mutex")


def _add(context, b, group, delta):
    result = lower.call_runtime(context, b, "go.waitgroupadd", i64, [group, delta])
    _raise_runtime_error(context, b, b.icmp_signed("==", result, const(MISUSE)), "sync: negative WaitGroup counter")


_method(WaitGroup, "add", types.none, ("n", types.int64))(_add)


@_method(WaitGroup, "done", types.none)
def _done(context, b, group):
    _add(context, b, group, const(-1))


@_method(WaitGroup, "wait", types.none)
def _wait(context, b, group):
    leave_if_ended(context, b, lower.call_runtime(context, b, "go.waitgroupwait", i64, [group]))
