"""Figures as inline SVG that take their colors from the page, for light and dark mode and for print.

The input is arrays, the output markup. matplotlib is used through its objects only: no pyplot, no state that outlives a
call. Large clouds of points are drawn as a picture inside the SVG, so that a page stays small.
"""

from __future__ import annotations

import hashlib
import io
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup, escape

from potstill.core.types import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAMESPACES = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
INK, FAINT = "#010203", "#010204"  # stand for the page's own colours until the SVG is made
PALETTE = ("#3f88c5", "#e08214", "#1b9e77", "#c977a9", "#a59100", "#6fb7e3", "#d1573b", "#8a8f98")
STYLE: Any = {  # names and values as matplotlib knows them
    "svg.fonttype": "none",
    "svg.hashsalt": "potstill",
    "text.parse_math": False,
    "font.size": 11,
    "axes.titlesize": 11,
    "axes.labelsize": 11,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "legend.fontsize": 10,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "axes.edgecolor": FAINT,
    "grid.color": FAINT,
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}
MOST_VECTOR_POINTS = 400
MOST_FIGURES = 12  # elements of a matrix whose cells have room for a figure
NARROW = 0.06  # of an axis: names at a smaller distance would overlap
MOST_LABELS = 24  # elements of a matrix that have room for a label each
FEWEST_FULL = 4  # elements along a table of pairs that fills its place


def colours_of(names: Sequence[str]) -> dict[str, str]:
    """Return a color for each name; a name has the same color in every figure of a page."""
    return {name: PALETTE[k % len(PALETTE)] for k, name in enumerate(sorted(names))}


def parity(pairs: Mapping[str, tuple[Array, Array]], label: str, title: str) -> Markup | None:
    """Draw student against teacher, colored by source."""
    kept = {name: (np.ravel(a), np.ravel(b)) for name, (a, b) in pairs.items() if np.size(a)}
    if not kept:
        return None
    both = np.concatenate([np.concatenate(pair) for pair in kept.values()])
    both = both[np.isfinite(both)]
    if not len(both):
        return None
    low, high = float(both.min()), float(both.max())
    margin = 0.04 * (high - low) or 1.0
    colours = colours_of(list(pairs))

    def draw(axes: list[Axes]) -> None:
        ax = axes[0]
        cloud = sum(len(a) for a, _ in kept.values()) > MOST_VECTOR_POINTS
        ax.plot([low, high], [low, high], color=INK, linewidth=0.8, zorder=1)
        for name, (a, b) in kept.items():
            size = 5 if cloud else 14
            ax.scatter(a, b, s=size, color=colours[name], alpha=0.6, linewidths=0, rasterized=cloud, zorder=2)
            ax.scatter([], [], s=30, color=colours[name], label=_clip(name))
        ax.set(xlim=(low - margin, high + margin), ylim=(low - margin, high + margin), aspect="equal")
        ax.set_title(title, loc="left")
        ax.set_xlabel(f"teacher, {label}")
        ax.set_ylabel(f"student, {label}")
        ax.legend(loc="upper left", handletextpad=0.1, borderaxespad=0)

    return _figure(draw, f"Student against teacher: {title}", 340, 340)


