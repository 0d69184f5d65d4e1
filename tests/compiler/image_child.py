"""Builds or loads a small image, of the units in a directory, in a process of its own:

    python image_child.py DIRECTORY [STEP | damage]

With a step (the number of a unit; behind the last one comes the link) it says so when it gets there, and waits to be
killed. It prints the steps that it took, a hash of the image's objects, and what the functions return.
With "damage" it spoils every file of the cache in many ways, and builds after each.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import sys
from pathlib import Path

from gopark import runtime
from gopark.compiler import asm_amd64, cache, image
from gopark.compiler.numba_api import llb


def build(units, step=-1) -> tuple[dict, list[str]]:
    steps = []

    def progress(unit: str, done: int, total: int) -> None:
        if done == step:
            print("here", flush=True)
            sys.stdin.readline()
        steps.append(unit)

    headers = [f"gopark.runtime.{name}" for name in runtime.HEADERS]
    return image.build(units, headers, [], progress), steps


def digest(built: dict) -> str:
    return hashlib.sha256(b"".join(built["objects"])).hexdigest()


def results(built: dict) -> list[int]:
    escaped = ctypes.CFUNCTYPE(None, ctypes.c_int64)(lambda status: None)
    llb.add_symbol("go.statusescaped", ctypes.cast(escaped, ctypes.c_void_p).value)
    asm_amd64.initialize_llvm()
    loaded = image.Image(built)
    call = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)
    return [call(address)(10) for symbol, address in sorted(loaded.address.items()) if symbol.startswith("go.t_")]


def spoiled(raw: bytes, other: bytes):
    """Contents that are not those of the file: bits flipped in the head and all over the body, cut off, exchanged."""
    for at in [*range(0, 47, 3), *range(47, len(raw), len(raw) // 12), len(raw) - 1]:
        yield raw[:at] + bytes([raw[at] ^ 1 << at % 8]) + raw[at + 1 :]
    for length in (0, 1, 14, 46, 47, 48, len(raw) // 2, len(raw) - 1):
        yield raw[:length]
    yield raw + b"\0"
    yield bytes(len(raw))
    yield other


def damage(units) -> None:
    """After each damage the image must come out as it was, and the file must be good again."""
    good, _ = build(units)
    place = cache.directory() / "image"
    entries = {path: path.read_bytes() for path in place.iterdir() if not path.name.startswith(".")}
    (of_image,) = [path for path, raw in entries.items() if b"objects" in raw]
    tries = 0
    for path, raw in entries.items():
        other = next(content for content in entries.values() if content != raw)
        for bad in spoiled(raw, other):
            path.write_bytes(bad)
            if path != of_image:
                of_image.unlink()  # else nobody would ask for the unit
            built, steps = build(units)
            assert digest(built) == digest(good)
            assert steps == [*units, "link", ""], "the image was loaded"
            assert path.read_bytes() != bad, "the unit was loaded"
            tries += 1
    assert results(built) == results(good)
    print(json.dumps({"entries": len(entries), "tries": tries}))


def main(directory: str, what: str = "-1") -> None:
    sys.path.insert(0, directory)
    image.RuntimeFunction.BY_SYMBOL.clear()  # not the package's: a few functions are enough here
    units = sorted(path.stem for path in Path(directory).glob("unit*.py"))
    for unit in units:
        __import__(unit)
    if what == "damage":
        damage(units)
        return
    built, steps = build(units, int(what))
    print(json.dumps({"steps": steps, "digest": digest(built), "results": results(built)}))


main(*sys.argv[1:])
