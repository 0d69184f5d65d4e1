"""What a function's machine code was made from, as one hash: the part of a cache key that only the program decides.

Numba bakes in whatever a function refers to by name: constants become immediates, callees are inlined, structs become
offsets. So the fingerprint describes every value that the code can reach, starting at the function and the types of its
arguments, and hashes the descriptions. It errs on the side of too much: what is named and not used costs a compilation
when it changes, what is used and not described would be a wrong answer.

* *Data* is described by its contents, exactly and with its type: numbers, strings, NumPy's scalars and arrays (their
  layout too, which decides what code reads them), tuples, enums, dtypes, Numba's types.
* *Nodes* have an identity, may refer to each other in circles, and get a number in the order in which they are met:
  functions with their bytecode, defaults, globals and cells; dispatchers with their options; structs with their layout;
  classes. Nothing in a description depends on addresses or on the order of a set, so that every process finds the same.
* Everything else is a *namespace*, as modules and classes are too: it matters by its attributes, and of these the
  described ones are those that any of the functions names, or could name by a string that it mentions. `a.b.f` needs
  no analysis of who says what after which dot, and an alias, `m = a.b`, no analysis of what it stands for.
* What Numba could bake in and this file does not understand (an instance of a @jitclass, a typed list) makes the
  function *unknown*. It is compiled by every process: a guess would be a wrong answer in some later one.

Python's library, NumPy, Numba and gopark are described by name. Their versions, and gopark's sources, are in the key.

Extensions of Numba (@overload, @intrinsic and the like) are reached through no name: `x + y` may call one. Those of the
program belong to every key, as `extensions()`.
"""

from __future__ import annotations

import collections
import dis
import enum
import functools
import hashlib
import inspect
import os
import re
import sys
import types as python_types
import typing as py_typing

import numpy as np

from gopark.compiler.numba_api import (
    DUFunc,
    Intrinsic,
    UFuncDispatcher,
    dispatcher,
    numba,
    registrations,
    type_of_constant,
    types,
)
from gopark.compiler.structs import StructMeta

_EXACT_REPR = (type(None), bool, int, str, bytes, type(Ellipsis), range)
_WRAPPED = (staticmethod, classmethod, python_types.MethodType)


class _Namespace:
    def __init__(self, number, value):
        self.number, self.value, self.searched = number, value, 0  # searched: for how many of the names


