"""Boxes of whole molecules at the density that was asked for, none in another's way."""

from __future__ import annotations

import numpy as np
import pytest
from ase.units import _amu
from rdkit import Chem

from potstill.core.types import Refused, Structure
from potstill.generate.liquids import CONTACT_ANGSTROM, Liquids
from potstill.testing import check_source

pytest.importorskip("packmol", reason="the extra 'molecules' is not installed")


def made(answers) -> list[Structure]:
    return [a for a in answers if isinstance(a, Structure)]


def molecules_of(structure: Structure) -> np.ndarray:
    """(n,) which molecule each atom belongs to, by the number of atoms that RDKit gives each SMILES."""
    sizes = [
        Chem.AddHs(Chem.MolFromSmiles(smiles)).GetNumAtoms()
        for smiles, n in structure.generator_metadata["molecules"].items()
        for _ in range(n)
    ]
    return np.repeat(np.arange(len(sizes)), sizes)


def test_it_is_a_source():
    check_source(Liquids(count=8, max_atoms=48), count=4)
    check_source(Liquids(count=8, elements=("H", "O"), max_atoms=30), count=4)


def test_hydrogens_are_those_of_rdkit():
    for structure in made(Liquids(count=1).propose(range(10), 1, ())):
        expected: list[int] = []
        for smiles, n in structure.generator_metadata["molecules"].items():
            atoms = Chem.AddHs(Chem.MolFromSmiles(smiles)).GetAtoms()
            expected += n * [a.GetAtomicNum() for a in atoms]
        assert sorted(structure.atomic_numbers.tolist()) == sorted(expected)
        assert 1 <= len(structure.generator_metadata["molecules"]) <= 3
        assert len(structure) <= 96


def test_density():
    source = Liquids(count=1, smiles=("O",), density_g_per_cubic_cm=(0.95, 1.05), max_atoms=60)
    structures = made(source.propose(range(6), 1, ()))
    assert len(structures) == 6
    for water in structures:
        density = water.to_ase().get_masses().sum() * _amu * 1e3 / (water.volume * 1e-24)
        assert 0.95 <= density <= 1.05
        assert water.generator_metadata["density_g_per_cubic_cm"] == pytest.approx(density, rel=1e-6)
        assert water.family == ""  # that of its composition, H2O
        assert water.formula == "H2O"


def test_densities_by_packing_are_those_of_liquids():
    """Benzene 0.88, tetrachloromethane 1.59, hexane 0.66 g/cm^3."""
    for smiles, measured in (("c1ccccc1", 0.88), ("ClC(Cl)(Cl)Cl", 1.59), ("CCCCCC", 0.66)):
        source = Liquids(count=1, smiles=(smiles,), packing_fraction=(0.55, 0.55))
        (structure,) = made(source.propose([0], 1, ()))
        assert structure.generator_metadata["density_g_per_cubic_cm"] == pytest.approx(measured, rel=0.12)


def test_molecules_are_whole_and_apart():
    for structure in made(Liquids(count=1).propose(range(10), 2, ())):
        molecule = molecules_of(structure)
        assert len(molecule) == len(structure)
        distance = structure.to_ase().get_all_distances(mic=True)
        apart = molecule[:, None] != molecule[None]
        assert distance[apart].min() > CONTACT_ANGSTROM - 0.02
        # atoms of one molecule are bonded to it as they stand, without periodic images
        plain = np.linalg.norm(structure.positions[:, None] - structure.positions[None], axis=-1)
        np.fill_diagonal(plain, np.inf)
        assert np.where(apart, np.inf, plain).min(axis=1).max() < 2.3


def test_refusals():
    answers = Liquids(count=1, smiles=("[Na+].[Cl-]",)).propose([0], 1, ())
    assert [a.reason for a in answers if isinstance(a, Refused)] == ["fragments"]
    answers = Liquids(count=1, elements=("He",)).propose([0], 1, ())
    assert [a.reason for a in answers if isinstance(a, Refused)] == ["element_not_allowed"]
    dense = Liquids(count=1, smiles=("O",), density_g_per_cubic_cm=(4.0, 4.0), max_atoms=48)
    assert [a.reason for a in dense.propose([0], 1, ()) if isinstance(a, Refused)] == ["packing_failed"]
