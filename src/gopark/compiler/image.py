"""Translation units of the runtime, one image of machine code, loaded by symbol.

A function of the runtime is declared with `@fn`; its annotations are its signature and `go.<name>` its C symbol:

    @fn
    def runqget(pp: P) -> G: ...

Signatures are declared, never inferred across functions, so order and recursion do not matter, and each function is
compiled once: some ten milliseconds. A module is a *unit*; its functions are lowered into one LLVM module, kept as
bitcode under a key of its own. All units are then linked, optimised together (calls across files inline) and emitted as
one object, which is loaded in a few milliseconds and called by symbol from user code, in this and in later processes.

* The *hooks* (`go.prim`, `go.writebarrierptr`) are an object of their own. Linked with the rest, LLVM would specialise
  their call sites to today's body, and nothing could be bound in their place.
* The globals (`var(Sched, "go.sched")`) lie in the image and are `dso_local`: one instruction instead of a load from
  the table of addresses. Run-time addresses are never constants in code.
* A symbol that nobody defines is an error with its name before anything is loaded; LLVM would leave it at address 0.
* A runtime function returns its result by the C convention. Numba's status is looked at by the wrapper: an error that
  escapes a runtime function is a `throw`.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import pickle
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from gopark import config
from gopark.compiler import abi, asm_amd64, cache, fingerprint, linetable, lower
from gopark.compiler.numba_api import (
    CPU,
    CompilerBase,
    Flags,
    PassManager,
    cgutils,
    code_settings,
    compiler,
    cpu,
    cpu_target,
    dispatcher_registry,
    errors,
    global_compiler_lock,
    i1,
    i8p,
    i64,
    image_target_machine,
    jit_registry,
    lir,
    llb,
    register_pass,
    typed_passes,
    types,
    typing,
    untyped_passes,
    versions,
)
from gopark.compiler.structs import Pointer, StructMeta, Var, resolve

NO_P, WITH_P = "none", "P"  # states in which a function may be entered from outside the image


class RuntimeFunction:
    """A function of the runtime. Compiled code calls it by symbol; Python does not call it at all."""

    BY_SYMBOL: dict[str, RuntimeFunction] = {}

    def __init__(self, py_func, inline, entered):
        self.py_func, self.inline, self.entered = py_func, inline, entered
        self.__name__ = py_func.__name__
        self.__doc__ = py_func.__doc__
        self.unit = py_func.__module__
        self.symbol = "go." + py_func.__name__
        clash = self.BY_SYMBOL.get(self.symbol)
        if clash is not None and clash.unit != self.unit:
            raise ValueError(f"{self.symbol} is defined in {clash.unit} and in {self.unit}")
        self.BY_SYMBOL[self.symbol] = self

    def __call__(self, *args):
        raise TypeError(f"{self.__name__} is a function of the runtime; it runs in compiled code only")

    @functools.cached_property
    def signature(self):
        annotations, scope = self.py_func.__annotations__, self.py_func.__globals__

        def type_of(annotation, what):
            if annotation is None or annotation == "None":
                return types.none
            ty = resolve(annotation, f"{self.symbol}, {what}", (scope, {}))
            return Pointer(ty.struct) if isinstance(annotation, StructMeta) else ty

        names = inspect.signature(self.py_func).parameters
        missing = [n for n in names if n not in annotations]
        if missing:
            raise TypeError(f"{self.symbol}: parameters without annotation: {', '.join(missing)}")
        result = type_of(annotations.get("return"), "result")
        return typing.signature(result, *[type_of(annotations[n], n) for n in names])

    def __gopark_key__(self, describe):
        return f"{self.symbol}{self.signature}"

    @functools.cached_property
    def _numba_type_(self):
        return types.ExternalFunction(self.symbol, self.signature)

    @property
    def argtypes(self):  # the two attributes by which Numba describes an external function
        return self.signature.args

    @property
    def restype(self):
        return self.signature.return_type


def fn(py_func=None, *, inline: bool | None = None, entered: str | None = None):
    """Declare a function of the runtime.

    inline: True always, False never (slow paths), None as LLVM decides.
    entered: how the function may be reached from outside the image: WITH_P from goroutines, NO_P from threads that own
    no P (Python's threads, new threads, signal handlers). Such functions keep their symbol, and are the roots of the
    write-barrier check.
    """
    if py_func is not None:
        return RuntimeFunction(py_func, inline, entered)
    return lambda f: RuntimeFunction(f, inline, entered)


def forward(name: str, result=types.none, *arguments):
    """A function of a unit that cannot be imported here, because it imports this one. Called by symbol like any
    other."""
    return types.ExternalFunction("go." + name, typing.signature(result, *arguments))


# ---- lowering of a unit


class RuntimeTarget(CPU):
    go_code = True
    go_mode = lower.RUNTIME


# The few operators that Numba implements in Python itself (`//` on integers ...) are compiled by its own dispatcher.
dispatcher_registry[RuntimeTarget] = dispatcher_registry[CPU]
jit_registry[RuntimeTarget] = jit_registry[CPU]


class RuntimeContext(cpu.CPUContext):
    go_mode = lower.RUNTIME
    DIBuilder = lower.LinesBuilder


@register_pass(mutates_CFG=True, analysis_only=False)
class _RuntimeLowering(typed_passes.NativeLowering):
    _name = "gopark_runtime_lowering"

    @property
    def lowering_class(self):
        def make(*args, **kwargs):
            self._lower = lower.RuntimeLower(*args, **kwargs)
            return self._lower

        return make

    def run_pass(self, state):
        result = super().run_pass(state)
        state.metadata["go_info"] = self._lower.info
        return result


class _RuntimeCompiler(CompilerBase):
    """Numba's nopython pipeline without the passes that only user code needs: a third faster."""

    def define_pipelines(self):
        pm = PassManager("gopark runtime")
        u, t = untyped_passes, typed_passes
        for step in (
            u.TranslateByteCode,
            u.FixupArgs,
            u.IRProcessing,
            u.RewriteSemanticConstants,
            u.DeadBranchPrune,
            u.ReconstructSSA,
            t.NopythonTypeInference,
            t.PreLowerStripPhis,
            t.IRLegalization,
            _RuntimeLowering,
            t.NoPythonBackend,
        ):
            pm.add_pass(step, step.__name__)
        pm.finalize()
        self.state.type_annotation = ""
        return [pm]


_context = None


def runtime_context():
    """The target context of the runtime's code: Numba's of this CPU under a class of our own."""
    global _context
    if _context is None:
        _context = cpu_target.target_context.subtarget()
        _context.__class__ = RuntimeContext
        _context.target = RuntimeTarget
    return _context


class UnitBuilder:
    """Lowers the functions of one unit. After `build`: `bitcode`, `infos` by symbol, `seconds` by symbol."""

    def __init__(self, unit: str):
        self.unit = unit
        self.functions = [f for f in RuntimeFunction.BY_SYMBOL.values() if f.unit == unit]
        self.infos, self.seconds, self.bitcode, self.text = {}, {}, b"", ""

    def lower(self):
        """Lower every function; returns the library that holds the result. Enough for the check, which builds
        nothing."""
        context = runtime_context()
        library = context.codegen().create_library(self.unit)
        adapt_library(library)
        wrappers = context.create_module(self.unit + ".wrappers")
        for function in self.functions:
            start = time.process_time()
            try:
                result = self._lower_function(function, library)
            except errors.NumbaError as e:
                raise SyntaxError(f"{function.symbol}: {e}") from e
            self.infos[function.symbol] = result.metadata["go_info"]
            self._wrapper(wrappers, function, result.fndesc)
            self.seconds[function.symbol] = time.process_time() - start
        library.add_ir_module(wrappers)
        return library

    def _lower_function(self, function, library):
        flags = Flags()
        flags.no_compile = flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True
        flags.nrt = flags.enable_pyobject = False
        flags.error_model = "numpy"
        linetable.flags_for_line_tables(flags)
        s = function.signature
        return compiler.compile_extra(
            cpu_target.typing_context,
            runtime_context(),
            function.py_func,
            s.args,
            s.return_type,
            flags,
            {},
            library=library,
            pipeline_class=_RuntimeCompiler,
        )

    def _wrapper(self, module, function, fndesc):
        """The function under its symbol and the C convention. An error status is a throw."""
        context = runtime_context()
        body_type = context.call_conv.get_function_type(fndesc.restype, fndesc.argtypes)
        body = cgutils.get_or_insert_function(module, body_type, fndesc.llvm_func_name)
        outer_type = context.get_external_function_type(function)
        outer = cgutils.get_or_insert_function(module, outer_type, function.symbol)
        linetable.keep_frame_pointer(outer)
        b = lir.IRBuilder(outer.append_basic_block("entry"))
        arguments = [
            b.trunc(a, i1) if ty == types.boolean and a.type != i1 else a
            for ty, a in zip(function.signature.args, outer.args, strict=True)
        ]
        conv = context.call_conv
        status, result = conv.call_function(b, body, fndesc.restype, fndesc.argtypes, arguments)
        with b.if_then(status.is_error, likely=False):
            escaped = cgutils.get_or_insert_function(module, lir.FunctionType(i8p, [i64]), "go.statusescaped")
            b.call(escaped, [b.sext(status.code, i64)])
        wanted = outer_type.return_type
        if isinstance(function.signature.return_type, types.NoneType):
            b.ret(lir.Constant(wanted, None))
        elif result.type != wanted:
            b.ret(b.zext(result, wanted))
        else:
            b.ret(result)

    def build(self):
        module = self.lower()._final_module
        self.text = str(module)
        own = {f.symbol: f for f in self.functions}
        for f in module.functions:
            if f.is_declaration:
                continue
            function = own.get(f.name)
            if function is None:
                f.linkage = "internal"
                f.add_function_attribute("alwaysinline")  # the body behind a wrapper
            elif function.inline is True:
                f.add_function_attribute("alwaysinline")
            elif function.inline is False:
                f.add_function_attribute("noinline")
        for g in module.global_variables:
            if g.name.startswith("_ZN08NumbaEnv"):
                g.linkage = "internal"
        self.bitcode = module.as_bitcode()
        return self


def adapt_library(library) -> None:
    """Every module added to `library` keeps its line tables, and nothing else of the debug information. It is optimised
    as a whole when all is linked, and not also function by function before: that took a twelfth of a compilation and
    left the code as it was."""

    def add_ir_module(module):
        text = linetable.line_tables_only(cgutils.normalize_ir_text(str(module)))
        parsed = llb.parse_assembly(text)
        parsed.name = module.name
        parsed.verify()
        parsed.data_layout = library.codegen._data_layout
        library.add_llvm_module(parsed)

    library.add_ir_module = add_ir_module
    library._optimize_functions = lambda module: None


# ---- linking


def _data_module() -> str:
    lines = [f'target triple = "{llb.get_process_triple()}"', f'@"{abi.SEAM}" = dso_local global i64 0, align 64']
    for symbol, v in Var.ALL.items():
        lines.append(f'@"{symbol}" = dso_local global [{v.struct.size} x i8] zeroinitializer, align 64')
    return "\n".join(lines)


def _optimise(module, machine) -> bytes:
    options = llb.create_pipeline_tuning_options(speed_level=2)
    options.loop_vectorization = options.slp_vectorization = False
    passes = llb.create_pass_builder(machine, options)
    passes.getModulePassManager().run(module, passes)
    return bytes(machine.emit_object(module))


def link(bitcodes: dict[str, bytes], separate: Iterable[str], keep: set[str]) -> tuple[list[bytes], list[str]]:
    """One optimisation over all units but the separate ones. Returns the objects, and the symbols they need from
    outside."""
    machine = image_target_machine()
    main = llb.parse_assembly(_data_module())
    for unit, bitcode in bitcodes.items():
        if unit not in separate:
            main.link_in(llb.parse_bitcode(bitcode))
    for f in main.functions:
        if not f.is_declaration and f.name not in keep:
            f.linkage = "internal"
    modules = [main] + [llb.parse_bitcode(bitcodes[unit]) for unit in separate]
    objects = [_optimise(m, machine) for m in modules]
    defined, wanted = set(), set()
    for m in modules:
        for thing in (*m.functions, *m.global_variables):
            name = thing.name
            if thing.is_declaration:
                if not name.startswith("llvm."):
                    wanted.add(name)
            else:
                defined.add(name)
    return objects, sorted(wanted - defined)


class UndefinedSymbolError(ImportError):
    """Machine code refers to a symbol that nothing in this process defines."""


def check_symbols(names: Iterable[str], who: str) -> None:
    missing = [n for n in names if llb.address_of_symbol(n) is None]
    if missing:
        raise UndefinedSymbolError(f"{who}: undefined symbol{'s' * (len(missing) > 1)} {', '.join(missing)}")


class Image:
    """The runtime's machine code, loaded. `address` by symbol; `infos` for the check; `seconds` of compile time."""

    def __init__(self, built: dict):
        self.objects, self.infos = built["objects"], built["infos"]
        self.seconds, self.exports = built["seconds"], built["exports"]
        check_symbols(built["externs"], "the runtime image")
        start = time.perf_counter()
        target = llb.Target.from_triple(llb.get_process_triple())
        empty = llb.parse_assembly("")
        empty.triple = llb.get_process_triple()
        # llvmlite's memory manager keeps the sections together: the small code model reaches 2 GiB, and LLVM's own
        # manager may put them further apart in a process with a crowded address space.
        self._engine = engine = llb.create_mcjit_compiler(empty, target.create_target_machine(jit=True), use_lmm=True)
        for o in self.objects:
            engine.add_object_file(llb.ObjectFileRef.from_data(o))
        engine.finalize_object()
        self.address = {s: engine.get_function_address(s) for s in self.exports}
        for s in (*Var.ALL, abi.SEAM):
            self.address[s] = engine.get_global_value_address(s)
        for s, a in self.address.items():
            if not a:
                raise UndefinedSymbolError(f"the runtime image has no symbol {s}")
            llb.add_symbol(s, a)
        for s, v in Var.ALL.items():
            v.address = self.address[s]
        self.load_seconds = time.perf_counter() - start

    @property
    def size(self) -> int:
        return sum(map(len, self.objects))


# ---- the build


def source_files(package: str) -> list[Path]:
    return sorted((Path(__file__).parent.parent / package).glob("*.py"))


def _digest(*parts) -> str:
    h = hashlib.sha256()
    for part in parts:
        h.update(part if isinstance(part, bytes) else repr(part).encode())
        h.update(b"\0")
    return h.hexdigest()


def base_key(headers: Iterable[str]) -> str:
    """Hash of everything that every unit depends on: the sources of the compiler and of the settings, the shared
    headers, versions, CPU, settings."""
    from gopark.compiler.numba_api import host_cpu

    files = [*source_files("compiler"), *(Path(inspect.getfile(m)) for m in (config, *map(_module, headers)))]
    return _digest(abi.key(), versions(), code_settings(), host_cpu(), *[f.read_bytes() for f in files])


def _module(name: str):
    import sys

    return sys.modules[name]


def exports() -> list[str]:
    return sorted(f.symbol for f in RuntimeFunction.BY_SYMBOL.values() if f.entered is not None)


def find(units: list[str], headers: list[str], separate: list[str]) -> dict | None:
    """The image of `units` (module names, all imported) if it is in the cache: what `Image` takes."""
    return _read(_keys(units, headers, separate)[0])


def _keys(units, headers, separate) -> tuple[str, str, dict[str, bytes]]:
    """The key of the image, and what those of its units begin with: a hash of what they have in common, their
    sources."""
    base = _digest(base_key(headers), sorted(RuntimeFunction.BY_SYMBOL), units, separate)
    sources = {u: Path(inspect.getfile(_module(u))).read_bytes() for u in units}
    return _digest(base, *sources.values()), base, sources


def _read(key: str):
    found = cache.Store("image").get(key)
    return None if found is None else pickle.loads(found)


@global_compiler_lock
def build(
    units: list[str], headers: list[str], separate: list[str], progress: Callable[[str, int, int], None] | None = None
) -> dict:
    """The same, built if need be."""
    key, base, sources = _keys(units, headers, separate)
    found = _read(key)
    if found is not None:
        return found
    functions, store = RuntimeFunction.BY_SYMBOL, cache.Store("image")
    with store.lock("build"):
        found = _read(key)  # another process may have built it meanwhile
        if found is not None:
            return found
        asm_amd64.initialize_llvm()
        runtime_context().refresh()
        cpu_target.typing_context.refresh()
        # a unit depends on its source, on what its functions take from other units, and on how the functions of these
        # are called
        base = _digest(base, sorted((s, str(f.signature), f.inline, f.entered) for s, f in functions.items()))
        bitcodes, infos, seconds = {}, {}, {}
        for i, unit in enumerate(units):
            if progress:
                progress(unit, i, len(units) + 1)
            builder = UnitBuilder(unit)
            made_of = fingerprint.Fingerprint(*[f.py_func for f in builder.functions])
            unit_key = _digest(base, unit, sources[unit], made_of.hash)
            kept = _read(unit_key)
            if kept is None:
                builder.build()
                kept = builder.bitcode, builder.infos, builder.seconds
                store.put(unit_key, pickle.dumps(kept))
            bitcode, unit_infos, unit_seconds = kept
            bitcodes[unit] = bitcode
            infos.update(unit_infos)
            seconds.update(unit_seconds)
        if progress:
            progress("link", len(units), len(units) + 1)
        start = time.process_time()
        names = exports()
        objects, externs = link(bitcodes, separate, set(names))
        seconds["link"] = time.process_time() - start
        built = {"objects": objects, "infos": infos, "seconds": seconds, "externs": externs, "exports": names}
        store.put(key, pickle.dumps(built))
        if progress:
            progress("", len(units) + 1, len(units) + 1)
        return built