class Fingerprint:
    """Of `roots`: functions, dispatchers, types. `hash`; `unknown`: what was met and not understood, or None;
    `changed`: whether something is not what it was when a fingerprint met it first."""

    def __init__(self, *roots):
        self.unknown: str | None = None
        self.changed = False
        self._numbers: dict[int, int] = {}  # of nodes, by id
        self._nodes: list = []  # by number
        self._waiting: collections.deque = collections.deque()  # nodes that were met and not yet described
        self._open: set[int] = set()  # containers that are being described
        self._names: dict[str, None] = {}
        self._namespaces: list[_Namespace] = []
        try:
            self.hash = _hash("\n".join(self._lines(roots)))
        except Exception as e:  # of an object that does not like to be looked at
            self.unknown, self.hash = f"{type(e).__name__}: {e}", ""

    def _lines(self, roots) -> list[str]:
        lines = [self._number(root) if inspect.isfunction(root) else self.describe(root) for root in roots]
        while self._waiting or self._namespaces_to_search():
            while self._waiting:
                lines.append(self._node(self._waiting.popleft()))
            for space in self._namespaces_to_search():
                lines += self._search(space)
        return lines

    def _namespaces_to_search(self) -> list[_Namespace]:
        return [space for space in self._namespaces if space.searched < len(self._names)]

    def _search(self, space: _Namespace) -> list[str]:
        """The attributes of `space` that go by one of the names that were met since the last time."""
        names = list(self._names)[space.searched :]
        space.searched += len(names)
        found = [(name, _attribute(space.value, name)) for name in sorted(names)]
        lines = {name: self.describe(value) for name, value in found if value is not _MISSING}
        for name, text in lines.items():
            self._compare(space.value, name, text)
        return [f"{space.number}.{name}={text}" for name, text in lines.items()]

    # ---- values

    def describe(self, value) -> str:
        """`value` in words: its contents, or the number of its node."""
        kind = type(value)
        if kind in _EXACT_REPR:
            if kind is str and value.isidentifier():
                self._names.setdefault(value)  # getattr(module, "LIMIT")
            return f"{kind.__name__} {value!r}"
        if kind in (float, complex):  # -0.0, and all kinds of NaN
            return f"{kind.__name__} {np.array(value).tobytes().hex()}"
        if isinstance(value, np.dtype) and not value.hasobject:
            return f"dtype {value!r}"
        if isinstance(value, (np.generic, np.ndarray)) and not value.dtype.hasobject:
            return _describe_array(value)
        if isinstance(value, (tuple, list, set, frozenset, dict)):
            return self._container(value)
        if isinstance(value, enum.Enum):
            return f"{self._number(kind)} {self.describe(value.value)}"
        if kind is slice:
            return f"slice {self.describe((value.start, value.stop, value.step))}"
        if kind is python_types.CodeType:
            return self._code(value)
        if kind in _WRAPPED:
            return f"{kind.__name__} {self.describe((value.__func__, getattr(value, '__self__', None)))}"
        if isinstance(value, types.Type):
            return self._type(value)
        if hasattr(kind, "__gopark_key__"):
            return value.__gopark_key__(self.describe)
        if hasattr(kind, "__gopark_type__"):  # go.Chan[T] and the like, as annotations spell them
            return f"{_name(kind)} {self.describe(vars(value))}"
        if py_typing.get_origin(value) is not None:  # tuple[int, T]
            return f"alias {self.describe((py_typing.get_origin(value), py_typing.get_args(value)))}"
        if kind is not StructMeta and _is_named(value) and _known_by_name(value):
            return f"{kind.__name__} {_name(value)}"
        return self._number(value)

    def _container(self, value) -> str:
        if id(value) in self._open:
            return "itself"
        self._open.add(id(value))
        kind = type(value)
        if isinstance(value, dict):
            inner = [f"{self.describe(k)}: {self.describe(v)}" for k, v in value.items()]
        else:
            inner = [self.describe(v) for v in value]
        if isinstance(value, (set, frozenset)):
            inner.sort()
            if any(_REFERENCE.search(text) for text in inner):  # nodes got their numbers in no order
                self._give_up(value)
        self._open.discard(id(value))
        fields = getattr(kind, "_fields", "")  # of a named tuple
        return f"{_name(kind)}{fields}[{', '.join(inner)}]"

    def _type(self, ty: types.Type) -> str:
        """A Numba type: its name, and whatever it refers to."""
        if isinstance(ty, types.Dispatcher):
            return f"dispatcher {self.describe(ty.dispatcher)}"
        if isinstance(ty, types.Omitted):
            return f"omitted {self.describe(ty.value)}"
        if isinstance(ty, types.BaseTuple):
            return f"{_name(type(ty))} {self.describe((getattr(ty, 'instance_class', None), *ty.types))}"
        if id(ty) in self._open:
            return "itself"
        self._open.add(id(ty))
        parts = self._named((k, v) for k, v in sorted(vars(ty).items()) if not k.startswith("_") and k != "name")
        self._open.discard(id(ty))
        return f"{_name(type(ty))} {_ADDRESS.sub('', str(ty))} {parts}"

    def _named(self, values) -> str:
        return ", ".join(f"{name}={self.describe(value)}" for name, value in values)

    def _code(self, code) -> str:
        constants = [self.describe(c) for c in code.co_consts]
        for name in code.co_names:
            self._names.setdefault(name)
        parts = (
            code.co_filename,
            code.co_firstlineno,
            code.co_qualname,
            code.co_flags,
            (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount),
            (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars),
            (code.co_code, code.co_linetable, code.co_exceptiontable),
            constants,
        )
        return f"code {hashlib.sha256(repr(parts).encode(errors='surrogatepass')).hexdigest()}"

    # ---- nodes

    def _number(self, value) -> str:
        number = self._numbers.get(id(value))
        if number is None:
            number = self._numbers[id(value)] = len(self._numbers)
            self._nodes.append(value)
            self._waiting.append(value)
        return f"\0{number}\0"  # a zero byte is in no other text: repr escapes it

    def _node(self, value) -> str:
        if isinstance(value, python_types.FunctionType):
            text = self._function(value)
        elif isinstance(value, (dispatcher.Dispatcher, UFuncDispatcher)):
            options = [sorted(given.items()) for given in (value.targetoptions, value.locals)]
            text = f"dispatcher {_name(type(value))} {self._number(value.py_func)} {self.describe(options)}"
        elif isinstance(value, DUFunc):
            text = f"vectorized {value.identity} {self.describe(value._dispatcher)}"
        elif isinstance(value, Intrinsic):
            text = f"intrinsic {self.describe(value._defn)}"
        elif isinstance(value, StructMeta):
            text = self._struct(value)
        elif isinstance(value, type):
            text = f"class {_name(value)} {getattr(value, '_fields', '')}"
            if isinstance(value, enum.EnumMeta):
                text += self._named((name, member.value) for name, member in value.__members__.items())
            self._namespace(value)
        else:
            text = f"{_name(value) if _is_named(value) else ''} {self.describe(type(value))}"
            self._namespace(value)
        self._compare(value, "", text)
        return f"{self._number(value)} is {text}"

    def _function(self, f) -> str:
        pragmas = sorted(getattr(f, "__gopark_pragmas__", ()))
        frozen = [(name, f.__globals__[name]) for name in sorted(_globals_of(f.__code__)) if name in f.__globals__]
        frozen += zip(f.__code__.co_freevars, map(_contents, f.__closure__ or ()), strict=True)
        defaults = self.describe((f.__defaults__, f.__kwdefaults__))
        return f"function {_name(f)} {self._code(f.__code__)} {pragmas} {defaults} {self._named(frozen)}"

    def _struct(self, struct: StructMeta) -> str:
        kind = (struct.size, struct.alignment, struct._notinheap, struct._embedded)
        return f"struct {struct.symbol_name} {kind} {self._named(struct.fields.items())}"

    def _namespace(self, value) -> None:
        """`value` is to compiled code what its attributes are."""
        ty = None if inspect.ismodule(value) else type_of_constant(value)
        if ty is not None and not isinstance(ty, _MADE_OF_ATTRIBUTES):
            self._give_up(value)
        self._namespaces.append(_Namespace(self._numbers[id(value)], value))

    def _compare(self, owner, name: str, text: str) -> None:
        """What code was compiled from stays in it. If that has changed since, the code compiled next, which inlines
        it, is made of two states of the program; no key says so."""
        here = hash(_REFERENCE.sub(lambda found: str(id(self._nodes[int(found[1])])), text))
        _, first = _first_met.setdefault((id(owner), name), (owner, here))
        self.changed |= here != first

    def _give_up(self, value) -> None:
        self.unknown = self.unknown or _name(value if isinstance(value, type) else type(value))


