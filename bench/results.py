"""What a row of the benchmark is, once measured: every raw sample, and the figures and the verdict drawn from them."""

from __future__ import annotations

import dataclasses
import statistics

# A median with the least and the greatest value around it.
Figures = tuple[float, float, float]


@dataclasses.dataclass
class Result:
    """One row. A side's samples are a list for each round: the repetitions of that round's process."""

    name: str
    title: str
    unit: str
    procs: int | None = None
    gopark: list[list[float]] = dataclasses.field(default_factory=list)
    peer: list[list[float]] = dataclasses.field(default_factory=list)
    peer_name: str | None = None
    # What the work came to, checked by whoever measured it, and equal on both sides.
    checksum: int | list[int] | None = None
    # The bar is either a ratio, peer over gopark, to reach; or a limit that gopark's median must stay below.
    least_ratio: float | None = None
    limit: float | None = None
    error: str | None = None

    @property
    def ratio(self) -> float | None:
        """How many times faster gopark is: the quotient of the medians."""
        ours, theirs = figures(self.gopark), figures(self.peer)
        return theirs[0] / ours[0] if ours and theirs else None

    @property
    def met(self) -> bool | None:
        """Whether the bar is met; None where there is no bar, or nothing to hold against it."""
        if self.error:
            return None if self.least_ratio is None and self.limit is None else False
        if self.least_ratio is not None:
            return None if self.ratio is None else self.ratio >= self.least_ratio
        ours = figures(self.gopark)
        return None if self.limit is None or not ours else ours[0] < self.limit

    def as_json(self) -> dict[str, object]:
        """All of it, for the JSON file."""
        drawn = {"gopark_figures": figures(self.gopark), "peer_figures": figures(self.peer)}
        return dataclasses.asdict(self) | drawn | {"ratio": self.ratio, "met": self.met}


def figures(rounds: list[list[float]]) -> Figures | None:
    """The median of the rounds' minima, with the least and the greatest; None if nothing was measured."""
    minima = [min(samples) for samples in rounds if samples]
    return (statistics.median(minima), min(minima), max(minima)) if minima else None
