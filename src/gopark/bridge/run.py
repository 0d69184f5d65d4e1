"""`go.run`: a Python thread starts a run, sleeps without the GIL, and takes the result.

For each specialisation that is run from Python a small library is built straight in LLVM:

    CPython wrapper (Numba's: unboxes the arguments, boxes the result, raises the exception)
      └▶ go.main.X      on the Python thread: starts the run, sleeps, looks at signals, ends a dead run
           └▶ go.mainentry.X   on a goroutine: calls X, which writes its result into the Python thread's frame

The Python thread owns no P. It wakes up when the run is done, and every 50 ms: to let CPython handle signals (Ctrl-C
ends the run and comes out as KeyboardInterrupt) and to see whether the run is deadlocked (runtime/runs.py).

An exception of any goroutine of the run comes out as the same exception, with a traceback of the goroutine's Python
frames and a note that names the line which started it.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import inspect
import pickle
import sys
import threading
import types as python_types

from gopark.bridge import boot, explain, handles, report, values
from gopark.compiler import cache, errpath, func, linetable
from gopark.compiler.numba_api import (
    CPUDispatcher,
    callconv,
    cgutils,
    const,
    errors,
    extern,
    i8p,
    i32,
    i64,
    ir,
    lir,
    llb,
    serialize,
    types,
    void,
)
from gopark.compiler.structs import Embedded, holds_pointers, is_gc_pointer
from gopark.errors import DeadlockError
from gopark.runtime.runs import EXIT_DEADLOCK, EXIT_INTERRUPTED, RUN_DEAD, RUN_DONE
from gopark.runtime.runtime2 import Run

# ---- what the native half calls on the way: snapshots while the Run is still there


class _Last(threading.local):
    failure: report.Failure | None = None
    deadlock: str | None = None


_last = _Last()
_HOOK = ctypes.CFUNCTYPE(None, ctypes.c_int64)


@_HOOK
def _on_dead(run):
    _last.deadlock = report.deadlock_text(run)


@_HOOK
def _on_failed(run):
    _last.failure = report.Failure(run)


@_HOOK
def _on_held(run):
    handles.take_entries(run)


_hooks_published = False


def _publish_hooks():
    global _hooks_published
    if not _hooks_published:
        llb.add_symbol("go.hook.dead", ctypes.cast(_on_dead, ctypes.c_void_p).value)
        llb.add_symbol("go.hook.failed", ctypes.cast(_on_failed, ctypes.c_void_p).value)
        llb.add_symbol("go.hook.held", ctypes.cast(_on_held, ctypes.c_void_p).value)
        _hooks_published = True


# ---- the native half


def emit_run_field(b, run, name, ty=i64):
    offset = Run.fields[name][0]
    return b.load(b.inttoptr(b.add(run, const(offset)), ty.as_pointer()))


def _hold_pointers(b, module, ty, value):
    """Python will hold the objects that a result points to."""
    if is_gc_pointer(ty):
        with b.if_then(cgutils.is_not_null(b, value)):
            b.call(extern(module, "go.runhold", i8p, [i64]), [b.ptrtoint(value, i64)])
    elif isinstance(ty, types.BaseTuple):
        for i, element in enumerate(ty.types):
            _hold_pointers(b, module, element, b.extract_value(value, i))


def _emit_main_entry(context, module, fndesc, symbol, fn_type, record_type):
    """void go.mainentry.X(record*): the first goroutine of a run."""
    f = lir.Function(module, lir.FunctionType(void, [i8p]), "go.mainentry." + fndesc.mangled_name)
    linetable.keep_frame_pointer(f)
    b = lir.IRBuilder(f.append_basic_block("entry"))

    def leave():
        b.call(extern(module, "go.goexit", i8p, []), [])
        b.unreachable()

    with b.if_then(cgutils.is_not_null(b, b.call(extern(module, "go.startended", i64, []), [])), likely=False):
        leave()
    record = b.bitcast(f.args[0], record_type.as_pointer())
    raw = [b.load(cgutils.gep_inbounds(b, record, 0, i)) for i in range(len(record_type.elements))]
    exception = cgutils.alloca_once_value(b, lir.Constant(callconv.excinfo_ptr_t, None))
    body = b.inttoptr(b.ptrtoint(func.load_slot(b, "body", symbol), i64), fn_type.as_pointer())
    code = b.call(body, [raw[0], exception, *raw[1:]])
    with b.if_then(b.icmp_signed("==", code, errpath.ENDED), likely=False):
        leave()
    raised = b.load(exception)
    if holds_pointers(fndesc.restype):
        with b.if_then(b.icmp_signed("==", code, callconv.RETCODE_OK)):
            value = context.get_returned_value(b, fndesc.restype, b.load(raw[0]))
            _hold_pointers(b, module, fndesc.restype, value)
    b.call(extern(module, "go.runexit", i8p, [i64, i64]), [b.sext(code, i64), b.ptrtoint(raised, i64)])
    # another one was first to end the run: nobody will look at what this one leaves
    context.call_conv.free_caught(b, raised)
    result = fndesc.restype.type if isinstance(fndesc.restype, types.Optional) else fndesc.restype
    with b.if_then(b.icmp_signed("==", code, callconv.RETCODE_OK)):
        context.nrt.decref(b, result, context.get_returned_value(b, result, b.load(raw[0])))
    leave()
    return f


def _emit_main(fndesc, context, module, fn_type, record_type, entry):
    """i32 go.main.X(result*, excinfo**, arguments...): the type of X itself, on a Python thread."""
    f = lir.Function(module, fn_type, "go.main." + fndesc.mangled_name)
    b = lir.IRBuilder(f.append_basic_block("entry"))
    record = cgutils.alloca_once(b, record_type)
    for i, value in enumerate([f.args[0], *f.args[2:]]):
        b.store(value, cgutils.gep_inbounds(b, record, 0, i))
    interrupted = cgutils.alloca_once_value(b, const(0))
    size = context.get_abi_sizeof(record_type)
    start = extern(module, "go.runstart", i64, [i64] * 4)
    given = const(int(any(map(holds_pointers, fndesc.argtypes))))
    run = b.call(start, [b.ptrtoint(entry, i64), b.ptrtoint(record, i64), const(size), given])

    wait, dead, signals, check, done = (b.append_basic_block(n) for n in ("wait", "dead", "signals", "check", "done"))
    b.branch(wait)
    b.position_at_end(wait)
    said = b.call(extern(module, "go.runwait", i64, [i64]), [run])
    switch = b.switch(said, signals)
    switch.add_case(const(RUN_DONE), done)
    switch.add_case(const(RUN_DEAD), dead)

    stop = extern(module, "go.runstop", i8p, [i64, i64])
    b.position_at_end(dead)
    with b.if_then(cgutils.is_null(b, b.load(interrupted))):
        b.call(extern(module, "go.hook.dead", void, [i64]), [run])
    b.call(stop, [run, const(EXIT_DEADLOCK)])
    b.branch(wait)

    b.position_at_end(signals)  # not a second time: the exception of the first is set and waits for us
    b.cbranch(cgutils.is_null(b, b.load(interrupted)), check, wait)
    b.position_at_end(check)
    state = b.call(extern(module, "PyGILState_Ensure", i32, []), [])
    raised = b.call(extern(module, "PyErr_CheckSignals", i32, []), [])
    b.call(extern(module, "PyGILState_Release", void, [i32]), [state])
    with b.if_then(b.icmp_signed("<", raised, lir.Constant(i32, 0)), likely=False):
        b.store(const(1), interrupted)
        b.call(stop, [run, const(EXIT_INTERRUPTED)])
    b.branch(wait)

    b.position_at_end(done)
    code = emit_run_field(b, run, "exitcode")
    fine = b.or_(b.icmp_signed("==", code, const(0)), b.icmp_signed("==", code, const(-2)))
    # the hooks run Python: not while the exception of an interrupt is pending
    quiet = cgutils.is_null(b, b.load(interrupted))
    with b.if_then(b.and_(b.not_(fine), quiet), likely=False):
        b.call(extern(module, "go.hook.failed", void, [i64]), [run])
    if holds_pointers(fndesc.restype):
        with b.if_then(b.and_(fine, quiet)):
            b.call(extern(module, "go.hook.held", void, [i64]), [run])
    exception = b.inttoptr(emit_run_field(b, run, "exitexc"), callconv.excinfo_ptr_t)
    b.store(exception, f.args[1])
    b.call(extern(module, "go.runfree", i8p, [i64]), [run])
    python_exception = b.icmp_unsigned("!=", b.load(interrupted), const(0))
    b.ret(b.select(python_exception, errpath.PYTHON_EXCEPTION, b.trunc(code, i32)))


class Description:
    """The descriptor of a function that stands in for a go function X in Python's eyes: `go.<kind>.X`, with what
    `changes` gives it in place of X's own attributes."""

    def __init__(self, kind, fndesc, **changes):
        name = f"go.{kind}.{fndesc.mangled_name}"
        self._fndesc = fndesc
        self._changes = {"llvm_func_name": name, "llvm_cpython_wrapper_name": f"{name}.wrapper", **changes}

    def __getattr__(self, name):
        return self._changes[name] if name in self._changes else getattr(self._fndesc, name)

    def with_environment(self, environment):
        self._changes["env_name"] = environment.env_name
        return self


