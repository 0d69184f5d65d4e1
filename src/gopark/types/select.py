"""`go.select` in compiled code.

    s = go.select(job=go.recv(jobs), out=go.send(results, x), default=True)
    if s.case == "job": handle(s.job)      # s.ok: False when the channel was closed

Labels are keywords, checked at compile time: `s.case` compares with literal strings only, and lowers to the comparison
of an integer, of which LLVM makes a jump table. Values are typed attributes. The cases are sudogs in the caller's
frame, so a select allocates nothing (runtime/select.py).
"""

from __future__ import annotations

import inspect
import operator

from gopark.compiler import lower
from gopark.compiler.numba_api import (
    AbstractTemplate,
    AttributeTemplate,
    cgutils,
    const,
    errors,
    i8,
    i8p,
    i64,
    infer_getattr,
    infer_global,
    lir,
    lower_builtin,
    lower_getattr_generic,
    models,
    register_model,
    signature,
    types,
)
from gopark.runtime.runtime2 import Sudog
from gopark.runtime.select import DEFAULT, OK, RECV, SEND, SENDCLOSED
from gopark.types.chan import ChanType, check_sent, element_slot, leave_if_ended, raise_closed
from gopark.types.list import ListType
from gopark.types.struct import raise_out_of_memory

RESERVED = ("case", "ok", "default", "index")


def recv(ch):
    """A case of `go.select`: receive from `ch`. TypeError from Python, where `ch.recv()` receives."""
    raise TypeError("go.recv(ch) is a case of go.select(...), inside a @go.func; ch.recv() receives")


def send(ch, value):
    """A case of `go.select`: send `value` on `ch`. TypeError from Python, where `ch.send(value)` sends."""
    raise TypeError("go.send(ch, value) is a case of go.select(...), inside a @go.func; ch.send(value) sends")


def select(**cases):
    """Wait for the first of several channel operations; fair among those that are ready.

    Each keyword labels a case, `go.recv(ch)` or `go.send(ch, value)`. With `default=True` it does not wait. Without any
    case it blocks for ever. A nil channel takes its case out. The result has `.case` (the label that took place,
    "default" when none was ready), `.ok` (False when the channel of a receive was closed) and the received value under
    each label. A send on a closed channel raises ClosedChannelError. In compiled code only.

    Example:

        @go.func
        def main():
            numbers, quit = go.chan(int, 1), go.chan(bool)
            numbers.send(7)
            s = go.select(number=go.recv(numbers), quit=go.recv(quit), default=True)
            if s.case == "number":
                return s.number
            return -1


        print(go.run(main))  # 7
    """
    raise TypeError("go.select(...) works inside a @go.func")


def select_recv(channels):
    """Receive from whichever of several channels is ready first: `(i, value, ok)`, as Go's `reflect.Select`.

    channels: a go.List of channels, or a tuple of channels with one type of elements. Nil ones are left out. `i` is
    the index of the channel, `value` what it gave, `ok` False (and `value` zero) if it was closed.
    Fair among those that are ready; blocks while none is, for ever if all are nil or if there are none. Raises
    MemoryError if there is no memory for so many cases. In compiled code only.

    Example:

        @go.func
        def first(channels):
            return go.select_recv(channels)


        a, b = go.chan(int, 1), go.chan(int, 1)
        b.send(5)
        print(go.run(first, (a, b)))  # (1, 5, True)
    """
    raise TypeError("go.select_recv(channels) works inside a @go.func")


class CaseType(types.Type):
    """`go.recv(ch)` or `go.send(ch, value)`."""

    def __init__(self, kind, channel):
        self.kind, self.channel = kind, channel
        super().__init__(name=f"{kind}({channel})")


class SelectType(types.Type):
    """The result of a select."""

    def __init__(self, labels, cases):
        self.labels, self.cases = labels, cases
        self.fields = [("index", types.int64), ("ok", types.boolean)]
        self.fields += [(n, c.channel.dtype) for n, c in zip(labels, cases, strict=True) if c.kind == "recv"]
        super().__init__(name=f"select({', '.join(f'{n}={c}' for n, c in zip(labels, cases, strict=True))})")


class LabelType(types.Type):
    """`.case` of a select: comparable with the literal labels."""

    def __init__(self, labels):
        self.labels = labels
        super().__init__(name=f"label of select({', '.join(labels)})")


@register_model(CaseType)
class _CaseModel(models.StructModel):
    def __init__(self, dmm, ty):
        members = [("channel", ty.channel)]
        if ty.kind == "send":
            members.append(("value", ty.channel.dtype))
        super().__init__(dmm, ty, members)


@register_model(SelectType)
class _SelectModel(models.StructModel):
    def __init__(self, dmm, ty):
        super().__init__(dmm, ty, ty.fields)


@register_model(LabelType)
class _LabelModel(models.PrimitiveModel):
    def __init__(self, dmm, ty):
        super().__init__(dmm, ty, i64)


