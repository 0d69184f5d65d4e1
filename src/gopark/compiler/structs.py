"""`@struct`: an annotated class becomes a type of memory with a layout, a pointer map and typed fields.

The decorated class is rebuilt with the metaclass `StructMeta`. It is at once what the user names in annotations, the
description of the layout, and the constructor that compiled code calls. Annotations are evaluated lazily, the first
time somebody needs the layout, so that a struct may mention itself or one that is defined later.

Three Numba types stand for a struct in compiled code:

* `Pointer(S)` is a reference to a whole object: one machine word, `None` is nil. There is no Optional: `None` and a
  pointer unify to the pointer. A store of one is a *barrier event* (compiler/lower.py), whatever the target.
* `Embedded(S)` is an interior reference to an S that lies inside another object (`p.mu`). It serves as receiver, local
  and argument; it does not convert to `Pointer(S)`, so it can be neither stored, sent, spawned nor returned. The
  exception are structs that live outside the collected heap (`notinheap`): nobody frees those.
* `InlineArray(T, n)`, a field of n elements, evaluates to `ArrayRef`, which is indexed without bounds checks. It exists
  for the runtime's own structs; users get arrays of NumPy.

`notinheap` structs (G, M, P, sudogs ...) are never allocated by the collector. Their pointers raise the barrier event
like any other; shading the target just finds nothing to mark.

A *type descriptor* tells the allocator and, later, the collector about an object: size, which words are pointers, and
the index of its layout. Objects of equal layout share spans whatever their nominal type, so the index belongs to
(size, pointer words). Descriptors are data of this process behind stable symbols; cached code refers to the symbol, and
`ensure_descriptor` recreates the descriptor before such code is loaded.
"""

from __future__ import annotations

import ctypes
import importlib
import inspect
import sys
import threading
import typing as py_typing

import numpy as np

from gopark.compiler.numba_api import (
    Conversion,
    as_numba_type,
    errors,
    i8p,
    i64,
    lir,
    llb,
    models,
    register_model,
    size_and_alignment,
    target_context,
    typeof_impl,
    types,
)

# By module, qualified name and which definition under that name it is: cached code names its structs so.
STRUCTS: dict[tuple[str, str, int], StructMeta] = {}

PLAIN = {int: types.int64, float: types.float64, bool: types.boolean, complex: types.complex128}
_ALIGN_MINIMUM = 8


# ---- the Python side


class Border:
    """What Python may do with objects of the heap. The functions are bridge/handles.py's, which this layer cannot
    import."""

    construct = make_channel = get = set = describe = drop = None


class Held:
    """A *handle*: an object of the heap as Python holds it. The object lives as long as the handle."""

    __slots__ = ("__address", "__keeper", "__weakref__")  # as Python spells them, no field has such a name

    def __reduce__(self):
        raise TypeError(
            f"a {type(self).__name__} of the collected heap is a reference and cannot be pickled or copied. "
            f"Take out what you need"
        )

    def __repr__(self):
        return Border.describe(self)

    def __del__(self, border=Border):  # at the end of the interpreter globals may be gone
        border.drop(self)


# Where a handle says which object it stands for, and what keeps that alive: the address of an entry of the runtime's
# table of handles, or the handle of the object inside which this one lies.
ADDRESS, KEEPER = (Held.__dict__[f"_Held__{name}"] for name in ("address", "keeper"))


class Instance(Held):
    """Base of all structs. The attributes of an instance are the object's fields, whatever those are called."""

    __slots__ = ()

    def __getattribute__(self, name):
        if name in type(self).__annotations__:
            return Border.get(self, name)
        return object.__getattribute__(self, name)

    def __getattr__(self, name):
        return Border.get(self, name)

    def __setattr__(self, name, value):
        Border.set(self, name, value)

    def __delattr__(self, name):
        raise AttributeError(f"{type(self).__name__}.{name}: a field cannot be deleted; store zero or None in it")

    def __dir__(self):
        return [*type(self).__annotations__]


