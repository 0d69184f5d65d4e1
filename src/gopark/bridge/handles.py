"""Structs and channels in Python's hands.

`Job(1, ch)`, `job.next`, `ch.send(v)` outside of go functions work on the same objects as inside. What Python holds is
a handle (structs.Held): an address, and an entry in the runtime's table of handles that keeps the object alive
(runtime/handle.py). One object has one handle at a time, so `a.next is a.next`.

A field without pointers is read and written where it lies: the object is kept alive, and a word is written at once.
Everything else, whatever allocates, stores a pointer, gives one to Python, or may block, is done by a helper goroutine
(runtime/cgocall.py) while the thread waits with the GIL released. It waits in slices, between which CPython handles
signals: Ctrl-C in `ch.recv()` is a KeyboardInterrupt.
"""

from __future__ import annotations

import ctypes
import operator
import threading
import time
import weakref

from gopark.bridge import boot, report, values
from gopark.compiler import abi, lower, structs
from gopark.compiler.numba_api import NativeValue, box, i8p, i64, size_and_alignment, typeof_impl, unbox
from gopark.compiler.structs import ADDRESS, KEEPER, Embedded, Held, Instance, Pointer, ensure_descriptor
from gopark.errors import ClosedChannelError
from gopark.runtime import cgocall
from gopark.runtime.cgocall import NOMEMORY, Call
from gopark.runtime.chan import CLOSED, DONE, ENDED, WOULDBLOCK
from gopark.runtime.runtime2 import Handle, Run
from gopark.runtime.sync import MISUSE, Mutex, WaitGroup
from gopark.types.chan import ChanType, element_problem
from gopark.types.struct import given_fields, settable_fields

# ---- operations

