"""`@go.func`: from a Python function to code that runs on goroutines.

Stands for: what cmd/compile and the linker do for a user's function.

Go functions are a Numba *target* of their own, on a copy of the CPU's context: they share every implementation that
Numba has for the CPU, and are lowered by `UserLower` (polls, checks, error paths). A plain `@njit` callee is compiled
once more for this target (its *twin*), so that it polls and passes errors on as everything else on a goroutine does.

Each specialisation of a go function also emits its *entry stub* `go.entry.X(record*)`: load the arguments, call, give
the arguments back, report an error or exit. `go.spawn` copies the arguments into a record, which becomes the top of the
new goroutine's stack. The stub's address is read from a *slot*, a word behind a stable symbol that is filled when the
specialisation is compiled or loaded: a spawn neither links the callee nor cares about recursion.

A specialisation is cached on disk under a key that covers the function's code and everything reachable from it
(compiler/fingerprint.py), the layouts of all structs among it, the options, the ABI and the CPU. With it travels its
`FuncInfo`, so that a cached function is checked like a fresh one, and what must exist before it may be loaded.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import importlib
import inspect
import os
import pickle
import re
import threading
import warnings
from pathlib import Path

from gopark.compiler import (
    abi,
    asm_amd64,
    bind,
    cache,
    errpath,
    externs,
    fingerprint,
    funcinfo,
    image,
    linetable,
    lower,
    wbcheck,
)
from gopark.compiler.linetable import CodeMap, ModuleList
from gopark.compiler.names import FindNames
from gopark.compiler.numba_api import (
    CPU,
    READ_ONLY,
    CompilerBase,
    CompileResult,
    CPUDispatcher,
    CPUTarget,
    DefaultPassBuilder,
    FunctionPass,
    cgutils,
    code_settings,
    cpu,
    cpu_target,
    dispatcher_registry,
    errors,
    extern,
    global_compiler_lock,
    go_bytecode,
    host_cpu,
    i8p,
    i64,
    imputils,
    ir,
    jit_registry,
    lir,
    llb,
    register_pass,
    rtsys,
    serialize,
    target_being_typed,
    target_override,
    target_registry,
    typed_passes,
    types,
    untyped_passes,
    versions,
    void,
)
from gopark.compiler.returns import JoinReturns
from gopark.compiler.structs import (
    Embedded,
    InlineArray,
    Ref,
    ensure_descriptor,
    holds_pointers,
)
from gopark.errors import WriteBarrierError
from gopark.pause import collector_paused, interrupts_deferred

CODE = CodeMap()  # every loaded object: addresses to lines
MODULES = ModuleList()  # the same for a process that dies
INFOS: dict[str, funcinfo.FuncInfo] = {}  # every function that was compiled or loaded, by symbol


# ---- names and slots


def type_name(ty) -> str:
    """A name for a type that is the same in every process, and of no other type."""
    function = _function_of(ty)
    if function is not None:
        return f"{type(ty).__name__}[{function_name(function.py_func)}]"
    if isinstance(ty, types.BaseTuple) and functions_in(ty):
        return f"{type(ty).__name__}({','.join(map(type_name, ty.types))})"
    return str(ty)


def _function_of(ty):
    """The dispatcher that a type stands for: of a function that is passed as an argument, or that is its default."""
    value = ty.dispatcher if isinstance(ty, types.Dispatcher) else getattr(ty, "value", None)
    return value if isinstance(value, CPUDispatcher) else None


def functions_in(ty) -> list:
    """All such dispatchers."""
    if isinstance(ty, types.BaseTuple):
        return [function for element in ty.types for function in functions_in(element)]
    function = _function_of(ty)
    return [] if function is None else [function]


_same_name: dict[str, list] = {}  # the functions that share module, qualified name and line


def function_name(py_func) -> str:
    """The name of a user's function.

    Functions that a factory makes share name and line and differ in what they close over; a cell of a notebook that is
    run again makes other functions of the same name. So all but the first get a number. Functions of a factory are
    never cached on disk, and of the others only the first is there in every process.
    """
    where = f"{py_func.__module__}.{py_func.__qualname__}:{py_func.__code__.co_firstlineno}"
    made = _same_name.setdefault(where, [])
    number = next((i for i, f in enumerate(made) if f is py_func), None)
    if number is None:
        number = len(made)
        made.append(py_func)
    return f"{where}#{number}" if number else where


def symbol_of(py_func, argtypes) -> str:
    """The name of one specialisation of a user's function."""
    return f"{function_name(py_func)}({','.join(map(type_name, argtypes))})"


