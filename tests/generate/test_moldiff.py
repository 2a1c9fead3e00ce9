"""MolDiff's molecules get every hydrogen that is due to them, and none of its faults costs more than a batch."""

from __future__ import annotations

import re
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from rdkit import Chem

from potstill.core.geometry import smallest_scaled_distance
from potstill.core.types import Refused, Structure
from potstill.generate.moldiff import MolDiff, read_molecules
from potstill.testing import check_source

RECORDED = Path(__file__).parent / "data" / "moldiff"


@pytest.fixture
def make(moldiff_checkout):
    def source(fault: str = "none", **options) -> MolDiff:
        checkout = moldiff_checkout.fault(fault)
        given = {"python": sys.executable, "repository": checkout.path, "batch_size": 4}
        simple = {"model": "MolDiff_simple", "model_path": checkout.weights}
        return MolDiff(count=8, **{**given, **simple, **options})

    return source


def reasons(answers) -> list[str]:
    return [a.reason if isinstance(a, Refused) else "" for a in answers]


def test_it_keeps_the_contract_of_a_source(make):
    check_source(make(batch_size=3), count=6)


def test_its_own_seed_does_not_depend_on_the_folder(make, moldiff_checkout):
    make().propose([0], 1, ())
    make(timeout_minutes=5).propose([0], 1, ())
    make().propose([4], 1, ())
    first, again, other = (call["seed"] for call in moldiff_checkout.calls)
    assert first == again != other
    configured = {call["config"]["sample"]["seed"] for call in moldiff_checkout.calls}
    assert first not in configured  # which it adds the code points of the folder to


def test_config_and_arguments(make, moldiff_checkout, home):
    for name in ("MolDiff.pt", "bondpred.pt"):
        (home / "environments" / "moldiff" / "weights").mkdir(parents=True, exist_ok=True)
        (home / "environments" / "moldiff" / "weights" / name).write_bytes(bytes(1_100_000))
    make(model="MolDiff", model_path=None, device="cuda:1", bond_guidance=2e-4).propose([0], 1, ())
    make().propose([0], 1, ())
    guided, simple = moldiff_checkout.calls
    weights = home / "environments" / "moldiff" / "weights"
    assert guided["config"]["model"] == {"checkpoint": str(weights / "MolDiff.pt")}
    assert guided["config"]["bond_predictor"] == str(weights / "bondpred.pt")
    assert guided["config"]["sample"]["guidance"] == ["uncertainty", 2e-4]
    assert (guided["device"], simple["device"]) == ("cuda:1", "cpu")
    assert guided["argv0"] == "scripts/sample_drug3d.py"  # a path under /data would move its output
    assert simple["config"]["model"] == {"checkpoint": str(moldiff_checkout.weights)}
    assert set(simple["config"]["sample"]) == {"seed", "batch_size", "num_mols", "save_traj_prob"}
    assert simple["config"]["sample"]["num_mols"] == 4
    assert simple["config"]["sample"]["save_traj_prob"] == 0
    assert "bond_predictor" not in simple["config"]


def test_number_of_heavy_atoms(make, moldiff_checkout):
    make(batch_size=200, heavy_atoms=(18, 22)).propose([0], 1, ())
    make(batch_size=200).propose([0], 1, ())
    bounded, free = (call["sizes"] for call in moldiff_checkout.calls)
    assert set(bounded) == {18, 19, 20, 21, 22}
    assert min(free) < 18
    assert max(free) > 22
    with pytest.raises(ValueError, match="a range from 5 to 3; the smaller end comes first"):
        make(heavy_atoms=(5, 3))


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("crash", ["program_crashed"] * 4),
        ("fewer", [""] + ["program_gave_fewer"] * 3),
        ("more", [""] * 4),
        ("half", [""] * 3 + ["program_output_broken"]),
        ("memory", [""] * 4),
    ],
)
def test_a_fault_costs_what_is_missing(make, fault, expected):
    assert reasons(make(fault).propose(range(4), 1, ())) == expected


def test_what_was_there_when_the_time_was_over_is_kept(make):
    answers = make("hang", timeout_minutes=2 / 60).propose(range(4), 1, ())
    assert reasons(answers) == [""] * 3 + ["program_timeout"]


def test_limits(make):
    answers = make(elements=("C", "H", "O"), max_atoms=21, batch_size=20).propose(range(20), 1, ())
    assert set(reasons(answers)) == {"", "element_not_allowed"}
    assert set(reasons(make(max_atoms=20, batch_size=20).propose(range(20), 1, ()))) == {"", "too_many_atoms"}


