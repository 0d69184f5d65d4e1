"""`go.List[T]` in compiled code: a list of the collected heap, over runtime/slice.py.

A list is one word, a reference to an object that holds length, capacity and buffer; every reference sees the same list,
as in Python. `None` is the nil list: empty to read, NilPointerError to write. Elements are read and written inline,
behind a check of the index; what moves elements is a call of the runtime, and what can be said in Python on top of
these is said in Python, at the end of this file.

Numba's own lists cannot hold pointers to objects (compiler/func.py refuses them): the collector does not scan them.
"""

from __future__ import annotations

import operator

from gopark.compiler import lower, structs
from gopark.compiler.names import did_you_mean
from gopark.compiler.numba_api import (
    AbstractTemplate,
    AttributeTemplate,
    RefType,
    bound_function,
    cgutils,
    const,
    errors,
    i8p,
    i64,
    infer_getattr,
    infer_global,
    intrinsic,
    iternext_impl,
    lir,
    lower_builtin,
    models,
    overload,
    overload_method,
    register_model,
    signature,
    size_and_alignment,
    typeof_impl,
    types,
)
from gopark.runtime import slice as runtime
from gopark.types.chan import Alias, Container, ContainerIterator, ElementSpec
from gopark.types.struct import descriptor, raise_out_of_memory

LEN, CAP, BUF = (runtime.List.fields[name][0] for name in ("len", "cap", "buf"))


# ---- the Python side


class List(Alias):
    """`List[T]`: a list of T in the collected heap. `go.List[int]()` makes an empty one, inside a @go.func.

    T may be anything a slot may hold. An alias at module level (`Ints = go.List[int]`) names the type in annotations
    and constructs in compiled code: `Ints()`. There are append, extend, insert, pop, remove, index, count, reverse,
    sort, copy, clear, len, `in`, `==`, indices (negative ones too), slices, del and iteration, as with Python's list:
    IndexError for an index that is not there, ValueError for a value that is not there. Nothing of it blocks.

    A list is a reference, like a struct; `None` is the nil list, which reads as empty and raises NilPointerError when
    written to. Goroutines that share a list take turns by a channel or a Mutex; without that a change may be lost.

    Example:

        Ints = go.List[int]


        @go.func
        def main():
            numbers = Ints()
            for n in (3, 1, 2):
                numbers.append(n)
            numbers.sort()
            last = numbers.pop()
            return numbers[0], last, len(numbers)


        print(go.run(main))  # (1, 3, 2)
    """

    def __gopark_type__(self, resolve):
        return ListType(resolve(self.element))

    @classmethod
    def named(cls, element):
        return ListClass(element)

    def __call__(self):
        raise TypeError(f"go.{self}() makes a list inside a @go.func; Python cannot hold one yet")


class ListIterator(ContainerIterator):
    pass


class ListType(Container):
    pattern, iterator = "List[{}]", ListIterator


class ListClass(types.Callable, ElementSpec):
    """`go.List[T]` as a value in compiled code: calling it constructs."""

    def __init__(self, element):
        self.made = ListType(element)
        super().__init__(self.made)

    def get_call_signatures(self):
        return (), True

    def get_impl_key(self, sig):
        return ListClass

    def get_call_type(self, context, args, kws):
        lower.require_go(context, f"go.{self.made}()")
        if args or kws:
            raise errors.TypingError(f"go.{self.made}() takes no arguments; extend() adds what is in another")
        problem = structs.slot_problem(self.made.dtype)
        if problem:
            raise errors.TypingError(f"go.List: {problem}")
        return signature(self.made)


@register_model(ListType)
class _ListModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, i8p)


@register_model(ListIterator)
class _IteratorModel(models.StructModel):
    def __init__(self, dmm, fe_type):
        members = [("container", fe_type.container), ("index", types.EphemeralPointer(types.int64))]
        super().__init__(dmm, fe_type, members)


register_model(ListClass)(models.OpaqueModel)
lower.declare_nillable(ListType, by_identity=False)


@typeof_impl.register(List)
def _typeof_alias(value, c):
    return ListClass(structs.resolve(value.element, "element type"))