errpath.UserLower.symbol_of = staticmethod(lambda func_id, argtypes: symbol_of(func_id.func, argtypes))

_slots: dict[str, ctypes.c_void_p] = {}


def slot(kind: str, symbol: str) -> ctypes.c_void_p:
    """The word behind `go.<kind>.<symbol>`; kind: entry (the stub that spawn starts), body (the function itself)."""
    name = f"go.{kind}.{symbol}"
    found = _slots.get(name)
    if found is None:
        found = _slots[name] = ctypes.c_void_p(0)
        llb.add_symbol(name, ctypes.addressof(found))
    return found


def load_slot(b, kind: str, symbol: str):
    """Emit the load of a slot."""
    slot(kind, symbol)
    return b.load(lower.data_symbol(b.module, f"go.{kind}.{symbol}"))


# ---- the target


class GoTarget(CPU):
    go_code = True
    go_mode = lower.USER


class GoContext(cpu.CPUContext):
    go_mode = lower.USER
    DIBuilder = lower.LinesBuilder
    enable_nrt = True  # the wrapper of go.run frees a dynamic exception only then

    @property
    def call_conv(self):
        return errpath.GoCallConv(self)

    def _compile_subroutine_no_cache(self, builder, impl, sig, locals=None, flags=None):
        """Code that Numba's implementations compile on the way (array expressions) keeps its lines like all the rest:
        LLVM ends the process when modules with different kinds of debug information are inlined into each other."""
        codegen = self.codegen()
        create = codegen.create_library

        def create_library(name, **kwargs):
            library = create(name, **kwargs)
            image.adapt_library(library)
            return library

        codegen.create_library = create_library  # under the compiler's lock, and only while this is compiled
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", errors.NumbaDebugInfoWarning)  # such code has no source to be found
                return super()._compile_subroutine_no_cache(builder, impl, sig, locals=locals, flags=flags)
        finally:
            codegen.create_library = create


class TwinTarget(GoTarget):
    """Plain @njit functions as goroutines call them: compiled as go code, but gopark's own operations do not type."""

    go_code = False


class _GoTargetDescr(CPUTarget):
    _context = None
    target = GoTarget

    @property
    def target_context(self):
        if self._context is None:
            asm_amd64.initialize_llvm()
            self._context = cpu_target.target_context.subtarget()
            self._context.__class__ = GoContext
            self._context.target = self.target
        return self._context

    @property
    def typing_context(self):
        return cpu_target.typing_context


class _TwinTargetDescr(_GoTargetDescr):
    target = TwinTarget


# ---- passes


@register_pass(mutates_CFG=True, analysis_only=False)
class _GoLowering(typed_passes.NativeLowering):
    _name = "gopark_lowering"

    @property
    def lowering_class(self):
        def make(*args, **kwargs):
            self._lower = self._class(*args, **kwargs)
            return self._lower

        return make

    def run_pass(self, state):
        self._class = _FunctionLower if isinstance(state.pipeline, _FunctionCompiler) else errpath.UserLower
        if state.library is None:
            state.library = new_library(state.targetctx, state.func_id.func_qualname)
        with target_override("gopark"):  # the bodies of @overload that lowering asks for once more are go code too
            result = super().run_pass(state)
        info = self._lower.info
        info.externs = state.library.gopark_externs
        _adopt_slots(info)
        state.library.go_info = info
        state.metadata["go_info"] = info
        INFOS[info.symbol] = info
        return result


class _FunctionLower(errpath.UserLower):
    """Lowers a @go.func: its body, and its entry stub."""

    def lower(self):
        super().lower()
        if self.generator_info is None:
            emit_entry(self)


@register_pass(mutates_CFG=False, analysis_only=False)
class _Twins(FunctionPass):
    """Replace plain @njit callees by their twins for the go target."""

    _name = "gopark_twins"

    def __init__(self):
        FunctionPass.__init__(self)

    def run_pass(self, state):
        changed = False
        for block in state.func_ir.blocks.values():
            for s in block.body:
                if isinstance(s, ir.Assign) and isinstance(s.value, (ir.Global, ir.FreeVar)):
                    value = s.value.value
                    if type(value) is CPUDispatcher:
                        s.value.value = twin(value, s.loc)
                        changed = True
        return changed


