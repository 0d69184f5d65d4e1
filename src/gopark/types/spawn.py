"""`go.spawn` and the other verbs of the scheduler in compiled code.

spawn compiles the callee for the argument types, packs the arguments into a record in the caller's frame and calls
`go.newproc`, which copies the record to the top of a new stack: no allocation. The goroutine owns a reference to each
of its arguments; its entry stub gives them back.
"""

from __future__ import annotations

import inspect
import operator
import threading
import time

from gopark.compiler import errpath, func, lower
from gopark.compiler.numba_api import (
    AbstractTemplate,
    cgutils,
    const,
    errors,
    i8p,
    i64,
    infer_global,
    lower_builtin,
    signature,
    types,
)
from gopark.runtime.proc import RESIZE_BUSY, RESIZE_RUNS
from gopark.runtime.runtime2 import MaxGomaxprocs

MaxRecord = 4096  # bytes of arguments


def spawn(fn, /, *args, **kwargs):
    """The go statement: run `fn(*args)` as a new goroutine of the same run. Its result is dropped; an exception that
    leaves it ends the run. Does not block. The arguments may take 4096 bytes. In compiled code only; from Python there
    are `go.run` and `go.submit`.

    Example:

        @go.func
        def double(n, out):
            out.send(2 * n)


        @go.func
        def main():
            out = go.chan(int)
            go.spawn(double, 4, out)
            return out.recv()


        print(go.run(main))  # 8
    """
    raise TypeError("go.spawn(f, ...) works inside a @go.func; from Python call go.run(f, ...)")


def _dispatcher_of(ty):
    if isinstance(ty, types.RecursiveCall):
        return ty.dispatcher_type.dispatcher
    return ty.dispatcher if isinstance(ty, types.Dispatcher) else None


def _given(dispatcher, ty) -> str:
    """What was given to go.spawn in place of a go function, and what to write for it."""
    if dispatcher is None:
        return f"{ty}: write go.spawn(f, x), not go.spawn(f(x))"
    name = dispatcher.py_func.__qualname__
    if "<locals>" in name:
        return (
            f"{name.rpartition('.')[2]}, which is made inside of a go function: write it at the level of the module, "
            f"decorated with @go.func, and give it what it needs as arguments"
        )
    return f"{name}, which is compiled by @njit: decorate it with @go.func instead"


@infer_global(spawn)
class _Spawn(AbstractTemplate):
    def generic(self, args, kws):
        lower.require_go(self.context, "go.spawn")
        if not args:
            raise errors.TypingError("go.spawn(f, ...): which function?")
        dispatcher = _dispatcher_of(args[0])
        if not isinstance(dispatcher, func.GoDispatcher) or isinstance(dispatcher, func.Twin):
            given = _given(dispatcher, args[0])
            raise errors.TypingError(f"go.spawn takes a function decorated with @go.func, got {given}")
        given = tuple(types.unliteral(a) for a in args[1:])
        for a in (*given, *kws.values()):
            lower.refuse_interior(a, f"giving it to a goroutine ({dispatcher.__name__})")
        try:
            pysig, folded = dispatcher.fold_argument_types(given, {k: types.unliteral(v) for k, v in kws.items()})
        except TypeError as e:
            raise errors.TypingError(f"go.spawn({dispatcher.__name__}, ...): {e}") from None
        folded = tuple(folded)
        # A function that spawns itself is being compiled right now; its slot will be filled.
        if self.context.callstack.match(dispatcher.py_func, folded) is None:
            dispatcher.compile(folded)
        function = inspect.Parameter("go_function", inspect.Parameter.POSITIONAL_ONLY)
        parameters = [function, *pysig.parameters.values()]
        return signature(types.none, args[0], *folded).replace(pysig=inspect.Signature(parameters))


@lower_builtin(spawn, types.VarArg(types.Any))
def _lower_spawn(context, b, sig, args):
    dispatcher, argtypes = _dispatcher_of(sig.args[0]), sig.args[1:]
    symbol = func.symbol_of(dispatcher.py_func, argtypes)
    func.need_slots(context, dispatcher, argtypes, symbol)
    record_type = func.record_type(context, argtypes)
    size = context.get_abi_sizeof(record_type)
    if size > MaxRecord:
        raise errors.LoweringError(
            f"go.spawn({dispatcher.__name__}, ...): {size} bytes of arguments, {MaxRecord} are possible. Pass a struct"
        )
    record = cgutils.alloca_once(b, record_type)
    for i, (ty, value) in enumerate(zip(argtypes, args[1:], strict=True)):
        if not isinstance(ty, types.Omitted):
            context.nrt.incref(b, ty, value)
            context.pack_value(b, ty, value, cgutils.gep_inbounds(b, record, 0, i))
    low = errpath.lowerer_of(b)
    where = low.frame() if low is not None else const(0)
    entry = b.ptrtoint(func.load_slot(b, "entry", symbol), i64)
    lower.call_runtime(context, b, "go.newproc", i8p, [entry, b.ptrtoint(record, i64), const(size), where])
    return context.get_dummy_value()


