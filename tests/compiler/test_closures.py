"""Go functions made by functions: each closes over values of its own, though all come from one line of source."""

from __future__ import annotations

import gopark as go


def adder(k):
    @go.func
    def add(n):
        return n + k

    return add


def sender(k):
    @go.func
    def send(out, n):
        out.send(n + k)

    @go.func
    def ask(n):
        out = go.chan(int, 1)
        go.spawn(send, out, n)
        return out.recv()

    return ask


def test_run_calls_the_function_it_was_given():
    one, hundred = adder(1), adder(100)
    assert [go.run(one, 1), go.run(hundred, 1), go.run(one, 1), go.run(hundred, 1)] == [2, 101, 2, 101]


def test_spawn_starts_the_function_it_was_given():
    one, hundred = sender(1), sender(100)
    assert [go.run(one, 1), go.run(hundred, 1), go.run(one, 1), go.run(hundred, 1)] == [2, 101, 2, 101]