def twin(dispatcher: CPUDispatcher, loc=None) -> GoDispatcher:
    """The same function for goroutines."""
    found = dispatcher.__dict__.get("_gopark_twin")
    if found is None:
        if dispatcher.targetoptions.get("parallel"):
            raise errors.UnsupportedError(
                f"{dispatcher.__name__} is compiled with parallel=True, which starts threads of its own and cannot run "
                f"on a goroutine. Use go.spawn and a channel instead, or call it from Python before go.run",
                loc=loc,
            )
        kept = ("fastmath", "error_model", "boundscheck", "inline", "forceinline")
        options = {k: v for k, v in dispatcher.targetoptions.items() if k in kept}
        found = Twin(dispatcher.py_func, targetoptions=_options(options), pipeline_class=_CalleeCompiler)
        dispatcher.__dict__["_gopark_twin"] = found
    return found


@register_pass(mutates_CFG=False, analysis_only=True)
class _Refuse(FunctionPass):
    """What types but must not be: pointers where the collector does not look, references that would escape."""

    _name = "gopark_refuse"

    def __init__(self):
        FunctionPass.__init__(self)

    def run_pass(self, state):
        name = state.func_id.func_name
        for _, block in sorted(state.func_ir.blocks.items()):
            for s in block.find_insts(ir.Assign):
                problem = externs.type_refusal(state.typemap[s.target.name])
                if problem:
                    raise errors.TypingError(f"{name} uses {problem}", loc=s.loc)
                problem = _unscanned(state.typemap[s.target.name])
                if problem and not isinstance(s.value, ir.Arg):
                    raise errors.TypingError(f"{name}: {problem}", loc=s.loc)
        for block in state.func_ir.blocks.values():
            for s in block.find_insts(ir.SetAttr):
                self._check_store(state, name, s)
        result = state.return_type
        if isinstance(result, Embedded) and not result.struct._notinheap:
            raise errors.TypingError(
                f"{name} returns a {result.struct.__name__} that is a value inside another object: its address would "
                f"escape. Return the owner",
                loc=state.func_ir.loc,
            )
        if isinstance(result, types.Generator) and any(map(holds_pointers, result.state_types)):
            raise errors.TypingError(
                f"{name} is a generator that holds pointers to objects of the collected heap. The collector does not "
                f"scan the state of Numba's generators; use a goroutine and a channel",
                loc=state.func_ir.loc,
            )
        return False

    def _check_store(self, state, name, s):
        """Numba would cast a float to an integer field without a word."""
        target, given = state.typemap[s.target.name], state.typemap[s.value.name]
        if not isinstance(target, Ref):
            return
        wanted = lower.field_type(target, s.attr)
        lower.refuse_interior(given, f"storing it in {target.struct.__name__}.{s.attr}", s.loc)
        if isinstance(wanted, (Embedded, InlineArray)):
            raise errors.TypingError(
                f"{name}: {target.struct.__name__}.{s.attr} is a value inside the object; "
                f"it cannot be replaced, only changed",
                loc=s.loc,
            )
        if not lower.convertible(state.typingctx, given, wanted):
            raise errors.TypingError(
                f"{name}: cannot store {given} in {target.struct.__name__}.{s.attr}, which is {wanted}", loc=s.loc
            )


_CONTAINERS = {
    types.List: "list",
    types.ListType: "typed list",
    types.Set: "set",
    types.DictType: "dict",
}


def _unscanned(ty) -> str | None:
    for cls, name in _CONTAINERS.items():
        if isinstance(ty, cls):
            inner = (ty.key_type, ty.value_type) if cls is types.DictType else (ty.dtype,)
            if any(_holds_anywhere(t) for t in inner):
                return (
                    f"a {name} of {', '.join(map(str, inner))} holds pointers to objects of the collected heap, which "
                    f"the collector does not look for in Numba's containers: they would be freed while in use. "
                    f"Hold them in a go.List[...], link them through their fields, or send them over a channel; "
                    f"go.Map will hold them once it exists"
                )
    return None


def _holds_anywhere(ty) -> bool:
    if holds_pointers(ty) or isinstance(ty, Embedded):
        return True
    if isinstance(ty, types.BaseTuple):
        return any(map(_holds_anywhere, ty.types))
    inner = [getattr(ty, n, None) for n in ("dtype", "key_type", "value_type")]
    return any(isinstance(t, types.Type) and t is not ty and _holds_anywhere(t) for t in inner)


