"""Images of some units of the runtime and of entry points for tests, loaded in a process of their own.

A process has one runtime. Whoever loads one of these images does it in a worker; the entry points are called from
Python, with structs that the tests make.
"""

from __future__ import annotations

import ctypes
import importlib

WORD = 8


class Native:
    """The loaded image of runtime units and of units of tests: `lib.t_new(...)` calls the function `go.t_new`."""

    def __init__(self, runtime_units: str, *test_units: str):
        from gopark import runtime
        from gopark.compiler import asm_amd64, image
        from gopark.compiler.numba_api import llb

        units = [f"gopark.runtime.{name}" for name in runtime_units.split()]
        for name in units:
            importlib.import_module(name)
        units += test_units
        functions = image.RuntimeFunction.BY_SYMBOL
        for symbol in [s for s, f in functions.items() if f.unit not in units]:
            del functions[symbol]  # imported with the package, not part of this image
        for name in test_units:
            importlib.import_module(name)  # may define symbols of units that are left out
        built = image.build(
            units, *([f"gopark.runtime.{name}" for name in names] for names in (runtime.HEADERS, runtime.HOOKS))
        )
        llb.load_library_permanently("libc.so.6")
        asm_amd64.load()
        self.image, self.functions = image.Image(built), functions

    def __getattr__(self, name):
        count = len(self.functions[f"go.{name}"].signature.args)
        prototype = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_int64] * count)
        function = prototype(self.image.address[f"go.{name}"])
        setattr(self, name, function)
        return function


class Record:
    """A struct of the runtime in memory: its integers, and its pointers as integers."""

    def __init__(self, cls, address=None):
        self.__dict__["cls"] = cls
        if address is None:
            self.__dict__["memory"] = (ctypes.c_int64 * (cls.size // WORD + 8))()
            address = (ctypes.addressof(self.memory) + 63) & -64
        self.__dict__["address"] = address

    def word(self, name, index=0):
        return ctypes.c_int64.from_address(self.address + self.cls.fields[name][0] + WORD * index)

    def __getattr__(self, name):
        return self.word(name).value

    def __setattr__(self, name, value):
        self.word(name).value = value
