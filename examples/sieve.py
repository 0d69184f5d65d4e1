"""The concurrent prime sieve of Hoare: a chain of goroutines, one for each prime, joined by unbuffered channels.

    gopark run examples/sieve.py 100
    python examples/sieve.py

A generator sends 2, 3, 4 … into the first channel. Whatever comes out of a channel first is a prime; a filter that
drops its multiples is then put behind it. The generator and the filters never end by themselves: they are parked when
`main` returns, and end with its run.
"""

import gopark as go


@go.func
def generate(out):
    """Sends every integer from 2 upwards."""
    n = 2
    while True:
        out.send(n)
        n += 1


@go.func
def strain(source, out, prime):
    """Passes on what `prime` does not divide."""
    while True:
        n = source.recv()
        if n % prime != 0:
            out.send(n)


@go.func
def main(n=100):
    """Prints the first `n` primes, then how many they are and the last of them."""
    source = go.chan(int)
    go.spawn(generate, source)
    prime = 0
    for _ in range(n):
        prime = source.recv()
        print(prime)
        out = go.chan(int)
        go.spawn(strain, source, out, prime)
        source = out
    print(n, "primes, the last is", prime)


if __name__ == "__main__":
    go.run(main, 100)
