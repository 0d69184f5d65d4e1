"""From typed Python to LLVM's IR: loads and stores of structs, the barrier event, the checks, and the record of both.

Stands for: the places in cmd/compile that insert write barriers and nil checks, and its `nowritebarrier` check.

**The barrier event.** Every plain store of a typed pointer, from whatever construct it comes (a field, an element, a
constructor, an atomic, a channel element), goes through `emit_pointer_store_event`. At compile time it records the
event where it is emitted, so that the check (wbcheck.py) sees exactly the stores that the machine code contains. At run
time it tests one word (`go.seam`): barrier on, check on, or a hook on pointer stores; if any is set,
`go.writebarrierptr` is called out of line, before the store. Test and store are emitted together: no poll, call or
change of phase can fall between them. Stores of nil are events too, because a barrier that shades the old value must
see them.

**Modes.** `context.go_mode` says for whom code is made:

* ``user``: the code of goroutines. Nil pointers, indices and divisions are checked and raise; loops poll; errors follow
  compiler/errpath.py.
* ``runtime``: the runtime itself. No polls, no NRT, no Python exceptions; a pointer that may be nil is tested by hand.

Code that may call CPython (boxing, the wrapper of `go.run`) is Numba's own and belongs to neither.

**The record.** While a function is lowered its context carries a `Recorder`; events land in a `FuncInfo` with the block
they were emitted in, so the check can follow the flow of control.
"""

from __future__ import annotations

import operator

from gopark.compiler import abi, asm_amd64, funcinfo, linetable
from gopark.compiler.names import did_you_mean
from gopark.compiler.numba_api import (
    NULL,
    AbstractTemplate,
    AttributeTemplate,
    Conversion,
    cgutils,
    const,
    data_symbol,
    debuginfo,
    errors,
    extern,
    i1,
    i8p,
    i64,
    imputils,
    infer_getattr,
    infer_global,
    ir,
    lir,
    lower_builtin,
    lower_cast,
    lower_constant,
    lower_getattr_generic,
    lower_setattr_generic,
    lowering,
    overload,
    signature,
    target_being_typed,
    types,
)
from gopark.compiler.structs import (
    ArrayRef,
    Embedded,
    InlineArray,
    Pointer,
    Ref,
    Var,
    element_data_type,
    is_gc_pointer,
    var_reference,
)
from gopark.errors import NilPointerError

USER, RUNTIME = "user", "runtime"


def mode_of(context) -> str | None:
    """The mode a function is lowered in; None for code that is Numba's own."""
    return getattr(context, "go_mode", None)


def require_go(typing_context, what: str) -> None:
    """A typing error unless the function being compiled is a go function (or belongs to the runtime)."""
    target = target_being_typed(typing_context)
    if target is None or getattr(target, "go_code", False):
        return
    raise errors.TypingError(
        f"{what} works only inside a @go.func: this function was compiled by plain @njit. "
        f"Decorate it with @go.func, or keep it free of gopark's operations"
    )


def mode_being_typed(typing_context) -> str | None:
    """The mode of the function whose types are being inferred."""
    return getattr(target_being_typed(typing_context), "go_mode", None)


def convertible(typing_context, given, wanted) -> bool:
    """Whether a value of type `given` may be put where `wanted` is: nothing may be lost but the precision of an integer
    that becomes a float."""
    if given == wanted:
        return True
    if isinstance(wanted, (types.Float, types.Complex)) and isinstance(given, (types.Integer, types.IntegerLiteral)):
        return True
    if isinstance(wanted, types.Float) and isinstance(given, types.Float):
        return True  # as when an element of an array is assigned
    if isinstance(wanted, types.Integer) and isinstance(given, types.IntegerLiteral):
        return wanted.minval <= given.literal_value <= wanted.maxval
    if isinstance(wanted, types.Integer) and isinstance(given, types.Integer):
        return True  # fixed-width integers wrap, as in NumPy and Go
    if isinstance(wanted, types.BaseTuple) and isinstance(given, types.BaseTuple):
        return len(wanted) == len(given) and all(
            convertible(typing_context, g, w) for g, w in zip(given.types, wanted.types, strict=True)
        )
    conversion = typing_context.can_convert(given, wanted)
    return conversion is not None and conversion < Conversion.unsafe


# ---- the record


