"""Does a molecule have all its hydrogens? Told from its SMILES where it has one, and from bond lengths in any case.

The bond order between two atoms follows from their distance by Pauling's relation n = exp((r1 - r) / 0.3 Å) with r1 the
length of the single bond (Pauling, J. Am. Chem. Soc. 69, 542 (1947)); a carbon's orders sum to about four. Where hydrogens
were left out, the sum falls short by about one for each. The mean over a molecule's carbons is compared, because a displaced
atom lengthens some bonds and shortens others.
"""

from __future__ import annotations

import numpy as np

from potstill.generate.geometry import covalent_radii
from potstill.neighbors import structure_neighbors
from potstill.types import Structure

CARBON, HYDROGEN = 6, 1
CARBON_VALENCE = 4.0
SINGLE_BOND_RADIUS_SP3 = 0.77
PAULING_ANGSTROM = 0.3
BONDED_BELOW = 1.3  # of the sum of covalent radii
WITHOUT_FOUR_BONDS = ("CO", "CS", "CSe")  # stable as they are, with a carbon of three bonds
LARGEST_DEFICIT = 0.75  # mean missing valence per carbon


def lacks_hydrogen(structure: Structure) -> bool:
    """Whether a molecule has fewer hydrogens than its SMILES or its carbons' valences ask for.

    A molecule without carbon and without SMILES cannot be judged and passes.
    """
    return fewer_than_smiles(structure) or bonds_lack_hydrogen(structure)


def bonds_lack_hydrogen(structure: Structure) -> bool:
    """Whether the bond lengths at a molecule's carbons ask for hydrogens that are not there.

    A triple bond that is stretched by 0.15 Å looks like a double bond that lacks two hydrogens: where there are several
    geometries of one molecule, judge them together.
    """
    return structure.formula not in WITHOUT_FOUR_BONDS and carbon_valence_deficit(structure) > LARGEST_DEFICIT


def carbon_valence_deficit(structure: Structure) -> float:
    """Mean over the carbons of four minus the sum of their Pauling bond orders; 0 without carbon."""
    carbons = np.flatnonzero(structure.atomic_numbers == CARBON)
    if len(carbons) == 0:
        return 0.0
    radii = covalent_radii()
    neighbors = structure_neighbors(structure, 2 * BONDED_BELOW * float(radii[structure.atomic_numbers].max()))
    i, j = neighbors.edge_index
    single = radii[structure.atomic_numbers].copy()
    single[structure.atomic_numbers == CARBON] = SINGLE_BOND_RADIUS_SP3
    length = single[i] + single[j]
    order = np.exp((length - neighbors.distance) / PAULING_ANGSTROM)
    order[neighbors.distance > BONDED_BELOW * length] = 0.0
    # a bond to hydrogen counts once whatever its length: its light atom is displaced most
    order[(structure.atomic_numbers[j] == HYDROGEN) & (order > 0)] = 1.0
    valence = np.bincount(i, weights=order, minlength=len(structure))
    return float(np.mean(CARBON_VALENCE - np.minimum(valence[carbons], CARBON_VALENCE)))


def fewer_than_smiles(structure: Structure) -> bool:
    """Whether a molecule has fewer hydrogens than its SMILES; False where it has none."""
    smiles = structure.generator_metadata.get("smiles")
    if not smiles:
        return False
    expected = _hydrogens_of(str(smiles))
    return expected is not None and int((structure.atomic_numbers == HYDROGEN).sum()) < expected


def _hydrogens_of(smiles: str) -> int | None:
    """Hydrogens that RDKit's valence model gives a SMILES; None where RDKit is missing or cannot read it."""
    try:
        from rdkit import Chem
    except ImportError:
        return None
    molecule = Chem.MolFromSmiles(smiles)
    return None if molecule is None else sum(atom.GetTotalNumHs() for atom in molecule.GetAtoms())