class StructMeta(type):
    """The metaclass of structs: a class of this kind describes memory, its instances live in the collected heap."""

    def __call__(cls, *args, **kwargs):
        return Border.construct(cls, args, kwargs)

    def __setattr__(cls, name, value):
        if name in cls.__dict__.get("__annotations__", ()) and not name.startswith("_"):
            raise AttributeError(f"{cls.__name__}.{name} is a field of instances; it cannot be set on the class")
        super().__setattr__(name, value)

    @property
    def fields(cls) -> dict[str, tuple[int, types.Type]]:
        """{name: (offset in bytes, Numba type)}, in order of declaration."""
        return _layout(cls)._fields

    @property
    def size(cls) -> int:
        """Bytes of one object, a multiple of its alignment."""
        return _layout(cls)._size

    @property
    def alignment(cls) -> int:
        return _layout(cls)._alignment

    @property
    def symbol_name(cls) -> str:
        """The name of the type in symbols: unique in the process, although a class may be defined again (a cell of a
        notebook that is run twice)."""
        number = cls._definition
        return f"{cls.__module__}.{cls.__qualname__}" + (f"#{number}" if number else "")


def struct(cls=None, *, notinheap=False, align=None, embedded=False):
    """Turn an annotated class into a struct: a type of objects in the collected heap, to which variables refer.

    A field may be an int, float, bool, complex, a NumPy scalar, a struct (a reference; its name in quotes, if it is
    defined later), `go.Chan[T]`, `go.List[T]`, `go.Mutex`, `go.WaitGroup`, or a tuple of plain ones and references.
    Calling the class makes an object, in go functions and in Python; a field that is not given is zero, or `None`.
    Raises TypeError for anything else that a class may have: a default value, a method, a base.

    Example:

        @go.struct
        class Point:
            x: float
            y: float


        @go.func
        def mirror(p):
            return Point(p.y, p.x)


        p = go.run(mirror, Point(1.0, y=2.0))
        p.y += 1
        print(p)  # Point(x=2.0, y=2.0)

    notinheap: objects live outside the collected heap.  align: {field: bytes} for fields that must start on a cache
    line of their own.  embedded: as a field of another struct this one is a value inside it, not a reference (Mutex).
    """
    frame = sys._getframe(1)

    def decorate(cls):
        if not isinstance(cls, type):
            raise TypeError(f"@struct decorates a class, not {cls!r}")
        if cls.__bases__ != (object,):
            raise TypeError(f"struct {cls.__name__}: inheritance is not supported; embed the other struct as a field")
        annotations = dict(cls.__dict__.get("__annotations__", {}))
        for name, value in cls.__dict__.items():
            if name in annotations:
                raise TypeError(f"struct {cls.__name__}.{name}: a field has no default value; a missing field is zero")
            if inspect.isfunction(value):
                raise TypeError(
                    f"struct {cls.__name__}.{name}: a struct has no methods; "
                    f"write a @go.func that takes it as an argument"
                )
        namespace = {
            "__slots__": (),
            "__annotations__": annotations,
            "__module__": cls.__module__,
            "__qualname__": cls.__qualname__,
            "__doc__": cls.__doc__,
            "_scope": (frame.f_globals, frame.f_locals),
            "_notinheap": notinheap,
            "_embedded": embedded,
            "_align": dict(align or {}),
        }
        number = 0
        while (cls.__module__, cls.__qualname__, number) in STRUCTS:
            number += 1
        made = StructMeta(cls.__name__, (Instance,), namespace | {"_definition": number})
        STRUCTS[made.__module__, made.__qualname__, number] = made
        as_numba_type.register(lambda t, made=made: Pointer(made) if t is made else None)
        return made

    return decorate if cls is None else decorate(cls)


