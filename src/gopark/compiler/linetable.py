"""Line tables: from a program counter back to Python functions and lines.

Purpose
    Dumps of goroutines, tracebacks and the explorer all start from machine addresses: a saved program counter, a
    return address on a stack, a fault. This module makes sure that compiled objects can answer "which function, which
    file, which line", and reads the answer.

What is asked of the compiler
    Every object carries *line tables only*: the program counter's file and line, and the chain of inlined calls, but
    no variables and no types. That kind of debug information is a pure by-product. The machine code is the same, byte
    for byte, with and without it (a test holds this), so explored code is shipped code and nobody has to turn the
    tables on. Numba cannot ask LLVM for it: ``debug=True`` describes variables and thereby changes the code, and
    "directives only" leaves nothing in an object file. So `flags_for_line_tables` makes Numba emit locations and
    `line_tables_only` rewrites the kind of emission in the text of the module, before LLVM parses it.
    Locations are only right where LLVM does the inlining. Numba's own ``inline="always"`` pastes the callee's
    statements into the caller and attributes the callee's line numbers to the caller's file: use ``forceinline``.

    Every function keeps a *frame pointer* (`keep_frame_pointer`), so that a stack can be walked by following rbp
    without tables, and *probes* its frame (`probe_stack`), so that a large frame touches the guard page, never the
    memory behind it.

How an object is read
    The bytes of an object are those of a relocatable file: its sections all start at address 0, and its DWARF refers
    to them through relocations. The JIT places each section with code where it likes. `CodeMap` asks for the address
    of one strong function of each such section, which tells where the section is, and applies the relocations of the
    DWARF sections to a copy of the object. In other words it links the debug information to where the code was loaded;
    from there on every address is a real one, and it does not matter how the sections are called (``.text`` in the
    small code model, ``.ltext`` in the large one) or how many there are. pyelftools, which reads the rest, could apply
    relocations too, but only as if every section were at 0; it needs longer for that than for all the rest, and fails
    on those of ``.eh_frame`` in the large code model.
    Weak symbols place nothing: the JIT resolves them to the copy that was loaded first, perhaps that of another
    object. This is also why every object has to be registered: a weak callee may run anyone's copy.

Invariants
    L1  An object is parsed only when it has to be: its symbols at the first question after it was added, its DWARF at
        the first question about one of its own addresses.
    L2  `CodeMap._placed` is replaced, never changed: a reader needs no lock.
    L3  Ranges of code do not overlap. Code is never freed, so of two objects that claim an address the first is right.
    L4  A line of 0 means that LLVM knows no line (it merged code of several lines); it is reported, not guessed at.

    L5  What a `ModuleList` was told it never changes or frees, and it makes an entry public with one store.

Who may touch what
    Ordinary Python threads only. Nothing here is safe in a signal handler or on a goroutine's stack. For those there is
    runtime/symtab.py, which reads what `ModuleList` left in memory and asks nobody.
"""

from __future__ import annotations

import bisect
import collections
import ctypes
import io
import os.path
import re
import struct
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

# pyelftools is imported where an object is parsed: programs that never fail never need it, and start faster.


if TYPE_CHECKING:
    from elftools.dwarf.compileunit import CompileUnit
    from elftools.dwarf.die import DIE
    from elftools.dwarf.dwarfinfo import DWARFInfo
    from llvmlite import ir

__all__ = [
    "CodeMap",
    "Frame",
    "ModuleList",
    "flags_for_line_tables",
    "keep_frame_pointer",
    "line_tables_only",
    "probe_stack",
    "walk_frames",
]


# ---------------------------------------------------------------------------------------------------------------------
# What is asked of the compiler
# ---------------------------------------------------------------------------------------------------------------------

_COMPILE_UNIT = re.compile(r"^(!\d+ = distinct !DICompileUnit\(.*?emissionKind: )\w+(.*)$", re.MULTILINE)
# Older LLVM describes variables by calls, newer LLVM by records that look like statements.
_VARIABLE_CALL = re.compile(r'^[ \t]*(?:tail )?call void @"?llvm\.dbg\.\w+"?\(.*\n?', re.MULTILINE)
_VARIABLE_RECORD = re.compile(r"^[ \t]*#dbg_\w+\(.*\n?", re.MULTILINE)