_ADDRESS = re.compile(" at 0x[0-9a-f]+")  # in names of types
_REFERENCE = re.compile("\0(\\d+)\0")
_first_met: dict[tuple[int, str], tuple[object, int]] = {}  # by owner and attribute: the owner, and a hash

# The Numba types of what says no more than its name and its attributes do.
_MADE_OF_ATTRIBUTES = (types.EnumClass, types.NamedTupleClass, types.ExceptionClass, types.Function)


# ---- what there is to say about one value


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def _name(value) -> str:
    return value.__name__ if inspect.ismodule(value) else f"{getattr(value, '__module__', None)}.{value.__qualname__}"


def _is_named(value) -> bool:
    """Whether it says where it is: a function, class or module, or what passes itself off as one."""
    return inspect.ismodule(value) or isinstance(getattr(value, "__qualname__", None), str)


def _known_by_name(value) -> bool:
    """Whether a function, class or module is a matter of installed versions: part of the key anyway."""
    name = value.__name__ if inspect.ismodule(value) else getattr(value, "__module__", None)
    if name is None:  # made in C, or by exec, as Numba does
        return not inspect.isfunction(value) or value.__code__.co_filename.startswith(_NUMBA)
    # one unit of the runtime is not rebuilt for every change of another
    return _is_installed(name.partition(".")[0]) and not name.startswith("gopark.runtime.")


