"""The seam: every operation on shared state, in one file.

Stands for: src/runtime/internal/atomic and the raw parts of lock_futex.go, at 41dbcc19ef09.

Atomics, the lock word, the note, P hand-offs, the clock, random numbers and system calls pass through the primitives of
this module, and plain pointer stores through the barrier event (compiler/lower.py). Each primitive makes *one* run-time
test of the word `go.seam`; if its bit is set, `go.prim` is called out of line, does whatever is bound there, and
performs the operation. An explorer, a tracer or a race detector hooks there and nowhere else, and the code it looks at
is the shipped code, byte for byte.

Rules:

* S1  The bit of a primitive is its kind (`abi.KIND`); the barrier's flags live in the same word, so an atomic store of
      a pointer tests once for both.
* S2  The hook comes before barrier and store, never between them: out of line, `go.prim` runs the hook, then the event,
      then the operation.
* S3  Every instruction emitted here that is atomic, a fence or a system call carries the metadata `!gopark.prim`; the
      lint of the image (tests/test_lint.py) rejects any other.
* S4  No primitive needs a P except the ones that store pointers with a barrier.

Setters are pointer stores without the barrier event, for code that runs without a P. Each takes the field by name and
the name of the registry that keeps the target reachable; `gopark vet` prints the table. They are legal only where there
may be no P: the check refuses one where a P is always held.

Raw memory (`rawload`, `rawstore`) is for the modules that lay out memory by hand; a test names them.
"""

from __future__ import annotations

from gopark.compiler import abi, asm_amd64, funcinfo
from gopark.compiler.lower import (
    call_runtime,
    element_address,
    emit_pointer_store_event,
    field_address,
    field_type,
    note,
    seam_word,
)
from gopark.compiler.numba_api import (
    cgutils,
    const,
    data_symbol,
    emit_prefetch,
    errors,
    extern,
    i8p,
    i32,
    i64,
    intrinsic,
    lir,
    types,
    void,
)
from gopark.compiler.structs import ArrayRef, Pointer, Ref, StructClass, object_symbol
from gopark.config import settings

I = types.int64
_KINDS = abi.KIND


# ---- emission


def _mark(b, instruction):
    """S3: this instruction belongs to a primitive."""
    instruction.set_metadata("gopark.prim", b.module.add_metadata([lir.IntType(1)(1)]))
    return instruction


class _Fence(lir.instructions.Fence):
    """A fence that prints its metadata: llvmlite's own leaves them out."""

    def descr(self, buf):
        buf.append(f"fence {self.ordering}{self._stringify_metadata(leading_comma=True)}\n")


def _fence(b):
    instruction = _Fence(b.block, "seq_cst")
    b._insert(instruction)
    return instruction


def _to64(b, value):
    if isinstance(value.type, lir.PointerType):
        return b.ptrtoint(value, i64)
    return value if value.type == i64 else b.sext(value, i64)


def _from64(b, value, ty):
    if isinstance(ty, lir.PointerType):
        return b.inttoptr(value, ty)
    return value if ty == i64 else b.trunc(value, ty)


def _seam(b, kind, op, address, operands, operation, result):
    """`r = seam & bit ? go.prim(code, address, operands) : operation()`; see `abi.prim_code`."""
    if not settings().seam:
        return operation()
    pointee = address.type.pointee
    stores_pointer = isinstance(pointee, lir.PointerType) and op != "load"
    bits = 1 << _KINDS[kind] | (abi.PTR_BITS if stores_pointer else 0)
    code = abi.prim_code(kind, op, 4 if pointee == i32 else 8, stores_pointer)
    hit = b.icmp_unsigned("!=", b.and_(seam_word(b), const(bits)), const(0))
    with b.if_else(hit, likely=False) as (hooked, plain):
        with hooked:
            padded = [_to64(b, v) for v in operands] + [const(0)] * (2 - len(operands))
            r = b.call(extern(b.module, "go.prim", i64, [i64] * 4), [const(code), b.ptrtoint(address, i64), *padded])
            from_hook = _from64(b, r, result) if result is not None else None
            hook_block = b.block
        with plain:
            from_operation = operation()
            plain_block = b.block
    if result is None:
        return None
    phi = b.phi(result)
    phi.add_incoming(from_hook, hook_block)
    phi.add_incoming(from_operation, plain_block)
    return phi


