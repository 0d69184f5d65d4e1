"""Channels in compiled code: type, typing and lowering, over runtime/chan.py.

A channel is one word, a reference to an object of the collected heap; `None` is the nil channel, which blocks for ever.
An element travels through a slot in the frame of the operation: the other goroutine copies from or to it directly.
"""

from __future__ import annotations

import operator
import types as python_types

from gopark.compiler import abi, lower, structs
from gopark.compiler.names import did_you_mean
from gopark.compiler.numba_api import (
    AbstractTemplate,
    AttributeTemplate,
    RefType,
    bound_function,
    cgutils,
    const,
    errors,
    i8,
    i8p,
    i64,
    infer_getattr,
    infer_global,
    iternext_impl,
    lir,
    lower_builtin,
    lower_constant,
    lower_getattr,
    models,
    register_model,
    signature,
    size_and_alignment,
    typeof_impl,
    types,
)
from gopark.compiler.structs import Nillable, Pointer, StructClass
from gopark.errors import ClosedChannelError
from gopark.runtime.chan import CLOSED, DONE, ENDED, WOULDBLOCK, MaxElem
from gopark.types.struct import descriptor, raise_out_of_memory


class Generic(type):
    """A class that an index tells its elements: Chan, List. The metaclass lets compiled code see it before that. The
    class's `named(element)` is the type of `cls[element]` as a value in compiled code."""


class Alias(metaclass=Generic):
    """`Chan[int]`, `List[int]`: the type of a slot in annotations."""

    def __init__(self, element):
        self.element = element

    def __class_getitem__(cls, element):
        return cls(element)

    def __repr__(self):
        return f"{type(self).__name__}[{getattr(self.element, '__name__', self.element)}]"


class Chan(Alias):
    """`Chan[T]` in annotations: a channel of T. Channels are made by `go.chan(T, cap)`.

    T may be anything a slot may hold (int, float, bool, NumPy scalars, structs, channels, tuples of these), up to 64
    KiB. `None` is the nil channel: a field that was not given is one. Send and receive on it block for ever.

    Example:

        @go.struct
        class Request:
            n: int
            reply: go.Chan[int]


        @go.func
        def answer(request):
            request.reply.send(2 * request.n)


        request = Request(21, go.chan(int, 1))
        go.run(answer, request)
        print(request.reply.recv())  # 42
    """

    def __gopark_type__(self, resolve):
        return ChanType(resolve(self.element))

    @classmethod
    def named(cls, element):
        return ElementSpec(ChanType(element))


class Container(Nillable, types.Hashable, types.IterableType):
    """A reference to an object of the collected heap that holds elements of one type, `dtype`."""

    pattern = "{}"  # of the name, around the elements'
    iterator: type[ContainerIterator]  # what iterates over it

    def __init__(self, dtype):
        self.dtype = dtype
        super().__init__(name=self.pattern.format(dtype))

    @property
    def key(self):
        return self.dtype

    @property
    def mangling_args(self):
        return self.pattern.format(""), (self.dtype,)

    @property
    def iterator_type(self):
        return self.iterator(self)


class ContainerIterator(types.SimpleIteratorType):
    def __init__(self, container):
        self.container = container
        super().__init__(f"iter({container})", container.dtype)


class ChanIterator(ContainerIterator):
    pass


class ChanType(Container):
    pattern, iterator = "chan({})", ChanIterator


@register_model(ChanType)
@register_model(ChanIterator)
class _ChanModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, i8p)


lower.declare_nillable(ChanType)


# ---- element types as values: go.chan(int), go.chan(Job), go.chan(Pair) with Pair = tuple[int, float]


class ElementSpec(types.Opaque):
    """A module-level alias that names an element type (`tuple[int, float]`, `Chan[int]`), as seen by compiled code."""

    def __init__(self, element):
        self.element = element
        super().__init__(name=f"type({element})")


