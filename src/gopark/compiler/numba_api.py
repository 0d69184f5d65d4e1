"""The one module that touches Numba's and llvmlite's private names.

gopark builds on Numba's front end (bytecode analysis, type inference, lowering of the whole nopython language) and on
llvmlite's code generator. What it needs beyond their documented interface is gathered here, so that a new Numba version
is a matter of reading one file: `check_versions` refuses every version that was not tested, at boot and by name.

Everything else in gopark imports Numba through this module; `tests/test_tidy.py` holds it to that.
"""

from __future__ import annotations

import contextlib
import threading

import llvmlite
import llvmlite.binding as llb
import numba
import numpy as np
from llvmlite import ir as lir
from numba.core import (
    analysis,
    bytecode,
    byteflow,
    callconv,
    cgutils,
    compiler,
    config,
    cpu,
    datamodel,
    debuginfo,
    dispatcher,
    errors,
    funcdesc,
    imputils,
    ir,
    lowering,
    pythonapi,
    serialize,
    sigutils,
    typed_passes,
    types,
    typing,
    untyped_passes,
    utils,
)
from numba.core.analysis import compute_cfg_from_blocks
from numba.core.compiler import CompilerBase, CompileResult, DefaultPassBuilder, Flags
from numba.core.compiler_lock import global_compiler_lock
from numba.core.compiler_machinery import FunctionPass, PassManager, register_pass
from numba.core.funcdesc import default_mangler
from numba.core.imputils import RefType, impl_ret_borrowed, iternext_impl, lower_constant
from numba.core.registry import CPUDispatcher, CPUTarget, cpu_target
from numba.core.runtime import rtsys
from numba.core.target_extension import CPU, dispatcher_registry, jit_registry, target_override, target_registry
from numba.core.typeconv import Conversion
from numba.core.typing import npydecl, templates
from numba.core.typing.templates import (
    AbstractTemplate,
    AttributeTemplate,
    bound_function,
    infer_getattr,
    infer_global,
    signature,
)
from numba.core.typing.typeof import Purpose
from numba.core.unsafe import eh
from numba.extending import (
    NativeValue,
    as_numba_type,
    box,
    intrinsic,
    lower_builtin,
    lower_cast,
    lower_getattr,
    lower_getattr_generic,
    lower_setattr_generic,
    models,
    overload,
    overload_method,
    register_model,
    typeof_impl,
    unbox,
)
from numba.extending import _Intrinsic as Intrinsic
from numba.np.ufunc.dufunc import DUFunc
from numba.np.ufunc.ufuncbuilder import UFuncDispatcher

TESTED = ((0, 68, 1), (0, 69, 0))  # numba >= first, < second


def _version_tuple(text: str) -> tuple[int, ...]:
    parts = []
    for part in text.split(".")[:3]:
        digits = "".join(c for c in part if c.isdigit())
        parts.append(int(digits or 0))
    return tuple(parts)


def version_problem() -> str | None:
    """What is wrong with the installed Numba, or None. Called at boot; importing gopark never fails for it."""
    low, high = TESTED
    if low <= _version_tuple(numba.__version__) < high:
        return None
    window = f"numba>={'.'.join(map(str, low))},<{'.'.join(map(str, high[:2]))}"
    return (
        f"gopark was tested with {window}, but numba {numba.__version__} is installed. "
        f"Install a tested one: pip install '{window}'"
    )


def versions() -> dict[str, str]:
    """The versions that decide what machine code comes out; part of every cache key."""
    return {
        "numba": numba.__version__,
        "numpy": np.__version__,
        "llvmlite": llvmlite.__version__,
        "llvm": ".".join(map(str, llb.llvm_version_info)),
        "python": utils.PYVERSION.__repr__(),
    }


def code_settings() -> list[tuple[str, str]]:
    """Numba's settings (NUMBA_OPT and the like) that decide it as well; part of every cache key, too."""
    names = (
        "BOUNDSCHECK",
        "DEBUGINFO_DEFAULT",
        "DEBUG_NRT",
        "DISABLE_INTEL_SVML",
        "EXTEND_VARIABLE_LIFETIMES",
        "LLVM_REFPRUNE_FLAGS",
        "LLVM_REFPRUNE_PASS",
        "LOOP_VECTORIZE",
        "NRT_STATS",
        "OPT",
        "SLP_VECTORIZE",
        "USING_SVML",
    )
    values = [(name, getattr(config, name)) for name in names]
    return [(name, str(getattr(value, "_raw_value", value))) for name, value in values]  # NUMBA_OPT=max is a kind of 3


# ---- what the fingerprint of a function asks (compiler/fingerprint.py)


def type_of_constant(value) -> types.Type | None:
    """The type that a global of this value has in compiled code; None if it has none there."""
    try:
        return typing.typeof.typeof(value, Purpose.constant)
    except (ValueError, errors.NumbaError):
        return cpu_target.typing_context._lookup_global(value)


def registrations() -> tuple:
    """Where extensions of Numba are registered: typing, lowering, data models, crossing the border to Python."""
    typed, lowered = templates.builtin_registry, imputils.builtin_registry
    return (
        *(typed.functions, typed.attributes, typed.globals),
        *(lowered.functions, lowered.getattrs, lowered.setattrs, lowered.casts, lowered.constants),
        datamodel.default_manager._handlers,
        *(pythonapi._boxers.functions, pythonapi._unboxers.functions),
    )


