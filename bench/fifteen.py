"""Prints how long a function of fifteen lines takes to compile, or to load from the cache: its first call less its
second.

The benchmark copies this file to a new place for every sample, since a function is cached for its file. Another
function runs before the clock starts, for what only the first one in a process pays.
"""

import time

import gopark as go


@go.func
def hello(n):
    """Starts the runtime."""
    return n + 1


@go.func
def fifteen(n):
    """The lengths of the Collatz sequences up to `n`, summed behind a channel."""
    lengths = go.chan(int, 16)
    longest = 0
    total = 0
    for start in range(1, n + 1):
        value = start
        length = 0
        while value != 1:
            value = value // 2 if value % 2 == 0 else 3 * value + 1
            length += 1
        lengths.send(length)
        longest = max(longest, length)
        total += lengths.recv()
    return total * 1000 + longest


def main():
    """Prints the seconds, and the result as a checksum."""
    go.run(hello, 1)
    begin = time.perf_counter()
    checksum = go.run(fifteen, 10)
    middle = time.perf_counter()
    go.run(fifteen, 10)
    end = time.perf_counter()
    print((middle - begin) - (end - middle), checksum)


if __name__ == "__main__":
    main()
