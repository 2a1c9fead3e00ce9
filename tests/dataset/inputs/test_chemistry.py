"""Hydrogens come to heavy atoms that stay where they are."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from rdkit import Chem

from potstill.core.types import Refused
from potstill.dataset.inputs.chemistry import hydrogens_missing, read_mol_block, with_hydrogens


@pytest.mark.parametrize(
    ("smiles", "by"), [("CC(=O)Nc1ccc(O)cc1", "mmff94"), ("C[Si](C)(C)C", "mmff94"), ("CB(O)O", "uff"), ("C#N", "mmff94")]
)
def test_with_hydrogens(mol_block_of, smiles, by):
    heavy = read_mol_block(mol_block_of(smiles), "x.sdf")
    whole, placed_by = with_hydrogens(heavy)
    assert placed_by == by
    n = heavy.GetNumAtoms()
    np.testing.assert_allclose(whole.GetConformer().GetPositions()[:n], heavy.GetConformer().GetPositions(), atol=1e-9)
    expected = Counter(a.GetSymbol() for a in Chem.AddHs(Chem.MolFromSmiles(smiles)).GetAtoms())
    assert Counter(a.GetSymbol() for a in whole.GetAtoms()) == expected
    for atom in whole.GetAtoms():
        if atom.GetAtomicNum() == 1:
            (bond,) = atom.GetBonds()
            ends = whole.GetConformer().GetPositions()[[bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()]]
            assert 0.9 < np.linalg.norm(ends[0] - ends[1]) < 1.25


def test_hydrogens_that_are_there_already_stay(mol_block_of):
    whole, _ = with_hydrogens(read_mol_block(mol_block_of("CCO"), "x.sdf"))
    again, _ = with_hydrogens(read_mol_block(Chem.MolToMolBlock(whole), "y.sdf"))
    assert again.GetNumAtoms() == whole.GetNumAtoms() == 9


def test_hydrogens_that_are_there_do_not_move(mol_block_of):
    whole, _ = with_hydrogens(read_mol_block(mol_block_of("CC(=O)O"), "x.sdf"))
    short = Chem.RWMol(whole)
    short.RemoveAtom(whole.GetNumAtoms() - 4)  # one of a methyl group, a hydroxyl hydrogen stays
    position = whole.GetConformer().GetPositions()[-1] + 0.2
    short.GetConformer().SetAtomPosition(short.GetNumAtoms() - 1, position.tolist())
    before = short.GetConformer().GetPositions()
    molecule = short.GetMol()
    Chem.SanitizeMol(molecule)
    again, _ = with_hydrogens(molecule)
    assert again.GetNumAtoms() == whole.GetNumAtoms()
    assert np.array_equal(again.GetConformer().GetPositions()[: len(before)], before)


def test_a_missing_hydrogen_is_found(mol_block_of):
    whole, _ = with_hydrogens(read_mol_block(mol_block_of("CCO"), "x.sdf"))
    assert hydrogens_missing(whole, "CCO") is None
    short = Chem.RWMol(whole)
    short.RemoveAtom(8)
    refusal = hydrogens_missing(short, "CCO")
    assert isinstance(refusal, Refused)
    assert refusal.reason == "hydrogens"
    assert "5 hydrogens, expected 6" in refusal.detail