class Embed:
    """`Embed[S]` in an annotation: the field *is* an S, not a reference to one.

    Example:

        @go.struct
        class Point:
            x: float
            y: float


        @go.struct
        class Box:
            low: go.Embed[Point]
            high: go.Embed[Point]


        box = Box()
        box.high.x = 3.0
        print(box.high.x - box.low.x)  # 3.0
    """

    def __init__(self, struct):
        self.struct = struct

    def __class_getitem__(cls, struct):
        return cls(struct)

    def __repr__(self):
        return f"Embed[{self.struct.__name__}]"


class Array:
    """`Array[T, n]` in an annotation of a runtime struct: n elements in place."""

    def __init__(self, element, count):
        self.element, self.count = element, count

    def __class_getitem__(cls, item):
        return cls(*item)


# ---- from annotations to types


def resolve(annotation, where: str, scope=({}, {})) -> types.Type:
    """The Numba type of what a slot annotated so holds. `where` names the slot in errors."""
    for _ in range(2):  # a quoted name under `from __future__ import annotations` is a string in a string
        if isinstance(annotation, str):
            try:
                annotation = eval(annotation, dict(scope[0]), dict(scope[1]))
            except (NameError, SyntaxError) as e:
                raise TypeError(f"{where}: {e} (annotation {annotation!r})") from None
    if annotation in PLAIN:
        return PLAIN[annotation]
    if isinstance(annotation, StructMeta):
        return Embedded(annotation) if annotation._embedded else Pointer(annotation)
    if isinstance(annotation, Embed):
        if not isinstance(annotation.struct, StructMeta):
            raise TypeError(f"{where}: Embed[...] takes a struct, not {annotation.struct!r}")
        return Embedded(annotation.struct)
    if isinstance(annotation, Array):
        return InlineArray(resolve(annotation.element, where, scope), annotation.count)
    if hasattr(annotation, "__gopark_type__"):
        return annotation.__gopark_type__(lambda inner: resolve(inner, where, scope))
    if isinstance(annotation, types.Type):
        return annotation
    if isinstance(annotation, type) and issubclass(annotation, np.generic):
        return _numpy_scalar(annotation, where)
    if py_typing.get_origin(annotation) is tuple:
        return types.Tuple([resolve(a, where, scope) for a in py_typing.get_args(annotation)])
    raise TypeError(f"{where}: {unusable(annotation)}")


def _numpy_scalar(annotation, where):
    from gopark.compiler.numba_api import numba

    try:
        return numba.from_dtype(np.dtype(annotation))
    except (NotImplementedError, errors.NumbaNotImplementedError, errors.NumbaError):
        raise TypeError(f"{where}: NumPy's {annotation.__name__} is not supported in a slot") from None


def unusable(thing) -> str:
    """Why `thing` (an annotation or a Numba type) is no type of a slot, and what to use."""
    usable = (
        "A slot holds int, float, bool, complex, NumPy scalars, structs, go.Chan, go.List, go.Mutex, go.WaitGroup and "
        "tuples of these"
    )
    if isinstance(thing, types.Array) or thing is np.ndarray or py_typing.get_origin(thing) is np.ndarray:
        return (
            "arrays in struct fields, in channels and behind pointers are not supported yet. "
            "Arrays work as locals, arguments and arguments of go.spawn: pass it to the goroutine that needs it"
        )
    if isinstance(thing, (types.UnicodeType, types.StringLiteral)) or thing is str:
        return (
            "str in struct fields, in channels and behind pointers is not supported yet. "
            "Strings work as locals, arguments and arguments of go.spawn"
        )
    if thing in (list, dict, set) or isinstance(thing, (types.List, types.Set, types.ListType, types.DictType)):
        return f"{thing if isinstance(thing, types.Type) else thing.__name__} cannot be held in a slot. {usable}"
    name = thing if isinstance(thing, types.Type) else repr(thing)
    return f"{name} cannot be held in a slot. {usable}"