def _literal_field(p, name):
    if not isinstance(name, types.StringLiteral):
        raise errors.RequireLiteralValue("the name of a field")
    if not isinstance(p, Ref):
        raise errors.TypingError(f"{p} is no reference to a struct")
    return field_type(p, name.literal_value)


def _atomic_field(p, name, pointers=True):
    ty = _literal_field(p, name)
    if not (ty in (types.int64, types.int32) or (pointers and isinstance(ty, Pointer))):
        raise errors.TypingError(f"no such atomic operation on a field of type {ty}")
    return ty


def _bytes(ty):
    return 4 if ty == types.int32 else 8


def _address(context, b, sig, args):
    return field_address(context, b, sig.args[0], args[0], sig.args[1].literal_value)


def _field_name(sig):
    return f"{sig.args[0].struct.__name__}.{sig.args[1].literal_value}"


# ---- atomics on typed fields


def _make_load(kind):
    def load(typingctx, p, name):
        ty = _atomic_field(p, name)

        def codegen(context, b, sig, args):
            address = _address(context, b, sig, args)
            return _seam(
                b,
                kind,
                "load",
                address,
                [],
                lambda: _mark(b, b.load_atomic(address, "acquire", _bytes(ty))),
                address.type.pointee,
            )

        return ty(p, name), codegen

    load.__doc__ = "Acquire load of a field that others write."
    return intrinsic(prefer_literal=True)(load)


def _pointer_event(context, sig, ty, b, address, value):
    """The event of an atomic pointer store: the record of it; at run time the primitive's own test covers it (S1)."""
    if not isinstance(ty, Pointer):
        return
    if settings().seam:
        note(context, funcinfo.BARRIER, _field_name(sig))
    else:
        emit_pointer_store_event(context, b, address, value, _field_name(sig))


def _make_store(kind):
    def store(typingctx, p, name, value):
        ty = _atomic_field(p, name)

        def codegen(context, b, sig, args):
            address = _address(context, b, sig, args)
            _pointer_event(context, sig, ty, b, address, args[2])
            _seam(
                b,
                kind,
                "store",
                address,
                [args[2]],
                lambda: _mark(b, b.store_atomic(args[2], address, "release", _bytes(ty))),
                None,
            )
            return context.get_dummy_value()

        return types.none(p, name, ty), codegen

    store.__doc__ = "Release store of a field; of a pointer: with the barrier event."
    return intrinsic(prefer_literal=True)(store)


def _make_cas(kind):
    def cas(typingctx, p, name, old, new):
        ty = _atomic_field(p, name)

        def codegen(context, b, sig, args):
            address = _address(context, b, sig, args)
            _pointer_event(context, sig, ty, b, address, args[3])

            def operation():
                pair = _mark(b, b.cmpxchg(address, args[2], args[3], "seq_cst", "seq_cst"))
                return b.zext(b.extract_value(pair, 1), i64)

            swapped = _seam(b, kind, "cas", address, args[2:4], operation, i64)
            return b.icmp_unsigned("!=", swapped, const(0))

        return types.boolean(p, name, ty, ty), codegen

    cas.__doc__ = "Compare and swap a field, sequentially consistent; True if it was `old`."
    return intrinsic(prefer_literal=True)(cas)


def _make_rmw(op, kind):
    def rmw(typingctx, p, name, value):
        ty = _atomic_field(p, name, pointers=False)

        def codegen(context, b, sig, args):
            address = _address(context, b, sig, args)
            return _seam(
                b,
                kind,
                "xadd" if op == "add" else op,
                address,
                [args[2]],
                lambda: _mark(b, b.atomic_rmw(op, address, args[2], "seq_cst")),
                address.type.pointee,
            )

        return ty(p, name, ty), codegen

    rmw.__doc__ = f"Atomic {op} on a field; returns the old value."
    return intrinsic(prefer_literal=True)(rmw)


load, store, cas = _make_load("load"), _make_store("store"), _make_cas("cas")
xadd, xchg = _make_rmw("add", "xadd"), _make_rmw("xchg", "xchg")
# The lock word and the note are kinds of their own: a controlled scheduler may treat a lock as one operation.
lockload, lockstore, lockcas, lockxchg = (
    _make_load("lock"),
    _make_store("lock"),
    _make_cas("lock"),
    _make_rmw("xchg", "lock"),
)
noteload, notestore, notexchg = _make_load("note"), _make_store("note"), _make_rmw("xchg", "note")


