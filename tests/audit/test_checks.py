"""Every fault that has gone wrong before, injected: the check that is meant for it must say NO-GO, and no other may."""

from __future__ import annotations

import json
import math
import runpy
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, make_supercell, molecule

from potstill.audit.checks import CHECKS
from potstill.audit.energy_work import energy_work_slope
from potstill.audit.files import audit_file, read_gates
from potstill.audit.options import AuditConfig
from potstill.audit.process import wilson_interval
from potstill.audit.registry import ENTRIES, check
from potstill.audit.replay import calls_of_teacher
from potstill.audit.stage import audit, write_report
from potstill.core.elements import symbols_of
from potstill.core.errors import InputError
from potstill.core.types import Labels, Refused, Structure
from potstill.core.verdict import Finding, Verdict, overall_verdict
from potstill.dataset import open_dataset
from potstill.dataset.convert import convert
from potstill.report.audit import sentence
from potstill.stats.bonds import lacks_hydrogen
from potstill.teacher import load_teacher
from potstill.testing import rattled, slab
from potstill.testing.faults import config_asking_for

SQUEEZE = 0.5  # of lengths, for which the teacher of these tests has stress in metals
PASSES = ("GO", "DOES_NOT_APPLY")
OF_A_TEACHER = {
    "label_replay",
    "gradients",
    "conservative_forces",
    "equivalent_structures",
    "repeated_cells",
    "rotated_structures",
}
NOT_THERE = {  # SMILES, lone atoms, and twenty structures of the same elements
    *("fragments", "composition", "charge_balance", "lone_atoms"),
    *("stress_work_slope", "pair_fit_slope", "label_scale", "labels_follow_general"),
}
GATES = AuditConfig(min_element_entropy_bits=1.5, min_element_coverage=6, min_size_cv=0.3, replay_fraction=1.0)
STATED = {
    "teacher_success",
    "element_entropy",
    "element_coverage",
    "size_cv",
    "duplicates",
    "near_duplicates",
    "distances",
    "hydrogens",
    "finite",
    "force_limits",
    "label_replay",
    "split_leakage",
    "teacher_fingerprint",
    "throughput",
}


@pytest.fixture
def judge(build, lj, tmp_path) -> Callable[..., dict[str, dict]]:
    """Findings by check, read back from the audit.json of the structures given."""

    def run(structures, *, gates=GATES, teacher=lambda: lj, **written) -> dict[str, dict]:
        path = build(structures, **written)
        report, _ = audit(open_dataset(path), gates, teacher=teacher, seed=3)
        write_report(report, tmp_path / "audit.json")
        stored = json.loads((tmp_path / "audit.json").read_text())
        return {"verdict": stored["verdict"], "report": stored, **{f["check"]: f for f in stored["findings"]}}

    return run


def relabel(structures, teacher) -> list[Structure]:
    return [s.with_(labels=a) for s, a in zip(structures, teacher.label(structures), strict=True)]


def changed(structure: Structure, **labels) -> Structure:
    old = structure.labels
    new = {"energy": old.energy, "forces": old.forces, "stress": old.stress, **labels}
    return structure.with_(labels=Labels(**new))


def no_go(found) -> set[str]:
    assert found["verdict"] == "NO_GO"
    return {name for name, f in found.items() if name not in ("verdict", "report") and f["verdict"] not in PASSES}


def rotation(seed: int) -> np.ndarray:
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return q * np.sign(np.linalg.det(q))


class TestGood:
    def test_a_good_dataset_is_go(self, judge, labelled):
        found = judge(labelled)
        assert found["verdict"] == "GO", [f for f in found["report"]["findings"] if f["verdict"] not in PASSES]
        assert set(found) >= STATED
        assert {f["check"] for f in found["report"]["findings"] if f["verdict"] == "DOES_NOT_APPLY"} == NOT_THERE
        for finding in found["report"]["findings"]:
            assert finding["why"]
            assert (finding["measured"] is None) == (finding["check"] in NOT_THERE)
            assert (finding["limit"] is None) == (finding["check"] in NOT_THERE)

    def test_counts(self, judge, labelled):
        refused = [Refused("force_limit", id="organic-9", source="organic", stage="label")]
        refused += [Refused("too_close", source="empty", stage="generate")] * 2
        report = judge(labelled, refused=refused)["report"]
        assert report["labelled"] == len(labelled)
        assert report["structures"] == len(labelled) + 1
        assert report["sources"]["organic"]["refused"] == {"force_limit": 1}
        assert report["sources"]["empty"] == {"structures": 0, "refused": {"too_close": 2}}
        assert sum(s["structures"] for s in report["sources"].values()) == len(labelled)


class TestHydrogens:
    @staticmethod
    def strip(structure: Structure) -> Structure:
        heavy = structure.atomic_numbers != 1
        labels = Labels(0.0, structure.labels.forces[heavy]) if structure.labels else None
        return Structure(
            structure.atomic_numbers[heavy],
            structure.positions[heavy],
            id=structure.id,
            source=structure.source,
            family=structure.family,
            generator_metadata=structure.generator_metadata,
            labels=labels,
        )

    def test_all_molecules_stripped(self, judge, labelled, lj):
        metals = [s for s in labelled if s.pbc.any()]
        molecules = [self.strip(s) for s in labelled if not s.pbc.any() and 6 in s.atomic_numbers]
        found = judge(metals + relabel(molecules, lj))
        assert "hydrogens" in no_go(found)
        assert found["hydrogens"]["measured"] > 0.6  # methanol is left with C and O, as carbon monoxide is
        assert set(found["hydrogens"]["worst"]) <= {s.id for s in molecules}

    def test_one_molecule_of_many(self, judge, labelled, lj):
        k = next(k for k, s in enumerate(labelled) if s.family == "C6H6")
        structures = list(labelled)
        structures[k] = relabel([self.strip(labelled[k])], lj)[0]
        found = judge(structures)
        assert "hydrogens" in no_go(found)
        assert found["hydrogens"]["worst"] == [labelled[k].id]

    def test_one_hydrogen_short_of_its_smiles(self, labelled):
        whole = next(s for s in labelled if s.family == "C3H8").with_(generator_metadata={"smiles": "CCC"}, labels=None)
        assert not lacks_hydrogen(whole)
        short = Structure(whole.atomic_numbers[:-1], whole.positions[:-1], generator_metadata={"smiles": "CCC"})
        assert lacks_hydrogen(short)
        assert not lacks_hydrogen(Structure(short.atomic_numbers, short.positions))  # too little to see by bond lengths

    @pytest.mark.parametrize("name", ["CH4", "C2H4", "C2H2", "C6H6", "HCN", "CH3Cl", "C2H6", "C4H4S", "CH3CHO"])
    def test_stripped_without_smiles(self, name):
        whole = Structure.from_ase(molecule(name))
        assert not lacks_hydrogen(whole)
        assert lacks_hydrogen(self.strip(whole))

    def test_a_smiles_of_radicals_is_no_excuse(self, labelled, lj):
        bare = self.strip(next(s for s in labelled if s.family == "C6H6"))
        assert lacks_hydrogen(bare.with_(generator_metadata={"smiles": "[C]1[C][C][C][C][C]1"}))
        assert lacks_hydrogen(bare.with_(generator_metadata={"smiles": "c1ccccc1"}))

    def test_no_known_molecule_is_accused_nor_its_snapshots(self, judge):
        from potstill.generate.benchmark import Benchmark

        source = Benchmark(count=1000, snapshots=2)
        made = source.propose(range(source.available()), 1, [])
        molecules = [
            s.with_(id=str(k), family=s.formula, labels=Labels(0.0, np.zeros((len(s), 3))))
            for k, s in enumerate(made)
            if isinstance(s, Structure) and not s.pbc.any()
        ]
        assert len(molecules) > 250
        found = judge(molecules)
        assert found["hydrogens"]["worst"] == []
        assert found["hydrogens"]["verdict"] == "GO"

    def test_two_atoms_are_no_molecule_and_say_so(self, judge):
        from potstill.generate.dimers import Dimers
        from potstill.generate.perturb import Perturb

        pairs = Dimers(count=1, elements=("C", "Na"), kinds=("atoms",), scaled_distance=(0.9, 1.5)).propose(range(12), 1, ())
        pairs = [s.with_(family=s.formula) for s in pairs if isinstance(s, Structure)]
        copies = [s for s in Perturb(count=1).propose(range(12), 1, pairs) if isinstance(s, Structure)]
        both = [s.with_(id=str(k), labels=Labels(0.0, np.zeros((2, 3)))) for k, s in enumerate([*pairs, *copies])]
        assert judge(both)["hydrogens"]["verdict"] == "DOES_NOT_APPLY"
        nameless = [s.with_(generator_metadata={}) for s in both]
        assert judge(nameless)["hydrogens"]["verdict"] == "NO_GO"

    def test_no_molecules_at_all(self, judge, labelled):
        gates = GATES.model_copy(update={"min_element_coverage": 4})
        found = judge([s for s in labelled if s.pbc.any()], gates=gates)
        for name in ("hydrogens", "valences", "net_torque"):
            assert found[name]["verdict"] == "DOES_NOT_APPLY"
            assert found[name]["why"] == "there are no molecules"