def paired_bars(
    labels: Sequence[str],
    first: Sequence[float],
    second: Sequence[float],
    names: tuple[str, str],
    label: str,
    *,
    logarithmic: bool = False,
    compact: bool = False,
) -> Markup | None:
    """Draw two horizontal bars for each label, the label above them, or beside them where ``compact``."""
    if not labels:
        return None
    upper, lower = (np.nan_to_num(np.array(x, float), nan=0.0, posinf=0.0) for x in (first, second))  # no bar
    ends = np.concatenate([upper, lower])
    rows = np.arange(len(labels))[::-1] * 1.0

    def draw(axes: list[Axes]) -> None:
        ax = axes[0]
        height = 0.36 if compact else 0.26
        ax.barh(rows + height / 2, upper, height, color=PALETTE[0], label=names[0])
        ax.barh(rows - height / 2, lower, height, color=PALETTE[7], alpha=0.55, label=names[1])
        if logarithmic and (ends > 0).any():
            ax.set_xscale("log")
            ax.set_xlim(ends[ends > 0].min() / 2, ends.max() * 1.3)
        ax.set_ylim(-0.6, len(labels) - 0.3)
        ax.tick_params(axis="y", length=0)
        if compact:
            ax.set_yticks(rows, [_clip(x) for x in labels])
        else:
            ax.set_yticks([])
            for row, text in zip(rows, labels, strict=True):
                spot = ax.get_yaxis_transform()
                ax.text(0.01, row + 0.3, _clip(text, 48), transform=spot, va="bottom")
        _plain_ticks(ax, "x", logarithmic=logarithmic and bool((ends > 0).any()))
        ax.set_xlabel(label)
        ax.figure.legend(*ax.get_legend_handles_labels(), loc="outside upper left", ncols=2, borderaxespad=0)

    alt = f"{label}: {names[0]} beside {names[1]} for {', '.join(labels[:20])}"
    return _figure(draw, alt, 340, 80 + round((19 if compact else 46) * len(labels)))


def lines(
    series: Mapping[str, tuple[Sequence[float] | Array, Sequence[float] | Array]],
    x_label: str,
    y_label: str,
    *,
    logarithmic: bool = False,
    logarithmic_x: bool = False,
    limits: Sequence[float] = (),
) -> Markup | None:
    """Draw lines on common axes, with a legend where there is more than one, and dashed lines at ``limits``."""
    kept = {name: (np.asarray(x, float), np.asarray(y, float)) for name, (x, y) in series.items()}
    kept = {name: (x, np.where(np.isfinite(y), y, np.nan)) for name, (x, y) in kept.items() if np.isfinite(y).any()}
    if not kept:
        return None

    def draw(axes: list[Axes]) -> None:
        ax = axes[0]
        for k, (name, (x, y)) in enumerate(kept.items()):
            marker = "o" if len(x) == 1 or logarithmic_x else None
            ax.plot(x, y, color=PALETTE[k % len(PALETTE)], linewidth=1.6, label=_clip(name, 44), marker=marker)
        for limit in limits:
            ax.axhline(limit, color=INK, linestyle=(0, (4, 3)), linewidth=1)
        if logarithmic:
            ax.set_yscale("log")
            _plain_ticks(ax, "y", logarithmic=True)
        if logarithmic_x:
            ax.set_xscale("log")
            _plain_ticks(ax, "x", logarithmic=True)
        elif all((x == np.round(x)).all() for x, _ in kept.values()):  # such as rounds
            ax.locator_params(axis="x", integer=True)
        ax.grid(visible=True, axis="y", linewidth=0.6)
        ax.set_xlabel(x_label)
        ax.set_title(y_label, loc="left")
        if len(kept) > 1:
            ax.figure.legend(*ax.get_legend_handles_labels(), loc="outside lower left", borderaxespad=0)

    return _figure(draw, f"{y_label} against {x_label}: {', '.join(kept)}", 340, 250 + 16 * len(kept))


Panel = tuple[Sequence[float] | Array, Sequence[float] | Array, Sequence[float] | Array]


