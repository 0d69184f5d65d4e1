"""Line tables: the code does not change, and every address is read back as the right function and line."""

from __future__ import annotations

import ctypes
import inspect
import io
import re
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import llvmlite.binding as llvm
import numba
import pytest
from elftools.elf.elffile import ELFFile
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.codegen import CPUCodeLibrary
from numba.core.compiler import Compiler, Flags
from numba.core.itanium_mangler import mangle
from numba.extending import intrinsic

from gopark.compiler.linetable import (
    CodeMap,
    Frame,
    _python_name,
    flags_for_line_tables,
    keep_frame_pointer,
    line_tables_only,
    probe_stack,
    walk_frames,
)

HERE = __file__
PUSH_RBP_MOV_RBP_RSP = bytes.fromhex("55 48 89 e5")
# sub rsp, 4096; mov qword ptr [rsp], 0
PROBE_OF_A_PAGE = bytes.fromhex("48 81 ec 00 10 00 00 48 c7 04 24 00 00 00 00")


# ---------------------------------------------------------------------------------------------------------------------
# Functions of Numba, compiled with frame pointers, with or without line tables
# ---------------------------------------------------------------------------------------------------------------------

_seen: dict[str, bool] = {"tables": True}


class _Observed(Compiler):
    """Numba's own pipeline, with the flags for line tables where a test wants them."""

    def __init__(self, typingctx, targetctx, library, args, return_type, flags, local_types):
        if _seen["tables"]:
            flags_for_line_tables(flags)
        super().__init__(typingctx, targetctx, library, args, return_type, flags, local_types)


@pytest.fixture(scope="module", autouse=True)
def _lowering() -> Iterator[None]:
    """Treat the text of every module between Numba's lowering and LLVM, as the compiler of gopark does."""

    def add_ir_module(library: CPUCodeLibrary, module: ir.Module) -> None:
        for function in module.functions:
            if not function.is_declaration:
                keep_frame_pointer(function)
        parsed = llvm.parse_assembly(line_tables_only(cgutils.normalize_ir_text(str(module))))
        parsed.name = module.name
        parsed.verify()
        library.add_llvm_module(parsed)

    llvm.initialize_native_asmparser()  # Numba does not; the functions below have inline assembly
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CPUCodeLibrary, "add_ir_module", add_ir_module)
        yield


@intrinsic
def _here(typingctx):
    """The address of the instruction itself."""

    def codegen(context, builder, signature, args):
        return builder.asm(ir.FunctionType(ir.IntType(64), []), "leaq 0(%rip), $0", "=r", [], side_effect=True)

    return types.int64(), codegen


@intrinsic
def _report(typingctx, function_pointer):
    """Call the C function `function_pointer` with rip and rbp."""

    def codegen(context, builder, signature, args):
        word = ir.IntType(64)
        getter = ir.FunctionType(word, [])
        rip = builder.asm(getter, "leaq 0(%rip), $0", "=r", [], side_effect=True)
        rbp = builder.asm(getter, "movq %rbp, $0", "=r", [], side_effect=True)
        callee = builder.inttoptr(args[0], ir.FunctionType(word, [word, word]).as_pointer())
        return builder.call(callee, [rip, rbp])

    return types.int64(types.int64), codegen


@intrinsic
def _opaque(typingctx, value):
    """A call that LLVM can neither inline nor look through, of a C function that returns its argument."""

    def codegen(context, builder, signature, args):
        word = ir.IntType(64)
        function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(word, [word]), "labs")
        return builder.call(function, args)

    return types.int64(types.int64), codegen


