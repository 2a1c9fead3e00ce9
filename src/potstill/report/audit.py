"""The page ``audit.html``: the verdict, the checks, the sources, a map with structures in 3D, distributions, elements.

The input is the contents of ``audit.json`` with the statistics behind them, the output one HTML file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from markupsafe import Markup

from potstill.audit.outliers import energy_residuals, reference_energies
from potstill.core.counts import several
from potstill.core.elements import covalent_radii
from potstill.core.types import Array
from potstill.core.units import GPA_PER_EV_PER_CUBIC_ANGSTROM
from potstill.core.verdict import is_failure
from potstill.dataset import Dataset
from potstill.report import plots
from potstill.report.distributions import distributions
from potstill.report.elements import by_source, periodic_table
from potstill.report.explorer import SCRIPT, explorer
from potstill.report.page import readable, tally, uncompared, worst_first, write_page
from potstill.report.pictures import Picture, examples, pointed_at, without
from potstill.report.scripts import script_hash
from potstill.stats import Statistics

MOST_PICTURES = 4
SHOWN_WHEN_GO = ("distances", "force_limits")


def write_audit_page(report: dict[str, Any], stats: Statistics, dataset: Dataset, path: Path) -> None:
    """Write the page ``audit.html``.

    Parameters
    ----------
    report, stats
        Results of :func:`potstill.audit.stage.audit`.
    dataset
        Dataset that the audit judged.
    path
        Path of the page.
    """
    findings = worst_first(report["findings"])
    limits = {f["check"]: f["limit"] for f in findings}
    shown: set[str] = set()
    worst = _worst(findings, stats, dataset, shown)
    counts = stats.element_counts
    write_page(
        path,
        "audit.html",
        title="Audit of the data",
        dataset_name=report.get("dataset", dataset.path.name),
        report=report,
        sentence=sentence(report),
        findings=findings,
        table=periodic_table(counts, f"Periodic table with the number of atoms of {several(len(counts), 'element')}"),
        element_caption=f"Atoms of each element over all sources: {several(len(counts), 'element')}, "
        f"{several(sum(counts.values()), 'atom')}. Shades are logarithmic.",
        by_source=by_source(dict(sorted(stats.elements.items()))),
        map=explorer(report, stats, dataset),
        script_hash=script_hash(SCRIPT),
        spreads=_spreads(stats, limits),
        environments=[plot for plot in _pairs_and_references(stats) if plot[0] is not None],
        limits_shown=any(limits.get(check) for check in ("distances", "force_limits", "stress_limits")),
        worst=worst,
        worst_title="Structures behind the checks that did not pass"
        if report["verdict"] != "GO" and any(f["verdict"] == "NO_GO" and f["worst"] for f in findings)
        else "The structures closest to the limits",
        examples=without(examples(dataset), shown),
    )


def sentence(report: Mapping[str, Any]) -> str:
    """Return the verdict in plain sentences, with what it does not cover.

    >>> sentence({"verdict": "NO_GO", "labelled": 7, "findings": [{"check": "size_cv", "verdict": "NO_GO"}]})
    '1 of 1 checks that apply did not pass: size cv. Nothing should be trained on this data yet.'
    >>> findings = [{"check": "stand_ins", "verdict": "WARN"}, {"check": "label_replay", "verdict": "DOES_NOT_APPLY"}]
    >>> sentence({"verdict": "GO", "labelled": 7, "findings": findings, "made_from": {"teacher": None}})
    'All 1 checks that apply passed on 7 labelled structures, 1 of them with a warning: stand ins. 1 other does not apply. \
No teacher was named, so no label was repeated.'
    """
    findings = report["findings"]
    if not findings:
        return "No check was made, so nothing is known about this data."
    _, asked = tally(findings)
    failed = [readable(f["check"]) for f in findings if is_failure(f["verdict"])]
    if report["verdict"] == "GO":
        warnings = [readable(f["check"]) for f in findings if f["verdict"] == "WARN"]
        told = f", {len(warnings)} of them with a warning: {', '.join(warnings)}" if warnings else ""
        said = f"All {asked} checks that apply passed on {report['labelled']:,} labelled structures{told}."
        return said + _not_asked(report, len(findings) - asked)
    return (
        f"{len(failed)} of {asked} checks that apply did not pass: {', '.join(failed)}. "
        "Nothing should be trained on this data yet."
    ) + _not_asked(report, len(findings) - asked)


def _not_asked(report: Mapping[str, Any], others: int) -> str:
    """Return sentences on what the verdict does not cover; empty where it covers all."""
    text = f" {others} other{'s do' if others > 1 else ' does'} not apply." if others else ""
    if "made_from" in report and report["made_from"]["teacher"] is None and report["labelled"]:
        text += " No teacher was named, so no label was repeated."
    said = uncompared(report).removeprefix(", with ") if report["labelled"] else ""
    return text + (f" {said[0].upper()}{said[1:]}." if said else "")


def _worst(
    findings: Sequence[Mapping[str, Any]], stats: Statistics, dataset: Dataset, shown: set[str]
) -> list[tuple[str, list[Picture]]]:
    """Return pictures of the structures that failing checks name, or else of those closest to the limits."""
    chosen = [f for f in findings if f["verdict"] == "NO_GO" and f["worst"]]
    chosen = chosen or [f for f in findings if f["check"] in SHOWN_WHEN_GO]
    sections = []
    for finding in chosen:
        notes = {name: _note(finding["check"], stats, k) for k, name in enumerate(stats.ids) if name in finding["worst"]}
        pictures = pointed_at(dataset, finding["worst"][:MOST_PICTURES], notes, shown)
        if pictures:
            sections.append((readable(finding["check"]).capitalize(), pictures))
    return sections


def _note(check: str, stats: Statistics, k: int) -> str:
    if check == "distances":
        return f"{stats.scaled_distance[k]:.2f} of radii sum"
    if check == "force_limits":
        return f"{stats.largest_force[k]:.1f} eV/Å"
    return f"{stats.sources[k]}, {stats.atoms[k]} atoms"


def _pairs_and_references(stats: Statistics) -> list[tuple[Markup | None, str]]:
    """Draw the shortest distances between elements, and the reference energies of the elements."""
    elements = sorted(stats.element_counts)
    radii = covalent_radii()
    scaled = np.full((len(elements), len(elements)), np.nan)
    for (a, b), shortest in stats.shortest_distances().items():
        at = elements.index(a), elements.index(b)
        scaled[at] = scaled[at[::-1]] = shortest / (radii[a] + radii[b])
    symbols = [chemical_symbols[z] for z in elements]
    references = {chemical_symbols[z]: energy for z, energy in reference_energies(stats).items()}
    return [
        (
            plots.matrix(symbols, scaled, "shortest distance / sum of radii"),
            "Shortest distance of each pair of elements, over the sum of their covalent radii; empty beyond 5 Å.",
        ),
        (
            plots.columns(list(references), list(references.values()), "eV"),
            "Reference energy of each element: least squares of the energies on the compositions, outliers held back.",
        ),
    ]


def _spreads(stats: Statistics, limits: Mapping[str, float | None]) -> list[Markup]:
    """Draw a figure with one row per source for each measure that some structures have."""
    names = sorted(stats.elements)
    rows = {name: stats.of_source(name) for name in names}
    colours = plots.colours_of(names)
    gpa = GPA_PER_EV_PER_CUBIC_ANGSTROM
    stress_limit = limits.get("stress_limits")
    measures: list[tuple[str, Array, str, str, bool, float | None]] = [
        ("atoms", stats.atoms, "atoms", "Size", True, None),
        ("energy", stats.energy_per_atom, "eV/atom", "Energy, as the teacher gives it", False, None),
        (
            "residual",
            energy_residuals(stats),
            "eV/atom",
            "Energy beyond the reference energies of its elements",
            False,
            None,
        ),
        ("force", stats.largest_force, "eV/Å", "Largest force on an atom", True, limits.get("force_limits")),
        ("distance", stats.scaled_distance, "of radii sum", "Smallest distance", False, limits.get("distances")),
        ("stress", gpa * stats.largest_stress, "GPa", "Largest component of the stress", True, _times(gpa, stress_limit)),
        ("", gpa * stats.pressure, "GPa", "Pressure; positive is compressed", False, None),
        ("volume", stats.volume_per_atom, "Å³/atom", "Volume", False, None),
        ("", stats.neighbors, "atoms", "Atoms within 5 Å of an atom, on average", True, None),
    ]
    found = [
        distributions(
            {name: np.asarray(values)[rows[name]] for name in names},
            unit,
            title,
            colours=colours,
            key=key,
            logarithmic=logarithmic,
            limit=limit,
        )
        for key, values, unit, title, logarithmic, limit in measures
    ]
    return [spread for spread in found if spread is not None]


def _times(factor: float, limit: float | None) -> float | None:
    return factor * limit if limit else None