@infer_global(recv)
class _RecvCase(AbstractTemplate):
    def generic(self, args, kws):
        lower.require_go(self.context, "go.recv")
        if len(args) != 1 or kws or not isinstance(args[0], ChanType):
            raise errors.TypingError("go.recv(ch) takes a channel")
        return signature(CaseType("recv", args[0]), args[0])


@infer_global(send)
class _SendCase(AbstractTemplate):
    def generic(self, args, kws):
        lower.require_go(self.context, "go.send")
        if len(args) != 2 or kws or not isinstance(args[0], ChanType):
            raise errors.TypingError("go.send(ch, value) takes a channel and a value")
        check_sent(self.context, args[0], args[1], "go.send")
        return signature(CaseType("send", args[0]), args[0], args[0].dtype)


@lower_builtin(recv, ChanType)
@lower_builtin(send, ChanType, types.Any)
def _make_case(context, b, sig, args):
    case = cgutils.create_struct_proxy(sig.return_type)(context, b)
    case.channel = args[0]
    if len(args) == 2:
        case.value = args[1]
    return case._getvalue()


@infer_global(select)
class _Select(AbstractTemplate):
    def generic(self, args, kws):
        lower.require_go(self.context, "go.select")
        if args:
            raise errors.TypingError("go.select(label=go.recv(ch), ...): every case has a label")
        kws = dict(kws)
        default = kws.pop("default", None)
        if default is not None and not isinstance(default, (types.Boolean, types.BooleanLiteral)):
            raise errors.TypingError("go.select(default=...) is True or False")
        for label, case in kws.items():
            if label in RESERVED:
                raise errors.TypingError(f"go.select: {label!r} cannot be a label; it is an attribute of the result")
            if not isinstance(case, CaseType):
                raise errors.TypingError(f"go.select: case {label!r} is go.recv(ch) or go.send(ch, value), not {case}")
        labels, cases = tuple(kws), tuple(kws.values())
        names = [*labels, *(["default"] if default is not None else [])]
        given = [*cases, *([types.boolean] if default is not None else [])]
        parameters = [inspect.Parameter(n, inspect.Parameter.KEYWORD_ONLY) for n in names]
        parameters = [p.replace(kind=inspect.Parameter.POSITIONAL_OR_KEYWORD) for p in parameters]
        return signature(SelectType(labels, cases), *given).replace(pysig=inspect.Signature(parameters))


class _Cases:
    """The cases of a select in the caller's frame, as the runtime wants them: an array of sudogs."""

    WORDS = Sudog.size // 8

    def __init__(self, b, n):
        self.b, self.n, self.sends = b, n, False
        self.array = cgutils.alloca_once(b, lir.ArrayType(i64, self.WORDS * max(n, 1)))

    def put(self, i, kind, channel, slot):
        """Case i receives into `slot`, or sends what lies there."""
        b, self.sends = self.b, self.sends or kind == SEND
        values = {"elem": b.ptrtoint(slot, i64), "c": b.ptrtoint(channel, i64), "kind": const(kind), "index": const(i)}
        for field, value in values.items():
            offset = i * self.WORDS + Sudog.fields[field][0] // 8
            b.store(value, cgutils.gep_inbounds(b, self.array, 0, offset))

    def select(self, context, block):
        """Perform one of them; what runtime/select.py returns. Does not come back if the run has ended, or from a send
        on a closed channel."""
        b = self.b
        arguments = [b.bitcast(self.array, i8p), const(self.n), block]
        outcome = lower.call_runtime(context, b, "go.selectgo", i64, arguments)
        with b.if_then(b.icmp_signed("<", outcome, const(0)), likely=False):
            leave_if_ended(context, b, outcome)
            if self.sends:
                with b.if_then(b.icmp_signed("==", outcome, const(SENDCLOSED))):
                    raise_closed(context, b, "send on closed channel")
        return outcome


def _index_of(b, outcome):
    return b.and_(outcome, const(OK - 1))


def _was_ok(b, outcome):
    return b.icmp_unsigned("!=", b.and_(outcome, const(OK)), const(0))


@lower_builtin(select, types.VarArg(types.Any))
def _lower_select(context, b, sig, args):
    result = sig.return_type
    n = len(result.cases)
    cases, slots = _Cases(b, n), []
    for i, (ty, value) in enumerate(zip(result.cases, args, strict=False)):
        case = cgutils.create_struct_proxy(ty)(context, b, value=value)
        slot = element_slot(context, b, ty.channel.dtype)
        slots.append(slot)
        if ty.kind == "send":
            context.pack_value(b, ty.channel.dtype, case.value, slot)
        else:
            b.store(lir.Constant(slot.type.pointee, None), slot)
        cases.put(i, SEND if ty.kind == "send" else RECV, case.channel, slot)
    block = lir.Constant(i8, 1) if len(args) == n else b.zext(b.not_(args[-1]), i8)
    outcome = cases.select(context, block)
    out = cgutils.create_struct_proxy(result)(context, b)
    is_default = b.icmp_signed("==", outcome, const(DEFAULT))
    out.index = b.select(is_default, const(-1), _index_of(b, outcome))
    out.ok = b.and_(b.not_(is_default), _was_ok(b, outcome))
    for label, ty, slot in zip(result.labels, result.cases, slots, strict=True):
        if ty.kind == "recv":
            setattr(out, label, context.unpack_value(b, ty.channel.dtype, slot))
    return out._getvalue()


