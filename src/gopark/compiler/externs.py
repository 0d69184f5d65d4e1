"""Every C symbol that Numba can emit, and whether a goroutine may call it.

A goroutine runs on a small stack, on a thread that holds a P. C code knows of neither. It may need more stack than
there is, block the thread while the P is held, or wait for the GIL, whose owner may be waiting for that very P. So no
C function is called from go code unless this table says that it may be; a symbol without an entry is a compile error.

The classes, and what becomes of a call (compiler/bind.py does it):

    LEAF       a small frame, no blocking, no Python: called as it stands, on the goroutine's stack
    BIGSTACK   as LEAF, but wants more than about 4 KiB of stack: called on g0, the stack of the M
    LONG       as BIGSTACK, and may take long: BLAS and LAPACK. The P is kept meanwhile, until system calls can release
               it, so the other goroutines of that P wait
    RUNTIME    Numba's function is not called at all: the runtime has one to take its place
    SYSCALL    may block or run for long: refused until calls can release the P around it
    PYTHON     needs the GIL or a Python thread state: refused until there is a bridge that takes the GIL without a P
    FORBIDDEN  makes no sense in a goroutine: refused for good
    DATA       not a function at all (a global variable, the address of a Python object)

Where the entries come from: the tables `c_helpers` of `numba._helperlib`, `numba._dynfunc` and
`numba.core.runtime._nrt_python`, the names that Numba's Python sources spell out, the C library calls that LLVM makes
of its intrinsics (`llvm.sin` becomes `sin`, with `llvm.cos` of the same number `sincos`), and the compilation of some
hundred functions. A test repeats the first two, so that a new Numba cannot bring an unclassed symbol unnoticed.

Facts that decided single entries:

* *Stack.* LAPACK's `dgetrf` goes 4.9 MB deep where OpenBLAS uses threads (inv, solve, det), `dgesdd` and `dgemm` 20 KB.
  The biggest frame among Numba's own helpers is that of `numba_attempt_nocopy_reshape`, 928 bytes. The C math library
  is taken to be glibc 2.28 or newer: older ones had multi-precision slow paths with several KiB of locals in sin, exp
  and pow. `numba_cpow` calls into libpython, which the dynamic linker may still have to bind lazily, and that saves all
  vector registers on the stack. The vDSO behind `clock_gettime` was once built with stack probes of a page.
* *Callbacks.* The helpers of typed dict, list and set call back into compiled code to compare and to count references.
  They stay on the goroutine's stack, therefore: a callback may poll, and a poll may switch goroutines.
* *BLAS and LAPACK.* Numba's wrappers look the functions up in SciPy when they are first called, under the GIL. That is
  done when the code is compiled or loaded (compiler/linalg.py), and so is over when a goroutine comes. Behind each call
  Numba emits one that takes the GIL and ends the process, for errors that cannot happen: `numba_gil_ensure` with
  `Py_FatalError`, or `numba_fatal_error`. All other code that takes the GIL gives it back as well, and that
  (`numba_gil_release`) is refused. One way to the GIL is left: a wrapper that finds no memory to work in reports that
  to Python, on g0, before it returns and the process ends.
* *Random numbers.* `numba_get_*_random_state` asks Python for a seed at its first use *in each thread*, taking the GIL,
  and goroutines move between threads: they have states of their own (runtime/rand.py). `hash` of a float ends there
  too: a NaN hashes to a random number.
* *Boxing thunks.* For `raise ValueError(x)` Numba emits a function `__excinfo_unwrap_args...` that makes Python objects
  of the arguments. Only the code that hands the exception to Python calls it, never the goroutine, but it lies in the
  same module and brings PyTuple_Pack, numba_unpickle and others with it, even where the raise hides deep in NumPy code
  (np.percentile, np.median, a dict lookup). `module_refusal` does not count what is named only in such bodies. A raise
  without run-time arguments, a bounds check, a failed allocation need no symbol at all: the exception is constant data.

What is dangerous and shows in no symbol list. Nobody may conclude "no refused symbol, so no Python":

* `NRT_MemInfo_call_dtor` is LEAF, as every array needs it, yet the destructor is a pointer in the object. For memory
  that a Python object owns (an array argument that came from Python) it takes the GIL. Go code must not drop the last
  reference of such an array with a P held; whoever passes it in has to see to that.
* Calls through pointers: ctypes and cffi functions, Cython functions fetched by address. In the module they are
  constants or variables `numba.dynamic.globals.*`, not names, and Numba takes no GIL for them, not even for functions
  of `ctypes.pythonapi`. `type_refusal` refuses them by their types.
* A `np.random.Generator` draws through function pointers of NumPy's bit generator, without the lock that NumPy holds in
  Python, and its last reference is a Python object's. Refused likewise.
* `lgamma` writes the C global `signgam`. The race is harmless, because nothing reads it.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable
from typing import NamedTuple

from gopark.compiler.numba_api import types


class Class(enum.Enum):
    """What a C symbol needs from the thread that calls it."""

    LEAF = "leaf"
    BIGSTACK = "bigstack"
    LONG = "long"
    RUNTIME = "runtime"
    SYSCALL = "syscall"
    PYTHON = "python"
    FORBIDDEN = "forbidden"
    DATA = "data"


ALLOWED_TODAY = frozenset({Class.LEAF, Class.BIGSTACK, Class.LONG, Class.RUNTIME, Class.DATA})
ON_G0 = frozenset({Class.BIGSTACK, Class.LONG})


class Entry(NamedTuple):
    """One symbol's class and the reason for it.

    `bound` is the function of the runtime that takes the place of one of class RUNTIME. Of a symbol that is refused,
    `wrote` names the construct in the user's source that leads to it, where that can be told, and `remedy` says what to
    do where there is better advice than "call it from Python". `reason` reads on after a colon: "it is ...".
    """

    cls: Class
    reason: str
    wrote: str = ""
    remedy: str = ""
    bound: str = ""


TABLE: dict[str, Entry] = {}


def _add(names: str | Iterable[str], cls: Class, reason: str, wrote: str = "", remedy: str = "") -> None:
    for name in names.split() if isinstance(names, str) else names:
        assert name not in TABLE, f"{name} is classed twice"
        TABLE[name] = Entry(cls, reason, wrote, remedy)


def _each(names: str, *forms: str) -> list[str]:
    return [form.format(name) for name in names.split() for form in forms]


# ---- FORBIDDEN. The order of refused entries matters: of several in one function, the earliest is the one reported.

_THREADING_LAYER = "it hands the loop to Numba's thread pool, which blocks the thread and knows nothing of goroutines"
_SPAWN_INSTEAD = "Compile without parallel=True, write range instead of prange, and share the work out with go.spawn."
_add(
    "numba_parallel_for do_scheduling_signed do_scheduling_unsigned allocate_sched deallocate_sched get_sched_size "
    "get_parallel_chunksize set_parallel_chunksize",
    Class.FORBIDDEN,
    _THREADING_LAYER,
    "prange or other code under parallel=True",
    _SPAWN_INSTEAD,
)
_add(
    "get_num_threads set_num_threads get_thread_id",
    Class.FORBIDDEN,
    "it asks for a thread of Numba's pool, and goroutines do not run there",
    "numba.get_num_threads, numba.set_num_threads or numba.get_thread_id",
    "Remove the call, and share the work out with go.spawn.",
)
_add(
    "fork vfork execl execv execve",
    Class.FORBIDDEN,
    "it forks a process from a thread that runs goroutines, and the child has a scheduler but no threads",
    "fork or exec (numba.gdb() does so, too)",
    "Start processes from Python before go.run.",
)
_add(
    "setjmp _setjmp sigsetjmp __sigsetjmp longjmp siglongjmp",
    Class.FORBIDDEN,
    "it jumps out of frames, and the stack it jumps to may belong to another goroutine by then",
)
_add(
    "pthread_create pthread_exit abort exit _exit",
    Class.FORBIDDEN,
    "it starts or ends a thread or the process behind the scheduler's back",
    remedy="Raise an exception instead, or start the work with go.spawn.",
)
_add(
    "numba_test_dict numba_test_list numba_test_set",
    Class.FORBIDDEN,
    "it is a self-test of Numba's that prints to the terminal",
)
_add(
    "numba_fixed_fmod numba_fixed_fmodf numba_set_fnclex",
    Class.FORBIDDEN,
    "it is a workaround for Windows that calls through a null pointer everywhere else",
)


# ---- LONG: on g0, for as long as it takes

_add(
    "numba_xxdot numba_xxgemv numba_xxgemm numba_xxnrm2 numba_xxgetrf numba_ez_xxgetri numba_xxpotrf numba_ez_rgeev "
    "numba_ez_cgeev numba_ez_xxxevd numba_ez_gesdd numba_ez_geqrf numba_ez_xxgqr numba_ez_gelsd numba_xgesv",
    Class.LONG,
    "it runs in BLAS or LAPACK, which need a big stack and may take long",
)


# ---- SYSCALL: may block or run long

_add(
    "numba_dict_dump numba_set_dump puts printf fflush _numba_flush_stdout",
    Class.SYSCALL,
    "it writes to the C library's standard output, which may block and takes several KiB of stack",
    "C output (Numba's debug printing)",
    "Use gopark's print.",
)
_add(
    "sleep usleep nanosleep clock_nanosleep",
    Class.SYSCALL,
    "it puts the whole thread to sleep, not only the goroutine",
    "a C sleep",
    "Use go.sleep, which parks only the goroutine.",
)
_add(
    "getaddrinfo getnameinfo gethostbyname open openat close read write pread pwrite readv writev fsync recv send "
    "accept connect poll select epoll_wait wait waitpid system fopen fclose fread fwrite pthread_mutex_lock "
    "pthread_cond_wait pthread_join sem_wait sched_yield syscall",
    Class.SYSCALL,
    "it may block the thread for as long as the system takes, while other goroutines wait for the processor it holds",
)


# ---- RUNTIME

for _name, _bound, _reason in (
    ("numba_get_np_random_state", "go.nprandstate", "the state of np.random is the goroutine's"),
    ("numba_get_py_random_state", "go.pyrandstate", "the state of random is the goroutine's"),
    ("numba_get_internal_random_state", "go.hashrandstate", "the state that NaNs are hashed with is the goroutine's"),
    ("numba_gil_ensure", "go.nogil", "Numba takes the GIL before it ends the process"),
    ("Py_FatalError", "go.pyfatalerror", "the end of the process is a throw"),
    ("numba_fatal_error", "go.numbafatalerror", "the end of the process is a throw"),
):
    TABLE[_name] = Entry(Class.RUNTIME, _reason, bound=_bound)


# ---- PYTHON: needs the GIL

_CALLS_PYTHON = "it needs the GIL, and a thread that runs goroutines must never wait for that"
_add(
    "PySys_FormatStdout",
    Class.PYTHON,
    "it takes the GIL and writes through sys.stdout, and a thread that runs goroutines must never wait for the GIL",
    "Numba's own print",
    "gopark's print replaces it in go functions; it formats numbers, bool, str, None and tuples. So print only those, "
    "and if the print stands in a helper that was compiled by plain @njit, make that helper a go function.",
)
_add(
    "PyObject_CallFunctionObjArgs PyImport_ImportModule",
    Class.PYTHON,
    _CALLS_PYTHON,
    "a call of Python (a `with objmode()` block, or a call through a function that was passed as a value)",
)
_add(
    "PyEval_SaveThread PyEval_RestoreThread",
    Class.PYTHON,
    "it gives up or takes back the GIL, which a thread that runs goroutines does not have",
)
_add(
    # The GIL itself.
    "numba_gil_release "
    # Boxing and unboxing.
    "numba_adapt_ndarray numba_ndarray_new numba_complex_adaptor numba_extract_record_data numba_recreate_record "
    "numba_get_buffer numba_adapt_buffer numba_release_buffer numba_extract_np_datetime numba_create_np_datetime "
    "numba_extract_np_timedelta numba_create_np_timedelta numba_extract_unicode numba_unpack_slice numba_py_type "
    "numba_make_generator numba_set_pyobject_private_data numba_get_pyobject_private_data "
    "numba_reset_pyobject_private_data "
    # Exceptions.
    "numba_do_raise numba_unpickle numba_runtime_build_excinfo_struct "
    # Memory that Python owns or that goes to Python.
    "NRT_adapt_ndarray_from_python NRT_adapt_ndarray_to_python_acqref NRT_adapt_buffer_from_python "
    "NRT_meminfo_as_pyobject NRT_meminfo_from_pyobject NRT_meminfo_new_from_pyobject",
    Class.PYTHON,
    _CALLS_PYTHON,
)


# ---- BIGSTACK

_add("numba_cpow numba_cpowf", Class.BIGSTACK, "complex power lies in libpython, whose first call binds symbols lazily")
_add("snprintf sprintf", Class.BIGSTACK, "formatting takes buffers of several KiB")
_add(
    "clock_gettime gettimeofday time", Class.BIGSTACK, "the vDSO was built with stack probes of a page in some kernels"
)
_add(
    "NRT_MemInfo_alloc_safe_aligned_external _nrt_get_sample_external_allocator",
    Class.BIGSTACK,
    "the allocator is foreign code, of which nothing is known but that it allocates",
)


# ---- LEAF

_add(
    "memcpy memmove memset memcmp bcmp strlen malloc calloc realloc free aligned_alloc posix_memalign",
    Class.LEAF,
    "memory of the C library; its locks are held briefly, and never across a safepoint",
)

_add(
    _each(
        "acos acosh asin asinh atan atan2 atanh cbrt ceil copysign cos cosh erf erfc exp exp10 exp2 expm1 fabs fdim "
        "floor fma fmax fmin fmod frexp hypot ilogb ldexp lgamma llrint llround log log10 log1p log2 logb lrint lround "
        "modf nearbyint nextafter pow remainder rint round roundeven scalbn sin sincos sinh sqrt tan tanh tgamma trunc",
        "{}",
        "{}f",
    ),
    Class.LEAF,
    "C math: computes on a small frame",
)
_add(
    _each(
        "acos acosh asin asinh atan atan2 atanh ceil cos cosh erf erfc exp expm1 fabs floor fmod frexp gamma ldexp "
        "lgamma log log10 log1p nextafter pow round sin sinh sqrt tan tanh trunc",
        "numba_{}",
        "numba_{}f",
    ),
    Class.LEAF,
    "Numba's wrapper of a C math function",
)
_add(
    "numba_sdiv numba_srem numba_udiv numba_urem numba_fptoui numba_fptouif multi3",
    Class.LEAF,
    "integer arithmetic for 32-bit machines",
)
_add(
    # 128-bit integers, powers by an integer, half floats, counting bits on old processors.
    "__divti3 __modti3 __udivti3 __umodti3 __divmodti4 __udivmodti4 __multi3 __mulodi4 __muloti4 __ashlti3 __ashrti3 "
    "__lshrti3 __powisf2 __powidf2 __fixsfti __fixdfti __fixunssfti __fixunsdfti __fixunssfdi __fixunsdfdi __floattisf "
    "__floattidf __floatuntisf __floatuntidf __truncdfhf2 __truncsfhf2 __extendhfsf2 __gnu_f2h_ieee __gnu_h2f_ieee "
    "__popcountdi2 __popcountti2 __clzti2 __ctzti2",
    Class.LEAF,
    "compiler-rt: arithmetic the processor has no instruction for",
)

_add(
    "NRT_Allocate NRT_Allocate_External NRT_Reallocate NRT_Free NRT_dealloc NRT_get_api "
    "NRT_MemInfo_alloc NRT_MemInfo_alloc_aligned NRT_MemInfo_alloc_dtor NRT_MemInfo_alloc_dtor_safe "
    "NRT_MemInfo_alloc_safe NRT_MemInfo_alloc_safe_aligned NRT_MemInfo_new NRT_MemInfo_new_varsize "
    "NRT_MemInfo_new_varsize_dtor NRT_MemInfo_varsize_alloc NRT_MemInfo_varsize_realloc NRT_MemInfo_varsize_free "
    "NRT_MemInfo_acquire NRT_MemInfo_data NRT_MemInfo_data_fast NRT_MemInfo_refcount NRT_MemInfo_size NRT_incref "
    "nrt_atomic_cas nrt_unresolved_abort",
    Class.LEAF,
    "Numba's reference counted memory, over malloc",
)
_add(
    "NRT_decref NRT_MemInfo_call_dtor NRT_MemInfo_release NRT_MemInfo_destroy",
    Class.LEAF,
    "frees memory that compiled code owns; the destructor of memory that Python owns is the bridge's concern",
)

_CONTAINER = "a container of Numba's, over malloc; it calls back into compiled code on the same stack"
_add(
    _each(
        "delitem free insert insert_ez iter iter_next iter_sizeof length lookup new_sized popitem set_method_table",
        "numba_dict_{}",
    ),
    Class.LEAF,
    _CONTAINER,
)
_add(
    _each(
        "allocated append base_ptr delete_slice delitem free getitem is_mutable iter iter_next iter_sizeof length new "
        "set_is_mutable set_method_table setitem size_address",
        "numba_list_{}",
    ),
    Class.LEAF,
    _CONTAINER,
)
_add(
    _each(
        "add contains discard free iter iter_next iter_sizeof length new new_sized set_method_table",
        "numba_set_{}",
    ),
    Class.LEAF,
    _CONTAINER,
)

_add("numba_attempt_nocopy_reshape", Class.LEAF, "computes strides on a frame of 928 bytes")
_add("numba_gettyperecord numba_get_PyUnicode_ExtendedCase", Class.LEAF, "looks up constant tables of Unicode")
_add("numba_rnd_init numba_rnd_shuffle numba_poisson_ptrs", Class.LEAF, "computes on the random state it is given")
_add("numba_gdb_breakpoint", Class.LEAF, "does nothing; a debugger may stop in it")
_add("getpid gettid", Class.LEAF, "a system call that never waits")

_add("_Py_NoneStruct", Class.DATA, "address of the object None")


# ---- Prefixes, the first that fits

PREFIXES: tuple[tuple[str, Entry], ...] = (
    ("llvm.", Entry(Class.LEAF, "an intrinsic: an instruction, or a call of C math or memory functions")),
    ("go.", Entry(Class.LEAF, "gopark's own symbol; the linker binds it to the runtime image")),
    ("__svml_", Entry(Class.LEAF, "Intel's vector math: computes on a small frame")),
    ("PyExc_", Entry(Class.DATA, "address of an exception class")),
    (".const.", Entry(Class.DATA, "a constant")),
    (".numba.", Entry(Class.DATA, "a constant of Numba's")),
    ("numba.dynamic.globals.", Entry(Class.DATA, "a variable that holds an address known at compile time")),
    ("_numba_hashsecret_", Entry(Class.DATA, "a key of Python's string hash")),
    ("_ZN08NumbaEnv", Entry(Class.DATA, "the environment of a compiled function")),
    ("Py", Entry(Class.PYTHON, _CALLS_PYTHON)),
    ("_Py", Entry(Class.PYTHON, _CALLS_PYTHON)),
)


def classify(symbol: str) -> Entry | None:
    """The entry of a C symbol: by its exact name, else by its prefix. None if nothing is known about it."""
    entry = TABLE.get(symbol)
    if entry is None:
        entry = next((rule for prefix, rule in PREFIXES if symbol.startswith(prefix)), None)
    return entry


G0 = "go.g0."  # and the name of a C function: the stub that calls it on g0


def bound_name(symbol: str) -> str:
    """The name under which go code calls a C function that it may call: the function's own, a stub's, or that of the
    function that takes its place."""
    entry = classify(symbol)
    if entry is None or symbol.startswith("go."):
        return symbol
    return G0 + symbol if entry.cls in ON_G0 else entry.bound or symbol


_FROM_PYTHON = "Call it from Python before go.run and pass the result to the goroutine"
_WHEN_IT_LANDS = {
    Class.SYSCALL: "goroutines will be able to call it once system calls land.",
    Class.PYTHON: "goroutines will be able to call it once calls of Python land.",
}


def refusal(symbol: str, function_name: str) -> str | None:
    """Why `symbol` may not be used by the go function `function_name` today, as text for the user; None if it may."""
    entry = classify(symbol)
    if entry is None:
        return (
            f"{function_name} calls the C function {symbol}, which gopark does not know: it may block, need a big "
            f"stack or call Python. {_FROM_PYTHON}. If you did not declare {symbol} yourself, Numba emits it, and "
            f"gopark's table of symbols lacks it: please report its name."
        )
    if entry.cls in ALLOWED_TODAY:
        return None
    subject = entry.wrote or f"the C function {symbol}"
    if entry.cls is Class.FORBIDDEN:
        verdict = "which goroutines can never use"
        remedy = entry.remedy or f"{_FROM_PYTHON}."
    else:
        verdict = "which goroutines cannot use yet"
        remedy = entry.remedy or f"{_FROM_PYTHON}; {_WHEN_IT_LANDS[entry.cls]}"
    symbol_named = f" The C symbol is {symbol}." if entry.wrote else ""
    return f"{function_name} uses {subject}, {verdict}: {entry.reason}. {remedy}{symbol_named}"


_POINTERS = {
    types.ExternalFunctionPointer: (
        "a C function by its address (ctypes or cffi)",
        "it may block, need a big stack or call Python, and nothing tells which",
    ),
    types.NumPyRandomGeneratorType: (
        "a np.random.Generator",
        "it belongs to Python, and two goroutines may draw from it at once",
    ),
    types.NumPyRandomBitGeneratorType: (
        "the bit generator of a np.random.Generator",
        "it belongs to Python, and two goroutines may draw from it at once",
    ),
}
_INSTEAD = "np.random.random, np.random.normal and the other functions of np.random draw from the goroutine's own state"


def type_refusal(ty) -> str | None:
    """The same for a value of the Numba type `ty`, whose use shows in no symbol; without the name of the function."""
    for cls, (subject, reason) in _POINTERS.items():
        if isinstance(ty, cls):
            remedy = f"{_FROM_PYTHON}." if cls is types.ExternalFunctionPointer else f"Instead, {_INSTEAD}."
            return f"{subject}, which goroutines cannot use: {reason}. {remedy}"
    return None


_RANK = {symbol: index for index, symbol in enumerate(TABLE)}


def first_refusal(symbols: Iterable[str], function_name: str) -> str | None:
    """The refusal that tells the user most about a function that refers to all of `symbols`; None if all are allowed.

    One construct brings several refused symbols (a print: nine), of which one names it. So what is forbidden for good
    comes first, then what can be named, then unknown symbols, and the anonymous helpers last.
    """

    def order(symbol: str):
        entry = classify(symbol)
        if entry is None:
            group = 2
        elif entry.cls is Class.FORBIDDEN:
            group = 0
        else:
            group = 1 if entry.wrote else 3
        return group, _RANK.get(symbol, len(_RANK)), symbol

    refused = [symbol for symbol in symbols if not _allowed(symbol)]
    return refusal(min(refused, key=order), function_name) if refused else None


def _allowed(symbol: str) -> bool:
    entry = classify(symbol)
    return entry is not None and entry.cls in ALLOWED_TODAY


# ---- A linked module

# Functions that only Python calls: boxing of an exception's arguments, and Python's entry to a compiled function.
_ENTERED_FROM_PYTHON = ("__excinfo_unwrap_args", "_ZN7cpython")

_NAME = r'@("(?:[^"]*)"|[-\w.$]+)'
_DECLARATION = re.compile(rf"^declare [^@\n]*{_NAME}\(", re.MULTILINE)
_REFERENCE = re.compile(_NAME)
_STRING = re.compile(r'\bc"[^"]*"')


def declared_functions(module_text: str) -> list[str]:
    """The functions that the LLVM module with this text leaves undefined, intrinsics included."""
    return [name.strip('"') for name in _DECLARATION.findall(module_text)]


def module_refusal(module_text: str, function_name: str) -> str | None:
    """Why the go function `function_name` may not run, judged by the text of its linked LLVM module; None if it may.

    Most modules are cleared by their declarations alone. Only if one of these is refused are the bodies read, because
    what is named just in code that Python enters (see the head of this module) is no concern of the goroutine's.
    """
    suspects = {symbol for symbol in declared_functions(module_text) if not _allowed(symbol)}
    if not suspects:
        return None
    references = _references(module_text)
    python_only = _entered_from_python_only(references)
    named = set().union(*(names for body, names in references.items() if body not in python_only))
    return first_refusal(suspects & named, function_name)


def _references(module_text: str) -> dict[str, set[str]]:
    """The symbols that each function of a module names; under "", those that initialisers of variables name."""
    references: dict[str, set[str]] = {"": set()}
    body = ""
    for line in module_text.splitlines():
        if line == "}":
            body = ""
        elif "@" not in line or line.startswith(("declare ", "!", ";")):
            continue
        else:
            names = [name.strip('"') for name in _REFERENCE.findall(_STRING.sub("", line))]
            if line.startswith("define "):
                body = names.pop(0)
            references.setdefault(body, set()).update(names)
    return references


def _entered_from_python_only(references: dict[str, set[str]]) -> set[str]:
    """The functions that Python enters, and those that are named by nothing but such functions."""
    excluded = {body for body in references if body.startswith(_ENTERED_FROM_PYTHON)}
    users: dict[str, set[str]] = {}
    for body, names in references.items():
        for name in names:
            users.setdefault(name, set()).add(body)
    work = list(excluded)
    while work:
        for name in references[work.pop()]:
            if name in references and name not in excluded and users[name] - {name} <= excluded:
                excluded.add(name)
                work.append(name)
    return excluded
