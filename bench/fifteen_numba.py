"""The same function as in fifteen.py for plain Numba, which has no channel: what compiling costs before gopark adds
anything."""

import time

from numba import njit


@njit
def hello(n):
    """Starts the compiler."""
    return n + 1


@njit
def fifteen(n):
    """The lengths of the Collatz sequences up to `n`, summed."""
    longest = 0
    total = 0
    for start in range(1, n + 1):
        value = start
        length = 0
        while value != 1:
            value = value // 2 if value % 2 == 0 else 3 * value + 1
            length += 1
        longest = max(longest, length)
        total += length
    return total * 1000 + longest


def main():
    """Prints the seconds, and the result as a checksum."""
    hello(1)
    begin = time.perf_counter()
    checksum = fifteen(10)
    middle = time.perf_counter()
    fifteen(10)
    end = time.perf_counter()
    print((middle - begin) - (end - middle), checksum)


if __name__ == "__main__":
    main()