class _CalleeCompiler(CompilerBase):
    """Numba's nopython pipeline for code that runs on goroutines."""

    def __init__(self, typingctx, targetctx, library, args, return_type, flags, locals):
        linetable.flags_for_line_tables(flags)
        super().__init__(typingctx, targetctx, library, args, return_type, flags, locals)

    def define_pipelines(self):
        pm = DefaultPassBuilder.define_nopython_pipeline(self.state, "gopark")
        pm.add_pass_after(_Twins, untyped_passes.IRProcessing)
        pm.add_pass_after(FindNames, untyped_passes.FindLiterallyCalls)
        pm.add_pass_after(_Refuse, typed_passes.NopythonTypeInference)
        ours = {untyped_passes.TranslateByteCode: JoinReturns, typed_passes.NativeLowering: _GoLowering}
        pm.passes = [(ours.get(step, step), text) for step, text in pm.passes]
        pm._finalized = False
        pm.finalize()
        return [pm]

    def compile_extra(self, func):
        for ty in self.state.args:
            problem = externs.type_refusal(ty)
            if problem:
                loc = ir.Loc(func.__code__.co_filename, func.__code__.co_firstlineno)
                raise errors.TypingError(f"{func.__qualname__} uses {problem}", loc=loc)
        try:
            with go_bytecode():
                result = super().compile_extra(func)
        except errors.NumbaError as e:
            code = func.__code__
            if os.path.basename(code.co_filename) not in str(e):  # some of Numba's own errors do not say where
                e.add_context(f"compiling {func.__qualname__} at {code.co_filename} ({code.co_firstlineno})")
            if READ_ONLY in str(e) and isinstance(self, _FunctionCompiler):
                raise _read_only(func, str(e)) from None
            raise
        except ImportError as e:
            if "scipy" not in str(e) or not isinstance(self, _FunctionCompiler):
                raise
            loc = ir.Loc(func.__code__.co_filename, func.__code__.co_firstlineno)
            raise errors.UnsupportedError(
                f"{func.__qualname__} uses linear algebra (np.dot, @ or np.linalg), which Numba takes from SciPy, and "
                f"that is not installed: pip install 'gopark[linalg]', or scipy itself",
                loc=loc,
            ) from None
        info = result.metadata["go_info"]
        if info.pragmas:
            _pending.checks.append(info)
        return result


def _read_only(func, text: str) -> errors.TypingError:
    """A write to a read-only array, told by the line of `func` in Numba's account of it."""
    name = func.__code__.co_filename
    line = re.search(rf"During: .* at {re.escape(name)} \((\d+)\)", text)
    return errors.TypingError(
        f"{func.__qualname__} writes to an array that is read-only. Pass a copy, a.copy(), or make the array writable "
        f"before go.run, a.flags.writeable = True; a constant array of the module is always read-only",
        loc=ir.Loc(name, int(line[1]) if line else func.__code__.co_firstlineno),
    )


class _FunctionCompiler(_CalleeCompiler):
    """... and of a @go.func itself, which also gets an entry stub."""


@contextlib.contextmanager
def compiling():
    """Around every compilation: one at a time, and undisturbed."""
    with interrupts_deferred(), global_compiler_lock, collector_paused():
        yield


class _Pending(threading.local):
    """What waits for the end of the outermost compilation, when recursion is closed: write-barrier pragmas to check,
    and specialisations to keep on disk or, if a check fails, to forget."""

    def __init__(self):
        self.depth, self.checks, self.saves, self.made = 0, [], [], []


_pending = _Pending()


# ---- libraries


