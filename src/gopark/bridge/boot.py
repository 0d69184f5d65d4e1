"""Boot: from CPython to a running scheduler, once per process.

Nothing of gopark happens at import. The first compilation of a go function, or the first `go.run`, boots:

1. the machine, the interpreter and Numba are looked at; what is missing is a `BootError` that says so;
2. the runtime's image is fetched from the cache, or built (half a minute once, with a progress bar), and loaded;
3. `schedinit`, `mallocinit`, `siginit`: stacks and heap are reserved, the Ps are made, all idle; no thread is started.

Threads come when there is work (runtime/mp.py). A child made by fork has the memory but not the threads: it is refused.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import platform
import secrets
import sys
import threading
import time

from gopark import runtime
from gopark.compiler import abi, asm_amd64, func, image, linetable
from gopark.compiler.numba_api import llb, version_problem
from gopark.compiler.structs import Pointer, ensure_descriptor
from gopark.config import settings
from gopark.errors import BootError
from gopark.pause import collector_paused, interrupt_now, interrupts_deferred

_lock = threading.RLock()
_state: Booted | None = None


class Booted:
    """What boot left: the image, how long its parts took, and the process it belongs to."""

    def __init__(self):
        self.pid = os.getpid()
        self.seconds: dict[str, float] = {}
        self.built = False
        self.image: image.Image

    def call(self, symbol: str, *arguments: int) -> int:
        """Call an exported runtime function with integers, the GIL released."""
        return _native(len(arguments), ctypes.CFUNCTYPE)(self.image.address[symbol])(*arguments)

    def quick(self, symbol: str, *arguments: int) -> int:
        """The same with the GIL held: for what takes less time than to give it up."""
        return _native(len(arguments), ctypes.PYFUNCTYPE)(self.image.address[symbol])(*arguments)


@functools.cache
def _native(count: int, kind):
    """The type of a function of so many integers."""
    return kind(ctypes.c_int64, *[ctypes.c_int64] * count)


def problem() -> str | None:
    """Why gopark cannot run here; None if it can."""
    if sys.platform != "linux" or platform.machine() not in ("x86_64", "AMD64"):
        return f"gopark runs on Linux on x86-64; this is {platform.system()} on {platform.machine()}"
    if sys.implementation.name != "cpython":
        return f"gopark needs CPython; this is {sys.implementation.name}"
    if sys.version_info < (3, 11):
        return f"gopark needs CPython 3.11 or newer; this is {platform.python_version()}"
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        return "gopark does not run on a free-threaded build of CPython yet; use the ordinary build"
    if _in_subinterpreter():
        return "gopark runs in the main interpreter only, not in a subinterpreter"
    return version_problem()


def _in_subinterpreter() -> bool:
    try:
        get_id = ctypes.pythonapi.PyInterpreterState_GetID
        current = ctypes.pythonapi.PyInterpreterState_Get
    except AttributeError:
        return False
    current.restype = ctypes.c_void_p
    get_id.argtypes, get_id.restype = [ctypes.c_void_p], ctypes.c_int64
    return get_id(current()) != 0


def boot() -> Booted:
    """Make the runtime ready. Idempotent, thread-safe; raises BootError."""
    global _state
    state = _state
    if state is not None:
        if state.pid != os.getpid():
            raise BootError(
                "gopark was started in the parent of this forked process; its threads do not exist here. "
                "Start the child with multiprocessing's 'spawn' method, or fork before the first go.run"
            )
        return state
    with _lock:
        if _state is None:
            with interrupts_deferred(), collector_paused():
                _state = _boot()
        return _state


def booted() -> Booted | None:
    """The runtime of this process, if it is up; asking does not start it."""
    return _state if _state is not None and _state.pid == os.getpid() else None


def _boot() -> Booted:
    found = problem()
    if found:
        raise BootError(found)
    try:
        config = settings()
    except ValueError as e:
        raise BootError(str(e)) from None
    state = Booted()
    with _timed(state, "import"):
        units, headers, hooks = runtime.load_units()
    from gopark.runtime.runtime2 import Hchan, Sudog
    from gopark.runtime.slice import List

    for made_by_the_runtime in (Hchan, List, Sudog):
        ensure_descriptor("object", Pointer(made_by_the_runtime))
    with _timed(state, "assembly"):
        llb.load_library_permanently("libc.so.6")
        asm_amd64.load()
    with _timed(state, "image"), _Progress(state) as progress:
        built = image.build(units, headers, hooks, progress)
    state.image = image.Image(built)
    asm_amd64.load_stubs()
    func.INFOS.update(state.image.infos)  # the runtime's part of the call graph
    state.seconds["load"] = state.image.load_seconds
    for objects in state.image.objects:
        func.CODE.add(objects, lambda symbol: state.image.address.get(symbol, 0))
    _register_modules(state.image)
    _publish(state, config)
    return state


def _register_modules(loaded: image.Image) -> None:
    """Enter the image's objects in the list that a dying process reads: the runtime, and its hooks. Each is found by a
    function that it defines."""
    func.MODULES.publish(loaded.address[linetable.MODULES])
    for data, symbol in zip(loaded.objects, ("go.schedinit", "go.prim"), strict=False):
        func.MODULES.add(data, symbol, loaded.address[symbol], runtime=True)


def _publish(state, config):
    from gopark.runtime import malloc
    from gopark.runtime.traceback import tracebackstate

    ctypes.c_int64.from_address(tracebackstate.address).value = config.traceback
    malloc.publish_size_classes()
    if config.wbcheck:
        ctypes.c_int64.from_address(state.image.address[abi.SEAM]).value |= abi.WB_CHECK
    seed = config.seed if config.seed is not None else secrets.randbits(60)
    state.call("go.mallocinit", config.memory_limit)
    state.call("go.schedinit", config.procs, seed)
    state.call("go.siginit")


@contextlib.contextmanager
def _timed(state, what):
    start = time.perf_counter()
    yield
    state.seconds[what] = time.perf_counter() - start


class _Progress:
    """The progress bar of an image that has to be built, on standard error; nothing where that is no terminal."""

    def __init__(self, state):
        self._state, self._bar = state, None

    def __enter__(self):
        return self._advance

    def __exit__(self, *exc):
        if self._bar is not None:
            self._bar.stop()

    def _advance(self, unit: str, done: int, total: int) -> None:
        interrupt_now()  # what has been built is kept
        self._state.built = True
        if self._bar is None:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            console = Console(stderr=True)
            self._bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
            self._task = self._bar.add_task("gopark: compiling the runtime (once)", total=total)
            self._bar.start()
        self._bar.update(self._task, completed=done)


func.GoDispatcher.booter = staticmethod(boot)
