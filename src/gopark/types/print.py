"""print(...) in go functions: formatted natively, one write to standard output, no GIL.

Numba turns a call of `print` into a statement of its own, which its type inference accepts with arguments of any type;
Numba's lowering of it takes the GIL and calls Python. `lower_print` replaces that lowering in go functions:

1. The arguments become *pieces*: text that is known now (separators, literals, None, the punctuation of tuples), calls
   of the formatting functions of runtime/print.py, and choices (an Optional is None or a value).
2. The upper bounds of their lengths are added up, at run time only where a str is among them. The buffer is one of
   BUFFER bytes in the frame, which all print statements of the function share, or else one from the C heap.
3. The pieces are written one after the other; adjacent text is one copy. Nothing but text needs no buffer at all.
4. `go.printwrite` gives the result to the kernel: lines of different goroutines do not mix. If the kernel refuses,
   print raises: BrokenPipeError when nobody reads any more, OSError otherwise.

Between 2 and 4 nothing polls or raises, so the buffer from the heap cannot leak.

What is printed is what Python's print would show of the same value: `str` of an argument, `repr` of what is in a tuple.
NumPy's scalars are shown as Python's numbers inside tuples too, because in compiled code they are the same. Other types
are refused at compile time.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass

from gopark.compiler import funcinfo
from gopark.compiler.errpath import UserLower
from gopark.compiler.lower import call_runtime, note, raise_here
from gopark.compiler.numba_api import (
    NULL,
    cgutils,
    const,
    errors,
    extern,
    i8,
    i8p,
    i64,
    lir,
    types,
    void,
)
from gopark.compiler.structs import Pointer
from gopark.runtime import print as bounds

STDOUT = 1
BUFFER = 512  # bytes in the frame: goroutines have small stacks, and most lines are shorter


# ---- pieces


@dataclass
class _Call:
    """A formatting function with its arguments behind the address, and the upper bound: constant + per_item * items."""

    symbol: str
    arguments: list
    constant: int
    per_item: int = 0
    items: object = None


@dataclass
class _Choice:
    """The pieces if `valid`, otherwise None."""

    valid: object
    pieces: list


def _pieces(low, ty, value, nested: bool, refuse) -> list:
    """The pieces of a value: of its `str`, or if it is `nested` in a tuple of its `repr`."""
    context, b = low.context, low.builder
    if isinstance(ty, types.Literal) and isinstance(ty.literal_value, (bool, int, str)):
        return [repr(ty.literal_value) if nested else str(ty.literal_value)]
    if isinstance(ty, types.NoneType):
        return ["None"]
    if isinstance(ty, types.Boolean):
        return [_Call("go.printbool", [b.zext(context.cast(b, value, ty, types.boolean), i8)], bounds.MAX_BOOL)]
    if isinstance(ty, types.Integer):
        wide = types.int64 if ty.signed else types.uint64
        name = "go.printint" if ty.signed else "go.printuint"
        return [_Call(name, [context.cast(b, value, ty, wide)], bounds.MAX_INT)]
    if ty in (types.float64, types.float32):
        name = "go.printfloat" if ty == types.float64 else "go.printfloat32"
        return [_Call(name, [value], bounds.MAX_FLOAT)]
    if ty in (types.complex128, types.complex64):
        name = "go.printcomplex" if ty == types.complex128 else "go.printcomplex64"
        parts = context.make_complex(b, ty, value)
        return [_Call(name, [parts.real, parts.imag], bounds.MAX_COMPLEX)]
    if isinstance(ty, types.UnicodeType):
        return [_str_call(context, b, ty, value, nested)]
    if isinstance(ty, types.Optional):
        optional = context.make_helper(b, ty, value=value)
        return [_Choice(optional.valid, _pieces(low, ty.type, optional.data, nested, refuse))]
    if isinstance(ty, types.BaseTuple):
        return _tuple_pieces(low, ty, value, refuse)
    raise refuse(ty)


def _str_call(context, b, ty, value, nested):
    s = cgutils.create_struct_proxy(ty)(context, b, value=value)
    arguments = [b.ptrtoint(s.data, i64), b.sext(s.kind, i64), s.length]
    if nested:
        return _Call("go.printreprstr", arguments, bounds.MAX_REPR_QUOTES, bounds.MAX_REPR_CHAR, s.length)
    return _Call("go.printstr", arguments, 0, bounds.MAX_STR_CHAR, s.length)


def _tuple_pieces(low, ty, value, refuse):
    """(1, 2), (1,), and Point(x=1, y=2) of a named tuple."""
    named = isinstance(ty, types.BaseNamedTuple)
    out = [f"{ty.instance_class.__name__}(" if named else "("]
    for i, element in enumerate(ty.types):
        if i:
            out.append(", ")
        if named:
            out.append(f"{ty.fields[i]}=")
        out += _pieces(low, element, low.builder.extract_value(value, i), True, refuse)
    out.append(",)" if len(ty.types) == 1 and not named else ")")
    return out


def _joined(pieces: list) -> list:
    """Adjacent texts as one."""
    out = []
    for piece in pieces:
        if isinstance(piece, str) and out and isinstance(out[-1], str):
            out[-1] += piece
        else:
            out.append(piece)
    return out


def _encoded(text: str) -> bytes:
    """As runtime/print.py encodes: a lone surrogate becomes U+FFFD."""
    return "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in text).encode()


def _bound(b, pieces: list):
    """Upper bound of the length: the constant part, and the part known at run time or None."""
    constant, dynamic = 0, None
    for piece in pieces:
        part = None
        if isinstance(piece, str):
            constant += len(_encoded(piece))
        elif isinstance(piece, _Call):
            constant += piece.constant
            if piece.items is not None:
                part = b.mul(piece.items, const(piece.per_item))
        else:
            inner, part = _bound(b, piece.pieces)
            constant += max(inner, len("None"))
            if part is not None:
                part = b.select(piece.valid, part, const(0))  # without a value there is no length to believe
        if part is not None:
            dynamic = part if dynamic is None else b.add(dynamic, part)
    return constant, dynamic


def _text_constant(b, data: bytes):
    """The address of constant bytes, as an i8*."""
    return b.bitcast(cgutils.global_constant(b.module, "go.print.text", cgutils.make_bytearray(data)), i8p)


def _emit(context, b, pieces: list, p):
    """Code that writes the pieces at the address p; returns the address behind them."""
    for piece in _joined(pieces):
        if isinstance(piece, str):
            data = _encoded(piece)
            cgutils.raw_memcpy(b, b.inttoptr(p, i8p), _text_constant(b, data), const(len(data)), 1)
            p = b.add(p, const(len(data)))
        elif isinstance(piece, _Call):
            p = call_runtime(context, b, piece.symbol, i64, [p, *piece.arguments])
        else:
            with b.if_else(piece.valid) as (some, nothing):
                with some:
                    after_value = _emit(context, b, piece.pieces, p)
                    value_block = b.block
                with nothing:
                    after_none = _emit(context, b, ["None"], p)
                    none_block = b.block
            p = b.phi(i64)
            p.add_incoming(after_value, value_block)
            p.add_incoming(after_none, none_block)
    return p


# ---- the statement


def _arguments(low, inst):
    """(type, value) of each argument; the elements of `*args` are arguments of their own."""
    out = []
    for i, variable in enumerate(inst.args):
        if isinstance(inst.consts.get(i), str):
            out.append((types.literal(inst.consts[i]), None))
        else:
            out.append((low.typeof(variable.name), low.loadvar(variable.name)))
    if inst.vararg:
        ty, value = low.typeof(inst.vararg.name), low.loadvar(inst.vararg.name)
        if not isinstance(ty, types.BaseTuple):
            raise errors.LoweringError(
                f"print: *{inst.vararg.name} is of type {ty}; only a tuple can follow the *", loc=low.loc
            )
        out += [(element, low.builder.extract_value(value, i)) for i, element in enumerate(ty.types)]
    return out


def _advice(ty) -> str:
    if isinstance(ty, Pointer):
        return f"Print its fields one by one (x.{next(iter(ty.struct.fields), 'field')})"
    if isinstance(ty, types.Array):
        return "Print its elements, or return the array and print it from Python"
    if isinstance(ty, types.Float):
        return "Convert it to float64 first"
    if isinstance(ty, (types.List, types.ListType, types.Set, types.DictType)):
        return "Print its elements in a loop"
    return "Print the parts that matter, or return the value and print it from Python"


def _refusal(low, position: int, whole):
    """What makes the error about a type that cannot be printed."""

    def refuse(ty):
        inside = "" if ty == whole else f" (inside {whole})"
        return errors.LoweringError(
            f"print: argument {position} is of type {ty}{inside}, which go functions cannot print. They print numbers, "
            f"bool, str, None and tuples of these. {_advice(ty)}.",
            loc=low.loc,
        )

    return refuse


def _frame_buffer(low):
    """The buffer that all print statements of the function share, as an i64."""
    # Not one for each: LLVM would not merge them, and ten prints would fill several KiB of a small stack.
    slot = getattr(low, "print_buffer", None)
    if slot is None:
        slot = low.print_buffer = cgutils.alloca_once(low.builder, lir.ArrayType(i8, BUFFER), name="print")
    return low.builder.ptrtoint(slot, i64)


def _heap_buffer(low, size):
    """A buffer from the C heap, as an i64."""
    context, b = low.context, low.builder
    note(context, funcinfo.OPAQUE, "malloc")
    buffer = b.call(extern(b.module, "malloc", i8p, [i64]), [size])
    with b.if_then(b.icmp_unsigned("==", buffer, NULL), likely=False):
        raise_here(context, b, MemoryError, "print: no memory for the text")
    return b.ptrtoint(buffer, i64)


def _free(low, address):
    note(low.context, funcinfo.OPAQUE, "free")
    low.builder.call(extern(low.builder.module, "free", void, [i8p]), [low.builder.inttoptr(address, i8p)])


def _write(low, address, n):
    """The system call: n bytes written, or -errno."""
    return call_runtime(low.context, low.builder, "go.printwrite", i64, [const(STDOUT), address, n])


def _check_written(low, written):
    context, b = low.context, low.builder
    with b.if_then(b.icmp_signed("<", written, const(0)), likely=False):
        with b.if_then(b.icmp_signed("==", written, const(-errno.EPIPE))):
            raise_here(context, b, BrokenPipeError, "print: nobody reads standard output any more")
        raise_here(context, b, OSError, "print: standard output cannot be written to")


def lower_print(low, inst) -> None:
    """Lower the statement `print(...)` of a go function; `low` is the lowering of that function."""
    context, b = low.context, low.builder
    pieces = []
    for i, (ty, value) in enumerate(_arguments(low, inst)):
        if i:
            pieces.append(" ")
        pieces += _pieces(low, ty, value, False, _refusal(low, i + 1, ty))
    pieces = _joined([*pieces, "\n"])
    if isinstance(pieces[0], str) and len(pieces) == 1:
        data = _encoded(pieces[0])
        _check_written(low, _write(low, b.ptrtoint(_text_constant(b, data), i64), const(len(data))))
        return
    constant, dynamic = _bound(b, pieces)
    if dynamic is None and constant <= BUFFER:
        base = _frame_buffer(low)
        written = _write(low, base, b.sub(_emit(context, b, pieces, base), base))
    else:
        size = const(constant) if dynamic is None else b.add(dynamic, const(constant))
        big = b.icmp_signed(">", size, const(BUFFER))
        slot = cgutils.alloca_once(b, i64)
        b.store(_frame_buffer(low), slot)
        with b.if_then(big, likely=False):
            b.store(_heap_buffer(low, size), slot)
        base = b.load(slot)
        written = _write(low, base, b.sub(_emit(context, b, pieces, base), base))
        with b.if_then(big, likely=False):
            _free(low, base)
    _check_written(low, written)


UserLower.print_hook = lower_print