def beside(
    panels: Mapping[str, Sequence[Panel]],
    x_label: str,
    y_label: str,
    *,
    columns: int = 1,
    clip: bool = False,
    marks: Mapping[str, Sequence[tuple[float, str]]] | None = None,
) -> Markup | None:
    """Draw lines of the student over those of the teacher, one panel for each title.

    Parameters
    ----------
    panels
        Any number of (x, student, teacher) by title.
    x_label, y_label
        Labels of the axes with units.
    columns
        Number of columns of panels.
    clip
        Whether the axis ends above the wells, so that a wall does not hide them.
    marks
        Named places on the x axis by title, in the place of its numbers.
    """
    kept = {title: [tuple(np.asarray(v, float) for v in panel) for panel in p] for title, p in panels.items() if p}
    kept = {title: [_with_jumps(*panel) for panel in p] if marks else p for title, p in kept.items()}
    if not kept:
        return None
    rows = -(-len(kept) // columns)

    from matplotlib.ticker import MaxNLocator

    def draw(axes: list[Axes]) -> None:
        for ax, (title, lines_) in zip(axes, kept.items(), strict=False):
            for k, (x, student, teacher) in enumerate(lines_):
                names = ("teacher", "student") if k == 0 and ax is axes[0] else (None, None)
                ax.plot(x, teacher, color=PALETTE[7], linewidth=2.6, alpha=0.7, label=names[0])
                ax.plot(x, student, color=PALETTE[0], linewidth=1.1, label=names[1])
            if clip:
                ax.set_ylim(*_around_wells(lines_))
            ax.grid(visible=True, axis="y", linewidth=0.6)
            ax.set_title(_clip(title, 44 // columns), loc="left")
            _mark(ax, (marks or {}).get(title, ()))
        for ax in axes[len(kept) :]:
            ax.set_axis_off()
        for ax in axes[-columns:]:
            ax.set_xlabel(x_label.partition(",")[0] if marks else x_label)  # a unit needs numbers
        ax = axes[0]
        if all(np.array_equal(x, np.round(x)) for panel in kept.values() for x, *_ in panel):  # modes are counted
            ax.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 2.5, 5, 10], integer=True))
        ax.figure.supylabel(y_label, fontsize=11)
        ax.figure.legend(*ax.get_legend_handles_labels(), loc="outside upper left", ncols=2, borderaxespad=0)

    height = 60 + rows * (200 if columns == 1 else 150)
    return _figure(draw, f"{y_label} of student and teacher: {', '.join(kept)}", 340, height, rows, columns)


def _with_jumps(x: Array, *values: Array) -> tuple[Array, ...]:
    """Break lines where a path jumps: at two points of the same place."""
    jumps = np.flatnonzero(np.diff(x) == 0) + 1
    return tuple(np.insert(line, jumps, np.nan) for line in (x, *values))


def _mark(ax: Axes, marks: Sequence[tuple[float, str]]) -> None:
    """Write names below the x axis with a line through each, and end the axis at the first and last."""
    if marks:
        places = [place for place, _ in marks]
        ax.set_xticks(places, _on_lines(marks, NARROW * (places[-1] - places[0])))
        ax.set_xlim(places[0], places[-1])
        ax.grid(visible=True, axis="x", linewidth=0.6)


def _on_lines(marks: Sequence[tuple[float, str]], room: float) -> list[str]:
    """Return the names in order, those with too little room after the last one of the first line on a second line."""
    found, last = list[str](), -np.inf
    for place, name in marks:
        first = place - last >= room
        last = place if first else last
        found.append(name if first else f"\n{name}")
    return found


def _around_wells(lines_: Sequence[tuple[Array, ...]]) -> tuple[float, float]:
    found = np.concatenate([np.ravel(line) for _, *both in lines_ for line in both])
    found = found[np.isfinite(found)]
    low = float(found.min()) if len(found) else 0.0
    depth = max(-low, 0.5)
    return low - 0.15 * depth, 1.2 * depth


def columns(labels: Sequence[str], values: Sequence[float], label: str) -> Markup | None:
    """Draw one horizontal bar for each label."""
    if not labels:
        return None
    rows = np.arange(len(labels))[::-1]

    def draw(axes: list[Axes]) -> None:
        ax = axes[0]
        ax.barh(rows, values, 0.7, color=PALETTE[0])
        ax.set_yticks(rows, [_clip(x) for x in labels])
        ax.tick_params(axis="y", length=0)
        ax.set_ylim(-0.6, len(labels) - 0.4)
        _plain_ticks(ax, "x", logarithmic=False)
        ax.set_xlabel(label)

    return _figure(draw, f"{label} of {', '.join(labels)}", 340, 60 + 17 * len(labels))


