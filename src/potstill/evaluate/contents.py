"""Kinds of structures in the training data, which decide the checks of the evaluation that apply.

A student of a perfect crystal has seen no broken bond. Its surfaces, vacancies and free pairs of atoms are measured all the
same, and are no gates.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from potstill.core.elements import covalent_radii
from potstill.core.geometry import widest_gap
from potstill.core.neighbors import find_neighbors
from potstill.core.types import Array, Structure

BROKEN = ("surfaces", "vacancies", "pairs")
VACUUM_ANGSTROM = 5.0  # wider than the gap between the layers of graphite or MoS2
BOND, BOND_WIDTH = 1.25, 0.05  # over the sum of covalent radii: between the first and second neighbors of common crystals
LACKING = 0.75  # of a neighbor: hot crystals lose 0.5 for a moment, the atoms at a vacancy lose 1
FEW, SHARE = 8, 0.6  # atoms of an element, of which most may be next to a vacancy and lack up to 2; share of that range


def kinds_of(structures: Iterable[Structure]) -> dict[str, bool]:
    """Return whether structures of each kind are among these.

    ``crystals`` are periodic in three directions and ``molecules`` in none. ``surfaces`` have a direction that is not
    periodic, or 5 Å of vacuum. ``vacancies`` are atoms that lack a neighbor, as those at a surface do too. ``pairs`` are two
    atoms alone, also in a periodic box.
    """
    found = dict.fromkeys(("crystals", "molecules", *BROKEN), False)
    for structure in structures:
        if all(found.values()):
            break
        periodic, alone = bool(structure.pbc.all()), not structure.pbc.any()
        found["crystals"] |= periodic
        found["molecules"] |= alone
        open_ = not periodic or is_hollow(structure)
        found["pairs"] |= (alone and len(structure) == 2) or (open_ and _has_lone_pair(structure))
        found["surfaces"] |= open_
        found["vacancies"] |= found["surfaces"] or lacking_neighbors(structure) > LACKING
    return found


def is_hollow(structure: Structure) -> bool:
    """Return whether a periodic structure has 5 Å of vacuum: a slab, or molecules in a box."""
    return widest_gap(structure.positions, structure.cell) > VACUUM_ANGSTROM


def _has_lone_pair(structure: Structure) -> bool:
    """Return whether two atoms have each other as their only neighbor within 5 Å."""
    near = find_neighbors(structure.positions, structure.cell, structure.pbc, VACUUM_ANGSTROM)
    receiver, sender = near.edge_index
    single = np.bincount(receiver, minlength=len(structure)) == 1
    return bool((single[receiver] & single[sender]).any())


def lacking_neighbors(structure: Structure) -> float:
    """Return how many neighbors the atom lacks that has fewest, against the median of its element in the structure.

    In a small cell most atoms may be next to a vacancy. There 0.6 of the distance to the largest number counts as well.

    A pair at the distance d counts as 1 / (1 + exp((d / s - 1.25) / 0.05)), where s is the sum of the covalent radii. So the
    number changes smoothly with thermal motion.
    """
    numbers = structure.atomic_numbers
    radii = covalent_radii()[numbers]
    near = find_neighbors(
        structure.positions, structure.cell, structure.pbc, 2 * (BOND + 4 * BOND_WIDTH) * float(radii.max())
    )
    receiver, sender = near.edge_index
    scaled = near.distance / (radii[receiver] + radii[sender])
    bonded = 1 / (1 + np.exp((scaled - BOND) / BOND_WIDTH))
    count = np.bincount(receiver, weights=bonded, minlength=len(numbers))
    return max(_lacking(count[numbers == z]) for z in np.unique(numbers))


def _lacking(count: Array) -> float:
    """Return the number of neighbors that the atom of one element lacks that has fewest, from the (n,) numbers of all."""
    largest = SHARE * (count.max() - count.min()) if len(count) <= FEW else 0.0
    return float(max(np.median(count) - count.min(), largest))