class TestHydrogens:
    def test_they_are_those_of_the_valence_model(self, make):
        molecules = [a for a in make(batch_size=20).propose(range(20), 1, ()) if isinstance(a, Structure)]
        assert len({m.generator_metadata["smiles"] for m in molecules}) == 5
        for molecule in molecules:
            model = Chem.AddHs(Chem.MolFromSmiles(molecule.generator_metadata["smiles"]))
            expected = Counter(atom.GetAtomicNum() for atom in model.GetAtoms())
            assert Counter(molecule.atomic_numbers.tolist()) == expected
            assert expected[1] > 0
            assert smallest_scaled_distance(molecule)[0] > 0.7
            assert not molecule.pbc.any()

    def test_recorded_output(self, tmp_path):
        (tmp_path / "sample_20261122_222511_SDF").mkdir()
        for file in RECORDED.glob("*.sdf"):
            (tmp_path / "sample_20261122_222511_SDF" / file.name).write_bytes(file.read_bytes())
        molecules = read_molecules(tmp_path, {"model": "MolDiff"})
        assert [m.formula for m in molecules] == ["C3H6", "C3H6"]
        positions = [line.split()[:3] for line in (RECORDED / "0.sdf").read_text().splitlines()[4:7]]
        np.testing.assert_array_equal(molecules[0].positions[:3], np.array(positions, float))
        assert molecules[0].generator_metadata == {"model": "MolDiff", "smiles": "C1CC1", "hydrogens": "mmff94"}

    def test_files_come_in_the_order_of_their_numbers(self, tmp_path, mol_block_of):
        folder = tmp_path / "a_SDF"
        folder.mkdir()
        for k in range(11):
            (folder / f"{k}.sdf").write_text(mol_block_of("C" * (k + 1)))
        assert [int((m.atomic_numbers == 6).sum()) for m in read_molecules(tmp_path, {})] == list(range(1, 12))


class TestPolicy:
    """What MolDiff may write and no teacher can label."""

    def read(self, tmp_path, block: str) -> Structure | Refused:
        (tmp_path / "a_SDF").mkdir(exist_ok=True)
        (tmp_path / "a_SDF" / "0.sdf").write_text(block)
        (answer,) = read_molecules(tmp_path, {})
        return answer

    @pytest.mark.parametrize(
        ("smiles", "reason"),
        [("CCO.CC", "fragments"), ("C[NH3+]", "charged"), ("CC[CH2]", "radical"), ("[O-][n+]1ccccc1", "")],
    )
    def test_whole_molecules(self, tmp_path, mol_block_of, smiles, reason):
        assert reasons([self.read(tmp_path, mol_block_of(smiles))]) == [reason]

    def test_five_bonds_at_a_carbon(self, tmp_path, mol_block_of):
        block = mol_block_of("CC(C)(C)C")
        doubled = re.sub(r"^  1  2  1", "  1  2  2", block, flags=re.MULTILINE)
        assert doubled != block
        answer = self.read(tmp_path, doubled)
        assert answer.reason == "valence"
        assert "0.sdf" in answer.detail

    def test_a_ring_that_cannot_be_aromatic(self, tmp_path, mol_block_of):
        block = re.sub(r"^(  \d  \d)  1", r"\1  4", mol_block_of("C1CCCC1"), flags=re.MULTILINE)
        assert self.read(tmp_path, block).reason == "aromaticity"

    def test_a_torn_file(self, tmp_path, mol_block_of):
        block = mol_block_of("c1ccccc1O")
        for cut in (0, 10, 120, len(block) // 2):
            assert self.read(tmp_path, block[:cut]).reason == "program_output_broken"


class TestPreflight:
    def test_whole(self, make):
        assert make().missing() is None

    def test_weights_cannot_be_fetched(self, make):
        fault = make(model="MolDiff", model_path=None).missing()
        assert "potstill setup moldiff --weights" in fault
        assert "drive.google.com" in fault

    def test_guidance_needs_its_predictor(self, make, moldiff_checkout):
        guided = make(model="MolDiff", model_path=moldiff_checkout.weights)
        assert "bondpred.pt" in guided.missing()
        assert "bond_guidance: 0" in guided.missing()
        assert make(model="MolDiff", model_path=moldiff_checkout.weights, bond_guidance=0).missing() is None

    def test_checkout(self, make, moldiff_checkout):
        (moldiff_checkout.path / "scripts" / "sample_drug3d.py").unlink()
        assert "lacks scripts/sample_drug3d.py" in make().missing()
