"""The most frequent words of text files, counted on all cores in a tree of structs.

    gopark run examples/words.py [COUNT] FILE...

Each worker cuts pieces of text into words and counts them in a tree of its own: a struct for each different word, with
the count and two children. The roots come back over a channel; the main goroutine hangs the words of all trees into one
and hands Python its root. Nothing is freed by hand, and nothing is copied: a `Word` says where its text lies.

The tree is ordered by the hash of the words, so it is balanced by itself, whatever the words are; words with the same
hash are told apart by their bytes. A word is what `bytes.split()` takes for one, and the counts are those of
`collections.Counter(data.split())`.
"""

import sys

import numpy as np

import gopark as go

PIECE = 1 << 18  # bytes that a worker takes at a time, and then to the end of the word
OFFSET, PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)  # of the FNV-1a hash


@go.struct
class Word:
    hash: np.uint64
    start: int  # where its text lies for the first time
    length: int
    count: int
    left: "Word"
    right: "Word"


@go.func
def is_space(byte):
    return byte == 32 or 9 <= byte <= 13


@go.func
def add(text, root, hash, start, length, count):
    """Adds `count` to the word in the tree; returns the root. A tree without words is None."""
    if root is None:
        return Word(hash, start, length, count)
    node = root
    while True:
        if node.hash == hash and same(text, node, start, length):
            node.count += count
            return root
        if hash < node.hash:
            if node.left is None:
                node.left = Word(hash, start, length, count)
                return root
            node = node.left
        else:
            if node.right is None:
                node.right = Word(hash, start, length, count)
                return root
            node = node.right


@go.func
def same(text, word, start, length):
    if word.length != length:
        return False
    for i in range(length):
        if text[word.start + i] != text[start + i]:
            return False
    return True


@go.func
def count_piece(text, root, start, end):
    """Adds the words that begin in text[start:end]; returns the root."""
    at = start
    if start > 0:
        while at < end and not is_space(text[at - 1]):
            at += 1  # the rest of a word that began in the piece before
    while at < end:
        while at < end and is_space(text[at]):
            at += 1
        if at == end:
            break
        first, code = at, OFFSET
        while at < len(text) and not is_space(text[at]):
            code = (code ^ np.uint64(text[at])) * PRIME
            at += 1
        root = add(text, root, code, first, at - first, 1)
    return root


@go.func
def worker(text, pieces, trees):
    """Counts pieces until there are no more, and sends the tree."""
    root = None
    for start in pieces:
        root = count_piece(text, root, start, min(start + PIECE, len(text)))
    trees.send(root)


@go.func
def deal(text, pieces):
    for start in range(0, len(text), PIECE):
        pieces.send(start)
    pieces.close()


@go.func
def merge(text, root, tree):
    """Adds all words of `tree` to the tree under `root`; returns the root."""
    if tree is not None:
        root = add(text, root, tree.hash, tree.start, tree.length, tree.count)
        root = merge(text, root, tree.left)
        root = merge(text, root, tree.right)
    return root


@go.func
def count_words(text, workers):
    """The root of the tree of all words; None if there are none."""
    pieces, trees = go.chan(int, workers), go.chan(Word)
    go.spawn(deal, text, pieces)
    for _ in range(workers):
        go.spawn(worker, text, pieces, trees)
    root = trees.recv()
    for _ in range(workers - 1):
        root = merge(text, root, trees.recv())
    return root


@go.func
def size(root):
    return 0 if root is None else 1 + size(root.left) + size(root.right)


@go.func
def spread(root, starts, lengths, counts, i):
    """Writes the words of a tree to arrays, from place i on; returns the place behind."""
    if root is None:
        return i
    i = spread(root.left, starts, lengths, counts, i)
    starts[i], lengths[i], counts[i] = root.start, root.length, root.count
    return spread(root.right, starts, lengths, counts, i + 1)


def frequencies(text):
    """The different words of a byte array and how often each is there, the most frequent first."""
    root = go.run(count_words, text, go.gomaxprocs())
    number = go.run(size, root)
    starts, lengths, counts = (np.zeros(number, np.int64) for _ in range(3))
    go.run(spread, root, starts, lengths, counts, 0)
    found = [(text[s : s + n].tobytes(), int(c)) for s, n, c in zip(starts, lengths, counts, strict=True)]
    return sorted(found, key=lambda pair: (-pair[1], pair[0]))


def main(*arguments):
    """Prints the most frequent words, ten if no number is given. Exits with 1 if a file cannot be read."""
    most = 10
    if arguments and isinstance(arguments[0], int):
        most, *arguments = arguments
    if not arguments or most < 1:
        sys.exit("usage: gopark run examples/words.py [COUNT] FILE...")
    texts = []
    for name in map(str, arguments):
        try:
            texts += [np.fromfile(name, np.uint8), np.array([10], np.uint8)]  # no word goes on into the next file
        except OSError as error:
            sys.exit(f"words.py: {name}: {error.strerror}")
    for word, count in frequencies(np.concatenate(texts))[:most]:
        print(f"{count:8} {word.decode(errors='replace')}")


if __name__ == "__main__":
    main(*(int(a) if a.isdigit() else a for a in sys.argv[1:]))