class GenericClass(types.Opaque):
    """`go.Chan` or `go.List` as a value in compiled code."""

    def __init__(self, cls):
        self.cls = cls
        super().__init__(name=f"class {cls.__name__}")


register_model(ElementSpec)(models.OpaqueModel)
register_model(GenericClass)(models.OpaqueModel)


@typeof_impl.register(Generic)
def _typeof_generic_class(value, c):
    return GenericClass(value)


@infer_global(operator.getitem)
class _TellElements(AbstractTemplate):
    def generic(self, args, kws):
        if isinstance(args[0], GenericClass):
            return signature(args[0].cls.named(element_type(args[1])), *args)
        return None


@lower_builtin(operator.getitem, GenericClass, types.Any)
def _told(context, b, sig, args):
    return context.get_dummy_value()


@lower_constant(GenericClass)
def _no_value(context, builder, ty, pyval):
    return context.get_dummy_value()


@typeof_impl.register(Chan)
def _typeof_chan_alias(value, c):
    return ElementSpec(structs.resolve(value, "element type"))


@typeof_impl.register(python_types.GenericAlias)
def _typeof_generic_alias(value, c):
    return ElementSpec(structs.resolve(value, "element type"))


def element_type(ty):
    """The element type that an argument of `go.chan` names."""
    if isinstance(ty, ElementSpec):
        return ty.element
    if isinstance(ty, StructClass):
        return Pointer(ty.struct)
    if isinstance(ty, (types.NumberClass, types.TypeRef)):
        return ty.instance_type
    if isinstance(ty, types.Function) and ty.typing_key in structs.PLAIN:
        return structs.PLAIN[ty.typing_key]
    if isinstance(ty, types.Function) and ty.typing_key is str:
        return types.unicode_type
    first = "; the type comes first, then the capacity" if isinstance(ty, types.Integer) else ""
    raise errors.TypingError(f"go.chan(type, capacity): {ty} names no element type{first}")


def element_problem(ty) -> str | None:
    """Why a channel cannot have elements of the Numba type `ty`; None if it can."""
    problem = structs.slot_problem(ty)
    if problem is None and size_and_alignment(ty)[0] > MaxElem:
        return f"an element of {ty} is larger than 64 KiB; send a struct instead"
    return problem


def chan(element, cap: int = 0):
    """A new channel of `element`, with room for `cap` of them (0: sender and receiver meet).

    element: a type that a slot may hold: int, float, bool, a NumPy scalar, a struct, `go.Chan[T]`, a tuple of these.
    Works in go functions and in Python, where the channel is a handle whose methods block with the GIL released and
    take `timeout=`. Raises ValueError for a negative capacity, MemoryError if there is no room for it.

    Example:

        Pair = tuple[int, float]


        @go.func
        def main():
            pairs = go.chan(Pair, 2)
            pairs.send((1, 0.5))
            pairs.send((2, 1.5))
            pairs.close()
            total = 0.0
            for n, x in pairs:
                total += n * x
            return total


        print(go.run(main))  # 3.5
    """
    return structs.Border.make_channel(element, cap)


@infer_global(chan)
class _MakeChan(AbstractTemplate):
    def generic(self, args, kws):
        lower.require_go(self.context, "go.chan")
        args, kws = list(args), dict(kws)
        if "cap" in kws and len(args) == 1:
            args.append(kws.pop("cap"))
        if kws or not 1 <= len(args) <= 2:
            raise errors.TypingError("go.chan(type, cap=0) takes an element type and a capacity")
        element = element_type(args[0])
        problem = element_problem(element)
        if problem:
            raise errors.TypingError(f"go.chan: {problem}")
        if len(args) == 2 and not isinstance(args[1], (types.Integer, types.IntegerLiteral)):
            raise errors.TypingError(f"go.chan: the capacity is an integer, not {args[1]}")
        result = ChanType(element)
        return signature(result, args[0], types.int64) if len(args) == 2 else signature(result, args[0])