@lower_builtin(ListClass, types.VarArg(types.Any))
def _make(context, b, sig, args):
    element = sig.return_type.dtype
    return _or_no_memory(context, b, "go.makelist", [descriptor(context, b, "value", element)], runtime.List.size)


def _or_no_memory(context, b, symbol, arguments, size):
    made = lower.call_runtime(context, b, symbol, i8p, arguments)
    with b.if_then(cgutils.is_null(b, made), likely=False):
        raise_out_of_memory(context, b, size if isinstance(size, lir.Value) else const(size))
    return made


# ---- words of a list, and elements


def _word(b, value, offset):
    """A word of the list, loaded before what is loaded behind it: slice.py, LI1."""
    return b.load_atomic(b.bitcast(b.gep(value, [const(offset)]), i64.as_pointer()), "acquire", 8)


def _set_length(b, value, n):
    b.store_atomic(n, b.bitcast(b.gep(value, [const(LEN)]), i64.as_pointer()), "release", 8)


def _length(b, value):
    """The length; 0 for the nil list."""
    result = cgutils.alloca_once_value(b, const(0))
    with b.if_then(cgutils.is_not_null(b, value)):
        b.store(_word(b, value, LEN), result)
    return b.load(result)


def _element(context, b, ty, value, index):
    """The address of the element in the list's buffer, typed as its data."""
    buffer = b.inttoptr(_word(b, value, BUF), context.get_data_type(ty.dtype).as_pointer())
    return b.gep(buffer, [index])


def _checked(context, b, value, index):
    """The index from the front; raises IndexError if there is no such element."""
    n = _length(b, value)
    index = b.select(b.icmp_signed("<", index, const(0)), b.add(index, n), index)
    with b.if_then(b.icmp_unsigned(">=", index, n), likely=False):
        lower.raise_here(context, b, IndexError, "list index out of range")
    return index


def _put(context, b, ty, value, index, element):
    slot = _element(context, b, ty, value, index)
    lower.store_with_event(context, b, ty.dtype, element, slot, f"[]{ty.dtype}")


def check_element(context, ty: ListType, given, what: str) -> None:
    lower.refuse_interior(given, f"putting it into a {ty}")
    if not lower.convertible(context, given, ty.dtype):
        raise errors.TypingError(f"{what}: {given} cannot be an element of {ty}")


@infer_global(len)
class _Length(AbstractTemplate):
    def generic(self, args, kws):
        return signature(types.int64, *args) if len(args) == 1 and isinstance(args[0], ListType) else None


@lower_builtin(len, ListType)
def _lower_length(context, b, sig, args):
    return _length(b, args[0])


lower.declare_truth(ListType, lambda b, value: b.icmp_signed("!=", _length(b, value), const(0)))


@infer_global(operator.getitem)
class _GetItem(AbstractTemplate):
    def generic(self, args, kws):
        if isinstance(args[0], ListType) and isinstance(args[1], types.Integer):
            return signature(args[0].dtype, args[0], types.int64)
        return None


@lower_builtin(operator.getitem, ListType, types.int64)
def _get(context, b, sig, args):
    index = _checked(context, b, *args)
    return context.unpack_value(b, sig.return_type, _element(context, b, sig.args[0], args[0], index))


@infer_global(operator.setitem)
class _SetItem(AbstractTemplate):
    def generic(self, args, kws):
        if isinstance(args[0], ListType) and isinstance(args[1], types.Integer):
            check_element(self.context, args[0], args[2], "list[i] = value")
            return signature(types.none, args[0], types.int64, args[0].dtype)
        return None


@lower_builtin(operator.setitem, ListType, types.int64, types.Any)
def _set(context, b, sig, args):
    value, index, element = args
    lower.check_nil(context, b, value, "setting an element")
    _put(context, b, sig.args[0], value, _checked(context, b, value, index), element)
    return context.get_dummy_value()


# ---- iteration


@lower_builtin("getiter", ListType)
def _iterate(context, b, sig, args):
    iterator = cgutils.create_struct_proxy(sig.return_type)(context, b)
    iterator.container = args[0]
    iterator.index = cgutils.alloca_once_value(b, const(0))
    b.store(const(0), iterator.index)
    return iterator._getvalue()


