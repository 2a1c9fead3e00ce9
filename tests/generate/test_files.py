"""Good files come in whole, with hydrogens, families and every frame, and no more is read than is asked for."""

from __future__ import annotations

import bz2
import gzip
import json
from dataclasses import replace

import ase.io
import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.db import connect

from potstill.core.errors import InputError
from potstill.core.geometry import distance_fingerprint
from potstill.core.types import Labels, Refused, Structure
from potstill.dataset import write_part
from potstill.dataset.convert import convert
from potstill.dataset.inputs import frames as texts
from potstill.dataset.inputs.labels import NOT_USED
from potstill.generate.files import Files, folder_checksum

METHANE = Structure.from_ase(molecule("CH4"), id="a", source="s", family="mine", generator_metadata={"smiles": "C"})


def frames(*paths, **options) -> list[Structure]:
    source = Files(count=99, paths=paths, **options)
    return source.propose(range(source.available()), 1, ())


def mol_block(smiles: str, *, hydrogens: bool) -> str:
    from rdkit import Chem
    from rdkit.Chem import AllChem

    whole = Chem.AddHs(Chem.MolFromSmiles(smiles))
    AllChem.EmbedMolecule(whole, randomSeed=1)
    return Chem.MolToMolBlock(whole if hydrogens else Chem.RemoveHs(whole))


class TestMolecules:
    def test_hydrogens_that_are_left_out_are_added_with_coordinates(self, tmp_path):
        (tmp_path / "heavy.sdf").write_text(mol_block("CCO", hydrogens=False))
        (tmp_path / "whole.sdf").write_text(mol_block("CCO", hydrogens=True))
        heavy, whole = frames(tmp_path / "heavy.sdf", tmp_path / "whole.sdf")
        assert heavy.formula == whole.formula == "C2H6O"
        made = {"smiles": "CCO", "hydrogens_added": 6, "hydrogens": "mmff94"}
        (remark,) = heavy.generator_metadata["remarks"]
        assert "added by valence" in remark
        assert heavy.generator_metadata == {**made, "file": "heavy.sdf", "frame": 0, "remarks": [remark]}
        assert whole.generator_metadata["hydrogens_added"] == 0
        carbon = np.linalg.norm(heavy.positions[heavy.atomic_numbers == 1][:, None] - heavy.positions[:3], axis=-1).min(
            axis=1
        )
        assert ((carbon > 0.85) & (carbon < 1.2)).all()

    def test_every_record_of_an_sdf(self, tmp_path):
        blocks = [mol_block(smiles, hydrogens=True) for smiles in ("C", "CC", "CCC")]
        (tmp_path / "all.sdf").write_text("".join(f"{block}> <name>\nx\n\n$$$$\n" for block in blocks))
        assert [s.formula for s in frames(tmp_path / "all.sdf")] == ["CH4", "C2H6", "C3H8"]

    def test_a_zwitterion_is_no_ion(self, tmp_path):
        (tmp_path / "glycine.mol").write_text(mol_block("[NH3+]CC(=O)[O-]", hydrogens=True))
        assert frames(tmp_path / "glycine.mol")[0].formula == "C2H5NO2"