class Recorder:
    """Collects the events of the function that is being lowered."""

    def __init__(self, info: funcinfo.FuncInfo, where):
        self.info, self._where, self._label = info, where, info.entry
        self._by_target: dict[str, tuple[int, int]] = {}

    def enter(self, label: int) -> None:
        self._label = label
        self.info.blocks.setdefault(label, [])

    def note(self, kind: str, name: str, detail: tuple = ()) -> None:
        file, line = self._where()
        self.info.blocks.setdefault(self._label, []).append(funcinfo.Event(kind, name, file, line, detail))

    def event_count(self) -> int:
        return len(self.info.blocks.get(self._label, ()))

    def need(self, kind: str, ty) -> None:
        """Remember that the code refers to a type descriptor."""
        if (kind, ty) not in self.info.structs:
            self.info.structs.append((kind, ty))


def note(context, kind: str, name: str, detail: tuple = ()) -> None:
    recorder = getattr(context, "go_recorder", None)
    if recorder is not None:
        recorder.note(kind, name, detail)


def call_runtime(context, b, symbol: str, result, arguments):
    """Call a function of the runtime by symbol, and record the call."""
    note(context, funcinfo.CALL, symbol)
    return b.call(extern(b.module, symbol, result, [a.type for a in arguments]), arguments)


# ---- the barrier event


def seam_word(b):
    """The mask word. A plain load: LLVM may merge tests between two calls, which is right because the word changes only
    while every goroutine is at a safepoint."""
    word = b.load(data_symbol(b.module, abi.SEAM))
    word.align = 8
    return word


def emit_pointer_store_event(context, b, slot, value, name: str) -> None:
    """The event of a plain pointer store into `slot` (to be stored right after)."""
    note(context, funcinfo.BARRIER, name)
    hit = b.icmp_unsigned("!=", b.and_(seam_word(b), const(abi.PTR_BITS)), const(0))
    with b.if_then(hit, likely=False):
        fn = extern(b.module, "go.writebarrierptr", i64, [i64, i64])
        b.call(fn, [b.ptrtoint(slot, i64), b.ptrtoint(value, i64)])


def pointer_leaves(context, b, ty, value, slot):
    """(address, pointer) of every pointer inside `value`, which is about to be stored at `slot` (a pointer to its
    data)."""
    if is_gc_pointer(ty):
        yield slot, value
    elif isinstance(ty, types.BaseTuple):
        for i, element in enumerate(ty.types):
            inner = cgutils.gep_inbounds(b, slot, 0, i)
            yield from pointer_leaves(context, b, element, b.extract_value(value, i), inner)


def store_with_event(context, b, ty, value, slot, name: str) -> None:
    """Store `value` at `slot`; every pointer in it is a barrier event."""
    for address, pointer in pointer_leaves(context, b, ty, value, slot):
        emit_pointer_store_event(context, b, address, pointer, name)
    context.pack_value(b, ty, value, slot)


# ---- references: constants, casts, comparison


@lower_constant(Pointer)
def _constant(context, builder, ty, pyval):
    if pyval is None:
        return NULL
    if isinstance(pyval, Var):
        return builder.bitcast(var_reference(builder.module, pyval), i8p)
    raise errors.NumbaTypeError(
        "an object of the collected heap cannot be a global of compiled code; pass it as an argument"
    )


@lower_cast(Embedded, Pointer)
def _embedded_to_pointer(context, builder, fromty, toty, val):
    refuse_interior(fromty, "using it as a reference of its own")
    return val


def declare_nillable(cls, by_identity: bool = True) -> None:
    """Casts from None, `is`, and comparison with None of a one-word type whose nil is None. by_identity: what is not
    nil is true, and `==` is `is`; otherwise the type says itself what they are."""

    @lower_cast(types.none, cls)
    def _from_none(context, builder, fromty, toty, val):
        return NULL

    @lower_cast(types.Optional, cls)
    def _from_optional(context, builder, fromty, toty, val):
        optional = context.make_helper(builder, fromty, value=val)
        return builder.select(optional.valid, optional.data, NULL)

    def against_none(how):
        def lower(context, builder, sig, args):
            pointer = args[1] if isinstance(sig.args[0], types.NoneType) else args[0]
            return builder.icmp_unsigned(how, pointer, NULL)

        return lower

    def against_other(how):
        def lower(context, builder, sig, args):
            return builder.icmp_unsigned(how, args[0], args[1])

        return lower

    for op, how in ((operator.is_, "=="), (operator.is_not, "!="), (operator.eq, "=="), (operator.ne, "!=")):
        lower_builtin(op, cls, types.none)(against_none(how))
        lower_builtin(op, types.none, cls)(against_none(how))
        if by_identity or op in (operator.is_, operator.is_not):
            lower_builtin(op, cls, cls)(against_other(how))

    for op in (operator.eq, operator.ne):

        @infer_global(op)
        class _Equality(AbstractTemplate):
            # Numba's own overload types "anything == None" as the constant False; a template of a more specific target
            # is tried before it.
            metadata = {"target": "cpu"}

            def generic(self, args, kws):
                a, b = args
                if isinstance(a, cls) and ((by_identity and b == a) or isinstance(b, types.NoneType)):
                    return signature(types.boolean, a, b)
                if isinstance(b, cls) and isinstance(a, types.NoneType):
                    return signature(types.boolean, a, b)
                return None

    if not by_identity:
        return

    declare_truth(cls, cgutils.is_not_null)

    @overload(operator.truth)
    def _overload_truth(v):
        if isinstance(v, cls):
            return lambda v: v is not None
        return None


