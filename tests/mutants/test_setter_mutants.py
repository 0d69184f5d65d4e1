"""Every setter of the runtime, one at a time, as the plain store that it stands for: the check reports each.

The runtime is lowered once; for each mutant the one function that differs is lowered again, and the check looks at all
of them. That is what `gopark vet` does with a mutated copy of the sources (test_mutants.py), at a tenth of the price.
"""

from __future__ import annotations

import pytest

from gopark.compiler import image, vetting, wbcheck
from gopark.compiler.funcinfo import FuncInfo
from gopark.runtime import load_units
from tests.mutants.generator import Mutant, mutants, setter_mutants
from tests.mutants.mutated import define, lowered


@pytest.fixture(scope="module")
def infos() -> dict[str, FuncInfo]:
    units, _, _ = load_units()
    return vetting.sketch(units)


def violations(infos, mutant: Mutant) -> list[wbcheck.Violation]:
    registered, symbol = image.RuntimeFunction.BY_SYMBOL, f"go.{mutant.function}"
    original = registered[symbol]
    try:
        define(mutant)
        return wbcheck.check({**infos, **lowered(mutant)}, vetting.runtime_roots()).violations
    finally:
        registered[symbol] = original


def test_the_generator_finds_every_setter():
    """As many as the runtime has; and the unmutated runtime passes."""
    assert len(setter_mutants()) > 35
    functions = {m.function for m in setter_mutants()}
    assert {"startlockedm", "startm", "newm", "mput", "globrunqput", "pidleput"} <= functions


def test_without_a_mutation_nothing_is_found(infos):
    """The control: functions that are lowered again as they are."""
    for mutant in setter_mutants()[:5]:
        same = Mutant(mutant.operator, mutant.file, mutant.function, mutant.line, "the same", ())
        assert violations(infos, same) == []


@pytest.mark.parametrize("mutant", setter_mutants(), ids=lambda m: m.name.replace(" ", "-"))
def test_a_setter_as_a_plain_store_is_found(infos, mutant):
    """C13: at its line, as a barrier without a P."""
    found = violations(infos, mutant)
    assert any(v.kind == "barrier" and v.chain[-1][1] == mutant.line for v in found), [v.format_text() for v in found]


def test_every_entry_of_the_table_of_looks_is_in_the_sources():
    """rechecks.py names expressions; the generator refuses one that is not there any more."""
    assert len(mutants(operators=["check"])) > 100
