"""`go.submit`: a run whose result comes as a Future.

For each specialisation that is submitted two functions are built, beside what `go.run` has (run.py):

    go.submit.X   unboxes the arguments, copies them into a block with room for the result, starts the run, returns it
    go.result.X   takes the result out of the block, gives arguments and block back, raises the exception of the run

The block owns a reference to each array and string among the arguments, for as long as the run lasts. One Python
thread, started with the first submit, serves all runs (runtime/futures.py): it takes results, completes the Futures,
and finds deadlocks. The Futures' callbacks run on it.
"""

from __future__ import annotations

import concurrent.futures
import itertools
import threading

from gopark.bridge import boot, explain, handles, report
from gopark.bridge.run import Description, Wrappers, compile_error, emit_run_field, outcome, prepare
from gopark.compiler import func
from gopark.compiler.numba_api import callconv, cgutils, const, extern, i8p, i32, i64, lir, types
from gopark.compiler.structs import holds_pointers
from gopark.runtime.runs import EXIT_CANCELLED, EXIT_DEADLOCK
from gopark.runtime.runtime2 import Run

# ---- the native half


def _describe(fndesc):
    start = Description(
        "submit",
        fndesc,
        argtypes=(types.int64, *fndesc.argtypes),
        args=("token", *fndesc.args),
        restype=types.int64,
    )
    result = Description("result", fndesc, argtypes=(types.int64,), args=("run",))
    return [(start, False), (result, False)]


def _emit(fndesc, context, module, fn_type, record_type, entry):
    result_type, argument_types = fn_type.args[0].pointee, fn_type.args[2:]
    block_type = lir.LiteralStructType([result_type, *argument_types])
    size = context.get_abi_sizeof(block_type)
    packer = context.get_arg_packer(fndesc.argtypes)

    # i32 go.submit.X(i64* run, excinfo**, i64 token, arguments...)
    submit_type = lir.FunctionType(i32, [i64.as_pointer(), fn_type.args[1], i64, *argument_types])
    f = lir.Function(module, submit_type, f"go.submit.{fndesc.mangled_name}")
    b = lir.IRBuilder(f.append_basic_block("entry"))
    given = f.args[3:]
    for ty, value in zip(fndesc.argtypes, packer.from_arguments(b, given), strict=True):
        context.nrt.incref(b, ty, value)
    memory = b.call(extern(module, "calloc", i8p, [i64, i64]), [const(1), const(size)])
    with b.if_then(cgutils.is_null(b, memory), likely=False):
        for ty, value in zip(fndesc.argtypes, packer.from_arguments(b, given), strict=True):
            context.nrt.decref(b, ty, value)
        context.call_conv.return_user_exc(b, MemoryError, ("go.submit: no memory for the arguments",))
    block = b.bitcast(memory, block_type.as_pointer())
    record = cgutils.alloca_once(b, record_type)
    b.store(cgutils.gep_inbounds(b, block, 0, 0), cgutils.gep_inbounds(b, record, 0, 0))
    for i, value in enumerate(given):
        b.store(value, cgutils.gep_inbounds(b, block, 0, i + 1))
        b.store(value, cgutils.gep_inbounds(b, record, 0, i + 1))
    start = extern(module, "go.runsubmit", i64, [i64] * 6)
    arguments = [
        b.ptrtoint(entry, i64),
        b.ptrtoint(record, i64),
        const(context.get_abi_sizeof(record_type)),
        const(int(any(map(holds_pointers, fndesc.argtypes)))),
        f.args[2],
        b.ptrtoint(block, i64),
    ]
    b.store(b.call(start, arguments), f.args[0])
    b.ret(lir.Constant(i32, 0))

    # i32 go.result.X(result*, excinfo**, i64 run)
    f = lir.Function(module, lir.FunctionType(i32, [*fn_type.args[:2], i64]), f"go.result.{fndesc.mangled_name}")
    b = lir.IRBuilder(f.append_basic_block("entry"))
    run = f.args[2]
    block = b.inttoptr(emit_run_field(b, run, "block"), block_type.as_pointer())
    b.store(b.load(cgutils.gep_inbounds(b, block, 0, 0)), f.args[0])
    taken = [b.load(cgutils.gep_inbounds(b, block, 0, i + 1)) for i in range(len(argument_types))]
    for ty, value in zip(fndesc.argtypes, packer.from_arguments(b, taken), strict=True):
        context.nrt.decref(b, ty, value)
    b.call(extern(module, "free", i8p, [i8p]), [b.bitcast(block, i8p)])
    code = emit_run_field(b, run, "exitcode")
    b.store(b.inttoptr(emit_run_field(b, run, "exitexc"), callconv.excinfo_ptr_t), f.args[1])
    b.call(extern(module, "go.runfree", i8p, [i64]), [run])
    b.ret(b.trunc(code, i32))