def _functions() -> SimpleNamespace:
    """A fresh set of functions. The comments name their lines for `_line`."""

    @numba.njit(pipeline_class=_Observed, forceinline=True)
    def innermost(out, value):
        out[0] = _here()  # line: innermost
        return value + 1

    @numba.njit(pipeline_class=_Observed, forceinline=True)
    def middle(out, value):
        value = innermost(out, value * 3)  # line: middle
        return value

    @numba.njit(pipeline_class=_Observed)
    def outer(out, count):
        total = 0
        for number in range(count):
            total += middle(out, number)  # line: outer
        out[1] = _here()  # line: after the loop
        return total

    @numba.njit(pipeline_class=_Observed)
    def plain(out, value):
        value = _opaque(value)
        out[0] = _here()  # line: plain
        return _opaque(value + 1) + 1  # line: plain return

    @numba.njit(pipeline_class=_Observed)
    def compute(array, limit):
        total = 0.0
        for number in range(array.size):
            total += array[number] / (number + 1)
            if total > limit:
                raise ValueError("too much")
        return total + len(array[1:])

    @numba.njit(pipeline_class=_Observed)
    def descend(depth, callback):
        if depth == 0:
            return _report(callback)  # line: report
        return descend(depth - 1, callback) + _opaque(1)  # line: descend

    @numba.njit(pipeline_class=_Observed)
    def start(depth, callback):
        return descend(depth, callback) + 1  # line: start

    return SimpleNamespace(
        outer=outer, plain=plain, compute=compute, descend=descend, start=start, innermost=innermost, middle=middle
    )


def _line(label: str) -> int:
    """The line of this file that ends in the comment `label`."""
    lines, first = inspect.getsourcelines(_functions)
    (found,) = (number for number, text in enumerate(lines, first) if text.endswith(f"# line: {label}\n"))
    return found


def _frame(name: str, label: str) -> Frame:
    return Frame(f"_functions.<locals>.{name}", HERE, _line(label))


def _compiled(dispatcher, signature) -> tuple[CPUCodeLibrary, str]:
    dispatcher.compile(signature)
    result = dispatcher.overloads[signature.args if hasattr(signature, "args") else signature]
    return result.library, result.fndesc.llvm_func_name


def _register(codemap: CodeMap, dispatcher, signature) -> tuple[int, str]:
    """Add a compiled function to the map; return its address and symbol."""
    library, symbol = _compiled(dispatcher, signature)
    codemap.add(library._get_compiled_object(), library.get_pointer_to_function)
    return library.get_pointer_to_function(symbol), symbol


WORDS = types.Array(types.int64, 1, "C")
OUT_AND_INT = (WORDS, types.int64)


@pytest.fixture(scope="module")
def functions(_lowering) -> SimpleNamespace:
    return _functions()


def _sections(data: bytes) -> dict[str, bytes]:
    return {section.name: section.data() for section in ELFFile(io.BytesIO(data)).iter_sections() if section.name}


def _code(data: bytes) -> bytes:
    return b"".join(text for name, text in _sections(data).items() if re.fullmatch(r"\.l?text.*", name))


def _code_of_symbol(data: bytes, name: str) -> bytes:
    elf = ELFFile(io.BytesIO(data))
    (symbol,) = elf.get_section_by_name(".symtab").get_symbol_by_name(name)
    return elf.get_section(symbol["st_shndx"]).data()[symbol["st_value"] :][: symbol["st_size"]]


# ---------------------------------------------------------------------------------------------------------------------
# The code stays the same
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "signature"),
    [
        ("compute", (types.Array(types.float64, 1, "C"), types.float64)),
        ("outer", OUT_AND_INT),
        ("descend", (types.int64, types.int64)),
    ],
)
def test_line_tables_do_not_change_the_code(name, signature, monkeypatch):
    objects = []
    for tables in (False, True):
        monkeypatch.setitem(_seen, "tables", tables)
        library, _ = _compiled(getattr(_functions(), name), signature)
        objects.append(library._get_compiled_object())
    without, with_tables = objects
    assert ".debug_line" not in _sections(without)
    assert ".debug_line" in _sections(with_tables)
    assert len(_code(without)) > 100
    assert _code(without) == _code(with_tables)


def test_flags_keep_a_wish_for_bounds_checks():
    asked, silent = Flags(), Flags()
    asked.boundscheck = True
    for flags in (asked, silent):
        flags_for_line_tables(flags)
        assert flags.debuginfo and flags.dbg_directives_only
        assert not flags.dbg_extend_lifetimes and not flags.dbg_optnone
    assert asked.boundscheck is True
    assert silent.boundscheck is False


