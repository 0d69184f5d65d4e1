"""What went wrong, for the author of a program: compile errors in Python's terms, tracebacks of the program's own lines.

Numba reports a typing error as the history of its search: every implementation it tried, once for literal arguments and
once without, and the pass of the compiler that it was in. The author of a program asks three things: which line, what is
wrong with it, and how one got there. `explain_compile_error` picks those out of the text; Numba has no other form of
them. What it does not recognise it leaves as it is.

`NUMBA_FULL_TRACEBACKS=1`, by which Numba shows all of its own frames, keeps everything here as well.
"""

from __future__ import annotations

import linecache
import os
import re
import traceback
from pathlib import Path

import llvmlite
import numba

from gopark.compiler.numba_api import errors
