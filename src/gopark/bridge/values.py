"""Values between Python and memory: what lies in a slot of the heap, as Python objects, and back.

`pack` writes a Python value as the bytes that compiled code expects for a Numba type, `unpack` reads them. Nothing is
compiled for that: there are few types that a slot may hold.

Python is told when a value does not fit, as a programmer of Python expects: TypeError for another kind of thing,
OverflowError for an integer that is too large. In compiled code fixed-width integers wrap; a value from Python that
would have to change is refused instead.

Objects of the heap go in and out as handles: `pack` takes the address out of one, `unpack` asks its caller for the
handle of an address.
"""

from __future__ import annotations

import ctypes
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from gopark.compiler.numba_api import types
from gopark.compiler.structs import ADDRESS, KEEPER, Held, Instance, Nillable, Pointer, tuple_layout
from gopark.types.chan import ChanType

_FLOATS = {32: ctypes.c_float, 64: ctypes.c_double}
_SIGNED = {8: ctypes.c_int8, 16: ctypes.c_int16, 32: ctypes.c_int32, 64: ctypes.c_int64}
_UNSIGNED = {8: ctypes.c_uint8, 16: ctypes.c_uint16, 32: ctypes.c_uint32, 64: ctypes.c_uint64}


def name_of(ty) -> str:
    """A type as Python's programmers call it."""
    if isinstance(ty, Pointer):
        return ty.struct.__name__
    if isinstance(ty, types.BaseTuple):
        return f"tuple[{', '.join(map(name_of, ty.types))}]"
    if isinstance(ty, Nillable):  # a container
        return ty.pattern.format(name_of(ty.dtype))
    plain = {types.int64: "int", types.float64: "float", types.boolean: "bool", types.complex128: "complex"}
    return plain.get(ty, str(ty))


def _refuse(ty, value, where):
    raise TypeError(f"{where}: {value!r} is {_article(type(value).__name__)}, and {_article(name_of(ty))} is wanted")


def _article(word: str) -> str:
    return f"an {word}" if word[0] in "aeiouAEIOU" else f"a {word}"


class Channel(Held):
    """What Python holds of a channel; its methods are in bridge/handles.py, which derives from this."""

    __slots__ = ("type",)


# ---- from Python


def pack(ty, value: Any, at: int, where: str) -> None:
    """Write `value` at the address `at`, as a value of the Numba type `ty`. `where` names the slot in errors."""
    if isinstance(ty, types.Boolean):
        if not isinstance(value, (bool, np.bool_)):
            _refuse(ty, value, where)
        ctypes.c_uint8.from_address(at).value = int(value)
    elif isinstance(ty, types.Integer):
        _pack_integer(ty, value, at, where)
    elif isinstance(ty, types.Float):
        _FLOATS[ty.bitwidth].from_address(at).value = _real(ty, value, where)
    elif isinstance(ty, types.Complex):
        if isinstance(value, (bool, np.bool_)) or not isinstance(value, (complex, float, int, np.number)):
            _refuse(ty, value, where)
        part = _FLOATS[ty.bitwidth // 2]
        (part * 2).from_address(at)[:] = [complex(value).real, complex(value).imag]
    elif isinstance(ty, (types.NPDatetime, types.NPTimedelta)):
        _pack_time(ty, value, at, where)
    elif isinstance(ty, types.BaseTuple):
        if not isinstance(value, tuple) or len(value) != len(ty):
            _refuse(ty, value, where)
        for i, (element, offset) in enumerate(tuple_layout(ty)):
            pack(element, value[i], at + offset, f"{where}[{i}]")
    elif isinstance(ty, Nillable):
        ctypes.c_int64.from_address(at).value = _address(ty, value, where)
    else:
        raise AssertionError(f"{ty} cannot lie in a slot")


def _pack_integer(ty, value, at, where):
    if isinstance(value, (bool, np.bool_)) or not hasattr(value, "__index__"):
        _refuse(ty, value, where)
    number = operator.index(value)
    if not ty.minval <= number <= ty.maxval:
        raise OverflowError(f"{where}: {number} does not fit {name_of(ty)}, which goes from {ty.minval} to {ty.maxval}")
    (_SIGNED if ty.signed else _UNSIGNED)[ty.bitwidth].from_address(at).value = number


def _real(ty, value, where) -> float:
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (float, int, np.floating, np.integer)):
        _refuse(ty, value, where)
    return float(value)


def _pack_time(ty, value, at, where):
    kind = np.datetime64 if isinstance(ty, types.NPDatetime) else np.timedelta64
    if not isinstance(value, kind):
        _refuse(ty, value, where)
    word = value.astype(f"{kind.__name__}[{ty.unit}]" if ty.unit else kind.__name__).view(np.int64)
    ctypes.c_int64.from_address(at).value = int(word)


def _address(ty, value, where) -> int:
    if value is None:
        return 0
    refuse_unhandled(ty, where)
    if of_type(value) == ty:
        return ADDRESS.__get__(value)
    if isinstance(ty, Pointer) and type(value).__name__ == ty.struct.__name__ and isinstance(value, Instance):
        raise TypeError(
            f"{where}: this {ty.struct.__name__} was made by another definition of the class "
            f"(one that was executed earlier, or elsewhere). Make it anew"
        )
    _refuse(ty, value, where)
    raise AssertionError("unreachable")


def of_type(value) -> Any:
    """The Numba type of what a handle stands for; None if it is no handle of a whole object."""
    if isinstance(value, Channel):
        return value.type
    if isinstance(value, Instance) and not isinstance(KEEPER.__get__(value), Held):
        return Pointer(type(value))
    return None


# ---- to Python


def unpack(ty, at: int, handle: Callable[[Any, int], Any]) -> Any:
    """The value of the Numba type `ty` at the address `at`. `handle(type, address)` makes the Python object for an
    object of the heap."""
    if isinstance(ty, types.Boolean):
        return bool(ctypes.c_uint8.from_address(at).value)
    if isinstance(ty, types.Integer):
        return (_SIGNED if ty.signed else _UNSIGNED)[ty.bitwidth].from_address(at).value
    if isinstance(ty, types.Float):
        return _FLOATS[ty.bitwidth].from_address(at).value
    if isinstance(ty, types.Complex):
        return complex(*(_FLOATS[ty.bitwidth // 2] * 2).from_address(at))
    if isinstance(ty, (types.NPDatetime, types.NPTimedelta)):
        kind = np.datetime64 if isinstance(ty, types.NPDatetime) else np.timedelta64
        word = ctypes.c_int64.from_address(at).value
        return kind(word, ty.unit) if ty.unit else kind(word)
    if isinstance(ty, types.BaseTuple):
        parts = [unpack(element, at + offset, handle) for element, offset in tuple_layout(ty)]
        return ty.instance_class(*parts) if isinstance(ty, types.BaseNamedTuple) else tuple(parts)
    if isinstance(ty, Nillable):
        address = ctypes.c_int64.from_address(at).value
        return None if address == 0 else handle(ty, address)
    raise AssertionError(f"{ty} cannot lie in a slot")


def refuse_unhandled(ty, where: str) -> None:
    """TypeError if Python cannot take or give values of that type yet."""
    if isinstance(ty, Nillable) and not isinstance(ty, (Pointer, ChanType)):
        raise TypeError(f"{where}: a {name_of(ty)} cannot be used from Python yet; use it in a go function")
    if isinstance(ty, types.BaseTuple):
        for element in ty.types:
            refuse_unhandled(element, where)