def test_the_text_is_rewritten_only_where_debug_information_is_meant():
    text = (
        '@s = constant [9 x i8] c"FullDebug"\n'
        '  call void @"llvm.dbg.declare"(metadata i64* %x, metadata !1, metadata !2), !dbg !3\n'
        "  tail call void @llvm.dbg.value(metadata i64 0, metadata !1, metadata !2), !dbg !3\n"
        "    #dbg_declare(ptr %x, !1, !DIExpression(), !3)\n"
        '  call void @"llvm.trap"()\n'
        "!0 = distinct !DICompileUnit(emissionKind: FullDebug, file: !9)\n"
    )
    assert line_tables_only(text) == (
        '@s = constant [9 x i8] c"FullDebug"\n'
        '  call void @"llvm.trap"()\n'
        "!0 = distinct !DICompileUnit(emissionKind: LineTablesOnly, debugInfoForProfiling: true, file: !9)\n"
    )
    assert line_tables_only(line_tables_only(text)) == line_tables_only(text)
    assert line_tables_only("define void @f() { ret void }") == "define void @f() { ret void }"


# ---------------------------------------------------------------------------------------------------------------------
# Addresses are read back
# ---------------------------------------------------------------------------------------------------------------------


def test_inlined_calls_are_expanded(functions):
    import numpy as np

    codemap = CodeMap()
    address, symbol = _register(codemap, functions.outer, OUT_AND_INT)
    out = np.zeros(2, np.int64)
    functions.outer(out, 2)
    in_loop, after = map(int, out)

    assert codemap.lookup(in_loop) == [
        _frame("innermost", "innermost"),
        _frame("middle", "middle"),
        _frame("outer", "outer"),
    ]
    assert codemap.lookup(after) == [_frame("outer", "after the loop")]
    assert codemap.function_at(in_loop) == codemap.function_at(address) == symbol


def test_a_function_without_inlined_calls_has_its_python_name(functions):
    import numpy as np

    codemap = CodeMap()
    address, symbol = _register(codemap, functions.plain, OUT_AND_INT)
    out = np.zeros(1, np.int64)
    functions.plain(out, 5)
    assert codemap.lookup(int(out[0])) == [_frame("plain", "plain")]
    assert codemap.function_at(address) == symbol


def test_addresses_outside_of_the_code(functions):
    codemap = CodeMap()
    assert codemap.lookup(0x1000) == [] and not codemap.is_code(0x1000)
    address, _ = _register(codemap, functions.plain, OUT_AND_INT)
    library, _ = _compiled(functions.plain, OUT_AND_INT)
    size = len(_code(library._get_compiled_object()))
    covered = [pc for pc in range(address - 4096, address + 4096) if codemap.is_code(pc)]
    assert covered == list(range(covered[0], covered[0] + size)) and address in covered
    for pc in (covered[0] - 1, covered[-1] + 1, 0, 2**64 - 1):
        assert codemap.lookup(pc) == []
        assert codemap.function_at(pc) is None


def test_a_return_address_is_that_of_the_call_before_it(functions):
    import numpy as np

    codemap = CodeMap()
    _register(codemap, functions.plain, OUT_AND_INT)
    out = np.zeros(1, np.int64)
    functions.plain(out, 5)
    pc = int(out[0])
    # leaq 0(%rip) gives the address of the next instruction, so `pc` itself is like a return address.
    assert codemap.lookup(pc, return_address=True) == codemap.lookup(pc - 1)
    # The first address of the return line and the last one before it: the same number, read in the two ways.
    first = next(at for at in range(pc, pc + 200) if codemap.lookup(at) == [_frame("plain", "plain return")])
    assert codemap.lookup(first, return_address=True) == [_frame("plain", "plain")]


def test_wrappers_without_tables_show_their_symbol(functions):
    codemap = CodeMap()
    library, _ = _compiled(functions.plain, OUT_AND_INT)
    wrapper = functions.plain.overloads[OUT_AND_INT].fndesc.llvm_cpython_wrapper_name
    codemap.add(library._get_compiled_object(), library.get_pointer_to_function)
    (frame,) = codemap.lookup(library.get_pointer_to_function(wrapper))
    assert "plain" in frame.function and (frame.file, frame.line) == ("", 0)


