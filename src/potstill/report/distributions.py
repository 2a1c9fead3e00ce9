"""Distributions of a quantity as HTML: one low row of bars for each source, on a common axis.

The input is arrays by source, the output a few hundred bytes per row. The HTML is complete without the script of the page,
in print and for a screen reader.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape

from potstill.core.counts import several
from potstill.core.types import Array
from potstill.report.page import figure

BINS = 48
HEIGHT = 20
MOST_DECADES = 4
OUTERMOST = 0.005  # share of the values on either side that counts in the first and last bar
MOST_TICKS = 5


@dataclass(frozen=True, slots=True)
class Axis:
    """Axis that maps values to shares of the width.

    Parameters
    ----------
    low, high
        Ends of the axis, in the unit of the values.
    logarithmic
        Whether the scale is logarithmic.
    """

    low: float
    high: float
    logarithmic: bool = False

    def __call__(self, value: Array | float) -> Array:
        """Return the share of the width for each value: 0 at the left end, 1 at the right."""
        with np.errstate(divide="ignore", invalid="ignore"):
            ends = np.log10([self.low, self.high]) if self.logarithmic else np.array([self.low, self.high])
            at = np.log10(value) if self.logarithmic else np.asarray(value, float)
        return np.asarray((at - ends[0]) / (ends[1] - ends[0]))

    def ticks(self) -> list[float]:
        """Return a few round numbers as ticks."""
        if self.logarithmic:
            low, high = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
            wide = high - low > 2
            found = [m * 10.0**k for k in range(low, high + 1) for m in ((1,) if wide else (1, 2, 5))]
        else:
            step = _round_step((self.high - self.low) / MOST_TICKS)
            found = [k * step for k in range(math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9) + 1)]
        return [x for x in found if self.low * (1 - 1e-9) <= x <= self.high * (1 + 1e-9) or abs(x) < 1e-12]


def distributions(
    values: Mapping[str, Array],
    unit: str,
    title: str,
    *,
    colours: Mapping[str, str],
    key: str = "",
    logarithmic: bool = False,
    limit: float | None = None,
) -> Markup | None:
    """Return one figure of distributions.

    Parameters
    ----------
    values
        Values of each source; values that are not finite are left out, and so is a source without values.
    unit
        Unit of the values and of the limit.
    title
        Name of the values.
    colours
        Color of each source.
    key
        Name of the column of the map that holds the same values, so that a script can mark the chosen structure.
    logarithmic
        Whether the scale is logarithmic; values that are not positive count in the first bar then.
    limit
        Limit that is drawn as a dashed line.

    Returns
    -------
    Markup or None
        None where there is nothing to draw.
    """
    kept = {name: np.asarray(v, float)[np.isfinite(v)] for name, v in values.items()}
    flat = np.concatenate([np.zeros(0), *kept.values()])
    flat = flat[flat > 0] if logarithmic else flat
    if not len(flat):
        return None
    axis = _axis(flat, limit, logarithmic=logarithmic)
    rows = [_row(k, name, kept[name], axis, unit, colours[name], limit) for k, name in enumerate(values) if len(kept[name])]
    ticks = "".join(
        f'<span style="left:{100 * float(axis(x)):.1f}%"><span>{escape(figure(x))}</span></span>' for x in axis.ticks()
    )
    opening = (
        f'<figure class="spread" data-column="{escape(key)}" data-low="{axis.low:.6g}" data-high="{axis.high:.6g}" '
        f'data-log="{int(logarithmic)}"><figcaption><strong>{escape(title)}</strong>, {escape(unit)}</figcaption>'
    )
    last = f'<div class="row axis" aria-hidden="true"><span></span><span class="bars">{ticks}</span><span></span></div>'
    return Markup(f"{opening}{''.join(rows)}{last}</figure>")  # noqa: S704 - numbers, and text that was escaped


def _row(k: int, name: str, values: Array, axis: Axis, unit: str, colour: str, limit: float | None) -> str:
    place = np.nan_to_num(axis(values), nan=0.0, posinf=1.0, neginf=0.0).clip(0, 1)
    counts, _ = np.histogram(place, BINS, (0.0, 1.0))
    median = float(np.median(values))
    low, high = (figure(float(x)) for x in np.quantile(values, [0.05, 0.95]))
    said = f"{name}: {several(len(values), 'structure')}, median {figure(median)}, nine in ten from {low} to {high} {unit}"
    line = (
        f'<span class="limit" style="left:{100 * float(axis(limit)):.1f}%"></span>'
        if limit is not None and limit > 0
        else ""
    )
    return (
        f'<div class="row" data-source="{k}"><span class="name" title="{escape(name)}">{escape(name)}</span>'
        f'<span class="bars"><svg role="img" aria-label="{escape(said)}" viewBox="0 0 {BINS} {HEIGHT}" '
        f'preserveAspectRatio="none"><path fill="{colour}" d="{_path(counts)}"/></svg>{line}</span>'
        f'<span class="n" aria-hidden="true">{figure(median)}</span></div>'
    )


def _path(counts: Array) -> str:
    """Return the outline of the bars; the highest fills the row, and each bar with a count stays visible."""
    heights = np.where(counts > 0, np.maximum(counts / max(1, counts.max()) * HEIGHT, 0.7), 0.0)
    tops = "".join(f"V{HEIGHT - height:.3g}h1" for height in heights)
    return f"M0 {HEIGHT}{tops}V{HEIGHT}Z"


def _axis(values: Array, limit: float | None, *, logarithmic: bool) -> Axis:
    """Return an axis over the limit and all but the outermost values, with at most four decades."""
    scaled = np.log10(values) if logarithmic else values
    low, high = (float(x) for x in np.quantile(scaled, [OUTERMOST, 1 - OUTERMOST]))
    low = max(low, high - MOST_DECADES) if logarithmic else low
    if limit is not None and limit > 0:
        at = math.log10(limit) if logarithmic else limit
        low, high = min(low, at), max(high, at)
    if high - low < 1e-9 * max(1.0, abs(high)):
        half = 0.5 * max(1.0, 1e-9 * abs(high))  # more than the spacing of numbers of this size
        low, high = low - half, high + half
    room = 0.02 * (high - low)
    low, high = low - room, high + room
    return Axis(10**low, 10**high, logarithmic=True) if logarithmic else Axis(low, high)


def _round_step(about: float) -> float:
    power = 10.0 ** math.floor(math.log10(about))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= about)