class TestCopies:
    def test_the_same_structure_twice(self, judge, labelled):
        found = judge([*labelled, labelled[5].with_(id="copy")])
        assert no_go(found) == {"duplicates", "near_duplicates"}
        assert found["duplicates"]["worst"] == ["copy"]
        assert found["duplicates"]["measured"] == 1

    @pytest.mark.parametrize("kind", ["rotated", "permuted", "moved", "supercell", "other cell", "mirrored"])
    def test_the_same_crystal_in_disguise(self, judge, labelled, lj, kind):
        original = next(s for s in labelled if s.family == "Cu")
        atoms = original.to_ase()
        match kind:
            case "rotated":
                turn = rotation(2)
                atoms.set_cell(atoms.cell[:] @ turn.T, scale_atoms=True)
            case "permuted":
                atoms = atoms[[2, 0, 3, 1]]
            case "moved":
                atoms.positions += [0.3, -7.1, 2.2]
            case "supercell":
                atoms = atoms * (2, 1, 1)
            case "other cell":
                atoms = make_supercell(atoms, [[1, 1, 0], [0, 1, 0], [0, -2, 1]])
            case "mirrored":
                atoms.set_cell(atoms.cell[:] * [1, 1, -1], scale_atoms=True)
        copy = Structure.from_ase(atoms, id="copy", source="metals", family="Cu")
        found = judge([*labelled, *relabel([copy], lj)])
        assert no_go(found) == {"near_duplicates"}
        assert found["near_duplicates"]["worst"] == ["copy"]

    def test_the_same_molecule_in_disguise(self, judge, labelled, lj):
        original = next(s for s in labelled if s.family == "CH3CHO")
        order = np.random.default_rng(4).permutation(len(original))
        positions = original.positions[order] @ rotation(5).T + [1, 2, 3]
        copy = original.with_(atomic_numbers=original.atomic_numbers[order], positions=positions, id="copy", labels=None)
        assert no_go(judge([*labelled, *relabel([copy], lj)])) == {"near_duplicates"}

    def test_a_rattle_is_no_copy(self, judge, labelled, lj):
        original = next(s for s in labelled if s.family == "Cu")
        moved = original.positions + np.random.default_rng(0).normal(0, 0.05, size=original.positions.shape)
        fresh = original.with_(positions=moved, id="fresh", labels=None)
        assert judge([*labelled, *relabel([fresh], lj)])["verdict"] == "GO"


class TestGeometryAndNumbers:
    def test_too_close(self, judge, labelled, lj):
        k = next(k for k, s in enumerate(labelled) if s.family == "Al")
        positions = labelled[k].positions.copy()
        positions[1] = positions[0] + [0.0, 0.0, 1.0]  # farther than 0.5 Å and far too close for two aluminium atoms
        structures = list(labelled)
        structures[k] = relabel([labelled[k].with_(positions=positions, labels=None)], lj)[0]
        found = judge(structures)
        assert no_go(found) == {"distances"}
        assert found["distances"]["worst"][0] == labelled[k].id
        assert found["distances"]["measured"] == pytest.approx(1.0 / (2 * 1.21))

    def test_too_close_through_the_border_of_the_cell(self, judge, labelled, lj):
        k = next(k for k, s in enumerate(labelled) if s.family == "Al")
        positions = labelled[k].positions.copy()
        positions[1] = positions[0] + labelled[k].cell[2] - [0.0, 0.0, 1.0]
        structures = list(labelled)
        structures[k] = relabel([labelled[k].with_(positions=positions, labels=None)], lj)[0]
        assert "distances" in no_go(judge(structures))

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    @pytest.mark.parametrize("where", ["energy", "forces", "stress"])
    def test_not_finite(self, judge, labelled, where, value):
        k = next(k for k, s in enumerate(labelled) if s.pbc.all())
        structure = labelled[k]
        forces, stress = structure.labels.forces.copy(), structure.labels.stress.copy()
        forces[1, 2] = value
        stress[0, 1] = value
        bad = changed(structure, **{where: {"energy": value, "forces": forces, "stress": stress}[where]})
        found = judge([*labelled[:k], bad, *labelled[k + 1 :]])
        assert {"finite", "label_replay"} <= no_go(found) <= {"finite", "label_replay", "force_limits", "stress_limits"}
        assert found["finite"]["worst"] == [structure.id]

    def test_a_force_of_218(self, judge, labelled):
        forces = labelled[3].labels.forces.copy()
        forces[0] = [218.0, 0.0, 0.0]
        found = judge([*labelled[:3], changed(labelled[3], forces=forces), *labelled[4:]])
        assert {"force_limits", "label_replay", "net_force"} <= no_go(found)
        assert "distances" not in no_go(found)
        assert found["force_limits"]["measured"] == pytest.approx(218.0)
        assert found["force_limits"]["worst"][0] == labelled[3].id

    def test_a_stress_beyond_what_solids_bear(self, judge, labelled):
        k = next(k for k, s in enumerate(labelled) if s.pbc.all())
        squeezed = [*labelled[:k], changed(labelled[k], stress=-3.1 * np.eye(3)), *labelled[k + 1 :]]
        found = judge(squeezed)
        assert "stress_limits" in no_go(found)
        assert found["stress_limits"]["measured"] == pytest.approx(3.1)
        assert found["stress_limits"]["worst"][0] == labelled[k].id
        assert "1 of 12 structures with stress are beyond" in found["stress_limits"]["why"]
        assert "metals 3.10" in found["stress_limits"]["why"]

    def test_a_limit_of_stress_for_one_source(self, judge, labelled):
        k = next(k for k, s in enumerate(labelled) if s.pbc.all())
        pressed = [*labelled[:k], changed(labelled[k], stress=-0.6 * np.eye(3)), *labelled[k + 1 :]]
        assert "stress_limits" not in no_go(judge(pressed))
        found = judge(pressed, gates=GATES.model_copy(update={"max_stress_per_source": {"metals": 0.5}}))
        assert "stress_limits" in no_go(found)
        assert found["stress_limits"]["measured"] == pytest.approx(3.0 * 0.6 / 0.5)


