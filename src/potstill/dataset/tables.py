"""Statistics and differences as tables on a terminal."""

from __future__ import annotations

import math

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from potstill.core.counts import several
from potstill.core.units import GPA_PER_EV_PER_CUBIC_ANGSTROM
from potstill.dataset.diff import Difference
from potstill.dataset.statistics import DatasetStatistics, Distribution

CLOSEST_PAIRS = 8
SHOWN_IDS = 5
SHOWN_TEXT = 60


def print_statistics(stats: DatasetStatistics, console: Console) -> None:
    """Print counts, distributions, elements by source, and the closest pairs of elements."""
    console.print(f"{several(stats.structures, 'structure')}, {stats.atoms:,} atoms, {stats.labelled:,} labelled")
    if stats.splits:
        console.print("split: " + ", ".join(f"{count:,} {part}" for part, count in stats.splits.items()))
    for stage, reasons in stats.refused.items():
        console.print(
            f"refused by {escape(stage)}: " + ", ".join(f"{n:,} {escape(reason)}" for reason, n in reasons.items())
        )
    if stats.duplicate_ids:
        console.print(f"{stats.duplicate_ids:,} ids occur twice: {escape(', '.join(stats.duplicate_id_examples))}")
    if stats.not_finite:
        console.print(
            f"{several(stats.not_finite, 'structure')} hold a number that is not finite; they are left out where they do"
        )
    console.print(_distributions(stats))
    console.print(_elements(stats))
    console.print(_closest(stats))


def _distributions(stats: DatasetStatistics) -> Table:
    table = Table("", "unit", "mean", "std", "smallest", "largest")
    gpa = GPA_PER_EV_PER_CUBIC_ANGSTROM
    for name, found, factor, unit in (
        ("atoms per structure", stats.sizes, 1.0, ""),
        ("neighbors within 5 Å", stats.neighbors, 1.0, ""),
        ("energy", stats.energy_per_atom, 1.0, "eV/atom"),
        ("force component", stats.force_component, 1.0, "eV/Å"),
        ("force", stats.force_norm, 1.0, "eV/Å"),
        ("stress component", stats.stress_component, gpa, "GPa"),
        ("pressure", stats.pressure, gpa, "GPa"),
    ):
        if found is not None:
            table.add_row(name, unit, *_figures(found, factor))
    if stats.energy_residual_rms is not None:
        rms = f"{stats.energy_residual_rms:.4g}"
        table.add_row("energy less reference energies", "eV/atom", "", rms, "", "")
    return table


def _figures(found: Distribution, factor: float) -> list[str]:
    return [f"{factor * value:.4g}" for value in (found.mean, found.std, found.smallest, found.largest)]


def _elements(stats: DatasetStatistics) -> Table:
    symbols = sorted({symbol for counts in stats.elements.values() for symbol in counts})
    ceiling = math.log2(len(symbols)) if symbols else 0.0
    title = f"Atoms of {several(len(symbols), 'element')}: {stats.element_entropy_bits:.2f} bits of at most {ceiling:.2f}"
    table = Table("element", "reference eV", *map(escape, stats.elements), title=title, title_justify="left")
    for symbol in symbols:
        energy = stats.reference_energies.get(symbol)
        counts = [f"{row.get(symbol, 0):,}" for row in stats.elements.values()]
        table.add_row(symbol, "" if energy is None else f"{energy:.3f}", *counts)
    table.add_row("structures", "", *(f"{count:,}" for count in stats.sources.values()))
    return table


def _closest(stats: DatasetStatistics) -> Table:
    pairs = sorted(stats.shortest_distances.items(), key=lambda item: item[1].angstrom)
    title = "Closest pair of elements" if len(pairs) == 1 else f"Closest of {len(pairs)} pairs of elements"
    table = Table("pair", "Å", "structure", title=title, title_justify="left")
    for pair, shortest in pairs[:CLOSEST_PAIRS]:
        table.add_row(pair, f"{shortest.angstrom:.3f}", escape(shortest.id))
    return table


def print_difference(found: Difference, console: Console) -> None:
    """Print the differences as lines and one table, or one line if there are none."""
    if not found:
        console.print(f"no difference in {several(found.common, 'structure')}")
        return
    console.print(f"{several(found.common, 'structure')} in both" + (", in another order" if found.reordered else ""))
    for which, ids in (("first", found.only_first), ("second", found.only_second)):
        if ids:
            more = ", …" if len(ids) > SHOWN_IDS else ""
            console.print(
                f"only in the {which}: {several(len(ids), 'structure')}: {escape(', '.join(ids[:SHOWN_IDS]))}{more}"
            )
    for which, count in (("first", found.refused_only_first), ("second", found.refused_only_second)):
        if count:
            console.print(f"only in the {which}: {count:,} refusals")
    if found.columns:
        console.print(f"only in one of them: {', '.join(found.columns)}")
    if found.changes:
        table = Table("field", "structures", "largest difference", "where")
        for change in found.changes:
            largest = "" if change.largest is None else f"{change.largest:.4g} {change.unit}"
            table.add_row(change.field, f"{change.structures:,}", largest, escape(change.id))
        console.print(table)
    for name, values in found.attributes.items():
        first, second = (escape(_short(value)) for value in values)
        console.print(f"attribute {escape(name)}: {first} / {second}")


def _short(text: str) -> str:
    flat = " ".join(text.split()) or "none"
    return flat if len(flat) <= SHOWN_TEXT else flat[: SHOWN_TEXT - 1] + "…"