@lower_builtin("iternext", ListIterator)
@iternext_impl(RefType.BORROWED)
def _next(context, b, sig, args, result):
    ty = sig.args[0].container
    iterator = cgutils.create_struct_proxy(sig.args[0])(context, b, value=args[0])
    index = b.load(iterator.index)
    valid = b.icmp_signed("<", index, _length(b, iterator.container))
    result.set_valid(valid)
    with b.if_then(valid):
        result.yield_(context.unpack_value(b, ty.dtype, _element(context, b, ty, iterator.container, index)))
        b.store(b.add(index, const(1)), iterator.index)


# ---- methods


_METHODS = "append clear copy count extend index insert pop remove reverse sort".split()


@infer_getattr
class _ListAttributes(AttributeTemplate):
    key = ListType

    @bound_function("go.list.append")
    def resolve_append(self, ty, args, kws):
        if len(args) != 1 or kws:
            raise errors.TypingError(f"{ty}.append(value) takes one argument")
        check_element(self.context, ty, args[0], "append")
        return signature(types.none, ty.dtype)

    def generic_resolve(self, ty, name):
        if name in _METHODS:
            return None  # an overload, below
        raise errors.TypingError(
            f"{ty} has no {name!r} (there are {', '.join(_METHODS)}){did_you_mean(name, _METHODS)}"
        )


@lower_builtin("go.list.append", ListType, types.Any)
def _append(context, b, sig, args):
    ty = sig.args[0]
    value, element = args
    lower.check_nil(context, b, value, "append")
    again, room = b.append_basic_block("append"), b.append_basic_block("append.room")
    b.branch(again)
    b.position_at_end(again)
    n = _word(b, value, LEN)
    with b.if_then(b.icmp_signed(">=", n, _word(b, value, CAP)), likely=False):
        _grow(context, b, ty, value, const(1))
        b.branch(again)  # somebody else may have used the room
    b.branch(room)
    b.position_at_end(room)
    _put(context, b, ty, value, n, element)
    _set_length(b, value, b.add(n, const(1)))
    return context.get_dummy_value()


def _grow(context, b, ty, value, more):
    _unless_zero(context, b, ty, lower.call_runtime(context, b, "go.growslice", i64, [value, more]), value)


def _unless_zero(context, b, ty, done, value):
    with b.if_then(b.icmp_signed("==", done, const(0)), likely=False):
        size = const(2 * size_and_alignment(ty.dtype)[0])
        raise_out_of_memory(context, b, b.mul(size, _length(b, value)))


# What the overloads below are made of. The caller has looked at the indices.


@intrinsic
def _opengap(typingctx, container, i, n):
    def codegen(context, b, sig, args):
        lower.check_nil(context, b, args[0], "a change")
        done = lower.call_runtime(context, b, "go.opengap", i64, list(args))
        _unless_zero(context, b, sig.args[0], done, args[0])
        return context.get_dummy_value()

    return types.none(container, types.int64, types.int64), codegen


@intrinsic
def _closegap(typingctx, container, i, n):
    def codegen(context, b, sig, args):
        lower.call_runtime(context, b, "go.closegap", i8p, list(args))
        return context.get_dummy_value()

    return types.none(container, types.int64, types.int64), codegen


@intrinsic
def _copyslice(typingctx, container, start, step, n):
    def codegen(context, b, sig, args):
        value, *range_of = args
        dtype = sig.return_type.dtype
        arguments = [value, descriptor(context, b, "value", dtype), *range_of]
        size = b.add(const(runtime.List.size), b.mul(args[3], const(size_and_alignment(dtype)[0])))
        return _or_no_memory(context, b, "go.copyslice", arguments, size)

    return container(container, types.int64, types.int64, types.int64), codegen


@overload_method(ListType, "pop")
def _pop(items, i=-1):
    def pop(items, i=-1):
        n = len(items)
        if n == 0:
            raise IndexError("pop from empty list")
        value = items[i]
        _closegap(items, i + n if i < 0 else i, 1)
        return value

    return pop


@overload_method(ListType, "insert")
def _insert(items, i, value):
    def insert(items, i, value):
        n = len(items)
        if i < 0:
            i = max(0, i + n)
        i = min(i, n)
        _opengap(items, i, 1)
        items[i] = value

    return insert


