"""Labels that stand for missing ones: forces or a stress of exactly zero where no symmetry makes them so, or energies.

A calculator without parameters for an element returns zeros, and so does a script that fills in what it lacks. Energy,
forces and stress then agree with each other and with any repetition. One energy of zero may be an origin that the user
chose. Zeros in all structures of a source, while forces act there, are none.
"""

from __future__ import annotations

import numpy as np

from potstill.audit.evidence import Evidence
from potstill.audit.needs import LABELS
from potstill.audit.registry import check
from potstill.core.elements import covalent_radii, symbols_of
from potstill.core.neighbors import find_neighbors
from potstill.core.types import Array, Structure
from potstill.core.verdict import Finding, at_most
from potstill.stats import Statistics

MOST_MISSING = 0.005  # of the labels: a molecule at its minimum may have forces that were printed as zeros
MOST_LOOKED_AT = 1000
CONTACT = 1.6  # of the sum of covalent radii: closer atoms act on each other
ROUNDING = 1e-6  # eV/Å: with no larger force anywhere, forces cannot be learned
ACTING = 0.1  # eV/Å, the largest force of a structure in which an atom without any is odd
SYMMETRY = 1e-3  # of the sum of all weights: positions in float32 cancel to less


@check(
    "labels",
    unit="of the labels",
    needs=(LABELS,),
    mend="zeros stand for missing labels: leave these structures out, label them again, or leave out an unknown stress; "
    "repeat cells of one atom (perturb: min_crystal_atoms)",
)
def zero_labels(evidence: Evidence) -> Finding:
    """Count structures with zeros for labels: forces or a stress without a reason, or the energies of a whole source."""
    stats = evidence.stats
    silent = np.flatnonzero((stats.largest_force == 0) & (stats.atoms > 1))
    looked_at = np.random.default_rng(evidence.seed).permutation(silent)[:MOST_LOOKED_AT]
    forces = np.sort([int(k) for k in looked_at if not forces_vanish_by_symmetry(evidence.dataset[int(k)])])
    stress = np.flatnonzero((stats.largest_stress == 0) & (stats.neighbors > 0))
    without_forces = len(forces) / max(1, len(looked_at)) * len(silent)
    energies = _without_energies(stats)
    drawn = np.random.default_rng(evidence.seed).permutation(np.flatnonzero(stats.largest_force > ACTING))[:MOST_LOOKED_AT]
    parts = {int(k): found for k in np.sort(drawn) if (found := _atoms_without_force(evidence.dataset[int(k)]))}
    in_part = len(parts) / max(1, len(drawn)) * len(stats)
    nowhere = bool(stats.labelled and (stats.largest_force <= ROUNDING).all())
    share = 1.0 if nowhere else max(without_forces, len(stress), len(energies), in_part) / max(1, len(stats))
    why = (
        f"{len(silent)} structures have forces that are all exactly zero, {without_forces:.0f} of them without a reason of "
        f"symmetry; {len(stress)} have a stress of exactly zero between near atoms"
    )
    if nowhere:
        lone = bool((stats.atoms == 1).all())
        why += "; no structure has a force, as " + (
            "cells of one atom have none however they are displaced: repeat them"
            if lone
            else "perfect crystals: displace atoms"
        )
    if len(energies):
        why += f"; {len(energies)} have an energy of exactly zero, as all of their source, though forces act"
    if parts:
        elements = ", ".join(sorted(set().union(*parts.values())))
        why += f"; of {len(drawn)} looked at, {len(parts)} have atoms without a force among others with one: {elements}"
    missing = dict.fromkeys([*energies.tolist(), *forces.astype(int).tolist(), *stress.tolist(), *parts])
    return at_most("zero_labels", share, MOST_MISSING, "of the labels", why, [stats.ids[k] for k in missing])


def _without_energies(stats: Statistics) -> Array:
    """Return the indices of structures with forces in sources whose energies, several of them, are all exactly zero."""
    found = np.zeros(len(stats), bool)
    for name in dict.fromkeys(stats.sources):
        rows = stats.of_source(name)
        acting = rows[stats.largest_force[rows] > 0]
        found[acting] = len(acting) > 1 and bool((stats.energy_per_atom[rows] == 0).all())
    return np.flatnonzero(found)


def _atoms_without_force(structure: Structure) -> set[str]:
    """Return the elements of atoms whose force is exactly zero for no reason of symmetry, as of one without parameters."""
    labels = structure.labels
    silent = np.zeros(0, bool) if labels is None else (np.asarray(labels.forces) == 0).all(axis=1)
    if not silent.any():
        return set()
    return set(symbols_of(structure.atomic_numbers[silent & ~_symmetric(structure)]))


def forces_vanish_by_symmetry(structure: Structure) -> bool:
    """Return whether the neighbors of each atom cancel in directions, as at a site of symmetry; also where none is near."""
    return bool(_symmetric(structure).all())


def _symmetric(structure: Structure) -> Array:
    """Return for each of N atoms whether its neighbors cancel in directions, (N,) bool."""
    radii = covalent_radii()[structure.atomic_numbers]
    cutoff = CONTACT * 2 * float(radii.max())
    found = find_neighbors(structure.positions, structure.cell, structure.pbc, cutoff)
    receiver, sender = found.edge_index
    reach = CONTACT * (radii[receiver] + radii[sender])
    weight = np.clip(1 - found.distance / reach, 0, None) ** 2 * structure.atomic_numbers[sender]
    pull = np.zeros((len(structure), 3))
    np.add.at(pull, receiver, found.vectors / np.maximum(found.distance, 1e-6)[:, None] * weight[:, None])
    total = np.bincount(receiver, weights=weight, minlength=len(structure))
    symmetric: Array = np.abs(pull).max(axis=1) <= SYMMETRY * np.maximum(total, 1e-12)
    return symmetric