def slot_problem(ty: types.Type) -> str | None:
    """Why a value of the Numba type `ty` cannot lie in the collected heap; None if it can."""
    if isinstance(ty, (types.Integer, types.Float, types.Complex, types.Boolean, types.NPDatetime, types.NPTimedelta)):
        return None
    if is_gc_pointer(ty) or isinstance(ty, InlineArray):
        return None
    if isinstance(ty, Embedded):
        return None
    if isinstance(ty, types.BaseTuple):
        for element in ty.types:
            if isinstance(element, Embedded):
                return f"a tuple cannot hold the value {element.struct.__name__} itself; make it a field of its own"
            problem = slot_problem(element)
            if problem:
                return problem
        return None
    return unusable(ty)


# ---- layout


def _layout(cls: StructMeta) -> StructMeta:
    if "_fields" in cls.__dict__:
        return cls
    offset, alignment, fields = 0, _ALIGN_MINIMUM, {}
    for name, annotation in cls.__annotations__.items():
        where = f"struct {cls.__qualname__}.{name}"
        scope = (cls._scope[0], {**cls._scope[1], cls.__name__: cls})
        ty = resolve(annotation, where, scope)
        problem = slot_problem(ty) if not cls._notinheap else None
        if problem:
            raise TypeError(f"{where}: {problem}")
        if isinstance(ty, Embedded):
            if ty.struct is cls:
                raise TypeError(f"{where}: a struct cannot contain itself as a value")
            size, natural = ty.struct.size, ty.struct.alignment
        else:
            size, natural = size_and_alignment(ty)
        natural = max(natural, cls._align.get(name, 1))
        offset = (offset + natural - 1) & -natural
        fields[name] = (offset, ty)
        offset += size
        alignment = max(alignment, natural)
    type.__setattr__(cls, "_size", max((offset + alignment - 1) & -alignment, _ALIGN_MINIMUM))
    type.__setattr__(cls, "_alignment", alignment)
    type.__setattr__(cls, "_fields", fields)
    return cls


def _align_up(n: int, a: int) -> int:
    return (n + a - 1) & -a


def pointer_offsets(ty: types.Type, base: int = 0) -> list[int]:
    """Byte offsets of the words of a value of `ty` that the collector follows."""
    if is_gc_pointer(ty):
        return [] if isinstance(ty, Pointer) and ty.struct._notinheap else [base]
    if isinstance(ty, Embedded):
        return [o for off, t in ty.struct.fields.values() for o in pointer_offsets(t, base + off)]
    if isinstance(ty, InlineArray):
        step = ty.dtype.struct.size if isinstance(ty.dtype, Embedded) else size_and_alignment(ty.dtype)[0]
        return [o for i in range(ty.count) for o in pointer_offsets(ty.dtype, base + i * step)]
    if isinstance(ty, types.BaseTuple):
        return [o for element, offset in tuple_layout(ty) for o in pointer_offsets(element, base + offset)]
    return []


def tuple_layout(ty: types.BaseTuple) -> list[tuple[types.Type, int]]:
    """(type, offset in bytes) of each element of a tuple as it lies in memory."""
    found, offset = [], 0
    for element in ty.types:
        size, natural = size_and_alignment(element)
        offset = _align_up(offset, natural)
        found.append((element, offset))
        offset += size
    return found


# ---- the Numba types


def find_struct(module: str, qualname: str, number: int) -> StructMeta:
    """The struct of that name, of several the one that was defined so late; imports its module if need be. Raises
    KeyError if it is gone."""
    if (module, qualname, number) not in STRUCTS and module != "__main__":
        importlib.import_module(module)
    return STRUCTS[module, qualname, number]


def name_of(struct: StructMeta) -> tuple[str, str, int]:
    """What find_struct finds it by."""
    return struct.__module__, struct.__qualname__, struct._definition


class Ref(types.Hashable):
    """Base of the references to a struct."""

    prefix = "Ref"

    def __init__(self, struct: StructMeta):
        self.struct = struct
        super().__init__(name=f"{self.prefix}[{struct.symbol_name}]")

    @property
    def key(self):
        return type(self), self.struct

    @property
    def mangling_args(self):
        return self.name, ()

    def __reduce__(self):
        return _make_ref, (type(self), *name_of(self.struct))