def _describe_main(fndesc):
    return [(Description("main", fndesc), True)]


class Wrappers:
    """What Python calls in place of one specialisation of a go function: `entries`, a function for each description.
    Kept on disk where the go function is.

    describe(fndesc) returns [(Description, whether the wrapper releases the GIL)]; emit(fndesc, context, module,
    fn_type, record_type, entry) makes the native half of each, where `entry` is what the goroutine executes.
    """

    def __init__(self, kind: str, go, args: tuple, describe, emit):
        go.compile(args)
        result = go.overloads[args]
        _refuse_result(go, result.signature.return_type)
        # Wrappers take objects such as an array's dtype from an environment: one of their own, because the function's
        # was kept on disk before they could be added.
        environment = type(result.environment)(result.environment.globals)
        environment.env_name = f"_ZN08NumbaEnv.go.{kind}.{result.fndesc.mangled_name}"
        described = [(d.with_environment(environment), released) for d, released in describe(result.fndesc)]
        key = self._key(kind, go, result)
        library = self._cached(key, go, environment)
        if library is None:
            library = _build_library(go, result, environment, described, emit)
            if key is not None:
                body = library.serialize_using_object_code(), list(environment.consts)
                cache.Store("main").put(key, serialize.dumps(body))
        self.result, self.library = result, library
        self.entries = [go.targetctx.get_executable(library, d, environment) for d, _ in described]

    @staticmethod
    def _key(kind, go, result):
        """The function's own key, and the function's mangled name, which carries a counter of the process that compiled
        it. None: the function is not on the disk, and so its wrappers are not."""
        own = getattr(go._cache, "kept", {}).get(result.signature.args)
        return own and hashlib.sha256(f"{kind}{own}{result.fndesc.mangled_name}".encode()).hexdigest()

    @staticmethod
    def _cached(key, go, environment):
        body = cache.Store("main").get(key) if key is not None else None
        if body is None:
            return None
        payload, constants = pickle.loads(body)
        environment.consts[:] = constants
        return go.targetctx.codegen().unserialize_library(payload)


