"""A parallel `wc`: lines, words and bytes of files, counted by as many goroutines as there are processors.

    gopark run examples/wc.py FILE...

Every file is a NumPy byte array over a memory map, so nothing is copied. One goroutine sends the numbers of the file's
chunks down a channel, the workers send a `Part` for each down another, and the parts are joined in the file's order.

What a word is. White space is blank, tab, newline, vertical tab, form feed and carriage return. A run of other bytes is
one word if it holds at least one printing byte; a control byte neither starts a word nor ends one. That is how `wc` of
GNU coreutils 9.1 counts (POSIX's definition asks for no printing byte). In the C locale (`LC_ALL=C`) no byte above 127
prints, and the counts are those of `LC_ALL=C wc` for any input. In every other locale such a byte is taken for part of
a printing character: this is what `wc` finds in a UTF-8 locale, if the text is well formed and has none of Unicode's
own spaces and control characters. A file whose name reads as a Python literal needs a path: `./123`.

How it is fast. Text is nearly always printing bytes and white space only. In a block of such bytes a word starts
wherever a byte that is no space follows a space, and a loop of comparisons on bytes, without a branch, counts these
places; LLVM turns it into vector instructions. The same loop counts the bytes of neither kind, and the rare block that
has any is counted again, one byte after the other, by the full rule.
"""

import mmap
import os
import stat
import sys

import numpy as np
from numba import njit, uint8

import gopark as go

# Short enough for a block's counts to fit in a byte, so that every lane of a vector is a counter of its own.
BLOCK = 128
# What a worker takes at a time: long against the cost of two channel operations, short against a file worth sharing.
CHUNK = 2 << 20

SPACES = b" \t\n\v\f\r"
# The kinds of bytes, as two bits: part of a word, and end of a word. Control bytes are neither.
WORD, SPACE = 1, 2


@go.struct
class Part:
    """What a worker found in one chunk."""

    chunk: int
    lines: int
    words: int
    empty: bool  # neither a word byte nor a space in it: the chunk leaves the state of its neighbours alone
    starts_inside: bool  # the first byte that is either is a word's
    ends_inside: bool  # the last byte that is either is a word's


@njit
def count_exactly(block, kinds, inside):
    """Counts the words of a block by the full rule; returns them, and whether the block ends inside a word."""
    words = 0
    state = np.int64(inside)
    for byte in block:
        kind = np.int64(kinds[byte])
        words += kind & ~state & WORD
        state = (state | (kind & WORD)) & ~(kind >> 1)
    return words, uint8(state)


@njit
def count(data, kinds, last_odd):
    """Counts the lines and words of `data`, taken by itself; returns them, and whether it ends inside a word.

    `last_odd` is the greatest byte that may be neither a word's nor a space: 127, or 255 where the bytes above 127 do
    not print. Every step of the inner loop is cast back to a byte: Numba computes in 64 bits, and a single value
    that stays wide would leave an eighth of the lanes.
    """
    last = uint8(last_odd)
    lines = 0
    words = 0
    inside = uint8(0)
    low = 0
    while low < len(data):
        high = min(low + BLOCK, len(data))
        newlines = uint8(0)
        starts = uint8(0)
        odd = uint8(0)
        after_space = uint8(inside ^ 1)
        for byte in data[low:high]:
            space = uint8(uint8(byte == 32) | uint8(uint8(byte - 9) < 5))
            solid = uint8(space ^ 1)
            newlines = uint8(newlines + uint8(byte == 10))
            starts = uint8(starts + uint8(solid & after_space))
            odd = uint8(odd + uint8(solid & uint8((uint8(byte - 33) > 93) & (byte <= last))))
            after_space = space
        lines += newlines
        if odd == 0:
            words += starts
            inside = uint8(after_space ^ 1)
        else:
            more, inside = count_exactly(data[low:high], kinds, inside)
            words += more
        low = high
    return lines, words, inside


@njit
def first_kind(data, kinds):
    """The kind of the first byte that has one; 0 if none has."""
    for byte in data:
        if kinds[byte] != 0:
            return kinds[byte]
    return uint8(0)


