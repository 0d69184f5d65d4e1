"""The record of who killed which mutant (run.py, results.json) is about the sources as they are, and says enough.

C5 asks for every setter, claim, fence and re-check; the other operators are more than that. A mutant without a verdict
for the present text of its function counts as missing.
"""

from __future__ import annotations

import functools

from tests.mutants.generator import FILES, Mutant, mutants, setter_mutants
from tests.mutants.page import harmless, killer_of, page, reason_for
from tests.mutants.run import PAGE, fingerprint, load_record
from tests.mutants.survivors import SURVIVORS


@functools.cache
def verdicts() -> dict[str, tuple[Mutant, str]]:
    """Name -> the mutant and its killer, of those whose verdict is fresh; what is no mutant is left out."""
    record = load_record()
    fresh = {m.name: (m, killer_of(record[m.name])) for m in mutants(FILES) if m.name in record}
    return {n: (m, k) for n, (m, k) in fresh.items() if record[n]["of"] == fingerprint(m) and k != "none"}


def test_every_setter_was_killed_by_the_check():
    """C13."""
    names = {m.name for m in setter_mutants()}
    killers = {name: killer for name, (_, killer) in verdicts().items() if name in names}
    assert set(killers.values()) == {"vet"}
    assert len(killers) > 0.9 * len(names)


def test_of_the_others_nearly_all_that_could_do_harm_were_killed():
    """C13: of the claims, fences and re-checks that were dropped."""
    names = {m.name for m in mutants(FILES, ["claim", "fence", "check"])}
    killers = {name: killer for name, (_, killer) in verdicts().items() if name in names}
    assert len(killers) > 0.9 * len(names)
    lives = [name for name, killer in killers.items() if not killer and not harmless(reason_for(name, SURVIVORS))]
    assert len(lives) <= 0.05 * len(killers)


def test_every_survivor_has_a_reason_and_nobody_else():
    lives = {name for name, (_, killer) in verdicts().items() if not killer}
    assert [name for name in lives if not reason_for(name, SURVIVORS)] == []
    dead = {name for name, (_, killer) in verdicts().items() if killer}
    assert [name for name in dead if name in SURVIVORS] == []


def test_the_page_is_the_record():
    """`python -m tests.mutants.run --page` after each run."""
    assert PAGE.read_text() == page(mutants(), load_record(), SURVIVORS)
