"""Bonds of a molecule: checks for missing hydrogens, for too many bonds, and for agreement with its SMILES.

The bond order between two atoms follows from their distance by Pauling's relation n = exp((r1 - r) / 0.3 Å) with r1 the
length of the single bond (Pauling, J. Am. Chem. Soc. 69, 542 (1947)); a carbon's orders sum to about four. Where hydrogens
were left out, the sum falls short by about one for each. The mean over a molecule's carbons is compared, because a displaced
atom lengthens some bonds and shortens others.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import numpy as np

from potstill.core.elements import covalent_radii
from potstill.core.neighbors import find_pairs
from potstill.core.types import Array, Structure

CARBON, HYDROGEN = 6, 1
CARBON_VALENCE = 4.0
SINGLE_BOND_RADIUS_SP3 = 0.77
PAULING_ANGSTROM = 0.3
BONDED_BELOW = 1.3  # of the sum of covalent radii
CROWDED_BELOW = 1.2  # the same where bonds are counted against an atom
MOST_BONDS = {1: 1, 6: 4, 7: 4, 8: 3, 9: 1}  # to atoms of these elements
WITHOUT_FOUR_BONDS = ("CO", "CS", "CSe")  # stable as they are, with a carbon of three bonds
LARGEST_DEFICIT = 0.75  # mean missing valence per carbon


@dataclass(frozen=True, slots=True)
class SmilesFacts:
    """Facts of a SMILES by RDKit's valence model: hydrogens, unpaired electrons, net charge, pieces, and other atoms."""

    hydrogens: int
    unpaired: int
    charge: int
    pieces: int
    heavy: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Bonds:
    """Pairs of atoms within 1.3 times the length of their single bond.

    Parameters
    ----------
    pairs
        (b, 2) indices of atoms.
    distance, single
        (b,) length, and length of a single bond of these elements, in Å.
    """

    pairs: Array
    distance: Array
    single: Array


def find_bonds(numbers: Array, positions: Array) -> Bonds:
    """Find the bonds of a molecule with (n,) atomic numbers and (n, 3) positions in Å."""
    single = _single_bond_radii()[numbers]
    reach = 2 * BONDED_BELOW * float(single.max())
    pairs, distance = find_pairs(positions, np.zeros((3, 3)), np.zeros(3, bool), reach)
    length = single[pairs[:, 0]] + single[pairs[:, 1]]
    near = distance <= BONDED_BELOW * length
    return Bonds(pairs[near], distance[near], length[near])


def carbon_valence_deficit(numbers: Array, bonds: Bonds) -> float:
    """Return the mean over the carbons of four minus the sum of their Pauling bond orders; 0 without carbon."""
    carbons = np.flatnonzero(numbers == CARBON)
    if len(carbons) == 0:
        return 0.0
    order = np.exp((bonds.single - bonds.distance) / PAULING_ANGSTROM)
    # a bond to hydrogen counts once whatever its length: its light atom is displaced most
    order[(numbers[bonds.pairs] == HYDROGEN).any(axis=1)] = 1.0
    valence = np.bincount(bonds.pairs.ravel(), weights=np.repeat(order, 2), minlength=len(numbers))
    return float(np.mean(CARBON_VALENCE - np.minimum(valence[carbons], CARBON_VALENCE)))


def count_overbonded(numbers: Array, bonds: Bonds) -> int:
    """Count the atoms of H, C, N, O, F that have more neighbors among these elements than bonds."""
    most = _most_bonds()[numbers]
    close = (bonds.distance <= CROWDED_BELOW * bonds.single) & (most[bonds.pairs] > 0).all(axis=1)
    degree = np.bincount(bonds.pairs[close].ravel(), minlength=len(numbers))
    return int((degree > np.where(most > 0, most, len(numbers))).sum())


def count_pieces(atoms: int, bonds: Bonds) -> int:
    """Count the pieces of a molecule that bonds connect."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(bonds.pairs)), bonds.pairs.T), shape=(atoms, atoms))
    return int(connected_components(graph, directed=False, return_labels=False))


@lru_cache(maxsize=200_000)
def facts_of(smiles: str) -> SmilesFacts | None:
    """Return the facts of a SMILES; None where RDKit is missing or cannot read the SMILES."""
    try:
        from rdkit import Chem
    except ImportError:
        return None
    molecule: Any = Chem.MolFromSmiles(smiles)
    if molecule is None:
        return None
    atoms = list(molecule.GetAtoms())
    heavy = tuple(sorted(a.GetAtomicNum() for a in atoms if a.GetAtomicNum() != HYDROGEN))
    hydrogens = sum(a.GetTotalNumHs() + (a.GetAtomicNum() == HYDROGEN) for a in atoms)
    unpaired = sum(a.GetNumRadicalElectrons() for a in atoms)
    return SmilesFacts(hydrogens, unpaired, Chem.GetFormalCharge(molecule), len(Chem.GetMolFrags(molecule)), heavy)


def lacks_hydrogen(structure: Structure) -> bool:
    """Return whether a molecule has fewer hydrogens than its SMILES or the valences of its carbons require.

    A molecule without carbon and without SMILES cannot be judged and passes. A triple bond that is stretched by 0.15 Å looks
    like a double bond that lacks two hydrogens: where there are several geometries of one molecule, judge them together.
    """
    smiles = structure.generator_metadata.get("smiles")
    facts = facts_of(str(smiles)) if smiles else None
    if facts is not None:
        if int((structure.atomic_numbers == HYDROGEN).sum()) < facts.hydrogens:
            return True
        if not facts.unpaired:
            return False
    bonds = find_bonds(structure.atomic_numbers, structure.positions)
    return deficit_is_lack(structure.formula, carbon_valence_deficit(structure.atomic_numbers, bonds))


def deficit_is_lack(formula: str, deficit: float) -> bool:
    """Return whether this missing valence per carbon means missing hydrogens."""
    return formula not in WITHOUT_FOUR_BONDS and deficit > LARGEST_DEFICIT


@cache
def _single_bond_radii() -> Array:
    radii = covalent_radii()
    radii[CARBON] = SINGLE_BOND_RADIUS_SP3
    return radii


@cache
def _most_bonds() -> Array:
    table = np.zeros(119, np.int64)
    for z, most in MOST_BONDS.items():
        table[z] = most
    return table