def _make_ref(cls, module, qualname, number):
    return cls(find_struct(module, qualname, number))


class Nillable:
    """Mixed into types of one word whose nil is `None`: no Optional is ever made of them."""

    bitwidth = -1  # Numba's unification sorts on it: pointers come before none
    go_pointer = True

    def can_convert_from(self, typingctx, other):
        return Conversion.safe if isinstance(other, types.NoneType) else None

    def unify(self, typingctx, other):
        if isinstance(other, types.NoneType) or (isinstance(other, types.Optional) and other.type == self):
            return self
        return None

    def cast_python_value(self, value):
        return value


class Pointer(Nillable, Ref):
    """A reference to a whole object; `None` is nil."""

    prefix = "Pointer"

    def can_convert_from(self, typingctx, other):
        if isinstance(other, Embedded) and other.struct is self.struct and self.struct._notinheap:
            return Conversion.safe
        return super().can_convert_from(typingctx, other)


class Embedded(Ref):
    """A reference to a struct that lies inside another object."""

    prefix = "Embedded"


# `none.unify(Pointer)` must give the pointer, not Optional(Pointer): the one patch of Numba's own types. A type that
# sets `go_pointer` represents nil itself.
_none_unify = types.NoneType.unify


def _unify_with_none(self, typingctx, other):
    return other if getattr(other, "go_pointer", False) else _none_unify(self, typingctx, other)


types.NoneType.unify = _unify_with_none


class InlineArray(types.Type):
    """The type of a field that holds `count` elements in place."""

    def __init__(self, dtype, count):
        self.dtype, self.count = dtype, count
        super().__init__(name=f"InlineArray({dtype}, {count})")


class ArrayRef(types.Type):
    """What an `InlineArray` field evaluates to: a reference to its first element."""

    def __init__(self, array: InlineArray):
        self.array = array
        super().__init__(name=f"ArrayRef({array.dtype}, {array.count})")


class StructClass(types.Callable, types.Opaque):
    """The class itself, as a value in compiled code: calling it constructs (typing in types/struct.py)."""

    def __init__(self, struct):
        self.struct = struct
        super().__init__(name=f"StructClass[{struct.symbol_name}]")

    @property
    def key(self):
        return self.struct

    def __reduce__(self):
        return _make_ref, (StructClass, *name_of(self.struct))

    def get_call_signatures(self):
        return (), True

    def get_impl_key(self, sig):
        return type(self), self.struct

    def get_call_type(self, context, args, kws):
        if CONSTRUCTOR is None:
            raise errors.TypingError(f"{self.struct.__name__}(...): structs of the runtime are not constructed so")
        return CONSTRUCTOR(self, context, args, kws)


CONSTRUCTOR = None  # set by types/struct.py: the runtime below it allocates by hand


def is_gc_pointer(ty: types.Type) -> bool:
    """Whether a value of `ty` is one word that points to an object: a struct pointer, a channel ..."""
    return getattr(ty, "go_pointer", False)


def holds_pointers(ty: types.Type) -> bool:
    """Whether a value of `ty` holds a pointer to an object, at any depth."""
    if isinstance(ty, types.Optional):
        return holds_pointers(ty.type)
    return is_gc_pointer(ty) or (isinstance(ty, types.BaseTuple) and any(map(holds_pointers, ty.types)))


@register_model(Pointer)
@register_model(Embedded)
@register_model(ArrayRef)
class _ReferenceModel(models.PrimitiveModel):
    """One real LLVM pointer, not an integer: LLVM keeps its alias analysis."""

    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, i8p)


register_model(StructClass)(models.OpaqueModel)


def element_data_type(array: InlineArray):
    """The LLVM type of one element of an inline array as it lies in memory."""
    if isinstance(array.dtype, Embedded):
        return struct_words(array.dtype.struct)
    return target_context().get_data_type(array.dtype)


@register_model(InlineArray)
class _InlineArrayModel(models.DataModel):
    def get_value_type(self):
        return lir.ArrayType(element_data_type(self._fe_type), self._fe_type.count)

    get_data_type = get_value_type