def declare_truth(cls, emit) -> None:
    """When a value of that type is true, as a condition, in `bool` and in `not`: emit(builder, value) is the i1."""

    @infer_global(bool)
    @infer_global(operator.not_)
    class _Truth(AbstractTemplate):
        def generic(self, args, kws):
            return signature(types.boolean, args[0]) if isinstance(args[0], cls) else None

    @lower_cast(cls, types.boolean)
    def _to_bool(context, builder, fromty, toty, val):
        return emit(builder, val)

    @lower_builtin(bool, cls)
    def _lower_truth(context, builder, sig, args):
        return emit(builder, args[0])

    @lower_builtin(operator.not_, cls)
    def _lower_not(context, builder, sig, args):
        return builder.not_(emit(builder, args[0]))


declare_nillable(Pointer)


# ---- fields


def field_type(ref: Ref, name: str):
    """The type of the field as it lies in memory. TypingError if there is none."""
    found = ref.struct.fields.get(name)
    if found is None:
        fields = ref.struct.fields
        raise errors.TypingError(
            f"struct {ref.struct.__name__} has no field {name!r} (fields: {', '.join(fields) or 'none'})"
            f"{did_you_mean(name, fields)}"
        )
    return found[1]


def value_of_field(ty):
    """What reading a field of type `ty` evaluates to."""
    return ArrayRef(ty) if isinstance(ty, InlineArray) else ty


METHODS: dict = {}  # {struct: {name: typing template}}: the methods of the sync types (types/sync.py)


@infer_getattr
class _Fields(AttributeTemplate):
    key = Ref

    def generic_resolve(self, ref, name):
        require_go(self.context, f"{ref.struct.__name__}.{name}")
        methods = METHODS.get(ref.struct, {})
        if name in methods:
            return types.BoundFunction(methods[name], ref)
        if methods and mode_being_typed(self.context) == USER:  # its fields are the runtime's business
            raise errors.TypingError(
                f"{ref.struct.__name__} has no method {name!r} (there are {', '.join(methods)})"
                f"{did_you_mean(name, methods)}"
            )
        return value_of_field(field_type(ref, name))


def field_address(context, b, ref: Ref, value, name: str):
    """The address of a field, typed as its data."""
    offset, ty = ref.struct.fields[name]
    address = b.gep(value, [const(offset)], inbounds=True)
    if isinstance(ty, (Embedded, InlineArray)):
        return address
    return b.bitcast(address, context.get_data_type(ty).as_pointer())


def check_nil(context, b, value, what: str) -> None:
    """In user code: raise NilPointerError if `value` is nil."""
    if mode_of(context) != USER:
        return
    with b.if_then(cgutils.is_null(b, value), likely=False):
        raise_here(context, b, NilPointerError, f"{what} of a nil reference (None)")


def raise_here(context, b, exception, message: str) -> None:
    """Leave the function with `exception(message)`, from the line that is being lowered."""
    recorder = getattr(context, "go_recorder", None)
    loc, name = (recorder.loc(), recorder.info.name) if recorder is not None else (None, None)
    context.call_conv.return_user_exc(b, exception, (message,), loc=loc, func_name=name)


@lower_getattr_generic(Ref)
def _load_field(context, b, ref, value, name):
    if isinstance(ref, Pointer):
        check_nil(context, b, value, f"field {name!r} of {ref.struct.__name__}: use")
    ty = ref.struct.fields[name][1]
    address = field_address(context, b, ref, value, name)
    if isinstance(ty, (Embedded, InlineArray)):
        return address
    loaded = context.unpack_value(b, ty, address)
    return imputils.impl_ret_borrowed(context, b, ty, loaded)