def flags_for_line_tables(flags: Any) -> None:
    """Set the Numba `Flags` with which a function is lowered to a module that `line_tables_only` can treat.

    Locations are emitted, and nothing that would change the code: no variables kept alive, no ``optnone``, no
    ``noinline``, and no bounds checks that were not asked for (Numba turns them on along with ``debuginfo`` unless
    they are set).
    """
    if not flags.is_set("boundscheck"):
        flags.boundscheck = False
    flags.debuginfo = True
    flags.dbg_directives_only = True
    flags.dbg_extend_lifetimes = False
    flags.dbg_optnone = False


def line_tables_only(ir_text: str) -> str:
    """Turn the debug information of a module, given as text, into line tables only.

    The descriptions of variables have to go: LLVM asserts, and ends the process, when it meets them in a compile unit
    that has line tables only. ``debugInfoForProfiling`` has a misleading name; what it does here is to keep an entry,
    with its name, for a function into which nothing was inlined. LLVM drops those otherwise.

    A module without debug information is returned as it is.
    """
    if "!DICompileUnit(" not in ir_text:
        return ir_text

    def rewrite(match: re.Match[str]) -> str:
        head, tail = match.groups()
        profiling = "" if "debugInfoForProfiling" in match.group() else ", debugInfoForProfiling: true"
        return f"{head}LineTablesOnly{profiling}{tail}"

    ir_text = _VARIABLE_RECORD.sub("", _VARIABLE_CALL.sub("", ir_text))
    return _COMPILE_UNIT.sub(rewrite, ir_text)


def keep_frame_pointer(function: ir.Function) -> None:
    """Let `function` begin with ``push rbp; mov rbp, rsp``, whatever the optimiser thinks of it.

    LLVM has a string attribute for this. llvmlite prints the members of `Function.attributes` verbatim, sorted, behind
    the parameters, which is just where a string attribute belongs; only its `add` refuses names that are not on its
    list. So the cheapest way in is the `add` of the set underneath. It costs nothing, survives `str(module)`, and may
    be repeated.

    A function that is inlined takes the frame of its caller. A function without the attribute (Numba's own helpers,
    C code) may use rbp for something else while it runs, but has to restore it, so it is missing from the chain and
    does not break it, unless the walk starts inside it.
    """
    set.add(function.attributes, '"frame-pointer"="all"')


def probe_stack(function: ir.Function) -> None:
    """Let `function` touch each page of its frame in order while it allocates it, by instructions in line.

    Without this a frame larger than the guard page could step over it. Frames below one page are not affected. How
    the attribute gets into llvmlite is told at `keep_frame_pointer`.
    """
    set.add(function.attributes, '"probe-stack"="inline-asm"')


# ---------------------------------------------------------------------------------------------------------------------
# Names
# ---------------------------------------------------------------------------------------------------------------------


class Frame(NamedTuple):
    """One level of a stack, for people: a Python function and where it was.

    `file` is empty and `line` 0 where an object has no line table for the code (assembly, Numba's wrappers).
    """

    function: str
    file: str
    line: int


# "qualname$1" or "module.qualname(int64, float64)": what Numba and gopark append to tell specialisations apart.
_SPECIALISED = re.compile(r"^([^($]+)(?:\$\d+(?:\.\d+)?)?(?:\(.*\))?$", re.DOTALL)
_MANGLED = re.compile(r"^(?:cfunc\.)?_Z(N?)(?=\d)")
_MANGLED_PART = re.compile(r"(\d+)")