class TestDiversity:
    def test_low_entropy_states_its_ceiling(self, judge, labelled):
        structures = [s for s in labelled if s.family in ("Cu", "Al")]
        found = judge(structures)
        assert {"element_entropy", "element_coverage"} <= no_go(found)
        assert "log2(2) = 1.00 bits" in found["element_entropy"]["why"]
        assert found["element_entropy"]["measured"] <= 1.0
        assert found["element_coverage"]["measured"] == 2

    def test_a_requested_element_in_no_structure_is_a_warning(self, judge, labelled):
        config = json.loads(config_asking_for(labelled))
        gates = GATES.model_copy(update={"min_element_coverage": 2})
        config["generate"]["elements"] = ["Cu", "Al"]
        assert judge(labelled, gates=gates, config=json.dumps(config))["element_coverage"]["verdict"] == "GO"
        config["generate"]["elements"] = ["Cu", "Al", "Pu"]
        found = judge(labelled, gates=gates, config=json.dumps(config))["element_coverage"]
        assert found["verdict"] == "WARN"
        assert "requested in generate.elements and in no structure: Pu, which the student will not know" in found["why"]

    def test_one_element(self, judge, labelled):
        found = judge([s for s in labelled if s.family == "Cu"])
        assert found["element_entropy"]["measured"] == 0.0
        assert {"element_entropy", "element_coverage", "size_cv"} <= no_go(found)

    def test_entropy_is_shannon_s(self, judge, labelled):
        found = judge([s for s in labelled if s.family == "H2O"])
        assert found["element_entropy"]["measured"] == pytest.approx(np.log2(3) - 2 / 3)

    def test_one_size(self, judge, labelled):
        found = judge([s for s in labelled if len(s) == 4])
        assert found["size_cv"]["measured"] == 0.0
        assert "size_cv" in no_go(found)

    def test_the_gates_of_production(self):
        gates = AuditConfig()
        assert (gates.min_element_entropy_bits, gates.min_element_coverage, gates.min_size_cv) == (3.07, 9, 0.5)
        assert (gates.min_teacher_success, gates.max_duplicates, gates.min_structures_per_hour) == (0.95, 0, 100)

    def test_a_changed_gate_is_shown(self, judge, labelled):
        shown = judge(labelled)["report"]["changed_gates"]
        assert shown["min_size_cv"] == {"default": 0.5, "now": 0.3}
        assert "max_duplicates" not in shown