@lower_setattr_generic(Ref)
def _store_field(context, b, sig, args, name):
    ref, given = sig.args
    ty = field_type(ref, name)
    if isinstance(ty, (Embedded, InlineArray)):
        raise errors.LoweringError(
            f"{ref.struct.__name__}.{name} is a value inside the object; it cannot be replaced, only changed"
        )
    refuse_interior(given, f"storing it in {ref.struct.__name__}.{name}")
    if isinstance(ref, Pointer):
        check_nil(context, b, args[0], f"field {name!r} of {ref.struct.__name__}: store")
    value = context.cast(b, args[1], given, ty)
    store_with_event(
        context, b, ty, value, field_address(context, b, ref, args[0], name), f"{ref.struct.__name__}.{name}"
    )


def refuse_interior(ty, doing: str, loc=None) -> None:
    """A typing error if `ty` refers to the inside of an object and would outlive the statement."""
    if isinstance(ty, Embedded) and not ty.struct._notinheap:
        raise errors.TypingError(
            f"{ty.struct.__name__} here is a value inside another object: {doing} would let its address escape. "
            f"Use it through its owner, or pass the owner",
            loc=loc,
        )


# ---- elements of inline arrays (runtime structs only)


@infer_global(operator.getitem)
class _GetElement(AbstractTemplate):
    def generic(self, args, kws):
        if isinstance(args[0], ArrayRef):
            return signature(value_of_field(args[0].array.dtype), args[0], types.int64)
        return None


@infer_global(operator.setitem)
class _SetElement(AbstractTemplate):
    def generic(self, args, kws):
        if isinstance(args[0], ArrayRef):
            return signature(types.none, args[0], types.int64, args[0].array.dtype)
        return None


def element_address(context, b, ty: ArrayRef, value, index):
    return b.gep(b.bitcast(value, element_data_type(ty.array).as_pointer()), [index], inbounds=True)


@lower_builtin(operator.getitem, ArrayRef, types.int64)
def _load_element(context, b, sig, args):
    address = element_address(context, b, sig.args[0], args[0], args[1])
    if isinstance(sig.return_type, Embedded):
        return b.bitcast(address, i8p)
    return context.unpack_value(b, sig.return_type, address)


@lower_builtin(operator.setitem, ArrayRef, types.int64, types.Any)
def _store_element(context, b, sig, args):
    array = sig.args[0].array
    slot = element_address(context, b, sig.args[0], args[0], args[1])
    store_with_event(context, b, array.dtype, args[2], slot, f"[]{array.dtype}")
    return context.get_dummy_value()


# ---- lowering proper


class LinesBuilder(debuginfo.DIBuilder):
    """Debug information reduced to what line tables need: functions and locations, no types and no variables."""

    def __init__(self, module, filepath, cgctx, directives_only):
        super().__init__(module, filepath, cgctx, directives_only)
        self._no_types = None

    def _di_compile_unit(self):
        # Also for what Numba compiles for itself (array expressions): LLVM aborts when units of other kinds are linked.
        unit = {
            "language": lir.DIToken("DW_LANG_C_plus_plus"),
            "file": self.difile,
            "producer": "gopark",
            "runtimeVersion": 0,
            "isOptimized": True,
            "emissionKind": lir.DIToken("LineTablesOnly"),
            "debugInfoForProfiling": True,
        }
        return self.module.add_debug_info("DICompileUnit", unit, is_distinct=True)

    def _di_subroutine_type(self, line, function, argmap):
        if self._no_types is None:
            nothing = self.module.add_metadata([])
            self._no_types = self.module.add_debug_info("DISubroutineType", {"types": nothing})
        return self._no_types

    def mark_variable(self, *args, **kwargs):
        pass


