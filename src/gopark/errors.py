"""Every exception that gopark raises by a name of its own."""

from __future__ import annotations


class GoparkError(RuntimeError):
    """Base of the errors that concern gopark itself."""


class BootError(GoparkError):
    """The runtime cannot start here: the message says what is missing and what to do."""


class DeadlockError(GoparkError):
    """All goroutines of a run are asleep: none of them can ever be woken. The message lists them, each with what it
    waits for, its lines, and the line that started it.

    Example:

        @go.func
        def main():
            return go.chan(int).recv()  # nobody sends


        try:
            go.run(main)
        except go.DeadlockError as error:
            print(str(error).splitlines()[0])  # all goroutines are asleep - deadlock!
    """


class ClosedChannelError(RuntimeError):
    """A send on a closed channel, or a second close of one (Go panics there).

    Example:

        ch = go.chan(int)
        ch.close()
        try:
            ch.send(1)
        except go.ClosedChannelError as error:
            print(error)  # send on closed channel
    """


class NilPointerError(RuntimeError):
    """A field of a nil (`None`) struct pointer, or a method of a nil channel that needs one, was used.

    Example:

        @go.struct
        class Node:
            value: int
            next: "Node"


        @go.func
        def second(node):
            return node.next.value


        try:
            go.run(second, Node(1))
        except go.NilPointerError as error:
            print(error)  # field 'value' of Node: use of a nil reference (None)
    """


class StackOverflowError(RecursionError):
    """A goroutine's stack is full; it is `GOPARK_STACK` bytes large. Other goroutines are not affected.

    Example:

        @go.func
        def depth(n):
            if n == 0:
                return 0
            return 1 + depth(n - 1)


        try:
            go.run(depth, 10_000_000)
        except go.StackOverflowError as error:
            print(type(error).__name__)  # StackOverflowError
    """


class WriteBarrierError(GoparkError):
    """A function declared free of write barriers (`@go.nowritebarrier`, `@go.nowritebarrierrec`) has one."""
