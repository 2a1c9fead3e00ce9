"""Structures go from any format to any other and back with all they hold, or the conversion says that they do not."""

from __future__ import annotations

import gzip
import sqlite3
import tarfile
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import ase.db
import ase.io
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from potstill.core.errors import DatasetError, InputError, MissingExtraError
from potstill.core.types import Labels, Structure
from potstill.dataset import merge, open_dataset, write_part
from potstill.dataset.convert import convert, read_structures
from potstill.dataset.formats import format_of, hdf5
from potstill.dataset.formats.extxyz import ROUNDING
from potstill.dataset.inputs import UnusableError, open_frames
from potstill.testing.structures import all_structures

FOREIGN = (".extxyz", ".xyz", ".db", ".aselmdb")
ODD = {
    "empty": "",
    "text": 'C[C@@H]\\N "x" = y',
    "unicode": "Å 晶体",
    "nested": {"a": [1, None, True]},
    "F": "F",
    "end": "x=",
}
WORDS = ["F", "T", "True", "000123", "1e5", "NaN", "a b", 'a"b', "a=b", "b=", "", "\\", "C\\", "a\nb", "Ωμέγα", "[1, 2]"]


@pytest.fixture
def package(request):
    """The LMDB backend, where a test's format needs it."""
    if ".aselmdb" in request.node.callspec.params.values():
        pytest.importorskip("ase_db_backends")


def rounded(structure: Structure, k: int, *, labels: bool) -> Structure:
    """A structure as a dataset file holds it, with float32 labels; only crystals have stress."""
    rng = np.random.default_rng(k)
    forces = rng.normal(size=structure.positions.shape).astype(np.float32).astype(float)
    stress = rng.normal(size=(3, 3)).astype(np.float32).astype(float) if structure.pbc.all() else None
    stress = None if stress is None else np.triu(stress) + np.triu(stress, 1).T
    return structure.with_(
        positions=structure.positions.astype(np.float32),
        generator_metadata=ODD if k % 2 else {},
        labels=Labels(float(rng.normal() * 1e3), forces, stress) if labels else None,
    )


def every_kind(*, labels: bool = True) -> list[Structure]:
    """Molecules, a slab, a wire, triclinic and left-handed cells, one atom, and two thousand atoms."""
    large = Structure.from_ase(bulk("Cu", cubic=True) * (5, 10, 10), id="large", source="testing", family="large")
    return [rounded(s, k, labels=labels) for k, s in enumerate([*all_structures(), large])]


def dataset_of(structures: list[Structure], path: Path) -> Path:
    part = path.with_suffix(".part")
    write_part(part, structures, labelled=structures[0].labels is not None)
    merge([part], path, attributes={})
    return path


def assert_same(a: Structure, b: Structure, error: float = 0.0) -> None:
    np.testing.assert_array_equal(a.atomic_numbers, b.atomic_numbers)
    np.testing.assert_allclose(a.positions, b.positions, rtol=0, atol=error)
    np.testing.assert_array_equal(a.cell, b.cell)
    np.testing.assert_array_equal(a.pbc, b.pbc)
    assert (a.id, a.source, a.family) == (b.id, b.source, b.family)
    assert dict(a.generator_metadata) == dict(b.generator_metadata)
    assert (a.labels is None) == (b.labels is None)
    if a.labels is None or b.labels is None:
        return
    assert a.labels.energy == b.labels.energy
    np.testing.assert_allclose(a.labels.forces, b.labels.forces, rtol=0, atol=error)
    assert (a.labels.stress is None) == (b.labels.stress is None)
    if a.labels.stress is not None:
        np.testing.assert_array_equal(a.labels.stress, b.labels.stress)


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize("labels", [True, False], ids=["labelled", "unlabelled"])
@pytest.mark.parametrize("ending", FOREIGN)
def test_there_and_back(tmp_path, ending, labels):
    structures = every_kind(labels=labels)
    path = dataset_of(structures, tmp_path / "data.h5")
    assert convert(path, tmp_path / f"data{ending}") == len(structures)
    assert convert(tmp_path / f"data{ending}", tmp_path / "back.h5") == len(structures)
    error = ROUNDING if "xyz" in ending else 0.0
    for found in (list(read_structures(tmp_path / f"data{ending}")), open_dataset(tmp_path / "back.h5")):
        for a, b in zip(structures, found, strict=True):
            assert_same(a, b, error)
    assert open_dataset(tmp_path / "back.h5").verify() == []
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["back.h5", "data.h5", "data.part", f"data{ending}"])


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize("first", FOREIGN)
@pytest.mark.parametrize("second", FOREIGN[1:])
def test_from_one_foreign_format_to_another(tmp_path, first, second):
    structures = every_kind()[:4]
    convert(dataset_of(structures, tmp_path / "data.h5"), tmp_path / f"one{first}")
    convert(tmp_path / f"one{first}", tmp_path / f"two{second}")
    for a, b in zip(structures, read_structures(tmp_path / f"two{second}"), strict=True):
        assert_same(a, b, ROUNDING)


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize("ending", FOREIGN)
def test_names_that_a_format_takes_for_something_else(tmp_path, ending):
    structures = [every_kind()[0].with_(family=word, source=word, id=word or "id") for word in WORDS]
    convert(dataset_of(structures, tmp_path / "data.h5"), tmp_path / f"data{ending}")
    read = read_structures(tmp_path / f"data{ending}")
    assert [(s.family, s.source, s.id) for s in read] == [(word, word, word or "id") for word in WORDS]