def _build_library(go, result, environment, described, emit):
    fndesc, target = result.fndesc, go.targetctx
    target.refresh()  # where everything came from the disk, nothing has made Numba load its registries yet
    context = target.subtarget(environment=environment, fndesc=fndesc)
    library = target.codegen().create_library("go.main." + fndesc.qualname)
    library.enable_object_caching()
    library._optimize_functions = lambda module: None  # it runs once in a run: LLVM's fastest is good enough
    library._optimize_final_module = functools.partial(_compile_fast, library)
    symbol = func.symbol_of(go.py_func, result.signature.args)
    with target.push_code_library(library):
        module = context.create_module("go_main")
        fn_type = context.call_conv.get_function_type(fndesc.restype, fndesc.argtypes)
        record_type = lir.LiteralStructType([fn_type.args[0], *fn_type.args[2:]])
        entry = _emit_main_entry(context, module, fndesc, symbol, fn_type, record_type)
        emit(fndesc, context, module, fn_type, record_type, entry)
        library.add_ir_module(module)
        for description, release_gil in described:
            context.create_cpython_wrapper(library, description, environment, None, release_gil=release_gil)
        library.finalize()
    return library


def _compile_fast(library):
    for f in library._final_module.functions:
        if not f.is_declaration:
            f.add_function_attribute("noinline")
            f.add_function_attribute("optnone")


class _MainDispatcher(CPUDispatcher):
    """What Python calls: the same signatures as the go function, each with its wrapper."""

    targetdescr = func.GoDispatcher.targetdescr

    def __init__(self, go_dispatcher):
        self._go = go_dispatcher
        super().__init__(go_dispatcher.py_func, targetoptions={"nopython": True})

    def compile(self, sig):
        with func.compiling():
            return self._compile_locked(sig)

    def _compile_locked(self, sig):
        args = tuple(getattr(sig, "args", sig))
        if args not in self.overloads:
            wrappers = Wrappers(
                "main", self._go, args, lambda fndesc: [(Description("main", fndesc), True)], _emit_main
            )
            (entry,) = wrappers.entries
            self.add_overload(wrappers.result._replace(entry_point=entry, library=wrappers.library))
        return self.overloads[args].entry_point