def matrix(labels: Sequence[str], values: Array, title: str) -> Markup | None:
    """Draw the lower triangle of a symmetric (n, n) table as shades, with figures where there is room."""
    if not np.isfinite(values).any():
        return None
    n = len(labels)
    shown = np.where(np.tri(n, dtype=bool), values, np.nan)

    def draw(axes: list[Axes]) -> None:
        ax = axes[0]
        picture = ax.imshow(shown, cmap="viridis", interpolation="nearest")
        every = -(-n // MOST_LABELS)
        size = min(10.0, 220 * every / n)
        if n < FEWEST_FULL:  # cells of a few elements stay as small as those of more
            ax.set_xlim(-0.5, FEWEST_FULL - 0.5)
            ax.set_ylim(FEWEST_FULL - 0.5, -0.5)
        named = range(0, n, every)
        ax.set_xticks(named, labels[::every], fontsize=size, rotation=90 if n > MOST_FIGURES else 0)
        ax.set_yticks(named, labels[::every], fontsize=size)
        ax.tick_params(length=0)
        for side in ("left", "bottom"):
            ax.spines[side].set_visible(False)
        if n <= MOST_FIGURES:
            low, high = picture.get_clim()
            for row, column in np.argwhere(np.isfinite(shown)):
                value = shown[row, column]
                dark = high <= low or (value - low) / (high - low) < 0.6  # a single value has the darkest shade
                ax.text(
                    column, row, f"{value:.2f}", ha="center", va="center", fontsize=0.8 * size, color="w" if dark else "k"
                )
        else:
            ax.figure.colorbar(picture, ax=ax, shrink=0.6)
        ax.set_title(title, loc="left")

    return _figure(draw, title, 340, 340)


def _figure(
    draw: Callable[[list[Axes]], None], alt: str, width: int, height: int, rows: int = 1, columns: int = 1
) -> Markup:
    """Run ``draw`` on the axes of a new figure of that many pixels and take the SVG."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # the browser has a font for it
        made = Figure(figsize=(width / 72, height / 72), dpi=144, layout="constrained")
        draw(list(made.subplots(rows, columns, squeeze=False).flat))
        file = io.StringIO()
        made.savefig(file, format="svg", transparent=True, metadata=nothing)
    return inline(file.getvalue(), alt)


def inline(svg: str, alt: str) -> Markup:
    """Return matplotlib's SVG as an element of a page: unique ids, the page's font and colors, and no fixed size."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r"font-family:[^;\"]*;?", "", svg)
    svg = svg.replace(INK, "currentColor").replace(FAINT, "var(--line, #999)")
    key = "p" + hashlib.sha256(svg.encode()).hexdigest()[:8]
    svg = re.sub(r'(?<=\bid=")|(?<=url\(#)|(?<=href="#)', f"{key}-", svg)
    svg = re.sub(r"\s*\n\s*", " ", svg)
    box = re.search(r'viewBox="[^"]*"', svg)
    opening = f'<svg class="plot" role="img" aria-label="{escape(alt)}" {box.group() if box else ""} {NAMESPACES}>'
    return Markup(re.sub(r"^<svg[^>]*>", lambda _: opening, svg))  # noqa: S704 - matplotlib escapes its text


def _plain_ticks(ax: Axes, which: str, *, logarithmic: bool) -> None:
    """Set the tick labels to numbers such as ``0.01`` and ``1,000`` instead of powers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    axis: Any = ax.xaxis if which == "x" else ax.yaxis
    if logarithmic:
        low, high = sorted(axis.get_view_interval())
        few = high / max(low, 1e-300) < 30
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if few else (1.0,), numticks=7))
        axis.set_minor_formatter(NullFormatter())
        axis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}" if x >= 1 else f"{x:g}"))
    else:
        axis.set_major_locator(MaxNLocator(6))


def _clip(text: str, most: int = 24) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
