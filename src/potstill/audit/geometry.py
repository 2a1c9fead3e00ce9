"""Geometry: atoms that are too close, cells that are too empty, too full or too flat."""

from __future__ import annotations

import numpy as np

from potstill.audit import mend
from potstill.audit.evidence import Evidence, largest, largest_first
from potstill.audit.needs import CRYSTALS
from potstill.audit.registry import check
from potstill.core.types import Array
from potstill.core.verdict import WORST, Finding, at_least, at_most
from potstill.stats import Statistics

PAIRS_NAMED = 3


@check("geometry", unit="of radii sum", gates=("min_scaled_distance",), mend=mend.higher_filter)
def distances(evidence: Evidence) -> Finding:
    """Find the smallest distance over the sum of covalent radii, periodic images included."""
    scaled = evidence.stats.scaled_distance
    order = np.argsort(
        scaled, kind="stable"
    )  # NaN (positions that are not finite) comes last; the check finite() reports it
    limit = evidence.gates.min_scaled_distance
    too_close = int((scaled < limit).sum())
    why = f"{too_close} structures have atoms closer than {limit} of the sum of their covalent radii"
    pairs = shortest_of_pairs(evidence.stats)
    if pairs:
        why += "; shortest by pair: " + ", ".join(f"{name} {value:.2f}" for name, value in pairs[:PAIRS_NAMED])
    worst = [evidence.stats.ids[k] for k in order[: min(WORST, too_close or WORST)]]
    known = scaled[~np.isnan(scaled)]
    smallest = float(known.min()) if known.size else np.nan
    if np.isinf(smallest):  # pairs are looked for up to twice the largest radius
        smallest, why = 1.0, "no two atoms are nearer than the sum of their covalent radii; the true figure is larger"
    return at_least("distances", smallest, limit, "of radii sum", why, worst)


def shortest_of_pairs(stats: Statistics) -> list[tuple[str, float]]:
    """Return the smallest scaled distance of each pair of elements that is closest in a structure, smallest first."""
    from ase.data import chemical_symbols

    smallest: dict[tuple[int, int], float] = {}
    for (a, b), value in zip(stats.closest_pair.tolist(), stats.scaled_distance.tolist(), strict=True):
        if a and np.isfinite(value):
            smallest[a, b] = min(value, smallest.get((a, b), np.inf))
    return sorted(
        ((f"{chemical_symbols[a]}-{chemical_symbols[b]}", v) for (a, b), v in smallest.items()), key=lambda p: p[1]
    )


@check("geometry", unit="Å^3/atom", needs=(CRYSTALS,), gates=("max_volume_per_atom_cubic_angstrom",), mend=mend.lower_filter)
def volume(evidence: Evidence) -> Finding:
    """Find the largest volume per atom of a structure that is periodic in three directions."""
    limit = evidence.gates.max_volume_per_atom_cubic_angstrom
    return _largest(evidence, "volume", evidence.stats.volume_per_atom, limit, "Å^3/atom", "above the limit per atom")


@check(
    "geometry",
    unit="of the cell",
    needs=(CRYSTALS,),
    gates=("max_packing",),
    mend=mend.cleaner_gate("max_packing", "cells of {source} are compressed"),
)
def packing(evidence: Evidence) -> Finding:
    """Find the largest share of a cell that its covalent spheres would fill: pure elements fill 0.3 to 0.9."""
    return _largest(evidence, "packing", evidence.stats.packing, evidence.gates.max_packing, "of the cell", "fuller")


@check(
    "geometry",
    unit="Å",
    needs=(CRYSTALS,),
    gates=("max_vacuum_angstrom",),
    mend=mend.cleaner_gate("max_vacuum_angstrom", "structures of {source} are marked periodic across a vacuum"),
)
def vacuum(evidence: Evidence) -> Finding:
    """Find the widest layer without atoms in a structure periodic in three directions: its stress has no meaning."""
    limit = evidence.gates.max_vacuum_angstrom
    return _largest(evidence, "vacuum", evidence.stats.vacuum, limit, "Å", "with a wider layer without atoms")


@check(
    "geometry",
    unit="",
    needs=(CRYSTALS,),
    gates=("max_cell_ratio",),
    mend=mend.cleaner_gate("max_cell_ratio", "cells of {source} are flat: reduce them (Niggli)"),
)
def cell_shape(evidence: Evidence) -> Finding:
    """Find the largest product of the cell lengths over the volume: 1 for right angles, large for flat cells."""
    limit = evidence.gates.max_cell_ratio
    return _largest(evidence, "cell_shape", evidence.stats.cell_ratio, limit, "", "with flatter cells")


def _largest(evidence: Evidence, check: str, values: Array, limit: float, unit: str, adjective: str) -> Finding:
    beyond = int((values > limit).sum())
    applies = int((~np.isnan(values)).sum())
    why = f"{beyond} of {applies} structures periodic in three directions are {adjective}"
    return at_most(check, largest(values), limit, unit, why, largest_first(evidence.stats, values, above=0.0))