class TestReplay:
    def test_flipped_stress(self, judge, labelled):
        flipped = [changed(s, stress=-s.labels.stress) if s.labels.stress is not None else s for s in labelled]
        assert {"label_replay", "gradients"} <= no_go(judge(flipped))

    def test_flipped_forces(self, judge, labelled):
        found = judge([changed(s, forces=-s.labels.forces) for s in labelled])
        assert {"label_replay", "gradients", "energy_work", "energy_work_slope"} <= no_go(found)

    @pytest.mark.parametrize("left", [np.zeros(3), np.array([1.0, 1.0, 0.0])], ids=["all are zero", "no z"])
    def test_a_teacher_whose_forces_are_missing(self, judge, labelled, lj, left):
        class Missing:
            fingerprint, elements, properties = lj.fingerprint, None, lj.properties

            def label(self, structures):
                return [Labels(a.energy, a.forces * left, a.stress) for a in lj.label(structures)]

        found = judge([changed(s, forces=s.labels.forces * left) for s in labelled], teacher=Missing)
        assert (found["label_replay"]["verdict"], found["gradients"]["verdict"]) == ("GO", "NO_GO")

    def test_a_teacher_whose_stress_is_missing(self, judge, labelled, lj):
        class Missing:
            fingerprint, elements, properties = lj.fingerprint, None, lj.properties

            def label(self, structures):
                answers = lj.label([s.with_(positions=s.positions * SQUEEZE, cell=s.cell * SQUEEZE) for s in structures])
                return [
                    Labels(a.energy, a.forces * SQUEEZE, 0 * a.stress if a.stress is not None else None) for a in answers
                ]

        crystals = [s for s in labelled if s.pbc.all()]
        found = judge(relabel(crystals, Missing()), teacher=Missing)
        assert (found["label_replay"]["verdict"], found["gradients"]["verdict"]) == ("GO", "NO_GO")

    def test_a_teacher_with_two_components_of_stress_exchanged(self, judge):
        """Along the stress itself the error is of second order in the difference of the two components."""
        emt = load_teacher("emt")
        other = np.ix_([0, 2, 1], [0, 2, 1])

        class Exchanged:
            fingerprint, properties = emt.fingerprint, emt.properties

            def label(self, structures):
                return [Labels(a.energy, a.forces, a.stress[other]) for a in emt.label(structures)]

        strain = np.diag([0.97, 0.98, 0.96])
        metals = [Structure.from_ase(bulk(m, cubic=True), source="metals", family=m) for m in ("Cu", "Ni", "Al", "Pd", "Ag")]
        near = [rattled(s.with_(id=s.family), k, 0.02) for s in metals for k in range(3)]
        asked = [s.with_(positions=s.positions @ strain, cell=s.cell @ strain) for s in near]
        found = judge(relabel(asked, Exchanged()), teacher=Exchanged)
        assert (found["label_replay"]["verdict"], found["gradients"]["verdict"]) == ("GO", "NO_GO")

    @pytest.mark.parametrize(("share", "verdict"), [(1.0, "GO"), (1.1, "NO_GO"), (0.9, "NO_GO")])
    def test_an_energy_that_bends_within_a_step(self, judge, share, verdict):
        """A step of 0.005 Å of two atoms misses the slope of exp(-r / 0.015 Å) by 7 %."""

        class Steep:
            fingerprint, elements, properties = load_teacher("emt").fingerprint, None, frozenset({"energy", "forces"})

            def label(self, structures):
                return [self.of(s.positions) for s in structures]

            def of(self, positions):
                width, between = 0.015, positions[1] - positions[0]
                distance = np.linalg.norm(between)
                force = 20.0 * np.exp((1.5 - distance) / width)
                return Labels(force * width, share * force * np.array([-between, between]) / distance, None)

        atoms = [Atoms("Ag2", [(0, 0, 0), (0, 0, 1.5 + 0.001 * k)]) for k in range(12)]
        dimers = [Structure.from_ase(a, source="dimers", family=f"{k}").with_(id=f"{k}") for k, a in enumerate(atoms)]
        assert judge(relabel(dimers, Steep()), teacher=Steep)["gradients"]["verdict"] == verdict

    def test_forces_that_are_zero_by_symmetry_pass(self, judge, parents, lj):
        found = judge(relabel(parents, lj))
        assert any((s.labels.forces == 0).any() for s in relabel(parents, lj))
        assert found["gradients"]["verdict"] == "GO"

        assert found["zero_labels"]["verdict"] == "GO"

    @pytest.mark.parametrize("share", [1.0, 0.06])
    def test_zeros_that_stand_for_missing_forces(self, judge, labelled, share):
        count = math.ceil(share * len(labelled))
        missing = [changed(s, energy=0.0, forces=np.zeros((len(s), 3)), stress=None) for s in labelled[:count]]
        found = judge([*missing, *labelled[count:]], teacher=None)["zero_labels"]
        assert (found["verdict"], found["measured"]) == ("NO_GO", pytest.approx(count / len(labelled)))
        assert set(found["worst"]) <= {s.id for s in missing}

    def test_cells_of_one_atom_have_nothing_to_learn(self, judge, lj):
        """However such a cell is displaced, its atom only moves along with its images."""
        cells = [Structure.from_ase(bulk("Cu", a=3.4 + 0.05 * k)) for k in range(12)]
        noise = np.random.default_rng(1).normal(0, 1e-15, (12, 1, 3))
        labelled = relabel([s.with_(id=f"{k}", source="metals", family=f"{k}") for k, s in enumerate(cells)], lj)
        found = judge([changed(s, forces=s.labels.forces + x) for s, x in zip(labelled, noise, strict=True)])
        assert found["zero_labels"]["verdict"] == "NO_GO"
        assert "no structure has a force" in found["zero_labels"]["why"]
        assert found["conservative_forces"]["verdict"] == "DOES_NOT_APPLY"

    def test_zeros_that_stand_for_missing_stress(self, judge, labelled):
        whole = [changed(s, stress=None if s.labels.stress is None else np.zeros((3, 3))) for s in labelled]
        crystals = sum(bool(s.pbc.all()) for s in labelled)
        found = judge(whole, teacher=None)["zero_labels"]
        assert (found["verdict"], found["measured"]) == ("NO_GO", pytest.approx(crystals / len(labelled)))

    @pytest.mark.parametrize("sources", [("metals",), ("metals", "organic")])
    def test_zeros_that_stand_for_missing_energies_of_a_source(self, judge, labelled, sources):
        missing = [changed(s, energy=0.0) if s.source in sources else s for s in labelled]
        found = judge(missing, teacher=None)["zero_labels"]
        count = sum(s.source in sources for s in labelled)
        assert (found["verdict"], found["measured"]) == ("NO_GO", pytest.approx(count / len(labelled)))
        assert f"{count} have an energy of exactly zero" in found["why"]

    def test_the_origin_of_energies_is_no_missing_label(self, judge, labelled):
        shifted = [changed(s, energy=s.labels.energy - labelled[0].labels.energy) for s in labelled]
        assert shifted[0].labels.energy == 0
        assert judge(shifted, teacher=None)["zero_labels"]["verdict"] == "GO"

    def test_an_element_without_forces(self, judge, labelled):
        """As by a force field that lacks its parameters; the others act."""

        def without(structure, number):
            forces = structure.labels.forces.copy()
            forces[structure.atomic_numbers == number] = 0.0
            return changed(structure, forces=forces)

        number = next(z for s in labelled if len(set(s.atomic_numbers)) > 1 for z in s.atomic_numbers)
        found = judge([without(s, number) for s in labelled], teacher=None)["zero_labels"]
        assert found["verdict"] == "NO_GO"
        assert f"atoms without a force among others with one: {symbols_of([number])[0]}" in found["why"]

    def test_atoms_that_are_alone_have_no_forces(self, judge, labelled):
        far = Structure(np.array([29, 29]), np.array([[0.0, 0, 0], [9.0, 0, 0]]), id="far", source="metals", family="far")
        alone = far.with_(labels=Labels(0.0, np.zeros((2, 3))))
        assert judge([*labelled, alone], teacher=None)["zero_labels"]["verdict"] == "GO"

    def test_energies_in_kcal_per_mol(self, judge, labelled):
        found = judge([changed(s, energy=23.06 * s.labels.energy) for s in labelled])
        assert {"label_replay", "energy_work", "energy_work_slope"} <= no_go(found)

    def test_one_changed_label_of_all(self, judge, labelled):
        bad = changed(labelled[7], energy=labelled[7].labels.energy + 0.1)
        found = judge([*labelled[:7], bad, *labelled[8:]])
        assert no_go(found) == {"label_replay"}
        assert found["label_replay"]["worst"][0] == labelled[7].id
        assert found["label_replay"]["measured"] == pytest.approx(0.1 / len(bad), rel=1e-3)

    def test_forces_of_the_neighbour_structure(self, judge, labelled):
        rolled = list(labelled)
        at = [k for k, s in enumerate(labelled) if s.family == "CH4"][:2]
        rolled[at[0]] = labelled[at[0]].with_(labels=labelled[at[1]].labels)
        assert {"label_replay", "repeated_labels", "net_torque"} <= no_go(judge(rolled))

    def test_equal_forces_of_atoms_beside_another_lone_one(self, judge, labelled, lj):
        """An atom beyond the cutoff from all others was exchanged: no force tells of it."""
        pair = np.array([[0.0, 0, 0], [1.1, 0, 0], [40.0, 0, 0]])
        two = [Structure(np.array([13, 13, z]), pair, id=f"lone-{z}", source="metals", family=f"lone-{z}") for z in (13, 29)]
        found = judge([*labelled, *relabel(two, lj)])
        assert found["repeated_labels"]["verdict"] == "GO"
        near = [s.with_(positions=pair - [[0, 0, 0], [0, 0, 0], [37.9, 0, 0]]) for s in two]
        copied = relabel(near, lj)
        copied[1] = copied[1].with_(labels=copied[0].labels)
        assert judge([*labelled, *copied])["repeated_labels"]["verdict"] == "NO_GO"

    def test_missing_stress(self, judge, labelled):
        k = next(k for k, s in enumerate(labelled) if s.pbc.all())
        bad = changed(labelled[k], stress=None)
        assert no_go(judge([*labelled[:k], bad, *labelled[k + 1 :]])) == {"label_replay", "missing_stress"}

    def test_a_teacher_that_refuses_now(self, judge, labelled, lj):
        class Refusing:
            fingerprint = lj.fingerprint

            def label(self, structures):
                return [Refused("teacher_error"), *lj.label(structures)[1:]]

        assert no_go(judge(labelled, teacher=Refusing)) == OF_A_TEACHER

    def test_a_teacher_that_gives_nan_now(self, judge, labelled, lj):
        class Nan:
            fingerprint = lj.fingerprint

            def label(self, structures):
                return [Labels(a.energy, a.forces * np.nan, a.stress) for a in lj.label(structures)]

        assert no_go(judge(labelled, teacher=Nan)) == OF_A_TEACHER - {"gradients"}

    def test_forces_that_no_potential_can_have(self, judge, labelled, lj):
        class Twisted:
            """Forces with a curl of about 0.3 eV/Å: each atom is pushed across by how far it is along."""

            fingerprint = lj.fingerprint

            def label(self, structures):
                answers = zip(structures, lj.label(structures), strict=True)
                return [Labels(a.energy, a.forces + 10.0 * np.roll(s.positions, 1, axis=1), a.stress) for s, a in answers]

        clean, found = judge(labelled), judge(labelled, teacher=Twisted)
        assert clean["conservative_forces"]["verdict"] == "GO"
        assert clean["conservative_forces"]["measured"] < 2e-3
        assert found["conservative_forces"]["verdict"] == "WARN"
        assert found["conservative_forces"]["measured"] > 0.01
        assert "eV/Å" in found["conservative_forces"]["why"]

    @pytest.mark.parametrize(
        ("asked", "found"),
        [
            (lambda s: s.with_(pbc=np.zeros(3, bool)), {"equivalent_structures", "repeated_cells"}),
            (lambda s: s.with_(atomic_numbers=np.sort(s.atomic_numbers)), {"equivalent_structures"}),
            (lambda s: s.with_(positions=s.positions * (1 + 0.05 * (s.positions[0, 0] > 1))), {"equivalent_structures"}),
        ],
        ids=["cell ignored", "elements sorted", "origin matters"],
    )
    def test_a_function_of_something_else_than_the_structure(self, judge, labelled, asked, found):
        """Energy, forces and stress that agree with each other, and with the labels."""
        emt = load_teacher("emt")

        class Other:
            fingerprint, properties = emt.fingerprint, emt.properties

            def label(self, structures):
                return emt.label([asked(s) for s in structures])

        answers = zip(labelled, Other().label(labelled), strict=True)
        told = judge([s.with_(labels=a) for s, a in answers], teacher=Other)
        assert found <= {name for name in OF_A_TEACHER if told[name]["verdict"] in ("NO_GO", "WARN")}, told
        assert told["equivalent_structures"]["verdict"] == "NO_GO"
        assert told["label_replay"]["verdict"] == "GO"

    def test_an_energy_that_depends_on_the_orientation(self, judge, labelled):
        """Forces and stress are the slope of an energy of structures with z stretched by 3 %."""
        emt, stretch = load_teacher("emt"), np.diag([1.0, 1.0, 1.03])
        mixed = (stretch.diagonal()[:, None] / stretch.diagonal() + stretch.diagonal() / stretch.diagonal()[:, None]) / 2

        class Anisotropic:
            fingerprint, properties = emt.fingerprint, emt.properties

            def label(self, structures):
                asked = [s.with_(positions=s.positions @ stretch, cell=s.cell @ stretch) for s in structures]
                return [
                    Labels(a.energy, a.forces @ stretch, None if a.stress is None else 1.03 * mixed * a.stress)
                    for a in emt.label(asked)
                ]

        crystals = [s.with_(labels=None) for s in labelled if s.pbc.all()]
        told = judge(relabel(crystals, Anisotropic()), teacher=Anisotropic)
        assert told["rotated_structures"]["verdict"] == "WARN"
        assert told["rotated_structures"]["measured"] > 0.05
        assert {name for name in OF_A_TEACHER if told[name]["verdict"] != "GO"} == {"rotated_structures"}
        honest = judge(relabel(crystals, emt), teacher=lambda: emt)
        assert honest["rotated_structures"]["verdict"] == "GO"
        assert honest["rotated_structures"]["measured"] < 1e-6

    def test_a_slab_among_many_crystals_is_asked_about(self, judge, labelled):
        """A teacher that opens slabs in their plane is right for all other structures."""
        emt = load_teacher("emt")
        slabs = [rattled(slab(), k).with_(source="slabs", family="slab") for k in range(2)]
        crystals = [s for s in labelled if s.pbc.all()]
        assert len(crystals) > 4 * len(slabs)

        class Opening:
            fingerprint, properties = emt.fingerprint, emt.properties

            def label(self, structures):
                return emt.label([s if s.pbc.all() else s.with_(pbc=np.zeros(3, bool)) for s in structures])

        asked = [s.with_(labels=None) for s in [*crystals, *slabs]]
        told = judge(relabel(asked, Opening()), teacher=Opening)
        assert told["equivalent_structures"]["verdict"] == "NO_GO"
        assert told["repeated_cells"]["verdict"] == "WARN"

    @pytest.mark.parametrize("pbc", [(True, True, False), (False, False, False)], ids=["slab", "molecule in a box"])
    def test_a_teacher_that_repeats_structures_through_their_vacuum(self, judge, labelled, pbc):
        """Its forces are the slope of its energy, and its stress is left out as for every slab."""
        emt = load_teacher("emt")
        cell = slab().cell + np.diag([4.0, 4.0, 0.0]) * ~np.array(pbc)
        cell[2] *= (np.ptp(slab().positions[:, 2]) + 3.0) / cell[2, 2]
        thin = [rattled(slab(), k).with_(source="slabs", family="slab", pbc=pbc, cell=cell) for k in range(3)]
        asked = [s.with_(labels=None) for s in labelled if s.pbc.all()] + thin

        class Repeating:
            fingerprint, properties = emt.fingerprint, emt.properties

            def label(self, structures):
                answers = emt.label([s.with_(pbc=s.cell.any(axis=1)) for s in structures])
                pairs = zip(structures, answers, strict=True)
                return [Labels(a.energy, a.forces, a.stress if s.pbc.all() else None) for s, a in pairs]

        told = judge(relabel(asked, Repeating()), teacher=Repeating)
        assert {name for name in OF_A_TEACHER if told[name]["verdict"] != "GO"} == {"equivalent_structures"}
        assert "2 of them in a cell twice as long" in told["equivalent_structures"]["why"]
        honest = judge(relabel(asked, emt), teacher=lambda: emt)["equivalent_structures"]
        assert honest["verdict"] == "GO"
        assert honest["measured"] < 1e-6

    def test_a_teacher_that_errs_in_left_handed_cells(self, judge, labelled, lj):
        """A volume with its sign inverts the stress there; few cells of a file are of that hand."""

        class Signed:
            fingerprint, properties = lj.fingerprint, lj.properties

            def label(self, structures):
                pairs = zip(structures, lj.label(structures), strict=True)
                return [
                    a if a.stress is None else replace(a, stress=a.stress * np.sign(np.linalg.det(s.cell))) for s, a in pairs
                ]

        crystals = [s.with_(labels=None) for s in labelled if s.pbc.all()]
        left = crystals[0].with_(cell=crystals[0].cell[[1, 0, 2]])
        told = judge(relabel([left, *crystals[1:]], Signed()), teacher=Signed)
        assert told["equivalent_structures"]["verdict"] == "NO_GO"
        assert judge(relabel([left, *crystals[1:]], lj))["equivalent_structures"]["verdict"] == "GO"

    def test_few_labels_are_audited_with_few_calls(self, judge, labelled, lj):
        class Counting:
            fingerprint, asked = lj.fingerprint, 0

            def label(self, structures):
                Counting.asked += len(structures)
                return lj.label(structures)

        gates = GATES.model_copy(update={"replay_fraction": 0.01})
        assert judge(labelled, teacher=Counting, gates=gates)["verdict"] == "GO"
        # repeated labels, finite differences, curl, equal structures, rotated ones
        assert 38 < Counting.asked <= 12 + 16 + 18 + 12 + 12
        assert 0.6 < calls_of_teacher(len(labelled), 0.01) / Counting.asked < 1.6

    def test_small_random_difference_is_accepted(self, judge, labelled):
        noise = np.random.default_rng(0)
        moved = [changed(s, forces=s.labels.forces + noise.normal(0, 1e-5, s.labels.forces.shape)) for s in labelled]
        assert judge(moved)["verdict"] == "GO"

    def test_without_a_teacher_it_did_not_run(self, judge, labelled):
        found = judge(labelled, teacher=None)
        assert no_go(found) == OF_A_TEACHER
        assert found["label_replay"]["verdict"] == "NOT_RUN"
        assert found["label_replay"]["measured"] is None