@intrinsic
def fence(typingctx):
    """Full fence: a store before it is seen by others before a load behind it reads."""

    def codegen(context, b, sig, args):
        _mark(b, _fence(b))
        return context.get_dummy_value()

    return types.none(), codegen


@intrinsic
def pause(typingctx):
    """Tell the core that this is a spin loop."""

    def codegen(context, b, sig, args):
        asm_amd64.emit_pause(b)
        return context.get_dummy_value()

    return types.none(), codegen


@intrinsic
def prefetch(typingctx, address):
    """Ask for the cache line of an address, to be written soon. Never faults, whatever the address."""

    def codegen(context, b, sig, args):
        emit_prefetch(b, b.inttoptr(args[0], i8p))
        return context.get_dummy_value()

    return types.none(I), codegen


@intrinsic
def bulkevent(typingctx, desc, to, frm):
    """The barrier event of a whole value: its pointers are about to be copied from `frm` to `to`."""

    def codegen(context, b, sig, args):
        note(context, funcinfo.BARRIER, "a copied value")
        hit = b.icmp_unsigned("!=", b.and_(seam_word(b), const(abi.PTR_BITS)), const(0))
        with b.if_then(hit, likely=False):
            b.call(extern(b.module, "go.bulkbarrier", i8p, [i8p, i64, i64]), args)
        return context.get_dummy_value()

    return types.none(desc, I, I), codegen


# ---- setters: pointer stores without the event


def _make_setter(want):
    name = f"set{want}NoWriteBarrier"

    def setter(typingctx, p, where, value, registry):
        if not isinstance(registry, types.StringLiteral):
            raise errors.RequireLiteralValue("the registry that keeps the target reachable")
        if isinstance(p, ArrayRef):
            ty, where_type = p.array.dtype, types.int64
        else:
            ty, where_type = _literal_field(p, where), where
        if not (isinstance(ty, Pointer) and ty.struct.__name__ == want):
            raise errors.TypingError(f"{name} stores a {want}; {p}.{where} is a {ty}")

        def codegen(context, b, sig, args):
            if isinstance(p, ArrayRef):
                slot, field = element_address(context, b, p, args[0], args[1]), f"[]{want}"
            else:
                slot, field = _address(context, b, sig, args), _field_name(sig)
            note(context, funcinfo.SETTER, field, (name, registry.literal_value))
            b.store(args[2], slot)
            return context.get_dummy_value()

        return types.none(p, where_type, ty, registry), codegen

    setter.__name__ = setter.__qualname__ = name
    setter.__doc__ = (
        f"Store a {want} in a field (or an element) without a write barrier; `registry` keeps it reachable."
    )
    return intrinsic(prefer_literal=True)(setter)


setGNoWriteBarrier = _make_setter("G")
setMNoWriteBarrier = _make_setter("M")
setPNoWriteBarrier = _make_setter("P")
setMcacheNoWriteBarrier = _make_setter("Mcache")
setRunNoWriteBarrier = _make_setter("Run")
setHandleNoWriteBarrier = _make_setter("Handle")


# ---- hand-offs, clock, random numbers, system calls


def _event_only(b, kind, operand):
    """A primitive without an operation of its own: the hook may look, the code goes on."""
    if not settings().seam:
        return
    hit = b.icmp_unsigned("!=", b.and_(seam_word(b), const(1 << _KINDS[kind])), const(0))
    with b.if_then(hit, likely=False):
        b.call(
            extern(b.module, "go.prim", i64, [i64] * 4),
            [const(abi.prim_code(kind)), _to64(b, operand), const(0), const(0)],
        )


@intrinsic
def handoff(typingctx, pp):
    """A P changes hands here."""

    def codegen(context, b, sig, args):
        _event_only(b, "handoff", args[0])
        return context.get_dummy_value()

    return types.none(pp), codegen