class RecordingLower(lowering.Lower):
    """What the user's and the runtime's lowering have in common: the record, frame pointers, keep-alive."""

    def init(self):
        super().init()
        fid = self.func_ir.func_id
        self.info = funcinfo.FuncInfo(
            symbol=self.info_symbol(),
            name=fid.func_qualname,
            file=fid.filename,
            line=fid.firstlineno,
            pragmas=tuple(sorted(getattr(fid.func, "__gopark_pragmas__", ()))),
            entry=self.firstblk,
        )
        self.recorder = Recorder(self.info, self._where)
        self.recorder.loc = lambda: self.loc if isinstance(self.loc, ir.Loc) else self.func_ir.loc
        self.context.go_recorder = self.recorder
        self._label = self.firstblk
        self._call_events: dict[str, int] = {}
        self._hook_linked_libraries()

    def info_symbol(self) -> str:
        raise NotImplementedError

    def _compute_def_location(self):
        return self.func_ir.loc  # Numba parses the source again to find the first statement; the def line will do

    def _where(self):
        loc = self.loc if isinstance(self.loc, ir.Loc) else self.func_ir.loc
        return loc.filename, loc.line

    def _hook_linked_libraries(self):
        """Every compiled callee, however it is reached (call, operator, overload), is linked through here."""
        context, base = self.context, type(self.context).add_linking_libs

        def add_linking_libs(libs):
            for lib in libs:
                self.note_library(lib)
            base(context, libs)

        context.add_linking_libs = add_linking_libs

    def note_library(self, lib):
        info = getattr(lib, "go_info", None)
        if info is not None:
            self.note_callee(info)
        else:
            self.recorder.note(funcinfo.OPAQUE, lib.name)

    def note_callee(self, info):
        self.recorder.note(funcinfo.CALL, info.symbol)

    def setup_function(self, fndesc):
        super().setup_function(fndesc)
        linetable.keep_frame_pointer(self.function)

    def lower_block(self, block):
        self._label = next(label for label, candidate in self.blocks.items() if candidate is block)
        self.recorder.enter(self._label)
        super().lower_block(block)

    def lower_inst(self, inst):
        before = self.recorder.event_count()
        super().lower_inst(inst)
        if isinstance(inst, ir.Assign) and isinstance(inst.value, ir.Expr) and inst.value.op == "call":
            block = self.info.blocks[self._label]
            for i in range(before, len(block)):
                if block[i].kind == funcinfo.CALL:
                    self._call_events[inst.target.name] = i

    def lower(self):
        super().lower()
        self._record_flow()

    def _record_flow(self):
        """Successors, branches on the result of a call, constants returned."""
        for label, block in self.blocks.items():
            self.info.blocks.setdefault(label, [])
            end = block.terminator
            self.info.succs[label] = tuple(end.get_targets())
            defined = {s.target.name: s.value for s in block.body if isinstance(s, ir.Assign)}
            if isinstance(end, ir.Branch):
                name, positive = self._strip_tests(end.cond.name, defined)
                if name in self._call_events and name in defined:
                    targets = (end.truebr, end.falsebr) if positive else (end.falsebr, end.truebr)
                    self.info.branches[label] = (self._call_events[name], *targets)
            elif isinstance(end, ir.Return):
                self.info.returns[label] = self._constant_of(end.value.name, defined)

    def _strip_tests(self, name, defined):
        """The variable behind `bool(x)` and `not x`, and whether the test is still positive."""
        positive = True
        while True:
            value = defined.get(name)
            if isinstance(value, ir.Var):
                name = value.name
            elif isinstance(value, ir.Expr) and value.op == "cast":
                name = value.value.name
            elif isinstance(value, ir.Expr) and value.op == "unary":
                name, positive = value.value.name, not positive
            elif isinstance(value, ir.Expr) and value.op == "call":
                fn = defined.get(value.func.name)
                if isinstance(fn, ir.Global) and fn.value is bool and len(value.args) == 1:
                    name = value.args[0].name
                else:
                    return name, positive
            else:
                return name, positive

    def _constant_of(self, name, defined):
        while True:
            value = defined.get(name)
            if isinstance(value, ir.Var):
                name = value.name
            elif isinstance(value, ir.Expr) and value.op == "cast":
                name = value.value.name
            elif isinstance(value, ir.Const) and value.value in (True, False, None):
                return value.value
            else:
                return "?"

    def _lower_call_ExternalFunction(self, fnty, expr, signature):
        kind = funcinfo.CALL if fnty.symbol.startswith("go.") else funcinfo.OPAQUE
        self.recorder.note(kind, fnty.symbol)
        result = super()._lower_call_ExternalFunction(fnty, expr, signature)
        if signature.return_type == types.boolean and result.type != i1:
            result = self.builder.trunc(result, i1)  # Numba leaves the byte of the C convention
        return result

    def decref(self, ty, value):
        """The end of a variable's life: until here its object must be visible to a scan of the stack."""
        if isinstance(value.type, lir.PointerType) and _kept_alive(ty):
            asm_amd64.emit_keepalive(self.builder, value)
        super().decref(ty, value)


def _kept_alive(ty) -> bool:
    if isinstance(ty, Ref):
        return not ty.struct._notinheap
    return is_gc_pointer(ty)


class RuntimeLower(RecordingLower):
    """The runtime's own functions."""

    def info_symbol(self):
        return "go." + self.func_ir.func_id.func_name
