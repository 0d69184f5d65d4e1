"""Check level 2: an image of its own that audits the scheduler, and ordinary images that contain none of it.

What each audit finds is shown by the mutants of tests/mutants; the storms of tests/semantics run under all of them.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys

import pytest
from elftools.elf.elffile import ELFFile

from gopark.compiler.image import RuntimeFunction

_CHILD = """
import sys
from gopark import runtime
from gopark.compiler import abi, image
objects = image.build(*runtime.load_units())["objects"]
sys.stderr.write(abi.key())
sys.stdout.buffer.write(objects[0])
"""


def in_child(program: str, debug: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "GOPARKDEBUG": debug, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        timeout=300,
        check=False,
    )


def built(debug: str) -> tuple[set[str], str]:
    """The symbols of the image's main object, and the key of what user code bakes in."""
    done = in_child(_CHILD, debug)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    table = ELFFile(io.BytesIO(done.stdout)).get_section_by_name(".symtab")
    return {symbol.name for symbol in table.iter_symbols()}, done.stderr.decode().splitlines()[-1]


def audits() -> set[str]:
    """The functions of audit.py that are not inlined everywhere."""
    from gopark.runtime import audit

    return {f.symbol for f in RuntimeFunction.BY_SYMBOL.values() if f.unit == audit.__name__ and f.inline is False}


@pytest.mark.timeout(600)
def test_only_level_2_contains_audits():
    plain, key = built("check=1")
    audited, other = built("check=2")
    assert not audits() & plain, "an ordinary image pays for no audit"
    assert len(audits()) > 12
    left_out = audits() - audited
    assert left_out <= {"go.writenumber"}, "each audit is asked somewhere"
    assert key != other, "compiled user code is kept apart, too"


@pytest.mark.parametrize("text", ["3", "-1", "much"])
def test_levels(text):
    done = in_child("import gopark; print(gopark.gomaxprocs())", f"check={text}")
    assert done.returncode != 0
    said = done.stderr.decode()
    assert "BootError" in said and "check" in said, said[-500:]
