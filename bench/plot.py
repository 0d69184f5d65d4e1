"""The benchmark's picture: bars on a logarithmic axis, one group a row, as SVG."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from xml.sax.saxutils import escape

# Okabe and Ito's palette: apart also for those who see fewer colours.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#F0E442")
WIDTH, LABELS, RIGHT = 960, 310, 80  # pixels: of the picture, of the rows' titles, of the room for the last numbers
BAR, GROUP_GAP, LEGEND, AXIS = 10, 9, 30, 26


@dataclasses.dataclass(frozen=True)
class Group:
    """A row of the picture: its title, and each side's value."""

    title: str
    values: dict[str, float]


@dataclasses.dataclass(frozen=True)
class Panel:
    """Rows that share a unit, and so an axis."""

    title: str
    unit: str
    groups: Sequence[Group]


def svg(panels: Sequence[Panel]) -> str:
    """The picture. Values must be positive; what is not does not appear."""
    sides = list(dict.fromkeys(side for panel in panels for group in panel.groups for side in group.values))
    colours = {side: COLOURS[i % len(COLOURS)] for i, side in enumerate(sides)}
    body: list[str] = []
    top = legend(body, colours)
    for panel in panels:
        top = draw(body, panel, colours, top)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{top}" viewBox="0 0 {WIDTH} {top}" '
            'font-family="Helvetica, Arial, sans-serif" font-size="12">',
            f'<rect width="{WIDTH}" height="{top}" fill="white"/>',
            *body,
            "</svg>\n",
        ]
    )


def legend(body: list[str], colours: dict[str, str]) -> int:
    """Draws the legend; returns the height that it takes."""
    left = LABELS
    for side, colour in colours.items():
        body.append(f'<rect x="{left}" y="10" width="14" height="14" fill="{colour}"/>')
        body.append(text(left + 20, 22, side))
        left += 45 + 8 * len(side)
    return LEGEND


def draw(body: list[str], panel: Panel, colours: dict[str, str], top: int) -> int:
    """Draws a panel below `top`; returns its lower end."""
    values = [value for group in panel.groups for value in group.values.values() if value > 0]
    if not values:
        return top
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    # The bar of the least value must be seen.
    if min(values) < 1.5 * 10**low:
        low -= 1
    scale = (WIDTH - LABELS - RIGHT) / (high - low)
    first = top + 24 + AXIS
    last = first + sum(height(group) for group in panel.groups)
    body.append(text(LABELS, top + 22, panel.title, weight="bold", size=14))
    for decade in range(low, high + 1):
        x = LABELS + (decade - low) * scale
        body.append(f'<line x1="{x:.1f}" y1="{first - 4}" x2="{x:.1f}" y2="{last}" stroke="#d0d0d0"/>')
        body.append(text(x, first - 8, amount(10.0**decade, panel.unit), anchor="middle", fill="#505050"))
    y = first
    for group in panel.groups:
        shown = {side: value for side, value in group.values.items() if value > 0}
        middle = y + height(group) / 2
        body.append(text(LABELS - 10, middle + 4, group.title, anchor="end"))
        bar = middle - len(shown) * BAR / 2
        for side, value in shown.items():
            length = (math.log10(value) - low) * scale
            name = escape(f"{group.title}, {side}: {amount(value, panel.unit)}")
            body.append(
                f'<rect x="{LABELS}" y="{bar:.1f}" width="{length:.1f}" height="{BAR - 1}" fill="{colours[side]}">'
                f"<title>{name}</title></rect>"
            )
            body.append(text(LABELS + length + 4, bar + 8, amount(value, panel.unit), size=9, fill="#303030"))
            bar += BAR
        y += height(group)
    return last + AXIS


def height(group: Group) -> int:
    """Pixels of a group: a line of text at least."""
    return max(len(group.values) * BAR, 14) + GROUP_GAP


def amount(value: float, unit: str) -> str:
    """A value with its unit, in three digits at most, and in the unit's multiples from a thousand on."""
    multiples = {"ns": ("ns", "µs", "ms", "s"), "B": ("B", "kB", "MB", "GB")}.get(unit, (unit,))
    step = 0
    # What would be rounded to a thousand belongs to the next multiple already.
    while step < len(multiples) - 1 and float(f"{value:.3g}") >= 1000:
        value /= 1000
        step += 1
    rounded = float(f"{value:.3g}")
    return f"{rounded:,.0f} {multiples[step]}" if rounded >= 100 else f"{rounded:g} {multiples[step]}"


def text(
    x: float, y: float, words: str, anchor: str = "start", size: int = 12, weight: str = "normal", fill: str = "black"
) -> str:
    """A line of text."""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" font-weight="{weight}" '
        f'fill="{fill}">{escape(words)}</text>'
    )