@intrinsic
def syscall6(typingctx, number, a, b_, c, d, e, f):
    """A raw system call: the result, or -errno."""

    def codegen(context, b, sig, args):
        def plain():
            return _mark(b, asm_amd64.emit_syscall(b, args))

        if not settings().seam:
            return plain()
        hit = b.icmp_unsigned("!=", b.and_(seam_word(b), const(1 << _KINDS["syscall"])), const(0))
        with b.if_else(hit, likely=False) as (hooked, direct):
            with hooked:
                block = cgutils.alloca_once(b, lir.ArrayType(i64, 7))
                for i, v in enumerate(args):
                    b.store(v, cgutils.gep_inbounds(b, block, 0, i))
                from_hook = b.call(
                    extern(b.module, "go.prim", i64, [i64] * 4),
                    [const(abi.prim_code("syscall")), b.ptrtoint(block, i64), const(0), const(0)],
                )
                hook_block = b.block
            with direct:
                from_kernel = plain()
                direct_block = b.block
        phi = b.phi(i64)
        phi.add_incoming(from_hook, hook_block)
        phi.add_incoming(from_kernel, direct_block)
        return phi

    return I(I, I, I, I, I, I, I), codegen


@intrinsic
def rawsyscall6(typingctx, number, a, b_, c, d, e, f):
    """The system call without the seam's test: what `go.prim` performs."""

    def codegen(context, b, sig, args):
        return _mark(b, asm_amd64.emit_syscall(b, args))

    return I(I, I, I, I, I, I, I), codegen


@intrinsic
def clock(typingctx):
    """The monotonic clock, in nanoseconds."""

    def codegen(context, b, sig, args):
        _event_only(b, "clock", const(0))
        buffer = cgutils.alloca_once(b, lir.ArrayType(i64, 2))
        b.call(extern(b.module, "clock_gettime", i32, [i32, i8p]), [lir.Constant(i32, 1), b.bitcast(buffer, i8p)])
        seconds, nanos = (b.load(cgutils.gep_inbounds(b, buffer, 0, i)) for i in (0, 1))
        return b.add(b.mul(seconds, const(10**9)), nanos)

    return I(), codegen


@intrinsic
def seamword(typingctx):
    """The mask word itself."""

    def codegen(context, b, sig, args):
        return seam_word(b)

    return I(), codegen


# ---- the current G, the switch


def _g_type():
    from gopark.runtime.runtime2 import G

    return Pointer(G)


@intrinsic
def getg(typingctx):
    """The G whose stack this is. Only for code that runs on a stack of ours."""

    def codegen(context, b, sig, args):
        return b.inttoptr(asm_amd64.emit_getg(b), i8p)

    return _g_type()(), codegen


@intrinsic
def getfp(typingctx):
    """The frame pointer of the function this stands in: the addresses of the caller's and of its return address are
    [fp] and [fp + 8]."""

    def codegen(context, b, sig, args):
        return b.ptrtoint(b.call(extern(b.module, "llvm.frameaddress.p0", i8p, [i32]), [lir.Constant(i32, 0)]), i64)

    return I(), codegen


@intrinsic
def gof(typingctx, address):
    """The G at the top of the slab that contains `address`."""

    def codegen(context, b, sig, args):
        return b.inttoptr(asm_amd64.emit_gof(b, args[0]), i8p)

    return _g_type()(I), codegen


@intrinsic
def gogo(typingctx, leaving, to):
    """Switch stacks. Returns on `leaving`'s stack, perhaps on another M: read `getg().m` again before using it."""

    def codegen(context, b, sig, args):
        asm_amd64.emit_gogo(b, b.ptrtoint(args[0], i64), b.ptrtoint(args[1], i64))
        return context.get_dummy_value()

    g = _g_type()
    return types.none(g, g), codegen


# ---- code pointers


@intrinsic(prefer_literal=True)
def funcaddr(typingctx, function, cls):
    """The address of a runtime function, taken as a code pointer of the class `cls` ("mstartfn", "finish" ...)."""
    if not isinstance(function, types.ExternalFunction):
        raise errors.TypingError(f"funcaddr: {function} is no function of the runtime")
    if not isinstance(cls, types.StringLiteral):
        raise errors.RequireLiteralValue("the class of code pointers")

    def codegen(context, b, sig, args):
        note(context, funcinfo.ADDRESS, function.symbol, (cls.literal_value,))
        ty = context.get_external_function_type(_Described(function))
        return b.ptrtoint(cgutils.get_or_insert_function(b.module, ty, function.symbol), i64)

    return I(function, cls), codegen


