"""From a program counter to functions, files and lines, in a process that can ask nobody.

Stands for: src/runtime/symtab.go at 41dbcc19ef09 (findfunc, funcline), on the tables that LLVM writes in place of Go's
pclntab.

compiler/linetable.py answers the same question in Python. A process that dies of a throw or of SIGQUIT cannot use it:
the thread may be in the middle of anything. So every object that is loaded is also entered in a list in memory
(linetable.ModuleList): where its bytes lie, and the address of one of its functions. That is all, because loading has
to be fast. Everything else is done here, when it is needed, which is once in the life of a process:

1. `readmodule` finds the object's sections, and from the one known function where its code was loaded.
2. `linkmodule` applies the relocations of the debug information, in the bytes of the object itself. They are those of
   a relocatable file and nothing else reads their places (a relocation of this kind carries its whole value), so doing
   it twice, or while Python reads the same bytes, changes nothing.
3. `funcframes` walks the entries of .debug_info for the function and the calls inlined at an address; `pcline` runs the
   line-number program up to it. Both read DWARF 2 to 4, the version Numba asks for; of another one nothing is said.

* SY1  No lock, no allocation, no pointer store, no getg(); some 2 KB of stack. May run anywhere, a signal handler too.
* SY2  One thread at a time: the one that ends the process (panic.py, `dying`). It alone writes to a Module.
* SY3  A Module is complete before the list's head names it, and is never changed by Python after that.
* SY4  The bytes are trusted: they are what the loader has just loaded. A fault in here ends the process like one
       anywhere else in a dump (signal.py, SG4).
* SY5  One section of code for each object is known, the one that holds the known function. LLVM makes only one.

Raw memory: ELF and DWARF are read byte by byte.
"""

from __future__ import annotations

from gopark.compiler import linetable
from gopark.compiler.image import fn
from gopark.compiler.structs import Array, struct, var
from gopark.runtime.prims import local, rawload, rawload8, rawload32, rawstore, rawstore32, text

MOSTINLINED = 32  # levels of inlined calls that a Funcs has room for

SHT_SYMTAB, SHT_RELA = 2, 4
SECTION, SYMBOL, RELA = 64, 24, 24  # bytes of an entry of each table
R_X86_64_64, R_X86_64_32 = 1, 10

DW_TAG_inlined_subroutine, DW_TAG_compile_unit, DW_TAG_subprogram = 0x1D, 0x11, 0x2E
DW_AT_name, DW_AT_stmt_list, DW_AT_low_pc, DW_AT_high_pc, DW_AT_comp_dir = 0x03, 0x10, 0x11, 0x12, 0x1B
DW_AT_abstract_origin, DW_AT_specification, DW_AT_ranges = 0x31, 0x47, 0x55
DW_AT_call_file, DW_AT_call_line, DW_AT_linkage_name = 0x58, 0x59, 0x6E
DW_FORM_addr, DW_FORM_block2, DW_FORM_block4, DW_FORM_data2, DW_FORM_data4, DW_FORM_data8 = 1, 3, 4, 5, 6, 7
DW_FORM_string, DW_FORM_block, DW_FORM_block1, DW_FORM_data1, DW_FORM_flag, DW_FORM_sdata = 8, 9, 10, 11, 12, 13
DW_FORM_strp, DW_FORM_udata, DW_FORM_ref_addr, DW_FORM_ref1, DW_FORM_ref2 = 14, 15, 16, 17, 18
DW_FORM_ref4, DW_FORM_ref8, DW_FORM_ref_udata, DW_FORM_sec_offset = 19, 20, 21, 23
DW_FORM_exprloc, DW_FORM_flag_present = 24, 25
DW_LNS_copy, DW_LNS_advance_pc, DW_LNS_advance_line, DW_LNS_set_file = 1, 2, 3, 4
DW_LNS_const_add_pc, DW_LNS_fixed_advance_pc = 8, 9
DW_LNE_end_sequence, DW_LNE_set_address = 1, 2


@struct(notinheap=True)
class Module:
    """An object that was loaded. Python fills in the first fields (linetable.MODULE_FIELDS), readmodule the others."""

    link: Module
    data: int  # the bytes of the object
    symbol: int  # a function in it: its symbol, NUL-terminated ...
    address: int  # ... and where it lies
    runtime: int  # 1: the runtime's own code
    state: int  # UNREAD, READ, LINKED
    code: int  # number of the section with code
    lo: int  # where it was loaded
    hi: int
    symbols: int  # addresses of sections; 0: there is none
    nsymbols: int
    names: int
    info: int
    infoend: int
    abbrev: int
    line: int
    str: int
    ranges: int