def new_library(context, name: str):
    """A code library that keeps line tables and object bytes, and checks and binds its symbols *before* its code is
    loaded."""
    library = context.codegen().create_library(name)
    library.enable_object_caching()
    image.adapt_library(library)
    library.gopark_externs = ()
    verify, module_for_linking = library._verify_declare_only_symbols, library._get_module_for_linking

    def verify_and_check():
        verify()
        module = library._final_module
        problem = externs.module_refusal(str(module), name)
        if problem:
            raise errors.LoweringError(problem)
        bind.bind(module)
        names = [f.name for f in module.functions if f.is_declaration and not f.name.startswith("llvm.")]
        names += [
            g.name
            for g in module.global_variables
            if g.is_declaration and not g.name.startswith((".numba", "_ZN08NumbaEnv"))
        ]
        bind.provide(names)
        missing = [n for n in names if llb.address_of_symbol(n) is None]
        if missing:
            raise errors.LoweringError(f"{name}: undefined symbol{'s' * (len(missing) > 1)} {', '.join(missing)}")
        library.gopark_externs = tuple(names)

    def unbound_module_for_linking():
        module = module_for_linking()
        if module is library._final_module:
            module = library._shared_module = module.clone()
        bind.unbind(module)
        return module

    library._verify_declare_only_symbols = verify_and_check
    library._get_module_for_linking = unbound_module_for_linking
    return library


# ---- the entry stub


def record_type(context, argtypes):
    """The LLVM type of the record that carries a goroutine's arguments."""
    empty = lir.LiteralStructType([])
    return lir.LiteralStructType(
        [empty if isinstance(t, types.Omitted) else context.get_data_type(t) for t in argtypes]
    )


def entry_name(fndesc) -> str:
    return "go.stub." + fndesc.mangled_name


def emit_entry(low) -> None:
    """void go.stub.X(record*): what a goroutine that runs X executes."""
    context, fndesc = low.context, low.fndesc
    module = context.create_module("go_entry")
    body = lir.Function(
        module, context.call_conv.get_function_type(fndesc.restype, fndesc.argtypes), fndesc.llvm_func_name
    )
    stub = lir.Function(module, lir.FunctionType(void, [i8p]), entry_name(fndesc))
    linetable.keep_frame_pointer(stub)
    b = lir.IRBuilder(stub.append_basic_block("entry"))
    record = b.bitcast(stub.args[0], record_type(context, fndesc.argtypes).as_pointer())
    values = [
        None if isinstance(t, types.Omitted) else context.unpack_value(b, t, cgutils.gep_inbounds(b, record, 0, i))
        for i, t in enumerate(fndesc.argtypes)
    ]

    def give_back():
        for t, v in zip(fndesc.argtypes, values, strict=True):
            if v is not None:
                context.nrt.decref(b, t, v)

    def leave():
        b.call(extern(module, "go.goexit", i8p, []), [])
        b.unreachable()

    # the run may have ended before this goroutine got its turn
    ended = b.call(extern(module, "go.startended", i64, []), [])
    with b.if_then(cgutils.is_not_null(b, ended), likely=False):
        give_back()
        leave()
    # not inlined: the stub has no lines, and would take those of the body with it
    status, result = context.call_conv.call_function(
        b, body, fndesc.restype, fndesc.argtypes, values, attrs=("noinline",)
    )
    give_back()
    with b.if_then(status.is_error, likely=False):
        with b.if_then(b.icmp_signed("==", status.code, errpath.ENDED)):
            leave()
        exception = b.select(status.is_user_exc, status.excinfoptr, lir.Constant(status.excinfoptr.type, None))
        b.call(extern(module, "go.runexit", i8p, [i64, i64]), [b.sext(status.code, i64), b.ptrtoint(exception, i64)])
        context.call_conv.free_caught(b, exception)  # another one was first to end the run
        leave()
    if not isinstance(fndesc.restype, types.Optional):
        context.nrt.decref(b, fndesc.restype, result)
    leave()
    low.library.add_ir_module(module)


# ---- recursion between functions, through slots


def _lower_recursive(self, fnty, expr, signature):
    """Mutual recursion through the body slot: Numba's own scheme does not survive the disk cache."""
    dispatcher = fnty.dispatcher_type.dispatcher
    symbol = symbol_of(dispatcher.py_func, signature.args)
    self.recorder.note(funcinfo.CALL, symbol)
    if symbol == self.info.symbol:
        return super(errpath.UserLower, self)._lower_call_RecursiveCall(fnty, expr, signature)
    context, b = self.context, self.builder
    arguments = self.fold_call_args(fnty, signature, expr.args, expr.vararg, expr.kws)
    need_slots(context, dispatcher, signature.args, symbol)
    fn_type = context.call_conv.get_function_type(signature.return_type, signature.args)
    fn = b.inttoptr(b.ptrtoint(load_slot(b, "body", symbol), i64), fn_type.as_pointer())
    status, result = context.call_conv.call_function(b, fn, signature.return_type, signature.args, arguments)
    with cgutils.if_unlikely(b, status.is_error):
        context.call_conv.return_status_propagate(b, status)
    return imputils.fix_returning_optional(context, b, signature, status, result)


