"""`Job(1, reply, None)` in compiled code: typing and lowering of constructors, and the inline allocation.

The fast path of the allocator is emitted into the caller: the cache entry of the type's layout is found from the
current G, its bump pointer is advanced and compared with the end of the run; zeroing follows inline, where LLVM drops
what the constructor overwrites. The slow path is a call (runtime/malloc.py). A thread without a P has an empty cache,
so it ends in the slow path's check as well.

The constructor's own stores of pointers are barrier events, recorded and tested as any other.
"""

from __future__ import annotations

import inspect

from gopark.compiler import abi, asm_amd64, funcinfo, lower, structs
from gopark.compiler.names import did_you_mean
from gopark.compiler.numba_api import (
    cgutils,
    const,
    data_symbol,
    emit_prefetch,
    errors,
    extern,
    i8p,
    i64,
    lower_builtin,
    signature,
    types,
    utils,
)
from gopark.compiler.structs import Embedded, InlineArray, Pointer, StructClass

# The memory of objects to come is asked for while this one is made: 16 bytes take 2.7 ns instead of 3.5 where the heap
# is not in a cache. Large objects are the business of the processor's own prefetching.
SMALL, AHEAD = 256, 2048


def descriptor(context, b, kind: str, ty):
    """The address (i8*) of a type descriptor, by symbol."""
    found = structs.ensure_descriptor(kind, ty)
    context.go_recorder.need(kind, ty)
    return b.bitcast(data_symbol(b.module, found.symbol), i8p)


def emit_new(context, b, struct):
    """Allocate one zeroed object of `struct`; raises MemoryError."""
    ty = Pointer(struct)
    lower.note(context, funcinfo.ALLOC, struct.__name__)
    desc = descriptor(context, b, "object", ty)

    def word(address, offset):
        return b.load(b.inttoptr(b.add(address, const(offset)), i64.as_pointer()))

    cache = word(word(asm_amd64.emit_getg(b), abi.G_M), abi.M_MCACHE)
    layout = word(b.ptrtoint(desc, i64), abi.TYPE_LAYOUT)
    entry = b.add(cache, b.mul(layout, const(abi.MCACHE_ENTRY)))
    current = word(entry, abi.MCACHE_CUR)
    following = b.add(current, const(struct.size))
    fits = b.icmp_unsigned("<=", following, word(entry, abi.MCACHE_LIM))
    with b.if_else(fits, likely=True) as (fast, slow):
        with fast:
            b.store(following, b.inttoptr(b.add(entry, const(abi.MCACHE_CUR)), i64.as_pointer()))
            bumped = b.inttoptr(current, i8p)
            if struct.size <= SMALL:
                emit_prefetch(b, b.inttoptr(b.add(following, const(AHEAD)), i8p))
            cgutils.memset(b, bumped, const(struct.size), 0)
            fast_block = b.block
        with slow:
            made = _call_slow_path(context, b, desc)
            with b.if_then(cgutils.is_null(b, made), likely=False):
                raise_out_of_memory(context, b, const(struct.size))
            slow_block = b.block
    result = b.phi(i8p)
    result.add_incoming(bumped, fast_block)
    result.add_incoming(made, slow_block)
    return result


def _call_slow_path(context, b, desc):
    """go.mallocslow, through the stub that preserves the caller's registers (compiler/asm_amd64.py)."""
    lower.note(context, funcinfo.CALL, "go.mallocslow")
    stub = extern(b.module, "go.mallocstub", i8p, [i8p])
    stub.calling_convention = "preserve_mostcc"
    return b.call(stub, [desc], cconv="preserve_mostcc")


def raise_out_of_memory(context, b, wanted):
    """MemoryError(text, bytes wanted, bytes in use, limit): go.run makes one sentence of it."""
    recorder = context.go_recorder
    in_use = lower.call_runtime(context, b, "go.heapinuse", i64, [])
    limit = lower.call_runtime(context, b, "go.heaplimit", i64, [])
    arguments = ("the collected heap is full", wanted, in_use, limit)
    kinds = (None, types.int64, types.int64, types.int64)
    context.call_conv.return_dynamic_user_exc(
        b, MemoryError, arguments, kinds, loc=recorder.loc(), func_name=recorder.info.name
    )


# ---- the constructor


def settable_fields(struct) -> dict:
    """{name: type} of the fields that a constructor sets: all but values inside the object."""
    return {n: ty for n, (_, ty) in struct.fields.items() if not isinstance(ty, (Embedded, InlineArray))}


def given_fields(struct, args, kws) -> dict:
    """{field: argument} of a call of the constructor, in compiled code and in Python. TypeError if they do not fit."""
    name, fields = struct.__name__, settable_fields(struct)
    if struct in lower.METHODS and (args or kws):
        raise TypeError(f"{name}() takes no arguments: the zero value is ready to use")
    if len(args) > len(fields):
        raise TypeError(f"{name}() takes at most {len(fields)} arguments ({', '.join(fields)}), got {len(args)}")
    given = dict(zip(fields, args, strict=False))
    for key, value in kws.items():
        if key not in fields:
            raise TypeError(f"{name}() has no field {key!r} (fields: {', '.join(fields)}){did_you_mean(key, fields)}")
        if key in given:
            raise TypeError(f"{name}() got a value for {key!r} twice")
        given[key] = value
    return given


def _constructor_type(cls: StructClass, context, args, kws):
    struct = cls.struct
    name = struct.__name__
    lower.require_go(context, f"{name}(...)")
    fields = settable_fields(struct)
    try:
        given = given_fields(struct, args, kws)
    except TypeError as e:
        raise errors.TypingError(str(e)) from None
    for key, ty in given.items():
        lower.refuse_interior(ty, f"storing it in {name}.{key}")
        if not lower.convertible(context, ty, fields[key]):
            raise errors.TypingError(f"{name}({key}=...): {ty} is no {fields[key]}")
    order = [n for n in fields if n in given]
    parameters = [inspect.Parameter(n, inspect.Parameter.POSITIONAL_OR_KEYWORD) for n in order]
    _declare(struct)
    made = signature(Pointer(struct), *[fields[n] for n in order])
    return made.replace(pysig=utils.pySignature(parameters))


structs.CONSTRUCTOR = _constructor_type
_declared = set()


def _declare(struct) -> None:
    """Register the lowering of a struct's constructor, once."""
    if struct in _declared:
        return
    _declared.add(struct)

    @lower_builtin((StructClass, struct), types.VarArg(types.Any))
    def construct(context, b, sig, args):
        made = emit_new(context, b, struct)
        ref = sig.return_type
        for name, value in zip(sig.pysig.parameters, args, strict=True):
            ty = struct.fields[name][1]
            slot = lower.field_address(context, b, ref, made, name)
            lower.store_with_event(context, b, ty, value, slot, f"{struct.__name__}.{name}")
        return made
