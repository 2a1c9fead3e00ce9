"""Molecules as mol blocks."""

from __future__ import annotations

from collections.abc import Callable

import pytest


def mol_block(smiles: str) -> str:
    """Heavy atoms of a conformer, as RDKit's MolToMolFile writes them."""
    from rdkit import Chem
    from rdkit.Chem import AllChem

    molecule = Chem.AddHs(Chem.MolFromSmiles(smiles))
    assert AllChem.EmbedMolecule(molecule, randomSeed=7) == 0
    return Chem.MolToMolBlock(Chem.RemoveHs(molecule))


@pytest.fixture
def mol_block_of() -> Callable[[str], str]:
    return mol_block