def test_objects_are_parsed_late_once_and_found_after_earlier_misses(functions):
    codemap = CodeMap()
    asked: list[str] = []
    library, symbol = _compiled(functions.outer, OUT_AND_INT)
    address = library.get_pointer_to_function(symbol)
    assert codemap.lookup(address) == []

    def address_of(name: str) -> int:
        asked.append(name)
        return library.get_pointer_to_function(name)

    codemap.add(library._get_compiled_object(), address_of)
    assert asked == []
    assert codemap.lookup(address)[-1].function == "_functions.<locals>.outer"
    assert len(asked) == 1
    codemap.lookup(address + 8)
    assert len(asked) == 1
    # The same code again changes nothing: the first owner keeps its range.
    codemap.add(library._get_compiled_object(), library.get_pointer_to_function)
    assert codemap.function_at(address) == symbol
    assert len(codemap._placed.starts) == 1


def test_weak_symbols_place_nothing():
    data, engine = _load(
        "define weak i64 @go.a.weak() { ret i64 1 }\n"
        "define i64 @go.b.strong() { ret i64 2 }\n"
        "define internal i64 @go.c.local() noinline { ret i64 3 }\n"
        "define i64 @go.d.user() { %x = call i64 @go.c.local() ret i64 %x }\n"
    )
    # The addresses an object's weak functions would have had, had another object not been loaded before it.
    elsewhere = {"go.a.weak": 0x1000, "go.c.local": 0x2000}
    codemap = CodeMap()
    codemap.add(data, lambda name: elsewhere.get(name) or engine.get_function_address(name))
    weak = engine.get_function_address("go.a.weak")
    assert codemap.function_at(weak) == "go.a.weak"
    assert codemap.lookup(weak) == [Frame("go.a.weak", "", 0)]
    assert not codemap.is_code(0x1000) and not codemap.is_code(0x2000)


def test_a_failing_object_does_not_hide_the_others(functions):
    def address_of(name: str) -> int:
        raise LookupError(name)

    codemap = CodeMap()
    library, _ = _compiled(functions.outer, OUT_AND_INT)
    codemap.add(library._get_compiled_object(), address_of)
    codemap.add(library._get_compiled_object(), lambda name: None)  # not known to the JIT
    address, symbol = _register(codemap, functions.plain, OUT_AND_INT)
    with pytest.raises(LookupError, match="outer"):
        codemap.function_at(address)
    assert codemap.function_at(address) == symbol


def test_what_is_not_an_object_is_refused():
    with pytest.raises(ValueError, match="ELF"):
        CodeMap().add(b"\x7fELF\x01\x01 thirty-two bits", lambda name: 0)


def test_many_threads_ask_at_once(functions):
    codemap = CodeMap()
    wanted = {}
    for name, signature in (("outer", OUT_AND_INT), ("plain", OUT_AND_INT), ("descend", (types.int64, types.int64))):
        address, symbol = _register(codemap, getattr(functions, name), signature)
        wanted[address] = (symbol, f"_functions.<locals>.{name}")
    barrier, wrong = threading.Barrier(8), []

    def ask() -> None:
        barrier.wait()
        for address, (symbol, name) in wanted.items():
            got = (codemap.function_at(address), codemap.lookup(address)[-1].function)
            if got != (symbol, name):
                wrong.append(got)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# ---------------------------------------------------------------------------------------------------------------------
# Objects of llvmlite: several sections, both versions of DWARF, assembly
# ---------------------------------------------------------------------------------------------------------------------

