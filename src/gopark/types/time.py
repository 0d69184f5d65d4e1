"""Clocks in compiled code."""

from __future__ import annotations

import time

from gopark.compiler import lower
from gopark.compiler.numba_api import (
    AbstractTemplate,
    errors,
    f64,
    i64,
    infer_global,
    lower_builtin,
    signature,
    types,
)


def monotonic() -> float:
    """The monotonic clock in seconds, as `time.monotonic()`: the same clock in compiled code and in Python.

    Example:

        @go.func
        def later(start):
            return go.monotonic() >= start


        print(go.run(later, go.monotonic()))  # True
    """
    return time.monotonic()


@infer_global(monotonic)
class _Monotonic(AbstractTemplate):
    def generic(self, args, kws):
        lower.require_go(self.context, "go.monotonic")
        if args or kws:
            raise errors.TypingError("go.monotonic() takes no arguments")
        return signature(types.float64)


@lower_builtin(monotonic)
def _lower_monotonic(context, b, sig, args):
    nanoseconds = lower.call_runtime(context, b, "go.nanotime", i64, [])
    return b.fmul(b.sitofp(nanoseconds, f64), f64(1e-9))