@lower_builtin(chan, types.Any)
@lower_builtin(chan, types.Any, types.int64)
def _make(context, b, sig, args):
    element = sig.return_type.dtype
    count = args[1] if len(args) == 2 else const(0)
    if len(args) == 2:
        with b.if_then(b.icmp_signed("<", count, const(0)), likely=False):
            lower.raise_here(context, b, ValueError, "go.chan: the capacity is negative")
    desc = descriptor(context, b, "value", element)
    made = lower.call_runtime(context, b, "go.makechan", i8p, [desc, count])
    with b.if_then(cgutils.is_null(b, made), likely=False):
        raise_out_of_memory(context, b, b.mul(count, const(size_and_alignment(element)[0])))
    return made


# ---- operations


def check_sent(context, channel: ChanType, value, what: str) -> None:
    lower.refuse_interior(value, f"sending it on {channel}")
    if not lower.convertible(context, value, channel.dtype):
        raise errors.TypingError(f"{what}: cannot send {value} on {channel}")


@infer_getattr
class _ChanAttributes(AttributeTemplate):
    key = ChanType

    def _no_arguments(self, channel, name, args, kws):
        lower.require_go(self.context, f"{channel}.{name}")
        if args or kws:
            raise errors.TypingError(f"{channel}.{name}() takes no arguments")

    def _one_argument(self, channel, name, args, kws):
        lower.require_go(self.context, f"{channel}.{name}")
        if len(args) != 1 or kws:
            raise errors.TypingError(f"{channel}.{name}(value) takes one argument")
        check_sent(self.context, channel, args[0], name)

    @bound_function("go.chan.send")
    def resolve_send(self, channel, args, kws):
        self._one_argument(channel, "send", args, kws)
        return signature(types.none, channel.dtype)

    @bound_function("go.chan.try_send")
    def resolve_try_send(self, channel, args, kws):
        self._one_argument(channel, "try_send", args, kws)
        return signature(types.boolean, channel.dtype)

    @bound_function("go.chan.recv")
    def resolve_recv(self, channel, args, kws):
        self._no_arguments(channel, "recv", args, kws)
        return signature(channel.dtype)

    @bound_function("go.chan.recv_ok")
    def resolve_recv_ok(self, channel, args, kws):
        self._no_arguments(channel, "recv_ok", args, kws)
        return signature(types.Tuple((channel.dtype, types.boolean)))

    @bound_function("go.chan.try_recv")
    def resolve_try_recv(self, channel, args, kws):
        self._no_arguments(channel, "try_recv", args, kws)
        return signature(types.Tuple((channel.dtype, types.boolean)))

    @bound_function("go.chan.close")
    def resolve_close(self, channel, args, kws):
        self._no_arguments(channel, "close", args, kws)
        return signature(types.none)

    def resolve_cap(self, channel):
        lower.require_go(self.context, f"{channel}.cap")
        return types.int64

    def generic_resolve(self, channel, name):
        known = ("send", "recv", "recv_ok", "try_send", "try_recv", "close", "cap")
        raise errors.TypingError(f"{channel} has no {name!r} (there are {', '.join(known)}){did_you_mean(name, known)}")


def element_slot(context, b, ty):
    """Memory in this frame for one element."""
    return cgutils.alloca_once(b, context.get_data_type(ty))


def _address(b, slot):
    return b.ptrtoint(slot, i64)


def _block(yes: bool):
    return lir.Constant(i8, int(yes))


def leave_if_ended(context, b, result):
    """The run has ended while the goroutine waited: leave, whatever handlers there are."""
    with b.if_then(b.icmp_signed("==", result, const(ENDED)), likely=False):
        context.call_conv.return_ended(b)


def raise_closed(context, b, text: str):
    lower.raise_here(context, b, ClosedChannelError, text)