# `far` lives in a section of its own. It has two pieces of `near` inlined into it and calls it in between; each of the
# three records the address of a line of `near`.
_TWO_SECTIONS = r"""
target triple = "x86_64-unknown-linux-gnu"

module asm ".text"
module asm ".globl go.asm"
module asm "go.asm:"
module asm "  nop"
module asm "  nop"
module asm "  retq"

define i64 @go.near() noinline "frame-pointer"="all" !dbg !10 {
  %pc = call i64 asm sideeffect "leaq 0(%rip), $0", "=r"(), !dbg !11
  ret i64 %pc, !dbg !12
}

define void @go.far(i64* %out) "frame-pointer"="all" section "SECTION" !dbg !20 {
  %a = call i64 asm sideeffect "leaq 0(%rip), $0", "=r"(), !dbg !22
  store i64 %a, i64* %out, !dbg !21
  %b = call i64 @go.near(), !dbg !23
  %next = getelementptr i64, i64* %out, i64 1, !dbg !23
  store i64 %b, i64* %next, !dbg !23
  %asm = call i64 @go.asm(), !dbg !23
  %c = call i64 asm sideeffect "leaq 0(%rip), $0", "=r"(), !dbg !22
  %last = getelementptr i64, i64* %out, i64 2, !dbg !23
  store i64 %c, i64* %last, !dbg !23
  ret void, !dbg !24
}

declare i64 @go.asm()

!llvm.dbg.cu = !{!1}
!llvm.module.flags = !{!2, !3}
!1 = distinct !DICompileUnit(language: DW_LANG_C_plus_plus, file: !4, isOptimized: true, emissionKind: FullDebug)
!2 = !{i32 2, !"Dwarf Version", i32 VERSION}
!3 = !{i32 2, !"Debug Info Version", i32 3}
!4 = !DIFile(directory: "/somewhere/runtime", filename: "proc.py")
!5 = !DISubroutineType(types: !{})
!6 = !DIFile(directory: "/elsewhere", filename: "prims.py")
!10 = distinct !DISubprogram(name: "near", linkageName: "go.near", scope: !6, file: !6, line: 6, scopeLine: 6,
  type: !5, unit: !1, spFlags: DISPFlagDefinition)
!11 = !DILocation(line: 7, column: 1, scope: !10)
!12 = !DILocation(line: 8, column: 1, scope: !10)
!20 = distinct !DISubprogram(name: "runtime.far$3", linkageName: "go.far", scope: !4, file: !4, line: 30, scopeLine: 30,
  type: !5, unit: !1, spFlags: DISPFlagDefinition)
!21 = !DILocation(line: 31, column: 1, scope: !20)
!22 = !DILocation(line: 7, column: 1, scope: !10, inlinedAt: !21)
!23 = !DILocation(line: 33, column: 1, scope: !20)
!24 = !DILocation(line: 34, column: 1, scope: !20)
"""