UNREAD, READ, LINKED = 0, 1, 2


@struct(notinheap=True)
class Symtab:
    modules: Module  # the list of all; its head is stored by Python


@struct(notinheap=True)
class Cursor:
    """Where to read next."""

    at: int


@struct(notinheap=True)
class Die:
    """An entry of .debug_info, as far as it is of use here. Texts are addresses, 0 if there is none."""

    tag: int  # 0: the end of a list of children; -1: a form that is not known
    children: int
    low: int
    high: int
    ranges: int  # offset, -1: none
    origin: int  # address of the entry it was made from
    name: int
    linkage: int
    callfile: int
    callline: int
    stmtlist: int  # offset, -1: none
    compdir: int
    next: int  # address of the next entry


@struct(notinheap=True)
class Funcs:
    """What is at an address: a function [0], the call inlined there [1], the call inlined into that [2], ..."""

    n: int  # 0: the object does not say
    entry: int  # address of the function
    compdir: int  # of the unit
    program: int  # its line-number program
    file: int  # of the innermost: number in that program's table, and line
    line: int
    name: Array[int, MOSTINLINED]  # mangled
    callfile: Array[int, MOSTINLINED]  # where it was inlined
    callline: Array[int, MOSTINLINED]


symtab = var(Symtab, linetable.MODULES)


def _assert_fields():
    for i, name in enumerate(linetable.MODULE_FIELDS):
        assert Module.fields[name][0] == 8 * i, f"linetable.py says that word {i} of a Module is its {name}"
    assert Module.size <= 8 * linetable.MODULE_WORDS


_assert_fields()


# ---- reading


@fn
def load16(a: int) -> int:
    return rawload8(a) | rawload8(a + 1) << 8


@fn(inline=False)
def sametext(a: int, b: int) -> bool:
    """Whether two NUL-terminated texts are equal."""
    i = 0
    while rawload8(a + i) == rawload8(b + i):
        if rawload8(a + i) == 0:
            return True
        i += 1
    return False


@fn(inline=False)
def hasprefix(a: int, prefix: int) -> bool:
    """Whether a NUL-terminated text begins with another."""
    i = 0
    while rawload8(prefix + i) != 0:
        if rawload8(a + i) != rawload8(prefix + i):
            return False
        i += 1
    return True


@fn
def skiptext(a: int) -> int:
    """The address behind a NUL-terminated text."""
    while rawload8(a) != 0:
        a += 1
    return a + 1


@fn(inline=False)
def uleb(c: Cursor) -> int:
    value = 0
    shift = 0
    while True:
        byte = rawload8(c.at)
        c.at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value


@fn(inline=False)
def sleb(c: Cursor) -> int:
    value = 0
    shift = 0
    while True:
        byte = rawload8(c.at)
        c.at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            break
    if byte & 64 != 0 and shift < 64:
        value -= 1 << shift
    return value


# ---- modules


@fn(inline=False)
def findmodule(pc: int) -> Module:
    """The object whose code contains pc; nil: none that we loaded."""
    md = symtab.modules
    while md is not None:
        if md.state == UNREAD:
            readmodule(md)
        if md.lo <= pc and pc < md.hi:
            return md
        md = md.link
    return None


@fn(inline=False)
def readmodule(md: Module):
    """Find the sections, and where the code lies."""
    md.state = READ
    data = md.data
    sections = data + rawload(data + 40)
    texts = data + rawload(sections + SECTION * load16(data + 62) + 24)
    for i in range(load16(data + 60)):
        s = sections + SECTION * i
        at = data + rawload(s + 24)
        name = texts + rawload32(s)
        if rawload32(s + 4) == SHT_SYMTAB:
            md.symbols = at
            md.nsymbols = rawload(s + 32) // SYMBOL
            md.names = data + rawload(sections + SECTION * rawload32(s + 40) + 24)
        elif sametext(name, text(".debug_info")):
            md.info = at
            md.infoend = at + rawload(s + 32)
        elif sametext(name, text(".debug_abbrev")):
            md.abbrev = at
        elif sametext(name, text(".debug_line")):
            md.line = at
        elif sametext(name, text(".debug_str")):
            md.str = at
        elif sametext(name, text(".debug_ranges")):
            md.ranges = at
    for i in range(md.nsymbols):
        symbol = md.symbols + SYMBOL * i
        code = load16(symbol + 6)
        if code != 0 and code < 0xFF00 and sametext(md.names + rawload32(symbol), md.symbol):
            md.code = code
            md.lo = md.address - rawload(symbol + 8)
            md.hi = md.lo + rawload(sections + SECTION * code + 32)
            return