def _emit_send(context, b, channel, value, sig, block):
    ty = sig.args[0].dtype
    slot = element_slot(context, b, ty)
    context.pack_value(b, ty, value, slot)
    result = lower.call_runtime(context, b, "go.chansend", i64, [channel, _address(b, slot), _block(block)])
    with b.if_then(b.icmp_signed("<=", result, const(CLOSED)), likely=False):
        leave_if_ended(context, b, result)
        raise_closed(context, b, "send on closed channel")
    return result


@lower_builtin("go.chan.send", ChanType, types.Any)
def _send(context, b, sig, args):
    _emit_send(context, b, *args, sig, block=True)
    return context.get_dummy_value()


@lower_builtin("go.chan.try_send", ChanType, types.Any)
def _try_send(context, b, sig, args):
    result = _emit_send(context, b, *args, sig, block=False)
    return b.icmp_signed("==", result, const(DONE))


def _emit_recv(context, b, ty, channel, block):
    slot = element_slot(context, b, ty)
    result = lower.call_runtime(context, b, "go.chanrecv", i64, [channel, _address(b, slot), _block(block)])
    if block:
        leave_if_ended(context, b, result)
    else:  # a nil channel has no element size by which the runtime could clear the slot
        with b.if_then(b.icmp_signed("==", result, const(WOULDBLOCK)), likely=False):
            b.store(lir.Constant(slot.type.pointee, None), slot)
    return context.unpack_value(b, ty, slot), b.icmp_signed("==", result, const(DONE))


@lower_builtin("go.chan.recv", ChanType)
def _recv(context, b, sig, args):
    return _emit_recv(context, b, sig.return_type, args[0], True)[0]


@lower_builtin("go.chan.recv_ok", ChanType)
def _recv_ok(context, b, sig, args):
    return context.make_tuple(b, sig.return_type, _emit_recv(context, b, sig.args[0].dtype, args[0], True))


@lower_builtin("go.chan.try_recv", ChanType)
def _try_recv(context, b, sig, args):
    return context.make_tuple(b, sig.return_type, _emit_recv(context, b, sig.args[0].dtype, args[0], False))


@lower_builtin("go.chan.close", ChanType)
def _close(context, b, sig, args):
    result = lower.call_runtime(context, b, "go.closechan", i64, [args[0]])
    with b.if_then(b.icmp_signed("!=", result, const(DONE)), likely=False):
        with b.if_then(b.icmp_signed("==", result, const(WOULDBLOCK))):
            lower.raise_here(context, b, lower.NilPointerError, "close of a nil channel")
        raise_closed(context, b, "close of closed channel")
    return context.get_dummy_value()


@infer_global(len)
class _Length(AbstractTemplate):
    def generic(self, args, kws):
        if len(args) == 1 and isinstance(args[0], ChanType):
            lower.require_go(self.context, f"len({args[0]})")
            return signature(types.int64, *args)
        return None


def _emit_count(b, channel, offset):
    """A word of the channel, 0 for the nil channel."""
    result = cgutils.alloca_once_value(b, const(0))
    with b.if_then(cgutils.is_not_null(b, channel)):
        b.store(b.load(b.bitcast(b.gep(channel, [const(offset)]), i64.as_pointer())), result)
    return b.load(result)


@lower_builtin(len, ChanType)
def _len(context, b, sig, args):
    return _emit_count(b, args[0], abi.HCHAN_QCOUNT)


@lower_getattr(ChanType, "cap")
def _cap(context, b, ty, value):
    return _emit_count(b, value, abi.HCHAN_DATAQSIZ)


@lower_builtin("getiter", ChanType)
def _getiter(context, b, sig, args):
    return args[0]


@lower_builtin("iternext", ChanIterator)
@iternext_impl(RefType.NEW)
def _iternext(context, b, sig, args, result):
    value, ok = _emit_recv(context, b, sig.args[0].container.dtype, args[0], True)
    result.set_valid(ok)
    with b.if_then(ok):
        result.yield_(value)