errpath.UserLower._lower_call_RecursiveCall = _lower_recursive


def need_slots(context, dispatcher, argtypes, symbol) -> None:
    """Remember that the code being compiled goes through the slots of that specialisation."""
    f = dispatcher.py_func
    need = (f.__module__, f.__qualname__, tuple(argtypes), symbol)
    spawns = context.go_recorder.info.spawns
    if need not in spawns:
        spawns.append(need)
    for kind in ("entry", "body"):
        slot(kind, symbol)


def _adopt_slots(info) -> None:
    """The code of callees is part of a caller's: what goes through slots there, the caller needs too."""
    known = {symbol for *_, symbol in info.spawns}
    wanted = {name.split(".", 2)[2] for name in info.externs if name.startswith(("go.body.", "go.entry."))} - known
    if wanted:
        of_others = {need[3]: need for other in INFOS.values() for need in other.spawns}
        info.spawns += [of_others[symbol] for symbol in sorted(wanted) if symbol in of_others]


# ---- the disk cache


class _FunctionCache:
    """What a Numba dispatcher asks of a cache, over cache.Store. `kept`: the keys of the specialisations that are on
    the disk, by the types of their arguments."""

    def __init__(self, dispatcher):
        self._dispatcher, self._store = dispatcher, None
        self.kept: dict[tuple, str] = {}

    cache_path = property(lambda self: str(self._store.path) if self._store else None)

    def enable(self):
        pass

    disable = flush = enable

    def _open(self) -> cache.Store:
        if self._store is None:
            self._store = cache.Store("func")
        return self._store

    def key(self, args: tuple) -> str | None:
        """The hash of everything that the specialisation for `args` is made from; None if that cannot be told, or if
        another process would not find it by name."""
        made_of, extensions = fingerprint.Fingerprint(self._dispatcher, *args), fingerprint.extensions()
        if made_of.unknown or made_of.changed or extensions is None or not _found_by_name(args):
            return None
        symbol = symbol_of(self._dispatcher.py_func, args)
        parts = (abi.key(), versions(), code_settings(), host_cpu(), _gopark_digest(), extensions, symbol, made_of.hash)
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    def load_overload(self, sig, target_context):
        args = _arguments(sig)
        key = self.key(args)
        body = self._open().get(key) if key is not None else None
        if body is None:
            return None
        try:
            rtsys.initialize(target_context)
            info, payload = pickle.loads(body)
            _prepare(info)
            result = CompileResult._rebuild(target_context, *payload)
        except (ImportError, KeyError, AttributeError):
            return None  # it names something that is gone: compile
        result.library.go_info = info
        INFOS[info.symbol] = info
        errpath.RECORDING.add(result.fndesc.llvm_func_name)
        result.library.gopark_object = payload[0][2][0]
        self.kept[args] = key
        return result

    def save_overload(self, sig, result):
        _pending.saves.append(lambda: self._save(_arguments(sig), result))

    def _save(self, args, result):
        library = result.library
        library.gopark_object = library._get_compiled_object()
        key = self.key(args)
        # Code that holds addresses of this process (Numba does that with large arrays), or starts goroutines with
        # functions that only this process has, is of no use to others.
        spawned = [ty for _, _, argtypes, _ in library.go_info.spawns for ty in argtypes]
        if key is None or library.has_dynamic_globals or not _found_by_name(spawned):
            return
        if self._open().put(key, serialize.dumps((library.go_info, result._reduce()))):
            self.kept[args] = key


def _arguments(sig) -> tuple:
    return tuple(getattr(sig, "args", sig))


def _found_by_name(argtypes) -> bool:
    """Whether other processes find the functions that are passed as arguments under their names. (Numba pickles its own
    dispatchers, which are here only as defaults, by value: they come back as others.)"""
    for function in (f for ty in argtypes for f in functions_in(ty)):
        try:
            found = find_dispatcher(function.py_func.__module__, function.py_func.__qualname__)
        except (ImportError, AttributeError):
            return False
        if not isinstance(function, GoDispatcher) or function not in (found, getattr(found, "_gopark_twin", None)):
            return False
    return True


