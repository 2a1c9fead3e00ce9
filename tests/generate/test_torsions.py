"""Each step of a scan has the dihedral angle it states, measured by ASE, and is the same molecule elsewhere."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from rdkit import Chem

from potstill.core.types import Refused, Structure
from potstill.generate.torsions import Torsions
from potstill.testing import check_source


def made(answers) -> list[Structure]:
    return [a for a in answers if isinstance(a, Structure)]


@pytest.fixture
def butane(tmp_path):
    (tmp_path / "butane.smi").write_text("CCCC\n")
    return tmp_path / "butane.smi"


def test_it_is_a_source():
    check_source(Torsions(count=8, steps=6, max_atoms=60), count=12)


def test_the_angle_is_the_one_stated():
    structures = made(Torsions(count=1, max_atoms=80).propose(range(48), 1, ()))
    assert len(structures) >= 24
    for structure in structures:
        facts = structure.generator_metadata
        measured = structure.to_ase().get_dihedral(*facts["dihedral_atoms"])
        assert (measured - facts["dihedral_degrees"] + 180) % 360 - 180 == pytest.approx(0.0, abs=1e-4)
        chain = facts["dihedral_atoms"]
        bonds = [structure.to_ase().get_distance(a, b) for a, b in itertools.pairwise(chain)]
        assert max(bonds) < 2.5


def test_a_scan_is_evenly_spaced_and_turns_one_bond(butane):
    source = Torsions(count=1, smiles_file=butane, steps=9)
    scan = made(source.propose(range(9), 1, ()))
    assert len(scan) == 9
    assert len({tuple(s.generator_metadata["dihedral_atoms"]) for s in scan}) == 1
    angles = np.array([s.generator_metadata["dihedral_degrees"] for s in scan])
    np.testing.assert_allclose(np.diff(angles), 40.0)
    _, j, k, _ = scan[0].generator_metadata["dihedral_atoms"]
    heavy = Chem.MolFromSmiles("CCCC")
    assert heavy.GetBondBetweenAtoms(j, k) is not None
    bonds = np.linalg.norm(scan[0].positions[:, None] - scan[0].positions[None], axis=-1) < 1.7
    for step in scan[1:]:  # bond lengths and angles, the distances of first and second neighbours, do not change
        distance = np.linalg.norm(step.positions[:, None] - step.positions[None], axis=-1)
        before = np.linalg.norm(scan[0].positions[:, None] - scan[0].positions[None], axis=-1)
        near = bonds | (bonds.astype(int) @ bonds.astype(int) > 0)
        np.testing.assert_allclose(distance[near], before[near], atol=1e-6)
    assert len({s.formula for s in scan}) == 1  # so that all steps are one family


def test_the_next_scan_has_another_conformer(butane):
    source = Torsions(count=1, smiles_file=butane, steps=3)
    first, second = (made(source.propose(range(k, k + 3), 1, ())) for k in (0, 3))
    assert first[0].generator_metadata["seed"] == first[2].generator_metadata["seed"]
    assert first[0].generator_metadata["seed"] != second[0].generator_metadata["seed"]


def test_rigid_molecules_are_refused(tmp_path):
    (tmp_path / "rigid.smi").write_text("c1ccccc1\nC#CC#C\nCC\n")
    answers = Torsions(count=1, smiles_file=tmp_path / "rigid.smi", steps=2).propose(range(6), 1, ())
    assert {a.reason for a in answers if isinstance(a, Refused)} == {"no_rotatable_bond"}
    assert made(answers) == []
