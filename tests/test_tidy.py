"""Rules about the sources that no other tool enforces. A rule that nothing checks is not a rule.

Each rule is a function from a syntax tree, or a text, to what it finds wrong; a short bad example shows that it finds.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from gopark import runtime

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "gopark"
RUNTIME = SOURCE / "runtime"
MODULES = sorted(SOURCE.rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def every(paths, rule) -> list[str]:
    return [f"{name_of(path)}:{line}: {what}" for path in paths for line, what in rule(path, tree_of(path))]


# ---- layers

# What stands further right may import what stands further left, and nothing points the other way.
LAYERS = (
    "pause",
    "config",
    "errors",
    "compiler",
    "runtime",
    "types",
    "bridge",
    "lib",
    "explore",
    "see",
    "testing",
    "cli",
    "__main__",
)
FACE = ("__init__", "cli", "__main__")  # `import gopark` itself is for the face and the commands


def layer_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported_modules(tree: ast.AST):
    """(line, dotted name) of every import, those inside of functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "relative imports hide the layer"
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"


def upward_imports(path: Path, tree: ast.AST):
    layer = layer_of(path)
    for line, name in imported_modules(tree):
        package, _, rest = name.partition(".")
        if package != "gopark" or layer == "__init__":
            continue
        target = rest.partition(".")[0]
        if target not in LAYERS:
            if layer not in FACE:
                yield line, f"{layer} imports {name}, the public face"
        elif LAYERS.index(target) > LAYERS.index(layer):
            yield line, f"{layer} imports {name}, a layer above it"


def test_imports_point_one_way():
    assert every(MODULES, upward_imports) == []


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("compiler/x.py", "from gopark import runtime"),
        ("runtime/x.py", "def f():\n    import gopark.bridge.boot"),
        ("bridge/x.py", "import gopark"),
        ("types/x.py", "from gopark import run"),
        ("config.py", "from gopark.compiler import abi"),
    ],
)
def test_upward_import_is_found(file, source):
    assert len(list(upward_imports(SOURCE / file, ast.parse(source)))) == 1


def test_every_layer_is_known():
    assert {layer_of(path) for path in MODULES} <= {*LAYERS, "__init__"}


# ---- Numba's private names


def without_type_checking(tree: ast.Module) -> ast.Module:
    """The tree without `if TYPE_CHECKING:` blocks, which never run."""

    class Drop(ast.NodeTransformer):
        def visit_If(self, node):  # noqa: N802 (the name is ast's)
            if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
                return None
            return self.generic_visit(node)

    return Drop().visit(tree)


def numba_imports(path: Path, tree: ast.Module):
    for line, name in imported_modules(without_type_checking(tree)):
        if name.partition(".")[0] in ("numba", "llvmlite"):
            yield line, f"imports {name}; take it from compiler/numba_api.py"


def test_numba_is_imported_in_one_module_only():
    others = [path for path in MODULES if name_of(path) != "compiler/numba_api.py"]
    assert every(others, numba_imports) == []
    assert list(numba_imports(SOURCE / "x.py", ast.parse("def f():\n    from numba.core import ir")))


# ---- raw memory

# Modules that lay out memory by hand, or talk to the kernel in its structs, and what they need for it.
RAW_MODULES = {
    "prims.py": "defines them",
    "hooks.py": "performs a primitive at an address that it was given, out of line",
    "os_linux.py": "fills in the kernel's and the C library's structs",
    "signal.py": "reads the kernel's signal frames",
    "mheap.py": "commits pages that have no type yet",
    "mbitmap.py": "sets bits beside the heap",
    "malloc.py": "clears memory before it has a type",
    "stack.py": "lays out the first frame of a goroutine",
    "symtab.py": "reads ELF and DWARF byte by byte",
    "traceback.py": "follows frame pointers and reads constant records",
    "panic.py": "writes an exception's text by hand: its process is about to die",
    "print.py": "builds text in a buffer",
    "reach.py": "keeps a bitmap and a stack beside the heap, and reads the words of objects",
}
RAW_PRIMITIVE = re.compile(r"raw(load|store)\d*|a(load|store|cas|add|xchg)[48]")


