"""docs/internals/mutants.md, from the record of the runner (run.py): who killed each mutant, and why some live."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from tests.mutants.generator import Mutant

HEAD = """# Mutants of the scheduler

`python -m tests.mutants.run --page` wrote this page from the record of its runs (tests/mutants/results.json).

A mutant is the runtime with one thing forgotten: a setter that is a plain store, a claim that everybody wins, an atomic
that is none, a fence, a lock, a count, a wake-up or a look that is left out (tests/mutants/generator.py has the
operators, rechecks.py the looks). Each is made in a process of its own, and then everything looks that the repository
has for finding faults; the first that finds one is its killer:

* **vet**: `gopark vet`, the check of the write-barrier rule on the call graph. Nothing runs.
* **audit**: an audit of check level 2 (runtime/audit.py) ends the process with its words.
* **storm**: a storm (tests/semantics/test_storm.py) gets a wrong result, throws, or never ends.
* **test**: a test of what the file is for fails, or never ends, in the same image.
* **unit**: a test that calls the runtime's functions one by one, or one of the virtual threads, fails, in an image of
  its own.

A mutant that does not compile is none, nor is one whose image is the same machine code byte by byte.
"""

KILLERS = ("vet", "audit", "storm", "test", "unit")
STAGES = {"build": "storm"}  # it died when the runtime was started: before the first storm


def killer_of(verdict: Mapping[str, str]) -> str:
    """vet, audit, storm, test or unit; none: it is no mutant; "": it lives."""
    return STAGES.get(verdict["killer"], verdict["killer"])


def reason_for(name: str, survivors: Mapping[str, str]) -> str:
    """Why it may live: the reason of its name, or of a part of it; "" if none is given."""
    if name in survivors:
        return survivors[name]
    parts = [key for key in survivors if key.startswith("* ") and key[2:] in name]
    return survivors[parts[0]] if parts else ""


def harmless(reason: str) -> bool:
    """Whether a mutant may live for this reason without a test that is missing."""
    return reason.startswith(("equal:", "time:"))


def page(made: Sequence[Mutant], record: Mapping[str, Mapping[str, str]], survivors: Mapping[str, str]) -> str:
    lines = [HEAD, "## Sum", "", "| operator | mutants | " + " | ".join(KILLERS) + " | live |", "|---|" + "---:|" * 7]
    verdicts = {m.name: record[m.name] for m in made if m.name in record}
    no_mutants = {name: v["words"] for name, v in verdicts.items() if killer_of(v) == "none"}
    by_operator: dict[str, Counter[str]] = {}
    for m in made:
        if m.name in verdicts and m.name not in no_mutants:
            by_operator.setdefault(m.operator, Counter())[killer_of(verdicts[m.name])] += 1
    total = sum(by_operator.values(), Counter())
    for operator, counts in [*by_operator.items(), ("all", total)]:
        cells = [sum(counts.values()), *(counts[k] for k in KILLERS), counts[""]]
        lines.append(f"| {operator} | " + " | ".join(str(c) for c in cells) + " |")
    kinds = Counter(no_mutants.values())
    lines += ["", f"No mutants: {', '.join(f'{n} ({what})' for what, n in sorted(kinds.items()))}.", ""]
    reasons = {name: reason_for(name, survivors) for name, v in verdicts.items() if not killer_of(v)}
    faults = total.total() - sum(map(harmless, reasons.values()))
    killed = total.total() - total[""]
    lines += [
        f"Killed: {killed} of {total.total()}; of the {faults} that could do any harm {killed / faults:.1%}. "
        f"Generated: {len(made)}, of which {len(made) - len(verdicts)} have no verdict yet.",
        "",
    ]
    lines += ["## Those that live", "", "| mutant | why |", "|---|---|"]
    lines += [f"| {cell(name)} | {reason} |" for name, reason in reasons.items()]
    lines += ["", "## Who killed each", "", "| mutant | killer | how |", "|---|---|---|"]
    for name, v in verdicts.items():
        if killer_of(v) not in ("", "none"):
            lines.append(f"| {cell(name)} | {killer_of(v)} | {cell(v['words'].strip('.FxX, '))} |")
    return "\n".join(lines) + "\n"


def cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