@typeof_impl.register(StructMeta)
def _typeof_struct_class(value, c):
    return StructClass(value)


# ---- descriptors


class Descriptor:
    """What the allocator knows about a kind of object or element. `address` is that of a `runtime2.Type` record."""

    WORDS = 8  # layout, size, pointer words, mask, address of a longer mask, name, 2 spare

    def __init__(self, symbol: str, name: str, size: int, offsets: list[int]):
        self.symbol, self.name, self.size = symbol, name, size
        words = [o // 8 for o in offsets]
        span = max(words, default=-1) + 1
        masks = [0] * max(1, (span + 63) // 64)
        for w in words:
            masks[w // 64] |= 1 << (w % 64)
        self._mask = (ctypes.c_uint64 * len(masks))(*masks)
        self._name = ctypes.create_string_buffer(name.encode())
        self._record = (ctypes.c_uint64 * self.WORDS)(
            layout_index(size, tuple(masks) if span else ()),
            size,
            span,
            masks[0],
            ctypes.addressof(self._mask),
            ctypes.addressof(self._name),
        )
        self.address = ctypes.addressof(self._record)
        llb.add_symbol(symbol, self.address)


MAX_LAYOUTS = 4096
_layouts: dict[tuple, int] = {}
_descriptors: dict[str, Descriptor] = {}
_lock = threading.Lock()


def layout_index(size: int, masks: tuple[int, ...]) -> int:
    """Index of a layout in every allocation cache of this process."""
    index = _layouts.setdefault((size, masks), len(_layouts))
    if index >= MAX_LAYOUTS:
        raise MemoryError(f"more than {MAX_LAYOUTS} different object layouts in one process")
    return index


def object_symbol(struct: StructMeta) -> str:
    return f"go.type.{struct.symbol_name}"


def value_symbol(ty: types.Type) -> str:
    return f"go.type.value.{ty}"


def ensure_descriptor(kind: str, ty: types.Type) -> Descriptor:
    """The descriptor of ("object", Pointer(S)): what such a pointer refers to; of ("value", T): a value of T in
    memory."""
    symbol = object_symbol(ty.struct) if kind == "object" else value_symbol(ty)
    with _lock:
        found = _descriptors.get(symbol)
        if found is None:
            if kind == "object":
                s = ty.struct
                offsets = [o for off, t in s.fields.values() for o in pointer_offsets(t, off)]
                found = Descriptor(symbol, s.__qualname__, s.size, offsets)
            else:
                found = Descriptor(symbol, str(ty), size_and_alignment(ty)[0], pointer_offsets(ty))
            _descriptors[symbol] = found
        return found


# ---- storage of the runtime's globals


class Var:
    """`sched = var(Sched, "go.sched")`: in compiled code a `Pointer[Sched]` to storage behind a data symbol."""

    ALL: dict[str, Var] = {}

    def __init__(self, struct, symbol):
        self.struct, self.symbol, self.address = struct, symbol, 0
        Var.ALL[symbol] = self

    def __repr__(self):
        return f"<var {self.symbol}: {self.struct.__name__}>"

    def __gopark_key__(self, describe):
        return f"var {self.symbol} {describe(self.struct)}"


def var(struct: StructMeta, symbol: str) -> Var:
    """Declare storage for one `struct` in the image, reachable as a plain Python global of runtime modules."""
    return Var(struct, symbol)


@typeof_impl.register(Var)
def _typeof_var(value, c):
    return Pointer(value.struct)


def var_reference(module: lir.Module, v: Var):
    """The address of `v`'s storage, by symbol, as an i8*."""
    g = module.globals.get(v.symbol)
    if g is None:
        g = lir.GlobalVariable(module, lir.IntType(8), v.symbol)
        g.align = 64
    return g


def struct_words(struct: StructMeta) -> lir.ArrayType:
    """The LLVM type of one `struct` in place."""
    return lir.ArrayType(i64, struct.size // 8)
