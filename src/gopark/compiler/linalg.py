"""BLAS and LAPACK are looked up before a goroutine calls them.

Numba's wrappers (numba/_lapack.c) fetch the address of a routine from SciPy at the first call for each type of element,
and keep it in a variable of their own. Fetching imports a Python module, under the GIL. So each wrapper is called here,
on the Python thread that compiles or loads a function which uses it, once for each type, with operands of size one.
"""

from __future__ import annotations

import ctypes
import functools

from gopark.compiler.numba_api import llb

# The types of elements that a wrapper takes, and what it is passed behind the type, once for each set of routines that
# it chooses from: capitals are options, digits sizes (or an option that is a number), x elements, i a Fortran integer,
# f a C double.
ROUTINES: dict[str, tuple[str, tuple[str, ...]]] = {
    "numba_xxdot": ("sdcz", ("01xxx", "11xxx")),
    "numba_xxgemv": ("sdcz", ("N11xx1xxx",)),
    "numba_xxgemm": ("sdcz", ("NN111xx1x1xx1",)),
    "numba_xxnrm2": ("sdcz", ("1x1x",)),
    "numba_xxgetrf": ("sdcz", ("11x1i",)),
    "numba_ez_xxgetri": ("sdcz", ("1x1i",)),
    "numba_xxpotrf": ("sdcz", ("L1x1",)),
    "numba_ez_rgeev": ("sd", ("NN1x1xxx1x1",)),
    "numba_ez_cgeev": ("cz", ("NN1x1xx1x1",)),
    "numba_ez_xxxevd": ("sdcz", ("NL1x1x",)),
    "numba_ez_gesdd": ("sdcz", ("N11x1xx1x1",)),
    "numba_ez_geqrf": ("sdcz", ("11x1x",)),
    "numba_ez_xxgqr": ("sdcz", ("111x1x",)),
    "numba_ez_gelsd": ("sdcz", ("111x1x1xfi",)),
    "numba_xgesv": ("sdcz", ("11x1ix1",)),
}


@functools.cache
def resolve(symbol: str) -> None:
    """Let the wrapper of that name, if it is one, look up everything that it may call. ImportError without SciPy."""
    if symbol not in ROUTINES:
        return
    wrapper = ctypes.PYFUNCTYPE(ctypes.c_int)(llb.address_of_symbol(symbol))  # raises what the wrapper sets
    kinds, calls = ROUTINES[symbol]
    for kind in kinds:
        real = ctypes.c_float if kind in "sc" else ctypes.c_double
        for call in calls:
            try:
                status = wrapper(ctypes.c_int64(ord(kind)), *[_operand(letter, real) for letter in call])
            except (ImportError, RuntimeError) as e:
                raise ImportError(f"{symbol} needs SciPy, which Numba cannot use: {e}") from e
            if status != 0:
                raise ImportError(f"{symbol} fails for a matrix of one element: status {status}")


def _operand(letter: str, real):
    """What stands for 1 in every role, and for the letter of an option."""
    if letter == "x":
        return (real * 2)(1.0, 0.0)
    if letter == "i":
        return (ctypes.c_int64 * 1)(1)
    if letter == "f":
        return ctypes.c_double(1.0)
    return ctypes.c_int64(int(letter) if letter.isdigit() else ord(letter))