def test_a_dataset_file_is_copied_with_its_splits_and_teacher(tmp_path, build, labelled):
    path = build(labelled)
    convert(path, tmp_path / "copy.hdf5")
    assert (tmp_path / "copy.hdf5").read_bytes() == path.read_bytes()


def test_parts_of_a_large_file(tmp_path, monkeypatch):
    monkeypatch.setattr(hdf5, "PART_ATOMS", 5)
    structures = every_kind()
    convert(dataset_of(structures, tmp_path / "data.h5"), tmp_path / "data.db")
    convert(tmp_path / "data.db", tmp_path / "back.h5")
    for a, b in zip(structures, open_dataset(tmp_path / "back.h5"), strict=True):
        assert_same(a, b)


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize("ending", [".db", ".aselmdb"])
def test_more_rows_than_are_held_at_once(tmp_path, monkeypatch, ending):
    for module in ("inputs.rows", "formats.lmdb"):
        monkeypatch.setattr(f"potstill.dataset.{module}.BLOCK_ROWS", 5)
    structures = every_kind()
    convert(dataset_of(structures, tmp_path / "data.h5"), tmp_path / f"data{ending}")
    assert [s.id for s in read_structures(tmp_path / f"data{ending}")] == [s.id for s in structures]


def test_ref_keys_are_those_that_others_read(tmp_path):
    structures = every_kind()
    convert(dataset_of(structures, tmp_path / "data.h5"), tmp_path / "data.extxyz")
    for atoms, structure in zip(ase.io.read(tmp_path / "data.extxyz", index=":"), structures, strict=True):
        assert structure.labels is not None
        assert atoms.info["REF_energy"] == structure.labels.energy
        np.testing.assert_allclose(atoms.arrays["REF_forces"], structure.labels.forces, atol=ROUNDING)
        assert ("REF_stress" in atoms.info) == (structure.labels.stress is not None)


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize("ending", [".db", ".aselmdb"])
def test_labels_in_a_database_are_calculator_results(tmp_path, ending):
    structures = every_kind()
    convert(dataset_of(structures, tmp_path / "data.h5"), tmp_path / f"data{ending}")
    with ase.db.connect(tmp_path / f"data{ending}") as database:
        assert database.count() == len(structures)
        for k, structure in enumerate(structures):
            row = database.get(structure_id=structure.id)
            assert (row.id, row.source, row.family) == (k + 1, structure.source, structure.family)
            atoms = row.toatoms()
            assert structure.labels is not None
            assert atoms.get_potential_energy() == structure.labels.energy
            np.testing.assert_array_equal(atoms.get_forces(), structure.labels.forces)
            if structure.labels.stress is not None:
                np.testing.assert_array_equal(atoms.get_stress(voigt=False), structure.labels.stress)