@infer_global(select_recv)
class _SelectRecv(AbstractTemplate):
    def generic(self, args, kws):
        lower.require_go(self.context, "go.select_recv")
        if len(args) != 1 or kws:
            raise errors.TypingError("go.select_recv(channels) takes one argument, a list or tuple of channels")
        channels = args[0]
        if isinstance(channels, ListType) and isinstance(channels.dtype, ChanType):
            return signature(types.Tuple((types.int64, channels.dtype.dtype, types.boolean)), channels)
        if isinstance(channels, types.BaseTuple) and all(isinstance(t, ChanType) for t in channels):
            if isinstance(channels, types.UniTuple):
                element = channels.dtype.dtype
                return signature(types.Tuple((types.int64, element, types.boolean)), channels)
            if len(channels):
                names = ", ".join(dict.fromkeys(str(t) for t in channels))
                raise errors.TypingError(
                    f"go.select_recv(channels): the channels carry different types ({names}). "
                    f"go.select(label=go.recv(ch), ...) takes a mix"
                )
        raise errors.TypingError(
            f"go.select_recv(channels) takes a go.List of channels, or a tuple of one or more such as (a, b, c), not "
            f"{channels}"
        )


@lower_builtin(select_recv, types.UniTuple)
def _lower_select_recv(context, b, sig, args):
    channels = sig.args[0]
    slot = _zeroed_slot(context, b, channels.dtype.dtype)  # one for all: only the case that happens writes it
    cases = _Cases(b, channels.count)
    for i in range(channels.count):
        cases.put(i, RECV, b.extract_value(args[0], i), slot)
    outcome = cases.select(context, lir.Constant(i8, 1))
    return _received(context, b, sig.return_type, outcome, slot)


@lower_builtin(select_recv, ListType)
def _lower_select_recv_list(context, b, sig, args):
    slot = _zeroed_slot(context, b, sig.args[0].dtype.dtype)
    outcome = lower.call_runtime(context, b, "go.selectrecv", i64, [args[0], b.ptrtoint(slot, i64)])
    with b.if_then(b.icmp_signed("<", outcome, const(0)), likely=False):
        leave_if_ended(context, b, outcome)
        raise_out_of_memory(context, b, const(Sudog.size))
    return _received(context, b, sig.return_type, outcome, slot)


def _zeroed_slot(context, b, ty):
    slot = element_slot(context, b, ty)
    b.store(lir.Constant(slot.type.pointee, None), slot)
    return slot


def _received(context, b, ty, outcome, slot):
    """The tuple (index, value, ok)."""
    value = context.unpack_value(b, ty.types[1], slot)
    return context.make_tuple(b, ty, (_index_of(b, outcome), value, _was_ok(b, outcome)))


@infer_getattr
class _SelectAttributes(AttributeTemplate):
    key = SelectType

    def generic_resolve(self, ty, name):
        if name == "case":
            return LabelType(ty.labels)
        found = dict(ty.fields).get(name)
        if found is None or name == "index":
            receives = [n for n, _ in ty.fields[2:]]
            raise errors.TypingError(
                f"this select has no {name!r}: there are case, ok and {', '.join(receives) or 'no values'}"
            )
        return found


@lower_getattr_generic(SelectType)
def _load_attribute(context, b, ty, value, name):
    out = cgutils.create_struct_proxy(ty)(context, b, value=value)
    return out.index if name == "case" else getattr(out, name)


def _label_comparison(op, how):
    @infer_global(op)
    class _Compare(AbstractTemplate):
        metadata = {"target": "cpu"}
        prefer_literal = True

        def generic(self, args, kws):
            if isinstance(args[1], LabelType):
                args = (args[1], args[0])
            label, other = args
            if not isinstance(label, LabelType):
                return None
            if not isinstance(other, types.StringLiteral):
                raise errors.TypingError("the case of a select compares with a literal label only")
            if other.literal_value not in (*label.labels, "default"):
                known = ", ".join(map(repr, (*label.labels, "default")))
                raise errors.TypingError(
                    f"no case of this select is labelled {other.literal_value!r}; there are {known}"
                )
            return signature(types.boolean, label, other)

    @lower_builtin(op, LabelType, types.StringLiteral)
    def compare(context, b, sig, args):
        label, labels = sig.args[1].literal_value, sig.args[0].labels
        return b.icmp_signed(how, args[0], const(labels.index(label) if label in labels else -1))


_label_comparison(operator.eq, "==")
_label_comparison(operator.ne, "!=")