class TestFormats:
    @pytest.mark.parametrize("selective", [False, True])
    @pytest.mark.parametrize("direct", [False, True])
    def test_every_kind_of_poscar(self, tmp_path, selective, direct):
        from ase.constraints import FixAtoms

        salt = bulk("NaCl", "rocksalt", a=5.64) * (1, 1, 3)
        salt.set_constraint(FixAtoms([1]) if selective else None)
        for ending, options in (("new", {}), ("old", {"vasp5": False}), ("sorted", {"sort": True})):
            path = tmp_path / f"{ending}.vasp"
            ase.io.write(path, salt, format="vasp", direct=direct, **options)
            path.write_text(path.read_text().rstrip())  # editors leave the last line without an end
            assert [len(s) for s in frames(path)] == [6]

    @pytest.mark.parametrize("name", ["a.cif", "POSCAR", "a.xsf", "a.traj", "a.json", "a.xyz", "a.db"])
    def test_what_ase_writes_is_read(self, tmp_path, name):
        silicon = bulk("Si", cubic=True)
        ase.io.write(tmp_path / name, silicon, **({"format": "vasp"} if name == "POSCAR" else {}))
        (found,) = frames(tmp_path / name)
        assert found.pbc.all()
        np.testing.assert_allclose(distance_fingerprint(found), distance_fingerprint(Structure.from_ase(silicon)), atol=1e-5)

    def test_what_only_pymatgen_writes(self, tmp_path):
        from pymatgen.core import Lattice
        from pymatgen.core import Structure as Crystal

        crystal = Crystal.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
        crystal.to(filename=str(tmp_path / "salt.cssr"))
        (tmp_path / "salt.json").write_text(json.dumps(crystal.as_dict()))
        for found in frames(tmp_path / "salt.cssr", tmp_path / "salt.json"):
            assert found.formula == "ClNa"
            assert len(found) == 8
        crystal.replace(0, {"Na": 0.5, "K": 0.5})
        (tmp_path / "mixed.json").write_text(json.dumps(crystal.as_dict()))
        *_, refused = frames(tmp_path / "salt.json", tmp_path / "mixed.json")
        assert (refused.reason, "mixed.json" in refused.detail) == ("disordered", True)

    def test_json_that_names_other_classes_is_not_decoded(self, tmp_path):
        from pymatgen.core import Lattice
        from pymatgen.core import Structure as Crystal

        marker = tmp_path / "module_was_imported"
        (tmp_path / "evil_module.py").write_text(f"open({str(marker)!r}, 'w').close()\nclass Evil: pass\n")
        data = Crystal(Lattice.cubic(3), ["Fe"], [[0, 0, 0]]).as_dict()
        data["sites"][0]["properties"] = {"spin": {"@module": "evil_module", "@class": "Evil"}}
        ase.io.write(tmp_path / "good.xyz", molecule("CH4"))
        (tmp_path / "evil.json").write_text(json.dumps(data))
        with pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(str(tmp_path))
            _, refused = frames(tmp_path / "good.xyz", tmp_path / "evil.json")
        assert "evil.json" in refused.detail
        assert not marker.exists()

    def test_compressed(self, tmp_path):
        ase.io.write(tmp_path / "a.extxyz", [molecule("CH4"), molecule("NH3")])
        plain = (tmp_path / "a.extxyz").read_bytes()
        (tmp_path / "b.extxyz.gz").write_bytes(gzip.compress(plain))
        (tmp_path / "c.xyz.bz2").write_bytes(bz2.compress(plain))
        found = frames(*(tmp_path / name for name in ("a.extxyz", "b.extxyz.gz", "c.xyz.bz2")))
        assert [s.formula for s in found] == ["CH4", "H3N"] * 3

    def test_names_that_readers_take_for_something_else(self, tmp_path):
        for name in ("a@1.vasp", "postgres.vasp", "b@:.traj"):
            ase.io.write(str(tmp_path / name), bulk("Cu"), format="traj" if name.endswith("traj") else "vasp")
        assert [s.formula for s in frames(tmp_path)] == ["Cu"] * 3

    def test_lines_and_letters_of_other_systems(self, tmp_path):
        for name in ("a.xyz", "a.cif"):
            atoms = molecule("CH4") if name == "a.xyz" else bulk("Cu")
            ase.io.write(tmp_path / name, atoms)
            content = (tmp_path / name).read_bytes().replace(b"\n", b"\r\n")
            (tmp_path / name).write_bytes(content)
        (tmp_path / "b.xyz").write_bytes("2\nin Å\nC 0 0 0\nO 0 0 1.13\n".encode("latin1"))
        assert [s.formula for s in frames(tmp_path)] == ["Cu", "CH4", "CO"]

    def test_every_block_of_a_cif_that_lists_atoms(self, tmp_path):
        ase.io.write(tmp_path / "a.cif", [bulk("Si"), bulk("Cu", cubic=True)])
        content = "data_global\n_journal_year 2000\n" + (tmp_path / "a.cif").read_text()
        (tmp_path / "a.cif").write_text(content)
        assert [(s.formula, len(s)) for s in frames(tmp_path / "a.cif")] == [("Si", 2), ("Cu", 4)]

    @pytest.mark.parametrize(("formula", "units"), [("Na4 Cl4", 4), ("Na Cl", 4), ("Cl2 Na2", None), ("Na4 Cl4", 1)])
    def test_a_formula_of_the_cell_or_of_a_unit(self, tmp_path, formula, units):
        ase.io.write(tmp_path / "a.cif", bulk("NaCl", "rocksalt", a=5.64, cubic=True))
        lines = [line for line in (tmp_path / "a.cif").read_text().splitlines() if not line.startswith("_chemical")]
        lines.insert(1, f"_chemical_formula_sum '{formula}'")
        if units:
            lines.insert(1, f"_cell_formula_units_Z   {units}")
        (tmp_path / "a.cif").write_text("\n".join(lines))
        assert [len(s) for s in frames(tmp_path / "a.cif")] == [8]

    def test_datasets_keep_families_and_lose_labels(self, tmp_path):
        labelled = METHANE.with_(labels=Labels(-1.0, np.zeros((5, 3))))
        write_part(tmp_path / "a.h5", [labelled, labelled.with_(id="b", family="other")], [], labelled=True)
        for ending in ("h5", "extxyz", "db", "aselmdb"):
            if ending == "aselmdb":
                pytest.importorskip("ase_db_backends")
            path = tmp_path / f"a.{ending}"
            if ending != "h5":
                convert(tmp_path / "a.h5", path)
            first, second = frames(path)
            assert (first.family, second.family, first.labels) == ("mine", "other", None)
            assert first.generator_metadata == {"smiles": "C", "file": path.name, "frame": 0, "remarks": [NOT_USED]}

    @pytest.mark.parametrize("keys", [("energy", "forces"), ("REF_energy", "REF_forces")])
    def test_labels_that_a_teacher_makes_anew_are_said(self, tmp_path, keys):
        """A user with DFT labels who names a model as teacher must learn that the labels are not taken."""
        energy, forces = keys
        rows = "".join(f"Cu {x} 0 0 0 0 0.1\n" for x in (0, 2.5))
        facts = f'Lattice="9 0 0 0 9 0 0 0 9" Properties=species:S:1:pos:R:3:{forces}:R:3'
        (tmp_path / "dft.extxyz").write_text(f"2\n{facts} {energy}=-3.7\n{rows}2\n{facts}\n{rows}")
        labelled, forces_alone = frames(tmp_path / "dft.extxyz")
        assert labelled.labels is None
        assert NOT_USED in labelled.generator_metadata["remarks"]
        assert NOT_USED not in forces_alone.generator_metadata.get("remarks", ())
        (given,) = [s for s in frames(tmp_path / "dft.extxyz", labels=True) if isinstance(s, Structure)]
        assert NOT_USED not in given.generator_metadata.get("remarks", ())

    def test_databases_of_others(self, tmp_path):
        with connect(tmp_path / "a.db") as database:
            for name in ("CH4", "H2O"):
                database.write(molecule(name))
        assert [s.formula for s in frames(tmp_path / "a.db")] == ["CH4", "H2O"]