def _demangled(symbol: str) -> str | None:
    """The dotted name in a symbol that Numba mangled, without types and tags; None if it is another kind of symbol."""
    match = _MANGLED.match(symbol)
    if match is None:
        return None
    nested, at = bool(match.group(1)), match.end()
    parts: list[str] = []
    while (number := _MANGLED_PART.match(symbol, at)) is not None:
        length, start = int(number.group()), number.end()
        part = symbol[start : start + length]
        # Numba writes a character C does not have in hexadecimal, after an underscore, and does not mark underscores
        # that were there before. Only the brackets of "<locals>" and "<lambda>" can be told from plain text.
        if part.startswith("_3c") and part.endswith("_3e"):
            part = f"<{part[3:-3]}>"
        parts.append(part)
        at = start + length
        if not nested:
            break
    return ".".join(parts) or None


def _without_module(name: str) -> str:
    """Drop the longest prefix of a dotted name that is a module which has been imported."""
    parts = name.split(".")
    for count in range(len(parts) - 1, 0, -1):
        if ".".join(parts[:count]) in sys.modules:
            return ".".join(parts[count:])
    return name


def _python_name(name: str) -> str:
    """The qualified name of the Python function behind a name of DWARF or of a symbol table.

    Only a name that has the shape of a compiled specialisation is touched, for "time.sleep" may as well be the method
    of a class.
    """
    dotted = _demangled(name)
    if dotted is not None:
        return _without_module(dotted)
    match = _SPECIALISED.match(name)
    if match is None or match.group(1) == name:
        return name
    return _without_module(match.group(1))


# ---------------------------------------------------------------------------------------------------------------------
# DWARF of one object, linked to where the object was loaded
# ---------------------------------------------------------------------------------------------------------------------


class _Scope:
    """A function, or a call that was inlined into one, with the calls that were inlined into it in turn."""

    __slots__ = ("call_file", "call_line", "inner", "name", "ranges")

    def __init__(self, name: str | None, ranges: list[tuple[int, int]], call_file: str, call_line: int) -> None:
        self.name = name
        self.ranges = ranges
        self.call_file = call_file
        self.call_line = call_line
        self.inner: list[_Scope] = []

    def covers(self, pc: int) -> bool:
        return any(low <= pc < high for low, high in self.ranges)