@fn(inline=False)
def linkmodule(md: Module):
    """Let the debug information name the addresses at which the code was loaded."""
    md.state = LINKED
    data = md.data
    sections = data + rawload(data + 40)
    texts = data + rawload(sections + SECTION * load16(data + 62) + 24)
    for i in range(load16(data + 60)):
        s = sections + SECTION * i
        if rawload32(s + 4) == SHT_RELA:
            target = sections + SECTION * rawload32(s + 44)
            if hasprefix(texts + rawload32(target), text(".debug_")):
                relocate(md, data + rawload(s + 24), rawload(s + 32) // RELA, data + rawload(target + 24))


@fn(inline=False)
def relocate(md: Module, table: int, n: int, target: int):
    """Apply the n relocations at `table` to the section at `target`. One of another kind makes the tables useless."""
    for i in range(n):
        r = table + RELA * i
        info = rawload(r + 8)
        symbol = md.symbols + SYMBOL * (info >> 32)
        value = rawload(symbol + 8) + rawload(r + 16)
        if load16(symbol + 6) == md.code:
            value += md.lo
        kind = info & 0xFFFFFFFF
        if kind == R_X86_64_64:
            rawstore(target + rawload(r), value)
        elif kind == R_X86_64_32:
            rawstore32(target + rawload(r), value)
        else:
            md.info = 0
            md.infoend = 0


@fn(inline=False)
def funcsymbol(md: Module, pc: int) -> int:
    """The entry in the table of symbols of the function that contains pc; 0: none."""
    for i in range(md.nsymbols):
        symbol = md.symbols + SYMBOL * i
        if load16(symbol + 6) == md.code and rawload8(symbol + 4) & 15 == 2:  # STT_FUNC
            start = md.lo + rawload(symbol + 8)
            if start <= pc and pc < start + rawload(symbol + 16):
                return symbol
    return 0


@fn(inline=False)
def namedfunc(md: Module, name: int) -> int:
    """The address of the function with that symbol; 0: the object has none."""
    for i in range(md.nsymbols):
        symbol = md.symbols + SYMBOL * i
        if load16(symbol + 6) == md.code and sametext(md.names + rawload32(symbol), name):
            return md.lo + rawload(symbol + 8)
    return 0


# ---- .debug_info


@fn(inline=False)
def readform(md: Module, unit: int, form: int, c: Cursor) -> int:
    """Read an attribute and step over it: a number, the address of a text, the address of another entry."""
    at = c.at
    if form == DW_FORM_addr or form == DW_FORM_data8:
        c.at = at + 8
        return rawload(at)
    if form == DW_FORM_data4 or form == DW_FORM_sec_offset:
        c.at = at + 4
        return rawload32(at)
    if form == DW_FORM_strp:
        c.at = at + 4
        return md.str + rawload32(at)
    if form == DW_FORM_data1 or form == DW_FORM_flag:
        c.at = at + 1
        return rawload8(at)
    if form == DW_FORM_data2:
        c.at = at + 2
        return load16(at)
    if form == DW_FORM_ref4:
        c.at = at + 4
        return unit + rawload32(at)
    if form == DW_FORM_ref_addr:
        c.at = at + 4
        return md.info + rawload32(at)
    if form == DW_FORM_flag_present:
        return 1
    if form == DW_FORM_udata:
        return uleb(c)
    return readrareform(unit, form, c)


@fn(inline=False)
def readrareform(unit: int, form: int, c: Cursor) -> int:
    """The forms that LLVM does not use for line tables, so far; -1, and the cursor at 0, for an unknown one."""
    at = c.at
    if form == DW_FORM_sdata:
        return sleb(c)
    if form == DW_FORM_string:
        c.at = skiptext(at)
        return at
    if form == DW_FORM_ref1:
        c.at = at + 1
        return unit + rawload8(at)
    if form == DW_FORM_ref2:
        c.at = at + 2
        return unit + load16(at)
    if form == DW_FORM_ref8:
        c.at = at + 8
        return unit + rawload(at)
    if form == DW_FORM_ref_udata:
        return unit + uleb(c)
    if form == DW_FORM_block1:
        c.at = at + 1 + rawload8(at)
        return 0
    if form == DW_FORM_block2:
        c.at = at + 2 + load16(at)
        return 0
    if form == DW_FORM_block4:
        c.at = at + 4 + rawload32(at)
        return 0
    if form == DW_FORM_block or form == DW_FORM_exprloc:
        n = uleb(c)
        c.at += n
        return 0
    c.at = 0
    return -1


@fn(inline=False)
def readdie(md: Module, unit: int, at: int, die: Die):
    """Read the entry at that address, in the unit at `unit`."""
    c = local(Cursor)
    c.at = at
    die.tag = 0
    die.children = 0
    die.low = 0
    die.high = 0
    die.ranges = -1
    die.origin = 0
    die.name = 0
    die.linkage = 0
    die.callfile = 0
    die.callline = 0
    die.stmtlist = -1
    die.compdir = 0
    code = uleb(c)
    die.next = c.at
    if code == 0:
        return
    abbrev = local(Cursor)
    abbrev.at = md.abbrev + rawload32(unit + 6)
    while True:
        have = uleb(abbrev)
        if have == 0:
            die.tag = -1
            return
        die.tag = uleb(abbrev)
        die.children = rawload8(abbrev.at)
        abbrev.at += 1
        if have == code:
            break
        while uleb(abbrev) | uleb(abbrev) != 0:  # an attribute and its form
            pass
    while True:
        attribute = uleb(abbrev)
        form = uleb(abbrev)
        if attribute == 0 and form == 0:
            break
        value = readform(md, unit, form, c)
        if c.at == 0:
            die.tag = -1
            return
        if attribute == DW_AT_low_pc:
            die.low = value
        elif attribute == DW_AT_high_pc:
            die.high = value if form == DW_FORM_addr else die.low + value
        elif attribute == DW_AT_ranges:
            die.ranges = value
        elif attribute == DW_AT_name:
            die.name = value
        elif attribute == DW_AT_linkage_name:
            die.linkage = value
        elif attribute == DW_AT_abstract_origin or attribute == DW_AT_specification:
            die.origin = value
        elif attribute == DW_AT_call_file:
            die.callfile = value
        elif attribute == DW_AT_call_line:
            die.callline = value
        elif attribute == DW_AT_stmt_list:
            die.stmtlist = value
        elif attribute == DW_AT_comp_dir:
            die.compdir = value
    die.next = c.at


@fn(inline=False)
def covers(md: Module, die: Die, base: int, pc: int) -> bool:
    """Whether the code of an entry contains pc; `base` is the address that the unit's ranges count from."""
    if die.ranges == -1:
        return die.low <= pc and pc < die.high
    at = md.ranges + die.ranges
    while rawload(at) | rawload(at + 8) != 0:
        lo = rawload(at)
        hi = rawload(at + 8)
        if lo == -1:
            base = hi
        elif base + lo <= pc and pc < base + hi:
            return True
        at += 16
    return False


@fn(inline=False)
def unitof(md: Module, a: int) -> int:
    """The unit that contains the entry at that address."""
    unit = md.info
    while unit + 4 + rawload32(unit) <= a:
        unit += 4 + rawload32(unit)
    return unit


@fn(inline=False)
def diename(md: Module, unit: int, at: int) -> int:
    """The mangled name of a function: its own, or that of the entry it was made from; 0: none."""
    die = local(Die)
    for _ in range(4):
        readdie(md, unit, at, die)
        if die.linkage != 0:
            return die.linkage
        if die.origin == 0:
            break
        at = die.origin
        unit = unitof(md, at)
    return die.name


@fn(inline=False)
def funcframes(md: Module, pc: int, f: Funcs):
    """Fill in f. Levels beyond MOSTINLINED are left out: the line is then that of the last call which has room."""
    f.n = 0
    f.file = 0
    f.line = 0
    if md.state != LINKED:
        linkmodule(md)
    unit = md.info
    while unit < md.infoend:
        if 2 <= load16(unit + 4) and load16(unit + 4) <= 4:
            unitframes(md, unit, pc, f)
            if f.n != 0:
                return
        unit += 4 + rawload32(unit)


@fn(inline=False)
def unitframes(md: Module, unit: int, pc: int, f: Funcs):
    """The same in one unit. In the order of the bytes a scope comes before what lies in it, and siblings do not
    overlap, so the scopes that cover pc are met from the outermost to the innermost."""
    end = unit + 4 + rawload32(unit)
    die = local(Die)
    readdie(md, unit, unit + 11, die)
    if die.tag != DW_TAG_compile_unit or die.stmtlist == -1:
        return
    base = die.low
    f.compdir = die.compdir
    f.program = md.line + die.stmtlist
    full = 0
    while die.next < end:
        at = die.next
        readdie(md, unit, at, die)
        if die.tag == -1:
            f.n = 0
            return
        if die.tag == DW_TAG_subprogram or die.tag == DW_TAG_inlined_subroutine:
            if covers(md, die, base, pc):
                n = f.n
                if n == 0:
                    f.entry = die.low
                if n < MOSTINLINED:
                    f.name[n] = at
                    f.callfile[n] = die.callfile
                    f.callline[n] = die.callline
                    f.n = n + 1
                elif full == 0:
                    full = 1
                    f.file = die.callfile
                    f.line = die.callline
    for i in range(f.n):
        f.name[i] = diename(md, unit, f.name[i])
    if f.n != 0 and full == 0:
        pcline(f, pc)


# ---- .debug_line


@fn(inline=False)
def pcline(f: Funcs, pc: int):
    """Run the line-number program of the unit until it passes pc: file and line of the innermost function."""
    at = f.program
    end = at + 4 + rawload32(at)
    version = load16(at + 4)
    if version < 2 or version > 4:
        return
    c = local(Cursor)
    c.at = at + 10 + rawload32(at + 6)
    at += 10
    step = rawload8(at)
    if version == 4:
        at += 1
    linebase = rawload8(at + 2)
    if linebase > 127:
        linebase -= 256
    linerange = rawload8(at + 3)
    opcodebase = rawload8(at + 4)
    lengths = at + 4  # of the standard opcodes, which count from 1
    address = 0
    file = 1
    line = 1
    rowaddress = 0
    rowfile = 0
    rowline = 0
    inside = 0  # there is a row before this one in the sequence
    while c.at < end:
        opcode = rawload8(c.at)
        c.at += 1
        row = 0
        last = 0
        if opcode >= opcodebase:
            adjusted = opcode - opcodebase
            address += adjusted // linerange * step
            line += linebase + adjusted % linerange
            row = 1
        elif opcode == 0:
            n = uleb(c)
            extended = rawload8(c.at)
            if extended == DW_LNE_end_sequence:
                row = 1
                last = 1
            elif extended == DW_LNE_set_address:
                address = rawload(c.at + 1)
            c.at += n
        elif opcode == DW_LNS_copy:
            row = 1
        elif opcode == DW_LNS_advance_pc:
            address += uleb(c) * step
        elif opcode == DW_LNS_advance_line:
            line += sleb(c)
        elif opcode == DW_LNS_set_file:
            file = uleb(c)
        elif opcode == DW_LNS_const_add_pc:
            address += (255 - opcodebase) // linerange * step
        elif opcode == DW_LNS_fixed_advance_pc:
            address += load16(c.at)
            c.at += 2
        else:
            for _ in range(rawload8(lengths + opcode)):
                uleb(c)
        if row != 0:
            if inside != 0 and rowaddress <= pc and pc < address:
                f.file = rowfile
                f.line = rowline
                return
            rowaddress = address
            rowfile = file
            rowline = line
            inside = 1
        if last != 0:
            address = 0
            file = 1
            line = 1
            inside = 0


@fn(inline=False)
def filename(f: Funcs, number: int) -> int:
    """The address of an entry {name, directory} in the table of files; 0: there is none with that number."""
    if number == 0:
        return 0
    c = local(Cursor)
    c.at = filetable(f)
    while rawload8(c.at) != 0:
        number -= 1
        if number == 0:
            return c.at
        c.at = skiptext(c.at)
        uleb(c)  # its directory, time and length
        uleb(c)
        uleb(c)
    return 0


@fn
def directories(f: Funcs) -> int:
    """The address of the table of directories: behind the header and the lengths of the opcodes."""
    at = f.program + 10
    if load16(f.program + 4) == 4:
        at += 1
    return at + 4 + rawload8(at + 4)


@fn(inline=False)
def filetable(f: Funcs) -> int:
    at = directories(f)
    while rawload8(at) != 0:
        at = skiptext(at)
    return at + 1


@fn(inline=False)
def directory(f: Funcs, file: int) -> int:
    """The directory of an entry of the table of files, as it stands there: perhaps relative to compdir; 0: compdir."""
    c = local(Cursor)
    c.at = skiptext(file)
    number = uleb(c)
    if number == 0:
        return 0
    at = directories(f)
    while rawload8(at) != 0:
        number -= 1
        if number == 0:
            return at
        at = skiptext(at)
    return 0
