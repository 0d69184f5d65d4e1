"""print: numbers, bool and str as text, into memory that the caller provides.

Stands for: src/runtime/print1.go at 41dbcc19ef09, with Python's output instead of Go's.

Each function writes at the address `p` and returns the address behind its last byte; types/print.py sums the upper
bounds (`MAX_...` below), finds a buffer of that size and calls `printwrite` once with the result. So nothing here
allocates, locks, polls or knows of Python, and no goroutine waits for the GIL in order to print.

* F1  The output is that of Python's `str` (inside tuples: `repr`), byte for byte, for int, bool, float, complex, str.
* F2  float32 and complex64 have the shortest digits that identify the value *among the float32 values*, as in NumPy's
      `str` of a scalar. Their notation is that of Python's float: scientific from 1e16 and below 1e-4, as compared with
      the value. NumPy has the same lower limit; the upper one depends on its version (1e6 in recent ones, 1e16 before).
* F3  Text is UTF-8. A lone surrogate, which UTF-8 does not have and Python refuses to print, becomes U+FFFD, as in Go.

Floats are converted with Schubfach (R. Giulietti, "The Schubfach way to render doubles", 2020). A float is c * 2**q,
and every number between the midpoints to its neighbours reads back as it. With 10**k just below the width of that
interval, at most two multiples of 10**(k+1) and two of 10**k come into question: the shortest is taken, and of those
the nearest. All comparisons are made on the float and the midpoints times 4/10**k, rounded to odd: truncated, with the
lowest bit set if anything was cut off. A table of 617 powers of ten with 128 bits is precise enough for that. A float32
is only a special case: its c and q are in the range of float64, just the neighbours are further away.

Integers are int64 throughout, also where 64 bits without sign are meant (`printuint`, the table): Numba would make a
float of int64 mixed with uint64. The few operations whose result depends on the sign are intrinsics of this file.

The tables are constants of the image, computed from Python's integers and characters when this unit is compiled. Which
characters `repr` escapes is thus a matter of the Python that builds the image; its version is in the key of the image.

May run without a P, on any stack. Raw memory: the caller's buffer, the characters of a str.
"""

from __future__ import annotations

import functools
import math

from gopark.compiler.image import WITH_P, fn
from gopark.compiler.numba_api import (
    cgutils,
    const,
    i32,
    i64,
    i128,
    intrinsic,
    lir,
    types,
)
from gopark.compiler.structs import struct
from gopark.runtime.os_linux import write
from gopark.runtime.prims import (
    local,
    memmove,
    rawload,
    rawload8,
    rawload32,
    rawstore,
    rawstore8,
    text,
)

int64, float32 = types.int64, types.float32

# ---- upper bounds, in bytes, of what is written
MAX_INT = 20  # -9223372036854775808, 18446744073709551615
MAX_BOOL = 5
MAX_FLOAT = 24  # -2.2250738585072014e-308
MAX_COMPLEX = 2 * MAX_FLOAT + 4
MAX_STR_CHAR = 4  # one code point in UTF-8
MAX_REPR_CHAR = 10  # \U0010ffff
MAX_REPR_QUOTES = 2

# ---- characters
QUOTE, DOUBLE_QUOTE, PLUS, MINUS, DOT, ZERO, BACKSLASH = (ord(c) for c in "'\"+-.0\\")
PAREN_OPEN, PAREN_CLOSE, TAB, NEWLINE, RETURN, DELETE = (ord(c) for c in "()\t\n\r\x7f")
LETTER_A, LETTER_E, LETTER_J, LETTER_N, LETTER_R, LETTER_T, LETTER_U, LETTER_BIG_U, LETTER_X = (
    ord(c) for c in "aejnrtuUx"
)
SURROGATE_FIRST, SURROGATE_LAST, REPLACEMENT = 0xD800, 0xDFFF, 0xFFFD
NON_ASCII = ~0x7F7F7F7F7F7F7F7F  # the bits that are set in no ASCII character, of eight characters at once
TEN_TO_19 = 10**19 - 2**64  # as an int64