class _Tables:
    """The line table and the scopes of one object."""

    def __init__(self, dwarf: DWARFInfo) -> None:
        self._dwarf = dwarf
        self._range_lists = dwarf.range_lists()
        self._names: dict[int, str | None] = {}
        rows: list[tuple[int, bool, str, int]] = []  # address, starts a line (not: ends a sequence), file, line
        self._functions: list[_Scope] = []
        for unit in dwarf.iter_CUs():
            files = self._read_lines(unit, rows)
            self._read_unit(unit, files)
        # The end of one sequence may be the start of the next, which must win: False sorts before True. Rows of one
        # address keep their order (the last one counts).
        rows.sort(key=lambda row: row[:2])
        self._addresses = [row[0] for row in rows]
        self._rows = rows
        # The readers of pyelftools share a stream and must not outlive the lock under which the tables are built.
        del self._dwarf, self._range_lists

    def line(self, pc: int) -> tuple[str, int]:
        """File and line of the innermost call at `pc`; an empty file if the table does not cover it."""
        at = bisect.bisect_right(self._addresses, pc) - 1
        if at < 0 or not self._rows[at][1]:
            return "", 0
        return self._rows[at][2], self._rows[at][3]

    def scopes(self, pc: int) -> list[_Scope]:
        """The function at `pc` and the inlined calls that lead to it, outermost first."""
        chain: list[_Scope] = []
        level: Iterable[_Scope] = self._functions
        while (scope := next((scope for scope in level if scope.covers(pc)), None)) is not None:
            chain.append(scope)
            level = scope.inner
        return chain

    def _read_lines(self, unit: CompileUnit, rows: list[tuple[int, bool, str, int]]) -> Callable[[int], str]:
        """Append the rows of a unit; return the reader of its table of files."""
        program = self._dwarf.line_program_for_CU(unit)
        if program is None:
            return lambda index: ""
        directory_of_unit = _text(unit.get_top_DIE().attributes.get("DW_AT_comp_dir"))
        # Up to version 4 files and directories count from 1, and directory 0 is that of the unit; from 5 on, from 0.
        first = 0 if program["version"] >= 5 else 1
        directories = [os.fsdecode(name) for name in program["include_directory"]]
        if first:
            directories.insert(0, directory_of_unit)
        paths = [
            os.path.join(directory_of_unit, directories[entry["dir_index"]], os.fsdecode(entry["name"]))
            for entry in program["file_entry"]
        ]

        def path(index: int) -> str:
            return paths[index - first] if first <= index < first + len(paths) else ""

        for entry in program.get_entries():
            state = entry.state
            if state is not None:
                rows.append((state.address, not state.end_sequence, path(state.file), state.line))
        return path

    def _read_unit(self, unit: CompileUnit, files: Callable[[int], str]) -> None:
        top = unit.get_top_DIE()
        low = top.attributes.get("DW_AT_low_pc")
        base = low.value if low is not None else 0

        def collect(parent: DIE, into: list[_Scope]) -> None:
            for die in parent.iter_children():
                if die.tag in ("DW_TAG_subprogram", "DW_TAG_inlined_subroutine"):
                    ranges = list(self._ranges(die, unit, base))
                    if not ranges:
                        continue  # the abstract description of a function that was inlined everywhere
                    scope = _Scope(
                        self._name(die),
                        ranges,
                        files(_number(die, "DW_AT_call_file")),
                        _number(die, "DW_AT_call_line"),
                    )
                    into.append(scope)
                    collect(die, scope.inner)
                elif die.tag in ("DW_TAG_lexical_block", "DW_TAG_namespace"):
                    collect(die, into)

        collect(top, self._functions)

    def _ranges(self, die: DIE, unit: CompileUnit, base: int) -> Iterator[tuple[int, int]]:
        from elftools.dwarf.descriptions import describe_form_class
        from elftools.dwarf.ranges import BaseAddressEntry

        attributes = die.attributes
        if "DW_AT_ranges" in attributes:
            assert self._range_lists is not None, "ranges are used and there is no section of them"
            for entry in self._range_lists.get_range_list_at_offset(attributes["DW_AT_ranges"].value, cu=unit):
                if isinstance(entry, BaseAddressEntry):
                    base = entry.base_address
                else:
                    offset = 0 if entry.is_absolute else base
                    yield offset + entry.begin_offset, offset + entry.end_offset
        elif "DW_AT_low_pc" in attributes and "DW_AT_high_pc" in attributes:
            low, high = attributes["DW_AT_low_pc"].value, attributes["DW_AT_high_pc"]
            # Since version 4 the upper end is a length, unless it has the form of an address.
            yield low, high.value if describe_form_class(high.form) == "address" else low + high.value

    def _name(self, die: DIE) -> str | None:
        """The name of a function: its own, or that of the description it was made from (perhaps in another unit)."""
        if die.offset in self._names:
            return self._names[die.offset]
        name: str | None = None
        if "DW_AT_name" in die.attributes:
            name = _python_name(_text(die.attributes["DW_AT_name"]))
        else:
            for link in ("DW_AT_abstract_origin", "DW_AT_specification"):
                if link in die.attributes:
                    name = self._name(die.get_DIE_from_attribute(link))
                    break
        if name is None and "DW_AT_linkage_name" in die.attributes:
            name = _python_name(_text(die.attributes["DW_AT_linkage_name"]))
        self._names[die.offset] = name
        return name


def _text(attribute: Any) -> str:
    return os.fsdecode(attribute.value) if attribute is not None else ""


def _number(die: DIE, name: str) -> int:
    attribute = die.attributes.get(name)
    return attribute.value if attribute is not None else 0


# ---------------------------------------------------------------------------------------------------------------------
# Objects and the map of all code
# ---------------------------------------------------------------------------------------------------------------------