@overload_method(ListType, "extend")
def _extend(items, other):
    if isinstance(other, ListType):

        def extend(items, other):
            for i in range(len(other)):  # the length before: x.extend(x) doubles x
                items.append(other[i])

    else:

        def extend(items, other):
            for value in other:
                items.append(value)

    return extend


@overload_method(ListType, "clear")
def _clear(items):
    def clear(items):
        if len(items) > 0:
            _closegap(items, 0, len(items))

    return clear


@overload_method(ListType, "copy")
def _copy(items):
    return lambda items: _copyslice(items, 0, 1, len(items))


@overload_method(ListType, "index")
def _index(items, value):
    def index(items, value):
        for i in range(len(items)):
            if items[i] == value:
                return i
        raise ValueError("value not in list")

    return index


@overload_method(ListType, "count")
def _count(items, value):
    def count(items, value):
        n = 0
        for element in items:
            if element == value:
                n += 1
        return n

    return count


@overload_method(ListType, "remove")
def _remove(items, value):
    def remove(items, value):
        _closegap(items, items.index(value), 1)

    return remove


@overload_method(ListType, "reverse")
def _reverse(items):
    def reverse(items):
        i, j = 0, len(items) - 1
        while i < j:
            items[i], items[j] = items[j], items[i]
            i += 1
            j -= 1

    return reverse


RUN = 16  # so many elements are sorted by insertion before they are merged


@overload_method(ListType, "sort")
def _sort(items, reverse=False):
    def sort(items, reverse=False):
        """Stable: runs of RUN by insertion, then merged, each time into the other one of two buffers."""
        n = len(items)
        if reverse:
            items.reverse()  # before and after: equal elements keep their order
        for low in range(0, n, RUN):
            for i in range(low + 1, min(low + RUN, n)):
                value = items[i]
                j = i - 1
                while j >= low and value < items[j]:
                    items[j + 1] = items[j]
                    j -= 1
                items[j + 1] = value
        width = RUN
        frm, to = items, items
        if width < n:
            to = items.copy()
        while width < n:
            for low in range(0, n, 2 * width):
                middle, high = min(low + width, n), min(low + 2 * width, n)
                i, j = low, middle
                for k in range(low, high):
                    if i < middle and (j >= high or not frm[j] < frm[i]):
                        to[k] = frm[i]
                        i += 1
                    else:
                        to[k] = frm[j]
                        j += 1
            frm, to = to, frm
            width *= 2
        if frm is not items:
            for i in range(n):
                items[i] = frm[i]
        if reverse:
            items.reverse()

    return sort


@overload(operator.contains)
def _contains(items, value):
    if isinstance(items, ListType):

        def contains(items, value):
            for element in items:
                if element == value:
                    return True
            return False

        return contains
    return None


@overload(operator.eq)
def _equal(a, b):
    if isinstance(a, ListType) and a == b:

        def equal(a, b):
            if a is b:
                return True
            if len(a) != len(b):
                return False
            for i in range(len(a)):
                if a[i] != b[i]:
                    return False
            return True

        return equal
    return None


@overload(operator.ne)
def _unequal(a, b):
    if isinstance(a, ListType) and a == b:
        return lambda a, b: not a == b
    return None


@overload(operator.getitem)
def _slice(items, s):
    if isinstance(items, ListType) and isinstance(s, types.SliceType):

        def get_slice(items, s):
            start, stop, step = s.indices(len(items))
            n = max(0, (stop - start + (step - 1 if step > 0 else step + 1)) // step)
            return _copyslice(items, start, step, n)

        return get_slice
    return None


@overload(operator.delitem)
def _delete(items, i):
    if isinstance(items, ListType) and isinstance(i, types.Integer):

        def delete(items, i):
            items[i]  # there must be one
            _closegap(items, i + len(items) if i < 0 else i, 1)

        return delete
    if isinstance(items, ListType) and isinstance(i, types.SliceType):

        def delete_slice(items, i):
            start, stop, step = i.indices(len(items))
            if step < 0:
                start, stop, step = stop + 1, start + 1, -step
                start += (stop - start - 1) % step if stop > start else 0
            if step == 1:
                if stop > start:
                    _closegap(items, start, stop - start)
            else:
                gone = 0
                for at in range(start, stop, step):
                    _closegap(items, at - gone, 1)
                    gone += 1

        return delete_slice
    return None