def raw_memory(path: Path, tree: ast.AST):
    for node in ast.walk(tree):
        name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
        if RAW_PRIMITIVE.fullmatch(name):
            yield node.lineno, f"uses {name}"


def test_raw_memory_only_where_it_is_allowed():
    others = [path for path in MODULES if path.parent != RUNTIME or path.name not in RAW_MODULES]
    assert every(others, raw_memory) == []
    assert list(raw_memory(SOURCE / "x.py", ast.parse("rawstore(p, 0)"))) == [(1, "uses rawstore")]


# ---- setters

SETTER = re.compile(r"set\w+NoWriteBarrier")


def bad_setters(path: Path, tree: ast.AST):
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and SETTER.fullmatch(node.func.id):
            last = node.args[3] if len(node.args) == 4 and not node.keywords else None
            if not (isinstance(last, ast.Constant) and isinstance(last.value, str) and last.value.strip()):
                yield node.lineno, f"{node.func.id} names no registry that keeps its target reachable"


def test_every_setter_names_its_registry():
    assert every(MODULES, bad_setters) == []
    setters = "setGNoWriteBarrier(a, 'b', c, '')\nsetGNoWriteBarrier(a, 'b', c, d)\nsetGNoWriteBarrier(a, 'b', c)"
    assert len(list(bad_setters(SOURCE / "x.py", ast.parse(setters)))) == 3


# ---- the runtime's modules

NO_COUNTERPART = {"__init__.py", "hooks.py"}  # the list of units; what is bound at the seam, which Go does not have


@pytest.mark.parametrize("path", sorted(RUNTIME.glob("*.py")), ids=lambda path: path.name)
def test_runtime_module_opens_with_an_essay(path):
    essay = ast.get_docstring(tree_of(path)) or ""
    assert len(essay.splitlines()) >= 3, "say what it does, its invariants, who may touch what"
    if path.name not in NO_COUNTERPART:
        assert re.search(r"^Stands for: \S", essay, re.MULTILINE), "name the file of Go's that it stands for"


def declares_functions(tree: ast.AST) -> bool:
    return any(
        isinstance(decorator.func if isinstance(decorator, ast.Call) else decorator, ast.Name)
        and (decorator.func if isinstance(decorator, ast.Call) else decorator).id == "fn"
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        for decorator in node.decorator_list
    )


def test_every_unit_of_the_runtime_is_in_the_image():
    units = {path.stem for path in RUNTIME.glob("*.py") if declares_functions(tree_of(path))}
    assert units == set(runtime.UNITS)
    assert len(set(runtime.UNITS)) == len(runtime.UNITS)
    assert set(runtime.HOOKS) <= units


# ---- texts


def texts() -> list[Path]:
    folders = ("src", "tests", "examples", "bench", "docs", ".ci")
    files = [p for f in folders for p in (ROOT / f).rglob("*") if p.suffix in (".py", ".md", ".go", ".toml", "")]
    files += [ROOT / name for name in ("README.md", "pyproject.toml", "LICENSE", ".gitignore")]
    return [
        p for p in files if p.is_file() and not any(part.startswith((".ruff", ".pytest", "__")) for part in p.parts)
    ]


MACHINE_PATH = re.compile(r"(?<![\w.])/" + r"(work|root|home|Users)/\w")


def test_no_paths_of_a_machine():
    found = [f"{p.relative_to(ROOT)}: {m[0]}" for p in texts() for m in [MACHINE_PATH.search(p.read_text())] if m]
    assert found == []
    assert MACHINE_PATH.search("cd /" + "home/me")


def test_modules_can_be_read_in_one_sitting():
    long = {name_of(path): len(path.read_text().splitlines()) for path in MODULES}
    assert {name: lines for name, lines in long.items() if lines > 1200} == {}