_ELF64_LITTLE_ENDIAN = b"\x7fELF\x02\x01"
_ELF64_SYMBOL = "<IBBHQQ"  # name, info, other, section, value, size
_ELF64_RELA = "<QQq"  # offset, symbol and type, addend
# The two relocations that occur in debug information, an address and an offset into a section, by their widths.
_RELOCATION_SIZES = {
    ("EM_X86_64", 1): 8,  # R_X86_64_64
    ("EM_X86_64", 10): 4,  # R_X86_64_32
    ("EM_AARCH64", 257): 8,  # R_AARCH64_ABS64
    ("EM_AARCH64", 258): 4,  # R_AARCH64_ABS32
}


class _Symbol(NamedTuple):
    start: int
    end: int
    name: str


class _Object:
    """One loaded object."""

    def __init__(self, data: bytes, address_of: Callable[[str], int | None]) -> None:
        self._data = data
        self._address_of = address_of
        self._section_addresses: dict[int, int] = {}
        self._symbols: list[_Symbol] = []
        self._tables: _Tables | None = None
        self._has_tables = True

    def place(self) -> list[tuple[int, int]]:
        """Find where the sections with code were loaded; return the ranges of addresses they take."""
        from elftools.elf.constants import SH_FLAGS
        from elftools.elf.elffile import ELFFile
        from elftools.elf.sections import SymbolTableSection

        elf = ELFFile(io.BytesIO(self._data))
        code = {
            index: section["sh_size"]
            for index, section in enumerate(elf.iter_sections())
            if section["sh_flags"] & SH_FLAGS.SHF_EXECINSTR and section["sh_size"]
        }
        table = elf.get_section_by_name(".symtab")
        if not isinstance(table, SymbolTableSection):
            return []
        found: list[tuple[int, int, int, str]] = []  # section, value, size, name
        for symbol in table.iter_symbols():
            index, kind = symbol["st_shndx"], symbol["st_info"]["type"]
            if index not in code or kind not in ("STT_FUNC", "STT_NOTYPE") or not symbol.name:
                continue
            found.append((index, symbol["st_value"], symbol["st_size"], symbol.name))
            if index not in self._section_addresses and symbol["st_info"]["bind"] == "STB_GLOBAL":
                address = self._address_of(symbol.name)
                if address:
                    self._section_addresses[index] = address - symbol["st_value"]
        self._read_symbols(found, code)
        return [(start, start + code[index]) for index, start in self._section_addresses.items()]

    def _read_symbols(self, found: list[tuple[int, int, int, str]], code: dict[int, int]) -> None:
        # Labels of assembly have no size: such a function reaches to the next one, or to the end of its section.
        found.sort()
        for (index, value, size, name), after in zip(found, [*found[1:], None], strict=True):
            start = self._section_addresses.get(index)
            if start is None:
                continue
            if not size:
                size = (after[1] if after is not None and after[0] == index else code[index]) - value
            self._symbols.append(_Symbol(start + value, start + value + size, name))
        self._symbols.sort()

    def symbol_at(self, pc: int) -> str | None:
        at = bisect.bisect_right(self._symbols, pc, key=lambda symbol: symbol.start) - 1
        if at < 0 or pc >= self._symbols[at].end:
            return None
        return self._symbols[at].name

    def frames_at(self, pc: int) -> tuple[Frame, ...]:
        tables = self._read_tables()
        symbol = _python_name(self.symbol_at(pc) or "?")
        if tables is None:
            return (Frame(symbol, "", 0),)
        file, line = tables.line(pc)
        scopes = tables.scopes(pc)
        if not scopes:
            return (Frame(symbol, file, line),)
        frames: list[Frame] = []
        for scope in reversed(scopes):
            frames.append(Frame(scope.name or symbol, file, line))
            file, line = scope.call_file, scope.call_line
        return tuple(frames)

    def _read_tables(self) -> _Tables | None:
        from elftools.elf.elffile import ELFFile

        if self._tables is None and self._has_tables:
            elf = ELFFile(io.BytesIO(self._linked()))
            if elf.has_dwarf_info(strict=True):
                self._tables = _Tables(elf.get_dwarf_info(relocate_dwarf_sections=False, follow_links=False))
            self._has_tables = self._tables is not None
            self._data = b""  # everything that may still be asked for has been read
        return self._tables

    def _linked(self) -> bytes:
        """A copy of the object whose debug information refers to the addresses at which its code was loaded."""
        from elftools.elf.elffile import ELFFile

        data = bytearray(self._data)
        elf = ELFFile(io.BytesIO(self._data))
        table = elf.get_section_by_name(".symtab")
        assert table is not None, "an object that was placed has symbols"
        values = [
            value + self._section_addresses.get(section, 0)
            for _, _, _, section, value, _ in struct.iter_unpack(_ELF64_SYMBOL, table.data())
        ]
        for relocations in elf.iter_sections("SHT_RELA"):
            target = elf.get_section(relocations["sh_info"])
            if not target.name.startswith(".debug_"):
                continue
            for offset, info, addend in struct.iter_unpack(_ELF64_RELA, relocations.data()):
                try:
                    size = _RELOCATION_SIZES[elf["e_machine"], info & 0xFFFFFFFF]
                except KeyError:
                    raise ValueError(f"unknown relocation of {target.name}: {elf['e_machine']}, {info:#x}") from None
                # In a relocatable object the place to be changed does not count, only symbol and addend do.
                value = (values[info >> 32] + addend) % (1 << (8 * size))
                at = target["sh_offset"] + offset
                data[at : at + size] = value.to_bytes(size, "little")
        return bytes(data)