class TestTwoLevels:
    """Labels of two codes in one file: no energy is an outlier, and each half agrees with its own forces."""

    @staticmethod
    def systems(count: int) -> list[Structure]:
        """Rattled crystals and molecules without siblings of one family, labelled by EMT."""
        parents = [Structure.from_ase(bulk(name, cubic=True)) for name in ("Cu", "Al", "Ni", "Pd")]
        parents += [Structure.from_ase(molecule(name)) for name in ("CH4", "CH3OH", "N2", "C6H6")]
        parents.append(Structure.from_ase(bulk("CuAu", "rocksalt", a=5.6, cubic=True)))
        made = [
            rattled(p, 31 * k + n).with_(id=f"s-{k:03d}-{n:03d}", source=f"s{n % 2}", family=f"{k}-{n}")
            for k, p in enumerate(parents)
            for n in range(count)
        ]
        return relabel(made, load_teacher("emt"))

    @staticmethod
    def outliers(structures, build) -> dict:
        path = build(structures)
        report, _ = audit(open_dataset(path), GATES, checks=[ENTRIES["energy_outliers"].check])
        return report["findings"][0]

    @pytest.mark.parametrize("every", [2, 4])
    @pytest.mark.parametrize(
        "offset",
        [lambda s: 1000.0 * len(s), lambda s: 4.0 * len(s), lambda s: 0.5 * float(s.atomic_numbers.sum())],
        ids=["1,000 eV/atom", "4 eV/atom", "by element"],
    )
    def test_found(self, build, offset, every):
        """Two sources have a level each where every second structure is shifted, so that neither has an outlier."""
        count = 12 * every // 2
        mixed = [
            changed(s, energy=s.labels.energy + offset(s)) if k % count % every == 0 else s
            for k, s in enumerate(self.systems(count))
        ]
        found = self.outliers(mixed, build)
        assert found["verdict"] == "NO_GO"
        assert "on two levels" in found["why"]
        shifted = {s.id for k, s in enumerate(mixed) if k % count % every == 0}
        assert set(found["worst"]) <= shifted if every > 2 else found["worst"]

    def test_a_lone_atom_beside_a_crystal_is_none(self, build):
        crystals = [s for s in self.systems(12) if s.formula == "Cu"]
        (atom,) = relabel(
            [Structure.from_ase(Atoms("Cu")).with_(id="lone", source="s0", family="lone")], load_teacher("emt")
        )
        assert self.outliers([atom, *crystals], build)["verdict"] == "GO"

    def test_other_systems_have_other_energies(self, build, labelled):
        """Compounds lie below their elements, and atoms by themselves above molecules of them."""
        honest = self.systems(12)
        bound = [
            changed(s, energy=s.labels.energy - 3.0 * len(s)) if {29, 79} <= set(s.atomic_numbers.tolist()) else s
            for s in honest
        ]
        nitrogen = [s for s in honest if s.formula == "N2"]
        apart = [
            s.with_(
                id=f"apart-{k}",
                positions=s.positions * 3.5,
                labels=Labels(s.labels.energy + 9.8, np.zeros((2, 3))),
            )
            for k, s in enumerate(nitrogen)
        ]
        for structures in (labelled, honest):
            assert self.outliers(structures, build)["verdict"] == "GO"
        for structures in (bound, [*bound, *apart]):  # the atoms are beyond 30 deviations of all, as before
            assert "on two levels" not in self.outliers(structures, build)["why"]