def _prepare(info) -> None:
    """Everything that the cached code refers to must exist before it is loaded."""
    for kind, ty in info.structs:
        ensure_descriptor(kind, ty)
    for module, qualname, argtypes, symbol in info.spawns:
        for kind in ("entry", "body"):
            slot(kind, symbol)
        if slot("entry", symbol).value or symbol in _loading:
            continue
        _loading.add(symbol)
        try:
            find_dispatcher(module, qualname).compile(argtypes)
        finally:
            _loading.discard(symbol)
    bind.provide(info.externs)
    image.check_symbols(info.externs, info.symbol)


_loading: set[str] = set()


@functools.cache
def _gopark_digest() -> str:
    """Hash of gopark's own sources. Some decide what code comes out, some what it may call; to tell which is not worth
    an error."""
    h = hashlib.sha256()
    for path in sorted(Path(__file__).parent.parent.rglob("*.py")):
        h.update(path.read_bytes())
    return h.hexdigest()


# ---- dispatchers


def find_dispatcher(module: str, qualname: str):
    """The go function of that name."""
    found = importlib.import_module(module)
    for part in qualname.split("."):
        found = getattr(found, part)
    return found


def find_twin(module: str, qualname: str):
    return twin(find_dispatcher(module, qualname))


class GoDispatcher(CPUDispatcher):
    """A go function. Compiled go code calls and spawns it; called from Python it runs as `go.run(f, ...)`."""

    targetdescr = _GoTargetDescr("gopark")
    is_go_function = False  # decorated by the user; the others are twins and what Numba implements in Python
    runner = booter = None  # set by bridge/run.py and bridge/boot.py

    def __reduce__(self):
        if "<locals>" not in self.py_func.__qualname__:
            return find_dispatcher, (self.py_func.__module__, self.py_func.__qualname__)
        return super().__reduce__()

    def __repr__(self):
        return f"<go function {self.py_func.__module__}.{self.py_func.__qualname__}>"

    def __call__(self, *args, **kwargs):
        return GoDispatcher.runner(self, *args, **kwargs)

    def get_call_template(self, args, kws):
        target = target_being_typed(self.typingctx)
        if self.is_go_function and target is not None and not getattr(target, "go_code", False):
            raise errors.TypingError(
                f"{self.__name__} is a go function: a plain @njit function cannot call it. "
                f"Decorate the caller with @go.func"
            )
        return super().get_call_template(args, kws)

    def compile(self, sig):
        GoDispatcher.booter()  # before the compiler's lock is taken: boot takes its own lock first, then that one
        with compiling():
            return self._compile_locked(sig)

    def _compile_locked(self, sig):
        args = _arguments(sig)
        known = args in self.overloads
        if self.is_go_function and not known and not isinstance(self._cache, _FunctionCache):
            fingerprint.Fingerprint(self)  # remembers what is frozen now: callers may be kept on disk
        _pending.depth += 1
        try:
            entry = super().compile(sig)
            if not known:
                _pending.made.append((self, args))
                self._publish(args)
            if _pending.depth == 1:
                _settle()
            return entry
        except BaseException:
            if _pending.depth == 1:
                for dispatcher, made in _pending.made:
                    dispatcher.overloads.pop(made, None)
            raise
        finally:
            _pending.depth -= 1
            if _pending.depth == 0:
                _pending.checks, _pending.saves, _pending.made = [], [], []

    def _publish(self, args):
        result = self.overloads[args]
        library, symbol, name = result.library, symbol_of(self.py_func, args), result.fndesc.llvm_func_name
        address = slot("body", symbol).value = library.get_pointer_to_function(name)
        stub = library.get_pointer_to_function(entry_name(result.fndesc))
        if stub:
            slot("entry", symbol).value = stub
        data = getattr(library, "gopark_object", None) or library._get_compiled_object()
        CODE.add(data, library.get_pointer_to_function)
        MODULES.add(data, name, address)


def _settle() -> None:
    """The outermost compilation has ended well: check the pragmas, then keep what was compiled."""
    for info in _pending.checks:
        violations = wbcheck.check_pragmas(info, INFOS)
        if violations:
            raise WriteBarrierError("\n".join(dict.fromkeys(v.format_text() for v in violations)))
    for keep in _pending.saves:
        keep()


class Twin(GoDispatcher):
    """The twin of a plain @njit function."""

    targetdescr = _TwinTargetDescr("gopark_twin")

    def __reduce__(self):
        found, arguments = super().__reduce__()
        return (find_twin, arguments) if found is find_dispatcher else (found, arguments)


