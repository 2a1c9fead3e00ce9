"""Mutants are new, neutral, closed-shell molecules with all their hydrogens, by RDKit."""

from __future__ import annotations

import numpy as np
import pytest
from rdkit import Chem

from potstill.core.geometry import smallest_scaled_distance
from potstill.core.types import Refused, Structure
from potstill.generate.mutants import Mutants, mutate
from potstill.testing import check_source

pytest.importorskip("selfies", reason="the extra 'molecules' is not installed")


def made(answers) -> list[Structure]:
    return [a for a in answers if isinstance(a, Structure)]


def test_it_is_a_source():
    check_source(Mutants(count=8))
    check_source(Mutants(count=8, elements=("H", "C", "O"), max_atoms=30))


def test_mutants():
    structures = made(Mutants(count=1).propose(range(60), 1, ()))
    assert len(structures) > 45
    for structure in structures:
        facts = structure.generator_metadata
        molecule = Chem.AddHs(Chem.MolFromSmiles(facts["smiles"]))
        assert sorted(structure.atomic_numbers.tolist()) == sorted(a.GetAtomicNum() for a in molecule.GetAtoms())
        assert facts["smiles"] != facts["ancestor"]
        assert Chem.GetFormalCharge(molecule) == 0
        assert not any(a.GetNumRadicalElectrons() for a in molecule.GetAtoms())
        assert len(Chem.GetMolFrags(molecule)) == 1
        assert smallest_scaled_distance(structure)[0] > 0.6
        assert not structure.pbc.any()
    assert len({s.generator_metadata["smiles"] for s in structures}) > 0.9 * len(structures)


def test_mutations_bring_in_allowed_elements_only():
    rng = np.random.default_rng(0)
    for _ in range(100):
        smiles = mutate("CCO", 5, ("H", "C", "O"), rng)
        if smiles:
            molecule = Chem.MolFromSmiles(smiles)
            assert molecule is not None  # SELFIES are valid whatever their symbols
            assert {a.GetSymbol() for a in molecule.GetAtoms()} <= {"C", "O"}


def test_bad_lines_are_refused_by_name(tmp_path):
    (tmp_path / "my.smi").write_text("C(\n[Na+].[Cl-]\nCCO\n")
    answers = Mutants(count=1, smiles_file=tmp_path / "my.smi", max_mutations=1).propose(range(3), 1, ())
    assert {a.reason for a in answers if isinstance(a, Refused)} >= {"smiles_invalid"}
    assert "CCO" in {a.generator_metadata["ancestor"] for a in made(answers)}