class _Described:
    def __init__(self, function):
        self.argtypes, self.restype = function.sig.args, function.sig.return_type


@intrinsic(prefer_literal=True)
def symaddr(typingctx, symbol, cls):
    """The address of a function by symbol: the assembly's, or one of a module that cannot be imported here."""
    if not isinstance(symbol, types.StringLiteral) or not isinstance(cls, types.StringLiteral):
        raise errors.RequireLiteralValue("a symbol and the class of code pointers")

    def codegen(context, b, sig, args):
        note(context, funcinfo.ADDRESS, symbol.literal_value, (cls.literal_value,))
        return b.ptrtoint(extern(b.module, symbol.literal_value, void, []), i64)

    return I(symbol, cls), codegen


@intrinsic(prefer_literal=True)
def callfn(typingctx, cls, function, argument):
    """Call a code pointer of the class `cls` with one word."""
    if not isinstance(cls, types.StringLiteral):
        raise errors.RequireLiteralValue("the class of code pointers")

    def codegen(context, b, sig, args):
        note(context, funcinfo.INDIRECT, cls.literal_value)
        fn = b.inttoptr(args[1], lir.FunctionType(void, [i64]).as_pointer())
        b.call(fn, [args[2]])
        return context.get_dummy_value()

    return types.none(cls, I, I), codegen


@intrinsic
def stackbytes(typingctx):
    """The size of a goroutine's stack slab: a constant of the image, read from the settings when it is compiled."""

    def codegen(context, b, sig, args):
        return const(abi.stack_size())

    return I(), codegen


@intrinsic
def checking(typingctx):
    """Whether this image is one of check level 2: a constant, so that other images contain no audit (audit.py)."""

    def codegen(context, b, sig, args):
        return lir.Constant(lir.IntType(1), settings().check > 1)

    return types.boolean(), codegen


@intrinsic
def gspace(typingctx):
    """Bytes at the top of a slab in which its G lies, whatever its colours."""

    def codegen(context, b, sig, args):
        return const(abi.g_space())

    return I(), codegen