@pytest.mark.parametrize("ending", [".traj", ".db", ".extxyz"])
def test_results_of_a_calculator_are_labels(tmp_path, ending):
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=1)
    atoms.calc = EMT()
    energy, forces, stress = atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress(voigt=False)
    if ending == ".db":
        with ase.db.connect(tmp_path / "mine.db", use_lock_file=False) as database:
            database.write(atoms)
    else:
        ase.io.write(tmp_path / f"mine{ending}", atoms)
    convert(tmp_path / f"mine{ending}", tmp_path / "mine.h5")
    (structure,) = open_dataset(tmp_path / "mine.h5")
    assert (structure.id, structure.source, structure.family) == ("mine-000000", "mine", "Cu")
    assert structure.labels.energy == pytest.approx(energy)
    np.testing.assert_allclose(structure.labels.forces, forces, atol=1e-5)
    np.testing.assert_allclose(structure.labels.stress, stress, atol=1e-7)


def test_frames_without_labels_make_an_unlabelled_file(tmp_path):
    ase.io.write(tmp_path / "a.xyz", [bulk("Cu"), bulk("Al")])
    convert(tmp_path / "a.xyz", tmp_path / "a.h5")
    dataset = open_dataset(tmp_path / "a.h5")
    assert not dataset.labelled
    assert dataset.families.tolist() == ["Cu", "Al"]


@pytest.mark.parametrize("labelled_first", [True, False])
def test_some_labels_go_between_foreign_formats_but_are_no_dataset(tmp_path, labelled_first):
    mixed = [every_kind(labels=labelled_first)[0], every_kind(labels=not labelled_first)[1]]
    format_of(tmp_path / "a.xyz").write(mixed, tmp_path / "a.xyz")
    convert(tmp_path / "a.xyz", tmp_path / "a.db")
    assert [s.labels is not None for s in read_structures(tmp_path / "a.db")] == [labelled_first, not labelled_first]
    with pytest.raises(InputError, match="holds labels of all structures or of none"):
        convert(tmp_path / "a.db", tmp_path / "a.h5")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.db", "a.xyz"]


def test_what_cannot_be_done_is_said(tmp_path, build, labelled):
    path = build(labelled[:2])
    with pytest.raises(InputError, match=r"cannot write '\.docx'; the endings are \.h5, .*\.aselmdb"):
        convert(path, tmp_path / "a.docx")
    with pytest.raises(InputError, match="exists already"):
        convert(path, path)
    with pytest.raises(InputError, match="no file at"):
        convert(tmp_path / "nothing.xyz", tmp_path / "b.h5")
    (tmp_path / "empty.xyz").write_text("")
    with pytest.raises(InputError, match="contains no structures"):
        convert(tmp_path / "empty.xyz", tmp_path / "b.h5")


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize("ending", [".xyz", ".db", ".aselmdb", ".h5", ".cif"])
def test_a_file_of_something_else(tmp_path, ending):
    path = tmp_path / f"bad{ending}"
    path.write_text("this is no structure\n" * 1000)
    with pytest.raises(InputError, match=rf"cannot read .*bad\{ending}|not an HDF5 file"):
        convert(path, tmp_path / "b.xyz")
    assert list(tmp_path.iterdir()) == [path]