target_registry["gopark"] = GoTarget
target_registry["gopark_twin"] = TwinTarget
dispatcher_registry[GoTarget] = GoDispatcher
dispatcher_registry[TwinTarget] = Twin


def _jit_for_target(*args, **options):
    """How Numba compiles the bodies of @overload for this target."""
    options = {k: v for k, v in options.items() if k not in ("cache", "locals", "pipeline_class", "target")}
    return lambda f: GoDispatcher(f, targetoptions=_options(options), pipeline_class=_CalleeCompiler)


jit_registry[GoTarget] = _jit_for_target
jit_registry[TwinTarget] = _jit_for_target  # what Numba implements in Python is go code

_FUNC_OPTIONS = {"boundscheck", "fastmath", "cache"}


def _options(given):
    options = {"error_model": "python", "boundscheck": True}
    options.update(given)
    options.update(nopython=True, nogil=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)
    return options


def func(py_func=None, **options):
    """Compile a function for goroutines, lazily and per argument types.

    Options: `boundscheck=False` trusts every index; `fastmath=True` as Numba's; `cache=False` keeps it off the disk.
    Called from another go function it is a plain call; called from Python it is `go.run`. What cannot be compiled
    raises one of Numba's errors at the first call, with a text in the program's terms.

    Example:

        @go.func
        def add(a, b):
            return a + b


        @go.func(fastmath=True)
        def mean(a, b):
            return add(a, b) / 2


        print(mean(3, 4))  # 3.5
    """
    unknown = set(options) - _FUNC_OPTIONS
    if "parallel" in unknown:
        raise TypeError("@go.func(parallel=True): use go.spawn; goroutines run on all cores")
    if unknown:
        raise TypeError(
            f"@go.func: unknown option {', '.join(sorted(unknown))}; there are {', '.join(sorted(_FUNC_OPTIONS))}"
        )

    def decorate(f):
        if isinstance(f, CPUDispatcher):
            raise TypeError(f"@go.func decorates a plain function; {f.__name__} is compiled already: take @njit off")
        if not inspect.isfunction(f):
            raise TypeError(f"@go.func decorates a function, not {f!r}")
        if inspect.iscoroutinefunction(f) or inspect.isasyncgenfunction(f):
            raise TypeError(f"@go.func: {f.__name__} is an `async def`; write `def`: a goroutine waits without await")
        cached = options.get("cache", True)
        given = {k: v for k, v in options.items() if k != "cache"}
        made = GoDispatcher(f, targetoptions=_options(given), pipeline_class=_FunctionCompiler)
        made.is_go_function = True
        # What has no file (a cell of a notebook, exec) is not there in the next process.
        if cached and "<locals>" not in f.__qualname__ and os.path.isfile(f.__code__.co_filename):
            made._cache = _FunctionCache(made)
        return made

    return decorate if py_func is None else decorate(py_func)


def _pragma(name, doc):
    def decorate(f):
        target = getattr(f, "py_func", f)
        if not inspect.isfunction(target):
            raise TypeError(f"@go.{name} decorates a function, not {f!r}")
        target.__dict__.setdefault("__gopark_pragmas__", set()).add(name)
        return f

    decorate.__name__ = decorate.__qualname__ = name
    decorate.__doc__ = doc
    return decorate


nowritebarrier = _pragma(
    "nowritebarrier",
    """Declare that the function has no pointer store that would need a write barrier. When a run compiles it and it has
    one, WriteBarrierError says where. Stores of numbers are none.

    Example:

        @go.struct
        class Node:
            value: int
            next: "Node"


        @go.func
        @go.nowritebarrier
        def increment(node):
            node.value += 1
            return node.value


        @go.func
        @go.nowritebarrier
        def link(a, b):
            a.next = b


        print(go.run(increment, Node(1)))  # 2
        try:
            go.run(link, Node(1), Node(2))
        except go.WriteBarrierError as error:
            print(str(error).splitlines()[0])  # write barrier prohibited: store to Node.next
    """,
)
nowritebarrierrec = _pragma(
    "nowritebarrierrec",
    "The same for everything the function calls, too. The error shows the shortest chain of calls to the store.",
)
yeswritebarrierrec = _pragma(
    "yeswritebarrierrec",
    "Cut: callers that are declared @nowritebarrierrec are not held responsible for what this function does.",
)
