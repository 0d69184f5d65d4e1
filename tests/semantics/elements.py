"""Channel operations on elements that lie in arrays.

An element of 64 KiB is a tuple of thousands of numbers, and no compiler takes such a value through registers in a
reasonable time. The runtime only ever sees an element's address, so these operations give it the address of an array's
data: the same calls that `ch.send(v)`, `ch.recv()` and `go.select(...)` make, without a value in between.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core.imputils import impl_ret_untracked
from numba.extending import intrinsic

from gopark.compiler import lower
from gopark.runtime.runtime2 import Sudog
from gopark.types.select import OK, RECV, SEND, _Cases

assert Sudog.size % 8 == 0

i8, i64 = ir.IntType(8), ir.IntType(64)


def _data(context, b, ty, value):
    return context.make_array(ty)(context, b, value).data


def _operation(name):
    def of(typingctx, ch, array):
        def codegen(context, b, sig, args):
            ep = b.ptrtoint(_data(context, b, sig.args[1], args[1]), i64)
            result = lower.call_runtime(context, b, name, i64, [args[0], ep, ir.Constant(i8, 1)])
            return impl_ret_untracked(context, b, sig.return_type, result)

        return types.int64(ch, array), codegen

    return of


@intrinsic
def send_from(typingctx, ch, array):
    """Send the element that lies in `array`: 1, or 0 if the channel is closed."""
    return _operation("go.chansend")(typingctx, ch, array)


@intrinsic
def recv_into(typingctx, ch, array):
    """Receive an element into `array`: 1, or 0 and zeros if the channel is closed."""
    return _operation("go.chanrecv")(typingctx, ch, array)


@intrinsic
def select_either(typingctx, out, given, into, taken):
    """Send `given` on `out` or receive into `taken` from `into`: 0 sent, 1 received, 2 `into` is closed."""

    def codegen(context, b, sig, args):
        cases = _Cases(b, 2)
        cases.put(0, SEND, args[0], _data(context, b, sig.args[1], args[1]))
        cases.put(1, RECV, args[2], _data(context, b, sig.args[3], args[3]))
        outcome = cases.select(context, ir.Constant(i8, 1))
        closed = b.icmp_signed("==", outcome, i64(1))
        return b.select(closed, i64(2), b.and_(outcome, i64(OK - 1)))

    return types.int64(out, given, into, taken), codegen
