"""What a row of the benchmark is, once measured: every raw sample, and the figures and the verdict drawn from them."""

from __future__ import annotations

import dataclasses
import statistics

# A median with the least and the greatest value around it.
Figures = tuple[float, float, float]

# A side's samples: a list for each round, the repetitions of that round's process.
Samples = list[list[float]]


@dataclasses.dataclass
class Result:
    """One row: gopark's samples and those of every peer that was measured beside it."""

    name: str
    title: str
    unit: str
    procs: int | None = None
    gopark: Samples = dataclasses.field(default_factory=list)
    peers: dict[str, Samples] = dataclasses.field(default_factory=dict)
    # The peer that the bar is about.
    reference: str | None = None
    # What gopark's work came to, checked by whoever measured it.
    checksum: int | list[int] | None = None
    # The bar: a ratio, reference over gopark, to reach; a limit that gopark's median must stay below; or both.
    least_ratio: float | None = None
    limit: float | None = None
    error: str | None = None

    def ratio_to(self, peer: str | None) -> float | None:
        """How many times faster (or smaller) gopark is: the quotient of the medians."""
        ours, theirs = figures(self.gopark), figures(self.peers.get(peer or "", []))
        return theirs[0] / ours[0] if ours and theirs else None

    @property
    def ratio(self) -> float | None:
        """The ratio that the bar is about."""
        return self.ratio_to(self.reference)

    @property
    def met(self) -> bool | None:
        """Whether the bar is met; None where there is no bar, or nothing to hold against it."""
        if self.least_ratio is None and self.limit is None:
            return None
        if self.error:
            return False
        ours = figures(self.gopark)
        below = None if self.limit is None or not ours else ours[0] < self.limit
        faster = None if self.least_ratio is None or self.ratio is None else self.ratio >= self.least_ratio
        if below is False or faster is False:
            return False
        known = (self.limit is None or below) and (self.least_ratio is None or faster)
        return True if known else None

    @property
    def bar(self) -> str:
        """The bar in words."""
        parts = []
        if self.least_ratio is not None:
            parts.append(f">= {self.least_ratio:.3g}x")
        if self.limit is not None:
            parts.append(f"< {self.limit:g} {self.unit}")
        return ", ".join(parts)

    @property
    def verdict(self) -> str:
        """The verdict in a word."""
        return "failed" if self.error else {True: "yes", False: "no", None: ""}[self.met]

    def as_json(self) -> dict[str, object]:
        """All of it, for the JSON file."""
        drawn = {
            "gopark_figures": figures(self.gopark),
            "peer_figures": {name: figures(samples) for name, samples in self.peers.items()},
            "ratios": {name: self.ratio_to(name) for name in self.peers},
            "met": self.met,
        }
        return dataclasses.asdict(self) | drawn

    @classmethod
    def from_json(cls, row: dict) -> Result:
        """The row that `as_json` wrote; what was drawn from the samples is drawn again."""
        return cls(**{field.name: row[field.name] for field in dataclasses.fields(cls)})


def figures(rounds: Samples) -> Figures | None:
    """The median of the rounds' minima, with the least and the greatest; None if nothing was measured."""
    minima = [min(samples) for samples in rounds if samples]
    return (statistics.median(minima), min(minima), max(minima)) if minima else None


def cell(values: Figures | None) -> str:
    """Figures in the space of a table's cell: three digits at least."""
    if values is None:
        return ""
    digits = 0 if values[0] >= 100 else 1 if values[0] >= 10 else 2
    middle, least, greatest = (f"{value:,.{digits}f}" for value in values)
    return f"{middle} ({least} - {greatest})"


def times(ratio: float | None) -> str:
    """A ratio in the space of a table's cell."""
    if ratio is None:
        return ""
    return f"{ratio:,.0f}x" if ratio >= 100 else f"{ratio:.1f}x" if ratio >= 10 else f"{ratio:.2f}x"
