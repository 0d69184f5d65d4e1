"""A run in which work waits beside an idle P if nobody is woken for it."""

from __future__ import annotations

import gopark as go


@go.func
def hog(seconds, done):
    until = go.monotonic() + seconds
    while go.monotonic() < until:
        pass
    done.done()


@go.func
def main(hogs, seconds):
    """Everybody else has given up looking for work before there is any. When main waits, the last hog runs, the others
    are in the ring, and nothing is in runnext."""
    until = go.monotonic() + 0.5
    while go.monotonic() < until:
        pass
    done = go.WaitGroup()
    done.add(hogs)
    for _ in range(hogs):
        go.spawn(hog, seconds, done)
    done.wait()


def run(seconds):
    go.run(main, 3, seconds)