class TestProvenance:
    def test_a_leaked_family(self, judge, labelled):
        splits = np.zeros(len(labelled), int)
        families = [s.family for s in labelled]
        splits[[k for k, f in enumerate(families) if f == "H2O"]] = 2
        assert judge(labelled, splits=splits)["verdict"] == "GO"
        leaked = next(k for k, f in enumerate(families) if f == "CH4")
        splits[leaked] = 1
        found = judge(labelled, splits=splits)
        assert no_go(found) == {"split_leakage"}
        assert found["split_leakage"]["measured"] == 1

    def test_nothing_held_out_did_not_run(self, judge, labelled):
        """An early GO would end at the evaluation, after the training, with an empty test part."""
        found = judge(labelled, splits=np.zeros(len(labelled), int))
        assert no_go(found) == {"split_leakage", "near_leakage"}
        assert found["split_leakage"]["verdict"] == "NOT_RUN"
        assert f"train {len(labelled)}, valid 0, test 0" in found["split_leakage"]["why"]

    def test_a_batch_need_not_hold_out_structures(self, build, labelled, lj):
        path = build(labelled, splits=np.zeros(len(labelled), int))
        report, _ = audit(open_dataset(path), GATES, teacher=lambda: lj, seed=3, of_batch=True)
        assert report["verdict"] == "GO"

    def test_another_teacher(self, judge, labelled):
        other = load_teacher("lennard-jones", sigma_angstrom=0.9, epsilon_ev=0.2000001)
        found = judge(labelled, teacher=lambda: other)
        assert no_go(found) == {"teacher_fingerprint"}

    @pytest.mark.parametrize("key", ["name", "version", "weights", "dtype"])
    def test_an_unknown_teacher(self, build, labelled, lj, key):
        recorded = {k: v for k, v in lj.fingerprint.items() if k != key}
        report, _ = audit(open_dataset(build(labelled, teacher=recorded)), GATES, teacher=lambda: lj)
        (finding,) = [f for f in report["findings"] if f["verdict"] not in PASSES]
        assert (finding["check"], finding["verdict"]) == ("teacher_fingerprint", "NOT_RUN")

    def test_slow_labelling(self, judge, labelled):
        found = judge(labelled, label_seconds=3600.0)
        assert no_go(found) == {"throughput"}
        assert found["throughput"]["measured"] == pytest.approx(len(labelled))

    def test_unknown_time(self, judge, labelled):
        assert judge(labelled, label_seconds=0.0)["throughput"]["verdict"] == "NOT_RUN"

    def test_low_success(self, judge, labelled):
        refused = [Refused("teacher_error", id=f"r{k}", source="metals", stage="label") for k in range(4)]
        found = judge(labelled, refused=refused)
        assert no_go(found) == {"teacher_success"}
        assert found["teacher_success"]["measured"] == pytest.approx(len(labelled) / (len(labelled) + 4))
        assert "95 % interval" in found["teacher_success"]["why"]
        assert "4 teacher_error" in found["teacher_success"]["why"]

    def test_labels_beyond_the_limits_are_no_failure_of_the_teacher(self, judge, labelled):
        refused = [Refused("force_limit", id=f"r{k}", source="metals", stage="label") for k in range(4)]
        found = judge(labelled, refused=refused)
        assert found["verdict"] == "GO"
        assert found["teacher_success"]["measured"] == 1.0
        assert "4 more were beyond the limits" in found["teacher_success"]["why"]
        assert found["within_limits"]["measured"] == pytest.approx(len(labelled) / (len(labelled) + 4))

    def test_too_many_labels_beyond_the_limits(self, judge, labelled):
        refused = [Refused("stress_limit", id=f"r{k}", source="metals", stage="label") for k in range(len(labelled))]
        found = judge(labelled, refused=refused)
        assert no_go(found) == {"within_limits"}
        assert f"{len(labelled)} stress_limit" in found["within_limits"]["why"]

    def test_refusals_before_labelling_do_not_count(self, judge, labelled):
        refused = [Refused("too_close", source="metals", stage="generate")] * 100
        assert judge(labelled, refused=refused)["verdict"] == "GO"

    def test_a_damaged_block(self, build, labelled, lj):
        path = build(labelled)
        with h5py.File(path, "r") as file:
            offset = file["atoms/forces"].id.get_offset()
        whole = bytearray(path.read_bytes())
        whole[offset + 1] ^= 1  # a change far below what any other check can see
        path.write_bytes(whole)
        report, _ = audit(open_dataset(path), GATES, teacher=lambda: lj)
        assert [f["check"] for f in report["findings"] if f["verdict"] not in PASSES] == ["integrity"]


