"""How many lines a file has, how many different ones, and how long the longest is: a pipeline of four stages.

    gopark run examples/distinct.py FILE

        cut ──blocks──▶ hash_lines (fan-out) ──lines──▶ tally (fan-out) ──tallies──▶ count_lines (fan-in)

`cut` finds blocks that end at the end of a line. As many `hash_lines` as there are processors turn the lines of a block
into `(hash, length)` and send each line to the `tally` that owns its hash, so two equal lines always meet in the same
one. Each stage ends when the channel before it is closed; the last one of a stage closes the channel behind it.

The counts are those of `wc -l`, `sort -u | wc -l` and, in bytes, of the longest line. Two lines with the same 64-bit
hash count as one: with a million different lines that happens once in thirty million files.
"""

import sys

import numpy as np

import gopark as go

BLOCK_BYTES = 1 << 16  # bytes, and then to the end of the line
OFFSET, PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)  # of the FNV-1a hash

Line = tuple[np.uint64, int]
Block = tuple[int, int]  # start and end


@go.struct
class Tally:
    """What one owner of hashes has seen."""

    lines: int
    distinct: int
    longest: int


@go.func
def cut(data, blocks):
    """Sends blocks of whole lines, and closes the channel."""
    start = 0
    while start < len(data):
        end = min(start + BLOCK_BYTES, len(data))
        while end < len(data) and data[end - 1] != 10:
            end += 1
        blocks.send((start, end))
        start = end
    blocks.close()


@go.func
def hash_lines(data, blocks, owners, done):
    """Sends the hash and the length of every line to the owner of the hash."""
    for block in blocks:
        code, length = OFFSET, 0
        for i in range(block[0], block[1]):
            byte = data[i]
            if byte != 10:
                code = (code ^ np.uint64(byte)) * PRIME
                length += 1
            if byte == 10 or i == len(data) - 1:
                owners[int(code >> np.uint64(32)) % len(owners)].send((code, length))
                code, length = OFFSET, 0
    done.done()


@go.func
def tally(lines, tallies):
    """Counts lines until there are no more; a table of the hashes, with 0 for a free place, tells which are new."""
    table = np.zeros(1024, np.uint64)
    count, distinct, longest = 0, 0, 0
    for code, length in lines:
        count += 1
        longest = max(longest, length)
        if 2 * distinct >= len(table):
            larger = np.zeros(2 * len(table), np.uint64)
            for old in table:
                if old != 0:
                    larger[find(larger, old)] = old
            table = larger
        key = code | np.uint64(1)  # never 0
        place = find(table, key)
        if table[place] == 0:
            table[place] = key
            distinct += 1
    tallies.send(Tally(count, distinct, longest))


@go.func
def find(table, key):
    """The place of the key in the table, or a free place for it."""
    mask = len(table) - 1
    place = int(key >> np.uint64(8)) & mask
    while table[place] != 0 and table[place] != key:
        place = (place + 1) & mask
    return place


@go.func
def close_when_done(done, owners):
    """The end of a stage with many goroutines: nobody sends any more."""
    done.wait()
    for lines in owners:
        lines.close()


@go.func
def count_lines(data, workers):
    """Builds the pipeline and adds up what comes out of it: lines, distinct lines, the longest."""
    blocks = go.chan(Block, workers)
    owners = (go.chan(Line, 256), go.chan(Line, 256), go.chan(Line, 256), go.chan(Line, 256))
    tallies = go.chan(Tally)
    done = go.WaitGroup()
    done.add(workers)
    go.spawn(cut, data, blocks)
    for _ in range(workers):
        go.spawn(hash_lines, data, blocks, owners, done)
    go.spawn(close_when_done, done, owners)
    for lines in owners:
        go.spawn(tally, lines, tallies)
    total, distinct, longest = 0, 0, 0
    for _ in range(len(owners)):
        part = tallies.recv()
        total += part.lines
        distinct += part.distinct
        longest = max(longest, part.longest)
    return total, distinct, longest


def main(*files):
    """Prints the three counts of one file."""
    if len(files) != 1:
        sys.exit("usage: gopark run examples/distinct.py FILE")
    name = str(files[0])
    try:
        data = np.fromfile(name, np.uint8)
    except OSError as error:
        sys.exit(f"distinct.py: {name}: {error.strerror}")
    lines, distinct, longest = go.run(count_lines, data, go.gomaxprocs())
    print(f"{lines} lines, {distinct} different, the longest has {longest} bytes")


if __name__ == "__main__":
    main(*sys.argv[1:])
