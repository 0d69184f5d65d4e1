"""The frames that an error left, and what dumps read.

Stands for: src/runtime/traceback.go at 41dbcc19ef09, for the part that concerns errors.

Code that passes an error on stores the constant record of its line here (compiler/errpath.py). A G keeps the first eight
frames and the last eight of the current error. Another exception, or one that is raised afresh, starts over.

Runs on the goroutine's own stack. Integers only: the records are constants of the compiled code.
"""

from __future__ import annotations

from gopark.compiler.image import WITH_P, fn
from gopark.runtime.prims import getg
from gopark.runtime.runtime2 import TracebackFrames


@fn(inline=False, entered=WITH_P)
def traceframe(record: int, exception: int, fresh: int):
    """An error leaves the frame with that record."""
    gp = getg()
    if fresh != 0 or gp.tbexc != exception:
        gp.tbcount = 0
        gp.tbexc = exception
    n = gp.tbcount
    if n < TracebackFrames:
        gp.tb[n] = record
    else:
        gp.tb[TracebackFrames + n % TracebackFrames] = record
    gp.tbcount = n + 1