class TestFailClosed:
    def test_a_check_that_raises_did_not_run(self, build, labelled, lj):
        def broken(_):
            raise RuntimeError("no luck")

        report, _ = audit(open_dataset(build(labelled)), GATES, teacher=lambda: lj, checks=[*CHECKS, broken])
        assert report["verdict"] == "NO_GO"
        (finding,) = [f for f in report["findings"] if f["verdict"] not in PASSES]
        assert finding["check"] == "broken"
        assert finding["verdict"] == "NOT_RUN"
        assert "no luck" in finding["why"]

    def test_a_teacher_that_cannot_be_loaded(self, judge, labelled):
        def load():
            raise OSError("weights are gone")

        found = judge(labelled, teacher=load)
        assert no_go(found) == OF_A_TEACHER | {"teacher_fingerprint"}
        assert "weights are gone" in found["label_replay"]["why"]

    def test_no_structures(self, judge, tmp_path):
        found = judge([], splits=np.zeros(0))
        assert found["verdict"] == "NO_GO"
        assert found["teacher_success"]["verdict"] == "NO_GO"

    def test_no_findings_are_no_go(self):
        assert overall_verdict([]) == Verdict.NO_GO

    @pytest.mark.parametrize("verdict", [Verdict.NO_GO, Verdict.NOT_RUN])
    def test_one_finding_is_enough(self, verdict):
        good = Finding("a", Verdict.GO, 1.0, 1.0, "", "")
        assert overall_verdict([good, good]) == Verdict.GO
        assert overall_verdict([good, Finding("b", verdict, None, None, "", "")]) == Verdict.NO_GO


def test_wilson_interval_of_known_cases():
    assert wilson_interval(0, 0) == (0.0, 1.0)
    low, high = wilson_interval(81, 263)  # Newcombe, Stat. Med. 17, 857 (1998), table I: 0.2553 to 0.3662
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)
    low, high = wilson_interval(0, 20)
    assert (low, round(high, 4)) == (0.0, 0.1611)


OF_A_RUN = {"teacher_success", "within_limits", "throughput", "refusals", "shares", "stand_ins", "elements_per_source"}
OF_A_RUN |= {"split_leakage", "near_leakage"}


@pytest.fixture
def mine(tmp_path: Path, build) -> Callable[[list[Structure]], Path]:
    """An extended XYZ file of labelled structures."""

    def write(structures: list[Structure]) -> Path:
        convert(build(structures), tmp_path / "mine.extxyz")
        return tmp_path / "mine.extxyz"

    return write


class TestFilesOfOnesOwn:
    def test_go_without_a_teacher_says_what_was_not_asked(self, mine, labelled, tmp_path):
        report = audit_file(mine(labelled), tmp_path / "out", "", GATES)
        found = {f["check"] for f in report["findings"] if f["verdict"] == "DOES_NOT_APPLY"}
        assert report["verdict"] == "GO", [f for f in report["findings"] if f["verdict"] not in PASSES]
        assert found == (OF_A_RUN | OF_A_TEACHER | NOT_THERE | {"teacher_fingerprint"}) - {"labels_follow_general"}
        assert "No teacher was named" in sentence(report)
        assert json.loads((tmp_path / "out" / "audit.json").read_text())["verdict"] == "GO"
        assert not (tmp_path / "out" / "advice.yaml").exists()

    def test_go_with_the_teacher_that_made_the_labels(self, mine, labelled, tmp_path):
        path = mine(relabel([s.with_(labels=None) for s in labelled], load_teacher("emt")))
        report = audit_file(path, tmp_path / "out", "emt", GATES)
        found = {f["check"] for f in report["findings"] if f["verdict"] == "DOES_NOT_APPLY"}
        assert report["verdict"] == "GO", [f for f in report["findings"] if f["verdict"] not in PASSES]
        assert found == OF_A_RUN | NOT_THERE | {"teacher_fingerprint"}
        assert report["made_from"]["teacher"]["name"] == "emt"
        assert "No teacher" not in sentence(report)

    def test_no_go_with_another_teacher(self, mine, labelled, tmp_path):
        report = audit_file(mine(labelled), tmp_path / "out", "emt", GATES)
        assert "label_replay" in {f["check"] for f in report["findings"] if f["verdict"] == "NO_GO"}

    def test_the_advice_for_a_file_reaches_go(self, mine, labelled, tmp_path):
        few = [s for s in labelled if s.family in ("H2O", "CH4")]
        path, out = mine(few), tmp_path / "out"
        assert audit_file(path, out, "")["verdict"] == "NO_GO"
        report = audit_file(path, out, "", read_gates(out / "advice.yaml"))
        assert report["verdict"] == "GO", [f for f in report["findings"] if f["verdict"] not in PASSES]

    def test_the_verdict_of_a_run_is_not_overwritten(self, build, labelled, tmp_path):
        path = build(labelled)
        (path.parent / "run.json").write_text("{}")
        (path.parent / "audit.json").write_text('{"verdict": "NO_GO"}')
        for folder in (path.parent, tmp_path):
            with pytest.raises(InputError, match="--out"):
                audit_file(path, folder, "", GATES)
        assert json.loads((path.parent / "audit.json").read_text()) == {"verdict": "NO_GO"}