@go.func
def worker(data, kinds, last_odd, chunks, parts):
    """Counts chunks until there are no more."""
    for chunk in chunks:
        piece = data[chunk * CHUNK : (chunk + 1) * CHUNK]
        lines, words, inside = count(piece, kinds, last_odd)
        first = first_kind(piece, kinds)
        parts.send(Part(chunk, lines, words, first == 0, first == WORD, inside == 1))


@go.func
def deal(number, chunks):
    """Sends the numbers of all chunks, and closes the channel."""
    for chunk in range(number):
        chunks.send(chunk)
    chunks.close()


@go.func
def count_file(data, kinds, last_odd, workers):
    """Returns the lines and the words of `data`, counted by that many workers.

    Every chunk is counted as if a space came before it. A word that lies across a border has then been counted on both
    sides: once all parts are there, they are walked in order, and its second half is taken off again.
    """
    number = (len(data) + CHUNK - 1) // CHUNK
    chunks = go.chan(int, 2 * workers)
    parts = go.chan(Part, 2 * workers)
    go.spawn(deal, number, chunks)
    for _ in range(min(workers, number)):
        go.spawn(worker, data, kinds, last_odd, chunks, parts)
    lines = 0
    words = 0
    empty = np.zeros(number, np.bool_)
    starts_inside = np.zeros(number, np.bool_)
    ends_inside = np.zeros(number, np.bool_)
    for _ in range(number):
        part = parts.recv()
        lines += part.lines
        words += part.words
        empty[part.chunk] = part.empty
        starts_inside[part.chunk] = part.starts_inside
        ends_inside[part.chunk] = part.ends_inside
    inside = False
    for chunk in range(number):
        if not empty[chunk]:
            if inside and starts_inside[chunk]:
                words -= 1
            inside = ends_inside[chunk]
    return lines, words


def kinds_of_bytes(c_locale):
    """The table of the kinds of all bytes."""
    kinds = np.zeros(256, np.uint8)
    kinds[33:127] = WORD
    kinds[list(SPACES)] = SPACE
    if not c_locale:
        kinds[128:] = WORD
    return kinds


def is_c_locale():
    """Whether the C locale is asked for, by the variable that goes before the others, as setlocale(3) has it."""
    names = (os.environ.get(name) for name in ("LC_ALL", "LC_CTYPE", "LANG"))
    return next(filter(None, names), "C") in ("C", "POSIX")


def read(name):
    """The bytes of a file as an array: mapped, or read where a file cannot be mapped (empty, a pipe, below /proc)."""
    with open(name, "rb") as file:
        try:
            area = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        except (OSError, ValueError):
            return np.array(bytearray(file.read()), np.uint8)
    area.madvise(mmap.MADV_SEQUENTIAL)
    return np.frombuffer(area, np.uint8)


def column_width(names):
    """The width of the columns, as wc chooses it: the digits of all sizes' sum; at least 7 if a file is not regular."""
    least = 1
    total = 0
    for name in names:
        try:
            status = os.stat(name)
        except OSError:
            continue
        if stat.S_ISREG(status.st_mode):
            total += status.st_size
        else:
            least = 7
    return max(least, len(str(total)))


def main(*files):
    """Prints a line for each file, and one for all if they are several. Exits with 1 if a file cannot be read."""
    names = [str(name) for name in files]
    if not names:
        sys.exit("usage: gopark run examples/wc.py FILE...")
    width = column_width(names)
    c_locale = is_c_locale()
    kinds = kinds_of_bytes(c_locale)
    last_odd = 255 if c_locale else 127
    workers = go.gomaxprocs()
    failed = False
    totals = np.zeros(3, np.int64)
    for name in names:
        counts = (0, 0, 0)
        try:
            data = read(name)
            if len(data):
                counts = (*go.run(count_file, data, kinds, last_odd, workers), len(data))
        except OSError as error:
            failed = True
            print(f"wc.py: {name}: {error.strerror}", file=sys.stderr)
            if not os.path.isdir(name):
                continue
        totals += counts
        print(*(f"{number:{width}}" for number in counts), name)
    if len(names) > 1:
        print(*(f"{number:{width}}" for number in totals), "total")
    if failed:
        sys.exit(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