# ---- two repairs of Numba's analysis of bytecode, for code inside try blocks


class _GoBytecode(threading.local):
    depth = 0


_go_bytecode = _GoBytecode()


@contextlib.contextmanager
def go_bytecode():
    """Around the compilation of go code: what errpath.py can lower, and plain Numba cannot, is let through."""
    _go_bytecode.depth += 1
    try:
        yield
    finally:
        _go_bytecode.depth -= 1


_handle_exception = byteflow.Flow._run_handle_exception


def _keep_keyword_names(self, runner, state):
    """Numba begins a new block behind every instruction of a try. Between KW_NAMES and CALL the names of the keyword
    arguments would get lost at that, and `f(b=1, a=2)` would call f(1, 2)."""
    if getattr(state, "_kw_names", None) is not None:
        state.advance_pc()
        return False
    return _handle_exception(self, runner, state)


byteflow.Flow._run_handle_exception = _keep_keyword_names

_raise_varargs = byteflow.TraceRunner.op_RAISE_VARARGS


def _bare_raise(self, state, inst):
    """`raise` without argument where an exception table covers it, which since CPython 3.11 is every handler. Numba
    refuses it; compiler/errpath.py lowers it."""
    if inst.arg == 0 and _go_bytecode.depth and state.has_active_try():
        state.append(inst, exc=None)
        self._adjust_except_stack(state)
    else:
        _raise_varargs(self, state, inst)


byteflow.TraceRunner.op_RAISE_VARARGS = _bare_raise

# ---- a repair of Numba's typing

_type_inplace = npydecl.NumpyRulesInplaceArrayOperator.generic


def _refuse_read_only(self, args, kws):
    """`a += 1` on a read-only array. Numba fails with an AttributeError; this is what it says of `a[0] = 1`."""
    if isinstance(args[0], types.Array) and not args[0].mutable:
        raise errors.NumbaTypeError(f"{READ_ONLY} of type: {args[0]}")
    return _type_inplace(self, args, kws)


READ_ONLY = "Cannot modify readonly array"
npydecl.NumpyRulesInplaceArrayOperator.generic = _refuse_read_only

LABEL_SHIFT = bytecode._FIXED_OFFSET  # a block's label is the offset of its first instruction plus this


# ---- LLVM types and constants, spelled once

i1, i8, i16, i32, i64, i128 = (lir.IntType(n) for n in (1, 8, 16, 32, 64, 128))
f64 = lir.DoubleType()
void = lir.VoidType()
i8p = i8.as_pointer()
NULL = lir.Constant(i8p, None)


def const(value: int) -> lir.Constant:
    """A 64-bit integer constant."""
    return lir.Constant(i64, value)


def extern(module: lir.Module, name: str, result, arguments) -> lir.Function:
    """The declaration of an external function in `module`."""
    return cgutils.get_or_insert_function(module, lir.FunctionType(result, arguments), name)


def emit_prefetch(b, address) -> None:
    """Ask for the cache line of an address (i8*), to be written soon. Never faults, whatever the address."""
    declaration = extern(b.module, "llvm.prefetch.p0", void, [i8p, i32, i32, i32])
    write, keep, data = 1, 3, 1
    b.call(declaration, [address, *(lir.Constant(i32, v) for v in (write, keep, data))])


def data_symbol(module: lir.Module, name: str, ty=i64) -> lir.GlobalVariable:
    """The declaration of an external variable in `module`."""
    found = module.globals.get(name)
    if found is None:
        found = lir.GlobalVariable(module, ty, name)
        found.align = 8
    return found


def target_context():
    """Numba's context of this CPU: data layout, type sizes."""
    return cpu_target.target_context


def size_and_alignment(ty) -> tuple[int, int]:
    """Size and alignment in bytes of a value of the Numba type `ty` as it lies in memory."""
    context = target_context()
    data = context.get_data_type(ty)
    size = scalar_size(data)
    return (size, size) if size else (context.get_abi_sizeof(data), context.get_abi_alignment(data))


def scalar_size(ty: lir.Type) -> int:
    """The size, and alignment, of a pointer or an integer; 0 for others. LLVM parses a module to answer that."""
    if isinstance(ty, lir.PointerType):
        return 8
    return ty.width // 8 if isinstance(ty, lir.IntType) and ty.width in (8, 16, 32, 64) else 0


def host_cpu() -> tuple[str, str]:
    """Name and features of the CPU that Numba compiles for."""
    codegen = target_context().codegen()
    return codegen._get_host_cpu_name(), codegen._tm_features


def image_target_machine():
    """A target machine for the runtime image: position independent, small code model (Numba's own is large)."""
    name, features = host_cpu()
    target = llb.Target.from_triple(llb.get_process_triple())
    return target.create_target_machine(cpu=name, features=features, opt=2, reloc="pic", codemodel="small", jit=True)


def target_being_typed(typing_context):
    """The target of the function whose types are being inferred; None outside of type inference."""
    stack = typing_context.callstack._stack
    return stack[-1].target if stack else None


def contains_references(ty) -> bool:
    """Whether values of `ty` hold references counted by Numba's NRT (arrays, str, lists ...)."""
    try:
        return target_context().data_model_manager[ty].contains_nrt_meminfo()
    except (KeyError, NotImplementedError):
        return False


__all__ = [name for name in dir() if not name.startswith("_")]