class TestNothingToLookAt:
    def test_few_siblings_have_no_slope(self, judge, labelled):
        found = judge([s for k, s in enumerate(labelled) if k % 12 < 6][:18])
        assert found["energy_work_slope"]["verdict"] == "DOES_NOT_APPLY"
        assert "near siblings" in found["energy_work_slope"]["why"]

    @staticmethod
    def of_pairs(work, change):
        """What the slope of pairs of crystals of eight atoms is fitted to."""
        atoms, molecule = np.full(len(work), 8), np.zeros(len(work), bool)
        stats = SimpleNamespace(work=work, energy_change=change, atoms=atoms, molecule=molecule, labelled=True)
        return SimpleNamespace(stats=stats, gates=AuditConfig())

    def test_rounding_between_equivalent_displacements_is_no_slope(self):
        work, change = np.random.default_rng(3).normal(0.0, 1e-5, (2, 40))
        assert energy_work_slope(self.of_pairs(work, change)).verdict == "DOES_NOT_APPLY"
        missing = energy_work_slope(self.of_pairs(1e3 * work, np.zeros(40)))  # energies that are all the same are a fault
        assert missing.verdict == "NO_GO"

    @pytest.mark.parametrize(("slope", "noise", "verdict"), [(0.6, 0.7, "WARN"), (1.0, 0.7, "GO"), (0.6, 0.1, "NO_GO")])
    def test_a_slope_that_is_off_by_more_than_its_error_is_no_silent_pass(self, slope, noise, verdict):
        rng = np.random.default_rng(2)
        work = rng.normal(0.0, 1.0, 80)
        change = slope * work + noise * rng.normal(0.0, 1.0, 80)
        finding = energy_work_slope(self.of_pairs(work, change))
        assert finding.verdict == verdict, finding

    @pytest.mark.parametrize("rounding", [0.0, 1e-8, 1e-5])
    def test_copies_of_one_structure_measure_neither_slope_nor_work(self, judge, labelled, rounding):
        rng = np.random.default_rng(0)
        single = [next(s for s in labelled if s.family == f) for f in sorted({s.family for s in labelled})]
        copies = [
            s.with_(id=f"{s.id}-{k}", positions=s.positions + rounding * rng.uniform(-1, 1, s.positions.shape))
            for s in single
            for k in range(4)
        ]
        found = judge([*single, *copies], teacher=None)
        for name in ("energy_work", "energy_work_slope"):
            assert found[name]["verdict"] == "DOES_NOT_APPLY", found[name]
        assert found["energy_work"]["why"].startswith("0 of 60")

    def test_copies_leave_the_slope_of_the_others(self, judge, labelled):
        copies = [s.with_(id=f"{s.id}-copy{k}") for s in labelled for k in range(2)]
        assert judge([*labelled, *copies], teacher=None)["energy_work_slope"]["verdict"] != "NO_GO"
        per_kcal = [changed(s, energy=23.06 * s.labels.energy) for s in (*labelled, *copies)]
        assert {"energy_work", "energy_work_slope"} <= no_go(judge(per_kcal, teacher=None))

    def test_copies_with_two_energies_are_no_matter_of_units(self, judge, labelled):
        single = [next(s for s in labelled if s.family == f) for f in sorted({s.family for s in labelled})]
        copies = [
            changed(s, energy=s.labels.energy + 0.1 * k * len(s)).with_(id=f"{s.id}-{k}") for s in single for k in range(4)
        ]
        found = judge([*single, *copies], teacher=None)
        assert (found["energy_work"]["verdict"], found["energy_work_slope"]["verdict"]) == ("NO_GO", "DOES_NOT_APPLY")

    def test_stresses_take_part_where_siblings_differ_in_cell(self, judge, labelled):
        assert int(judge(labelled)["stress_work_slope"]["why"].partition(" ")[0]) > 0
        same, rng = next(s for s in labelled if s.pbc.all()), np.random.default_rng(1)
        moved = [
            same.with_(id=f"m{k}", positions=same.positions + rng.normal(0, 0.01, same.positions.shape)) for k in range(6)
        ]
        found = judge(moved)
        assert (found["energy_work"]["verdict"], found["stress_work_slope"]["verdict"]) == ("GO", "DOES_NOT_APPLY")
        assert found["stress_work_slope"]["why"].startswith("0 structures have a near sibling in another cell")

    @pytest.mark.parametrize("kind", ["slab", "without stress"])
    def test_frames_of_one_cell_are_compared_without_a_stress(self, judge, labelled, lj, kind):
        first = slab() if kind == "slab" else next(s for s in labelled if s.pbc.all())
        rng = np.random.default_rng(2)
        frames = [
            first.with_(
                id=f"frame-{k}",
                source="own",
                family=f"frame-{k}",
                labels=None,
                positions=first.positions + rng.normal(0, 0.03, first.positions.shape) + rng.integers(2) * first.cell[0],
            )
            for k in range(30)
        ]
        good = [changed(s, stress=None) for s in relabel(frames, lj)]
        found = judge(good, teacher=None)
        assert {found[name]["verdict"] for name in ("energy_work", "energy_work_slope")} == {"GO"}
        assert found["energy_work"]["why"].startswith("30 of 30")
        *others, last = good
        off = changed(last, energy=last.labels.energy + 0.1 * len(last))
        assert judge([*others, off], teacher=None)["energy_work"]["verdict"] == "NO_GO"
        per_bohr = [changed(s, forces=0.529 * s.labels.forces) for s in good]
        assert judge(per_bohr, teacher=None)["energy_work_slope"]["verdict"] == "NO_GO"

    def test_no_siblings(self, judge, labelled):
        found = judge([next(s for s in labelled if s.family == f) for f in sorted({s.family for s in labelled})])
        assert found["energy_work"]["verdict"] == "DOES_NOT_APPLY"
        assert found["energy_work"]["why"].startswith("0 of 12")

    def test_one_source(self, judge, labelled):
        found = judge([s for s in labelled if s.source == "metals"])
        assert found["source_novelty"]["verdict"] == "DOES_NOT_APPLY"

    def test_no_stress_by_a_teacher_that_has_none(self, judge, labelled, lj):
        class Stressless:
            fingerprint, elements, properties = lj.fingerprint, None, frozenset({"energy", "forces"})

            def label(self, structures):
                return [Labels(a.energy, a.forces) for a in lj.label(structures)]

        bare = [changed(s, stress=None) for s in labelled]
        found = judge(bare, teacher=Stressless)
        assert found["verdict"] == "GO", no_go(found)
        for name in ("stress_limits", "stress_symmetry", "missing_stress"):
            assert found[name]["verdict"] == "DOES_NOT_APPLY"
        assert "12 have no stress" in found["missing_stress"]["why"]

    def test_no_stress_although_the_teacher_gives_it(self, judge, labelled):
        found = judge([changed(s, stress=None) for s in labelled])
        assert "missing_stress" in no_go(found)
        assert found["missing_stress"]["measured"] == 12

    def test_an_empty_dataset_has_one_finding(self, judge):
        refused = [Refused("teacher_error", "NotImplementedError: stress", id=str(k), stage="label") for k in range(5)]
        found = judge([], splits=np.zeros(0), refused=refused)
        assert no_go(found) == {"teacher_success"}
        assert (
            "5 of 5 were refused as teacher_error, such as: NotImplementedError: stress" in found["teacher_success"]["why"]
        )
        (advice,) = found["report"]["advice"]
        assert "NotImplementedError: stress" in advice["why"]
        assert advice["change"] == ""

    def test_labels_that_are_all_beyond_the_limits_point_to_units(self, judge):
        detail = "stress component of 12.3 eV/Å^3"
        refused = [Refused("stress_limit", detail, id=str(k), stage="label") for k in range(5)]
        (advice,) = judge([], splits=np.zeros(0), refused=refused)["report"]["advice"]
        assert advice["why"].startswith("5 structures were refused as stress_limit")
        assert f"in other units than eV, eV/Å and eV/Å^3: {detail}" in advice["why"]


def test_what_it_was_made_from(judge, labelled, lj):
    one, other = judge(labelled)["report"], judge(labelled[1:])["report"]
    assert one["made_from"]["teacher"] == dict(lj.fingerprint)
    assert one["made_from"]["dataset"] != other["made_from"]["dataset"]
    assert one["made_from"]["gates"] == other["made_from"]["gates"]
    gates = GATES.model_copy(update={"min_size_cv": 0.2})
    assert judge(labelled, gates=gates)["report"]["made_from"]["gates"] != one["made_from"]["gates"]


def test_every_check_is_registered_with_its_advice_and_gates():
    limits = {gate for entry in ENTRIES.values() for gate in entry.gates}
    assert limits == set(AuditConfig.model_fields)
    assert [check.__name__ for check in CHECKS] == sorted(ENTRIES, key=[c.__name__ for c in CHECKS].index)
    page = rendered("audit.md")
    assert all(f"`{name}`" in page for name in ENTRIES)
    assert all(f"`{gate}`" in page for gate in limits)


def rendered(name: str) -> str:
    """A page of the documentation with its tables."""
    docs = Path(__file__).parents[2] / "docs"
    sys.path.insert(0, str(docs))
    try:
        return runpy.run_path(str(docs / "measured.py"))["on_page_markdown"]((docs / name).read_text(encoding="utf-8"))
    finally:
        sys.path.remove(str(docs))


def test_a_check_of_no_family_or_gate_is_refused():
    with pytest.raises(ValueError, match="no family"):
        check("chemistry", unit="", mend="", gates=("min_luck",))(lambda evidence: evidence)