class _Placed(NamedTuple):
    """The ranges of all known code, in the order of their addresses."""

    starts: tuple[int, ...]
    ends: tuple[int, ...]
    objects: tuple[_Object, ...]

    def find(self, pc: int) -> _Object | None:
        at = bisect.bisect_right(self.starts, pc) - 1
        return self.objects[at] if at >= 0 and pc < self.ends[at] else None


class CodeMap:
    """All code that was loaded, and how to read it. Safe to use from several Python threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._added: collections.deque[_Object] = collections.deque()
        self._placed = _Placed((), (), ())
        self._frames: dict[int, tuple[Frame, ...]] = {}

    def add(self, object_bytes: bytes, address_of: Callable[[str], int | None]) -> None:
        """Register an object that has been loaded.

        `address_of` gives the address of one of the object's strong symbols (0 or None if the JIT does not know it).
        It is called later, at the first question, with the map's lock held; so it must neither ask the map nor wait
        for a lock whose owner may be asking it. It should keep the code alive. Adding takes no lock and no time.
        """
        if not object_bytes.startswith(_ELF64_LITTLE_ENDIAN):
            raise ValueError("not a 64-bit little-endian ELF object")
        self._added.append(_Object(bytes(object_bytes), address_of))

    def is_code(self, pc: int) -> bool:
        """Whether `pc` lies in the code of an object that was added."""
        return self._find(pc) is not None

    def function_at(self, pc: int) -> str | None:
        """The symbol of the function that contains `pc`, as the linker knows it."""
        owner = self._find(pc)
        return None if owner is None else owner.symbol_at(pc)

    def lookup(self, pc: int, *, return_address: bool = False) -> list[Frame]:
        """The Python functions at `pc`, innermost first: inlined calls, then the function that has the frame.

        A return address belongs to the instruction *before* it, which may be of another line, and the last of a
        function: say `return_address=True` for it. The list is empty if `pc` is not in the code of an object that was
        added.
        """
        if return_address:
            pc -= 1
        frames = self._frames.get(pc)
        if frames is None:
            owner = self._find(pc)
            if owner is None:
                return []  # not remembered: an object to come may have it
            with self._lock:
                frames = owner.frames_at(pc)
            self._frames[pc] = frames
        return list(frames)

    def _find(self, pc: int) -> _Object | None:
        if self._added:
            with self._lock:
                self._place_added()
        return self._placed.find(pc)

    def _place_added(self) -> None:
        """Give the objects that were added their places. The lock is held."""
        ranges = sorted(zip(*self._placed, strict=True), key=lambda entry: entry[0])
        while self._added:
            # The object leaves the queue after it was placed, because an empty queue tells readers that all is known.
            new = self._added[0]
            try:
                for start, end in new.place():
                    at = bisect.bisect_left(ranges, start, key=lambda entry: entry[0])
                    before, after = ranges[at - 1 : at], ranges[at : at + 1]
                    if (before and before[0][1] > start) or (after and after[0][0] < end):
                        continue  # L3: the code is known already
                    ranges.insert(at, (start, end, new))
                starts, ends, objects = zip(*ranges, strict=True) if ranges else ((), (), ())
                self._placed = _Placed(starts, ends, objects)
            finally:
                self._added.popleft()


# ---------------------------------------------------------------------------------------------------------------------
# The list of all code for those who cannot ask Python
# ---------------------------------------------------------------------------------------------------------------------

MODULES = "go.symtab"  # the symbol whose first word is the head of the list
MODULE_FIELDS = ("link", "data", "symbol", "address", "runtime")  # the words that Python fills in, in this order
MODULE_WORDS = 18  # an entry has room for what runtime/symtab.py finds out


class ModuleList:
    """A linked list in memory of all objects, newest first, for a process that dies (runtime/symtab.py).

    Nothing is parsed here, because every load of a function pays for it: an entry is the object's bytes, and name and
    address of one of its functions, which tells where it was loaded. One thread at a time may add.
    """

    def __init__(self) -> None:
        self._head = ctypes.c_void_p(0)
        self._kept: list[object] = []  # the entries and what they point to, for ever

    def publish(self, address: int) -> None:
        """The head of the list is the word at `address` from now on."""
        head = ctypes.c_void_p.from_address(address)
        head.value = self._head.value
        self._head = head

    def add(self, object_bytes: bytes, symbol: str, address: int, *, runtime: bool = False) -> None:
        """Enter an object that has been loaded. `symbol` is one of the functions that it defines, at `address`."""
        object_bytes, name = bytes(object_bytes), symbol.encode()
        entry = (ctypes.c_void_p * MODULE_WORDS)(
            self._head.value, _address_of_bytes(object_bytes), _address_of_bytes(name), address, int(runtime)
        )
        self._kept += (object_bytes, name, entry)
        self._head.value = ctypes.addressof(entry)  # L5: the entry is complete


def _address_of_bytes(data: bytes) -> int | None:
    """Where CPython keeps the bytes themselves, which a NUL follows."""
    return ctypes.cast(data, ctypes.c_void_p).value


# ---------------------------------------------------------------------------------------------------------------------
# Stacks
# ---------------------------------------------------------------------------------------------------------------------


def walk_frames(
    pc: int,
    rbp: int,
    read: Callable[[int], int | None],
    codemap: CodeMap,
    limit: int = 64,
    *,
    return_address: bool = False,
) -> list[Frame]:
    """The frames of a stack, innermost first, found by following the chain of frame pointers from `rbp`.

    `read` gives the word at an address, or None if the address must not be read; it should know the bounds of the
    stack, because rbp holds anything at all where the chain leaves code that keeps frame pointers. `limit` bounds the
    number of physical frames, each of which may show several inlined calls. `return_address` says what the first `pc`
    is; the others always are return addresses. Frames of foreign code (C) are skipped.

    The walk ends at rbp 0 (the bottom of a goroutine), at a return address of 0, where a word cannot be read, and
    where rbp does not grow: a stack grows downwards, so a caller's frame is always above, and a chain that turns
    cannot make the walk endless. If `pc` is in a function's first or last instruction, where its frame does not exist
    yet or any longer, the caller is missing from the result.
    """
    frames: list[Frame] = []
    for _ in range(limit):
        frames += codemap.lookup(pc, return_address=return_address)
        if rbp == 0:
            break
        caller_rbp, caller_pc = read(rbp), read(rbp + 8)
        if not caller_pc or caller_rbp is None:
            break
        pc, return_address = caller_pc, True
        rbp = caller_rbp if caller_rbp > rbp else 0
    return frames