def gosched():
    """Let other goroutines run, and go on after them. From Python it does nothing: a Python thread is no goroutine.

    Example:

        import numpy as np


        @go.func
        def raise_flag(flag):
            flag[0] = True


        @go.func
        def main(flag):
            go.spawn(raise_flag, flag)
            turns = 0
            while not flag[0]:
                go.gosched()
                turns += 1
            return turns > 0


        print(go.run(main, np.zeros(1, np.bool_)))  # True
    """


@infer_global(gosched)
class _Gosched(AbstractTemplate):
    def generic(self, args, kws):
        lower.require_go(self.context, "go.gosched")
        if args or kws:
            raise errors.TypingError("go.gosched() takes no arguments")
        return signature(types.none)


@lower_builtin(gosched)
def _lower_gosched(context, b, sig, args):
    lower.call_runtime(context, b, "go.gosched", i8p, [])
    low = errpath.lowerer_of(b)
    if low is not None:
        low.polls.poll()
    return context.get_dummy_value()


def lock_os_thread():
    """Bind the calling goroutine to the thread that it runs on: until `unlock_os_thread` it runs there only, and no
    other goroutine does. Calls nest. For C libraries that keep state per thread; every switch to such a goroutine costs
    a hand-over between threads. A goroutine that ends is unbound. From Python it does nothing: a Python thread is
    always itself.

    Example:

        @go.func
        def main():
            go.lock_os_thread()
            try:
                go.gosched()
                return "still on its thread"
            finally:
                go.unlock_os_thread()


        print(go.run(main))  # still on its thread
    """


def unlock_os_thread():
    """Take one `lock_os_thread` of the calling goroutine back; nothing if there was none. From Python it does
    nothing."""


def _verb_of_the_thread(function, symbol):
    @infer_global(function)
    class _Verb(AbstractTemplate):
        def generic(self, args, kws):
            lower.require_go(self.context, f"go.{function.__name__}")
            if args or kws:
                raise errors.TypingError(f"go.{function.__name__}() takes no arguments")
            return signature(types.none)

    @lower_builtin(function)
    def _lower_verb(context, b, sig, args):
        lower.call_runtime(context, b, symbol, i8p, [])
        return context.get_dummy_value()


_verb_of_the_thread(lock_os_thread, "go.lockOSThread")
_verb_of_the_thread(unlock_os_thread, "go.unlockOSThread")


_resizing = threading.Lock()


def gomaxprocs(n: int = 0) -> int:
    """The number of Ps, which is how many goroutines run at once; with n > 0 it becomes n. Returns the previous value.

    The default is GOMAXPROCS, or else the number of cores that the process may use. It changes from Python and while no
    run is active: RuntimeError otherwise; ValueError beyond 256. In compiled code only `gomaxprocs()`, which asks. An M
    that still looks for work when the last run has just ended is waited for, which takes microseconds.

    Example:

        before = go.gomaxprocs(1)
        print(go.gomaxprocs(before))  # 1
    """
    n = operator.index(n)
    call = func.GoDispatcher.booter().call
    if n < 1:
        return call("go.numprocs")
    if n > MaxGomaxprocs:
        raise ValueError(f"go.gomaxprocs({n}): at most {MaxGomaxprocs} are possible")
    with _resizing:
        while True:
            before = call("go.procresize", n)
            if before == RESIZE_RUNS:
                raise RuntimeError(
                    f"go.gomaxprocs({n}): a run is active, and the number of Ps changes only between runs. "
                    f"Call it before go.run, or set GOMAXPROCS={n}"
                )
            if before != RESIZE_BUSY:
                return before
            time.sleep(0.0005)


@infer_global(gomaxprocs)
class _Gomaxprocs(AbstractTemplate):
    def generic(self, args, kws):
        lower.require_go(self.context, "go.gomaxprocs")
        if args or kws:
            raise errors.TypingError(
                "go.gomaxprocs(n): the number of Ps cannot change while goroutines run. Call it from Python before "
                "go.run; in compiled code go.gomaxprocs() asks"
            )
        return signature(types.int64)


@lower_builtin(gomaxprocs)
def _lower_gomaxprocs(context, b, sig, args):
    return lower.call_runtime(context, b, "go.numprocs", i64, [])


def num_goroutine() -> int:
    """Goroutines that exist now and belong to a run; the runtime's own helpers are not counted.

    Example:

        @go.func
        def main():
            return go.num_goroutine()


        print(go.run(main))  # 1
    """
    return func.GoDispatcher.booter().call("go.numgoroutine")


@infer_global(num_goroutine)
class _NumGoroutine(AbstractTemplate):
    def generic(self, args, kws):
        lower.require_go(self.context, "go.num_goroutine")
        if args or kws:
            raise errors.TypingError("go.num_goroutine() takes no arguments")
        return signature(types.int64)


@lower_builtin(num_goroutine)
def _lower_num_goroutine(context, b, sig, args):
    return lower.call_runtime(context, b, "go.numgoroutine", i64, [])