_WORD = {name: offset // 8 for name, (offset, _) in Call.fields.items()}
_SLICE_NS = 50_000_000  # between two looks at signals
_LONG = 1 << 62  # nanoseconds


class _Operation:
    """One Call of the runtime: filled in, performed, looked at."""

    def __init__(self, op: int, obj: int = 0, ty=None, kind: str = "value", count: int = 1):
        self._state = boot.boot()
        self._call = (ctypes.c_int64 * (Call.size // 8))()
        self._put("op", op)
        self._put("object", obj)
        self._put("count", count)
        if ty is not None:
            size = ty.struct.size if kind == "object" else size_and_alignment(ty)[0]
            self._element = (ctypes.c_int64 * (size // 8 + 1))()
            self._put("type", ensure_descriptor(kind, ty).address)
            self._put("elem", self.at)

    def _put(self, field: str, word: int) -> None:
        self._call[_WORD[field]] = word

    def _word(self, field: str) -> int:
        return self._call[_WORD[field]]

    @property
    def at(self) -> int:
        """The address of the element."""
        return ctypes.addressof(self._element)

    def perform(self, timeout: float | None = None) -> int:
        """Have it done; returns its result: ENDED if `timeout` seconds were over first. What a signal handler raises
        meanwhile comes out, and the operation may or may not have taken place."""
        call, address = self._state.call, ctypes.addressof(self._call)
        left = _LONG if timeout is None else int(timeout * 1e9)
        end = time.monotonic_ns() + left
        try:
            over = call("go.callstart", address, min(left, _SLICE_NS))
            while not over:
                left = end - time.monotonic_ns()
                if left <= 0:
                    call("go.callstop", address)
                    break
                over = call("go.callwait", address, min(left, _SLICE_NS))
            return self._word("result")
        except BaseException:
            if self._word("started"):
                call("go.callstop", address)
                for entries in self.given().values():
                    for entry in entries:
                        _let_go(entry)
            raise

    def given(self) -> dict[int, list[int]]:
        """The objects that it gave out: the entries of the table of handles, by address."""
        return entries_of(self._word("held"))

    def value(self, ty):
        """The element as Python's value."""
        given = self.given()
        return values.unpack(ty, self.at, lambda inner, address: handle_of(inner, address, given[address].pop()))


def entries_of(entry: int) -> dict[int, list[int]]:
    """A list of entries of the table of handles, by the address of the object."""
    found: dict[int, list[int]] = {}
    while entry:
        found.setdefault(_entry_word(entry, "obj"), []).append(entry)
        entry = _entry_word(entry, "link")
    return found


def _entry_word(entry: int, field: str) -> int:
    return ctypes.c_int64.from_address(entry + Handle.fields[field][0]).value


# ---- handles

_known: weakref.WeakValueDictionary = weakref.WeakValueDictionary()  # by (type, address)
_lock = threading.RLock()  # a finaliser may run in the middle, and make handles of its own


def handle_of(ty, address: int, entry: int) -> Held:
    """The handle of the object at an address, which the entry of the table keeps alive from here on."""
    with _lock:
        found = _known.get((ty, address))
        if found is None:
            found = _known[ty, address] = _make(ty, address, entry)
            return found
    _let_go(entry)
    return found


def _let_go(entry: int, booted=boot.booted) -> None:  # at the end of the interpreter globals may be gone
    state = booted()
    if state is not None:  # else: a forked child, which has only a copy of the table
        state.quick("go.drophandle", entry)


def address_of(handle: Held) -> int:
    """Where the object lies. BootError in a forked child, which has only a copy of the memory."""
    boot.boot()
    return ADDRESS.__get__(handle)


def _make(ty, address: int, keeper) -> Held:
    made = Channel.__new__(Channel) if isinstance(ty, ChanType) else object.__new__(ty.struct)
    ADDRESS.__set__(made, address)
    KEEPER.__set__(made, keeper)
    if isinstance(ty, ChanType):
        made.type = ty
    return made


def _inside(owner: Instance, ty: Embedded, address: int) -> Held:
    """The handle of a struct that lies inside an object: it keeps the owner."""
    with _lock:
        found = _known.get((ty, address))
        if found is None:
            found = _known[ty, address] = _make(ty, address, owner)
        return found


def _drop(handle: Held, let_go=_let_go, keeper_of=KEEPER.__get__) -> None:
    try:
        entry = keeper_of(handle)
    except AttributeError:
        return  # it was never finished
    if isinstance(entry, int):  # else the owner is what keeps it
        let_go(entry)


# ---- structs


def _construct(cls, args: tuple, kwargs: dict) -> Instance:
    name = cls.__name__
    if cls._notinheap:
        raise TypeError(f"{name} is a struct of the runtime's own; it cannot be made")
    fields = settable_fields(cls)
    given = given_fields(cls, args, kwargs)
    ty = Pointer(cls)
    operation = _Operation(cgocall.NEW, ty=ty, kind="object")
    for key, value in given.items():
        values.pack(fields[key], value, operation.at + cls.fields[key][0], f"{name}.{key}")
    if operation.perform() == NOMEMORY:
        _out_of_memory(cls.size)
    ((address, (entry,)),) = operation.given().items()
    return handle_of(ty, address, entry)


def _out_of_memory(wanted: int) -> None:
    call = boot.boot().call
    raise MemoryError(
        f"the collected heap is full: {wanted} bytes wanted, {call('go.heapinuse')} in use, "
        f"the limit is {call('go.heaplimit')}"
    )


def _field(handle: Instance, name: str):
    cls = type(handle)
    found = cls.fields.get(name) if cls not in lower.METHODS else None
    if found is None:
        known, what = (_METHODS[cls], "method") if cls in _METHODS else (cls.fields, "field")
        raise AttributeError(f"{cls.__name__} has no {what} {name!r} (there are {', '.join(known) or 'none'})")
    return found


def _get(handle: Instance, name: str):
    method = _METHODS.get(type(handle), {}).get(name)
    if method is not None:
        return lambda *args, **kwargs: method(handle, *args, **kwargs)
    offset, ty = _field(handle, name)
    at = address_of(handle) + offset
    if isinstance(ty, Embedded):
        return _inside(handle, ty, at)
    values.refuse_unhandled(ty, f"{type(handle).__name__}.{name}")
    if not structs.holds_pointers(ty):
        return values.unpack(ty, at, handle_of)
    if structs.is_gc_pointer(ty):
        address = ctypes.c_int64.from_address(at).value
        if address == 0:
            return None
        known = _known.get((ty, address))
        if known is not None:
            return known
    operation = _Operation(cgocall.LOAD, at, ty)
    operation.perform()
    return operation.value(ty)


def _set(handle: Instance, name: str, value) -> None:
    where = f"{type(handle).__name__}.{name}"
    offset, ty = _field(handle, name)
    if isinstance(ty, Embedded):
        raise AttributeError(f"{where} is a value inside the object; it cannot be replaced, only changed")
    at = address_of(handle) + offset
    if structs.holds_pointers(ty):
        operation = _Operation(cgocall.STORE, at, ty)
        values.pack(ty, value, operation.at, where)
        operation.perform()
    else:
        size = size_and_alignment(ty)[0]
        buffer = (ctypes.c_int64 * (size // 8 + 1))()
        values.pack(ty, value, ctypes.addressof(buffer), where)
        ctypes.memmove(at, buffer, size)


def _describe(handle: Held) -> str:
    if boot.booted() is None:
        return f"<{type(handle).__name__} of the process that this one was forked from>"
    if isinstance(handle, Channel):
        return f"<{values.name_of(handle.type)} with {len(handle)} of {handle.cap} at {address_of(handle):#x}>"
    cls = type(handle)
    if cls in _METHODS:
        return f"<{cls.__name__} at {address_of(handle):#x}>"
    return f"{cls.__name__}({', '.join(f'{n}={_brief(handle, n, ty)}' for n, (_, ty) in cls.fields.items())})"


def _brief(handle: Instance, name: str, ty) -> str:
    """A field in the repr of its object. What it points to is only named: structs may be cyclic, and large."""
    at = address_of(handle) + type(handle).fields[name][0]
    if isinstance(ty, Embedded):
        return f"<{ty.struct.__name__}>"
    if structs.is_gc_pointer(ty):
        address = ctypes.c_int64.from_address(at).value
        return f"<{values.name_of(ty)} at {address:#x}>" if address else "None"
    if structs.holds_pointers(ty):
        return f"<{values.name_of(ty)}>"
    return repr(values.unpack(ty, at, handle_of))


# ---- Mutex and WaitGroup


def _lock_mutex(mutex: Instance, timeout: float | None = None) -> None:
    """Lock it; TimeoutError if that takes longer than `timeout` seconds. Blocks with the GIL released."""
    _waited(mutex, cgocall.LOCK, "lock", timeout)


def _try_lock(mutex: Instance) -> bool:
    """Lock it if it is free; whether it was. Does not block."""
    return _Operation(cgocall.TRYLOCK, address_of(mutex)).perform() != 0


def _unlock(mutex: Instance) -> None:
    """Unlock it. RuntimeError if it is not locked. Does not block."""
    if _Operation(cgocall.UNLOCK, address_of(mutex)).perform() == MISUSE:
        raise RuntimeError("sync: unlock of unlocked mutex")


def _add(group: Instance, n: int) -> None:
    """Add n, which may be negative, to the counter. RuntimeError if that makes it negative. Does not block."""
    if _Operation(cgocall.GROUPADD, address_of(group), count=operator.index(n)).perform() == MISUSE:
        raise RuntimeError("sync: negative WaitGroup counter")


def _done(group: Instance) -> None:
    """The same as `add(-1)`."""
    _add(group, -1)


def _wait(group: Instance, timeout: float | None = None) -> None:
    """Wait until the counter is 0; TimeoutError if that takes longer than `timeout` seconds. The GIL is released."""
    _waited(group, cgocall.GROUPWAIT, "wait", timeout)


def _waited(handle: Instance, op: int, name: str, timeout) -> None:
    what = f"{type(handle).__name__}.{name}"
    _check_timeout(timeout, what)
    if _Operation(op, address_of(handle)).perform(timeout) == ENDED:
        raise TimeoutError(f"{what}: not within {timeout} seconds")


_METHODS = {
    Mutex: {"lock": _lock_mutex, "try_lock": _try_lock, "unlock": _unlock},
    WaitGroup: {"add": _add, "done": _done, "wait": _wait},
}


# ---- channels


def _check_timeout(timeout, what: str) -> None:
    if timeout is not None and not timeout >= 0:
        raise ValueError(f"{what}: timeout={timeout}: a number of seconds, 0 or more, is wanted, or None for no limit")


class Channel(values.Channel):
    """A channel as Python holds it: the same methods as in go functions.

    send, recv and recv_ok block with the GIL released; `timeout`: seconds, then TimeoutError (0: do not wait; None: for
    ever). Any number of threads may use a channel at once.
    """

    __slots__ = ()

    def send(self, value, timeout: float | None = None) -> None:
        """Send a value; waits until a receiver takes it or the buffer has room. ClosedChannelError if the channel is
        closed, TypeError if the value is none of the channel's elements."""
        if self._send(value, timeout) == ENDED:
            raise TimeoutError(f"send on {self!r}: nobody took it within {timeout} seconds")

    def try_send(self, value) -> bool:
        """Send a value if that is possible at once; whether it was. ClosedChannelError if the channel is closed."""
        return self._send(value, 0) == DONE

    def _send(self, value, timeout) -> int:
        ty = self.type.dtype
        _check_timeout(timeout, "send")
        operation = _Operation(cgocall.SEND, address_of(self), ty, count=int(timeout != 0))
        values.pack(ty, value, operation.at, f"send on {values.name_of(self.type)}")
        result = operation.perform(timeout or None)
        if result == CLOSED:
            raise ClosedChannelError("send on closed channel")
        return ENDED if result == WOULDBLOCK else result

    def recv(self, timeout: float | None = None):
        """The next value; the zero value once the channel is closed and drained. Waits for one."""
        return self.recv_ok(timeout)[0]

    def recv_ok(self, timeout: float | None = None) -> tuple:
        """(value, True), or (zero value, False) once the channel is closed and drained. Waits for one of them."""
        value, result = self._recv(timeout)
        if result in (ENDED, WOULDBLOCK):
            raise TimeoutError(f"recv on {self!r}: nothing came within {timeout} seconds")
        return value, result == DONE

    def try_recv(self) -> tuple:
        """(value, True) if there is one now; else (zero value, False)."""
        value, result = self._recv(0)
        return value, result == DONE

    def _recv(self, timeout):
        ty = self.type.dtype
        _check_timeout(timeout, "recv")
        values.refuse_unhandled(ty, "recv")
        operation = _Operation(cgocall.RECV, address_of(self), ty, count=int(timeout != 0))
        result = operation.perform(timeout or None)
        return (None if result == ENDED else operation.value(ty)), result

    def close(self) -> None:
        """No more values will be sent. ClosedChannelError if it is closed already. Does not block."""
        if _Operation(cgocall.CLOSE, address_of(self)).perform() == CLOSED:
            raise ClosedChannelError("close of closed channel")

    def __len__(self) -> int:
        """Values in the buffer now."""
        return self._count(abi.HCHAN_QCOUNT)

    def __bool__(self) -> bool:
        return True

    @property
    def cap(self) -> int:
        """Values for which the buffer has room."""
        return self._count(abi.HCHAN_DATAQSIZ)

    def _count(self, offset: int) -> int:
        return ctypes.c_int64.from_address(address_of(self) + offset).value

    def __iter__(self):
        """The values, until the channel is closed and drained. Waits for each."""
        return self

    def __next__(self):
        value, ok = self.recv_ok()
        if not ok:
            raise StopIteration
        return value


def _make_channel(element, cap: int) -> Channel:
    where = "go.chan(type, capacity)"
    ty = structs.resolve(element, where)
    problem = element_problem(ty)
    if problem:
        raise TypeError(f"{where}: {problem}")
    count = operator.index(cap)
    if count < 0:
        raise ValueError("go.chan: the capacity is negative")
    operation = _Operation(cgocall.MAKECHAN, ty=ty, count=count)
    if count >= _LONG or operation.perform() == NOMEMORY:
        _out_of_memory(count * size_and_alignment(ty)[0])
    ((address, (entry,)),) = operation.given().items()
    return handle_of(ChanType(ty), address, entry)


structs.Border.construct = staticmethod(_construct)
structs.Border.make_channel = staticmethod(_make_channel)
structs.Border.get = staticmethod(_get)
structs.Border.set = staticmethod(_set)
structs.Border.describe = staticmethod(_describe)
structs.Border.drop = staticmethod(_drop)


# ---- arguments and results of go functions


@typeof_impl.register(Held)
def _typeof_handle(value, c):
    found = values.of_type(value)
    if found is None:
        raise TypeError(
            f"this {type(value).__name__} is a value inside another object: its address would escape. Pass the owner"
        )
    return found


@unbox(Pointer)
@unbox(ChanType)
def _unbox(ty, obj, c):
    """The address out of a handle, which the caller keeps."""
    word = c.pyapi.object_getattr_string(obj, "_Held__address")
    address = c.pyapi.long_as_longlong(word)
    c.pyapi.decref(word)
    return NativeValue(c.builder.inttoptr(address, i8p), is_error=c.pyapi.c_api_error())


@box(Pointer)
@box(ChanType)
def _box(ty, value, c):
    """A handle, out of the entries that the run has left for its result."""
    find, kind = (c.pyapi.unserialize(c.pyapi.serialize_object(o)) for o in (result_handle, ty))
    address = c.pyapi.long_from_longlong(c.builder.ptrtoint(value, i64))
    found = c.pyapi.call_function_objargs(find, (kind, address))
    for o in (find, kind, address):
        c.pyapi.decref(o)
    return found


class _Results(threading.local):
    """The entries of the result that this thread is about to take."""

    entries: dict[int, list[int]] = {}


results = _Results()


def take_entries(run: int) -> None:
    """The objects in the result of a run are this thread's to hold."""
    results.entries = entries_of(report.read(Run, run, "held"))
    report.write(Run, run, "held", 0)


def result_handle(ty, address: int) -> Held | None:
    """Called while a result is made into Python objects: the handle of an object in it."""
    return handle_of(ty, address, results.entries[address].pop()) if address else None