def _refuse_result(dispatcher, ty):
    where = f"the result of {dispatcher.__name__}"
    try:
        if isinstance(ty, Embedded):
            raise TypeError(f"{where}: a {ty.struct.__name__} that lies inside another object; return the owner")
        if isinstance(ty, types.Optional) and holds_pointers(ty):
            raise TypeError(f"{where}: a {values.name_of(ty.type)} or None; return a tuple in every case")
        values.refuse_unhandled(ty, where)
    except TypeError as e:
        code = dispatcher.py_func.__code__
        raise errors.TypingError(str(e), loc=ir.Loc(code.co_filename, code.co_firstlineno)) from None


# ---- the Python half


def run(fn, /, *args, **kwargs):
    """Run `fn(*args)` as a goroutine to its end and return its result.

    fn: a function decorated with `@go.func`. Arguments and result: numbers, bools, str, tuples, NumPy arrays (in place,
    no copy), structs and channels (as handles). Blocks the calling thread with the GIL released. Standard output is
    flushed first, because goroutines print past Python's buffer.

    Raises whatever a goroutine of the run raised, with the goroutine's Python lines; `DeadlockError` if all its
    goroutines are asleep; KeyboardInterrupt on Ctrl-C. Afterwards the run's other goroutines are gone, and `run` may be
    called again.

    Example:

        @go.func
        def divide(a, b):
            return a // b


        print(go.run(divide, 7, b=2))  # 3
        try:
            go.run(divide, 7, 0)
        except ZeroDivisionError as error:
            print(error)  # integer division by zero
    """
    bound = prepare(fn, "go.run", args, kwargs)
    main = fn.__dict__.get("_gopark_main")
    if main is None:
        main = fn.__dict__["_gopark_main"] = _MainDispatcher(fn)
    _last.failure = _last.deadlock = None
    try:
        return CPUDispatcher.__call__(main, *bound.args, **bound.kwargs)
    except explain.COMPILE_ERRORS as e:
        raised = compile_error(e)
    except BaseException as e:
        failure, deadlock = _last.failure, _last.deadlock
        _last.failure = _last.deadlock = None
        if failure is None:
            raise
        raised = outcome(e, failure, deadlock)
    try:
        raise raised
    finally:
        del raised, bound, args, kwargs  # the traceback holds this frame: it must hold neither itself nor the arguments


def prepare(fn, caller: str, args: tuple, kwargs: dict) -> inspect.BoundArguments:
    """What comes before every run: the runtime is up, standard output is flushed. The arguments of the go function,
    defaults filled in; TypeError if they do not fit."""
    if not isinstance(fn, func.GoDispatcher):
        hint = "decorate it with @go.func" if callable(fn) else "give it a function decorated with @go.func"
        raise TypeError(f"{caller}(f, ...): {getattr(fn, '__name__', fn)!r} is no go function; {hint}")
    try:
        bound = inspect.signature(fn.py_func).bind(*args, **kwargs)
    except TypeError as e:
        raise TypeError(f"{caller}({fn.__name__}, ...): {e}") from None
    bound.apply_defaults()
    boot.boot()
    _publish_hooks()
    if sys.stdout is not None:
        sys.stdout.flush()
    return bound


def compile_error(e):
    """A compile error as the caller should see it: short, unless everything was asked for."""
    if explain.full_tracebacks():
        return e
    raised = explain.shorten(e).with_traceback(None)
    raised.__cause__ = raised.__context__ = None  # the compiler's steps to it
    return raised


def outcome(e, failure, deadlock):
    """The exception as the caller should see it."""
    if failure.code == EXIT_DEADLOCK:
        return DeadlockError(deadlock or "all goroutines are asleep - deadlock!")
    if failure.code == EXIT_INTERRUPTED or isinstance(e, KeyboardInterrupt):
        return e.with_traceback(None)
    if isinstance(e, MemoryError) and len(e.args) == 4:
        text, wanted, in_use, limit = e.args
        e = MemoryError(f"{text}: {wanted} bytes wanted, {in_use} in use, the limit is {limit}")
    inner = _raising_frame(e, failure)
    if failure.spawned is not None:
        s = failure.spawned
        e.add_note(f"in goroutine {failure.goid}, started at {s.file}:{s.line} by {s.function}")
    e.__cause__ = e.__context__ = None
    return e.with_traceback(report.traceback_of(failure, inner))


def _raising_frame(e, failure):
    """Numba's own traceback entry, where it alone knows the line (a callee that records nothing raised)."""
    entry = e.__traceback__
    while entry is not None and entry.tb_next is not None:
        entry = entry.tb_next
    if entry is None or entry.tb_frame.f_code is run.__code__:
        return None
    here = (entry.tb_frame.f_code.co_filename, entry.tb_lineno)
    if failure.first and (failure.first[0].file, failure.first[0].line) == here:
        return None
    return python_types.TracebackType(None, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)


func.GoDispatcher.runner = staticmethod(run)
