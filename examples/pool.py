"""A worker pool over NumPy arrays: many small pieces of work of unequal size, shared out by a channel.

    gopark run examples/pool.py [SIGNALS] [SEED]

There are SIGNALS noisy signals of different lengths, one after the other in one array. Each worker takes the number of
a signal from a channel, smooths that part of the array in place and finds its peak. Arrays are shared, not copied: the
workers write to disjoint slices of the same memory, and what they found is there for Python when the run has returned.

The lengths differ by a factor of a thousand, so equal shares would leave most workers idle; over the channel everybody
works until nothing is left. The result is compared with NumPy's, computed in one thread.
"""

import sys
import time

import numpy as np

import gopark as go

WINDOW = 9  # of the moving average


@go.func
def smooth(signal):
    """Replaces each value by the mean of those up to WINDOW // 2 away."""
    half = WINDOW // 2
    before = signal.copy()
    for i in range(len(signal)):
        low, high = max(0, i - half), min(len(signal), i + half + 1)
        signal[i] = before[low:high].mean()


@go.func
def worker(values, bounds, peaks, numbers, done):
    """Works until the channel is closed."""
    for k in numbers:
        signal = values[bounds[k] : bounds[k + 1]]
        smooth(signal)
        peaks[k] = signal.argmax()
    done.done()


@go.func
def smooth_all(values, bounds, peaks, workers):
    """Smooths the signals values[bounds[k]:bounds[k + 1]] in place; writes the place of each one's peak to `peaks`."""
    numbers, done = go.chan(int, 4 * workers), go.WaitGroup()
    done.add(workers)
    for _ in range(workers):
        go.spawn(worker, values, bounds, peaks, numbers, done)
    for k in range(len(bounds) - 1):
        numbers.send(k)
    numbers.close()
    done.wait()


def make_signals(number, seed):
    """Random walks of 10 to 10 000 values; the values of all, and where each begins."""
    rng = np.random.default_rng(seed)
    lengths = (10 ** rng.uniform(1, 4, number)).astype(np.int64)
    return rng.normal(size=lengths.sum()).cumsum(), np.concatenate([[0], lengths.cumsum()])


def smoothed(signal):
    """What `smooth` does, in NumPy."""
    kernel = np.ones(WINDOW)
    return np.convolve(signal, kernel, "same") / np.convolve(np.ones(len(signal)), kernel, "same")


def main(*arguments):
    """Smooths, compares, prints how long it took. Exits with 1 if the results differ."""
    if len(arguments) > 2 or not all(isinstance(a, int) and a > 0 for a in arguments):
        sys.exit("usage: gopark run examples/pool.py [SIGNALS] [SEED]")
    number = arguments[0] if arguments else 2000
    seed = arguments[1] if len(arguments) == 2 else 1
    values, bounds = make_signals(number, seed)
    wanted = [smoothed(values[a:b]) for a, b in zip(bounds, bounds[1:], strict=False)]
    peaks = np.zeros(number, np.int64)
    go.run(smooth_all, values[:0], bounds[:1], peaks[:0], 1)  # compiles it
    start = time.perf_counter()
    go.run(smooth_all, values, bounds, peaks, go.gomaxprocs())
    took = time.perf_counter() - start
    print(f"{number} signals, {len(values)} values, {go.gomaxprocs()} workers: {took * 1000:.1f} ms")
    if not np.allclose(values, np.concatenate(wanted)):
        sys.exit("pool.py: the values differ from NumPy's")
    print(f"the same as NumPy's; the highest peak is that of signal {np.argmax([w.max() for w in wanted])}")


if __name__ == "__main__":
    main(*(int(a) if a.isdigit() else a for a in sys.argv[1:]))