# ---- IEEE 754: bits of the fraction, all ones in the exponent, and q of a subnormal
FRACTION64, FRACTION32 = 52, 23
SPECIAL64, SPECIAL32 = 2047, 255
LEAST_Q64, LEAST_Q32 = -1074, -149
SIGN32 = 1 << 31

POWER_FIRST, POWER_LAST = -292, 324


# ---- tables


def _power_of_ten(k: int) -> tuple[int, int]:
    """10**k as g * 2**(floor(log2(10**k)) - 127), g rounded up: the high and the low word of g."""
    exponent = (k * 1741647 >> 19) - 127
    numerator, denominator = (10**k, 1) if k >= 0 else (1, 10**-k)
    if exponent >= 0:
        denominator <<= exponent
    else:
        numerator <<= -exponent
    g = -(-numerator // denominator)
    assert 1 << 127 <= g < 1 << 128
    return g >> 64, g & (1 << 64) - 1


@functools.cache
def _powers_of_ten() -> list[int]:
    return [word for k in range(POWER_FIRST, POWER_LAST + 1) for word in _power_of_ten(k)]


@functools.cache
def _printable_changes() -> list[int]:
    """The code points at which `str.isprintable` changes; code point 0 is not printable."""
    printable = [False, *map(str.isprintable, map(chr, range(0x110000)))]
    return [c for c in range(0x110000) if printable[c] != printable[c + 1]]


def _table(b, name: str, words: list[int], ty):
    """The address of a constant array of the module."""
    found = b.module.globals.get(name)
    if found is None:
        value = lir.Constant(lir.ArrayType(ty, len(words)), words)
        found = cgutils.global_constant(b.module, name, value)
    return found


@intrinsic
def powerword(typingctx, k, low):
    """The high (`low` = 0) or the low (`low` = 1) word of the table's entry for 10**k."""

    def codegen(context, b, sig, args):
        table = _table(b, "go.powersoften", _powers_of_ten(), i64)
        index = b.add(b.shl(b.sub(args[0], const(POWER_FIRST)), const(1)), args[1])
        return b.load(cgutils.gep_inbounds(b, table, 0, index))

    return int64(int64, int64), codegen


@intrinsic
def printablechange(typingctx, i):
    """The i-th code point at which being printable changes."""

    def codegen(context, b, sig, args):
        table = _table(b, "go.printable", _printable_changes(), i32)
        return b.zext(b.load(cgutils.gep_inbounds(b, table, 0, args[0])), i64)

    return int64(int64), codegen


@intrinsic
def printablechanges(typingctx):
    """How many such code points there are."""

    def codegen(context, b, sig, args):
        return const(len(_printable_changes()))

    return int64(), codegen


# ---- arithmetic that Python's operators do not have


@intrinsic
def udiv(typingctx, a, b):
    """a // b of 64-bit integers without sign."""

    def codegen(context, b, sig, args):
        return b.udiv(*args)

    return int64(int64, int64), codegen


@intrinsic
def scaled(typingctx, high, low, x):
    """x * (high:low) / 2**128, rounded to odd, for x < 2**60."""

    def codegen(context, b, sig, args):
        high, low, x = (b.zext(a, i128) for a in args)
        sixtyfour = lir.Constant(i128, 64)
        product = b.add(b.mul(high, x), b.lshr(b.mul(low, x), sixtyfour))
        whole, fraction = b.trunc(b.lshr(product, sixtyfour), i64), b.trunc(product, i64)
        # The entries of the table are less than 1 too large, so the product is by less than x: where the true result is
        # an integer, that does not reach the fraction's 64 bits.
        return b.or_(whole, b.zext(b.icmp_unsigned("!=", fraction, const(0)), i64))

    return int64(int64, int64, int64), codegen


@intrinsic
def float64bits(typingctx, x):
    """The bits of a float64."""

    def codegen(context, b, sig, args):
        return b.bitcast(args[0], i64)

    return int64(types.float64), codegen


@intrinsic
def float32bits(typingctx, x):
    """The bits of a float32."""

    def codegen(context, b, sig, args):
        return b.zext(b.bitcast(args[0], i32), i64)

    return int64(types.float32), codegen


# ---- integers

PAIRS = "".join(f"{i:02}" for i in range(100))


@fn
def ndigits(v: int) -> int:
    """How many decimal digits v has, taken without sign."""
    if v < 0:
        return 20 if v >= TEN_TO_19 else 19
    n = 1
    bound = 10
    while n < 19 and v >= bound:
        n += 1
        bound *= 10
    return n


@fn
def printdigits(p: int, v: int, n: int) -> int:
    """The last n decimal digits of v, taken without sign; zeros in front if v has fewer."""
    pairs = text(PAIRS)
    q = p + n
    while q - p >= 2:
        rest = udiv(v, 100)
        q -= 2
        memmove(q, pairs + 2 * (v - 100 * rest), 2)
        v = rest
    if q > p:
        rawstore8(p, ZERO + v - 10 * udiv(v, 10))
    return p + n


@fn(entered=WITH_P)
def printuint(p: int, v: int) -> int:
    """The 64 bits of v without sign; at most MAX_INT bytes."""
    return printdigits(p, v, ndigits(v))


@fn(entered=WITH_P)
def printint(p: int, v: int) -> int:
    """At most MAX_INT bytes."""
    if v < 0:
        rawstore8(p, MINUS)
        p += 1
        v = -v  # the least integer stays as it is, which is right without sign
    return printdigits(p, v, ndigits(v))


@fn(entered=WITH_P)
def printbool(p: int, v: bool) -> int:
    """True or False; at most MAX_BOOL bytes."""
    if v:
        memmove(p, text("True"), 4)
        return p + 4
    memmove(p, text("False"), 5)
    return p + 5


# ---- floats


@struct(notinheap=True)
class Decimal:
    """The number digits * 10**exponent, positive, without trailing zeros once `shortest` has filled it."""

    digits: int
    exponent: int


@fn
def nearest(d: Decimal, c: int, q: int, closer: int):
    """Schubfach proper: d becomes the shortest decimal number that reads back as c * 2**q.

    closer: 1 if the neighbour below is only half as far away as the one above (the fraction is 0), else 0.
    """
    odd = c & 1
    k = (q * 1262611 - 524031 * closer) >> 22  # floor(log10) of the interval's width
    h = q + ((-k * 1741647) >> 19) + 1
    high, low = powerword(-k, 0), powerword(-k, 1)
    # Of an even c the midpoints themselves still read back as v: ties go to even.
    lower = scaled(high, low, (4 * c - 2 + closer) << h) + odd
    v = scaled(high, low, (4 * c) << h)
    upper = scaled(high, low, (4 * c + 2) << h) - odd
    s = v >> 2
    if s >= 10:
        tens = s // 10
        below = lower <= 40 * tens
        above = 40 * tens + 40 <= upper
        if below != above:
            d.digits = tens + 1 if above else tens
            d.exponent = k + 1
            return
    below = lower <= 4 * s
    above = 4 * s + 4 <= upper
    if below != above:
        up = above
    else:
        middle = 4 * s + 2
        up = v > middle or (v == middle and s & 1 != 0)
    d.digits = s + 1 if up else s
    d.exponent = k


@fn
def shortest(d: Decimal, c: int, q: int, closer: int):
    """d becomes the shortest decimal number that reads back as c * 2**q; see `nearest`."""
    if -FRACTION64 - 1 < q <= 0 and c & ((1 << -q) - 1) == 0:
        # An integer below 2**53 (2**24 of a float32): its neighbours are no further away than 1, so nothing is shorter.
        d.digits = c >> -q
        d.exponent = 0
    else:
        nearest(d, c, q, closer)
    while True:
        rest = d.digits // 10
        if rest * 10 != d.digits:
            return
        d.digits = rest
        d.exponent += 1


@fn
def printzeros(p: int, n: int) -> int:
    for i in range(n):
        rawstore8(p + i, ZERO)
    return p + n


@fn
def printdecimal(p: int, d: Decimal, scientific: bool, fraction: bool) -> int:
    """d in the notation wanted. fraction: an integer gets `.0`."""
    n = ndigits(d.digits)
    point = n + d.exponent  # the number is 0.DIGITS * 10**point
    if scientific:
        end = printdigits(p + 1, d.digits, n)
        rawstore8(p, rawload8(p + 1))
        rawstore8(p + 1, DOT)
        p = end if n > 1 else p + 1
        rawstore8(p, LETTER_E)
        rawstore8(p + 1, MINUS if point <= 0 else PLUS)
        exponent = abs(point - 1)
        return printdigits(p + 2, exponent, 3 if exponent >= 100 else 2)
    if point <= 0:
        rawstore8(p, ZERO)
        rawstore8(p + 1, DOT)
        return printdigits(printzeros(p + 2, -point), d.digits, n)
    if d.exponent >= 0:
        p = printzeros(printdigits(p, d.digits, n), d.exponent)
        if fraction:
            rawstore8(p, DOT)
            p = printzeros(p + 1, 1)
        return p
    end = printdigits(p + 1, d.digits, n)
    for i in range(point):
        rawstore8(p + i, rawload8(p + 1 + i))
    rawstore8(p + point, DOT)
    return end


@fn
def printspecial(p: int, negative: bool, isnan: bool) -> int:
    if isnan:
        memmove(p, text("nan"), 3)
        return p + 3
    if negative:
        rawstore8(p, MINUS)
        p += 1
    memmove(p, text("inf"), 3)
    return p + 3


@fn(inline=False)
def printreal(p: int, x: float, single: bool, fraction: bool) -> int:
    """x as repr does. single: x is the value of a float32, which needs fewer digits. fraction: see printdecimal."""
    bits = float32bits(float32(x)) if single else float64bits(x)
    width, specials, least = (FRACTION32, SPECIAL32, LEAST_Q32) if single else (FRACTION64, SPECIAL64, LEAST_Q64)
    negative = bits & SIGN32 != 0 if single else bits < 0
    exponent = (bits >> width) & specials
    c = bits & ((1 << width) - 1)
    if exponent == specials:
        return printspecial(p, negative, c != 0)
    if negative:
        rawstore8(p, MINUS)
        p += 1
    if exponent == 0 and c == 0:
        p = printzeros(p, 1)
        if fraction:
            rawstore8(p, DOT)
            p = printzeros(p + 1, 1)
        return p
    d = local(Decimal)
    if exponent == 0:
        shortest(d, c, least, 0)
    else:
        shortest(d, c | 1 << width, least + exponent - 1, 1 if c == 0 and exponent > 1 else 0)
    absolute = abs(x)
    return printdecimal(p, d, absolute >= 1e16 or absolute < 1e-4, fraction)


@fn(entered=WITH_P)
def printfloat(p: int, x: float) -> int:
    """At most MAX_FLOAT bytes."""
    return printreal(p, x, False, True)


@fn(entered=WITH_P)
def printfloat32(p: int, x: float32) -> int:
    """At most MAX_FLOAT bytes. F2."""
    return printreal(p, x, True, True)


@fn
def printparts(p: int, real: float, imag: float, single: bool) -> int:
    if real == 0.0 and float64bits(real) >= 0:
        p = printreal(p, imag, single, False)
        rawstore8(p, LETTER_J)
        return p + 1
    rawstore8(p, PAREN_OPEN)
    p = printreal(p + 1, real, single, False)
    if float64bits(imag) >= 0 or math.isnan(imag):
        rawstore8(p, PLUS)
        p += 1
    p = printreal(p, imag, single, False)
    rawstore8(p, LETTER_J)
    rawstore8(p + 1, PAREN_CLOSE)
    return p + 2


@fn(entered=WITH_P)
def printcomplex(p: int, real: float, imag: float) -> int:
    """(1+2j), or 2j where the real part is a positive zero; at most MAX_COMPLEX bytes."""
    return printparts(p, real, imag, False)


@fn(entered=WITH_P)
def printcomplex64(p: int, real: float32, imag: float32) -> int:
    """At most MAX_COMPLEX bytes. F2."""
    return printparts(p, real, imag, True)


# ---- text


@fn
def codepoint(data: int, kind: int, i: int) -> int:
    """The i-th code point of a str of Python (PEP 393) whose characters have `kind` bytes each: 1, 2 or 4."""
    if kind == 1:
        return rawload8(data + i)
    if kind == 2:
        return rawload8(data + 2 * i) | rawload8(data + 2 * i + 1) << 8
    return rawload32(data + 4 * i)


@fn
def printchar(p: int, c: int) -> int:
    """A code point in UTF-8. F3."""
    if c < 0x80:
        rawstore8(p, c)
        return p + 1
    if c < 0x800:
        rawstore8(p, 0xC0 | c >> 6)
        rawstore8(p + 1, 0x80 | c & 63)
        return p + 2
    if c < 0x10000:
        if SURROGATE_FIRST <= c <= SURROGATE_LAST:
            c = REPLACEMENT
        rawstore8(p, 0xE0 | c >> 12)
        rawstore8(p + 1, 0x80 | c >> 6 & 63)
        rawstore8(p + 2, 0x80 | c & 63)
        return p + 3
    rawstore8(p, 0xF0 | c >> 18)
    rawstore8(p + 1, 0x80 | c >> 12 & 63)
    rawstore8(p + 2, 0x80 | c >> 6 & 63)
    rawstore8(p + 3, 0x80 | c & 63)
    return p + 4


@fn(inline=False, entered=WITH_P)
def printstr(p: int, data: int, kind: int, length: int) -> int:
    """The characters of a str; at most MAX_STR_CHAR bytes each."""
    i = 0
    if kind == 1:  # most text is ASCII: eight characters at a time
        while i + 8 <= length:
            eight = rawload(data + i)
            if eight & NON_ASCII != 0:
                break
            rawstore(p, eight)
            p += 8
            i += 8
    while i < length:
        p = printchar(p, codepoint(data, kind, i))
        i += 1
    return p


@fn
def isprintable(c: int) -> bool:
    """Python's str.isprintable of one code point."""
    low = 0
    high = printablechanges()
    while low < high:
        middle = (low + high) >> 1
        if printablechange(middle) <= c:
            low = middle + 1
        else:
            high = middle
    return low & 1 != 0


@fn
def printescape(p: int, letter: int, c: int, n: int) -> int:
    """A backslash, the letter, and the last n hexadecimal digits of c."""
    rawstore8(p, BACKSLASH)
    rawstore8(p + 1, letter)
    p += 2
    for i in range(n):
        digit = c >> (4 * (n - 1 - i)) & 15
        rawstore8(p + i, ZERO + digit if digit < 10 else LETTER_A - 10 + digit)
    return p + n


@fn(inline=False)
def printreprchar(p: int, c: int, quote: int) -> int:
    """One character as repr shows it between such quotes."""
    if c == quote or c == BACKSLASH:
        return printescape(p, c, 0, 0)
    if c == TAB:
        return printescape(p, LETTER_T, 0, 0)
    if c == NEWLINE:
        return printescape(p, LETTER_N, 0, 0)
    if c == RETURN:
        return printescape(p, LETTER_R, 0, 0)
    if c >= 32 and c < DELETE:
        rawstore8(p, c)
        return p + 1
    if isprintable(c):
        return printchar(p, c)
    if c < 0x100:
        return printescape(p, LETTER_X, c, 2)
    if c < 0x10000:
        return printescape(p, LETTER_U, c, 4)
    return printescape(p, LETTER_BIG_U, c, 8)


@fn(inline=False, entered=WITH_P)
def printreprstr(p: int, data: int, kind: int, length: int) -> int:
    """repr of a str; at most MAX_REPR_CHAR bytes for each character, and the quotes."""
    single = False
    double = False
    for i in range(length):
        c = codepoint(data, kind, i)
        single = single or c == QUOTE
        double = double or c == DOUBLE_QUOTE
    quote = DOUBLE_QUOTE if single and not double else QUOTE
    rawstore8(p, quote)
    p += 1
    for i in range(length):
        p = printreprchar(p, codepoint(data, kind, i), quote)
    rawstore8(p, quote)
    return p + 1


# ---- output


@fn(inline=False, entered=WITH_P)
def printwrite(fd: int, address: int, n: int) -> int:
    """Write n bytes: one system call, unless the kernel takes less than all. What was written, or -errno."""
    return write(fd, address, n)
