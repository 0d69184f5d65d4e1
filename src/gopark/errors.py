"""Every exception that gopark raises by a name of its own."""

from __future__ import annotations


class GoparkError(RuntimeError):
    """Base of the errors that concern gopark itself."""


class BootError(GoparkError):
    """The runtime cannot start here: the message says what is missing and what to do."""


class DeadlockError(GoparkError):
    """All goroutines of a run are asleep: none of them can ever be woken. The message lists them."""


class ClosedChannelError(RuntimeError):
    """A send on a closed channel, or a second close of one (Go panics there)."""


class NilPointerError(RuntimeError):
    """A field of a nil (`None`) struct pointer, or a method of a nil channel that needs one, was used."""


class StackOverflowError(RecursionError):
    """A goroutine's stack is full; it is `GOPARK_STACK` bytes large. Other goroutines are not affected."""


class WriteBarrierError(GoparkError):
    """A function declared free of write barriers (`@go.nowritebarrier`, `@go.nowritebarrierrec`) has one."""