# ---- Python's half


class _Submitted:
    """A run that was submitted and is not over."""

    def __init__(self, future, wrappers, arguments):
        self.future, self.wrappers = future, wrappers
        self.arguments = arguments  # handles among them keep what the goroutines use
        self.run = 0
        self.deadlock = None


class Future(concurrent.futures.Future):
    """The result of a run, as `concurrent.futures` has it; `asyncio.wrap_future` makes it awaitable."""

    def cancel(self) -> bool:
        """End the run, if it is not over: its goroutines leave as they do when a run returns. True if that was so."""
        won = super().cancel()
        if won:
            _server.stop(self)
        return won

    def running(self) -> bool:
        """Whether the run is not over yet."""
        return not self.done()


class _Server:
    """The thread that serves all submitted runs, and what it knows of them."""

    def __init__(self):
        self._lock = threading.Lock()
        self._pending: dict[int, _Submitted] = {}
        self._tokens = itertools.count(1)
        self._thread: threading.Thread | None = None

    def start(self, submitted: _Submitted) -> None:
        """Start a run; whatever happens on the way, it will be served."""
        token = next(self._tokens)
        begin = submitted.wrappers.entries[0]
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="gopark-futures", daemon=True)
                self._thread.start()
            self._pending[token] = submitted
        submitted.future._gopark_token = token
        try:
            submitted.run = begin(token, *submitted.arguments)
        except BaseException:
            # a signal may have been handled just behind the start: then the run is there, and will be served
            if not any(report.read(Run, run, "token") == token for run in report.all_runs()):
                self._pending.pop(token, None)
            raise

    def stop(self, future: Future) -> None:
        """End the run of a Future."""
        with self._lock:  # a run that is still pending is not used for anything else
            submitted = self._pending.get(future._gopark_token)
            if submitted is not None and submitted.run:
                boot.boot().call("go.runstop", submitted.run, EXIT_CANCELLED)

    def thread(self) -> int | None:
        """The kernel's number of the thread, if there is one."""
        return self._thread.native_id if self._thread is not None else None

    def _serve(self) -> None:
        call = boot.boot().call
        while True:
            run = call("go.futureswait")
            while run:
                following = report.read(Run, run, "node")
                self._complete(run)
                run = following
            while dead := call("go.futureslook"):
                submitted = self._pending.get(report.read(Run, dead, "token"))
                if submitted is not None:
                    submitted.deadlock = report.deadlock_text(dead)
                call("go.runstop", dead, EXIT_DEADLOCK)

    def _complete(self, run: int) -> None:
        token = report.read(Run, run, "token")
        failure = report.Failure(run) if report.read(Run, run, "exitcode") not in (0, callconv.RETCODE_NONE) else None
        with self._lock:
            submitted = self._pending.pop(token)
        handles.take_entries(run)
        result, raised = None, None
        try:
            result = submitted.wrappers.entries[1](run)
        except BaseException as e:
            raised = outcome(e, failure, submitted.deadlock) if failure is not None else e
        future = submitted.future
        if not future.set_running_or_notify_cancel():
            return
        if raised is not None:
            future.set_exception(raised)
        else:
            future.set_result(result)


_server = _Server()
server_thread = _server.thread


def submit(fn, /, *args, **kwargs) -> Future:
    """Start `fn(*args)` as a goroutine and return at once: a Future of its result.

    fn: a function decorated with `@go.func`; arguments and results as for `go.run`. The Future is one of
    `concurrent.futures`: `result(timeout)`, `exception()`, `add_done_callback`, `asyncio.wrap_future`. Cancelling it
    ends the run. An exception of any goroutine of the run, and a deadlock, come out of it. Thread-safe; thousands may
    be there at once. Callbacks run on a thread of gopark's. What still runs when the interpreter exits is dropped.

    Example:

        @go.func
        def square(n):
            return n * n


        futures = [go.submit(square, n) for n in range(4)]
        print([future.result(timeout=60) for future in futures])  # [0, 1, 4, 9]
    """
    bound = prepare(fn, "go.submit", args, kwargs)
    arguments = (*bound.args, *bound.kwargs.values())
    try:
        wrappers = _wrappers(fn, arguments)
    except explain.COMPILE_ERRORS as e:
        raised = compile_error(e)
    else:
        future = Future()
        _server.start(_Submitted(future, wrappers, arguments))
        return future
    raise raised


def _wrappers(fn, arguments) -> Wrappers:
    known = fn.__dict__.setdefault("_gopark_submit", {})
    kinds = tuple(fn.typeof_pyval(a) for a in arguments)
    found = known.get(kinds)
    if found is None:
        with func.compiling():
            found = known[kinds] = Wrappers("submit", fn, kinds, _describe, _emit)
    return found
