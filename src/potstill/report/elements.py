"""Periodic table that is colored by a quantity, and shades for tables of counts.

The input is a number for each element, the output markup or plain rows for a template.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from markupsafe import Markup, escape

from potstill.report.page import figure

CELL_WIDTH, CELL_HEIGHT = 46, 44
GROUPS = 18
LANTHANIDES, ACTINIDES = range(57, 72), range(89, 104)
NOBLE_GASES = (2, 10, 18, 36, 54, 86, 118)


def place(z: int) -> tuple[float, int]:
    """Return row and column of an element, from zero; lanthanides and actinides stand in two rows below.

    >>> place(1), place(2), place(8), place(26), place(58), place(79)
    ((0, 0), (0, 17), (1, 15), (3, 7), (7.4, 3), (5, 10))
    """
    for row, series in ((7.4, LANTHANIDES), (8.4, ACTINIDES)):
        if z in series:
            return row, 2 + z - series[0]
    period = next(k for k, last in enumerate(NOBLE_GASES) if z <= last)
    first = 1 + (NOBLE_GASES[period - 1] if period else 0)
    if z - first < 2 and z != 2:
        return period, z - first
    return period, GROUPS - 1 - (NOBLE_GASES[period] - z)


def periodic_table(
    values: Mapping[int, float], label: str, *, logarithmic: bool = True, text: Callable[[float], str] | None = None
) -> Markup:
    """Draw the periodic table as SVG.

    Parameters
    ----------
    values
        Figure of each element that has one; the others are drawn empty.
    label
        Text for a user who does not see the picture.
    logarithmic
        Whether the scale of the shades is logarithmic.
    text
        Function that formats the figure in its cell.
    """
    from ase.data import atomic_names, chemical_symbols

    shades = shade(values, logarithmic=logarithmic)
    rows = 9.4 if any(z in (*LANTHANIDES, *ACTINIDES) for z in values) else max(place(z)[0] for z in (*values, 1)) + 1
    cells = []
    for z in range(1, 119):
        row, column = place(z)
        if row + 1 > rows + 1e-9:
            continue
        x, y = column * CELL_WIDTH + 1, row * CELL_HEIGHT + 1
        middle = x + (CELL_WIDTH - 2) / 2
        kind, style, number = "none", "", ""
        if z in values:
            kind, style = ("high" if shades[z] > 0.55 else "low"), f' style="--t:{100 * shades[z]:.0f}%"'
            number = f'<text x="{middle}" y="{y + 34}" class="n">{escape((text or short)(values[z]))}</text>'
        title = f"{atomic_names[z]}: {figure(values[z])}" if z in values else f"{atomic_names[z]}: none"
        cells.append(
            f'<g class="cell {kind}"{style}><title>{title}</title>'
            f'<rect x="{x}" y="{y}" width="{CELL_WIDTH - 2}" height="{CELL_HEIGHT - 2}" rx="4"/>'
            f'<text x="{middle}" y="{y + (20 if z in values else 26)}" class="z">{chemical_symbols[z]}</text>{number}</g>'
        )
    return Markup(  # noqa: S704 - made of numbers and symbols, and of text that was escaped
        f'<svg class="elements" role="img" aria-label="{escape(label)}" '
        f'viewBox="0 0 {GROUPS * CELL_WIDTH} {math.ceil(rows * CELL_HEIGHT)}">{"".join(cells)}</svg>'
    )


def shade(values: Mapping[Any, float], *, logarithmic: bool = True) -> dict[Any, float]:
    """Return a shade from 0.08 (least) to 1 (most) for each figure above zero."""
    sizes = {k: math.log(v) if logarithmic else float(v) for k, v in values.items() if v > 0}
    if not sizes:
        return dict.fromkeys(values, 0.0)
    low, high = min(sizes.values()), max(sizes.values())
    span = high - low or 1.0
    made = {k: 0.08 + 0.92 * (v - low) / span if high > low else 0.6 for k, v in sizes.items()}
    return {k: made.get(k, 0.0) for k in values}


def short(value: float) -> str:
    """Return a count in at most four characters.

    >>> short(17), short(2752), short(27520), short(3.1e6)
    ('17', '2752', '28k', '3.1M')
    """
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if value >= 10 * size or (letter == "M" and value >= size):
            return f"{value / size:.{0 if value >= 10 * size else 1}f}{letter}"
    return f"{value:.0f}"


def by_source(elements: Mapping[str, Mapping[int, int]]) -> dict[str, Any]:
    """Return heading and rows of the table of elements by source: number of atoms, with a shade for each."""
    from ase.data import chemical_symbols

    numbers = sorted({z for counts in elements.values() for z in counts})
    flat = {(name, z): float(counts.get(z, 0)) for name, counts in elements.items() for z in numbers}
    shades = shade(flat)
    rows = [
        (
            name,
            [
                {"count": int(flat[name, z]), "text": short(flat[name, z]), "shade": round(100 * shades[name, z])}
                for z in numbers
            ],
        )
        for name in elements
    ]
    return {"symbols": [chemical_symbols[z] for z in numbers], "rows": rows}