def _load(text: str, codemodel: str = "jitdefault") -> tuple[bytes, llvm.ExecutionEngine]:
    """Compile a module with MCJIT; return the object it made and the engine, which owns the code."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    llvm.initialize_native_asmparser()
    machine = llvm.Target.from_default_triple().create_target_machine(opt=2, jit=True, codemodel=codemodel)
    module = llvm.parse_assembly(text)
    module.verify()
    engine = llvm.create_mcjit_compiler(module, machine)
    kept: list[bytes] = []
    engine.set_object_cache(lambda module, data: kept.append(bytes(data)), lambda module: None)
    engine.finalize_object()
    return kept[0], engine


@pytest.mark.parametrize("codemodel", ["small", "large"])
@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("section", [".text.far", ".ltext.far"])
def test_sections_and_versions(version, section, codemodel, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "runtime", sys)
    text = _TWO_SECTIONS.replace("VERSION", str(version)).replace("SECTION", section)
    data, engine = _load(line_tables_only(text), codemodel)
    codemap = CodeMap()
    codemap.add(data, engine.get_function_address)
    assert (".debug_ranges", ".debug_rnglists")[version == 5] in _sections(data)
    out = (ctypes.c_int64 * 3)()
    ctypes.CFUNCTYPE(None, ctypes.c_void_p)(engine.get_function_address("go.far"))(ctypes.addressof(out))
    inlined, called, inlined_too = out

    assert codemap.function_at(inlined) == codemap.function_at(inlined_too) == "go.far"
    assert codemap.function_at(called) == "go.near"
    near = Frame("near", "/elsewhere/prims.py", 7)
    for pc in inlined, inlined_too:
        assert codemap.lookup(pc, return_address=True) == [near, Frame("far", "/somewhere/runtime/proc.py", 31)]
    assert codemap.lookup(called, return_address=True) == [near]
    # Assembly has no lines, and its label no size.
    assembly = engine.get_function_address("go.asm")
    assert codemap.lookup(assembly + 1) == [Frame("go.asm", "", 0)]
    assert codemap.function_at(assembly + 2) == "go.asm"


def test_sections_may_be_loaded_in_any_order():
    text = _TWO_SECTIONS.replace("VERSION", "4").replace("SECTION", ".text.far")
    data, _ = _load(line_tables_only(text))
    for near, far in ((0x10000, 0x20000), (0x7F0000020000, 0x7F0000010000)):
        codemap = CodeMap()
        codemap.add(data, {"go.near": near, "go.far": far}.get)
        for start, function, line in ((near, "near", 6), (far, "runtime.far", 30)):
            # The first line of each function is that of its head.
            assert codemap.lookup(start)[0][::2] == (function, line)
            assert not codemap.is_code(start + 0x1000)


# ---------------------------------------------------------------------------------------------------------------------
# Names
# ---------------------------------------------------------------------------------------------------------------------


def _mangled(name: str, *arguments: types.Type) -> str:
    return mangle(name, arguments, abi_tags=("c8tJTIeFIjxB",), uid=12)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("K.build.<locals>.top", "K.build.<locals>.top"),
        ("json.decoder.JSONDecoder.decode$12", "JSONDecoder.decode"),
        ("json.decoder.py_scanstring(unicode_type, UniTuple(int64 x 2))", "py_scanstring"),
        ("f$2(int64)", "f"),
        ("time.sleep", "time.sleep"),
        ("go.runqput", "go.runqput"),
        ("no_such_module.f$1", "no_such_module.f"),
        (_mangled("json.decoder.Reader.my_decode", types.int64), "Reader.my_decode"),
        (_mangled("json.decoder.wrap.<locals>.<lambda>", types.float64), "wrap.<locals>.<lambda>"),
        (_mangled("json.decoder.f", types.Array(types.int8, 2, "C"), types.unicode_type), "f"),
        (_mangled("alone"), "alone"),
        ("cfunc." + _mangled("json.decoder.f", types.int64), "f"),
        ("_start", "_start"),
        ("_Z", "_Z"),
    ],
)
def test_names_are_those_of_python(name, expected):
    import json.decoder
    import time

    assert json.decoder and time
    assert _python_name(name) == expected


# ---------------------------------------------------------------------------------------------------------------------
# Stacks
# ---------------------------------------------------------------------------------------------------------------------


def _reader(words: dict[int, int]) -> Callable[[int], int | None]:
    return words.get


def test_a_live_stack_is_walked(functions):
    codemap = CodeMap()
    _register(codemap, functions.start, (types.int64, types.int64))
    _register(codemap, functions.descend, (types.int64, types.int64))
    walks: list[list[Frame]] = []

    @ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)
    def callback(pc, rbp):
        def read(address: int) -> int | None:
            # Enough for the frames of the test; above them the chain leads into C code without frame pointers.
            return ctypes.c_int64.from_address(address).value if rbp <= address < rbp + 1024 else None

        walks.append(walk_frames(pc, rbp, read, codemap, return_address=True))
        return 0

    functions.start(3, ctypes.cast(callback, ctypes.c_void_p).value)
    (frames,) = walks
    at_bottom, in_recursion = _frame("descend", "report"), _frame("descend", "descend")
    assert frames[:5] == [at_bottom, in_recursion, in_recursion, in_recursion, _frame("start", "start")]


@pytest.fixture(scope="module")
def code(functions) -> SimpleNamespace:
    codemap = CodeMap()
    address, _ = _register(codemap, functions.plain, OUT_AND_INT)
    return SimpleNamespace(map=codemap, pc=address + 8, name="_functions.<locals>.plain")


@pytest.mark.parametrize(
    ("words", "count"),
    [
        ({0x100: 0x200, 0x108: True, 0x200: 0, 0x208: True}, 3),  # the bottom: a saved rbp of 0
        ({0x100: 0x200, 0x108: True, 0x200: 0x300, 0x208: 0}, 2),  # the bottom: a return address of 0
        ({0x100: 0x100, 0x108: True}, 2),  # the chain bites its tail
        ({0x100: 0x80, 0x108: True, 0x80: 0x100, 0x88: True}, 2),  # the chain goes down
        ({0x100: 0x200, 0x108: True}, 2),  # the caller's frame cannot be read
        ({0x100: 0x200}, 1),  # the return address cannot be read
        ({0x108: True}, 1),  # the saved rbp cannot be read
        ({}, 1),
        # A frame of foreign code is skipped.
        ({0x100: 0x200, 0x108: 12345, 0x200: 0x300, 0x208: True, 0x300: 0, 0x308: 0}, 2),
    ],
)
def test_where_a_walk_ends(code, words, count):
    words = {address: code.pc if word is True else word for address, word in words.items()}
    frames = walk_frames(code.pc, 0x100, _reader(words), code.map)
    assert [frame.function for frame in frames] == [code.name] * count


def test_the_first_address_of_a_walk_is_read_as_told(code):
    pc = next(pc for pc in range(code.pc, code.pc + 200) if code.map.lookup(pc) != code.map.lookup(pc - 1))
    assert walk_frames(pc, 0, _reader({}), code.map) == code.map.lookup(pc)
    assert walk_frames(pc, 0, _reader({}), code.map, return_address=True) == code.map.lookup(pc - 1)


def test_a_walk_is_bounded(code):
    words = {}
    for rbp in range(0x100, 0x100 + 32 * 1000, 32):
        words |= {rbp: rbp + 32, rbp + 8: code.pc}
    assert len(walk_frames(code.pc, 0x100, _reader(words), code.map)) == 64
    assert len(walk_frames(code.pc, 0x100, _reader(words), code.map, limit=3)) == 3
    assert len(walk_frames(code.pc, 0, _reader(words), code.map)) == 1


# ---------------------------------------------------------------------------------------------------------------------
# Frame pointers and probes
# ---------------------------------------------------------------------------------------------------------------------


def _with_a_large_frame(*treatments: Callable[[ir.Function], None]) -> bytes:
    """The code of a function, built with llvmlite, that has 64 KB in its frame and calls another one."""
    module = ir.Module("frames")
    module.triple = llvm.get_process_triple()
    word = ir.IntType(64)
    callee = ir.Function(module, ir.FunctionType(ir.VoidType(), [word.as_pointer()]), "callee")
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), []), "large")
    function.attributes.add("noinline")
    for treatment in treatments:
        treatment(function)
        treatment(function)  # once more changes nothing
    builder = ir.IRBuilder(function.append_basic_block())
    builder.call(callee, [builder.alloca(word, 8192)])
    builder.ret_void()
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(opt=3)
    return _code_of_symbol(machine.emit_object(llvm.parse_assembly(str(module))), "large")


@pytest.mark.parametrize("frame_pointer", [False, True])
@pytest.mark.parametrize("probe", [False, True])
def test_frame_pointers_and_probes_are_in_the_code(frame_pointer, probe):
    code = _with_a_large_frame(*[keep_frame_pointer] * frame_pointer, *[probe_stack] * probe)
    assert code.startswith(PUSH_RBP_MOV_RBP_RSP) == frame_pointer
    assert (PROBE_OF_A_PAGE in code) == probe


@pytest.mark.parametrize("name", ["outer", "plain", "descend"])
def test_functions_of_numba_keep_their_frame_pointer(functions, name):
    signature = (types.int64, types.int64) if name == "descend" else OUT_AND_INT
    library, symbol = _compiled(getattr(functions, name), signature)
    assert _code_of_symbol(library._get_compiled_object(), symbol).startswith(PUSH_RBP_MOV_RBP_RSP)
