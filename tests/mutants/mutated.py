"""A mutated function in this process: defined in place of the original, and lowered for the check of the rule."""

from __future__ import annotations
import __future__

import ast
import sys

from gopark.compiler import vetting
from gopark.compiler.funcinfo import FuncInfo
from gopark.compiler.image import RuntimeFunction
from gopark.runtime import prims
from tests.mutants.generator import Mutant, Source


def define(mutant: Mutant) -> str:
    """Compile the mutated function in its module, where it registers itself. Returns the mutated text of the file."""
    module = sys.modules[f"gopark.runtime.{mutant.file}"]
    text = mutant.source(Source(mutant.file).text)
    (function,) = [n for n in ast.parse(text).body if isinstance(n, ast.FunctionDef) and n.name == mutant.function]
    flags = __future__.annotations.compiler_flag
    code = compile(ast.Module([function], []), module.__file__, "exec", flags=flags, dont_inherit=True)
    exec(code, {**vars(prims), **vars(module)})  # a mutant may need one primitive more than the file imports
    return text


def lowered(mutant: Mutant) -> dict[str, FuncInfo]:
    """What lowering writes down about the function that is registered now, by its symbol."""
    symbol = f"go.{mutant.function}"
    builder = vetting._Sketch(f"gopark.runtime.{mutant.file}")
    builder.functions = [RuntimeFunction.BY_SYMBOL[symbol]]
    builder.lower()
    return builder.infos