@pytest.mark.parametrize("name", ["a.cif", "a.extxyz", "a.xyz", "POSCAR", "a.sdf", "a.traj"])
def test_a_file_that_is_cut_anywhere_is_whole_or_refused(tmp_path, name):
    if name == "a.sdf":
        (tmp_path / name).write_text(mol_block("CO", hydrogens=True))
    else:
        kinds = {"POSCAR": "vasp", "a.xyz": "xyz"}
        ase.io.write(tmp_path / name, bulk("NaCl", "rocksalt", a=5.64), format=kinds.get(name))
    (whole,) = frames(tmp_path / name)
    content = (tmp_path / name).read_bytes()
    for stop in range(1, len(content), 3):
        cut = tmp_path / f"{stop:06d}"
        cut.mkdir()
        (cut / name).write_bytes(content[:stop])
    ase.io.write(tmp_path / "good.xyz", molecule("CH4"))
    _, *found = frames(tmp_path / "good.xyz", *sorted(path for path in tmp_path.iterdir() if path.is_dir()))
    assert len(found) > 20
    for frame in found:
        if isinstance(frame, Structure):
            np.testing.assert_array_equal(frame.atomic_numbers, whole.atomic_numbers)
            np.testing.assert_allclose(frame.positions, whole.positions, atol=1e-6)
            np.testing.assert_allclose(frame.cell, whole.cell, atol=1e-6)