_NUMBA = os.path.dirname(numba.__file__) + os.sep


@functools.cache
def _is_installed(package: str) -> bool:
    if package in ("gopark", "llvmlite", "numba", "numpy", *sys.builtin_module_names):
        return True
    if package not in sys.stdlib_module_names:
        return False
    file = getattr(sys.modules.get(package), "__file__", None)  # a program may have a queue.py of its own
    return file is None or file.startswith(os.path.dirname(os.__file__) + os.sep)


def _describe_array(value: np.ndarray | np.generic) -> str:
    text = f"{_name(type(value))} {value.dtype!r}"
    if isinstance(value, np.ndarray):
        flags = [value.flags[name] for name in ("C", "F", "ALIGNED", "WRITEABLE")]
        text += f" {value.shape} {value.strides} {flags}"
    return f"{text} {hashlib.sha256(value.tobytes()).hexdigest()}"


@functools.cache
def _globals_of(code) -> frozenset[str]:
    """The names that `code` and the functions inside it load as globals. Among `co_names` are attributes too; what a
    script calls `x` is no concern of a function that says `point.x`."""
    own = {i.argval for i in dis.get_instructions(code) if i.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    return frozenset(own.union(*[_globals_of(inner) for inner in code.co_consts if inspect.iscode(inner)]))


_MISSING = object()


def _attribute(space, name: str):
    """`space.name`, without running a property."""
    if inspect.ismodule(space):
        return getattr(space, name, _MISSING)  # as Numba asks: a module may have a __getattr__
    found = inspect.getattr_static(space, name, _MISSING)
    return getattr(space, name, _MISSING) if inspect.ismemberdescriptor(found) else found


# ---- extensions of Numba


class _Extensions:
    """The functions with which the program extends Numba, as of the last look."""

    def __init__(self):
        self.seen: list[int] = [0] * len(registrations())  # of each registry, how many of its entries
        self.functions: list[python_types.FunctionType] = []
        self.fingerprint = Fingerprint()

    def look(self) -> None:
        new = []
        for i, registry in enumerate(registrations()):
            if len(registry) > self.seen[i]:
                entries = list(registry.items() if isinstance(registry, dict) else registry)
                new += _functions_in(entries[self.seen[i] :])
                self.seen[i] = len(registry)
        new = [f for f in dict.fromkeys(new) if f not in self.functions]
        if new:
            self.functions += new
            self.functions.sort(key=lambda f: (str(f.__module__), f.__qualname__, f.__code__.co_firstlineno))
            self.fingerprint = Fingerprint(*self.functions)


_extensions: _Extensions | None = None


def extensions() -> str | None:
    """Hash of all code with which the program extends Numba; None if something of it is not understood."""
    global _extensions
    if _extensions is None:
        _extensions = _Extensions()
    _extensions.look()
    return None if _extensions.fingerprint.unknown else _extensions.fingerprint.hash


def _functions_in(entries: list) -> list[python_types.FunctionType]:
    """The program's functions in entries of registries: tuples, classes of callbacks, functions that wrap others."""
    todo, seen, found = list(entries), {}, []
    while todo:
        thing = todo.pop()
        if id(thing) in seen:
            continue
        seen[id(thing)] = thing
        if isinstance(thing, python_types.FunctionType):
            if _known_by_name(thing):
                todo += map(_contents, thing.__closure__ or ())
            else:
                found.append(thing)
        elif isinstance(thing, (tuple, list)):
            todo += thing
        elif isinstance(thing, (staticmethod, classmethod)):
            todo.append(thing.__func__)
        elif isinstance(thing, type):
            todo += [part for part in vars(thing).values() if isinstance(part, _CALLED)]
    return found


_CALLED = (python_types.FunctionType, staticmethod, classmethod)


def _contents(cell):
    try:
        return cell.cell_contents
    except ValueError:
        return None  # not yet bound: what it will be cannot be called yet either