@intrinsic
def g0slabs(typingctx):
    """How many slabs the stack of an M takes: 8 MiB, at least two."""

    def codegen(context, b, sig, args):
        return const(max(2, (8 << 20) // abi.stack_size()))

    return I(), codegen


# ---- texts and throw


def _constant_text(b, value: str):
    """The address of a constant, NUL-terminated text of the module, as an i64."""
    data = value.encode() + b"\0"
    name = "go.text." + value
    found = b.module.globals.get(name)
    if found is None:
        found = cgutils.global_constant(b.module, name, cgutils.make_bytearray(data))
    return b.ptrtoint(found, i64)


@intrinsic(prefer_literal=True)
def text(typingctx, value):
    """The address of a literal as constant bytes."""
    if not isinstance(value, types.StringLiteral):
        raise errors.RequireLiteralValue("a literal text")

    def codegen(context, b, sig, args):
        return _constant_text(b, value.literal_value)

    return I(value), codegen


@intrinsic(prefer_literal=True)
def throw(typingctx, message):
    """An invariant of the runtime is broken: print `message` and end the process (panic.py). Never returns."""
    if not isinstance(message, types.StringLiteral):
        raise errors.RequireLiteralValue("a literal message")

    def codegen(context, b, sig, args):
        size = len(message.literal_value.encode())
        call_runtime(context, b, "go.throwmsg", i8p, [_constant_text(b, message.literal_value), const(size)])
        return context.get_dummy_value()

    return types.none(message), codegen


# ---- views


@intrinsic
def ptr(typingctx, cls, address):
    """An address as a pointer to a struct."""
    if not isinstance(cls, StructClass):
        raise errors.TypingError("ptr(Struct, address)")

    def codegen(context, b, sig, args):
        return b.inttoptr(args[1], i8p)

    return Pointer(cls.struct)(cls, I), codegen


@intrinsic
def addr(typingctx, p):
    """The address a reference stands for."""

    def codegen(context, b, sig, args):
        return b.ptrtoint(args[0], i64)

    return I(p), codegen


@intrinsic(prefer_literal=True)
def fieldaddr(typingctx, p, name):
    """The address of a field."""
    _literal_field(p, name)

    def codegen(context, b, sig, args):
        return b.ptrtoint(_address(context, b, sig, args), i64)

    return I(p, name), codegen


@intrinsic
def local(typingctx, cls):
    """A struct in this frame, zeroed. Stacks do not move, so others may point to it while the frame lives."""

    def codegen(context, b, sig, args):
        words = cls.struct.size // 8
        with b.goto_entry_block():  # not cgutils.alloca_once: it zeroes there too, on paths that do not use the struct
            slot = b.alloca(lir.ArrayType(i64, words))
        b.store(lir.Constant(lir.ArrayType(i64, words), None), slot)
        return b.bitcast(slot, i8p)

    return Pointer(cls.struct)(cls), codegen


@intrinsic
def sizeof(typingctx, cls):
    def codegen(context, b, sig, args):
        return const(cls.struct.size)

    return I(cls), codegen


@intrinsic
def typedesc(typingctx, cls):
    """The type descriptor of a struct, by symbol."""
    from gopark.runtime.runtime2 import Type

    def codegen(context, b, sig, args):
        context.go_recorder.need("object", Pointer(cls.struct))
        return b.bitcast(data_symbol(b.module, object_symbol(cls.struct)), i8p)

    return Pointer(Type)(cls), codegen


# ---- raw memory: see the head of the module


def _make_raw(ty):
    width = ty.width

    def rawload(typingctx, address):
        def codegen(context, b, sig, args):
            note(context, funcinfo.RAW, "load")
            value = b.load(b.inttoptr(args[0], ty.as_pointer()))
            return value if width == 64 else b.zext(value, i64)

        return I(I), codegen

    def rawstore(typingctx, address, value):
        def codegen(context, b, sig, args):
            note(context, funcinfo.RAW, "store")
            b.store(_from64(b, args[1], ty), b.inttoptr(args[0], ty.as_pointer()))
            return context.get_dummy_value()

        return types.none(I, I), codegen

    return intrinsic(rawload), intrinsic(rawstore)


rawload, rawstore = _make_raw(i64)
rawload32, rawstore32 = _make_raw(i32)
rawload8, rawstore8 = _make_raw(lir.IntType(8))


def _make_raw_atomic(op, width):
    ty = i32 if width == 4 else i64

    def operation(typingctx, address, x, y):
        def codegen(context, b, sig, args):
            note(context, funcinfo.RAW, op)
            p = b.inttoptr(args[0], ty.as_pointer())
            first, second = (_from64(b, v, ty) for v in args[1:])
            if op == "load":
                r = _mark(b, b.load_atomic(p, "acquire", width))
            elif op == "store":
                _mark(b, b.store_atomic(first, p, "release", width))
                r = lir.Constant(ty, 0)
            elif op == "cas":
                r = b.zext(b.extract_value(_mark(b, b.cmpxchg(p, first, second, "seq_cst", "seq_cst")), 1), i64)
            else:
                r = _mark(b, b.atomic_rmw(op, p, first, "seq_cst"))
            return _to64(b, r)

        return I(I, I, I), codegen

    return intrinsic(operation)


(
    (aload4, aload8),
    (astore4, astore8),
    (acas4, acas8),
    (aadd4, aadd8),
    (axchg4, axchg8),
) = (
    tuple(_make_raw_atomic(op, width) for width in (4, 8))  # what `go.prim` performs
    for op in ("load", "store", "cas", "add", "xchg")
)


@intrinsic
def memmove(typingctx, to, frm, n):
    """Copy n bytes; the ranges may overlap. Pointers in them need typedmemmove."""

    def codegen(context, b, sig, args):
        cgutils.raw_memmove(b, b.inttoptr(args[0], i8p), b.inttoptr(args[1], i8p), args[2], 1)
        return context.get_dummy_value()

    return types.none(I, I, I), codegen


@intrinsic
def memclr(typingctx, to, n):
    """Zero n bytes."""

    def codegen(context, b, sig, args):
        cgutils.memset(b, b.inttoptr(args[0], i8p), args[1], 0)
        return context.get_dummy_value()

    return types.none(I, I), codegen