class TestFolders:
    def test_settings_and_jobs_beside_structures_are_no_refused_structures(self, tmp_path):
        """Folders of VASP would be NO-GO by their share: one of six files is a structure."""
        ase.io.write(tmp_path / "POSCAR", bulk("Cu", cubic=True), format="vasp")
        for name in ("INCAR", "KPOINTS", "POTCAR", "OSZICAR", "job.sh", "slurm-123.out"):
            (tmp_path / name).write_text("ENCUT = 520\n")
        assert [s.formula for s in frames(tmp_path)] == ["Cu"]
        assert [type(s) for s in frames(tmp_path / "POSCAR", tmp_path / "INCAR")] == [Structure, Refused]

    def test_notes_and_locks_beside_structures_are_no_refused_structures(self, tmp_path):
        ase.io.write(tmp_path / "POSCAR", bulk("Cu", cubic=True), format="vasp")
        for name in ("README", "README.txt", "notes.md", "make.py", "a.aselmdb-lock", "a.db-journal", "a.db.lock"):
            (tmp_path / name).write_text("words\n")
        assert [s.formula for s in frames(tmp_path)] == ["Cu"]

    def test_a_run_below_the_folder_is_not_searched(self, tmp_path):
        """Its candidates, also those that its filter refused, would become structures of the user's own."""
        ase.io.write(tmp_path / "mine.extxyz", bulk("Cu", cubic=True))
        for name in ("run/config.yaml", "run/run.json", "run/structures/parts/perturb.extxyz"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text("{}")
        ase.io.write(tmp_path / "run/structures/parts/perturb.extxyz", bulk("Ni", cubic=True))
        mine, refused = frames(tmp_path)
        assert mine.formula == "Cu"
        assert refused.reason == "run_folder"
        assert "name its dataset.h5" in refused.detail
        with pytest.raises(InputError, match="name its dataset"):
            frames(tmp_path / "run")

    def test_other_files_of_a_folder_stay_refused_by_name(self, tmp_path):
        ase.io.write(tmp_path / "POSCAR", bulk("Cu", cubic=True), format="vasp")
        for name in ("notes", "sums/KPOINTS"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text("ENCUT = 520\n")
        _, notes, sums = frames(tmp_path)
        assert (notes.reason, "notes" in notes.detail) == ("unknown_format", True)
        assert (sums.reason, "such as KPOINTS" in sums.detail) == ("empty_folder", True)

    def test_all_files_by_name_in_all_folders(self, tmp_path):
        for name, content in (("b/z.xyz", "CH4"), ("b/a.xyz", "H2O"), ("c.xyz", "NH3"), (".hidden/d.xyz", "C2H6")):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            ase.io.write(tmp_path / name, molecule(content))
        (tmp_path / ".DS_Store").write_bytes(b"\0")
        found = frames(tmp_path)
        assert [s.generator_metadata["file"] for s in found] == ["c.xyz", "b/a.xyz", "b/z.xyz"]


class TestLazy:
    def test_only_the_frames_asked_for_are_parsed(self, tmp_path, monkeypatch):
        ase.io.write(tmp_path / "a.extxyz", [molecule("CH4")] * 50)
        parsed = []
        kinds = tuple(
            replace(k, parse=lambda text, options, k=k: parsed.append(text) or k.parse(text, options))
            for k in texts.TEXT_KINDS
        )
        monkeypatch.setattr("potstill.dataset.inputs.frames.TEXT_KINDS", kinds)
        source = Files(count=9, paths=(tmp_path / "a.extxyz",))
        (frame,) = source.propose([41], 1, ())
        assert frame.generator_metadata["frame"] == 41
        assert len(parsed) == 1

    def test_the_frames_are_those_of_ase(self, tmp_path):
        images = [bulk(symbol) * (1, 1, k) for k, symbol in enumerate(("Cu", "Al", "Ni", "Ag"), start=1)]
        for k, atoms in enumerate(images):
            atoms.rattle(0.1, seed=k)
        ase.io.write(tmp_path / "a.extxyz", images)
        for found, expected in zip(frames(tmp_path / "a.extxyz"), ase.io.read(tmp_path / "a.extxyz", ":"), strict=True):
            np.testing.assert_array_equal(found.positions, expected.positions)
            np.testing.assert_array_equal(found.cell, expected.cell[:])
            np.testing.assert_array_equal(found.atomic_numbers, expected.numbers)


def test_a_link_without_a_target_in_a_folder_is_refused_alone(tmp_path):
    ase.io.write(tmp_path / "a.extxyz", bulk("Cu"))
    (tmp_path / "b.xyz").symlink_to(tmp_path / "nowhere.xyz")
    source = Files(count=2, paths=(tmp_path,))
    found = source.propose(range(source.available()), 1, [])
    assert [type(x).__name__ for x in found] == ["Structure", "Refused"]
    assert found[1].reason == "not_a_file"
    before = folder_checksum(tmp_path)
    (tmp_path / "nowhere.xyz").write_text((tmp_path / "a.extxyz").read_text())
    assert folder_checksum(tmp_path) != before