def test_another_sqlite_file_is_left_as_it_is(tmp_path):
    path = tmp_path / "mine.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE mine (x)")
    before = path.read_bytes()
    with pytest.raises(InputError, match="not an ASE database"):
        convert(path, tmp_path / "b.h5")
    assert path.read_bytes() == before


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize("lost", [1, 5, 5000])
@pytest.mark.parametrize("ending", [*FOREIGN, ".h5"])
def test_a_file_that_was_cut_short(tmp_path, ending, lost):
    whole = dataset_of(every_kind(), tmp_path / "data.h5")
    path = tmp_path / f"cut{ending}"
    convert(whole, path)
    path.write_bytes(path.read_bytes()[:-lost])
    before = set(tmp_path.iterdir())
    with pytest.raises((InputError, DatasetError)):
        convert(path, tmp_path / ("b.h5" if ending != ".h5" else "b.xyz"))
    assert set(tmp_path.iterdir()) == before


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize("damage", ["positions", "forces", "energy", "cell", "family", "fewer", "more"])
@pytest.mark.parametrize("ending", [".xyz", ".db", ".aselmdb", ".h5"])
def test_a_loss_is_an_error_and_leaves_no_file(tmp_path, monkeypatch, ending, damage):
    def spoil(s: Structure) -> Structure:
        if damage == "forces":
            return s.with_(labels=replace(s.labels, forces=s.labels.forces + 1e-5))
        if damage == "energy":
            return s.with_(labels=replace(s.labels, energy=s.labels.energy + 1e-9))
        changes = {"positions": s.positions + 1e-5, "cell": s.cell + 1e-12, "family": s.family + " "}
        return s.with_(**{damage: changes[damage]})

    def write(structures, path):
        every = list(structures)
        changed = {"fewer": every[:-1], "more": [*every, every[0]]}.get(damage)
        true.write(changed or [*every[:-1], spoil(every[-1])], path)

    source = "data.xyz" if ending == ".h5" else "data.h5"
    whole = dataset_of(every_kind(), tmp_path / "whole.h5")
    convert(whole, tmp_path / source)
    true = format_of(tmp_path / f"b{ending}")
    monkeypatch.setattr("potstill.dataset.convert.format_to_write", lambda path: replace(true, write=write))
    before = set(tmp_path.iterdir())
    with pytest.raises(DatasetError, match="read back"):
        convert(tmp_path / source, tmp_path / f"b{ending}")
    assert set(tmp_path.iterdir()) == before


def test_without_the_package_lmdb_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    path = dataset_of(every_kind()[:1], tmp_path / "data.h5")
    with pytest.raises(MissingExtraError, match=r"pip install 'potstill\[lmdb\]'"):
        convert(path, tmp_path / "data.aselmdb")
    (tmp_path / "there.aselmdb").write_bytes(b"")
    with pytest.raises(MissingExtraError, match=r"pip install 'potstill\[lmdb\]'"):
        convert(tmp_path / "there.aselmdb", tmp_path / "b.h5")
    assert not (tmp_path / "data.aselmdb").exists()


def test_a_file_is_refused_as_the_source_files_refuses_it(tmp_path):
    """Forces in the place of positions, an archive and a compressed file under the name of extended XYZ."""
    path = tmp_path / "water-frc-1.xyz"
    path.write_text("1\n i =        0, time =        0.000, E =       -17.1643447089\nO 0.1 0 0\n")
    archive, packed = tmp_path / "archive.xyz", tmp_path / "packed.xyz"
    with tarfile.open(archive, "w") as file:
        file.add(path, "a.xyz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    for refused, reason in {
        path: "no_coordinates: CP2K",
        archive: "it is an archive",
        packed: r"name it packed.xyz.gz",
    }.items():
        with pytest.raises(UnusableError) as by_source:
            open_frames(refused)
        with pytest.raises(InputError, match=reason) as by_convert:
            convert(refused, tmp_path / "b.h5")
        assert str(by_source.value) in str(by_convert.value)


def test_arrays_of_numpy_are_refused_by_their_name(tmp_path):
    np.savez(tmp_path / "md17.npz", E=np.zeros(1), F=np.zeros((1, 1, 3)), R=np.zeros((1, 1, 3)), z=np.array([8]))
    with pytest.raises(InputError, match=r"unknown_format: arrays of NumPy are not read.*kcal/mol in MD17.*extended XYZ"):
        convert(tmp_path / "md17.npz", tmp_path / "b.h5")


def test_labels_of_two_methods_are_counted_in_one_remark(tmp_path, caplog):
    row = "O 0 0 0 0.1 0 0\n"
    said = ["functional=PBE", "functional=PBEsol", "functional=PBE", "", "model=1", "model=2"]
    comments = [f"Properties=species:S:1:pos:R:3:forces:R:3 energy=-1 {word}" for word in said]
    (tmp_path / "two.xyz").write_text("".join(f"1\n{comment}\n{row}" for comment in comments))
    convert(tmp_path / "two.xyz", tmp_path / "b.h5")
    found = [record.getMessage() for record in caplog.records if "labels of" in record.getMessage()]
    assert found == [f"{tmp_path / 'two.xyz'}: labels of 2 methods: PBE (2 structures), PBEsol (1); keep those of one"]
